"""Serves the gallery on this machine's loopback until Ctrl-C."""

import logging
import os
import socket
import sys
import tempfile
import threading
import warnings
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from types import FrameType
from typing import Final

import platformdirs
import uvicorn
from PIL import Image
from starlette.types import ASGIApp

from cli.errors import CommandError
from cli.gallery.access import Access
from cli.gallery.app import Gallery, create_app
from cli.stacks.stack import Catwalk
from cli.terminal.output import say, tell

LOOPBACK: Final = "127.0.0.1"
PORT: Final = 8017
"""Tried first, so that the address looks familiar; any free one otherwise."""
_LAST_REQUESTS_SECONDS: Final = 1
_BACKLOG: Final = 128
_SCREENS: Final = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
"""Variables one of which is set on a Linux that can open a browser."""


def cache_folder() -> Path:
    """Return where small copies are kept."""
    return Path(platformdirs.user_cache_path("catwalk")) / "pictures"


def listen(port: int | None) -> socket.socket:
    """Return a socket that listens on loopback.

    Args:
        port: this one; 0 is any free one, None the usual one or any.

    Raises:
        CommandError: it is in use.

    """
    try:
        return _listening(PORT if port is None else port)
    except OSError as error:
        if port is None:
            return _listening(0)
        raise CommandError(
            f"Port {port} of {LOOPBACK} cannot be used: {error.strerror or error}.",
            "Name another with --port, or leave it out.",
        ) from error


def serve(stack: Catwalk, *, port: int | None, opens: bool) -> None:
    """Serve a stack's gallery until Ctrl-C.

    Args:
        stack: whose jobs are shown.
        port: as for `listen`.
        opens: whether to open the browser.

    Raises:
        CommandError: the port is in use.

    """
    # How large a picture may be, cli.gallery.images decides.
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    with listen(port) as listener:
        access = _Telling(listener.getsockname()[1])
        server = _Server(create_app(Gallery.of(stack, cache_folder()), access))
        say(f"The gallery of {stack.name} is at {access.url}")
        tell("The address works once, in one browser: open it if no page appears by itself.")
        tell("Ctrl-C ends the gallery.")
        with _opened(access.url) if opens else _nothing():
            server.run(sockets=[listener])
    tell("The gallery is closed.")
    _leave()


class _Telling(Access):
    """Shows the next key when one was used: whoever sees this terminal may open another."""

    def take_key(self, given: str) -> bool:
        taken = super().take_key(given)
        if taken:
            tell(f"Opened. For another browser: {self.url}")
        return taken


class _Server(uvicorn.Server):
    """A uvicorn that Ctrl-C ends quietly."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                ws="none",
                log_level="warning",
                access_log=False,  # addresses hold keys
                server_header=False,
                proxy_headers=False,  # nothing stands between
                timeout_graceful_shutdown=_LAST_REQUESTS_SECONDS,
            )
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's own
        # uvicorn's own would raise the signal again, and so end with an error.
        self.force_exit = self.should_exit
        self.should_exit = True
        # What is under way breaks off because it was asked to.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)


def _listening(port: int) -> socket.socket:
    # Only of a socket that says TCP does asyncio turn Nagle's delay off: 40 ms an answer.
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((LOOPBACK, port))
        made.listen(_BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def _leave() -> None:
    """End now where threads still wait for AWS: Python would wait with them, for minutes."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(_LAST_REQUESTS_SECONDS)
            if thread.is_alive():
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(0)


@contextmanager
def _opened(url: str) -> Iterator[None]:
    """Open the browser through a file that only this user can read.

    A browser's command line is there for all users of a machine to see; the key is not in it.
    """
    with tempfile.TemporaryDirectory(prefix="catwalk-") as folder:
        page = Path(folder) / "gallery.html"
        page.write_text(
            '<!doctype html><meta charset="utf-8"><title>Catwalk</title>'
            f'<meta http-equiv="refresh" content="0;url={escape(url)}">'
            f'<a href="{escape(url)}">Open the gallery</a>',
            encoding="utf-8",
        )
        # Some browsers are waited for until they are closed; nothing is served before this returns.
        threading.Thread(target=_open, args=(page.as_uri(),), daemon=True).start()
        yield


def _open(uri: str) -> None:
    # Without a screen there are only browsers that would take this terminal.
    screen = sys.platform != "linux" or any(map(os.environ.get, _SCREENS))
    if not (screen and webbrowser.open(uri)):
        tell("No browser could be opened; open the address yourself.")


@contextmanager
def _nothing() -> Iterator[None]:
    yield
