"""Commands that read: jobs and spent credits."""

import time
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from cli.jobs.browse import Filter
from cli.jobs.find import browser, jobs_named
from cli.jobs.recovery import Recovery
from cli.jobs.timeline import Tone, execution_url, next_steps, timeline, took
from cli.jobs.watch import Screen, Watcher, note_of
from cli.stacks.stack import Catwalk
from cli.terminal.options import Folder, Json, ReviewFilter, Sku, StackName, Statuses, refuse_empty
from cli.terminal.output import (
    SHORT_ID,
    Cell,
    Column,
    ago,
    common_folder,
    console,
    counted,
    credits_of,
    duration,
    record,
    say,
    say_hanging,
    say_json,
    say_whole,
    show_table,
    shown,
    size_of,
    status,
    tell,
)
from cli.terminal.words import error_word, look_of, model_word, review_words, scene_word
from cli.upload import parsing
from local.console import is_live, live
from shared import clients
from shared.models import Job, JobStatus
from shared.records.ledger import Grouping, Sum, add_up

commands = typer.Typer()
_PANEL: Final = "Jobs"
_MOST_DAYS: Final = 3_660
_PAGE: Final = 500
"""Jobs per printed table; the first table of a long list appears at once."""
_WATCH_SECONDS: Final = 2.0
_INTERRUPTED: Final = 130
_TONES: Final = {Tone.PLAIN: "", Tone.GOOD: "green", Tone.BAD: "red", Tone.DOUBT: "yellow"}
_FACT: Final = 10
"""Columns for the name of a fact about a job."""


@commands.command("jobs", rich_help_panel=_PANEL)
def show_jobs(
    text: Annotated[
        str,
        typer.Argument(
            help="Part of a photo's key, a SKU, or the id of a job, task or request.",
            show_default=False,
        ),
    ] = "",
    *,
    statuses: Statuses = None,
    folder: Folder = None,
    sku: Sku = None,
    model: Annotated[
        str | None, typer.Option(help="Only jobs with this model: clara, 002.")
    ] = None,
    scene: Annotated[
        str | None,
        typer.Option(help="Only jobs with this background: original, preset, preset:035."),
    ] = None,
    review: ReviewFilter = None,
    since: Annotated[
        str | None, typer.Option(help="Only jobs changed since then: 30m, 2h, 3d or 2026-11-24.")
    ] = None,
    limit: Annotated[int, typer.Option(help="The most jobs to show; 0 shows all.", min=0)] = 20,
    as_json: Json = False,
    stack: StackName = None,
) -> None:
    """List jobs, the last changed first.

    With --json, each job is one line: the record as in events, with `waiting` and `deadLetter`.
    """
    refuse_empty(folder=folder, sku=sku)
    which = Filter(
        statuses=frozenset(statuses or ()),
        folder=folder,
        sku=sku,
        model=parsing.model_id(model) if model is not None else None,
        scene=parsing.scene_filter(scene) if scene is not None else None,
        text=text,
        review=review,
    )
    after = parsing.since(since) if since is not None else ""
    found = _matching(Catwalk.chosen(stack), which, after)
    count = _list(found, limit, as_json=as_json)
    if as_json:
        return
    if count == 0:
        tell("No job matches.")
    elif limit and count == limit and next(found, None) is not None:
        tell(f"There are more: --limit {limit * 5}, or --limit 0 for all.")
    elif console().is_terminal:
        tell(f"{counted(count, 'job')}. `catwalk show ID` shows one in full.")


def _list(found: Iterator[Job], limit: int, *, as_json: bool) -> int:
    """Write up to `limit` jobs (0 means all); return how many."""
    count = 0
    while chunk := list(islice(found, min(_PAGE, limit - count) if limit else _PAGE)):
        if as_json:
            for job in chunk:
                say_json(record(job))
        else:
            _table(chunk, header=count == 0)
        count += len(chunk)
        if count == limit:
            break
    return count


