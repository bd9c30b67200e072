from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from backend.core.api_graph import Source
from backend.core.workflow_files import load_workflow
from backend.core.workflow_json import MAX_BYTES
from backend.core.workflow_places import Place
from backend.errors import ConfigError, Problem
from backend.utils.theme_files import read_theme
from tests.core.workflows import (
    CONTROLLED,
    ENLARGED,
    EXAMPLES,
    FLUX,
    PLAIN,
    TWO_SAMPLERS,
    loaded,
    node,
    written,
)


def problems(folder: Path, graph: Any, bindings: str | None = None) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, graph, bindings)
    return caught.value.problems


def only(found: tuple[Problem, ...]) -> Problem:
    (problem,) = found
    return problem


def without(graph: dict[str, Any], *node_ids: str) -> dict[str, Any]:
    return {node_id: node for node_id, node in graph.items() if node_id not in node_ids}


# What is told from the graph


def test_a_workflow_with_one_sampler_needs_no_map(tmp_path: Path) -> None:
    workflow = loaded(tmp_path, PLAIN)
    assert workflow.prompt == (Place("2", "text"),)
    assert workflow.negative == (Place("3", "text"),)
    assert workflow.seed == (Place("5", "seed"),)
    assert workflow.denoise == (Place("5", "denoise"),)
    assert (workflow.width, workflow.height) == ((Place("4", "width"),), (Place("4", "height"),))
    assert workflow.latent_in == Place("5", "latent_image")
    assert workflow.picture_in is None
    assert workflow.picture_out == Source("6", 0)
    assert workflow.latent_out == Source("5", 0)
    assert workflow.vae == Source("1", 2)


def test_the_map_of_the_example_says_what_its_graph_tells(tmp_path: Path) -> None:
    said = load_workflow(EXAMPLES, "example")
    told = loaded(tmp_path, PLAIN)
    assert {**vars(said), "name": ""} == {**vars(told), "name": ""}


def test_a_custom_sampler_is_told_by_what_guides_it(tmp_path: Path) -> None:
    workflow = loaded(tmp_path, FLUX)
    assert workflow.prompt == (Place("4", "clip_l"), Place("4", "t5xxl"))
    assert workflow.negative == ()
    assert workflow.seed == (Place("7", "noise_seed"),)
    assert workflow.denoise == (Place("9", "denoise"),)
    assert workflow.width == (Place("10", "width"),)
    assert (workflow.latent_in, workflow.latent_out) == (Place("11", "latent_image"), Source("11", 0))
    assert workflow.vae == Source("3", 0)


def test_words_are_found_behind_a_control_net(tmp_path: Path) -> None:
    workflow = loaded(tmp_path, CONTROLLED)
    assert (workflow.prompt, workflow.negative) == ((Place("2", "text"),), (Place("3", "text"),))


@pytest.mark.parametrize(
    "negative",
    [
        {"60": node("ConditioningZeroOut", conditioning=["2", 0])},
        {"60": node("FluxGuidance", conditioning=["2", 0])},
    ],
)
def test_a_negative_made_of_the_prompt_itself_takes_no_words(
    tmp_path: Path, negative: dict[str, Any]
) -> None:
    sampler = node("KSampler", **{**PLAIN["5"]["inputs"], "negative": ["60", 0]})
    assert loaded(tmp_path, {**PLAIN, "5": sampler, **negative}).negative == ()


def test_a_picture_that_is_changed_after_decoding_keeps_the_latent_before_it(tmp_path: Path) -> None:
    workflow = loaded(tmp_path, ENLARGED)
    assert (workflow.picture_out, workflow.latent_out, workflow.vae) == (
        Source("30", 0),
        Source("5", 0),
        Source("1", 2),
    )


def test_two_samplers_leave_doubt_that_only_the_map_can_end(tmp_path: Path) -> None:
    found = problems(tmp_path, TWO_SAMPLERS)
    assert [problem.key for problem in found] == ["prompt", "seed"]
    assert all("the graph alone does not tell" in problem.wish for problem in found)
    bindings = (
        "prompt: {node: Words, input: text}\nseed: [{node: '5', input: seed}, {node: Second, input: seed}]"
    )
    workflow = loaded(tmp_path, TWO_SAMPLERS, bindings)
    assert workflow.seed == (Place("5", "seed"), Place("41", "seed"))
    assert workflow.latent_out == Source("41", 0)
    assert workflow.latent_in is None


