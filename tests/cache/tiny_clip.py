"""A small CLIP of random numbers: nothing it says makes sense, but all of it is loaded for real."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from backend.cache.clip_weights import CONFIG, FILE

DIMENSION = 24
PLAN = {
    "embed_dim": DIMENSION,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def tiny_clip(folder: Path, *, seed: int = 0) -> Path:
    """A folder as a repository of open_clip's has it: plan and weights."""
    import open_clip

    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps({"model_cfg": PLAN, "preprocess_cfg": {"mean": [0.5] * 3}}))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = open_clip.CLIP(**PLAN)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / FILE)
    return folder
