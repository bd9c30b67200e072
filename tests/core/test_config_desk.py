from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from backend.config import load_settings
from backend.core.config_desk import ConfigDesk
from backend.core.config_watch import ConfigSource, ConfigWatch
from backend.core.live_settings import LiveSettings

TEXT = "# how far it leaves\ndream:\n  denoise: 0.45  # soft\ncomfyui:\n  headers: {Authorization: s3cr3t}\n"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        self.now += 0.3
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(TEXT)
    return file


def desk_of(path: Path, environ: dict[str, str] | None = None) -> ConfigDesk:
    environ = environ or {}
    source = ConfigSource(path, load_settings(path, environ), environ)
    watch = ConfigWatch(
        source, LiveSettings(), check=lambda _: None, clock=Clock(), wall=lambda: datetime.now(UTC)
    )
    watch.answered = lambda number, wait_s=0.0: watch.turn()  # type: ignore[method-assign]
    return ConfigDesk(watch, path, environ, lambda _: None)


def test_every_key_is_told_with_what_would_be_right(path: Path) -> None:
    told = {one["key"]: one for one in desk_of(path).show({})["keys"]}
    assert told["dream.denoise"]["value"] == "0.45"
    assert told["dream.denoise"]["wish"] == "a number from 0.05 to 1"
    assert told["dream.mode"]["choices"] == ["txt2img", "img2img", "interpolate", "hybrid"]
    assert told["memory.enabled"]["choices"] == ["true", "false"]
    assert told["dream.denoise"]["live"]
    assert not told["storage.output"]["live"]


def test_no_secret_is_told(path: Path) -> None:
    assert "s3cr3t" not in str(desk_of(path).show({}))


def test_of_what_may_hold_a_secret_it_is_told_that_it_is_not_set(path: Path) -> None:
    told = {one["key"]: one["value"] for one in desk_of(path).show({})["keys"]}
    assert told["comfyui.launch"] == "[]"
    path.write_text(f"{TEXT}  launch: [run, --password, s3cr3t]\n")
    told = {one["key"]: one["value"] for one in desk_of(path).show({})["keys"]}
    assert told["comfyui.launch"] == "***"


def test_an_edit_keeps_the_file_as_its_author_wrote_it(path: Path) -> None:
    answer = desk_of(path).change({"key": "dream.denoise", "value": "0.3"})
    assert answer["saved"]
    assert answer["live"]
    assert path.read_text() == TEXT.replace("0.45", "0.3")


@pytest.mark.parametrize("value", ["7", "much", "", "0.3\nlog: {level: debug}"])
def test_a_value_that_is_wrong_is_not_written_and_the_wish_comes_back(path: Path, value: str) -> None:
    answer = desk_of(path).change({"key": "dream.denoise", "value": value})
    assert not answer["saved"]
    assert answer["problems"]
    assert path.read_text() == TEXT


@pytest.mark.parametrize(
    "key",
    [
        "comfyui.launch",
        "comfyui.headers",
        "memory.matcher",
        "shim.host",
        "storage.output",
        "comfyui.url",
        "a.b",
        7,
        None,
    ],
)
def test_what_opens_doors_can_be_changed_at_the_file_only(path: Path, key: object) -> None:
    assert not desk_of(path).change({"key": key, "value": "x"})["ok"]
    assert path.read_text() == TEXT


def test_what_the_environment_says_cannot_be_changed_here(path: Path) -> None:
    desk = desk_of(path, {"DREAMLOOP_DREAM__DENOISE": "0.2"})
    told = {one["key"]: one for one in desk.show({})["keys"]}
    assert "DREAMLOOP_DREAM__DENOISE" in told["dream.denoise"]["fixed"]
    assert not desk.change({"key": "dream.denoise", "value": "0.3"})["ok"]
