from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from backend.assembly import check_dream, open_engine
from backend.config import Settings, load_settings
from backend.core.engine import EngineKind
from backend.core.engine_plan import FamilyPlanner, WorkflowPlanner
from backend.core.latent_nodes import AS_JPEG, FrameFormat
from backend.errors import ConfigError, ModelMissing
from tests.core.workflows import PLAIN, node
from tests.fakes.fake_comfy import FakeComfy, free_port


def settings(folder: Path, text: str) -> Settings:
    (folder / "config.yaml").write_text(f"{text}storage: {{output: out, status: st}}\n", "utf-8")
    return load_settings(folder / "config.yaml", {}).settings


def workflow(folder: Path, graph: dict[str, Any], bindings: str = "") -> None:
    there = folder / "prompts" / "workflows"
    there.mkdir(parents=True)
    (there / "mine.json").write_text(json.dumps(graph))
    (there / "mine.yaml").write_text(bindings)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("comfyui: {family: Fluks dev}\n", "comfyui.family = Fluks dev: .*did you mean 'Flux dev'"),
        ("dream: {workflow: nope}\n", "workflow = 'nope': the name of a .*json file"),
        (
            "dream: {adapters: [{shift: 3}, {tiled_vae: 512, overlap: 500}]}\n",
            "item 2 = tiled_vae: .*overlap",
        ),
        ("dream: {adapters: [{inpaint: mask.png}]}\n", "item 1 = inpaint: .*mask.png: not a picture"),
        (
            "dream: {adapters: [{controlnet: a, image: sketch.png, start: 0.5, end: 0.2}]}\n",
            "item 1 = controlnet: .*end = 0.2",
        ),
        ("dream: {adapters: [{speed_up: MagicCache}]}\n", "item 1 = speed_up: .*one of EasyCache"),
    ],
)
def test_what_no_server_could_do_is_refused_before_one_is_looked_for(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "mask.png").write_text("no picture")
    Image.new("RGB", (8, 8)).save(tmp_path / "sketch.png")
    with pytest.raises(ConfigError, match=said):
        check_dream(settings(tmp_path, text))


@pytest.mark.parametrize(
    ("bindings", "fits", "lacks"),
    [
        ("latent_out:\n", {"txt2img", "img2img"}, "bind latent_out"),
        ("latent_in:\n", {"txt2img", "interpolate"}, "bind latent_in"),
        ("latent_out:\nvae:\n", {"txt2img"}, "bind (latent_out and )?vae"),
    ],
)
@pytest.mark.parametrize("mode", ["txt2img", "img2img", "interpolate", "hybrid"])
def test_a_workflow_that_lacks_what_the_mode_needs_is_refused_before_the_dream_begins(
    tmp_path: Path, mode: str, bindings: str, fits: set[str], lacks: str
) -> None:
    workflow(tmp_path, PLAIN, bindings)
    chosen = settings(tmp_path, f"dream: {{workflow: mine, mode: {mode}}}\n")
    if mode in fits:
        assert isinstance(check_dream(chosen), WorkflowPlanner)
    else:
        with pytest.raises(
            ConfigError, match=f"{lacks} in mine.yaml, or choose another dream.mode than {mode}"
        ):
            check_dream(chosen)


def test_a_workflow_that_enlarges_pictures_of_unknown_size_is_refused_at_once(tmp_path: Path) -> None:
    graph = {
        **PLAIN,
        "4": node("VAEEncode", pixels=["90", 0], vae=["1", 2]),
        "90": node("LoadImage", image="mine.png"),
        "91": node("ImageScaleBy", image=["6", 0], upscale_method="area", scale_by=2.0),
        "7": node("SaveImage", images=["91", 0], filename_prefix="x"),
    }
    workflow(tmp_path, graph, "picture_in: {node: LoadImage, input: image}\n")
    with pytest.raises(ConfigError, match="a second keyframe, since it enlarges"):
        check_dream(settings(tmp_path, "dream: {workflow: mine, mode: img2img}\n"))


@pytest.fixture
def no_comfyui(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.core.engine_choice.DEFAULT_URL", f"http://127.0.0.1:{free_port()}")


@pytest.mark.usefixtures("no_comfyui")
def test_the_embedded_engine_is_not_asked_for_a_model_of_comfyuis(tmp_path: Path) -> None:
    wished = settings(tmp_path, "comfyui: {checkpoint: mine.safetensors, family: SDXL}\n")
    with ExitStack() as stack:
        engine, note = open_engine(wished, stack)
        assert engine.kind is EngineKind.EMBEDDED
        assert "no diffusion model" in note
        assert engine.connect().family.name == "embedded"


def test_whoever_names_a_model_hears_that_the_local_server_lacks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wished = settings(tmp_path, "comfyui: {checkpoint: dreamshaper_8.safetensor}\n")
    with (
        FakeComfy(tmp_path / "fake", checkpoints=["dreamshaper_8.safetensors"]) as fake,
        ExitStack() as stack,
    ):
        monkeypatch.setattr("backend.core.engine_choice.DEFAULT_URL", fake.url)
        engine, _ = open_engine(wished, stack)
        assert engine.kind is EngineKind.COMFYUI
        with pytest.raises(ModelMissing, match=r"did you mean 'dreamshaper_8\.safetensors'"):
            engine.connect()


def test_a_workflow_dreams_on_a_local_server_whatever_models_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow(tmp_path, PLAIN)
    wished = settings(tmp_path, "dream: {workflow: mine}\n")
    with FakeComfy(tmp_path / "fake", checkpoints=[]) as fake, ExitStack() as stack:
        monkeypatch.setattr("backend.core.engine_choice.DEFAULT_URL", fake.url)
        assert open_engine(wished, stack)[0].kind is EngineKind.COMFYUI


@pytest.mark.parametrize(
    ("text", "frames", "streams"),
    [
        ("", AS_JPEG, True),
        ("comfyui: {node_pack: never}\n", None, True),
        ("display: {format: webp, quality: 80}\n", FrameFormat("webp", 80), True),
        ("display: {format: png}\n", FrameFormat("png", 90), True),
        ("dream: {mode: img2img}\n", AS_JPEG, False),
        ("interpolation: {scale: 0.5}\n", AS_JPEG, False),
        ("interpolation: {tiny_vae: taesd}\n", AS_JPEG, False),
    ],
)
def test_our_own_nodes_stream_frames_as_the_display_has_them_where_they_are_of_use(
    tmp_path: Path, text: str, frames: FrameFormat | None, streams: bool
) -> None:
    planner = check_dream(settings(tmp_path, text))
    assert isinstance(planner, FamilyPlanner)
    assert (planner.frames, planner.streams) == (frames, streams)
