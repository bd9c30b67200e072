from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from backend.core.attempt import Attempt
from backend.core.comfyui_answers import HistoryEntry, Outcome, history_entry
from backend.core.comfyui_messages import (
    Event,
    Executed,
    Executing,
    ExecutionError,
    ExecutionInterrupted,
    ExecutionStart,
    ExecutionSuccess,
    PictureArrived,
    Progress,
    parse_text,
)
from backend.core.job_actions import Cancel, Fetch, Forget, LookUp, PostAgain
from backend.core.job_tracker import JobTracker
from backend.core.jobs import (
    Failed,
    FailureKind,
    FileRef,
    Finished,
    Graph,
    Interrupted,
    Job,
    JobEnd,
    Picture,
)
from tests.core.recorded import recorded

PNG = b"\x89PNG\r\n\x1a\n"
LATENT = FileRef("kf_00001_.latent", "latents", "output")
PREVIEW = FileRef("preview_00001_.png", "", "temp")
GRAPH: dict[str, dict[str, Any]] = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {}},
    "2": {"class_type": "KSampler", "inputs": {"model": ["1", 0]}},
    "3": {"class_type": "SaveLatent", "inputs": {"samples": ["2", 0]}},
    "4": {"class_type": "VAEDecode", "inputs": {"samples": ["2", 0]}},
    "5": {"class_type": "SaveImageWebsocket", "inputs": {"images": ["4", 0]}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {}},
}
WALK: dict[str, dict[str, Any]] = {
    "7": {"class_type": "DreamloopWalk", "inputs": {}},
    "8": {"class_type": "DreamloopFrames", "inputs": {"walk": ["7", 0], "frames": "", "to": "socket"}},
}


class Play:
    """One tracker with one job, a clock, and a server that says what the test wants."""

    def __init__(
        self,
        *,
        listening: int | None = 1,
        pictures: int = 1,
        deadline_s: float = 300.0,
        graph: Graph = GRAPH,
    ) -> None:
        ids = (f"id-{number}" for number in itertools.count(1))
        self.now = 100.0
        self.tracker = JobTracker(lambda: next(ids))
        self.tracker.listening = listening
        self.tracker.answer_came()
        self.tracker.reachable = True
        self.job, self.attempt = self.tracker.add(graph, pictures, self.now + deadline_s, self.now)
        self.tracker.answered(self.attempt, self.now)
        self.ends: list[tuple[Job, JobEnd]] = []

    def hear(self, *events: Event, named: bool = True) -> None:
        for event in events:
            self.tracker.hear(event, self.now, named_pictures=named)

    def run(self, prompt_id: str = "id-1", *, pictures: int = 1, end: bool = True) -> None:
        """The whole of a good job, as the socket tells it."""
        self.hear(ExecutionStart(prompt_id, 1000.0), Executing(prompt_id, "2"), Executing(prompt_id, "3"))
        self.hear(Executed(prompt_id, "3", (LATENT,)), Executing(prompt_id, "4"), Executing(prompt_id, "5"))
        for number in range(pictures):
            self.hear(PictureArrived(PNG + bytes([number]), "png", prompt_id, "5"))
        self.hear(ExecutionSuccess(prompt_id, 1500.0))
        if end:
            self.hear(Executing(prompt_id, None))

    def act(self) -> Any:
        """The next action, with the clock put forward to when it is due."""
        self.now = max(self.now, self.tracker.wake_at())
        return self.tracker.next_action(self.now)

    def answer(self, entry: HistoryEntry | None, *, queued: bool | None = None) -> LookUp:
        """Expects a look-up and answers it."""
        action = self.act()
        assert isinstance(action, LookUp)
        queued = queued if action.queue_too else None
        self.tracker.looked_up(action.prompt_id, entry, queued, self.now)
        return action

    def lose(self) -> None:
        """The server knows nothing of the job, as often as it is asked."""
        for _ in range(50):
            action = self.act()
            if not isinstance(action, LookUp):
                assert isinstance(action, PostAgain | Cancel) or action is None
                self.last = action
                return
            self.tracker.looked_up(action.prompt_id, None, False if action.queue_too else None, self.now)
        raise AssertionError("it is still being asked")

    def end(self) -> JobEnd:
        self.ends += self.tracker.take_ended()
        assert len(self.ends) == 1
        assert self.ends[0][0] is self.job
        return self.ends[0][1]

    def running(self) -> bool:
        self.ends += self.tracker.take_ended()
        return not self.ends


