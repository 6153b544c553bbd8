"""Recovery: which jobs each action accepts, what it costs, and what it writes and sends."""

import json
from typing import Any, cast

import pytest

from cli.jobs.recovery import (
    DEFAULT_STATUSES,
    JobSelection,
    Quote,
    Recovery,
    RecoveryAction,
    Resolution,
    select,
)
from cli.terminal.words import STATUS_WORDS
from shared.clock import iso
from shared.intake.photos import PhotoStore
from shared.models import (
    TERMINAL,
    ErrorCode,
    Job,
    JobError,
    JobStatus,
    PastAttempt,
    Photo,
    Result,
    SceneType,
    Settings,
)
from shared.notify.announcer import Announcer
from shared.notify.events import EventPublisher
from shared.records.jobs import JobRepository, _plain, _wire
from shared.records.ledger import Certainty, Ledger
from tests.factories import PHOTOS, START, TABLE, Aws, Clock

SETTINGS = Settings(model_id="002", scene_type=SceneType.ORIGINAL, batch_size=4)
RESULT = Result(
    index=1,
    bucket="results",
    key="a/dress/002-original/j-1.png",
    width=8,
    height=8,
    bytes=70,
    sha256="0" * 64,
    content_type="image/png",
)
PAID = frozenset({JobStatus.RUNNING, JobStatus.SUCCEEDED, JobStatus.PARTIAL, JobStatus.FAILED})
CODES = {
    JobStatus.FAILED: ErrorCode.TIMED_OUT,
    JobStatus.PARTIAL: ErrorCode.RESULT_UNAVAILABLE,
    JobStatus.REJECTED: ErrorCode.CORRUPT_IMAGE,
    JobStatus.SUBMIT_UNKNOWN: ErrorCode.SUBMIT_UNKNOWN,
}


