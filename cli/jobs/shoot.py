"""Shoot again: a new job of a photo that has one, with other settings.

A shot is a `Fashion Model Requested` request on SubmitQueue, as a backend's event becomes one, so
SubmitFunction checks and submits it like any other. Each shot is a job of its own and costs one
credit. The original job, its results and its review stay as they are.

`Shooter.quote` reads the photo, checks it with SubmitFunction's code and returns the price. It
changes nothing. `Shooter.shoot` sends the request. Its `requestId` is made of a nonce, and
`Shooter.nonce_of` makes the nonce of what is asked for and of the jobs that the photo has with this
look so far. So two people, or two tabs, that were quoted the same state send the same request,
which is one job. An answer that was lost is sent again the same way.

The request names the photo by its key, so a photo that is replaced after the quote and before
SubmitFunction reads it is shot with its new bytes.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Self

from cli.stacks.stack import Catwalk
from shared import clients
from shared.clock import iso, utc_now
from shared.errors import InputRejected
from shared.intake.arrivals import digest
from shared.intake.messages import request_message
from shared.intake.photos import FolderCache, PhotoStore
from shared.intake.settings import FIELDS, Layer, bad_settings, metadata_layer, resolve, shown
from shared.models import ErrorCode, Job, JobStatus, Photo, Settings
from shared.records.jobs import JobRepository

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_AT_ONCE: Final = 8
"""Photos that are looked at in parallel; each costs up to four reads."""
_WITHOUT_IMAGES: Final = frozenset({JobStatus.FAILED, JobStatus.REJECTED})


@dataclass(frozen=True)
class Shot:
    """A photo with new settings, and its price."""

    job: Job
    """The job whose photo is shot again."""
    settings: Settings | None = None
    """What will be asked for; None if that is not possible."""
    refusal: str | None = None
    """Why it is not possible, as a sentence; None if it is."""
    already: Job | None = None
    """A job of the same photo with the same settings. Shooting again makes other images."""

    @property
    def credits(self) -> int:
        """The most that it can cost."""
        return int(self.refusal is None)


def new_nonce() -> str:
    """Return a nonce that no other shot has: what is shot with it is always a new job."""
    return secrets.token_urlsafe(16)


class Shooter:
    """Quotes and sends shots.

    Create one for each decision of a person: each photo is read only once, whatever settings are
    tried for it, and so is each `catwalk.json`.
    """

    def __init__(
        self,
        *,
        jobs: JobRepository,
        photos: PhotoStore,
        sqs: "SQSClient",
        queue_url: str,
        photos_bucket: str,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """Read through these, and send to this queue."""
        self._jobs = jobs
        self._photos = photos
        self._sqs = sqs
        self._queue_url = queue_url
        self._photos_bucket = photos_bucket
        self._now = now
        self._folder_files: FolderCache = {}
        self._checked: dict[tuple[str | None, ...], InputRejected | None] = {}
        """What came of reading photos with their masks."""
        self._others: dict[str, list[Job]] = {}
        """The jobs of photos, by key."""

    @classmethod
    def of(cls, stack: Catwalk) -> Self:
        """Shoot photos of a stack again, with the caller's own AWS rights."""
        bucket = stack.outputs["PhotosBucketName"]
        return cls(
            jobs=stack.jobs,
            photos=PhotoStore(clients.s3(), bucket, max_bytes=stack.config.max_photo_bytes),
            sqs=clients.sqs(),
            queue_url=stack.outputs["SubmitQueueUrl"],
            photos_bucket=bucket,
        )

    def quote(self, job: Job, values: Mapping[str, Any]) -> Shot:
        """Return what shooting a job's photo again would do and cost. Nothing is changed.

        Args:
            job: whose photo is meant.
            values: the new settings under the vendor's field names (`modelId`, `sceneType`,
                `sceneId`, `color`, `batchSize`, `extra`). The job's own settings stand for those
                that are left out.

        """
        if job.photo is None or (job.photo.key is None and job.photo.url is None):
            return Shot(job, refusal="It has no photo: its request could not be read.")
        try:
            settings = new_settings(job, values)
            self._check_once(job.photo, settings.mask)
        except InputRejected as rejected:
            return Shot(job, refusal=rejected.message)
        return Shot(job, settings, already=self._already(job, settings))

    def quote_all(self, jobs: Sequence[Job], values: Mapping[str, Any]) -> list[Shot]:
        """Return the quotes of several jobs, in their order; several are made at once."""
        if not jobs:
            return []
        with ThreadPoolExecutor(min(_AT_ONCE, len(jobs))) as pool:
            return list(pool.map(lambda job: self.quote(job, values), jobs))

    def shoot(self, shot: Shot, *, nonce: str) -> str:
        """Send a shot to SubmitFunction.

        Args:
            shot: what `quote` returned.
            nonce: `nonce_of` the shot; the same nonce is the same job. `new_nonce` makes a new
                job in any case.

        Returns:
            The request's id, which the new job bears.

        Raises:
            ValueError: the shot is not possible; the message is the quote's refusal.

        """
        if shot.refusal is not None or shot.settings is None or shot.job.photo is None:
            raise ValueError(shot.refusal or "It has no settings.")
        request_id = request_id_of(nonce)
        detail: dict[str, Any] = {
            "requestId": request_id,
            "photo": _named(shot.job.photo),
            "variants": [fields_of(shot.settings)],
        }
        if shot.settings.mask is not None:
            mask = shot.settings.mask
            detail["mask"] = {"url" if "://" in mask else "key": mask}
        if shot.job.sku is not None:
            detail["sku"] = shot.job.sku
        body = request_message(detail, event_id=secrets.token_hex(16), at=iso(self._now()))
        self._sqs.send_message(QueueUrl=self._queue_url, MessageBody=body)
        return request_id

    def _check_once(self, photo: Photo, mask: str | None) -> None:
        which = (photo.bucket, photo.key, photo.etag, photo.url, mask)
        if which not in self._checked:
            try:
                self._check(photo, mask)
            except InputRejected as rejected:
                self._checked[which] = rejected
            else:
                self._checked[which] = None
        problem = self._checked[which]
        if problem is not None:
            raise problem

    def _check(self, photo: Photo, mask_name: str | None) -> None:
        """Read what SubmitFunction will read, and check it alike.

        Raises:
            InputRejected: SubmitFunction would reject the request, or the photo is another one.

        """
        if photo.key is None:
            return  # a photo by URL: the vendor reads and checks it
        if photo.bucket not in {None, self._photos_bucket}:
            raise InputRejected(
                ErrorCode.PHOTO_MISSING,
                f"Its photo lies in {shown(photo.bucket)}, which is not this stack's bucket.",
            )
        stored = self._photos.open(photo.key)
        if photo.etag and stored.etag != photo.etag:
            raise InputRejected(
                ErrorCode.PHOTO_MISSING,
                f"Another photo lies under {shown(photo.key)} by now; it has a job of its own.",
            )
        present = self._photos.inspect(stored)
        metadata_layer(stored.metadata)
        self._photos.nearest_folder_file(photo.key, self._folder_files)
        if mask_name is None:
            mask = self._photos.mask_beside(photo.key)
        elif "://" in mask_name:
            mask = None
        else:
            mask = self._photos.mask_named(mask_name)
        if mask is not None:
            self._photos.inspect_mask(mask, present)

    def nonce_of(self, shot: Shot) -> str:
        """Return a nonce that stays the same until the photo has another job with these settings.

        It covers all that the request says, since a `requestId` stands for one request: the photo
        and its bytes, the settings and the SKU. It does not cover the job that the photo was chosen
        by: two jobs of a photo ask for the same.
        """
        photo, settings = shot.job.photo, shot.settings
        if photo is None or settings is None:
            raise ValueError(shot.refusal or "It has no settings.")
        asked = [photo.key, photo.url, photo.etag, settings.model_dump(mode="json"), shot.job.sku]
        before = sorted([other.job_id, other.attempt] for other in self._same(shot.job, settings))
        nonce = digest([*asked, before])
        # The photo may have been replaced before SubmitFunction read it. The id of that request
        # stands for a job of the other photo, and SubmitFunction would make no second one.
        while self._is_taken(shot.job, request_id_of(nonce)):
            nonce = digest([*asked, before, nonce])
        return nonce

    def sent(self, shot: Shot, nonce: str) -> Job | None:
        """Return the photo's job that was asked for with this nonce; None if there is none."""
        if shot.settings is None:
            return None
        request_id = request_id_of(nonce)
        same = self._same(shot.job, shot.settings)
        return next((other for other in same if other.request_id == request_id), None)

    def _already(self, job: Job, settings: Settings) -> Job | None:
        with_images = (
            other for other in self._same(job, settings) if other.status not in _WITHOUT_IMAGES
        )
        return next(with_images, None)

    def _is_taken(self, job: Job, request_id: str) -> bool:
        """Return whether the photo's key has a job of this request that was not rejected."""
        return any(
            other.request_id == request_id and other.status is not JobStatus.REJECTED
            for other in self._of_key(job)
        )

    def _same(self, job: Job, settings: Settings) -> list[Job]:
        """Return the jobs of the same photo with these settings."""
        wanted = fields_of(settings)
        return [
            other
            for other in self._of_key(job)
            if other.settings is not None
            and fields_of(other.settings) == wanted
            and _bytes_of(other) == _bytes_of(job)
        ]

    def _of_key(self, job: Job) -> list[Job]:
        """Return the jobs of all photos that have lain under the key of a job's photo."""
        if job.source_key is None or job.photo is None:
            return []
        if job.source_key not in self._others:
            self._others[job.source_key] = list(self._jobs.of_source(job.source_key))
        return self._others[job.source_key]


