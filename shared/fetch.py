"""Downloading from URLs that somebody else names, without being sent where nobody should go.

A result is fetched only from the origin of `VmakeBaseUrl` or, over https, from a public
address. The address is checked where the connection is made, on each redirect too, so that a
name that resolves differently the second time gains nothing.
"""

import ipaddress
import socket
import ssl
from collections.abc import Iterable
from typing import Any, Final

import httpcore
import httpx

from shared.errors import ResultRefused
from shared.models import ErrorCode

DOWNLOAD_TIMEOUT: Final = httpx.Timeout(connect=5, read=30, write=5, pool=60)
"""Seconds. `read` is for each piece of the body, not for the whole of it."""
MAX_REDIRECTS: Final = 5
MAX_CONNECTIONS: Final = 8
"""Four results at once, and as many again for what a redirect leaves open."""
KEEP_SECONDS: Final = 30.0
"""A connection is used again within this time only. A Lambda stands still between invocations and
does not see that the other end hung up; one taken for alive costs its result a round."""
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_WORTH_ANOTHER_LOOK: Final = 8 * 1024
"""Bytes; see `_WideStream`."""
_UNICAST: Final = ipaddress.ip_network("2000::/3")
"""What of IPv6 is routed on the internet; `is_global` also takes `::127.0.0.1` and `fec0::1`."""


def download_client(vendor_base_url: str) -> httpx.Client:
    """Return a client that refuses to connect to anything but the vendor and public hosts.

    Its requests raise `ResultRefused` with `result_blocked` where the rule forbids a URL.
    """
    return httpx.Client(
        transport=_GuardedTransport(httpx.URL(vendor_base_url)),
        timeout=DOWNLOAD_TIMEOUT,
        follow_redirects=True,
        max_redirects=MAX_REDIRECTS,
        # A proxy from the environment would connect on our behalf, past the check.
        trust_env=False,
        headers={"User-Agent": "catwalk", "Accept-Encoding": "identity"},
    )


def is_public(address: str) -> bool:
    """Whether an IP address is one that anybody on the internet could reach."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        embedded = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if embedded is not None:
            return is_public(str(embedded))
        if ip not in _UNICAST:
            return False
    return ip.is_global and not ip.is_multicast


def blocked(message: str) -> ResultRefused:
    """Return the error for a URL that must not be fetched."""
    return ResultRefused(ErrorCode.RESULT_BLOCKED, message)


class _GuardedTransport(httpx.HTTPTransport):
    """httpx's own transport, with a check of each request's URL and of each address."""

    def __init__(self, vendor: httpx.URL) -> None:
        verify = httpx.create_ssl_context()
        super().__init__(verify=verify)
        self._vendor = _origin(vendor)
        # httpx has no argument for the network backend; httpcore, which it rests on, does.
        self._pool = httpcore.ConnectionPool(
            ssl_context=verify,
            max_connections=MAX_CONNECTIONS,
            keepalive_expiry=KEEP_SECONDS,
            network_backend=_GuardedBackend(self._vendor[1:]),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        if _origin(url) != self._vendor and url.scheme != "https":
            raise blocked(
                f"The result's URL {url.scheme}://{url.host} is neither https nor the vendor's own."
            )
        return super().handle_request(request)


class _GuardedBackend(httpcore.SyncBackend):
    """Connects to addresses that it has looked at itself."""

    def __init__(self, vendor: tuple[str, int]) -> None:
        self._vendor = vendor

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        if (host, port) == self._vendor:
            return _WideStream(
                super().connect_tcp(host, port, timeout, local_address, socket_options)
            )
        error: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in _addresses(host, port):
            if not is_public(address):
                raise blocked(f"The result's host {host} is at {address}, which is not public.")
            try:
                return _WideStream(
                    super().connect_tcp(address, port, timeout, local_address, socket_options)
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failed:
                error = failed
        raise error


class _WideStream(httpcore.NetworkStream):
    """A stream that takes at once what has come already, as far as it was asked for.

    TLS hands out a record at a time, 16 KiB; what httpcore, h11 and httpx do with each piece takes
    longer than its decryption. Wide reads halve the processor time of a download.
    """

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream
        self._socket: socket.socket = stream.get_extra_info("socket")
        self._end: OSError | bytes | None = None

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if isinstance(self._end, OSError):
            raise httpcore.ReadError(str(self._end)) from self._end
        if self._end is not None:
            return self._end
        pieces = [self._stream.read(max_bytes, timeout)]
        left = max_bytes - len(pieces[0])
        # A short first piece has mostly nothing behind it: a head, or a small image's end.
        if len(pieces[0]) < _WORTH_ANOTHER_LOOK:
            return pieces[0]
        self._socket.settimeout(0)
        try:
            while left > 0:
                pieces.append(self._socket.recv(left))
                left -= len(pieces[-1])
                if not pieces[-1]:
                    self._end = b""
                    break
        except (BlockingIOError, ssl.SSLWantReadError):
            pass  # nothing more has come yet
        except OSError as error:
            self._end = error  # for the next read: what has come is whole
        return b"".join(pieces)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        return _WideStream(self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - as httpcore has it
        return self._stream.get_extra_info(info)


def _addresses(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(f"{host} cannot be looked up: {error}") from error
    return [str(entry[4][0]) for entry in found]


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    port = url.port or {"http": 80, "https": 443}.get(url.scheme, 0)
    return url.scheme, url.host, port
