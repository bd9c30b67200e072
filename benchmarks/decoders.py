"""What decoding in-betweens costs on this machine, and what quicker ways cost in the picture.

There are no trained weights here. The networks have the sizes of TAESD and of SD's autoencoder, so that
their times are true; the small one's weights are made up to paint smooth pictures from smooth latents, so
that decoding at half the size, and another VAE, can be looked at as well.
"""

from __future__ import annotations

import itertools
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from backend.interpolation.decoder import Anchor, LatentBatch
from backend.interpolation.latent_size import shrunk
from backend.interpolation.latent_spaces import LatentSpace
from backend.interpolation.local_source import LocalSource
from backend.interpolation.local_vae import Device, LocalVae
from backend.interpolation.seam import Seam, in_size, met
from backend.interpolation.seamless_decoder import SeamlessDecoder, finishing_pool
from backend.interpolation.spherical_lerp import slerp
from backend.interpolation.vae_file import read_vae_file
from backend.utils.picture_formats import FORMATS, Encoding, by_pillow, pixels_of
from backend.utils.prompt_manager import Prompt
from tests.cache.painted import painted, themes
from tests.interpolation.weights import kl_weights, saved, tiny_weights

Row = tuple[str, str, str]
Pixels = NDArray[np.uint8]

SIZE_PX = (256, 144)
LARGE_PX = (1344, 768)
_CPU = Device("cpu", torch.float32)
_PROMPT = Prompt("bench", "a quiet sea", "")
_AS_IT_IS = LatentSpace("bench", 4, 1.0, 0.0, (), ())


@dataclass(frozen=True)
class Difference:
    """What another way of decoding does to the pictures of a gap.

    Attributes:
        psnr_db: Against the keyframes' own way, in the middle of the gap.
        end_psnr_db: At the keyframe.
        pop: The step into the keyframe, in usual steps between frames: near 1 where nothing is seen.
        bare_pop: The same without being led into it.
        time: Share of the time that the keyframes' own way takes.
    """

    psnr_db: float
    end_psnr_db: float
    pop: float
    bare_pop: float
    time: float


def rows(quick: bool) -> list[Row]:
    """One table."""
    with tempfile.TemporaryDirectory(prefix="bench-decoders-") as folder:
        return [
            *_speed(Path(folder), 1 if quick else 3),
            *_quicker(Path(folder), 9 if quick else 24),
            *_encoding(3 if quick else 10),
        ]


def _speed(folder: Path, tries: int) -> list[Row]:
    tiny = _vae(folder / "taesd_decoder.safetensors", made_up())
    whole = _vae(folder / "vae.safetensors", kl_weights(widths=(128, 256, 512, 512)))
    latents, small = smooth(1, 8), smooth(1, 1, (128, 72))
    one = _best(lambda: [tiny.decode(each, _AS_IT_IS) for each in latents.split(1)], tries) / 8
    eight = _best(lambda: tiny.decode(latents, _AS_IT_IS), tries) / 8
    through = _through_the_decoder(folder / "taesd_decoder.safetensors", tiny, latents, tries) / 8
    large = _best(lambda: whole.decode(small, None), tries)
    size = "x".join(map(str, SIZE_PX))
    return [
        (f"TAESD on the CPU at {size}, pictures/s, one at a time", f"{1 / one:.1f}", ""),
        (f"TAESD on the CPU at {size}, pictures/s, 8 together", f"{1 / eight:.1f}", ""),
        ("    8 together : one at a time", f"{one / eight:.2f}", ""),
        ("    bare decode : with seams and encoding, 8 together", f"{eight / through:.2f}", ""),
        ("SD's autoencoder on the CPU at 128x72, pictures/s", f"{1 / large:.2f}", ""),
    ]


def _through_the_decoder(path: Path, vae: LocalVae, latents: Tensor, tries: int) -> float:
    """Seconds for a walk of eight, its keyframes known, by the thread and the pool that a dream has."""
    source = LocalSource(
        read_vae_file(path), lambda: vae, line=lambda: "", patience_s=600.0, clock=time.monotonic
    )
    pool = finishing_pool()
    decoder = SeamlessDecoder(source, pool, Encoding("jpeg"))
    ends = [_anchor(vae, latents[:1]), _anchor(vae, latents[-1:])]
    batch = LatentBatch(latents, _PROMPT, tuple(np.linspace(0.1, 0.9, len(latents)).tolist()), *ends)

    def walk() -> None:
        ended = threading.Event()
        decoder.decode(batch).add_done_callback(ended.set)
        ended.wait(600.0)

    walk()  # the keyframes are looked at once a gap, not once a leg
    seconds = _best(walk, tries)
    source.stop()
    pool.shutdown()
    return seconds