def success(prompt_id: str = "id-1", **files: tuple[FileRef, ...]) -> HistoryEntry:
    saved = {node.removeprefix("n"): refs for node, refs in files.items()} or {"3": (LATENT,)}
    return HistoryEntry(prompt_id, Outcome.SUCCESS, saved, ("1",), 0.5, None)


def test_a_job_ends_with_executing_nothing_and_everything_in_hand() -> None:
    play = Play()
    play.run()
    end = play.end()
    assert end == Finished(
        "id-1", (Picture(PNG + b"\0", "png", "5"),), {"3": (LATENT,)}, ("2", "3", "4", "5"), 0.5
    )
    assert play.tracker.wake_at() == float("inf")


def test_success_alone_is_not_the_end() -> None:
    play = Play()
    play.run(end=False)
    assert play.running()


def test_pictures_keep_the_order_of_the_batch() -> None:
    play = Play(pictures=3)
    play.run(pictures=3)
    end = play.end()
    assert isinstance(end, Finished)
    assert [picture.data[-1] for picture in end.pictures] == [0, 1, 2]


def test_the_job_tells_that_it_runs_and_how_far() -> None:
    play = Play()
    assert not play.job.started
    play.hear(ExecutionStart("id-1", 0.0), Executing("id-1", "2"), Progress("id-1", "2", 1, 4))
    assert play.job.started
    assert play.job.progress == 0.25


def test_progress_stays_between_nothing_and_all_whatever_the_server_says() -> None:
    play = Play()
    play.hear(Progress("id-1", "2", -1e308, 1e-300))
    assert play.job.progress == 0.0
    play.hear(Progress("id-1", "2", 1e308, 1e-300))
    assert play.job.progress == 1.0


def test_time_stamps_that_make_no_sense_give_no_time() -> None:
    play = Play()
    play.hear(ExecutionStart("id-1", -1.7e308), Executed("id-1", "3", (LATENT,)))
    play.hear(PictureArrived(PNG, "png", "id-1", "5"), ExecutionSuccess("id-1", 1.7e308))
    play.hear(Executing("id-1", None))
    end = play.end()
    assert isinstance(end, Finished)
    assert end.engine_s == 0.0


def test_previews_of_the_sampler_are_not_pictures() -> None:
    play = Play()
    play.hear(Executing("id-1", "2"), PictureArrived(b"\xff\xd8\xff", "jpeg", "id-1", "2"))
    play.run()
    assert len(play.end().pictures) == 1  # type: ignore[union-attr]


def test_pictures_without_a_name_belong_to_the_job_that_spoke_last() -> None:
    play = Play()
    play.hear(Executing("id-1", "5"), PictureArrived(PNG, "png"), named=False)
    play.hear(Executed("id-1", "3", (LATENT,)), ExecutionSuccess("id-1", None), Executing("id-1", None))
    assert isinstance(play.end(), Finished)


def test_pictures_without_a_name_of_somebody_else_are_not_ours() -> None:
    play = Play()
    play.hear(Executing("id-1", "5"), Progress("foreign", "9", 0, 1), PictureArrived(PNG, "png"), named=False)
    assert play.attempt.pictures == {}


def test_pictures_without_a_name_are_never_ours_if_the_server_names_ours() -> None:
    play = Play()
    play.hear(Executing("id-1", "5"), PictureArrived(PNG, "png"), named=True)
    assert play.attempt.pictures == {}


def frame(number: int | None, prompt_id: str = "id-1", node: str = "8") -> PictureArrived:
    """A frame of our own streaming node; one without a number as servers send it that name no pictures."""
    if number is None:
        return PictureArrived(b"\xff\xd8\xff", "jpeg")
    return PictureArrived(b"\xff\xd8\xff" + bytes([number]), "jpeg", prompt_id, node, number)


def streaming(frames: int, *, listening: int | None = 1) -> Play:
    play = Play(graph=WALK, pictures=frames, listening=listening)
    play.hear(ExecutionStart("id-1", 0.0), Executing("id-1", "8"))
    return play


