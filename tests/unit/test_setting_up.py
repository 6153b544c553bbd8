"""`deploy`, `set-key` and `doctor`: their questions and findings; they show no key."""

import io
import json
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from cli.commands import deploy
from cli.errors import CommandError
from cli.main import main
from cli.stacks import deployment, doctor, selection
from cli.stacks.deployment import Sam
from cli.stacks.key import cleaned
from cli.stacks.project import Project
from cli.stacks.stack import Catwalk
from shared import clients
from shared.clock import iso, utc_now
from shared.config import SETTLING_SECONDS
from shared.limits.circuit_breaker import CircuitBreaker, Paused, Permit
from shared.limits.settling import Settling
from shared.models import ErrorCode, Job, JobError, JobStatus, Photo, SceneType, Settings
from shared.records.jobs import JobRepository, NewJob, _plain, _wire
from shared.steps.reconcile import Unannounced
from shared.vmake.answers import Trouble
from shared.vmake.outcomes import Refused
from tests.factories import BUS, PHOTOS, RESULTS, TABLE, Aws, http, server
from tests.watched import template

ROOT = Path(__file__).parents[2]
SECRET = "sk-very-secret"
NOT_FOUND = b'{"code":404,"message":"task not found"}'
SETTINGS = Settings(model_id="002", scene_type=SceneType.ORIGINAL, batch_size=4)
REFUSED = b'{"code":401,"message":"invalid api key"}'


class Cloud:
    """A double of CloudFormation, STS and Lambda."""

    def __init__(self, outputs: dict[str, str], parameters: dict[str, str]) -> None:
        self.outputs = outputs
        self.parameters = parameters
        self.status = "UPDATE_COMPLETE"
        self.names = {"catwalk"}
        self.state = "Enabled"
        self.refuses: Exception | None = None

    def describe_stacks(self, *, StackName: str) -> dict[str, Any]:  # noqa: N803  AWS's names
        """Describe the stack."""
        if StackName not in self.names:
            raise ClientError(
                {"Error": {"Code": "ValidationError", "Message": "does not exist"}},
                "DescribeStacks",
            )
        pairs = [{"OutputKey": k, "OutputValue": v} for k, v in self.outputs.items()]
        given = [{"ParameterKey": k, "ParameterValue": v} for k, v in self.parameters.items()]
        stack = {"StackStatus": self.status, "Outputs": pairs, "Parameters": given}
        return {"Stacks": [stack]}

    def get_caller_identity(self) -> dict[str, str]:
        """Return the caller's identity."""
        if self.refuses is not None:
            raise self.refuses
        return {"Account": "123456789012", "Arn": "arn:aws:iam::123456789012:user/ann"}

    def list_event_source_mappings(self, **_: str) -> dict[str, Any]:
        """Return the queue's event source mapping."""
        return {"EventSourceMappings": [{"UUID": "u-1", "State": self.state}]}


