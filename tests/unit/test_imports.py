"""Importing a module does nothing: no environment read, no client made.

In Lambda's init phase alone, which one variable tells, a handler's module makes its clients.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for folder in ("shared", "functions")
    for path in (ROOT / folder).rglob("*.py")
    if path.name != "__init__.py"
)

POISON = """
import importlib, os, sys
# What the libraries themselves read at import is their own affair: import them first.
import aws_lambda_powertools, boto3, botocore.session, httpx, httpcore, imagesize, pydantic
import pydantic.alias_generators

class Poisoned(dict):
    def _no(self, *names):
        if names == ("AWS_LAMBDA_INITIALIZATION_TYPE",):
            return
        name = sys._getframe(2).f_globals.get("__name__", "")
        if name.split(".")[0] in {"shared", "functions"}:
            raise SystemExit(f"{name} read the environment: {names}")
    def __getitem__(self, name): self._no(name); return real[name]
    def get(self, name, default=None): self._no(name); return real.get(name, default)
    def __contains__(self, name): self._no(name); return name in real

real = dict(os.environ)
def refuse(*arguments, **_):
    raise SystemExit(f"a client was made: {arguments}")
botocore.session.Session.create_client = botocore.session.Session.get_credentials = refuse
httpx.Client.__init__ = refuse
os.environ = Poisoned()
os.getenv = os.environ.get
for module in sys.argv[1:]:
    importlib.import_module(module)
print(len(sys.argv) - 1)
"""


def test_importing_does_nothing() -> None:
    """All modules can be imported without environment variables and clients."""
    done = subprocess.run(
        [sys.executable, "-c", POISON, *MODULES],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(MODULES) > 20


@pytest.mark.parametrize(
    "line", ["import os; os.environ.get('X')", "import boto3; boto3.client('s3')"]
)
def test_the_poison_works(tmp_path: Path, line: str) -> None:
    """A module that reads the environment or makes a client at import is found."""
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions" / "bad.py").write_text(line)
    done = subprocess.run(
        [sys.executable, "-c", POISON, "functions.bad"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0


INIT = """
import importlib, json, os, sys
# The libraries are imported once; each case is a fork that imports the handler alone.
import aws_lambda_powertools, botocore.session, httpx, imagesize, pydantic

create_client, init = botocore.session.Session.create_client, httpx.Client.__init__

def create(self, service, **options):
    made.append(service)
    return create_client(self, service, **options)

def http(self, **options):
    made.append("http")
    init(self, **options)

botocore.session.Session.create_client, httpx.Client.__init__ = create, http
for function, environment in json.loads(sys.argv[1]):
    pid = os.fork()
    if pid:
        if os.waitpid(pid, 0)[1]:
            raise SystemExit(f"importing {function} failed with {environment}")
        continue
    made = []
    os.environ |= environment
    importlib.import_module(f"functions.{function}.handler")
    print(json.dumps(sorted(made)))
    sys.exit()
"""
NEEDED = {
    "submit": ["dynamodb", "events", "http", "s3", "secretsmanager", "stepfunctions"],
    "poll": ["dynamodb", "http", "secretsmanager"],
    "finalize": ["dynamodb", "events", "http", "s3"],
    "reconcile": ["dynamodb", "s3", "sqs"],
}


SETTINGS = dict.fromkeys(
    ("JOBS_TABLE", "EVENT_BUS", "API_KEY_SECRET", "RESULTS_BUCKET", "PHOTOS_BUCKET"), "example"
) | {"VMAKE_BASE_URL": "https://open.vmake.ai", "STATE_MACHINE_ARN": "arn", "SUBMIT_QUEUE_URL": "q"}
SETTINGS["DEAD_LETTER_QUEUE_URL"] = "d"


INIT_PHASE = {"AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand"}


def made_by_importing(environment: dict[str, str]) -> dict[str, list[str]]:
    """Return the clients that the import of each handler makes."""
    done = subprocess.run(
        [sys.executable, "-c", INIT, json.dumps([(name, environment) for name in NEEDED])],
        cwd=ROOT,
        # Lambda gives credentials. Without them botocore asks the machine's metadata service.
        env={
            "PATH": os.environ["PATH"],
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "not-a-secret",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(NEEDED, map(json.loads, done.stdout.splitlines()), strict=True))


def test_clients_are_made_in_lambdas_init() -> None:
    """A handler's import makes the usual clients, since Lambda's init phase has a whole core."""
    assert made_by_importing(SETTINGS | INIT_PHASE) == NEEDED
    assert made_by_importing(SETTINGS) == {name: [] for name in NEEDED}


def test_init_leaves_errors_to_the_first_invocation() -> None:
    """A missing setting is an error of the invocation, with its request id in the log."""
    made_by_importing(INIT_PHASE)


def test_shared_knows_nothing_of_who_uses_it() -> None:
    """`shared` imports nothing of functions/, local/ or cli/."""
    for path in (ROOT / "shared").rglob("*.py"):
        text = path.read_text("utf-8")
        for folder in ("functions", "local", "cli", "tests"):
            assert not re.search(rf"\b(import|from) {folder}\b", text), path
