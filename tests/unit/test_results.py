"""Results are streamed, checked and stored under their keys; broken ones are not kept."""

import gzip
import hashlib
import threading
import tracemalloc
from collections.abc import Iterator, Mapping
from email.header import decode_header, make_header
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import httpx
import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from shared import clients
from shared.errors import ResultRefused, ResultUnavailable
from shared.models import ErrorCode, Job, JobStatus, Result, SceneType, Settings, TaskResult
from shared.results import download
from shared.results.download import download_client
from shared.results.store import (
    MAX_KEY_BYTES,
    MAX_METADATA_BYTES,
    PART_BYTES,
    ResultStore,
    _metadata,
    result_key,
)
from tests.factories import REGION, RESULTS, Aws, http, jpeg, png, server
from tests.hostile.answers import serving

URL = "https://cdn.example.com/1.png"
LIMIT = 1024 * 1024


def job_of(source_key: str = "a/dress.jpg", sku: str | None = "S-1", **settings: Any) -> Job:
    """Return a running job."""
    values: dict[str, Any] = {
        "model_id": "002",
        "scene_type": SceneType.ORIGINAL,
        "batch_size": 4,
        **settings,
    }
    return Job(
        job_id="0123456789abcdef0123456789abcdef",
        status=JobStatus.RUNNING,
        source_key=source_key,
        sku=sku,
        settings=Settings(**values),
        created_at="x",
        updated_at="x",
    )


@pytest.fixture
def s3(aws_clients: Aws) -> Iterator[Any]:
    """Return an S3 client with an empty ResultsBucket."""
    with mock_aws():
        aws_clients.s3.create_bucket(Bucket=RESULTS)
        yield aws_clients.s3


def copy(
    s3: Any,
    answer: httpx.Response,
    *,
    job: Job | None = None,
    limit: int = LIMIT,
    url: str = URL,
) -> Result:
    """Copy a result from this answer."""
    with httpx.Client(transport=httpx.MockTransport(lambda _: answer)) as client:
        store = ResultStore(s3, RESULTS, client, max_bytes=limit)
        return store.copy(job or job_of(), TaskResult(index=1, url=url))


def keys(s3: Any) -> list[str]:
    """Return the keys in ResultsBucket."""
    return [entry["Key"] for entry in s3.list_objects_v2(Bucket=RESULTS).get("Contents", [])]


def uploads(s3: Any) -> list[Any]:
    """Return the unfinished multipart uploads."""
    found: list[Any] = s3.list_multipart_uploads(Bucket=RESULTS).get("Uploads", [])
    return found


def chunked(body: bytes) -> httpx.Response:
    """Return a response without a Content-Length."""
    pieces = [body[start : start + 1000] for start in range(0, len(body), 1000)]
    return httpx.Response(200, content=iter(pieces))


# --- good ones -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "extension", "content_type"),
    [
        (png(30, 20), "png", "image/png"),
        (jpeg(30, 20), "jpg", "image/jpeg"),
        (jpeg(30, 20, sof=0xC2, before_frame=130_000), "jpg", "image/jpeg"),
        (jpeg(30, 20) + b"\n\0trailer", "jpg", "image/jpeg"),
        (png(30, 20, padding=300_000), "png", "image/png"),
    ],
)
@pytest.mark.parametrize("sent", [lambda body: httpx.Response(200, content=body), chunked])
def test_result_is_copied_as_it_is(
    s3: Any, body: bytes, extension: str, content_type: str, sent: Any
) -> None:
    """A result is stored byte for byte, with the type of its content and the job's id."""
    result = copy(s3, sent(body))
    assert result == Result(
        index=1,
        bucket=RESULTS,
        key=f"a/dress/002-original/0123456789abcdef0123456789abcdef-1.{extension}",
        width=30,
        height=20,
        bytes=len(body),
        sha256=hashlib.sha256(body).hexdigest(),
        content_type=content_type,
    )
    stored = s3.get_object(Bucket=RESULTS, Key=result.key)
    assert stored["Body"].read() == body
    assert stored["ContentType"] == content_type
    assert stored["Metadata"] == {
        "job-id": "0123456789abcdef0123456789abcdef",
        "source-key": "a/dress.jpg",
        "sku": "S-1",
    }


