"""Results out: from the vendor's URL into ResultsBucket, in one pass, checked on the way.

Memory does not grow with a result's size: one part of a multipart upload at a time, a few MiB.
The upload completes only when the last byte has passed every check, so an object that lies in
ResultsBucket is whole.
"""

import base64
import hashlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import httpx
from s3transfer.futures import NonThreadedExecutor
from s3transfer.manager import TransferConfig, TransferManager

from shared.errors import ResultRefused, ResultUnavailable
from shared.models import ErrorCode, Job, Result, TaskResult
from shared.photos import JPEG, PNG, content_type_of, pixel_size

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MAX_COPY_SECONDS: Final = 240.0
"""One result that drips must not use up FinalizeFunction's 600 s, in which each result may be
tried twice: the others' copies would be lost with it."""
_PART_BYTES: Final = 8 * 1024 * 1024
_HEAD_BYTES: Final = 256 * 1024
"""As much as is looked at for the pixel size; JPEGs may carry long metadata in front of it."""
_TAIL_BYTES: Final = 4096
_END: Final = {PNG: b"IEND\xaeB`\x82", JPEG: b"\xff\xd9"}
_EXTENSION: Final = {PNG: "png", JPEG: "jpg"}
MAX_KEY_BYTES: Final = 1024
MAX_METADATA_BYTES: Final = 1900
"""S3 takes 2 kB of user metadata in all."""
_EXPIRED: Final = frozenset({403, 404, 410})


def result_key(job: Job, index: int, content_type: str) -> str:
    """Return `<source key without its extension>/<model>-<scene>/<job_id>-<n>.<png|jpg>`.

    A source key so long that the result's would pass S3's 1,024 bytes is cut at its end.
    """
    settings, source = job.settings, job.source_key
    if settings is None or source is None:
        raise LookupError(f"job {job.job_id} has results but no settings or source")
    folder, slash, name = source.rpartition("/")
    stem = folder + slash + (name.rpartition(".")[0] or name)
    model = settings.model_id.replace("/", "_")
    scene = settings.scene.replace("/", "_")
    rest = f"/{model}-{scene}/{job.job_id}-{index}.{_EXTENSION[content_type]}"
    room = max(0, MAX_KEY_BYTES - len(rest.encode()))
    return stem.encode()[:room].decode(errors="ignore") + rest


