from __future__ import annotations

import itertools
import json
import random
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from backend.config import Settings, settings_from
from backend.config_given import MQTT_PASSWORD
from backend.errors import BrokerTrouble, ConfigError
from backend.mqtt.bridge import Bridge
from backend.mqtt.link import Heard
from backend.mqtt.spec import MqttSpec
from backend.mqtt.topics import STATES, Message, Topics
from backend.mqtt.watched import WatchedDream
from backend.mqtt_assembly import open_bridge
from backend.utils.status_schema import State
from backend.utils.version import VERSION
from tests.mqtt.dreams import ShownDream


def settings_of(tree: dict[str, Any]) -> Settings:
    return settings_from(json.dumps(tree).encode(), Path("config.yaml"), {}).settings


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Line:
    """A connection that a test controls."""

    accepted: bool = True
    heard: deque[Heard] = field(default_factory=deque)
    said: list[Message] = field(default_factory=list)
    clogged: bool = False
    opens: BrokerTrouble | None = None
    breaks: BrokerTrouble | None = None
    closed: bool = False

    def open(self) -> None:
        if self.opens is not None:
            raise self.opens

    def listen(self, topics: list[str]) -> None:
        assert "homeassistant/status" in topics

    def say(self, message: Message) -> None:
        self.said.append(message)

    def turn(self, wait_s: float) -> None:
        if self.breaks is not None:
            raise self.breaks

    def close(self, last_words: list[Message]) -> None:
        self.said += last_words
        self.closed = True

    def topics(self) -> set[str]:
        return {message.topic for message in self.said}


@dataclass
class Stage:
    dream: ShownDream
    clock: Clock = field(default_factory=Clock)
    lines: list[Line] = field(default_factory=list)
    next: Line = field(default_factory=Line)

    def __post_init__(self) -> None:
        self.dream.show()
        self.bridge = Bridge(
            self.dream.spec(1883),
            lambda _: self._connect(),
            clock=self.clock,
            rng=random.Random(1),
            version="1",
        )
        self.bridge.part.stopping.set()  # so that it never waits

    def _connect(self) -> Line:
        self.lines.append(self.next)
        line, self.next = self.next, Line()
        return line

    def turn(self, seconds: float = 0.0, **changes: object) -> None:
        self.clock.now += seconds
        self.dream.write(**changes)
        self.bridge.turn()


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(ShownDream(tmp_path))


def test_waits_between_tries_grow_to_a_minute_and_the_log_says_it_once(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    trouble = BrokerTrouble("mqtt://x:1883", "connection refused")
    tries = []
    for _ in range(400):
        stage.next = Line(opens=trouble)
        stage.turn(1.0)
        tries += [stage.clock.now] * (len(stage.lines) - len(tries))
    gaps = [b - a for a, b in itertools.pairwise(tries)]
    assert max(gaps) <= 61.0
    assert min(gaps[6:]) >= 29.5
    assert len(caplog.records) == 1
    assert stage.bridge.problem == "no MQTT broker at mqtt://x:1883: connection refused"


def test_a_broker_that_says_neither_yes_nor_no_is_left_after_a_while(stage: Stage) -> None:
    stage.next = Line(accepted=False)
    stage.turn()
    stage.turn(9.0)
    assert not stage.lines[0].closed
    stage.turn(2.0)
    assert stage.lines[0].closed
    assert stage.lines[0].said == []


def test_nothing_is_said_to_a_broker_that_has_not_taken_what_was_said_before(stage: Stage) -> None:
    stage.turn()
    line = stage.lines[0]
    line.clogged = True
    before = len(line.said)
    for number in range(50):
        stage.dream.show(state=("dreaming", "resting")[number % 2])
        stage.turn(1.0)
    assert len(line.said) == before
    line.clogged = False
    stage.turn(1.0)
    assert {"dreamloop/state", "dreamloop/image"} <= {message.topic for message in line.said[before:]}


def test_a_flood_of_wishes_is_bounded(stage: Stage) -> None:
    stage.turn()
    line = stage.lines[0]
    line.heard.extend(Heard("dreamloop/next/press", b"", False) for _ in range(1000))
    stage.turn()
    assert len(stage.bridge._wishes) <= 16


def test_a_new_state_is_told_at_once_and_the_rest_now_and_then(stage: Stage) -> None:
    stage.turn()
    line = stage.lines[0]
    stage.turn(1.0)

    def states() -> int:
        return sum(message.topic == "dreamloop/state" for message in line.said)

    before = states()
    for _ in range(8):
        stage.turn(1.0)
    assert states() == before
    stage.turn(0.6, state="paused")
    assert states() == before + 1
    for _ in range(11):
        stage.turn(1.0)
    assert states() == before + 2


def test_a_command_while_no_daemon_runs_is_answered(stage: Stage) -> None:
    stage.turn()
    stage.lines[0].heard.append(Heard("dreamloop/next/press", b"", False))
    stage.turn(1.0)
    assert b"no Dreamloop answers" in stage.lines[0].said[-1].payload


def test_a_status_that_was_left_behind_is_no_living_dream(tmp_path: Path) -> None:
    dream, clock = ShownDream(tmp_path), Clock()
    dream.show()
    watched = WatchedDream(tmp_path / "output", tmp_path / "status", clock)
    assert watched.look()
    assert not watched.fresh
    dream.write()
    assert watched.look()
    assert watched.fresh
    clock.now += 5.1
    assert not watched.look()
    assert not watched.fresh


@pytest.mark.parametrize(
    "file",
    ["../../../etc/passwd", "frames/../status.json", "/etc/passwd", "frames/x.png", None, 7, "frames/9.png"],
)
def test_a_picture_is_read_from_the_frames_alone(tmp_path: Path, file: object) -> None:
    dream = ShownDream(tmp_path)
    dream.write(frame={"sequence": 3, "file": file})
    watched = WatchedDream(tmp_path / "output", tmp_path / "status", Clock())
    watched.look()
    assert watched.jpeg() is None


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"\xff", b'{"frame": 5, "prompts": []}'])
def test_a_broken_status_is_borne(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "status.json").write_bytes(text)
    watched = WatchedDream(tmp_path, tmp_path, Clock())
    watched.look()
    assert watched.themes == ()
    assert watched.jpeg() is None
    assert watched.frame == 0


