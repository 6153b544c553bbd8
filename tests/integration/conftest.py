"""The three functions as Lambda calls them, on moto's AWS and the simulated vendor."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, tzinfo
from typing import Any, Self
from unittest import mock

import botocore.client
import httpx
import pytest

from functions.finalize import handler as finalize_function
from functions.poll import handler as poll_function
from functions.submit import handler as submit_function
from local.simulator import Settings, SimulatorServer
from shared import clients, clock
from shared.config import config
from shared.jobs import job_of
from shared.models import Job
from tests.kit import BUS, KEY, PHOTOS, RESULTS, TABLE, Aws, jpeg

MAX_RECEIVES = 5
"""After so many receives a message goes to the dead-letter queue, as in template.yaml."""
MAX_STEPS = 200
"""More steps than this in one execution are a loop without an end."""


class Killed(BaseException):
    """The invocation ends here, as if the machine had lost its power."""


class Context:
    """What Lambda tells a function about its invocation."""

    aws_request_id = "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"

    def get_remaining_time_in_millis(self) -> int:
        """Return what is left of the function's time."""
        return 149_000


class Sqs:
    """SubmitQueue as the function sees it: what it sends is delivered later."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int]] = []

    def send_message(self, *, QueueUrl: str, MessageBody: str, DelaySeconds: int) -> None:  # noqa: N803  SQS's names
        """Keep a copy."""
        assert QueueUrl
        self.sent.append((MessageBody, DelaySeconds))


class World:
    """The deployed stack."""

    def __init__(self, aws: Aws, vendor: SimulatorServer, patch: pytest.MonkeyPatch) -> None:
        self.aws = aws
        self.vendor = vendor.control
        self.vendor_url = vendor.base_url
        self.sqs = Sqs()
        self.dead: list[str] = []
        self.offset = timedelta()
        self._messages = 0
        self._count = 0
        self._kill_at: int | None = None
        self._before = True
        self._lock = threading.Lock()
        self.calls: list[str] = []
        world = self

        class Shifted(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Self:
                return super().now(tz) + world.offset

        patch.setattr(clock, "datetime", Shifted)
        patch.setattr(clients, "sqs", lambda: self.sqs)

    def sleep(self, seconds: float) -> None:
        """Let time pass, without waiting for it."""
        self.offset += timedelta(seconds=seconds)

    # --- events ----------------------------------------------------------------------------

    def submit(self, *bodies: str) -> list[str]:
        """Invoke SubmitFunction once with these messages; return those that come again."""
        records = {}
        for body in bodies:
            self._messages += 1
            records[f"message-{self._messages}"] = body
        event = {
            "Records": [
                {
                    "messageId": message_id,
                    "receiptHandle": "AQEB",
                    "body": body,
                    "attributes": {"ApproximateReceiveCount": "1"},
                    "messageAttributes": {},
                    "eventSource": "aws:sqs",
                    "awsRegion": "us-east-1",
                }
                for message_id, body in records.items()
            ]
        }
        answer = submit_function.handler(event, Context())  # type: ignore[arg-type]
        return [records[failure["itemIdentifier"]] for failure in answer["batchItemFailures"]]

    def deliver(self, event: dict[str, Any] | str, *, rounds: int = 20) -> None:
        """Deliver an event, and again as often as the function asks for it."""
        waiting = [(event if isinstance(event, str) else json.dumps(event), 1)]
        for _ in range(rounds):
            if not waiting:
                return
            body, receives = waiting.pop(0)
            failed = self.submit(body)
            if failed and receives == MAX_RECEIVES:
                self.dead += failed
            elif failed:
                self.sleep(300)
                waiting.append((body, receives + 1))
            for copy, seconds in self.sqs.sent:
                self.sleep(seconds)
                waiting.append((copy, 1))
            self.sqs.sent.clear()
        raise AssertionError(f"the event was still not done with after {rounds} deliveries")

    def drop(self, key: str = "a/dress.jpg", body: bytes | None = None, **metadata: str) -> None:
        """Drop a photo and deliver its event until it is done with."""
        names = {name.replace("_", "-"): value for name, value in metadata.items()}
        self.deliver(self.aws.drop(key, jpeg() if body is None else body, names))

    # --- executions ------------------------------------------------------------------------

    def poll(self, state: dict[str, Any]) -> dict[str, Any]:
        """Invoke PollFunction."""
        return poll_function.handler(json.loads(json.dumps(state)), Context())  # type: ignore[arg-type]

    def finalize(self, state: dict[str, Any]) -> dict[str, Any]:
        """Invoke FinalizeFunction."""
        return finalize_function.handler(json.loads(json.dumps(state)), Context())  # type: ignore[arg-type]

    def input_of(self, job: Job) -> dict[str, Any]:
        """Return the input that a job's execution was started with."""
        assert job.execution_arn is not None
        answer = self.aws.executions.describe_execution(executionArn=job.execution_arn)
        state: dict[str, Any] = json.loads(answer["input"])
        return state

    def run(self, job: Job) -> str:
        """Go through the state machine, as statemachine/job.asl.yaml describes it."""
        state = self.input_of(job)
        for _ in range(MAX_STEPS):
            match state["outcome"]:
                case "wait":
                    self.sleep(state["wait_seconds"])
                    state = self.poll(state)
                case "finalize":
                    state = self.finalize(state)
                case outcome:
                    return str(outcome)
        raise AssertionError(f"the execution did not end: {state}")

    def finish(self, key: str = "a/dress.jpg") -> Job:
        """Run the one job of a photo to its end and return its record."""
        self.run(self.job(key))
        return self.job(key)

    # --- what can be seen ------------------------------------------------------------------

    def jobs(self, key: str = "a/dress.jpg") -> list[Job]:
        """Return the records of a photo."""
        answer = self.aws.dynamodb.query(
            TableName=TABLE,
            IndexName="by-source",
            KeyConditionExpression="source_key = :key",
            ExpressionAttributeValues={":key": {"S": key}},
        )
        return [job_of(item) for item in answer["Items"]]

    def job(self, key: str = "a/dress.jpg") -> Job:
        """Return the one record of a photo."""
        (job,) = self.jobs(key)
        return job

    def charges(self, key: str = "a/dress.jpg") -> int:
        """Return what the vendor charged for a photo; each photo of a test has its own bytes."""
        body = self.aws.s3.get_object(Bucket=PHOTOS, Key=key)["Body"].read()
        return self.vendor.charges().by_sha256.get(hashlib.sha256(body).hexdigest(), 0)

    # --- kills -----------------------------------------------------------------------------

    @contextmanager
    def killing(self, at: int | None = None, *, before: bool = True) -> Iterator[None]:
        """Number the calls to AWS and the vendor, and die at one of them, before or after it."""
        self._count, self._kill_at, self._before = 0, at, before
        self.calls = []
        aws_call = botocore.client.BaseClient._make_api_call  # type: ignore[attr-defined]  # private
        send = httpx.Client.send

        def call(client: Any, name: str, arguments: Any) -> Any:
            return self._step(name, lambda: aws_call(client, name, arguments))

        def sending(client: httpx.Client, request: httpx.Request, **more: Any) -> httpx.Response:
            name = f"{request.method} {request.url.path[:25]}"
            answer: httpx.Response = self._step(name, lambda: send(client, request, **more))
            return answer

        with (
            mock.patch.object(botocore.client.BaseClient, "_make_api_call", call),
            mock.patch.object(httpx.Client, "send", sending),
        ):
            yield

    def _step(self, name: str, call: Callable[[], Any]) -> Any:
        with self._lock:
            number = self._count
            self._count += 1
            self.calls.append(name)
        if number == self._kill_at and self._before:
            raise Killed(name)
        try:
            return_value = call()
        except Exception:
            if number == self._kill_at:
                raise Killed(name) from None
            raise
        if number == self._kill_at:
            if isinstance(return_value, httpx.Response):
                return_value.close()
            raise Killed(name)
        return return_value


