"""/object_info and its neighbours: as real servers describe the same nodes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.engine.listener import GUARD_S
from tests.engine.recorded import CHECKPOINTS, recorded
from tests.fakes.fake_comfy import FakeComfy

ENTRIES = recorded("object_info")
NODES = list(ENTRIES["A"])

NOT_OURS = {"display_name", "category", "description", "search_aliases", "essentials_category"}
ONLY_B = {"is_input_list", "has_intermediate_output"}
"""What graphs do not depend on; the entries of the older server are held in full."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, FakeComfy]]:
    folder: Path = tmp_path_factory.mktemp("info")
    with (
        FakeComfy(folder / "a", dialect="A", checkpoints=CHECKPOINTS) as a,
        FakeComfy(folder / "b", dialect="B", checkpoints=CHECKPOINTS) as b,
    ):
        for server in (a, b):
            server.server.core.workspace.models["loras"] = []
        yield {"A": a, "B": b}


def get(server: FakeComfy, path: str) -> Any:
    return requests.get(server.url + path, timeout=GUARD_S).json()


@pytest.mark.parametrize("name", NODES)
def test_the_older_dialect_describes_each_node_word_for_word(
    servers: dict[str, FakeComfy], name: str
) -> None:
    assert get(servers["A"], f"/object_info/{name}") == {name: ENTRIES["A"][name]}


@pytest.mark.parametrize("name", NODES)
def test_the_newer_dialect_agrees_in_all_that_graphs_depend_on(
    servers: dict[str, FakeComfy], name: str
) -> None:
    told = get(servers["B"], f"/object_info/{name}")[name]
    expected = {key: value for key, value in ENTRIES["B"][name].items() if key not in NOT_OURS | ONLY_B}
    assert {key: told.get(key) for key in expected} == expected


def test_all_nodes_are_told_at_once_and_unknown_ones_are_nothing(servers: dict[str, FakeComfy]) -> None:
    assert sorted(get(servers["A"], "/api/object_info")) == sorted(NODES)
    assert get(servers["A"], "/object_info/Nope") == {}


def test_models_are_listed_and_unknown_folders_are_not_found(servers: dict[str, FakeComfy]) -> None:
    assert get(servers["A"], "/models/checkpoints") == CHECKPOINTS
    assert get(servers["A"], "/models/loras") == []
    assert "checkpoints" in get(servers["A"], "/models")
    assert get(servers["A"], "/embeddings") == []
    for legacy in ("clip", "unet", "nope"):
        answer = requests.get(f"{servers['A'].url}/models/{legacy}", timeout=GUARD_S)
        assert (answer.status_code, answer.content) == (404, b"")


def test_features_and_stats_tell_the_dialect(servers: dict[str, FakeComfy]) -> None:
    expected = {"supports_preview_metadata": True, "max_upload_size": 104857600}
    assert get(servers["A"], "/features") == expected
    assert get(servers["B"], "/features").items() > expected.items()
    stats = get(servers["A"], "/api/system_stats")
    assert stats["system"]["comfyui_version"] == "0.3.64"
    assert stats["devices"][0] | {"vram_total": 0, "vram_free": 0} == {
        "name": "cpu",
        "type": "cpu",
        "index": None,
        "vram_total": 0,
        "vram_free": 0,
        "torch_vram_total": stats["devices"][0]["vram_total"],
        "torch_vram_free": stats["devices"][0]["vram_free"],
    }
    assert stats["dreamloop"]["embedded"] is True


def test_uploaded_files_show_up_as_choices(servers: dict[str, FakeComfy]) -> None:
    url = servers["B"].url
    for name in ("b.png", "x.latent", "note.txt"):
        files = {"image": (name, b"x")}
        requests.post(f"{url}/upload/image", files=files, timeout=GUARD_S).raise_for_status()
    info = get(servers["B"], "/object_info")
    assert info["LoadImage"]["input"]["required"]["image"][0] == ["b.png"]
    assert info["LoadLatent"]["input"]["required"]["latent"][0] == ["x.latent"]
