from __future__ import annotations

import io
import json
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from backend.core.aside import Aside
from backend.core.controller import DreamController
from backend.core.folding import Arc
from backend.core.frame_buffer import Frame, FrameBuffer
from backend.core.frame_shelf import FrameShelf
from backend.core.frame_spool import FrameSpool
from backend.core.frames_ahead import Ahead
from backend.core.gap import GapFiller
from backend.core.generator import DreamGenerator, Keyframe
from backend.core.jobs import Failed, FailureKind, Finished, Picture
from backend.core.pace import Pace
from backend.core.playback import Playback
from backend.core.resume_store import ResumeStore
from backend.core.resuming import Resuming
from backend.core.workflow_builder import DreamStep, ImageToImage
from backend.errors import EngineUnreachable, GraphRejected, GraphUnfit, JobFailed, ModelMissing
from backend.interpolation.decoder_choice import DecoderChoice
from backend.interpolation.hybrid_generator import HybridGenerator
from backend.interpolation.latent_encoder import LatentEncoder
from backend.interpolation.picture_futures import UNFIT
from backend.interpolation.seamless_decoder import SeamlessDecoder
from backend.resume_assembly import Past, begin_display
from backend.utils.picture_formats import AS_IT_COMES, Encoding
from backend.utils.png_text import text_of
from backend.utils.prompt_manager import PromptManager
from backend.utils.status_schema import ReasonCode, State
from tests.fakes.memory_engine import MemoryEngine, black_picture, is_fresh, is_walk, picture
from tests.interpolation.sources import AtOnce, ByHand

FPS = 10
GAP_S = 1.0
IN_BETWEENS = 9
THEME = "name: {name}\npositive:\n  - a quiet {name}\nnegative: noise\n"


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Dream:
    """The loop with an engine in memory, a clock in the hand, and a display that shows when told."""

    engine: MemoryEngine
    controller: DreamController
    playback: Playback
    buffer: FrameBuffer
    gaps: GapFiller
    clock: Clock
    aside: Aside
    generator: DreamGenerator

    def settle(self) -> None:
        """Turn until there is nothing to do before the next event."""
        for _ in range(500):
            if not self.controller.turn():
                return
        raise AssertionError("the loop does not come to rest")

    def wait(self, seconds: float) -> None:
        self.settle()
        self.clock.now += seconds
        self.settle()

    def finish_next(self, pictures: list[bytes] | None = None) -> None:
        self.engine.finish_next(pictures)
        self.settle()

    def show(self, seconds: float) -> None:
        """Let the display run."""
        until = self.clock.now + seconds
        while self.clock.now < until:
            self.playback.tick(self.clock.now)
            self.clock.now += 0.05

    @property
    def waiting_jobs(self) -> str:
        """What the engine has to do: k for a keyframe, w for a walk."""
        return "".join("w" if is_walk(sent) else "k" for sent in self.engine.open_jobs)


