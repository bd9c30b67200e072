"""What the memory and its scorer know, for the status. Reads only."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Protocol

from backend.cache.collapse import CollapseState
from backend.cache.matching import Matcher
from backend.core.scorer import InjectionEvent, Scorer
from backend.utils.status_schema import CollapseStatus, InjectionStatus, MemoryStatus


class _Cache(Protocol):
    @property
    def ready(self) -> bool: ...

    @property
    def size(self) -> int: ...

    @property
    def bytes(self) -> int: ...


class _Aside(Protocol):
    @property
    def dreamt(self) -> int: ...

    @property
    def failed(self) -> int: ...

    @property
    def seconds(self) -> float: ...


class _Matcher(Protocol):
    @property
    def current(self) -> Matcher: ...


class _Memory(Protocol):
    @property
    def cache(self) -> _Cache: ...

    @property
    def matcher(self) -> _Matcher: ...

    @property
    def problem(self) -> str | None: ...


@dataclass
class MemoryReport:
    """The memory, if there is one.

    Attributes:
        problem: Why there is none, though one is asked for.
        enabled: One is asked for.
        scorer: Who works with it.
        aside: Who has pictures dreamt for it beside the loop.
    """

    memory: _Memory | None = None
    problem: str | None = None
    enabled: bool = True
    scorer: Scorer | None = None
    aside: _Aside | None = None

    def body(self) -> MemoryStatus:
        """Its part of the status, as it is at this moment."""
        if self.memory is None:
            return MemoryStatus(enabled=self.enabled, problem=self.problem)
        cache, scorer = self.memory.cache, self.scorer
        told = MemoryStatus(
            ready=cache.ready,
            entries=cache.size,
            bytes=cache.bytes,
            matcher=str(self.memory.matcher.current.identity.name),
            problem=self.memory.problem,
        )
        if scorer is None:
            return told
        newest = scorer.newest
        return told.model_copy(
            update={
                "judged": scorer.judged,
                "remembered": scorer.remembered,
                "left_out": scorer.left_out,
                "score": None if newest is None else round(newest.score, 4),
                "shows_prompt": None if newest is None else newest.shows_prompt,
                "collapse": collapse_status(scorer.state),
                "injections": scorer.injections,
                "events": tuple(_event(event) for event in list(scorer.events)),
                **self._fresh(),
            }
        )

    def _fresh(self) -> dict[str, object]:
        if self.aside is None:
            return {}
        told, seconds = self.aside, round(self.aside.seconds, 3)
        return {"fresh": told.dreamt, "fresh_failed": told.failed, "fresh_s": seconds}


def collapse_status(state: CollapseState) -> CollapseStatus:
    """How the dream's health is told."""
    return CollapseStatus(
        level=round(state.level, 4),
        collapsed=state.collapsed,
        kind=None if state.kind is None else state.kind.value,
        armed=state.armed,
        coverage=round(max(state.coverage, 0.0), 4),
        effective_number=round(max(state.effective_number, 0.0), 3),
        dispersion=round(max(state.dispersion, 0.0), 4),
        step=round(max(state.step, 0.0), 4),
        nearest_memory=None if state.nearest_memory is None else round(state.nearest_memory, 4),
    )


def _event(event: InjectionEvent) -> InjectionStatus:
    facts = asdict(event) | {"source": event.source.value}
    return InjectionStatus(memory=facts.pop("memory_id"), **facts)
