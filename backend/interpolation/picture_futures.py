"""Pictures that come one by one: jobs as futures, and futures as a job."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from backend.errors import DreamloopError, EngineError, JobFailed
from backend.interpolation.decoder import PicturesJob
from backend.utils.futures import when_all_done

UNFIT = "decoder"
"""``JobFailed.kind`` of what a decoder cannot do, and another one may."""


class PicturesInTheMaking:
    """A `PicturesJob` whose pictures come one by one."""

    def __init__(self, pictures: Sequence[Future[bytes]]) -> None:
        self._pictures = pictures
        self._to_tell = set(range(len(pictures)))

    def done(self) -> bool:
        """Whether all have come, or never will."""
        return all(picture.done() for picture in self._pictures)

    def add_done_callback(self, callback: Callable[[], None]) -> None:
        """Call back, from any thread, when all have ended."""
        when_all_done(self._pictures, callback)

    def arrived(self) -> tuple[tuple[int, bytes], ...]:
        """See `PicturesJob.arrived`."""
        came = [at for at in sorted(self._to_tell) if self._pictures[at].done()]
        self._to_tell.difference_update(came)
        good = [at for at in came if self._pictures[at].exception() is None]
        return tuple((at, self._pictures[at].result()) for at in good)

    def add_arrival_callback(self, callback: Callable[[], None]) -> None:
        """See `PicturesJob.add_arrival_callback`."""
        for picture in self._pictures:
            picture.add_done_callback(lambda _: callback())

    def pictures(self) -> tuple[bytes, ...]:
        """The encoded pictures, in order.

        Raises:
            JobFailed: One of them could not be made.
        """
        try:
            return tuple(picture.result(timeout=0.0) for picture in self._pictures)
        except EngineError:
            raise
        except DreamloopError as error:
            raise JobFailed(UNFIT, str(error)) from error


def pictures_of(job: PicturesJob, count: int) -> list[Future[bytes]]:
    """The pictures of a job in order, each as soon as it comes; what does not come fails as the job does."""
    pictures: list[Future[bytes]] = [Future() for _ in range(count)]
    lock = threading.Lock()  # pictures may come on one thread while the job ends on another

    def take() -> None:
        with lock:
            for place, data in job.arrived():
                _settle(pictures[place], data)

    def end() -> None:
        try:
            came = job.pictures()
        except EngineError as error:
            with lock:
                for picture in pictures:
                    if not picture.done():
                        picture.set_exception(error)
            return
        with lock:
            for picture, data in zip(pictures, came, strict=True):
                _settle(picture, data)

    job.add_arrival_callback(take)
    job.add_done_callback(end)
    return pictures


def _settle(picture: Future[bytes], data: bytes) -> None:
    if not picture.done():
        picture.set_result(data)
