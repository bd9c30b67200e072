from __future__ import annotations

import numpy as np
import pytest

from benchmarks.distinct import edge_directions, thumbnail, vendi


def test_the_judge_counts_pictures_and_is_not_fooled_by_copies() -> None:
    unlike = np.eye(12) * 10.0
    assert vendi(unlike, 1.0) == pytest.approx(12.0)
    assert vendi(np.repeat(unlike[:3], 20, axis=0), 1.0) == pytest.approx(3.0)


def test_the_judge_tells_pictures_apart_by_their_colours_and_by_their_edges() -> None:
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    across = np.repeat(np.tile(ramp, (64, 1))[:, :, None], 3, axis=2)
    down = across.transpose(1, 0, 2)
    assert np.abs(thumbnail(across) - thumbnail(down)).mean() > 0.05
    assert edge_directions(across) @ edge_directions(down) < 0.1
