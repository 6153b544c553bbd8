"""The models of the domain: photo, settings, job, result and error.

The record in JobsTable holds these models in snake_case, and the events on CatwalkBus carry them in
camelCase. This module knows nothing of AWS or of the vendor's JSON.
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
    """The status of a job. Within an attempt it only moves down this list.

    One write moves up: a task id that arrives after SUBMIT_UNKNOWN makes the job RUNNING.
    """

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
"""Only a new attempt changes a job in one of these statuses."""


REVIEWABLE: Final = frozenset({JobStatus.SUCCEEDED, JobStatus.PARTIAL})
"""Statuses of a job whose results can be reviewed."""


class ErrorCode(StrEnum):
    """Stable values of `error.code`, documented in docs/photos.md."""

    # REJECTED: bad input; the vendor was not called.
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
"""Characters of a message in a record or an event; longer ones are cut off. A vendor's message, or
a value that a message repeats, may have any length."""


def _shortened(message: str) -> str:
    return message if len(message) <= MAX_MESSAGE else f"{message[: MAX_MESSAGE - 1]}…"


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True
    )


class JobError(_Model):
    """Why a job failed, was rejected, or is incomplete."""

    code: ErrorCode
    message: Annotated[str, AfterValidator(_shortened)]
    """A sentence for a person: what was wrong with which value, and what to do."""


_FIRST_FIELDS: Final = frozenset(
    {"model_id", "scene_type", "scene_id", "color", "batch_size", "mask", "extra"}
)
"""Of `Settings`, see `Settings.identity`."""


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
    """Further fields for the vendor's request body; they are added unchanged."""

    @property
    def identity(self) -> dict[str, Any]:
        """The part of a job's id that the settings are; the mask has a part of its own.

        If it changed, a photo that is dropped again would become a new job and cost a second
        credit. So the fields of the first version are always in it, and a field that was added
        later only where it has a value.
        """
        later = set(type(self).model_fields) - _FIRST_FIELDS
        without = {name for name in later if getattr(self, name) is None} | {"mask"}
        return self.model_dump(mode="json", exclude=without)

    @property
    def scene(self) -> str:
        """The scene in the form of result keys: `original`, `preset-035`, `color-ff0000`."""
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
    """Pixels."""
    url: str | None = None


class Result(_Model):
    """One generated image in ResultsBucket."""

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
    """One generated image at the vendor."""

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

    @property
    def marked(self) -> bool:
        """Whether any result is chosen or refused."""
        return bool(self.chosen or self.refused)


class PastAttempt(_Model):
    """An earlier attempt of the same job."""

    attempt: int
    status: JobStatus
    task_id: str | None = None
    error: JobError | None = None
    finished_at: str | None = None
    results: tuple[Result, ...] = ()
    """The results that it copied. A later attempt may have written newer versions of the
    objects."""
    dead_letter: str | None = None
    """The id of the dead letter that made it fail."""
    review: Review | None = None
    """What was decided about its results."""


class Waiting(_Model):
    """Why a photo was not submitted yet, and when it is tried again."""

    until: str
    """ISO 8601; its message is delivered again at about this time."""
    reason: str
    """A sentence for a person."""


