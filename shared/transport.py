"""HTTP to servers that may be hostile: one deadline a request, and no state taken from answers.

httpx's own timeouts are for a single operation, so a server that sends a byte now and then keeps
a request alive for ever. Here each operation also ends at the request's deadline, from the look-up
of the name to the last byte: a slow head, endless 1xx answers, endless chunk extensions and a name
with many addresses included.
"""

import socket
import ssl
import time
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Final

import httpcore
import httpx

MAX_ADDRESSES: Final = 8
"""How many of a name's addresses are tried. Content networks answer with up to eight."""
_WORTH_ANOTHER_LOOK: Final = 8 * 1024
"""Bytes; see `Stream`."""
_WRITE_BYTES: Final = 256 * 1024
"""A body is sent in pieces of this size; the write timeout is for each of them."""
_GZIP_OR_ZLIB: Final = zlib.MAX_WBITS + 32
"""Lets zlib tell by the first bytes which of the two a body is."""
_TAKEN_OUT: Final = ("Set-Cookie", "Set-Cookie2", "Location")
"""Headers that httpx would act on: it keeps cookies and parses each redirect's target."""


@dataclass(frozen=True)
class Patience:
    """How long an operation may take: its own timeout, but not past the request's deadline.

    httpcore hands a timeout on to the network backend as it is, so this takes a timeout's place.
    """

    limit: float | None
    deadline: float

    def seconds(self, exhausted: type[Exception]) -> float:
        """Return what is left, or raise `exhausted` if nothing is."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise exhausted("the request's deadline has passed")
        return left if self.limit is None else min(self.limit, left)


_Timeout = Patience | float | None


def decoded(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Return a body without its Content-Encoding: at most so many bytes of it.

    Returns nothing for a body that cannot be decoded, or whose encoding is not gzip or deflate
    alone: encodings on top of each other multiply what they unpack to.
    """
    if encoding in {"", "identity"}:
        return body
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        return b""
    try:
        return zlib.decompressobj(_GZIP_OR_ZLIB).decompress(body, max_bytes)
    except zlib.error:
        return b""


class BoundedTransport(httpx.HTTPTransport):
    """httpx's own transport with a deadline for each request. It follows no redirect."""

    def __init__(
        self,
        seconds: float,
        *,
        max_connections: int | None = None,
        max_keepalive: int | None = None,
        keepalive_seconds: float = 5.0,
    ) -> None:
        """Make a transport; no connection is made yet.

        Args:
            seconds: how long a request may take, from the look-up to the last byte.
            max_connections: how many may be open at once.
            max_keepalive: how many may be kept for the next request.
            keepalive_seconds: how long one is kept.

        """
        super().__init__(verify=_ssl_context())
        self._seconds = seconds
        # httpx has no argument for the network backend; httpcore, which it rests on, does.
        self._pool = httpcore.ConnectionPool(
            ssl_context=_ssl_context(),
            max_connections=max_connections,
            max_keepalive_connections=max_keepalive,
            keepalive_expiry=keepalive_seconds,
            network_backend=self.backend(),
        )

    def backend(self) -> "Backend":
        """Return what makes the connections."""
        return Backend()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the answer's head, with the body still to be read."""
        response = self.send_once(request, time.monotonic() + self._seconds)
        for name in _TAKEN_OUT:
            response.headers.pop(name, None)
        return response

    def send_once(self, request: httpx.Request, deadline: float) -> httpx.Response:
        """Send one request, which ends at an instant of `time.monotonic`."""
        timeouts = request.extensions.get("timeout", {})
        bounded: dict[str, Any] = {
            name: Patience(timeouts.get(name), deadline) for name in ("connect", "read", "write")
        }
        # httpcore itself waits for a free connection, and needs a number for that.
        bounded["pool"] = Patience(timeouts.get("pool"), deadline).seconds(httpx.PoolTimeout)
        extensions = {**request.extensions, "timeout": bounded}
        return super().handle_request(
            httpx.Request(
                request.method,
                request.url,
                headers=request.headers,
                stream=request.stream,
                extensions=extensions,
            )
        )


