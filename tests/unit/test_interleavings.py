"""Any interleaving of deliveries, polls, reconcile runs and people keeps rules 1 to 4.

Real product code on moto's DynamoDB and S3, cut up at every single call to AWS or the vendor.
Hypothesis decides which invocation makes its next call, which one dies there, when time passes
and what the vendor answers. The queues, the executions and the bus are the test's own, since
moto's go by the wall clock; so is the vendor, which counts its charges.

`CATWALK_EXAMPLES=2000 make unit` looks further, and elsewhere on each run.
"""

import itertools
import json
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ClassVar, Final
from unittest import mock

import botocore.client
import httpx
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from moto import mock_aws

from cli.jobs.recovery import Recovery, RecoveryAction, Resolution
from shared.clock import parse_iso
from shared.config import FinalizeConfig, PollConfig, ReconcileConfig, SubmitConfig
from shared.intake.photos import PhotoStore
from shared.models import ErrorCode, Job, JobStatus, PastAttempt
from shared.notify.metrics import Metrics
from shared.observability import logger
from shared.records.jobs import job_of
from shared.records.ledger import Certainty, Ledger
from shared.steps import finalize as finalize_module
from shared.steps.queue import SubmitQueue
from shared.steps.submit import Batch
from shared.vmake.client import VmakeClient
from shared.vmake.secret import ApiKey
from shared.wiring import Wiring, finalizer, poller, reconciler, submitter
from tests.factories import BUS, KEY, PHOTOS, RESULTS, START, TABLE, VENDOR, Aws, Clock, jpeg, png
from tests.interleaving import AtOnce, Fate, Invocation, invocation_here
from tests.thorough import THOROUGH

EXAMPLES: Final = int(os.environ.get("CATWALK_EXAMPLES", "12" if THOROUGH else "6"))
STEPS: Final = int(os.environ.get("CATWALK_STEPS", "30"))
PHOTO: Final = "dress.jpg"
SUBMIT_SECONDS: Final = 150.0
"""Timeouts and the like are those of template.yaml."""
POLL_SECONDS: Final = 60.0
FINALIZE_SECONDS: Final = 600.0
RECONCILE_SECONDS: Final = 300.0
VISIBILITY_SECONDS: Final = 300.0
MAX_RECEIVES: Final = 5
GRACE_SECONDS: Final = 20.0
"""A kill is not instant, and clocks differ: within the lease's margin."""
MAX_LIVE: Final = 4
MAX_ROUNDS: Final = 400
"""More rounds than this to bring a photo home are a loop without an end; while the breaker waits
for a probe that died, each message makes one every five seconds."""
RETRIES: Final = 2
"""Of a state of the state machine; it has more, to the same effect."""
MACHINE: Final = "arn:aws:states:us-east-1:123456789012:stateMachine:jobs"
QUEUE: Final = "https://sqs/submit"
DEAD: Final = "https://sqs/dead"
RANK: Final = {status: rank for rank, status in enumerate(JobStatus)}

CREATES: Final[Mapping[str, tuple[bool, int | Exception, Any]]] = {
    # what the vendor answers to a create: whether it charges, the status or error, the body
    "accepted": (True, 200, None),
    "accepted, answer lost": (True, httpx.ReadTimeout("lost"), None),
    "lost on the way": (False, httpx.ReadError("reset"), None),
    "charged, then 500": (True, 500, {"code": 500, "message": "internal"}),
    "charged, then an own code": (True, 200, {"code": 50000, "message": "system error"}),
    "accepted, and says busy": (True, 429, None),
    "busy": (False, 429, {"code": 429, "message": "slow down"}),
    "no credits": (False, 402, {"code": 402, "message": "no credits"}),
    "no connection": (False, httpx.ConnectError("refused"), None),
    "denied": (False, 403, {"code": 403, "message": "forbidden"}),
    "bad request": (False, 400, {"code": 400, "message": "bad image"}),
}
FREE: Final = frozenset({"busy", "no credits", "no connection", "denied", "bad request"})
"""After these answers, and no others, a create may be sent again."""
READS: Final[Mapping[str, tuple[int, Any]]] = {
    "running": (200, {"code": 0, "data": {"status": "running", "progress": 50}}),
    "success": (
        200,
        {
            "code": 0,
            "data": {"status": "success", "results": [{"downloadUrl": f"{VENDOR}/result"}]},
        },
    ),
    "error": (200, {"code": 0, "data": {"status": "error", "message": "no garment"}}),
    "not found": (404, {"code": 404, "message": "no such task"}),
    "garbage": (200, "<html>"),
}


@dataclass(eq=False)
class Message:
    """A message on a queue."""

    body: str
    visible_at: float
    receives: int = 0
    in_hands: bool = False


@dataclass(eq=False)
class Execution:
    """An execution of the state machine."""

    arn: str
    input: str
    state: dict[str, Any]
    stage: str = "Poll"
    status: str = "RUNNING"
    tries: int = 0
    busy: bool = False

    @property
    def going(self) -> bool:
        """Whether it has a state to go through, and does not just now."""
        return self.status == "RUNNING" and not self.busy


@dataclass(frozen=True, kw_only=True)
class WholeConfig(SubmitConfig, PollConfig, FinalizeConfig, ReconcileConfig):
    """What all four functions are told."""


