"""The recorder: keeps the newest hours of keyframe latents on disk, for films, on a thread of its own."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backend.core.engine import EngineFacts
from backend.core.generator import Keyframe
from backend.core.report import Recorded
from backend.core.shown_gaps import ShownGap
from backend.errors import StorageError
from backend.film.keyframe_files import Told, file_name, keyframe_bytes, list_keyframes
from backend.film.showings import ShowingLog
from backend.utils.file_ops import sweep_temporaries, write_atomic
from backend.utils.part import Part

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

_WAITING = 8
_SHOWN_WAITING = 64
_NUMBERS_KNOWN = 1000
_LONGEST_WAIT_S = 5.0
# At the start a turn looks through all files, which may be on a slow disk.
_TURN_S = 120.0


@dataclass(frozen=True)
class _Kept:
    path: Path
    bytes: int
    gap_s: float


@dataclass(frozen=True)
class _Offer:
    keyframe: Keyframe
    latent: Tensor
    at: float
    gap_s: float
    walks: bool
    facts: EngineFacts | None


class Recorder:
    """Writes one small file a keyframe, notes how it was shown, and deletes the oldest beyond the limits.

    Nothing waits for it, and what the disk refuses is left out: the display needs the disk more. How much
    is kept is told in seconds of dream, not by the clock of the day, which may leap.

    Args:
        folder: Where the files go; nobody else writes there.
        keep_s: Seconds of dream that are kept; 0 for none.
        budget_bytes: The most that all files may take.
        walks: Whether this dream walks from keyframe to keyframe, as it is now.
        gap_s: Seconds of dream up to the newest keyframe, as they are expected.
        facts: The engine that paints.
        wall: Seconds since 1970.
        scarce: Whether the disk has room for little; then nothing is recorded.
    """

    def __init__(
        self,
        folder: Path,
        *,
        keep_s: float,
        budget_bytes: int,
        walks: Callable[[], bool],
        gap_s: Callable[[], float],
        facts: Callable[[], EngineFacts | None],
        wall: Callable[[], float] = time.time,
        scarce: Callable[[], bool] = lambda: False,
    ) -> None:
        self.left_out = 0
        self._folder = folder
        self.limit(keep_s, budget_bytes)
        self._walks = walks
        self._gap_s = gap_s
        self._facts = facts
        self._wall = wall
        self._scarce = scarce
        self._begun = False
        self._sequence = 0
        self._files: deque[_Kept] | None = None
        self._bytes = 0
        self._seconds = 0.0
        self._refused = False
        self._offers: deque[_Offer] = deque()
        self._shown: deque[tuple[ShownGap, float]] = deque(maxlen=_SHOWN_WAITING)
        self._showings = ShowingLog(folder)
        self._numbers: OrderedDict[int, int] = OrderedDict()  # of keyframes, and of their files
        self._something = threading.Condition()
        self.part = Part("recorder", self._one_turn, limit_s=_TURN_S)

    def recorded(self) -> Recorded:
        """What is kept; any thread may ask."""
        return Recorded(len(self._files or ()), self._bytes, max(0.0, self._seconds))

    def limit(self, keep_s: float, budget_bytes: int) -> None:
        """Keep so much from the next keyframe on."""
        self._keep_s, self._budget_bytes = keep_s, budget_bytes

    def start(self) -> None:
        """Begin to record."""
        self.part.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Write what was offered, and end."""
        with self._something:
            self.part.stopping.set()
            self._something.notify_all()
        self.part.stop(timeout_s)
        if not self.part.runs:
            while self.turn():
                pass
            self._showings.close()

    def offer(self, keyframe: Keyframe, latent: Tensor | None) -> None:
        """A keyframe has arrived; never waits. One without a latent cannot be recorded."""
        if latent is None or self._keep_s <= 0.0 or self._scarce():
            return
        walks = self._walks() and (self._begun or keyframe.parent is not None)
        self._begun = True
        offer = _Offer(keyframe, latent, self._wall(), self._gap_s(), walks, self._facts())
        with self._something:
            if len(self._offers) >= _WAITING:
                self._offers.popleft()
                self.left_out += 1
            self._offers.append(offer)
            self._something.notify_all()

    def shown(self, gap: ShownGap) -> None:
        """A keyframe is shown now, and the gap before it has been; never waits."""
        with self._something:
            self._shown.append((gap, self._wall()))
            self._something.notify_all()

    def turn(self) -> bool:
        """Write the oldest keyframe that was offered, or how one was shown; False if there is neither."""
        if self._files is None:
            self._open()
            return True
        with self._something:
            offer = self._offers.popleft() if self._offers else None
            showing = self._shown.popleft() if offer is None and self._shown else None
        if offer is not None:
            self._write(offer)
        elif showing is not None:
            self._note(*showing)
        return offer is not None or showing is not None

    def _open(self) -> None:
        """Take over what earlier runs recorded, as far as it is to be kept."""
        self._files = deque()
        sweep_temporaries(self._folder)
        for one in list_keyframes(self._folder):
            with contextlib.suppress(OSError):
                self._remember(_Kept(one.path, one.path.stat().st_size, one.gap_s))
            self._sequence = one.sequence
        if not self._files:
            self._showings.begin_anew()
        self._prune()

    def _note(self, gap: ShownGap, at: float) -> None:
        """How a keyframe was shown; a gap before it that leads from another file than the last is none."""
        sequence = self._numbers.get(gap.keyframe)
        if sequence is None:
            return
        follows = gap.previous is not None and self._numbers.get(gap.previous) == sequence - 1
        oldest = sequence - len(self._files or ())
        self._showings.add(sequence, at, gap if follows else ShownGap(gap.keyframe), oldest)

    def _write(self, offer: _Offer) -> None:
        path = self._folder / file_name(self._sequence + 1, offer.at, offer.gap_s)
        data = keyframe_bytes(offer.latent, _told(offer))
        try:
            write_atomic(path, data)
        except StorageError as error:
            self._could_not(error)
            return
        self._refused = False
        self._sequence += 1
        self._numbers[offer.keyframe.number] = self._sequence
        while len(self._numbers) > _NUMBERS_KNOWN:
            self._numbers.popitem(last=False)
        self._remember(_Kept(path, len(data), offer.gap_s))
        self._prune()

    def _could_not(self, error: StorageError) -> None:
        """This one is left out; on a full disk the oldest go, and the room is left to the frames."""
        self.left_out += 1
        if not self._refused:
            log.warning("keyframes are not recorded: %s", error)
        self._refused = True
        files = self._files or deque()
        for _ in range(len(files) // 8 + 1 if error.full and files else 0):
            self._forget_oldest(files)

    def _remember(self, kept: _Kept) -> None:
        assert self._files is not None  # noqa: S101 - for the type checker: turn() has opened it
        self._files.append(kept)
        self._bytes += kept.bytes
        self._seconds += kept.gap_s

    def _prune(self) -> None:
        files = self._files
        while files and (self._seconds > self._keep_s or self._bytes > self._budget_bytes):
            self._forget_oldest(files)

    def _forget_oldest(self, files: deque[_Kept]) -> None:
        kept = files.popleft()
        self._bytes -= kept.bytes
        self._seconds -= kept.gap_s
        try:
            os.unlink(kept.path)  # noqa: PTH108 - one call, which faults are moved through
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning("an old keyframe cannot be deleted: %s", StorageError(kept.path, error))

    def _one_turn(self) -> None:
        if not self.turn():
            with self._something:
                if not self._offers and not self._shown and not self.part.stopping.is_set():
                    self._something.wait(_LONGEST_WAIT_S)


def _told(offer: _Offer) -> Told:
    keyframe, facts = offer.keyframe, offer.facts
    return Told(
        theme=keyframe.prompt.theme,
        prompt=keyframe.prompt.positive,
        negative=keyframe.prompt.negative,
        seed=keyframe.seed,
        denoise=keyframe.denoise,
        family=facts.family.line if facts else "",
        model=facts.checkpoint if facts else "",
        walks=offer.walks,
    )
