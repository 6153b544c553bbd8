"""Recovery of jobs that have ended, and its price.

    recopy      copy the results again from the paid task                  free
    resume      continue a paid task that the job had given up             free
                (both use the newest task, even one of an earlier attempt)
    regenerate  start the next attempt: a new task at the vendor           one credit
                or read the settings of a rejected photo again             one per variant
    resolve     settle a submit whose answer was lost                      see `Resolution`

`Recovery.quote` returns the price and changes nothing; `Recovery.perform` acts. `perform` writes
the record first and then sends a message to SubmitQueue. If that message is lost, reconcile sends
another.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Self

from cli.stacks.stack import Catwalk
from cli.terminal.words import STATUS_WORDS, status_of
from shared import clients
from shared.errors import InputRejected
from shared.intake.messages import continue_message, drop_message
from shared.intake.photos import FolderCache, PhotoStore
from shared.models import TERMINAL, ErrorCode, Job, JobError, JobStatus, PastAttempt
from shared.notify.announcer import Announcer
from shared.notify.events import EventPublisher
from shared.records.jobs import JobRepository
from shared.records.ledger import Ledger, folder_of
from shared.steps.start import execution_arn

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_OF_RESULTS: Final = frozenset(
    {
        ErrorCode.RESULT_UNAVAILABLE,
        ErrorCode.RESULT_INVALID,
        ErrorCode.RESULT_BLOCKED,
        ErrorCode.RESULT_TOO_LARGE,
    }
)


class RecoveryAction(StrEnum):
    """What can be done for a job that has ended."""

    RECOPY = "recopy"
    RESUME = "resume"
    REGENERATE = "regenerate"


DEFAULT_STATUSES: Final = {
    RecoveryAction.RECOPY: frozenset({JobStatus.PARTIAL, JobStatus.FAILED}),
    RecoveryAction.RESUME: frozenset({JobStatus.FAILED}),
    RecoveryAction.REGENERATE: frozenset({JobStatus.FAILED, JobStatus.REJECTED}),
}
"""Statuses that an action selects when only a folder or an article is named: jobs that lack images.
"""


class Resolution(StrEnum):
    """What a person found out at the vendor about a submit whose answer was lost."""

    TASK = "task"
    """It was charged and its task id is known. The job continues with that task, free."""
    CHARGED = "charged"
    """It was charged and its task is lost. The job becomes FAILED; the credit is gone."""
    NOT_CHARGED = "not charged"
    """It was not charged. The photo is submitted again for one credit."""


@dataclass(frozen=True)
class JobSelection:
    """Which jobs are meant: the named ones, or all that match every given condition."""

    job_ids: tuple[str, ...] = ()
    statuses: frozenset[JobStatus] = frozenset()
    folder: str | None = None
    """Includes the folders below it; empty means the whole bucket."""
    sku: str | None = None

    def matches(self, job: Job) -> bool:
        """Whether a job is meant."""
        if self.statuses and job.status not in self.statuses:
            return False
        if self.sku is not None and job.sku != self.sku:
            return False
        return self.folder is None or _is_below(job.source_key or "", self.folder)


@dataclass(frozen=True)
class Quote:
    """What an action would do for a job, and its price."""

    job: Job
    credits: int = 0
    """The most that it can cost."""
    refusal: str | None = None
    """Why the action is not possible, as a sentence; None if it is."""
    takes: PastAttempt | None = None
    """The attempt whose paid task would be continued, if any."""

    @property
    def earlier(self) -> str:
        """`task … of attempt 1`, if the task is an earlier attempt's; else empty."""
        if self.takes is None or self.takes.attempt == self.job.attempt:
            return ""
        return f"task {self.takes.task_id} of attempt {self.takes.attempt}"


def select(jobs: JobRepository, selection: JobSelection) -> Iterator[Job]:
    """Yield the selected jobs, from the index that reads the fewest records.

    Raises:
        LookupError: a named job does not exist.

    """
    found: Iterable[Job]
    if selection.job_ids:
        # A job that is named twice must be handled once.
        found = [_named(jobs, job_id) for job_id in dict.fromkeys(selection.job_ids)]
    elif selection.sku is not None:
        found = jobs.of_sku(selection.sku)
    else:
        statuses = [status for status in JobStatus if status in selection.statuses]
        # A list, because an action moves a job to another status, where a generator would find it
        # again.
        found = [job for status in statuses or JobStatus for job in jobs.of_status(status)]
    return (job for job in found if selection.matches(job))


