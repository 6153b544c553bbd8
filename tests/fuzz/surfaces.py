"""The places where the functions read bytes from outside: how to generate some, and what must hold.

A surface's check raises an exception for a crash and for a broken promise. It runs the functions'
own code, and replaces only network connections, by pairs of connected sockets.
"""

import ipaddress
import json
import socket
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import httpcore
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from shared.errors import InputRejected, ResultRefused, ResultUnavailable
from shared.intake.messages import BrokenEvent, parse
from shared.intake.photos import JPEG, PNG, content_type_of, pixel_size
from shared.intake.settings import (
    FIELDS,
    METADATA_FIELDS,
    Layer,
    folder_file,
    metadata_layer,
    resolve,
)
from shared.models import Job, JobStatus, SceneType, Settings, TaskResult
from shared.results.download import download_client
from shared.results.store import ResultStore
from shared.vmake.client import VmakeClient
from shared.vmake.outcomes import (
    Accepted,
    NeverSent,
    ReadTrouble,
    Refused,
    TaskDone,
    TaskFailed,
    TaskNotFound,
    TaskOngoing,
    Unknown,
)
from tests.factories import KEY, PHOTOS, RESULTS, VARIANT, dropped, jpeg, png, requested

VENDOR: Final = "http://127.0.0.1:9"
_SETTINGS: Final = Settings(model_id="002", scene_type=SceneType.ORIGINAL, batch_size=4)
_DEFAULTS: Final = Layer("the stack's defaults", VARIANT)


@dataclass(frozen=True)
class Surface:
    """A place where bytes from outside are read."""

    inputs: SearchStrategy[Any]
    check: Callable[[Any], None]


# --- made-up inputs ------------------------------------------------------------------------------


def _json(*names: str) -> SearchStrategy[Any]:
    """Return JSON values whose members may have these names."""
    return st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | URLS,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from([*names, "code", "a"]) | st.text(max_size=6), inner, max_size=5
            )
        ),
        max_leaves=15,
    )


@st.composite
def mutated(draw: Any, *whole: bytes) -> bytes:
    """Return mutations of these values: bytes are changed, cut, doubled or inserted."""
    data = bytearray(draw(st.sampled_from(whole)))
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 40)))
        match draw(st.integers(0, 4)):
            case 0:
                data[start:end] = draw(st.binary(max_size=20))
            case 1:
                del data[start:]
            case 2:
                data[start:start] = data[start:end] * draw(st.sampled_from([1, 2, 50]))
            case 3:
                data[start:end] = draw(st.sampled_from(_TOKENS))
            case 4:
                del data[start:end]
    return bytes(data[:65_536])


_TOKENS: Final = (
    *(
        b"\r\n",
        b"\n",
        b"\r\n\r\n",
        b"\0",
        b"\xff",
        b": ",
        b";",
        b",",
        b"%",
        b"[",
        b"]",
        b"//",
        b"@",
    ),
    *(b"0", b"-1", b"ffffffffffffffff", b"99999999999999999999999", b"100", b"204", b"302", b"999"),
    *(b"Content-Length: 5\r\n", b"Content-Length: 7\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"Content-Length: 5, 5\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b"\r\n folded\r\n"),
    *(b"Content-Encoding: gzip\r\n", b"Location: //\r\n", b"Retry-After: 1e9\r\n"),
    *(
        b"Set-Cookie: a=b; expires=x\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/0.9 ",
        b"HTTP/2 ",
    ),
)

_HOSTS: Final = (
    st.sampled_from(
        [
            *("cdn.example.com", "open.vmake.ai", "xn--a.com", "xn--", "[::1]", "[::1%25eth0]"),
            *("127.0.0.1", "127.1", "0x7f.1", "2130706433", "0", "10.0.0.1", "169.254.169.254"),
            *("localhost", "a.localhost.", "[::ffff:10.0.0.1]", "[64:ff9b::a00:1]", "[v1.x]", ""),
            *(
                "\uff11\uff12\uff17.0.0.1",
                "\U0001f4a5.com",
                "b\u00fccher.example.com",
                "\u2100.com",
            ),
            *("a..b", "-.com", "%41.com", "h" * 64 + ".com", "a.lan", "x.svc.cluster.local"),
        ]
    )
    | st.text(max_size=20)
    | st.text("abc.-_xn0123456789:[]%", max_size=30)
    | st.ip_addresses().map(lambda ip: f"[{ip}]" if ip.version == 6 else str(ip))
)
URLS: Final = st.builds(
    "{}{}{}{}{}".format,
    st.sampled_from(["https://", "http://", "//", "HTTPS://", "https:/", "file://", "ftp://", ""])
    | st.text(max_size=8),
    st.sampled_from(["", "", "", "u:p@", "@", "a@b@", "\\"]),
    _HOSTS,
    st.sampled_from(["", "", ":443", ":80", ":0", ":65536", ":-1", ":\u0663", ":9", ":x"]),
    st.sampled_from(["", "/", "/1.png", "/\ud800", "/\0", "?a=b#c", "/../..", "\\x", "/%zz"])
    | st.text(max_size=12).map("/{}".format),
) | st.text(max_size=60)
_ADDRESSES: Final = st.lists(st.ip_addresses().map(str), min_size=1, max_size=20)


