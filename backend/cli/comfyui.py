"""``main.py comfyui install-nodes PATH``: put Dreamloop's own nodes into a ComfyUI, or take them out."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from pathlib import Path

from backend.cli import exit_codes
from backend.errors import StorageError
from backend.utils.file_ops import sweep_temporaries, whole_or_nothing

_ROOT = Path(__file__).resolve().parents[2]
_PACK = _ROOT / "comfyui_nodes"
_NAME = "dreamloop"
_FIRST_LINE = '"""The version of Dreamloop\'s nodes'
_VERSION = re.compile(r"^VERSION = (\d+)$", re.MULTILINE)


class _Refused(Exception):  # noqa: N818 - it says what happened
    """Why nothing was done, as a sentence."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare the command."""
    parser = subparsers.add_parser("comfyui", help="put Dreamloop's own nodes into a ComfyUI")
    actions = parser.add_subparsers(dest="comfyui_action", metavar="ACTION", required=True)
    install = actions.add_parser("install-nodes", help="copy the nodes into ComfyUI's custom_nodes folder")
    install.add_argument("path", type=Path, metavar="PATH", help="ComfyUI's folder, which has main.py in it")
    install.add_argument("--uninstall", action="store_true", help="take them out again")
    install.set_defaults(handler=run)
    return parser


def run(args: argparse.Namespace) -> int:
    """Install, bring up to date, or remove; returns the exit status."""
    try:
        target = _custom_nodes(args.path) / _NAME
        said = _uninstall(target) if args.uninstall else _install(target)
    except _Refused as error:
        print(error, file=sys.stderr)
        return exit_codes.REFUSED
    except (StorageError, OSError) as error:
        print(f"{error}; nothing was changed", file=sys.stderr)
        return exit_codes.STORAGE
    print(said)
    return exit_codes.OK


def _install(target: Path) -> str:
    before = _installed(target)
    sweep_temporaries(target.parent)
    with whole_or_nothing(target, folder=True) as folder:
        # Links are followed: the pack stands alone. A folder without __init__.py is no pack yet.
        files = sorted(_PACK.glob("*.py"), key=lambda path: path.name == "__init__.py")
        for source in (_ROOT / "LICENSE", *files):
            (folder / source.name).write_bytes(source.read_bytes())
    version = _version(target)
    done = "installed" if before is None else f"brought up to date from version {before}"
    if before == version:
        done = "installed anew"
    return (
        f"node pack version {version} is {done} in {target}; restart ComfyUI, which loads it when it starts"
    )


def _uninstall(target: Path) -> str:
    if _installed(target) is None:
        raise _Refused(f"there is no node pack of Dreamloop's in {target.parent}")
    shutil.rmtree(target)
    return f"the node pack is gone from {target.parent}; restart ComfyUI to have it forget the nodes"


def _custom_nodes(path: Path) -> Path:
    """The folder for custom nodes of a ComfyUI.

    Raises:
        _Refused: It is none.
    """
    folder = path.expanduser().resolve()
    if _is_comfyui(folder):
        return folder / "custom_nodes"
    if not folder.is_dir():
        raise _Refused(f"there is no folder {folder}")
    inside = next((one for one in (folder / "ComfyUI", folder.parent) if _is_comfyui(one)), None)
    hint = f"; did you mean {inside}?" if inside else ", in which main.py, nodes.py and a folder comfy are"
    raise _Refused(f"{folder} is not the folder of a ComfyUI{hint}")


def _is_comfyui(folder: Path) -> bool:
    """A ComfyUI itself, or what its ``--base-directory`` names."""
    program = (folder / "nodes.py").is_file() and (folder / "comfy").is_dir()
    base = (folder / "custom_nodes").is_dir() and (folder / "models").is_dir()
    return program or base


def _installed(target: Path) -> int | None:
    """The version that is there; None where nothing is.

    Raises:
        _Refused: Something else is there.
    """
    if target.is_symlink():
        raise _Refused(f"{target} is a link, which somebody has made on purpose: remove it first")
    if not target.exists():
        return None
    try:
        return _version(target)
    except (OSError, ValueError):
        raise _Refused(f"{target} is there and not ours: move it away first") from None


def _version(target: Path) -> int:
    text = (target / "version.py").read_text("utf-8")
    found = _VERSION.search(text)
    if not text.startswith(_FIRST_LINE) or found is None:
        raise ValueError("not a version of ours")
    return int(found[1])
