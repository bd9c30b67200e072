from __future__ import annotations

import io

import numpy as np
from PIL import Image

from backend.core.crossfade import crossfade
from tests.fakes.memory_engine import picture


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as opened:
        return np.asarray(opened.convert("RGB"), dtype=np.float32)


def test_a_crossfade_leads_step_by_step_from_one_picture_to_the_other() -> None:
    older, newer = picture(1), picture(2, size=(32, 24))
    faded = [pixels(data) for data in crossfade(older, newer, 6)]
    assert len(faded) == 6
    distances = [float(np.abs(step - pixels(newer)).mean()) for step in faded]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.1 * distances[0]
    assert faded[0].shape == (24, 32, 3)