class Events:
    """A publisher that keeps the statuses of its events."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def job_changed(self, job: Job) -> None:
        """Keep the status."""
        self.told.append(job.status.value)


class Sqs:
    """A double of SQS that keeps the messages."""

    def __init__(self) -> None:
        self.bodies: list[str] = []

    def send_message(self, *, QueueUrl: str, MessageBody: str) -> None:  # noqa: N803  SQS's names
        """Keep a message."""
        assert QueueUrl == "https://sqs/submit"
        self.bodies.append(MessageBody)


class Bench:
    """A Recovery, its records and the messages that it sends."""

    def __init__(self, aws: Aws, clock: Clock) -> None:
        self.sqs = Sqs()
        self.events = Events()
        self.aws = aws
        self.clock = clock
        self.jobs = JobRepository(aws.dynamodb, TABLE, now=clock)
        self.ledger = Ledger(aws.dynamodb, TABLE, now=clock)

    @property
    def recovery(self) -> Recovery:
        """Create a new Recovery, as each command does."""
        return Recovery(
            jobs=self.jobs,
            ledger=self.ledger,
            announcer=Announcer(cast("EventPublisher", self.events), self.jobs),
            photos=PhotoStore(self.aws.s3, PHOTOS, max_bytes=0),
            sqs=cast("Any", self.sqs),
            queue_url="https://sqs/submit",
            state_machine_arn="arn:aws:states:us-east-1:123456789012:stateMachine:jobs",
            photos_bucket=PHOTOS,
        )

    def job(
        self, status: JobStatus = JobStatus.FAILED, code: ErrorCode | None = None, **changes: Any
    ) -> Job:
        """Write a typical record of a status; return it."""
        code = code or CODES.get(status)
        paid = status in PAID
        values: dict[str, Any] = {
            "job_id": "j",
            "status": status,
            "source_key": "a/dress.jpg",
            "photo": Photo(bucket=PHOTOS, key="a/dress.jpg", etag="e"),
            "settings": SETTINGS,
            "task_id": "t-1" if paid else None,
            "credits": int(paid),
            "execution_arn": "arn:old" if paid else None,
            "submitted_at": iso(START) if paid else None,
            "finished_at": iso(START) if status in TERMINAL else None,
            "results": (RESULT,) if status in {JobStatus.SUCCEEDED, JobStatus.PARTIAL} else (),
            "error": JobError(code=code, message="It broke.") if code else None,
            "created_at": iso(START),
            "updated_at": iso(START),
        }
        job = Job(**(values | changes))
        item = {**_plain(job), "pk": f"JOB#{job.job_id}", "triggers": {"drop-1"}}
        item |= {"announced": job.status.value}
        if job.dead_letter is not None:
            item["dead_letter"] = job.dead_letter
        self.aws.dynamodb.put_item(TableName=TABLE, Item=_wire(item))
        return self.now(job.job_id)

    def now(self, job_id: str = "j") -> Job:
        """Return the present record."""
        job = self.jobs.get(job_id)
        assert job is not None
        return job

    def sent(self) -> list[dict[str, Any]]:
        """Return the messages that were sent since the last call."""
        bodies = [json.loads(body) for body in self.sqs.bodies]
        self.sqs.bodies.clear()
        return bodies

    def entered(self) -> list[tuple[int, str]]:
        """Return attempt and certainty of each entry of the ledger."""
        found = self.ledger.entries(START.date(), START.date())
        return [(entry.attempt, entry.certainty.value) for entry in found]

    def items(self) -> list[dict[str, Any]]:
        """Return the whole table."""
        return sorted(self.aws.records(), key=lambda item: str(item["pk"]))


CONTINUE = {"source": "catwalk", "detail-type": "Job Continued", "detail": {"jobId": "j"}}


@pytest.fixture
def bench(table: Aws, clock: Clock) -> Bench:
    """Set up an empty table and an empty bucket."""
    table.s3.create_bucket(Bucket=PHOTOS)
    return Bench(table, clock)


# --- which jobs ---------------------------------------------------------------------------

MAY = {
    JobStatus.ACCEPTED: set(),
    JobStatus.SUBMITTING: set(),
    JobStatus.SUBMIT_UNKNOWN: set(),
    JobStatus.RUNNING: set(),
    JobStatus.SUCCEEDED: {RecoveryAction.RECOPY, RecoveryAction.REGENERATE},
    JobStatus.PARTIAL: {RecoveryAction.RECOPY, RecoveryAction.REGENERATE},
    JobStatus.FAILED: {RecoveryAction.RESUME, RecoveryAction.REGENERATE},
    JobStatus.REJECTED: {RecoveryAction.REGENERATE},
}


@pytest.mark.parametrize("action", RecoveryAction)
@pytest.mark.parametrize("status", JobStatus)
def test_each_chance_in_each_status(
    bench: Bench, action: RecoveryAction, status: JobStatus
) -> None:
    """An action is done as quoted, or refused with a sentence, and then nothing changes."""
    job, before = bench.job(status), bench.items()
    quote = bench.recovery.quote(action, job)
    assert bench.items() == before
    assert (quote.refusal is None) is (action in MAY[status])
    if quote.refusal is not None:
        with pytest.raises(ValueError, match=r"[a-z]\.$"):
            bench.recovery.perform(action, job)
        assert (bench.items(), bench.sent()) == (before, [])
        return
    assert quote.credits == (1 if action is RecoveryAction.REGENERATE else 0)
    taken = bench.recovery.perform(action, job)
    assert taken == bench.now()
    assert (taken.attempt, taken.credits, taken.error) == (2, job.credits, None)
    assert [past.status for past in taken.history] == [status]
    assert (bench.sent(), bench.entered()) == ([CONTINUE], [])


@pytest.mark.parametrize("action", [RecoveryAction.RECOPY, RecoveryAction.RESUME])
def test_free_chance_goes_on_with_the_paid_task(bench: Bench, action: RecoveryAction) -> None:
    """The next attempt is RUNNING with the same task, its images and a new timeout."""
    job = bench.job(JobStatus.PARTIAL if action is RecoveryAction.RECOPY else JobStatus.FAILED)
    bench.clock.advance(3_600)
    taken = bench.recovery.perform(action, job)
    assert taken is not None
    assert (taken.status, taken.task_id) == (JobStatus.RUNNING, "t-1")
    assert taken.results == job.results
    assert taken.resumed_at == iso(bench.clock.now)
    assert (taken.execution_arn or "").endswith(":execution:jobs:j-2")
    assert taken.announced is None
    bench.ledger.enter(taken)
    assert bench.entered() == []


def test_regenerate_starts_from_the_beginning(bench: Bench) -> None:
    """The next attempt is ACCEPTED; the earlier one is in the history."""
    taken = bench.recovery.perform(RecoveryAction.REGENERATE, bench.job(JobStatus.SUCCEEDED))
    assert taken is not None
    assert (taken.status, taken.task_id, taken.results) == (JobStatus.ACCEPTED, None, ())
    assert (taken.history[0].task_id, taken.history[0].results) == ("t-1", (RESULT,))


@pytest.mark.parametrize(
    "action", [RecoveryAction.RECOPY, RecoveryAction.RESUME, RecoveryAction.REGENERATE]
)
def test_chance_taken_twice_is_one_attempt(bench: Bench, action: RecoveryAction) -> None:
    """The second of two identical actions changes nothing."""
    job = bench.job(JobStatus.FAILED, ErrorCode.RESULT_UNAVAILABLE)
    assert bench.recovery.perform(action, job) is not None
    assert bench.recovery.perform(action, job) is None
    assert bench.now().attempt == 2
    assert len(bench.sent()) == 1


def test_job_that_is_gone(bench: Bench) -> None:
    """A deleted record is not created again."""
    job = bench.job()
    bench.aws.dynamodb.delete_item(TableName=TABLE, Key={"pk": {"S": "JOB#j"}})
    for action in (RecoveryAction.RESUME, RecoveryAction.REGENERATE):
        assert bench.recovery.perform(action, job) is None
    unknown = job.model_copy(update={"status": JobStatus.SUBMIT_UNKNOWN})
    for resolution in Resolution:
        assert bench.recovery.resolve(resolution, unknown, task_id="t") is None
    assert (bench.items(), bench.sent()) == ([], [])


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.SUCCEEDED, JobStatus.PARTIAL])
def test_free_chances_need_a_task(bench: Bench, status: JobStatus) -> None:
    """A job without a task can be neither resumed nor recopied; a new one costs a credit."""
    job = bench.job(status, task_id=None, credits=0)
    resume = bench.recovery.quote(RecoveryAction.RESUME, job)
    assert "one credit" in (resume.refusal or "")
    assert "no task" in (bench.recovery.quote(RecoveryAction.RECOPY, job).refusal or "")


@pytest.mark.parametrize("code", ErrorCode)
def test_recopy_of_a_failed_job_needs_a_finished_task(bench: Bench, code: ErrorCode) -> None:
    """Only a task whose results could not be copied can be recopied."""
    refusal = bench.recovery.quote(RecoveryAction.RECOPY, bench.job(JobStatus.FAILED, code)).refusal
    assert (refusal is None) is code.value.startswith("result_")


def past(status: JobStatus, code: ErrorCode | None, attempt: int = 1) -> PastAttempt:
    """Return an earlier attempt with a task."""
    return PastAttempt(
        attempt=attempt,
        status=status,
        task_id=f"t-{attempt}",
        error=JobError(code=code, message="It broke.") if code else None,
        results=() if status is JobStatus.FAILED else (RESULT,),
    )


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.REJECTED])
@pytest.mark.parametrize(
    ("action", "earlier"),
    [
        (RecoveryAction.RESUME, past(JobStatus.FAILED, ErrorCode.TIMED_OUT)),
        (RecoveryAction.RESUME, past(JobStatus.FAILED, ErrorCode.VENDOR_TASK_ERROR)),
        (RecoveryAction.RECOPY, past(JobStatus.FAILED, ErrorCode.RESULT_INVALID)),
        (RecoveryAction.RECOPY, past(JobStatus.PARTIAL, ErrorCode.RESULT_INVALID)),
        (RecoveryAction.RECOPY, past(JobStatus.SUCCEEDED, None)),
    ],
)
def test_earlier_attempts_task_can_be_had(
    bench: Bench, action: RecoveryAction, earlier: PastAttempt, status: JobStatus
) -> None:
    """The paid task of an earlier attempt can be taken up, and the quote names it."""
    job = bench.job(
        status, ErrorCode.CORRUPT_IMAGE, attempt=2, task_id=None, results=(), history=(earlier,)
    )
    quote = bench.recovery.quote(action, job)
    assert (quote.credits, quote.refusal) == (0, None)
    assert quote.earlier == "task t-1 of attempt 1"
    taken = bench.recovery.perform(action, job)
    assert taken is not None
    assert (taken.status, taken.attempt, taken.task_id) == (JobStatus.RUNNING, 3, "t-1")
    assert (taken.results, taken.credits) == (earlier.results, job.credits)
    bench.ledger.enter(taken)
    assert (bench.sent(), bench.entered()) == ([CONTINUE], [])


def test_newest_task_is_meant(bench: Bench) -> None:
    """The latest paid task is taken up; the quote names it only if it is an earlier attempt's."""
    history = tuple(past(JobStatus.FAILED, ErrorCode.TIMED_OUT, number) for number in (1, 2))
    job = bench.job(JobStatus.FAILED, attempt=3, task_id=None, history=history)
    assert bench.recovery.quote(RecoveryAction.RESUME, job).earlier == "task t-2 of attempt 2"
    own = bench.job(JobStatus.FAILED, attempt=3, task_id="t-3", history=history)
    quote = bench.recovery.quote(RecoveryAction.RESUME, own)
    assert quote.takes is not None
    assert (quote.takes.task_id, quote.earlier) == ("t-3", "")


