from __future__ import annotations

from dataclasses import dataclass

from backend.core.frame_buffer import Frame, FrameBuffer, FrameKind
from backend.core.headroom import Headroom
from backend.utils.picture_check import PictureFacts

USUAL_S, FOLDED_S = 2.0, 6.0


@dataclass
class Gaps:
    gap_s: float = USUAL_S
    opening_s: float = 0.0

    def coming_s(self, folded: str | None) -> float:
        return USUAL_S if folded is None else FOLDED_S


@dataclass
class Keyframe:
    folded: str | None = None


def headroom(wished_s: float = 5.0, ahead_s: float = 0.0, gaps: Gaps | None = None) -> Headroom:
    buffer = FrameBuffer(100)
    buffer.reserve([ahead_s])
    return Headroom(wished_s, buffer, gaps or Gaps())


def test_there_is_room_until_so_many_seconds_are_promised_as_are_wished() -> None:
    assert headroom(ahead_s=4.9).has_room(None)
    assert not headroom(ahead_s=5.0).has_room(None)


def test_what_is_on_its_way_takes_its_room_and_more_of_it_with_a_memory_folded_in() -> None:
    assert headroom(ahead_s=2.5).has_room(Keyframe())
    assert not headroom(ahead_s=3.5).has_room(Keyframe())
    assert not headroom(ahead_s=2.5).has_room(Keyframe("a memory"))


def test_a_gap_that_is_about_to_be_opened_counts_as_ahead() -> None:
    assert not headroom(ahead_s=2.5, gaps=Gaps(opening_s=2.5)).has_room(None)


def test_a_gap_that_is_longer_than_what_is_wished_fits_all_the_same() -> None:
    room = headroom(wished_s=1.0, ahead_s=1.5)
    assert room.target_s == USUAL_S
    assert room.has_room(None)


def test_other_wishes_hold_at_once() -> None:
    room = headroom(ahead_s=6.0)
    room.wished_s = 7.0
    assert room.has_room(None)


def test_a_keyframe_that_has_come_leaves_room_behind_its_gap_or_none() -> None:
    assert headroom(ahead_s=2.5).has_room_after(Keyframe())
    assert not headroom(ahead_s=3.0).has_room_after(Keyframe())
    assert not headroom(ahead_s=2.5).has_room_after(Keyframe("a memory"))


def test_half_the_bytes_of_the_buffer_are_enough_however_few_seconds_they_are() -> None:
    buffer = FrameBuffer(100)
    places = buffer.reserve([0.1, 0.1])
    room = Headroom(5.0, buffer, Gaps())
    facts = PictureFacts(8, 8, "png")
    buffer.put(places[0], Frame(b"x" * 49, facts, FrameKind.KEYFRAME, "sea", 0.1))
    assert room.has_room(None)
    buffer.put(places[1], Frame(b"x", facts, FrameKind.KEYFRAME, "sea", 0.1))
    assert not room.has_room(None)
