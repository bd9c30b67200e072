"""The examples for other displays, held against what a dream really writes."""

from __future__ import annotations

import configparser
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from backend.utils.status_schema import (
    DisplayStatus,
    DreamStatus,
    FrameStatus,
    Reason,
    ReasonCode,
    State,
    StatusBody,
    status_json_schema,
)
from backend.utils.status_writer import compose

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = DOCS / "displays"


def status_text(
    state: State = State.DREAMING, age_s: float = 0.5, reason: Reason | None = None, frame: bool = True
) -> str:
    """status.json as the daemon writes it."""
    shown = FrameStatus(
        sequence=123,
        file="frames/000000123.png",
        sha256="0" * 64,
        bytes=1,
        width=64,
        height=40,
        format="png",
        kind="in_between",
        theme="sea",
        shown_at="2026-01-02T03:04:05.678Z",
        duration_s=0.1,
    )
    body = StatusBody(
        state=state,
        reason=reason or Reason(),
        frame=shown if frame else None,
        dream=DreamStatus(theme="sea", prompt='a "quiet" sea'),
        display=DisplayStatus(shown_fps=9.96),
    )
    status = compose(
        body,
        boot_id="b",
        pid=1,
        sequence=7,
        updated_at=datetime.now(UTC) - timedelta(seconds=age_s),
        uptime_s=1.0,
    )
    return json.dumps(status.model_dump(mode="json"), ensure_ascii=False, separators=(",", ":"))


@pytest.fixture(scope="module")
def line() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dreamloop_line", EXAMPLES / "dreamloop_line.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


AWAY = Reason(code=ReasonCode.ENGINE_UNREACHABLE, sentence="is ComfyUI running there?")


@pytest.mark.parametrize(
    ("status", "text", "stale"),
    [
        ({}, "dreaming · sea · 10.0 fps", False),
        ({"age_s": 30.0}, "stalled · sea", True),
        (
            {"state": State.REMEMBERING, "reason": AWAY},
            "remembering · sea · is ComfyUI running there?",
            False,
        ),
        ({"state": State.PAUSED}, "paused · sea", False),
        ({"state": State.STARTING, "frame": False}, "starting · sea", False),
    ],
)
def test_the_line_tells_state_theme_and_staleness(
    line: ModuleType, status: dict[str, Any], text: str, stale: bool
) -> None:
    told = line.told(json.loads(status_text(**status)), "/dream/output/")
    assert (told["text"], told["stale"]) == (text, stale)
    assert told["picture"] == ("/dream/output/frames/000000123.png" if status.get("frame", True) else "")


def test_the_line_runs_as_a_program_and_bears_a_missing_or_broken_status(tmp_path: Path) -> None:
    path = tmp_path / "status.json"

    def run(*words: str) -> str:
        program = [sys.executable, str(EXAMPLES / "dreamloop_line.py"), *words]
        return subprocess.run(program, capture_output=True, text=True, check=True, timeout=30).stdout

    assert run(str(path)) == "no dream\n"
    path.write_text("{")
    assert json.loads(run("--json", str(path), str(tmp_path)))["stale"] is True
    path.write_text(status_text())
    assert json.loads(run("--json", str(path), "/o"))["picture"] == "/o/frames/000000123.png"


