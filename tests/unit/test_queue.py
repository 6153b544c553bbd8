"""SubmitQueue: one message's trouble is its own, and waiting is no failure."""

from typing import Any

import pytest

from shared.queue import MAX_DELAY_SECONDS, SubmitQueue
from shared.submit import ENOUGH_SECONDS, Handled, Later, Outcome


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
    sqs: Sqs, outcomes: dict[str, Outcome | Exception], *, remaining: float = 140
) -> tuple[list[str], list[str]]:
    """Take a batch; return the ids that come again, and the bodies that were handled."""
    handled: list[str] = []

    def handle(body: str, message_id: str) -> Outcome:
        assert message_id == f"id-{body}"
        handled.append(body)
        outcome = outcomes[body]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    records = [{"messageId": f"id-{body}", "body": body} for body in outcomes]
    answer = SubmitQueue(sqs, "https://sqs/submit").take(records, handle, lambda: remaining)  # type: ignore[arg-type]
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]], handled


def test_handled_messages_are_done_with(sqs: Sqs) -> None:
    """A batch in which all went well leaves nothing behind."""
    assert take(sqs, {"a": Handled(), "b": Handled()}) == ([], ["a", "b"])
    assert sqs.sent == []


def test_failed_message_comes_again_alone(sqs: Sqs) -> None:
    """An exception in one message fails that one; the others are handled all the same."""
    outcomes: dict[str, Outcome | Exception] = {
        "a": Handled(),
        "b": RuntimeError("boom"),
        "c": Handled(),
    }
    assert take(sqs, outcomes) == (["id-b"], ["a", "b", "c"])
    assert sqs.sent == []


@pytest.mark.parametrize(
    ("seconds", "delay"), [(0, 0), (30, 30), (30.4, 30), (-5, 0), (86_400, MAX_DELAY_SECONDS)]
)
def test_waiting_message_goes_back_as_a_copy(sqs: Sqs, seconds: float, delay: int) -> None:
    """A photo that waits is sent anew with a delay, and does not count as a failure."""
    assert take(sqs, {"a": Later(seconds, "busy")}) == ([], ["a"])
    assert sqs.sent == [
        {"QueueUrl": "https://sqs/submit", "MessageBody": "a", "DelaySeconds": delay}
    ]


def test_copy_that_cannot_be_sent_keeps_the_original(sqs: Sqs) -> None:
    """If the copy cannot be sent, the message itself comes again."""
    assert take(sqs, {"unsendable": Later(5, "busy")}) == (["id-unsendable"], ["unsendable"])


def test_message_without_time_is_not_begun(sqs: Sqs) -> None:
    """With too little of the invocation left a message is put back, unharmed."""
    outcomes: dict[str, Outcome | Exception] = {"a": Handled(), "b": Handled()}
    assert take(sqs, outcomes, remaining=ENOUGH_SECONDS - 1) == ([], [])
    assert [message["MessageBody"] for message in sqs.sent] == ["a", "b"]
    assert take(sqs, outcomes, remaining=ENOUGH_SECONDS) == ([], ["a", "b"])


def test_kill_is_not_swallowed(sqs: Sqs) -> None:
    """What ends the process is not taken for a message's trouble."""

    class Killed(BaseException):
        pass

    def handle(_body: str, _message_id: str) -> Outcome:
        raise Killed

    with pytest.raises(Killed):
        SubmitQueue(sqs, "q").take([{"messageId": "1", "body": "a"}], handle, lambda: 140)  # type: ignore[arg-type]
