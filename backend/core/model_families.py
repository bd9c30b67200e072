"""Every model family that Dreamloop knows, as data.

A new family is one more entry in ``FAMILIES`` and its golden graphs under tests/data/graphs. Numbers are
those of ComfyUI's own templates (github.com/Comfy-Org/workflow_templates) and examples where there are any;
every one of them can be set otherwise in the configuration.
"""

from __future__ import annotations

from dataclasses import replace

from backend.core.model_family import ModelFamily, ModelPatch, Negative, Parts, Slot

CLIP_L = Slot((r"^clip_l\.", r"clip[-_]l(?!ong|_hidream)"), "clip_l.safetensors")
CLIP_G = Slot((r"^clip_g\.", r"clip[-_]g(?!_hidream)"), "clip_g.safetensors")
T5_XXL = Slot((r"^t5xxl", r"t5[-_]?(v1[-_.]1[-_])?xxl"), "t5xxl_fp8_e4m3fn_scaled.safetensors")
LLAMA = Slot((r"llama[-_.]?3[-_.]1[-_.]8b",), "llama_3.1_8b_instruct_fp8_scaled.safetensors")
QWEN_VL = Slot((r"qwen[-_.]?2[-_.]5[-_.]?vl[-_.]7b",), "qwen_2.5_vl_7b_fp8_scaled.safetensors")
QWEN_4B = Slot((r"qwen[-_.]?3[-_.]4b",), "qwen_3_4b.safetensors")
QWEN_8B = Slot((r"qwen[-_.]?3[-_.]8b",), "qwen_3_8b_fp8mixed.safetensors")
MISTRAL = Slot((r"mistral[-_.]?3[-_.]small", r"mistral[-_.]?small"), "mistral_3_small_flux2_fp8.safetensors")

SD_VAE = Slot((r"vae-ft-mse", r"sd[-_]?1[-_.]?5.*vae"), "vae-ft-mse-840000-ema-pruned.safetensors")
SDXL_VAE = Slot((r"sdxl.*vae", r"xl[-_.]?vae"), "sdxl_vae.safetensors")
SD3_VAE = Slot((r"sd[-_]?3.*vae",), "sd3_vae.safetensors")
FLUX_VAE = Slot((r"^ae\.", r"^flux[-_.]?1?[-_.]?(dev[-_.])?(ae|vae)"), "ae.safetensors")
FLUX2_VAE = Slot((r"flux[-_.]?2.*(ae|vae)",), "flux2-vae.safetensors")
QWEN_VAE = Slot((r"qwen[-_.]?image[-_.]?vae",), "qwen_image_vae.safetensors")

_SD3_SHIFT = ModelPatch("ModelSamplingSD3", {"shift": 3.0}, "shift")
_LCM = ModelPatch("ModelSamplingDiscrete", {"sampling": "lcm", "zsnr": False})
# At 1024x1024 the shift is max_shift exactly; both numbers are what ComfyUI takes without the node.
_FLUX_SHIFT = ModelPatch(
    "ModelSamplingFlux", {"max_shift": 1.15, "base_shift": 0.5, "width": 1024, "height": 1024}, "max_shift"
)

EMBEDDED = ModelFamily("embedded", "embedded", (r"^dreamloop-painter",), 768, 432, 8, 5.0, "euler", "normal")

SD15 = ModelFamily(
    name="SD 1.5",
    line="sd15",
    patterns=(r"sd[-_ ]?1[._-]?[45]", r"v1[-_.][45]"),
    architectures=(r"^stable-diffusion-v1",),
    width=704,
    height=384,
    steps=20,
    cfg=6.5,
    sampler="dpmpp_2m",
    scheduler="karras",
    parts=Parts("stable_diffusion", (CLIP_L,), SD_VAE),
)
SD15_LCM = replace(
    SD15,
    name="SD 1.5 LCM",
    patterns=(*SD15.patterns, r"lcm"),
    variant=(r"lcm",),
    steps=8,
    cfg=1.5,
    sampler="lcm",
    scheduler="sgm_uniform",
    patch=_LCM,
    tail=True,
)

SD2 = ModelFamily(
    name="SD 2.x",
    line="sd2",
    patterns=(r"^v2[-_.][01]", r"sd[-_ ]?v?2[-_.]?[01]\b", r"stable-diffusion-2", r"^512-base", r"^768-v"),
    architectures=(r"^stable-diffusion-v2",),
    width=704,
    height=384,
    steps=24,
    cfg=7.0,
    sampler="dpmpp_2m",
    scheduler="karras",
)
# Its v-prediction is read from the weights by ComfyUI; what differs for us is the number of pixels.
SD2_768 = replace(SD2, name="SD 2.x 768", variant=(r"768",), width=1024, height=576)
SD_TURBO = replace(
    SD2,
    name="SD Turbo",
    patterns=(r"sd[-_]?turbo",),
    variant=(r"turbo",),
    steps=4,
    cfg=1.0,
    sampler="euler_ancestral",
    scheduler="sgm_uniform",
    tail=True,
)

