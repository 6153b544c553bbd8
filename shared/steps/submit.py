"""What SubmitFunction does with one message: validate, claim, POST, keep the task id, start.

The order of the writes makes sure that no credit is spent twice. SUBMITTING is written before the
POST is sent, and the task id is written right after the answer. If a delivery dies at any point,
the next delivery of the message continues from the record.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Final

from shared.clock import iso, parse_iso, utc_now
from shared.config import SubmitConfig
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
from shared.intake.photos import FolderCache
from shared.intake.requests import Intake, Received, broken_job, vendor_origin
from shared.limits.circuit_breaker import SUSPECT_SECONDS, WATCHED, Paused, Permit, Tripped
from shared.limits.credit_limit import Reserved
from shared.limits.gate import HeldPermit, SubmitGate
from shared.limits.settling import REASON, Settling
from shared.limits.suspicion import DOUBTFUL, MANY, ends, is_known, refused_again
from shared.models import ErrorCode, Job, JobError, JobStatus
from shared.notify.announcer import Announcer
from shared.notify.metrics import Metrics
from shared.observability import keys_of, log_keys, logger
from shared.records.jobs import JobRepository
from shared.records.ledger import Ledger
from shared.steps.start import Starter, execution_arn
from shared.vmake.answers import Trouble
from shared.vmake.client import PreparedCreate, VmakeClient
from shared.vmake.outcomes import Accepted, CreateOutcome, NeverSent, Refused, Unknown
from shared.vmake.secret import ApiKey, ApiKeyMissing

ENOUGH_SECONDS: Final = 85.0
"""A photo or variant is begun only if the invocation has at least this much time left. A POST with
all its timeouts takes `CREATE_SECONDS`; the rest is for the writes before and after it."""
LEASE_MARGIN_SECONDS: Final = 30.0
"""Added to an invocation's remaining time, since clocks differ and a kill takes a moment."""
RESUBMIT_SECONDS: Final = 30.0
"""How long `OnUnknownSubmit=resubmit` waits before it starts the next attempt."""
MAX_RESUBMITS: Final = 3
"""`OnUnknownSubmit=resubmit` starts at most this many attempts of one job by itself."""


@dataclass(frozen=True)
class Handled:
    """SubmitFunction has nothing more to do for this job."""


@dataclass(frozen=True)
class Later:
    """A message must be delivered again after this delay; this is no failure."""

    seconds: float
    reason: str
    body: str | None = None
    """The message to send; None sends the handled message again."""
    keys: Mapping[str, str | int] = field(default_factory=dict)
    """The job's keys for the log."""


Outcome = Handled | Later


@dataclass
class Batch:
    """What the messages of one invocation share."""

    remaining_seconds: Callable[[], float]
    paused: Paused | None = None
    """Set by the first photo that has to wait for a reason that holds for all photos."""
    folder_files: FolderCache = field(default_factory=dict)

    def spare_seconds(self) -> float:
        """Return for how many seconds a photo may wait here and still have time for its POST."""
        return self.remaining_seconds() - ENOUGH_SECONDS


