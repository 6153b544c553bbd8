"""The daily credit limit: a credit is reserved before a POST may be sent.

JobsTable holds one item a UTC day, `CREDITS#<day>`: a counter, and the names of the open
reservations (their POST is not over yet). One write changes both. So reserving or releasing under
the same name counts once, even if a message is delivered five times or botocore retries a write
whose answer was lost. An attempt that never reaches its POST leaves at most one credit of that day
unused.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from shared.clock import utc_now
from shared.records.attributes import item_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_NAME: Final = "reserved"
_OPEN: Final = "open"
"""A string set: the names of POSTs that are under way, and of POSTs whose invocation was killed."""


@dataclass(frozen=True)
class Reserved:
    """A credit of this day may be spent."""

    day: str
    used: float | None = None
    """Per cent of the limit, this credit included; None if there is no limit."""
    name: str = ""
    """The name of the reservation."""


@dataclass(frozen=True)
class SpentUp:
    """The day's credits are used up."""

    seconds: float
    """Until the next day begins."""


class CreditLimit:
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

    def reserve(self, name: str) -> Reserved | SpentUp:
        """Reserve one of today's credits, if one is left.

        Args:
            name: identifies the POST. While its reservation is open, reserving under the same name
                returns the same credit again.

        """
        now = self._now()
        day = f"{now:%Y-%m-%d}"
        if not self._limit:
            return Reserved(day)
        item, changed = self._update(
            day,
            f"ADD {_NAME} :credit, #open :names",
            f"(attribute_not_exists({_NAME}) OR {_NAME} < :limit)"
            " AND (attribute_not_exists(#open) OR NOT contains(#open, :name))",
            {
                ":credit": {"N": "1"},
                ":names": {"SS": [name]},
                ":limit": {"N": str(self._limit)},
                ":name": {"S": name},
            },
        )
        if not changed and name not in item.get(_OPEN, {}).get("SS", []):
            midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
            return SpentUp((midnight - now).total_seconds())
        return Reserved(day, self._share(_count(item)), name)

    def used(self) -> float | None:
        """Return how much of today's limit is reserved, in per cent; None if there is no limit."""
        return self._share(self.reserved()) if self._limit else None

    def reserved(self) -> int:
        """Return how many of today's credits are reserved; without a limit, none is."""
        answer = self._dynamodb.get_item(
            TableName=self._table, Key=_key(f"{self._now():%Y-%m-%d}"), ConsistentRead=True
        )
        return _count(answer.get("Item", {}))

    def release(self, reserved: Reserved) -> None:
        """Give a credit back: the vendor certainly did not charge it."""
        self._close(reserved, f"ADD {_NAME} :credit ", {":credit": {"N": "-1"}})

    def settle(self, reserved: Reserved) -> None:
        """Close a reservation whose POST is over and was charged, or may have been."""
        self._close(reserved, "", {})

    def _share(self, credits_: int) -> float:
        return 100 * credits_ / self._limit

    def _close(self, reserved: Reserved, change: str, values: dict[str, Any]) -> None:
        """Close a reservation and change the counter; do nothing if it is closed already."""
        if self._limit and reserved.name:
            self._update(
                reserved.day,
                f"{change}DELETE #open :names",
                "contains(#open, :name)",
                {**values, ":names": {"SS": [reserved.name]}, ":name": {"S": reserved.name}},
            )

    def _update(
        self, day: str, update: str, condition: str, values: dict[str, Any]
    ) -> tuple[Mapping[str, Any], bool]:
        """Return a day's item, and whether this write changed it."""
        try:
            answer = self._dynamodb.update_item(
                TableName=self._table,
                Key=_key(day),
                UpdateExpression=update,
                ConditionExpression=condition,
                ExpressionAttributeNames={"#open": _OPEN},
                ExpressionAttributeValues=values,
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException as error:
            return item_of(error), False
        return answer["Attributes"], True


def _count(item: Mapping[str, Any]) -> int:
    return int(item.get(_NAME, {"N": "0"})["N"])


def _key(day: str) -> Any:  # noqa: ANN401  the client's wire form of a key
    return {"pk": {"S": f"CREDITS#{day}"}}
