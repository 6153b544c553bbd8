"""Recovery commands: jobs that have ended, dead letters, and jobs that are stuck."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Final

import typer

from cli.errors import CommandError
from cli.jobs.find import full_ids
from cli.jobs.recovery import (
    DEFAULT_STATUSES,
    JobSelection,
    Quote,
    Recovery,
    RecoveryAction,
    Resolution,
    outcome,
    select,
)
from cli.stacks.doctor import key_is_taken
from cli.stacks.stack import Catwalk
from cli.stacks.submission import OTHERS_FOLLOW, WHAT_NEXT, Pause, end_pause, pause_of, try_one
from cli.terminal.options import (
    DryRun,
    Folder,
    JobIds,
    Json,
    Sku,
    StackName,
    Statuses,
    Yes,
    ask,
    refuse_empty,
    refuse_questions,
)
from cli.terminal.output import (
    SHORT_ID,
    Cell,
    Column,
    common_folder,
    console,
    counted,
    credits_of,
    record,
    say,
    say_json,
    show_table,
)
from cli.terminal.output import status as status_of
from cli.terminal.words import error_word, look_of
from shared import clients
from shared.clock import utc_now
from shared.limits.circuit_breaker import Cause
from shared.models import Job, JobStatus
from shared.steps.dead_letters import DeadLetters

commands = typer.Typer()
_PANEL: Final = "Recovery"
_MOST_SHOWN: Final = 20
"""A terminal shows this many jobs; the summary counts all."""


def _add_command(action: RecoveryAction, help_text: str) -> None:
    """Register the command of a recovery action; the three take the same options."""

    @commands.command(action.value, help=help_text, rich_help_panel=_PANEL)
    def command(
        jobs: JobIds = None,
        *,
        status: Statuses = None,
        folder: Folder = None,
        sku: Sku = None,
        dry_run: DryRun = False,
        yes: Yes = False,
        as_json: Json = False,
        stack: StackName = None,
    ) -> None:
        selection = _selection(jobs, status, folder, sku)
        _perform(action, selection, stack, dry_run=dry_run, yes=yes, as_json=as_json)


_add_command(RecoveryAction.RECOPY, "Copy the results again from the paid task. Free.")
_add_command(
    RecoveryAction.RESUME, "Continue a paid task that timed out, was aborted or was lost. Free."
)
_add_command(
    RecoveryAction.REGENERATE, "Start a new attempt of a job that has ended. One credit per job."
)


@commands.command(rich_help_panel=_PANEL)
def resolve(
    jobs: JobIds = None,
    *,
    task_id: Annotated[
        str | None, typer.Option(help="It was charged as this task: use its results. Free.")
    ] = None,
    charged: Annotated[
        bool, typer.Option("--charged", help="It was charged and the task is lost. Free.")
    ] = False,
    not_charged: Annotated[
        bool, typer.Option("--not-charged", help="It was not charged: submit it again, one credit.")
    ] = False,
    folder: Folder = None,
    sku: Sku = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every job of the stack that needs you.")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
    stack: StackName = None,
) -> None:
    """Settle jobs that need you (SUBMIT_UNKNOWN), after a look at the vendor."""
    if (task_id is not None) + charged + not_charged != 1:
        raise CommandError(
            "Say what you found at the vendor.",
            "Give exactly one of --task-id ID, --charged and --not-charged.",
        )
    resolution = Resolution.CHARGED if charged else Resolution.NOT_CHARGED
    if task_id is not None:
        task_id = task_id.strip()
        if not task_id:
            raise CommandError(
                "The task's id is empty.", "Give it as the vendor shows it: --task-id ID."
            )
        resolution = Resolution.TASK
        if len(jobs or ()) != 1:
            raise CommandError("A task belongs to one job.", "Give one job id with --task-id.")
    unknown = [JobStatus.SUBMIT_UNKNOWN] if every or not jobs else None
    selection = _selection(jobs, unknown, folder, sku)
    if not (jobs or folder is not None or sku is not None or every):
        raise CommandError(
            "No jobs are named.",
            "Give job ids (`catwalk jobs` lists them), --folder, --sku or --all.",
        )
    catwalk = Catwalk.chosen(stack, changes=not dry_run)
    recovery = Recovery.of(catwalk)
    quotes = [recovery.quote_resolution(resolution, job) for job in _selected(catwalk, selection)]
    agreed = _agreed(f"resolve as {resolution}", quotes, dry_run=dry_run, yes=yes, as_json=as_json)
    done = [
        _done(job, recovery.resolve(resolution, job, task_id=task_id), as_json=as_json)
        for job in agreed
    ]
    _end(selection, quotes, done)


@commands.command(rich_help_panel=_PANEL)
def redrive(
    *, dry_run: DryRun = False, yes: Yes = False, as_json: Json = False, stack: StackName = None
) -> None:
    """Send the dead letters again, once their cause is fixed.

    The queue deletes a dead letter after 14 days. Such messages are rebuilt from the records.
    """
    refuse_questions(as_json=as_json, dry_run=dry_run, yes=yes)
    catwalk = Catwalk.chosen(stack, changes=not dry_run)
    dead_letters = catwalk.dead_letters
    count = dead_letters.count()
    lost = dead_letters.lost(utc_now())
    mendable = [job for job in lost if dead_letters.can_resend(job)]
    if not as_json:
        say(f"{counted(count, 'dead letter')} in {catwalk.name}.")
        _say_lost(lost, mendable)
        if count or mendable:
            say("A photo among them that has no task yet costs one credit per variant.")
    sent: list[str] = []
    mended = 0
    if (count or mendable) and not dry_run:
        ask("Send them again?", yes=yes)
        sent = _send_letters(dead_letters, count)
        mended = _send_from_records(dead_letters, mendable, sent)
    if as_json:
        say_json({"deadLetters": count, "sent": len(sent), "sentFromRecords": mended})
    elif (count or mendable) and not dry_run:
        say(f"{len(sent) + mended} sent again.")
        if len(sent) < count:
            say("The others are being read by another process; run this again in a minute.")


def _say_lost(lost: Sequence[Job], mendable: Sequence[Job]) -> None:
    if mendable:
        say(f"{len(mendable)} no longer in the queue; the records hold them.")
    for job in lost:
        if job not in mendable:
            say(f"{job.job_id}: the record does not hold its request; send the request again.")


def _send_letters(dead_letters: DeadLetters, count: int) -> list[str]:
    sent = []
    for letter in dead_letters.letters(count):
        dead_letters.redrive(letter)
        sent.append(letter.message_id)
    return sent


def _send_from_records(
    dead_letters: DeadLetters, mendable: Sequence[Job], sent: Sequence[str]
) -> int:
    lost = [job for job in mendable if job.dead_letter not in sent]
    for job in lost:
        dead_letters.resend(job)
    return len(lost)


@commands.command(rich_help_panel=_PANEL)
def reconcile(*, as_json: Json = False, stack: StackName = None) -> None:
    """Recover stuck jobs and lost photos now. This also happens every 15 minutes.

    Waiting photos are not stuck: their messages are in the queue. If submission is paused, the
    output says until when.
    """
    catwalk = Catwalk.chosen(stack, changes=True)
    moved = catwalk.reconcile()
    if as_json:
        say_json(moved)
        return
    for name, count in moved.items():
        say(f"{count} {name}")
    say("Nothing else is stuck." if moved else "Nothing is stuck.")
    pause = pause_of(clients.dynamodb(), catwalk.outputs["JobsTableName"])
    if pause is not None:
        say(_handle_pause(catwalk, pause))


def _handle_pause(catwalk: Catwalk, pause: Pause) -> str:
    """End the pause if its cause is gone; return a sentence about the pause."""
    if pause.cause is Cause.KEY_REFUSED and key_is_taken(catwalk):
        end_pause(clients.dynamodb(), catwalk.outputs["JobsTableName"], pause, utc_now())
        job = try_one(catwalk.jobs, clients.sqs(), catwalk.outputs["SubmitQueueUrl"])
        if job is not None:
            return (
                f"Submission was paused, and the vendor now accepts the key: {job.source_key} is"
                f" tried at once. {OTHERS_FOLLOW}"
            )
    return f"{pause} {WHAT_NEXT}"


def _perform(
    action: RecoveryAction,
    selection: JobSelection,
    stack: str | None,
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    if not selection.job_ids and not selection.statuses:
        if selection.folder is None and selection.sku is None:
            raise CommandError(
                "No jobs are named.",
                "Give job ids (`catwalk jobs` lists them), --status, --folder or --sku.",
            )
        selection = JobSelection(
            statuses=DEFAULT_STATUSES[action], folder=selection.folder, sku=selection.sku
        )
    catwalk = Catwalk.chosen(stack, changes=not dry_run)
    recovery = Recovery.of(catwalk)
    quotes = [recovery.quote(action, job) for job in _selected(catwalk, selection)]
    agreed = _agreed(action.value, quotes, dry_run=dry_run, yes=yes, as_json=as_json)
    done = [_done(job, recovery.perform(action, job), as_json=as_json) for job in agreed]
    _end(selection, quotes, done)


def _end(selection: JobSelection, quotes: Sequence[Quote], done: Sequence[bool]) -> None:
    """End with status 1 if a job could not be recovered.

    A refusal is a failure only for jobs that were named by id.
    """
    refused = any(quote.refusal is not None for quote in quotes)
    if not all(done) or (selection.job_ids and refused):
        raise SystemExit(1)


def _selection(
    jobs: Sequence[str] | None,
    statuses: Sequence[JobStatus] | None,
    folder: str | None,
    sku: str | None,
) -> JobSelection:
    refuse_empty(folder=folder, sku=sku)
    return JobSelection(
        job_ids=tuple(jobs or ()), statuses=frozenset(statuses or ()), folder=folder, sku=sku
    )


def _selected(catwalk: Catwalk, selection: JobSelection) -> list[Job]:
    ids = tuple(full_ids(catwalk, selection.job_ids))
    return list(select(catwalk.jobs, replace(selection, job_ids=ids)))


def _agreed(
    what: str, quotes: Sequence[Quote], *, dry_run: bool, yes: bool, as_json: bool
) -> list[Job]:
    """Show the quotes, ask for consent, and return the jobs to recover."""
    if not quotes:
        raise CommandError(
            "No job matches.", "Check the status, folder and SKU with `catwalk jobs`."
        )
    good = [quote for quote in quotes if quote.refusal is None]
    if as_json:
        return _agreed_as_json(what, quotes, good, dry_run=dry_run, yes=yes)
    terminal = console().is_terminal
    most = _MOST_SHOWN if terminal else len(quotes)
    keys = [quote.job.source_key or "" for quote in quotes[:most]]
    shared = common_folder(keys) if terminal else ""
    if shared:
        say(f"In {shared}", style="dim")
    rows: list[tuple[Cell, ...]] = []
    for quote in quotes[:most]:
        job = quote.job
        price = credits_of(quote.credits) if quote.credits else "free"
        verdict = quote.refusal or ", ".join(filter(None, (price, quote.earlier)))
        error = error_word(job.error.code) if job.error else ""
        job_id = job.job_id[:SHORT_ID] if terminal else job.job_id
        name = (job.source_key or "").removeprefix(shared)
        rows.append((job_id, name, look_of(job), status_of(job.status), error, verdict))
    columns = (
        Column("job", 1),
        Column("photo", 0, 12, 24),
        Column("look", 4, 8),
        Column("status", 2),
        Column("error", 3),
        Column(what, 0, 12),
    )
    show_table(columns, rows)
    if len(quotes) > most:
        say(f"… and {len(quotes) - most} more.")
    refused = Counter(quote.refusal for quote in quotes if quote.refusal is not None)
    cost = sum(quote.credits for quote in good)
    say(
        f"{len(good)} of {counted(len(quotes), 'job')} can be recovered, for"
        f" {f'up to {credits_of(cost)}' if cost else 'no credits'}."
    )
    # A terminal's table may have shortened the reasons.
    if terminal or len(quotes) > most:
        for reason, count in refused.most_common():
            say(f"{count} cannot: {reason}")
    if dry_run or not good:
        if not good and not dry_run:
            raise SystemExit(1)
        return []
    ask(f"Go on, and spend up to {credits_of(cost)}?" if cost else "Go on?", yes=yes)
    return [quote.job for quote in good]


def _agreed_as_json(
    what: str, quotes: Sequence[Quote], good: Sequence[Quote], *, dry_run: bool, yes: bool
) -> list[Job]:
    """Write the quotes as JSON lines, and return the jobs to recover."""
    refuse_questions(as_json=True, dry_run=dry_run, yes=yes)
    for quote in quotes:
        say_json(
            {
                "event": "offer",
                "command": what,
                "jobId": quote.job.job_id,
                "sourceKey": quote.job.source_key,
                "status": quote.job.status.value,
                "credits": quote.credits,
                "refusal": quote.refusal,
                "taskId": quote.takes.task_id if quote.takes is not None else None,
                "ofAttempt": quote.takes.attempt if quote.takes is not None else None,
            }
        )
    if dry_run:
        return []
    if not good:
        raise SystemExit(1)
    return [quote.job for quote in good]


def _done(before: Job, after: Job | None, *, as_json: bool) -> bool:
    """Report what was done; return whether anything was."""
    if as_json:
        document = {"event": "done", "jobId": before.job_id}
        say_json({**document, "job": record(after) if after is not None else None})
        return after is not None
    done = "it has changed meanwhile; nothing was done."
    if after is not None:
        done = outcome(before, after, before.source_key or "")
    say(f"{before.job_id}: {done}")
    return after is not None
