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
    photos          that have not arrived: their drop is sent again

The photos are listed page by page, and the place is kept after each page: a run goes on where the
last one ended. A pass over the whole bucket looks at what has landed since the last pass, and once
a day at all of the last 14 days.

At its end each run tells CloudWatch how things stand (shared/notify/metrics.py).

Each move is a conditional write, or a message that may come twice: two runs at once, or a job
that wakes up just then, do no harm. What is decided about a submit is decided in one place,
SubmitFunction; here, jobs are only sent to it.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from shared.clock import iso, parse_iso, utc_now
from shared.config import ReconcileConfig
from shared.intake.arrivals import Arrivals, drop_id
from shared.intake.messages import arrival_message, continue_message, drop_message, is_photo_key
from shared.intake.photos import Dropped, Marker, PhotoStore
from shared.limits.circuit_breaker import CircuitBreaker
from shared.limits.credit_limit import CreditLimit
from shared.limits.settling import Settling
from shared.models import TERMINAL, Job, JobError, JobStatus
from shared.notify.announcer import Announcer
from shared.notify.metrics import Gauges, Metrics
from shared.notify.outbox import ReviewOutbox
from shared.observability import keys_of, log_keys, logger
from shared.records.jobs import JobRepository
from shared.steps.dead_letters import DeadLetter, DeadLetters
from shared.steps.start import execution_arn, stop_error

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
OVERLAP: Final = timedelta(hours=2)
"""A pass over the photos looks so far behind the end of the last one: S3 dates a multipart upload
by its beginning."""
FULL_PASS_EVERY: Final = timedelta(days=1)
"""So often a pass looks at all photos of `LOOK_BACK`: a slow upload, or a record that somebody
has deleted."""
RESEND_AFTER: Final = timedelta(hours=6)
"""A drop is sent again once in this time: its message may be waiting behind many others."""
CHECK_TOGETHER: Final = 100
"""So many photos are checked at once: BatchGetItem takes no more keys."""
MAX_LOOKS: Final = 500
"""So many jobs of a status are looked at in one run."""
MAX_UNTOLD: Final = 1_000
"""So many ends that EventBridge would not take are kept aside. With more of them EventBridge is in
trouble, and not an event: then telling stops, and the next run goes on there."""
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

    def write(self, values: Mapping[str, str]) -> None:
        """Keep some, by name."""
        names = {f"#{number}": name for number, name in enumerate(values)}
        self._dynamodb.update_item(
            TableName=self._table,
            Key=self._key,
            UpdateExpression="SET " + ", ".join(f"{alias} = :{alias[1:]}" for alias in names),
            ExpressionAttributeNames=names,
            ExpressionAttributeValues={
                f":{alias[1:]}": {"S": values[name]} for alias, name in names.items()
            },
        )


class Resent:
    """Which drops were sent again lately, in JobsTable under `RESENT#<hash>`.

    DynamoDB deletes these items by `expires_at`, some time after it.
    """

    def __init__(self, dynamodb: "DynamoDBClient", table: str, bucket: str) -> None:
        """Keep them in this table; `bucket` is PhotosBucket."""
        self._dynamodb = dynamodb
        self._table = table
        self._bucket = bucket

    def lately(self, dropped: Dropped, now: datetime) -> bool:
        """Whether this drop was sent again less than `RESEND_AFTER` ago."""
        item = self._dynamodb.get_item(TableName=self._table, Key=self._key(dropped)).get("Item")
        return item is not None and int(item["expires_at"]["N"]) > now.timestamp()

    def note(self, dropped: Dropped, now: datetime) -> None:
        """Note that this drop was sent again."""
        expires_at = int((now + RESEND_AFTER).timestamp())
        self._dynamodb.put_item(
            TableName=self._table,
            Item={
                **self._key(dropped),
                "photo": {"S": dropped.key},
                "expires_at": {"N": str(expires_at)},
            },
        )

    def _key(self, dropped: Dropped) -> Any:  # noqa: ANN401  the client's wire form of a key
        identity = [self._bucket, dropped.key, dropped.version_id or dropped.etag]
        digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]
        return {"pk": {"S": f"RESENT#{digest}"}}