def test_frames_are_had_as_they_come_and_end_up_in_their_order() -> None:
    play = streaming(3)
    play.hear(frame(2), frame(0))
    assert [(job is play.job, place) for job, place, _ in play.tracker.take_arrived()] == [
        (True, 2),
        (True, 0),
    ]
    play.hear(frame(1), ExecutionSuccess("id-1", 100.0), Executing("id-1", None))
    assert [place for _, place, _ in play.tracker.take_arrived()] == [1]
    end = play.end()
    assert isinstance(end, Finished)
    assert [picture.data[-1] for picture in end.pictures] == [0, 1, 2]


def test_frames_that_came_twice_or_have_no_place_are_passed_over() -> None:
    play = streaming(2)
    play.hear(frame(1), frame(1), frame(7), PictureArrived(PNG, "png", "id-1", "8", -1))
    assert [place for _, place, _ in play.tracker.take_arrived()] == [1]


def test_frames_without_a_number_come_in_their_order() -> None:
    play = streaming(2)
    play.hear(frame(None), frame(None), named=False)
    assert [place for _, place, _ in play.tracker.take_arrived()] == [0, 1]


def test_only_the_frames_that_were_lost_are_asked_for_again() -> None:
    play = streaming(5)
    play.hear(frame(0), frame(3))
    play.tracker.listening = 2  # the socket died, and another one was opened
    play.answer(success("id-1"))
    action = play.act()
    assert isinstance(action, PostAgain)
    assert action.attempt.posted_graph()["8"]["inputs"] == {
        "walk": ["7", 0],
        "frames": "1, 2, 4",
        "to": "socket",
    }
    play.tracker.answered(action.attempt, play.now)
    play.hear(Executing("id-2", "8"), frame(1, "id-2"), frame(2, "id-2"), frame(4, "id-2"))
    play.hear(ExecutionSuccess("id-2", None), Executing("id-2", None))
    end = play.end()
    assert isinstance(end, Finished)
    assert [picture.data[-1] for picture in end.pictures] == [0, 1, 2, 3, 4]
    assert [place for _, place, _ in play.tracker.take_arrived()] == [0, 3, 1, 2, 4]


def test_a_walk_is_asked_for_as_often_as_it_goes_on_to_bring_frames() -> None:
    play = streaming(9)
    for number in range(7):
        prompt_id = f"id-{number + 1}"
        play.hear(Executing(prompt_id, "8"), frame(number, prompt_id))
        play.tracker.listening = number + 2
        play.answer(success(prompt_id))
        action = play.act()
        assert isinstance(action, PostAgain), number
        play.tracker.answered(action.attempt, play.now)
    for number in range(7, 10):  # and no longer, once it brings none
        play.tracker.listening = number + 2
        play.answer(success(f"id-{number + 1}"))
        if isinstance(action := play.act(), PostAgain):
            play.tracker.answered(action.attempt, play.now)
    end = play.end()
    assert isinstance(end, Failed)
    assert end.kind is FailureKind.NO_PICTURES


def test_a_walk_that_is_lost_when_all_its_frames_have_come_is_done() -> None:
    play = streaming(2)
    play.hear(frame(0), frame(1))
    play.tracker.listening = 2
    play.lose()
    assert play.last is None
    assert isinstance(play.end(), Finished)


def test_nobody_listening_makes_frames_wait_on_the_server() -> None:
    play = Play(graph=WALK, pictures=2, listening=None)
    assert play.attempt.posted_graph()["8"]["inputs"]["to"] == "temp"
    files = (FileRef("a.jpg", "", "temp"), FileRef("b.jpg", "", "temp"))
    play.answer(HistoryEntry("id-1", Outcome.SUCCESS, {"8": files}, (), 0.5, None))
    action = play.act()
    assert isinstance(action, Fetch)
    assert action.files == (("8", files[0]), ("8", files[1]))
    play.tracker.fetched("id-1", [Picture(bytes([number]), "jpeg", "8") for number in range(2)])
    assert [place for _, place, _ in play.tracker.take_arrived()] == [0, 1]
    end = play.end()
    assert isinstance(end, Finished)
    assert end.files == {}


def test_an_error_ends_it_with_the_node_that_raised_it() -> None:
    play = Play()
    play.hear(ExecutionError("id-1", "2", "KSampler", "boom", "ValueError"), Executing("id-1", None))
    assert play.end() == Failed("id-1", FailureKind.EXECUTION, "ValueError: boom", "2", "KSampler")


