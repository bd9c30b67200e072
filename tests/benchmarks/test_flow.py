from __future__ import annotations

from benchmarks.flow import NEW, OLD, watch


def test_the_dream_flows_through_its_keyframes_and_neither_hurries_nor_lingers() -> None:
    old, new = (watch(way, 8, size=(128, 80), fps=6) for way in (OLD, NEW))
    assert new.kink / old.kink <= 0.33
    for judge in ("colour", "structure"):  # a second: frames are held longer before larger steps
        assert new.uneven(judge, by_time=True) / old.uneven(judge, by_time=True) <= 0.5, judge