# --- events and settings -------------------------------------------------------------------------


def _check_event(body: str) -> None:
    incoming = parse(body, message_id="m", photos_bucket=PHOTOS, vendor_origin=VENDOR)
    if isinstance(incoming, BrokenEvent):
        for text in (incoming.request_id, incoming.trigger, incoming.error.message):
            assert text, incoming
            assert text.encode(), incoming


_EVENT_NAMES: Final = (
    "key",
    "url",
    "bucket",
    "name",
    "object",
    "etag",
    "photo",
    "variants",
    *FIELDS,
)
_EVENTS: Final = (
    st.fixed_dictionaries(
        {
            "detail": st.dictionaries(
                st.sampled_from(
                    ["photo", "variants", "mask", "sku", "requestId", "object", "bucket", "jobId"]
                ),
                _json(*_EVENT_NAMES),
            ),
            "detail-type": st.sampled_from(
                ["Object Created", "Fashion Model Requested", "Job Continued"]
            )
            | _json(),
        },
        optional={"id": _json(), "time": _json() | st.datetimes().map(str), "source": _json()},
    ).map(json.dumps)
    | mutated(
        json.dumps(dropped("a/dress.jpg", etag="0" * 32, version_id="v")).encode(),
        json.dumps(requested({"photo": {"url": "https://a.b/c"}, "variants": [VARIANT]})).encode(),
    ).map(lambda data: data.decode(errors="replace"))
    | st.text(max_size=80)
)


def _check_message(message: str) -> None:
    """Check that a record can hold a text: it is not empty, not long, and can be encoded."""
    assert 0 < len(message.encode()) < 2_000, message


def _resolve(*layers: Layer) -> None:
    settings = resolve([*layers, _DEFAULTS])
    assert 1 <= settings.batch_size <= 4
    assert json.dumps(settings.model_dump(mode="json"), allow_nan=False).encode()


def _check_folder_file(text: str) -> None:
    try:
        read = folder_file(text, "a/catwalk.json")
        for variant in read.variants or (read.base,):
            _resolve(variant, read.base)
    except InputRejected as rejected:
        _check_message(rejected.message)


_FOLDER_FILES: Final = (
    st.dictionaries(
        st.sampled_from([*FIELDS, "sku", "variants"]) | st.text(max_size=8),
        _json(*FIELDS) | st.lists(st.dictionaries(st.sampled_from(FIELDS), _json()), max_size=3),
    ).map(json.dumps)
    | mutated(json.dumps({"variants": [VARIANT], "sku": "S", "extra": {"a": [1]}}).encode()).map(
        lambda data: data.decode(errors="replace")
    )
    | st.text(max_size=80)
)


def _check_metadata(metadata: dict[str, str]) -> None:
    try:
        _resolve(metadata_layer(metadata))
    except InputRejected as rejected:
        _check_message(rejected.message)


_METADATA: Final = st.dictionaries(
    st.sampled_from([*METADATA_FIELDS, "sku", "request-id", "mask", "Model_ID"])
    | st.text(max_size=9),
    st.text(max_size=40)
    | _json().map(json.dumps)
    | st.sampled_from(
        ["=?utf-8?b?", "=?utf-8?q?a_b?=", "=?x?b?YQ==?=", "=?utf-8?b?gICA?=", "preset"]
    )
    | st.builds(
        "=?{}?{}?{}?=".format,
        st.sampled_from(["utf-8", "utf-16", "idna", "rot13", "unicode_escape", "punycode", "hex"])
        | st.text(max_size=5),
        st.sampled_from(["b", "q", "B", "x", ""]),
        st.text(max_size=20) | st.binary(max_size=20).map(bytes.hex),
    ),
    max_size=5,
)


# --- images --------------------------------------------------------------------------------------


def _check_image_head(head: bytes) -> None:
    kind = content_type_of(head[:16])
    assert kind is None or kind.startswith("image/"), kind
    size = pixel_size(head)
    if kind in {PNG, JPEG} and size is not None:
        assert all(0 < side < 2**32 for side in size), size


