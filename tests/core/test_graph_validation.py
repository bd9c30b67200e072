from __future__ import annotations

import copy
import json
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from backend.core.graph_validation import MAX_PROBLEMS, GraphProblem, graph_problems
from backend.core.node_catalog import NodeCatalog
from backend.engine.dialect import Dialect
from backend.engine.files import Folders
from backend.engine.graph_check import check_graph
from backend.engine.node_type import Workspace
from backend.engine.stock_nodes import stock_nodes
from tests.core.recorded import node_catalog
from tests.engine.recorded import CHECKPOINTS
from tests.engine.recorded import recorded as engine_recorded
from tests.fakes.painters import NumpyPainter

VERSIONS = {"A": "0.3.64", "B": "0.33.0"}
REFUSALS = engine_recorded("errors")

PICTURE = "init.png"
BASE: dict[str, Any] = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "tiny-sd15.safetensors"}},
    "2": {
        "class_type": "LoraLoader",
        "inputs": {
            "model": ["1", 0],
            "clip": ["1", 1],
            "lora_name": "gold.safetensors",
            "strength_model": 0.5,
            "strength_clip": 1.0,
        },
    },
    "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat", "clip": ["2", 1]}},
    "4": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["2", 1]}},
    "5": {"class_type": "LoadImage", "inputs": {"image": PICTURE}},
    "6": {"class_type": "VAEEncode", "inputs": {"pixels": ["5", 0], "vae": ["1", 2]}},
    "7": {
        "class_type": "KSampler",
        "inputs": {
            "model": ["2", 0],
            "positive": ["3", 0],
            "negative": ["4", 0],
            "latent_image": ["6", 0],
            "seed": 7,
            "steps": 4,
            "cfg": 5.0,
            "sampler_name": "euler",
            "scheduler": "normal",
            "denoise": 0.5,
        },
    },
    "8": {"class_type": "SaveLatent", "inputs": {"samples": ["7", 0], "filename_prefix": "dream/kf"}},
    "9": {"class_type": "VAEDecode", "inputs": {"samples": ["7", 0], "vae": ["1", 2]}},
    "10": {"class_type": "SaveImageWebsocket", "inputs": {"images": ["9", 0]}},
    "11": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
    "12": {"class_type": "PreviewImage", "inputs": {"images": ["5", 0]}},
}


def catalog_of(version: str) -> NodeCatalog:
    catalog = node_catalog(version)
    for class_type, name in (("CheckpointLoaderSimple", "ckpt_name"), ("LoraLoader", "lora_name")):
        names = CHECKPOINTS if name == "ckpt_name" else ["gold.safetensors"]
        catalog = catalog.with_choices(class_type, name, names)
    return catalog


CATALOG = catalog_of("0.3.64")


def problems_after(change: Callable[[dict[str, Any]], object], version: str = "0.3.64") -> list[GraphProblem]:
    graph = copy.deepcopy(BASE)
    change(graph)
    return list(graph_problems(graph, catalog_of(version)))


