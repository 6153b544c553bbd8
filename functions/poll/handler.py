"""PollFunction: one read of a task, and what the wait loop shall do next."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from shared import clients
from shared.config import config
from shared.notify.announcer import Announcer
from shared.notify.events import EventPublisher
from shared.notify.metrics import Metrics
from shared.observability import lambda_handler, quiet_libraries
from shared.polling.schedule import PollSchedule
from shared.records.jobs import JobRepository
from shared.steps.poll import Poller
from shared.vmake.client import VmakeClient
from shared.vmake.secret import ApiKey

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@lambda_handler
def handler(event: Mapping[str, Any], _context: "LambdaContext") -> dict[str, Any]:
    """Take the state machine's `PollState`; return the next one."""
    return _poller().poll(event)


@cache
def _poller() -> Poller:
    quiet_libraries()
    settings = config()
    metrics = Metrics(settings.stack_name)
    jobs = JobRepository(clients.dynamodb(), settings.jobs_table)
    api_key = ApiKey(clients.secrets(), settings.api_key_secret)
    vendor = VmakeClient(settings.vmake_base_url, api_key)
    vendor.make_for_reads()
    return Poller(
        config=settings,
        jobs=jobs,
        vendor=vendor,
        api_key=api_key,
        announcer=Announcer(EventPublisher(clients.events(), settings.event_bus), jobs, metrics),
        schedule=PollSchedule(clients.dynamodb(), settings),
    )


# `events` is left out: it is needed for a task that failed.
clients.make_in_init(_poller, clients.dynamodb, clients.secrets)
