"""Reviews whose event may not be out yet, kept in JobsTable under `CONTROL#reviews`.

A review is written by a person's command or gallery, which may end at any line. So the entry is
written first, then the review, then the event goes out, then the entry is removed.
ReconcileFunction publishes the events of entries that are still there after a while: such an event
may come twice, but is never missing.
"""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from shared.clock import iso, later, utc_now

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

LATE_SECONDS: Final = 300.0
"""An entry of this age is left behind: its command has long ended, or waits for AWS."""
_MOST_ENTRIES: Final = 1_000
"""Far below DynamoDB's 400 kB an item. Entries only add up while EventBridge refuses events."""
_KEY: Final[Any] = {"pk": {"S": "CONTROL#reviews"}}


class ReviewOutbox:
    """Names the jobs whose review may not have been published."""

    def __init__(
        self, dynamodb: "DynamoDBClient", table: str, *, now: Callable[[], datetime] = utc_now
    ) -> None:
        """Keep the entries in this table."""
        self._dynamodb = dynamodb
        self._table = table
        self._now = now

    def add(self, job_id: str) -> str:
        """Note that a job is about to be reviewed; return the entry.

        Raises:
            OverflowError: EventBridge has refused so many events that no more may wait.

        """
        if len(self._entries()) >= _MOST_ENTRIES:
            raise OverflowError(f"the events of {_MOST_ENTRIES} reviews wait for EventBridge")
        entry = f"{iso(self._now())}#{job_id}"
        self._change("ADD", entry)
        return entry

    def remove(self, entry: str) -> None:
        """Remove an entry: its event was published, or is not needed."""
        self._change("DELETE", entry)

    def left_behind(self) -> list[tuple[str, str]]:
        """Return the entries that are older than `LATE_SECONDS`, each with its job's id."""
        latest = later(self._now(), -LATE_SECONDS)
        pairs = ((entry, *entry.partition("#")[::2]) for entry in self._entries())
        return [(entry, job_id) for entry, added_at, job_id in pairs if added_at <= latest]

    def _entries(self) -> list[str]:
        answer = self._dynamodb.get_item(TableName=self._table, Key=_KEY, ConsistentRead=True)
        return sorted(answer.get("Item", {}).get("entries", {"SS": []})["SS"])

    def _change(self, verb: str, entry: str) -> None:
        self._dynamodb.update_item(
            TableName=self._table,
            Key=_KEY,
            UpdateExpression=f"{verb} entries :entries",
            ExpressionAttributeValues={":entries": {"SS": [entry]}},
        )