class World:
    """The stack, the vendor, and everything that goes on between them."""

    def __init__(self, aws: Aws) -> None:
        self.aws = aws
        self.clock = Clock()
        self.key = ApiKey(aws.secrets, aws.secret_arn, monotonic=self.seconds)
        self.ledger = Ledger(aws.dynamodb, TABLE, now=self.clock)
        transport = httpx.MockTransport(self._http)
        self.vendor = VmakeClient(VENDOR, self.key, transport=transport, now=self.clock)
        self.photos = PhotoStore(aws.s3, PHOTOS, max_bytes=10**6)
        self.downloads = httpx.Client(transport=transport)
        self.live: list[Invocation] = []
        self.begin()

    def close(self) -> None:
        """Close what was opened."""
        self.vendor.close()
        self.downloads.close()

    def begin(self, *, on_unknown: str = "park") -> None:
        """Begin anew, with nothing but a photo's event on the queue."""
        self.kill_all()
        self.clock.now = START
        self.queue: list[Message] = []
        self.dead: list[Message] = []
        self.bodies: list[str] = []
        self.executions: dict[str, Execution] = {}
        self.records: dict[str, Job] = {}
        self.written: set[tuple[str, int, str]] = set()
        self.told: set[tuple[str, int, str]] = set()
        self.posts: dict[tuple[str, int], list[str]] = defaultdict(list)
        self.charges: dict[tuple[str, int], str] = {}
        self.drops: set[str] = set()
        self.landed: dict[str, datetime] = {}
        self.config = WholeConfig(
            jobs_table=TABLE,
            event_bus=BUS,
            vmake_base_url=VENDOR,
            api_key_secret=self.aws.secret_arn,
            photos_bucket=PHOTOS,
            results_bucket=RESULTS,
            submit_queue_url=QUEUE,
            dead_letter_queue_url=DEAD,
            state_machine_arn=MACHINE,
            default_batch_size=1,
            max_photo_bytes=10**6,
            max_result_bytes=10**6,
            settling_seconds=0,
            on_unknown_submit="resubmit" if on_unknown == "resubmit" else "park",
        )
        self.aws.dynamodb.delete_table(TableName=TABLE)
        self.aws.build_table()
        for version in self.aws.s3.list_object_versions(Bucket=PHOTOS).get("Versions", []):
            self.aws.s3.delete_object(
                Bucket=PHOTOS, Key=version["Key"], VersionId=version["VersionId"]
            )
        self.key.forget()
        self.key()
        self._deploy()

    def _deploy(self) -> None:
        wiring = Wiring(
            self.config,
            self.aws,
            metrics=Metrics("catwalk", write=len),
            api_key=self.key,
            vendor=self.vendor,
            now=self.clock,
            sleep=self.clock.advance,
        )
        self.jobs, self.announcer = wiring.jobs, wiring.announcer
        self.submitter = submitter(self.config, wiring)
        self.poller = poller(self.config, wiring)
        self.finalizer = finalizer(self.config, wiring, downloads=self.downloads)
        self.reconciler = reconciler(self.config, wiring)
        self.dead_letters = self.reconciler._dead_letters
        self.recovery = Recovery(
            jobs=self.jobs,
            ledger=self.ledger,
            announcer=self.announcer,
            sqs=self.aws.sqs,
            queue_url=QUEUE,
            state_machine_arn=MACHINE,
            photos_bucket=PHOTOS,
            photos=self.photos,
        )

    def seconds(self) -> float:
        """Return the time in seconds."""
        return self.clock.now.timestamp()

    def drop(self, *, events: int = 1) -> None:
        """Drop the photo; S3's event of it comes so many times."""
        event = self.aws.drop(PHOTO, jpeg())
        version = event["detail"]["object"]["version-id"]
        self.drops.add(version)
        self.landed[version] = self.clock.now
        for _ in range(events):
            self.send(json.dumps(event))

    def change(self, what: str) -> None:
        """Change settings, mask or photo between two deliveries, without an event."""
        match what:
            case "folder file":
                self._put("catwalk.json", b'{"modelId": "044", "batchSize": 1}')
            case "variants":
                self._put("catwalk.json", b'{"variants": [{"modelId": "001"}, {"modelId": "003"}]}')
            case "mask":
                self._put("dress.mask.png", png())
            case "bytes":
                self._put(PHOTO, jpeg(fill=9))
            case "defaults":
                self.config = replace(self.config, default_model_id="003")
                self._deploy()

    def _put(self, key: str, body: bytes) -> None:
        version = self.aws.s3.put_object(Bucket=PHOTOS, Key=key, Body=body)["VersionId"]
        self.landed[version] = self.clock.now

    def send(self, body: str, delay: float = 0) -> None:
        """Put a message on SubmitQueue."""
        self.queue.append(Message(body, self.seconds() + delay))
        self.bodies.append(body)

    # --- calls -----------------------------------------------------------------------------

    def call(self, client: Any, name: str, arguments: dict[str, Any]) -> Any:
        """Make a call to AWS, or stop the invocation before it."""
        invocation = invocation_here()
        effect = partial(self._made, invocation, client, name, arguments)
        service = client.meta.service_model.service_name
        return invocation.call(f"{service}.{name}", effect) if invocation else effect()

    def _made(
        self, invocation: Invocation | None, client: Any, name: str, arguments: dict[str, Any]
    ) -> Any:
        own = getattr(self, f"_{name}", None)
        if own is not None:
            return own(**arguments)
        answer = _API_CALL(client, name, arguments)
        if name == "ListObjectVersions" and invocation is not None:
            # What was put without an event is no drop of this world: see `change`.
            known = [v for v in answer.get("Versions", []) if v["VersionId"] in self.drops]
            answer["Versions"] = known if "Prefix" not in arguments else answer["Versions"]
        # S3 goes by the clock of this world too.
        for version in [answer, *answer.get("Versions", [])]:
            landed = self.landed.get(version.get("VersionId", ""))
            if landed is not None:
                version["LastModified"] = landed
        if name in {"PutItem", "UpdateItem", "DeleteItem"}:
            self._look_at_write(invocation, name, arguments, answer)
        return answer

    def _SendMessage(self, *, QueueUrl: str, MessageBody: str, DelaySeconds: int = 0) -> Any:  # noqa: N802, N803  SQS's names
        assert QueueUrl == QUEUE
        self.send(MessageBody, DelaySeconds)
        return {}

    def _GetQueueAttributes(self, *, QueueUrl: str, AttributeNames: list[str]) -> Any:  # noqa: N802, N803  AWS's names
        assert QueueUrl == QUEUE
        held = [message for message in self.queue if message.in_hands]
        rest = [message for message in self.queue if not message.in_hands]
        ready = [message for message in rest if message.visible_at <= self.seconds()]
        counts = {
            "ApproximateNumberOfMessages": len(ready),
            "ApproximateNumberOfMessagesNotVisible": len(held),
            "ApproximateNumberOfMessagesDelayed": len(rest) - len(ready),
        }
        return {"Attributes": {name: str(counts[name]) for name in AttributeNames}}

    def _ReceiveMessage(self, *, QueueUrl: str, VisibilityTimeout: int, **_: Any) -> Any:  # noqa: N802, N803  AWS's names
        assert QueueUrl == DEAD
        letters = [letter for letter in self.dead if letter.visible_at <= self.seconds()]
        for letter in letters:
            letter.visible_at = self.seconds() + VisibilityTimeout
        return {
            "Messages": [
                {"MessageId": name, "ReceiptHandle": name, "Body": letter.body}
                for letter in letters
                for name in [f"letter-{self.dead.index(letter)}"]
            ]
        }

    def _DeleteMessage(self, *, QueueUrl: str, ReceiptHandle: str) -> Any:  # noqa: N802, N803  AWS's names
        assert QueueUrl == DEAD
        self.dead[int(ReceiptHandle.removeprefix("letter-"))].visible_at = float("inf")
        return {}

    def _PutEvents(self, *, Entries: list[dict[str, Any]]) -> Any:  # noqa: N802, N803  AWS's names
        for entry in Entries:
            detail = json.loads(entry["Detail"])
            if "paused" not in detail:
                event = (detail["jobId"], detail["attempt"], detail["status"])
                assert event in self.written, f"told of what was never written: {event}"
                self.told.add(event)
        return {"FailedEntryCount": 0}

    def _StartExecution(self, *, stateMachineArn: str, name: str, input: str) -> Any:  # noqa: A002, N802, N803  AWS's names
        arn = f"{stateMachineArn.replace(':stateMachine:', ':execution:')}:{name}"
        if arn in self.executions:
            exists = self.aws.executions.exceptions.ExecutionAlreadyExists
            raise exists({"Error": {"Code": "ExecutionAlreadyExists"}}, "StartExecution")
        self.executions[arn] = Execution(arn, input, json.loads(input))
        return {"executionArn": arn}

    def _DescribeExecution(self, *, executionArn: str) -> Any:  # noqa: N802, N803  AWS's names
        execution = self.executions.get(executionArn)
        if execution is None or execution.status == "gone":
            none = self.aws.executions.exceptions.ExecutionDoesNotExist
            raise none({"Error": {"Code": "ExecutionDoesNotExist"}}, "DescribeExecution")
        return {"status": execution.status}

    # --- the vendor ------------------------------------------------------------------------

    def _http(self, request: httpx.Request) -> httpx.Response:
        invocation = invocation_here()
        assert invocation is not None
        effect = partial(self._vendor_says, invocation, request)
        answer: httpx.Response = invocation.call(f"vendor {request.method}", effect)
        return answer

    def _vendor_says(self, invocation: Invocation, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return self._create(invocation)
        if request.url.path == "/result":
            if invocation.answer in {"garbage", "not found"}:
                return httpx.Response(404 if invocation.answer == "not found" else 200, text="no")
            return httpx.Response(200, content=png())
        status, body = READS.get(invocation.answer, READS["running"])
        task = request.url.path.rpartition("/")[2]
        assert task in self.charges.values(), f"{task} was never given out"
        return httpx.Response(status, text=body if isinstance(body, str) else json.dumps(body))

    def _create(self, invocation: Invocation) -> httpx.Response:
        """Charge, or not, after a look at whether this POST should ever have been sent."""
        (job,) = (job for job in self.records.values() if job.settings is not None)
        posts = self.posts[job.job_id, job.attempt]
        where = f"a POST of {invocation.name} in attempt {job.attempt}, after {posts}"
        assert job.status is JobStatus.SUBMITTING, f"{where}, while it is {job.status}"
        assert invocation.claimed == (job.attempt, job.lease_until), f"{where}, on another's lease"
        assert job.lease_until is not None
        assert parse_iso(job.lease_until) > self.clock.now, f"{where}, past its lease"
        assert all(post in FREE for post in posts), f"{where}: sent twice"
        name = invocation.answer if invocation.answer in CREATES else "accepted"
        posts.append(name)
        charged, status, body = CREATES[name]
        if charged:
            task = f"task-{job.attempt}"
            assert (job.job_id, job.attempt) not in self.charges, f"{where}: charged twice"
            self.charges[job.job_id, job.attempt] = task
        if isinstance(status, Exception):
            raise status
        if name in {"accepted", "accepted, and says busy"}:
            invocation.accepted = (job.attempt, task)
            body = {"code": 0 if status == 200 else status, "data": {"taskId": task}}
        return httpx.Response(status, json=body)

    # --- the record ------------------------------------------------------------------------

    def _look_at_write(
        self, invocation: Invocation | None, name: str, arguments: dict[str, Any], answer: Any
    ) -> None:
        pk = (arguments.get("Key") or arguments["Item"])["pk"]["S"]
        if pk.startswith("CREDIT#") and name == "PutItem":
            self._look_at_entry(arguments["Item"])
        if not pk.startswith("JOB#"):
            return
        job_id = pk.removeprefix("JOB#")
        old = self.records.pop(job_id, None)
        if name == "DeleteItem":
            assert old is None or old.settings is None, "a job's record was deleted"
            return
        new = job_of(arguments["Item"] if name == "PutItem" else answer["Attributes"])
        self.records[job_id] = new
        self.written.add((job_id, new.attempt, new.status))
        if old is not None:
            _follows(old, new)
            if old.status is JobStatus.RUNNING and new.status is JobStatus.FAILED:
                self._look_at_failure(invocation, new)
        names = arguments.get("ExpressionAttributeNames", {})
        sets = {value for key, value in names.items() if key.startswith("#set")}
        if invocation is not None and "lease_until" in sets:
            invocation.claimed = (new.attempt, new.lease_until or "")

    def _look_at_entry(self, item: dict[str, Any]) -> None:
        """See that the ledger is sure of nothing that the record does not know."""
        attempt = int(item["attempt"]["N"])
        if item["certainty"]["S"] == Certainty.CHARGED:
            job = self.records[item["job_id"]["S"]]
            closed = {past.attempt for past in _attempts(job) if _is_lost(past)}
            task = self.charges.get((job.job_id, attempt))
            assert task is not None, f"attempt {attempt} was entered and never charged"
            assert task in _tasks(job) or attempt in closed, f"{task} was entered too early"

    def _look_at_failure(self, invocation: Invocation | None, job: Job) -> None:
        """See that a task is not given up without a reason."""
        assert invocation is not None
        assert job.error is not None
        why = f"{invocation.name} gave a paid task up: {job.error}"
        since = job.resumed_at or job.submitted_at
        assert since is not None
        match job.error.code:
            case ErrorCode.VENDOR_TASK_ERROR:
                assert invocation.answer in {"error", "not found"}, why
            case ErrorCode.TIMED_OUT:
                age = (self.clock.now - parse_iso(since)).total_seconds()
                assert age >= self.config.task_timeout_seconds, why
            case ErrorCode.ABORTED | ErrorCode.INTERNAL:
                execution = self.executions.get(job.execution_arn or "")
                assert execution is not None, why
                assert execution.status != "RUNNING" or execution.stage == "RecordFailure", why
            case code:
                assert code.startswith("result_"), why

    def job(self) -> Job | None:
        """Return the photo's record; one made for a dead letter is none."""
        return next((job for job in self.records.values() if job.settings is not None), None)

    # --- invocations -----------------------------------------------------------------------

    def invoke(
        self,
        name: str,
        work: Callable[[], Any],
        done: Callable[[Invocation], None] = lambda _: None,
        *,
        seconds: float | None = None,
        answer: str = "",
    ) -> Invocation:
        """Start an invocation; it stands before its first call."""
        deadline = None if seconds is None else self.clock.now + timedelta(seconds=seconds)

        def ended(invocation: Invocation) -> None:
            self.live = [other for other in self.live if other is not invocation]
            done(invocation)
            self._look_at_end(invocation)

        invocation = Invocation(name, work, ended, deadline=deadline, answer=answer)
        self.live.append(invocation)
        return invocation.start()

    def _look_at_end(self, invocation: Invocation) -> None:
        """See that a task whose id a living process was told is not forgotten."""
        if invocation.killed or invocation.troubled or invocation.late:
            return
        assert invocation.error is None, f"{invocation.name} crashed: {invocation.error!r}"
        assert invocation.value is not False, f"{invocation.name} gave its message back"
        if invocation.accepted is not None:
            attempt, task = invocation.accepted
            job = self.job()
            assert job is not None
            assert task in _tasks(job), f"{task} of attempt {attempt} is in no record"

    def deliver(self, message: Message, answer: str = "accepted") -> Invocation:
        """Let SubmitFunction have a message."""
        message.in_hands = True
        message.receives += 1
        message.visible_at = self.seconds() + VISIBILITY_SECONDS
        deadline = self.clock.now + timedelta(seconds=SUBMIT_SECONDS)

        def remaining() -> float:
            return (deadline - self.clock.now).total_seconds()

        def work() -> bool:
            record = {"messageId": f"m-{self.bodies.index(message.body)}", "body": message.body}
            handle = partial(self.submitter.handle, batch=Batch(remaining))
            answer = SubmitQueue(self.aws.sqs, QUEUE).take([record], handle, remaining)
            return not answer["batchItemFailures"]

        def done(invocation: Invocation) -> None:
            message.in_hands = False
            if invocation.value is True and message in self.queue:
                self.queue.remove(message)

        return self.invoke("SubmitFunction", work, done, seconds=SUBMIT_SECONDS, answer=answer)

    def visible(self) -> list[Message]:
        """Return the messages that may be received; one that was too often is dead."""
        for message in list(self.queue):
            if message.in_hands or message.visible_at > self.seconds():
                continue
            if message.receives >= MAX_RECEIVES:
                self.queue.remove(message)
                self.dead.append(message)
                message.visible_at = self.seconds()
        return [m for m in self.queue if not m.in_hands and m.visible_at <= self.seconds()]

    def go_through(self, execution: Execution, answer: str = "success") -> Invocation:
        """Let an execution go through its next state."""
        execution.busy = True
        state = json.loads(json.dumps(execution.state))
        function: Callable[[Any], Any] = self.finalizer.finalize
        seconds = FINALIZE_SECONDS
        if execution.stage == "Poll":
            function, seconds = self.poller.poll, POLL_SECONDS

        def done(invocation: Invocation) -> None:
            execution.busy = False
            if invocation.error is not None:
                execution.tries += 1
                if execution.tries > RETRIES and execution.stage == "RecordFailure":
                    execution.status = "FAILED"
                elif execution.tries > RETRIES:
                    failure = {"Error": "Lambda.Unknown", "Cause": "x"}
                    execution.state = {**execution.state, "failure": failure}
                    execution.stage, execution.tries = "RecordFailure", 0
                return
            execution.tries = 0
            execution.state = json.loads(json.dumps(invocation.value))
            match execution.state["outcome"]:
                case _ if execution.status != "RUNNING":
                    pass  # it was stopped meanwhile
                case "wait":
                    execution.stage = "Poll"
                case "finalize":
                    execution.stage = "Finalize"
                case "failed":
                    execution.status = "FAILED"
                case _:
                    execution.status = "SUCCEEDED"

        name = f"{execution.stage} of {execution.arn.rpartition('-')[2]}"
        return self.invoke(name, partial(function, state), done, seconds=seconds, answer=answer)

    def reconcile(self, still_seconds: float) -> Invocation:
        """Let ReconcileFunction run."""
        deadline = self.clock.now + timedelta(seconds=RECONCILE_SECONDS)

        def remaining() -> float:
            return (deadline - self.clock.now).total_seconds()

        work = partial(self.reconciler.run, remaining, still_seconds=still_seconds)
        return self.invoke("ReconcileFunction", work, seconds=RECONCILE_SECONDS)

    def news(self, execution: Execution) -> Invocation:
        """Let EventBridge tell FinalizeFunction that an execution ended by itself or by hand."""
        detail = {"input": execution.input, "status": execution.status}
        event = {"detail-type": "Step Functions Execution Status Change", "detail": detail}
        work = partial(self.finalizer.finalize, event)
        return self.invoke("FinalizeFunction", work, seconds=FINALIZE_SECONDS)

    def person(self, wish: str) -> Invocation:
        """Let a person look at the job, and do what can be done for it."""

        def redrive() -> None:
            for letter in self.dead_letters.letters(10):
                self.dead_letters.redrive(letter)

        def action() -> None:
            job = self.job()
            job = self.jobs.get(job.job_id) if job else None
            if job is None:
                return
            if wish in list(RecoveryAction):
                if self.recovery.quote(RecoveryAction(wish), job).refusal is None:
                    self.recovery.perform(RecoveryAction(wish), job)
            elif job.status is JobStatus.SUBMIT_UNKNOWN:
                self._resolve(job, lost=wish == "lost")

        return self.invoke(f"a person: {wish}", redrive if wish == "redrive" else action)

    def _resolve(self, job: Job, *, lost: bool) -> None:
        """Say what became of a submit, as it was."""
        task = self.charges.get((job.job_id, job.attempt))
        if task is None:
            self.recovery.resolve(Resolution.NOT_CHARGED, job)
        elif lost:
            self.recovery.resolve(Resolution.CHARGED, job)
        else:
            resolved = self.recovery.resolve(Resolution.TASK, job, task_id=task)
            now = self.records[job.job_id]
            moved_on = now.attempt > job.attempt or now.status is not JobStatus.SUBMIT_UNKNOWN
            assert resolved is not None or moved_on, "a task that was found was not taken"

    def pass_time(self, seconds: float, how: Fate, *, late: bool) -> None:
        """Let time pass; an invocation whose time is over dies.

        Args:
            seconds: how many.
            how: it dies.
            late: whether one whose POST was answered lives on, which no lease rules out.

        """
        then = self.clock.now + timedelta(seconds=seconds - GRACE_SECONDS)
        for invocation in list(self.live):
            if invocation.deadline is None or invocation.deadline >= then:
                continue
            if late and invocation.accepted is not None:
                invocation.late = True
            else:
                invocation.step(how)
        self.clock.advance(seconds)

    # --- the end ---------------------------------------------------------------------------

    def kill_all(self) -> None:
        """End every thread."""
        for invocation in list(self.live):
            invocation.step(Fate.DIE_BEFORE)

    def settle(self) -> None:
        """Let everything go on without any more trouble, until nothing moves."""
        for invocation in list(self.live):
            invocation.finish()
        for _ in range(MAX_ROUNDS):
            if not self._go_on():
                return
        raise AssertionError(f"this never ends: {self.records}")

    def _go_on(self) -> bool:
        """Do what is to be done next; return whether there was anything."""
        self.visible()
        waiting = min(self.queue, key=lambda message: message.visible_at, default=None)
        if waiting is not None:
            self.clock.advance(max(0.0, waiting.visible_at - self.seconds()))
            if waiting in self.visible():
                self.deliver(waiting).finish()
            return True
        for execution in self.executions.values():
            if execution.going:
                if execution.stage == "Poll":
                    self.clock.advance(execution.state["wait_seconds"])
                self.go_through(execution).finish()
                return True
        self.clock.advance(1)
        reconciled = self.reconcile(0)
        reconciled.finish()
        assert reconciled.error is None, f"reconcile failed: {reconciled.error!r}"
        moved = set(reconciled.value) - {"announced"}
        return bool(moved or self.queue)

    def check_end(self) -> None:
        """Check that the photo's jobs ended with events, and that charges and ledger agree."""
        job = self.job()
        if job is None:
            (lost,) = self.records.values()
            assert lost.dead_letter is not None, "the photo has vanished"
            assert not self.charges
            return
        decided = [entry for entry in self.records.values() if entry.settings is not None]
        assert decided == [job], f"one drop came to {len(decided)} jobs"
        assert self.jobs.get(job.job_id) == job
        assert job.terminal or job.status is JobStatus.SUBMIT_UNKNOWN, f"it is {job.status}"
        assert (job.job_id, job.attempt, job.status) in self.told, f"nobody was told: {job.status}"
        assert job.announced == job.status
        past = {entry.attempt: entry for entry in job.history}
        for charged_job, attempt in self.charges:
            assert charged_job == job.job_id
            ended = past.get(attempt, job)
            known = self.charges[charged_job, attempt] in _tasks(job)
            unknown = ended.status is JobStatus.SUBMIT_UNKNOWN or _is_lost(ended)
            assert known or unknown, f"the task of attempt {attempt} was thrown away: {job}"
        self._check_ledger(job)

    def _check_ledger(self, job: Job) -> None:
        day = START.date()
        entries = {
            entry.attempt: entry.certainty
            for entry in self.ledger.entries(day, self.clock.now.date())
        }
        charged = {attempt for _, attempt in self.charges}
        sure = {attempt for attempt, said in entries.items() if said is Certainty.CHARGED}
        assert sure <= charged, f"the ledger has {sure}, the vendor {charged}"
        assert charged <= set(entries), f"the ledger has only {entries}, the vendor {charged}"
        known = {attempt for _, attempt in self.charges if f"task-{attempt}" in _tasks(job)}
        assert known <= sure, f"the ledger is in doubt about {known - sure}"
        assert job.credits >= len(known)
        assert job.credits <= len(charged)


def _attempts(job: Job) -> list[Job | PastAttempt]:
    return [*job.history, job]


def _tasks(job: Job) -> set[str]:
    return {entry.task_id for entry in _attempts(job) if entry.task_id is not None}


def _is_lost(ended: Job | PastAttempt) -> bool:
    """Whether a person said that an attempt was charged and its task cannot be had."""
    code = ended.error.code if ended.error is not None else None
    return ended.status is JobStatus.FAILED and code is ErrorCode.VENDOR_PROTOCOL


def _follows(old: Job, new: Job) -> None:
    """See that a write moved a record forwards and lost nothing of it."""
    assert old.attempt <= new.attempt <= old.attempt + 1, f"{old.attempt} -> {new.attempt}"
    if old.attempt == new.attempt:
        assert RANK[old.status] <= RANK[new.status], f"{old.status} -> {new.status}"
        assert not old.terminal or old.status is new.status, f"{old.status} -> {new.status}"
        assert old.task_id in {None, new.task_id}, f"{old.task_id} -> {new.task_id}"
    assert _tasks(old) <= _tasks(new), f"{_tasks(old) - _tasks(new)} was lost"
    assert old.credits <= new.credits
    assert len(new.history) == new.attempt - 1


_API_CALL: Final[Any] = vars(botocore.client.BaseClient)["_make_api_call"]


@pytest.fixture(scope="module")
def world(aws_clients: Aws) -> Iterator[World]:
    """Build what all examples share: the stack's code on moto's table and buckets."""
    level, keys = logger().log_level, set(logger().get_current_keys())
    logger().setLevel("CRITICAL")
    with mock_aws():
        aws = aws_clients
        for bucket in (PHOTOS, RESULTS):
            aws.s3.create_bucket(Bucket=bucket)
        aws.s3.put_bucket_versioning(Bucket=PHOTOS, VersioningConfiguration={"Status": "Enabled"})
        aws.build_table()
        aws.secret_arn = aws.secrets.create_secret(Name="key", SecretString=KEY)["ARN"]
        made = World(aws)

        def call(client: Any, name: str, arguments: dict[str, Any]) -> Any:
            return made.call(client, name, arguments)

        with (
            mock.patch.object(botocore.client.BaseClient, "_make_api_call", call),
            mock.patch.object(finalize_module, "ThreadPoolExecutor", AtOnce),
        ):
            yield made
            made.kill_all()
        made.close()
    logger().setLevel(level)
    # Lambda has one invocation at a time in a process; here some end inside others.
    logger().remove_keys(set(logger().get_current_keys()) - keys)


# --- the machine ---------------------------------------------------------------------------------

WHICH = st.integers(0, 5)
EFFECTS: Final = ("Put", "Update", "Delete", "Send", "Start", "vendor")
"""Calls whose order matters most begin so."""
FAR = st.sampled_from([(1, None), *((None, effects) for effects in range(6)), (None, None)])
"""How far an invocation goes: so many calls, or so many with an effect and then up to the next
such; (None, None) is to its end. What was read is oldest just before an effect."""
OPENERS = st.sampled_from(["delivery", "delivery", "delivery", "found", RecoveryAction.REGENERATE])
CREATED = st.sampled_from(sorted(CREATES))
READ = st.sampled_from(sorted(READS))
DEATHS = st.sampled_from([Fate.DIE_BEFORE, Fate.DIE_AFTER])
TROUBLES = st.sampled_from([Fate.FAIL_BEFORE, Fate.FAIL_AFTER, Fate.ASK_AGAIN])
Far = tuple[int | None, int | None]
Opener = tuple[str, Far, str]


def _go(invocation: Invocation, far: Far) -> None:
    """Let an invocation go on."""
    calls, effects = far
    while invocation.live:
        effect = invocation.at.rpartition(".")[2].startswith(EFFECTS)
        if calls == 0 or (effects == 0 and effect):
            return
        invocation.step()
        calls = None if calls is None else calls - 1
        effects = None if effects is None else effects - effect


class Interleavings(RuleBasedStateMachine):
    """What may happen, in any order."""

    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        self.duplicates = self.drops = self.purges = self.changes = 0

    @initialize(
        on_unknown=st.sampled_from(["park", "resubmit"]),
        before=st.sampled_from([*[""] * len(CREATES), *sorted(CREATES)]),
        openers=st.lists(st.tuples(OPENERS, FAR, CREATED), min_size=2, max_size=2),
        pause=st.sampled_from([0, 0, 160, 400]),
        how=DEATHS,
    )
    def photo_is_dropped(
        self, on_unknown: str, before: str, openers: list[Opener], pause: int, how: Fate
    ) -> None:
        """Begin with a new photo, or one that was delivered before, and two who come at once."""
        self.world.begin(on_unknown=on_unknown)
        self.world.drop(events=2)
        if before:
            self.world.deliver(self.world.queue[0], before).finish()
        for opener, far, answer in openers:
            messages = self.world.visible()
            if self.world.records and opener != "delivery":
                _go(self.world.person(opener), far)
            elif messages:
                _go(self.world.deliver(messages[0], answer), far)
        self.world.pass_time(pause, how, late=False)

    def _room(self) -> bool:
        return len(self.world.live) < MAX_LIVE

    def _live(self) -> bool:
        return bool(self.world.live)

    def _pick(self, which: int) -> Invocation:
        return self.world.live[which % len(self.world.live)]

    @precondition(_room)
    @precondition(lambda self: self.world.visible())
    @rule(which=WHICH, answer=CREATED, far=FAR)
    def message_is_delivered(self, which: int, answer: str, far: Far) -> None:
        messages = self.world.visible()
        _go(self.world.deliver(messages[which % len(messages)], answer), far)

    @precondition(lambda self: self.duplicates < 2 and self.world.bodies)
    @rule(which=WHICH)
    def message_comes_twice(self, which: int) -> None:
        self.duplicates += 1
        self.world.send(self.world.bodies[which % len(self.world.bodies)])

    @precondition(lambda self: self.purges < 2 and self.world.queue)
    @rule()
    def queue_is_purged(self) -> None:
        self.purges += 1
        self.world.queue.clear()

    @precondition(lambda self: self.changes < 2 and self.drops == 0 and self.world.records)
    @rule(what=st.sampled_from(["folder file", "variants", "mask", "bytes", "defaults"]))
    def world_changes(self, what: str) -> None:
        self.changes += 1
        self.world.change(what)

    # A drop after a change may rightly be another job.
    @precondition(lambda self: self.drops < 1 and self.changes == 0 and self.world.records)
    @rule()
    def photo_is_dropped_again(self) -> None:
        self.drops += 1
        self.world.drop()

    @precondition(_live)
    @rule(which=WHICH, far=FAR)
    def invocation_goes_on(self, which: int, far: Far) -> None:
        _go(self._pick(which), far)

    @precondition(_live)
    @rule(which=WHICH, how=DEATHS)
    def invocation_dies(self, which: int, how: Fate) -> None:
        self._pick(which).step(how)

    @precondition(_live)
    @rule(which=WHICH, how=TROUBLES)
    def aws_is_in_trouble(self, which: int, how: Fate) -> None:
        self._pick(which).step(how)

    @rule(
        seconds=st.sampled_from([1, 40, 160, 200, 400, 1000, 4000, 25_000]),
        how=DEATHS,
        late=st.booleans(),
    )
    def time_passes(self, seconds: int, how: Fate, late: bool) -> None:
        self.world.pass_time(seconds, how, late=late)

    @precondition(_room)
    @precondition(lambda self: any(e.going for e in self.world.executions.values()))
    @rule(which=WHICH, answer=READ, far=FAR)
    def execution_goes_on(self, which: int, answer: str, far: Far) -> None:
        going = [e for e in self.world.executions.values() if e.going]
        _go(self.world.go_through(going[which % len(going)], answer), far)

    @precondition(_room)
    @precondition(lambda self: any(e.status == "RUNNING" for e in self.world.executions.values()))
    @rule(how=st.sampled_from(["ABORTED", "TIMED_OUT", "gone"]), told=st.booleans(), far=FAR)
    def execution_is_stopped(self, how: str, told: bool, far: Far) -> None:
        execution = next(e for e in self.world.executions.values() if e.status == "RUNNING")
        execution.status = how
        if told and how != "gone":
            _go(self.world.news(execution), far)

    @precondition(_room)
    @rule(still=st.sampled_from([0, 1800]), far=FAR)
    def reconcile_runs(self, still: int, far: Far) -> None:
        _go(self.world.reconcile(still), far)

    @precondition(_room)
    @precondition(lambda self: self.world.records)
    @rule(wish=st.sampled_from([*RecoveryAction, "found", "lost", "redrive"]), far=FAR)
    def person_takes_a_chance(self, wish: str, far: Far) -> None:
        _go(self.world.person(wish), far)

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                self.world.settle()
                self.world.check_end()
        finally:
            self.world.kill_all()


@pytest.mark.timeout(0)
def test_any_interleaving_keeps_rules_1_to_4(world: World) -> None:
    """Whatever comes between two calls: no photo vanishes, and no attempt is charged twice."""
    Interleavings.world = world
    run_state_machine_as_test(
        Interleavings,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            derandomize="CATWALK_EXAMPLES" not in os.environ,
            phases=[Phase.generate, Phase.shrink],
        ),
    )


