"""PollFunction's work: read a task once, record its progress, return the next state."""

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from shared.clock import iso, parse_iso, utc_now
from shared.config import PollConfig
from shared.models import ErrorCode, Job, JobError, JobStatus
from shared.notify.announcer import Announcer
from shared.observability import keys_of, log_keys, logger
from shared.polling.schedule import PollSchedule
from shared.polling.state import PollOutcome, PollState, outcome_of
from shared.records.jobs import JobRepository
from shared.vmake.client import VmakeClient
from shared.vmake.outcomes import (
    ReadTrouble,
    TaskDone,
    TaskFailed,
    TaskNotFound,
    TaskOngoing,
    TaskRead,
)
from shared.vmake.secret import ApiKey, ApiKeyMissing

NONSENSE_SECONDS: Final = 900.0
"""The vendor must answer for this long that it does not know a task, or that a task succeeded
without results. Only then does the job fail."""
_MOST_DOUBLINGS: Final = 12


class Poller:
    """Reads tasks."""

    def __init__(
        self,
        *,
        config: PollConfig,
        jobs: JobRepository,
        vendor: VmakeClient,
        api_key: ApiKey,
        announcer: Announcer,
        schedule: PollSchedule,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._config = config
        self._jobs = jobs
        self._vendor = vendor
        self._api_key = api_key
        self._announcer = announcer
        self._schedule = schedule
        self._now = now

    def poll(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Read the task once and return the state machine's next state."""
        state = PollState.model_validate(event)
        with log_keys(job_id=state.job_id, task_id=state.task_id, attempt=state.attempt):
            try:
                return self._poll(state)
            except Exception:
                # Lambda's own report of the error does not name the job.
                logger().exception("the poll failed")
                raise

    def _poll(self, state: PollState) -> dict[str, Any]:
        try:
            read = self._vendor.read_task(state.task_id)
        except ApiKeyMissing as missing:
            read = ReadTrouble(str(missing))
        now = self._now()
        state = state.model_copy(update={"polls": state.polls + 1})
        progress = read.progress if isinstance(read, TaskOngoing) else None
        job = self._jobs.note_poll(
            state.job_id, state.attempt, progress=None if progress is None else int(progress)
        )
        if job is None:
            return self._not_running(state)
        with log_keys(**keys_of(job)):
            following = self._decide(state, job, read, now)
            plan = {name: following.get(name) for name in ("outcome", "wait_seconds", "polls")}
            logger().info("polled", extra={"progress": progress, **plan})
        return following

    def _decide(self, state: PollState, job: Job, read: TaskRead, now: datetime) -> dict[str, Any]:
        match read:
            case TaskDone(results) if results:
                self._schedule.learn(job, state, elapsed=_since(state, now))
                return state.moved(
                    outcome=PollOutcome.FINALIZE,
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
                    f" settings.{self._config.delivery_advice(job.photo)}",
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
            case ReadTrouble(message, retry_after, key_refused, throttled):
                if key_refused:
                    self._api_key.forget()
                if throttled:
                    self._schedule.throttled()
                logger().warning("nothing learnt about the task: %s", message)
                return self._again(state, job, now, retry_after or 0)
            case TaskOngoing():
                seen = state.after_poll(_since(state, now), read.progress)
                nothing_odd = {"not_found_since": None, "no_results_since": None}
                return self._wait(seen.model_copy(update=nothing_odd), job, now)

    def _patiently(
        self, state: PollState, job: Job, since_field: str, code: ErrorCode, message: str
    ) -> dict[str, Any]:
        """Fail the job if a senseless answer has repeated for `NONSENSE_SECONDS`; else wait."""
        now = self._now()
        since = getattr(state, since_field) or iso(now)
        if (now - parse_iso(since)).total_seconds() >= NONSENSE_SECONDS:
            return self._fail(state, job, code, message)
        return self._again(state.model_copy(update={since_field: since}), job, now)

    def _again(
        self, state: PollState, job: Job, now: datetime, retry_after: float = 0
    ) -> dict[str, Any]:
        """Wait after a poll that learnt nothing: briefly at first, twice as long each time.

        The planner assumes that each poll found the task not ended. After a poll that would have
        found the end, it would therefore plan a long wait.
        """
        state = state.model_copy(update={"troubles": state.troubles + 1})
        soon = 2.0 ** min(state.troubles, _MOST_DOUBLINGS)
        return self._wait(state, job, now, at_least=retry_after, at_most=soon)

    def _wait(
        self,
        state: PollState,
        job: Job,
        now: datetime,
        *,
        at_least: float = 0,
        at_most: float = math.inf,
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
        wait = self._schedule.next_wait(
            job,
            state,
            elapsed=_since(state, now),
            left=left,
            between=(min(at_least, left), at_most),
        )
        return state.moved(outcome=PollOutcome.WAIT, wait_seconds=wait)

    def _fail(self, state: PollState, job: Job, code: ErrorCode, message: str) -> dict[str, Any]:
        ended = self._jobs.give_up(job, JobError(code=code, message=message), copied=state.copied)
        if ended is None:
            return self._not_running(state)
        self._announcer.announce(ended)
        return state.moved(outcome=outcome_of(ended), copied=(), results=())

    def _not_running(self, state: PollState) -> dict[str, Any]:
        """Return the last state if the record is no longer RUNNING in this attempt."""
        job = self._jobs.get(state.job_id)
        if job is None or job.attempt != state.attempt:
            return state.moved(outcome=PollOutcome.SUPERSEDED)
        self._announcer.announce(job)
        ended = job.status is JobStatus.FAILED
        return state.moved(outcome=PollOutcome.FAILED if ended else PollOutcome.SUPERSEDED)


def _since(state: PollState, now: datetime) -> float:
    """Return the seconds since submission."""
    return (now - parse_iso(state.submitted_at)).total_seconds()
