"""Kills: a function's process ends by SIGKILL at a call it makes, each call once.

Each scenario is one invocation. It is run once to its end, which tells its steps: every call to
AWS and every request to the vendor, whatever the code makes of them. Then it is run anew and
killed, once for each step; what AWS delivers again is delivered again; and it must end as if
nothing had happened. Only where a POST may or may not have reached the vendor its job is parked
instead, and there it must be.
"""

import inspect
import json
import logging
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import yaml
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.server import ThreadedMotoServer
from moto.sqs.models import sqs_backends
from moto.stepfunctions.models import stepfunctions_backends

from shared.clock import utc_now
from shared.intake.arrivals import Arrivals
from shared.limits.circuit_breaker import CircuitBreaker
from shared.limits.credit_limit import CreditLimit
from shared.limits.settling import Settling
from shared.models import Job
from shared.polling.planner import KEEP_TASKS, TaskHistory
from shared.polling.rate_limit import PollRateLimiter
from shared.polling.task_history import TaskHistoryStore
from shared.records.jobs import JobRepository, job_of
from shared.records.ledger import Ledger
from shared.steps.dead_letters import DeadLetters
from shared.steps.start import Starter
from tests.factories import KEY, PHOTOS, REGION, TABLE, VARIANT, jpeg, png, requested
from tests.integration.conftest import World
from tests.integration.lambdas import How, Invocation, Lambdas, Step

pytestmark = pytest.mark.timeout(900)  # many runs in one test, on whatever machine
ROOT = Path(__file__).parents[2]
AGAIN_SECONDS = 900
"""The queue's VisibilityTimeout: a message whose invocation was killed comes again after it, when
the lease that the invocation held is over."""
PHOTO = "a/dress.jpg"
KILLED = -signal.SIGKILL
ORDER = (
    "ACCEPTED",
    "SUBMITTING",
    "SUBMIT_UNKNOWN",
    "RUNNING",
    "SUCCEEDED",
    "PARTIAL",
    "FAILED",
    "REJECTED",
)
"""No job goes back in it."""


class Stack(World):
    """The deployed stack, with functions in processes that can be killed."""

    lambdas: Lambdas
    heard: tuple[Mapping[str, Any], ...] = ()
    """The details of all events so far."""

    def renew(self) -> None:
        """Begin anew: nothing has happened yet."""
        # moto's server and its doubles in this process are one AWS.
        httpx.post(f"{self.lambdas.endpoint_url}/moto-api/reset").raise_for_status()
        self.aws._counter[:] = [0]  # the same drops once more
        self.aws.build()
        self.vendor.reset()
        self.vendor.settings(api_key=KEY)
        self.offset = timedelta()
        self.heard = ()

    def listen(self) -> None:
        """Hear the events that are out; the record must already say what they tell."""
        jobs = {job.job_id: job for job in self.all_jobs()}
        for detail in [event["detail"] for event in self.aws.told()]:
            self.heard += (detail,)
            job = jobs[detail["jobId"]]
            written, told = ORDER.index(job.status), ORDER.index(detail["status"])
            assert job.attempt > detail["attempt"] or written >= told

    def start(
        self, function: str, event: Any, *, at: int | str | None = None, how: How = "before"
    ) -> Invocation:
        """Invoke a function in a process of its own, and say what became of it."""
        seconds = self.offset.total_seconds()
        return self.lambdas.invoke(
            function, event, self.environment, seconds=seconds, at=at, how=how
        )

    def photo(self, key: str = PHOTO, **metadata: str) -> str:
        """Drop a photo and return the message about it."""
        return json.dumps(self.aws.drop(key, jpeg(), metadata))

    def evening(self) -> None:
        """Let it be half an hour before the end of the day."""
        now = utc_now()
        midnight = datetime.combine(now.date() + timedelta(days=1), time(), UTC)
        self.sleep((midnight - now).total_seconds() - 1800)

    def all_jobs(self) -> list[Job]:
        """Return all records."""
        return [job_of(item) for item in self.aws.records() if item["pk"]["S"].startswith("JOB#")]

    def settle(self, ends: str) -> "End":
        """Let everything that is under way come to its end, or to a wait loop."""
        self.deliver()
        for job in self.all_jobs():
            if job.status == "RUNNING":
                assert self.input_of(job)["task_id"] == job.task_id
                if ends != "RUNNING":
                    self.run(job)
        assert self.dead == []
        self.listen()
        return End(
            jobs={job.job_id: job for job in self.all_jobs()},
            charges=self.vendor.charges().total,
            ledger={
                item["pk"]["S"]: item["certainty"]["S"]
                for item in self.aws.records()
                if item["pk"]["S"].startswith("CREDIT#")
            },
            told=Counter(
                (detail["jobId"], f"{detail['attempt']} {detail['status']}")
                for detail in self.heard
                if "paused" not in detail
            ),
        )