class Refusals(_Model):
    """The refusals of this attempt that may be about the photo or about the account."""

    count: int
    evidence: int
    """How often another photo's success showed that the refusals are about this photo."""
    until: str | None = None
    """ISO 8601; this photo is not sent before, while other photos are."""


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
    """Whether a dropped photo asked for the job; else an event did."""
    settings: Settings | None = None
    task_id: str | None = None
    progress: int = 0
    """Per cent, from the vendor's last answer."""
    polls: int = 0
    credits: int = 0
    """The credits that all attempts of this job have certainly cost."""
    arrived_at: str | None = None
    """When the photo or the request of this attempt arrived, by the time of its event."""
    created_at: str
    submitted_at: str | None = None
    resumed_at: str | None = None
    """When this attempt took up the paid task of an earlier one."""
    finished_at: str | None = None
    updated_at: str
    execution_arn: str | None = None
    results: tuple[Result, ...] = ()
    error: JobError | None = None
    history: tuple[PastAttempt, ...] = ()
    review: Review | None = None
    """A person's review of this attempt's results; None if there is none."""

    # The record holds the following attributes; the events leave them out.
    lease_until: str | None = Field(default=None, exclude=True)
    """While SUBMITTING: the end of the lease. Until then the invocation may still send the POST."""
    lease_token: str | None = Field(default=None, exclude=True)
    """Identifies the last lease of this attempt; it is unique."""
    unsent: bool = Field(default=False, exclude=True)
    """While SUBMITTING: whether the last POST certainly cost nothing and may be repeated."""
    refusals: Refusals | None = Field(default=None, exclude=True)
    """While SUBMITTING and unsent: the refusals so far."""
    waiting: Waiting | None = Field(default=None, exclude=True)
    """While ACCEPTED, or SUBMITTING and unsent: why the photo waits."""
    held_at: str | None = Field(default=None, exclude=True)
    """When the daily limit, or a pause that has an alarm of its own, last held the photo back."""
    dead_letter: str | None = Field(default=None, exclude=True)
    """The id of a message about this job that is in the dead-letter queue."""
    dead_body: str | None = Field(default=None, exclude=True)
    """The body of that message, if the record was made for it and it is not too long."""
    announced: str | None = Field(default=None, exclude=True)
    """The last status for which an event was published on CatwalkBus."""
    mask: Photo | None = Field(default=None, exclude=True)
    """The version of the mask in PhotosBucket with which the job was decided."""
    triggers: frozenset[str] = Field(default=frozenset(), exclude=True)
    """The drops and requests that are already noted; see `JobRepository.claim`."""

    @property
    def execution_name(self) -> str:
        """The execution's name. Step Functions starts a name once, so an attempt runs once."""
        return f"{self.job_id}-{self.attempt}"

    @property
    def as_past(self) -> PastAttempt:
        """The present attempt in the form that `history` keeps."""
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
    def as_reviewed(self) -> "Job | None":
        """The job as it was in its newest attempt that has a review; None if none has."""
        if self.review is not None:
            return self
        for place in reversed(range(len(self.history))):
            past = self.history[place]
            if past.review is None:
                continue
            then = {name: getattr(past, name) for name in PastAttempt.model_fields}
            # These belong to the present attempt; history does not keep them.
            unknown = {"submitted_at": None, "resumed_at": None, "execution_arn": None}
            return self.model_copy(
                update={**then, **unknown, "progress": 100, "history": self.history[:place]}
            )
        return None

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
        """The latest attempt that has a task; this may be the present one."""
        attempts = (*self.history, self.as_past)
        return next((past for past in reversed(attempts) if past.task_id is not None), None)

    @property
    def free_task(self) -> PastAttempt | None:
        """The newest task, if a new drop takes it up instead of paying for a new one.

        It is None if the vendor says that the task failed or is gone. It is also None if the task
        was taken up before and failed with the same error: then only a new task can give images.
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
        """Whether only a new attempt can change this job."""
        return self.status in TERMINAL

    @property
    def dead_lettered(self) -> bool:
        """Whether it failed only because its message is a dead letter."""
        internal = self.error is not None and self.error.code is ErrorCode.INTERNAL
        never_sent = self.status is JobStatus.FAILED and self.task_id is None
        return never_sent and internal and self.dead_letter is not None

    @property
    def sendable(self) -> bool:
        """Whether the POST of this attempt may be sent: it has certainly cost nothing so far."""
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
    """Return the id of a job: 32 hex digits, always the same for the same arguments.

    The same photo bytes (ETag) under the same key with the same settings are the same job. Other
    bytes, another mask, other settings or another `requestId` are another job.
    """
    identity = [bucket, key, etag, settings, mask_etag, request_id]
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]
