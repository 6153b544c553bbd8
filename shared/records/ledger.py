"""The ledger: what was spent, by day, article and folder; one entry a task, never two.

An entry is written between the record's task id and the start of its execution, under the name
of the attempt: writing it again changes nothing. A submit that stayed unknown has an entry that
says so, until somebody says what became of it; the day of the submit stays its day.
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
    """By what the ledger is added up."""

    DAY = "day"
    SKU = "sku"
    FOLDER = "folder"


@dataclass(frozen=True)
class Entry:
    """One task that cost a credit, or may have."""

    job_id: str
    attempt: int
    day: str
    """UTC, `2026-01-31`."""
    charged_at: str
    """ISO 8601, UTC."""
    certainty: Certainty
    sku: str | None
    folder: str
    """Of the photo's key, without a slash at its end; empty for the bucket's top."""


@dataclass
class Sum:
    """What one day, article or folder has cost."""

    credits: int = 0
    unknown: int = 0
    """Submits that may or may not have been charged, a credit each."""


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
        """Enter the credit of a job's present attempt; one that took up a paid task has none."""
        if job.resumed_at is None and job.task_id is not None:
            self._put(job, job.submitted_at or iso(self._now()), Certainty.CHARGED)

    def enter_lost(self, job: Job) -> None:
        """Enter a credit that was certainly spent, on a task that cannot be had."""
        self._put(job, iso(self._now()), Certainty.CHARGED)

    def doubt(self, job: Job) -> None:
        """Enter a submit that may or may not have been charged; one entered as charged stays so."""
        self._put(job, iso(self._now()), Certainty.UNKNOWN)

    def strike(self, job: Job) -> None:
        """Take a doubtful entry back: the submit was not charged."""
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
        """Yield the entries of some UTC days, both ends included, oldest first."""
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
        # What was charged is certain for ever, and when it was is what the first entry says.
        sure = "" if charged else "if_not_exists(certainty, "
        values: dict[str, Any] = {
            ":job_id": {"S": job.job_id},
            ":attempt": {"N": str(job.attempt)},
            # No created_at or updated_at: the indexes of jobs hold jobs alone.
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
    """Return what each day, article or folder has cost; photos without an article have no name."""
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
