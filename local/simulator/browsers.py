"""Refuses what a page in a browser asks for: the simulator has no lock.

A page of any site can send a request to a port of this machine, and reads the answer too if its
own name resolves to this machine (DNS rebinding). The vendor's clients are no pages.
"""

from ipaddress import ip_address
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from local.simulator.contract import error

_OWN_NAMES: Final = (".localhost", "host.docker.internal")


class NoBrowsers:
    """Stands before an app."""

    def __init__(self, app: ASGIApp) -> None:
        """Pass on what no page has made."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the app do so."""
        if scope["type"] == "http":
            headers = Request(scope).headers
            if "origin" in headers or not _is_own(headers.get("host", "")):
                refusal = error(403, "the simulator takes no requests of pages in a browser")
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _is_own(host: str) -> bool:
    """Tell whether a Host names this machine: no site of the internet has such a name."""
    name = host.rpartition("]")[0].lstrip("[") or host.partition(":")[0]
    if name.endswith(_OWN_NAMES) or "." not in name.rstrip("."):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