@pytest.mark.parametrize(
    ("kind", "message"),
    [("torch.OutOfMemoryError", "Allocation on device"), ("RuntimeError", "CUDA out of memory. Tried")],
)
def test_an_error_that_speaks_of_memory_is_told_apart(kind: str, message: str) -> None:
    play = Play()
    play.hear(ExecutionError("id-1", "2", "KSampler", message, kind), Executing("id-1", None))
    end = play.end()
    assert isinstance(end, Failed)
    assert end.kind is FailureKind.OUT_OF_MEMORY


def test_an_interrupt_by_others_is_tried_once_more_under_a_new_id() -> None:
    play = Play()
    play.hear(ExecutionInterrupted("id-1", "2", "KSampler"), Executing("id-1", None))
    again = play.act()
    assert isinstance(again, PostAgain)
    assert (again.attempt.prompt_id, again.instead_of) == ("id-2", "id-1")
    assert play.job.prompt_id == "id-2"
    play.tracker.answered(again.attempt, play.now)
    play.hear(ExecutionInterrupted("id-2", "2", "KSampler"), Executing("id-2", None))
    assert play.end() == Interrupted("id-2")


def test_our_own_cancel_ends_it_at_once_and_is_not_tried_again() -> None:
    play = Play()
    assert play.tracker.cancel(play.job) == "id-1"
    play.hear(ExecutionInterrupted("id-1", "2", "KSampler"), Executing("id-1", None))
    assert play.end() == Interrupted("id-1")
    assert play.tracker.cancel(play.job) is None
    assert play.act() is None


def test_a_heard_job_is_left_alone_while_there_is_news() -> None:
    play = Play()
    for _ in range(10):
        play.now += 0.9
        play.hear(Progress("id-1", "2", 1, 9))
        assert play.tracker.next_action(play.now) is None


def test_a_job_without_news_for_a_second_is_looked_up() -> None:
    play = Play()
    asked = play.answer(None, queued=True)
    assert play.now == pytest.approx(101.0)
    assert asked == LookUp("id-1", queue_too=True)
    assert play.running()


def test_the_end_marker_may_stay_away_once_success_was_heard() -> None:
    play = Play()
    play.run(end=False)
    play.answer(success())
    assert play.now - 100.0 <= 0.3
    assert isinstance(play.end(), Finished)


def test_an_end_nobody_told_of_is_found_in_the_history() -> None:
    play = Play()
    play.hear(PictureArrived(PNG, "png", "id-1", "5"))
    play.answer(success())
    end = play.end()
    assert isinstance(end, Finished)
    assert end.files == {"3": (LATENT,)}
    assert end.engine_s == 0.5


def test_nodes_that_ran_are_told_by_the_history_if_the_socket_did_not() -> None:
    play = Play(pictures=0)
    play.answer(success())
    end = play.end()
    assert isinstance(end, Finished)
    assert end.executed == ("2", "3", "4", "5"), "not the cached loader, nor the text that nothing hangs on"


@pytest.mark.parametrize("name", ["history_execution_error_corrupt_image", "history_execution_interrupted"])
def test_a_bad_end_is_found_in_the_history(name: str) -> None:
    play = Play()
    body = recorded(name)
    (recorded_id,) = body
    play.answer(history_entry(body, recorded_id))
    if "interrupted" in name:
        assert isinstance(play.act(), PostAgain)
    else:
        assert isinstance(play.end(), Failed)


def test_files_missing_at_the_end_are_asked_for() -> None:
    play = Play()
    play.hear(
        PictureArrived(PNG, "png", "id-1", "5"), ExecutionSuccess("id-1", None), Executing("id-1", None)
    )
    assert play.running()
    play.answer(success())
    assert play.now == 100.0, "at once"
    assert isinstance(play.end(), Finished)


def test_success_without_its_pictures_is_posted_again_under_a_new_id() -> None:
    play = Play()
    play.run(pictures=0, end=False)
    play.tracker.listening = 2
    play.answer(success())
    again = play.act()
    assert isinstance(again, PostAgain)
    assert again.attempt.connection == 2
    play.tracker.answered(again.attempt, play.now)
    play.run("id-2")
    assert isinstance(play.end(), Finished)
    assert play.tracker.reposts == 1


