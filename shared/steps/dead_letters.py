"""The dead-letter queue: each message in it gets a record, and can be sent again.

SQS moves a message there after SubmitFunction has failed on it for about a day (`maxReceiveCount`);
EventBridge sends a message there that it cannot deliver. If the message already has a job, the
job's record notes the dead letter. Else a FAILED record is made for the message. The message stays
in the queue until a person has removed the cause and sends it again. SQS deletes it after 14 days;
then the record holds what is needed to send it again.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from shared.clock import iso
from shared.intake.arrivals import Arrival, Arrivals
from shared.intake.messages import (
    ArrivalContinued,
    BrokenEvent,
    Incoming,
    JobContinued,
    ModelRequested,
    NotAPhoto,
    PhotoDropped,
    continue_message,
    drop_message,
    parse,
)
from shared.intake.requests import broken_job, stored_arrival
from shared.models import ErrorCode, Job, JobError, JobStatus, Photo, job_id_of
from shared.notify.announcer import Announcer
from shared.observability import logger
from shared.records.jobs import JobRepository, NewJob

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

VISIBILITY_SECONDS: Final = 300
"""The visibility timeout of a received message. It is as long as a run may take, so that no run
receives a message twice. If the run dies, the messages become visible again after this time."""
KEPT: Final = timedelta(days=14)
"""SubmitDLQ's retention. SQS counts it from the message's arrival in the first queue."""
COUNT_SETTLES: Final = timedelta(minutes=10)
"""SQS's count of messages is a few minutes late. It includes what arrived this long ago."""
MAX_BODY_BYTES: Final = 256 * 1024
"""A record keeps a message of at most this size. EventBridge delivers no larger one, and an item of
DynamoDB holds at most 400 kB."""
_BATCH: Final = 10
_WAIT_SECONDS: Final = 1
"""Long polling. Without it SQS asks only some of its servers, and may find nothing in a short
queue."""


@dataclass(frozen=True)
class DeadLetter:
    """A message that this process has received from the dead-letter queue."""

    message_id: str
    body: str
    receipt: str


