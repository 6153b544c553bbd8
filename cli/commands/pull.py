"""`catwalk pull`: downloads the images of jobs under names that mean something."""

import shutil
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cli.errors import CommandError
from cli.jobs.browse import Filter
from cli.jobs.find import jobs_meant
from cli.jobs.pull import Pull, Puller, State, pulls_of
from cli.stacks.stack import Catwalk
from cli.terminal.options import (
    DryRun,
    Folder,
    JobNames,
    Json,
    Sku,
    StackName,
    Statuses,
    home_expanded,
    refuse_empty,
)
from cli.terminal.output import (
    Column,
    console,
    counted,
    duration,
    elided,
    say,
    say_json,
    show_table,
    size_of,
    tell,
    warn,
)
from cli.terminal.words import look_of
from local.console import is_live, live
from shared import clients
from shared.models import Job, ReviewState

commands = typer.Typer()
_INTERRUPTED: Final = 130
_REFRESH_SECONDS: Final = 0.25
_BAR: Final = 20
_NARROW: Final = 60
"""On terminals with fewer columns there is no bar."""
_MOST_LISTED: Final = 10
"""Files that the summary on a terminal lists."""


def local_folder(text: str) -> Path:
    """Return the folder on this machine that an option names.

    Raises:
        CommandError: it is empty, an address, or not a folder.

    """
    if not text.strip():
        raise CommandError("--to is empty.", "Name a folder on this machine: --to out/.")
    if "://" in text:
        raise CommandError(
            f"--to {text!r} is an address.", "Name a folder on this machine: --to out/."
        )
    folder = home_expanded(text)
    if folder.exists() and not folder.is_dir():
        raise CommandError(f"--to {text!r} is a file.", "Name a folder: --to out/.")
    return folder


@commands.command(rich_help_panel="Images")
def pull(
    jobs: JobNames = None,
    *,
    to: Annotated[
        Path,
        typer.Option(
            parser=local_folder,
            help="The folder on this machine; it is made if it is not there.",
            metavar="FOLDER",
            show_default=False,
        ),
    ],
    approved: Annotated[bool, typer.Option("--approved", help="Only approved jobs.")] = False,
    statuses: Statuses = None,
    folder: Folder = None,
    sku: Sku = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that differ from the images.")
    ] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    stack: StackName = None,
) -> None:
    """Download images as {sku or photo}_{model}_{background}_{n}.jpg.

    If images of a job were chosen, only these; without a choice, all that were not refused. What
    is there already is kept. After Ctrl-C or a lost connection, the same command goes on.

    With --json, each file is one line: `pulled`, `kept` or `not pulled`, and finally `summary`.
    """
    refuse_empty(folder=folder, sku=sku)
    if not (jobs or folder is not None or sku is not None or statuses or approved):
        raise CommandError(
            "No jobs are named.",
            "Give job ids (`catwalk jobs` lists them), --folder, --sku, --status or --approved;"
            " --folder / is everything.",
        )
    catwalk = Catwalk.chosen(stack)
    # The names are the same with and without --approved and --status.
    named = list(jobs_meant(catwalk, jobs or (), Filter(folder=folder, sku=sku)))
    which = Filter(
        statuses=frozenset(statuses or ()), review=ReviewState.APPROVED if approved else None
    )
    wanted = [job for job in named if which.matches(job)]
    pulls = pulls_of(named, wanted, to)
    if not pulls:
        raise _nothing(named, wanted, approved=approved)
    if dry_run:
        _show(pulls, as_json=as_json)
        return
    _make(to, pulls)
    raise SystemExit(_run(pulls, to, overwrite=overwrite, as_json=as_json))


def _nothing(named: Sequence[Job], wanted: Sequence[Job], *, approved: bool) -> CommandError:
    if not named:
        return CommandError("No job matches.", "`catwalk jobs` lists the jobs and their folders.")
    if not wanted:
        missing = "is approved" if approved else "has that status"
        return CommandError(
            f"None of {counted(len(named), 'job')} {missing}.",
            "`catwalk review` approves jobs; without --approved all images come."
            if approved
            else "Leave --status out, or see `catwalk jobs`.",
        )
    return CommandError(
        f"{counted(len(wanted), 'job')} without an image that is wanted.",
        "Images that are refused are left out. A job that failed or still runs has none.",
    )


