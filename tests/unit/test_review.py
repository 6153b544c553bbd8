"""Reviews fit the results, and each has an event, also after a crash."""

import pytest

from cli.errors import CommandError
from cli.jobs.review import Decision, Reviewer, changed_since
from shared.models import Job, JobStatus, Result, ReviewState, SceneType, Settings
from shared.notify.announcer import Announcer
from shared.notify.events import EventPublisher
from shared.notify.outbox import LATE_SECONDS, ReviewOutbox
from shared.records.jobs import JobRepository, NewJob
from tests.factories import BUS, TABLE, Aws, Clock

APPROVED, REFUSED, TO_REVIEW = (
    ReviewState.APPROVED,
    ReviewState.REFUSED,
    ReviewState.TO_REVIEW,
)


@pytest.fixture
def jobs(aws: Aws, clock: Clock) -> JobRepository:
    """Return a repository of JobsTable."""
    return JobRepository(aws.dynamodb, TABLE, now=clock)


@pytest.fixture
def outbox(aws: Aws, clock: Clock) -> ReviewOutbox:
    """Return the outbox of reviews."""
    return ReviewOutbox(aws.dynamodb, TABLE, now=clock)


def reviewer(
    aws: Aws, jobs: JobRepository, outbox: ReviewOutbox, clock: Clock, name: str = "anna"
) -> Reviewer:
    """Return a reviewer with this name."""
    announcer = Announcer(EventPublisher(aws.events, BUS), jobs)
    return Reviewer(jobs=jobs, announcer=announcer, outbox=outbox, by=lambda: name, now=clock)


@pytest.fixture
def anna(aws: Aws, jobs: JobRepository, outbox: ReviewOutbox, clock: Clock) -> Reviewer:
    """Return a reviewer."""
    return reviewer(aws, jobs, outbox, clock)


@pytest.fixture
def done(jobs: JobRepository) -> Job:
    """Make a job with two results."""
    settings = Settings(model_id="002", scene_type=SceneType.ORIGINAL, batch_size=2)
    job = jobs.claim(NewJob("j", None, "a.jpg", settings, trigger="drop-1"))
    submitting = jobs.mark_submitting(job, lease_seconds=60)
    assert submitting is not None
    running = jobs.keep_task_id(submitting, "task-1", execution_arn="arn")
    assert running is not None
    results = [
        Result(
            index=index,
            bucket="results",
            key=f"a/{index}.jpg",
            width=8,
            height=8,
            bytes=9,
            sha256="0" * 64,
            content_type="image/jpeg",
        )
        for index in (1, 2)
    ]
    finished = jobs.finish(running, results=results, error=None)
    assert finished is not None
    return finished


def test_a_review_is_told_with_the_record(anna: Reviewer, done: Job, aws: Aws) -> None:
    """The event has the reviewer, the decision and the wanted results."""
    decision = Decision.about(done, APPROVED, chosen=[2], refused=[])
    reviewed = anna.review(done, decision)
    assert reviewed is not None
    assert [result.index for result in reviewed.wanted_results] == [2]
    (event,) = aws.told()
    assert event["detail-type"] == "Job Reviewed"
    review = event["detail"]["review"]
    assert (review["state"], review["chosen"], review["by"]) == ("approved", [2], "anna")


def test_the_same_decision_is_no_news(anna: Reviewer, done: Job, aws: Aws) -> None:
    """The same decision again writes nothing and sends no event."""
    decision = Decision.about(done, REFUSED, chosen=[], refused=[])
    first = anna.review(done, decision)
    assert first is not None
    assert anna.review(first, decision) is first
    assert aws.told_types() == ["Job Reviewed"]


def test_the_second_of_two_people_is_told(
    anna: Reviewer, done: Job, aws: Aws, jobs: JobRepository, outbox: ReviewOutbox, clock: Clock
) -> None:
    """Of two decisions about the same revision, the first stays; the second learns whose it is."""
    berta = reviewer(aws, jobs, outbox, clock, "berta")
    assert anna.review(done, Decision(APPROVED, chosen=(1,))) is not None
    assert berta.review(done, Decision(REFUSED)) is None
    assert changed_since(done, jobs.get("j")).startswith("anna approved it in the meantime")
    assert aws.told_types() == ["Job Reviewed"]


