from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from backend.shim.app import create_app
from tests.shim.stand_in import StandIn

HERE = "http://127.0.0.1"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[StandIn]:
    stand_in = StandIn(tmp_path)
    yield stand_in
    stand_in.stop()


@pytest.fixture
def client(daemon: StandIn) -> Iterator[TestClient]:
    """The shim of a dream that has shown three frames."""
    for _ in range(3):
        daemon.show()
    with TestClient(create_app(daemon.spec), HERE) as client:
        yield client


@pytest.fixture
def open_client(daemon: StandIn) -> Iterator[TestClient]:
    """The same, listening to other machines, too."""
    daemon.show()
    spec = replace(daemon.spec, host="0.0.0.0", cors_origins=("https://wall.example",))
    with TestClient(create_app(spec), "http://dream.example") as client:
        yield client
