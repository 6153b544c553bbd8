"""Prepares `sam local invoke` for the running stack: a build, an environment, payloads.

The function's container reaches this machine as `host.docker.internal`. So the stack must listen on
more than loopback (`catwalk up --host docker`). The certificate of the local AWS is copied into the
built function, since the container sees no other files.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from rich.console import Console

from local.errors import LocalError
from local.paths import ROOT, STATE, shown, write_private
from local.stack import environment, ministack, sam
from local.stack.stack import Stack
from local.stack.state import STACK

CONFIG_FILE: Final = STATE / "sam-local.toml"
_FOLDER: Final = STATE / "sam-local"
_HOST: Final = "host.docker.internal"
_CERTIFICATE: Final = "local-aws.pem"
EXAMPLES: Final[Mapping[str, str]] = {
    "SubmitFunction": "submit/model-requested-two-variants.json",
    "PollFunction": "poll/first-poll.json",
    "FinalizeFunction": "finalize/results.json",
    "ReconcileFunction": "reconcile/scheduled.json",
}
"""For each function, a payload of events/ to invoke it with."""
_EXAMPLE_BUCKET: Final = "catwalk-photosbucket-example"
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost"})


def prepare(stack: Stack) -> None:
    """Build the functions for the container, and write the files that `sam local invoke` needs.

    Raises:
        LocalError: the stack listens only on loopback.

    """
    if stack.address.host in _LOOPBACK:
        raise LocalError(
            "A container cannot reach a stack that listens only on loopback;"
            " run `catwalk down` and `catwalk up --host docker`."
        )
    _, architecture = ministack.runtime()
    build = _FOLDER / "build"
    shutil.rmtree(_FOLDER, ignore_errors=True)
    log = stack.folder.logs / "sam-local.log"
    sam.build_for_container(stack.folder, build, architecture, log)
    for function in EXAMPLES:
        shutil.copy2(stack.address.ca_bundle, build / function / _CERTIFICATE)
    environments = {function: variables(stack) for function in EXAMPLES}
    _write(_FOLDER / "env.json", json.dumps(environments, indent=2))
    for payload in (ROOT / "events").glob("*/*.json"):
        text = payload.read_text().replace(_EXAMPLE_BUCKET, stack.output("PhotosBucketName"))
        _write(_FOLDER / "events" / payload.parent.name / payload.name, text)
    _write(CONFIG_FILE, _config(build, architecture))


def print_usage(console: Console) -> None:
    """Print commands to copy."""
    events = shown(_FOLDER / "events")
    config = shown(CONFIG_FILE)
    console.print(f"\nBuilt for the container; see {config} and {shown(_FOLDER)}/. Now:\n")
    for line in (
        ". .catwalk/env.sh",
        'aws s3 cp local/samples/dress.jpg "s3://$PHOTOS_BUCKET/summer/dress.jpg"',
        *(
            f'sam local invoke {function} --config-file "$PWD/{config}" -e {events}/{payload}'
            for function, payload in EXAMPLES.items()
        ),
    ):
        console.print(f"    {line}", markup=False, soft_wrap=True)


def variables(stack: Stack) -> dict[str, str]:
    """Return the functions' environment variables, with addresses for the container.

    The photo is sent inline, since a presigned URL would name a host that only the container knows.
    """
    address = stack.address
    return {
        "AWS_ENDPOINT_URL": _seen_from_container(address.endpoint),
        "AWS_CA_BUNDLE": f"/var/task/{_CERTIFICATE}",
        "AWS_ACCESS_KEY_ID": address.access_key,
        "AWS_SECRET_ACCESS_KEY": address.secret_key,
        "AWS_REGION": environment.REGION,
        "VMAKE_BASE_URL": _seen_from_container(address.vendor_url),
        "PHOTO_DELIVERY": "inline",
        "STACK_NAME": STACK,
        "JOBS_TABLE": stack.output("JobsTableName"),
        "EVENT_BUS": stack.output("EventBusName"),
        "API_KEY_SECRET": stack.output("VmakeApiKeySecretArn"),
        "PHOTOS_BUCKET": stack.output("PhotosBucketName"),
        "RESULTS_BUCKET": stack.output("ResultsBucketName"),
        "SUBMIT_QUEUE_URL": stack.output("SubmitQueueUrl"),
        "DEAD_LETTER_QUEUE_URL": stack.output("SubmitDeadLetterQueueUrl"),
        "STATE_MACHINE_ARN": stack.output("StateMachineArn"),
    }


def _seen_from_container(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{_HOST}:{parts.port}"


def _config(build: Path, architecture: str) -> str:
    """Return SAM's configuration file, so that the command line stays short."""
    # With a value, the template declares these variables. Their real values are in env.json.
    overrides = f"Architecture={architecture} AwsEndpointUrl=given AwsCaBundle=given"
    values = {
        "template_file": str(build / "template.yaml"),
        "env_vars": str(_FOLDER / "env.json"),
        "parameter_overrides": overrides,
    }
    lines = ["version = 0.1", "", "[default.local_invoke.parameters]"]
    lines += [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    lines.append(f'add_host = ["{_HOST}:host-gateway"]')
    return "\n".join(lines) + "\n"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_private(path, text)
