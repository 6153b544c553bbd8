"""A vendor that serves large results and a store that accepts them, for `bench.finalize`.

Each is a process on a free port of 127.0.0.1 and uses TLS, as on AWS. Both use little processor
time: the vendor sends the same bytes again and again, and the store discards what it receives.

    python -m bench.finalize_servers vendor CERTIFICATE KEY
    python -m bench.finalize_servers store CERTIFICATE KEY [--delay SECONDS] [--rate BYTES]

A server prints its port. For each line on its standard input it prints its counts so far, as JSON.
It ends when its standard input ends.
"""

import argparse
import json
import re
import socket
import ssl
import struct
import sys
import threading
import time
import zlib
from collections import defaultdict
from typing import BinaryIO, Final, cast
from urllib.parse import parse_qs, urlsplit

_FILLER: Final = memoryview(bytes(range(256)) * 4096)
"""One MiB of arbitrary bytes."""
_PIECE: Final = 64 * 1024
"""Bytes that are read from a request's body at a time."""
_SOCKET_BUFFER: Final = 256 * 1024
"""Small, so that bytes for a slow store wait in the client."""


class Server:
    """Accepts connections, each in its own thread, and counts."""

    def __init__(self, certificate: str, key: str) -> None:
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificate, key)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BUFFER)
        self.port: int = self._listener.getsockname()[1]
        self.lock = threading.Lock()
        self.connections = 0

    def serve(self) -> None:
        """Serve until the process ends."""
        while True:
            plain, _ = self._listener.accept()
            self.connections += 1
            threading.Thread(target=self._connection, args=(plain,), daemon=True).start()

    def _connection(self, plain: socket.socket) -> None:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with (
                self._tls.wrap_socket(plain, server_side=True) as connection,
                connection.makefile("rb", 1024 * 1024) as requests,
            ):
                while self._request(connection, cast("BinaryIO", requests)):
                    pass
        except OSError:
            return  # the client is done, and hangs up without a word

    def _request(self, connection: ssl.SSLSocket, requests: BinaryIO) -> bool:
        method, _, rest = requests.readline().decode().partition(" ")
        if not method:
            return False
        headers = {}
        while line := requests.readline().decode().strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        self.answer(connection, requests, method, rest.split()[0], headers)
        return True

    def answer(
        self,
        connection: ssl.SSLSocket,
        requests: BinaryIO,
        method: str,
        target: str,
        headers: dict[str, str],
    ) -> None:
        """Answer one request."""
        raise NotImplementedError

    def done(self) -> dict[str, float]:
        """Return what was done so far."""
        return {"connections": self.connections, "cpu_seconds": time.process_time()}


class Vendor(Server):
    """Serves `/<bytes>/<name>.png` and `.jpg`: a valid header and end, arbitrary bytes between."""

    def answer(
        self,
        connection: ssl.SSLSocket,
        requests: BinaryIO,  # noqa: ARG002 - an image is asked for by its URL alone
        method: str,  # noqa: ARG002 - as above
        target: str,
        headers: dict[str, str],  # noqa: ARG002 - as above
    ) -> None:
        """Send an image of the requested size."""
        found = re.fullmatch(r"/(\d+)/.*\.(png|jpg)", target)
        if found is None:
            raise ValueError(f"no such image: {target}")
        size = int(found[1])
        head, end = (_png if found[2] == "png" else _jpeg)(size)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + head)
        left = size - len(head) - len(end)
        while left > 0:
            connection.sendall(_FILLER[:left])
            left -= min(left, len(_FILLER))
        connection.sendall(end)


def _png(size: int) -> tuple[bytes, bytes]:
    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 768, 1024, 8, 2, 0, 0, 0))
    end = b"\0\0\0\0" + chunk(b"IEND", b"")
    head = b"\x89PNG\r\n\x1a\n" + header
    return head + struct.pack(">I", size - len(head) - len(end) - 8) + b"IDAT", end


