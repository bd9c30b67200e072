"""config.yaml and the environment become one frozen tree of settings; every problem is told at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from backend.config_lists import as_text
from backend.config_sections import (
    ComfyUISettings,
    DisplaySettings,
    DreamSettings,
    InterpolationSettings,
    LogSettings,
    MemorySettings,
    PromptsSettings,
    Settings,
    StorageSettings,
    is_live,
    keys,
    sections,
)
from backend.config_values import Size, is_list, is_secret, schema_of, wish_of, write_value
from backend.errors import ConfigError, Problem
from backend.utils.file_ops import read_at_most
from backend.utils.yaml_lines import Located, load, shorten

__all__ = [
    "DEFAULT_PATH",
    "ComfyUISettings",
    "DisplaySettings",
    "DreamSettings",
    "InterpolationSettings",
    "Loaded",
    "LogSettings",
    "MemorySettings",
    "PromptsSettings",
    "Settings",
    "Size",
    "StorageSettings",
    "is_live",
    "json_schema",
    "keys",
    "load_settings",
    "read_config",
    "sections",
    "settings_from",
    "written",
]

DEFAULT_PATH = Path(__file__).resolve().parent.parent / "config.yaml"
ENVIRONMENT_PREFIX = "DREAMLOOP_"
_MAX_FILE_BYTES = 1_000_000


@dataclass(frozen=True)
class Given:
    """One value as somebody wrote it, and where: file with line and column, or environment variable."""

    text: str = field(repr=False)  # it may be a secret
    source: str
    line: int | None
    column: int | None = None

    @property
    def origin(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


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
        given = self.given.get(problem.key.split(",")[0])
        if given is None:
            return problem
        return replace(problem, source=given.source, line=given.line, column=given.column)


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Loaded:
    """Reads the settings file, lets the environment override it, and checks everything.

    Args:
        path: The file; None takes config.yaml beside main.py, or the defaults where there is none.
        environ: ``DREAMLOOP_SECTION__KEY`` variables override; what else is in it is left alone.

    Raises:
        ConfigError: With every problem there is.
    """
    if path is None:
        path = DEFAULT_PATH if DEFAULT_PATH.exists() else None
    if path is None:
        return settings_from(b"", None, environ)
    try:
        data = read_config(path)
    except OSError as error:
        problem = Problem(
            _called(path), None, "file", error.strerror or str(error), "a file that can be read"
        )
        raise ConfigError([problem]) from error
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
    given = _from_file(data, path, problems) if path else {}
    given |= _from_environment(environ, problems)
    settings = _validated(given, path.absolute().parent if path else DEFAULT_PATH.parent, problems)
    if problems or settings is None:
        raise ConfigError(problems)
    origins = {key: given[key].origin if key in given else "default" for key in keys()}
    return Loaded(settings, origins, path, given)


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
            "properties": {key: schema_of(field) for key, field in model.model_fields.items()},
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


def _from_file(data: bytes, path: Path, problems: list[Problem]) -> dict[str, Given]:
    source = _called(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problems.append(Problem(source, line, "encoding", f"byte 0x{data[error.start]:02x}", "text in UTF-8"))
        return {}
    tree, found = load(text, source)
    problems.extend(replace(one, value="***") if _may_be_secret(one.key) else one for one in found)
    if tree.value is None:
        return {}
    if tree.mapping is None:
        problems.append(
            Problem(source, tree.line, "file", shorten(tree.written), "sections like dream: with keys")
        )
        return {}
    given: dict[str, Given] = {}
    for name, section in tree.mapping.items():
        given |= _section_from_file(source, name, section, problems)
    return given


def _section_from_file(source: str, name: str, section: Located, problems: list[Problem]) -> dict[str, Given]:
    if name not in sections():
        text = _shown_unknown(name, section.written)
        problems.append(Problem(source, section.key_line, name, text, _unknown(name), section.key_column))
        return {}
    if section.mapping is None:
        if section.value is not None:  # a section whose keys are all commented out says nothing
            wish = f"keys of this section, indented below it: {', '.join(sections()[name].model_fields)}"
            problems.append(
                Problem(source, section.line, name, shorten(section.written), wish, section.column)
            )
        return {}
    given: dict[str, Given] = {}
    for key, node in section.mapping.items():
        dotted = f"{name}.{key}"
        field = keys().get(dotted)
        if field is None:
            text = _shown_unknown(dotted, node.written)
            problems.append(Problem(source, node.key_line, dotted, text, _unknown(dotted), node.key_column))
        elif isinstance(node.value, dict | tuple) and is_list(field):
            given[dotted] = Given(as_text(node), source, node.line, node.column)
        elif node.value is None or isinstance(node.value, dict | tuple):
            kind = node.written if node.value is None else "a list or mapping"
            wish = f"{wish_of(field)}; without the line it is {field.default}"
            problems.append(Problem(source, node.line, dotted, kind, wish, node.column))
        else:
            given[dotted] = Given(node.written, source, node.line, node.column)
    return given


def _from_environment(environ: Mapping[str, str], problems: list[Problem]) -> dict[str, Given]:
    variables = {_variable(dotted): dotted for dotted in keys()}
    given: dict[str, Given] = {}
    for name in sorted(name for name in environ if name.startswith(ENVIRONMENT_PREFIX)):
        if name in variables:
            given[variables[name]] = Given(environ[name], name, None)
            continue
        near = difflib.get_close_matches(name, variables, 1, cutoff=0.85)
        if near or "__" in name:  # other variables of ours may serve other ends
            hint = f"did you mean {near[0]}?" if near else "settings are DREAMLOOP_SECTION__KEY"
            dotted = name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".", 1)
            text = _shown_unknown(dotted, environ[name])
            problems.append(Problem(name, None, "environment", text, f"no such setting; {hint}"))
    return given


def _variable(dotted: str) -> str:
    return ENVIRONMENT_PREFIX + dotted.replace(".", "__").upper()


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
            wish = str(error["msg"]).removeprefix("Value error, ") if is_list(field) else wish_of(field)
            text = "***" if is_secret(field) else _shown(value.text)
            problems.append(Problem(value.source, value.line, dotted, text, wish, value.column))
        return None


def _unknown(name: str) -> str:
    """What may have been meant: a key of the same section, else any key, else a section."""
    section, _, key = name.partition(".")
    known = sections().get(section)
    if known and (near := difflib.get_close_matches(key, known.model_fields, 1)):
        return f"no such key; did you mean {section}.{near[0]}?"
    everywhere = {dotted.split(".")[1]: dotted for dotted in keys()}
    if near := difflib.get_close_matches(key or section, everywhere, 1, cutoff=0.8):
        return f"no such key here; did you mean {everywhere[near[0]]}?"
    if known:
        return f"no such key; {section} has {', '.join(known.model_fields)}"
    near = difflib.get_close_matches(section, sections(), 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sections())}"
    return f"no such section; {hint}"


def _shown(text: str) -> str:
    """The value on one line, without a password that somebody put into an address."""
    return shorten(re.sub(r"//[^/@\s]*@", "//***@", text))


def _shown_unknown(dotted: str, text: str) -> str:
    """What stands behind a key that there is not; it may have been meant for one that is secret."""
    return "***" if text and _may_be_secret(dotted) else _shown(text)


def _may_be_secret(dotted: str) -> bool:
    """Whether a key is a secret one, or below it, or written like it, or a stranger beside it."""
    section, _, key = dotted.partition(".")
    secrets = [known.split(".") for known, field in keys().items() if is_secret(field)]
    beside = any(section == of for of, _ in secrets) and dotted not in keys()
    return beside or bool(difflib.get_close_matches(key or section, [name for _, name in secrets], 1))


def _called(path: Path) -> str:
    """Short where the file is below the folder that the person is in."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
