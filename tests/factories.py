"""What tests need: pictures, events, a clock, a raw HTTP server, and the stack's AWS resources."""

import json
import re
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import Any, Final

import boto3
from botocore.exceptions import ClientError

from shared import clients
from shared.wiring import AwsClients
from tests.kept import bring_back, keep

REGION: Final = "us-east-1"
PHOTOS: Final = "photos"
RESULTS: Final = "results"
TABLE: Final = "jobs"
BUS: Final = "catwalk"
KEY: Final = "sk-test-0123456789abcdef"
"""The API key of all tests. Tests check that no log, record or event contains it."""
VENDOR: Final = "https://open.vmake.ai"
START: Final = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
WIDTH: Final = 480
"""The tests' photos are 480 x 640 pixels, so that they pass a lower limit that is set later."""
HEIGHT: Final = 640


class Clock:
    """A clock that stands still until `advance` is called."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        """Move forward by this many seconds."""
        self.now += timedelta(seconds=seconds)


# --- pictures ------------------------------------------------------------------------------------


def png(width: int = WIDTH, height: int = HEIGHT, *, padding: int = 0) -> bytes:
    """Return a whole, valid PNG; `padding` bytes of text make it longer."""
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
            _chunk(b"tEXt", b"Comment\0" + b"x" * padding) if padding else b"",
            _chunk(b"IDAT", _pixels(width, height)),
            _chunk(b"IEND", b""),
        )
    )


@cache
def _pixels(width: int, height: int) -> bytes:
    """Return the compressed pixels of a PNG of one colour."""
    row = b"\0" + b"\x40\x80\xc0" * width
    return zlib.compress(row * height)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def jpeg(
    width: int = WIDTH,
    height: int = HEIGHT,
    *,
    before_frame: int = 0,
    sof: int = 0xC0,
    fill: int = 0,
) -> bytes:
    """Return a JPEG with a valid header and no picture behind it.

    It is short at any size, since no code of Catwalk decodes a photo. Photos with another `fill`
    are other photos.

    Args:
        width: pixels.
        height: pixels.
        before_frame: how many bytes of metadata (APP segments) precede the frame header.
        sof: the frame's marker: 0xC0 baseline, 0xC2 progressive.
        fill: how many bytes of picture data follow.

    """
    segments = []
    while before_frame > 0:
        size = min(before_frame, 65_000)
        segments.append(b"\xff\xe2" + struct.pack(">H", size + 2) + b"p" * size)
        before_frame -= size
    frame = struct.pack(">BHHB", 8, height, width, 3) + b"\x01\x11\0\x02\x11\0\x03\x11\0"
    return b"".join(
        (
            b"\xff\xd8",
            b"\xff\xe0" + struct.pack(">H", 16) + b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0",
            *segments,
            bytes((0xFF, sof)) + struct.pack(">H", len(frame) + 2) + frame,
            b"\xff\xda" + struct.pack(">H", 12) + b"\x03\x01\0\x02\0\x03\0\0\x3f\0",
            b"\x12" * fill,
            b"\xff\xd9",
        )
    )


# --- events --------------------------------------------------------------------------------------


def dropped(
    key: str,
    *,
    etag: str = "",
    version_id: str | None = None,
    sequencer: str | None = "0061A0B2C3",
    event_id: str = "e-1",
    bucket: str = PHOTOS,
) -> dict[str, Any]:
    """Return an S3 "Object Created" event as EventBridge delivers it."""
    item: dict[str, Any] = {"key": key, "size": 1, "etag": etag}
    if version_id is not None:
        item["version-id"] = version_id
    if sequencer is not None:
        item["sequencer"] = sequencer
    return {
        "version": "0",
        "id": event_id,
        "detail-type": "Object Created",
        "source": "aws.s3",
        "account": "123456789012",
        "time": "2026-01-31T09:30:00Z",
        "region": REGION,
        "resources": [f"arn:aws:s3:::{bucket}"],
        "detail": {
            "version": "0",
            "bucket": {"name": bucket},
            "object": item,
            "request-id": "N4N7GDK58NMKJ12R",
            "requester": "123456789012",
            "reason": "PutObject",
        },
    }


def requested(detail: Mapping[str, Any], *, event_id: str = "r-1") -> dict[str, Any]:
    """Return a "Fashion Model Requested" event as EventBridge delivers it."""
    return {
        "version": "0",
        "id": event_id,
        "detail-type": "Fashion Model Requested",
        "source": "shop",
        "account": "123456789012",
        "time": "2026-01-31T09:30:00Z",
        "region": REGION,
        "resources": [],
        "detail": dict(detail),
    }


VARIANT: Final[Mapping[str, Any]] = {"modelId": "002", "sceneType": "original", "batchSize": 4}


# --- an HTTP server that sends raw bytes ----------------------------------------------------------


@contextmanager
def server(*replies: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Answer each connection with the next reply and close it; yield the URL and the requests."""
    seen: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for reply in replies:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                seen.append(read_request(connection))
                connection.sendall(reply)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", seen
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # ends the thread's accept
        listener.close()
        thread.join(5)


