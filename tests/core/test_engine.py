from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from backend.core.comfyui_api import ComfyUIClient
from backend.core.engine import DreamNeeds, Engine, EngineKind
from backend.core.engine_jobs import finished, latent_file
from backend.core.engine_plan import FamilyPlanner, SamplingChoice
from backend.core.housekeeping import Housekeeping
from backend.core.model_choice import ModelWish
from backend.core.model_families import SDXL
from backend.core.workflow_builder import TextToImage
from backend.errors import EngineAnswerError, EngineUnreachable, GraphUnfit, JobFailed, ModelMissing
from backend.utils.prompt_manager import Prompt
from tests.fakes.fake_comfy import FakeComfy


def engine(
    url: str,
    models: ModelWish = ModelWish(),  # noqa: B008 - frozen
    sampling: SamplingChoice = SamplingChoice(),  # noqa: B008 - frozen
    needs: DreamNeeds = DreamNeeds(),  # noqa: B008 - frozen
) -> Engine:
    client = ComfyUIClient(url)
    house = Housekeeping(client, instance="test", hour=lambda: "2026010100", clock=lambda: 0.0)
    return Engine(
        client, EngineKind.COMFYUI, FamilyPlanner(models, sampling), house, needs=needs, job_timeout_s=60.0
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
    wished = ModelWish(checkpoint="dreamshaper_8.safetensor")
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
    sampling = SamplingChoice(steps=7, sampler="lcm").resolve(SDXL)
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


def test_work_before_connect_is_a_mistake_that_says_so(fake_comfy: FakeComfy) -> None:
    with pytest.raises(EngineAnswerError, match="before connect"):
        engine(fake_comfy.url).submit(TextToImage("a", "b", 1, 64, 64))


def test_a_node_that_the_server_lacks_is_named_before_anything_is_sent(fake_comfy: FakeComfy) -> None:
    fake_comfy.lose_node("LoadLatent")
    with pytest.raises(GraphUnfit, match="LoadLatent"):
        engine(fake_comfy.url).connect()
    engine(fake_comfy.url, needs=DreamNeeds(walks=False, continues=False)).connect()
    assert fake_comfy.posted("/prompt") == []


def test_a_sampler_that_the_server_lacks_is_named_with_the_nearest(fake_comfy: FakeComfy) -> None:
    with pytest.raises(GraphUnfit, match=r"sampler_name = .*eular.*did you mean .*euler"):
        engine(fake_comfy.url, sampling=SamplingChoice(sampler="eular")).connect()


def test_a_size_that_the_model_cannot_paint_is_named(fake_comfy: FakeComfy) -> None:
    with pytest.raises(GraphUnfit, match="width 516 px is not divisible by 8"):
        engine(fake_comfy.url, needs=DreamNeeds((516, 64))).connect()


def test_a_graph_that_would_be_refused_is_not_sent(fake_comfy: FakeComfy) -> None:
    comfy = engine(fake_comfy.url)
    comfy.connect()
    with pytest.raises(GraphUnfit, match="height 4 px"):
        comfy.submit(TextToImage("a", "b", 1, 64, 4))
    with pytest.raises(GraphUnfit, match="seed"):
        comfy.submit(TextToImage("a", "b", -1, 64, 64))
    assert fake_comfy.posted("/prompt") == []


def test_a_model_that_appears_later_is_found_at_the_next_connection(tmp_path: Path) -> None:
    with FakeComfy(tmp_path, checkpoints=[]) as fake:
        comfy = engine(fake.url)
        with pytest.raises(ModelMissing):
            comfy.connect()
        fake.set_checkpoints(["sd_xl_base.safetensors"])
        assert comfy.connect().checkpoint == "sd_xl_base.safetensors"


def test_memory_is_not_freed_while_others_have_jobs(fake_comfy: FakeComfy) -> None:
    comfy = engine(fake_comfy.url)
    fake_comfy.painter.hold()
    fake_comfy.foreign_job()
    comfy.free_memory()
    assert fake_comfy.posted("/free") == []
    fake_comfy.painter.release()
    until = 200
    while comfy.client.others_have_jobs() and until:
        until -= 1
    comfy.free_memory()
    assert len(fake_comfy.posted("/free")) == 1


def test_a_process_that_is_not_ours_is_not_restarted(fake_comfy: FakeComfy) -> None:
    assert engine(fake_comfy.url).restart() is False


@contextmanager
def dreaming(url: str) -> Iterator[Engine]:
    comfy = engine(url)
    comfy.connect()
    comfy.client.start()
    try:
        yield comfy
    finally:
        comfy.client.close()


def seed_picture() -> bytes:
    file = io.BytesIO()
    Image.effect_noise((64, 64), 80).convert("RGB").save(file, "PNG")
    return file.getvalue()


def full_latents(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*.latent") if path.stat().st_size and "output" in path.parts}


def test_encoding_a_picture_leaves_nothing_behind_and_the_words_warm(
    tmp_path: Path, fake_comfy: FakeComfy
) -> None:
    with dreaming(fake_comfy.url) as comfy:
        comfy.submit(TextToImage("a quiet lake", "text", 1, 64, 64))[0].result(30)
        kept = full_latents(tmp_path)
        assert len(kept) == 1
        assert comfy.encode_picture(seed_picture(), 30)
        assert full_latents(tmp_path) == kept
        graph = fake_comfy.posted("/prompt")[-1].json()["prompt"]
        words = [one["inputs"]["text"] for one in graph.values() if one["class_type"] == "CLIPTextEncode"]
        assert words == ["a quiet lake", "text"]


def test_an_encoded_picture_does_not_tell_the_house_when_this_run_began(
    tmp_path: Path, fake_comfy: FakeComfy
) -> None:
    """What is older than the first keyframe's latent is swept; a picture may be encoded after it."""
    output = tmp_path / "fake-comfy" / "output"
    fake_comfy.fault("GET", "/internal/folder_paths", body=json.dumps({"vae": [str(output / "vae")]}))
    with dreaming(fake_comfy.url) as comfy:
        job, workflow = comfy.submit(TextToImage("a quiet lake", "text", 1, 64, 64))
        first = latent_file(finished(job.result(30)), workflow)
        comfy.encode_picture(seed_picture(), 30)
        assert comfy.fetch_latent(first)
        assert comfy.house.deletes, "the keyframe's latent is still there, and its folder was found by it"


def test_a_picture_that_is_not_encoded_in_time_is_given_up_and_taken_back(fake_comfy: FakeComfy) -> None:
    with dreaming(fake_comfy.url) as comfy:
        fake_comfy.painter.hold()
        fake_comfy.foreign_job()
        with pytest.raises(JobFailed, match="not encoded within"):
            comfy.encode_picture(seed_picture(), 0.2)
        (posted,) = fake_comfy.posted("/prompt")
        assert posted.json()["prompt_id"] not in comfy.client.queue()
        fake_comfy.painter.release()


def test_another_plan_holds_from_the_next_job_on(fake_comfy: FakeComfy) -> None:
    comfy = engine(fake_comfy.url)
    comfy.connect()
    comfy.adopt(FamilyPlanner(ModelWish(), SamplingChoice(steps=3)), DreamNeeds())
    comfy.submit(TextToImage("a", "b", 1, 64, 64))
    graph = fake_comfy.posted("/prompt")[-1].json()["prompt"]
    assert [node["inputs"]["steps"] for node in graph.values() if "steps" in node["inputs"]] == [3]


def test_a_plan_that_the_server_cannot_follow_is_refused_and_the_one_before_stays(
    fake_comfy: FakeComfy,
) -> None:
    comfy = engine(fake_comfy.url)
    facts = comfy.connect()
    with pytest.raises(GraphUnfit, match="eulr"):
        comfy.adopt(FamilyPlanner(ModelWish(), SamplingChoice(sampler="eulr")), DreamNeeds())
    assert comfy.facts == facts
    comfy.submit(TextToImage("a", "b", 1, 64, 64))
    assert "eulr" not in fake_comfy.posted("/prompt")[-1].body.decode()
    comfy.connect()


def test_a_plan_made_before_the_server_is_there_is_the_one_that_is_connected_with(tmp_path: Path) -> None:
    with FakeComfy(tmp_path) as fake:
        comfy = engine(fake.url)
        comfy.adopt(FamilyPlanner(ModelWish(), SamplingChoice(sampler="eulr")), DreamNeeds())
        with pytest.raises(GraphUnfit, match="eulr"):
            comfy.connect()


def test_a_small_vae_that_the_engine_lacks_is_refused_by_name_before_anything_is_uploaded(
    fake_comfy: FakeComfy,
) -> None:
    client = ComfyUIClient(fake_comfy.url)
    house = Housekeeping(client, instance="test", hour=lambda: "2026010100", clock=lambda: 0.0)
    planner = FamilyPlanner(ModelWish(), SamplingChoice(), tiny_vae="taesd")
    comfy = Engine(client, EngineKind.COMFYUI, planner, house, needs=DreamNeeds(), job_timeout_s=60.0)
    comfy.connect()  # the dream itself needs none
    uploads = len(fake_comfy.posted("/upload/image"))
    with pytest.raises(GraphUnfit, match="VAELoader"):
        comfy.submit_decode(b"latents", 1, Prompt("sea", "sea", ""), tiny=True)
    assert len(fake_comfy.posted("/upload/image")) == uploads
