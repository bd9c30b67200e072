"""Small nets in the shapes that a ComfyUI knows."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from backend.interpolation.tiny_decoder import TinyDecoder
from benchmarks.small_checkpoint import SIGMAS, Autoencoder, checkpoint, noise_seen
from benchmarks.small_models import AWAKE, WHOLE, UNet, decoder, encoder, widened


@pytest.fixture(autouse=True)
def same_each_time() -> None:
    torch.manual_seed(1)


def grown(narrow: nn.Module, wide: nn.Module) -> nn.Module:
    wide.load_state_dict(widened(narrow.state_dict(), wide.state_dict()))
    return wide


@torch.inference_mode()
def test_a_widened_autoencoder_gives_the_same_latents_and_pictures() -> None:
    narrow = encoder(6, AWAKE)
    pictures = torch.rand(1, 3, 32, 24)
    latents = narrow(pictures)
    assert latents.shape == (1, 4, 4, 3)
    torch.testing.assert_close(grown(narrow, encoder(12, WHOLE))(pictures), latents)
    back = decoder(6, AWAKE)
    torch.testing.assert_close(grown(back, decoder(12, WHOLE))(latents), back(latents))


@torch.inference_mode()
def test_a_widened_unet_sees_the_same_noise() -> None:
    narrow = UNet(32)
    for weight in narrow.parameters():
        weight.add_(torch.randn_like(weight) * 0.05)
    latents, t = torch.randn(2, 4, 5, 7), torch.tensor([3.0, 120.0])
    seen = narrow(latents, t)
    assert seen.std() > 0.01
    torch.testing.assert_close(grown(narrow, UNet(64))(latents, t), seen, rtol=1e-3, atol=1e-4)


def test_channels_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="6 channels cannot be repeated to 8"):
        widened(encoder(6, AWAKE).state_dict(), encoder(8, WHOLE).state_dict())


@torch.inference_mode()
def test_the_checkpoint_has_the_names_of_taesd_and_of_sd15() -> None:
    vae = Autoencoder()
    weights = checkpoint(vae, UNet(64))
    assert weights["first_stage_model.vae_scale"] == pytest.approx(0.18215)
    prefix = "first_stage_model.taesd_decoder."
    own = {name.removeprefix(prefix): one for name, one in weights.items() if name.startswith(prefix)}
    others = TinyDecoder({name: tuple(one.shape) for name, one in own.items()})
    others.load_state_dict(own)
    latents = torch.randn(1, 4, 2, 3)
    torch.testing.assert_close(others(latents), vae.taesd_decoder(latents))
    assert weights["model.diffusion_model.input_blocks.0.0.weight"].shape == (320, 4, 3, 3)
    words = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
    assert weights[words].shape == (320, 768)
    text = "cond_stage_model.transformer.text_model.encoder.layers.11.mlp.fc1.weight"
    assert weights[text].shape == (3072, 768)


class _KnowsThatThereIsNothingElse(nn.Module):
    """Of latents that are noise alone, all is noise, at the level that SD 1.5 has at that step."""

    def forward(self, noisy: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        level = SIGMAS[t.long()].float()[:, None, None, None]
        return noisy * (1 + level**2) ** 0.5 / level


@pytest.mark.parametrize("step", [0, 4, 150])
def test_noise_is_at_the_levels_of_sd15_and_all_or_none_of_it_is_seen(step: int) -> None:
    assert (float(SIGMAS[0]), float(SIGMAS[-1])) == pytest.approx((0.0292, 14.61), abs=0.01)
    nothing, sigma = torch.zeros(2, 4, 6, 6), float(SIGMAS[step])
    assert noise_seen(_KnowsThatThereIsNothingElse(), nothing, sigma) == pytest.approx(1.0, abs=1e-5)
    assert noise_seen(_SeesNone(), nothing, sigma) == pytest.approx(0.0, abs=0.3)


class _SeesNone(nn.Module):
    def forward(self, noisy: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(noisy)
