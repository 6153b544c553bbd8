"""Copies results from the vendor's URLs into ResultsBucket, in one pass, and checks them meanwhile.

The memory needed does not depend on a result's size: while one part is sent, the next one is read,
5 MiB each. The upload completes only after the last byte has passed every check. So each object in
ResultsBucket is whole.
"""

import base64
import hashlib
import re
import zlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import chain
from typing import TYPE_CHECKING, Final

import httpx
from botocore.exceptions import BotoCoreError, ClientError

from shared.errors import ResultRefused, ResultUnavailable
from shared.intake.photos import JPEG, PNG, content_type_of, pixel_size
from shared.models import ErrorCode, Job, Result, TaskResult
from shared.observability import logger
from shared.texts import MAX_TEXT_BYTES, shortened, without_queries

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART_BYTES: Final = 5 * 1024 * 1024
"""S3's smallest part. Four results at once, with two parts each, need 40 MiB. Larger parts were not
faster (docs/decisions.md)."""
_HEAD_BYTES: Final = 256 * 1024
"""The pixel size is searched in these first bytes; a JPEG may have long metadata before it."""
_TAIL_BYTES: Final = 4096
_END: Final = {PNG: b"IEND\xaeB`\x82", JPEG: b"\xff\xd9"}
_EXTENSION: Final = {PNG: "png", JPEG: "jpg"}
_SHOWN: Final = 200
"""Characters of a server's text that messages repeat."""
MAX_KEY_BYTES: Final = 1024
MAX_METADATA_BYTES: Final = 1900
"""S3 takes at most 2 kB of user metadata an object."""
_EXPIRED: Final = frozenset({403, 404, 410})


def result_key(job: Job, index: int, content_type: str) -> str:
    """Return `<source key without its extension>/<model>-<scene>/<job_id>-<n>.<png|jpg>`.

    If the key would be longer than S3's 1,024 bytes, the end of the source key is cut off.
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
    ) -> None:
        """Copy with `http` to this bucket; results larger than `max_bytes` are refused."""
        self._s3 = s3
        self._bucket = bucket
        self._http = http
        self._max_bytes = max_bytes

    def copy(self, job: Job, task_result: TaskResult) -> Result:
        """Stream one result into the bucket and return its key, size and hash.

        Raises:
            ResultUnavailable: the result could not be read completely this time.
            ResultRefused: `result_invalid`, `result_blocked`, `result_too_large`.

        """
        name = f"Result {task_result.index}"
        request = self._request(name, task_result.url)
        try:
            with closing(self._http.send(request, stream=True)) as response:
                _check_head(response, name)
                body = _CheckedBody(response, name, self._max_bytes)
                return self._store(job, task_result.index, body)
        except httpx.RequestError as error:
            raise ResultUnavailable(
                f"{name} could not be read: {type(error).__name__} {_said(error)}".rstrip()
            ) from error

    def _request(self, name: str, url: str) -> httpx.Request:
        try:
            return self._http.build_request("GET", url)
        except Exception as error:
            # httpx, urllib and idna raise errors of many types for a text that is no URL. The
            # messages are left out, since they may quote a signature.
            raise ResultUnavailable(
                f"{name} has a download URL that cannot be used ({type(error).__name__})"
            ) from error

    def _store(self, job: Job, index: int, body: "_CheckedBody") -> Result:
        key = result_key(job, index, body.content_type)
        metadata = _metadata(job)
        parts = body.parts()
        first = next(parts)
        if body.ended:
            self._s3.put_object(
                Bucket=self._bucket,
                Key=key,
                Body=first,  # type: ignore[arg-type]  # botocore takes a bytearray too
                ContentType=body.content_type,
                Metadata=metadata,
                ChecksumCRC32=_crc32(first),
            )
        else:
            upload = self._s3.create_multipart_upload(
                Bucket=self._bucket,
                Key=key,
                ContentType=body.content_type,
                Metadata=metadata,
                ChecksumAlgorithm="CRC32",
            )
            self._store_parts(key, upload["UploadId"], first, parts)
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

    def _store_parts(
        self, key: str, upload_id: str, first: bytearray, parts: Iterator[bytearray]
    ) -> None:
        """Send each part while the next one is read; complete the upload, or abort it."""
        sent: list[CompletedPartTypeDef] = []
        try:
            with ThreadPoolExecutor(1) as sender:
                sending: Future[CompletedPartTypeDef] | None = None
                for number, part in enumerate(chain((first,), parts), 1):
                    # The previous part's buffer is filled next, so that part must be sent by now.
                    if sending is not None:
                        sent.append(sending.result())
                    sending = sender.submit(self._send_part, key, upload_id, number, part)
                if sending is not None:
                    sent.append(sending.result())
            self._s3.complete_multipart_upload(
                Bucket=self._bucket,
                Key=key,
                UploadId=upload_id,
                MultipartUpload={"Parts": sent},
            )
        except BaseException:
            self._abort(key, upload_id)
            raise

    def _send_part(
        self, key: str, upload_id: str, number: int, part: bytearray
    ) -> "CompletedPartTypeDef":
        checksum = _crc32(part)
        answer = self._s3.upload_part(
            Bucket=self._bucket,
            Key=key,
            UploadId=upload_id,
            PartNumber=number,
            Body=part,  # type: ignore[arg-type]  # botocore takes a bytearray too
            ChecksumCRC32=checksum,
        )
        return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC32": checksum}

    def _abort(self, key: str, upload_id: str) -> None:
        try:
            self._s3.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload_id)
        except (BotoCoreError, ClientError) as error:
            # The first error is raised. A lifecycle rule deletes the parts after a day.
            logger().warning("an unfinished upload stays for a day: %s", error)


def _shown(text: str) -> str:
    """Return the beginning of a server's text, for messages: a header may have 100 kB."""
    return text[:_SHOWN]