class Submitter:
    """Turns messages into tasks."""

    def __init__(
        self,
        *,
        config: SubmitConfig,
        intake: Intake,
        jobs: JobRepository,
        gate: SubmitGate,
        vendor: VmakeClient,
        api_key: ApiKey,
        announcer: Announcer,
        ledger: Ledger,
        starter: Starter,
        settling: Settling,
        metrics: Metrics,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._config = config
        self._intake = intake
        self._jobs = jobs
        self._gate = gate
        self._vendor = vendor
        self._api_key = api_key
        self._announcer = announcer
        self._ledger = ledger
        self._starter = starter
        self._settling = settling
        self._metrics = metrics
        self._now = now

    def handle(self, body: str, message_id: str, batch: Batch) -> tuple[Later, ...]:
        """Process one message as far as possible now, and return the messages to send again."""
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
        """Make a record for each job of an arrival; then submit the jobs one after the other.

        All records are written before the first POST. If the invocation ends in between, each
        variant has a record, and reconcile continues with it.
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
                # A failed variant must not stop the others. Its error is raised after them.
                except Exception as error:  # noqa: BLE001  see above
                    logger().exception("variant could not be claimed")
                    failure = failure or error
                    continue
            if made == [job]:  # a photo is counted once, however many variants it has
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
                    outcome = self._advance(job, arrival if received.fresh else None, batch)
                # A failed variant must not stop the others. Its error is raised after them.
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
        """Continue a job from its record; the photo's folder is not read again."""
        job = self._jobs.get(message.job_id)
        if job is None:
            logger().warning("no such job", extra={"job_id": message.job_id})
            return Handled()
        with log_keys(**keys_of(job)):
            try:
                if job.dead_lettered:
                    job = self._jobs.start_attempt(job) or job
                return self._advance(job, None, batch)
            except Exception:
                # The caller lets the queue deliver the message again. Only here is the job known.
                logger().exception("job could not go on")
                raise

    # --- from a request to a running task --------------------------------------------------

    def _advance(self, job: Job, checked: Arrival | None, batch: Batch) -> Outcome:
        """Move a job from its present status towards RUNNING, as far as possible now.

        Args:
            job: the record.
            checked: the arrival, if this invocation has just read and checked its photo and mask.
            batch: the messages of this invocation.

        """
        if job.status is JobStatus.SUBMIT_UNKNOWN:
            return self._after_unknown(job)
        if job.sendable:
            return self._submit(job, checked, batch)
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

    def _submit(self, job: Job, checked: Arrival | None, batch: Batch) -> Outcome:
        """Send a job to the vendor if the gate allows it; else let it wait."""
        left = self._own_wait_left(job)
        if left > 0:
            return _again(job, left, "this photo was refused, and is tried again later")
        left = self._settling.seconds_left() if _reads_bucket(job) else 0.0
        if left > 0:
            return self._wait(job, left, REASON)
        permit = batch.paused or self._gate.ask(job, batch.spare_seconds)
        if isinstance(permit, Paused):
            if permit.unpublished is not None:
                self._publish_pause(job, permit.unpublished)
            if not permit.one:
                # The other photos of this batch do not need to ask.
                batch.paused = replace(permit, unpublished=None)
            return self._wait(job, permit.seconds, permit.reason, held=permit.watched)
        with self._gate.holding(permit) as held:
            return self._post(job, checked, held, batch)

    def _post(self, job: Job, checked: Arrival | None, held: HeldPermit, batch: Batch) -> Outcome:
        """Prepare the request, and send it if the submit rate and the credit limit allow it."""
        if job.settings is None:
            raise LookupError(f"job {job.job_id} is {job.status} without settings")
        if held.permit.pauses:
            self._api_key.forget()  # this is a probe: the key may have been replaced meanwhile
        try:
            image, mask = self._intake.delivered(job, checked)
        except InputRejected as rejected:
            return self._reject(job, rejected.error)
        try:
            prepared = self._vendor.prepare_create(image=image, mask=mask, settings=job.settings)
        except ApiKeyMissing as missing:
            held.used = True
            refused = Refused(Trouble.KEY, str(missing))
            # No photo is suspected: the key is missing for all of them.
            self._record(job, replace(held.permit, candidate=None), refused)
            return self._not_now(job, refused)
        permit = self._gate.wait_for_slot(job, held.permit, batch.spare_seconds)
        if isinstance(permit, Paused):
            return self._wait(job, permit.seconds, permit.reason, held=permit.watched)
        held.permit = permit
        return self._spend(job, prepared, held, batch)

    def _spend(self, job: Job, prepared: PreparedCreate, held: HeldPermit, batch: Batch) -> Outcome:
        """Send the POST. The record is written before it and after it."""
        reserved = self._gate.reserve_credit(job)
        if isinstance(reserved, Paused):
            batch.paused = reserved
            return self._wait(job, reserved.seconds, reserved.reason, held=True)
        lease = batch.remaining_seconds() + LEASE_MARGIN_SECONDS
        # If this raises, the reservation stays open, and the next delivery uses it.
        submitting = self._jobs.mark_submitting(job, lease_seconds=lease)
        if submitting is None:
            # The other delivery uses the same reservation, so this one must not release it.
            return _again(job, LEASE_MARGIN_SECONDS, "another delivery of this photo was first")
        permit, held.used = held.permit, True
        outcome = self._vendor.create_task(prepared)
        match outcome:
            case Accepted(task_id):
                result = self._accepted(submitting, task_id)
            case Unknown(message):
                result = self._unknown(submitting, message)
            case Refused(Trouble.REQUEST, message):
                result = self._refused(submitting, message)
                self._gate.credit_limit.release(reserved)
            case Refused(trouble) if trouble in DOUBTFUL:
                return self._doubtful(submitting, permit, outcome, reserved)
            case NeverSent() | Refused():
                # Release the credit while the job is still SUBMITTING. Later, another delivery
                # might already use the reservation. If the release fails, the reservation stays
                # open, and the next POST of this attempt uses it.
                try:
                    self._gate.credit_limit.release(reserved)
                finally:
                    unsent = self._jobs.mark_unsent(submitting)
                self._record(unsent or submitting, permit, outcome)
                return self._not_now(unsent or submitting, outcome)
        self._record(submitting, permit, outcome)
        self._gate.credit_limit.settle(reserved)  # changes nothing if it was released
        return result

    def _doubtful(self, job: Job, permit: Permit, outcome: Refused, reserved: Reserved) -> Outcome:
        """Handle a refusal that may be about the account or about this photo alone."""
        trouble = outcome.trouble
        refusals = refused_again(
            job.refusals,
            trouble,
            now=self._now(),
            cleared=job.job_id in permit.cleared,
            many=len(permit.denied | {job.job_id}) >= MANY,
        )
        if ends(refusals, trouble):
            others = " while it took others" if is_known(refusals) else ""
            what = f"this photo {refusals.count} times{others}"
            result = self._refused(job, outcome.message, what)
            self._gate.credit_limit.release(reserved)
            self._gate.breaker.give_back(permit)
            return result
        # Release the credit while the job is still SUBMITTING; `_spend` says why.
        try:
            self._gate.credit_limit.release(reserved)
        finally:
            unsent = self._jobs.mark_unsent(job, refusals=refusals) or job
        if is_known(refusals):
            self._gate.breaker.note_awaited(job.job_id)
            pauses = False
        else:
            denied = trouble is Trouble.DENIED
            pauses = not denied or self._gate.breaker.note_denied(job.job_id) >= MANY
        if pauses:
            self._record(unsent, permit, outcome)
            return self._not_now(unsent, outcome, later=SUSPECT_SECONDS if permit.pauses else 0)
        self._gate.breaker.give_back(permit)
        logger().warning("not submitted: %s", outcome.message)
        return self._wait(unsent, self._own_wait_left(unsent), outcome.message)

    def _own_wait_left(self, job: Job) -> float:
        """Return for how many seconds a refused photo waits while other photos are sent."""
        if job.refusals is None or job.refusals.until is None:
            return 0.0
        return (parse_iso(job.refusals.until) - self._now()).total_seconds()

    def _not_now(self, job: Job, outcome: NeverSent | Refused, *, later: float = 0) -> Outcome:
        """Let a photo wait until the pause is over; the vendor certainly did not take it.

        Args:
            job: the photo's job.
            outcome: the reason.
            later: seconds to wait longer than the other photos, so that one of them is tried first.

        """
        logger().warning("not submitted: %s", outcome.message)
        if isinstance(outcome, Refused) and outcome.trouble is Trouble.KEY:
            self._api_key.forget()
        held = isinstance(outcome, Refused) and outcome.trouble in WATCHED
        seconds = self._gate.breaker.seconds_left() + later
        return self._wait(job, seconds, outcome.message, held=held)

    def _wait(self, job: Job, seconds: float, reason: str, *, held: bool = False) -> Outcome:
        """Let a photo wait, and note it in its record.

        Args:
            job: the photo's job.
            seconds: how long it waits.
            reason: why it waits.
            held: whether the reason has an alarm of its own; then the wait is not counted.

        """
        self._jobs.note_waiting(job, seconds=seconds, reason=reason, held=held)
        if not held:
            self._metrics.has_waited(job, until=iso(self._now()))
        return _again(job, seconds, reason)

    def _reject(self, job: Job, error: JobError) -> Outcome:
        """Reject a job whose photo or mask was usable when it was claimed, and no longer is."""
        rejected = self._jobs.reject(job, error)
        if rejected is not None:
            self._announcer.announce(rejected)
        return Handled()

    def _record(self, job: Job, permit: Permit, outcome: CreateOutcome) -> None:
        """Record the outcome in the circuit breaker; publish an event if it paused submission."""
        tripped = self._gate.breaker.record(permit, outcome)
        if tripped is not None:
            logger().error("submission pauses until %s: %s", tripped.until, tripped.reason)
            self._publish_pause(job, tripped)

    def _publish_pause(self, job: Job, tripped: Tripped) -> None:
        self._announcer.submission_paused(job, until=tripped.until, reason=tripped.reason)
        self._gate.breaker.note_published(tripped)

    def _accepted(self, job: Job, task_id: str) -> Outcome:
        arn = execution_arn(self._config.state_machine_arn, job.job_id, job.attempt)
        try:
            running = self._jobs.keep_task_id(job, task_id, execution_arn=arn)
        except Exception:
            # The job will become SUBMIT_UNKNOWN. This line is the only place with the task id.
            logger().error("task %s was accepted, but could not be written down", task_id)
            raise
        if running is None:
            # This cannot happen while leases last longer than invocations. If it does happen, the
            # error keeps the task id.
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
            message=f"The vendor refused {what} ({message}). Nothing was charged. Fix the photo or"
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
    """Return a delayed message that continues a job from its record."""
    return Later(seconds, reason, continue_message(job), keys_of(job))


def _is_in_bucket(incoming: PhotoDropped | ModelRequested) -> bool:
    """Whether deciding this message reads objects of PhotosBucket."""
    if isinstance(incoming, PhotoDropped) or incoming.photo.key is not None:
        return True
    return incoming.mask is not None and incoming.mask.key is not None


def _reads_bucket(job: Job) -> bool:
    """Whether the POST of this job reads objects of PhotosBucket."""
    return job.mask is not None or (job.photo is not None and job.photo.key is not None)


def _names(incoming: PhotoDropped | ModelRequested | BrokenEvent) -> dict[str, str | None]:
    """Return the log keys of a message that has no job yet."""
    if isinstance(incoming, PhotoDropped):
        return {"source_key": incoming.key}
    if isinstance(incoming, ModelRequested):
        return {"source_key": incoming.photo.source_key, "request_id": incoming.request_id}
    return {"source_key": incoming.source_key, "request_id": incoming.request_id}
