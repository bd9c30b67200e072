"""TAESD and SD 1.5's UNet, as narrow as a CPU can train them, and made as wide as a ComfyUI wants them.

A ComfyUI tells by the names and shapes of its weights what a checkpoint is, so the parts have the names that
they have there. Widening repeats every channel and changes nothing that comes out.

Sources: https://github.com/madebyollin/taesd; R. Rombach et al., "High-resolution image synthesis with latent
diffusion models", 2022, for the UNet; T. Chen et al., "Net2Net", 2016, for the widening.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

Weights = Mapping[str, Tensor]

TAESD_CHANNELS, UNET_CHANNELS = 64, 320
_LATENT_CHANNELS = 4
_WORDS, _TOKENS, _VOCABULARY = 768, 77, 49408
_MIDDLE, _SPREAD = 0.4, 0.25
"""Of the colours of pictures, about."""
_GROUPS = 32
_PERIOD = 10000.0
WHOLE = (1, 3, 3, 3)
"""Residual blocks of a TAESD at 1, 1/2, 1/4 and 1/8 of the picture's size."""
AWAKE = (0, 1, 2, 3)
"""How many of them are trained: where there are the most pixels, they cost the most."""


def encoder(channels: int, awake: tuple[int, ...]) -> nn.Sequential:
    """Pictures ``[B, 3, H, W]`` of 0 to 1 to latents ``[B, 4, H / 8, W / 8]`` of unit variance, about."""
    parts: list[nn.Module] = [_carrying(_conv(3, channels))]
    for stage, (trained, of) in enumerate(zip(awake, WHOLE, strict=True)):
        if stage:
            parts.append(_carrying(_conv(channels, channels, stride=2, bias=False)))
        parts += _blocks(channels, trained, of)
    to_latents = _carrying(_conv(channels, _LATENT_CHANNELS), 1 / _SPREAD, -_MIDDLE / _SPREAD)
    return nn.Sequential(*parts, to_latents)


def decoder(channels: int, awake: tuple[int, ...]) -> nn.Sequential:
    """The way back."""
    from_latents = _carrying(_conv(_LATENT_CHANNELS, channels), _SPREAD, _MIDDLE)
    parts: list[nn.Module] = [_Clamp(), from_latents, nn.ReLU()]
    for stage in (3, 2, 1, 0):
        parts += _blocks(channels, awake[stage], WHOLE[stage])
        if stage:
            parts += [nn.Upsample(scale_factor=2), _carrying(_conv(channels, channels, bias=False))]
    return nn.Sequential(*parts, _carrying(_conv(channels, 3)))


