"""Metrics for CloudWatch: each fact is counted once, as one line of JSON.

A line is in CloudWatch's embedded metric format (EMF): it is written like a log line and needs no
call of AWS. It also carries the job's ids, but not as dimensions, since CloudWatch bills a metric
for each value of its dimensions. The dimensions are the stack and, for some metrics, the cause.

A fact is counted when the record states it for the first time. A crash at that moment may count it
twice, just as an event may be published twice. A line that cannot be written is logged; it never
stops a photo.
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
    """Dropped photos and requests of backends; a second delivery is not counted."""
    JOBS_SUBMITTED = "JobsSubmitted"
    CREDITS_SPENT = "CreditsSpent"
    """By tasks that the vendor accepted. Credits that `catwalk resolve` finds out later are in the
    ledger only."""
    JOBS_SUCCEEDED = "JobsSucceeded"
    JOBS_PARTIAL = "JobsPartial"
    JOBS_FAILED = "JobsFailed"
    """Also by `CAUSE_OF_END`. Each job that succeeded, wholly or partly, counts as 0. So the
    average is the share of failures, and the number of samples is the number of jobs that had a
    task and ended."""
    JOBS_REJECTED = "JobsRejected"
    """Also by `CAUSE_OF_END`."""
    SUBMITS_UNKNOWN = "SubmitsUnknown"
    SUBMITS_PARKED = "SubmitsParked"
    """The number of jobs that are SUBMIT_UNKNOWN at the moment."""
    SECONDS_TO_RESULT = "SecondsToResult"
    """From the drop to the record's end, of jobs with results."""
    WAIT_SECONDS = "WaitSeconds"
    """How long a photo has waited since its drop. Time before the daily limit or trouble of the
    account last held it back does not count: those have alarms of their own. Emitted each time that
    the photo has to wait again for another reason, and when the vendor has accepted it. The age of
    SubmitQueue does not show this, since a waiting photo is sent again as a new message."""
    POLLS = "PollsPerJob"
    SUBMISSION_PAUSED = "SubmissionPaused"
    """SubmitFunction emits 1 with each pause. Reconcile emits 1 while a pause lasts, else 0. The 1
    is also emitted by `CAUSE_OF_PAUSE`."""
    DAILY_CREDITS_USED = "DailyCreditsUsed"
    """Per cent of `DailyCreditLimit`; not emitted without a limit."""
    RECONCILE_MOVES = "ReconcileMoves"
    """How many jobs, arrivals and photos a run of reconcile moved on. The number of samples is the
    number of runs."""


UNITS: Final[Mapping[Metric, MetricUnit]] = {
    Metric.SECONDS_TO_RESULT: MetricUnit.Seconds,
    Metric.WAIT_SECONDS: MetricUnit.Seconds,
    Metric.DAILY_CREDITS_USED: MetricUnit.Percent,
}
"""The unit of every other metric is Count."""

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
    """The state of the stack at the end of a reconcile run."""

    moves: int
    parked: int
    paused_by: str | None
    """The cause of the present pause; see `CircuitBreaker.current_pause`."""
    credits_used: float | None
    """Per cent of the daily limit; None without one."""


def _harmless(count: Callable[P, None]) -> Callable[P, None]:
    """Log each error of a method instead of raising it."""

    @functools.wraps(count)
    def counted(*arguments: P.args, **options: P.kwargs) -> None:
        try:
            count(*arguments, **options)
        except Exception:  # noqa: BLE001  a missing metric must not stop a photo or a paid task
            logger().exception("metrics are not written")

    return counted


class Metrics:
    """Writes metrics; its public methods never raise."""

    def __init__(self, stack: str, *, write: Callable[[str], object] = print) -> None:
        """Count for this stack; `write` is called with each line."""
        self._stack = stack
        self._write = write

    @_harmless
    def photo_in(self, job: Job) -> None:
        """Count a photo or a request; `job` is its first job, which has just been made."""
        self._emit({Metric.PHOTOS_IN: 1}, job)

    @_harmless
    def job_announced(self, job: Job) -> None:
        """Count a job's present status; called when the status is announced."""
        if job.status is JobStatus.RUNNING:
            if job.resumed_at is None:  # else an earlier attempt paid for and counted the task
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
        """Emit how long a photo has waited until a moment (ISO 8601)."""
        since = max(job.arrived_at, job.held_at or "") if job.arrived_at is not None else None
        values = _if_known(Metric.WAIT_SECONDS, _seconds(since, until))
        if values:
            self._emit(values, job)

    @_harmless
    def paused(self, cause: str) -> None:
        """Emit that submission is paused.

        Args:
            cause: a value of `shared.limits.circuit_breaker.Cause`.

        """
        self._emit(
            {Metric.SUBMISSION_PAUSED: 1}, by={Metric.SUBMISSION_PAUSED: (CAUSE_OF_PAUSE, cause)}
        )

    @_harmless
    def credits_used(self, per_cent: float) -> None:
        """Emit how many per cent of the daily limit are used."""
        self._emit({Metric.DAILY_CREDITS_USED: per_cent})

    @_harmless
    def gauges(self, gauges: Gauges) -> None:
        """Emit the state of the stack."""
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
        """Write one line, and one more for each metric that has a cause as its second dimension.

        All metrics of a line have all of its dimensions, so these metrics need their own line.
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
        line.service = ""  # a value of POWERTOOLS_SERVICE_NAME would become a dimension
        line.add_dimension(STACK, self._stack)
        if cause is not None:
            # The metric is also emitted by stack alone: an alarm cannot add up unknown causes.
            line.add_dimensions(**{STACK: self._stack, cause[0]: cause[1]})
        for metric, value in values.items():
            line.add_metric(metric.value, UNITS.get(metric, MetricUnit.Count), value)
        ids = {**invocation_keys(), **(keys_of(job) if job is not None else {})}
        for name, text in ids.items():
            line.add_metadata(name, text)
        # Plain numbers instead of lists of one, so that a query finds them by their names.
        return json.dumps({**line.serialize_metric_set(), **values})


def waited(job: Job, *, until: str | None) -> float | None:
    """Return the seconds from a photo's arrival to a moment (ISO 8601), or None if not known."""
    return _seconds(job.arrived_at, until)


def _seconds(since: str | None, until: str | None) -> float | None:
    if since is None or until is None:
        return None  # a record of an earlier version, without this attribute
    return max(0.0, (parse_iso(until) - parse_iso(since)).total_seconds())


def _if_known(metric: Metric, value: float | None) -> dict[Metric, float]:
    return {} if value is None else {metric: value}
