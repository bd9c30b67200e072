from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend.config import load_settings
from backend.config_lists import ADAPTERS
from backend.core.adapter_files import adapters_of
from backend.core.adapters import (
    ClipSkip,
    ControlNet,
    Detail,
    Inpaint,
    Lora,
    Outpaint,
    SeparateVae,
    Shift,
    SpeedUp,
    TiledVae,
    UpscaleModel,
)
from backend.core.comfyui_api import ComfyUIClient
from backend.core.engine_plan import FamilyPlanner, SamplingChoice, WorkflowPlanner
from backend.core.housekeeping import Housekeeping
from backend.core.jobs import FileRef
from backend.core.model_choice import ModelWish
from backend.core.node_catalog import NodeCatalog
from backend.core.workflow_builder import TextToImage
from backend.core.workflow_files import load_workflow
from backend.errors import GraphUnfit, StorageError
from tests.fakes.fake_comfy import FakeComfy

EXAMPLES = Path(__file__).resolve().parents[2] / "prompts" / "workflows"

EVERY_KIND = """
dream:
  adapters:
    - lora: ink.safetensors
      strength: 0.8
      clip_strength: 0.5
    - clip_skip: 2
    - vae: better.safetensors
    - tiled_vae: 256
      overlap: 32
    - shift: 3
    - speed_up: EasyCache
    - controlnet: edges.safetensors
      image: sketch.jpg
      strength: 0.6
      start: 0.1
      end: 0.8
    - inpaint: mask.png
      method: conditioning
    - outpaint: 64
      feather: 20
    - upscale: 4x.pth
    - detail: 1.5
      denoise: 0.3
      steps: 12
"""


def picture(path: Path, mode: str = "RGB") -> Path:
    Image.new(mode, (16, 8), 100 if mode == "L" else (200, 100, 50)).save(path)
    return path


def wishes(folder: Path, text: str) -> tuple[object, ...]:
    (folder / "config.yaml").write_text(text, "utf-8")
    return load_settings(folder / "config.yaml", {}).settings.dream.adapters


def test_every_kind_of_the_settings_becomes_its_adapter_in_order(tmp_path: Path) -> None:
    picture(tmp_path / "sketch.jpg")
    picture(tmp_path / "mask.png", "L")
    brought: list[bytes] = []

    def upload(data: bytes, number: int) -> FileRef:
        brought.append(data)
        return FileRef(f"{number}.png")

    wished = wishes(tmp_path, EVERY_KIND)
    assert {wish.kind for wish in wished} == set(ADAPTERS)  # type: ignore[attr-defined]
    assert adapters_of(wished, upload) == (  # type: ignore[arg-type]
        Lora("ink.safetensors", 0.8, 0.5),
        ClipSkip(2),
        SeparateVae("better.safetensors"),
        TiledVae(256, 32),
        Shift(3.0),
        SpeedUp("EasyCache"),
        ControlNet("edges.safetensors", FileRef("0.png"), 0.6, 0.1, 0.8),
        Inpaint(FileRef("1.png"), "conditioning"),
        Outpaint(64, 64, 64, 64, 20),
        UpscaleModel("4x.pth"),
        Detail(1.5, 0.3, 12),
    )
    assert [Image.open(io.BytesIO(data)).format for data in brought] == ["PNG", "PNG"]


def test_what_is_left_out_is_the_adapters_own_default(tmp_path: Path) -> None:
    wished = wishes(tmp_path, "dream: {adapters: [{lora: a}, {detail: 2}, {tiled_vae: 512}]}\n")
    assert adapters_of(wished, lambda *_: FileRef("")) == (Lora("a"), Detail(2.0), TiledVae(512))  # type: ignore[arg-type]


