"""What SubmitFunction does with one message: validate, claim, POST, keep the task id, start.

The order of the writes is the safety of the money: SUBMITTING stands in the record before the
POST leaves, the task id right after its answer. A message that comes again, at whatever point
the last delivery died, goes on from what the record says.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

from shared.announce import Announcer
from shared.breaker import (
    PATIENCE_SECONDS,
    SUSPECT_SECONDS,
    WATCHED,
    Breaker,
    Candidate,
    Open,
    Tripped,
    Turn,
    Way,
)
from shared.clock import iso, parse_iso, utc_now
from shared.config import INLINE, Config
from shared.errors import InputRejected
from shared.events import (
    BrokenEvent,
    JobContinued,
    ModelRequested,
    NotAPhoto,
    PhotoDropped,
    PhotoRef,
    continue_message,
    mask_ref,
    parse,
)
from shared.jobs import JobRepository, NewJob
from shared.ledger import Ledger
from shared.metrics import Metrics
from shared.models import (
    ErrorCode,
    Job,
    JobError,
    JobStatus,
    Photo,
    Settings,
    job_id_of,
)
from shared.observability import keys_of, log_keys, logger
from shared.photos import PhotoStore, StoredPhoto
from shared.purse import Purse, Reserved, SpentUp
from shared.settings import FolderFile, Layer, metadata_layer, metadata_text, resolve
from shared.start import Starter, execution_arn
from shared.suspicion import DOUBTFUL, MANY, ends, is_known, refused_again
from shared.vmake.client import (
    Accepted,
    CreateOutcome,
    NeverSent,
    PreparedCreate,
    Refused,
    Trouble,
    Unknown,
    VmakeClient,
)
from shared.vmake.secret import ApiKey, ApiKeyMissing

ENOUGH_SECONDS: Final = 85.0
"""A photo or variant is begun only if this much of the invocation is left: a whole POST, with all
its timeouts, and the writes around it."""
LEASE_MARGIN_SECONDS: Final = 30.0
"""Added to an invocation's remaining time: clocks differ, and a kill is not instant."""
NAP_SECONDS: Final = 4.0
"""A pause that is no longer is waited for inside the function, in place of one more round of all
photos through the queue."""
DOZE_SECONDS: Final = 1.0
"""Who has waited for its turn for longer looks at the breaker again before it goes."""
RESUBMIT_SECONDS: Final = 30.0
"""How long `OnUnknownSubmit=resubmit` waits before it starts the next attempt."""
MESSAGES_LAST: Final = timedelta(days=14)
"""No event is older: SQS keeps none for longer."""
MAX_RESUBMITS: Final = 3
"""`OnUnknownSubmit=resubmit` starts at most this many attempts of one job by itself."""


@dataclass(frozen=True)
class Handled:
    """The job is as far as it can be brought here; the rest is the wait loop's, or nobody's."""


@dataclass(frozen=True)
class Later:
    """Something must come again, in about so many seconds; nothing is wrong with it."""

    seconds: float
    reason: str
    body: str | None = None
    """The message that goes on with it; None is the very message that was handled."""
    keys: Mapping[str, str | int] = field(default_factory=dict)
    """Whom it is about, for the log."""


Outcome = Handled | Later


@dataclass(frozen=True)
class _Request:
    """One variant of one photo, ready to be claimed; `error` where it can never be a task."""

    new: NewJob
    stored: StoredPhoto | None = None
    mask: StoredPhoto | None = None


@dataclass
class _Given:
    """The way that a photo was given."""

    way: Way
    used: bool = False
    """Whether a POST was sent on it, or the breaker was told why none was."""


