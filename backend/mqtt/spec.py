"""What one MQTT bridge connects: a broker, topics, and the folders of a dream."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from backend.config import Settings
from backend.config_given import MQTT_PASSWORD
from backend.utils.file_ops import read_at_most

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_MOST_PASSWORD_BYTES = 4096


@dataclass(frozen=True)
class MqttSpec:
    """One bridge.

    Attributes:
        tls: Whether the connection is encrypted.
        ca_file: Who must have signed the broker's certificate; None for whom this machine trusts.
        password: Never shown.
        discovery_prefix: Where Home Assistant looks for devices.
        topic_prefix: Ours; another for each Dreamloop on one broker.
        image_s: Seconds between two pictures at the least.
        output: The daemon's output folder.
        status: Its status folder.
    """

    host: str
    port: int
    tls: bool
    ca_file: Path | None
    username: str | None
    password: str | None = field(repr=False)
    discovery_prefix: str
    topic_prefix: str
    image_s: float
    output: Path
    status: Path

    @classmethod
    def of(cls, settings: Settings, environ: Mapping[str, str]) -> MqttSpec | None:
        """What the settings ask for; None where no broker is named.

        Raises:
            ValueError: The password's file cannot be used.
        """
        mqtt = settings.mqtt
        if mqtt.broker is None:
            return None
        broker = urlsplit(mqtt.broker)
        return cls(
            host=broker.hostname or "",
            port=broker.port or _PORTS[broker.scheme],
            tls=broker.scheme == "mqtts",
            ca_file=mqtt.ca_file,
            username=mqtt.username,
            password=_password(mqtt.password_file, environ),
            discovery_prefix=mqtt.discovery_prefix,
            topic_prefix=mqtt.topic_prefix,
            image_s=mqtt.image_seconds,
            output=settings.storage.output,
            status=settings.storage.status,
        )

    @property
    def address(self) -> str:
        """The broker, as people write it."""
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"


def _password(path: Path | None, environ: Mapping[str, str]) -> str | None:
    """From the environment, else from its file."""
    given = environ.get(MQTT_PASSWORD)
    if given is not None or path is None:
        return given
    try:
        if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise ValueError(f"{path}: others may read the password; chmod 600 it, and change it")
        password = read_at_most(path, _MOST_PASSWORD_BYTES).decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: a file with a password ({type(error).__name__})") from None
    if not password:
        raise ValueError(f"{path}: there is no password in it")
    return password
