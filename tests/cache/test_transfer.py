from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backend.cache.manager import CacheManager
from backend.cache.matching import Identity
from backend.cache.memory_row import Origin
from backend.errors import StorageError
from tests.cache.memories import added, axis, files_in, new, open_memory, picture

KINDS = ["folder", "memory.zip", "memory.tar"]


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
        path = tmp_path / kind
        assert memory.export(path) == 3
    return path, ids


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_exported_comes_back_whole(tmp_path: Path, kind: str) -> None:
    path, ids = _exported(tmp_path, kind)
    with open_memory(tmp_path / "first") as first, open_memory(tmp_path / "second") as second:
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
                "identity",
            )
            assert [getattr(after, name) for name in same] == [getattr(before, name) for name in same]
            assert second.picture(one) == first.picture(one)
            assert second.latent(one) == first.latent(one)
        assert second.nearest(axis(1), 1) == [(ids[0], 1.0)]
        assert second.needs_embedding(9) == [ids[2]]
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
}


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
