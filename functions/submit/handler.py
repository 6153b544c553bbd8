"""SubmitFunction: takes photos and requests from SubmitQueue and submits each as a task."""

from collections.abc import Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from shared import clients
from shared.config import SubmitConfig, config
from shared.observability import lambda_handler, quiet_libraries
from shared.steps.queue import SubmitQueue
from shared.steps.submit import Batch, Submitter
from shared.wiring import Wiring, submitter

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@lambda_handler
def handler(event: Mapping[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Take a batch of SQS messages; return those that SQS must deliver again."""

    def remaining_seconds() -> float:
        return context.get_remaining_time_in_millis() / 1000

    handle = partial(_submitter().handle, batch=Batch(remaining_seconds))
    return _queue().take(event["Records"], handle, remaining_seconds)


@cache
def _queue() -> SubmitQueue:
    return SubmitQueue(clients.sqs(), config(SubmitConfig).submit_queue_url)


@cache
def _submitter() -> Submitter:
    quiet_libraries()
    settings = config(SubmitConfig)
    wiring = Wiring(settings)
    wiring.vendor.make_for_creates()
    return submitter(settings, wiring)


# `sqs` is left out: it is needed only for a photo that must wait.
clients.make_in_init(
    *(_submitter, _queue, clients.dynamodb, clients.s3),
    *(clients.secrets, clients.executions, clients.events),
)
