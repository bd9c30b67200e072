"""Adds a picture to copies of ``<folder>/before``, killed before the first step, before the second ...

A step is a file made, renamed or removed, or a statement of SQL. The copies are ``<folder>/1`` and
so on; in the last one the addition came to its end.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sys
from pathlib import Path

from backend.cache.memory_row import Added
from backend.cache.policy import MemoryLimits
from tests.cache.memories import axis, between, new, open_memory

LIMITS = MemoryLimits(3, 10**9)
NINTH = new(9, axis(5), latent=b"new" * 500)
_STEPS = frozenset({"open", "os.rename", "os.remove", "os.mkdir"})


def fill(folder: Path) -> list[str]:
    """Three memories, of which the second and the third are a pair, and the second has to go."""
    facts = [(axis(0), 0.5), (axis(1), 0.1), (between(1, 2, 0.9), 0.9)]
    with open_memory(folder, limits=LIMITS) as memory:
        outcomes = [
            memory.add(new(number, vector, score=score, latent=b"%d" % number * 500))
            for number, (vector, score) in enumerate(facts)
        ]
    return [outcome.id for outcome in outcomes if isinstance(outcome, Added)]


def main() -> None:
    folder = Path(sys.argv[1])
    for last in itertools.count(1):
        copy = folder / str(last)
        shutil.copytree(folder / "before", copy)
        child = os.fork()  # there is no thread yet, and all is imported
        if child == 0:
            _add(copy, last)
            os._exit(0)
        if os.waitpid(child, 0)[1] == 0:
            return


def _add(folder: Path, last: int) -> None:
    steps = 0
    counting = False

    def step(*_: object) -> None:
        nonlocal steps
        steps += counting
        if counting and steps == last:
            os.kill(os.getpid(), signal.SIGKILL)

    with open_memory(folder, limits=LIMITS) as memory:
        sys.addaudithook(lambda event, _: step() if event in _STEPS else None)
        memory._keeper.store._writer.set_trace_callback(step)
        counting = True
        memory.add(NINTH)
        counting = False


if __name__ == "__main__":
    main()
