"""The command behind make demo, make up and make down: `python -m local …`."""

import argparse
import os
import subprocess
import sys

import httpx
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from . import environment, ministack, samlocal, stack, usage
from .console import StepList, make_console
from .demo import demo
from .errors import LocalError, StackBusyError
from .paths import STATE, shown
from .simulator import ControlError

_TROUBLE = (
    BotoCoreError,
    ClientError,
    ControlError,
    httpx.HTTPError,
    OSError,
    subprocess.SubprocessError,
)
"""What the stack's parts raise when one of them ends, or the disk is full."""

_INTERRUPTED = 130
"""The shell's code for a command that Ctrl-C ended."""


def main(argv: list[str] | None = None) -> int:
    """Do as told, and return the exit code."""
    arguments = _arguments(argv)
    api_key = environment.take_api_key()
    environment.forget_users_aws(os.environ)
    console = make_console()
    try:
        match arguments.command:
            case "demo":
                demo(console, api_key)
            case "up":
                _up(console, arguments.host, arguments.port)
            case "sam-local":
                _sam_local(console)
            case _:
                _down(console)
    except LocalError as problem:
        print(f"\n{problem}", file=sys.stderr)
        return 1
    except _TROUBLE as problem:
        print(
            f"\nThe local stack ran into trouble: {problem}.\nThe logs are in {shown(STATE)}/;"
            " `make down` stops whatever still runs.",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("\nStopped; nothing was left running.", file=sys.stderr)
        return _INTERRUPTED
    return 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m local",
        description="Catwalk on this machine: the real template on a local AWS, no account needed.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("demo", help="run the whole pipeline once, and leave nothing running")
    up = commands.add_parser("up", help="start the stack and leave it running")
    up.add_argument("--port", type=int, default=0, help="of the local AWS (any free one)")
    up.add_argument(
        "--host",
        choices=(ministack.LOOPBACK, "0.0.0.0"),  # noqa: S104  for containers, when asked for
        default=ministack.LOOPBACK,
        help="to listen on: loopback, or everywhere, so that containers can reach it",
    )
    commands.add_parser("sam-local", help="make `sam local invoke` reach the stack that is up")
    commands.add_parser("down", help="stop it")
    return parser.parse_args(argv)


def _up(console: Console, host: str, port: int) -> None:
    folder = stack.folder_of(stack.UP)
    with folder.locked(), stack.signals_raise():
        running = stack.find(folder)
        if running is None:
            console.print("Starting Catwalk on this machine: no account, no key, no cost.")
            with StepList(console) as steps:
                running = stack.start(folder, stack.Plan(host=host, port=port), steps)
        else:
            console.print("Catwalk is already up on this machine.")
        usage.write_env_file(running)
        usage.write_request_file(running)
    usage.print_usage(console, running)


def _sam_local(console: Console) -> None:
    running = stack.find(stack.folder_of(stack.UP))
    if running is None:
        raise LocalError("No stack is up; run `make up HOST=0.0.0.0` first.")
    samlocal.prepare(running)
    samlocal.print_usage(console)


def _down(console: Console) -> None:
    ended = []
    for name in (stack.UP, stack.DEMO):
        folder = stack.folder_of(name)
        try:
            if folder.path.is_dir() and stack.stop(folder):
                ended.append(name)
        except StackBusyError:
            # A demo under way ends its stack itself.
            if name == stack.UP:
                raise
    usage.ENV_FILE.unlink(missing_ok=True)
    usage.REQUEST_FILE.unlink(missing_ok=True)
    samlocal.CONFIG_FILE.unlink(missing_ok=True)
    if ended:
        console.print(f"Stopped. The logs stay in {shown(STATE)}/.")
    else:
        console.print("Nothing was running.")


if __name__ == "__main__":
    sys.exit(main())