class ResultStore:
    """ResultsBucket."""

    def __init__(
        self,
        s3: "S3Client",
        bucket: str,
        http: httpx.Client,
        *,
        max_bytes: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Write to this bucket what `http` downloads; larger results are refused."""
        self._monotonic = monotonic
        self._s3 = s3
        self._bucket = bucket
        self._http = http
        self._max_bytes = max_bytes
        self._transfer = TransferConfig(
            multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES
        )

    def copy(self, job: Job, task_result: TaskResult) -> Result:
        """Stream one result into the bucket and return what was found on the way.

        Raises:
            ResultUnavailable: it could not be read (wholly) this time.
            ResultRefused: `result_invalid`, `result_blocked`, `result_too_large`.

        """
        name = f"Result {task_result.index}"
        try:
            with self._http.stream("GET", task_result.url) as response:
                _check_status(response, name)
                body = _CheckedBody(response, name, self._max_bytes, self._monotonic)
                return self._store(job, task_result.index, body)
        except httpx.TooManyRedirects as error:
            raise ResultUnavailable(f"{name}: {error}") from error
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise ResultUnavailable(
                f"{name} could not be read: {type(error).__name__} {error}".rstrip()
            ) from error

    def _store(self, job: Job, index: int, body: "_CheckedBody") -> Result:
        key = result_key(job, index, body.content_type)
        body_as_file: Any = body  # s3transfer needs read() alone
        extra = {"ContentType": body.content_type, "Metadata": _metadata(job)}
        # Results are copied side by side by the caller; threads inside each would only add memory.
        with TransferManager(self._s3, self._transfer, None, NonThreadedExecutor) as transfers:
            transfers.upload(body_as_file, self._bucket, key, extra).result()
        return Result(
            index=index,
            bucket=self._bucket,
            key=key,
            width=body.width,
            height=body.height,
            bytes=body.count,
            sha256=body.sha256,
            content_type=body.content_type,
        )


class _CheckedBody:
    """A response's body as a file that hashes what passes and refuses what is no whole image."""

    def __init__(
        self, response: httpx.Response, name: str, max_bytes: int, monotonic: Callable[[], float]
    ) -> None:
        self._name = name
        self._max_bytes = max_bytes
        self._monotonic = monotonic
        self._deadline = monotonic() + MAX_COPY_SECONDS
        declared = response.headers.get("Content-Length", "")
        if declared.isdigit() and int(declared) > max_bytes:
            raise self._too_large(f"declares {int(declared):,} bytes")
        self._chunks: Iterator[bytes] = response.iter_bytes(64 * 1024)
        self._buffer = bytearray()
        self._hash = hashlib.sha256()
        self._tail = b""
        self._ended = False
        self.count = 0
        self.content_type = ""
        self._fill(_HEAD_BYTES)
        content_type = content_type_of(bytes(self._buffer[:16]))
        if content_type is None:
            kind = response.headers.get("Content-Type", "no type")
            raise self._invalid(f"is neither PNG nor JPEG (it was sent as {kind})")
        size = pixel_size(bytes(self._buffer[:_HEAD_BYTES]))
        if size is None:
            raise self._invalid("has a broken image header")
        self.content_type = content_type
        self.width, self.height = size

    @property
    def sha256(self) -> str:
        """The hash of all that was read, in hex."""
        return self._hash.hexdigest()

    def read(self, size: int = -1) -> bytes:
        """Return exactly `size` bytes, or fewer at the end; s3transfer takes less for the end."""
        self._fill(size if size >= 0 else self._max_bytes + 1)
        piece = bytes(self._buffer[:size] if size >= 0 else self._buffer)
        del self._buffer[: len(piece)]
        return piece

    def _fill(self, size: int) -> None:
        while not self._ended and len(self._buffer) < size:
            chunk = next(self._chunks, b"")
            if not chunk:
                self._ended = True
                self._check_end()
                return
            if self._monotonic() > self._deadline:
                raise ResultUnavailable(
                    f"{self._name} was not read within {MAX_COPY_SECONDS:.0f} seconds"
                )
            self.count += len(chunk)
            if self.count > self._max_bytes:
                raise self._too_large("goes on after that many bytes")
            self._hash.update(chunk)
            self._tail = (self._tail + chunk)[-_TAIL_BYTES:]
            self._buffer += chunk

    def _check_end(self) -> None:
        if self.count == 0:
            raise ResultUnavailable(f"{self._name} came without a byte")
        # While the head is being read, the type is what the first bytes say.
        kind = self.content_type or content_type_of(bytes(self._buffer[:16]))
        if kind is not None and _END[kind] not in self._tail:
            raise self._invalid(f"is cut off after {self.count:,} bytes")

    def _invalid(self, what: str) -> ResultRefused:
        return ResultRefused(ErrorCode.RESULT_INVALID, f"{self._name} {what}.")

    def _too_large(self, what: str) -> ResultRefused:
        return ResultRefused(
            ErrorCode.RESULT_TOO_LARGE,
            f"{self._name} {what}; MaxResultBytes allows {self._max_bytes:,}.",
        )


def _check_status(response: httpx.Response, name: str) -> None:
    if response.status_code == httpx.codes.OK:
        return
    raise ResultUnavailable(
        f"{name} was answered with HTTP {response.status_code}",
        expired=response.status_code in _EXPIRED,
    )


def _metadata(job: Job) -> dict[str, str]:
    values = {"job-id": job.job_id}
    for name, value in (("source-key", job.source_key), ("sku", job.sku)):
        if value is None:
            continue
        text = _header_text(value)
        if sum(map(len, (*values, *values.values(), name, text))) <= MAX_METADATA_BYTES:
            values[name] = text
    return values


def _header_text(value: str) -> str:
    """Write text as S3 itself hands it back: as it is, or as an RFC 2047 word if a header can't."""
    if value.isascii() and value.isprintable() and value == value.strip():
        return value
    # One word, by hand: the library's Header folds at line breaks, which a key may contain.
    return f"=?utf-8?b?{base64.b64encode(value.encode()).decode()}?="
