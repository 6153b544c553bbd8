"""The functions' logs: JSON lines with the ids of job, function and request."""

import io
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from shared.observability import INVOCATION_KEYS, logger
from tests.factories import KEY, VARIANT, jpeg, png, requested
from tests.integration.conftest import Context, World

Lines = Callable[[], list[dict[str, Any]]]


class Stdout(io.TextIOBase):
    """A stream that writes to the present sys.stdout; the logger keeps the first one."""

    def write(self, text: str) -> int:
        return sys.stdout.write(text)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Lines:
    """Return the functions' output so far: log lines and metrics."""
    monkeypatch.setattr(logger().registered_handler, "stream", Stdout())
    written: list[dict[str, Any]] = []

    def read() -> list[dict[str, Any]]:
        written.extend(json.loads(line) for line in capsys.readouterr().out.splitlines())
        return written

    return read


def test_every_line_names_its_job(world: World, lines: Lines) -> None:
    """All log lines of a job can be found by each of its ids, also those about faults."""
    world.vendor.fault("create", "status", status=429)
    world.vendor.fault("read", "status", status=502)
    world.vendor.fault("download", "status", status=404)
    world.drop(request_id="r-1")
    job = world.finish()
    assert job.status == "SUCCEEDED"
    written = lines()
    messages = [line.get("message") for line in written]
    assert {"waits", "submitted", "polled", "finished"} <= set(messages)
    for line in written:
        assert {name: line.get(name) for name in INVOCATION_KEYS} == {
            "function_name": Context.function_name,
            "function_request_id": Context.aws_request_id,
        }
        if "SubmissionPaused" in line:
            continue  # that is about all photos
        known = {"job_id": job.job_id, "source_key": "a/dress.jpg", "request_id": "r-1"}
        assert {name: line.get(name) for name in known} == known, line
    since = messages.index("submitted")
    assert {line.get("task_id") for line in written[since:]} == {job.task_id}


def test_lines_of_a_request_name_it(world: World, lines: Lines) -> None:
    """The lines of each variant have its job id and the request's requestId."""
    world.aws.drop("a/dress.jpg", jpeg())
    variants = [dict(VARIANT), {**VARIANT, "sceneType": "color", "color": "#FF0000"}]
    detail = {"requestId": "r-1", "photo": {"key": "a/dress.jpg"}, "variants": variants}
    world.deliver(requested(detail))
    written = lines()
    jobs = {job.job_id for job in world.jobs()}
    assert {line["job_id"] for line in written if line.get("message") == "submitted"} == jobs
    assert {line["request_id"] for line in written} == {"r-1"}


def test_each_photo_is_counted_once(world: World, lines: Lines) -> None:
    """Metrics count a photo that is delivered twice, or waited, as one photo, job and credit."""
    world.vendor.fault("create", "status", status=429)
    event = world.aws.drop("a/dress.jpg", jpeg())
    world.deliver(event)
    world.deliver(event)
    world.finish()
    world.deliver(event)
    world.drop("a/notes.txt", b"no photo")
    sums: dict[str, float] = {}
    for line in lines():
        for directive in line.get("_aws", {}).get("CloudWatchMetrics", ()):
            for metric in directive["Metrics"]:
                sums[metric["Name"]] = sums.get(metric["Name"], 0) + line[metric["Name"]]
    once = ("JobsSubmitted", "CreditsSpent", "JobsSucceeded", "JobsRejected")
    assert {name: sums[name] for name in once} == dict.fromkeys(once, 1)
    assert sums["PhotosIn"] == 2
    assert sums["WaitSeconds"] >= 1  # the pause after a refusal


def test_photo_that_is_dropped_again_is_counted_again(world: World, lines: Lines) -> None:
    """The time of a new attempt begins with its drop."""
    world.vendor.fault("read", "task_error")
    world.drop()
    assert world.finish().status == "FAILED"
    world.sleep(86_400)
    world.drop(body=jpeg())
    assert world.finish().status == "SUCCEEDED"
    counted = [line for line in lines() if "_aws" in line]
    assert sum(line.get("PhotosIn", 0) for line in counted) == 2
    assert [line["ErrorCode"] for line in counted if "ErrorCode" in line] == ["vendor_task_error"]
    (seconds,) = (line["SecondsToResult"] for line in counted if "SecondsToResult" in line)
    assert seconds < 3_600


def test_line_of_a_crash_names_the_job(
    world: World, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected error is logged with the job's ids before Lambda gets it."""
    world.drop()
    job = world.job()

    def away(**_: object) -> None:
        raise ConnectionError("DynamoDB is away")

    with monkeypatch.context() as patch:
        patch.setattr(world.aws.dynamodb, "update_item", away)
        with pytest.raises(ConnectionError):
            world.poll(world.input_of(job))
    (line,) = (line for line in lines() if line.get("message") == "the poll failed")
    assert (line["job_id"], line["task_id"]) == (job.job_id, job.task_id)
    assert "DynamoDB is away" in line["exception"]
    assert {line[name] for name in INVOCATION_KEYS} == {
        Context.function_name,
        Context.aws_request_id,
    }


def test_line_of_a_message_that_fails_names_the_job(
    world: World, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error about a waiting photo has a line with the job's ids and one about the message."""
    world.vendor.fault("create", "bad_key")
    world.submit(json.dumps(world.aws.drop("a/dress.jpg", jpeg())))
    ((message, _),) = world.queued()
    world.sleep(120)

    def away(**_: object) -> None:
        raise ConnectionError("DynamoDB is away")

    with monkeypatch.context() as patch:
        patch.setattr(world.aws.dynamodb, "update_item", away)
        assert world.submit(message) == [message]
    told = [line for line in lines() if line.get("level") == "ERROR" and "exception" in line]
    assert [line["message"] for line in told] == ["job could not go on", "message failed"]
    assert told[0]["job_id"] == world.job().job_id
    assert told[1]["message_id"]


def test_line_of_what_reconcile_cannot_move_names_the_job(
    world: World, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that reconcile cannot recover is named in the log."""
    world.drop()
    job = world.job()

    def away(**_: object) -> None:
        raise ConnectionError("Step Functions is away")

    monkeypatch.setattr(world.aws.executions, "describe_execution", away)
    with pytest.raises(RuntimeError, match="could not be moved on"):
        world.invoke("reconcile", {"still_seconds": 0})
    (line,) = (line for line in lines() if line.get("message") == "could not be moved on")
    assert (line["job_id"], line["source_key"]) == (job.job_id, "a/dress.jpg")


def test_reconcile_tells_how_things_stand(world: World, lines: Lines) -> None:
    """A reconcile run emits metrics about parked submits and the refused key."""
    world.vendor.fault("create", "lost_response")
    world.drop("a/lost.jpg")
    world.vendor.fault("create", "bad_key")
    world.submit(json.dumps(world.aws.drop("a/refused.jpg", png())))
    world.invoke("reconcile", {"still_seconds": 0})
    gauges: dict[str, Any] = {}
    for line in lines():
        if "_aws" in line and not {"JobsSubmitted", "PhotosIn"} & line.keys():
            gauges |= line
    assert (gauges["SubmitsParked"], gauges["SubmissionPaused"]) == (1, 1)
    assert gauges["Reason"] == "key_refused"
    assert KEY not in json.dumps(lines())
