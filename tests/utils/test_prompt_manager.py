from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pytest

from backend.errors import PromptsError
from backend.utils.prompt_manager import PromptManager

NOON = datetime(2026, 1, 1, 12)
NIGHT = datetime(2026, 1, 1, 23)
HOUSE_THEMES = Path(__file__).parents[2] / "prompts"


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.yaml"
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text, encoding="utf-8")
    stamp = max(path.stat().st_mtime_ns, before + 1_000_000)
    os.utime(path, ns=(stamp, stamp))
    return path


def manager(
    folder: Path, order: Literal["shuffled", "sequential"] = "sequential", seed: int = 1
) -> PromptManager:
    return PromptManager(
        folder, seconds_per_theme=300, seconds_per_prompt=60, order=order, rng=random.Random(seed)
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "a", "positive: [a1, a2, a3]\nnegative: not a\nmodifiers: {night: [moon, stars]}")
    write(tmp_path, "b", "positive: b1\nnegative: not b\nweight: 3")
    write(tmp_path, "c", "positive: [c1, c2]\n")
    return tmp_path


def test_sequential_order_goes_through_themes_and_prompts_by_seconds(folder: Path) -> None:
    prompts = manager(folder)
    seen = [prompts.current(now, NOON).positive for now in (0, 59, 60, 120, 180, 299, 300, 600, 900)]
    assert seen == ["a1", "a1", "a2", "a3", "a1", "a2", "b1", "c1", "a1"]


def test_pictures_beside_the_dream_go_through_the_words_of_its_theme_and_turn_nothing(folder: Path) -> None:
    prompts = manager(folder)
    assert prompts.current(0, NOON).positive == "a1"
    beside = [prompts.beside(10_000, NOON) for _ in range(4)]
    assert [one.positive for one in beside] == ["a1", "a2", "a3", "a1"]
    assert {(one.theme, one.negative) for one in beside} == {("a", "not a")}
    assert prompts.current(59, NOON).positive == "a1"
    prompts.skip(59)
    assert prompts.beside(59, NOON).positive == "b1"


def test_pictures_beside_the_dream_begin_with_its_present_words_and_wear_its_modifier(folder: Path) -> None:
    prompts = manager(folder)
    prompts.current(0, NIGHT)
    assert prompts.beside(1, NIGHT) == prompts.current(1, NIGHT)
    prompts.say("a red door", 100, 2)
    assert prompts.beside(3, NIGHT).positive == "a red door"


def test_each_theme_brings_its_own_negative(folder: Path) -> None:
    prompts = manager(folder)
    assert [prompts.current(now, NOON).negative for now in (0, 300, 600)] == ["not a", "not b", ""]


def test_shuffled_order_never_repeats_a_theme_and_heeds_weights(folder: Path) -> None:
    prompts = manager(folder, "shuffled")
    seen = [prompts.current(now * 300.0, NOON).theme for now in range(600)]
    assert all(a != b for a, b in pairwise(seen))
    counts = Counter(seen)
    assert set(counts) == {"a", "b", "c"}
    assert counts["b"] > 1.2 * counts["a"]


def test_shuffled_prompts_do_not_repeat_within_a_theme(folder: Path) -> None:
    (folder / "b.yaml").unlink()
    (folder / "c.yaml").unlink()
    prompts = manager(folder, "shuffled")
    seen = [prompts.current(now * 60.0, NOON).positive for now in range(5)]
    assert all(a != b for a, b in pairwise(seen))


def test_the_same_seed_gives_the_same_dream(folder: Path) -> None:
    one, other = manager(folder, "shuffled", 7), manager(folder, "shuffled", 7)
    assert [one.current(t * 60.0, NIGHT) for t in range(50)] == [
        other.current(t * 60.0, NIGHT) for t in range(50)
    ]


def test_a_modifier_joins_by_time_of_day_and_does_not_flicker(folder: Path) -> None:
    prompts = manager(folder)
    assert prompts.current(0, NOON).positive == "a1"
    at_night = {prompts.current(1 + second, NIGHT).positive for second in range(50)}
    assert len(at_night) == 1
    assert at_night <= {"a1, moon", "a1, stars"}


def test_skip_goes_on_to_the_next_theme_for_its_full_time(folder: Path) -> None:
    prompts = manager(folder)
    prompts.current(0, NOON)
    prompts.skip(100)
    assert prompts.current(100, NOON).theme == "b"
    assert prompts.current(399, NOON).theme == "b"
    assert prompts.current(400, NOON).theme == "c"


def test_an_only_theme_may_follow_itself(tmp_path: Path) -> None:
    write(tmp_path, "a", "positive: a1")
    prompts = manager(tmp_path, "shuffled")
    prompts.skip(0)
    assert prompts.current(0, NOON).theme == "a"


def test_a_good_edit_counts_at_once_and_keeps_the_place(folder: Path) -> None:
    prompts = manager(folder)
    prompts.current(60, NOON)
    write(folder, "a", "positive: [x1, x2]\nnegative: new")
    assert prompts.reload() == ()
    assert prompts.current(61, NOON).positive == "x1"
    assert prompts.current(61, NOON).negative == "new"


def test_a_bad_edit_keeps_the_old_theme_and_reports_until_it_is_mended(folder: Path) -> None:
    prompts = manager(folder)
    prompts.current(0, NOON)
    write(folder, "a", "positive: [oops\n")
    assert "a.yaml" in str(prompts.reload()[0])
    assert prompts.reload() == prompts.reload() != ()
    assert prompts.current(1, NOON).positive == "a1"
    write(folder, "a", "positive: mended")
    assert prompts.reload() == ()
    assert prompts.current(2, NOON).positive == "mended"


