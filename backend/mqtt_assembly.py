"""The MQTT bridge that the settings ask for."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from backend.config import Settings
from backend.utils.version import VERSION

if TYPE_CHECKING:
    from backend.mqtt.bridge import Bridge

log = logging.getLogger("dreamloop")


def open_bridge(settings: Settings, environ: Mapping[str, str]) -> Bridge | None:
    """A bridge that is not started yet; None where none is wished for, or can be.

    A dream does not depend on its broker: what is wrong is told in the log, and it dreams without.
    """
    from backend.mqtt.spec import MqttSpec

    try:
        spec = MqttSpec.of(settings, environ)
    except ValueError as error:
        log.warning("no MQTT: mqtt.password_file: %s", error)
        return None
    if spec is None:
        return None
    if importlib.util.find_spec("paho") is None:
        log.warning("no MQTT: mqtt.broker needs paho-mqtt: .venv/bin/pip install -r requirements-mqtt.lock")
        return None
    from backend.mqtt.bridge import Bridge
    from backend.mqtt.link import Link

    return Bridge(spec, partial(Link, spec), version=VERSION)
