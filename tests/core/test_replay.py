from __future__ import annotations

from pathlib import Path

from backend.core.replay import KeptFrame, Replay


def frames(letters: str) -> list[KeptFrame]:
    return [KeptFrame(Path(letter), 0.1) for letter in letters]


def names(replay: Replay, count: int) -> list[str]:
    walked = [replay.next() for _ in range(count)]
    return [str(frame.path) for frame in walked if frame is not None]


def test_it_walks_back_from_the_newest_and_forward_again_without_a_jump() -> None:
    replay = Replay(frames("abcd"))
    assert names(replay, 9) == ["c", "b", "a", "b", "c", "d", "c", "b", "a"]


def test_fewer_than_two_frames_are_nothing_to_move_between() -> None:
    assert Replay([]).next() is None
    assert Replay(frames("a")).next() is None


def test_a_discarded_frame_is_left_out_and_the_walk_goes_on() -> None:
    replay = Replay(frames("abcd"))
    assert names(replay, 1) == ["c"]
    replay.discard(Path("c"))
    assert names(replay, 4) == ["a", "b", "d", "b"]
    for letter in "abd":
        replay.discard(Path(letter))
    assert replay.next() is None
