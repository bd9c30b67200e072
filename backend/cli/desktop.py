"""The desktop that Dreamloop was started on, where there is one: shows the pages to who asked for them."""

from __future__ import annotations

import logging
import sys
import threading
import webbrowser
from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)


class PageOpener:
    """Opens the display page in the browser, once.

    Args:
        environ: Tells whether there is a desktop.
        show: Shows an address to the user; says whether it could.
        platform: As in ``sys.platform``.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        show: Callable[[str], bool] = webbrowser.open,
        platform: str = sys.platform,
    ) -> None:
        self._show = show
        # Without one, webbrowser would start a browser of text in this very terminal.
        self._desktop = platform == "darwin" or any(
            environ.get(key) for key in ("DISPLAY", "WAYLAND_DISPLAY")
        )
        self._done = False

    def look(self, address: str | None) -> None:
        """To be called until there is an address; waits for no browser."""
        if address is None or self._done:
            return
        self._done = True
        if not self._desktop:
            log.warning("there is no desktop here to open a browser on; open %s where there is one", address)
            return
        threading.Thread(target=self._open, args=(address,), name="browser", daemon=True).start()

    def _open(self, address: str) -> None:
        try:
            shown = self._show(address)
        except webbrowser.Error:
            shown = False
        if not shown:
            log.warning("no browser could be started here; open %s in one", address)