@pytest.mark.timeout(0)
def test_two_deliveries_at_every_two_places(world: World) -> None:
    """Wherever two deliveries of one drop stand when the other goes on, one POST is sent."""
    # Stops: before the arrival, the claim, the note of it, SUBMITTING, the POST, the task id, the
    # ledger's entry.
    places = list(itertools.product(range(6), range(7)))
    for first, second in places if THOROUGH else places[::2]:
        world.begin()
        world.drop(events=2)
        one, other = [world.deliver(message) for message in list(world.queue)]
        _go(one, (None, first))
        _go(other, (None, second))
        one.finish()
        other.finish()
        world.settle()
        world.check_end()
        assert len(world.charges) == 1


def test_unknown_submit_of_a_killed_invocation_is_in_the_ledger(world: World) -> None:
    """An invocation dies between the unknown submit and its entry, and the message is lost."""
    world.begin()
    world.drop(events=1)
    delivery = world.deliver(world.queue[0], "accepted, answer lost")
    while not delivery.at.startswith("vendor"):
        delivery.step()
    delivery.step()
    delivery.step(Fate.DIE_AFTER)
    world.queue.clear()
    world.settle()
    world.check_end()


def test_reconcile_leaves_a_paid_task_alone(world: World) -> None:
    """Wherever the way of a task into its wait loop is when reconcile runs, it goes on RUNNING."""
    # Stops: before the ledger's entry, the execution, the event, the note of it; and at the end.
    for stop in (6, 7, 8, None):
        world.begin()
        world.drop(events=1)
        delivery = world.deliver(world.queue[0])
        _go(delivery, (None, stop))
        world.clock.advance(1)
        world.reconcile(0).finish()
        job = world.job()
        assert job is not None
        assert job.status is JobStatus.RUNNING
        delivery.finish()
        world.settle()
        world.check_end()
        assert len(world.charges) == len(world.executions) == 1


