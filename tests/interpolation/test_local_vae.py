from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from backend.errors import DecoderUnfit
from backend.interpolation.latent_spaces import SPACES, LatentSpace
from backend.interpolation.local_vae import Device, LocalVae, OutOfMemory
from backend.interpolation.vae_file import VaeKind, read_vae_file
from tests.interpolation.weights import as_diffusers_tiny, in_checkpoint, kl_weights, saved, tiny_weights

CPU = Device("cpu", torch.float32)
SD = next(space for space in SPACES if space.name == "SD")
FLUX = next(space for space in SPACES if space.name == "Flux")


def latents(channels: int = 4, count: int = 2) -> Tensor:
    return torch.randn(count, channels, 6, 9, generator=torch.Generator().manual_seed(5))


def loaded(path: Path, device: Device = CPU) -> LocalVae:
    return LocalVae(read_vae_file(path), device)


def as_pixels(picture: Tensor) -> Tensor:
    """Of 0 to 1, as ComfyUI makes bytes of it."""
    return (picture * 255.0).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


@pytest.fixture(scope="module")
def diffusers_kl() -> type:
    module = pytest.importorskip(
        "diffusers.models.autoencoders.autoencoder_kl",
        reason="needs diffusers: pip install -r requirements-dev.lock",
    )
    return module.AutoencoderKL  # type: ignore[no-any-return]


