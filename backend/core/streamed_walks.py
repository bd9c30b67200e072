"""Walks that a server with our own nodes computes by itself, as long as it takes them."""

from __future__ import annotations

import logging
from collections.abc import Callable

from backend.core.engine_jobs import DecodeJob
from backend.core.jobs import FileRef, Job, parse_annotated
from backend.core.latent_nodes import WalkFrames
from backend.core.node_pack import NO_PACK, NodePack, PackUse
from backend.errors import GraphRejected
from backend.interpolation.latent_encoder import write_latents
from backend.interpolation.walk_course import Course
from backend.utils.prompt_manager import Prompt

log = logging.getLogger(__name__)


class StreamedWalks:
    """Sends them, and remembers that the server did not take one.

    Args:
        submit: Posts the graph of a request that brings so many pictures; raises EngineError.
        upload: Gives the server a latent file.
    """

    def __init__(self, submit: Callable[[WalkFrames, int], Job], upload: Callable[[bytes], FileRef]) -> None:
        self._submit = submit
        self._upload = upload
        self._pack: NodePack | None = None
        self._refused = False

    def found(self, pack: NodePack, *, installable: bool) -> None:
        """What the server has of our nodes, now that it was looked at.

        News is told to the log, where it is a server that they can be installed into.
        """
        self._refused = False
        news, self._pack = pack != self._pack, pack
        if news and installable:
            level = logging.WARNING if pack.use in (PackUse.OLD, PackUse.NEW) else logging.INFO
            log.log(level, "Dreamloop's nodes on ComfyUI: %s", pack.sentence)

    def send(self, course: Course, places: tuple[float, ...], prompt: Prompt) -> DecodeJob | None:
        """Have the server walk, decode and stream; None where it cannot, or does not any more.

        Latents that it has are named; those that it lacks, or has lost, are brought along.

        Raises:
            EngineUnreachable: If the server does not answer.
        """
        if self._refused or not (self._pack or NO_PACK).used:
            return None
        files = tuple(parse_annotated(name) for name in course.names)
        for bring in (False, True) if files else (True,):
            if bring:
                files = (self._upload(write_latents(course.latents)),)
            walk = WalkFrames(files, course.text, places, prompt.positive, prompt.negative)
            try:
                return DecodeJob(self._submit(walk, len(places)), len(places))
            except GraphRejected as error:
                log.info("the server does not take a walk: %s", error)
        # Until it is connected to again, which shows what it has by then.
        self._refused = True
        return None
