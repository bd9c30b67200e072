"""What the engine's jobs bring: pictures one by one, a keyframe's end, a latent's place."""

from __future__ import annotations

from collections.abc import Callable

from backend.core.jobs import FileRef, Finished, Interrupted, Job, JobEnd
from backend.core.workflow_builder import Workflow
from backend.errors import JobFailed


class DecodeJob:
    """Pictures of a decoded batch, as HybridGenerator asks for them."""

    def __init__(self, job: Job, count: int) -> None:
        self._job = job
        self._count = count

    def done(self) -> bool:
        """Whether it has ended, however."""
        return self._job.done()

    def arrived(self) -> tuple[tuple[int, bytes], ...]:
        """The pictures that have come since the last call, with their places."""
        return tuple((place, picture.data) for place, picture in self._job.arrived())

    def add_arrival_callback(self, callback: Callable[[], None]) -> None:
        """Call back, from any thread, whenever a picture has come."""
        self._job.add_arrival_callback(lambda _: callback())

    def add_done_callback(self, callback: Callable[[], None]) -> None:
        """Call back, from any thread, when it ends."""
        self._job.add_done_callback(lambda _: callback())

    def pictures(self) -> tuple[bytes, ...]:
        """The pictures in batch order.

        Raises:
            JobFailed: If the job failed, or brought another number of pictures.
        """
        pictures = finished(self._job.result(0.0)).pictures
        if len(pictures) != self._count:
            raise JobFailed("no_pictures", f"{len(pictures)} pictures came for {self._count} latents")
        return tuple(picture.data for picture in pictures)


def finished(end: JobEnd) -> Finished:
    """The good end, or JobFailed."""
    if isinstance(end, Finished):
        return end
    if isinstance(end, Interrupted):
        raise JobFailed("interrupted", "somebody stopped the job at the server")
    raise JobFailed(end.kind.value, end.message)


def latent_file(end: Finished, workflow: Workflow) -> FileRef:
    """Where SaveLatent has put the latent; raises JobFailed if it says nothing of it."""
    files = end.files.get(workflow.latent_node or "", ())
    if not files:
        raise JobFailed("no_latent", "the job ended well but saved no latent")
    return files[0]
