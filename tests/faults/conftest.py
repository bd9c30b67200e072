"""What the rows of the fault table share."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.forked import fork_server
from tests.fakes.fake_comfy import FakeComfy
from tests.faults.stage import GUARD_S, Stage, dreams, hurry_all, stage
from tests.faults.watch import open_files


@pytest.fixture(params=[pytest.param("A", marks=pytest.mark.faults), "B"])
def fake_ab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FakeComfy]:
    """A server of the newer dialect, and with the long forms one of the older."""
    with FakeComfy(tmp_path / "comfy", dialect=request.param) as fake:
        yield fake


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeComfy]:
    """A server of the newer dialect, for rows where the dialect makes no difference."""
    with FakeComfy(tmp_path / "comfy", dialect="B") as fake:
        yield fake


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry_all(monkeypatch)


@pytest.fixture(scope="session")
def daemons_can_begin() -> None:
    """What daemons are forked from is there before a test, and stays."""
    fork_server()


@pytest.fixture(autouse=True)
def nothing_is_left_over(
    hurried: None, daemons_can_begin: None, caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    """I5: when a daemon has ended, no thread of it is left, nor a file."""
    threads, files = set(threading.enumerate()), open_files()
    yield
    for phase in ("setup", "call"):  # kept records keep errors, which keep their tracebacks' sockets
        caplog.get_records(phase).clear()
    until = time.monotonic() + GUARD_S
    while time.monotonic() < until:
        gc.collect()
        left = [one.name for one in threading.enumerate() if one not in threads]
        if not left and len(open_files()) <= len(files) + 1:
            return
        time.sleep(0.05)
    raise AssertionError(f"left over: threads {left}, files {dict(open_files().items() - files.items())}")


@pytest.fixture
def on_ab(tmp_path: Path, fake_ab: FakeComfy) -> Iterator[Stage]:
    """A daemon that dreams on each."""
    with stage(tmp_path, fake_ab) as made:
        made.wait_for(dreams)
        yield made


@pytest.fixture
def on(tmp_path: Path, fake: FakeComfy) -> Iterator[Stage]:
    """A daemon that dreams."""
    with stage(tmp_path, fake) as made:
        made.wait_for(dreams)
        yield made
