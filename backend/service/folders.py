"""Which folders a dream of these settings writes to."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from backend.config import Settings, keys
from backend.config_values import is_path

_ONLY_READ = frozenset({"memory.seeds"})


def written_folders(settings: Settings, home: Path) -> tuple[Path, ...]:
    """Those that the settings name, and those that an engine of ours writes to.

    Args:
        settings: All of them.
        home: Of whom it runs as.
    """
    found = [*_of_settings(settings), *_of_command(settings.comfyui.launch)]
    if settings.memory.clip_download == "allowed":
        found.append(home / ".cache" / "huggingface")
    return tuple(dict.fromkeys(Path(os.path.normpath(folder)) for folder in found))


def _of_settings(settings: Settings) -> Iterator[Path]:
    for key, described in keys().items():
        section, name = key.split(".")
        path = getattr(getattr(settings, section), name)
        if path is not None and is_path(described) and key not in _ONLY_READ:
            yield path.parent if name.endswith("file") else path


def _of_command(words: Sequence[str]) -> Iterator[Path]:
    """A ComfyUI writes to its own folder, and to those that its command names."""
    for word in words[1:]:
        path = Path(word.rpartition("=")[2])
        if path.is_absolute() and path.suffix == ".py":
            yield path.parent
        elif path.is_absolute() and path.is_dir():
            yield path
