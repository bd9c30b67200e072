"""CLIP through open_clip, with a tiny model by chance; and files that are no model."""

from __future__ import annotations

import json
import logging
import pickle
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from backend.cache.clip_matcher import _CONTRASTS, ClipMatcher
from backend.cache.clip_weights import CONFIG, FILE, ClipChoice
from backend.errors import MatcherUnfit, PictureRejected
from tests.cache.painted import of_pixels, opened, painted, shifted, themes
from tests.cache.tiny_clip import DIMENSION, PLAN, tiny_clip

CPU = ClipChoice(device="cpu", batch=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def matcher(folder: Path) -> ClipMatcher:
    return ClipMatcher(replace(CPU, model=str(folder)))


@pytest.fixture(scope="module")
def pictures() -> list[bytes]:
    return [painted(theme, seed=n) for n, theme in enumerate(themes()[:3])]


def test_pictures_and_texts_are_embedded_into_one_space(matcher: ClipMatcher, pictures: list[bytes]) -> None:
    seen, read = matcher.embed(pictures), matcher.embed_texts(["aurora over a fjord", "dunes", ""])
    assert seen.shape == read.shape == (3, DIMENSION)
    assert seen.dtype == read.dtype == np.float32
    for vectors in (seen, read):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    assert not np.allclose(read[0], read[1])


def test_nothing_is_asked_of_any_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_socket: socket.socket, address: object) -> None:
        pytest.fail(f"it called {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    ClipMatcher(replace(CPU, model=str(folder))).embed_texts(["aurora"])


def test_a_batch_gives_what_one_after_the_other_gives(matcher: ClipMatcher, pictures: list[bytes]) -> None:
    one_by_one = np.concatenate([matcher.embed([picture]) for picture in pictures])
    np.testing.assert_allclose(matcher.embed(pictures), one_by_one, atol=1e-5)
    assert matcher.embed([]).shape == (0, DIMENSION)


def test_a_picture_is_nearer_to_itself_shifted_than_to_another(
    matcher: ClipMatcher, pictures: list[bytes]
) -> None:
    one, same, other = matcher.embed([pictures[0], shifted(pictures[0]), pictures[1]])
    assert one @ same > one @ other


def test_a_picture_is_prepared_as_open_clip_itself_would(matcher: ClipMatcher) -> None:
    import open_clip
    from open_clip.transform import PreprocessCfg, image_transform_v2

    std = open_clip.OPENAI_DATASET_STD
    plan = PreprocessCfg(size=32, mean=(0.5, 0.5, 0.5), std=std, resize_mode="squash")
    picture = of_pixels(np.random.default_rng(0).integers(0, 256, (60, 50, 3)))
    wished = image_transform_v2(plan, is_train=False)(opened(picture)).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(matcher._pixels(picture), wished, atol=1e-4)


def test_the_whole_of_a_wide_picture_is_looked_at(matcher: ClipMatcher) -> None:
    wide = np.full((64, 256, 3), 90, np.uint8)
    edge = wide.copy()
    edge[:, -40:] = 250
    plain, changed = matcher.embed([of_pixels(wide), of_pixels(edge)])
    assert plain @ changed < 0.9999


def test_a_text_longer_than_it_reads_is_cut_off(matcher: ClipMatcher) -> None:
    long = matcher.embed_texts(["a slow veil of green light " * 100])
    assert np.isfinite(long).all()


def test_beauty_is_being_nearer_to_praise_than_to_blame(matcher: ClipMatcher) -> None:
    praise = matcher.embed_texts([pair[0] for pair in _CONTRASTS]).sum(axis=0, keepdims=True)
    blame = matcher.embed_texts([pair[1] for pair in _CONTRASTS]).sum(axis=0, keepdims=True)
    toward, away = praise - blame, blame - praise
    rows = np.concatenate([toward, away]) / np.linalg.norm(toward)
    praised, blamed = matcher.scores(rows, [b"", b""])
    assert 0.0 <= blamed < 0.5 < praised <= 1.0


def test_a_linear_head_scores_instead(folder: Path, tmp_path: Path, pictures: list[bytes]) -> None:
    weight = torch.linspace(-3, 3, DIMENSION)[None]
    save_file({"linear.weight": weight, "linear.bias": torch.tensor([5.5])}, tmp_path / "head.safetensors")
    matcher = ClipMatcher(replace(CPU, model=str(folder), head=tmp_path / "head.safetensors"))
    embeddings = matcher.embed(pictures)
    wished = (embeddings @ weight[0].numpy() + 5.5 - 1.0) / 9.0
    np.testing.assert_allclose(matcher.scores(embeddings, pictures), np.clip(wished, 0, 1), atol=1e-5)
    far = 1000 * embeddings
    assert set(matcher.scores(far, pictures).tolist()) <= {0.0, 1.0}


def test_a_head_of_another_size_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(1, DIMENSION + 1)}, tmp_path / "head.safetensors")
    with pytest.raises(MatcherUnfit, match=r"head\.safetensors is no linear head for embeddings of 24"):
        ClipMatcher(replace(CPU, model=str(folder), head=tmp_path / "head.safetensors"))


def test_other_weights_are_another_identity(folder: Path, matcher: ClipMatcher, tmp_path: Path) -> None:
    other = ClipMatcher(replace(CPU, model=str(tiny_clip(tmp_path / "tiny", seed=1))))
    again = ClipMatcher(replace(CPU, model=str(folder)))
    assert other.identity != matcher.identity == again.identity
    assert matcher.identity.name == "clip"
    assert matcher.identity.dimension == DIMENSION


