"""What ReconcileFunction does, a few times an hour: find what stands still, and move it on.

Messages and executions can be lost: a queue is purged, an execution's history ends, a crash comes
between two calls. The record is not lost, and neither is the photo in its bucket. What has not
changed for a while is looked at, the longest unchanged first, a bounded number a run:

    dead letters    each gets a record that says so
    RUNNING         without an execution: the task is taken up again; stopped by hand: `aborted`
    SUBMITTING      past its lease: SubmitFunction decides, as on a redelivery
    ACCEPTED        without a message: gets one
    arrivals        whose jobs do not all have records: SubmitFunction makes them
    at its end      without an event: the event goes out
    photos          without a record: their drop is sent again

At its end each run tells CloudWatch how things stand (shared/metrics.py).

Each move is a conditional write, or a message that may come twice: two runs at once, or a job
that wakes up just then, do no harm. What is decided about a submit is decided in one place,
SubmitFunction; here, jobs are only sent to it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from shared.announce import Announcer
from shared.breaker import Breaker
from shared.clock import iso, utc_now
from shared.config import Config
from shared.deadletters import DeadLetter, DeadLetters
from shared.events import arrival_message, continue_message, drop_message, is_photo_key
from shared.intake.arrivals import Arrivals
from shared.jobs import JobRepository
from shared.metrics import Gauges, Metrics
from shared.models import TERMINAL, Job, JobError, JobStatus
from shared.observability import keys_of, log_keys, logger
from shared.photos import Dropped, PhotoStore
from shared.poll import stop_error
from shared.purse import Purse
from shared.start import execution_arn

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_stepfunctions import SFNClient

T = TypeVar("T")

STILL_SECONDS: Final = 1_800
"""What has not changed for so long stands still: a waiting message comes every 15 minutes at
least (SQS delays none longer), and a task is polled far more often."""
LOOK_BACK: Final = timedelta(days=14)
"""Older photos without a record are left alone: no event lives longer (SQS's maximum), and a
table that somebody emptied must not have every photo made, and paid for, once more."""
MAX_LOOKS: Final = 500
"""So many jobs of a status, and so many photos, are looked at in one run."""
MAX_LISTED: Final = 20_000
"""So many objects are listed in one run; the next run goes on behind them."""
MAX_LETTERS: Final = 2_000
"""Dead letters stay where they are, and each run meets them all again: the bound must be far."""
MAX_TAKE_UPS: Final = 3
"""A task whose executions end without it is taken up this often; then its job is FAILED."""
ENOUGH_SECONDS: Final = 20.0
"""Nothing is begun with less of the invocation left; the next run goes on."""
_ENDS: Final = (*sorted(TERMINAL), JobStatus.SUBMIT_UNKNOWN)
_GOING: Final = frozenset({"RUNNING", "PENDING_REDRIVE"})


class Cursors:
    """How far the runs have come, in JobsTable under `CONTROL#reconcile`."""

    def __init__(self, dynamodb: "DynamoDBClient", table: str) -> None:
        """Keep them in this table."""
        self._dynamodb = dynamodb
        self._table = table
        self._key: Any = {"pk": {"S": "CONTROL#reconcile"}}

    def read(self) -> dict[str, str]:
        """Return them by name."""
        answer = self._dynamodb.get_item(TableName=self._table, Key=self._key, ConsistentRead=True)
        return {name: value["S"] for name, value in answer.get("Item", {}).items() if "S" in value}

    def write(self, name: str, value: str) -> None:
        """Keep one."""
        self._dynamodb.update_item(
            TableName=self._table,
            Key=self._key,
            UpdateExpression="SET #name = :value",
            ExpressionAttributeNames={"#name": name},
            ExpressionAttributeValues={":value": {"S": value}},
        )


@dataclass
class _Round:
    """One run."""

    now: datetime
    until: str
    """ISO 8601; what has changed later than this does not stand still."""
    remaining_seconds: Callable[[], float]
    cursors: dict[str, str]
    moved: Counter[str] = field(default_factory=Counter)
    failures: int = 0

    def each(
        self,
        name: str,
        find: Callable[[], Iterable[T]],
        move: Callable[[T], int],
        *,
        limit: int | None = None,
    ) -> None:
        """Move on what is found, each by itself: one's trouble does not hold up the others."""
        with self._going_on(name):
            for number, entry in enumerate(find()):
                if number >= (limit or MAX_LOOKS) or not self.time_left:
                    return
                with self._going_on(name, entry):
                    self.moved[name] += move(entry)

    @contextmanager
    def _going_on(self, name: str, entry: object = None) -> Iterator[None]:
        try:
            yield
        except Exception:  # noqa: BLE001  logged here, and raised for all at the end of the run
            with log_keys(**_names(entry)):
                logger().exception("could not be moved on", extra={"step": name})
            self.failures += 1

    @property
    def time_left(self) -> bool:
        return self.remaining_seconds() >= ENOUGH_SECONDS


def _names(entry: object) -> dict[str, str | int]:
    """Return what the lines about something that stands still are found by."""
    match entry:
        case Job():
            return keys_of(entry)
        case Dropped(key=key):
            return {"source_key": key}
        case DeadLetter(message_id=message_id):
            return {"message_id": message_id}
    return {}


class Reconciler:
    """Moves on what stands still."""

    def __init__(
        self,
        *,
        config: Config,
        jobs: JobRepository,
        arrivals: Arrivals,
        photos: PhotoStore,
        dead_letters: DeadLetters,
        cursors: Cursors,
        announcer: Announcer,
        executions: "SFNClient",
        sqs: "SQSClient",
        breaker: Breaker,
        purse: Purse,
        metrics: Metrics,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """Work with these; nothing is called yet."""
        self._config = config
        self._jobs = jobs
        self._arrivals = arrivals
        self._photos = photos
        self._dead_letters = dead_letters
        self._cursors = cursors
        self._announcer = announcer
        self._executions = executions
        self._sqs = sqs
        self._breaker = breaker
        self._purse = purse
        self._metrics = metrics
        self._now = now

    def run(
        self, remaining_seconds: Callable[[], float], *, still_seconds: float = STILL_SECONDS
    ) -> dict[str, int]:
        """Do one round and return how many were moved on, by kind.

        Args:
            remaining_seconds: how much of the invocation is left.
            still_seconds: what has not changed for so long stands still.

        Raises:
            RuntimeError: some could not be moved on; the log says which, and the next run tries
                again.

        """
        now = self._now()
        round_ = _Round(
            now=now,
            until=iso(now - timedelta(seconds=still_seconds)),
            remaining_seconds=remaining_seconds,
            cursors=self._cursors.read(),
        )
        letters = partial(self._dead_letters.letters, MAX_LETTERS)
        round_.each("dead_letters", letters, self._record, limit=MAX_LETTERS)
        for status, move in (
            (JobStatus.RUNNING, self._running),
            (JobStatus.SUBMITTING, self._send_again),
            (JobStatus.ACCEPTED, self._send_again),
        ):
            round_.each(status.lower(), partial(self._still, status, round_), move)
        unclaimed = partial(self._arrivals.unclaimed, until=round_.until)
        round_.each("arrivals", unclaimed, self._claim_again)
        for status in _ENDS:
            tell = partial(self._tell, round_=round_)
            round_.each("announced", partial(iter, [status]), tell)
        round_.each("photos", lambda: self._without_record(round_), self._drop_again)
        moved = {name: count for name, count in round_.moved.items() if count}
        logger().info("reconciled", extra={"moved": moved, "failures": round_.failures})
        self._measure(sum(moved.values()))
        if round_.failures:
            raise RuntimeError(f"{round_.failures} could not be moved on; the log says which")
        return moved

    def _measure(self, moves: int) -> None:
        """Tell CloudWatch how things stand; if that cannot be found out, nothing else suffers."""
        try:
            gauges = Gauges(
                moves=moves,
                parked=self._jobs.count_in(JobStatus.SUBMIT_UNKNOWN),
                paused_by=self._breaker.paused_by(),
                credits_used=self._purse.used(),
            )
        except Exception:  # noqa: BLE001  see above; it is logged, and the next run tells
            logger().exception("it cannot be told how things stand")
            return
        self._metrics.gauges(gauges)

    def _still(self, status: JobStatus, round_: _Round) -> Iterator[Job]:
        """Yield the jobs that stand still in a status, each read anew: an index may lag behind."""
        for found in self._jobs.of_status(status, until=round_.until):
            job = self._jobs.get(found.job_id)
            if job is not None and job.status is status and job.updated_at <= round_.until:
                yield job

    def _record(self, letter: DeadLetter) -> bool:
        return self._dead_letters.record(letter, self._announcer)

    def _send_again(self, job: Job) -> bool:
        """Have SubmitFunction go on with a job, and note it, lest the next run does so too."""
        with log_keys(**keys_of(job)):
            logger().warning("stood still, sent again", extra={"status": job.status})
            self._sqs.send_message(
                QueueUrl=self._config.submit_queue_url, MessageBody=continue_message(job)
            )
            self._jobs.note_looked_at(job)
        return True

    def _claim_again(self, arrival_id: str) -> bool:
        """Have SubmitFunction give an arrival's jobs their records."""
        logger().warning("unclaimed, sent again", extra={"arrival_id": arrival_id})
        self._sqs.send_message(
            QueueUrl=self._config.submit_queue_url, MessageBody=arrival_message(arrival_id)
        )
        self._arrivals.note_resent(arrival_id)
        return True

    def _running(self, job: Job) -> bool:
        """See to a job that has not been polled for long."""
        if job.announced != JobStatus.RUNNING:
            return self._send_again(job)  # its execution was not started, or nobody knows
        status = self._execution_status(job)
        if status in _GOING:
            self._jobs.note_looked_at(job)
            return False
        with log_keys(**keys_of(job)):
            if status == "ABORTED":
                return self._end(job, stop_error(status))
            lost = [past for past in job.history if past.status is JobStatus.RUNNING]
            if len(lost) >= MAX_TAKE_UPS:
                return self._end(job, stop_error(status))
            next_arn = execution_arn(self._config.state_machine_arn, job.job_id, job.attempt + 1)
            taken_up = self._jobs.take_up(job, execution_arn=next_arn)
            return taken_up is not None and self._send_again(taken_up)

    def _execution_status(self, job: Job) -> str:
        try:
            answer = self._executions.describe_execution(executionArn=job.execution_arn or "")
        except self._executions.exceptions.ExecutionDoesNotExist:
            return "gone"
        return answer["status"]

    def _end(self, job: Job, error: JobError) -> bool:
        ended = self._jobs.give_up(job, error, copied=())
        if ended is not None:
            self._announcer.announce(ended)
        return ended is not None

    def _tell(self, status: JobStatus, round_: _Round) -> int:
        """Tell of jobs that ended and were not told of; each is looked at once."""
        last = after = round_.cursors.get(status, iso(round_.now - LOOK_BACK))
        told = 0
        for number, found in enumerate(
            self._jobs.of_status(status, after=after, until=round_.until)
        ):
            # Not between two of the same millisecond: the next run begins behind it.
            if (number >= MAX_LOOKS or not round_.time_left) and found.updated_at != last:
                break
            if found.announced != status:
                job = self._jobs.get(found.job_id)
                if job is not None and job.status is status and job.announced != status:
                    self._announcer.announce(job)
                    told += 1
            last = found.updated_at
        if last != after:
            self._cursors.write(status, last)
        return told

    def _without_record(self, round_: _Round) -> list[Dropped]:
        """Return photos that no record speaks of, oldest first."""
        missing: list[Dropped] = []
        looked, after, oldest = 0, round_.cursors.get("photos", ""), iso(round_.now - LOOK_BACK)
        for number, dropped in enumerate(self._photos.dropped(after=after)):
            if number >= MAX_LISTED or looked >= MAX_LOOKS or not round_.time_left:
                break
            after = dropped.key
            if not is_photo_key(dropped.key) or not oldest < dropped.at <= round_.until:
                continue
            looked += 1
            if not any(
                job.photo is not None and job.photo.etag == dropped.etag
                for job in self._jobs.of_source(dropped.key)
            ):
                missing.append(dropped)
        else:
            after = ""  # that was the last one; the next run begins anew
        if after != round_.cursors.get("photos", ""):
            self._cursors.write("photos", after)
        return sorted(missing, key=lambda dropped: dropped.at)

    def _drop_again(self, dropped: Dropped) -> bool:
        logger().warning("without a record, sent again", extra={"source_key": dropped.key})
        self._sqs.send_message(
            QueueUrl=self._config.submit_queue_url,
            MessageBody=drop_message(
                bucket=self._config.photos_bucket,
                key=dropped.key,
                etag=dropped.etag,
                version_id=dropped.version_id,
                event_id=f"reconcile-{dropped.etag}",
                at=dropped.at,
            ),
        )
        return True
