from __future__ import annotations

import logging
import random
from pathlib import Path
from typing import Any

import pytest

from backend.core.desk import Desk
from backend.core.node_catalog import NodeCatalog
from backend.utils.logs import LogTail
from backend.utils.prompt_manager import SAID_THEME, PromptManager
from backend.utils.status_schema import State, Status, StatusBody
from backend.utils.status_writer import compose
from tests.utils.test_prompt_manager import NOON

_NODES = {
    "LoraLoader": {
        "input": {"required": {"lora_name": [["ink.safetensors"]]}},
        "output": ["MODEL", "CLIP"],
        "output_node": False,
    }
}


class Dreamer:
    def __init__(self) -> None:
        self.told: list[str] = []

    def pause(self) -> None:
        self.told.append("pause")

    def resume(self) -> None:
        self.told.append("resume")

    def next_theme(self) -> None:
        self.told.append("next")


class Writer:
    written = 0

    @property
    def latest(self) -> Status:
        body = StatusBody(state=State.DREAMING)
        return compose(body, boot_id="b", pid=1, sequence=1, updated_at=NOON, uptime_s=1.0)

    def publish(self) -> None:
        self.written += 1


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Office:
    """A desk with everything behind it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "a.yaml").write_text("name: sea\npositive: waves\nnegative: fire\n")
        (folder / "b.yaml").write_text("name: sky\npositive: clouds\n")
        self.prompts = PromptManager(
            folder, seconds_per_theme=300, seconds_per_prompt=60, order="sequential", rng=random.Random(1)
        )
        self.dreamer, self.writer, self.lines, self.clock = Dreamer(), Writer(), LogTail(), Clock()
        self.stops = 0
        self.desk = Desk(
            self.dreamer,
            self.prompts,
            self.writer,
            stop=self._stop,
            memory=lambda asked: {"ok": True, "asked": dict(asked)},
            catalog=lambda: NodeCatalog.parse(_NODES),
            lines=self.lines,
            clock=self.clock,
        )

    def _stop(self) -> None:
        self.stops += 1

    def ask(self, command: str, **details: object) -> dict[str, Any]:
        return self.desk.obey({"command": command, **details})


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


@pytest.mark.parametrize("command", ["pause", "resume", "next"])
def test_the_loop_is_told_and_the_status_written_anew(office: Office, command: str) -> None:
    assert office.ask(command) == {"ok": True, "state": "dreaming"}
    assert office.dreamer.told == [command]
    assert office.writer.written == 1


def test_stop_ends_the_daemon_once(office: Office) -> None:
    assert office.ask("stop")["ok"]
    assert office.stops == 1


def test_what_is_said_is_dreamt_for_a_while_and_then_the_themes_go_on(office: Office) -> None:
    assert office.prompts.current(office.clock(), NOON).positive == "waves"
    assert office.ask("say", text=" a red \n lighthouse ", seconds=30)["text"] == "a red lighthouse"
    said = office.prompts.current(office.clock(), NOON)
    assert (said.theme, said.positive, said.negative) == (SAID_THEME, "a red lighthouse", "fire")
    assert office.prompts.current(office.clock() + 29.9, NOON).theme == SAID_THEME
    assert office.prompts.current(office.clock() + 30.0, NOON).positive == "waves"


@pytest.mark.parametrize("text", ["", "  ", "a\0b", "x" * 4001, None])
def test_words_that_cannot_be_dreamt_are_refused_and_change_nothing(office: Office, text: object) -> None:
    answer = office.ask("say", text=text)
    assert not answer["ok"]
    assert office.prompts.said(office.clock()) is None
    assert office.writer.written == 0


@pytest.mark.parametrize("seconds", [-1, 1e9, "ten", True, float("nan")])
def test_a_time_that_makes_no_sense_is_refused_by_name(office: Office, seconds: object) -> None:
    assert "seconds" in office.ask("say", text="a sea", seconds=seconds)["error"]


def test_turning_to_a_theme_ends_what_was_said(office: Office) -> None:
    office.ask("say", text="a red lighthouse")
    assert office.ask("theme", name="sky")["ok"]
    assert office.prompts.current(office.clock(), NOON).positive == "clouds"
    assert "sea, sky" in office.ask("theme", name="mud")["error"]


def test_a_good_theme_is_written_and_taken_up_at_once(office: Office) -> None:
    answer = office.ask("save_theme", file="c.yaml", text="name: snow\npositive: flakes\n")
    assert answer["saved"]
    assert (office.folder / "c.yaml").read_text() == "name: snow\npositive: flakes\n"
    assert office.prompts.themes == ("sea", "sky", "snow")
    assert office.ask("theme_text", name="snow")["text"].startswith("name: snow")


def test_a_bad_theme_is_not_written_and_its_problems_have_lines(office: Office) -> None:
    before = (office.folder / "a.yaml").read_text()
    answer = office.ask("save_theme", file="a.yaml", text="name: sea\nweight: many\npositive: waves\n")
    assert not answer["saved"]
    assert answer["problems"][0]["key"] == "weight"
    assert answer["problems"][0]["line"] == 2
    assert (office.folder / "a.yaml").read_text() == before


def test_a_theme_cannot_take_the_name_of_another(office: Office) -> None:
    answer = office.ask("save_theme", file="c.yaml", text="name: sea\npositive: more waves\n")
    assert not answer["saved"]
    assert not (office.folder / "c.yaml").exists()


@pytest.mark.parametrize("file", ["../x.yaml", "/etc/x.yaml", "x.yaml\0", "x.txt", ".yaml", "a/b.yaml", ""])
def test_no_file_outside_the_themes_is_written(office: Office, file: str) -> None:
    assert not office.ask("save_theme", file=file, text="name: n\npositive: p\n")["ok"]
    assert sorted(path.name for path in office.folder.iterdir()) == ["a.yaml", "b.yaml"]


def test_models_are_those_that_the_engine_last_told_of(office: Office) -> None:
    models = office.ask("models")["models"]
    assert models["loras"] == ["ink.safetensors"]
    assert models["checkpoints"] == []


def test_the_log_gives_the_lines_behind_a_number(office: Office) -> None:
    log = logging.getLogger("test-desk")
    log.setLevel(logging.INFO)
    log.addHandler(office.lines)
    try:
        log.info("one")
        log.warning("two %s", "words")
    finally:
        log.removeHandler(office.lines)
    assert [line["text"] for line in office.ask("log")["lines"]] == ["one", "two words"]
    lines = office.ask("log", after=1)["lines"]
    assert [(line["number"], line["level"]) for line in lines] == [(2, "warning")]


def test_the_memory_is_asked_by_whoever_keeps_it(office: Office) -> None:
    assert office.ask("memory", action="ls")["asked"]["action"] == "ls"


def test_an_unknown_command_is_answered_with_those_that_there_are(office: Office) -> None:
    answer = office.ask("dance")
    assert not answer["ok"]
    assert "pause" in answer["error"]
    assert "memory" in answer["error"]
