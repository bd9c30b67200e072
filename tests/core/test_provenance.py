"""A keyframe tells where it comes from, to ComfyUI and to whoever asks."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image

from backend.core.provenance import Provenance, scored, stamped

GRAPH = {"1": {"class_type": "CLIPTextEncode", "inputs": {"text": "ein Wald 日本 \ud800", "clip": ["2", 1]}}}
FACTS = Provenance(
    sequence=7,
    theme="forest",
    prompt="a forest </script> 日本",
    negative="text",
    seed=2**53 - 1,
    parents=(6,),
    denoise=0.45,
    score=None,
    model="model.safetensors",
    engine="ComfyUI 0.3.64",
    time=datetime(2026, 1, 2, 3, 4, 5, 678000, UTC),
)


def png(width: int = 40, height: int = 24) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def texts(picture: bytes) -> dict[str, str]:
    with Image.open(io.BytesIO(picture)) as image:
        return dict(image.text)


def test_the_graph_comes_back_as_it_was_posted() -> None:
    assert json.loads(texts(stamped(png(), GRAPH, FACTS))["prompt"]) == GRAPH


def test_the_facts_come_back_whole() -> None:
    assert json.loads(texts(stamped(png(), GRAPH, FACTS))["dreamloop"]) == {
        "schema_version": 1,
        "sequence": 7,
        "theme": "forest",
        "prompt": "a forest </script> 日本",
        "negative": "text",
        "seed": 2**53 - 1,
        "parents": [6],
        "denoise": 0.45,
        "score": None,
        "model": "model.safetensors",
        "engine": "ComfyUI 0.3.64",
        "time": "2026-01-02T03:04:05.678Z",
    }


def test_texts_are_ascii_so_that_every_reader_gets_them() -> None:
    assert all(text.isascii() for text in texts(stamped(png(), GRAPH, FACTS)).values())


def test_what_the_server_wrote_itself_is_not_told_twice() -> None:
    assert stamped(stamped(png(), {}, FACTS), GRAPH, FACTS) == stamped(png(), GRAPH, FACTS)


def test_a_picture_that_is_no_png_stays_as_it_is() -> None:
    assert stamped(b"\xff\xd8\xff\xe0 jpeg", GRAPH, FACTS) == b"\xff\xd8\xff\xe0 jpeg"


def test_a_broken_png_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="PNG"):
        stamped(png()[:50], GRAPH, FACTS)


def test_a_number_that_json_has_not_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="JSON"):
        stamped(png(), {"1": {"class_type": "X", "inputs": {"cfg": float("nan")}}}, FACTS)


def test_it_costs_little_beside_looking_at_the_picture() -> None:
    picture = png(704, 384)

    def decode() -> None:
        with Image.open(io.BytesIO(picture)) as image:
            image.load()

    def best_of(work: Callable[[], object], turns: int = 15) -> float:
        seconds = []
        for _ in range(turns):
            start = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - start)
        return min(seconds)

    share = best_of(lambda: stamped(picture, GRAPH, FACTS)) / best_of(decode)
    assert share < 0.5


def test_a_score_that_comes_later_is_told_too() -> None:
    first = stamped(png(), GRAPH, FACTS)
    told = json.loads(texts(scored(first, 0.73219))["dreamloop"])
    assert told["score"] == 0.7322
    assert told["seed"] == FACTS.seed
    assert json.loads(texts(scored(first, 0.5))["prompt"]) == GRAPH


def test_what_tells_nothing_of_itself_stays_as_it_is() -> None:
    for data in (png(), b"", b"\xff\xd8\xff\xe0 jpeg", png()[:50]):
        assert scored(data, 0.5) == data