def test_a_socket_that_kept_the_pictures_back_is_not_trusted_with_them_again() -> None:
    play = Play()
    play.run(pictures=0)
    play.answer(success())
    again = play.act()
    assert isinstance(again, PostAgain)
    assert again.attempt.by_preview


def test_it_is_not_posted_for_ever_for_its_pictures() -> None:
    play = Play()
    for number in (1, 2, 3):
        play.run(f"id-{number}", pictures=0, end=False)
        play.tracker.listening = number + 1
        play.answer(success(f"id-{number}"))
        if number < 3:
            again = play.act()
            assert isinstance(again, PostAgain)
            play.tracker.answered(again.attempt, play.now)
    end = play.end()
    assert isinstance(end, Failed)
    assert end.kind is FailureKind.NO_PICTURES


def test_pictures_still_on_their_way_are_waited_for() -> None:
    play = Play(pictures=2)
    play.hear(PictureArrived(PNG, "png", "id-1", "5"))
    play.now += 0.1
    play.tracker.looked_up("id-1", success(), None, play.now)
    assert play.running()
    play.run(pictures=1)
    assert isinstance(play.end(), Finished)


def test_nobody_listening_makes_pictures_wait_on_the_server() -> None:
    play = Play(listening=None)
    posted = play.attempt.posted_graph()
    assert posted["5"] == {"class_type": "PreviewImage", "inputs": {"images": ["4", 0]}}
    assert GRAPH["5"]["class_type"] == "SaveImageWebsocket"
    play.answer(success(n3=(LATENT,), n5=(PREVIEW,)))
    assert play.now - 100.0 <= 0.11, "what cannot be heard is asked for often"
    fetch = play.act()
    assert fetch == Fetch("id-1", (("5", PREVIEW),))
    play.tracker.fetched("id-1", [Picture(PNG, "png", "5")])
    end = play.end()
    assert isinstance(end, Finished)
    assert end.files == {"3": (LATENT,)}, "the previews are no files that the caller asked for"


def test_pictures_that_are_gone_from_the_server_are_a_failure_and_no_loop() -> None:
    play = Play(listening=None)
    play.answer(success(n3=(LATENT,), n5=(PREVIEW,)))
    assert isinstance(play.act(), Fetch)
    play.tracker.fetched("id-1", [])
    end = play.end()
    assert isinstance(end, Failed)
    assert end.kind is FailureKind.NO_PICTURES


def test_a_socket_gone_deaf_makes_the_same_graph_come_again_by_preview() -> None:
    play = Play()
    play.tracker.listening = None
    play.answer(success())
    again = play.act()
    assert isinstance(again, PostAgain)
    assert again.attempt.by_preview


def test_a_job_of_an_older_connection_is_polled_often() -> None:
    play = Play()
    play.tracker.listening = 2
    play.answer(None, queued=True)
    assert play.now - 100.0 <= 0.11


def test_unheard_jobs_behind_the_first_wait_their_turn() -> None:
    play = Play(listening=None)
    _, second = play.tracker.add(GRAPH, 1, 500.0, play.now)
    play.tracker.answered(second, play.now)
    asked = [play.answer(None, queued=True).prompt_id for _ in range(12)]
    assert asked.count("id-2") <= 1


def test_the_queue_is_asked_once_a_second_at_most() -> None:
    play = Play(listening=None)
    asked_at = []
    for _ in range(30):
        if play.answer(None, queued=True).queue_too:
            asked_at.append(play.now)
    assert all(later - earlier >= 1.0 for earlier, later in itertools.pairwise(asked_at))
    assert len(asked_at) >= 2


def test_two_misses_a_second_apart_are_a_loss_and_it_is_posted_again() -> None:
    play = Play()
    play.lose()
    assert isinstance(play.last, PostAgain)
    assert 2.0 <= play.now - 100.0 <= 3.5
    play.tracker.answered(play.last.attempt, play.now)
    play.run("id-2")
    assert isinstance(play.end(), Finished)


def test_one_miss_is_no_loss() -> None:
    play = Play()
    play.answer(None, queued=False)
    play.answer(None, queued=True)
    play.answer(None, queued=False)
    assert play.running()
    assert isinstance(play.act(), LookUp)