class Desk:
    """Runs the command against a deployed stack."""

    def __init__(
        self, aws: Aws, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.aws, self._patch, self._capsys = aws, patch, capsys
        self.jobs = JobRepository(aws.dynamodb, TABLE)
        self.cloud = Cloud(
            {
                "PhotosBucketName": PHOTOS,
                "ResultsBucketName": RESULTS,
                "JobsTableName": TABLE,
                "EventBusName": BUS,
                "StateMachineArn": aws.state_machine_arn,
                "SubmitQueueUrl": aws.queue_url,
                "SubmitDeadLetterQueueUrl": aws.dead_letter_url,
                "VmakeApiKeySecretArn": aws.secret_arn,
            },
            {"VmakeBaseUrl": "http://127.0.0.1:1", "DailyCreditLimit": "0"},
        )
        patch.setenv("CATWALK_STACK", "catwalk")
        patch.setattr(clients, "client", lambda *_, **__: self.cloud)
        for name in ("s3", "dynamodb", "events", "sqs", "secrets"):
            client = getattr(aws, name)
            patch.setattr(clients, name, lambda client=client: client)

    def __call__(self, *arguments: str, says: str = "") -> tuple[int, str, str]:
        """Run the command; return its exit status, standard output and standard error."""
        self._patch.setattr(sys, "argv", ["catwalk", *arguments])
        self._patch.setattr(sys, "stdin", io.StringIO(says))
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = self._capsys.readouterr()
        assert "Traceback" not in out + err
        assert SECRET not in out + err
        return int(ended.value.code or 0), out, err

    def key(self) -> str:
        """Return the secret's value."""
        answer = self.aws.secrets.get_secret_value(SecretId=self.aws.secret_arn)
        return str(answer["SecretString"])

    def doctor(self, *arguments: str) -> tuple[int, dict[str, tuple[str, str]]]:
        """Run the doctor; return the exit status, and verdict and sentences by check."""
        code, out, _ = self("doctor", "--json", *arguments)
        document = json.loads(out)
        found: dict[str, tuple[str, str]] = {}
        for one in document["checks"]:
            text = " ".join((one["found"], one["todo"], one["command"]))
            if found.get(one["check"], ("",))[0] != "bad":
                found[one["check"]] = (one["verdict"], text)
        assert document["healthy"] is (code == 0)
        return code, found

    def bad(self, *arguments: str) -> dict[str, str]:
        """Run the doctor; return its findings."""
        code, found = self.doctor(*arguments)
        bad = {check: text for check, (verdict, text) in found.items() if verdict == "bad"}
        assert code == (1 if bad else 0)
        return bad

    def use_bucket(self, since: datetime) -> None:
        """Set since when the functions know the photos bucket."""
        Settling(
            self.aws.dynamodb,
            TABLE,
            self.cloud.outputs["PhotosBucketName"],
            seconds=1,
            now=lambda: since,
        ).seconds_left()

    def trip(self, trouble: Trouble, *, said: str = "refused") -> None:
        """Pause submission."""
        CircuitBreaker(self.aws.dynamodb, TABLE).record(Permit(), Refused(trouble, said))


@pytest.fixture
def desk(aws: Aws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    """Return a desk for a healthy stack; the vendor gets no create request."""
    made = Desk(aws, monkeypatch, capsys)
    aws.secrets.put_secret_value(SecretId=aws.secret_arn, SecretString=SECRET)
    made.use_bucket(utc_now() - DAY)
    return made


@pytest.fixture
def vendor(desk: Desk) -> Iterator[Callable[[bytes], None]]:
    """Return a function that sets the vendor's answer to reads."""
    running = []

    def answer(reply: bytes) -> None:
        serving = server(reply)
        url, _ = serving.__enter__()
        running.append(serving)
        desk.cloud.parameters["VmakeBaseUrl"] = url

    yield answer
    for serving in running:
        serving.__exit__(None, None, None)


# --- doctor --------------------------------------------------------------------------------------


def test_a_base_url_that_shows_the_key_is_told(desk: Desk) -> None:
    """A stack with an http URL has a finding, and no key is sent."""
    desk.cloud.parameters["VmakeBaseUrl"] = "http://vendor.example.com"
    code, out, _ = desk("doctor")
    assert code == 1
    assert "in clear" in out
    assert "catwalk deploy --parameter VmakeBaseUrl" in out


def test_all_is_well(desk: Desk, vendor: Callable[[bytes], None]) -> None:
    """Each check has its line, and the status is 0."""
    vendor(http(NOT_FOUND, "404 Not Found"))
    code, out, _ = desk("doctor")
    assert code == 0, out
    assert out.splitlines()[-1] == "All is well."
    lines = out.splitlines()[:-2]
    assert [line.split()[:2] for line in lines] == [["✓", "ok"]] * 13
    assert "Account 123456789012 as arn:aws:iam::123456789012:user/ann" in out


def test_no_key(desk: Desk, vendor: Callable[[bytes], None]) -> None:
    """A secret without a valid key needs set-key."""
    vendor(http(b"", "404 Not Found"))
    desk.cloud.outputs["VmakeApiKeySecretArn"] = desk.aws.secrets.create_secret(Name="e")["ARN"]
    assert "catwalk set-key" in desk.bad()["key"]
    desk.aws.secrets.put_secret_value(
        SecretId=desk.cloud.outputs["VmakeApiKeySecretArn"], SecretString=f'{{"key": "{SECRET}"}}'
    )
    vendor(http(b"", "404 Not Found"))
    assert "JSON" in desk.bad()["key"]


def test_wrong_key(desk: Desk, vendor: Callable[[bytes], None]) -> None:
    """The doctor checks the key without creating a task."""
    vendor(http(REFUSED, "401 Unauthorized"))
    bad = desk.bad()
    assert list(bad) == ["key"]
    assert "The vendor refuses it: HTTP 401, code 401: invalid api key" in bad["key"]
    assert "catwalk set-key" in bad["key"]


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (None, "cannot be reached from this machine"),
        (http(b"<html>", "502 Bad Gateway"), "no usable answer: HTTP 502"),
    ],
)
def test_vendor_that_does_not_answer(
    desk: Desk, vendor: Callable[[bytes], None], reply: bytes | None, says: str
) -> None:
    """If the vendor does not answer, the doctor says so and does not judge the key."""
    if reply is not None:
        vendor(reply)
    code, found = desk.doctor()
    assert (code, found["vendor"][0]) == (0, "look")
    assert says in found["vendor"][1]
    assert "key" not in found


