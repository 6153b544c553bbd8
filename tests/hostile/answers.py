"""The answers of a hostile server, as bytes, and a loopback server that sends them."""

import gzip
import itertools
import select
import socket
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final

from tests.factories import png, read_request

_OK: Final = b"HTTP/1.1 200 OK\r\n"
_FOUND: Final = b"HTTP/1.1 302 Found\r\n"
_CLOSE: Final = b"Connection: close\r\n"
_CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
_GOOD: Final = "/good.png"
DRIP_SECONDS: Final = 0.1

Pieces = Iterator[bytes]


def zeros(gibibytes: int) -> bytes:
    """Return a gzip of this many GiB of zeros, made from equal blocks."""
    block = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    mebibyte = block.compress(bytes(1024 * 1024)) + block.flush(zlib.Z_FULL_FLUSH)
    head = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    return head + mebibyte * (1024 * gibibytes)


def body(content: bytes, *headers: bytes, start: bytes = _OK) -> bytes:
    """Return a whole answer."""
    length = b"Content-Length: %d\r\n" % len(content)
    return (
        start + b"".join(line + b"\r\n" for line in headers) + length + _CLOSE + b"\r\n" + content
    )


def good() -> Pieces:
    """Send a whole image."""
    yield body(png())


def gzip_bomb() -> Pieces:
    """Send 4 GiB of zeros in 4 MB of gzip."""
    yield body(zeros(4), b"Content-Encoding: gzip")


def nested_gzip_bomb() -> Pieces:
    """Send 4 GiB of zeros in a gzip within a gzip: a few kilobytes."""
    yield body(gzip.compress(zeros(4)), b"Content-Encoding: gzip, gzip")


def unknown_encoding() -> Pieces:
    """Send an image that is called brotli."""
    yield body(png(), b"Content-Encoding: br")


