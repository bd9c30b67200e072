"""ComfyUI's endpoints as functions: typed facts in, typed facts out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from backend.core.attempt import Attempt
from backend.core.comfyui_answers import (
    MARK_KEY,
    HistoryEntry,
    QueueState,
    SystemStats,
    history_entry,
    marked_prompts,
    queue_state,
    rejection,
    system_stats,
)
from backend.core.comfyui_http import Answer, AnswerCut, AnswerLost, ComfyHttp
from backend.core.comfyui_messages import image_format
from backend.core.jobs import FileRef, Picture
from backend.errors import EngineAnswerError, EngineUnreachable

log = logging.getLogger(__name__)

T = TypeVar("T")

_TAKE_BACK_S = 2.0
_DOWNLOADS = 3
_PNG_END = b"IEND\xaeB`\x82"
_JPEG_END = b"\xff\xd9"


class ComfyServer:
    """One server's endpoints. Thread-safe. All methods raise EngineUnreachable and EngineAnswerError."""

    def __init__(self, url: str, http: ComfyHttp, report: Callable[[bool], None], mark: str = "") -> None:
        """Takes a URL and an HTTP client.

        Args:
            url: ``http(s)://host:port``, with the path under which a proxy serves it, if it does.
            http: Makes the calls.
            report: Told after each call whether the server answered at all.
            mark: By which our prompts are known in the server's queue, whichever run posted them.
        """
        self.url = url.rstrip("/")
        self._http = http
        self._report = report
        self._mark = mark

    def close(self) -> None:
        """Closes all connections."""
        self._http.close()

    def post(self, attempt: Attempt, client_id: str) -> None:
        """POST /prompt under the attempt's own id; raises GraphRejected, too."""
        body = {
            "prompt": attempt.posted_graph(),
            "client_id": client_id,
            "prompt_id": attempt.prompt_id,
            **({"extra_data": {MARK_KEY: self._mark}} if self._mark else {}),
        }
        answer = self._call(lambda: self._http.post(f"{self.url}/prompt", body))
        if answer.status == HTTPStatus.BAD_REQUEST:
            raise rejection(answer.json())
        accepted = answer.require_ok().json()
        if not isinstance(accepted, Mapping):
            raise EngineAnswerError(answer.url, "a POST answered with no object")
        if accepted.get("node_errors"):
            # The valid branches would run all the same: half a result is none.
            self.take_back([attempt.prompt_id])
            raise rejection(accepted)

    def take_back(self, prompt_ids: Sequence[str]) -> None:
        """Takes prompts from the queue, and interrupts the one that runs, if it is among them."""
        if not prompt_ids:
            return
        self._small_post("/queue", {"delete": list(prompt_ids)}, _TAKE_BACK_S)
        for prompt_id in self.queue(within_s=_TAKE_BACK_S).running:
            if prompt_id in prompt_ids:
                self._small_post("/interrupt", {"prompt_id": prompt_id}, _TAKE_BACK_S)

    def queue(self, *, within_s: float | None = None) -> QueueState:
        """The prompts of all clients."""
        return self._parsed(queue_state, "/queue", within_s=within_s)

    def marked(self) -> tuple[str, ...]:
        """The prompts in its queue that bear our mark, those of earlier runs among them."""
        return self._parsed(lambda body: marked_prompts(body, self._mark), "/queue") if self._mark else ()

    def history(self, prompt_id: str) -> HistoryEntry | None:
        """How a prompt ended, or None."""
        return self._parsed(
            lambda body: history_entry(body, prompt_id), f"/history/{quote(prompt_id, safe='')}"
        )

    def forget(self, prompt_ids: Sequence[str]) -> None:
        """Takes prompts from the history."""
        self._small_post("/history", {"delete": list(prompt_ids)})

    def system_stats(self) -> SystemStats:
        """What the server says of itself."""
        return self._parsed(system_stats, "/system_stats")

    def object_info(self, node_class: str | None) -> dict[str, Any]:
        """Definitions of node classes."""
        path = "/object_info" if node_class is None else f"/object_info/{quote(node_class, safe='')}"
        return self._parsed(_object, path, large=True)

    def models(self, folder: str) -> tuple[str, ...]:
        """File names in a model folder."""
        answer = self._get(f"/models/{quote(folder, safe='')}")
        if answer.status == HTTPStatus.NOT_FOUND:
            return ()
        names = answer.require_ok().json()
        if not isinstance(names, list):
            raise EngineAnswerError(answer.url, "a model folder that is no list")
        return tuple(name for name in names if isinstance(name, str))

    def metadata(self, folder: str, name: str) -> Mapping[str, str]:
        """What a model file says of itself; nothing where it, or the server, has nothing to say."""
        told = self._if_told(f"/view_metadata/{quote(folder, safe='')}", {"filename": name})
        pairs = told.items() if isinstance(told, Mapping) else ()
        return {key: value for key, value in pairs if isinstance(value, str)}

    def folder_paths(self) -> Mapping[str, tuple[Path, ...]]:
        """Where the server looks for models, by folder, on its own machine; nothing if it does not tell."""
        told = self._if_told("/internal/folder_paths")
        pairs = told.items() if isinstance(told, Mapping) else ()
        return {
            folder: tuple(Path(path) for path in paths if isinstance(path, str))
            for folder, paths in pairs
            if isinstance(paths, list)
        }

    def files(self, kind: str) -> tuple[str, ...]:
        """File names in the folder ``output``, ``input`` or ``temp``; none where the server does not tell."""
        names = self._if_told(f"/internal/files/{quote(kind, safe='')}")
        return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()

    def free(self, *, unload_models: bool, free_memory: bool) -> None:
        """Asks for memory back."""
        self._small_post("/free", {"unload_models": unload_models, "free_memory": free_memory})

    def upload(self, data: bytes, ref: FileRef, *, overwrite: bool) -> FileRef:
        """Puts a file into the folder ``ref.type``."""
        fields = {"type": ref.type, "subfolder": ref.subfolder, "overwrite": "true" if overwrite else "false"}
        url = f"{self.url}/upload/image"
        answer = self._call(lambda: self._http.upload(url, data, ref.filename, fields)).require_ok()
        stored = answer.json()
        if not isinstance(stored, Mapping) or not isinstance(stored.get("name"), str):
            raise EngineAnswerError(answer.url, "an upload without a name")
        return FileRef(
            stored["name"], str(stored.get("subfolder") or ""), str(stored.get("type") or ref.type)
        )

    def download(self, ref: FileRef, *, once: bool = False) -> bytes:
        """The bytes of a file; tried once more if the connection breaks, unless it is to be ``once``."""
        params = {"filename": ref.filename, "type": ref.type, "subfolder": ref.subfolder}
        return self._get("/view", params, large=True, steady=True, once=once).require_ok().body

    def picture(self, ref: FileRef, node_id: str) -> Picture:
        """A picture file, fetched again if it comes cut off."""
        broke: AnswerLost | None = None
        for _ in range(_DOWNLOADS):
            try:
                data = self.download(ref, once=True)
            except AnswerLost as error:
                if not error.again:
                    raise
                broke = error
                continue
            kind = image_format(data)
            if kind is not None and _is_whole(data, kind):
                return Picture(data, kind, node_id)
        if broke is not None and not isinstance(broke, AnswerCut):
            raise broke
        raise EngineAnswerError(self.url, f"{ref.annotated} is not a whole picture")

    def _if_told(self, path: str, params: Mapping[str, str] | None = None) -> object:
        """The JSON of an endpoint that not all versions have, and that none promises; else None."""
        try:
            return self._get(path, params).require_ok().json()
        except EngineAnswerError as error:
            log.debug("passed over: %s", error)
            return None

    def _parsed(
        self, parse: Callable[[Any], T], path: str, *, large: bool = False, within_s: float | None = None
    ) -> T:
        answer = self._get(path, large=large, within_s=within_s).require_ok()
        try:
            return parse(answer.json())
        except ValueError as error:
            raise EngineAnswerError(answer.url, str(error)) from None

    def _get(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        large: bool = False,
        within_s: float | None = None,
        steady: bool = False,
        once: bool = False,
    ) -> Answer:
        url = self.url + path
        return self._call(
            lambda: self._http.get(url, params, large=large, within_s=within_s, steady=steady, once=once)
        )

    def _small_post(self, path: str, body: object, within_s: float | None = None) -> None:
        url = self.url + path
        self._call(lambda: self._http.post(url, body, within_s=within_s)).require_ok()

    def _call(self, call: Callable[[], Answer]) -> Answer:
        try:
            answer = call()
        except EngineUnreachable as error:
            self._report(isinstance(error, AnswerCut))
            raise
        self._report(True)
        return answer


def _object(body: object) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise ValueError("node definitions that are no object")
    return body


def _is_whole(data: bytes, kind: str) -> bool:
    tail = data[-16:]
    return {"png": _PNG_END in tail, "jpeg": _JPEG_END in tail}.get(kind, True)
