"""Shows the progress of the demo's jobs: as a live table, or as a line for each change."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from local.demo.scenario import Expected, Look
from shared.models import Job, JobStatus

_STYLES: Final = {
    JobStatus.ACCEPTED: "dim",
    JobStatus.SUBMITTING: "cyan",
    JobStatus.SUBMIT_UNKNOWN: "red",
    JobStatus.RUNNING: "cyan",
    JobStatus.SUCCEEDED: "green",
    JobStatus.PARTIAL: "red",
    JobStatus.FAILED: "red",
    JobStatus.REJECTED: "yellow",
}
_ALL: Final = 100
_WIDE: Final = 96
"""Width in columns from which progress bars are shown."""
_NARROW: Final = 64
"""Width in columns below which the credits are left out."""


@dataclass
class Row:
    """An expected job, and its record once it exists."""

    expected: Expected
    job: Job | None = None

    @property
    def ended(self) -> bool:
        """Whether the job has ended."""
        return self.job is not None and self.job.terminal

    @property
    def as_expected(self) -> bool:
        """Whether the job has the expected status."""
        return self.job is not None and self.job.status is self.expected.status

    @property
    def title(self) -> str:
        """The photo, and whether an event asked for it."""
        return self.expected.key + (" (event)" if self.expected.by_event else "")

    @property
    def look(self) -> str:
        """Model and scene, in words."""
        return str(self.expected.look) if self.expected.look else "-"

    @property
    def reason(self) -> str:
        """The error code of its record; empty if there is none."""
        return self.job.error.code.value if self.job and self.job.error else ""


def rows_of(expected: Sequence[Expected]) -> list[Row]:
    """Return a row for each expected job."""
    return [Row(entry) for entry in expected]


def match(rows: Sequence[Row], jobs: Sequence[Job]) -> list[Job]:
    """Assign each record to its row; return the records without a row."""
    strays = []
    for job in jobs:
        row = next((row for row in rows if _belongs(job, row.expected)), None)
        if row is None:
            strays.append(job)
        else:
            row.job = job
    return strays


def _belongs(job: Job, expected: Expected) -> bool:
    if job.source_key != expected.key:
        return False
    if expected.look is None:
        return True
    settings = job.settings
    return settings is not None and expected.look == Look(settings.model_id, settings.scene)


class JobTable:
    """A table of the rows, for a live display."""

    def __init__(self, rows: Sequence[Row]) -> None:
        """Show these rows."""
        self._rows = rows
        self.paused = ""
        """Why submission is paused; empty if it is not."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the table in the available width."""
        width = options.max_width
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("  Photo", no_wrap=True, overflow="ellipsis", ratio=None, min_width=12)
        table.add_column("Look", no_wrap=True, overflow="ellipsis", min_width=8)
        table.add_column("Status", no_wrap=True, min_width=10)
        table.add_column("Progress", no_wrap=True, overflow="ellipsis", min_width=5)
        if width >= _NARROW:
            table.add_column("Credits", justify="right", no_wrap=True)
        for row in self._rows:
            cells = [
                Text(f"  {row.title}"),
                Text(row.look),
                self._status(row),
                self._progress(row, wide=width >= _WIDE),
            ]
            if width >= _NARROW:
                cells.append(Text(str(row.job.credits) if row.job else "", style="dim"))
            table.add_row(*cells)
        yield table
        if self.paused:
            yield Text(f"\n  Submission is paused: {self.paused}", style="yellow")

    @staticmethod
    def _status(row: Row) -> Text:
        if row.job is None:
            return Text("waiting", style="dim")
        return Text(row.job.status.value, style=_STYLES[row.job.status])

    @staticmethod
    def _progress(row: Row, *, wide: bool) -> "Text | Table":
        if row.job is None:
            return Text("")
        if row.reason:
            return Text(row.reason, style=_STYLES[row.job.status])
        done = row.job.progress
        number = Text(f"{done:3d} %", style="dim")
        if not wide:
            return number
        cell = Table.grid(padding=(0, 1))
        cell.add_row(
            ProgressBar(total=_ALL, completed=done, width=20, complete_style="cyan"), number
        )
        return cell


class ChangeLines:
    """Writes a line for each change of a status, for logs and pipes."""

    def __init__(self, console: Console, rows: Sequence[Row]) -> None:
        """Write the changes of these rows to this console."""
        self._console = console
        self._rows = rows
        self._seen: dict[int, JobStatus] = {}
        self._paused = ""
        self._begun = time.monotonic()

    def update(self, paused: str) -> None:
        """Write the new changes; `paused` is why submission is paused, or empty."""
        if paused and paused != self._paused:
            self._console.print(f"  Submission is paused: {paused}", markup=False)
        self._paused = paused
        for number, row in enumerate(self._rows):
            if row.job is None or self._seen.get(number) is row.job.status:
                continue
            self._seen[number] = row.job.status
            reason = f" ({row.reason})" if row.reason else ""
            self._console.print(
                f"  {time.monotonic() - self._begun:4.1f} s  {row.title}, {row.look}:"
                f" {row.job.status.value}{reason}",
                markup=False,
            )


def counts(rows: Sequence[Row]) -> Mapping[JobStatus, int]:
    """Count the records by status."""
    found: dict[JobStatus, int] = {}
    for row in rows:
        if row.job is not None:
            found[row.job.status] = found.get(row.job.status, 0) + 1
    return found