def dream(
    folder: Path,
    mode: str = "hybrid",
    buffer_s: float = 3.0,
    frames_per_job: int | None = None,
    size: tuple[int, int] = (64, 40),
    engine: Any = None,
    clock: Clock | None = None,
    encoding: Encoding = AS_IT_COMES,
    resumes: bool = False,
    seed: int = 1,
    fps: float = FPS,
    gap_s: float = GAP_S,
    recall: Callable[[bytes], Iterator[Frame]] | None = None,
) -> Dream:
    themes = folder / "prompts"
    themes.mkdir(exist_ok=True)
    for name in ("sea", "sky"):
        (themes / f"{name}.yaml").write_text(THEME.format(name=name))
    clock, rng, wake = clock or Clock(), random.Random(seed), threading.Event()
    store, spool = ResumeStore(folder / "output"), FrameSpool(folder / "output")
    past = Past(store, spool, store.load() if resumes else None)
    engine, pace = engine or MemoryEngine(), Pace()
    buffer = FrameBuffer(10_000_000, spool if resumes else None)
    shelf = FrameShelf(
        folder / "output",
        keep_s=60,
        budget_bytes=10_000_000,
        max_pixels=100_000,
        clock=clock,
        spooled=spool.shown,
    )
    playback = Playback(buffer, shelf, pace, fps=fps, recall=recall, encoding=encoding, clock=clock)
    ahead = Ahead()
    if resumes:
        ahead = begin_display(past, shelf, buffer, pace, playback, size=size, max_pixels=100_000)
    else:
        shelf.open()
    generator = DreamGenerator(engine, mode=mode, denoise=0.45, size=size, max_pixels=100_000, rng=rng)
    gaps = GapFiller(
        generator,
        HybridGenerator(LatentEncoder(engine), frames_per_job),
        buffer,
        pace,
        fps=fps,
        gap_s=gap_s,
        max_pixels=100_000,
        job_timeout_s=300.0,
        encoding=encoding,
        clock=clock,
        wake=wake.set,
    )
    prompts = PromptManager(themes, seconds_per_theme=300, seconds_per_prompt=60, order="sequential", rng=rng)
    resuming = resumed = None
    if resumes:
        resuming = Resuming(
            store, generator, prompts, buffer, pace, rng, seed=seed, max_pixels=100_000, clock=clock
        )
        resumed = None if past.point is None else resuming.take_up(past.point, ahead)
    aside = Aside(
        generator, lambda: prompts.beside(clock(), datetime(2026, 11, 20, 12)), clock=clock, wake=wake.set
    )
    controller = DreamController(
        engine,
        generator,
        gaps,
        prompts,
        buffer,
        playback,
        buffer_s=buffer_s,
        clock=clock,
        wall=lambda: datetime(2026, 11, 20, 12),
        rng=rng,
        wake=wake,
        resuming=resuming,
        resumed=resumed,
        aside=aside,
    )
    return Dream(engine, controller, playback, buffer, gaps, clock, aside, generator)


@pytest.fixture
def hybrid(tmp_path: Path) -> Dream:
    return dream(tmp_path)


def test_the_first_keyframe_is_fresh_and_the_next_continues_from_its_latent(hybrid: Dream) -> None:
    hybrid.settle()
    assert is_fresh(hybrid.engine.sent[0])
    hybrid.finish_next()
    step = hybrid.engine.sent[1].request
    assert isinstance(step, DreamStep)
    assert step.latent.filename == "latent0"
    assert step.denoise == 0.45


def test_the_engine_always_has_the_next_job_while_we_think(hybrid: Dream) -> None:
    hybrid.settle()
    assert hybrid.waiting_jobs == "k"
    hybrid.finish_next()
    assert hybrid.waiting_jobs == "k"
    hybrid.finish_next()
    assert hybrid.waiting_jobs == "kw"
    hybrid.finish_next()
    assert hybrid.waiting_jobs == "wk", "the gap up to the third waits for the fourth"
    hybrid.finish_next()
    assert hybrid.waiting_jobs == "k"
    hybrid.finish_next()
    assert hybrid.waiting_jobs == "kw"


def test_a_gap_is_filled_in_order_with_the_keyframe_at_its_end(hybrid: Dream) -> None:
    hybrid.settle()
    first, second = picture(1), picture(2)
    between = [picture(100 + index) for index in range(IN_BETWEENS)]
    hybrid.finish_next([first])
    hybrid.finish_next([second])
    hybrid.finish_next()
    hybrid.engine.open_jobs[0].job.done()
    hybrid.finish_next(between)
    shown = []
    while (frame := hybrid.buffer.take(hybrid.clock.now)) is not None:
        shown.append(frame.data)
    assert [pixels(data) for data in shown] == [pixels(data) for data in (first, *between, second)]
    assert shown[1:-1] == between


def test_frames_are_encoded_anew_where_it_is_asked_for_and_the_dream_itself_stays_as_it_came(
    tmp_path: Path,
) -> None:
    jpegs = dream(tmp_path, encoding=Encoding("jpeg"))
    jpegs.settle()
    for _ in range(4):
        jpegs.finish_next()
    shown = []
    while (frame := jpegs.buffer.take(jpegs.clock.now)) is not None:
        shown.append((frame.facts.format, frame.data[:2]))
    assert shown == [("jpeg", b"\xff\xd8")] * (1 + IN_BETWEENS + 1)
    newest = jpegs.controller.newest
    assert newest is not None
    assert newest.picture.startswith(b"\x89PNG")


