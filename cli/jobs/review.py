"""Reviews: a person chooses among the results of a job, and approves or refuses the job.

The review stands in the job's record. Each change goes by the revision that the person saw, so two
people who review the same job never overwrite each other: the second one is told.
"""

import getpass
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import Final, Self

from botocore.exceptions import BotoCoreError, ClientError

from cli.errors import CommandError
from cli.stacks.stack import Catwalk
from cli.terminal.words import status_of
from shared import clients
from shared.clock import iso, utc_now
from shared.models import Job, Review, ReviewState
from shared.notify.announcer import Announcer
from shared.notify.events import EventPublisher
from shared.notify.outbox import ReviewOutbox
from shared.records.jobs import JobRepository

MAX_NAME: Final = 128
"""Characters of a reviewer's name that are kept."""


@dataclass(frozen=True)
class Decision:
    """What a person decides about a job's results."""

    state: ReviewState
    chosen: tuple[int, ...] = ()
    refused: tuple[int, ...] = ()

    @classmethod
    def about(
        cls, job: Job, state: ReviewState, *, chosen: Collection[int], refused: Collection[int]
    ) -> Self:
        """Return a decision about a job.

        Raises:
            ValueError: the decision does not fit the job's results; the message is a sentence.

        """
        there = {result.index for result in job.results}
        if job.review_state is None or not there:
            raise ValueError(f"It is {status_of(job)} and has no images to review.")
        if unknown := sorted({*chosen, *refused} - there):
            numbers = ", ".join(map(str, sorted(there)))
            raise ValueError(f"It has no image {unknown[0]}; it has {numbers}.")
        if both := sorted({*chosen} & {*refused}):
            raise ValueError(f"Image {both[0]} cannot be both chosen and refused.")
        if state is ReviewState.APPROVED and {*refused} == there:
            raise ValueError("All of its images are refused; refuse the job, or choose one.")
        return cls(state, tuple(sorted({*chosen})), tuple(sorted({*refused})))

    def is_in(self, review: Review | None) -> bool:
        """Whether a record's review says the same."""
        return review is not None and (review.state, review.chosen, review.refused) == (
            self.state,
            self.chosen,
            self.refused,
        )


class Reviewer:
    """Writes reviews, and publishes `Job Reviewed` for each."""

    def __init__(
        self,
        *,
        jobs: JobRepository,
        announcer: Announcer,
        outbox: ReviewOutbox,
        by: Callable[[], str],
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """Write through these.

        Args:
            jobs: the records.
            announcer: publishes the events.
            outbox: remembers the reviews whose event may be missing.
            by: names the person; called when the first review is written.
            now: the clock.

        """
        self._jobs = jobs
        self._announcer = announcer
        self._outbox = outbox
        self._by = by
        self._known: str | None = None
        self._naming = Lock()
        self._now = now

    @classmethod
    def of(cls, stack: Catwalk) -> Self:
        """Review the jobs of a stack, with the caller's own AWS rights."""
        dynamodb, outputs = clients.dynamodb(), stack.outputs
        publisher = EventPublisher(clients.events(), outputs["EventBusName"])
        return cls(
            jobs=stack.jobs,
            announcer=Announcer(publisher, stack.jobs),
            outbox=ReviewOutbox(dynamodb, outputs["JobsTableName"]),
            by=_person_on_laptop if stack.choice.laptop else _person_on_aws,
        )

    def review(self, job: Job, decision: Decision) -> Job | None:
        """Write a decision, unless it stands in the record already.

        Args:
            job: as the person saw it.
            decision: about its results.

        Returns:
            The job as it is now; None if the job or its review has changed since it was read.

        Raises:
            CommandError: AWS does not say who the person is, or the events of too many earlier
                reviews wait for EventBridge. Nothing was written.

        """
        old = job.review
        if decision.is_in(old):
            return job
        review = Review(
            state=decision.state,
            chosen=decision.chosen,
            refused=decision.refused,
            by=self._name()[:MAX_NAME],
            at=iso(self._now()),
            revision=1 if old is None else old.revision + 1,
        )
        try:
            entry = self._outbox.add(job.job_id)
        except OverflowError as error:
            raise CommandError(
                f"Nothing was saved: {error}.",
                "Check that EventBridge takes events, then decide again.",
            ) from error
        reviewed = self._jobs.review(job, review)
        # The decision stands in the record by now, or certainly does not. If what follows fails,
        # the entry stays, and ReconcileFunction publishes the event.
        with suppress(ClientError, BotoCoreError, RuntimeError):
            if reviewed is not None:
                self._announcer.reviewed(reviewed)
            self._outbox.remove(entry)
        return reviewed

    def _name(self) -> str:
        """Return the person's name; it is asked for once, also by several threads."""
        with self._naming:
            if self._known is None:
                self._known = self._by()
            return self._known


def changed_since(job: Job, now: Job | None) -> str:
    """Return what has changed about a job that could not be reviewed, as a sentence."""
    if now is None:
        return "Its record is gone."
    if now.attempt != job.attempt:
        return f"It was started anew: attempt {now.attempt} is {status_of(now)}. Nothing was saved."
    if now.review is not None and now.review != job.review:
        verb = {
            ReviewState.APPROVED: "approved it",
            ReviewState.REFUSED: "refused it",
            ReviewState.TO_REVIEW: "marked its images" if now.review.marked else "reopened it",
        }[now.review.state]
        return f"{now.review.by} {verb} in the meantime; your choice was not saved. Look again."
    return f"It is {status_of(now)} now. Nothing was saved; look again."


def _person_on_laptop() -> str:
    try:
        return getpass.getuser()
    # What it raises if the system has no name for the user differs between Python's versions.
    except (OSError, KeyError, ImportError):
        return "unknown"


def _person_on_aws() -> str:
    """Return the last part of the caller's ARN: a user's name, or a session's.

    Raises:
        CommandError: AWS does not say who the caller is.

    """
    try:
        arn: str = clients.client("sts").get_caller_identity()["Arn"]
    except (ClientError, BotoCoreError) as error:
        raise CommandError(
            f"AWS does not say who reviews: {error}", "Check the credentials."
        ) from error
    return arn.rpartition("/")[2].rpartition(":")[2]
