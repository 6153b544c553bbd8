"""JobsTable: what each verb writes, and that late or repeated writers change nothing."""

import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moto import mock_aws

from shared.clock import iso, later
from shared.models import (
    TERMINAL,
    ErrorCode,
    Job,
    JobError,
    JobStatus,
    Photo,
    Result,
    Review,
    ReviewState,
    SceneType,
    Settings,
    job_id_of,
)
from shared.records import jobs as module
from shared.records.jobs import (
    MAX_HISTORY,
    JobRepository,
    NewJob,
    _plain,
    _wire,
    job_of,
)
from tests.factories import START, TABLE, Aws, Clock

T = TypeVar("T")
SETTINGS = Settings(model_id="002", scene_type=SceneType.ORIGINAL, batch_size=4)
ERROR = JobError(code=ErrorCode.INTERNAL, message="It broke. Drop it again.")
REJECTED = JobError(code=ErrorCode.EMPTY_FILE, message="It is empty.")
ARN = "arn:aws:states:us-east-1:123456789012:execution:jobs:j-1"


def new_job(
    trigger: str = "drop-1",
    *,
    job_id: str = "j",
    error: JobError | None = None,
    settings: Settings | None = SETTINGS,
) -> NewJob:
    """Return the description of a new job, for `claim`."""
    return NewJob(
        job_id=job_id,
        photo=Photo(bucket="photos", key="a/b.jpg", etag="e", bytes=3),
        source_key="a/b.jpg",
        settings=settings,
        trigger=trigger,
        sku="sku-1",
        request_id="req-1",
        error=error,
    )


def result(index: int = 1) -> Result:
    """Return a copied result."""
    return Result(
        index=index,
        bucket="results",
        key=f"a/b/002-original/j-{index}.png",
        width=8,
        height=8,
        bytes=70,
        sha256="0" * 64,
        content_type="image/png",
    )


@pytest.fixture
def jobs(table: Aws, clock: Clock) -> JobRepository:
    """Return a repository of an empty table."""
    return JobRepository(table.dynamodb, TABLE, now=clock)


def there(value: T | None) -> T:
    """Return a value that must not be None, such as a job that a verb must have changed."""
    assert value is not None
    return value


def running(jobs: JobRepository, trigger: str = "drop-1") -> Job:
    """Make a RUNNING job."""
    submitting = there(jobs.mark_submitting(jobs.claim(new_job(trigger)), lease_seconds=60))
    return there(jobs.keep_task_id(submitting, "task-1", execution_arn=ARN))


def at(jobs: JobRepository, status: JobStatus) -> Job:
    """Make a job in a status, by verbs only."""
    if status is JobStatus.REJECTED:
        return jobs.claim(new_job(error=REJECTED))
    job = jobs.claim(new_job())
    if status is JobStatus.ACCEPTED:
        return job
    job = there(jobs.mark_submitting(job, lease_seconds=60))
    if status is JobStatus.SUBMITTING:
        return job
    if status is JobStatus.SUBMIT_UNKNOWN:
        return there(jobs.mark_unknown(job, ERROR))
    job = there(jobs.keep_task_id(job, "task-1", execution_arn=ARN))
    match status:
        case JobStatus.SUCCEEDED:
            return there(jobs.finish(job, results=[result()], error=None))
        case JobStatus.PARTIAL:
            return there(jobs.finish(job, results=[result()], error=ERROR))
        case JobStatus.FAILED:
            return there(jobs.fail(job, ERROR))
    return job


# --- claim -------------------------------------------------------------------------------------


def test_new_photo_is_accepted(jobs: JobRepository) -> None:
    """The first drop of a photo makes a record: attempt 1, ACCEPTED."""
    job = jobs.claim(new_job())
    assert (job.status, job.attempt, job.created_at) == (JobStatus.ACCEPTED, 1, iso(START))
    assert jobs.get("j") == job


def test_bad_input_is_born_rejected(jobs: JobRepository) -> None:
    """An unusable photo gets a REJECTED record with the reason."""
    job = jobs.claim(new_job(error=REJECTED))
    assert (job.status, job.error, job.finished_at) == (JobStatus.REJECTED, REJECTED, iso(START))
    assert jobs.get("j") == job


def test_unknown_job_is_none(jobs: JobRepository) -> None:
    """A missing job is None."""
    assert jobs.get("nobody") is None


@pytest.mark.parametrize("status", list(JobStatus))
def test_duplicate_event_changes_nothing(
    jobs: JobRepository, clock: Clock, status: JobStatus
) -> None:
    """A repeated delivery of the same drop does not change the record in any status."""
    before = at(jobs, status)
    clock.advance(3600)
    assert jobs.claim(new_job(error=before.error)) == before
    assert jobs.get("j") == before


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.REJECTED])
def test_dropping_again_after_an_end_without_results_starts_over(
    jobs: JobRepository, clock: Clock, status: JobStatus
) -> None:
    """A new drop of a FAILED or REJECTED photo starts the next attempt and keeps the old one."""
    before = there(jobs.mark_announced(at(jobs, status)))
    clock.advance(60)
    job = jobs.claim(new_job("drop-2"))
    assert (job.status, job.attempt) == (JobStatus.ACCEPTED, 2)
    assert (job.task_id, job.error, job.finished_at, job.execution_arn) == (None,) * 4
    assert (job.history[0].attempt, job.history[0].status) == (1, status)
    assert job.history[0].task_id == before.task_id
    assert job.history[0].error == before.error
    assert job.announced is None


