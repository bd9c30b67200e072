"""Dreamloop's nodes for ComfyUI: latents that stay at hand, walks between them, frames that are streamed.

Installed by ``main.py comfyui install-nodes PATH`` into ``custom_nodes/dreamloop``. Dreamloop finds them
through ``/object_info`` and dreams without them where they are not there.
"""

from .nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from .version import VERSION

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "VERSION"]
