"""Options that several commands have."""

import re
from pathlib import Path
from typing import Annotated, Final

import typer

from cli.errors import CommandError, UsageError
from cli.terminal.output import tell
from cli.terminal.usage import close, did_you_mean, listed
from cli.terminal.words import STATUS_WORDS
from shared.models import JobStatus, ReviewState

_INTERRUPTED: Final = 130
_REVIEWS: Final = {state.value.replace("_", "-"): state for state in ReviewState}
"""What --review may be."""
_STATUSES: Final = {
    **{word.casefold().replace(" ", "-"): status for status, word in STATUS_WORDS.items()},
    **{status.value.casefold().replace("_", "-"): status for status in JobStatus},
}
"""What --status may be: the codes and the words."""


def review_state(text: str) -> ReviewState:
    """Return the review of `--review`.

    Raises:
        UsageError: there is no such review.

    """
    word = re.sub(r"[\s_-]+", "-", text.strip().casefold())
    if word in _REVIEWS:
        return _REVIEWS[word]
    meant = did_you_mean(close(word, _REVIEWS))
    raise UsageError(
        f"--review {text!r} is not a review.", f"{meant}Give {listed(list(_REVIEWS))}."
    )


def home_expanded(text: str) -> Path:
    """Return the path of `--to`, with `~` and `~name` as the home folders that they stand for.

    Raises:
        CommandError: nobody has that name.

    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise CommandError(
            f"--to {text!r} names no home folder.",
            f"A name that begins with ~ is written ./{text}.",
        ) from error


def _completed(incomplete: str) -> list[str]:
    """Return what a status may be that begins so: codes in capitals, or names."""
    codes = [each.value for each in JobStatus]
    known = codes if incomplete.isupper() else list(_STATUSES)[: len(STATUS_WORDS)]
    return [word for word in known if word.startswith(incomplete)]


def status(text: str) -> JobStatus:
    """Return the status of `--status`, which may be its code or its word.

    Raises:
        UsageError: there is no such status.

    """
    word = re.sub(r"[\s_-]+", "-", text.strip().casefold())
    if word in _STATUSES:
        return _STATUSES[word]
    meant = did_you_mean(close(word, _STATUSES))
    words = list(_STATUSES)[: len(STATUS_WORDS)]
    raise UsageError(f"--status {text!r} is not a status.", f"{meant}Give {listed(words)}.")


StackName = Annotated[
    str | None,
    typer.Option(
        "--stack",
        help="The stack's name; `laptop` is the stack of `catwalk up`. Default:"
        " CATWALK_STACK, else the stack that was used last.",
        show_default=False,
    ),
]
JobIds = Annotated[
    list[str] | None,
    typer.Argument(
        help="Job ids or their first characters, from the first column of `catwalk jobs`. Leave"
        " them out to choose jobs by the options below.",
        show_default=False,
    ),
]
JobNames = Annotated[
    list[str] | None,
    typer.Argument(
        help="Job ids or their first characters, from the first column of `catwalk jobs`; or a"
        " photo's key, summer/dress.jpg, for all jobs of the photo. Leave them out to choose jobs"
        " by the options below.",
        show_default=False,
    ),
]
Statuses = Annotated[
    list[JobStatus] | None,
    typer.Option(
        "--status",
        parser=status,
        autocompletion=_completed,
        help="Only jobs in this status: done, failed, …; may be repeated.",
        metavar="STATUS",
    ),
]
Folder = Annotated[
    str | None,
    typer.Option(help="Only photos in this folder or below it; / is the whole bucket."),
]
Sku = Annotated[str | None, typer.Option(help="Only jobs of this SKU.")]
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


def ask(question: str, *, yes: bool, as_json: bool = False) -> None:
    """Ask for confirmation, unless --yes is given.

    Raises:
        CommandError: the answer is no, there is no terminal to answer, or --json is given.

    """
    if yes:
        return
    refuse_questions(as_json=as_json, dry_run=False, yes=False)
    try:
        agreed = typer.confirm(question)
    except typer.Abort as abort:
        print()
        if isinstance(abort.__context__, KeyboardInterrupt):
            tell("Nothing was done.")
            raise SystemExit(_INTERRUPTED) from None
        raise CommandError(
            "Nothing was done.", "Nobody is there to answer; --yes skips the question."
        ) from None
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
        ("--sku", sku, "Name a SKU."),
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
