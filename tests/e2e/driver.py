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
from local.stack.stack import Stack
from local.stack.state import STACK

T = TypeVar("T")

PATIENCE_SECONDS: Final = 60.0
"""Timeout of every wait. It is far longer than needed, for slow machines."""
_LOOK_SECONDS: Final = 0.1
_MOST_LOOK_SECONDS: Final = 0.5
"""The pause between two looks grows up to this, since each look loads the local AWS."""
_LARGEST_MESSAGES: Final = 10
_CONTROL: Final[Any] = {"pk": {"S": "CONTROL#submit"}}

PHOTO_SIZE: Final = (384, 512)
"""Width and height in pixels. The simulated vendor enlarges results of smaller photos to this
size, so smaller photos would save nothing."""
TERMINAL: Final = ("SUCCEEDED", "PARTIAL", "FAILED", "REJECTED")
ENDED: Final = (*TERMINAL, "SUBMIT_UNKNOWN")

_colours = itertools.count()


def wait_for(look: Callable[[], T | None], what: str, *, seconds: float = PATIENCE_SECONDS) -> T:
    """Call `look` until it returns something, and return that.

    Args:
        look: returns a falsy value as long as the wait goes on.
        what: the thing that is waited for, for the failure message.
        seconds: the timeout.

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


def photo(kind: str = "JPEG", size: tuple[int, int] = PHOTO_SIZE) -> bytes:
    """Draw a garment; the bytes of each call are unique, since charges are counted by bytes."""
    number = next(_colours)
    picture = Image.new("RGB", size, (232, 228, 222))
    draw = ImageDraw.Draw(picture)
    width, height = size
    colour = (40 + number * 7 % 180, 60 + number * 13 % 150, 90 + number * 29 % 120)
    draw.rectangle((width * 0.25, height * 0.2, width * 0.75, height * 0.8), fill=colour)
    draw.point((number % width, number // width), fill=(255, 0, 0))
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    # After compression, two colours may be the same; the trailing number never is.
    return buffer.getvalue() + f"\n#{number}".encode() if kind == "JPEG" else buffer.getvalue()


def mask(size: tuple[int, int] = PHOTO_SIZE) -> bytes:
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
    """Return the digest in the form of records and charges."""
    return hashlib.sha256(data).hexdigest()


def queue(stack: Stack, name: str, service: str) -> tuple[str, str]:
    """Make a queue that an AWS service may send to; return its URL and ARN."""
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
    """Make a queue that receives every event of Catwalk; return its URL."""
    events, bus = stack.clients.events, stack.output("EventBusName")
    url, arn = queue(stack, "e2e-inbox", "events")
    events.put_rule(
        Name="e2e-all", EventBusName=bus, EventPattern=json.dumps({"source": ["catwalk"]})
    )
    events.put_targets(Rule="e2e-all", EventBusName=bus, Targets=[{"Id": "inbox", "Arn": arn}])
    return url


class Catwalk:
    """A running stack, as its users see it."""

    def __init__(self, stack: Stack, vendor: SimulatorControl, inbox_url: str) -> None:
        """Use this stack; the queue at `inbox_url` receives every event of its bus."""
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
        """Send a request event, as a backend does; return the event's id."""
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
        """Send a message to SubmitQueue, as EventBridge's rule does; return its id."""
        answer = self.stack.clients.sqs.send_message(
            QueueUrl=self.stack.output("SubmitQueueUrl"), MessageBody=body
        )
        return answer["MessageId"]

    def send_drop(self, key: str, *, etag: str, event_id: str = "again") -> None:
        """Send the message of a dropped photo to SubmitQueue again."""
        self.send(self.drop_event(key, etag=etag, event_id=event_id))

    def drop_event(self, key: str, *, etag: str, event_id: str = "again") -> str:
        """Return the message of a dropped photo."""
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
        """Deliver the event of a drop again, as S3 and EventBridge may.

        The events of the local AWS name no version, so `trigger` is the drop's sequencer.
        """
        item = {"key": key, "etag": self.etag(key), "sequencer": trigger}
        event = json.loads(self.drop_event(key, etag="", event_id=event_id))
        self.send(json.dumps({**event, "detail": {**event["detail"], "object": item}}))

    def request_again(self, event_id: str, detail: Mapping[str, Any]) -> None:
        """Deliver the event of a request again."""
        event = {"id": event_id, "detail-type": "Fashion Model Requested", "detail": dict(detail)}
        self.send(json.dumps(event))

    def delete(self, key: str) -> None:
        """Put a delete marker above an object of PhotosBucket."""
        bucket = self.stack.output("PhotosBucketName")
        self.stack.clients.s3.delete_object(Bucket=bucket, Key=key)

    def again(self, key: str) -> None:
        """Send a message for a waiting photo now; the pause has delayed its first message."""
        self.send_drop(key, etag=self.etag(key))

    def etag(self, key: str) -> str:
        """Return the ETag of a photo."""
        head = self.stack.clients.s3.head_object(
            Bucket=self.stack.output("PhotosBucketName"), Key=key
        )
        return head["ETag"].strip('"')

    def invoke(self, function: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Invoke a function by its logical id; return its answer."""
        # Its stubs say that every answer has a FunctionError.
        answer: Any = self.stack.clients.functions.invoke(
            FunctionName=self.physical_id(function), Payload=json.dumps(payload).encode()
        )
        document: dict[str, Any] = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, document
        return document

    @contextmanager
    def configured(self, function: str, **variables: str) -> Iterator[None]:
        """Set environment variables of a function (its logical id) while the block runs."""
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
        """End the pause of submission now. The first pause for account trouble takes a minute.

        `catwalk reconcile` does the same after an operator has fixed the account.
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
        """Close the circuit breaker and reset its counters.

        Three unknown submits in a row pause the whole stack. Without this, three unrelated tests
        with one unknown submit each would pause it.
        """
        self.stack.clients.dynamodb.delete_item(
            TableName=self.stack.output("JobsTableName"), Key=_CONTROL
        )

    # --- out -------------------------------------------------------------------------------

    def control(self) -> dict[str, Any]:
        """Return the circuit breaker's item; it has an `until` while submission is paused."""
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
        """Return a record, read consistently."""
        answer = self.stack.clients.dynamodb.get_item(
            TableName=self.stack.output("JobsTableName"),
            Key={"pk": {"S": f"JOB#{job_id}"}},
            ConsistentRead=True,
        )
        return self._plain(answer["Item"])

    def all_items(self, prefix: str = "") -> list[dict[str, Any]]:
        """Return every item of JobsTable whose key begins with `prefix`."""
        pages = self.stack.clients.dynamodb.get_paginator("scan").paginate(
            TableName=self.stack.output("JobsTableName")
        )
        items = [self._plain(item) for page in pages for item in page["Items"]]
        return [item for item in items if item["pk"].startswith(prefix)]

    def all_records(self) -> list[dict[str, Any]]:
        """Return every job record."""
        return self.all_items("JOB#")

    def reconcile(self) -> dict[str, int]:
        """Run ReconcileFunction over all jobs, also those that changed a moment ago."""
        moved: dict[str, int] = self.invoke("ReconcileFunction", {"still_seconds": 0})
        return moved

    def reconcile_lost(self, photos: int) -> None:
        """Run ReconcileFunction until one run has sent this many lost drops again.

        A run by hand skips photos of the last half hour while a message is visible or in flight,
        since the message may be theirs. Another test's delayed message may be visible just then.
        """
        wait_for(lambda: self.reconcile().get("photos", 0) >= photos, f"{photos} lost photos")

    @contextmanager
    def deaf(self, rule: str) -> Iterator[None]:
        """Disable a rule (its logical id) while the block runs; its events are lost."""
        name = self.physical_id(rule)
        self.stack.clients.events.disable_rule(Name=name)
        try:
            yield
        finally:
            self.stack.clients.events.enable_rule(Name=name)

    def command(self, *arguments: str) -> str:
        """Run the `catwalk` command, which must succeed; return its standard output."""
        done = self.run_command(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run_command(
        self, *arguments: str, stdin: str = "", variables: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the `catwalk` command; `variables` override its environment."""
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
            # The user's own SAM settings would make `catwalk deploy` ask pypi.org for updates.
            | {"__SAM_CLI_APP_DIR": str(environment.sam_settings(folder))}
            | dict(variables or {}),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )

    def ended(self, source_key: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until a photo has `count` records and all have ended; return them."""

        def look() -> list[dict[str, Any]] | None:
            records = self.records(source_key)
            done = all(record["status"] in ENDED for record in records)
            return records if len(records) >= count and done else None

        records = wait_for(look, f"{count} ended records of {source_key!r}")
        assert len(records) == count, records
        return records

    def end_of(self, source_key: str, status: str = "SUCCEEDED") -> dict[str, Any]:
        """Wait until a photo's only record has ended; check its status and return it."""
        (record,) = self.ended(source_key)
        assert record["status"] == status, record
        return record

    def reached(self, source_key: str, status: str) -> dict[str, Any]:
        """Wait until a record of a photo has a status; return it."""

        def look() -> dict[str, Any] | None:
            return next(
                (record for record in self.records(source_key) if record["status"] == status), None
            )

        return wait_for(look, f"{source_key!r} to be {status}")

    def executing(self, source_key: str) -> dict[str, Any]:
        """Wait until the execution of a photo's only job has started; return the record.

        A record is RUNNING and names its execution a moment before the execution starts.
        """
        return self.told_of(self.reached(source_key, "RUNNING")["job_id"], "RUNNING")

    def told_of(self, job_id: str, status: str) -> dict[str, Any]:
        """Wait until a record says that its event was sent; return the record.

        This is the last write: a job ends, then its event is sent, then the record notes the event.
        """

        def look() -> dict[str, Any] | None:
            record = self.record(job_id)
            return record if record.get("announced") == status else None

        return wait_for(look, f"the event of job {job_id} as {status}")

    def states_entered(self, record: Mapping[str, Any]) -> list[str]:
        """Wait until a job's execution has ended; return the states that it entered."""
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
        """Return how many create requests the vendor got, also those that it refused."""
        return self.vendor.state()["call_counts"].get("create", 0)

    def tasks(self, body: bytes) -> list[Any]:
        """Return the vendor's tasks for a photo's bytes."""
        digest = sha256(body)
        return [task for task in self.vendor.state()["tasks"] if task["photo"]["sha256"] == digest]

    def object(self, bucket: str, key: str) -> tuple[bytes, dict[str, Any]]:
        """Return an object's bytes and S3's answer."""
        answer = self.stack.clients.s3.get_object(Bucket=bucket, Key=key)
        with answer["Body"] as body:
            return body.read(), dict(answer)

    def results_below(self, prefix: str) -> list[tuple[str, str]]:
        """Return the key and ETag of every object in ResultsBucket under a prefix."""
        pages = self.stack.clients.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.stack.output("ResultsBucketName"), Prefix=prefix
        )
        return [(item["Key"], item["ETag"]) for page in pages for item in page.get("Contents", [])]

    def events(self, job_id: str) -> list[dict[str, Any]]:
        """Return the events about a job that have arrived so far."""
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
        """Wait for an event about a job; return it."""

        def look() -> dict[str, Any] | None:
            return next(
                (event for event in self.events(job_id) if event["detail-type"] == detail_type),
                None,
            )

        return wait_for(look, f"the event {detail_type!r} of job {job_id}")

    @property
    def heard(self) -> Sequence[dict[str, Any]]:
        """Every event that has arrived so far."""
        self.events("")
        return self._heard

    def queue_is_empty(self, output: str = "SubmitQueueUrl") -> bool:
        """Return whether a queue has no message that is visible or in flight.

        Delayed messages are not counted. A duplicate whose photo was being submitted by another
        invocation is delayed for minutes, until that invocation must have ended.
        """
        attributes = self.stack.clients.sqs.get_queue_attributes(
            QueueUrl=self.stack.output(output),
            AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
        )["Attributes"]
        return not any(int(count) for count in attributes.values())

    def idle(self) -> None:
        """Wait until the queue is empty and every execution has ended."""
        machine = self.stack.output("StateMachineArn")

        def look() -> bool:
            running = self.stack.clients.executions.list_executions(
                stateMachineArn=machine, statusFilter="RUNNING"
            )["executions"]
            return not running and self.queue_is_empty()

        wait_for(look, "all executions and messages to end")

    def logs(self) -> list[str]:
        """Return every log line of the functions and the state machine."""
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
        """Return the lines of a log group since a time, in seconds since 1970."""
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
