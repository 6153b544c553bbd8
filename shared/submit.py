"""What SubmitFunction does with one message: validate, claim, POST, keep the task id, start.

The order of the writes is the safety of the money: SUBMITTING stands in the record before the
POST leaves, the task id right after its answer. A message that comes again, at whatever point
the last delivery died, goes on from what the record says.
"""

import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from shared.announce import Announcer
from shared.breaker import Breaker, Open, Way
from shared.clock import parse_iso, utc_now
from shared.config import INLINE, Config
from shared.errors import InputRejected
from shared.events import (
    BrokenEvent,
    ModelRequested,
    NotAPhoto,
    PhotoDropped,
    PhotoRef,
    parse,
)
from shared.jobs import JobRepository, NewJob
from shared.models import ErrorCode, Job, JobError, JobStatus, Photo, job_id_of
from shared.observability import log_keys, logger
from shared.photos import PhotoStore, StoredPhoto
from shared.poll import first_state
from shared.purse import Purse, SpentUp
from shared.settings import FolderFile, Layer, metadata_layer, metadata_text, resolve
from shared.vmake.client import (
    Accepted,
    CreateOutcome,
    NeverSent,
    Refused,
    Trouble,
    Unknown,
    VmakeClient,
)
from shared.vmake.secret import ApiKey, ApiKeyMissing

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient

ENOUGH_SECONDS: Final = 75.0
"""A photo or variant is begun only if this much of the invocation is left: a whole POST, with all
its timeouts, and the writes around it."""
LEASE_MARGIN_SECONDS: Final = 30.0
"""Added to an invocation's remaining time: clocks differ, and a kill is not instant."""
RESUBMIT_SECONDS: Final = 30.0
"""How long `OnUnknownSubmit=resubmit` waits before it starts the next attempt."""
MAX_RESUBMITS: Final = 3
"""`OnUnknownSubmit=resubmit` starts at most this many attempts of one job by itself."""


@dataclass(frozen=True)
class Handled:
    """The message is done with; every job in it is in the record."""


@dataclass(frozen=True)
class Later:
    """The message must come again, in about so many seconds; nothing is wrong with it."""

    seconds: float
    reason: str


Outcome = Handled | Later


@dataclass(frozen=True)
class _Request:
    """One variant of one photo, ready to be claimed; `error` where it can never be a task."""

    new: NewJob
    stored: StoredPhoto | None = None
    mask: StoredPhoto | None = None


@dataclass
class Batch:
    """What the messages of one invocation share."""

    remaining_seconds: Callable[[], float]
    paused: Open | None = None
    folder_files: dict[str, FolderFile | InputRejected | None] = field(default_factory=dict)


