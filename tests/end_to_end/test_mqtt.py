"""A whole dream as a device of a house."""

from __future__ import annotations

from pathlib import Path

from tests.end_to_end.daemon import daemon, write_config
from tests.fakes.fake_comfy import FakeComfy
from tests.mqtt.broker import house, mosquitto, until


def test_a_dream_is_watched_and_held_over_mqtt_and_says_good_bye(
    tmp_path: Path, fake_comfy: FakeComfy
) -> None:
    with mosquitto(tmp_path) as broker, house(broker.port) as one:
        mqtt = {"broker": f"mqtt://127.0.0.1:{broker.port}", "image_seconds": 1}
        write_config(tmp_path, mqtt=mqtt, comfyui={"url": fake_comfy.url})
        with daemon(tmp_path) as dream:
            until(lambda: one.state().get("state") == "dreaming")
            until(lambda: "dreamloop/image" in one.newest)
            assert one.newest["dreamloop/availability"] == b"online"
            one.say("dreamloop/pause/press")
            dream.wait_for(lambda status: status["state"] == "paused")
            until(lambda: one.state()["state"] == "paused")
            assert dream.end() == 0
            until(lambda: one.newest["dreamloop/availability"] == b"offline")