@dataclass(frozen=True)
class End:
    """What the world looks like when everything is done."""

    jobs: Mapping[str, Job]
    charges: int
    ledger: Mapping[str, str]
    """Whether each attempt was charged, as the ledger says."""
    told: Counter[tuple[str, str]]
    """How often each job's statuses were told of: by job, attempt and status."""

    def facts(self, job_id: str) -> tuple[object, ...]:
        """Return what must be the same about a job whatever happened on its way."""
        job = self.jobs[job_id]
        code = job.error.code if job.error else None
        return job.status, job.attempt, job.credits, len(job.results), code


# --- scenarios -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scenario:
    """An invocation, and how all its jobs must end wherever it is killed."""

    name: str
    begin: Callable[[Stack], list[Any]]
    """Does what comes before it; returns SubmitFunction's messages, or the other's event."""
    ends: str = "SUCCEEDED"
    """RUNNING where it is enough that the wait loop goes on, as it does in another scenario."""
    function: str = "submit"
    parameters: Mapping[str, str] = field(default_factory=dict)

    def event(self, stack: Stack, given: Sequence[Any]) -> Any:
        """Return what the function is given."""
        return stack.batch(*given) if self.function == "submit" else given[0]


def drop(stack: Stack) -> list[Any]:
    return [stack.photo()]


def drop_with(fault: str, **params: Any) -> Callable[[Stack], list[Any]]:
    def begin(stack: Stack) -> list[Any]:
        stack.vendor.fault("create", fault, **params)
        return [stack.photo()]

    return begin


def batch(stack: Stack) -> list[Any]:
    return [stack.photo("a.jpg"), stack.photo("b.jpg")]


def request(stack: Stack) -> list[Any]:
    """A backend asks for two variants of a photo with a mask, a folder file and a long header."""
    stack.aws.drop(PHOTO, jpeg(before_frame=70_000))
    stack.aws.drop("a/dress.mask.png", png())
    stack.aws.drop("a/catwalk.json", b'{"sku": "S-1"}')
    variants = [{**VARIANT, "batchSize": size} for size in (1, 2)]
    event = requested({"requestId": "r-1", "photo": {"key": PHOTO}, "variants": variants})
    return [json.dumps(event)]


def empty_photo(stack: Stack) -> list[Any]:
    return [json.dumps(stack.aws.drop(PHOTO, b""))]


def last_credit(stack: Stack) -> list[Any]:
    stack.evening()
    return [stack.photo()]


def spent_up(stack: Stack) -> list[Any]:
    stack.evening()
    stack.deliver(stack.photo("first.jpg"))
    return [stack.photo()]


def third_unanswered(stack: Stack) -> list[Any]:
    stack.vendor.fault("create", "lost_response", times=3)
    stack.submit(stack.photo("first.jpg"), stack.photo("second.jpg"))
    return [stack.photo()]


def probe(stack: Stack, *, refusals: int) -> list[Any]:
    """After a pause, one photo is tried; the one that met the trouble waits in the queue."""
    stack.vendor.fault("create", "status", status=429, times=refusals)
    stack.submit(stack.photo("first.jpg"))
    stack.sleep(60)
    return [stack.photo()]


def suspected(stack: Stack, tries: int, **refusal: Any) -> list[Any]:
    """A photo was refused so many times, and each time another one went through."""
    stack.vendor.fault("read", "task_error", times=None)  # all photos end alike
    message = stack.photo()
    for number in range(tries):
        stack.vendor.fault("create", **refusal)
        stack.submit(message)
        ((message, _),) = stack.queued()
        stack.submit(stack.photo(f"other-{number}.jpg"))
        stack.sleep(900)
    stack.vendor.fault("create", **refusal)
    return [message]


