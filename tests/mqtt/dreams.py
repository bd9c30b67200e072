"""A dream as its files and its control socket show it, without anybody who dreams."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.mqtt.spec import MqttSpec
from backend.utils.control import SOCKET_NAME, ControlServer
from backend.utils.file_ops import write_atomic
from tests.fakes.memory_engine import picture


@dataclass
class ShownDream:
    """Writes status and frames as the daemon does, and answers at its socket."""

    folder: Path
    themes: list[str] = field(default_factory=lambda: ["sea", "Wälder 🌲"])
    frame: int = 0
    writes: int = 0
    asked: list[dict[str, Any]] = field(default_factory=list)
    refuse: str = ""
    changes: dict[str, Any] = field(default_factory=dict)
    _beating: threading.Event = field(default_factory=threading.Event)

    def show(self, size: tuple[int, int] = (64, 40), **changes: Any) -> None:
        """One more frame, and a new status."""
        self.frame += 1
        name = f"frames/{self.frame:09d}.png"
        write_atomic(self.folder / "output" / name, picture(self.frame, size))
        self.changes |= {"frame": {"sequence": self.frame, "file": name}}
        self.write(**changes)

    def write(self, **changes: Any) -> None:
        self.changes |= changes
        self.writes += 1
        status = {
            "sequence": self.writes,
            "state": "dreaming",
            "reason": {"code": "ok", "sentence": "all is well"},
            "frame": None,
            "dream": {"theme": "sea", "prompt": "a quiet sea", "seed": 2**62},
            "display": {"shown_fps": 9.97},
            "memory": {"entries": 12},
            "engine": {"kind": "embedded"},
            "prompts": {"themes": self.themes},
            **self.changes,
        }
        write_atomic(self.folder / "status" / "status.json", json.dumps(status).encode())

    def start(self) -> Callable[[], None]:
        """Beat as a daemon does, and answer; gives what ends it."""
        self.show()
        server = ControlServer(self.folder / "status" / SOCKET_NAME, self._answer)
        server.start()
        thread = threading.Thread(target=self._beat, daemon=True)
        thread.start()

        def stop() -> None:
            self._beating.set()
            thread.join(10.0)
            server.stop()

        return stop

    def spec(self, port: int, **changes: Any) -> MqttSpec:
        told: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": port,
            "tls": False,
            "ca_file": None,
            "username": None,
            "password": None,
            "discovery_prefix": "homeassistant",
            "topic_prefix": "dreamloop",
            "image_s": 1.0,
            "output": self.folder / "output",
            "status": self.folder / "status",
        }
        return MqttSpec(**told | changes)

    def _beat(self) -> None:
        while not self._beating.wait(0.1):
            self.write()

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(request)
        return {"ok": False, "error": self.refuse} if self.refuse else {"ok": True, "state": "dreaming"}
