"""Metrics: what is counted with which dimensions; a failure to count stops nothing."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from shared.models import ErrorCode, Job, JobError, JobStatus
from shared.notify.metrics import CAUSE_OF_END, CAUSE_OF_PAUSE, STACK, Gauges, Metric, Metrics
from shared.observability import keys_of, logger

ARRIVED = "2026-01-31T09:30:00.000Z"
RUNNING = Job(
    job_id="j1",
    attempt=2,
    status=JobStatus.RUNNING,
    source_key="a/dress.jpg",
    request_id="r-1",
    task_id="t-1",
    polls=3,
    arrived_at=ARRIVED,
    created_at="2026-01-01T00:00:00.000Z",
    submitted_at="2026-01-31T09:30:04.500Z",
    updated_at=ARRIVED,
)


def ended(status: JobStatus, code: ErrorCode | None = None, **more: Any) -> Job:
    """Return a job that ended half a minute after its photo arrived."""
    error = JobError(code=code, message="It broke.") if code else None
    ends = {"status": status, "error": error, "finished_at": "2026-01-31T09:30:30.000Z"}
    return RUNNING.model_copy(update={**ends, **more})


class Log:
    """The EMF lines that were written."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.metrics = Metrics("shop", write=lambda line: self.lines.append(json.loads(line)))

    def counted(self) -> dict[tuple[str, ...], float]:
        """Return all values by metric, each with the values of its dimensions but the stack's."""
        found: dict[tuple[str, ...], float] = {}
        for line in self.lines:
            (directive,) = line["_aws"]["CloudWatchMetrics"]
            assert directive["Namespace"] == "Catwalk"
            for dimensions in directive["Dimensions"]:
                assert dimensions[0] == STACK
                assert line[STACK] == "shop"
                for metric in directive["Metrics"]:
                    name = (metric["Name"], *(line[other] for other in dimensions[1:]))
                    assert name not in found
                    found[name] = line[metric["Name"]]
        return found


@pytest.fixture
def log() -> Log:
    return Log()


def test_submitted_job_costs_a_credit(log: Log) -> None:
    """An accepted task is counted, with the time that the photo waited."""
    log.metrics.job_announced(RUNNING)
    log.metrics.has_waited(RUNNING, until=RUNNING.submitted_at)
    assert log.counted() == {("JobsSubmitted",): 1, ("CreditsSpent",): 1, ("WaitSeconds",): 4.5}


def test_task_that_was_taken_up_costs_nothing(log: Log) -> None:
    """A task that is taken up is neither counted as submitted nor timed."""
    log.metrics.job_announced(RUNNING.model_copy(update={"resumed_at": ARRIVED}))
    assert log.lines == []
    log.metrics.job_announced(ended(JobStatus.SUCCEEDED, resumed_at=ARRIVED))
    assert Metric.SECONDS_TO_RESULT not in {name for name, *_ in log.counted()}


def test_job_with_results_is_timed_from_its_drop(log: Log) -> None:
    """The time of a success begins with its own attempt's drop."""
    log.metrics.job_announced(ended(JobStatus.SUCCEEDED))
    assert log.counted() == {
        ("JobsSucceeded",): 1,
        ("JobsFailed",): 0,
        ("PollsPerJob",): 3,
        ("SecondsToResult",): 30,
    }


def test_partial_job_is_counted_as_such(log: Log) -> None:
    """A PARTIAL job is counted as partial, not as failed."""
    log.metrics.job_announced(ended(JobStatus.PARTIAL, ErrorCode.RESULT_INVALID))
    assert log.counted()["JobsPartial",] == 1
    assert log.counted()["JobsFailed",] == 0


def test_failure_is_counted_by_its_code(log: Log) -> None:
    """A failure is counted by its code and in total."""
    log.metrics.job_announced(ended(JobStatus.FAILED, ErrorCode.TIMED_OUT))
    assert log.counted() == {
        ("JobsFailed",): 1,
        ("JobsFailed", "timed_out"): 1,
        ("PollsPerJob",): 3,
    }
    assert [line.get(CAUSE_OF_END) for line in log.lines] == [None, "timed_out"]


def test_bad_input_is_no_failure(log: Log) -> None:
    """A rejected photo is counted by its code, and not among those that had a task."""
    log.metrics.job_announced(ended(JobStatus.REJECTED, ErrorCode.EMPTY_FILE, polls=0))
    assert log.counted() == {("JobsRejected",): 1, ("JobsRejected", "empty_file"): 1}


