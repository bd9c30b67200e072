from __future__ import annotations

import errno
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from backend.core.resume_point import PointUnfit, ResumePoint, read_point
from backend.core.resume_store import FOLDER, POINT, ResumeStore, mark_of
from backend.errors import StorageError

A, B = "a" * 64, "b" * 64


def point_of(number: int = 7, latent: str | None = A, picture: str = B) -> ResumePoint:
    version, state, pair = random.Random(1).getstate()
    return ResumePoint.model_validate(
        {
            "written_at": "2026-11-20T12:00:00.000Z",
            "model": "embedded: painter",
            "tail": [
                {
                    "number": number,
                    "latent": latent,
                    "picture": picture,
                    "theme": "sea 🌊",
                    "positive": "a quiet sea",
                    "negative": "noise",
                    "seed": 2**53 - 1,
                    "denoise": 0.45,
                    "parent": None,
                    "seconds": 0.4,
                    "size": (64, 40),
                    "folded": None,
                    "place": 41,
                }
            ],
            "next_place": 17,
            "end_place": 42,
            "prompts": {
                "theme": "sea 🌊",
                "theme_s": 17.5,
                "prompt": 1,
                "prompt_s": 2.0,
                "part": None,
                "draw": None,
            },
            "counts": {"keyframes": 7},
            "seed": None,
            "random": (version, state, pair),
            "turns": (0.1, 0.2),
            "interval_s": 3.5,
        }
    )


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_was_saved_is_loaded_as_it_was(tmp_path: Path) -> None:
    point = point_of()
    ResumeStore(tmp_path).save(point)
    store = ResumeStore(tmp_path)
    assert store.load() == point
    assert store.note == ""


def test_the_first_start_finds_nothing_and_says_nothing(tmp_path: Path) -> None:
    store = ResumeStore(tmp_path / "nowhere")
    assert store.load() is None
    assert store.note == ""


def test_contents_are_named_by_what_they_are_and_go_when_no_point_names_them(tmp_path: Path) -> None:
    store = ResumeStore(tmp_path)
    old = store.keep(b"old latent", is_latent=True)
    store.save(point_of(latent=old))
    new, picture = store.keep(b"new latent", is_latent=True), store.keep(b"picture", is_latent=False)
    assert store.file(old) == b"old latent"
    store.save(point_of(latent=new, picture=picture))
    assert names(tmp_path / FOLDER) == {POINT, f"{new}.latent", f"{picture}.picture"}
    assert store.file(new) == b"new latent"
    assert store.file(picture) == b"picture"
    assert store.file(old) is None


def test_a_content_that_was_damaged_is_not_handed_out_but_written_anew(tmp_path: Path) -> None:
    store = ResumeStore(tmp_path)
    digest = store.keep(b"latent", is_latent=True)
    path = tmp_path / FOLDER / f"{digest}.latent"
    path.write_bytes(b"")
    assert store.file(digest) is None
    assert store.keep(b"latent", is_latent=True) == digest
    assert store.file(digest) == b"latent"


def test_the_mark_is_the_same_at_each_start_and_another_for_each_folder(tmp_path: Path) -> None:
    mark = mark_of(tmp_path / "one")
    assert mark_of(tmp_path / "one") == mark
    assert mark_of(tmp_path / "two") != mark
    (tmp_path / "one" / FOLDER / "mark").write_bytes(b"\xff" * 5000)
    other = mark_of(tmp_path / "one")
    assert other != mark
    assert mark_of(tmp_path / "one") == other
    (tmp_path / "three").write_text("in the way")
    assert mark_of(tmp_path / "three") != mark_of(tmp_path / "three")


def test_temporaries_of_a_killed_run_are_swept(tmp_path: Path) -> None:
    store = ResumeStore(tmp_path)
    store.save(point_of())
    (tmp_path / FOLDER / f".{POINT}.{2**31 - 2}.1.tmp").write_bytes(b"half")
    assert store.load() == point_of()
    assert names(tmp_path / FOLDER) == {POINT}


def text(**changes: Any) -> bytes:
    return json.dumps({**point_of().model_dump(mode="json"), **changes}).encode()


