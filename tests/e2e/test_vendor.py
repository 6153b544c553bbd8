"""Faults of the vendor: how each photo ends, and what is charged."""

import json

import pytest

from tests.e2e.driver import Catwalk, photo, wait_for


def test_a_task_that_fails(catwalk: Catwalk) -> None:
    """The record of a failed task has the vendor's message and the task id."""
    body = photo()
    catwalk.vendor.fault(
        "read", "task_error", match={"path_contains": "failing/"}, message="no garment was found"
    )
    catwalk.drop("failing/dress.jpg", body, {"batch-size": "1"})
    record = catwalk.end_of("failing/dress.jpg", "FAILED")
    assert record["error"]["code"] == "vendor_task_error"
    assert "no garment was found" in record["error"]["message"]
    assert record["task_id"] == catwalk.tasks(body)[0]["task_id"]
    assert catwalk.event(record["job_id"], "Job Failed")["detail"]["status"] == "FAILED"


def test_a_request_that_is_refused(catwalk: Catwalk) -> None:
    """A refused photo fails with the vendor's message and costs nothing."""
    body = photo()
    catwalk.vendor.fault(
        *("create", "status"),
        match={"path_contains": "refused/"},
        status=400,
        code=400,
        message="the garment cannot be recognised",
    )
    catwalk.drop("refused/dress.jpg", body, {"batch-size": "1"})
    record = catwalk.end_of("refused/dress.jpg", "FAILED")
    assert record["error"]["code"] == "vendor_rejected"
    assert "the garment cannot be recognised" in record["error"]["message"]
    assert record["credits"] == catwalk.charges(body) == 0


def test_a_lost_answer_is_never_paid_twice(catwalk: Catwalk) -> None:
    """If the answer of a create is lost, the job is parked and nothing is sent again."""
    body, before = photo(), catwalk.creates()
    catwalk.vendor.fault("create", "lost_response", match={"path_contains": "lost/"})
    catwalk.drop("lost/dress.jpg", body, {"batch-size": "1"})
    record = catwalk.end_of("lost/dress.jpg", "SUBMIT_UNKNOWN")
    event = catwalk.event(record["job_id"], "Job Needs Attention")
    assert event["detail"]["status"] == "SUBMIT_UNKNOWN"
    catwalk.drop("lost/dress.jpg", body, {"batch-size": "1"})
    catwalk.send_drop("lost/dress.jpg", etag=record["photo"]["etag"])
    catwalk.idle()
    assert catwalk.end_of("lost/dress.jpg", "SUBMIT_UNKNOWN")["attempt"] == 1
    assert catwalk.charges(body) == 1
    assert catwalk.creates() - before == 1


def test_garbage_while_polling(catwalk: Catwalk) -> None:
    """Reads that return gateway pages, errors, broken JSON or unknown statuses are repeated."""
    body, match = photo(), {"path_contains": "garbage/"}
    catwalk.vendor.fault("read", "html", match=match, status=200)
    catwalk.vendor.fault("read", "html", match=match, status=502)
    catwalk.vendor.fault("read", "status", match=match, status=500)
    catwalk.vendor.fault("read", "garbage", match=match, flavour="cut")
    catwalk.vendor.fault("read", "unknown_status", match=match)
    catwalk.vendor.fault("read", "drop_before", match=match)
    catwalk.drop("garbage/dress.jpg", body, {"batch-size": "1"})
    catwalk.end_of("garbage/dress.jpg")
    faults = [fault for fault in catwalk.vendor.faults() if fault["match"] == match]
    assert [fault["fired"] for fault in faults] == [1] * 6
    assert catwalk.charges(body) == 1


def test_results_whose_urls_have_expired(catwalk: Catwalk) -> None:
    """If a result's URL has expired, the task gives a new one."""
    body = photo()
    catwalk.vendor.fault("download", "expired_url", match={"path_contains": "expired/"}, urls=1)
    catwalk.drop("expired/dress.jpg", body)
    record = catwalk.end_of("expired/dress.jpg")
    assert len(record["results"]) == 2
    assert catwalk.charges(body) == 1


def test_a_result_that_comes_right_in_the_end(catwalk: Catwalk) -> None:
    """A download that breaks twice is repeated until it is complete."""
    catwalk.vendor.fault("download", "truncated", times=2, match={"path_contains": "flaky/"})
    catwalk.drop("flaky/dress.jpg", photo(), {"batch-size": "1"})
    assert len(catwalk.end_of("flaky/dress.jpg")["results"]) == 1


