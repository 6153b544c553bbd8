"""Builds the step of each function from its configuration and the AWS clients.

Handlers, tests and benches build the four steps here, so that the dependencies are listed once.
Each builder imports only its own step, so that a function's cold start imports no other's.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from shared import clients
from shared.clock import utc_now
from shared.config import (
    Config,
    FinalizeConfig,
    PhotosConfig,
    PollConfig,
    ReconcileConfig,
    SubmitConfig,
)
from shared.notify.announcer import Announcer
from shared.notify.events import EventPublisher
from shared.notify.metrics import Metrics
from shared.records.jobs import JobRepository
from shared.vmake.client import VmakeClient
from shared.vmake.secret import ApiKey

if TYPE_CHECKING:
    import httpx
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_stepfunctions import SFNClient

    from shared.limits.settling import Settling
    from shared.steps.finalize import Finalizer
    from shared.steps.poll import Poller
    from shared.steps.reconcile import Reconciler
    from shared.steps.submit import Submitter


@dataclass(kw_only=True)
class AwsClients:
    """The clients that the steps use."""

    dynamodb: "DynamoDBClient"
    events: "EventBridgeClient"
    executions: "SFNClient"
    s3: "S3Client"
    secrets: "SecretsManagerClient"
    sqs: "SQSClient"


def own_clients() -> AwsClients:
    """Return this process's clients; each one is made when it is first used."""
    return AwsClients(
        dynamodb=clients.dynamodb(),
        events=clients.events(),
        executions=clients.executions(),
        s3=clients.s3(),
        secrets=clients.secrets(),
        sqs=clients.sqs(),
    )


