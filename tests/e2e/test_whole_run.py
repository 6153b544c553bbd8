"""What must hold after all other tests; the file's name sorts last."""

import hashlib
import json
import re
from collections import Counter
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from local.stack.state import STACK
from tests.e2e.driver import ENDED, Catwalk, photo, queue, wait_for
from tests.watched import NAMESPACE, emitted, saved_queries, watched

WHOLE = {"test_faults", "test_permissions", "test_reconcile", "test_rejections", "test_vendor"}
"""Files whose tests use every permission, emit every metric and write every kind of log line."""
LAMBDA_ITSELF = "Lambda itself calls it for the function; the local AWS does not need to"
NOT_SEEN = {
    "sqs:ReceiveMessage": LAMBDA_ITSELF,
    "sqs:DeleteMessage": LAMBDA_ITSELF,
    "sqs:GetQueueAttributes": LAMBDA_ITSELF,
    "logs:CreateLogStream": LAMBDA_ITSELF,
    "logs:PutLogEvents": LAMBDA_ITSELF,
    "xray:PutTraceSegments": LAMBDA_ITSELF,
    "xray:PutTelemetryRecords": LAMBDA_ITSELF,
    "s3:ListBucket": "never called: it makes S3 say that an object is missing",
    "s3:GetObjectVersion": "recorded as GetObject: it allows the same call with a version",
    "s3:ListBucketVersions": "recorded as ListObjectVersions",
    "s3:AbortMultipartUpload": "called when the copy of a large result breaks half way",
}


@pytest.fixture(scope="module", autouse=True)
def after_all_else(catwalk: Catwalk) -> None:
    """Make one job, in case these tests run alone, and wait until everything has ended."""
    catwalk.drop("last/dress.jpg", photo(), {"batch-size": "1"})
    catwalk.drop("last/notes.txt", b"no photo")
    catwalk.end_of("last/dress.jpg")
    catwalk.end_of("last/notes.txt", "REJECTED")
    catwalk.idle()


def whole(session: pytest.Session) -> bool:
    """Return whether all these files are part of this run."""
    return {item.path.stem for item in session.items} >= WHOLE


def test_nothing_has_vanished(catwalk: Catwalk) -> None:
    """Every job has ended, and no message is left in a queue."""
    unfinished = [record for record in catwalk.all_records() if record["status"] not in ENDED]
    assert unfinished == []
    assert catwalk.queue_is_empty()
    assert catwalk.queue_is_empty("SubmitDeadLetterQueueUrl")


def test_the_books_agree(catwalk: Catwalk) -> None:
    """The vendor charged what the records say, plus at most one credit for each lost answer."""
    records = catwalk.all_records()
    charges = catwalk.vendor.charges()
    parked = Counter(_path(record) for record in records if record["status"] == "SUBMIT_UNKNOWN")
    unwritten = Counter(charges.by_path)
    for record in records:
        unwritten[_path(record)] -= record["credits"]
    assert charges.total == sum(charges.by_path.values())
    wrong = {path: left for path, left in unwritten.items() if left not in range(parked[path] + 1)}
    assert wrong == {}


def _path(record: dict[str, Any]) -> str:
    """Return the path of the URL that the vendor is given for a photo."""
    place = record.get("photo") or {}
    if "url" in place:
        return unquote(urlsplit(place["url"]).path)
    return f"/{place.get('bucket')}/{place.get('key')}"


def test_the_ledger_agrees(catwalk: Catwalk) -> None:
    """The ledger has an entry for each credit, and an `unknown` one for each unknown submit."""
    records = catwalk.all_records()
    entries = Counter(entry["certainty"] for entry in catwalk.all_items("CREDIT#"))
    assert entries["charged"] == sum(record["credits"] for record in records)
    assert entries["unknown"] == sum(r["status"] == "SUBMIT_UNKNOWN" for r in records)


