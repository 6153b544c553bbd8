"""The daily credit limit: never more than that, whoever else reserves at the same time."""

import pytest

from shared.purse import Purse, Reserved, SpentUp
from tests.kit import TABLE, Aws, Clock


def purse_of(aws: Aws, clock: Clock, limit: int) -> Purse:
    """Return a purse over the stack's table."""
    return Purse(aws.dynamodb, TABLE, limit=limit, now=clock)


def test_limit_is_kept(table: Aws, clock: Clock) -> None:
    """So many credits a day can be reserved, by whoever asks, and then none."""
    first, second = purse_of(table, clock, 3), purse_of(table, clock, 3)
    answers = [purse.reserve() for purse in (first, second, first, second, first)]
    assert [type(answer) for answer in answers] == [Reserved, Reserved, Reserved, SpentUp, SpentUp]


def test_spent_up_says_when_the_next_day_begins(table: Aws, clock: Clock) -> None:
    """The wait is to midnight, UTC, and then there are credits again."""
    purse = purse_of(table, clock, 1)
    purse.reserve()
    spent = purse.reserve()
    assert spent == SpentUp(14.5 * 3600)
    clock.advance(spent.seconds - 1)
    assert isinstance(purse.reserve(), SpentUp)
    clock.advance(1)
    reserved = purse.reserve()
    assert isinstance(reserved, Reserved)
    assert reserved.day == "2026-02-01"


def test_how_much_is_used_is_said(table: Aws, clock: Clock) -> None:
    """Each credit comes with the share of the day's limit; without a limit there is none."""
    purse = purse_of(table, clock, 4)
    assert purse.used() == 0
    assert [purse.reserve(), purse.reserve()] == [
        Reserved("2026-01-31", used=25),
        Reserved("2026-01-31", used=50),
    ]
    assert purse.used() == 50
    clock.advance(86_400)
    assert purse.used() == 0
    assert purse_of(table, clock, 0).used() is None
    assert purse_of(table, clock, 0).reserve() == Reserved("2026-02-01")


def test_released_credit_can_be_reserved_again(table: Aws, clock: Clock) -> None:
    """What was certainly not charged is given back to the day that it was taken from."""
    purse = purse_of(table, clock, 1)
    reserved = purse.reserve()
    assert isinstance(reserved, Reserved)
    clock.advance(86_400)
    purse.reserve()
    purse.release(reserved)
    assert isinstance(purse.reserve(), SpentUp)
    clock.advance(-86_400)
    assert isinstance(purse.reserve(), Reserved)


def test_releasing_twice_gives_nothing_away(table: Aws, clock: Clock) -> None:
    """A day's count never falls below zero."""
    purse = purse_of(table, clock, 1)
    reserved = purse.reserve()
    assert isinstance(reserved, Reserved)
    for _ in range(3):
        purse.release(reserved)
    assert isinstance(purse.reserve(), Reserved)
    assert isinstance(purse.reserve(), SpentUp)


def test_no_limit_counts_nothing(table: Aws, clock: Clock) -> None:
    """Without a limit nothing is written and nobody waits."""
    purse = purse_of(table, clock, 0)
    for _ in range(3):
        reserved = purse.reserve()
        assert isinstance(reserved, Reserved)
        purse.release(reserved)
    assert table.records() == []


def test_count_of_credits_is_no_job(table: Aws, clock: Clock) -> None:
    """The counter has a prefix of its own and stays out of the jobs' indexes."""
    purse_of(table, clock, 1).reserve()
    (item,) = table.records()
    assert item["pk"]["S"] == "CREDITS#2026-01-31"
    assert not {"status", "source_key", "sku"} & set(item)


@pytest.mark.parametrize("lowered", [1, 2])
def test_lowered_limit_counts_from_now(table: Aws, clock: Clock, lowered: int) -> None:
    """A limit lowered below what was spent today lets nothing more out."""
    for _ in range(2):
        purse_of(table, clock, 5).reserve()
    assert isinstance(purse_of(table, clock, lowered).reserve(), SpentUp)
