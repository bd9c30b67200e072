"""A checkpoint of SD 1.5's shape, trained on the painter's pictures, for ``benchmarks.generation_loss``.

``python -m benchmarks.small_checkpoint FILE`` takes a quarter of an hour of one core. A ComfyUI loads the
file as any SD 1.5. Its VAE is a TAESD (31 dB there and back); its UNet knows low noise only, which is all
that a low denoise asks of it, and reads no words: the text encoder and the attention are zeros.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from backend.utils.theme_files import read_theme
from benchmarks.painted_engine import Painting
from benchmarks.small_models import (
    ATTENTION,
    AWAKE,
    TAESD_CHANNELS,
    TEXT_ENCODER,
    UNET_CHANNELS,
    WHOLE,
    UNet,
    asleep,
    decoder,
    encoder,
    widened,
)

SIZE = (256, 144)
_PROMPTS = Path(__file__).resolve().parents[1] / "prompts"
_PICTURES, _HELD_OUT = 600, 40
_VAE_CHANNELS, _VAE_STEPS, _CROPS, _CROP_PX = 32, 1500, 4, 96
_UNET_CHANNELS, _UNET_STEPS, _LATENTS = 64, 1800, 8
_LEFT_OVER = 0.03
"""Noise in latents that the decoder has to bear: about what a sampler leaves."""
_MOST_NOISE = 0.5
"""The UNet is trained up to here; a denoise of 0.1 begins at 0.07 (karras) or 0.35 (normal)."""
_SD_SCALE = 0.18215
SIGMAS = (
    1 / torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2, 0) - 1
) ** 0.5
_LOG_SIGMAS = SIGMAS.log().float()
"""Of SD 1.5's 1000 steps, whose first is the least noise."""


def painted(count: int, seed: int) -> Tensor:
    """Pictures of all shipped themes in turn, ``[count, 3, H, W]`` of 0 to 1."""
    painting = Painting(SIZE)
    themes = [theme for path in sorted(_PROMPTS.glob("*.yaml")) if (theme := read_theme(path)[0])]
    made = []
    for number in range(count):
        theme = themes[number % len(themes)]
        words = theme.positive[number // len(themes) % len(theme.positive)], theme.negative
        made.append(painting.picture(painting.fresh(words, seed + number)))
    return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).float() / 255


class Autoencoder(nn.Module):
    """Pictures to latents and back."""

    def __init__(self, channels: int = _VAE_CHANNELS, *, whole: bool = False) -> None:
        super().__init__()
        self.taesd_encoder = encoder(channels, WHOLE if whole else AWAKE)
        self.taesd_decoder = decoder(channels, WHOLE if whole else AWAKE)

    def loss(self, pictures: Tensor) -> Tensor:
        """Of the pictures and of their slopes, and of latents that are not of unit variance."""
        latents = self.taesd_encoder(pictures)
        again = self.taesd_decoder(latents + _LEFT_OVER * torch.randn_like(latents))
        wrong = again - pictures
        slopes = wrong.diff(dim=-1).abs().mean() + wrong.diff(dim=-2).abs().mean()
        off = latents.mean((0, 2, 3)).square().mean() + (latents.std((0, 2, 3)) - 1).square().mean()
        whole: Tensor = 10 * wrong.square().mean() + wrong.abs().mean() + 0.5 * slopes + 0.01 * off
        return whole

    @torch.inference_mode()
    def latents(self, pictures: Tensor) -> Tensor:
        return torch.cat([self.taesd_encoder(some) for some in torch.split(pictures, 8)])

    @torch.inference_mode()
    def psnr_db(self, pictures: Tensor) -> float:
        """Of the way there and back, as 8-bit pictures."""
        again = torch.cat([self.taesd_decoder(some) for some in torch.split(self.latents(pictures), 8)])
        rounded = (again.clamp(0, 1) * 255).round() / 255
        return -10 * math.log10(float((rounded - pictures).square().mean()))


def noise_loss(unet: nn.Module, latents: Tensor, sigma: Tensor) -> Tensor:
    """Mean square of what the UNet misses of the noise ``sigma [B]``; 1 is to see none of it."""
    noise = torch.randn_like(latents)
    level = sigma[:, None, None, None]
    t = (sigma.log()[:, None] - _LOG_SIGMAS).abs().argmin(dim=1)
    seen = unet((latents + level * noise) / (1 + level**2) ** 0.5, t.float())
    missed: Tensor = (seen - noise).square().mean()
    return missed


