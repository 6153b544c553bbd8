"""The demo: drops photos and a request, downloads the images, and checks the result."""

import hashlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from local.console import StepList, is_live, live, print_facts
from local.demo import scenario, sheet
from local.demo.progress import ChangeLines, JobTable, Row, counts, match, rows_of
from local.errors import DemoError
from local.paths import OUT, SAMPLES, shown
from local.stack import stack
from local.stack.stack import Plan, Stack
from shared.limits.circuit_breaker import CircuitBreaker
from shared.models import Job, JobStatus
from shared.records.jobs import job_of

_DEADLINE_SECONDS: Final = 180.0
_REAL_DEADLINE_SECONDS: Final = 1800.0
"""The real vendor queues its tasks."""
_REFRESH_SECONDS: Final = 0.3
_WRITTEN: Final = ".demo"
"""Lists the files of the last demo, so that the next one removes only those."""
_CONTACT_SHEET: Final = "contact-sheet.jpg"


@dataclass(frozen=True)
class _Outcome:
    rows: list[Row]
    out: Path
    """Where the images are."""
    images: dict[str, list[Path]]
    """The downloaded results, by job id."""
    charges: int | None
    """Credits that the simulated vendor counted; None for the real vendor."""
    seconds: float


def demo(console: Console, api_key: str, out: Path = OUT) -> None:
    """Run the demo.

    Args:
        console: shows the progress.
        api_key: the vendor's key; if given, the person may choose the real vendor.
        out: the folder for the images.

    Raises:
        LocalError: the stack failed, or a job did not end as expected.

    """
    begun = time.monotonic()
    console.print("Catwalk on this machine: photos in, fashion-model images out.", style="bold")
    real = bool(api_key) and _wants_real_vendor(console)
    if not real:
        console.print("The vendor is simulated: no account, no key, no cost.", style="dim")
    console.print()
    plan = (
        Plan(
            api_key=api_key,
            real_vendor=True,
            parameters={**stack.LAPTOP, "PhotoDelivery": "inline"},
        )
        if real
        else Plan()
    )
    folder = stack.folder_of(stack.DEMO)
    with StepList(console) as steps, stack.running(folder, plan, steps) as running:
        steps.close()
        outcome = _run(console, running, out, real=real)
        _check(outcome, running)
    _draw(outcome, real=real)
    _summary(console, outcome, time.monotonic() - begun)


def _wants_real_vendor(console: Console) -> bool:
    console.print(
        f"\nVMAKE_API_KEY is set. With the real vendor the demo makes {scenario.CREDITS} tasks and"
        f" costs {scenario.CREDITS} credits\nof that account; the sample photos are sent to"
        " open.vmake.ai.",
        markup=False,
    )
    if not sys.stdin.isatty():
        console.print("Nobody can confirm that here, so the vendor is simulated.")
        return False
    answer = console.input(f"Spend {scenario.CREDITS} credits? \\[y/N] ")
    return answer.strip().lower() in {"y", "yes"}


def _run(console: Console, running: Stack, out: Path, *, real: bool) -> _Outcome:
    begun = time.monotonic()
    rows = rows_of(scenario.EXPECTED)
    photos = sum(row.expected.look is not None and not row.expected.by_event for row in rows)
    console.print(
        f"\n{photos} photos and a PDF go into s3://{running.output('PhotosBucketName')},"
        " and an event asks for two more looks.\n",
        markup=False,
    )
    shows = is_live(console)
    table, lines = JobTable(rows), ChangeLines(console, rows)
    todo = scenario.actions()
    deadline = begun + (_REAL_DEADLINE_SECONDS if real else _DEADLINE_SECONDS)
    with live(console, table) if shows else nullcontext():
        while True:
            running.check()
            more = _next(todo, running)
            jobs, table.paused = _read(running)
            strays = match(rows, jobs)
            if not shows:
                lines.update(table.paused)
            if strays:
                raise DemoError(
                    f"There is a record of an object that is no photo: {strays[0].source_key}.",
                    log=running.folder.logs,
                )
            if not more and all(row.ended for row in rows):
                break
            if time.monotonic() > deadline:
                raise DemoError(
                    f"Not every job ended within {deadline - begun:.0f} seconds:"
                    f" {_unfinished(rows)}."
                    + (f" Submission is paused: {table.paused}." if table.paused else ""),
                    log=running.folder.logs,
                )
            time.sleep(_REFRESH_SECONDS)
    charges = None
    if not real:
        with running.vendor() as vendor:
            charges = vendor.charges().total
    seconds = time.monotonic() - begun
    return _Outcome(rows, out, _download(running, rows, out), charges, seconds)


def _next(todo: Iterator[scenario.Upload | scenario.Request], running: Stack) -> bool:
    """Perform the next action, if any; one per refresh, as a person would drop the photos."""
    action = next(todo, None)
    if action is not None:
        action.perform(running)
    return action is not None