def _matching(catwalk: Catwalk, which: Filter, after: str) -> Iterator[Job]:
    """Yield the jobs that match, newest first."""
    by_change = not which.sku  # the jobs of an article are sorted by their creation
    for job in browser(catwalk).all(which, size=100):
        if job.updated_at >= after:
            yield job
        elif by_change:
            return


def _table(jobs: list[Job], *, header: bool) -> None:
    """Write jobs as a table: shortened on a terminal, with whole values in a pipe."""
    terminal = console().is_terminal
    columns = (
        Column("job", 1),
        Column("photo", 0, 12, 24),
        Column("status", 0),
        Column("note", 3),
        Column("look", 4, 8),
        Column("sku", 6, 8),
        Column("credits", 5, right=True),
        Column("changed", 2, right=True),
    )
    folder = common_folder([job.source_key or "" for job in jobs]) if terminal else ""
    if folder:
        say(f"In {folder}", style="dim")
    rows: list[tuple[Cell, ...]] = [
        (
            job.job_id[:SHORT_ID] if terminal else job.job_id,
            (job.source_key or "-").removeprefix(folder),
            status(job.status),
            note_of(job) or "-",
            look_of(job) or "-",
            job.sku or "-",
            str(job.credits),
            ago(job.updated_at) if terminal else job.updated_at,
        )
        for job in jobs
    ]
    show_table(columns, rows, header=header)


@commands.command("show", rich_help_panel=_PANEL)
def show_job(
    job: Annotated[
        str, typer.Argument(help="A job's id, its beginning, or a photo's key.", show_default=False)
    ],
    *,
    as_json: Json = False,
    stack: StackName = None,
) -> None:
    """Show everything about one job, and the next steps.

    With --json, each job of the photo is one line: the record, its `timeline` and `next` steps.
    """
    catwalk = Catwalk.chosen(stack)
    jobs = jobs_named(catwalk, job)
    if as_json:
        for each in jobs:
            say_json(_document(each, catwalk))
        return
    newest, *others = jobs
    _show(newest, catwalk)
    if others:
        say("")
        say(f"{counted(len(others), 'other job')} of {shown(job).plain}:", style="bold")
        _table(others, header=True)


def _document(job: Job, catwalk: Catwalk) -> dict[str, Any]:
    steps = next_steps(job, Recovery.of(catwalk))
    return {
        **record(job),
        "executionUrl": None if catwalk.choice.laptop else execution_url(job),
        "timeline": [
            {"at": moment.at, "title": moment.title, "detail": moment.detail}
            for moment in timeline(job)
        ],
        "next": [
            {"sentence": step.sentence, "command": step.command, "credits": step.credits}
            for step in steps
        ],
    }


def _show(job: Job, catwalk: Catwalk) -> None:
    for name, value in _facts(job, catwalk):
        _fact(name, value)
    if job.results:
        say("")
        say("Results", style="bold")
        for result in job.results:
            say_whole(
                f"  s3://{result.bucket}/{result.key}  {result.width} x {result.height},"
                f" {size_of(result.bytes)}"
            )
    say("")
    say("Timeline, in UTC", style="bold")
    for moment in timeline(job):
        at = f"{moment.at[:10]} {moment.at[11:19]}" if moment.at else " " * 19
        line = Text(f"  {at}  ").append(moment.title, style=_TONES[moment.tone])
        say_hanging(line.append_text(shown(f" · {moment.detail}" if moment.detail else "")), 23)
    steps = next_steps(job, Recovery.of(catwalk))
    if steps:
        say("")
        say("Next", style="bold")
    for step in steps:
        say_hanging(f"  {step.sentence}", 2)
        if step.command:
            say_whole(Text("    ").append(step.command, style="cyan"))