def early(stack: Stack) -> list[Any]:
    """Another photo was refused a moment ago: this one is tried in the middle of the pause."""
    stack.vendor.fault("create", "bad_key")
    stack.submit(stack.photo("first.jpg"))
    return [stack.photo()]


def paced(stack: Stack, **refusal: Any) -> list[Any]:
    """The vendor has throttled, submits take turns, and others are before this photo."""
    (photo,) = probe(stack, refusals=1)
    stack.deliver()
    stack.aws.dynamodb.update_item(
        TableName=TABLE,
        Key={"pk": {"S": "CONTROL#submit"}},
        UpdateExpression="SET pace_slot = :slot",
        ExpressionAttributeValues={":slot": {"N": str(utc_now().timestamp() + 5)}},
    )
    if refusal:
        stack.vendor.fault("create", "status", status=429, **refusal)
    return [photo]


def lease_over(stack: Stack) -> list[Any]:
    """The invocation before this one was killed when the vendor had just answered."""
    body = stack.photo()
    assert stack.start("submit", stack.batch(body), at="POST", how="after").exit == KILLED
    stack.sleep(AGAIN_SECONDS)
    return [body]


def dropped_again(stack: Stack) -> list[Any]:
    """The same bytes are dropped again after the vendor refused them."""
    stack.vendor.fault("create", "status", status=400)
    stack.submit(stack.photo())
    return [stack.photo()]


def dropped_after_a_stop(stack: Stack) -> list[Any]:
    """The same bytes are dropped again after their execution was stopped: the task is paid."""
    stack.finalize(stopped(stack)[0])
    return [stack.photo()]


def dropped_twice(stack: Stack) -> list[Any]:
    """The same bytes are dropped again while their task is running."""
    stack.submit(stack.photo())
    return [stack.photo()]


def dropped_long_ago(stack: Stack) -> list[Any]:
    """The message of a drop comes again, when its arrival is half forgotten."""
    message = stack.photo()
    stack.submit(message)
    stack.sleep(40 * 86_400)
    return [message]


def polled(stack: Stack, fault: str | None = None, **params: Any) -> list[Any]:
    if fault is not None:
        stack.vendor.fault("read", fault, **params)
    stack.submit(stack.photo())
    return [stack.input_of(stack.job())]


def much_learnt(stack: Stack) -> Any:
    """The task is done, and with it there is more to remember than shall be kept."""
    taught = TaskHistory(KEEP_TASKS - 0.5, {100: KEEP_TASKS - 0.5})
    TaskHistoryStore(stack.aws.dynamodb, TABLE).add("original#1", taught)
    return polled(stack)


def late(stack: Stack) -> list[Any]:
    (state,) = polled(stack, "stuck", times=None)
    stack.sleep(7200)
    return [state]


def finished(stack: Stack, fault: str | None = None, **params: Any) -> list[Any]:
    """A task with two results is finished; the fault is met when they are taken."""
    stack.submit(stack.photo(**{"batch-size": "2"}))
    state = stack.poll(stack.input_of(stack.job()))
    assert state["outcome"] == "finalize"
    if fault is not None:
        stack.vendor.fault("download", fault, **params)
    return [state]


def gone_wrong(stack: Stack) -> list[Any]:
    """The state machine has caught something unexpected."""
    return [{**polled(stack)[0], "failure": {"Error": "Lambda.Unknown", "Cause": "x"}}]


def stopped(stack: Stack) -> list[Any]:
    """EventBridge tells that somebody stopped the execution."""
    detail = {"status": "ABORTED", "input": json.dumps(polled(stack)[0])}
    return [{"detail-type": "Step Functions Execution Status Change", "detail": detail}]


def ended_untold(stack: Stack) -> list[Any]:
    """The invocation before this one was killed when the record had just said how it ended."""
    (event,) = gone_wrong(stack)
    assert stack.start("finalize", event, at="PutEvents", how="before").exit == KILLED
    return [event]


