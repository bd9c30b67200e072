"""The examples in deploy/, by the code that installs; ``python -m backend.service.examples`` writes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from backend.service.launchd_agent import agent_text, label_of
from backend.service.plan import NAME, ServicePlan
from backend.service.systemd_unit import unit_text
from backend.utils.file_ops import write_atomic

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def examples() -> Mapping[str, str]:
    """File name -> text."""
    machine = _plan(Path("/opt/dreamloop"), user="dreamloop", groups=("render", "video"))
    person = _plan(Path("/home/somebody/dreamloop"))
    mac = _plan(Path("/Users/somebody/dreamloop"))
    log = Path("/Users/somebody/Library/Logs/dreamloop.log")
    return {
        f"{NAME}.service": unit_text(machine),
        f"{NAME}-user.service": unit_text(person),
        f"{label_of(mac)}.plist": agent_text(mac, log),
    }


def _plan(root: Path, user: str | None = None, groups: tuple[str, ...] = ()) -> ServicePlan:
    return ServicePlan(
        name=NAME,
        python=root / ".venv" / "bin" / "python",
        main=root / "main.py",
        config=root / "config.yaml",
        writes=(root / "output", root / "status", root / "prompts"),
        user=user,
        groups=groups,
    )


if __name__ == "__main__":
    for name, text in examples().items():
        write_atomic(DEPLOY / name, text.encode())