@pytest.mark.parametrize("action", [RecoveryAction.RECOPY, RecoveryAction.RESUME])
@pytest.mark.parametrize(
    "status", [JobStatus.ACCEPTED, JobStatus.SUBMITTING, JobStatus.SUBMIT_UNKNOWN]
)
def test_earlier_task_is_left_alone_while_the_job_is_under_way(
    bench: Bench, action: RecoveryAction, status: JobStatus
) -> None:
    """While a job is being submitted or is unknown, its earlier task is not taken up."""
    code = ErrorCode.RESULT_INVALID
    job = bench.job(status, attempt=2, history=(past(JobStatus.FAILED, code),))
    assert bench.recovery.quote(action, job).refusal is not None


def test_earlier_task_with_images_is_recopied_not_resumed(bench: Bench) -> None:
    """A task that gave its images cannot be resumed; the refusal advises recopy."""
    done = past(JobStatus.SUCCEEDED, None)
    job = bench.job(JobStatus.FAILED, attempt=2, task_id=None, history=(done,))
    assert "recopy" in (bench.recovery.quote(RecoveryAction.RESUME, job).refusal or "")


def test_whom_chances_are_for_if_no_status_is_said(bench: Bench) -> None:
    """Without a status, no action selects successful jobs."""
    assert not any(JobStatus.SUCCEEDED in statuses for statuses in DEFAULT_STATUSES.values())
    for action, statuses in DEFAULT_STATUSES.items():
        code = ErrorCode.RESULT_INVALID
        assert all(
            bench.recovery.quote(action, bench.job(status, code)).refusal is None
            for status in statuses
        )


