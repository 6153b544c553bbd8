"""Fixtures that run the functions' handlers in this process, with moto and the simulated vendor."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, tzinfo
from typing import Any, Self

import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.sqs.models import sqs_backends

from functions.finalize import handler as finalize_function
from functions.poll import handler as poll_function
from functions.reconcile import handler as reconcile_function
from functions.submit import handler as submit_function
from local.simulator import Settings, SimulatorServer
from shared import clients, clock
from shared import config as config_module
from shared.models import Job
from shared.records.jobs import job_of
from shared.steps import dead_letters
from tests.factories import BUS, KEY, PHOTOS, REGION, RESULTS, TABLE, Aws, jpeg

MAX_RECEIVES = 5
"""A message that was received this often goes to the dead-letter queue. template.yaml allows more
receives, since a receive that Lambda throttles counts on AWS."""
MAX_STEPS = 200
"""An execution with more steps than this is taken for an endless loop."""
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "submit": submit_function.handler,
    "poll": poll_function.handler,
    "finalize": finalize_function.handler,
    "reconcile": reconcile_function.handler,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the test that needs the steps of all scenarios last: the others have recorded them."""
    items.sort(key=lambda item: item.name == "test_no_scenario_is_missing")


class Context:
    """The context object that Lambda passes to a function."""

    function_name = "catwalk-function"
    aws_request_id = "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"

    def get_remaining_time_in_millis(self) -> int:
        """Return the remaining time; it never runs out here."""
        return 149_000


class World:
    """The deployed stack, and a clock that tests can move forward."""

    def __init__(self, aws: Aws, vendor: SimulatorServer, environment: Mapping[str, str]) -> None:
        self.aws = aws
        self.vendor = vendor.control
        self.vendor_url = vendor.base_url
        self.environment = environment
        """The environment variables that the template gives the functions."""
        self.dead: list[str] = []
        self.offset = timedelta()
        self._messages = 0

    def sleep(self, seconds: float) -> None:
        """Move the clock forward without waiting."""
        self.offset += timedelta(seconds=seconds)

    def invoke(self, function: str, event: dict[str, Any]) -> dict[str, Any]:
        """Invoke a function; return its answer."""
        answer: dict[str, Any] = FUNCTIONS[function](json.loads(json.dumps(event)), Context())
        return answer

    # --- events ----------------------------------------------------------------------------

    def submit(self, *bodies: str) -> list[str]:
        """Invoke SubmitFunction once with these messages; return those that failed."""
        batch = self.batch(*bodies)
        answer = self.invoke("submit", batch)
        failed = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        return [entry["body"] for entry in batch["Records"] if entry["messageId"] in failed]

    def batch(self, *bodies: str) -> dict[str, Any]:
        """Return an SQS event with these messages, as Lambda passes it to SubmitFunction."""
        first = self._messages + 1
        self._messages += len(bodies)
        return {
            "Records": [
                {
                    "messageId": f"message-{number}",
                    "receiptHandle": "AQEB",
                    "body": body,
                    "attributes": {"ApproximateReceiveCount": "1"},
                    "messageAttributes": {},
                    "eventSource": "aws:sqs",
                    "awsRegion": "us-east-1",
                }
                for number, body in enumerate(bodies, first)
            ]
        }

    def deliver(self, *events: dict[str, Any] | str, rounds: int = 20) -> None:
        """Deliver these events and all queued messages until SubmitFunction has finished them."""
        waiting = [(event if isinstance(event, str) else json.dumps(event), 1) for event in events]
        for _ in range(rounds):
            for copy, seconds in self.queued():
                self.sleep(seconds)
                waiting.append((copy, 1))
            if not waiting:
                return
            body, receives = waiting.pop(0)
            failed = self.submit(body)
            if failed and receives == MAX_RECEIVES:
                self.dead += failed
            elif failed:
                self.sleep(300)
                waiting.append((body, receives + 1))
        raise AssertionError(f"the event was still not done with after {rounds} deliveries")

    def queued(self) -> list[tuple[str, int]]:
        """Remove the messages in SubmitQueue; return each with its delay in seconds."""
        # receive_message would return a delayed message only after its delay.
        queue: Any = sqs_backends[DEFAULT_ACCOUNT_ID][REGION].queues["submit"]
        taken = [
            (message.body, max(0, round((message.delayed_until - message.sent_timestamp) / 1000)))
            for message in queue._messages
        ]
        queue._messages.clear()
        return taken

    def drop(self, key: str = "a/dress.jpg", body: bytes | None = None, **metadata: str) -> None:
        """Drop a photo and deliver its event until it is finished."""
        names = {name.replace("_", "-"): value for name, value in metadata.items()}
        self.deliver(self.aws.drop(key, jpeg() if body is None else body, names))

    # --- executions ------------------------------------------------------------------------

    def poll(self, state: dict[str, Any]) -> dict[str, Any]:
        """Invoke PollFunction."""
        return self.invoke("poll", state)

    def finalize(self, state: dict[str, Any]) -> dict[str, Any]:
        """Invoke FinalizeFunction."""
        return self.invoke("finalize", state)

    def input_of(self, job: Job) -> dict[str, Any]:
        """Return the input of a job's execution."""
        assert job.execution_arn is not None
        answer = self.aws.executions.describe_execution(executionArn=job.execution_arn)
        state: dict[str, Any] = json.loads(answer["input"])
        return state

    def run(self, job: Job) -> str:
        """Run a job's execution as statemachine/job.asl.yaml would; return its last outcome."""
        return self.go_on(self.input_of(job))

    def go_on(self, state: dict[str, Any]) -> str:
        """Continue an execution from a state that a function returned."""
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
        """Run the only job of a photo to its end; return its record."""
        self.run(self.job(key))
        return self.job(key)

    # --- what can be read ------------------------------------------------------------------

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
        """Return the only record of a photo."""
        (job,) = self.jobs(key)
        return job

    def charges(self, key: str = "a/dress.jpg") -> int:
        """Return how many credits the vendor charged for a photo's bytes."""
        body = self.aws.s3.get_object(Bucket=PHOTOS, Key=key)["Body"].read()
        return self.vendor.charges().by_sha256.get(hashlib.sha256(body).hexdigest(), 0)


