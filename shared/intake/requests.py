"""Decides what a message asks for: which jobs, with which settings. The decision is an arrival.

`Intake.receive` first searches for a stored arrival. If there is none, it reads the photo, its
folder's `catwalk.json`, the mask and the stack's defaults, and stores the arrival.

A drop is decided as of its own moment. A `catwalk.json` or a mask that was uploaded later does not
count, even if the message waited in the queue: `PhotoStore` reads the version of that moment. The
stack's defaults have no versions, so the defaults at the first delivery count.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from shared.clock import iso, parse_iso, utc_now
from shared.config import INLINE, Config, SubmitConfig
from shared.errors import InputRejected
from shared.intake.arrivals import (
    Arrival,
    Arrivals,
    DecidedJob,
    digest,
    drop_id,
    request_id_of,
    reused_id,
)
from shared.intake.messages import BrokenEvent, ModelRequested, PhotoDropped, PhotoRef, mask_ref
from shared.intake.photos import FolderCache, PhotoStore, StoredPhoto, mask_key
from shared.intake.settings import (
    Layer,
    check_mask_key,
    default_layer,
    drop_layers,
    metadata_layer,
    metadata_value,
    resolve,
    shown,
)
from shared.models import ErrorCode, Job, JobError, Photo, job_id_of
from shared.records.jobs import NewJob

MESSAGES_LAST: Final = timedelta(days=14)
"""SQS's longest retention; no event is older."""


@dataclass(frozen=True)
class Received:
    """The arrival of a message."""

    arrival: Arrival
    fresh: bool
    """Whether this delivery decided it, so that photo and mask were just read and checked."""


