"""F36: months of dream in minutes, with everything that goes wrong in them at random, from a seed."""

from __future__ import annotations

import contextlib
import json
import logging
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import pytest

from tests.soak.dreamer import BUDGETS_MB, FPS, PACE, REST_MB, Dreamer
from tests.soak.gauges import MOST_OURS, Sample, Sampler, SoakWatch, slope_a_minute
from tests.soak.mischief import ALL, Mischief
from tests.soak.plot import plot

log = logging.getLogger(__name__)

MOST_MB_AN_HOUR = 1.0
WITH_ENDS = 0.4
"""Share of the time in which lives end; the last then has a tenth to warm up, and is measured over a half."""
MEASURED_FROM = 0.5
_TOLD_AFTER_MINUTES = 5.0
"""A process that is younger still fills its caches, and its memory of pictures."""
_PAUSE_S = (1.0, 6.0)
_LINES_A_MINUTE = 120


@dataclass
class Story:
    """What happened.

    Attributes:
        deeds: When, what, and whether a life ended by it.
        recovered_s: How long the dream took to go on after each sort of mischief, its own time included.
    """

    deeds: list[tuple[float, str, bool]] = field(default_factory=list)
    recovered_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


def soak(dreamer: Dreamer, sampler: Sampler, minutes: float, rng: random.Random) -> Story:
    """Does one thing after the other, and waits each time until the dream goes on by itself."""
    story, end_s = Story(), minutes * 60.0
    while sampler.now_s < end_s:
        time.sleep(rng.uniform(*_PAUSE_S))
        done = drawn(rng, may_end=sampler.now_s < WITH_ENDS * end_s)
        began = sampler.now_s
        story.deeds.append((began, done.name, done.ends_life))
        number = dreamer.until(lambda _: True)["dream"]["number"]
        done.do(dreamer, rng)
        dreamer.dreams_on(number)
        story.recovered_s[done.name].append(sampler.now_s - began)
    return story


def drawn(rng: random.Random, *, may_end: bool) -> Mischief:
    choice = [one for one in ALL if may_end or not one.ends_life]
    return rng.choices(choice, [one.weight for one in choice])[0]


Row = tuple[str, str, str, bool]


