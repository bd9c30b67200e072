"""What is said where: our topics, and the descriptions by which Home Assistant makes a device of them. Pure.

The descriptions are single-component discovery, which every release of Home Assistant knows:
https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ONLINE, OFFLINE = "online", "offline"

_BUTTONS = {
    "next": ("Next theme", "mdi:skip-next"),
    "pause": ("Pause", "mdi:pause"),
    "resume": ("Go on", "mdi:play"),
}
"""Commands of the control socket; the end of the dream is not for a button that is easily touched."""

STATES = ("starting", "buffering", "dreaming", "resting", "remembering", "paused", "stopping")
_SAY_CHARS = 255


@dataclass(frozen=True)
class Message:
    """Something to be published; what is kept is there for whoever comes later."""

    topic: str
    payload: bytes
    kept: bool = True


class Topics:
    """The topics of one dream.

    Args:
        prefix: Of all of them, like ``dreamloop``.
        discovery_prefix: Where Home Assistant looks, ``homeassistant``.
        version: Of this program.
    """

    def __init__(self, prefix: str, discovery_prefix: str, version: str) -> None:
        self._prefix = prefix
        self._discovery_prefix = discovery_prefix
        self._version = version
        self._node = re.sub(r"[^a-zA-Z0-9_-]", "_", prefix)
        self.availability = f"{prefix}/availability"
        self.state = f"{prefix}/state"
        self.image = f"{prefix}/image"
        self.birth = f"{discovery_prefix}/status"
        self.commands = {
            **{f"{prefix}/{name}/press": name for name in _BUTTONS},
            f"{prefix}/theme/set": "theme",
            f"{prefix}/say/set": "say",
        }

    def discovery(self, themes: Sequence[str]) -> list[Message]:
        """The descriptions of all entities of the device."""
        found: dict[tuple[str, str], dict[str, Any]] = {
            ("image", "picture"): {
                "name": "Picture",
                "image_topic": self.image,
                "content_type": "image/jpeg",
            },
            ("sensor", "state"): {
                "name": "State",
                "device_class": "enum",
                "options": list(STATES),
                "icon": "mdi:creation",
                **self._value("state"),
                "json_attributes_topic": self.state,
                "json_attributes_template": "{{ value_json.attributes | tojson }}",
            },
            ("sensor", "frame_age"): self._seconds("Age of the picture", "frame_age"),
            ("sensor", "fps"): {
                "name": "Frames a second",
                "unit_of_measurement": "fps",
                "state_class": "measurement",
                "entity_category": "diagnostic",
                "icon": "mdi:speedometer",
                **self._value("fps"),
            },
            ("sensor", "memories"): {
                "name": "Memories",
                "state_class": "measurement",
                "icon": "mdi:brain",
                **self._value("memories"),
            },
            ("text", "say"): {
                "name": "Say something",
                "command_topic": f"{self._prefix}/say/set",
                "max": _SAY_CHARS,
                "icon": "mdi:comment-text",
                **self._value("said"),
            },
        }
        for name, (label, icon) in _BUTTONS.items():
            topic = f"{self._prefix}/{name}/press"
            found["button", name] = {"name": label, "icon": icon, "command_topic": topic}
        if themes:
            found["select", "theme"] = {
                "name": "Theme",
                "icon": "mdi:palette",
                "options": list(themes),
                "command_topic": f"{self._prefix}/theme/set",
                **self._value("theme"),
            }
        return [self._described(kind, name, entity) for (kind, name), entity in found.items()]

    def _described(self, kind: str, name: str, entity: Mapping[str, Any]) -> Message:
        config = {
            "unique_id": f"{self._node}_{name}",
            "object_id": f"{self._node}_{name}",
            "availability_topic": self.availability,
            "device": {
                "identifiers": [self._node],
                "name": self._prefix.replace("/", " ").replace("_", " ").title(),
                "manufacturer": "Dreamloop",
                "model": "A machine that dreams",
                "sw_version": self._version,
            },
            "origin": {"name": "Dreamloop", "sw_version": self._version},
            **entity,
        }
        topic = f"{self._discovery_prefix}/{kind}/{self._node}/{name}/config"
        return Message(topic, json.dumps(config, ensure_ascii=False).encode())

    def _value(self, key: str) -> dict[str, str]:
        return {"state_topic": self.state, "value_template": f"{{{{ value_json.{key} }}}}"}

    def _seconds(self, name: str, key: str) -> dict[str, str]:
        return {
            "name": name,
            "device_class": "duration",
            "unit_of_measurement": "s",
            "state_class": "measurement",
            "entity_category": "diagnostic",
            **self._value(key),
        }


def state_of(status: Mapping[str, Any], *, frame_age_s: float | None, said: str, refused: str) -> bytes:
    """What the state topic says of a status.

    Args:
        status: status.json, parsed.
        frame_age_s: Since the picture was shown; None where there is none.
        said: What was said to the dream last, from here.
        refused: Why the newest command was not obeyed; "" where it was.
    """
    dream, display, engine, memory = (_part(status, key) for key in ("dream", "display", "engine", "memory"))
    reason, themes = _part(status, "reason"), _part(status, "prompts").get("themes") or ()
    theme = dream.get("theme")
    told = {
        "state": status.get("state"),
        # A select that is told of a choice it does not have complains; null is "unknown".
        "theme": theme if theme in themes else None,
        "frame_age": None if frame_age_s is None else round(frame_age_s, 1),
        "fps": display.get("shown_fps"),
        "memories": memory.get("entries"),
        "said": said[:_SAY_CHARS],
        "attributes": {
            "reason": reason.get("code"),
            "sentence": reason.get("sentence"),
            "theme": theme,
            "prompt": dream.get("prompt"),
            "seed": dream.get("seed"),
            "mode": dream.get("mode"),
            "keyframes": dream.get("keyframes"),
            "pace": display.get("pace"),
            "buffer_seconds": display.get("buffer_seconds"),
            "frames_shown": display.get("frames_shown"),
            "engine": engine.get("kind"),
            "model": engine.get("checkpoint"),
            "injections": memory.get("injections"),
            "refused": refused or None,
        },
    }
    return json.dumps(told, ensure_ascii=False).encode("utf-8", "replace")


def _part(status: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = status.get(key)
    return value if isinstance(value, Mapping) else {}