def test_the_in_betweens_of_a_gap_are_one_job(hybrid: Dream) -> None:
    hybrid.settle()
    hybrid.finish_next()
    hybrid.finish_next()
    walks = [sent for sent in hybrid.engine.sent if is_walk(sent)]
    assert [walk.count for walk in walks] == [IN_BETWEENS]


def test_the_engine_rests_when_the_buffer_holds_its_seconds_and_works_again_when_they_are_shown(
    hybrid: Dream,
) -> None:
    hybrid.settle()
    while hybrid.engine.open_jobs:
        hybrid.finish_next()
    assert 2.0 < hybrid.buffer.ready_s <= 3.2
    assert hybrid.controller.state is State.RESTING
    hybrid.show(1.5)
    hybrid.settle()
    assert hybrid.waiting_jobs == "k"
    assert hybrid.controller.state is State.DREAMING


def test_a_failed_keyframe_is_sent_again_with_another_seed_after_a_pause(hybrid: Dream) -> None:
    hybrid.settle()
    hybrid.engine.fail_next()
    hybrid.settle()
    assert hybrid.waiting_jobs == ""
    hybrid.wait(1.0)
    first, second = hybrid.engine.sent
    assert first.request.seed != second.request.seed  # type: ignore[union-attr]
    assert hybrid.controller.setbacks.failed_jobs == 1
    assert hybrid.controller.setbacks.retries == 1
    hybrid.finish_next()
    assert hybrid.controller.reason.code is ReasonCode.OK


def test_an_interrupted_keyframe_is_sent_again(hybrid: Dream) -> None:
    hybrid.settle()
    hybrid.engine.interrupt_next()
    hybrid.wait(1.0)
    assert hybrid.waiting_jobs == "k"


def test_failures_in_a_row_wait_longer_each_time_but_never_end_the_loop(hybrid: Dream) -> None:
    hybrid.settle()
    waits = []
    for _ in range(8):
        hybrid.engine.fail_next()
        hybrid.settle()
        start = hybrid.clock.now
        while not hybrid.engine.open_jobs:
            hybrid.wait(0.25)
        waits.append(hybrid.clock.now - start)
    assert waits[5] > 4 * waits[0]
    assert max(waits) <= 30.25


def test_a_black_keyframe_is_never_shown(hybrid: Dream) -> None:
    hybrid.settle()
    hybrid.finish_next([black_picture()])
    assert hybrid.buffer.take(hybrid.clock.now) is None
    assert hybrid.controller.setbacks.rejected == 1
    assert hybrid.controller.reason.code is ReasonCode.BAD_PICTURES
    hybrid.wait(1.0)
    assert hybrid.waiting_jobs == "k"


def test_after_three_bad_keyframes_from_one_latent_the_dream_begins_fresh(hybrid: Dream) -> None:
    hybrid.settle()
    hybrid.finish_next()
    for _ in range(3):
        assert not is_fresh(hybrid.engine.open_jobs[0])
        hybrid.engine.finish_next([black_picture()])
        hybrid.wait(5.0)
    assert is_fresh(hybrid.engine.open_jobs[0])


def test_a_failed_walk_is_sent_once_more_and_then_left_out(hybrid: Dream) -> None:
    hybrid.settle()
    hybrid.finish_next()
    hybrid.finish_next()
    hybrid.finish_next()
    hybrid.engine.fail_next()
    hybrid.settle()
    assert hybrid.waiting_jobs == "kw"
    hybrid.finish_next()
    while is_walk(hybrid.engine.open_jobs[0]):
        hybrid.engine.fail_next()
        hybrid.settle()
    frames = 0
    while hybrid.buffer.take(hybrid.clock.now) is not None:
        frames += 1
    assert frames >= 2
    assert hybrid.buffer.skipped >= IN_BETWEENS


