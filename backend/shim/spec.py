"""What one shim serves, in a form that travels: from settings, or as JSON on its command line."""

from __future__ import annotations

import json
import os
import secrets
import stat
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from backend.config import Settings
from backend.errors import StorageError
from backend.utils.file_ops import read_at_most, write_atomic

TOKEN_NAME = "token"  # noqa: S105 - a file name
"""In the status folder, unless shim.token_file names another place."""
_TOKEN_BYTES = 32
_MOST_TOKEN_CHARS = 512


@dataclass(frozen=True)
class ShimSpec:
    """One shim.

    Attributes:
        output: The daemon's output folder.
        status: Its status folder.
        memory: The memory's folder; None where the dream has none.
        host: Address to listen on.
        port: Port; 0 for any free one.
        token_file: Where the token is.
        cors_origins: Web pages from elsewhere that may ask.
        upstream: Address of another machine's shim, for what the folders do not tell.
    """

    output: Path
    status: Path
    memory: Path | None
    host: str
    port: int
    token_file: Path
    cors_origins: tuple[str, ...] = ()
    upstream: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> ShimSpec:
        """What the settings ask for."""
        shim, storage, memory = settings.shim, settings.storage, settings.memory
        return cls(
            output=storage.output.absolute(),
            status=storage.status.absolute(),
            memory=(memory.folder or storage.output / "memory").absolute() if memory.enabled else None,
            host=shim.host,
            port=shim.port,
            token_file=(shim.token_file or storage.status / TOKEN_NAME).absolute(),
            cors_origins=shim.cors_origins,
            upstream=shim.upstream,
        )

    @classmethod
    def read(cls, text: str) -> ShimSpec:
        """What `written` gave."""
        told: dict[str, Any] = json.loads(text)
        for name in ("output", "status", "memory", "token_file"):
            told[name] = None if told[name] is None else Path(told[name])
        return cls(**told | {"cors_origins": tuple(told["cors_origins"])})

    def written(self) -> str:
        """As one line; there is no secret in it."""
        return json.dumps({key: _plain(value) for key, value in asdict(self).items()})

    @property
    def is_open(self) -> bool:
        """Whether other machines can reach it; then whoever changes something needs the token."""
        return not _is_loopback(self.host)


def token_of(path: Path) -> str:
    """The token in a file, which is made, for its owner only, where there is none.

    Raises:
        StorageError: It can be neither read nor made.
        ValueError: Others may read it, or there is nothing in it.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, secrets.token_urlsafe(_TOKEN_BYTES).encode() + b"\n", mode=0o600)
        found = path.stat()
    except OSError as error:
        raise StorageError(path, error) from error
    if stat.S_IMODE(found.st_mode) & 0o077 and os.name == "posix":
        raise ValueError(f"{path}: others may read the token; chmod 600 it, and change it")
    try:
        token = read_at_most(path, _MOST_TOKEN_CHARS).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: a token of plain letters ({type(error).__name__})") from None
    if len(token) < 16 or len(token) > _MOST_TOKEN_CHARS or not token.isprintable() or " " in token:
        raise ValueError(f"{path}: a token of 16 to {_MOST_TOKEN_CHARS} letters, digits and signs")
    return token


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value
