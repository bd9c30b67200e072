"""``main.py service install|uninstall|status|print``: run the dream for good, by systemd or launchd."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backend.cli import exit_codes

if TYPE_CHECKING:  # `main.py --help` must not wait for pydantic
    from backend.service.plan import ServicePlan
    from backend.service.registration import Registration, Words

_COMMAND_S = 180.0
_MAIN = Path(__file__).resolve().parents[2] / "main.py"
_GROUPS = ("render", "video")
_ACTIONS = {
    "install": "write the service's file, and start it",
    "uninstall": "stop it, and remove the file",
    "status": "what the service manager and the dream itself say",
    "print": "show the file that install would write",
}


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    said: str


Run = Callable[["Words"], Ran]


class _Refused(Exception):  # noqa: N818 - it says what happened
    """Why nothing was done, as a sentence, and the exit status."""

    def __init__(self, sentence: str, status: int = exit_codes.REFUSED) -> None:
        super().__init__(sentence)
        self.status = status


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare the command."""
    parser = subparsers.add_parser("service", help="run it for good, by systemd or launchd")
    actions = parser.add_subparsers(dest="service_action", metavar="ACTION", required=True)
    for name, what in _ACTIONS.items():
        action = actions.add_parser(name, help=what)
        action.set_defaults(handler=run)
        scope = action.add_mutually_exclusive_group()
        scope.add_argument("--user", action="store_true", help="for you alone (unless you are root)")
        scope.add_argument("--system", action="store_true", help="for the whole machine (if you are root)")
        action.add_argument("--name", default="dreamloop", metavar="NAME", help="where there are several")
        if name in ("install", "print"):
            action.add_argument("--as", dest="run_as", metavar="USER", help="with --system: whom it runs as")
        if name == "print":
            action.add_argument("--launchd", action="store_true", help="as macOS wants it")
            action.add_argument("--systemd", action="store_true", help="as Linux wants it")
    return parser


def run(args: argparse.Namespace, run_command: Run | None = None) -> int:
    """Do it; returns the exit status (77: that is for somebody with more rights)."""
    from backend.errors import StorageError

    execute = run_command or _execute
    try:
        args, plan, registration = _where_it_is(args, execute)
        match args.service_action:
            case "print":
                print(registration.text, end="")
            case "install":
                _install(plan, registration, execute)
            case "uninstall":
                _uninstall(registration, execute)
            case _:
                return _status(args, registration, execute)
    except _Refused as refused:
        print(f"dreamloop: {refused}", file=sys.stderr)
        return refused.status
    except StorageError as error:
        print(f"dreamloop: {_rights(error, args)}", file=sys.stderr)
        return exit_codes.NO_PERMISSION
    return exit_codes.OK


def _rights(error: Exception, args: argparse.Namespace) -> str:
    if not _for_machine(args) or os.geteuid() == 0:
        return f"{error}. Nothing was changed."
    told = f"{error}: a service of the whole machine is for root. Nothing was changed.\n"
    if args.service_action == "uninstall":
        return f"{told}run the same with sudo"
    words = " ".join(["main.py service", args.service_action])
    return f"{told}run the same with sudo, or for yourself alone: {words} --user"


def _for_machine(args: argparse.Namespace) -> bool:
    return bool(args.system or (not args.user and os.geteuid() == 0))


def _where_it_is(
    args: argparse.Namespace, execute: Run
) -> tuple[argparse.Namespace, ServicePlan, Registration]:
    """In the scope in which the service is: who asks after it need not know whom it was installed for."""
    plan = _plan(args)
    registration = _registration(args, plan, execute)
    told = args.user or args.system or args.service_action in ("install", "print")
    if told or registration.path.exists():
        return args, plan, registration
    machine = not _for_machine(args)
    other = argparse.Namespace(**{**vars(args), "system": machine, "user": not machine})
    plan_there = _plan(other)
    there = _registration(other, plan_there, execute)
    return (other, plan_there, there) if there.path.exists() else (args, plan, registration)


def _registration(args: argparse.Namespace, plan: ServicePlan, execute: Run) -> Registration:
    from backend.service.registration import systemd_version, with_launchd, with_systemd

    on_mac = sys.platform == "darwin"
    if getattr(args, "launchd", False) or (on_mac and not getattr(args, "systemd", False)):
        return with_launchd(plan, Path.home(), os.getuid())
    told = execute(("systemctl", "--version")).said if shutil.which("systemctl") else ""
    return with_systemd(plan, Path.home(), os.environ, systemd_version(told))


def _plan(args: argparse.Namespace) -> ServicePlan:
    from backend.config import DEFAULT_PATH, load_settings
    from backend.service.folders import written_folders
    from backend.service.plan import ServicePlan, is_name

    if not is_name(args.name):
        raise _Refused(f"--name {args.name!r}: small letters, digits and -", exit_codes.USAGE)
    config = (args.config or DEFAULT_PATH).absolute()
    user = _user(args, config) if _for_machine(args) else None
    # Whoever removes it, or asks how it goes, can do so whatever is wrong with the settings.
    needed = args.service_action in ("install", "print")
    writes = written_folders(load_settings(config, {}).settings, _home_of(user)) if needed else ()
    for path in (Path(sys.executable), _MAIN, config, *writes):
        if not str(path).isprintable():
            raise _Refused(f"{str(path)!r}: a path that can be printed")
    return ServicePlan(
        name=args.name,
        python=Path(sys.executable).absolute(),
        main=_MAIN,
        config=config,
        writes=writes,
        user=user,
        groups=_groups() if user else (),
        nvidia=Path("/proc/driver/nvidia").exists(),
    )