def test_words_that_other_nodes_write_are_in_doubt(tmp_path: Path) -> None:
    words = {
        "2": node("CLIPTextEncode", text=["70", 0], clip=["1", 1]),
        "70": node("StringConcatenate", string_a=""),
    }
    assert [problem.key for problem in problems(tmp_path, {**PLAIN, **words})] == ["prompt"]


def test_of_two_saved_pictures_the_decoded_one_is_meant(tmp_path: Path) -> None:
    more = {"80": node("LoadImage", image="x.png"), "81": node("PreviewImage", images=["80", 0])}
    assert loaded(tmp_path, {**PLAIN, **more}).picture_out == Source("6", 0)


# What the map says


def test_the_map_overrules_what_the_graph_tells(tmp_path: Path) -> None:
    bindings = "prompt: {node: Not these, input: text}\nnegative:\ndenoise:\nlatent_out:\n"
    workflow = loaded(tmp_path, PLAIN, bindings)
    assert workflow.prompt == (Place("3", "text"),)
    assert (workflow.negative, workflow.denoise, workflow.latent_out) == ((), (), None)


def test_a_place_that_the_map_gives_to_one_thing_is_not_told_to_be_another(tmp_path: Path) -> None:
    workflow = loaded(tmp_path, PLAIN, "prompt: {node: '3', input: text}")
    assert workflow.negative == ()


def test_a_node_is_named_by_id_by_title_or_by_its_class(tmp_path: Path) -> None:
    for name in ("'5'", "5", "KSampler"):
        workflow = loaded(tmp_path, PLAIN, f"seed: {{node: {name}, input: seed}}")
        assert workflow.seed == (Place("5", "seed"),)
    assert loaded(tmp_path, PLAIN, "prompt: {node: Words, input: text}").prompt == (Place("2", "text"),)


def test_a_picture_may_come_in_where_no_latent_does(tmp_path: Path) -> None:
    graph = {
        **PLAIN,
        "4": node("VAEEncode", pixels=["90", 0], vae=["1", 2]),
        "90": node("LoadImage", image="start.png"),
    }
    workflow = loaded(tmp_path, graph, "picture_in: {node: LoadImage, input: image}")
    assert (workflow.picture_in, workflow.latent_in) == (Place("90", "image"), None)


def test_an_output_is_the_one_that_fits_unless_its_number_is_said(tmp_path: Path) -> None:
    loader = loaded(tmp_path, PLAIN, "vae: {node: CheckpointLoaderSimple}").vae
    second = loaded(tmp_path, PLAIN, "latent_out: {node: KSampler, output: 1}").latent_out
    assert (loader, second) == (Source("1", 2), Source("5", 1))


def test_a_node_that_saves_stands_for_what_it_saves(tmp_path: Path) -> None:
    graph = {**PLAIN, "8": node("SaveLatent", samples=["5", 0], filename_prefix="x")}
    workflow = loaded(tmp_path, graph, "picture_out: {node: SaveImage}\nlatent_out: {node: SaveLatent}")
    assert (workflow.picture_out, workflow.latent_out) == (Source("6", 0), Source("5", 0))


