"""Events, messages and calls may come twice; a photo is made and charged once."""

import json
from typing import Any

from tests.e2e.driver import Catwalk, photo


def without_bookkeeping(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record without its notes about drops and events."""
    return {name: value for name, value in record.items() if name not in {"triggers", "announced"}}


def test_the_same_event_again_changes_nothing(catwalk: Catwalk) -> None:
    """A drop that is delivered again, under the same or another event id, changes nothing."""
    body = photo()
    catwalk.drop("twice/dress.jpg", body, {"batch-size": "1"})
    before = catwalk.end_of("twice/dress.jpg")
    catwalk.event(before["job_id"], "Job Succeeded")
    for event_id in ("again-1", "again-1", "again-2"):
        catwalk.send_drop("twice/dress.jpg", etag=before["photo"]["etag"], event_id=event_id)
    catwalk.idle()
    after = catwalk.end_of("twice/dress.jpg")
    assert without_bookkeeping(after) == without_bookkeeping(before)
    assert catwalk.charges(body) == 1
    told = [event["detail-type"] for event in catwalk.events(before["job_id"])]
    assert sorted(told) == ["Job Submitted", "Job Succeeded"]


def test_many_copies_of_one_event_at_once(catwalk: Catwalk) -> None:
    """Many copies of a message at once make one task."""
    body = photo()
    catwalk.drop("crowd/dress.jpg", body, {"batch-size": "1"})
    etag = catwalk.etag("crowd/dress.jpg")
    for number in range(10):
        catwalk.send_drop("crowd/dress.jpg", etag=etag, event_id=f"crowd-{number}")
    catwalk.end_of("crowd/dress.jpg")
    assert catwalk.charges(body) == 1


def test_polling_and_finalizing_again_change_nothing(catwalk: Catwalk) -> None:
    """Functions that run again with the same payload change nothing."""
    body = photo()
    catwalk.drop("rerun/dress.jpg", body, {"batch-size": "1"})
    job_id = catwalk.end_of("rerun/dress.jpg")["job_id"]
    catwalk.event(job_id, "Job Succeeded")
    catwalk.idle()
    before = catwalk.told_of(job_id, "SUCCEEDED")
    machine = catwalk.stack.clients.executions
    execution = machine.describe_execution(executionArn=before["execution_arn"])
    state = json.loads(execution["input"])
    results = [{"index": 1, "url": "https://example.com/never-read.jpg"}]
    objects = catwalk.results_below("rerun/")

    catwalk.invoke("PollFunction", state)
    catwalk.invoke("FinalizeFunction", {**state, "outcome": "finalize", "results": results})
    catwalk.invoke("FinalizeFunction", {**state, "failure": {"Error": "Late", "Cause": "retry"}})

    assert catwalk.record(job_id) == before
    assert catwalk.results_below("rerun/") == objects
    assert len(catwalk.events(job_id)) == 2
    assert catwalk.charges(body) == 1


def test_dropping_a_photo_again_after_a_failure(catwalk: Catwalk) -> None:
    """Dropping a failed photo again starts a new attempt, and the history has the first one."""
    body = photo()
    catwalk.vendor.fault(
        "read", "task_error", match={"path_contains": "retry/"}, message="no garment found"
    )
    catwalk.drop("retry/dress.jpg", body, {"batch-size": "1"})
    first = catwalk.end_of("retry/dress.jpg", "FAILED")
    catwalk.drop("retry/dress.jpg", body, {"batch-size": "1"})
    catwalk.reached("retry/dress.jpg", "SUCCEEDED")
    second = catwalk.end_of("retry/dress.jpg")
    assert (second["job_id"], second["attempt"]) == (first["job_id"], 2)
    assert second["task_id"] != first["task_id"]
    assert second["history"][0]["task_id"] == first["task_id"]
    assert second["history"][0]["status"] == "FAILED"
    assert second["credits"] == catwalk.charges(body) == 2


def test_dropping_a_photo_again_after_a_success(catwalk: Catwalk) -> None:
    """The same bytes with the same settings are the same job, and cost nothing again."""
    body = photo()
    catwalk.drop("same/dress.jpg", body, {"batch-size": "1"})
    before = catwalk.end_of("same/dress.jpg")
    catwalk.drop("same/dress.jpg", body, {"batch-size": "1"})
    catwalk.idle()
    assert without_bookkeeping(catwalk.end_of("same/dress.jpg")) == without_bookkeeping(before)
    assert catwalk.charges(body) == 1


def test_new_bytes_under_the_same_key_are_a_new_job(catwalk: Catwalk) -> None:
    """A photo that replaces another one gets a job of its own; the old images stay."""
    catwalk.drop("replaced/dress.jpg", photo(), {"batch-size": "1"})
    catwalk.end_of("replaced/dress.jpg")
    catwalk.drop("replaced/dress.jpg", photo(), {"batch-size": "1"})
    records = catwalk.ended("replaced/dress.jpg", 2)
    assert {record["status"] for record in records} == {"SUCCEEDED"}
    assert len(catwalk.results_below("replaced/")) == 2
