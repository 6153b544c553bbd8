"""Shows the progress of uploads: one bar per photo on a terminal, one line per change elsewhere."""

import time
from collections.abc import Sequence
from typing import Final

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cli.jobs.timeline import results_uri
from cli.stacks.submission import NewBucket, Pause
from cli.terminal.output import (
    STYLES,
    common_folder,
    counted,
    duration,
    elided,
    record,
    say,
    say_json,
    shown,
    size_of,
)
from cli.terminal.words import STATUS_WORDS, error_word, look_of
from cli.upload.drop import Change, Drop, Stage
from shared.models import Job, JobStatus

_AROUND: Final = 5
"""Lines of the terminal without a photo: the overall bar, the number of hidden photos, the pause
and the cursor's line."""
_NARROW: Final = 60
"""On terminals with fewer columns, photos have no bar."""
_BAR: Final = 20
_STATE: Final = 22
"""Columns for the longest state: `uploading 12.3 MiB`."""
_ORDER: Final = (Stage.UPLOADING, Stage.WORKING, Stage.UPLOADED, Stage.QUEUED)


class UploadProgress:
    """The unfinished drops, one row each, below an overall bar."""

    def __init__(self, drops: Sequence[Drop], *, waits: bool) -> None:
        """Draw these drops; `waits` means that a drop ends with its jobs, not with its upload."""
        self._drops = drops
        self._waits = waits
        self._begun = time.monotonic()
        self._folder = common_folder([drop.upload.key for drop in drops])
        self.pause: Pause | NewBucket | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw, within the terminal's width and height."""
        width = options.max_width
        done = [drop for drop in self._drops if self._is_done(drop)]
        bad = sum(bool(drop.trouble) or (drop.complete and not drop.good) for drop in done)
        yield self._overall(width, len(done), bad)
        active = [drop for drop in self._drops if not self._is_done(drop)]
        active.sort(key=lambda drop: _ORDER.index(drop.stage))
        room = max(1, console.height - _AROUND)
        rows = active[:room]
        if rows:
            yield self._rows(rows, width)
        if len(active) > len(rows):
            yield Text(f"… and {len(active) - len(rows)} more under way"[:width], style="dim")
        if self.pause is not None:
            yield Text(elided(shown(str(self.pause)).plain, width), style="yellow")

    def _is_done(self, drop: Drop) -> bool:
        if self._waits:
            return drop.stage is Stage.ENDED
        return bool(drop.trouble) or drop.uploaded_at is not None

    def _overall(self, width: int, done: int, bad: int) -> RenderableType:
        words = f"{done} of {counted(len(self._drops), 'photo')}"
        words += f", {bad} failed" if bad else ""
        words += f" · {duration(time.monotonic() - self._begun)}"
        if width < _NARROW:
            return Text(words[:width], style="bold")
        grid = Table.grid(padding=(0, 1))
        grid.add_row(_bar(done / max(1, len(self._drops)), "green"), Text(words, style="bold"))
        return grid

    def _rows(self, drops: Sequence[Drop], width: int) -> Table:
        wide = width >= _NARROW
        room = width - _STATE - 1 - (_BAR + 1 if wide else 0)
        grid = Table.grid(padding=(0, 1))
        grid.add_column(no_wrap=True, max_width=max(1, room))
        for drop in drops:
            state, style = state_of(drop)
            key = drop.upload.key.removeprefix(self._folder)
            name = Text(elided(shown(key).plain, max(1, room)))
            words = Text(state, style=style, no_wrap=True, overflow="crop")
            if wide:
                colour = "blue" if drop.uploaded_at is None else "cyan"
                grid.add_row(name, _bar(drop.fraction, colour), words)
            else:
                grid.add_row(name, words)
        return grid


