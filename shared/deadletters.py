"""The dead-letter queue: each message in it has a record that says so, and can be sent again.

A message lies there when SubmitFunction failed on it for about a day (`maxReceiveCount`), or when
EventBridge could not deliver it. The record is the job's own where the message had come to one,
else a FAILED record made for it. The message stays until somebody has mended the cause and sends it
again.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shared.announce import Announcer
from shared.events import (
    BrokenEvent,
    Incoming,
    JobContinued,
    ModelRequested,
    NotAPhoto,
    PhotoDropped,
    parse,
)
from shared.jobs import JobRepository, NewJob
from shared.models import ErrorCode, Job, JobError, Photo, job_id_of
from shared.observability import logger
from shared.submit import broken_job

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

LOOK_SECONDS: Final = 300
"""How long a message is out of the others' sight while it is looked at: as long as a run may take,
so that no run meets one twice; if it dies, they are back after this."""
_BATCH: Final = 10
_WAIT_SECONDS: Final = 1
"""Without any wait SQS asks some of its servers only, and may find nothing in a short queue."""


@dataclass(frozen=True)
class DeadLetter:
    """A message of the dead-letter queue, for the moment in this process's hands."""

    message_id: str
    body: str
    receipt: str


class DeadLetters:
    """SubmitDLQ, and the way back from it into SubmitQueue."""

    def __init__(
        self,
        sqs: "SQSClient",
        *,
        dead_letter_url: str,
        queue_url: str,
        photos_bucket: str,
        vendor_origin: str,
        jobs: JobRepository,
    ) -> None:
        """Look into this queue; `photos_bucket` and `vendor_origin` are for reading events."""
        self._sqs = sqs
        self._dead_letter_url = dead_letter_url
        self._queue_url = queue_url
        self._photos_bucket = photos_bucket
        self._vendor_origin = vendor_origin
        self._jobs = jobs
        self._deleted: set[str] = set()

    def count(self) -> int:
        """Return about how many messages there are, those that are being looked at included."""
        answer = self._sqs.get_queue_attributes(
            QueueUrl=self._dead_letter_url,
            AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
        )
        return sum(int(number) for number in answer["Attributes"].values())

    def letters(self, limit: int) -> Iterator[DeadLetter]:
        """Yield messages, each once, until there are no more or the limit is reached.

        Those that are not deleted can be seen by others again afterwards.
        """
        held: dict[str, str] = {}
        try:
            while len(held) < limit:
                answer = self._sqs.receive_message(
                    QueueUrl=self._dead_letter_url,
                    MaxNumberOfMessages=min(_BATCH, limit - len(held)),
                    VisibilityTimeout=LOOK_SECONDS,
                    WaitTimeSeconds=_WAIT_SECONDS,
                )
                new = [m for m in answer.get("Messages", []) if m["MessageId"] not in held]
                if not new:
                    return
                held |= {m["MessageId"]: m["ReceiptHandle"] for m in new}
                for message in new:
                    yield DeadLetter(
                        message["MessageId"], message["Body"], message["ReceiptHandle"]
                    )
        finally:
            self._put_back(held.values())

    def record(self, letter: DeadLetter, announcer: Announcer) -> bool:
        """Have a record say that this message lies dead; return whether that was news."""
        incoming = self._read(letter)
        jobs = self._jobs_of(incoming)
        if not jobs:
            match incoming:
                case NotAPhoto() | JobContinued():
                    # It asks for nothing, or for a job whose record somebody has deleted.
                    logger().warning("a dead letter about nothing", extra={"body": letter.body})
                    self._delete(letter)
                    return False
                case BrokenEvent():
                    jobs = [self._jobs.claim(broken_job(incoming))]
                    announcer.announce(jobs[0])
                case PhotoDropped() | ModelRequested():
                    made = self._jobs.keep_dead_letter(
                        self._placeholder(incoming, letter),
                        _error(letter),
                        message_id=letter.message_id,
                    )
                    if made is not None:
                        announcer.announce(made)
                    return made is not None
        # A list, not any(): each of them is to say so.
        return True in [self._note(job, letter, announcer) for job in jobs]

    def redrive(self, letter: DeadLetter) -> None:
        """Send a message into SubmitQueue again. A crash in between leaves it in both queues."""
        self._sqs.send_message(QueueUrl=self._queue_url, MessageBody=letter.body)
        incoming = self._read(letter)
        for job in self._jobs_of(incoming):
            # A buried job keeps the note: by it the message starts the job again.
            if job.dead_letter == letter.message_id and not job.buried:
                self._jobs.note_dead_letter(job, message_id=None)
        if isinstance(incoming, PhotoDropped | ModelRequested):
            self._jobs.forget_dead_letter(self._identity(incoming))
        self._delete(letter)

    def _note(self, job: Job, letter: DeadLetter, announcer: Announcer) -> bool:
        seen_before = {past.dead_letter for past in job.history}
        if letter.message_id in {job.dead_letter, *seen_before}:
            return False  # it is told of, or the job was set going again all the same
        if job.unspent:
            buried = self._jobs.bury(job, _error(letter), message_id=letter.message_id)
            if buried is not None:
                announcer.announce(buried)
            return buried is not None
        # What was sent to the vendor is the wait loop's, or reconcile's, or a person's.
        return self._jobs.note_dead_letter(job, message_id=letter.message_id) is not None

    def _read(self, letter: DeadLetter) -> Incoming:
        return parse(
            letter.body,
            message_id=letter.message_id,
            photos_bucket=self._photos_bucket,
            vendor_origin=self._vendor_origin,
        )

    def _jobs_of(self, incoming: Incoming) -> list[Job]:
        """Return the jobs that a message had come to before it died."""
        if isinstance(incoming, JobContinued):
            job = self._jobs.get(incoming.job_id)
            return [] if job is None else [job]
        if isinstance(incoming, BrokenEvent):
            job = self._jobs.get(broken_job(incoming).job_id)
            return [] if job is None else [job]
        if isinstance(incoming, NotAPhoto):
            return []
        source_key = _source_key(incoming)
        return [
            job
            for job in self._jobs.of_source(source_key)
            # A FAILED record that was made for a dead letter is no job that it came to.
            if incoming.trigger in job.triggers and job.job_id != self._identity(incoming)
        ]

    def _placeholder(self, incoming: PhotoDropped | ModelRequested, letter: DeadLetter) -> NewJob:
        requested = incoming if isinstance(incoming, ModelRequested) else None
        source_key = _source_key(incoming)
        etag = incoming.etag if isinstance(incoming, PhotoDropped) else None
        photo = Photo(bucket=self._photos_bucket, key=source_key, etag=etag)
        if requested is not None and requested.photo.url is not None:
            photo = Photo(url=requested.photo.url)
        return NewJob(
            job_id=self._identity(incoming),
            photo=photo,
            source_key=source_key,
            settings=None,
            trigger=incoming.trigger,
            sku=requested.sku if requested else None,
            request_id=(requested.request_id if requested else None) or letter.message_id,
        )

    def _identity(self, incoming: PhotoDropped | ModelRequested) -> str:
        return job_id_of(
            bucket=self._photos_bucket,
            key=_source_key(incoming),
            etag="",
            settings={"dead letter": incoming.trigger},
            mask_etag=None,
            request_id=None,
        )

    def _put_back(self, receipts: Iterable[str]) -> None:
        """Let messages that are still there be seen at once."""
        for receipt in receipts:
            if receipt not in self._deleted:
                self._sqs.change_message_visibility(
                    QueueUrl=self._dead_letter_url, ReceiptHandle=receipt, VisibilityTimeout=0
                )

    def _delete(self, letter: DeadLetter) -> None:
        self._sqs.delete_message(QueueUrl=self._dead_letter_url, ReceiptHandle=letter.receipt)
        self._deleted.add(letter.receipt)


def _source_key(incoming: PhotoDropped | ModelRequested) -> str:
    return incoming.photo.source_key if isinstance(incoming, ModelRequested) else incoming.key


def _error(letter: DeadLetter) -> JobError:
    return JobError(
        code=ErrorCode.INTERNAL,
        message=f"Catwalk could not handle this photo's message and keeps it as dead letter"
        f" {letter.message_id}. Nothing was charged. SubmitFunction's log says why; mend that, then"
        " send the dead letters again (`catwalk redrive`).",
    )
