"""Frames on their way from the thread that decodes to whoever gets them, encoded on threads beside it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

MOST_WAITING = 16
"""Frames that may wait to be encoded and delivered; whoever brings more has to wait, too."""

_LOOK_S = 0.05


class Delivery(Protocol):
    """Where encoded frames go; called from the pipe's threads, for several frames at a time."""

    def deliver(self, frame: int, picture: bytes) -> bool:
        """Hand a frame over; False where nobody is there to take it, and nobody will be."""
        ...


class FramePipe:
    """Encodes and delivers; holds no more than a few frames at a time.

    Used as a context: leaving it waits until everything is delivered, or drops what waits after an error.

    Args:
        encode: Makes a file of a frame.
        delivery: Takes it.
        check: Called while waiting; raises to stop everything.
        threads: How many frames are encoded at a time.
        most_waiting: How many may be in here at a time.
    """

    def __init__(
        self,
        encode: Callable[[Tensor], bytes],
        delivery: Delivery,
        *,
        check: Callable[[], None],
        threads: int = 1,
        most_waiting: int = MOST_WAITING,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.delivered = 0
        self.bytes = 0
        self.encode_s = 0.0
        """Seconds of all threads together."""
        self._encode = encode
        self._delivery = delivery
        self._check = check
        self._clock = clock
        self._room = threading.BoundedSemaphore(most_waiting)
        self._most = most_waiting
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="dreamloop-frames")
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._nobody = threading.Event()

    @property
    def wanted(self) -> bool:
        """Whether there is any use in bringing more frames."""
        return not self._nobody.is_set()

    def put(self, frame: int, pixels: Tensor) -> None:
        """Bring a frame: shape ``[height, width, 3]``, 0 to 1. Waits while there is no room.

        Raises:
            Exception: What went wrong with an earlier one, or what ``check`` raises.
        """
        self._take_room()
        self._pool.submit(self._work, frame, pixels)

    def __enter__(self) -> FramePipe:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                for _ in range(self._most):  # all room is free once everything is delivered
                    self._take_room()
        finally:
            self._nobody.set()
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _take_room(self) -> None:
        while not self._room.acquire(timeout=_LOOK_S):
            self._check()
        if self._error is not None:
            raise self._error

    def _work(self, frame: int, pixels: Tensor) -> None:
        try:
            if self.wanted:
                self._pass_on(frame, pixels)
        except Exception as error:  # noqa: BLE001 - the top of the thread: it is raised where frames come from
            self._error = error
            self._nobody.set()
        finally:
            self._room.release()

    def _pass_on(self, frame: int, pixels: Tensor) -> None:
        began = self._clock()
        picture = self._encode(pixels)
        took_s = self._clock() - began
        taken = self._delivery.deliver(frame, picture)
        if not taken:
            self._nobody.set()
        with self._lock:
            self.encode_s += took_s
            self.delivered += taken
            self.bytes += len(picture) * taken