def _home_of(user: str | None) -> Path:
    import pwd

    return Path.home() if user is None else Path(pwd.getpwnam(user).pw_dir)


def _user(args: argparse.Namespace, config: Path) -> str:
    """Whom a service of the machine runs as: who called sudo, else who owns the settings."""
    import pwd

    name = getattr(args, "run_as", None)
    if name is None:
        if args.service_action not in ("install", "print"):
            return "root"  # not written anywhere
        name = os.environ.get("SUDO_USER") or _owner(config)
        if name == "root":
            raise _Refused("it should not run as root: name a user that may write here, --as USER")
    try:
        return pwd.getpwnam(name).pw_name
    except KeyError:
        raise _Refused(f"--as {name}: there is no such user on this machine") from None


def _owner(config: Path) -> str:
    try:
        return config.owner()
    except (OSError, KeyError):
        return "root"


def _groups() -> tuple[str, ...]:
    import grp

    return tuple(group.gr_name for group in grp.getgrall() if group.gr_name in _GROUPS)


def _install(plan: ServicePlan, registration: Registration, execute: Run) -> None:
    from backend.utils.file_ops import write_atomic

    for name in sorted(name for name in os.environ if name.startswith("DREAMLOOP_")):
        print(
            f"{name} of this shell is not part of the service; write it into {plan.config}", file=sys.stderr
        )
    before = registration.path.read_bytes() if registration.path.exists() else None
    write_atomic(registration.path, registration.text.encode())
    _make_folders(plan)
    print(f"written: {registration.path}")
    if not _manager_runs(registration):
        commands = [*registration.learn, registration.start]
        print(f"no {registration.tool} answers here, so nothing is started. Where one does, run:")
        print("\n".join(f"  {shlex.join(words)}" for words in commands))
        return
    for words in registration.learn:
        ended = execute(words)
        if ended.code != 0:
            _take_back(registration, before)
            raise _Refused(f"{shlex.join(words)}: {ended.said.strip()}\nNothing was changed.")
    if registration.tool == "launchctl":  # it knows no restart
        execute(registration.stop)
    started = execute(registration.start)
    if started.code != 0:
        raise _Refused(
            f"{shlex.join(registration.start)}: {started.said.strip()}\n"
            f"the service is installed, but does not run: {shlex.join(registration.status)}"
        )
    print(f"the dream runs, and will after each start of the machine; {registration.hint or 'that is all'}")


def _make_folders(plan: ServicePlan) -> None:
    """Folders that are missing, for whom they are: a hardened service could not make them by itself."""
    for folder in plan.writable:
        if folder.exists():
            continue
        try:
            folder.mkdir(parents=True)
            if plan.user:
                shutil.chown(folder, plan.user)
        except OSError as error:
            print(
                f"{folder} cannot be made: {error.strerror}; make it before the dream begins", file=sys.stderr
            )


def _take_back(registration: Registration, before: bytes | None) -> None:
    from backend.utils.file_ops import write_atomic

    if before is None:
        registration.path.unlink(missing_ok=True)
    else:
        write_atomic(registration.path, before)


def _uninstall(registration: Registration, execute: Run) -> None:
    from backend.errors import StorageError

    if not registration.path.exists():
        raise _Refused(f"there is no such service: {registration.path} is not there")
    if not os.access(registration.path.parent, os.W_OK):
        raise StorageError(registration.path, PermissionError(13, "Permission denied"))
    runs = _manager_runs(registration)
    if runs:
        ended = execute(registration.stop)
        if ended.code != 0:
            print(f"{shlex.join(registration.stop)}: {ended.said.strip()}", file=sys.stderr)
    try:
        registration.path.unlink()
    except OSError as error:
        raise StorageError(registration.path, error) from error
    for words in registration.forget if runs else ():
        execute(words)
    print(f"removed: {registration.path}; pictures and settings stay")


def _status(args: argparse.Namespace, registration: Registration, execute: Run) -> int:
    from datetime import UTC, datetime

    from backend.cli.status import find_status
    from backend.config import load_storage

    if not registration.path.exists():
        print(f"not installed: there is no {registration.path}")
    elif _manager_runs(registration):
        print(execute(registration.status).said.rstrip())
    else:
        print(f"installed: {registration.path}; but no {registration.tool} answers here")
    found = find_status(load_storage(args.config, os.environ).status, datetime.now(UTC))
    print(found if isinstance(found, str) else found.headline)
    lives = not isinstance(found, str) and found.freshness.value == "live"
    return exit_codes.OK if lives else exit_codes.NO_DAEMON


def _manager_runs(registration: Registration) -> bool:
    """Whether there is somebody to talk to; a container has the tool, and nobody behind it."""
    if shutil.which(registration.tool) is None:
        return False
    return registration.tool != "systemctl" or Path("/run/systemd/system").is_dir()


def _execute(words: Sequence[str]) -> Ran:
    try:
        ended = subprocess.run(
            words, capture_output=True, text=True, timeout=_COMMAND_S, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Ran(127, str(error))
    return Ran(ended.returncode, ended.stdout + ended.stderr)
