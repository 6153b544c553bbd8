"""Who may look: the person who started the gallery, in the browser that they opened it with.

Anything on this machine can connect to a port of 127.0.0.1, and any page in the browser can send
it requests. So a key that works once is exchanged for a session; a name other than loopback's is
refused (DNS rebinding); and what changes something must come from the gallery's own pages.

A session is a cookie and a secret in the path. Browsers know no ports where cookies are concerned:
the cookie's path is the secret one, so no other server on this machine is ever sent it, and the
cookie alone opens nothing.
"""

import hmac
import secrets
from dataclasses import dataclass, field
from http import HTTPStatus
from threading import Lock
from typing import Final
from urllib.parse import parse_qs

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cli.terminal.output import warn

SAFE: Final = frozenset({"GET", "HEAD"})
PUBLIC: Final = "/static/"
"""Code and fonts, the same for everybody: the page for strangers is drawn with them."""
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self';"
    " script-src 'self'; font-src 'self'; connect-src 'self'; form-action 'self';"
    " frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: with that, a form's Origin would be null, also to the gallery itself.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_WELCOME: Final = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta http-equiv="refresh" content="0;url=./"><title>Catwalk</title>
<a href="./">Open the gallery</a></html>
"""


class BrokenOffError(Exception):
    """An answer cannot be sent to its end; the message is a sentence."""


@dataclass
class Access:
    """What opens the gallery."""

    port: int
    key: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    """Works once; then there is another."""
    session: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    """What the browser's cookie holds."""
    folder: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    """The secret folder that all addresses of the session lie in."""
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    """Signs what pages refer to."""
    _lock: Lock = field(default_factory=Lock, repr=False)

    @property
    def url(self) -> str:
        """The address that opens the gallery, once."""
        return f"{self.origin}{self.root}/?key={self.key}"

    @property
    def root(self) -> str:
        """What all paths begin with."""
        return f"/{self.folder}"

    @property
    def origin(self) -> str:
        """The gallery's own origin."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def origins(self) -> tuple[str, str]:
        """The origins under which it may be reached."""
        return self.origin, f"http://localhost:{self.port}"

    @property
    def cookie(self) -> str:
        """The cookie's name, another for each gallery of this machine."""
        return f"catwalk-{self.port}"

    @property
    def form_token(self) -> str:
        """What every form of this session's pages carries."""
        return hmac.new(self.secret, b"form " + self.session.encode(), "sha256").hexdigest()

    def take_key(self, given: str) -> bool:
        """Tell whether a key opens; it does so once."""
        with self._lock:
            if not hmac.compare_digest(given.encode(), self.key.encode()):
                return False
            self.key = secrets.token_urlsafe(32)
            return True

    def route(self, path: str) -> str | None:
        """Return a path without the secret folder; None if it does not lie in there."""
        folder, slash, rest = path.removeprefix("/").partition("/")
        inside = hmac.compare_digest(folder.encode(), self.folder.encode()) and slash
        return f"/{rest}" if inside else None

    def knows(self, cookie: str) -> bool:
        """Tell whether a browser is the one that was let in."""
        return hmac.compare_digest(cookie.encode(), self.session.encode())

    def made_form(self, token: str) -> bool:
        """Tell whether a form is one of this session's."""
        return hmac.compare_digest(token.encode(), self.form_token.encode())


class Guard:
    """Lets nobody else in, and tells browsers what the pages may do."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        """Stand before this app."""
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the app do so."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "private, no-cache")
            await send(message)

        request = Request(scope)
        answer = self._answer(request)
        if self._access.route(scope["path"]) is not None:
            # Routes are found without it.
            scope = {**scope, "root_path": self._access.root}
        try:
            await (answer or self._app)(scope, receive, send_safely)
        except BrokenOffError as error:
            # The server sees that it is not whole, and so does the browser.
            warn(str(error))

    def _answer(self, request: Request) -> Response | None:
        """Return what is answered without the app; None for whom it is for."""
        access, headers = self._access, request.headers
        hosts = [origin.removeprefix("http://") for origin in access.origins]
        if headers.get("host", "") not in hosts:
            return stranger(
                "This address is not the gallery's.", f"Open {access.origin} in this browser."
            )
        # The app goes by the scope's path; the request's URL may read it otherwise.
        path = request.scope["path"]
        if path.startswith(PUBLIC) and request.method in SAFE:
            return None
        fetched_from = headers.get("sec-fetch-site", "none")
        navigates = headers.get("sec-fetch-mode") == "navigate" and request.method in SAFE
        framed = headers.get("sec-fetch-dest", "document") not in {"document", "empty"}
        if fetched_from not in {"none", "same-origin"} and (framed or not navigates):
            return stranger("Another site asked for this.", "Open the gallery in a tab of its own.")
        if request.method not in SAFE and headers.get("origin") not in access.origins:
            return stranger(
                "This did not come from the gallery's own page.",
                "Go back to the gallery and try again.",
            )
        route = access.route(path)
        key = parse_qs(request.url.query).get("key", [""])[0]
        if route == "/" and key and access.take_key(key):
            welcome = HTMLResponse(_WELCOME, headers={"Cache-Control": "no-store"})
            welcome.set_cookie(
                access.cookie,
                access.session,
                path=f"{access.root}/",
                httponly=True,
                samesite="strict",
            )
            return welcome
        if route is None or not any(map(access.knows, _values(request, access.cookie))):
            return stranger(
                "The gallery does not know this browser.",
                "Open the address that <code>catwalk gallery</code> shows in your terminal;"
                " each address works once, and a new one is shown then.",
            )
        return None


def _values(request: Request, name: str) -> list[str]:
    """Return all cookies of a name: a server on another port can set one of the same name."""
    lines = request.headers.getlist("cookie")
    pairs = (pair.partition("=") for line in lines for pair in line.split(";"))
    return [value.strip() for key, _, value in pairs if key.strip() == name]


def stranger(title: str, advice: str) -> Response:
    """Return a page for whom the gallery is not; neither text is a stranger's."""
    return HTMLResponse(
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Catwalk</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="stylesheet" href="/static/gallery.css">'
        f'<main class="alone"><p class="wordmark">Catwalk</p><h1>{title}</h1><p>{advice}</p></main>'
        "</html>",
        status_code=HTTPStatus.FORBIDDEN,
    )
