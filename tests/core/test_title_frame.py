from __future__ import annotations

from backend.core.title_frame import title_frame
from backend.utils.picture_check import inspect_picture


def test_the_title_is_a_picture_that_passes_as_one_and_is_the_same_each_time() -> None:
    title = title_frame(768, 432, "falling asleep")
    facts = inspect_picture(title, max_pixels=768 * 432)
    assert (facts.width, facts.height, facts.format) == (768, 432, "png")
    assert title == title_frame(768, 432, "falling asleep")
