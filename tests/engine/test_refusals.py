"""POST /prompt: each recorded answer, compared whole but for tracebacks and ids."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.engine.listener import GUARD_S
from tests.engine.recorded import CHECKPOINTS, recorded
from tests.fakes.fake_comfy import FakeComfy

CASES = recorded("errors")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, FakeComfy]]:
    folder: Path = tmp_path_factory.mktemp("refusals")
    with (
        FakeComfy(folder / "a", dialect="A", checkpoints=CHECKPOINTS) as a,
        FakeComfy(folder / "b", dialect="B", checkpoints=CHECKPOINTS) as b,
    ):
        yield {"A": a, "B": b}


def without_accidents(value: Any) -> Any:
    """Without what differs between two servers: tracebacks, ids, counters."""
    if isinstance(value, dict):
        accidents = ("traceback", "prompt_id", "number")
        return {key: without_accidents(one) for key, one in value.items() if key not in accidents}
    return [without_accidents(one) for one in value] if isinstance(value, list) else value


def post(server: FakeComfy, request: Any, **headers: str) -> requests.Response:
    if isinstance(request, str):
        return requests.post(f"{server.url}/prompt", data=request, headers=headers, timeout=GUARD_S)
    return requests.post(f"{server.url}/prompt", json=request, headers=headers, timeout=GUARD_S)


@pytest.mark.parametrize(
    ("dialect", "name"), [(dialect, name) for dialect, cases in CASES.items() for name in cases]
)
def test_the_answer_is_the_recorded_one(servers: dict[str, FakeComfy], dialect: str, name: str) -> None:
    case = CASES[dialect][name]
    headers = {"Origin": "http://evil.example"} if name == "origin_mismatch" else {}
    answer = post(servers[dialect], case["request"], **headers)
    expected = case["response"]
    assert answer.status_code == expected["status"]
    if "json" in expected:
        assert without_accidents(answer.json()) == without_accidents(expected["json"])
    else:
        assert answer.text == expected["body"]


@pytest.mark.parametrize("asked", ["722FD63E-2A6D-45CE-9A22-AC06139767F3", "my-own-id-1", 12345, ""])
def test_only_the_newer_dialect_insists_on_canonical_ids(servers: dict[str, FakeComfy], asked: Any) -> None:
    body = {"prompt": CASES["A"]["width_not_multiple_of_8"]["request"]["prompt"], "prompt_id": asked}
    assert post(servers["A"], body).json()["prompt_id"] == str(asked)
    refused = post(servers["B"], body)
    assert refused.status_code == 400
    assert refused.json() == {
        "error": {
            "type": "invalid_prompt_id",
            "message": "prompt_id must be a valid UUID",
            "details": "prompt_id must be a UUID string in canonical lowercase hyphenated form; omit it to "
            "let the server generate one",
            "extra_info": {},
        },
        "node_errors": {},
    }


def test_a_canonical_id_is_taken_by_both(servers: dict[str, FakeComfy]) -> None:
    asked = "e16b097e-28af-4dee-9248-1a1af5f107c5"
    body = {"prompt": CASES["A"]["width_not_multiple_of_8"]["request"]["prompt"], "prompt_id": asked}
    for server in servers.values():
        assert post(server, body).json()["prompt_id"] == asked


def test_refused_prompts_count_too(servers: dict[str, FakeComfy]) -> None:
    good = {"prompt": CASES["A"]["width_not_multiple_of_8"]["request"]["prompt"]}
    first = post(servers["A"], good).json()["number"]
    post(servers["A"], {"prompt": {}})
    assert post(servers["A"], good).json()["number"] == first + 2


@pytest.mark.parametrize(
    "prompt",
    [
        {"1": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}}},
        {
            "1": {"class_type": "VAEDecode", "inputs": {"samples": ["2", 0], "vae": ["1", 0]}},
            "2": {"class_type": "VAEEncode", "inputs": {"pixels": ["1", 0], "vae": ["1", 0]}},
            "3": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
        },
        {"1": {"class_type": ["list"], "inputs": {}}},
        {"1": {"class_type": "SaveImage", "inputs": None}},
        {"1": {"class_type": "SaveImage", "inputs": {"images": [None, "x"], "filename_prefix": {"a": 1}}}},
        {"1": 5},
        "text",
        None,
    ],
)
def test_nonsense_is_refused_and_does_no_harm(servers: dict[str, FakeComfy], prompt: Any) -> None:
    assert post(servers["A"], {"prompt": prompt}).status_code in (400, 500)
    good = {"prompt": CASES["A"]["width_not_multiple_of_8"]["request"]["prompt"]}
    assert post(servers["A"], good).status_code == 200


def test_nonsense_where_no_output_needs_it_is_ignored(servers: dict[str, FakeComfy]) -> None:
    prompt = dict(CASES["A"]["width_not_multiple_of_8"]["request"]["prompt"])
    prompt["90"] = {"class_type": "KSampler", "inputs": "what"}
    prompt["91"] = {"class_type": "VAEDecode", "inputs": {"samples": ["91", 0], "vae": ["404", 0]}}
    prompt["92"] = {"class_type": "LoadImage"}
    answer = post(servers["A"], {"prompt": prompt}).json()
    assert answer["node_errors"] == {}
    until_history(servers["A"], answer["prompt_id"])


def until_history(server: FakeComfy, prompt_id: str) -> None:
    for _ in range(2000):
        entry = requests.get(f"{server.url}/history/{prompt_id}", timeout=GUARD_S).json().get(prompt_id)
        if entry:
            assert entry["status"]["status_str"] == "success"
            return
    raise AssertionError("the prompt did not end")
