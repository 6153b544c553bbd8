"""The ledger has one entry for each charged attempt; entries can be summed."""

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from shared.clock import iso
from shared.models import Job, JobStatus
from shared.records.jobs import JobRepository
from shared.records.ledger import Certainty, Entry, Grouping, Ledger, Sum, add_up, folder_of
from tests.factories import START, TABLE, Aws, Clock

TODAY = START.date()


def job(**changes: Any) -> Job:
    """Return a job whose task was accepted at the clock's start."""
    values: dict[str, Any] = {
        "job_id": "j",
        "status": JobStatus.RUNNING,
        "source_key": "summer/dresses/red.jpg",
        "sku": "S-1",
        "task_id": "t-1",
        "created_at": iso(START),
        "updated_at": iso(START),
        "submitted_at": iso(START),
    }
    return Job(**(values | changes))


@pytest.fixture
def ledger(table: Aws, clock: Clock) -> Ledger:
    """Return an empty ledger."""
    return Ledger(table.dynamodb, TABLE, now=clock)


def entries(ledger: Ledger, days: int = 30) -> list[Entry]:
    """Return the entries from today on."""
    return list(ledger.entries(TODAY, TODAY + timedelta(days=days)))


def test_entry_says_what_was_paid_for(ledger: Ledger) -> None:
    """An entry names job, attempt, day, article and folder."""
    ledger.enter(job())
    assert entries(ledger) == [
        Entry(
            job_id="j",
            attempt=1,
            day="2026-01-31",
            charged_at="2026-01-31T09:30:00.000Z",
            certainty=Certainty.CHARGED,
            sku="S-1",
            folder="summer/dresses",
        )
    ]


def test_entering_twice_is_one_entry(ledger: Ledger, clock: Clock) -> None:
    """Entering the same attempt again, on any day, changes nothing."""
    ledger.enter(job())
    before = entries(ledger)
    clock.advance(86_400)
    ledger.enter(job())
    ledger.enter_lost(job())
    assert entries(ledger) == before


def test_each_attempt_has_its_entry(ledger: Ledger) -> None:
    """A second attempt is a second credit."""
    ledger.enter(job())
    ledger.enter(job(attempt=2, task_id="t-2"))
    assert [entry.attempt for entry in entries(ledger)] == [1, 2]


def test_attempt_that_took_up_a_paid_task_has_no_entry(ledger: Ledger) -> None:
    """Resuming is free."""
    ledger.enter(job(attempt=2, resumed_at=iso(START)))
    assert entries(ledger) == []


def test_attempt_without_a_task_has_no_entry(ledger: Ledger) -> None:
    """A job without a task has no entry."""
    ledger.enter(job(task_id=None))
    assert entries(ledger) == []


def test_doubt_is_entered_as_unknown(ledger: Ledger) -> None:
    """An unknown submit has an entry, which does not count as a credit."""
    ledger.doubt(job(task_id=None))
    ledger.doubt(job(task_id=None))
    assert [entry.certainty for entry in entries(ledger)] == [Certainty.UNKNOWN]


def test_doubt_after_charged_changes_nothing(ledger: Ledger, clock: Clock) -> None:
    """A late `doubt` does not change a charged entry."""
    ledger.enter(job())
    before = entries(ledger)
    clock.advance(60)
    ledger.doubt(job())
    assert entries(ledger) == before


@pytest.mark.parametrize("lost", [True, False])
def test_doubt_that_is_settled_keeps_its_day(ledger: Ledger, clock: Clock, lost: bool) -> None:
    """A credit counts for the day of its submit, also if it is resolved later."""
    ledger.doubt(job(task_id=None))
    clock.advance(3 * 86_400)
    if lost:
        ledger.enter_lost(job(task_id=None))
    else:
        ledger.enter(job(submitted_at=iso(clock.now)))
    (entry,) = entries(ledger)
    assert (entry.certainty, entry.day) == (Certainty.CHARGED, "2026-01-31")


def test_strike_takes_a_doubt_back(ledger: Ledger) -> None:
    """`strike` removes the entry of a submit that was not charged, also if called twice."""
    ledger.doubt(job(task_id=None))
    ledger.strike(job())
    ledger.strike(job())
    assert entries(ledger) == []


