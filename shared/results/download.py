"""An HTTP client for URLs that the vendor names, which connects to no private address.

A result is downloaded only from the origin of `VmakeBaseUrl` or, over https, from a public address.
The address is checked when the connection is made, also on each redirect. So a name that resolves
to another address the second time passes no check. This module follows the redirects itself and
never reads their bodies.
"""

from typing import Final

import httpx

from shared.addresses import is_public, is_public_host
from shared.errors import ResultRefused
from shared.models import ErrorCode
from shared.transport import Backend, BoundedTransport

DOWNLOAD_TIMEOUT: Final = httpx.Timeout(connect=5, read=30, write=5, pool=60)
"""Seconds, for each single operation."""
DOWNLOAD_SECONDS: Final = 240.0
"""For a whole download, from the look-up of the name to the last byte, including redirects."""
_SHOWN: Final = 200
"""Characters of a host that messages show; a redirect's URL may have 100,000."""
MAX_REDIRECTS: Final = 5
MAX_CONNECTIONS: Final = 8
"""Four results are downloaded at the same time; four more connections may be kept."""
KEEP_SECONDS: Final = 30.0
"""A connection is reused only within this time. A Lambda is frozen between invocations and does not
notice that the server has closed it; a result whose connection is closed needs another round."""
_HEADERS: Final = {"User-Agent": "catwalk", "Accept-Encoding": "identity"}
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


def download_client(vendor_base_url: str) -> httpx.Client:
    """Return a client that connects only to the vendor and to public hosts.

    It keeps no cookies. A request for any other URL raises `ResultRefused` with `result_blocked`.
    """
    return httpx.Client(
        transport=_GuardedTransport(httpx.URL(vendor_base_url)),
        timeout=DOWNLOAD_TIMEOUT,
        # A proxy from the environment would make the connection, without the check.
        trust_env=False,
        headers=_HEADERS,
    )


def blocked(message: str) -> ResultRefused:
    """Return the error for a URL that must not be downloaded."""
    return ResultRefused(ErrorCode.RESULT_BLOCKED, message)


class _GuardedTransport(BoundedTransport):
    """Checks each URL and each address, and follows redirects without reading them."""

    def __init__(self, vendor: httpx.URL) -> None:
        self._vendor = _origin(vendor)
        super().__init__(
            DOWNLOAD_SECONDS,
            max_connections=MAX_CONNECTIONS,
            keepalive_seconds=KEEP_SECONDS,
        )

    def backend(self) -> Backend:
        return _GuardedBackend(self._vendor[1:])

    def send_once(self, request: httpx.Request, deadline: float) -> httpx.Response:
        for _ in range(MAX_REDIRECTS + 1):
            self._check(request.url)
            response = super().send_once(request, deadline)
            location = response.headers.get("Location")
            if response.status_code not in _REDIRECTS or location is None:
                return response
            response.close()
            request = _redirected(request, location)
        raise httpx.TooManyRedirects(f"more than {MAX_REDIRECTS} redirects", request=request)

    def _check(self, url: httpx.URL) -> None:
        if _origin(url) != self._vendor and url.scheme != "https":
            where = f"{url.scheme}://{_host(url)}"[:_SHOWN]
            raise blocked(f"The result's URL {where} is neither https nor the vendor's own.")


class _GuardedBackend(Backend):
    """Connects to the vendor, and to addresses that it has checked itself."""

    def __init__(self, vendor: tuple[str, int]) -> None:
        super().__init__()
        self._vendor = vendor

    def check_host(self, host: str, port: int) -> None:
        if (host, port) != self._vendor and not is_public_host(host):
            raise blocked(f"The result's host {host[:_SHOWN]} is not public.")

    def check_address(self, host: str, port: int, address: str) -> None:
        if (host, port) != self._vendor and not is_public(address):
            name = host[:_SHOWN]
            raise blocked(f"The result's host {name} is at {address}, which is not public.")


def _redirected(request: httpx.Request, location: str) -> httpx.Request:
    try:
        url = request.url.join(location)
        return httpx.Request("GET", url, headers=_HEADERS, extensions=request.extensions)
    except Exception as error:
        # httpx, urllib and idna raise errors of many types for a text that is no URL.
        message = f"the target of the redirect is no URL ({type(error).__name__})"
        raise httpx.RemoteProtocolError(message) from error


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    port = url.port or {"http": 80, "https": 443}.get(url.scheme, 0)
    return url.scheme, _host(url), port


def _host(url: httpx.URL) -> str:
    """Return the host as a resolver gets it. `URL.host` decodes it, and raises if it cannot."""
    return url.raw_host.decode("ascii")