_GIF: Final = b"GIF89a\x08\0\x08\0\x80\0\0"
_HEADS: Final = (
    mutated(
        png(8, 8), png(30, 20, padding=300), jpeg(), jpeg(30, 20, sof=0xC2, before_frame=300), _GIF
    )
    | mutated(
        b"II*\0\x08\0\0\0\x02\0\0\x01\x03\0\x01\0\0\0\x08\0\0\0\x01\x01\x03\0\x01\0\0\0\x08\0\0\0",
        b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 \0\0\0\0jp2 \0\0\0-jp2h\0\0\0\x16ihdr\0",
        b'<?xml version="1.0"?><svg width="8" height="8">',
        b"RIFF\x24\0\0\0WEBPVP8 \x18\0\0\x000\x01\0\x9d\x01*\x08\0\x08\0",
        b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf\0\0\0\xeameta",
        b"P6\n8 8\n255\n",
    )
    | st.binary(max_size=300)
)


# --- the network ---------------------------------------------------------------------------------


class _Wire:
    """The answer of the next connection, and the addresses of names."""

    reply = b""
    addresses: tuple[str, ...] = ("93.184.216.34",)
    peer: socket.socket | None = None

    def connect(
        self, _backend: object, host: str, port: int, *_: object, **__: object
    ) -> httpcore.NetworkStream:
        assert (host, port) == ("127.0.0.1", 9) or _is_global(host), f"a connection to {host}"
        if port != 9:
            raise httpcore.ConnectError("nobody there")
        if self.peer is not None:
            self.peer.close()
        ours, self.peer = socket.socketpair()
        self.peer.setblocking(False)
        self.peer.send(self.reply[:65_536])
        self.peer.shutdown(socket.SHUT_WR)
        return _sync_stream(ours)

    def getaddrinfo(self, host: object, port: object, **_: object) -> list[Any]:
        if host == "127.0.0.1":
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in self.addresses
        ]


_WIRE: Final = _Wire()


def _connect(backend: object, *given: Any, **named: Any) -> httpcore.NetworkStream:
    return _WIRE.connect(backend, *given, **named)


def _sync_stream(ours: socket.socket) -> httpcore.NetworkStream:
    from httpcore._backends.sync import SyncStream  # noqa: PLC0415 - httpcore exports no such name

    return SyncStream(ours)


