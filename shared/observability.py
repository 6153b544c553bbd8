"""What the functions say of themselves: JSON log lines that carry the ids of the job at hand."""

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
"""The Lambda function and its request's id, under the names that Powertools gives them;
`request_id` is what a backend calls its own request."""


@cache
def logger() -> Logger:
    """Return this process's logger; its level comes from `POWERTOOLS_LOG_LEVEL`.

    Powertools would rather have the level at which Lambda leaves lines out. That is another matter:
    the metrics have to come through there.
    """
    made = Logger(service="catwalk")
    level = os.environ.get("POWERTOOLS_LOG_LEVEL")
    if level:
        logging.getLogger(made.name).setLevel(level.upper())
    return made


def quiet_libraries() -> None:
    """Let libraries log warnings only: httpx's lines would show URLs with signatures in them."""
    for name in ("boto3", "botocore", "httpcore", "httpx", "s3transfer", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)


def lambda_handler(
    handler: "Callable[[Mapping[str, Any], LambdaContext], T]",
) -> "Callable[[Mapping[str, Any], LambdaContext], T]":
    """Have every line of an invocation name its function and its request's id.

    Powertools' own `inject_lambda_context` wants a logger where a handler is defined, and
    importing a module makes none here.
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

    Keys of the same names around it are there again afterwards: Powertools' own context would
    have them gone.
    """
    added = {name: value for name, value in keys.items() if value is not None}
    before = dict(logger().get_current_keys())  # it gives its own
    logger().append_keys(**added)
    try:
        yield
    finally:
        logger().remove_keys(added)
        logger().append_keys(**{name: before[name] for name in added if name in before})


def keys_of(job: Job) -> dict[str, str | int]:
    """Return what a line about a job tells it by."""
    known: dict[str, str | int | None] = {
        "job_id": job.job_id,
        "attempt": job.attempt,
        "task_id": job.task_id,
        "source_key": job.source_key,
        "request_id": job.request_id,
    }
    return {name: value for name, value in known.items() if value is not None}


def invocation_keys() -> dict[str, object]:
    """Return the names of this function and of its present request; none outside of Lambda."""
    now = logger().get_current_keys()
    return {name: now[name] for name in INVOCATION_KEYS if name in now}