def test_dead_letters(desk: Desk) -> None:
    """Messages in the dead-letter queue are counted, and redrive is named."""
    for number in range(2):
        desk.aws.sqs.send_message(QueueUrl=desk.aws.dead_letter_url, MessageBody=str(number))
    bad = desk.bad()
    assert bad["dead letters"].startswith("2 messages in the dead-letter queue")
    assert "catwalk redrive" in bad["dead letters"]


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        (Trouble.KEY, "catwalk set-key"),
        (Trouble.CREDITS, "Top up"),
        (Trouble.ADDRESS, "catwalk deploy --parameter VmakeBaseUrl"),
    ],
)
def test_breaker_open(desk: Desk, trouble: Trouble, says: str) -> None:
    """A pause is a finding with its end, its cause and the remedy."""
    desk.trip(trouble, said="HTTP 418, code 418: no")
    before = desk.aws.records()
    text = desk.bad()["submission"]
    assert "UTC" in text
    assert "HTTP 418, code 418: no." in text
    assert says in text
    assert desk.aws.records() == before, "who looks is no probe"


def test_breaker_open_for_another_cause_by_now(desk: Desk) -> None:
    """If a pause's cause has changed, the remedy is that of the new cause."""
    desk.trip(Trouble.KEY)
    breaker = CircuitBreaker(desk.aws.dynamodb, TABLE, now=lambda: utc_now() + DAY)
    probe = breaker.ask()
    assert isinstance(probe, Permit)
    breaker.record(probe, Refused(Trouble.CREDITS, "no credits"))
    assert "Top up" in desk.bad()["submission"]


