"""FinalizeFunction copies the results and ends the record, in spite of faults."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from shared.errors import ResultRefused, ResultUnavailable
from shared.models import (
    ErrorCode,
    Job,
    JobError,
    JobStatus,
    Photo,
    Result,
    SceneType,
    Settings,
    TaskResult,
)
from shared.notify.announcer import Announcer
from shared.notify.events import EventPublisher
from shared.polling.state import PollOutcome, PollState
from shared.records.jobs import JobRepository, NewJob
from shared.steps import finalize
from shared.steps.finalize import MAX_ROUNDS, ROUND_WAIT_SECONDS, Finalizer
from shared.vmake.outcomes import ReadTrouble, TaskDone, TaskRead
from shared.vmake.secret import ApiKeyMissing
from tests.factories import BUS, TABLE, Aws, Clock

EXPIRED = ResultUnavailable("Result was answered with HTTP 403", expired=True)
AWAY = ResultUnavailable("Result was answered with HTTP 502")
BROKEN = ResultRefused(ErrorCode.RESULT_INVALID, "Result is cut off.")
BLOCKED = ResultRefused(ErrorCode.RESULT_BLOCKED, "Result is in a private network.")
HUGE = ResultRefused(ErrorCode.RESULT_TOO_LARGE, "Result is too large.")


class Store:
    """A result store that copies, or raises the error that is set for a URL."""

    def __init__(self) -> None:
        self.troubles: dict[str, list[Exception]] = {}
        self.copied: list[str] = []

    def copy(self, job: Job, task_result: TaskResult) -> Result:
        """Copy a result, or raise its error."""
        troubles = self.troubles.get(task_result.url, [])
        if troubles:
            raise troubles.pop(0)
        self.copied.append(task_result.url)
        return Result(
            index=task_result.index,
            bucket="results",
            key=f"a/002-original/{job.job_id}-{task_result.index}.png",
            width=8,
            height=8,
            bytes=70,
            sha256="0",
            content_type="image/png",
        )


class Vendor:
    """A vendor that returns new URLs for each read."""

    def __init__(self) -> None:
        self.answer: TaskRead | Exception = TaskDone(urls("fresh"))
        self.reads = 0

    def read_task(self, _task_id: str) -> TaskRead:
        """Answer."""
        self.reads += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def urls(name: str = "url", count: int = 4) -> tuple[TaskResult, ...]:
    """Return the results of a task."""
    return tuple(TaskResult(index=n, url=f"{name}-{n}") for n in range(1, count + 1))


class Stage:
    """A Finalizer, a RUNNING job, and the state of its execution."""

    def __init__(self, aws: Aws, clock: Clock) -> None:
        self.aws = aws
        self.jobs = JobRepository(aws.dynamodb, TABLE, now=clock)
        self.store, self.vendor = Store(), Vendor()
        self.finalizer = Finalizer(
            jobs=self.jobs,
            results=self.store,  # type: ignore[arg-type]  # a double
            vendor=self.vendor,  # type: ignore[arg-type]  # a double
            announcer=Announcer(EventPublisher(aws.events, BUS), self.jobs),
        )
        new = NewJob(
            job_id="j",
            photo=Photo(key="a.jpg"),
            source_key="a.jpg",
            settings=Settings(model_id="002", scene_type=SceneType.ORIGINAL, batch_size=4),
            trigger="t",
        )
        submitting = self.jobs.mark_submitting(self.jobs.claim(new), lease_seconds=9)
        assert submitting is not None
        assert self.jobs.keep_task_id(submitting, "task-1", execution_arn="arn") is not None
        self.state: dict[str, Any] = PollState(
            job_id="j", attempt=1, task_id="task-1", submitted_at="x", deadline="x", results=urls()
        ).moved(outcome=PollOutcome.FINALIZE)

    @property
    def job(self) -> Job:
        """The present record."""
        job = self.jobs.get("j")
        assert job is not None
        return job

    @property
    def error(self) -> JobError:
        """The record's error."""
        assert self.job.error is not None
        return self.job.error

    def run(self, **more: object) -> dict[str, Any]:
        """Invoke the function once."""
        self.state = self.finalizer.finalize({**self.state, **more})
        return self.state

    def round(self, count: int = 4) -> dict[str, Any]:
        """Simulate a poll that finds the task done and returns URLs."""
        assert self.state["outcome"] == "wait"
        found = urls(count=count)
        done = PollState.model_validate(self.state).moved(
            outcome=PollOutcome.FINALIZE, results=found
        )
        self.state = done
        return self.run()


