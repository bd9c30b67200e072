from __future__ import annotations

import pytest

from benchmarks.node_pack import Cost, table

COSTS = {
    "stock": Cost(90.0, 110.0, 1e6, 2400.0, frames_per_s=5.0),
    "our nodes, jpeg": Cost(20.0, 110.0, 3e4, 300.0, 9.0, frames_per_s=7.0),
}


def found(size_px: int) -> dict[str, tuple[str, str]]:
    rows = table(COSTS, {"our nodes, jpeg": 40.0}, 12, size_px)
    return {what.strip(): (measured, wished) for what, measured, wished in rows}


@pytest.mark.parametrize(("size_px", "wished"), [(512, ""), (1024, "at least 1.3 on a GPU")])
def test_frames_a_second_are_told_beside_those_of_the_stock_nodes(size_px: int, wished: str) -> None:
    rows = found(size_px)
    assert rows["frames a second, our nodes, jpeg : stock"] == ("1.40", wished)
    assert rows["outside the decode, our nodes, jpeg : stock"] == ("0.222", "at most 0.33")
    assert any(what.startswith(f"{size_px}x{size_px}, stock") for what in rows)
