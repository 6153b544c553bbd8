"""The installed command: its files, its packages, and shell completion."""

import email
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from cli.stacks.project import is_project
from tests.thorough import thorough

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def locked(name: str) -> set[str]:
    """Return the exact versions of a lock file, each with its marker."""
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    return {line.removesuffix("\\").strip() for line in lines if re.match(r"[a-z0-9]", line)}


def test_needs_what_the_laptop_needs(installed: Path) -> None:
    """The wheel requires the locked versions of all packages."""
    (metadata,) = installed.glob("*.dist-info/METADATA")
    message = email.message_from_string(metadata.read_text())
    needed = {Requirement(line) for line in message.get_all("Requires-Dist", [])}
    assert needed == {Requirement(line) for line in locked("laptop")}
    assert all(re.fullmatch(r"==[^*,]+", str(each.specifier)) for each in needed)


def test_builds_with_the_locked_hatchling() -> None:
    """The build requirements are hatchling and all that it needs, at the locked versions."""
    requires = set(PROJECT["build-system"]["requires"])
    assert requires <= locked("dev")
    needed = [Requirement(line) for line in importlib.metadata.requires("hatchling") or []]
    names = {each.name for each in needed if each.marker is None or each.marker.evaluate()}
    assert {line.partition("==")[0] for line in requires} == names | {"hatchling"}


def test_carries_every_folder_that_is_run() -> None:
    """Each folder of the project is in the wheel, or in the list of folders that are left out."""
    carried = set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"])
    left_out = {"tests", "bench", "docs", "packaging", "out"}
    folders = {
        path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")
    }
    assert {name for name in carried if (ROOT / name).is_dir()} == folders - left_out - {
        "__pycache__",
    }


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and unpack it, as installers do; that takes about a second."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(
    installed: Path, here: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the installed command in a folder outside of the clone."""
    bare = {"PATH": os.defpath, "HOME": str(here), "PYTHONPATH": str(installed), "COLUMNS": "80"}
    # Else botocore looks for credentials at 169.254.169.254.
    bare["AWS_EC2_METADATA_DISABLED"] = "true"
    code = "import sys; from catwalk.command import main; sys.argv[0] = 'catwalk'; main()"
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments],
        cwd=here,
        env=bare | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_wheel_is_whole(installed: Path) -> None:
    """The wheel has one top-level package, so no name collides with other packages."""
    assert {path.name for path in installed.iterdir() if "dist-info" not in path.name} == {
        "catwalk"
    }
    project = installed / "catwalk" / "project"
    assert is_project(project)
    tracked = subprocess.run(
        ["git", "ls-files", "cli", "local", "shared", "functions", "statemachine", "requirements"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert len(tracked) > 100
    assert [name for name in tracked if not (project / name).is_file()] == []
    assert list(installed.rglob("*.pyc")) == []


def test_runs_from_anywhere(installed: Path, tmp_path: Path) -> None:
    """The command works without a clone, also in a folder that has a `cli` folder."""
    (tmp_path / "cli").mkdir()
    (tmp_path / "cli" / "__init__.py").write_text("raise SystemExit('not ours')")
    done = run(installed, tmp_path, "--help")
    assert done.returncode == 0, done.stderr
    for command in ("up", "down", "demo", "deploy", "set-key", "doctor", "credits", "redrive"):
        assert re.search(rf"^│ {command} ", done.stdout, re.MULTILINE)
    done = run(installed, tmp_path, "credits")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 2)
    done = run(installed, tmp_path, "down")
    assert (done.returncode, done.stdout) == (0, "Nothing was running.\n")
    assert not (tmp_path / ".local").exists(), "nothing is unpacked before it is needed"


@pytest.mark.parametrize(
    ("words", "proposed"),
    [
        ("catwalk do", {"down", "doctor"}),
        ("catwalk resume --status F", {"FAILED"}),
        thorough("catwalk jobs --status o", {"on-its-way"}),
        thorough("catwalk jobs --review re", {"refused"}),
        thorough("catwalk regenerate --status SU", {"SUBMITTING", "SUBMIT_UNKNOWN", "SUCCEEDED"}),
        thorough("catwalk up --ho", {"--host"}),
    ],
)
def test_completion(installed: Path, tmp_path: Path, words: str, proposed: set[str]) -> None:
    """The shell completes commands, options and statuses."""
    done = run(
        installed,
        tmp_path,
        _CATWALK_COMPLETE="complete_bash",
        COMP_WORDS=words,
        COMP_CWORD=str(words.count(" ")),
    )
    assert set(done.stdout.split()) == proposed


def test_completion_can_be_installed(installed: Path, tmp_path: Path) -> None:
    """`--install-completion` installs completion for the given shell."""
    # Otherwise the shell is the one that these tests were started from.
    named = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = run(installed, tmp_path, "--install-completion", "bash", **named)
    assert done.returncode == 0, done.stderr
    assert "_CATWALK_COMPLETE" in (tmp_path / ".bash_completions" / "catwalk.sh").read_text()