def test_type_is_what_the_bytes_say(s3: Any) -> None:
    """A JPEG that the vendor calls a PNG is stored as a JPEG."""
    answer = httpx.Response(200, content=jpeg(), headers={"Content-Type": "image/png"})
    assert copy(s3, answer).content_type == "image/jpeg"


def test_result_of_several_parts_is_whole(s3: Any) -> None:
    """A result larger than one part of a multipart upload arrives complete."""
    body = png(4, 4, padding=20 * 1024 * 1024)
    result = copy(s3, httpx.Response(200, content=body), limit=len(body))
    stored = s3.get_object(Bucket=RESULTS, Key=result.key)["Body"].read()
    assert hashlib.sha256(stored).hexdigest() == result.sha256
    assert result.bytes == len(body)


# --- bad ones ------------------------------------------------------------------------------------

BAD = {
    "html": (b"<html>Bad Gateway</html>", "result_invalid"),
    "gif": (b"GIF89a" + b"\0" * 50, "result_invalid"),
    "webp": (b"RIFF\0\0\0\0WEBPVP8 " + b"\0" * 50, "result_invalid"),
    "png_cut": (png(30, 20, padding=200_000)[:-12], "result_invalid"),
    "png_cut_in_half": (png(30, 20, padding=900_000)[:450_000], "result_invalid"),
    "jpeg_cut": (jpeg(30, 20, fill=300_000)[:-2], "result_invalid"),
    "png_header_only": (png()[:8], "result_invalid"),
    "jpeg_without_frame": (b"\xff\xd8\xff\xd9", "result_invalid"),
    "png_without_pixels": (png(0, 0), "result_invalid"),
    "too_large": (png(4, 4, padding=LIMIT), "result_too_large"),
}


