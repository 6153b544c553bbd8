"""The daily credit limit: parallel reservations never exceed it."""

import itertools

import pytest

from shared.limits.credit_limit import CreditLimit, Reserved, SpentUp
from tests.factories import TABLE, Aws, Clock


def credit_limit_of(aws: Aws, clock: Clock, limit: int) -> CreditLimit:
    """Return a credit limit on the stack's table."""
    return CreditLimit(aws.dynamodb, TABLE, limit=limit, now=clock)


_NUMBERS = itertools.count()


def reserve(credit_limit: CreditLimit) -> Reserved | SpentUp:
    """Reserve for a POST that there was not before."""
    return credit_limit.reserve(f"job-{next(_NUMBERS)}")


def test_limit_is_kept(table: Aws, clock: Clock) -> None:
    """Two clients together can reserve exactly as many credits as the limit."""
    first, second = credit_limit_of(table, clock, 3), credit_limit_of(table, clock, 3)
    answers = [reserve(credit_limit) for credit_limit in (first, second, first, second, first)]
    assert [type(answer) for answer in answers] == [Reserved, Reserved, Reserved, SpentUp, SpentUp]


def test_spent_up_says_when_the_next_day_begins(table: Aws, clock: Clock) -> None:
    """The wait is to midnight, UTC, and then there are credits again."""
    credit_limit = credit_limit_of(table, clock, 1)
    reserve(credit_limit)
    spent = reserve(credit_limit)
    assert spent == SpentUp(14.5 * 3600)
    clock.advance(spent.seconds - 1)
    assert isinstance(reserve(credit_limit), SpentUp)
    clock.advance(1)
    reserved = reserve(credit_limit)
    assert isinstance(reserved, Reserved)
    assert reserved.day == "2026-02-01"


def test_how_much_is_used_is_said(table: Aws, clock: Clock) -> None:
    """Each credit comes with the share of the day's limit; without a limit there is none."""
    credit_limit = credit_limit_of(table, clock, 4)
    assert credit_limit.used() == 0
    assert [credit_limit.reserve("a-1"), credit_limit.reserve("b-1")] == [
        Reserved("2026-01-31", used=25, name="a-1"),
        Reserved("2026-01-31", used=50, name="b-1"),
    ]
    assert credit_limit.used() == 50
    clock.advance(86_400)
    assert credit_limit.used() == 0
    assert credit_limit_of(table, clock, 0).used() is None
    assert reserve(credit_limit_of(table, clock, 0)) == Reserved("2026-02-01")


def test_released_credit_can_be_reserved_again(table: Aws, clock: Clock) -> None:
    """What was certainly not charged is given back to the day that it was taken from."""
    credit_limit = credit_limit_of(table, clock, 1)
    reserved = reserve(credit_limit)
    assert isinstance(reserved, Reserved)
    clock.advance(86_400)
    reserve(credit_limit)
    credit_limit.release(reserved)
    assert isinstance(reserve(credit_limit), SpentUp)
    clock.advance(-86_400)
    assert isinstance(reserve(credit_limit), Reserved)


def test_releasing_twice_gives_nothing_away(table: Aws, clock: Clock) -> None:
    """A day's count never falls below zero."""
    credit_limit = credit_limit_of(table, clock, 1)
    reserved = reserve(credit_limit)
    assert isinstance(reserved, Reserved)
    for _ in range(3):
        credit_limit.release(reserved)
    assert isinstance(reserve(credit_limit), Reserved)
    assert isinstance(reserve(credit_limit), SpentUp)


def test_no_limit_counts_nothing(table: Aws, clock: Clock) -> None:
    """Without a limit nothing is written and nobody waits."""
    credit_limit = credit_limit_of(table, clock, 0)
    for _ in range(3):
        reserved = reserve(credit_limit)
        assert isinstance(reserved, Reserved)
        credit_limit.release(reserved)
    assert table.records() == []


def test_count_of_credits_is_no_job(table: Aws, clock: Clock) -> None:
    """The counter has a prefix of its own and stays out of the jobs' indexes."""
    reserve(credit_limit_of(table, clock, 1))
    (item,) = table.records()
    assert item["pk"]["S"] == "CREDITS#2026-01-31"
    assert not {"status", "source_key", "sku"} & set(item)


@pytest.mark.parametrize("lowered", [1, 2])
def test_lowered_limit_counts_from_now(table: Aws, clock: Clock, lowered: int) -> None:
    """A limit lowered below what was spent today lets nothing more out."""
    for _ in range(2):
        reserve(credit_limit_of(table, clock, 5))
    assert isinstance(reserve(credit_limit_of(table, clock, lowered)), SpentUp)


def test_one_post_is_counted_once(table: Aws, clock: Clock) -> None:
    """Five deliveries of one photo reserve one credit, and so does a write that is sent twice."""
    credit_limit = credit_limit_of(table, clock, 2)
    assert {credit_limit.reserve("a-1") for _ in range(5)} == {Reserved("2026-01-31", 50, "a-1")}
    assert isinstance(credit_limit.reserve("b-1"), Reserved)
    assert isinstance(credit_limit.reserve("c-1"), SpentUp)
    assert isinstance(credit_limit.reserve("a-1"), Reserved), "it is still open"


def test_a_release_counts_once(table: Aws, clock: Clock) -> None:
    """A release whose answer was lost, and that is sent again, gives no second credit back."""
    credit_limit = credit_limit_of(table, clock, 2)
    first, _ = credit_limit.reserve("a-1"), credit_limit.reserve("b-1")
    assert isinstance(first, Reserved)
    for _ in range(3):
        credit_limit.release(first)
    assert credit_limit.used() == 50


def test_a_settled_credit_is_spent(table: Aws, clock: Clock) -> None:
    """Once its POST is over a credit is not given back, and the item forgets its name."""
    credit_limit = credit_limit_of(table, clock, 2)
    reserved = credit_limit.reserve("a-1")
    assert isinstance(reserved, Reserved)
    credit_limit.settle(reserved)
    credit_limit.release(reserved)
    assert credit_limit.used() == 50
    (item,) = table.records()
    assert set(item) == {"pk", "reserved"}
