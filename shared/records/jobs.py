"""JobsTable: the only module that writes job records, always by conditional writes.

Each method below that writes is one `UpdateItem` or `PutItem`. Its condition names the statuses
that the job may have before. If a method returns None, it changed nothing: another invocation wrote
first, and its write counts. This module does not retry or sleep; botocore's retries cover
throttling. If the answer to a write is lost, botocore sends the write again, and its condition
fails. So the methods around the POST recognise their own write by the lease token or the task id.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from shared.clock import iso, later, utc_now
from shared.models import (
    REVIEWABLE,
    Job,
    JobError,
    JobStatus,
    PastAttempt,
    Photo,
    Refusals,
    Result,
    Review,
    ReviewState,
    Settings,
    Waiting,
)
from shared.records.attributes import from_attribute, item_of, to_attribute

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

RESTARTABLE: Final = frozenset({JobStatus.FAILED, JobStatus.REJECTED})
"""Statuses from which dropping the photo again starts the next attempt."""
MAX_HISTORY: Final = 20
MAX_TRIGGERS: Final = 200
"""A record keeps the triggers of at most this many drops, far below DynamoDB's 400 kB an item. Then
it keeps only the newest. A drop is delivered twice within minutes, not after 200 other drops."""


@dataclass(frozen=True)
class NewJob:
    """A job that a drop or a request asks for."""

    job_id: str
    photo: Photo | None
    source_key: str | None
    settings: Settings | None
    trigger: str
    """Identifies the drop or request. Each one starts at most one attempt."""
    sku: str | None = None
    request_id: str | None = None
    error: JobError | None = None
    """Set for bad input: then the record is made as REJECTED."""
    dropped: bool = False
    """Whether a dropped photo asks for it; else a request does."""
    arrived_at: str | None = None
    """When the photo or the request arrived, ISO 8601; None means now."""
    mask: Photo | None = None
    """The version of the mask, if it is in PhotosBucket."""


class JobRepository:
    """JobsTable."""

    def __init__(
        self, dynamodb: "DynamoDBClient", table: str, *, now: Callable[[], datetime] = utc_now
    ) -> None:
        """Use this table; `now` is the clock for all times in records."""
        self._dynamodb = dynamodb
        self._table = table
        self._now = now

    def get(self, job_id: str) -> Job | None:
        """Return a record by a consistent read, or None if there is none."""
        answer = self._dynamodb.get_item(
            TableName=self._table, Key=_key(job_id), ConsistentRead=True
        )
        item = answer.get("Item")
        return None if item is None else job_of(item)

    def claim(
        self,
        new: NewJob,
        *,
        made: Callable[[Job], None] | None = None,
        execution_arn: Callable[[str, int], str] | None = None,
    ) -> Job:
        """Return the job that this drop or request asks for; make it if it does not exist.

        A new job is written as ACCEPTED, or as REJECTED if `new.error` is set. An existing job is
        returned unchanged, with one exception: a new drop starts the next attempt of a FAILED or
        REJECTED job. That attempt uses the paid task if there is one (`Job.free_task`), else it
        submits again. A drop that is already noted in the record changes nothing, unless its
        message was a dead letter: then the job was never tried, and the next attempt starts.

        Args:
            new: the job that is asked for.
            made: called with the job if this claim made its present attempt for a new drop or
                request.
            execution_arn: returns the ARN of a job's attempt; without it no task is taken up.

        """
        created = self._create(new)
        if created is not None:
            if made is not None:
                made(created)
            return created
        while True:
            job = self.get(new.job_id)
            if job is None:
                raise LookupError(f"job {new.job_id} was deleted while it was being claimed")
            if new.trigger in job.triggers and not job.dead_lettered:
                return job
            if job.status in RESTARTABLE:
                if execution_arn is None or new.error is not None or job.free_task is None:
                    changed = self.start_attempt(job, new)
                else:
                    arn = execution_arn(job.job_id, job.attempt + 1)
                    changed = self.take_up(job, execution_arn=arn, new=new)
                if changed is not None and made is not None and new.trigger not in job.triggers:
                    made(changed)
            else:
                changed = self._remember(job, new.trigger)
            if changed is not None:
                return changed

    def keep_dead_letter(
        self, new: NewJob, error: JobError, *, message_id: str, body: str | None
    ) -> Job | None:
        """Make a FAILED record for a dead letter that has no job yet.

        Args:
            new: the photo and the request, as far as the message names them.
            error: the record's error, which says what to do.
            message_id: the id of the message.
            body: the message itself, since the queue deletes it after 14 days.

        """
        return self._put(new, JobStatus.FAILED, error, dead_letter=message_id, dead_body=body)

    def forget_dead_letter(self, job_id: str) -> None:
        """Delete a record that `keep_dead_letter` made: its message was sent again."""
        no_job = "attribute_exists(dead_letter) AND attribute_not_exists(settings)"
        try:
            self._dynamodb.delete_item(
                TableName=self._table,
                Key=_key(job_id),
                ConditionExpression=f"{no_job} AND #status = :failed",
                ExpressionAttributeNames={"#status": "status"},
                ExpressionAttributeValues={":failed": {"S": JobStatus.FAILED}},
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return

    def start_attempt(self, job: Job, new: NewJob | None = None) -> Job | None:
        """Start the next attempt of a job that ended or is SUBMIT_UNKNOWN.

        The earlier attempt, its task id and its review are kept in `history`. None also if the
        review has changed since the job was read: no decision goes without a trace.
        """
        error = new.error if new is not None else None
        now = iso(self._now())
        sets: dict[str, Any] = {
            "attempt": job.attempt + 1,
            "status": JobStatus.REJECTED if error else JobStatus.ACCEPTED,
            "history": _history_with(job),
            "progress": 0,
            "polls": 0,
            "results": [],
            "arrived_at": now,
        }
        if error is not None:
            sets |= {"error": _plain(error), "finished_at": now}
        if new is not None:
            sets |= _of_drop(new, now)
        left_behind = [
            *("task_id", "submitted_at", "resumed_at", "finished_at", "execution_arn", "error"),
            *(
                "lease_until",
                "unsent",
                "refusals",
                "waiting",
                "held_at",
                "dead_letter",
                "announced",
                "review",
                "review_state",
            ),
        ]
        return self._update(
            job,
            came_from={job.status},
            sets=sets,
            removes=[name for name in left_behind if name not in sets],
            same_review=True,
            add_trigger=new.trigger if new is not None else None,
        )

    def take_up(self, job: Job, *, execution_arn: str, new: NewJob | None = None) -> Job | None:
        """Start the next attempt with the newest paid task; this costs nothing.

        Results that were already copied stay in the record until new copies replace them. None also
        if the review has changed since the job was read, as for `start_attempt`.

        Args:
            job: a job that is RUNNING or has ended; this attempt or an earlier one has a task.
            execution_arn: the ARN of the next attempt's execution.
            new: the drop or request that asks for it, if there is one.

        """
        task = job.newest_task
        if task is None:
            raise LookupError(f"job {job.job_id} has no task to take up")
        sets: dict[str, Any] = {
            "attempt": job.attempt + 1,
            "status": JobStatus.RUNNING,
            "history": _history_with(job),
            "task_id": task.task_id,
            "results": [_plain(result) for result in task.results],
            "execution_arn": execution_arn,
            "resumed_at": iso(self._now()),
        }
        if new is not None:
            sets |= _of_drop(new, iso(self._now()))
        return self._update(
            job,
            came_from={job.status},
            sets=sets,
            removes=[
                *("finished_at", "error", "dead_letter", "announced"),
                *("lease_until", "unsent", "waiting", "review", "review_state"),
            ],
            same_review=True,
            add_trigger=new.trigger if new is not None else None,
        )

    def note_waiting(
        self, job: Job, *, seconds: float, reason: str, held: bool = False
    ) -> Job | None:
        """Note why a photo waits, and until when; a delayed message exists.

        Args:
            job: the photo's job.
            seconds: the delay until it is tried again.
            reason: why it waits, as a sentence for a person.
            held: whether to set `Job.held_at`.

        """
        now = self._now()
        sets: dict[str, Any] = {
            "waiting": _plain(Waiting(until=later(now, seconds), reason=reason))
        }
        if held:
            sets["held_at"] = iso(now)
        return self._update_unspent(job, sets=sets)

    def reject(self, job: Job, error: JobError) -> Job | None:
        """Write REJECTED for a photo that was usable when it was claimed, and no longer is."""
        return self._end_unspent(job, JobStatus.REJECTED, error)

    def dead_letter_job(self, job: Job, error: JobError, *, message_id: str) -> Job | None:
        """Write FAILED: the job's message is a dead letter, and nothing was spent."""
        return self._end_unspent(job, JobStatus.FAILED, error, dead_letter=message_id)

    def note_dead_letter(self, job: Job, *, message_id: str | None) -> Job | None:
        """Note the id of a job's dead letter; None notes that there is none any more."""
        return self._update_item(
            job.job_id,
            condition="attempt = :attempt",
            names={},
            values={":attempt": job.attempt},
            sets={} if message_id is None else {"dead_letter": message_id},
            removes=["dead_letter"] if message_id is None else [],
            touch=False,
        )

    def note_checked(self, job: Job) -> Job | None:
        """Note that reconcile checked a job, so that the next run does not check it again."""
        return self._update(job, came_from={job.status}, sets={})

    def mark_submitting(self, job: Job, *, lease_seconds: float) -> Job | None:
        """Write SUBMITTING before the POST. Send the POST only if this returns a job.

        Args:
            job: the job as it was when the credit was reserved: ACCEPTED, or SUBMITTING after a
                POST that certainly cost nothing.
            lease_seconds: the length of the lease. Until it ends, no other invocation may write
                SUBMIT_UNKNOWN.

        """
        unsent = job.status is JobStatus.SUBMITTING
        token = os.urandom(8).hex()
        return self._update(
            job,
            came_from={JobStatus.SUBMITTING if unsent else JobStatus.ACCEPTED},
            sets={
                "status": JobStatus.SUBMITTING,
                "lease_until": later(self._now(), lease_seconds),
                "lease_token": token,
            },
            removes=["unsent", "waiting"],
            condition="unsent = :true" if unsent else "",
            same_lease=True,
            own=lambda now: now.lease_token == token,
        )

    def mark_unsent(self, job: Job, *, refusals: Refusals | None = None) -> Job | None:
        """Note that the POST certainly cost nothing, so that it may be sent again later.

        The write requires the lease of that POST. If the answer to the write is lost, botocore
        repeats it, and by then the next POST may have been sent under another lease.

        Args:
            job: SUBMITTING.
            refusals: the photo's refusals so far, if the POST was refused.

        """
        sets: dict[str, Any] = {"unsent": True}
        if refusals is not None:
            sets["refusals"] = _plain(refusals)
        return self._update(
            job,
            came_from={JobStatus.SUBMITTING},
            sets=sets,
            removes=["lease_until"],
            same_lease=True,
            own=lambda now: now.unsent and now.lease_token == job.lease_token,
        )

    def keep_task_id(self, job: Job, task_id: str, *, execution_arn: str) -> Job | None:
        """Write RUNNING and the task id; this is the first write after the vendor accepted.

        A job that is SUBMIT_UNKNOWN may become RUNNING too: an answer that came after the end of
        the lease is still valid.
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
            removes=["lease_until", "unsent", "refusals", "error", "dead_letter"],
            own=lambda now: now.status is JobStatus.RUNNING and now.task_id == task_id,
        )

    def close_unknown(self, job: Job, error: JobError) -> Job | None:
        """Write FAILED: the submit was charged, and its task cannot be found."""
        return self._update(
            job,
            came_from={JobStatus.SUBMIT_UNKNOWN},
            sets={
                "status": JobStatus.FAILED,
                "error": _plain(error),
                "finished_at": iso(self._now()),
                "credits": job.credits + 1,
            },
        )

    def mark_unknown(self, job: Job, error: JobError) -> Job | None:
        """Write SUBMIT_UNKNOWN: the POST may or may not have been charged.

        A job that is already SUBMIT_UNKNOWN with the same lease is returned unchanged, since the
        steps after this write may be missing.
        """
        return self._update(
            job,
            came_from={JobStatus.SUBMITTING},
            sets={"status": JobStatus.SUBMIT_UNKNOWN, "error": _plain(error)},
            removes=["lease_until", "unsent"],
            condition="attribute_not_exists(unsent)",
            same_lease=True,
            own=lambda now: (
                now.status is JobStatus.SUBMIT_UNKNOWN and now.lease_token == job.lease_token
            ),
        )

    def note_poll(self, job_id: str, attempt: int, *, progress: int | None) -> Job | None:
        """Count a poll and keep the progress; return None if this attempt is not RUNNING."""
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
        """Write SUCCEEDED, or PARTIAL if `error` says what is missing."""
        status = JobStatus.SUCCEEDED if error is None else JobStatus.PARTIAL
        sets: dict[str, Any] = {
            "status": status,
            "results": [_plain(result) for result in results],
            "finished_at": iso(self._now()),
            "progress": 100,
            "review_state": ReviewState.TO_REVIEW,
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
        """Write FAILED; the task id is kept."""
        return self._update(
            job,
            came_from={JobStatus.ACCEPTED, JobStatus.SUBMITTING, JobStatus.RUNNING},
            sets={
                "status": JobStatus.FAILED,
                "error": _plain(error),
                "finished_at": iso(self._now()),
            },
            removes=["lease_until", "unsent", "waiting"],
        )

    def give_up(self, job: Job, error: JobError, *, copied: Sequence[Result]) -> Job | None:
        """End a job without further tries: PARTIAL if any result was copied, else FAILED.

        Results that an earlier attempt copied from the same task count too.
        """
        there = merged(job.results, copied)
        return self.finish(job, results=there, error=error) if there else self.fail(job, error)

    def review(self, job: Job, review: Review) -> Job | None:
        """Write what a person decided about the results of a job's present attempt.

        None if the job, or its review, has changed since it was read: two people who review the
        same job never overwrite each other. `updated_at` stays, so that the order of the pages
        stays as well.

        Args:
            job: SUCCEEDED or PARTIAL, as the person saw it.
            review: the decision; its revision follows that of `job.review`.

        """
        states = {f":from{number}": status for number, status in enumerate(sorted(REVIEWABLE))}
        same, revision = _same_review(job)
        condition = f"attempt = :attempt AND #status IN ({', '.join(states)}) AND {same}"
        values: dict[str, Any] = {":attempt": job.attempt, **states, **revision}
        return self._update_item(
            job.job_id,
            condition=condition,
            names={"#status": "status"},
            values=values,
            sets={"review": _plain(review), "review_state": review.state},
            touch=False,
            # botocore repeats a write whose answer was lost; then the record holds it already.
            own=lambda now: now.attempt == job.attempt and now.review == review,
        )

    def mark_announced(self, job: Job) -> Job | None:
        """Note that the event about the job's present status was published."""
        return self._update_item(
            job.job_id,
            condition="attempt = :attempt AND #status = :status",
            names={"#status": "status"},
            values={":attempt": job.attempt, ":status": job.status},
            sets={"announced": job.status},
            touch=False,
        )

    def of_source(self, source_key: str) -> Iterator[Job]:
        """Yield the jobs of a photo, oldest first; the newest may be missing for a moment.

        All queries here read an index, which DynamoDB updates after the record.
        """
        return self._query("by-source", "source_key", source_key)

    def of_sku(self, sku: str) -> Iterator[Job]:
        """Yield the jobs of an article (`sku`), oldest first."""
        return self._query("by-sku", "sku", sku)

    def of_status(self, status: JobStatus, *, after: str = "0", until: str = "9") -> Iterator[Job]:
        """Yield the jobs in a status, the longest unchanged first.

        Args:
            status: their status.
            after: ISO 8601; only jobs that changed later than this.
            until: ISO 8601; only jobs that have not changed since.

        """
        return self._query("by-status", "status", status, "updated_at", (after, until))

    def count_in(self, status: JobStatus) -> int:
        """Return how many jobs are in a status."""
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table,
            IndexName="by-status",
            KeyConditionExpression="#status = :status",
            ExpressionAttributeNames={"#status": "status"},
            ExpressionAttributeValues={":status": {"S": status}},
            Select="COUNT",
        )
        return sum(page["Count"] for page in pages)

    def _query(
        self,
        index: str,
        name: str,
        value: str,
        sort: str = "",
        between: tuple[str, str] = ("0", "9"),
    ) -> Iterator[Job]:
        names, values, condition = {"#name": name}, {":value": {"S": value}}, "#name = :value"
        if sort:
            after, until = between
            if after >= until:
                return  # the range is empty, and DynamoDB would refuse the query
            names["#sort"] = sort
            # BETWEEN includes its lower end. `after~` sorts behind `after` and before any later
            # moment.
            values |= {":after": {"S": f"{after}~"}, ":until": {"S": until}}
            condition += " AND #sort BETWEEN :after AND :until"
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table,
            IndexName=index,
            KeyConditionExpression=condition,
            ExpressionAttributeNames=names,
            ExpressionAttributeValues=values,
        )
        for page in pages:
            yield from map(job_of, page["Items"])

    def _create(self, new: NewJob) -> Job | None:
        status = JobStatus.REJECTED if new.error else JobStatus.ACCEPTED
        return self._put(new, status, new.error)

    def _put(
        self,
        new: NewJob,
        status: JobStatus,
        error: JobError | None,
        *,
        dead_letter: str | None = None,
        dead_body: str | None = None,
    ) -> Job | None:
        now = iso(self._now())
        job = Job(
            job_id=new.job_id,
            status=status,
            source_key=new.source_key,
            photo=new.photo,
            mask=new.mask,
            sku=new.sku,
            request_id=new.request_id,
            settings=new.settings,
            arrived_at=new.arrived_at or now,
            created_at=now,
            updated_at=now,
            finished_at=now if error else None,
            error=error,
            triggers=frozenset({new.trigger}),
            dead_letter=dead_letter,
            dead_body=dead_body,
            dropped=new.dropped,
        )
        item = {**_plain(job), "pk": _pk(new.job_id), "triggers": set(job.triggers)}
        if dead_letter is not None:
            item["dead_letter"] = dead_letter
        if new.mask is not None:
            item["mask"] = _plain(new.mask)
        if dead_body is not None:
            item["dead_body"] = dead_body
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
        full = len(job.triggers) >= MAX_TRIGGERS
        values = {":attempt": job.attempt, ":from": job.status}
        return self._update_item(
            job.job_id,
            condition="attempt = :attempt AND #status = :from",
            names={"#status": "status"},
            values=values if full else {**values, ":trigger": {trigger}},
            sets={"triggers": {trigger}} if full else {},
            adds="" if full else "triggers :trigger",
            touch=False,
        )

    def _end_unspent(self, job: Job, status: JobStatus, error: JobError, **more: str) -> Job | None:
        ended = {"status": status, "error": _plain(error), "finished_at": iso(self._now()), **more}
        return self._update_unspent(job, sets=ended, removes=["unsent", "waiting"])

    def _update_unspent(
        self, job: Job, *, sets: Mapping[str, Any], removes: Iterable[str] = ()
    ) -> Job | None:
        """Change a job that is not sent yet and has certainly cost nothing."""
        unsent = job.status is JobStatus.SUBMITTING
        return self._update(
            job,
            came_from={JobStatus.SUBMITTING if unsent else JobStatus.ACCEPTED},
            sets=sets,
            removes=removes,
            condition="unsent = :true" if unsent else "",
        )

    def _update(
        self,
        job: Job,
        *,
        came_from: set[JobStatus],
        sets: Mapping[str, Any],
        removes: Iterable[str] = (),
        condition: str = "",
        same_lease: bool = False,
        same_review: bool = False,
        own: Callable[[Job], bool] | None = None,
        add_trigger: str | None = None,
    ) -> Job | None:
        """Update a job if it is still in the same attempt and in one of these statuses.

        Args:
            job: the job as it was read.
            came_from: the statuses that the job may have.
            sets: attributes and their new values.
            removes: attributes to remove.
            condition: a further condition.
            same_lease: whether the record must have the lease that `job` has.
            same_review: whether the record must have the review that `job` has.
            own: called with the record if the condition fails in the same attempt; returns whether
                this write was already made.
            add_trigger: the drop or request to note in the record.

        """
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
        if same_lease:
            for name in ("lease_until", "lease_token"):
                held = getattr(job, name)
                parts.append(f"{name} = :{name}" if held else f"attribute_not_exists({name})")
                if held:
                    values[f":{name}"] = held
        if same_review:
            same, revision = _same_review(job)
            parts.append(same)
            values |= revision
        adds = ""
        if add_trigger is not None and len(job.triggers) >= MAX_TRIGGERS:
            sets = {**sets, "triggers": {add_trigger}}
        elif add_trigger is not None:
            values[":trigger"] = {add_trigger}
            adds = "triggers :trigger"
        return self._update_item(
            job.job_id,
            condition=" AND ".join(parts),
            names=names,
            values=values,
            sets=sets,
            removes=removes,
            adds=adds,
            own=None if own is None else lambda now: now.attempt == job.attempt and own(now),
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
        own: Callable[[Job], bool] | None = None,
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
        if own is not None:
            arguments["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
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
        except self._dynamodb.exceptions.ConditionalCheckFailedException as error:
            item = item_of(error)
            if own is None or not item:
                return None
            now = job_of(item)
            return now if own(now) else None
        return job_of(answer["Attributes"])


def _same_review(job: Job) -> tuple[str, dict[str, Any]]:
    """Return the condition that a record has a job's review, and its values."""
    if job.review is None:
        return "attribute_not_exists(review)", {}
    return "review.revision = :revision", {":revision": job.review.revision}


def _of_drop(new: NewJob, now: str) -> dict[str, Any]:
    """Return the attributes that the next attempt takes from its drop or request."""
    sets: dict[str, Any] = {"arrived_at": new.arrived_at or now}
    if new.photo is not None:
        sets["photo"] = _plain(new.photo)
    if new.mask is not None:
        sets["mask"] = _plain(new.mask)
    if new.sku is not None:
        sets["sku"] = new.sku
    return sets


def _history_with(job: Job) -> list[dict[str, Any]]:
    """Return a job's history with its present attempt at the end."""
    return [_plain(entry) for entry in (*job.history, job.as_past)[-MAX_HISTORY:]]


def merged(earlier: Iterable[Result], later_ones: Iterable[Result]) -> list[Result]:
    """Return a task's copied results by index; the later copy of a result counts."""
    newest = {result.index: result for result in (*earlier, *later_ones)}
    return [newest[index] for index in sorted(newest)]


def job_of(item: Mapping[str, Any]) -> Job:
    """Return the record that a DynamoDB item holds."""
    plain = {name: from_attribute(value) for name, value in item.items()}
    return Job.model_validate(plain)


def _pk(job_id: str) -> str:
    return f"JOB#{job_id}"


def _key(job_id: str) -> Any:  # noqa: ANN401  the client's wire form of a key
    return {"pk": {"S": _pk(job_id)}}


def _plain(
    model: Job | JobError | Photo | Refusals | Result | Review | Settings | PastAttempt | Waiting,
) -> dict[str, Any]:
    return model.model_dump(mode="json", exclude_none=True)


def _wire(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: to_attribute(value) for name, value in values.items()}