def test_the_device_knows_every_state_and_every_version_is_the_same() -> None:
    assert set(STATES) == {state.value for state in State}
    import tomllib

    pyproject = Path(__file__).parents[2] / "pyproject.toml"
    assert tomllib.loads(pyproject.read_text())["project"]["version"] == VERSION


def test_two_dreams_on_one_broker_are_two_devices() -> None:
    one, other = (
        Topics(prefix, "homeassistant", "1").discovery(["sea"]) for prefix in ("attic", "attic/cellar")
    )
    assert not {message.topic for message in one} & {message.topic for message in other}


def test_no_themes_give_no_choice() -> None:
    topics = [message.topic for message in Topics("dreamloop", "homeassistant", "1").discovery([])]
    assert not [topic for topic in topics if "/select/" in topic]


def test_a_password_comes_from_its_file_or_from_the_environment_and_is_never_shown(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from-file\n")
    secret.chmod(0o600)
    settings = settings_of(
        {"mqtt": {"broker": "mqtt://hub", "username": "dream", "password_file": str(secret)}}
    )
    spec = MqttSpec.of(settings, {})
    assert spec is not None
    assert (spec.password, spec.port, spec.address) == ("from-file", 1883, "mqtt://hub:1883")
    assert "from-file" not in repr(spec)
    other = MqttSpec.of(settings, {MQTT_PASSWORD: "from-environment"})
    assert other is not None
    assert other.password == "from-environment"


@pytest.mark.parametrize(("content", "mode"), [(b"open", 0o644), (b"", 0o600), (b"\xff\xfe", 0o600)])
def test_a_password_file_that_cannot_be_used_costs_the_bridge_and_not_the_dream(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes, mode: int
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(content)
    secret.chmod(mode)
    settings = settings_of({"mqtt": {"broker": "mqtts://hub", "password_file": str(secret)}})
    assert open_bridge(settings, {}) is None
    assert "mqtt.password_file" in caplog.text


def test_without_a_broker_there_is_no_bridge_and_without_the_package_it_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert open_bridge(settings_of({}), {}) is None
    assert not caplog.records
    monkeypatch.setattr("backend.mqtt_assembly.importlib.util.find_spec", lambda _: None)
    assert open_bridge(settings_of({"mqtt": {"broker": "mqtt://hub"}}), {}) is None
    assert "requirements-mqtt.lock" in caplog.text


@pytest.mark.parametrize(
    "broker", ["hub", "http://hub", "mqtt://me:secret@hub", "mqtt://hub/topic", "mqtt://hub:0"]
)
def test_addresses_that_are_none_and_those_with_a_secret_in_them_are_refused(broker: str) -> None:
    with pytest.raises(ConfigError, match=r"mqtt\.broker") as refused:
        settings_of({"mqtt": {"broker": broker}})
    assert "secret" not in str(refused.value)
