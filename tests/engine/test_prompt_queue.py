from __future__ import annotations

import pytest

from backend.engine import prompt_queue
from backend.engine.prompt_queue import PromptQueue, QueueFull, QueueItem


def queue_of(*numbers: float) -> PromptQueue:
    queue = PromptQueue(lambda: None, history_size=3)
    for index, number in enumerate(numbers):
        queue.put(number, f"id{index}", {}, {}, ())
    return queue


def take(queue: PromptQueue) -> QueueItem:
    item = queue.take(0.0)
    assert item is not None
    return item


def test_equal_numbers_run_in_the_order_they_came() -> None:
    queue = queue_of(5, 1, 5, 1)
    assert [take(queue).prompt_id for _ in range(4)] == ["id1", "id3", "id0", "id2"]


def test_the_history_forgets_the_oldest() -> None:
    queue = queue_of(*range(5))
    for _ in range(5):
        queue.done(take(queue), {"outputs": {}})
    assert list(queue.history()) == ["id2", "id3", "id4"]


def test_an_interrupt_hits_only_the_prompt_that_runs() -> None:
    queue = queue_of(0, 1)
    take(queue)
    assert not queue.interrupt("id1")
    assert not queue.interrupted
    assert queue.interrupt("id0")
    assert queue.interrupted
    take(queue)
    assert not queue.interrupted


def test_there_is_an_end_to_what_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_queue, "MAX_PENDING", 2)
    queue = queue_of(0, 1)
    with pytest.raises(QueueFull):
        queue.put(2, "id2", {}, {}, ())


def test_each_change_is_told_once() -> None:
    changes: list[int] = []
    queue = PromptQueue(lambda: changes.append(queue.remaining()))
    queue.put(0, "a", {}, {}, ())
    queue.put(1, "b", {}, {}, ())
    item = take(queue)
    queue.delete({"b"})
    queue.delete({"b"})
    queue.done(item, {})
    assert changes == [1, 2, 2, 1, 0]


def test_a_closed_queue_gives_nothing_and_interrupts_what_runs() -> None:
    queue = queue_of(0, 1)
    take(queue)
    queue.close()
    assert queue.interrupted
    assert queue.take(0.0) is None


def test_a_prompt_that_was_abandoned_is_nowhere() -> None:
    queue = queue_of(0)
    take(queue)
    queue.abandon()
    assert queue.remaining() == 0
    assert queue.history() == {}
