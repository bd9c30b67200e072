from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from backend.cache.injection import DELAY
from benchmarks.distinct import edge_directions, thumbnail, vendi
from benchmarks.memory_cure import DENOISE, plot, quick, rows_of


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


def test_a_collapsing_loop_shows_more_distinct_pictures_with_memory_than_without_and_no_larger_steps(
    tmp_path,
) -> None:
    cured = quick()
    assert DENOISE <= 0.2, "at more denoise the loop does not collapse by itself"
    assert cured.on.reasons, "the collapse was never answered"
    assert max(cured.on.levels) > 0.5
    assert not cured.off.touched.any()
    begun = [at for at in np.flatnonzero(cured.on.touched) if not cured.on.touched[at - 1]]
    waited = [at - decided for at, decided in zip(begun, cured.on.decided, strict=False)]
    assert set(waited) <= {DELAY - 1, DELAY}, "sooner only where the engine rested and asked for nothing yet"
    assert (cured.on.fresh > 0, cured.off.fresh) == (True, 0)
    assert cured.share <= 0.15
    assert cured.ratio > 1.25, cured.ratio
    assert cured.shown_ratio < 1.5, "a turn of six usual steps must take six times as long"
    assert cured.keyframe_ratio > 1.5
    plot({"one theme, empty memory": [cured], "one theme, 20 seed pictures": [cured]}, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as drawn:
        assert drawn.size == (720, 300)
    assert (tmp_path / "a.png").stat().st_size < 60_000


def test_rows_that_differ_by_the_memory_alone_share_the_dream_without_one() -> None:
    rows = rows_of((1, 2), 10)
    without = {case.without_memory for name in list(rows)[:3] for case in rows[name]}
    assert len(without) == 2
    assert {case.without_memory for case in rows["rotating themes, empty memory"]}.isdisjoint(without)