@pytest.mark.parametrize(("body", "code"), BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("sent", [lambda body: httpx.Response(200, content=body), chunked])
def test_bad_result_is_refused_and_leaves_nothing(
    s3: Any, body: bytes, code: str, sent: Any
) -> None:
    """A truncated, wrong or too large result has its error code, and nothing is stored."""
    with pytest.raises(ResultRefused) as caught:
        copy(s3, sent(body))
    assert caught.value.code == code
    assert "Result 1" in caught.value.message
    assert keys(s3) == []
    assert uploads(s3) == []


@pytest.mark.parametrize("cut", [True, False])
def test_large_bad_result_leaves_no_unfinished_upload(s3: Any, cut: bool) -> None:
    """A multipart upload of a bad result is aborted."""
    body = png(4, 4, padding=20 * 1024 * 1024)
    with pytest.raises(ResultRefused):
        copy(s3, chunked(body[:-12] if cut else body), limit=len(body) if cut else len(body) - 1)
    assert keys(s3) == []
    assert uploads(s3) == []


def test_declared_size_is_believed_before_a_byte_is_read(s3: Any) -> None:
    """A Content-Length over the limit is enough to refuse."""

    def never() -> Iterator[bytes]:
        yield png()
        raise AssertionError("the body was read")

    answer = httpx.Response(200, content=never(), headers={"Content-Length": str(LIMIT + 1)})
    with pytest.raises(ResultRefused, match="declares"):
        copy(s3, answer)


def test_endless_body_is_cut(s3: Any) -> None:
    """An endless body is read only up to the limit."""
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        yield png()[:50]
        while True:
            read += 65_536
            yield b"\0" * 65_536

    with pytest.raises(ResultRefused) as caught:
        copy(s3, httpx.Response(200, content=endless()))
    assert caught.value.code is ErrorCode.RESULT_TOO_LARGE
    assert read <= LIMIT + 3 * 65_536


@pytest.mark.parametrize(
    ("status", "expired"),
    [(403, True), (404, True), (410, True), (400, False), (401, False), (429, False),
     (500, False), (503, False), (204, False), (206, False), (304, False)],
)  # fmt: skip
def test_answer_but_200_is_unavailable(s3: Any, status: int, expired: bool) -> None:
    """Other statuses are result_unavailable; 403, 404 and 410 ask for a new URL."""
    with pytest.raises(ResultUnavailable) as caught:
        copy(s3, httpx.Response(status))
    assert caught.value.expired is expired
    assert str(status) in caught.value.message


def test_empty_body_is_unavailable(s3: Any) -> None:
    """An empty 200 is result_unavailable."""
    with pytest.raises(ResultUnavailable, match="without a byte"):
        copy(s3, httpx.Response(200))


@pytest.mark.parametrize(
    "url",
    [
        *("", "nonsense", "https://", "https://[::1", "http://x:99999999/", "https://xn--a.com/"),
        *("https://\N{COLLISION SYMBOL}.com/", "https://[::1%25eth0]/", "https://[::1%eth0]/"),
        *(
            "https://xn--.com/",
            "https://xn--99999999.com",
            "https://a.com/\ud800",
            "https://\u2100.com",
        ),
        *("https://a\0b/", "https://[v1.x]/", "https://.com/", f"https://{'h' * 64}.com/"),
        *(
            "https://%41.com/",
            "https://u:p@[::1",
            "https://cdn..com",
            "//[",
            "data:,x",
        ),
    ],
)
def test_url_that_is_none_is_no_crash(s3: Any, url: str) -> None:
    """An invalid URL is an error of the result."""
    with download_client("https://open.vmake.ai") as client:
        store = ResultStore(s3, RESULTS, client, max_bytes=LIMIT)
        with pytest.raises((ResultUnavailable, ResultRefused)):
            store.copy(job_of(), TaskResult(index=1, url=url))


@pytest.mark.parametrize(
    "answer", ["silent", "head_drips", "informational", "chunk_extension_drips", "body_drips"]
)
def test_dripping_result_is_given_up(s3: Any, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """A slow download ends at its deadline."""
    monkeypatch.setattr(download, "DOWNLOAD_SECONDS", 0.4)
    with serving() as url, download_client(url) as client:
        store = ResultStore(s3, RESULTS, client, max_bytes=LIMIT)
        with pytest.raises(ResultUnavailable, match="could not be read"):
            store.copy(job_of(), TaskResult(index=1, url=f"{url}/{answer}"))
    assert keys(s3) == []
    assert uploads(s3) == []


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "br", "deflate", "gzip, gzip", "identity, x"])
def test_encoded_result_is_refused(s3: Any, encoding: str) -> None:
    """A result with a Content-Encoding is refused unread."""
    reply = http(gzip.compress(png()), "200 OK", f"Content-Encoding: {encoding}")
    with server(reply) as (url, _), download_client(url) as client:
        store = ResultStore(s3, RESULTS, client, max_bytes=LIMIT)
        with pytest.raises(ResultRefused, match="Content-Encoding") as caught:
            store.copy(job_of(), TaskResult(index=1, url=f"{url}/1.png"))
    assert caught.value.code is ErrorCode.RESULT_INVALID
    assert keys(s3) == []


@pytest.mark.parametrize(
    "reply",
    [
        b"no http " * 5_000 + b"\r\n\r\n",
        http(b"<html>", "200 OK", "Content-Type: " + "x" * 60_000),
        http(b"<html>", "200 OK", "Content-Encoding: " + "x" * 60_000),
        http(b"", "302 Found", "Location: https://" + "x" * 60_000),
        http(b"", "302 Found", "Location: " + "x" * 60_000 + "://a.b/"),
    ],
    ids=["no_http", "type", "encoding", "redirect", "scheme"],
)
def test_what_a_server_says_fills_no_record(s3: Any, reply: bytes) -> None:
    """A message quotes little of an answer, so that record and event stay small."""
    with server(reply) as (url, _), download_client(url) as client:
        store = ResultStore(s3, RESULTS, client, max_bytes=LIMIT)
        with pytest.raises((ResultRefused, ResultUnavailable)) as caught:
            store.copy(job_of(), TaskResult(index=1, url=f"{url}/1.png"))
    assert isinstance(caught.value, ResultRefused | ResultUnavailable)
    assert len(caught.value.message.encode()) < 1_000


