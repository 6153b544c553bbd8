"""Each request has one deadline, and an answer leaves no state in the client."""

import gzip
import itertools
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from typing import Any

import httpcore
import httpx
import pytest

from shared import transport as module
from shared.results.download import download_client
from shared.transport import MAX_ADDRESSES, BoundedTransport, Patience, Stream, decoded
from tests.factories import http, server
from tests.hostile.answers import serving


def request(url: str, seconds: float, **timeouts: float) -> httpx.Response:
    """Make a request that may take so long, with httpx's own timeouts far longer."""
    bounded = BoundedTransport(seconds)
    timeout = httpx.Timeout(60, **timeouts)
    with httpx.Client(transport=bounded, timeout=timeout, trust_env=False) as client:
        return client.get(url)


@pytest.mark.parametrize(
    "answer",
    [
        *("silent", "head_drips", "informational", "informational_fast"),
        *("chunk_extension_drips", "trailers_drip", "body_drips"),
    ],
)
def test_a_request_ends_at_its_deadline(answer: str) -> None:
    """A slow server cannot extend the deadline of a request."""
    with serving() as url, pytest.raises(httpx.ReadTimeout):
        request(f"{url}/{answer}", 0.4)


def test_a_server_that_takes_a_body_slowly_ends() -> None:
    """A server that reads slowly cannot extend the deadline."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ended = threading.Event()

        def sip() -> None:
            connection, _ = listener.accept()
            with connection:
                while not ended.wait(0.05):
                    connection.recv(1)

        thread = threading.Thread(target=sip, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with (
            httpx.Client(transport=BoundedTransport(0.5), timeout=60, trust_env=False) as client,
            pytest.raises(httpx.WriteTimeout),
        ):
            client.post(url, content=bytes(64 * 1024 * 1024))
        ended.set()
        thread.join(5)


def test_an_operations_own_timeout_still_holds() -> None:
    """A silent server is given up after the read timeout, long before the deadline."""
    with serving() as url, pytest.raises(httpx.ReadTimeout):
        request(f"{url}/silent", 600, read=0.2)


def test_tls_that_never_comes_ends() -> None:
    """A server that does not answer TLS cannot extend the deadline."""
    with serving() as url, pytest.raises(httpx.ConnectTimeout):
        request(url.replace("http:", "https:"), 0.4)


def test_a_deadline_that_has_passed_lets_nothing_begin() -> None:
    """After the deadline each operation ends as its own kind of timeout."""
    with pytest.raises(httpcore.ConnectTimeout):
        Patience(5, time.monotonic() - 1).seconds(httpcore.ConnectTimeout)
    assert Patience(None, time.monotonic() + 60).seconds(OSError) > 50
    assert Patience(2, time.monotonic() + 60).seconds(OSError) == 2


def test_a_name_with_many_addresses_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a name's thousand addresses the first eight are tried."""
    tried: list[str] = []

    def connect(_: object, host: str, *__: object) -> httpcore.NetworkStream:
        tried.append(host)
        raise httpcore.ConnectError("nobody there")

    many = [(2, 1, 6, "", (f"127.0.{n // 250}.{n % 250 + 1}", 443)) for n in range(1_000)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: many)
    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect)
    with pytest.raises(httpx.ConnectError):
        request("https://many.example.com/", 60)
    assert len(tried) == MAX_ADDRESSES
    assert len(set(tried)) == MAX_ADDRESSES


def test_addresses_share_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses that do not answer take no longer together than the request may."""
    now = itertools.count(0, 10.0)
    waits: list[float] = []

    def connect(_: object, _host: str, _port: int, seconds: float, *__: object) -> Any:
        waits.append(seconds)
        raise httpcore.ConnectTimeout("nobody there")

    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    monkeypatch.setattr(module, "_look_up", lambda *_: [f"127.0.0.{n}" for n in range(1, 9)])
    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect)
    patience = Patience(5, 45)
    with pytest.raises(httpcore.ConnectTimeout):
        module.Backend().connect_tcp("many.example.com", 443, patience)
    assert len(waits) < MAX_ADDRESSES
    assert max(waits) <= 5


def test_a_slow_look_up_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow name server cannot extend the deadline."""
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: released.wait(10) and [])
    with pytest.raises(httpx.ConnectTimeout, match="looked up"):
        request("https://slow.example.com/", 0.3)
    released.set()


