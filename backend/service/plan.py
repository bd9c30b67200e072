"""What a service manager is asked to run, whichever it is."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

NAME = "dreamloop"
STOP_S = 30
"""It stops within ten seconds by itself; whoever waits, waits longer."""
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")


@dataclass(frozen=True)
class ServicePlan:
    """A dream as a service; all paths are absolute.

    Attributes:
        name: Of the service.
        python: The interpreter, which is that of the environment with the packages.
        main: main.py.
        config: The settings file.
        writes: Folders that it writes to, beside that of the settings file.
        user: Whom it runs as, for the whole machine; None where it is the service of who installs it.
        groups: Further groups, which own graphics devices.
        nvidia: Whether its kernel modules are to be there first.
    """

    name: str
    python: Path
    main: Path
    config: Path
    writes: tuple[Path, ...] = ()
    user: str | None = None
    groups: tuple[str, ...] = ()
    nvidia: bool = False

    @property
    def root(self) -> Path:
        """The folder of main.py."""
        return self.main.parent

    @property
    def command(self) -> tuple[str, ...]:
        """The words that start it."""
        return (str(self.python), str(self.main), "--config", str(self.config), "run")

    @property
    def writable(self) -> tuple[Path, ...]:
        """Folders that it writes to, none within another: that of the settings is edited by the studio."""
        return outermost([self.config.parent, *self.writes])

    @property
    def code(self) -> tuple[Path, ...]:
        """What it runs and never writes, as far as it lies in a folder that it writes to."""
        environment = self.python.parent.parent
        parts = (self.main, self.root / "backend", environment)
        return tuple(part for part in parts if any(part.is_relative_to(folder) for folder in self.writable))


def outermost(folders: Iterable[Path]) -> tuple[Path, ...]:
    """The folders in their order, without those that lie in another of them."""
    all_of_them = list(dict.fromkeys(folders))
    return tuple(
        folder
        for folder in all_of_them
        if not any(folder != other and folder.is_relative_to(other) for other in all_of_them)
    )


def is_name(text: str) -> bool:
    """Whether a service may be called so."""
    return _NAME.fullmatch(text) is not None