def rows(dreamer: Dreamer, sampler: Sampler, story: Story, minutes: float, lines: int) -> Iterator[Row]:
    """What, how much, what is wished, and whether that holds."""
    samples = sampler.samples
    last = [
        one for one in samples if one.life == samples[-1].life and one.at_s >= MEASURED_FROM * minutes * 60
    ]
    at_s = [one.at_s for one in last]
    shown, dreamt = samples[-1].frame - samples[0].frame, samples[-1].keyframe - samples[0].keyframe
    yield "minutes, each an hour of dream", f"{samples[-1].at_s / 60:.1f}", "", True
    yield "frames shown, keyframes", f"{shown:,}, {dreamt:,}", "", True
    yield "the same at the pace of the defaults", f"{dreamt * 4 / 3600:.1f} hours", "", True
    yield "lives of the daemon, mischief", f"{samples[-1].life + 1}, {len(story.deeds)}", "", True
    minutes_measured = (at_s[-1] - at_s[0]) / 60
    slope = slope_a_minute(at_s, [one.daemon_mb for one in last])
    what = f"RSS slope of the daemon over the last {minutes_measured:.1f} min, MB an hour of dream"
    is_told = minutes_measured >= _TOLD_AFTER_MINUTES
    wish = f"below {MOST_MB_AN_HOUR:g}" if is_told else "(too short to tell)"
    yield what, f"{slope:+.3f}", wish, slope < MOST_MB_AN_HOUR or not is_told
    ends = [one.daemon_mb for one in last]
    yield "    its RSS there, least to most, MB", f"{min(ends):.1f} to {max(ends):.1f}", "", True
    tenth = max(1, len(ends) // 10)
    grown = (median(ends[-tenth:]) - median(ends[:tenth])) / max(0.9 * minutes_measured, 1 / 60)
    yield (
        "    from its first tenth to its last, steps included, MB an hour of dream",
        f"{grown:+.3f}",
        "",
        True,
    )
    for name in ("engine_mb", "pages_mb"):
        points = [(one.at_s, getattr(one, name)) for one in last if getattr(one, name)]
        own = slope_a_minute(*zip(*points, strict=True)) if points else 0.0
        yield (
            f"    {name.removesuffix('_mb')} (killed on the way), MB an hour of dream",
            f"{own:+.3f}",
            "",
            True,
        )
    first, final = files_of(last)
    yield "open files, first and last minute", f"{first}, {final}", "+0", final <= first
    budget = sum(BUDGETS_MB.values()) + REST_MB
    disk = max(one.disk_mb for one in samples)
    yield "disk at most, MB", f"{disk:.1f}", f"at most {budget}", disk <= budget
    yield (
        "engine's folders, first and last minute, MB",
        _ends([one.engine_disk_mb for one in samples]),
        "",
        True,
    )
    watch = sampler.watch
    still = f"{watch.looks:,}, {watch.longest_still_s:.1f}"
    yield "looks of a display; the same frame for s at most (a start of the daemon)", still, "", True
    gaps = sampler.gaps()
    yield f"sequence numbers missing of {len(sampler.frames):,}", f"{len(gaps)}", "0", not gaps
    ours, most = tuple(sampler.most_ours), MOST_OURS
    fits = all(one <= limit for one, limit in zip(ours, most, strict=True))
    yield (
        "our jobs at the engine at most, running, waiting",
        f"{ours[0]}, {ours[1]}",
        f"{most[0]}, {most[1]}",
        fits,
    )
    a_minute = lines / minutes
    yield (
        "lines logged a minute",
        f"{a_minute:.0f}",
        f"at most {_LINES_A_MINUTE}",
        a_minute <= _LINES_A_MINUTE,
    )
    clean = all(end in (0, -signal.SIGKILL) for end in dreamer.ends)
    yield (
        "exit statuses",
        ", ".join(f"{end}: {n}" for end, n in Counter(dreamer.ends).items()),
        "0, -9",
        clean,
    )
    for name, took in sorted(story.recovered_s.items()):
        told = f"{median(took):.1f}, {max(took):.1f}"
        yield f"{name} ({len(took)}): going on after s, median, worst", told, "by itself", True


def files_of(last: list[Sample]) -> tuple[int, int]:
    """Open files at the beginning and at the end, while all was well; a kept connection is none."""
    calm = [one for one in last if one.well]
    part = max(1, len(calm) // 10)
    return min(one.files for one in calm[:part]), min(one.files for one in calm[-part:])


def _ends(values: list[float]) -> str:
    part = max(1, len(values) // 10)
    return f"{max(values[:part]):.1f}, {max(values[-part:]):.1f}"


@pytest.mark.soak
@pytest.mark.timeout(36_000)
def test_f36_whatever_happens_the_picture_is_there_and_nothing_grows(
    tmp_path: Path, pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]
) -> None:
    minutes, seed = (
        float(pytestconfig.getoption("--soak-minutes")),
        int(pytestconfig.getoption("--soak-seed")),
    )
    with Dreamer(tmp_path) as dreamer, contextlib.ExitStack() as stack:
        dreamer.start()
        dreamer.until(lambda now: now["dream"]["number"] >= 3)
        watch = stack.enter_context(SoakWatch(dreamer))
        sampler = stack.enter_context(Sampler(dreamer, watch))
        story = soak(dreamer, sampler, minutes, random.Random(seed))
        time.sleep(2.0)
        sampler.__exit__()
        assert dreamer.end(signal.SIGTERM) == 0, dreamer.said()
    said = dreamer.log.read_text(errors="replace")
    table = list(rows(dreamer, sampler, story, minutes, said.count("\n")))
    title = f"Soak of {minutes:g} minutes at {PACE} times the pace ({FPS} frames/s), seed {seed}"
    with capsys.disabled():
        print(f"\n{title}\n{'what':<82}{'measured':>20}   wished")  # noqa: T201
        for what, measured, wished, holds in table:
            print(f"{what:<82}{measured:>20}   {wished}{'' if holds else '   MISSED'}")  # noqa: T201
    target = Path(pytestconfig.getoption("--soak-plot") or tmp_path / "soak.png")
    plot(sampler.samples, story.deeds, title, target)
    measured_too = {"samples": [asdict(one) for one in sampler.samples], "deeds": story.deeds}
    target.with_suffix(".json").write_text(json.dumps(measured_too))
    assert sampler.failed == []
    assert "Traceback" not in said, said[said.index("Traceback") - 500 :][:3000]
    missed = [row for row in table if not row[-1]]
    assert missed == [], sampler.gaps()[:20]
