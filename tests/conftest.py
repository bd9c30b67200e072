"""Options and fixtures that all tests share."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.fake_comfy import FakeComfy

# Two threads are what the smallest machine has, one for each of two workers; no picture depends on it.
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_WAITING = ("end_to_end", "faults", "browser")
_CLIP = ("test_aesthetic_matcher.py", "test_clip_matcher.py", "test_clip_process.py", "test_clip_weights.py")

pytest_plugins = ["tests.fakes.fixtures", "tests.fakes.service_manager", "tests.end_to_end.quick_starts"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--comfyui-url",
        default=None,
        metavar="URL",
        help="run the contract tests against this ComfyUI too, for example http://127.0.0.1:8188",
    )
    parser.addoption("--soak-minutes", default=20.0, type=float, metavar="N", help="how long a soak takes")
    parser.addoption("--soak-seed", default=1, type=int, metavar="N", help="from which its faults are drawn")
    parser.addoption("--soak-plot", default=None, metavar="PATH", help="where its plot goes, and its data")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where workers share the files: daemons and browsers, which mostly wait, among what mostly works."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    places: dict[Path, float] = {}
    for waits, share in ((True, 0.8), (False, 1.0)):  # none of those that wait is left to the end
        some = [path for path in files if path.parent.name.startswith(_WAITING) == waits]
        places |= {path: share * place / len(some) for place, path in enumerate(some)}
    items[:] = [item for path in sorted(files, key=places.__getitem__) for item in files[path]]


def pytest_collection_finish() -> None:
    """Thousands of tests stay to the end: no search for garbage need go through them, time after time."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """One worker for each file, and one for all of CLIP, whose library takes seconds to import."""
    from xdist.scheduler import LoadFileScheduling

    class ByLibrary(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            scope = super()._split_scope(nodeid)
            return "clip" if scope.endswith(_CLIP) else scope

    return ByLibrary(config, log)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each server that must keep the contract; the live one where its address is given."""
    if "server_url" in metafunc.fixturenames:
        live = metafunc.config.getoption("--comfyui-url")
        servers = ["fake-A", "fake-B", "embedded", *(["live"] if live else [])]
        metafunc.parametrize("server_url", servers, indirect=True)
    if "packed_url" in metafunc.fixturenames:  # those that may have our own nodes
        live = metafunc.config.getoption("--comfyui-url")
        metafunc.parametrize("packed_url", ["fake", *(["live"] if live else [])], indirect=True)


@pytest.fixture
def server_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of one of them."""
    if request.param == "live":
        yield request.config.getoption("--comfyui-url")
    elif request.param == "embedded":
        yield request.getfixturevalue("embedded_engine").url
    else:
        with FakeComfy(tmp_path / "fake", dialect=request.param[-1]) as fake:
            yield fake.url