@pytest.mark.parametrize(
    ("data", "suffix", "said"),
    [
        (b"", "unreadable", "it is no JSON"),
        (b"\0" * 4096, "unreadable", "it is no JSON"),
        (text()[:-40], "unreadable", "it is no JSON"),
        (b"[" * 100_000, "unreadable", "it is no JSON"),
        (b"[]", "unreadable", "it tells no version"),
        (b"{}", "unreadable", "it tells no version"),
        (text(schema_version="1"), "unreadable", "it tells no version"),
        (text(schema_version=99), "from-v99", "from a newer Dreamloop"),
        (text(schema_version=-3), "from-v-3", "not known any more"),
        (text(tail=None), "unreadable", "tail"),
        (text(tail=[]), "unreadable", "tail"),
        (text(counts={"keyframes": -1}), "unreadable", "counts.keyframes"),
        (text(interval_s=float("nan")), "unreadable", "interval_s"),
        (text(random=[3, [1, 2, 3], None]), "unreadable", "random state"),
        (
            text(tail=[{**point_of().keyframe.model_dump(), "latent": "../../etc/passwd"}]),
            "unreadable",
            "latent",
        ),
        (b" " * 5_000_000, "unreadable", "far too large"),
    ],
)
def test_a_point_that_cannot_be_used_is_set_aside_by_name_with_its_files_and_that_is_said(
    tmp_path: Path, data: bytes, suffix: str, said: str
) -> None:
    store = ResumeStore(tmp_path)
    digest = store.keep(b"latent", is_latent=True)
    (tmp_path / FOLDER / POINT).write_bytes(data)
    assert store.load() is None
    aside = tmp_path / f"{FOLDER}.{suffix}"
    assert (aside / POINT).read_bytes() == data
    assert (aside / f"{digest}.latent").read_bytes() == b"latent"
    assert said in store.note
    assert str(aside) in store.note
    store.save(point_of())
    assert ResumeStore(tmp_path).load() == point_of()


def test_only_the_newest_three_that_were_set_aside_are_kept(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / FOLDER).mkdir()
        (tmp_path / FOLDER / POINT).write_bytes(b"%d" % number)
        assert ResumeStore(tmp_path).load() is None
    found = {path.name: (path / POINT).read_bytes() for path in tmp_path.iterdir()}
    aside = f"{FOLDER}.unreadable"
    assert found == {aside: b"4", f"{aside}.1": b"3", f"{aside}.2": b"2"}


def test_keys_that_a_later_release_added_without_a_new_version_are_passed_over() -> None:
    assert read_point(text(brightness=1)) == point_of()


def test_a_point_of_the_first_version_goes_on_from_its_keyframe() -> None:
    now = json.loads(text())
    first = {key: value for key, value in now.items() if key not in ("tail", "next_place", "end_place")}
    record = {key: value for key, value in now["tail"][0].items() if key != "place"}
    point = read_point(json.dumps({**first, "schema_version": 1, "keyframe": record}).encode())
    assert point.keyframe == point_of().keyframe.model_copy(update={"place": None})
    assert (point.prompts, point.random) == (point_of().prompts, point_of().random)


def test_older_versions_are_brought_forward_step_by_step() -> None:
    steps = {
        -1: lambda told: {"name": told["model"]},
        0: lambda told: {**json.loads(text()), "model": told["name"].upper()},
        1: lambda told: told,
    }
    older = {"schema_version": -1, "model": "embedded: painter"}
    assert read_point(json.dumps(older).encode(), steps).model == "EMBEDDED: PAINTER"
    with pytest.raises(PointUnfit, match="makes no sense"):
        read_point(json.dumps({"schema_version": -1}).encode(), steps)


def test_a_folder_in_the_way_costs_the_point_and_no_more(tmp_path: Path) -> None:
    (tmp_path / FOLDER / POINT).mkdir(parents=True)
    store = ResumeStore(tmp_path)
    assert store.load() is None
    assert "cannot be read" in store.note


def test_a_disk_that_refuses_leaves_the_point_before_and_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ResumeStore(tmp_path)
    digest = store.keep(b"latent", is_latent=True)
    store.save(point_of(latent=digest))

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(StorageError):
            store.keep(b"another", is_latent=True)
        with pytest.raises(StorageError):
            store.save(point_of(number=8))
    assert store.load() == point_of(latent=digest)
    assert store.file(digest) == b"latent"
    assert names(tmp_path / FOLDER) == {POINT, f"{digest}.latent"}
