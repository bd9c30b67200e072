from __future__ import annotations

import configparser
import logging
import plistlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backend.config import load_settings
from backend.service.examples import DEPLOY, examples
from backend.service.folders import written_folders
from backend.service.launchd_agent import agent, agent_text
from backend.service.plan import NAME, ServicePlan, is_name, outermost
from backend.service.registration import systemd_version
from backend.service.systemd_unit import quoted, unit_text

log = logging.getLogger(__name__)

ROOT = Path(__file__).parents[2]
LOG = Path("/Users/a/Library/Logs/dreamloop.log")
GPU = ("nvidia", "drm", "kfd", "dxg")


def plan(root: Path = ROOT, user: str | None = "daemon", **other: object) -> ServicePlan:
    facts: dict[str, object] = {
        "name": NAME,
        "python": Path(sys.executable),
        "main": root / "main.py",
        "config": root / "config.yaml",
        "writes": (root / "output", Path("/srv/pictures")),
        "user": user,
    }
    return ServicePlan(**{**facts, **other})  # type: ignore[arg-type]


def lines(text: str, section: str) -> list[tuple[str, str]]:
    """The assignments of a section, repeated ones too."""
    body = text.split(f"[{section}]\n")[1].split("\n[", maxsplit=1)[0]
    pairs = (line.partition("=") for line in body.splitlines() if line and not line.startswith("#"))
    return [(name, value) for name, _, value in pairs]


def value(text: str, section: str, name: str) -> str:
    (found,) = [value for key, value in lines(text, section) if key == name]
    return found


def test_a_unit_says_what_a_service_that_never_stops_needs() -> None:
    text = unit_text(plan())
    told = dict(lines(text, "Service"))
    assert (told["Type"], told["NotifyAccess"], told["Restart"]) == ("notify", "main", "always")
    assert told["RestartPreventExitStatus"].split() == ["2", "75", "78"]
    assert int(told["WatchdogSec"]) > 0
    assert int(told["TimeoutStopSec"]) >= 15
    assert (told["KillMode"], told["OOMPolicy"]) == ("mixed", "continue")
    assert told["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert value(text, "Unit", "StartLimitIntervalSec") == "0"
    assert value(text, "Install", "WantedBy") == "multi-user.target"
    assert shlex.split(told["ExecStart"]) == [
        sys.executable,
        str(ROOT / "main.py"),
        "--config",
        str(ROOT / "config.yaml"),
        "run",
    ]


def test_hardening_leaves_the_graphics_card_and_the_compiler_alone() -> None:
    text = unit_text(plan())
    told = lines(text, "Service")
    names = {name for name, _ in told}
    allowed = " ".join(value for name, value in told if name == "DeviceAllow")
    assert all(device in allowed for device in GPU)
    assert not names & {"PrivateDevices", "MemoryDenyWriteExecute", "PrivateUsers", "ProtectProc"}
    for hardened in ("NoNewPrivileges", "ProtectSystem", "PrivateTmp", "CapabilityBoundingSet"):
        assert hardened in names


def test_only_its_own_folders_can_be_written_and_its_code_cannot() -> None:
    text = unit_text(plan())
    assert shlex.split(value(text, "Service", "ReadWritePaths")) == [f"-{ROOT}", "-/srv/pictures"]
    read_only = shlex.split(value(text, "Service", "ReadOnlyPaths"))
    assert {str(ROOT / "main.py"), str(ROOT / "backend")} <= set(read_only)
    elsewhere = plan(config=Path("/etc/dreamloop/config.yaml"), writes=(ROOT / "output",))
    assert elsewhere.writable == (Path("/etc/dreamloop"), ROOT / "output")
    assert elsewhere.code == ()


def test_a_unit_of_one_person_needs_no_rights_and_no_namespaces() -> None:
    text = unit_text(plan(user=None))
    names = {name for name, _ in lines(text, "Service")}
    assert not names & {"User", "ProtectSystem", "PrivateTmp", "DeviceAllow", "CapabilityBoundingSet"}
    assert {"NoNewPrivileges", "SystemCallFilter"} <= names
    assert value(text, "Install", "WantedBy") == "default.target"


def test_an_older_systemd_is_not_told_what_it_does_not_know() -> None:
    assert "RestartSteps" in unit_text(plan())
    assert "RestartSteps" not in unit_text(plan(), version=252)
    assert systemd_version("systemd 252 (252.39-1~deb12u2)\n+PAM") == 252
    assert systemd_version("") >= 254


def test_a_drivers_modules_are_waited_for_where_there_is_one() -> None:
    assert "modprobe@nvidia.service" in unit_text(plan(nvidia=True))
    assert "nvidia.service" not in unit_text(plan())


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("/opt/plain-1.2/x", "/opt/plain-1.2/x"),
        ("/a b", '"/a b"'),
        ("/50%", '"/50%%"'),
        ("/$HOME", '"/$$HOME"'),
        ('/a"b\\c', '"/a\\"b\\\\c"'),
        ("/a;b", '"/a;b"'),
    ],
)
def test_odd_paths_keep_their_meaning(word: str, written: str) -> None:
    assert quoted(word) == written


