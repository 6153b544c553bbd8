"""Arrivals: what one drop or one request asks for, decided once and stored.

An arrival is one item in JobsTable, `ARRIVAL#<arrival_id>`. A conditional put writes it before the
first of its jobs is claimed. Each later delivery of the same drop or request, each redrive and each
reconcile run uses the item, even if the bucket, the stack's parameters or the photo have changed
meanwhile.

The id identifies the drop or the request: bucket, key and version of a drop; the `requestId` of a
request, or else the event's id.

Until all its jobs have records, an arrival stands in the index `by-status` under `CLAIMING`. The
function may stop between the put and the claims; reconcile finds the arrival there.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from shared.clock import iso, utc_now
from shared.models import JobError, Photo, Settings
from shared.records.attributes import from_attribute, to_attribute, update_if
from shared.records.jobs import NewJob

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

CLAIMING: Final = "CLAIMING"
"""The index status of an arrival whose jobs do not all have records yet. No job has it."""
KEPT: Final = timedelta(days=60)
"""How long an arrival is kept after it was last handled. Its message can be delivered again for 14
days from SubmitQueue and 14 more from the dead-letter queue (SQS's maximum retention). EventBridge
adds one day of retries, and reconcile checks drops of the last 14 days. DynamoDB deletes an expired
item later than its time, never sooner."""
_RENEWED: Final = timedelta(days=30)
"""An arrival that is handled with less than this left is kept for `KEPT` again."""
_PREFIX: Final = "ARRIVAL#"
_BATCH: Final = 100
"""BatchGetItem takes no more keys a call."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class DecidedJob(_Model):
    """One job of an arrival."""

    job_id: str
    settings: Settings | None = None
    """Without the mask's name, which is the same for all jobs of the arrival."""
    error: JobError | None = None
    """Set if the job can never be a task: its record is made as REJECTED."""


class Arrival(_Model):
    """What one drop or one request asks for."""

    arrival_id: str
    trigger: str
    """Identifies this drop or request; see `JobRepository.claim`."""
    source_key: str
    photo: Photo
    mask: Photo | None = None
    """The mask's version in PhotosBucket; None if there is no mask or it is at a URL."""
    mask_name: str | None = None
    """The mask's key or URL."""
    sku: str | None = None
    request_id: str | None = None
    dropped: bool = False
    arrived_at: str
    """ISO 8601."""
    content: str = ""
    """A digest of what a request asks for; empty for a drop."""
    expires_at: int | None = None
    """Seconds since 1970; None means that it is kept for ever."""
    jobs: tuple[DecidedJob, ...]
    claimed: bool = Field(default=False, exclude=True)
    """Whether each job has had its record."""

    @property
    def refused(self) -> bool:
        """Whether all its jobs are rejected: then no credit is ever spent on it."""
        return all(job.error is not None for job in self.jobs)

    def new_jobs(self) -> list[NewJob]:
        """Return its jobs in the form of a claim, in the order of its variants."""
        return [
            NewJob(
                job_id=job.job_id,
                photo=self.photo,
                mask=self.mask,
                source_key=self.source_key,
                settings=job.settings and job.settings.model_copy(update={"mask": self.mask_name}),
                trigger=self.trigger,
                sku=self.sku,
                request_id=self.request_id,
                dropped=self.dropped,
                arrived_at=self.arrived_at,
                error=job.error,
            )
            for job in self.jobs
        ]


def drop_id(bucket: str, key: str, trigger: str) -> str:
    """Return the id of a drop's arrival.

    Args:
        bucket: PhotosBucket.
        key: the photo's.
        trigger: the object's version; where S3 names none, its sequencer, else the event's id.

    """
    return digest(["drop", bucket, key, trigger])


def request_id_of(request_id: str | None, event_id: str) -> str:
    """Return the id of a request's arrival, made of its `requestId` or else of the event's id."""
    return digest(["request", request_id] if request_id is not None else ["event", event_id])


def reused_id(request_id: str, content: str) -> str:
    """Return the id of the arrival of a request that reuses the `requestId` of another one."""
    return digest(["request", request_id, content])


def digest(value: Any) -> str:  # noqa: ANN401  any JSON value
    """Return 32 hex digits, always the same for the same JSON value."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


class Arrivals:
    """The arrivals in JobsTable."""

    def __init__(
        self, dynamodb: "DynamoDBClient", table: str, *, now: Callable[[], datetime] = utc_now
    ) -> None:
        """Keep arrivals in this table."""
        self._dynamodb = dynamodb
        self._table = table
        self._now = now

    def get(self, arrival_id: str) -> Arrival | None:
        """Return an arrival (a consistent read), or None."""
        answer = self._dynamodb.get_item(
            TableName=self._table, Key=_key(arrival_id), ConsistentRead=True
        )
        item = answer.get("Item")
        return None if item is None else _arrival(item)

    def decide(self, arrival: Arrival, *, instead_of: Arrival | None = None) -> Arrival:
        """Store a decision and return the one that counts: the first that was stored.

        Args:
            arrival: the decision.
            instead_of: the stored arrival of the same id that this one replaces, if its jobs were
                all rejected.

        """
        condition = "attribute_not_exists(pk)"
        values: dict[str, Any] = {}
        if instead_of is not None:
            condition = "#trigger = :trigger"
            values = {":trigger": {"S": instead_of.trigger}}
        item = {
            **arrival.model_dump(mode="json", exclude_none=True),
            "pk": f"{_PREFIX}{arrival.arrival_id}",
            "status": CLAIMING,
            "updated_at": iso(self._now()),
        }
        more: dict[str, Any] = {}
        if values:
            more["ExpressionAttributeValues"] = values
            more["ExpressionAttributeNames"] = {"#trigger": "trigger"}
        try:
            self._dynamodb.put_item(
                TableName=self._table,
                Item={name: to_attribute(value) for name, value in item.items()},
                ConditionExpression=condition,
                **more,
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            # Another delivery decided first, or the answer to this put was lost and botocore
            # repeated it. In both cases the stored arrival counts.
            stored = self.get(arrival.arrival_id)
            if stored is None:
                raise LookupError(
                    f"arrival {arrival.arrival_id} was deleted while it was being decided"
                ) from None
            return stored
        return arrival

    def expiry(self) -> int:
        """Return the `expires_at` of an arrival that is handled now."""
        return int((self._now() + KEPT).timestamp())

    def note_claimed(self, arrival: Arrival) -> None:
        """Note that each job has a record; then reconcile ignores the arrival."""
        self._update(arrival.arrival_id, "REMOVE #status, updated_at", {})

    def note_handled(self, arrival: Arrival) -> None:
        """Extend the life of an arrival whose message was delivered again, if it ends soon."""
        if arrival.expires_at is None:
            return
        if arrival.expires_at < (self._now() + _RENEWED).timestamp():
            expiry = {":expiry": {"N": str(self.expiry())}}
            self._update(arrival.arrival_id, "SET expires_at = :expiry", expiry)

    def note_resent(self, arrival_id: str) -> None:
        """Note that reconcile sent a message about an unclaimed arrival."""
        now = {":now": {"S": iso(self._now())}}
        self._update(arrival_id, "SET updated_at = :now", now, "#status = :claiming")

    def unclaimed(self, *, until: str) -> Iterator[str]:
        """Yield the ids of arrivals whose jobs do not all have records.

        Args:
            until: ISO 8601; only arrivals that have not changed since.

        """
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table,
            IndexName="by-status",
            KeyConditionExpression="#status = :claiming AND updated_at <= :until",
            ExpressionAttributeNames={"#status": "status"},
            ExpressionAttributeValues={":claiming": {"S": CLAIMING}, ":until": {"S": until}},
        )
        for page in pages:
            for item in page["Items"]:
                yield item["pk"]["S"].removeprefix(_PREFIX)

    def known(self, arrival_ids: Iterable[str]) -> set[str]:
        """Return the ids of the arrivals that exist; consistent reads, 100 a call."""
        wanted = list(dict.fromkeys(arrival_ids))
        found: set[str] = set()
        for start in range(0, len(wanted), _BATCH):
            keys: Any = [_key(arrival_id) for arrival_id in wanted[start : start + _BATCH]]
            while keys:
                answer = self._dynamodb.batch_get_item(
                    RequestItems={
                        self._table: {
                            "Keys": keys,
                            "ConsistentRead": True,
                            "ProjectionExpression": "pk",
                        }
                    }
                )
                items = answer["Responses"].get(self._table, [])
                found |= {item["pk"]["S"].removeprefix(_PREFIX) for item in items}
                unread = answer.get("UnprocessedKeys", {})
                keys = unread[self._table]["Keys"] if self._table in unread else []
        return found

    def _update(
        self, arrival_id: str, update: str, values: Mapping[str, Any], condition: str = ""
    ) -> None:
        """Change an arrival, if it exists and the condition holds."""
        all_values = dict(values)
        if ":claiming" in condition:
            all_values[":claiming"] = {"S": CLAIMING}
        update_if(
            self._dynamodb,
            self._table,
            _key(arrival_id),
            update=update,
            condition=condition or "attribute_exists(pk)",
            values=all_values,
            names={"#status": "status"} if "#status" in update + condition else None,
        )


def _arrival(item: Mapping[str, Any]) -> Arrival:
    plain = {name: from_attribute(value) for name, value in item.items()}
    return Arrival.model_validate({**plain, "claimed": plain.get("status") != CLAIMING})


def _key(arrival_id: str) -> Any:  # noqa: ANN401  the client's wire form of a key
    return {"pk": {"S": f"{_PREFIX}{arrival_id}"}}
