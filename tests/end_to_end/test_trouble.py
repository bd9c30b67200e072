"""What goes wrong around a running daemon, and what a display sees of it."""

from __future__ import annotations

import logging
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.end_to_end.daemon import Daemon, daemon, is_whole, write_config
from tests.fakes.fake_comfy import FakeComfy
from tests.fakes.faulty import out_of_memory

pytestmark = pytest.mark.timeout(240)

log = logging.getLogger(__name__)

Status = dict[str, Any]
DENOISE = 0.45


def dreams(status: Status) -> bool:
    return bool(status["dream"]["in_betweens"] >= 20 and status["frame"]["kind"] == "in_between")


def well(status: Status) -> bool:
    return status["state"] in {"dreaming", "resting"} and status["reason"]["code"] == "ok"


def more_keyframes(than: Status, count: int = 3) -> Callable[[Status], bool]:
    return lambda now: well(now) and now["dream"]["keyframes"] >= than["dream"]["keyframes"] + count


def assert_calm(running: Daemon) -> None:
    """Nothing was thrown that nobody had thought of."""
    log = running.log.read_text()
    assert "Traceback" not in log, log
    assert "stumbled" not in log, log


@dataclass
class Watch:
    """What a display sees while it waits for something."""

    sequence: int = 0
    moved_at: float = field(default_factory=time.monotonic)
    longest_still_s: float = 0.0
    denoise: dict[int, float] = field(default_factory=dict)
    states: list[str] = field(default_factory=list)

    def __call__(self, status: Status) -> None:
        now = time.monotonic()
        assert status["frame"]["sequence"] >= self.sequence
        if status["frame"]["sequence"] > self.sequence:
            self.sequence, self.moved_at = status["frame"]["sequence"], now
        self.longest_still_s = max(self.longest_still_s, now - self.moved_at)
        if status["dream"]["keyframes"]:
            self.denoise[status["dream"]["keyframes"]] = status["dream"]["denoise"]
        if self.states[-1:] != [status["state"]]:
            self.states.append(status["state"])

    def tell(self) -> None:
        log.info("the display stood still for %.1f s at most; %s", self.longest_still_s, self.states)

    def until(self, what: Callable[[Status], bool]) -> Callable[[Status], bool]:
        def look(status: Status) -> bool:
            self(status)
            return what(status)

        return look


def engine_of(running: Daemon) -> psutil.Process:
    (engine,) = psutil.Process(running.process.pid).children()
    return engine


# The embedded engine


def test_a_killed_engine_is_started_again_and_the_dream_goes_on_from_its_last_keyframe(
    tmp_path: Path,
) -> None:
    write_config(tmp_path)
    with daemon(tmp_path) as running:
        watch = Watch()
        before = running.wait_for(watch.until(dreams))
        first = engine_of(running)
        first.kill()
        after = running.wait_for(watch.until(more_keyframes(before, 4)))
        assert engine_of(running).pid != first.pid
        assert after["engine"]["reachable"]
        assert set(watch.denoise.values()) - {1.0} == {DENOISE}
        assert [count for count, denoise in watch.denoise.items() if denoise == 1.0] in ([], [1])
        assert after["dream"]["keyframes"] == max(watch.denoise)
        watch.tell()
        assert watch.longest_still_s < 20
        assert running.end() == 0
        assert_calm(running)
        assert "does not end" not in running.log.read_text(), "its engine goes when it is asked to"


@pytest.mark.long
def test_an_engine_that_stands_still_for_some_seconds_is_lived_through(tmp_path: Path) -> None:
    write_config(tmp_path)
    with daemon(tmp_path) as running:
        watch = Watch()
        before = running.wait_for(watch.until(dreams))
        engine = engine_of(running)
        engine.send_signal(signal.SIGSTOP)
        try:
            until = time.monotonic() + 6
            running.wait_for(watch.until(lambda _: time.monotonic() > until))
        finally:
            engine.send_signal(signal.SIGCONT)
        running.wait_for(watch.until(more_keyframes(before, 4)))
        assert engine_of(running).pid == engine.pid
        assert [count for count, denoise in watch.denoise.items() if denoise == 1.0] in ([], [1])
        watch.tell()
        assert watch.longest_still_s < 20
        assert running.end() == 0
        assert_calm(running)


@pytest.mark.parametrize("after_s", [0.0, pytest.param(3.0, marks=pytest.mark.long)])
def test_sigterm_is_obeyed_while_the_engine_stands_still(tmp_path: Path, after_s: float) -> None:
    write_config(tmp_path)
    with daemon(tmp_path) as running:
        running.wait_for(lambda status: status["dream"]["keyframes"] >= 1)
        engine = engine_of(running)
        engine.send_signal(signal.SIGSTOP)
        try:
            time.sleep(after_s)
            began = time.monotonic()
            assert running.end() == 0
            log.info("it ended after %.1f s", time.monotonic() - began)
            assert time.monotonic() - began < 10
            assert not engine.is_running()
        finally:
            if engine.is_running():
                engine.kill()
        assert_calm(running)


