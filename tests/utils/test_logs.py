from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from backend.utils.logs import EVENT, RepeatFilter, set_up_logging


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    stream = io.StringIO()
    set_up_logging("info", stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


def record(message: str, *args: object, level: int = logging.WARNING, name: str = "x") -> logging.LogRecord:
    return logging.LogRecord(name, level, "file.py", 1, message, args, None)


def test_a_line_is_plain(stream: io.StringIO) -> None:
    logging.getLogger("dreamloop.test").warning("the engine %s", "slept")
    assert stream.getvalue().endswith(" WARNING the engine slept\n")
    assert stream.getvalue()[:2] == "20"


def test_levels_below_the_chosen_one_are_silent(stream: io.StringIO) -> None:
    logging.getLogger("dreamloop.test").debug("nothing")
    logging.getLogger("urllib3").info("nothing either")
    assert stream.getvalue() == ""


def test_set_up_twice_writes_once(stream: io.StringIO) -> None:
    set_up_logging("info", stream)
    logging.getLogger("dreamloop.test").info("once")
    assert stream.getvalue().count("once") == 1


def test_foreign_line_ends_and_terminal_commands_are_only_text(stream: io.StringIO) -> None:
    logging.getLogger("dreamloop.test").info("%s", "a\nERROR forged \x1b[31m änd 🌿")
    assert stream.getvalue().count("\n") == 1
    assert "a\\nERROR forged \\x1b[31m änd 🌿" in stream.getvalue()


def test_tracebacks_keep_their_lines(stream: io.StringIO) -> None:
    try:
        raise ValueError("oops")
    except ValueError:
        logging.getLogger("dreamloop.test").exception("it stumbled")
    assert "ValueError: oops" in stream.getvalue()


def test_on_a_terminal_the_live_line_is_wiped_first(stream: io.StringIO) -> None:
    terminal = Terminal()
    set_up_logging("info", terminal)
    logging.getLogger("dreamloop.test").info("hello")
    assert terminal.getvalue().startswith("\r\x1b[K20")


def test_the_same_message_passes_once_a_minute_and_counts_the_rest() -> None:
    clock = Clock()
    repeats = RepeatFilter(clock=clock)
    passed = []
    for second in range(125):
        clock.now_s = float(second)
        line = record("no answer from %s (try %d)", "http://127.0.0.1:8188", second)
        if repeats.filter(line):
            passed.append(line.getMessage())
    assert [text.partition("(try")[2] for text in passed] == [
        " 0)",
        " 60) (and 59 more like it)",
        " 120) (and 59 more like it)",
    ]


def test_ids_do_not_make_a_message_another_one() -> None:
    repeats = RepeatFilter(clock=Clock())
    assert repeats.filter(record("job %s lost", "0f8fad5b-d9cb-469f-a165-70867728950e"))
    assert not repeats.filter(record("job %s lost", "7c9e6679-7425-40de-944b-e07fc1f90ae7"))


def test_other_messages_levels_and_loggers_pass() -> None:
    repeats = RepeatFilter(clock=Clock())
    lines = [record("a"), record("b"), record("a", level=logging.ERROR), record("a", name="y")]
    assert all(repeats.filter(line) for line in lines)


def test_debug_lines_all_pass() -> None:
    repeats = RepeatFilter(clock=Clock())
    assert all(repeats.filter(record("a", level=logging.DEBUG)) for _ in range(3))


def test_what_it_remembers_is_bounded() -> None:
    repeats = RepeatFilter(clock=Clock())
    for n in range(2000):
        repeats.filter(record("message " + "ghijklmnop"[n % 10] * (n // 10 + 1)))
    assert len(repeats._seen) <= 500


def test_of_rare_events_each_is_told(stream: io.StringIO) -> None:
    for number in range(3):
        logging.getLogger("x").info("memory %d is folded in", number, extra=EVENT)
        logging.getLogger("x").info("keyframe %d is late", number)
    assert stream.getvalue().count("folded in") == 3
    assert stream.getvalue().count("is late") == 1
