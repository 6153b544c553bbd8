"""The breaker: when the account or the vendor is in trouble, submission pauses for all photos.

One item in JobsTable, `CONTROL#submit`, says until when and why; SubmitFunction reads it once a
batch. When the pause is over, one photo alone is tried (the probe). If it goes through, the
breaker closes; if not, the next pause is longer. No photo fails by it: they wait in the queue.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from shared.clock import iso, later, parse_iso, utc_now
from shared.models import MAX_MESSAGE
from shared.vmake.client import Accepted, CreateOutcome, NeverSent, Refused, Trouble, Unknown

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

ACCOUNT_PAUSE_SECONDS: Final = 60.0
"""The first pause after the key was refused or the credits were gone; doubled each time."""
OUTAGE_PAUSE_SECONDS: Final = 5.0
"""The first pause after the vendor could not be reached or did not answer; doubled each time."""
BUSY_PAUSE_SECONDS: Final = 1.0
"""The first pause after the vendor throttled; doubled each time. `Retry-After` may ask for more."""
MAX_PAUSE_SECONDS: Final = 900.0
"""No pause that we choose is longer: after trouble, photos come back within a quarter hour."""
MAX_RETRY_AFTER_SECONDS: Final = 6 * 3600.0
"""No pause that the vendor asks for is longer, lest a wrong header stops everything."""
UNKNOWNS_IN_A_ROW: Final = 3
"""So many unknown submits one after the other are the vendor's trouble, not the photos'."""
PROBE_SECONDS: Final = 180.0
"""How long the probe has the way to itself: longer than an invocation of SubmitFunction lives."""
PROBE_LOOK_SECONDS: Final = 5.0
"""How soon the others look again while the probe is under way."""
MAX_PAUSES: Final = 20
"""Pauses are counted up to here; they have long reached the longest by then."""
_KEY: Final[Any] = {"pk": {"S": "CONTROL#submit"}}


@dataclass(frozen=True)
class Open:
    """Submission is paused; look again in so many seconds."""

    seconds: float
    reason: str


@dataclass(frozen=True)
class Way:
    """The way is free, for this photo at least; `heed` wants it back with what became of it."""

    pauses: int = 0
    """How many pauses there were in a row; not 0 for a probe."""
    unknowns: int = 0
    """How many unknown submits there were in a row."""

    @property
    def clear(self) -> bool:
        """Whether there is nothing to take back after a success."""
        return self.pauses == self.unknowns == 0


@dataclass(frozen=True)
class Tripped:
    """This very outcome paused submission: somebody must be told."""

    until: str
    """ISO 8601."""
    reason: str


class Breaker:
    """The state of submission, shared by all SubmitFunctions."""

    def __init__(
        self, dynamodb: "DynamoDBClient", table: str, *, now: Callable[[], datetime] = utc_now
    ) -> None:
        """Keep the state in this table."""
        self._dynamodb = dynamodb
        self._table = table
        self._now = now

    def look(self) -> Way | Open:
        """Return whether a photo may be submitted now; after a pause, the first to look may."""
        answer = self._dynamodb.get_item(TableName=self._table, Key=_KEY, ConsistentRead=True)
        item = answer.get("Item")
        if item is None:
            return Way()
        way = Way(pauses=_number(item, "pauses"), unknowns=_number(item, "unknowns"))
        if "until" not in item:
            return way
        now = self._now()
        reason = item["reason"]["S"]
        left = (parse_iso(item["until"]["S"]) - now).total_seconds()
        if left > 0:
            return Open(left, reason)
        if self._becomes_probe(now):
            return way
        return Open(PROBE_LOOK_SECONDS, f"one photo is being tried, since {reason}")

    def heed(self, way: Way, outcome: CreateOutcome) -> Tripped | None:
        """Take what became of a submit into account; say so if it paused submission."""
        match outcome:
            case Accepted() | Refused(Trouble.REQUEST):
                if not way.clear:
                    self._dynamodb.delete_item(TableName=self._table, Key=_KEY)
                return None
            case Unknown(message):
                if way.pauses == 0 and self._one_more_unknown() < UNKNOWNS_IN_A_ROW:
                    return None
                reason = f"submits stay without an answer ({message})"
                return self._pause(way, reason, OUTAGE_PAUSE_SECONDS)
            case NeverSent(message):
                return self._pause(way, message, OUTAGE_PAUSE_SECONDS)
            case Refused(Trouble.BUSY, message, retry_after):
                return self._pause(way, message, BUSY_PAUSE_SECONDS, asked=retry_after)
            case Refused(_, message, retry_after):
                return self._pause(way, message, ACCOUNT_PAUSE_SECONDS, asked=retry_after)

    def _pause(
        self, way: Way, reason: str, first: float, *, asked: float | None = None
    ) -> Tripped | None:
        """Pause, or pause again after a probe that failed; only the first pause is news."""
        seconds = max(
            min(MAX_PAUSE_SECONDS, first * 2**way.pauses),
            min(asked or 0, MAX_RETRY_AFTER_SECONDS),
        )
        now = self._now()
        until = later(now, seconds)
        item: dict[str, Any] = {
            **_KEY,
            "until": {"S": until},
            "reason": {"S": reason[:MAX_MESSAGE]},
            "pauses": {"N": str(min(way.pauses + 1, MAX_PAUSES))},
            "unknowns": {"N": "0"},
            "updated_at": {"S": iso(now)},
        }
        if way.pauses:
            self._dynamodb.put_item(TableName=self._table, Item=item)
            return None
        try:
            self._dynamodb.put_item(
                TableName=self._table,
                Item=item,
                ConditionExpression="attribute_not_exists(#until)",
                ExpressionAttributeNames={"#until": "until"},
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return None  # another photo was first; its pause stands
        return Tripped(until, reason)

    def _one_more_unknown(self) -> int:
        answer = self._dynamodb.update_item(
            TableName=self._table,
            Key=_KEY,
            UpdateExpression="ADD unknowns :one",
            ExpressionAttributeValues={":one": {"N": "1"}},
            ReturnValues="UPDATED_NEW",
        )
        return _number(answer["Attributes"], "unknowns")

    def _becomes_probe(self, now: datetime) -> bool:
        free = "attribute_not_exists(probe_until) OR probe_until < :now"
        try:
            self._dynamodb.update_item(
                TableName=self._table,
                Key=_KEY,
                UpdateExpression="SET probe_until = :end",
                ConditionExpression=f"attribute_exists(pk) AND ({free})",
                ExpressionAttributeValues={
                    ":now": {"S": iso(now)},
                    ":end": {"S": later(now, PROBE_SECONDS)},
                },
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True


def _number(item: Mapping[str, Any], name: str) -> int:
    return int(item[name]["N"]) if name in item else 0
