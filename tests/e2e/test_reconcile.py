"""Events, messages and executions that are lost, and their recovery."""

from typing import Any

from tests.e2e.driver import Catwalk, photo, wait_for


def test_a_photo_whose_event_was_lost(catwalk: Catwalk) -> None:
    """A photo whose event was lost is found in the bucket and made, once."""
    body = photo()
    with catwalk.deaf("PhotoDroppedRule"):
        catwalk.drop("lost-event/dress.jpg", body, {"batch-size": "1"})
        catwalk.idle()
    assert catwalk.records("lost-event/dress.jpg") == []
    catwalk.reconcile_lost(1)
    catwalk.reconcile()
    catwalk.end_of("lost-event/dress.jpg")
    assert catwalk.charges(body) == 1


def test_a_photo_whose_message_was_purged(catwalk: Catwalk) -> None:
    """A photo whose waiting message was purged continues from its record."""
    body = photo()
    # The function does not wait for such a long pause; the photo goes back to the queue.
    catwalk.vendor.fault(
        *("create", "status"),
        match={"path_contains": "purged/"},
        status=429,
        headers={"Retry-After": "60"},
    )
    catwalk.drop("purged/dress.jpg", body, {"batch-size": "1"})
    waiting = catwalk.reached("purged/dress.jpg", "SUBMITTING")
    wait_for(lambda: "waiting" in catwalk.record(waiting["job_id"]), "the photo to wait")
    wait_for(catwalk.queue_is_empty, "its message to be put off")
    queue = catwalk.stack.output("SubmitQueueUrl")
    catwalk.stack.clients.sqs.purge_queue(QueueUrl=queue)
    catwalk.end_pause()
    assert catwalk.reconcile()["submitting"] >= 1
    assert catwalk.reached("purged/dress.jpg", "SUCCEEDED")["attempt"] == 1
    assert catwalk.charges(body) == 1


def test_a_dead_letter_has_a_record_and_comes_back(catwalk: Catwalk) -> None:
    """A dead letter gets a FAILED record; sent again, it makes its images."""
    body = photo()
    with catwalk.deaf("PhotoDroppedRule"):
        catwalk.drop("dead/dress.jpg", body, {"batch-size": "1"})
        catwalk.idle()
    event = catwalk.drop_event("dead/dress.jpg", etag=catwalk.etag("dead/dress.jpg"))
    dead_letters = catwalk.stack.output("SubmitDeadLetterQueueUrl")
    catwalk.stack.clients.sqs.send_message(QueueUrl=dead_letters, MessageBody=event)
    catwalk.invoke("ReconcileFunction", {})
    record = catwalk.end_of("dead/dress.jpg", "FAILED")
    assert record["error"]["code"] == "internal"
    assert record["dead_letter"] in record["error"]["message"]
    catwalk.event(record["job_id"], "Job Failed")
    assert catwalk.charges(body) == 0
    assert "1 sent again" in catwalk.command("redrive", "--yes")
    record = catwalk.reached("dead/dress.jpg", "SUCCEEDED")
    assert "dead_letter" not in record
    assert catwalk.charges(body) == 1


def lost(catwalk: Catwalk, folder: str) -> tuple[bytes, dict[str, Any]]:
    """Make a job whose execution was stopped and whose event about that was lost."""
    body = photo()
    catwalk.vendor.fault("read", "stuck", match={"path_contains": folder}, seconds=5)
    catwalk.drop(f"{folder}dress.jpg", body, {"batch-size": "1"})
    running = catwalk.executing(f"{folder}dress.jpg")
    with catwalk.deaf("ExecutionStoppedRule"):
        catwalk.stack.clients.executions.stop_execution(executionArn=running["execution_arn"])
        catwalk.idle()
    return body, running


def test_a_stopped_execution_of_which_nobody_heard(catwalk: Catwalk) -> None:
    """The job still becomes FAILED `aborted`, and keeps its task id."""
    _, running = lost(catwalk, "unheard/")
    assert catwalk.reconcile()["running"] >= 1
    record = catwalk.end_of("unheard/dress.jpg", "FAILED")
    assert (record["error"]["code"], record["task_id"]) == ("aborted", running["task_id"])


def test_an_execution_that_is_gone(catwalk: Catwalk) -> None:
    """A paid task without an execution gets a new execution, and is not paid again."""
    body, running = lost(catwalk, "orphan/")
    catwalk.stack.clients.dynamodb.update_item(
        TableName=catwalk.stack.output("JobsTableName"),
        Key={"pk": {"S": f"JOB#{running['job_id']}"}},
        UpdateExpression="SET execution_arn = :gone",
        ExpressionAttributeValues={":gone": {"S": running["execution_arn"] + "-gone"}},
    )
    assert catwalk.reconcile()["running"] >= 1
    record = catwalk.reached("orphan/dress.jpg", "SUCCEEDED")
    assert (record["attempt"], record["task_id"]) == (2, running["task_id"])
    assert record["credits"] == catwalk.charges(body) == 1


def test_an_idle_stack_has_nothing_to_be_moved_on(catwalk: Catwalk) -> None:
    """After the other tests, a run over all jobs finds nothing to recover."""
    catwalk.idle()
    catwalk.reconcile()
    catwalk.idle()
    before = {record["job_id"]: record["status"] for record in catwalk.all_records()}
    moved = catwalk.reconcile()
    catwalk.idle()
    assert moved.get("photos", 0) == 0
    assert {r["job_id"]: r["status"] for r in catwalk.all_records()} == before
