from __future__ import annotations

import base64
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.cache.manager import CacheManager
from backend.cache.matching import Identity
from backend.cache.memory_row import Origin
from backend.errors import StorageError
from tests.cache.memories import Clock, added, axis, files_in, new, open_memory, picture

KINDS = ["folder", "memory.zip", "memory.tar"]


class _Later(Clock):
    """The clock of whoever imports."""

    def __init__(self) -> None:
        super().__init__()
        self.now += timedelta(days=400)


def _fill(memory: CacheManager) -> list[str]:
    facts: dict[str, Any] = {
        "theme": "sea",
        "prompt": "a wave 波",
        "seed": 2**64 - 1,
        "parents": ("1",),
        "denoise": 0.5,
    }
    return [
        added(memory, new(1, picture=picture(1, (64, 64)), latent=b"numbers", score=0.75, **facts)),
        added(memory, new(2, picture=picture(2, (64, 64)), pinned=True, origin=Origin.SEED)),
        added(memory, new(3, picture=picture(3, (64, 64)), embedding=None, identity=None, shows_prompt=0.25)),
    ]


def _exported(tmp_path: Path, kind: str) -> tuple[Path, list[str]]:
    with open_memory(tmp_path / "first") as memory:
        ids = _fill(memory)
        memory.shown(ids[0])
        path = tmp_path / kind
        assert memory.export(path) == 3
    return path, ids


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_exported_comes_back_whole(tmp_path: Path, kind: str) -> None:
    path, ids = _exported(tmp_path, kind)
    with open_memory(tmp_path / "first") as first, open_memory(tmp_path / "second", clock=_Later()) as second:
        report = second.import_(path)
        assert (report.added, report.refused) == (3, 0)
        for one in ids:
            before, after = first.get(one), second.get(one)
            assert before is not None
            assert after is not None
            same = (
                "theme",
                "prompt",
                "seed",
                "parents",
                "denoise",
                "score",
                "shows_prompt",
                "origin",
                "pinned",
                "added_at",
                "times_shown",
                "last_shown_at",
            )
            assert [getattr(after, name) for name in same] == [getattr(before, name) for name in same]
            assert second.picture(one) == first.picture(one)
            assert second.latent(one) == first.latent(one)
        assert sorted(second.needs_embedding(9)) == sorted(ids)
        assert second.check().whole
        again = second.import_(path)
        assert (again.added, [reason for _, reason in again.reasons]) == (0, ["known"] * 3)


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_touches_nothing_that_stands_there(tmp_path: Path, kind: str) -> None:
    path, _ = _exported(tmp_path, kind)
    before = sorted(entry.name for entry in tmp_path.iterdir())
    with open_memory(tmp_path / "first") as memory, pytest.raises(StorageError, match="already"):
        memory.export(path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == before


def test_an_export_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_memory(tmp_path / "first") as memory:
        _fill(memory)
        monkeypatch.setattr("backend.cache.transfer._zip", _no_space)
        with pytest.raises(StorageError) as caught:
            memory.export(tmp_path / "memory.zip")
        assert caught.value.full
    assert [entry.name for entry in tmp_path.iterdir()] == ["first"]


def _no_space(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_embeddings_of_another_matcher_are_made_anew(tmp_path: Path) -> None:
    path, ids = _exported(tmp_path, "memory.zip")
    with open_memory(tmp_path / "second", identity=Identity("tiny", "2", 8)) as memory:
        assert memory.import_(path).added == 3
        assert sorted(memory.needs_embedding(9)) == sorted(ids)


def _changed(line: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**line, **changes}


EVIL: dict[str, Callable[[dict[str, Any]], object]] = {
    "a path out of it": lambda line: _changed(line, picture="pictures/../../private.png"),
    "an absolute path": lambda line: _changed(line, picture="/etc/passwd"),
    "a latent elsewhere": lambda line: _changed(line, latent=f"latents/../{line['picture']}"),
    "a picture as a latent": lambda line: _changed(line, latent=line["picture"]),
    "a file that is not there": lambda line: _changed(line, picture=f"pictures/ab/ab{'0' * 62}.png"),
    "no object": lambda line: [line],
    "no score": lambda line: _changed(line, score=None),
    "an endless score": lambda line: _changed(line, score=10**400),
    "no origin": lambda line: _changed(line, origin="heaven"),
    "a blend": lambda line: _changed(line, origin="injected"),
    "numbers for words": lambda line: _changed(line, picture=5),
    "a vector of no base": lambda line: _changed(line, vector="???"),
    "yes for a seed": lambda line: _changed(line, seed=True),
    "a seed beyond all": lambda line: _changed(line, seed=2**64),
    "yes for a score": lambda line: _changed(line, score=True),
    "a text for a theme": lambda line: _changed(line, theme=["sea"]),
    "objects for parents": lambda line: _changed(line, parents=[{"a": 1}]),
    "one for yes": lambda line: _changed(line, pinned=1),
    "shown less than never": lambda line: _changed(line, times_shown=-1),
    "added some day": lambda line: _changed(line, added_at="yesterday"),
    "shown at no hour of anywhere": lambda line: _changed(line, last_shown_at="2026-01-01T00:00:00"),
    "shown before all time": lambda line: _changed(line, last_shown_at="0001-01-01T00:00:00+23:00"),
}


def test_what_was_wrong_with_a_line_is_told_with_key_value_and_wish(tmp_path: Path) -> None:
    path, _ = _exported(tmp_path, "folder")
    _change_first(path, seed=True)
    with open_memory(tmp_path / "second") as memory:
        (_, reason), *_ = memory.import_(path).reasons
    assert reason == "seed is True, which should be a whole number from 0 to 18446744073709551615"


def test_numbers_out_of_their_range_come_in_as_the_nearest_within(tmp_path: Path) -> None:
    path, ids = _exported(tmp_path, "folder")
    _change_first(path, denoise=1e308, score=-5, shows_prompt=99, added_at="2999-01-01T00:00:00Z")
    with open_memory(tmp_path / "second") as memory:
        assert memory.import_(path).added == 3
        row = memory.get(ids[0])
        assert row is not None
        assert (row.denoise, row.score, row.shows_prompt) == (1.0, 0.0, 1.0)
        assert row.added_at < "2027"


def test_a_vector_that_is_not_the_pictures_own_is_not_kept(tmp_path: Path) -> None:
    path, ids = _exported(tmp_path, "folder")
    _change_first(path, vector=base64.b64encode(axis(5).astype("<f4").tobytes()).decode())
    with open_memory(tmp_path / "second") as memory:
        honest = added(memory, new(4))
        assert memory.import_(path).added == 3
        assert memory.nearest(axis(5), 9) == [(honest, 0.0)]
        assert ids[0] in memory.needs_embedding(9)
        assert memory.rebuild(lambda pictures: (np.stack([axis(7)]), [0.5]), limit=1) == 1
        assert memory.check().whole


def test_what_an_export_says_is_like_a_memory_is_not_taken_in_twice(tmp_path: Path) -> None:
    path, _ = _exported(tmp_path, "folder")
    with open_memory(tmp_path / "second") as memory:
        added(memory, new(9, axis(1)))
        assert memory.import_(path).reasons == (("line 2", "too similar"),)


def test_a_line_names_no_latent_of_another_memory(tmp_path: Path) -> None:
    path, _ = _exported(tmp_path, "folder")
    lines = (path / "manifest.jsonl").read_text().splitlines()
    latent = json.loads(lines[1])["latent"]
    lines[2] = json.dumps(_changed(json.loads(lines[2]), latent=latent))
    (path / "manifest.jsonl").write_text("\n".join(lines))
    with open_memory(tmp_path / "second") as memory:
        report = memory.import_(path)
        assert report.added == 2
        assert "the latent of another picture" in report.reasons[0][1]


def test_pipes_in_an_export_are_refused_at_once(tmp_path: Path) -> None:
    path, ids = _exported(tmp_path, "folder")
    file = path / "pictures" / ids[0][:2] / f"{ids[0]}.png"
    file.unlink()
    os.mkfifo(file)
    with open_memory(tmp_path / "second") as memory:
        report = memory.import_(path)
        assert (report.added, report.refused) == (2, 1)
        (path / "manifest.jsonl").unlink()
        os.mkfifo(path / "manifest.jsonl")
        with pytest.raises(ValueError, match=r"manifest\.jsonl in it, or it is no ordinary file"):
            memory.import_(path)
        os.mkfifo(tmp_path / "pipe.zip")
        with pytest.raises(ValueError, match=r"pipe\.zip is no export .* nor an ordinary file"):
            memory.import_(tmp_path / "pipe.zip")


@pytest.mark.parametrize("name", ["all.tar.gz", "all.TGZ", "all.7z"])
def test_an_archive_of_another_kind_is_refused_with_what_is_possible(tmp_path: Path, name: str) -> None:
    with (
        open_memory(tmp_path / "first") as memory,
        pytest.raises(ValueError, match=r"folder, \.zip or \.tar"),
    ):
        memory.export(tmp_path / name)
    assert [entry.name for entry in tmp_path.iterdir()] == ["first"]


def _change_first(path: Path, **changes: Any) -> None:
    lines = (path / "manifest.jsonl").read_text().splitlines()
    lines[1] = json.dumps(_changed(json.loads(lines[1]), **changes))
    (path / "manifest.jsonl").write_text("\n".join(lines))


@pytest.mark.parametrize("case", EVIL)
@pytest.mark.parametrize("kind", ["folder", "memory.zip"])
def test_a_line_that_is_not_as_it_should_be_is_refused_and_the_others_come_in(
    tmp_path: Path, case: str, kind: str
) -> None:
    path, ids = _exported(tmp_path, "folder")
    (tmp_path / "private.png").write_bytes(picture(9, (64, 64)))
    manifest = path / "manifest.jsonl"
    lines = manifest.read_text().splitlines()
    lines[1] = json.dumps(EVIL[case](json.loads(lines[1])))
    manifest.write_text("\n".join(lines))
    source = path
    if kind == "memory.zip":
        source = tmp_path / kind
        with zipfile.ZipFile(source, "w") as archive:
            for file in sorted(path.rglob("*")):
                archive.write(file, str(file.relative_to(path)))
    with open_memory(tmp_path / "second") as memory:
        report = memory.import_(source)
        assert (report.added, report.refused, report.reasons[0][0]) == (2, 1, "line 2")
        assert {row.id for row in memory.iterate()} == set(ids[1:])
        assert len(files_in(tmp_path / "second")) == 2


def test_a_link_that_leads_out_of_an_export_is_not_followed(tmp_path: Path) -> None:
    path, ids = _exported(tmp_path, "folder")
    for one in ids:
        file = path / "pictures" / one[:2] / f"{one}.png"
        file.rename(tmp_path / file.name)
        file.symlink_to(tmp_path / file.name)
    with open_memory(tmp_path / "second") as memory:
        assert memory.import_(path).added == 0


def test_a_link_in_a_tar_is_not_followed(tmp_path: Path) -> None:
    path, ids = _exported(tmp_path, "memory.tar")
    evil = tmp_path / "evil.tar"
    with tarfile.open(path) as old, tarfile.open(evil, "w") as archive:
        for member in old:
            if ids[0] in member.name and member.name.startswith("pictures"):
                member.type, member.linkname, member.size = tarfile.SYMTYPE, "/etc/passwd", 0
                archive.addfile(member)
            else:
                archive.addfile(member, old.extractfile(member))
    with open_memory(tmp_path / "second") as memory:
        assert memory.import_(evil).added == 2


@pytest.mark.parametrize(
    "data",
    [b"", b"no archive", b"PK\x05\x06" + bytes(18), b'{"format": "dreamloop-memory", "version": 1}'],
)
def test_what_is_no_export_is_refused_by_name(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "memory.zip"
    path.write_bytes(data)
    with open_memory(tmp_path / "second") as memory, pytest.raises(ValueError, match="no "):
        memory.import_(path)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "[]",
        '{"format": "other", "version": 1}',
        '{"format": "dreamloop-memory", "version": 2}',
        "[" * 10**5,
    ],
)
def test_a_manifest_of_something_else_is_refused(tmp_path: Path, header: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "manifest.jsonl").write_text(header)
    with open_memory(tmp_path / "second") as memory, pytest.raises(ValueError, match=r"manifest|version"):
        memory.import_(folder)


def test_a_line_without_end_is_refused_before_it_is_read_whole(tmp_path: Path) -> None:
    path, _ = _exported(tmp_path, "folder")
    with (path / "manifest.jsonl").open("ab") as manifest:
        manifest.write(b"x" * (2 * 2**20))
    with open_memory(tmp_path / "second") as memory, pytest.raises(ValueError, match="a line of more"):
        memory.import_(path)


def test_a_zip_bomb_is_read_no_further_than_a_picture_may_be_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.cache.transfer.MAX_FILE_BYTES", 10_000)
    monkeypatch.setattr("backend.cache.manifest.MAX_FILE_BYTES", 10_000)
    path, _ = _exported(tmp_path, "folder")
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(path.rglob("*.png")):
            archive.writestr(str(file.relative_to(path)), bytes(10**6))
        archive.write(path / "manifest.jsonl", "manifest.jsonl")
    with open_memory(tmp_path / "second") as memory:
        report = memory.import_(bomb)
        assert report.added == 0
        assert all("more than 10,000 bytes" in reason for _, reason in report.reasons)


def test_a_compressed_tar_is_no_export(tmp_path: Path) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz"):
        pass
    path = tmp_path / "memory.tar"
    path.write_bytes(file.getvalue())
    with open_memory(tmp_path / "second") as memory, pytest.raises(ValueError, match="no export"):
        memory.import_(path)


def test_a_zip_whose_pictures_are_damaged_gives_what_is_whole(tmp_path: Path) -> None:
    path, ids = _exported(tmp_path, "folder")
    packed = tmp_path / "memory.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(path.rglob("*.*")):
            archive.write(file, str(file.relative_to(path)))
        at = archive.getinfo(f"pictures/{ids[0][:2]}/{ids[0]}.png").header_offset
    data = bytearray(packed.read_bytes())
    data[at + 200 : at + 400] = b"\xff" * 200
    packed.write_bytes(data)
    with open_memory(tmp_path / "second") as memory:
        report = memory.import_(packed)
        assert (report.added, report.refused) == (2, 1)