class Untold:
    """Jobs whose end EventBridge would not take, in JobsTable under `CONTROL#untold`."""

    def __init__(self, dynamodb: "DynamoDBClient", table: str) -> None:
        """Keep their ids in this table."""
        self._dynamodb = dynamodb
        self._table = table
        self._key: Any = {"pk": {"S": "CONTROL#untold"}}

    def ids(self) -> list[str]:
        """Return them, in order."""
        answer = self._dynamodb.get_item(TableName=self._table, Key=self._key, ConsistentRead=True)
        return sorted(answer.get("Item", {}).get("job_ids", {"SS": []})["SS"])

    def add(self, job_id: str) -> None:
        """Keep one.

        Raises:
            OverflowError: there are as many as may be kept.

        """
        if len(self.ids()) >= MAX_UNTOLD:
            raise OverflowError(f"{MAX_UNTOLD} events were refused; EventBridge seems to be away")
        self._change("ADD", job_id)

    def remove(self, job_id: str) -> None:
        """Forget one: it was told of, or there is nothing to be told."""
        self._change("DELETE", job_id)

    def _change(self, verb: str, job_id: str) -> None:
        self._dynamodb.update_item(
            TableName=self._table,
            Key=self._key,
            UpdateExpression=f"{verb} job_ids :ids",
            ExpressionAttributeValues={":ids": {"SS": [job_id]}},
        )


