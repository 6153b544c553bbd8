"""What was wrong with a command line, as a sentence and a next step."""

import difflib
import re
from collections.abc import Collection, Sequence
from typing import Any, Final

from pydantic import ValidationError
from typer.exceptions import TyperException

_SIMILAR: Final = 0.6
"""`difflib`'s ratio from which a word counts as misspelt."""


def explained(
    error: TyperException, arguments: Sequence[str], commands: Collection[str]
) -> tuple[str, str]:
    """Return what was wrong with a command line, and what to do.

    Args:
        error: what Typer raised.
        arguments: the command line.
        commands: the names of all commands.

    """
    context: Any = getattr(error, "ctx", None)
    # Typer does not say in which command an option lacks its value.
    command = next((word for word in arguments if word in commands), "")
    path = context.command_path if context is not None else f"catwalk {command}".strip()
    look = f"`{path} -h` shows how it is used."
    parameter: Any = getattr(error, "param", None)
    cause = error.__cause__
    if isinstance(cause, ValidationError) and parameter is not None:
        return _bad_value(cause, parameter, look)
    option: str | None = getattr(error, "option_name", None)
    possible: Sequence[str] | None = getattr(error, "possibilities", None)
    message = error.format_message().strip().rstrip(".")
    if option is not None and message.startswith("No such option"):
        meant = close(option, possible or _options_of(context))
        return f"`{path}` has no option {option}.", f"{did_you_mean(meant)}{look}"
    unknown = re.match(r"No such command '(.*?)'", message)
    if unknown is not None:
        meant = close(unknown[1], commands)
        lists = f"{did_you_mean(meant)}`catwalk -h` lists the commands."
        return f"There is no command {unknown[1]!r}.", lists
    if parameter is not None and message.startswith("Missing"):
        name = _named(parameter)
        article = "" if name.startswith("--") or name.endswith("s") else "a "
        about = (getattr(parameter, "help", None) or "").partition(". ")[0].rstrip(".")
        return f"`{path}` needs {article}{name}.", f"{about}. {look}" if about else look
    if option is not None:
        lacks = "requires an argument" in message
        return f"{option} {'needs a' if lacks else 'takes no'} value.", look
    extra = re.search(r"unexpected extra arguments?(?:\(s\))? \((.*)\)", message)
    if extra is not None:
        return f"`{path}` takes no argument {extra[1]!r}.", look
    return f"{message}.", look


def close(word: str, known: Collection[str]) -> str | None:
    """Return the known word that a mistyped one probably means."""
    found = difflib.get_close_matches(word, known, n=1, cutoff=_SIMILAR)
    return found[0] if found else None


def did_you_mean(word: str | None) -> str:
    """Return the question before a next step; empty without a word."""
    return f"Did you mean {word}? " if word is not None else ""


def listed(words: Sequence[str]) -> str:
    """Return words as a choice: `a`, `a or b`, `a, b or c`."""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def _bad_value(cause: ValidationError, parameter: Any, look: str) -> tuple[str, str]:  # noqa: ANN401  Typer names no public type
    first = cause.errors()[0]
    named, value = _named(parameter), str(first["input"])
    low, high = getattr(parameter, "min", None), getattr(parameter, "max", None)
    kind = first["type"]
    if kind.startswith(("less_than", "greater_than", "int_", "float_")):
        size = ""
        if low is not None:
            size = f" from {low} to {high}" if high is not None else f" of {low} or more"
        wrong = {"less": "is too large", "greater": "is too small"}.get(kind.partition("_")[0])
        return f"{named} {value!r} {wrong or 'is not a number'}.", f"Give a number{size}."
    choices = re.findall(r"'([^']*)'", first["msg"])[1:]
    if "is not one of" in first["msg"] and choices:
        meant = did_you_mean(close(value.casefold(), choices))
        return f"{named} {value!r} is not known.", f"{meant}Give {listed(choices)}."
    return f"{named} {value!r} cannot be used: {first['msg']}.", look


def _named(parameter: Any) -> str:  # noqa: ANN401  Typer names no public type
    """Return an option as it is written, `--images`, or an argument's name."""
    options = [name for name in parameter.opts if name.startswith("--")]
    return str(options[0] if options else parameter.name)


def _options_of(context: Any) -> list[str]:  # noqa: ANN401  Typer names no public type
    if context is None:
        return []
    return [
        name
        for parameter in context.command.params
        for name in parameter.opts
        if name.startswith("--")
    ]