def _read(running: Stack) -> tuple[list[Job], str]:
    """Return all records, and the reason why submission is paused; empty if it is not."""
    table = running.output("JobsTableName")
    pages = running.clients.dynamodb.get_paginator("scan").paginate(
        TableName=table, ConsistentRead=True
    )
    items = (item for page in pages for item in page["Items"])
    jobs = [job_of(item) for item in items if item["pk"]["S"].startswith("JOB#")]
    pause = CircuitBreaker(running.clients.dynamodb, table).current_pause()
    return jobs, "" if pause is None else pause.reason


def _unfinished(rows: Sequence[Row]) -> str:
    return ", ".join(
        f"{row.title} is {row.job.status.value if row.job else 'not there'}"
        for row in rows
        if not row.ended
    )


def _download(running: Stack, rows: Sequence[Row], out: Path) -> dict[str, list[Path]]:
    """Download all results, and compare them with their records."""
    _remove_last_output(out)
    images: dict[str, list[Path]] = {}
    for row in rows:
        if row.job is None:
            continue
        images[row.job.job_id] = files = []
        for result in row.job.results:
            file = out / result.key
            file.parent.mkdir(parents=True, exist_ok=True)
            running.clients.s3.download_file(result.bucket, result.key, os.fspath(file))
            if hashlib.sha256(file.read_bytes()).hexdigest() != result.sha256:
                raise DemoError(f"{result.key} is not what its record says (sha256).")
            files.append(file)
    written = [file for files in images.values() for file in files]
    (out / _WRITTEN).write_text("".join(f"{file.relative_to(out)}\n" for file in written))
    return images


def _remove_last_output(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    written = out / _WRITTEN
    if not written.exists():
        return
    for line in written.read_text().splitlines():
        file = out / line
        file.unlink(missing_ok=True)
        folder = file.parent
        while folder != out and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent


def _check(outcome: _Outcome, running: Stack) -> None:
    problems = []
    for row in outcome.rows:
        if row.job is None or not row.as_expected:
            status = row.job.status.value if row.job else "missing"
            why = f" ({row.job.error.message})" if row.job and row.job.error else ""
            problems.append(
                f"{row.title} is {status}{why} and should be {row.expected.status.value}"
            )
        elif row.expected.status is JobStatus.SUCCEEDED:
            found = len(outcome.images[row.job.job_id])
            if found != scenario.RESULTS_A_TASK:
                problems.append(f"{row.title} has {found} images, not {scenario.RESULTS_A_TASK}")
    spent = _credits(outcome.rows)
    if outcome.charges is not None and outcome.charges != spent:
        problems.append(f"the records say {spent} credits, the vendor {outcome.charges}")
    if problems:
        raise DemoError(
            "The demo did not end as it should: " + "; ".join(problems) + ".",
            log=running.folder.logs,
        )


def _credits(rows: Sequence[Row]) -> int:
    return sum(row.job.credits for row in rows if row.job)


def _draw(outcome: _Outcome, *, real: bool) -> None:
    cards = []
    for row in outcome.rows:
        if row.job is None:
            continue
        sample = SAMPLES / scenario.sample_of(row.expected.key)
        rejected = row.job.error.message if row.job.error else ""
        price = f"{row.job.credits} credit" + ("" if row.job.credits == 1 else "s")
        cards.append(
            sheet.Card(
                title=row.expected.key,
                subtitle=" · ".join(
                    filter(
                        None,
                        (
                            row.look.strip("-"),
                            "asked for by an event" if row.expected.by_event else "",
                            row.reason,
                            price,
                        ),
                    )
                ),
                before=sample.read_bytes() if sample.exists() else None,
                after=outcome.images[row.job.job_id],
                note=rejected,
            )
        )
    images = sum(map(len, outcome.images.values()))
    vendor = "Vmake" if real else "simulated vendor"
    sheet.draw(
        cards,
        title="Catwalk",
        subtitle=f"{images} images · {_credits(outcome.rows)} credits · {outcome.seconds:.0f} s"
        f" · {vendor}",
        file=outcome.out / _CONTACT_SHEET,
    )


def _summary(console: Console, outcome: _Outcome, seconds: float) -> None:
    by_status = ", ".join(
        f"{count} {status.value}" for status, count in counts(outcome.rows).items()
    )
    spent = _credits(outcome.rows)
    charged = "" if outcome.charges is None else f", {outcome.charges} charged by the vendor"
    images = sum(map(len, outcome.images.values()))
    errors = [row.job.error for row in outcome.rows if row.job and row.job.error]
    facts = (
        ("Jobs", f"{by_status}, as expected"),
        ("Rejected", " ".join(error.message for error in errors)),
        ("Credits", f"{spent} in the records{charged}"),
        ("Images", f"{images} in {shown(outcome.out)}/, each as its record says"),
        ("Overview", shown(outcome.out / _CONTACT_SHEET)),
        ("Time", f"{seconds:.0f} s, of which the photos took {outcome.seconds:.0f} s"),
    )
    console.print()
    print_facts(console, [(name, text) for name, text in facts if text])
    console.print(
        "\nNothing is left running. Next, in a clone: `make gallery`, or `make up`; elsewhere"
        " `catwalk up`:\na stack that stays, for photos of your own. On AWS: `catwalk deploy`.",
        markup=False,
    )
