"""Fixtures for engines of both kinds; imported by tests/conftest.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.engine.process import EngineProcess
from tests.fakes.fake_comfy import FakeComfy

_START_S = 60.0


@pytest.fixture
def fake_comfy(tmp_path: Path) -> Iterator[FakeComfy]:
    """A FakeComfy of dialect A, in this process."""
    with FakeComfy(tmp_path / "fake-comfy") as fake:
        yield fake


@pytest.fixture(scope="session")
def embedded_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    """The real embedded engine with its own painter, as a child process; it is running."""
    process = EngineProcess(tmp_path_factory.mktemp("engine"))
    try:
        process.ensure_running(_START_S)
        yield process
    finally:
        process.stop()