def _is_global(address: str) -> bool:
    """Return whether an address is public by Python's list, which is not the tested one."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in ipaddress.ip_network("64:ff9b::/96"):
            ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        else:
            ip = ip.ipv4_mapped or ip
    return ip.is_global and not ip.is_multicast


@contextmanager
def wire() -> Iterator[None]:
    """Replace each connection by a pair of sockets while the block runs."""
    connect, look_up = httpcore.SyncBackend.connect_tcp, socket.getaddrinfo
    # A plain function, since a bound method does not get the backend as its argument.
    httpcore.SyncBackend.connect_tcp = _connect  # type: ignore[method-assign, assignment]  # until the end of `wire`
    socket.getaddrinfo = _WIRE.getaddrinfo  # type: ignore[assignment]  # until the end of `wire`
    try:
        yield
    finally:
        httpcore.SyncBackend.connect_tcp = connect  # type: ignore[method-assign]  # until the end of `wire`
        socket.getaddrinfo = look_up
        if _WIRE.peer is not None:
            _WIRE.peer.close()
            _WIRE.peer = None


class _Bucket:
    """An S3 client that accepts uploads and stores nothing."""

    def __getattr__(self, _operation: str) -> Callable[..., dict[str, Any]]:
        return lambda **_: {"UploadId": "u", "ETag": '"e"'}


@cache
def _results() -> ResultStore:
    return ResultStore(
        _Bucket(),  # type: ignore[arg-type]  # a double
        RESULTS,
        download_client(VENDOR),
        max_bytes=200_000,
    )


@cache
def _vendor() -> VmakeClient:
    return VmakeClient(VENDOR, lambda: KEY)


_JOB: Final = Job(
    job_id="0" * 32,
    status=JobStatus.RUNNING,
    source_key="a.jpg",
    settings=_SETTINGS,
    created_at="x",
    updated_at="x",
)


def _download(url: str) -> None:
    try:
        result = _results().copy(_JOB, TaskResult(index=1, url=url))
    except (ResultRefused, ResultUnavailable) as trouble:
        _check_message(trouble.message)
    else:
        assert 0 < result.bytes <= 200_000, result


def _ask_vendor() -> None:
    prepared = _vendor().prepare_create(image="https://a.b/c", mask=None, settings=_SETTINGS)
    outcome = _vendor().create_task(prepared)
    assert isinstance(outcome, Accepted | Refused | NeverSent | Unknown), outcome
    looked = _vendor().read_task("t-1")
    assert isinstance(looked, TaskOngoing | TaskDone | TaskFailed | TaskNotFound | ReadTrouble)
    assert KEY not in repr((outcome, looked))


def _check_url(given: tuple[str, list[str]]) -> None:
    url, addresses = given
    _WIRE.addresses, _WIRE.reply = tuple(addresses), b""
    _download(url)


def _answer(status: bytes, *headers: bytes, content: bytes = b"") -> bytes:
    lines = (b"HTTP/1.1 " + status, *headers, b"Content-Length: %d" % len(content))
    return b"\r\n".join(lines) + b"\r\n\r\n" + content


def _check_redirect(given: tuple[int, bytes, list[str]]) -> None:
    status, location, addresses = given
    _WIRE.addresses = tuple(addresses)
    _WIRE.reply = _answer(b"%d Found" % status, b"Location: " + location)
    _download(f"{VENDOR}/1.png")
    _ask_vendor()


def _check_answer(given: tuple[int, bytes, list[bytes], bool]) -> None:
    status, content, headers, packed = given
    if packed:
        content = zlib.compress(content)
    _WIRE.reply = _answer(b"%d X" % status, *headers, content=content)
    _ask_vendor()


def _check_framing(reply: bytes) -> None:
    _WIRE.reply = reply
    _download(f"{VENDOR}/1.png")
    _ask_vendor()


_ENVELOPE: Final = b'{"code": 0, "message": "Success", "data": {"taskId": "t-1"}}'
_TASK: Final = (
    b'{"code": 0, "data": {"status": "success", "progress": 100, "message": "",'
    b' "results": [{"downloadUrl": "https://a.b/c", "width": 8, "height": 8, "fileSize": 70}]}}'
)
_ENVELOPE_NAMES: Final = (
    *("code", "message", "data", "taskId", "status", "progress", "results", "downloadUrl"),
    *("width", "height", "fileSize"),
)
_HEADERS: Final = st.sampled_from(
    [
        *(b"Content-Encoding: gzip", b"Content-Encoding: deflate", b"Content-Encoding: gzip, gzip"),
        *(
            b"Content-Encoding: x-gzip",
            b"Content-Encoding: ",
            b"Content-Type: text/html; charset=x",
        ),
        *(b"Retry-After: 5", b"Retry-After: Fri, 31 Dec 9999 23:59:59 GMT", b"Location: \xff"),
        *(b"Set-Cookie: a=b; Max-Age=x", b"Retry-After: Mon, 99 Foo 0000 99:99:99 +9999"),
    ]
) | st.binary(max_size=30).map(lambda value: b"Retry-After: " + value.translate(None, b"\r\n\0"))
_BODIES: Final = (
    st.dictionaries(st.sampled_from(_ENVELOPE_NAMES), _json(*_ENVELOPE_NAMES)).map(
        lambda value: json.dumps(value).encode()
    )
    | mutated(_ENVELOPE, _TASK)
    | st.binary(max_size=60)
)
_STATUSES: Final = st.sampled_from(
    [200, 201, 202, 301, 400, 401, 402, 403, 404, 429, 500, 502, 503]
)
_FRAMES: Final = mutated(
    _answer(b"200 OK", content=png()),
    _answer(b"200 OK", content=_ENVELOPE),
    _answer(b"200 OK", b"Content-Encoding: gzip", content=zlib.compress(_TASK)),
    _answer(b"429 Too Many Requests", b"Retry-After: 5", content=_ENVELOPE),
    _answer(b"302 Found", b"Location: /2.png"),
    _answer(b"200 OK", b"Content-Type: text/html", content=b"<html>"),
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + _answer(b"200 OK", content=png()),
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nxyz",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x;a=b\r\n%b\r\n0\r\nX: y\r\n\r\n"
    % (len(png()), png()),
    b"HTTP/1.0 200 OK\r\n\r\n" + png(),
    b"HTTP/1.1 204 No Content\r\n\r\n",
) | st.binary(max_size=200)

SURFACES: Final = {
    "events": Surface(_EVENTS, _check_event),
    "folder files": Surface(_FOLDER_FILES, _check_folder_file),
    "metadata": Surface(_METADATA, _check_metadata),
    "image heads": Surface(_HEADS, _check_image_head),
    "vendor answers": Surface(
        st.tuples(_STATUSES, _BODIES, st.lists(_HEADERS, max_size=3), st.booleans()), _check_answer
    ),
    "result URLs": Surface(st.tuples(URLS, _ADDRESSES), _check_url),
    "redirects": Surface(
        st.tuples(
            st.sampled_from([301, 302, 303, 307, 308, 300, 304]),
            URLS.map(lambda url: url.encode(errors="surrogatepass")) | st.binary(max_size=60),
            _ADDRESSES,
        ).map(lambda given: (given[0], given[1].translate(None, b"\r\n\0"), given[2])),
        _check_redirect,
    ),
    "HTTP framing": Surface(_FRAMES, _check_framing),
}
