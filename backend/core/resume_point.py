"""What a restart goes on from, as it stands in the resume file: its shape, its versions, its reading."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, ValidationError

SCHEMA_VERSION: Literal[2] = 2

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, Field(max_length=100_000)]
# What random.Random tells of itself: version, words of state and place among them, half a pair of normals.
RandomState = tuple[int, tuple[int, ...], float | None]

_TWISTER = (3, 625)
_MOST_TURNS = 100
MOST_KEYFRAMES = 64


class PointUnfit(Exception):  # noqa: N818 - it is caught where it is raised from, and becomes a sentence
    """A file that cannot be gone on from; what is to be done with it is to set it aside by this suffix."""

    def __init__(self, why: str, suffix: str) -> None:
        self.suffix = suffix
        super().__init__(why)


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class KeyframeRecord(_Record):
    """A keyframe; latent and picture stand in files that are named by their SHA-256.

    Attributes:
        place: Of its frame, in the order of showing; None while it has none.
    """

    number: NonNegativeInt
    latent: Digest | None
    picture: Digest
    theme: Text
    positive: Text
    negative: Text
    seed: NonNegativeInt
    denoise: NonNegativeFloat
    parent: NonNegativeInt | None
    seconds: NonNegativeFloat
    size: tuple[NonNegativeInt, NonNegativeInt] | None
    folded: Text | None
    place: NonNegativeInt | None = None


class PromptsRecord(_Record):
    """Which words it is the turn of, and for how long it has been."""

    theme: Text | None
    theme_s: NonNegativeFloat
    prompt: NonNegativeInt
    prompt_s: NonNegativeFloat
    part: Text | None
    draw: Annotated[float, Field(ge=0, lt=1)] | None


class CountsRecord(_Record):
    """What was counted since the dream began."""

    keyframes: NonNegativeInt = 0
    in_betweens: NonNegativeInt = 0
    rejected: NonNegativeInt = 0
    failed_jobs: NonNegativeInt = 0
    retries: NonNegativeInt = 0


class ResumePoint(_Record):
    """All that the next start goes on from.

    Attributes:
        written_at: UTC, ISO 8601; for people.
        model: What painted, as people call it; another one's latents have nothing to do with these.
        tail: The newest keyframe, and those before it from which frames are still to be shown; oldest first.
        next_place: The place whose turn it was.
        end_place: The first place that was not given away.
        seed: ``dream.seed`` as it was set.
        random: The random source as it was before the keyframe after this one was asked for.
        turns: How far the dream turned of late, in radians, oldest first.
        interval_s: The usual time from supply to supply.
    """

    schema_version: Literal[2] = SCHEMA_VERSION
    written_at: Text
    model: Text
    tail: Annotated[tuple[KeyframeRecord, ...], Field(min_length=1, max_length=MOST_KEYFRAMES)]
    next_place: NonNegativeInt
    end_place: NonNegativeInt
    prompts: PromptsRecord
    counts: CountsRecord
    seed: NonNegativeInt | None
    random: RandomState
    turns: Annotated[tuple[NonNegativeFloat, ...], Field(max_length=_MOST_TURNS)] = ()
    interval_s: NonNegativeFloat | None = None

    @property
    def keyframe(self) -> KeyframeRecord:
        """The newest, from which the dream goes on."""
        return self.tail[-1]

    @property
    def digests(self) -> frozenset[str]:
        """The files that it needs."""
        return frozenset(
            one for record in self.tail for one in (record.latent, record.picture) if one is not None
        )


Migration = Callable[[dict[str, Any]], dict[str, Any]]


def _from_one(told: dict[str, Any]) -> dict[str, Any]:
    """It knew the newest keyframe only, and nothing of the frames ahead."""
    return {**told, "tail": [told["keyframe"]], "next_place": 0, "end_place": 0}


MIGRATIONS: Mapping[int, Migration] = MappingProxyType({1: _from_one})
"""From each older version to the next one."""


def read_point(data: bytes, migrations: Mapping[int, Migration] = MIGRATIONS) -> ResumePoint:
    """The point in a file, of this version or an older one.

    Raises:
        PointUnfit: It is of a version that nobody knows, or no resume point at all.
    """
    try:
        told = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise PointUnfit(f"it is no JSON: {error}", "unreadable") from None
    version = told.get("schema_version") if isinstance(told, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise PointUnfit("it tells no version", "unreadable")
    if version > SCHEMA_VERSION:
        raise PointUnfit(f"it is of version {version}, from a newer Dreamloop", f"from-v{version}")
    while version < SCHEMA_VERSION:
        if version not in migrations:
            raise PointUnfit(f"it is of version {version}, which is not known any more", f"from-v{version}")
        try:
            told, version = migrations[version](told), version + 1
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise PointUnfit(f"it makes no sense: {error!r}", "unreadable") from None
    try:
        point = ResumePoint.model_validate_json(json.dumps({**told, "schema_version": version}))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise PointUnfit(f"it makes no sense: {key}: {first['msg']}", "unreadable") from None
    if (point.random[0], len(point.random[1])) != _TWISTER:
        raise PointUnfit("its random state is of another Python", "unreadable")
    return point
