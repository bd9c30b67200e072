"""One theme file: YAML in, a Theme or the problems with their lines out.

Every complaint names its line, and all of them come at once.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from backend.errors import Problem
from backend.utils.file_ops import read_at_most
from backend.utils.yaml_lines import Located, load, shorten

MAX_CHARS = 4000
MAX_NAME_CHARS = 60
MAX_FILE_BYTES = 256 * 1024
MAX_PROMPTS = 500
MAX_WEIGHT = 100.0
KEYS = ("name", "description", "weight", "positive", "negative", "modifiers")


class PartOfDay(StrEnum):
    """The parts of the day that may change a theme's words, by local time."""

    MORNING = "morning"
    DAY = "day"
    EVENING = "evening"
    NIGHT = "night"

    @classmethod
    def of(cls, wall: datetime) -> PartOfDay:
        """Morning from 5, day from 10, evening from 17, night from 22 o'clock."""
        if 5 <= wall.hour < 10:
            return cls.MORNING
        if 10 <= wall.hour < 17:
            return cls.DAY
        return cls.EVENING if 17 <= wall.hour < 22 else cls.NIGHT


@dataclass(frozen=True)
class Theme:
    """What to dream of, as one file says it.

    Attributes:
        name: Shown to people; unique among the themes.
        description: One sentence for people.
        weight: How often the theme is drawn in shuffled order, relative to the others; 1 is usual.
        positive: The prompts, at least one.
        negative: What to keep away from; the theme's own.
        modifiers: Words added by part of the day; one of them is chosen.
        source: The file, for messages.
        line: Where the name stands, for messages.
    """

    name: str
    description: str
    weight: float
    positive: tuple[str, ...]
    negative: str
    modifiers: Mapping[PartOfDay, tuple[str, ...]]
    source: str
    line: int | None


def read_theme(path: Path) -> tuple[Theme | None, tuple[Problem, ...]]:
    """Read one theme file. Never raises for what the file holds: either a theme or problems come back."""
    try:
        data = read_at_most(path, MAX_FILE_BYTES)
    except OSError as error:
        return None, (Problem(str(path), None, "file", "", f"cannot be read: {error.strerror or error}"),)
    if len(data) > MAX_FILE_BYTES:
        wish = f"a theme file of at most {MAX_FILE_BYTES // 1024} kB"
        return None, (Problem(str(path), None, "file", "a larger one", wish),)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        return None, (Problem(str(path), line, "file", "", "text in UTF-8"),)
    return parse_theme(text, str(path), default_name=path.stem.replace("_", " "))


def parse_theme(text: str, source: str, *, default_name: str) -> tuple[Theme | None, tuple[Problem, ...]]:
    """The theme that the YAML ``text`` describes, or everything that is wrong with it."""
    return _Reader(source).theme(text, default_name)


def clean_text(text: str) -> str:
    """The text in NFC with runs of white space made one space.

    Raises:
        ValueError: It holds NUL, another control character or a lone surrogate, or is too long; the
            message says what would be right.
    """
    text = unicodedata.normalize("NFC", " ".join(text.split()))
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in text):
        raise ValueError("text without NUL, control characters and lone surrogates")
    if len(text) > MAX_CHARS:
        raise ValueError(f"at most {MAX_CHARS} characters, not {len(text)}")
    return text


