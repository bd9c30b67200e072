from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pydantic import ValidationError

from backend.config import (
    DEFAULT_PATH,
    Settings,
    Size,
    json_schema,
    keys,
    load_settings,
    load_storage,
    written,
)
from backend.config_values import read_bytes, read_size, wish_of, write_bytes
from backend.errors import ConfigError, Problem


def load_text(tmp_path: Path, text: str, **environ: str) -> Any:
    (tmp_path / "config.yaml").write_text(text, "utf-8")
    return load_settings(tmp_path / "config.yaml", environ)


def problems_of(tmp_path: Path, text: str, **environ: str) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, text, **environ)
    assert str(caught.value).splitlines() == [str(problem) for problem in caught.value.problems]
    return caught.value.problems


def only_problem(tmp_path: Path, text: str, **environ: str) -> Problem:
    problems = problems_of(tmp_path, text, **environ)
    assert len(problems) == 1, [str(problem) for problem in problems]
    return problems[0]


def test_config_yaml_holds_every_key_with_its_default() -> None:
    file = yaml.safe_load(DEFAULT_PATH.read_text("utf-8"))
    in_file = {
        f"{section}.{key}": str(value).lower() if isinstance(value, bool) else str(value)
        for section, entries in file.items()
        for key, value in entries.items()
    }
    assert in_file == {dotted: field.default for dotted, field in keys().items()}


def test_config_yaml_lists_the_keys_in_the_order_of_the_models() -> None:
    file = yaml.safe_load(DEFAULT_PATH.read_text("utf-8"))
    assert [f"{section}.{key}" for section, entries in file.items() for key in entries] == list(keys())


def test_config_yaml_says_something_of_every_key_and_names_its_range() -> None:
    text = DEFAULT_PATH.read_text("utf-8")
    comments = [line for line in text.splitlines() if line.lstrip().startswith("#")]
    assert len(comments) >= len(keys())
    for dotted, field in keys().items():
        for limit in field.metadata:
            for bound in (getattr(limit, "ge", None), getattr(limit, "le", None)):
                assert bound is None or f"{bound}" in " ".join(comments), (dotted, bound)


def test_the_file_and_no_file_mean_the_same(tmp_path: Path) -> None:
    assert load_settings(None, {}).settings == Settings.model_validate(
        {}, context={"folder": DEFAULT_PATH.parent}
    )


def test_the_defaults_are_those_that_were_promised(tmp_path: Path) -> None:
    settings = load_text(tmp_path, "").settings
    assert settings.comfyui.url is None
    assert (settings.dream.mode, settings.dream.size, settings.dream.denoise) == ("hybrid", None, 0.45)
    assert (settings.dream.seconds_per_keyframe, settings.dream.seed) == (4.0, None)
    assert (settings.display.fps, settings.display.buffer_seconds, settings.display.keep_seconds) == (
        10,
        12,
        60,
    )
    assert settings.storage.budget == 2_000_000_000


