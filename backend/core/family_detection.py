"""How a model file tells which family it is of: by its name, and by what it says of itself."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import overload

from backend.core.model_families import FAMILIES, SD15
from backend.core.model_family import ModelFamily, base_name
from backend.utils.nearest import nearest

FAMILY_NAMES = tuple(family.name for family in FAMILIES)


@overload
def family_of(
    name: str, default: ModelFamily = SD15, *, metadata: Mapping[str, str] | None = None
) -> ModelFamily: ...
@overload
def family_of(
    name: str, default: None, *, metadata: Mapping[str, str] | None = None
) -> ModelFamily | None: ...
def family_of(
    name: str, default: ModelFamily | None = SD15, *, metadata: Mapping[str, str] | None = None
) -> ModelFamily | None:
    """The family of a checkpoint or diffusion model.

    Args:
        name: The file's name; folders in it tell nothing.
        default: For files that tell nothing (SD 1.5 is the most modest).
        metadata: The file's own ``__metadata__``. Its ``modelspec.architecture`` outweighs the name as to the
            line; which variant of the line it is, names and titles know better.
    """
    told = metadata or {}
    architecture = told.get("modelspec.architecture", "").lower()
    words = " ".join((base_name(name), told.get("modelspec.title", "").lower(), architecture))
    for line in (_line_of_architecture(architecture), _line_of_name(base_name(name))):
        for family in FAMILIES:
            if family.line == line and (not family.variant or _any(family.variant, words)):
                return family
    return default


def family_named(name: str) -> ModelFamily:
    """The family that people call so, whatever the case and the dashes.

    Raises:
        ValueError: There is no such family; the message names those that there are.
    """
    by_word = {_word(family.name): family for family in FAMILIES}
    if (known := by_word.get(_word(name))) is not None:
        return known
    close = nearest(name, FAMILY_NAMES)
    hint = f"did you mean {close!r}? " if close else ""
    raise ValueError(f"family = {name!r}: {hint}one of {', '.join(FAMILY_NAMES)}")


def _line_of_architecture(architecture: str) -> str | None:
    return next((one.line for one in FAMILIES if _any(one.architectures, architecture)), None)


def _line_of_name(file_name: str) -> str | None:
    return next((one.line for one in FAMILIES if _any(one.patterns, file_name)), None)


def _any(patterns: Sequence[str], text: str) -> bool:
    return any(re.search(pattern, text) for pattern in patterns)


def _word(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