@pytest.mark.parametrize(
    "status",
    [s for s in JobStatus if s not in {JobStatus.FAILED, JobStatus.REJECTED}],
)
def test_dropping_again_in_any_other_status_changes_nothing(
    jobs: JobRepository, status: JobStatus
) -> None:
    """A new drop of a running, done or parked photo starts nothing."""
    before = at(jobs, status)
    job = jobs.claim(new_job("drop-2"))
    assert job.model_copy(update={"triggers": before.triggers}) == before


def arn_of(job_id: str, attempt: int) -> str:
    """Return a made-up execution ARN."""
    return f"arn:{job_id}-{attempt}"


FREE = [
    *(ErrorCode.TIMED_OUT, ErrorCode.ABORTED, ErrorCode.INTERNAL, ErrorCode.VENDOR_PROTOCOL),
    *(ErrorCode.RESULT_UNAVAILABLE, ErrorCode.RESULT_INVALID),
    *(ErrorCode.RESULT_BLOCKED, ErrorCode.RESULT_TOO_LARGE),
]


@pytest.mark.parametrize("code", FREE)
def test_drop_takes_up_a_paid_task_before_it_pays_for_another(
    jobs: JobRepository, clock: Clock, code: ErrorCode
) -> None:
    """After a failure that may have left images, a new drop takes up the same task, free."""
    before = there(jobs.fail(running(jobs), JobError(code=code, message="x")))
    clock.advance(60)
    made: list[Job] = []
    job = jobs.claim(new_job("drop-2"), made=made.append, execution_arn=arn_of)
    assert made == [job]
    assert (job.status, job.attempt, job.task_id) == (JobStatus.RUNNING, 2, before.task_id)
    assert (job.credits, job.execution_arn, job.error) == (1, "arn:j-2", None)
    assert job.resumed_at == job.arrived_at == iso(clock.now)
    assert "drop-2" in job.triggers
    assert jobs.claim(new_job("drop-2"), execution_arn=arn_of) == job


@pytest.mark.parametrize("code", FREE)
def test_task_that_failed_in_the_same_way_again_is_paid_anew(
    jobs: JobRepository, code: ErrorCode
) -> None:
    """If a task that was taken up fails in the same way again, the next drop starts a new task."""
    error = JobError(code=code, message="x")
    there(jobs.fail(running(jobs), error))
    taken = jobs.claim(new_job("drop-2"), execution_arn=arn_of)
    there(jobs.fail(taken, error))
    job = jobs.claim(new_job("drop-3"), execution_arn=arn_of)
    assert (job.status, job.attempt, job.task_id) == (JobStatus.ACCEPTED, 3, None)


def test_task_that_failed_in_another_way_is_taken_up_again(jobs: JobRepository) -> None:
    """If a task that was taken up fails in another way, it is taken up once more."""
    late, gone = (
        JobError(code=code, message="x")
        for code in (ErrorCode.TIMED_OUT, ErrorCode.RESULT_UNAVAILABLE)
    )
    job = there(jobs.fail(running(jobs), late))
    for number, error in enumerate((gone, late), start=2):
        job = jobs.claim(new_job(f"drop-{number}"), execution_arn=arn_of)
        assert (job.attempt, job.task_id) == (number, "task-1")
        there(jobs.fail(job, error))
    assert jobs.claim(new_job("drop-9"), execution_arn=arn_of).task_id is None


def test_task_that_failed_at_the_vendor_is_not_taken_up(jobs: JobRepository) -> None:
    """A task that failed at the vendor is not taken up."""
    error = JobError(code=ErrorCode.VENDOR_TASK_ERROR, message="x")
    there(jobs.fail(running(jobs), error))
    job = jobs.claim(new_job("drop-2"), execution_arn=arn_of)
    assert (job.status, job.task_id) == (JobStatus.ACCEPTED, None)


@pytest.mark.parametrize("ends", [JobStatus.FAILED, JobStatus.REJECTED])
def test_drop_takes_up_the_task_of_an_earlier_attempt(jobs: JobRepository, ends: JobStatus) -> None:
    """A drop takes up the paid task of an earlier attempt if later ones had no task."""
    late = JobError(code=ErrorCode.TIMED_OUT, message="x")
    second = there(jobs.start_attempt(there(jobs.fail(running(jobs), late))))
    if ends is JobStatus.FAILED:
        second = there(jobs.mark_submitting(second, lease_seconds=60))
        there(jobs.fail(second, JobError(code=ErrorCode.VENDOR_REJECTED, message="x")))
    else:
        there(jobs.reject(second, REJECTED))
    job = jobs.claim(new_job("drop-2"), execution_arn=arn_of)
    assert (job.status, job.attempt, job.task_id) == (JobStatus.RUNNING, 3, "task-1")
    assert (job.credits, job.lease_until) == (1, None)


def test_drop_after_images_that_were_not_liked_pays_for_new_ones(jobs: JobRepository) -> None:
    """A task that gave its images is not taken up."""
    done = there(jobs.finish(running(jobs), results=[result()], error=None))
    second = there(jobs.mark_submitting(there(jobs.start_attempt(done)), lease_seconds=60))
    there(jobs.fail(second, JobError(code=ErrorCode.VENDOR_REJECTED, message="x")))
    job = jobs.claim(new_job("drop-2"), execution_arn=arn_of)
    assert (job.status, job.task_id) == (JobStatus.ACCEPTED, None)


