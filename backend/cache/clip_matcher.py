"""Judges pictures by what they show: CLIP, through open_clip. torch comes when a matcher is made.

No file can run code: weights are safetensors, or a state dict read by torch with ``weights_only``.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from backend.cache.clip_weights import CONFIG, ClipChoice, weights_of
from backend.cache.matching import Identity, Thresholds, Vectors
from backend.cache.thumbnail import open_picture
from backend.errors import MatcherUnfit, StorageError
from backend.utils.file_ops import read_at_most

if TYPE_CHECKING:
    from torch import Tensor, nn

log = logging.getLogger(__name__)

_VERSION = "1"
"""Changes with whatever is done to a picture before the model sees it."""

_MAX_CONFIG = 1 << 20
_HEAD_LOW, _HEAD_HIGH = 1.0, 10.0
"""The scale of LAION's aesthetic predictors, on which heads are trained."""

_CONTRASTS = (
    ("a beautiful picture", "an ugly picture"),
    ("a masterpiece, award-winning art", "a failed, broken image"),
    ("a harmonious composition", "a cluttered, chaotic composition"),
    ("rich luminous colours", "dull muddy colours"),
    ("a picture with clear forms and fine detail", "a blurry picture full of noise"),
)


class ClipMatcher:
    """Embeds pictures and texts into one space."""

    def __init__(self, choice: ClipChoice) -> None:
        """Load it: seconds, and hundreds of megabytes; on a thread of its own.

        Raises:
            MatcherUnfit: The architecture, the weights or the head cannot be had, or are none.
        """
        config, shown = _architecture(choice)
        weights = weights_of(choice)
        model: Any = _model(config, choice.model)
        _fill(model, weights, choice.model)
        self._batch = max(1, choice.batch)
        self._size = _size(config)
        self._mean, self._std = shown
        self._tokens = _tokenizer(config)
        self._device = "cpu"
        self._model = model.float().eval().requires_grad_(False)
        version = f"{_VERSION}-{Path(choice.model).name}-{_digest(weights)}"
        self._identity = Identity("clip", version, config["embed_dim"])
        self._move_to(choice.device or _best_device())
        self._head = None if choice.head is None else _head(choice.head, self._identity.dimension)
        self._contrasts = self._embedded_contrasts()
        self._scale = float(np.exp(self._model.logit_scale.item()))

    @property
    def identity(self) -> Identity:
        return self._identity

    @property
    def thresholds(self) -> Thresholds:
        """What is usual for CLIP's image embeddings (duplicates above 0.95 to 0.98); not measured here."""
        return Thresholds(duplicate=0.98, near=0.94)

    @property
    def device(self) -> str:
        """Where it computes."""
        return self._device

    def embed(self, pictures: Sequence[bytes]) -> Vectors:
        """See `Matcher.embed`."""
        parts = [
            self._embed_batch(pictures[at : at + self._batch]) for at in range(0, len(pictures), self._batch)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, self._identity.dimension), np.float32)

    def embed_texts(self, texts: Sequence[str]) -> Vectors:
        """See `Matcher.embed_texts`; what is longer than the model reads (77 tokens, mostly) is cut off."""
        tokens = self._tokens(list(texts))
        return self._run(lambda device: self._model.encode_text(tokens.to(device)))

    def scores(self, embeddings: Vectors, pictures: Sequence[bytes]) -> Vectors:
        """By the linear head where there is one; else how much nearer each is to praise than to blame."""
        if self._head is not None:
            weight, bias = self._head
            rated: Vectors = (embeddings @ weight + bias - _HEAD_LOW) / (_HEAD_HIGH - _HEAD_LOW)
            return np.asarray(np.clip(rated, 0.0, 1.0), np.float32)
        nearer = np.einsum("nd,psd->nps", embeddings, self._contrasts) @ np.array([1.0, -1.0], np.float32)
        chosen = 1.0 / (1.0 + np.exp(-np.clip(self._scale * nearer, -50.0, 50.0)))
        return np.asarray(chosen.mean(axis=1), np.float32)

    def _embed_batch(self, pictures: Sequence[bytes]) -> Vectors:
        import torch

        pixels = np.stack([self._pixels(picture) for picture in pictures])
        tensor = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        return self._run(lambda device: self._model.encode_image(tensor.to(device)))

    def _pixels(self, picture: bytes) -> Vectors:
        """The whole picture squeezed into a square: to cut one out would miss half of a wide one."""
        height, width = self._size
        image = open_picture(picture, max(height, width)).resize((width, height), Image.Resampling.BICUBIC)
        return (np.asarray(image, np.float32) / 255.0 - self._mean) / self._std

    def _run(self, work: Callable[[str], Tensor]) -> Vectors:
        """Rows of unit length; on the CPU from now on if the GPU has no room (the engine needs it too)."""
        import torch

        with torch.inference_mode():
            try:
                rows = work(self._device)
            except torch.OutOfMemoryError:
                if self._device == "cpu":
                    raise
                log.warning("no memory for CLIP on %s; it goes on on the CPU", self._device)
                self._move_to("cpu")
                rows = work("cpu")
            unit = torch.nn.functional.normalize(rows.float(), dim=-1)
            return np.asarray(unit.cpu().numpy(), np.float32)

    def _move_to(self, device: str) -> None:
        try:
            self._model.to(device)
        except Exception as error:  # noqa: BLE001 - drivers raise whatever they like
            log.warning("CLIP cannot compute on %s (%s); it does on the CPU", device, _brief(error))
            self._model.to("cpu")
            device = "cpu"
        self._device = device

    def _embedded_contrasts(self) -> Vectors:
        """``[pairs, 2, D]``; also the proof that the model gives numbers."""
        texts = self.embed_texts([text for pair in _CONTRASTS for text in pair])
        if not np.isfinite(texts).all():
            raise MatcherUnfit(f"{self._identity} gives no numbers")
        return texts.reshape(len(_CONTRASTS), 2, -1)