class Wiring:
    """The parts that several steps share, for one configuration.

    Tests pass their own clock and test doubles.
    """

    def __init__(
        self,
        config: Config,
        aws: AwsClients | None = None,
        *,
        metrics: Metrics | None = None,
        api_key: ApiKey | None = None,
        vendor: VmakeClient | None = None,
        now: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Build the parts; none of them makes a call yet.

        Args:
            config: the function's configuration.
            aws: the AWS clients; None uses this process's own.
            metrics: None writes to standard output, where Lambda expects metrics.
            api_key: None reads the secret that `config` names.
            vendor: None makes a client for `VmakeBaseUrl`.
            now: the clock.
            sleep: waits for some seconds inside SubmitFunction.

        """
        self.aws: Final = aws or own_clients()
        self.table: Final = config.jobs_table
        self.now: Final = now
        self.sleep: Final = sleep
        self.metrics: Final = metrics or Metrics(config.stack_name)
        self.jobs: Final = JobRepository(self.aws.dynamodb, self.table, now=now)
        self.api_key: Final = api_key or ApiKey(self.aws.secrets, config.api_key_secret)
        self.vendor: Final = vendor or VmakeClient(config.vmake_base_url, self.api_key)
        publisher = EventPublisher(self.aws.events, config.event_bus)
        self.announcer: Final = Announcer(publisher, self.jobs, self.metrics)


def submitter(config: SubmitConfig, wiring: Wiring) -> "Submitter":
    """Build SubmitFunction's step."""
    from shared.intake.arrivals import Arrivals
    from shared.intake.photos import PhotoStore
    from shared.intake.requests import Intake
    from shared.limits.circuit_breaker import CircuitBreaker
    from shared.limits.credit_limit import CreditLimit
    from shared.limits.gate import SubmitGate
    from shared.polling.schedule import PollSchedule
    from shared.records.ledger import Ledger
    from shared.steps.start import Starter
    from shared.steps.submit import Submitter

    aws, table, now = wiring.aws, wiring.table, wiring.now
    ledger = Ledger(aws.dynamodb, table, now=now)
    return Submitter(
        config=config,
        intake=Intake(
            config=config,
            photos=PhotoStore(aws.s3, config.photos_bucket, max_bytes=config.max_photo_bytes),
            arrivals=Arrivals(aws.dynamodb, table, now=now),
            now=now,
        ),
        jobs=wiring.jobs,
        gate=SubmitGate(
            breaker=CircuitBreaker(aws.dynamodb, table, metrics=wiring.metrics, now=now),
            credit_limit=CreditLimit(aws.dynamodb, table, limit=config.daily_credit_limit, now=now),
            metrics=wiring.metrics,
            sleep=wiring.sleep,
        ),
        vendor=wiring.vendor,
        api_key=wiring.api_key,
        announcer=wiring.announcer,
        ledger=ledger,
        starter=Starter(
            state_machine_arn=config.state_machine_arn,
            ledger=ledger,
            announcer=wiring.announcer,
            schedule=PollSchedule(aws.dynamodb, config, now=now),
            executions=aws.executions,
        ),
        settling=_settling(config, wiring),
        metrics=wiring.metrics,
        now=now,
    )


def poller(config: PollConfig, wiring: Wiring) -> "Poller":
    """Build PollFunction's step."""
    from shared.polling.schedule import PollSchedule
    from shared.steps.poll import Poller

    return Poller(
        config=config,
        jobs=wiring.jobs,
        vendor=wiring.vendor,
        api_key=wiring.api_key,
        announcer=wiring.announcer,
        schedule=PollSchedule(wiring.aws.dynamodb, config, now=wiring.now),
        now=wiring.now,
    )


def finalizer(
    config: FinalizeConfig, wiring: Wiring, *, downloads: "httpx.Client | None" = None
) -> "Finalizer":
    """Build FinalizeFunction's step; without `downloads` it uses the guarded HTTP client."""
    from shared.results.download import download_client
    from shared.results.store import ResultStore
    from shared.steps.finalize import Finalizer

    return Finalizer(
        jobs=wiring.jobs,
        results=ResultStore(
            wiring.aws.s3,
            config.results_bucket,
            downloads or download_client(config.vmake_base_url),
            max_bytes=config.max_result_bytes,
        ),
        vendor=wiring.vendor,
        announcer=wiring.announcer,
    )


def reconciler(config: ReconcileConfig, wiring: Wiring) -> "Reconciler":
    """Build ReconcileFunction's step."""
    from shared.intake.arrivals import Arrivals
    from shared.intake.photos import PhotoStore
    from shared.intake.requests import vendor_origin
    from shared.limits.circuit_breaker import CircuitBreaker
    from shared.limits.credit_limit import CreditLimit
    from shared.notify.outbox import ReviewOutbox
    from shared.records.ledger import Ledger
    from shared.steps.dead_letters import DeadLetters
    from shared.steps.reconcile import Cursors, Reconciler, Resent, Unannounced

    aws, table, now = wiring.aws, wiring.table, wiring.now
    arrivals = Arrivals(aws.dynamodb, table, now=now)
    return Reconciler(
        config=config,
        jobs=wiring.jobs,
        arrivals=arrivals,
        photos=PhotoStore(aws.s3, config.photos_bucket, max_bytes=config.max_photo_bytes),
        dead_letters=DeadLetters(
            aws.sqs,
            dead_letter_url=config.dead_letter_queue_url,
            queue_url=config.submit_queue_url,
            photos_bucket=config.photos_bucket,
            vendor_origin=vendor_origin(config),
            jobs=wiring.jobs,
            arrivals=arrivals,
        ),
        cursors=Cursors(aws.dynamodb, table),
        resent=Resent(aws.dynamodb, table, config.photos_bucket),
        settling=_settling(config, wiring),
        unannounced=Unannounced(aws.dynamodb, table),
        reviews=ReviewOutbox(aws.dynamodb, table, now=now),
        announcer=wiring.announcer,
        ledger=Ledger(aws.dynamodb, table, now=now),
        executions=aws.executions,
        sqs=aws.sqs,
        breaker=CircuitBreaker(aws.dynamodb, table, now=now),
        credit_limit=CreditLimit(aws.dynamodb, table, limit=config.daily_credit_limit, now=now),
        metrics=wiring.metrics,
        now=now,
    )


def _settling(config: PhotosConfig, wiring: Wiring) -> "Settling":
    from shared.limits.settling import Settling

    return Settling(
        wiring.aws.dynamodb,
        wiring.table,
        config.photos_bucket,
        seconds=config.settling_seconds,
        now=wiring.now,
    )
