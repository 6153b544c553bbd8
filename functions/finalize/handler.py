"""FinalizeFunction: copies a finished task's results to ResultsBucket and closes the record."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from shared import clients
from shared.config import FinalizeConfig, config
from shared.observability import lambda_handler, quiet_libraries
from shared.steps.finalize import Finalizer
from shared.wiring import Wiring, finalizer

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@lambda_handler
def handler(event: Mapping[str, Any], _context: "LambdaContext") -> dict[str, Any]:
    """Take the state machine's `PollState`, or the event of an execution that was stopped."""
    return _finalizer().finalize(event)


@cache
def _finalizer() -> Finalizer:
    quiet_libraries()
    settings = config(FinalizeConfig)
    return finalizer(settings, Wiring(settings))


# `secrets` and the vendor's client are left out: they are needed only for expired URLs.
clients.make_in_init(_finalizer, clients.dynamodb, clients.s3, clients.events)