@pytest.mark.long
def test_an_engine_that_hangs_is_replaced_and_the_dream_goes_on(tmp_path: Path) -> None:
    write_config(tmp_path)
    with daemon(tmp_path) as running:
        watch = Watch()
        before = running.wait_for(watch.until(dreams))
        hung = engine_of(running)
        hung.send_signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            running.wait_for(watch.until(more_keyframes(before, 4)))
            log.info("it dreamed on after %.1f s", time.monotonic() - began)
            assert not hung.is_running()
        finally:
            if hung.is_running():
                hung.kill()
        watch.tell()
        assert watch.longest_still_s < 20
        assert running.end() == 0
        assert_calm(running)


# A ComfyUI with faults: the daemon as a process. In one process, and quicker, tests/faults has them all.


@dataclass(frozen=True)
class OnFake:
    """A daemon that dreams on a FakeComfy for a while, through one trouble after another."""

    fake: FakeComfy
    running: Daemon
    files: Path

    def healthy(self) -> Status:
        self.fake.heal()
        now = self.running.wait_for(lambda _: True)
        return self.running.wait_for(more_keyframes(now, 2))


@pytest.fixture(scope="module")
def long_dream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnFake]:
    folder = tmp_path_factory.mktemp("dream")
    with FakeComfy(folder / "comfy") as fake:
        write_config(folder, comfyui={"url": fake.url}, dream={"seconds_per_keyframe": 0.5})
        with daemon(folder) as running:
            running.wait_for(dreams)
            yield OnFake(fake, running, folder / "comfy")
            assert running.end() == 0
            assert_calm(running)


@pytest.fixture
def on_fake(long_dream: OnFake) -> OnFake:
    long_dream.healthy()
    return long_dream


@pytest.mark.long
def test_a_muted_socket_costs_no_throughput_and_is_told_as_stale(on_fake: OnFake) -> None:
    fake, running = on_fake.fake, on_fake.running
    before = running.wait_for(well)
    fake.mute()
    stale = running.wait_for(lambda status: status["engine"]["socket"] == "stale")
    later = running.wait_for(more_keyframes(stale, 10))
    seconds = later["uptime_s"] - stale["uptime_s"]
    log.info("10 keyframes of half a second each in %.1f s, pace %.2f", seconds, later["display"]["pace"])
    assert later["display"]["skipped"] == before["display"]["skipped"]
    assert later["dream"]["failed_jobs"] == before["dream"]["failed_jobs"]
    assert later["display"]["pace"] > 0.9
    fake.unmute()
    running.wait_for(lambda status: status["engine"]["socket"] == "open")
    running.wait_for(lambda _: holding(on_fake.files / "temp") <= 20)


@pytest.mark.long
def test_a_server_killed_in_mid_job_and_started_again_loses_no_keyframe(on_fake: OnFake) -> None:
    fake, running = on_fake.fake, on_fake.running
    fake.painter.hold()
    watch = Watch()
    held = running.wait_for(watch.until(lambda _: fake.server.core.queue.running is not None))
    fake.kill()
    fake.restart()
    after = running.wait_for(watch.until(more_keyframes(held, 4)))
    assert set(watch.denoise.values()) == {DENOISE}
    assert after["dream"]["keyframes"] == max(watch.denoise)
    watch.tell()


@pytest.mark.long
def test_black_pictures_are_never_shown_and_the_reason_says_what_may_help(on_fake: OnFake) -> None:
    fake, running = on_fake.fake, on_fake.running
    before = running.wait_for(well)
    fake.painter.spoil = "black"
    bad = running.wait_for(lambda now: now["dream"]["rejected"] >= before["dream"]["rejected"] + 3)
    bad = running.wait_for(lambda now: now["reason"]["code"] == "bad_pictures")
    assert "fp32-vae" in bad["reason"]["sentence"]
    watch = Watch()
    until = time.monotonic() + 1
    running.wait_for(watch.until(lambda _: is_whole(running.current()) and time.monotonic() > until))
    fake.painter.spoil = None
    running.wait_for(watch.until(more_keyframes(bad)))
    watch.tell()


@pytest.mark.long
def test_the_jobs_of_another_client_are_left_to_end(on_fake: OnFake) -> None:
    fake, running = on_fake.fake, on_fake.running
    before = running.wait_for(well)
    fake.painter.step_s = 0.05
    theirs = [fake.foreign_job(steps=20, seed=seed) for seed in range(2)]
    running.wait_for(more_keyframes(before, 4))
    ended = fake.server.core.queue.history()
    assert all(ended[prompt_id]["status"]["status_str"] == "success" for prompt_id in theirs)
    for request in fake.posted("/queue") + fake.posted("/history"):
        assert "clear" not in request.json()
        assert not set(theirs) & set(request.json().get("delete", []))
    assert not {request.json().get("prompt_id") for request in fake.posted("/interrupt")} & {None, *theirs}


