"""The bridge on a real broker, with whoever else is in the house."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from backend.config import settings_from
from backend.errors import BrokerTrouble
from backend.mqtt.bridge import Bridge
from backend.mqtt.link import Link
from backend.mqtt_assembly import try_broker
from tests.mqtt.broker import GUARD_S, Broker, House, house, mosquitto, until
from tests.mqtt.dreams import ShownDream


class Hasty(random.Random):
    """Tries again at once."""

    def uniform(self, a: float, b: float) -> float:
        return 0.0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with mosquitto(tmp_path) as running:
        yield running


@pytest.fixture
def dream(tmp_path: Path) -> Iterator[ShownDream]:
    one = ShownDream(tmp_path)
    stop = one.start()
    yield one
    stop()


@pytest.fixture
def bridge(dream: ShownDream, broker: Broker) -> Iterator[Bridge]:
    yield from running(dream, broker.port)


def running(dream: ShownDream, port: int, **changes: Any) -> Iterator[Bridge]:
    spec = dream.spec(port, **changes)
    bridge = Bridge(spec, partial(Link, spec), rng=Hasty(), version="1.2.3")
    bridge.start()
    yield bridge
    bridge.stop()
    assert bridge.part.crashes == 0
    assert not bridge.part.runs


def online(one: House) -> bool:
    return one.newest.get("dreamloop/availability") == b"online" and bool(one.state())


def test_a_dream_becomes_a_device_of_the_house(dream: ShownDream, bridge: Bridge, broker: Broker) -> None:
    with house(broker.port) as one:
        until(lambda: online(one) and "dreamloop/image" in one.newest)
        entities = one.entities()
        assert {name.split(".")[0] for name in entities} == {"image", "sensor", "button", "select", "text"}
        assert entities["select.theme"]["options"] == ["sea", "Wälder 🌲"]
        assert len({entity["unique_id"] for entity in entities.values()}) == len(entities)
        assert len({json.dumps(entity["device"]) for entity in entities.values()}) == 1
        assert all(entity["availability_topic"] == "dreamloop/availability" for entity in entities.values())
        state = one.state()
        assert (state["state"], state["theme"], state["memories"], state["fps"]) == (
            "dreaming",
            "sea",
            12,
            9.97,
        )
        assert state["attributes"]["prompt"] == "a quiet sea"
        assert state["frame_age"] >= 0
        with Image.open(io.BytesIO(one.newest["dreamloop/image"])) as shown:
            assert (shown.format, shown.size) == ("JPEG", (64, 40))


def test_each_topic_of_a_description_is_one_that_is_used(
    dream: ShownDream, bridge: Bridge, broker: Broker
) -> None:
    with house(broker.port) as one:
        until(lambda: online(one) and "dreamloop/image" in one.newest)
        for entity in one.entities().values():
            for key in ("state_topic", "image_topic", "json_attributes_topic", "availability_topic"):
                assert entity.get(key, "dreamloop/state") in one.newest
            assert entity.get("command_topic", "dreamloop/say/set") in bridge.topics.commands


def test_wishes_of_the_house_reach_the_dream(dream: ShownDream, bridge: Bridge, broker: Broker) -> None:
    with house(broker.port) as one:
        until(lambda: online(one))
        for topic, payload in (
            ("next/press", b"PRESS"),
            ("pause/press", b"PRESS"),
            ("resume/press", b""),
            ("theme/set", "Wälder 🌲".encode()),
            ("say/set", b"a red door"),
        ):
            one.say(f"dreamloop/{topic}", payload)
        until(lambda: len(dream.asked) == 5, f"{dream.asked}")
        assert dream.asked == [
            {"command": "next"},
            {"command": "pause"},
            {"command": "resume"},
            {"command": "theme", "name": "Wälder 🌲"},
            {"command": "say", "text": "a red door"},
        ]
        until(lambda: one.state()["said"] == "a red door")


def test_what_the_dream_refuses_is_told(dream: ShownDream, bridge: Bridge, broker: Broker) -> None:
    dream.refuse = "no such theme"
    with house(broker.port) as one:
        until(lambda: online(one))
        one.say("dreamloop/theme/set", b"nowhere")
        until(lambda: one.state()["attributes"]["refused"] == "no such theme")


def test_messages_without_sense_and_old_ones_are_not_obeyed(
    dream: ShownDream, bridge: Bridge, broker: Broker
) -> None:
    with house(broker.port) as one:
        until(lambda: online(one))
        one.say("dreamloop/say/set", b"\xff\xfe")
        one.say("dreamloop/say/set", b"x" * 5000)
        one.say("dreamloop/theme/set", b"  ")
        one.say("dreamloop/stop/press")
        one.say("homeassistant/status", b"\x00" * 100)
        one.say("dreamloop/next/press", kept=True)
        until(lambda: dream.asked)  # the kept one counts for those who were there when it came
        broker_keeps = dream.asked.copy()
        assert broker_keeps == [{"command": "next"}]
        bridge._link.close([])  # type: ignore[union-attr]
        until(lambda: one.counts["dreamloop/state"] > 2)
        one.say("dreamloop/pause/press")
        until(lambda: {"command": "pause"} in dream.asked)
        assert dream.asked == [{"command": "next"}, {"command": "pause"}]


def test_everything_is_said_again_when_home_assistant_is_born_again(
    dream: ShownDream, bridge: Bridge, broker: Broker
) -> None:
    with house(broker.port) as one:
        until(lambda: online(one) and "dreamloop/image" in one.newest)
        before = dict(one.counts)
        one.say("homeassistant/status", b"online")
        until(lambda: all(one.counts[topic] > before[topic] for topic in before), f"{before} {one.counts}")


def test_everything_is_said_again_when_the_broker_comes_back(
    dream: ShownDream, bridge: Bridge, broker: Broker
) -> None:
    with house(broker.port) as one:
        until(lambda: online(one))
    broker.stop()
    until(lambda: bridge.problem is not None)
    assert f"no MQTT broker at mqtt://127.0.0.1:{broker.port}" in str(bridge.problem)
    broker.start()
    with house(broker.port) as one:
        until(lambda: online(one) and "image.picture" in one.entities() and "dreamloop/image" in one.newest)
    assert bridge.problem is None


def test_a_dream_that_ends_and_one_that_stalls_are_away(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.mqtt.watched.STALE_S", 1.0)
    dream = ShownDream(tmp_path)
    stop = dream.start()
    bridges = running(dream, broker.port)
    next(bridges)
    with house(broker.port) as one:
        until(lambda: online(one))
        stop()  # no status comes any more
        until(lambda: one.newest["dreamloop/availability"] == b"offline")
        dream.show()
        until(lambda: one.newest["dreamloop/availability"] == b"online")
        next(bridges, None)
        until(lambda: one.newest["dreamloop/availability"] == b"offline")


def test_a_bridge_that_is_cut_off_is_reported_as_away_by_the_broker(
    dream: ShownDream, bridge: Bridge, broker: Broker
) -> None:
    with house(broker.port) as one:
        until(lambda: online(one))
        link = bridge._link
        assert isinstance(link, Link)
        bridge.part.stopping.set()
        until(lambda: not bridge.part.runs)
        link._client.socket().close()  # type: ignore[union-attr]
        bridge._link = None
        until(lambda: one.newest["dreamloop/availability"] == b"offline")


def test_new_themes_become_new_choices(dream: ShownDream, bridge: Bridge, broker: Broker) -> None:
    with house(broker.port) as one:
        until(lambda: online(one))
        dream.themes = ["sea", "embers"]
        until(lambda: one.entities()["select.theme"]["options"] == ["sea", "embers"])


def test_a_large_picture_becomes_small_and_comes_no_more_often_than_it_may(
    tmp_path: Path, broker: Broker
) -> None:
    dream = ShownDream(tmp_path)
    stop = dream.start()
    dream.show(size=(1280, 640))
    bridges = running(dream, broker.port, image_s=3600.0)
    next(bridges)
    with house(broker.port) as one:
        until(lambda: "dreamloop/image" in one.newest)
        with Image.open(io.BytesIO(one.newest["dreamloop/image"])) as shown:
            assert shown.size == (1024, 512)
        assert len(one.newest["dreamloop/image"]) < 500_000
        for number in range(3):
            dream.show(state=f"state {number}")
            until(lambda said=f"state {number}": one.state()["state"] == said)  # type: ignore[misc]
        assert one.counts["dreamloop/image"] == 1
    next(bridges, None)
    stop()


def test_a_broker_that_hangs_fills_nothing_and_is_caught_up_with(
    dream: ShownDream, bridge: Bridge, broker: Broker
) -> None:
    with house(broker.port) as one:
        until(lambda: online(one))
        assert broker.process is not None
        os.kill(broker.process.pid, signal.SIGSTOP)
        link = bridge._link
        assert isinstance(link, Link)
        beats = bridge.part.beats
        until(lambda: bridge.part.beats > beats + 5)
        assert len(link._client._out_packet) < 40
        os.kill(broker.process.pid, signal.SIGCONT)
        dream.show(state="resting")
        until(lambda: one.state()["state"] == "resting")


def test_who_is_not_let_in_says_so_without_the_password(
    tmp_path: Path, dream: ShownDream, caplog: pytest.LogCaptureFixture
) -> None:
    if shutil.which("mosquitto_passwd") is None:
        pytest.skip("there is no mosquitto_passwd (apt-get install mosquitto)")
    passwords = tmp_path / "passwords"
    subprocess.run(
        ["mosquitto_passwd", "-b", "-c", str(passwords), "dream", "right-one"],
        check=True,
        capture_output=True,
    )
    config = f"allow_anonymous false\npassword_file {passwords}"
    folder = tmp_path / "strict"
    folder.mkdir()
    with mosquitto(folder, config) as broker:
        wrong = running(dream, broker.port, username="dream", password="wrong-secret")
        bridge = next(wrong)
        until(lambda: bridge.problem is not None)
        assert "does not let us in: not authorized" in str(bridge.problem)
        next(wrong, None)
        assert "wrong-secret" not in caplog.text + str(bridge.problem) + repr(bridge._spec)
        right = running(dream, broker.port, username="dream", password="right-one")
        next(right)
        with house(broker.port, username="dream", password="right-one") as one:
            until(lambda: online(one))
        next(right, None)


def test_the_doctor_logs_in_and_leaves_the_device_as_it_is(
    dream: ShownDream, bridge: Bridge, broker: Broker
) -> None:
    tree = {"mqtt": {"broker": f"mqtt://127.0.0.1:{broker.port}"}}
    settings = settings_from(json.dumps(tree).encode(), Path("config.yaml"), {}).settings
    with house(broker.port) as one:
        until(lambda: online(one))
        assert "lets us in" in try_broker(settings, {})
        assert one.newest["dreamloop/availability"] == b"online"
    broker.stop()
    with pytest.raises(BrokerTrouble, match="no MQTT broker"):
        try_broker(settings, {})


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad\r\n\r\n", b"\x20\x02\x00", b"\x30\x05\x00\xff\xff\xff\xff", b""]
)
def test_a_program_that_is_no_broker_is_borne(dream: ShownDream, answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                for _ in range(3):
                    client, _ = listener.accept()
                    with client:
                        client.recv(1000)
                        client.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        spec = dream.spec(listener.getsockname()[1])
        bridge = Bridge(spec, partial(Link, spec), rng=Hasty(), version="1")
        until(lambda: (bridge.turn(), bridge.problem)[1] is not None)
        assert "no MQTT broker at" in str(bridge.problem)
        bridge.stop()
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(GUARD_S)
