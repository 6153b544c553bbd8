"""Second chances, dead letters, and what stands still."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Final

import typer
from rich.table import Table

from cli.chances import IF_NOT_SAID, Chance, Finding, Offer, Selection, select
from cli.errors import CommandError
from cli.options import DryRun, Folder, JobIds, Sku, StackName, Statuses, Yes
from cli.output import console, credits_of, show, shown
from cli.stack import Catwalk
from shared.models import Job, JobStatus

mending = typer.Typer()
_MOST_SHOWN: Final = 20
"""Longer lists are cut on a terminal; the summary below them counts all."""


@mending.command()
def recopy(
    jobs: JobIds = None,
    *,
    status: Statuses = None,
    folder: Folder = None,
    sku: Sku = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    stack: StackName = None,
) -> None:
    """Copy results again from the task that was paid for. Free."""
    _take(Chance.RECOPY, _selection(jobs, status, folder, sku), stack, dry_run=dry_run, yes=yes)


@mending.command()
def resume(
    jobs: JobIds = None,
    *,
    status: Statuses = None,
    folder: Folder = None,
    sku: Sku = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    stack: StackName = None,
) -> None:
    """Go on with a paid task that was given up: timed out, aborted, lost. Free."""
    _take(Chance.RESUME, _selection(jobs, status, folder, sku), stack, dry_run=dry_run, yes=yes)


@mending.command()
def regenerate(
    jobs: JobIds = None,
    *,
    status: Statuses = None,
    folder: Folder = None,
    sku: Sku = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    stack: StackName = None,
) -> None:
    """Start the next attempt of a job that has ended. One credit each."""
    selection = _selection(jobs, status, folder, sku)
    _take(Chance.REGENERATE, selection, stack, dry_run=dry_run, yes=yes)


@mending.command()
def resolve(
    jobs: JobIds = None,
    *,
    task_id: Annotated[
        str | None, typer.Option(help="It was charged as this task; take its results. Free.")
    ] = None,
    charged: Annotated[
        bool, typer.Option("--charged", help="It was charged; the task is lost. Free.")
    ] = False,
    not_charged: Annotated[
        bool, typer.Option("--not-charged", help="It was not charged: submit again, one credit.")
    ] = False,
    folder: Folder = None,
    sku: Sku = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every SUBMIT_UNKNOWN job of the stack.")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    stack: StackName = None,
) -> None:
    """Settle SUBMIT_UNKNOWN jobs, after a look at what the vendor says of them."""
    if (task_id is not None) + charged + not_charged != 1:
        raise CommandError(
            "It is not said what was found at the vendor.",
            "Give one of --task-id ID, --charged and --not-charged.",
        )
    finding = Finding.CHARGED if charged else Finding.NOT_CHARGED
    if task_id is not None:
        task_id = task_id.strip()
        if not task_id:
            raise CommandError(
                "The task's id is empty.", "Give it as the vendor shows it: --task-id ID."
            )
        finding = Finding.TASK
        if len(jobs or ()) != 1:
            raise CommandError(
                "A task belongs to one job.", "Give one job id together with --task-id."
            )
    unknown = [JobStatus.SUBMIT_UNKNOWN] if every or not jobs else None
    selection = _selection(jobs, unknown, folder, sku)
    if not (jobs or folder is not None or sku is not None or every):
        raise CommandError(
            "It is not said which jobs are meant.", "Name jobs, --folder, --sku or --all."
        )
    catwalk = Catwalk.chosen(stack, changes=not dry_run)
    chances = catwalk.chances
    offers = [chances.offer_resolve(finding, job) for job in _selected(catwalk, selection)]
    for job in _agreed(f"resolve as {finding}", offers, dry_run=dry_run, yes=yes):
        _done(job, chances.resolve(finding, job, task_id=task_id))


@mending.command()
def redrive(*, dry_run: DryRun = False, yes: Yes = False, stack: StackName = None) -> None:
    """Send the dead letters again, once what they died of is mended."""
    catwalk = Catwalk.chosen(stack, changes=not dry_run)
    dead_letters = catwalk.dead_letters
    count = dead_letters.count()
    print(f"{count} dead letter{'' if count == 1 else 's'} in {catwalk.name}.")
    if not count:
        return
    print("Photos among them that have no task yet cost a credit each, one a variant.")
    if dry_run:
        return
    _ask("Send them again?", yes=yes)
    sent = 0
    for letter in dead_letters.letters(count):
        dead_letters.redrive(letter)
        sent += 1
    print(f"{sent} sent again.")
    if sent < count:
        print("The others are being looked at just now; run this again in a minute.")


@mending.command()
def reconcile(*, stack: StackName = None) -> None:
    """Have what stands still moved on now; it is done every 15 minutes anyway."""
    moved = Catwalk.chosen(stack, changes=True).reconcile()
    for name, count in moved.items():
        print(f"{count} {name}")
    print("Nothing else stands still." if moved else "Nothing stands still.")


def _take(
    chance: Chance, selection: Selection, stack: str | None, *, dry_run: bool, yes: bool
) -> None:
    if not selection.job_ids and not selection.statuses:
        if selection.folder is None and selection.sku is None:
            raise CommandError(
                "It is not said which jobs are meant.", "Name jobs, --status, --folder or --sku."
            )
        selection = Selection(
            statuses=IF_NOT_SAID[chance], folder=selection.folder, sku=selection.sku
        )
    catwalk = Catwalk.chosen(stack, changes=not dry_run)
    chances = catwalk.chances
    offers = [chances.offer(chance, job) for job in _selected(catwalk, selection)]
    for job in _agreed(chance.value, offers, dry_run=dry_run, yes=yes):
        _done(job, chances.take(chance, job))


def _selection(
    jobs: Sequence[str] | None,
    statuses: Sequence[JobStatus] | None,
    folder: str | None,
    sku: str | None,
) -> Selection:
    for name, value, instead in (
        ("--folder", folder, "Name a folder; / is the whole bucket."),
        ("--sku", sku, "Name an article."),
    ):
        if value is not None and not value.strip():
            # Rather a variable of the shell that is not set than the wish for every photo.
            raise CommandError(f"{name} is empty.", instead)
    return Selection(
        job_ids=tuple(jobs or ()), statuses=frozenset(statuses or ()), folder=folder, sku=sku
    )


def _selected(catwalk: Catwalk, selection: Selection) -> list[Job]:
    try:
        return list(select(catwalk.jobs, selection))
    except LookupError as error:
        raise CommandError(
            str(error.args[0]), "A record's job_id is what is meant; see JobsTable."
        ) from error


def _agreed(what: str, offers: Sequence[Offer], *, dry_run: bool, yes: bool) -> list[Job]:
    """Show what would be done and what it costs, ask, and return the jobs that are to be done."""
    if not offers:
        raise CommandError(
            "No job matches.", "Look at its status, folder and article again; see JobsTable."
        )
    good = [offer for offer in offers if offer.refusal is None]
    table = Table(box=None)
    for column in ("job", "photo", "status", "error", what):
        table.add_column(column, overflow="fold")
    most = _MOST_SHOWN if console().is_terminal else len(offers)
    for offer in offers[:most]:
        job = offer.job
        verdict = offer.refusal or (credits_of(offer.credits) if offer.credits else "free")
        error = job.error.code.value if job.error else ""
        cells = (job.job_id, job.source_key or "", job.status.value, error, verdict)
        table.add_row(*map(shown, cells))
    show(table)
    if len(offers) > most:
        print(f"… and {len(offers) - most} more.")
    refused = Counter(offer.refusal for offer in offers if offer.refusal is not None)
    cost = sum(offer.credits for offer in good)
    print(
        f"{len(good)} of {len(offers)} job{'' if len(offers) == 1 else 's'} can be done, for"
        f" {f'up to {credits_of(cost)}' if cost else 'no credits'}."
    )
    if len(offers) > most:
        for reason, count in refused.most_common():
            print(f"{count} cannot: {reason}")
    if dry_run or not good:
        if not good and not dry_run:
            raise SystemExit(1)
        return []
    _ask(f"Go on, and spend up to {credits_of(cost)}?" if cost else "Go on?", yes=yes)
    return [offer.job for offer in good]


def _ask(question: str, *, yes: bool) -> None:
    if yes:
        return
    try:
        agreed = typer.confirm(question)
    except typer.Abort:  # Ctrl-C, or nobody there to answer
        print()
        agreed = False
    if not agreed:
        raise CommandError("Nothing was done.", "Say --yes to be asked no more.")


def _done(before: Job, after: Job | None) -> None:
    photo = shown(before.source_key or "").plain
    if after is None:
        done = "it has moved on meanwhile; nothing was done."
    elif after.terminal and after.status is not before.status:
        done = f"{photo} is {after.status} now."
    elif after.terminal:
        done = f"{photo} is looked at anew, as if it were dropped again."
    else:
        done = f"{photo} goes on as attempt {after.attempt}."
    print(f"{before.job_id}: {done}")
