"""What stands still is found and moved on, and what is under way is left alone."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from shared.clock import iso
from shared.config import SETTLING_SECONDS, ReconcileConfig
from shared.intake.photos import PhotoStore
from shared.limits.settling import first_used
from shared.models import (
    ErrorCode,
    Job,
    JobError,
    JobStatus,
    Photo,
    Review,
    ReviewState,
    SceneType,
    Settings,
)
from shared.notify.metrics import Metrics
from shared.notify.outbox import LATE_SECONDS, ReviewOutbox
from shared.records.jobs import NewJob
from shared.records.ledger import Certainty, Ledger
from shared.steps import dead_letters
from shared.steps import reconcile as module
from shared.steps.reconcile import (
    ENOUGH_SECONDS,
    FULL_PASS_EVERY,
    LOOK_BACK,
    MAX_TAKE_UPS,
    RESEND_AFTER,
    STILL_SECONDS,
    Cursors,
    Unannounced,
)
from shared.steps.start import execution_arn
from shared.wiring import Wiring, reconciler
from tests.factories import BUS, PHOTOS, TABLE, VENDOR, Aws, Clock, dropped, jpeg
from tests.thorough import THOROUGH

SETTINGS = Settings(model_id="002", scene_type=SceneType.ORIGINAL, batch_size=4)
ERROR = JobError(code=ErrorCode.INTERNAL, message="It broke.")


class Stage:
    """A Reconciler on moto."""

    def __init__(self, aws: Aws, clock: Clock, *, settling_seconds: int = 0) -> None:
        self.aws = aws
        self.clock = clock
        self.remaining = 290.0
        self.measured: list[str] = []
        """The EMF lines that were written."""
        config = ReconcileConfig(
            jobs_table=TABLE,
            event_bus=BUS,
            vmake_base_url=VENDOR,
            api_key_secret="-",
            photos_bucket=PHOTOS,
            submit_queue_url=aws.queue_url,
            dead_letter_queue_url=aws.dead_letter_url,
            state_machine_arn=aws.state_machine_arn,
            max_photo_bytes=1_000_000,
            settling_seconds=settling_seconds,
        )
        metrics = Metrics("catwalk", write=self.measured.append)
        wiring = Wiring(config, aws, metrics=metrics, now=clock)
        self.jobs, self.announcer = wiring.jobs, wiring.announcer
        self.reconciler = reconciler(config, wiring)

    def run(self, still_seconds: float = STILL_SECONDS) -> dict[str, int]:
        """Do one run."""
        return self.reconciler.run(lambda: self.remaining, still_seconds=still_seconds)

    def put(self, key: str = "a.jpg", body: bytes | None = None, **metadata: str) -> str:
        """Upload a photo whose event is lost; return its version."""
        answer = self.aws.s3.put_object(
            Bucket=PHOTOS, Key=key, Body=jpeg() if body is None else body, Metadata=metadata
        )
        return str(answer["VersionId"])

    def versions(self) -> list[str]:
        """Return the versions of the drops that were sent to SubmitQueue since the last call."""
        return [detail["object"]["version-id"] for detail in self.sent()]

    def arrive(self, key: str, version: str, *, job_id: str = "j", dropped: bool = True) -> Job:
        """Make the record of a version, from a drop or a backend's event."""
        etag = self.aws.s3.head_object(Bucket=PHOTOS, Key=key, VersionId=version)["ETag"]
        photo = Photo(bucket=PHOTOS, key=key, etag=etag.strip('"'), version_id=version)
        trigger = version if dropped else "event-1"
        new = NewJob(job_id, photo, key, SETTINGS, trigger=trigger, dropped=dropped)
        return self.jobs.claim(new)

    def short_pages(self, patch: pytest.MonkeyPatch, size: int) -> None:
        """Let S3 list this many versions per page, and each page take ten seconds."""
        listed = self.aws.s3.list_object_versions

        def short(**arguments: Any) -> Any:
            self.remaining -= 10
            return listed(**arguments, MaxKeys=size)

        patch.setattr(self.aws.s3, "list_object_versions", short)

    def sent(self) -> list[dict[str, Any]]:
        """Return the details of the events that were sent to SubmitQueue since the last call."""
        return [json.loads(body)["detail"] for body in self.aws.take(self.aws.queue_url)]

    def accepted(self, job_id: str = "j", key: str = "a.jpg") -> Job:
        """Make an ACCEPTED job."""
        photo = Photo(bucket=PHOTOS, key=key, etag="e")
        return self.jobs.claim(NewJob(job_id, photo, key, SETTINGS, trigger="drop-1"))

    def running(self, job_id: str = "j", *, started: bool = True) -> Job:
        """Make a RUNNING job; its execution and its event exist unless they are lost."""
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
    """Return a stage. S3 uses the machine's time, everything else the clock's."""
    monkeypatch.setattr(dead_letters, "_WAIT_SECONDS", 0)
    clock.now = datetime.now(UTC) + timedelta(hours=1)
    return Stage(aws, clock)


