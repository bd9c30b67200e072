from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from backend.core.frame_buffer import Frame, FrameBuffer, FrameKind, Joint
from backend.core.frame_spool import FrameSpool
from backend.core.frames_ahead import AheadReader, frames_ahead
from backend.utils.picture_check import PictureFacts
from tests.fakes.memory_engine import picture

FRAME_S = 0.1
FACTS = PictureFacts(64, 40, "png")
STEPS = 10
KNOWN = frozenset(range(1, 100))


def frame(place: int, steps: int = STEPS) -> Frame:
    """As it comes in gaps of so many frames, the last of which is a keyframe."""
    keyframe = 1 + -(-place // steps)
    kind = FrameKind.KEYFRAME if place % steps == 0 else FrameKind.IN_BETWEEN
    return Frame(picture(place), FACTS, kind, "sea", FRAME_S, keyframe)


def fill(output: Path, *places: int) -> FrameSpool:
    spool = FrameSpool(output)
    for place in places:
        spool.keep(place, frame(place))
    return spool


def on_display(output: Path, place: int) -> Path:
    """The file under which a frame was shown."""
    path = output / f"{place}.shown"
    os.link(next((output / ".resume" / "ahead").glob(f"{place:010d}-*")), path)
    return path


def test_a_kept_frame_is_found_again_with_all_that_is_to_be_known_of_it(tmp_path: Path) -> None:
    fill(tmp_path, 9, 10, 3)
    left = FrameSpool(tmp_path).left()
    assert [(one.place, one.keyframe, one.kind, one.duration_s) for one in left] == [
        (3, 2, FrameKind.IN_BETWEEN, FRAME_S),
        (9, 2, FrameKind.IN_BETWEEN, FRAME_S),
        (10, 2, FrameKind.KEYFRAME, FRAME_S),
    ]
    assert left[0].path.read_bytes() == picture(3)


def test_what_else_lies_there_is_passed_over_and_so_is_what_never_came_to_the_disk(tmp_path: Path) -> None:
    fill(tmp_path, 1, 2, 3)
    folder = tmp_path / ".resume" / "ahead"
    (folder / "notes.txt").write_text("mine")
    (folder / "0000000009-1-1k.exe").write_bytes(b"x")
    files = sorted(folder.glob("*.png"))
    files[0].write_bytes(b"")
    files[1].write_bytes(bytes(5000))
    assert [one.place for one in FrameSpool(tmp_path).left()] == [3]


def test_the_frames_after_the_one_on_display_follow_it(tmp_path: Path) -> None:
    spool = fill(tmp_path, *range(4, 21))
    ahead = frames_ahead(spool.left(), on_display(tmp_path, 7), KNOWN)
    assert ahead.here is not None
    assert (ahead.here.place, ahead.joined) == (7, True)
    assert [one.place for one in ahead.frames] == list(range(8, 21))
    assert (ahead.reached, ahead.whole) == (3, True)


def test_where_something_else_is_on_display_all_of_them_follow_by_a_fade(tmp_path: Path) -> None:
    spool = fill(tmp_path, *range(4, 11))
    (tmp_path / "memory").write_bytes(picture(500))
    for shown in (tmp_path / "memory", None, tmp_path / "gone"):
        ahead = frames_ahead(spool.left(), shown, KNOWN)
        assert (ahead.here, ahead.joined) == (None, False)
        assert len(ahead.frames) == 7


def test_while_one_was_faded_into_the_next_the_motion_goes_on_to_that_without_going_back(
    tmp_path: Path,
) -> None:
    spool = fill(tmp_path, *range(4, 11))
    for one in spool.left()[:3]:
        spool.shown(one.path)
    (tmp_path / "blend").write_bytes(picture(500))
    ahead = frames_ahead(spool.left(), tmp_path / "blend", KNOWN, leads_on=True)
    assert ahead.here is not None
    assert (ahead.here.place, ahead.joined) == (6, True)
    assert 0.0 < ahead.left_s < FRAME_S


def test_times_that_changed_after_a_frame_was_kept_hold_after_a_restart(tmp_path: Path) -> None:
    spool = FrameSpool(tmp_path)
    buffer = FrameBuffer(10**8, spool)
    places = buffer.reserve([FRAME_S] * 4)
    for place in places:
        buffer.put(place, frame(place + 1))
    buffer.retime(places[1:3], [0.25, 0.4])
    buffer.retime(places[2:3], [0.5])
    again = FrameSpool(tmp_path)
    assert [one.duration_s for one in again.left()] == [FRAME_S, 0.25, 0.5, FRAME_S]
    left = again.left()
    again.begin(left[0].path, {one.path for one in left[1:3]})
    assert [one.duration_s for one in again.left()] == [FRAME_S, 0.25, 0.5]
    (tmp_path / ".resume" / "ahead" / "times.json").write_text('{"1": "long", "2": -1}')
    assert [one.duration_s for one in again.left()] == [FRAME_S] * 3


@pytest.mark.parametrize("joint", Joint)
def test_how_a_keyframe_is_come_to_is_known_after_a_restart(tmp_path: Path, joint: Joint) -> None:
    spool = FrameSpool(tmp_path)
    spool.keep(10, replace(frame(10), joint=joint))
    buffer = FrameBuffer(10**8, spool)
    AheadReader(buffer, {}, max_pixels=10_000).read(spool.left())
    taken = buffer.take(0.0)
    assert taken is not None
    assert (taken.kind, taken.joint) == (FrameKind.KEYFRAME, joint)


def test_where_a_memory_was_shown_since_the_dream_goes_on_by_a_fade_from_where_it_was(tmp_path: Path) -> None:
    spool = fill(tmp_path, *range(4, 11))
    for one in spool.left()[:3]:
        spool.shown(one.path)
    (tmp_path / "memory").write_bytes(picture(500))
    ahead = frames_ahead(spool.left(), tmp_path / "memory", KNOWN)
    assert ahead.here is not None
    assert (ahead.here.place, ahead.joined) == (6, False)
    assert [one.place for one in ahead.frames] == [7, 8, 9, 10]


def test_where_the_disk_knows_no_links_the_picture_itself_tells(tmp_path: Path) -> None:
    spool = fill(tmp_path, *range(4, 11))
    shutil.copy(spool.left()[2].path, tmp_path / "shown")
    ahead = frames_ahead(spool.left(), tmp_path / "shown", KNOWN)
    assert ahead.here is not None
    assert ahead.here.place == 6


@pytest.mark.parametrize(
    ("places", "follow", "reached", "whole"),
    [
        ((1, 2, 3, 5, 6, 7, 8, 9, 10), (2, 3, 5, 6, 7, 8, 9, 10), 2, True),  # one was rejected
        ((1, 2, 3, 10), (2, 3), 2, False),  # a leg had not come yet
        ((1, 10, 20), (), 2, False),
        ((1, *range(2, 11), 20), tuple(range(2, 11)), 2, True),  # a walk had not come yet
    ],
)
def test_they_follow_as_far_as_there_is_no_leap(
    tmp_path: Path, places: tuple[int, ...], follow: tuple[int, ...], reached: int, whole: bool
) -> None:
    spool = fill(tmp_path, *places)
    ahead = frames_ahead(spool.left(), on_display(tmp_path, 1), KNOWN)
    assert tuple(one.place for one in ahead.frames) == follow
    assert (ahead.reached, ahead.whole) == (reached, whole)


def test_frames_of_a_keyframe_that_was_never_acknowledged_are_not_shown(tmp_path: Path) -> None:
    spool = fill(tmp_path, *range(4, 21))
    ahead = frames_ahead(spool.left(), on_display(tmp_path, 7), {1, 2})
    assert ahead.frames[-1].place == 10
    assert (ahead.reached, ahead.whole) == (2, True)


def test_where_nothing_is_left_nothing_is_known(tmp_path: Path) -> None:
    ahead = frames_ahead(FrameSpool(tmp_path).left(), None, KNOWN)
    assert (ahead.here, ahead.frames, ahead.reached) == (None, (), None)


def test_what_is_of_no_use_any_more_is_removed_at_the_start_and_while_frames_are_shown(
    tmp_path: Path,
) -> None:
    spool = fill(tmp_path, *range(1, 8), 30)
    left = spool.left()
    spool.begin(left[2].path, {one.path for one in left[3:7]})
    assert [one.place for one in spool.left()] == [3, 4, 5, 6, 7]
    spool.shown(left[3].path)
    spool.shown(left[4].path)
    assert [one.place for one in spool.left()] == [5, 6, 7]
    spool.shown(None)  # something that is no frame of the dream
    assert [one.place for one in spool.left()] == [5, 6, 7]


def test_a_frame_that_the_buffer_does_not_take_leaves_no_file(tmp_path: Path) -> None:
    spool = FrameSpool(tmp_path)
    buffer = FrameBuffer(1, spool)
    place = buffer.reserve([FRAME_S])[0]
    assert not buffer.put(place, frame(1))
    assert spool.left() == ()


def test_they_come_back_into_their_places_and_what_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    spool = fill(tmp_path, *range(4, 21))
    ahead = frames_ahead(spool.left(), on_display(tmp_path, 7), KNOWN)
    ahead.frames[1].path.write_bytes(ahead.frames[1].path.read_bytes()[:-100])
    buffer = FrameBuffer(10**8, spool)
    AheadReader(buffer, {2: "sea", 3: "sky"}, max_pixels=10_000).read(ahead.frames)
    shown = []
    while len(shown) < 12:
        if (taken := buffer.take(0.0)) is not None:
            shown.append(taken)
    assert [one.data for one in shown] == [picture(place) for place in (8, *range(10, 21))]
    assert [one.theme for one in shown] == ["sea"] * 2 + ["sky"] * 10
    assert all(one.file is not None for one in shown)
    assert buffer.next_place == 21


def test_a_picture_above_the_limit_is_not_brought_back(tmp_path: Path) -> None:
    spool = fill(tmp_path, 1, 2)
    buffer = FrameBuffer(10**8, spool)
    AheadReader(buffer, {}, max_pixels=100).read(spool.left())
    assert buffer.take(0.0) is None
    assert buffer.skipped == 2


def test_a_disk_that_refuses_costs_the_copy_and_not_the_frame(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / ".resume").write_text("in the way")
    spool = FrameSpool(tmp_path)
    buffer = FrameBuffer(10**8, spool)
    for place in buffer.reserve([FRAME_S] * 3):
        assert buffer.put(place, frame(place))
    taken = buffer.take(0.0)
    assert taken is not None
    assert taken.file is None
    assert caplog.text.count("in memory only") == 1