@dataclass
class _Reader:
    """Collects problems while it walks the tree of one file."""

    source: str
    problems: list[Problem] = field(default_factory=list)

    def theme(self, text: str, default_name: str) -> tuple[Theme | None, tuple[Problem, ...]]:
        root, self.problems = load(text, self.source)
        if root.mapping is not None or not self.problems:
            theme = self._theme(self._mapping("file", root, KEYS), default_name)
            if not self.problems:
                return theme, ()
        return None, tuple(self.problems)

    def _theme(self, nodes: Mapping[str, Located], default_name: str) -> Theme:
        name_node = nodes.get("name")
        positive = self._texts("positive", nodes.get("positive"))
        if not positive and not any(problem.key.startswith("positive") for problem in self.problems):
            self._complain("positive", nodes.get("positive"), "at least one prompt")
        modifiers = self._modifiers(nodes.get("modifiers"))
        self._check_sum(positive, modifiers, nodes.get("positive"))
        return Theme(
            name=self._name(name_node, default_name),
            description=self._text("description", nodes.get("description")),
            weight=self._weight(nodes.get("weight")),
            positive=positive,
            negative=self._text("negative", nodes.get("negative")),
            modifiers=modifiers,
            source=self.source,
            line=name_node.line if name_node else None,
        )

    def _mapping(self, where: str, node: Located, allowed: tuple[str, ...]) -> dict[str, Located]:
        if node.mapping is None:
            self._complain(where, node, f"a mapping with the keys {', '.join(allowed)}")
            return {}
        for key, value in node.mapping.items():
            if key not in allowed:
                dotted = key if where == "file" else f"{where}.{key}"
                self.problems.append(Problem(self.source, value.key_line, dotted, "", _unknown(key, allowed)))
        return {key: value for key, value in node.mapping.items() if key in allowed}

    def _modifiers(self, node: Located | None) -> dict[PartOfDay, tuple[str, ...]]:
        if node is None:
            return {}
        parts = self._mapping("modifiers", node, tuple(PartOfDay))
        return {PartOfDay(key): self._texts(f"modifiers.{key}", value) for key, value in parts.items()}

    def _texts(self, key: str, node: Located | None) -> tuple[str, ...]:
        """One text or a list of texts; empty ones are a problem."""
        if node is None:
            return ()
        if node.sequence is None:
            text = self._text(key, node)
            return (text,) if text else ()
        if len(node.sequence) > MAX_PROMPTS:
            self._complain(key, node, f"at most {MAX_PROMPTS} texts, not {len(node.sequence)}")
            return ()
        return tuple(self._listed(key, node.sequence))

    def _listed(self, key: str, items: tuple[Located, ...]) -> Iterator[str]:
        for index, item in enumerate(items):
            before = len(self.problems)
            text = self._text(f"{key}[{index}]", item)
            if text:
                yield text
            elif len(self.problems) == before:
                self._complain(f"{key}[{index}]", item, "a text that is not empty")

    def _text(self, key: str, node: Located | None) -> str:
        if node is None:
            return ""
        if not isinstance(node.value, str | bool):  # an unquoted true is a word here
            self._complain(key, node, "a text")
            return ""
        try:
            return clean_text(node.written)
        except ValueError as error:
            self._complain(key, node, str(error))
            return ""

    def _name(self, node: Located | None, default: str) -> str:
        name = self._text("name", node) or default
        if len(name) > MAX_NAME_CHARS:
            self._complain("name", node, f"at most {MAX_NAME_CHARS} characters")
        return name

    def _weight(self, node: Located | None) -> float:
        if node is None:
            return 1.0
        weight = node.value
        if isinstance(weight, int | float) and not isinstance(weight, bool) and 0 < weight <= MAX_WEIGHT:
            return float(weight)
        self._complain("weight", node, f"a number above 0, at most {MAX_WEIGHT:g}; 1 is usual")
        return 1.0

    def _check_sum(
        self,
        positive: tuple[str, ...],
        modifiers: Mapping[PartOfDay, tuple[str, ...]],
        node: Located | None,
    ) -> None:
        longest = max(map(len, positive), default=0)
        added = max((len(text) + 2 for texts in modifiers.values() for text in texts), default=0)
        if longest + added > MAX_CHARS:
            self._complain("positive", node, f"at most {MAX_CHARS} characters together with a modifier")

    def _complain(self, key: str, node: Located | None, wish: str) -> None:
        self.problems.append(Problem(self.source, node.line if node else None, key, _shown(node), wish))


def _shown(node: Located | None) -> str:
    """The value as it may stand in a message: short, printable."""
    if node is None or node.mapping is not None:
        return "a mapping" if node else ""
    if node.sequence is not None:
        return "a list"
    text = shorten(node.written, 40)
    return text if text.isprintable() else ascii(text)


def _unknown(key: str, allowed: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(key, allowed, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(allowed)}"
    return f"not a key of a theme; {hint}"
