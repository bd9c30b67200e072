"""Takes up edits of config.yaml while the dream goes on: all of an edit, or nothing of it.

A file that is just being written is waited for; one with a mistake leaves everything as it was, and the
mistake is told until it is mended.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from backend.config import Loaded, Settings, is_live, keys, read_config, settings_from
from backend.core.live_settings import (
    Change,
    LiveSettings,
    changes,
    differing,
    value_of,
    with_values_of,
)
from backend.errors import ConfigError, DreamloopError, Problem, PromptsError
from backend.utils.logs import EVENT
from backend.utils.part import Part
from backend.utils.settled_file import SettledFile, Sighting
from backend.utils.status_schema import ConfigPendingStatus, ConfigProblemStatus, ConfigStatus, utc_text

log = logging.getLogger(__name__)

LOOK_S = 0.4
"""Between two looks at the file."""
# An edit counts once the same bytes were seen twice.
_SETTLED_S = 0.3
# One that cannot be used may be half of one that can.
_PATIENCE_S = 1.2
# What is wrong may lie beside the file (a folder that is missing) and be mended without an edit of it.
_TRY_AGAIN_S = 5.0
_GONE = "the file back; until then all stays as it was"
_EMPTY = "keys, or at least a comment; until then all stays as it was"


@dataclass(frozen=True)
class ConfigState:
    """How the settings stand.

    Attributes:
        file: Where they are read from; None for none.
        taken_at: When they were last taken over; the start counts.
        taken: Edits taken over since the start.
        refused: Edits that could not be used.
        problems: What is wrong with the file as it is now; the settings before hold.
        needs_restart: What it says otherwise than what holds, until the next start.
    """

    file: Path | None
    taken_at: datetime
    taken: int = 0
    refused: int = 0
    problems: tuple[Problem, ...] = ()
    needs_restart: tuple[Change, ...] = ()


def config_status(state: ConfigState) -> ConfigStatus:
    """How the settings stand, for the status."""
    return ConfigStatus(
        file=None if state.file is None else str(state.file.absolute()),
        ok=not state.problems,
        taken_at=utc_text(state.taken_at),
        taken=state.taken,
        refused=state.refused,
        problems=tuple(ConfigProblemStatus(**asdict(problem)) for problem in state.problems),
        needs_restart=tuple(
            ConfigPendingStatus(key=one.key, now=one.old, next=one.new) for one in state.needs_restart
        ),
    )


@dataclass(frozen=True)
class ConfigSource:
    """Where the settings come from, and what they were at the start.

    Attributes:
        path: The file; it may come to be only later.
        environ: Overrides, as at the start.
    """

    path: Path
    loaded: Loaded
    environ: Mapping[str, str] = field(repr=False)


class ConfigWatch:
    """Looks after the settings file, by a thread of its own.

    Args:
        source: The file, and the settings that the dream began with.
        live: Who takes what.
        check: Raises ConfigError or PromptsError for settings that no dream could begin with.
        clock: Monotonic seconds.
        wall: Now, with a zone.

    Attributes:
        settings: Those that hold.
        on_change: Called when there is news for the status.
        on_forced: Called when somebody asks for everything to be read again, now.
    """

    def __init__(
        self,
        source: ConfigSource,
        live: LiveSettings,
        *,
        check: Callable[[Settings], object],
        clock: Callable[[], float],
        wall: Callable[[], datetime],
    ) -> None:
        path, loaded = source.path, source.loaded
        self.settings = loaded.settings
        self.state = ConfigState(loaded.path, wall())
        self.on_change: Callable[[], None] = lambda: None
        self.on_forced: Callable[[], None] = lambda: None
        self._path = path
        self._environ = dict(source.environ)
        self._live = live
        self._check = check
        self._clock = clock
        self._wall = wall
        self._file = SettledFile(path, read_config)
        self._decided = ""  # it may have been edited since it was loaded
        self._loaded = loaded
        self._before = loaded.settings  # as they were before the newest edit
        self._expected = loaded.path is not None
        self._try_again_at = float("inf")
        self._asked = self._answered = 0
        self._lock = threading.Lock()
        self._applying = threading.RLock()
        self._awake = threading.Event()
        self._served = threading.Condition(self._lock)
        # A folder on a network that hangs is no reason to end the dream.
        self.part = Part("config-watch", self._one_turn, limit_s=math.inf)

    def start(self) -> None:
        """Begin to look."""
        self.part.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Look no more."""
        self.part.stopping.set()
        self._awake.set()
        self.part.stop(timeout_s)

    def ask(self) -> int:
        """Have the file read again now, whether it has changed or not; never waits.

        Returns:
            A number, for :meth:`answered`.
        """
        with self._lock:
            self._asked += 1
            number = self._asked
        self._awake.set()
        return number

    def answered(self, number: int, wait_s: float = 0.0) -> bool:
        """Whether what was asked is done; waits for it if wished."""
        with self._served:
            return self._served.wait_for(lambda: self._answered >= number, wait_s)

    def obey(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answers "reload" at the desk: at first a number; asked again with that, whether it is done."""
        number = request.get("number")
        if not isinstance(number, int):
            number = self.ask()
        config = config_status(self.state).model_dump(mode="json")
        return {"ok": True, "number": number, "done": self.answered(number), "config": config}

    def refuse(self, names: Sequence[str], wished: Settings, agreed: Settings, error: DreamloopError) -> None:
        """A part found only later that it cannot go by an edit: all go by what was before it.

        Args:
            names: The keys that it is about.
            wished: Settings with the values that it cannot go by.
            agreed: Settings with the values that it goes by.
            error: Why.
        """
        with self._applying:
            now = self.settings
            if any(value_of(now, key) != value_of(wished, key) for key in names):
                return  # there has been another edit since
            # An edit counts as a whole; but what was edited after it stays.
            back = self._before if now == wished else with_values_of(now, agreed, names)
            guilty = _guilty(changes(now, back, [key for key in differing(now, back) if key in names]), error)
            if not guilty:
                return
            self._live.apply(now, back)
            self.settings = back
            problems = [Problem(str(self._path), None, one.key, one.old, str(error)) for one in guilty]
            self._refused([self._loaded.located(one) for one in problems])

    def turn(self) -> bool:
        """Look once; True if the settings, or what is told of them, may have changed."""
        now = self._clock()
        with self._lock:
            asked = self._asked
        forced = asked > self._answered
        sighting = self._file.look(now)
        if not (forced or sighting.digest != self._decided or now >= self._try_again_at):
            return False
        done = self._decide(sighting, now, forced)
        if done:
            if forced:
                self.on_forced()
            with self._served:
                self._answered = asked
                self._served.notify_all()
        return done

    def _decide(self, sighting: Sighting, now: float, forced: bool) -> bool:
        """Take the file's word, or refuse it; False while that is too early to tell."""
        if sighting.age_s < _SETTLED_S and not forced:
            return False
        try:
            loaded = self._read(sighting)
            self._take(loaded)
        except (ConfigError, PromptsError) as error:
            if sighting.age_s < _PATIENCE_S and sighting.digest != self._decided:
                return False
            self._try_again_at = now + _TRY_AGAIN_S
            self._decided = sighting.digest
            self._refused(error.problems)
            return True
        self._try_again_at = float("inf")
        self._decided = sighting.digest
        return True

    def _read(self, sighting: Sighting) -> Loaded:
        source = str(self._path)
        if sighting.data is None:
            if sighting.gone and not self._expected:
                return settings_from(b"", None, self._environ)
            what = "gone" if sighting.gone else sighting.cause
            raise ConfigError([Problem(source, None, "file", what, _GONE)])
        if not sighting.data.strip() and self._expected:
            raise ConfigError([Problem(source, 1, "file", "empty", _EMPTY)])
        self._expected = True
        return settings_from(sighting.data, self._path, self._environ)

    def _take(self, loaded: Loaded) -> None:
        with self._applying:
            old = self.settings
            differ = differing(old, loaded.settings)
            live = [key for key in differ if is_live(keys()[key])]
            new = with_values_of(old, loaded.settings, live)
            self._loaded = loaded
            try:
                if differ:
                    self._check(loaded.settings)
                self._live.apply(old, new)
            except (ConfigError, PromptsError) as error:
                raise ConfigError([loaded.located(one) for one in error.problems]) from error
            except DreamloopError as error:
                problem = Problem(str(self._path), None, "settings", "", str(error))
                raise ConfigError([problem]) from error
            if live:
                self._before = old
            self.settings = new
            waiting = differing(new, loaded.settings)
            self._taken(changes(old, new, live), changes(new, loaded.settings, waiting))

    def _taken(self, taken: tuple[Change, ...], pending: tuple[Change, ...]) -> None:
        state = self.state
        was_wrong = bool(state.problems)
        if not (taken or was_wrong or pending != state.needs_restart):
            return
        self.state = replace(
            state,
            file=self._path,
            taken_at=self._wall(),
            taken=state.taken + bool(taken),
            problems=(),
            needs_restart=pending,
        )
        for change in taken:
            log.info("%s is %s now, it was %s", change.key, change.new, change.old, extra=EVENT)
        for change in (one for one in pending if one not in state.needs_restart):
            log.info(
                "%s is to be %s: that needs a restart, until then it is %s",
                change.key,
                change.new,
                change.old,
                extra=EVENT,
            )
        if was_wrong and not taken:
            log.info("%s is right again", self._path)
        self.on_change()

    def _refused(self, problems: Sequence[Problem]) -> None:
        if tuple(problems) == self.state.problems:
            return
        self.state = replace(self.state, refused=self.state.refused + 1, problems=tuple(problems))
        for problem in problems:
            log.warning("the settings stay as they were: %s", problem, extra=EVENT)
        self.on_change()

    def _one_turn(self) -> None:
        self.turn()
        self._awake.wait(LOOK_S)
        self._awake.clear()


def _guilty(edited: Sequence[Change], error: DreamloopError) -> Sequence[Change]:
    """Of the keys that were edited those whose value the complaint names; all of them where it names none."""
    return [one for one in edited if one.old in str(error)] or edited
