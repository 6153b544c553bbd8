"""Each dead letter has a record that says so, and sending it again starts what it was about."""

import json
from typing import Any

import pytest

from shared.intake.arrivals import Arrivals
from shared.intake.messages import continue_message
from shared.models import ErrorCode, Job, JobError, JobStatus, Photo, SceneType, Settings
from shared.notify.announcer import Announcer
from shared.notify.events import EventPublisher
from shared.records.jobs import JobRepository, NewJob
from shared.steps import dead_letters
from shared.steps.dead_letters import COUNT_SETTLES, KEPT, MAX_BODY_BYTES, DeadLetter, DeadLetters
from tests.factories import BUS, PHOTOS, TABLE, VARIANT, VENDOR, Aws, Clock, jpeg, requested

SETTINGS = Settings(model_id="002", scene_type=SceneType.ORIGINAL, batch_size=4)
ERROR = JobError(code=ErrorCode.VENDOR_TASK_ERROR, message="It failed.")


class Stage:
    """The dead-letter queue among doubles."""

    def __init__(self, aws: Aws, clock: Clock) -> None:
        self.aws = aws
        self.clock = clock
        self.jobs = JobRepository(aws.dynamodb, TABLE, now=clock)
        self.announcer = Announcer(EventPublisher(aws.events, BUS), self.jobs)
        self.dead_letters = DeadLetters(
            aws.sqs,
            dead_letter_url=aws.dead_letter_url,
            queue_url=aws.queue_url,
            photos_bucket=PHOTOS,
            vendor_origin=VENDOR,
            jobs=self.jobs,
            arrivals=Arrivals(aws.dynamodb, TABLE, now=clock),
        )

    def dies(self, message: dict[str, Any] | str) -> str:
        """Have a message in the dead-letter queue and recorded; return its id."""
        body = message if isinstance(message, str) else json.dumps(message)
        answer = self.aws.sqs.send_message(QueueUrl=self.aws.dead_letter_url, MessageBody=body)
        (letter,) = self.letters()
        assert letter.message_id == answer["MessageId"]
        self.dead_letters.record(letter, self.announcer)
        return letter.message_id

    def letters(self) -> list[DeadLetter]:
        """Look into the queue."""
        return list(self.dead_letters.letters(100))

    def redrive(self) -> list[str]:
        """Send all dead letters again; return what SubmitQueue then holds."""
        for letter in self.dead_letters.letters(100):
            self.dead_letters.redrive(letter)
        return self.aws.take(self.aws.queue_url)

    def claimed(self, trigger: str, job_id: str = "j") -> Job:
        """Have a job that a drop had come to."""
        photo = Photo(bucket=PHOTOS, key="a.jpg", etag="e")
        return self.jobs.claim(NewJob(job_id, photo, "a.jpg", SETTINGS, trigger=trigger))

    def job(self, job_id: str = "j") -> Job:
        """Return a record."""
        job = self.jobs.get(job_id)
        assert job is not None
        return job


