"""Finds jobs as people name them: by the id, its beginning, or the photo's key."""

import re
from collections.abc import Iterable
from typing import Final

from cli.errors import CommandError
from cli.jobs.browse import Browser, Filter
from cli.stacks.stack import Catwalk
from shared import clients
from shared.models import Job

_BEGINNING: Final = re.compile(r"[0-9a-f]{4,31}")
_MOST_LOOKED_AT: Final = 20_000
"""Records that are looked through for an id's beginning: what a person has just read on the screen
is among the newest."""


def browser(catwalk: Catwalk) -> Browser:
    """Return what looks through a stack's jobs."""
    return Browser(clients.dynamodb(), catwalk.outputs["JobsTableName"])


def job_by_id(catwalk: Catwalk, name: str) -> Job:
    """Return the job with this id, or the one whose id begins so.

    Raises:
        CommandError: there is none, or more than one.

    """
    found = _by_id(catwalk, name)
    if found is None:
        raise CommandError(
            f"There is no job {name!r}.", "`catwalk jobs` shows them; so does `show` by photo."
        )
    return found


def full_ids(catwalk: Catwalk, names: Iterable[str]) -> list[str]:
    """Return the whole ids of jobs that are named by their ids' beginnings.

    Raises:
        CommandError: as above.

    """
    return [job_by_id(catwalk, name).job_id for name in names]


def jobs_named(catwalk: Catwalk, name: str) -> list[Job]:
    """Return the job with this id or beginning of one, or the jobs of the photo with this key.

    Returns:
        The newest first; one at least.

    Raises:
        CommandError: there is none, or several ids begin so.

    """
    found = _by_id(catwalk, name)
    if found is not None:
        return [found]
    bucket = catwalk.outputs["PhotosBucketName"]
    key = name.removeprefix(f"s3://{bucket}/")
    # An index has no empty keys, and DynamoDB refuses to look for one.
    jobs = list(catwalk.jobs.of_source(key))[::-1] if key else []
    if not jobs:
        raise CommandError(
            f"There is no job and no photo {name!r}.",
            "Give a job's id, its beginning, or a photo's whole key; `catwalk jobs TEXT` searches.",
        )
    return jobs


def _by_id(catwalk: Catwalk, name: str) -> Job | None:
    name = name.strip()
    job = catwalk.jobs.get(name) if name else None
    if job is not None or not _BEGINNING.fullmatch(name):
        return job
    found: dict[str, Job] = {}
    look, after, looked_at = browser(catwalk), None, 0
    while looked_at < _MOST_LOOKED_AT:
        page = look.page(Filter(text=name), size=50, after=after)
        found |= {job.job_id: job for job in page.jobs if job.job_id.startswith(name)}
        after, looked_at = page.after, looked_at + page.looked_at
        if after is None:
            break
    if len(found) > 1:
        raise CommandError(
            f"{len(found)} jobs begin with {name!r}.", "Give more of the id: " + ", ".join(found)
        )
    return next(iter(found.values()), None)
