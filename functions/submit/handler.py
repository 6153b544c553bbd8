"""SubmitFunction: photos and requests from SubmitQueue become tasks at the vendor."""

from collections.abc import Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from shared import clients
from shared.config import config
from shared.intake.arrivals import Arrivals
from shared.intake.photos import PhotoStore
from shared.intake.requests import Intake
from shared.limits.circuit_breaker import Breaker
from shared.limits.credit_limit import Purse
from shared.limits.gate import SubmitGate
from shared.limits.settling import Settling
from shared.notify.announcer import Announcer
from shared.notify.events import EventPublisher
from shared.notify.metrics import Metrics
from shared.observability import lambda_handler, quiet_libraries
from shared.polling.schedule import PollSchedule
from shared.records.jobs import JobRepository
from shared.records.ledger import Ledger
from shared.steps.queue import SubmitQueue
from shared.steps.start import Starter
from shared.steps.submit import Batch, Submitter
from shared.vmake.client import VmakeClient
from shared.vmake.secret import ApiKey

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@lambda_handler
def handler(event: Mapping[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Take a batch of SQS messages; return which of them must come again."""

    def remaining_seconds() -> float:
        return context.get_remaining_time_in_millis() / 1000

    handle = partial(_submitter().handle, batch=Batch(remaining_seconds))
    return _queue().take(event["Records"], handle, remaining_seconds)


@cache
def _queue() -> SubmitQueue:
    return SubmitQueue(clients.sqs(), config().submit_queue_url)


@cache
def _submitter() -> Submitter:
    quiet_libraries()
    settings = config()
    metrics = Metrics(settings.stack_name)
    jobs = JobRepository(clients.dynamodb(), settings.jobs_table)
    api_key = ApiKey(clients.secrets(), settings.api_key_secret)
    vendor = VmakeClient(settings.vmake_base_url, api_key)
    vendor.make_for_creates()
    announcer = Announcer(EventPublisher(clients.events(), settings.event_bus), jobs, metrics)
    ledger = Ledger(clients.dynamodb(), settings.jobs_table)
    photos = PhotoStore(clients.s3(), settings.photos_bucket, max_bytes=settings.max_photo_bytes)
    arrivals = Arrivals(clients.dynamodb(), settings.jobs_table)
    return Submitter(
        config=settings,
        intake=Intake(config=settings, photos=photos, arrivals=arrivals),
        jobs=jobs,
        gate=SubmitGate(
            breaker=Breaker(clients.dynamodb(), settings.jobs_table, metrics=metrics),
            purse=Purse(clients.dynamodb(), settings.jobs_table, limit=settings.daily_credit_limit),
            metrics=metrics,
        ),
        vendor=vendor,
        api_key=api_key,
        announcer=announcer,
        ledger=ledger,
        metrics=metrics,
        settling=Settling(
            clients.dynamodb(),
            settings.jobs_table,
            settings.photos_bucket,
            seconds=settings.settling_seconds,
        ),
        starter=Starter(
            config=settings,
            ledger=ledger,
            announcer=announcer,
            schedule=PollSchedule(clients.dynamodb(), settings),
            executions=clients.executions(),
        ),
    )


# `sqs` is left out: it is needed for a photo that must wait.
clients.make_in_init(
    *(_submitter, _queue, clients.dynamodb, clients.s3),
    *(clients.secrets, clients.executions, clients.events),
)
