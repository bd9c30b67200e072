"""What the job tracker may ask for, and how patient it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from backend.core.attempt import Attempt
from backend.core.jobs import FileRef


@dataclass(frozen=True)
class Patience:
    """How long to wait for what, in seconds.

    Attributes:
        poll_s: Without news on a good socket, the history is asked this often.
        deaf_poll_s: The same while nothing can be heard: it bounds how long an end goes unnoticed.
        success_s: From ``execution_success`` to asking, should the end marker not come (it takes a few ms).
        miss_gap_s: Between two looks into the queue, and so between the two misses that make a job lost.
        grace_s: How long pictures may still be on their way after the history tells of a success.
        load_s: A running job whose node shows no steps (loaders, text encoders, VAEs) may be silent so long.
        step_s: The same between two steps of a sampler, unless steps were seen to take more than a quarter.
        stop_s: A cancelled job may still run so long; then all that waits behind it is given up, too.
        retry_s: First wait after a call without an answer; doubles up to ``retry_max_s``.
    """

    poll_s: float = 1.0
    deaf_poll_s: float = 0.1
    success_s: float = 0.25
    miss_gap_s: float = 1.0
    grace_s: float = 1.0
    load_s: float = 120.0
    step_s: float = 15.0
    stop_s: float = 10.0
    retry_s: float = 0.5
    retry_max_s: float = 4.0


@dataclass(frozen=True)
class LookUp:
    """Ask for the prompt's history and, if that is empty and ``queue_too``, whether it is in the queue."""

    prompt_id: str
    queue_too: bool


@dataclass(frozen=True)
class Fetch:
    """Get the pictures that a PreviewImage node left on the server."""

    prompt_id: str
    files: tuple[tuple[str, FileRef], ...]


@dataclass(frozen=True)
class PostAgain:
    """Post ``attempt``, which stands for the prompt ``instead_of``."""

    attempt: Attempt
    instead_of: str


@dataclass(frozen=True)
class Cancel:
    """Take a prompt of ours from the server; nobody waits for it any more.

    ``tries`` counts those that a living server has left unanswered.
    """

    prompt_id: str
    tries: int = 0


@dataclass(frozen=True)
class Forget:
    """Take prompts of ours that went well from the server's history, which is people's list of pictures."""

    prompt_ids: tuple[str, ...]


Action: TypeAlias = LookUp | Fetch | PostAgain | Cancel | Forget
