"""What SubmitFunction does with one message: validate, claim, POST, keep the task id, start.

The order of the writes is the safety of the money: SUBMITTING stands in the record before the
POST leaves, the task id right after its answer. A message that comes again, at whatever point
the last delivery died, goes on from what the record says.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Final

from shared.clock import iso, parse_iso, utc_now
from shared.config import INLINE, Config
from shared.errors import InputRejected
from shared.intake.arrivals import Arrival
from shared.intake.messages import (
    ArrivalContinued,
    BrokenEvent,
    JobContinued,
    ModelRequested,
    NotAPhoto,
    PhotoDropped,
    continue_message,
    parse,
)
from shared.intake.photos import FolderCache, PhotoStore
from shared.intake.requests import Intake, Received, broken_job, photo_of, vendor_origin
from shared.limits.circuit_breaker import (
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
from shared.limits.credit_limit import Purse, Reserved, SpentUp
from shared.limits.settling import REASON, Settling
from shared.limits.suspicion import DOUBTFUL, MANY, ends, is_known, refused_again
from shared.models import ErrorCode, Job, JobError, JobStatus, Photo
from shared.notify.announcer import Announcer
from shared.notify.metrics import Metrics
from shared.observability import keys_of, log_keys, logger
from shared.records.jobs import JobRepository
from shared.records.ledger import Ledger
from shared.steps.start import Starter, execution_arn
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
    folder_files: FolderCache = field(default_factory=dict)


class Submitter:
    """Turns messages into tasks."""

    def __init__(
        self,
        *,
        config: Config,
        intake: Intake,
        photos: PhotoStore,
        jobs: JobRepository,
        purse: Purse,
        breaker: Breaker,
        vendor: VmakeClient,
        api_key: ApiKey,
        announcer: Announcer,
        ledger: Ledger,
        starter: Starter,
        settling: Settling,
        metrics: Metrics,
        now: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Work with these; nothing is called yet."""
        self._config = config
        self._intake = intake
        self._photos = photos
        self._jobs = jobs
        self._purse = purse
        self._breaker = breaker
        self._vendor = vendor
        self._api_key = api_key
        self._announcer = announcer
        self._ledger = ledger
        self._starter = starter
        self._settling = settling
        self._metrics = metrics
        self._now = now
        self._sleep = sleep

    def handle(self, body: str, message_id: str, batch: Batch) -> tuple[Later, ...]:
        """Carry one message as far as it can go now, and return what must come again."""
        incoming = parse(
            body,
            message_id=message_id,
            photos_bucket=self._config.photos_bucket,
            vendor_origin=vendor_origin(self._config),
        )
        match incoming:
            case NotAPhoto():
                logger().debug("not a photo", extra={"source_key": incoming.key})
                return ()
            case JobContinued():
                outcome = self._continue(incoming, batch)
                return (outcome,) if isinstance(outcome, Later) else ()
            case ArrivalContinued():
                received = self._intake.resume(incoming.arrival_id)
                if received is None:
                    extra = {"arrival_id": incoming.arrival_id}
                    logger().warning("no such arrival", extra=extra)
                    return ()
                with log_keys(source_key=received.arrival.source_key):
                    return self._take_in(received, batch)
            case BrokenEvent():
                with log_keys(**_names(incoming)):
                    made: list[Job] = []
                    job = self._jobs.claim(broken_job(incoming), made=made.append)
                    if made:
                        self._metrics.photo_in(job)
                    self._announcer.announce(job)
                    return ()
            case _:
                with log_keys(**_names(incoming)):
                    left = self._settling.seconds_left() if _is_in_bucket(incoming) else 0.0
                    if left > 0:
                        return (Later(left, REASON),)
                    return self._take_in(self._intake.receive(incoming, batch.folder_files), batch)

    def _take_in(self, received: Received, batch: Batch) -> tuple[Later, ...]:
        """Give each job of an arrival its record; then carry them on, one after the other.

        All records come before the first POST: if the invocation ends on the way, each variant
        can be seen, and reconcile goes on with it.
        """
        arrival = received.arrival
        made: list[Job] = []
        jobs: list[Job] = []
        failure: Exception | None = None
        for new in arrival.new_jobs():
            with log_keys(job_id=new.job_id):
                try:
                    job = self._jobs.claim(
                        new,
                        made=made.append,
                        execution_arn=partial(execution_arn, self._config.state_machine_arn),
                    )
                # As below: raised after the others.
                except Exception as error:  # noqa: BLE001  see above
                    logger().exception("variant could not be claimed")
                    failure = failure or error
                    continue
            if made == [job]:  # a photo is one, whatever its variants
                self._metrics.photo_in(job)
            jobs.append(job)
        if failure is None and not arrival.claimed:
            self._intake.claimed(arrival)
        waits: list[Later] = []
        for job in jobs:
            if batch.remaining_seconds() < ENOUGH_SECONDS:
                waits.append(Later(0, "this invocation has no time left for every variant"))
                break
            with log_keys(**keys_of(job)):
                try:
                    delivery = partial(self._delivery, arrival if received.fresh else None, job)
                    outcome = self._carry(job, delivery, batch)
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
                return self._carry(job, partial(self._delivery, None, job), batch)
            except Exception:
                # Whoever lets the message come again does not know which job it is about.
                logger().exception("job could not go on")
                raise

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
        left = self._settling.seconds_left() if _reads_bucket(job) else 0.0
        if left > 0:
            return self._wait(job, left, REASON)
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
        # All deliveries of this attempt share one reservation; it counts once.
        reserved = self._purse.reserve(job.execution_name)
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
        # If this raises, the reservation stays open, for the next delivery.
        submitting = self._jobs.mark_submitting(job, lease_seconds=lease)
        if submitting is None:
            # The reservation is the first delivery's by now: only that one may release it.
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
                # Released while the job is still SUBMITTING: another delivery could take over the
                # reservation of a job that may be sent. A release that fails leaves it open, for
                # the next POST of this attempt.
                try:
                    self._purse.release(reserved)
                finally:
                    unsent = self._jobs.mark_unsent(submitting)
                self._heed(unsent or submitting, way, outcome)
                return self._not_now(unsent or submitting, outcome)
        self._heed(submitting, way, outcome)
        self._purse.settle(reserved)  # changes nothing if it was released
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
        # As in `_spend`: released while the job is still SUBMITTING.
        try:
            self._purse.release(reserved)
        finally:
            unsent = self._jobs.mark_unsent(job, refusals=refusals) or job
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

    def _delivery(self, arrival: Arrival | None, job: Job) -> tuple[str, str | None]:
        """Return image and mask as the vendor shall get them: URLs, or base64.

        Args:
            arrival: what was read and checked in this very invocation; None: only the record is
                at hand, and photo and mask are opened and checked anew.
            job: what is submitted.

        Raises:
            InputRejected: photo or mask are gone.

        """
        if job.settings is None:
            raise LookupError(f"job {job.job_id} is {job.status} without settings")
        named_mask = job.settings.mask
        if arrival is not None:
            photo, mask = arrival.photo, arrival.mask
        else:
            photo, mask = self._opened_again(job)
        image = self._delivered(photo) if photo.key is not None else photo.url
        if image is None:
            raise LookupError(f"job {job.job_id} has neither an object nor a URL")
        return image, self._delivered(mask) if mask is not None else named_mask

    def _delivered(self, stored: Photo) -> str:
        if self._config.photo_delivery == INLINE:
            return self._photos.base64(stored)
        return self._photos.presigned_url(stored)

    def _opened_again(self, job: Job) -> tuple[Photo, Photo | None]:
        """Return photo and mask of a job, if they can still be read as they were decided."""
        photo, mask = job.photo, job.mask
        if photo is None:
            raise LookupError(f"job {job.job_id} is {job.status} without a photo")
        if photo.key is not None:
            photo = self._photos.inspect(
                self._photos.reopen(photo.key, etag=photo.etag or "", version_id=photo.version_id)
            )
        named = job.settings.mask if job.settings is not None else None
        if mask is None and named is not None and "://" not in named:
            # A record of an earlier version of Catwalk, which kept the mask's name alone.
            mask = Photo(key=named)
        if mask is None:
            return photo, None
        stored = self._photos.reopen_mask(
            mask.key or "", etag=mask.etag or "", version_id=mask.version_id
        )
        self._photos.inspect_mask(stored, photo)
        return photo, photo_of(stored)

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
            message=f"The vendor refused {what} ({message}). Nothing was charged. Mend the photo or"
            f" its settings and drop it again.{self._config.delivery_advice(job.photo)}",
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


def _again(job: Job, seconds: float, reason: str) -> Later:
    """Return what has this attempt of a job gone on with, from its record."""
    return Later(seconds, reason, continue_message(job), keys_of(job))


def _is_in_bucket(incoming: PhotoDropped | ModelRequested) -> bool:
    """Whether a decision about this needs objects of PhotosBucket."""
    if isinstance(incoming, PhotoDropped) or incoming.photo.key is not None:
        return True
    return incoming.mask is not None and incoming.mask.key is not None


def _reads_bucket(job: Job) -> bool:
    """Whether a POST about this needs objects of PhotosBucket."""
    return job.mask is not None or (job.photo is not None and job.photo.key is not None)


def _names(incoming: PhotoDropped | ModelRequested | BrokenEvent) -> dict[str, str | None]:
    """Return what a message's lines in the log are found by before it has come to a job."""
    if isinstance(incoming, PhotoDropped):
        return {"source_key": incoming.key}
    if isinstance(incoming, ModelRequested):
        return {"source_key": incoming.photo.source_key, "request_id": incoming.request_id}
    return {"source_key": incoming.source_key, "request_id": incoming.request_id}