Delivery = Callable[[], tuple[str, str | None]]
"""Gives image and mask as the vendor shall get them; raises InputRejected if they are gone."""


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
        ledger: Ledger,
        starter: Starter,
        metrics: Metrics,
        now: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], None] = time.sleep,
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
        self._ledger = ledger
        self._starter = starter
        self._metrics = metrics
        self._now = now
        self._sleep = sleep
        base = urlsplit(config.vmake_base_url)
        self._vendor_origin = f"{base.scheme}://{base.netloc}"

    def handle(self, body: str, message_id: str, batch: Batch) -> tuple[Later, ...]:
        """Carry one message as far as it can go now, and return what must come again."""
        incoming = parse(
            body,
            message_id=message_id,
            photos_bucket=self._config.photos_bucket,
            vendor_origin=self._vendor_origin,
        )
        if isinstance(incoming, NotAPhoto):
            logger().debug("not a photo", extra={"source_key": incoming.key})
            return ()
        if isinstance(incoming, JobContinued):
            outcome = self._continue(incoming, batch)
            return (outcome,) if isinstance(outcome, Later) else ()
        with log_keys(**_names(incoming)):
            return self._each_variant(incoming, batch)

    def _each_variant(
        self, incoming: PhotoDropped | ModelRequested | BrokenEvent, batch: Batch
    ) -> tuple[Later, ...]:
        waits: list[Later] = []
        failure: Exception | None = None
        made: list[Job] = []
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
                    job = self._jobs.claim(request.new, made=made.append)
                    if made == [job]:  # a photo is one, whatever its variants
                        self._metrics.photo_in(job)
                    outcome = self._carry(job, partial(self._delivery, request), batch)
                # One variant's trouble must not hold up the others; it is raised after them.
                except Exception as error:  # noqa: BLE001  see above
                    logger().exception("variant failed")
                    failure = failure or error
                    continue
            if isinstance(outcome, Later):
                waits.append(outcome)
        if failure is not None:
            raise failure
        return tuple(waits)

    def _continue(self, message: JobContinued, batch: Batch) -> Outcome:
        """Go on with a job from what its record says, whatever the photo's folder says by now."""
        job = self._jobs.get(message.job_id)
        if job is None:
            logger().warning("no such job", extra={"job_id": message.job_id})
            return Handled()
        with log_keys(**keys_of(job)):
            try:
                if job.buried:
                    job = self._jobs.start_attempt(job) or job
                return self._carry(job, partial(self._delivery_again, job), batch)
            except Exception:
                # Whoever lets the message come again does not know which job it is about.
                logger().exception("job could not go on")
                raise

    # --- from a message to requests --------------------------------------------------------

    def _requests(
        self, incoming: PhotoDropped | ModelRequested | BrokenEvent, batch: Batch
    ) -> list[_Request]:
        if isinstance(incoming, BrokenEvent):
            return [_Request(broken_job(incoming))]
        if isinstance(incoming, PhotoDropped):
            requests = self._of_drop(incoming, batch)
        else:
            requests = self._of_event(incoming, batch)
        # Two variants that come to the same settings are one job.
        return list({request.new.job_id: request for request in requests}.values())

    def _of_drop(self, drop: PhotoDropped, batch: Batch) -> list[_Request]:
        source = _Source(
            key=drop.key,
            etag=drop.etag,
            trigger=drop.trigger,
            dropped=True,
            arrived_at=self._arrival(drop.at),
        )
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
            mask = self._mask_of_metadata(stored)
        except InputRejected as rejected:
            return [self._rejected(source, rejected.error, stored.metadata)]
        base = folder.base if folder else Layer("no folder file", {})
        if folder and source.sku is None:
            source = replace(source, sku=folder.sku)
        variants = folder.variants if folder and folder.variants else (Layer("none", {}),)
        layers = [(own, variant, base, self._defaults()) for variant in variants]
        return self._of_layers(source, stored, layers, mask)

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
            arrived_at=self._arrival(event.at),
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
            mask = event.mask or self._mask_of_metadata(stored)
        except InputRejected as rejected:
            return [self._rejected(source, rejected.error, variant.values) for variant in variants]
        weaker = (own, folder.base, defaults) if folder else (own, defaults)
        layers = [(variant, *weaker) for variant in variants]
        return self._of_layers(source, stored, layers, mask)

    def _of_layers(
        self,
        source: "_Source",
        stored: StoredPhoto | None,
        variants: Sequence[Sequence[Layer]],
        named_mask: PhotoRef | None,
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
            mask = self._mask(stored, named_mask)
            if mask is not None:
                self._photos.inspect_mask(mask, photo)
        except InputRejected as rejected:
            problem = rejected.error
        # A mask that cannot be used is part of the job's identity too: the same photo without it
        # is another job, which may long have succeeded.
        mask_name = mask.key if mask else (named_mask.key or named_mask.url) if named_mask else None
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
                dropped=source.dropped,
                arrived_at=source.arrived_at,
                error=problem,
            )
            requests.append(_Request(new, stored, mask))
        return requests

    def _mask_of_metadata(self, stored: StoredPhoto) -> PhotoRef | None:
        try:
            return mask_ref(
                _metadata(stored, "mask"), self._config.photos_bucket, self._vendor_origin
            )
        except InputRejected as rejected:
            raise InputRejected(
                ErrorCode.MASK_MISMATCH,
                f"The photo's metadata names a mask that cannot be used: {rejected.message}",
            ) from rejected

    def _mask(self, stored: StoredPhoto | None, named: PhotoRef | None) -> StoredPhoto | None:
        if named is None:
            return self._photos.mask_beside(stored.key) if stored is not None else None
        if named.key is None:
            return None  # a URL: the vendor reads and checks it
        try:
            return self._photos.open(named.key)
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
                dropped=source.dropped,
                arrived_at=source.arrived_at,
                error=error,
            )
        )

    def _arrival(self, said: str | None) -> str:
        """Return when a photo or request arrived: as its event says, unless that cannot be."""
        now = self._now()
        if said is not None and iso(now - MESSAGES_LAST) <= said <= iso(now):
            return said
        return iso(now)

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

    def _carry(self, job: Job, delivery: Delivery, batch: Batch) -> Outcome:
        """Take a job from wherever its record says it is to RUNNING, or as near as it gets."""
        if job.status is JobStatus.SUBMIT_UNKNOWN:
            return self._after_unknown(job)
        if job.unspent:
            return self._submit(job, delivery, batch)
        if job.status is JobStatus.SUBMITTING:
            left = self._lease_left(job)
            if left > 0:
                return _again(job, left, "another invocation is submitting this photo")
            return self._unknown(job, "the invocation that sent it never came back")
        if job.status is JobStatus.RUNNING:
            self._starter.ensure(job)
            return Handled()
        self._announcer.announce(job)
        return Handled()

    def _submit(self, job: Job, delivery: Delivery, batch: Batch) -> Outcome:
        """Send a job to the vendor if the way is free, and let it wait if not."""
        left = self._own_wait_left(job)
        if left > 0:
            return _again(job, left, "this photo was refused, and is tried again later")
        way = batch.paused or self._look(job, batch)
        if isinstance(way, Open):
            if way.untold is not None:
                self._tell_of_pause(job, way.untold)
            if not way.one:
                batch.paused = replace(way, untold=None)  # the batch's other photos need not look
            return self._wait(job, way.seconds, way.reason, held=way.watched)
        given = _Given(way)
        try:
            outcome = self._post(job, delivery, given, batch)
        except Exception:
            self._give_back(given)
            raise
        self._give_back(given)
        return outcome

    def _give_back(self, given: "_Given") -> None:
        """Let another photo be the probe if this one ended without a POST."""
        if not given.used:
            self._breaker.give_back(given.way)

    def _post(self, job: Job, delivery: Delivery, given: "_Given", batch: Batch) -> Outcome:
        """Make the request, and send it if that can be done now."""
        if job.settings is None:
            raise LookupError(f"job {job.job_id} is {job.status} without settings")
        if given.way.pauses:
            self._api_key.forget()  # another function's probe may have met a key that is mended
        try:
            image, mask = delivery()
        except InputRejected as rejected:
            return self._reject(job, rejected.error)
        try:
            prepared = self._vendor.prepare_create(image=image, mask=mask, settings=job.settings)
        except ApiKeyMissing as missing:
            given.used = True
            refused = Refused(Trouble.KEY, str(missing))
            self._heed(job, replace(given.way, candidate=None), refused)  # it is not the photo's
            return self._not_now(job, refused)
        if given.way.pace is not None:
            way = self._in_turn(job, given.way, batch)
            if isinstance(way, Open):
                return self._wait(job, way.seconds, way.reason, held=way.watched)
            given.way = way
        return self._spend(job, prepared, given, batch)

    def _look(self, job: Job, batch: Batch) -> Way | Open:
        """Ask the breaker; a pause that is hardly longer than a look is waited for here."""
        while True:
            way = self._breaker.look(Candidate(job.job_id, job.refusals is not None))
            longest = min(NAP_SECONDS, self._patience(batch))
            if isinstance(way, Way) or way.untold is not None or way.seconds > longest:
                return way
            self._sleep(way.seconds)

    def _in_turn(self, job: Job, way: Way, batch: Batch) -> Way | Open:
        """Wait here until it is this photo's turn, unless that is far off."""
        while True:
            turn = self._breaker.turn(way, self._patience(batch))
            patience = self._patience(batch)
            if isinstance(turn, Open) and turn.seconds > patience:
                return turn
            if isinstance(turn, Turn) and turn.seconds > patience + DOZE_SECONDS:
                # The pace was cut since it was looked at; a POST that is begun late may be killed.
                return Open(turn.seconds, "the vendor throttles, and the turn is far off")
            if turn is not None:
                self._sleep(turn.seconds)
            if isinstance(turn, Turn) and turn.seconds <= DOZE_SECONDS:
                return turn.way
            seen = self._look(job, batch)
            if isinstance(seen, Open) or seen.pauses:
                return seen
            if isinstance(turn, Turn):
                return turn.way
            way = seen

    @staticmethod
    def _patience(batch: Batch) -> float:
        """Return for how many seconds a photo may wait here: its POST still needs its time."""
        return min(PATIENCE_SECONDS, batch.remaining_seconds() - ENOUGH_SECONDS)

    def _spend(self, job: Job, prepared: PreparedCreate, given: "_Given", batch: Batch) -> Outcome:
        """Spend a credit on a job, and make sure that the record knows of it at every moment."""
        reserved = self._purse.reserve()
        if isinstance(reserved, SpentUp):
            self._metrics.credits_used(100)
            batch.paused = Open(
                reserved.seconds,
                "the credits of today (DailyCreditLimit) are used up",
                watched=True,
            )
            return self._wait(job, reserved.seconds, batch.paused.reason, held=True)
        if reserved.used is not None:
            self._metrics.credits_used(reserved.used)
        lease = batch.remaining_seconds() + LEASE_MARGIN_SECONDS
        submitting = self._jobs.mark_submitting(job, lease_seconds=lease)
        if submitting is None:
            self._purse.release(reserved)
            return _again(job, LEASE_MARGIN_SECONDS, "another delivery of this photo was first")
        way, given.used = given.way, True
        outcome = self._vendor.create_task(prepared)
        match outcome:
            case Accepted(task_id):
                result = self._accepted(submitting, task_id)
            case Unknown(message):
                result = self._unknown(submitting, message)
            case Refused(Trouble.REQUEST, message):
                result = self._refused(submitting, message)
                self._purse.release(reserved)
            case Refused(trouble) if trouble in DOUBTFUL:
                return self._doubtful(submitting, way, outcome, reserved)
            case NeverSent() | Refused():
                unsent = self._jobs.mark_unsent(submitting)
                self._purse.release(reserved)
                self._heed(unsent or submitting, way, outcome)
                return self._not_now(unsent or submitting, outcome)
        self._heed(submitting, way, outcome)
        return result

    def _doubtful(self, job: Job, way: Way, outcome: Refused, reserved: Reserved) -> Outcome:
        """Deal with a refusal that may be about the account or about this photo alone."""
        trouble = outcome.trouble
        refusals = refused_again(
            job.refusals,
            trouble,
            now=self._now(),
            cleared=job.job_id in way.cleared,
            many=len(way.denied | {job.job_id}) >= MANY,
        )
        if ends(refusals, trouble):
            others = " while it took others" if is_known(refusals) else ""
            what = f"this photo {refusals.count} times{others}"
            result = self._refused(job, outcome.message, what)
            self._purse.release(reserved)
            self._breaker.give_back(way)
            return result
        unsent = self._jobs.mark_unsent(job, refusals=refusals) or job
        self._purse.release(reserved)
        if is_known(refusals):
            self._breaker.note_awaited(job.job_id)
            pauses = False
        else:
            denied = trouble is Trouble.DENIED
            pauses = not denied or self._breaker.note_denied(job.job_id) >= MANY
        if pauses:
            self._heed(unsent, way, outcome)
            return self._not_now(unsent, outcome, later=SUSPECT_SECONDS if way.pauses else 0)
        self._breaker.give_back(way)
        logger().warning("not submitted: %s", outcome.message)
        return self._wait(unsent, self._own_wait_left(unsent), outcome.message)

    def _own_wait_left(self, job: Job) -> float:
        """Return for how long a photo that was refused waits although others are tried."""
        if job.refusals is None or job.refusals.until is None:
            return 0.0
        return (parse_iso(job.refusals.until) - self._now()).total_seconds()

    def _not_now(self, job: Job, outcome: NeverSent | Refused, *, later: float = 0) -> Outcome:
        """Let a photo wait that the vendor certainly did not take, until the pause is over.

        Args:
            job: of the photo.
            outcome: why it waits.
            later: seconds that it comes back after the others, so that one of them is tried.

        """
        logger().warning("not submitted: %s", outcome.message)
        if isinstance(outcome, Refused) and outcome.trouble is Trouble.KEY:
            self._api_key.forget()
        held = isinstance(outcome, Refused) and outcome.trouble in WATCHED
        seconds = self._breaker.seconds_left() + later
        return self._wait(job, seconds, outcome.message, held=held)

    def _wait(self, job: Job, seconds: float, reason: str, *, held: bool = False) -> Outcome:
        """Let a photo wait, and say so in its record; `held` is for what has its own alarm."""
        self._jobs.note_waiting(job, seconds=seconds, reason=reason, held=held)
        if not held:
            self._metrics.has_waited(job, until=iso(self._now()))
        return _again(job, seconds, reason)

    def _reject(self, job: Job, error: JobError) -> Outcome:
        """End a job whose photo or mask was there when it was claimed, and is no more."""
        rejected = self._jobs.reject(job, error)
        if rejected is not None:
            self._announcer.announce(rejected)
        return Handled()

    def _heed(self, job: Job, way: Way, outcome: CreateOutcome) -> None:
        """Tell the breaker, and the world if that paused submission."""
        tripped = self._breaker.heed(way, outcome)
        if tripped is not None:
            logger().error("submission pauses until %s: %s", tripped.until, tripped.reason)
            self._tell_of_pause(job, tripped)

    def _tell_of_pause(self, job: Job, tripped: Tripped) -> None:
        self._announcer.submission_paused(job, until=tripped.until, reason=tripped.reason)
        self._breaker.note_told(tripped)

    def _delivery(self, request: _Request) -> tuple[str, str | None]:
        """Return image and mask as the vendor shall get them: URLs, or base64."""
        new = request.new
        return self._delivered(new.photo, request.stored, new.settings, request.mask)

    def _delivered(
        self,
        photo: Photo | None,
        stored: StoredPhoto | None,
        settings: Settings | None,
        mask: StoredPhoto | None,
    ) -> tuple[str, str | None]:
        deliver = (
            self._photos.base64
            if self._config.photo_delivery == INLINE
            else self._photos.presigned_url
        )
        url = photo.url if photo else None
        image = deliver(stored) if stored is not None else url
        if image is None:
            raise LookupError("the job has neither an object nor a URL")
        if mask is not None:
            return image, deliver(mask)
        return image, settings.mask if settings else None

    def _delivery_again(self, job: Job) -> tuple[str, str | None]:
        """Return the same for a job of which only its record is at hand."""
        photo, settings = job.photo, job.settings
        if photo is None or settings is None:
            raise LookupError(f"job {job.job_id} is {job.status} without photo or settings")
        named = settings.mask
        ref = None
        if named is not None:
            ref = PhotoRef(url=named) if "://" in named else PhotoRef(key=named)
        stored = mask = None
        if photo.key is not None:
            stored = self._photos.open(
                photo.key, etag=photo.etag or "", version_id=photo.version_id
            )
            photo = self._photos.inspect(stored)
        if ref is not None:
            mask = self._mask(stored, ref)
        if mask is not None:
            self._photos.inspect_mask(mask, photo)
        return self._delivered(photo, stored, settings, mask)

    def _accepted(self, job: Job, task_id: str) -> Outcome:
        arn = execution_arn(self._config.state_machine_arn, job.job_id, job.attempt)
        try:
            running = self._jobs.keep_task_id(job, task_id, execution_arn=arn)
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
        with log_keys(**keys_of(running)):
            logger().info("submitted")
            self._metrics.has_waited(running, until=running.submitted_at)
            self._starter.ensure(running)
        return Handled()

    def _refused(self, job: Job, message: str, what: str = "the request") -> Outcome:
        error = JobError(
            code=ErrorCode.VENDOR_REJECTED,
            message=f"The vendor refused {what} ({message}). Nothing was charged. Mend the"
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
        self._ledger.doubt(job)
        self._announcer.announce(job)
        if self._config.on_unknown_submit == "resubmit" and job.attempt <= MAX_RESUBMITS:
            again = self._jobs.start_attempt(job)
            if again is not None:
                return self._wait(again, RESUBMIT_SECONDS, "resubmitted, as OnUnknownSubmit says")
        return Handled()

    def _lease_left(self, job: Job) -> float:
        if job.lease_until is None:
            return 0.0
        return (parse_iso(job.lease_until) - self._now()).total_seconds()


def broken_job(event: BrokenEvent) -> NewJob:
    """Return the REJECTED job that a message becomes which cannot be read as a request."""
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


def _again(job: Job, seconds: float, reason: str) -> Later:
    """Return what has this attempt of a job gone on with, from its record."""
    return Later(seconds, reason, continue_message(job), keys_of(job))


def _names(incoming: PhotoDropped | ModelRequested | BrokenEvent) -> dict[str, str | None]:
    """Return what a message's lines in the log are found by before it has come to a job."""
    if isinstance(incoming, PhotoDropped):
        return {"source_key": incoming.key}
    if isinstance(incoming, ModelRequested):
        return {"source_key": incoming.photo.source_key, "request_id": incoming.request_id}
    return {"source_key": incoming.source_key, "request_id": incoming.request_id}


@dataclass(frozen=True)
class _Source:
    """Where a photo comes from, as all jobs made of it record it."""

    key: str
    etag: str
    trigger: str
    sku: str | None = None
    request_id: str | None = None
    url: str | None = None
    dropped: bool = False
    arrived_at: str | None = None

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
