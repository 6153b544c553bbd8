"""What ReconcileFunction does, a few times an hour: find stalled work and continue it.

Messages and executions can be lost: a queue is purged, an execution's history expires, a function
crashes between two calls. The record and the photo remain. Each run checks a bounded number of
entries that have not changed for a while, the longest unchanged first:

    dead letters    each gets a record
    RUNNING         without an execution: the task is taken up again; stopped by hand: `aborted`
    SUBMITTING      past its lease: SubmitFunction decides, as on a redelivery
    ACCEPTED        without a message: a message is sent
    arrivals        with missing records: SubmitFunction makes them
    ended           without an event: the event is published, and an unknown submit entered in
                    the ledger
    photos          without an arrival: their drop is sent again

The photos are listed page by page, and a cursor is written after each page. The next run continues
there. A pass over the bucket checks the photos that were dropped since the last pass; once a day a
pass checks all photos of the last 14 days.

At its end each run emits the state of the stack as metrics (shared/notify/metrics.py).

Each move is a conditional write, or a message that may be delivered twice. So two runs at the same
time do no harm, nor does a job that continues at that moment. Only SubmitFunction decides about a
submit; reconcile sends it the jobs.
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
from shared.records.ledger import Ledger
from shared.steps.dead_letters import DeadLetter, DeadLetters
from shared.steps.start import execution_arn, stop_error

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_stepfunctions import SFNClient

T = TypeVar("T")

STILL_SECONDS: Final = 1_800
"""An entry that has not changed for this long is stalled. A waiting message is delivered at least
every 15 minutes (SQS's longest delay), and a task is polled far more often."""
LOOK_BACK: Final = timedelta(days=14)
"""Older photos without a record are ignored: no event lives longer (SQS's maximum), and if a table
was emptied, old photos must not be made and paid for again."""
OVERLAP: Final = timedelta(hours=2)
"""A pass begins this long before the end of the last one, since S3 dates a multipart upload by its
beginning."""
FULL_PASS_EVERY: Final = timedelta(days=1)
"""How often a pass checks all photos of `LOOK_BACK`. It finds slow uploads and photos whose record
was deleted."""
RESEND_AFTER: Final = timedelta(hours=6)
"""A drop is sent again at most once in this time, since its message may wait behind many others."""
CHECK_TOGETHER: Final = 100
"""This many photos are checked with one call: BatchGetItem takes no more keys."""
MAX_ENTRIES: Final = 500
"""A run checks at most this many jobs of a status, and this many arrivals."""
MAX_UNANNOUNCED: Final = 1_000
"""At most this many jobs whose event was refused are kept for later runs. If there are more, the
trouble is EventBridge and no single event: the run stops publishing, and the next one continues
there."""
MAX_LETTERS: Final = 2_000
"""Dead letters stay in their queue, so each run receives all of them. The limit must be far above
the usual number."""
MAX_TAKE_UPS: Final = 3
"""If this many executions of a task ended without a result, its job is FAILED."""
ENOUGH_SECONDS: Final = 20.0
"""Nothing is begun if the invocation has less time left; the next run continues."""
_ENDS: Final = (*sorted(TERMINAL), JobStatus.SUBMIT_UNKNOWN)
_GOING: Final = frozenset({"RUNNING", "PENDING_REDRIVE"})


class Cursors:
    """Where the next run continues, in JobsTable under `CONTROL#reconcile`."""

    def __init__(self, dynamodb: "DynamoDBClient", table: str) -> None:
        """Keep the cursors in this table."""
        self._dynamodb = dynamodb
        self._table = table
        self._key: Any = {"pk": {"S": "CONTROL#reconcile"}}

    def read(self) -> dict[str, str]:
        """Return all cursors by name."""
        answer = self._dynamodb.get_item(TableName=self._table, Key=self._key, ConsistentRead=True)
        return {name: value["S"] for name, value in answer.get("Item", {}).items() if "S" in value}

    def write(self, values: Mapping[str, str]) -> None:
        """Write some cursors, by name."""
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
    """The drops that were sent again lately, in JobsTable under `RESENT#<hash>`.

    DynamoDB deletes these items some time after `expires_at`.
    """

    def __init__(self, dynamodb: "DynamoDBClient", table: str, bucket: str) -> None:
        """Keep the drops in this table; `bucket` is PhotosBucket."""
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


class Unannounced:
    """Ended jobs whose event EventBridge refused, in JobsTable under `CONTROL#untold`."""

    def __init__(self, dynamodb: "DynamoDBClient", table: str) -> None:
        """Keep the ids in this table."""
        self._dynamodb = dynamodb
        self._table = table
        self._key: Any = {"pk": {"S": "CONTROL#untold"}}

    def ids(self) -> list[str]:
        """Return the ids, sorted."""
        answer = self._dynamodb.get_item(TableName=self._table, Key=self._key, ConsistentRead=True)
        return sorted(answer.get("Item", {}).get("job_ids", {"SS": []})["SS"])

    def add(self, job_id: str) -> None:
        """Keep the id of a job.

        Raises:
            OverflowError: `MAX_UNANNOUNCED` ids are kept already.

        """
        if len(self.ids()) >= MAX_UNANNOUNCED:
            raise OverflowError(
                f"{MAX_UNANNOUNCED} events were refused; EventBridge seems to be in trouble"
            )
        self._change("ADD", job_id)

    def remove(self, job_id: str) -> None:
        """Remove the id of a job: its event was published, or is no longer needed."""
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
    """A pass over all photos of the bucket; it may take several runs."""

    since: str
    """ISO 8601; photos dropped from `since` to `until`, both included, are checked."""
    until: str
    full: bool
    """Whether the pass checks all photos of `LOOK_BACK`."""
    missing: str = ""
    """When the oldest photo without an arrival was dropped; the next pass begins there."""
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
        """Read what `write` wrote; return None for anything else: then a new pass begins."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            return None


@dataclass
class _Round:
    """One run."""

    now: datetime
    until: str
    """ISO 8601; entries that changed after this moment are not stalled."""
    remaining_seconds: Callable[[], float]
    cursors: dict[str, str]
    queue_is_empty: bool = False
    """Whether SubmitQueue had no message at all when the run began. Only a run with a shorter
    `still_seconds` checks this."""
    queue_waits: bool = False
    """Whether SubmitQueue had no message but delayed ones. Delayed messages are not drops, except
    while the photos bucket is new. A run by hand then sends each drop again once; both messages
    have the same arrival."""
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
        """Move each entry that is found; a failure of one does not affect the others."""
        with self.going_on(name):
            for number, entry in enumerate(find()):
                if number >= (limit or MAX_ENTRIES) or not self.has_time():
                    return
                with self.going_on(name, entry):
                    self.moved[name] += move(entry)

    @contextmanager
    def going_on(self, name: str, entry: object = None) -> Iterator[None]:
        """Log and count an exception that is raised inside, and continue after the block."""
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
        """Whether the invocation has time for one more entry."""
        return self.remaining_seconds() >= ENOUGH_SECONDS


def _names(entry: object) -> dict[str, str | int]:
    """Return the log keys of an entry."""
    match entry:
        case Job():
            return keys_of(entry)
        case Dropped(key=key):
            return {"source_key": key}
        case DeadLetter(message_id=message_id):
            return {"message_id": message_id}
    return {}


class Reconciler:
    """Continues stalled work."""

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
        unannounced: Unannounced,
        reviews: ReviewOutbox,
        settling: Settling,
        announcer: Announcer,
        ledger: Ledger,
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
        self._unannounced = unannounced
        self._reviews = reviews
        self._settling = settling
        self._announcer = announcer
        self._ledger = ledger
        self._executions = executions
        self._sqs = sqs
        self._breaker = breaker
        self._credit_limit = credit_limit
        self._metrics = metrics
        self._now = now

    def run(
        self, remaining_seconds: Callable[[], float], *, still_seconds: float = STILL_SECONDS
    ) -> dict[str, int]:
        """Do one run and return how many entries were moved, by kind.

        Args:
            remaining_seconds: returns how much of the invocation is left.
            still_seconds: an entry that has not changed for this long is stalled.

        Raises:
            RuntimeError: some entries could not be moved. The log names them, and the next run
                tries again.

        """
        now = self._now()
        round_ = _Round(
            now=now,
            until=iso(now - timedelta(seconds=still_seconds)),
            remaining_seconds=remaining_seconds,
            cursors=self._cursors.read(),
        )
        with round_.going_on("settling"):
            # This begins the bucket's first quarter of an hour, if no photo has come yet.
            self._settling.seconds_left()
        if still_seconds < STILL_SECONDS:
            with round_.going_on("queue"):
                self._count_messages(round_)
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
            announce = partial(self._announce_ended, round_=round_)
            round_.each("announced", partial(iter, [status]), announce)
        round_.each("announced", partial(iter, [round_]), self._announce_refused)
        round_.each("reviews", self._reviews.left_behind, self._announce_review)
        with round_.going_on("photos"):
            self._photos_again(round_)
        moved = {name: count for name, count in round_.moved.items() if count}
        logger().info("reconciled", extra={"moved": moved, "failures": round_.failures})
        self._measure(sum(moved.values()))
        if round_.failures:
            raise RuntimeError(f"{round_.failures} could not be moved on; the log says which")
        return moved

    def _measure(self, moves: int) -> None:
        """Emit the state of the stack; a failure here fails nothing else."""
        try:
            pause = self._breaker.current_pause()
            gauges = Gauges(
                moves=moves,
                parked=self._jobs.count_in(JobStatus.SUBMIT_UNKNOWN),
                paused_by=None if pause is None else pause.cause,
                credits_used=self._credit_limit.used(),
            )
        except Exception:  # noqa: BLE001  see above; it is logged, and the next run tries again
            logger().exception("the state of the stack could not be read for the metrics")
            return
        self._metrics.gauges(gauges)

    def _still(self, status: JobStatus, round_: _Round) -> Iterator[Job]:
        """Yield the stalled jobs of a status. Each is read again, since an index may lag behind."""
        for found in self._jobs.of_status(status, until=round_.until):
            job = self._jobs.get(found.job_id)
            if job is not None and job.status is status and job.updated_at <= round_.until:
                yield job

    def _record(self, letter: DeadLetter) -> bool:
        return self._dead_letters.record(letter, self._announcer)

    def _count_messages(self, round_: _Round) -> None:
        """Check whether SubmitQueue has messages, before this run sends any.

        SQS counts messages approximately, and some seconds late. If reconcile sends a message too
        many, the record makes sure that nothing is done twice.
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

        A waiting message is delivered after 15 minutes at the latest, and SubmitFunction then
        writes the record. If the record was written lately, the message still exists, unless the
        queue is empty.
        """
        lately = job.updated_at > iso(round_.now - timedelta(seconds=STILL_SECONDS))
        return round_.queue_is_empty or not lately

    def _continue(self, round_: _Round, job: Job) -> bool:
        return self._stands_still(round_, job) and self._send_again(job)

    def _send_again(self, job: Job) -> bool:
        """Send a job to SubmitFunction, and note it, so that the next run does not do it again."""
        with log_keys(**keys_of(job)):
            logger().warning("stood still, sent again", extra={"status": job.status})
            self._sqs.send_message(
                QueueUrl=self._config.submit_queue_url, MessageBody=continue_message(job)
            )
            self._jobs.note_checked(job)
        return True

    def _claim_again(self, arrival_id: str) -> bool:
        """Send an arrival to SubmitFunction, which makes the records of its jobs."""
        logger().warning("unclaimed, sent again", extra={"arrival_id": arrival_id})
        self._sqs.send_message(
            QueueUrl=self._config.submit_queue_url, MessageBody=arrival_message(arrival_id)
        )
        self._arrivals.note_resent(arrival_id)
        return True

    def _running(self, round_: _Round, job: Job) -> bool:
        """Continue a job that has not been polled for long, if its execution has ended."""
        if job.announced != JobStatus.RUNNING:
            # Its execution may not have been started; SubmitFunction starts it if needed.
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

    def _announce_ended(self, status: JobStatus, round_: _Round) -> int:
        """Announce jobs that ended without an event; the cursor makes sure each is read once."""
        last = after = round_.cursors.get(status, iso(round_.now - LOOK_BACK))
        announced = 0
        try:
            for number, found in enumerate(
                self._jobs.of_status(status, after=after, until=round_.until)
            ):
                # Never stop between two jobs of the same millisecond: the next run begins after it.
                if (number >= MAX_ENTRIES or not round_.has_time()) and found.updated_at != last:
                    break
                if found.announced != status:
                    announced += self._announce_one(found, round_)
                last = found.updated_at
        finally:
            if last != after:
                self._cursors.write({status: last})
        return announced

    def _announce_one(self, found: Job, round_: _Round) -> bool:
        """Announce the end of a job; if its event is refused, keep its id for later runs."""
        job = self._jobs.get(found.job_id)
        if job is None or job.status is not found.status or job.announced == job.status:
            return False
        try:
            self._announce(job)
        except Exception:  # noqa: BLE001  logged, counted, and tried again by each run
            self._unannounced.add(job.job_id)
            round_.note_failure("announced", job)
            return False
        return True

    def _announce(self, job: Job) -> None:
        """Announce the end of a job; enter a submit first whose outcome is unknown."""
        # SubmitFunction may have been killed before both.
        if job.status is JobStatus.SUBMIT_UNKNOWN:
            self._ledger.doubt(job)
        self._announcer.announce(job)

    def _announce_refused(self, round_: _Round) -> int:
        """Announce again the jobs whose event was refused; each run begins where the last ended."""
        ids, last = self._unannounced.ids(), round_.cursors.get("untold", "")
        announced = 0
        if ids:
            logger().warning("ends that EventBridge has refused", extra={"untold": len(ids)})
        for job_id in ([*ids[_behind(ids, last) :], *ids[: _behind(ids, last)]])[:MAX_ENTRIES]:
            if not round_.has_time():
                break
            last = job_id
            job = self._jobs.get(job_id)
            if job is not None and job.status in _ENDS and job.announced != job.status:
                try:
                    self._announce(job)
                except Exception:  # noqa: BLE001  it is logged, and `catwalk doctor` counts them
                    with log_keys(**keys_of(job)):
                        logger().warning("its end could not be published", exc_info=True)
                    continue
                announced += 1
            self._unannounced.remove(job_id)
        if ids:
            self._cursors.write({"untold": last})
        return announced

    def _announce_review(self, left_behind: tuple[str, str]) -> int:
        """Publish a review whose command may have ended between its record and its event."""
        entry, job_id = left_behind
        job = self._jobs.get(job_id)
        reviewed = None if job is None else job.as_reviewed
        if reviewed is not None:
            self._announcer.reviewed(reviewed)
        self._reviews.remove(entry)
        return int(reviewed is not None)

    def _photos_again(self, round_: _Round) -> None:
        """Send the drops without an arrival again, as far as the time allows."""
        begun = _Pass.read(round_.cursors.get("photos", ""))
        if begun is None or self._go_through(begun, round_):
            self._go_through(_new_pass(round_), round_)

    def _go_through(self, photos: _Pass, round_: _Round) -> bool:
        """Continue a pass; return whether it is complete."""
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
        """Return the photos without an arrival; an error of one does not hide the others."""
        try:
            return self._without_arrival(some)
        except Exception:  # the photo that causes it is found below
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
        """Return the drops that have neither an arrival nor a record.

        The arrival of a drop has the object's version in its id. Earlier versions of Catwalk stored
        no arrivals; their records name the version that was dropped. The local AWS's events name no
        versions: there, a record stands for all drops of the same bytes.
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
        # While the bucket is new, a delayed message may be this drop.
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
    """Return the cursors for the next passes after a complete one."""
    behind = iso(parse_iso(photos.until) - OVERLAP)
    found = {"photos_since": min(filter(None, (behind, photos.missing)))}
    return {**found, "photos_full": photos.until} if photos.full else found


def _behind(ids: Sequence[str], last: str) -> int:
    """Return the index of the first id after the last one that was tried."""
    return sum(job_id <= last for job_id in ids)


def _speaks_of(job: Job, dropped: Dropped, *, named: bool) -> bool:
    """Whether a record was made of a drop; `named` says whether this key's drops name versions."""
    photo, version = job.photo, dropped.version_id
    if photo is None or not job.dropped or version is None:
        return version in job.triggers or (
            version is None and photo is not None and photo.etag == dropped.etag
        )
    if version in job.triggers or version == photo.version_id:
        return True
    return not named and photo.version_id is None and photo.etag == dropped.etag
