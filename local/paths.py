"""Where things are."""

import os
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
TOOLS: Final = ROOT / ".tools"
STATE: Final = ROOT / ".catwalk"
"""A folder for each stack on this machine; git does not see it."""
SAMPLES: Final = ROOT / "local" / "samples"
OUT: Final = ROOT / "out"


def shown(path: Path) -> str:
    """Return a path as a person reads it best: relative, where it lies below this folder."""
    here = Path.cwd()
    return os.fspath(path.relative_to(here) if path.is_relative_to(here) else path)
