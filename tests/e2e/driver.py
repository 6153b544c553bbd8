"""Drives a stack from outside: photos and events in; images, records and events out.

Nothing of shared/ is used here: these tests know Catwalk as its users do.
"""

import hashlib
import io
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TypeVar

from boto3.dynamodb.types import TypeDeserializer
from PIL import Image, ImageDraw

from local.paths import ROOT
from local.simulator import SimulatorControl
from local.stack import environment
from local.stack.stack import STACK, Stack

T = TypeVar("T")

PATIENCE_SECONDS: Final = 60.0
"""How long anything may take; far more than it does, for slow machines."""
_LOOK_SECONDS: Final = 0.1
_MOST_LOOK_SECONDS: Final = 0.5
"""Looks come ever more seldom, up to this: each is work for the local AWS."""
_LARGEST_MESSAGES: Final = 10
_CONTROL: Final[Any] = {"pk": {"S": "CONTROL#submit"}}

TERMINAL: Final = ("SUCCEEDED", "PARTIAL", "FAILED", "REJECTED")
ENDED: Final = (*TERMINAL, "SUBMIT_UNKNOWN")

_colours = itertools.count()


def wait_for(look: Callable[[], T | None], what: str, *, seconds: float = PATIENCE_SECONDS) -> T:
    """Look again and again until there is something to see, and return it.

    Args:
        look: returns what was waited for, or anything that counts as false.
        what: is waited for, for the message of the failure.
        seconds: after which the wait has failed.

    """
    deadline = time.monotonic() + seconds
    pause = _LOOK_SECONDS
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"after {seconds:.0f} s still waiting for {what}"
        time.sleep(pause)
        pause = min(1.1 * pause, _MOST_LOOK_SECONDS)


