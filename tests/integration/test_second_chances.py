"""Recovery through all functions: paid results come back, and nothing is paid twice."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import pytest

from cli.jobs.recovery import Recovery, RecoveryAction, Resolution
from shared import clock
from shared.intake.photos import PhotoStore
from shared.models import Job, JobStatus
from shared.notify.announcer import Announcer
from shared.notify.events import EventPublisher
from shared.records.jobs import JobRepository
from shared.records.ledger import Ledger
from tests.factories import BUS, PHOTOS, RESULTS, TABLE, VARIANT, jpeg, requested
from tests.integration.conftest import World


class Outbox:
    """A double of SQS that keeps the messages of the command line."""

    def __init__(self) -> None:
        self.bodies: list[str] = []

    def send_message(self, *, QueueUrl: str, MessageBody: str) -> None:  # noqa: N803  SQS's names
        """Keep a message for delivery."""
        assert QueueUrl
        self.bodies.append(MessageBody)


class Desk:
    """Recovers jobs as the command line does."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.jobs = JobRepository(world.aws.dynamodb, TABLE, now=clock.utc_now)
        self.ledger = Ledger(world.aws.dynamodb, TABLE, now=clock.utc_now)
        self.outbox = Outbox()

    @property
    def recovery(self) -> Recovery:
        """Create a new Recovery, as each command does."""
        return Recovery(
            jobs=self.jobs,
            ledger=self.ledger,
            announcer=Announcer(EventPublisher(self.world.aws.events, BUS), self.jobs),
            photos=PhotoStore(self.world.aws.s3, PHOTOS, max_bytes=0),
            sqs=cast("Any", self.outbox),
            queue_url=self.world.aws.queue_url,
            state_machine_arn=self.world.aws.state_machine_arn,
            photos_bucket=PHOTOS,
        )

    def take(self, action: RecoveryAction, *, twice: bool = True) -> Job:
        """Recover the only job, and run it to its end; the message may be delivered twice."""
        assert self.recovery.perform(action, self.world.job()) is not None
        return self._went_on(2 if twice else 1)

    def resolve(self, resolution: Resolution, task_id: str | None = None) -> Job:
        """Resolve the only job, and run it to its end."""
        assert self.recovery.resolve(resolution, self.world.job(), task_id=task_id) is not None
        return self._went_on(2)

    def _went_on(self, times: int) -> Job:
        for body in self.outbox.bodies:
            for _ in range(times):
                self.world.deliver(body)
        self.outbox.bodies.clear()
        job = self.world.job()
        return self.world.finish() if job.status is JobStatus.RUNNING else job

    def spent(self) -> tuple[int, int, int, list[str]]:
        """Return the credits of vendor, record and ledger, and the unknown ones of the ledger."""
        first = (clock.utc_now() - timedelta(days=30)).date()
        last = (clock.utc_now() + timedelta(days=1)).date()
        found = [entry.certainty.value for entry in self.ledger.entries(first, last)]
        return (
            self.world.charges(),
            self.world.job().credits,
            found.count("charged"),
            [certainty for certainty in found if certainty != "charged"],
        )


@pytest.fixture
def world(deploy: Callable[..., World]) -> World:
    """Deploy the stack with two images per task."""
    return deploy(DEFAULT_BATCH_SIZE="2")


@pytest.fixture
def desk(world: World) -> Desk:
    """Return a desk for the deployed stack."""
    return Desk(world)


def lost(world: World) -> Job:
    """Drop a photo whose submit stays unknown; the fault says whether it was charged."""
    world.drop()
    job = world.job()
    assert job.status is JobStatus.SUBMIT_UNKNOWN
    return job


def abort(world: World, job: Job) -> None:
    """Stop a job's execution by hand, and deliver EventBridge's event about it."""
    state = json.dumps(world.input_of(job))
    world.finalize(
        {
            "detail-type": "Step Functions Execution Status Change",
            "detail": {"status": "ABORTED", "input": state},
        }
    )


# --- resume --------------------------------------------------------------------------------------


def late(deploy: Callable[..., World]) -> tuple[World, Desk]:
    """Deploy a stack whose tasks take longer than the timeout."""
    seldom = {"POLL_MIN_SECONDS": "60"}  # ten polls until then instead of a hundred
    world = deploy(TASK_TIMEOUT_SECONDS="600", DEFAULT_BATCH_SIZE="2", **seldom)
    world.vendor.fault("read", "unknown_status", times=None)
    return world, Desk(world)


