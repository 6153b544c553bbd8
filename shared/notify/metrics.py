"""What CloudWatch counts: each fact once, as one line of JSON that it makes metrics of.

A line is CloudWatch's embedded metric format (EMF): it goes where the log lines go, and costs no
call. It carries the job's ids too, which are no dimensions: a metric is billed for each value of
its dimensions, and those here are the stack, and for what has many causes the cause.

Facts are counted where the record says for the first time that they are so; a crash just then may
count one twice, as an event may come twice. Nothing here is ever in the way of a photo: a line
that cannot be written is logged and forgotten.
"""

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, ParamSpec

from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch import (
    AmazonCloudWatchEMFProvider,
)

from shared.clock import parse_iso
from shared.models import Job, JobStatus
from shared.observability import invocation_keys, keys_of, logger

P = ParamSpec("P")

NAMESPACE: Final = "Catwalk"
STACK: Final = "Stack"
CAUSE_OF_END: Final = "ErrorCode"
CAUSE_OF_PAUSE: Final = "Reason"


class Metric(StrEnum):
    """Every metric, all in `NAMESPACE` and by `STACK`."""

    PHOTOS_IN = "PhotosIn"
    """Photos that were dropped, and requests of backends; a second delivery is none."""
    JOBS_SUBMITTED = "JobsSubmitted"
    CREDITS_SPENT = "CreditsSpent"
    """By tasks that the vendor took; what `catwalk resolve` finds out later is in the ledger."""
    JOBS_SUCCEEDED = "JobsSucceeded"
    JOBS_PARTIAL = "JobsPartial"
    JOBS_FAILED = "JobsFailed"
    """Also by `CAUSE_OF_END`. 0 with each job that succeeded, wholly or partly: so the average is
    the share of failures, and the number of samples that of the jobs which had a task and ended."""
    JOBS_REJECTED = "JobsRejected"
    """Also by `CAUSE_OF_END`."""
    SUBMITS_UNKNOWN = "SubmitsUnknown"
    SUBMITS_PARKED = "SubmitsParked"
    """How many jobs are SUBMIT_UNKNOWN at the moment."""
    SECONDS_TO_RESULT = "SecondsToResult"
    """From the drop to the record's end, of jobs with results."""
    WAIT_SECONDS = "WaitSeconds"
    """How long a photo has waited since its drop, or since the daily limit or the account's trouble
    was last in its way: those have alarms of their own. Told each time that it is looked at and has
    to wait on for something else, and when the vendor has taken it. Not the queue's age: a photo
    that waits goes back to it as a fresh message."""
    POLLS = "PollsPerJob"
    SUBMISSION_PAUSED = "SubmissionPaused"
    """1 with each pause and, by reconcile, while it lasts, then also by `CAUSE_OF_PAUSE`; 0 from
    reconcile when there is none."""
    DAILY_CREDITS_USED = "DailyCreditsUsed"
    """Per cent of `DailyCreditLimit`; there is none without a limit."""
    RECONCILE_MOVES = "ReconcileMoves"
    """How many a run of reconcile has moved on; the number of samples is that of the runs."""


UNITS: Final[Mapping[Metric, MetricUnit]] = {
    Metric.SECONDS_TO_RESULT: MetricUnit.Seconds,
    Metric.WAIT_SECONDS: MetricUnit.Seconds,
    Metric.DAILY_CREDITS_USED: MetricUnit.Percent,
}
"""Of all others it is Count."""

_ENDS: Final[Mapping[JobStatus, Metric]] = {
    JobStatus.SUCCEEDED: Metric.JOBS_SUCCEEDED,
    JobStatus.PARTIAL: Metric.JOBS_PARTIAL,
    JobStatus.FAILED: Metric.JOBS_FAILED,
    JobStatus.REJECTED: Metric.JOBS_REJECTED,
    JobStatus.SUBMIT_UNKNOWN: Metric.SUBMITS_UNKNOWN,
}
_BY_CAUSE: Final = frozenset({JobStatus.FAILED, JobStatus.REJECTED})
_WITH_RESULTS: Final = frozenset({JobStatus.SUCCEEDED, JobStatus.PARTIAL})


@dataclass(frozen=True)
class Gauges:
    """What reconcile sees of the stack at the end of a run."""

    moves: int
    parked: int
    paused_by: str | None
    """The pause's reason, as `Breaker.paused_by` has it."""
    credits_used: float | None
    """Per cent of the daily limit; None without one."""


def _harmless(tell: Callable[P, None]) -> Callable[P, None]:
    """Have whatever goes wrong be logged, and nothing else come of it."""

    @functools.wraps(tell)
    def told(*arguments: P.args, **options: P.kwargs) -> None:
        try:
            tell(*arguments, **options)
        except Exception:  # noqa: BLE001  a photo matters, and a paid task; a figure about it less
            logger().exception("metrics are not written")

    return told


