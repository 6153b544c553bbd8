"""The jobs in progress and those that ended lately, kept up to date from the table's indexes."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from cli.stacks.submission import Pause, pause_of
from cli.terminal.output import (
    STYLES,
    Column,
    ago,
    common_folder,
    counted,
    elided,
    laid_out,
    shown,
    status,
)
from cli.terminal.words import REVIEW_WORDS, STATUS_WORDS, error_word, look_of
from shared.clock import iso
from shared.models import TERMINAL, Job, JobStatus, ReviewState
from shared.records.jobs import JobRepository

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

UNDER_WAY: Final = (JobStatus.RUNNING, JobStatus.SUBMITTING, JobStatus.ACCEPTED)
_MOST: Final = 2_000
"""Jobs of one status that a refresh reads; if there are more, the count gets a `+`."""
_LATELY_SECONDS: Final = 900
_OVERLAP_SECONDS: Final = 5
"""An index may lag behind its table, so each refresh reads this much of the last period again."""
_KEPT: Final = 500
"""The most ended jobs that are shown; all are counted."""
_AROUND: Final = 7
"""Lines of the screen that show no job."""

COLUMNS: Final = (
    Column("photo", 0, 12, 24),
    Column("status", 0),
    Column("note", 2),
    Column("look", 4, 8),
    Column("since", 3, right=True),
)


@dataclass
class Watcher:
    """Keeps the jobs in progress and the lately ended jobs up to date."""

    dynamodb: "DynamoDBClient"
    table: str
    under_way: list[Job] = field(default_factory=list)
    """Jobs in progress, oldest first."""
    ended: dict[str, Job] = field(default_factory=dict)
    """Jobs that ended lately, and all in SUBMIT_UNKNOWN, oldest change first."""
    counts: Counter[JobStatus] = field(default_factory=Counter)
    capped: bool = False
    """Whether more jobs are in progress than were read."""
    pause: Pause | None = None

    def __post_init__(self) -> None:
        self._jobs = JobRepository(self.dynamodb, self.table)
        self.begun = datetime.now(UTC)
        self._after = self.begun - timedelta(seconds=_LATELY_SECONDS)

    def refresh(self) -> None:
        """Read the jobs again."""
        now = datetime.now(UTC)
        found: list[Job] = []
        counts: Counter[JobStatus] = Counter()
        for each in UNDER_WAY:
            jobs = list(islice(self._jobs.of_status(each), _MOST))
            counts[each] = len(jobs)
            found += jobs
        # A job whose status changed between two queries is found twice.
        newest: dict[str, Job] = {}
        for job in found:
            other = newest.get(job.job_id)
            if other is None or other.updated_at < job.updated_at:
                newest[job.job_id] = job
        unknown = JobStatus.SUBMIT_UNKNOWN
        self.ended = {key: job for key, job in self.ended.items() if job.status is not unknown}
        for each in (*sorted(TERMINAL), unknown):
            # Unknown jobs wait for a person, so they are shown at any age.
            after = "0" if each is unknown else iso(self._after)
            for job in islice(self._jobs.of_status(each, after=after), _MOST):
                self.ended.pop(job.job_id, None)
                self.ended[job.job_id] = job
                newest.pop(job.job_id, None)
        self._after = now - timedelta(seconds=_OVERLAP_SECONDS)
        oldest = iso(now - timedelta(seconds=_LATELY_SECONDS))
        kept = {
            job_id: job
            for job_id, job in self.ended.items()
            # A job that is in progress again is not shown as ended.
            if (job.status is unknown or job.updated_at > oldest)
            and not (job_id in newest and newest[job_id].updated_at >= job.updated_at)
        }
        self.ended = dict(sorted(kept.items(), key=lambda pair: pair[1].updated_at))
        self.under_way = sorted(newest.values(), key=lambda job: job.created_at)
        self.capped = any(count >= _MOST for count in counts.values())
        self.counts = Counter(job.status for job in (*self.under_way, *self.ended.values()))
        self.pause = pause_of(self.dynamodb, self.table)

    @property
    def busy(self) -> bool:
        """Whether any job is in progress."""
        return bool(self.under_way)

    def summary(self) -> Text:
        """Return the counts in a line."""
        text = Text()
        for each in (*UNDER_WAY, JobStatus.SUBMIT_UNKNOWN, *sorted(TERMINAL)):
            if self.counts[each]:
                more = "+" if self.capped and each in UNDER_WAY else ""
                text.append(" · " if text else "")
                text.append(
                    f"{self.counts[each]}{more} {STATUS_WORDS[each].lower()}", style=STYLES[each]
                )
        return text or Text("No job is in progress, and none has ended lately.", style="dim")

    def changes(self, seen: dict[str, tuple[JobStatus, int]]) -> Iterator[Job]:
        """Yield the jobs that differ from `seen`, and update `seen`."""
        for job in (*self.ended.values(), *self.under_way):
            now = (job.status, job.attempt)
            if seen.get(job.job_id) != now:
                seen[job.job_id] = now
                yield job
        present = {*self.ended, *(job.job_id for job in self.under_way)}
        for gone in set(seen) - present:
            del seen[gone]

    def rows(self, most: int | None) -> list[Job]:
        """Return up to `most` jobs to show: those in progress, then the last ended ones."""
        ended = list(self.ended.values())[:-_KEPT:-1] if self.ended else []
        if most is None:
            return [*self.under_way, *ended]
        # Ended jobs get a third of the lines, or what the others leave free.
        for_ended = max(most // 3, most - len(self.under_way))
        shown_ended = ended[:for_ended]
        return [*self.under_way[: most - len(shown_ended)], *shown_ended]


class Screen:
    """The watcher's state as a table that fits the terminal."""

    def __init__(self, watcher: Watcher, *, whole: bool = False) -> None:
        """Draw this watcher; with `whole`, the table may be longer than the screen."""
        self._watcher = watcher
        self._whole = whole

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw."""
        watcher, width = self._watcher, options.max_width
        summary = watcher.summary()
        summary.truncate(width, overflow="ellipsis")
        yield summary
        if watcher.pause is not None:
            yield Text(elided(shown(str(watcher.pause)).plain, width), style="yellow")
        most = None if self._whole else max(1, console.height - _AROUND)
        rows = watcher.rows(most)
        if rows:
            folder = common_folder([job.source_key or "" for job in rows])
            if folder:
                yield Text(elided(f"In {shown(folder).plain}", width), style="dim")
            yield from laid_out(COLUMNS, [cells_of(job, folder) for job in rows], width)
        left = len(watcher.under_way) + len(watcher.ended) - len(rows)
        if left > 0:
            yield Text(f"… and {left} more: `catwalk jobs`"[:width], style="dim")


def cells_of(job: Job, folder: str = "") -> tuple[str | Text, ...]:
    """Return a job as a row of `COLUMNS`, its photo's key without the folder."""
    name = (job.source_key or "").removeprefix(folder)
    return (name, status(job.status), note_of(job), look_of(job), since_of(job))


def note_of(job: Job) -> str:
    """Return a short note on a job: its progress, error or review, or until when it waits."""
    if job.error is not None:
        return error_word(job.error.code)
    if job.status is JobStatus.RUNNING:
        return f"{job.progress} %"
    if job.waiting is not None:
        return f"until {job.waiting.until[11:16]} UTC"
    images = counted(len(job.results), "image") if job.results else ""
    if job.review_state in {ReviewState.APPROVED, ReviewState.REFUSED}:
        return f"{images}, {REVIEW_WORDS[job.review_state].lower()}"
    return images


def since_of(job: Job) -> str:
    """Return how long a job has been in progress, or how long ago it ended."""
    return ago(job.finished_at or job.created_at)
