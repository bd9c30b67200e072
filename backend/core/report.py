"""What the parts know, gathered for the status. Reads only; holds nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from backend.core.controller import DreamController
from backend.core.engine import Engine, EngineKind
from backend.core.frame_buffer import FrameBuffer, FrameKind
from backend.core.frame_shelf import FrameShelf, ShownFrame
from backend.core.gap import GapFiller
from backend.core.generator import DreamGenerator
from backend.core.memory_report import MemoryReport
from backend.core.playback import Playback
from backend.core.resume_point import ResumePoint
from backend.interpolation.decoder import Decoder
from backend.interpolation.decoder_choice import decoder_told
from backend.utils.disk_room import DiskRoom
from backend.utils.prompt_manager import PromptManager
from backend.utils.renewals import Renewals
from backend.utils.status_schema import (
    ConfigStatus,
    DisplayStatus,
    DreamStatus,
    EngineStatus,
    FrameStatus,
    MachineStatus,
    PromptsStatus,
    Reason,
    ReasonCode,
    RestartsStatus,
    SaidStatus,
    State,
    StatusBody,
    StorageStatus,
    utc_text,
)


@dataclass(frozen=True)
class Recorded:
    """The keyframes that are kept for films."""

    keyframes: int = 0
    bytes: int = 0
    seconds: float = 0.0


@dataclass
class Report:
    """The parts of a running dream, and the status body that they make together.

    Attributes:
        fps: Frames per second as configured.
        note: What is worth knowing about this run.
        decoder: Of in-betweens; None for the engine with the keyframes' own VAE.
        wall: Now, with a zone.
        recorded: What is kept for films.
        renewals: How often this process has begun anew before; None for never.
        clock: Monotonic seconds, the clock of ``ShownFrame.shown_at``.
    """

    engine: Engine
    generator: DreamGenerator
    controller: DreamController
    gaps: GapFiller
    prompts: PromptManager
    buffer: FrameBuffer
    shelf: FrameShelf
    playback: Playback
    fps: float
    note: str
    decoder: Decoder | None = None
    memory: MemoryReport = field(default_factory=MemoryReport)
    recorded: Callable[[], Recorded] = Recorded
    config: Callable[[], ConfigStatus] = ConfigStatus
    hangs: Callable[[], str | None] = lambda: None
    machine: Callable[[], MachineStatus] = MachineStatus
    room: DiskRoom | None = None
    renewals: Renewals | None = None
    wall: Callable[[], datetime] = lambda: datetime.now(UTC)
    clock: Callable[[], float] = time.monotonic

    def body(self) -> StatusBody:
        """The status as it is at this moment."""
        config = self.config()
        return StatusBody(
            state=self.controller.state,
            reason=_reason(self.controller.reason, config, self.room),
            frame=frame_status(self.playback.newest, self.shelf, self.wall(), self.clock()),
            engine=self._engine(),
            dream=self._dream(),
            display=self._display(),
            storage=self._storage(),
            machine=self.machine(),
            prompts=self._prompts(),
            memory=self.memory.body(),
            config=config,
            hangs=self.hangs(),
            restarts=_restarts(self.renewals, self.controller),
            note=self.note,
        )

    def _prompts(self) -> PromptsStatus:
        now = self.clock()
        said = self.prompts.said(now)
        return PromptsStatus(
            themes=self.prompts.themes,
            problems=tuple(str(problem) for problem in self.controller.prompt_problems),
            said=None
            if said is None
            else SaidStatus(text=said.text, seconds_left=max(0.0, said.until_s - now)),
        )

    def _engine(self) -> EngineStatus:
        facts = self.engine.facts
        connection = self.engine.client.connection
        left = self.engine.house.left_files + self.engine.client.emptied_pictures
        return EngineStatus(
            kind=self.engine.kind.value,
            url=facts.url if facts else self.engine.client.url,
            version=facts.version if facts else "",
            device=facts.device if facts else "",
            reachable=connection.reachable and (self.controller.connected or self._answers_all_the_same()),
            socket=connection.socket,
            checkpoint=facts.checkpoint if facts else "",
            family=facts.family.name if facts else "",
            node_pack=facts.pack.use.value if facts and facts.kind is EngineKind.COMFYUI else None,
            left_files=left,
            left_files_a_day=round(self.engine.house.a_day(left), 1),
            last_error=self.controller.last_error,
        )

    def _storage(self) -> StorageStatus:
        recorded = self.recorded()
        room = self.room
        return StorageStatus(
            free_bytes=None if room is None else room.free_bytes,
            scarce=room is not None and room.scarce,
            frames=self.shelf.frames,
            frame_bytes=self.shelf.size_bytes,
            budget_bytes=self.shelf.budget_bytes,
            keyframes=recorded.keyframes,
            keyframe_bytes=recorded.bytes,
            keyframe_seconds=round(recorded.seconds, 1),
            last_error=self.playback.storage_error or self.controller.resume_problem,
        )

    def _answers_all_the_same(self) -> bool:
        """It is a ComfyUI and it is there, only it cannot do what is asked."""
        return self.controller.reason.code in (ReasonCode.MODEL_MISSING, ReasonCode.GRAPH_REJECTED)

    def _dream(self) -> DreamStatus:
        newest, so_far = self.controller.newest, self.controller.counts
        used, problem = decoder_told(self.decoder)
        counts = {
            "decoder": used,
            "decoder_problem": problem,
            "mode": self.generator.mode_name,
            "keyframes": so_far.keyframes,
            "in_betweens": so_far.in_betweens,
            "rejected": so_far.rejected,
            "rejected_by": dict(self.generator.rejects),
            "keyframe_seconds_total": round(self.controller.keyframe_seconds, 3),
            "failed_jobs": so_far.failed_jobs,
            "retries": so_far.retries,
        }
        if newest is None:
            return DreamStatus.model_validate(counts)
        return DreamStatus.model_validate(
            {
                **counts,
                "number": newest.number,
                "parent": newest.parent,
                "theme": newest.prompt.theme,
                "prompt": newest.prompt.positive,
                "negative": newest.prompt.negative,
                "seed": newest.seed,
                "denoise": newest.denoise,
                "width": newest.facts.width,
                "height": newest.facts.height,
                "keyframe_s": newest.seconds,
            }
        )

    def _display(self) -> DisplayStatus:
        return DisplayStatus(
            fps=self.fps,
            shown_fps=round(self.playback.shown_fps, 2),
            pace=round(self.playback.speed, 3),
            buffer_seconds=round(self.buffer.ready_s, 3),
            buffer_target_seconds=self.controller.headroom.target_s,
            decoded_share=round(self.playback.share_of(FrameKind.KEYFRAME, FrameKind.IN_BETWEEN), 3),
            cross_faded_share=round(self.playback.share_of(FrameKind.CROSS_FADE), 3),
            skipped=self.buffer.skipped,
            frames_shown=self.playback.frames_shown,
        )


def _reason(reason: Reason, config: ConfigStatus, room: DiskRoom | None) -> Reason:
    """What keeps the dream from its best comes first; a mistake in the settings file does not."""
    if reason.code is ReasonCode.OK and room is not None and room.scarce:
        return Reason(code=ReasonCode.STORAGE, sentence=room.sentence)
    if reason.code is not ReasonCode.OK or config.ok:
        return reason
    first = config.problems[0]
    where = first.source if first.line is None else f"{first.source}:{first.line}"
    value = f" = {first.value}" if first.value else ""
    return Reason(
        code=ReasonCode.CONFIG, sentence=f"kept the old settings: {where}: {first.key}{value}: {first.wish}"
    )


def _restarts(renewals: Renewals | None, controller: DreamController | None = None) -> RestartsStatus:
    own = renewals or Renewals()
    if controller is None:
        return RestartsStatus(own=own.count, own_why=own.why)
    return RestartsStatus(
        own=own.count,
        own_why=own.why,
        engine=controller.engine_restarts,
        engine_why=controller.engine_restarted_why,
    )


def first_body(
    playback: Playback, shelf: FrameShelf, point: ResumePoint | None, renewals: Renewals | None = None
) -> StatusBody:
    """The status before an engine is chosen: what is on display, and what an earlier run had come to."""
    frame = frame_status(playback.newest, shelf, datetime.now(UTC), time.monotonic())
    return StatusBody(
        state=State.STARTING,
        frame=frame,
        dream=DreamStatus() if point is None else _dreamt_before(point),
        restarts=_restarts(renewals),
    )


def _dreamt_before(point: ResumePoint) -> DreamStatus:
    keyframe = point.keyframe
    return DreamStatus(
        **point.counts.model_dump(),
        number=keyframe.number,
        parent=keyframe.parent,
        theme=keyframe.theme,
        prompt=keyframe.positive,
        negative=keyframe.negative,
        seed=keyframe.seed,
        denoise=keyframe.denoise,
        keyframe_s=keyframe.seconds,
    )


def frame_status(
    shown: ShownFrame | None, shelf: FrameShelf, wall: datetime, now: float
) -> FrameStatus | None:
    """The frame on display, as the status tells it.

    Args:
        shown: The frame.
        shelf: Where its file is.
        wall: Now, with a zone.
        now: Now, on the clock of ``shown_at``.
    """
    if shown is None:
        return None
    return FrameStatus(
        sequence=shown.sequence,
        file=shown.path.relative_to(shelf.output).as_posix(),
        sha256=shown.sha256,
        bytes=shown.bytes,
        width=shown.facts.width,
        height=shown.facts.height,
        format=shown.facts.format,
        kind=shown.kind.value,
        theme=shown.theme,
        shown_at=utc_text(wall - timedelta(seconds=now - shown.shown_at)),
        duration_s=shown.duration_s,
    )
