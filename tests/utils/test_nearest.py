from __future__ import annotations

import pytest

from backend.utils.nearest import nearest

KNOWN = ("sd15.safetensors", "SDXL/base.safetensors", "flux1-dev.safetensors")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("SD15.safetensors", "sd15.safetensors"),
        ("base.safetensors", "SDXL/base.safetensors"),
        ("other\\base.safetensors", "SDXL/base.safetensors"),
        ("flux-dev.safetensors", "flux1-dev.safetensors"),
        ("§§§", None),
        ("", None),
    ],
)
def test_case_and_folder_are_forgiven_before_letters(name: str, expected: str | None) -> None:
    assert nearest(name, KNOWN) == expected


def test_a_name_of_a_million_letters_is_compared_by_its_beginning() -> None:
    assert nearest("sd15.safetensors" + "x" * 1_000_000, KNOWN) is None
