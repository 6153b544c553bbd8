"""The functions' packages that `sam build` makes."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from local.stack.environment import sam_settings

ROOT = Path(__file__).parents[2]
FUNCTIONS = {
    "SubmitFunction": "submit",
    "PollFunction": "poll",
    "FinalizeFunction": "finalize",
    "ReconcileFunction": "reconcile",
}
MAX_BYTES = 15_000_000
PACKAGED = {
    *("functions", "shared"),
    *("httpx", "httpcore", "h11", "idna", "certifi", "imagesize"),
    *("pydantic", "pydantic_core", "annotated_types", "typing_inspection", "typing_extensions"),
    *("aws_lambda_powertools", "jmespath"),
}
RUNTIME = {"botocore", "jmespath", "urllib3", "dateutil", "six"}
"""The packages that the functions take from Lambda's runtime."""

LAMBDA = """
import importlib, json, logging, os, sys

allowed, module, environment = json.loads(sys.argv[1])
utilities = "aws_lambda_powertools.utilities."

class NotPackaged:
    @staticmethod
    def find_spec(name, path=None, target=None):
        left_out = name.startswith(("pydantic.v1", "aws_lambda_powertools.event_handler")) or (
            name.startswith(utilities) and not name.startswith(utilities + "jmespath_utils")
        )
        known = name.partition(".")[0] in sys.stdlib_module_names | set(allowed)
        if left_out or not (known or name.startswith("_sysconfigdata")):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NotPackaged)
os.environ |= environment
handler = importlib.import_module(module)
(build,) = [name for name in vars(handler) if name.endswith("er") and name.startswith("_")]
getattr(handler, build)()
from shared import clients, observability
clients.dynamodb().meta
with observability.log_keys(job_id="j1"):
    observability.logger().warning("made")
"""


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build with the template's own parameters, as a plain `sam build` does."""
    folder = tmp_path_factory.mktemp("sam") / "build"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    environment["__SAM_CLI_APP_DIR"] = str(sam_settings(folder.parent))
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
    """A package has no tests, no laptop code, no other function and nothing of the runtime."""
    package = build / function
    names = {path.name.removesuffix(".py") for path in package.iterdir()}
    assert names - {"__pycache__"} == PACKAGED
    handlers = {path.parent.name for path in (package / "functions").glob("*/handler.py")}
    assert handlers == {FUNCTIONS[function]}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_package_is_small(build: Path, function: str) -> None:
    """A package has at most 15 MB, bytecode included."""
    files = [path for path in (build / function).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MAX_BYTES


@pytest.mark.parametrize("function", FUNCTIONS.values())
def test_a_function_needs_nothing_that_is_not_there(function: str) -> None:
    """Each handler works with only its package and Lambda's runtime."""
    names = ["JOBS_TABLE", "EVENT_BUS", "API_KEY_SECRET", "RESULTS_BUCKET", "AWS_DEFAULT_REGION"]
    # Lambda gives these; without them botocore asks 169.254.169.254.
    names += ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
    names += ["PHOTOS_BUCKET", "SUBMIT_QUEUE_URL", "STATE_MACHINE_ARN", "DEAD_LETTER_QUEUE_URL"]
    environment = dict.fromkeys(names, "example") | {"VMAKE_BASE_URL": "https://open.vmake.ai"}
    allowed = sorted(PACKAGED | RUNTIME)
    done = subprocess.run(
        [
            *(sys.executable, "-c", LAMBDA),
            json.dumps([allowed, f"functions.{function}.handler", environment]),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout)
    assert (line["message"], line["job_id"]) == ("made", "j1")


OLD_PYTHON = """
import runpy, sys

sys.modules["tomllib"] = None  # as before 3.11: the import fails
sys.argv = ["functions/package.py", "SubmitFunction", "nowhere"]
runpy.run_path("functions/package.py", run_name="__main__")
"""


def test_an_old_python_is_told_what_it_takes() -> None:
    """`sam build` with a python3 before 3.11, as on macOS, ends with one sentence."""
    done = subprocess.run(
        [sys.executable, "-c", OLD_PYTHON], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("Catwalk's functions are packaged by python3 3.11 or newer; this is 3.")
    assert sys.executable in line
    assert "PATH" in line


def test_an_old_python_can_read_the_packager() -> None:
    """Python 3.8 can parse the file that says so."""
    ast.parse((ROOT / "functions" / "package.py").read_text(), feature_version=(3, 8))


def test_the_wheels_are_for_the_functions_processor(build: Path) -> None:
    """Compiled packages are for the template's runtime and architecture."""
    (compiled,) = (build / "PollFunction" / "pydantic_core").glob("*.so")
    assert "cpython-313-aarch64" in compiled.name


def test_no_secret_or_path_of_the_builder_is_packaged(build: Path) -> None:
    """A package has no path of the machine that built it."""
    for path in (build / "SubmitFunction").glob("s*/**/*"):
        if path.is_file():
            assert str(ROOT).encode() not in path.read_bytes(), path