def still(lost: Callable[[Stack], object]) -> Callable[[Stack], list[Any]]:
    """Let something be lost, and an hour pass."""

    def begin(stack: Stack) -> list[Any]:
        lost(stack)
        stack.queued()
        stack.sleep(3_600)
        return [{}]

    return begin


def cut(at: str, how: How) -> Callable[..., object]:
    """Let SubmitFunction be killed, and its message be lost."""

    def lose(stack: Stack, message: str | None = None) -> None:
        batch = stack.batch(message or stack.photo())
        assert stack.start("submit", batch, at=at, how=how).exit == KILLED

    return lose


def claims_lost(stack: Stack) -> None:
    """A request was decided, and SubmitFunction was killed before its jobs had records."""
    (message,) = request(stack)
    cut("PutItem", "after")(stack, message)


def stop(stack: Stack) -> None:
    """The execution is stopped by hand, and the event about it is lost."""
    stack.submit(stack.photo())
    execution_arn = stack.job().execution_arn
    assert execution_arn is not None
    stack.aws.executions.stop_execution(executionArn=execution_arn)


def execution_gone(stack: Stack) -> None:
    """The execution has ended so long ago that nobody knows it any more."""
    stack.submit(stack.photo())
    (machine,) = stepfunctions_backends[DEFAULT_ACCOUNT_ID][REGION].state_machines
    machine.executions.clear()


def dead_letter(stack: Stack, message: str) -> None:
    stack.aws.sqs.send_message(QueueUrl=stack.aws.dead_letter_url, MessageBody=message)


def dead_request(stack: Stack) -> None:
    """The message of a request never came to anything."""
    detail = {"photo": {"url": "https://example.com/dress.jpg"}, "variants": [VARIANT]}
    dead_letter(stack, json.dumps(requested(detail)))


def dead_after(invoke: Callable[[Stack, str], object]) -> Callable[[Stack], object]:
    """A photo's message ends in the dead-letter queue, after an invocation with it."""

    def lose(stack: Stack) -> None:
        message = stack.photo()
        invoke(stack, message)
        dead_letter(stack, message)

    return lose


def photo_gone(stack: Stack) -> list[Any]:
    """The photo waits since the vendor throttles, and is deleted meanwhile."""
    stack.vendor.fault("create", "status", status=429)
    stack.submit(stack.photo())
    ((message, _),) = stack.queued()
    stack.sleep(60)
    (version,) = stack.aws.s3.list_object_versions(Bucket=PHOTOS)["Versions"]
    stack.aws.s3.delete_object(Bucket=PHOTOS, Key=PHOTO, VersionId=version["VersionId"])
    return [message]


LIMIT = {"DAILY_CREDIT_LIMIT": "9"}
LAST = {"DAILY_CREDIT_LIMIT": "1"}
AGAIN = {"ON_UNKNOWN_SUBMIT": "resubmit"}
BLOCKED: dict[str, Any] = {"match": {"result_index": 1}, "times": None}