def test_drop_that_is_rejected_takes_nothing_up(jobs: JobRepository) -> None:
    """A photo that is now unusable is REJECTED, also if it has a paid task."""
    there(jobs.fail(running(jobs), JobError(code=ErrorCode.TIMED_OUT, message="x")))
    job = jobs.claim(new_job("drop-2", error=REJECTED), execution_arn=arn_of)
    assert (job.status, job.attempt, job.history[0].task_id) == ("REJECTED", 2, "task-1")


def test_drop_during_an_attempt_does_not_restart_it_later(jobs: JobRepository) -> None:
    """A drop during an attempt does not start the next one when it is delivered again later."""
    job = running(jobs)
    jobs.claim(new_job("drop-2"))
    there(jobs.fail(job, ERROR))
    assert jobs.claim(new_job("drop-2")).status is JobStatus.FAILED
    assert jobs.claim(new_job("drop-1")).status is JobStatus.FAILED
    assert jobs.claim(new_job("drop-3")).attempt == 2


def test_drop_that_started_an_attempt_starts_no_second(jobs: JobRepository) -> None:
    """The drop that started attempt 2 does not start attempt 3 when it is delivered again."""
    there(jobs.fail(running(jobs), ERROR))
    second = jobs.claim(new_job("drop-2"))
    there(jobs.fail(second, ERROR))
    assert jobs.claim(new_job("drop-2")).attempt == 2
    assert jobs.claim(new_job("drop-1")).attempt == 2


def test_restart_with_bad_input_is_rejected_again(jobs: JobRepository) -> None:
    """An unusable photo that is dropped again gets attempt 2, REJECTED."""
    jobs.claim(new_job(error=REJECTED))
    job = jobs.claim(new_job("drop-2", error=REJECTED))
    assert (job.status, job.attempt, job.error) == (JobStatus.REJECTED, 2, REJECTED)
    assert job.finished_at is not None


class Racing:
    """A DynamoDB client that calls a function before one of its calls."""

    def __init__(self, client: Any, call: str, happens: Callable[[], object]) -> None:
        self._client = client
        self._call = call
        self._happens: Callable[[], object] | None = happens

    def __getattr__(self, name: str) -> Any:
        happens, self._happens = (
            (self._happens, None) if name == self._call else (None, self._happens)
        )
        if happens is not None:
            happens()
        return getattr(self._client, name)


def test_two_first_deliveries_make_one_record(table: Aws, clock: Clock) -> None:
    """Two simultaneous deliveries of a new photo get the same job."""
    other = JobRepository(table.dynamodb, TABLE, now=clock)
    racing: Any = Racing(table.dynamodb, "put_item", lambda: other.claim(new_job()))
    job = JobRepository(racing, TABLE, now=clock).claim(new_job())
    assert (job.attempt, job.history) == (1, ())
    assert len(table.records()) == 1


@pytest.mark.parametrize(("mine", "attempts"), [("drop-2", 2), ("drop-3", 2)])
def test_two_racing_redrops_start_one_attempt(
    table: Aws, clock: Clock, mine: str, attempts: int
) -> None:
    """Two simultaneous deliveries that restart a FAILED job start one attempt."""
    other = JobRepository(table.dynamodb, TABLE, now=clock)
    there(other.fail(running(other), ERROR))
    racing: Any = Racing(table.dynamodb, "update_item", lambda: other.claim(new_job("drop-2")))
    job = JobRepository(racing, TABLE, now=clock).claim(new_job(mine))
    assert (job.status, job.attempt) == (JobStatus.ACCEPTED, attempts)
    assert {"drop-2", mine} <= there(other.get("j")).triggers


def test_only_one_of_two_invocations_may_send(table: Aws, clock: Clock) -> None:
    """Of two invocations that read ACCEPTED, only one may send."""
    jobs = JobRepository(table.dynamodb, TABLE, now=clock)
    job = jobs.claim(new_job())
    assert jobs.mark_submitting(job, lease_seconds=60) is not None
    assert jobs.mark_submitting(job, lease_seconds=60) is None


def test_only_one_of_two_invocations_may_send_again(jobs: JobRepository) -> None:
    """After a refusal, only one of two deliveries may send again."""
    unsent = there(jobs.mark_unsent(at(jobs, JobStatus.SUBMITTING)))
    assert jobs.mark_submitting(unsent, lease_seconds=60) is not None
    assert jobs.mark_submitting(unsent, lease_seconds=60) is None


def test_submitting_job_is_never_sent_while_its_post_may_be_out(jobs: JobRepository) -> None:
    """A SUBMITTING job is not sent again unless the record says that nothing was charged."""
    assert jobs.mark_submitting(at(jobs, JobStatus.SUBMITTING), lease_seconds=60) is None


def test_refused_post_is_not_called_unknown(jobs: JobRepository) -> None:
    """A late writer cannot park a job whose POST was certainly refused."""
    submitting = at(jobs, JobStatus.SUBMITTING)
    there(jobs.mark_unsent(submitting))
    assert jobs.mark_unknown(submitting, ERROR) is None


def test_lease_is_in_the_record(jobs: JobRepository) -> None:
    """A SUBMITTING job has a lease, which the next status removes."""
    submitting = at(jobs, JobStatus.SUBMITTING)
    assert submitting.lease_until == later(START, 60)
    assert there(jobs.keep_task_id(submitting, "t", execution_arn=ARN)).lease_until is None


