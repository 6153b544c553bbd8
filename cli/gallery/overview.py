"""What stands above the grid.

That is: a number for each chip, how a folder is getting on, and a banner while submission is
paused.
"""

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from cli.gallery.views import CHOICES, UNDER_WAY, Asked
from cli.jobs.browse import Browser, Count, Filter
from cli.stacks.submission import Pause
from shared.clock import parse_iso
from shared.limits.circuit_breaker import Cause
from shared.models import Job, JobStatus

COUNT_SECONDS: Final = 0.6
"""How long a number is counted before it is shown as "at least"."""
_PACE_SECONDS: Final = 0.1
"""How long jobs are read for the estimate, once for the unfinished and once for the others."""
_RECENT: Final = 200
"""Jobs of a folder that its pace is judged by."""
_BATCH_MARGIN_SECONDS: Final = 120.0
"""Photos that came this long before the oldest unfinished one belong to the same batch."""
_MINUTE: Final = 60


@dataclass(frozen=True)
class Banner:
    """Why no photo is submitted at the moment, in a merchandiser's words."""

    title: str
    text: str
    remedy: str
    """Who mends it, and how."""


_BANNERS: Final = {
    Cause.KEY_REFUSED: (
        "The vendor does not accept the API key",
        "The person who runs this stack stores a valid key: `catwalk set-key`.",
    ),
    Cause.NO_CREDITS: (
        "The account at the vendor has no credits left",
        "The person who pays for it tops the account up.",
    ),
    Cause.THROTTLED: (
        "The vendor takes no more photos for the moment",
        "Nobody has to do anything.",
    ),
    Cause.WRONG_ADDRESS: (
        "Something refuses all photos on their way to the vendor",
        "The person who runs this stack checks the vendor's address: `catwalk doctor`.",
    ),
    Cause.OUTAGE: (
        "The vendor does not answer",
        "Nobody has to do anything, unless it lasts: `catwalk doctor` says more.",
    ),
}


def banner(pause: Pause | None) -> Banner | None:
    """Return what is told while submission is paused; None while it is not."""
    if pause is None:
        return None
    title, remedy = _BANNERS[pause.cause]
    text = "New photos wait. Nothing is lost, and they go on by themselves once it works again."
    return Banner(title, text, remedy)


def counts(browser: Browser, asked: Asked) -> dict[str, Count]:
    """Return how many jobs each choice of the chips has, beside the other filters of the page.

    Empty for a text search, which cannot be counted. All numbers together take about
    `COUNT_SECONDS`.
    """
    if asked.q:
        return {}
    base = replace(asked.filter, statuses=frozenset(), review=None)
    wanted: dict[object, Filter] = {
        status: replace(base, statuses=frozenset({status})) for status in JobStatus
    } | {choice.review: replace(base, review=choice.review) for choice in _reviews()}
    with ThreadPoolExecutor(len(wanted)) as pool:
        found = pool.map(lambda which: browser.count(which, seconds=COUNT_SECONDS), wanted.values())
        by_kind: Mapping[object, Count | None] = dict(zip(wanted, found, strict=True))
    numbers = {}
    for name, choice in CHOICES.items():
        kinds: list[object] = [choice.review] if choice.review else list(choice.statuses)
        parts = [by_kind[kind] for kind in kinds or JobStatus]
        numbers[name] = Count(
            sum(part.number for part in parts if part),
            exact=all(part is not None and part.exact for part in parts),
        )
    return numbers


def _reviews() -> list[Any]:
    return [choice for choice in CHOICES.values() if choice.review is not None]


def summary(numbers: Mapping[str, Count], seconds_left: float | None) -> str:
    """Return how a folder or an article is getting on: `38 done, 1 failed, about 20 s left`."""
    parts = [
        f"{_number(numbers[name])} {word}"
        for name, word in (
            ("done", "done"),
            ("partial", "partly done"),
            ("running", "under way"),
            ("failed", "failed"),
            ("rejected", "rejected"),
            ("unknown", "to be settled by you"),
        )
        if name in numbers and numbers[name].number
    ]
    if seconds_left is not None:
        parts.append(f"about {_duration(seconds_left)} left")
    return ", ".join(parts)


def seconds_left(browser: Browser, asked: Asked, now: datetime) -> float | None:
    """Estimate when all jobs of a page are done, from the pace of those that are; None if unknown.

    The batch is what arrived together with the oldest unfinished job. Jobs that wait behind a pause
    have no pace.
    """
    here = replace(asked.filter, statuses=UNDER_WAY, review=None)
    unfinished = browser.page(here, size=_RECENT, seconds=_PACE_SECONDS).jobs
    if not unfinished or any(job.waiting is not None for job in unfinished):
        return None
    oldest = min(map(_arrived, unfinished))
    ended = replace(here, statuses=frozenset(JobStatus) - UNDER_WAY)
    batch = [
        job
        for job in browser.page(ended, size=_RECENT, seconds=_PACE_SECONDS).jobs
        if (oldest - _arrived(job)).total_seconds() < _BATCH_MARGIN_SECONDS
        and job.finished_at is not None
    ]
    if not batch:
        return None
    begun = min(oldest, *map(_arrived, batch))
    pace = len(batch) / max(1.0, (now - begun).total_seconds())
    return len(unfinished) / pace


def _arrived(job: Job) -> datetime:
    return parse_iso(job.arrived_at or job.created_at)


def _number(count: Count) -> str:
    return f"{count.number:,}" if count.exact else f"{count.number:,}+"


def _duration(seconds: float) -> str:
    if seconds < _MINUTE:
        return f"{max(5, math.ceil(seconds / 5) * 5)} s"
    return f"{math.ceil(seconds / _MINUTE)} min"
