"""`catwalk sheet`: a contact sheet as one HTML file."""

import os
import tempfile
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.text import Text

from cli.errors import CommandError
from cli.jobs.browse import Filter
from cli.jobs.find import jobs_meant
from cli.stacks.stack import Catwalk
from cli.terminal.options import (
    Folder,
    JobNames,
    Json,
    ReviewFilter,
    Sku,
    StackName,
    Statuses,
    home_expanded,
    refuse_empty,
)
from cli.terminal.output import console, counted, say, say_json, size_of, warn
from local.console import is_live, live
from shared import clients
from shared.models import Job, ReviewState

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

    from cli.sheet.sheet import Sheet

commands = typer.Typer()
_LARGE: Final = 20 * 2**20
"""Bytes that many mail servers refuse."""


def html_file(text: str) -> Path:
    """Return the file that --to names.

    Raises:
        CommandError: it is not the name of an HTML file on this machine.

    """
    file = home_expanded(text)
    if "://" in text or file.suffix.lower() not in {".html", ".htm"} or file.is_dir():
        raise CommandError(
            f"--to {text!r} is not an HTML file.", "Name one on this machine: --to sheet.html."
        )
    if not file.parent.is_dir():
        raise CommandError(
            f"There is no folder {str(file.parent)!r} for {file.name}.",
            "Make it, or name another: --to sheet.html.",
        )
    return file


@commands.command("sheet", rich_help_panel="Images")
def make_sheet(
    jobs: JobNames = None,
    *,
    to: Annotated[
        Path,
        typer.Option(parser=html_file, help="The HTML file.", metavar="FILE", show_default=False),
    ],
    approved: Annotated[bool, typer.Option("--approved", help="Only approved jobs.")] = False,
    review: ReviewFilter = None,
    statuses: Statuses = None,
    folder: Folder = None,
    sku: Sku = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file if it is there.")
    ] = False,
    as_json: Json = False,
    stack: StackName = None,
) -> None:
    """Write a contact sheet: photos beside their images, in one HTML file to send to a colleague.

    It holds small copies of the pictures, needs no network and prints well.
    """
    refuse_empty(folder=folder, sku=sku)
    if approved and review not in {None, ReviewState.APPROVED}:
        raise CommandError(
            "--approved and --review contradict each other.", "Leave one of them out."
        )
    state = ReviewState.APPROVED if approved else review
    if not (jobs or folder is not None or sku is not None or statuses or state):
        raise CommandError(
            "No jobs are named.",
            "Give job ids (`catwalk jobs` lists them), --folder, --sku, --status or --approved;"
            " --folder / is everything.",
        )
    if not overwrite:
        _refuse_existing(to)
    catwalk = Catwalk.chosen(stack)
    which = Filter(statuses=frozenset(statuses or ()), folder=folder, sku=sku, review=state)
    found = sorted(
        jobs_meant(catwalk, jobs or (), which),
        key=lambda job: (job.source_key or "", job.created_at),
    )
    if not any(job.results for job in found):
        raise CommandError(
            "No job matches." if not found else "None of these jobs has images yet.",
            "`catwalk jobs` lists the jobs, their folders and their status.",
        )
    title = _title(folder, sku)
    _write(found, to, title, catwalk, overwrite=overwrite, as_json=as_json)


def _refuse_existing(to: Path) -> None:
    # A symbolic link to nothing does not exist for `Path.exists`.
    if os.path.lexists(to):
        raise CommandError(f"{to} is there already.", "Name another file, or give --overwrite.")


def _title(folder: str | None, sku: str | None) -> str:
    named = (folder or "").strip("/")
    return " · ".join(filter(None, (named, sku))) or "Contact sheet"


def _write(
    found: list[Job],
    to: Path,
    title: str,
    catwalk: Catwalk,
    *,
    overwrite: bool,
    as_json: bool,
) -> None:
    # Importing its packages takes a while, which other commands should not wait for.
    from cli.sheet.sheet import Sheet  # noqa: PLC0415  as said

    shown = [job for job in found if job.results]
    photos = len({job.source_key or job.job_id for job in shown})
    images = sum(len(job.results) for job in shown)
    today = datetime.now().astimezone()
    subtitle = (
        f"{counted(photos, 'photo')}, {counted(images, 'image')} · {today:%-d %B %Y} ·"
        f" {catwalk.name}"
    )
    sheet = Sheet(title, subtitle, found, clients.s3())
    progress = _Progress(sheet, len(shown))
    screen = console()
    with live(screen, progress) if is_live(screen) and not as_json else nullcontext():
        _write_whole(sheet, to, overwrite=overwrite)
    size = to.stat().st_size
    if as_json:
        say_json(
            {
                "event": "sheet",
                "file": str(to),
                "jobs": len(shown),
                "images": images,
                "notShown": sheet.not_shown,
                "bytes": size,
            }
        )
        return
    say(f"{to}: {counted(photos, 'photo')}, {counted(images, 'image')}, {size_of(size)}.")
    if sheet.not_shown:
        warn(f"{counted(sheet.not_shown, 'image')} could not be read; the sheet says which.")
    if size > _LARGE:
        warn("Many mail servers refuse a file of this size; select fewer jobs.")


def _write_whole(sheet: "Sheet", to: Path, *, overwrite: bool) -> None:
    """Write the file under another name first, so that there is never half of it."""
    handle, name = tempfile.mkstemp(dir=to.parent, prefix=".catwalk-sheet-", suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as output:
            sheet.write(output)
        # `mkstemp` makes files that only their owner may read.
        part.chmod(0o666 & ~_umask())
        # It may have appeared while the sheet was made.
        if not overwrite:
            _refuse_existing(to)
        part.replace(to)
    finally:
        part.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


class _Progress:
    """How many jobs are written."""

    def __init__(self, sheet: "Sheet", count: int) -> None:
        self._done, self._count = 0, count
        sheet.tick = self._tick

    def _tick(self) -> None:
        self._done += 1

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        """Draw."""
        yield Text(f"{self._done} of {counted(self._count, 'job')}")
