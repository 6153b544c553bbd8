"""Second chances, and what each costs: nothing here spends a credit without saying so before.

    recopy      the results once more, from the task that was paid for     free
    resume      go on with a paid task that the job had given up           free
                (both reach an earlier attempt's task, if no later attempt has one)
    regenerate  the next attempt, a new task at the vendor                 one credit
                a photo whose settings could not be used, looked at anew   one a variant
    resolve     say what became of a submit that nobody could tell of      see `Finding`

`offer` says what would be done and what it would cost; `take` does it. The record is written
first, then SubmitFunction is sent to the job; if that message is lost, reconcile sends another.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from shared.errors import InputRejected
from shared.intake.messages import continue_message, drop_message
from shared.intake.photos import FolderCache, PhotoStore
from shared.models import TERMINAL, ErrorCode, Job, JobError, JobStatus, PastAttempt
from shared.notify.announcer import Announcer
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


class Chance(StrEnum):
    """What can be done for a job."""

    RECOPY = "recopy"
    RESUME = "resume"
    REGENERATE = "regenerate"


IF_NOT_SAID: Final = {
    Chance.RECOPY: frozenset({JobStatus.PARTIAL, JobStatus.FAILED}),
    Chance.RESUME: frozenset({JobStatus.FAILED}),
    Chance.REGENERATE: frozenset({JobStatus.FAILED, JobStatus.REJECTED}),
}
"""Whom a chance is for when a folder or an article is named and no status: those without images."""


class Finding(StrEnum):
    """What a person found out about a submit whose answer was lost."""

    TASK = "task"
    """It was charged, and the task's id is known: its results are taken, free."""
    CHARGED = "charged"
    """It was charged, and its task cannot be had: FAILED, one credit lost. Free."""
    NOT_CHARGED = "not charged"
    """It was not charged: the photo is submitted again, one credit."""


@dataclass(frozen=True)
class Selection:
    """Which jobs are meant: those named, or all that match every condition given."""

    job_ids: tuple[str, ...] = ()
    statuses: frozenset[JobStatus] = frozenset()
    folder: str | None = None
    """With everything below it; empty is the whole bucket."""
    sku: str | None = None

    def matches(self, job: Job) -> bool:
        """Whether a job is meant."""
        if self.statuses and job.status not in self.statuses:
            return False
        if self.sku is not None and job.sku != self.sku:
            return False
        return self.folder is None or _is_below(job.source_key or "", self.folder)


@dataclass(frozen=True)
class Offer:
    """What would be done for a job."""

    job: Job
    credits: int = 0
    """At most."""
    refusal: str | None = None
    """Why it cannot be done, as a sentence; None if it can."""
    takes: PastAttempt | None = None
    """The attempt whose paid task is taken up, where one is."""

    @property
    def earlier(self) -> str:
        """`task … of attempt 1`, if the task is an earlier attempt's; else empty."""
        if self.takes is None or self.takes.attempt == self.job.attempt:
            return ""
        return f"task {self.takes.task_id} of attempt {self.takes.attempt}"


def select(jobs: JobRepository, selection: Selection) -> Iterator[Job]:
    """Yield the jobs that are meant, from the index that finds them soonest.

    Raises:
        LookupError: a job was named that there is not.

    """
    found: Iterable[Job]
    if selection.job_ids:
        # Each once: the second of two would be a job that has moved on.
        found = [_named(jobs, job_id) for job_id in dict.fromkeys(selection.job_ids)]
    elif selection.sku is not None:
        found = jobs.of_sku(selection.sku)
    else:
        statuses = [status for status in JobStatus if status in selection.statuses]
        # A list: taking a chance moves a job to another status, and it must not be met again there.
        found = [job for status in statuses or JobStatus for job in jobs.of_status(status)]
    return (job for job in found if selection.matches(job))


