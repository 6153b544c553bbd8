"""Each suppression of ruff and mypy has a reason."""

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
FOLDERS: Final = ("shared", "functions", "local", "cli", "bench", "packaging")
SUPPRESSION: Final = re.compile(
    r"# (?:noqa|type: ignore)\b(?:: [A-Z]+[0-9]+(?:, ?[A-Z]+[0-9]+)*|\[[a-z, -]+\])?"
)


def unexplained(text: str) -> list[int]:
    """Return the lines, from 1, whose suppression has no reason behind it or above it."""
    found = []
    above = ""
    for number, line in enumerate(text.splitlines(), 1):
        suppressed = SUPPRESSION.search(line)
        if suppressed is None:
            above = line
        elif not line[suppressed.end() :].strip() and not above.lstrip().startswith("#"):
            found.append(number)
    return found


def test_each_suppression_has_a_reason() -> None:
    """The reason is the comment above it, or the rest of its line."""
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        for line in unexplained(path.read_text("utf-8"))
    ]
    assert found == []


def test_a_suppression_without_a_reason_is_found() -> None:
    """A reason above applies to the suppressions that follow it directly."""
    text = (
        "a = 1  # noqa: S105\n"  # none
        "# Because.\n"
        "b = 1  # noqa: S105\n"
        "c = 1  # type: ignore[misc]\n"
        "d = 1\n"
        "e = 1  # noqa: S105, S106  the reason\n"
        "f = 1  # type: ignore[misc, attr-defined]\n"  # none
    )
    assert unexplained(text) == [1, 7]