def test_late_answer_is_taken_from_unknown(jobs: JobRepository) -> None:
    """A task id that arrives after the job was parked is kept, with one credit."""
    submitting = at(jobs, JobStatus.SUBMITTING)
    there(jobs.mark_unknown(submitting, ERROR))
    job = there(jobs.keep_task_id(submitting, "task-9", execution_arn=ARN))
    assert (job.status, job.task_id, job.credits, job.error) == (
        JobStatus.RUNNING,
        "task-9",
        1,
        None,
    )


def test_credits_add_up_over_attempts(jobs: JobRepository) -> None:
    """Two accepted tasks of a job are two credits."""
    there(jobs.fail(running(jobs), ERROR))
    again = jobs.claim(new_job("drop-2"))
    again = there(jobs.mark_submitting(again, lease_seconds=60))
    assert there(jobs.keep_task_id(again, "task-2", execution_arn=ARN)).credits == 2


def test_polls_are_counted(jobs: JobRepository) -> None:
    """Each poll is counted, and the last known progress is kept."""
    running(jobs)
    jobs.note_poll("j", 1, progress=30)
    job = there(jobs.note_poll("j", 1, progress=None))
    assert (job.polls, job.progress) == (2, 30)


def test_poll_of_an_old_attempt_is_not_counted(jobs: JobRepository) -> None:
    """A poll of attempt 1 changes nothing in attempt 2."""
    there(jobs.fail(running(jobs), ERROR))
    second = jobs.claim(new_job("drop-2"))
    assert jobs.note_poll("j", 1, progress=99) is None
    assert jobs.get("j") == second


def test_failure_keeps_the_task_id(jobs: JobRepository) -> None:
    """A FAILED job keeps its task id, so that late results can be taken free."""
    job = at(jobs, JobStatus.FAILED)
    assert (job.task_id, job.error, job.finished_at) == ("task-1", ERROR, iso(START))


def test_partial_keeps_results_and_names_the_rest(jobs: JobRepository) -> None:
    """A PARTIAL job has the copied results and the error about the others."""
    job = at(jobs, JobStatus.PARTIAL)
    assert (job.results, job.error, job.progress) == ((result(),), ERROR, 100)


def test_announcement_is_noted_for_this_status_only(jobs: JobRepository) -> None:
    """The note about an event does not apply to a status that was written meanwhile."""
    job = running(jobs)
    there(jobs.fail(job, ERROR))
    assert jobs.mark_announced(job) is None
    assert there(jobs.get("j")).announced is None


def test_announcement_does_not_touch_the_times(jobs: JobRepository, clock: Clock) -> None:
    """The note about an event does not change `updated_at`."""
    job = running(jobs)
    clock.advance(5)
    assert there(jobs.mark_announced(job)).updated_at == job.updated_at


def test_verbs_make_no_record(jobs: JobRepository, table: Aws) -> None:
    """A verb on a job that does not exist makes none."""
    ghost = Job(job_id="ghost", status=JobStatus.RUNNING, created_at="x", updated_at="x")
    assert jobs.fail(ghost, ERROR) is None
    assert jobs.note_poll("ghost", 1, progress=1) is None
    assert jobs.mark_announced(ghost) is None
    assert table.records() == []


def test_history_is_bounded(jobs: JobRepository) -> None:
    """The history has a maximum length."""
    for number in range(MAX_HISTORY + 3):
        job = jobs.claim(new_job(f"drop-{number}", error=REJECTED))
    assert len(job.history) == MAX_HISTORY
    assert job.attempt == MAX_HISTORY + 3
    assert job.history[-1].attempt == job.attempt - 1


