"""Paths of the project, and how files are written and paths shown."""

import os
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
TOOLS: Final = ROOT / ".tools"
STATE: Final = ROOT / ".catwalk"
"""Holds a folder for each stack on this machine; git ignores it."""
SAMPLES: Final = ROOT / "local" / "samples"
OUT: Final = ROOT / "out"


def write_private(path: Path, text: str) -> None:
    """Write a file that only this user can read; a crash never leaves a part of it."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123  pathlib cannot create a file with a mode
        file.write(text)
    new.replace(path)


def shown(path: Path) -> str:
    """Return a path for a person: relative to the current folder if it is below it."""
    here = Path.cwd()
    return os.fspath(path.relative_to(here) if path.is_relative_to(here) else path)
