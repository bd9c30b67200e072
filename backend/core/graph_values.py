"""Whether a server takes a value at an input, and how to say what it takes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from backend.core.node_catalog import COMBO, Choice, InputSpec
from backend.utils.nearest import nearest
from backend.utils.yaml_lines import shorten

MOST_TOLD = 8
"""Of a list, so many entries are told."""

_MOST_NEIGHBOURS = 5_000
"""Of how many choices the nearest is looked for."""

_CONVERSIONS: Mapping[str, type] = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}
_LINKS = (
    "MODEL CLIP VAE CONDITIONING LATENT IMAGE MASK CONTROL_NET UPSCALE_MODEL CLIP_VISION CLIP_VISION_OUTPUT "
    "STYLE_MODEL GLIGEN SAMPLER SIGMAS GUIDER NOISE"
)
_ONLY_LINKS = frozenset(_LINKS.split())
"""Types that no person can write down; other types may come from a widget of a custom node."""

_PLACES = (" [output]", " [input]", " [temp]")


def value_problem(given: InputSpec, value: Any) -> str | None:
    """What is wrong with a value that is no link, None if the server takes it.

    Values are converted first as the server does: ``"20"`` is a whole number to it, and so is 3.7.
    """
    if isinstance(value, Mapping) and "__value__" in value:  # how a list is told apart from a link
        value = value["__value__"]
    if given.kind == COMBO:
        return _choice_problem(given, value)
    if given.kind in _ONLY_LINKS:
        takes_none = value is None and not given.required
        return None if takes_none else f"must be linked to an output of type {given.kind}"
    try:
        value = _CONVERSIONS.get(given.kind, lambda same: same)(value)
        return _range_problem(given, value)
    except (TypeError, ValueError, OverflowError):
        return f"not {wish_of(given)}"


def _range_problem(given: InputSpec, value: Any) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return f"not finite; wanted is {wish_of(given)}"
    low, high = given.minimum, given.maximum
    if (low is not None and value < low) or (high is not None and value > high):
        return f"out of range; the server takes {wish_of(given)}"
    return None


def _choice_problem(given: InputSpec, value: Any) -> str | None:
    if given.choices is None or given.uploads:
        return None
    if isinstance(value, str) and value.endswith(
        _PLACES
    ):  # a file, by its folder: the server looks for it itself
        return None
    if given.multiselect and isinstance(value, list | tuple):
        return next((_choice_problem(given, one) for one in value if one not in given.choices), None)
    if value in given.choices:
        return None
    near = nearest(value, _texts(given.choices)) if isinstance(value, str) else None
    hint = f"; did you mean {near!r}?" if near else "."
    return f"not offered{hint} {_offer(given.choices)}"


def _texts(choices: Iterable[Choice]) -> list[str]:
    return [choice for choice in choices if isinstance(choice, str)][:_MOST_NEIGHBOURS]


def _offer(choices: tuple[Choice, ...]) -> str:
    if not choices:
        return "The server offers none at all"
    told = ", ".join(shorten(str(choice)) for choice in choices[:MOST_TOLD])
    more = f", ... ({len(choices)} in all)" if len(choices) > MOST_TOLD else ""
    return f"The server offers {told}{more}"


def wish_of(given: InputSpec) -> str:
    """What an input takes, in words."""
    if given.kind == COMBO:
        return f"one of a list: {_offer(given.choices)}" if given.choices else "one of a list"
    kind = {"INT": "a whole number", "FLOAT": "a number", "STRING": "text", "BOOLEAN": "true or false"}.get(
        given.kind
    )
    if kind is None:
        return f"a link to an output of type {given.kind}"
    low, high = given.minimum, given.maximum
    if low is not None and high is not None:
        return f"{kind} from {low} to {high}"
    if low is not None:
        return f"{kind}, at least {low}"
    return f"{kind}, at most {high}" if high is not None else kind


def told_of(value: object) -> str:
    """A value as Python writes it, on one short line."""
    try:
        return shorten(repr(value))
    except ValueError:  # a whole number of thousands of digits
        return f"a {type(value).__name__} too long to tell"
