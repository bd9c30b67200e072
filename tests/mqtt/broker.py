"""A real mosquitto on a free port of this machine, and a Home Assistant of few words beside it."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

GUARD_S = 30.0
_PROGRAM = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/opt/homebrew/sbin")


@dataclass
class Broker:
    """Runs mosquitto; it forgets everything when it is restarted."""

    folder: Path
    port: int
    config: str = "allow_anonymous true"
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert _PROGRAM is not None
        file = self.folder / "mosquitto.conf"
        file.write_text(f"listener {self.port} 127.0.0.1\npersistence false\nuser root\n{self.config}\n")
        log = (self.folder / "mosquitto.log").open("ab")
        with log:
            self.process = subprocess.Popen([_PROGRAM, "-c", str(file)], stdout=log, stderr=log)
        until = time.monotonic() + GUARD_S
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1.0):
                return
            assert self.process.poll() is None, (self.folder / "mosquitto.log").read_text()
            time.sleep(0.02)
        raise AssertionError("mosquitto does not listen")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(GUARD_S)
            self.process = None


@contextlib.contextmanager
def mosquitto(folder: Path, config: str = "allow_anonymous true") -> Iterator[Broker]:
    """A running broker; skips where there is no mosquitto."""
    if _PROGRAM is None:
        pytest.skip("there is no mosquitto (apt-get install mosquitto)")
    broker = Broker(folder, free_port(), config)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class House:
    """Listens to everything and keeps the newest of each topic, as Home Assistant does."""

    client: Client
    newest: dict[str, bytes] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def hear(self, message: MQTTMessage) -> None:
        self.newest[message.topic] = bytes(message.payload)
        self.counts[message.topic] = self.counts.get(message.topic, 0) + 1

    def entities(self) -> dict[str, dict[str, Any]]:
        """What was described, by kind and name."""
        found = {}
        for topic, payload in self.newest.items():
            prefix, *rest = topic.split("/")
            if prefix == "homeassistant" and rest[-1] == "config":
                found[f"{rest[0]}.{rest[2]}"] = json.loads(payload)
        return found

    def say(self, topic: str, payload: bytes = b"PRESS", *, kept: bool = False) -> None:
        self.client.publish(topic, payload, retain=kept)

    def state(self) -> dict[str, Any]:
        return dict(json.loads(self.newest.get("dreamloop/state", b"{}")))


@contextlib.contextmanager
def house(port: int, **login: str) -> Iterator[House]:
    client = Client(CallbackAPIVersion.VERSION2)
    if login:
        client.username_pw_set(login["username"], login["password"])
    one = House(client)
    client.on_message = lambda _client, _userdata, message: one.hear(message)
    client.on_connect = lambda *_: client.subscribe("#")
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        yield one
    finally:
        client.disconnect()
        client.loop_stop()


def until(what: Callable[[], object], because: str = "") -> None:
    """Wait for something that is to come."""
    ends = time.monotonic() + GUARD_S
    while not what():
        assert time.monotonic() < ends, because or "it did not come to that"
        time.sleep(0.02)
