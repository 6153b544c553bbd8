"""What PollFunction does: read a task once, note what is new, say what comes next.

The state machine carries a `PollState` round its loop; `outcome` is what its Choice reads:

    wait       not finished, or nothing could be learnt: wait `wait_seconds`, then poll again
    finalize   finished; `results` holds the download URLs
    failed     the record says FAILED, and the event is out
    superseded this attempt is no longer the running one: end quietly
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from shared.announce import Announcer
from shared.clock import iso, later, parse_iso, utc_now
from shared.config import Config
from shared.jobs import JobRepository
from shared.models import ErrorCode, Job, JobError, JobStatus, Result, TaskResult
from shared.observability import log_keys, logger
from shared.vmake.client import (
    ReadTrouble,
    TaskDone,
    TaskFailed,
    TaskNotFound,
    TaskOngoing,
    VmakeClient,
)
from shared.vmake.secret import ApiKey, ApiKeyMissing

NONSENSE_SECONDS: Final = 900.0
"""How long the vendor must say without a break that it does not know a task, or that it succeeded
without results, before that is believed."""
MAX_POLLS: Final = 2_000
"""Keeps an execution (about 11 events a poll) below Step Functions' limit of 25,000 events."""
WAIT_SHARE: Final = 0.25
"""The next wait as a share of the time since submission: the lag stays in proportion."""


class Outcome(StrEnum):
    """What the state machine's Choice reads."""

    WAIT = "wait"
    FINALIZE = "finalize"
    DONE = "done"
    FAILED = "failed"
    SUPERSEDED = "superseded"


class PollState(BaseModel):
    """What the state machine carries round its loop."""

    model_config = ConfigDict(extra="ignore")

    job_id: str
    attempt: int
    task_id: str
    submitted_at: str
    deadline: str
    """ISO 8601; a task that is not finished by then is late, and FAILED `timed_out`."""
    outcome: Outcome = Outcome.WAIT
    wait_seconds: int = 1
    polls: int = 0
    not_found_since: str | None = None
    no_results_since: str | None = None
    results: tuple[TaskResult, ...] = ()
    copied: tuple[Result, ...] = ()
    """Results that an earlier round of FinalizeFunction has already copied."""
    finalize_rounds: int = 0

    def moved(self, **changes: Any) -> dict[str, Any]:  # noqa: ANN401  any of the fields
        """Return the next state as JSON."""
        return self.model_copy(update=changes).model_dump(mode="json", exclude_none=True)


def first_state(job: Job, config: Config) -> dict[str, Any]:
    """Return the input of a job's execution; the same for each call about one attempt.

    A task that was taken up again has all its time before it once more.
    """
    since = job.resumed_at or job.submitted_at
    if job.task_id is None or since is None:
        raise LookupError(f"job {job.job_id} has no task to wait for")
    state = PollState(
        job_id=job.job_id,
        attempt=job.attempt,
        task_id=job.task_id,
        submitted_at=since,
        deadline=later(parse_iso(since), config.task_timeout_seconds),
        wait_seconds=config.poll_min_seconds,
    )
    return state.moved()


def next_wait(elapsed: float, *, left: float, polls: int, config: Config) -> int:
    """Return how many whole seconds to wait before the next poll.

    Args:
        elapsed: seconds since submission.
        left: seconds to the deadline; the last poll falls on it, not far behind.
        polls: how many there were; the event limit of an execution bounds them.
        config: `PollMinSeconds`, `PollMaxSeconds`.

    """
    longest = max(config.poll_max_seconds, left / max(1, MAX_POLLS - polls))
    wait = max(config.poll_min_seconds, min(elapsed * WAIT_SHARE, longest))
    return max(1, round(min(wait, left) if left > 0 else wait))


