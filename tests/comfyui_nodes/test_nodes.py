from __future__ import annotations

import io
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from backend.core.comfyui_messages import PictureArrived, files_of, parse_binary
from comfyui_nodes.nodes import NODE_CLASS_MAPPINGS, STORE
from comfyui_nodes.walk import Knot, Walk
from tests.comfyui_nodes.little_comfyui import (
    CLIENT,
    PROMPT,
    Interrupted,
    LittleComfyUI,
    Vae,
    little_comfyui,
)

KEEP, LATENTS, WALK, FRAMES = (
    NODE_CLASS_MAPPINGS[f"Dreamloop{name}"] for name in ("KeepLatent", "Latents", "Walk", "Frames")
)


@pytest.fixture
def comfyui(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LittleComfyUI]:
    with little_comfyui(tmp_path, monkeypatch) as comfyui:
        yield comfyui


def defaults(node: Any) -> dict[str, Any]:
    """What a graph would say if it left all as it is."""
    return {
        name: given[1]["default"] if not isinstance(given[0], list) else given[0][0]
        for name, given in node.INPUT_TYPES()["required"].items()
        if isinstance(given[0], list) or len(given) > 1
    }


def walk(frames: int, *, cells: tuple[int, ...] = (4, 4)) -> Walk:
    """Its frames have the grey of their number, in 255ths."""
    ends = torch.stack([torch.zeros(4, *cells), torch.full((4, *cells), 1.0)])
    return Walk(ends, "lerp", Knot(0), Knot(1), 4.0, tuple((number + 0.5) / 255 for number in range(frames)))


def stream(walk: Walk, vae: Vae, **inputs: Any) -> dict[str, Any]:
    given = {**defaults(FRAMES), "format": "png", **inputs}
    result: dict[str, Any] = FRAMES().stream(walk=walk, vae=vae, unique_id="8", **given)["ui"]
    return result


def grey(picture: bytes) -> int:
    with Image.open(io.BytesIO(picture)) as image:
        return int(np.asarray(image)[0, 0, 0])


def heard(comfyui: LittleComfyUI) -> list[PictureArrived]:
    events = [parse_binary(struct.pack(">I", event) + data) for _, event, data in comfyui.sent]
    assert all(isinstance(event, PictureArrived) for event in events)
    return events  # type: ignore[return-value]


def test_every_frame_reaches_the_client_with_its_prompt_its_node_and_its_place(
    comfyui: LittleComfyUI,
) -> None:
    told = stream(walk(20), Vae())
    frames = sorted(heard(comfyui), key=lambda frame: frame.frame or 0)
    assert {client for client, _, _ in comfyui.sent} == {CLIENT}
    assert [frame.frame for frame in frames] == list(range(20))
    assert {(frame.prompt_id, frame.node_id, frame.format) for frame in frames} == {(PROMPT, "8", "png")}
    assert [grey(frame.data) for frame in frames] == list(range(20))
    assert told["images"] == []
    assert (told["dreamloop"][0]["frames"], told["dreamloop"][0]["delivered"]) == (20, 20)
    assert comfyui.told[-1] == (20, 20)


def test_frames_are_sent_before_the_later_ones_are_decoded(comfyui: LittleComfyUI) -> None:
    vae, sent, in_time = Vae(), threading.Event(), []
    comfyui.on_sent = sent.set
    vae.on_decode = lambda: in_time.append(not vae.batches or sent.wait(10.0))
    stream(walk(3), vae, chunk=1)
    assert in_time == [True, True, True]


def test_a_gpu_gets_one_frame_first_and_then_as_many_as_fit(comfyui: LittleComfyUI) -> None:
    small, large = Vae(), Vae()
    stream(walk(40), small, format="jpeg")
    assert small.batches == [1, 16, 16, 7]
    stream(walk(5, cells=(128, 256)), large, format="jpeg")
    assert large.batches == [1, 2, 2]