def test_folders_within_others_are_left_out() -> None:
    a, b, c = Path("/a"), Path("/a/b"), Path("/ab")
    assert outermost([b, a, c, a]) == (a, c)


@pytest.mark.parametrize(
    ("name", "fits"), [("dreamloop", True), ("d-2", True), ("../x", False), ("A", False)]
)
def test_names_of_services_are_plain(name: str, fits: bool) -> None:
    assert is_name(name) is fits


def test_the_folders_of_the_settings_and_of_an_own_comfyui_are_known(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (tmp_path / "config.yaml").write_text(
        "memory: {folder: memory, seeds: mine}\n"
        f"comfyui: {{launch: [/opt/py, /opt/comfy/main.py, {models}]}}\n"
    )
    found = written_folders(load_settings(tmp_path / "config.yaml", {}).settings, Path("/home/a"))
    wanted = {*(tmp_path / name for name in ("output", "status", "prompts", "memory")), models}
    assert wanted | {Path("/opt/comfy")} <= set(found)
    assert not {tmp_path / "mine", Path("/home/a/.cache/huggingface")} & set(found)
    environ = {"DREAMLOOP_MEMORY__CLIP_DOWNLOAD": "allowed"}
    found = written_folders(load_settings(tmp_path / "config.yaml", environ).settings, Path("/home/a"))
    assert Path("/home/a/.cache/huggingface") in found


def test_an_agent_is_a_property_list_that_comes_back_as_it_was() -> None:
    mac = plan(root=Path("/Users/a b/dream & loop"), user=None)
    told = plistlib.loads(agent_text(mac, LOG).encode())
    assert told == agent(mac, LOG)
    assert told["ProgramArguments"][-3:] == ["run", "--log-file", str(LOG)]
    assert all(Path(word).is_absolute() for word in told["ProgramArguments"][:2])
    assert told["KeepAlive"] == {"SuccessfulExit": False}
    assert told["ThrottleInterval"] >= 10
    assert told["StandardErrorPath"] == told["StandardOutPath"] == "/dev/null"
    assert "UserName" not in told
    assert agent(plan(user="dreamloop"), LOG)["UserName"] == "dreamloop"


def test_the_examples_are_what_the_code_writes() -> None:
    for name, text in examples().items():
        assert (DEPLOY / name).read_text() == text, f"run: python -m backend.service.examples ({name})"


# By systemd's own judgement

ANALYZE = shutil.which("systemd-analyze")
analyzed = pytest.mark.skipif(ANALYZE is None, reason="no systemd-analyze here: apt install systemd")


def analyze(*words: str, home: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environ = {"LC_ALL": "C", "HOME": str(home), "XDG_RUNTIME_DIR": str(home)}
    return subprocess.run(
        [ANALYZE or "", *words], capture_output=True, text=True, check=False, timeout=60, env=environ
    )


def version() -> int:
    return systemd_version(analyze("--version").stdout)


@analyzed
@pytest.mark.parametrize("user", ["daemon", None])
@pytest.mark.parametrize("odd", [False, True])
def test_systemd_finds_nothing_wrong_with_a_unit(tmp_path: Path, user: str | None, odd: bool) -> None:
    root = ROOT
    if odd:
        root = tmp_path / 'a "b" 50% $HOME é'
        root.mkdir()
    path = tmp_path / "dreamloop.service"
    path.write_text(unit_text(plan(root=root, user=user), version=version()))
    checked = analyze("verify", "--man=no", *([] if user else ["--user"]), str(path), home=tmp_path)
    complaints = [line for line in checked.stderr.splitlines() if "dreamloop.service" in line]
    assert (checked.returncode, complaints) == (0, [])


@analyzed
def test_systemd_calls_the_hardened_unit_little_exposed(tmp_path: Path) -> None:
    path = tmp_path / "dreamloop.service"
    path.write_text(unit_text(plan(), version=version()))
    judged = analyze("security", "--offline=true", "--no-pager", str(path))
    found = re.search(r"Overall exposure level for dreamloop.service: ([0-9.]+)", judged.stdout)
    if found is None:
        pytest.skip(f"this systemd-analyze judges no files: {judged.stderr.strip()}")
    log.info("%s", found[0])
    assert float(found[1]) <= 3.0


def test_a_unit_is_a_file_of_sections(tmp_path: Path) -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(unit_text(plan()))
    assert parser.sections() == ["Unit", "Service", "Install"]
