"""Each permission of the template is needed: IAM is enforced here as on AWS.

A statement is taken out of a role, a photo is dropped and runs into the lack of it; the
statement comes back, and so does the photo, by itself and for one credit.

Not here, since the local AWS lets these be missing: WriteLogs and DeliverLogs (it writes logs
itself), Trace (its X-Ray takes nothing), CallTheFunctions (its state machines may call any
function), TellMissingFromForbidden (it says that an object is missing in any case), and of
TakeMessages all but SendMessage (it polls the queue itself).
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from local.stack.state import STACK
from tests.e2e.driver import Catwalk, photo, wait_for
from tests.thorough import thorough


@dataclass(frozen=True)
class Need:
    """A statement of a policy, and the call that fails without it."""

    role: str
    sid: str
    call: str
    """The refused call, by its name in the SDK."""
    fault: dict[str, Any] = field(default_factory=dict)
    """The fault of the vendor that leads to this call."""
    ends: str = "SUCCEEDED"
    """The status of the photo's job once the statement is restored."""

    @property
    def function(self) -> str:
        """The function with this role."""
        return self.role.replace("Role", "Function")

    def __str__(self) -> str:
        """Return the name of the test case."""
        return f"{self.role}-{self.sid}-{self.call}"


_BUSY = {"on": "create", "fault": "status", "status": 429}
_FAILING = {"on": "read", "fault": "task_error"}
_EXPIRED = {"on": "download", "fault": "expired_url", "urls": 1}

NEEDS = [
    Need("SubmitRole", "TakeMessages", "SendMessage", fault=_BUSY),
    Need("SubmitRole", "ReadPhotos", "GetObject"),
    Need("SubmitRole", "KeepRecords", "GetItem"),
    Need("SubmitRole", "StartWaiting", "StartExecution"),
    Need("SubmitRole", "ReadTheKey", "GetSecretValue"),
    Need("SubmitRole", "TellOfJobs", "PutEvents"),
    Need("PollRole", "KeepRecords", "UpdateItem"),
    Need("PollRole", "ReadTheKey", "GetSecretValue"),
    Need("PollRole", "TellOfJobs", "PutEvents", fault=_FAILING, ends="FAILED"),
    Need("FinalizeRole", "WriteResults", "PutObject"),
    Need("FinalizeRole", "KeepRecords", "GetItem"),
    Need("FinalizeRole", "ReadTheKey", "GetSecretValue", fault=_EXPIRED),
    Need("FinalizeRole", "TellOfJobs", "PutEvents"),
]


@pytest.fixture(scope="module", autouse=True)
def quick_redelivery(catwalk: Catwalk) -> Iterator[None]:
    """Set a short visibility timeout, so that a failed message comes back after seconds."""
    sqs, url = catwalk.stack.clients.sqs, catwalk.stack.output("SubmitQueueUrl")
    name: Literal["VisibilityTimeout"] = "VisibilityTimeout"
    before = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"][name]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={name: "2"})
    yield
    catwalk.idle()
    sqs.set_queue_attributes(QueueUrl=url, Attributes={name: before})


@contextmanager
def without(catwalk: Catwalk, role: str, sid: str) -> Iterator[None]:
    """Remove a statement from a role while the block runs."""
    iam, name = catwalk.stack.clients.client("iam"), catwalk.physical_id(role)
    (policy,) = iam.list_role_policies(RoleName=name)["PolicyNames"]
    whole = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
    rest = [statement for statement in whole["Statement"] if statement["Sid"] != sid]
    assert len(rest) == len(whole["Statement"]) - 1

    def put(statements: list[dict[str, Any]]) -> None:
        document = {"Version": "2012-10-17", "Statement": statements}
        iam.put_role_policy(RoleName=name, PolicyName=policy, PolicyDocument=json.dumps(document))

    put(rest)
    try:
        yield
    finally:
        put(whole["Statement"])


def start_cold(catwalk: Catwalk, function: str) -> None:
    """Update a function's code, which replaces its workers; warm ones keep the key for minutes."""
    template: Any = catwalk.stack.clients.cloudformation.get_template(
        StackName=STACK, TemplateStage="Processed"
    )["TemplateBody"]
    catwalk.stack.clients.functions.update_function_code(
        FunctionName=catwalk.physical_id(function),
        **template["Resources"][function]["Properties"]["Code"],
    )


