"""The settings as a form: every key with its value, and edits of one key, for whoever is not at the file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from backend.config import Settings, is_live, keys, written
from backend.config_given import variable
from backend.config_values import AUTO, choices_of, is_list, is_private, is_secret, wish_of
from backend.core.config_edit import plan_edit
from backend.core.config_watch import ConfigWatch
from backend.errors import ConfigError, PromptsError
from backend.utils.logs import EVENT

log = logging.getLogger(__name__)

Answer = dict[str, Any]

_UNSET = (AUTO, "[]")
_BY_HAND = ("shim.", "storage.", "mqtt.", "comfyui.launch", "comfyui.url", "memory.matcher", "prompts.folder")
"""Keys that start programs, read code or open doors: only whoever has the file may change them."""
_WAIT_S = 2.0


class ConfigDesk:
    """Shows and edits the settings of a running dream.

    Args:
        watch: Knows what holds, and takes up what is written.
        path: The settings file.
        environ: Overrides.
        check: Raises ConfigError or PromptsError for settings that no dream could begin with.
    """

    def __init__(
        self,
        watch: ConfigWatch,
        path: Path,
        environ: Mapping[str, str],
        check: Callable[[Settings], object],
    ) -> None:
        self._watch = watch
        self._path = path
        self._environ = environ
        self._check = check

    def show(self, _request: Mapping[str, Any]) -> Answer:
        """Every key, with what holds now."""
        now = written(self._watch.settings)
        told = [self._told(key, value) for key, value in now.items() if not is_secret(keys()[key])]
        return {"ok": True, "keys": told, **self._standing()}

    def change(self, request: Mapping[str, Any]) -> Answer:
        """Write one key, if all settings are right then; what is wrong comes back as sentences."""
        key, value = request.get("key"), request.get("value")
        if not isinstance(key, str) or key not in keys() or self._fixed(key) is not None:
            why = self._fixed(key) if isinstance(key, str) and key in keys() else "no such key"
            return {"ok": False, "error": f"{str(key)[:60]}: {why}"}
        if not isinstance(value, str):
            return {"ok": False, "error": f"{key}: the value as text, as it stands in the file"}
        try:
            edit = plan_edit(self._path, self._environ, key, value, self._check)
            edit.carry_out()
        except (ConfigError, PromptsError) as error:
            wishes = [f"{one.key}: {one.wish}" if one.key != key else one.wish for one in error.problems]
            return {"ok": True, "saved": False, "live": False, "problems": wishes}
        self._watch.answered(self._watch.ask(), _WAIT_S)
        log.info("%s was set to %s", key, edit.new, extra=EVENT)
        return {"ok": True, "saved": True, "live": edit.live, **self._standing()}

    def _told(self, key: str, value: str) -> Answer:
        field = keys()[key]
        choices = choices_of(field)
        hidden = is_private(field) and value not in _UNSET
        return {
            "key": key,
            "value": "***" if hidden else value,
            "description": field.description,
            "wish": "" if choices else wish_of(field),
            "choices": list(choices) or None,
            "live": is_live(field),
            "fixed": "config.yaml" if is_list(field) or is_private(field) else self._fixed(key),
        }

    def _fixed(self, key: str) -> str | None:
        """Where alone it can be changed, as far as that is not here."""
        if variable(key) in self._environ:
            return f"the environment: {variable(key)}"
        return "only in config.yaml" if key.startswith(_BY_HAND) or is_secret(keys()[key]) else None

    def _standing(self) -> Answer:
        state = self._watch.state
        return {
            "problems": [f"{one.key}: {one.wish}" for one in state.problems],
            "needs_restart": [one.key for one in state.needs_restart],
        }
