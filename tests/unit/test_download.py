"""The download client connects only to the vendor's origin and to public hosts."""

import socket
import ssl
from collections.abc import Iterator
from typing import Any

import httpcore
import httpx
import pytest

from shared.errors import ResultRefused
from shared.models import ErrorCode
from shared.results.download import MAX_REDIRECTS, download_client
from shared.transport import Stream
from tests.factories import VENDOR, http, server


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets each host that is connected to; no connection succeeds."""
    made: list[str] = []

    def connect(_: object, host: str, port: int, *__: object) -> httpcore.NetworkStream:
        made.append(f"{host}:{port}")
        raise httpcore.ConnectError("nobody there")

    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect)
    return made


def resolve_to(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
    """Let names resolve to these addresses, one for each look-up."""
    left = list(answers)

    def getaddrinfo(_host: str, port: int, **_: object) -> list[Any]:
        addresses = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (entry, port)) for entry in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    """Return a client of a stack with the real vendor."""
    with download_client(VENDOR) as made:
        yield made


def blocked(client: httpx.Client, url: str) -> str:
    """Fetch a URL that must be blocked; return the message."""
    with pytest.raises(ResultRefused) as caught:
        client.get(url)
    assert caught.value.code is ErrorCode.RESULT_BLOCKED
    return caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        "http://cdn.example.com/1.png",
        "http://open.vmake.ai/1.png",
        "http://open.vmake.ai:443/1.png",
        "http://127.0.0.1/1.png",
        "ftp://cdn.example.com/1.png",
        "file:///etc/passwd",
    ],
)
def test_plain_url_is_blocked(client: httpx.Client, connections: list[str], url: str) -> None:
    """Only https is allowed, also for the vendor's host."""
    blocked(client, url)
    assert connections == []


@pytest.mark.parametrize(
    "host",
    ["printer", "nas.lan", "wiki.corp", "nas.home.arpa", "db.internal", "x.svc.cluster.local",
     "192.0.0.192", "192.88.99.1", "[3fff::1]", "[2002:7f00:1::]", "[::1%25eth0]", "a..b",
     "127.0.0.1", "127.1", "0x7f.1", "2130706433", "localhost", "[::1]", "[::ffff:127.0.0.1]",
     "169.254.169.254", "10.0.0.1", "0.0.0.1", "[fec0::1]", "[::127.0.0.1]"],
)  # fmt: skip
def test_private_address_is_blocked(
    client: httpx.Client, connections: list[str], host: str
) -> None:
    """No spelling of a private address gets a connection."""
    blocked(client, f"https://{host}/1.png")
    assert connections == []


@pytest.mark.parametrize(
    "addresses",
    [["10.0.0.1"], ["169.254.169.254"], ["127.0.0.1", "93.184.216.34"]],
)
def test_name_of_a_private_address_is_blocked(
    client: httpx.Client,
    connections: list[str],
    monkeypatch: pytest.MonkeyPatch,
    addresses: list[str],
) -> None:
    """A public name that points into a private network gets no connection there."""
    resolve_to(monkeypatch, addresses)
    assert "cdn.example.com" in blocked(client, "https://cdn.example.com/1.png")
    assert connections == []


