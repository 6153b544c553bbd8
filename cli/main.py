"""The `catwalk` command. An error is shown as a sentence and a next step, without a traceback."""

import os
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Annotated, Any, Final, NoReturn

import typer
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import ValidationError
from typer.core import TyperGroup
from typer.exceptions import Abort, TyperException
from typer.main import get_group

from cli import __version__
from cli.errors import FIX_ITEM, CommandError, sentence, unreadable
from cli.terminal import output, usage
from local.errors import LocalError

_INTERRUPTED: Final = 130
"""The shell's code for a command that Ctrl-C ended."""
_WRONG_USAGE: Final = 2
_VERBOSE: Final = "--verbose"

_MODULES: Final = {
    "up": "local",
    "down": "local",
    "demo": "local",
    "sam-local": "local",
    "deploy": "deploy",
    "set-key": "deploy",
    "doctor": "deploy",
    "drop": "upload",
    "shoot": "shoot",
    "gallery": "gallery",
    "review": "review",
    "pull": "pull",
    "sheet": "sheet",
    "jobs": "inspect",
    "show": "inspect",
    "watch": "inspect",
    "credits": "inspect",
    "listen": "listen",
    "recopy": "recover",
    "resume": "recover",
    "regenerate": "recover",
    "resolve": "recover",
    "redrive": "recover",
    "reconcile": "recover",
}
"""The module of each command in `cli.commands`, in the order of the help."""


class _Commands(Mapping[str, Any]):
    """The commands by name. A module is imported when one of its commands is used.

    Importing all of them takes half a second.
    """

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401  Typer names no public type
        return _commands_of(_MODULES[name])[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


@cache
def _commands_of(module: str) -> Mapping[str, Any]:
    """Return the commands of a module by name."""
    return get_group(import_module(f"cli.commands.{module}").commands).commands


class _Group(TyperGroup):
    """Typer's group, with commands that are imported when they are used."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401  Typer's
        super().__init__(**(attributes | {"commands": _Commands()}))


app = typer.Typer(
    cls=_Group,
    help="Catwalk: apparel photos in, AI fashion-model images out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:  # noqa: FBT001  Typer passes the option's value
    if asked:
        output.say(f"catwalk {__version__}")
        raise typer.Exit


@app.callback()
def catwalk(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
    verbose: Annotated[
        bool, typer.Option(_VERBOSE, help="Show the traceback of an error.")
    ] = False,
) -> None:
    """Catwalk: apparel photos in, AI fashion-model images out."""


def main() -> NoReturn:
    """Run the command.

    Raises:
        SystemExit: always, with the exit status: 0 for success, 1 for an error, 2 for an invalid
            command line, 130 after Ctrl-C.

    """
    output.open_closed()
    output.escape_unencodable()
    if os.environ.get("AWS_REGION"):
        # The AWS CLI reads AWS_REGION first; botocore ignores it.
        os.environ["AWS_DEFAULT_REGION"] = os.environ["AWS_REGION"]
    arguments, verbose = _without_verbose(sys.argv[1:])
    try:
        # Typer would write a wrong command line into a box and leave out what was typed.
        code = app(arguments, prog_name="catwalk", standalone_mode=False)
    except KeyboardInterrupt:
        output.tell("Stopped.")
        raise SystemExit(_INTERRUPTED) from None
    except Abort:
        output.tell("Stopped.")
        raise SystemExit(_INTERRUPTED) from None
    except TyperException as error:
        if not arguments:
            output.say_whole(error.format_message())
        else:
            output.complain(*usage.explained(error, arguments, _MODULES))
        raise SystemExit(_WRONG_USAGE) from None
    except Exception as error:
        if verbose:
            raise
        output.complain(*_explained(error))
        raise SystemExit(error.exit_status if isinstance(error, CommandError) else 1) from None
    raise SystemExit(code or 0)


def _explained(error: Exception) -> tuple[str, str]:
    """Return the message for an error, and the next step."""
    match error:
        case CommandError():
            return str(error), error.next_step
        case LocalError():
            message, _, more = str(error).partition("\n")
            return message, more or "See the logs below .catwalk/."
        case ValidationError(title="Job"):
            return unreadable(error), FIX_ITEM
        case ClientError():
            return (
                sentence(f"AWS refused the request: {error}"),
                "Run `catwalk doctor`: it checks the credentials, permissions and the region.",
            )
        case BotoCoreError():
            return (
                sentence(f"AWS cannot be reached: {error}"),
                "Run `catwalk doctor`: it checks the credentials, the region and the network.",
            )
        case OSError():
            return sentence(str(error)), "Fix the cause and try again."
        case _:
            return (
                sentence(f"This is a bug in Catwalk: {type(error).__name__}: {error}"),
                "Run the command again with --verbose, and open an issue with its output.",
            )


def _without_verbose(arguments: list[str]) -> tuple[list[str], bool]:
    """Remove --verbose, which may stand anywhere, and return whether it was given."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    verbose = _VERBOSE in arguments[:end]
    return [a for n, a in enumerate(arguments) if n >= end or a != _VERBOSE], verbose