@pytest.mark.parametrize("suffix", ["pt", "pth", "bin"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_state_dict_of_torch_is_read_too(
    folder: Path, tmp_path: Path, matcher: ClipMatcher, pictures: list[bytes], suffix: str, wrapped: bool
) -> None:
    state = load_file(folder / FILE)
    saved = {"state_dict": {f"module.{key}": value for key, value in state.items()}} if wrapped else state
    torch.save(saved, tmp_path / f"weights.{suffix}")
    other = ClipMatcher(replace(CPU, model=str(folder), weights=str(tmp_path / f"weights.{suffix}")))
    np.testing.assert_allclose(other.embed(pictures), matcher.embed(pictures), atol=1e-6)


class _Evil:
    """Unpickled, it leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("by", ["pickle", "torch"])
def test_a_file_that_would_run_code_is_refused_and_runs_none(folder: Path, tmp_path: Path, by: str) -> None:
    file, mark = tmp_path / "weights.pt", tmp_path / "ran"
    if by == "torch":
        torch.save({"state_dict": _Evil(mark)}, file)
    else:
        file.write_bytes(pickle.dumps(_Evil(mark)))
    with pytest.raises(MatcherUnfit, match=r"weights\.pt is no model"):
        ClipMatcher(replace(CPU, model=str(folder), weights=str(file)))
    assert not mark.exists()


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
@pytest.mark.parametrize("content", [b"", b"\x00" * 5000, b"<html>404</html>", b"PK\x03\x04 no archive"])
def test_a_file_that_is_no_model_is_refused_by_name(
    folder: Path, tmp_path: Path, suffix: str, content: bytes
) -> None:
    file = tmp_path / f"weights.{suffix}"
    file.write_bytes(content)
    with pytest.raises(MatcherUnfit, match=rf"weights\.{suffix} is no model"):
        ClipMatcher(replace(CPU, model=str(folder), weights=str(file)))


def test_a_truncated_file_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    file.write_bytes((folder / FILE).read_bytes()[:100_000])
    with pytest.raises(MatcherUnfit, match=r"weights\.safetensors is no model"):
        ClipMatcher(replace(CPU, model=str(folder), weights=str(file)))


def test_weights_of_another_model_are_refused_by_name(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    save_file({"some.layer": torch.zeros(3)}, file)
    with pytest.raises(MatcherUnfit, match=r"weights\.safetensors holds no weights for CLIP .*tiny"):
        ClipMatcher(replace(CPU, model=str(folder), weights=str(file)))


def test_weights_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    folder = tiny_clip(tmp_path / "tiny")
    state = {key: torch.full_like(value, torch.nan) for key, value in load_file(folder / FILE).items()}
    save_file(state, folder / FILE)
    with pytest.raises(MatcherUnfit, match="gives no numbers"):
        ClipMatcher(replace(CPU, model=str(folder)))


@pytest.mark.parametrize(
    "plan",
    [
        "no JSON",
        "[]",
        "{}",
        json.dumps({"model_cfg": {"embed_dim": "many", "vision_cfg": {}, "text_cfg": {}}}),
        json.dumps({"model_cfg": PLAN | {"surprise": 1}}),
        json.dumps({"model_cfg": PLAN | {"text_cfg": PLAN["text_cfg"] | {"hf_tokenizer_name": "a/b"}}}),
        json.dumps({"model_cfg": PLAN | {"vision_cfg": {"timm_model_name": "hf-hub:a/b"}}}),
        json.dumps({"model_cfg": PLAN | {"multimodal_cfg": {}}}),
    ],
)
def test_a_plan_that_is_none_or_wants_the_network_is_refused_by_name(tmp_path: Path, plan: str) -> None:
    folder = tiny_clip(tmp_path / "tiny")
    (folder / CONFIG).write_text(plan)
    with pytest.raises(MatcherUnfit, match="tiny"):
        ClipMatcher(replace(CPU, model=str(folder)))


def test_a_model_that_open_clip_does_not_know_is_refused_by_name() -> None:
    with pytest.raises(MatcherUnfit, match="ViT-Q-99 is neither a model of open_clip nor a folder"):
        ClipMatcher(replace(CPU, model="ViT-Q-99"))


def test_a_picture_that_is_none_is_refused(matcher: ClipMatcher, pictures: list[bytes]) -> None:
    with pytest.raises(PictureRejected):
        matcher.embed([pictures[0], b"no picture"])


def test_a_device_that_is_not_there_makes_way_for_the_cpu(
    folder: Path, matcher: ClipMatcher, pictures: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        other = ClipMatcher(replace(CPU, model=str(folder), device="xpu"))
    assert other.device == "cpu"
    assert "cannot compute on xpu" in caplog.text
    np.testing.assert_allclose(other.embed(pictures), matcher.embed(pictures), atol=1e-6)


def test_a_gpu_without_room_makes_way_for_the_cpu(
    folder: Path, pictures: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    matcher = ClipMatcher(replace(CPU, model=str(folder)))
    wished = matcher.embed(pictures)
    encode = matcher._model.encode_image

    def without_room(pixels: torch.Tensor) -> torch.Tensor:
        if matcher.device != "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode(pixels)

    monkeypatch.setattr(matcher._model, "encode_image", without_room)
    matcher._device = "meta-gpu"
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *_args, **_kwargs: self)
    np.testing.assert_allclose(matcher.embed(pictures), wished, atol=1e-6)
    assert matcher.device == "cpu"
