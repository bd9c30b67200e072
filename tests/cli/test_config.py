from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from backend.cli import config as command
from backend.config import json_schema, keys

ROOT = Path(__file__).parents[2]


def parsed(*words: str, config: Path | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["config", *words])
    args.config = config
    return args


def test_check_says_that_all_is_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_text("dream:\n  denoise: 0.3\n")
    args = parsed("check", config=tmp_path / "config.yaml")
    assert args.handler(args) == 0
    assert (
        f"1 settings from the file, 0 from the environment, {len(keys()) - 1} by default"
        in capsys.readouterr().out
    )


def test_check_tells_every_problem_and_exits_78(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_text("dream:\n  denoise: 7\n  sise: 3\n")
    args = parsed("check", config=tmp_path / "config.yaml")
    assert args.handler(args) == 78
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "config.yaml:2: dream.denoise = 7: a number from 0.05 to 1" in printed.err
    assert "did you mean dream.size?" in printed.err
    assert printed.err.endswith("2 problems\n")


def test_check_tells_what_no_server_could_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_text(
        "comfyui: {family: SDXXL}\ndream: {adapters: [{speed_up: Magic}]}\n"
    )
    args = parsed("check", config=tmp_path / "config.yaml")
    assert args.handler(args) == 78
    printed = capsys.readouterr().err
    assert "comfyui.family = SDXXL" in printed
    assert "one of EasyCache" in printed
    assert printed.endswith("2 problems\n")


def test_show_tells_each_value_and_where_it_is_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DREAMLOOP_DISPLAY__FPS", "24")
    (tmp_path / "config.yaml").write_text("dream:\n  denoise: 0.3\n")
    args = parsed("show", config=tmp_path / "config.yaml")
    assert args.handler(args) == 0
    shown = {
        line.split(":")[0]: line.split(": ", 1)[1].split() for line in capsys.readouterr().out.splitlines()
    }
    assert list(shown) == list(keys())
    assert shown["dream.denoise"] == ["0.3", "#", "config.yaml:2"]
    assert shown["display.fps"] == ["24", "#", "DREAMLOOP_DISPLAY__FPS"]
    assert shown["dream.mode"] == ["hybrid", "#", "default"]
    assert shown["storage.output"][0] == str(tmp_path / "output")


def test_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    args = parsed("schema")
    assert args.handler(args) == 0
    assert json.loads(capsys.readouterr().out) == json_schema()


def test_declaring_the_commands_loads_nothing_heavy() -> None:
    code = (
        "import argparse, sys\n"
        "from backend.cli import config, control, live_line, status\n"
        "parsers = argparse.ArgumentParser().add_subparsers()\n"
        "for module in (config, control, status): module.add_parser(parsers)\n"
        "print([name for name in ('pydantic', 'yaml', 'numpy', 'torch', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, check=True)
    assert done.stdout == "[]\n"
