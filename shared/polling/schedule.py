"""When to poll next: the planner's wait, within the stack's bounds and its rate limit.

A task is paid for when it is polled. So no error in the schedule fails a poll: each one is logged,
and a plain wait takes the plan's place.
"""

import math
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from shared.clock import later, parse_iso, utc_now
from shared.config import PollingConfig
from shared.models import Job
from shared.observability import logger
from shared.polling import planner
from shared.polling.rate_limit import PollRateLimiter
from shared.polling.state import PollState
from shared.polling.task_history import TaskHistoryStore, kind_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MAX_POLLS: Final = 2_000
"""Keeps an execution (about 11 events a poll) below Step Functions' limit of 25,000 events."""
FREE_POLLS: Final = 500
"""Polls that follow the plan freely; the others are spread over the remaining time."""
UNPLANNED: Final = 0.25
"""The wait as a share of the task's age, if no poll can be planned."""
_LATE: Final = 2
_LATE_SECONDS: Final = 60.0
"""A poll later than `_LATE` times its wait plus this many seconds is not learnt from."""


class PollSchedule:
    """Plans the polls of all jobs of the stack, and learns from tasks that have ended."""

    def __init__(
        self,
        dynamodb: "DynamoDBClient",
        config: PollingConfig,
        *,
        now: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep the task history and the rate limit in JobsTable."""
        table = config.jobs_table
        self._config = config
        self._now = now
        self._histories = TaskHistoryStore(dynamodb, table, monotonic=monotonic)
        self._rate_limiter = PollRateLimiter(
            dynamodb, table, per_second=config.polls_per_second, now=now
        )

    def first_state(self, job: Job) -> dict[str, Any]:
        """Return the input of a job's execution, with the first wait.

        The state machine waits before its first poll. The wait is planned here, since a poll that
        only plans would cost one more invocation of PollFunction a photo.
        A task that was taken up again gets the whole `TaskTimeoutSeconds` again, and may have ended
        already: its first wait is short.

        Raises:
            LookupError: the job has no task.

        """
        since = job.resumed_at or job.submitted_at
        if job.task_id is None or since is None:
            raise LookupError(f"job {job.job_id} has no task to wait for")
        timeout = self._config.task_timeout_seconds
        state = PollState(
            job_id=job.job_id,
            attempt=job.attempt,
            task_id=job.task_id,
            submitted_at=since,
            deadline=later(parse_iso(since), timeout),
        )
        # More than 0 if the execution is started late.
        elapsed = max(0.0, (self._now() - parse_iso(since)).total_seconds())
        wait = self.next_wait(job, state, elapsed=elapsed, left=timeout - elapsed)
        return state.moved(wait_seconds=wait)

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
            job: the task history of its scene type and batch size is used.
            state: its `looks` and `polls` are used.
            elapsed: seconds since submission.
            left: seconds to the deadline; the last poll falls on it.
            between: the shortest and the longest wait, in seconds, within the stack's bounds.

        """
        if job.resumed_at is not None and not state.polls:
            return self._at_rate(max(1, self._config.poll_min_seconds))
        bounds = bounds_of(left, state.polls, self._config)
        wait = self._planned(job, state, elapsed, bounds)
        least, most = between
        wait = max(math.ceil(bounds.shortest), round(max(least, min(wait, most))))
        return self._at_rate(max(1, min(wait, round(left))))

    def _planned(self, job: Job, state: PollState, elapsed: float, bounds: planner.Bounds) -> float:
        try:
            history = self._histories.of(kind_of(job.settings))
            return planner.next_wait(history, elapsed, state.looks, bounds)
        except Exception:  # noqa: BLE001  see the module's docstring
            logger().exception("the next poll is not planned, it goes by the task's age")
            return min(bounds.longest, max(bounds.shortest, elapsed * UNPLANNED))

    def _at_rate(self, wait: int) -> int:
        try:
            return self._rate_limiter.reserve(wait)
        except Exception:  # noqa: BLE001  one uncounted read does little harm
            logger().exception("a read is not counted")
            return wait

    def throttled(self) -> None:
        """Poll all jobs of the stack less often: the vendor throttles reads."""
        try:
            self._rate_limiter.cut()
        except Exception:  # noqa: BLE001  the next refusal tries again
            logger().exception("the rate of reads is not cut")

    def learn(self, job: Job, state: PollState, *, elapsed: float) -> None:
        """Add a task that has just succeeded to the task history."""
        if job.resumed_at is not None or state.finalize_rounds:
            return  # it ended unobserved, or is in the history already
        unseen = elapsed - state.not_ended_by
        if unseen > _LATE * state.wait_seconds + _LATE_SECONDS:
            return  # a planned poll did not happen: the end may be anywhere in between
        kind = kind_of(job.settings)
        try:
            taught = planner.lesson(
                self._histories.of(kind), state.looks, after=state.not_ended_by, by=elapsed
            )
            self._histories.add(kind, taught)
        except Exception:  # noqa: BLE001  the results matter more
            logger().exception("what the task took was not learnt")


def bounds_of(left: float, polls: int, config: PollingConfig) -> planner.Bounds:
    """Return the bounds of the next wait.

    Args:
        left: seconds to the deadline.
        polls: the number so far; an execution's event limit allows `MAX_POLLS`.
        config: `PollMinSeconds`, `PollMaxSeconds`, `PollTradeSeconds`.

    """
    shortest = float(config.poll_min_seconds)
    if polls >= FREE_POLLS:
        shortest = max(shortest, left / max(1, MAX_POLLS - polls))
    longest = max(shortest, float(config.poll_max_seconds))
    return planner.Bounds(shortest, longest, config.poll_trade_seconds)
