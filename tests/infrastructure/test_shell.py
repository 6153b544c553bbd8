"""The shell of .catwalk/env.sh: every request of `aws` and `sam` goes to the local stack."""

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Final

import pytest

from local.stack import usage
from local.stack.stack import Stack
from local.stack.state import Address, StateFolder
from shared import clients
from tests.thorough import THOROUGH
from tests.watched import template

ROOT: Final = Path(__file__).parents[2]
ARN: Final = "arn:aws:states:us-east-1:000000000000:execution:m:e"
COMMANDS: Final = {
    "cloudformation": "aws cloudformation delete-stack --stack-name catwalk",
    "cloudwatch": "aws cloudwatch disable-alarm-actions --alarm-names catwalk-failures",
    "dynamodb": 'aws dynamodb scan --table-name "$JOBS_TABLE"',
    "events": "aws events list-rules",
    "lambda": "aws lambda list-event-source-mappings",
    "logs": "aws logs describe-log-groups",
    "s3": 'aws s3 ls "s3://$PHOTOS_BUCKET/"',
    "s3 in another region": 'aws s3 ls "s3://$PHOTOS_BUCKET/" --region eu-south-1',
    "sam": "sam list resources --stack-name catwalk --output json",
    "secretsmanager": 'aws secretsmanager get-secret-value --secret-id "$VMAKE_API_KEY_SECRET_ARN"',
    "sns": "aws sns list-topics",
    "sqs": 'aws sqs receive-message --queue-url "$SUBMIT_QUEUE_URL"',
    "sqs in another region": "aws sqs list-queues --region eu-central-1",
    "stepfunctions": f"aws stepfunctions describe-execution --execution-arn {ARN}",
    "sts": "aws sts get-caller-identity",
}
"""A command of each service that the documents and the template use, and of some services that AWS
CLI 1 would ask at an address of its own."""
HOSTILE: Final = {
    "AWS_ENDPOINT_URL_SQS": "https://sqs.us-east-1.amazonaws.com",
    "AWS_ENDPOINT_URL_S3": "https://s3.us-east-1.amazonaws.com",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
    "AWS_PROFILE": "production",
    "AWS_USE_DUALSTACK_ENDPOINT": "true",
    "NO_PROXY": "example.com",
    "SAM_CLI_TELEMETRY": "1",
}
"""What a user may have set for another AWS."""
TRIED: Final = COMMANDS if THOROUGH else ["dynamodb", "s3", "s3 in another region", "sam", "sqs"]
"""Most of a command's time is the start of an AWS CLI."""


@dataclass(frozen=True)
class Heard:
    """Which servers were spoken to, and how often."""

    local: int
    elsewhere: list[str]
    said: str


@contextmanager
def _server(heard: list[str]) -> Iterator[str]:
    """Refuse every request, and note it."""

    class Refuses(BaseHTTPRequestHandler):
        def refuse(self) -> None:
            heard.append(f"{self.command} {self.path}")
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(400)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_CONNECT = do_DELETE = do_GET = do_HEAD = do_POST = do_PUT = refuse  # noqa: N815  http.server's names

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Refuses) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@pytest.fixture(scope="module")
def env_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Write env.sh as `make up` does; the endpoint is put in by each test."""
    state = tmp_path_factory.mktemp("state")
    outputs = dict.fromkeys(template()["Outputs"], "catwalk-example") | {
        "SubmitQueueUrl": "https://127.0.0.1:1/000000000000/catwalk-queue",
    }
    address = Address("http://127.0.0.1:1", "", "http://127.0.0.1:2", outputs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(usage, "STATE", state)
        patch.setattr(usage, "ENV_FILE", state / "env.sh")
        yield usage.write_env_file(Stack.at(address, StateFolder(state)))


def _run(env_file: Path, command: str) -> Heard:
    """Run a command in a user's shell that has sourced env.sh; every way out is a proxy."""
    local: list[str] = []
    elsewhere: list[str] = []
    with _server(local) as endpoint, _server(elsewhere) as proxy:
        home = env_file.parent / "home"
        home.mkdir(exist_ok=True)
        environment = {"PATH": os.environ["PATH"], "HOME": str(home), **HOSTILE}
        environment |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "https_proxy"), proxy)
        script = (
            f". {shlex.quote(str(env_file))};"
            f" export AWS_ENDPOINT_URL={endpoint} AWS_MAX_ATTEMPTS=1; {command}"
        )
        done = subprocess.run(
            ["sh", "-c", script],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
    return Heard(len(local), elsewhere, done.stdout + done.stderr)


@pytest.fixture(scope="module")
def heard(env_file: Path) -> dict[str, Heard]:
    """Run the commands side by side."""
    with ThreadPoolExecutor(4) as pool:
        runs = pool.map(lambda name: _run(env_file, COMMANDS[name]), TRIED)
        return dict(zip(TRIED, runs, strict=True))


@pytest.mark.parametrize("name", TRIED)
def test_a_command_reaches_the_local_stack_alone(heard: dict[str, Heard], name: str) -> None:
    """It asks the local AWS, and nothing of it leaves the machine."""
    assert heard[name].elsewhere == []
    assert heard[name].local > 0, heard[name].said


def test_nothing_of_another_aws_is_left(env_file: Path) -> None:
    """Variables that were set for another AWS are gone in this shell."""
    said = _run(env_file, "env").said
    names = {line.partition("=")[0] for line in said.splitlines()}
    assert names & set(HOSTILE) == {"NO_PROXY", "SAM_CLI_TELEMETRY"}
    assert "SAM_CLI_TELEMETRY=0" in said


def test_every_service_that_the_documents_use_is_tried() -> None:
    """A service that is new in the documents or the code gets a command above."""
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "events").glob("*.md")]
    files += [*(ROOT / "local").glob("**/*.py"), *(ROOT / "cli").glob("**/*.py")]
    text = "\n".join(path.read_text() for path in files)
    used = set(re.findall(r"(?<![\w-])aws ([a-z0-9]+) [a-z]+(?:-[a-z]+)*", text))
    used -= {"configure", "sso"}  # these sign in
    assert used <= set(COMMANDS)
    assert set(clients._SERVICES) <= set(COMMANDS)
