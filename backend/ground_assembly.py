"""What a dream stands on before it has an engine: its words, the disk, what the last run left, the memory."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from backend.config import Settings
from backend.memory_assembly import DreamMemory, open_memory
from backend.resume_assembly import Past, open_past
from backend.utils.disk_room import DiskRoom
from backend.utils.prompt_manager import PromptManager


@dataclass(frozen=True)
class Ground:
    """What is there already, and what is not.

    Attributes:
        rng: The dream's chance: order of themes, seeds, pauses.
        room: What is free on the disk that the dream writes to.
        past: What the last run left.
        memory: None where there is none.
        memory_problem: Why not, as a sentence, where one is asked for.
        missed: Says when what could not be had at the start can be had now; None until then.
    """

    rng: random.Random
    prompts: PromptManager
    room: DiskRoom
    past: Past
    memory: DreamMemory | None
    memory_problem: str | None
    missed: Callable[[], str | None]


def ground_of(settings: Settings, stack: ExitStack) -> Ground:
    """Read and open it; the stack closes it.

    Raises:
        PromptsError: If there are no themes that can be used.
    """
    rng = random.Random(settings.dream.seed)
    prompts = _prompts_of(settings, rng)
    room = DiskRoom(settings.storage.output, settings.storage.min_free)
    room.look()
    past = open_past(settings, lambda: room.scarce)
    memory, problem = open_memory(settings, stack)
    return Ground(rng, prompts, room, past, memory, problem, _missed(problem, room))


def _prompts_of(settings: Settings, rng: random.Random) -> PromptManager:
    """The themes, in the order that is wished for."""
    return PromptManager(
        settings.prompts.folder,
        seconds_per_theme=settings.prompts.seconds_per_theme,
        seconds_per_prompt=settings.prompts.seconds_per_prompt,
        order=settings.prompts.order,
        rng=rng,
    )


def _missed(problem: str | None, room: DiskRoom) -> Callable[[], str | None]:
    """Who says when a memory that a full disk kept from being opened can be opened."""
    if problem is None or not room.scarce:
        return lambda: None
    return lambda: None if room.scarce else "there is room on the disk for the memory again"
