"""The wait loop: how long it waits, what each poll concludes, and that it always ends."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.announce import Announcer
from shared.clock import iso, later, parse_iso
from shared.config import Config
from shared.events import EventPublisher
from shared.jobs import JobRepository, NewJob
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
from shared.poll import MAX_POLLS, NONSENSE_SECONDS, Poller, PollState, first_state, next_wait
from shared.vmake.client import (
    ReadTrouble,
    TaskDone,
    TaskFailed,
    TaskNotFound,
    TaskOngoing,
    TaskRead,
)
from shared.vmake.secret import ApiKeyMissing
from tests.kit import BUS, START, TABLE, Aws, Clock

CONFIG = Config(jobs_table=TABLE, event_bus=BUS, vmake_base_url="https://v", api_key_secret="s")
RESULT = TaskResult(index=1, url="https://cdn.example/1.png")
COPIED = Result(
    index=1,
    bucket="results",
    key="a/002-original/j-1.png",
    width=1,
    height=1,
    bytes=1,
    sha256="0",
    content_type="image/png",
)


class Vendor:
    """A vendor that answers reads as told."""

    def __init__(self) -> None:
        self.answer: TaskRead | Exception = TaskOngoing("running", 10)

    def read_task(self, task_id: str) -> TaskRead:
        """Answer."""
        assert task_id == "task-1"
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Key:
    """An API key that counts how often it was forgotten."""

    forgotten = 0

    def forget(self) -> None:
        """Count."""
        self.forgotten += 1


class Stage:
    """A Poller, a running job, and its state machine's state."""

    def __init__(self, aws: Aws, clock: Clock, config: Config = CONFIG) -> None:
        self.aws, self.clock = aws, clock
        self.jobs = JobRepository(aws.dynamodb, TABLE, now=clock)
        self.vendor, self.key = Vendor(), Key()
        self.poller = Poller(
            config=config,
            jobs=self.jobs,
            vendor=self.vendor,  # type: ignore[arg-type]
            api_key=self.key,  # type: ignore[arg-type]
            announcer=Announcer(EventPublisher(aws.events, BUS), self.jobs),
            now=clock,
        )
        new = NewJob(
            job_id="j",
            photo=Photo(key="a.jpg"),
            source_key="a.jpg",
            settings=Settings(model_id="002", scene_type=SceneType.ORIGINAL, batch_size=1),
            trigger="t",
        )
        submitting = self.jobs.mark_submitting(self.jobs.claim(new), lease_seconds=9)
        assert submitting is not None
        running = self.jobs.keep_task_id(submitting, "task-1", execution_arn="arn")
        assert running is not None
        self.state = first_state(running, config)

    @property
    def job(self) -> Job:
        """The record as it is."""
        job = self.jobs.get("j")
        assert job is not None
        return job

    def poll(self, answer: TaskRead | Exception | None = None) -> dict[str, Any]:
        """Wait as the state says, and poll once."""
        if answer is not None:
            self.vendor.answer = answer
        self.clock.advance(self.state["wait_seconds"])
        self.state = self.poller.poll(self.state)
        return self.state


@pytest.fixture
def stage(aws: Aws, clock: Clock) -> Stage:
    """Set the stage with the template's defaults."""
    return Stage(aws, clock)


# --- outcomes ------------------------------------------------------------------------------------


def test_first_state_is_the_same_each_time(stage: Stage) -> None:
    """A second start of an execution would get the very same input."""
    assert first_state(stage.job, CONFIG) == first_state(stage.job, CONFIG)
    assert stage.state["deadline"] == later(START, CONFIG.task_timeout_seconds)
    assert (stage.state["task_id"], stage.state["attempt"]) == ("task-1", 1)


def test_job_without_a_task_has_no_execution(stage: Stage) -> None:
    """Nothing is waited for that was not submitted."""
    with pytest.raises(LookupError):
        first_state(stage.job.model_copy(update={"task_id": None}), CONFIG)