@pytest.mark.parametrize(
    ("bindings", "line", "key", "words"),
    [
        ("\nprompt: {node: Wrods, input: text}", 2, "prompt.node", "did you mean 'Words'?"),
        ("prompt: {node: CLIPTextEncode, input: text}", 1, "prompt.node", "nodes 2, 3 are called so"),
        ("prompt: {node: Words, input: txt}", 1, "prompt.input", "did you mean 'text'? It has text, clip"),
        ("prompt: {node: Words}", 1, "prompt.input", "the input of node 2; it has text, clip"),
        ("prompt: {input: text}", 1, "prompt.node", "the id, the title or the class of a node"),
        ("prompt: Words", 1, "prompt", "{node: ..., input: ...}"),
        ("prompt: {node: Words, input: text, nod: 1}", 1, "prompt.nod", "did you mean node?"),
        ("promt: {node: Words, input: text}", 1, "promt", "did you mean prompt?"),
        ("seed: {node: KSampler, input: cfg}", 1, "seed.input", "where a whole number stands, not 6.0"),
        ("prompt: {node: KSampler, input: steps}", 1, "prompt.input", "where a text stands"),
        ("latent_in: {node: KSampler, input: steps}", 1, "latent_in.input", "a link, or a file's name"),
        (
            "negative: {node: Words, input: text}\nprompt: {node: '2', input: text}",
            2,
            "prompt",
            "a place of its own",
        ),
        ("latent_out: {node: KSampler, output: -1}", 1, "latent_out.output", "counted from 0"),
        ("latent_out: {node: KSampler, output: first}", 1, "latent_out.output", "counted from 0"),
        (
            "latent_in: [{node: '5', input: latent_image}, {node: '6', input: samples}]",
            1,
            "latent_in",
            "one place",
        ),
        ("- prompt", 1, "file", "a mapping with the keys prompt, "),
        ("prompt: {node: '2', input: text}\nprompt: {node: '3', input: text}", 2, "prompt", "only once"),
        ("prompt: [", 1, "syntax", "while parsing"),
        ("prompt: {node: 'a\\0', input: text}", 1, "prompt.node", "the id, the title or the class"),
    ],
)
def test_a_wrong_binding_is_told_with_its_line(
    tmp_path: Path, bindings: str, line: int, key: str, words: str
) -> None:
    problem = only(problems(tmp_path, PLAIN, bindings))
    assert (problem.source, problem.line, problem.key) == (str(tmp_path / "mine.yaml"), line, key)
    assert words in problem.wish


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    bindings = "prompt: {node: Nobody, input: text}\nsead: {node: KSampler, input: seed}\nseed:\n"
    found = problems(tmp_path, without(PLAIN, "7", "6"), bindings)
    assert [problem.key for problem in found] == ["prompt.node", "sead", "seed", "picture_out"]


def test_either_suffix_of_yaml_is_read(tmp_path: Path) -> None:
    written(tmp_path, PLAIN)
    (tmp_path / "mine.yml").write_text("negative:\n")
    assert load_workflow(tmp_path, "mine").negative == ()


def test_a_latent_that_is_saved_on_its_way_is_the_one_before_it(tmp_path: Path) -> None:
    graph = {
        **PLAIN,
        "6": node("VAEDecode", samples=["8", 0], vae=["1", 2]),
        "8": node("SaveLatent", samples=["5", 0], filename_prefix="x"),
    }
    assert loaded(tmp_path, graph).latent_out == Source("5", 0)


def test_a_map_that_is_no_text_is_told(tmp_path: Path) -> None:
    written(tmp_path, PLAIN)
    (tmp_path / "mine.yaml").write_bytes(b"prompt:\n  \xff")
    with pytest.raises(ConfigError, match=r"mine\.yaml:2: file"):
        load_workflow(tmp_path, "mine")


# What is no workflow


def test_a_file_of_the_editor_is_refused_with_the_way_to_export_the_right_one(tmp_path: Path) -> None:
    ui = {
        "last_node_id": 9,
        "last_link_id": 9,
        "nodes": [{"id": 1, "type": "KSampler"}],
        "links": [],
        "version": 0.4,
    }
    problem = only(problems(tmp_path, ui))
    assert "Save (API Format)" in problem.wish
    assert "Export (API)" in problem.wish


def test_a_circle_is_told_with_its_way(tmp_path: Path) -> None:
    graph = {**PLAIN, "4": node("VAEEncode", pixels=["6", 0], vae=["1", 2])}
    problem = only(problems(tmp_path, graph))
    assert "no circle of links: " in problem.wish
    assert {"4", "5", "6"} == set(problem.wish.partition(": ")[2].split(" -> "))


def test_a_workflow_without_a_picture_is_told_so(tmp_path: Path) -> None:
    problem = only(problems(tmp_path, without(PLAIN, "6", "7")))
    assert (problem.key, problem.source) == ("picture_out", str(tmp_path / "mine.yaml"))