def setting(node_id: str, name: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda graph: graph[node_id]["inputs"].update({name: value})


def only(problems: list[GraphProblem]) -> GraphProblem:
    (problem,) = problems
    return problem


@pytest.mark.parametrize("version", VERSIONS.values())
def test_a_graph_that_real_servers_take_has_no_problems(version: str) -> None:
    assert graph_problems(BASE, catalog_of(version)) == ()


# What a server answered, recorded


JUDGED = [
    (dialect, name)
    for dialect, cases in REFUSALS.items()
    for name, case in cases.items()
    if isinstance(case["request"], dict) and isinstance(case["request"].get("prompt"), dict)
    if name not in ("origin_mismatch", "loadimage_missing_file", "loadlatent_missing_file")
    if name != "one_good_one_bad_output2"  # a missing file too
]


@pytest.mark.parametrize(("dialect", "name"), JUDGED)
def test_the_verdict_is_the_one_that_a_real_server_gave(dialect: str, name: str) -> None:
    case = REFUSALS[dialect][name]
    answer = case["response"]["json"]
    refused = case["response"]["status"] != 200 or bool(answer["node_errors"])
    problems = graph_problems(case["request"]["prompt"], catalog_of(VERSIONS[dialect]))
    assert bool(problems) is refused, problems
    for node_id, told in answer.get("node_errors", {}).items():
        named = {error["extra_info"].get("input_name") for error in told["errors"]} - {None}
        if told["errors"][0]["type"].startswith("exception_during"):
            continue  # the server blames the node that the broken link leads to, or the output
        assert {problem.input for problem in problems if problem.node_id == node_id} == named


# The embedded engine's own verdict, on whatever may befall a graph


def workspace_at(root: Path) -> Workspace:
    folders = Folders(root)
    (root / "input").mkdir(exist_ok=True)
    (root / "input" / PICTURE).write_bytes(b"not looked into when a graph is checked")
    return Workspace(folders, NumpyPainter(), {"checkpoints": CHECKPOINTS, "loras": ["gold.safetensors"]})


VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**64, -1, 16384, 16385, "12", "1e3", "euler", "gold.safetensors"])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet="abc0-.é ", max_size=6)
    | st.lists(st.none() | st.sampled_from(["1", "7", "99", 0, 1]), max_size=3)
    | st.dictionaries(st.text(alphabet="ab", max_size=2), st.integers(), max_size=2)
)
LINKS = st.tuples(st.sampled_from([*BASE, "99", 7, None]), st.sampled_from([0, 1, 2, -1, 9, True, 0.0, "0"]))
LINKED = [
    (i, name) for i, node in BASE.items() for name, value in node["inputs"].items() if type(value) is list
]
PLAIN = [
    (i, name)
    for i, node in BASE.items()
    for name, value in node["inputs"].items()
    if type(value) is not list and name != "image"
]
CHANGES = st.one_of(
    st.tuples(st.just("set"), st.sampled_from(PLAIN), VALUES),
    st.tuples(st.just("set"), st.sampled_from(PLAIN + LINKED), LINKS.map(list)),
    st.tuples(st.just("drop"), st.sampled_from(PLAIN + LINKED), st.none()),
    st.tuples(st.just("add"), st.sampled_from(list(BASE)), VALUES),
    st.tuples(st.just("without"), st.sampled_from(list(BASE)), st.none()),
    st.tuples(st.just("bare"), st.sampled_from(list(BASE)), st.none()),
    st.tuples(
        st.just("class"),
        st.sampled_from(list(BASE)),
        st.sampled_from(["KSampler", "VAEDecode", "SaveLatent", "CLIPTextEncode", "Ksampler", "", None, 7]),
    ),
)


def changed(changes: list[tuple[str, Any, Any]]) -> dict[str, Any]:
    graph = copy.deepcopy(BASE)
    for kind, where, value in changes:
        node_id = where[0] if isinstance(where, tuple) else where
        if node_id not in graph:
            continue
        inputs = graph[node_id].setdefault("inputs", {})
        match kind:
            case "set":
                inputs[where[1]] = value
            case "drop":
                inputs.pop(where[1], None)
            case "add":
                inputs["unknown_extra"] = value
            case "without":
                del graph[node_id]
            case "bare":
                del graph[node_id]["inputs"]
            case "class":
                graph[node_id]["class_type"] = value
    return graph