@pytest.fixture
def stage(aws: Aws, clock: Clock) -> Stage:
    """Set the stage."""
    return Stage(aws, clock)


def test_all_results_make_a_success(stage: Stage) -> None:
    """Four results are copied and recorded in the vendor's order, and an event is sent."""
    assert stage.run()["outcome"] == "done"
    assert stage.job.status is JobStatus.SUCCEEDED
    assert [result.index for result in stage.job.results] == [1, 2, 3, 4]
    assert (stage.job.error, stage.job.progress, stage.job.credits) == (None, 100, 1)
    (event,) = stage.aws.told()
    assert event["detail-type"] == "Job Succeeded"
    assert len(event["detail"]["results"]) == 4


@pytest.mark.parametrize("told", [True, False])
def test_second_run_changes_nothing(stage: Stage, told: bool) -> None:
    """After its success, a repeated run copies nothing, and sends a missing event."""
    state = stage.state
    stage.run()
    stage.aws.told()
    if not told:
        stage.aws.dynamodb.update_item(
            TableName=TABLE, Key={"pk": {"S": "JOB#j"}}, UpdateExpression="REMOVE announced"
        )
    before = stage.job.results
    stage.state = state
    assert stage.run()["outcome"] == "done"
    assert stage.store.copied == [result.url for result in urls()]
    assert stage.job.results == before
    assert stage.aws.told_types() == ([] if told else ["Job Succeeded"])


def test_expired_urls_are_replaced_at_once(stage: Stage) -> None:
    """An expired URL is replaced by a new one in the same run."""
    stage.store.troubles = {"url-2": [EXPIRED], "url-4": [EXPIRED]}
    assert stage.run()["outcome"] == "done"
    assert stage.job.status is JobStatus.SUCCEEDED
    assert sorted(stage.store.copied) == ["fresh-2", "fresh-4", "url-1", "url-3"]
    assert stage.vendor.reads == 1


@pytest.mark.parametrize("answer", [ReadTrouble("HTTP 502"), ApiKeyMissing("no key")])
def test_fresh_urls_that_cannot_be_had_now_are_waited_for(
    stage: Stage, answer: TaskRead | Exception
) -> None:
    """If the vendor cannot be read, the loop repeats; copied results are kept."""
    stage.store.troubles = {"url-2": [EXPIRED]}
    stage.vendor.answer = answer
    assert stage.run()["outcome"] == "wait"
    assert stage.job.status is JobStatus.RUNNING
    assert stage.round()["outcome"] == "done"
    assert sorted(stage.store.copied) == ["url-1", "url-2", "url-3", "url-4"]


@pytest.mark.parametrize("trouble", [AWAY, BROKEN])
def test_result_that_cannot_be_had_now_is_tried_in_rounds(stage: Stage, trouble: Exception) -> None:
    """A missing or broken result is tried again with growing pauses, and then succeeds."""
    stage.store.troubles = {"url-3": [trouble] * 3}
    waits = [stage.run()["wait_seconds"]]
    while stage.round()["outcome"] == "wait":
        waits.append(stage.state["wait_seconds"])
    assert tuple(waits) == ROUND_WAIT_SECONDS[:3]
    assert stage.job.status is JobStatus.SUCCEEDED
    assert sorted(stage.store.copied) == ["url-1", "url-2", "url-3", "url-4"]


@pytest.mark.parametrize(
    ("trouble", "code"), [(AWAY, "result_unavailable"), (BROKEN, "result_invalid")]
)
def test_result_that_never_comes_makes_it_partial(
    stage: Stage, trouble: Exception, code: str
) -> None:
    """After the last round a job ends with the copied results, and names the missing ones."""
    stage.store.troubles = {"url-3": [trouble] * 50}
    stage.run()
    rounds = 1
    while stage.state["outcome"] == "wait":
        stage.round()
        rounds += 1
    assert rounds == MAX_ROUNDS
    assert (stage.state["outcome"], stage.job.status) == ("done", JobStatus.PARTIAL)
    assert [result.index for result in stage.job.results] == [1, 2, 4]
    assert stage.error.code == code
    assert "1 of 4" in stage.error.message
    assert stage.aws.told_types() == ["Job Failed"]


