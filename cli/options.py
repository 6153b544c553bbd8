"""Options that several commands have."""

from typing import Annotated

import typer

from cli.where import VARIABLE
from shared.models import JobStatus

StackName = Annotated[
    str | None,
    typer.Option(
        "--stack",
        help="The stack's name; `laptop` is that of `catwalk up`. If neither this nor"
        f" {VARIABLE} says it: the last used.",
        show_default=False,
    ),
]
JobIds = Annotated[list[str] | None, typer.Argument(help="Job ids.", show_default=False)]
Statuses = Annotated[
    list[JobStatus] | None,
    typer.Option(
        "--status", help="All jobs in this status; may be repeated.", case_sensitive=False
    ),
]
Folder = Annotated[
    str | None,
    typer.Option(help="All jobs of photos in this folder and below it; / is the whole bucket."),
]
Sku = Annotated[str | None, typer.Option(help="All jobs of this article.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what it would do and cost; do none.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")]
