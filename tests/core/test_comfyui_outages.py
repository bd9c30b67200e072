"""Outages over real sockets: half-open connections, and many faults in a row without a leak."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from backend.core.comfyui_api import ComfyUIClient, Failed, HttpLimits, SocketTimes
from tests.core.test_comfyui_api import QUICK, eventually, finished, submit
from tests.fakes.chaos_proxy import ChaosProxy
from tests.fakes.fake_comfy import FakeComfy

IMPATIENT = SocketTimes(connect_s=0.3, tick_s=0.02, ping_s=0.1, silence_s=0.3)
FD_FOLDER = Path("/proc/self/fd")


def test_f02_a_network_that_swallows_everything_is_noticed_and_the_job_is_not_lost(
    fake_comfy: FakeComfy,
) -> None:
    with ChaosProxy(fake_comfy.port) as proxy:
        client = ComfyUIClient(
            proxy.url, HttpLimits(connect_s=0.3, answer_s=0.3), patience=QUICK, times=IMPATIENT
        )
        client.start()
        finished(submit(client))
        fake_comfy.painter.step_s = 0.1
        job = submit(client)
        eventually(lambda: job.started)
        proxy.blackhole()
        eventually(lambda: client.connection.socket == "closed" and not client.connection.reachable)
        assert not job.done()
        proxy.heal()
        finished(job)
        eventually(lambda: client.connection.socket == "open")
        client.close()


def test_closing_takes_no_longer_than_it_may_while_the_server_says_nothing(fake_comfy: FakeComfy) -> None:
    with ChaosProxy(fake_comfy.port) as proxy:
        client = ComfyUIClient(proxy.url, patience=QUICK, times=IMPATIENT)
        client.start()
        finished(submit(client))
        fake_comfy.painter.hold()
        job = submit(client)
        eventually(lambda: job.started)
        proxy.blackhole()
        eventually(lambda: client.connection.socket == "closed")
        began = time.monotonic()
        client.close(timeout_s=0.2)
        assert time.monotonic() - began < 1.5, "not one deadline after the other"
        assert isinstance(job.result(0.0), Failed)


def test_a_job_of_a_server_that_is_gone_is_done_by_the_one_that_the_client_moved_to(
    fake_comfy: FakeComfy, tmp_path: Path
) -> None:
    with FakeComfy(tmp_path / "other") as other:
        client = ComfyUIClient(fake_comfy.url, patience=QUICK, times=IMPATIENT)
        client.start()
        fake_comfy.painter.hold()
        job = submit(client)
        eventually(lambda: job.started)
        fake_comfy.kill()
        client.move_to(other.url)
        assert finished(job).prompt_id in other.executed()
        eventually(lambda: client.connection.socket == "open")
        client.close()


def test_i5_after_many_faults_no_thread_and_no_file_is_left_over(fake_comfy: FakeComfy) -> None:
    client = ComfyUIClient(fake_comfy.url, patience=QUICK, times=SocketTimes(tick_s=0.02, backoff_s=0.02))
    client.start()

    def dream_on() -> None:
        finished(submit(client))
        eventually(lambda: client.connection.socket == "open")

    dream_on()
    fake_comfy.restart()
    dream_on()
    threads, files = threading.active_count(), _open_files()
    for fault in [fake_comfy.drop_sockets, fake_comfy.restart] * 10:
        fault()
        dream_on()
    eventually(lambda: threading.active_count() <= threads)
    # Each thread may keep one connection to the server, at both its ends; 20 leaks would be more.
    eventually(lambda: _open_files() <= files + 6)
    client.close()


def _open_files() -> int:
    return len(list(FD_FOLDER.iterdir())) if FD_FOLDER.exists() else 0
