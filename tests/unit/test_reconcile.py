"""What stands still is found and moved on, and what is under way is left alone."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared import deadletters
from shared import reconcile as module
from shared.announce import Announcer
from shared.breaker import Breaker
from shared.clock import iso
from shared.config import Config
from shared.deadletters import DeadLetters
from shared.events import EventPublisher
from shared.intake.arrivals import Arrivals
from shared.jobs import JobRepository, NewJob
from shared.metrics import Metrics
from shared.models import ErrorCode, Job, JobError, JobStatus, Photo, SceneType, Settings
from shared.photos import PhotoStore
from shared.purse import Purse
from shared.reconcile import (
    ENOUGH_SECONDS,
    LOOK_BACK,
    MAX_TAKE_UPS,
    STILL_SECONDS,
    Cursors,
    Reconciler,
)
from shared.start import execution_arn
from tests.kit import BUS, PHOTOS, TABLE, VENDOR, Aws, Clock, dropped, jpeg

SETTINGS = Settings(model_id="002", scene_type=SceneType.ORIGINAL, batch_size=4)
ERROR = JobError(code=ErrorCode.INTERNAL, message="It broke.")


class Stage:
    """A Reconciler among doubles."""

    def __init__(self, aws: Aws, clock: Clock) -> None:
        self.aws = aws
        self.clock = clock
        self.remaining = 290.0
        self.measured: list[str] = []
        """Lines of metrics."""
        self.jobs = JobRepository(aws.dynamodb, TABLE, now=clock)
        self.announcer = Announcer(EventPublisher(aws.events, BUS), self.jobs)
        self.reconciler = Reconciler(
            config=Config(
                jobs_table=TABLE,
                event_bus=BUS,
                vmake_base_url=VENDOR,
                api_key_secret="-",
                photos_bucket=PHOTOS,
                submit_queue_url=aws.queue_url,
                dead_letter_queue_url=aws.dead_letter_url,
                state_machine_arn=aws.state_machine_arn,
            ),
            jobs=self.jobs,
            arrivals=Arrivals(aws.dynamodb, TABLE, now=clock),
            photos=PhotoStore(aws.s3, PHOTOS, max_bytes=1_000_000),
            dead_letters=DeadLetters(
                aws.sqs,
                dead_letter_url=aws.dead_letter_url,
                queue_url=aws.queue_url,
                photos_bucket=PHOTOS,
                vendor_origin=VENDOR,
                jobs=self.jobs,
                arrivals=Arrivals(aws.dynamodb, TABLE, now=clock),
            ),
            cursors=Cursors(aws.dynamodb, TABLE),
            announcer=self.announcer,
            executions=aws.executions,
            sqs=aws.sqs,
            breaker=Breaker(aws.dynamodb, TABLE, now=clock),
            purse=Purse(aws.dynamodb, TABLE, limit=0, now=clock),
            metrics=Metrics("catwalk", write=self.measured.append),
            now=clock,
        )

    def run(self) -> dict[str, int]:
        """Do one round."""
        return self.reconciler.run(lambda: self.remaining)

    def sent(self) -> list[dict[str, Any]]:
        """Take what was sent to SubmitQueue: the events' details."""
        return [json.loads(body)["detail"] for body in self.aws.take(self.aws.queue_url)]

    def accepted(self, job_id: str = "j", key: str = "a.jpg") -> Job:
        """Have a job that was claimed."""
        photo = Photo(bucket=PHOTOS, key=key, etag="e")
        return self.jobs.claim(NewJob(job_id, photo, key, SETTINGS, trigger="drop-1"))

    def running(self, job_id: str = "j", *, started: bool = True) -> Job:
        """Have a job at the vendor, its execution started and told of unless that was lost."""
        submitting = self.jobs.mark_submitting(self.accepted(job_id), lease_seconds=180)
        assert submitting is not None
        arn = execution_arn(self.aws.state_machine_arn, job_id, 1)
        running = self.jobs.keep_task_id(submitting, "task-1", execution_arn=arn)
        assert running is not None
        return self.start(running) if started else running

    def start(self, job: Job) -> Job:
        """Start a job's execution, as SubmitFunction does."""
        self.aws.executions.start_execution(
            stateMachineArn=self.aws.state_machine_arn, name=job.execution_name, input="{}"
        )
        self.jobs.mark_announced(job)
        return self.job(job.job_id)

    def job(self, job_id: str = "j") -> Job:
        """Return a record."""
        job = self.jobs.get(job_id)
        assert job is not None
        return job


