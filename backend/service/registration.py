"""How a service becomes known to whoever runs services: one file, and the commands around it. Data only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from backend.service.launchd_agent import agent_text, label_of
from backend.service.plan import ServicePlan
from backend.service.systemd_unit import NEWEST, unit_text

Words = tuple[str, ...]

_SYSTEM_UNITS = Path("/etc/systemd/system")
_SYSTEM_DAEMONS = Path("/Library/LaunchDaemons")


@dataclass(frozen=True)
class Registration:
    """One service and one service manager.

    Attributes:
        path: Where the file stands that describes it.
        text: What it says.
        tool: The program that talks to the manager.
        learn: Commands that make the manager know the file; none of them starts anything.
        start: The command that starts it, or starts it anew.
        stop: The command that stops it, and keeps it from starting again.
        forget: Commands for when the file is gone.
        status: The command that tells how it goes.
        hint: What is worth knowing afterwards, a sentence or none.
    """

    path: Path
    text: str
    tool: str
    learn: tuple[Words, ...]
    start: Words
    stop: Words
    forget: tuple[Words, ...]
    status: Words
    hint: str = ""


def with_systemd(plan: ServicePlan, home: Path, environ: Mapping[str, str], version: int) -> Registration:
    """For systemd: of the machine where the plan names a user, else of whoever runs it.

    Args:
        plan: What is run.
        home: Of who installs it.
        environ: XDG_CONFIG_HOME may stand in it.
        version: Of systemd.
    """
    unit = f"{plan.name}.service"
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    folder = _SYSTEM_UNITS if plan.user else config / "systemd" / "user"
    control: Words = ("systemctl",) if plan.user else ("systemctl", "--user")
    hint = "" if plan.user else "it ends when you log out, unless you once run: loginctl enable-linger"
    return Registration(
        path=folder / unit,
        text=unit_text(plan, version=version),
        tool="systemctl",
        learn=((*control, "daemon-reload"), (*control, "enable", unit)),
        start=(*control, "restart", unit),
        stop=(*control, "disable", "--now", unit),
        forget=((*control, "daemon-reload"),),
        status=(*control, "status", "--no-pager", "--lines=10", unit),
        hint=hint,
    )


def with_launchd(plan: ServicePlan, home: Path, uid: int) -> Registration:
    """For launchd: a daemon where the plan names a user, else an agent of whoever is logged in."""
    label = label_of(plan)
    domain = "system" if plan.user else f"gui/{uid}"
    folder = _SYSTEM_DAEMONS if plan.user else home / "Library" / "LaunchAgents"
    logs = Path("/Library/Logs") if plan.user else home / "Library" / "Logs"
    path = folder / f"{label}.plist"
    return Registration(
        path=path,
        text=agent_text(plan, logs / f"{plan.name}.log"),
        tool="launchctl",
        learn=(("launchctl", "enable", f"{domain}/{label}"),),
        start=("launchctl", "bootstrap", domain, str(path)),
        stop=("launchctl", "bootout", f"{domain}/{label}"),
        forget=(),
        status=("launchctl", "print", f"{domain}/{label}"),
        hint=f"its log is {logs / plan.name}.log",
    )


def systemd_version(told: str) -> int:
    """From what ``systemctl --version`` says; the newest where that makes no sense."""
    found = re.match(r"systemd (\d+)", told)
    return int(found[1]) if found else NEWEST