# --- jobs ----------------------------------------------------------------------------------------


def test_nothing_to_do_does_nothing(stage: Stage) -> None:
    """A run on an idle stack changes nothing."""
    assert stage.run() == {}
    assert stage.sent() == []


def test_a_photo_whose_message_was_lost_gets_another(stage: Stage) -> None:
    """An ACCEPTED job that has not changed for half an hour is sent to SubmitFunction."""
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
    """A waiting photo whose message still comes is left alone."""
    job = stage.accepted()
    for _ in range(96 if THOROUGH else 4):
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
    """A RUNNING job without an event is sent to SubmitFunction, which starts its execution."""
    stage.running(started=False)
    stage.clock.advance(STILL_SECONDS)
    assert stage.run() == {"running": 1}
    assert stage.sent() == [{"jobId": "j"}]
    assert stage.job().attempt == 1


def test_a_task_that_waits_long_is_left_to_its_execution(stage: Stage) -> None:
    """A job whose execution runs is checked once, and then left alone for a while."""
    stage.running()
    stage.clock.advance(STILL_SECONDS)
    assert stage.run() == {}
    assert stage.job().updated_at == iso(stage.clock())
    assert stage.sent() == []


def test_an_execution_that_was_stopped_by_hand(stage: Stage) -> None:
    """A job whose execution was stopped unseen still ends as `aborted`, with an event."""
    job = stage.running()
    assert job.execution_arn is not None
    stage.aws.executions.stop_execution(executionArn=job.execution_arn)
    stage.clock.advance(STILL_SECONDS)
    assert stage.run() == {"running": 1}
    ended = stage.job()
    assert ended.error is not None
    assert (ended.status, ended.error.code) == (JobStatus.FAILED, ErrorCode.ABORTED)
    assert ended.task_id == "task-1"
    assert stage.aws.told_types() == ["Job Failed"]


def test_an_execution_that_is_gone_has_its_task_taken_up(stage: Stage) -> None:
    """A task without an execution is taken up a few times; then the job is FAILED."""
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
    """Let the record name an execution that does not exist."""
    stage.aws.dynamodb.update_item(
        TableName=TABLE,
        Key={"pk": {"S": f"JOB#{job.job_id}"}},
        UpdateExpression="SET execution_arn = :arn",
        ExpressionAttributeValues={":arn": {"S": f"{job.execution_arn}-gone"}},
    )


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.SUBMIT_UNKNOWN])
def test_an_end_that_was_not_told_of(stage: Stage, status: JobStatus) -> None:
    """A missing event about an end is sent once."""
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


