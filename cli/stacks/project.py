"""The project's folder, with the template, the tools and the laptop's stacks.

In a clone, it is the clone. An installed command (`uv tool install`, `pipx install`) contains the
project's sources. It uses the clone in which it is run, if any, else a copy of its sources in the
user's data folder. Commands that start, stop or deploy a stack run in that folder with its locked
packages. The other commands do not need it.
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
"""Environment variable: the project's folder, set by its .catwalk/env.sh."""
_CODE: Final = Path(__file__).resolve().parents[2]
_MARK: Final = ".installed"
"""A file that exists only beside the sources of an installed command."""
NEEDED: Final = ("template.yaml", "Makefile", "cli/stacks/project.py", "local/stack/stack.py")
"""Files by which a clone of this project is recognised."""
_COPIED: Final = ".copied"
_API_KEY: Final = "VMAKE_API_KEY"


@dataclass(frozen=True)
class Project:
    """The project's folder. A copy may not exist yet."""

    path: Path

    @property
    def copy(self) -> bool:
        """Whether it is, or will be, the copy of an installed command's sources."""
        return (self.path / _COPIED).exists() or not is_project(self.path)

    @property
    def images(self) -> Path:
        """The folder for the demo's images: in the clone, or in the current folder."""
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
    """Return the project's folder for the present environment and current folder."""
    named = os.environ.get(VARIABLE)
    if named and is_project(Path(named)):
        return Project(Path(named))
    if not (_CODE / _MARK).exists():
        return Project(_CODE)
    here = Path.cwd()
    for folder in (here, *here.parents):
        # Like git, ignore folders of other users: their code would be run.
        if is_project(folder) and folder.stat().st_uid == os.getuid():
            return Project(folder)
    return Project(_data_folder() / "project")


def is_project(folder: Path) -> bool:
    """Return whether a folder is a clone or copy of this project."""
    return all((folder / name).is_file() for name in NEEDED)


def enter(*, tools: bool = True) -> Project:
    """Continue in the project's folder, with its code, locked packages and tools.

    If this process runs other code or packages, it is replaced by the same command there.

    Args:
        tools: whether to install missing tools first.

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
    """Install the tools that are missing or outdated.

    Raises:
        CommandError: the installation failed.

    """
    if why := problem():
        raise CommandError(*why)
    environment = {
        name: value
        for name, value in os.environ.items()
        # An outer make's options do not apply here, and the key must not be passed on.
        if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", _API_KEY}
    }
    if not (project.path / ".tools" / ".awscli").exists():
        tell("Installing the local AWS, the SAM CLI and the rest (once; some 20 seconds) …")
    try:
        done = subprocess.run(
            ["make", "--no-print-directory", "--silent", "laptop"],
            cwd=project.path,
            env={"PYTHON": _base_python()} | environment,
            # Its output is not part of this command's output.
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
            f"The error is shown above. Try again: `make -C {shlex.quote(str(project.path))}"
            " laptop`.",
        )


def refresh(source: Path, target: Path) -> None:
    """Copy the sources into a folder; its tools, stacks and images stay.

    Unchanged files are not written, so that `make` installs only what has changed.

    Args:
        source: the installed sources.
        target: the folder; it may hold another version, or not exist.

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
        # An empty record marks an incomplete copy; after a crash, the next call starts again.
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
    """Return the python3 outside of virtual environments, which may be deleted."""
    return getattr(sys, "_base_executable", None) or sys.executable


def _has_descriptor() -> bool:
    try:
        sys.stderr.fileno()
    except (OSError, AttributeError, ValueError):
        return False  # captured, as in tests
    return True


def _data_folder() -> Path:
    """Return the user's data folder. Like uv, use ~/.local/share on macOS too: no space in it."""
    given = os.environ.get("XDG_DATA_HOME", "")
    base = Path(given) if Path(given).is_absolute() else Path.home() / ".local" / "share"
    return base / "catwalk"
