from __future__ import annotations

import logging
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from backend.errors import JobFailed
from backend.utils.futures import NotComputed, after, ready, when_all_done
from tests.interpolation.sources import AtOnce


def test_the_callback_comes_once_when_the_last_has_ended() -> None:
    one: Future[int] = Future()
    other: Future[int] = Future()
    called: list[str] = []
    when_all_done([one, ready(1), other], lambda: called.append("done"))
    one.set_result(1)
    assert called == []
    other.set_exception(ValueError("no"))
    assert called == ["done"]


def test_of_nothing_all_have_ended() -> None:
    called: list[str] = []
    when_all_done([], lambda: called.append("done"))
    assert called == ["done"]


def test_what_is_made_of_results_waits_for_all_of_them() -> None:
    one: Future[int] = Future()
    total = after(AtOnce(), [one, ready(2)], lambda a, b: a + b)
    assert not total.done()
    one.set_result(1)
    assert total.result(0) == 3


def test_a_failure_is_handed_on_as_it_is() -> None:
    one: Future[int] = Future()
    total = after(AtOnce(), [one], lambda a: a)
    one.set_exception(JobFailed("oom", "too much"))
    with pytest.raises(JobFailed, match="oom"):
        total.result(0)


def test_a_mistake_is_logged_and_becomes_an_error_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        broken = after(AtOnce(), [ready(0)], lambda a: 1 // a)
    with pytest.raises(NotComputed, match="ZeroDivisionError"):
        broken.result(0)
    assert "ZeroDivisionError" in caplog.text


def test_after_the_pool_was_shut_down_nothing_is_waited_for_in_vain() -> None:
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(NotComputed, match="ending"):
        after(pool, [ready(1)], lambda a: a).result(0)