def test_settings_are_frozen(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_text(tmp_path, "").settings.dream.denoise = 1.0


def test_values_become_typed(tmp_path: Path) -> None:
    settings = load_text(
        tmp_path,
        "dream:\n  size: 768x432\n  steps: 12\n  cfg: 6.5\n  seed: 9223372036854775807\n  sampler: dpmpp_2m\n"
        "comfyui: {url: 'http://10.0.0.5:8188/', checkpoint: 123}\n"
        "storage: {budget: 1.5 GiB}\nlog: {level: debug}\n",
    ).settings
    assert settings.dream.size == Size(768, 432)
    assert (settings.dream.steps, settings.dream.cfg, settings.dream.seed) == (12, 6.5, 2**63 - 1)
    assert (settings.comfyui.url, settings.comfyui.checkpoint) == ("http://10.0.0.5:8188", "123")
    assert settings.storage.budget == 3 * 2**29
    assert settings.log.level == "debug"


@pytest.mark.parametrize(
    ("word", "means"), [("true", True), ("false", False), ("False", False), ('"TRUE"', True)]
)
def test_a_switch_is_true_or_false(tmp_path: Path, word: str, means: bool) -> None:
    settings = load_text(tmp_path, f"memory: {{enabled: {word}}}\n").settings
    assert settings.memory.enabled is means
    assert written(settings)["memory.enabled"] == str(means).lower()


def test_what_is_neither_is_refused_with_both_words(tmp_path: Path) -> None:
    for word in ("yes", "1", "''", "auto"):
        assert "true or false" in only_problem(tmp_path, f"memory: {{enabled: {word}}}\n").wish


def test_origins_say_where_each_value_came_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = load_text(
        tmp_path,
        "# mine\ndream:\n  denoise: 0.3\n  mode: txt2img\n",
        DREAMLOOP_DREAM__DENOISE="0.6",
        HOME="/root",
    )
    assert loaded.settings.dream.denoise == 0.6
    assert loaded.origins["dream.denoise"] == "DREAMLOOP_DREAM__DENOISE"
    assert loaded.origins["dream.mode"] == "config.yaml:4"
    assert loaded.origins["display.fps"] == "default"
    assert list(loaded.origins) == list(keys())


def test_relative_folders_stand_beside_the_file_wherever_one_starts(tmp_path: Path) -> None:
    storage = load_text(tmp_path, "storage: {output: pictures, status: /run/x}\n").settings.storage
    assert storage.output == tmp_path / "pictures"
    assert storage.status == Path("/run/x")


def test_every_problem_is_told_at_once_with_line_key_value_and_wish(tmp_path: Path) -> None:
    text = """\
dream:
  denoise: 1.5
  siez: 768x432
  steps: 2.5
  size: 768x430
  denoise: 0.4
display:
  fps: 1:00
colour: blue
"""
    found = problems_of(tmp_path, text, DREAMLOOP_DISPLAY__FPZ="3", DREAMLOOP_STORAGE__BUDGET="2 GX")
    assert {(p.line, p.key, p.value) for p in found} == {
        (2, "dream.denoise", "1.5"),
        (3, "dream.siez", "768x432"),
        (4, "dream.steps", "2.5"),
        (5, "dream.size", "768x430"),
        (6, "dream.denoise", "0.4"),
        (8, "display.fps", "1:00"),
        (9, "colour", "blue"),
        (None, "environment", "3"),
        (None, "storage.budget", "2 GX"),
    }
    wishes = {p.key: p.wish for p in found if (p.line, p.key) != (6, "dream.denoise")}
    assert wishes["dream.denoise"] == "a number from 0.05 to 1"
    assert "did you mean dream.size?" in wishes["dream.siez"]
    assert wishes["dream.steps"] == "auto, or a whole number from 1 to 150"
    assert "divisible by 8" in wishes["dream.size"]
    assert wishes["display.fps"] == "a number from 1 to 60"
    assert "no such section" in wishes["colour"]
    assert "DREAMLOOP_DISPLAY__FPS" in wishes["environment"]
    assert '"2 GB"' in wishes["storage.budget"]


def test_a_problem_reads_as_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    problem = only_problem(tmp_path, "dream:\n  denoise: 7\n")
    assert str(problem) == "config.yaml:2: dream.denoise = 7: a number from 0.05 to 1"


@pytest.mark.parametrize(
    ("text", "line", "key", "wish"),
    [
        ("dream:\n  mode: hybird\n", 2, "dream.mode", "one of txt2img, img2img, interpolate, hybrid"),
        ("dream:\n  denoise:\n", 2, "dream.denoise", "without the line it is 0.45"),
        ("dream:\n  denoise: [1]\n", 2, "dream.denoise", "a number from 0.05 to 1"),
        ("dream:\n  denoise: yes\n", 2, "dream.denoise", "a number"),
        ("dream:\n  denoise: .nan\n", 2, "dream.denoise", "a number"),
        ("dream:\n  denoise: auto\n", 2, "dream.denoise", "a number"),
        ("dream:\n  seed: -1\n", 2, "dream.seed", "whole number from 0"),
        ("dream:\n  size: 8x8\n", 2, "dream.size", "from 64 to 4096"),
        ("dream: hybrid\n", 1, "dream", "keys of this section"),
        ("dream:\n- mode\n", 2, "dream", "keys of this section"),
        ("denoise: 0.5\n", 1, "denoise", "did you mean dream.denoise?"),
        ("dreams:\n  denoise: 0.5\n", 1, "dreams", "did you mean dream?"),
        ("display:\n  mode: hybrid\n", 2, "display.mode", "did you mean dream.mode?"),
        ("display:\n  zzzz: 1\n", 2, "display.zzzz", "display has fps, buffer_seconds, keep_seconds"),
        ("- a\n- b\n", 1, "file", "sections"),
        ("hello\n", 1, "file", "sections"),
        ("dream:\n  mode: 'hybrid\n", 3, "syntax", "quoted scalar"),
        ("comfyui:\n  url: 127.0.0.1:8188\n", 2, "comfyui.url", "http://host:port"),
        ("comfyui:\n  url: ftp://a:1\n", 2, "comfyui.url", "http://host:port"),
        ("comfyui:\n  url: http://a:99999\n", 2, "comfyui.url", "http://host:port"),
        ("comfyui:\n  url: http://[::1\n", 2, "comfyui.url", "http://host:port"),
        ("comfyui:\n  url: http://a:1/prompt\n", 2, "comfyui.url", "at most with a proxy's own path"),
        ("comfyui:\n  url: http://a:1/?x=1\n", 2, "comfyui.url", "http://host:port"),
        ("comfyui:\n  url: http://a:1/../b\n", 2, "comfyui.url", "http://host:port"),
        ("comfyui:\n  checkpoint: ../../x\n", 2, "comfyui.checkpoint", "inside its models folder"),
        ("comfyui:\n  max_json: 900 kB\n", 2, "comfyui.max_json", "from 1 MB to 4 GB"),
        ('comfyui:\n  checkpoint: " "\n', 2, "comfyui.checkpoint", "a name"),
        ("memory:\n  matcher: clib\n", 2, "memory.matcher", "package.module:Class; did you mean clip?"),
        ("memory:\n  matcher: Perceptual\n", 2, "memory.matcher", "; did you mean perceptual?"),
        (
            "memory:\n  matcher: my.matcher\n",
            2,
            "memory.matcher",
            "auto, or clip, perceptual, or a",
        ),
        ("memory:\n  matcher: 'my.matcher:'\n", 2, "memory.matcher", "package.module:Class"),
        ("memory:\n  matcher: 'my..matcher:Mine'\n", 2, "memory.matcher", "package.module:Class"),
        ("memory:\n  matcher: '../x.py:Mine'\n", 2, "memory.matcher", "package.module:Class"),
        ("storage:\n  budget: 2\n", 2, "storage.budget", "a size"),
        ("storage:\n  budget: 1 MB\n", 2, "storage.budget", "from 10 MB"),
        ('storage:\n  output: ""\n', 2, "storage.output", "a folder"),
        ("storage:\n  output: ~nobody-of-this-name/x\n", 2, "storage.output", "a folder"),
    ],
)
def test_a_mistake_is_told_with_line_key_and_wish(
    tmp_path: Path, text: str, line: int, key: str, wish: str
) -> None:
    problem = only_problem(tmp_path, text)
    assert (problem.line, problem.key) == (line, key)
    assert wish in problem.wish


def test_a_password_in_an_address_is_not_repeated(tmp_path: Path) -> None:
    problem = only_problem(tmp_path, "comfyui:\n  url: http://me:secret@host:8188\n")
    assert "secret" not in str(problem)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    for path, wish in ((tmp_path / "missing.yaml", "can be read"), (tmp_path, "can be read")):
        with pytest.raises(ConfigError) as caught:
            load_settings(path, {})
        assert str(path) in str(caught.value)
        assert wish in str(caught.value)


@pytest.mark.timeout(20)
def test_a_pipe_is_no_file_of_settings_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.yaml")
    with pytest.raises(ConfigError, match="not a regular file"):
        load_settings(tmp_path / "config.yaml", {})


def test_a_file_that_is_not_utf_8_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(b"dream:\n  sampler: caf\xe9\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path / "config.yaml", {})
    problem = caught.value.problems[0]
    assert (problem.line, problem.key, problem.value) == (2, "encoding", "byte 0xe9")


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(b"\xef\xbb\xbfdream:\r\n  denoise: 0.3\r\n")
    assert load_settings(tmp_path / "config.yaml", {}).settings.dream.denoise == 0.3


def test_a_section_whose_keys_are_all_commented_out_says_nothing(tmp_path: Path) -> None:
    assert load_text(tmp_path, "dream:\n  # denoise: 1\n").settings.dream.denoise == 0.45


def test_the_environment_is_checked_like_the_file(tmp_path: Path) -> None:
    problem = only_problem(tmp_path, "", DREAMLOOP_DREAM__DENOISE="")
    assert (problem.source, problem.line, problem.key) == ("DREAMLOOP_DREAM__DENOISE", None, "dream.denoise")


@pytest.mark.parametrize(
    ("name", "ok"), [("DREAMLOOP_HOME", True), ("DREAMLOOP_X__Y", False), ("DREAMLOOP_DREAM_DENOISE", False)]
)
def test_only_variables_that_look_like_settings_are_refused(tmp_path: Path, name: str, ok: bool) -> None:
    if ok:
        load_text(tmp_path, "", **{name: "1"})
    else:
        assert only_problem(tmp_path, "", **{name: "1"}).source == name


def test_what_show_writes_can_be_read_again(tmp_path: Path) -> None:
    settings = load_text(
        tmp_path, "dream: {size: 64x72, denoise: 0.123456789}\nstorage: {budget: 1536 MiB}\n"
    ).settings
    environ = {f"DREAMLOOP_{k.replace('.', '__').upper()}": v for k, v in written(settings).items()}
    assert load_settings(None, environ).settings == settings
    assert list(written(settings)) == list(keys())


def test_the_schema_accepts_the_file_and_refuses_what_is_refused_here() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(yaml.safe_load(DEFAULT_PATH.read_text("utf-8")))
    for bad in (
        {"dream": {"denoise": 2}},
        {"dream": {"siez": "1x1"}},
        {"dream": {"steps": 1.5}},
        {"memory": {"enabled": "sometimes"}},
        {"colour": {}},
    ):
        assert not validator.is_valid(bad), bad
    json.dumps(schema)


def test_every_key_has_a_wish_and_a_default_that_is_right() -> None:
    assert all(wish_of(field) for field in keys().values())
    Settings.model_validate({})


@given(st.integers(8, 512), st.integers(8, 512))
def test_every_size_of_eights_is_read_as_it_is_written(width: int, height: int) -> None:
    size = Size(width * 8, height * 8)
    assert read_size(str(size)) == size


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_every_other_size_is_refused(width: int, height: int) -> None:
    good = all(64 <= side <= 4096 and side % 8 == 0 for side in (width, height))
    try:
        assert read_size(f"{width}x{height}") == Size(width, height)
        assert good
    except ValueError:
        assert not good


@given(st.integers(10**7, 10**14))
def test_every_number_of_bytes_is_read_as_it_is_written(count: int) -> None:
    assert read_bytes(write_bytes(count)) == count


@pytest.mark.parametrize(
    ("text", "count"),
    [("500 MB", 500_000_000), ("2GB", 2 * 10**9), ("1.5 GiB", 3 * 2**29), ("50000000 B", 5 * 10**7)],
)
def test_sizes_of_files_are_read_as_people_write_them(text: str, count: int) -> None:
    assert read_bytes(text) == count


@examples(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(max_size=60) | st.text("a", min_size=250, max_size=300), st.sampled_from(list(keys())))
def test_any_value_of_any_key_is_taken_or_refused_with_its_key(
    tmp_path: Path, text: str, dotted: str
) -> None:
    section, key = dotted.split(".")
    try:
        load_text(tmp_path, f"{section}:\n  {key}: {json.dumps(text)}\n")
    except ConfigError as error:
        assert {problem.line for problem in error.problems} == {2}  # noqa: PT017 - both ends are right


@pytest.mark.parametrize(
    "text",
    [
        "comfyui: {header: Bearer s3cr3t}",
        "comfyui: {Authorization: Bearer s3cr3t}",
        "comfyui: {headers: {a: 1, a: s3cr3t}}",
        "comfyui: {headers: {a: 1}, headers: s3cr3t}",
        "headers: Bearer s3cr3t",
        "dream: {header: s3cr3t}",
    ],
)
def test_a_secret_under_a_wrong_key_is_not_repeated(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_settings(tmp_path / "config.yaml", {})
    assert "s3cr3t" not in str(refused.value)
    assert "***" in str(refused.value)


@pytest.mark.parametrize(
    "name", ["DREAMLOOP_COMFYUI__HEADER", "DREAMLOOP_COMFYUI__TOKEN", "DREAMLOOP_X__HEADERS"]
)
def test_a_secret_in_a_wrong_variable_is_not_repeated(name: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_settings(None, {name: "{Authorization: Bearer s3cr3t}"})
    assert "s3cr3t" not in str(refused.value)


def test_where_files_are_is_known_whatever_else_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("storage: {output: here}\ndream: {denoise: 7}\nwhat: 3\n")
    assert load_storage(path, {"DREAMLOOP_DREAM__SIZE": "1"}).output == tmp_path / "here"
    for wrong in ("storage: {output: here, budget: 1}\n", "storage: {output: [\n", "storage: {outputt: a}\n"):
        path.write_text(wrong)
        with pytest.raises(ConfigError):
            load_storage(path, {})


def test_a_problem_knows_the_column_of_its_value_or_of_a_key_that_there_is_not(tmp_path: Path) -> None:
    text = "dream:\n  denoise:    7\n    # far in\n  siez: 1\n"
    found = problems_of(tmp_path, text)
    assert [(one.key, one.line, one.column) for one in found] == [
        ("dream.siez", 4, 3),
        ("dream.denoise", 2, 15),
    ]
