from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch

from comfyui_nodes.pipe import FramePipe

GUARD_S = 20.0


@dataclass
class Desk:
    """Takes frames, when it is let."""

    most: int | None = None
    taken: list[tuple[int, bytes]] = field(default_factory=list)
    threads: set[int | None] = field(default_factory=set)
    free: threading.Event = field(default_factory=threading.Event)

    def deliver(self, frame: int, picture: bytes) -> bool:
        assert self.free.wait(GUARD_S)
        self.threads.add(threading.get_ident())
        if self.most is not None and len(self.taken) >= self.most:
            return False
        self.taken.append((frame, picture))
        return True


def pixels(number: int) -> torch.Tensor:
    return torch.full((2, 2, 3), float(number))


def encode(frame: torch.Tensor) -> bytes:
    return bytes([int(frame[0, 0, 0])])


def eventually(true: Callable[[], bool]) -> bool:
    until = time.monotonic() + GUARD_S
    while not true() and time.monotonic() < until:
        time.sleep(0.001)
    return true()


def nothing() -> None:
    pass


def pipe(desk: Desk, check: Callable[[], None] = nothing, **how: int) -> FramePipe:
    return FramePipe(encode, desk, check=check, **how)


def open_desk(most: int | None = None) -> Desk:
    desk = Desk(most)
    desk.free.set()
    return desk


def test_every_frame_is_delivered_by_the_end_and_counted() -> None:
    desk = open_desk()
    with pipe(desk, threads=3, most_waiting=2) as frames:
        for number in range(30):
            frames.put(number, pixels(number))
    assert sorted(desk.taken) == [(number, bytes([number])) for number in range(30)]
    assert (frames.delivered, frames.bytes) == (30, 30)


def test_one_thread_keeps_the_order() -> None:
    desk = open_desk()
    with pipe(desk) as frames:
        for number in range(20):
            frames.put(number, pixels(number))
    assert [frame for frame, _ in desk.taken] == list(range(20))


def test_the_thread_that_brings_frames_neither_encodes_nor_delivers() -> None:
    desk, encoders = open_desk(), []

    def note(frame: torch.Tensor) -> bytes:
        encoders.append(threading.get_ident())
        return encode(frame)

    with FramePipe(note, desk, check=nothing) as frames:
        frames.put(0, pixels(0))
    assert threading.get_ident() not in {*encoders, *desk.threads}


class Stop(Exception):  # noqa: N818 - a wish
    pass


def test_whoever_brings_more_than_there_is_room_for_waits_and_can_be_interrupted() -> None:
    desk, brought, looks = Desk(), [], []

    def check() -> None:
        looks.append(len(brought))
        if len(looks) == 2:
            desk.free.set()  # so that leaving can end
            raise Stop

    def bring() -> None:
        with pipe(desk, check, most_waiting=3) as frames:
            for number in range(10):
                frames.put(number, pixels(number))
                brought.append(number)

    with pytest.raises(Stop):
        bring()
    assert brought == [0, 1, 2]
    assert set(looks) == {3}


def test_after_an_error_what_waits_is_dropped() -> None:
    taken = []

    class Slow:
        """Keeps a frame until the pipe is closed."""

        def deliver(self, frame: int, picture: bytes) -> bool:
            assert eventually(lambda: not frames.wanted)
            taken.append(frame)
            return True

    frames = FramePipe(encode, Slow(), check=nothing, most_waiting=8)

    def bring() -> None:
        with frames:
            for number in range(8):
                frames.put(number, pixels(number))
            raise Stop

    with pytest.raises(Stop):
        bring()
    assert taken == [0]


def test_a_frame_that_cannot_be_encoded_is_an_error_where_frames_come_from() -> None:
    def fail(_: torch.Tensor) -> bytes:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"), FramePipe(fail, open_desk(), check=nothing) as frames:
        frames.put(0, pixels(0))


def test_once_nobody_takes_frames_any_more_none_are_wanted() -> None:
    desk = open_desk(most=2)
    with pipe(desk, most_waiting=1) as frames:
        for number in range(10):
            if not frames.wanted:
                break
            frames.put(number, pixels(number))
    assert len(desk.taken) == 2
    assert frames.delivered == 2
    assert number < 9


def test_no_thread_is_left_behind() -> None:
    before = threading.active_count()
    with pipe(open_desk(), threads=4) as frames:
        for number in range(8):
            frames.put(number, pixels(number))
    assert threading.active_count() == before
