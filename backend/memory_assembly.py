"""The memory that the settings ask for, and those who work with it."""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backend.cache.aesthetic_matcher import AestheticMatcher, MatcherSettings, matcher_of
from backend.cache.clip_weights import ClipChoice
from backend.cache.injection import InjectionPolicy, InjectionSettings
from backend.cache.manager import CacheManager
from backend.cache.matching import Identity, Matcher
from backend.cache.perceptual_matcher import PerceptualMatcher
from backend.cache.policy import MemoryLimits, Policy
from backend.cache.seeds import SeedsImport
from backend.cache.vector_index import open_index
from backend.config import MemorySettings, Settings
from backend.core.generator import MODES
from backend.core.memory_chores import Chores, SeedFolder
from backend.core.memory_commands import MemoryCommands
from backend.core.remembering import MemoryAlbum, Remembering
from backend.core.scorer import Scorer
from backend.errors import AlreadyRunning, MatcherUnfit, MemoryOff, StorageError
from backend.utils.file_ops import read_at_most, write_json_atomic
from backend.utils.picture_formats import Encoding

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from backend.core.aside import Aside
    from backend.core.folding import Arc
    from backend.core.generator import DreamGenerator

log = logging.getLogger("dreamloop")

_STATE = "policies.json"
# Of one question, which is over before a graph of very many vectors would be built.
_NO_GRAPH = 2**40
_STATE_BYTES = 64_000_000


