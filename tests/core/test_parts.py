"""Small parts of the core, each with a behaviour or two."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
from PIL import Image

from backend.core.crossfade import crossfade
from backend.core.engine import EngineKind
from backend.core.engine_choice import DEFAULT_URL, choose_engine
from backend.core.title_frame import title_frame
from backend.core.trouble import Trouble
from backend.errors import EngineUnreachable, ModelMissing
from backend.utils.backoff import Backoff
from backend.utils.picture_check import inspect_picture
from backend.utils.status_schema import ReasonCode
from tests.fakes.memory_engine import picture


def test_the_title_is_a_picture_that_passes_as_one_and_is_the_same_each_time() -> None:
    title = title_frame(768, 432, "falling asleep")
    facts = inspect_picture(title, max_pixels=768 * 432)
    assert (facts.width, facts.height, facts.format) == (768, 432, "png")
    assert title == title_frame(768, 432, "falling asleep")


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


def test_auto_takes_a_local_comfyui_that_has_a_model() -> None:
    choice = choose_engine(None, lambda url: ("sd15.safetensors",))
    assert (choice.kind, choice.url) == (EngineKind.COMFYUI, DEFAULT_URL)


def test_auto_without_a_comfyui_dreams_by_itself_and_says_so_plainly() -> None:
    choice = choose_engine(None, lambda url: ())
    assert (choice.kind, choice.url) == (EngineKind.EMBEDDED, None)
    assert "embedded engine" in choice.note
    assert "no diffusion model" in choice.note


def test_an_address_that_was_given_is_never_replaced() -> None:
    choice = choose_engine("http://studio:8188", lambda url: pytest.fail("nobody is asked"))
    assert (choice.kind, choice.url) == (EngineKind.COMFYUI, "http://studio:8188")


def test_trouble_is_told_with_a_wish_and_forgotten_when_something_works() -> None:
    trouble = Trouble(random.Random(1))
    trouble.happened(EngineUnreachable("http://127.0.0.1:8188", "connection refused"), now=10.0)
    assert trouble.reason is not None
    assert trouble.reason.code is ReasonCode.ENGINE_UNREACHABLE
    assert "is ComfyUI running there?" in trouble.reason.sentence
    assert trouble.waiting(10.1)
    trouble.happened(ModelMissing("checkpoints", "a", ["b"], None), now=10.0)
    assert trouble.reason.code is ReasonCode.MODEL_MISSING
    trouble.over()
    assert trouble.reason is None
    assert not trouble.waiting(10.1)


def test_backoff_doubles_with_jitter_up_to_its_longest_and_starts_anew_after_a_success() -> None:
    backoff = Backoff(0.5, 30.0, random.Random(1))
    waits = [backoff.next_s() for _ in range(40)]
    for index, wait_s in enumerate(waits):
        nominal = min(30.0, 0.5 * 2**index)
        assert nominal / 2 <= wait_s <= nominal
    backoff.reset()
    assert backoff.next_s() <= 0.5