def test_a_second_loss_is_the_end() -> None:
    play = Play()
    play.lose()
    play.tracker.answered(play.last.attempt, play.now)
    play.lose()
    end = play.end()
    assert isinstance(end, Failed)
    assert (end.prompt_id, end.kind) == ("id-2", FailureKind.LOST)


def test_what_the_old_id_says_after_all_is_not_listened_to() -> None:
    play = Play()
    play.lose()
    play.run("id-1")
    assert play.running()


def test_a_deadline_passed_is_a_failure_and_the_job_is_taken_from_the_server() -> None:
    play = Play(deadline_s=5.0)
    while play.now < 105.0:
        play.hear(Progress("id-1", "2", 1, 9))
        play.now += 0.5
    assert play.tracker.next_action(play.now) == Cancel("id-1")
    end = play.end()
    assert isinstance(end, Failed)
    assert end.kind is FailureKind.DEADLINE


def test_a_deadline_passed_on_a_server_that_is_away_says_so_and_the_cancel_waits() -> None:
    play = Play(deadline_s=5.0)
    while play.running():
        play.now = play.tracker.wake_at()
        action = play.tracker.next_action(play.now)
        if action is not None:
            play.tracker.reachable = False
            if isinstance(action, Cancel):
                play.tracker.cancel_failed(action, play.now)
            else:
                play.tracker.back_off(play.now)
    end = play.end()
    assert isinstance(end, Failed)
    assert end.kind is FailureKind.UNREACHABLE
    assert play.now == pytest.approx(105.0), "on the second, whatever the back-off"
    assert isinstance(play.act(), Cancel)


def test_a_cancel_that_is_never_answered_does_not_keep_other_jobs_from_being_looked_up() -> None:
    play = Play()
    play.tracker.cancel_failed(Cancel("older"), play.now)
    asked_at, cancelled = [], 0
    for _ in range(40):
        action = play.act()
        play.now += 2.0  # the time that an unanswered call takes
        if isinstance(action, Cancel):
            play.tracker.reachable = False
            cancelled += play.tracker.cancel_failed(action, play.now)
        else:
            assert isinstance(action, LookUp)
            asked_at.append(play.now)
            play.tracker.answer_came()
            play.tracker.looked_up("id-1", None, True, play.now)
    assert all(later - earlier < 6.0 for earlier, later in itertools.pairwise(asked_at))
    assert cancelled == 4, "then it is given up"


def test_a_cancel_waits_for_a_server_that_is_away_however_long() -> None:
    play = Play()
    play.tracker.cancel(play.job)
    play.tracker.cancel_failed(Cancel("id-1"), play.now)
    for _ in range(100):
        action = play.act()
        assert isinstance(action, Cancel)
        assert play.tracker.cancel_failed(action, play.now)
    assert play.now - 100.0 > 300.0, "ever more slowly"
    play.tracker.answer_came()
    assert isinstance(play.act(), Cancel)
    assert play.tracker.wake_at() == float("inf")


def test_calls_about_jobs_that_fail_do_not_make_a_cancel_wait() -> None:
    play = Play()
    play.tracker.back_off(play.now)
    play.tracker.cancel_failed(Cancel("older"), play.now - 1.0)
    assert play.tracker.next_action(play.now) == Cancel("older", tries=1)


def test_a_deadline_in_the_middle_of_a_post_counts_too() -> None:
    play = Play()
    job, attempt = play.tracker.add(GRAPH, 1, play.now + 1.0, play.now)
    assert not attempt.answered
    play.tracker.expire(play.now + 1.0)
    assert [ended for ended, _ in play.tracker.take_ended()] == [job]


def test_calls_without_an_answer_are_repeated_ever_more_slowly() -> None:
    play = Play(listening=None)
    waits = []
    for _ in range(5):
        assert play.act() is not None
        before = play.now
        play.tracker.back_off(before)
        waits.append(play.tracker.wake_at() - before)
    assert waits == pytest.approx([0.5, 1.0, 2.0, 4.0, 4.0])


def test_a_job_is_not_asked_for_before_its_post_is_answered() -> None:
    play = Play()
    play.run()
    play.end()
    play.tracker.add(GRAPH, 1, play.now + 50.0, play.now)
    assert play.tracker.next_action(play.now + 10.0) is None