def test_a_black_in_between_is_passed_over_and_the_rest_is_shown(hybrid: Dream) -> None:
    hybrid.settle()
    for _ in range(3):
        hybrid.finish_next()
    pictures = [picture(index) for index in range(IN_BETWEENS)]
    pictures[4] = black_picture()
    hybrid.finish_next(pictures)
    frames = 0
    while hybrid.buffer.take(hybrid.clock.now) is not None:
        frames += 1
    assert frames == 1 + IN_BETWEENS - 1 + 1
    assert hybrid.gaps.rejected == 1


def test_an_engine_that_is_away_is_tried_again_and_the_dream_goes_on_from_its_latent(hybrid: Dream) -> None:
    hybrid.settle()
    hybrid.finish_next()
    hybrid.engine.refuse = EngineUnreachable("http://127.0.0.1:8188", "connection refused")
    hybrid.finish_next()
    hybrid.show(5.0)
    hybrid.settle()
    assert hybrid.controller.state is State.REMEMBERING
    assert hybrid.controller.reason.code is ReasonCode.ENGINE_UNREACHABLE
    for _ in range(100):
        hybrid.wait(20.0)
    hybrid.engine.refuse = None
    hybrid.wait(31.0)
    request = hybrid.engine.open_jobs[0].request
    assert isinstance(request, DreamStep)
    assert request.latent.filename == "latent1"


def test_an_engine_heard_to_be_gone_is_connected_to_again(hybrid: Dream) -> None:
    hybrid.settle()
    hybrid.finish_next()
    hybrid.engine.reachable = False
    hybrid.settle()
    assert hybrid.engine.connects == 2


def test_a_latent_that_vanished_from_the_server_is_brought_back(hybrid: Dream) -> None:
    hybrid.settle()
    hybrid.finish_next()
    engine, submit = hybrid.engine, hybrid.engine.submit

    def picky(request):
        if isinstance(request, DreamStep) and request.latent.type == "output":
            raise GraphRejected("prompt_outputs_failed_validation", "Invalid latent file")
        return submit(request)

    engine.submit = picky  # type: ignore[method-assign]
    hybrid.engine.fail_next()
    hybrid.wait(1.0)
    request = engine.open_jobs[0].request
    assert isinstance(request, DreamStep)
    assert request.latent.type == "temp"


def test_a_missing_model_is_said_and_looked_for_again(hybrid: Dream) -> None:
    hybrid.engine.refuse = ModelMissing(
        "checkpoints", "sdx.safetensors", ["sdxl.safetensors"], "sdxl.safetensors"
    )
    hybrid.settle()
    assert hybrid.controller.reason.code is ReasonCode.MODEL_MISSING
    assert "sdxl.safetensors" in hybrid.controller.reason.sentence
    hybrid.engine.refuse = None
    hybrid.wait(31.0)
    assert hybrid.waiting_jobs == "k"


def test_pause_sends_for_nothing_and_holds_the_picture_until_resume(hybrid: Dream) -> None:
    hybrid.settle()
    hybrid.finish_next()
    hybrid.controller.pause()
    hybrid.show(0.5)
    shown = hybrid.playback.frames_shown
    while hybrid.engine.open_jobs:
        hybrid.finish_next()
    hybrid.show(3.0)
    assert hybrid.playback.frames_shown == shown
    assert hybrid.controller.state is State.PAUSED
    hybrid.controller.resume()
    hybrid.settle()
    assert hybrid.waiting_jobs == "kw"


def test_next_turns_to_another_theme_with_the_next_keyframe(hybrid: Dream) -> None:
    hybrid.settle()
    assert "sea" in hybrid.engine.sent[0].request.prompt  # type: ignore[union-attr]
    hybrid.controller.next_theme()
    hybrid.finish_next()
    assert "sky" in hybrid.engine.sent[1].request.prompt  # type: ignore[union-attr]


def test_spent_latents_are_retired_and_the_newest_is_kept(hybrid: Dream) -> None:
    hybrid.settle()
    for _ in range(6):
        hybrid.finish_next()
        hybrid.show(1.0)
        hybrid.settle()
    assert hybrid.controller.newest is not None
    retired = {file.filename for file in hybrid.engine.retired}
    assert len(retired) >= 2
    assert hybrid.controller.newest.latent.filename not in retired


