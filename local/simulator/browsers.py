"""Refuses requests of pages in a browser, since the simulator's control API needs no credentials.

A page of any site can send a request to a port of this machine. It can also read the answer if its
own name resolves to this machine (DNS rebinding). The vendor's real clients are not pages.
"""

from ipaddress import ip_address
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from local.simulator.contract import error

_OWN_NAMES: Final = (".localhost", "host.docker.internal")


class NoBrowsers:
    """An ASGI middleware that refuses requests of pages."""

    def __init__(self, app: ASGIApp) -> None:
        """Forward all other requests to `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request or forward it."""
        if scope["type"] == "http":
            headers = Request(scope).headers
            if "origin" in headers or not _is_own(headers.get("host", "")):
                refusal = error(403, "the simulator takes no requests of pages in a browser")
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _is_own(host: str) -> bool:
    """Return whether a Host header names this machine; no site on the internet has such a name."""
    name = host.rpartition("]")[0].lstrip("[") or host.partition(":")[0]
    if name.endswith(_OWN_NAMES) or "." not in name.rstrip("."):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