class DeadLetters:
    """SubmitDLQ: reads its messages and sends them back to SubmitQueue."""

    def __init__(
        self,
        sqs: "SQSClient",
        *,
        dead_letter_url: str,
        queue_url: str,
        photos_bucket: str,
        vendor_origin: str,
        jobs: JobRepository,
        arrivals: Arrivals,
    ) -> None:
        """Read from `dead_letter_url`, and send to `queue_url`.

        `photos_bucket` and `vendor_origin` are needed to parse messages.
        """
        self._sqs = sqs
        self._dead_letter_url = dead_letter_url
        self._queue_url = queue_url
        self._photos_bucket = photos_bucket
        self._vendor_origin = vendor_origin
        self._jobs = jobs
        self._arrivals = arrivals
        self._deleted: set[str] = set()

    def count(self) -> int:
        """Return about how many messages there are, including received ones."""
        answer = self._sqs.get_queue_attributes(
            QueueUrl=self._dead_letter_url,
            AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
        )
        return sum(int(number) for number in answer["Attributes"].values())

    def letters(self, limit: int) -> Iterator[DeadLetter]:
        """Yield each message once, until there are no more or the limit is reached.

        Afterwards, the messages that were not deleted become visible again.
        """
        held: dict[str, str] = {}
        try:
            while len(held) < limit:
                answer = self._sqs.receive_message(
                    QueueUrl=self._dead_letter_url,
                    MaxNumberOfMessages=min(_BATCH, limit - len(held)),
                    VisibilityTimeout=VISIBILITY_SECONDS,
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
        """Note a dead letter in the record of each of its jobs; return whether anything was new.

        If the message was decided, its arrival names the jobs. Jobs without a record get one.
        """
        incoming = self._read(letter)
        made = self._missing_records(self._arrival(incoming), letter, announcer)
        jobs = self._jobs_of(incoming)
        if not jobs:
            match incoming:
                case NotAPhoto() | JobContinued() | ArrivalContinued():
                    # It asks for nothing, or its job's record was deleted.
                    logger().warning("a dead letter about nothing", extra={"body": letter.body})
                    self._delete(letter)
                    return False
                case BrokenEvent():
                    jobs = [self._jobs.claim(broken_job(incoming))]
                    announcer.announce(jobs[0])
                case PhotoDropped() | ModelRequested():
                    placeholder = self._jobs.keep_dead_letter(
                        self._placeholder(incoming, letter),
                        _error(letter, kept=_is_kept(letter)),
                        message_id=letter.message_id,
                        body=letter.body if _is_kept(letter) else None,
                    )
                    if placeholder is not None:
                        announcer.announce(placeholder)
                    return placeholder is not None
        # Each record must be written, so this is a list: any() would stop at the first True.
        return True in [made, *(self._note(job, letter, announcer) for job in jobs)]

    def _missing_records(
        self, arrival: Arrival | None, letter: DeadLetter, announcer: Announcer
    ) -> bool:
        """Make the missing records of an arrival's jobs; return whether there were any."""
        made = False
        for new in arrival.new_jobs() if arrival is not None else ():
            if new.error is not None:
                announcer.announce(self._jobs.claim(new))
                continue
            # The settings are decided, so the job continues from its record without the message.
            job = self._jobs.keep_dead_letter(
                new, _error(letter), message_id=letter.message_id, body=None
            )
            if job is not None:
                announcer.announce(job)
                made = True
        return made

    def redrive(self, letter: DeadLetter) -> None:
        """Send a message to SubmitQueue again. A crash in between leaves it in both queues."""
        self._sqs.send_message(QueueUrl=self._queue_url, MessageBody=letter.body)
        incoming = self._read(letter)
        for job in self._jobs_of(incoming):
            # A dead-lettered job keeps the note: with it, SubmitFunction starts the next attempt.
            if job.dead_letter == letter.message_id and not job.dead_lettered:
                self._jobs.note_dead_letter(job, message_id=None)
        if isinstance(incoming, PhotoDropped | ModelRequested):
            self._jobs.forget_dead_letter(self._identity(incoming))
        self._delete(letter)

    def lost(self, now: datetime) -> list[Job]:
        """Return the jobs whose dead letter is no longer in the queue.

        A dead letter is gone if it is older than SQS's retention, or if it is older than
        `COUNT_SETTLES` and the queue is empty.
        """
        found = [
            job
            for job in self._jobs.of_status(JobStatus.FAILED, until=iso(now - COUNT_SETTLES))
            if job.dead_letter is not None and (job.dead_lettered or job.settings is None)
        ]
        if found and self.count():
            return [job for job in found if job.updated_at <= iso(now - KEPT)]
        return found

    def can_resend(self, job: Job) -> bool:
        """Whether the record of such a job holds enough to send its message again."""
        return self._again(job) is not None

    def resend(self, job: Job) -> None:
        """Send a message again for such a job, made from its record.

        Raises:
            ValueError: the record does not hold enough.

        """
        body = self._again(job)
        if body is None:
            raise ValueError(f"the record of {job.job_id} does not hold its request")
        self._sqs.send_message(QueueUrl=self._queue_url, MessageBody=body)
        self._jobs.forget_dead_letter(job.job_id)

    def _again(self, job: Job) -> str | None:
        if job.settings is not None:
            return continue_message(job)
        if job.dead_body is not None:
            return job.dead_body
        photo = job.photo
        if photo is None or photo.key is None or photo.etag is None:
            return None
        # A drop's record of an earlier version of Catwalk, which did not keep the message.
        (trigger, *_) = job.triggers
        return drop_message(
            bucket=self._photos_bucket,
            key=photo.key,
            etag=photo.etag,
            version_id=photo.version_id,
            event_id=trigger,
        )

    def _note(self, job: Job, letter: DeadLetter, announcer: Announcer) -> bool:
        seen_before = {past.dead_letter for past in job.history}
        if letter.message_id in {job.dead_letter, *seen_before}:
            return False  # it is noted already, or the job was started again in spite of it
        if job.sendable:
            dead_lettered = self._jobs.dead_letter_job(
                job, _error(letter), message_id=letter.message_id
            )
            if dead_lettered is not None:
                announcer.announce(dead_lettered)
            return dead_lettered is not None
        # A job that was sent to the vendor keeps its status.
        return self._jobs.note_dead_letter(job, message_id=letter.message_id) is not None

    def _read(self, letter: DeadLetter) -> Incoming:
        return parse(
            letter.body,
            message_id=letter.message_id,
            photos_bucket=self._photos_bucket,
            vendor_origin=self._vendor_origin,
        )

    def _arrival(self, incoming: Incoming) -> Arrival | None:
        """Return the arrival of a dead letter, if one was decided."""
        match incoming:
            case PhotoDropped() | ModelRequested():
                return stored_arrival(self._arrivals, incoming, self._photos_bucket)
            case ArrivalContinued(arrival_id):
                return self._arrivals.get(arrival_id)
            case _:
                return None

    def _jobs_of(self, incoming: Incoming) -> list[Job]:
        """Return the jobs that a dead letter already has."""
        job_ids: list[str] = []
        match incoming:
            case JobContinued(job_id):
                job_ids = [job_id]
            case BrokenEvent():
                job_ids = [broken_job(incoming).job_id]
            case NotAPhoto():
                return []
            case _:
                arrival = self._arrival(incoming)
                if arrival is not None:
                    job_ids = [job.job_id for job in arrival.jobs]
                elif not isinstance(incoming, ArrivalContinued):
                    # A version of Catwalk without arrivals handled it.
                    return self._jobs_by_trigger(incoming)
        found = [self._jobs.get(job_id) for job_id in job_ids]
        return [job for job in found if job is not None]

    def _jobs_by_trigger(self, incoming: PhotoDropped | ModelRequested) -> list[Job]:
        return [
            job
            for job in self._jobs.of_source(_source_key(incoming))
            # Leave out the FAILED record that was made for the dead letter itself.
            if incoming.trigger in job.triggers and job.job_id != self._identity(incoming)
        ]

    def _placeholder(self, incoming: PhotoDropped | ModelRequested, letter: DeadLetter) -> NewJob:
        requested = incoming if isinstance(incoming, ModelRequested) else None
        source_key = _source_key(incoming)
        etag = version_id = None
        if isinstance(incoming, PhotoDropped):
            etag, version_id = incoming.etag, incoming.version_id
        photo = Photo(bucket=self._photos_bucket, key=source_key, etag=etag, version_id=version_id)
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
        """Make messages that were not deleted visible at once."""
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


def _is_kept(letter: DeadLetter) -> bool:
    return len(letter.body.encode()) <= MAX_BODY_BYTES


def _error(letter: DeadLetter, *, kept: bool = True) -> JobError:
    message = (
        f"Catwalk could not handle this photo's message and keeps it as dead letter"
        f" {letter.message_id}. Nothing was charged. SubmitFunction's log says why; fix that, then"
        " send the dead letters again (`catwalk redrive`)."
    )
    if not kept:
        message += (
            f" Do so within {KEPT.days} days: the message is too long for this record. After that,"
            " send the request again."
        )
    return JobError(code=ErrorCode.INTERNAL, message=message)
