"""`catwalk doctor`, `set-key` and the laptop's commands against the deployed stack."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from local.paths import ROOT
from local.stack import environment
from local.stack.processes import ProcessId
from local.stack.state import State, StateFolder
from tests.e2e.driver import Catwalk, photo, wait_for


def bad(catwalk: Catwalk, *arguments: str) -> dict[str, str]:
    """Return the doctor's advice, by check."""
    done = catwalk.run_command("doctor", "--json", *arguments)
    document = json.loads(done.stdout)
    found = {one["check"]: one for one in document["checks"] if one["verdict"] == "bad"}
    assert done.returncode == (1 if found else 0), done.stderr
    return {check: f"{one['found']} {one['command']}" for check, one in found.items()}


@pytest.fixture
def calm(catwalk: Catwalk, api_key: str) -> Iterator[None]:
    """Reset the vendor and the circuit breaker before and after each test."""
    before = catwalk.vendor.settings()
    catwalk.close_breaker()
    yield
    catwalk.vendor.settings(**before)
    catwalk.run_command("set-key", stdin=api_key)
    catwalk.close_breaker()


@pytest.mark.usefixtures("calm")
def test_wrong_key_is_found_and_mended(catwalk: Catwalk) -> None:
    """If the vendor refuses the key, the doctor says so; after set-key the photo succeeds."""
    before = catwalk.creates()
    catwalk.vendor.settings(api_key="sk-right")
    assert "catwalk set-key" in bad(catwalk)["key"]
    assert catwalk.creates() == before, "looking costs nothing"
    body = photo()
    catwalk.drop("doctor/dress.jpg", body, {"batch-size": "1"})
    wait_for(lambda: "until" in catwalk.control(), "submission to pause")
    found = bad(catwalk)
    assert "catwalk set-key" in found["submission"]
    done = catwalk.run_command("set-key", stdin="sk-right\n")
    assert done.returncode == 0, done.stderr
    assert "tries the key" in done.stdout
    assert "sk-right" not in done.stdout + done.stderr
    # The photo that is tried may be one that an earlier test has left waiting.
    catwalk.again("doctor/dress.jpg")
    catwalk.reached("doctor/dress.jpg", "SUCCEEDED")
    assert catwalk.charges(body) == 1
    assert not {"key", "submission", "stack", "trigger", "vendor"} & bad(catwalk).keys()


@pytest.mark.usefixtures("calm")
def test_reconcile_during_a_pause(catwalk: Catwalk) -> None:
    """`reconcile` says until when submission is paused, and ends a pause whose cause is gone."""
    catwalk.idle()
    # Delayed messages of other tests could become visible meanwhile.
    catwalk.stack.clients.sqs.purge_queue(QueueUrl=catwalk.stack.output("SubmitQueueUrl"))
    keys = [f"paused/{number}.jpg" for number in range(3)]
    catwalk.vendor.settings(api_key="sk-other")
    for key in keys:
        catwalk.drop(key, photo(), {"batch-size": "1"})
    wait_for(
        lambda: all("waiting" in r for key in keys for r in catwalk.records(key) or [{}]),
        "all photos to wait",
    )
    wait_for(catwalk.queue_is_empty, "their messages to be put off")
    assert delayed(catwalk) == len(keys)
    for _ in range(3):
        assert "Submission is paused until " in catwalk.command("reconcile")
    assert delayed(catwalk) == len(keys)
    secrets = catwalk.stack.clients.client("secretsmanager")
    secret = catwalk.stack.output("VmakeApiKeySecretArn")
    secrets.put_secret_value(SecretId=secret, SecretString="sk-other")
    assert "is tried at once" in catwalk.command("reconcile")
    wait_for(lambda: "until" not in catwalk.control(), "submission to go on")
    for key in keys:
        catwalk.again(key)
        assert catwalk.reached(key, "SUCCEEDED")["credits"] == 1


def delayed(catwalk: Catwalk) -> int:
    """Return how many delayed messages are in SubmitQueue."""
    answer = catwalk.stack.clients.sqs.get_queue_attributes(
        QueueUrl=catwalk.stack.output("SubmitQueueUrl"), AttributeNames=["All"]
    )
    return int(answer["Attributes"]["ApproximateNumberOfMessagesDelayed"])


def test_stack_in_another_region(catwalk: Catwalk) -> None:
    """The error about a missing stack names the region."""
    address, folder = catwalk.stack.address, catwalk.stack.folder.path
    aws = environment.aws(
        folder,
        endpoint=address.endpoint,
        ca_bundle=Path(address.ca_bundle),
        credentials=address.credentials,
    )
    elsewhere = {"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-1"}
    done = subprocess.run(
        [sys.executable, "-m", "cli", "doctor"],
        cwd=ROOT,
        env=environment.bare(folder) | aws | elsewhere,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "no stack 'catwalk' in eu-west-1" in done.stdout


def test_laptop_stack_is_found_from_anywhere(catwalk: Catwalk, tmp_path: Path) -> None:
    """The running stack is found from any folder; once it is stopped, the doctor says so."""
    project = tmp_path / "project"
    for name in ("template.yaml", "Makefile", "cli/stacks/project.py", "local/stack/stack.py"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).symlink_to(ROOT / name)
    folder = StateFolder(project / ".catwalk" / "up")
    folder.path.mkdir(parents=True)
    running = catwalk.stack.folder.read()
    folder.write(running)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "cli", *arguments],
            cwd=tmp_path,
            env=environment.bare(tmp_path)
            | {"PYTHONPATH": os.fspath(ROOT), "CATWALK_HOME": os.fspath(project)},
            capture_output=True,
            text=True,
            check=False,
        )

    done = run("credits")
    assert done.returncode == 0, done.stderr
    assert f"the laptop's stack ({project})" in run("reconcile").stderr
    ended = tuple(ProcessId(process.pid, "another time") for process in running.processes)
    folder.write(State(ended, running.address))
    done = run("doctor", "--stack", "laptop")
    assert done.returncode == 1
    assert "MiniStack" in done.stdout
    assert "catwalk up" in done.stdout
    assert asdict(catwalk.stack.folder.read()) == asdict(running)


def test_deploy(catwalk: Catwalk) -> None:
    """`catwalk deploy` deploys a second stack with the SAM CLI; it lacks only the key."""
    now = catwalk.stack.clients.cloudformation.describe_stacks(StackName="catwalk")["Stacks"][0]
    given = {p["ParameterKey"]: p["ParameterValue"] for p in now["Parameters"]}
    machine = [
        word
        for name in ("PythonRuntime", "Architecture", "VmakeBaseUrl")
        for word in ("--parameter", f"{name}={given[name]}")
    ]
    words = ("deploy", "--stack", "second", "--region", environment.REGION, "--yes")
    said = catwalk.command(*words, "--scene", "preset:035", "--credit-limit", "7", *machine)
    assert "account 000000000000" in said
    assert "Successfully created/updated stack - second" in said
    try:
        assert list(bad(catwalk, "--stack", "second")) == ["key"]
        made = catwalk.stack.clients.cloudformation.describe_stacks(StackName="second")
        chosen = {p["ParameterKey"]: p["ParameterValue"] for p in made["Stacks"][0]["Parameters"]}
        assert (chosen["DefaultSceneType"], chosen["DefaultSceneId"]) == ("preset", "035")
        assert chosen["DailyCreditLimit"] == "7"
    finally:
        catwalk.stack.clients.cloudformation.delete_stack(StackName="second")
