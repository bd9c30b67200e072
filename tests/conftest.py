"""Options and fixtures that all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

# Two threads are what the smallest machine has; the pictures do not depend on it.
os.environ.setdefault("OMP_NUM_THREADS", "2")

pytest_plugins = ["tests.fakes.fixtures"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--comfyui-url",
        default=None,
        metavar="URL",
        help="run the contract tests against this ComfyUI too, for example http://127.0.0.1:8188",
    )


@pytest.fixture(params=["fake", "embedded", "live"])
def server_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of each server that must keep the contract."""
    if request.param == "live":
        url = request.config.getoption("--comfyui-url")
        if not url:
            pytest.skip("no --comfyui-url was given")
        yield url
    elif request.param == "fake":
        yield request.getfixturevalue("fake_comfy").url
    else:
        yield request.getfixturevalue("embedded_engine").url