@pytest.mark.parametrize(
    ("mode", "continues", "walks"),
    [
        ("txt2img", False, False),
        ("img2img", True, False),
        ("interpolate", False, True),
        ("hybrid", True, True),
    ],
)
def test_each_mode_follows_its_own_way(tmp_path: Path, mode: str, continues: bool, walks: bool) -> None:
    looped = dream(tmp_path, mode)
    looped.settle()
    looped.finish_next()
    looped.finish_next()
    keyframes = [sent for sent in looped.engine.sent if not is_walk(sent)]
    assert is_fresh(keyframes[1]) is not continues
    assert any(is_walk(sent) for sent in looped.engine.sent) is walks
    if not walks:
        frame = looped.buffer.take(looped.clock.now)
        assert frame is not None
        assert frame.duration_s == GAP_S


def test_a_lost_job_leaves_no_keyframe_counted(hybrid: Dream) -> None:
    hybrid.settle()
    hybrid.engine.fail_next(FailureKind.LOST)
    hybrid.settle()
    assert hybrid.controller.keyframes == 0
    hybrid.wait(1.0)
    assert hybrid.waiting_jobs == "k"


def test_the_latent_of_a_picture_that_is_refused_is_retired(hybrid: Dream) -> None:
    hybrid.settle()
    hybrid.finish_next([black_picture()])
    assert [file.filename for file in hybrid.engine.retired] == ["latent0"]


@pytest.mark.parametrize(("kind", "freed"), [(FailureKind.OUT_OF_MEMORY, 1), (FailureKind.EXECUTION, 0)])
def test_an_engine_without_memory_is_told_to_free_some_before_the_next_try(
    hybrid: Dream, kind: FailureKind, freed: int
) -> None:
    hybrid.settle()
    hybrid.engine.fail_next(kind)
    hybrid.settle()
    assert hybrid.engine.freed == freed


def test_memory_is_freed_before_in_betweens_are_sent_for_again(hybrid: Dream) -> None:
    hybrid.settle()
    hybrid.finish_next()
    hybrid.finish_next()
    hybrid.finish_next()
    assert hybrid.waiting_jobs == "wk"
    hybrid.engine.fail_next(FailureKind.OUT_OF_MEMORY)
    hybrid.settle()
    assert hybrid.engine.freed == 1
    assert hybrid.waiting_jobs == "kw"


def test_a_walk_that_ends_before_an_earlier_one_is_taken_in(tmp_path: Path) -> None:
    hybrid = dream(tmp_path, frames_per_job=5)
    hybrid.settle()
    hybrid.finish_next()
    hybrid.finish_next()
    assert hybrid.waiting_jobs == "kww"
    _, first, second = hybrid.engine.open_jobs
    between = tuple(Picture(picture(index), "png") for index in range(IN_BETWEENS))
    second.job.end(Finished("second", between[5:], {}, (), 0.1))
    hybrid.settle()
    assert hybrid.gaps.in_betweens == 4
    first.job.end(Finished("first", between[:5], {}, (), 0.1))
    hybrid.settle()
    assert hybrid.gaps.in_betweens == IN_BETWEENS
    assert not hybrid.gaps.busy


def test_small_jobs_go_to_the_engine_two_at_a_time_and_all_arrive_in_order(tmp_path: Path) -> None:
    looped = dream(tmp_path, buffer_s=1.5, frames_per_job=2)
    looped.settle()
    looped.finish_next()
    looped.finish_next()
    arrived = 0
    while looped.engine.open_jobs:
        assert looped.waiting_jobs.count("w") <= 2
        looped.finish_next()
        while looped.buffer.take(looped.clock.now) is not None:
            arrived += 1
        if arrived >= 3 * (IN_BETWEENS + 1):
            break
    walks = [sent for sent in looped.engine.sent if is_walk(sent)]
    assert [walk.count for walk in walks[:5]] == [2, 2, 2, 2, 1]
    assert looped.gaps.in_betweens >= 2 * IN_BETWEENS
    assert looped.buffer.skipped == 0


