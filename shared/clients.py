"""AWS clients, made on first use and kept for the process's next invocations."""

from functools import cache
from typing import TYPE_CHECKING, Final

import boto3
from botocore.config import Config as ClientConfig

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


@cache
def s3() -> "S3Client":
    """Return the S3 client."""
    config = ClientConfig(
        # Presigned URLs need the current signature; us-east-1 would still use the old one.
        signature_version="s3v4",
        # Results carry a checksum and go over TLS: hashing them for the signature too would only
        # take time. botocore itself leaves it out where it makes the checksum.
        s3={"payload_signing_enabled": False},
    )
    return boto3.client("s3", config=_CLIENT.merge(config))


@cache
def dynamodb() -> "DynamoDBClient":
    """Return the DynamoDB client."""
    return boto3.client("dynamodb", config=_CLIENT)


@cache
def events() -> "EventBridgeClient":
    """Return the EventBridge client."""
    return boto3.client("events", config=_CLIENT)


@cache
def secrets() -> "SecretsManagerClient":
    """Return the Secrets Manager client."""
    return boto3.client("secretsmanager", config=_CLIENT)


@cache
def sqs() -> "SQSClient":
    """Return the SQS client."""
    return boto3.client("sqs", config=_CLIENT)


@cache
def executions() -> "SFNClient":
    """Return the Step Functions client."""
    return boto3.client("stepfunctions", config=_CLIENT)