@pytest.mark.parametrize(
    "answer",
    [
        TaskOngoing("pending", 0),
        TaskOngoing("running", 42),
        TaskOngoing("reviewing"),
        ReadTrouble("HTTP 502"),
        ReadTrouble("HTTP 401", key_refused=True),
        TaskNotFound("no such task"),
        ApiKeyMissing("no key"),
    ],
)
def test_unfinished_task_is_waited_for(stage: Stage, answer: TaskRead | Exception) -> None:
    """Neither an unknown status nor trouble of vendor or key ends a job."""
    state = stage.poll(answer)
    assert (state["outcome"], state["polls"]) == ("wait", 1)
    assert state["wait_seconds"] >= 1
    assert stage.job.status is JobStatus.RUNNING
    assert stage.job.polls == 1


def test_progress_is_in_the_record(stage: Stage) -> None:
    """What the vendor says of progress can be seen; trouble does not undo it."""
    stage.poll(TaskOngoing("running", 42))
    stage.poll(ReadTrouble("HTTP 502"))
    assert (stage.job.progress, stage.job.polls) == (42, 2)


def test_refused_key_is_forgotten(stage: Stage) -> None:
    """After a 401 the key is read anew for the next poll."""
    stage.poll(ReadTrouble("HTTP 401", key_refused=True))
    assert stage.key.forgotten == 1


def test_finished_task_is_finalized(stage: Stage) -> None:
    """The results' URLs go on to FinalizeFunction."""
    state = stage.poll(TaskDone((RESULT,)))
    assert state["outcome"] == "finalize"
    assert PollState.model_validate(state).results == (RESULT,)


def test_failed_task_fails_the_job(stage: Stage) -> None:
    """The vendor's own failure ends the job with the vendor's reason, told of once."""
    state = stage.poll(TaskFailed("no garment"))
    assert state["outcome"] == "failed"
    error = stage.job.error
    assert error is not None
    assert (stage.job.status, error.code) == (JobStatus.FAILED, ErrorCode.VENDOR_TASK_ERROR)
    assert "no garment" in error.message
    assert stage.job.task_id == "task-1"
    assert stage.aws.told_types() == ["Job Failed"]


def test_failed_task_with_a_novel_for_a_reason(stage: Stage) -> None:
    """A reason of half a megabyte still ends the job."""
    assert stage.poll(TaskFailed("x" * 500_000))["outcome"] == "failed"


def test_unknown_task_is_given_time(stage: Stage) -> None:
    """A 404 soon after the create may pass; fifteen minutes of them without a break do not."""
    answer = TaskNotFound("no such task")
    start = stage.clock.now
    while stage.poll(answer)["outcome"] == "wait":
        since = (stage.clock.now - start).total_seconds()
        assert since < NONSENSE_SECONDS + 2 * CONFIG.poll_max_seconds
    assert (stage.clock.now - start).total_seconds() >= NONSENSE_SECONDS
    assert stage.job.status is JobStatus.FAILED


def test_a_young_task_is_read_as_often_as_the_settings_allow() -> None:
    """A long TaskTimeoutSeconds does not make the first waits longer."""
    day = replace(CONFIG, poll_min_seconds=3, poll_max_seconds=60, task_timeout_seconds=86_400)
    waits = [next_wait(age, left=86_400 - age, polls=1, config=day) for age in (3, 12, 40, 100)]
    assert waits == [3, 3, 10, 25]


def test_success_without_results_is_given_time(stage: Stage) -> None:
    """Results may come after the word success; fifteen minutes without are an error."""
    start = stage.clock.now
    while stage.poll(TaskDone(()))["outcome"] == "wait":
        since = (stage.clock.now - start).total_seconds()
        assert since < NONSENSE_SECONDS + 2 * CONFIG.poll_max_seconds
    assert (stage.clock.now - start).total_seconds() >= NONSENSE_SECONDS
    error = stage.job.error
    assert error is not None
    assert (stage.job.status, error.code) == (JobStatus.FAILED, ErrorCode.VENDOR_PROTOCOL)
    assert stage.job.task_id == "task-1"


