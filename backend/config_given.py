"""What people wrote into config.yaml and the environment, before anybody says whether it is right."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from backend.config_lists import as_text
from backend.config_sections import keys, sections
from backend.config_values import is_list, is_secret, wish_of
from backend.errors import Problem
from backend.utils.yaml_lines import Located, load, shorten

ENVIRONMENT_PREFIX = "DREAMLOOP_"


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


def from_file(data: bytes, path: Path, problems: list[Problem]) -> dict[str, Given]:
    source = called(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problems.append(Problem(source, line, "encoding", f"byte 0x{data[error.start]:02x}", "text in UTF-8"))
        return {}
    tree, found = load(text, source)
    problems.extend(replace(one, value="***") if may_be_secret(one.key) else one for one in found)
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
        problems.append(Problem(source, section.key_line, name, text, unknown_wish(name), section.key_column))
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
            problems.append(
                Problem(source, node.key_line, dotted, text, unknown_wish(dotted), node.key_column)
            )
        elif isinstance(node.value, dict | tuple) and is_list(field):
            given[dotted] = Given(as_text(node), source, node.line, node.column)
        elif node.value is None or isinstance(node.value, dict | tuple):
            kind = node.written if node.value is None else "a list or mapping"
            wish = f"{wish_of(field)}; without the line it is {field.default}"
            problems.append(Problem(source, node.line, dotted, kind, wish, node.column))
        else:
            given[dotted] = Given(node.written, source, node.line, node.column)
    return given


MQTT_PASSWORD = "DREAMLOOP_MQTT_PASSWORD"  # noqa: S105 - the name of a variable
"""A secret that is no setting, so that it can stand in no file and in no answer."""


def from_environment(environ: Mapping[str, str], problems: list[Problem]) -> dict[str, Given]:
    variables = {variable(dotted): dotted for dotted in keys()}
    given: dict[str, Given] = {}
    for name in sorted(name for name in environ if name.startswith(ENVIRONMENT_PREFIX)):
        if name in variables:
            given[variables[name]] = Given(environ[name], name, None)
            continue
        if name == MQTT_PASSWORD:
            continue
        near = difflib.get_close_matches(name, variables, 1, cutoff=0.85)
        if near or "__" in name:  # other variables of ours may serve other ends
            hint = f"did you mean {near[0]}?" if near else "settings are DREAMLOOP_SECTION__KEY"
            dotted = name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".", 1)
            text = _shown_unknown(dotted, environ[name])
            problems.append(Problem(name, None, "environment", text, f"no such setting; {hint}"))
    return given


def variable(dotted: str) -> str:
    """The environment variable that overrides a key."""
    return ENVIRONMENT_PREFIX + dotted.replace(".", "__").upper()


def unknown_wish(name: str) -> str:
    """What may have been meant: a key of the same section, else any key, else a section.

    One that stands where a section belongs is a section first.
    """
    section, _, key = name.partition(".")
    known = sections().get(section)
    if not (key or known) and (near := difflib.get_close_matches(section, sections(), 1, cutoff=0.8)):
        return f"no such section; did you mean {near[0]}?"
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


def shown(text: str) -> str:
    """The value on one line, without a password that somebody put into an address."""
    return shorten(re.sub(r"//[^/@\s]*@", "//***@", text))


def _shown_unknown(dotted: str, text: str) -> str:
    """What stands behind a key that there is not; it may have been meant for one that is secret."""
    return "***" if text and may_be_secret(dotted) else shown(text)


def may_be_secret(dotted: str) -> bool:
    """Whether a key is a secret one, or below it, or written like it, or a stranger beside it."""
    section, _, key = dotted.partition(".")
    secrets = [known.split(".") for known, field in keys().items() if is_secret(field)]
    beside = any(section == of for of, _ in secrets) and dotted not in keys()
    return beside or bool(difflib.get_close_matches(key or section, [name for _, name in secrets], 1))


def called(path: Path) -> str:
    """Short where the file is below the folder that the person is in."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
