"""The wait loop: its waits, the outcome of each poll, and that it always ends."""

import json
import math
from dataclasses import replace
from datetime import timedelta
from typing import Any, Literal

import httpx
import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from shared.clock import iso, later, parse_iso
from shared.config import PollConfig
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
from shared.polling.schedule import PollSchedule, bounds_of
from shared.polling.state import MOST_SAMPLES, PollState
from shared.polling.task_history import TaskHistoryStore
from shared.records.jobs import JobRepository, NewJob
from shared.results.store import MAX_KEY_BYTES
from shared.steps.poll import NONSENSE_SECONDS
from shared.vmake.client import VmakeClient
from shared.vmake.outcomes import (
    ReadTrouble,
    TaskDone,
    TaskFailed,
    TaskNotFound,
    TaskOngoing,
    TaskRead,
)
from shared.vmake.secret import ApiKeyMissing
from shared.wiring import Wiring, poller
from tests.factories import BUS, START, TABLE, Aws, Clock

CONFIG = PollConfig(jobs_table=TABLE, event_bus=BUS, vmake_base_url="https://v", api_key_secret="s")
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
    """A vendor whose answers to reads tests can set."""

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
        """Count the call."""
        self.forgotten += 1


class Stage:
    """A Poller, a running job, and its state machine's state."""

    def __init__(self, aws: Aws, clock: Clock, config: PollConfig = CONFIG) -> None:
        self.aws, self.clock = aws, clock
        self.config = config
        self.jobs = JobRepository(aws.dynamodb, TABLE, now=clock)
        self.vendor, self.key = Vendor(), Key()
        wiring = Wiring(
            config,
            aws,
            api_key=self.key,  # type: ignore[arg-type]  # a double
            vendor=self.vendor,  # type: ignore[arg-type]  # a double
            now=clock,
        )
        self.poller = poller(config, wiring)
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
        self.state = self.schedule().first_state(running)

    def schedule(self) -> PollSchedule:
        """Use a new planner, as a new process does."""
        return PollSchedule(self.aws.dynamodb, self.config, now=self.clock)

    @property
    def job(self) -> Job:
        """The present record."""
        job = self.jobs.get("j")
        assert job is not None
        return job

    def poll(self, answer: TaskRead | Exception | None = None) -> dict[str, Any]:
        """Let the state's wait pass, and poll once."""
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


def test_first_state(stage: Stage) -> None:
    """An execution's first state has the task id and the deadline."""
    assert stage.state["deadline"] == later(START, CONFIG.task_timeout_seconds)
    assert (stage.state["task_id"], stage.state["attempt"]) == ("task-1", 1)
    assert CONFIG.poll_min_seconds <= stage.state["wait_seconds"] <= CONFIG.poll_max_seconds


def test_job_without_a_task_has_no_execution(stage: Stage) -> None:
    """A job without a task has no first state."""
    with pytest.raises(LookupError):
        stage.schedule().first_state(stage.job.model_copy(update={"task_id": None}))


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
    """The record has the last known progress, also after failed reads."""
    stage.poll(TaskOngoing("running", 42))
    stage.poll(ReadTrouble("HTTP 502"))
    assert (stage.job.progress, stage.job.polls) == (42, 2)


def test_refused_key_is_forgotten(stage: Stage) -> None:
    """After a 401 the key is read again for the next poll."""
    stage.poll(ReadTrouble("HTTP 401", key_refused=True))
    assert stage.key.forgotten == 1


def test_finished_task_is_finalized(stage: Stage) -> None:
    """The results' URLs go on to FinalizeFunction."""
    state = stage.poll(TaskDone((RESULT,)))
    assert state["outcome"] == "finalize"
    assert PollState.model_validate(state).results == (RESULT,)


def test_failed_task_fails_the_job(stage: Stage) -> None:
    """A failed task ends the job with the vendor's reason and one event."""
    state = stage.poll(TaskFailed("no garment"))
    assert state["outcome"] == "failed"
    error = stage.job.error
    assert error is not None
    assert (stage.job.status, error.code) == (JobStatus.FAILED, ErrorCode.VENDOR_TASK_ERROR)
    assert "no garment" in error.message
    assert stage.job.task_id == "task-1"
    assert stage.aws.told_types() == ["Job Failed"]


