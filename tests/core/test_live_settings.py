from __future__ import annotations

from pathlib import Path

import pytest

from backend.config import Settings, settings_from
from backend.core.live_settings import LiveSettings, changes, differing, with_values_of
from backend.errors import ConfigError, Problem


def settings(text: str = "") -> Settings:
    return settings_from(text.encode(), Path("/folder/config.yaml"), {}).settings


def test_a_part_is_told_only_of_what_concerns_it() -> None:
    live, told = LiveSettings(), list[str]()
    live.register(["display.fps", "dream.denoise"], lambda new: told.append(f"fps {new.display.fps:g}"))
    live.register(["log.level"], lambda new: told.append(new.log.level))
    live.apply(settings(), settings("display: {fps: 20}"))
    assert told == ["fps 20"]


def test_where_one_part_cannot_the_others_go_back() -> None:
    live, told = LiveSettings(), list[float]()

    def refuse(new: Settings) -> None:
        raise ConfigError([Problem("file", 1, "log.level", new.log.level, "not now")])

    live.register(["display.fps"], lambda new: told.append(new.display.fps))
    live.register(["log.level"], refuse)
    live.register(["dream.denoise"], lambda new: told.append(-1.0))
    with pytest.raises(ConfigError, match="not now"):
        live.apply(settings(), settings("{display: {fps: 20}, log: {level: debug}, dream: {denoise: 0.3}}"))
    assert told == [20.0, 10.0]


@pytest.mark.parametrize("key", ["storage.output", "dream.seed", "nothing.of_the_kind"])
def test_a_key_that_needs_a_restart_cannot_be_taken(key: str) -> None:
    with pytest.raises(ValueError, match=key):
        LiveSettings().register([key], lambda _: None)


def test_keys_that_differ_are_named_and_can_be_taken_over_one_by_one() -> None:
    old, new = settings(), settings("{display: {fps: 20}, dream: {denoise: 0.3, seed: 7}}")
    assert differing(old, new) == ["dream.denoise", "dream.seed", "display.fps"]
    half = with_values_of(old, new, ["display.fps", "dream.denoise"])
    assert differing(half, new) == ["dream.seed"]
    told = changes(half, new, ["dream.seed"])[0]
    assert (told.key, told.old, told.new) == ("dream.seed", "auto", "7")


def test_values_that_may_be_secret_are_not_told() -> None:
    old = settings()
    new = settings("comfyui: {headers: {Authorization: Bearer s3cr3t}, launch: [comfy, --password, s3cr3t]}")
    told = changes(old, new, differing(old, new))
    assert [(one.key, one.new) for one in told] == [("comfyui.headers", "***"), ("comfyui.launch", "***")]