def _facts(job: Job, catwalk: Catwalk) -> Iterator[tuple[str, str | Text]]:
    """Yield the names and values of a record; the caller leaves out empty ones."""
    seconds = took(job)
    took_words = f", after {duration(seconds)}" if seconds is not None else ""
    yield "job", job.job_id
    code = f" ({job.status.value}){took_words}"
    yield "status", status(job.status).append(code, style="default")
    if job.error is not None:
        yield "error", f"{error_word(job.error.code)}: {job.error.message}"
    if job.waiting is not None:
        yield "waits", f"until about {job.waiting.until}: {job.waiting.reason}"
    if job.source_key:
        yield "photo", job.source_key
    photo = job.photo
    if photo is not None:
        where = photo.url or f"s3://{photo.bucket}/{photo.key}"
        version = f"?versionId={photo.version_id}" if photo.version_id else ""
        yield "", f"{where}{version}"
        facts = [
            f"{photo.width} x {photo.height}" if photo.width else "",
            size_of(photo.bytes) if photo.bytes is not None else "",
            photo.content_type or "",
        ]
        yield "", ", ".join(filter(None, facts))
    settings = job.settings
    if settings is not None:
        name = model_word(settings.model_id)
        model = name if name == settings.model_id else f"{name} ({settings.model_id})"
        words = [f"model {model}", scene_word(settings), counted(settings.batch_size, "image")]
        yield "settings", ", ".join(words)
        yield "mask", settings.mask or ""
        yield "extra", parsing.as_text(settings.extra) if settings.extra else ""
    yield "sku", job.sku or ""
    yield "request", job.request_id or ""
    if job.review_state is not None:
        by = f", by {job.review.by} at {job.review.at}" if job.review else ""
        yield "review", f"{review_words(job.review)}{by}"
    yield "attempt", str(job.attempt)
    polls = f", asked {counted(job.polls, 'time')}, {job.progress} %" if job.polls else ""
    yield "task", f"{job.task_id}{polls}" if job.task_id else ""
    yield "credits", str(job.credits)
    yield "letter", f"dead letter {job.dead_letter}" if job.dead_letter else ""
    url = None if catwalk.choice.laptop else execution_url(job)
    yield "execution", url or job.execution_arn or ""


def _fact(name: str, value: str | Text) -> None:
    text = shown(value)
    if not text:
        return
    line = Text.assemble(Text(f"{name:{_FACT}} ", style="dim"), text)
    if " " in text.plain:
        say_hanging(line, _FACT + 1)
    else:
        say_whole(line)


@commands.command(rich_help_panel=_PANEL)
def watch(
    *,
    once: Annotated[bool, typer.Option("--once", help="Show the present state and exit.")] = False,
    until_done: Annotated[
        bool,
        typer.Option(
            "--until-done", help="End when no job is in progress; exit 1 if any failed meanwhile."
        ),
    ] = False,
    as_json: Json = False,
    stack: StackName = None,
) -> None:
    """Watch the jobs in progress and those that ended lately; Ctrl-C ends it.

    In a pipe, each change is one line; with --json, that line is the record.
    """
    catwalk = Catwalk.chosen(stack)
    watcher = Watcher(clients.dynamodb(), catwalk.outputs["JobsTableName"])
    try:
        failed = _watch(watcher, once=once, until_done=until_done, as_json=as_json)
    except KeyboardInterrupt:
        raise SystemExit(_INTERRUPTED) from None
    raise SystemExit(1 if failed and until_done else 0)


