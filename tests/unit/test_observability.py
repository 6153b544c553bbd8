"""Log lines say which job, which function and which request they are about."""

import io
import json
import logging
import warnings
from typing import Any

import pytest

from shared.observability import invocation_keys, lambda_handler, log_keys, logger


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Return what the functions' logger writes."""
    stream = io.StringIO()
    monkeypatch.setattr(logger().registered_handler, "stream", stream)
    return stream


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    """Read the lines."""
    return [json.loads(line) for line in log.getvalue().splitlines()]


def test_keys_are_on_the_lines_inside(log: io.StringIO) -> None:
    """Inside, keys of an outer block are there too; those that are not known are left out."""
    with log_keys(job_id="j1", task_id=None), log_keys(source_key="a.jpg"):
        logger().warning("inside")
    logger().warning("outside")
    inside, outside = lines(log)
    assert (inside["job_id"], inside["source_key"]) == ("j1", "a.jpg")
    assert "task_id" not in inside
    assert not {"job_id", "source_key"} & outside.keys()


def test_outer_keys_come_back(log: io.StringIO) -> None:
    """A block that names the same key, even as another, takes nothing away from those around it."""
    with log_keys(job_id="j1"):
        with log_keys(job_id="j2"):
            logger().warning("inner")
        logger().warning("outer")
    assert [line["job_id"] for line in lines(log)] == ["j2", "j1"]


def test_keys_go_when_something_is_raised(log: io.StringIO) -> None:
    """The next job's lines do not bear this one's id."""
    with pytest.raises(RuntimeError), log_keys(job_id="j1"):
        raise RuntimeError
    logger().warning("after")
    assert "job_id" not in lines(log)[0]


@pytest.mark.parametrize("level", ["DEBUG", "ERROR"])
def test_our_level_stands_beside_lambdas(monkeypatch: pytest.MonkeyPatch, level: str) -> None:
    """Lambda's own level, which lets the metrics through, is not ours."""
    monkeypatch.setenv("AWS_LAMBDA_LOG_LEVEL", "INFO")
    monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", level)
    ours = logging.getLogger("catwalk")
    monkeypatch.setattr(ours, "level", ours.level)  # is put back
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Powertools does not know that Lambda's follows ours
        logger.__wrapped__()
    assert logging.getLevelName(ours.level) == level


class Context:
    """The context that Lambda passes to an invocation."""

    function_name = "catwalk-submit"

    def __init__(self, request_id: str) -> None:
        self.aws_request_id = request_id


def test_lines_name_their_invocation(log: io.StringIO) -> None:
    """Function and request stand on every line, each invocation's its own."""

    @lambda_handler
    def handler(event: Any, context: Any) -> int:
        logger().warning("at work")
        return len(event)

    assert handler({"a": 1}, Context("r1")) == 1  # type: ignore[arg-type]  # a double
    assert invocation_keys() == {
        "function_name": "catwalk-submit",
        "function_request_id": "r1",
    }
    handler({}, Context("r2"))  # type: ignore[arg-type]  # a double
    assert [line["function_request_id"] for line in lines(log)] == ["r1", "r2"]