DENIED: dict[str, Any] = {"fault": "html", "status": 403}
BAD_KEY: dict[str, Any] = {"fault": "bad_key"}
DROP = Scenario("drop", drop)
POLL = Scenario("poll: done", polled, function="poll")
FINALIZE = Scenario("finalize", finished, function="finalize")
SCENARIOS: Final = (
    DROP,
    Scenario("batch", batch, "RUNNING"),
    Scenario("request", request, "RUNNING"),
    Scenario("empty photo", empty_photo, "REJECTED"),
    Scenario("refused", drop_with("status", status=400), "FAILED", parameters=LIMIT),
    Scenario("throttled", drop_with("status", status=429), "RUNNING", parameters=LIMIT),
    Scenario("bad key", drop_with("bad_key"), "RUNNING"),
    Scenario("denied", drop_with("html", status=403), "RUNNING", parameters=LIMIT),
    Scenario("early", early, "RUNNING"),
    Scenario("denied once more", partial(suspected, tries=2, **DENIED), "FAILED"),
    Scenario("refused though another is not", partial(suspected, tries=1, **BAD_KEY), "RUNNING"),
    Scenario("unanswered", drop_with("lost_response"), "SUBMIT_UNKNOWN"),
    Scenario("third unanswered", third_unanswered, "SUBMIT_UNKNOWN"),
    Scenario("resubmitted", drop_with("lost_response"), "RUNNING", parameters=AGAIN),
    Scenario("lease over", lease_over, "SUBMIT_UNKNOWN"),
    Scenario("last credit", last_credit, "RUNNING", parameters=LAST),
    Scenario("spent up", spent_up, "RUNNING", parameters=LAST),
    Scenario("probe passes", partial(probe, refusals=1), "RUNNING"),
    Scenario("probe fails", partial(probe, refusals=2), "RUNNING"),
    Scenario("paced", paced, "RUNNING"),
    Scenario("paced and refused", partial(paced, headers={"Retry-After": "1"}), "RUNNING"),
    Scenario("dropped again", dropped_again, "RUNNING"),
    Scenario("photo gone", photo_gone, "REJECTED"),
    Scenario("dropped twice", dropped_twice, "RUNNING"),
    Scenario("poll: running", partial(polled, fault="unknown_status"), function="poll"),
    Scenario("poll: throttled", partial(polled, fault="status", status=429), function="poll"),
    POLL,
    Scenario("poll: much learnt", much_learnt, function="poll"),
    Scenario("poll: error", partial(polled, fault="task_error"), "FAILED", "poll"),
    Scenario("poll: late", late, "FAILED", "poll", {"TASK_TIMEOUT_SECONDS": "3600"}),
    Scenario("poll: ended", ended_untold, "FAILED", "poll"),
    FINALIZE,
    Scenario("expired", partial(finished, fault="expired_url", urls=1), function="finalize"),
    Scenario("unavailable", partial(finished, fault="lost_response"), function="finalize"),
    Scenario("blocked", partial(finished, fault="redirect", **BLOCKED), "PARTIAL", "finalize"),
    Scenario(
        "too large",
        partial(finished, fault="oversize", bytes=9_000_000, **BLOCKED),
        "PARTIAL",
        "finalize",
        {"MAX_RESULT_BYTES": "8500000"},
    ),
    Scenario("gone wrong", gone_wrong, "FAILED", "finalize"),
    Scenario("stopped", stopped, "FAILED", "finalize"),
    Scenario("ended", ended_untold, "FAILED", "finalize"),
    Scenario("drop lost", still(Stack.photo), function="reconcile", parameters=LIMIT),
    Scenario("message lost", still(cut("GetSecretValue", "before")), function="reconcile"),
    Scenario("start lost", still(cut("StartExecution", "before")), function="reconcile"),
    Scenario("submit lost", still(cut("POST", "after")), "SUBMIT_UNKNOWN", "reconcile"),
    Scenario("end untold", still(ended_untold), "FAILED", "reconcile"),
    Scenario("stop unseen", still(stop), "FAILED", "reconcile"),
    Scenario("execution gone", still(execution_gone), function="reconcile"),
    Scenario("dead letter", still(dead_request), "FAILED", "reconcile"),
    Scenario("dead letter of a job", still(dead_after(Stack.submit)), function="reconcile"),
    Scenario(
        "dead letter of a message lost",
        still(dead_after(cut("GetSecretValue", "before"))),
        "FAILED",
        "reconcile",
    ),
    Scenario("dropped again after a stop", dropped_after_a_stop, "RUNNING"),
    Scenario("dropped long ago", dropped_long_ago, "RUNNING"),
    Scenario("claims lost", still(claims_lost), "RUNNING", "reconcile"),
    Scenario("new bucket", drop, "RUNNING", parameters={"SETTLING_SECONDS": "960"}),
)
TWICE = [
    scenario
    for scenario in SCENARIOS
    if scenario.name
    in {"drop", "resubmitted", "lease over", "last credit", "probe passes", "finalize"}
]
"""Where two at the same time could spend twice, or tell of two ends."""
ALL_KILLS: Final = "CATWALK_ALL_KILLS" in os.environ
"""`make kills`: all that the tests below can do, where `make test` does what is most dangerous."""
LONGER: Final = {"resubmitted", "last credit", "poll: done", "probe passes"}
"""Scenarios whose reads, or whose invocations at the same time, are for `make kills`: `drop`,
`lease over` and `finalize` go through the same code."""


