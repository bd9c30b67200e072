from __future__ import annotations

import pytest

from backend.core.frame_buffer import Frame, FrameBuffer, FrameKind, Joint
from backend.core.shown_gaps import ShownGap, ShownGaps
from backend.utils.picture_check import PictureFacts

FACTS = PictureFacts(4, 4, "png")


def between(keyframe: int, seconds: float, way: float | None) -> Frame:
    return Frame(b"x", FACTS, FrameKind.IN_BETWEEN, "sea", seconds, keyframe, way=way)


def keyframe(number: int, seconds: float = 0.5, joint: Joint = Joint.WALK) -> Frame:
    return Frame(b"x", FACTS, FrameKind.KEYFRAME, "sea", seconds, number, joint=joint)


def told(*frames: Frame) -> list[ShownGap]:
    heard: list[ShownGap] = []
    shown = ShownGaps(heard.append)
    for frame in frames:
        shown.taken(frame)
    return heard


def test_a_gap_takes_what_its_frames_took() -> None:
    first, second = told(keyframe(1), between(2, 0.25, 0.4), between(2, 0.25, 0.6), keyframe(2))
    assert first == ShownGap(1)
    assert second == ShownGap(2, 1, 1.0, ((0.5, 0.4), (0.75, 0.6)))


def test_a_frame_whose_place_is_not_known_costs_the_course_alone() -> None:
    assert told(keyframe(1), between(2, 0.5, None), keyframe(2))[1] == ShownGap(2, 1, 1.0)


def test_of_a_gap_whose_keyframe_was_passed_over_nothing_is_told() -> None:
    assert told(keyframe(1), between(2, 0.1, 0.5), between(3, 0.1, 0.5), keyframe(3))[1] == ShownGap(3)
    assert told(keyframe(1), between(2, 0.1, 0.5), keyframe(3))[1] == ShownGap(3)


def test_stills_and_beginnings_have_no_gap() -> None:
    assert told(between(1, 0.1, 0.5), keyframe(1), keyframe(2, joint=Joint.CUT)) == [ShownGap(1), ShownGap(2)]


def test_the_buffer_tells_of_frames_as_they_are_shown() -> None:
    buffer, heard = FrameBuffer(1000), list[Frame]()
    buffer.on_taken = heard.append
    places = buffer.reserve([0.5, 0.25])
    buffer.put(places[0], keyframe(1))
    buffer.retime(places[:1], [0.75])
    taken = [buffer.take(0.0), buffer.take(0.0)]
    assert heard == [taken[0]]
    assert taken[1] is None
    assert heard[0].duration_s == pytest.approx(0.75)
