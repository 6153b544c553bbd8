"""One stack for all end-to-end tests: the SAM CLI deploys the template to a local AWS."""

import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from local.paths import ROOT
from local.stack import environment
from local.stack.stack import Plan, Quiet, Stack, running, signals_wait, stop
from local.stack.state import StateFolder
from tests.e2e.driver import Catwalk, inbox

KEY = f"sk-e2e-{secrets.token_hex(24)}"

PLAN = Plan(
    api_key=KEY,
    task_seconds=0.3,
    # A second of a Wait state takes 20 ms.
    wait_scale=0.02,
    parameters={
        "PollMaxSeconds": "5",
        "TaskTimeoutSeconds": "1800",
        "DefaultBatchSize": "2",
        "MaxSubmitConcurrency": "2",
        # 20 MiB: an endless result is refused quickly, and a large one is copied in several parts.
        "MaxResultBytes": "20971520",
    },
)


@pytest.fixture(scope="session")
def api_key() -> str:
    """Return the API key in the secret. A test checks that it is nowhere else."""
    return KEY


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Start the stack, without the AWS settings of the user's shell."""
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
    """Return a driver of the stack that receives every event of Catwalk."""
    with stack.vendor() as vendor:
        yield Catwalk(stack, vendor, inbox(stack))


@dataclass(frozen=True)
class Beside:
    """A command that runs beside the tests."""

    process: subprocess.Popen[bytes]
    log: Path


@pytest.fixture(scope="session", autouse=True)
def storm(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Beside | None]:
    """Run a small storm beside the tests, on its own stack; it waits most of the time."""
    wanted = any(item.path.name == "test_whole_storm.py" for item in request.session.items)
    if not wanted or sys.platform != "linux":
        yield None
        return
    folder = tmp_path_factory.mktemp("storm")
    log = folder / "storm.log"
    size = ["--photos", "24", "--seconds", "5", "--visibility", "60", "--odd", "14"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.storm", *size, "--folder", folder / "stack"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C must reach only the tests. They end the storm, and the storm ends its stack.
            start_new_session=True,
        )
    try:
        yield Beside(process, log)
    finally:
        with signals_wait():
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(60)
            process.kill()
            process.wait()
            stop(StateFolder(folder / "stack"))