def test_triggers_are_bounded(jobs: JobRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    """The set of seen drops has a maximum size."""
    monkeypatch.setattr(module, "MAX_TRIGGERS", 5)
    for number in range(9):
        job = jobs.claim(new_job(f"drop-{number}"))
        assert f"drop-{number}" in job.triggers
        assert len(job.triggers) <= 5


def test_a_photo_dropped_ever_so_often_still_starts_again(
    jobs: JobRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failure, a new drop starts an attempt, however many drops the record has seen."""
    monkeypatch.setattr(module, "MAX_TRIGGERS", 3)
    for number in range(8):
        job = jobs.claim(new_job(f"drop-{number}", error=REJECTED))
        assert job.attempt == number + 1
        assert jobs.claim(new_job(f"drop-{number}", error=REJECTED)).attempt == number + 1


def test_record_is_found_by_its_indexes(jobs: JobRepository, table: Aws) -> None:
    """Each job can be asked for by status, by photo and by article number."""
    running(jobs)
    for index, (name, value) in {
        "by-status": ("status", "RUNNING"),
        "by-source": ("source_key", "a/b.jpg"),
        "by-sku": ("sku", "sku-1"),
    }.items():
        answer = table.dynamodb.query(
            TableName=TABLE,
            IndexName=index,
            KeyConditionExpression="#name = :value",
            ExpressionAttributeNames={"#name": name},
            ExpressionAttributeValues={":value": {"S": value}},
        )
        assert [item["pk"]["S"] for item in answer["Items"]] == ["JOB#j"]


def test_record_has_the_names_that_others_build_on(jobs: JobRepository, table: Aws) -> None:
    """The stored item has the documented attributes in snake_case, and no nulls."""
    at(jobs, JobStatus.PARTIAL)
    (item,) = table.records()
    assert {
        "pk", "job_id", "attempt", "status", "source_key", "photo", "sku", "request_id",
        "settings", "task_id", "progress", "polls", "credits", "created_at", "submitted_at",
        "finished_at", "updated_at", "execution_arn", "results", "error",
    } <= set(item)  # fmt: skip
    assert set(item["settings"]["M"]) >= {"model_id", "scene_type", "batch_size"}
    assert {"index", "bucket", "key", "width", "height", "bytes", "sha256", "content_type"} == set(
        item["results"]["L"][0]["M"]
    )


# --- waiting, dead letters, tasks taken up again ------------------------------------------------


def test_a_photo_that_waits_says_why_and_until_when(jobs: JobRepository, clock: Clock) -> None:
    """The record says why and until when a job waits, until the job continues."""
    job = jobs.claim(new_job())
    clock.advance(100)
    waiting = there(jobs.note_waiting(job, seconds=60, reason="no credits"))
    assert there(waiting.waiting).reason == "no credits"
    assert there(waiting.waiting).until == later(clock(), 60)
    assert waiting.updated_at == iso(clock())
    assert there(jobs.mark_submitting(waiting, lease_seconds=60)).waiting is None


@pytest.mark.parametrize("verb", ["reject", "dead_letter_job", "note_waiting"])
def test_what_may_have_been_sent_is_not_taken_for_unspent(jobs: JobRepository, verb: str) -> None:
    """A job whose POST may have been sent cannot be rejected; one that cost nothing can."""
    submitting = at(jobs, JobStatus.SUBMITTING)
    assert VERBS[verb](jobs, submitting) is None
    unsent = there(jobs.mark_unsent(submitting))
    assert VERBS[verb](jobs, unsent) is not None


def test_a_dead_letter_that_is_sent_again_starts_its_job(jobs: JobRepository) -> None:
    """A redriven dead letter restarts its job once; other duplicates do not."""
    dead_lettered = there(jobs.dead_letter_job(jobs.claim(new_job()), ERROR, message_id="m-1"))
    assert (dead_lettered.status, dead_lettered.credits, dead_lettered.dead_lettered) == (
        JobStatus.FAILED,
        0,
        True,
    )
    again = jobs.claim(new_job())
    assert (again.status, again.attempt, again.dead_letter) == (JobStatus.ACCEPTED, 2, None)
    failed = there(jobs.fail(again, ERROR))
    assert jobs.claim(new_job()) == failed


def test_a_failure_with_a_task_is_not_tried_again_for_a_dead_letter(jobs: JobRepository) -> None:
    """A redriven dead letter does not restart a job that has a task."""
    failed = at(jobs, JobStatus.FAILED)
    noted = there(jobs.note_dead_letter(failed, message_id="m-1"))
    assert noted.dead_letter == "m-1"
    assert jobs.claim(new_job()) == noted


def test_a_dead_letter_without_a_job_has_a_record_until_it_is_sent_again(
    jobs: JobRepository,
) -> None:
    """The record of a dead letter without a job is made once, and can be removed."""
    new = new_job(settings=None)
    made = there(jobs.keep_dead_letter(new, ERROR, message_id="m-1", body="{}"))
    assert jobs.keep_dead_letter(new, ERROR, message_id="m-1", body="{}") is None
    assert (made.status, made.dead_letter) == (JobStatus.FAILED, "m-1")
    assert there(jobs.get("j")) == made
    jobs.forget_dead_letter("j")
    assert jobs.get("j") is None


def test_a_real_job_is_never_forgotten(jobs: JobRepository) -> None:
    """A job's record cannot be removed."""
    dead_lettered = there(jobs.dead_letter_job(jobs.claim(new_job()), ERROR, message_id="m-1"))
    jobs.forget_dead_letter("j")
    assert jobs.get("j") == dead_lettered


@pytest.mark.parametrize("status", [*sorted(TERMINAL - {JobStatus.REJECTED}), JobStatus.RUNNING])
def test_a_paid_task_is_taken_up_by_the_next_attempt(
    jobs: JobRepository, status: JobStatus
) -> None:
    """Taking up a task is free and keeps task and results; the history has the earlier end."""
    before = at(jobs, status)
    taken = there(jobs.take_up(before, execution_arn="arn-2"))
    assert (taken.status, taken.attempt) == (JobStatus.RUNNING, before.attempt + 1)
    assert (taken.task_id, taken.credits) == (before.task_id, before.credits)
    assert (taken.results, taken.execution_arn) == (before.results, "arn-2")
    assert (taken.error, taken.finished_at, taken.announced) == (None, None, None)
    assert taken.resumed_at is not None
    assert (taken.history[-1].status, taken.history[-1].task_id) == (status, before.task_id)
    assert jobs.take_up(before, execution_arn="arn-2") is None


def test_a_job_without_a_task_cannot_be_taken_up(jobs: JobRepository) -> None:
    """A job without a task cannot be taken up."""
    with pytest.raises(LookupError, match="no task"):
        jobs.take_up(at(jobs, JobStatus.REJECTED), execution_arn="arn-2")


def test_what_an_earlier_attempt_copied_is_not_lost_when_a_later_one_fails(
    jobs: JobRepository,
) -> None:
    """A job that already has images becomes PARTIAL, not FAILED."""
    taken = there(jobs.take_up(at(jobs, JobStatus.SUCCEEDED), execution_arn="arn-2"))
    ended = there(jobs.give_up(taken, ERROR, copied=()))
    assert ended.status is JobStatus.PARTIAL
    assert ended.results == taken.results != ()


def test_jobs_of_a_status_come_longest_unchanged_first(jobs: JobRepository, clock: Clock) -> None:
    """Jobs of a status come longest unchanged first, between `after` and `until`."""
    moments = []
    for number in range(5):
        jobs.claim(new_job(job_id=f"j{number}"))
        moments.append(iso(clock()))
        clock.advance(10)

    def found(**bounds: str) -> list[str]:
        return [job.job_id for job in jobs.of_status(JobStatus.ACCEPTED, **bounds)]

    assert found() == ["j0", "j1", "j2", "j3", "j4"]
    assert found(after=moments[1]) == ["j2", "j3", "j4"]
    assert found(until=moments[1]) == ["j0", "j1"]
    assert found(after=moments[1], until=moments[3]) == ["j2", "j3"]
    assert found(after=moments[3], until=moments[3]) == []
    assert [job.job_id for job in jobs.of_source("a/b.jpg")] == ["j0", "j1", "j2", "j3", "j4"]
    assert [job.job_id for job in jobs.of_sku("sku-1")] == ["j0", "j1", "j2", "j3", "j4"]
    assert list(jobs.of_source("a/c.jpg")) == []


# --- a status never moves backwards --------------------------------------------------------------

RANK: Mapping[JobStatus, int] = {
    JobStatus.ACCEPTED: 0,
    JobStatus.SUBMITTING: 1,
    JobStatus.SUBMIT_UNKNOWN: 2,
    JobStatus.RUNNING: 3,
    JobStatus.SUCCEEDED: 4,
    JobStatus.PARTIAL: 4,
    JobStatus.FAILED: 4,
    JobStatus.REJECTED: 4,
}
VERBS: Mapping[str, Callable[[JobRepository, Job], Job | None]] = {
    "mark_submitting": lambda jobs, job: jobs.mark_submitting(job, lease_seconds=60),
    "mark_unsent": lambda jobs, job: jobs.mark_unsent(job),
    "keep_task_id": lambda jobs, job: jobs.keep_task_id(job, "task-x", execution_arn=ARN),
    "mark_unknown": lambda jobs, job: jobs.mark_unknown(job, ERROR),
    "note_poll": lambda jobs, job: jobs.note_poll(job.job_id, job.attempt, progress=5),
    "finish": lambda jobs, job: jobs.finish(job, results=[result()], error=None),
    "finish_partly": lambda jobs, job: jobs.finish(job, results=[result()], error=ERROR),
    "fail": lambda jobs, job: jobs.fail(job, ERROR),
    "mark_announced": lambda jobs, job: jobs.mark_announced(job),
    "note_waiting": lambda jobs, job: jobs.note_waiting(job, seconds=60, reason="busy"),
    "note_checked": lambda jobs, job: jobs.note_checked(job),
    "reject": lambda jobs, job: jobs.reject(job, REJECTED),
    "dead_letter_job": lambda jobs, job: jobs.dead_letter_job(job, ERROR, message_id="m-1"),
    "note_dead_letter": lambda jobs, job: jobs.note_dead_letter(job, message_id="m-1"),
    "close_unknown": lambda jobs, job: jobs.close_unknown(job, ERROR),
}
ALLOWED = {
    ("mark_submitting", JobStatus.ACCEPTED),
    ("mark_unsent", JobStatus.SUBMITTING),
    ("keep_task_id", JobStatus.SUBMITTING),
    ("keep_task_id", JobStatus.SUBMIT_UNKNOWN),
    ("mark_unknown", JobStatus.SUBMITTING),
    ("note_poll", JobStatus.RUNNING),
    ("finish", JobStatus.RUNNING),
    ("finish_partly", JobStatus.RUNNING),
    ("fail", JobStatus.ACCEPTED),
    ("fail", JobStatus.SUBMITTING),
    ("fail", JobStatus.RUNNING),
    *(("mark_announced", status) for status in JobStatus),
    ("note_waiting", JobStatus.ACCEPTED),
    *(("note_checked", status) for status in JobStatus),
    ("reject", JobStatus.ACCEPTED),
    ("dead_letter_job", JobStatus.ACCEPTED),
    *(("note_dead_letter", status) for status in JobStatus),
    ("close_unknown", JobStatus.SUBMIT_UNKNOWN),
}


@pytest.mark.parametrize(("verb", "status"), list(itertools.product(VERBS, JobStatus)))
def test_each_verb_comes_from_its_statuses_only(
    jobs: JobRepository, verb: str, status: JobStatus
) -> None:
    """Each verb changes a job only in its allowed statuses."""
    before = at(jobs, status)
    after = VERBS[verb](jobs, before)
    stored = there(jobs.get("j"))
    if (verb, status) in ALLOWED:
        assert after == stored
        assert RANK[stored.status] >= RANK[status]
    else:
        # An invocation that finds an unknown submit must still send its event.
        told = (verb, status) == ("mark_unknown", JobStatus.SUBMIT_UNKNOWN)
        assert after == (before if told else None)
        assert stored == before


@pytest.mark.parametrize(("verb", "status"), list(itertools.product(VERBS, sorted(TERMINAL))))
def test_late_writer_of_an_old_attempt_changes_nothing(
    jobs: JobRepository, verb: str, status: JobStatus
) -> None:
    """A writer with a record of attempt 1 cannot write into attempt 2."""
    old = at(jobs, status)
    current = there(jobs.start_attempt(old))
    for stale in (old, old.model_copy(update={"status": current.status})):
        assert VERBS[verb](jobs, stale) is None
    assert jobs.get("j") == current


@settings(max_examples=25)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from([*sorted(VERBS), "take_up", *["drop-0", "drop-1", "drop-2"]]),
            st.integers(0, 30),
        ),
        max_size=14,
    )
)
def test_no_order_of_writers_moves_a_status_backwards(
    aws_clients: Aws, steps: list[tuple[str, int]]
) -> None:
    """Stale copies, duplicates and reordering never undo a status, a task id or a credit."""
    with mock_aws():
        aws_clients.build_table()
        jobs = JobRepository(aws_clients.dynamodb, TABLE, now=Clock())
        last = jobs.claim(new_job("drop-0"))
        copies = [last]
        charged: Counter[int] = Counter()
        for verb, number in steps:
            if verb.startswith("drop"):
                changed: Job | None = jobs.claim(new_job(verb))
            elif verb == "take_up":
                copy = copies[number % len(copies)]
                changed = jobs.take_up(copy, execution_arn=ARN) if copy.task_id else None
            else:
                changed = VERBS[verb](jobs, copies[number % len(copies)])
            if changed is not None:
                copies.append(changed)
                charged[changed.attempt] += verb in {"keep_task_id", "close_unknown"}
            job = there(jobs.get("j"))
            assert job.attempt >= last.attempt
            if job.attempt == last.attempt:
                assert RANK[job.status] >= RANK[last.status]
                assert not last.terminal or job.status is last.status
                assert last.task_id in {None, job.task_id}
            assert len(job.history) == job.attempt - 1
            assert job.credits == charged.total()
            assert all(count <= 1 for count in charged.values())
            last = job