def test_late_task_is_resumed(deploy: Callable[..., World]) -> None:
    """`resume` gets the images of a task that timed out, for its one credit."""
    world, desk = late(deploy)
    world.drop()
    job = world.finish()
    assert job.error is not None
    assert (job.status, job.error.code) == ("FAILED", "timed_out")
    world.vendor.clear_faults()
    done = desk.take(RecoveryAction.RESUME)
    assert (done.status, done.attempt, done.task_id) == ("SUCCEEDED", 2, job.task_id)
    assert (len(done.results), desk.spent()) == (2, (1, 1, 1, []))
    assert world.aws.started() == [f"{job.job_id}-1", f"{job.job_id}-2"]
    told = ["Job Submitted", "Job Failed", "Job Submitted", "Job Succeeded"]
    assert world.aws.told_types() == told


def test_stopped_execution_is_resumed(world: World, desk: Desk) -> None:
    """`resume` continues a task whose execution was stopped."""
    world.drop()
    abort(world, world.job())
    assert world.job().status == "FAILED"
    done = desk.take(RecoveryAction.RESUME)
    assert (done.status, done.attempt, desk.spent()) == ("SUCCEEDED", 2, (1, 1, 1, []))


def test_resumed_task_that_is_late_again(deploy: Callable[..., World]) -> None:
    """Each `resume` gives the task a new timeout, and costs nothing."""
    world, desk = late(deploy)
    world.drop()
    world.finish()
    for attempt in (2, 3):
        job = desk.take(RecoveryAction.RESUME)
        assert job.error is not None
        assert (job.status, job.attempt, job.error.code) == ("FAILED", attempt, "timed_out")
    assert desk.spent() == (1, 1, 1, [])


def test_late_steps_of_the_old_attempt_change_nothing(world: World, desk: Desk) -> None:
    """An old execution that polls, copies or fails does not disturb the new attempt."""
    world.drop()
    first = world.job()
    state = world.input_of(first)
    found = world.poll(state)
    abort(world, first)
    desk.recovery.perform(RecoveryAction.RESUME, world.job())
    running = world.job()
    assert (running.status, running.attempt) == ("RUNNING", 2)
    assert world.poll(state)["outcome"] == "superseded"
    assert world.finalize(found)["outcome"] == "superseded"
    failure = {"failure": {"Error": "States.Timeout", "Cause": "late"}}
    assert world.finalize({**found, **failure})["outcome"] == "superseded"
    abort(world, first)
    assert world.job() == running
    done = desk._went_on(1)
    assert (done.status, desk.spent()) == ("SUCCEEDED", (1, 1, 1, []))
    assert world.finalize(found)["outcome"] == "superseded"
    assert world.job() == done


# --- a drop --------------------------------------------------------------------------------------


def test_drop_after_a_late_task_takes_that_up(deploy: Callable[..., World]) -> None:
    """Dropping the photo again takes up the paid task."""
    world, desk = late(deploy)
    world.drop()
    job = world.finish()
    world.vendor.clear_faults()
    world.drop()
    done = world.finish()
    assert (done.status, done.attempt, done.task_id) == ("SUCCEEDED", 2, job.task_id)
    assert (len(done.results), desk.spent()) == (2, (1, 1, 1, []))
    assert world.aws.started() == [f"{job.job_id}-1", f"{job.job_id}-2"]


def test_drop_after_a_task_that_is_late_twice_pays_for_another(
    deploy: Callable[..., World],
) -> None:
    """A task that never ends is resumed once, free; the next drop starts a new task."""
    world, desk = late(deploy)
    for spent in (1, 1, 2):
        world.drop()
        assert world.finish().status == "FAILED"
        assert desk.spent() == (spent, spent, spent, [])


def test_drop_after_a_task_that_failed_pays_for_another(world: World, desk: Desk) -> None:
    """Dropping a photo whose task failed starts a new task."""
    world.vendor.fault("read", "task_error")
    world.drop()
    assert world.finish().status == "FAILED"
    world.drop()
    assert world.finish().status == "SUCCEEDED"
    assert desk.spent() == (2, 2, 2, [])


# --- recopy --------------------------------------------------------------------------------------


def broken_download(world: World, **match: Any) -> None:
    """Let downloads fail until the vendor is reset."""
    world.vendor.fault("download", "status", times=None, match=match, status=500)


def test_missing_result_is_copied_after_all(world: World, desk: Desk) -> None:
    """`recopy` completes a PARTIAL job, for its one credit."""
    broken_download(world, result_index=2)
    world.drop()
    partial = world.finish()
    assert (partial.status, len(partial.results)) == ("PARTIAL", 1)
    world.vendor.clear_faults()
    done = desk.take(RecoveryAction.RECOPY)
    assert (done.status, done.error, len(done.results)) == ("SUCCEEDED", None, 2)
    assert desk.spent() == (1, 1, 1, [])


