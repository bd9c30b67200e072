from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from backend.core.frame_buffer import Frame, FrameBuffer, FrameKind, Joint
from backend.core.frame_shelf import FrameShelf
from backend.core.pace import Pace
from backend.core.playback import Playback
from backend.errors import StorageError
from backend.utils.picture_check import PictureFacts
from tests.fakes.memory_engine import picture

FRAME_S = 0.1
STILL_S = 4.0
FACTS = PictureFacts(64, 40, "png")


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Display:
    """A playback with its clock in the hand."""

    clock: Clock
    buffer: FrameBuffer
    shelf: FrameShelf
    playback: Playback
    told: list[int] = field(default_factory=list)

    def dream(self, count: int, first_seed: int = 0) -> None:
        for index, place in enumerate(self.buffer.reserve([FRAME_S] * count)):
            data = picture(first_seed + index)
            self.buffer.put(place, Frame(data, FACTS, FrameKind.IN_BETWEEN, "sea", FRAME_S))

    def stills(self, count: int, first_seed: int = 0) -> None:
        for index, place in enumerate(self.buffer.reserve([STILL_S] * count)):
            data = picture(first_seed + index)
            self.buffer.put(place, Frame(data, FACTS, FrameKind.KEYFRAME, "sea", STILL_S, joint=Joint.CUT))

    def run(self, seconds: float) -> list[tuple[float, int]]:
        """Let time pass; returns (when, sequence) of what was shown."""
        shown, until = [], self.clock.now + seconds
        while self.clock.now < until:
            before = self.playback.frames_shown
            self.playback.tick(self.clock.now)
            if self.playback.frames_shown > before and self.playback.newest is not None:
                shown.append((self.clock.now, self.playback.newest.sequence))
            self.clock.now += 0.01
        return shown


@pytest.fixture
def display(tmp_path: Path) -> Display:
    return make(tmp_path)


def make(
    folder: Path,
    limit: int | None = None,
    replay_s: float | None = None,
    recall: Callable[[bytes], Iterator[Frame]] | None = None,
) -> Display:
    clock, buffer, told = Clock(), FrameBuffer(10**8), []
    shelf = FrameShelf(folder, keep_s=60, budget_bytes=10**9, max_pixels=10_000, clock=clock)
    shelf.open()
    playback = Playback(
        buffer, shelf, Pace(), fps=1 / FRAME_S, limit=limit, replay_s=replay_s, recall=recall, clock=clock
    )
    playback.on_shown = lambda: told.append(1)
    return Display(clock, buffer, shelf, playback, told)


def test_frames_are_shown_in_order_at_the_configured_rate(display: Display) -> None:
    display.dream(20)
    shown = display.run(2.5)
    assert [sequence for _, sequence in shown] == list(range(1, 21))
    steps = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(shown)]
    assert max(steps) <= FRAME_S + 0.011
    assert len(display.told) == 20


def test_a_stall_of_the_whole_machine_is_followed_by_no_burst(display: Display) -> None:
    display.dream(50)
    display.run(1.0)
    display.clock.now += 3600.0
    assert len(display.run(1.0)) <= 11


def test_nothing_new_and_the_engine_at_work_means_the_picture_stays(display: Display) -> None:
    display.dream(3)
    display.run(1.0)
    assert display.run(5.0) == []
    assert not display.playback.replaying


def test_while_the_engine_is_away_kept_frames_move_to_and_fro(display: Display) -> None:
    display.dream(5)
    display.run(1.0)
    display.playback.engine_away = True
    shown = display.run(2.0)
    assert len(shown) >= 18
    assert display.playback.replaying
    assert display.playback.newest is not None
    assert display.playback.newest.kind is FrameKind.REPLAY
    sequences = [sequence for _, sequence in shown]
    assert sequences == sorted(sequences)


def test_an_engine_that_delivers_nothing_for_long_is_treated_as_away(display: Display) -> None:
    display.dream(5)
    display.run(1.0)
    assert display.run(20.0)
    assert display.playback.replaying


def test_the_way_back_from_replay_is_a_fade_that_ends_in_the_dream(display: Display) -> None:
    display.dream(5)
    display.run(1.0)
    display.playback.engine_away = True
    display.run(1.0)
    display.playback.engine_away = False
    display.dream(3, first_seed=50)
    display.run(3.0)
    assert not display.playback.replaying
    assert display.shelf.current_path.read_bytes() == picture(52)
    kept = [frame.path.read_bytes() for frame in display.shelf.kept()]
    assert picture(50) in kept
    faded = kept[kept.index(picture(50)) - 1]
    assert faded not in [picture(seed) for seed in range(5)]