def test_a_late_task_keeps_its_id(catwalk: Catwalk) -> None:
    """After its deadline a job is timed_out; its task can still be resumed, free."""
    body = photo()
    catwalk.vendor.fault("read", "stuck", times=None, match={"path_contains": "late/"}, percent=40)
    catwalk.drop("late/dress.jpg", body, {"batch-size": "1"})
    running = catwalk.executing("late/dress.jpg")
    # A call with a past deadline stands in for six hours of waiting.
    execution = catwalk.stack.clients.executions.describe_execution(
        executionArn=running["execution_arn"]
    )
    late = json.loads(execution["input"]) | {"deadline": "2026-01-01T00:00:00.000Z"}
    catwalk.invoke("PollFunction", late)
    record = catwalk.end_of("late/dress.jpg", "FAILED")
    assert record["error"]["code"] == "timed_out"
    assert record["task_id"] == running["task_id"]
    catwalk.event(record["job_id"], "Job Failed")
    assert catwalk.charges(body) == 1


def test_an_execution_stopped_by_hand_ends_in_the_record(catwalk: Catwalk) -> None:
    """A job whose execution was stopped by hand is FAILED aborted, and keeps its task id."""
    body = photo()
    catwalk.vendor.fault("read", "stuck", times=None, match={"path_contains": "halted/"}, percent=9)
    catwalk.drop("halted/dress.jpg", body, {"batch-size": "1"})
    running = catwalk.executing("halted/dress.jpg")
    catwalk.stack.clients.executions.stop_execution(executionArn=running["execution_arn"])
    record = catwalk.end_of("halted/dress.jpg", "FAILED")
    assert record["error"]["code"] == "aborted"
    assert record["task_id"] == running["task_id"]
    catwalk.event(record["job_id"], "Job Failed")


def test_a_request_that_is_quoted(catwalk: Catwalk, api_key: str) -> None:
    """Neither the photo's signature nor the API key gets into a record, event or log."""
    body = photo()
    catwalk.vendor.fault(
        *("create", "status"),
        match={"path_contains": "quoted/"},
        status=400,
        message="image cannot be loaded from {image} with {key}",
    )
    catwalk.drop("quoted/dress.jpg", body, {"batch-size": "1"})
    record = catwalk.end_of("quoted/dress.jpg", "FAILED")
    assert "quoted/dress.jpg with [API key]" in record["error"]["message"]
    event = catwalk.event(record["job_id"], "Job Failed")
    told = json.dumps([record, event["detail"]]) + "".join(catwalk.logs())
    assert "X-Amz-Signature" not in told
    assert api_key not in told


@pytest.mark.parametrize("status", [401, 402, 403, 429, 503])
def test_a_refusal_at_length(catwalk: Catwalk, status: int) -> None:
    """A refusal of 900 KB makes no dead letter: the photo waits, and succeeds."""
    catwalk.close_breaker()
    key, body = f"long-{status}/dress.jpg", photo()
    catwalk.vendor.fault(
        *("create", "status"),
        match={"path_contains": f"long-{status}/"},
        status=status,
        message="no " * 300_000,
    )
    catwalk.drop(key, body, {"batch-size": "1"})
    waiting = wait_for(
        lambda: [record for record in catwalk.records(key) if "waiting" in record], "its wait"
    )[0]
    assert len(waiting["waiting"]["reason"]) < 1_000
    catwalk.close_breaker()
    catwalk.again(key)
    assert catwalk.reached(key, "SUCCEEDED")["attempt"] == 1
    assert catwalk.charges(body) == 1


def test_a_vendor_that_throttles(catwalk: Catwalk) -> None:
    """A 429 fails no job: submission pauses, with an event, and all photos are charged once."""
    catwalk.close_breaker()  # throttling has one event in 15 minutes, and may have had it
    body, other, before = photo(), photo(), catwalk.creates()
    catwalk.vendor.fault(
        *("create", "status"),
        match={"path_contains": "throttled/"},
        status=429,
        message="slow down",
        headers={"Retry-After": "2"},
    )
    catwalk.drop("throttled/dress.jpg", body, {"batch-size": "1"})
    waiting = wait_for(lambda: catwalk.records("throttled/dress.jpg"), "the photo's record")[0]
    paused = catwalk.event(waiting["job_id"], "Job Needs Attention")["detail"]["paused"]
    assert "slow down" in paused["reason"]
    catwalk.drop("throttled/other.jpg", other, {"batch-size": "1"})
    for key, bytes_of_it in (("throttled/dress.jpg", body), ("throttled/other.jpg", other)):
        record = catwalk.reached(key, "SUCCEEDED")
        assert record["attempt"] == 1
        assert record["submitted_at"] >= paused["until"]
        assert record["credits"] == catwalk.charges(bytes_of_it) == 1
    assert catwalk.creates() - before == 3
