"""A small Lambda: each invocation is a process of its own, and may be killed at any of its steps.

A step is a call to AWS or a request to the vendor. The functions are imported once; each
invocation is a fork that builds what it needs anew, as a cold start does. A killed one ends by
SIGKILL: no `except`, no `finally`, nothing of Python's runs.

It reads a JSON object a line, `{"invoke": function, "event": ...}` or `{"resume": pid}`, and
answers with JSON lines: one a step *before* the step is made, one with what the function returned
or raised, and one that says how the process ended.
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
        self._lock = threading.Lock()  # FinalizeFunction copies results side by side

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
    """Return which functions of shared/ led here, the innermost first: `jobs.claim`."""
    found = []
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(SHARED):
            found.append(f"{Path(path).stem}.{frame.f_code.co_name}")
        frame = frame.f_back
    return found


class Invoker:
    """Runs one invocation at a time, beside those that are paused."""

    def __init__(self, functions: Mapping[str, Callable[..., Any]], answers: int) -> None:
        self._functions = functions
        self._answers = answers
        self._paused: set[int] = set()

    def serve(self) -> None:
        """Do what is asked for until nobody asks any more."""
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
        """Be the function's process; this never returns."""
        signal.alarm(LIFETIME_SECONDS)
        try:
            os.environ.update(request["environment"])
            _shift_time(timedelta(seconds=request["seconds"]))
            Steps(self._tell, request["at"], request["how"]).watch()
            self._tell(
                {"returned": self._functions[request["invoke"]](request["event"], Context())}
            )
        except BaseException as error:  # noqa: BLE001  whatever it is, it is the answer
            self._tell({"raised": f"{type(error).__name__}: {error}"})
        finally:
            os._exit(0)

    def _tell(self, answer: object) -> None:
        line = json.dumps(answer).encode() + b"\n"
        while line:
            line = line[os.write(self._answers, line) :]


class _Time:
    """This process's clock is so far ahead; who sleeps moves it on, and costs no time."""

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
    """Serve on stdin and what was stdout; what the functions log goes to stderr."""
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
    # What takes long and opens no connection is done once, for all invocations.
    clients = importlib.import_module("shared.clients")
    for client in (made for made in vars(clients).values() if hasattr(made, "cache_info")):
        client()
    # moto hides no message from who does not wait for it.
    vars(importlib.import_module("shared.steps.dead_letters"))["_WAIT_SECONDS"] = 0
    httpx.create_ssl_context = functools.cache(httpx.create_ssl_context)
    httpx.create_ssl_context()
    gc.freeze()  # a fork that need not look at all this copies less of it
    Invoker(functions, answers).serve()


if __name__ == "__main__":
    main()