def test_results_that_all_failed_are_copied_after_all(world: World, desk: Desk) -> None:
    """`recopy` gets the images of a FAILED job whose task finished, for its one credit."""
    broken_download(world)
    world.drop()
    failed = world.finish()
    assert failed.error is not None
    assert (failed.status, failed.error.code) == ("FAILED", "result_unavailable")
    world.vendor.clear_faults()
    assert desk.take(RecoveryAction.RECOPY).status == "SUCCEEDED"
    assert desk.spent() == (1, 1, 1, [])


@pytest.mark.parametrize("fault", ["download", "task_error"])
def test_recopy_that_fails_loses_nothing(world: World, desk: Desk, fault: str) -> None:
    """A `recopy` that fails keeps the good images in record and bucket."""
    world.drop()
    before = world.finish()
    assert before.status == "SUCCEEDED"
    if fault == "download":
        broken_download(world)
    else:
        world.vendor.fault("read", fault)
    after = desk.take(RecoveryAction.RECOPY)
    assert (after.status, after.results) == ("PARTIAL", before.results)
    assert after.error is not None
    for result in after.results:
        world.aws.s3.head_object(Bucket=RESULTS, Key=result.key)
    assert desk.spent() == (1, 1, 1, [])


def test_deleted_images_are_copied_again(world: World, desk: Desk) -> None:
    """`recopy` restores deleted results, free."""
    world.drop()
    before = world.finish()
    for result in before.results:
        world.aws.s3.delete_object(Bucket=RESULTS, Key=result.key)
    after = desk.take(RecoveryAction.RECOPY)
    assert (after.status, after.results) == ("SUCCEEDED", before.results)
    for result in after.results:
        world.aws.s3.head_object(Bucket=RESULTS, Key=result.key)
    assert desk.spent() == (1, 1, 1, [])


# --- regenerate ----------------------------------------------------------------------------------


def test_new_images_cost_a_second_credit(world: World, desk: Desk) -> None:
    """`regenerate` starts a new task; the earlier one and its images are in the history."""
    world.drop()
    before = world.finish()
    after = desk.take(RecoveryAction.REGENERATE)
    assert (after.status, after.attempt) == ("SUCCEEDED", 2)
    assert after.task_id != before.task_id
    assert after.history[0].results == before.results
    assert desk.spent() == (2, 2, 2, [])


def test_resume_after_regenerate_is_free_for_the_second_task(world: World, desk: Desk) -> None:
    """Each paid attempt has one entry in the ledger; free attempts have none."""
    world.drop()
    abort(world, world.job())
    desk.recovery.perform(RecoveryAction.REGENERATE, world.job())
    (body,) = desk.outbox.bodies
    desk.outbox.bodies.clear()
    world.deliver(body)
    abort(world, world.job())
    done = desk.take(RecoveryAction.RESUME)
    assert (done.status, done.attempt) == ("SUCCEEDED", 3)
    assert desk.spent() == (2, 2, 2, [])


def test_photo_dropped_again_after_a_failure_is_regenerated(world: World, desk: Desk) -> None:
    """Dropping a done photo again does not cost twice: drop and ledger agree with regenerate."""
    world.vendor.fault("read", "task_error")
    world.drop()
    assert world.finish().status == "FAILED"
    world.drop()
    done = world.finish()
    assert (done.status, done.attempt, desk.spent()) == ("SUCCEEDED", 2, (2, 2, 2, []))


def test_photo_dropped_again_after_its_regenerate_changes_nothing(world: World, desk: Desk) -> None:
    """Regenerating and dropping the same photo costs one credit."""
    world.vendor.fault("read", "task_error")
    world.drop()
    world.finish()
    desk.take(RecoveryAction.REGENERATE)
    world.drop()
    assert desk.spent() == (2, 2, 2, [])


def test_settings_that_were_mended(world: World, desk: Desk) -> None:
    """A photo rejected for its folder's file is made for the quoted price once that is fixed."""
    world.aws.drop("a/catwalk.json", b"{")
    world.drop()
    (rejected,) = world.jobs()
    assert rejected.status == "REJECTED"
    assert desk.recovery.quote(RecoveryAction.REGENERATE, rejected).refusal is not None
    world.aws.drop("a/catwalk.json", b'{"variants": [{"modelId": "001"}, {"modelId": "044"}]}')
    assert desk.recovery.quote(RecoveryAction.REGENERATE, rejected).credits == 2
    for _ in range(2):
        assert desk.recovery.perform(RecoveryAction.REGENERATE, rejected) is not None
    for body in desk.outbox.bodies:
        world.deliver(body)
    made = [job for job in world.jobs() if job.settings is not None]
    for job in made:
        assert world.run(job) == "done"
    assert [job.settings.model_id for job in made if job.settings] == ["001", "044"]
    assert world.charges() == 2


