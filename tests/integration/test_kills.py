"""Kills a function's process by SIGKILL at each call that it makes.

Each scenario is one invocation. First it runs to its end, which records its steps: each call to AWS
and each request to the vendor. Then the scenario starts again for each step, the process is killed
there, and AWS's redelivery is simulated. The result must be the same as without a kill. The only
exception is a kill while a POST may have reached the vendor: then the job must be parked.
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
from tests.thorough import THOROUGH

pytestmark = pytest.mark.timeout(900)  # one test has many runs, and machines may be slow
ROOT = Path(__file__).parents[2]
AGAIN_SECONDS = 900
"""The queue's VisibilityTimeout. A message whose invocation was killed is delivered again after it;
by then, the invocation's lease has expired."""
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
"""A job's status never moves backwards in this order."""


class Stack(World):
    """The deployed stack; its functions run in processes that can be killed."""

    lambdas: Lambdas
    heard: tuple[Mapping[str, Any], ...] = ()
    """The details of all events that were published so far."""

    def renew(self) -> None:
        """Reset AWS, the vendor and the clock."""
        # moto's server shares its state with the moto of this process.
        httpx.post(f"{self.lambdas.endpoint_url}/moto-api/reset").raise_for_status()
        self.aws._counter[:] = [0]  # the drops get the same sequencers again
        self.aws.build()
        self.vendor.reset()
        self.vendor.settings(api_key=KEY)
        self.offset = timedelta()
        self.heard = ()

    def listen(self) -> None:
        """Take the new events; each record must already have the status that its event has."""
        jobs = {job.job_id: job for job in self.all_jobs()}
        for detail in [event["detail"] for event in self.aws.told()]:
            self.heard += (detail,)
            job = jobs[detail["jobId"]]
            written, told = ORDER.index(job.status), ORDER.index(detail["status"])
            assert job.attempt > detail["attempt"] or written >= told

    def start(
        self, function: str, event: Any, *, at: int | str | None = None, how: How = "before"
    ) -> Invocation:
        """Invoke a function in its own process; return the state of the invocation."""
        seconds = self.offset.total_seconds()
        return self.lambdas.invoke(
            function, event, self.environment, seconds=seconds, at=at, how=how
        )

    def photo(self, key: str = PHOTO, **metadata: str) -> str:
        """Drop a photo; return its message."""
        return json.dumps(self.aws.drop(key, jpeg(), metadata))

    def evening(self) -> None:
        """Move the clock to half an hour before midnight, UTC."""
        now = utc_now()
        midnight = datetime.combine(now.date() + timedelta(days=1), time(), UTC)
        self.sleep((midnight - now).total_seconds() - 1800)

    def all_jobs(self) -> list[Job]:
        """Return all records."""
        return [job_of(item) for item in self.aws.records() if item["pk"]["S"].startswith("JOB#")]

    def settle(self, ends: str) -> "End":
        """Run every job to its end, or to RUNNING if that is how the scenario ends."""
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
    """The state when all jobs have ended."""

    jobs: Mapping[str, Job]
    charges: int
    ledger: Mapping[str, str]
    """The certainty of each charge in the ledger, by key."""
    told: Counter[tuple[str, str]]
    """How often each event was published, by job, and attempt with status."""

    def facts(self, job_id: str) -> tuple[object, ...]:
        """Return what must be the same about a job with and without a kill."""
        job = self.jobs[job_id]
        code = job.error.code if job.error else None
        return job.status, job.attempt, job.credits, len(job.results), code


# --- scenarios -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scenario:
    """An invocation, and the status in which its jobs must end wherever it is killed."""

    name: str
    begin: Callable[[Stack], list[Any]]
    """Prepares the stack; returns SubmitFunction's messages, or the event of another function."""
    ends: str = "SUCCEEDED"
    """RUNNING if the rest of the way is the same as in another scenario."""
    function: str = "submit"
    parameters: Mapping[str, str] = field(default_factory=dict)

    def event(self, stack: Stack, given: Sequence[Any]) -> Any:
        """Return the event of the function."""
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
    stack.aws.drop("a/dress.mask.png", png())
    stack.aws.drop("a/catwalk.json", b'{"sku": "S-1"}')
    # Last: S3 dates objects in whole seconds, and a photo has the settings of its own moment.
    stack.aws.drop(PHOTO, jpeg(before_frame=70_000))
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
    """A pause is over and one photo is tried; the photo that started the pause waits."""
    stack.vendor.fault("create", "status", status=429, times=refusals)
    stack.submit(stack.photo("first.jpg"))
    stack.sleep(60)
    return [stack.photo()]