def test_private_address_behind_a_dead_public_one_is_blocked(
    client: httpx.Client, connections: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the first address does not answer, the second one is checked, too."""
    resolve_to(monkeypatch, ["93.184.216.34", "127.0.0.1"])
    blocked(client, "https://cdn.example.com/1.png")
    assert connections == ["93.184.216.34:443"]


def test_name_that_changes_its_address_gains_nothing(
    client: httpx.Client, connections: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection uses the checked address, also if the name resolves to another one later."""
    resolve_to(monkeypatch, ["93.184.216.34"], ["127.0.0.1"])
    with pytest.raises(httpx.ConnectError):
        client.get("https://cdn.example.com/1.png")
    assert connections == ["93.184.216.34:443"]
    blocked(client, "https://cdn.example.com/1.png")
    assert connections == ["93.184.216.34:443"]


def test_vendors_own_origin_is_reached_by_its_name(
    client: httpx.Client, connections: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vendor of VmakeBaseUrl is allowed at any address."""
    resolve_to(monkeypatch, ["127.0.0.1"])
    with pytest.raises(httpx.ConnectError):
        client.get(f"{VENDOR}/1.png")
    assert connections == ["127.0.0.1:443"]


@pytest.mark.parametrize("port", [444, 80, 8443])
def test_vendors_other_ports_are_not_its_origin(
    client: httpx.Client, connections: list[str], monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    """Another port of the vendor's host is checked like any other host."""
    resolve_to(monkeypatch, ["127.0.0.1"])
    blocked(client, f"https://open.vmake.ai:{port}/1.png")
    assert connections == []


def test_name_without_an_address_is_unreachable_not_blocked(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed look-up may be repeated."""

    def fails(*_: object, **__: object) -> None:
        raise socket.gaierror("try again")

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    with pytest.raises(httpx.ConnectError):
        client.get("https://cdn.example.com/1.png")


def test_proxy_of_the_environment_is_not_used(
    monkeypatch: pytest.MonkeyPatch, connections: list[str]
) -> None:
    """Proxies of the environment are ignored, since a proxy would bypass the check."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("ALL_PROXY", "http://proxy.example:3128")
    resolve_to(monkeypatch, ["10.0.0.1"])
    with download_client(VENDOR) as made:
        blocked(made, "https://cdn.example.com/1.png")
    assert connections == []


# --- redirects, over a real connection -----------------------------------------------------------


def redirect(location: str) -> bytes:
    """Return a raw redirect."""
    return http(b"", "302 Found", f"Location: {location}", "Connection: close")


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:1/x",
        "https://127.0.0.1:1/x",
        "https://localhost:1/x",
        "//127.0.0.1:1/x",
        "https://[::1]:1/x",
        "https://10.0.0.1/x",
        "ftp://cdn.example.com/x",
        "https://minio.default.svc.cluster.local/x",
        "https://printer/x",
    ],
)
def test_redirect_is_checked_like_the_first_url(location: str) -> None:
    """A redirect must pass the same checks as the result's URL."""
    with server(redirect(location)) as (url, seen), download_client(url) as client:
        blocked(client, f"{url}/1.png")
    assert len(seen) == 1


@pytest.mark.parametrize(
    "location", ["https://[::1", "https://xn--a.com/x", "https://h:x/", "https://[v1]/"]
)
def test_redirect_to_what_is_no_url_is_an_error_of_the_request(location: str) -> None:
    """A redirect that cannot be parsed is an error of the download."""
    with (
        server(redirect(location)) as (url, _),
        download_client(url) as client,
        pytest.raises(httpx.RemoteProtocolError, match="no URL"),
    ):
        client.get(f"{url}/1.png")


def test_redirect_within_the_origin_is_followed() -> None:
    """A redirect to a public host is followed."""
    with (
        server(redirect("/2.png"), http(b"image", "200 OK", "Connection: close")) as (url, seen),
        download_client(url) as client,
    ):
        assert client.get(f"{url}/1.png").content == b"image"
    assert seen[1].startswith(b"GET /2.png ")


def test_endless_redirects_end() -> None:
    """A loop of redirects is an error."""
    replies = [redirect("/again")] * (MAX_REDIRECTS + 2)
    with server(*replies) as (url, _), download_client(url) as client:
        with pytest.raises(httpx.TooManyRedirects):
            client.get(f"{url}/1.png")
        with socket.create_connection((httpx.URL(url).host, httpx.URL(url).port)) as last:
            last.sendall(b"GET / HTTP/1.1\r\n\r\n")  # the server waits for its last client


def test_download_asks_for_no_compression_and_shows_no_key() -> None:
    """The request has a user agent, asks for identity encoding, and has no credentials."""
    with (
        server(http(b"image", "200 OK", "Connection: close")) as (url, seen),
        download_client(url) as client,
    ):
        client.get(f"{url}/1.png")
    head = seen[0].decode().lower()
    assert "accept-encoding: identity" in head
    assert "x-api-key" not in head
    assert "authorization" not in head


# --- wide reads ----------------------------------------------------------------------------------


class Pieces(httpcore.NetworkStream):
    """A TLS stream and its socket that return given pieces."""

    def __init__(self, *pieces: bytes | OSError) -> None:
        self.pieces = list(pieces)

    def recv(self, size: int) -> bytes:
        piece = self.pieces.pop(0)
        if isinstance(piece, OSError):
            raise piece
        assert len(piece) <= size
        return piece

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        assert timeout == 30
        return self.recv(max_bytes)

    def settimeout(self, seconds: float) -> None:
        assert seconds == 0

    def get_extra_info(self, info: str) -> Any:
        return self


RECORD = b"r" * 16_384


@pytest.mark.parametrize("nothing", [BlockingIOError(), ssl.SSLWantReadError()])
def test_read_takes_what_has_come(nothing: OSError) -> None:
    """A read returns all records that have arrived, up to its limit, and waits for none."""
    stream = Stream(Pieces(RECORD, RECORD, nothing, RECORD, RECORD, RECORD, RECORD, b"x"))
    assert stream.read(65_536, 30) == 2 * RECORD
    assert stream.read(65_536, 30) == 4 * RECORD
    assert stream.read(65_536, 30) == b"x"


def test_end_behind_what_has_come_is_kept() -> None:
    """Bytes that arrive just before the end of a connection are returned."""
    stream = Stream(Pieces(RECORD, b""))
    assert stream.read(65_536, 30) == RECORD
    assert stream.read(65_536, 30) == b""


def test_error_behind_what_has_come_is_told() -> None:
    """Bytes that arrive just before an error are returned first; the next read raises it."""
    stream = Stream(Pieces(RECORD, ConnectionResetError("reset by peer")))
    assert stream.read(65_536, 30) == RECORD
    for _ in range(2):
        with pytest.raises(httpcore.ReadError, match="reset by peer"):
            stream.read(65_536, 30)