def _architecture(choice: ClipChoice) -> tuple[dict[str, Any], tuple[Vectors, Vectors]]:
    """The model's plan, and the mean and spread of the colours that it was shown."""
    import open_clip

    shown: Mapping[str, Any] = {}
    folder = choice.model_folder
    if folder is None:
        config = open_clip.get_model_config(choice.model) if choice.model in open_clip.list_models() else None
    else:
        whole = _json(folder / CONFIG)
        config, shown = whole.get("model_cfg"), whole.get("preprocess_cfg", {})
    if not isinstance(config, dict) or not _is_plan(config):
        raise MatcherUnfit(f"{choice.model} is neither a model of open_clip nor a folder with an {CONFIG}")
    _refuse_what_calls_home(config, choice.model)
    mean = np.array(shown.get("mean", open_clip.OPENAI_DATASET_MEAN), np.float32)
    return config, (mean, np.array(shown.get("std", open_clip.OPENAI_DATASET_STD), np.float32))


def _is_plan(config: Mapping[str, Any]) -> bool:
    towers = (config.get("vision_cfg"), config.get("text_cfg"))
    return isinstance(config.get("embed_dim"), int) and all(isinstance(one, dict) for one in towers)


def _json(path: Path) -> dict[str, Any]:
    try:
        whole = json.loads(read_at_most(path, _MAX_CONFIG))
    except (ValueError, RecursionError, StorageError) as error:
        raise MatcherUnfit(f"{path} is no plan of a model: {_brief(error)}") from error
    if not isinstance(whole, dict):
        raise MatcherUnfit(f"{path} is no plan of a model")
    return whole


def _refuse_what_calls_home(config: Mapping[str, Any], name: str) -> None:
    """Some architectures fetch parts or word lists from the network when they are made."""
    text, vision = config["text_cfg"], config["vision_cfg"]
    foreign = any(key.startswith("hf_") for key in text) or "siglip" in name.lower()
    if foreign or ":" in str(vision.get("timm_model_name", "")) or "multimodal_cfg" in config:
        raise MatcherUnfit(f"{name} needs more than one file of weights; choose a plain CLIP, e.g. ViT-B-32")


def _model(config: Mapping[str, Any], name: str) -> nn.Module:
    import open_clip

    plan = {key: value for key, value in config.items() if key != "custom_text"}
    kind = open_clip.CustomTextCLIP if config.get("custom_text") else open_clip.CLIP
    try:
        model: nn.Module = kind(**plan)
    except Exception as error:  # plans of others may hold anything
        raise MatcherUnfit(f"the plan of {name} cannot be built: {_brief(error)}") from error
    return model


def _fill(model: nn.Module, weights: Path, name: str) -> None:
    state = _state(weights)
    try:
        model.load_state_dict(state, strict=True, assign=True)  # not copied: the file stays mapped
    except (RuntimeError, KeyError) as error:
        raise MatcherUnfit(f"{weights} holds no weights for CLIP {name}: {_brief(error)}") from error


def _state(path: Path) -> dict[str, Tensor]:
    """What a file of weights holds.

    Raises:
        MatcherUnfit: It is no such file.
    """
    import torch
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            found: object = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # readers raise whatever they like at what is no model
        raise MatcherUnfit(f"{path} is no model: {_brief(error)}") from error
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if (
        not isinstance(found, dict)
        or not found
        or not all(isinstance(one, torch.Tensor) for one in found.values())
    ):
        raise MatcherUnfit(f"{path} is no model: it holds no weights by name")
    return {str(key).removeprefix("module."): value for key, value in found.items()}


def _head(path: Path, dimension: int) -> tuple[Vectors, float]:
    """A linear layer with one output: what an embedding is worth, 1 to 10."""
    state = {
        key.rpartition(".")[2]: value.float().numpy() for key, value in _state(path.expanduser()).items()
    }
    weight, bias = state.get("weight"), state.get("bias", np.zeros(1, np.float32))
    if weight is None or weight.size != dimension or bias.size != 1 or len(state) > 2:
        raise MatcherUnfit(f"{path} is no linear head for embeddings of {dimension} numbers")
    return weight.reshape(-1), float(bias.reshape(-1)[0])


def _tokenizer(config: Mapping[str, Any]) -> Callable[[list[str]], Tensor]:
    import open_clip

    text = config["text_cfg"]
    tokenizer: Callable[[list[str]], Tensor] = open_clip.SimpleTokenizer(
        context_length=text.get("context_length", 77), **text.get("tokenizer_kwargs", {})
    )
    return tokenizer


def _size(config: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width in pixels that the model sees."""
    size = config["vision_cfg"].get("image_size", 224)
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)


def _best_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def _brief(error: Exception) -> str:
    """The first words of what may be a page."""
    lines = str(error).strip().splitlines()
    return " ".join([type(error).__name__, *lines[:2]])[:200]
