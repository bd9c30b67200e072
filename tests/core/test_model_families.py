from __future__ import annotations

import json

import pytest

from backend.core.model_choice import Models
from backend.core.model_families import EMBEDDED, FAMILIES, FLUX, SD15, SDXL
from backend.core.model_family import ModelFamily, Negative
from backend.core.sampling import Draw
from tests.core.graphs import (
    LOADINGS,
    VERSIONS,
    build,
    catalog,
    golden_file,
    golden_text,
    loading_name,
    problems,
    requests,
    versions_of,
)

by_name = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


@by_name
def test_every_family_has_a_size_of_whole_latent_cells_and_about_16_to_9(family: ModelFamily) -> None:
    assert family.width % family.cell_px == 0
    assert family.height % family.cell_px == 0
    assert family.width / family.height == pytest.approx(16 / 9, rel=0.04)


@by_name
def test_every_family_samples_as_its_golden_graphs_do(family: ModelFamily) -> None:
    assert json.loads(golden_text(family)) == json.loads(golden_file(family).read_text("utf-8"))


def test_there_is_no_golden_graph_of_a_family_that_is_gone() -> None:
    assert set(golden_file(SD15).parent.iterdir()) == {golden_file(family) for family in FAMILIES}


@pytest.mark.parametrize("models", LOADINGS, ids=loading_name)
def test_a_real_server_would_take_every_graph_of_every_family(models: Models) -> None:
    found = [
        (version, type(request).__name__, problems(build(models, request), version))
        for version in versions_of(models.family)
        for request in requests(models.family)
    ]
    assert found
    assert [one for one in found if one[2]] == []


@by_name
def test_a_family_names_the_version_that_brought_its_nodes(family: ModelFamily) -> None:
    nodes = [family.empty_latent, *([family.schedule_node] if family.schedule_node else [])]
    missing = {version for version in VERSIONS if any(node not in catalog(version) for node in nodes)}
    assert missing.isdisjoint(versions_of(family))


@by_name
def test_samplers_and_schedulers_are_known_to_every_version_that_runs_the_family(family: ModelFamily) -> None:
    for version in versions_of(family):
        assert family.sampler in catalog(version).choices("KSampler", "sampler_name")
        assert family.scheduler in catalog(version).choices("KSampler", "scheduler")


@by_name
def test_a_family_without_a_negative_prompt_samples_without_guidance(family: ModelFamily) -> None:
    if family.negative is Negative.ZERO:
        assert family.cfg == 1.0


def test_families_are_told_apart_by_their_names() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


def test_a_plain_model_comes_after_its_variants_since_the_first_that_fits_is_taken() -> None:
    for line in {family.line for family in FAMILIES}:
        variants = [bool(family.variant) for family in FAMILIES if family.line == line]
        assert variants == sorted(variants, reverse=True)
        assert variants.count(False) == 1


def test_settings_replace_the_numbers_of_the_family() -> None:
    assert SDXL.sampling(steps=3, cfg=2.0, sampler="euler", scheduler="simple").cfg == 2.0
    assert SDXL.sampling().steps == SDXL.steps


def test_how_strictly_to_follow_the_prompt_is_the_guidance_of_models_distilled_for_it() -> None:
    sampling = FLUX.sampling(cfg=2.5)
    assert (sampling.cfg, sampling.guidance) == (1.0, 2.5)
    assert FLUX.sampling().guidance == FLUX.guidance


@pytest.mark.parametrize(
    ("steps", "denoise", "tail"),
    [(4, 1.0, 4), (4, 0.4, 2), (4, 0.01, 1), (1, 0.3, 1), (8, 0.5, 4), (4, 0.99, 4)],
)
def test_a_tail_is_the_share_of_the_steps_and_never_empty(steps: int, denoise: float, tail: int) -> None:
    assert Draw(EMBEDDED.sampling(steps=steps), 1, denoise, 64, 64).tail_steps == tail
