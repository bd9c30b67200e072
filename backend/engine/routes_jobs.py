"""``/api/jobs``: the newer way to ask after prompts, which only one of the dialects has."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from backend.engine.core import EngineCore
from backend.engine.node_type import JsonObject
from backend.engine.prompt_queue import QueueItem


class JobRoutes:
    """Handlers; these exist only below ``/api``."""

    def __init__(self, core: EngineCore) -> None:
        self._core = core

    def table(self) -> list[web.RouteDef]:
        return [
            web.get("/api/jobs", self.all),
            web.get("/api/jobs/{prompt_id}", self.one),
            web.post("/api/jobs/{prompt_id}/cancel", self.cancel),
        ]

    async def all(self, request: web.Request) -> web.Response:
        first, limit = int(request.query.get("offset", 0)), int(request.query.get("limit", 100))
        jobs = [*self._unfinished(), *reversed(list(map(_ended, self._core.queue.history().values())))]
        page = [_short(job) for job in jobs[first : first + limit]]
        has_more = first + limit < len(jobs)
        pages = {"offset": first, "limit": limit, "total": len(jobs), "has_more": has_more}
        return web.json_response({"jobs": page, "pagination": pages})

    async def one(self, request: web.Request) -> web.Response:
        job = self._find(request.match_info["prompt_id"])
        if job is None:
            return web.json_response({"error": "Job not found"}, status=404)
        return web.json_response(job)

    async def cancel(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info["prompt_id"]
        queue = self._core.queue
        if self._find(prompt_id) is None:
            return web.json_response({"error": "Job not found"}, status=404)
        cancelled = queue.delete({prompt_id}) or queue.interrupt(prompt_id)
        return web.json_response({"cancelled": cancelled})

    def _unfinished(self) -> list[JsonObject]:
        running, pending = self._core.queue.snapshot()
        return [_job(item, "in_progress") for item in running] + [
            _job(item, "pending") for item in sorted(pending)
        ]

    def _find(self, prompt_id: str) -> JsonObject | None:
        for job in self._unfinished():
            if job["id"] == prompt_id:
                return job
        entry = self._core.queue.history(prompt_id).get(prompt_id)
        return _ended(entry) if entry else None


def _job(item: QueueItem, status: str) -> JsonObject:
    return {
        "id": item.prompt_id,
        "status": status,
        "priority": item.number,
        "create_time": item.extra_data.get("create_time"),
        "outputs_count": 0,
        "previewable_outputs_count": 0,
    }


_STATUS_BY_END = {
    "execution_success": "completed",
    "execution_error": "failed",
    "execution_interrupted": "cancelled",
}


def _ended(entry: JsonObject) -> JsonObject:
    number, prompt_id, graph, extra_data, _outputs = entry["prompt"]
    messages: list[list[Any]] = entry["status"]["messages"]
    kind, last = messages[-1]
    count = sum(len(files) for ui in entry["outputs"].values() for files in ui.values())
    job: JsonObject = {
        "id": prompt_id,
        "status": _STATUS_BY_END[kind],
        "priority": number,
        "create_time": extra_data.get("create_time"),
        "execution_start_time": messages[0][1]["timestamp"],
        "execution_end_time": last["timestamp"],
        "outputs_count": count,
        "previewable_outputs_count": sum(len(ui.get("images", ())) for ui in entry["outputs"].values()),
    }
    if kind == "execution_error":
        job["execution_error"] = last
    return job | {
        "outputs": entry["outputs"],
        "execution_status": entry["status"],
        "workflow": {"prompt": graph, "extra_data": extra_data},
    }


def _short(job: JsonObject) -> JsonObject:
    return {key: job[key] for key in job if key not in ("outputs", "execution_status", "workflow")}
