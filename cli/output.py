"""What a person reads: right on a terminal, narrow, piped or without colour."""

import sys
from io import TextIOWrapper
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from shared.models import JobStatus

PIPE_WIDTH: Final = 10_000
"""Columns of what is no terminal: there a line is never broken."""
STYLES: Final = {
    JobStatus.ACCEPTED: "dim",
    JobStatus.SUBMITTING: "dim",
    JobStatus.SUBMIT_UNKNOWN: "magenta",
    JobStatus.RUNNING: "cyan",
    JobStatus.SUCCEEDED: "green",
    JobStatus.PARTIAL: "yellow",
    JobStatus.FAILED: "red",
    JobStatus.REJECTED: "red",
}
"""How a status looks where there is colour; it is always written out as well."""


def take_any_letter() -> None:
    """Let output go on where the terminal's encoding lacks a letter: photos have any name."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def console() -> Console:
    """Return the console of what was asked for: standard output, as it is now."""
    made = Console(highlight=False)
    return made if made.is_terminal else Console(width=PIPE_WIDTH, highlight=False)


def say(text: str) -> None:
    """Write a line to standard output; a terminal's lines break between words, a pipe's never."""
    made = console()
    made.print(shown(text), soft_wrap=not made.is_terminal)


def tell(text: str) -> None:
    """Write a line that is no part of what was asked for: it goes to standard error."""
    Console(stderr=True, highlight=False).print(shown(text), style="dim", soft_wrap=True)


def show(table: Table) -> None:
    """Write a table."""
    console().print(table)


def complain(message: str, next_step: str) -> None:
    """Write what went wrong and what to do to standard error."""
    made = Console(stderr=True, highlight=False)
    for text, style in ((message, "red"), (next_step, "")):
        made.print(shown(text), style=style, soft_wrap=True)


def shown(text: str) -> Text:
    """Return a text that is shown as it is: a photo's name is neither markup nor a command."""
    return Text(
        "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    )


def status(value: JobStatus) -> Text:
    """Return a status as it is shown."""
    return Text(value.value, style=STYLES[value])


def credits_of(count: int) -> str:
    """Return a number of credits in words: `1 credit`."""
    return f"{count} credit{'' if count == 1 else 's'}"