def suspected(stack: Stack, tries: int, **refusal: Any) -> list[Any]:
    """A photo was refused `tries` times, and each time another photo was accepted after it."""
    stack.vendor.fault("read", "task_error", times=None)  # all photos end in the same way
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
    """Another photo was refused a moment ago, and this one is tried during the pause."""
    stack.vendor.fault("create", "bad_key")
    stack.submit(stack.photo("first.jpg"))
    return [stack.photo()]


def paced(stack: Stack, **refusal: Any) -> list[Any]:
    """The vendor has throttled, submits are rate limited, and other photos come first."""
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
    """The earlier invocation was killed just after the vendor's answer."""
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
    """The same bytes are dropped again after their execution was stopped; the task is paid."""
    stack.finalize(stopped(stack)[0])
    return [stack.photo()]


def dropped_twice(stack: Stack) -> list[Any]:
    """The same bytes are dropped again while their task is running."""
    stack.submit(stack.photo())
    return [stack.photo()]


def dropped_long_ago(stack: Stack) -> list[Any]:
    """The message of a drop is delivered again after 40 days."""
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
    """The task is done, and the task history is full."""
    taught = TaskHistory(KEEP_TASKS - 0.5, {100: KEEP_TASKS - 0.5})
    TaskHistoryStore(stack.aws.dynamodb, TABLE).add("original#1", taught)
    return polled(stack)


def late(stack: Stack) -> list[Any]:
    (state,) = polled(stack, "stuck", times=None)
    stack.sleep(7200)
    return [state]


def finished(stack: Stack, fault: str | None = None, **params: Any) -> list[Any]:
    """A task with two results is finished; the fault occurs at their download."""
    stack.submit(stack.photo(**{"batch-size": "2"}))
    state = stack.poll(stack.input_of(stack.job()))
    assert state["outcome"] == "finalize"
    if fault is not None:
        stack.vendor.fault("download", fault, **params)
    return [state]


def gone_wrong(stack: Stack) -> list[Any]:
    """The state machine has caught an unexpected error."""
    return [{**polled(stack)[0], "failure": {"Error": "Lambda.Unknown", "Cause": "x"}}]


def stopped(stack: Stack) -> list[Any]:
    """An event says that somebody stopped the execution."""
    detail = {"status": "ABORTED", "input": json.dumps(polled(stack)[0])}
    return [{"detail-type": "Step Functions Execution Status Change", "detail": detail}]


def ended_untold(stack: Stack) -> list[Any]:
    """The earlier invocation was killed after the record's last status and before its event."""
    (event,) = gone_wrong(stack)
    assert stack.start("finalize", event, at="PutEvents", how="before").exit == KILLED
    return [event]


def still(lost: Callable[[Stack], object]) -> Callable[[Stack], list[Any]]:
    """Return a scenario in which something is lost and an hour passes."""

    def begin(stack: Stack) -> list[Any]:
        lost(stack)
        stack.queued()
        stack.sleep(3_600)
        return [{}]

    return begin


def cut(at: str, how: How) -> Callable[..., object]:
    """Return a function that kills SubmitFunction and loses its message."""

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
    """The execution ended so long ago that Step Functions has forgotten it."""
    stack.submit(stack.photo())
    (machine,) = stepfunctions_backends[DEFAULT_ACCOUNT_ID][REGION].state_machines
    machine.executions.clear()


def dead_letter(stack: Stack, message: str) -> None:
    stack.aws.sqs.send_message(QueueUrl=stack.aws.dead_letter_url, MessageBody=message)


def dead_request(stack: Stack) -> None:
    """A request's message is a dead letter, and it has no job yet."""
    detail = {"photo": {"url": "https://example.com/dress.jpg"}, "variants": [VARIANT]}
    dead_letter(stack, json.dumps(requested(detail)))