class Recovery:
    """Quotes and performs recovery actions.

    Create one for each decision of a person: each `catwalk.json` is read only once.
    """

    def __init__(
        self,
        *,
        jobs: JobRepository,
        ledger: Ledger,
        announcer: Announcer,
        photos: PhotoStore,
        sqs: "SQSClient",
        queue_url: str,
        state_machine_arn: str,
        photos_bucket: str,
    ) -> None:
        self._jobs = jobs
        self._ledger = ledger
        self._announcer = announcer
        self._photos = photos
        self._folder_files: FolderCache = {}
        self._sqs = sqs
        self._queue_url = queue_url
        self._state_machine_arn = state_machine_arn
        self._photos_bucket = photos_bucket

    @classmethod
    def of(cls, stack: Catwalk) -> Self:
        """Return the recovery of a stack's jobs."""
        jobs, outputs = stack.jobs, stack.outputs
        return cls(
            jobs=jobs,
            ledger=stack.ledger,
            announcer=Announcer(EventPublisher(clients.events(), outputs["EventBusName"]), jobs),
            # It reads only folder files, which have a size limit of their own.
            photos=PhotoStore(clients.s3(), outputs["PhotosBucketName"], max_bytes=0),
            sqs=clients.sqs(),
            queue_url=outputs["SubmitQueueUrl"],
            state_machine_arn=outputs["StateMachineArn"],
            photos_bucket=outputs["PhotosBucketName"],
        )

    def quote(self, action: RecoveryAction, job: Job) -> Quote:
        """Return what an action would do for a job and what it costs. Nothing is changed."""
        match action:
            case RecoveryAction.RECOPY:
                return _quote_paid_task(job, _recopy_refusal(job))
            case RecoveryAction.RESUME:
                return _quote_paid_task(job, _resume_refusal(job))
            case RecoveryAction.REGENERATE:
                refusal = _regenerate_refusal(job)
                if refusal is None and job.settings is None:
                    return self.quote_drop(job)
                return Quote(job, credits=1, refusal=refusal)

    def perform(self, action: RecoveryAction, job: Job) -> Job | None:
        """Perform an action for a job.

        Returns:
            The job as it is now; None if it has changed since it was read.

        Raises:
            ValueError: the action is not possible; the message is the quote's refusal.

        """
        quote = self.quote(action, job)
        if quote.refusal is not None:
            raise ValueError(quote.refusal)
        if action is not RecoveryAction.REGENERATE:
            arn = execution_arn(self._state_machine_arn, job.job_id, job.attempt + 1)
            return self._continue(self._jobs.take_up(job, execution_arn=arn))
        if job.settings is None:
            return self._drop_again(job)
        return self._continue(self._jobs.start_attempt(job))

    def quote_resolution(self, resolution: Resolution, job: Job) -> Quote:
        """Return what resolving a job in this way would do and what it costs."""
        refusal = None
        if job.status is not JobStatus.SUBMIT_UNKNOWN:
            refusal = f"It is {status_of(job)}; only a job that needs you can be resolved."
        return Quote(job, credits=int(resolution is Resolution.NOT_CHARGED), refusal=refusal)

    def resolve(
        self, resolution: Resolution, job: Job, *, task_id: str | None = None
    ) -> Job | None:
        """Settle a job in SUBMIT_UNKNOWN.

        Args:
            resolution: what the person found out.
            job: the job.
            task_id: the vendor's task id; required for `Resolution.TASK`.

        Returns:
            The job as it is now; None if it has changed since it was read.

        Raises:
            ValueError: the job is in another status, or the task id is missing.

        """
        quote = self.quote_resolution(resolution, job)
        if quote.refusal is not None:
            raise ValueError(quote.refusal)
        if resolution is Resolution.TASK and not task_id:
            raise ValueError("Name the task's id.")
        now = self._jobs.get(job.job_id)
        if now is None or (now.attempt, now.status) != (job.attempt, job.status):
            return None
        # The ledger is written first: after a crash in between, the job can be resolved again.
        match resolution:
            case Resolution.TASK:
                assert task_id is not None  # checked at the start; mypy cannot see that
                arn = execution_arn(self._state_machine_arn, job.job_id, job.attempt)
                return self._continue(self._jobs.keep_task_id(job, task_id, execution_arn=arn))
            case Resolution.CHARGED:
                self._ledger.enter_lost(job)
                closed = self._jobs.close_unknown(job, _LOST)
                if closed is not None:
                    self._announcer.announce(closed)
                return closed
            case Resolution.NOT_CHARGED:
                self._ledger.strike(job)
                return self._continue(self._jobs.start_attempt(job))

    def _continue(self, job: Job | None) -> Job | None:
        """Send SubmitFunction to a job whose record was changed."""
        if job is not None:
            self._send(continue_message(job))
        return job

    def quote_drop(self, job: Job) -> Quote:
        """Quote a drop under the key of a job's photo: each of its variants may become a task."""
        try:
            folder = self._photos.nearest_folder_file(job.source_key or "", self._folder_files)
        except InputRejected as rejected:
            return Quote(job, refusal=f"Its settings are still invalid: {rejected.message}")
        return Quote(job, credits=len(folder.variants) or 1 if folder else 1)

    def _drop_again(self, job: Job) -> Job | None:
        """Send the drop of a rejected photo again: its settings may have been corrected."""
        now = self._jobs.get(job.job_id)
        if now is None or (now.attempt, now.status) != (job.attempt, job.status):
            return None
        self._send(
            drop_message(
                bucket=self._photos_bucket,
                key=job.source_key or "",
                etag=(job.photo.etag if job.photo else None) or "",
                version_id=None,
                # The attempt's name, so that two requests are one drop.
                event_id=f"regenerate-{job.execution_name}",
            )
        )
        return job

    def _send(self, body: str) -> None:
        self._sqs.send_message(QueueUrl=self._queue_url, MessageBody=body)


