"""One place that makes the logger: JSON lines that carry the ids of the job at hand."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from aws_lambda_powertools import Logger


@cache
def logger() -> Logger:
    """Return this process's logger; its level comes from `POWERTOOLS_LOG_LEVEL`."""
    return Logger(service="catwalk")


def quiet_libraries() -> None:
    """Let libraries log warnings only: httpx's lines would show URLs with signatures in them."""
    for name in ("botocore", "httpcore", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)


@contextmanager
def log_keys(**keys: object) -> Iterator[None]:
    """Add these keys to every line logged inside; None values are left out."""
    with logger().append_context_keys(**{k: v for k, v in keys.items() if v is not None}):
        yield