def test_an_unknown_submit_that_was_not_entered(stage: Stage) -> None:
    """A function that was killed between an unknown submit and its ledger entry loses no credit."""
    submitting = stage.jobs.mark_submitting(stage.accepted(), lease_seconds=180)
    assert submitting is not None
    assert stage.jobs.mark_unknown(submitting, ERROR) is not None
    stage.clock.advance(STILL_SECONDS)
    stage.run()
    today = stage.clock().date()
    (entry,) = Ledger(stage.aws.dynamodb, TABLE, now=stage.clock).entries(today, today)
    assert (entry.job_id, entry.attempt, entry.certainty) == ("j", 1, Certainty.UNKNOWN)


def test_each_end_is_looked_at_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run continues where the last one ended, so each end is read once."""
    monkeypatch.setattr(module, "MAX_ENTRIES", 2)
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
    """A run does not stop between two jobs of the same millisecond."""
    monkeypatch.setattr(module, "MAX_ENTRIES", 2)
    for number in range(5):
        assert stage.jobs.reject(stage.accepted(f"j{number}", f"{number}.jpg"), ERROR) is not None
    stage.clock.advance(STILL_SECONDS)
    stage.run()
    stage.run()
    assert stage.aws.told_types() == ["Job Rejected"] * 5


class Refusing:
    """An EventBridge that refuses the events about some jobs."""

    def __init__(self, stage: Stage, patch: pytest.MonkeyPatch, *job_ids: str) -> None:
        self.job_ids = set(job_ids)
        put = stage.aws.events.put_events

        def put_events(*, Entries: Any) -> Any:  # noqa: N803  EventBridge's name
            (entry,) = Entries
            if json.loads(entry["Detail"])["jobId"] in self.job_ids:
                return {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "MalformedDetail"}]}
            return put(Entries=Entries)

        patch.setattr(stage.aws.events, "put_events", put_events)


def ended(stage: Stage, count: int) -> None:
    """Make this many jobs that ended, a second apart, and have no event yet."""
    for number in range(count):
        assert stage.jobs.reject(stage.accepted(f"j{number}", f"{number}.jpg"), ERROR) is not None
        stage.clock.advance(1)
    stage.clock.advance(STILL_SECONDS)


def test_an_event_that_is_refused_holds_up_no_other(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused event is logged once and counted, and is sent once EventBridge accepts it."""
    ended(stage, 3)
    bridge = Refusing(stage, monkeypatch, "j1")
    with pytest.raises(RuntimeError, match="1 could not be moved on"):
        stage.run()
    assert [event["detail"]["jobId"] for event in stage.aws.told()] == ["j0", "j2"]
    assert Unannounced(stage.aws.dynamodb, TABLE).ids() == ["j1"]
    assert stage.run() == {}, "that it is still refused is no failure of the next run"
    bridge.job_ids.clear()
    assert stage.run() == {"announced": 1}
    assert [event["detail"]["jobId"] for event in stage.aws.told()] == ["j1"]
    assert Unannounced(stage.aws.dynamodb, TABLE).ids() == []
    assert stage.run() == {}


def test_a_review_whose_command_ended_is_told(stage: Stage) -> None:
    """A review without an event has its event sent after five minutes, once."""
    done = stage.jobs.finish(stage.running(), results=[], error=None)
    assert done is not None
    stage.announcer.announce(done)
    stage.aws.told()
    outbox = ReviewOutbox(stage.aws.dynamodb, TABLE, now=stage.clock)
    outbox.add("j")
    review = Review(state=ReviewState.APPROVED, by="anna", at=iso(stage.clock()), revision=1)
    assert stage.jobs.review(done, review) is not None
    assert stage.run() == {}, "its command may still be at work"
    stage.clock.advance(LATE_SECONDS)
    assert stage.run() == {"reviews": 1}
    assert stage.aws.told_types() == ["Job Reviewed"]
    assert stage.run() == {}