class Intake:
    """Decides each drop and each request once."""

    def __init__(
        self,
        *,
        config: SubmitConfig,
        photos: PhotoStore,
        arrivals: Arrivals,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """Read from `photos`, store decisions in `arrivals`."""
        self._config = config
        self._photos = photos
        self._arrivals = arrivals
        self._now = now
        self._vendor_origin = vendor_origin(config)

    def receive(
        self, incoming: PhotoDropped | ModelRequested, folder_files: FolderCache
    ) -> Received:
        """Return the arrival of a message; decide it if no earlier delivery has.

        Args:
            incoming: the message.
            folder_files: the `catwalk.json` files that this batch of messages has read.

        """
        if isinstance(incoming, PhotoDropped):
            arrival_id = arrival_id_of(incoming, self._config.photos_bucket)
            stored = self._arrivals.get(arrival_id)
            if stored is not None:
                return self._again(stored)
            return self._decide(self._of_drop(incoming, arrival_id, folder_files))
        return self._receive_request(incoming, folder_files)

    def claimed(self, arrival: Arrival) -> None:
        """Note that each job of an arrival has a record."""
        self._arrivals.note_claimed(arrival)

    def resume(self, arrival_id: str) -> Received | None:
        """Return an arrival that reconcile found unclaimed, or None if it does not exist."""
        stored = self._arrivals.get(arrival_id)
        return None if stored is None else self._again(stored)

    def delivered(self, job: Job, checked: Arrival | None) -> tuple[str, str | None]:
        """Return photo and mask for the vendor's request: URLs, or base64 (`PhotoDelivery`).

        Args:
            job: the job that is submitted.
            checked: the job's arrival, if this invocation has just read and checked photo and mask.
                None reads and checks the objects again that the record names.

        Raises:
            InputRejected: photo or mask are gone or can no longer be used.

        """
        if job.settings is None:
            raise LookupError(f"job {job.job_id} is {job.status} without settings")
        named_mask = job.settings.mask
        if checked is not None:
            photo, mask = checked.photo, checked.mask
        else:
            photo, mask = self._opened_again(job)
        image = self._inline_or_url(photo) if photo.key is not None else photo.url
        if image is None:
            raise LookupError(f"job {job.job_id} has neither an object nor a URL")
        return image, self._inline_or_url(mask) if mask is not None else named_mask

    def _inline_or_url(self, stored: Photo) -> str:
        if self._config.photo_delivery == INLINE:
            return self._photos.base64(stored)
        return self._photos.presigned_url(stored)

    def _opened_again(self, job: Job) -> tuple[Photo, Photo | None]:
        """Return a job's photo and mask, read and checked again."""
        photo, mask = job.photo, job.mask
        if photo is None:
            raise LookupError(f"job {job.job_id} is {job.status} without a photo")
        if photo.key is not None:
            photo = self._photos.inspect(
                self._photos.reopen(photo.key, etag=photo.etag or "", version_id=photo.version_id)
            )
        named = job.settings.mask if job.settings is not None else None
        if mask is None and named is not None and "://" not in named:
            # A record of an earlier version of Catwalk, which kept only the mask's name.
            mask = Photo(key=named)
        if mask is None:
            return photo, None
        stored = self._photos.reopen_mask(
            mask.key or "", etag=mask.etag or "", version_id=mask.version_id
        )
        self._photos.inspect_mask(stored, photo)
        return photo, photo_of(stored)

    def _again(self, stored: Arrival) -> Received:
        self._arrivals.note_handled(stored)
        return Received(stored, fresh=False)

    def _decide(self, arrival: Arrival, *, instead_of: Arrival | None = None) -> Received:
        counts = self._arrivals.decide(arrival, instead_of=instead_of)
        return Received(counts, fresh=counts is arrival)

    def _receive_request(self, event: ModelRequested, folder_files: FolderCache) -> Received:
        arrival_id = arrival_id_of(event, self._config.photos_bucket)
        stored = self._arrivals.get(arrival_id)
        if stored is None:
            return self._decide(self._of_request(event, arrival_id, folder_files))
        if stored.trigger == event.trigger:
            return self._again(stored)
        if stored.refused:
            # Nothing was spent on it. The backend may have removed the cause, so it is decided
            # again.
            decision = self._of_request(event, arrival_id, folder_files)
            return self._decide(decision, instead_of=stored)
        if stored.content == content_of(event):
            return self._again(stored)
        reused = self._arrivals.get(reused_id(event.request_id or "", content_of(event)))
        return self._again(reused) if reused else self._decide(self._reused(event, stored))

    def _reused(self, event: ModelRequested, first: Arrival) -> Arrival:
        """Refuse a request with the `requestId` of another one."""
        content = content_of(event)
        error = JobError(
            code=ErrorCode.BAD_REQUEST_EVENT,
            message=f"requestId {shown(event.request_id)} already belongs to another request, for"
            f" {shown(first.source_key)} at {first.arrived_at}. A requestId stands for one request,"
            " so nothing was made. Send this request with a new requestId.",
        )
        source = self._source_of(event)
        return self._arrival(
            source,
            reused_id(event.request_id or "", content),
            photo=self._photo_of(source),
            jobs=[self._unusable(source, error, {"reused": content})],
            content=content,
        )

    # --- a drop ----------------------------------------------------------------------------

    def _of_drop(self, drop: PhotoDropped, arrival_id: str, folder_files: FolderCache) -> Arrival:
        source = _Source(
            key=drop.key,
            etag=drop.etag,
            trigger=drop.trigger,
            dropped=True,
            arrived_at=self._arrived_at(drop.at),
        )
        try:
            stored = self._photos.open(drop.key, etag=drop.etag, version_id=drop.version_id)
        except InputRejected as rejected:
            return self._refused(source, arrival_id, rejected.error)
        source = replace(
            source,
            etag=stored.etag,
            sku=metadata_value(stored.metadata, "sku"),
            request_id=metadata_value(stored.metadata, "request-id"),
        )
        as_of = _moment_of(drop, stored)
        try:
            folder = self._photos.nearest_folder_file(drop.key, folder_files, as_of=as_of)
            own = metadata_layer(stored.metadata)
            mask = self._mask_of_metadata(stored)
        except InputRejected as rejected:
            return self._refused(source, arrival_id, rejected.error, stored.metadata)
        if folder and source.sku is None:
            source = replace(source, sku=folder.sku)
        layers = drop_layers(own, folder, default_layer(self._config))
        return self._of_layers(source, arrival_id, stored, layers, mask, as_of=as_of)

    # --- a request -------------------------------------------------------------------------

    def _of_request(
        self, event: ModelRequested, arrival_id: str, folder_files: FolderCache
    ) -> Arrival:
        defaults = default_layer(self._config)
        variants = [
            Layer(f"variants entry {number}", values)
            for number, values in enumerate(event.variants, start=1)
        ]
        asked = variants or [Layer("none", {})]
        source = self._source_of(event)
        content = content_of(event)
        if event.photo.key is None:
            by_url = [(variant, defaults) for variant in asked]
            return self._of_layers(source, arrival_id, None, by_url, event.mask, content=content)
        try:
            stored = self._photos.open(event.photo.key)
            source = replace(
                source, etag=stored.etag, sku=event.sku or metadata_value(stored.metadata, "sku")
            )
            folder = self._photos.nearest_folder_file(event.photo.key, folder_files)
            own = metadata_layer(stored.metadata)
            mask = event.mask or self._mask_of_metadata(stored)
        except InputRejected as rejected:
            jobs = [self._unusable(source, rejected.error, layer.values) for layer in asked]
            photo = self._photo_of(source)
            return self._arrival(source, arrival_id, photo=photo, jobs=jobs, content=content)
        if folder and source.sku is None:
            source = replace(source, sku=folder.sku)
        # A request without variants asks for what a drop would make.
        layers = drop_layers(own, folder, defaults)
        if variants:
            base = folder.base if folder else Layer("no folder file", {})
            layers = [(variant, own, base, defaults) for variant in variants]
        return self._of_layers(source, arrival_id, stored, layers, mask, content=content)

    def _source_of(self, event: ModelRequested) -> "_Source":
        return _Source(
            key=event.photo.source_key,
            etag="",
            trigger=event.trigger,
            sku=event.sku,
            request_id=event.request_id,
            url=event.photo.url,
            arrived_at=self._arrived_at(event.at),
        )

    # --- both ------------------------------------------------------------------------------

    def _of_layers(
        self,
        source: "_Source",
        arrival_id: str,
        stored: StoredPhoto | None,
        variants: Sequence[Sequence[Layer]],
        named_mask: PhotoRef | None,
        *,
        as_of: datetime | None = None,
        content: str = "",
    ) -> Arrival:
        """Check the photo once, and the settings of each variant separately."""
        photo, mask, problem = Photo(url=source.url), None, None
        if stored is not None:
            photo = photo_of(stored)
        try:
            if stored is not None:
                photo = self._photos.inspect(stored)
            mask = self._mask(stored, named_mask, as_of)
            if mask is not None:
                self._photos.inspect_mask(mask, photo)
        except InputRejected as rejected:
            problem = rejected.error
            if rejected.code is ErrorCode.MASK_MISMATCH and stored is not None and mask is None:
                named_mask = named_mask or PhotoRef(key=mask_key(stored.key))
        # Even a mask that cannot be used is part of the job's identity. The same photo without it
        # is another job, which may have succeeded before.
        mask_name = mask.key if mask else (named_mask.key or named_mask.url) if named_mask else None
        jobs = []
        for layers in variants:
            try:
                settings = resolve(layers)
            except InputRejected as rejected:
                raw = [dict(layer.values) for layer in layers]
                jobs.append(self._unusable(source, problem or rejected.error, raw))
                continue
            job_id = source.job_id(
                self._config.photos_bucket, settings.identity, mask.etag if mask else mask_name
            )
            jobs.append(DecidedJob(job_id=job_id, settings=settings, error=problem))
        return self._arrival(
            source,
            arrival_id,
            photo=photo,
            jobs=jobs,
            content=content,
            mask=photo_of(mask) if mask else None,
            mask_name=mask_name,
        )

    def _refused(
        self, source: "_Source", arrival_id: str, error: JobError, settings: object = None
    ) -> Arrival:
        """Return the arrival of a drop that is one job, REJECTED."""
        job = self._unusable(source, error, settings)
        return self._arrival(source, arrival_id, photo=self._photo_of(source), jobs=[job])

    def _unusable(self, source: "_Source", error: JobError, settings: object) -> DecidedJob:
        """Return a REJECTED job; its id is made of the settings that could not be used."""
        job_id = source.job_id(self._config.photos_bucket, {"unusable": settings}, None)
        return DecidedJob(job_id=job_id, error=error)

    def _photo_of(self, source: "_Source") -> Photo:
        if source.url:
            return Photo(url=source.url)
        return Photo(bucket=self._config.photos_bucket, key=source.key, etag=source.etag or None)

    def _arrival(
        self,
        source: "_Source",
        arrival_id: str,
        *,
        photo: Photo,
        jobs: Sequence[DecidedJob],
        content: str = "",
        mask: Photo | None = None,
        mask_name: str | None = None,
    ) -> Arrival:
        kept_for_ever = not source.dropped and source.request_id is not None
        return Arrival(
            arrival_id=arrival_id,
            trigger=source.trigger,
            source_key=source.key,
            photo=photo,
            mask=mask,
            mask_name=mask_name,
            sku=source.sku,
            request_id=source.request_id,
            dropped=source.dropped,
            arrived_at=source.arrived_at,
            content=content,
            expires_at=None if kept_for_ever else self._arrivals.expiry(),
            # Two variants with the same settings are one job.
            jobs=tuple({job.job_id: job for job in jobs}.values()),
        )

    def _mask_of_metadata(self, stored: StoredPhoto) -> PhotoRef | None:
        try:
            named = mask_ref(
                metadata_value(stored.metadata, "mask"),
                self._config.photos_bucket,
                self._vendor_origin,
            )
        except InputRejected as rejected:
            raise InputRejected(
                ErrorCode.MASK_MISMATCH,
                f"The photo's metadata names a mask that cannot be used: {rejected.message}",
            ) from rejected
        if named is not None and named.key is not None:
            check_mask_key(named.key, stored.key)
        return named

    def _mask(
        self, stored: StoredPhoto | None, named: PhotoRef | None, as_of: datetime | None
    ) -> StoredPhoto | None:
        if named is None:
            return self._photos.mask_beside(stored.key, as_of=as_of) if stored is not None else None
        if named.key is None:
            return None  # a URL: the vendor reads and checks it
        return self._photos.mask_named(named.key, as_of=as_of)

    def _arrived_at(self, said: str | None) -> str:
        """Return when a photo or request arrived: the event's time if it is plausible, else now."""
        now = self._now()
        if said is not None and iso(now - MESSAGES_LAST) <= said <= iso(now):
            return said
        return iso(now)


@dataclass(frozen=True)
class _Source:
    """The source of a photo, in the form that all its jobs record."""

    key: str
    etag: str
    trigger: str
    arrived_at: str
    sku: str | None = None
    request_id: str | None = None
    url: str | None = None
    dropped: bool = False

    def job_id(self, bucket: str, settings: object, mask_etag: str | None) -> str:
        return job_id_of(
            bucket="" if self.url else bucket,
            key=self.url or self.key,
            etag=self.etag,
            settings=settings,
            mask_etag=mask_etag,
            request_id=self.request_id,
        )


def arrival_id_of(incoming: PhotoDropped | ModelRequested, photos_bucket: str) -> str:
    """Return the id of a message's arrival: the same for each delivery of the same event."""
    if isinstance(incoming, PhotoDropped):
        return drop_id(photos_bucket, incoming.key, incoming.trigger)
    return request_id_of(incoming.request_id, incoming.trigger)


def stored_arrival(
    arrivals: Arrivals, incoming: PhotoDropped | ModelRequested, photos_bucket: str
) -> Arrival | None:
    """Return the stored arrival of a message, or None if it was not decided yet."""
    arrival = arrivals.get(arrival_id_of(incoming, photos_bucket))
    if arrival is None or isinstance(incoming, PhotoDropped) or incoming.request_id is None:
        return arrival
    content = content_of(incoming)
    if arrival.content == content or arrival.refused:
        return arrival
    return arrivals.get(reused_id(incoming.request_id, content))


def content_of(event: ModelRequested) -> str:
    """Return a digest of what a request asks for.

    The queries of URLs do not count, since a backend that repeats a request signs its URLs again.
    """
    return digest(
        [_named(event.photo), _named(event.mask), [dict(v) for v in event.variants], event.sku]
    )


def _named(ref: PhotoRef | None) -> object:
    return None if ref is None else [ref.key, (ref.url or "").partition("?")[0]]


def vendor_origin(config: Config) -> str:
    """Return `scheme://host[:port]` of `VmakeBaseUrl`."""
    base = urlsplit(config.vmake_base_url)
    return f"{base.scheme}://{base.netloc}"


def photo_of(stored: StoredPhoto) -> Photo:
    """Return a record's photo for an object that was not inspected."""
    return Photo(
        bucket=stored.bucket,
        key=stored.key,
        etag=stored.etag,
        version_id=stored.version_id,
        bytes=stored.size,
    )


def broken_job(event: BrokenEvent) -> NewJob:
    """Return the REJECTED job of a message that cannot be read."""
    return NewJob(
        job_id=job_id_of(
            bucket="",
            key=event.source_key or "",
            etag="",
            settings=event.error.message,
            mask_etag=None,
            request_id=event.request_id,
        ),
        photo=None,
        source_key=event.source_key,
        settings=None,
        trigger=event.trigger,
        sku=event.sku,
        request_id=event.request_id,
        error=event.error,
    )


def _moment_of(drop: PhotoDropped, stored: StoredPhoto) -> datetime | None:
    """Return when a photo was dropped, by S3's clock; None means now.

    Both the event's time and `LastModified` are the time of the drop. Only for a multipart upload,
    `LastModified` is the time of its beginning. So the later one counts.
    """
    if drop.at is None:
        return None
    said = parse_iso(drop.at)
    return said if stored.last_modified is None else max(said, stored.last_modified)