class SecondChances:
    """Does for jobs what was decided about them; one for each decision, since it reads once."""

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
        """Work with these; nothing is called yet."""
        self._jobs = jobs
        self._ledger = ledger
        self._announcer = announcer
        self._photos = photos
        self._folder_files: FolderCache = {}
        self._sqs = sqs
        self._queue_url = queue_url
        self._state_machine_arn = state_machine_arn
        self._photos_bucket = photos_bucket

    def offer(self, chance: Chance, job: Job) -> Offer:
        """Return what a chance would do for a job and cost; nothing is changed."""
        match chance:
            case Chance.RECOPY:
                return _taking(job, _no_recopy(job))
            case Chance.RESUME:
                return _taking(job, _no_resume(job))
            case Chance.REGENERATE:
                refusal = _no_regenerate(job)
                if refusal is None and job.settings is None:
                    return self._offer_drop(job)
                return Offer(job, credits=1, refusal=refusal)

    def take(self, chance: Chance, job: Job) -> Job | None:
        """Give a job this chance; None if it has moved on since it was read.

        Raises:
            ValueError: the offer says that it cannot be done.

        """
        offer = self.offer(chance, job)
        if offer.refusal is not None:
            raise ValueError(offer.refusal)
        if chance is not Chance.REGENERATE:
            arn = execution_arn(self._state_machine_arn, job.job_id, job.attempt + 1)
            return self._go_on(self._jobs.take_up(job, execution_arn=arn))
        if job.settings is None:
            return self._drop_again(job)
        return self._go_on(self._jobs.start_attempt(job))

    def offer_resolve(self, finding: Finding, job: Job) -> Offer:
        """Return what resolving a job in this way would do and cost."""
        refusal = None
        if job.status is not JobStatus.SUBMIT_UNKNOWN:
            refusal = f"It is {job.status}; only a SUBMIT_UNKNOWN job can be resolved."
        return Offer(job, credits=int(finding is Finding.NOT_CHARGED), refusal=refusal)

    def resolve(self, finding: Finding, job: Job, *, task_id: str | None = None) -> Job | None:
        """Settle a job whose submit was unknown; None if it has moved on since it was read.

        Args:
            finding: what was found out.
            job: SUBMIT_UNKNOWN.
            task_id: the vendor's, for `Finding.TASK`.

        Raises:
            ValueError: the job is in another status, or the task id is missing.

        """
        offer = self.offer_resolve(finding, job)
        if offer.refusal is not None:
            raise ValueError(offer.refusal)
        if finding is Finding.TASK and not task_id:
            raise ValueError("Name the task's id.")
        now = self._jobs.get(job.job_id)
        if now is None or (now.attempt, now.status) != (job.attempt, job.status):
            return None
        # The ledger comes first: if this dies in between, the job can still be resolved.
        match finding:
            case Finding.TASK:
                assert task_id is not None  # looked at above
                arn = execution_arn(self._state_machine_arn, job.job_id, job.attempt)
                return self._go_on(self._jobs.keep_task_id(job, task_id, execution_arn=arn))
            case Finding.CHARGED:
                self._ledger.enter_lost(job)
                closed = self._jobs.close_unknown(job, _LOST)
                if closed is not None:
                    self._announcer.announce(closed)
                return closed
            case Finding.NOT_CHARGED:
                self._ledger.strike(job)
                return self._go_on(self._jobs.start_attempt(job))

    def _go_on(self, job: Job | None) -> Job | None:
        if job is not None:
            self._send(continue_message(job))
        return job

    def _offer_drop(self, job: Job) -> Offer:
        """Say what looking at a photo anew costs: each of its variants may become a task."""
        try:
            folder = self._photos.nearest_folder_file(job.source_key or "", self._folder_files)
        except InputRejected as rejected:
            return Offer(job, refusal=f"Its settings are still to be mended: {rejected.message}")
        return Offer(job, credits=len(folder.variants) or 1 if folder else 1)

    def _drop_again(self, job: Job) -> Job | None:
        """Have a photo looked at anew whose settings could not be used: they may be mended."""
        now = self._jobs.get(job.job_id)
        if now is None or (now.attempt, now.status) != (job.attempt, job.status):
            return None
        self._send(
            drop_message(
                bucket=self._photos_bucket,
                key=job.source_key or "",
                etag=(job.photo.etag if job.photo else None) or "",
                version_id=None,
                # The name of the attempt: asked for twice, it is still one drop.
                event_id=f"regenerate-{job.execution_name}",
            )
        )
        return job

    def _send(self, body: str) -> None:
        self._sqs.send_message(QueueUrl=self._queue_url, MessageBody=body)


_LOST: Final = JobError(
    code=ErrorCode.VENDOR_PROTOCOL,
    message="The submit was charged, as was found at the vendor, and its task cannot be had."
    " Regenerating costs another credit.",
)


def _taking(job: Job, refusal: str | None) -> Offer:
    """Offer to go on with the newest task, free, unless there is a reason against it."""
    return Offer(job, refusal=refusal, takes=None if refusal else job.newest_task)


def _no_recopy(job: Job) -> str | None:
    task = job.newest_task
    if task is None:
        return "It has no task whose results could be copied."
    if job.task_id is None and job.status not in TERMINAL:
        return _no_regenerate(job)
    if task.status in {JobStatus.SUCCEEDED, JobStatus.PARTIAL}:
        return None
    if task.status is JobStatus.FAILED and task.error and task.error.code in _OF_RESULTS:
        return None
    return f"It is {job.status} and its task gave no results yet; resume it instead."


def _no_resume(job: Job) -> str | None:
    task = job.newest_task
    if task is None:
        return "It has no task to go on with; regenerating costs one credit."
    if job.task_id is None and job.status not in TERMINAL:
        return _no_regenerate(job)
    if task.status is JobStatus.FAILED:
        return None
    if job.status is JobStatus.RUNNING:
        return "It is RUNNING; if it stands still, reconcile takes its task up by itself."
    if job.task_id is None:
        return f"Its task of attempt {task.attempt} is {task.status}; recopy its results."
    return f"It is {job.status}; to copy its results once more, recopy it."


def _no_regenerate(job: Job) -> str | None:
    if job.status is JobStatus.SUBMIT_UNKNOWN:
        return "It may have been charged already; resolve it instead."
    if job.status not in TERMINAL:
        return f"It is {job.status}, and still under way."
    if job.settings is None and job.dead_letter is not None:
        return "Its message is a dead letter; send that again (redrive)."
    if job.settings is None and not job.dropped:
        return "Its request could not be read or used; send or drop it again, mended."
    return None


def _named(jobs: JobRepository, job_id: str) -> Job:
    job = jobs.get(job_id)
    if job is None:
        raise LookupError(f"There is no job {job_id!r}.")
    return job


def _is_below(source_key: str, folder: str) -> bool:
    wanted = folder.strip("/")
    return not wanted or f"{folder_of(source_key)}/".lstrip("/").startswith(f"{wanted}/")
