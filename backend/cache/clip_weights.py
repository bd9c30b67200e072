"""Where CLIP's weights are, and how they get here: from a file, or, if that is allowed, from Hugging Face.

Nothing here imports torch or open_clip: whether there are weights is told at once.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import requests

from backend.errors import MatcherUnfit
from backend.utils.file_ops import write_pieces_atomic

log = logging.getLogger(__name__)

HUB = "https://huggingface.co"
FILE = "open_clip_model.safetensors"
"""What a repository or a folder calls open_clip's weights; the pickled form beside it is not asked for."""

CONFIG = "open_clip_config.json"

_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# Repositories of open_clip's own list whose pictures are prepared in the usual way.
_DEFAULTS = {
    "ViT-B-32": "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
    "ViT-B-16": "laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K",
    "ViT-L-14": "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K",
    "ViT-H-14": "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
}
_PIECE_BYTES = 1 << 20
_TIMEOUT_S = (10.0, 60.0)
_TELL_EVERY = 0.1
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ClipChoice:
    """Which CLIP.

    Attributes:
        model: open_clip's name of the architecture, or a folder with an ``open_clip_config.json``.
        weights: A file (safetensors, or a state dict of torch), or a repository on Hugging Face
            (``laion/CLIP-ViT-B-32-laion2B-s34B-b79K``); None for the model's own.
        may_download: Whether a repository may be asked.
        folder: Where downloads are kept.
        head: A linear aesthetic head: a safetensors file with ``weight`` and perhaps ``bias``.
        device: torch's name; None for a GPU if there is one.
        batch: Pictures judged together.
    """

    model: str = "ViT-B-32"
    weights: str | None = None
    may_download: bool = False
    folder: Path = Path("~/.cache/dreamloop")
    head: Path | None = None
    device: str | None = None
    batch: int = 16

    @property
    def model_folder(self) -> Path | None:
        """The folder that holds the architecture, if it is not one of open_clip's own."""
        path = Path(self.model).expanduser()
        return path if (path / CONFIG).is_file() else None

    @property
    def source(self) -> str:
        """The file or repository that the weights come from; empty if none is known."""
        if self.weights is not None:
            return self.weights
        folder = self.model_folder
        return str(folder / FILE) if folder else _DEFAULTS.get(self.model, "")

    @property
    def names_a_file(self) -> bool:
        """The weights are a file rather than a repository."""
        path = Path(self.source).expanduser()
        return bool(self.source) and (path.suffix in _SUFFIXES or path.is_file())


def local_weights(choice: ClipChoice) -> Path | None:
    """The weights' file, if it is on this machine."""
    if choice.names_a_file:
        file = Path(choice.source).expanduser()
        return file if file.is_file() else None
    if not _REPOSITORY.fullmatch(choice.source):
        return None
    cached = _hub_cache() / f"models--{choice.source.replace('/', '--')}" / "snapshots"
    found = [_own_copy(choice), *sorted(cached.glob(f"*/{FILE}"))]
    return next((file for file in found if file.is_file()), None)


def weights_of(choice: ClipChoice, *, hub: str = HUB) -> Path:
    """The weights' file; downloaded first if it is not here and that is allowed.

    Raises:
        MatcherUnfit: It is not here and cannot be had.
        StorageError: It cannot be written.
    """
    here = local_weights(choice)
    if here is not None:
        return here
    if choice.names_a_file:
        raise MatcherUnfit(f"there is no file {choice.source} with weights for CLIP")
    if not choice.source:
        known = ", ".join(_DEFAULTS)
        raise MatcherUnfit(
            f"no weights are known for CLIP {choice.model}: name their file, or choose one of {known}"
        )
    if not _REPOSITORY.fullmatch(choice.source):
        raise MatcherUnfit(f"{choice.source!r} is neither a file of weights nor a repository like owner/name")
    if not choice.may_download:
        raise MatcherUnfit(
            f"CLIP's weights {choice.source} are not on this machine and downloading is not allowed; "
            f"allow it, or save {hub}/{choice.source}/resolve/main/{FILE} and name the file"
        )
    return _download(choice, hub)


def _own_copy(choice: ClipChoice) -> Path:
    return choice.folder.expanduser() / f"{choice.source.replace('/', '--')}.safetensors"


def _hub_cache() -> Path:
    """Where huggingface_hub keeps what other programs of this user have downloaded."""
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface"))
    return Path(os.environ.get("HF_HUB_CACHE", home / "hub")).expanduser()


def _download(choice: ClipChoice, hub: str) -> Path:
    url, target = f"{hub}/{choice.source}/resolve/main/{FILE}", _own_copy(choice)
    try:
        size, sha256 = _asked(url)
        target.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(target.parent).free
        if free < 1.05 * size:
            raise MatcherUnfit(f"{url} has {_mb(size)}, and {target.parent} has room for {_mb(free)}")
        log.info("downloading CLIP's weights once: %s, %s, to %s", url, _mb(size), target)
        write_pieces_atomic(target, _pieces(url, size, sha256))
    except requests.RequestException as error:
        raise MatcherUnfit(f"{url} cannot be downloaded: {type(error).__name__}") from error
    except OSError as error:
        raise MatcherUnfit(f"{target.parent} cannot hold CLIP's weights: {error.strerror}") from error
    log.info("CLIP's weights are here: %s", target)
    return target


def _asked(url: str) -> tuple[int, str | None]:
    """Bytes, and SHA-256 where the hub tells it: of large files, in the answer before the redirect."""
    with requests.head(
        url, allow_redirects=True, timeout=_TIMEOUT_S, headers={"Accept-Encoding": "identity"}
    ) as answer:
        answer.raise_for_status()
        told = [one.headers for one in (*answer.history, answer)]
    tags = [headers.get("X-Linked-ETag", "").strip('"') for headers in told]
    sizes = [headers["X-Linked-Size"] for headers in told if "X-Linked-Size" in headers]
    size = sizes[0] if sizes else told[-1].get("Content-Length", "")
    if not size.isdecimal():
        raise MatcherUnfit(f"{url} does not tell how large it is, so it is not downloaded")
    return int(size), next((tag for tag in tags if _SHA256.fullmatch(tag)), None)


def _pieces(url: str, size: int, sha256: str | None) -> Iterator[bytes]:
    """The file; its end comes only if it is the whole file and the right one."""
    digest, have, told = hashlib.sha256(), 0, 0.0
    try:
        with requests.get(
            url, stream=True, timeout=_TIMEOUT_S, headers={"Accept-Encoding": "identity"}
        ) as answer:
            answer.raise_for_status()
            for piece in answer.iter_content(_PIECE_BYTES):
                have += len(piece)
                if have > size:
                    break
                digest.update(piece)
                yield piece
                if have / size >= told + _TELL_EVERY:
                    told = have / size
                    log.info("CLIP's weights: %s of %s (%.0f %%)", _mb(have), _mb(size), 100 * told)
    except requests.RequestException as error:
        raise MatcherUnfit(f"{url} broke off after {_mb(have)}: {type(error).__name__}") from error
    if have != size or sha256 not in (None, digest.hexdigest()):
        raise MatcherUnfit(
            f"{url} came damaged: {have} of {size} bytes, or another content than was promised"
        )


def _mb(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
