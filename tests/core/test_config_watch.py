"""F27 with the clock in hand: every way to edit a file, and every mistake in it."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backend.config import Settings, load_settings
from backend.core.config_watch import LOOK_S, ConfigSource, ConfigWatch, config_status
from backend.core.live_settings import LiveSettings
from backend.errors import ConfigError, EngineError, Problem, StorageError

PROMISED_S = 2.0
GOOD = "# mine\ndream:\n  denoise: 0.3\n  seed: 7\ndisplay:\n  fps: 10\n"
BETTER = GOOD.replace("0.3", "0.6")


@dataclass
class Watched:
    """A watch with one part that takes what is live here, and a clock that goes from look to look."""

    path: Path
    environ: dict[str, str] = field(default_factory=dict)
    now: float = 100.0
    taken: list[Settings] = field(default_factory=list)
    refuse: Callable[[Settings], None] = lambda _: None
    check: Callable[[Settings], None] = lambda _: None

    def __post_init__(self) -> None:
        live = LiveSettings()
        live.register(["dream.denoise", "display.fps", "log.level", "dream.sampler"], self._take)
        loaded = load_settings(self.path if self.path.exists() else None, self.environ)
        source = ConfigSource(self.path, loaded, self.environ)
        self.watch = ConfigWatch(
            source,
            live,
            check=self._check,
            clock=lambda: self.now,
            wall=lambda: datetime(2026, 11, 28, tzinfo=UTC),
        )
        self.told: list[int] = []
        self.watch.on_change = lambda: self.told.append(1)
        self.look(2 * LOOK_S)
        self.told.clear()

    def _check(self, new: Settings) -> None:
        self.check(new)

    def _take(self, new: Settings) -> None:
        self.refuse(new)
        self.taken.append(new)

    def look(self, seconds: float = PROMISED_S) -> float:
        """Look as often as the thread would; says after how many seconds there was news."""
        began, until = self.now, self.now + seconds
        news = 0.0
        while self.now < until:
            self.now += LOOK_S
            if self.watch.turn():
                news = news or self.now - began
        return news

    @property
    def denoise(self) -> float:
        return self.watch.settings.dream.denoise

    @property
    def problem(self) -> Problem:
        (problem,) = self.watch.state.problems
        return problem


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text(GOOD)
    return tmp_path / "config.yaml"


@pytest.fixture
def watched(path: Path) -> Watched:
    return Watched(path)


# Ways to edit


def in_place(path: Path, text: str) -> None:
    path.write_text(text)


def as_vim_does(path: Path, text: str) -> None:
    """The old one becomes the backup, a new one is written under its name."""
    path.rename(path.with_name("config.yaml~"))
    path.write_text(text)


def renamed_over(path: Path, text: str) -> None:
    path.with_name(".config.yaml.swp").write_text(text)
    path.with_name(".config.yaml.swp").replace(path)


def by_a_link_that_turns(path: Path, text: str) -> None:
    """As Kubernetes does it, and `ln -sfn`."""
    folder = Path(tempfile.mkdtemp(prefix="..", dir=path.parent))
    (folder / "config.yaml").write_text(text)
    path.with_name("turned").symlink_to(folder / "config.yaml")
    path.with_name("turned").replace(path)


def deleted_and_made_anew(path: Path, text: str) -> None:
    path.unlink()
    path.write_text(text)


WAYS = [in_place, as_vim_does, renamed_over, by_a_link_that_turns, deleted_and_made_anew]


@pytest.mark.parametrize("edit", WAYS)
def test_a_good_edit_holds_within_two_seconds_however_it_is_made(
    watched: Watched, path: Path, edit: Callable[[Path, str], None]
) -> None:
    edit(path, BETTER)
    assert 0 < watched.look() < PROMISED_S
    assert watched.denoise == 0.6
    assert watched.taken[-1].dream.denoise == 0.6
    assert (watched.watch.state.taken, watched.watch.state.problems) == (1, ())
    assert watched.told == [1]


def test_nothing_happens_while_nothing_is_edited(watched: Watched) -> None:
    assert watched.look(60.0) == 0
    assert watched.taken == []
    assert watched.told == []


def test_an_edit_of_comments_and_order_changes_nothing(watched: Watched, path: Path) -> None:
    path.write_text("display: {fps: 10}\n# another\ndream: {seed: 7, denoise: 0.300}\n")
    watched.look()
    assert watched.taken == []
    assert watched.watch.state.taken == 0


def test_what_is_taken_out_of_the_file_is_by_default_again(watched: Watched, path: Path) -> None:
    path.write_text("display: {fps: 10}\ndream: {seed: 7}\n")
    watched.look()
    assert watched.denoise == 0.45


def test_an_edit_between_the_start_and_the_first_look_is_not_missed(path: Path) -> None:
    watched = Watched(path)
    loaded = load_settings(path, {})
    path.write_text(BETTER)
    source = ConfigSource(path, loaded, {})
    live = LiveSettings()
    live.register(["dream.denoise"], watched.taken.append)
    watch = ConfigWatch(
        source, live, check=lambda _: None, clock=lambda: watched.now, wall=lambda: datetime.now(UTC)
    )
    for _ in range(3):
        watched.now += LOOK_S
        watch.turn()
    assert watch.settings.dream.denoise == 0.6


# Mistakes

MISTAKES = {
    "syntax": ("dream: {denoise: [\n", "syntax", 2),
    "wrong type": (GOOD.replace("0.3", "a lot"), "dream.denoise", 3),
    "out of range": (GOOD.replace("0.3", "7"), "dream.denoise", 3),
    "unknown key": (GOOD.replace("denoise", "denoize"), "dream.denoize", 3),
    "unknown section": (GOOD.replace("display", "displey"), "displey", 5),
    "no text": (b"dream:\n  denoise: \xff\n", "encoding", 2),
}


@pytest.mark.parametrize("name", list(MISTAKES))
def test_after_a_mistake_all_stays_and_its_place_is_told(watched: Watched, path: Path, name: str) -> None:
    text, key, line = MISTAKES[name]
    path.write_bytes(text if isinstance(text, bytes) else text.replace("fps: 10", "fps: 20").encode())
    watched.look()
    assert watched.watch.settings.display.fps == 10
    assert watched.taken == []
    assert (watched.problem.key, watched.problem.line) == (key, line)
    assert watched.problem.wish
    status = config_status(watched.watch.state)
    assert not status.ok
    assert (status.refused, status.problems[0].key, status.problems[0].line) == (1, key, line)


def test_a_mistake_says_its_column_its_value_and_what_may_be_meant(watched: Watched, path: Path) -> None:
    path.write_text(GOOD.replace("denoise: 0.3", "denoize: 0.3"))
    watched.look()
    assert (watched.problem.value, watched.problem.column) == ("0.3", 3)
    assert "did you mean dream.denoise?" in watched.problem.wish
    path.write_text(GOOD.replace("0.3", "0.01"))
    watched.look()
    assert (watched.problem.value, watched.problem.column) == ("0.01", 12)
    assert "from 0.05 to 1" in watched.problem.wish


def test_one_mistake_holds_back_the_good_part_of_an_edit_too(watched: Watched, path: Path) -> None:
    path.write_text(BETTER.replace("fps: 10", "fps: 1000"))
    watched.look()
    assert watched.denoise == 0.3


def test_a_mistake_is_logged_once_and_told_until_it_is_mended(
    watched: Watched, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "backend"):
        path.write_text(GOOD.replace("0.3", "7"))
        watched.look(120.0)
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "config.yaml:3: dream.denoise = 7" in caplog.text
        assert watched.problem
        path.write_text(GOOD)
        watched.look()
    assert watched.watch.state.problems == ()
    assert "is right again" in caplog.records[-1].getMessage()
    assert watched.watch.state.refused == 1


def test_a_half_written_file_is_not_a_mistake_if_the_other_half_comes(
    watched: Watched, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "backend"):
        for end in range(0, len(BETTER) + 1, 7):
            path.write_text(BETTER[:end])
            watched.look(LOOK_S)
        path.write_text(BETTER)
        watched.look()
    assert watched.denoise == 0.6
    assert watched.watch.state.refused == 0
    assert {record.levelname for record in caplog.records} == {"INFO"}
    # No value of a half ever held.
    assert {one.dream.denoise for one in watched.taken} == {0.6}


def test_a_file_that_stays_half_is_told_of(watched: Watched, path: Path) -> None:
    path.write_text("dream: {denoise: 0.6")
    assert watched.look() < PROMISED_S
    assert watched.problem.key == "syntax"
    assert watched.denoise == 0.3


def test_an_emptied_file_is_a_disk_that_was_full_and_no_wish_for_defaults(
    watched: Watched, path: Path
) -> None:
    path.write_text("")
    watched.look()
    assert (watched.problem.value, watched.denoise) == ("empty", 0.3)
    path.write_text("# all by default\n")
    watched.look()
    assert watched.watch.state.problems == ()
    assert watched.denoise == 0.45


def test_a_deleted_file_changes_nothing_and_is_told_of_until_it_is_back(watched: Watched, path: Path) -> None:
    path.unlink()
    watched.look(LOOK_S * 2)
    assert watched.watch.state.problems == ()  # an editor may be about to write it
    watched.look()
    assert (watched.problem.key, watched.problem.value) == ("file", "gone")
    assert watched.denoise == 0.3
    path.write_text(BETTER)
    watched.look()
    assert (watched.watch.state.problems, watched.denoise) == ((), 0.6)


def test_a_file_that_was_never_there_may_come_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.yaml"
    monkeypatch.setattr("backend.config.DEFAULT_PATH", path)
    watched = Watched(path)
    watched.look()
    assert (watched.watch.state.problems, watched.watch.state.file) == ((), None)
    path.write_text(BETTER)
    watched.look()
    assert (watched.denoise, watched.watch.state.file) == (0.6, path)


def test_a_folder_or_a_closed_door_in_its_place_is_told_of(watched: Watched, path: Path) -> None:
    path.unlink()
    path.mkdir()
    watched.look()
    assert watched.problem.value == "not a regular file"
    assert watched.denoise == 0.3


# Restarts, overrides, parts


def test_what_needs_a_restart_is_named_with_both_values_and_stays(watched: Watched, path: Path) -> None:
    path.write_text(BETTER.replace("seed: 7", "seed: 8") + "storage: {output: elsewhere}\n")
    watched.look()
    assert watched.denoise == 0.6
    assert watched.watch.settings.dream.seed == 7
    told = config_status(watched.watch.state).needs_restart
    assert [(one.key, one.now, one.next) for one in told] == [
        ("dream.seed", "7", "8"),
        ("storage.output", str(path.parent / "output"), str(path.parent / "elsewhere")),
    ]
    path.write_text(BETTER)
    watched.look()
    assert watched.watch.state.needs_restart == ()


def test_the_environment_keeps_winning(path: Path) -> None:
    watched = Watched(path, {"DREAMLOOP_DREAM__DENOISE": "0.9"})
    path.write_text(BETTER.replace("fps: 10", "fps: 20"))
    watched.look()
    assert watched.denoise == 0.9
    assert watched.watch.settings.display.fps == 20


def test_settings_that_no_dream_could_begin_with_are_refused_with_their_line(
    watched: Watched, path: Path
) -> None:
    def check(new: Settings) -> None:
        raise ConfigError([Problem("config", None, "dream.denoise", "0.6", "not that")])

    watched.check = check
    path.write_text(BETTER)
    watched.look()
    assert (watched.problem.line, watched.problem.column) == (3, 12)
    assert watched.denoise == 0.3


def test_what_lies_beside_the_file_may_be_mended_without_an_edit(watched: Watched, path: Path) -> None:
    broken = True

    def check(new: Settings) -> None:
        if broken:
            raise ConfigError([Problem("config", None, "dream.denoise", "0.6", "not yet")])

    watched.check = check
    path.write_text(BETTER)
    watched.look()
    assert watched.problem
    broken = False
    watched.look(8.0)
    assert (watched.watch.state.problems, watched.denoise) == ((), 0.6)


def test_a_part_that_cannot_leaves_all_as_it_was(watched: Watched, path: Path) -> None:
    def refuse(new: Settings) -> None:
        raise StorageError(Path("/somewhere"), OSError(5, "Input/output error"))

    watched.refuse = refuse
    path.write_text(BETTER)
    watched.look()
    assert "Input/output error" in watched.problem.wish
    assert watched.denoise == 0.3


def test_what_the_engine_refuses_later_is_as_it_was_and_told(watched: Watched, path: Path) -> None:
    agreed = watched.watch.settings
    path.write_text(BETTER.replace("denoise", "sampler: eulr\n  denoise"))
    watched.look()
    wished = watched.watch.settings
    assert wished.dream.sampler == "eulr"
    watched.watch.refuse(["dream.sampler"], wished, agreed, EngineError("the server has no sampler eulr"))
    assert watched.watch.settings.dream.sampler is None
    assert watched.taken[-1].dream.sampler is None
    assert watched.denoise == 0.3  # an edit counts as a whole
    assert (watched.problem.key, watched.problem.line, watched.problem.value) == ("dream.sampler", 3, "eulr")
    assert "no sampler eulr" in watched.problem.wish
    path.write_text(BETTER)
    watched.look()
    assert watched.watch.state.problems == ()


def test_a_refusal_that_another_edit_has_overtaken_is_passed_over(watched: Watched, path: Path) -> None:
    agreed = watched.watch.settings
    path.write_text(GOOD.replace("denoise", "sampler: eulr\n  denoise"))
    watched.look()
    wished = watched.watch.settings
    path.write_text(GOOD.replace("denoise", "sampler: euler\n  denoise"))
    watched.look()
    watched.watch.refuse(["dream.sampler"], wished, agreed, EngineError("no"))
    assert watched.watch.settings.dream.sampler == "euler"
    assert watched.watch.state.problems == ()


# Asked for


def test_what_is_asked_for_is_done_at_the_next_look(watched: Watched, path: Path) -> None:
    themes: list[int] = []
    watched.watch.on_forced = lambda: themes.append(1)
    path.write_text(BETTER)
    number = watched.watch.ask()
    assert not watched.watch.answered(number)
    watched.watch.turn()
    assert watched.watch.answered(number)
    assert watched.denoise == 0.6
    assert themes == [1]


def test_a_mistake_is_given_its_time_even_if_somebody_asks(watched: Watched, path: Path) -> None:
    path.write_text("dream: {denoise: 0.6")
    number = watched.watch.ask()
    watched.watch.turn()
    assert not watched.watch.answered(number)
    watched.look()
    assert watched.watch.answered(number)
    assert watched.problem


def test_a_thread_looks_and_answers_and_ends(path: Path) -> None:
    watched = Watched(path)
    done = threading.Event()
    watched.watch.on_change = done.set
    watched.watch.start()
    try:
        path.write_text(BETTER)
        os.sync()
        assert watched.watch.answered(watched.watch.ask(), 30.0)
        assert done.wait(30.0)
        assert watched.denoise == 0.6
    finally:
        watched.watch.stop()
    assert "config-watch" not in {thread.name for thread in threading.enumerate()}


def test_of_two_edits_only_what_the_engine_cannot_is_taken_back(watched: Watched, path: Path) -> None:
    agreed = watched.watch.settings
    path.write_text(GOOD.replace("denoise", "sampler: eulr\n  denoise"))
    watched.look()
    wished = watched.watch.settings
    path.write_text(BETTER.replace("denoise", "sampler: eulr\n  denoise"))
    watched.look()
    watched.watch.refuse(["dream.sampler"], wished, agreed, EngineError("no sampler eulr"))
    assert watched.watch.settings.dream.sampler is None
    assert watched.denoise == 0.6


@pytest.mark.parametrize("how", ["set backupcopy=no", "set backupcopy=yes", "set backup backupcopy=no"])
def test_an_edit_with_vim_holds_within_two_seconds(watched: Watched, path: Path, how: str) -> None:
    vim = shutil.which("vim")
    if vim is None:
        pytest.skip("no vim here: apt install vim")
    words = [vim, "-u", "NONE", "-N", "-es", "-c", how, "-c", "%s/0.3/0.6/", "-c", "wq", str(path)]
    subprocess.run(words, check=True, timeout=60, stdin=subprocess.DEVNULL, capture_output=True)
    assert 0 < watched.look() < PROMISED_S
    assert watched.denoise == 0.6
    assert path.read_text() == BETTER


def test_an_edit_that_vim_keeps_in_its_swap_file_changes_nothing_yet(watched: Watched, path: Path) -> None:
    path.with_name(".config.yaml.swp").write_bytes(b"b0VIM 9.0")
    path.with_name("4913").touch()  # with which vim tries whether it may write here
    assert watched.look() == 0