@pytest.mark.parametrize(
    ("trouble", "code"), [(BLOCKED, "result_blocked"), (HUGE, "result_too_large")]
)
def test_refused_result_is_not_tried_again(stage: Stage, trouble: Exception, code: str) -> None:
    """A forbidden result ends the job without retries; the others are kept."""
    stage.store.troubles = {"url-1": [trouble]}
    assert stage.run()["outcome"] == "done"
    assert (stage.job.status, stage.error.code) == (JobStatus.PARTIAL, code)
    assert [result.index for result in stage.job.results] == [2, 3, 4]


def test_no_result_at_all_is_a_failure(stage: Stage) -> None:
    """Without a single result the job is FAILED, and its task id kept."""
    stage.store.troubles = {result.url: [BLOCKED] for result in urls()}
    assert stage.run()["outcome"] == "failed"
    assert (stage.job.status, stage.job.task_id) == (JobStatus.FAILED, "task-1")
    assert "4 of 4" in stage.error.message
    assert stage.aws.told_types() == ["Job Failed"]


def test_unexpected_failure_is_recorded(stage: Stage) -> None:
    """The record of an unexpected failure has its cause and the task id."""
    failure = {"Error": "States.TaskFailed", "Cause": "x" * 5_000}
    assert stage.run(failure=failure)["outcome"] == "failed"
    assert (stage.job.status, stage.error.code) == (JobStatus.FAILED, ErrorCode.INTERNAL)
    assert "States.TaskFailed" in stage.error.message
    assert stage.job.task_id == "task-1"
    assert stage.store.copied == []


@pytest.mark.parametrize("failure", ["text", 5, [], {}, {"Error": None}])
def test_strange_failure_is_recorded_too(stage: Stage, failure: object) -> None:
    """A failure in any form ends the record."""
    assert stage.run(failure=failure)["outcome"] == "failed"
    assert stage.error.code is ErrorCode.INTERNAL


def test_unexpected_failure_keeps_what_was_copied(stage: Stage) -> None:
    """Results of an earlier round make the job PARTIAL, not FAILED."""
    stage.store.troubles = {"url-3": [AWAY]}
    assert stage.run()["outcome"] == "wait"
    assert stage.run(failure={"Error": "Lambda.Unknown"})["outcome"] == "done"
    assert stage.job.status is JobStatus.PARTIAL
    assert [result.index for result in stage.job.results] == [1, 2, 4]
    assert stage.error.code is ErrorCode.INTERNAL


def test_failure_after_the_success_was_written_changes_nothing(stage: Stage) -> None:
    """A crash between the record and the event is no failure of the job."""
    state = stage.state
    stage.run()
    stage.state = state
    assert stage.run(failure={"Error": "Lambda.Unknown"})["outcome"] == "done"
    assert stage.job.status is JobStatus.SUCCEEDED


def test_superseded_attempt_ends_quietly(stage: Stage) -> None:
    """An old attempt's execution writes nothing into a newer attempt."""
    failed = stage.jobs.fail(stage.job, JobError(code=ErrorCode.INTERNAL, message="x"))
    assert failed is not None
    current = stage.jobs.start_attempt(failed)
    assert stage.run()["outcome"] == "superseded"
    assert stage.job == current
    assert stage.store.copied == []


AWS_AWAY = ClientError({"Error": {"Code": "InternalError"}}, "PutObject")


def test_trouble_of_our_own_is_raised(stage: Stage) -> None:
    """If ResultsBucket cannot be written, the state machine tries the whole run again."""
    stage.store.troubles = {f"url-{n}": [AWS_AWAY] for n in range(1, 5)}
    with pytest.raises(ClientError, match="InternalError"):
        stage.run()
    assert stage.job.results == ()
    assert stage.job.status is JobStatus.RUNNING