def test_photo_that_is_still_broken_costs_nothing(world: World, desk: Desk) -> None:
    """Regenerating an unusable photo is REJECTED again, free."""
    world.drop(body=b"\xff\xd8 no picture")
    assert world.job().status == "REJECTED"
    again = desk.take(RecoveryAction.REGENERATE)
    assert (again.status, again.attempt, desk.spent()) == ("REJECTED", 2, (0, 0, 0, []))


def test_requested_variant_is_regenerated_by_itself(world: World) -> None:
    """Regenerating one variant of a request costs one credit."""
    desk = Desk(world)
    world.aws.drop("a/dress.jpg", jpeg())
    variants = [dict(VARIANT), {**VARIANT, "modelId": "044"}]
    world.deliver(requested({"photo": {"key": "a/dress.jpg"}, "variants": variants}))
    for job in world.jobs():
        world.run(job)
    one, other = world.jobs()
    assert desk.recovery.perform(RecoveryAction.REGENERATE, one) is not None
    world.deliver(desk.outbox.bodies[0])
    assert world.run(next(job for job in world.jobs() if job.job_id == one.job_id)) == "done"
    attempts = {job.job_id: job.attempt for job in world.jobs()}
    assert attempts == {one.job_id: 2, other.job_id: 1}
    assert world.charges() == 3


# --- resolve -------------------------------------------------------------------------------------


def test_lost_answer_is_resolved_with_its_task(world: World, desk: Desk) -> None:
    """With --task-id, an unknown submit gets its images for its one credit."""
    world.vendor.fault("create", "lost_response")
    lost(world)
    assert desk.spent() == (1, 0, 0, ["unknown"])
    (task,) = world.vendor.state()["tasks"]
    done = desk.resolve(Resolution.TASK, task["task_id"])
    assert (done.status, done.attempt, done.task_id) == ("SUCCEEDED", 1, task["task_id"])
    assert desk.spent() == (1, 1, 1, [])
    told = ["Job Needs Attention", "Job Submitted", "Job Succeeded"]
    assert world.aws.told_types() == told


def test_lost_task_is_written_off(world: World, desk: Desk) -> None:
    """With --charged, the job is FAILED with its credit, and can be regenerated."""
    world.vendor.fault("create", "lost_response")
    lost(world)
    closed = desk.resolve(Resolution.CHARGED)
    assert (closed.status, desk.spent()) == ("FAILED", (1, 1, 1, []))
    done = desk.take(RecoveryAction.REGENERATE)
    assert (done.status, done.attempt, desk.spent()) == ("SUCCEEDED", 2, (2, 2, 2, []))


def test_submit_that_was_not_charged_is_sent_again(world: World, desk: Desk) -> None:
    """With --not-charged, the photo is sent again for one credit."""
    world.vendor.fault("create", "drop_before")
    lost(world)
    assert desk.spent() == (0, 0, 0, ["unknown"])
    done = desk.resolve(Resolution.NOT_CHARGED)
    assert (done.status, done.attempt, desk.spent()) == ("SUCCEEDED", 2, (1, 1, 1, []))


def test_wrong_task_id_fails_and_can_be_corrected_by_nothing_dearer(
    world: World, desk: Desk
) -> None:
    """A wrong task id fails the job in the end; it can be resolved again."""
    world.vendor.fault("create", "drop_before")
    lost(world)
    failed = desk.resolve(Resolution.TASK, "no-such-task")
    assert failed.error is not None
    assert (failed.status, failed.error.code) == ("FAILED", "vendor_task_error")
    assert world.charges() == 0
    assert desk.take(RecoveryAction.REGENERATE).status == "SUCCEEDED"
    assert world.charges() == 1


def test_photo_dropped_again_does_not_settle_a_doubt(world: World, desk: Desk) -> None:
    """Dropping a photo whose submit is unknown changes nothing and costs nothing."""
    world.vendor.fault("create", "lost_response")
    lost(world)
    world.drop()
    assert world.job().attempt == 1
    assert desk.spent() == (1, 0, 0, ["unknown"])


def test_chance_whose_message_is_lost(world: World, desk: Desk) -> None:
    """The record is written before the message, so a late message finds all it needs."""
    world.drop()
    abort(world, world.job())
    desk.recovery.perform(RecoveryAction.RESUME, world.job())
    (body,) = desk.outbox.bodies
    world.sleep(7_200)
    world.deliver(body)
    world.deliver(body)
    assert (world.finish().status, desk.spent()) == ("SUCCEEDED", (1, 1, 1, []))