def dead_after(invoke: Callable[[Stack, str], object]) -> Callable[[Stack], object]:
    """Return a function that invokes with a photo's message and makes it a dead letter."""

    def lose(stack: Stack) -> None:
        message = stack.photo()
        invoke(stack, message)
        dead_letter(stack, message)

    return lose


def photo_gone(stack: Stack) -> list[Any]:
    """The photo waits because the vendor throttles, and is deleted meanwhile."""
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
"""Scenarios in which two invocations at once could spend twice or publish two ends."""
LONGER: Final = {"resubmitted", "last credit", "poll: done", "probe passes"}
"""Only `make kills` kills these scenarios at reads and runs two invocations of them at once, since
`drop`, `lease over` and `finalize` run the same code."""


def now(scenarios: Sequence[Scenario]) -> list[Scenario]:
    """Return the scenarios of this test run."""
    return [scenario for scenario in scenarios if THOROUGH or scenario.name not in LONGER]


WHOLE: Final = {"drop", "unanswered", "lease over", "poll: done", "finalize"}
"""Scenarios that are always killed at each change. `make test` kills the others after one change,
since the same code makes most of their changes."""


def kills_of(scenario: Scenario, changes: Sequence[int]) -> list[tuple[int, How]]:
    """Return where this test run kills a scenario that makes changes in these steps."""
    if THOROUGH or scenario.name in WHOLE:
        return [(changes[0], "before"), *((number, "after") for number in changes)]
    return [(changes[SCENARIOS.index(scenario) % len(changes)], "after")]


each_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)


# --- what AWS does -------------------------------------------------------------------------------


def go_on(stack: Stack, scenario: Scenario, invocation: Invocation) -> None:
    """Continue after an invocation that returned."""
    assert (invocation.raised, invocation.exit) == (None, 0)
    if scenario.function == "submit":
        assert invocation.returned == {"batchItemFailures": []}
    elif scenario.function != "reconcile":
        stack.go_on(invocation.returned)


def come_again(stack: Stack, scenario: Scenario, given: Sequence[Any]) -> None:
    """Continue after an invocation that was killed."""
    if scenario.function == "submit":
        stack.sleep(AGAIN_SECONDS)
        stack.deliver(*given)
    elif scenario.function == "reconcile":
        stack.sleep(3_600)
        for letter in sqs_backends[DEFAULT_ACCOUNT_ID][REGION].queues["dead"]._messages:
            letter.visible_at = 0  # its visibility timeout is over
        stack.invoke("reconcile", *given)
    else:
        stack.go_on(stack.invoke(scenario.function, given[0]))


# --- tests ---------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def lambdas(aws_environment: None) -> Iterator[Lambdas]:
    """Run moto as a server, and start the process that runs the functions."""
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
    """Return a function that deploys the stack with a scenario's parameters."""

    def build(scenario: Scenario) -> Stack:
        # By name, since the secret's ARN changes with each `renew`.
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
    """After a kill at any step the jobs end as without it; an open POST parks its job."""
    stack = deployed(scenario)
    steps, whole = whole_run(stack, scenario)
    recorded.keep(scenario, steps)
    assert {job.status for job in whole.jobs.values()} == {scenario.ends}
    # A kill before a change, or at a read, has the same effect as one after the previous change.
    changes = [number for number, step in enumerate(steps) if not step.reads]
    for number, how in kills_of(scenario, changes):
        with where(f"killed {how} step {number}, {steps[number]}"):
            kill(stack, scenario, whole, number, how)


@pytest.mark.parametrize("scenario", now([DROP, POLL, FINALIZE]), ids=lambda given: given.name)
def test_killed_at_any_read(deployed: Deploy, scenario: Scenario) -> None:
    """After a kill at a read the jobs end as without it."""
    stack = deployed(scenario)
    steps, whole = whole_run(stack, scenario)
    for number, step in enumerate(steps):
        if step.reads:
            with where(f"killed before step {number}, {step}"):
                kill(stack, scenario, whole, number, "before")