def now(scenarios: Sequence[Scenario]) -> list[Scenario]:
    """Return which of these scenarios are for this test run."""
    return [scenario for scenario in scenarios if ALL_KILLS or scenario.name not in LONGER]


WHOLE: Final = {"drop", "unanswered", "lease over", "poll: done", "finalize"}
"""Scenarios that `make test`, too, kills after every change; the others after every fourth one and
the last, `make kills` after each: most of their changes are made by the same code as these'."""
STRIDE: Final = 4


def killed_here(scenario: Scenario, changes: Sequence[int]) -> list[int]:
    """Return which changes of a scenario this test run kills it after."""
    if ALL_KILLS or scenario.name in WHOLE:
        return list(changes)
    return sorted({*changes[SCENARIOS.index(scenario) % STRIDE :: STRIDE], changes[-1]})


each_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)


# --- what AWS does -------------------------------------------------------------------------------


def go_on(stack: Stack, scenario: Scenario, invocation: Invocation) -> None:
    """Go on after an invocation that returned."""
    assert (invocation.raised, invocation.exit) == (None, 0)
    if scenario.function == "submit":
        assert invocation.returned == {"batchItemFailures": []}
    elif scenario.function != "reconcile":
        stack.go_on(invocation.returned)


def come_again(stack: Stack, scenario: Scenario, given: Sequence[Any]) -> None:
    """Go on after an invocation that was killed."""
    if scenario.function == "submit":
        stack.sleep(AGAIN_SECONDS)
        stack.deliver(*given)
    elif scenario.function == "reconcile":
        stack.sleep(3_600)
        for letter in sqs_backends[DEFAULT_ACCOUNT_ID][REGION].queues["dead"]._messages:
            letter.visible_at = 0  # an hour ago it was looked at
        stack.invoke("reconcile", *given)
    else:
        stack.go_on(stack.invoke(scenario.function, given[0]))


