"""One trouble upon another, by chance but the same each time: the dream outlives it and comes back."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.end_to_end.daemon import daemon, write_config
from tests.end_to_end.test_trouble import Watch, assert_calm, dreams, holding, more_keyframes
from tests.fakes.fake_comfy import FakeComfy
from tests.fakes.faulty import illegal_access, out_of_memory

log = logging.getLogger(__name__)

_SPAN_S = 60.0
_PATHS = (
    "/prompt",
    "/history/*",
    "/history",
    "/queue",
    "/view",
    "/upload/image",
    "/system_stats",
    "/interrupt",
    "/models/*",
)
_BODIES = ("{", "null", "[]", "{}", "NaN", '"x"', '{"a":1e999}')


class Mischief:
    """Does something to a FakeComfy now and then."""

    def __init__(self, fake: FakeComfy, rng: random.Random) -> None:
        self._fake = fake
        self._rng = rng
        self._next = 0.0
        self._ways: tuple[Callable[[], object], ...] = (
            lambda: self._http(stall=True),
            lambda: self._http(close=rng.choice(["before", "after"])),
            lambda: self._http(status=rng.choice([400, 404, 500, 503])),
            lambda: self._http(body=rng.choice(_BODIES)),
            lambda: self._http(truncate=0.5),
            fake.mute,
            fake.unmute,
            fake.drop_sockets,
            fake.drop_end_messages,
            lambda: fake.drop_kinds("executing", "executed", "picture"),
            lambda: fake.painter.errors.append(rng.choice([out_of_memory(), illegal_access()])),
            lambda: setattr(fake.painter, "spoil", rng.choice(["black", "flat", "nan", "dark", None])),
            self._restart,
            lambda: fake.foreign_job(steps=20),
            lambda: fake.server.core.queue.interrupt(None),
            fake.lose_output_files,
            fake.heal,
        )

    def turn(self) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self._rng.uniform(0.3, 1.5)
            self._rng.choice(self._ways)()

    def _http(self, **how: Any) -> None:
        self._fake.fault("*", self._rng.choice(_PATHS), times=self._rng.randint(1, 4), **how)

    def _restart(self) -> None:
        self._fake.kill()
        time.sleep(self._rng.random())
        self._fake.restart()


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_minute_of_mischief_leaves_no_mark(tmp_path: Path, seed: int) -> None:
    with FakeComfy(tmp_path / "comfy") as fake:
        comfyui = {"url": fake.url, "job_timeout_seconds": 8}
        write_config(tmp_path, comfyui=comfyui, dream={"seconds_per_keyframe": 0.5})
        with daemon(tmp_path) as running:
            running.wait_for(dreams)
            watch, mischief, until = Watch(), Mischief(fake, random.Random(seed)), time.monotonic() + _SPAN_S

            def over(_: dict[str, Any]) -> bool:
                mischief.turn()
                return time.monotonic() > until

            worst = running.wait_for(watch.until(over))
            watch.tell()
            log.info("%s", worst["dream"])
            fake.heal()
            healed_at = time.monotonic()
            running.wait_for(more_keyframes(worst))
            log.info("recovered after %.1f s", time.monotonic() - healed_at)
            assert time.monotonic() - healed_at < 60
            running.wait_for(lambda _: holding(tmp_path / "comfy" / "output") <= 12)
            running.wait_for(lambda _: not fake.server.core.queue.snapshot()[1][2:])
            assert psutil.Process(running.process.pid).num_fds() < 40
            assert psutil.Process(running.process.pid).num_threads() < 25
            assert running.end() == 0
            assert_calm(running)
