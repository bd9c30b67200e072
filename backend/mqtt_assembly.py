"""The MQTT bridge that the settings ask for."""

from __future__ import annotations

import importlib.util
import logging
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from backend.config import Settings
from backend.errors import BrokerTrouble
from backend.utils.version import VERSION

if TYPE_CHECKING:
    from backend.mqtt.bridge import Bridge

log = logging.getLogger("dreamloop")

_LET_IN_S = 10.0
_TURN_S = 0.2


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


def try_broker(settings: Settings, environ: Mapping[str, str]) -> str:
    """Log in at the broker and leave again; says where that was.

    Raises:
        BrokerTrouble: It cannot be reached, or does not let us in.
        ValueError: The password or the package is missing, or no broker is named.
    """
    from backend.mqtt.spec import MqttSpec
    from backend.mqtt.topics import Topics

    spec = MqttSpec.of(settings, environ)
    if spec is None:
        raise ValueError("mqtt.broker names none")
    if importlib.util.find_spec("paho") is None:
        raise ValueError("paho-mqtt is missing: .venv/bin/pip install -r requirements-mqtt.lock")
    from backend.mqtt.link import Link

    # With a will of its own: the daemon's availability must not end with this visit.
    link = Link(spec, Topics(f"{spec.topic_prefix}/doctor", spec.discovery_prefix, VERSION))
    try:
        link.open()
        until = time.monotonic() + _LET_IN_S
        while not link.accepted:
            link.turn(_TURN_S)
            if time.monotonic() > until:
                raise BrokerTrouble(spec.address, "it does not say whether it lets us in")
    finally:
        link.close()
    return f"{spec.address} lets us in; the device is {spec.topic_prefix!r}"
