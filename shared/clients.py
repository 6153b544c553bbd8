"""AWS clients, made on first use and kept for the process's next invocations.

botocore alone makes them: of boto3, which rests on it, the functions would use nothing more, and
importing it takes longer than making a client.
"""

import contextlib
import os
from collections.abc import Callable
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, cast

from botocore.config import Config as ClientConfig
from botocore.loaders import Loader
from botocore.session import Session

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_stepfunctions import SFNClient

_CLIENT: Final = ClientConfig(
    # Throttles and 5xx are retried five times with jitter; beyond that the queue or the state
    # machine tries again, which costs no waiting Lambda.
    retries={"mode": "standard", "max_attempts": 5},
    connect_timeout=5,
    read_timeout=30,
)
_SERVICES: Final = ["dynamodb", "events", "s3", "secretsmanager", "sqs", "stepfunctions"]
_OF_CREDENTIALS: Final = ["signin", "sso", "sso-oidc", "sts"]
"""What botocore itself asks for credentials, where a profile says so: the command's users have
profiles with roles and single sign-on."""
_MAKING: Final = Lock()
"""A session makes one client at a time; FinalizeFunction copies results side by side."""


_INIT_TYPES: Final = ("on-demand", "provisioned-concurrency")


def make_in_init(*makers: Callable[[], object]) -> None:
    """Make what the first invocation needs now, if a Lambda's init phase imports the handler.

    Init runs with a whole core; an invocation gets memory / 1,769 MB of one, at 256 MB a seventh.
    What fails here fails again in the first invocation, which reports it as any other error.

    Args:
        makers: functions that keep what they return, such as `dynamodb` here.

    """
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") not in _INIT_TYPES:
        return
    for make in makers:
        with contextlib.suppress(Exception):
            made = make()
            if isinstance(made, _Client):
                made.make()


@cache
def s3() -> "S3Client":
    """Return the S3 client."""
    return cast("S3Client", _Client("s3", _s3_config))


@cache
def dynamodb() -> "DynamoDBClient":
    """Return the DynamoDB client."""
    return cast("DynamoDBClient", _Client("dynamodb"))


@cache
def events() -> "EventBridgeClient":
    """Return the EventBridge client."""
    return cast("EventBridgeClient", _Client("events"))


@cache
def secrets() -> "SecretsManagerClient":
    """Return the Secrets Manager client."""
    return cast("SecretsManagerClient", _Client("secretsmanager"))


@cache
def sqs() -> "SQSClient":
    """Return the SQS client."""
    return cast("SQSClient", _Client("sqs"))


@cache
def executions() -> "SFNClient":
    """Return the Step Functions client."""
    return cast("SFNClient", _Client("stepfunctions"))


def _s3_config() -> ClientConfig:
    return ClientConfig(
        # Presigned URLs need the current signature; us-east-1 would still use the old one.
        signature_version="s3v4",
        s3={
            # Results carry a checksum and go over TLS: hashing them for the signature too would
            # only take time. botocore itself leaves it out where it makes the checksum.
            "payload_signing_enabled": False,
            "addressing_style": "auto" if _is_elsewhere() else "virtual",
            "us_east_1_regional_endpoint": "regional",
        },
    )


def _is_elsewhere() -> bool:
    """Tell whether S3's endpoint is configured: a local AWS, or an endpoint of a VPC.

    On AWS itself the style `virtual` gives `bucket.s3.<region>.amazonaws.com`. With `auto` botocore
    presigns URLs for `bucket.s3.amazonaws.com`: outside us-east-1 that name answers 307 for up to a
    day after the bucket was made, and 400 in regions launched after March 2019. At a configured
    endpoint `auto` puts the bucket into the path, since `bucket.localhost` has no address.
    """
    if os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"):
        return True
    profile = _session().get_scoped_config()
    return "endpoint_url" in profile or "services" in profile


class _Client:
    """A client that is made when something is first asked of it: not every invocation does."""

    def __init__(self, service: str, config: Callable[[], ClientConfig] | None = None) -> None:
        self._service = service
        self._config = config
        self._client: Any = None

    def make(self) -> Any:  # noqa: ANN401  botocore makes the client's class
        """Return the client itself; the first call makes it."""
        if self._client is None:
            with _MAKING:
                if self._client is None:
                    config = _CLIENT.merge(self._config()) if self._config else _CLIENT
                    self._client = _session().create_client(self._service, config=config)
        return self._client

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  whatever the client has
        return getattr(self.make(), name)


class _Loader(Loader):
    """botocore's data files, without reading the folders of 400 services to find one's."""

    def list_available_services(self, type_name: str) -> list[str]:  # noqa: ARG002  botocore's
        return [*_SERVICES, *_OF_CREDENTIALS]


@cache
def _session() -> Session:
    session = Session()
    session.register_component("data_loader", _Loader())
    return session
