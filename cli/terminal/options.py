"""Options that several commands have."""

from typing import Annotated

import typer

from cli.errors import CommandError
from cli.stacks.selection import VARIABLE
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
Json = Annotated[bool, typer.Option("--json", help="Write JSON lines, for other programs.")]


def ask(question: str, *, yes: bool) -> None:
    """Ask whether to go on.

    Raises:
        CommandError: the answer is no, or nobody is there to answer.

    """
    if yes:
        return
    try:
        agreed = typer.confirm(question)
    except typer.Abort:  # Ctrl-C, or nobody there to answer
        print()
        agreed = False
    if not agreed:
        raise CommandError("Nothing was done.", "Say --yes to be asked no more.")


def refuse_empty(*, folder: str | None, sku: str | None) -> None:
    """Refuse an option without a value.

    Raises:
        CommandError: one is empty: rather a variable of the shell that is not set than the wish
            for every photo.

    """
    for name, value, instead in (
        ("--folder", folder, "Name a folder; / is the whole bucket."),
        ("--sku", sku, "Name an article."),
    ):
        if value is not None and not value.strip():
            raise CommandError(f"{name} is empty.", instead)


def refuse_questions(*, as_json: bool, dry_run: bool, yes: bool) -> None:
    """Refuse to ask a program: it would not answer.

    Raises:
        CommandError: it is not said beforehand whether to go on.

    """
    if as_json and not (dry_run or yes):
        raise CommandError(
            "With --json nobody is asked.", "Give --dry-run to see the price, --yes to go on."
        )