def test_breaker_that_is_about_to_try(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause whose time is over is a finding until a photo was accepted."""
    desk.trip(Trouble.KEY)
    monkeypatch.setattr(doctor.examine, "__kwdefaults__", {"now": lambda: utc_now() + DAY})
    assert "until the next photo" in desk.bad()["submission"]


DAY = timedelta(days=1)


def test_a_new_bucket(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """While S3 may not find its objects, the doctor says until when photos wait."""
    desk.cloud.outputs["PhotosBucketName"] = "new"
    code, found = desk.doctor()
    assert (code, found["bucket"][0]) == (0, "look")
    assert "S3 sends events only some 5 minutes after" in found["bucket"][1]
    assert found["bucket"][1].endswith("catwalk reconcile")
    since = utc_now() - timedelta(minutes=3)
    desk.use_bucket(since)
    code, found = desk.doctor()
    until = since + timedelta(seconds=SETTLING_SECONDS)
    assert (code, found["bucket"][0]) == (0, "look")
    assert f"Photos wait until {until:%H:%M:%S} UTC" in found["bucket"][1]
    assert "go on by themselves in 13 min" in found["bucket"][1]
    monkeypatch.setattr(selection, "endpoint", lambda: "https://127.0.0.1:1")
    assert desk.doctor()[1]["bucket"][0] == "ok", "a local AWS has no such time"


def test_key_that_was_mended(desk: Desk, vendor: Callable[[bytes], None]) -> None:
    """After set-key, a pause for a refused key needs no action."""
    desk.trip(Trouble.KEY)
    assert desk("set-key", says="sk-new-1")[0] == 0
    vendor(http(NOT_FOUND, "404 Not Found"))
    code, found = desk.doctor()
    assert (code, found["submission"][0]) == (0, "look")
    vendor(http(NOT_FOUND, "404 Not Found"))
    assert desk("doctor")[1].splitlines()[-1] == "Nothing has to be done; 1 worth a look."
    assert "catwalk reconcile" in found["submission"][1]
    vendor(http(REFUSED, "401 Unauthorized"))
    assert {"key", "submission"} <= desk.bad().keys()


def test_key_that_was_mended_elsewhere(desk: Desk, vendor: Callable[[bytes], None]) -> None:
    """If the key works again during a pause, the doctor says until when, and what ends it."""
    desk.trip(Trouble.KEY)
    vendor(http(NOT_FOUND, "404 Not Found"))
    text = desk.doctor()[1]["submission"][1]
    assert "UTC (" in text
    assert "when one photo is tried" in text
    assert "To have one photo tried at once: catwalk reconcile" in text
    for reply, taken in (
        (http(NOT_FOUND, "404 Not Found"), True),
        (http(REFUSED, "401 Unauthorized"), False),
    ):
        vendor(reply)
        assert doctor.key_is_taken(Catwalk.chosen("catwalk")) is taken
    desk.aws.secrets.put_secret_value(SecretId=desk.aws.secret_arn, SecretString="{}")
    assert doctor.key_is_taken(Catwalk.chosen("catwalk")) is False


def test_ends_that_eventbridge_refused(desk: Desk) -> None:
    """Refused events are counted, with one job as an example."""
    untold = Unannounced(desk.aws.dynamodb, TABLE)
    for job_id in ("j1", "j2"):
        untold.add(job_id)
    text = desk.bad()["events"]
    assert text.startswith("2 jobs whose end EventBridge refused to tell, j1 for one")
    assert "catwalk show j1" in text


def test_wrong_region(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a missing stack, the next step names the region in which it was used last."""
    assert desk("doctor", "--stack", "catwalk")[0] == 0
    desk.cloud.names.clear()
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    bad = desk.bad()
    assert list(bad) == ["stack"]
    assert "no stack 'catwalk' in eu-west-1" in bad["stack"]
    assert "AWS_REGION=us-east-1" in bad["stack"]


def test_no_region(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a region there is an error that says so."""
    monkeypatch.setattr(selection, "region", lambda: None)
    assert "No AWS region is set." in desk.bad()["credentials"]


@pytest.mark.parametrize("state", [selection.Condition.GONE, selection.Condition.SILENT])
@pytest.mark.parametrize("named", [True, False])
def test_ministack_is_not_running(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, state: selection.Condition, named: bool
) -> None:
    """A laptop stack whose processes are gone, or do not answer, is to be started again."""
    monkeypatch.setattr(selection, "condition", lambda _: state)
    monkeypatch.delenv("CATWALK_STACK")
    bad = desk.bad(*(["--stack", "laptop"] if named else []))
    assert "MiniStack" in bad["MiniStack"]
    assert "catwalk up" in bad["MiniStack"]


def test_local_aws_of_a_shell_is_gone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell with the env.sh of a stopped stack has an error that says so."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://127.0.0.1:1")
    desk.cloud.refuses = EndpointConnectionError(endpoint_url="https://127.0.0.1:1")
    assert "catwalk up" in desk.bad()["MiniStack"]


def test_credentials_that_are_refused(desk: Desk) -> None:
    """Expired credentials are the only finding."""
    desk.cloud.refuses = ClientError(
        {"Error": {"Code": "ExpiredToken", "Message": "The token has expired"}},
        "GetCallerIdentity",
    )
    bad = desk.bad()
    assert list(bad) == ["credentials"]
    assert "The token has expired." in bad["credentials"]


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        ("UPDATE_ROLLBACK_COMPLETE", "look"),
        ("UPDATE_IN_PROGRESS", "look"),
        ("UPDATE_ROLLBACK_FAILED", "bad"),
    ],
)
def test_state_of_the_stack(desk: Desk, status: str, verdict: str) -> None:
    """The verdict on the stack follows CloudFormation's status."""
    desk.cloud.status = status
    assert desk.doctor()[1]["stack"][0] == verdict


def test_trigger_that_is_off(desk: Desk) -> None:
    """A disabled event source mapping is found, with the line that switches it on."""
    desk.cloud.state = "Disabled"
    assert "update-event-source-mapping --uuid u-1 --enabled" in desk.bad()["trigger"]


def test_photos_that_need_a_person(desk: Desk) -> None:
    """The doctor finds unknown submits, failures by code, and photos that wait too long."""
    now = utc_now()
    for number, (status, code) in enumerate(
        [
            (JobStatus.SUBMIT_UNKNOWN, ErrorCode.SUBMIT_UNKNOWN),
            (JobStatus.FAILED, ErrorCode.TIMED_OUT),
            (JobStatus.FAILED, ErrorCode.TIMED_OUT),
            (JobStatus.REJECTED, ErrorCode.EMPTY_FILE),
            (JobStatus.ACCEPTED, None),
        ]
    ):
        job = Job(
            job_id=f"j{number}",
            status=status,
            source_key="a.jpg",
            error=JobError(code=code, message="It broke.") if code else None,
            created_at=iso(now - timedelta(hours=3)),
            updated_at=iso(now - timedelta(hours=1)),
        )
        item = {**_plain(job), "pk": f"JOB#{job.job_id}", "triggers": {"d"}}
        desk.aws.dynamodb.put_item(TableName=TABLE, Item=_wire(item))
    status_code, found = desk.doctor()
    assert status_code == 1
    assert "1 job in SUBMIT_UNKNOWN" in found["unknown"][1]
    assert "catwalk resolve j0" in found["unknown"][1]
    assert found["failures"][0] == "look"
    assert "2 timed_out, 1 empty_file" in found["failures"][1]
    assert found["queue"][0] == "look"
    assert "1 job waiting, the oldest for 3 h" in found["queue"][1]


def test_credits_of_the_day(desk: Desk) -> None:
    """The doctor shows today's credits and the limit."""
    desk.cloud.parameters["DailyCreditLimit"] = "5"
    assert desk.doctor()[1]["credits"] == ("ok", "0 credits of 5 today (UTC).  ")
    pk = {"S": f"CREDITS#{utc_now():%Y-%m-%d}"}
    desk.aws.dynamodb.put_item(TableName=TABLE, Item={"pk": pk, "reserved": {"N": "5"}})
    verdict, text = desk.doctor()[1]["credits"]
    assert (verdict, "wait for the next UTC day" in text) == ("look", True)


def test_check_that_may_not_look(desk: Desk) -> None:
    """A missing permission does not affect the other checks."""
    desk.aws.sqs.delete_queue(QueueUrl=desk.aws.dead_letter_url)
    code, found = desk.doctor()
    assert (code, found["dead letters"][0]) == (1, "bad"), "nobody knows whether there are any"
    assert "could not be looked at" in found["dead letters"][1]
    assert found["credits"][0] == "ok"


def test_item_that_is_no_job(desk: Desk) -> None:
    """An item that cannot be read as a job is named."""
    texts = {"pk": "OTHER#1", "status": "FAILED", "updated_at": iso(utc_now())}
    item = {name: {"S": text} for name, text in texts.items()}
    desk.aws.dynamodb.put_item(TableName=TABLE, Item=item)
    _, found = desk.doctor()
    assert found["failures"][0] == "bad"
    assert "'OTHER#1' that cannot be read as a job" in found["failures"][1]
    assert found["credits"][0] == "ok", "the other checks go on"


# --- set-key -------------------------------------------------------------------------------------


def test_key_that_is_piped_in(desk: Desk) -> None:
    """The key is stored without its line ending, and is never shown."""
    code, out, _ = desk("set-key", says="  sk-new-1\r\n")
    assert (code, desk.key()) == (0, "sk-new-1")
    assert "sk-new-1" not in out
    assert "catwalk doctor" in out


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("", "empty"),
        (" \n ", "empty"),
        (f'{{"apiKey": "{SECRET}"}}', "JSON"),
        (f'"{SECRET}"', "quotes"),
        (f"'{SECRET}'", "quotes"),
        (f"{SECRET} {SECRET}", "space or a line break"),
        (f"{SECRET}\n{SECRET}\n", "space or a line break"),
        ("<your key>", "placeholder"),
        (f"{SECRET}é", "no header"),
        (f"{SECRET}\x00", "no header"),
        ("x" * 5000, "characters"),
    ],
)
def test_what_is_no_key(desk: Desk, given: str, says: str) -> None:
    """An invalid key is refused without being shown, and the secret is kept."""
    code, _, err = desk("set-key", says=given)
    assert (code, says in err, len(err.splitlines())) == (1, True, 2)
    assert desk.key() == SECRET