def _redirect(location: bytes, *headers: bytes) -> bytes:
    lines = (b"Location: " + location, *headers)
    return _FOUND + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def redirect_large() -> Pieces:
    """Redirect to an image, with a body of 1 GiB."""
    yield _redirect(_GOOD.encode(), b"Content-Length: %d" % 1024**3)
    yield from itertools.repeat(bytes(65_536), 1024**3 // 65_536)


def redirect_drips() -> Pieces:
    """Redirect to an image, with a body that never ends."""
    yield _redirect(_GOOD.encode(), b"Transfer-Encoding: chunked")
    while True:
        yield b"1\r\nx\r\n"
        time.sleep(DRIP_SECONDS)


def redirect_loop() -> Pieces:
    """Redirect to here."""
    yield _redirect(b"/redirect_loop", b"Content-Length: 0", b"Connection: close")


def redirect_private() -> Pieces:
    """Redirect to the metadata of a cloud machine."""
    yield _redirect(b"https://169.254.169.254/latest/meta-data", b"Content-Length: 0")


def redirect_cluster() -> Pieces:
    """Redirect to a name that only a cluster knows."""
    yield _redirect(b"https://minio.default.svc.cluster.local/x", b"Content-Length: 0")


def redirect_odd() -> Pieces:
    """Redirect to a name that cannot be decoded."""
    yield _redirect(b"https://xn--a.com/", b"Content-Length: 0")


def redirect_no_url() -> Pieces:
    """Redirect to what is no URL."""
    yield _redirect(b"https://[::1", b"Content-Length: 0")


def silent() -> Pieces:
    """Send nothing, and stay."""
    yield b""
    while True:
        time.sleep(DRIP_SECONDS)
        yield b""


def head_drips() -> Pieces:
    """Send the head byte by byte, without an end."""
    yield _OK + b"X-Slow: "
    while True:
        yield b"x"
        time.sleep(DRIP_SECONDS)


def head_long() -> Pieces:
    """Send a header without an end, as fast as it is taken."""
    yield _OK + b"X-Long: "
    yield from itertools.repeat(b"x" * 65_536)


def head_many() -> Pieces:
    """Send headers without an end, as fast as they are taken."""
    yield _OK
    yield from itertools.repeat(b"X: y\r\n" * 10_000)


def informational() -> Pieces:
    """Send 1xx answers without an end, slowly."""
    while True:
        yield b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
        time.sleep(DRIP_SECONDS)


def informational_fast() -> Pieces:
    """Send 1xx answers without an end, as fast as they are taken."""
    yield from itertools.repeat(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1_000)


def chunk_extensions() -> Pieces:
    """Send chunks of one byte with extensions of 60 kB each, without an end."""
    yield _OK + _CHUNKED + b"\r\n"
    for byte in itertools.chain(png()[:-12], itertools.repeat(0)):
        yield b"1;" + b"x" * 60_000 + b"\r\n" + bytes((byte,)) + b"\r\n"


def chunk_extension_drips() -> Pieces:
    """Send a chunk's extension byte by byte, without an end."""
    yield _OK + _CHUNKED + b"\r\n" + b"%x\r\n%b\r\n" % (50, png()[:50]) + b"1;"
    while True:
        yield b"x"
        time.sleep(DRIP_SECONDS)


def trailers_drip() -> Pieces:
    """Send a whole image in chunks, and trailers without an end."""
    yield _OK + _CHUNKED + b"\r\n" + b"%x\r\n%b\r\n0\r\n" % (len(png()), png())
    while True:
        yield b"X: y\r\n"
        time.sleep(DRIP_SECONDS)


def body_drips() -> Pieces:
    """Send the beginning of an image, and a byte now and then, without an end."""
    yield _OK + _CHUNKED + b"\r\n" + b"%x\r\n%b\r\n" % (50, png()[:50])
    while True:
        yield b"1\r\n\0\r\n"
        time.sleep(DRIP_SECONDS)


def body_endless() -> Pieces:
    """Send an image without an end, as fast as it is taken."""
    yield _OK + _CLOSE + b"\r\n" + png()[:-12]
    yield from itertools.repeat(bytes(65_536))


def body_huge() -> Pieces:
    """Declare a petabyte."""
    yield _OK + b"Content-Length: %d\r\n\r\n" % 10**15 + png()


def body_cut() -> Pieces:
    """Send half of an image."""
    yield _OK + b"Content-Length: 1000000\r\n\r\n" + png()


def page() -> Pieces:
    """Send a page in place of an image."""
    yield body(b"<html>" + b"x" * 100_000)


def cookies() -> Pieces:
    """Send an image with a thousand cookies."""
    yield body(png(), *(b"Set-Cookie: c%d=%s" % (n, b"x" * 40) for n in range(1_000)))


def no_http() -> Pieces:
    """Send no HTTP."""
    yield bytes(range(256)) * 4_096


def deep_json() -> Pieces:
    """Send a million brackets."""
    yield body(b"[" * 1_000_000)


def wide_json() -> Pieces:
    """Send a megabyte of empty objects in an envelope."""
    yield body(b'{"code": 0, "message": "", "data": {"x": [' + b"{}," * 330_000 + b"{}]}}")


def wide_task() -> Pieces:
    """Send a task with as many results as a megabyte holds."""
    results = b'{"downloadUrl": "x"},' * 45_000 + b'{"downloadUrl": "x"}'
    yield body(b'{"code": 0, "data": {"status": "success", "results": [' + results + b"]}}")


def bomb_429() -> Pieces:
    """Throttle, with a bomb for a body."""
    start = b"HTTP/1.1 429 Too Many Requests\r\n"
    yield body(gzip.compress(zeros(4)), b"Content-Encoding: gzip, gzip", start=start)


ANSWERS: Final = {
    make.__name__: make
    for make in (
        *(good, gzip_bomb, nested_gzip_bomb, unknown_encoding),
        *(redirect_large, redirect_drips, redirect_loop, redirect_private, redirect_cluster),
        *(redirect_odd, redirect_no_url),
        *(silent, head_drips, head_long, head_many, informational, informational_fast),
        *(chunk_extensions, chunk_extension_drips, trailers_drip),
        *(body_drips, body_endless, body_huge, body_cut, page, cookies, no_http),
        *(deep_json, wide_json, wide_task, bomb_429),
    )
}


class Server:
    """Answers each path `/<name>` so, and the vendor's API as it is told to."""

    def __init__(self, api: bytes | str) -> None:
        self._api = api
        """An answer's name, or a whole answer."""
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """End."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            words = read_request(connection).split(b" ", 2)
            if len(words) < 3 or not words[1].startswith(b"/"):
                return  # the client went without a request, or spoke TLS
            path = words[1].decode(errors="replace")
            name = path.strip("/").removesuffix(".png")
            answer = self._api if path.startswith("/api/") else name
            if isinstance(answer, bytes):
                connection.sendall(answer)
                return
            for piece in ANSWERS[answer]():
                connection.sendall(piece)
                if not piece and select.select([connection], [], [], 0)[0]:
                    return  # the client went


@contextmanager
def serving(api: bytes | str = b"") -> Iterator[str]:
    """Serve; give the base URL."""
    server = Server(api)
    try:
        yield server.url
    finally:
        server.close()


PLAIN: Final[Mapping[str, str]] = {
    name: (make.__doc__ or "").strip().rstrip(".") for name, make in ANSWERS.items()
}
"""What each answer is, for people."""
