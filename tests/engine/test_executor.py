"""What runs, in which order, and what is taken from the last prompt."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.engine.dialect import Dialect
from backend.engine.executor import Executor, Outcome, execution_order
from backend.engine.files import Folders
from backend.engine.latent_files import latent_bytes, parse_latent
from backend.engine.messages import PictureType
from backend.engine.node_keys import node_keys
from backend.engine.node_type import Graph, Workspace
from backend.engine.painting import Latent, OnStep
from backend.engine.progress import Progress
from backend.engine.prompt_queue import QueueItem
from backend.engine.stock_nodes import CHECKPOINT, stock_nodes
from tests.fakes.fake_comfy import txt2img
from tests.fakes.painters import NumpyPainter


@dataclass
class Ears:
    """An audience that remembers."""

    told: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def tell(self, kind: str, data: Mapping[str, Any], client_id: str | None) -> None:
        self.told.append((kind, data))

    def show_with_origin(self, kind: PictureType, image: bytes, **_: Any) -> bool:
        return True

    def show(self, kind: PictureType, image: bytes, client_id: str | None) -> None:
        raise AssertionError("the origin was shown already")

    def executed(self) -> list[str]:
        return [data["node"] for kind, data in self.told if kind == "executing" and data["node"] is not None]

    def cached(self) -> list[str]:
        return next(list(data["nodes"]) for kind, data in self.told if kind == "execution_cached")


class Bench:
    """An executor on a workbench: no server, no thread."""

    def __init__(self, folder: Path) -> None:
        self.workspace = Workspace(Folders(folder), NumpyPainter(), {"checkpoints": [CHECKPOINT]})
        self.stop = threading.Event()
        self.nodes = stock_nodes(Dialect.B)
        self.executor = Executor(self.nodes, self.workspace, self.stop.is_set)

    def run(self, graph: Graph, *outputs: str) -> tuple[Outcome, Ears]:
        ears = Ears()
        item = QueueItem(0, 0, "id", graph, {"client_id": "me"}, outputs)
        return self.executor.run(item, Progress(item, ears, lambda: 0)), ears


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def keyframe(seed: int = 1) -> Graph:
    graph = txt2img(CHECKPOINT, seed=seed, saver="SaveImageWebsocket")
    graph["8"] = {
        "class_type": "SaveLatent",
        "inputs": {"samples": ["5", 0], "filename_prefix": "latents/kf"},
    }
    return graph


def decode_graph(*, carries_texts: bool) -> Graph:
    graph: Graph = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": CHECKPOINT}},
        "20": {"class_type": "LoadLatent", "inputs": {"latent": "latents/kf_00001_.latent [output]"}},
        "21": {"class_type": "VAEDecode", "inputs": {"samples": ["20", 0], "vae": ["1", 2]}},
        "22": {"class_type": "SaveImageWebsocket", "inputs": {"images": ["21", 0]}},
    }
    if carries_texts:
        graph["30"] = {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat", "clip": ["1", 1]}}
        graph["31"] = {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["1", 1]}}
    return graph


def test_unconnected_nodes_stay_cached_and_are_not_executed(bench: Bench) -> None:
    bench.run(keyframe(1), "7", "8")
    _, decode = bench.run(decode_graph(carries_texts=True), "22")
    assert decode.cached() == ["1", "30", "31"]
    assert decode.executed() == ["20", "21", "22"]
    _, next_keyframe = bench.run(keyframe(2), "7", "8")
    assert next_keyframe.executed() == ["4", "5", "6", "7", "8"]


def test_nodes_that_the_last_prompt_did_not_contain_run_again(bench: Bench) -> None:
    bench.run(keyframe(1), "7", "8")
    bench.run(decode_graph(carries_texts=False), "22")
    _, next_keyframe = bench.run(keyframe(2), "7", "8")
    assert next_keyframe.executed() == ["2", "3", "4", "5", "6", "7", "8"]


def test_the_cache_goes_by_content_and_not_by_id(bench: Bench) -> None:
    graph = txt2img(CHECKPOINT)
    bench.run(graph, "7")
    names = {node_id: f"n{node_id}" for node_id in graph}
    renamed = {
        names[node_id]: node
        | {
            "inputs": {
                key: [names[value[0]], value[1]] if isinstance(value, list) else value
                for key, value in node["inputs"].items()
            }
        }
        for node_id, node in graph.items()
    }
    _, ears = bench.run(renamed, "n7")
    assert ears.cached() == list(names.values())


def test_new_contents_of_a_file_run_its_loader_again(bench: Bench) -> None:
    folder = bench.workspace.folders.folder("output") / "latents"
    folder.mkdir()
    path = folder / "kf_00001_.latent"
    path.write_bytes(latent_bytes(np.zeros((1, 4, 8, 8), np.float32)))
    bench.run(decode_graph(carries_texts=True), "22")
    path.write_bytes(latent_bytes(np.ones((1, 4, 8, 8), np.float32)))
    _, ears = bench.run(decode_graph(carries_texts=True), "22")
    assert ears.executed()[:3] == ["20", "21", "22"]


def test_a_saved_latent_is_loaded_again_bit_for_bit(bench: Bench) -> None:
    outcome, _ = bench.run(keyframe(), "7", "8")
    saved = outcome.outputs["8"]["latents"][0]
    assert saved == {"filename": "kf_00001_.latent", "subfolder": "latents", "type": "output"}
    graph = decode_graph(carries_texts=False)
    graph["40"] = {"class_type": "SaveLatent", "inputs": {"samples": ["20", 0], "filename_prefix": "copy"}}
    second, _ = bench.run(graph, "40")
    folder = bench.workspace.folders.folder("output")
    first = parse_latent((folder / "latents" / "kf_00001_.latent").read_bytes())
    copy = parse_latent((folder / second.outputs["40"]["latents"][0]["filename"]).read_bytes())
    assert np.array_equal(first, copy)


def test_after_a_failure_the_outputs_that_ran_are_told(bench: Bench) -> None:
    graph = keyframe()
    graph["9"] = {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "../../x"}}
    outcome, ears = bench.run(graph, "8", "9", "7")
    assert not outcome.success
    assert list(outcome.outputs) == ["8"]
    assert outcome.messages[-1][0] == "execution_error"
    assert "7" not in ears.executed()


def test_an_interrupt_before_a_node_names_that_node(bench: Bench) -> None:
    bench.stop.set()
    outcome, _ = bench.run(keyframe(), "7", "8")
    kind, data = outcome.messages[-1]
    assert (kind, data["node_id"], data["executed"]) == ("execution_interrupted", "1", [])


def test_an_interrupt_is_noticed_between_two_pictures_of_a_batch(bench: Bench) -> None:
    painted = 0

    class Stopping(NumpyPainter):
        def decode(self, latent: Latent) -> Any:
            nonlocal painted
            for pixels in super().decode(latent):
                painted += 1
                bench.stop.set()
                yield pixels

    bench.workspace.painter = Stopping()
    graph = keyframe()
    graph["4"]["inputs"]["batch_size"] = 50
    outcome, _ = bench.run(graph, "7")
    assert outcome.messages[-1][1]["node_id"] == "6"
    assert painted == 1


def test_a_step_may_be_interrupted_from_inside_the_painter(bench: Bench) -> None:
    steps = 0

    class Counting(NumpyPainter):
        def sample(self, *arguments: Any, on_step: OnStep, **options: Any) -> Latent:
            def counted(done: int, total: int, moved: Latent) -> None:
                nonlocal steps
                steps = done
                if done == 3:
                    bench.stop.set()
                on_step(done, total, moved)

            return super().sample(*arguments, on_step=counted, **options)

    bench.workspace.painter = Counting()
    graph = keyframe()
    graph["5"]["inputs"]["steps"] = 100
    outcome, _ = bench.run(graph, "7")
    assert not outcome.success
    assert steps == 3


def test_the_order_follows_the_links_and_stops_at_what_is_cached() -> None:
    links = {"out": ["c"], "c": ["a", "b"], "b": ["a"], "a": [], "far": ["out"]}

    def order(*cached: str) -> list[str]:
        return execution_order(["out"], links.__getitem__, cached.__contains__)

    assert order() == ["a", "b", "c", "out"]
    assert order("c") == ["out"]
    assert order("a") == ["b", "c", "out"]
    assert order("out") == ["out"]


def test_keys_of_a_long_chain_and_of_circles_are_found_without_recursion(bench: Bench) -> None:
    graph: Graph = {"0": {"class_type": "EmptyLatentImage", "inputs": {}}}
    for index in range(1, 5000):
        samples = [str(index - 1), 0]
        graph[str(index)] = {"class_type": "LatentFromBatch", "inputs": {"samples": samples}}
    circle = {
        "x": {"class_type": "LatentFromBatch", "inputs": {"samples": ["y", 0]}},
        "y": {"class_type": "LatentFromBatch", "inputs": {"samples": ["x", 0]}},
    }
    reversed_graph = dict(reversed(graph.items()))
    keys = node_keys(reversed_graph | circle, bench.nodes, bench.workspace)
    assert len(set(keys.values())) == 5002


@pytest.mark.parametrize(
    ("first", "length", "expected"),
    [(0, 2, [0, 1]), (3, 64, [3, 4]), (63, 1, [4]), (-1, 1, [4]), (-9, 1, [0])],
)
def test_latents_are_picked_out_of_a_batch(
    bench: Bench, first: int, length: int, expected: list[int]
) -> None:
    batch = np.arange(5, dtype=np.float32).reshape(5, 1, 1, 1) * np.ones((1, 4, 8, 8), np.float32)
    (bench.workspace.folders.folder("input") / "b.latent").write_bytes(latent_bytes(batch))
    inputs = {"samples": ["1", 0], "batch_index": first, "length": length}
    graph: Graph = {
        "1": {"class_type": "LoadLatent", "inputs": {"latent": "b.latent"}},
        "2": {"class_type": "LatentFromBatch", "inputs": inputs},
        "3": {"class_type": "SaveLatent", "inputs": {"samples": ["2", 0], "filename_prefix": "o"}},
    }
    outcome, _ = bench.run(graph, "3")
    name = outcome.outputs["3"]["latents"][0]["filename"]
    picked = parse_latent((bench.workspace.folders.folder("output") / name).read_bytes())
    assert picked[:, 0, 0, 0].tolist() == expected


def bad_latents() -> dict[str, Callable[[], bytes]]:
    return {
        "garbage": lambda: b"garbage",
        "empty": lambda: b"",
        "sixteen channels": lambda: latent_bytes(np.zeros((1, 16, 8, 8), np.float32)),
        "three dimensions": lambda: latent_bytes(np.zeros((4, 8, 8), np.float32)),
    }


@pytest.mark.parametrize("name", list(bad_latents()))
def test_a_bad_latent_file_fails_when_its_node_runs(bench: Bench, name: str) -> None:
    (bench.workspace.folders.folder("input") / "b.latent").write_bytes(bad_latents()[name]())
    graph: Graph = {
        "1": {"class_type": "LoadLatent", "inputs": {"latent": "b.latent"}},
        "3": {"class_type": "SaveLatent", "inputs": {"samples": ["1", 0], "filename_prefix": "o"}},
    }
    outcome, _ = bench.run(graph, "3")
    assert outcome.messages[-1][0] == "execution_error"
    assert outcome.messages[-1][1]["node_id"] == "1"
