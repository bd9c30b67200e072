from __future__ import annotations

from pathlib import Path

import pytest

from backend.core.comfyui_api import ComfyUIClient
from backend.core.engine import Engine, EngineKind, SamplingChoice
from backend.core.jobs import FileRef
from backend.core.model_families import SDXL
from backend.errors import EngineAnswerError, EngineUnreachable, ModelMissing
from tests.fakes.fake_comfy import FakeComfy

PREFER_NOTHING = SamplingChoice(None, None, None, None, None)


def engine(url: str, choice: SamplingChoice = PREFER_NOTHING, own_output: Path | None = None) -> Engine:
    return Engine(
        ComfyUIClient(url),
        EngineKind.COMFYUI,
        choice,
        job_timeout_s=60.0,
        instance="test",
        hour=lambda: "2026010100",
        own_output=own_output,
    )


def test_auto_takes_the_first_checkpoint_of_a_known_family(tmp_path: Path) -> None:
    with FakeComfy(tmp_path, checkpoints=["mystery.safetensors", "sdxl_base.safetensors"]) as fake:
        facts = engine(fake.url).connect()
    assert facts.checkpoint == "sdxl_base.safetensors"
    assert facts.family is SDXL


def test_auto_takes_what_there_is_where_no_family_is_known(tmp_path: Path) -> None:
    with FakeComfy(tmp_path, checkpoints=["mystery.safetensors"]) as fake:
        assert engine(fake.url).connect().checkpoint == "mystery.safetensors"


def test_a_checkpoint_that_is_not_there_is_named_with_the_nearest(tmp_path: Path) -> None:
    wished = SamplingChoice("dreamshaper_8.safetensor", None, None, None, None)
    with (
        FakeComfy(tmp_path, checkpoints=["dreamshaper_8.safetensors"]) as fake,
        pytest.raises(ModelMissing, match=r"did you mean 'dreamshaper_8.safetensors'"),
    ):
        engine(fake.url, wished).connect()


def test_a_server_without_any_checkpoint_is_said_to_have_none(tmp_path: Path) -> None:
    with FakeComfy(tmp_path, checkpoints=[]) as fake, pytest.raises(ModelMissing, match="none at all"):
        engine(fake.url).connect()


def test_nobody_at_the_address_is_unreachable(tmp_path: Path) -> None:
    with FakeComfy(tmp_path, up=False) as fake, pytest.raises(EngineUnreachable):
        engine(fake.url).connect()


def test_settings_win_over_the_family_and_leave_it_the_rest() -> None:
    sampling = SamplingChoice(None, 7, None, "lcm", None).resolve(SDXL)
    assert (sampling.steps, sampling.sampler) == (7, "lcm")
    assert (sampling.cfg, sampling.scheduler) == (SDXL.cfg, SDXL.scheduler)


def test_uploads_take_turns_under_few_names(fake_comfy: FakeComfy) -> None:
    comfy = engine(fake_comfy.url)
    names = {comfy.upload_latent(b"latent %d" % number).filename for number in range(50)}
    assert len(names) == 16


def test_a_spent_latent_is_emptied_on_a_server_of_others(fake_comfy: FakeComfy) -> None:
    comfy = engine(fake_comfy.url)
    spent = comfy.client.upload(
        b"some latent", "keyframe_00001_.latent", subfolder="dreamloop/test", type="output"
    )
    comfy.retire_latent(spent)
    assert comfy.fetch_latent(spent) == b""


def test_a_spent_latent_is_deleted_where_the_folder_is_ours_and_nothing_outside_it(
    tmp_path: Path, fake_comfy: FakeComfy
) -> None:
    ours = tmp_path / "ours"
    (ours / "dreamloop").mkdir(parents=True)
    spent, precious = ours / "dreamloop" / "a.latent", tmp_path / "precious.latent"
    spent.write_bytes(b"spent")
    precious.write_bytes(b"precious")
    comfy = engine(fake_comfy.url, own_output=ours)
    comfy.retire_latent(FileRef("a.latent", "dreamloop"))
    comfy.retire_latent(FileRef("precious.latent", ".."))
    assert not spent.exists()
    assert precious.exists()


def test_work_before_connect_is_a_mistake_that_says_so(fake_comfy: FakeComfy) -> None:
    from backend.core.workflow_builder import TextToImage

    with pytest.raises(EngineAnswerError, match="before connect"):
        engine(fake_comfy.url).submit(TextToImage("a", "b", 1, 64, 64))
