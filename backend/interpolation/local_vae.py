"""A VAE's decoder on a device of this machine: loaded, fed with batches, and told from its weights alone."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from backend.errors import DecoderUnfit
from backend.interpolation.kl_decoder import KlDecoder, as_loaded
from backend.interpolation.latent_spaces import LatentSpace
from backend.interpolation.tiny_decoder import TinyDecoder
from backend.interpolation.vae_file import VaeFile, VaeKind

log = logging.getLogger(__name__)

_MISSING_TOLD = 3
# Bytes that decoding takes at its peak, for a pixel and for each byte of a number: measured, with a margin.
_PEAK_BYTES = {VaeKind.KL: 1300.0, VaeKind.TINY: 300.0}


class OutOfMemory(Exception):  # noqa: N818 - caught by the source, which tries with less
    """The device has no room for so many pictures at once."""


@dataclass(frozen=True)
class Device:
    """Where it computes.

    Attributes:
        name: torch's name.
        dtype: What it computes in.
    """

    name: str
    dtype: torch.dtype

    @classmethod
    def chosen(cls, wish: str | None, kind: VaeKind) -> Device:
        """The wished one, or the best that there is.

        Raises:
            DecoderUnfit: The wished one is not there.
        """
        there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
        name = wish or next(name for name, is_there in there.items() if is_there)
        if not there[name]:
            raise DecoderUnfit(f"torch finds no {name} device here (interpolation.device: {name})")
        return cls(name, _dtype(name, kind))

    def free_bytes(self) -> int:
        """Memory that is free on it now."""
        if self.name == "cuda":
            return int(torch.cuda.mem_get_info()[0])
        import psutil

        return int(psutil.virtual_memory().available)


def _dtype(device: str, kind: VaeKind) -> torch.dtype:
    """The large one overflows in half precision (black pictures); it needs the range of bfloat16."""
    if device != "cuda":
        return torch.float32
    if kind is VaeKind.TINY:
        return torch.float16
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32


class LocalVae:
    """A decoder, loaded. For one thread."""

    def __init__(self, file: VaeFile, device: Device) -> None:
        """Load it.

        Raises:
            DecoderUnfit: The file is not whole, or is laid out otherwise than its kind.
            OutOfMemory: The device has no room for it.
        """
        self.device = device
        self._file = file
        self._network = _loaded(file, device)
        self._scale, self._shift = _own_scale(file)

    def peak_bytes(self, latents: Tensor) -> float:
        """About how much memory one of these latents takes while it is decoded."""
        cells = int(latents.shape[-1]) * int(latents.shape[-2])
        return _PEAK_BYTES[self._file.kind] * cells * 64 * self.device.dtype.itemsize

    @torch.inference_mode()
    def decode(self, latents: Tensor, space: LatentSpace | None) -> Tensor:
        """Decode latents as ComfyUI saves them.

        Args:
            latents: Shape ``[B, C, h, w]``.
            space: Whose latents they are; a tiny autoencoder has to know, unless its file says so.

        Returns:
            uint8 RGB, shape ``[B, H, W, 3]``, on the CPU.

        Raises:
            OutOfMemory: Fewer at a time may do.
            DecoderUnfit: What comes out is not finite.
        """
        try:
            given = latents.to(self.device.name, torch.float32)
            if self._scale is not None:
                given = (given - self._shift) * self._scale
            elif space is not None:
                given = (given - space.shift) * space.scale
            picture = self._finite(given)
            # Cut off as ComfyUI does it, so that the same weights give the same pictures.
            pixels: Tensor = picture.mul_(255.0).clamp_(0.0, 255.0).to(torch.uint8)
            return pixels.permute(0, 2, 3, 1).contiguous().cpu()
        except RuntimeError as error:
            if not _is_of_memory(error):
                raise DecoderUnfit(f"the device fails: {_first_line(error)}") from error
            self.free()
            raise OutOfMemory(_first_line(error)) from error

    def _finite(self, given: Tensor) -> Tensor:
        picture: Tensor = self._network(
            given.to(self.device.dtype, memory_format=torch.channels_last)
        ).float()
        if bool(torch.isfinite(picture).all()):
            return picture
        if self.device.dtype is torch.float32:
            raise DecoderUnfit("it gives values that are not finite")
        log.warning("%s overflows in %s; it computes in float32 now", self._file.path.name, self.device.dtype)
        self.device = Device(self.device.name, torch.float32)
        self._network = _loaded(self._file, self.device)
        return self._finite(given)

    def free(self) -> None:
        """Give back what the device keeps for later."""
        if self.device.name == "cuda":
            torch.cuda.empty_cache()
        elif self.device.name == "mps":
            torch.mps.empty_cache()


def _loaded(file: VaeFile, device: Device) -> nn.Module:
    try:
        with torch.device("meta"):  # laid out without being filled, which would take longer than reading
            network: nn.Module = (
                KlDecoder(file.shapes) if file.kind is VaeKind.KL else TinyDecoder(file.shapes)
            )
        network.load_state_dict(_weights(file, device), strict=True, assign=True)
    except (SafetensorError, OSError) as error:
        raise DecoderUnfit(f"{file.path.name} cannot be read: {error}") from error
    except (KeyError, ValueError) as error:
        raise DecoderUnfit(f"{file.path.name} is not laid out as {file.kind}s are: {error}") from error
    except RuntimeError as error:
        if _is_of_memory(error):
            raise OutOfMemory(_first_line(error)) from error
        raise DecoderUnfit(
            f"{file.path.name} is not laid out as {file.kind}s are: {_misfits(error)}"
        ) from error
    return network.eval().requires_grad_(False)


def _own_scale(file: VaeFile) -> tuple[float | None, float]:
    if file.scaled_by is None:
        return None, 0.0
    scale, shift = file.scaled_by
    with safe_open(file.path, framework="pt", device="cpu") as opened:
        return float(opened.get_tensor(scale)), float(opened.get_tensor(shift))


def _weights(file: VaeFile, device: Device) -> dict[str, Tensor]:
    """Only what is needed: a checkpoint around it may have many gigabytes."""
    weights = {}
    with safe_open(file.path, framework="pt", device="cpu") as opened:
        for name, there in file.tensors.items():
            whole = file.kind is VaeKind.KL and name.startswith("conv_out.")
            dtype = torch.float32 if whole else device.dtype
            weight = as_loaded(name, opened.get_tensor(there)).to(device.name, dtype)
            weights[name] = (
                weight.contiguous(memory_format=torch.channels_last) if weight.dim() == 4 else weight
            )
    return weights


def _is_of_memory(error: RuntimeError) -> bool:
    words = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(
        word in words for word in ("out of memory", "can't allocate memory", "not enough memory")
    )


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:300]


def _misfits(error: RuntimeError) -> str:
    """Torch lists every weight that is missing or too many, one a line."""
    lines = [line.strip() for line in str(error).splitlines()[1:] if line.strip()]
    return "; ".join(line[:120] for line in lines[:_MISSING_TOLD]) or _first_line(error)