# --- a photo whose settings could not be used ----------------------------------------------------


def unusable(bench: Bench, **changes: Any) -> Job:
    """Write the record of a dropped photo whose settings could not be used."""
    error = JobError(code=ErrorCode.BAD_SETTINGS, message="catwalk.json is no JSON.")
    return bench.job(
        JobStatus.REJECTED, **({"settings": None, "dropped": True, "error": error} | changes)
    )


def test_photo_without_settings_is_dropped_again(bench: Bench) -> None:
    """Regenerating a photo without settings sends its drop again."""
    job, before = unusable(bench), bench.items()
    assert bench.recovery.quote(RecoveryAction.REGENERATE, job) == Quote(job, credits=1)
    assert bench.recovery.perform(RecoveryAction.REGENERATE, job) == job
    assert bench.items() == before
    (message,) = bench.sent()
    assert message["detail-type"] == "Object Created"
    assert message["detail"] == {
        "bucket": {"name": PHOTOS},
        "object": {"key": "a/dress.jpg", "etag": "e"},
    }


def test_photo_without_settings_costs_a_credit_a_variant(bench: Bench) -> None:
    """Its price is a credit for each variant of the folder's present file."""
    variants = [{"modelId": number} for number in ("001", "002", "003")]
    bench.aws.drop("a/catwalk.json", json.dumps({"variants": variants}).encode())
    assert bench.recovery.quote(RecoveryAction.REGENERATE, unusable(bench)).credits == 3