def test_in_betweens_that_could_not_be_sent_are_sent_when_the_engine_is_back(hybrid: Dream) -> None:
    hybrid.settle()
    hybrid.finish_next()
    hybrid.engine.finish_next()
    hybrid.engine.refuse = EngineUnreachable("http://127.0.0.1:8188", "connection refused")
    hybrid.settle()
    assert not any(is_walk(sent) for sent in hybrid.engine.sent)
    hybrid.engine.refuse = None
    hybrid.wait(31.0)
    assert [is_walk(sent) for sent in hybrid.engine.open_jobs].count(True) == 1
    assert hybrid.gaps.failed_jobs == 0


def test_a_display_that_has_run_dry_is_said_to_be_buffering(hybrid: Dream) -> None:
    hybrid.settle()
    for _ in range(4):
        hybrid.finish_next()
    hybrid.show(0.8)
    assert hybrid.controller.state is State.DREAMING
    hybrid.show(6.0)
    assert hybrid.controller.state is State.BUFFERING


def test_a_keyframe_tells_where_it_comes_from(hybrid: Dream) -> None:
    hybrid.settle()
    for _ in range(2):
        hybrid.engine.finish_next()
        hybrid.settle()
    assert hybrid.controller.newest is not None
    told = json.loads(text_of(hybrid.controller.newest.picture)["dreamloop"])
    assert told["sequence"] == hybrid.controller.newest.number
    assert told["seed"] == hybrid.controller.newest.seed
    assert (told["theme"], told["model"]) == ("sea", "dreamloop-painter")
    assert "prompt" in text_of(hybrid.controller.newest.picture)


def test_a_workflow_without_latents_goes_on_from_its_pictures(tmp_path: Path) -> None:
    one = dream(tmp_path, mode="img2img", engine=MemoryEngine(feeds_pictures=True))
    one.settle()
    one.engine.finish_next()
    one.settle()
    first = one.controller.newest
    assert first is not None
    assert first.latent is None
    assert one.engine.pictures == [first.picture]
    assert isinstance(one.engine.open_jobs[0].request, ImageToImage)
    one.engine.finish_next()
    one.settle()
    assert one.controller.keyframes == 2
    assert one.engine.retired == []


def test_a_graph_that_we_refuse_ourselves_is_not_sent_under_another_latent(hybrid: Dream) -> None:
    hybrid.settle()
    hybrid.engine.finish_next()
    hybrid.settle()
    uploaded = len(hybrid.engine.files)
    hybrid.engine.refuse = GraphUnfit(("node 1 (KSampler) is not there",))
    hybrid.engine.submit = refusing(hybrid.engine.refuse)  # type: ignore[method-assign]
    hybrid.engine.finish_next()
    hybrid.settle()
    assert len(hybrid.engine.files) == uploaded + 1
    assert hybrid.controller.reason.code == ReasonCode.GRAPH_REJECTED


def pixels(data: bytes) -> bytes:
    """What is to be seen: keyframes have their history written into the file."""
    return Image.open(io.BytesIO(data)).tobytes()


def refusing(error: Exception) -> Any:
    def submit(_request: object) -> Any:
        raise error

    return submit


def test_a_picture_beside_the_loop_is_queued_behind_the_next_keyframe_and_its_gap(hybrid: Dream) -> None:
    hybrid.settle()
    hybrid.finish_next()
    hybrid.finish_next()
    hybrid.finish_next()
    before = hybrid.waiting_jobs
    assert hybrid.aside.order()
    hybrid.settle()
    assert hybrid.waiting_jobs == before + "k"
    assert is_fresh(hybrid.engine.open_jobs[-1])


def test_a_picture_beside_the_loop_is_no_part_of_the_dream(hybrid: Dream) -> None:
    came: list[Any] = []
    hybrid.aside.on_dreamt = lambda *news: came.append(news)
    hybrid.settle()
    hybrid.finish_next()
    hybrid.aside.order()
    hybrid.settle()
    promised_s, keyframes = hybrid.buffer.promised_s, hybrid.controller.keyframes
    hybrid.engine.finish(hybrid.engine.open_jobs[-1])
    hybrid.settle()
    assert len(came) == 1
    assert (hybrid.buffer.promised_s, hybrid.controller.keyframes) == (promised_s, keyframes)
    hybrid.finish_next()
    step = hybrid.engine.open_jobs[0].request
    assert isinstance(step, DreamStep)
    assert step.latent.filename == "latent1", "the dream goes on from its own keyframe"