def read_request(connection: socket.socket) -> bytes:
    """Read one HTTP request, head and body; less if the client disconnects."""
    data, whole = b"", -1
    while whole < 0 or len(data) < whole:
        piece = connection.recv(65536)
        if not piece:
            break
        data += piece
        head, end, _ = data.partition(b"\r\n\r\n")
        if end:
            length = re.search(rb"(?i)content-length: *([0-9]+)", head)
            whole = len(head) + len(end) + (int(length[1]) if length else 0)
    return data


def http(body: bytes, status: str = "200 OK", *headers: str, length: int | None = None) -> bytes:
    """Return a raw HTTP response."""
    size = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {size}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


# --- AWS -----------------------------------------------------------------------------------------


@dataclass
class Aws(AwsClients):
    """The stack's resources in moto, and their clients."""

    queue_url: str = ""
    dead_letter_url: str = ""
    inbox_url: str = ""
    """A queue that receives every event on CatwalkBus."""
    state_machine_arn: str = ""
    secret_arn: str = ""
    _counter: list[int] = field(default_factory=lambda: [0])
    _built: bytes = b""
    _names: dict[str, str] = field(default_factory=dict)
    _table: bytes = b""

    @classmethod
    def connect(cls) -> "Aws":
        """Make clients for the account and region of the environment."""
        s3 = clients.s3.__wrapped__()
        s3.meta.events.register("request-created.s3", _moto_takes_bytes)
        return cls(
            s3=s3,
            dynamodb=boto3.client("dynamodb"),
            sqs=boto3.client("sqs"),
            events=boto3.client("events"),
            secrets=boto3.client("secretsmanager"),
            executions=boto3.client("stepfunctions"),
        )

    def build(self) -> "Aws":
        """Create the stack's resources of template.yaml in an empty moto."""
        if self._built:
            bring_back(self._built)
            vars(self).update(self._names)
        else:
            self._make()
            self._built = keep()
            self._names = {key: value for key, value in vars(self).items() if type(value) is str}
        return self

    def _make(self) -> None:
        for bucket in (PHOTOS, RESULTS):
            self.s3.create_bucket(Bucket=bucket)
        self.s3.put_bucket_versioning(Bucket=PHOTOS, VersioningConfiguration={"Status": "Enabled"})
        self._make_table()
        self.queue_url = self.sqs.create_queue(QueueName="submit")["QueueUrl"]
        self.dead_letter_url = self.sqs.create_queue(QueueName="dead")["QueueUrl"]
        self.inbox_url = self.sqs.create_queue(QueueName="inbox")["QueueUrl"]
        self.events.create_event_bus(Name=BUS)
        self.events.put_rule(
            Name="all", EventBusName=BUS, EventPattern=json.dumps({"source": ["catwalk"]})
        )
        arn = self.sqs.get_queue_attributes(QueueUrl=self.inbox_url, AttributeNames=["QueueArn"])
        self.events.put_targets(
            Rule="all",
            EventBusName=BUS,
            Targets=[{"Id": "inbox", "Arn": arn["Attributes"]["QueueArn"]}],
        )
        self.secret_arn = self.secrets.create_secret(Name="key", SecretString=KEY)["ARN"]
        self.state_machine_arn = self.executions.create_state_machine(
            name="jobs",
            definition=json.dumps(
                {"StartAt": "End", "States": {"End": {"Type": "Pass", "End": True}}}
            ),
            roleArn="arn:aws:iam::123456789012:role/any",
        )["stateMachineArn"]

    def build_table(self) -> None:
        """Create an empty JobsTable in an empty moto."""
        if self._table:
            bring_back(self._table)
        else:
            self._make_table()
            self._table = keep("dynamodb")

    def _make_table(self) -> None:
        keys = (
            *("pk", "status", "updated_at", "source_key", "sku", "created_at"),
            *("day", "charged_at", "review_state"),
        )
        indexes = {
            "by-status": ("status", "updated_at"),
            "by-source": ("source_key", "created_at"),
            "by-sku": ("sku", "created_at"),
            "by-day": ("day", "charged_at"),
            "by-review": ("review_state", "updated_at"),
        }
        self.dynamodb.create_table(
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            GlobalSecondaryIndexes=[
                {
                    "IndexName": name,
                    "KeySchema": [
                        {"AttributeName": hash_key, "KeyType": "HASH"},
                        {"AttributeName": range_key, "KeyType": "RANGE"},
                    ],
                    "Projection": {"ProjectionType": "ALL"},
                }
                for name, (hash_key, range_key) in indexes.items()
            ],
        )

    def drop(
        self, key: str, body: bytes, metadata: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Put a photo into PhotosBucket and return the event that S3 sends for it."""
        answer = self.s3.put_object(
            Bucket=PHOTOS, Key=key, Body=body, Metadata=dict(metadata or {})
        )
        self._counter[0] += 1
        return dropped(
            key,
            etag=answer["ETag"].strip('"'),
            version_id=answer.get("VersionId"),
            sequencer=f"{self._counter[0]:016X}",
            event_id=f"event-{self._counter[0]}",
        )

    def told(self) -> list[dict[str, Any]]:
        """Return the events that were put on CatwalkBus since the last call."""
        return [json.loads(body) for body in self.take(self.inbox_url)]

    def take(self, queue_url: str) -> list[str]:
        """Remove all messages from a queue and return their bodies."""
        bodies = []
        while messages := self.sqs.receive_message(
            QueueUrl=queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=0
        ).get("Messages", []):
            for message in messages:
                bodies.append(message["Body"])
                self.sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
        return bodies

    def told_types(self) -> list[str]:
        """Return the detail-types of the events since the last call."""
        return [event["detail-type"] for event in self.told()]

    def records(self) -> list[dict[str, Any]]:
        """Return all items of JobsTable in DynamoDB's JSON."""
        items: list[dict[str, Any]] = self.dynamodb.scan(TableName=TABLE)["Items"]
        return items

    def started(self) -> list[str]:
        """Return the names of the executions that were started."""
        answer = self.executions.list_executions(stateMachineArn=self.state_machine_arn)
        return sorted(entry["name"] for entry in answer["executions"])


class NewBucket:
    """An S3 client that answers 404 for existing objects, as S3 may after versioning is enabled."""

    def __init__(self, s3: Any, now: Callable[[], datetime], seconds: float = 900) -> None:
        """Answer 404 for this many seconds from now."""
        self._s3 = s3
        self._now = now
        self._until = now() + timedelta(seconds=seconds)

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._s3, name)
        hides = name in {"get_object", "head_object"} and self._now() < self._until
        return partial(self._missing, name) if hides else call

    @staticmethod
    def _missing(name: str, **_: Any) -> Any:
        code = "NoSuchKey" if name == "get_object" else "404"  # HEAD has no body
        raise ClientError({"Error": {"Code": code, "Message": "The key does not exist."}}, name)


def _moto_takes_bytes(request: Any, **_: Any) -> None:
    """Convert a bytearray body to bytes, since moto reads a bytearray as a form."""
    if isinstance(request.data, bytearray):
        request.data = bytes(request.data)