def test_photo_whose_folder_file_is_still_broken(bench: Bench) -> None:
    """If the folder's file is still broken, the action is refused with the reason."""
    bench.aws.drop("catwalk.json", b"{")
    quote = bench.recovery.quote(RecoveryAction.REGENERATE, unusable(bench))
    assert "catwalk.json" in (quote.refusal or "")


def test_dropping_again_twice_is_one_drop(bench: Bench) -> None:
    """The drop that is sent twice has the same id, so it counts once."""
    job = unusable(bench)
    for _ in range(2):
        bench.recovery.perform(RecoveryAction.REGENERATE, job)
    first, second = bench.sent()
    assert first == second
    later = unusable(bench, attempt=2)
    bench.recovery.perform(RecoveryAction.REGENERATE, later)
    assert bench.sent()[0]["id"] != first["id"]


def test_dropping_again_what_has_moved_on(bench: Bench) -> None:
    """If the job has changed meanwhile, nothing is sent."""
    job = unusable(bench)
    unusable(bench, attempt=2)
    assert bench.recovery.perform(RecoveryAction.REGENERATE, job) is None
    assert bench.sent() == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dropped": False, "photo": None, "source_key": None}, "send or drop it again"),
        ({"dropped": False, "photo": Photo(url="https://a.example/b.jpg")}, "send or drop it"),
        ({"dropped": False}, "send or drop it again"),
        ({"dead_letter": "m-1", "request_id": "m-1"}, "redrive"),
    ],
)
def test_request_without_settings_cannot_be_regenerated(
    bench: Bench, changes: dict[str, Any], says: str
) -> None:
    """A request without settings cannot be regenerated, since its record lacks the request."""
    job = unusable(bench, **changes)
    assert says in (bench.recovery.quote(RecoveryAction.REGENERATE, job).refusal or "")
    with pytest.raises(ValueError, match=says):
        bench.recovery.perform(RecoveryAction.REGENERATE, job)


# --- resolve -------------------------------------------------------------------------------------


def unknown(bench: Bench, **changes: Any) -> Job:
    """Write a SUBMIT_UNKNOWN record and its ledger entry."""
    job = bench.job(JobStatus.SUBMIT_UNKNOWN, **changes)
    bench.ledger.doubt(job)
    return job


def test_resolved_with_its_task(bench: Bench) -> None:
    """The job is RUNNING as the same attempt, with one credit; the images come free."""
    job = unknown(bench)
    assert bench.recovery.quote_resolution(Resolution.TASK, job) == Quote(job)
    taken = bench.recovery.resolve(Resolution.TASK, job, task_id="t-9")
    assert taken is not None
    assert taken == bench.now()
    assert (taken.status, taken.attempt, taken.task_id) == (JobStatus.RUNNING, 1, "t-9")
    assert (taken.credits, taken.error) == (1, None)
    assert (taken.execution_arn or "").endswith(":j-1")
    assert bench.sent() == [CONTINUE]
    bench.ledger.enter(taken)  # as Starter does, on that message
    assert bench.entered() == [(1, "charged")]


