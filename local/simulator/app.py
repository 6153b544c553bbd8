"""The routes: the vendor's API, its downloads, and the control API that tests use."""

import asyncio
import itertools
import logging
import os
import re
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Container
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from local.simulator.answers import (
    DroppedResponse,
    does_no_work,
    expired,
    no_credits,
    quoting,
    spoiled,
)
from local.simulator.browsers import NoBrowsers
from local.simulator.contract import (
    MAX_BODY_BYTES,
    TASKS_PATH,
    CreateRequest,
    RefusedError,
    check_content_type,
    check_key,
    envelope,
    error,
    parse_body,
    parse_create,
)
from local.simulator.control import CONTROL_PATH
from local.simulator.faults import (
    CREATE,
    DOWNLOAD,
    READ,
    Facts,
    Fault,
    FaultBook,
    FaultError,
    possible,
)
from local.simulator.photos import Photo, PhotoReader, check_mask, is_url, trust, without_query
from local.simulator.reports import CallReport, moment
from local.simulator.settings import Settings, SettingsError
from local.simulator.studio import Result, Studio
from local.simulator.tasks import Task, TaskBook

_RENDER_PATIENCE_SECONDS: Final = 2.0
"""A read waits at most this long for images that are being made; then it answers "running"."""

_KEPT_CALLS: Final = 100_000
_RESULT_NAME: Final = re.compile(r"(?P<index>[1-4])-(?P<token>[0-9a-f]{20,})\.(?:png|jpg)")

_LOG: Final = logging.getLogger(__name__)


@dataclass(slots=True)
class _Call:
    """A call of the vendor's API, for the control API's report."""

    at: datetime
    kind: str
    method: str
    path: str
    status: int | None = None
    task_id: str | None = None
    fault: str | None = None

    def report(self) -> CallReport:
        return {
            "at": moment(self.at),
            "kind": self.kind,
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "task_id": self.task_id,
            "fault": self.fault,
        }


class _RateLimit:
    """A leaky bucket that holds the creates of one second, and at least one."""

    def __init__(self) -> None:
        self._level = 0.0
        self._at = time.monotonic()

    def admits(self, per_second: float) -> bool:
        now = time.monotonic()
        self._level = max(0.0, self._level - (now - self._at) * per_second)
        self._at = now
        if self._level + 1 > max(1.0, per_second):
            return False
        self._level += 1
        return True