def test_the_widget_for_the_mac_shows_picture_state_and_staleness(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node (apt-get install nodejs)")
    widget = (EXAMPLES / "dreamloop.jsx").read_text()
    stub = "const React = { createElement: (kind, props, ...inner) => ({ kind, props, inner }) };"
    module = tmp_path / "widget.mjs"
    module.write_text(widget.replace('import { React } from "uebersicht";', stub))
    cases = [status_text(), status_text(age_s=30.0), status_text(frame=False), "", status_text(reason=AWAY)]
    calls = (
        f"import {{ render, command, refreshFrequency }} from {json.dumps(module.as_uri())};"
        f"const made = {json.dumps(cases)}.map((output) => render({{ output }}));"
        "console.log(JSON.stringify({ made, command, refreshFrequency }));"
    )
    done = subprocess.run(
        [node, "--input-type=module", "-e", calls], capture_output=True, text=True, check=True, timeout=60
    )
    told = json.loads(done.stdout)
    fresh, stalled, unshown, none, away = told["made"]
    assert fresh["inner"][0]["props"]["src"] == "http://127.0.0.1:8422/api/frames/123"
    assert [one["inner"][-1] for one in (fresh, stalled, unshown, none, away)] == [
        "dreaming · sea",
        "stalled · sea",
        "dreaming · sea",
        "no dream",
        "dreaming · sea · is ComfyUI running there?",
    ]
    assert stalled["props"]["style"]["opacity"] < fresh["props"]["style"]["opacity"]
    assert told["command"] == 'cat "$HOME/dreamloop/status/status.json"'


def rainmeter() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=True, interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string((EXAMPLES / "Dreamloop.ini").read_text())
    return parser


def test_the_skin_for_windows_finds_what_it_looks_for() -> None:
    skin = rainmeter()
    # PCRE's U turns greed round; Python says so at each place.
    expression = skin["MeasureStatus"]["RegExp"].replace("(?siU)", "(?si)").replace(".*", ".*?")
    found = re.match(expression, status_text())
    assert found is not None
    assert found[1] == "dreaming"
    assert found[2].startswith("a ")
    assert datetime.strptime(found[3], "%Y-%m-%dT%H:%M:%S")
    assert found[4] == "123"
    assert re.match(expression, status_text(frame=False)) is not None


def test_every_name_in_the_skin_is_a_section_of_it() -> None:
    skin = rainmeter()
    sections = set(skin.sections())
    for name in sections:
        for key, value in skin[name].items():
            if key.startswith("MeasureName"):
                assert value in sections
            for used in re.findall(r"\[(Me[a-z]+[A-Z][A-Za-z]*)\]", value):
                assert used in sections, (name, key, used)
            for used in re.findall(r"!(?:SetOption|UpdateMeter|CommandMeasure) (\w+)", value):
                assert used in sections, (name, key, used)
        if name.startswith(("Measure", "Meter")):
            assert {"Measure", "Meter"} & set(skin[name])
    for index in range(1, 5):
        assert any(skin[name].get("StringIndex") == str(index) for name in sections)


def balanced(text: str, pairs: str = "()[]{}", comment: str = ";") -> bool:
    """Whether brackets close in order, outside of texts and comments."""
    text = re.sub(r'"(?:\\.|[^"\\])*"', '""', text)
    text = re.sub(rf"{re.escape(comment)}.*", "", text)
    opened = []
    closing = dict(zip(pairs[1::2], pairs[::2], strict=True))
    for sign in text:
        if sign in closing.values():
            opened.append(sign)
        elif sign in closing and (not opened or opened.pop() != closing[sign]):
            return False
    return not opened


def test_the_widget_for_wayland_is_whole_and_asks_for_what_the_line_gives(line: ModuleType) -> None:
    text = (EXAMPLES / "eww.yuck").read_text()
    assert balanced(text)
    initial = re.search(r':initial "((?:\\.|[^"\\])*)"', text)
    assert initial is not None
    given = json.loads(initial[1].replace('\\"', '"'))
    told = line.told(json.loads(status_text()), "/o")
    assert set(given) == set(told) == set(line.told(None))
    assert set(re.findall(r"dream\.(\w+)", text)) <= set(told)
    assert "dreamloop_line.py --json" in text


def test_the_widget_for_x_is_whole() -> None:
    text = (EXAMPLES / "dreamloop.conkyrc").read_text()
    assert balanced(text.replace("'", '"'), comment="--")
    assert text.count("${") == text.count("}") - 1  # the closing one of conky.config
    assert "output/current_frame.png" in text
    assert "dreamloop_line.py /home/you/dreamloop/status/status.json" in text
    options = re.findall(r"^    (\w+) = .+,$", text, re.MULTILINE)
    assert len(options) == len(set(options)) > 10


def paths_of(schema: dict[str, Any], part: dict[str, Any], prefix: str = "") -> set[str]:
    """Every dotted key of the status."""
    found = set()
    for name, value in part.get("properties", {}).items():
        found.add(f"{prefix}{name}")
        for choice in [value, *value.get("anyOf", []), *value.get("allOf", [])]:
            if "$ref" in choice:
                inner = schema["$defs"][choice["$ref"].rsplit("/", 1)[1]]
                found |= paths_of(schema, inner, f"{prefix}{name}.")
    return found


def test_every_key_that_an_example_reads_is_one_of_the_status() -> None:
    schema = status_json_schema()
    known = paths_of(schema, schema)
    widget, program = ((EXAMPLES / name).read_text() for name in ("dreamloop.jsx", "dreamloop_line.py"))
    read = set(re.findall(r"status\.((?:[a-z_]+\.)*[a-z_]+)", widget.replace("status.json", "")))
    read |= {
        ".".join(re.findall(r'\["(\w+)"\]', keys)) for keys in re.findall(r'status((?:\["\w+"\])+)', program)
    }
    read |= {f"frame.{key}" for key in re.findall(r'frame\["(\w+)"\]', program)}
    read |= set(re.findall(r'"(\w+)":', rainmeter()["MeasureStatus"]["RegExp"]))
    assert {"updated_at", "dream.theme", "frame.file", "frame.sequence"} <= read
    assert read <= known, read - known


def test_the_page_names_files_that_are_there_and_keys_of_the_settings() -> None:
    from backend.config import keys

    text = (DOCS / "displays.md").read_text()
    for target in re.findall(r"\]\((displays/[^)]+)\)", text):
        assert (DOCS / target).is_file()
    assert {f"displays/{path.name}" for path in EXAMPLES.iterdir() if path.is_file()} <= set(
        re.findall(r"\]\(([^)]+)\)", text)
    )
    for key in re.findall(r"`((?:shim|mqtt|display|storage)\.\w+)", text):
        assert key in keys()


def test_the_topics_on_the_page_are_those_of_the_bridge() -> None:
    from backend.mqtt.topics import Topics

    text = (DOCS / "displays.md").read_text()
    topics = Topics("dreamloop", "homeassistant", "1")
    assert {topics.availability, topics.state, topics.image, *topics.commands} == set(
        re.findall(r"`(dreamloop/[a-z_/]+)`", text)
    )