def test_a_review_of_an_earlier_attempt_is_told_as_that_attempt_was(stage: Stage) -> None:
    """Each `Job Reviewed` has a review, also if the next attempt has begun."""
    done = stage.jobs.finish(stage.running(), results=[], error=None)
    assert done is not None
    stage.announcer.announce(done)
    outbox = ReviewOutbox(stage.aws.dynamodb, TABLE, now=stage.clock)
    outbox.add("j")
    review = Review(state=ReviewState.REFUSED, by="anna", at=iso(stage.clock()), revision=1)
    reviewed = stage.jobs.review(done, review)
    assert reviewed is not None
    assert stage.jobs.start_attempt(reviewed) is not None
    stage.aws.told()
    stage.clock.advance(LATE_SECONDS)
    assert stage.run() == {"reviews": 1}
    (event,) = stage.aws.told()
    detail = event["detail"]
    assert (detail["attempt"], detail["status"], detail["taskId"]) == (1, "SUCCEEDED", "task-1")
    assert detail["review"]["state"] == "refused"
    assert detail["history"] == []


def test_a_review_that_was_never_written_is_not_told(stage: Stage) -> None:
    """An outbox entry without a review leads to no event."""
    done = stage.jobs.finish(stage.running(), results=[], error=None)
    assert done is not None
    stage.announcer.announce(done)
    stage.aws.told()
    outbox = ReviewOutbox(stage.aws.dynamodb, TABLE, now=stage.clock)
    outbox.add("j")
    stage.clock.advance(LATE_SECONDS)
    assert stage.run() == {}
    assert outbox.left_behind() == []
    assert stage.aws.told() == []