def test_an_end_may_come_before_the_answer_to_the_post() -> None:
    play = Play()
    play.tracker.remove(play.attempt)
    job, attempt = play.tracker.add(GRAPH, 1, play.now + 50.0, play.now)
    play.run(attempt.prompt_id)
    play.tracker.answered(attempt, play.now)
    ((ended, end),) = play.tracker.take_ended()
    assert ended is job
    assert isinstance(end, Finished)


def test_a_post_again_that_reached_nobody_is_made_later_under_yet_another_id() -> None:
    play = Play()
    play.lose()
    assert isinstance(play.last, PostAgain)
    play.tracker.not_posted(play.last.attempt)
    play.tracker.back_off(play.now)
    again = play.act()
    assert isinstance(again, PostAgain)
    assert again.attempt.prompt_id == "id-3"
    play.tracker.answered(again.attempt, play.now)
    assert isinstance(play.act(), LookUp)


def test_a_post_again_that_is_refused_is_a_failure() -> None:
    play = Play()
    play.lose()
    assert isinstance(play.last, PostAgain)
    play.tracker.refused(play.last.attempt, "no such file")
    end = play.end()
    assert isinstance(end, Failed)
    assert end.kind is FailureKind.REJECTED


def test_closing_ends_everything_and_names_what_is_to_be_taken_back() -> None:
    play = Play()
    play.tracker.cancel_failed(Cancel("older"), play.now)
    assert play.tracker.close() == ["older", "id-1"]
    end = play.end()
    assert isinstance(end, Failed)
    assert end.kind is FailureKind.CLOSED


@pytest.mark.parametrize("mute", range(1, 40))
def test_however_many_messages_are_lost_the_job_ends_exactly_once(mute: int) -> None:
    """Recorded events with every ``mute``-th one lost; the history knows the truth all along."""
    play = Play(pictures=0)
    (history,) = recorded("history_img2img_previewimage").values()
    recorded_id = history["prompt"][1]
    play.tracker.remove(play.attempt)
    ids = iter([recorded_id, "again-1", "again-2"])
    tracker = JobTracker(lambda: next(ids))
    tracker.listening = 1
    job, attempt = tracker.add(history["prompt"][2], 0, 400.0, 100.0)
    tracker.answered(attempt, 100.0)
    now, ended = 100.0, []
    texts = [entry["text"] for entry in recorded("ws_img2img_websocket-0.33.0") if "text" in entry]
    for number, text in enumerate(texts):
        if number % mute:
            event = parse_text(_renamed(text, recorded_id))
            tracker.hear(event, now, named_pictures=True)
        ended += tracker.take_ended()
    for _ in range(20):
        now = max(now, min(tracker.wake_at(), 1e9))
        action = tracker.next_action(now)
        if isinstance(action, LookUp):
            entry = history_entry(recorded("history_img2img_previewimage"), recorded_id)
            tracker.looked_up(action.prompt_id, entry, None, now)
        ended += tracker.take_ended()
    assert [one for one, _ in ended] == [job]
    assert isinstance(ended[0][1], Finished)


def _renamed(message: dict[str, Any], prompt_id: str) -> str:
    if "prompt_id" in message["data"]:
        message = {**message, "data": {**message["data"], "prompt_id": prompt_id}}
    return json.dumps(message)


def test_a_job_posted_by_preview_asks_for_its_nodes_in_order() -> None:
    graph = {**GRAPH, "50": {"class_type": "SaveImageWebsocket", "inputs": {"images": ["4", 0]}}}
    attempt = Attempt("id", graph, 2, None, 0.0)
    attempt.files = {"50": (PREVIEW,), "5": (FileRef("a.png", "", "temp"), FileRef("b.png", "", "temp"))}
    assert [file.filename for _, file in attempt.previews] == ["a.png", "b.png", "preview_00001_.png"]


def test_jobs_that_went_well_are_taken_from_the_history_many_at_once() -> None:
    play = Play()
    play.run()
    for number in range(2, 17):
        assert play.tracker.next_action(play.now) is None
        _, attempt = play.tracker.add(GRAPH, 1, play.now + 300.0, play.now)
        play.tracker.answered(attempt, play.now)
        play.run(f"id-{number}")
    forget = play.act()
    assert forget == Forget(tuple(f"id-{number}" for number in range(1, 17)))
    assert play.tracker.next_action(play.now) is None
