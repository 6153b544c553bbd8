"""Receives the events of a stack's bus, through a rule and a queue that exist only meanwhile."""

import json
import secrets
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from botocore.exceptions import BotoCoreError, ClientError

from cli.errors import CommandError, sentence
from cli.terminal.output import warn

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_sqs import SQSClient

PREFIX: Final = "catwalk-listen-"
"""The names of the rule and the queue begin so."""
_PATTERN: Final = {"source": [{"prefix": ""}]}
"""Matches every event: each has a source."""
_RETENTION_SECONDS: Final = 3_600
"""How long the queue keeps an event that is not read."""
_WAIT_SECONDS: Final = 5
"""How long one read waits for events; SQS allows 20."""
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_DENIED: Final = frozenset({"AccessDenied", "AccessDeniedException", "AuthorizationError"})
_NEEDED: Final = (
    "events:PutRule, PutTargets, RemoveTargets and DeleteRule on the bus's rules, and"
    " sqs:CreateQueue, GetQueueAttributes, ReceiveMessage, DeleteMessage and DeleteQueue"
)


class Listener:
    """Makes a rule and a queue, and removes them at the end, also after Ctrl-C and SIGTERM."""

    def __init__(self, events: "EventBridgeClient", sqs: "SQSClient", bus: str) -> None:
        """Listen to this bus."""
        self._events = events
        self._sqs = sqs
        self._bus = bus
        self.name = f"{PREFIX}{secrets.token_hex(4)}"
        self._undo = ExitStack()
        self._url = ""

    def __enter__(self) -> Self:
        """Make the rule and the queue.

        Raises:
            CommandError: AWS refuses.

        """
        self._end_by_signals()
        try:
            self._make()
        except ClientError as error:
            self._close()
            denied = error.response["Error"].get("Code") in _DENIED
            raise CommandError(
                f"AWS does not let this command listen: {sentence(str(error))}",
                f"It needs {_NEEDED}. docs/events.md connects a queue of your own."
                if denied
                else "Run `catwalk doctor`: it checks the credentials and the region.",
            ) from error
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the rule and the queue."""
        self._close()

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield each event, as EventBridge delivers it; this never ends by itself."""
        while True:
            answer = self._sqs.receive_message(
                QueueUrl=self._url, MaxNumberOfMessages=10, WaitTimeSeconds=_WAIT_SECONDS
            )
            messages = answer.get("Messages", [])
            read = [json.loads(message["Body"]) for message in messages]
            # A standard queue keeps no order.
            yield from sorted(read, key=lambda event: str(event.get("time", "")))
            for message in messages:
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])

    def _make(self) -> None:
        events, sqs, bus, name = self._events, self._sqs, self._bus, self.name
        # Each part is removed even if its creation was interrupted after AWS had made it.
        self._undo.callback(self._quietly, lambda: events.delete_rule(Name=name, EventBusName=bus))
        rule = events.put_rule(
            Name=name,
            EventBusName=bus,
            EventPattern=json.dumps(_PATTERN),
            Description="Made by `catwalk listen`, which removes it at its end.",
        )["RuleArn"]
        self._undo.callback(self._quietly, self._delete_queue)
        self._url = sqs.create_queue(
            QueueName=name, Attributes={"MessageRetentionPeriod": str(_RETENTION_SECONDS)}
        )["QueueUrl"]
        queue = sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])
        queue_arn = queue["Attributes"]["QueueArn"]
        sqs.set_queue_attributes(
            QueueUrl=self._url, Attributes={"Policy": json.dumps(policy(queue_arn, rule))}
        )
        self._undo.callback(
            self._quietly,
            lambda: events.remove_targets(Rule=name, EventBusName=bus, Ids=["queue"]),
        )
        answer = events.put_targets(
            Rule=name, EventBusName=bus, Targets=[{"Id": "queue", "Arn": queue_arn}]
        )
        if answer["FailedEntryCount"]:
            why = answer["FailedEntries"][0].get("ErrorMessage", "it gives no reason")
            raise CommandError(
                f"EventBridge does not send to the queue of this command: {sentence(why)}",
                "Try again, or connect a queue of your own: docs/events.md.",
            )

    def _delete_queue(self) -> None:
        url = self._url or self._sqs.get_queue_url(QueueName=self.name)["QueueUrl"]
        self._sqs.delete_queue(QueueUrl=url)

    def _quietly(self, remove: Callable[[], object]) -> None:
        """Remove a part; if that fails, say what is left, because the other parts go on."""
        try:
            remove()
        except (ClientError, BotoCoreError) as error:
            code = error.response["Error"].get("Code") if isinstance(error, ClientError) else ""
            if code not in {"ResourceNotFoundException", "AWS.SimpleQueueService.NonExistentQueue"}:
                warn(f"{self.name} could not be removed: {sentence(str(error))} Delete it by hand.")

    def _close(self) -> None:
        """Remove what was made; a second Ctrl-C does not stop that."""
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        self._undo.close()

    def _end_by_signals(self) -> None:
        """Let SIGTERM and SIGHUP end the command as Ctrl-C does."""

        def end(number: int, _frame: FrameType | None) -> None:
            raise SystemExit(128 + number)

        for number in _SIGNALS:
            self._undo.callback(signal.signal, number, signal.getsignal(number))
        for number in (signal.SIGTERM, signal.SIGHUP):
            # `nohup` has the hangup ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, end)


def policy(queue_arn: str, rule_arn: str) -> dict[str, Any]:
    """Return the policy that lets a rule send to a queue."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "events.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": queue_arn,
                "Condition": {"ArnEquals": {"aws:SourceArn": rule_arn}},
            }
        ],
    }