def state_of(drop: Drop) -> tuple[str, str]:
    """Return a drop's state in a few words, and their style."""
    match drop.stage:
        case Stage.QUEUED:
            return "queued", "dim"
        case Stage.UPLOADING:
            return f"uploading {size_of(drop.upload.size)}", "blue"
        case Stage.UPLOADED:
            return "uploaded", "dim"
        case Stage.ENDED if drop.trouble:
            return "not uploaded", "red"
    jobs = list(drop.jobs.values())
    count = max(len(jobs), drop.upload.variants)
    if count > 1:
        ended = sum(job.terminal for job in jobs)
        return f"{ended} of {count} variants", "cyan"
    (job,) = jobs
    if job.waiting is not None:
        return "waiting", "yellow"
    if job.status is JobStatus.RUNNING:
        return f"{STATUS_WORDS[job.status]} {job.progress:3} %", STYLES[job.status]
    return STATUS_WORDS[job.status], STYLES[job.status]


def _bar(fraction: float, style: str) -> ProgressBar:
    return ProgressBar(
        total=1.0,
        completed=min(1.0, fraction),
        width=_BAR,
        complete_style=style,
        finished_style=style,
    )


def line_of(change: Change) -> Text:
    """Return a change as one line."""
    drop, job = change.drop, change.job
    key = shown(drop.upload.key).plain
    if job is None:
        if drop.trouble:
            return Text(f"{key}: not uploaded: {drop.trouble}", style="red")
        return Text(f"{key}: uploaded, {size_of(drop.upload.size)}")
    look = look_of(job)
    return Text(f"{key}{f', {look}' if look else ''}: ").append_text(_happened(drop, job))


def short_line_of(change: Change, width: int) -> Text:
    """Return a change as one line of at most `width` columns; the summary says more."""
    drop, job = change.drop, change.job
    status = Text("not uploaded", style="red")
    if job is not None:
        code = f", {error_word(job.error.code)}" if job.error else ""
        status = Text(STATUS_WORDS[job.status], style=STYLES[job.status]).append(
            code, style="default"
        )
    key = elided(shown(drop.upload.key).plain, max(1, width - status.cell_len - 2))
    line = Text(f"{key}: ").append_text(status)
    line.truncate(width)
    return line


def _happened(drop: Drop, job: Job) -> Text:
    status = Text(STATUS_WORDS[job.status], style=STYLES[job.status])
    if drop.unchanged(job) and job.status is JobStatus.SUCCEEDED:
        return status.append(f" already: nothing has changed; {results_uri(job)}", style="default")
    if job.status in {JobStatus.SUCCEEDED, JobStatus.PARTIAL}:
        status.append(
            f", {counted(len(job.results), 'image')} in {results_uri(job)}", style="default"
        )
    if job.error is not None:
        message = shown(job.error.message).plain
        status.append(f", {error_word(job.error.code)}: {message}", style="default")
    elif job.waiting is not None:
        status.append(f", waiting: {shown(job.waiting.reason).plain}", style="default")
    return status


def bad(change: Change) -> bool:
    """Whether a change is a lasting failure."""
    if change.job is None:
        return bool(change.drop.trouble)
    wrong = {JobStatus.PARTIAL, JobStatus.FAILED, JobStatus.REJECTED, JobStatus.SUBMIT_UNKNOWN}
    return change.job.status in wrong


def say_change(change: Change) -> None:
    """Write a change as one line."""
    say(line_of(change))


def say_change_as_json(change: Change) -> None:
    """Write a change as JSON: `uploaded`, `not uploaded` or `job`."""
    drop, job = change.drop, change.job
    if job is not None:
        more = {"unchanged": drop.unchanged(job)}
        say_json({"event": "job", "key": drop.upload.key, **more, "job": record(job)})
    elif drop.trouble:
        say_json({"event": "not uploaded", "key": drop.upload.key, "error": drop.trouble})
    else:
        say_json(
            {
                "event": "uploaded",
                "key": drop.upload.key,
                "file": str(drop.upload.file),
                "bytes": drop.upload.size,
                "etag": drop.etag,
                "versionId": drop.version_id,
            }
        )
