"""The ledger: the credits that were spent, by day, article and folder; one entry a task.

An entry is written after the record has the task id and before the execution starts. Its key is the
attempt, so writing it again changes nothing. A submit whose outcome is unknown gets an entry with
`certainty` `unknown`, until a person resolves it; the entry keeps the day of the submit.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from shared.clock import iso, utc_now
from shared.models import Job

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

INDEX: Final = "by-day"
"""JobsTable's index of ledger entries alone: (day, charged_at)."""


class Certainty(StrEnum):
    """Whether a credit was spent."""

    CHARGED = "charged"
    UNKNOWN = "unknown"


class Grouping(StrEnum):
    """How the entries are grouped for the sums."""

    DAY = "day"
    SKU = "sku"
    FOLDER = "folder"


@dataclass(frozen=True)
class Entry:
    """One task that cost a credit, or may have cost one."""

    job_id: str
    attempt: int
    day: str
    """UTC, `2026-01-31`."""
    charged_at: str
    """ISO 8601, UTC."""
    certainty: Certainty
    sku: str | None
    folder: str
    """The folder of the photo's key, without a slash at its end; empty for the bucket's top."""


@dataclass
class Sum:
    """The credits of one day, article or folder."""

    credits: int = 0
    unknown: int = 0
    """Submits that may or may not have been charged, one credit each."""


class Ledger:
    """The entries, in JobsTable under `CREDIT#<job_id>#<attempt>`."""

    def __init__(
        self, dynamodb: "DynamoDBClient", table: str, *, now: Callable[[], datetime] = utc_now
    ) -> None:
        """Keep entries in this table."""
        self._dynamodb = dynamodb
        self._table = table
        self._now = now

    def enter(self, job: Job) -> None:
        """Enter the credit of a job's present attempt, unless it took up a task already paid."""
        if job.resumed_at is None and job.task_id is not None:
            self._put(job, job.submitted_at or iso(self._now()), Certainty.CHARGED)

    def enter_lost(self, job: Job) -> None:
        """Enter a credit that was certainly spent on a task that cannot be found."""
        self._put(job, iso(self._now()), Certainty.CHARGED)

    def doubt(self, job: Job) -> None:
        """Enter a submit that may have been charged; an entry as charged is not changed."""
        self._put(job, iso(self._now()), Certainty.UNKNOWN)

    def strike(self, job: Job) -> None:
        """Delete an entry with an unknown outcome: the submit was not charged."""
        try:
            self._dynamodb.delete_item(
                TableName=self._table,
                Key={"pk": {"S": _pk(job)}},
                ConditionExpression="certainty = :unknown",
                ExpressionAttributeValues={":unknown": {"S": Certainty.UNKNOWN}},
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return

    def entries(self, first: date, last: date) -> Iterator[Entry]:
        """Yield the entries from the first to the last UTC day, oldest first."""
        paginator = self._dynamodb.get_paginator("query")
        day = first
        while day <= last:
            pages = paginator.paginate(
                TableName=self._table,
                IndexName=INDEX,
                KeyConditionExpression="#day = :day",
                ExpressionAttributeNames={"#day": "day"},
                ExpressionAttributeValues={":day": {"S": day.isoformat()}},
            )
            for page in pages:
                yield from map(_entry, page["Items"])
            day += timedelta(days=1)

    def _put(self, job: Job, moment: str, certainty: Certainty) -> None:
        charged = certainty is Certainty.CHARGED
        # A charged entry stays charged, and the first write decides its day.
        sure = "" if charged else "if_not_exists(certainty, "
        values: dict[str, Any] = {
            ":job_id": {"S": job.job_id},
            ":attempt": {"N": str(job.attempt)},
            # Without created_at and updated_at, the entry is not in the indexes of jobs.
            ":day": {"S": moment[:10]},
            ":moment": {"S": moment},
            ":certainty": {"S": certainty},
            ":folder": {"S": folder_of(job.source_key or "")},
        }
        sets = [
            "job_id = :job_id, attempt = :attempt, folder = :folder",
            "#day = if_not_exists(#day, :day)",
            "charged_at = if_not_exists(charged_at, :moment)",
            f"certainty = {sure}:certainty{')' if sure else ''}",
        ]
        if job.sku is not None:
            sets.append("sku = :sku")
            values[":sku"] = {"S": job.sku}
        self._dynamodb.update_item(
            TableName=self._table,
            Key={"pk": {"S": _pk(job)}},
            UpdateExpression=f"SET {', '.join(sets)}",
            ExpressionAttributeNames={"#day": "day"},
            ExpressionAttributeValues=values,
        )


def add_up(entries: Iterable[Entry], by: Grouping) -> dict[str, Sum]:
    """Return the sum of each day, article or folder; the key of photos without a `sku` is empty."""
    sums: dict[str, Sum] = defaultdict(Sum)
    for entry in entries:
        match by:
            case Grouping.DAY:
                name = entry.day
            case Grouping.SKU:
                name = entry.sku or ""
            case Grouping.FOLDER:
                name = entry.folder
        if entry.certainty is Certainty.CHARGED:
            sums[name].credits += 1
        else:
            sums[name].unknown += 1
    return dict(sorted(sums.items()))


def folder_of(source_key: str) -> str:
    """Return the folder of a photo's key; empty for the bucket's top."""
    return source_key.rpartition("/")[0]


def _pk(job: Job) -> str:
    return f"CREDIT#{job.job_id}#{job.attempt}"


def _entry(item: Any) -> Entry:  # noqa: ANN401  the client's wire form of an item
    return Entry(
        job_id=item["job_id"]["S"],
        attempt=int(item["attempt"]["N"]),
        day=item["day"]["S"],
        charged_at=item["charged_at"]["S"],
        certainty=Certainty(item["certainty"]["S"]),
        sku=item["sku"]["S"] if "sku" in item else None,
        folder=item["folder"]["S"],
    )
