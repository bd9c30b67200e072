"""Results that wait for other results."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from backend.errors import DreamloopError

log = logging.getLogger(__name__)

Result = TypeVar("Result")


class NotComputed(DreamloopError):  # noqa: N818
    """A result that never comes: the program is ending, or there is a mistake in it."""


def ready(value: Result) -> Future[Result]:
    """A result that is there already."""
    future: Future[Result] = Future()
    future.set_result(value)
    return future


def when_all_done(futures: Sequence[Future[Any]], callback: Callable[[], None]) -> None:
    """Call back once, on the thread that ends the last of them; at once if all have ended."""
    lock, left = threading.Lock(), len(futures) + 1

    def one_is_done(_: object = None) -> None:
        nonlocal left
        with lock:
            left -= 1
            last = left == 0
        if last:
            callback()

    for future in futures:
        future.add_done_callback(one_is_done)
    one_is_done()


def after(pool: Executor, waited: Sequence[Future[Any]], function: Callable[..., Result]) -> Future[Result]:
    """What ``function`` makes of the results of others, computed by the pool when all are there.

    Where one of them has failed, or the function fails, that is how this one ends; with a DreamloopError in
    any case.
    """
    result: Future[Result] = Future()

    def compute() -> None:
        try:
            result.set_result(function(*(future.result() for future in waited)))
        except DreamloopError as error:
            result.set_exception(error)
        except Exception as error:
            log.exception("a picture could not be finished")
            result.set_exception(NotComputed(f"{type(error).__name__}: {error}"))

    def submit() -> None:
        try:
            pool.submit(compute)
        except RuntimeError:  # the pool was shut down
            result.set_exception(NotComputed("the program is ending"))

    when_all_done(waited, submit)
    return result
