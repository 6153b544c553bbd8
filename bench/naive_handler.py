"""The handler with which `make bench-imports` compares: a simple poll function.

It imports everything at the top and makes a boto3 client there. The first invocation does the same
as PollFunction's: it reads the key, reads the task, and notes the poll in the record.
"""

import os
from typing import Any

import boto3
import httpx
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel

logger = Logger(service="naive")
dynamodb = boto3.client("dynamodb")


class Task(BaseModel):
    """A task at the vendor."""

    status: str
    progress: int | None = None


class Answer(BaseModel):
    """The vendor's envelope."""

    code: int
    data: Task


# Lambda passes the context to each handler.
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:  # noqa: ARG001
    """Read a task once and note its progress."""
    secrets = boto3.client("secretsmanager")
    key = secrets.get_secret_value(SecretId=os.environ["API_KEY_SECRET"])["SecretString"]
    url = f"{os.environ['VMAKE_BASE_URL']}/api/v4/image/ai-fashion-model/clothing-tasks"
    answer = httpx.get(f"{url}/{event['task_id']}", headers={"X-Api-Key": key})
    task = Answer.model_validate_json(answer.content).data
    dynamodb.update_item(
        TableName=os.environ["JOBS_TABLE"],
        Key={"pk": {"S": f"JOB#{event['job_id']}"}},
        UpdateExpression="SET #set0 = :set0",
        ExpressionAttributeNames={"#set0": "progress"},
        ExpressionAttributeValues={":set0": {"N": str(task.progress or 0)}},
    )
    logger.info("polled", extra={"status": task.status})
    return {"outcome": "wait"}