@pytest.mark.parametrize("task_id", [None, ""])
def test_task_without_an_id(bench: Bench, task_id: str | None) -> None:
    """Resolving as a task without an id writes nothing."""
    job = unknown(bench)
    before = bench.items()
    with pytest.raises(ValueError, match="task's id"):
        bench.recovery.resolve(Resolution.TASK, job, task_id=task_id)
    assert (bench.items(), bench.sent()) == (before, [])


def test_resolved_as_charged_and_lost(bench: Bench) -> None:
    """The job is FAILED with its credit, the ledger entry is certain, and an event is sent."""
    job = unknown(bench)
    assert bench.recovery.quote_resolution(Resolution.CHARGED, job) == Quote(job)
    closed = bench.recovery.resolve(Resolution.CHARGED, job)
    assert closed is not None
    assert (closed.status, closed.attempt, closed.credits) == (JobStatus.FAILED, 1, 1)
    assert closed.error is not None
    assert closed.error.code is ErrorCode.VENDOR_PROTOCOL
    assert bench.entered() == [(1, "charged")]
    assert bench.sent() == []
    assert bench.events.told == ["FAILED"]
    assert bench.now().announced == "FAILED"
    assert bench.recovery.quote(RecoveryAction.REGENERATE, closed) == Quote(closed, credits=1)
    assert bench.recovery.quote(RecoveryAction.RESUME, closed).refusal is not None


def test_resolved_as_not_charged(bench: Bench) -> None:
    """The job is submitted again as the next attempt, and the unknown entry is deleted."""
    job = unknown(bench)
    assert bench.recovery.quote_resolution(Resolution.NOT_CHARGED, job) == Quote(job, credits=1)
    again = bench.recovery.resolve(Resolution.NOT_CHARGED, job)
    assert again is not None
    assert (again.status, again.attempt, again.credits) == (JobStatus.ACCEPTED, 2, 0)
    assert bench.entered() == []
    assert bench.sent() == [CONTINUE]


@pytest.mark.parametrize("resolution", Resolution)
@pytest.mark.parametrize("status", [s for s in JobStatus if s is not JobStatus.SUBMIT_UNKNOWN])
def test_only_unknown_submits_are_resolved(
    bench: Bench, resolution: Resolution, status: JobStatus
) -> None:
    """Any other job is refused with a sentence, and nothing is changed."""
    job, before = bench.job(status), bench.items()
    refusal = bench.recovery.quote_resolution(resolution, job).refusal or ""
    assert f"It is {STATUS_WORDS[status].lower()};" in refusal
    with pytest.raises(ValueError, match="only a job that needs you"):
        bench.recovery.resolve(resolution, job, task_id="t")
    assert (bench.items(), bench.sent()) == (before, [])


@pytest.mark.parametrize("first", Resolution)
@pytest.mark.parametrize("second", Resolution)
def test_resolved_by_two_people(bench: Bench, first: Resolution, second: Resolution) -> None:
    """The first resolution stays in record and ledger; the second changes nothing."""
    job = unknown(bench)
    bench.recovery.resolve(first, job, task_id="t-1")
    before = bench.items()
    bench.sent()
    assert bench.recovery.resolve(second, job, task_id="t-2") is None
    assert (bench.items(), bench.sent()) == (before, [])


