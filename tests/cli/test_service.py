from __future__ import annotations

import argparse
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from backend.cli import service
from backend.cli.service import Ran
from backend.service import registration

UNIT = Path(".config/systemd/user/dreamloop.service")


@dataclass
class Systemd:
    """A systemctl that remembers what it was told; some of it may fail."""

    fails: dict[str, str] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)

    def __call__(self, words: tuple[str, ...]) -> Ran:
        said = " ".join(words)
        if "--version" in words:
            return Ran(0, "systemd 254 (254.1)\n")
        self.told.append(said)
        why = next((why for word, why in self.fails.items() if word in words), None)
        return Ran(0, "active (running)\n") if why is None else Ran(1, why)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with settings, on a machine that systemd runs."""
    (tmp_path / "config.yaml").write_text("storage: {output: pictures/output}\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setattr(registration, "_SYSTEM_UNITS", tmp_path / "system")
    monkeypatch.setattr(service, "_manager_runs", lambda _: True)
    monkeypatch.setattr(service.sys, "platform", "linux")
    return tmp_path


def run(home: Path, systemd: Systemd, *words: str) -> int:
    parser = argparse.ArgumentParser()
    service.add_parser(parser.add_subparsers())
    args = parser.parse_args(["service", *words])
    args.config = home / "config.yaml"
    return service.run(args, systemd)


def test_install_for_oneself_writes_the_unit_and_starts_it(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    systemd = Systemd()
    assert run(home, systemd, "install", "--user") == 0
    assert systemd.told == [
        "systemctl --user daemon-reload",
        "systemctl --user enable dreamloop.service",
        "systemctl --user restart dreamloop.service",
    ]
    text = (home / UNIT).read_text()
    assert f"--config {home / 'config.yaml'} run" in text
    assert "User=" not in text
    assert "enable-linger" in capsys.readouterr().out


def test_install_for_the_machine_names_who_it_runs_as(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "daemon")
    systemd = Systemd()
    assert run(home, systemd, "install", "--system") == 0
    text = (home / "system" / "dreamloop.service").read_text()
    assert "User=daemon\n" in text
    assert "ProtectSystem=strict" in text
    assert "RestartSteps" in text
    assert systemd.told[0] == "systemctl daemon-reload"


def test_folders_elsewhere_are_made_for_whom_they_are(home: Path, tmp_path: Path) -> None:
    (home / "config.yaml").write_text(f"storage: {{output: {tmp_path}/../out-{os.getpid()}/pictures}}\n")
    folder = tmp_path.parent / f"out-{os.getpid()}" / "pictures"
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    assert run(home, Systemd(), "install", "--system", "--as", "daemon") == 0
    assert folder.owner() == "daemon"


def test_install_again_takes_the_place_of_the_first(home: Path) -> None:
    assert run(home, Systemd(), "install", "--user") == 0
    first = (home / UNIT).read_text()
    (home / "config.yaml").write_text("storage: {output: /elsewhere}\n")
    assert run(home, Systemd(), "install", "--user") == 0
    assert (home / UNIT).read_text() == first  # what one person's service may write is not in it
    assert [one.name for one in (home / UNIT).parent.iterdir()] == ["dreamloop.service"]


def test_several_dreams_have_names_of_their_own(home: Path) -> None:
    systemd = Systemd()
    assert run(home, systemd, "install", "--user", "--name", "lobby") == 0
    assert (home / UNIT).with_name("lobby.service").exists()
    assert "systemctl --user restart lobby.service" in systemd.told
    assert run(home, systemd, "install", "--user", "--name", "../lobby") == 2


def test_without_rights_it_says_so_and_nothing_is_changed(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    closed, opened = home / "system", os.open
    closed.mkdir()

    def refuse(path: object, flags: int, mode: int = 0o777, **other: int) -> int:
        if str(path).startswith(f"{closed}/"):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, flags, mode, **other)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    systemd = Systemd()
    assert run(home, systemd, "install", "--system", "--as", "daemon") == 77
    said = capsys.readouterr().err
    for words in ("dreamloop.service: Permission denied", "sudo", "main.py service install --user"):
        assert words in said
    assert systemd.told == []
    assert list(closed.iterdir()) == []


def test_where_systemd_refuses_the_unit_is_taken_back(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    systemd = Systemd({"enable": "Interactive authentication required."})
    assert run(home, systemd, "install", "--user") == 1
    assert not (home / UNIT).exists()
    assert "Interactive authentication required.\nNothing was changed." in capsys.readouterr().err
    assert run(home, Systemd(), "install", "--user") == 0
    before = (home / UNIT).read_text()
    (home / UNIT).write_text(before + "# mine\n")
    assert run(home, systemd, "install", "--user") == 1
    assert (home / UNIT).read_text() == before + "# mine\n"


def test_a_dream_that_does_not_start_is_told_of_with_where_to_look(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(home, Systemd({"restart": "Job failed."}), "install", "--user") == 1
    assert (home / UNIT).exists()
    assert "systemctl --user status --no-pager" in capsys.readouterr().err


def test_where_no_systemd_runs_the_commands_are_told(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(service, "_manager_runs", lambda _: False)
    systemd = Systemd()
    assert run(home, systemd, "install", "--user") == 0
    assert systemd.told == []
    assert "  systemctl --user enable dreamloop.service\n" in capsys.readouterr().out


def test_what_only_the_shell_says_is_told_of(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DREAMLOOP_DREAM__DENOISE", "0.3")
    assert run(home, Systemd(), "install", "--user") == 0
    assert "DREAMLOOP_DREAM__DENOISE of this shell is not part of the service" in capsys.readouterr().err


def test_settings_that_are_wrong_are_not_installed(home: Path) -> None:
    from backend.errors import ConfigError

    (home / "config.yaml").write_text("dream: {denoise: 7}\n")
    with pytest.raises(ConfigError, match="denoise"):
        run(home, Systemd(), "install", "--user")
    assert not (home / UNIT).exists()


def test_uninstall_stops_it_and_takes_the_unit_away(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(home, Systemd(), "install", "--user")
    (home / "config.yaml").write_text("dream: {denoise: 7}\n")  # whatever has become of the settings
    systemd = Systemd()
    assert run(home, systemd, "uninstall", "--user") == 0
    assert systemd.told == [
        "systemctl --user disable --now dreamloop.service",
        "systemctl --user daemon-reload",
    ]
    assert not (home / UNIT).exists()
    assert "pictures and settings stay" in capsys.readouterr().out
    assert run(home, systemd, "uninstall", "--user") == 1
    assert "no such service" in capsys.readouterr().err


def test_status_says_what_both_say(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(home, Systemd(), "status", "--user") == 69
    assert "not installed" in capsys.readouterr().out
    run(home, Systemd(), "install", "--user")
    systemd = Systemd()
    assert run(home, systemd, "status", "--user") == 69
    said = capsys.readouterr().out
    assert "active (running)" in said
    assert "Dreamloop has not run yet" in said
    assert systemd.told == ["systemctl --user status --no-pager --lines=10 dreamloop.service"]


@pytest.mark.parametrize("uid", [0, 1000])
def test_who_asks_how_it_goes_need_not_know_whom_it_was_installed_for(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], uid: int
) -> None:
    scope = "--user" if uid == 0 else "--system"
    _installed(home, scope)
    monkeypatch.setattr(service.os, "geteuid", lambda: uid)
    systemd = Systemd()
    run(home, systemd, "status")
    assert "active (running)" in capsys.readouterr().out
    assert systemd.told == [
        " ".join(
            filter(
                None, ("systemctl", "--user" * (uid == 0), "status --no-pager --lines=10 dreamloop.service")
            )
        )
    ]
    run(home, systemd, "status", "--system" if uid == 0 else "--user")
    assert "not installed" in capsys.readouterr().out, "it was asked about that one alone"


def _installed(home: Path, scope: str) -> None:
    unit = home / UNIT if scope == "--user" else home / "system" / UNIT.name
    unit.parent.mkdir(parents=True)
    unit.write_text("[Unit]\n")


def test_print_writes_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(home.rglob("*"))
    assert run(home, Systemd(), "print", "--user") == 0
    assert capsys.readouterr().out.startswith("[Unit]\n")
    assert run(home, Systemd(), "print", "--user", "--launchd") == 0
    assert "<key>KeepAlive</key>" in capsys.readouterr().out
    assert sorted(home.rglob("*")) == before


def test_a_mac_gets_an_agent(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(service.sys, "platform", "darwin")
    launchd = Systemd()
    assert run(home, launchd, "install", "--user") == 0
    path = home / "Library/LaunchAgents/org.dreamloop.dreamloop.plist"
    assert path.exists()
    label = f"gui/{os.getuid()}/org.dreamloop.dreamloop"
    assert launchd.told == [
        f"launchctl enable {label}",
        f"launchctl bootout {label}",
        f"launchctl bootstrap gui/{os.getuid()} {path}",
    ]
    assert "Library/Logs/dreamloop.log" in capsys.readouterr().out
    assert run(home, launchd, "uninstall", "--user") == 0
    assert not path.exists()


def test_root_is_not_what_it_runs_as_unless_somebody_says_so(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    owner = pwd.getpwuid((home / "config.yaml").stat().st_uid).pw_name
    if owner != "root":
        pytest.skip("the settings of this test are not root's")
    assert run(home, Systemd(), "install", "--system") == 1
    assert "--as USER" in capsys.readouterr().err
    assert run(home, Systemd(), "install", "--system", "--as", "nobody-of-that-name") == 1
    assert "there is no such user" in capsys.readouterr().err
    assert run(home, Systemd(), "install", "--system", "--as", "root") == 0


def test_for_whom_it_is_follows_from_who_asks(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    run(home, Systemd(), "install")
    assert (home / UNIT).exists()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert run(home, Systemd(), "install", "--as", "daemon") == 0
    assert (home / "system" / "dreamloop.service").exists()


def test_a_container_has_a_systemctl_and_nobody_behind_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    if shutil.which("systemctl") is None or Path("/run/systemd/system").is_dir():
        pytest.skip("this machine has no systemctl, or is run by it")
    parser = argparse.ArgumentParser()
    service.add_parser(parser.add_subparsers())
    args = parser.parse_args(["service", "print", "--user"])
    args.config = home / "config.yaml"
    found = service._registration(args, service._plan(args), service._execute)
    assert not service._manager_runs(found)
    assert "Type=notify" in found.text


_AS_NOBODY = """
import argparse, contextlib, io, os, sys
from pathlib import Path
from backend.cli import service

def run(*words):
    parser = argparse.ArgumentParser()
    service.add_parser(parser.add_subparsers())
    args = parser.parse_args(["service", *words, "--system", "--as", "daemon"])
    args.config = Path(sys.argv[1])
    return service.run(args)

with contextlib.redirect_stdout(io.StringIO()):
    run("print")  # what is needed is read while it still may be
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
sys.exit(run("install"))
"""


def test_somebody_without_rights_is_refused_by_the_system_itself() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    before = sorted(Path("/etc/systemd/system").glob("*")) if Path("/etc/systemd/system").is_dir() else None
    if before is None:
        pytest.skip("there is no /etc/systemd/system here")
    with tempfile.TemporaryDirectory(prefix="dl") as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "config.yaml").write_text("dream: {denoise: 0.5}\n")
        tried = subprocess.run(
            [sys.executable, "-c", _AS_NOBODY, f"{folder}/config.yaml"],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert tried.returncode == 77, tried.stderr
    assert "Permission denied" in tried.stderr
    assert "run the same with sudo" in tried.stderr
    assert sorted(Path("/etc/systemd/system").glob("*")) == before
