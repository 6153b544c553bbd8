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
PROBE_SECONDS: Final = 120.0
"""How long the probe has the way to itself: longer than a POST with all its timeouts takes."""
MAX_LOOK_SECONDS: Final = 30.0
"""While the probe is under way the others look again after as long as it has taken so far, from
one second up to this: most are answered at once, and one that was killed is not raced for."""
TELL_SECONDS: Final = 30.0
"""Who has paused submission tells of it within this; then whoever meets the pause does."""
TOLD_SECONDS: Final = 900.0
"""Trouble of the same kind that comes again sooner than this is no news: a vendor that throttles
does so again and again."""
MAX_PAUSES: Final = 20
"""Pauses are counted up to here; they have long reached the longest by then."""
_KEY: Final[Any] = {"pk": {"S": "CONTROL#submit"}}


@dataclass(frozen=True)
class Open:
    """Submission is paused; look again in so many seconds."""

    seconds: float
    reason: str
    untold: "Tripped | None" = None
    """Set if whoever paused submission died before anybody was told of it."""


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
    kind: str


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
        left = _left(item, "until", now)
        if left > 0:
            return Open(left, reason, _untold(item, now))
        if self._becomes_probe(now):
            return way
        probing = PROBE_SECONDS - _left(item, "probe_until", now) if "probe_until" in item else 0
        seconds = min(MAX_LOOK_SECONDS, max(1.0, probing))
        return Open(seconds, f"one photo is being tried, since {reason}")

    def seconds_left(self) -> float:
        """Return how long submission is still paused; nobody becomes the probe by asking."""
        answer = self._dynamodb.get_item(TableName=self._table, Key=_KEY, ConsistentRead=True)
        item = answer.get("Item", {})
        return max(0.0, _left(item, "until", self._now())) if "until" in item else 0.0

    def heed(self, way: Way, outcome: CreateOutcome) -> Tripped | None:
        """Take what became of a submit into account; say so if it paused submission."""
        match outcome:
            case Accepted() | Refused(Trouble.REQUEST):
                if not way.clear:
                    self._clear(way)
                return None
            case Unknown(message):
                if way.pauses == 0 and self._one_more_unknown() < UNKNOWNS_IN_A_ROW:
                    return None
                reason = f"submits stay without an answer ({message})"
                return self._pause(way, "no answer", reason, OUTAGE_PAUSE_SECONDS)
            case NeverSent(message):
                return self._pause(way, "no connection", message, OUTAGE_PAUSE_SECONDS)
            case Refused(Trouble.BUSY as kind, message, retry_after):
                return self._pause(way, kind, message, BUSY_PAUSE_SECONDS, asked=retry_after)
            case Refused(kind, message, retry_after):
                return self._pause(way, kind, message, ACCOUNT_PAUSE_SECONDS, asked=retry_after)

    def note_told(self, tripped: Tripped) -> None:
        """Note that the world was told of a pause, unless somebody has deleted the item by now."""
        try:
            self._dynamodb.update_item(
                TableName=self._table,
                Key=_KEY,
                UpdateExpression="SET told_at = :now, told_kind = :kind REMOVE untold",
                ConditionExpression="attribute_exists(pk)",
                ExpressionAttributeValues={
                    ":now": {"S": iso(self._now())},
                    ":kind": {"S": tripped.kind},
                },
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return

    def _clear(self, way: Way) -> None:
        """Take back what this way was given for; a pause that came meanwhile is not its own."""
        pause = ("until", "reason", "pauses", "probe_until", "untold") if way.pauses else ()
        names = {f"#{name}": name for name in (*pause, "unknowns")}
        self._dynamodb.update_item(
            TableName=self._table,
            Key=_KEY,
            UpdateExpression=f"REMOVE {', '.join(names)}",
            ExpressionAttributeNames=names,
        )

    def _pause(
        self, way: Way, kind: str, reason: str, first: float, *, asked: float | None = None
    ) -> Tripped | None:
        """Pause, or pause again after a probe that failed; only a first pause may be news."""
        seconds = max(
            min(MAX_PAUSE_SECONDS, first * 2**way.pauses),
            min(asked or 0, MAX_RETRY_AFTER_SECONDS),
        )
        now = self._now()
        until = later(now, seconds)
        values: dict[str, Any] = {
            ":until": {"S": until},
            ":reason": {"S": reason[:MAX_MESSAGE]},
            ":pauses": {"N": str(min(way.pauses + 1, MAX_PAUSES))},
            ":zero": {"N": "0"},
            ":now": {"S": iso(now)},
        }
        sets = "#until = :until, #reason = :reason, pauses = :pauses, unknowns = :zero"
        condition: dict[str, Any] = {}
        if not way.pauses:
            condition = {"ConditionExpression": "attribute_not_exists(#until)"}
            values[":kind"] = {"S": kind}
            sets += ", untold = :kind"
        try:
            before = self._dynamodb.update_item(
                TableName=self._table,
                Key=_KEY,
                UpdateExpression=f"SET {sets}, updated_at = :now REMOVE probe_until",
                ExpressionAttributeNames={"#until": "until", "#reason": "reason"},
                ExpressionAttributeValues=values,
                ReturnValues="ALL_OLD",
                **condition,
            ).get("Attributes", {})
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return None  # another photo was first; its pause stands
        if way.pauses:
            return None
        told = "told_at" in before and _left(before, "told_at", now) > -TOLD_SECONDS
        if told and before["told_kind"]["S"] == kind:
            self._dynamodb.update_item(
                TableName=self._table, Key=_KEY, UpdateExpression="REMOVE untold"
            )
            return None
        return Tripped(until, reason, kind)

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


def _untold(item: Mapping[str, Any], now: datetime) -> Tripped | None:
    if "untold" not in item or _left(item, "updated_at", now) > -TELL_SECONDS:
        return None
    return Tripped(item["until"]["S"], item["reason"]["S"], item["untold"]["S"])


def _left(item: Mapping[str, Any], name: str, now: datetime) -> float:
    """Return how many seconds there are from now to a moment of the item."""
    return (parse_iso(item[name]["S"]) - now).total_seconds()


def _number(item: Mapping[str, Any], name: str) -> int:
    return int(item[name]["N"]) if name in item else 0