@pytest.mark.long
def test_a_full_graphics_card_is_asked_to_free_memory_before_the_next_try(on_fake: OnFake) -> None:
    fake, running = on_fake.fake, on_fake.running
    before = running.wait_for(well)
    fake.painter.errors.append(out_of_memory())
    running.wait_for(lambda status: status["dream"]["failed_jobs"] > before["dream"]["failed_jobs"])
    after = running.wait_for(more_keyframes(before))
    (freed,) = fake.posted("/free")
    assert freed.json()["unload_models"] is True
    assert after["dream"]["failed_jobs"] == before["dream"]["failed_jobs"] + 1
    paths = [request.path for request in fake.requests]
    assert "/prompt" in paths[paths.index("/free") :]


@pytest.mark.long
def test_after_all_that_nothing_has_piled_up_anywhere(on_fake: OnFake) -> None:
    fake, running = on_fake.fake, on_fake.running
    running.wait_for(lambda status: status["dream"]["keyframes"] >= 30)
    assert holding(on_fake.files / "output") <= 6
    assert holding(on_fake.files / "temp") <= 20
    assert len(fake.executed()) <= 30
    assert len(list((running.output / "frames").iterdir())) <= 5 * 20 * 1.2 + 5
    assert psutil.Process(running.process.pid).num_fds() < 60
    assert psutil.Process(running.process.pid).num_threads() < 30


def holding(folder: Path) -> int:
    """How many files a server keeps that are not empty."""
    return sum(1 for path in folder.rglob("*") if path.is_file() and path.stat().st_size)


# The end, and the modes


def terminated(folder: Path, after_s: float) -> None:
    """SIGTERM so long after the start; nothing may be left of it."""
    folder.mkdir()
    write_config(folder)
    with daemon(folder) as running:
        family: set[psutil.Process] = set()
        until = time.monotonic() + after_s
        while time.monotonic() < until:
            family.update(psutil.Process(running.process.pid).children(recursive=True))
            time.sleep(0.02)
        began = time.monotonic()
        ended = running.end()
        log.info("SIGTERM after %.2f s: gone after %.2f s", after_s, time.monotonic() - began)
        # Before its first line of Python has run, a process can only die of the signal.
        assert ended == 0 or (ended == -signal.SIGTERM and not (folder / "output").exists())
        assert time.monotonic() - began < 30
        assert_calm(running)
    assert not [child for child in family if child.is_running()]
    assert not list(folder.rglob("*.tmp"))
    if (folder / "status" / "status.json").exists():
        assert running.status()["state"] == "stopping"
        assert not (folder / "status" / "control.sock").exists()
    if (folder / "output" / "current_frame.png").exists():
        assert is_whole(running.current())


def test_sigterm_ends_it_in_the_middle_of_its_start(tmp_path: Path) -> None:
    terminated(tmp_path / "dream", 1.0)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_sigterm_ends_it_at_twenty_moments_by_chance(tmp_path: Path) -> None:
    rng = random.Random(20)
    for number in range(20):
        terminated(tmp_path / f"dream{number}", rng.uniform(0.0, 6.0))


def test_the_other_modes_dream_too_each_in_its_own_way(tmp_path: Path) -> None:
    modes = ("txt2img", "img2img", "interpolate")
    with ExitStack() as stack:
        fake = stack.enter_context(FakeComfy(tmp_path / "comfy"))
        for mode in modes:
            (tmp_path / mode).mkdir()
            wishes = {"mode": mode, "size": "128x64", "seconds_per_keyframe": 0.5}
            write_config(tmp_path / mode, dream=wishes, comfyui={"url": fake.url})
        # Side by side: the modes without in-betweens show only two pictures a second.
        dreams = {mode: stack.enter_context(daemon(tmp_path / mode, "--frames", "25")) for mode in modes}
        for running in dreams.values():
            assert running.process.wait(90) == 0
            assert_calm(running)
        last = {mode: running.status() for mode, running in dreams.items()}
    for mode, status in last.items():
        assert status["current_mode"] == mode
        assert status["display"]["frames_shown"] == 25
        assert (status["dream"]["in_betweens"] > 0) == (mode == "interpolate")
        assert status["dream"]["denoise"] == (DENOISE if mode == "img2img" else 1.0)
        assert status["dream"]["rejected"] == status["dream"]["failed_jobs"] == 0
        frames = sorted((tmp_path / mode / "output" / "frames").iterdir())
        assert all(is_whole(frame.read_bytes()) for frame in frames)
        assert len({frame.read_bytes() for frame in frames}) == len(frames)