def test_strike_leaves_a_charged_entry(ledger: Ledger) -> None:
    """What was certainly spent is never taken back."""
    ledger.enter(job())
    ledger.strike(job())
    assert len(entries(ledger)) == 1


def test_strike_of_one_attempt_leaves_the_others(ledger: Ledger) -> None:
    """Each attempt is doubted by itself."""
    ledger.doubt(job(task_id=None))
    ledger.doubt(job(task_id=None, attempt=2))
    ledger.strike(job(attempt=2))
    assert [entry.attempt for entry in entries(ledger)] == [1]


def test_photo_without_an_article(ledger: Ledger) -> None:
    """A job without a SKU, or without a photo, has an entry all the same."""
    ledger.enter(job(sku=None))
    ledger.enter(job(job_id="k", sku=None, source_key=None))
    assert [(entry.sku, entry.folder) for entry in entries(ledger)] == [
        (None, "summer/dresses"),
        (None, ""),
    ]


def test_days_are_utc(ledger: Ledger, clock: Clock) -> None:
    """A moment shortly before midnight in UTC is still today, wherever the clock stands."""
    clock.now = datetime(2026, 1, 31, 23, 59, 59, 999_000, tzinfo=UTC)
    ledger.doubt(job(job_id="last"))
    clock.now = datetime(2026, 2, 1, 8, 30, tzinfo=timezone(timedelta(hours=9)))
    ledger.doubt(job(job_id="tokyo"))
    clock.now = datetime(2026, 2, 1, tzinfo=UTC)
    ledger.doubt(job(job_id="first"))
    days = {entry.job_id: entry.day for entry in entries(ledger)}
    assert days == {"last": "2026-01-31", "tokyo": "2026-01-31", "first": "2026-02-01"}


def test_entries_come_oldest_first_and_both_ends_are_included(ledger: Ledger, clock: Clock) -> None:
    """Some days are asked for; those before and after are left out."""
    for number in (4, 3, 2, 1, 0):
        moment = iso(START + timedelta(days=number // 2, hours=number % 2))
        ledger.enter(job(job_id=f"j{number}", submitted_at=moment))
    found = ledger.entries(date(2026, 1, 31), date(2026, 2, 1))
    assert [entry.job_id for entry in found] == ["j0", "j1", "j2", "j3"]
    assert list(ledger.entries(date(2026, 2, 2), date(2026, 2, 1))) == []


def test_entries_are_no_jobs(ledger: Ledger, table: Aws) -> None:
    """The indexes of jobs do not see the ledger."""
    ledger.enter(job())
    jobs = JobRepository(table.dynamodb, TABLE)
    assert list(jobs.of_sku("S-1")) == []
    assert [found for status in JobStatus for found in jobs.of_status(status)] == []


def test_sums(ledger: Ledger) -> None:
    """The ledger adds up by day, by article and by folder; what is unknown stands apart."""
    ledger.enter(job())
    ledger.enter(job(attempt=2))
    ledger.enter(job(job_id="k", sku=None, source_key="top.jpg"))
    ledger.doubt(job(job_id="l", sku="S-0", source_key="summer/hat.jpg"))
    found = entries(ledger)
    assert add_up(found, Grouping.DAY) == {"2026-01-31": Sum(credits=3, unknown=1)}
    assert add_up(found, Grouping.SKU) == {"": Sum(1, 0), "S-0": Sum(0, 1), "S-1": Sum(2, 0)}
    assert list(add_up(found, Grouping.FOLDER)) == ["", "summer", "summer/dresses"]
    assert add_up([], Grouping.DAY) == {}


@pytest.mark.parametrize(
    ("key", "folder"),
    [("a/b/c.jpg", "a/b"), ("c.jpg", ""), ("", ""), ("a//c.jpg", "a/"), ("/c.jpg", "")],
)
def test_folder_of_a_key(key: str, folder: str) -> None:
    """A folder is the part of a key before its last slash."""
    assert folder_of(key) == folder
