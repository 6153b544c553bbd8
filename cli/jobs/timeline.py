"""A job told to a person: what happened when, and what can be done next.

The command line's `show` and the gallery's page of a job tell the same.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from cli.jobs.recovery import Recovery, RecoveryAction
from cli.terminal.output import credits_of, most_credits
from shared.models import ErrorCode, Job, JobStatus


class Tone(StrEnum):
    """How a moment is taken."""

    PLAIN = "plain"
    GOOD = "good"
    BAD = "bad"
    DOUBT = "doubt"


@dataclass(frozen=True)
class Moment:
    """Something that happened to a job."""

    at: str | None
    """ISO 8601, UTC; None where the record does not keep when."""
    title: str
    detail: str = ""
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True)
class Step:
    """What can be done next."""

    sentence: str
    command: str | None = None
    """A line for a shell."""
    credits: int = 0
    """What it costs at most."""


_ENDS: Final = {
    JobStatus.SUCCEEDED: ("Done", Tone.GOOD),
    JobStatus.PARTIAL: ("Partly done", Tone.DOUBT),
    JobStatus.FAILED: ("Failed", Tone.BAD),
    JobStatus.REJECTED: ("Rejected", Tone.BAD),
    JobStatus.SUBMIT_UNKNOWN: ("Nobody knows whether it was submitted", Tone.DOUBT),
}


_BEGAN: Final = {
    "drop": "Photo came",
    "shot": "Shot again",
    "event": "Asked for by an event",
}


def _origin(job: Job) -> str:
    """Return what made a job: a drop, a person who shot the photo again, or an event."""
    if job.dropped:
        return "drop"
    return "shot" if (job.request_id or "").startswith("shoot-") else "event"


def timeline(job: Job) -> list[Moment]:
    """Return what happened to a job, oldest first, its earlier attempts included."""
    moments = [
        Moment(job.created_at, _BEGAN[_origin(job)]),
    ]
    for past in job.history:
        title, tone = _ENDS.get(past.status, (past.status.value, Tone.PLAIN))
        error = f"{past.error.code}: {past.error.message}" if past.error else ""
        task = f"task {past.task_id}" if past.task_id else ""
        moments.append(
            Moment(
                past.finished_at,
                f"Attempt {past.attempt}: {title[0].lower()}{title[1:]}",
                " · ".join(part for part in (error, task) if part),
                tone,
            )
        )
    if job.submitted_at is not None:
        moments.append(
            Moment(job.submitted_at, "Submitted", f"task {job.task_id}" if job.task_id else "")
        )
    if job.resumed_at is not None:
        moments.append(Moment(job.resumed_at, "Paid task taken up again", f"task {job.task_id}"))
    moments.sort(key=lambda moment: moment.at or "")
    moments.extend(_now(job))
    return moments


def _now(job: Job) -> list[Moment]:
    if job.status in _ENDS:
        title, tone = _ENDS[job.status]
        detail = f"{job.error.code}: {job.error.message}" if job.error else ""
        if job.status is JobStatus.SUCCEEDED:
            count = len(job.results)
            detail = f"{count} image{'' if count == 1 else 's'}"
        return [Moment(job.finished_at or job.updated_at, title, detail, tone)]
    if job.waiting is not None:
        return [
            Moment(
                job.updated_at,
                "Waiting",
                f"{job.waiting.reason} Until about {job.waiting.until}.",
                Tone.DOUBT,
            )
        ]
    if job.status is JobStatus.RUNNING:
        polls = f"asked {job.polls} time{'' if job.polls == 1 else 's'}"
        return [Moment(job.updated_at, "At the vendor", f"{job.progress} %, {polls}")]
    return [Moment(job.updated_at, "On its way to the vendor")]


def took(job: Job) -> float | None:
    """Return the seconds from the photo to its end; None before that, or after more attempts."""
    if job.finished_at is None or job.attempt > 1:
        return None
    begun, ended = (datetime.fromisoformat(at) for at in (job.created_at, job.finished_at))
    return max(0.0, (ended - begun).total_seconds())


def next_steps(job: Job, recovery: Recovery) -> Sequence[Step]:
    """Return what can be done next, the cheapest first; nothing is changed."""
    steps = []
    if job.dead_letter is not None:
        steps.append(
            Step(
                "Its message is a dead letter: once the cause is mended, send it"
                " again; a photo that has no task yet costs a credit per variant.",
                "catwalk redrive",
                1 if job.task_id is None else 0,
            )
        )
    if job.status is JobStatus.SUBMIT_UNKNOWN:
        resolve = f"catwalk resolve {job.job_id}"
        steps += [
            Step("It is in the vendor's list: take its results, free.", f"{resolve} --task-id ID"),
            Step("It was charged and is lost: close it, free.", f"{resolve} --charged"),
            Step("It was not charged: submit it again, 1 credit.", f"{resolve} --not-charged", 1),
        ]
    replaced = replacement(job, recovery)
    if replaced is not None:
        return [*steps, replaced]
    wanted = {
        RecoveryAction.RECOPY: "Copy its results again from the paid task, free.",
        RecoveryAction.RESUME: "Go on with the task that was paid for, free.",
        RecoveryAction.REGENERATE: "Make new images with the next attempt",
    }
    for action, sentence in wanted.items():
        quote = recovery.quote(action, job)
        if quote.refusal is not None:
            continue
        price = f", {credits_of(quote.credits)}." if quote.credits else ""
        which = f" It is {quote.earlier}." if quote.earlier else ""
        steps.append(
            Step(f"{sentence}{price}{which}", f"catwalk {action.value} {job.job_id}", quote.credits)
        )
    if not steps and not job.terminal:
        steps.append(Step("Nothing: it goes on by itself.", f"catwalk show {job.job_id}"))
    return steps


_ANOTHER_PHOTO: Final = frozenset(
    {
        ErrorCode.EMPTY_FILE,
        ErrorCode.UNSUPPORTED_FORMAT,
        ErrorCode.CORRUPT_IMAGE,
        ErrorCode.TOO_LARGE,
        ErrorCode.PHOTO_MISSING,
        ErrorCode.PHOTO_UNREADABLE,
    }
)
"""Errors of the file itself: another attempt with the same bytes ends in the same way."""


def replacement(job: Job, recovery: Recovery) -> Step | None:
    """Return the step that helps a job whose photo, mask or request is unusable; else None.

    A new photo costs what a drop under its name costs now: its folder may ask for several variants.
    """
    if job.status is not JobStatus.REJECTED or job.error is None:
        return None
    folder, _, name = (job.source_key or "").rpartition("/")
    drop = f"catwalk drop {shlex.quote(name or 'PHOTO.jpg')}"
    to = f" --to {shlex.quote(f'{folder}/')}" if folder else ""
    by_url = job.photo is not None and job.photo.url is not None
    code = job.error.code
    if code is ErrorCode.BAD_REQUEST_EVENT or (by_url and code in _ANOTHER_PHOTO):
        return Step(
            "Correct the request as the error says, and send it again; nothing was charged for it."
        )
    if code in _ANOTHER_PHOTO and not job.dropped:
        return Step(
            "Upload a good photo under this name, which makes a job of its own, then send the"
            " request again; nothing was charged for this one."
        )
    if code in _ANOTHER_PHOTO:
        where = f" into the folder {folder}/" if folder else ""
        sentence = f"Replace this photo: drop a good one under the same name{where}"
        return _priced_drop(job, recovery, sentence, f"{drop}{to}")
    if code is ErrorCode.MASK_MISMATCH and not by_url and job.dropped:
        return _priced_drop(
            job,
            recovery,
            "Replace the mask: drop the photo again with a good one",
            f"{drop} --mask MASK.png{to}",
        )
    return None


def _priced_drop(job: Job, recovery: Recovery, sentence: str, command: str) -> Step:
    """Return a step that drops something under the name of a job's photo, with its price."""
    quote = recovery.quote_drop(job)
    if quote.refusal is not None:
        return Step(f"{sentence}. {quote.refusal}", command)
    return Step(f"{sentence}, {most_credits(quote.credits)}.", command, quote.credits)


def results_uri(job: Job) -> str:
    """Return where a job's results lie, `s3://bucket/folder/`; empty while it has none."""
    if not job.results:
        return ""
    result = job.results[0]
    return f"s3://{result.bucket}/{result.key.rpartition('/')[0]}/"


def execution_url(job: Job) -> str | None:
    """Return the page of a job's execution in the AWS console; None if it has none there."""
    if job.execution_arn is None:
        return None
    region = job.execution_arn.split(":")[3]
    return (
        f"https://{region}.console.aws.amazon.com/states/home?region={region}"
        f"#/v2/executions/details/{job.execution_arn}"
    )
