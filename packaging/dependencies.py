"""Gives the wheel exact dependencies: those that the hash-locked requirements file names.

`uv tool install` and `pipx install` see the wheel alone; without this they would take whatever
version is the newest on that day.
"""

# hatchling runs this file by its path; a package `packaging` would hide the one that it needs.
# ruff: noqa: INP001

import re
from pathlib import Path
from typing import Any, Final

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LOCK: Final = "requirements/laptop.txt"


class LockedDependencies(MetadataHookInterface):
    """Reads the dependencies from the lock file."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the dependencies to the project's metadata."""
        lines = (Path(self.root) / _LOCK).read_text(encoding="utf-8").splitlines()
        # A pin begins a line; its hashes and where it comes from are indented, or comments.
        pins = [line.removesuffix("\\").strip() for line in lines if re.match(r"[a-z0-9]", line)]
        loose = [pin for pin in pins if "==" not in pin.partition(";")[0]]
        if loose or not pins:
            raise ValueError(f"{_LOCK} must pin every package; it has {loose or 'none'}.")
        metadata["dependencies"] = pins
