from __future__ import annotations

import random

from backend.utils.backoff import Backoff


def test_backoff_doubles_with_jitter_up_to_its_longest_and_starts_anew_after_a_success() -> None:
    backoff = Backoff(0.5, 30.0, random.Random(1))
    waits = [backoff.next_s() for _ in range(40)]
    for index, wait_s in enumerate(waits):
        nominal = min(30.0, 0.5 * 2**index)
        assert nominal / 2 <= wait_s <= nominal
    backoff.reset()
    assert backoff.next_s() <= 0.5