# --- tests ---------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def lambdas(aws_environment: None) -> Iterator[Lambdas]:
    """Run moto as a server, and the functions in processes that call it."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        with Lambdas(f"http://{host}:{port}") as running:
            yield running
    finally:
        server.stop()
        assert server._server is not None
        server._server.server_close()


Deploy = Callable[[Scenario], Stack]


@pytest.fixture
def deployed(deploy: Callable[..., Stack], lambdas: Lambdas) -> Deploy:
    """Deploy the stack as a scenario wants it."""

    def build(scenario: Scenario) -> Stack:
        # The secret's ARN would be another one each time that everything begins anew.
        stack = deploy(Stack, API_KEY_SECRET="key", DEFAULT_BATCH_SIZE="1", **scenario.parameters)
        stack.lambdas = lambdas
        return stack

    return build


def whole_run(stack: Stack, scenario: Scenario) -> tuple[Sequence[Step], End]:
    """Run a scenario without a kill; return its steps and its end."""
    given = scenario.begin(stack)
    invocation = stack.start(scenario.function, scenario.event(stack, given))
    go_on(stack, scenario, invocation)
    return invocation.steps, stack.settle(scenario.ends)


@each_scenario
def test_killed_at_any_step(deployed: Deploy, recorded: "Recorded", scenario: Scenario) -> None:
    """A kill anywhere changes nothing at the end, or parks the one job whose POST was open."""
    stack = deployed(scenario)
    steps, whole = whole_run(stack, scenario)
    recorded.keep(scenario, steps)
    assert {job.status for job in whole.jobs.values()} == {scenario.ends}
    # Nothing leaves the process between two steps, and a read changes nothing: a kill before a
    # change, or at a read, is one after the change before it.
    changes = [number for number, step in enumerate(steps) if not step.reads]
    after = killed_here(scenario, changes)
    kills: list[tuple[int, How]] = [
        (changes[0], "before"),
        *((number, "after") for number in after),
    ]
    for number, how in kills:
        with where(f"killed {how} step {number}, {steps[number]}"):
            kill(stack, scenario, whole, number, how)


@pytest.mark.parametrize("scenario", now([DROP, POLL, FINALIZE]), ids=lambda given: given.name)
def test_killed_at_any_read(deployed: Deploy, scenario: Scenario) -> None:
    """A kill at a step that only reads is no different."""
    stack = deployed(scenario)
    steps, whole = whole_run(stack, scenario)
    for number, step in enumerate(steps):
        if step.reads:
            with where(f"killed before step {number}, {step}"):
                kill(stack, scenario, whole, number, "before")


def kill(stack: Stack, scenario: Scenario, whole: End, number: int, how: How) -> None:
    """Run a scenario anew with a kill at a step, and compare its end with the one without."""
    stack.renew()
    given = scenario.begin(stack)
    killed = stack.start(scenario.function, scenario.event(stack, given), at=number, how=how)
    assert killed.exit == KILLED
    stack.listen()
    come_again(stack, scenario, given)
    done = killed.steps if how == "after" else killed.steps[:-1]
    check(scenario, whole, stack.settle(scenario.ends), parked=open_submit(done))


def check(scenario: Scenario, whole: End, end: End, *, parked: str | None) -> None:
    """Compare an end after a kill with the end without one."""
    assert end.jobs.keys() == whole.jobs.keys()
    assert end.charges <= sum(job.attempt for job in end.jobs.values())
    for job_id in end.jobs.keys() - {parked}:
        assert end.facts(job_id) == whole.facts(job_id)
    if parked is None:
        assert end.charges == whole.charges
        assert end.ledger == whole.ledger
        assert end.told.keys() == whole.told.keys()
        # What was told of just before the kill, but not noted, is told of again.
        assert end.told.total() <= whole.told.total() + 1
        return
    job = end.jobs[parked]
    assert any(key[0] == parked and key[1].endswith(" SUBMIT_UNKNOWN") for key in end.told)
    if "ON_UNKNOWN_SUBMIT" in scenario.parameters:
        assert job.status == scenario.ends
        assert job.attempt > 1
    else:
        assert job.status == "SUBMIT_UNKNOWN"
        assert end.charges in {whole.charges - 1, whole.charges}


@pytest.mark.parametrize("scenario", now(TWICE), ids=lambda scenario: scenario.name)
def test_two_at_the_same_time(deployed: Deploy, scenario: Scenario) -> None:
    """While an invocation stands still at any step, another does the same: nothing changes."""
    stack = deployed(scenario)
    steps, whole = whole_run(stack, scenario)
    for number, step in enumerate(steps):
        if step.reads:
            continue
        with where(f"stood still before step {number}, {step}"):
            stack.renew()
            given = scenario.begin(stack)
            event = scenario.event(stack, given)
            paused = stack.start(scenario.function, event, at=number, how="pause")
            assert paused.paused
            stack.invoke(scenario.function, event)
            go_on(stack, scenario, stack.lambdas.resume(paused))
            check(scenario, whole, stack.settle(scenario.ends), parked=None)


def open_submit(done: Sequence[Step]) -> str | None:
    """Return the job whose POST may or may not be out when these steps were made."""
    job_id = None
    for step in done:
        if step.item is not None and step.item.startswith("JOB#"):
            submitting = "jobs.mark_submitting" in step.callers
            job_id = step.item.removeprefix("JOB#") if submitting else None
    return job_id


@contextmanager
def where(text: str) -> Iterator[None]:
    """Say where it happened if something is wrong."""
    try:
        yield
    except BaseException as error:
        error.add_note(text)
        raise


# --- whether a scenario was forgotten ------------------------------------------------------------

BY_OTHERS = {
    # What Lambda itself does with SubmitQueue, in SubmitFunction's name.
    *("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"),
    # Logs and traces are written by Lambda; listing tells a missing object from a forbidden one.
    *("logs:CreateLogStream", "logs:PutLogEvents", "s3:ListBucket"),
    *("xray:PutTraceSegments", "xray:PutTelemetryRecords"),
    # Versions are listed where a folder file or a mask changed while the message waited. S3 counts
    # in seconds, which is too long to wait for here: tests/unit/test_intake.py.
    "s3:ListBucketVersions",
}
AS_IAM_SAYS = {
    "s3:HeadObject": "s3:GetObject",
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:UploadPart": "s3:PutObject",
    "s3:ListObjectVersions": "s3:ListBucketVersions",
}
CLASSES: Final = (
    Arrivals,
    CircuitBreaker,
    DeadLetters,
    TaskHistoryStore,
    JobRepository,
    Ledger,
    PollRateLimiter,
    CreditLimit,
    Settling,
    Starter,
)
"""What writes to JobsTable or starts executions."""
BY_PEOPLE = {"jobs.forget_dead_letter"}
"""What is called for the command line alone."""
PURE = {"arrivals.expiry"}
"""What calls nothing of AWS."""


@dataclass(frozen=True)
class Recorded:
    """The steps of the scenarios that some process of this test run has gone through."""

    folder: Path

    def keep(self, scenario: Scenario, steps: Sequence[Step]) -> None:
        """Note the steps of a scenario, for whichever process asks for them."""
        part = self.folder / f"{scenario.name}.part"
        part.write_text(json.dumps([asdict(step) for step in steps]))
        part.replace(self._file(scenario))

    def steps_of(self, scenario: Scenario) -> Sequence[Step] | None:
        """Return the steps of a scenario, if it has been gone through."""
        if not self._file(scenario).exists():
            return None
        steps = json.loads(self._file(scenario).read_text())
        return [Step(**{**step, "callers": tuple(step["callers"])}) for step in steps]

    def _file(self, scenario: Scenario) -> Path:
        return self.folder / f"{scenario.name}.json"


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Share the recorded steps with the other processes of this test run."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # each worker has a folder of its own in that of the run
    (folder / "steps").mkdir(exist_ok=True)
    return Recorded(folder / "steps")


def steps_of(stack: Stack, scenario: Scenario) -> Sequence[Step]:
    """Return the steps of a scenario's invocation."""
    stack.renew()
    invocation = stack.start(scenario.function, scenario.event(stack, scenario.begin(stack)))
    assert invocation.raised is None
    return invocation.steps


