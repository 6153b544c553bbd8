"""The words of the domain: photo, settings, job, result, and what can be wrong with them.

These models are what the record in JobsTable holds (snake_case) and what the events on
CatwalkBus carry (camelCase). They know nothing of AWS or of the vendor's JSON.
"""

import hashlib
import json
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class SceneType(StrEnum):
    """The background of a result, in the vendor's words (source: the vendor's quick start)."""

    ORIGINAL = "original"
    PRESET = "preset"
    COLOR = "color"
    NONE = "none"


class JobStatus(StrEnum):
    """Where a job is. It only ever moves down this list, except into a new attempt."""

    ACCEPTED = "ACCEPTED"
    SUBMITTING = "SUBMITTING"
    SUBMIT_UNKNOWN = "SUBMIT_UNKNOWN"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    PARTIAL = "PARTIAL"
    FAILED = "FAILED"
    REJECTED = "REJECTED"


class ReviewState(StrEnum):
    """What a person has decided about the results of an attempt."""

    TO_REVIEW = "to_review"
    APPROVED = "approved"
    REFUSED = "refused"


TERMINAL: Final = frozenset(
    {JobStatus.SUCCEEDED, JobStatus.PARTIAL, JobStatus.FAILED, JobStatus.REJECTED}
)
"""Statuses that nothing but a new attempt leaves."""


REVIEWABLE: Final = frozenset({JobStatus.SUCCEEDED, JobStatus.PARTIAL})
"""Statuses of a job whose results can be reviewed."""


class ErrorCode(StrEnum):
    """Stable values of `error.code`, documented in docs/photos.md."""

    # REJECTED: bad input; the vendor was never called.
    EMPTY_FILE = "empty_file"
    UNSUPPORTED_FORMAT = "unsupported_format"
    CORRUPT_IMAGE = "corrupt_image"
    TOO_LARGE = "too_large"
    BAD_SETTINGS = "bad_settings"
    BAD_REQUEST_EVENT = "bad_request_event"
    PHOTO_MISSING = "photo_missing"
    PHOTO_UNREADABLE = "photo_unreadable"
    MASK_MISMATCH = "mask_mismatch"
    # FAILED and PARTIAL.
    VENDOR_REJECTED = "vendor_rejected"
    VENDOR_TASK_ERROR = "vendor_task_error"
    VENDOR_PROTOCOL = "vendor_protocol"
    TIMED_OUT = "timed_out"
    RESULT_UNAVAILABLE = "result_unavailable"
    RESULT_INVALID = "result_invalid"
    RESULT_BLOCKED = "result_blocked"
    RESULT_TOO_LARGE = "result_too_large"
    ABORTED = "aborted"
    INTERNAL = "internal"
    # SUBMIT_UNKNOWN.
    SUBMIT_UNKNOWN = "submit_unknown"


MAX_MESSAGE: Final = 1_000
"""Characters. A vendor's message, or a value that a request repeats, may be as long as it likes;
a record and the event about it may not."""


def _shortened(message: str) -> str:
    return message if len(message) <= MAX_MESSAGE else f"{message[: MAX_MESSAGE - 1]}…"


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True
    )


class JobError(_Model):
    """Why a job is not (wholly) successful."""

    code: ErrorCode
    message: Annotated[str, AfterValidator(_shortened)]
    """A sentence for a person: what was wrong with which value, and what to do."""


class Settings(_Model):
    """One variant: what the vendor is asked to make of a photo."""

    model_id: str
    scene_type: SceneType
    scene_id: str | None = None
    color: str | None = None
    """`#rrggbb`, lower case."""
    batch_size: int
    """How many results the task returns, 1 to 4."""
    mask: str | None = None
    """The key of the mask in PhotosBucket, or its URL."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Fields that go into the vendor's request body as they are."""

    @property
    def scene(self) -> str:
        """The scene as it stands in result keys: `original`, `preset-035`, `color-ff0000`."""
        match self.scene_type:
            case SceneType.PRESET:
                return f"preset-{self.scene_id}"
            case SceneType.COLOR:
                return f"color-{(self.color or '').removeprefix('#')}"
            case _:
                return self.scene_type.value


