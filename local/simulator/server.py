"""Runs the simulator: in the foreground for a person, or in a thread for a test."""

import asyncio
import socket
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final, Self

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from local.interfaces import listen
from local.simulator.answers import TRANSPORT
from local.simulator.app import Simulator
from local.simulator.control import SimulatorControl
from local.simulator.settings import Settings

_KEEP_ALIVE_SECONDS: Final = 75
"""Idle connections stay open this long, as with a usual gateway."""

_LAST_REQUESTS_SECONDS: Final = 1
"""Running requests may take this long to end when the simulator stops."""

_START_SECONDS: Final = 10.0
_BACKLOG: Final = 2048


class _Protocol(H11Protocol):
    """HTTP/1.1 with the transport in each request's scope, to drop the connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*args, **kwargs)
        inner: ASGIApp = self.app

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            scope[TRANSPORT] = self.transport
            # Requests are cancelled only when the simulator stops.
            with suppress(asyncio.CancelledError):
                await inner(scope, receive, send)

        self.app = app


class _Server(uvicorn.Server):
    """A uvicorn that reports when it listens, and stops at once without messages."""

    def __init__(self, app: ASGIApp, on_start: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=_Protocol,
                ws="none",
                loop="asyncio",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=_LAST_REQUESTS_SECONDS,
            )
        )
        self._on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's own
        # uvicorn's handler would raise the signal again, and so end with an error.
        self.should_exit = True


class SimulatorServer:
    """A simulator in a thread of this process, by default on a free port of loopback.

    Use it as a context manager, or call `start` and `stop`. `base_url` has no slash at its end.
    `control` is a client of its control API.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int = 0,
        ca_bundle: str | None = None,
    ) -> None:
        """Keep the arguments; `start` starts the simulator."""
        self._settings = settings or Settings()
        self._host = host
        self._port = port
        self._seed = seed
        self._ca_bundle = ca_bundle
        self._stack = ExitStack()
        self.base_url = ""
        self.control: SimulatorControl

    def start(self) -> Self:
        """Start the simulator, and return when it answers requests. A used port raises OSError."""
        listeners, self.base_url = bind((self._host,), self._port)
        started = threading.Event()
        with ExitStack() as stack:
            for listener in listeners:
                stack.enter_context(listener)
            server = stack.enter_context(
                _Prepared(self._settings, self._seed, self._ca_bundle, started.set)
            )
            thread = threading.Thread(
                target=server.run, args=(listeners,), name="simulator", daemon=True
            )
            thread.start()
            stack.callback(thread.join)
            stack.callback(setattr, server, "should_exit", True)  # noqa: FBT003 - setattr's value
            if not started.wait(_START_SECONDS):
                message = f"the simulator did not start within {_START_SECONDS} s"
                raise TimeoutError(message)
            self.control = stack.enter_context(SimulatorControl(self.base_url))
            self._stack = stack.pop_all()
        return self

    def stop(self) -> None:
        """Close all connections, and remove all files."""
        self._stack.close()

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()


class _Prepared:
    """A server that is ready to run, and a temporary folder for its images."""

    def __init__(
        self, settings: Settings, seed: int, ca_bundle: str | None, on_start: Callable[[], None]
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="simulator-", ignore_cleanup_errors=True)
        try:
            simulator = Simulator(
                Path(self._folder.name), settings=settings, seed=seed, ca_bundle=ca_bundle
            )
        except BaseException:
            self._folder.cleanup()
            raise
        self._server = _Server(simulator.asgi(), on_start)

    def __enter__(self) -> _Server:
        return self._server

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


def bind(hosts: tuple[str, ...], port: int) -> tuple[list[socket.socket], str]:
    """Listen on a port (0 takes a free one); return the sockets and the first one's base URL."""
    listeners = listen(hosts, port, backlog=_BACKLOG)
    for listener in listeners:
        # Connections inherit this option. asyncio sets it only on sockets with a named protocol.
        # Without it, each answer (headers and a body) waits 40 ms for an acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    shown = f"[{hosts[0]}]" if ":" in hosts[0] else hosts[0]
    return listeners, f"http://{shown}:{listeners[0].getsockname()[1]}"


def run(
    listeners: list[socket.socket],
    *,
    settings: Settings,
    seed: int,
    ca_bundle: str | None,
    on_start: Callable[[], None],
) -> None:
    """Serve on sockets until SIGINT or SIGTERM."""
    with ExitStack() as stack:
        for listener in listeners:
            stack.enter_context(listener)
        stack.enter_context(_Prepared(settings, seed, ca_bundle, on_start)).run(listeners)