def test_the_title_and_the_fade_from_it_are_never_replayed(display: Display) -> None:
    display.playback.show_at_once(picture(99), FrameKind.TITLE)
    display.run(10.0)
    assert not display.playback.replaying
    display.dream(3)
    display.run(3.0)
    display.playback.engine_away = True
    shown = display.run(2.0)
    assert len(shown) > 15
    replayed = {kept.path.read_bytes() for kept in display.shelf.kept(shown[0][1])}
    assert replayed == {picture(seed) for seed in range(3)}


def test_a_kept_frame_that_is_broken_is_left_out_of_the_replay(display: Display) -> None:
    display.dream(5)
    display.run(1.0)
    broken = display.shelf.kept()[2].path
    broken.unlink()
    broken.write_bytes(b"rubbish")
    display.playback.engine_away = True
    assert len(display.run(2.0)) > 15
    assert broken not in [kept.path for kept in display.shelf.kept()]


def test_a_full_disk_stops_neither_the_dream_nor_the_status(
    display: Display, monkeypatch: pytest.MonkeyPatch
) -> None:
    display.dream(30)
    display.run(0.5)
    shown = display.playback.frames_shown

    def full(frame: Frame) -> None:
        raise StorageError(display.shelf.output, OSError(errno.ENOSPC, "No space left on device"))

    with monkeypatch.context() as patch:
        patch.setattr(display.shelf, "show", full)
        display.run(1.0)
        assert "No space left" in (display.playback.storage_error or "")
        assert display.playback.frames_shown == shown
        assert len(display.told) > shown
    display.run(0.5)
    assert display.playback.storage_error is None
    assert display.playback.frames_shown > shown


def test_it_stops_exactly_at_the_number_of_frames_that_was_asked_for(tmp_path: Path) -> None:
    display = make(tmp_path, limit=7)
    display.dream(20)
    assert len(display.run(5.0)) == 7


def test_a_long_frame_is_held_for_its_whole_time(display: Display) -> None:
    for place in display.buffer.reserve([4.0, 4.0]):
        display.buffer.put(
            place, Frame(picture(place), FACTS, FrameKind.KEYFRAME, "sea", 4.0, joint=Joint.CUT)
        )
    shown = display.run(6.0)
    assert [round(at - 100.0) for at, _ in shown] == [0, 4]


def test_the_measured_rate_falls_when_nothing_comes(display: Display) -> None:
    display.dream(30)
    display.run(3.0)
    assert display.playback.shown_fps == pytest.approx(10.0, rel=0.1)
    display.clock.now += 10.0
    assert display.playback.shown_fps < 0.11


def test_stills_are_shown_again_no_faster_than_they_were(tmp_path: Path) -> None:
    display = make(tmp_path, replay_s=STILL_S)
    display.stills(4)
    display.run(17.0)
    display.playback.engine_away = True
    shown = display.run(40.0)
    assert 9 <= len(shown) <= 11
    assert display.playback.replaying


def test_a_still_gives_way_when_the_engine_is_gone_though_time_was_stretched(tmp_path: Path) -> None:
    display = make(tmp_path, replay_s=STILL_S)
    display.playback._pace.begin(display.clock.now)
    for index in range(4):
        display.stills(1, first_seed=index)
        display.playback._pace.supplied(display.clock.now, display.buffer.ready_s)
        display.run(8.0)
    display.playback.engine_away = True
    shown = display.run(10.0)
    assert shown
    assert shown[0][0] - 100.0 < 40.0


def test_an_engine_that_is_only_slow_is_waited_for_with_the_still_that_is_there(tmp_path: Path) -> None:
    display = make(tmp_path, replay_s=STILL_S)
    display.playback._pace.begin(display.clock.now)
    for index in range(12):
        display.run(9.0)
        display.stills(1, first_seed=index)
        display.playback._pace.supplied(display.clock.now, display.buffer.ready_s)
    assert not display.playback.replaying
    assert display.playback.frames_shown >= 10


def test_new_frames_are_shown_soon_after_a_long_still(tmp_path: Path) -> None:
    display = make(tmp_path)
    display.stills(1)
    display.run(6.0)
    display.dream(5, first_seed=10)
    assert len(display.run(1.0)) >= 5


def remembered(seed: int) -> Frame:
    return Frame(picture(seed), FACTS, FrameKind.REPLAY, "a memory", FRAME_S)