@pytest.fixture
def stage(aws: Aws, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Give a stage; its S3 keeps the machine's time, the rest the clock's."""
    monkeypatch.setattr(deadletters, "_WAIT_SECONDS", 0)
    clock.now = datetime.now(UTC) + timedelta(hours=1)
    return Stage(aws, clock)


# --- jobs ----------------------------------------------------------------------------------------


def test_nothing_to_do_does_nothing(stage: Stage) -> None:
    """An idle stack is left as it is."""
    assert stage.run() == {}
    assert stage.sent() == []


def test_a_photo_whose_message_was_lost_gets_another(stage: Stage) -> None:
    """An ACCEPTED job that nobody has looked at for half an hour is sent to SubmitFunction."""
    stage.accepted()
    stage.clock.advance(STILL_SECONDS - 1)
    assert stage.run() == {}
    stage.clock.advance(1)
    assert stage.run() == {"accepted": 1}
    assert stage.sent() == [{"jobId": "j"}]


def test_what_was_sent_again_has_its_time(stage: Stage) -> None:
    """The next run does not send a second message after the first."""
    stage.accepted()
    stage.clock.advance(STILL_SECONDS)
    stage.run()
    stage.clock.advance(900)
    assert stage.run() == {}
    assert len(stage.sent()) == 1
    stage.clock.advance(900)
    assert stage.run() == {"accepted": 1}


def test_a_photo_that_waits_for_days_is_left_alone(stage: Stage) -> None:
    """While its message comes every quarter of an hour, a photo is in good hands."""
    job = stage.accepted()
    for _ in range(96):
        stage.clock.advance(900)
        assert stage.jobs.note_waiting(job, seconds=900, reason="DailyCreditLimit") is not None
        assert stage.run() == {}
    assert stage.sent() == []


def test_a_submit_that_nobody_came_back_from_is_decided_by_submit(stage: Stage) -> None:
    """A job left SUBMITTING is sent to SubmitFunction, which alone decides what it means."""
    stage.jobs.mark_submitting(stage.accepted(), lease_seconds=180)
    stage.clock.advance(STILL_SECONDS)
    assert stage.run() == {"submitting": 1}
    assert stage.sent() == [{"jobId": "j"}]
    assert stage.job().status is JobStatus.SUBMITTING


def test_a_task_whose_execution_was_never_started(stage: Stage) -> None:
    """A RUNNING job that was not told of is sent to SubmitFunction, which starts it."""
    stage.running(started=False)
    stage.clock.advance(STILL_SECONDS)
    assert stage.run() == {"running": 1}
    assert stage.sent() == [{"jobId": "j"}]
    assert stage.job().attempt == 1


def test_a_task_that_waits_long_is_left_to_its_execution(stage: Stage) -> None:
    """A job whose execution runs is looked at once, and then left alone for a while."""
    stage.running()
    stage.clock.advance(STILL_SECONDS)
    assert stage.run() == {}
    assert stage.job().updated_at == iso(stage.clock())
    assert stage.sent() == []


def test_an_execution_that_was_stopped_by_hand(stage: Stage) -> None:
    """If the news of it was lost, the record says `aborted` all the same, and it is told of."""
    job = stage.running()
    stage.aws.executions.stop_execution(executionArn=job.execution_arn)
    stage.clock.advance(STILL_SECONDS)
    assert stage.run() == {"running": 1}
    ended = stage.job()
    assert ended.error is not None
    assert (ended.status, ended.error.code) == (JobStatus.FAILED, ErrorCode.ABORTED)
    assert ended.task_id == "task-1"
    assert stage.aws.told_types() == ["Job Failed"]


def test_an_execution_that_is_gone_has_its_task_taken_up(stage: Stage) -> None:
    """A paid task without an execution is gone on with, a few times, then the job is FAILED."""
    job = stage.running()
    for attempt in range(2, MAX_TAKE_UPS + 2):
        _forget_execution(stage, job)
        stage.clock.advance(STILL_SECONDS)
        assert stage.run() == {"running": 1}
        job = stage.job()
        assert (job.status, job.attempt, job.task_id) == (JobStatus.RUNNING, attempt, "task-1")
        assert job.credits == 1
        assert stage.sent() == [{"jobId": "j"}]
        job = stage.start(job)
    _forget_execution(stage, job)
    stage.clock.advance(STILL_SECONDS)
    assert stage.run() == {"running": 1}
    ended = stage.job()
    assert ended.error is not None
    assert (ended.status, ended.error.code) == (JobStatus.FAILED, ErrorCode.INTERNAL)
    assert ended.task_id == "task-1"


def _forget_execution(stage: Stage, job: Job) -> None:
    """Have the record name an execution that is not there: moto forgets none."""
    stage.aws.dynamodb.update_item(
        TableName=TABLE,
        Key={"pk": {"S": f"JOB#{job.job_id}"}},
        UpdateExpression="SET execution_arn = :arn",
        ExpressionAttributeValues={":arn": {"S": f"{job.execution_arn}-gone"}},
    )


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.SUBMIT_UNKNOWN])
def test_an_end_that_was_not_told_of(stage: Stage, status: JobStatus) -> None:
    """The event that a crash swallowed goes out, once."""
    submitting = stage.jobs.mark_submitting(stage.accepted(), lease_seconds=180)
    assert submitting is not None
    if status is JobStatus.FAILED:
        assert stage.jobs.fail(submitting, ERROR) is not None
    else:
        assert stage.jobs.mark_unknown(submitting, ERROR) is not None
    stage.clock.advance(STILL_SECONDS)
    assert stage.run() == {"announced": 1}
    assert stage.aws.told_types() == [
        "Job Failed" if status is JobStatus.FAILED else "Job Needs Attention"
    ]
    assert stage.run() == {}
    assert stage.aws.told() == []


def test_each_end_is_looked_at_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run goes on where the last one ended, however many ends there are."""
    monkeypatch.setattr(module, "MAX_LOOKS", 2)
    for number in range(5):
        accepted = stage.accepted(f"j{number}", f"{number}.jpg")
        assert stage.jobs.reject(accepted, ERROR) is not None
        stage.clock.advance(1)
    stage.clock.advance(STILL_SECONDS)
    for _ in range(3):
        stage.run()
    assert stage.aws.told_types() == ["Job Rejected"] * 5
    assert stage.run() == {}


def test_ends_of_one_millisecond_are_all_told_of(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound of a run never falls between two jobs that ended at the same moment."""
    monkeypatch.setattr(module, "MAX_LOOKS", 2)
    for number in range(5):
        assert stage.jobs.reject(stage.accepted(f"j{number}", f"{number}.jpg"), ERROR) is not None
    stage.clock.advance(STILL_SECONDS)
    stage.run()
    stage.run()
    assert stage.aws.told_types() == ["Job Rejected"] * 5


# --- photos --------------------------------------------------------------------------------------


def test_a_photo_whose_event_was_lost(stage: Stage) -> None:
    """A photo in the bucket that no record speaks of is dropped again, as S3 told of it."""
    answer = stage.aws.s3.put_object(Bucket=PHOTOS, Key="a/lost.jpg", Body=jpeg())
    assert stage.run() == {"photos": 1}
    (detail,) = stage.sent()
    assert detail["bucket"] == {"name": PHOTOS}
    assert detail["object"] == {
        "key": "a/lost.jpg",
        "etag": answer["ETag"].strip('"'),
        "version-id": answer["VersionId"],
    }


def test_a_photo_with_a_record_is_not_dropped_again(stage: Stage) -> None:
    """Whatever became of a photo, its record is enough; new bytes under its key need another."""
    answer = stage.aws.s3.put_object(Bucket=PHOTOS, Key="a.jpg", Body=jpeg())
    photo = Photo(bucket=PHOTOS, key="a.jpg", etag=answer["ETag"].strip('"'))
    stage.jobs.claim(NewJob("j", photo, "a.jpg", None, trigger="t", error=ERROR))
    assert stage.run() == {}
    stage.aws.s3.put_object(Bucket=PHOTOS, Key="a.jpg", Body=jpeg(9, 9))
    assert stage.run() == {"photos": 1}


def test_what_is_no_photo_is_not_dropped_again(stage: Stage) -> None:
    """Folder files, masks and dotfiles have no records, nor has a photo that was deleted."""
    for key in ("catwalk.json", "a.mask.png", ".hidden", "folder/", "deleted.jpg"):
        stage.aws.s3.put_object(Bucket=PHOTOS, Key=key, Body=b"x")
    stage.aws.s3.delete_object(Bucket=PHOTOS, Key="deleted.jpg")
    assert stage.run() == {}


def test_new_photos_have_their_time_and_old_ones_their_peace(stage: Stage) -> None:
    """Neither a photo that has just landed is dropped again, nor one of a table long emptied."""
    stage.aws.s3.put_object(Bucket=PHOTOS, Key="a.jpg", Body=jpeg())
    stage.clock.now = datetime.now(UTC) + timedelta(seconds=STILL_SECONDS - 60)
    assert stage.run() == {}
    stage.clock.now = datetime.now(UTC) + LOOK_BACK + timedelta(seconds=60)
    assert stage.run() == {}
    stage.clock.now -= timedelta(seconds=3600)
    assert stage.run() == {"photos": 1}


def test_a_large_bucket_is_gone_through_bit_by_bit(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run goes on behind the last one's end, and begins anew when all were seen."""
    monkeypatch.setattr(module, "MAX_LOOKS", 2)
    for number in range(5):
        stage.aws.s3.put_object(Bucket=PHOTOS, Key=f"{number}.jpg", Body=jpeg(9, 9 + number))
    found = []
    for _ in range(3):
        stage.run()
        found.append([detail["object"]["key"] for detail in stage.sent()])
    assert sorted(key for keys in found for key in keys) == [f"{n}.jpg" for n in range(5)]
    stage.run()
    assert [detail["object"]["key"] for detail in stage.sent()] == ["0.jpg", "1.jpg"]


def test_versions_of_one_photo_over_several_pages(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the present version counts, wherever a page of the listing ends."""
    for number in range(7):
        stage.aws.s3.put_object(Bucket=PHOTOS, Key="a.jpg", Body=jpeg(9, 9 + number))
    stage.aws.s3.put_object(Bucket=PHOTOS, Key="b.jpg", Body=jpeg())
    listed = stage.aws.s3.list_object_versions

    def short(**arguments: Any) -> Any:
        return listed(**arguments, MaxKeys=3)

    monkeypatch.setattr(stage.aws.s3, "list_object_versions", short)
    assert stage.run() == {"photos": 2}


# --- bounds and trouble --------------------------------------------------------------------------


def test_a_run_is_bounded_and_takes_the_oldest_first(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left over is the next run's."""
    monkeypatch.setattr(module, "MAX_LOOKS", 2)
    for number in range(5):
        stage.accepted(f"j{number}", f"{number}.jpg")
        stage.clock.advance(1)
    stage.clock.advance(STILL_SECONDS)
    assert stage.run() == {"accepted": 2}
    assert sorted(detail["jobId"] for detail in stage.sent()) == ["j0", "j1"]
    assert stage.run() == {"accepted": 2}
    assert sorted(detail["jobId"] for detail in stage.sent()) == ["j2", "j3"]


def test_without_time_nothing_is_begun(stage: Stage) -> None:
    """An invocation that is about to end leaves the work to the next."""
    stage.accepted()
    stage.clock.advance(STILL_SECONDS)
    stage.remaining = ENOUGH_SECONDS - 1
    assert stage.run() == {}
    stage.remaining = ENOUGH_SECONDS
    assert stage.run() == {"accepted": 1}


def test_one_that_cannot_be_moved_on_holds_up_no_other(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are moved on, and the run says that it was not all well."""
    for number in range(3):
        stage.accepted(f"j{number}", f"{number}.jpg")
    stage.clock.advance(STILL_SECONDS)
    looked_at = stage.jobs.note_looked_at

    def broken(job: Job) -> Job | None:
        if job.job_id == "j1":
            raise RuntimeError("throttled")
        return looked_at(job)

    monkeypatch.setattr(stage.jobs, "note_looked_at", broken)
    with pytest.raises(RuntimeError, match="1 could not be moved on"):
        stage.run()
    assert sorted(detail["jobId"] for detail in stage.sent()) == ["j0", "j1", "j2"]


def test_a_step_that_cannot_look_holds_up_no_other(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photos are found even while the dead-letter queue cannot be read."""
    stage.aws.s3.put_object(Bucket=PHOTOS, Key="a.jpg", Body=jpeg())

    def denied(**_: Any) -> None:
        raise RuntimeError("AccessDenied")

    monkeypatch.setattr(stage.aws.sqs, "receive_message", denied)
    with pytest.raises(RuntimeError, match="1 could not"):
        stage.run()
    monkeypatch.undo()
    assert len(stage.sent()) == 1


def test_a_dead_letter_gets_its_record(stage: Stage) -> None:
    """A photo whose message lies dead is found by whoever looks for failures."""
    event = stage.aws.drop("a.jpg", jpeg())
    stage.aws.sqs.send_message(QueueUrl=stage.aws.dead_letter_url, MessageBody=json.dumps(event))
    assert stage.run() == {"dead_letters": 1}
    (job,) = stage.jobs.of_source("a.jpg")
    assert job.status is JobStatus.FAILED
    assert job.dead_letter is not None
    assert stage.aws.told_types() == ["Job Failed"]
    assert stage.run() == {}


def test_a_full_dead_letter_queue_is_told_of_in_one_run(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of many letters waits behind others that were told of before."""
    monkeypatch.setattr(module, "MAX_LOOKS", 2)
    for number in range(120):
        stage.aws.sqs.send_message(
            QueueUrl=stage.aws.dead_letter_url,
            MessageBody=json.dumps(dropped(f"{number}.jpg", sequencer=str(number))),
        )
    assert stage.run() == {"dead_letters": 120}
    assert stage.run() == {}


def test_the_drop_of_a_lost_photo_is_the_drop_that_s3_told_of(stage: Stage) -> None:
    """If the lost event comes after all, it is the same drop, and starts nothing."""
    event = stage.aws.drop("a.jpg", jpeg())
    stage.run()
    (sent,) = stage.sent()
    same = dropped("a.jpg", version_id=event["detail"]["object"]["version-id"])
    assert sent["object"]["version-id"] == same["detail"]["object"]["version-id"]


def gauges(stage: Stage) -> dict[str, Any]:
    """Return what the last run told of how things stand."""
    told: dict[str, Any] = {}
    for line in stage.measured:
        told |= json.loads(line)
    return told


def test_a_run_tells_how_things_stand(stage: Stage) -> None:
    """How many submits are parked and whether submission pauses, even if there is nothing to do."""
    stage.run()
    told = gauges(stage)
    assert (told["ReconcileMoves"], told["SubmitsParked"], told["SubmissionPaused"]) == (0, 0, 0)
    assert "DailyCreditsUsed" not in told


def test_a_run_whose_figures_cannot_be_had_is_a_run(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands still is moved on, and only the figures are missing."""

    def away(_: JobStatus) -> int:
        raise ConnectionError("DynamoDB is away")

    monkeypatch.setattr(stage.jobs, "count_in", away)
    assert stage.run() == {}
    assert stage.measured == []


def test_a_run_that_failed_in_part_tells_how_things_stand(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has come to its end: that reconcile runs is what the figures say too."""

    def away(*_: object, **__: object) -> None:
        raise ConnectionError("S3 is away")

    monkeypatch.setattr(PhotoStore, "dropped", away)
    with pytest.raises(RuntimeError, match="could not be moved on"):
        stage.run()
    assert gauges(stage)["ReconcileMoves"] == 0
