from __future__ import annotations

import threading

from backend.utils.probe import Probe


def test_an_answer_is_the_answer() -> None:
    assert Probe("it", lambda: 7)() == 7


def test_what_raises_is_unknown_and_asked_again() -> None:
    answers = iter([ValueError("no"), 3])

    def ask() -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    probe = Probe("it", ask)
    assert probe() is None
    assert probe() == 3


def test_what_hangs_is_unknown_and_never_asked_twice_at_a_time() -> None:
    go_on, asked = threading.Event(), []

    def hang() -> int:
        asked.append(threading.current_thread())
        go_on.wait(60)
        return 1

    probe = Probe("a driver", hang, deadline_s=0.01)
    assert [probe() for _ in range(3)] == [None, None, None]
    assert len(asked) == 1
    go_on.set()
    asked[0].join(60)
    assert probe() == 1
    assert len(asked) == 2
