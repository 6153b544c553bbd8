"""AWS clients that use only the local stack."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import boto3
import botocore.session
from botocore.config import Config

from local.stack import environment

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_stepfunctions import SFNClient


class Clients:
    """Makes clients of one endpoint, each at its first use.

    The user's AWS_ variables must be removed before: see `environment.forget_users_aws`.
    """

    def __init__(
        self, endpoint: str, ca_bundle: Path | str, credentials: environment.Credentials
    ) -> None:
        """Trust this certificate at this endpoint, and sign with these credentials."""
        self._endpoint = endpoint
        self._ca_bundle = os.fspath(ca_bundle)
        core = botocore.session.Session()
        # Empty files instead of the user's profiles.
        core.set_config_variable("config_file", os.devnull)
        core.set_config_variable("credentials_file", os.devnull)
        self._session = boto3.Session(
            aws_access_key_id=credentials.access_key,
            aws_secret_access_key=credentials.secret_key,
            region_name=environment.REGION,
            botocore_session=core,
        )
        self._made: dict[str, Any] = {}

    def client(self, service: str) -> Any:  # noqa: ANN401 - each service has a type of its own
        """Return the client of a service by its name."""
        if service not in self._made:
            self._made[service] = self._session.client(
                cast("Any", service),
                endpoint_url=self._endpoint,
                verify=self._ca_bundle,
                config=Config(
                    proxies={},
                    retries={"mode": "standard", "max_attempts": 3},
                    connect_timeout=5,
                    read_timeout=60,
                    max_pool_connections=20,
                ),
            )
        return self._made[service]

    @property
    def cloudformation(self) -> "CloudFormationClient":
        """CloudFormation."""
        return cast("CloudFormationClient", self.client("cloudformation"))

    @property
    def dynamodb(self) -> "DynamoDBClient":
        """DynamoDB."""
        return cast("DynamoDBClient", self.client("dynamodb"))

    @property
    def events(self) -> "EventBridgeClient":
        """EventBridge."""
        return cast("EventBridgeClient", self.client("events"))

    @property
    def functions(self) -> "LambdaClient":
        """Lambda."""
        return cast("LambdaClient", self.client("lambda"))

    @property
    def s3(self) -> "S3Client":
        """S3."""
        return cast("S3Client", self.client("s3"))

    @property
    def secrets(self) -> "SecretsManagerClient":
        """Secrets Manager."""
        return cast("SecretsManagerClient", self.client("secretsmanager"))

    @property
    def sqs(self) -> "SQSClient":
        """SQS."""
        return cast("SQSClient", self.client("sqs"))

    @property
    def executions(self) -> "SFNClient":
        """Step Functions."""
        return cast("SFNClient", self.client("stepfunctions"))