def test_a_depth_map_of_sixteen_bits_keeps_its_depths(tmp_path: Path) -> None:
    depths = np.linspace(0, 65_535, 16 * 8).astype(np.uint16).reshape(8, 16)
    Image.fromarray(depths).save(tmp_path / "depth.png")
    brought: list[bytes] = []

    def upload(data: bytes, _number: int) -> FileRef:
        brought.append(data)
        return FileRef("a.png")

    adapters_of(
        wishes(tmp_path, "dream: {adapters: [{controlnet: depth.safetensors, image: depth.png}]}\n"), upload
    )  # type: ignore[arg-type]
    sent = np.asarray(Image.open(io.BytesIO(brought[0])).convert("L"), np.float32)
    assert np.abs(sent - depths / 257).max() <= 1.0


def test_a_picture_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_text("no picture")
    with pytest.raises(StorageError, match=r"mask\.png"):
        adapters_of(wishes(tmp_path, "dream: {adapters: [{inpaint: mask.png}]}\n"), lambda *_: FileRef(""))  # type: ignore[arg-type]


def house_at(client: ComfyUIClient) -> Housekeeping:
    return Housekeeping(client, instance="test", hour=lambda: "now", clock=lambda: 0.0)


def catalog_at(client: ComfyUIClient) -> NodeCatalog:
    return NodeCatalog.parse(client.object_info())


def test_a_speed_up_that_the_server_lacks_is_left_out(tmp_path: Path, fake_comfy: FakeComfy) -> None:
    wished = wishes(tmp_path, "dream: {adapters: [{speed_up: LazyCache}]}\n")
    client = ComfyUIClient(fake_comfy.url)
    catalog = catalog_at(client)
    assert "LazyCache" not in catalog
    plan = FamilyPlanner(ModelWish(), SamplingChoice(), wished).plan(client, house_at(client), catalog)  # type: ignore[arg-type]
    graph = plan.builder.build(TextToImage("a", "", 1, 64, 64)).graph
    assert "LazyCache" not in {node["class_type"] for node in graph.values()}


def test_a_plan_brings_its_pictures_where_a_restart_of_the_server_leaves_them(
    tmp_path: Path, fake_comfy: FakeComfy
) -> None:
    picture(tmp_path / "mask.png", "L")
    wished = wishes(tmp_path, "dream: {adapters: [{inpaint: mask.png}]}\n")
    client = ComfyUIClient(fake_comfy.url)
    FamilyPlanner(ModelWish(), SamplingChoice(), wished).plan(client, house_at(client), catalog_at(client))  # type: ignore[arg-type]
    assert client.download(FileRef("dreamloop_test_kept_00.png", "", "input")).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("item", "what"),
    [
        ("{shift: 3}", "shift"),
        ("{speed_up: MagicCache}", "one of EasyCache"),
        ("{inpaint: mask.png}", "mask.png"),
    ],
)
def test_what_does_not_go_together_is_said_before_the_first_job(
    tmp_path: Path, fake_comfy: FakeComfy, item: str, what: str
) -> None:
    (tmp_path / "mask.png").write_text("no picture")
    wished = wishes(tmp_path, f"dream: {{adapters: [{item}]}}\n")
    client = ComfyUIClient(fake_comfy.url)

    def look_at_it() -> None:
        plan = FamilyPlanner(ModelWish(), SamplingChoice(), wished).plan(
            client, house_at(client), catalog_at(client)
        )  # type: ignore[arg-type]
        plan.samples((64, 64), walks=True, continues=True)

    with pytest.raises(GraphUnfit, match=what):
        look_at_it()


def test_a_workflow_of_the_users_is_a_plan_like_any_other(fake_comfy: FakeComfy) -> None:
    names = sorted(path.stem for path in EXAMPLES.glob("*.json"))
    assert names
    client = ComfyUIClient(fake_comfy.url)
    plan = WorkflowPlanner(load_workflow(EXAMPLES, names[0])).plan(
        client, house_at(client), catalog_at(client)
    )
    assert names[0] in plan.label
    assert plan.builder.build(TextToImage("a cat", "", 1, 64, 64)).picture_node
    assert len(plan.samples((64, 64), walks=True, continues=True)) == 3
