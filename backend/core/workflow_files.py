"""Workflows of the user's own: ``NAME.json`` in API format, and ``NAME.yaml`` that says where what goes.

What the binding map leaves out is told from the graph where there is no doubt (workflow_inference.py). All
that is wrong in both files is told at once, with its line.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

from backend.core.jobs import Graph
from backend.core.workflow_bindings import ONE_PLACE, Bindings, read_bindings
from backend.core.workflow_inference import told_by_sampler, told_decoding, told_picture
from backend.core.workflow_json import MAX_BYTES, WorkflowJson
from backend.core.workflow_places import CustomWorkflow
from backend.errors import ConfigError, Problem
from backend.utils.file_ops import read_at_most
from backend.utils.nearest import nearest
from backend.utils.yaml_lines import MAX_CHARS, Located, load, shorten

MAX_NAME_CHARS = 100

_WISHES = {
    "prompt": "where the words go: {node: ..., input: ...}; the graph alone does not tell",
    "seed": "where the seed goes: {node: ..., input: ...}; the graph alone does not tell",
    "picture_out": "the node that shows or makes the picture: {node: ...}; the graph alone does not tell",
}
"""What a workflow cannot do without."""


def load_workflow(folder: Path, name: str) -> CustomWorkflow:
    """A workflow with its bindings.

    Args:
        folder: Usually ``prompts/workflows``.
        name: Of the files, without suffix. Never a path.

    Raises:
        ConfigError: The name, the graph or the binding map cannot be used; every problem at once.
    """
    if problem := _name_problem(folder, name):
        raise ConfigError([problem])
    graph_path, map_path = folder / f"{name}.json", folder / f"{name}.yaml"
    if not map_path.exists() and (other := folder / f"{name}.yml").exists():
        map_path = other
    file = WorkflowJson(str(graph_path))
    data = _read(graph_path, MAX_BYTES, file.problems)
    graph = file.read(data) if data is not None else {}
    root, problems = _read_map(map_path)
    if file.problems or problems:
        raise ConfigError([*file.problems, *problems])
    bound = read_bindings(root, str(map_path), graph)
    facts = _facts(graph, bound)
    missing = [
        Problem(str(map_path), None, key, "", wish)
        for key, wish in _WISHES.items()
        if not facts[key] and not any(problem.key.startswith(key) for problem in bound.problems)
    ]
    if bound.problems or missing:
        raise ConfigError([*bound.problems, *missing])
    return CustomWorkflow(name=name, graph=graph, **facts)


def _facts(graph: Graph, bound: Bindings) -> dict[str, Any]:
    """What the map says, and what the graph tells where the map says nothing."""
    taken = {place for places in bound.places.values() for place in places}
    facts: dict[str, Any] = {
        key: tuple(place for place in places if place not in taken)
        for key, places in told_by_sampler(graph).items()
    } | bound.places
    if "picture_in" in bound.places and "latent_in" not in bound.places:
        facts["latent_in"] = ()
    for key in ONE_PLACE:
        facts[key] = next(iter(facts.get(key, ())), None)
    picture = bound.sources["picture_out"] if "picture_out" in bound.sources else told_picture(graph)
    latent, vae = told_decoding(graph, picture)
    return {**facts, "picture_out": picture, "latent_out": latent, "vae": vae, **bound.sources}


def _name_problem(folder: Path, name: str) -> Problem | None:
    shown = ascii(name)[:80]
    if not name or len(name) > MAX_NAME_CHARS or name.startswith(".") or not _is_plain(name):
        wish = "the plain name of a file there, without folder and suffix"
        return Problem(str(folder), None, "workflow", shown, wish)
    if (folder / f"{name}.json").exists():
        return None
    names = sorted(path.stem for path in folder.glob("*.json"))
    near = nearest(name, names)
    hint = f"did you mean {near!r}?" if near else f"there is {', '.join(names[:8]) or 'none at all'}"
    return Problem(str(folder), None, "workflow", shown, f"the name of a *.json file there; {hint}")


def _is_plain(name: str) -> bool:
    return not any(char in '/\\:*?"<>|' or unicodedata.category(char)[0] == "C" for char in name)


def _read(path: Path, limit: int, problems: list[Problem]) -> bytes | None:
    try:
        return read_at_most(path, limit)
    except OSError as error:
        wish = f"cannot be read: {error.strerror or error}"
        problems.append(Problem(str(path), None, "file", "", wish))
        return None


def _read_map(path: Path) -> tuple[Located, list[Problem]]:
    """The binding map; without a file everything is left to the graph."""
    nothing, problems = Located(None, 1), list[Problem]()
    if not path.exists():
        return nothing, problems
    data = _read(path, MAX_CHARS, problems)
    if data is None:
        return nothing, problems
    try:
        return load(data.decode("utf-8-sig"), str(path))
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        return nothing, [
            Problem(str(path), line, "file", shorten(repr(error.object[error.start])), "text in UTF-8")
        ]
