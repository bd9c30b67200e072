from __future__ import annotations

import pytest

from benchmarks import paced, pacing


def test_engine_time_is_that_of_frames_and_jobs_and_if_wished_of_keyframes() -> None:
    one = pacing.Cost([b"a", b"b"], frames=100, jobs=4, dream_s=10.0)
    between_s = 100 * paced.DECODE_S + 4 * 0.01
    assert one.engine_s(0.01, keyframes=False) == pytest.approx(between_s / 10)
    whole_s = between_s + 2 * (paced.KEYFRAME_S + 0.01)
    assert one.engine_s(0.01, keyframes=True) == pytest.approx(whole_s / 10)


@pytest.mark.long
def test_both_pacings_dream_the_same_keyframes_and_the_eye_asks_more_often() -> None:
    uniform, seen = pacing.cost("uniform", 2), pacing.cost("perceptual", 2)
    assert uniform.keyframes == seen.keyframes
    assert uniform.jobs < seen.jobs
    assert min(uniform.frames, seen.frames) > 0
