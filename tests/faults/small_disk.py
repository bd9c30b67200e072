"""A small disk that one daemon has for itself, and that can be filled, locked, and made unchangeable."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
from pathlib import Path

import pytest

_GUARD_S = 20.0
_MOUNT = 'mount -t tmpfs -o size={size} none "$0" && {before} exec "$@"'
# Permissions mean nothing to an administrator who may override them.
_AS_ANYBODY = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all")


class SmallDisk:
    """Mounted in a namespace of its own, which nobody else sees but by way of its process.

    Args:
        folder: Where it is mounted; made if it is not there.
        size: As ``mount`` takes it, e.g. 24m.
        before: A command of the shell, done there before the daemon starts.

    Attributes:
        prefix: Words that start a command with this disk, in its own process.
    """

    def __init__(self, folder: Path, size: str, before: str = "true") -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.pid = 0
        script = _MOUNT.format(size=size, before=f"{before};")
        unshared = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, str(folder)]
        self.prefix = [*unshared, *_AS_ANYBODY]
        _must_do([*self.prefix, "true"])

    def of(self, pid: int) -> Path:
        """The disk as the process that was started with it sees it."""
        self.pid = pid
        return self.seen

    @property
    def seen(self) -> Path:
        return Path(f"/proc/{self.pid}/root{self.folder}")

    def fill(self) -> None:
        """Takes all the space that there is."""
        with (self.seen / "filler").open("ab", buffering=0) as file:
            for size in (2**20, 2**12):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def make_room(self) -> None:
        (self.seen / "filler").unlink(missing_ok=True)

    def set_read_only(self, read_only: bool) -> None:
        """As a disk is that the kernel has found errors on: what is open stays open."""
        disk = shlex.quote(str(self.folder))
        mount = f"mount --bind {disk} {disk} && mount -o remount,bind,ro {disk}"
        within = ["nsenter", "--target", str(self.pid), "--user", "--mount", "--preserve-credentials"]
        _must_do([*within, "sh", "-c", mount if read_only else f"umount {disk}"])

    def set_forbidden(self, forbidden: bool) -> None:
        """Nobody may make or remove files in any folder."""
        for path in [self.seen, *(path for path in self.seen.rglob("*") if path.is_dir())]:
            path.chmod(0o555 if forbidden else 0o755)


def _must_do(words: list[str]) -> None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=_GUARD_S)
    except OSError as error:
        pytest.skip(f"a small disk needs {words[0]} (util-linux): {error}")
    if done.returncode:
        pytest.skip(f"a small disk cannot be had here: {done.stderr.strip()}")
