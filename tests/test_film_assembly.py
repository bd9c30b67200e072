"""Films from a ComfyUI that others use, too."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from backend.config import Settings, settings_from
from backend.errors import EngineError, ExportRefused
from backend.film.export import Wishes, export
from backend.film.formats import format_of
from backend.film.keyframe_files import FOLDER, Told, file_name, keyframe_bytes
from backend.film.spans import Span
from backend.film_assembly import material_of, rendered_footage
from tests.fakes.fake_comfy import FakeComfy
from tests.film.pictures import decoded

TOLD = Told("sea", "a quiet sea", "text", 7, 0.45, "embedded", "dreamloop-painter", True)


def settings_for(folder: Path, url: str) -> Settings:
    tree = {
        "comfyui": {"url": url},
        "dream": {"size": "64x64"},
        "storage": {"output": str(folder / "output"), "status": str(folder / "status")},
    }
    return settings_from(json.dumps(tree).encode(), folder / "config.yaml", {}).settings


def record(settings: Settings, count: int, told: Told = TOLD) -> None:
    folder = settings.storage.output / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, count + 1):
        latent = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(number))
        name = file_name(number, 1_767_000_000.0 + number, 0.5)
        (folder / name).write_bytes(keyframe_bytes(latent, replace(told, seed=number)))


def film(
    settings: Settings, target: Path, loops: bool = False, last_s: float = 1.0, gap_s: float | None = None
) -> int:
    material = material_of(settings, Span(last_s=last_s))
    with rendered_footage(settings, material, fps=8.0, gap_s=gap_s, loops=loops) as footage:
        wishes = Wishes(fps=8.0, size=footage.size, loops=loops)
        made = export(
            footage.source, target, format_of(target), wishes, footage.words, is_ring=footage.is_ring
        )
    return made.frames


def test_the_last_second_is_painted_once_more_and_nothing_of_it_stays_on_the_server(
    fake_comfy: FakeComfy, tmp_path: Path
) -> None:
    settings = settings_for(tmp_path, fake_comfy.url)
    record(settings, 6)
    assert film(settings, tmp_path / "film.webp") == 8
    assert len(decoded(tmp_path / "film.webp")) == 8
    server = tmp_path / "fake-comfy"
    assert not list(server.glob("output/**/*.latent"))
    assert len(list(server.glob("temp/**/*.latent"))) <= 16
    assert not [path for path in (tmp_path / "output").iterdir() if path.name != FOLDER]


@pytest.mark.parametrize(("last_s", "gap_s", "frames"), [(0.75, None, 6), (1.25, 2.0, 40), (60.0, None, 17)])
def test_a_film_is_as_long_as_is_asked_for(
    fake_comfy: FakeComfy, tmp_path: Path, last_s: float, gap_s: float | None, frames: int
) -> None:
    settings = settings_for(tmp_path, fake_comfy.url)
    record(settings, 5)
    assert film(settings, tmp_path / "film.webp", last_s=last_s, gap_s=gap_s) == frames


def test_others_on_the_server_go_first_and_keep_their_jobs(fake_comfy: FakeComfy, tmp_path: Path) -> None:
    settings = settings_for(tmp_path, fake_comfy.url)
    record(settings, 3)
    fake_comfy.painter.hold()
    theirs = fake_comfy.foreign_job()
    made: list[int] = []
    thread = threading.Thread(target=lambda: made.append(film(settings, tmp_path / "film.webp")), daemon=True)
    thread.start()
    fake_comfy.painter.release()
    thread.join(60.0)
    assert made == [8]
    assert theirs in fake_comfy.executed()
    assert not fake_comfy.posted("/interrupt")
    assert not fake_comfy.posted("/queue")


@pytest.mark.parametrize(
    ("count", "told", "why"),
    [
        (1, TOLD, "at least two"),
        (4, replace(TOLD, family="sdxl"), "0 recorded keyframes of this part are of a model"),
    ],
)
def test_what_this_engine_cannot_paint_is_said(
    fake_comfy: FakeComfy, tmp_path: Path, count: int, told: Told, why: str
) -> None:
    settings = settings_for(tmp_path, fake_comfy.url)
    record(settings, count, told)
    with pytest.raises(ExportRefused, match=why):
        film(settings, tmp_path / "film.webp")
    assert not fake_comfy.posted("/prompt")


def test_an_engine_that_goes_away_leaves_no_film(fake_comfy: FakeComfy, tmp_path: Path) -> None:
    settings = settings_for(tmp_path, fake_comfy.url)
    record(settings, 4)
    fake_comfy.fault("POST", "/prompt", status=500, times=50)
    with pytest.raises(EngineError):
        film(settings, tmp_path / "film.webp")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith((".film", "film"))]


def test_a_span_reaches_one_keyframe_farther_back_than_its_gaps(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, "http://127.0.0.1:9")
    record(settings, 10)
    material = material_of(settings, Span(last_s=2.0))
    assert [one.sequence for one in material.keyframes] == [6, 7, 8, 9, 10]
    assert material.keyframes_s == 2.0
    assert len(material_of(settings, Span(last_s=3600.0)).keyframes) == 10
    assert [one.sequence for one in material_of(settings, Span(since=1_767_000_008.5)).keyframes] == [9, 10]