# --- what goes in comes out ----------------------------------------------------------------------

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(-1e15, 1e15, allow_nan=False, allow_infinity=False, allow_subnormal=False).filter(
        lambda number: number == 0 or abs(number) > 1e-100
    )
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=8), inner)
    ),
    max_leaves=10,
)


@settings(max_examples=75)
@given(extra=st.dictionaries(st.text("abcdefgh", min_size=1), JSON, max_size=4))
def test_extra_comes_back_as_it_went_in(extra: dict[str, Any]) -> None:
    """`extra` is the same after it was stored."""
    asked = SETTINGS.model_copy(update={"extra": extra})
    job = Job(job_id="j", status=JobStatus.ACCEPTED, created_at="x", updated_at="x", settings=asked)
    assert job_of(_wire(_plain(job))).settings == asked


def test_extra_comes_back_from_the_table(jobs: JobRepository) -> None:
    """Floats, nulls and nested values of `extra` are stored unchanged."""
    extra = {"strength": 0.75, "seed": None, "pose": {"arms": [1, 2.5, "up"], "smile": True}}
    jobs.claim(new_job(settings=SETTINGS.model_copy(update={"extra": extra})))
    assert there(there(jobs.get("j")).settings).extra == extra


def test_same_request_has_the_same_id() -> None:
    """A job's id depends only on photo and settings, in any order of fields."""
    base: dict[str, Any] = {
        "bucket": "b",
        "key": "k",
        "etag": "e",
        "settings": {"a": 1, "b": 2},
        "mask_etag": None,
        "request_id": None,
    }
    again = job_id_of(**{**base, "settings": {"b": 2, "a": 1}})
    assert again == job_id_of(**base)
    assert len(again) == 32
    others = [
        {**base, name: "other"}
        for name in ("bucket", "key", "etag", "settings", "mask_etag", "request_id")
    ]
    assert len({job_id_of(**other) for other in [base, *others]}) == 7