class Photo(_Model):
    """The source image: an object in PhotosBucket, or a URL."""

    bucket: str | None = None
    key: str | None = None
    etag: str | None = None
    version_id: str | None = None
    bytes: int | None = None
    content_type: str | None = None
    width: int | None = None
    """Pixels, as the file's header declares them."""
    height: int | None = None
    url: str | None = None


class Result(_Model):
    """One generated image, as it lies in ResultsBucket."""

    index: int
    """1 to 4, in the vendor's order."""
    bucket: str
    key: str
    width: int
    height: int
    bytes: int
    sha256: str
    content_type: str


class TaskResult(_Model):
    """One generated image, as it lies at the vendor."""

    index: int
    url: str
    width: int | None = None
    height: int | None = None
    bytes: int | None = None


class Review(_Model):
    """A person's decision about the results of one attempt."""

    state: ReviewState = ReviewState.TO_REVIEW
    """Of the job as a whole; TO_REVIEW while only single results are marked."""
    chosen: tuple[int, ...] = ()
    """Indexes of the results that are wanted."""
    refused: tuple[int, ...] = ()
    """Indexes of the results that are not."""
    by: str
    """Who decided: the name of an AWS identity, or of this machine's user."""
    at: str
    """ISO 8601."""
    revision: int
    """Counts the changes of this attempt's review, from 1."""


class PastAttempt(_Model):
    """What became of an earlier attempt of the same job."""

    attempt: int
    status: JobStatus
    task_id: str | None = None
    error: JobError | None = None
    finished_at: str | None = None
    results: tuple[Result, ...] = ()
    """What it had copied; a later attempt may have replaced the objects by newer versions."""
    dead_letter: str | None = None
    """The id of the message by which it failed."""
    review: Review | None = None
    """What was decided about its results."""


class Waiting(_Model):
    """Why a photo is not at the vendor yet, and when it is looked at again."""

    until: str
    """ISO 8601; its message comes again about then."""
    reason: str


class Refusals(_Model):
    """Refusals of this attempt that may be about the photo or about the account."""

    count: int
    evidence: int
    """How often another photo's success showed that they are about the photo."""
    until: str | None = None
    """ISO 8601; the photo is not tried before, though others are."""


