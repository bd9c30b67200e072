"""The client against FakeComfy: over real sockets, with faults on request."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from safetensors.numpy import load, save

from backend.core.comfyui_api import (
    ComfyUIClient,
    Failed,
    FailureKind,
    FileRef,
    Finished,
    Graph,
    HttpLimits,
    Interrupted,
    Job,
    Patience,
    QueueState,
    SocketTimes,
)
from backend.core.model_choice import Models
from backend.core.model_families import EMBEDDED
from backend.core.sampling import Sampling
from backend.core.workflow_builder import DecodeLatents, DreamStep, TextToImage, WorkflowBuilder
from backend.errors import EngineAnswerError, EngineUnreachable, GraphRejected
from tests.fakes.fake_comfy import FakeComfy
from tests.fakes.faulty import out_of_memory

MODELS = Models(EMBEDDED, checkpoint="dreamloop-painter.safetensors")
GUARD_S = 30.0
SEEDS = itertools.count(1)

# Waits that a person would not notice, so that the tests need not be waited for.
QUICK = Patience(poll_s=0.2, deaf_poll_s=0.02, success_s=0.05, miss_gap_s=0.2, grace_s=0.1, retry_s=0.05)


@pytest.fixture
def client(fake_comfy: FakeComfy) -> Iterator[ComfyUIClient]:
    made = make_client(fake_comfy)
    yield made
    made.close()


def make_client(fake: FakeComfy, limits: HttpLimits | None = None, mark: str = "") -> ComfyUIClient:
    made = ComfyUIClient(fake.url, limits, patience=QUICK, times=SocketTimes(tick_s=0.02), mark=mark)
    made.start()
    return made


@contextlib.contextmanager
def another_client(fake: FakeComfy) -> Iterator[ComfyUIClient]:
    made = make_client(fake)
    yield made
    made.close()


def builder() -> WorkflowBuilder:
    return WorkflowBuilder(MODELS, Sampling(2, 5.0, "euler", "normal"), lambda: "test/kf")


def keyframe(seed: int | None = None) -> Graph:
    return builder().build(TextToImage("a cat", "", next(SEEDS) if seed is None else seed, 64, 64)).graph


def submit(client: ComfyUIClient, graph: Graph | None = None, *, deadline_s: float = GUARD_S) -> Job:
    return client.submit(graph or keyframe(), deadline_s=deadline_s, pictures=1)


def finished(job: Job) -> Finished:
    end = job.result(GUARD_S)
    assert isinstance(end, Finished), end
    return end


def failed(job: Job) -> Failed:
    end = job.result(GUARD_S)
    assert isinstance(end, Failed), end
    return end


def eventually(holds: Callable[[], bool]) -> None:
    """Waits for another thread; fails only if it hangs."""
    pause = threading.Event()
    for _ in range(int(GUARD_S / 0.01)):
        if holds():
            return
        pause.wait(0.01)
    raise AssertionError("it never came to be")


def test_a_job_brings_its_picture_and_its_latent(client: ComfyUIClient, fake_comfy: FakeComfy) -> None:
    end = finished(submit(client))
    assert [picture.format for picture in end.pictures] == ["png"]
    assert [files[0].type for files in end.files.values()] == ["output"]
    assert len(fake_comfy.posted("/prompt")) == 1


def test_the_socket_listens_before_the_first_job_is_posted(
    client: ComfyUIClient, fake_comfy: FakeComfy
) -> None:
    finished(submit(client))
    (socket,) = fake_comfy.sockets
    assert fake_comfy.posted("/prompt")[0].json()["client_id"] == socket.client_id
    assert fake_comfy.posted("/prompt")[0].at_s > socket.opened_at_s


def test_callbacks_come_once_whether_asked_for_before_or_after_the_end(client: ComfyUIClient) -> None:
    called: list[Job] = []
    job = submit(client)
    job.add_done_callback(called.append)
    finished(job)
    eventually(lambda: called == [job])
    job.add_done_callback(called.append)
    assert called == [job, job]


def test_a_callback_that_fails_harms_nobody(client: ComfyUIClient) -> None:
    job = submit(client)
    job.add_done_callback(lambda _: 1 / 0)
    finished(job)
    finished(submit(client))


def test_two_jobs_in_the_queue_end_in_their_order(client: ComfyUIClient) -> None:
    ended: list[Job] = []
    jobs = [submit(client), submit(client)]
    for job in jobs:
        job.add_done_callback(ended.append)
    for job in jobs:
        finished(job)
    eventually(lambda: ended == jobs)


def test_the_latent_goes_on_without_leaving_the_server(client: ComfyUIClient) -> None:
    first = finished(submit(client))
    (latent,) = (files[0] for files in first.files.values())
    step = builder().build(DreamStep(latent, "a dog", "", 5, 0.4))
    assert len(finished(submit(client, step.graph)).pictures) == 1


def test_uploads_come_back_as_they_went(client: ComfyUIClient) -> None:
    ref = client.upload(b"some bytes", "a.latent", subfolder="sub")
    assert ref == FileRef("a.latent", "sub", "temp")
    assert client.download(ref) == b"some bytes"
    assert client.upload(b"other bytes", "a.latent", subfolder="sub") == ref
    assert client.upload(b"third bytes", "a.latent", subfolder="sub", overwrite=False).filename != "a.latent"


def test_a_file_that_is_not_there_is_an_error(client: ComfyUIClient) -> None:
    with pytest.raises(EngineAnswerError, match="404"):
        client.download(FileRef("nope.latent"))


def test_what_the_server_has_is_told(client: ComfyUIClient) -> None:
    assert client.models("checkpoints") == (MODELS.checkpoint,)
    assert client.models("no-such-folder") == ()
    assert client.object_info("KSampler")["KSampler"]["input"]["required"]
    assert client.object_info("NoSuchNode") == {}
    assert "SaveImageWebsocket" in client.object_info()
    client.free()


def test_a_job_can_be_forgotten(client: ComfyUIClient) -> None:
    job = submit(client)
    end = finished(job)
    eventually(lambda: client.history(end.prompt_id) is not None)
    client.forget(end.prompt_id)
    assert client.history(end.prompt_id) is None


def test_a_refused_graph_names_the_node(client: ComfyUIClient) -> None:
    models = Models(EMBEDDED, checkpoint="nope.safetensors")
    graph = WorkflowBuilder(models, Sampling(2, 5.0, "euler", "normal"), lambda: "kf").build(
        TextToImage("a", "", 1, 64, 64)
    )
    with pytest.raises(GraphRejected, match=r"CheckpointLoaderSimple.*nope\.safetensors"):
        client.submit(graph.graph, deadline_s=GUARD_S, pictures=1)


def test_half_a_graph_is_no_graph(client: ComfyUIClient, fake_comfy: FakeComfy) -> None:
    graph = {**keyframe(), "99": {"class_type": "SaveLatent", "inputs": {"samples": ["77", 0]}}}
    with pytest.raises(GraphRejected, match="node 99"):
        client.submit(graph, deadline_s=GUARD_S, pictures=1)
    assert fake_comfy.posted("/queue"), "the half that the server took was taken back"


def test_a_node_class_that_is_missing_is_named(client: ComfyUIClient, fake_comfy: FakeComfy) -> None:
    fake_comfy.lose_node("SaveLatent")
    with pytest.raises(GraphRejected, match="SaveLatent"):
        submit(client)
    assert len(fake_comfy.posted("/prompt")) == 1, "no retry storm"


def test_an_error_in_a_node_is_told_with_its_words(client: ComfyUIClient, fake_comfy: FakeComfy) -> None:
    fake_comfy.painter.errors.extend([RuntimeError("boom"), out_of_memory()])
    end = failed(submit(client))
    assert (end.kind, end.node_type) == (FailureKind.EXECUTION, "KSampler")
    assert "boom" in end.message
    assert failed(submit(client)).kind is FailureKind.OUT_OF_MEMORY


def test_a_cancelled_job_is_interrupted_and_the_next_one_runs(
    client: ComfyUIClient, fake_comfy: FakeComfy
) -> None:
    fake_comfy.painter.step_s = 0.05
    running = submit(client, builder_with_steps(500))
    waiting = submit(client)
    eventually(lambda: running.started)
    client.cancel(waiting)
    client.cancel(running)
    assert isinstance(running.result(GUARD_S), Interrupted)
    assert isinstance(waiting.result(GUARD_S), Interrupted)
    eventually(lambda: client.queue().running == ())
    assert client.queue().pending == ()
    fake_comfy.painter.step_s = 0.0
    finished(submit(client))


def builder_with_steps(steps: int) -> Graph:
    sampling = Sampling(steps, 5.0, "euler", "normal")
    return WorkflowBuilder(MODELS, sampling, lambda: "kf").build(TextToImage("a", "", 1, 64, 64)).graph


def test_a_job_that_never_ends_fails_by_its_deadline_and_is_interrupted(
    client: ComfyUIClient, fake_comfy: FakeComfy
) -> None:
    fake_comfy.painter.hold()
    end = failed(submit(client, deadline_s=0.3))
    assert end.kind is FailureKind.DEADLINE
    eventually(lambda: [r.json() for r in fake_comfy.posted("/interrupt")] == [{"prompt_id": end.prompt_id}])


def test_closing_takes_our_jobs_from_the_server_and_ends_them(fake_comfy: FakeComfy) -> None:
    client = make_client(fake_comfy)
    fake_comfy.painter.step_s = 0.05
    foreign = fake_comfy.foreign_job(steps=500)
    jobs = [submit(client), submit(client)]
    client.close()
    assert [failed(job).kind for job in jobs] == [FailureKind.CLOSED] * 2
    assert fake_comfy.posted("/interrupt") == [], "the one that runs is somebody else's"
    with another_client(fake_comfy) as other:
        assert other.queue() == QueueState((foreign,), ())
    with pytest.raises(EngineUnreachable):
        submit(client)


def test_what_a_killed_run_left_in_the_queue_is_taken_back_and_nothing_else(fake_comfy: FakeComfy) -> None:
    fake_comfy.painter.step_s = 0.05
    killed, other = make_client(fake_comfy, mark="ours"), make_client(fake_comfy, mark="another's")
    fake_comfy.foreign_job(steps=20)  # runs meanwhile
    left = [submit(killed).prompt_id for _ in range(3)]
    theirs = submit(other).prompt_id
    foreign = fake_comfy.foreign_job(steps=500)
    again = make_client(fake_comfy, mark="ours")
    mine = submit(again).prompt_id
    assert {*left, mine} <= {*again.queue().running, *again.queue().pending}
    assert again.take_back_leftovers() == 3
    eventually(lambda: not {*left} & {*again.queue().running, *again.queue().pending})
    assert {theirs, foreign, mine} <= {*again.queue().running, *again.queue().pending}
    assert again.take_back_leftovers() == 0
    assert make_client(fake_comfy).take_back_leftovers() == 0
    for client in (killed, other, again):
        client.close()


def test_a_server_that_is_away_is_unreachable_at_once_and_found_when_it_comes(tmp_path: Path) -> None:
    with FakeComfy(tmp_path, up=False) as fake:
        client = make_client(fake)
        with pytest.raises(EngineUnreachable):
            submit(client)
        assert not client.connection.reachable
        fake.restart()
        finished(submit(client))
        assert client.connection.reachable
        eventually(lambda: client.connection.socket == "open")
        client.close()


def test_a_proxy_that_lets_no_job_be_taken_back_costs_neither_the_next_job_nor_a_second_try(
    client: ComfyUIClient, fake_comfy: FakeComfy
) -> None:
    fault = fake_comfy.fault("POST", "/queue", status=403)
    fake_comfy.painter.hold()
    failed(submit(client, deadline_s=0.2))
    eventually(lambda: fault.hits == 1)
    fake_comfy.mute()
    fake_comfy.painter.release()
    finished(submit(client))
    assert fault.hits == 1


class TestFaults:
    def test_f01_a_socket_that_says_nothing_costs_no_job(
        self, client: ComfyUIClient, fake_comfy: FakeComfy
    ) -> None:
        finished(submit(client))
        fake_comfy.mute()
        job = submit(client)
        assert len(finished(job).pictures) == 1
        eventually(lambda: client.connection.socket == "stale")
        for _ in range(5):
            finished(submit(client))
        last = fake_comfy.posted("/prompt")[-1].json()["prompt"]
        assert "PreviewImage" in {node["class_type"] for node in last.values()}
        assert len(fake_comfy.sockets) <= 3, "opened anew once, then once a minute"
        fake_comfy.unmute()
        finished(submit(client))
        eventually(lambda: client.connection.socket == "open")

    def test_f01_a_batch_comes_whole_and_in_order_by_preview(
        self, client: ComfyUIClient, fake_comfy: FakeComfy
    ) -> None:
        batch = client.upload(batch_of_4(client), "batch.latent")
        graph = builder().build(DecodeLatents(batch, "a", "")).graph
        heard = finished(client.submit(graph, deadline_s=GUARD_S, pictures=4))
        fake_comfy.mute()
        fetched = finished(client.submit(graph, deadline_s=GUARD_S, pictures=4))
        assert len(heard.pictures) == 4
        assert [one.data[-64:] for one in heard.pictures] == [one.data[-64:] for one in fetched.pictures]

    def test_f03_every_connection_has_a_fresh_id_and_a_job_in_flight_is_finished_by_http(
        self, client: ComfyUIClient, fake_comfy: FakeComfy
    ) -> None:
        finished(submit(client))
        fake_comfy.painter.step_s = 0.1
        job = submit(client)
        eventually(lambda: job.started)
        fake_comfy.drop_sockets()
        finished(job)
        eventually(lambda: client.connection.socket == "open")
        ids = [socket.client_id for socket in fake_comfy.sockets]
        assert len(ids) == len(set(ids)) == 2

    def test_f04_an_end_that_nobody_tells_is_found(
        self, client: ComfyUIClient, fake_comfy: FakeComfy
    ) -> None:
        fake_comfy.drop_end_messages()
        finished(submit(client))
        assert len(fake_comfy.posted("/prompt")) == 1

    @pytest.mark.parametrize(
        "kinds",
        [
            ("execution_success",),
            ("executed",),
            ("executing",),
            ("execution_start", "execution_cached", "progress_state", "progress", "status"),
        ],
    )
    def test_f04_no_single_kind_of_message_is_needed(
        self, client: ComfyUIClient, fake_comfy: FakeComfy, kinds: tuple[str, ...]
    ) -> None:
        finished(submit(client))
        fake_comfy.drop_kinds(*kinds)
        end = finished(submit(client))
        assert len(end.pictures) == 1
        assert len(end.files) == 1

    def test_f04_pictures_that_never_come_are_fetched(
        self, client: ComfyUIClient, fake_comfy: FakeComfy
    ) -> None:
        fake_comfy.drop_kinds("picture")
        assert len(finished(submit(client)).pictures) == 1
        assert len(fake_comfy.posted("/prompt")) == 2

    def test_f07_a_picture_that_was_deleted_is_a_failure_and_no_loop(
        self, client: ComfyUIClient, fake_comfy: FakeComfy
    ) -> None:
        fake_comfy.drop_kinds("picture")
        fake_comfy.fault("GET", "/view", status=404)
        assert failed(submit(client)).kind is FailureKind.NO_PICTURES
        assert len(fake_comfy.posted("/prompt")) == 2

    def test_f05_a_server_that_was_killed_gets_the_job_again_under_a_new_id(
        self, client: ComfyUIClient, fake_comfy: FakeComfy
    ) -> None:
        fake_comfy.painter.hold()
        job = submit(client)
        first_id = job.prompt_id
        eventually(lambda: job.started)
        fake_comfy.kill()
        fake_comfy.restart()
        end = finished(job)
        assert end.prompt_id == job.prompt_id != first_id
        assert fake_comfy.executed() == [end.prompt_id]

    def test_f06_a_lost_answer_to_a_post_runs_the_graph_once(
        self, client: ComfyUIClient, fake_comfy: FakeComfy
    ) -> None:
        finished(submit(client))
        fake_comfy.fault("POST", "/prompt", close="after", times=1)
        end = finished(submit(client))
        assert len(fake_comfy.posted("/prompt")) == 2
        assert fake_comfy.executed()[1:] == [end.prompt_id]

    def test_f06_a_post_that_never_arrived_is_made_again(
        self, client: ComfyUIClient, fake_comfy: FakeComfy
    ) -> None:
        finished(submit(client))
        fake_comfy.fault("POST", "/prompt", close="before", times=1)
        finished(submit(client))
        assert len(fake_comfy.executed()) == 2

    def test_f06_a_post_that_times_out_is_looked_for(self, fake_comfy: FakeComfy) -> None:
        client = make_client(fake_comfy, HttpLimits(answer_s=0.3))
        finished(submit(client))
        fake_comfy.fault("POST", "/prompt", late_s=5.0, times=1)
        end = finished(submit(client))
        assert fake_comfy.executed()[1:] == [end.prompt_id]
        client.close()

    def test_f06_a_proxy_that_gives_up_on_a_post_has_it_looked_for_and_made_again(
        self, client: ComfyUIClient, fake_comfy: FakeComfy
    ) -> None:
        finished(submit(client))
        fake_comfy.fault("POST", "/prompt", status=504, times=1)
        finished(submit(client))
        assert len(fake_comfy.executed()) == 2

    def test_f08_a_picture_cut_off_is_fetched_again(
        self, client: ComfyUIClient, fake_comfy: FakeComfy
    ) -> None:
        fake_comfy.mute()
        fault = fake_comfy.fault("GET", "/view", truncate=0.5, times=1)
        assert finished(submit(client)).pictures[0].data.endswith(b"IEND\xaeB`\x82")
        assert fault.hits == 1

    @pytest.mark.parametrize("part", [0.0, 0.5])
    def test_f08_a_picture_that_is_cut_off_every_time_fails_the_job_and_not_the_server(
        self, client: ComfyUIClient, fake_comfy: FakeComfy, part: float
    ) -> None:
        fake_comfy.mute()
        fault = fake_comfy.fault("GET", "/view", truncate=part)
        assert failed(submit(client)).kind is FailureKind.NO_PICTURES
        assert fault.hits % 3 == 0, "each picture was fetched three times"
        assert client.connection.reachable

    def test_f13_the_jobs_of_others_are_waited_for_and_never_touched(
        self, client: ComfyUIClient, fake_comfy: FakeComfy
    ) -> None:
        finished(submit(client))
        fake_comfy.painter.step_s = 0.02
        foreign = [fake_comfy.foreign_job(steps=5, seed=seed) for seed in (1, 2)]
        broadcast = fake_comfy.foreign_job(steps=5, seed=3, client_id=None)
        ours, cancelled = submit(client), submit(client)
        client.cancel(cancelled)
        end = finished(ours)
        assert len(end.pictures) == 1
        assert fake_comfy.executed()[1:] == [*foreign, broadcast, end.prompt_id]
        assert all(fake_comfy.server.core.queue.history()[one]["status"]["completed"] for one in foreign)

    def test_f13_an_interrupt_by_others_is_tried_once_more(
        self, client: ComfyUIClient, fake_comfy: FakeComfy
    ) -> None:
        fake_comfy.painter.step_s = 0.05
        job = submit(client, builder_with_steps(20))
        first_id = job.prompt_id
        eventually(lambda: job.started)
        requests.post(f"{fake_comfy.url}/interrupt", timeout=GUARD_S)
        assert finished(job).prompt_id != first_id

    @pytest.mark.parametrize(
        "body",
        ['{"half": ', "[" * 100_000, '{"id": {"status": NaN}}', "[]", '"text"', b"\xff\xfe"],
    )
    def test_f16_answers_that_make_no_sense_are_errors_of_their_own(
        self, client: ComfyUIClient, fake_comfy: FakeComfy, body: str | bytes
    ) -> None:
        fake_comfy.fault("GET", "/*", body=body)
        for call in (lambda: client.history("id"), client.queue, client.system_stats):
            with pytest.raises(EngineAnswerError):
                call()

    @pytest.mark.parametrize("body", ["[]", "null", '"x"', "3", "NaN", "{", '{"name": NaN}', '{"name": 3}'])
    def test_f16_what_is_said_to_a_post_and_an_upload_may_be_nonsense_too(
        self, client: ComfyUIClient, fake_comfy: FakeComfy, body: str
    ) -> None:
        fake_comfy.fault("POST", "/upload/image", body=body)
        with pytest.raises(EngineAnswerError):
            client.upload(b"x", "a.latent")
        if not body.startswith('{"'):
            fake_comfy.fault("POST", "/prompt", body=body)
            with pytest.raises(EngineAnswerError):
                submit(client)

    def test_f16_halves_of_characters_become_whole_ones(
        self, client: ComfyUIClient, fake_comfy: FakeComfy
    ) -> None:
        body = r'["a\ud83d\ude00.safetensors", "b\uD800", "\\ud800"]'
        fake_comfy.fault("GET", "/models/loras", body=body)
        assert client.models("loras") == ("a\U0001f600.safetensors", "b?", r"\ud800")

    @pytest.mark.parametrize("number", ["1e400", "1" + 400 * "0", "NaN"])
    def test_f16_numbers_beyond_all_bounds_are_passed_over(
        self, client: ComfyUIClient, fake_comfy: FakeComfy, number: str
    ) -> None:
        device = f'{{"name": "gpu", "vram_total": {number}}}'
        fake_comfy.fault("GET", "/system_stats", body=f'{{"system": {{}}, "devices": [{device}]}}')
        assert client.system_stats().vram_total == 0
        node = f'{{"KSampler": {{"default": {number}}}}}'
        fake_comfy.fault("GET", "/object_info", body=node)
        assert client.object_info()["KSampler"]["default"] in (None, 10**400)

    def test_f16_an_answer_without_end_is_not_read_to_it(self, fake_comfy: FakeComfy) -> None:
        client = make_client(fake_comfy, HttpLimits(max_json_bytes=100_000, answer_s=5.0))
        fault = fake_comfy.fault("GET", "/queue", body=(b" " * 65536 for _ in range(10_000)))
        with pytest.raises(EngineAnswerError, match="more than 100000 bytes"):
            client.queue()
        assert fault.hits == 1
        client.close()

    def test_f16_an_answer_that_never_comes_costs_its_deadline(self, fake_comfy: FakeComfy) -> None:
        client = make_client(fake_comfy, HttpLimits(answer_s=0.2))
        fake_comfy.fault("GET", "/queue", stall=True)
        with pytest.raises(EngineUnreachable, match="in time"):
            client.queue()
        client.close()


def batch_of_4(client: ComfyUIClient) -> bytes:
    """A latent file with a batch of four, made of one that the server saved."""
    end = finished(submit(client))
    (latent,) = (files[0] for files in end.files.values())
    tensors = load(client.download(latent))
    one = tensors["latent_tensor"]
    tensors["latent_tensor"] = np.concatenate([one, -one, one * 0.5, np.flip(one, 2)]).copy()
    return save(tensors)


def test_a_job_that_is_closed_while_it_is_being_posted_does_not_stay_on_the_server(
    fake_comfy: FakeComfy,
) -> None:
    client = make_client(fake_comfy)
    finished(submit(client))
    fake_comfy.painter.hold()
    fault = fake_comfy.fault("POST", "/prompt", delay_s=0.3, times=1)
    jobs: list[Job] = []
    posting = threading.Thread(target=lambda: jobs.append(submit(client)))
    posting.start()
    eventually(lambda: fault.hits == 1)
    client.close()
    posting.join(GUARD_S)
    fake_comfy.painter.release()
    assert failed(jobs[0]).kind is FailureKind.CLOSED
    with another_client(fake_comfy) as other:
        eventually(lambda: other.queue() == QueueState((), ()))
    assert len(fake_comfy.executed()) == 1 or fake_comfy.posted("/interrupt")
