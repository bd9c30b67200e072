"""**PromptManager**: which words to dream of now. Themes, rotation, modifiers, live edits."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from backend.errors import Problem, PromptsError
from backend.utils.theme_files import PartOfDay, Theme, clean_text, read_theme

SAID_THEME = "said"
"""The theme of a prompt that somebody said to the dream."""

_Signature = tuple[int, int, int]


@dataclass(frozen=True)
class Prompt:
    """The words of one keyframe.

    Attributes:
        theme: Name of the theme that they come from.
        positive: What to dream of, the modifier of the part of the day included.
        negative: What to keep away from.
    """

    theme: str
    positive: str
    negative: str


@dataclass(frozen=True)
class Said:
    """Words that somebody said to the dream, which it turns to for a while.

    Attributes:
        until_s: Monotonic seconds.
    """

    text: str
    until_s: float


@dataclass(frozen=True)
class Turn:
    """Which words it is the turn of, for a later run to go on from.

    Attributes:
        theme: None before the first.
        theme_s: Seconds that it has been the theme's turn.
        prompt: Which of the theme's prompts, from 0.
        prompt_s: Seconds that it has been the prompt's turn.
        part: For which part of the day a modifier was drawn; None for none.
        draw: Which one: 0 up to 1, a place among them.
    """

    theme: str | None
    theme_s: float
    prompt: int
    prompt_s: float
    part: str | None
    draw: float | None


class PromptManager:
    """Turns the themes of a folder by the clock handed in; safe to call from several threads."""

    def __init__(
        self,
        folder: Path,
        *,
        seconds_per_theme: float,
        seconds_per_prompt: float,
        order: Literal["shuffled", "sequential"],
        rng: random.Random,
    ) -> None:
        """Load every ``*.yaml`` and ``*.yml`` of ``folder``.

        Args:
            folder: Where the themes are, one file each; ordered by file name.
            seconds_per_theme: Time on one theme.
            seconds_per_prompt: Time on one prompt of the theme.
            order: ``sequential`` goes through files and prompts as they stand; ``shuffled`` draws by
                weight, never the same theme or prompt twice in a row while there are others.
            rng: Draws themes, prompts and modifiers.

        Raises:
            PromptsError: Folder or themes cannot be used; it holds every problem.
        """
        self._folder = folder
        self._seconds_per_theme = seconds_per_theme
        self._seconds_per_prompt = seconds_per_prompt
        self._shuffled = order == "shuffled"
        self._rng = rng
        self._lock = threading.Lock()
        self._shelf = _Shelf(folder)
        self._shelf.refresh()
        if self._shelf.problems:
            raise PromptsError(self._shelf.problems)
        self._theme: str | None = None
        self._theme_since_s = 0.0
        self._prompt = 0
        self._prompt_since_s = 0.0
        self._modifier: tuple[PartOfDay, float] | None = None
        self._said: Said | None = None
        self._beside = 0

    @property
    def folder(self) -> Path:
        """Where the themes are."""
        return self._folder

    @property
    def all_themes(self) -> tuple[Theme, ...]:
        """The themes in use, in order of their files."""
        return tuple(self._shelf.themes.values())

    def use(
        self,
        folder: Path,
        *,
        seconds_per_theme: float,
        seconds_per_prompt: float,
        order: Literal["shuffled", "sequential"],
    ) -> None:
        """Go by other settings from the next prompt on; a theme that the folder still has goes on.

        Raises:
            PromptsError: The folder or its themes cannot be used; nothing has changed.
        """
        shelf = _Shelf(folder) if folder != self._folder else None
        if shelf is not None:
            shelf.refresh()
            if shelf.problems:
                raise PromptsError(shelf.problems)
        with self._lock:
            self._folder, self._shelf = folder, shelf or self._shelf
            self._seconds_per_theme = seconds_per_theme
            self._seconds_per_prompt = seconds_per_prompt
            self._shuffled = order == "shuffled"

    @property
    def themes(self) -> tuple[str, ...]:
        """Names of the themes in use, in order of their files."""
        return tuple(self._shelf.themes)

    def current(self, now_s: float, wall: datetime) -> Prompt:
        """The words for now.

        Args:
            now_s: Monotonic seconds; rotation counts them.
            wall: Local time; chooses the modifier.
        """
        with self._lock:
            return self._words(self._turn(now_s), self._prompt, now_s, wall)

    def beside(self, now_s: float, wall: datetime) -> Prompt:
        """The words for a picture beside the dream; turns nothing.

        They are of the same theme, and each time of its next prompt, from the present one on: so that such
        pictures differ from each other.
        """
        with self._lock:
            theme = self._shelf.themes.get(self._theme or "") or self._turn(now_s)
            ahead, self._beside = self._beside, self._beside + 1
            return self._words(theme, (self._prompt + ahead) % len(theme.positive), now_s, wall)

    def _words(self, theme: Theme, prompt: int, now_s: float, wall: datetime) -> Prompt:
        said = self._said_now(now_s)
        if said is not None:
            return Prompt(SAID_THEME, said.text, theme.negative)
        positive = theme.positive[min(prompt, len(theme.positive) - 1)]
        modifier = self._modifier_for(theme, PartOfDay.of(wall))
        text = f"{positive}, {modifier}" if modifier else positive
        return Prompt(theme.name, text, theme.negative)

    def turn(self, now_s: float) -> Turn:
        """Whose turn it is, and since when."""
        with self._lock:
            part, draw = self._modifier or (None, None)
            theme_s, prompt_s = (
                max(0.0, now_s - since_s) for since_s in (self._theme_since_s, self._prompt_since_s)
            )
            if self._theme is None:
                theme_s = prompt_s = 0.0
            return Turn(self._theme, theme_s, self._prompt, prompt_s, part.value if part else None, draw)

    def go_on(self, turn: Turn, now_s: float) -> None:
        """Take up the turn of an earlier run; a theme that is gone by now makes way for another."""
        with self._lock:
            self._theme, self._prompt = turn.theme, turn.prompt
            self._theme_since_s, self._prompt_since_s = now_s - turn.theme_s, now_s - turn.prompt_s
            part = next((part for part in PartOfDay if part.value == turn.part), None)
            self._modifier = None if part is None or turn.draw is None else (part, turn.draw)

    def skip(self, now_s: float) -> None:
        """Go on to the next theme now; what was said is over."""
        with self._lock:
            self._said = None
            self._next_theme(now_s)

    def turn_to(self, name: str, now_s: float) -> None:
        """Go on to a certain theme now; what was said is over.

        Raises:
            ValueError: There is no theme of that name.
        """
        with self._lock:
            theme = self._shelf.themes.get(name)
            if theme is None:
                raise ValueError(f"theme {name[:60]!r}: one of {', '.join(self._shelf.themes)}")
            self._said = None
            self._begin(theme, now_s)

    def say(self, text: str, seconds: float, now_s: float) -> Said:
        """Dream of these words for a while, then of the themes again.

        Raises:
            ValueError: The words cannot be used; the message says what would be right.
        """
        words = clean_text(text)
        if not words:
            raise ValueError("words to dream of, not nothing")
        with self._lock:
            self._said = Said(words, now_s + seconds)
            return self._said

    def said(self, now_s: float) -> Said | None:
        """What was said and still holds."""
        with self._lock:
            return self._said_now(now_s)

    def _said_now(self, now_s: float) -> Said | None:
        if self._said is not None and now_s >= self._said.until_s:
            self._said = None
        return self._said

    def reload(self) -> tuple[Problem, ...]:
        """Take up edits of the files; cheap enough to call every second.

        A good edit counts from the next ``current``. A file that cannot be used keeps what it said
        before; the last themes are kept when all are gone.

        Returns:
            Everything that is wrong now; empty when all is well.
        """
        with self._lock:
            self._shelf.refresh()
            return self._shelf.problems

    def _turn(self, now_s: float) -> Theme:
        theme = self._shelf.themes.get(self._theme or "")
        if theme is None or now_s - self._theme_since_s >= self._seconds_per_theme:
            return self._next_theme(now_s)
        if now_s - self._prompt_since_s >= self._seconds_per_prompt:
            self._next_prompt(theme, now_s)
        return theme

    def _next_theme(self, now_s: float) -> Theme:
        return self._begin(self._draw_theme() if self._shuffled else self._theme_after(), now_s)

    def _begin(self, theme: Theme, now_s: float) -> Theme:
        self._theme, self._theme_since_s = theme.name, now_s
        self._prompt = self._rng.randrange(len(theme.positive)) if self._shuffled else 0
        self._prompt_since_s, self._modifier = now_s, None
        self._beside = 0
        return theme

    def _draw_theme(self) -> Theme:
        others = [theme for theme in self._shelf.themes.values() if theme.name != self._theme]
        others = others or list(self._shelf.themes.values())
        return self._rng.choices(others, [theme.weight for theme in others])[0]

    def _theme_after(self) -> Theme:
        themes = list(self._shelf.themes.values())
        index = next((i for i, theme in enumerate(themes) if theme.name == self._theme), -1)
        return themes[(index + 1) % len(themes)]

    def _next_prompt(self, theme: Theme, now_s: float) -> None:
        count = len(theme.positive)
        step = self._rng.randrange(1, count) if self._shuffled and count > 1 else 1
        self._prompt = (self._prompt + step) % count
        self._prompt_since_s, self._modifier = now_s, None

    def _modifier_for(self, theme: Theme, part: PartOfDay) -> str:
        """Stays the same while prompt and part of the day do: words that flicker make a picture flicker."""
        texts = theme.modifiers.get(part, ())
        if self._modifier is None or self._modifier[0] is not part:
            self._modifier = (part, self._rng.random())
        return texts[int(self._modifier[1] * len(texts))] if texts else ""


def check_themes(folder: Path) -> None:
    """Whether a dream could begin with the themes of a folder.

    Raises:
        PromptsError: It could not; it holds every problem.
    """
    shelf = _Shelf(folder)
    shelf.refresh()
    if shelf.problems:
        raise PromptsError(shelf.problems)


class _Shelf:
    """The themes of one folder and what is wrong with them; reads again only files that changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[Path, _Signature] = {}
        self._good: dict[Path, Theme] = {}
        self._bad: dict[Path, tuple[Problem, ...]] = {}
        self.themes: dict[str, Theme] = {}
        self.problems: tuple[Problem, ...] = ()

    def refresh(self) -> None:
        try:
            seen = dict(_signatures(self._folder))
        except OSError as error:
            wish = f"a folder with one YAML file a theme: {error.strerror or error}"
            self.problems = (Problem(str(self._folder), None, "prompts.folder", "", wish),)
            return
        for path in self._seen.keys() - seen.keys():
            self._good.pop(path, None)
        for path in [path for path, signature in seen.items() if self._seen.get(path) != signature]:
            self._read(path)
        self._seen = seen
        self.problems = self._standing(seen)

    def _read(self, path: Path) -> None:
        theme, problems = read_theme(path)
        self._bad[path] = problems
        if theme is not None:
            self._good[path] = theme

    def _standing(self, seen: dict[Path, _Signature]) -> tuple[Problem, ...]:
        """Put the themes of the files that are there on the shelf; the problems that are left."""
        problems = [problem for path in seen for problem in self._bad.get(path, ())]
        themes: dict[str, Theme] = {}
        for path in seen:
            theme = self._good.get(path)
            if theme is None:
                continue
            first = themes.setdefault(theme.name, theme)
            if first is not theme:
                wish = f"a name of its own; {first.source} has it too"
                problems.append(Problem(theme.source, theme.line, "name", theme.name, wish))
        if not seen:
            wish = "at least one theme: a file such as aurora.yaml with the key positive"
            problems.append(Problem(str(self._folder), None, "prompts.folder", "no *.yaml", wish))
        self.themes = themes or self.themes
        return tuple(problems)


def _signatures(folder: Path) -> Iterator[tuple[Path, _Signature]]:
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in (".yaml", ".yml") and not path.name.startswith("."):
            with contextlib.suppress(FileNotFoundError):  # an editor is just replacing it
                found = path.stat()
                yield path, (found.st_mtime_ns, found.st_size, found.st_ino)