class Simulator:
    """The simulated vendor. It runs on one event loop; threads make and check the images."""

    def __init__(
        self, folder: Path, *, settings: Settings, seed: int, ca_bundle: str | None
    ) -> None:
        """Keep images in `folder`."""
        self._first_settings = settings
        self._settings = settings
        # Photos are checked in their own threads, so that creates do not wait for image making.
        self._checkers = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="photos")
        self._painters = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="images")
        self._photos = PhotoReader(folder, self._checkers, trust(ca_bundle))
        self._studio = Studio(folder, self._painters)
        self._tasks = TaskBook(seed)
        self._faults = FaultBook(seed)
        self._fetcher: httpx.AsyncClient
        self._begin()

    def _begin(self) -> None:
        self._settings = self._first_settings
        self._credits_used = 0
        self._rate_limit = _RateLimit()
        self._calls: deque[_Call] = deque(maxlen=_KEPT_CALLS)
        self._call_counts: Counter[str] = Counter()

    def asgi(self) -> ASGIApp:
        """Build the application."""
        app = Starlette(
            routes=[
                Route(TASKS_PATH, self._endpoint(CREATE, self._create), methods=["POST"]),
                Route(TASKS_PATH + "/{task_id}", self._endpoint(READ, self._read), methods=["GET"]),
                Route(
                    "/results/{task_id}/{name}",
                    self._endpoint(DOWNLOAD, self._download),
                    methods=["GET"],
                ),
                Mount(
                    CONTROL_PATH,
                    routes=[
                        Route("/health", self._health),
                        Route("/charges", self._show_charges),
                        Route("/state", self._show_state),
                        Route("/reset", self._reset, methods=["POST"]),
                        Route("/settings", self._change_settings, methods=["PUT"]),
                        Route("/faults", self._add_faults, methods=["POST"]),
                        Route("/faults", self._show_faults, methods=["GET"]),
                        Route("/faults", self._clear_faults, methods=["DELETE"]),
                    ],
                ),
            ],
            exception_handlers={HTTPException: _no_route, Exception: _broken},
            lifespan=self._lifespan,
        )
        app.router.redirect_slashes = False
        return NoBrowsers(app)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        async with self._photos.client() as self._fetcher:
            yield
        for workers in (self._checkers, self._painters):
            workers.shutdown(cancel_futures=True)

    # The vendor's API

    def _endpoint(
        self, kind: str, answer: Callable[[Request, _Call], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return an endpoint that records each call and answers a `RefusedError` as an error."""

        async def endpoint(request: Request) -> Response:
            call = _Call(datetime.now(UTC), kind, request.method, request.url.path)
            self._calls.append(call)
            self._call_counts[kind] += 1
            try:
                response = await answer(request, call)
            except RefusedError as refusal:
                response = error(refusal.status, refusal.message, refusal.headers)
            except ClientDisconnect:
                return DroppedResponse()
            if not isinstance(response, DroppedResponse):
                call.status = response.status_code
            return response

        return endpoint

    def _claim(
        self,
        call: _Call,
        facts: Facts,
        stage: str,
        *,
        needing: str | None = None,
        already: Container[str] = (),
    ) -> Fault | None:
        fault = self._faults.claim(call.kind, facts, stage=stage, needing=needing, already=already)
        if fault is not None:
            call.fault = fault.name
        return fault

    async def _create(self, request: Request, call: _Call) -> Response:
        body = await _read_body(request)
        image = _image_url(body)
        url = without_query(image) if image is not None else None
        quotes = {"image": image or "", "key": request.headers.get("X-Api-Key", "")}
        fault = self._claim(call, Facts(url=url), "answer")
        if fault is not None and does_no_work(fault):
            return spoiled(fault, envelope(), quotes)
        try:
            check_key(request.headers.get("X-Api-Key"), self._settings.api_key)
            self._check_rate()
            check_content_type(request.headers.get("Content-Type"))
            fields = parse_body(body)
            wanted = parse_create(fields)
            photo, mask = await self._get_photos(wanted)
            if fault is None:
                facts = Facts(url=url, sha256=photo.sha256)
                fault = self._claim(call, facts, "answer", needing="sha256")
                if fault is not None and does_no_work(fault):
                    return spoiled(fault, envelope(), quotes)
            balance = self._settings.credits
            if balance is not None and self._credits_used >= balance:
                self._withdraw(fault, call)
                return no_credits(self._settings.no_credits_as)
        except RefusedError:
            self._withdraw(fault, call)
            raise
        self._credits_used += 1
        task = self._tasks.accept(
            fields,
            wanted,
            photo=photo,
            mask=mask,
            settings=self._settings,
            now=time.monotonic(),
        )
        call.task_id = task.id
        answer = envelope({"taskId": task.id})
        quotes["task_id"] = task.id
        return answer if fault is None else spoiled(fault, answer, quotes)

    def _withdraw(self, fault: Fault | None, call: _Call) -> None:
        """Release a claimed fault, since the request is refused for another reason."""
        if fault is not None:
            self._faults.release(fault)
            call.fault = None

    def _check_rate(self) -> None:
        limit = self._settings.submits_per_second
        if limit is not None and not self._rate_limit.admits(limit):
            headers = {"Retry-After": str(max(1, round(1 / limit)))}
            raise RefusedError(
                429,
                "too many requests: slow down",
                headers if self._settings.retry_after else None,
            )

    async def _get_photos(self, wanted: CreateRequest) -> tuple[Photo, Photo | None]:
        decode = not self._settings.plain_results
        photo = await self._photos.read(self._fetcher, "image", wanted.image, decode=decode)
        if wanted.mask is None:
            return photo, None
        mask = await self._photos.read(self._fetcher, "mask", wanted.mask, decode=decode)
        check_mask(mask, photo)
        return photo, mask

    async def _read(self, request: Request, call: _Call) -> Response:
        task_id = request.path_params["task_id"]
        task = self._tasks.tasks.get(task_id)
        call.task_id = task_id
        facts = _facts(task_id, task)
        fault = self._claim(call, facts, "answer")
        if fault is not None and does_no_work(fault):
            return spoiled(fault, envelope())
        check_key(request.headers.get("X-Api-Key"), self._settings.api_key)
        if task is None:
            raise _unknown_task(task_id)
        task.reads += 1
        answer = envelope(await self._task_data(request, call, task, facts))
        return answer if fault is None else spoiled(fault, answer)

    async def _task_data(
        self, request: Request, call: _Call, task: Task, facts: Facts
    ) -> dict[str, Any]:
        """Return the `data` of a read (reference), with the task's faults."""
        lasting = self._claim(call, facts, "task", already=task.faults)
        if lasting is not None:
            task.faults[lasting.name] = (lasting, time.monotonic())
        if "gone" in task.faults:
            raise _unknown_task(task.id)
        view = task.view(time.monotonic())
        data: dict[str, Any] = {
            "taskId": task.id,
            "status": view.status,
            "progress": view.progress,
            "message": view.message,
            "results": None,
        }
        if view.status in {"running", "success"}:
            made = self._studio.results(task)
            if view.status == "success":
                await asyncio.wait({made}, timeout=_RENDER_PATIENCE_SECONDS)
                if not made.done():
                    return data | {"status": "running", "progress": 99, "message": "Finishing"}
                data["results"] = self._list_results(request, task, made.result())
                broken = self._claim(call, facts, "success")
                if broken is not None:
                    key = request.headers.get("X-Api-Key", "")
                    data["results"] = _broken_results(broken, data["results"], key)
        strange = self._claim(call, facts, "status")
        if strange is not None:
            data |= {"status": strange.params["value"], "results": None}
        return data

    def _list_results(
        self, request: Request, task: Task, results: tuple[Result, ...]
    ) -> list[dict[str, Any]]:
        """Describe the results; each read gets new download URLs."""
        task.issued.append(time.monotonic())
        url_set = len(task.issued)
        return [
            {
                "width": result.width,
                "height": result.height,
                "fileSize": result.size,
                "downloadUrl": f"{request.base_url}results/{task.id}/{index}-"
                f"{self._tasks.token(task, index, url_set)}.{result.extension}",
            }
            for index, result in enumerate(results, start=1)
        ]

    async def _download(self, request: Request, call: _Call) -> Response:
        task_id = call.task_id = request.path_params["task_id"]
        name = _RESULT_NAME.fullmatch(request.path_params["name"])
        task = self._tasks.tasks.get(task_id)
        if task is None or name is None:
            raise _unknown_result()
        index = int(name["index"])
        url_set = self._tasks.url_set(task, index, name["token"])
        if url_set is None or index > task.batch_size:
            raise _unknown_result()
        issued_at = task.issued[url_set - 1]
        facts = _facts(task_id, task, index, url_set, issued_at)
        fault = self._claim(call, facts, "answer")
        if fault is not None and does_no_work(fault):
            return spoiled(fault, envelope())
        lifetime = self._settings.download_url_seconds
        if lifetime is not None and time.monotonic() - issued_at > lifetime:
            return expired()
        results = await self._studio.results(task)
        result = results[index - 1]
        task.downloads[index] += 1
        answer = Response(result.file.read_bytes(), media_type=result.media_type)
        return answer if fault is None else spoiled(fault, answer)

    # The control API

    async def _health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _show_charges(self, _: Request) -> Response:
        return JSONResponse(self._tasks.charges())

    async def _show_state(self, _: Request) -> Response:
        now = time.monotonic()
        return JSONResponse(
            {
                "charges": self._tasks.charges(),
                "settings": self._settings.report(),
                "tasks": [task.report(now) for task in self._tasks.tasks.values()],
                "call_counts": {kind: self._call_counts[kind] for kind in (CREATE, READ, DOWNLOAD)},
                "calls": [call.report() for call in self._calls],
                "faults": self._faults.report(),
            }
        )

    async def _reset(self, _: Request) -> Response:
        self._tasks.clear()
        self._studio.clear()
        self._faults.clear()
        self._begin()
        return JSONResponse({"status": "ok"})

    async def _change_settings(self, request: Request) -> Response:
        try:
            changes = parse_body(await _read_body(request))
            self._settings = self._settings.changed(changes)
        except RefusedError as refusal:
            return error(refusal.status, refusal.message)
        except SettingsError as problem:
            return error(400, str(problem))
        if "credits" in changes:
            self._credits_used = 0
        return JSONResponse(self._settings.report())

    async def _add_faults(self, request: Request) -> Response:
        try:
            specs = await request.json()
            added = self._faults.script(specs, time.monotonic())
        except FaultError as problem:
            return error(400, str(problem))
        except ValueError as problem:
            return error(400, f"the body is not valid JSON: {problem}")
        return JSONResponse({"faults": [fault.report() for fault in added]})

    async def _show_faults(self, _: Request) -> Response:
        return JSONResponse({"faults": self._faults.report(), "possible": possible()})

    async def _clear_faults(self, _: Request) -> Response:
        self._faults.clear()
        return JSONResponse({"faults": []})


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise RefusedError(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
    return bytes(body)


def _image_url(body: bytes) -> str | None:
    """Return the photo's URL with its query, or None if the body has none or is invalid."""
    try:
        image = parse_body(body).get("image")
    except RefusedError:
        return None
    return image if isinstance(image, str) and is_url(image) else None


def _broken_results(fault: Fault, results: list[dict[str, Any]], key: str) -> object:
    """Return the results of a task with a fault."""
    if fault.name == "no_results":
        return None
    if fault.name == "single_result":
        return results[0]
    appended = quoting(fault.params["appended"], {"key": key}) * fault.params["repeated"]
    count = fault.params["count"] or len(results)
    return [
        result | {"downloadUrl": result["downloadUrl"] + appended}
        for result in itertools.islice(itertools.cycle(results), count)
    ]


def _facts(
    task_id: str,
    task: Task | None,
    index: int | None = None,
    url_set: int | None = None,
    issued_at: float | None = None,
) -> Facts:
    if task is None:
        return Facts(task_id=task_id)
    return Facts(
        url=task.image_url,
        sha256=task.photo.sha256,
        task_id=task_id,
        result_index=index,
        url_set=url_set,
        issued_at=issued_at,
    )


def _unknown_task(task_id: str) -> RefusedError:
    return RefusedError(404, f"there is no task {task_id}")


def _unknown_result() -> RefusedError:
    return RefusedError(404, "there is no such result")


async def _no_route(request: Request, problem: Exception) -> Response:
    status = problem.status_code if isinstance(problem, HTTPException) else 500
    headers = problem.headers if isinstance(problem, HTTPException) else None
    if status == 405:  # noqa: PLR2004 - Method Not Allowed
        return error(status, f"{request.method} is not allowed on {request.url.path}", headers)
    return error(status, f"there is nothing at {request.url.path}", headers)


async def _broken(_: Request, problem: Exception) -> Response:
    _LOG.error("the simulator itself failed", exc_info=problem)
    return error(500, "the simulator itself failed: see its log")
