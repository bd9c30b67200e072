"""What keyframes lose, told from chains of them."""

from __future__ import annotations

import io
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from backend.core.generator import DreamGenerator, Keyframe
from backend.core.jobs import FileRef
from backend.utils.prompt_manager import Prompt
from benchmarks.generation_loss import Chain, chain, painted, plot


@dataclass
class _Pending:
    previous: Keyframe
    job: Future[None]


@dataclass
class _Blurring:
    """Each keyframe has half the contrast of the one before it."""

    begins: list[Keyframe | None] = field(default_factory=list)
    retired: list[str] = field(default_factory=list)

    def request(self, prompt: Prompt, previous: Keyframe | None) -> Any:
        self.begins.append(previous)
        assert previous is not None
        job: Future[None] = Future()
        job.set_result(None)
        return _Pending(previous, job)

    def collect(self, pending: _Pending) -> Keyframe:
        pixels = np.asarray(Image.open(io.BytesIO(pending.previous.picture))).astype(float)
        buffer = io.BytesIO()
        Image.fromarray((pixels.mean() + (pixels - pixels.mean()) / 2).astype(np.uint8)).save(buffer, "PNG")
        number = pending.previous.number + 1
        return replace(
            pending.previous, number=number, picture=buffer.getvalue(), latent=FileRef(f"{number}.latent")
        )

    def retire(self, keyframe: Keyframe) -> None:
        self.retired += [] if keyframe.latent is None else [keyframe.latent.filename]


@pytest.fixture(scope="module")
def begin() -> Keyframe:
    return painted((64, 48))


@pytest.mark.parametrize("by_pictures", [False, True])
def test_a_chain_goes_on_from_where_it_begins_with_or_without_latents(
    begin: Keyframe, by_pictures: bool
) -> None:
    blurring = _Blurring()
    told = chain(cast(DreamGenerator, blurring), 3, by_pictures=by_pictures, begin=begin)
    assert [one.number for one in blurring.begins if one] == [0, 1, 2]
    assert blurring.retired == ["1.latent", "2.latent"]
    assert [one.latent is None for one in blurring.begins if one] == [True, by_pictures, by_pictures]
    assert told.sharpness[2] < told.sharpness[1] < told.sharpness[0]


def test_what_is_kept_and_lost_and_how_colours_drift() -> None:
    steps = np.arange(220)
    fading = Chain(0.99**steps, np.where(steps < 110, 0.1, 0.13), np.where(steps < 110, 0.5, 0.54))
    assert fading.kept == pytest.approx(0.99**200)
    assert fading.lost_a_step == pytest.approx(0.01)
    assert fading.colour_drift == pytest.approx(0.05)


def test_a_plot_has_a_row_for_each_engine(tmp_path: Path) -> None:
    one = Chain(*(np.linspace(1.0, 0.5, 40) for _ in range(3)))
    heights = []
    for engines in ({"a": (one, one)}, {"a": (one, one), "b": (one, one)}):
        plot(engines, tmp_path / "plot.png")
        with Image.open(tmp_path / "plot.png") as image:
            heights.append(image.height)
            assert len(image.convert("RGB").getcolors(10_000)) > 4
    assert heights == [290, 560]
