"""Uploads photos in parallel, and follows their jobs.

A record names the drops that it belongs to, by their S3 versions. So an older job of the same key
is not mistaken for a new drop's, and a photo that was processed before with the same bytes and
settings is recognised.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Final, Self, cast

from botocore.exceptions import BotoCoreError, ClientError

from cli.errors import CommandError, sentence
from cli.transfers import StoppedError, Transfers
from cli.upload.collect import Collection, Kind, Upload
from shared.intake.photos import content_type_of
from shared.models import Job, JobStatus
from shared.records.jobs import job_of
from shared.steps.submit import MAX_RESUBMITS

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

_ASKED_AT_ONCE: Final = 8
_NEWLY_ASKED: Final = 64
"""Photos without a record that one refresh looks up. Thousands may wait, so they take turns."""
_BATCH: Final = 100
"""Records per BatchGetItem."""
_ALONE_SECONDS: Final = 5.0
"""How long to wait for further records after a rejected one. A photo that is rejected as a whole
has a single record; otherwise the records of its other variants appear within moments."""
_MAGIC_BYTES: Final = 16


class Stage(StrEnum):
    """The stage of a drop."""

    QUEUED = "queued"
    UPLOADING = "uploading"
    UPLOADED = "uploaded"
    WORKING = "working"
    ENDED = "ended"


@dataclass
class Drop:
    """A photo that is uploaded and followed."""

    upload: Upload
    sent: int = 0
    """Bytes that the S3 client has read."""
    begun: bool = False
    etag: str = ""
    version_id: str | None = None
    uploaded_at: float | None = None
    """Monotonic time."""
    trouble: str | None = None
    """Why it could not be uploaded, as a sentence."""
    before: dict[str, frozenset[str]] = field(default_factory=dict)
    """The events that the photo's jobs had seen before this drop, by job id."""
    jobs: dict[str, Job] = field(default_factory=dict)
    found_at: float = 0.0
    complete: bool = False
    """Whether all its jobs have ended."""

    @property
    def stage(self) -> Stage:
        """The stage that it has reached."""
        if self.trouble or self.complete:
            return Stage.ENDED
        if self.uploaded_at is not None:
            return Stage.WORKING if self.jobs else Stage.UPLOADED
        return Stage.UPLOADING if self.begun else Stage.QUEUED

    @property
    def fraction(self) -> float:
        """The progress of the present stage, 0 to 1: of the upload, then of the jobs."""
        if self.uploaded_at is None:
            return self.sent / self.upload.size if self.upload.size else 0.0
        done = sum(100 if job.terminal else job.progress for job in self.jobs.values())
        return done / (100 * max(self.upload.variants, len(self.jobs), 1))

    @property
    def good(self) -> bool:
        """Whether all its jobs succeeded."""
        return (
            self.complete
            and not self.trouble
            and all(job.status is JobStatus.SUCCEEDED for job in self.jobs.values())
        )

    def unchanged(self, job: Job) -> bool:
        """Whether the job came from an earlier drop with the same bytes and settings."""
        version = job.photo.version_id if job.photo else None
        return version is not None and version != self.version_id