@pytest.mark.parametrize("dialect", list(Dialect))
@given(changes=st.lists(CHANGES, min_size=1, max_size=3))
@examples(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_verdict_is_the_one_of_the_embedded_engine(
    tmp_path: Path, dialect: Dialect, changes: list[tuple[str, Any, Any]]
) -> None:
    workspace, nodes = workspace_at(tmp_path), stock_nodes(dialect)
    catalog = NodeCatalog.parse({name: node.describe(workspace) for name, node in nodes.items()})
    graph = changed(changes)
    problems = graph_problems(graph, catalog)
    wanted = [node for node in graph.values() if getattr(nodes.get(node["class_type"]), "is_output", False)]
    check = check_graph(copy.deepcopy(graph), nodes, workspace, dialect)
    taken = check.error is None and not check.node_errors and len(check.outputs) == len(wanted)
    assert (not problems) is taken, (problems, check.error, check.node_errors)


# What is said of it


def test_a_choice_that_is_not_offered_is_told_with_the_nearest_and_the_offer() -> None:
    problem = only(problems_after(setting("7", "sampler_name", "eular")))
    assert (problem.node_id, problem.class_type, problem.input) == ("7", "KSampler", "sampler_name")
    assert str(problem).startswith(
        "node 7 (KSampler) sampler_name = 'eular': not offered; did you mean 'euler'? "
        "The server offers euler, euler_cfg_pp, "
    )
    assert str(problem).endswith("... (42 in all)")


def test_a_model_in_another_folder_is_found_by_its_name() -> None:
    catalog = CATALOG.with_choices("LoraLoader", "lora_name", ["style/Gold.safetensors", "gold2.safetensors"])
    (problem,) = graph_problems(BASE, catalog)
    assert "did you mean 'style/Gold.safetensors'?" in problem.wish


def test_an_empty_list_is_called_one() -> None:
    (problem,) = graph_problems(BASE, CATALOG.with_choices("LoraLoader", "lora_name", []))
    assert problem.wish == "not offered. The server offers none at all"


def test_a_new_style_list_is_compared_too_though_the_older_server_does_not() -> None:
    nodes = {
        "20": {"class_type": "UpscaleModelLoader", "inputs": {"model_name": "nope.pth"}},
        "21": {
            "class_type": "ImageUpscaleWithModel",
            "inputs": {"upscale_model": ["20", 0], "image": ["9", 0]},
        },
        "22": {"class_type": "SaveImageWebsocket", "inputs": {"images": ["21", 0]}},
    }
    problem = only(problems_after(lambda graph: graph.update(nodes)))
    assert (problem.node_id, problem.input, problem.value) == ("20", "model_name", "'nope.pth'")


def test_an_unknown_class_is_told_with_the_nearest_one_wherever_it_stands() -> None:
    unconnected = {"class_type": "VAEDecod", "inputs": {}}
    problem = only(problems_after(lambda graph: graph.update({"30": unconnected})))
    assert str(problem) == "node 30 (VAEDecod): the server has no such node; did you mean 'VAEDecode'?"


def test_an_unknown_class_that_resembles_none_points_to_custom_nodes() -> None:
    problem = only(problems_after(lambda graph: graph.update({"30": {"class_type": "Ξ", "inputs": {}}})))
    assert "a custom node pack may be missing" in problem.wish


def test_the_only_output_being_of_an_unknown_class_is_one_problem_not_two() -> None:
    problems = graph_problems({"1": {"class_type": "SaveImageWebsockt", "inputs": {}}}, CATALOG)
    assert [problem.class_type for problem in problems] == ["SaveImageWebsockt"]


def test_a_node_that_no_output_needs_may_be_incomplete() -> None:
    lonely = {"class_type": "KSampler", "inputs": {"steps": "many"}}
    assert problems_after(lambda graph: graph.update({"30": lonely})) == []


def test_a_missing_input_is_told_with_what_it_takes() -> None:
    problem = only(problems_after(lambda graph: graph["7"]["inputs"].pop("steps")))
    assert str(problem) == (
        "node 7 (KSampler) steps: required input is missing (a whole number from 1 to 10000)"
    )


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("steps", "abc", "not a whole number from 1 to 10000"),
        ("steps", None, "not a whole number"),
        ("steps", {}, "not a whole number"),
        ("steps", 0, "out of range; the server takes a whole number from 1 to 10000"),
        ("seed", 2**64, "out of range"),
        pytest.param("seed", 10**5000, "out of range", id="a number of 5001 digits"),
        ("denoise", 1.01, "out of range"),
        ("cfg", float("nan"), "not finite"),
        ("cfg", "inf", "not finite"),
        ("model", "1", "must be linked to an output of type MODEL"),
        ("model", None, "must be linked"),
        ("scheduler", None, "not offered"),
        ("model", ["1"], "a link is [node id, output number]"),
        ("model", ["99", 0], "there is no node '99' in the graph"),
        ("model", [1, 0], "there is no node 1 in the graph"),
        (
            "model",
            ["1", 3],
            "node 1 (CheckpointLoaderSimple) has no such output; it has 0 MODEL, 1 CLIP, 2 VAE",
        ),
        ("model", ["1", 1], "it wants MODEL, and output 1 of node 1 (CheckpointLoaderSimple) gives CLIP"),
    ],
)
def test_a_wrong_value_is_told_in_words(name: str, value: object, words: str) -> None:
    problem = only(problems_after(setting("7", name, value)))
    assert (problem.node_id, problem.input) == ("7", name)
    assert words in problem.wish


def test_a_circle_is_told_with_its_way() -> None:
    problem = only(problems_after(setting("6", "pixels", ["9", 0])))
    assert "the graph runs in a circle: " in problem.wish
    assert {"7", "6", "9"} <= set(problem.wish.partition("circle: ")[2].split(" -> "))


def test_a_graph_without_an_output_is_told_as_a_whole() -> None:
    (problem,) = graph_problems({key: BASE[key] for key in ("1", "2")}, CATALOG)
    assert str(problem).startswith("the graph: no output node")


def test_extra_inputs_are_the_servers_to_ignore() -> None:
    assert problems_after(setting("7", "unheard_of", ["99", 99])) == []