class UNet(nn.Module):
    """What SD 1.5's is at its finest resolution, with one block down and two up, and no attention.

    Args:
        channels: Divisible by 32.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = 4 * channels
        self.time_embed = nn.Sequential(nn.Linear(UNET_CHANNELS, inner), nn.SiLU(), nn.Linear(inner, inner))
        down: tuple[nn.Module, ...] = (_conv(_LATENT_CHANNELS, channels), _TimedBlock(channels, channels))
        self.input_blocks = nn.ModuleList(_Place([part]) for part in down)
        up = (_TimedBlock(2 * channels, channels) for _ in range(2))
        self.output_blocks = nn.ModuleList(_Place([part]) for part in up)
        self.out = nn.Sequential(_norm(channels), nn.SiLU(), _quiet(_conv(channels, _LATENT_CHANNELS)))

    def forward(self, noisy: Tensor, t: Tensor) -> Tensor:
        """The noise in latents ``[B, 4, h, w]`` at the steps ``t [B]`` of 1000, which have unit variance."""
        time = self.time_embed(_told(t))
        first, down = self.input_blocks
        inner, outer = self.output_blocks
        early = first(noisy)
        late = down(early, time)
        joined = inner(torch.cat([late, late], dim=1), time)
        noise: Tensor = self.out(outer(torch.cat([joined, early], dim=1), time))
        return noise


class _Place(nn.ModuleList):
    """Where there are several parts in a larger UNet, here with one."""

    def forward(self, *given: Tensor) -> Tensor:
        out: Tensor = self[0](*given)
        return out


class _TimedBlock(nn.Module):
    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(_norm(inputs), nn.SiLU(), _conv(inputs, channels))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(4 * channels, channels))
        last = _quiet(_conv(channels, channels))
        self.out_layers = nn.Sequential(_norm(channels), nn.SiLU(), nn.Identity(), last)
        same = inputs == channels
        self.skip_connection = nn.Identity() if same else nn.Conv2d(inputs, channels, 1)

    def forward(self, hidden: Tensor, time: Tensor) -> Tensor:
        timed = self.in_layers(hidden) + self.emb_layers(time)[..., None, None]
        out: Tensor = self.skip_connection(hidden) + self.out_layers(timed)
        return out


class _Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        first, second, third = (_conv(channels, channels) for _ in range(3))
        self.conv = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), _quiet(third))

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.relu(self.conv(hidden) + hidden)


class _Clamp(nn.Module):
    def forward(self, latents: Tensor) -> Tensor:
        return torch.tanh(latents / 3) * 3


def _blocks(channels: int, trained: int, of: int) -> list[nn.Module]:
    """A block whose weights are all zero cuts off what is negative, so that stands for those not trained."""
    return [_Block(channels) if number < trained else nn.ReLU() for number in range(of)]


def _conv(inputs: int, outputs: int, stride: int = 1, *, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=bias)


@torch.no_grad()
def _carrying(conv: nn.Conv2d, gain: float = 1.0, bias: float = 0.0) -> nn.Conv2d:
    """One that begins with letting three channels through, the colours, so that they need not be learnt."""
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    side = torch.tensor([1.0, 2.0, 1.0]) / 4 if conv.stride == (2, 2) else torch.tensor([0.0, 1.0, 0.0])
    conv.weight[:3] = 0.0
    conv.weight[range(3), range(3)] = gain * side.outer(side)
    if conv.bias is not None:
        conv.bias.zero_()
        conv.bias[:3] = bias
    return conv


def _quiet(conv: nn.Conv2d) -> nn.Conv2d:
    """One that begins with giving nothing but its bias."""
    nn.init.zeros_(conv.weight)
    return conv


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(_GROUPS, channels)


def _told(t: Tensor) -> Tensor:
    half = UNET_CHANNELS // 2
    angles = t[:, None] * torch.exp(-math.log(_PERIOD) * torch.arange(half) / half)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def widened(narrow: Weights, wide: Weights) -> dict[str, Tensor]:
    """The weights of the narrow net in the shapes of the wide one; blocks that it does not have are zero."""
    return {
        name: _repeated(narrow[name], like.shape) if name in narrow else torch.zeros(like.shape)
        for name, like in wide.items()
    }


def _repeated(weight: Tensor, shape: torch.Size) -> Tensor:
    """Each output as often as it is wanted, and of each input as little as it now comes more often."""
    for axis, (wanted, there) in enumerate(zip(shape, weight.shape, strict=True)):
        times, rest = divmod(wanted, there)
        if rest:
            raise ValueError(f"{there} channels cannot be repeated to {wanted}")
        weight = weight.repeat_interleave(times, axis) / (times if axis == 1 else 1)
    return weight


_Shapes = Mapping[str, tuple[int, ...]]


def asleep(shapes: _Shapes, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Weights of parts that give nothing."""
    return {name: torch.zeros(shape, dtype=dtype) for name, shape in shapes.items()}


def _affine(name: str, *weight: int) -> _Shapes:
    return {f"{name}.weight": weight, f"{name}.bias": weight[:1]}


def _attention(name: str, inputs: int, words: int) -> _Shapes:
    """Attention of the UNet: only what leaves it has a bias."""
    inside = {"to_q": inputs, "to_k": words, "to_v": words}
    shapes = {f"{name}.{part}.weight": (inputs, of) for part, of in inside.items()}
    return {**shapes, **_affine(f"{name}.to_out.0", inputs, inputs)}


def _transformer(name: str, channels: int) -> _Shapes:
    block = f"{name}.transformer_blocks.0"
    shapes = {**_affine(f"{name}.norm", channels)}
    for part in ("proj_in", "proj_out"):
        shapes |= _affine(f"{name}.{part}", channels, channels, 1, 1)
    shapes |= _attention(f"{block}.attn1", channels, channels)
    shapes |= _attention(f"{block}.attn2", channels, _WORDS)
    shapes |= _affine(f"{block}.ff.net.0.proj", 8 * channels, channels)
    shapes |= _affine(f"{block}.ff.net.2", channels, 4 * channels)
    for number in (1, 2, 3):
        shapes |= _affine(f"{block}.norm{number}", channels)
    return shapes


def _clip() -> _Shapes:
    shapes = {
        "embeddings.token_embedding.weight": (_VOCABULARY, _WORDS),
        "embeddings.position_embedding.weight": (_TOKENS, _WORDS),
        **_affine("final_layer_norm", _WORDS),
    }
    for layer in (f"encoder.layers.{number}" for number in range(12)):
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= _affine(f"{layer}.self_attn.{part}", _WORDS, _WORDS)
        shapes |= _affine(f"{layer}.mlp.fc1", 4 * _WORDS, _WORDS)
        shapes |= _affine(f"{layer}.mlp.fc2", _WORDS, 4 * _WORDS)
        for number in (1, 2):
            shapes |= _affine(f"{layer}.layer_norm{number}", _WORDS)
    return shapes


ATTENTION = _transformer("input_blocks.1.1", UNET_CHANNELS)
"""Of the UNet: that it attends to words of 768 numbers tells a ComfyUI that it is SD 1.5's."""
TEXT_ENCODER = _clip()
