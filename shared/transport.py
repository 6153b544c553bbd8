"""HTTP to servers that may be hostile: each request has a deadline, and no state is kept.

httpx's timeouts are for a single operation, so a server that sends a byte now and then could keep a
request alive for ever. Here each operation also ends at the request's deadline, from the look-up of
the name to the last byte. This covers slow headers, endless 1xx answers, endless chunk extensions
and a name with many addresses.
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
"""At most this many addresses of a name are tried. Content networks have up to eight."""
_WORTH_ANOTHER_LOOK: Final = 8 * 1024
"""Bytes; see `Stream`."""
_WRITE_BYTES: Final = 256 * 1024
"""A body is sent in pieces of this size; the write timeout applies to each piece."""
_GZIP_OR_ZLIB: Final = zlib.MAX_WBITS + 32
"""Lets zlib recognise the format by the first bytes."""
_TAKEN_OUT: Final = ("Set-Cookie", "Set-Cookie2", "Location")
"""Headers that are removed, since httpx would act on them: it keeps cookies and reads redirects."""


@dataclass(frozen=True)
class Patience:
    """How long an operation may take: its own timeout, but not beyond the request's deadline.

    httpcore passes a timeout to the network backend unchanged, so a `Patience` is given instead.
    """

    limit: float | None
    deadline: float

    def seconds(self, exhausted: type[Exception]) -> float:
        """Return the seconds left, or raise `exhausted` if there are none."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise exhausted("the request's deadline has passed")
        return left if self.limit is None else min(self.limit, left)


_Timeout = Patience | float | None


def decoded(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Return the first `max_bytes` bytes of a decoded body.

    It is empty if the body cannot be decoded, or if its encoding is not gzip or deflate alone:
    nested encodings can unpack to gigabytes.
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
    """httpx's transport with a deadline for each request. It follows no redirect."""

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
            max_connections: how many connections may be open at the same time.
            max_keepalive: how many connections may be kept for later requests.
            keepalive_seconds: how long a connection is kept.

        """
        super().__init__(verify=_ssl_context())
        self._seconds = seconds
        # httpx has no argument for the network backend; httpcore's pool has one.
        self._pool = httpcore.ConnectionPool(
            ssl_context=_ssl_context(),
            max_connections=max_connections,
            max_keepalive_connections=max_keepalive,
            keepalive_expiry=keepalive_seconds,
            network_backend=self.backend(),
        )

    def backend(self) -> "Backend":
        """Return the network backend, which makes the connections."""
        return Backend()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response; its body is not read yet."""
        response = self.send_once(request, time.monotonic() + self._seconds)
        for name in _TAKEN_OUT:
            response.headers.pop(name, None)
        return response

    def send_once(self, request: httpx.Request, deadline: float) -> httpx.Response:
        """Send one request; `deadline` is a value of `time.monotonic`."""
        timeouts = request.extensions.get("timeout", {})
        bounded: dict[str, Any] = {
            name: Patience(timeouts.get(name), deadline) for name in ("connect", "read", "write")
        }
        # httpcore itself waits for a free connection, so this timeout must be a number.
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
    """Resolves a name, and connects to one of its addresses before the deadline."""

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
    """A connection with deadlines, whose reads return all bytes that have already arrived.

    TLS returns one record of 16 KiB at a time. httpcore, h11 and httpx need more time for each
    piece than its decryption takes, so larger reads halve the processor time of a download.
    """

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream
        self._socket: socket.socket = stream.get_extra_info("socket")
        self._end: OSError | bytes | None = None

    def read(self, max_bytes: int, timeout: _Timeout = None) -> bytes:
        """Return the next bytes, at most `max_bytes`; empty at the end."""
        if isinstance(self._end, OSError):
            raise httpcore.ReadError(str(self._end)) from self._end
        if self._end is not None:
            return self._end
        seconds = _seconds(timeout, httpcore.ReadTimeout)
        pieces = [self._stream.read(max_bytes, seconds)]
        left = max_bytes - len(pieces[0])
        # After a short first piece there is mostly nothing more: headers, or the end of an image.
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
            pass  # nothing more has arrived yet
        except OSError as error:
            self._end = error  # raised by the next read: the bytes so far are valid
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
        """Return information about the connection, as httpcore defines it."""
        return self._stream.get_extra_info(info)


def _seconds(timeout: _Timeout, exhausted: type[Exception]) -> float | None:
    return timeout.seconds(exhausted) if isinstance(timeout, Patience) else timeout


def _look_up(host: str, port: int, seconds: float | None) -> list[str]:
    """Return a name's addresses, without repetitions.

    `getaddrinfo` has no timeout, and the name's own servers can make it wait. So it runs in a
    thread, which is abandoned if it takes too long.
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