class _Template(yaml.SafeLoader):
    """Reads a template; of its own tags, what they are given."""


_Template.add_multi_constructor("!", lambda _loader, _tag, node: node.value)


def allowed_actions() -> dict[str, set[str]]:
    """Return what the role of each function allows, by the function's folder."""
    loader = _Template((ROOT / "template.yaml").read_text())
    try:
        resources = loader.get_single_data()["Resources"]
    finally:
        loader.dispose()
    allowed: dict[str, set[str]] = {}
    for resource in resources.values():
        if resource["Type"] == "AWS::Serverless::Function":
            role = resources[resource["Properties"]["Role"].removesuffix(".Arn")]
            actions = allowed.setdefault(resource["Properties"]["Handler"].split(".")[1], set())
            for statement in role["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]:
                action = statement["Action"]
                actions |= {action} if isinstance(action, str) else set(action)
    return allowed


def called_methods() -> set[str]:
    """Return what of `CLASSES` the functions' code calls: `jobs.claim`."""
    texts = {path.stem: path.read_text() for path in (ROOT / "shared").rglob("*.py")}
    return {
        f"{module}.{name}"
        for cls in CLASSES
        for module in [cls.__module__.rpartition(".")[2]]
        for name, _ in inspect.getmembers(cls, inspect.isfunction)
        if not name.startswith(("_", "of_"))  # whose queries are made by who goes through them
        and any(f".{name}(" in text for stem, text in texts.items() if stem != module)
    }


def test_no_scenario_is_missing(deployed: Deploy, recorded: Recorded) -> None:
    """What a role allows, and what is written to the table, is a step that is cut off above."""
    used: dict[str, set[str]] = {}
    callers: set[str] = set()
    for scenario in SCENARIOS:
        for step in recorded.steps_of(scenario) or steps_of(deployed(scenario), scenario):
            action = f"{step.service}:{step.operation}"
            actions = used.setdefault(scenario.function, set())
            actions.add(AS_IAM_SAYS.get(action, action))
            if step.versioned:
                actions.add(f"{action}Version")
            callers.update(step.callers)
    unused = {name: actions - used[name] - BY_OTHERS for name, actions in allowed_actions().items()}
    assert unused == {name: set() for name in used}
    assert called_methods() - callers - BY_PEOPLE - PURE == set()