def test_a_cpu_gets_one_frame_at_a_time_unless_told_otherwise(comfyui: LittleComfyUI) -> None:
    alone, told = Vae(device="cpu"), Vae(device="cpu")
    stream(walk(3), alone)
    assert alone.batches == [1, 1, 1]
    stream(walk(5), told, chunk=2)
    assert told.batches == [2, 2, 1]


def test_an_interrupt_ends_it_before_the_next_piece(comfyui: LittleComfyUI) -> None:
    vae = Vae()

    def interrupt() -> None:
        comfyui.interrupted = len(vae.batches) == 1

    vae.on_decode = interrupt
    with pytest.raises(Interrupted):
        stream(walk(9), vae, chunk=2)
    assert vae.batches == [2, 2]


def test_nothing_more_is_decoded_for_a_client_that_has_gone(comfyui: LittleComfyUI) -> None:
    vae = Vae()
    comfyui.on_sent = lambda: comfyui.sockets.pop(CLIENT, None)
    told = stream(walk(200), vae, chunk=1)
    assert len(vae.batches) < 40
    assert told["dreamloop"][0]["delivered"] == 0
    assert comfyui.sent == []


def test_a_prompt_of_nobody_is_refused_since_everybody_would_get_its_frames(comfyui: LittleComfyUI) -> None:
    comfyui.client_id = None
    with pytest.raises(ValueError, match="client_id"):
        stream(walk(2), Vae())


