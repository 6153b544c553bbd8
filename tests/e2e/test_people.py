"""People who did not deploy the stack: each policy of docs/use-a-stack.md, with IAM enforced."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.paths import ROOT
from local.stack.state import STACK
from tests.e2e.driver import Catwalk, photo

PAGE = ROOT / "docs" / "use-a-stack.md"
PHOTO = "people/dress.jpg"


def policy(catwalk: Catwalk, name: str) -> str:
    """Return a policy from the page, with the names of this stack."""
    found = re.search(rf"^```json {name}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"the page has no policy {name!r}"
    outputs = catwalk.stack.address.outputs
    region, account = outputs["StateMachineArn"].split(":")[3:5]
    queue = outputs["SubmitQueueUrl"].rpartition("/")[2]
    text = found[1].replace("<SubmitQueueArn>", f"arn:aws:sqs:{region}:{account}:{queue}")
    text = re.sub(r"<(\w+)>", lambda match: outputs[match[1]], text)
    text = text.replace("eu-central-1:123456789012", f"{region}:{account}")
    return json.dumps(json.loads(text.replace(":stack/catwalk/*", f":stack/{STACK}/*")))


@pytest.fixture
def person(
    catwalk: Catwalk, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[dict[str, str]]:
    """Create a user with the policies of the test; return its environment variables."""
    iam, name = catwalk.stack.clients.client("iam"), f"person-{tmp_path.name}"
    iam.create_user(UserName=name)
    for policy_name in request.param:
        iam.put_user_policy(
            UserName=name, PolicyName=policy_name, PolicyDocument=policy(catwalk, policy_name)
        )
    key: Any = iam.create_access_key(UserName=name)["AccessKey"]
    yield {
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
    }
    iam.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
    for policy_name in request.param:
        iam.delete_user_policy(UserName=name, PolicyName=policy_name)
    iam.delete_user(UserName=name)


@pytest.fixture(scope="module")
def job_id(catwalk: Catwalk) -> str:
    """Make a photo with images; return its job's id."""
    catwalk.drop(PHOTO, photo(), {"batch-size": "2"})
    return str(catwalk.end_of(PHOTO)["job_id"])


def works(catwalk: Catwalk, person: dict[str, str], *arguments: str) -> str:
    """Run a command as this person; it must succeed."""
    done = catwalk.run_command(*arguments, variables=person)
    assert done.returncode == 0, done.stderr
    return done.stdout


def is_denied(catwalk: Catwalk, person: dict[str, str], *arguments: str) -> None:
    """Run a command that IAM must deny to this person."""
    done = catwalk.run_command(*arguments, variables=person)
    assert done.returncode != 0
    assert re.search(r"AccessDenied|not authorized|not allowed", done.stdout + done.stderr)


@pytest.mark.parametrize("person", [["look"]], indirect=True)
def test_to_look(catwalk: Catwalk, person: dict[str, str], job_id: str, tmp_path: Path) -> None:
    """The policy for looking allows seeing jobs and downloading, but not dropping or reviewing."""
    assert PHOTO in works(catwalk, person, "jobs", "--folder", "people")
    assert "SUCCEEDED" in works(catwalk, person, "show", job_id, "--json")
    works(catwalk, person, "pull", "--folder", "people", "--to", str(tmp_path / "out"))
    assert len(list((tmp_path / "out").iterdir())) == 2
    new = tmp_path / "new.jpg"
    new.write_bytes(photo())
    is_denied(catwalk, person, "drop", str(new), "--to", "people", "--yes")
    is_denied(catwalk, person, "review", job_id, "--approve", "--yes")


@pytest.mark.parametrize("person", [["look", "drop"]], indirect=True)
def test_to_drop(catwalk: Catwalk, person: dict[str, str], job_id: str, tmp_path: Path) -> None:
    """The policy for dropping allows dropping a photo and waiting for it, but no review."""
    new = tmp_path / "new.jpg"
    new.write_bytes(photo())
    works(catwalk, person, "drop", str(new), "--to", "people", "--wait", "--yes")
    is_denied(catwalk, person, "review", job_id, "--approve", "--yes")


@pytest.mark.parametrize("person", [["look", "review"]], indirect=True)
def test_to_review(catwalk: Catwalk, person: dict[str, str], job_id: str) -> None:
    """The policy for reviewing allows approving a job, and the event has the reviewer's name."""
    works(catwalk, person, "review", job_id, "--approve", "--choose", "2", "--yes")
    (record,) = catwalk.records(PHOTO)
    assert record["review"]["state"] == "approved"
