"""The recovery commands against the deployed stack."""

from typing import Any

import pytest

from tests.e2e.driver import Catwalk, photo


def refused(catwalk: Catwalk, *arguments: str, stdin: str = "") -> str:
    """Run a command that must fail; return its standard error."""
    done = catwalk.run_command(*arguments, stdin=stdin)
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    return done.stderr


def stopped(catwalk: Catwalk, folder: str) -> tuple[bytes, dict[str, Any]]:
    """Make a paid task whose execution was stopped by hand; return photo and record."""
    body, key = photo(), f"{folder}/dress.jpg"
    match = {"path_contains": f"{folder}/"}
    catwalk.vendor.fault("read", "stuck", match=match, percent=9, seconds=5)
    catwalk.drop(key, body, {"batch-size": "1", "sku": folder})
    running = catwalk.executing(key)
    catwalk.stack.clients.executions.stop_execution(executionArn=running["execution_arn"])
    return body, catwalk.told_of(catwalk.end_of(key, "FAILED")["job_id"], "FAILED")


def test_resume(catwalk: Catwalk) -> None:
    """`resume` continues the task of a stopped execution after a confirmation, for no credit."""
    body, failed = stopped(catwalk, "chance-resume")
    assert failed["error"]["code"] == "aborted"
    words = ("resume", "--folder", "chance-resume")
    assert "1 of 1 job can be recovered, for no credits." in catwalk.command(*words, "--dry-run")
    assert "Nothing was done." in refused(catwalk, *words, stdin="n\n")
    assert catwalk.record(failed["job_id"]) == failed
    assert "continues as attempt 2." in catwalk.command(*words, "--yes")
    record = catwalk.reached("chance-resume/dress.jpg", "SUCCEEDED")
    assert (record["attempt"], record["task_id"]) == (2, failed["task_id"])
    assert record["credits"] == catwalk.charges(body) == 1
    catwalk.event(record["job_id"], "Job Succeeded")


def test_recopy(catwalk: Catwalk) -> None:
    """`recopy` copies a missing result, for no credit."""
    body, match = photo(), {"path_contains": "chance-recopy/", "result_index": 2}
    # A redirect to a forbidden address is refused at once, without retries.
    catwalk.vendor.fault("download", "redirect", match=match)
    catwalk.drop("chance-recopy/dress.jpg", body)
    partial = catwalk.end_of("chance-recopy/dress.jpg", "PARTIAL")
    assert "free" in catwalk.command("recopy", partial["job_id"], "--yes")
    record = catwalk.reached("chance-recopy/dress.jpg", "SUCCEEDED")
    assert len(record["results"]) == 2
    assert record["credits"] == catwalk.charges(body) == 1


def test_regenerate(catwalk: Catwalk) -> None:
    """`regenerate` makes new images for one credit, and says so before."""
    body = photo()
    catwalk.drop("chance-regenerate/dress.jpg", body, {"batch-size": "1", "sku": "chance-new"})
    job_id = catwalk.end_of("chance-regenerate/dress.jpg")["job_id"]
    words = ("regenerate", "--sku", "chance-new", "--status", "SUCCEEDED")
    assert "for up to 1 credit." in catwalk.command(*words, "--dry-run")
    assert catwalk.charges(body) == 1
    catwalk.command(*words, "--yes")
    assert catwalk.record(job_id)["attempt"] == 2
    record = catwalk.end_of("chance-regenerate/dress.jpg")
    assert (record["attempt"], record["credits"], catwalk.charges(body)) == (2, 2, 2)
    spent = catwalk.command("credits", "--by", "sku")
    assert ["chance-new", "2"] in [line.split() for line in spent.splitlines()]


def unknown(catwalk: Catwalk, folder: str, fault: str) -> tuple[bytes, str]:
    """Make a submit whose answer was lost; return photo and job id."""
    body = photo()
    catwalk.vendor.fault("create", fault, match={"path_contains": f"{folder}/"})
    catwalk.drop(f"{folder}/dress.jpg", body, {"batch-size": "1"})
    return body, catwalk.end_of(f"{folder}/dress.jpg", "SUBMIT_UNKNOWN")["job_id"]


@pytest.mark.parametrize("charged", [True, False])
def test_resolve(catwalk: Catwalk, charged: bool) -> None:
    """`resolve` settles a lost answer, for one credit in total."""
    folder = f"chance-resolve-{charged}".lower()
    body, job_id = unknown(catwalk, folder, "lost_response" if charged else "drop_before")
    if charged:
        (task,) = catwalk.tasks(body)
        catwalk.command("resolve", job_id, "--task-id", task["task_id"], "--yes")
    else:
        catwalk.command("resolve", "--folder", folder, "--not-charged", "--yes")
    record = catwalk.reached(f"{folder}/dress.jpg", "SUCCEEDED")
    assert record["attempt"] == (1 if charged else 2)
    assert record["credits"] == catwalk.charges(body) == 1
    spent = catwalk.command("credits", "--by", "folder")
    assert [folder, "1"] in [line.split() for line in spent.splitlines()]


def test_redrive(catwalk: Catwalk) -> None:
    """`redrive` sends a dead letter again after a confirmation; then its photo is made."""
    body, key = photo(), "chance-redrive/dress.jpg"
    with catwalk.deaf("PhotoDroppedRule"):
        catwalk.drop(key, body, {"batch-size": "1"})
        catwalk.idle()
    catwalk.stack.clients.sqs.send_message(
        QueueUrl=catwalk.stack.output("SubmitDeadLetterQueueUrl"),
        MessageBody=catwalk.drop_event(key, etag=catwalk.etag(key)),
    )
    assert "1 dead letter in" in catwalk.command("redrive", "--dry-run")
    assert "Nothing was done." in refused(catwalk, "redrive")
    assert catwalk.records(key) == []
    assert "1 sent again." in catwalk.command("redrive", "--yes")
    catwalk.end_of(key)
    assert catwalk.charges(body) == 1