def test_unknown_task_that_comes_back_is_not_given_up(stage: Stage) -> None:
    """A break in the 404s starts their time anew."""
    for answer in [TaskNotFound("?")] * 5 + [TaskOngoing("running")] + [TaskNotFound("?")] * 5:
        stage.clock.advance(100)
        assert stage.poll(answer)["outcome"] == "wait"


@pytest.mark.parametrize("asked", [90, 3_600])
def test_vendor_that_asks_to_wait_is_listened_to(stage: Stage, asked: float) -> None:
    """Retry-After on a read is kept, also past PollMaxSeconds."""
    assert stage.poll(ReadTrouble("HTTP 429", asked))["wait_seconds"] >= asked


def test_vendor_cannot_ask_to_wait_past_the_deadline(stage: Stage) -> None:
    """However long the vendor asks to wait, the last poll is at the deadline."""
    stage.poll(ReadTrouble("HTTP 429", 1e9))
    assert stage.poll(TaskDone((RESULT,)))["outcome"] == "finalize"
    assert iso(stage.clock.now) >= stage.state["deadline"]
    assert stage.clock.now - parse_iso(stage.state["deadline"]) < timedelta(seconds=2)


@pytest.mark.parametrize(
    "answer", [TaskOngoing("running", 99), ReadTrouble("HTTP 502"), ApiKeyMissing("no key")]
)
def test_late_task_times_out_and_keeps_its_id(stage: Stage, answer: TaskRead | Exception) -> None:
    """A task that is not finished at the deadline is FAILED timed_out; its id stays."""
    stage.clock.advance(CONFIG.task_timeout_seconds)
    assert stage.poll(answer)["outcome"] == "failed"
    error = stage.job.error
    assert error is not None
    assert (error.code, stage.job.task_id) == (ErrorCode.TIMED_OUT, "task-1")
    assert "task-1" in error.message


def test_task_that_is_finished_late_is_taken(stage: Stage) -> None:
    """Late is not failed: results that are there at the last poll are taken."""
    stage.clock.advance(CONFIG.task_timeout_seconds * 2)
    assert stage.poll(TaskDone((RESULT,)))["outcome"] == "finalize"


@pytest.mark.parametrize("answer", [TaskOngoing("running"), TaskFailed("gone"), ReadTrouble("502")])
def test_results_that_were_copied_are_not_lost_with_the_rest(
    stage: Stage, answer: TaskRead
) -> None:
    """If the task is lost between two rounds of copying, what was copied makes it PARTIAL."""
    stage.state = PollState.model_validate(stage.state).moved(copied=(COPIED,), finalize_rounds=1)
    stage.clock.advance(CONFIG.task_timeout_seconds)
    assert stage.poll(answer)["outcome"] == "done"
    assert (stage.job.status, stage.job.results) == (JobStatus.PARTIAL, (COPIED,))
    assert stage.aws.told_types() == ["Job Failed"]


def test_attempt_that_was_superseded_ends_quietly(stage: Stage) -> None:
    """A loop whose attempt is over, a newer one running, writes nothing and ends."""
    error = JobError(code=ErrorCode.INTERNAL, message="x")
    failed = stage.jobs.fail(stage.job, error)
    assert failed is not None
    current = stage.jobs.start_attempt(failed)
    assert stage.poll(TaskFailed("no garment"))["outcome"] == "superseded"
    assert stage.job == current


@pytest.mark.parametrize("told_before", [True, False])
def test_second_run_of_a_poll_that_failed_the_job(stage: Stage, told_before: bool) -> None:
    """A poll retried after its crash says the same again, and tells of it if that was missing."""
    error = JobError(code=ErrorCode.VENDOR_TASK_ERROR, message="x")
    failed = stage.jobs.fail(stage.job, error)
    assert failed is not None
    if told_before:
        stage.jobs.mark_announced(failed)
    assert stage.poll(TaskFailed("x"))["outcome"] == "failed"
    assert stage.aws.told_types() == ([] if told_before else ["Job Failed"])


