from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from backend.cli import setting
from backend.utils.control import ControlServer


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="dl"))
    (path / "config.yaml").write_text("storage: {status: status}\ndream:\n  denoise: 0.3  # mine\n")
    yield path
    shutil.rmtree(path)


def run(folder: Path, *words: str) -> int:
    parser = argparse.ArgumentParser()
    setting.add_parser(parser.add_subparsers())
    args = parser.parse_args(words)
    args.config = folder / "config.yaml"
    return int(args.handler(args))


@contextmanager
def daemon(folder: Path, **config: Any) -> Iterator[list[dict[str, Any]]]:
    """One that takes the third question to be done, and then says so much of its settings."""
    heard: list[dict[str, Any]] = []

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        heard.append(request)
        told = {"file": str(folder / "config.yaml"), "problems": [], "needs_restart": [], **config}
        return {"ok": True, "number": 1, "done": len(heard) > 2, "config": told}

    server = ControlServer(folder / "status" / "control.sock", answer)
    server.start()
    try:
        yield heard
    finally:
        server.stop()


def test_without_a_daemon_it_holds_from_the_next_start(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, "set", "dream.denoise", "0.35") == 0
    said = capsys.readouterr().out
    assert f"dream.denoise is 0.35 in {folder / 'config.yaml'}:3 now, it was 0.3\n" in said
    assert "no dream is running" in said
    assert "  denoise: 0.35  # mine\n" in (folder / "config.yaml").read_text()
    assert run(folder, "set", "dream.denoise", "0.35") == 0
    assert "already" in capsys.readouterr().out


def test_a_daemon_is_asked_until_it_has_taken_it_up(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with daemon(folder) as heard:
        assert run(folder, "set", "dream.denoise", "0.35") == 0
    assert heard == [{"command": "reload"}, *[{"command": "reload", "number": 1}] * 2]
    assert "it holds from now on" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"needs_restart": [{"key": "dream.denoise", "now": "1", "next": "2"}]}, "from the next start"),
        ({"problems": [{"key": "dream.mode", "wish": "another"}]}, "keeps what it had: dream.mode: another"),
        ({"file": "/elsewhere.yaml"}, "goes by /elsewhere.yaml: it does not hold there"),
        ({"file": None}, "goes by no file"),
    ],
)
def test_what_the_daemon_makes_of_it_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str], config: dict[str, Any], said: str
) -> None:
    with daemon(folder, **config):
        assert run(folder, "set", "dream.denoise", "0.35") == 0
    assert said in capsys.readouterr().out


def test_the_environment_is_said_to_win(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DREAMLOOP_DREAM__DENOISE", "0.9")
    assert run(folder, "set", "dream.denoise", "0.35") == 0
    assert "but DREAMLOOP_DREAM__DENOISE in the environment wins" in capsys.readouterr().out


def test_a_wrong_value_is_refused_and_nothing_changes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (folder / "config.yaml").read_bytes()
    assert run(folder, "set", "dream.denoise", "7") == 78
    assert run(folder, "set", "dream.workflow", "nowhere") == 78
    assert run(folder, "set", "prompts.folder", "nowhere") == 78
    said = capsys.readouterr().err
    for words in (
        "nothing is changed",
        ":3: dream.denoise = 7: a number",
        "workflow",
        "one YAML file a theme",
    ):
        assert words in said
    assert (folder / "config.yaml").read_bytes() == before


def test_unset_takes_the_key_out(folder: Path) -> None:
    assert run(folder, "set", "dream.denoise", "--unset") == 0
    assert "denoise" not in (folder / "config.yaml").read_text()
    assert "# mine" in (folder / "config.yaml").read_text()


def test_a_value_or_unset_must_be_given(folder: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(folder, "set", "dream.denoise")


def test_a_reload_tells_what_waits_and_what_is_wrong(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, "reload") == 69
    with daemon(folder, needs_restart=[{"key": "dream.seed", "now": "auto", "next": "2"}]):
        assert run(folder, "reload") == 0
    assert "dream.seed is auto, and 2 from the next start on\nreload: done" in capsys.readouterr().out
    problem = {"source": "config.yaml", "line": 3, "key": "dream.denoise", "wish": "a number"}
    with daemon(folder, problems=[problem]):
        assert run(folder, "reload") == 78
    assert "config.yaml:3 dream.denoise: a number" in capsys.readouterr().err
