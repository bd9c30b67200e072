from __future__ import annotations

import pytest

from backend.utils.ladder import Ladder, scaled_size


def test_it_goes_down_a_rung_at_a_time_to_the_last() -> None:
    ladder = Ladder((1.0, 0.7, 0.5))
    shares = [ladder.share]
    while ladder.down(0.0):
        shares.append(ladder.share)
    assert shares == [1.0, 0.7, 0.5]


def test_it_rises_a_rung_for_each_quiet_time_and_no_further_than_the_top() -> None:
    ladder = Ladder((1.0, 0.7, 0.5), rise_after_s=600.0)
    ladder.down(0.0)
    ladder.down(100.0)
    assert not ladder.rise(699.0)
    assert ladder.rise(700.0)
    assert not ladder.rise(1299.0)
    assert ladder.rise(1300.0)
    assert ladder.share == 1.0
    assert not ladder.rise(10_000.0)


def test_trouble_on_the_way_makes_the_quiet_time_begin_anew() -> None:
    ladder = Ladder((1.0, 0.7), rise_after_s=600.0)
    ladder.down(0.0)
    ladder.hold(500.0)
    assert not ladder.rise(1099.0)
    assert ladder.rise(1100.0)


@pytest.mark.parametrize("size", [(1024, 1024), (768, 432), (832, 1216), (1344, 768), (512, 512), (16, 8)])
@pytest.mark.parametrize("share", [0.85, 0.7, 0.5])
def test_smaller_sizes_are_divisible_and_keep_their_shape(size: tuple[int, int], share: float) -> None:
    width, height = scaled_size(size, share)
    assert width % 16 == height % 16 == 0
    assert width > 0
    assert height > 0
    if min(size) >= 400:
        assert width / height == pytest.approx(size[0] / size[1], rel=0.05)
        assert width * height == pytest.approx(size[0] * size[1] * share**2, rel=0.06)


def test_the_full_size_is_left_as_it_was_set() -> None:
    assert scaled_size((1000, 568), 1.0) == (1000, 568)
