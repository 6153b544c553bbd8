"""The daily credit limit: a credit is reserved before a POST may be sent.

One counter a UTC day, in JobsTable under `CREDITS#<day>`. It can only err on the thrifty side:
an invocation that dies between reserving and its POST leaves one credit of that day unused.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from shared.clock import utc_now

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_NAME: Final = "reserved"


@dataclass(frozen=True)
class Reserved:
    """A credit of this day may be spent."""

    day: str
    used: float | None = None
    """Per cent of the limit, this credit included; None if there is no limit."""


@dataclass(frozen=True)
class SpentUp:
    """The day's credits are used up; the next day begins in so many seconds."""

    seconds: float


class Purse:
    """`DailyCreditLimit`; 0 is no limit, and then nothing is counted."""

    def __init__(
        self,
        dynamodb: "DynamoDBClient",
        table: str,
        *,
        limit: int,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """Count in this table; `now` decides which day it is."""
        self._dynamodb = dynamodb
        self._table = table
        self._limit = limit
        self._now = now

    def reserve(self) -> Reserved | SpentUp:
        """Take one credit of today's, if there is one left."""
        now = self._now()
        day = f"{now:%Y-%m-%d}"
        room = f"attribute_not_exists({_NAME}) OR {_NAME} < :limit"
        if not self._limit:
            return Reserved(day)
        reserved = self._add(day, 1, room)
        if reserved is None:
            midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
            return SpentUp((midnight - now).total_seconds())
        return Reserved(day, self._share(reserved))

    def used(self) -> float | None:
        """Return how much of today's limit is reserved, in per cent; None if there is no limit."""
        if not self._limit:
            return None
        answer = self._dynamodb.get_item(
            TableName=self._table, Key=_key(f"{self._now():%Y-%m-%d}"), ConsistentRead=True
        )
        return self._share(int(answer.get("Item", {}).get(_NAME, {"N": "0"})["N"]))

    def release(self, reserved: Reserved) -> None:
        """Give a credit back: the vendor certainly did not charge it."""
        if self._limit:
            self._add(reserved.day, -1, f"{_NAME} > :zero")

    def _share(self, credits_: int) -> float:
        return 100 * credits_ / self._limit

    def _add(self, day: str, credit: int, condition: str) -> int | None:
        """Count, and return how many are reserved now; None if the condition fails."""
        values = {":credit": {"N": str(credit)}}
        if ":limit" in condition:
            values[":limit"] = {"N": str(self._limit)}
        else:
            values[":zero"] = {"N": "0"}
        try:
            answer = self._dynamodb.update_item(
                TableName=self._table,
                Key=_key(day),
                UpdateExpression=f"ADD {_NAME} :credit",
                ConditionExpression=condition,
                ExpressionAttributeValues=values,
                ReturnValues="UPDATED_NEW",
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return None
        return int(answer["Attributes"][_NAME]["N"])


def _key(day: str) -> Any:  # noqa: ANN401  the client's wire form of a key
    return {"pk": {"S": f"CREDITS#{day}"}}