def outcome(before: Job, after: Job, subject: str) -> str:
    """Describe what an action did to a job, as a sentence about `subject`."""
    if after.terminal and after.status is not before.status:
        return f"{subject} is {status_of(after)} now."
    if after.terminal:
        return f"{subject} is processed again, as if it were dropped again."
    return f"{subject} continues as attempt {after.attempt}."


_LOST: Final = JobError(
    code=ErrorCode.VENDOR_PROTOCOL,
    message="The vendor charged the submit, but its task is lost. Regenerating costs another"
    " credit.",
)


def _quote_paid_task(job: Job, refusal: str | None) -> Quote:
    """Quote continuing the newest task, which is free."""
    return Quote(job, refusal=refusal, takes=None if refusal else job.newest_task)


def _recopy_refusal(job: Job) -> str | None:
    task = job.newest_task
    if task is None:
        return "It has no task to copy results from."
    if job.task_id is None and job.status not in TERMINAL:
        return _regenerate_refusal(job)
    if task.status in {JobStatus.SUCCEEDED, JobStatus.PARTIAL}:
        return None
    if task.status is JobStatus.FAILED and task.error and task.error.code in _OF_RESULTS:
        return None
    return f"It is {status_of(job)}, and its task has no results yet; resume it instead."


def _resume_refusal(job: Job) -> str | None:
    task = job.newest_task
    if task is None:
        return "It has no task to continue; regenerating costs one credit."
    if job.task_id is None and job.status not in TERMINAL:
        return _regenerate_refusal(job)
    if task.status is JobStatus.FAILED:
        return None
    if job.status is JobStatus.RUNNING:
        return "It is running; if it is stuck, reconcile resumes its task by itself."
    if job.task_id is None:
        done = STATUS_WORDS[task.status].lower()
        return f"Its task of attempt {task.attempt} is {done}; recopy its results."
    return f"It is {status_of(job)}; recopy it to copy its results again."


def _regenerate_refusal(job: Job) -> str | None:
    if job.status is JobStatus.SUBMIT_UNKNOWN:
        return "It may have been charged already; resolve it instead."
    if job.status not in TERMINAL:
        return f"It is {status_of(job)} and still in progress."
    if job.settings is None and job.dead_letter is not None:
        return "Its message is a dead letter; send it again with redrive."
    if job.settings is None and not job.dropped:
        return "Its request was invalid; correct it, then send or drop it again."
    return None


def _named(jobs: JobRepository, job_id: str) -> Job:
    job = jobs.get(job_id)
    if job is None:
        raise LookupError(f"There is no job {job_id!r}.")
    return job


def _is_below(source_key: str, folder: str) -> bool:
    wanted = folder.strip("/")
    return not wanted or f"{folder_of(source_key)}/".lstrip("/").startswith(f"{wanted}/")