@pytest.mark.parametrize("delivery", ["presigned", "inline"])
def test_failed_task_suggests_inline_delivery(
    aws: Aws, clock: Clock, delivery: Literal["presigned", "inline"]
) -> None:
    """A presigned URL may have ended before the vendor fetched the photo."""
    stage = Stage(aws, clock, replace(CONFIG, photo_delivery=delivery))
    stage.poll(TaskFailed("image download failed"))
    assert stage.job.error is not None
    suggested = "PhotoDelivery=inline" in stage.job.error.message
    assert suggested == (delivery == "presigned")


def test_failed_task_with_a_novel_for_a_reason(stage: Stage) -> None:
    """A reason of half a megabyte still ends the job."""
    assert stage.poll(TaskFailed("x" * 500_000))["outcome"] == "failed"


def test_unknown_task_is_given_time(stage: Stage) -> None:
    """A 404 is repeated for up to fifteen minutes, and then ends the job."""
    answer = TaskNotFound("no such task")
    start = stage.clock.now
    while stage.poll(answer)["outcome"] == "wait":
        since = (stage.clock.now - start).total_seconds()
        assert since < NONSENSE_SECONDS + 2 * CONFIG.poll_max_seconds
    assert (stage.clock.now - start).total_seconds() >= NONSENSE_SECONDS
    assert stage.job.status is JobStatus.FAILED


def test_success_without_results_is_given_time(stage: Stage) -> None:
    """A success without results is repeated for up to fifteen minutes, and then ends the job."""
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
    """Any other answer in between restarts the fifteen minutes of 404s."""
    for answer in [TaskNotFound("?")] * 5 + [TaskOngoing("running")] + [TaskNotFound("?")] * 5:
        stage.clock.advance(100)
        assert stage.poll(answer)["outcome"] == "wait"


@pytest.mark.parametrize("asked", [90, 3_600])
def test_vendor_that_asks_to_wait_is_listened_to(stage: Stage, asked: float) -> None:
    """Retry-After of a read is obeyed, also above PollMaxSeconds."""
    assert stage.poll(ReadTrouble("HTTP 429", asked))["wait_seconds"] >= asked


def test_vendor_cannot_ask_to_wait_past_the_deadline(stage: Stage) -> None:
    """The last poll is at the deadline, also with a longer Retry-After."""
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
    """Results at the last poll are taken."""
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
    """A loop of an old attempt ends and writes nothing."""
    error = JobError(code=ErrorCode.INTERNAL, message="x")
    failed = stage.jobs.fail(stage.job, error)
    assert failed is not None
    current = stage.jobs.start_attempt(failed)
    assert stage.poll(TaskFailed("no garment"))["outcome"] == "superseded"
    assert stage.job == current


@pytest.mark.parametrize("told_before", [True, False])
def test_second_run_of_a_poll_that_failed_the_job(stage: Stage, told_before: bool) -> None:
    """A poll that is retried after a crash has the same result, and sends a missing event."""
    error = JobError(code=ErrorCode.VENDOR_TASK_ERROR, message="x")
    failed = stage.jobs.fail(stage.job, error)
    assert failed is not None
    if told_before:
        stage.jobs.mark_announced(failed)
    assert stage.poll(TaskFailed("x"))["outcome"] == "failed"
    assert stage.aws.told_types() == ([] if told_before else ["Job Failed"])


def test_deleted_job_ends_quietly(stage: Stage) -> None:
    """A deleted record ends the loop."""
    stage.aws.dynamodb.delete_item(TableName=TABLE, Key={"pk": {"S": "JOB#j"}})
    assert stage.poll()["outcome"] == "superseded"
    assert stage.jobs.get("j") is None


# --- how long it waits ---------------------------------------------------------------------------


def config_of(minimum: int, maximum: int, timeout: int) -> PollConfig:
    """Return a configuration with these times."""
    return replace(
        CONFIG,
        poll_min_seconds=minimum,
        poll_max_seconds=maximum,
        task_timeout_seconds=timeout,
    )


