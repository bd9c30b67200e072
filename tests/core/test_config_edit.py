from __future__ import annotations

import os
from pathlib import Path

import pytest

from backend.config import DEFAULT_PATH, Settings, keys
from backend.core.config_edit import Edit, plan_edit
from backend.errors import ConfigError, Problem

FILE = "# mine\ndream:\n  denoise: 0.3   # wander\n  seed: 7\ncomfyui: {url: auto}\n"


def nothing(settings: Settings) -> None:
    pass


def edit(path: Path, key: str, value: str | None, **environ: str) -> Edit:
    return plan_edit(path, environ, key, value, nothing)


def problems(path: Path, key: str, value: str | None, **environ: str) -> tuple[Problem, ...]:
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(ConfigError) as caught:
        edit(path, key, value, **environ).carry_out()
    assert (path.read_bytes() if path.exists() else None) == before
    return caught.value.problems


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text(FILE)
    return tmp_path / "config.yaml"


def test_one_value_changes_and_the_comments_stay(path: Path) -> None:
    made = edit(path, "dream.denoise", "0.35")
    assert path.read_text() == FILE
    made.carry_out()
    assert path.read_text() == FILE.replace("0.3 ", "0.35 ")
    assert (made.old, made.new, made.live, made.changes) == ("0.3", "0.35", True, True)
    assert made.loaded.settings.dream.denoise == 0.35


def test_taken_out_it_is_by_default_again(path: Path) -> None:
    made = edit(path, "dream.denoise", None)
    made.carry_out()
    assert path.read_text() == FILE.replace("  denoise: 0.3   # wander\n", "  # wander\n")
    assert (made.old, made.new) == ("0.3", "0.45 (the default)")
    assert not edit(path, "dream.denoise", None).changes


def test_a_file_that_is_not_there_comes_to_be(tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    edit(path, "dream.denoise", "0.35").carry_out()
    assert path.read_text() == "dream:\n  denoise: 0.35\n"
    assert path.stat().st_mode & 0o777 == 0o644 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("dream.denoise", "7", "a number from 0.05 to 1"),
        ("dream.denoise", "auto", "a number from 0.05 to 1"),
        ("dream.denoize", "0.4", "did you mean dream.denoise?"),
        ("denoise", "0.4", "did you mean dream.denoise?"),
        ("dream", "0.4", "dream has mode"),
        ("dream.size", "100x101", "divisible by 8"),
        ("dream.adapters", "[{lora: a, strenght: 3}]", "it takes strength"),
        ("comfyui.text_encoders", "{a: b}", "a list"),
    ],
)
def test_what_would_be_wrong_is_refused_with_the_same_words_as_ever(
    path: Path, key: str, value: str, said: str
) -> None:
    assert said in str(problems(path, key, value)[0])


def test_another_mistake_in_the_file_is_told_and_may_be_mended(path: Path) -> None:
    path.write_text(FILE.replace("0.3", "7"))
    (told,) = problems(path, "dream.seed", "8")
    assert (told.key, told.line) == ("dream.denoise", 3)
    edit(path, "dream.denoise", "0.3").carry_out()
    assert path.read_text() == FILE


def test_the_value_is_looked_at_though_the_environment_overrides_it(path: Path) -> None:
    assert problems(path, "dream.denoise", "7", DREAMLOOP_DREAM__DENOISE="0.5")
    made = edit(path, "dream.denoise", "0.35", DREAMLOOP_DREAM__DENOISE="0.5")
    assert made.overridden_by == "DREAMLOOP_DREAM__DENOISE"
    assert made.loaded.settings.dream.denoise == 0.5


def test_what_no_dream_could_begin_with_is_refused(path: Path) -> None:
    def check(settings: Settings) -> None:
        raise ConfigError([Problem("config", None, "comfyui.family", "x", "a family")])

    with pytest.raises(ConfigError, match="a family"):
        plan_edit(path, {}, "comfyui.family", "x", check)


@pytest.mark.parametrize("text", ["dream: {denoise: [\n", "- a\n", "a: &x {b: 1}\ndream: *x\n"])
def test_a_file_of_another_make_is_left_to_people(path: Path, text: str) -> None:
    path.write_text(text)
    assert problems(path, "dream.denoise", "0.4")


def test_a_file_that_is_no_text_is_left_to_people(path: Path) -> None:
    path.write_bytes(b"dream:\n  denoise: \xff\n")
    assert "UTF-8" in problems(path, "dream.denoise", "0.4")[0].wish


def test_an_edit_of_somebody_else_in_the_meantime_is_not_lost(path: Path) -> None:
    made = edit(path, "dream.denoise", "0.35")
    path.write_text(FILE + "# theirs\n")
    with pytest.raises(ConfigError, match="meanwhile"):
        made.carry_out()
    assert path.read_text() == FILE + "# theirs\n"


def test_links_mode_and_byte_order_mark_stay(path: Path, tmp_path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + FILE.encode())
    path.chmod(0o640)
    link = tmp_path / "link.yaml"
    link.symlink_to(path)
    edit(link, "dream.denoise", "0.35").carry_out()
    assert link.is_symlink()
    assert path.read_bytes() == b"\xef\xbb\xbf" + FILE.replace("0.3 ", "0.35 ").encode()
    assert path.stat().st_mode & 0o777 == 0o640
    assert sorted(one.name for one in tmp_path.iterdir()) == ["config.yaml", "link.yaml"]


def test_secrets_are_not_told(path: Path) -> None:
    made = edit(path, "comfyui.headers", "{Authorization: Bearer s3cr3t}")
    assert "s3cr3t" not in repr((made.old, made.new, str(made.loaded.given)))
    assert "s3cr3t" in made.after.decode()


@pytest.mark.parametrize("key", ["dream.denoise", "memory.max_size"])
def test_the_file_that_comes_with_dreamloop_can_be_edited(tmp_path: Path, key: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(DEFAULT_PATH.read_bytes())
    made = edit(path, key, keys()[key].default)
    assert not made.changes
    edit(path, key, None).carry_out()
    text = path.read_text()
    assert len(text.splitlines()) == len(DEFAULT_PATH.read_text().splitlines()) - 1