def test_deleted_job_ends_quietly(stage: Stage) -> None:
    """A record that somebody deleted ends its loop."""
    stage.aws.dynamodb.delete_item(TableName=TABLE, Key={"pk": {"S": "JOB#j"}})
    assert stage.poll()["outcome"] == "superseded"
    assert stage.aws.records() == []


# --- how long it waits ---------------------------------------------------------------------------


def config_of(minimum: int, maximum: int, timeout: int) -> Config:
    """Return a configuration with these times."""
    return Config(
        jobs_table=TABLE,
        event_bus=BUS,
        vmake_base_url="https://v",
        api_key_secret="s",
        poll_min_seconds=minimum,
        poll_max_seconds=maximum,
        task_timeout_seconds=timeout,
    )


def waits_of(config: Config) -> list[int]:
    """Run a whole execution of a task that never ends; return its waits."""
    elapsed, polls, waits = 0.0, 0, [config.poll_min_seconds]
    while True:
        elapsed += waits[-1]
        polls += 1
        left = config.task_timeout_seconds - elapsed
        if left <= 0:
            return waits
        waits.append(next_wait(elapsed, left=left, polls=polls, config=config))
        assert polls < 10_000


@pytest.mark.parametrize("timeout", [60, 600, 21_600, 86_400, 604_800, 2_592_000])
@pytest.mark.parametrize(("minimum", "maximum"), [(1, 1), (3, 60), (1, 86_400), (60, 3), (900, 1)])
def test_execution_ends_below_the_event_limit(timeout: int, minimum: int, maximum: int) -> None:
    """Whatever its parameters, an execution ends at its deadline with room for its events."""
    waits = waits_of(config_of(minimum, maximum, timeout))
    assert len(waits) < 2_200
    assert all(wait >= 1 for wait in waits)
    assert 0 <= sum(waits) - timeout <= max(2, minimum)


@given(
    minimum=st.integers(1, 10_000),
    maximum=st.integers(1, 100_000),
    timeout=st.integers(60, 2_592_000),
)
def test_no_parameters_run_into_the_event_limit(minimum: int, maximum: int, timeout: int) -> None:
    """The same for any parameters that the template takes."""
    assert len(waits_of(config_of(minimum, maximum, timeout))) < 2_200


def test_waits_grow_from_the_minimum_to_the_maximum() -> None:
    """The default loop begins with PollMinSeconds and slows down to PollMaxSeconds."""
    waits = waits_of(CONFIG)
    assert waits[0] == 3
    assert waits[:-1] == sorted(waits[:-1])
    assert waits[-2] == 60
    assert max(waits) == 60


@given(
    elapsed=st.floats(0, 3e6),
    left=st.floats(-100, 3e6),
    polls=st.integers(0, 3 * MAX_POLLS),
)
def test_wait_is_a_whole_number_within_the_deadline(
    elapsed: float, left: float, polls: int
) -> None:
    """Each wait is at least a second, and never goes far past the deadline."""
    wait = next_wait(elapsed, left=left, polls=polls, config=CONFIG)
    assert isinstance(wait, int)
    assert wait >= 1
    if left > 0:
        assert wait <= max(1, round(left))


def test_real_loop_of_a_task_that_never_ends_ends(aws: Aws, clock: Clock) -> None:
    """The real poller, driven through a whole loop, fails the job at its deadline."""
    stage = Stage(aws, clock, config_of(3, 60, 600))
    rounds = 0
    while stage.poll(TaskOngoing("running"))["outcome"] == "wait":
        rounds += 1
        assert rounds < 100
    assert stage.job.status is JobStatus.FAILED
    assert (stage.clock.now - START).total_seconds() == pytest.approx(600, abs=2)
