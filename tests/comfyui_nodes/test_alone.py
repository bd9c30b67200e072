"""The nodes run inside ComfyUI, where nothing else of ours is."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import comfyui_nodes

PACK = Path(comfyui_nodes.__file__).parent
SOURCES = sorted(PACK.glob("*.py"))
COMFYUI = {"comfy", "comfy_execution", "folder_paths", "server"}
THERE = {"PIL", "numpy", "safetensors", "torch", *COMFYUI, *sys.stdlib_module_names}
"""What every ComfyUI has."""


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_nothing_is_imported_that_a_comfyui_may_lack(source: Path) -> None:
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            assert {alias.name.split(".")[0] for alias in node.names} <= THERE
        elif isinstance(node, ast.ImportFrom) and not node.level:
            assert (node.module or "").split(".")[0] in THERE


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_only_one_module_knows_comfyui(source: Path) -> None:
    imported = {
        (node.module or "").split(".")[0]
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.ImportFrom) and not node.level
    }
    assert source.name == "host.py" or not imported & COMFYUI


def test_it_loads_from_a_folder_of_any_name_without_a_server(tmp_path: Path) -> None:
    """As ComfyUI loads it: by its path, before anything of the server may be needed."""
    folder = tmp_path / "custom.nodes-1"
    folder.mkdir()
    for source in SOURCES:
        (folder / source.name).write_bytes(source.read_bytes())
    program = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('odd_x_name', r'{folder / '__init__.py'}')\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "sys.modules['odd_x_name'] = module\n"
        "spec.loader.exec_module(module)\n"
        "assert set(module.NODE_CLASS_MAPPINGS) == set(module.NODE_DISPLAY_NAME_MAPPINGS)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, cwd=tmp_path)
