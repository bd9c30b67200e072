from __future__ import annotations

from dataclasses import fields

from backend.cache.collapse import CollapseState
from backend.core.memory_report import collapse_status
from backend.utils.status_schema import CollapseStatus


def test_all_that_the_detector_knows_is_told() -> None:
    assert set(CollapseStatus.model_fields) == {one.name for one in fields(CollapseState)}
    told = collapse_status(CollapseState(step=0.12344, nearest_memory=0.98766, armed=True))
    assert (told.step, told.nearest_memory, told.armed) == (0.1234, 0.9877, True)
    assert collapse_status(CollapseState()).nearest_memory is None
