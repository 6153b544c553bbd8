"""Runs the SAM CLI: builds the functions, and deploys the template to the local AWS."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from functions.package import BUILD_FOR, THIS_MACHINE
from local.errors import SamError, ToolMissingError
from local.paths import ROOT, TOOLS
from local.stack import environment, processes
from local.stack.processes import Process
from local.stack.state import StateFolder

_SAM: Final = TOOLS / "sam" / "bin" / "sam"
_BUILD_SECONDS: Final = 600.0
"""The first build downloads the functions' packages."""
_DEPLOY_SECONDS: Final = 300.0


def start_build(folder: StateFolder, parameters: Mapping[str, str]) -> Process:
    """Start `sam build` into the stack's own folder, so that two stacks can be built in parallel.

    The functions will run as processes of this machine, so its packages are installed.
    """
    if not _SAM.exists():
        raise ToolMissingError("The SAM CLI is not installed; run `make laptop`.")
    return processes.start(
        [
            *(_SAM, "build", "--template-file", ROOT / "template.yaml"),
            *("--build-dir", folder.path / "sam" / "build"),
            *("--parameter-overrides", *_overrides(parameters)),
        ],
        environment=environment.sam_build(folder.path) | {BUILD_FOR: THIS_MACHINE},
        log=folder.logs / "build.log",
    )


def finish_build(folder: StateFolder, build: Process) -> None:
    """Wait for the build to end.

    Raises:
        SamError: the build failed.

    """
    _finish(build, "sam build", folder.logs / "build.log", _BUILD_SECONDS)


def built_template(folder: StateFolder) -> Path:
    """Return the path of the template that `sam build` writes and `sam deploy` reads."""
    return folder.path / "sam" / "build" / "template.yaml"


def start_deploy(
    folder: StateFolder,
    *,
    stack: str,
    parameters: Mapping[str, str],
    endpoint: str,
    certificate: Path,
    credentials: environment.Credentials,
) -> Process:
    """Start `sam deploy` of what was built."""
    return processes.start(
        [
            *(_SAM, "deploy", "--stack-name", stack, "--resolve-s3"),
            *("--template-file", built_template(folder)),
            *("--capabilities", "CAPABILITY_IAM", "--region", environment.REGION),
            *("--no-confirm-changeset", "--no-progressbar", "--no-fail-on-empty-changeset"),
            *("--parameter-overrides", *_overrides(parameters)),
        ],
        environment=environment.sam_deploy(
            folder.path, endpoint=endpoint, ca_bundle=certificate, credentials=credentials
        ),
        log=folder.logs / "deploy.log",
    )


def finish_deploy(folder: StateFolder, deploy: Process) -> None:
    """Wait for the deployment to end.

    Raises:
        SamError: the deployment failed.

    """
    _finish(deploy, "sam deploy", folder.logs / "deploy.log", _DEPLOY_SECONDS)


def build_for_container(folder: StateFolder, build: Path, architecture: str, log: Path) -> None:
    """Run `sam build` for the template's runtime on this machine's processor.

    Raises:
        SamError: the build failed.

    """
    process = processes.start(
        [
            *(_SAM, "build", "--template-file", ROOT / "template.yaml", "--build-dir", build),
            *("--parameter-overrides", f"Architecture={architecture}"),
        ],
        environment=environment.sam_build(folder.path),
        log=log,
    )
    _finish(process, "sam build", log, _BUILD_SECONDS)


def _overrides(parameters: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in parameters.items()]


def _finish(process: Process, name: str, log: Path, seconds: float) -> None:
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        processes.end(process)
        raise SamError(
            f"`{name}` did not end within {seconds:.0f} seconds; try again.", log=log
        ) from None
    if code != 0:
        raise SamError(f"`{name}` failed: {_reason(log)}", log=log)


def _reason(log: Path) -> str:
    """Return the last line of a log that looks like an error, or else its last line."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(errors="replace"))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(build failed|error|.*\berror:)", line.lower())]
    return (errors or lines or ["it said nothing"])[-1]