def test_a_client_that_did_not_ask_for_names_gets_plain_pictures_in_their_order(
    comfyui: LittleComfyUI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    comfyui.sockets_metadata.clear()
    stream(walk(20), Vae(), format="jpeg", quality=100)
    frames = heard(comfyui)
    assert [(frame.prompt_id, frame.frame) for frame in frames] == [(None, None)] * 20
    assert [grey(frame.data) for frame in frames] == sorted(grey(frame.data) for frame in frames)


def test_only_the_frames_that_are_asked_for_are_decoded(comfyui: LittleComfyUI) -> None:
    vae = Vae()
    stream(walk(10), vae, frames="7, 2-3", chunk=5)
    assert vae.batches == [3]
    assert [(frame.frame, grey(frame.data)) for frame in heard(comfyui)] == [(2, 2), (3, 3), (7, 7)]


def test_for_a_deaf_client_frames_lie_in_the_temp_folder(comfyui: LittleComfyUI) -> None:
    comfyui.sockets.clear()
    told = stream(walk(4), Vae(), to="temp", frames="0, 2-3")
    files = files_of(told)
    assert comfyui.sent == []
    assert [grey((comfyui.folder / "temp" / file.filename).read_bytes()) for file in files] == [0, 2, 3]
    assert {file.type for file in files} == {"temp"}


def test_frames_are_wanted_anew_each_time() -> None:
    assert FRAMES.IS_CHANGED(**defaults(FRAMES)) != FRAMES.IS_CHANGED(**defaults(FRAMES))


def test_latents_of_models_that_make_films_are_decoded_too(comfyui: LittleComfyUI) -> None:
    vae = Vae()
    stream(walk(3, cells=(1, 4, 4)), vae, chunk=3)
    assert [grey(frame.data) for frame in heard(comfyui)] == [0, 1, 2]


def test_tiles_are_asked_for_in_cells_and_overlap_a_quarter_at_the_most(comfyui: LittleComfyUI) -> None:
    vae = Vae()
    stream(walk(1), vae, tile=512, overlap=64)
    stream(walk(1), vae, tile=256, overlap=256)
    assert vae.tiles == [(64, 64, 8), (32, 32, 8)]


def test_what_goes_wrong_while_frames_are_encoded_is_an_error_of_the_node(comfyui: LittleComfyUI) -> None:
    (comfyui.folder / "temp").write_bytes(b"a file where a folder should be")
    with pytest.raises(OSError, match="temp"):
        stream(walk(3), Vae(), to="temp")


def test_a_latent_is_saved_where_comfyui_saves_it_and_loaded_by_its_name(comfyui: LittleComfyUI) -> None:
    latent = torch.randn(1, 4, 4, 4)
    (saved,) = files_of(KEEP().keep({"samples": latent}, "dreamloop/x/kf")["ui"])
    assert (saved.subfolder, saved.type) == ("dreamloop/x", "output")
    path = comfyui.folder / "output" / saved.subfolder / saved.filename
    path.unlink()
    assert LATENTS.VALIDATE_INPUTS(saved.annotated) is True
    (loaded,) = LATENTS().load(saved.annotated)
    assert torch.equal(loaded["samples"], latent)


def test_no_name_ever_comes_to_mean_another_latent(comfyui: LittleComfyUI) -> None:
    names = set()
    for _ in range(5):
        (saved,) = files_of(KEEP().keep({"samples": torch.randn(1, 4, 2, 2)}, "kf")["ui"])
        (comfyui.folder / "output" / saved.filename).unlink()  # as the daemon does with spent ones
        names.add(saved.filename)
    assert len(names) == 5


@pytest.mark.parametrize("prefix", ["../kf", "/tmp/kf", "a/../../kf", "a\0b"])
def test_a_latent_is_saved_nowhere_but_below_the_output_folder(comfyui: LittleComfyUI, prefix: str) -> None:
    with pytest.raises(ValueError, match="output"):
        KEEP().keep({"samples": torch.zeros(1, 4, 2, 2)}, prefix)
    assert list(comfyui.folder.parent.glob("kf*")) == []


@pytest.mark.parametrize(
    "name", ["../secret.latent [output]", "/etc/passwd", "sub/../../secret.latent [temp]", "nowhere.latent"]
)
def test_a_latent_is_loaded_from_nowhere_else(comfyui: LittleComfyUI, name: str) -> None:
    (comfyui.folder / "secret.latent").write_bytes(b"x")
    assert name in str(LATENTS.VALIDATE_INPUTS(name))
    with pytest.raises((ValueError, OSError)):
        STORE.load(name)


def test_several_latents_make_a_batch_in_their_order(comfyui: LittleComfyUI) -> None:
    latents = [torch.randn(1, 4, 4, 4) for _ in range(3)]
    names = [
        files_of(KEEP().keep({"samples": latent}, "kf")["ui"])[0].annotated for latent in reversed(latents)
    ]
    (loaded,) = LATENTS().load("\n".join(reversed(names)))
    assert torch.equal(loaded["samples"], torch.cat(latents))


def test_latents_of_different_shapes_make_no_batch(comfyui: LittleComfyUI) -> None:
    names = [
        files_of(KEEP().keep({"samples": torch.zeros(1, 4, side, 4)}, "kf")["ui"])[0].annotated
        for side in (4, 6)
    ]
    with pytest.raises(ValueError, match="different shapes"):
        LATENTS().load("\n".join(names))


def test_a_batch_of_no_names_is_refused(comfyui: LittleComfyUI) -> None:
    assert LATENTS.VALIDATE_INPUTS(" \n") is not True


def test_loading_is_cached_until_the_latent_changes(comfyui: LittleComfyUI) -> None:
    (saved,) = files_of(KEEP().keep({"samples": torch.zeros(1, 4, 4, 4)}, "kf")["ui"])
    before = LATENTS.IS_CHANGED(saved.annotated)
    assert LATENTS.IS_CHANGED(saved.annotated) == before
    path = comfyui.folder / "output" / saved.filename
    path.write_bytes(path.read_bytes() + b" ")
    assert LATENTS.IS_CHANGED(saved.annotated) != before


def test_a_walk_is_laid_out_from_text() -> None:
    latents = {"samples": torch.randn(2, 4, 4, 4)}
    (made,) = WALK().lay_out(latents, defaults(WALK)["course"], "0.25, 0.5")
    assert (made.path, made.places, len(made)) == ("slerp", (0.25, 0.5), 2)
