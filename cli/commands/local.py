"""Catwalk on this machine: `up`, `down`, `demo`; no account, no key, no cost."""

# cli.stacks.laptop is imported by the commands that need it: every other one would wait for it.
# ruff: noqa: PLC0415

from enum import StrEnum
from typing import Annotated, Final

import typer

from cli.stacks import selection
from cli.stacks.project import enter, find_project
from cli.terminal.output import say
from local.stack.interfaces import ALL, DOCKER, LOOPBACK

commands = typer.Typer()
_PANEL: Final = "This machine"


class Host(StrEnum):
    """What a laptop stack listens on."""

    LOOPBACK = LOOPBACK
    DOCKER = DOCKER
    ALL = ALL


@commands.command(rich_help_panel=_PANEL)
def up(
    *,
    host: Annotated[
        Host,
        typer.Option(
            help="To listen on: loopback; `docker`, so that this machine's containers reach it too;"
            " or everywhere, which opens it to the network."
        ),
    ] = Host.LOOPBACK,
    port: Annotated[
        int, typer.Option(help="Of the local AWS; 0 is any free one.", min=0, max=65535)
    ] = 0,
) -> None:
    """Start the stack on this machine and leave it running: no account, no key, no cost."""
    enter()
    from cli.stacks import laptop

    laptop.start(host.value, port)


@commands.command(rich_help_panel=_PANEL)
def down() -> None:
    """Stop the stack that `up` started; nothing in it is kept."""
    project = find_project()
    selection.forget_laptop(project.path)
    if not (project.state.is_dir() and project.python.exists()):
        say("Nothing was running.")
        return
    enter(tools=False)
    from cli.stacks import laptop

    laptop.stop()


@commands.command(rich_help_panel=_PANEL)
def demo() -> None:
    """Run the whole pipeline once on this machine: sample photos in, model images out."""
    project = enter()
    from cli.stacks import laptop

    laptop.demo(project.images)


@commands.command("sam-local", rich_help_panel=_PANEL)
def sam_local() -> None:
    """Make `sam local invoke` reach the stack of `up --host docker` (needs Docker)."""
    enter()
    from cli.stacks import laptop

    laptop.prepare_container()
