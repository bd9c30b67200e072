"""What people may ask of the memory: plain JSON in, plain JSON out, whether a daemon has it open or nobody.

Quick questions are answered at once. What takes long (a check of every file, an export) runs as a task, one
at a time, and whoever asked for it asks again until it is done.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Any

from backend.cache.manager import CacheManager, Embed
from backend.cache.matching import Vectors
from backend.cache.memory_row import Memory, Order
from backend.errors import DreamloopError, PictureRejected

log = logging.getLogger(__name__)

_PAGE = 200
_LEAST_ID = 4
_MOST_WORDS = 200
_MOST_LOOKED_AT = 2000

Answer = dict[str, Any]


class MemoryCommands:
    """Obeys, for one memory.

    Args:
        cache: The memory.
        embed: Judges pictures, as the memory's identity does.
        size: Width and height to which pictures of one's own are cropped.
        embed_words: Words -> a vector to look for among the memories; None where whoever judges knows none.
        wish: Has a memory folded into the dream; None where nothing dreams.
        must_judge: Raises MatcherUnfit where whoever should judge is not there.
    """

    def __init__(
        self,
        cache: CacheManager,
        embed: Embed,
        size: Callable[[], tuple[int, int]],
        embed_words: Callable[[str], Vectors | None] = lambda _: None,
        wish: Callable[[str], None] | None = None,
        must_judge: Callable[[], None] = lambda: None,
    ) -> None:
        self._cache = cache
        self._embed = embed
        self._size = size
        self._embed_words = embed_words
        self._wish = wish
        self._must_judge = must_judge
        self._task: _Task | None = None
        self._numbers = itertools.count(1)
        self._quick: Mapping[str, Callable[[Mapping[str, Any]], Answer]] = {
            "ls": self._ls,
            "show": lambda asked: {"memory": told(self._one(asked))},
            "pin": lambda asked: self._pin(asked, True),
            "unpin": lambda asked: self._pin(asked, False),
            "forget": self._forget,
            "inject": self._inject,
            "task": self._progress,
        }
        self._long: Mapping[str, Callable[[Mapping[str, Any]], Answer]] = {
            "check": lambda asked: self._check(bool(asked.get("repair"))),
            "rebuild": lambda _: self._rebuild(),
            "export": lambda asked: {"exported": cache.export(_path(asked))},
            "import": self._import,
        }

    def obey(self, asked: Mapping[str, Any]) -> Answer:
        """Answer one request: ``action`` and its arguments; ``ok`` says whether it could be done."""
        action = str(asked.get("action"))
        try:
            if action in self._quick:
                return {"ok": True, **self._quick[action](asked)}
            if action in self._long:
                return self._begin(self._long[action], asked)
        except (DreamloopError, ValueError, OSError) as error:
            return {"ok": False, "error": str(error)}
        known = ", ".join([*self._quick, *self._long])
        return {
            "ok": False,
            "error": f"no such thing to do with the memory: {action[:40]!r}; there are {known}",
        }

    def _ls(self, asked: Mapping[str, Any]) -> Answer:
        offset, limit = int(asked.get("offset", 0)), int(asked.get("limit", 20))
        order = Order(str(asked.get("order", Order.NEWEST.value)))
        offset, limit = max(0, offset), min(max(1, limit), _PAGE)
        theme, words = (str(asked.get(name) or "")[:_MOST_WORDS] or None for name in ("theme", "words"))
        page = self._like(words, offset, limit, theme) if words else None
        by_meaning = page is not None
        if page is None:
            page = self._cache.iterate(offset, limit, order, theme=theme, words=words)
        return {
            "memories": [told(memory) for memory in page],
            "by_meaning": by_meaning,
            "entries": self._cache.size,
            "bytes": self._cache.bytes,
            "ready": self._cache.ready,
        }

    def _like(self, words: str, offset: int, limit: int, theme: str | None) -> list[Memory] | None:
        """The memories that show the words best, the best first; None where nobody can tell."""
        vector = self._embed_words(words)
        if vector is None:
            return None
        most = _MOST_LOOKED_AT if theme else offset + limit
        found = [self._cache.get(name) for name, _ in self._cache.nearest(vector, most)]
        right = [one for one in found if one is not None and theme in (None, one.theme)]
        return right[offset : offset + limit]

    def _one(self, asked: Mapping[str, Any]) -> Memory:
        """The memory of an id, or of the beginning of one."""
        wished = str(asked.get("id", ""))
        memory = self._cache.get(wished)
        if memory is not None:
            return memory
        if len(wished) < _LEAST_ID:
            raise ValueError(
                f"id {wished[:70]!r}: at least {_LEAST_ID} characters of an id, as `memory ls` shows it"
            )
        found = self._cache.ids_like(wished, 2)
        memory = self._cache.get(found[0]) if len(found) == 1 else None
        if memory is None:
            what = "more than one memory begins" if found else "no memory begins"
            raise ValueError(f"id {wished[:70]!r}: {what} like that")
        return memory

    def _pin(self, asked: Mapping[str, Any], pinned: bool) -> Answer:
        memory = self._one(asked)
        self._cache.pin(memory.id, pinned)
        return {"id": memory.id, "pinned": pinned}

    def _forget(self, asked: Mapping[str, Any]) -> Answer:
        memory = self._one(asked)
        self._cache.forget(memory.id)
        return {"id": memory.id}

    def _inject(self, asked: Mapping[str, Any]) -> Answer:
        if self._wish is None:
            raise ValueError("nothing dreams here into which it could be folded")
        memory = self._one(asked)
        self._wish(memory.id)
        return {"id": memory.id}

    def _check(self, repair: bool) -> Answer:
        report = self._cache.check(repair=repair)
        return {"report": plain(asdict(report)), "whole": report.whole, "mended": report.mended}

    def _rebuild(self) -> Answer:
        """What is known is forgotten only once somebody has shown to be there who can judge anew."""
        self._must_judge()
        for memory in self._cache.iterate(0, 1):
            with contextlib.suppress(PictureRejected):
                self._embed([self._cache.picture(memory.id)])
        self._must_judge()
        return {"embedded": self._cache.rebuild(self._embed, everything=True)}

    def _import(self, asked: Mapping[str, Any]) -> Answer:
        path = _path(asked)
        if asked.get("pictures"):
            size = self._size()
            if size == (0, 0):
                raise ValueError(
                    "the size of the dream is not known yet: set dream.size, or wait for the engine"
                )
            seeds = self._cache.import_pictures(path, size, self._embed, pinned=bool(asked.get("pinned")))
            return {"report": plain(asdict(seeds))}
        return {"report": plain(asdict(self._cache.import_(path)))}

    def _begin(self, work: Callable[[Mapping[str, Any]], Answer], asked: Mapping[str, Any]) -> Answer:
        if self._task is not None and not self._task.done:
            raise ValueError("something else is being done with the memory; ask again when that is over")
        self._task = _Task(next(self._numbers), lambda: work(asked))
        return {"ok": True, "task": self._task.number, "done": False}

    def _progress(self, asked: Mapping[str, Any]) -> Answer:
        task = self._task
        if task is None or task.number != asked.get("task"):
            raise ValueError("there is no such task (any more)")
        return {"task": task.number, "done": task.done, "result": task.result}


class _Task:
    """Work on a thread of its own; ``result`` once ``done``."""

    def __init__(self, number: int, work: Callable[[], Answer]) -> None:
        self.number = number
        self.done = False
        self.result: Answer = {}
        threading.Thread(target=self._run, args=(work,), name="memory-task", daemon=True).start()

    def _run(self, work: Callable[[], Answer]) -> None:
        try:
            self.result = {"ok": True, **work()}
        except (DreamloopError, ValueError, OSError) as error:
            self.result = {"ok": False, "error": str(error)}
        except Exception as error:
            log.exception("work on the memory failed")
            self.result = {"ok": False, "error": f"{type(error).__name__}: {error}"}
        self.done = True


def told(memory: Memory) -> Answer:
    """All that is known of a memory, as JSON has it."""
    fact: Answer = plain(asdict(memory))
    fact["identity"] = None if memory.identity is None else str(memory.identity)
    return fact


def plain(value: object) -> Any:
    """Without enums, tuples and paths, which JSON does not know."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value


def _path(asked: Mapping[str, Any]) -> Path:
    written = asked.get("path")
    path = Path(str(written or ""))
    if not written or not path.is_absolute():
        raise ValueError(f"path {written!r}: an absolute path")
    return path