@pytest.mark.parametrize("name", ["new.png", "sub/kf.png [output]", "x.png [temp]"])
def test_a_file_that_is_newer_than_the_list_is_left_to_the_server(name: str) -> None:
    assert problems_after(setting("5", "image", name)) == []


def test_a_list_of_values_travels_wrapped_so_that_it_is_not_taken_for_a_link() -> None:
    assert problems_after(setting("3", "text", {"__value__": ["7", 0]})) == []


def catalog_with(inputs: dict[str, Any], output: list[Any]) -> NodeCatalog:
    """A source that gives ``output`` and a sink that takes ``inputs``."""
    return NodeCatalog.parse(
        {
            "Source": {"input": {}, "output": output},
            "Sink": {"input": {"required": inputs}, "output": [], "output_node": True},
        }
    )


@pytest.mark.parametrize(
    ("given_type", "wanted", "fits"),
    [
        ("IMAGE", "*", True),
        ("*", "IMAGE", True),
        ("INT", "FLOAT,INT", True),
        ("INT,STRING", "FLOAT, INT", True),
        ("INT", "FLOAT", False),
        ("COMBO", [["a"]], True),
        (["a", "b"], ["a"], True),
        ("STRING", ["a"], False),
        ("COMFY_MATCHTYPE_V3", "LATENT", True),
        ("IMAGE", "MASK", False),
    ],
)
def test_links_fit_by_the_rules_of_the_server(given_type: Any, wanted: Any, fits: bool) -> None:
    catalog = catalog_with({"it": [wanted]}, [given_type])
    graph = {
        "1": {"class_type": "Source", "inputs": {}},
        "2": {"class_type": "Sink", "inputs": {"it": ["1", 0]}},
    }
    assert (graph_problems(graph, catalog) == ()) is fits


def test_the_parts_of_a_growing_input_are_followed() -> None:
    node = {
        "class_type": "BatchImagesNode",
        "inputs": {"images.image0": ["9", 0], "images.image1": ["99", 0]},
    }
    sink = {"class_type": "SaveImageWebsocket", "inputs": {"images": ["40", 0]}}
    problem = only(problems_after(lambda graph: graph.update({"40": node, "41": sink}), "0.33.0"))
    assert (problem.node_id, problem.input) == ("40", "images.image1")


def test_several_choices_at_once_are_each_compared() -> None:
    catalog = catalog_with({"it": ["COMBO", {"options": ["a", "b"], "multiselect": True}]}, [])
    graph = {"1": {"class_type": "Sink", "inputs": {"it": {"__value__": ["a", "c"]}}}}
    (problem,) = graph_problems(graph, catalog)
    assert "not offered" in problem.wish
    graph["1"]["inputs"]["it"] = {"__value__": ["a", "b"]}
    assert graph_problems(graph, catalog) == ()


# Hostile graphs


@pytest.mark.parametrize("node", [None, [], "text", 7, {"inputs": {}}, {"class_type": {}, "inputs": {}}])
def test_what_is_no_node_is_told(node: Any) -> None:
    problems = problems_after(lambda graph: graph.update({"9": node}))
    assert [problem.node_id for problem in problems] == ["9"]
    assert "class" in problems[0].wish


def test_a_chain_deeper_than_pythons_stack_is_walked() -> None:
    graph: dict[str, Any] = {"0": BASE["1"]}
    for number in range(1, 5000):
        graph[str(number)] = {
            "class_type": "LoraLoaderModelOnly",
            "inputs": {"model": [str(number - 1), 0], "lora_name": "gold.safetensors", "strength_model": 1.0},
        }
    catalog = CATALOG.with_choices("LoraLoaderModelOnly", "lora_name", ["gold.safetensors"])
    graph["end"] = {"class_type": "PreviewAny", "inputs": {"source": ["4999", 0]}}
    assert graph_problems(graph, catalog) == ()


def test_a_graph_full_of_mistakes_is_told_in_bounded_words() -> None:
    graph = {str(number): {"class_type": "K" * 100_000, "inputs": {}} for number in range(500)}
    problems = graph_problems(graph, CATALOG)
    assert len(problems) == MAX_PROBLEMS
    assert max(len(str(problem)) for problem in problems) < 300


def test_looking_at_a_graph_costs_little_more_than_writing_it_as_json() -> None:
    assert graph_problems(BASE, CATALOG) == ()
    judged = min(timeit.repeat(lambda: graph_problems(BASE, CATALOG), number=50, repeat=9))
    written = min(timeit.repeat(lambda: json.dumps(BASE), number=50, repeat=9))
    assert judged < 10 * written, f"{judged / written:.1f} times json.dumps"
