"""A child's pipe, its lines and its family; what KeptProcess decides is tested with the two that are kept."""

from __future__ import annotations

import os
import signal
import sys

from backend.utils.child_process import Child

GUARD_S = 30.0


class Listening(Child):
    def __init__(self, code: str) -> None:
        super().__init__("a program", [sys.executable, "-S", "-c", code], 0.0)
        self.lines: list[str] = []

    def hear(self, line: str) -> None:
        self.lines.append(line)


def run(code: str) -> Listening:
    child = Listening(code)
    child.start()
    assert child.gone.wait(GUARD_S)
    return child


def test_lines_of_both_outputs_are_heard_whole_and_the_last_needs_no_end() -> None:
    child = run("import sys; print('one'); print(); sys.stderr.write('two\\n'); sys.stdout.write('three')")
    assert sorted(child.lines) == ["one", "three", "two"]
    assert child.status == 0


def test_a_line_without_end_is_heard_in_pieces() -> None:
    child = run("print('x' * 10_000, end='')")
    assert [len(line) for line in child.lines] == [4096, 4096, 10_000 - 2 * 4096]


def test_what_is_no_text_is_heard_as_well_as_can_be() -> None:
    assert run("import os; os.write(1, b'a\\xff\\xfeb\\n')").lines == ["a\ufffd\ufffdb"]


def test_whoever_keeps_the_pipe_after_its_end_is_not_waited_for() -> None:
    sleeper = "import sys, time; time.sleep(600)"
    code = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-S', '-c', "
        f"{sleeper!r}], start_new_session=True); print(p.pid)"
    )
    child = run(code)
    os.kill(int(child.lines[0]), signal.SIGKILL)


def test_a_child_that_is_told_to_end_before_it_runs_does_not_survive() -> None:
    child = Listening("import time; time.sleep(600)")
    child.signal(signal.SIGTERM)
    child.start()
    assert child.gone.wait(GUARD_S)
    assert child.status == -signal.SIGKILL
