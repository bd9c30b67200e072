"""Previews while a latent is sampled, compared with those of a real server started with ``latent2rgb``."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backend.engine.messages import PictureType, picture, picture_with_origin
from backend.engine.painting import Latent, Pixels
from backend.engine.previews import are_wanted, preview
from tests.engine.listener import Listener, shapes
from tests.engine.recorded import CHECKPOINTS, recorded
from tests.fakes.fake_comfy import FakeComfy, txt2img
from tests.fakes.painters import NumpyPainter

ASKING = {"extra_data": {"preview_method": "latent2rgb"}}
ORIGIN = {"node_id": "5", "prompt_id": "bf67b6ce-3fca-4c56-bf93-dfd8aecceb54"}


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeComfy]:
    with FakeComfy(tmp_path, dialect="B", checkpoints=CHECKPOINTS) as fake:
        yield fake


def graph(batch: int = 2, **changes: Any) -> dict[str, Any]:
    """The recorded one: KSampler 5 of three steps, SaveImageWebsocket 7."""
    nodes = txt2img(CHECKPOINTS[1], size_px=(128, 128), steps=3, saver="SaveImageWebsocket", **changes)
    nodes["4"]["inputs"]["batch_size"] = batch
    return nodes


def noise(batch: int, width: int, height: int) -> Latent:
    return np.random.default_rng(1).standard_normal((batch, 4, height // 8, width // 8), np.float32)


def pictures(heard: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [message for message in heard if "event" in message]


def jpegs(heard: list[dict[str, Any]]) -> list[bytes]:
    return [message["picture"] for message in pictures(heard) if message["picture"].startswith(b"\xff\xd8")]


def opened(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image


def test_with_feature_flags_each_step_sounds_like_the_recorded_one(fake: FakeComfy) -> None:
    with Listener(fake.url, flags=True) as client:
        client.run(graph(batch=1))
        heard = client.run(graph(), **ASKING)
    assert shapes(heard) == shapes(recorded("previews")["flags"]["messages"])
    prompt_id = heard[-1]["data"]["prompt_id"]
    told = [(one["metadata"]["node_id"], one["metadata"]["prompt_id"]) for one in pictures(heard)]
    assert told == [*[("5", prompt_id)] * 3, *[("7", prompt_id)] * 2]


def test_without_flags_each_step_sounds_like_the_recorded_one(fake: FakeComfy) -> None:
    with Listener(fake.url) as client:
        heard = client.run(graph(), **ASKING)
    assert shapes(heard) == shapes(recorded("previews")["noflags"]["messages"])
    assert [message["image_type"] for message in pictures(heard)] == [1, 1, 1, 2, 2]


def test_frames_begin_as_the_recorded_ones_byte_for_byte_up_to_the_picture_itself() -> None:
    image = preview(NumpyPainter(), noise(1, 128, 128))
    for name, frame in (
        ("flags", picture_with_origin(PictureType.JPEG, image, **ORIGIN)),
        ("noflags", picture(PictureType.JPEG, image)),
    ):
        head = bytes.fromhex(recorded("previews")[name]["head_hex"])
        assert frame[: len(head)] == head


def test_previews_show_where_the_latent_is_and_end_where_the_picture_is(fake: FakeComfy) -> None:
    with Listener(fake.url, flags=True) as client:
        heard = client.run(graph(), **ASKING)
    *shown, last = (np.asarray(opened(data).resize((128, 128)), np.float32) for data in jpegs(heard))
    first, second = (
        np.asarray(opened(one["picture"]), np.float32)
        for one in pictures(heard)
        if one["metadata"]["node_id"] == "7"
    )
    assert np.abs(last - first).mean() < min(np.abs(one - first).mean() for one in shown)
    assert np.abs(last - first).mean() < 10 < np.abs(last - second).mean()


@pytest.mark.parametrize(
    ("size_px", "expected"),
    [
        ((768, 432), (512, 288)),
        ((432, 768), (288, 512)),
        ((64, 64), (512, 512)),
        ((1024, 512), (512, 256)),
        ((16384, 8), (512, 1)),
    ],
)
def test_a_preview_just_fits_its_square_whatever_the_shape(
    size_px: tuple[int, int], expected: tuple[int, int]
) -> None:
    image = opened(preview(NumpyPainter(), noise(1, *size_px)))
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", expected)


@pytest.mark.parametrize("method", ["latent2rgb", "auto", "taesd"])
def test_these_methods_are_previews(method: str) -> None:
    assert are_wanted({"preview_method": method})


@pytest.mark.parametrize("method", ["none", "default", "nonsense", "", None, 1, ["auto"], {}])
def test_any_other_method_is_none(method: object) -> None:
    assert not are_wanted({"preview_method": method})


class Counting(NumpyPainter):
    """Knows how many latents it was given to decode."""

    def __init__(self) -> None:
        self.decoded: list[int] = []

    def decode(self, latent: Latent) -> Iterator[Pixels]:
        self.decoded.append(len(latent))
        return super().decode(latent)


@pytest.mark.parametrize(
    ("dialect", "extra_data"),
    [("B", {}), ("B", {"preview_method": "none"}), ("A", {"preview_method": "latent2rgb"})],
    ids=["nobody asked", "asked for none", "dialect A does not know"],
)
def test_nothing_is_painted_nor_sent_for_a_job_without_previews(
    tmp_path: Path, dialect: str, extra_data: dict[str, Any]
) -> None:
    painter = Counting()
    with (
        FakeComfy(tmp_path, dialect=dialect, painter=painter, checkpoints=CHECKPOINTS) as fake,
        Listener(fake.url, flags=True) as client,
    ):
        heard = client.run(graph(), extra_data=extra_data)
    assert painter.decoded == [2]
    assert not jpegs(heard)


def test_only_the_job_that_asked_has_previews_and_only_of_the_first_of_its_batch(tmp_path: Path) -> None:
    painter = Counting()
    with (
        FakeComfy(tmp_path, dialect="B", painter=painter, checkpoints=CHECKPOINTS) as fake,
        Listener(fake.url, flags=True) as client,
    ):
        asked = client.run(graph(), **ASKING)
        after = client.run(graph(seed=2))
    assert painter.decoded == [1, 1, 1, 2, 2]
    assert (len(jpegs(asked)), len(jpegs(after))) == (3, 0)


def test_a_sampling_with_previews_stops_between_two_steps_too(tmp_path: Path) -> None:
    painter = Counting()
    with (
        FakeComfy(tmp_path, dialect="B", painter=painter, checkpoints=CHECKPOINTS) as fake,
        Listener(fake.url, flags=True) as client,
    ):
        fake.painter.hold()
        client.post(graph(), **ASKING)
        while client.next().get("data", {}).get("node") != "5":
            pass
        fake.server.core.queue.interrupt()
        fake.painter.release()
        heard = client.until_end()
    assert any(message.get("type") == "execution_interrupted" for message in heard)
    assert painter.decoded == [], "not even the preview of the step that was waited for"
