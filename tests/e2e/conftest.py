"""One stack for all these tests: the real template, deployed to a local AWS by the real SAM CLI."""

import json
import os
import secrets
from collections.abc import Iterator

import pytest

from local import environment
from local.stack import Plan, Quiet, Stack, running
from local.state import StateFolder
from tests.e2e.driver import Catwalk

KEY = f"sk-e2e-{secrets.token_hex(24)}"

PLAN = Plan(
    api_key=KEY,
    task_seconds=0.3,
    # A second of the state machine is twenty milliseconds here.
    wait_scale=0.02,
    parameters={
        "PollMinSeconds": "1",
        "TaskTimeoutSeconds": "1800",
        "DefaultBatchSize": "2",
        "MaxSubmitConcurrency": "2",
    },
)


@pytest.fixture(scope="session")
def api_key() -> str:
    """Return the key in the secret, which must show up nowhere else."""
    return KEY


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Have the stack up, whatever AWS the user's shell points at."""
    with pytest.MonkeyPatch.context() as patch:
        cleaned = dict(os.environ)
        environment.forget_users_aws(cleaned)
        for name in set(os.environ) - set(cleaned):
            patch.delenv(name)
        folder = StateFolder(tmp_path_factory.mktemp("stack") / "e2e")
        with running(folder, PLAN, Quiet()) as up:
            yield up


@pytest.fixture(scope="session")
def catwalk(stack: Stack) -> Iterator[Catwalk]:
    """Drive the stack, with a queue that hears every event which Catwalk emits."""
    sqs, events = stack.clients.sqs, stack.clients.events
    bus = stack.output("EventBusName")
    url = sqs.create_queue(QueueName="e2e-inbox")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"][
        "QueueArn"
    ]
    allow = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
    }
    sqs.set_queue_attributes(
        QueueUrl=url,
        Attributes={"Policy": json.dumps({"Version": "2012-10-17", "Statement": [allow]})},
    )
    events.put_rule(
        Name="e2e-all", EventBusName=bus, EventPattern=json.dumps({"source": ["catwalk"]})
    )
    events.put_targets(Rule="e2e-all", EventBusName=bus, Targets=[{"Id": "inbox", "Arn": arn}])
    with stack.vendor() as vendor:
        yield Catwalk(stack, vendor, url)
