"""Events on CatwalkBus: their names, their details, and what happens if EventBridge refuses one."""

from typing import Any

import pytest

from shared.clock import iso
from shared.models import Job, JobStatus, SceneType, Settings
from shared.notify.events import DetailType, EventPublisher, detail_of
from tests.factories import BUS, START, Aws


def job(status: JobStatus = JobStatus.RUNNING) -> Job:
    """Return a job with bookkeeping and an `extra`."""
    return Job(
        job_id="j",
        status=status,
        settings=Settings(
            model_id="002",
            scene_type=SceneType.ORIGINAL,
            batch_size=1,
            extra={"snake_case": {"kept_as_is": None}},
        ),
        created_at=iso(START),
        updated_at=iso(START),
        lease_until="secret",
        unsent=True,
        announced="RUNNING",
        triggers=frozenset({"t"}),
    )


def test_detail_is_the_record_in_camel_case() -> None:
    """An event carries the record, camelCase, without bookkeeping; `extra` stays as it was."""
    detail = detail_of(job())
    assert detail["schemaVersion"] == "1"
    assert detail["jobId"] == "j"
    assert detail["settings"]["batchSize"] == 1
    assert detail["settings"]["extra"] == {"snake_case": {"kept_as_is": None}}
    assert not {"leaseUntil", "unsent", "announced", "triggers", "taskId"} & set(detail)


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (JobStatus.RUNNING, "Job Submitted"),
        (JobStatus.SUCCEEDED, "Job Succeeded"),
        (JobStatus.PARTIAL, "Job Failed"),
        (JobStatus.FAILED, "Job Failed"),
        (JobStatus.REJECTED, "Job Rejected"),
        (JobStatus.SUBMIT_UNKNOWN, "Job Needs Attention"),
    ],
)
def test_each_end_is_told_under_its_name(aws: Aws, status: JobStatus, told: str) -> None:
    """Each status has its event's name."""
    EventPublisher(aws.events, BUS).job_changed(job(status))
    (event,) = aws.told()
    assert (event["detail-type"], event["source"]) == (told, "catwalk")
    assert event["detail"]["status"] == status
    assert told in set(DetailType)


def test_refused_event_is_an_error() -> None:
    """If EventBridge refuses the entry, the publisher raises an error."""

    class Refusing:
        def put_events(self, **_: object) -> dict[str, Any]:
            return {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "ThrottlingException"}]}

    with pytest.raises(RuntimeError, match="Throttling"):
        EventPublisher(Refusing(), BUS).job_changed(job())  # type: ignore[arg-type]  # a double
