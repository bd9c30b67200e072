from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from backend.utils.logs import form_of, set_up_logging


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def told(form: str) -> str:
    stream = io.StringIO()
    set_up_logging("info", stream, form)
    log = logging.getLogger("test-forms")
    log.warning("a %s\nline", "two")
    try:
        raise ValueError("no")
    except ValueError:
        log.exception("it broke")
    return stream.getvalue()


def test_json_lines_are_objects_with_time_level_and_message() -> None:
    lines = [json.loads(line) for line in told("json").splitlines()]
    assert [(one["level"], one["message"], one["logger"]) for one in lines] == [
        ("warning", "a two\nline", "test-forms"),
        ("error", "it broke", "test-forms"),
    ]
    assert "ValueError: no" in lines[1]["traceback"]
    assert lines[0]["time"].endswith("Z")


def test_every_line_for_journald_begins_with_its_level() -> None:
    lines = told("journal").splitlines()
    assert lines[0] == r"<4>a two\nline"
    assert lines[1] == "<3>it broke"
    assert len(lines) > 3
    assert all(line.startswith("<3>") for line in lines[1:])


@pytest.mark.parametrize(
    ("wish", "environ", "form"),
    [
        ("auto", {}, "text"),
        ("auto", {"JOURNAL_STREAM": "8:1"}, "journal"),
        ("json", {"JOURNAL_STREAM": "8:1"}, "json"),
    ],
)
def test_journald_is_written_for_where_it_listens(wish: str, environ: dict[str, str], form: str) -> None:
    assert form_of(wish, environ) == form