@pytest.mark.parametrize("resolution", [Resolution.CHARGED, Resolution.NOT_CHARGED])
def test_resolve_that_dies_halfway_can_be_repeated(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, resolution: Resolution
) -> None:
    """The ledger is written before the record, so a crash in between leaves the job unresolved."""
    job = unknown(bench)

    def dead(*_: object, **__: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(bench.jobs, "close_unknown", dead)
        patch.setattr(bench.jobs, "start_attempt", dead)
        with pytest.raises(ConnectionError):
            bench.recovery.resolve(resolution, job)
    assert bench.now().status is JobStatus.SUBMIT_UNKNOWN
    assert bench.recovery.resolve(resolution, bench.now()) is not None
    assert bench.entered() == ([(1, "charged")] if resolution is Resolution.CHARGED else [])


def test_second_unknown_attempt_keeps_the_first_ones_entry(bench: Bench) -> None:
    """Each attempt's unknown entry is resolved separately."""
    bench.ledger.doubt(bench.job(JobStatus.SUBMIT_UNKNOWN))
    job = unknown(bench, attempt=2)
    bench.recovery.resolve(Resolution.NOT_CHARGED, job)
    assert bench.entered() == [(1, Certainty.UNKNOWN.value)]


# --- selection -----------------------------------------------------------------------------------


def selected(bench: Bench, **wanted: Any) -> set[str]:
    """Return the ids of the selected jobs."""
    return {job.job_id for job in select(bench.jobs, JobSelection(**wanted))}


@pytest.mark.parametrize(
    ("folder", "keys"),
    [
        ("a", {"a/1", "a/b/2", "a//5", "/a/6"}),
        ("a/", {"a/1", "a/b/2", "a//5", "/a/6"}),
        ("/a/", {"a/1", "a/b/2", "a//5", "/a/6"}),
        ("a/b", {"a/b/2"}),
        ("ab", {"ab/3"}),
        ("b", set()),
        ("A", set()),
        ("a/1", set()),
        ("", {"a/1", "a/b/2", "ab/3", "4", "a//5", "/a/6"}),
        ("/", {"a/1", "a/b/2", "ab/3", "4", "a//5", "/a/6"}),
    ],
)
def test_folder(bench: Bench, folder: str, keys: set[str]) -> None:
    """A folder selects everything below it, and no folder whose name only begins like it."""
    for key in ("a/1", "a/b/2", "ab/3", "4", "a//5", "/a/6"):
        bench.job(job_id=key, source_key=key)
    assert selected(bench, folder=folder) == keys


def test_conditions_together(bench: Bench) -> None:
    """Folder, article and status must all match."""
    bench.job(job_id="yes", sku="S-1")
    bench.job(job_id="other status", sku="S-1", status=JobStatus.SUCCEEDED)
    bench.job(job_id="other article", sku="S-2")
    bench.job(job_id="no article")
    bench.job(job_id="other folder", sku="S-1", source_key="b/dress.jpg")
    failed = frozenset({JobStatus.FAILED})
    assert selected(bench, statuses=failed, folder="a", sku="S-1") == {"yes"}
    assert selected(bench, statuses=failed, folder="a") == {"yes", "other article", "no article"}
    assert selected(bench, sku="S-1", folder="a") == {"yes", "other status"}
    both = frozenset({JobStatus.FAILED, JobStatus.SUCCEEDED})
    assert selected(bench, statuses=both, sku="S-1") == {"yes", "other status", "other folder"}
    assert len(selected(bench)) == 5


def test_named_jobs(bench: Bench) -> None:
    """Named jobs are selected once each, in order, if the other conditions match."""
    for job_id in ("k", "j", "l"):
        bench.job(job_id=job_id, sku=job_id)
    found = select(bench.jobs, JobSelection(job_ids=("l", "k", "l")))
    assert [job.job_id for job in found] == ["l", "k"]
    assert selected(bench, job_ids=("l", "k"), sku="k") == {"k"}
    with pytest.raises(LookupError, match="no job 'nobody'"):
        select(bench.jobs, JobSelection(job_ids=("j", "nobody")))


def test_job_that_moves_is_met_once(bench: Bench) -> None:
    """A job that an action moves into a selected status is not selected again."""
    bench.job(JobStatus.PARTIAL)
    met = []
    for job in select(bench.jobs, JobSelection()):
        met.append(job.status)
        bench.recovery.perform(RecoveryAction.REGENERATE, job)
    assert met == [JobStatus.PARTIAL]
