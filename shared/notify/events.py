"""The events that Catwalk puts on CatwalkBus.

An event's detail is the job's record, so that a backend needs to read nothing else.
"""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from shared.clock import utc_now
from shared.models import Job, JobStatus

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient

SOURCE: Final = "catwalk"
SCHEMA_VERSION: Final = "1"


class DetailType(StrEnum):
    """The events that Catwalk emits."""

    SUBMITTED = "Job Submitted"
    SUCCEEDED = "Job Succeeded"
    FAILED = "Job Failed"
    REJECTED = "Job Rejected"
    NEEDS_ATTENTION = "Job Needs Attention"
    REVIEWED = "Job Reviewed"


_DETAIL_TYPES: Final = {
    JobStatus.RUNNING: DetailType.SUBMITTED,
    JobStatus.SUCCEEDED: DetailType.SUCCEEDED,
    JobStatus.PARTIAL: DetailType.FAILED,
    JobStatus.FAILED: DetailType.FAILED,
    JobStatus.REJECTED: DetailType.REJECTED,
    JobStatus.SUBMIT_UNKNOWN: DetailType.NEEDS_ATTENTION,
}


def detail_of(job: Job) -> dict[str, Any]:
    """Return the detail of an event about a job: the record, camelCase, with `schemaVersion`."""
    record = job.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {"schemaVersion": SCHEMA_VERSION, **record}


class EventPublisher:
    """Puts events on CatwalkBus."""

    def __init__(self, events: "EventBridgeClient", bus: str) -> None:
        """Publish with this client on this bus."""
        self._events = events
        self._bus = bus

    def job_changed(self, job: Job) -> None:
        """Publish a job's current status.

        Raises:
            RuntimeError: EventBridge did not take the event.

        """
        self._put(_DETAIL_TYPES[job.status], detail_of(job))

    def job_reviewed(self, job: Job) -> None:
        """Publish what a person decided about a job's results.

        Raises:
            RuntimeError: EventBridge did not take the event.

        """
        self._put(DetailType.REVIEWED, detail_of(job))

    def submission_paused(self, job: Job, *, until: str, reason: str) -> None:
        """Publish that submission is paused.

        Args:
            job: whose submit caused the pause; its record is the detail.
            until: the end of the pause, ISO 8601.
            reason: the vendor's answer, or why there was none.

        Raises:
            RuntimeError: EventBridge did not take the event.

        """
        paused = {"until": until, "reason": reason}
        self._put(DetailType.NEEDS_ATTENTION, {**detail_of(job), "paused": paused})

    def _put(self, detail_type: DetailType, detail: Mapping[str, Any]) -> None:
        answer = self._events.put_events(
            Entries=[
                {
                    "Time": utc_now(),
                    "Source": SOURCE,
                    "DetailType": detail_type.value,
                    "Detail": json.dumps(detail, ensure_ascii=False),
                    "EventBusName": self._bus,
                }
            ]
        )
        if answer["FailedEntryCount"]:
            entry = answer["Entries"][0]
            raise RuntimeError(
                f"EventBridge refused {detail_type.value!r}:"
                f" {entry.get('ErrorCode')} {entry.get('ErrorMessage')}"
            )