def test_a_picture_beside_the_loop_that_fails_is_no_trouble_of_the_dream(hybrid: Dream) -> None:
    hybrid.settle()
    hybrid.finish_next()
    hybrid.aside.order()
    hybrid.settle()
    beside = hybrid.engine.open_jobs[-1]
    beside.job.end(Failed(beside.job.prompt_id, FailureKind.EXECUTION, "it broke"))
    hybrid.settle()
    assert hybrid.controller.reason.code is ReasonCode.OK
    counts = hybrid.controller.counts
    assert (counts.failed_jobs, counts.retries, hybrid.aside.failed) == (0, 0, 1)
    hybrid.finish_next()
    assert hybrid.controller.keyframes == 2


def test_nothing_is_dreamt_beside_a_dream_that_is_paused_or_has_no_engine(hybrid: Dream) -> None:
    hybrid.settle()
    hybrid.finish_next()
    hybrid.controller.pause()
    hybrid.aside.order()
    hybrid.settle()
    assert not any(is_fresh(sent) for sent in hybrid.engine.open_jobs)
    hybrid.engine.reachable, hybrid.engine.refuse = False, EngineUnreachable("memory://", "gone")
    hybrid.controller.resume()
    hybrid.settle()
    assert not any(is_fresh(sent) for sent in hybrid.engine.open_jobs)
    assert hybrid.aside.failed == 0


def test_a_picture_beside_the_loop_is_dreamt_while_the_engine_rests(hybrid: Dream) -> None:
    hybrid.settle()
    while hybrid.engine.open_jobs:
        hybrid.finish_next()
    assert hybrid.controller.state is State.RESTING
    hybrid.aside.order()
    hybrid.settle()
    assert hybrid.waiting_jobs == "k"
    hybrid.finish_next()
    assert (hybrid.aside.dreamt, hybrid.waiting_jobs) == (1, "")


def test_what_is_decided_on_a_keyframe_acts_two_later_and_the_engine_never_waits_for_it(
    hybrid: Dream,
) -> None:
    def decide(keyframe: Keyframe, _: object) -> None:
        if keyframe.number == 2:
            hybrid.generator.fold_in(Arc("a memory", torch.ones(1, 4, 5, 8), (0.5, 0.5), "because"))

    hybrid.controller.on_keyframe = decide
    hybrid.settle()
    numbers, folded = [], []
    while len(folded) < 6:
        sent = hybrid.engine.open_jobs[0]
        hybrid.finish_next()
        if not is_walk(sent):
            numbers.append(hybrid.controller.newest.number)
            folded.append(hybrid.controller.newest.folded)
        hybrid.show(0.5)
        hybrid.settle()
    assert numbers == [1, 2, 3, 4, 5, 6]
    assert folded == [None, None, None, "a memory", "a memory", None]


def test_in_betweens_that_another_decoder_cannot_make_come_from_the_engine_and_none_is_lost(
    hybrid: Dream,
) -> None:
    local = ByHand()
    seamless = SeamlessDecoder(local, AtOnce(), AS_IT_COMES)
    choice = DecoderChoice("tiny.safetensors", seamless, LatentEncoder(hybrid.engine), hybrid.clock)
    hybrid.gaps.hybrid._decoder = choice
    hybrid.settle()
    hybrid.finish_next()
    hybrid.finish_next()
    assert hybrid.waiting_jobs == "k"
    assert len(local.waiting) == 2 + IN_BETWEENS
    local.fail(JobFailed(UNFIT, "grey"))
    hybrid.settle()
    assert hybrid.waiting_jobs == "kw"
    while hybrid.gaps.in_betweens < IN_BETWEENS:
        hybrid.finish_next()
    assert hybrid.buffer.skipped == 0
    assert hybrid.controller.reason.code is ReasonCode.OK
    assert "grey" in str(choice.problem)