def test_key_is_no_argument(desk: Desk) -> None:
    """A key as an argument is refused, since it would be in the shell's history."""
    assert desk("set-key", "sk-new-1")[0] == 2


def test_key_ends_the_pause(desk: Desk) -> None:
    """One of the waiting photos tries the new key at once, and the command names it."""
    desk.trip(Trouble.KEY)
    breaker = CircuitBreaker(desk.aws.dynamodb, TABLE)
    assert isinstance(breaker.ask(), Paused)
    for number in range(2):
        key = f"{number}.jpg"
        photo = Photo(bucket=PHOTOS, key=key, etag="e")
        job = desk.jobs.claim(NewJob(f"j{number}", photo, key, SETTINGS, trigger="d"))
        desk.jobs.note_waiting(job, seconds=60, reason="the key was refused")
    code, out, _ = desk("set-key", says="sk-new-1")
    assert code == 0
    assert "0.jpg tries the key. If it goes through, the others follow by themselves" in out
    (body,) = desk.aws.take(desk.aws.queue_url)
    assert json.loads(body)["detail"] == {"jobId": "j0"}
    assert isinstance(breaker.ask(), Permit)


def test_key_ends_the_pause_of_no_photo(desk: Desk) -> None:
    """If no photo waits, the next one tries the key."""
    desk.trip(Trouble.KEY)
    assert "the next photo tries the key" in desk("set-key", says="sk-new-1")[1]
    assert desk.aws.take(desk.aws.queue_url) == []