@pytest.fixture(scope="session")
def simulator() -> Iterator[SimulatorServer]:
    """Run the simulated vendor; tasks are finished at once."""
    with SimulatorServer(Settings(seconds=0, jitter=0, plain_results=True)) as running:
        yield running


@pytest.fixture
def deploy(
    aws: Aws, simulator: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., World]]:
    """Deploy the stack, with parameters of one's own if need be.

    Photos are sent inline: the simulator cannot reach a bucket of moto's. Presigned URLs are
    tried in tests/unit and, for real, in tests/e2e.
    """
    _forget()
    simulator.control.reset()
    simulator.control.settings(api_key=KEY)

    def build(**parameters: str) -> World:
        environment = {
            "JOBS_TABLE": TABLE,
            "EVENT_BUS": BUS,
            "VMAKE_BASE_URL": simulator.base_url,
            "API_KEY_SECRET": aws.secret_arn,
            "PHOTOS_BUCKET": PHOTOS,
            "RESULTS_BUCKET": RESULTS,
            "SUBMIT_QUEUE_URL": aws.queue_url,
            "STATE_MACHINE_ARN": aws.state_machine_arn,
            "PHOTO_DELIVERY": "inline",
            **parameters,
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        for name in ("s3", "dynamodb", "events", "secrets", "executions"):
            client = getattr(aws, name)
            monkeypatch.setattr(clients, name, lambda client=client: client)
        return World(aws, simulator, monkeypatch)

    yield build
    _forget()


@pytest.fixture
def world(deploy: Callable[..., World]) -> World:
    """Deploy the stack with the template's defaults."""
    return deploy()


def _forget() -> None:
    """Let the next invocation be a cold start."""
    if finalize_function._finalizer.cache_info().currsize:
        finalize_function._finalizer()._results._http.close()
    for made in (submit_function._submitter, poll_function._poller, finalize_function._finalizer):
        if made.cache_info().currsize:
            made()._vendor.close()
        made.cache_clear()
    submit_function._queue.cache_clear()
    config.cache_clear()
