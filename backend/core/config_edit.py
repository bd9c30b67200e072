"""Edits of one setting in the file: looked at first, as a whole, then written with all else as it was."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from backend.config import Loaded, Settings, is_live, keys, read_config, settings_from
from backend.config_given import Given, called, from_file, shown, unknown_wish, variable
from backend.config_values import is_private, is_secret
from backend.errors import ConfigError, Problem
from backend.utils.file_ops import rewrite_atomic
from backend.utils.yaml_edit import NotEditable, set_value, unset

_BY_HAND = "a file that can be edited by a program ({}); edit it by hand"


@dataclass(frozen=True)
class Edit:
    """An edit that may be carried out.

    Attributes:
        path: The file.
        key: Dotted key.
        old: Its value in the file so far, or the default; kept back where it is private.
        new: The same from then on.
        live: Whether a running dream takes it up at once.
        overridden_by: Environment variable that wins over the file, if there is one.
        before: The file's bytes as they are expected to be.
        after: Its bytes to be.
        loaded: All settings from then on.
    """

    path: Path
    key: str
    old: str
    new: str
    live: bool
    overridden_by: str | None
    before: bytes | None
    after: bytes
    loaded: Loaded

    @property
    def changes(self) -> bool:
        """Whether the file will differ."""
        return self.before != self.after

    def carry_out(self) -> None:
        """Write the file.

        Raises:
            ConfigError: Somebody else has just edited it.
            StorageError: The disk said no; the file is as it was.
        """
        if _read(self.path) != self.before:
            wish = "nobody else at the file; try again"
            raise ConfigError([Problem(called(self.path), None, "file", "edited meanwhile", wish)])
        if self.changes:
            rewrite_atomic(self.path, self.after)


def plan_edit(
    path: Path,
    environ: Mapping[str, str],
    key: str,
    value: str | None,
    check: Callable[[Settings], object],
) -> Edit:
    """Look at an edit as a whole; nothing is written.

    Args:
        path: The settings file; it need not be there.
        environ: Overrides, under which all must be right, too.
        key: Dotted key.
        value: As a person writes it; None takes the key out of the file.
        check: Raises ConfigError or PromptsError for settings that no dream could begin with.

    Raises:
        ConfigError: The key or the value is wrong, or something else would be.
    """
    if key not in keys():
        raise ConfigError([Problem("set", None, shown(key), "", unknown_wish(key))])
    before = _read(path)
    bom, text = _decoded(path, before or b"")
    section, name = key.split(".")
    try:
        edited = unset(text, section, name) if value is None else set_value(text, section, name, value)
    except NotEditable as reason:
        raise _not_editable(path, key, str(reason)) from reason
    after = bom + edited.encode()
    loaded = settings_from(after, path, {})
    given = _given(bom + text.encode(), path)
    _look_at_the_rest(path, key, given, loaded.given)
    if environ:
        loaded = settings_from(after, path, environ)
    check(loaded.settings)
    override = variable(key)
    return Edit(
        path,
        key,
        _told(given, key),
        _told(_given(after, path), key),
        is_live(keys()[key]),
        override if override in environ else None,
        before,
        after,
        loaded,
    )


def _read(path: Path) -> bytes | None:
    try:
        return read_config(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        cause = error.strerror or str(error)
        raise ConfigError([Problem(called(path), None, "file", cause, "a file that can be read")]) from error


def _decoded(path: Path, data: bytes) -> tuple[bytes, str]:
    """A byte order mark, if there is one, and the text."""
    bom = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
    try:
        return bom, data.removeprefix(bom).decode()
    except UnicodeDecodeError as error:
        raise _not_editable(path, "encoding", "it is no text in UTF-8") from error


def _given(data: bytes, path: Path) -> dict[str, Given]:
    return from_file(data, path, [])


def _look_at_the_rest(path: Path, key: str, before: Mapping[str, Given], after: Mapping[str, Given]) -> None:
    """The last word on whether the edit touched anything else."""
    old, new = ({name: one.text for name, one in given.items()} for given in (before, after))
    old.pop(key, None)
    new.pop(key, None)
    if old != new:
        raise _not_editable(path, key, "it would change other keys, too")


def _not_editable(path: Path, key: str, reason: str) -> ConfigError:
    return ConfigError([Problem(called(path), None, key, "", _BY_HAND.format(reason))])


def _told(given: Mapping[str, Given], key: str) -> str:
    field = keys()[key]
    if key not in given:
        return f"{field.default} (the default)"
    if is_secret(field) or is_private(field):
        return "***"
    return shown(given[key].text)
