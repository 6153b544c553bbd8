"""JobsTable: the one place that writes records, and each write conditional.

Every verb below is one `UpdateItem` or `PutItem` whose condition says from where the job may
come. A verb that returns None changed nothing: another invocation was first, and what it wrote
stands. Nothing here retries or sleeps; botocore's own retries cover throttles.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from shared.clock import iso, later, utc_now
from shared.models import (
    Job,
    JobError,
    JobStatus,
    PastAttempt,
    Photo,
    Result,
    Settings,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

RESTARTABLE: Final = frozenset({JobStatus.FAILED, JobStatus.REJECTED})
"""Statuses from which dropping the photo again starts the next attempt."""
MAX_HISTORY: Final = 20
MAX_TRIGGERS: Final = 200
"""A record remembers at most this many drops, far below DynamoDB's 400 kB an item."""


@dataclass(frozen=True)
class NewJob:
    """What a claim is made for."""

    job_id: str
    photo: Photo | None
    source_key: str | None
    settings: Settings | None
    trigger: str
    """What tells this drop or request from a later one: each starts one attempt at most."""
    sku: str | None = None
    request_id: str | None = None
    error: JobError | None = None
    """Bad input: the record is born REJECTED."""


class JobRepository:
    """JobsTable."""

    def __init__(
        self, dynamodb: "DynamoDBClient", table: str, *, now: Callable[[], datetime] = utc_now
    ) -> None:
        """Use this table; `now` is the clock that all times in records come from."""
        self._dynamodb = dynamodb
        self._table = table
        self._now = now

    def get(self, job_id: str) -> Job | None:
        """Return a record as it is now (a consistent read), or None."""
        answer = self._dynamodb.get_item(
            TableName=self._table, Key=_key(job_id), ConsistentRead=True
        )
        item = answer.get("Item")
        return None if item is None else job_of(item)

    def claim(self, new: NewJob) -> Job:
        """Return the job that this drop or request is about, after making it if need be.

        A new job is written as ACCEPTED, or REJECTED where `new.error` is set. An existing one
        is returned as it is, except that a drop not seen before starts the next attempt of a
        FAILED or REJECTED job. A drop that was already taken into account changes nothing.
        """
        created = self._create(new)
        if created is not None:
            return created
        while True:
            job = self.get(new.job_id)
            if job is None:
                raise LookupError(f"job {new.job_id} was deleted while it was being claimed")
            if new.trigger in job.triggers or len(job.triggers) >= MAX_TRIGGERS:
                return job
            if job.status in RESTARTABLE:
                changed = self.start_attempt(job, new)
            else:
                changed = self._remember(job, new.trigger)
            if changed is not None:
                return changed

    def start_attempt(self, job: Job, new: NewJob | None = None) -> Job | None:
        """Start the next attempt of a job that ended, or whose submit stayed unknown.

        The earlier attempt, its task id above all, is kept in `history`.
        """
        error = new.error if new is not None else None
        past = PastAttempt(
            attempt=job.attempt,
            status=job.status,
            task_id=job.task_id,
            error=job.error,
            finished_at=job.finished_at,
        )
        now = iso(self._now())
        sets: dict[str, Any] = {
            "attempt": job.attempt + 1,
            "status": JobStatus.REJECTED if error else JobStatus.ACCEPTED,
            "history": [_plain(entry) for entry in (*job.history, past)[-MAX_HISTORY:]],
            "progress": 0,
            "polls": 0,
            "results": [],
        }
        if error is not None:
            sets |= {"error": _plain(error), "finished_at": now}
        if new is not None and new.photo is not None:
            sets["photo"] = _plain(new.photo)
        left_behind = ["task_id", "submitted_at", "finished_at", "execution_arn", "error"]
        return self._update(
            job,
            came_from={job.status},
            sets=sets,
            removes=[
                *(name for name in left_behind if name not in sets),
                "lease_until",
                "unsent",
                "announced",
            ],
            add_trigger=new.trigger if new is not None else None,
        )

    def mark_submitting(self, job: Job, *, lease_seconds: float) -> Job | None:
        """Write SUBMITTING, before the POST. Only who gets a job back may send it.

        Args:
            job: ACCEPTED, or SUBMITTING with a POST that certainly cost nothing.
            lease_seconds: how long this invocation may be at it; nobody calls the submit
                unknown before that.

        """
        unsent = job.status is JobStatus.SUBMITTING
        return self._update(
            job,
            came_from={JobStatus.SUBMITTING if unsent else JobStatus.ACCEPTED},
            sets={
                "status": JobStatus.SUBMITTING,
                "lease_until": later(self._now(), lease_seconds),
            },
            removes=["unsent"],
            condition="unsent = :true" if unsent else "",
        )

    def mark_unsent(self, job: Job) -> Job | None:
        """Note that the POST certainly cost nothing, so that it may be sent again later."""
        return self._update(
            job, came_from={JobStatus.SUBMITTING}, sets={"unsent": True}, removes=["lease_until"]
        )

    def keep_task_id(self, job: Job, task_id: str, *, execution_arn: str) -> Job | None:
        """Write RUNNING and the task id: the first thing after the vendor accepted.

        Also taken from SUBMIT_UNKNOWN: an answer that came later than its lease is still true.
        """
        return self._update(
            job,
            came_from={JobStatus.SUBMITTING, JobStatus.SUBMIT_UNKNOWN},
            sets={
                "status": JobStatus.RUNNING,
                "task_id": task_id,
                "execution_arn": execution_arn,
                "submitted_at": iso(self._now()),
                "credits": job.credits + 1,
            },
            removes=["lease_until", "unsent", "error"],
        )

    def mark_unknown(self, job: Job, error: JobError) -> Job | None:
        """Write SUBMIT_UNKNOWN: the POST may or may not have been charged."""
        return self._update(
            job,
            came_from={JobStatus.SUBMITTING},
            sets={"status": JobStatus.SUBMIT_UNKNOWN, "error": _plain(error)},
            removes=["lease_until", "unsent"],
            condition="attribute_not_exists(unsent)",
        )

    def note_poll(self, job_id: str, attempt: int, *, progress: int | None) -> Job | None:
        """Count a poll and keep the progress; None if this attempt is no longer RUNNING."""
        sets: dict[str, Any] = {} if progress is None else {"progress": progress}
        return self._update_item(
            job_id,
            condition="attempt = :attempt AND #status = :running",
            names={"#status": "status"},
            values={":attempt": attempt, ":running": JobStatus.RUNNING, ":one": 1},
            sets=sets,
            adds="polls :one",
        )

    def finish(self, job: Job, *, results: Iterable[Result], error: JobError | None) -> Job | None:
        """Write SUCCEEDED, or PARTIAL where `error` names what is missing."""
        status = JobStatus.SUCCEEDED if error is None else JobStatus.PARTIAL
        sets: dict[str, Any] = {
            "status": status,
            "results": [_plain(result) for result in results],
            "finished_at": iso(self._now()),
            "progress": 100,
        }
        if error is not None:
            sets["error"] = _plain(error)
        return self._update(
            job,
            came_from={JobStatus.RUNNING},
            sets=sets,
            removes=["error"] if error is None else [],
        )

    def fail(self, job: Job, error: JobError) -> Job | None:
        """Write FAILED; the task id stays."""
        return self._update(
            job,
            came_from={JobStatus.ACCEPTED, JobStatus.SUBMITTING, JobStatus.RUNNING},
            sets={
                "status": JobStatus.FAILED,
                "error": _plain(error),
                "finished_at": iso(self._now()),
            },
            removes=["lease_until", "unsent"],
        )

    def give_up(self, job: Job, error: JobError, *, copied: Sequence[Result]) -> Job | None:
        """End a job that goes on no longer: PARTIAL with what was copied, FAILED without."""
        return self.finish(job, results=copied, error=error) if copied else self.fail(job, error)

    def mark_announced(self, job: Job) -> Job | None:
        """Note that the event about the job's present status is out."""
        return self._update_item(
            job.job_id,
            condition="attempt = :attempt AND #status = :status",
            names={"#status": "status"},
            values={":attempt": job.attempt, ":status": job.status},
            sets={"announced": job.status},
            touch=False,
        )

    def _create(self, new: NewJob) -> Job | None:
        now = iso(self._now())
        job = Job(
            job_id=new.job_id,
            status=JobStatus.REJECTED if new.error else JobStatus.ACCEPTED,
            source_key=new.source_key,
            photo=new.photo,
            sku=new.sku,
            request_id=new.request_id,
            settings=new.settings,
            created_at=now,
            updated_at=now,
            finished_at=now if new.error else None,
            error=new.error,
            triggers=frozenset({new.trigger}),
        )
        item = {**_plain(job), "pk": _pk(new.job_id), "triggers": set(job.triggers)}
        try:
            self._dynamodb.put_item(
                TableName=self._table,
                Item=_wire(item),
                ConditionExpression="attribute_not_exists(pk)",
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return None
        return job

    def _remember(self, job: Job, trigger: str) -> Job | None:
        return self._update_item(
            job.job_id,
            condition="attempt = :attempt AND #status = :from",
            names={"#status": "status"},
            values={
                ":attempt": job.attempt,
                ":from": job.status,
                ":trigger": {trigger},
            },
            sets={},
            adds="triggers :trigger",
            touch=False,
        )

    def _update(
        self,
        job: Job,
        *,
        came_from: set[JobStatus],
        sets: Mapping[str, Any],
        removes: Iterable[str] = (),
        condition: str = "",
        add_trigger: str | None = None,
    ) -> Job | None:
        """Move a job on, provided that it is in the same attempt and came from such a status."""
        names = {"#status": "status"}
        values: dict[str, Any] = {":attempt": job.attempt}
        froms = []
        for number, status in enumerate(sorted(came_from)):
            values[f":from{number}"] = status
            froms.append(f":from{number}")
        parts = [f"attempt = :attempt AND #status IN ({', '.join(froms)})"]
        if condition:
            parts.append(condition)
            if ":true" in condition:
                values[":true"] = True
        if add_trigger is not None:
            values[":trigger"] = {add_trigger}
        return self._update_item(
            job.job_id,
            condition=" AND ".join(parts),
            names=names,
            values=values,
            sets=sets,
            removes=removes,
            adds="triggers :trigger" if add_trigger is not None else "",
        )

    def _update_item(
        self,
        job_id: str,
        *,
        condition: str,
        names: Mapping[str, str],
        values: Mapping[str, Any],
        sets: Mapping[str, Any],
        removes: Iterable[str] = (),
        adds: str = "",
        touch: bool = True,
    ) -> Job | None:
        sets = {**sets, "updated_at": iso(self._now())} if touch else sets
        all_names = dict(names)
        all_values = dict(values)
        clauses = []
        for position, (name, value) in enumerate(sets.items()):
            all_names[f"#set{position}"] = name
            all_values[f":set{position}"] = value
        if sets:
            pairs = ", ".join(f"#set{position} = :set{position}" for position in range(len(sets)))
            clauses.append(f"SET {pairs}")
        removed = list(removes)
        for position, name in enumerate(removed):
            all_names[f"#remove{position}"] = name
        if removed:
            clauses.append("REMOVE " + ", ".join(f"#remove{n}" for n in range(len(removed))))
        if adds:
            clauses.append(f"ADD {adds}")
        arguments: dict[str, Any] = {"ExpressionAttributeNames": all_names} if all_names else {}
        try:
            answer = self._dynamodb.update_item(
                TableName=self._table,
                Key=_key(job_id),
                UpdateExpression=" ".join(clauses),
                ConditionExpression=condition,
                ExpressionAttributeValues=_wire(all_values),
                ReturnValues="ALL_NEW",
                **arguments,
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return None
        return job_of(answer["Attributes"])


def job_of(item: Mapping[str, Any]) -> Job:
    """Return the record that a DynamoDB item holds."""
    deserializer = TypeDeserializer()
    plain = {name: _undecimal(deserializer.deserialize(value)) for name, value in item.items()}
    return Job.model_validate(plain)


def _pk(job_id: str) -> str:
    return f"JOB#{job_id}"


def _key(job_id: str) -> Any:  # noqa: ANN401  the client's wire form of a key
    return {"pk": {"S": _pk(job_id)}}


def _plain(model: Job | JobError | Photo | Result | Settings | PastAttempt) -> dict[str, Any]:
    return model.model_dump(mode="json", exclude_none=True)


def _wire(values: Mapping[str, Any]) -> dict[str, Any]:
    serializer = TypeSerializer()
    return {name: serializer.serialize(_decimal(value)) for name, value in values.items()}


def _decimal(value: Any) -> Any:  # noqa: ANN401  any JSON value, or a set of strings
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, Mapping):
        return {name: _decimal(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_decimal(entry) for entry in value]
    if isinstance(value, str):
        return str(value)
    return value


def _undecimal(value: Any) -> Any:  # noqa: ANN401  as above
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dict):
        return {name: _undecimal(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_undecimal(entry) for entry in value]
    return value
