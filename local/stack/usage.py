"""Helps to use a running stack: a file for the shell to source, and commands to copy."""

import json
import shlex
import textwrap
from pathlib import Path
from typing import Final

from rich.console import Console

from local.paths import ROOT, STATE, TOOLS, shown, write_private
from local.stack import environment
from local.stack.stack import Stack

ENV_FILE: Final = STATE / "env.sh"
REQUEST_FILE: Final = STATE / "request.json"
_NAMES: Final = {
    "PHOTOS_BUCKET": "PhotosBucketName",
    "RESULTS_BUCKET": "ResultsBucketName",
    "JOBS_TABLE": "JobsTableName",
    "EVENT_BUS": "EventBusName",
    "STATE_MACHINE_ARN": "StateMachineArn",
    "SUBMIT_QUEUE_URL": "SubmitQueueUrl",
    "VMAKE_API_KEY_SECRET_ARN": "VmakeApiKeySecretArn",
}


def write_env_file(stack: Stack) -> Path:
    """Write the file to source; it makes a shell's AWS commands use the local stack."""
    address = stack.address
    variables = environment.aws(
        stack.folder.path,
        endpoint=address.endpoint,
        ca_bundle=Path(address.ca_bundle),
        credentials=address.credentials,
    ) | {name: address.outputs[output] for name, output in _NAMES.items()}
    clis = shlex.quote(str(_link_commands(address.endpoint)))
    lines = [
        "# Makes the commands of this shell use the stack that `catwalk up` started.",
        "# To source it: . .catwalk/env.sh     A new shell is not affected.",
        # All AWS_ variables are removed, since a profile or AWS_ENDPOINT_URL_SQS may name another
        # AWS.
        r"for catwalk_name in $(env | sed -n 's/^\(AWS_[A-Za-z0-9_]*\)=.*/\1/p')",
        'do unset "$catwalk_name"; done; unset catwalk_name',
        *(f"export {name}={shlex.quote(value)}" for name, value in variables.items()),
        # `catwalk` reads these in any folder: cli/stacks/{selection,project}.py.
        "export CATWALK_STACK=laptop",
        f"export CATWALK_HOME={shlex.quote(str(ROOT))}",
        # By default SAM sends telemetry to AWS and asks PyPI for its newest version.
        "export SAM_CLI_TELEMETRY=0",
        f"export __SAM_CLI_APP_DIR={shlex.quote(str(environment.sam_settings(STATE)))}",
        'export NO_PROXY="127.0.0.1,localhost${NO_PROXY:+,$NO_PROXY}"',
        'export no_proxy="$NO_PROXY"',
        f'case ":$PATH:" in *:{clis}:*) ;; *) PATH={clis}:"$PATH";; esac',
        "export PATH",
    ]
    write_private(ENV_FILE, "\n".join(lines) + "\n")
    return ENV_FILE


def _link_commands(endpoint: str) -> Path:
    """Return a folder with `aws`, `sam` and `catwalk`, without the Pythons beside them."""
    folder = STATE / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    sam = folder / "sam"
    sam.unlink(missing_ok=True)
    sam.symlink_to(TOOLS / "sam" / "bin" / "sam")
    _write_script(
        folder / "aws",
        # Version 1 of the AWS CLI ignores AWS_ENDPOINT_URL for some services (SQS, RDS, EMR) and
        # would call AWS. So the option is given; if the user gives it too, the last one counts.
        f"exec {shlex.quote(str(TOOLS / 'awscli/bin/aws'))}"
        f' --endpoint-url "${{AWS_ENDPOINT_URL:-{endpoint}}}" "$@"',
    )
    _write_script(
        folder / "catwalk",
        # -P: do not import a package `cli` of the user's current folder.
        f"PYTHONPATH={shlex.quote(str(ROOT))} exec {shlex.quote(str(TOOLS / 'python/bin/python'))}"
        ' -P -m cli "$@"',
    )
    return folder


def _write_script(path: Path, line: str) -> None:
    path.unlink(missing_ok=True)  # an earlier version linked `aws` to the tool, which must stay
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


def write_request_file(stack: Stack) -> Path:
    """Write an example of a backend's request: two variants of a photo that was dropped before."""
    detail = {
        "requestId": "order-4713",
        "photo": {"key": "summer/dress.jpg"},
        "variants": [
            {"modelId": "044", "sceneType": "none"},
            {"modelId": "003", "sceneType": "color", "color": "#f2c9a1"},
        ],
    }
    entry = {
        "Source": "shop",
        "DetailType": "Fashion Model Requested",
        "EventBusName": stack.output("EventBusName"),
        "Detail": json.dumps(detail),
    }
    REQUEST_FILE.write_text(json.dumps([entry], indent=2) + "\n")
    return REQUEST_FILE


def print_usage(console: Console, stack: Stack) -> None:
    """Print commands to copy."""
    sample = shown(ROOT / "local" / "samples" / "dress.jpg")
    simulator = f"{stack.address.vendor_url}/_simulator/state"
    sections = (
        ("Make `catwalk` and `aws` in this shell use it", f". {shown(ENV_FILE)}"),
        (
            "Drop a photo, with or without settings, and wait for its images",
            f"""\
catwalk drop {sample} --to summer/ --wait
catwalk drop {sample} --model jamila --scene preset:035 --wait""",
        ),
        (
            "See photos and images in the browser, in a table, or live in the terminal",
            "catwalk gallery\ncatwalk jobs\ncatwalk watch",
        ),
        (
            "Make new images, and see the credits spent",
            "catwalk regenerate --folder / --status succeeded\ncatwalk credits --by folder",
        ),
        (
            "The same with `aws`, and with a backend's request for summer/dress.jpg",
            f"""\
aws s3 cp {sample} "s3://$PHOTOS_BUCKET/beach/" \\
  --metadata model-id=003,scene-type=preset,scene-id=035
aws s3 sync "s3://$RESULTS_BUCKET/" out/
aws events put-events --entries file://{shown(REQUEST_FILE)}""",
        ),
    )
    console.print()
    for title, commands in sections:
        console.print(f"  {title}", style="bold", markup=False)
        console.print(textwrap.indent(commands, "    ") + "\n", markup=False, soft_wrap=True)
    console.print(f"  The simulated vendor's state: {simulator}", markup=False)
    console.print(f"  The logs: {shown(stack.folder.logs)}/", markup=False)
    console.print("  `catwalk down` stops the stack; its data are not kept.", markup=False)