def _said(error: Exception) -> str:
    """Return an error's text without signatures: it may repeat a URL."""
    return shortened(without_queries(str(error)), MAX_TEXT_BYTES)


def _crc32(part: bytearray) -> str:
    """Return the checksum that S3 compares with the bytes that it received.

    botocore would compute the same checksum, but would then send the part in small pieces.
    """
    return base64.b64encode(zlib.crc32(part).to_bytes(4, "big")).decode()


class _CheckedBody:
    """A response's body in parts. It hashes the bytes and refuses anything but a whole image."""

    def __init__(self, response: httpx.Response, name: str, max_bytes: int) -> None:
        self._name = name
        self._max_bytes = max_bytes
        declared = response.headers.get("Content-Length", "")
        if re.fullmatch(r"[0-9]{1,20}", declared) and int(declared) > max_bytes:
            raise self._too_large(f"declares {int(declared):,} bytes")
        # httpx decodes nothing here: `_check_head` has refused every encoding.
        self._chunks: Iterator[bytes] = response.iter_bytes()
        self._waiting = memoryview(b"")
        """Bytes that were received and are in no part yet."""
        self._hash = hashlib.sha256()
        self._tail = bytearray()
        self.ended = False
        """Whether the whole body was read."""
        self.count = 0
        """Bytes read so far."""
        head = bytearray(_HEAD_BYTES)
        del head[self._fill(head, 0) :]
        if not head:
            raise ResultUnavailable(f"{self._name} came without a byte")
        content_type = content_type_of(bytes(head[:16]))
        if content_type is None:
            kind = _shown(response.headers.get("Content-Type", "no type"))
            raise self._invalid(f"is neither PNG nor JPEG (it was sent as {kind})")
        self.content_type = content_type
        size = pixel_size(bytes(head))
        if size is None:
            raise self._invalid("has a broken image header")
        self.width, self.height = size
        self._head = head

    @property
    def sha256(self) -> str:
        """The hash of all parts so far, in hex."""
        return self._hash.hexdigest()

    def parts(self) -> Iterator[bytearray]:
        """Yield the image in parts of `PART_BYTES`; the last one may be shorter.

        There are two buffers. A part is valid until the next but one is requested.
        """
        part, filled = self._head, len(self._head)
        if not self.ended:
            part = bytearray(PART_BYTES)
            part[:filled] = self._head
        spare: bytearray | None = None
        while True:
            filled = self._fill(part, filled)
            del part[filled:]
            self._hash.update(part)
            self._tail = (self._tail + part[-_TAIL_BYTES:])[-_TAIL_BYTES:]
            if self.ended:
                self._check_end()
                yield part
                return
            yield part
            part, spare, filled = spare or bytearray(PART_BYTES), part, 0

    def _fill(self, part: bytearray, filled: int) -> int:
        """Append to a buffer until it is full or the body ends; return how many bytes it holds.

        One piece more than fits is read, to find out whether the body has ended.
        """
        with memoryview(part) as view:
            while self._more() and filled < len(view):
                piece = self._waiting[: len(view) - filled]
                view[filled : filled + len(piece)] = piece
                filled += len(piece)
                self._waiting = self._waiting[len(piece) :]
        return filled

    def _more(self) -> bool:
        """Read the next piece of the body if none is waiting; return whether there is one."""
        if self.ended or self._waiting:
            return not self.ended
        chunk = next(self._chunks, b"")
        if not chunk:
            self.ended = True
            return False
        self.count += len(chunk)
        if self.count > self._max_bytes:
            raise self._too_large("goes on after that many bytes")
        self._waiting = memoryview(chunk)
        return True

    def _check_end(self) -> None:
        if _END[self.content_type] not in self._tail:
            raise self._invalid(f"is cut off after {self.count:,} bytes")

    def _invalid(self, what: str) -> ResultRefused:
        return ResultRefused(ErrorCode.RESULT_INVALID, f"{self._name} {what}.")

    def _too_large(self, what: str) -> ResultRefused:
        return ResultRefused(
            ErrorCode.RESULT_TOO_LARGE,
            f"{self._name} {what}; MaxResultBytes allows {self._max_bytes:,}.",
        )


def _check_head(response: httpx.Response, name: str) -> None:
    if response.status_code != httpx.codes.OK:
        raise ResultUnavailable(
            f"{name} was answered with HTTP {response.status_code}",
            expired=response.status_code in _EXPIRED,
        )
    encoding = response.headers.get("Content-Encoding", "").strip()
    if encoding.lower() not in {"", "identity"}:
        # A few kilobytes of nested gzip unpack to gigabytes, and images do not need it.
        raise ResultRefused(
            ErrorCode.RESULT_INVALID,
            f"{name} was sent with Content-Encoding {_shown(encoding)!r}; images must be sent"
            " without one.",
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
    """Return text for a header, as S3 returns it too: plain, or else as one RFC 2047 word."""
    if value.isascii() and value.isprintable() and value == value.strip():
        return value
    # `email.header.Header` would fold at line breaks, which a key may contain.
    return f"=?utf-8?b?{base64.b64encode(value.encode()).decode()}?="
