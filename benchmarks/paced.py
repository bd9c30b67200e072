"""An engine that works by the clock, in a process of its own, and knows how busy it was."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from backend.engine.worker import Busyness

KEYFRAME_S = 0.4
DECODE_S = 0.012
_GUARD_S = 60.0


@dataclass(frozen=True)
class PacedEngine:
    """The parent's end of it."""

    url: str
    _pipe: Connection

    def busyness(self) -> Busyness:
        """How well it was used until now."""
        self._pipe.send("busyness")
        if not self._pipe.poll(_GUARD_S):
            raise TimeoutError("the paced engine does not answer")
        return Busyness(*self._pipe.recv())


@contextmanager
def paced_engine() -> Iterator[PacedEngine]:
    """Run one; the same server as the embedded engine's, with a clock instead of paint."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with tempfile.TemporaryDirectory(prefix="dreamloop-paced-") as folder:
        process = context.Process(target=_serve, args=(theirs, folder), daemon=True)
        process.start()
        try:
            if not ours.poll(_GUARD_S):
                raise TimeoutError("the paced engine does not start")
            yield PacedEngine(ours.recv(), ours)
        finally:
            ours.send("stop")
            process.join(_GUARD_S)


def _serve(pipe: Connection, folder: str) -> None:
    from tests.fakes.fake_comfy import FakeComfy
    from tests.fakes.painters import PacedPainter

    painter = PacedPainter(keyframe_s=KEYFRAME_S, decode_s=DECODE_S)
    with FakeComfy(Path(folder), painter=painter) as server:
        pipe.send(server.url)
        while pipe.recv() == "busyness":
            busy = server.busyness()
            pipe.send((busy.jobs, busy.busy_s, busy.wall_s))