def test_refused_events_have_their_turns(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """All refused events are tried again, and entries of jobs that continued are removed."""
    monkeypatch.setattr(module, "MAX_ENTRIES", 3)
    ended(stage, 3)
    bridge = Refusing(stage, monkeypatch, "j0", "j1", "j2")
    with pytest.raises(RuntimeError, match="3 could not"):
        stage.run()
    monkeypatch.setattr(module, "MAX_ENTRIES", 1)
    bridge.job_ids.remove("j2")
    assert [stage.run() for _ in range(3)] == [{}, {}, {"announced": 1}]
    assert stage.jobs.start_attempt(stage.job("j0")) is not None
    stage.clock.advance(-1)
    stage.run()
    assert Unannounced(stage.aws.dynamodb, TABLE).ids() == ["j1"]


def test_an_eventbridge_that_takes_nothing_is_waited_for(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With too many refused events a run stops; later runs send them all."""
    monkeypatch.setattr(module, "MAX_UNANNOUNCED", 2)
    ended(stage, 5)
    bridge = Refusing(stage, monkeypatch, *(f"j{number}" for number in range(5)))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="could not"):
            stage.run()
    assert stage.aws.told() == []
    bridge.job_ids.clear()
    assert sum(stage.run().get("announced", 0) for _ in range(2)) == 5
    assert len(stage.aws.told()) == 5


# --- photos --------------------------------------------------------------------------------------


def test_a_photo_whose_event_was_lost(stage: Stage) -> None:
    """The drop of a photo without a record is sent again, in the form of S3's event."""
    answer = stage.aws.s3.put_object(Bucket=PHOTOS, Key="a/lost.jpg", Body=jpeg())
    assert stage.run() == {"photos": 1}
    (detail,) = stage.sent()
    assert detail["bucket"] == {"name": PHOTOS}
    assert detail["object"] == {
        "key": "a/lost.jpg",
        "etag": answer["ETag"].strip('"'),
        "version-id": answer["VersionId"],
    }


@pytest.mark.parametrize("error", [None, ERROR])
def test_a_photo_that_arrived_is_not_dropped_again(stage: Stage, error: JobError | None) -> None:
    """A drop with a record is not sent again; new bytes under its key are."""
    version = stage.put()
    job = stage.arrive("a.jpg", version)
    if error is not None:
        assert stage.jobs.reject(job, error) is not None
    assert "photos" not in stage.run()
    second = stage.put(body=jpeg(fill=9))
    assert stage.run()["photos"] == 1
    assert stage.versions() == [second]


def test_another_record_of_the_same_bytes_hides_no_drop(stage: Stage) -> None:
    """Neither a backend's event about the key nor an earlier drop stands for a drop that was lost.

    Its metadata may ask for something else.
    """
    first = stage.put()
    stage.arrive("a.jpg", first, dropped=False)
    assert stage.run()["photos"] == 1
    assert stage.versions() == [first]
    stage.arrive("a.jpg", first, job_id="j2")
    second = stage.put(sku="S-1")
    assert stage.run()["photos"] == 1
    assert stage.versions() == [second]


def test_an_earlier_version_whose_event_was_lost(stage: Stage) -> None:
    """An earlier version without a record is sent, too."""
    first = stage.put()
    stage.arrive("a.jpg", stage.put(body=jpeg(fill=9)))
    assert stage.run() == {"photos": 1}
    assert stage.versions() == [first]


def test_drops_without_versions_in_their_events(stage: Stage) -> None:
    """If S3's events name no version, as on the laptop, a record counts for its bytes."""
    version = stage.put()
    etag = stage.aws.s3.head_object(Bucket=PHOTOS, Key="a.jpg")["ETag"].strip('"')
    for job_id, known in (("j", version), ("j2", None)):
        photo = Photo(bucket=PHOTOS, key="a.jpg", etag=etag, version_id=known)
        new = NewJob(job_id, photo, "a.jpg", SETTINGS, trigger="sequencer", dropped=True)
        stage.jobs.claim(new)
        assert "photos" not in stage.run()
        stage.aws.dynamodb.delete_item(TableName=TABLE, Key={"pk": {"S": f"JOB#{job_id}"}})


def test_what_is_no_photo_is_not_dropped_again(stage: Stage) -> None:
    """Folder files, masks and dotfiles have no records; a photo that was deleted needs one."""
    for key in ("catwalk.json", "a.mask.png", ".hidden", "folder/"):
        stage.put(key, b"x")
    assert stage.run() == {}
    stage.put("deleted.jpg")
    stage.aws.s3.delete_object(Bucket=PHOTOS, Key="deleted.jpg")
    assert stage.run() == {"photos": 1}


def test_new_photos_have_their_time_and_old_ones_their_peace(stage: Stage) -> None:
    """Photos that are newer than half an hour or older than 14 days are left alone."""
    stage.put()
    landed = datetime.now(UTC)
    for age, moved in (
        (timedelta(seconds=STILL_SECONDS - 60), {}),
        (LOOK_BACK + timedelta(seconds=60), {}),
        (LOOK_BACK - timedelta(seconds=60), {"photos": 1}),
    ):
        stage.clock.now = landed + age
        assert stage.run() == moved
        stage.aws.dynamodb.delete_item(TableName=TABLE, Key={"pk": {"S": "CONTROL#reconcile"}})


def test_a_large_bucket_is_gone_through_bit_by_bit(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run ends before its time is over, and the next run continues there."""
    keys = [f"{number}.jpg" for number in range(9)]
    versions = [stage.put(key) for key in keys]
    stage.short_pages(monkeypatch, 2)
    found = []
    for _ in range(3):
        stage.remaining = ENOUGH_SECONDS + 25
        stage.run()
        found.append(stage.versions())
    assert found == [versions[:4], versions[4:8], versions[8:]]


def test_pages_of_delete_markers_are_got_through(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The position is also kept on pages without photos."""
    for number in range(10):
        stage.aws.s3.delete_object(Bucket=PHOTOS, Key=f"a/{number}.jpg")
    version = stage.put("b.jpg")
    stage.short_pages(monkeypatch, 2)
    for _ in range(4):
        stage.remaining = ENOUGH_SECONDS + 15
        stage.run()
    assert stage.versions() == [version]


def test_versions_of_one_photo_over_several_pages(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each version is sent once, wherever pages and runs end."""
    versions = [stage.put(body=jpeg(fill=1 + number)) for number in range(7)]
    stage.short_pages(monkeypatch, 3)
    for _ in range(3):
        stage.remaining = ENOUGH_SECONDS + 15
        stage.run()
    assert sorted(stage.versions()) == sorted(versions)


def test_a_place_that_is_gone_is_no_end(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """If S3 does not take the version where the last run ended, the listing goes on behind its key.

    Lifecycle rules delete versions between two runs.
    """
    for key in ("a.jpg", "b.jpg"):
        stage.put(key)
    cursors = Cursors(stage.aws.dynamodb, TABLE)
    listed = stage.aws.s3.list_object_versions

    def strict(**arguments: Any) -> Any:
        if arguments.get("VersionIdMarker") == "gone":
            raise ClientError(
                {"Error": {"Code": "InvalidArgument", "Message": "Invalid version id"}},
                "ListObjectVersions",
            )
        return listed(**arguments)

    monkeypatch.setattr(stage.aws.s3, "list_object_versions", strict)
    since, until = iso(stage.clock() - LOOK_BACK), iso(stage.clock())
    begun = {"since": since, "until": until, "full": True, "key": "a.jpg", "version_id": "gone"}
    cursors.write({"photos": json.dumps(begun)})
    stage.remaining = ENOUGH_SECONDS
    assert stage.run() == {"photos": 2}


def test_a_drop_that_waits_long_is_sent_again_once(stage: Stage) -> None:
    """A drop is sent again only after a while, since its message may still be in the queue."""
    stage.put()
    assert stage.run() == {"photos": 1}
    for _ in range(20):
        stage.clock.advance(900)
        assert stage.run() == {}
    stage.clock.advance(RESEND_AFTER.total_seconds() - 20 * 900)
    assert stage.run() == {"photos": 1}
    (note,) = [item for item in stage.aws.records() if item["pk"]["S"].startswith("RESENT#")]
    assert float(note["expires_at"]["N"]) > stage.clock().timestamp()


def test_each_run_looks_at_what_is_new(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Photos of the last 14 days are checked once a day, not in every run."""
    stage.arrive("a.jpg", stage.put())
    asked: list[str] = []
    of_source = stage.jobs.of_source

    def counted(key: str) -> Iterator[Job]:
        asked.append(key)
        return of_source(key)

    monkeypatch.setattr(stage.jobs, "of_source", counted)
    stage.clock.advance(3 * 3600)
    for _ in range(10):
        stage.run()
        stage.clock.advance(900)
    assert asked == ["a.jpg"]
    stage.aws.dynamodb.delete_item(TableName=TABLE, Key={"pk": {"S": "JOB#j"}})
    stage.clock.advance(FULL_PASS_EVERY.total_seconds())
    assert stage.run() == {"photos": 1}


def test_a_record_that_cannot_be_read_hides_no_photo(stage: Stage) -> None:
    """An error of one photo is reported, and the others are sent."""
    for key in ("a.jpg", "b.jpg", "c.jpg"):
        stage.put(key)
    broken = {"pk": "JOB#x", "source_key": "b.jpg", "created_at": iso(stage.clock())}
    stage.aws.dynamodb.put_item(
        TableName=TABLE, Item={name: {"S": value} for name, value in broken.items()}
    )
    with pytest.raises(RuntimeError, match="1 could not be moved on"):
        stage.run()
    assert [detail["object"]["key"] for detail in stage.sent()] == ["a.jpg", "c.jpg"]


# --- a run by hand -------------------------------------------------------------------------------


def test_a_run_by_hand_adds_no_second_message(stage: Stage) -> None:
    """During a pause no message is added for a waiting photo."""
    for number in range(7):
        job = stage.accepted(f"j{number}", f"{number}.jpg")
        stage.jobs.note_waiting(job, seconds=900, reason="the key was refused")
        stage.aws.sqs.send_message(QueueUrl=stage.aws.queue_url, MessageBody="x", DelaySeconds=900)
    for _ in range(3):
        stage.clock.advance(1)
        assert stage.run(0) == {}
    stage.aws.sqs.purge_queue(QueueUrl=stage.aws.queue_url)
    assert stage.run(0) == {"accepted": 7}
    stage.clock.advance(1)
    assert stage.run(0) == {}
    assert len(stage.sent()) == 7


def test_a_run_by_hand_leaves_drops_that_are_in_the_queue(stage: Stage) -> None:
    """A run by hand sends a new photo again only if the queue is empty."""
    stage.clock.now = datetime.now(UTC) + timedelta(seconds=60)
    version = stage.put()
    stage.aws.sqs.send_message(QueueUrl=stage.aws.queue_url, MessageBody="x")
    assert stage.run(0) == {}
    stage.aws.sqs.purge_queue(QueueUrl=stage.aws.queue_url)
    assert stage.run(0) == {"photos": 1}
    assert stage.versions() == [version]


def test_a_run_by_hand_that_cannot_look_at_the_queue(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the queue's messages cannot be counted, a run by hand says so and sends nothing."""
    stage.accepted()
    stage.clock.advance(1)

    def denied(**_: Any) -> None:
        raise RuntimeError("AccessDenied")

    monkeypatch.setattr(stage.aws.sqs, "get_queue_attributes", denied)
    with pytest.raises(RuntimeError, match="1 could not"):
        stage.run(0)
    monkeypatch.undo()
    assert stage.sent() == []


# --- bounds and trouble --------------------------------------------------------------------------


def test_a_run_is_bounded_and_takes_the_oldest_first(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run moves a maximum number of entries; the next run moves the others."""
    monkeypatch.setattr(module, "MAX_ENTRIES", 2)
    for number in range(5):
        stage.accepted(f"j{number}", f"{number}.jpg")
        stage.clock.advance(1)
    stage.clock.advance(STILL_SECONDS)
    assert stage.run() == {"accepted": 2}
    assert sorted(detail["jobId"] for detail in stage.sent()) == ["j0", "j1"]
    assert stage.run() == {"accepted": 2}
    assert sorted(detail["jobId"] for detail in stage.sent()) == ["j2", "j3"]


def test_without_time_nothing_is_begun(stage: Stage) -> None:
    """Without enough time left, a run moves nothing."""
    stage.accepted()
    stage.clock.advance(STILL_SECONDS)
    stage.remaining = ENOUGH_SECONDS - 1
    assert stage.run() == {}
    stage.remaining = ENOUGH_SECONDS
    assert stage.run() == {"accepted": 1}


def test_one_that_cannot_be_moved_on_holds_up_no_other(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If one entry fails, the others are moved, and the run raises an error."""
    for number in range(3):
        stage.accepted(f"j{number}", f"{number}.jpg")
    stage.clock.advance(STILL_SECONDS)
    records_read = stage.jobs.note_checked

    def broken(job: Job) -> Job | None:
        if job.job_id == "j1":
            raise RuntimeError("throttled")
        return records_read(job)

    monkeypatch.setattr(stage.jobs, "note_checked", broken)
    with pytest.raises(RuntimeError, match="1 could not be moved on"):
        stage.run()
    assert sorted(detail["jobId"] for detail in stage.sent()) == ["j0", "j1", "j2"]


def test_a_step_that_cannot_look_holds_up_no_other(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photos are found also if the dead-letter queue cannot be read."""
    stage.aws.s3.put_object(Bucket=PHOTOS, Key="a.jpg", Body=jpeg())

    def denied(**_: Any) -> None:
        raise RuntimeError("AccessDenied")

    monkeypatch.setattr(stage.aws.sqs, "receive_message", denied)
    with pytest.raises(RuntimeError, match="1 could not"):
        stage.run()
    monkeypatch.undo()
    assert len(stage.sent()) == 1


def test_a_dead_letter_gets_its_record(stage: Stage) -> None:
    """A photo whose message is a dead letter has a FAILED record."""
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
    """One run makes a record for each of many dead letters, and the next run none."""
    monkeypatch.setattr(module, "MAX_ENTRIES", 2)
    for number in range(45):
        stage.aws.sqs.send_message(
            QueueUrl=stage.aws.dead_letter_url,
            MessageBody=json.dumps(dropped(f"{number}.jpg", sequencer=str(number))),
        )
    assert stage.run() == {"dead_letters": 45}
    assert stage.run() == {}


def test_the_drop_of_a_lost_photo_is_the_drop_that_s3_told_of(stage: Stage) -> None:
    """If the lost event arrives later, it is the same drop and starts nothing."""
    event = stage.aws.drop("a.jpg", jpeg())
    stage.run()
    (sent,) = stage.sent()
    same = dropped("a.jpg", version_id=event["detail"]["object"]["version-id"])
    assert sent["object"]["version-id"] == same["detail"]["object"]["version-id"]


def gauges(stage: Stage) -> dict[str, Any]:
    """Return the gauges that the last run emitted."""
    told: dict[str, Any] = {}
    for line in stage.measured:
        told |= json.loads(line)
    return told


def test_a_run_tells_how_things_stand(stage: Stage) -> None:
    """Each run emits the number of parked submits and whether submission is paused."""
    stage.run()
    told = gauges(stage)
    assert (told["ReconcileMoves"], told["SubmitsParked"], told["SubmissionPaused"]) == (0, 0, 0)
    assert "DailyCreditsUsed" not in told


def test_a_run_whose_figures_cannot_be_had_is_a_run(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the metrics fail, the run still moves all entries."""

    def away(_: JobStatus) -> int:
        raise ConnectionError("DynamoDB is away")

    monkeypatch.setattr(stage.jobs, "count_in", away)
    assert stage.run() == {}
    assert stage.measured == []


def test_a_run_that_failed_in_part_tells_how_things_stand(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run with a failed entry emits its metrics, too."""

    def away(*_: object, **__: object) -> None:
        raise ConnectionError("S3 is away")

    monkeypatch.setattr(PhotoStore, "dropped", away)
    with pytest.raises(RuntimeError, match="could not be moved on"):
        stage.run()
    assert gauges(stage)["ReconcileMoves"] == 0


# --- a new bucket --------------------------------------------------------------------------------


def test_a_run_begins_the_time_of_a_new_bucket(aws: Aws, clock: Clock) -> None:
    """A run starts the settling time of a new bucket without a photo."""
    Stage(aws, clock, settling_seconds=SETTLING_SECONDS).run()
    assert first_used(aws.dynamodb, TABLE, PHOTOS) == clock()


def test_runs_by_hand_send_a_drop_of_a_new_bucket_once(aws: Aws, clock: Clock) -> None:
    """A drop that may wait in the queue, or whose event is lost, gets one more message, not many.

    S3 sends no events for some minutes, so it must get that one.
    """
    stage = Stage(aws, clock, settling_seconds=SETTLING_SECONDS)
    clock.now = datetime.now(UTC)  # S3's clock
    version = stage.put()
    clock.advance(60)
    aws.sqs.send_message(QueueUrl=aws.queue_url, MessageBody="{}", DelaySeconds=900)
    assert stage.run(0) == {"photos": 1}
    assert stage.run(0) == {}
    clock.advance(SETTLING_SECONDS)
    assert version in [
        json.loads(body)["detail"]["object"]["version-id"] for body in aws.take(aws.queue_url)
    ]
