"""What dreams on a server: a model of a known family with its adapters, or a workflow of the user's own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from backend.config_lists import AdapterWish
from backend.core.adapter_files import adapters_of
from backend.core.adapters import usable
from backend.core.custom_workflow import CustomBuilder, CustomWorkflow
from backend.core.graph_validation import graph_problems
from backend.core.housekeeping import Housekeeping
from backend.core.jobs import FileRef
from backend.core.latent_nodes import AS_JPEG, FrameFormat, WalkFrames
from backend.core.model_choice import ModelWish, choose_models
from backend.core.model_families import SD15
from backend.core.model_family import ModelFamily
from backend.core.node_catalog import NodeCatalog
from backend.core.node_pack import NO_PACK, PACK_CLASSES, NodePack, PackUse, find_pack
from backend.core.sampling import Sampling
from backend.core.workflow_builder import (
    DecodeLatents,
    DreamStep,
    ImageToImage,
    Request,
    TextToImage,
    TinyVae,
    Workflow,
    WorkflowBuilder,
)
from backend.errors import GraphUnfit, StorageError

log = logging.getLogger(__name__)

_SOME_LATENT = FileRef("some.latent", type="temp")
_SOME_PICTURE = FileRef("some.png", type="temp")
_SOME_WALK = WalkFrames((_SOME_LATENT, _SOME_LATENT), "{}", (0.5,), "a", "b")
_NO_SIZE = (512, 512)
"""Stands where a workflow says nothing of its size, and then has no effect."""


class GraphBuilder(Protocol):
    """Turns typed requests into graphs."""

    def build(self, request: Request) -> Workflow: ...


class PlanServer(Protocol):
    """What a plan asks of the client."""

    @property
    def url(self) -> str: ...

    def models(self, folder: str) -> tuple[str, ...]: ...

    def metadata(self, folder: str, name: str) -> Mapping[str, str]: ...

    def upload(
        self, data: bytes, filename: str, *, subfolder: str = "", type: str = "temp", overwrite: bool = True
    ) -> FileRef: ...


@dataclass(frozen=True)
class SamplingChoice:
    """What the settings ask for; None leaves it to the model family."""

    steps: int | None = None
    cfg: float | None = None
    sampler: str | None = None
    scheduler: str | None = None

    def resolve(self, family: ModelFamily) -> Sampling:
        """Fill the gaps with what the family likes."""
        return family.sampling(self.steps, self.cfg, self.sampler, self.scheduler)


@dataclass(frozen=True)
class Plan:
    """How this server is asked.

    Attributes:
        label: The model or workflow, as people call it.
        feeds_pictures: Keyframes go on from pictures, since the graph takes no latent.
        pack: What the server has of our own nodes, and whether the graphs have them.
    """

    builder: GraphBuilder
    label: str
    family: ModelFamily
    feeds_pictures: bool = False
    pack: NodePack = NO_PACK

    def samples(self, size: tuple[int, int], *, walks: bool, continues: bool) -> tuple[Workflow, ...]:
        """A graph of each sort that the dream will need, to be looked at before it begins.

        Raises:
            GraphUnfit: The plan has no such graph.
        """
        requests: list[Request] = [TextToImage("a", "b", 1, *size)]
        if continues and self.feeds_pictures:
            requests.append(ImageToImage(_SOME_PICTURE, "a", "b", 1, 0.5))
        elif continues:
            requests.append(DreamStep(_SOME_LATENT, "a", "b", 1, 0.5))
        if walks:
            requests.append(DecodeLatents(_SOME_LATENT, "a", "b"))
        try:
            return tuple(self.builder.build(request) for request in requests)
        except ValueError as error:
            raise GraphUnfit((str(error),)) from error


class Planner(Protocol):
    """Makes the plan anew each time the server is connected to: what it has may have changed."""

    def plan(self, server: PlanServer, house: Housekeeping, catalog: NodeCatalog) -> Plan:
        """Raises EngineError."""
        ...


@dataclass(frozen=True)
class FamilyPlanner:
    """A model of a known family.

    Attributes:
        frames: How our own nodes are to encode frames; None leaves the nodes alone where they are there.
        tiny_vae: A small VAE that decodes in-betweens, as VAELoader knows it.
        streams: Whether in-betweens are decoded as keyframes are; else, or without any, those nodes are idle.
    """

    models: ModelWish
    sampling: SamplingChoice
    adapters: Sequence[AdapterWish] = ()
    frames: FrameFormat | None = AS_JPEG
    streams: bool = True
    tiny_vae: str | None = None

    def plan(self, server: PlanServer, house: Housekeeping, catalog: NodeCatalog) -> Plan:
        """Chooses the model and brings the adapters' pictures there.

        Raises:
            ModelMissing: If the model, or a part of it, is not there.
            EngineError: If the server does not answer, or what is wished does not go together.
        """

        def bring(picture: bytes, number: int) -> FileRef:
            # Not the temp folder: that is wiped when the server starts, and these are used for months.
            return server.upload(picture, house.kept_name(number, "png"), type="input")

        try:
            models = choose_models(self.models, server)
            sampling = self.sampling.resolve(models.family)
            wished = adapters_of(self.adapters, bring)
        except (ValueError, StorageError) as error:
            raise GraphUnfit((str(error),)) from error
        adapters = usable(wished, catalog.names)
        for left_out in (one for one in wished if one not in adapters):
            log.warning("%s is left out: the server does not have it", left_out)
        common = (models, sampling, house.latent_prefix, adapters)
        tiny = TinyVae(self.tiny_vae, self.tiny_vae in catalog.choices("VAELoader", "vae_name"))
        plain = WorkflowBuilder(*common, tiny=tiny)
        ours = WorkflowBuilder(*common, self.frames, tiny)
        pack = self._pack(catalog, ours)
        return Plan(ours if pack.used else plain, models.label, models.family, pack=pack)

    def _pack(self, catalog: NodeCatalog, builder: WorkflowBuilder) -> NodePack:
        """What there is of our own nodes; whatever is odd about them, the dream goes on without them."""
        useful = self.streams and (self.frames is None or builder.streams_walks)
        pack = find_pack(catalog, wanted=self.frames is not None, useful=useful)
        if not pack.used:
            return pack
        # The model's own nodes are looked at where the plan is: here only ours count.
        problems = graph_problems(builder.build(_SOME_WALK).graph, catalog)
        ours = [problem for problem in problems if problem.class_type in PACK_CLASSES]
        if not ours:
            return pack
        log.debug("our own nodes are not as they should be: %s", ours[0])
        return replace(pack, use=PackUse.OLD)


@dataclass(frozen=True)
class WorkflowPlanner:
    """A workflow of the user's own.

    Attributes:
        size: Width and height that the settings name; None leaves the workflow its own.
        node_pack: Whether the settings allow our own nodes, which such a workflow has no use for.
    """

    workflow: CustomWorkflow
    size: tuple[int, int] | None = None
    node_pack: bool = True

    def plan(self, server: PlanServer, house: Housekeeping, catalog: NodeCatalog) -> Plan:
        """Needs nothing of the server but its validator."""
        return self._plan(house.latent_prefix, find_pack(catalog, wanted=self.node_pack, useful=False))

    def check(self, *, walks: bool, continues: bool) -> None:
        """Whether it has all that a mode needs of a workflow, which can be told without any server.

        Raises:
            GraphUnfit: It lacks a binding.
        """
        plan = self._plan(lambda: "some", NO_PACK)
        plan.samples((plan.family.width, plan.family.height), walks=walks, continues=continues)

    def _plan(self, latent_prefix: Callable[[], str], pack: NodePack) -> Plan:
        builder = CustomBuilder(self.workflow, latent_prefix, self.size)
        width, height = builder.size or _NO_SIZE
        family = replace(SD15, name="custom", line="custom", width=width, height=height)
        return Plan(builder, f"workflow {self.workflow.name}", family, builder.feeds_pictures, pack)
