"""`up` on a running stack after the code has changed."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.paths import ROOT
from local.stack import environment
from local.stack.stack import Stack, signals_wait, stop
from local.stack.state import StateFolder
from tests.e2e.driver import Catwalk, inbox, photo

_NOT_COPIED = shutil.ignore_patterns(".git", ".tools", ".catwalk", ".aws-sam", "out", "__pycache__")
BEFORE, AFTER = "it ends before its picture begins", "its picture is missing"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a copy of this project, with the same tools and packages; end its stack."""
    folder = tmp_path_factory.mktemp("update") / "clone"
    shutil.copytree(ROOT, folder, ignore=_NOT_COPIED)
    for name in (".tools", ".aws-sam"):
        (ROOT / name).mkdir(exist_ok=True)
        (folder / name).symlink_to(ROOT / name)
    try:
        yield folder
    finally:
        with signals_wait():
            stop(StateFolder(folder / ".catwalk" / "up"))


def up(clone: Path) -> str:
    """Run `catwalk up`; return its output."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", "from cli.stacks import laptop; laptop.start('127.0.0.1', 0)"],
        cwd=clone,
        env=environment.bare(clone) | {"PYTHONPATH": os.fspath(clone), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def found(clone: Path) -> Stack:
    """Return the clone's stack."""
    folder = StateFolder(clone / ".catwalk" / "up")
    address = folder.read().address
    assert address is not None
    return Stack.at(address, folder)


def change(clone: Path, name: str, before: str, after: str) -> None:
    """Change a file of the clone."""
    text = (clone / name).read_text("utf-8")
    assert before in text
    (clone / name).write_text(text.replace(before, after), "utf-8")


def test_up_deploys_what_has_changed_and_keeps_the_jobs(clone: Path) -> None:
    """The changed functions and state machine are deployed; a running job continues to its end."""
    assert "already up" not in up(clone)
    stack = found(clone)
    processes = stack.folder.read().processes
    broken = photo()[:200]
    with stack.vendor() as vendor:
        catwalk = Catwalk(stack, vendor, inbox(stack))
        catwalk.drop("old/broken.jpg", broken)
        assert BEFORE in catwalk.reached("old/broken.jpg", "REJECTED")["error"]["message"]
        vendor.settings(seconds=20)
        body = photo()
        catwalk.drop("old/dress.jpg", body)
        catwalk.reached("old/dress.jpg", "RUNNING")

        assert "already up" in up(clone)
        change(clone, "shared/intake/photos.py", BEFORE, AFTER)
        change(clone, "statemachine/job.asl.yaml", "copies its results", "keeps its results")
        said = up(clone)
        assert "photos and jobs stay" in said
        assert "catwalk down`, then" not in said
        assert "already up" in up(clone)

        assert stack.folder.read().processes == processes
        arn = stack.output("StateMachineArn")
        machine = stack.clients.executions.describe_state_machine(stateMachineArn=arn)
        assert "keeps its results" in json.loads(machine["definition"])["Comment"]
        catwalk.drop("new/broken.jpg", broken + b"2")
        assert AFTER in catwalk.reached("new/broken.jpg", "REJECTED")["error"]["message"]
        vendor.settings(seconds=0.3)
        catwalk.drop("new/dress.jpg", photo())
        catwalk.reached("new/dress.jpg", "SUCCEEDED")
        catwalk.reached("old/dress.jpg", "SUCCEEDED")
        assert catwalk.charges(body) == 1


def test_code_that_cannot_be_built_leaves_the_stack_alone(clone: Path) -> None:
    """If the deployment fails, the stack stays as it was, and the next `up` tries again."""
    up(clone)
    change(clone, "template.yaml", "Resources:", "Resources: [")
    with pytest.raises(AssertionError, match="sam build"):
        up(clone)
    stack = found(clone)
    assert stack.folder.read().complete
    with stack.vendor() as vendor:
        catwalk = Catwalk(stack, vendor, inbox(stack))
        vendor.settings(seconds=0.3)
        catwalk.drop("a/dress.jpg", photo())
        catwalk.reached("a/dress.jpg", "SUCCEEDED")
    change(clone, "template.yaml", "Resources: [", "Resources:")
    assert "already up" in up(clone)
