"""What PollFunction does: read a task once, note what is new, say what comes next.

The state machine carries a `PollState` round its loop; `outcome` is what its Choice reads:

    wait       not finished, or nothing could be learnt: wait `wait_seconds`, then poll again
    finalize   finished; `results` holds the download URLs
    failed     the record says FAILED, and the event is out
    superseded this attempt is no longer the running one: end quietly
"""

import math
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict

from shared.clock import iso, later, parse_iso, utc_now
from shared.config import Config
from shared.models import ErrorCode, Job, JobError, JobStatus, Result, TaskResult
from shared.notify.announcer import Announcer
from shared.observability import keys_of, log_keys, logger
from shared.polling import planner
from shared.polling.planner import Look
from shared.polling.rate_limit import PollBudget
from shared.polling.task_history import ExperienceStore, kind_of
from shared.records.jobs import JobRepository
from shared.vmake.client import (
    ReadTrouble,
    TaskDone,
    TaskFailed,
    TaskNotFound,
    TaskOngoing,
    TaskRead,
    VmakeClient,
)
from shared.vmake.secret import ApiKey, ApiKeyMissing

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

NONSENSE_SECONDS: Final = 900.0
"""How long the vendor must say without a break that it does not know a task, or that it succeeded
without results, before that is believed."""
MAX_POLLS: Final = 2_000
"""Keeps an execution (about 11 events a poll) below Step Functions' limit of 25,000 events."""
FREE_POLLS: Final = 500
"""So many come when the planner wants them; the others are spread over the time that is left."""
UNPLANNED: Final = 0.25
"""The share of a task's age that is waited where no look can be planned."""
_LATE: Final = 2
_LATE_SECONDS: Final = 60.0
"""A look that comes so much later than it was planned teaches nothing."""
_MOST_DOUBLINGS: Final = 12
MOST_LOOKS: Final = 24
"""Looks that a job's state carries; a payload of Step Functions holds 256 KiB at most."""


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
    looks: tuple[Look, ...] = ()
    """What earlier polls saw of the progress; the oldest and the latest."""
    not_ended_by: float = 0.0
    """Seconds from `submitted_at` to the last poll that found the task not ended."""
    troubles: int = 0
    """Polls in a row that learnt nothing."""
    not_found_since: str | None = None
    no_results_since: str | None = None
    results: tuple[TaskResult, ...] = ()
    copied: tuple[Result, ...] = ()
    """Results that an earlier round of FinalizeFunction has already copied."""
    finalize_rounds: int = 0

    def moved(self, **changes: Any) -> dict[str, Any]:  # noqa: ANN401  any of the fields
        """Return the next state as JSON."""
        return self.model_copy(update=changes).model_dump(mode="json", exclude_none=True)