def test_themes_may_come_and_go_while_running(folder: Path) -> None:
    prompts = manager(folder)
    prompts.current(0, NOON)
    write(folder, "d", "positive: d1")
    (folder / "a.yaml").unlink()
    assert prompts.reload() == ()
    assert prompts.themes == ("b", "c", "d")
    assert prompts.current(1, NOON).theme in prompts.themes


def test_the_last_themes_are_kept_when_all_files_vanish(folder: Path) -> None:
    prompts = manager(folder)
    for path in folder.iterdir():
        path.unlink()
    assert prompts.reload()
    assert prompts.current(0, NOON).theme == "a"
    folder.rmdir()
    assert "prompts.folder" in str(prompts.reload()[0])
    assert prompts.current(0, NOON).theme == "a"


def test_reload_reads_no_file_that_did_not_change(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = manager(folder)
    monkeypatch.setattr("backend.utils.prompt_manager.read_theme", lambda path: pytest.fail(f"read {path}"))
    assert prompts.reload() == ()


def test_every_problem_of_every_file_comes_in_one_error(folder: Path) -> None:
    write(folder, "x", "positiv: a")
    write(folder, "y", "positive: b\nweight: -1")
    write(folder, "z", "name: a\npositive: b")
    with pytest.raises(PromptsError) as caught:
        manager(folder)
    text = str(caught.value)
    assert "x.yaml:1: positiv: not a key of a theme; did you mean positive?" in text
    assert "y.yaml:2: weight = -1" in text
    assert "z.yaml:1: name = a" in text


def test_a_missing_or_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(PromptsError, match=r"nowhere.*No such"):
        manager(tmp_path / "nowhere")
    with pytest.raises(PromptsError, match="at least one theme"):
        manager(tmp_path)


def test_the_house_has_at_least_eight_themes_with_their_own_words() -> None:
    prompts = manager(HOUSE_THEMES)
    assert len(prompts.themes) >= 8
    firsts = []
    for index, _ in enumerate(prompts.themes):
        firsts.append(prompts.current(index * 300.0, NIGHT))
    assert len({prompt.positive for prompt in firsts}) == len(firsts)
    assert len({prompt.negative for prompt in firsts}) == len(firsts)
    assert all(prompt.negative for prompt in firsts)


def test_other_times_and_order_hold_from_the_next_prompt_on_and_the_theme_stays(folder: Path) -> None:
    prompts = manager(folder)
    assert prompts.current(0, NOON).positive == "a1"
    prompts.use(folder, seconds_per_theme=20, seconds_per_prompt=10, order="sequential")
    assert [prompts.current(now, NOON).positive for now in (9, 10, 20, 40)] == ["a1", "a2", "b1", "c1"]
    prompts.use(folder, seconds_per_theme=20, seconds_per_prompt=10, order="shuffled")
    assert prompts.current(41, NOON).theme == "c"
    drawn = {prompts.current(41 + 20 * turn, NOON).theme for turn in range(1, 9)}
    assert drawn == {"a", "b", "c"}


def test_another_folder_holds_at_once_and_a_theme_that_it_has_too_goes_on(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    prompts = manager(folder)
    prompts.current(0, NOON)
    other = tmp_path_factory.mktemp("other")
    write(other, "a", "positive: other a")
    write(other, "d", "positive: d1")
    prompts.use(other, seconds_per_theme=300, seconds_per_prompt=60, order="sequential")
    assert prompts.themes == ("a", "d")
    assert (prompts.current(1, NOON).positive, prompts.folder) == ("other a", other)
    write(other, "d", "positive: d2")
    assert prompts.reload() == ()
    assert prompts.current(300, NOON).positive == "d2"


def test_a_folder_that_cannot_be_used_leaves_all_as_it_was(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    prompts = manager(folder)
    other = tmp_path_factory.mktemp("other")
    write(other, "bad", "positive: []")
    with pytest.raises(PromptsError, match="at least one prompt"):
        prompts.use(other, seconds_per_theme=5, seconds_per_prompt=5, order="shuffled")
    assert (prompts.folder, prompts.themes) == (folder, ("a", "b", "c"))
    assert prompts.current(20, NOON).positive == "a1"


def test_a_turn_goes_on_in_another_run_by_another_clock(folder: Path) -> None:
    first, second = manager(folder), manager(folder, seed=2)
    night = [first.current(now, NIGHT).positive for now in (100.0, 340.0)]
    second.go_on(first.turn(340.0), 9000.0)
    assert second.current(9000.0, NIGHT).positive == night[-1]
    seen = [second.current(9000.0 + later, NOON).positive for later in (0, 10, 59, 60, 360)]
    assert seen == [first.current(340.0 + later, NOON).positive for later in (0, 10, 59, 60, 360)]


def test_a_turn_before_the_first_prompt_is_a_first_prompt(folder: Path) -> None:
    first, second = manager(folder), manager(folder)
    second.go_on(first.turn(77.0), 9000.0)
    assert second.current(9000.0, NOON).positive == "a1"


def test_a_theme_or_a_prompt_that_is_gone_makes_way_for_another(folder: Path) -> None:
    first = manager(folder)
    first.current(0.0, NOON)
    turn = first.turn(130.0)
    second = manager(folder)
    second.go_on(replace(turn, prompt=99, prompt_s=0.0), 0.0)
    assert second.current(0.0, NOON).positive == "a3"
    second.go_on(replace(turn, theme="forgotten", part="teatime", draw=0.5), 0.0)
    assert second.current(0.0, NOON).positive == "a1"