RECONCILE = {
    "SendAgain": "SendMessage",
    "LookAtQueue": "GetQueueAttributes",
    "LookAtDeadLetters": "ReceiveMessage",
    "ListPhotos": "ListObjectVersions",
    "KeepRecords": "GetItem",
    "FindRecords": "Query",
    "LookAtExecutions": "DescribeExecution",
    "TellOfJobs": "PutEvents",
}


OTHERS = ("LookAtQueue", "LookAtDeadLetters", "KeepRecords", "FindRecords")
"""Each of these takes eight seconds, and the run goes through the same code."""


@pytest.mark.parametrize("sid", [thorough(sid) if sid in OTHERS else sid for sid in RECONCILE])
def test_reconcile_needs_each_permission(catwalk: Catwalk, sid: str) -> None:
    """Without the statement the run reports what failed; with it, the run recovers the jobs."""
    key, body, since = f"needs/reconcile-{sid}/dress.jpg", photo(), time.time()
    with catwalk.deaf("PhotoDroppedRule"):
        catwalk.drop(key, body, {"batch-size": "1"})
        catwalk.idle()
    if sid == "LookAtExecutions":
        catwalk.vendor.fault("read", "stuck", match={"path_contains": f"{sid}/"}, seconds=8)
        catwalk.send_drop(key, etag=catwalk.etag(key))
        catwalk.executing(key)
    if sid == "TellOfJobs":
        catwalk.stack.clients.sqs.send_message(
            QueueUrl=catwalk.stack.output("SubmitDeadLetterQueueUrl"),
            MessageBody=catwalk.drop_event(key, etag=catwalk.etag(key)),
        )
    with without(catwalk, "ReconcileRole", sid):
        answer = catwalk.stack.clients.functions.invoke(
            FunctionName=catwalk.physical_id("ReconcileFunction"),
            # A time in the future makes also the task that is being polled count as stuck.
            Payload=b'{"still_seconds": -3600}',
        )
        assert "could not be moved on" in answer["Payload"].read().decode() or sid == "KeepRecords"
        assert answer["FunctionError"]
        wait_for(
            lambda: any(
                "AccessDenied" in line and f"the {RECONCILE[sid]} operation" in line
                for line in catwalk.log_of("/catwalk/catwalk/reconcile", since=since)
            ),
            f"{RECONCILE[sid]} to be refused",
        )

    def moved_on() -> bool:
        # A run by hand leaves the drop alone while the queue has any message: it may be the drop's.
        catwalk.reconcile()
        return bool(catwalk.records(key))

    wait_for(moved_on, f"{key} to be moved on")
    if sid == "TellOfJobs":
        catwalk.command("redrive", "--yes")
    catwalk.reached(key, "SUCCEEDED")
    assert catwalk.charges(body) == 1


ALIKE = [need for number, need in enumerate(NEEDS) if need.call in {n.call for n in NEEDS[:number]}]
"""Another role's need of the same call. That each of these is used, test_whole_run shows."""


@pytest.mark.parametrize(
    "need", [thorough(need, name=str(need)) if need in ALIKE else need for need in NEEDS], ids=str
)
def test_a_photo_needs_each_permission(catwalk: Catwalk, need: Need) -> None:
    """Without the statement the photo stops at that call; with it, the photo succeeds."""
    body, folder = photo(), f"needs/{need}"
    since = time.time()
    if need.fault:
        catwalk.vendor.fault(match={"path_contains": f"{folder}/"}, **need.fault)
    with without(catwalk, need.role, need.sid):
        if need.sid == "ReadTheKey":
            start_cold(catwalk, need.function)
        catwalk.drop(f"{folder}/dress.jpg", body, {"batch-size": "1"})
        group = f"/catwalk/catwalk/{need.role.removesuffix('Role').lower()}"
        wait_for(
            lambda: any(
                "AccessDenied" in line and f"the {need.call} operation" in line
                for line in catwalk.log_of(group, since=since)
            ),
            f"{need.call} to be refused to {need.function}",
        )
    record = catwalk.reached(f"{folder}/dress.jpg", need.ends)
    event = "Job Failed" if need.ends == "FAILED" else "Job Succeeded"
    catwalk.event(record["job_id"], event)
    assert record["credits"] == catwalk.charges(body) == 1
