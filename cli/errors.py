"""What the command line says when it cannot do what it was asked: a sentence and a next step."""

from shared.errors import CatwalkError


class CommandError(CatwalkError):
    """The command cannot be carried out.

    Attributes:
        next_step: what the person may do about it.

    """

    def __init__(self, message: str, next_step: str) -> None:
        """Keep both sentences."""
        super().__init__(message)
        self.next_step = next_step


def sentence(text: str) -> str:
    """Return what somebody else said as a sentence, with one full stop at its end."""
    return f"{text.strip().rstrip('.')}."
