"""The node's HTTP side: NodeODM's routes, field names and answers, for pyodm, WebODM and other clients of NodeODM.

As in NodeODM, a refusal has status 200 and the body ``{"error": "<sentence>"}``: pyodm takes any other status for a broken node.
"""
import asyncio
import hmac
import json
import logging
import os
import re
import sqlite3
import uuid as uuid_module
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Callable, Union

import aiohttp
from aiohttp import web

from . import API_VERSION
from .disk import DiskFullError, is_disk_full
from .jobs import TaskStateError, UnknownTaskError
from .manager import TaskManager
from .options import OptionsError
from .results import ARCHIVE_NAME
from .tasks import Task
from .uploads import Upload, UploadError, Uploads, is_client_uuid, read_form

logger = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_OPEN_PATHS = ("/auth/",)


def build_app(manager: TaskManager, uploads: Uploads, token: str = "") -> web.Application:
    """The application that serves a node. If ``token`` is set, every request except ``/auth/…`` must carry it in its query."""
    api = NodeApi(manager, uploads)
    app = web.Application(middlewares=[_errors_as_json, _token_check(token)])
    app.add_routes([
        web.get("/info", api.info),
        web.get("/options", api.options),
        web.get("/auth/info", api.auth_info),
        web.post("/auth/login", api.auth_unavailable),
        web.post("/auth/register", api.auth_unavailable),
        web.post("/task/new", api.new),
        web.post("/task/new/init", api.init),
        web.post("/task/new/upload/{uuid}", api.upload),
        web.post("/task/new/commit/{uuid}", api.commit),
        web.get("/task/list", api.list),
        web.get("/task/{uuid}/info", api.task_info),
        web.get("/task/{uuid}/output", api.task_output),
        web.get("/task/{uuid}/download/{asset}", api.download),
        web.post("/task/cancel", api.cancel),
        web.post("/task/remove", api.remove),
        web.post("/task/restart", api.restart),
    ])
    return app


