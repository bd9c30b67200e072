"""A dream, and torch's compiler, under the very filter of system calls that the unit asks systemd for.

strace stands in for systemd: what the filter would refuse, it refuses, and writes down.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from backend.service.plan import NAME, ServicePlan
from backend.service.systemd_unit import unit_text
from tests.end_to_end.daemon import MAIN, environment, write_config

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

_GUARD_S = 600.0
_COMPILES = """
import torch
compiled = torch.compile(lambda x: torch.sin(x) * 2 + x.cos())
x = torch.randn(1000)
assert torch.allclose(compiled(x), torch.sin(x) * 2 + x.cos(), atol=1e-5)
"""


@cache
def allowed() -> str:
    """The calls of the unit's filter, as strace wants them: names that it does not know are passed over."""
    for tool in ("strace", "systemd-analyze"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} here: apt install strace systemd")
    folder = Path("/opt/dreamloop")
    plan = ServicePlan(NAME, folder / "python", folder / "main.py", folder / "config.yaml", user="daemon")
    (group,) = [
        line.partition("=")[2]
        for line in unit_text(plan).splitlines()
        if line.startswith("SystemCallFilter=")
    ]
    return ",".join(f"?{name}" for name in sorted(_members(group, set())))


def _members(group: str, seen: set[str]) -> set[str]:
    if group in seen:
        return set()
    seen.add(group)
    told = subprocess.run(
        ["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True
    ).stdout
    words = [line.strip() for line in told.splitlines()[1:]]
    names = {word for word in words if word and word[0] not in "#@"}
    return names.union(*(_members(word, seen) for word in words if word.startswith("@")))


def filtered(tmp_path: Path, *words: str) -> tuple[int, str, list[str]]:
    """Runs a command under the filter: its exit status, what it said, and what it was refused."""
    log = tmp_path / "refused"
    strace = ["strace", "-f", "--seccomp-bpf", "-qq", "-o", str(log), "-e", "signal=none"]
    refuse = ["-e", f"trace=!{allowed()}", "-e", f"inject=!{allowed()}:error=EPERM"]
    environ = {**environment(), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "inductor"), "PYTHONWARNINGS": ""}
    ran = subprocess.run(
        [*strace, *refuse, *words], capture_output=True, text=True, env=environ, timeout=_GUARD_S, check=False
    )
    if "PTRACE" in ran.stderr or "ptrace" in ran.stderr:
        pytest.skip(f"nobody may be traced here: {ran.stderr[:200]}")
    refused = [line for line in log.read_text().splitlines() if "INJECTED" in line]
    return ran.returncode, ran.stdout + ran.stderr, refused


def test_the_filter_refuses_what_no_service_needs(tmp_path: Path) -> None:
    code = "import ctypes; assert ctypes.CDLL(None).swapoff(b'/x') == -1"
    status, said, refused = filtered(tmp_path, sys.executable, "-c", code)
    assert status == 0, said
    assert ["swapoff" in line for line in refused] == [True]


def test_a_dream_needs_nothing_that_the_filter_refuses(tmp_path: Path) -> None:
    write_config(tmp_path, shim={"port": 0})
    words = (sys.executable, str(MAIN), "--config", str(tmp_path / "config.yaml"), "run", "--frames", "40")
    status, said, refused = filtered(tmp_path, *words)
    assert status == 0, said
    assert refused == []
    assert (tmp_path / "output" / "current_frame.png").exists()


def test_torch_compiles_under_the_filter(tmp_path: Path) -> None:
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        pytest.skip("torch compiles with a C++ compiler, and there is none here: apt install g++")
    (tmp_path / "compiles.py").write_text(_COMPILES)
    status, said, refused = filtered(tmp_path, sys.executable, str(tmp_path / "compiles.py"))
    assert status == 0, said
    assert refused == []
