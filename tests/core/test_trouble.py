from __future__ import annotations

import random

from backend.core.trouble import Trouble
from backend.errors import EngineUnreachable, ModelMissing
from backend.utils.status_schema import ReasonCode


def test_trouble_is_told_with_a_wish_and_forgotten_when_something_works() -> None:
    trouble = Trouble(random.Random(1))
    trouble.happened(EngineUnreachable("http://127.0.0.1:8188", "connection refused"), now=10.0)
    assert trouble.reason is not None
    assert trouble.reason.code is ReasonCode.ENGINE_UNREACHABLE
    assert "is ComfyUI running there?" in trouble.reason.sentence
    assert trouble.waiting(10.1)
    trouble.happened(ModelMissing("checkpoints", "a", ["b"], None), now=10.0)
    assert trouble.reason.code is ReasonCode.MODEL_MISSING
    trouble.over()
    assert trouble.reason is None
    assert not trouble.waiting(10.1)