@pytest.mark.parametrize("answer", ["redirect_large", "redirect_drips"])
def test_what_a_redirect_says_besides_is_not_read(s3: Any, answer: str) -> None:
    """The body of a redirect is not read."""
    with serving() as url, download_client(url) as client:
        store = ResultStore(s3, RESULTS, client, max_bytes=LIMIT)
        copied = store.copy(job_of(), TaskResult(index=1, url=f"{url}/{answer}"))
    assert copied.bytes == len(png())


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(http(png(padding=500_000)[:200_000], length=500_000), id="body_cut"),
        pytest.param(http(png()[:10], length=5_000), id="head_of_body_cut"),
        pytest.param(b"", id="closed"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Le", id="head_cut"),
        pytest.param(b"no http at all\r\n\r\n", id="no_http"),
    ],
)
def test_connection_that_breaks_is_worth_another_try(s3: Any, reply: bytes) -> None:
    """A broken download is result_unavailable, and nothing is stored."""
    with server(reply) as (url, _), download_client(url) as client:
        store = ResultStore(s3, RESULTS, client, max_bytes=LIMIT)
        with pytest.raises(ResultUnavailable):
            store.copy(job_of(), TaskResult(index=1, url=f"{url}/1.png"))
    assert keys(s3) == []
    assert uploads(s3) == []


def test_blocked_url_is_refused(s3: Any) -> None:
    """A URL into a private network is result_blocked."""
    with download_client("https://open.vmake.ai") as client:
        store = ResultStore(s3, RESULTS, client, max_bytes=LIMIT)
        with pytest.raises(ResultRefused) as caught:
            store.copy(job_of(), TaskResult(index=1, url="https://169.254.169.254/x"))
    assert caught.value.code is ErrorCode.RESULT_BLOCKED


def test_trouble_of_our_own_bucket_is_not_the_vendors(s3: Any) -> None:
    """An error of ResultsBucket is raised, and is no error of the result."""
    s3.delete_bucket(Bucket=RESULTS)
    with pytest.raises(Exception, match="NoSuchBucket"):
        copy(s3, httpx.Response(200, content=png()))


# --- parts ---------------------------------------------------------------------------------------


def generated(size: int) -> Iterator[bytes]:
    """Yield a PNG of this many bytes in pieces."""
    head, end = png(4, 4)[:-12], png(4, 4)[-12:]
    yield head
    left = size - len(head) - len(end)
    while left > 0:
        yield bytes(min(left, 65_536))
        left -= 65_536
    yield end


class FakeS3:
    """An S3 client that stores nothing."""

    def __init__(self) -> None:
        self.client = boto3.client("s3", region_name=REGION)
        self.client.meta.events.register("before-call.s3", self)  # type: ignore[arg-type]  # its answer counts
        self.calls: list[str] = []
        self.sent = 0
        """Bytes."""
        self.fails: Mapping[str, str] = {}
        """Error code by call."""

    def __call__(self, *, model: Any, params: Any, **_: Any) -> tuple[AWSResponse, dict[str, Any]]:
        self.calls.append(model.name)
        code = self.fails.get(model.name)
        if code is not None:
            error = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {}}
            return AWSResponse("https://s3", 400, HTTPHeaders(), None), error
        if model.name in {"UploadPart", "PutObject"}:
            self.take(params["body"])
        return AWSResponse("https://s3", 200, HTTPHeaders(), None), {"UploadId": "u", "ETag": '"e"'}

    def take(self, body: bytearray) -> None:
        """Accept a part."""
        self.sent += len(body)