def test_every_end_was_told(catwalk: Catwalk) -> None:
    """Each end of a job has an event."""
    told = {(e["detail"]["jobId"], e["detail"]["status"]) for e in catwalk.heard}
    missing = [
        record
        for record in catwalk.all_records()
        if (record["job_id"], record["status"]) not in told
    ]
    assert missing == []


def test_the_api_key_is_seen_nowhere(catwalk: Catwalk, api_key: str) -> None:
    """No log, record, event, execution or environment variable holds the key."""
    clients = catwalk.stack.clients
    places = {
        path.name: path.read_text(errors="replace")
        for path in catwalk.stack.folder.logs.rglob("*.log")
    }
    assert {"aws.log", "build.log", "deploy.log", "vendor.log"} <= places.keys()
    places["CloudWatch Logs"] = "\n".join(catwalk.logs())
    places["JobsTable"] = json.dumps(catwalk.all_items())
    places["events"] = json.dumps(catwalk.heard)
    functions = clients.functions.list_functions()["Functions"]
    places["functions"] = json.dumps(functions, default=str)
    pages = clients.executions.get_paginator("list_executions").paginate(
        stateMachineArn=catwalk.stack.output("StateMachineArn")
    )
    executions = [entry["executionArn"] for page in pages for entry in page["executions"]]
    for arn in executions:
        places[arn] = str(clients.executions.get_execution_history(executionArn=arn))
    assert executions
    assert [name for name, text in places.items() if len(text) < 3] == []
    assert [name for name, text in places.items() if api_key in text] == []
    secret = clients.secrets.get_secret_value(SecretId=catwalk.stack.output("VmakeApiKeySecretArn"))
    assert secret["SecretString"] == api_key