@pytest.mark.parametrize("error", [OSError("x"), UnicodeError("x"), socket.gaierror("x")])
def test_a_name_that_cannot_be_looked_up_is_a_connect_error(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The request certainly never left."""

    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    with pytest.raises(httpx.ConnectError, match="looked up"):
        request("https://nowhere.example.com/", 60)


CHUNKED = "Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (("Content-Length: 3", "Content-Length: 4"), b"abc"),
        (("Content-Length: 3, 4",), b"abc"),
        (("Content-Length: " + "9" * 5_000,), b"abc"),
        (("Content-Length: -1",), b"abc"),
        (("Content-Length: 1_0",), b"abc"),
        (("Content-Length: 9",), b"abc"),
        (("Transfer-Encoding: gzip, chunked",), b"3\r\nabc\r\n0\r\n\r\n"),
        (("Transfer-Encoding: gzip",), b"abc"),
        ((CHUNKED, CHUNKED), b"3\r\nabc\r\n0\r\n\r\n"),
        ((CHUNKED,), b"-3\r\nabc\r\n0\r\n\r\n"),
        ((CHUNKED,), b"f" * 21 + b"\r\nabc"),
        ((CHUNKED,), b"3\r\nabcdef\r\n0\r\n\r\n"),
        ((CHUNKED,), b"3\r\nabc\r\n"),
        ((CHUNKED,), b"3\r\nabc\r\n0\r\nContent-Length: x\r\n\r\n"),
        ((" folded: first",), b"abc"),
        (("Content-Length : 3",), b"abc"),
        (("X: a\0b",), b"abc"),
        (tuple(f"H{n}: v" for n in range(20_000)), b"abc"),
        (("Upgrade: x", "Connection: upgrade"), b""),
    ],
    ids=itertools.count(),
)
def test_an_answer_that_contradicts_itself_is_trouble_of_the_request(
    head: tuple[str, ...], body: bytes
) -> None:
    """No framing is guessed: what HTTP does not allow ends the request, and crashes nothing."""
    status = "101 Switching Protocols" if "Upgrade: x" in head else "200 OK"
    reply = "\r\n".join((f"HTTP/1.1 {status}", *head, "", "")).encode() + body
    with server(reply) as (url, _), pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        request(url, 60)


# --- what stays of an answer ---------------------------------------------------------------------


def test_no_cookie_is_kept() -> None:
    """Cookies are never sent back."""
    cookie = http(b"x", "200 OK", "Set-Cookie: id=1", "Set-Cookie: b=2", "Connection: close")
    with server(cookie, cookie) as (url, seen), download_client(url) as client:
        for _ in range(2):
            client.get(f"{url}/1.png")
        assert not client.cookies
    assert b"cookie" not in seen[1].lower()


def test_an_apis_redirect_is_not_even_parsed() -> None:
    """A redirect that no client can parse is an answer with its status, not a crash."""
    with server(http(b"", "302 Found", "Location: https://xn--a.com/")) as (url, _):
        assert request(url, 60).status_code == 302


# --- decoding ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "body", "plain"),
    [
        ("", b"abc", b"abc"),
        ("identity", b"abc", b"abc"),
        ("gzip", gzip.compress(b"abc"), b"abc"),
        ("x-gzip", gzip.compress(b"abc"), b"abc"),
        ("deflate", zlib.compress(b"abc"), b"abc"),
        ("gzip", b"abc", b""),
        ("gzip", b"", b""),
        ("br", b"abc", b""),
        ("gzip, gzip", gzip.compress(gzip.compress(b"abc")), b""),
        ("gzip", gzip.compress(bytes(10_000)), bytes(100)),
    ],
    ids=itertools.count(),
)
def test_what_is_decoded(encoding: str, body: bytes, plain: bytes) -> None:
    """One gzip or deflate is undone, to so many bytes; all else is no body."""
    assert decoded(body, encoding, 100) == plain


# --- writing -------------------------------------------------------------------------------------


@pytest.fixture
def pair() -> Iterator[tuple[Stream, socket.socket]]:
    """Give a stream and the other end of its connection."""
    ours, theirs = socket.socketpair()

    class Below(httpcore.NetworkStream):
        def get_extra_info(self, info: str) -> Any:
            return ours

    with ours, theirs:
        yield Stream(Below()), theirs


def test_all_of_a_body_is_sent(pair: tuple[Stream, socket.socket]) -> None:
    """A body larger than any buffer arrives whole and in order."""
    stream, theirs = pair
    body = bytes(range(256)) * 8_192
    got = bytearray()

    def read() -> None:
        while len(got) < len(body):
            got.extend(theirs.recv(65_536))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    stream.write(body, 30)
    thread.join(10)
    assert got == body


def test_a_body_that_nobody_takes_is_a_write_error(pair: tuple[Stream, socket.socket]) -> None:
    """A connection that the other end closed is told as such; httpx then reads the answer."""
    stream, theirs = pair
    theirs.close()
    with pytest.raises(httpcore.WriteError):
        stream.write(b"x" * 100_000, 30)