def kill(stack: Stack, scenario: Scenario, whole: End, number: int, how: How) -> None:
    """Run a scenario with a kill at a step; compare its end with the one without a kill."""
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
        # An event that was published just before the kill, and not noted, is published again.
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
    """An invocation that is paused at any step while another one does the same changes nothing."""
    stack = deployed(scenario)
    steps, whole = whole_run(stack, scenario)
    for number, step in enumerate(steps):
        if step.reads:
            continue
        with where(f"paused before step {number}, {step}"):
            stack.renew()
            given = scenario.begin(stack)
            event = scenario.event(stack, given)
            paused = stack.start(scenario.function, event, at=number, how="pause")
            assert paused.paused
            stack.invoke(scenario.function, event)
            go_on(stack, scenario, stack.lambdas.resume(paused))
            check(scenario, whole, stack.settle(scenario.ends), parked=None)


def open_submit(done: Sequence[Step]) -> str | None:
    """Return the job whose POST may have been sent when these steps were the last; else None."""
    job_id = None
    for step in done:
        if step.item is not None and step.item.startswith("JOB#"):
            submitting = "jobs.mark_submitting" in step.callers
            job_id = step.item.removeprefix("JOB#") if submitting else None
    return job_id


@contextmanager
def where(text: str) -> Iterator[None]:
    """Add a note to an error that says where it happened."""
    try:
        yield
    except BaseException as error:
        error.add_note(text)
        raise


# --- is a scenario missing? ------------------------------------------------------------

BY_OTHERS = {
    # Lambda itself reads SubmitQueue with SubmitFunction's role.
    *("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"),
    # Lambda writes logs and traces. With ListBucket, S3 answers 404 instead of 403.
    *("logs:CreateLogStream", "logs:PutLogEvents", "s3:ListBucket"),
    *("xray:PutTraceSegments", "xray:PutTelemetryRecords"),
    # Versions are listed only if a folder file or mask changed while the message waited. S3's times
    # are whole seconds, so tests/unit/test_intake.py tests that without waiting.
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
"""The classes that write to JobsTable or start executions."""
BY_PEOPLE = {"jobs.forget_dead_letter"}
"""Methods that only the command line calls."""
PURE = {"arrivals.expiry"}
"""Methods that call no AWS service."""


@dataclass(frozen=True)
class Recorded:
    """The steps of the scenarios that have run, shared by the processes of a test run."""

    folder: Path

    def keep(self, scenario: Scenario, steps: Sequence[Step]) -> None:
        """Store the steps of a scenario for all processes."""
        part = self.folder / f"{scenario.name}.part"
        part.write_text(json.dumps([asdict(step) for step in steps]))
        part.replace(self._file(scenario))

    def steps_of(self, scenario: Scenario) -> Sequence[Step] | None:
        """Return the steps of a scenario; None if it has not run."""
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
        folder = folder.parent  # a worker's folder is inside that of the run
    (folder / "steps").mkdir(exist_ok=True)
    return Recorded(folder / "steps")


def steps_of(stack: Stack, scenario: Scenario) -> Sequence[Step]:
    """Return the steps of a scenario's invocation."""
    stack.renew()
    invocation = stack.start(scenario.function, scenario.event(stack, scenario.begin(stack)))
    assert invocation.raised is None
    return invocation.steps


class _Template(yaml.SafeLoader):
    """Loads a template; CloudFormation's tags are replaced by their values."""


_Template.add_multi_constructor("!", lambda _loader, _tag, node: node.value)


def allowed_actions() -> dict[str, set[str]]:
    """Return the actions that each function's role allows, by the function's folder."""
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
    """Return the methods of `CLASSES` that the functions' code calls: `jobs.claim`."""
    texts = {path.stem: path.read_text() for path in (ROOT / "shared").rglob("*.py")}
    return {
        f"{module}.{name}"
        for cls in CLASSES
        for module in [cls.__module__.rpartition(".")[2]]
        for name, _ in inspect.getmembers(cls, inspect.isfunction)
        if not name.startswith(("_", "of_"))  # generators: their callers make the queries
        and any(f".{name}(" in text for stem, text in texts.items() if stem != module)
    }


def test_no_scenario_is_missing(deployed: Deploy, recorded: Recorded) -> None:
    """Each action that a role allows, and each write to the table, is a step of a scenario."""
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