def _jpeg(_size: int) -> tuple[bytes, bytes]:
    frame = struct.pack(">BHHB", 8, 1024, 768, 3) + b"\x01\x11\0\x02\x11\0\x03\x11\0"
    scan = b"\x03\x01\0\x02\0\x03\0\0\x3f\0"
    segments = ((b"\xff\xc0", frame), (b"\xff\xda", scan))
    parts = (mark + struct.pack(">H", len(data) + 2) + data for mark, data in segments)
    return b"\xff\xd8" + b"".join(parts), b"\xff\xd9"


class Store(Server):
    """The part of S3 that an upload needs; it counts the bytes and discards them."""

    def __init__(self, certificate: str, key: str, *, delay: float, rate: float) -> None:
        """Delay each answer by `delay` seconds, and accept at most `rate` bytes a second in all."""
        super().__init__(certificate, key)
        self._delay = delay
        self._rate = rate
        self._free_at = 0.0
        self._uploads: dict[str, dict[str, int]] = defaultdict(dict)
        self._last = 0

    def done(self) -> dict[str, float]:
        """Return what was done so far; `last_bytes` is the size of the last whole object."""
        return {**super().done(), "last_bytes": self._last}

    def answer(
        self,
        connection: ssl.SSLSocket,
        requests: BinaryIO,
        method: str,
        target: str,
        headers: dict[str, str],
    ) -> None:
        """Answer PutObject and the four calls of a multipart upload."""
        if headers.get("expect") == "100-continue":
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        size = self._read_body(requests, headers)
        url = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(url.query, True).items()}  # noqa: FBT003 - it is keep_blank_values
        if self._delay:
            time.sleep(self._delay)
        with self.lock:
            body = self._take(method, url.path, query, size)
        connection.sendall(
            b'HTTP/1.1 200 OK\r\nETag: "0"\r\nContent-Length: %d\r\n\r\n' % len(body) + body
        )

    def _take(self, method: str, key: str, query: dict[str, str], size: int) -> bytes:
        upload = query.get("uploadId", "")
        match method:
            case "POST" if "uploads" in query:
                name = f"{key}?{len(self._uploads)}"
                self._uploads[name] = {}
                return f"<R><UploadId>{name}</UploadId></R>".encode()
            case "POST":
                self._last = sum(self._uploads.pop(upload).values())
                return b'<R><ETag>"0"</ETag></R>'
            case "PUT" if upload:
                self._uploads[upload][query["partNumber"]] = size
            case "PUT":
                self._last = size
            case _:
                self._uploads.pop(upload, None)
        return b""

    def _read_body(self, requests: BinaryIO, headers: dict[str, str]) -> int:
        """Read a request's body and return how many bytes of an object it held."""
        if headers.get("transfer-encoding") != "chunked":
            size = int(headers.get("content-length", 0))
            self._throw_away(requests, size)
        else:
            while size := int(requests.readline(), 16):
                self._throw_away(requests, size)
                requests.readline()
            requests.readline()
        return int(headers.get("x-amz-decoded-content-length", size))

    def _throw_away(self, requests: BinaryIO, size: int) -> None:
        waste = memoryview(bytearray(min(size, _PIECE)))
        while size > 0:
            taken = requests.readinto(waste[:size])  # type: ignore[attr-defined]  # a BufferedReader
            if not taken:
                raise ConnectionError("the client hung up in the middle of a body")
            size -= taken
            if self._rate:
                self._pace(taken)

    def _pace(self, taken: int) -> None:
        with self.lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + taken / self._rate
            wait = self._free_at - now
        time.sleep(wait)


def main() -> None:
    """Serve as the command line's arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["vendor", "store"])
    parser.add_argument("certificate")
    parser.add_argument("key")
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--rate", type=float, default=0.0)
    told = parser.parse_args()
    server = (
        Vendor(told.certificate, told.key)
        if told.kind == "vendor"
        else Store(told.certificate, told.key, delay=told.delay, rate=told.rate)
    )
    threading.Thread(target=server.serve, daemon=True).start()
    print(server.port, flush=True)
    for _ in sys.stdin:
        print(json.dumps(server.done()), flush=True)


if __name__ == "__main__":
    main()
