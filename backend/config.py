"""config.yaml and the environment become one frozen tree of settings; every problem is told at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from backend.config_given import Given, called, from_environment, from_file, shown
from backend.config_sections import (
    ComfyUISettings,
    DisplaySettings,
    DreamSettings,
    InterpolationSettings,
    LogSettings,
    MachineSettings,
    MemorySettings,
    PromptsSettings,
    Settings,
    StorageSettings,
    is_live,
    keys,
    sections,
)
from backend.config_values import Size, explains, is_secret, schema_of, wish_of, write_value
from backend.errors import ConfigError, Problem
from backend.utils.file_ops import read_at_most

__all__ = [
    "DEFAULT_PATH",
    "ComfyUISettings",
    "DisplaySettings",
    "DreamSettings",
    "InterpolationSettings",
    "Loaded",
    "LogSettings",
    "MachineSettings",
    "MemorySettings",
    "PromptsSettings",
    "Settings",
    "Size",
    "StorageSettings",
    "is_live",
    "json_schema",
    "keys",
    "load_settings",
    "load_storage",
    "read_config",
    "sections",
    "settings_from",
    "written",
]

DEFAULT_PATH = Path(__file__).resolve().parent.parent / "config.yaml"
_MAX_FILE_BYTES = 1_000_000
_UNREADABLE = frozenset({"syntax", "encoding", "file", "depth", "size"})
"""Keys of problems after which nothing is known of a file."""


@dataclass(frozen=True)
class Loaded:
    """Settings and where they came from.

    Attributes:
        origins: Dotted key -> "default", "config.yaml:12" or the environment variable.
        path: The file that was read, None if there was none.
    """

    settings: Settings
    origins: Mapping[str, str]
    path: Path | None
    given: Mapping[str, Given]

    def located(self, problem: Problem) -> Problem:
        """A problem of a key that was found without the file at hand, with the place where the key stands."""
        key = problem.key.split(",")[0]  # "dream.adapters, item 2"
        given = self.given.get(key)
        if given is None:
            return problem
        value = problem.value or ("***" if is_secret(keys()[key]) else shown(given.text))
        return replace(problem, source=given.source, line=given.line, column=given.column, value=value)


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Loaded:
    """Reads the settings file, lets the environment override it, and checks everything.

    Args:
        path: The file; None takes config.yaml beside main.py, or the defaults where there is none.
        environ: ``DREAMLOOP_SECTION__KEY`` variables override; what else is in it is left alone.

    Raises:
        ConfigError: With every problem there is.
    """
    path, data = _found(path)
    return settings_from(data, path, environ)


def read_config(path: Path) -> bytes:
    """The bytes of a settings file, of one that is far too long only the first of them.

    Raises:
        OSError: It cannot be read.
    """
    return read_at_most(path, _MAX_FILE_BYTES)


def settings_from(data: bytes, path: Path | None, environ: Mapping[str, str]) -> Loaded:
    """As :func:`load_settings`, from what was read.

    Args:
        data: The file.
        path: Where it stands: relative folders stand beside it. None for no file.
        environ: Overrides.

    Raises:
        ConfigError: With every problem there is.
    """
    problems: list[Problem] = []
    given = _all_given(data, path, environ, problems)
    settings = _validated(given, _folder(path), problems)
    if problems or settings is None:
        raise ConfigError(problems)
    origins = {key: given[key].origin if key in given else "default" for key in keys()}
    return Loaded(settings, origins, path, given)


def load_storage(path: Path | None, environ: Mapping[str, str]) -> StorageSettings:
    """Only where files are: who talks to a running daemon needs no more, whatever else may be wrong.

    Raises:
        ConfigError: What is wrong concerns these, or the file cannot be read at all.
    """
    path, data = _found(path)
    problems: list[Problem] = []
    given = _all_given(data, path, environ, problems)
    problems = [one for one in problems if one.key in _UNREADABLE or one.key.split(".")[0] == "storage"]
    storage = {key: value for key, value in given.items() if key.split(".")[0] == "storage"}
    settings = _validated(storage, _folder(path), problems)
    if problems or settings is None:
        raise ConfigError(problems)
    return settings.storage


def written(settings: Settings) -> dict[str, str]:
    """Every dotted key with its value as a person would write it (folders in full)."""
    return {
        dotted: write_value(field, getattr(getattr(settings, dotted.split(".")[0]), dotted.split(".")[1]))
        for dotted, field in keys().items()
    }


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of config.yaml, for editors that complete and check while one types."""
    properties = {
        name: {
            "type": "object",
            "description": (model.__doc__ or "").strip(),
            "properties": {
                key: schema_of(field) | ({"x-live": True} if is_live(field) else {})
                for key, field in model.model_fields.items()
            },
            "additionalProperties": False,
        }
        for name, model in sections().items()
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Dreamloop config.yaml",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def _found(path: Path | None) -> tuple[Path | None, bytes]:
    """The settings file that there is, and what it holds."""
    if path is None:
        path = DEFAULT_PATH if DEFAULT_PATH.exists() else None
    if path is None:
        return None, b""
    try:
        return path, read_config(path)
    except OSError as error:
        cause = error.strerror or str(error)
        raise ConfigError([Problem(called(path), None, "file", cause, "a file that can be read")]) from error


def _folder(path: Path | None) -> Path:
    """What relative folders stand in."""
    return path.absolute().parent if path else DEFAULT_PATH.parent


def _all_given(
    data: bytes, path: Path | None, environ: Mapping[str, str], problems: list[Problem]
) -> dict[str, Given]:
    given = from_file(data, path, problems) if path else {}
    return given | from_environment(environ, problems)


def _validated(given: Mapping[str, Given], folder: Path, problems: list[Problem]) -> Settings | None:
    texts: dict[str, dict[str, str]] = {name: {} for name in sections()}
    for dotted, value in given.items():
        section, key = dotted.split(".")
        texts[section][key] = value.text
    try:
        return Settings.model_validate(texts, context={"folder": folder})
    except ValidationError as invalid:
        for error in invalid.errors(include_url=False, include_context=False):
            dotted = ".".join(str(step) for step in error["loc"][:2])
            value, field = given[dotted], keys()[dotted]
            wish = str(error["msg"]).removeprefix("Value error, ") if explains(field) else wish_of(field)
            text = "***" if is_secret(field) else shown(value.text)
            problems.append(Problem(value.source, value.line, dotted, text, wish, value.column))
        return None
