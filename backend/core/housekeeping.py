"""What we leave on a server, and how it is kept from growing.

Uploads take turns under a few names in its temp folder. Latents have to be saved into its output folder,
from which ComfyUI deletes nothing: each spent one is replaced by an empty file, or deleted where the folder
can be reached from here.
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from backend.core.jobs import FileRef
from backend.errors import EngineError, EngineUnreachable

log = logging.getLogger(__name__)

# More than are ever queued at once: a file that is overwritten while its job waits would be read with the
# new content.
_RING = 16
_DAY_S = 86_400.0
_SPENT = 64
"""So many spent latents may wait for a server that is away; there are only as many as were saved before."""
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class FileServer(Protocol):
    """What housekeeping needs of the client."""

    @property
    def url(self) -> str: ...

    def upload(
        self, data: bytes, filename: str, *, subfolder: str = "", type: str = "temp", overwrite: bool = True
    ) -> FileRef: ...

    def folder_paths(self) -> Mapping[str, tuple[Path, ...]]: ...


class Housekeeping:
    """Names for our files on one server, and what becomes of them.

    Args:
        server: Where the files lie.
        instance: A few letters that tell our files from those of another Dreamloop on the same server.
        hour: Names the sub-folder for latents; it changes with time, since each save lists its folder.
        clock: Monotonic seconds.
        own_output: Its output folder, where that is known to be ours.
    """

    def __init__(
        self,
        server: FileServer,
        *,
        instance: str,
        hour: Callable[[], str],
        clock: Callable[[], float],
        own_output: Path | None = None,
    ) -> None:
        self.left_files = 0
        """Empty files that had to be left behind, in this run."""
        self._server = server
        self._instance = instance
        self._hour = hour
        self._clock = clock
        self._output = own_output
        self._looked = own_output is not None
        self._since = clock()
        self._spent: deque[FileRef] = deque(maxlen=_SPENT)
        self._turns = itertools.count(1)  # never gives one number to two threads

    def a_day(self, files: int) -> float:
        """How many files that would be a day, at this run's rate."""
        return files / max(self._clock() - self._since, 60.0) * _DAY_S

    @property
    def deletes(self) -> bool:
        """Whether spent latents are deleted, so that nothing piles up."""
        return self._output is not None

    def latent_prefix(self) -> str:
        """The ``filename_prefix`` of the next saved latent."""
        return f"dreamloop/{self._instance}/{self._hour()}/keyframe"

    def ring_name(self, suffix: str) -> str:
        """The name of the next upload; any thread may ask."""
        return f"dreamloop_{self._instance}_{next(self._turns) % _RING:02d}.{suffix}"

    def kept_name(self, number: int, suffix: str) -> str:
        """The name of a picture that stays in use as long as we do, such as a mask."""
        return f"dreamloop_{self._instance}_kept_{number:02d}.{suffix}"

    def fetched(self, latent: FileRef, data: bytes) -> None:
        """A latent was downloaded: if the very file is found on this machine, its folder is in reach."""
        if self._looked or latent.type != "output" or not data:
            return
        self._looked = True
        if urlsplit(self._server.url).hostname not in _LOOPBACK:
            return
        try:
            folders = self._server.folder_paths()
        except EngineError as error:
            log.debug("the server does not tell its folders now: %s", error)
            self._looked = False
            return
        # Its list has the model folders; output/checkpoints and the like are among them.
        roots = dict.fromkeys(path.parent for paths in folders.values() for path in paths)
        for root in roots:
            if _holds(root, latent, data):
                log.info("spent latents are deleted from %s", root)
                self._output = root
                self._sweep(root, latent)
                return

    def _sweep(self, output: Path, first: FileRef) -> None:
        """Delete what earlier runs of ours left when they were killed: whatever is older than our first."""
        mine = output / "dreamloop" / self._instance
        try:
            begun = (output / first.subfolder / first.filename).stat().st_mtime
            left = [path for path in mine.glob("*/*.latent") if path.stat().st_mtime < begun]
            for path in left:
                self._delete(output, FileRef(path.name, path.parent.relative_to(output).as_posix()))
        except OSError as error:
            log.debug("latents of an earlier run stay: %s", error)

    def retire(self, latent: FileRef) -> None:
        """Free the space of a latent that is spent, and of those that could not be freed before.

        Any thread may call. A server that is away is asked again with the next one; another failure costs
        only that space.
        """
        if latent.type == "output":
            self._spent.append(latent)
        for _ in range(len(self._spent)):
            try:
                spent = self._spent.popleft()
            except IndexError:  # another thread was quicker
                return
            if not self._free(spent):
                self._spent.append(spent)
                return

    def _free(self, latent: FileRef) -> bool:
        """Whether there is nothing more to be done about it."""
        try:
            if self._output is None:
                self._server.upload(b"", latent.filename, subfolder=latent.subfolder, type="output")
                self.left_files += 1
            else:
                self._delete(self._output, latent)
        except EngineUnreachable as error:
            log.debug("a spent latent waits for the server: %s: %s", latent.annotated, error)
            return False
        except (EngineError, OSError) as error:
            log.debug("a spent latent stays on the server: %s: %s", latent.annotated, error)
        return True

    def _delete(self, output: Path, latent: FileRef) -> None:
        path = (output / latent.subfolder / latent.filename).resolve()
        if not path.is_relative_to(output.resolve()):
            return
        path.unlink(missing_ok=True)
        folder = path.parent
        is_over = (
            folder != output.resolve() and folder.name != self._hour()
        )  # nothing is saved there any more
        if is_over and not any(folder.iterdir()):
            folder.rmdir()


def _holds(root: Path, latent: FileRef, data: bytes) -> bool:
    path = root / latent.subfolder / latent.filename
    try:
        inside = path.resolve().is_relative_to(root.resolve())
        return inside and path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data
    except (OSError, ValueError):
        return False
