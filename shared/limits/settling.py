"""The first quarter of an hour of PhotosBucket, in which S3's 404 proves nothing.

After versioning is first enabled on a bucket, S3 may answer 404 for up to 15 minutes for objects
that are there. A photo would be taken for deleted; a `catwalk.json` or a mask that is not found
would cost a credit with the wrong settings; and the vendor, which reads the photo from the bucket,
would meet the same 404. So SubmitFunction decides and sends nothing until that time is over: each
message is delivered again after it.

The time counts from the moment when a function of this stack first asked, which is kept in
JobsTable under `CONTROL#bucket#<name>`. CloudFormation enables versioning before it makes the
functions, so this moment is never too early. ReconcileFunction asks in each run, so that the time
passes without a photo, too.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from shared.clock import iso, parse_iso, utc_now

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

REASON: Final = "the photos bucket is new, and S3 may not find its objects yet"


class Settling:
    """Says for how long a 404 from PhotosBucket proves nothing."""

    def __init__(
        self,
        dynamodb: "DynamoDBClient",
        table: str,
        bucket: str,
        *,
        seconds: float,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """Keep the moment of the first use in this table.

        Args:
            dynamodb: the client.
            table: JobsTable.
            bucket: PhotosBucket; another bucket begins anew.
            seconds: how long it lasts; 0 where S3 has no such time (the local AWS).
            now: the clock.

        """
        self._dynamodb = dynamodb
        self._table = table
        self._bucket = bucket
        self._seconds = seconds
        self._now = now
        self._first_used: datetime | None = None

    def seconds_left(self) -> float:
        """Return for how many seconds S3 may still answer 404 for what is there.

        The table is asked once a process. The first call of a stack begins the time.
        """
        if self._seconds <= 0:
            return 0.0
        if self._first_used is None:
            self._first_used = first_used(self._dynamodb, self._table, self._bucket)
        if self._first_used is None:
            self._first_used = self._begin()
        until = self._first_used + timedelta(seconds=self._seconds)
        return max(0.0, (until - self._now()).total_seconds())

    def _begin(self) -> datetime:
        """Store the present moment, unless another invocation was first; return what is stored."""
        answer = self._dynamodb.update_item(
            TableName=self._table,
            Key=_key(self._bucket),
            UpdateExpression="SET first_used_at = if_not_exists(first_used_at, :now)",
            ExpressionAttributeValues={":now": {"S": iso(self._now())}},
            ReturnValues="ALL_NEW",
        )
        return parse_iso(answer["Attributes"]["first_used_at"]["S"])


def first_used(dynamodb: "DynamoDBClient", table: str, bucket: str) -> datetime | None:
    """Return when a function of the stack first knew of a bucket; None if none has run yet."""
    answer = dynamodb.get_item(TableName=table, Key=_key(bucket), ConsistentRead=True)
    item = answer.get("Item")
    return None if item is None else parse_iso(item["first_used_at"]["S"])


def _key(bucket: str) -> Any:  # noqa: ANN401  the client's wire form of a key
    return {"pk": {"S": f"CONTROL#bucket#{bucket}"}}
