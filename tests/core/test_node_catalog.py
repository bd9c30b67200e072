from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from backend.core.node_catalog import InputSpec, NodeCatalog
from tests.core.recorded import node_catalog, object_info

VERSIONS = ("0.3.64", "0.33.0")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def one_input(told: object, section: str = "required") -> InputSpec | None:
    """The spec of an input that /object_info describes as ``told``."""
    catalog = NodeCatalog.parse({"Node": {"input": {section: {"it": told}}, "output": []}})
    spec = catalog.get("Node")
    assert spec is not None
    return spec.inputs.get("it")


@pytest.mark.parametrize("version", VERSIONS)
def test_every_class_of_a_real_server_is_read_with_all_its_inputs(version: str) -> None:
    told, catalog = object_info(version), node_catalog(version)
    assert catalog.names == tuple(told)
    for name, entry in told.items():
        inputs = {*entry["input"].get("required", {}), *entry["input"].get("optional", {})}
        spec = catalog.get(name)
        assert spec is not None
        assert set(spec.inputs) == inputs
        assert len(spec.outputs) == len(entry["output"])
        assert spec.is_output == entry["output_node"]


@pytest.mark.parametrize(
    "told",
    [
        [["a", "b"]],
        [["a", "b"], {"tooltip": "which"}],
        ["COMBO", {"options": ["a", "b"], "multiselect": False}],
    ],
)
def test_both_formats_of_choice_lists_are_the_same_to_us(told: list[Any]) -> None:
    assert one_input(told) == InputSpec("it", "COMBO", choices=("a", "b"))


def test_the_same_list_is_read_from_an_old_and_a_new_server() -> None:
    old, new = (node_catalog(version).choices("KSamplerSelect", "sampler_name") for version in VERSIONS)
    assert isinstance(object_info("0.3.64")["KSamplerSelect"]["input"]["required"]["sampler_name"][0], list)
    assert object_info("0.33.0")["KSamplerSelect"]["input"]["required"]["sampler_name"][0] == "COMBO"
    assert set(old) < set(new)


def test_a_list_that_only_the_server_can_fill_is_not_known() -> None:
    spec = one_input(["COMBO", {"remote": {"route": "/internal/files/output"}}])
    assert spec == InputSpec("it", "COMBO", uploads=True)


def test_files_that_may_be_uploaded_at_any_time_are_told_apart() -> None:
    for class_type, name in (("LoadImage", "image"), ("LoadLatent", "latent"), ("LoadImageMask", "image")):
        spec = node_catalog("0.3.64").get(class_type)
        assert spec is not None
        assert spec.inputs[name].uploads
    channel = node_catalog("0.3.64").get("LoadImageMask")
    assert channel is not None
    assert not channel.inputs["channel"].uploads


def test_a_limit_above_what_floats_can_hold_stays_exact() -> None:
    sampler = node_catalog("0.3.64").get("KSampler")
    assert sampler is not None
    assert sampler.inputs["seed"].maximum == 2**64 - 1


def test_inputs_with_parts_are_known_by_their_choice_and_are_not_missed() -> None:
    catalog = node_catalog("0.33.0")
    resize, batch = catalog.get("ResizeImageMaskNode"), catalog.get("BatchImagesNode")
    assert resize is not None
    assert batch is not None
    assert resize.inputs["resize_type"].kind == "COMBO"
    assert "scale dimensions" in (resize.inputs["resize_type"].choices or ())
    assert resize.inputs["input"].kind == resize.outputs[0] == "*"
    assert not batch.inputs["images"].required


def test_what_stands_as_required_and_as_optional_is_required() -> None:
    entry = {"input": {"required": {"it": ["INT"]}, "optional": {"it": ["INT"]}}}
    spec = NodeCatalog.parse({"Node": entry}).get("Node")
    assert spec is not None
    assert spec.inputs["it"].required


@pytest.mark.parametrize("told", [None, [], "html", 3])
def test_an_answer_that_is_no_object_is_refused(told: object) -> None:
    with pytest.raises(ValueError, match="not a JSON object"):
        NodeCatalog.parse(told)


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"input": None, "output": None},
        {"input": {"required": []}},
        {"input": {"required": {"a": None, "b": [], "c": "INT", "d": [None], "e": [{}], "f": [7, 8]}}},
        {"input": {"required": {"a": ["COMBO", None]}}, "output": [None, 3, []]},
    ],
)
def test_an_odd_entry_does_not_hide_its_neighbours(entry: object) -> None:
    catalog = NodeCatalog.parse({"Odd": entry, "Worse": 7, "Good": {"input": {"required": {"x": ["INT"]}}}})
    good = catalog.get("Good")
    assert good is not None
    assert good.inputs["x"].kind == "INT"
    assert "Worse" not in catalog


def test_limits_that_are_no_numbers_are_no_limits() -> None:
    spec = one_input(["FLOAT", {"min": "0", "max": float("nan")}])
    assert spec == InputSpec("it", "FLOAT")


@given(st.dictionaries(st.text(max_size=4), JSON | st.fixed_dictionaries({"input": JSON, "output": JSON})))
@examples(max_examples=100, deadline=None)
def test_whatever_a_server_answers_is_read_without_an_error(told: dict[str, Any]) -> None:
    catalog = NodeCatalog.parse(told)
    assert set(catalog.names) <= set(told)
    assert catalog == NodeCatalog.parse(told)


def test_other_choices_make_another_catalog_and_leave_the_first_as_it_was() -> None:
    catalog = node_catalog("0.3.64")
    before = catalog.choices("LoraLoader", "lora_name")
    changed = catalog.with_choices("LoraLoader", "lora_name", ["x.safetensors"])
    assert changed.choices("LoraLoader", "lora_name") == ("x.safetensors",)
    assert catalog.choices("LoraLoader", "lora_name") == before
    with pytest.raises(KeyError):
        catalog.with_choices("LoraLoader", "nope", [])
