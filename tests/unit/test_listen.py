"""`catwalk listen`: it shows the events of the bus, and leaves nothing behind."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cli.commands.listen import line_of
from cli.stacks.listening import PREFIX
from shared.models import JobStatus, Result, Review, ReviewState
from shared.notify.events import DetailType, detail_of
from tests.cli_runner import NOW, Shell
from tests.factories import BUS

RESULT = Result(
    index=1,
    bucket="results",
    key="x/1.jpg",
    width=8,
    height=8,
    bytes=9,
    sha256="0",
    content_type="image/jpeg",
)


def left(shell: Shell) -> list[str]:
    """Return what is left of a listener."""
    rules = shell.aws.events.list_rules(EventBusName=BUS)["Rules"]
    urls = shell.aws.sqs.list_queues().get("QueueUrls", [])
    names = [rule["Name"] for rule in rules] + [url.rpartition("/")[2] for url in urls]
    return [name for name in names if name.startswith(PREFIX)]


def put(shell: Shell, detail_type: str, detail: Any, source: str = "catwalk") -> None:
    """Put an event on the bus."""
    entry: Any = {
        "Source": source,
        "DetailType": detail_type,
        "Detail": json.dumps(detail),
        "EventBusName": BUS,
    }
    assert shell.aws.events.put_events(Entries=[entry])["FailedEntryCount"] == 0


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """Have Ctrl-C raise KeyboardInterrupt: a test run in the background may ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def busy(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], Shell]:
    """Have something happen whenever the command waits for events."""

    def make(happens: Callable[[], object]) -> Shell:
        receive = shell.aws.sqs.receive_message

        def wait(**asked: Any) -> Any:
            happens()
            return receive(**{**asked, "WaitTimeSeconds": 0})

        monkeypatch.setattr(shell.aws.sqs, "receive_message", wait)
        return shell

    return make


def test_events_are_printed(shell: Shell, busy: Callable[[Callable[[], object]], Shell]) -> None:
    """Each request and job event is a line; with --json, the event as it is delivered."""
    job = shell.job("one", JobStatus.SUCCEEDED, source_key="summer/a.jpg", results=(RESULT,))

    def work() -> None:
        asked = {"requestId": "order-7", "photo": {"key": "summer/a.jpg"}}
        put(shell, "Fashion Model Requested", asked, "shop")
        put(shell, DetailType.SUCCEEDED, detail_of(job))

    busy(work)
    code, out, err = shell("listen", "--limit", "2")
    assert (code, f"Listening to {BUS}." in err) == (0, True)
    lines = sorted(line.split("  ", 1)[1] for line in out.splitlines())
    assert lines == [
        "Fashion Model Requested  summer/a.jpg  request order-7  from shop",
        "Job Succeeded  summer/a.jpg  Clara, own background  1 image",
    ]
    assert left(shell) == []
    code, out, _ = shell("listen", "--limit", "2", "--json")
    events = {event["detail-type"]: event for event in map(json.loads, out.splitlines())}
    assert events["Job Succeeded"]["detail"] == detail_of(job)
    assert events["Fashion Model Requested"]["source"] == "shop"
    assert left(shell) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_leave_nothing(
    shell: Shell,
    busy: Callable[[Callable[[], object]], Shell],
    number: signal.Signals,
    code: int,
) -> None:
    """Ctrl-C and SIGTERM remove the rule and the queue; the signals then work as before."""
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    seen: list[list[str]] = []

    def stop() -> None:
        seen.append(left(shell))
        os.kill(os.getpid(), number)

    busy(stop)
    assert shell("listen")[0] == code
    assert [len(names) for names in seen] == [2], "a rule and a queue were there"
    assert left(shell) == []
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize(
    ("client", "call"),
    [
        ("events", "put_rule"),
        ("sqs", "create_queue"),
        ("sqs", "set_queue_attributes"),
        ("events", "put_targets"),
    ],
)
def test_refusal_halfway_leaves_nothing(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, client: str, call: str
) -> None:
    """Without a right it says which are needed, and what was made before is removed."""

    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "No."}}, call)

    monkeypatch.setattr(getattr(shell.aws, client), call, refuse)
    code, out, err = shell("listen")
    assert (code, out) == (1, "")
    assert err.startswith("AWS does not let this command listen:")
    assert "events:PutRule" in err
    assert "could not be removed" not in err
    assert left(shell) == []


def test_queue_that_the_rule_does_not_take(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """EventBridge answers a refused target without an error; the command does not wait in vain."""
    failed = {"FailedEntryCount": 1, "FailedEntries": [{"ErrorMessage": "Too many."}]}
    monkeypatch.setattr(shell.aws.events, "put_targets", lambda **_: failed)
    code, _, err = shell("listen")
    assert code == 1
    assert err.startswith("EventBridge does not send to the queue of this command: Too many.")
    assert left(shell) == []


def test_nohup(shell: Shell, busy: Callable[[Callable[[], object]], Shell]) -> None:
    """A hangup that the shell ignores does not end the command."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    happened = iter((signal.SIGHUP, signal.SIGTERM))
    busy(lambda: os.kill(os.getpid(), next(happened)))
    try:
        assert shell("listen")[0] == 128 + signal.SIGTERM
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert left(shell) == []


def test_what_cannot_be_removed_is_told(
    shell: Shell,
    busy: Callable[[Callable[[], object]], Shell],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If a part cannot be removed, its name is told, and the other part is removed."""

    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "No."}}, "DeleteQueue")

    busy(lambda: os.kill(os.getpid(), signal.SIGINT))
    monkeypatch.setattr(shell.aws.sqs, "delete_queue", refuse)
    code, _, err = shell("listen")
    (name,) = left(shell)
    assert (code, f"{name} could not be removed: " in err) == (130, True)


def test_lines(shell: Shell) -> None:
    """Each kind of event says what matters about it; strange ones do no harm."""
    review = Review(state=ReviewState.APPROVED, chosen=(1,), by="anna", at=NOW, revision=1)
    done = shell.job("one", JobStatus.SUCCEEDED, results=(RESULT,), review=review)
    failed = shell.job("two")
    url = {"photo": {"url": "https://shop.example/a.jpg?sign=s3cret"}}
    cases: list[tuple[str, Any, str, str]] = [
        (DetailType.REVIEWED, detail_of(done), "catwalk", "Approved; 1 chosen"),
        (DetailType.FAILED, detail_of(failed), "catwalk", "timed out  It broke."),
        (
            DetailType.NEEDS_ATTENTION,
            {**detail_of(failed), "paused": {"until": NOW, "reason": "No key.\x1b[2J"}},
            *("catwalk", "No key.\\x1b[2J"),
        ),
        ("Fashion Model Requested", url, "shop", "https://shop.example/a.jpg  from shop"),
        ("Fashion Model Requested", {"photo": 5}, "shop", "from shop"),
        ("Job Failed", {"status": "?"}, "catwalk", "catwalk"),
        ("Other", "text", "shop", "from shop"),
    ]
    for kind, detail, source, end in cases:
        event = {"time": NOW, "detail-type": kind, "source": source, "detail": detail}
        line = line_of(event).plain
        assert line.startswith(f"{NOW[11:19]} UTC  {kind}  ")
        assert line.endswith(end)
        assert "s3cret" not in line