def test_what_was_copied_outlives_trouble_of_our_own(stage: Stage) -> None:
    """Copied results stay in the state and reach the record, also if the trouble lasts."""
    stage.store.troubles = {"url-3": [AWS_AWAY]}
    waiting = stage.run()
    assert (waiting["outcome"], len(waiting["copied"])) == ("wait", 3)
    stage.store.troubles = {"url-3": [AWS_AWAY]}
    with pytest.raises(ClientError):
        stage.round()
    stage.run(failure={"Error": "ClientError", "Cause": "S3 is away"})
    assert stage.job.status is JobStatus.PARTIAL
    assert [result.index for result in stage.job.results] == [1, 2, 4]


@pytest.mark.parametrize(
    "trouble", [RuntimeError("?"), UnicodeError("idna"), ValueError("x"), MemoryError(), KeyError()]
)
def test_an_error_that_nobody_foresaw_costs_one_result(stage: Stage, trouble: Exception) -> None:
    """A fault of one result does not affect the three others."""
    stage.state["finalize_rounds"] = MAX_ROUNDS - 1
    stage.store.troubles = {"url-4": [trouble]}
    stage.run()
    assert stage.job.status is JobStatus.PARTIAL
    assert [result.index for result in stage.job.results] == [1, 2, 3]
    assert stage.error.code is ErrorCode.RESULT_UNAVAILABLE
    assert type(trouble).__name__ in stage.error.message


def test_fresh_urls_that_cannot_be_asked_for_cost_no_copies(stage: Stage) -> None:
    """If AWS fails while new URLs are read, copied results are kept."""
    stage.store.troubles = {"url-2": [EXPIRED]}
    stage.vendor.answer = AWS_AWAY
    waiting = stage.run()
    assert (waiting["outcome"], len(waiting["copied"])) == ("wait", 3)


def test_slow_results_keep_nobody_from_a_turn(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slow results do not keep the others from being copied in some round."""
    seconds = 0.0
    stage.finalizer._monotonic = lambda: seconds
    copy = stage.store.copy
    monkeypatch.setattr(finalize, "ThreadPoolExecutor", InOrder)

    def slow(job: Job, task_result: TaskResult) -> Result:
        nonlocal seconds
        if task_result.index <= 13:
            seconds += 15
            raise AWAY
        return copy(job, task_result)

    stage.store.copy = slow  # type: ignore[method-assign]  # a double
    stage.state = PollState.model_validate(stage.state).moved(
        outcome=PollOutcome.FINALIZE, results=urls(count=16)
    )
    stage.run()
    for _ in range(MAX_ROUNDS - 1):
        stage.round(count=16)
    assert [result.index for result in stage.job.results] == [14, 15, 16]


class InOrder(ThreadPoolExecutor):
    """Copies results one after the other, so that only one thread uses the test's clock."""

    def __init__(self, _workers: int) -> None:
        super().__init__(1)


def test_state_between_rounds_is_small(stage: Stage) -> None:
    """The state is far below its limit of 256 KiB, and has no old URLs."""
    stage.store.troubles = {"url-3": [AWAY]}
    state = stage.run()
    assert state.get("results", []) == []
    assert len(str(state)) < 10_000


def _stopped(stage: Stage, status: str) -> dict[str, Any]:
    return {
        "detail-type": "Step Functions Execution Status Change",
        "detail": {"status": status, "input": json.dumps({**stage.state, "outcome": "wait"})},
    }


@pytest.mark.parametrize(("status", "code"), [("ABORTED", "aborted"), ("TIMED_OUT", "internal")])
def test_an_execution_that_was_stopped_ends_in_the_record(
    stage: Stage, status: str, code: str
) -> None:
    """An execution that is stopped by hand leaves no job RUNNING."""
    assert stage.finalizer.finalize(_stopped(stage, status))["outcome"] == "failed"
    error = stage.job.error
    assert error is not None
    assert (stage.job.status, error.code) == (JobStatus.FAILED, code)
    assert stage.job.task_id == "task-1"
    assert stage.aws.told_types() == ["Job Failed"]


def test_an_execution_that_failed_by_itself_has_its_record_already(stage: Stage) -> None:
    """An event about a failed execution does not change a record that has ended."""
    stage.finalizer.finalize({**stage.state, "failure": {"Error": "Boom"}})
    before = stage.job
    stage.aws.told_types()
    assert stage.finalizer.finalize(_stopped(stage, "FAILED"))["outcome"] == "failed"
    assert stage.job == before
    assert stage.aws.told_types() == []