SDXL = ModelFamily(
    name="SDXL",
    line="sdxl",
    patterns=(r"xl", r"\bpony", r"illustrious", r"noobai"),
    architectures=(r"^stable-diffusion-xl",),
    width=1344,
    height=768,
    steps=24,
    cfg=6.0,
    sampler="dpmpp_2m",
    scheduler="karras",
    parts=Parts("sdxl", (CLIP_L, CLIP_G), SDXL_VAE),
)
SDXL_TURBO = replace(
    SDXL,
    name="SDXL Turbo",
    variant=(r"turbo",),
    width=704,
    height=384,
    steps=4,
    cfg=1.0,
    sampler="euler_ancestral",
    scheduler="sgm_uniform",
    tail=True,
)
# The noise levels of its eight steps hold those of the four- and two-step models too.
SDXL_LIGHTNING = replace(
    SDXL,
    name="SDXL Lightning",
    variant=(r"lightning", r"hyper"),
    steps=8,
    cfg=1.0,
    sampler="euler",
    scheduler="sgm_uniform",
    tail=True,
)
SDXL_LCM = replace(
    SDXL,
    name="SDXL LCM",
    variant=(r"lcm",),
    steps=8,
    cfg=1.5,
    sampler="lcm",
    scheduler="sgm_uniform",
    patch=_LCM,
    tail=True,
)

SD3 = ModelFamily(
    name="SD 3",
    line="sd3",
    patterns=(r"sd[-_. ]?3(?!\d)", r"stable[-_.]?diffusion[-_.]?3"),
    architectures=(r"^stable-diffusion-v?3",),
    width=1344,
    height=768,
    steps=28,
    cfg=4.5,
    sampler="dpmpp_2m",
    scheduler="sgm_uniform",
    latent_channels=16,
    empty_latent="EmptySD3LatentImage",
    patch=_SD3_SHIFT,
    parts=Parts("sd3", (CLIP_L, CLIP_G, T5_XXL), SD3_VAE),
    bare=(r"^sd3_medium\.", r"^sd3\.5_(large|medium)(_turbo)?\."),
)
SD35 = replace(
    SD3,
    name="SD 3.5",
    variant=(r"3[-_.]?5",),
    steps=20,
    cfg=4.0,
    sampler="euler",
)
SD35_TURBO = replace(
    SD3,
    name="SD 3.5 Turbo",
    variant=(r"turbo",),
    steps=4,
    cfg=1.0,
    sampler="euler",
    negative=Negative.ZERO,
    tail=True,
)

FLUX = ModelFamily(
    name="Flux dev",
    line="flux",
    patterns=(r"flux",),
    architectures=(r"^flux[-_.]?1", r"^flux$"),
    width=1344,
    height=768,
    steps=20,
    cfg=1.0,
    sampler="euler",
    scheduler="simple",
    latent_channels=16,
    empty_latent="EmptySD3LatentImage",
    guidance=3.5,
    negative=Negative.ZERO,
    patch=_FLUX_SHIFT,
    parts=Parts("flux", (CLIP_L, T5_XXL), FLUX_VAE),
    bare=(r"^flux1-(dev|schnell|krea-dev)(-fp8-e\w+)?\.",),
)
FLUX_SCHNELL = replace(
    FLUX, name="Flux schnell", variant=(r"schnell",), steps=4, guidance=None, patch=None, tail=True
)