def _quicker(folder: Path, frames: int) -> list[Row]:
    weights = made_up()
    vae = _vae(folder / "a.safetensors", weights)
    near = _vae(folder / "b.safetensors", disturbed(weights))
    found: list[Row] = []
    for name, other, scale in (
        ("half the size", vae, 0.5),
        ("a quarter of the size", vae, 0.25),
        ("another VAE", near, 1.0),
    ):
        seen = compare(vae, other, scale, frames)
        found += [
            (f"in-betweens by {name}: time", f"{seen.time:.2f}", "" if scale == 1.0 else "below 1"),
            (
                "    PSNR in mid-gap, at the keyframe, dB",
                f"{seen.psnr_db:.1f} {seen.end_psnr_db:.1f}",
                "- 45",
            ),
            (
                "    step into the keyframe in usual steps, led into it : bare",
                f"{seen.pop:.2f} {seen.bare_pop:.2f}",
                "at most 1.5",
            ),
        ]
    shown, decoded = (pixels_of(painted(theme, size_px=LARGE_PX)) for theme in themes()[:2])
    seam = Seam.between(shown, decoded)
    small = in_size(decoded, (LARGE_PX[0] // 2, LARGE_PX[1] // 2))
    lead = _best(lambda: met(decoded, 0.4, seam, seam), 3)
    enlarge = _best(lambda: in_size(small, LARGE_PX), 3)
    told = f"{1e3 * lead:.0f} {1e3 * enlarge:.0f}"
    return [*found, (f"leading into keyframes, enlarging by 2, {LARGE_PX[0]}x{LARGE_PX[1]}, ms", told, "")]


def compare(own: LocalVae, other: LocalVae, scale: float, frames: int) -> Difference:
    """A gap decoded by the keyframes' own VAE, and by another way."""

    def decode(vae: LocalVae, latents: Tensor, at: float) -> list[Pixels]:
        return [in_size(pixels.numpy(), SIZE_PX) for pixels in vae.decode(shrunk(latents, at), _AS_IT_IS)]

    start, end = smooth(1, 1), smooth(2, 1)
    t = torch.linspace(0.0, 1.0, frames + 1)
    latents = slerp(start, end, t)[:, 0]
    begun = time.perf_counter()
    true = decode(own, latents, 1.0)
    own_s = time.perf_counter() - begun
    begun = time.perf_counter()
    bare = decode(other, latents, scale)
    other_s = time.perf_counter() - begun
    seams = Seam.between(true[0], bare[0]), Seam.between(true[-1], bare[-1])
    led = [met(pixels, float(at), *seams) for pixels, at in zip(bare, t, strict=True)]
    step = float(np.median([_rms(one, two) for one, two in itertools.pairwise(true)]))
    return Difference(
        psnr_db=_psnr(led[len(led) // 2], true[len(true) // 2]),
        end_psnr_db=_psnr(led[-1], true[-1]),
        pop=_rms(led[-2], true[-1]) / step,
        bare_pop=_rms(bare[-2], true[-1]) / step,
        time=other_s / own_s,
    )


def _encoding(tries: int) -> list[Row]:
    found: list[Row] = []
    pixels = pixels_of(painted(themes()[0], size_px=LARGE_PX))
    pillow = _best(lambda: by_pillow(pixels, "PNG", compress_level=1), tries)
    size = f"{LARGE_PX[0]}x{LARGE_PX[1]}"
    for name, kind in FORMATS.items():
        seconds = _best(lambda kind=kind: kind.encode(pixels, 90), tries)  # type: ignore[misc]
        data = kind.encode(pixels, 90)
        psnr = "" if name == "png" else f", {_psnr(pixels_of(data), pixels):.1f} dB"
        told = f"{1e3 * seconds:.0f} {len(data) / 1e3:.0f}"
        found.append((f"{name} of {size}, ms, kB{psnr}", told, ""))
        if name == "png":
            found.append(("    Pillow's quickest PNG : ours, time", f"{pillow / seconds:.2f}", "above 1"))
    return found


def smooth(seed: int, count: int, size_px: tuple[int, int] = SIZE_PX) -> Tensor:
    """Latents of large forms, as trained models paint them: ``[count, 4, h, w]``, unit variance."""
    rows_, columns = size_px[1] // 8, size_px[0] // 8
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 4, rows_ // 5 + 2, columns // 5 + 2, generator=generator)
    latents = interpolate(coarse, (rows_, columns), mode="bicubic", align_corners=True)
    return latents / latents.std()


def made_up() -> dict[str, Tensor]:
    """TAESD's size. Each layer looks at one place, doublings blur, and the blocks add a little detail."""
    weights = tiny_weights(width=64, blocks=3, seed=1)
    last = max(int(name.partition(".")[0]) for name in weights)
    blur = torch.tensor([1.0, 2.0, 1.0])[:, None] * torch.tensor([1.0, 2.0, 1.0]) / 16
    for name, weight in weights.items():
        number = name.partition(".")[0]
        if ".conv." in name:
            weight.mul_(0.05)
        elif name in ("1.weight", f"{last}.weight"):
            middle = weight[:, :, 1, 1].clone() * 3.0 * (0.5 if number == str(last) else 1.0)
            weight.zero_()
            weight[:, :, 1, 1] = middle
        elif weight.dim() == 4:
            weight.copy_(torch.eye(64)[:, :, None, None] * blur)
    weights[f"{last}.bias"].add_(0.5)
    return weights


def disturbed(weights: dict[str, Tensor], share: float = 0.25) -> dict[str, Tensor]:
    """Another VAE of the same latents: a little off everywhere."""
    generator = torch.Generator().manual_seed(9)
    return {
        name: weight + share * weight.std() * torch.randn(weight.shape, generator=generator)
        for name, weight in weights.items()
    }


def _vae(path: Path, weights: dict[str, Tensor]) -> LocalVae:
    return LocalVae(read_vae_file(saved(path, weights)), _CPU)


def _anchor(vae: LocalVae, latent: Tensor) -> Anchor:
    return Anchor(latent, Encoding().encode(vae.decode(latent, _AS_IT_IS)[0].numpy()))


def _best(work: Callable[[], object], tries: int) -> float:
    seconds = []
    for _ in range(tries):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def _rms(one: Pixels, other: Pixels) -> float:
    return float(np.sqrt(np.square(one.astype(np.float32) - other.astype(np.float32)).mean()))


def _psnr(one: Pixels, other: Pixels) -> float:
    return float(20 * np.log10(255.0 / max(_rms(one, other), 1e-4)))