@pytest.fixture
def stage(aws: Aws, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Give a stage."""
    monkeypatch.setattr(dead_letters, "_WAIT_SECONDS", 0)
    return Stage(aws, clock)


def trigger_of(event: dict[str, Any]) -> str:
    """Return what a drop is told from others by."""
    trigger: str = event["detail"]["object"]["version-id"]
    return trigger


def test_a_photo_whose_message_died_before_it_had_a_record(stage: Stage) -> None:
    """A FAILED record names the photo, the dead letter and what to do; it is made once."""
    event = stage.aws.drop("a.jpg", jpeg())
    message_id = stage.dies(event)
    (job,) = stage.jobs.of_source("a.jpg")
    assert job.error is not None
    assert (job.status, job.error.code, job.credits) == (
        JobStatus.FAILED,
        ErrorCode.INTERNAL,
        0,
    )
    assert message_id in job.error.message
    assert "redrive" in job.error.message
    (letter,) = stage.letters()
    assert stage.dead_letters.record(letter, stage.announcer) is False
    assert len(list(stage.jobs.of_source("a.jpg"))) == 1
    assert stage.aws.told_types() == ["Job Failed"]


def test_sending_it_again_takes_that_record_away(stage: Stage) -> None:
    """The message is on its way again, and the job that it makes has the place to itself."""
    event = stage.aws.drop("a.jpg", jpeg())
    stage.dies(event)
    assert stage.redrive() == [json.dumps(event)]
    assert list(stage.jobs.of_source("a.jpg")) == []
    assert stage.dead_letters.count() == 0


def test_a_job_whose_message_died(stage: Stage) -> None:
    """The job itself says so, and the same message, sent again, starts it."""
    event = stage.aws.drop("a.jpg", jpeg())
    stage.claimed(trigger_of(event))
    message_id = stage.dies(event)
    job = stage.job()
    assert (job.status, job.dead_letter, job.dead_lettered) == (JobStatus.FAILED, message_id, True)
    assert stage.redrive() == [json.dumps(event)]
    assert stage.claimed(trigger_of(event)).status is JobStatus.ACCEPTED


def test_the_message_of_a_job_that_waited_died(stage: Stage) -> None:
    """A dead letter that Catwalk sent itself is noted in the job that it names."""
    message_id = stage.dies(continue_message(stage.claimed("drop-1")))
    job = stage.job()
    assert (job.status, job.dead_letter) == (JobStatus.FAILED, message_id)
    assert stage.redrive() == [continue_message(job)]
    assert stage.job().dead_lettered


@pytest.mark.parametrize("ended", [False, True])
def test_a_job_that_was_paid_for_is_only_noted(stage: Stage, ended: bool) -> None:
    """A task at the vendor goes on, and a failed one is not paid for again by sending again."""
    event = stage.aws.drop("a.jpg", jpeg())
    submitting = stage.jobs.mark_submitting(stage.claimed(trigger_of(event)), lease_seconds=180)
    assert submitting is not None
    job = stage.jobs.keep_task_id(submitting, "task-1", execution_arn="arn")
    assert job is not None
    if ended:
        assert stage.jobs.fail(job, ERROR) is not None
    before = stage.job().status
    message_id = stage.dies(event)
    noted = stage.job()
    assert (noted.status, noted.dead_letter, noted.dead_lettered) == (before, message_id, False)
    stage.redrive()
    assert stage.job().dead_letter is None
    assert stage.claimed(trigger_of(event)).attempt == 1


def test_a_request_with_two_variants_of_which_one_died(stage: Stage) -> None:
    """Each job that the message had come to says so; what had begun goes on."""
    event = requested({"photo": {"key": "a.jpg"}, "variants": [VARIANT, VARIANT]}, event_id="r-9")
    first = stage.jobs.mark_submitting(stage.claimed("r-9", "j1"), lease_seconds=180)
    assert first is not None
    assert stage.jobs.keep_task_id(first, "task-1", execution_arn="arn") is not None
    stage.claimed("r-9", "j2")
    message_id = stage.dies(event)
    assert (stage.job("j1").status, stage.job("j1").dead_letter) == ("RUNNING", message_id)
    assert (stage.job("j2").status, stage.job("j2").dead_letter) == ("FAILED", message_id)


def test_a_request_that_died_keeps_its_names(stage: Stage) -> None:
    """The backend finds its request by requestId and article, and the photo by its URL."""
    detail = {
        "requestId": "order-1",
        "sku": "S-1",
        "photo": {"url": "https://shop.example.com/a.jpg"},
        "variants": [VARIANT],
    }
    stage.dies(requested(detail))
    (job,) = stage.jobs.of_source("url/shop.example.com/a.jpg")
    assert (job.request_id, job.sku) == ("order-1", "S-1")
    assert job.photo is not None
    assert job.photo.url == "https://shop.example.com/a.jpg"


def test_a_broken_message_that_died(stage: Stage) -> None:
    """What cannot be read is REJECTED with the reason, as it would have been."""
    message_id = stage.dies("this is no event")
    (item,) = stage.aws.records()
    job = stage.job(item["job_id"]["S"])
    assert job.error is not None
    assert (job.status, job.error.code) == (JobStatus.REJECTED, ErrorCode.BAD_REQUEST_EVENT)
    assert job.dead_letter == message_id
    assert stage.aws.told_types() == ["Job Rejected"]


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"detail-type": "Job Continued", "detail": {"jobId": "deleted"}}),
        json.dumps(
            {
                "detail-type": "Object Created",
                "detail": {"bucket": {"name": PHOTOS}, "object": {"key": "catwalk.json"}},
            }
        ),
    ],
    ids=["a job that was deleted", "no photo"],
)
def test_a_message_about_nothing_is_thrown_away(stage: Stage, body: str) -> None:
    """It asks for nothing, and would lie there for two weeks."""
    stage.dies(body)
    assert stage.dead_letters.count() == 0
    assert stage.aws.records() == []


def test_no_more_letters_than_asked_for(stage: Stage) -> None:
    """A full dead-letter queue is looked at bit by bit, each message once."""
    for number in range(25):
        stage.aws.sqs.send_message(QueueUrl=stage.aws.dead_letter_url, MessageBody=str(number))
    assert stage.dead_letters.count() == 25
    assert len({letter.message_id for letter in stage.dead_letters.letters(13)}) == 13
    assert len({letter.message_id for letter in stage.dead_letters.letters(100)}) == 25


def test_who_looks_does_not_hide_the_letters_from_others(stage: Stage) -> None:
    """After a look, even one that was broken off, all messages can be sent again at once."""
    for number in range(12):
        stage.aws.sqs.send_message(QueueUrl=stage.aws.dead_letter_url, MessageBody=str(number))
    looking = stage.dead_letters.letters(100)
    next(looking)
    looking.close()  # type: ignore[attr-defined]  # it is a generator
    assert len(stage.redrive()) == 12
    assert stage.dead_letters.count() == 0


def test_a_job_that_was_made_anew_is_not_buried_by_its_old_letter(stage: Stage) -> None:
    """A dead letter that stays after its job was regenerated makes no second failure."""
    event = stage.aws.drop("a.jpg", jpeg())
    stage.claimed(trigger_of(event))
    stage.dies(event)
    again = stage.jobs.start_attempt(stage.job())
    assert again is not None
    stage.aws.told()
    (letter,) = stage.letters()
    assert stage.dead_letters.record(letter, stage.announcer) is False
    assert stage.job() == again
    assert stage.aws.told() == []


# --- a letter that has expired -------------------------------------------------------------------


def expire(stage: Stage) -> None:
    """Have SQS delete every letter, and some time pass."""
    stage.aws.take(stage.aws.dead_letter_url)
    stage.clock.advance(COUNT_SETTLES.total_seconds())


def resend(stage: Stage) -> list[str]:
    """Send what was lost again by its records; return what SubmitQueue then holds."""
    for job in stage.dead_letters.lost(stage.clock()):
        stage.dead_letters.resend(job)
    return stage.aws.take(stage.aws.queue_url)


@pytest.mark.parametrize("kind", ["drop", "request"])
def test_a_record_outlives_its_letter(stage: Stage, kind: str) -> None:
    """What the message asked for is sent again from the record, word for word, once."""
    detail = {"photo": {"url": "https://shop.example.com/a.jpg"}, "variants": [VARIANT]}
    event = stage.aws.drop("a.jpg", jpeg()) if kind == "drop" else requested(detail)
    stage.dies(event)
    expire(stage)
    assert resend(stage) == [json.dumps(event)]
    assert resend(stage) == []


def test_a_job_outlives_its_letter(stage: Stage) -> None:
    """A job that its message had come to goes on from its record."""
    event = stage.aws.drop("a.jpg", jpeg())
    job = stage.claimed(trigger_of(event))
    stage.dies(event)
    expire(stage)
    assert resend(stage) == [continue_message(job)]
    assert stage.job().dead_lettered, "by this the message starts the next attempt"


def test_the_record_of_a_drop_from_before_records_kept_messages(stage: Stage) -> None:
    """Its drop is sent again by key and ETag, and is the same drop as before."""
    event = stage.aws.drop("a.jpg", jpeg())
    stage.dies(event)
    (record,) = stage.jobs.of_source("a.jpg")
    stage.aws.dynamodb.update_item(
        TableName=TABLE,
        Key={"pk": {"S": f"JOB#{record.job_id}"}},
        UpdateExpression="REMOVE dead_body, photo.version_id",
    )
    expire(stage)
    (body,) = resend(stage)
    item = event["detail"]["object"]
    assert json.loads(body)["detail"]["object"] == {"key": "a.jpg", "etag": item["etag"]}
    assert json.loads(body)["id"] == trigger_of(event)


def test_a_message_that_is_too_long_for_a_record(stage: Stage) -> None:
    """The record says until when its letter can be sent again, and that it is not in there."""
    variant = {**VARIANT, "extra": {"note": "x" * MAX_BODY_BYTES}}
    detail = {"photo": {"url": "https://shop.example.com/a.jpg"}, "variants": [variant]}
    stage.dies(requested(detail))
    (job,) = stage.jobs.of_source("url/shop.example.com/a.jpg")
    assert job.error is not None
    assert "within 14 days" in job.error.message
    expire(stage)
    (lost,) = stage.dead_letters.lost(stage.clock())
    assert not stage.dead_letters.can_resend(lost)
    with pytest.raises(ValueError, match="does not hold its request"):
        resend(stage)


def test_a_letter_that_may_be_there_is_not_lost(stage: Stage) -> None:
    """SQS counts late: neither a young letter is given up, nor one among others before its time."""
    stage.dies(stage.aws.drop("a.jpg", jpeg()))
    stage.aws.take(stage.aws.dead_letter_url)
    assert stage.dead_letters.lost(stage.clock()) == []
    stage.clock.advance(COUNT_SETTLES.total_seconds())
    stage.aws.sqs.send_message(QueueUrl=stage.aws.dead_letter_url, MessageBody="another")
    assert stage.dead_letters.lost(stage.clock()) == []
    stage.clock.advance(KEPT.total_seconds())
    assert len(stage.dead_letters.lost(stage.clock())) == 1
