"""ReconcileFunction: what stands still is moved on, and each dead letter gets a record."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from shared import clients
from shared.config import config
from shared.intake.arrivals import Arrivals
from shared.intake.photos import PhotoStore
from shared.intake.requests import vendor_origin
from shared.limits.circuit_breaker import Breaker
from shared.limits.credit_limit import Purse
from shared.limits.settling import Settling
from shared.notify.announcer import Announcer
from shared.notify.events import EventPublisher
from shared.notify.metrics import Metrics
from shared.observability import lambda_handler, quiet_libraries
from shared.records.jobs import JobRepository
from shared.steps.dead_letters import DeadLetters
from shared.steps.reconcile import STILL_SECONDS, Cursors, Reconciler, Resent, Untold

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@lambda_handler
def handler(event: Mapping[str, Any], context: "LambdaContext") -> dict[str, int]:
    """Take the schedule's event; return how many were moved on, by kind.

    Whoever invokes it by hand may say `{"still_seconds": 0}`: to look at everything at once.
    """
    still = float(event.get("still_seconds", STILL_SECONDS))
    return _reconciler().run(
        lambda: context.get_remaining_time_in_millis() / 1000, still_seconds=still
    )


@cache
def _reconciler() -> Reconciler:
    quiet_libraries()
    settings = config()
    metrics = Metrics(settings.stack_name)
    jobs = JobRepository(clients.dynamodb(), settings.jobs_table)
    arrivals = Arrivals(clients.dynamodb(), settings.jobs_table)
    return Reconciler(
        config=settings,
        jobs=jobs,
        arrivals=arrivals,
        photos=PhotoStore(clients.s3(), settings.photos_bucket, max_bytes=settings.max_photo_bytes),
        dead_letters=DeadLetters(
            clients.sqs(),
            dead_letter_url=settings.dead_letter_queue_url,
            queue_url=settings.submit_queue_url,
            photos_bucket=settings.photos_bucket,
            vendor_origin=vendor_origin(settings),
            jobs=jobs,
            arrivals=arrivals,
        ),
        cursors=Cursors(clients.dynamodb(), settings.jobs_table),
        resent=Resent(clients.dynamodb(), settings.jobs_table, settings.photos_bucket),
        settling=Settling(
            clients.dynamodb(),
            settings.jobs_table,
            settings.photos_bucket,
            seconds=settings.settling_seconds,
        ),
        untold=Untold(clients.dynamodb(), settings.jobs_table),
        announcer=Announcer(EventPublisher(clients.events(), settings.event_bus), jobs, metrics),
        executions=clients.executions(),
        sqs=clients.sqs(),
        breaker=Breaker(clients.dynamodb(), settings.jobs_table),
        purse=Purse(clients.dynamodb(), settings.jobs_table, limit=settings.daily_credit_limit),
        metrics=metrics,
    )


# `events` and `executions` are left out: they are needed for what stands still.
clients.make_in_init(_reconciler, clients.dynamodb, clients.s3, clients.sqs)
