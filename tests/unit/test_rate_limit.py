"""The rate limiter of polls, which all jobs share."""

from collections import Counter
from typing import Any

import pytest

from shared.polling.rate_limit import (
    ONE_CUT_SECONDS,
    RECOVERY_SECONDS,
    SLOT_SECONDS,
    PollRateLimiter,
)
from tests.factories import TABLE, Aws, Clock


@pytest.fixture
def limiter(aws: Aws, clock: Clock) -> PollRateLimiter:
    """Return a rate limiter of two reads a second."""
    return another(aws, clock)


def another(aws: Aws, clock: Clock, per_second: float = 2.0) -> PollRateLimiter:
    """Return the same rate limiter, in another process."""
    return PollRateLimiter(aws.dynamodb, TABLE, per_second=per_second, now=clock)


def item(aws: Aws) -> dict[str, Any]:
    """Return the shared item."""
    found: dict[str, Any] = aws.dynamodb.get_item(
        TableName=TABLE, Key={"pk": {"S": "CONTROL#polls"}}
    )["Item"]
    return found


def test_a_lone_job_waits_as_it_likes(limiter: PollRateLimiter) -> None:
    """With few jobs, no poll is delayed."""
    assert [limiter.reserve(wait) for wait in (1, 7, 60, 600)] == [1, 7, 60, 600]


def test_a_crowd_is_spread_out(aws: Aws, clock: Clock) -> None:
    """A hundred polls for the same time are spread at the rate, none earlier than planned."""
    processes = [another(aws, clock) for _ in range(4)]
    waits = [processes[n % 4].reserve(10) for n in range(100)]
    assert min(waits) >= 10
    slots = Counter(
        (clock.now.timestamp() + wait) // SLOT_SECONDS for wait in waits if wait > 10 + SLOT_SECONDS
    )
    # Rounding to whole seconds moves a few into the slot after.
    assert max(slots.values()) <= 2 * SLOT_SECONDS + 2
    assert 100 / 2 - 15 <= max(waits) - 10 <= 100 / 2 + 15


def test_slots_that_are_over_are_forgotten(
    aws: Aws, clock: Clock, limiter: PollRateLimiter
) -> None:
    """The item has a maximum size."""
    for _ in range(50):
        limiter.reserve(3)
        clock.advance(7)
    assert len(item(aws)) < 8


def test_throttling_cuts_the_rate_of_all(aws: Aws, clock: Clock, limiter: PollRateLimiter) -> None:
    """After a 429 of a read, all jobs wait longer for a while."""
    other = another(aws, clock, per_second=8)
    limiter = another(aws, clock, per_second=8)
    limiter.cut()
    spans = []
    for age in (0.0, 10 * RECOVERY_SECONDS):
        clock.advance(age)
        spans.append(max(other.reserve(5) for _ in range(80)) - 5)
    assert spans[0] > 1.5 * spans[1]


def test_one_storm_is_one_cut(aws: Aws, clock: Clock, limiter: PollRateLimiter) -> None:
    """Simultaneous 429s halve the rate once."""
    for process in (limiter, another(aws, clock), another(aws, clock)):
        process.cut()
    assert float(item(aws)["cut_to"]["N"]) == 1.0
    clock.advance(ONE_CUT_SECONDS + 1)
    limiter.cut()
    assert float(item(aws)["cut_to"]["N"]) == pytest.approx(0.57, abs=0.05)


def test_even_a_vendor_that_always_throttles_is_asked(
    aws: Aws, clock: Clock, limiter: PollRateLimiter
) -> None:
    """The rate has a minimum, so each task is polled."""
    for _ in range(40):
        limiter.cut()
        clock.advance(ONE_CUT_SECONDS + 1)
    assert limiter.reserve(5) < 60


def test_what_a_crowd_leaves_behind_is_forgotten_bit_by_bit(
    aws: Aws, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The update expression stays below DynamoDB's limit of 4 KB."""
    now = int(clock.now.timestamp()) // SLOT_SECONDS
    slots = {f"s{slot}": {"N": "1"} for slot in range(now, now + 1_000)}
    aws.dynamodb.put_item(TableName=TABLE, Item={"pk": {"S": "CONTROL#polls"}, **slots})
    clock.advance(1_000 * SLOT_SECONDS + 60)
    longest, update = 0, aws.dynamodb.update_item

    def measured(**arguments: Any) -> Any:
        nonlocal longest
        longest = max(longest, len(arguments["UpdateExpression"]))
        return update(**arguments)

    monkeypatch.setattr(aws.dynamodb, "update_item", measured)
    late = another(aws, clock)
    for _ in range(12):
        late.reserve(10)
    assert longest <= 4096
    assert len(item(aws)) < 10