@pytest.mark.timeout(0)
@pytest.mark.parametrize("wish", [RecoveryAction.REGENERATE, "drop"])
def test_second_attempt_is_not_started_twice(world: World, wish: str) -> None:
    """Who saw the first attempt fail, and acts when the second has failed too, changes nothing."""
    world.begin()
    world.drop(events=2)
    world.deliver(world.queue[0], "bad request").finish()
    if wish == "drop":
        world.drop()
        slow = world.deliver(world.queue[-1])
        _go(slow, (None, 2))  # it has found a record, and stands before the next attempt's
    else:
        slow = world.person(wish)
        _go(slow, (None, 0))
    assert slow.at == "dynamodb.UpdateItem"
    world.person(RecoveryAction.REGENERATE).finish()
    world.deliver(world.visible()[-1], "bad request").finish()
    slow.finish()
    world.settle()
    world.check_end()
    assert all(len(posts) == 1 for posts in world.posts.values())


def test_note_of_a_free_post_that_comes_twice(world: World) -> None:
    """Botocore's second try at `unsent` does not free a submit that is under way by then."""
    world.begin()
    world.drop(events=3)
    busy, second, third = world.queue
    first = world.deliver(busy, "busy")
    _go(first, (None, 5))
    assert first.at == "dynamodb.UpdateItem"
    first.step(Fate.ASK_AGAIN)
    world.pass_time(30, Fate.DIE_BEFORE, late=False)  # until botocore gives up waiting
    other = world.deliver(second)
    _go(other, (None, 2))
    assert other.at == "vendor POST"
    try:
        first.step()
        world.deliver(third).finish()
        other.finish()
    finally:
        world.kill_all()
    assert len(world.charges) == 1