def first_state(job: Job, config: Config, pace: "Pace") -> dict[str, Any]:
    """Return the input of a job's execution.

    A task that was taken up again has all its time before it once more, and may well have ended:
    it is looked at soon. So is one whose execution is started late, for want of which it was
    found standing still.
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
    )
    elapsed = pace.age(since)
    left = config.task_timeout_seconds - elapsed
    wait = pace.next_wait(job, state, elapsed=elapsed, left=left)
    return state.moved(wait_seconds=wait)


class Pace:
    """How long to wait: what earlier tasks took, what this one shows, and the stack's budget."""

    def __init__(
        self,
        dynamodb: "DynamoDBClient",
        config: Config,
        *,
        now: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep what is learnt and planned in JobsTable; nothing is called yet."""
        table = config.jobs_table
        self._config = config
        self._now = now
        self._experiences = ExperienceStore(dynamodb, table, monotonic=monotonic)
        self._budget = PollBudget(dynamodb, table, per_second=config.polls_per_second, now=now)

    def next_wait(
        self,
        job: Job,
        state: PollState,
        *,
        elapsed: float,
        left: float,
        between: tuple[float, float] = (0, math.inf),
    ) -> int:
        """Return how many whole seconds to wait before the next poll.

        Args:
            job: whose task it is; tasks of its scene type and batch size are what it is
                expected to be like.
            state: `looks` and `polls` are those so far.
            elapsed: seconds since submission.
            left: seconds to the deadline; the last poll falls on it, not far behind.
            between: the wait is no shorter and no longer, where the bounds leave a choice.

        """
        if job.resumed_at is not None and not state.polls:
            return self._in_budget(max(1, self._config.poll_min_seconds))
        bounds = bounds_of(left, state.polls, self._config)
        wait = self._planned(job, state, elapsed, bounds)
        least, most = between
        wait = max(math.ceil(bounds.shortest), round(max(least, min(wait, most))))
        return self._in_budget(max(1, min(wait, round(left))))

    def age(self, since: str) -> float:
        """Return the seconds since a moment (ISO 8601), or 0 if it is yet to come."""
        return max(0.0, (self._now() - parse_iso(since)).total_seconds())

    def _planned(self, job: Job, state: PollState, elapsed: float, bounds: planner.Bounds) -> float:
        try:
            experience = self._experiences.of(kind_of(job.settings))
            return planner.next_wait(experience, elapsed, state.looks, bounds)
        # The task is paid for: what was learnt of others is of help, and must never be in its way.
        except Exception:  # noqa: BLE001  see above; it is logged, and there is a plain wait
            logger().exception("the next look is not planned, it goes by the task's age")
            return min(bounds.longest, max(bounds.shortest, elapsed * UNPLANNED))

    def _in_budget(self, wait: int) -> int:
        try:
            return self._budget.reserve(wait)
        except Exception:  # noqa: BLE001  as above: a read more than counted does little harm
            logger().exception("a read is not counted")
            return wait

    def throttled(self) -> None:
        """Have all jobs of the stack look less often: the vendor refuses reads."""
        try:
            self._budget.cut()
        except Exception:  # noqa: BLE001  as above: the next refusal tries again
            logger().exception("the poll budget is not cut")

    def learn(self, job: Job, state: PollState, *, elapsed: float) -> None:
        """Have later tasks profit from one that was just found to have succeeded, if possible."""
        if job.resumed_at is not None or state.finalize_rounds:
            return  # it ended while nobody looked, or was learnt from already
        unseen = elapsed - state.not_ended_by
        if unseen > _LATE * state.wait_seconds + _LATE_SECONDS:
            return  # nobody looked when a look was planned: its end may be anywhere in between
        kind = kind_of(job.settings)
        try:
            taught = planner.lesson(
                self._experiences.of(kind), state.looks, after=state.not_ended_by, by=elapsed
            )
            self._experiences.add(kind, taught)
        except Exception:  # noqa: BLE001  as above: its results come first, others teach the same
            logger().exception("what the task took was not learnt")


def bounds_of(left: float, polls: int, config: Config) -> planner.Bounds:
    """Return what the next wait must keep to.

    Args:
        left: seconds to the deadline.
        polls: how many there were; the event limit of an execution bounds them.
        config: `PollMinSeconds`, `PollMaxSeconds`, `PollTradeSeconds`.

    """
    shortest = float(config.poll_min_seconds)
    if polls >= FREE_POLLS:
        shortest = max(shortest, left / max(1, MAX_POLLS - polls))
    longest = max(shortest, float(config.poll_max_seconds))
    return planner.Bounds(shortest, longest, config.poll_trade_seconds)


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
        pace: Pace,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """Work with these; nothing is called yet."""
        self._config = config
        self._jobs = jobs
        self._vendor = vendor
        self._api_key = api_key
        self._announcer = announcer
        self._pace = pace
        self._now = now

    def poll(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Read the task once and return the state machine's next state."""
        state = PollState.model_validate(event)
        with log_keys(job_id=state.job_id, task_id=state.task_id, attempt=state.attempt):
            try:
                return self._poll(state)
            except Exception:
                # What Lambda itself writes of it does not say which job it is about.
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
            told = {name: following.get(name) for name in ("outcome", "wait_seconds", "polls")}
            logger().info("polled", extra={"progress": progress, **told})
        return following

    def _decide(self, state: PollState, job: Job, read: TaskRead, now: datetime) -> dict[str, Any]:
        match read:
            case TaskDone(results) if results:
                self._pace.learn(job, state, elapsed=_since(state, now))
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
                    self._pace.throttled()
                logger().warning("nothing learnt about the task: %s", message)
                return self._again(state, job, now, retry_after or 0)
            case TaskOngoing():
                seen = _with_look(state, _since(state, now), read.progress)
                nothing_odd = {"not_found_since": None, "no_results_since": None}
                return self._wait(seen.model_copy(update=nothing_odd), job, now)

    def _patiently(
        self, state: PollState, job: Job, since_field: str, code: ErrorCode, message: str
    ) -> dict[str, Any]:
        """Believe an answer that makes no sense only after it stood for `NONSENSE_SECONDS`."""
        now = self._now()
        since = getattr(state, since_field) or iso(now)
        if (now - parse_iso(since)).total_seconds() >= NONSENSE_SECONDS:
            return self._fail(state, job, code, message)
        return self._again(state.model_copy(update={since_field: since}), job, now)

    def _again(
        self, state: PollState, job: Job, now: datetime, retry_after: float = 0
    ) -> dict[str, Any]:
        """Wait after a poll that learnt nothing: it is made up for soon, then less and less soon.

        The planner takes each poll for a look that found the task not ended; after one that
        should have found the end, it would look away for long.
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
        wait = self._pace.next_wait(
            job,
            state,
            elapsed=_since(state, now),
            left=left,
            between=(min(at_least, left), at_most),
        )
        return state.moved(outcome=Outcome.WAIT, wait_seconds=wait)

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


def _since(state: PollState, now: datetime) -> float:
    """Return the seconds since submission."""
    return (now - parse_iso(state.submitted_at)).total_seconds()


def _with_look(state: PollState, elapsed: float, progress: float | None) -> PollState:
    """Return the state after a poll that found the task not ended."""
    looks = state.looks
    if progress is not None:
        looks = (*looks, Look(round(elapsed, 2), progress))
        if len(looks) > MOST_LOOKS:
            half = MOST_LOOKS // 2
            looks = (*looks[:half], *looks[-half:])
    return state.model_copy(
        update={"looks": looks, "not_ended_by": round(elapsed, 2), "troubles": 0}
    )


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
