"""Routes around prompts: post, watch, interrupt, take back, look up."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

from aiohttp import web

from backend.engine.core import EngineCore
from backend.engine.graph_check import GraphCheck, check_graph, describe_error
from backend.engine.node_type import JsonObject
from backend.engine.prompt_queue import QueueFull

_CANONICAL_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class PromptRoutes:
    """Handlers; what is wrong with a body in ways ComfyUI does not expect ends as 500, as there."""

    def __init__(self, core: EngineCore) -> None:
        self._core = core

    def table(self) -> list[web.RouteDef]:
        return [
            web.get("/prompt", self.remaining),
            web.post("/prompt", self.post),
            web.get("/queue", self.queue),
            web.post("/queue", self.change_queue),
            web.get("/history", self.history),
            web.get("/history/{prompt_id}", self.history_of),
            web.post("/history", self.change_history),
            web.post("/interrupt", self.interrupt),
            web.post("/free", self.free),
        ]

    async def remaining(self, _request: web.Request) -> web.Response:
        return web.json_response({"exec_info": {"queue_remaining": self._core.queue.remaining()}})

    async def post(self, request: web.Request) -> web.Response:
        body = await _json_body(request)
        number = self._core.next_number(body)
        if "prompt" not in body:
            error = describe_error("no_prompt", "No prompt provided", "No prompt provided")
            return _refused(GraphCheck(error))
        prompt_id = self._prompt_id(body)
        if prompt_id is None:
            return _refused(GraphCheck(_BAD_ID))
        check = self._check(body)
        if check.error is not None:
            return _refused(check)
        extra_data = self._extra_data(body)
        try:
            self._core.queue.put(number, prompt_id, body["prompt"], extra_data, check.outputs)
        except QueueFull:
            return web.Response(status=503, text="too many prompts are waiting")
        answer = {"prompt_id": prompt_id, "number": number, "node_errors": check.node_errors}
        return web.json_response(answer)

    def _prompt_id(self, body: JsonObject) -> str | None:
        """The id that was asked for, or a new one; None if it cannot be taken."""
        if not self._core.dialect.needs_canonical_ids:
            return str(body["prompt_id"]) if "prompt_id" in body else str(uuid.uuid4())
        asked = body.get("prompt_id")
        if asked is None:
            return str(uuid.uuid4())
        return asked if isinstance(asked, str) and _CANONICAL_ID.fullmatch(asked) else None

    def _check(self, body: JsonObject) -> GraphCheck:
        core = self._core
        targets = body.get("partial_execution_targets")
        return check_graph(body["prompt"], core.nodes, core.workspace, core.dialect, targets)

    def _extra_data(self, body: JsonObject) -> JsonObject:
        extra_data = dict(body.get("extra_data", {}))
        if "client_id" in body:
            extra_data["client_id"] = body["client_id"]
        if self._core.dialect.has_jobs:
            extra_data["create_time"] = self._core.wall_ms()
        return extra_data

    async def queue(self, _request: web.Request) -> web.Response:
        running, pending = self._core.queue.snapshot()
        answer = {
            "queue_running": [item.as_json() for item in running],
            "queue_pending": [item.as_json() for item in pending],
        }
        return web.json_response(answer)

    async def change_queue(self, request: web.Request) -> web.Response:
        body = await _json_body(request)
        if body.get("clear"):
            self._core.queue.clear()
        if "delete" in body:
            self._core.queue.delete(set(body["delete"]))
        return web.Response()

    async def history(self, request: web.Request) -> web.Response:
        entries = list(self._core.queue.history().items())
        if "max_items" in request.query:
            count = int(request.query["max_items"])
            first = int(request.query.get("offset", -1))
            first = max(0, len(entries) - count) if first < 0 else first
            entries = entries[first : first + count]
        return web.json_response(dict(entries))

    async def history_of(self, request: web.Request) -> web.Response:
        return web.json_response(self._core.queue.history(request.match_info["prompt_id"]))

    async def change_history(self, request: web.Request) -> web.Response:
        body = await _json_body(request)
        if body.get("clear"):
            self._core.queue.forget_all()
        if "delete" in body:
            self._core.queue.forget(body["delete"])
        return web.Response()

    async def interrupt(self, request: web.Request) -> web.Response:
        try:
            body = await _json_body(request)
        except ValueError:
            body = {}
        prompt_id = body.get("prompt_id") if isinstance(body, dict) else None
        self._core.queue.interrupt(prompt_id or None)
        return web.Response()

    async def free(self, request: web.Request) -> web.Response:
        body = await _json_body(request)
        if body.get("free_memory"):
            self._core.worker.forget_results()
        return web.Response()


_BAD_ID = describe_error(
    "invalid_prompt_id",
    "prompt_id must be a valid UUID",
    "prompt_id must be a UUID string in canonical lowercase hyphenated form; omit it to let the server "
    "generate one",
)


def _refused(check: GraphCheck) -> web.Response:
    return web.json_response({"error": check.error, "node_errors": check.node_errors}, status=400)


async def _json_body(request: web.Request) -> Any:
    """The body as JSON, whatever its content type says; ValueError if it is none."""
    return json.loads(await request.text())
