from __future__ import annotations

import pytest

from backend.core.frame_buffer import Frame, FrameBuffer, FrameKind
from backend.utils.picture_check import PictureFacts

FACTS = PictureFacts(8, 8, "png")


def frame(name: str, duration_s: float = 0.1) -> Frame:
    return Frame(name.encode(), FACTS, FrameKind.IN_BETWEEN, "theme", duration_s)


def taken(buffer: FrameBuffer, now: float = 0.0) -> list[str]:
    names = []
    while (next_frame := buffer.take(now)) is not None:
        names.append(next_frame.data.decode())
    return names


def test_frames_leave_in_order_whatever_the_order_of_their_arrival() -> None:
    buffer = FrameBuffer(1000)
    places = buffer.reserve([0.1] * 3)
    for index in (2, 0, 1):
        buffer.put(places[index], frame(str(index)))
    assert taken(buffer) == ["0", "1", "2"]


def test_a_missing_frame_holds_the_next_ones_only_until_its_deadline() -> None:
    buffer = FrameBuffer(1000)
    places = buffer.reserve([0.1] * 3)
    buffer.expect(places, deadline=10.0)
    buffer.put(places[0], frame("0"))
    buffer.put(places[2], frame("2"))
    assert taken(buffer, now=9.9) == ["0"]
    assert taken(buffer, now=10.0) == ["2"]
    assert buffer.skipped == 1


def test_an_abandoned_place_is_passed_over_at_once() -> None:
    buffer = FrameBuffer(1000)
    places = buffer.reserve([0.1] * 3)
    buffer.put(places[2], frame("2"))
    buffer.abandon(places[:2])
    assert taken(buffer) == ["2"]
    assert buffer.skipped == 2


def test_a_frame_that_comes_after_its_place_was_passed_is_refused() -> None:
    buffer = FrameBuffer(1000)
    places = buffer.reserve([0.1, 0.1])
    buffer.expect(places, deadline=1.0)
    assert taken(buffer, now=2.0) == []
    assert not buffer.put(places[0], frame("late"))
    assert taken(buffer, now=3.0) == []


def test_ready_counts_only_what_can_be_shown_without_waiting() -> None:
    buffer = FrameBuffer(1000)
    places = buffer.reserve([0.1] * 4)
    buffer.put(places[0], frame("0"))
    buffer.put(places[3], frame("3"))
    assert buffer.ready_s == pytest.approx(0.1)
    assert buffer.promised_s == pytest.approx(0.4)
    buffer.put(places[1], frame("1"))
    buffer.abandon([places[2]])
    assert buffer.ready_s == pytest.approx(0.4)
    assert buffer.promised_s == pytest.approx(0.4)


def test_the_time_of_a_frame_that_will_not_come_goes_to_the_one_before_it() -> None:
    buffer = FrameBuffer(1000)
    places = buffer.reserve([0.1] * 4)
    for index in (0, 3):
        buffer.put(places[index], frame(str(index)))
    buffer.abandon(places[1:3])
    durations = [one.duration_s for one in iter(lambda: buffer.take(0.0), None)]
    assert durations == pytest.approx([0.3, 0.1])


def test_with_no_frame_before_it_the_time_is_lost() -> None:
    buffer = FrameBuffer(1000)
    places = buffer.reserve([0.1] * 2)
    buffer.put(places[1], frame("1"))
    buffer.abandon(places[:1])
    assert buffer.ready_s == pytest.approx(0.1)
    assert buffer.promised_s == pytest.approx(0.1)


def test_frames_that_wait_can_be_given_other_times() -> None:
    buffer = FrameBuffer(1000)
    places = buffer.reserve([0.1] * 3)
    buffer.put(places[0], frame("0"))
    buffer.retime(places[:2], [0.3, 0.2])
    assert buffer.ready_s == pytest.approx(0.3)
    assert buffer.promised_s == pytest.approx(0.6)
    first = buffer.take(0.0)
    assert first is not None
    assert first.duration_s == pytest.approx(0.3)
    buffer.retime(places[:1], [9.0])
    assert buffer.promised_s == pytest.approx(0.3), "it is gone already"


def test_the_next_frame_can_be_looked_at_before_it_is_due() -> None:
    buffer = FrameBuffer(1000)
    places = buffer.reserve([0.1] * 3)
    assert buffer.peek() is None
    buffer.put(places[1], frame("1"))
    assert buffer.peek() is None, "the one before it may still come"
    buffer.abandon(places[:1])
    seen = buffer.peek()
    assert seen is not None
    assert seen.data == b"1"
    assert taken(buffer) == ["1"]


def test_an_empty_buffer_has_exactly_no_seconds() -> None:
    buffer = FrameBuffer(1000)
    for place in buffer.reserve([0.1] * 7):
        buffer.put(place, frame("x"))
    assert len(taken(buffer)) == 7
    assert (buffer.ready_s, buffer.promised_s, buffer.size_bytes) == (0.0, 0.0, 0)


def test_the_bytes_are_bounded_and_a_frame_too_many_is_passed_over() -> None:
    buffer = FrameBuffer(max_bytes=5)
    places = buffer.reserve([0.1] * 3)
    assert buffer.put(places[0], frame("abc"))
    assert not buffer.put(places[1], frame("def"))
    assert buffer.put(places[2], frame("gh"))
    assert buffer.size_bytes == 5
    assert taken(buffer) == ["abc", "gh"]


def test_a_place_takes_one_frame_only() -> None:
    buffer = FrameBuffer(1000)
    (place,) = buffer.reserve([0.1])
    assert buffer.put(place, frame("first"))
    assert not buffer.put(place, frame("second"))
    assert taken(buffer) == ["first"]


def test_nothing_ready_is_exactly_nothing_while_more_is_to_come() -> None:
    buffer = FrameBuffer(1000)
    places = buffer.reserve([0.1] * 9)
    for place in places[:7]:
        buffer.put(place, frame("x"))
    assert len(taken(buffer)) == 7
    assert buffer.ready_s == 0.0
    assert buffer.promised_s == pytest.approx(0.2)
