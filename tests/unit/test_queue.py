"""SubmitQueue: a failing message does not affect others, and waiting is no failure."""

from typing import Any

import pytest

from shared.steps.queue import MAX_DELAY_SECONDS, SubmitQueue
from shared.steps.submit import ENOUGH_SECONDS, Later

Waits = tuple[Later, ...]


class Sqs:
    """A double of SQS that keeps the messages."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def send_message(self, **message: Any) -> None:
        """Keep a message."""
        if message["MessageBody"] == "unsendable":
            raise RuntimeError("SQS is away")
        self.sent.append(message)


@pytest.fixture
def sqs() -> Sqs:
    """Return a queue."""
    return Sqs()


def take(
    sqs: Sqs, outcomes: dict[str, Waits | Exception], *, remaining: float = 140
) -> tuple[list[str], list[str]]:
    """Handle a batch; return the failed ids and the handled bodies."""
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
    """A batch without failures reports none."""
    assert take(sqs, {"a": (), "b": ()}) == ([], ["a", "b"])
    assert sqs.sent == []


def test_failed_message_comes_again_alone(sqs: Sqs) -> None:
    """An exception fails only its own message."""
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
    """A waiting photo's message is sent again with a delay, and is no failure."""
    assert take(sqs, {"a": (Later(seconds, "busy"),)}) == ([], ["a"])
    assert sqs.sent == [
        {"QueueUrl": "https://sqs/submit", "MessageBody": "a", "DelaySeconds": delay}
    ]


def test_each_variant_that_waits_goes_back_by_itself(sqs: Sqs) -> None:
    """A wait with its own body sends that body, with its own delay."""
    waits = (Later(5, "busy", "job 1"), Later(60, "no credits", "job 2"))
    assert take(sqs, {"a": waits}) == ([], ["a"])
    assert [(m["MessageBody"], m["DelaySeconds"]) for m in sqs.sent] == [
        ("job 1", 5),
        ("job 2", 60),
    ]


def test_copy_that_cannot_be_sent_keeps_the_original(sqs: Sqs) -> None:
    """If the delayed message cannot be sent, the original one fails and comes again."""
    assert take(sqs, {"unsendable": (Later(5, "busy"),)}) == (["id-unsendable"], ["unsendable"])


def test_message_without_time_is_not_begun(sqs: Sqs) -> None:
    """With too little time left, a message is reported as failed without being handled."""
    outcomes: dict[str, Waits | Exception] = {"a": (), "b": ()}
    assert take(sqs, outcomes, remaining=ENOUGH_SECONDS - 1) == ([], [])
    assert [message["MessageBody"] for message in sqs.sent] == ["a", "b"]
    assert take(sqs, outcomes, remaining=ENOUGH_SECONDS) == ([], ["a", "b"])


def test_kill_is_not_swallowed(sqs: Sqs) -> None:
    """A BaseException is not caught."""

    class Killed(BaseException):
        pass

    def handle(_body: str, _message_id: str) -> Waits:
        raise Killed

    with pytest.raises(Killed):
        SubmitQueue(sqs, "q").take([{"messageId": "1", "body": "a"}], handle, lambda: 140)  # type: ignore[arg-type]  # a double
