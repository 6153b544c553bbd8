"""Other linters accept the template and the state machine."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from local.stack.environment import sam_settings

ROOT: Final = Path(__file__).parents[2]
TOOLS: Final = ROOT / ".tools"
TEMPLATE: Final = ROOT / "template.yaml"
SETTINGS: Final = ROOT / ".checkov.yaml"
VALIDATOR: Final = TOOLS / "asl" / "node_modules" / ".bin" / "asl-validator"
MACHINE: Final = ROOT / "statemachine" / "job.asl.yaml"
SUBSTITUTES: Final = {
    "${Partition}": "aws",
    "${PollFunctionArn}": "arn:aws:lambda:eu-central-1:123456789012:function:poll",
    "${FinalizeFunctionArn}": "arn:aws:lambda:eu-central-1:123456789012:function:finalize",
}

Done = subprocess.CompletedProcess[str]


def _run(folder: Path, *command: str | Path) -> Done:
    """Run a linter in another folder, so that checkov ignores its settings and finds everything."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    environment |= {"AWS_DEFAULT_REGION": "eu-central-1", "SAM_CLI_TELEMETRY": "0"}
    environment["CKV_SKIP_PACKAGE_UPDATE_CHECK"] = "true"  # it would ask pypi.org
    environment["__SAM_CLI_APP_DIR"] = str(sam_settings(folder))
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.thorough  # cfn-lint reads the translated template in each run: test_template.py
def test_sam_validate_finds_nothing(tmp_path: Path) -> None:
    """`sam validate --lint` accepts the template."""
    sam = TOOLS / "sam" / "bin" / "sam"
    done = _run(tmp_path, sam, "validate", "--lint", "--template-file", TEMPLATE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "is a valid SAM Template" in done.stdout


def _explained() -> dict[str, str]:
    """Return the checks that .checkov.yaml skips, each with the comment above it."""
    text = SETTINGS.read_text().partition("skip-check:\n")[2]
    entries = re.findall(r"((?:^ +# .*\n)*)^ +- (CKV\w+)\n", text, re.MULTILINE)
    return {check: comment.replace("#", "") for comment, check in entries}


def test_checkov_finds_only_what_is_explained(tmp_path: Path) -> None:
    """Each finding of checkov has a reason in .checkov.yaml, and each reason a finding."""
    done = _run(
        tmp_path,
        *(TOOLS / "checkov" / "bin" / "checkov", "--file", TEMPLATE),
        *("--framework", "cloudformation", "--skip-download", "--output", "json"),
    )
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["summary"]["resource_count"] > 40
    assert report["summary"]["parsing_errors"] == 0
    found = {failed["check_id"] for failed in report["results"]["failed_checks"]}
    assert found == set(_explained())


def test_each_suppression_of_checkov_has_a_reason() -> None:
    """Each skipped check has a comment above it."""
    skipped = yaml.safe_load(SETTINGS.read_text())["skip-check"]
    assert list(_explained()) == skipped
    assert all(len(comment.split()) >= 8 for comment in _explained().values())


def _opinion(folder: Path, text: str) -> Done:
    """Run asl-validator on a definition, with ARNs for its substitutions."""
    for name, value in SUBSTITUTES.items():
        text = text.replace(name, value)
    path = folder / "machine.json"
    path.write_text(json.dumps(yaml.safe_load(text)))
    return subprocess.run(
        [VALIDATOR, "--json-path", path], capture_output=True, text=True, check=False
    )


needs_npm = pytest.mark.skipif(
    not VALIDATOR.exists(), reason="asl-validator is not installed: it needs npm (make opinions)"
)


@needs_npm
def test_asl_validator_finds_nothing_in_the_state_machine(tmp_path: Path) -> None:
    """The state machine is valid to AWS's schema of states, and its JSONata can be parsed."""
    done = _opinion(tmp_path, MACHINE.read_text())
    assert done.returncode == 0, done.stdout + done.stderr


@needs_npm
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("Next: Poll", "Next: Pol"),
        ("$states.input.wait_seconds %}", "$states.input.( %}"),
        ("Default: JobDone", "Default: JobGone"),
        ("Type: Succeed", "Type: Success"),
    ],
)
def test_asl_validator_finds_a_mistake(tmp_path: Path, right: str, wrong: str) -> None:
    """asl-validator finds mistakes in a broken definition."""
    text = MACHINE.read_text()
    assert right in text
    assert _opinion(tmp_path, text.replace(right, wrong, 1)).returncode != 0
