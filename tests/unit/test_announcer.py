"""Events about jobs: one for each status, after a crash perhaps two, never none."""

import pytest

from shared.models import ErrorCode, Job, JobError
from shared.notify.announcer import Announcer
from shared.notify.events import EventPublisher
from shared.records.jobs import JobRepository, NewJob
from tests.factories import BUS, TABLE, Aws, Clock

REJECTED = NewJob(
    job_id="j",
    photo=None,
    source_key="a.jpg",
    settings=None,
    trigger="t",
    error=JobError(code=ErrorCode.EMPTY_FILE, message="It is empty."),
)


@pytest.fixture
def jobs(aws: Aws, clock: Clock) -> JobRepository:
    """Return a repository of JobsTable."""
    return JobRepository(aws.dynamodb, TABLE, now=clock)


@pytest.fixture
def announcer(aws: Aws, jobs: JobRepository) -> Announcer:
    """Return an announcer for the stack's bus."""
    return Announcer(EventPublisher(aws.events, BUS), jobs)


def stored(jobs: JobRepository) -> Job:
    """Return the record."""
    job = jobs.get("j")
    assert job is not None
    return job


def test_status_is_told_once(aws: Aws, jobs: JobRepository, announcer: Announcer) -> None:
    """Later invocations see in the record that the event was sent."""
    announcer.announce(jobs.claim(REJECTED))
    announcer.announce(stored(jobs))
    assert aws.told_types() == ["Job Rejected"]


def test_each_attempt_is_told(aws: Aws, jobs: JobRepository, announcer: Announcer) -> None:
    """The same status of a new attempt has an event of its own."""
    announcer.announce(jobs.claim(REJECTED))
    again = jobs.start_attempt(stored(jobs), REJECTED)
    assert again is not None
    announcer.announce(again)
    assert [event["detail"]["attempt"] for event in aws.told()] == [1, 2]


def test_event_that_was_not_taken_is_told_later(
    aws: Aws, jobs: JobRepository, announcer: Announcer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If EventBridge fails, the record notes no event, and the next invocation sends it."""
    job = jobs.claim(REJECTED)
    with monkeypatch.context() as patch:

        def away(**_: object) -> None:
            raise RuntimeError("EventBridge is away")

        patch.setattr(aws.events, "put_events", away)
        with pytest.raises(RuntimeError, match="away"):
            announcer.announce(job)
    assert stored(jobs).announced is None
    announcer.announce(stored(jobs))
    assert aws.told_types() == ["Job Rejected"]


def test_crash_between_event_and_note_tells_twice_not_never(
    aws: Aws, jobs: JobRepository, announcer: Announcer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event that was sent but not noted is sent again."""
    job = jobs.claim(REJECTED)
    with monkeypatch.context() as patch:

        def away(_: Job) -> None:
            raise RuntimeError("DynamoDB is away")

        patch.setattr(jobs, "mark_announced", away)
        with pytest.raises(RuntimeError, match="away"):
            announcer.announce(job)
    announcer.announce(stored(jobs))
    assert aws.told_types() == ["Job Rejected", "Job Rejected"]
