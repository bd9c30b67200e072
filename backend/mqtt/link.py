"""One connection to a broker, driven by whoever calls: no thread of its own. Needs the package paho-mqtt."""

from __future__ import annotations

import logging
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backend.errors import BrokerTrouble
from backend.mqtt.spec import MqttSpec
from backend.mqtt.topics import OFFLINE, Message, Topics

if TYPE_CHECKING:
    from paho.mqtt.client import Client

log = logging.getLogger(__name__)

KEEP_ALIVE_S = 30
_CONNECT_S = 5.0
_HEARD = 16
# What a broken broker makes of the client's parser; none of it is a fault of this program.
_NONSENSE = (ValueError, IndexError, KeyError, TypeError, AttributeError, struct.error)


@dataclass(frozen=True)
class Heard:
    """A message from the broker.

    Attributes:
        kept: It is an old one, which the broker keeps; a command that was kept would be obeyed anew at each
            connect.
    """

    topic: str
    payload: bytes
    kept: bool


class Link:
    """A connection, good until something goes wrong; then another one is made.

    Args:
        spec: Where the broker is, and who we are there.
        topics: Ours; the broker says that we are gone when the connection breaks.
    """

    def __init__(self, spec: MqttSpec, topics: Topics) -> None:
        self.accepted = False
        """Whether the broker has let us in."""
        self.heard: deque[Heard] = deque(maxlen=_HEARD)
        self._spec = spec
        self._refused: str | None = None
        self._client = self._made(topics)

    def open(self) -> None:
        """Connect; whether the broker lets us in is heard later.

        Raises:
            BrokerTrouble: Nobody is there.
        """
        with _trouble(self._spec.address):
            self._client.connect(self._spec.host, self._spec.port, KEEP_ALIVE_S)

    def listen(self, topics: Iterable[str]) -> None:
        """Subscribe to topics; raises BrokerTrouble."""
        with _trouble(self._spec.address):
            self._client.subscribe([(topic, 0) for topic in topics])

    def say(self, message: Message) -> None:
        """Publish; raises BrokerTrouble."""
        with _trouble(self._spec.address):
            self._client.publish(message.topic, message.payload, qos=0, retain=message.kept)

    @property
    def clogged(self) -> bool:
        """Whether the broker has not taken yet what was said before: say no more."""
        return bool(self._client.want_write())

    def turn(self, wait_s: float) -> None:
        """Send and receive, for so long at the most.

        Raises:
            BrokerTrouble: The connection is gone, or the broker did not let us in.
        """
        with _trouble(self._spec.address):
            result = self._client.loop(wait_s)
        if self._refused is not None:
            raise BrokerTrouble(self._spec.address, f"it does not let us in: {self._refused}")
        if result != 0:
            raise BrokerTrouble(self._spec.address, f"the connection is gone ({_words(result)})")

    def close(self, last_words: Iterable[Message] = ()) -> None:
        """Say good-bye, as far as that goes without waiting."""
        try:
            if self.accepted:
                for message in last_words:
                    self.say(message)
            self._client.disconnect()
            self._client.loop(0.1)
        except (BrokerTrouble, OSError, *_NONSENSE) as error:
            log.debug("no good-bye: %s", error)

    def _made(self, topics: Topics) -> Client:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        client = Client(CallbackAPIVersion.VERSION2, clean_session=True)
        client.connect_timeout = _CONNECT_S
        client.max_queued_messages = _HEARD
        client.will_set(topics.availability, OFFLINE, qos=0, retain=True)
        if self._spec.username is not None:
            client.username_pw_set(self._spec.username, self._spec.password)
        if self._spec.tls:
            client.tls_set(None if self._spec.ca_file is None else str(self._spec.ca_file))
        client.on_connect = self._answered
        client.on_message = lambda _client, _userdata, message: self.heard.append(
            Heard(message.topic, bytes(message.payload), message.retain)
        )
        return client

    def _answered(
        self, _client: object, _userdata: object, _flags: object, reason: object, *_: object
    ) -> None:
        if getattr(reason, "is_failure", True):
            self._refused = str(reason).lower()
        else:
            self.accepted = True


@contextmanager
def _trouble(address: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BrokerTrouble(address, error.strerror or str(error) or type(error).__name__) from error
    except _NONSENSE as error:
        raise BrokerTrouble(address, f"it makes no sense: {type(error).__name__}") from error


def _words(result: object) -> str:
    from paho.mqtt.client import error_string

    return error_string(result).rstrip(".").lower()  # type: ignore[arg-type]


Connect = Callable[[], Link]