@pytest.fixture(scope="session")
def simulator() -> Iterator[SimulatorServer]:
    """Run the simulated vendor; its tasks finish at once."""
    with SimulatorServer(Settings(seconds=0, jitter=0, plain_results=True)) as running:
        yield running


@pytest.fixture
def deploy(
    aws: Aws, simulator: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., World]]:
    """Return a function that deploys the stack, with environment variables of the test's own.

    Photos are sent inline, since the simulator cannot read moto's buckets. tests/unit and tests/e2e
    test presigned URLs.
    """
    simulator.control.reset()
    simulator.control.settings(api_key=KEY)

    def build(kind: type[World] = World, /, **parameters: str) -> World:
        _forget()
        environment = {
            "JOBS_TABLE": TABLE,
            "EVENT_BUS": BUS,
            "VMAKE_BASE_URL": simulator.base_url,
            "API_KEY_SECRET": aws.secret_arn,
            "PHOTOS_BUCKET": PHOTOS,
            "RESULTS_BUCKET": RESULTS,
            "SUBMIT_QUEUE_URL": aws.queue_url,
            "DEAD_LETTER_QUEUE_URL": aws.dead_letter_url,
            "STATE_MACHINE_ARN": aws.state_machine_arn,
            "PHOTO_DELIVERY": "inline",
            "SETTLING_SECONDS": "0",
            **parameters,
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        for name in ("s3", "dynamodb", "events", "secrets", "sqs", "executions"):
            client = getattr(aws, name)
            monkeypatch.setattr(clients, name, lambda client=client: client)
        world = kind(aws, simulator, environment)

        class Shifted(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Self:
                return super().now(tz) + world.offset

        monkeypatch.setattr(clock, "datetime", Shifted)
        monkeypatch.setattr(dead_letters, "_WAIT_SECONDS", 0)  # moto needs no long polling
        return world

    yield build
    _forget()


@pytest.fixture
def world(deploy: Callable[..., World]) -> World:
    """Deploy the stack with the template's defaults."""
    return deploy()


def _forget() -> None:
    """Clear the functions' caches, so that the next invocation is a cold start."""
    if finalize_function._finalizer.cache_info().currsize:
        finalize_function._finalizer()._results._http.close()
    for made in (submit_function._submitter, poll_function._poller, finalize_function._finalizer):
        if made.cache_info().currsize:
            made()._vendor.close()
        made.cache_clear()
    submit_function._queue.cache_clear()
    reconcile_function._reconciler.cache_clear()
    config_module._config.cache_clear()