def polls_at_most(config: PollConfig) -> int:
    """Return the highest number of polls before the deadline."""
    left, polls = float(config.task_timeout_seconds), 0
    while left > 0:
        left -= math.ceil(bounds_of(left, polls, config).shortest)
        polls += 1
    return polls


@pytest.mark.parametrize("timeout", [60, 600, 21_600, 86_400, 604_800, 2_592_000])
@pytest.mark.parametrize(("minimum", "maximum"), [(1, 1), (3, 60), (1, 86_400), (60, 3), (900, 1)])
def test_execution_ends_below_the_event_limit(timeout: int, minimum: int, maximum: int) -> None:
    """The execution stays below 25,000 events with these parameters."""
    config = config_of(minimum, maximum, timeout)
    assert polls_at_most(config) < 2_200
    assert bounds_of(timeout, 0, config).shortest == minimum


@given(
    minimum=st.integers(1, 10_000),
    maximum=st.integers(1, 100_000),
    timeout=st.integers(60, 2_592_000),
)
def test_no_parameters_run_into_the_event_limit(minimum: int, maximum: int, timeout: int) -> None:
    """The execution stays below 25,000 events with any parameters of the template."""
    assert polls_at_most(config_of(minimum, maximum, timeout)) < 2_200


@pytest.mark.parametrize("progress", [None, 0, 99])
def test_real_loop_of_a_task_that_never_ends_ends(
    aws: Aws, clock: Clock, progress: int | None
) -> None:
    """A whole loop of a task that never ends fails the job at its deadline."""
    stage = Stage(aws, clock, config_of(3, 60, 600))
    rounds = 0
    while stage.poll(TaskOngoing("running", progress))["outcome"] == "wait":
        assert 3 <= stage.state["wait_seconds"] <= 60 or iso(clock.now) < stage.state["deadline"]
        rounds += 1
        assert rounds < 100
    assert stage.job.status is JobStatus.FAILED
    assert (stage.clock.now - START).total_seconds() == pytest.approx(600, abs=3)


def test_a_poll_that_learns_nothing_is_made_up_for_soon(stage: Stage) -> None:
    """A failed read at the end of a task delays its results by seconds only."""
    waits = [stage.poll(ReadTrouble("HTTP 502"))["wait_seconds"] for _ in range(2)]
    assert waits[0] <= 2
    assert waits[1] <= 4


def test_looks_are_carried_and_bounded(stage: Stage) -> None:
    """The state has the progress samples of earlier polls, up to a maximum number."""
    for progress in range(60):
        stage.poll(TaskOngoing("running", progress))
    looks = PollState.model_validate(stage.state).looks
    assert len(looks) == MOST_SAMPLES
    assert (looks[0].progress, looks[-1].progress) == (0, 59)
    assert [look.seconds for look in looks] == sorted(look.seconds for look in looks)


def test_later_tasks_profit_from_earlier_ones(aws: Aws, clock: Clock) -> None:
    """After some tasks of 100 s, two or three polls are enough."""
    polls = []
    for _ in range(12):
        aws.dynamodb.delete_item(TableName=TABLE, Key={"pk": {"S": "JOB#j"}})
        stage, start = Stage(aws, clock), clock.now
        while stage.state["outcome"] == "wait":
            age = (clock.now - start).total_seconds() + stage.state["wait_seconds"]
            stage.poll(TaskDone((RESULT,)) if age >= 100 else TaskOngoing("running"))
        polls.append(stage.state["polls"])
    assert max(polls[-4:]) <= 3 < polls[0]


