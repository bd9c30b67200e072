from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import pytest
import torch

from backend.cache.injection import Source
from backend.cache.matching import Judgement
from backend.cache.memory_row import Added, NewMemory, Origin
from backend.core.medicine import FreshPicture, Medicine
from backend.interpolation.latent_encoder import write_latents
from tests.core.test_scorer import NOW, OTHER, PLAIN, Album, keyframe, vector

LATENT = torch.full((1, 4, 2, 2), 3.0)
SEEN = Judgement(vector(b"now"), PLAIN, 0.5, None)


def medicine(album: Album) -> Medicine:
    return Medicine(album, encode=lambda _: torch.zeros(1, 4, 2, 2), wall=lambda: NOW)


def like(picture: bytes, of: bytes) -> Judgement:
    """A judgement that lies between two pictures."""
    between = vector(picture) + vector(of)
    return Judgement(between / math.sqrt(float(between @ between)), PLAIN, 0.6, None)


def fresh(theme: str = "sea", memory_id: str | None = None) -> FreshPicture:
    one = keyframe(9)
    one = replace(one, prompt=replace(one.prompt, theme=theme))
    return FreshPicture.of(one, LATENT, like(b"fresh", b"now"), memory_id)


def remember(album: Album, picture: bytes, origin: Origin = Origin.DREAMT) -> str:
    latent = None if origin is Origin.SEED else write_latents(LATENT)
    added = album.add(NewMemory(picture, latent, vector(picture), PLAIN, 0.5, origin=origin))
    assert isinstance(added, Added)
    return added.id


def test_memories_seed_pictures_and_a_fresh_one_are_candidates_side_by_side() -> None:
    album = Album()
    ids = {
        remember(album, b"now", Origin.SEED): Source.SEED,
        remember(album, b"now "): Source.MEMORY,
    }
    album.band = lambda *_: [(name, 0.5) for name in ids]  # type: ignore[method-assign]
    cabinet = medicine(album)
    cabinet.fresh = fresh()
    found = {one.id: one.source for one in cabinet.candidates(SEEN, "sea", ())}
    assert found == ids | {cabinet.fresh.id: Source.FRESH}


def test_the_present_is_no_candidate() -> None:
    album = Album()
    one = remember(album, b"now ")
    album.band = lambda *_: [(one, 0.5)]  # type: ignore[method-assign]
    assert medicine(album).candidates(SEEN, "sea", {one}) == []


def test_a_fresh_picture_is_told_with_its_own_likeness_and_beauty_and_as_never_shown() -> None:
    cabinet = medicine(Album())
    cabinet.fresh = fresh()
    (one,) = cabinet.candidates(SEEN, "sea", ())
    assert one.similarity == pytest.approx(float(like(b"fresh", b"now").embedding @ SEEN.embedding))
    assert (one.score, one.last_shown_s) == (0.6, math.inf)


def test_a_memory_of_a_time_that_is_yet_to_come_is_as_good_as_one_of_long_ago() -> None:
    album = Album()
    one = remember(album, b"now ")
    album.band = lambda *_: [(one, 0.5)]  # type: ignore[method-assign]
    for wall, seconds in ((NOW + timedelta(hours=1), 3600.0), (NOW - timedelta(days=900), math.inf)):
        cabinet = Medicine(album, encode=lambda _: LATENT, wall=lambda now=wall: now)  # type: ignore[misc]
        assert cabinet.candidates(SEEN, "sea", ())[0].last_shown_s == seconds


def test_a_fresh_picture_that_is_remembered_too_is_one_candidate() -> None:
    album = Album()
    name = remember(album, b"fresh")
    album.band = lambda *_: [(name, 0.5)]  # type: ignore[method-assign]
    cabinet = medicine(album)
    cabinet.fresh = fresh(memory_id=name)
    assert [(one.id, one.source) for one in cabinet.candidates(SEEN, "sea", ())] == [(name, Source.FRESH)]


def test_a_fresh_picture_of_another_theme_or_of_another_judge_is_no_candidate() -> None:
    cabinet = medicine(Album())
    cabinet.fresh = fresh(theme="sky")
    assert cabinet.candidates(SEEN, "sea", ()) == []
    cabinet.fresh = fresh()
    assert cabinet.candidates(replace(SEEN, identity=OTHER), "sea", ()) == []


def test_a_fresh_picture_is_given_once() -> None:
    cabinet = medicine(Album())
    cabinet.fresh = fresh()
    assert torch.equal(cabinet.latent_of(cabinet.fresh.id), LATENT)
    assert cabinet.candidates(SEEN, "sea", ()) == []


def test_a_latent_of_another_model_is_made_anew_from_the_picture_and_kept() -> None:
    album = Album()
    cabinet, memory = medicine(album), remember(album, b"old")
    cabinet.shape = (1, 4, 7, 9)
    assert torch.equal(cabinet.latent_of(memory), LATENT)
    cabinet.shape = (1, 16, 7, 9)
    assert torch.equal(cabinet.latent_of(memory), torch.zeros(1, 4, 2, 2))
    assert album.latent(memory) is not None


def test_a_latent_that_is_none_is_set_aside_and_made_anew_from_the_picture() -> None:
    album = Album()
    cabinet, memory = medicine(album), remember(album, b"old")
    row, new = album.rows[memory]
    album.rows[memory] = (row, replace(new, latent=b"garbage"))
    assert torch.equal(cabinet.latent_of(memory), torch.zeros(1, 4, 2, 2))
    assert album.latent(memory) is None
