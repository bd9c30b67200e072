from __future__ import annotations

from pathlib import Path

import pytest

from backend.engine.files import BadName, Folders, highest_number, split_annotation, write_whole


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.png", ("a.png", None)),
        ("a.png [input]", ("a.png", "input")),
        ("sub/x.latent [output]", ("sub/x.latent", "output")),
        ("x [temp]", ("x", "temp")),
        ("x [elsewhere]", ("x [elsewhere]", None)),
    ],
)
def test_annotations_name_the_folder(name: str, expected: tuple[str, str | None]) -> None:
    assert split_annotation(name) == expected


def test_files_are_found_by_annotated_name_only_inside_their_folder(folders: Folders, tmp_path: Path) -> None:
    (tmp_path / "input" / "sub").mkdir()
    (tmp_path / "input" / "sub" / "x.latent").write_bytes(b"x")
    (tmp_path / "output" / "y.latent").write_bytes(b"y")
    (tmp_path / "secret").write_bytes(b"z")
    assert folders.find("sub/x.latent") == tmp_path / "input" / "sub" / "x.latent"
    assert folders.find("y.latent [output]") == tmp_path / "output" / "y.latent"
    for name in ("y.latent", "../secret", "/etc/passwd", str(tmp_path / "secret"), "a\0b", "", "sub"):
        assert folders.find(name) is None


def test_numbers_go_on_where_the_folder_stands(folders: Folders, tmp_path: Path) -> None:
    (tmp_path / "output" / "kf_00041_.latent").write_bytes(b"")
    first = folders.save_next("output", "kf", ".latent", b"a")
    second = folders.save_next("output", "kf", ".latent", b"b")
    other = folders.save_next("output", "deep/er/kf", ".latent", b"c")
    assert [one.filename for one in (first, second, other)] == [
        "kf_00042_.latent",
        "kf_00043_.latent",
        "kf_00001_.latent",
    ]
    assert other.as_json() == {"filename": "kf_00001_.latent", "subfolder": "deep/er", "type": "output"}
    assert (tmp_path / "output" / "deep" / "er" / "kf_00001_.latent").read_bytes() == b"c"


@pytest.mark.parametrize("prefix", ["../x", "/tmp/x", "a/../../x", "..\\..\\x", "a\0b"])
def test_a_prefix_that_leads_out_is_refused(folders: Folders, prefix: str) -> None:
    with pytest.raises(BadName):
        folders.save_next("output", prefix, ".png", b"")


def test_only_temp_is_emptied_at_the_start(tmp_path: Path) -> None:
    Folders(tmp_path)
    for name in ("input", "output", "temp"):
        (tmp_path / name / "x").write_bytes(b"x")
    again = Folders(tmp_path)
    assert [again.listing(name) for name in ("input", "output", "temp")] == [["x"], ["x"], []]


def test_the_memory_of_numbers_is_bounded(folders: Folders) -> None:
    for index in range(300):
        folders.save_next("temp", f"p{index}", ".png", b"")
    assert len(folders._counters) <= 256
    assert folders.save_next("temp", "p0", ".png", b"").filename == "p0_00002_.png"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    with pytest.raises(OSError, match="folder"):
        write_whole(target, b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_the_highest_number_ignores_look_alikes(tmp_path: Path) -> None:
    for name in ("a_00007_.png", "a_x_.png", "ab_00099_.png", "a_00099_.jpg"):
        (tmp_path / name).touch()
    assert highest_number(tmp_path, "a", ".png") == 7


def test_of_emptied_files_only_the_newest_are_kept(folders: Folders, tmp_path: Path) -> None:
    paths = [tmp_path / "output" / f"kf_{index:05}_.latent" for index in range(70)]
    for path in paths:
        path.write_bytes(b"")
    paths[1].write_bytes(b"in use again")
    for path in paths:
        folders.emptied(path)
    gone = [index for index, path in enumerate(paths) if not path.exists()]
    assert gone == [0, 2, 3, 4, 5]
