"""A dream as a systemd unit: hardened as far as a graphics card and torch's compiler allow.

The meaning of every line is in systemd.service(5), systemd.exec(5) and systemd.resource-control(5). What an
older systemd does not know, it would complain of in its log at each start; so it is left out there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

from backend.service.plan import NAME, STOP_S, ServicePlan

NEWEST = 254
"""The first version that knows all of what is used here."""
START_S = 120
WATCHDOG_S = 45

_DO_NOT_RESTART = "2 75 78"
"""Wrong words, another Dreamloop there, settings that cannot be used: trying again would change nothing."""

_GRAPHICS = (
    ("char-nvidia*", "NVIDIA, of whatever name its driver gives them"),
    ("char-drm", "/dev/dri of AMD and Intel"),
    ("char-kfd", "AMD's compute"),
    ("char-accel", "other accelerators"),
    ("/dev/dxg", "Windows' graphics card in WSL"),
)


def unit_text(plan: ServicePlan, *, version: int = NEWEST) -> str:
    """The whole file.

    Args:
        plan: What is run.
        version: Of the systemd that is to read it.
    """
    sections = (
        ("Unit", _unit(plan)),
        ("Service", [*_service(plan, version), "", *(_hardened(plan) if plan.user else _hardened_for_one())]),
        ("Install", [f"WantedBy={'multi-user' if plan.user else 'default'}.target"]),
    )
    return "\n".join("\n".join([f"[{name}]", *lines, ""]) for name, lines in sections)


def quoted(word: str) -> str:
    """A word of a list or a command line: specifiers, variables, quotes and line ends lose their meaning."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    escaped = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in escaped)
    return f'"{escaped}"' if any(c in escaped for c in " '\"\\;#") or escaped != word else escaped


def _paths(folders: Iterable[Path], mark: str = "") -> str:
    """A list of paths; behind a dash one that is missing is passed over."""
    return " ".join(quoted(f"{mark}{folder}").replace("$$", "$") for folder in folders)


def _unit(plan: ServicePlan) -> Iterator[str]:
    which = "" if plan.name == NAME else f" ({plan.name})"
    yield f"Description=Dreamloop, a machine that dreams{which}"
    yield f"Documentation=file://{quote(str(plan.root / 'README.md')).replace('%', '%%')}"
    if plan.user:
        yield "Wants=network-online.target"
        modules = " modprobe@nvidia.service modprobe@nvidia_uvm.service" if plan.nvidia else ""
        if modules:
            yield f"Wants={modules.strip()}"
        yield f"After=network-online.target systemd-modules-load.service{modules}"
    yield "# However often it fails, it is tried again; only the pauses grow."
    yield "StartLimitIntervalSec=0"


def _service(plan: ServicePlan, version: int) -> Iterator[str]:
    yield "Type=notify"
    yield "NotifyAccess=main"
    yield f"ExecStart={' '.join(quoted(word) for word in plan.command)}"
    yield "ExecReload=/bin/kill -HUP $MAINPID"
    yield f"WorkingDirectory={str(plan.root).replace('%', '%%')}"
    if plan.user:
        yield f"User={plan.user}"
    if plan.groups:
        yield f"SupplementaryGroups={' '.join(plan.groups)}"
    yield "Restart=always"
    yield "RestartSec=2"
    if version >= NEWEST:
        yield "RestartSteps=6"
        yield "RestartMaxDelaySec=60"
    yield f"RestartPreventExitStatus={_DO_NOT_RESTART}"
    yield f"TimeoutStartSec={START_S}"
    yield f"TimeoutStopSec={STOP_S}"
    yield "# Told of life only while pictures move on, or rest is legitimate. The journal tells what hung."
    yield f"WatchdogSec={WATCHDOG_S}"
    yield "Environment=PYTHONFAULTHANDLER=1"
    yield "LimitCORE=0"
    yield "LimitNOFILE=8192"
    yield "# The dream ends in its order; what it leaves behind goes with it. An engine that the kernel ends"
    yield "# for want of memory is started again by the dream."
    yield "KillMode=mixed"
    yield "OOMPolicy=continue"
    yield "UMask=0022"
    yield "# What compilers of CUDA and torch keep."
    yield f"CacheDirectory={plan.name}"
    cache = f"%C/{plan.name}"
    yield f"Environment=CUDA_CACHE_PATH={cache}/cuda TRITON_CACHE_DIR={cache}/triton"
    yield f"Environment=TORCHINDUCTOR_CACHE_DIR={cache}/inductor"


def _hardened(plan: ServicePlan) -> Iterator[str]:
    yield "# Everything is read-only but these. Of a folder that is missing Dreamloop complains in words."
    yield "ProtectSystem=strict"
    yield "ProtectHome=read-only"
    yield f"ReadWritePaths={_paths(plan.writable, '-')}"
    if plan.code:
        yield f"ReadOnlyPaths={_paths(plan.code)}"
    yield "PrivateTmp=yes"
    yield "# No device but graphics. PrivateDevices= would hide those, too."
    yield "DevicePolicy=closed"
    for device, what in _GRAPHICS:
        yield f"# {what}"
        yield f"DeviceAllow={device} rw"
    yield from _hardened_for_one()
    yield "CapabilityBoundingSet="
    yield "AmbientCapabilities="
    yield "KeyringMode=private"
    yield "ProtectClock=yes"
    yield "ProtectControlGroups=yes"
    yield "ProtectHostname=yes"
    yield "ProtectKernelLogs=yes"
    yield "ProtectKernelModules=yes"
    yield "ProtectKernelTunables=yes"
    yield "# ProtectProc= and ProcSubset= stay as they are: the dream may rest while some program runs, so"
    yield "# it must see it. PrivateUsers= would take the groups of the graphics devices away."


def _hardened_for_one() -> Iterator[str]:
    """What a service of one person can be given without being root, on every system."""
    yield "NoNewPrivileges=yes"
    yield "LockPersonality=yes"
    yield "RestrictNamespaces=yes"
    yield "RestrictRealtime=yes"
    yield "RestrictSUIDSGID=yes"
    yield "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK"
    yield "SystemCallArchitectures=native"
    yield "SystemCallFilter=@system-service"
    yield "SystemCallErrorNumber=EPERM"
    yield "# MemoryDenyWriteExecute= must stay off: torch, triton and CUDA write code and run it."
