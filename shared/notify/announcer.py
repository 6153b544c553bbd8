"""Publishes each status of a record on CatwalkBus, at least once.

The event is published after the status is written, and then the record notes it. If the function
crashes in between, the next invocation that reads the record publishes the event. So an event may
be published twice after a crash, but is never missing. Each published status is also counted in the
metrics.
"""

from shared.models import Job
from shared.notify.events import EventPublisher
from shared.notify.metrics import Metrics
from shared.records.jobs import JobRepository


class Announcer:
    """Publishes the statuses of jobs."""

    def __init__(
        self, events: EventPublisher, jobs: JobRepository, metrics: Metrics | None = None
    ) -> None:
        """Publish through `events`, note it through `jobs`, count it in `metrics`.

        The `catwalk` command gives no `metrics`: nothing would collect what it prints.
        """
        self._events = events
        self._jobs = jobs
        self._metrics = metrics

    def announce(self, job: Job) -> None:
        """Publish a job's present status, unless the record says that it was published."""
        if job.announced != job.status:
            self._events.job_changed(job)
            if self._metrics is not None:
                self._metrics.job_announced(job)
            self._jobs.mark_announced(job)

    def reviewed(self, job: Job) -> None:
        """Publish a person's review of a job's results."""
        self._events.job_reviewed(job)

    def submission_paused(self, job: Job, *, until: str, reason: str) -> None:
        """Publish that submission pauses for all photos; `job` is the one whose submit failed."""
        self._events.submission_paused(job, until=until, reason=reason)