class NodeApi:
    """The handlers of the routes."""

    def __init__(self, manager: TaskManager, uploads: Uploads) -> None:
        self._manager = manager
        self._uploads = uploads

    # About the node

    async def info(self, _: web.Request) -> web.Response:
        settings, engine = self._manager.settings, self._manager.engine
        total, available = _memory_bytes()
        return _json({
            "version": API_VERSION,
            "taskQueueCount": self._manager.queue_count(),
            "totalMemory": total,
            "availableMemory": available,
            "cpuCores": len(os.sched_getaffinity(0)),
            "maxImages": settings.max_images or None,
            "maxParallelTasks": settings.parallel,
            "engineVersion": engine.version,
            "engine": engine.name,
        })

    async def options(self, _: web.Request) -> web.Response:
        return _json(self._manager.engine.options)

    async def auth_info(self, _: web.Request) -> web.Response:
        return _json({"message": "Authentication not available on this node", "loginUrl": None, "registerUrl": None})

    async def auth_unavailable(self, _: web.Request) -> web.Response:
        return _error("Not available")

    # New tasks

    async def new(self, request: web.Request) -> web.Response:
        """One request with everything: the files, or ``zipurl``."""
        uuid = self._new_uuid(request)
        upload = self._uploads.get(uuid)
        upload.create()
        try:
            body, files = (await upload.receive(request)) if _is_multipart(request) else (await read_form(request), 0)
            if not files and not body.get("zipurl"):
                raise UploadError("Need at least 1 file or a zip file url.")
            limit = self._manager.settings.max_images
            if limit and files > limit:
                raise UploadError(f"{files} images uploaded, but this node can only process up to {limit}.")
            self._manager.create(uuid, body, upload)
        except BaseException:
            # This also covers clients that disconnect half way.
            upload.remove()
            raise
        return _json({"uuid": uuid})

    async def init(self, request: web.Request) -> web.Response:
        """Begin a task that is uploaded in several requests."""
        uuid = self._new_uuid(request)
        body = await read_form(request)
        self._manager.check_options(body.get("options"))
        upload = self._uploads.get(uuid)
        upload.create()
        upload.write_body(body)
        return _json({"uuid": uuid})

    async def upload(self, request: web.Request) -> web.Response:
        upload = self._open_upload(request)
        _, files = await upload.receive(request)
        if not files:
            return _json({"error": "Need at least 1 file.", "noRetry": True})
        return _json({"success": True})

    async def commit(self, request: web.Request) -> web.Response:
        upload = self._open_upload(request)
        if not upload.count():
            raise UploadError("Need at least 1 file.")
        uuid = request.match_info["uuid"]
        self._manager.create(uuid, upload.read_body(), upload)
        return _json({"uuid": uuid})

    def _new_uuid(self, request: web.Request) -> str:
        wanted = request.headers.get("set-uuid")
        if not wanted:
            return str(uuid_module.uuid4())
        if not is_client_uuid(wanted) or wanted in self._manager:
            raise UploadError(f"Invalid set-uuid: {wanted}")
        return wanted

    def _open_upload(self, request: web.Request) -> Upload:
        upload = self._uploads.find_open(request.match_info["uuid"])
        if upload is None:
            raise UploadError("Invalid uuid (not found)")
        return upload

    # Tasks

    async def list(self, _: web.Request) -> web.Response:
        return _json([{"uuid": task.uuid} for task in self._manager])

    async def task_info(self, request: web.Request) -> web.Response:
        task = self._task(request)
        info = task.info()
        if "with_output" in request.query:
            info["output"] = self._manager.console(task).lines(_line_number(request.query["with_output"]))
        return _json(info)

    async def task_output(self, request: web.Request) -> web.Response:
        return _json(self._manager.console(self._task(request)).lines(_line_number(request.query.get("line", ""))))

    async def download(self, request: web.Request) -> web.StreamResponse:
        """The results, complete or a range of them (206)."""
        task = self._task(request)
        asset = request.match_info["asset"]
        if asset != ARCHIVE_NAME:
            return _error("Invalid asset")
        path = self._manager.archive(task)
        if not path.is_file():
            return _error("Asset not ready")
        return web.FileResponse(path, chunk_size=1 << 20, headers={
            "Content-Disposition": f"attachment; filename={asset}", "Content-Type": "application/zip",
        })

    async def cancel(self, request: web.Request) -> web.Response:
        await self._manager.cancel((await _form_with_uuid(request))["uuid"])
        return _json({"success": True})

    async def remove(self, request: web.Request) -> web.Response:
        await self._manager.remove((await _form_with_uuid(request))["uuid"])
        return _json({"success": True})

    async def restart(self, request: web.Request) -> web.Response:
        body = await _form_with_uuid(request)
        await self._manager.restart(body["uuid"], body.get("options"))
        return _json({"success": True})

    def _task(self, request: web.Request) -> Task:
        return self._manager.find(request.match_info["uuid"])


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        return _json({"error": f"{error.reason}: {request.method} {request.path}"}, status=error.status)
    except (UploadError, OptionsError, DiskFullError) as error:
        return _error(str(error))
    except (UnknownTaskError, TaskStateError) as error:
        return _json({"success": False, "error": str(error)} if request.method == "POST" else {"error": str(error)})
    except ConnectionError:
        # The client has disconnected, so nobody would read an answer.
        raise
    except (web.RequestPayloadError, aiohttp.ClientPayloadError, asyncio.IncompleteReadError) as error:
        logger.warning("%s %s: the body is incomplete (%s)", request.method, request.path, type(error).__name__)
        return _error("The request's body is incomplete. Send it again.")
    except (OSError, sqlite3.Error) as error:
        full = is_disk_full(error) or "full" in str(error)
        logger.error("%s %s: %s", request.method, request.path, error)
        return _error("The processing node's disk is full." if full else "The processing node could not work with its files.")
    except Exception as error:
        if request.transport is None or request.transport.is_closing():
            # A body that ends in the middle causes errors of many kinds. Nobody is left to read the answer.
            logger.warning("%s %s: the client disconnected (%r)", request.method, request.path, error)
            return _error("The request's body is incomplete. Send it again.")
        logger.exception("%s %s failed unexpectedly", request.method, request.path)
        return _json({"error": "The processing node failed; see its log for the reason."}, status=500)


def _token_check(token: str) -> Any:
    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.query.get("token", "")
        if token and not request.path.startswith(_OPEN_PATHS) and not hmac.compare_digest(given.encode(), token.encode()):
            return _error("Invalid authentication token: token does not match.")
        return await handler(request)

    return check


async def _form_with_uuid(request: web.Request) -> dict[str, Any]:
    body = await read_form(request)
    if not body.get("uuid"):
        raise UploadError("uuid param missing.")
    return dict(body, uuid=str(body["uuid"]))


def _is_multipart(request: web.Request) -> bool:
    return request.content_type.startswith("multipart/")


def _line_number(text: str) -> int:
    """The first line that the client wants. As in NodeODM, anything but a number counts as 0."""
    return int(text) if re.fullmatch(r"-?\d{1,9}", text) else 0


def _memory_bytes() -> tuple[int, int]:
    """The machine's memory and how much of it is available without swapping."""
    values = dict(re.findall(r"^(\w+):\s+(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"), re.MULTILINE))
    available = values["MemAvailable"] if "MemAvailable" in values else values["MemFree"]
    return int(values["MemTotal"]) * 1024, int(available) * 1024


def _json(body: Union[dict[str, Any], list[Any]], status: int = 200) -> web.Response:
    return web.json_response(body, status=status, dumps=lambda value: json.dumps(value, allow_nan=False))


def _error(sentence: str) -> web.Response:
    return _json({"error": sentence})
