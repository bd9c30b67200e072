"""Adds to a memory until it is killed; tells each addition once it is acknowledged: ``<id>``, a line each.

With a limit of entries it evicts as it goes, and tells that, too: ``-<id>``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from backend.cache.memory_row import Added
from backend.cache.policy import MemoryLimits, Policy
from tests.cache.memories import new, open_memory


def main() -> None:
    folder, seed, most = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    random = np.random.default_rng(seed)
    memory = open_memory(folder, policy=Policy(admit_below=1.1), limits=MemoryLimits(most, 10**9))
    print("open", flush=True)  # noqa: T201 - how it tells
    while True:
        vector = random.normal(size=8)
        one = new(
            int(random.integers(2**60)),
            (vector / np.linalg.norm(vector)).astype(np.float32),
            latent=random.bytes(3000),
            score=float(random.random()),
        )
        outcome = memory.add(one)
        if isinstance(outcome, Added):
            print("".join(f"-{gone}\n" for gone in outcome.evicted) + outcome.id, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
