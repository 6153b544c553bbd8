"""The work of `up`, `down`, `demo` and `sam-local`, in the project's folder.

It is separate from the commands because its imports are slow.
"""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from cli.errors import CommandError, sentence
from cli.stacks import selection
from cli.terminal import output
from cli.terminal.output import say, tell
from local.console import StepList
from local.demo.demo import demo as run_demo
from local.errors import LocalError, StackBusyError
from local.paths import ROOT, STATE, shown
from local.simulator import ControlError
from local.stack import environment, sam_local, stack, usage
from local.stack.code import Code
from local.stack.state import UP

_INTERRUPTED: Final = 130
"""The shell's code for a command that Ctrl-C ended."""
_TROUBLE: Final = (
    BotoCoreError,
    ClientError,
    ControlError,
    httpx.HTTPError,
    OSError,
    subprocess.SubprocessError,
)
"""Errors of the stack's parts, for example when one of them ends or the disk is full."""


def start(host: str, port: int) -> None:
    """Start the stack unless it is up, and print how to use it."""
    with _on_this_machine():
        console = output.console()
        folder = selection.laptop_folder(ROOT)
        with folder.locked(), stack.signals_raise():
            running = stack.find(folder)
            plan = stack.Plan(host=host, port=port)
            if running is None:
                console.print("Starting Catwalk on this machine: no account, no key, no cost.")
                with StepList(console) as steps:
                    running = stack.start(folder, plan, steps)
            else:
                running = _bring_up_to_date(running, plan, console)
            usage.write_env_file(running)
            usage.write_request_file(running)
        selection.remember(selection.laptop_choice(ROOT, running.address, selection.ChosenBy.FOUND))
        usage.print_usage(console, running)


def _bring_up_to_date(running: stack.Stack, plan: stack.Plan, console: Console) -> stack.Stack:
    """Deploy changed code onto the running stack; report if its servers run other code."""
    present, before = Code.present(plan.parameters), running.folder.read().code
    if before is not None and before.deployed == present.deployed:
        console.print("Catwalk is already up on this machine.")
    else:
        console.print(
            "Catwalk is up on this machine with other code than this folder's. Deploying this"
            " folder's; photos and jobs stay."
        )
        with StepList(console) as steps:
            running = stack.update(running, plan, steps)
    if before is None or before.servers != present.servers:
        console.print(
            "The local AWS or the simulated vendor runs other code than this folder's. To restart"
            " them: `catwalk down`, then `catwalk up`. All photos and jobs are then gone.",
        )
    return running


def stop() -> None:
    """Stop the stack, and the remains of a demo that was killed."""
    with _on_this_machine():
        ended = []
        for name in (UP, stack.DEMO):
            folder = stack.folder_of(name)
            try:
                if folder.path.is_dir() and stack.stop(folder):
                    ended.append(name)
            except StackBusyError:
                # A demo under way ends its stack itself.
                if name == UP:
                    raise
        for file in (usage.ENV_FILE, usage.REQUEST_FILE, sam_local.CONFIG_FILE):
            file.unlink(missing_ok=True)
        say(f"Stopped. The logs stay in {shown(STATE)}/." if ended else "Nothing was running.")


def demo(out: Path) -> None:
    """Run the demo; write the images into `out`."""
    with _on_this_machine() as api_key:
        run_demo(output.console(), api_key, out)


def prepare_container() -> None:
    """Prepare `sam local invoke` for the running stack.

    Raises:
        CommandError: no stack is up.

    """
    with _on_this_machine():
        running = stack.find(selection.laptop_folder(ROOT))
        if running is None:
            raise CommandError(
                "No stack is up that a container could reach.",
                "Start one: `catwalk up --host docker`.",
            )
        sam_local.prepare(running)
        sam_local.print_usage(output.console())


@contextlib.contextmanager
def _on_this_machine() -> Iterator[str]:
    """Remove the user's AWS settings and API key from the environment; yield the key."""
    api_key = environment.take_api_key()
    environment.forget_users_aws(os.environ)
    try:
        yield api_key
    except LocalError:
        raise
    except _TROUBLE as problem:
        raise CommandError(
            sentence(f"The local stack failed: {problem}"),
            f"The logs are in {shown(STATE)}/; `catwalk down` stops what still runs.",
        ) from problem
    except KeyboardInterrupt:
        tell("Stopped; nothing was left running.")
        raise SystemExit(_INTERRUPTED) from None
