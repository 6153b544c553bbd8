"""The daily credit limit: a credit is reserved before a POST may be sent.

One counter a UTC day, in JobsTable under `CREDITS#<day>`. It can only err on the thrifty side:
an invocation that dies between reserving and its POST leaves one credit of that day unused.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from shared.clock import utc_now

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_NAME: Final = "reserved"


@dataclass(frozen=True)
class Reserved:
    """A credit of this day may be spent."""

    day: str


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
        if self._limit and not self._add(day, 1, room):
            midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
            return SpentUp((midnight - now).total_seconds())
        return Reserved(day)

    def release(self, reserved: Reserved) -> None:
        """Give a credit back: the vendor certainly did not charge it."""
        if self._limit:
            self._add(reserved.day, -1, f"{_NAME} > :zero")

    def _add(self, day: str, credit: int, condition: str) -> bool:
        values = {":credit": {"N": str(credit)}}
        if ":limit" in condition:
            values[":limit"] = {"N": str(self._limit)}
        else:
            values[":zero"] = {"N": "0"}
        try:
            self._dynamodb.update_item(
                TableName=self._table,
                Key={"pk": {"S": f"CREDITS#{day}"}},
                UpdateExpression=f"ADD {_NAME} :credit",
                ConditionExpression=condition,
                ExpressionAttributeValues=values,
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True
