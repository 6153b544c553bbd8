"""The project's folder: where template, tools and the laptop's stacks are.

In a clone it is the clone. A command that was installed (`uv tool install`, `pipx install`) brings
the project's sources along; it uses the clone that it is run in, if any, else a copy of its own
sources in the user's data folder. What starts, stops or deploys a stack then runs there, on the
packages that are locked there; everything else needs no such folder.
"""

import fcntl
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from cli.errors import CommandError
from cli.terminal.output import tell
from local.machine import problem

VARIABLE: Final = "CATWALK_HOME"
"""The project's folder for a shell that sourced its .catwalk/env.sh, wherever it goes."""
_CODE: Final = Path(__file__).resolve().parents[2]
_MARK: Final = ".installed"
"""Lies beside the sources that an installed command has brought along, and nowhere else."""
NEEDED: Final = ("template.yaml", "Makefile", "cli/stacks/project.py", "local/stack/stack.py")
"""What a clone of this project is known by."""
_COPIED: Final = ".copied"
_API_KEY: Final = "VMAKE_API_KEY"


@dataclass(frozen=True)
class Project:
    """The project's folder, which may not be there yet if it is a copy."""

    path: Path

    @property
    def copy(self) -> bool:
        """Whether it is the copy of an installed command's sources, or is to become it."""
        return (self.path / _COPIED).exists() or not is_project(self.path)

    @property
    def images(self) -> Path:
        """Where the demo's images go: into a clone, or where the person is."""
        return Path.cwd() / "catwalk-demo" if self.copy else self.path / "out"

    @property
    def state(self) -> Path:
        """The folder of the stacks on this machine."""
        return self.path / ".catwalk"

    @property
    def python(self) -> Path:
        """The interpreter with the locked packages."""
        return self.path / ".tools" / "python" / "bin" / "python"


def find_project() -> Project:
    """Return the project's folder, as it is meant here and now."""
    named = os.environ.get(VARIABLE)
    if named and is_project(Path(named)):
        return Project(Path(named))
    if not (_CODE / _MARK).exists():
        return Project(_CODE)
    here = Path.cwd()
    for folder in (here, *here.parents):
        # As with git: what runs here is the code of the folder's owner.
        if is_project(folder) and folder.stat().st_uid == os.getuid():
            return Project(folder)
    return Project(_data_folder() / "project")


def is_project(folder: Path) -> bool:
    """Tell whether a folder is a clone, or a copy, of this project."""
    return all((folder / name).is_file() for name in NEEDED)


def enter(*, tools: bool = True) -> Project:
    """Make sure that this is the project's own code on its locked packages, with all its tools.

    Where it is not, the same command is run there in project of this process.

    Args:
        tools: whether what is missing is installed first; who only stops something needs none.

    Raises:
        CommandError: the tools cannot be installed.

    """
    project = find_project()
    if (_CODE / _MARK).exists() and project.copy:
        refresh(_CODE, project.path)
    if tools:
        make_tools(project)
    if not (
        project.path.samefile(_CODE) and Path(sys.prefix).samefile(project.path / ".tools/python")
    ):
        _run_there(project)
    return project


def make_tools(project: Project) -> None:
    """Install what is not installed yet, or is out of date; a moment if nothing is.

    Raises:
        CommandError: it could not be installed.

    """
    if why := problem():
        raise CommandError(*why)
    environment = {
        name: value
        for name, value in os.environ.items()
        # The targets of an outer make are not meant; a key is for nobody else's eyes.
        if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", _API_KEY}
    }
    if not (project.path / ".tools" / ".awscli").exists():
        tell("Installing the local AWS, the SAM CLI and the rest (once; some 20 seconds) …")
    try:
        done = subprocess.run(
            ["make", "--no-print-directory", "--silent", "laptop"],
            cwd=project.path,
            env={"PYTHON": _base_python()} | environment,
            # What it says is no part of what was asked for.
            stdout=sys.stderr.fileno() if _has_descriptor() else subprocess.DEVNULL,
            check=False,
        )
    except FileNotFoundError:
        raise CommandError(
            "The tools cannot be installed: there is no `make` on this machine.",
            "Install it (Debian, Ubuntu: apt install make; macOS: xcode-select --install).",
        ) from None
    if done.returncode != 0:
        raise CommandError(
            f"The tools below {project.path / '.tools'} could not be installed.",
            f"What went wrong stands above; try again: `make -C {shlex.quote(str(project.path))}"
            " laptop`.",
        )


def refresh(source: Path, target: Path) -> None:
    """Make a folder the copy of some sources; tools, stacks and images in it stay.

    What is as it was is not touched, so that `make` installs only what has changed.

    Args:
        source: the sources as they were installed.
        target: the copy, which may be that of another version, or not there yet.

    """
    files = {str(path.relative_to(source)): path for path in _files(source)}
    digests = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    target.mkdir(parents=True, exist_ok=True)
    record = target / _COPIED
    with (target / f"{_COPIED}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = _read(record)
        if before == digests:
            return
        # Until it is whole it is the copy of nothing: whoever dies here has it made anew.
        record.write_text("{}")
        for name, digest in digests.items():
            file = target / name
            if before.get(name) == digest and file.is_file():
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            new = file.with_name(f"{file.name}.new")
            shutil.copyfile(files[name], new)
            new.replace(file)
        for name in set(before) - set(digests):
            (target / name).unlink(missing_ok=True)
        new = record.with_suffix(".new")
        new.write_text(json.dumps(digests))
        new.replace(record)


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and path.name != _MARK:
            yield path


def _read(record: Path) -> dict[str, str]:
    try:
        document = json.loads(record.read_text())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _run_there(project: Project) -> NoReturn:
    # -P: a `cli` folder in the user's own folder is not ours.
    command = [str(project.python), "-P", "-m", "cli", *sys.argv[1:]]
    environment = os.environ | {"PYTHONPATH": str(project.path), VARIABLE: str(project.path)}
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(project.python, command, environment)  # noqa: S606  our own interpreter, no shell


def _base_python() -> str:
    """Return a python3 that stays: not that of an environment, which may be made anew."""
    return getattr(sys, "_base_executable", None) or sys.executable


def _has_descriptor() -> bool:
    try:
        sys.stderr.fileno()
    except (OSError, AttributeError, ValueError):
        return False  # captured, as in tests
    return True


def _data_folder() -> Path:
    """Return the user's data folder; as uv does, on macOS too, where the other has a space."""
    given = os.environ.get("XDG_DATA_HOME", "")
    base = Path(given) if Path(given).is_absolute() else Path.home() / ".local" / "share"
    return base / "catwalk"
