"""CLIP in a process of its own.

Importing torchvision and loading a model stop every Python thread of a process for tenths of a second, and
so would show as a stutter; a driver's fault would take the daemon with it. So it runs apart, at low priority.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backend.cache.clip_program import Line, packed, told, unpacked
from backend.cache.clip_weights import ClipChoice, weights_of
from backend.cache.matching import Identity, Thresholds, Vectors
from backend.errors import MatcherUnfit, PictureRejected
from backend.utils.child_process import Child

log = logging.getLogger(__name__)

_ROOT = Path(__file__).resolve().parents[2]
_START_S = 120.0
"""For Python and its packages; on a slow disk they take half a minute."""
_LOAD_S = 600.0
_DOWNLOAD_S = 6 * 3600.0
_ANSWER_S = 120.0
_LOOK_S = 0.5
_END_S = 1.0


class _Clip(Child):
    def hear(self, line: str) -> None:
        """Its lines become log records."""
        log.info("%s", line)


class ClipProcess:
    """A `ClipMatcher` elsewhere; safe to use from several threads."""

    def __init__(self, choice: ClipChoice) -> None:
        """Start and load it; takes seconds, or as long as a download takes.

        Raises:
            MatcherUnfit: It cannot be had.
        """
        if not choice.may_download:
            weights_of(choice)  # told at once, without a process
        self._one_at_a_time = threading.Lock()
        folder = Path(tempfile.mkdtemp(prefix="dreamloop-clip-"))  # nobody else may look into it
        command = [sys.executable, "-P", "-m", "backend.cache.clip_program", str(folder / "s"), told(choice)]
        self._child = _Clip("the process of CLIP", command, time.monotonic(), environment=_environment())
        try:
            connection = self._connected(folder / "s")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        connection.settimeout(_DOWNLOAD_S if choice.may_download else _LOAD_S)
        self._socket, self._line = connection, Line(connection)
        try:
            hello, _ = self._line.receive()
        except (OSError, ValueError, KeyError) as error:
            self.close()
            raise MatcherUnfit(f"the process of CLIP ended or hung while it loaded: {error}") from error
        if "unfit" in hello:
            self.close()
            raise MatcherUnfit(hello["unfit"])
        connection.settimeout(_ANSWER_S)
        self._identity = Identity(**hello["identity"])
        self._thresholds = Thresholds(**hello["thresholds"])
        log.info("CLIP computes on %s", hello["device"])

    @property
    def identity(self) -> Identity:
        return self._identity

    @property
    def thresholds(self) -> Thresholds:
        return self._thresholds

    @property
    def pid(self) -> int | None:
        """Its process; None before it runs."""
        return None if self._child.process is None else self._child.process.pid

    def embed(self, pictures: Sequence[bytes]) -> Vectors:
        """See `Matcher.embed`."""
        return self._asked({"do": "embed"}, pictures)

    def scores(self, embeddings: Vectors, pictures: Sequence[bytes]) -> Vectors:
        """See `Matcher.scores`; by the embeddings alone."""
        header, parts = packed(embeddings)
        return self._asked({"do": "scores"} | header, parts)

    def embed_texts(self, texts: Sequence[str]) -> Vectors:
        """See `Matcher.embed_texts`."""
        return self._asked({"do": "texts", "texts": list(texts)})

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(OSError):
            self._socket.close()
        self._child.end(_END_S)

    def _connected(self, path: Path) -> socket.socket:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen(1)
            listener.settimeout(_LOOK_S)
            self._child.start()
            for _ in range(int(_START_S / _LOOK_S)):
                with contextlib.suppress(TimeoutError):
                    return listener.accept()[0]
                if self._child.gone.is_set():
                    break
        self._child.end(_END_S)
        raise MatcherUnfit("the process of CLIP does not start; its log says why")

    def _asked(self, header: dict[str, Any], parts: Sequence[bytes] = ()) -> Vectors:
        try:
            with self._one_at_a_time:
                self._line.send(header, parts)
                answer, numbers = self._line.receive()
        except (OSError, ValueError, KeyError):
            self.close()
            raise
        if "rejected" in answer:
            raise PictureRejected(answer["rejected"], answer["detail"])
        if "failed" in answer:
            raise RuntimeError(answer["failed"])
        return unpacked(answer, numbers)


def _environment() -> dict[str, str]:
    """Ours without our settings, of which some are secret; and where our packages are."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("DREAMLOOP_")}
    return kept | {"PYTHONPATH": str(_ROOT)}
