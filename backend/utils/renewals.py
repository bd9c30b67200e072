"""How often this process has begun anew by itself, and why: each life tells the next in its environment."""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

_NAME = "_DREAMLOOP_RENEWALS"


@dataclass(frozen=True)
class Renewals:
    """What the lives of this process before this one have come to.

    Attributes:
        count: How many there were.
        why: Why the newest of them ended, for people; None where there was none.
    """

    count: int = 0
    why: str | None = None

    @classmethod
    def taken_from(cls, environ: MutableMapping[str, str]) -> Renewals:
        """As the life before has told; it is taken out, so that no child hears of it."""
        try:
            told = json.loads(environ.pop(_NAME, "{}"))
            return cls(max(0, int(told["count"])), str(told["why"]))
        except (ValueError, TypeError, KeyError):  # nobody has told, or somebody else
            return cls()

    def and_one(self, why: str) -> Renewals:
        """The same once this life has ended, too."""
        return Renewals(self.count + 1, why)

    def told(self) -> Mapping[str, str]:
        """For the environment of the next life."""
        return {_NAME: json.dumps({"count": self.count, "why": self.why})}