class Uploader(Transfers):
    """Uploads files; S3 keeps nothing of an upload that is stopped."""

    def __init__(
        self,
        s3: "S3Client",
        bucket: str,
        *,
        before: Callable[[Drop], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Upload into this bucket.

        Args:
            s3: the client.
            bucket: the target bucket.
            before: called for each photo right before its upload.
            clock: the monotonic clock.

        """
        super().__init__("An upload")
        self._s3 = s3
        self._bucket = bucket
        self._before = before
        self._clock = clock

    def first(self, uploads: Sequence[Upload]) -> None:
        """Upload the files that must be in the bucket before the photos.

        Raises:
            CommandError: an upload failed; no photo was uploaded.

        """
        for upload in uploads:
            drop = Drop(upload)
            self._upload(drop)
            if drop.trouble:
                raise CommandError(
                    f"{upload.file} could not be uploaded: {drop.trouble}",
                    "No photo was uploaded. Fix the cause and run the same command again.",
                )

    def start(self, drops: Sequence[Drop]) -> None:
        """Start uploading photos in the background."""
        self._start(self._upload, drops)

    def _upload(self, drop: Drop) -> None:
        upload = drop.upload
        photo = upload.kind is Kind.PHOTO
        try:
            drop.begun = True
            if photo:
                self._before(drop)
            with _Reader(upload.file, drop, self._stop) as body:
                answer = self._s3.put_object(
                    Bucket=self._bucket,
                    Key=upload.key,
                    Body=cast("IO[bytes]", body),
                    ContentType=body.content_type,
                    Metadata=dict(upload.metadata),
                )
        except StoppedError:
            return
        except (ClientError, BotoCoreError, OSError) as error:
            if not self._stop.is_set():
                drop.trouble = sentence(str(error))
            return
        version = answer.get("VersionId")
        drop.etag = answer["ETag"].strip('"')
        drop.version_id = None if version in {None, "", "null"} else version
        drop.sent = upload.size
        drop.uploaded_at = self._clock()


class _Reader:
    """A file that reports how far it was read, and raises when the upload must stop."""

    def __init__(self, file: Path, drop: Drop, stop: threading.Event) -> None:
        self._file = file.open("rb")
        self._drop = drop
        self._stop = stop
        head = self._file.read(_MAGIC_BYTES)
        self._file.seek(0)
        if drop.upload.kind is Kind.FOLDER_FILE:
            self.content_type = "application/json"
        else:
            self.content_type = content_type_of(head) or "application/octet-stream"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[bytes]:
        """Iterate; botocore only checks that this exists, and then calls `read`."""
        return iter(self._file)

    def read(self, size: int = -1) -> bytes:
        if self._stop.is_set():
            raise StoppedError
        data = self._file.read(size)
        self._drop.sent = self._file.tell()
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


class Follower:
    """Finds the jobs of drops, and keeps them up to date."""

    def __init__(
        self,
        dynamodb: "DynamoDBClient",
        table: str,
        *,
        resubmits: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read this table; `resubmits` is whether the stack sends unknown submits again."""
        self._dynamodb = dynamodb
        self._table = table
        self._resubmits = resubmits
        self._clock = clock
        self._turn = 0

    def note_before(self, drop: Drop) -> None:
        """Note which events the photo's existing jobs have seen."""
        drop.before = {job.job_id: job.triggers for job in self._jobs_of(drop.upload.key)}

    def refresh(self, drops: Sequence[Drop]) -> None:
        """Update the jobs of the uploaded drops."""
        open_ones = [drop for drop in drops if drop.uploaded_at is not None and not drop.complete]
        seeking = [drop for drop in open_ones if len(drop.jobs) < drop.upload.variants]
        if seeking:
            begin = self._turn % len(seeking)
            some = (seeking[begin:] + seeking[:begin])[:_NEWLY_ASKED]
            self._turn = begin + len(some)
            with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
                list(pool.map(self._find, some))
        self._read_again(open_ones)
        for drop in open_ones:
            drop.complete = self._is_complete(drop)

    def ended(self, job: Job) -> bool:
        """Whether a job changes no more by itself."""
        if job.status is JobStatus.SUBMIT_UNKNOWN:
            return not self._resubmits or job.attempt > MAX_RESUBMITS
        return job.terminal

    def _find(self, drop: Drop) -> None:
        for job in self._jobs_of(drop.upload.key):
            if job.job_id not in drop.jobs and _is_of(job, drop):
                drop.jobs[job.job_id] = job
                drop.found_at = self._clock()

    def _jobs_of(self, key: str) -> Iterator[Job]:
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table,
            IndexName="by-source",
            KeyConditionExpression="source_key = :key",
            ExpressionAttributeValues={":key": {"S": key}},
        )
        return (job_of(item) for page in pages for item in page["Items"])

    def _read_again(self, drops: Sequence[Drop]) -> None:
        """Read the jobs that have not ended again."""
        owners = {
            f"JOB#{job_id}": drop
            for drop in drops
            for job_id, job in drop.jobs.items()
            if not self.ended(job)
        }
        keys = [{"pk": {"S": key}} for key in owners]
        for begin in range(0, len(keys), _BATCH):
            # Keys that DynamoDB leaves unprocessed are read by the next refresh.
            answer = self._dynamodb.batch_get_item(
                RequestItems={
                    self._table: {"Keys": keys[begin : begin + _BATCH], "ConsistentRead": True}
                }
            )
            for item in answer["Responses"].get(self._table, []):
                job = job_of(item)
                owners[f"JOB#{job.job_id}"].jobs[job.job_id] = job

    def _is_complete(self, drop: Drop) -> bool:
        if not drop.jobs or not all(map(self.ended, drop.jobs.values())):
            return False
        if len(drop.jobs) >= drop.upload.variants:
            return True
        as_a_whole = all(job.status is JobStatus.REJECTED for job in drop.jobs.values())
        return as_a_whole and self._clock() - drop.found_at > _ALONE_SECONDS


def _is_of(job: Job, drop: Drop) -> bool:
    """Whether a job belongs to a drop."""
    photo = job.photo
    if photo is None or photo.etag != drop.etag:
        return False
    if drop.version_id is not None and drop.version_id in {photo.version_id, *job.triggers}:
        return True
    # If S3's event names no version, an event that is new to the job identifies the drop.
    return bool(job.triggers - drop.before.get(job.job_id, frozenset()))


@dataclass(frozen=True)
class Change:
    """A change of a drop."""

    drop: Drop
    job: Job | None = None
    """The job that changed; None means that the upload ended."""


class Changes:
    """Yields what has changed since the last iteration."""

    def __init__(self, drops: Sequence[Drop]) -> None:
        """Watch these drops."""
        self._drops = drops
        self._uploads: set[str] = set()
        self._jobs: dict[str, tuple[Any, ...]] = {}

    def __iter__(self) -> Iterator[Change]:
        """Yield the new changes."""
        for drop in self._drops:
            key = drop.upload.key
            if key not in self._uploads and (drop.trouble or drop.uploaded_at is not None):
                self._uploads.add(key)
                yield Change(drop)
            for job in list(drop.jobs.values()):
                # Progress is left out: one line per cent would be too many.
                waits = job.waiting.reason if job.waiting else None
                now = (job.status, job.attempt, waits)
                if self._jobs.get(job.job_id) != now:
                    self._jobs[job.job_id] = now
                    yield Change(drop, job)


def drops_of(collection: Collection) -> list[Drop]:
    """Return a drop for each photo."""
    return [Drop(upload) for upload in collection.photos]
