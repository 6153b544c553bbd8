"""Each import contract in pyproject.toml finds a violation."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
CONTRACTS: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]

WRONG: Final = {
    "packages: each imports only those below it": ("local/paths.py", "import cli.errors"),
    "nothing imports the tests": ("cli/errors.py", "import tests.factories"),
    "no function imports another": (
        "functions/poll/handler.py",
        "import functions.submit.handler",
    ),
    "shared: the layers of its rooms": ("shared/polling/planner.py", "import shared.limits"),
    "rooms and modules form no circles": ("local/paths.py", "import local.errors"),
    "the vendor's wire format stays in shared/vmake": (
        "shared/steps/poll.py",
        "import shared.vmake.wire",
    ),
    "functions: only vmake, results and their transport speak HTTP": (
        "shared/steps/poll.py",
        "import httpx",
    ),
    "functions: no boto3": ("shared/clients.py", "import boto3"),
}
"""For each contract, a file and an import that would break it."""


def test_each_contract_can_be_broken(tmp_path: Path) -> None:
    """Each contract is broken by its example, so none is void after a rename."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in CONTRACTS["root_packages"]:
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "out")
        )
    for name, line in WRONG.values():
        with (tmp_path / name).open("a") as file:
            file.write(f"\n{line}\n")
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    broken = {line.partition(" BROKEN")[0] for line in done.stdout.splitlines() if "BROKEN" in line}
    assert broken == {contract["name"] for contract in CONTRACTS["contracts"]}, done.stdout
    assert broken == set(WRONG)