def once_each(shots: Sequence[Shot]) -> list[Shot]:
    """Return the shots without those that would make the same of the same photo.

    Of these, the one with the first job id stays, in whatever order they are given.
    """
    found: dict[object, Shot] = {}
    for shot in shots:
        photo, settings = shot.job.photo, shot.settings
        if photo is None or settings is None:
            found[shot.job.job_id] = shot
        else:
            same = digest([photo.key, photo.url, photo.etag, settings.model_dump(mode="json")])
            found[same] = min(found.get(same, shot), shot, key=lambda each: each.job.job_id)
    return list(found.values())


def new_settings(job: Job, values: Mapping[str, Any]) -> Settings:
    """Return a job's settings with new values, checked as SubmitFunction checks them.

    Raises:
        InputRejected: `bad_settings`, as a sentence about the value.

    """
    if job.settings is None:
        raise bad_settings(
            "Its settings could not be read; correct them, then drop the photo again."
        )
    chosen = Layer("the new settings", {name: values[name] for name in FIELDS if name in values})
    before = Layer("the job's own settings", fields_of(job.settings))
    return resolve((chosen, before), mask=job.settings.mask)


def fields_of(settings: Settings) -> dict[str, Any]:
    """Return settings under the vendor's field names, as a request's variant has them."""
    values = {
        "modelId": settings.model_id,
        "sceneType": settings.scene_type.value,
        "sceneId": settings.scene_id,
        "color": settings.color,
        "batchSize": settings.batch_size,
        "extra": settings.extra,
    }
    return {name: value for name, value in values.items() if value is not None}


def request_id_of(nonce: str) -> str:
    """Return the `requestId` of a shot: the same for the same nonce."""
    return f"shoot-{nonce}"


def siblings(jobs: JobRepository, job: Job) -> list[Job]:
    """Return the other jobs of the same photo, newest first."""
    if job.source_key is None:
        return []
    found = [other for other in jobs.of_source(job.source_key) if other.job_id != job.job_id]
    return sorted(found, key=lambda other: other.created_at, reverse=True)


def _named(photo: Photo) -> dict[str, str]:
    return {"key": photo.key} if photo.key is not None else {"url": photo.url or ""}


def _bytes_of(job: Job) -> tuple[str | None, str | None]:
    return (None, None) if job.photo is None else (job.photo.url, job.photo.etag)
