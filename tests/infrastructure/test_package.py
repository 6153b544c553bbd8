"""What `sam build` makes of the template: the functions' packages, and nothing else."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FUNCTIONS = {
    "SubmitFunction": "submit",
    "PollFunction": "poll",
    "FinalizeFunction": "finalize",
    "ReconcileFunction": "reconcile",
}


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build with the template's own parameters, as a plain `sam build` does."""
    folder = tmp_path_factory.mktemp("sam") / "build"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    done = subprocess.run(
        [ROOT / ".tools" / "sam" / "bin" / "sam", "build", "--build-dir", folder],
        cwd=ROOT,
        env=environment | {"SAM_CLI_TELEMETRY": "0", "AWS_DEFAULT_REGION": "eu-central-1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "for python3.13 on arm64" in done.stdout + done.stderr
    return folder


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_package_holds_one_handler_and_what_it_needs(build: Path, function: str) -> None:
    """Neither tests nor laptop code are deployed, nor another function, nor what AWS has anyway."""
    package = build / function
    names = {path.name for path in package.iterdir()}
    assert {"functions", "shared", "httpx", "pydantic", "aws_lambda_powertools"} <= names
    assert names.isdisjoint({"boto3", "botocore", "local", "tests", "cli", "bench", "events"})
    handlers = {path.parent.name for path in (package / "functions").glob("*/handler.py")}
    assert handlers == {FUNCTIONS[function]}


def test_the_wheels_are_for_the_functions_processor(build: Path) -> None:
    """What is compiled is for the runtime and the architecture that the template names."""
    (compiled,) = (build / "PollFunction" / "pydantic_core").glob("*.so")
    assert "cpython-313-aarch64" in compiled.name


def test_no_secret_or_path_of_the_builder_is_packaged(build: Path) -> None:
    """A package looks the same wherever it was built."""
    for path in (build / "SubmitFunction").glob("s*/**/*"):
        if path.is_file():
            assert str(ROOT).encode() not in path.read_bytes(), path
