"""Whether submission is paused for all photos, and why; looking changes nothing."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.clock import iso, utc_now

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@dataclass(frozen=True)
class Pause:
    """Submission waits."""

    until: str
    """ISO 8601; over by then, if it lies behind: one photo is being tried, or about to be."""
    reason: str

    def __str__(self) -> str:
        """Say it in a sentence."""
        if self.until <= iso(utc_now()):
            return f"Submission is paused ({self.reason}); the next photo is the one to try it."
        return f"Submission is paused until {self.until[11:19]} UTC: {self.reason}."


def pause_of(dynamodb: "DynamoDBClient", table: str) -> Pause | None:
    """Return the pause, if submission is paused."""
    answer = dynamodb.get_item(
        TableName=table, Key={"pk": {"S": "CONTROL#submit"}}, ConsistentRead=True
    )
    item = answer.get("Item", {})
    if "until" not in item:
        return None
    return Pause(item["until"]["S"], item["reason"]["S"].rstrip("."))
