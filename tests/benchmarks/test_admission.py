from __future__ import annotations

from benchmarks.admission import admitted


def test_the_door_lets_the_different_in_and_nothing_twice() -> None:
    found = admitted(12, 4)
    assert found.different == 1.0
    assert (found.same_bytes, found.same_pixels) == (0.0, 0.0)
    assert found.nearly == {"JPEG q60": 0.0, "2 % crop": 0.0, "1 px shift": 0.0}