@torch.inference_mode()
def noise_seen(unet: nn.Module, latents: Tensor, sigma: float) -> float:
    """Share of the noise that the UNet takes away from latents."""
    return 1 - float(noise_loss(unet, latents, torch.full((len(latents),), sigma)))


def train_autoencoder(pictures: Tensor, steps: int) -> Autoencoder:
    vae = Autoencoder().to(memory_format=torch.channels_last)

    def crops() -> Tensor:
        top, left = (int(torch.randint(side - _CROP_PX + 1, ())) for side in pictures.shape[2:])
        some = pictures[torch.randint(len(pictures), (_CROPS,))]
        some = some[..., top : top + _CROP_PX, left : left + _CROP_PX]
        return some.contiguous(memory_format=torch.channels_last)

    _descend(vae, lambda: vae.loss(crops()), steps, 2e-3)
    return vae


def train_unet(latents: Tensor, steps: int) -> UNet:
    unet = UNet(_UNET_CHANNELS).to(memory_format=torch.channels_last)
    least, most = float(_LOG_SIGMAS[0]), math.log(_MOST_NOISE)

    def loss() -> Tensor:
        some = latents[torch.randint(len(latents), (_LATENTS,))]
        some = some.contiguous(memory_format=torch.channels_last)
        return noise_loss(unet, some, torch.empty(_LATENTS).uniform_(least, most).exp())

    _descend(unet, loss, steps, 1e-3)
    return unet


def _descend(net: nn.Module, loss: Callable[[], Tensor], steps: int, rate: float) -> None:
    descent = torch.optim.AdamW(net.parameters(), rate, betas=(0.9, 0.99), weight_decay=0.0)
    course = torch.optim.lr_scheduler.OneCycleLR(descent, rate, steps, pct_start=max(0.05, 2 / steps))
    began, lately = time.monotonic(), 0.0
    for step in range(1, steps + 1):
        descent.zero_grad()
        now = loss()
        now.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        descent.step()
        course.step()
        lately += (float(now.detach()) - lately) * max(0.02, 1 / step)
        if step % max(1, steps // 10) == 0:
            print(f"{type(net).__name__}: step {step}, loss {lately:.4f}, {time.monotonic() - began:.0f} s")


def checkpoint(vae: Autoencoder, unet: UNet) -> dict[str, Tensor]:
    """Everything that a ComfyUI looks for in a file of SD 1.5, under its names."""
    with torch.device("meta"):
        wide_vae, wide_unet = Autoencoder(TAESD_CHANNELS, whole=True), UNet(UNET_CHANNELS)
    scale = {"vae_scale": torch.tensor(_SD_SCALE), "vae_shift": torch.tensor(0.0)}
    parts = {
        "first_stage_model": scale | widened(vae.state_dict(), wide_vae.state_dict()),
        "model.diffusion_model": widened(unet.state_dict(), wide_unet.state_dict()) | asleep(ATTENTION),
        "cond_stage_model.transformer.text_model": asleep(TEXT_ENCODER, torch.float16),
    }
    return {f"{part}.{name}": one.contiguous() for part, of in parts.items() for name, one in of.items()}


def main() -> None:
    """Paint, train, and tell what came of it on pictures that were not trained on."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="a .safetensors file in a ComfyUI's models/checkpoints")
    parser.add_argument("--vae-steps", type=int, default=_VAE_STEPS)
    parser.add_argument("--unet-steps", type=int, default=_UNET_STEPS)
    args = parser.parse_args()
    torch.manual_seed(1)
    torch.set_num_threads(1)
    pictures = painted(_PICTURES + _HELD_OUT, seed=1)
    seen, unseen = pictures[:_PICTURES], pictures[_PICTURES:]
    vae = train_autoencoder(seen, args.vae_steps)
    print(f"there and back: {vae.psnr_db(unseen):.1f} dB")
    unet = train_unet(vae.latents(torch.cat([seen, seen.flip(-1)])), args.unet_steps)
    for sigma in (0.04, 0.07, 0.15, 0.35):
        print(f"of noise {sigma}: {noise_seen(unet, vae.latents(unseen), sigma):.0%} seen")
    save_file(checkpoint(vae, unet), args.file)


if __name__ == "__main__":
    main()
