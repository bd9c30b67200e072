from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from backend.core.api_graph import (
    Source,
    changeable,
    find_circle,
    loose_ends,
    needed_by,
    repoint,
    source_of,
)


def node(**inputs: Any) -> dict[str, Any]:
    return {"class_type": "Any", "inputs": inputs}


CHAIN = {"1": node(), "2": node(a=["1", 0], b=["1", 1]), "3": node(a=["2", 0]), "4": node(a=["1", 0])}


@pytest.mark.parametrize("value", [["1"], ["1", True], [1, 0], ["1", 0, 0], "1", None, {}])
def test_only_a_node_and_an_output_number_are_a_link(value: object) -> None:
    assert source_of(value) is None
    assert source_of(["1", 0]) == Source("1", 0)


def test_a_node_needs_all_above_it_and_nothing_else() -> None:
    assert needed_by(CHAIN, ["3"]) == {"1", "2", "3"}
    assert loose_ends(CHAIN) == {"3", "4"}


def test_other_links_stay_when_some_are_pointed_elsewhere() -> None:
    nodes = changeable(CHAIN)
    nodes["5"] = node(a=["1", 0])
    repoint(nodes, Source("1", 0), Source("5", 0))
    assert nodes["2"]["inputs"] == {"a": ["5", 0], "b": ["1", 1]}
    assert nodes["5"]["inputs"] == {"a": ["1", 0]}
    assert CHAIN["2"]["inputs"]["a"] == ["1", 0]


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdefx"), max_size=2), max_size=6)
)
@examples(max_examples=200, deadline=None)
def test_a_circle_is_found_where_there_is_one_and_nowhere_else(links: dict[str, list[str]]) -> None:
    graph = {
        node_id: node(**{str(number): [source, 0] for number, source in enumerate(sources)})
        for node_id, sources in links.items()
    }
    circle = find_circle(graph)
    for here, above in pairwise(circle):
        assert above in links[here]
    reaches_itself = any(
        node_id in needed_by(graph, [source for source in sources if source in graph])
        for node_id, sources in links.items()
    )
    assert bool(circle) is reaches_itself
    assert not circle or circle[0] == circle[-1]


def test_a_chain_of_ten_thousand_nodes_has_no_circle() -> None:
    graph = {str(number): node(a=[str(number - 1), 0]) for number in range(10_000)}
    assert find_circle(graph) == ()
    assert find_circle(graph | {"0": node(a=["9999", 0])})[0] in graph
