"""Which model dreams: what is configured, else the best that the server has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from backend.core.family_detection import FAMILY_NAMES, family_named, family_of
from backend.core.model_family import ModelFamily, base_name
from backend.errors import ModelMissing
from backend.utils.nearest import nearest

# Models that do something else than paint from words; taken only when they are asked for by name.
_SPECIAL = re.compile(
    r"inpaint|fill|edit|kontext|canny|depth|redux|refiner|layered|control|upscal|svd|video|i2v|t2v"
)

_MOST_ASKED = 32
"""Files whose names tell nothing are asked for their metadata, but each asking is a request."""


@dataclass(frozen=True)
class ModelWish:
    """What the settings ask for; None and () leave it to what the server has.

    Attributes:
        family: By its name, see ``model_families.FAMILY_NAMES``.
        checkpoint: A file in models/checkpoints.
        diffusion_model: A file in models/diffusion_models, which needs encoders and a VAE beside it.
        text_encoders: Files in models/text_encoders, in the order of the loader's inputs.
        vae: A file in models/vae.
    """

    family: str | None = None
    checkpoint: str | None = None
    diffusion_model: str | None = None
    text_encoders: tuple[str, ...] = ()
    vae: str | None = None


@dataclass(frozen=True)
class Models:
    """The files that a graph loads: a checkpoint or a diffusion model, and what it does not bring itself."""

    family: ModelFamily
    checkpoint: str | None = None
    diffusion_model: str | None = None
    text_encoders: tuple[str, ...] = ()
    vae: str | None = None

    @property
    def label(self) -> str:
        """What to show people."""
        return self.checkpoint or self.diffusion_model or "no model"


class ModelServer(Protocol):
    """Who knows which files there are."""

    def models(self, folder: str) -> tuple[str, ...]:
        """The files of one of the server's model folders; empty where there is no such folder."""

    def metadata(self, folder: str, name: str) -> Mapping[str, str]:
        """What a safetensors file tells of itself; empty where the server does not say."""


def choose_models(wish: ModelWish, server: ModelServer) -> Models:
    """What is wished, else the first checkpoint of a known family, else the first complete set of parts.

    Raises:
        ModelMissing: A file is not there, or a diffusion model lacks its text encoders or its VAE.
        ValueError: There is no family of the wished name, or a diffusion model does not tell its own.
    """
    return _Choice(wish, server).models()


class _Choice:
    """One choice in the making; every folder is asked for once."""

    def __init__(self, wish: ModelWish, server: ModelServer) -> None:
        self._wish = wish
        self._server = server
        self._family = None if wish.family is None else family_named(wish.family)
        self._folders: dict[str, tuple[str, ...]] = {}

    def models(self) -> Models:
        if self._wish.checkpoint is not None:
            self._check("checkpoints", self._wish.checkpoint)
            return self._with_checkpoint(self._wish.checkpoint)
        if self._wish.diffusion_model is not None:
            self._check("diffusion_models", self._wish.diffusion_model)
            return self._in_parts(self._wish.diffusion_model)
        return self._first()

    def _first(self) -> Models:
        lacking: ModelMissing | None = None
        for folder, load in (("checkpoints", self._with_checkpoint), ("diffusion_models", self._in_parts)):
            for name in self._known(folder):
                try:
                    return load(name)
                except ModelMissing as missing:
                    lacking = lacking or missing
        if (unknown := self._last_resort()) is not None:
            return self._with_checkpoint(unknown)
        if lacking is not None:
            raise lacking
        wished = "(any)" if self._family is None else f"(any of the family {self._family.name})"
        raise ModelMissing("checkpoints", wished, self._available("checkpoints"), None)

    def _known(self, folder: str) -> list[str]:
        """The files of a known (or the wished) family, those of exactly that family first."""
        ours = [name for name in self._available(folder) if not _SPECIAL.search(base_name(name))]
        found = [(name, family_of(name, default=None)) for name in ours]
        if all(family is None for _, family in found):
            found = [(name, self._family_inside(folder, name)) for name in ours[:_MOST_ASKED]]
        if self._family is None:
            return [name for name, family in found if family is not None]
        line = self._family.line
        mates = [(name, family) for name, family in found if family is not None and family.line == line]
        return [name for name, family in sorted(mates, key=lambda one: one[1] is not self._family)]

    def _last_resort(self) -> str | None:
        """A checkpoint of no known family; where none is wished, one of a special kind even."""
        available = self._available("checkpoints")
        unknown = [name for name in available if family_of(name, default=None) is None]
        if self._family is None:
            unknown += available
        return unknown[0] if unknown else None

    def _with_checkpoint(self, name: str) -> Models:
        family = self._family or family_of(name, metadata=self._server.metadata("checkpoints", name))
        encoders, vae = self._wished_parts()
        if not encoders and any(re.search(pattern, base_name(name)) for pattern in family.bare):
            encoders = self._encoders(family)
            vae = vae or self._find_vae(family)
        return Models(family, checkpoint=name, text_encoders=encoders, vae=vae)

    def _in_parts(self, name: str) -> Models:
        told = self._server.metadata("diffusion_models", name)
        family = self._family or family_of(name, default=None, metadata=told)
        if family is None:
            raise ValueError(
                f"{name} does not tell of which family it is: set comfyui.family to one of "
                f"{', '.join(FAMILY_NAMES)}"
            )
        encoders, vae = self._wished_parts()
        encoders = encoders or self._encoders(family)
        vae = vae or self._find_vae(family)
        if vae is None:
            raise self._missing("vae", family.parts.vae.example if family.parts else "(any)")
        return Models(family, diffusion_model=name, text_encoders=encoders, vae=vae)

    def _encoders(self, family: ModelFamily) -> tuple[str, ...]:
        if family.parts is None:
            raise self._missing("text_encoders", f"(any that fits {family.name})")
        found = []
        for slot in family.parts.encoders:
            name = slot.find(self._available("text_encoders"))
            if name is None:
                raise self._missing("text_encoders", slot.example)
            found.append(name)
        return tuple(found)

    def _find_vae(self, family: ModelFamily) -> str | None:
        return None if family.parts is None else family.parts.vae.find(self._available("vae"))

    def _wished_parts(self) -> tuple[tuple[str, ...], str | None]:
        for name in self._wish.text_encoders:
            self._check("text_encoders", name)
        if self._wish.vae is not None:
            self._check("vae", self._wish.vae)
        return self._wish.text_encoders, self._wish.vae

    def _family_inside(self, folder: str, name: str) -> ModelFamily | None:
        return family_of(name, default=None, metadata=self._server.metadata(folder, name))

    def _check(self, folder: str, name: str) -> None:
        if name not in self._available(folder):
            raise self._missing(folder, name)

    def _missing(self, folder: str, name: str) -> ModelMissing:
        available = self._available(folder)
        return ModelMissing(folder, name, available, nearest(name, available))

    def _available(self, folder: str) -> tuple[str, ...]:
        if folder not in self._folders:
            self._folders[folder] = self._server.models(folder)
        return self._folders[folder]
