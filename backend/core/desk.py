"""The desk: what people ask of a running dream, over the control socket; plain JSON in, plain JSON out.

Requests come one at a time, and each is answered from what is at hand: nobody waits for the engine here.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from backend.core.node_catalog import NodeCatalog
from backend.errors import DreamloopError, Problem
from backend.utils.file_ops import write_atomic
from backend.utils.logs import LogTail
from backend.utils.prompt_manager import PromptManager
from backend.utils.status_schema import Status
from backend.utils.theme_files import MAX_FILE_BYTES, Theme, parse_theme

log = logging.getLogger(__name__)

Answer = dict[str, Any]
Handler = Callable[[Mapping[str, Any]], Answer]

SAY_SECONDS = 120.0
LONGEST_SAY_S = 86_400.0
_FILE = re.compile(r"[a-z0-9][a-z0-9_-]{0,59}\.ya?ml")
_MODELS = {
    "checkpoints": ("CheckpointLoaderSimple", "ckpt_name"),
    "diffusion_models": ("UNETLoader", "unet_name"),
    "loras": ("LoraLoader", "lora_name"),
    "controlnets": ("ControlNetLoader", "control_net_name"),
    "upscalers": ("UpscaleModelLoader", "model_name"),
    "vaes": ("VAELoader", "vae_name"),
}


class Dreamer(Protocol):
    """The loop, as far as people may steer it."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def next_theme(self) -> None: ...


class StatusSource(Protocol):
    """Who knows the status."""

    @property
    def latest(self) -> Status: ...

    def publish(self) -> object: ...


class Desk:
    """Answers people.

    Args:
        dreamer: Pauses, goes on, turns to another theme.
        prompts: The themes, and what is said to the dream.
        writer: The status, which is written anew after whatever changes it.
        stop: Called where the daemon is to end.
        memory: Answers what is asked of the memory.
        catalog: The nodes and models of the engine, as last seen.
        lines: The newest lines of the log.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        dreamer: Dreamer,
        prompts: PromptManager,
        writer: StatusSource,
        *,
        stop: Callable[[], None],
        memory: Handler,
        catalog: Callable[[], NodeCatalog],
        lines: LogTail,
        clock: Callable[[], float],
    ) -> None:
        self._prompts = prompts
        self._writer = writer
        self._catalog = catalog
        self._lines = lines
        self._clock = clock
        self._changes: Mapping[str, Callable[[Mapping[str, Any]], Answer | None]] = {
            "pause": lambda _: dreamer.pause(),
            "resume": lambda _: dreamer.resume(),
            "next": lambda _: dreamer.next_theme(),
            "stop": lambda _: stop(),
            "say": self._say,
            "theme": self._turn_to,
            "save_theme": self._save_theme,
        }
        self._questions: Mapping[str, Handler] = {
            "status": lambda _: {"status": writer.latest.model_dump(mode="json")},
            "themes": lambda _: {"themes": [self._told(theme) for theme in prompts.all_themes]},
            "theme_text": self._theme_text,
            "models": lambda _: {"models": self._models()},
            "log": self._log,
        }
        self._others: dict[str, Handler] = {"memory": memory}

    def also(self, name: str, handler: Handler) -> None:
        """Have one more command answered, wholly, by somebody else."""
        self._others[name] = handler

    def obey(self, request: dict[str, Any]) -> Answer:
        """Answer one request: ``command`` and what goes with it; ``ok`` says whether it could be done."""
        name = str(request.get("command"))
        try:
            if name in self._others:
                return self._others[name](request)
            if name in self._questions:
                return {"ok": True, **self._questions[name](request)}
            if name in self._changes:
                told = self._changes[name](request) or {}
                self._writer.publish()
                return {"ok": True, "state": self._writer.latest.state.value, **told}
        except (DreamloopError, ValueError) as error:
            return {"ok": False, "error": str(error)}
        known = ", ".join([*self._changes, *self._questions, *self._others])
        return {"ok": False, "error": f"no such command: {name[:40]!r}; there are {known}"}

    def _say(self, asked: Mapping[str, Any]) -> Answer:
        seconds = _number(asked, "seconds", SAY_SECONDS, LONGEST_SAY_S)
        said = self._prompts.say(str(asked.get("text") or ""), seconds, self._clock())
        log.info("told to dream of %r for %.0f s", said.text[:200], seconds)
        return {"text": said.text, "seconds": seconds}

    def _turn_to(self, asked: Mapping[str, Any]) -> Answer:
        name = str(asked.get("name") or "")
        self._prompts.turn_to(name, self._clock())
        return {"theme": name}

    def _told(self, theme: Theme) -> Answer:
        return {
            "name": theme.name,
            "description": theme.description,
            "weight": theme.weight,
            "prompts": list(theme.positive),
            "negative": theme.negative,
            "file": Path(theme.source).name,
        }

    def _theme_text(self, asked: Mapping[str, Any]) -> Answer:
        """The YAML of a theme, as its author wrote it."""
        name = str(asked.get("name") or "")
        theme = next((one for one in self._prompts.all_themes if one.name == name), None)
        if theme is None:
            raise ValueError(f"theme {name[:60]!r}: one of {', '.join(self._prompts.themes)}")
        try:
            text = Path(theme.source).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"theme {name!r} cannot be read: {type(error).__name__}") from None
        return {"file": Path(theme.source).name, "text": text}

    def _save_theme(self, asked: Mapping[str, Any]) -> Answer:
        """Write a theme's file, if what it is to hold is right."""
        file, text = str(asked.get("file") or ""), asked.get("text")
        if not (_FILE.fullmatch(file) or file in {Path(one.source).name for one in self._prompts.all_themes}):
            raise ValueError(f"file {file[:70]!r}: small letters, digits, - and _, ending in .yaml")
        if not isinstance(text, str) or len(text.encode("utf-8", "replace")) > MAX_FILE_BYTES:
            raise ValueError(f"text: YAML of at most {MAX_FILE_BYTES // 1024} kB")
        theme, problems = parse_theme(text, file, default_name=Path(file).stem.replace("_", " "))
        problems += self._taken(theme, file)
        if theme is None or problems:
            return {"saved": False, "problems": [_problem(one) for one in problems]}
        write_atomic(self._prompts.folder / file, text.encode("utf-8"))
        self._prompts.reload()
        log.info("theme %s was edited (%s)", theme.name, file)
        return {"saved": True, "problems": [], "name": theme.name}

    def _taken(self, theme: Theme | None, file: str) -> tuple[Problem, ...]:
        others = [one for one in self._prompts.all_themes if Path(one.source).name != file]
        if theme is None or theme.name not in {one.name for one in others}:
            return ()
        return (Problem(file, theme.line, "name", theme.name, "a name that no other theme has"),)

    def _models(self) -> Answer:
        catalog = self._catalog()
        return {kind: [str(one) for one in catalog.choices(*where)] for kind, where in _MODELS.items()}

    def _log(self, asked: Mapping[str, Any]) -> Answer:
        after = int(_number(asked, "after", 0.0, 2.0**53))
        return {"lines": [asdict(line) for line in self._lines.after(after)]}


def _problem(problem: Problem) -> Answer:
    return {"line": problem.line, "key": problem.key, "value": problem.value, "wish": problem.wish}


def _number(asked: Mapping[str, Any], name: str, usual: float, most: float) -> float:
    value = asked.get(name)
    if value is None:
        return usual
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise ValueError(f"{name} = {str(value)[:40]}: a number from 0 to {most:g}")
    return float(value)