@pytest.mark.parametrize(("channels", "quant"), [(4, True), (16, False)])
def test_an_autoencoder_decodes_as_diffusers_does(
    diffusers_kl: type, tmp_path: Path, channels: int, quant: bool
) -> None:
    torch.manual_seed(channels)
    reference = diffusers_kl(
        latent_channels=channels,
        block_out_channels=(32, 64, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=2,
        use_quant_conv=quant,
        use_post_quant_conv=quant,
    ).eval()
    path = saved(tmp_path / "vae.safetensors", reference.state_dict())
    with torch.no_grad():
        expected = as_pixels((reference.decode(latents(channels)).sample + 1) / 2)
    found = loaded(path).decode(latents(channels), None)
    assert found.shape == (2, 24, 36, 3)
    assert int((found.int() - expected.int()).abs().max()) <= 1


@pytest.mark.parametrize("space", [SD, FLUX], ids=lambda space: space.name)
def test_a_tiny_autoencoder_decodes_as_diffusers_does_given_the_scale_of_the_model(
    diffusers_kl: type, tmp_path: Path, space: LatentSpace
) -> None:
    from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

    torch.manual_seed(1)
    narrow = (16,) * 4
    reference = AutoencoderTiny(
        latent_channels=space.channels,
        encoder_block_out_channels=narrow,
        decoder_block_out_channels=narrow,
    ).eval()
    path = saved(tmp_path / "taesd.safetensors", reference.state_dict())
    given = latents(space.channels)
    with torch.no_grad():
        expected = as_pixels((reference.decode((given - space.shift) * space.scale).sample + 1) / 2)
    found = loaded(path).decode(given, space)
    assert found.shape == (2, 48, 72, 3)
    assert int((found.int() - expected.int()).abs().max()) <= 1


def test_all_layouts_of_one_autoencoder_give_the_same_pictures(tmp_path: Path) -> None:
    weights = kl_weights()
    bare = loaded(saved(tmp_path / "bare.safetensors", weights))
    inside = loaded(saved(tmp_path / "checkpoint.safetensors", in_checkpoint(weights)))
    assert torch.equal(bare.decode(latents(), None), inside.decode(latents(), None))


def test_all_layouts_of_one_tiny_autoencoder_give_the_same_pictures(tmp_path: Path) -> None:
    weights = tiny_weights()
    plain = loaded(saved(tmp_path / "taesd_decoder.safetensors", weights))
    diffusers = loaded(saved(tmp_path / "taesd.safetensors", as_diffusers_tiny(weights)))
    pictures = plain.decode(latents(), SD)
    assert torch.equal(pictures, diffusers.decode(latents(), SD))
    assert pictures.shape == (2, 48, 72, 3)
    assert float(pictures.float().std()) > 1.0


def test_a_tiny_autoencoder_saved_by_comfyui_brings_its_scale(tmp_path: Path) -> None:
    weights = {f"taesd_decoder.{name}": weight for name, weight in tiny_weights().items()}
    scaled = weights | {"vae_scale": torch.tensor(SD.scale), "vae_shift": torch.tensor(SD.shift)}
    brought = loaded(saved(tmp_path / "saved.safetensors", scaled))
    told = loaded(saved(tmp_path / "plain.safetensors", weights))
    assert torch.equal(brought.decode(latents(), None), told.decode(latents(), SD))
    assert torch.equal(brought.decode(latents(), FLUX), told.decode(latents(), SD))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_half_precision_are_computed_in_single(tmp_path: Path, dtype: torch.dtype) -> None:
    weights = {name: weight.to(dtype) for name, weight in kl_weights().items()}
    half = loaded(saved(tmp_path / "half.safetensors", weights)).decode(latents(), None)
    single = {name: weight.float() for name, weight in weights.items()}
    assert torch.equal(half, loaded(saved(tmp_path / "single.safetensors", single)).decode(latents(), None))


def test_in_half_precision_the_pictures_are_nearly_the_same(tmp_path: Path) -> None:
    path = saved(tmp_path / "vae.safetensors", kl_weights())
    half = loaded(path, Device("cpu", torch.bfloat16)).decode(latents(), None)
    assert float((half.float() - loaded(path).decode(latents(), None).float()).abs().mean()) < 2.0


def test_a_batch_gives_the_same_pictures_as_one_at_a_time(tmp_path: Path) -> None:
    vae = loaded(saved(tmp_path / "vae.safetensors", kl_weights()))
    together = vae.decode(latents(), None)
    apart = torch.cat([vae.decode(one, None) for one in latents().split(1)])
    assert int((together.int() - apart.int()).abs().max()) <= 1


@pytest.mark.parametrize(
    ("weights", "gone"),
    [(kl_weights(), "decoder.mid.block_1.conv1.bias"), (tiny_weights(), "3.conv.2.weight")],
    ids=["autoencoder", "tiny"],
)
def test_a_weight_that_is_missing_is_named(tmp_path: Path, weights: dict[str, Tensor], gone: str) -> None:
    less = {name: weight for name, weight in weights.items() if name != gone}
    with pytest.raises(DecoderUnfit, match=gone.removeprefix("decoder.").replace(".", r"\.")):
        loaded(saved(tmp_path / "odd.safetensors", less))


def test_an_autoencoder_of_another_layout_is_refused_instead_of_decoded_wrongly(tmp_path: Path) -> None:
    more = kl_weights() | {"decoder.mid.block_1.mix_factor": torch.zeros(1)}
    with pytest.raises(DecoderUnfit, match="mix_factor"):
        loaded(saved(tmp_path / "svd.safetensors", more))


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    weights = kl_weights()
    weights["decoder.conv_out.bias"] = torch.full((3,), float("nan"))
    with pytest.raises(DecoderUnfit, match="not finite"):
        loaded(saved(tmp_path / "nan.safetensors", weights)).decode(latents(), None)


def test_what_overflows_in_half_precision_is_computed_again_in_single(tmp_path: Path) -> None:
    weights = tiny_weights()
    weights["13.bias"] = torch.tensor([0.0, 0.0, 1e5])  # more than a half can hold
    path = saved(tmp_path / "wide.safetensors", weights)
    vae = loaded(path, Device("cpu", torch.float16))
    assert torch.equal(vae.decode(latents(), SD)[..., 2], torch.full((2, 48, 72), 255, dtype=torch.uint8))
    assert vae.device.dtype is torch.float32


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("CUDA out of memory. Tried to allocate 2.00 GiB", OutOfMemory),
        ("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory", OutOfMemory),
        ("MPS backend out of memory", OutOfMemory),
        ("CUDA error: an illegal memory access was encountered", DecoderUnfit),
    ],
)
def test_a_device_that_fails_is_told_from_one_that_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, error: type[Exception]
) -> None:
    vae = loaded(saved(tmp_path / "vae.safetensors", tiny_weights()))

    def fails(_: Tensor) -> Tensor:
        raise RuntimeError(words)

    monkeypatch.setattr(vae._network, "forward", fails)
    with pytest.raises(error):
        vae.decode(latents(), SD)


def test_more_pixels_are_thought_to_take_more_memory(tmp_path: Path) -> None:
    vae = loaded(saved(tmp_path / "vae.safetensors", tiny_weights()))
    assert vae.peak_bytes(torch.zeros(9, 4, 12, 18)) == 4 * vae.peak_bytes(torch.zeros(1, 4, 6, 9))
    assert vae.device.free_bytes() > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(DecoderUnfit, match=r"interpolation\.device: cuda"):
        Device.chosen("cuda", VaeKind.TINY)


def test_there_is_always_a_device() -> None:
    assert Device.chosen(None, VaeKind.KL).name in ("cpu", "cuda", "mps")
    assert Device.chosen("cpu", VaeKind.KL) == CPU
