from __future__ import annotations

import numpy as np
from PIL import Image

from backend.cache.injection import DELAY
from benchmarks.memory_case import DENOISE, Case, Run
from benchmarks.memory_cure import kept_name, plot, quick, rows_of


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


def test_dreams_that_were_kept_are_found_under_their_names_again() -> None:
    assert kept_name(Case(("aurora",), 301), memory=True) == "301-on-03c86a351b311eeb.npz"
    assert kept_name(Case(("aurora",), 301), memory=False) == "301-off-be57d45a5e003eba.npz"


def test_a_dream_that_was_kept_comes_back_as_it_was(tmp_path) -> None:
    run = Run(
        thumbnails=np.arange(6.0).reshape(2, 3),
        edges=np.ones((2, 1)),
        touched=np.array([False, True]),
        shown=0.25,
        touched_time=0.5,
        levels=(0.0, 0.75),
        reasons=("it goes in circles",),
        decided=(1,),
        fresh=2,
    )
    run.save(tmp_path / "a.npz")
    again = Run.load(tmp_path / "a.npz")
    assert (again.thumbnails == run.thumbnails).all()
    assert (again.touched == run.touched).all()
    assert (again.shown, again.touched_time, again.fresh) == (0.25, 0.5, 2)
    assert (again.levels, again.reasons, again.decided) == (run.levels, run.reasons, run.decided)