def test_key_ends_no_pause_that_the_vendor_asked_for(desk: Desk) -> None:
    """A new key does not end a pause for throttling."""
    desk.trip(Trouble.BUSY)
    code, out, _ = desk("set-key", says="sk-new-1")
    assert (code, "Submission is paused" in out) == (0, True)
    assert isinstance(CircuitBreaker(desk.aws.dynamodb, TABLE).ask(), Paused)


def test_key_with_a_byte_order_mark() -> None:
    """A byte order mark before the key is removed."""
    assert cleaned("\ufeffsk-1\n") == "sk-1"


# --- deploy --------------------------------------------------------------------------------------


class Calls(list[tuple[str, ...]]):
    """A double of the SAM CLI that keeps its calls."""


@pytest.fixture
def sam(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Return the double of the SAM CLI; the project is this one."""
    calls = Calls()

    def run(_: Sam, command: str, *arguments: str) -> None:
        calls.append((command, *arguments))
        desk.cloud.names.add("shop")

    monkeypatch.setattr(Sam, "_run", run)
    monkeypatch.setattr(deploy, "enter", lambda: Project(ROOT))
    monkeypatch.delenv("CATWALK_STACK")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return calls


def test_deploy_by_options(desk: Desk, sam: Calls) -> None:
    """CI deploys with options and --yes; the stack is then the one used last."""
    words = [
        "--stack",
        "shop",
        "--region",
        "eu-west-1",
        "--scene",
        "preset:035",
        "--credit-limit",
        "9",
        "--yes",
    ]
    code, out, err = desk("deploy", *words, "--parameter", "LogLevel=DEBUG")
    assert code == 0, err
    build, deploy = sam
    given = dict(word.split(",ParameterValue=") for word in deploy if word.startswith("Parameter"))
    assert build[:2] == ("build", "--parameter-overrides")
    assert deploy[:6] == ("deploy", "--stack-name", "shop", "--region", "eu-west-1", "--resolve-s3")
    assert "--no-confirm-changeset" in deploy
    assert {
        "ParameterKey=DefaultModelId": "002",
        "ParameterKey=DefaultSceneType": "preset",
        "ParameterKey=DefaultSceneId": "035",
        "ParameterKey=DefaultBatchSize": "4",
        "ParameterKey=DailyCreditLimit": "9",
        "ParameterKey=LogLevel": "DEBUG",
    }.items() <= given.items()
    assert "New: the stack 'shop' in eu-west-1, account 123456789012" in out
    assert "2 buckets, 1 table, 2 queues, 4 functions" in out
    assert "catwalk doctor" in out
    last = selection.read_last()
    assert last is not None
    assert (last.name, last.region) == ("shop", "eu-west-1")
    assert "The first photos wait for about 16 minutes" in out
    assert "`catwalk reconcile` finds it" in out


def test_deploy_again_keeps_what_was_chosen(desk: Desk, sam: Calls) -> None:
    """The stack's present values are the defaults; CloudFormation keeps the others."""
    desk.cloud.parameters |= {
        "DefaultModelId": "044",
        "DefaultSceneType": "preset",
        "DefaultSceneId": "035",
        "DefaultBatchSize": "2",
        "DailyCreditLimit": "7",
        "Architecture": "x86_64",
    }
    code, out, _ = desk("deploy", "--stack", "catwalk", "--scene", "original", "--yes")
    assert code == 0
    build, deploy = sam
    assert "ParameterKey=Architecture,ParameterValue=x86_64" in build
    assert "ParameterKey=DefaultModelId,ParameterValue=044" in deploy
    assert "ParameterKey=DailyCreditLimit,ParameterValue=7" in deploy
    assert 'ParameterKey=DefaultSceneId,ParameterValue=""' in deploy
    assert not [word for word in deploy if "Architecture" in word]
    assert "changed: DefaultSceneType from preset to original" in out
    assert "The first photos wait" not in out


def test_deploy_of_the_stack_that_the_shell_names(
    desk: Desk, sam: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CATWALK_STACK names the stack also for `deploy`."""
    monkeypatch.setenv("CATWALK_STACK", "shop")
    desk.cloud.names.add("shop")
    assert desk("deploy", "--region", "eu-west-1", "--yes")[0] == 0
    assert sam[1][sam[1].index("--stack-name") + 1] == "shop"


def test_deploy_with_alarms(
    desk: Desk, sam: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`deploy` asks for AlarmEmail, and says that AWS wants the address confirmed."""
    text = (ROOT / "template.yaml").read_text()
    if "\n  AlarmEmail:\n" not in text:
        text = text.replace(
            "\nParameters:\n", '\nParameters:\n  AlarmEmail:\n    Type: String\n    Default: ""\n'
        )
    (tmp_path / "template.yaml").write_text(text)
    monkeypatch.setattr(deploy, "enter", lambda: Project(tmp_path))
    words = ["deploy", "--stack", "shop", "--yes", "--alarm-email"]
    code, out, _ = desk(*words, "ann@example.com")
    assert code == 0
    assert "ParameterKey=AlarmEmail,ParameterValue=ann@example.com" in sam[-1]
    assert "AWS has written to ann@example.com" in out
    code, _, err = desk(*words, "nobody")
    assert (code, "no e-mail address" in err) == (1, True)


def test_deploy_without_a_terminal(desk: Desk, sam: Calls) -> None:
    """Without a terminal, a missing answer is an error, and nothing is deployed."""
    code, _, err = desk("deploy")
    assert (code, "nobody is here to answer" in err, "--stack" in err) == (1, True, True)
    every = [
        "--stack",
        "shop",
        "--region",
        "eu-west-1",
        "--model",
        "002",
        "--scene",
        "none",
        "--batch-size",
        "1",
    ]
    code, _, err = desk("deploy", *every, "--credit-limit", "0", "--alarm-email", "")
    assert (code, "--yes" in err or "no alarms" in err) == (1, True)
    assert sam == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--stack 1shop", "no name for a stack"),
        ("--stack default", "event bus"),
        (f"--stack {'s' * 93}", "93 characters; the most are 92"),
        ("--stack laptop", "catwalk up"),
        ("--region nowhere", "no AWS region"),
        ("--model a/b", "no model"),
        ("--scene color", "no background"),
        ("--scene preset", "no background"),
        ("--scene original:1", "no background"),
        ("--batch-size 5", "1 to 4"),
        ("--credit-limit -1", "0 or more"),
        ("--parameter Nonsense=1", "no parameter"),
        ("--parameter LogLevel", "no parameter"),
        ("--parameter PollMinSeconds=1.5", "PollMinSeconds must be a whole number of seconds"),
        ("--parameter MaxSubmitConcurrency=1", "whole number from 2 to 1000"),
        ("--parameter MaxPhotoBytes=", "whole number of bytes"),
    ],
)
def test_deploy_of_what_makes_no_sense(desk: Desk, sam: Calls, words: str, says: str) -> None:
    """An answer that the template would refuse is refused before anything is made."""
    given = words.split()
    defaults = [] if given[0] == "--stack" else ["--stack", "shop"]
    code, _, err = desk("deploy", *given, *defaults, "--yes")
    assert (code, says in err) == (1, True), err
    assert sam == []


