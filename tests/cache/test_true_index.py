from __future__ import annotations

from pathlib import Path

import numpy as np

from backend.cache.memory_row import Added
from backend.cache.policy import MemoryLimits, Policy
from backend.cache.vector_index import open_index
from tests.cache.memories import axis, new, open_memory


def test_the_true_index_and_the_plain_one_remember_and_evict_alike(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    vectors = random.normal(size=(120, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = random.random(120)
    told = []
    for name, other in (("plain", {}), ("true", {"index": lambda dimension: open_index(dimension, 1000)})):
        rules = {"limits": MemoryLimits(20, 10**9), "policy": Policy(admit_below=0.9), **other}
        with open_memory(tmp_path / name, **rules) as memory:
            outcomes = [
                memory.add(new(number, vector, score=float(score)))
                for number, (vector, score) in enumerate(zip(vectors, scores, strict=True))
            ]
        with open_memory(tmp_path / name, **rules) as memory:
            assert memory.check().whole
            kept = [row.id for row in memory.iterate()]
            near = [one for one, _ in memory.nearest(axis(0), 5)]
        gone = [one.evicted for one in outcomes if isinstance(one, Added)]
        told.append((kept, near, gone))
    assert told[0] == told[1]
    assert len(told[0][0]) == 20
    assert sum(map(len, told[0][2])) > 5
