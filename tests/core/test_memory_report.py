from __future__ import annotations

from dataclasses import fields

import pytest

from backend.cache.collapse import CollapseState
from backend.core.memory_report import collapse_status
from backend.utils.status_schema import CollapseStatus


def test_all_that_the_detector_knows_is_told() -> None:
    assert set(CollapseStatus.model_fields) == {one.name for one in fields(CollapseState)}
    told = collapse_status(CollapseState(step=0.12345, nearest_memory=0.98765, armed=True))
    assert (told.step, told.nearest_memory, told.armed) == (
        pytest.approx(0.1234, abs=1e-4),
        pytest.approx(0.9877, abs=1e-4),
        True,
    )
    assert collapse_status(CollapseState()).nearest_memory is None