@pytest.mark.parametrize("name", ["Submit", "Poll", "Finalize", "Reconcile"])
def test_no_permission_is_unused(
    catwalk: Catwalk, request: pytest.FixtureRequest, name: str
) -> None:
    """Each function has used every permission of its role."""
    if not whole(request.session):
        pytest.skip("only a whole run uses every permission")
    iam, trail = catwalk.stack.clients.client("iam"), catwalk.stack.clients.client("cloudtrail")
    role = catwalk.physical_id(f"{name}Role")
    (policy,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    document = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
    granted = {action for statement in document["Statement"] for action in _actions(statement)}
    key = _access_key(catwalk, name)

    def used(action: str) -> bool:
        found = trail.lookup_events(
            LookupAttributes=[
                {"AttributeKey": "AccessKeyId", "AttributeValue": key},
                {"AttributeKey": "EventName", "AttributeValue": action.partition(":")[2]},
            ]
        )
        return bool(found["Events"])

    assert {action for action in granted - NOT_SEEN.keys() if not used(action)} == set()


def _actions(statement: dict[str, Any]) -> list[str]:
    action = statement["Action"]
    return [action] if isinstance(action, str) else action


def _access_key(catwalk: Catwalk, name: str) -> str:
    """Return the access key id that the local AWS gives a function."""
    function = catwalk.stack.clients.functions.get_function_configuration(
        FunctionName=catwalk.physical_id(f"{name}Function")
    )
    digest = hashlib.sha256(f"{function['FunctionArn']}:{function['Role']}".encode()).hexdigest()
    return f"ASIA{digest[:16].upper()}"


def test_the_dashboard_shows_what_is_emitted(
    catwalk: Catwalk, request: pytest.FixtureRequest
) -> None:
    """The functions have emitted every metric of the dashboard and the alarms."""
    if not whole(request.session):
        pytest.skip("only a whole run emits every metric")
    with catwalk.configured("ReconcileFunction", DAILY_CREDIT_LIMIT="100000"):
        catwalk.reconcile()
    found = emitted(catwalk.logs())
    assert {dict(dimensions)["Stack"] for _, dimensions in found} == {STACK}
    records_read = {each for each in watched() if each.namespace == NAMESPACE}
    assert {(name, tuple(dict(dimensions))) for name, dimensions in found} == {
        (each.name, each.dimensions) for each in records_read
    }
    # Each alarm on a reason of a pause uses an existing reason.
    causes = {(name, *dimensions[1]) for name, dimensions in found if len(dimensions) > 1}
    for each in records_read:
        if len(each.dimensions) > 1 and each.values[1] != "*":
            assert (each.name, each.dimensions[1], each.values[1]) in causes


def test_the_dashboard_is_there(catwalk: Catwalk) -> None:
    """The dashboard is JSON with this stack's names; only CloudWatch's variables are left."""
    answer = catwalk.stack.clients.client("cloudwatch").get_dashboard(
        DashboardName=catwalk.stack.output("DashboardName")
    )
    assert json.loads(answer["DashboardBody"])["widgets"]
    assert catwalk.physical_id("SubmitFunction") in answer["DashboardBody"]
    assert set(re.findall(r"\$\{[^}]*\}", answer["DashboardBody"])) == {
        "${PROP('Dim.ErrorCode')}",
        "${PROP('Dim.Reason')}",
    }


def test_saved_queries_find_what_is_logged(
    catwalk: Catwalk, request: pytest.FixtureRequest
) -> None:
    """Each field of a saved query is in some log line."""
    if not whole(request.session):
        pytest.skip("only a whole run writes every kind of line")
    lines = [json.loads(line) for line in catwalk.logs() if line.startswith("{")]
    known = {name for line in lines for name in line} | {"@timestamp"}
    asked = saved_queries()
    assert {name: fields - known for name, fields in asked.items() if fields - known} == {}


def test_every_line_names_its_invocation(catwalk: Catwalk) -> None:
    """Each log line has the function's name and request id."""
    written = [line for line in catwalk.logs() if line.startswith("{")]
    assert written
    lacking = [
        line
        for line in written
        if not {"function_name", "function_request_id"} <= json.loads(line).keys()
    ]
    assert lacking == []


def test_an_alarm_reaches_whoever_subscribes(catwalk: Catwalk) -> None:
    """Parked submits raise an alarm, which reaches a subscriber of the topic."""
    client, sqs = catwalk.stack.clients.client, catwalk.stack.clients.sqs
    url, arn = queue(catwalk.stack, "e2e-alarms", "sns")
    client("sns").subscribe(
        TopicArn=catwalk.stack.output("AlarmTopicArn"), Protocol="sqs", Endpoint=arn
    )

    def heard() -> dict[str, Any] | None:
        messages = sqs.receive_message(QueueUrl=url).get("Messages", [])
        if not messages:
            return None
        sqs.delete_message(QueueUrl=url, ReceiptHandle=messages[0]["ReceiptHandle"])
        told: dict[str, Any] = json.loads(json.loads(messages[0]["Body"])["Message"])
        return told

    client("cloudwatch").put_metric_data(
        Namespace=NAMESPACE,
        MetricData=[
            {
                "MetricName": "SubmitsParked",
                "Dimensions": [{"Name": "Stack", "Value": STACK}],
                "Value": 1,
            }
        ],
    )
    told = wait_for(heard, "the alarm")
    assert (told["AlarmName"], told["NewStateValue"]) == (f"{STACK}-submits-parked", "ALARM")
    assert "docs/runbook.md#submits-parked" in told["AlarmDescription"]


def test_the_stack_is_the_template(catwalk: Catwalk) -> None:
    """The stack was created without a rollback and has all outputs."""
    (stack,) = catwalk.stack.clients.cloudformation.describe_stacks(StackName=STACK)["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    assert {output["OutputKey"] for output in stack["Outputs"]} >= {
        "PhotosBucketName",
        "ResultsBucketName",
        "JobsTableName",
        "EventBusName",
        "StateMachineArn",
        "SubmitQueueUrl",
        "SubmitDeadLetterQueueUrl",
        "VmakeApiKeySecretArn",
        "AlarmTopicArn",
        "DashboardName",
    }
