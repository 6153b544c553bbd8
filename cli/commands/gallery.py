"""`catwalk gallery`: before and after, in a browser."""

from typing import Annotated, Final

import typer

from cli.stacks.stack import Catwalk
from cli.terminal.options import StackName

commands = typer.Typer()
_PANEL: Final = "Photos"
_MOST_PORT: Final = 65_535


@commands.command("gallery", rich_help_panel=_PANEL)
def show_gallery(
    *,
    port: Annotated[
        int | None,
        typer.Option(
            help="Port on 127.0.0.1; 0 takes any free one. Default: 8017, else any.",
            min=0,
            max=_MOST_PORT,
            show_default=False,
        ),
    ] = None,
    opens: Annotated[bool, typer.Option("--open/--no-open", help="Open the browser.")] = True,
    stack: StackName = None,
) -> None:
    """Compare before and after in the browser, and recover jobs there."""
    # Importing its packages takes half a second, which the help of all commands does not need.
    from cli.gallery.server import serve  # noqa: PLC0415  as said

    serve(Catwalk.chosen(stack), port=port, opens=opens)
