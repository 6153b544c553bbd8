"""What the gallery's review forms send, and what becomes of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from cli.gallery.views import status_of
from cli.jobs.review import Decision, Reviewer, changed_since
from shared.models import Job, Review, ReviewState
from shared.records.jobs import JobRepository

_DONE: Final = {
    ReviewState.APPROVED: "It is approved.",
    ReviewState.REFUSED: "It is refused.",
    ReviewState.TO_REVIEW: "It is to be reviewed.",
}


_MOST_DIGITS: Final = 9
"""Of an attempt's number in a form."""


@dataclass(frozen=True)
class Answer:
    """What a review form is answered."""

    status: HTTPStatus
    message: str
    job: Job | None
    """As it is now; None if it is gone."""

    def document(self) -> dict[str, Any]:
        """Return the answer for the page's script."""
        job = self.job
        if job is None:
            return {"message": self.message}
        review = job.review
        return {
            "message": self.message,
            "attempt": job.attempt,
            "revision": review.revision if review else 0,
            "state": (job.review_state or ReviewState.TO_REVIEW).value,
            "chosen": list(review.chosen) if review else [],
            "refused": list(review.refused) if review else [],
            "word": status_of(job).word,
            "tone": status_of(job).tone,
        }


def take(form: Mapping[str, str], job: Job, jobs: JobRepository, reviewer: Reviewer) -> Answer:
    """Write the decision that a form holds, if the job is still as the form shows it.

    Args:
        form: `attempt` and `revision` of the job as it was shown, `state`, and the numbers of the
            `chosen` and `refused` images, with commas between them.
        job: as it is now.
        jobs: the records.
        reviewer: of the person in front of the browser.

    """
    revision = str(job.review.revision if job.review else 0)
    same_attempt = str(job.attempt) == form.get("attempt")
    changed = not same_attempt or revision != form.get("revision")
    conflict = Answer(HTTPStatus.CONFLICT, changed_since(_as_shown(job, form), job), job)
    try:
        decision = Decision.about(
            job,
            ReviewState(form.get("state", "")),
            chosen=_numbers(form.get("chosen", "")),
            refused=_numbers(form.get("refused", "")),
        )
    except ValueError as error:
        return conflict if changed else Answer(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), job)
    # A form whose answer was lost is sent again: its decision is in the record.
    if changed and not (same_attempt and decision.is_in(job.review)):
        return conflict
    reviewed = reviewer.review(job, decision)
    if reviewed is None:
        now = jobs.get(job.job_id)
        return Answer(HTTPStatus.CONFLICT, changed_since(job, now), now)
    return Answer(HTTPStatus.OK, _DONE[decision.state], reviewed)


def shown(job: Job) -> dict[str, Any]:
    """Return what a page shows of a job's review."""
    return {
        "reviewable": job.review_state is not None and bool(job.results),
        "review_state": (job.review_state or ReviewState.TO_REVIEW).value,
        "decided": decided(job.review),
    }


def decided(review: Review | None) -> str:
    """Return who decided what, as a sentence; empty if nobody has."""
    if review is None:
        return ""
    verb = {
        ReviewState.APPROVED: "Approved",
        ReviewState.REFUSED: "Refused",
        ReviewState.TO_REVIEW: "Marked" if review.marked else "Reopened",
    }[review.state]
    return f"{verb} by {review.by}"


def _as_shown(job: Job, form: Mapping[str, str]) -> Job:
    """Return the job as the form shows it, as far as its attempt and review tell."""
    attempt = form.get("attempt", "")
    changes: dict[str, Any] = {"review": None}
    if attempt.isdecimal() and len(attempt) <= _MOST_DIGITS:
        changes["attempt"] = int(attempt)
    return job.model_copy(update=changes)


def _numbers(text: str) -> list[int]:
    """Read `1,3`.

    Raises:
        ValueError: a part is no number.

    """
    return [int(part) for part in text.split(",") if part.strip()]
