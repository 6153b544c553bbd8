"""A small Lambda: each invocation is its own process, which can be killed at any of its steps.

A step is a call to AWS or a request to the vendor. The functions are imported once. Each invocation
is a fork that makes its own clients, as a cold start does. SIGKILL ends a killed invocation, so
none of its `except` and `finally` blocks run.

This script reads JSON lines: `{"invoke": function, "event": ...}` or `{"resume": pid}`. It answers
with JSON lines: one *before* each step, one with the function's result or exception, and one with
the exit status of the process.
"""

import functools
import gc
import importlib
import itertools
import json
import os
import pkgutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from types import FrameType
from typing import Any, Final, Self

import botocore.client
import httpx

ROOT: Final = Path(__file__).parents[2]
SHARED: Final = str(ROOT / "shared") + os.sep
LIFETIME_SECONDS: Final = 300
"""An invocation ends after this time, also if the test has ended before."""


class Context:
    """The context object that Lambda passes to a function."""

    function_name = "catwalk-function"
    aws_request_id = "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"

    def get_remaining_time_in_millis(self) -> int:
        """Return the remaining time; it never runs out here."""
        return 149_000


class Steps:
    """Counts and reports the steps of this process, and kills or pauses it at one of them."""

    def __init__(self, tell: Callable[[object], None], at: int | str | None, how: str) -> None:
        self._tell = tell
        self._at = at
        self._how = how
        self._numbers = itertools.count()
        self._lock = threading.Lock()  # FinalizeFunction copies results in threads

    def watch(self) -> None:
        """Start to watch all calls to AWS and requests to the vendor."""
        aws_call = botocore.client.BaseClient._make_api_call  # type: ignore[attr-defined]  # private
        send = httpx.Client.send

        def calling(client: Any, operation: str, arguments: Mapping[str, Any]) -> Any:
            service = client.meta.service_model.signing_name
            return self._step(service, operation, arguments, aws_call, client, operation, arguments)

        def sending(client: httpx.Client, request: httpx.Request, **more: Any) -> Any:
            return self._step("vendor", request.method, {}, send, client, request, **more)

        botocore.client.BaseClient._make_api_call = calling  # type: ignore[attr-defined]  # private
        httpx.Client.send = sending  # type: ignore[method-assign, assignment]  # passes all on

    def _step(
        self,
        service: str,
        operation: str,
        arguments: Mapping[str, Any],
        call: Callable[..., Any],
        *positional: Any,
        **named: Any,
    ) -> Any:
        with self._lock:
            number = next(self._numbers)
            item = arguments.get("Key") or arguments.get("Item")
            self._tell(
                {
                    "service": service,
                    "operation": operation,
                    "item": item["pk"]["S"] if isinstance(item, dict) else None,
                    "versioned": "VersionId" in arguments,
                    "callers": _callers(),
                }
            )
            here = self._at in {number, operation}
            if here and self._how == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            if here and self._how == "pause":
                os.kill(os.getpid(), signal.SIGSTOP)
        try:
            return call(*positional, **named)
        finally:
            if here and self._how == "after":
                os.kill(os.getpid(), signal.SIGKILL)


def _callers() -> list[str]:
    """Return the functions of shared/ on the call stack, innermost first: `jobs.claim`."""
    found = []
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(SHARED):
            found.append(f"{Path(path).stem}.{frame.f_code.co_name}")
        frame = frame.f_back
    return found


class Invoker:
    """Runs one invocation at a time; others may be paused meanwhile."""

    def __init__(self, functions: Mapping[str, Callable[..., Any]], answers: int) -> None:
        self._functions = functions
        self._answers = answers
        self._paused: set[int] = set()

    def serve(self) -> None:
        """Handle requests until stdin ends."""
        try:
            for line in sys.stdin:
                request = json.loads(line)
                pid = request.get("resume") or os.fork()
                if pid == 0:
                    self._invoke(request)
                if pid in self._paused:
                    os.kill(pid, signal.SIGCONT)
                    self._paused.remove(pid)
                self._wait(pid)
        finally:
            for pid in self._paused:
                os.kill(pid, signal.SIGKILL)

    def _wait(self, pid: int) -> None:
        _, status = os.waitpid(pid, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            self._paused.add(pid)
            self._tell({"paused": pid})
        else:
            self._tell({"exit": os.waitstatus_to_exitcode(status)})

    def _invoke(self, request: Mapping[str, Any]) -> None:
        """Run the function in this forked process; never return."""
        signal.alarm(LIFETIME_SECONDS)
        try:
            os.environ.update(request["environment"])
            _shift_time(timedelta(seconds=request["seconds"]))
            Steps(self._tell, request["at"], request["how"]).watch()
            self._tell(
                {"returned": self._functions[request["invoke"]](request["event"], Context())}
            )
        except BaseException as error:  # noqa: BLE001  every error is reported
            self._tell({"raised": f"{type(error).__name__}: {error}"})
        finally:
            os._exit(0)

    def _tell(self, answer: object) -> None:
        line = json.dumps(answer).encode() + b"\n"
        while line:
            line = line[os.write(self._answers, line) :]


class _Time:
    """This process's clock; `sleep` moves it forward without waiting."""

    ahead = timedelta()

    @classmethod
    def sleep(cls, seconds: float) -> None:
        cls.ahead += timedelta(seconds=seconds)


def _shift_time(offset: timedelta) -> None:
    clock = importlib.import_module("shared.clock")
    _Time.ahead = offset

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + _Time.ahead

    vars(clock)["datetime"] = Shifted


def main() -> None:
    """Serve requests on stdin and stdout; the functions' logs go to stderr."""
    answers = os.dup(1)
    os.dup2(2, 1)
    sys.path.insert(0, str(ROOT))
    importlib.import_module("tests.guard").install()
    vars(time)["sleep"] = _Time.sleep
    functions = {
        package.name: importlib.import_module(f"functions.{package.name}.handler").handler
        for package in pkgutil.iter_modules([str(ROOT / "functions")])
        if package.ispkg
    }
    # Slow things that open no connection are made once, for all invocations.
    clients = importlib.import_module("shared.clients")
    for client in (made for made in vars(clients).values() if hasattr(made, "cache_info")):
        client()
    # moto needs no long polling.
    vars(importlib.import_module("shared.steps.dead_letters"))["_WAIT_SECONDS"] = 0
    httpx.create_ssl_context = functools.cache(httpx.create_ssl_context)
    httpx.create_ssl_context()
    gc.freeze()  # the garbage collector of a fork then touches, and so copies, less memory
    Invoker(functions, answers).serve()


if __name__ == "__main__":
    main()