def test_deploy_of_a_stack_that_is_stuck(desk: Desk, sam: Calls) -> None:
    """A stack that cannot be updated is refused before SAM runs."""
    for status, says in (("ROLLBACK_COMPLETE", "delete-stack"), ("UPDATE_IN_PROGRESS", "Wait")):
        desk.cloud.status = status
        code, _, err = desk("deploy", "--stack", "catwalk", "--yes")
        assert (code, says in err) == (1, True)
    assert sam == []


def test_deploy_without_credentials(desk: Desk, sam: Calls) -> None:
    """Without valid credentials, the error has AWS's message."""
    desk.cloud.refuses = ClientError(
        {"Error": {"Code": "ExpiredToken", "Message": "The token has expired"}},
        "GetCallerIdentity",
    )
    code, _, err = desk("deploy", "--stack", "shop", "--yes")
    assert (code, "The token has expired." in err) == (1, True)


class Terminal(io.StringIO):
    """A standard input that is a terminal."""

    def isatty(self) -> bool:
        """Return True, as for a terminal."""
        return True


def test_deploy_with_a_person(desk: Desk, sam: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong answers are asked again, a no deploys nothing, and `set-key` is offered."""
    monkeypatch.setattr(io, "StringIO", Terminal)
    monkeypatch.setattr(deploy, "_has_key", lambda _: False)
    asked: list[str] = []
    answers = {"AWS region": ["mars", "eu-west-1"], "API key": ["sk-typed"]}

    def prompt(text: str, default: str | None = None, **_: object) -> str:
        asked.append(text)
        rest = next((left for start, left in answers.items() if text.startswith(start)), [])
        return rest.pop(0) if rest else default or ""

    monkeypatch.setattr("typer.prompt", prompt)
    monkeypatch.setattr("typer.confirm", lambda _: False)
    code, _, err = desk("deploy", "--stack", "shop")
    assert (code, "Nothing was deployed." in err, sam) == (1, True, [])
    assert asked.count("AWS region") == 2
    monkeypatch.setattr("typer.confirm", lambda _: True)
    code, out, _ = desk("deploy", "--stack", "shop")
    assert (code, len(sam), desk.key()) == (0, 2, "sk-typed")
    assert "sk-typed" not in out
    assert "catwalk set-key" not in out


def test_template_is_read_as_it_is() -> None:
    """Every parameter of the template is found, with its default."""
    text = (ROOT / "template.yaml").read_text()
    found = deployment.template_parameters(text)
    assert found["DefaultModelId"].default == "002"
    written = template()["Parameters"]
    for name, parameter in found.items():
        assert parameter.pattern == written[name].get("AllowedPattern")
        assert parameter.constraint == written[name].get("ConstraintDescription")
    assert found["VmakeBaseUrl"].default == "https://open.vmake.ai"
    assert found["DefaultSceneId"].default == ""
    section = text.partition("\nParameters:\n")[2].partition("\nConditions:")[0]
    names = [
        line[2:-1] for line in section.splitlines() if line[:2] == "  " and line[2:3].isalpha()
    ]
    assert list(found) == names
    assert all(parameter.default is not None for parameter in found.values())


def test_the_longest_name_that_is_taken() -> None:
    """Names that the template makes from the longest stack name are valid."""
    assert deployment.stack_name("s" * 92) == "s" * 92
    topic = template()["Resources"]["AlarmTopic"]["Properties"]["DisplayName"]["Fn::Sub"]
    # SNS takes 100 characters; of the other names none is so narrow.
    assert len(topic.replace("${AWS::StackName}", "s" * 92)) == 100


def test_sam_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SAM runs without the API key and without standard input; its exit status is returned."""
    tool = tmp_path / ".tools" / "sam" / "bin" / "sam"
    tool.parent.mkdir(parents=True)
    tool.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/said; env >> {tmp_path}/said; cat; exit 3\n'
    )
    tool.chmod(0o755)
    monkeypatch.setenv("VMAKE_API_KEY", SECRET)
    with pytest.raises(CommandError, match="`sam deploy` failed with status 3"):
        Sam(tmp_path).deploy("shop", "eu-west-1", {"AlarmEmail": ""})
    said = (tmp_path / "said").read_text()
    assert 'ParameterKey=AlarmEmail,ParameterValue=""' in said
    assert SECRET not in said


def test_deploy_asks_for_the_credit_limit_and_says_what_it_does() -> None:
    """The first deployment says that there is no credit limit, and what a limit does."""
    asked: dict[str, tuple[str, str]] = {}

    def ask(question: str, option: str, _: object, default: str, check: Any) -> str:
        asked[option] = (question, default)
        return str(check(default))

    text = (ROOT / "template.yaml").read_text("utf-8")
    known = deployment.template_parameters(text)
    now = {name: each.default or "" for name, each in known.items()}
    nothing = dict.fromkeys(("model", "scene", "batch_size", "credit_limit", "alarm_email"))
    values = deploy._values(cast("Any", ask), now, **nothing, has_email=True)
    question, default = asked["--credit-limit"]
    assert "photos over it wait for the next day" in question
    assert "0 is no limit" in question
    assert values["DailyCreditLimit"] == default == "0"
