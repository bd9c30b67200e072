from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.soak.gauges import held_mb, numbers, slope_a_minute


def test_a_slope_is_found_among_peaks_and_noise() -> None:
    rng = random.Random(1)
    at_s = [float(second) for second in range(600)]
    values = [100.0 + 0.02 * at + rng.gauss(0.0, 1.0) + (40.0 if rng.random() < 0.1 else 0.0) for at in at_s]
    assert slope_a_minute(at_s, values) == pytest.approx(1.2, abs=0.15)


def test_what_is_flat_has_no_slope() -> None:
    assert slope_a_minute([0.0, 1.0, 2.0], [5.0, 5.0, 5.0]) == 0.0
    assert slope_a_minute([0.0], [5.0]) == 0.0


def test_a_file_under_two_names_is_held_once(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    first = tmp_path / "frames" / "000000007.png"
    first.write_bytes(bytes(2_000_000))
    (tmp_path / "frames" / "000000008.png").hardlink_to(first)
    (tmp_path / "filler").write_bytes(bytes(9_000_000))
    assert held_mb(tmp_path) == pytest.approx(2.0)
    assert numbers(tmp_path / "frames") == {7, 8}