def test_what_cannot_be_learnt_does_not_hold_up_the_results(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the task history cannot be written, the job still gets its images."""

    def refuse(*_: object) -> None:
        raise ClientError({"Error": {"Code": "ThrottlingException"}}, "UpdateItem")

    monkeypatch.setattr(TaskHistoryStore, "add", refuse)
    assert stage.poll(TaskDone((RESULT,)))["outcome"] == "finalize"


@pytest.mark.parametrize("key", ["TASKS#original#1", "CONTROL#polls"])
def test_notes_that_cannot_be_read_stop_no_job(stage: Stage, key: str) -> None:
    """If history or rate limiter fail, the task is still polled and finished."""
    odd = {"tasks": {"N": "-1"}, "d700": {"N": "-3"}, "s": {"S": "?"}, "sx": {"N": "1"}}
    stage.aws.dynamodb.put_item(TableName=TABLE, Item={"pk": {"S": key}, **odd})
    assert 1 <= stage.schedule().first_state(stage.job)["wait_seconds"] <= 600
    for answer in (TaskOngoing("running", 10), ReadTrouble("HTTP 429", throttled=True)):
        assert stage.poll(answer)["outcome"] == "wait"
    assert stage.poll(TaskDone((RESULT,)))["outcome"] == "finalize"


def test_an_execution_that_is_started_late_looks_soon(stage: Stage) -> None:
    """The first wait of an execution that starts late is short, and ends near the deadline."""
    stage.clock.advance(CONFIG.task_timeout_seconds - 30)
    assert stage.schedule().first_state(stage.job)["wait_seconds"] <= 31
    stage.clock.advance(3600)
    assert stage.schedule().first_state(stage.job)["wait_seconds"] == 1


def test_a_task_that_was_taken_up_again_teaches_nothing(stage: Stage) -> None:
    """A task that is taken up again is polled soon, and teaches no duration."""
    taken_up = stage.jobs.take_up(stage.job, execution_arn="arn-2")
    assert taken_up is not None
    stage.state = stage.schedule().first_state(taken_up)
    assert stage.state["wait_seconds"] == CONFIG.poll_min_seconds
    stage.poll(TaskDone((RESULT,)))
    assert stage.schedule()._histories.of("original#1").tasks == 0


def test_throttled_reads_make_the_whole_stack_look_less(stage: Stage) -> None:
    """A 429 of a read halves the rate of all jobs' reads."""
    stage.poll(ReadTrouble("HTTP 429", throttled=True))
    item = stage.aws.dynamodb.get_item(TableName=TABLE, Key={"pk": {"S": "CONTROL#polls"}})["Item"]
    assert float(item["cut_to"]["N"]) == CONFIG.polls_per_second / 2


def test_a_look_that_came_late_teaches_nothing(stage: Stage) -> None:
    """A late poll teaches no duration."""
    stage.clock.advance(3_600)
    assert stage.poll(TaskDone((RESULT,)))["outcome"] == "finalize"
    assert stage.schedule()._histories.of("original#1").tasks == 0


STATE_BYTES = 262_144
"""The size limit of a state, in bytes of JSON."""


@pytest.mark.parametrize("character", ["\x01", "é", "𝄞", '"', "x"])
def test_no_answer_makes_a_state_that_is_too_large(stage: Stage, character: str) -> None:
    """The state with the largest answer and the largest results is below the limit."""
    each = len(json.dumps(character)) - 2
    taken = 0
    for length in (400, 600, 680, 1_000, 1_365, 2_730, 4_096, 8_191, 8_193):
        for count in (1, 4, 8, 16, 17):
            url = "https://c/" + character * (length // each)
            body = {"status": "success", "results": [{"downloadUrl": url}] * count}
            answer = httpx.Response(200, json={"code": 0, "data": body})
            transport = httpx.MockTransport(lambda _, answer=answer: answer)
            with VmakeClient("https://v", lambda: "key", transport=transport) as client:
                read = client.read_task("t" * 1_000)
            if isinstance(read, TaskDone):
                taken = max(taken, count * (length // each))
                copied = [
                    COPIED.model_copy(
                        update={
                            "index": index,
                            "bucket": "b" * 63,
                            "key": "\x01" * MAX_KEY_BYTES,
                            "sha256": "0" * 64,
                        }
                    ).model_dump(mode="json")
                    for index in range(1, count + 1)
                ]
                # What an execution carries from an earlier round, and after a long wait.
                looks = [[123_456.78, 42.123456789]] * MOST_SAMPLES
                stage.state = {**stage.state, "copied": copied, "looks": looks}
                state = stage.poll(read)
                assert state["outcome"] == "finalize"
                assert len(json.dumps(state)) < STATE_BYTES - 50_000  # a caught error has room too
    assert taken * each > 40_000