def test_a_photos_id_stays_over_versions() -> None:
    """The same photo with the same settings is the same job in each version of Catwalk.

    Another id would be another job, and a photo that is dropped again would be paid for twice.
    """
    settings = Settings(
        model_id="002",
        scene_type=SceneType.PRESET,
        scene_id="035",
        batch_size=4,
        mask="a.mask.png",
        extra={"a": 1},
    )
    job_id = job_id_of(
        bucket="photos",
        key="summer/dress.jpg",
        etag="0" * 32,
        settings=settings.identity,
        mask_etag=None,
        request_id=None,
    )
    assert job_id == "ae616a80e726a11fea3f9641f3f299eb"


def test_a_later_field_without_a_value_is_no_part_of_the_id() -> None:
    """A new setting changes only the ids of jobs that use it."""

    class Posed(Settings):
        pose: str | None = None

    old = Settings(model_id="002", scene_type=SceneType.ORIGINAL, batch_size=4)
    assert Posed(**dict(old)).identity == old.identity
    assert Posed(**{**dict(old), "pose": "walking"}).identity == {
        **old.identity,
        "pose": "walking",
    }


# --- a write whose answer was lost ---------------------------------------------------------------


class AnswerLost:
    """A DynamoDB client that sends each update twice, as botocore does after a lost answer."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def update_item(self, **arguments: Any) -> Any:
        """Write twice; return the second answer."""
        self._client.update_item(**arguments)
        return self._client.update_item(**arguments)


@pytest.fixture
def unlucky(table: Aws, clock: Clock) -> JobRepository:
    """Return a repository whose updates are sent twice."""
    client: Any = AnswerLost(table.dynamodb)
    return JobRepository(client, TABLE, now=clock)


def test_own_write_of_submitting_is_recognised(unlucky: JobRepository, jobs: JobRepository) -> None:
    """A repeated `mark_submitting` is recognized, and the POST may be sent."""
    submitting = there(unlucky.mark_submitting(jobs.claim(new_job()), lease_seconds=60))
    assert submitting == jobs.get("j")
    assert submitting.status is JobStatus.SUBMITTING
    assert jobs.mark_submitting(jobs.claim(new_job()), lease_seconds=60) is None


def test_own_note_that_nothing_was_sent_is_recognised(
    unlucky: JobRepository, jobs: JobRepository
) -> None:
    """A repeated `mark_unsent` is recognized."""
    submitting = there(jobs.mark_submitting(jobs.claim(new_job()), lease_seconds=60))
    assert there(unlucky.mark_unsent(submitting)).sendable
    assert there(unlucky.mark_submitting(there(jobs.get("j")), lease_seconds=60)) == jobs.get("j")
    assert jobs.mark_unsent(submitting) is None, "the next POST may be out"


def test_own_task_id_is_recognised(unlucky: JobRepository, jobs: JobRepository) -> None:
    """A repeated `keep_task_id` is recognized; another task id is refused."""
    submitting = there(jobs.mark_submitting(jobs.claim(new_job()), lease_seconds=60))
    running = there(unlucky.keep_task_id(submitting, "task-1", execution_arn=ARN))
    assert (running, running.credits) == (jobs.get("j"), 1)
    assert jobs.keep_task_id(submitting, "task-2", execution_arn=ARN) is None


def test_own_unknown_submit_is_recognised(unlucky: JobRepository, jobs: JobRepository) -> None:
    """The lease's holder gets the record, also if its write was made twice."""
    submitting = there(jobs.mark_submitting(jobs.claim(new_job()), lease_seconds=60))
    assert there(unlucky.mark_unknown(submitting, ERROR)) == jobs.get("j")
    assert jobs.mark_unknown(submitting, ERROR) == jobs.get("j")
    again = there(jobs.start_attempt(there(jobs.get("j"))))
    assert jobs.mark_unknown(submitting, ERROR) is None, "that attempt is over"
    assert there(unlucky.mark_submitting(again, lease_seconds=60)).attempt == 2


