"""The `catwalk` command: what goes wrong is a sentence and a next step, never a traceback."""

import os
import sys
from typing import Annotated, Final, NoReturn

import typer
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import ValidationError

from cli.commands.deploy import setting_up
from cli.commands.gallery import gallery
from cli.commands.inspect import looking
from cli.commands.local import starting
from cli.commands.recover import mending
from cli.commands.upload import dropping
from cli.errors import MEND_ITEM, CommandError, sentence, unreadable
from cli.terminal import output
from local.errors import LocalError

_INTERRUPTED: Final = 130
"""The shell's code for a command that Ctrl-C ended."""
_VERBOSE: Final = "--verbose"

app = typer.Typer(
    help="Catwalk: apparel photos in, AI fashion-model images out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for commands in (starting, setting_up, dropping, looking, gallery, mending):
    app.add_typer(commands)


@app.callback()
def catwalk(
    *,
    verbose: Annotated[
        bool, typer.Option(_VERBOSE, help="Show the traceback of whatever goes wrong.")
    ] = False,
) -> None:
    """Catwalk: apparel photos in, AI fashion-model images out."""


def main() -> NoReturn:
    """Run the command.

    Raises:
        SystemExit: always, with the exit status: 0, 1 for what could not be done, 2 for a command
            line that makes no sense, 130 after Ctrl-C.

    """
    output.open_closed()
    output.take_any_letter()
    if os.environ.get("AWS_REGION"):
        # The AWS CLI goes by this one first; boto3 does not know it.
        os.environ["AWS_DEFAULT_REGION"] = os.environ["AWS_REGION"]
    arguments, verbose = _verbose_first(sys.argv[1:])
    try:
        app(arguments, prog_name="catwalk")
    except KeyboardInterrupt:
        output.tell("Stopped.")
        raise SystemExit(_INTERRUPTED) from None
    except Exception as error:
        if verbose:
            raise
        output.complain(*_said(error))
    raise SystemExit(1)


def _said(error: Exception) -> tuple[str, str]:
    """Return what went wrong, and what to do about it."""
    match error:
        case CommandError():
            return str(error), error.next_step
        case LocalError():
            message, _, more = str(error).partition("\n")
            return message, more or "See the logs below .catwalk/."
        case ValidationError(title="Job"):
            return unreadable(error), MEND_ITEM
        case ClientError():
            return (
                sentence(f"AWS refused: {error}"),
                "Check the credentials, their rights and the region: `catwalk doctor`.",
            )
        case BotoCoreError():
            return (
                sentence(f"AWS cannot be asked: {error}"),
                "Check the credentials, the region and the network: `catwalk doctor`.",
            )
        case OSError():
            return sentence(str(error)), "Mend that, and try again."
        case _:
            return (
                sentence(f"This is a bug in Catwalk: {type(error).__name__}: {error}"),
                "Run it again with --verbose, and open an issue with what it shows.",
            )


def _verbose_first(arguments: list[str]) -> tuple[list[str], bool]:
    """Take --verbose from wherever it stands: it belongs to no command."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    verbose = _VERBOSE in arguments[:end]
    return [a for n, a in enumerate(arguments) if n >= end or a != _VERBOSE], verbose