def test_a_link_to_nowhere_is_told_with_its_line(tmp_path: Path) -> None:
    problem = only(problems(tmp_path, without(PLAIN, "4")))
    text = (tmp_path / "mine.json").read_text().splitlines()
    assert problem.key == "5.inputs.latent_image"
    assert problem.line is not None
    assert '"latent_image"' in text[problem.line - 1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "valid JSON"),
        ("[]", "an object: node id to node"),
        ("{}", "at least one node"),
        ('{"1": 3}', '"class_type"'),
        ('{"1": {"class_type": 3, "inputs": {}}}', '"class_type"'),
        ('{"1": {"class_type": "KSampler"}}', "an object of inputs"),
        ('{"1": {"class_type": "K", "inputs": {"a": 1, "a": 2}}}', "only once"),
        ('{"1": {"class_type": "K", "inputs": {"cfg": NaN}}}', "NaN and Infinity are no JSON"),
        (
            '{"1": {"class_type": "K", "inputs": {"text": "\\ud800"}}}',
            "without NUL and without lone surrogates",
        ),
        (
            '{"1": {"class_type": "K", "inputs": {"text": "a\\u0000"}}}',
            "without NUL and without lone surrogates",
        ),
        ('{"1": {"class_type": "K", "inputs": {"seed": ' + "9" * 5000 + "}}}", "valid JSON"),
        ("[" * 100_000, "fewer levels"),
    ],
    ids=lambda value: value[:40],
)
def test_a_file_that_is_no_graph_is_told_in_words(tmp_path: Path, text: str, words: str) -> None:
    assert any(words in problem.wish for problem in problems(tmp_path, text))


def test_a_backslash_before_u0000_is_a_text_like_any_other(tmp_path: Path) -> None:
    graph = {**PLAIN, "2": node("CLIPTextEncode", text="C:\\u0000", clip=["1", 1])}
    assert loaded(tmp_path, graph).graph["2"]["inputs"]["text"] == "C:\\u0000"


def test_the_second_of_two_nodes_with_one_id_is_told_with_its_line(tmp_path: Path) -> None:
    text = '{\n"1": {"class_type": "A", "inputs": {}},\n"1": {"class_type": "B", "inputs": {}}\n}'
    problem = only(problems(tmp_path, text))
    assert (problem.line, problem.key) == (3, "1")


def test_a_file_that_is_no_text_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_bytes(b'{\n"1": "\xff"}')
    with pytest.raises(ConfigError, match=r"mine\.json:2: file = byte 0xff: text in UTF-8"):
        load_workflow(tmp_path, "mine")


def test_a_giant_file_is_not_parsed(tmp_path: Path) -> None:
    problem = only(problems(tmp_path, '{"1": "' + "x" * MAX_BYTES + '"}'))
    assert problem.wish == "a file of at most 4 MB"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "mine.json")
    with pytest.raises(ConfigError, match="not a regular file"):
        load_workflow(tmp_path, "mine")


@pytest.mark.parametrize(
    "name", ["../mine", "a/b", "a\\b", "", ".", "..", ".hidden", "a\0b", "/etc/passwd", "x" * 101]
)
def test_a_name_never_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    written(tmp_path, PLAIN)
    with pytest.raises(ConfigError, match="the plain name of a file there"):
        load_workflow(inside, name)


def test_a_name_that_is_not_there_is_told_with_the_nearest(tmp_path: Path) -> None:
    written(tmp_path, PLAIN)
    with pytest.raises(ConfigError, match="did you mean 'mine'"):
        load_workflow(tmp_path, "mien")
    with pytest.raises(ConfigError, match="there is none at all"):
        load_workflow(tmp_path / "nowhere", "mine")


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.text(max_size=6)
        | st.sampled_from(["1", "2", "KSampler"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["1", "2", "class_type", "inputs", "_meta", "title", "images", "nodes"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    ),
    st.text(max_size=40),
)
@examples(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_stands_in_the_files_only_a_config_error_comes_of_it(
    tmp_path: Path, graph: Any, bindings: str
) -> None:
    folder = written(tmp_path, json.dumps(graph))
    (folder / "mine.yaml").write_bytes(bindings.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigError):
        load_workflow(folder, "mine")


# Beside the themes


def test_workflows_are_not_taken_for_themes() -> None:
    themes = EXAMPLES.parent
    assert EXAMPLES.name not in {path.name for path in themes.glob("*.yaml")}
    assert EXAMPLES.suffix == ""
    assert all(
        read_theme(path)[0] is not None for path in themes.iterdir() if path.suffix in (".yaml", ".yml")
    )
