"""A dream as a launchd agent (or daemon) of macOS, see launchd.plist(5)."""

from __future__ import annotations

import plistlib
from pathlib import Path
from typing import Any

from backend.service.plan import STOP_S, ServicePlan

_AGAIN_S = 30


def label_of(plan: ServicePlan) -> str:
    """What launchd knows it by."""
    return f"org.dreamloop.{plan.name}"


def agent(plan: ServicePlan, log: Path) -> dict[str, Any]:
    """The property list.

    launchd never shortens the files that it writes standard output to, so nothing goes there: Dreamloop
    keeps a log of its own, of two files at the most.

    Args:
        plan: What is run.
        log: Where its log goes.
    """
    told: dict[str, Any] = {
        "Label": label_of(plan),
        "ProgramArguments": [*plan.command, "--log-file", str(log)],
        "WorkingDirectory": str(plan.root),
        "RunAtLoad": True,
        # Whoever stops it means it; whatever else ends it does not. Never more often than this:
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": _AGAIN_S,
        "ExitTimeOut": STOP_S,
        # In the background, the default, disk and processor are rationed: pictures would stutter.
        "ProcessType": "Interactive",
        "EnvironmentVariables": {"PYTHONFAULTHANDLER": "1"},
        "SoftResourceLimits": {"Core": 0, "NumberOfFiles": 8192},
        "Umask": 0o022,
        "StandardOutPath": "/dev/null",
        "StandardErrorPath": "/dev/null",
    }
    return told | ({"UserName": plan.user} if plan.user else {})


def agent_text(plan: ServicePlan, log: Path) -> str:
    """The file."""
    return plistlib.dumps(agent(plan, log), sort_keys=False).decode()
