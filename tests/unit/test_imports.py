"""Importing a module does nothing: no environment read, no client made."""

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
    """All modules can be imported where no environment and no client may be had."""
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
    """A module that does read the environment or make a client is caught."""
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


def test_shared_knows_nothing_of_who_uses_it() -> None:
    """`shared` imports nothing of functions/, local/ or cli/."""
    for path in (ROOT / "shared").rglob("*.py"):
        text = path.read_text("utf-8")
        for folder in ("functions", "local", "cli", "tests"):
            assert f"import {folder}" not in text
            assert f"from {folder}" not in text