@pytest.mark.parametrize("when", ["before the event", "after the event"])
def test_a_crash_around_the_event_leaves_it_to_reconcile(
    anna: Reviewer,
    done: Job,
    aws: Aws,
    outbox: ReviewOutbox,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
) -> None:
    """After a crash before or just after the event, the outbox has the entry."""
    crash = ("put_events", aws.events) if when == "before the event" else ("remove", outbox)

    def ends(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(crash[1], crash[0], ends)
        with pytest.raises(KeyboardInterrupt):
            anna.review(done, Decision(APPROVED))
    assert outbox.left_behind() == []
    clock.advance(LATE_SECONDS)
    ((entry, job_id),) = outbox.left_behind()
    assert job_id == "j"
    outbox.remove(entry)
    assert outbox.left_behind() == []


@pytest.mark.parametrize("refuses", ["put_events", "remove"])
def test_what_is_written_is_saved_whatever_becomes_of_its_event(
    anna: Reviewer,
    done: Job,
    aws: Aws,
    jobs: JobRepository,
    outbox: ReviewOutbox,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    refuses: str,
) -> None:
    """If event or outbox fail after the write, the decision is stored and its entry stays."""

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("EventBridge refused it")

    monkeypatch.setattr(aws.events if refuses == "put_events" else outbox, refuses, fails)
    reviewed = anna.review(done, Decision(APPROVED))
    assert reviewed is not None
    assert reviewed == jobs.get("j")
    clock.advance(LATE_SECONDS)
    assert [job_id for _, job_id in outbox.left_behind()] == ["j"]


def test_a_full_outbox_is_said(
    anna: Reviewer, done: Job, jobs: JobRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If too many events wait in the outbox, a decision is refused with a sentence."""
    monkeypatch.setattr("shared.notify.outbox._MOST_ENTRIES", 0)
    with pytest.raises(CommandError, match="Nothing was saved") as caught:
        anna.review(done, Decision(APPROVED))
    assert caught.value.next_step
    now = jobs.get("j")
    assert now is not None
    assert now.review is None


def test_the_name_is_asked_once(
    aws: Aws, jobs: JobRepository, outbox: ReviewOutbox, clock: Clock, done: Job
) -> None:
    """The reviewer's name is read from AWS once."""
    asked: list[int] = []

    def name() -> str:
        asked.append(1)
        return "anna"

    announcer = Announcer(EventPublisher(aws.events, BUS), jobs)
    one = Reviewer(jobs=jobs, announcer=announcer, outbox=outbox, by=name, now=clock)
    first = one.review(done, Decision(APPROVED))
    assert first is not None
    second = one.review(first, Decision(REFUSED))
    assert second is not None
    assert second.review is not None
    assert (second.review.by, len(asked)) == ("anna", 1)


@pytest.mark.parametrize(
    ("state", "chosen", "refused", "message"),
    [
        (APPROVED, [3], [], "It has no image 3; it has 1, 2."),
        (TO_REVIEW, [1], [1], "Image 1 cannot be both chosen and refused."),
        (APPROVED, [], [1, 2], "All of its images are refused"),
    ],
)
def test_a_decision_fits_the_results(
    done: Job, state: ReviewState, chosen: list[int], refused: list[int], message: str
) -> None:
    """An invalid decision is refused with a sentence."""
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        Decision.about(done, state, chosen=chosen, refused=refused)


def test_a_job_without_images_has_nothing_to_review(jobs: JobRepository) -> None:
    """Only a job with results can be reviewed."""
    job = jobs.claim(NewJob("k", None, "k.jpg", None, trigger="drop-1"))
    assert job.status is JobStatus.ACCEPTED
    with pytest.raises(ValueError, match="no images to review"):
        Decision.about(job, APPROVED, chosen=[], refused=[])


def test_a_new_attempt_does_not_lose_a_review_of_the_last_moment(
    anna: Reviewer, done: Job, jobs: JobRepository
) -> None:
    """A new attempt begins only from the latest review, and its history has that review."""
    reviewed = anna.review(done, Decision(APPROVED))
    assert reviewed is not None
    assert jobs.start_attempt(done) is None
    assert jobs.take_up(done, execution_arn="arn") is None
    assert jobs.get("j") == reviewed
    again = anna.review(reviewed, Decision(REFUSED))
    assert again is not None
    assert jobs.start_attempt(reviewed) is None
    anew = jobs.take_up(again, execution_arn="arn")
    assert anew is not None
    assert anew.history[-1].review == again.review
