"""What the client and the graphs rely on, end to end."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load, save

from backend.core.comfyui_api import ComfyUIClient, Failed, FailureKind, FileRef, Interrupted, Picture
from backend.core.model_choice import Models
from backend.core.model_families import SD15
from backend.core.sampling import Sampling
from backend.core.wire import Wire, WireClosed
from backend.core.workflow_builder import (
    DecodeLatents,
    DreamStep,
    EncodePicture,
    ImageToImage,
    TextToImage,
    WorkflowBuilder,
)
from backend.errors import EngineAnswerError, GraphRejected
from tests.contract.conftest import GUARD_S, LONG_STEPS, SIZE_PX, Server, Studio, finished

pytestmark = pytest.mark.contract


def pixels(picture: Picture) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(picture.data)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def latent_file(*latents: NDArray[np.float32]) -> bytes:
    batch = np.ascontiguousarray(np.concatenate(latents))
    return save({"latent_tensor": batch, "latent_format_version_0": np.zeros(0, np.float32)})


def test_words_become_a_picture_and_a_latent(studio: Studio) -> None:
    end, latent = studio.keyframe()
    (picture,) = end.pictures
    assert pixels(picture).shape == (SIZE_PX, SIZE_PX, 3)
    tensors = load(studio.client.download(latent))
    assert tensors["latent_tensor"].shape == (1, 4, SIZE_PX // 8, SIZE_PX // 8)
    assert tensors["latent_tensor"].dtype == np.float32
    assert tensors["latent_format_version_0"].size == 0
    assert end.engine_s > 0


def test_the_dream_goes_on_from_a_latent_that_never_left_the_server(studio: Studio) -> None:
    _, latent = studio.keyframe()
    end = studio.finish(DreamStep(latent, "a dog", "", studio.server.seed(), 0.5))
    assert len(end.pictures) == 1
    assert len(end.files) == 1


def test_a_picture_that_was_uploaded_is_dreamt_on_and_encoded(studio: Studio) -> None:
    end, _ = studio.keyframe()
    ref = studio.client.upload(end.pictures[0].data, studio.server.name("png"))
    dreamt = studio.finish(ImageToImage(ref, "a dog", "", studio.server.seed(), 0.5))
    assert pixels(dreamt.pictures[0]).shape == (SIZE_PX, SIZE_PX, 3)
    encoded = studio.finish(EncodePicture(ref, "a dog", ""), pictures=0)
    ((latent,),) = encoded.files.values()
    tensor = load(studio.client.download(latent))["latent_tensor"]
    assert tensor.shape == (1, 4, SIZE_PX // 8, SIZE_PX // 8)
    assert encoded.pictures == ()


def test_a_batch_of_latents_comes_back_as_pictures_in_its_order(studio: Studio) -> None:
    _, ref = studio.keyframe()
    one = load(studio.client.download(ref))["latent_tensor"]
    batch = [one, -one, np.ascontiguousarray(one[:, :, ::-1])]
    there = studio.client.upload(latent_file(*batch), studio.server.name("latent"), subfolder="contract")
    back = studio.client.upload(latent_file(*batch[::-1]), studio.server.name("latent"))
    forward = studio.finish(DecodeLatents(there, "a cat", ""), pictures=3).pictures
    backward = studio.finish(DecodeLatents(back, "a cat", ""), pictures=3).pictures
    for mine, other in zip(forward, reversed(backward), strict=True):
        np.testing.assert_array_equal(pixels(mine), pixels(other))
    assert len({picture.data for picture in forward}) == 3


def test_the_model_and_the_texts_stay_warm_between_keyframes_and_decoding(studio: Studio) -> None:
    _, latent = studio.keyframe()
    decoded = studio.finish(DecodeLatents(latent, "a cat", ""))
    again, _ = studio.keyframe()
    assert not {"1", "2", "3"} & {*decoded.executed, *again.executed}


def test_the_same_graph_again_costs_nothing_but_brings_its_picture(studio: Studio) -> None:
    workflow = studio.server.keyframe()
    first, second = studio.finish(workflow), studio.finish(workflow)
    assert first.prompt_id != second.prompt_id
    assert second.executed == (workflow.picture_node,)
    assert [picture.data for picture in first.pictures] == [picture.data for picture in second.pictures]
    assert first.files == second.files


def test_a_client_that_cannot_hear_gets_everything_by_http(server: Server) -> None:
    def no_wire(_url: str, _timeout_s: float) -> Wire:
        raise WireClosed("there is no socket in this test")

    client = ComfyUIClient(server.url, connect=no_wire)
    client.start()
    studio = Studio(client, server)
    end, _ = studio.keyframe()
    assert pixels(end.pictures[0]).shape == (SIZE_PX, SIZE_PX, 3)
    assert len(end.files) == 1
    client.close()


def test_a_job_that_waits_can_be_cancelled(studio: Studio) -> None:
    busy, _ = studio.submit(studio.server.keyframe(steps=LONG_STEPS))
    waiting, _ = studio.submit(studio.server.keyframe())
    studio.client.cancel(waiting)
    assert waiting.result(GUARD_S) == Interrupted(waiting.prompt_id)
    assert waiting.prompt_id not in studio.client.queue()
    studio.client.cancel(busy)


def test_a_job_that_runs_can_be_cancelled(studio: Studio) -> None:
    running, _ = studio.submit(studio.server.keyframe(steps=LONG_STEPS))
    behind, _ = studio.submit(studio.server.keyframe())
    studio.client.cancel(running)
    assert isinstance(running.result(GUARD_S), Interrupted)
    finished(behind)


def test_the_history_knows_how_a_prompt_ended_until_it_is_forgotten(studio: Studio) -> None:
    end, latent = studio.keyframe()
    entry = studio.client.history(end.prompt_id)
    assert entry is not None
    assert entry.outcome.value == "success"
    assert latent in [ref for refs in entry.files.values() for ref in refs]
    studio.client.forget(end.prompt_id)
    assert studio.client.history(end.prompt_id) is None


def test_a_file_that_is_no_latent_fails_in_its_node(studio: Studio) -> None:
    ref = studio.client.upload(b"not a latent at all", studio.server.name("latent"))
    job, _ = studio.submit(DecodeLatents(ref, "a cat", ""))
    end = job.result(GUARD_S)
    assert isinstance(end, Failed)
    assert (end.kind, end.node_type) == (FailureKind.EXECUTION, "LoadLatent")
    assert end.message


def test_a_latent_that_is_not_there_is_refused(studio: Studio) -> None:
    with pytest.raises(GraphRejected, match=r"LoadLatent.*nope\.latent"):
        studio.submit(DecodeLatents(FileRef("nope.latent"), "a cat", ""))


def test_a_checkpoint_that_is_not_there_is_refused_by_name(studio: Studio) -> None:
    models = Models(SD15, checkpoint="nope.safetensors")
    builder = WorkflowBuilder(models, Sampling(1, 5.0, "euler", "normal"), lambda: "contract/kf")
    with pytest.raises(GraphRejected, match=r"nope\.safetensors"):
        studio.submit(builder.build(TextToImage("a", "", 1, SIZE_PX, SIZE_PX)))


def test_a_spent_latent_can_be_emptied(studio: Studio) -> None:
    _, latent = studio.keyframe()
    emptied = studio.client.upload(b"", latent.filename, subfolder=latent.subfolder, type="output")
    assert emptied == latent
    assert studio.client.download(latent) == b""


def test_an_upload_of_the_same_name_gets_another_unless_it_overwrites(studio: Studio) -> None:
    name = studio.server.name("latent")
    first = studio.client.upload(b"one", name, overwrite=False)
    same = studio.client.upload(b"one", name, overwrite=False)
    other = studio.client.upload(b"two", name, overwrite=False)
    over = studio.client.upload(b"three", name)
    assert first == same == over == FileRef(name, "", "temp")
    assert other.filename == name.replace(".latent", " (1).latent")
    assert studio.client.download(first) == b"three"


def test_new_content_under_an_old_name_is_decoded_anew(studio: Studio) -> None:
    _, ref = studio.keyframe()
    one = load(studio.client.download(ref))["latent_tensor"]
    name = studio.server.name("latent")
    before = studio.finish(DecodeLatents(studio.client.upload(latent_file(one), name), "a", ""))
    after = studio.finish(DecodeLatents(studio.client.upload(latent_file(-one), name), "a", ""))
    assert before.pictures[0].data != after.pictures[0].data


def test_a_file_that_is_not_there_cannot_be_downloaded(studio: Studio) -> None:
    with pytest.raises(EngineAnswerError, match="404"):
        studio.client.download(FileRef("nope.latent"))


def test_the_server_says_what_it_is_and_what_it_has(studio: Studio) -> None:
    stats = studio.client.system_stats()
    assert stats.version != "unknown"
    assert stats.device != "unknown"
    assert studio.server.checkpoint in studio.client.models("checkpoints")
    assert studio.client.models("no-such-folder") == ()


@pytest.mark.parametrize(
    "node_class",
    [
        "CheckpointLoaderSimple",
        "CLIPTextEncode",
        "EmptyLatentImage",
        "LoadLatent",
        "SaveLatent",
        "LoadImage",
        "VAEEncode",
        "KSampler",
        "VAEDecode",
        "SaveImageWebsocket",
        "PreviewImage",
    ],
)
def test_the_server_has_every_node_that_we_build_with(studio: Studio, node_class: str) -> None:
    assert "required" in studio.client.object_info(node_class)[node_class]["input"]
