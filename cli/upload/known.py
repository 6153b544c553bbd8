"""Finds the photos to drop that are done already: the same bytes with the same settings."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from botocore.exceptions import ClientError

from cli.upload.collect import Upload
from shared.errors import InputRejected
from shared.intake.photos import PhotoStore
from shared.intake.settings import metadata_value
from shared.models import JobStatus, job_id_of
from shared.records.jobs import JobRepository

_AT_ONCE: Final = 8
_CHUNK: Final = 1024 * 1024
_AGAIN: Final = frozenset({JobStatus.FAILED, JobStatus.REJECTED})
"""Statuses in which a drop starts the next attempt."""


def known_jobs(
    jobs: JobRepository, photos: PhotoStore, bucket: str, uploads: Sequence[Upload]
) -> int:
    """Return how many of the jobs of these photos exist already, and so cost nothing.

    A job exists if its id does: SubmitFunction makes the id in the same way.

    A photo with a mask is never counted: its job also depends on the mask's bytes. The mask may be
    among the files, named in the photo's metadata, or beside the photo in the bucket. In a bucket
    whose encryption gives objects another ETag than their MD5, none is counted; nor without the
    right to look for jobs.
    """
    try:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return sum(pool.map(lambda upload: _known(jobs, photos, bucket, upload), uploads))
    except ClientError as error:
        # A person who may drop photos need not have the right to look for jobs.
        if error.response["Error"].get("Code") not in {"AccessDenied", "AccessDeniedException"}:
            raise
        return 0


def _known(jobs: JobRepository, photos: PhotoStore, bucket: str, upload: Upload) -> int:
    if upload.masked or metadata_value(upload.metadata, "mask") or not upload.settings:
        return 0
    there = {job.job_id for job in jobs.of_source(upload.key) if job.status not in _AGAIN}
    if not there:
        return 0
    etag = _md5(upload.file)
    job_ids = {
        job_id_of(
            bucket=bucket,
            key=upload.key,
            etag=etag,
            settings=settings.identity,
            mask_etag=None,
            request_id=metadata_value(upload.metadata, "request-id"),
        )
        for settings in upload.settings
    }
    found = len(job_ids & there)
    return 0 if found and _has_mask(photos, upload.key) else found


def _has_mask(photos: PhotoStore, key: str) -> bool:
    """Whether a mask may be beside the photo in the bucket."""
    try:
        return photos.mask_beside(key) is not None
    except InputRejected:  # it is there, or nobody may tell
        return True


def _md5(file: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with file.open("rb") as opened:
        while piece := opened.read(_CHUNK):
            digest.update(piece)
    return digest.hexdigest()
