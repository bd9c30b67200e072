"""Prompts of several parts, LoRAs and the tiled VAE: nodes that people's own graphs have."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load

from backend.core.workflow_builder import Workflow
from backend.errors import GraphRejected
from tests.contract.conftest import SIZE_PX, Server, Studio

pytestmark = pytest.mark.contract

VIDEO = {"temporal_size": 64, "temporal_overlap": 8}


class Sketch:
    """The graph of a keyframe, to which nodes are added."""

    def __init__(self, server: Server, seed: int) -> None:
        workflow = server.keyframe()
        self.graph: dict[str, Any] = workflow.graph
        self.saver = workflow.picture_node
        self.sampler = self._only("KSampler")
        self.graph[self.sampler]["inputs"]["seed"] = seed
        self.loader = self._only("CheckpointLoaderSimple")

    def _only(self, class_type: str) -> str:
        (found,) = (node_id for node_id, node in self.graph.items() if node["class_type"] == class_type)
        return found

    def add(self, class_type: str, **inputs: Any) -> str:
        node_id = str(100 + len(self.graph))
        self.graph[node_id] = {"class_type": class_type, "inputs": inputs}
        return node_id

    def text(self, text: str) -> list[Any]:
        return [self.add("CLIPTextEncode", text=text, clip=[self.loader, 1]), 0]

    def wish(self, node_id: str) -> None:
        self.graph[self.sampler]["inputs"]["positive"] = [node_id, 0]

    def drawn(self, studio: Studio) -> NDArray[np.int64]:
        end = studio.finish(Workflow(self.graph, self.saver, None))
        with Image.open(io.BytesIO(end.pictures[0].data)) as image:
            return np.asarray(image.convert("RGB")).astype(int)


def drawn_text(studio: Studio, seed: int, text: str) -> NDArray[np.int64]:
    sketch = Sketch(studio.server, seed)
    sketch.wish(sketch.text(text)[0])
    return sketch.drawn(studio)


def drawn_average(studio: Studio, seed: int, strength: float) -> NDArray[np.int64]:
    sketch = Sketch(studio.server, seed)
    ends = {"conditioning_to": sketch.text("a red cat"), "conditioning_from": sketch.text("a blue dog")}
    sketch.wish(sketch.add("ConditioningAverage", **ends, conditioning_to_strength=strength))
    return sketch.drawn(studio)


def test_the_ends_of_an_average_are_its_prompts(studio: Studio) -> None:
    seed = studio.server.seed()
    np.testing.assert_array_equal(drawn_average(studio, seed, 1.0), drawn_text(studio, seed, "a red cat"))
    np.testing.assert_array_equal(drawn_average(studio, seed, 0.0), drawn_text(studio, seed, "a blue dog"))


@pytest.mark.parametrize(
    ("node", "first", "second"),
    [
        ("ConditioningCombine", "conditioning_1", "conditioning_2"),
        ("ConditioningConcat", "conditioning_to", "conditioning_from"),
    ],
)
def test_a_second_prompt_changes_the_picture(studio: Studio, node: str, first: str, second: str) -> None:
    seed = studio.server.seed()
    sketch = Sketch(studio.server, seed)
    sketch.wish(sketch.add(node, **{first: sketch.text("a red cat"), second: sketch.text("a blue dog")}))
    assert (sketch.drawn(studio) != drawn_text(studio, seed, "a red cat")).any()


def test_a_lora_of_no_strength_changes_nothing_and_a_strong_one_does(studio: Studio) -> None:
    names = studio.server.get("/models/loras").json()
    if not names:
        pytest.skip("this server has no LoRAs")
    seed = studio.server.seed()

    def drawn(strength: float) -> NDArray[np.int64]:
        sketch = Sketch(studio.server, seed)
        links = {"model": [sketch.loader, 0], "clip": [sketch.loader, 1]}
        strengths = {"strength_model": strength, "strength_clip": strength}
        lora = sketch.add("LoraLoader", **links, lora_name=names[0], **strengths)
        text = sketch.add("CLIPTextEncode", text="a red cat", clip=[lora, 1])
        more = sketch.add("LoraLoaderModelOnly", model=[lora, 0], lora_name=names[0], strength_model=strength)
        sketch.graph[sketch.sampler]["inputs"]["model"] = [more, 0]
        sketch.wish(text)
        return sketch.drawn(studio)

    plain = drawn_text(studio, seed, "a red cat")
    np.testing.assert_array_equal(drawn(0.0), plain)
    assert (drawn(1.0) != plain).any()


def test_a_lora_that_is_not_there_is_refused(studio: Studio) -> None:
    sketch = Sketch(studio.server, studio.server.seed())
    model = {"model": [sketch.loader, 0], "strength_model": 1.0}
    lora = sketch.add("LoraLoaderModelOnly", **model, lora_name="nope.safetensors")
    sketch.graph[sketch.sampler]["inputs"]["model"] = [lora, 0]
    with pytest.raises(GraphRejected, match="nope"):
        sketch.drawn(studio)


def test_tiles_show_the_same_picture(studio: Studio) -> None:
    seed = studio.server.seed()
    sketch = Sketch(studio.server, seed)
    sketch.wish(sketch.text("a red cat")[0])
    vae = {"vae": [sketch.loader, 2], "tile_size": 512, "overlap": 64, **VIDEO}
    decoder = sketch.add("VAEDecodeTiled", samples=[sketch.sampler, 0], **vae)
    sketch.graph[sketch.saver]["inputs"]["images"] = [decoder, 0]
    assert np.abs(sketch.drawn(studio) - drawn_text(studio, seed, "a red cat")).max() <= 1


def test_a_picture_is_encoded_in_tiles(studio: Studio) -> None:
    end, _ = studio.keyframe()
    ref = studio.client.upload(end.pictures[0].data, studio.server.name("png"))
    sketch = Sketch(studio.server, studio.server.seed())
    vae = {"vae": [sketch.loader, 2], "tile_size": 512, "overlap": 64, **VIDEO}
    image = sketch.add("LoadImage", image=ref.annotated)
    latent = sketch.add("VAEEncodeTiled", pixels=[image, 0], **vae)
    saver = sketch.add("SaveLatent", samples=[latent, 0], filename_prefix="contract/tiled")
    del sketch.graph[sketch.saver]
    files = studio.finish(Workflow(sketch.graph, None, saver), pictures=0).files[saver]
    shape = load(studio.client.download(files[0]))["latent_tensor"].shape
    assert shape == (1, 4, SIZE_PX // 8, SIZE_PX // 8)
