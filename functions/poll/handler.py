"""PollFunction: reads a task once and returns the next state of the wait loop."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from shared import clients
from shared.config import PollConfig, config
from shared.observability import lambda_handler, quiet_libraries
from shared.steps.poll import Poller
from shared.wiring import Wiring, poller

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@lambda_handler
def handler(event: Mapping[str, Any], _context: "LambdaContext") -> dict[str, Any]:
    """Take the state machine's `PollState`; return the next one."""
    return _poller().poll(event)


@cache
def _poller() -> Poller:
    quiet_libraries()
    settings = config(PollConfig)
    wiring = Wiring(settings)
    wiring.vendor.make_for_reads()
    return poller(settings, wiring)


# `events` is left out: it is needed only for a failed task.
clients.make_in_init(_poller, clients.dynamodb, clients.secrets)