def _watch(watcher: Watcher, *, once: bool, until_done: bool, as_json: bool) -> bool:
    """Watch; return whether a job has failed meanwhile."""
    made = console()
    watcher.refresh()
    if once and not as_json:
        made.print(Screen(watcher, whole=True), soft_wrap=not made.is_terminal)
        return False
    seen: dict[str, tuple[JobStatus, int]] = {}
    moving = is_live(made) and not as_json
    # Jobs that had ended before are not reported as changes.
    earlier = {job_id: (job.status, job.attempt) for job_id, job in watcher.ended.items()}
    if not once:
        seen |= earlier
    failed, paused = False, ""
    with live(made, Screen(watcher)) if moving else nullcontext():
        while True:
            for job in watcher.changes(seen):
                news = earlier.get(job.job_id) != (job.status, job.attempt)
                failed |= news and job.job_id in watcher.ended and not _good(job)
                if as_json:
                    say_json(record(job))
                elif not moving:
                    note = note_of(job)
                    say(
                        Text.assemble(
                            f"{job.updated_at}  ",
                            status(job.status),
                            f"  {shown(job.source_key or job.job_id).plain}  {look_of(job)}",
                            f"  {note}" if note else "",
                        )
                    )
            reason = watcher.pause.reason if watcher.pause else ""
            if reason and reason != paused and not moving and not as_json:
                say(str(watcher.pause))
            paused = reason
            if once or (until_done and not watcher.busy):
                return failed
            begun = time.monotonic()
            time.sleep(_WATCH_SECONDS)
            begun = time.monotonic()
            watcher.refresh()
            # A slow refresh is repeated less often, to spare the table.
            time.sleep(2 * (time.monotonic() - begun))


def _good(job: Job) -> bool:
    return job.status is JobStatus.SUCCEEDED


@commands.command("credits", rich_help_panel=_PANEL)
def show_credits(
    *,
    by: Annotated[Grouping, typer.Option(help="How to group the sums.")] = Grouping.DAY,
    days: Annotated[
        int, typer.Option(help="Number of UTC days, including today.", min=1, max=_MOST_DAYS)
    ] = 30,
    as_json: Json = False,
    stack: StackName = None,
) -> None:
    """Show the spent credits by day, SKU or folder.

    With --json, each sum is one line with `credits` and `unknown`; the last line is `all`, with
    `today` and `dailyLimit`.
    """
    today = datetime.now(UTC).date()
    first = today - timedelta(days=days - 1)
    catwalk = Catwalk.chosen(stack)
    entries = list(catwalk.ledger.entries(first, today))
    sums = add_up(entries, by)
    all_in_all = Sum(
        sum(total.credits for total in sums.values()),
        sum(total.unknown for total in sums.values()),
    )
    limit = catwalk.config.daily_credit_limit
    of_today = add_up(entries, Grouping.DAY).get(today.isoformat(), Sum())
    if as_json:
        for name, total in sums.items():
            say_json({by.value: name, "credits": total.credits, "unknown": total.unknown})
        say_json(
            {
                "all": True,
                "from": first.isoformat(),
                "to": today.isoformat(),
                "credits": all_in_all.credits,
                "unknown": all_in_all.unknown,
                "today": of_today.credits,
                "dailyLimit": limit or None,
            }
        )
        return
    nameless = "(top)" if by is Grouping.FOLDER else "(none)"
    rows: list[tuple[Cell, ...]] = [
        (name or nameless, str(total.credits), str(total.unknown or ""))
        for name, total in sums.items()
    ]
    bold = (
        Text(text, style="bold")
        for text in ("all", str(all_in_all.credits), str(all_in_all.unknown or ""))
    )
    rows.append(tuple(bold))
    columns = (
        Column(by.value, 0, 8),
        Column("credits", 0, right=True),
        Column("unknown", 0, right=True),
    )
    show_table(columns, rows)
    if limit:
        left = max(0, limit - of_today.credits - of_today.unknown)
        say(
            f"Today {of_today.credits} of {credits_of(limit)} (DailyCreditLimit); {left} left"
            " until 00:00 UTC, then the photos over it go on."
        )
    if all_in_all.unknown:
        tell(
            "unknown: submits whose answer was lost; each may have cost a credit. `catwalk jobs"
            " --status needs-you` lists them. Look them up at the vendor, then run `catwalk"
            " resolve`."
        )
