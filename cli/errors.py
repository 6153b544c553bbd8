"""Errors of the command line: each has a message and a next step for the person."""

from collections.abc import Mapping
from typing import Final

from pydantic import ValidationError

from shared.errors import CatwalkError

FIX_ITEM: Final = (
    "If this `catwalk` is older than the stack, update it. If another program wrote the item,"
    " delete the item."
)


class CommandError(CatwalkError):
    """A command cannot be carried out.

    Attributes:
        next_step: what the person can do, as a sentence.
        exit_status: of the command: 1, or 2 for an invalid command line.

    """

    exit_status = 1

    def __init__(self, message: str, next_step: str) -> None:
        """Take the message and the next step, both as sentences."""
        super().__init__(message)
        self.next_step = next_step


class UsageError(CommandError):
    """A command line is invalid."""

    exit_status = 2


def unreadable(error: ValidationError) -> str:
    """Describe an item of JobsTable that this version cannot read as a job."""
    first = error.errors()[0]
    name = ".".join(map(str, first["loc"]))
    found = first["input"]
    item = f" {found['pk']!r}" if isinstance(found, Mapping) and "pk" in found else ""
    return f"JobsTable has an item{item} that cannot be read as a job: {name}: {first['msg']}."


def sentence(text: str) -> str:
    """Return a foreign message as a sentence that ends with one full stop."""
    return f"{text.strip().rstrip('.')}."
