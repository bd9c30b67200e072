from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

import pytest

from backend.cli import comfyui as command
from comfyui_nodes.version import VERSION


@pytest.fixture
def comfyui(tmp_path: Path) -> Path:
    """What a ComfyUI's folder has in it, as far as it is looked at."""
    folder = tmp_path / "ComfyUI"
    (folder / "comfy").mkdir(parents=True)
    (folder / "custom_nodes").mkdir()
    (folder / "nodes.py").write_text("")
    return folder


def run(path: Path, *words: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["comfyui", "install-nodes", str(path), *words])
    return int(args.handler(args))


def pack_of(comfyui: Path) -> Path:
    return comfyui / "custom_nodes" / "dreamloop"


def test_the_nodes_are_put_where_comfyui_loads_them_from(
    comfyui: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(comfyui) == 0
    said = capsys.readouterr().out
    assert f"version {VERSION}" in said
    assert "restart ComfyUI" in said
    files = list(pack_of(comfyui).iterdir())
    assert all(file.is_file() and not file.is_symlink() for file in files)
    assert {"__init__.py", "LICENSE", "spherical_lerp.py", "sphere.py"} <= {file.name for file in files}
    assert [entry.name for entry in (comfyui / "custom_nodes").iterdir()] == ["dreamloop"]


def test_what_is_installed_can_be_loaded(comfyui: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(comfyui)
    spec = importlib.util.spec_from_file_location("installed_pack", pack_of(comfyui) / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "installed_pack", module)
    spec.loader.exec_module(module)
    assert "DreamloopFrames" in module.NODE_CLASS_MAPPINGS


def test_an_older_one_is_replaced_with_all_that_it_had(
    comfyui: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(comfyui)
    version = pack_of(comfyui) / "version.py"
    version.write_text(version.read_text().replace(f"VERSION = {VERSION}", "VERSION = 0"))
    (pack_of(comfyui) / "of_old.py").write_text("")
    capsys.readouterr()
    assert run(comfyui) == 0
    assert "from version 0" in capsys.readouterr().out
    assert not (pack_of(comfyui) / "of_old.py").exists()
    assert [entry.name for entry in (comfyui / "custom_nodes").iterdir()] == ["dreamloop"]


def test_they_can_be_taken_out_again(comfyui: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(comfyui)
    assert run(comfyui, "--uninstall") == 0
    assert "restart" in capsys.readouterr().out
    assert list((comfyui / "custom_nodes").iterdir()) == []
    assert run(comfyui, "--uninstall") == 1


def test_a_base_directory_takes_them_too(tmp_path: Path) -> None:
    for name in ("custom_nodes", "models"):
        (tmp_path / name).mkdir()
    assert run(tmp_path) == 0
    assert (pack_of(tmp_path) / "__init__.py").exists()


@pytest.mark.parametrize("where", ["nowhere", "..", "custom_nodes", "nodes.py"])
def test_a_folder_that_is_no_comfyui_is_refused_in_words(
    comfyui: Path, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    assert run(comfyui / where) == 1
    said = capsys.readouterr().err
    assert "folder" in said
    assert where in ("nowhere", "nodes.py") or f"did you mean {comfyui}?" in said
    assert list((comfyui / "custom_nodes").iterdir()) == []


def test_a_pack_of_somebody_else_by_that_name_is_left_alone(
    comfyui: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack_of(comfyui).mkdir()
    (pack_of(comfyui) / "__init__.py").write_text("theirs = True")
    for words in ((), ("--uninstall",)):
        assert run(comfyui, *words) == 1
        assert "not ours" in capsys.readouterr().err
    assert (pack_of(comfyui) / "__init__.py").read_text() == "theirs = True"


def test_a_link_is_left_alone(comfyui: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    pack_of(comfyui).symlink_to(tmp_path / "mine")
    assert run(comfyui) == 1
    assert "link" in capsys.readouterr().err
    assert pack_of(comfyui).is_symlink()


def test_a_disk_that_says_no_leaves_what_was_there(
    comfyui: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(comfyui)
    before = {path.name: path.read_bytes() for path in pack_of(comfyui).iterdir()}
    written = []

    def full(path: Path, data: bytes) -> int:
        written.append(path)
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    assert run(comfyui) == 74
    assert "No space left" in capsys.readouterr().err
    assert written
    assert {path.name: path.read_bytes() for path in pack_of(comfyui).iterdir()} == before
    assert [entry.name for entry in (comfyui / "custom_nodes").iterdir()] == ["dreamloop"]
