"""Commands for the stack on this machine: no account, no key, no cost."""

# The commands import cli.stacks.laptop when they need it, because the import is slow.
# ruff: noqa: PLC0415

from enum import StrEnum
from typing import Annotated, Final

import typer

from cli.stacks import selection
from cli.stacks.project import enter, find_project
from cli.terminal.output import say
from local.interfaces import ALL, DOCKER, LOOPBACK

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
            help="Where to listen: loopback; `docker`, for this machine's containers too; or every"
            " interface, which opens the stack to the network."
        ),
    ] = Host.LOOPBACK,
    port: Annotated[
        int, typer.Option(help="Port of the local AWS; 0 takes any free one.", min=0, max=65535)
    ] = 0,
) -> None:
    """Start the stack on this machine; no account, no key, no cost."""
    enter()
    from cli.stacks import laptop

    laptop.start(host.value, port)


@commands.command(rich_help_panel=_PANEL)
def down() -> None:
    """Stop the stack of `up` and delete its photos and jobs."""
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
    """Run sample photos through the whole pipeline on this machine."""
    project = enter()
    from cli.stacks import laptop

    laptop.demo(project.images)


@commands.command("sam-local", rich_help_panel=_PANEL)
def sam_local() -> None:
    """Let `sam local invoke` reach the stack of `up --host docker`. Needs Docker."""
    enter()
    from cli.stacks import laptop

    laptop.prepare_container()