@dataclass(frozen=True)
class _Pass:
    """A way through all photos of the bucket; it may take several runs."""

    since: str
    """ISO 8601; photos that landed from here to `until`, both included, are looked at."""
    until: str
    full: bool
    """Whether `since` is as long ago as it may be."""
    missing: str = ""
    """When the oldest photo landed that had not arrived; the next pass looks at it again."""
    key: str = ""
    version_id: str = ""

    @property
    def after(self) -> Marker | None:
        return Marker(self.key, self.version_id) if self.key else None

    def with_missing(self, drops: Iterable[Dropped]) -> "_Pass":
        times = [dropped.at for dropped in drops]
        return replace(self, missing=min(filter(None, (self.missing, *times)), default=""))

    def write(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> "_Pass | None":
        """Return what `write` has written; None for anything else, and a new pass begins."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            return None


@dataclass
class _Round:
    """One run."""

    now: datetime
    until: str
    """ISO 8601; what has changed later than this does not stand still."""
    remaining_seconds: Callable[[], float]
    cursors: dict[str, str]
    queue_is_empty: bool = False
    """Whether a run that does not wait for half an hour has found no message at its beginning."""
    queue_waits: bool = False
    """Whether it has found none, or such messages alone as wait for their time. Those are no drops,
    except while the photos bucket settles: a run by hand then sends each drop again once, which is
    one arrival all the same."""
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
        with self.going_on(name):
            for number, entry in enumerate(find()):
                if number >= (limit or MAX_LOOKS) or not self.has_time():
                    return
                with self.going_on(name, entry):
                    self.moved[name] += move(entry)

    @contextmanager
    def going_on(self, name: str, entry: object = None) -> Iterator[None]:
        """Log and count what goes wrong in here, and go on behind it."""
        try:
            yield
        except Exception:  # noqa: BLE001  logged here, and raised for all at the end of the run
            self.note_failure(name, entry)

    def note_failure(self, name: str, entry: object) -> None:
        """Log and count the exception that is being handled."""
        with log_keys(**_names(entry)):
            logger().exception("could not be moved on", extra={"step": name})
        self.failures += 1

    def has_time(self) -> bool:
        """Whether something may be begun."""
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
        config: ReconcileConfig,
        jobs: JobRepository,
        arrivals: Arrivals,
        photos: PhotoStore,
        dead_letters: DeadLetters,
        cursors: Cursors,
        resent: Resent,
        untold: Untold,
        reviews: ReviewOutbox,
        settling: Settling,
        announcer: Announcer,
        executions: "SFNClient",
        sqs: "SQSClient",
        breaker: CircuitBreaker,
        credit_limit: CreditLimit,
        metrics: Metrics,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._config = config
        self._jobs = jobs
        self._arrivals = arrivals
        self._photos = photos
        self._dead_letters = dead_letters
        self._cursors = cursors
        self._resent = resent
        self._untold = untold
        self._reviews = reviews
        self._settling = settling
        self._announcer = announcer
        self._executions = executions
        self._sqs = sqs
        self._breaker = breaker
        self._credit_limit = credit_limit
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
        with round_.going_on("settling"):
            # The bucket's first quarter of an hour begins, if no photo has come yet.
            self._settling.seconds_left()
        if still_seconds < STILL_SECONDS:
            with round_.going_on("queue"):
                self._look_at_queue(round_)
        letters = partial(self._dead_letters.letters, MAX_LETTERS)
        round_.each("dead_letters", letters, self._record, limit=MAX_LETTERS)
        for status, move in (
            (JobStatus.RUNNING, self._running),
            (JobStatus.SUBMITTING, self._continue),
            (JobStatus.ACCEPTED, self._continue),
        ):
            still = partial(self._still, status, round_)
            round_.each(status.lower(), still, partial(move, round_))
        unclaimed = partial(self._arrivals.unclaimed, until=round_.until)
        round_.each("arrivals", unclaimed, self._claim_again)
        for status in _ENDS:
            tell = partial(self._tell, round_=round_)
            round_.each("announced", partial(iter, [status]), tell)
        round_.each("announced", partial(iter, [round_]), self._tell_late)
        round_.each("reviews", self._reviews.left_behind, self._tell_of_review)
        with round_.going_on("photos"):
            self._photos_again(round_)
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
                credits_used=self._credit_limit.used(),
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

    def _look_at_queue(self, round_: _Round) -> None:
        """See whether there are messages, before this run sends any.

        SQS counts them approximately, and some seconds late. One message too many is harmless: the
        record decides what becomes of it.
        """
        names: list[Any] = [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesDelayed",
        ]
        answer = self._sqs.get_queue_attributes(
            QueueUrl=self._config.submit_queue_url, AttributeNames=names
        )["Attributes"]
        ready, held, delayed = (int(answer[name]) for name in names)
        round_.queue_waits = not ready and not held
        round_.queue_is_empty = round_.queue_waits and not delayed

    def _stands_still(self, round_: _Round, job: Job) -> bool:
        """Whether a job's message is lost.

        A message that waits comes after 15 minutes at the latest, and SubmitFunction then writes
        the record. If that was lately, the message is there, unless the queue is empty.
        """
        lately = job.updated_at > iso(round_.now - timedelta(seconds=STILL_SECONDS))
        return round_.queue_is_empty or not lately

    def _continue(self, round_: _Round, job: Job) -> bool:
        return self._stands_still(round_, job) and self._send_again(job)

    def _send_again(self, job: Job) -> bool:
        """Have SubmitFunction go on with a job, and note it, lest the next run does so too."""
        with log_keys(**keys_of(job)):
            logger().warning("stood still, sent again", extra={"status": job.status})
            self._sqs.send_message(
                QueueUrl=self._config.submit_queue_url, MessageBody=continue_message(job)
            )
            self._jobs.note_checked(job)
        return True

    def _claim_again(self, arrival_id: str) -> bool:
        """Have SubmitFunction give an arrival's jobs their records."""
        logger().warning("unclaimed, sent again", extra={"arrival_id": arrival_id})
        self._sqs.send_message(
            QueueUrl=self._config.submit_queue_url, MessageBody=arrival_message(arrival_id)
        )
        self._arrivals.note_resent(arrival_id)
        return True

    def _running(self, round_: _Round, job: Job) -> bool:
        """See to a job that has not been polled for long."""
        if job.announced != JobStatus.RUNNING:
            # Its execution was not started, or nobody knows.
            return self._continue(round_, job)
        status = self._execution_status(job)
        if status in _GOING:
            self._jobs.note_checked(job)
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
        try:
            for number, found in enumerate(
                self._jobs.of_status(status, after=after, until=round_.until)
            ):
                # Not between two of the same millisecond: the next run begins behind it.
                if (number >= MAX_LOOKS or not round_.has_time()) and found.updated_at != last:
                    break
                if found.announced != status:
                    told += self._tell_one(found, round_)
                last = found.updated_at
        finally:
            if last != after:
                self._cursors.write({status: last})
        return told

    def _tell_one(self, found: Job, round_: _Round) -> bool:
        """Tell of a job's end; an event that is refused is kept aside, and holds up no other."""
        job = self._jobs.get(found.job_id)
        if job is None or job.status is not found.status or job.announced == job.status:
            return False
        try:
            self._announcer.announce(job)
        except Exception:  # noqa: BLE001  logged, counted, and tried again by each run
            self._untold.add(job.job_id)
            round_.note_failure("announced", job)
            return False
        return True

    def _tell_late(self, round_: _Round) -> int:
        """Try again to tell of the ends that EventBridge would not take, others first each run."""
        ids, last = self._untold.ids(), round_.cursors.get("untold", "")
        told = 0
        if ids:
            logger().warning("ends that EventBridge has refused", extra={"untold": len(ids)})
        for job_id in ([*ids[_behind(ids, last) :], *ids[: _behind(ids, last)]])[:MAX_LOOKS]:
            if not round_.has_time():
                break
            last = job_id
            job = self._jobs.get(job_id)
            if job is not None and job.status in _ENDS and job.announced != job.status:
                try:
                    self._announcer.announce(job)
                except Exception:  # noqa: BLE001  whatever it is; `catwalk doctor` counts them
                    with log_keys(**keys_of(job)):
                        logger().warning("its end cannot be told", exc_info=True)
                    continue
                told += 1
            self._untold.remove(job_id)
        if ids:
            self._cursors.write({"untold": last})
        return told

    def _tell_of_review(self, left_behind: tuple[str, str]) -> int:
        """Publish a review whose command may have ended between its record and its event."""
        entry, job_id = left_behind
        job = self._jobs.get(job_id)
        reviewed = job is not None and (
            job.review is not None or any(past.review is not None for past in job.history)
        )
        if job is not None and reviewed:
            self._announcer.reviewed(job)
        self._reviews.remove(entry)
        return int(reviewed)

    def _photos_again(self, round_: _Round) -> None:
        """Send the drops again that have not arrived, as far as the time allows."""
        begun = _Pass.read(round_.cursors.get("photos", ""))
        if begun is None or self._go_through(begun, round_):
            self._go_through(_new_pass(round_), round_)

    def _go_through(self, photos: _Pass, round_: _Round) -> bool:
        """Go on with a pass; return whether it has come to its end."""
        while round_.has_time():
            page = self._photos.dropped(photos.after)
            wanted = [
                dropped
                for dropped in page.drops
                if is_photo_key(dropped.key) and photos.since <= dropped.at <= photos.until
            ]
            for start in range(0, len(wanted), CHECK_TOGETHER):
                missing = self._check(wanted[start : start + CHECK_TOGETHER], round_)
                photos = photos.with_missing(missing)
                for dropped in sorted(missing, key=lambda dropped: dropped.at):
                    if not round_.has_time():
                        return False
                    with round_.going_on("photos", dropped):
                        round_.moved["photos"] += self._drop_again(round_, dropped)
                if not round_.has_time():
                    return False
            if page.end is None:
                self._write(round_, {"photos": "", **_after(photos)})
                return True
            photos = replace(photos, key=page.end.key, version_id=page.end.version_id)
            self._write(round_, {"photos": photos.write()})
        return False

    def _write(self, round_: _Round, cursors: Mapping[str, str]) -> None:
        round_.cursors |= cursors
        self._cursors.write(cursors)

    def _check(self, some: Sequence[Dropped], round_: _Round) -> list[Dropped]:
        """Return which of these photos have not arrived; one's trouble does not hide the others."""
        try:
            return self._without_arrival(some)
        except Exception:  # which one it is about is found out below
            if len(some) == 1:
                raise
        missing: list[Dropped] = []
        for dropped in some:
            if not round_.has_time():
                break
            with round_.going_on("photos", dropped):
                missing += self._without_arrival([dropped])
        return missing

    def _without_arrival(self, page: Sequence[Dropped]) -> list[Dropped]:
        """Return which of these drops have neither an arrival nor a record that speaks of them.

        A drop that was decided has its arrival under its version. The records are for drops of
        before there were arrivals: a record that a drop has made knows it by its version. Where
        S3's events name no versions (the laptop's), a record stands for all drops of its bytes that
        it does not know better.
        """
        ids = {
            dropped: drop_id(self._config.photos_bucket, dropped.key, dropped.version_id)
            for dropped in page
            if dropped.version_id is not None
        }
        known = self._arrivals.known(ids.values())
        page = [dropped for dropped in page if ids.get(dropped) not in known]
        versions = defaultdict(set)
        for dropped in page:
            versions[dropped.key].add(dropped.version_id)
        missing = []
        jobs: dict[str, list[Job]] = {}
        for dropped in page:
            key = dropped.key
            if key not in jobs:
                jobs[key] = list(self._jobs.of_source(key))
            named = any(job.triggers & versions[key] for job in jobs[key])
            if not any(_speaks_of(job, dropped, named=named) for job in jobs[key]):
                missing.append(dropped)
        return missing

    def _drop_again(self, round_: _Round, dropped: Dropped) -> bool:
        """Send a drop again, unless its message may still be on its way."""
        lately = parse_iso(dropped.at) > round_.now - timedelta(seconds=STILL_SECONDS)
        resent = self._resent.lately(dropped, round_.now)
        if not round_.queue_waits and (lately or resent):
            return False
        # While the bucket settles, what waits in the queue may be this drop.
        if resent and not round_.queue_is_empty and self._settling.seconds_left() > 0:
            return False
        logger().warning("has not arrived, sent again", extra={"source_key": dropped.key})
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
        self._resent.note(dropped, round_.now)
        return True


def _new_pass(round_: _Round) -> _Pass:
    oldest = iso(round_.now - LOOK_BACK)
    full = round_.cursors.get("photos_full", "") <= iso(round_.now - FULL_PASS_EVERY)
    since = oldest if full else max(oldest, round_.cursors.get("photos_since", oldest))
    return _Pass(since=since, until=round_.until, full=full)


def _after(photos: _Pass) -> dict[str, str]:
    """Return what the next passes go by after one that has come to its end."""
    behind = iso(parse_iso(photos.until) - OVERLAP)
    found = {"photos_since": min(filter(None, (behind, photos.missing)))}
    return {**found, "photos_full": photos.until} if photos.full else found


def _behind(ids: Sequence[str], last: str) -> int:
    """Return the place of the first id behind the last that was tried."""
    return sum(job_id <= last for job_id in ids)


def _speaks_of(job: Job, dropped: Dropped, *, named: bool) -> bool:
    """Whether a record speaks of a drop; `named` is whether this key's drops name versions."""
    photo, version = job.photo, dropped.version_id
    if photo is None or not job.dropped or version is None:
        return version in job.triggers or (
            version is None and photo is not None and photo.etag == dropped.etag
        )
    if version in job.triggers or version == photo.version_id:
        return True
    return not named and photo.version_id is None and photo.etag == dropped.etag
