"""What the command line says when it cannot do what it was asked: a sentence and a next step."""

from collections.abc import Mapping
from typing import Final

from pydantic import ValidationError

from shared.errors import CatwalkError

MEND_ITEM: Final = (
    "Is this `catwalk` older than the stack, or has something else written there? Bring the one up"
    " to date, or take the other out."
)


class CommandError(CatwalkError):
    """The command cannot be carried out.

    Attributes:
        next_step: what the person may do about it.

    """

    def __init__(self, message: str, next_step: str) -> None:
        """Keep both sentences."""
        super().__init__(message)
        self.next_step = next_step


def unreadable(error: ValidationError) -> str:
    """Say what is wrong with an item of JobsTable that is no job as this version knows one."""
    first = error.errors()[0]
    name = ".".join(map(str, first["loc"]))
    found = first["input"]
    item = f" {found['pk']!r}" if isinstance(found, Mapping) and "pk" in found else ""
    return f"JobsTable has an item{item} that is no job: {name}: {first['msg']}."


def sentence(text: str) -> str:
    """Return what somebody else said as a sentence, with one full stop at its end."""
    return f"{text.strip().rstrip('.')}."