class Metrics:
    """Writes metrics; none of these verbs ever raises."""

    def __init__(self, stack: str, *, write: Callable[[str], object] = print) -> None:
        """Count for this stack; `write` is given each line."""
        self._stack = stack
        self._write = write

    @_harmless
    def photo_in(self, job: Job) -> None:
        """Count a photo or a request that has just come to its first job."""
        self._emit({Metric.PHOTOS_IN: 1}, job)

    @_harmless
    def job_told(self, job: Job) -> None:
        """Count what a job's present status says for the first time."""
        if job.status is JobStatus.RUNNING:
            if job.resumed_at is None:  # else the task was paid for, and counted, before
                self._emit({Metric.JOBS_SUBMITTED: 1, Metric.CREDITS_SPENT: 1}, job)
            return
        values = {_ENDS[job.status]: 1.0}
        if job.terminal and job.polls:
            values[Metric.POLLS] = job.polls
        if job.status in _WITH_RESULTS:
            values[Metric.JOBS_FAILED] = 0
        if job.status in _WITH_RESULTS and job.resumed_at is None:
            values |= _if_known(Metric.SECONDS_TO_RESULT, waited(job, until=job.finished_at))
        cause = None
        if job.status in _BY_CAUSE and job.error is not None:
            cause = (CAUSE_OF_END, job.error.code.value)
        self._emit(values, job, by={_ENDS[job.status]: cause} if cause else {})

    @_harmless
    def has_waited(self, job: Job, *, until: str | None) -> None:
        """Tell how long a photo has waited by a moment (ISO 8601), whether it waits on or not."""
        since = max(job.arrived_at, job.held_at or "") if job.arrived_at is not None else None
        values = _if_known(Metric.WAIT_SECONDS, _seconds(since, until))
        if values:
            self._emit(values, job)

    @_harmless
    def paused(self, cause: str) -> None:
        """Tell that submission pauses, once more or for the first time.

        Args:
            cause: one of a few: see `shared.limits.circuit_breaker.Cause`.

        """
        self._emit(
            {Metric.SUBMISSION_PAUSED: 1}, by={Metric.SUBMISSION_PAUSED: (CAUSE_OF_PAUSE, cause)}
        )

    @_harmless
    def credits_used(self, per_cent: float) -> None:
        """Tell how much of the daily limit is used."""
        self._emit({Metric.DAILY_CREDITS_USED: per_cent})

    @_harmless
    def gauges(self, gauges: Gauges) -> None:
        """Tell how things stand."""
        values: dict[Metric, float] = {
            Metric.RECONCILE_MOVES: gauges.moves,
            Metric.SUBMITS_PARKED: gauges.parked,
            **_if_known(Metric.DAILY_CREDITS_USED, gauges.credits_used),
        }
        if gauges.paused_by is None:
            values[Metric.SUBMISSION_PAUSED] = 0
        self._emit(values)
        if gauges.paused_by is not None:
            self.paused(gauges.paused_by)

    def _emit(
        self,
        values: Mapping[Metric, float],
        job: Job | None = None,
        *,
        by: Mapping[Metric, tuple[str, str]] | None = None,
    ) -> None:
        """Write a line; another one for metrics that have a cause as their second dimension.

        Two lines, since all metrics of a line have all of its dimensions.
        """
        causes = by or {}
        plain = {metric: value for metric, value in values.items() if metric not in causes}
        if plain:
            self._write(self._line(plain, job))
        for metric, cause in causes.items():
            self._write(self._line({metric: values[metric]}, job, cause))

    def _line(
        self, values: Mapping[Metric, float], job: Job | None, cause: tuple[str, str] | None = None
    ) -> str:
        line = AmazonCloudWatchEMFProvider(namespace=NAMESPACE)
        line.service = ""  # whatever POWERTOOLS_SERVICE_NAME says: it would be a dimension
        line.add_dimension(STACK, self._stack)
        if cause is not None:
            # By itself too: an alarm cannot add up what it does not know the causes of.
            line.add_dimensions(**{STACK: self._stack, cause[0]: cause[1]})
        for metric, value in values.items():
            line.add_metric(metric.value, UNITS.get(metric, MetricUnit.Count), value)
        ids = {**invocation_keys(), **(keys_of(job) if job is not None else {})}
        for name, text in ids.items():
            line.add_metadata(name, text)
        # As numbers, not as lists of one: a query then finds them by their names.
        return json.dumps({**line.serialize_metric_set(), **values})


def waited(job: Job, *, until: str | None) -> float | None:
    """Return the seconds from a photo's arrival to a moment (ISO 8601), or None if not known."""
    return _seconds(job.arrived_at, until)


def _seconds(since: str | None, until: str | None) -> float | None:
    if since is None or until is None:
        return None  # a record from before there was such an attribute
    return max(0.0, (parse_iso(until) - parse_iso(since)).total_seconds())


def _if_known(metric: Metric, value: float | None) -> dict[Metric, float]:
    return {} if value is None else {metric: value}