@pytest.mark.parametrize(
    ("size", "parts"),
    [
        (PART_BYTES - 1, 0),
        (PART_BYTES, 0),
        (PART_BYTES + 1, 2),
        (2 * PART_BYTES, 2),
        (2 * PART_BYTES + 1, 3),
    ],
)
def test_every_byte_is_in_one_part(aws_environment: None, size: int, parts: int) -> None:
    """A result of any size is uploaded completely, each byte once."""
    s3 = FakeS3()
    result = copy(s3.client, httpx.Response(200, content=generated(size)), limit=size)
    assert result.bytes == s3.sent == size
    assert s3.calls.count("UploadPart") == parts
    assert s3.calls.count("PutObject") == (0 if parts else 1)
    assert result.sha256 == hashlib.sha256(b"".join(generated(size))).hexdigest()


def test_next_part_is_read_while_one_is_sent(aws_environment: None) -> None:
    """The next part is read while one is uploaded."""
    further = threading.Event()

    class Waits(FakeS3):
        def take(self, body: bytearray) -> None:
            assert further.wait(30), "nothing was read while a part was sent"
            super().take(body)

    def pieces() -> Iterator[bytes]:
        read = 0
        for piece in generated(3 * PART_BYTES):
            yield piece
            read += len(piece)
            if read > PART_BYTES + 1024 * 1024:
                further.set()

    copy(Waits().client, httpx.Response(200, content=pieces()), limit=3 * PART_BYTES)


def test_memory_does_not_grow_with_the_result(aws_environment: None) -> None:
    """A result of 30 MB takes the memory of two parts."""
    size, read, ahead = 30_000_000, 0, 0

    class Watches(FakeS3):
        def take(self, body: bytearray) -> None:
            nonlocal ahead
            ahead = max(ahead, read - self.sent)
            super().take(body)

    def pieces() -> Iterator[bytes]:
        nonlocal read
        for piece in generated(size):
            read += len(piece)
            yield piece

    s3 = Watches()
    copy(s3.client, httpx.Response(200, content=generated(PART_BYTES + 1)), limit=size)
    # What is loaded once is loaded.
    s3.sent = ahead = 0
    tracemalloc.start()
    try:
        result = copy(s3.client, httpx.Response(200, content=pieces()), limit=size)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert result.bytes == s3.sent == size
    assert PART_BYTES <= ahead <= 2 * PART_BYTES + 65_536
    assert peak < 2 * PART_BYTES + 2 * 1024 * 1024


def test_part_that_s3_refuses_ends_the_upload(aws_environment: None) -> None:
    """If a part cannot be stored, the error is raised and the upload aborted."""
    s3 = FakeS3()
    s3.fails = {"UploadPart": "NoSuchUpload"}
    with pytest.raises(ClientError, match="NoSuchUpload"):
        copy(s3.client, httpx.Response(200, content=generated(2 * PART_BYTES)), limit=10**8)
    assert s3.calls[-1] == "AbortMultipartUpload"
    assert "CompleteMultipartUpload" not in s3.calls


def test_upload_that_cannot_be_taken_back_hides_nothing(
    aws_environment: None, caplog: pytest.LogCaptureFixture
) -> None:
    """If the abort fails, the error is still that of the result."""
    s3 = FakeS3()
    s3.fails = {"AbortMultipartUpload": "SlowDown"}
    cut = b"".join(generated(2 * PART_BYTES))[:-12]
    with pytest.raises(ResultRefused, match="cut off"):
        copy(s3.client, httpx.Response(200, content=cut), limit=10**8)
    assert "SlowDown" in caplog.text


class Counted(ThreadingHTTPServer):
    """Answers GET with a PNG and PUT with an ETag; counts the connections that are made."""

    connections = 0

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections += 1
        super().process_request(request, client_address)


