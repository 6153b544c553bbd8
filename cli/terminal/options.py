"""Options that several commands have."""

import difflib
import re
from collections.abc import Collection
from typing import Annotated, Final

import typer

from cli.errors import CommandError
from shared.models import JobStatus, ReviewState

_SIMILAR: Final = 0.6
"""`difflib`'s ratio from which a word counts as misspelt."""

_REVIEWS: Final = {state.value.replace("_", "-"): state for state in ReviewState}
"""What --review may be."""


def review_state(text: str) -> ReviewState:
    """Return the review of `--review`.

    Raises:
        CommandError: there is no such review.

    """
    word = re.sub(r"[\s_-]+", "-", text.strip().casefold())
    if word in _REVIEWS:
        return _REVIEWS[word]
    raise CommandError(f"--review {text!r} is not a review.", meant(word, _REVIEWS, "Give {}."))


def meant(text: str, known: Collection[str], otherwise: str) -> str:
    """Return which of the known words a mistyped one may mean; else list them.

    Args:
        text: what was typed.
        known: the words.
        otherwise: a sentence with `{}` for the list.

    """
    close = difflib.get_close_matches(text, known, n=1, cutoff=_SIMILAR)
    *first, last = known
    listed = otherwise.format(f"{', '.join(first)} or {last}")
    return f"Did you mean {close[0]!r}? {listed}" if close else listed


StackName = Annotated[
    str | None,
    typer.Option(
        "--stack",
        help="The stack's name; `laptop` is the stack of `catwalk up`. Default:"
        " CATWALK_STACK, else the stack that was used last.",
        show_default=False,
    ),
]
JobIds = Annotated[list[str] | None, typer.Argument(help="Job ids.", show_default=False)]
Statuses = Annotated[
    list[JobStatus] | None,
    typer.Option(
        "--status",
        help="Only jobs in this status; may be repeated.",
        case_sensitive=False,
        metavar="STATUS",
    ),
]
Folder = Annotated[
    str | None,
    typer.Option(help="Only photos in this folder or below it; / is the whole bucket."),
]
Sku = Annotated[str | None, typer.Option(help="Only jobs of this article.")]
ReviewFilter = Annotated[
    ReviewState | None,
    typer.Option(
        "--review",
        parser=review_state,
        autocompletion=lambda: list(_REVIEWS),
        help="Only jobs whose review is so: to-review, approved or refused.",
        metavar="REVIEW",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show what would be done and what it costs; do nothing.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON lines, for other programs.")]


def ask(question: str, *, yes: bool) -> None:
    """Ask for confirmation.

    Raises:
        CommandError: the answer is no, or there is no terminal to answer.

    """
    if yes:
        return
    try:
        agreed = typer.confirm(question)
    except typer.Abort:  # Ctrl-C, or nobody there to answer
        print()
        agreed = False
    if not agreed:
        raise CommandError("Nothing was done.", "To skip the question, give --yes.")


def refuse_empty(*, folder: str | None, sku: str | None) -> None:
    """Refuse an option without a value.

    Raises:
        CommandError: a value is empty. It is more likely an unset shell variable than a request
            for every photo.

    """
    for name, value, instead in (
        ("--folder", folder, "Name a folder; / is the whole bucket."),
        ("--sku", sku, "Name an article."),
    ):
        if value is not None and not value.strip():
            raise CommandError(f"{name} is empty.", instead)


def refuse_questions(*, as_json: bool, dry_run: bool, yes: bool) -> None:
    """Refuse --json without --dry-run or --yes, because a program cannot answer a question.

    Raises:
        CommandError: neither is given.

    """
    if as_json and not (dry_run or yes):
        raise CommandError(
            "With --json no question is asked.",
            "Give --dry-run to see the price, or --yes to continue.",
        )
