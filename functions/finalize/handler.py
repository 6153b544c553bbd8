"""FinalizeFunction: a finished task's results go to ResultsBucket, and the record is closed."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from shared import clients
from shared.config import config
from shared.notify.announcer import Announcer
from shared.notify.events import EventPublisher
from shared.notify.metrics import Metrics
from shared.observability import lambda_handler, quiet_libraries
from shared.records.jobs import JobRepository
from shared.results.download import download_client
from shared.results.store import ResultStore
from shared.steps.finalize import Finalizer
from shared.vmake.client import VmakeClient
from shared.vmake.secret import ApiKey

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@lambda_handler
def handler(event: Mapping[str, Any], _context: "LambdaContext") -> dict[str, Any]:
    """Take the state machine's `PollState`, or the news that an execution was stopped."""
    return _finalizer().finalize(event)


@cache
def _finalizer() -> Finalizer:
    quiet_libraries()
    settings = config()
    metrics = Metrics(settings.stack_name)
    jobs = JobRepository(clients.dynamodb(), settings.jobs_table)
    return Finalizer(
        jobs=jobs,
        results=ResultStore(
            clients.s3(),
            settings.results_bucket,
            download_client(settings.vmake_base_url),
            max_bytes=settings.max_result_bytes,
        ),
        vendor=VmakeClient(
            settings.vmake_base_url, ApiKey(clients.secrets(), settings.api_key_secret)
        ),
        announcer=Announcer(EventPublisher(clients.events(), settings.event_bus), jobs, metrics),
    )


# `secrets` and the vendor's client are left out: they are needed for URLs that no longer work.
clients.make_in_init(_finalizer, clients.dynamodb, clients.s3, clients.events)