@dataclass
class DreamMemory:
    """A memory that is open, and who judges for it.

    Attributes:
        wishes: Its settings as they hold now.
    """

    folder: Path
    cache: CacheManager
    matcher: AestheticMatcher
    wishes: MemorySettings

    def take(self, wishes: MemorySettings) -> None:
        """Go by other settings from now on, as far as that can be done with an open memory."""
        self.wishes = wishes
        self.cache.limit(_limits(wishes))
        self.cache.use(self.cache.identity, _policy(wishes, self.matcher.current))

    def settle(self) -> bool:
        """Compare by the embeddings of the matcher that was asked for, once it is there; False until then.

        True, too, where it cannot be had, so that another judges for good.
        """
        if not self.matcher.wait(0.0):
            return False
        if self.cache.identity != self.matcher.current.identity:
            self.adopt(self.matcher.current.identity)
        return True

    def must_judge(self) -> None:
        """See that the matcher asked for is there.

        Raises:
            MatcherUnfit: It is not, so that nothing should be judged anew in its name.
        """
        if not self.settle():
            raise MatcherUnfit("who judges pictures is still being loaded; ask again later")
        if self.matcher.problem is not None:
            raise MatcherUnfit(f"nothing is judged anew, and all is left as it is: {self.matcher.problem}")

    def adopt(self, identity: Identity) -> None:
        """Compare by the embeddings of another matcher that has come."""
        self.cache.use(identity, _policy(self.wishes, self.matcher.current))

    @property
    def problem(self) -> str | None:
        """What is wrong with it, as a sentence."""
        return self.cache.problem or self.matcher.problem

    def embed(self, pictures: Sequence[bytes]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Vectors and scores for the memory; one matcher is asked by one thread at a time.

        Raises:
            PictureRejected: A picture cannot be decoded.
            MatcherUnfit: The matcher was just replaced; the memory learns of it with the next keyframe.
        """
        vectors, scores, identity = self.matcher.appraise(pictures)
        if identity != self.cache.identity:
            raise MatcherUnfit(
                self.matcher.problem
                or f"{identity} judges now, but the memory compares by {self.cache.identity}"
            )
        return vectors, scores


def _now() -> datetime:
    return datetime.now(UTC)


def open_memory(
    settings: Settings, stack: ExitStack, *, wall: Callable[[], datetime] = _now
) -> tuple[DreamMemory | None, str | None]:
    """Open the memory; nothing is waited for.

    A memory that cannot be opened is no reason not to dream: then there is a sentence instead. There is
    neither where none is asked for. ``wall`` tells the time of day, with a zone.
    """
    try:
        wishes = settings.memory
        return _opened(settings, stack, matcher_of(_matcher_settings(wishes)), wishes.exact_limit, wall), None
    except MemoryOff:
        return None, None
    except (StorageError, AlreadyRunning) as error:
        log.warning("dreaming without a memory: %s", error)
        return None, str(error)


def _opened(
    settings: Settings,
    stack: ExitStack,
    load: Callable[[], Matcher],
    exact_limit: int,
    wall: Callable[[], datetime] = _now,
) -> DreamMemory:
    wishes = settings.memory
    if not wishes.enabled:
        raise MemoryOff
    folder = wishes.folder or settings.storage.output / "memory"
    matcher = AestheticMatcher(load)
    now = matcher.current
    cache = CacheManager.open(
        folder,
        identity=now.identity,
        limits=_limits(wishes),
        policy=_policy(wishes, now),
        index=partial(open_index, exact_limit=exact_limit),
        clock=wall,
        provisional=True,
    )
    stack.callback(cache.close)
    matcher.start()
    stack.callback(matcher.close)
    return DreamMemory(folder, cache, matcher, wishes)


def _limits(wishes: MemorySettings) -> MemoryLimits:
    return MemoryLimits(wishes.max_entries, wishes.max_size)


def _policy(wishes: MemorySettings, matcher: Matcher) -> Policy:
    """What counts as a duplicate is for whoever judges to say."""
    return Policy(admit_below=matcher.thresholds.duplicate, min_score=wishes.min_score)


def recall_of(
    memory: DreamMemory,
    *,
    frame_s: float,
    fade_s: float,
    max_pixels: int,
    rng: random.Random,
    encoding: Encoding,
) -> Remembering:
    """What the display shows from this memory while the engine is away."""
    album = MemoryAlbum(memory.cache)
    return Remembering(
        album, frame_s=frame_s, fade_s=fade_s, max_pixels=max_pixels, rng=rng, encoding=encoding
    )


def injection_of(settings: Settings) -> InjectionPolicy | None:
    """Who decides what is folded in; None where nothing is."""
    wishes = settings.memory
    if wishes.injection != "when_needed" or not MODES[settings.dream.mode].continues:
        return None
    return InjectionPolicy(InjectionSettings(cooldown_s=wishes.cooldown_seconds))


def scorer_of(
    memory: DreamMemory,
    settings: Settings,
    generator: DreamGenerator,
    encode: Callable[[bytes], Tensor],
    aside: Aside,
    *,
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], datetime] = _now,
) -> Scorer:
    """Who judges, remembers and folds in, by these clocks; not yet started."""
    wishes = settings.memory
    bring = None if wishes.seeds is None else _seed_folder(memory, wishes.seeds, generator).turn
    inject: Callable[[Arc], None] = generator.fold_in
    scorer = Scorer(
        memory.matcher,
        memory.cache,
        injection_of(settings),
        inject=inject,
        encode=encode,
        errand=aside,
        save=partial(_save, memory.folder / _STATE),
        adopt=memory.adopt,
        chore=Chores(memory.cache, memory.embed, bring, memory.settle).turn,
        clock=clock,
        wall=wall,
    )
    aside.on_dreamt = scorer.take_fresh
    scorer.restore(_stored(memory.folder / _STATE))
    return scorer


def _matcher_settings(settings: MemorySettings) -> MatcherSettings:
    clip = ClipChoice(
        model=settings.clip_model,
        weights=None if settings.clip_weights is None else str(settings.clip_weights),
        may_download=settings.clip_download == "allowed",
        head=settings.aesthetic_head,
    )
    return MatcherSettings(settings.matcher or "auto", clip)


def _seed_folder(memory: DreamMemory, folder: Path, generator: DreamGenerator) -> SeedFolder:
    def begin(size_px: tuple[int, int]) -> SeedsImport:
        return SeedsImport(memory.cache, folder, size_px, memory.embed, pinned=False)

    return SeedFolder(begin, lambda: generator.full_size, time.monotonic)


def _save(path: Path, state: Mapping[str, object]) -> None:
    write_json_atomic(path, dict(state))


def _stored(path: Path) -> Mapping[str, Any]:
    try:
        state = json.loads(read_at_most(path, _STATE_BYTES))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        log.warning("%s is passed over: %s", path, error)
        return {}
    return state if isinstance(state, dict) else {}


def commands_of(
    memory: DreamMemory, size: Callable[[], tuple[int, int]], wish: Callable[[str], None] | None = None
) -> MemoryCommands:
    """What may be asked of this memory; ``wish`` folds one of it into the dream."""
    return MemoryCommands(memory.cache, memory.embed, size, memory.matcher.words, wish, memory.must_judge)


def commands_for(
    settings: Settings, stack: ExitStack, load_s: float, *, judges: bool
) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """The same where no daemon runs: the memory is opened and loaded for it.

    Args:
        settings: All of them.
        stack: Closes it.
        load_s: The longest that loading may take.
        judges: Pictures are to be judged; otherwise nothing is loaded for that, nor downloaded.

    Raises:
        MemoryOff: There is none, by the settings.
        StorageError: It cannot be opened.
        AlreadyRunning: Another process has it open.
    """
    load = matcher_of(_matcher_settings(settings.memory)) if judges else PerceptualMatcher
    memory = _opened(settings, stack, load, _NO_GRAPH)
    memory.matcher.wait(load_s)
    if judges:
        memory.settle()
    elif (judged_by := memory.cache.commonest_identity) is not None:
        memory.cache.use(judged_by)  # whose embeddings are what an export carries
    memory.cache.wait_ready(load_s)
    size = settings.dream.size
    return commands_of(memory, lambda: (0, 0) if size is None else (size.width, size.height)).obey
