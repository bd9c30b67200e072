"""What a node's error means, told from its words: ComfyUI gives no codes."""

from __future__ import annotations

from backend.core.comfyui_messages import ExecutionError
from backend.core.jobs import Failed, FailureKind

_MEMORY_WORDS = ("out of memory", "outofmemory", "not enough memory", "alloc_failed", "allocate")
# torch on CUDA, HIP, XPU, MPS and DirectML. Most of these break the process's context for good.
_DEVICE_WORDS = (
    "cuda error",
    "cuda driver error",
    "illegal memory access",
    "device-side assert",
    "unspecified launch failure",
    "cudnn",
    "cublas_status",
    "hip error",
    "device lost",
    "device_lost",
    "device removed",
    "device_removed",
    "device hung",
    "device is lost",
    "acceleratorerror",
)


def failed(prompt_id: str, error: ExecutionError | None) -> Failed:
    """The end of a job of which a node raised ``error``; None if the server does not say which."""
    if error is None:
        return Failed(prompt_id, FailureKind.EXECUTION, "the server tells of an error, but not of which")
    text = f"{error.exception_type}: {error.message}" if error.exception_type else error.message
    return Failed(prompt_id, _kind(text.lower()), text, error.node_id, error.node_type)


def _kind(text: str) -> FailureKind:
    # Memory first: "CUDA error: out of memory" leaves the device in order.
    if any(word in text for word in _MEMORY_WORDS):
        return FailureKind.OUT_OF_MEMORY
    if any(word in text for word in _DEVICE_WORDS):
        return FailureKind.DEVICE
    return FailureKind.EXECUTION