def test_unknown_submit_is_counted(log: Log) -> None:
    """An unknown submit has a metric of its own and no other."""
    log.metrics.job_announced(ended(JobStatus.SUBMIT_UNKNOWN, ErrorCode.SUBMIT_UNKNOWN, polls=0))
    assert log.counted() == {("SubmitsUnknown",): 1}


@pytest.mark.parametrize(
    "status", sorted(set(JobStatus) - {JobStatus.ACCEPTED, JobStatus.SUBMITTING})
)
def test_every_status_that_is_told_is_counted(log: Log, status: JobStatus) -> None:
    """Each event on the bus has a metric."""
    log.metrics.job_announced(ended(status, ErrorCode.INTERNAL))
    assert log.lines


def test_ids_are_no_dimensions(log: Log) -> None:
    """A line names its job, for queries; a metric for each job would cost 30 cents a month."""
    log.metrics.photo_in(RUNNING)
    log.metrics.job_announced(ended(JobStatus.FAILED, ErrorCode.ABORTED))
    for line in log.lines:
        assert {name: line[name] for name in keys_of(RUNNING)} == keys_of(RUNNING)
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        assert {name for names in directive["Dimensions"] for name in names} <= {
            STACK,
            CAUSE_OF_END,
        }


def test_line_is_of_now(log: Log) -> None:
    """Each line has its time in milliseconds."""
    before = datetime.now(UTC).timestamp()
    log.metrics.photo_in(RUNNING)
    (line,) = log.lines
    assert before - 1 <= line["_aws"]["Timestamp"] / 1000 <= datetime.now(UTC).timestamp()


def test_gauges_of_a_stack_without_trouble(log: Log) -> None:
    """A gauge is emitted also if it is zero."""
    log.metrics.gauges(Gauges(moves=0, parked=0, paused_by=None, credits_used=None))
    assert log.counted() == {
        ("ReconcileMoves",): 0,
        ("SubmitsParked",): 0,
        ("SubmissionPaused",): 0,
    }


def test_gauges_of_a_paused_stack(log: Log) -> None:
    """The gauge of a pause has its reason."""
    log.metrics.gauges(Gauges(moves=2, parked=1, paused_by="no_credits", credits_used=87.5))
    assert log.counted() == {
        ("ReconcileMoves",): 2,
        ("SubmitsParked",): 1,
        ("DailyCreditsUsed",): 87.5,
        ("SubmissionPaused",): 1,
        ("SubmissionPaused", "no_credits"): 1,
    }
    assert log.lines[-1][CAUSE_OF_PAUSE] == "no_credits"


@pytest.mark.parametrize("until", ["2026-01-31T09:29:00.000Z", ARRIVED])
def test_clocks_that_differ_make_no_negative_wait(log: Log, until: str) -> None:
    """A time before the arrival counts as zero."""
    log.metrics.has_waited(RUNNING, until=until)
    assert log.counted() == {("WaitSeconds",): 0}


def test_record_of_before_is_not_timed(log: Log) -> None:
    """A record without an arrival time is counted but not timed."""
    log.metrics.has_waited(RUNNING.model_copy(update={"arrived_at": None}), until=ARRIVED)
    assert log.lines == []
    log.metrics.job_announced(ended(JobStatus.SUCCEEDED, arrived_at=None))
    assert log.counted()["JobsSucceeded",] == 1


def test_metric_that_cannot_be_written_is_logged_and_forgotten(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A metric that cannot be written does not stop a photo."""
    monkeypatch.setattr(logger()._logger, "propagate", True)

    def full(_: str) -> None:
        raise OSError("No space left on device")

    metrics = Metrics("shop", write=full)
    metrics.photo_in(RUNNING)
    metrics.job_announced(RUNNING)
    metrics.gauges(Gauges(moves=0, parked=0, paused_by="outage", credits_used=None))
    assert caplog.text.count("metrics are not written") == 3


@pytest.mark.parametrize(
    "odd", [{"arrived_at": "soon"}, {"status": JobStatus.ACCEPTED}, {"polls": None}]
)
def test_record_that_makes_no_sense_is_no_error(log: Log, odd: dict[str, Any]) -> None:
    """An error while a record is counted does not stop the job."""
    job = ended(JobStatus.SUCCEEDED).model_copy(update=odd)
    log.metrics.job_announced(job)
    log.metrics.has_waited(job, until="later")


def test_name_of_the_service_is_no_dimension(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Powertools' environment variables do not change the metrics."""
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "something")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "Something")
    log.metrics.photo_in(RUNNING)
    assert log.counted() == {("PhotosIn",): 1}
