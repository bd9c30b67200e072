"""What the advancing failure point walks through: each write of the daemon that others depend on."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

from backend.core.frame_buffer import Frame, FrameKind
from backend.core.frame_shelf import FrameShelf, ShownFrame
from backend.core.frame_spool import FrameSpool
from backend.core.frames_ahead import frames_ahead
from backend.core.report import frame_status
from backend.core.resume_point import ResumePoint
from backend.core.resume_store import ResumeStore
from backend.utils.picture_check import PictureFacts, inspect_picture
from backend.utils.status_schema import State, Status, StatusBody
from backend.utils.status_writer import StatusWriter
from tests.cache.memories import files_in, new, open_memory, picture

# Made before anything is struck: children are forked from a process that has them.
_PICTURES = {number: picture(number, (64, 40)) for number in range(1, 9)}
_FACTS = PictureFacts(64, 40, "png")
_MAX_PIXELS = 10_000
_FRAME_S = 0.1


def _leftovers(folder: Path) -> list[Path]:
    return list(folder.rglob("*.tmp"))


class Publish:
    """A frame that lay ready is shown, the oldest one is forgotten, and the status tells of it."""

    before = 5

    def prepare(self, folder: Path) -> Callable[[], object]:
        spool = FrameSpool(folder)
        shelf = self._shelf(folder, spool, keep=3)
        shelf.open()
        writer, show = self._writer(folder, shelf, spool)
        for number in range(1, self.before + 1):
            show(number)
        next_one = spool.keep(self.before + 1, _frame(self.before + 1))

        def publish() -> None:
            self._shown = shelf.show(next_one)
            writer.publish()

        return publish

    def _writer(
        self, folder: Path, shelf: FrameShelf, spool: FrameSpool
    ) -> tuple[StatusWriter, Callable[[int], None]]:
        self._shown: ShownFrame | None = None

        def body() -> StatusBody:
            told = frame_status(self._shown, shelf, writer._wall(), 0.0)
            return StatusBody(state=State.DREAMING, frame=told)

        writer = StatusWriter(folder / "status" / "status.json", body)

        def show(number: int) -> None:
            self._shown = shelf.show(spool.keep(number, _frame(number)))
            writer.publish()

        return writer, show

    @staticmethod
    def _shelf(folder: Path, spool: FrameSpool, keep: int = 100) -> FrameShelf:
        budget = keep * max(len(data) for data in _PICTURES.values())
        return FrameShelf(
            folder,
            keep_s=1e9,
            budget_bytes=budget,
            max_pixels=_MAX_PIXELS,
            clock=lambda: 0.0,
            spooled=spool.shown,
        )

    def look(self, folder: Path) -> None:
        """I1 and I2, as a display sees them at that instant."""
        current = (folder / "current_frame.png").read_bytes()
        inspect_picture(current, max_pixels=_MAX_PIXELS)
        assert current in (_PICTURES[self.before], _PICTURES[self.before + 1])
        status = Status.model_validate_json((folder / "status" / "status.json").read_bytes())
        assert status.frame is not None
        assert status.frame.sequence in (self.before, self.before + 1)
        named = (folder / status.frame.file).read_bytes()
        assert hashlib.sha256(named).hexdigest() == status.frame.sha256

    def start_again(self, folder: Path) -> None:
        spool = FrameSpool(folder)
        shelf = self._shelf(folder, spool)
        newest = shelf.open()
        left = spool.left()
        assert newest is not None
        assert newest.sequence in (self.before, self.before + 1)
        assert newest.path.read_bytes() == _PICTURES[newest.sequence]
        assert (folder / "current_frame.png").read_bytes() == _PICTURES[newest.sequence]
        ahead = frames_ahead(left, newest.path, {1})
        assert ahead.here is not None, "the motion does not go on from where the display stands"
        assert ahead.here.place == newest.sequence
        assert [one.place for one in ahead.frames] == list(range(newest.sequence + 1, self.before + 2))
        assert not _leftovers(folder / "frames")
        assert not _leftovers(folder / ".resume")
        assert shelf.show(_frame(7)).sequence == newest.sequence + 1


class KeepAhead:
    """A frame arrives and is written down for the case of a restart."""

    def prepare(self, folder: Path) -> Callable[[], object]:
        spool = FrameSpool(folder)
        spool.keep(1, _frame(1))
        return partial(spool.keep, 2, _frame(2))

    def look(self, folder: Path) -> None:
        """Nobody looks at it but the next start."""

    def start_again(self, folder: Path) -> None:
        left = FrameSpool(folder).left()
        assert [one.path.read_bytes() for one in left] == [_PICTURES[one.place] for one in left]
        assert [one.place for one in left] in ([1], [1, 2])
        assert not _leftovers(folder)


class KeepResumePoint:
    """A keyframe is acknowledged: its latent, its picture and the point are written, the older ones go."""

    def prepare(self, folder: Path) -> Callable[[], object]:
        store = ResumeStore(folder)
        _save(store, 1)
        return lambda: _save(store, 2)

    def look(self, folder: Path) -> None:
        """Nobody looks at it but the next start."""

    def start_again(self, folder: Path) -> None:
        store = ResumeStore(folder)
        point = store.load()
        assert store.note == ""
        assert point is not None
        number = point.keyframe.number
        assert number in (1, 2)
        assert store.file(point.keyframe.latent or "") == b"latent %d" % number
        assert store.file(point.keyframe.picture) == b"picture %d" % number
        assert not _leftovers(folder)
        _save(store, 3)
        assert len(list(store.folder.iterdir())) == 3, "what nobody names is still there"


class Remember:
    """A picture and its latent enter a memory, where a lesser one makes way."""

    def prepare(self, folder: Path) -> Callable[[], object]:
        memory = open_memory(folder / "memory", durable=True)
        for number in range(1, 4):
            memory.add(new(number, latent=b"latent %d" % number))

        def remember() -> None:
            memory.add(new(4, latent=b"latent 4"))
            memory.forget(memory.iterate()[0].id)
            memory.close()

        return remember

    def look(self, folder: Path) -> None:
        """Nobody looks at it but its owner."""

    def start_again(self, folder: Path) -> None:
        with open_memory(folder / "memory") as memory:
            assert memory.problem is None
            found = memory.check(repair=True)
            assert memory.check().whole, found
            rows = memory.iterate()
            assert 2 <= len(rows) <= 4
            named = {path for row in rows for path in (row.picture, row.latent) if path is not None}
            assert files_in(folder / "memory") == named, "index and files differ"
            assert all(memory.picture(row.id) for row in rows)
            alone = [row for row in rows if not memory.latent(row.id)]
            assert len(alone) <= 1, "none but that which just came or went is without its latent"


def _frame(number: int) -> Frame:
    return Frame(_PICTURES[number], _FACTS, FrameKind.IN_BETWEEN, "sea", _FRAME_S, keyframe=1)


def _save(store: ResumeStore, number: int) -> None:
    version, state, pair = random.Random(1).getstate()
    keyframe = {
        "number": number,
        "latent": store.keep(b"latent %d" % number, is_latent=True),
        "picture": store.keep(b"picture %d" % number, is_latent=False),
        "theme": "sea",
        "positive": "a quiet sea",
        "negative": "",
        "seed": 1,
        "denoise": 0.45,
        "parent": None,
        "seconds": 0.4,
        "size": None,
        "folded": None,
    }
    store.save(
        ResumePoint.model_validate(
            {
                "written_at": "2026-11-20T12:00:00.000Z",
                "model": "m",
                "tail": [keyframe],
                "next_place": 0,
                "end_place": 0,
                "prompts": {
                    "theme": None,
                    "theme_s": 0.0,
                    "prompt": 0,
                    "prompt_s": 0.0,
                    "part": None,
                    "draw": None,
                },
                "counts": {},
                "seed": None,
                "random": (version, state, pair),
            }
        )
    )
