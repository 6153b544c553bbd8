"""Finds jobs by what a person types: an id, its first characters, or a photo's key."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from cli.errors import CommandError
from cli.jobs.browse import Browser, Filter
from cli.stacks.stack import Catwalk
from shared import clients
from shared.models import Job

_BEGINNING: Final = re.compile(r"[0-9a-f]{4,31}")
_MOST_OF_REQUEST: Final = 50
"""Jobs of one request that are looked for; it has at most 20 variants."""
_MOST_RECORDS_READ: Final = 20_000
"""Records that are searched for the first characters of an id. A person copies an id from the
screen, so its job is among the newest."""


def browser(catwalk: Catwalk) -> Browser:
    """Return a browser of a stack's jobs."""
    return Browser(clients.dynamodb(), catwalk.outputs["JobsTableName"])


def job_by_id(catwalk: Catwalk, name: str) -> Job:
    """Return the job whose id is, or begins with, this text.

    Raises:
        CommandError: no job or more than one job matches.

    """
    found = _by_id(catwalk, name)
    if found is None:
        raise CommandError(f"There is no job {name!r}.", "`catwalk jobs` lists the jobs.")
    return found


def full_ids(catwalk: Catwalk, names: Iterable[str]) -> list[str]:
    """Return the whole ids of jobs that are named by the first characters of their ids.

    Raises:
        CommandError: no job or more than one job matches one of the names.

    """
    return [job_by_id(catwalk, name).job_id for name in names]


def jobs_named(catwalk: Catwalk, name: str) -> list[Job]:
    """Return the job whose id is or begins with this text, or the jobs of a photo or a request.

    Returns:
        At least one job, the newest first.

    Raises:
        CommandError: no job matches, or several ids begin with the text.

    """
    found = _by_id(catwalk, name)
    if found is not None:
        return [found]
    bucket = catwalk.outputs["PhotosBucketName"]
    key = name.removeprefix(f"s3://{bucket}/")
    # DynamoDB refuses a query for an empty key.
    jobs = list(catwalk.jobs.of_source(key))[::-1] if key else []
    if not jobs and key:
        page = browser(catwalk).page(Filter(text=key), size=_MOST_OF_REQUEST)
        jobs = [job for job in page.jobs if job.request_id == key]
    if not jobs:
        raise CommandError(
            f"There is no job, no photo and no request {name!r}.",
            "Give a job's id or its first characters, a photo's whole key or a requestId; `--sku`"
            " selects a SKU. `catwalk jobs TEXT` searches.",
        )
    return jobs


def jobs_meant(catwalk: Catwalk, names: Sequence[str], which: Filter) -> Iterator[Job]:
    """Yield the named jobs, or all that match if none is named; each once.

    Args:
        catwalk: the stack.
        names: ids, their first characters, or photos' keys; a photo stands for all its jobs.
        which: the filter; it also applies to named jobs.

    Raises:
        CommandError: a name matches no job.

    """
    seen = set[str]()
    # All names are looked up first: a mistyped one must not end a command halfway.
    named = [job for name in names for job in jobs_named(catwalk, name)]
    for job in named if names else browser(catwalk).all(which):
        if job.job_id not in seen and which.matches(job):
            seen.add(job.job_id)
            yield job


def _by_id(catwalk: Catwalk, name: str) -> Job | None:
    name = name.strip()
    job = catwalk.jobs.get(name) if name else None
    if job is not None or not _BEGINNING.fullmatch(name):
        return job
    found: dict[str, Job] = {}
    jobs, after, records_read = browser(catwalk), None, 0
    while records_read < _MOST_RECORDS_READ:
        page = jobs.page(Filter(text=name), size=50, after=after)
        found |= {job.job_id: job for job in page.jobs if job.job_id.startswith(name)}
        after, records_read = page.after, records_read + page.records_read
        if after is None:
            break
    if len(found) > 1:
        raise CommandError(
            f"{len(found)} job ids begin with {name!r}.",
            "Give more of the id: " + ", ".join(found),
        )
    return next(iter(found.values()), None)