class Answers(BaseHTTPRequestHandler):
    """One connection of `Counted`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Answer with an image."""
        body = png(30, 20, padding=100_000)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self) -> None:
        """Accept an object."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("ETag", '"e"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def counted() -> Iterator[Counted]:
    """Run a server that counts its connections."""
    with Counted(("127.0.0.1", 0), Answers) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_connections_are_used_again(counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several results use one connection to the vendor and one to S3."""
    url = f"http://127.0.0.1:{counted.server_address[1]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url)
    s3 = clients.s3.__wrapped__()
    with download_client(url) as client:
        store = ResultStore(s3, RESULTS, client, max_bytes=LIMIT)
        for index in range(1, 5):
            store.copy(job_of(), TaskResult(index=index, url=f"{url}/{index}.png"))
    s3.close()
    assert counted.connections == 2


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source_key", "settings", "expected"),
    [
        ("a/b/dress.jpg", {}, "a/b/dress/002-original/J-2.png"),
        ("dress.JPG", {}, "dress/002-original/J-2.png"),
        ("a.b/dress", {}, "a.b/dress/002-original/J-2.png"),
        ("a/dress.front.jpeg", {}, "a/dress.front/002-original/J-2.png"),
        ("url/cdn.example.com/x/y.png", {}, "url/cdn.example.com/x/y/002-original/J-2.png"),
        ("ü/ö.jpg", {}, "ü/ö/002-original/J-2.png"),
        ("d.jpg", {"scene_type": "none"}, "d/002-none/J-2.png"),
        ("d.jpg", {"scene_type": "preset", "scene_id": "035"}, "d/002-preset-035/J-2.png"),
        ("d.jpg", {"scene_type": "color", "color": "#ff0000"}, "d/002-color-ff0000/J-2.png"),
        ("d.jpg", {"model_id": "a/b"}, "d/a_b-original/J-2.png"),
        ("d.jpg", {"scene_type": "preset", "scene_id": "a/b"}, "d/002-preset-a_b/J-2.png"),
    ],
)
def test_result_key(source_key: str, settings: dict[str, Any], expected: str) -> None:
    """A result's key has the photo's key, model, scene, job and number."""
    job = job_of(source_key, **settings).model_copy(update={"job_id": "J"})
    assert result_key(job, 2, "image/png") == expected


@given(
    source_key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=1100)
    | st.integers(960, 1024).map("k".__mul__)
    | st.integers(230, 256).map("\U0001f600".__mul__),
    model_id=st.sampled_from(["002", "m" * 128, "\U0001f600" * 32]),
    scene_id=st.sampled_from(["035", "s" * 128, "\U0001f600" * 32]),
    index=st.integers(1, 4),
)
def test_result_key_is_never_too_long(
    source_key: str, model_id: str, scene_id: str, index: int
) -> None:
    """The result's key of a long photo's key fits into 1,024 bytes and keeps its end."""
    job = job_of(source_key, model_id=model_id, scene_type=SceneType.PRESET, scene_id=scene_id)
    key = result_key(job, index, "image/jpeg")
    assert len(key.encode()) <= MAX_KEY_BYTES
    assert key.endswith(f"/{job.job_id}-{index}.jpg")


@pytest.mark.parametrize(
    ("source_key", "sku"),
    [
        ("a/dress.jpg", "S-1"),
        ("ü/Kleid für März.jpg", "Größe 42"),
        ("日本/服.jpg", "服"),
        ("a\nb.jpg", " spaced "),
        ("k" * 1024, "s" * 256),
        ("\U0001f600" * 256, "\U0001f457" * 256),
    ],
)
def test_metadata_fits_and_can_be_read_back(s3: Any, source_key: str, sku: str) -> None:
    """Metadata is ASCII and at most 2 kB, and its values can be read back."""
    job = job_of(source_key, sku)
    metadata = _metadata(job)
    size = sum(len(name) + len(value) for name, value in metadata.items())
    assert size <= MAX_METADATA_BYTES
    assert all(value.isascii() and value.isprintable() for value in metadata.values())
    assert metadata["job-id"] == job.job_id
    for name, expected in (("source-key", source_key), ("sku", sku)):
        if name in metadata:
            assert str(make_header(decode_header(metadata[name]))) == expected
    key = copy(s3, httpx.Response(200, content=png()), job=job).key
    assert s3.head_object(Bucket=RESULTS, Key=key)["Metadata"] == metadata


def test_photo_without_a_sku_has_none_in_its_results() -> None:
    """Metadata without a sku has no sku."""
    assert set(_metadata(job_of(sku=None))) == {"job-id", "source-key"}
