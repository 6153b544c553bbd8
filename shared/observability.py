"""Logging: JSON lines with the ids of the function, the invocation and the job."""

import functools
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeVar

from aws_lambda_powertools import Logger

from shared.models import Job

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

T = TypeVar("T")

INVOCATION_KEYS: Final = ("function_name", "function_request_id")
"""The name of the Lambda function and the id of its invocation, as Powertools calls them. (The key
`request_id` is a backend's `requestId`.)"""


@cache
def logger() -> Logger:
    """Return this process's logger; its level comes from `POWERTOOLS_LOG_LEVEL`.

    Powertools would take the level of Lambda's log filter. That one must be lower, so that the
    metrics are not filtered out.
    """
    made = Logger(service="catwalk")
    level = os.environ.get("POWERTOOLS_LOG_LEVEL")
    if level:
        logging.getLogger(made.name).setLevel(level.upper())
    return made


def quiet_libraries() -> None:
    """Let libraries log warnings only: other lines of httpx contain URLs with signatures."""
    for name in ("boto3", "botocore", "httpcore", "httpx", "s3transfer", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)


def lambda_handler(
    handler: "Callable[[Mapping[str, Any], LambdaContext], T]",
) -> "Callable[[Mapping[str, Any], LambdaContext], T]":
    """Add the function's name and the invocation's id to every line of an invocation.

    Powertools' `inject_lambda_context` needs a logger when the module is imported. Here, importing
    a module makes no logger.
    """

    @functools.wraps(handler)
    def named(event: Mapping[str, Any], context: "LambdaContext") -> T:
        name, request_id = context.function_name, context.aws_request_id
        logger().append_keys(function_name=name, function_request_id=request_id)
        return handler(event, context)

    return named


@contextmanager
def log_keys(**keys: object) -> Iterator[None]:
    """Add these keys to every line logged inside, in all threads; None values are left out.

    Afterwards, keys of the same names have their previous values again. Powertools' own context
    manager would remove them.
    """
    added = {name: value for name, value in keys.items() if value is not None}
    before = dict(logger().get_current_keys())  # a copy: it returns its own dict
    logger().append_keys(**added)
    try:
        yield
    finally:
        logger().remove_keys(added)
        logger().append_keys(**{name: before[name] for name in added if name in before})


def keys_of(job: Job) -> dict[str, str | int]:
    """Return the log keys of a job."""
    known: dict[str, str | int | None] = {
        "job_id": job.job_id,
        "attempt": job.attempt,
        "task_id": job.task_id,
        "source_key": job.source_key,
        "request_id": job.request_id,
    }
    return {name: value for name, value in known.items() if value is not None}


def invocation_keys() -> dict[str, object]:
    """Return the function's name and the invocation's id; empty outside of Lambda."""
    now = logger().get_current_keys()
    return {name: now[name] for name in INVOCATION_KEYS if name in now}
