"""The pause of submission: reading it, and ending it early once its cause is fixed.

Reading the circuit breaker (shared/limits/circuit_breaker.py) here does not take its permit for the
probe. The only write ends a pause; the next photo then becomes the probe, as it would a few minutes
later.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from cli.stacks import selection
from shared.clock import utc_now
from shared.config import SETTLING_SECONDS
from shared.intake.messages import continue_message
from shared.limits.circuit_breaker import Cause, CircuitBreaker
from shared.limits.settling import REASON
from shared.models import Job, JobStatus
from shared.records.jobs import JobRepository

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient

WHAT_NEXT: Final = "Then one photo is tried; if it goes through, all go on by themselves."
"""Follows the sentence of `Pause`."""
OTHERS_FOLLOW: Final = "If it goes through, the others follow by themselves within 15 minutes."
"""15 minutes is the longest delay of a message in the queue."""


@dataclass(frozen=True)
class Pause:
    """Submission is paused for all photos."""

    until: datetime
    """UTC. After this time, the next photo is the probe."""
    reason: str
    cause: Cause

    def __str__(self) -> str:
        """Return a sentence."""
        if self.until <= utc_now():
            return f"Submission is paused ({self.reason}); the next photo is the one to try it."
        return f"Submission is paused until {self.until:%H:%M:%S} UTC: {self.reason}."

    def seconds_left(self, now: datetime) -> float:
        """Return the remaining seconds; 0 if the next photo may be the probe."""
        return max(0.0, (self.until - now).total_seconds())


@dataclass(frozen=True)
class NewBucket:
    """The photos bucket is new, so photos wait until S3 reliably finds its objects."""

    until: datetime
    """UTC."""
    reason: str = REASON

    def __str__(self) -> str:
        """Return a sentence."""
        return f"Photos wait until {self.until:%H:%M:%S} UTC: {self.reason}."


def new_bucket(used_since: datetime | None, now: datetime) -> NewBucket | None:
    """Return the wait for a new bucket; None if the bucket is unused or old enough."""
    if used_since is None or selection.endpoint() is not None:
        return None  # a local AWS finds its objects at once
    until = used_since + timedelta(seconds=SETTLING_SECONDS)
    return NewBucket(until) if now < until else None


def pause_of(dynamodb: "DynamoDBClient", table: str) -> Pause | None:
    """Return the present pause, if any."""
    pause = CircuitBreaker(dynamodb, table).current_pause()
    if pause is None:
        return None
    return Pause(pause.until, pause.reason.rstrip("."), pause.cause)


def end_pause(dynamodb: "DynamoDBClient", table: str, pause: Pause, now: datetime) -> bool:
    """End a pause now; return whether that was done.

    The next photo becomes the probe; if it is refused, the next pause is longer as usual. A pause
    that the vendor asked for (throttling) is kept.
    """
    if pause.cause is Cause.THROTTLED or not pause.seconds_left(now):
        return False
    return CircuitBreaker(dynamodb, table, now=lambda: now).end_pause(pause.until)


def try_one(jobs: JobRepository, sqs: "SQSClient", queue_url: str) -> Job | None:
    """Send a message for one waiting photo, so that it becomes the probe now.

    Its own message arrives later and finds the photo submitted.
    """
    for status in (JobStatus.ACCEPTED, JobStatus.SUBMITTING):
        for job in jobs.of_status(status):
            if job.sendable and job.waiting is not None:
                sqs.send_message(QueueUrl=queue_url, MessageBody=continue_message(job))
                return job
    return None