class Backend(httpcore.SyncBackend):
    """Looks a name up itself, and connects to one of its addresses before the deadline."""

    def check_host(self, host: str, port: int) -> None:
        """Raise if no connection may be made to this host."""

    def check_address(self, host: str, port: int, address: str) -> None:
        """Raise if no connection may be made to this address of the host."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: _Timeout = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first of the host's addresses that answers."""
        self.check_host(host, port)
        error: Exception = httpcore.ConnectError(f"{host} has no address")
        addresses = _look_up(host, port, _seconds(timeout, httpcore.ConnectTimeout))
        for address in addresses[:MAX_ADDRESSES]:
            self.check_address(host, port, address)
            seconds = _seconds(timeout, httpcore.ConnectTimeout)
            try:
                return Stream(
                    super().connect_tcp(address, port, seconds, local_address, socket_options)
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failed:
                error = failed
        raise error


class Stream(httpcore.NetworkStream):
    """A connection that keeps to deadlines, and takes at once what has come already.

    TLS hands out a record at a time, 16 KiB; what httpcore, h11 and httpx do with each piece takes
    longer than its decryption. Wide reads halve the processor time of a download.
    """

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream
        self._socket: socket.socket = stream.get_extra_info("socket")
        self._end: OSError | bytes | None = None

    def read(self, max_bytes: int, timeout: _Timeout = None) -> bytes:
        """Return what comes next, at most so many bytes; none at the end."""
        if isinstance(self._end, OSError):
            raise httpcore.ReadError(str(self._end)) from self._end
        if self._end is not None:
            return self._end
        seconds = _seconds(timeout, httpcore.ReadTimeout)
        pieces = [self._stream.read(max_bytes, seconds)]
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

    def write(self, buffer: bytes, timeout: _Timeout = None) -> None:
        """Send all of the buffer."""
        left = memoryview(buffer)
        while left:
            self._socket.settimeout(_seconds(timeout, httpcore.WriteTimeout))
            try:
                sent = self._socket.send(left[:_WRITE_BYTES])
            except TimeoutError as error:
                raise httpcore.WriteTimeout(str(error)) from error
            except OSError as error:
                raise httpcore.WriteError(str(error)) from error
            left = left[sent:]

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: _Timeout = None,
    ) -> httpcore.NetworkStream:
        """Return the connection with TLS in it."""
        seconds = _seconds(timeout, httpcore.ConnectTimeout)
        return Stream(self._stream.start_tls(ssl_context, server_hostname, seconds))

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - as httpcore has it
        """Return what the connection below knows of itself."""
        return self._stream.get_extra_info(info)


def _seconds(timeout: _Timeout, exhausted: type[Exception]) -> float | None:
    return timeout.seconds(exhausted) if isinstance(timeout, Patience) else timeout


def _look_up(host: str, port: int, seconds: float | None) -> list[str]:
    """Return a name's addresses, each once.

    `getaddrinfo` takes no timeout, and a name's own servers can make it wait. It is left alone,
    in a thread of its own, if it takes too long.
    """
    answer: SimpleQueue[Any] = SimpleQueue()

    def ask() -> None:
        try:
            answer.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:  # noqa: BLE001 - raised below, where it is awaited
            answer.put(error)

    Thread(target=ask, name="look-up", daemon=True).start()
    try:
        found = answer.get(timeout=seconds)
    except Empty:
        raise httpcore.ConnectTimeout(f"{host} could not be looked up in time") from None
    if isinstance(found, OSError | UnicodeError):
        raise httpcore.ConnectError(f"{host} cannot be looked up: {found}") from found
    if isinstance(found, Exception):
        raise found
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@cache
def _ssl_context() -> ssl.SSLContext:
    """Make the context once: reading the certificates takes longer than a request."""
    return httpx.create_ssl_context()
