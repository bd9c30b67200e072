"""A graph in the making, on the ground of a workflow of the user's."""

from __future__ import annotations

import re

from backend.core.api_graph import Source, changeable, links_of, loose_ends, needed_by, repoint
from backend.core.jobs import FileRef, Graph
from backend.core.workflow_builder import SIZE_STEP_PX
from backend.core.workflow_places import SAVERS, Place, unsaved

_OF_SAMPLERS = ("model", "guider")
"""Links that only a node that samples has, below a latent."""

_WRITES = re.compile(r"save|preview")
"""Names of nodes that put files into the server's folders, of whatever node pack."""


class Draft:
    """The user's nodes without those that save, and ours beside them.

    Attributes:
        nodes: The graph so far.
    """

    def __init__(self, original: Graph) -> None:
        self._original = original
        self.nodes = changeable(original)
        self._leave_out_savers()

    def copy(self) -> Draft:
        """Another draft that is as far as this one."""
        other = Draft(self._original)
        other.nodes = changeable(self.nodes)
        return other

    def _leave_out_savers(self) -> None:
        """What saved a picture is ours to send. Newer servers let such nodes hand on what they saved."""
        for node_id, node in self._original.items():
            if node["class_type"] in SAVERS:
                del self.nodes[node_id]
                if source := unsaved(self._original, Source(node_id, 0)):
                    repoint(self.nodes, Source(node_id, 0), source)

    def fill(self, places: tuple[Place, ...], value: object) -> None:
        """The value at every one of the places."""
        for place in places:
            if place.node in self.nodes:
                self.nodes[place.node]["inputs"][place.input] = value

    def add(self, class_type: str, **inputs: object) -> str:
        """A node of ours, under a number that no node of theirs has; gives its id."""
        numbers = [int(node_id) for node_id in self._original if node_id.isdecimal() and len(node_id) < 10]
        number = max(numbers, default=0) + 1
        while str(number) in self.nodes or str(number) in self._original:
            number += 1
        self.nodes[str(number)] = {"class_type": class_type, "inputs": inputs}
        return str(number)

    def load(self, class_type: str, input_name: str, file: FileRef) -> Source:
        """What a file on the server holds."""
        return Source(self.add(class_type, **{input_name: file.annotated}), 0)

    def save(self, latent: Source, prefix: str) -> str:
        """A node that saves a latent; gives its id."""
        return self.add("SaveLatent", samples=latent.link, filename_prefix=prefix)

    def feed_file(self, place: Place, class_type: str, input_name: str, file: FileRef) -> None:
        """The file name into the user's own loader, or a loader of ours to where a link belongs."""
        if isinstance(self._original[place.node]["inputs"][place.input], str):
            self.fill((place,), file.annotated)
        else:
            self.feed(place, self.load(class_type, input_name, file))

    def feed(self, place: Place, source: Source) -> None:
        """Something else instead of what stands at ``place``, or instead of what the loader there gives."""
        if isinstance(self._original[place.node]["inputs"][place.input], str):
            repoint(self.nodes, Source(place.node, 0), source)
        else:
            self.fill((place,), source.link)

    def resize_latent(self, latent: Source, size_px: tuple[int, int]) -> Source:
        """A latent of a picture of that size."""
        width, height = (side // SIZE_STEP_PX * SIZE_STEP_PX for side in size_px)
        how = {"upscale_method": "bislerp", "width": width, "height": height, "crop": "disabled"}
        return Source(self.add("LatentUpscale", samples=latent.link, **how), 0)

    def resize_picture(self, picture: Source, size_px: tuple[int, int]) -> Source:
        """A picture cut to the shape of that size, and scaled."""
        how = {"upscale_method": "lanczos", "width": size_px[0], "height": size_px[1], "crop": "center"}
        return Source(self.add("ImageScale", image=picture.link, **how), 0)

    def above(self, node_id: str) -> set[str]:
        """A node and all that it needs."""
        return needed_by(self.nodes, [node_id])

    def samples(self, node_id: str) -> bool:
        """Whether a sampler, or anything else that asks a model, has to run for this node."""
        return any(
            "sampler" in self.nodes[above]["class_type"].lower()
            or any(name in _OF_SAMPLERS for name, _ in links_of(self.nodes[above]))
            for above in self.above(node_id)
        )

    def leave_out_other_savers(self, *ours: str) -> None:
        """Drops the ends that write files, as far as their names tell: what they save would pile up."""
        needed = set[str]().union(*map(self.above, ours))
        for node_id in loose_ends(self._original) - needed:
            if node_id in self.nodes and _WRITES.search(self.nodes[node_id]["class_type"].lower()):
                del self.nodes[node_id]

    def leave_out_other_outputs(self, ours: str) -> None:
        """Drops the ends of the user's graph: output nodes of whatever class stand there, and would run."""
        for node_id in loose_ends(self._original) - self.above(ours):
            self.nodes.pop(node_id, None)
