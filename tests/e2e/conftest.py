"""One stack for all these tests: the real template, deployed to a local AWS by the real SAM CLI."""

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
    # A second of the state machine is twenty milliseconds here.
    wait_scale=0.02,
    parameters={
        "PollMaxSeconds": "5",
        "TaskTimeoutSeconds": "1800",
        "DefaultBatchSize": "2",
        "MaxSubmitConcurrency": "2",
        # A result without an end is refused soon enough, and late enough to be copied in parts.
        "MaxResultBytes": "20971520",
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
    """Let a small storm rage beside the tests, on a stack of its own: most of it is waiting."""
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
            # A Ctrl-C reaches these tests alone; they end the storm, which ends its stack.
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
