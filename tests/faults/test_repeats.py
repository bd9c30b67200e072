"""I5, the long form: each fault fifty times over leaves no file, no thread, and hardly any memory behind."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from backend.core.breaker import Breaker
from backend.core.job_actions import Patience
from tests.fakes.chaos_proxy import ChaosProxy
from tests.fakes.fake_comfy import FakeComfy
from tests.fakes.faulty import illegal_access, out_of_memory
from tests.faults.stage import GUARD_S, Stage, dreams, hurry, stage
from tests.faults.watch import open_files, resident_mb

log = logging.getLogger(__name__)

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]

_REPEATS = 50
_WARM = 10  # by then every cache is as full as it gets

Fault: TypeAlias = Callable[[Stage, ChaosProxy], None]


def f01_mute(made: Stage, _: ChaosProxy) -> None:
    made.fake.mute()
    made.more(1)


def f02_blackhole(made: Stage, proxy: ChaosProxy) -> None:
    proxy.blackhole()
    made.wait_for(lambda now: not now["engine"]["reachable"])
    proxy.heal()


def f03_drop_sockets(made: Stage, _: ChaosProxy) -> None:
    made.fake.drop_sockets()


def f04_drop_ends(made: Stage, _: ChaosProxy) -> None:
    made.fake.drop_end_messages()
    made.more(1)


def f05_kill_and_restart(made: Stage, _: ChaosProxy) -> None:
    made.fake.kill()
    made.fake.restart()


def f06_lose_an_answer(made: Stage, proxy: ChaosProxy) -> None:
    fault = proxy.drop_answer("POST", "/prompt", then="reset", times=1)
    made.wait_for(lambda _: fault.hits == 1)


def f07_lose_files(made: Stage, _: ChaosProxy) -> None:
    made.fake.lose_output_files()


def f08_cut_a_picture(made: Stage, proxy: ChaosProxy) -> None:
    made.fake.mute()
    fault = proxy.cut("GET", "/view?*", share=0.5, times=1)
    made.wait_for(lambda _: fault.hits == 1)


def f09_black(made: Stage, _: ChaosProxy) -> None:
    rejected = made.status()["dream"]["rejected"]
    made.fake.painter.spoil = "black"
    made.wait_for(lambda now: now["dream"]["rejected"] > rejected)


def f10_out_of_memory(made: Stage, _: ChaosProxy) -> None:
    made.fake.painter.errors.append(out_of_memory())
    made.wait_for(lambda _: not made.fake.painter.errors)


def f11_broken_card(made: Stage, _: ChaosProxy) -> None:
    made.fake.painter.always = illegal_access()
    made.wait_for(lambda now: "its owner" in now["reason"]["sentence"])


def f12_hang(made: Stage, _: ChaosProxy) -> None:
    failed = made.status()["dream"]["failed_jobs"]
    made.fake.painter.hold()
    made.wait_for(lambda now: now["dream"]["failed_jobs"] > failed)


def f13_neighbours(made: Stage, _: ChaosProxy) -> None:
    made.fake.foreign_job(steps=5)
    made.fake.server.core.queue.interrupt(None)


def f14_outage(made: Stage, _: ChaosProxy) -> None:
    made.fake.kill()
    made.wait_for(lambda now: not now["engine"]["reachable"])
    made.fake.restart()


def f15_missing_node(made: Stage, _: ChaosProxy) -> None:
    made.fake.lose_node("SaveLatent")
    made.wait_for(lambda now: "SaveLatent" in now["reason"]["sentence"])
    made.fake.give_node("SaveLatent")


def f16_nonsense(made: Stage, _: ChaosProxy) -> None:
    made.fake.mute()
    fault = made.fake.fault("GET", "/history/*", body=bytes(9 * 2**20), times=2)
    made.wait_for(lambda _: fault.hits == 2)


ROWS: tuple[Fault, ...] = (
    f01_mute,
    f02_blackhole,
    f03_drop_sockets,
    f04_drop_ends,
    f05_kill_and_restart,
    f06_lose_an_answer,
    f07_lose_files,
    f08_cut_a_picture,
    f09_black,
    f10_out_of_memory,
    f11_broken_card,
    f12_hang,
    f13_neighbours,
    f14_outage,
    f15_missing_node,
    f16_nonsense,
)


@pytest.mark.parametrize("fault", ROWS, ids=lambda row: row.__name__)
def test_fifty_times_over_it_leaves_nothing_behind(
    tmp_path: Path, fake: FakeComfy, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch, Breaker, trial_every_s=1.0)
    hurry(monkeypatch, Patience, load_s=3.0, step_s=3.0)
    with ChaosProxy(fake.port) as proxy, stage(tmp_path, fake, url=proxy.url) as made:
        made.wait_for(dreams)
        made.watch.lines_allowed = 40 * _REPEATS
        before: tuple[int, int, float] | None = None
        began = time.monotonic()
        for count in range(_REPEATS):
            fault(made, proxy)
            fake.heal()
            proxy.heal()
            made.recovers()
            if count == _WARM:
                before = measured(made)
        assert before is not None
        log.info("%d times in %.0f s", _REPEATS, time.monotonic() - began)
        until = time.monotonic() + GUARD_S
        now = measured(made)
        while (now[0] > before[0] or now[1] > before[1]) and time.monotonic() < until:
            time.sleep(0.5)
            now = measured(made)
        log.info("threads, files, MB: %s before, %s after", before, now)
        assert now[0] <= before[0], "threads"
        assert now[1] <= before[1], "files"
        assert now[2] < before[2] * 1.05, "memory"


def measured(made: Stage) -> tuple[int, int, float]:
    """Threads, files and megabytes while all is well; those that the fake hands work to are not ours."""
    made.wait_for(lambda now: now["engine"]["socket"] == "open")
    made.more(1)
    gc.collect()
    ours = [one for one in threading.enumerate() if not one.name.startswith(("asyncio_", "probe-"))]
    return len(ours), len(open_files()), resident_mb()
