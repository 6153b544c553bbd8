"""ReconcileFunction: continues stalled work, and makes a record for each dead letter."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from shared import clients
from shared.config import ReconcileConfig, config
from shared.observability import lambda_handler, quiet_libraries
from shared.steps.reconcile import STILL_SECONDS, Reconciler
from shared.wiring import Wiring, reconciler

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@lambda_handler
def handler(event: Mapping[str, Any], context: "LambdaContext") -> dict[str, int]:
    """Take the schedule's event; return how many entries were moved, by kind.

    A run by hand with `{"still_seconds": 0}` checks all entries, also those that just changed.
    """
    still = float(event.get("still_seconds", STILL_SECONDS))
    return _reconciler().run(
        lambda: context.get_remaining_time_in_millis() / 1000, still_seconds=still
    )


@cache
def _reconciler() -> Reconciler:
    quiet_libraries()
    settings = config(ReconcileConfig)
    return reconciler(settings, Wiring(settings))


# `events` and `executions` are left out: they are needed only for stalled jobs.
clients.make_in_init(_reconciler, clients.dynamodb, clients.s3, clients.sqs)