def test_a_lease_is_written_over_what_was_read(jobs: JobRepository) -> None:
    """A delivery with an old copy of the record does not get the lease."""
    job = there(jobs.mark_submitting(jobs.claim(new_job()), lease_seconds=60))
    before = there(jobs.mark_unsent(job))
    meanwhile = there(jobs.mark_submitting(before, lease_seconds=60))
    there(jobs.mark_unsent(meanwhile))
    assert jobs.mark_submitting(before, lease_seconds=60) is None


# --- review ------------------------------------------------------------------------------------


def review(revision: int, by: str = "anna", *chosen: int) -> Review:
    """Return an approval."""
    return Review(
        state=ReviewState.APPROVED, chosen=chosen, by=by, at=iso(START), revision=revision
    )


def test_a_review_stands_in_the_record(jobs: JobRepository, table: Aws) -> None:
    """A review is stored with its state for the index, and `updated_at` stays."""
    job = at(jobs, JobStatus.SUCCEEDED)
    reviewed = there(jobs.review(job, review(1, "anna", 1)))
    assert reviewed == jobs.get("j")
    assert reviewed.review == review(1, "anna", 1)
    assert reviewed.updated_at == job.updated_at
    item = table.dynamodb.get_item(TableName=TABLE, Key={"pk": {"S": "JOB#j"}})["Item"]
    assert item["review_state"] == {"S": "approved"}


def test_the_second_of_two_reviewers_changes_nothing(jobs: JobRepository) -> None:
    """Of two reviews of the same revision, the first is stored and the second gets None."""
    seen = at(jobs, JobStatus.PARTIAL)
    first = there(jobs.review(seen, review(1)))
    assert jobs.review(seen, review(1, "berta")) is None
    again = there(jobs.review(first, review(2, "berta")))
    assert jobs.review(first, review(2)) is None
    assert jobs.get("j") == again


def test_a_review_whose_answer_was_lost_is_recognised(jobs: JobRepository) -> None:
    """A repeated write of the same review is recognized."""
    seen = at(jobs, JobStatus.SUCCEEDED)
    first = there(jobs.review(seen, review(1)))
    assert jobs.review(seen, review(1)) == first


@pytest.mark.parametrize(
    "status", sorted(set(JobStatus) - {JobStatus.SUCCEEDED, JobStatus.PARTIAL})
)
def test_only_results_are_reviewed(jobs: JobRepository, status: JobStatus) -> None:
    """A job without results cannot be reviewed."""
    assert jobs.review(at(jobs, status), review(1)) is None


@pytest.mark.parametrize("how", ["start_attempt", "take_up"])
def test_a_new_attempt_is_reviewed_anew(jobs: JobRepository, table: Aws, how: str) -> None:
    """An earlier attempt's review is in the history, and the earlier attempt cannot be reviewed."""
    seen = there(jobs.review(at(jobs, JobStatus.SUCCEEDED), review(1)))
    again = there(
        jobs.start_attempt(seen)
        if how == "start_attempt"
        else jobs.take_up(seen, execution_arn="arn-2")
    )
    assert again.review is None
    assert again.history[-1].review == review(1)
    item = table.dynamodb.get_item(TableName=TABLE, Key={"pk": {"S": "JOB#j"}})["Item"]
    assert "review_state" not in item
    assert jobs.review(seen, review(2)) is None
