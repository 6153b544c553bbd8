"""SubmitQueue: takes a batch of messages, and sends those again that must wait.

A photo that has to wait (the vendor throttles, the account has no credits) is no failure. Its
message must not use up its receive count and end in the dead-letter queue. So a new message that
names the job is sent with a delay, and then the original is deleted. A crash in between leaves two
messages; the record makes sure that they lead to one job.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from shared.observability import log_keys, logger
from shared.steps.submit import ENOUGH_SECONDS, Later

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

MAX_DELAY_SECONDS: Final = 900
"""SQS's longest delay. A photo that waits longer is sent again with a new delay."""


class SubmitQueue:
    """The queue that feeds SubmitFunction."""

    def __init__(self, sqs: "SQSClient", url: str) -> None:
        """Send copies to this queue."""
        self._sqs = sqs
        self._url = url

    def take(
        self,
        records: Sequence[Mapping[str, Any]],
        handle: Callable[[str, str], tuple[Later, ...]],
        remaining_seconds: Callable[[], float],
    ) -> dict[str, Any]:
        """Handle each message separately and return Lambda's partial batch response.

        Args:
            records: `Records` of the SQS event.
            handle: called with a message's body and id; returns the messages to send again.
            remaining_seconds: returns how much of the invocation is left.

        """
        failures = []
        for record in records:
            message_id = record["messageId"]
            try:
                if remaining_seconds() < ENOUGH_SECONDS:
                    waits: tuple[Later, ...] = (Later(0, "this invocation has no time left"),)
                else:
                    waits = handle(record["body"], message_id)
                for wait in waits:
                    self._send_again(wait.body or record["body"], wait)
            # A failed message must not affect the others. SQS delivers it again, and after about a
            # day moves it to the dead-letter queue.
            except Exception:  # noqa: BLE001  see above; it is logged
                logger().exception("message failed", extra={"message_id": message_id})
                failures.append({"itemIdentifier": message_id})
        return {"batchItemFailures": failures}

    def _send_again(self, body: str, later: Later) -> None:
        seconds = min(MAX_DELAY_SECONDS, max(0, math.ceil(later.seconds)))
        self._sqs.send_message(QueueUrl=self._url, MessageBody=body, DelaySeconds=seconds)
        with log_keys(**later.keys):
            logger().info("waits", extra={"seconds": seconds, "reason": later.reason})