def test_while_the_engine_is_away_memories_come_before_kept_frames(tmp_path: Path) -> None:
    starts: list[bytes] = []

    def recall(start: bytes) -> Iterator[Frame]:
        starts.append(start)
        return (remembered(500 + number) for number in itertools.count())

    display = make(tmp_path, recall=recall)
    display.dream(3)
    display.run(0.5)
    display.playback.engine_away = True
    shown = display.run(2.0)
    assert len(shown) >= 15
    assert display.playback.replaying
    assert display.playback.newest is not None
    assert display.playback.newest.theme == "a memory"
    assert starts == [picture(2)]
    assert display.playback.newest.path.read_bytes() == picture(500 + len(shown) - 1)


def test_the_way_back_from_the_memory_is_a_fade_too(tmp_path: Path) -> None:
    display = make(tmp_path, recall=lambda _: (remembered(500 + number) for number in itertools.count()))
    display.dream(3)
    display.run(0.5)
    display.playback.engine_away = True
    display.run(1.0)
    display.playback.engine_away = False
    display.dream(5, first_seed=50)
    display.run(1.0)
    assert display.playback.newest is not None
    assert display.playback.newest.kind is FrameKind.REPLAY
    display.run(1.0)
    assert display.playback.newest.kind is FrameKind.IN_BETWEEN
    assert not display.playback.replaying


@pytest.mark.parametrize("count", [0, 4])
def test_where_the_memory_has_too_little_kept_frames_move_on(tmp_path: Path, count: int) -> None:
    display = make(tmp_path, recall=lambda _: iter([remembered(500 + number) for number in range(count)]))
    display.dream(5)
    display.run(1.0)
    display.playback.engine_away = True
    shown = display.run(2.0)
    assert len(shown) >= 15
    assert display.playback.replaying


def test_a_memory_that_stumbled_is_asked_again_while_kept_frames_move(tmp_path: Path) -> None:
    asked: list[bytes] = []

    def recall(start: bytes) -> Iterator[Frame]:
        asked.append(start)
        if len(asked) == 1:
            raise StorageError(Path("memory"), OSError(errno.EIO, "damaged"))
        return (remembered(500 + number) for number in itertools.count())

    display = make(tmp_path, recall=recall)
    display.dream(5)
    display.run(1.0)
    display.playback.engine_away = True
    display.run(20.0)
    assert display.playback.newest is not None
    assert len(asked) == 1
    assert display.playback.newest.theme != "a memory"
    display.run(15.0)
    assert len(asked) == 2
    assert display.playback.newest.theme == "a memory"
    assert display.playback.replaying


def test_frames_that_come_and_frames_that_the_disk_refuses_are_signs_of_life(
    display: Display, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StorageError(Path("x"), OSError(errno.EROFS, "read-only"))

    display.dream(20)
    display.run(0.5)
    before = display.playback.vital
    monkeypatch.setattr(display.shelf, "show", refuse)
    display.run(0.5)
    assert display.playback.vital.beats >= before.beats + 4
    assert display.playback.vital.rest == ""


def test_a_still_is_given_its_time_before_the_display_counts_as_stuck(display: Display) -> None:
    display.stills(2)
    display.run(1.0)
    assert display.playback.vital.limit_s >= STILL_S + 10.0
    assert display.playback.vital.rest == ""


def test_a_pause_is_a_rest_and_so_is_having_nothing_to_show_but_not_holding_back_what_is_there(
    display: Display,
) -> None:
    display.run(1.0)
    assert display.playback.vital.rest == "there is nothing to show"
    display.dream(5)
    assert display.playback.vital.rest == ""
    display.playback.paused = True
    assert display.playback.vital.rest == "the picture is held"


def test_a_still_of_an_earlier_run_keeps_its_time_and_what_follows_it_does_not_fade(display: Display) -> None:
    display.stills(1)
    display.run(0.1)
    newest = display.playback.newest
    assert newest is not None
    later = make(display.shelf.output)
    later.playback.continue_from(newest, STILL_S, Joint.CUT)
    later.stills(1, first_seed=50)
    shown = later.run(STILL_S + 0.5)
    assert [round(when - 100.0) for when, _ in shown] == [STILL_S]
    assert later.playback.newest is not None
    assert later.playback.newest.path.read_bytes() == picture(50)


def test_a_frame_that_is_no_neighbour_of_the_one_before_is_faded_to(display: Display) -> None:
    display.dream(3)
    place = display.buffer.reserve([FRAME_S])[0]
    display.buffer.put(place, Frame(picture(50), FACTS, FrameKind.KEYFRAME, "sea", FRAME_S, joint=Joint.FADE))
    display.run(0.45)
    kinds = []
    for _ in range(13):
        display.run(0.1)
        assert display.playback.newest is not None
        kinds.append(display.playback.newest.kind)
    assert kinds.count(FrameKind.REPLAY) >= 10
    assert kinds[-1] is FrameKind.KEYFRAME
