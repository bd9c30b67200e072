"""Settings that hold at once: which part takes which keys, and what of an edit must wait for a restart."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from backend.config import Settings, is_live, keys
from backend.config_values import is_private, write_value
from backend.errors import DreamloopError
from backend.utils.yaml_lines import shorten

log = logging.getLogger(__name__)

_LONGEST = 200

Take = Callable[[Settings], None]
"""Has a part go by these settings from now on; DreamloopError if it cannot, and nothing has changed then."""


@dataclass(frozen=True)
class Change:
    """A key, and its values before and after as a person would write them; secrets are kept back."""

    key: str
    old: str
    new: str


@dataclass(frozen=True)
class _Part:
    keys: frozenset[str]
    take: Take


class LiveSettings:
    """The parts of a running dream, each with the keys that it takes while it runs."""

    def __init__(self) -> None:
        self._parts: list[_Part] = []

    def register(self, taken: Iterable[str], take: Take) -> None:
        """Have ``take`` called whenever one of these keys has changed.

        Raises:
            ValueError: One of them is no key, or not marked as live in config_sections.py.
        """
        names = frozenset(taken)
        strange = sorted(name for name in names if name not in keys() or not is_live(keys()[name]))
        if strange:
            raise ValueError(f"no live settings: {', '.join(strange)}")
        self._parts.append(_Part(names, take))

    @property
    def keys(self) -> frozenset[str]:
        """All that some part takes."""
        return frozenset().union(*(part.keys for part in self._parts))

    def apply(self, old: Settings, new: Settings) -> None:
        """Have every part that is concerned go by ``new``; all of them, or none.

        Raises:
            DreamloopError: One of them cannot. All go by ``old`` again.
        """
        changed = frozenset(differing(old, new))
        concerned = [part for part in self._parts if part.keys & changed]
        for count, part in enumerate(concerned):
            try:
                part.take(new)
            except DreamloopError:
                self._go_back(old, concerned[:count])
                raise

    def _go_back(self, old: Settings, parts: Sequence[_Part]) -> None:
        for part in parts:
            try:
                part.take(old)
            except DreamloopError as error:
                log.error("a part cannot go back to the settings before: %s", error)


def differing(old: Settings, new: Settings) -> list[str]:
    """The dotted keys whose values differ."""
    return [key for key in keys() if value_of(old, key) != value_of(new, key)]


def changes(old: Settings, new: Settings, names: Iterable[str]) -> tuple[Change, ...]:
    """These keys with both of their values."""
    return tuple(Change(key, _told(old, key), _told(new, key)) for key in names)


def with_values_of(settings: Settings, other: Settings, names: Iterable[str]) -> Settings:
    """The settings with the values that ``other`` has for these keys."""
    updates: dict[str, dict[str, Any]] = {}
    for name in names:
        section, key = name.split(".")
        updates.setdefault(section, {})[key] = value_of(other, name)
    exchanged = {
        section: getattr(settings, section).model_copy(update=values) for section, values in updates.items()
    }
    return settings.model_copy(update=exchanged)


def value_of(settings: Settings, dotted: str) -> object:
    """The value of a dotted key."""
    section, key = dotted.split(".")
    return getattr(getattr(settings, section), key)


def _told(settings: Settings, dotted: str) -> str:
    field = keys()[dotted]
    if is_private(field):
        return "***"
    return shorten(write_value(field, value_of(settings, dotted)), _LONGEST)
