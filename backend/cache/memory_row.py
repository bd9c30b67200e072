"""What the memory knows of one picture, what is handed in to be remembered, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from backend.cache.matching import Identity, Vectors


class Origin(StrEnum):
    """Where a picture comes from."""

    DREAMT = "dreamt"
    SEED = "seed"  # the user's own
    INJECTED = "injected"  # a blend with a memory; never remembered, or memories would feed on memories


class Order(StrEnum):
    """In which order memories are listed."""

    NEWEST = "newest"
    OLDEST = "oldest"
    BEAUTY = "beauty"
    SHOWN = "shown"  # most often first


@dataclass(frozen=True)
class Memory:
    """One remembered picture.

    Attributes:
        id: SHA-256 of the picture's bytes, hexadecimal.
        added_at: UTC, ISO 8601.
        theme: The theme that it was dreamt under; empty where nobody knows.
        prompt: The positive prompt.
        negative: The negative prompt.
        seed: Of the sampler.
        parents: What it was dreamt from.
        denoise: 0 to 1, how much of it was new.
        score: Beauty, 0 to 1.
        shows_prompt: How well it shows its prompt (cosine); None where nobody judged that.
        origin: Where it comes from.
        pinned: Never evicted.
        times_shown: How often it came back into the dream.
        last_shown_at: When it last did, UTC, ISO 8601.
        picture: Its file, relative to the memory's folder.
        latent: The file of its latent, relative to the memory's folder; None where there is none.
        width: Pixels.
        height: Pixels.
        identity: Who made its embedding; None while it has none.
    """

    id: str
    added_at: str
    theme: str
    prompt: str
    negative: str
    seed: int
    parents: tuple[str, ...]
    denoise: float
    score: float
    shows_prompt: float | None
    origin: Origin
    pinned: bool
    times_shown: int
    last_shown_at: str | None
    picture: str
    latent: str | None
    width: int
    height: int
    identity: Identity | None


@dataclass(frozen=True, eq=False)
class NewMemory:
    """A picture that wishes to be remembered.

    Attributes:
        picture: An encoded PNG, JPEG or WebP.
        latent: The bytes of its latent file.
        embedding: ``[D]``, unit length; None: it is embedded later (``needs_embedding``).
        identity: Who made the embedding.
        claimed: The embedding is only somebody's word. It counts at the door and is not kept.
        added_at: When it was first remembered, UTC, ISO 8601; None: now.
        times_shown: How often it came back into a dream before.
        last_shown_at: When it last did.
    """

    picture: bytes
    latent: bytes | None
    embedding: Vectors | None
    identity: Identity | None
    score: float
    theme: str = ""
    prompt: str = ""
    negative: str = ""
    seed: int = 0
    parents: tuple[str, ...] = ()
    denoise: float = 1.0
    shows_prompt: float | None = None
    origin: Origin = Origin.DREAMT
    pinned: bool = False
    claimed: bool = False
    added_at: str | None = None
    times_shown: int = 0
    last_shown_at: str | None = None


@dataclass(frozen=True)
class Added:
    """It is remembered, and stays so whatever happens to this process.

    Attributes:
        id: Of the new memory.
        evicted: Ids of those that had to go.
        similarity: To the nearest memory; None where there was none to compare with.
    """

    id: str
    evicted: tuple[str, ...] = ()
    similarity: float | None = None


class Refusal(StrEnum):
    """Why a picture is not remembered."""

    BLEND = "blend"  # Origin.INJECTED
    KNOWN = "known"  # the very same bytes are there
    TOO_SIMILAR = "too similar"
    NOT_BEAUTIFUL = "not beautiful"
    FULL = "full"  # and everything there is pinned, or worth more
    UNFIT = "unfit"  # a broken picture, an embedding of another size or kind


@dataclass(frozen=True)
class Refused:
    """It is not remembered.

    Attributes:
        reason: Why.
        nearest_id: The memory that is nearest to it, where that was looked for.
        similarity: Cosine to that one.
        detail: What was wrong, where the reason alone does not tell.
    """

    reason: Refusal
    nearest_id: str | None = None
    similarity: float | None = None
    detail: str = ""