def photo(kind: str = "JPEG", size: tuple[int, int] = (240, 320)) -> bytes:
    """Draw a garment as no other photo has it: its bytes are found again in the charges."""
    number = next(_colours)
    picture = Image.new("RGB", size, (232, 228, 222))
    draw = ImageDraw.Draw(picture)
    width, height = size
    colour = (40 + number * 7 % 180, 60 + number * 13 % 150, 90 + number * 29 % 120)
    draw.rectangle((width * 0.25, height * 0.2, width * 0.75, height * 0.8), fill=colour)
    draw.point((number % width, number // width), fill=(255, 0, 0))
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    # Colours may come out alike after compression; a trailing comment never does.
    return buffer.getvalue() + f"\n#{number}".encode() if kind == "JPEG" else buffer.getvalue()


def mask(size: tuple[int, int] = (240, 320)) -> bytes:
    """Draw a mask."""
    picture = Image.new("L", size, 0)
    width, height = size
    ImageDraw.Draw(picture).ellipse(
        (width * 0.2, height * 0.2, width * 0.8, height * 0.8), fill=255
    )
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def sha256(data: bytes) -> str:
    """Return the digest as records and charges have it."""
    return hashlib.sha256(data).hexdigest()


def queue(stack: Stack, name: str, service: str) -> tuple[str, str]:
    """Make a queue that a service of AWS may send to, and return its URL and ARN."""
    sqs = stack.clients.sqs
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"][
        "QueueArn"
    ]
    allow = {
        "Effect": "Allow",
        "Principal": {"Service": f"{service}.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
    }
    sqs.set_queue_attributes(
        QueueUrl=url,
        Attributes={"Policy": json.dumps({"Version": "2012-10-17", "Statement": [allow]})},
    )
    return url, arn


def inbox(stack: Stack) -> str:
    """Make a queue that hears every event which Catwalk emits, and return its URL."""
    events, bus = stack.clients.events, stack.output("EventBusName")
    url, arn = queue(stack, "e2e-inbox", "events")
    events.put_rule(
        Name="e2e-all", EventBusName=bus, EventPattern=json.dumps({"source": ["catwalk"]})
    )
    events.put_targets(Rule="e2e-all", EventBusName=bus, Targets=[{"Id": "inbox", "Arn": arn}])
    return url


class Catwalk:
    """A stack that is up, as its users see it."""

    def __init__(self, stack: Stack, vendor: SimulatorControl, inbox_url: str) -> None:
        """Use this stack; the queue at `inbox_url` hears every event of its bus."""
        self.stack = stack
        self.vendor = vendor
        self._inbox_url = inbox_url
        self._heard: list[dict[str, Any]] = []
        self._deserialize = TypeDeserializer().deserialize

    # --- in --------------------------------------------------------------------------------

    def drop(self, key: str, body: bytes, metadata: Mapping[str, str] | None = None) -> None:
        """Put an object into PhotosBucket."""
        self.stack.clients.s3.put_object(
            Bucket=self.stack.output("PhotosBucketName"),
            Key=key,
            Body=body,
            Metadata=metadata or {},
        )

    def request(self, detail: Mapping[str, Any]) -> str:
        """Ask for images as a backend does, and return the event's id."""
        answer = self.stack.clients.events.put_events(
            Entries=[
                {
                    "Source": "shop",
                    "DetailType": "Fashion Model Requested",
                    "EventBusName": self.stack.output("EventBusName"),
                    "Detail": json.dumps(detail),
                }
            ]
        )
        assert answer["FailedEntryCount"] == 0, answer
        return answer["Entries"][0]["EventId"]

    def send(self, body: str) -> str:
        """Put a message into SubmitQueue, as a rule of EventBridge does, and return its id."""
        answer = self.stack.clients.sqs.send_message(
            QueueUrl=self.stack.output("SubmitQueueUrl"), MessageBody=body
        )
        return answer["MessageId"]

    def send_drop(self, key: str, *, etag: str, event_id: str = "again") -> None:
        """Put the message into SubmitQueue that says that a photo was dropped, once more."""
        self.send(self.drop_event(key, etag=etag, event_id=event_id))

    def drop_event(self, key: str, *, etag: str, event_id: str = "again") -> str:
        """Return the message that says that a photo was dropped."""
        event = {
            "id": event_id,
            "detail-type": "Object Created",
            "source": "aws.s3",
            "detail": {
                "bucket": {"name": self.stack.output("PhotosBucketName")},
                "object": {"key": key, "etag": etag},
            },
        }
        return json.dumps(event)

    def drop_again(self, key: str, trigger: str, *, event_id: str = "again") -> None:
        """Deliver the event of a drop once more, as S3 and EventBridge may.

        The local AWS names no version in its events: `trigger` is the drop's sequencer.
        """
        item = {"key": key, "etag": self.etag(key), "sequencer": trigger}
        event = json.loads(self.drop_event(key, etag="", event_id=event_id))
        self.send(json.dumps({**event, "detail": {**event["detail"], "object": item}}))

    def request_again(self, event_id: str, detail: Mapping[str, Any]) -> None:
        """Deliver the event of a request once more."""
        event = {"id": event_id, "detail-type": "Fashion Model Requested", "detail": dict(detail)}
        self.send(json.dumps(event))

    def delete(self, key: str) -> None:
        """Put a delete marker above an object of PhotosBucket."""
        bucket = self.stack.output("PhotosBucketName")
        self.stack.clients.s3.delete_object(Bucket=bucket, Key=key)

    def again(self, key: str) -> None:
        """Have a photo that waits come at once: its first message is delayed by the pause."""
        self.send_drop(key, etag=self.etag(key))

    def etag(self, key: str) -> str:
        """Return the ETag of a photo."""
        head = self.stack.clients.s3.head_object(
            Bucket=self.stack.output("PhotosBucketName"), Key=key
        )
        return head["ETag"].strip('"')

    def invoke(self, function: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Invoke a function by its logical id, and return its answer."""
        # Its stubs say that every answer has a FunctionError.
        answer: Any = self.stack.clients.functions.invoke(
            FunctionName=self.physical_id(function), Payload=json.dumps(payload).encode()
        )
        document: dict[str, Any] = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, document
        return document

    @contextmanager
    def configured(self, function: str, **variables: str) -> Iterator[None]:
        """Give a function, by its logical id, other environment variables for a while."""
        functions, name = self.stack.clients.functions, self.physical_id(function)
        before = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]

        def put(variables: Mapping[str, str]) -> None:
            functions.update_function_configuration(
                FunctionName=name, Environment={"Variables": variables}
            )

        put({**before, **variables})
        try:
            yield
        finally:
            put(before)

    def physical_id(self, logical_id: str) -> str:
        """Return the name that CloudFormation gave a resource."""
        detail = self.stack.clients.cloudformation.describe_stack_resource(
            StackName=STACK, LogicalResourceId=logical_id
        )
        return detail["StackResourceDetail"]["PhysicalResourceId"]

    def end_pause(self) -> None:
        """Let the pause of submission be over now: an account's first one takes a minute.

        An operator who has mended the account does the same, and then a photo is tried.
        """
        self.stack.clients.dynamodb.update_item(
            TableName=self.stack.output("JobsTableName"),
            Key=_CONTROL,
            UpdateExpression="SET #until = :past",
            ConditionExpression="attribute_exists(#until)",
            ExpressionAttributeNames={"#until": "until"},
            ExpressionAttributeValues={":past": {"S": "2026-01-01T00:00:00.000Z"}},
        )

    def close_breaker(self) -> None:
        """Have submission forget the trouble so far, as an operator may who knows its cause.

        Three unknown submits in a row pause the whole stack; unrelated tests that make one each
        would come to three.
        """
        self.stack.clients.dynamodb.delete_item(
            TableName=self.stack.output("JobsTableName"), Key=_CONTROL
        )

    # --- out -------------------------------------------------------------------------------

    def control(self) -> dict[str, Any]:
        """Return what the table says of submission; there is an `until` while it pauses."""
        answer = self.stack.clients.dynamodb.get_item(
            TableName=self.stack.output("JobsTableName"), Key=_CONTROL, ConsistentRead=True
        )
        return self._plain(answer.get("Item", {}))

    def records(self, source_key: str) -> list[dict[str, Any]]:
        """Return the records of a photo, oldest first."""
        answer = self.stack.clients.dynamodb.query(
            TableName=self.stack.output("JobsTableName"),
            IndexName="by-source",
            KeyConditionExpression="source_key = :key",
            ExpressionAttributeValues={":key": {"S": source_key}},
        )
        return [self._plain(item) for item in answer["Items"]]

    def record(self, job_id: str) -> dict[str, Any]:
        """Return a record as it is now."""
        answer = self.stack.clients.dynamodb.get_item(
            TableName=self.stack.output("JobsTableName"),
            Key={"pk": {"S": f"JOB#{job_id}"}},
            ConsistentRead=True,
        )
        return self._plain(answer["Item"])

    def all_items(self, prefix: str = "") -> list[dict[str, Any]]:
        """Return every item of JobsTable whose key begins so."""
        pages = self.stack.clients.dynamodb.get_paginator("scan").paginate(
            TableName=self.stack.output("JobsTableName")
        )
        items = [self._plain(item) for page in pages for item in page["Items"]]
        return [item for item in items if item["pk"].startswith(prefix)]

    def all_records(self) -> list[dict[str, Any]]:
        """Return every record."""
        return self.all_items("JOB#")

    def reconcile(self) -> dict[str, int]:
        """Have ReconcileFunction look at everything now, not only at what stood still for long."""
        moved: dict[str, int] = self.invoke("ReconcileFunction", {"still_seconds": 0})
        return moved

    def reconcile_lost(self, photos: int) -> None:
        """Have one run of ReconcileFunction send so many drops again that have not arrived.

        A run by hand leaves photos of the last half hour alone while any message is ready or taken:
        it may be theirs. Another test's delayed copy can come due at that moment.
        """
        wait_for(lambda: self.reconcile().get("photos", 0) >= photos, f"{photos} lost photos")

    @contextmanager
    def deaf(self, rule: str) -> Iterator[None]:
        """Have what a rule listens for be lost for a while."""
        name = self.physical_id(rule)
        self.stack.clients.events.disable_rule(Name=name)
        try:
            yield
        finally:
            self.stack.clients.events.enable_rule(Name=name)

    def command(self, *arguments: str) -> str:
        """Run the `catwalk` command and return what it prints."""
        done = self.run_command(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run_command(
        self, *arguments: str, stdin: str = "", variables: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the `catwalk` command, whatever comes of it; `variables` are set last."""
        address, folder = self.stack.address, self.stack.folder.path
        return subprocess.run(
            [sys.executable, "-m", "cli", *arguments],
            cwd=ROOT,
            env=environment.bare(folder)
            | environment.aws(
                folder,
                endpoint=address.endpoint,
                ca_bundle=Path(address.ca_bundle),
                credentials=address.credentials,
            )
            # `catwalk deploy` leaves the user's SAM as it is, which asks pypi.org for its newest.
            | {"__SAM_CLI_APP_DIR": str(environment.sam_settings(folder))}
            | dict(variables or {}),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )

    def ended(self, source_key: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until a photo has so many records and all have ended; return them."""

        def look() -> list[dict[str, Any]] | None:
            records = self.records(source_key)
            done = all(record["status"] in ENDED for record in records)
            return records if len(records) >= count and done else None

        records = wait_for(look, f"{count} ended records of {source_key!r}")
        assert len(records) == count, records
        return records

    def end_of(self, source_key: str, status: str = "SUCCEEDED") -> dict[str, Any]:
        """Wait until a photo's one record has ended; return it after a look at its status."""
        (record,) = self.ended(source_key)
        assert record["status"] == status, record
        return record

    def reached(self, source_key: str, status: str) -> dict[str, Any]:
        """Wait until a photo's one record has a status, and return it."""

        def look() -> dict[str, Any] | None:
            return next(
                (record for record in self.records(source_key) if record["status"] == status), None
            )

        return wait_for(look, f"{source_key!r} to be {status}")

    def executing(self, source_key: str) -> dict[str, Any]:
        """Wait until a photo's one task has its execution, and return the record.

        A record is RUNNING and names its execution a moment before that is started.
        """
        return self.told_of(self.reached(source_key, "RUNNING")["job_id"], "RUNNING")

    def told_of(self, job_id: str, status: str) -> dict[str, Any]:
        """Wait until a record says that its event is out, and return it: nothing more is written.

        A record ends a moment before its event is sent, and says so a moment after.
        """

        def look() -> dict[str, Any] | None:
            record = self.record(job_id)
            return record if record.get("announced") == status else None

        return wait_for(look, f"job {job_id} to be told of as {status}")

    def states_entered(self, record: Mapping[str, Any]) -> list[str]:
        """Wait until a job's execution has ended, and return the states that it has entered."""
        executions, arn = self.stack.clients.executions, record["execution_arn"]
        wait_for(
            lambda: executions.describe_execution(executionArn=arn)["status"] != "RUNNING",
            f"the execution of job {record['job_id']} to end",
        )
        pages = executions.get_paginator("get_execution_history").paginate(executionArn=arn)
        return [
            event["stateEnteredEventDetails"]["name"]
            for page in pages
            for event in page["events"]
            if "stateEnteredEventDetails" in event
        ]

    def charges(self, body: bytes) -> int:
        """Return how often the vendor charged for a photo's bytes."""
        return self.vendor.charges().by_sha256.get(sha256(body), 0)

    def creates(self) -> int:
        """Return how often the vendor was asked to create a task, whatever came of it."""
        return self.vendor.state()["call_counts"].get("create", 0)

    def tasks(self, body: bytes) -> list[Any]:
        """Return the vendor's tasks of a photo's bytes."""
        digest = sha256(body)
        return [task for task in self.vendor.state()["tasks"] if task["photo"]["sha256"] == digest]

    def object(self, bucket: str, key: str) -> tuple[bytes, dict[str, Any]]:
        """Return an object's bytes, and what S3 says about it."""
        answer = self.stack.clients.s3.get_object(Bucket=bucket, Key=key)
        with answer["Body"] as body:
            return body.read(), dict(answer)

    def results_below(self, prefix: str) -> list[tuple[str, str]]:
        """Return key and ETag of every object in ResultsBucket below a prefix."""
        pages = self.stack.clients.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.stack.output("ResultsBucketName"), Prefix=prefix
        )
        return [(item["Key"], item["ETag"]) for page in pages for item in page.get("Contents", [])]

    def events(self, job_id: str) -> list[dict[str, Any]]:
        """Return the events about a job that have come so far."""
        while True:
            answer = self.stack.clients.sqs.receive_message(
                QueueUrl=self._inbox_url, MaxNumberOfMessages=_LARGEST_MESSAGES
            )
            messages = answer.get("Messages", [])
            for message in messages:
                self._heard.append(json.loads(message["Body"]))
                self.stack.clients.sqs.delete_message(
                    QueueUrl=self._inbox_url, ReceiptHandle=message["ReceiptHandle"]
                )
            if not messages:
                break
        return [event for event in self._heard if event["detail"].get("jobId") == job_id]

    def event(self, job_id: str, detail_type: str) -> dict[str, Any]:
        """Wait for an event about a job, and return it."""

        def look() -> dict[str, Any] | None:
            return next(
                (event for event in self.events(job_id) if event["detail-type"] == detail_type),
                None,
            )

        return wait_for(look, f"the event {detail_type!r} of job {job_id}")

    @property
    def heard(self) -> Sequence[dict[str, Any]]:
        """Every event that has come so far."""
        self.events("")
        return self._heard

    def queue_is_empty(self, output: str = "SubmitQueueUrl") -> bool:
        """Tell whether a queue holds no message, neither waiting nor taken.

        Delayed ones do not count: a copy that found its photo being submitted comes again when
        the other invocation must have ended, minutes later.
        """
        attributes = self.stack.clients.sqs.get_queue_attributes(
            QueueUrl=self.stack.output(output),
            AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
        )["Attributes"]
        return not any(int(count) for count in attributes.values())

    def idle(self) -> None:
        """Wait until every message is dealt with and every execution has ended."""
        machine = self.stack.output("StateMachineArn")

        def look() -> bool:
            running = self.stack.clients.executions.list_executions(
                stateMachineArn=machine, statusFilter="RUNNING"
            )["executions"]
            return not running and self.queue_is_empty()

        wait_for(look, "all executions and messages to end")

    def logs(self) -> list[str]:
        """Return every line that the functions and the state machine have logged."""
        client = self.stack.clients.client("logs")
        lines = []
        for group in client.get_paginator("describe_log_groups").paginate():
            for entry in group["logGroups"]:
                pages = client.get_paginator("filter_log_events").paginate(
                    logGroupName=entry["logGroupName"]
                )
                lines += [event["message"] for page in pages for event in page["events"]]
        return lines

    def log_of(self, group: str, *, since: float) -> list[str]:
        """Return the lines of one log group, since a moment."""
        pages = (
            self.stack.clients.client("logs")
            .get_paginator("filter_log_events")
            .paginate(logGroupName=group, startTime=int(since * 1000))
        )
        return [event["message"] for page in pages for event in page["events"]]

    def _plain(self, item: Mapping[str, Any]) -> dict[str, Any]:
        return {name: _undecimal(self._deserialize(value)) for name, value in item.items()}


def _undecimal(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dict):
        return {name: _undecimal(entry) for name, entry in value.items()}
    if isinstance(value, list | set):
        return [_undecimal(entry) for entry in (sorted(value) if isinstance(value, set) else value)]
    return value