class Submitter:
    """Turns messages into tasks."""

    def __init__(
        self,
        *,
        config: Config,
        photos: PhotoStore,
        jobs: JobRepository,
        purse: Purse,
        breaker: Breaker,
        vendor: VmakeClient,
        api_key: ApiKey,
        announcer: Announcer,
        executions: "SFNClient",
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """Work with these; nothing is called yet."""
        self._config = config
        self._photos = photos
        self._jobs = jobs
        self._purse = purse
        self._breaker = breaker
        self._vendor = vendor
        self._api_key = api_key
        self._announcer = announcer
        self._executions = executions
        self._now = now
        base = urlsplit(config.vmake_base_url)
        self._vendor_origin = f"{base.scheme}://{base.netloc}"

    def handle(self, body: str, message_id: str, batch: Batch) -> Outcome:
        """Carry one message as far as it can go now."""
        incoming = parse(
            body,
            message_id=message_id,
            photos_bucket=self._config.photos_bucket,
            vendor_origin=self._vendor_origin,
        )
        if isinstance(incoming, NotAPhoto):
            logger().debug("not a photo", extra={"source_key": incoming.key})
            return Handled()
        waits: list[Later] = []
        failure: Exception | None = None
        for request in self._requests(incoming, batch):
            if batch.remaining_seconds() < ENOUGH_SECONDS:
                waits.append(Later(0, "this invocation has no time left for every variant"))
                break
            with log_keys(
                job_id=request.new.job_id,
                source_key=request.new.source_key,
                request_id=request.new.request_id,
            ):
                try:
                    outcome = self._carry(request, batch)
                # One variant's trouble must not hold up the others; it is raised after them.
                except Exception as error:  # noqa: BLE001  see above
                    logger().exception("variant failed")
                    failure = failure or error
                    continue
            if isinstance(outcome, Later):
                waits.append(outcome)
        if failure is not None:
            raise failure
        return max(waits, key=lambda wait: wait.seconds) if waits else Handled()

    # --- from a message to requests --------------------------------------------------------

    def _requests(
        self, incoming: PhotoDropped | ModelRequested | BrokenEvent, batch: Batch
    ) -> list[_Request]:
        if isinstance(incoming, BrokenEvent):
            return [self._broken(incoming)]
        if isinstance(incoming, PhotoDropped):
            requests = self._of_drop(incoming, batch)
        else:
            requests = self._of_event(incoming, batch)
        # Two variants that come to the same settings are one job.
        return list({request.new.job_id: request for request in requests}.values())

    def _broken(self, event: BrokenEvent) -> _Request:
        return _Request(
            NewJob(
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
        )

    def _of_drop(self, drop: PhotoDropped, batch: Batch) -> list[_Request]:
        source = _Source(key=drop.key, etag=drop.etag, trigger=drop.trigger)
        try:
            stored = self._photos.open(drop.key, etag=drop.etag, version_id=drop.version_id)
        except InputRejected as rejected:
            return [self._rejected(source, rejected.error)]
        source = replace(
            source,
            etag=stored.etag,
            sku=_metadata(stored, "sku"),
            request_id=_metadata(stored, "request-id"),
        )
        try:
            folder = self._photos.nearest_folder_file(drop.key, batch.folder_files)
            own = metadata_layer(stored.metadata)
        except InputRejected as rejected:
            return [self._rejected(source, rejected.error, stored.metadata)]
        base = folder.base if folder else Layer("no folder file", {})
        if folder and source.sku is None:
            source = replace(source, sku=folder.sku)
        variants = folder.variants if folder and folder.variants else (Layer("none", {}),)
        layers = [(own, variant, base, self._defaults()) for variant in variants]
        return self._of_layers(source, stored, layers, _mask_of_metadata(stored))

    def _of_event(self, event: ModelRequested, batch: Batch) -> list[_Request]:
        defaults = self._defaults()
        variants = [
            Layer(f"variants entry {number}", values)
            for number, values in enumerate(event.variants, start=1)
        ]
        source = _Source(
            key=event.photo.source_key,
            etag="",
            trigger=event.trigger,
            sku=event.sku,
            request_id=event.request_id,
            url=event.photo.url,
        )
        if event.photo.key is None:
            layers = [(variant, defaults) for variant in variants]
            return self._of_layers(source, None, layers, event.mask)
        try:
            stored = self._photos.open(event.photo.key)
        except InputRejected as rejected:
            return [self._rejected(source, rejected.error, variant.values) for variant in variants]
        source = replace(source, etag=stored.etag, sku=event.sku or _metadata(stored, "sku"))
        try:
            folder = self._photos.nearest_folder_file(event.photo.key, batch.folder_files)
            own = metadata_layer(stored.metadata)
        except InputRejected as rejected:
            return [self._rejected(source, rejected.error, variant.values) for variant in variants]
        weaker = (own, folder.base, defaults) if folder else (own, defaults)
        layers = [(variant, *weaker) for variant in variants]
        return self._of_layers(source, stored, layers, event.mask or _mask_of_metadata(stored))

    def _of_layers(
        self,
        source: "_Source",
        stored: StoredPhoto | None,
        variants: Sequence[Sequence[Layer]],
        mask_ref: PhotoRef | None,
    ) -> list[_Request]:
        """Check the photo once and each variant's settings by themselves."""
        photo, mask, problem = Photo(url=source.url), None, None
        if stored is not None:
            photo = Photo(
                bucket=stored.bucket,
                key=stored.key,
                etag=stored.etag,
                version_id=stored.version_id,
                bytes=stored.size,
            )
        try:
            if stored is not None:
                photo = self._photos.inspect(stored)
            mask = self._mask(stored, mask_ref)
            if mask is not None and stored is not None:
                self._photos.inspect_mask(mask, photo)
        except InputRejected as rejected:
            problem = rejected.error
        # A mask that cannot be used is part of the job's identity too: the same photo without it
        # is another job, which may long have succeeded.
        mask_name = mask.key if mask else (mask_ref.key or mask_ref.url) if mask_ref else None
        requests = []
        for layers in variants:
            try:
                settings = resolve(layers, mask=mask_name)
            except InputRejected as rejected:
                raw = [dict(layer.values) for layer in layers]
                requests.append(self._rejected(source, problem or rejected.error, raw, photo))
                continue
            identity = settings.model_dump(mode="json", exclude={"mask"})
            new = NewJob(
                job_id=source.job_id(
                    self._config.photos_bucket, identity, mask.etag if mask else mask_name
                ),
                photo=photo,
                source_key=source.key,
                settings=settings,
                trigger=source.trigger,
                sku=source.sku,
                request_id=source.request_id,
                error=problem,
            )
            requests.append(_Request(new, stored, mask))
        return requests

    def _mask(self, stored: StoredPhoto | None, mask_ref: PhotoRef | None) -> StoredPhoto | None:
        if mask_ref is None:
            return self._photos.mask_beside(stored.key) if stored is not None else None
        if mask_ref.key is None:
            return None  # a URL: the vendor reads and checks it
        try:
            return self._photos.open(mask_ref.key)
        except InputRejected as rejected:
            raise InputRejected(
                ErrorCode.MASK_MISMATCH, f"The mask cannot be used: {rejected.message}"
            ) from rejected

    def _rejected(
        self,
        source: "_Source",
        error: JobError,
        settings: object = None,
        photo: Photo | None = None,
    ) -> _Request:
        in_bucket = Photo(
            bucket=self._config.photos_bucket, key=source.key, etag=source.etag or None
        )
        return _Request(
            NewJob(
                job_id=source.job_id(self._config.photos_bucket, {"unusable": settings}, None),
                photo=photo or (Photo(url=source.url) if source.url else in_bucket),
                source_key=source.key,
                settings=None,
                trigger=source.trigger,
                sku=source.sku,
                request_id=source.request_id,
                error=error,
            )
        )

    def _defaults(self) -> Layer:
        config = self._config
        values: dict[str, Any] = {
            "modelId": config.default_model_id,
            "sceneType": config.default_scene_type.value,
            "batchSize": config.default_batch_size,
        }
        if config.default_scene_id:
            values["sceneId"] = config.default_scene_id
        return Layer("the stack's defaults", values)

    # --- from a request to a running task --------------------------------------------------

    def _carry(self, request: _Request, batch: Batch) -> Outcome:
        """Take a job from wherever its record says it is to RUNNING, or as near as it gets."""
        job = self._jobs.claim(request.new)
        if job.status is JobStatus.SUBMIT_UNKNOWN:
            return self._after_unknown(job)
        if job.status is JobStatus.SUBMITTING and not job.unsent:
            left = self._lease_left(job)
            if left > 0:
                return Later(left, "another invocation is submitting this photo")
            return self._unknown(job, "the invocation that sent it never came back")
        if job.status is JobStatus.RUNNING:
            self._ensure_started(job)
            return Handled()
        if job.status in {JobStatus.ACCEPTED, JobStatus.SUBMITTING}:
            return self._submit(job, request, batch)
        self._announcer.announce(job)
        return Handled()

    def _submit(self, job: Job, request: _Request, batch: Batch) -> Outcome:
        """Spend a credit on a job, and make sure that the record knows of it at every moment."""
        if job.settings is None:
            raise LookupError(f"job {job.job_id} is {job.status} without settings")
        way = batch.paused or self._breaker.look()
        if isinstance(way, Open):
            batch.paused = way  # the batch's other photos need not look
            return Later(way.seconds, way.reason)
        image, mask = self._delivery(request)
        try:
            prepared = self._vendor.prepare_create(image=image, mask=mask, settings=job.settings)
        except ApiKeyMissing as missing:
            return self._not_now(job, way, Refused(Trouble.KEY, str(missing)))
        reserved = self._purse.reserve()
        if isinstance(reserved, SpentUp):
            return Later(reserved.seconds, "the credits of today (DailyCreditLimit) are used up")
        lease = batch.remaining_seconds() + LEASE_MARGIN_SECONDS
        submitting = self._jobs.mark_submitting(job, lease_seconds=lease)
        if submitting is None:
            self._purse.release(reserved)
            return Later(LEASE_MARGIN_SECONDS, "another delivery of this photo was first")
        outcome = self._vendor.create_task(prepared)
        match outcome:
            case Accepted(task_id):
                result = self._accepted(submitting, task_id)
            case Unknown(message):
                result = self._unknown(submitting, message)
            case Refused(Trouble.REQUEST, message):
                result = self._refused(submitting, message)
                self._purse.release(reserved)
            case NeverSent() | Refused():
                self._jobs.mark_unsent(submitting)
                self._purse.release(reserved)
                return self._not_now(submitting, way, outcome)
        self._heed(submitting, way, outcome)
        return result

    def _not_now(self, job: Job, way: Way, outcome: NeverSent | Refused) -> Outcome:
        """Let a photo wait that the vendor certainly did not take: it is not its fault."""
        logger().warning("not submitted: %s", outcome.message)
        if isinstance(outcome, Refused) and outcome.trouble is Trouble.KEY:
            self._api_key.forget()
        self._heed(job, way, outcome)
        paused = self._breaker.look()
        return Later(paused.seconds if isinstance(paused, Open) else 0, outcome.message)

    def _heed(self, job: Job, way: Way, outcome: CreateOutcome) -> None:
        """Tell the breaker, and the world if that paused submission."""
        tripped = self._breaker.heed(way, outcome)
        if tripped is not None:
            logger().error("submission pauses until %s: %s", tripped.until, tripped.reason)
            self._announcer.submission_paused(job, until=tripped.until, reason=tripped.reason)

    def _delivery(self, request: _Request) -> tuple[str, str | None]:
        """Return image and mask as the vendor shall get them: URLs, or base64."""
        new = request.new
        deliver = (
            self._photos.base64
            if self._config.photo_delivery == INLINE
            else self._photos.presigned_url
        )
        url = new.photo.url if new.photo else None
        image = deliver(request.stored) if request.stored is not None else url
        if image is None:
            raise LookupError(f"job {new.job_id} has neither an object nor a URL")
        if request.mask is not None:
            return image, deliver(request.mask)
        return image, new.settings.mask if new.settings else None

    def _accepted(self, job: Job, task_id: str) -> Outcome:
        machine = self._config.state_machine_arn.replace(":stateMachine:", ":execution:")
        try:
            running = self._jobs.keep_task_id(
                job, task_id, execution_arn=f"{machine}:{job.execution_name}"
            )
        except Exception:
            # The job will be parked as SUBMIT_UNKNOWN; this line says what to look for.
            logger().error("task %s was accepted, but could not be written down", task_id)
            raise
        if running is None:
            # Cannot happen while leases outlive invocations; the id must not be lost if it does.
            raise RuntimeError(
                f"task {task_id} was accepted, but job {job.job_id} attempt {job.attempt} is no"
                " longer SUBMITTING; keep this task id"
            )
        with log_keys(task_id=task_id):
            logger().info("submitted")
            self._ensure_started(running)
        return Handled()

    def _refused(self, job: Job, message: str) -> Outcome:
        error = JobError(
            code=ErrorCode.VENDOR_REJECTED,
            message=f"The vendor refused the request ({message}). Nothing was charged. Mend the"
            " photo or its settings and drop it again.",
        )
        failed = self._jobs.fail(job, error)
        if failed is not None:
            self._announcer.announce(failed)
        return Handled()

    def _unknown(self, job: Job, message: str) -> Outcome:
        error = JobError(
            code=ErrorCode.SUBMIT_UNKNOWN,
            message=f"It is not known whether the vendor took this task ({message}). It is not"
            " sent again, since that could cost a second credit. Look the task up at the vendor,"
            " then say what was found.",
        )
        unknown = self._jobs.mark_unknown(job, error)
        logger().error("submit unknown: %s", message)
        return Handled() if unknown is None else self._after_unknown(unknown)

    def _after_unknown(self, job: Job) -> Outcome:
        self._announcer.announce(job)
        if self._config.on_unknown_submit == "resubmit" and job.attempt <= MAX_RESUBMITS:
            again = self._jobs.start_attempt(job)
            if again is not None:
                return Later(RESUBMIT_SECONDS, "resubmitted, as OnUnknownSubmit says")
        return Handled()

    def _ensure_started(self, job: Job) -> None:
        """Start the wait loop and tell of it, unless the record says that this was done.

        The execution is named after job and attempt, so that a second start is no second loop.
        """
        if job.announced == JobStatus.RUNNING:
            return
        with contextlib.suppress(self._executions.exceptions.ExecutionAlreadyExists):
            self._executions.start_execution(
                stateMachineArn=self._config.state_machine_arn,
                name=job.execution_name,
                input=json.dumps(first_state(job, self._config)),
            )
        self._announcer.announce(job)

    def _lease_left(self, job: Job) -> float:
        if job.lease_until is None:
            return 0.0
        return (parse_iso(job.lease_until) - self._now()).total_seconds()


@dataclass(frozen=True)
class _Source:
    """Where a photo comes from, as all jobs made of it record it."""

    key: str
    etag: str
    trigger: str
    sku: str | None = None
    request_id: str | None = None
    url: str | None = None

    def job_id(self, bucket: str, settings: object, mask_etag: str | None) -> str:
        return job_id_of(
            bucket="" if self.url else bucket,
            key=self.url or self.key,
            etag=self.etag,
            settings=settings,
            mask_etag=mask_etag,
            request_id=self.request_id,
        )


def _metadata(stored: StoredPhoto, name: str) -> str | None:
    return metadata_text(stored.metadata.get(name, "")).strip() or None


def _mask_of_metadata(stored: StoredPhoto) -> PhotoRef | None:
    name = _metadata(stored, "mask")
    if name is None:
        return None
    return PhotoRef(url=name) if "://" in name else PhotoRef(key=name)
