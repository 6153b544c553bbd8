"""Whether submission is paused for all photos, why, and what mends it.

The circuit breaker's item (shared/limits/circuit_breaker.py) is read here without becoming the
probe. The one thing that is written is the end of a pause, once its cause is mended: then the next
photo is tried, as it would be a few minutes later.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from cli.stacks import selection
from shared.clock import iso, parse_iso, utc_now
from shared.config import SETTLING_SECONDS
from shared.intake.messages import continue_message
from shared.limits.circuit_breaker import ITEM_KEY, Cause, cause_of
from shared.limits.settling import REASON
from shared.models import Job, JobStatus
from shared.records.jobs import JobRepository

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient

WHAT_NEXT: Final = "Then one photo is tried; if it goes through, all go on by themselves."
"""What comes after a pause, behind `Pause`'s own sentence."""
OTHERS_FOLLOW: Final = "If it goes through, the others follow by themselves within 15 minutes."
"""A photo that waits has its message in the queue, which delays none for longer."""


@dataclass(frozen=True)
class Pause:
    """Submission waits for all photos."""

    until: datetime
    """UTC; a pause that is over lasts until the next photo, which tries whether it goes through."""
    reason: str
    cause: Cause

    def __str__(self) -> str:
        """Say it in a sentence."""
        if self.until <= utc_now():
            return f"Submission is paused ({self.reason}); the next photo is the one to try it."
        return f"Submission is paused until {self.until:%H:%M:%S} UTC: {self.reason}."

    def seconds_left(self, now: datetime) -> float:
        """Return how long it lasts still; 0 if the next photo may try."""
        return max(0.0, (self.until - now).total_seconds())


@dataclass(frozen=True)
class NewBucket:
    """The photos bucket is new: photos wait until S3 finds its objects for certain."""

    until: datetime
    """UTC."""
    reason: str = REASON

    def __str__(self) -> str:
        """Say it in a sentence."""
        return f"Photos wait until {self.until:%H:%M:%S} UTC: {self.reason}."


def new_bucket(used_since: datetime | None, now: datetime) -> NewBucket | None:
    """Return what photos wait for if the functions know of the bucket, and it is new."""
    if used_since is None or selection.endpoint() is not None:
        return None  # a local AWS finds its objects at once
    until = used_since + timedelta(seconds=SETTLING_SECONDS)
    return NewBucket(until) if now < until else None


def pause_of(dynamodb: "DynamoDBClient", table: str) -> Pause | None:
    """Return the pause there is, if there is one."""
    item = dynamodb.get_item(TableName=table, Key=ITEM_KEY, ConsistentRead=True).get("Item", {})
    if "until" not in item:
        return None
    return Pause(parse_iso(item["until"]["S"]), item["reason"]["S"].rstrip("."), cause_of(item))


def end_pause(dynamodb: "DynamoDBClient", table: str, pause: Pause, now: datetime) -> bool:
    """Let a pause be over now; tell whether it was still there.

    One photo is then tried, and if that is refused the next pause is longer, as ever. A vendor
    that has asked for the pause itself is not to be asked earlier: that one is left alone.
    """
    if pause.cause is Cause.THROTTLED or not pause.seconds_left(now):
        return False
    try:
        dynamodb.update_item(
            TableName=table,
            Key=ITEM_KEY,
            UpdateExpression="SET #until = :now",
            # Not a pause that came meanwhile.
            ConditionExpression="#until = :until",
            ExpressionAttributeNames={"#until": "until"},
            ExpressionAttributeValues={":now": {"S": iso(now)}, ":until": {"S": iso(pause.until)}},
        )
    except dynamodb.exceptions.ConditionalCheckFailedException:
        return False
    return True


def try_one(jobs: JobRepository, sqs: "SQSClient", queue_url: str) -> Job | None:
    """Have one photo that waits looked at now: it tries whether submission is free again.

    Its own message comes too, later, and finds the photo submitted.
    """
    for status in (JobStatus.ACCEPTED, JobStatus.SUBMITTING):
        for job in jobs.of_status(status):
            if job.sendable and job.waiting is not None:
                sqs.send_message(QueueUrl=queue_url, MessageBody=continue_message(job))
                return job
    return None