class Poller:
    """Reads tasks."""

    def __init__(
        self,
        *,
        config: Config,
        jobs: JobRepository,
        vendor: VmakeClient,
        api_key: ApiKey,
        announcer: Announcer,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """Work with these; nothing is called yet."""
        self._config = config
        self._jobs = jobs
        self._vendor = vendor
        self._api_key = api_key
        self._announcer = announcer
        self._now = now

    def poll(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Read the task once and return the state machine's next state."""
        state = PollState.model_validate(event)
        with log_keys(job_id=state.job_id, task_id=state.task_id, attempt=state.attempt):
            return self._poll(state)

    def _poll(self, state: PollState) -> dict[str, Any]:
        try:
            read = self._vendor.read_task(state.task_id)
        except ApiKeyMissing as missing:
            read = ReadTrouble(str(missing))
        now = self._now()
        state = state.model_copy(update={"polls": state.polls + 1})
        progress = read.progress if isinstance(read, TaskOngoing) else None
        job = self._jobs.note_poll(state.job_id, state.attempt, progress=progress)
        if job is None:
            return self._not_running(state)
        match read:
            case TaskDone(results) if results:
                return state.moved(
                    outcome=Outcome.FINALIZE,
                    results=results,
                    not_found_since=None,
                    no_results_since=None,
                )
            case TaskDone():
                return self._patiently(
                    state,
                    job,
                    "no_results_since",
                    ErrorCode.VENDOR_PROTOCOL,
                    f"The vendor says that task {state.task_id} succeeded and gives no results. The"
                    " task id is kept; taking them later costs nothing.",
                )
            case TaskFailed(message):
                return self._fail(
                    state,
                    job,
                    ErrorCode.VENDOR_TASK_ERROR,
                    f"The vendor could not make the images: {message}. Try another photo or other"
                    " settings.",
                )
            case TaskNotFound(message):
                logger().warning("task not found: %s", message)
                return self._patiently(
                    state,
                    job,
                    "not_found_since",
                    ErrorCode.VENDOR_TASK_ERROR,
                    f"The vendor no longer knows task {state.task_id} ({message}).",
                )
            case ReadTrouble(message, retry_after, key_refused):
                if key_refused:
                    self._api_key.forget()
                logger().warning("nothing learnt about the task: %s", message)
                return self._wait(state, job, now, at_least=retry_after or 0)
            case TaskOngoing():
                nothing_odd = {"not_found_since": None, "no_results_since": None}
                return self._wait(state.model_copy(update=nothing_odd), job, now)

    def _patiently(
        self, state: PollState, job: Job, since_field: str, code: ErrorCode, message: str
    ) -> dict[str, Any]:
        """Believe an answer that makes no sense only after it stood for `NONSENSE_SECONDS`."""
        now = self._now()
        since = getattr(state, since_field) or iso(now)
        if (now - parse_iso(since)).total_seconds() >= NONSENSE_SECONDS:
            return self._fail(state, job, code, message)
        return self._wait(state.model_copy(update={since_field: since}), job, now)

    def _wait(
        self, state: PollState, job: Job, now: datetime, *, at_least: float = 0
    ) -> dict[str, Any]:
        left = (parse_iso(state.deadline) - now).total_seconds()
        if left <= 0:
            return self._fail(
                state,
                job,
                ErrorCode.TIMED_OUT,
                f"Task {state.task_id} was not finished within"
                f" {self._config.task_timeout_seconds} seconds (TaskTimeoutSeconds). The vendor may"
                " still finish it; the task id is kept, and taking its results costs nothing.",
            )
        elapsed = (now - parse_iso(state.submitted_at)).total_seconds()
        wait = next_wait(elapsed, left=left, polls=state.polls, config=self._config)
        return state.moved(outcome=Outcome.WAIT, wait_seconds=max(wait, round(min(at_least, left))))

    def _fail(self, state: PollState, job: Job, code: ErrorCode, message: str) -> dict[str, Any]:
        ended = self._jobs.give_up(job, JobError(code=code, message=message), copied=state.copied)
        if ended is None:
            return self._not_running(state)
        self._announcer.announce(ended)
        return state.moved(outcome=outcome_of(ended), copied=(), results=())

    def _not_running(self, state: PollState) -> dict[str, Any]:
        """Say how to end when the record has moved on without this execution."""
        job = self._jobs.get(state.job_id)
        if job is None or job.attempt != state.attempt:
            return state.moved(outcome=Outcome.SUPERSEDED)
        self._announcer.announce(job)
        ended = job.status is JobStatus.FAILED
        return state.moved(outcome=Outcome.FAILED if ended else Outcome.SUPERSEDED)


def stop_error(status: str) -> JobError:
    """Return why a job ends whose execution did not come to an end by itself.

    Args:
        status: of the execution, in Step Functions' words, or what else became of it.

    """
    by_hand = status == "ABORTED"
    said = "was stopped by hand" if by_hand else f"ended without the job ({status})"
    return JobError(
        code=ErrorCode.ABORTED if by_hand else ErrorCode.INTERNAL,
        message=f"The execution {said}. The task is paid and its id kept: taking its results costs"
        " nothing (`catwalk resume`).",
    )


def outcome_of(job: Job) -> Outcome:
    """Return how the execution of a job that has ended ends."""
    return Outcome.FAILED if job.status is JobStatus.FAILED else Outcome.DONE
