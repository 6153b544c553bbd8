"""AWS clients, made on first use and kept for the process's next invocations.

They are made with botocore. boto3 would give the functions nothing more, and importing it takes
longer than making a client.
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
    # Throttling and 5xx: at most five tries, with backoff and jitter. After that the queue or the
    # state machine retries, which needs no waiting Lambda.
    retries={"mode": "standard", "max_attempts": 5},
    connect_timeout=5,
    read_timeout=30,
)
_SERVICES: Final = ["dynamodb", "events", "s3", "secretsmanager", "sqs", "stepfunctions"]
_OF_CREDENTIALS: Final = ["signin", "sso", "sso-oidc", "sts"]
"""Services that botocore itself calls for credentials: users of the `catwalk` command may have
profiles with roles or single sign-on."""
_OF_THE_COMMAND: Final = ["cloudformation", "lambda"]
"""Services that only the `catwalk` command calls, beside `sts`."""
_MAKING: Final = Lock()
"""A session may make only one client at a time, and FinalizeFunction has several threads."""


_INIT_TYPES: Final = ("on-demand", "provisioned-concurrency")


def make_in_init(*makers: Callable[[], object]) -> None:
    """Make objects for the first invocation, if this is the init phase of a Lambda.

    The init phase runs with a whole core. An invocation gets memory / 1,769 MB of a core: a seventh
    at 256 MB. An error here is ignored: the first invocation meets it again and reports it.

    Args:
        makers: functions that cache what they return, such as `dynamodb` in this module.

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


def client(service: str, config: ClientConfig | None = None) -> Any:  # noqa: ANN401  botocore makes the client's class
    """Make a client of a service that only the `catwalk` command calls."""
    with _MAKING:
        return _session().create_client(service, config=config)


def _s3_config() -> ClientConfig:
    return ClientConfig(
        # Presigned URLs need the current signature; us-east-1 would still use the old one.
        signature_version="s3v4",
        s3={
            # Results have a checksum and are sent over TLS, so a hash in the signature would only
            # take time. botocore leaves it out too where it computes the checksum.
            "payload_signing_enabled": False,
            "addressing_style": "auto" if _is_elsewhere() else "virtual",
            "us_east_1_regional_endpoint": "regional",
        },
    )


def _is_elsewhere() -> bool:
    """Whether S3's endpoint is configured: a local AWS, or an endpoint of a VPC.

    On AWS the style `virtual` gives `bucket.s3.<region>.amazonaws.com`. With `auto` botocore would
    presign URLs for `bucket.s3.amazonaws.com`. Outside us-east-1 that name answers 307 for up to a
    day after the bucket was made, and 400 in regions launched after March 2019. With a configured
    endpoint `auto` puts the bucket into the path, which is needed since `bucket.localhost` has no
    address.
    """
    if os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"):
        return True
    profile = _session().get_scoped_config()
    return "endpoint_url" in profile or "services" in profile


class _Client:
    """A client that is made at its first use, since not every invocation needs each client."""

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
        found = getattr(self.make(), name)
        setattr(self, name, found)  # the next access finds it here
        return found


class _Loader(Loader):
    """botocore's data files, found without listing the folders of 400 services."""

    def list_available_services(self, type_name: str) -> list[str]:  # noqa: ARG002  botocore's
        return [*_SERVICES, *_OF_CREDENTIALS, *_OF_THE_COMMAND]


@cache
def _session() -> Session:
    session = Session()
    session.register_component("data_loader", _Loader())
    return session
