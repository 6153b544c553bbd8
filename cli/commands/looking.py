"""Looking: at jobs, and at what was spent."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import typer
from rich.table import Table

from cli.options import StackName
from cli.output import show, shown
from cli.stack import Catwalk
from shared.ledger import Grouping, add_up

looking = typer.Typer()
_MOST_DAYS: Final = 3_660


@looking.command("credits")
def show_credits(
    *,
    by: Annotated[Grouping, typer.Option(help="How to add up.")] = Grouping.DAY,
    days: Annotated[
        int, typer.Option(help="So many UTC days back, today included.", min=1, max=_MOST_DAYS)
    ] = 30,
    stack: StackName = None,
) -> None:
    """Show what was spent, by day, article or folder."""
    today = datetime.now(UTC).date()
    first = today - timedelta(days=days - 1)
    nameless = "(top)" if by is Grouping.FOLDER else "(none)"
    sums = add_up(Catwalk.chosen(stack).ledger.entries(first, today), by)
    table = Table(box=None)
    table.add_column(by.value, no_wrap=True)
    table.add_column("credits", justify="right")
    table.add_column("unknown", justify="right")
    for name, total in sums.items():
        table.add_row(shown(name or nameless), str(total.credits), str(total.unknown or ""))
    spent, unknown = (
        sum(total.credits for total in sums.values()),
        sum(total.unknown for total in sums.values()),
    )
    table.add_row("all", str(spent), str(unknown or ""), style="bold")
    show(table)