class Job(_Model):
    """One photo with one variant: the record. Times are ISO 8601, UTC, milliseconds."""

    job_id: str
    attempt: int = 1
    status: JobStatus
    source_key: str | None = None
    photo: Photo | None = None
    sku: str | None = None
    request_id: str | None = None
    dropped: bool = False
    """Whether a photo that was dropped made it; else an event asked for it."""
    settings: Settings | None = None
    task_id: str | None = None
    progress: int = 0
    """Per cent, as the vendor last said."""
    polls: int = 0
    credits: int = 0
    """What this job has certainly cost so far, all attempts together."""
    arrived_at: str | None = None
    """When the photo, or the request, that started this attempt arrived, as its event says."""
    created_at: str
    submitted_at: str | None = None
    resumed_at: str | None = None
    """When this attempt took up the task that an earlier one had paid for."""
    finished_at: str | None = None
    updated_at: str
    execution_arn: str | None = None
    results: tuple[Result, ...] = ()
    error: JobError | None = None
    history: tuple[PastAttempt, ...] = ()
    review: Review | None = None
    """What a person decided about this attempt's results; None until somebody does."""

    # Bookkeeping that the record holds and the events leave out.
    lease_until: str | None = Field(default=None, exclude=True)
    """While SUBMITTING: until when the invocation that wrote it may still be at work."""
    lease_token: str | None = Field(default=None, exclude=True)
    """Names the lease that was written last in this attempt; no two leases have the same."""
    unsent: bool = Field(default=False, exclude=True)
    """While SUBMITTING: the last POST certainly cost nothing and may be repeated."""
    refusals: Refusals | None = Field(default=None, exclude=True)
    """While SUBMITTING and unsent: what is known of the refusals so far."""
    waiting: Waiting | None = Field(default=None, exclude=True)
    """While ACCEPTED, or SUBMITTING and unsent: what the photo waits for."""
    held_at: str | None = Field(default=None, exclude=True)
    """When the daily limit, or a pause that has an alarm of its own, was last in the way."""
    dead_letter: str | None = Field(default=None, exclude=True)
    """The id of a message about this job that lies in the dead-letter queue."""
    dead_body: str | None = Field(default=None, exclude=True)
    """That message itself, where the record was made for it and it is not too long."""
    announced: str | None = Field(default=None, exclude=True)
    """The last status that an event on CatwalkBus has told."""
    mask: Photo | None = Field(default=None, exclude=True)
    """The version of the mask in PhotosBucket that the job was decided with."""
    triggers: frozenset[str] = Field(default=frozenset(), exclude=True)
    """Which drops or requests were already taken into account; see `JobRepository.claim`."""

    @property
    def execution_name(self) -> str:
        """The execution's name: one attempt can never run twice."""
        return f"{self.job_id}-{self.attempt}"

    @property
    def as_past(self) -> PastAttempt:
        """The present attempt, as `history` keeps it once the next one has started."""
        return PastAttempt(
            attempt=self.attempt,
            status=self.status,
            task_id=self.task_id,
            error=self.error,
            finished_at=self.finished_at,
            results=self.results,
            dead_letter=self.dead_letter,
            review=self.review,
        )

    @property
    def review_state(self) -> ReviewState | None:
        """What was decided about the results; None if there are none to decide about."""
        if self.status not in REVIEWABLE:
            return None
        return ReviewState.TO_REVIEW if self.review is None else self.review.state

    @property
    def wanted_results(self) -> tuple[Result, ...]:
        """The chosen results; without a choice, all that were not refused."""
        if self.review is None:
            return self.results
        if self.review.chosen:
            return tuple(r for r in self.results if r.index in self.review.chosen)
        return tuple(r for r in self.results if r.index not in self.review.refused)

    @property
    def newest_task(self) -> PastAttempt | None:
        """The latest attempt that has a task, the present one included."""
        attempts = (*self.history, self.as_past)
        return next((past for past in reversed(attempts) if past.task_id is not None), None)

    @property
    def free_task(self) -> PastAttempt | None:
        """The newest task, if a drop takes it up before it pays for a new one.

        Not if the vendor says that the task failed or is gone, and not if it was taken up before
        and failed in the same way: then only a new task can give images.
        """
        task = self.newest_task
        if task is None or task.status is not JobStatus.FAILED or task.error is None:
            return None
        code = task.error.code
        tried = any(
            (past.task_id, past.status) == (task.task_id, JobStatus.FAILED)
            and past.error is not None
            and past.error.code is code
            for past in self.history
            if past.attempt < task.attempt
        )
        return None if tried or code is ErrorCode.VENDOR_TASK_ERROR else task

    @property
    def terminal(self) -> bool:
        """Whether nothing but a new attempt changes this job."""
        return self.status in TERMINAL

    @property
    def dead_lettered(self) -> bool:
        """Whether it failed only because its message lies in the dead-letter queue."""
        internal = self.error is not None and self.error.code is ErrorCode.INTERNAL
        never_sent = self.status is JobStatus.FAILED and self.task_id is None
        return never_sent and internal and self.dead_letter is not None

    @property
    def sendable(self) -> bool:
        """Whether this attempt has certainly cost nothing and is still to be sent."""
        sendable = self.status is JobStatus.SUBMITTING and self.unsent
        return self.status is JobStatus.ACCEPTED or sendable


def job_id_of(
    *,
    bucket: str,
    key: str,
    etag: str,
    settings: Any,  # noqa: ANN401  any JSON: broken settings have an identity too
    mask_etag: str | None,
    request_id: str | None,
) -> str:
    """Return the identity of a job: 32 hex digits that the same request always gives again.

    The same photo bytes (ETag) under the same key with the same settings are the same job;
    other bytes, another mask, other settings or another `requestId` are another one.
    """
    identity = [bucket, key, etag, settings, mask_etag, request_id]
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]