FLUX2 = ModelFamily(
    name="Flux 2",
    line="flux2",
    patterns=(r"flux[-_. ]?2(?!\d)",),
    architectures=(r"^flux[-_.]?2",),
    width=1344,
    height=768,
    steps=20,
    cfg=1.0,
    sampler="euler",
    scheduler="simple",
    latent_channels=128,
    cell_px=16,
    empty_latent="EmptyFlux2LatentImage",
    guidance=4.0,
    negative=Negative.ZERO,
    tail=True,
    schedule_node="Flux2Scheduler",
    parts=Parts("flux2", (MISTRAL,), FLUX2_VAE),
    since="0.3.72",
)
_KLEIN_9B = Parts("flux2", (QWEN_8B,), FLUX2_VAE)
FLUX2_KLEIN = replace(
    FLUX2,
    name="Flux 2 klein",
    variant=(r"klein",),
    steps=4,
    guidance=None,
    parts=Parts("flux2", (QWEN_4B,), FLUX2_VAE),
    since="0.8.2",
)
FLUX2_KLEIN_9B = replace(FLUX2_KLEIN, name="Flux 2 klein 9B", variant=(r"klein.*9b",), parts=_KLEIN_9B)
FLUX2_KLEIN_BASE = replace(
    FLUX2_KLEIN,
    name="Flux 2 klein base",
    variant=(r"klein.*base",),
    steps=20,
    cfg=5.0,
    negative=Negative.TEXT,
)
FLUX2_KLEIN_BASE_9B = replace(
    FLUX2_KLEIN_BASE, name="Flux 2 klein base 9B", variant=(r"klein.*base.*9b",), parts=_KLEIN_9B
)

HIDREAM = ModelFamily(
    name="HiDream",
    line="hidream",
    patterns=(r"hidream(?![-_. ]?[eo]1)",),
    architectures=(r"^hidream[-_.]?i1",),
    width=1344,
    height=768,
    steps=50,
    cfg=5.0,
    sampler="uni_pc",
    scheduler="simple",
    latent_channels=16,
    empty_latent="EmptySD3LatentImage",
    patch=_SD3_SHIFT,
    parts=Parts(
        "hidream",
        (
            replace(
                CLIP_L,
                patterns=(r"clip[-_]l[-_]hidream", *CLIP_L.patterns),
                example="clip_l_hidream.safetensors",
            ),
            replace(
                CLIP_G,
                patterns=(r"clip[-_]g[-_]hidream", *CLIP_G.patterns),
                example="clip_g_hidream.safetensors",
            ),
            T5_XXL,
            LLAMA,
        ),
        FLUX_VAE,
    ),
)
HIDREAM_DEV = replace(
    HIDREAM,
    name="HiDream dev",
    variant=(r"dev",),
    steps=28,
    cfg=1.0,
    sampler="lcm",
    scheduler="normal",
    negative=Negative.ZERO,
    patch=replace(_SD3_SHIFT, inputs={"shift": 6.0}),
    tail=True,
)
HIDREAM_FAST = replace(HIDREAM_DEV, name="HiDream fast", variant=(r"fast",), steps=16, patch=_SD3_SHIFT)

QWEN_IMAGE = ModelFamily(
    name="Qwen-Image",
    line="qwen-image",
    patterns=(r"qwen[-_. ]?image(?![-_. ]?2\.)",),
    architectures=(r"^qwen[-_.]?image$",),
    width=1664,
    height=928,
    steps=20,
    cfg=2.5,
    sampler="euler",
    scheduler="simple",
    latent_channels=16,
    empty_latent="EmptySD3LatentImage",
    patch=ModelPatch("ModelSamplingAuraFlow", {"shift": 3.1}, "shift"),
    parts=Parts("qwen_image", (QWEN_VL,), QWEN_VAE),
)

Z_IMAGE = ModelFamily(
    name="Z-Image",
    line="z-image",
    patterns=(r"z[-_. ]?image",),
    architectures=(r"^z[-_.]?image",),
    width=1344,
    height=768,
    steps=25,
    cfg=4.0,
    sampler="res_multistep",
    scheduler="simple",
    latent_channels=16,
    empty_latent="EmptySD3LatentImage",
    patch=ModelPatch("ModelSamplingAuraFlow", {"shift": 3.0}, "shift"),
    parts=Parts("lumina2", (QWEN_4B,), FLUX_VAE),
    since="0.3.73",
)
Z_IMAGE_TURBO = replace(
    Z_IMAGE, name="Z-Image Turbo", variant=(r"turbo",), steps=8, cfg=1.0, negative=Negative.ZERO, tail=True
)

FAMILIES = (
    EMBEDDED,
    FLUX2_KLEIN_BASE_9B, FLUX2_KLEIN_BASE, FLUX2_KLEIN_9B, FLUX2_KLEIN, FLUX2,
    FLUX_SCHNELL, FLUX,
    HIDREAM_FAST, HIDREAM_DEV, HIDREAM,
    QWEN_IMAGE,
    Z_IMAGE_TURBO, Z_IMAGE,
    SD35_TURBO, SD35, SD3,
    SDXL_TURBO, SDXL_LIGHTNING, SDXL_LCM, SDXL,
    SD_TURBO, SD2_768, SD2,
    SD15_LCM, SD15,
)  # fmt: skip
"""Every family, in the order in which they are tried: a line's variants before its plain model."""