def _make(folder: Path, pulls: Sequence[Pull]) -> None:
    """Make the folder, and check that there is room.

    Raises:
        CommandError: it cannot be made, or there is not enough room.

    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(
            f"The folder {folder} cannot be made: {error.strerror or error}.",
            "Name another folder with --to.",
        ) from error
    needed = sum(pull.result.bytes for pull in pulls if not pull.file.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise CommandError(
            f"The images take {size_of(needed)}, and {folder} has room for {size_of(free)}.",
            "Make room there, or name another folder with --to.",
        )


def _run(pulls: Sequence[Pull], to: Path, *, overwrite: bool, as_json: bool) -> int:
    """Download, report, and return the exit status."""
    screen = console()
    moving = is_live(screen) and not as_json
    begun = time.monotonic()
    try:
        with Puller(clients.s3(), overwrite=overwrite) as puller:
            puller.start(pulls)
            with live(screen, PullProgress(pulls)) if moving else nullcontext():
                open_ones = list(pulls)
                ended = False
                while not ended:
                    ended = puller.ended(_REFRESH_SECONDS)
                    # One look at each: it may end at any moment.
                    looked_at = [(pull, pull.ended) for pull in open_ones]
                    open_ones = [pull for pull, over in looked_at if not over]
                    for pull, over in looked_at:
                        if over:
                            _report(pull, moving=moving, as_json=as_json)
    except KeyboardInterrupt:
        whole = sum(pull.ended and not pull.trouble for pull in pulls)
        tell(
            f"Stopped. {whole} of {counted(len(pulls), 'image')} are in {to}; a file that ends in"
            " .part is not complete. The same command goes on there."
        )
        return _INTERRUPTED
    return _summary(pulls, to, time.monotonic() - begun, moving=moving, as_json=as_json)


def _report(pull: Pull, *, moving: bool, as_json: bool) -> None:
    if as_json:
        event = {State.PULLED: "pulled", State.KEPT: "kept"}.get(pull.state, "not pulled")
        trouble = {"error": pull.trouble} if pull.trouble else {}
        say_json({"event": event, **_document(pull), **trouble})
    elif pull.trouble and not moving:
        say(f"{pull.file}: {pull.trouble}", style="red")
    elif pull.state is State.PULLED and not moving:
        say(f"{pull.file}: {size_of(pull.result.bytes)}")


def _document(pull: Pull) -> dict[str, Any]:
    return {
        "file": str(pull.file),
        "jobId": pull.job.job_id,
        "index": pull.result.index,
        "sourceKey": pull.job.source_key,
        "sku": pull.job.sku,
        "bytes": pull.result.bytes,
        "sha256": pull.result.sha256,
    }


def _summary(
    pulls: Sequence[Pull], to: Path, seconds: float, *, moving: bool, as_json: bool
) -> int:
    counts = Counter(pull.state for pull in pulls)
    bad = [pull for pull in pulls if pull.trouble]
    if as_json:
        say_json(
            {
                "event": "summary",
                "pulled": counts[State.PULLED],
                "kept": counts[State.KEPT],
                "notPulled": len(bad),
                "seconds": round(seconds, 1),
            }
        )
        return 1 if bad else 0
    words = [f"{counted(counts[State.PULLED], 'image')} downloaded into {to}"]
    if counts[State.KEPT]:
        words.append(f"{counts[State.KEPT]} already there")
    if counts[State.REFUSED]:
        words.append(f"{counts[State.REFUSED]} not, because another file is there")
    if counts[State.FAILED]:
        words.append(f"{counts[State.FAILED]} failed")
    say(f"{', '.join(words)}; {duration(seconds)}.", style="bold" if bad else "bold green")
    if moving:
        # Without a terminal, each trouble was already written when it happened.
        for pull in bad[:_MOST_LISTED]:
            warn(f"  {pull.file.name}: {pull.trouble}")
        if len(bad) > _MOST_LISTED:
            warn(f"  … and {len(bad) - _MOST_LISTED} more.")
    if counts[State.FAILED]:
        tell("The same command tries the failed ones again.")
    return 1 if bad else 0


def _show(pulls: Sequence[Pull], *, as_json: bool) -> None:
    """Show what would be downloaded."""
    if as_json:
        for pull in pulls:
            say_json({"event": "would pull", **_document(pull)})
        return
    columns = (
        Column("file", 0, 16),
        Column("photo", 2, 12),
        Column("look", 3, 8),
        Column("size", 1, right=True),
    )
    rows = [
        (
            pull.file.name,
            pull.job.source_key or "-",
            look_of(pull.job),
            size_of(pull.result.bytes),
        )
        for pull in pulls
    ]
    show_table(columns, rows)
    total = size_of(sum(pull.result.bytes for pull in pulls))
    say(f"{counted(len(pulls), 'image')}, {total}.")


class PullProgress:
    """One bar for all images, and the names of those that are being downloaded."""

    def __init__(self, pulls: Sequence[Pull]) -> None:
        """Draw these downloads."""
        self._pulls = pulls
        self._total = max(1, sum(pull.result.bytes for pull in pulls))
        self._begun = time.monotonic()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw, within the terminal's width."""
        width = options.max_width
        done = sum(pull.ended for pull in self._pulls)
        received = sum(pull.result.bytes if pull.ended else pull.received for pull in self._pulls)
        words = (
            f"{done} of {counted(len(self._pulls), 'image')} ·"
            f" {size_of(received)} of {size_of(self._total)}"
            f" · {duration(time.monotonic() - self._begun)}"
        )
        if width < _NARROW:
            yield Text(words[:width], style="bold")
        else:
            grid = Table.grid(padding=(0, 1))
            bar = ProgressBar(
                total=1.0,
                completed=received / self._total,
                width=_BAR,
                complete_style="green",
                finished_style="green",
            )
            grid.add_row(bar, Text(words, style="bold", no_wrap=True, overflow="ellipsis"))
            yield grid
        for pull in self._pulls:
            if pull.state is State.PULLING:
                yield Text(elided(f"  {pull.file.name}", width), style="dim")
