from __future__ import annotations

import pytest

from backend.core.comfyui_messages import ExecutionError
from backend.core.failures import failed
from backend.core.jobs import FailureKind


@pytest.mark.parametrize(
    ("exception_type", "message", "kind"),
    [
        ("torch.OutOfMemoryError", "Allocation on device", FailureKind.OUT_OF_MEMORY),
        ("RuntimeError", "CUDA error: out of memory", FailureKind.OUT_OF_MEMORY),
        (
            "RuntimeError",
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
            FailureKind.OUT_OF_MEMORY,
        ),
        (
            "torch.AcceleratorError",
            "CUDA error: an illegal memory access was encountered\nCompile with `TORCH_USE_CUDA_DSA`",
            FailureKind.DEVICE,
        ),
        ("RuntimeError", "CUDA error: device-side assert triggered", FailureKind.DEVICE),
        ("RuntimeError", "CUDA error: unspecified launch failure", FailureKind.DEVICE),
        ("RuntimeError", "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", FailureKind.DEVICE),
        ("RuntimeError", "HIP error: the operation cannot be performed", FailureKind.DEVICE),
        (
            "RuntimeError",
            "level_zero backend failed with error: 20 (UR_RESULT_ERROR_DEVICE_LOST)",
            FailureKind.DEVICE,
        ),
        ("ValueError", "mat1 and mat2 shapes cannot be multiplied", FailureKind.EXECUTION),
        ("", "no idea", FailureKind.EXECUTION),
    ],
)
def test_the_kind_of_a_failure_is_told_from_its_words(
    exception_type: str, message: str, kind: FailureKind
) -> None:
    end = failed("id-1", ExecutionError("id-1", "5", "KSampler", message, exception_type))
    assert end.kind is kind
    assert message in end.message
    assert end.node_type == "KSampler"


def test_an_error_that_the_server_does_not_describe_is_a_failure_all_the_same() -> None:
    assert failed("id-1", None).kind is FailureKind.EXECUTION
