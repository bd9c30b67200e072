"""``main.py memory`` where no daemon runs; through a daemon it is asked in tests/end_to_end."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import backend.memory_assembly
from backend.cli import exit_codes
from backend.errors import NoDaemon
from main import main
from tests.fakes.memory_engine import picture

Said = tuple[int, str, str]
Ask = Callable[..., Said]

_CONFIG = "storage: {{output: out, status: st}}\ndream: {{size: 64x64}}\nmemory: {{{memory}}}\n"


@pytest.fixture
def ask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Runs one command: its exit status, and what it says."""
    path = tmp_path / "config.yaml"
    path.write_text(_CONFIG.format(memory="matcher: perceptual"))

    def run(*words: object) -> Said:
        status = main(["--config", str(path), "memory", *map(str, words)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A folder of two pictures and of two files that are none."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for seed in (1, 2):
        (folder / f"{seed}.png").write_bytes(picture(seed))
    (folder / "words.png").write_text("no picture")
    (folder / "red \x1b[31m.png").write_text("no picture")
    return folder


def _ids(ask: Ask) -> list[str]:
    return [memory["id"] for memory in json.loads(ask("--json", "ls")[1])["memories"]]


def test_pictures_of_ones_own_come_in_and_what_is_none_is_named(ask: Ask, mine: Path) -> None:
    status, said, _ = ask("import", "--pictures", mine)
    assert status == exit_codes.OK
    assert "2 added, 2 not" in said
    assert "  words.png: broken: 10 bytes: no picture" in said
    assert "\x1b" not in said
    assert len(_ids(ask)) == 2


def test_what_is_there_already_is_counted_and_pinned_if_that_is_wished(ask: Ask, mine: Path) -> None:
    ask("import", "--pictures", mine)
    _, said, _ = ask("import", "--pictures", "--pinned", mine)
    assert "0 added, 4 not\n  2 were there already\n" in said
    assert all("pinned: yes" in ask("show", one)[1] for one in _ids(ask))


def test_an_export_comes_back_and_says_what_was_there(ask: Ask, mine: Path, tmp_path: Path) -> None:
    ask("import", "--pictures", mine)
    assert ask("export", tmp_path / "all.zip")[1] == "2 memories written\n"
    assert ask("forget", _ids(ask)[0])[0] == exit_codes.OK
    assert ask("import", tmp_path / "all.zip")[1] == "1 added, 1 not\n  1 were there already\n"


def test_check_tells_what_is_wrong_and_mends_it_when_told_to(ask: Ask, mine: Path, tmp_path: Path) -> None:
    ask("import", "--pictures", mine)
    for path in (tmp_path / "out" / "memory" / "pictures").rglob("*.png"):
        path.write_bytes(path.read_bytes()[:100])
        break
    status, said, _ = ask("check")
    assert (status, said.splitlines()[-1]) == (
        exit_codes.REFUSED,
        "`memory check --repair` mends what can be",
    )
    status, said, _ = ask("check", "--repair")
    assert (status, said.splitlines()[-1]) == (exit_codes.OK, "all of it is mended")
    assert ask("check")[1].splitlines()[-1] == "nothing is wrong"


def test_a_question_loads_and_downloads_nothing(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.yaml").write_text(_CONFIG.format(memory="matcher: clip, clip_download: allowed"))
    monkeypatch.setattr(
        backend.memory_assembly, "matcher_of", lambda _: pytest.fail("somebody to judge was sent for")
    )
    assert ask("ls")[1] == "0 memories, 0.0 MB\n"
    assert ask("check")[0] == exit_codes.OK


def test_a_memory_that_is_switched_off_says_so_and_how_to_look_all_the_same(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.yaml").write_text(_CONFIG.format(memory="enabled: false"))
    status, _, said = ask("ls")
    assert status == exit_codes.REFUSED
    assert "switched off (memory.enabled: false); with DREAMLOOP_MEMORY__ENABLED=true" in said
    assert not (tmp_path / "out").exists()
    monkeypatch.setenv("DREAMLOOP_MEMORY__ENABLED", "true")
    assert ask("ls")[0] == exit_codes.OK


@pytest.mark.parametrize(
    "words", [("--limit", "0"), ("--limit", "many"), ("--offset", "-1"), ("--offset", "99999999999999999999")]
)
def test_a_number_that_makes_no_sense_is_refused_by_name(
    ask: Ask, words: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        ask("ls", *words)
    assert caught.value.code == exit_codes.USAGE
    assert f"argument {words[0]}: '{words[1]}': a whole number from " in capsys.readouterr().err


@pytest.mark.parametrize("action", ["show", "pin", "unpin", "forget"])
def test_an_id_that_is_no_text_is_refused_by_name(
    ask: Ask, action: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        ask(action, os.fsdecode(b"ab\xff\xfe"))
    assert caught.value.code == exit_codes.USAGE
    assert r"argument id: 'ab\udcff\udcfe': text in UTF-8" in capsys.readouterr().err


def test_a_daemon_that_ends_while_it_works_on_the_memory_is_told_in_a_sentence(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answers = iter([{"ok": True}, {"ok": True, "task": 1, "done": False}])

    def daemon(path: Path, *_: object) -> dict[str, object]:
        try:
            return next(answers)
        except StopIteration:
            raise NoDaemon(path, "Connection refused") from None

    monkeypatch.setattr("backend.utils.control.ask", daemon)
    monkeypatch.setattr("backend.cli.memory._POLL_S", 0.0)
    assert ask("export", tmp_path / "all.zip") == (
        exit_codes.NO_DAEMON,
        "",
        "the daemon went away before it was done with that: no Dreamloop answers at "
        f"{tmp_path / 'st' / 'control.sock'}: Connection refused\n",
    )


def test_an_option_that_an_export_has_no_use_for_is_refused_before_anything_is_done(
    ask: Ask, tmp_path: Path
) -> None:
    status, _, said = ask("import", "--pinned", tmp_path / "all.zip")
    assert status == exit_codes.USAGE
    assert said.startswith("--pinned: only with --pictures; an export itself says which")
    assert not (tmp_path / "out").exists()


def test_an_archive_of_a_kind_that_cannot_be_written_is_refused_with_what_can(
    ask: Ask, tmp_path: Path
) -> None:
    status, _, said = ask("export", tmp_path / "all.tar.gz")
    assert status == exit_codes.REFUSED
    assert "can be written to a new folder, .zip or .tar, not .gz" in said


def test_what_a_check_names_writes_no_commands_to_the_terminal(ask: Ask, mine: Path, tmp_path: Path) -> None:
    ask("import", "--pictures", mine)
    strange = tmp_path / "out" / "memory" / "pictures" / "ab" / os.fsdecode(b"\x1b[31m\xff.png")
    strange.parent.mkdir(exist_ok=True)
    strange.write_bytes(b"")
    status, said, _ = ask("check")
    assert (status, said.encode().count(b"\x1b")) == (exit_codes.OK, 0)
