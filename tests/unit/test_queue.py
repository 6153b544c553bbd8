"""SubmitQueue: one message's trouble is its own, and waiting is no failure."""

from typing import Any

import pytest

from shared.steps.queue import MAX_DELAY_SECONDS, SubmitQueue
from shared.steps.submit import ENOUGH_SECONDS, Later

Waits = tuple[Later, ...]


class Sqs:
    """A queue that keeps what is sent to it."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def send_message(self, **message: Any) -> None:
        """Keep a message."""
        if message["MessageBody"] == "unsendable":
            raise RuntimeError("SQS is away")
        self.sent.append(message)


@pytest.fixture
def sqs() -> Sqs:
    """Give a queue."""
    return Sqs()


def take(
    sqs: Sqs, outcomes: dict[str, Waits | Exception], *, remaining: float = 140
) -> tuple[list[str], list[str]]:
    """Take a batch; return the ids that come again, and the bodies that were handled."""
    handled: list[str] = []

    def handle(body: str, message_id: str) -> Waits:
        assert message_id == f"id-{body}"
        handled.append(body)
        outcome = outcomes[body]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    records = [{"messageId": f"id-{body}", "body": body} for body in outcomes]
    answer = SubmitQueue(sqs, "https://sqs/submit").take(records, handle, lambda: remaining)  # type: ignore[arg-type]  # a double
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]], handled


def test_handled_messages_are_done_with(sqs: Sqs) -> None:
    """A batch in which all went well leaves nothing behind."""
    assert take(sqs, {"a": (), "b": ()}) == ([], ["a", "b"])
    assert sqs.sent == []


def test_failed_message_comes_again_alone(sqs: Sqs) -> None:
    """An exception in one message fails that one; the others are handled all the same."""
    outcomes: dict[str, Waits | Exception] = {
        "a": (),
        "b": RuntimeError("boom"),
        "c": (),
    }
    assert take(sqs, outcomes) == (["id-b"], ["a", "b", "c"])
    assert sqs.sent == []


@pytest.mark.parametrize(
    ("seconds", "delay"), [(0, 0), (30, 30), (30.4, 31), (-5, 0), (86_400, MAX_DELAY_SECONDS)]
)
def test_waiting_message_goes_back_as_a_copy(sqs: Sqs, seconds: float, delay: int) -> None:
    """A photo that waits is sent anew with a delay, and does not count as a failure."""
    assert take(sqs, {"a": (Later(seconds, "busy"),)}) == ([], ["a"])
    assert sqs.sent == [
        {"QueueUrl": "https://sqs/submit", "MessageBody": "a", "DelaySeconds": delay}
    ]


def test_each_variant_that_waits_goes_back_by_itself(sqs: Sqs) -> None:
    """What names the message to go on with is sent as that, with a delay of its own."""
    waits = (Later(5, "busy", "job 1"), Later(60, "no credits", "job 2"))
    assert take(sqs, {"a": waits}) == ([], ["a"])
    assert [(m["MessageBody"], m["DelaySeconds"]) for m in sqs.sent] == [
        ("job 1", 5),
        ("job 2", 60),
    ]


def test_copy_that_cannot_be_sent_keeps_the_original(sqs: Sqs) -> None:
    """If the copy cannot be sent, the message itself comes again."""
    assert take(sqs, {"unsendable": (Later(5, "busy"),)}) == (["id-unsendable"], ["unsendable"])


def test_message_without_time_is_not_begun(sqs: Sqs) -> None:
    """With too little of the invocation left a message is put back, unharmed."""
    outcomes: dict[str, Waits | Exception] = {"a": (), "b": ()}
    assert take(sqs, outcomes, remaining=ENOUGH_SECONDS - 1) == ([], [])
    assert [message["MessageBody"] for message in sqs.sent] == ["a", "b"]
    assert take(sqs, outcomes, remaining=ENOUGH_SECONDS) == ([], ["a", "b"])


def test_kill_is_not_swallowed(sqs: Sqs) -> None:
    """What ends the process is not taken for a message's trouble."""

    class Killed(BaseException):
        pass

    def handle(_body: str, _message_id: str) -> Waits:
        raise Killed

    with pytest.raises(Killed):
        SubmitQueue(sqs, "q").take([{"messageId": "1", "body": "a"}], handle, lambda: 140)  # type: ignore[arg-type]  # a double
