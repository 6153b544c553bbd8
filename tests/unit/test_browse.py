"""Pages of jobs have each job once, newest first, with any filter and page size."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from moto import mock_aws

from cli.errors import CommandError
from cli.jobs.browse import Browser, Count, Filter, Page
from shared.models import (
    REVIEWABLE,
    Job,
    JobStatus,
    Review,
    ReviewState,
    SceneType,
    Settings,
)
from shared.records.jobs import _plain, _wire
from tests.factories import TABLE, Aws
from tests.kept import bring_back, keep

COUNT = 36
REVIEWED = {4, 5, 8}
"""Which of nine consecutive jobs have a status with results."""


def decision(number: int) -> Review | None:
    """Return the review of a job; every second one is approved."""
    if number % 2:
        return None
    state = ReviewState.APPROVED
    return Review(state=state, by="anna", at="2026-01-31T10:00:00.000Z", revision=1)


@pytest.fixture(scope="module")
def stored(aws_clients: Aws) -> bytes:
    """Store jobs in every status once, some of them changed at the same millisecond."""
    with mock_aws():
        aws_clients.build_table()
        store(aws_clients)
        return keep("dynamodb")


@pytest.fixture
def browser(table: Aws, stored: bytes) -> Browser:
    """Look at these jobs."""
    bring_back(stored)
    return Browser(table.dynamodb, TABLE)


def store(table: Aws) -> None:
    """Store the jobs."""
    statuses = itertools.cycle([*JobStatus, JobStatus.SUCCEEDED])
    for number, status in zip(range(COUNT), statuses, strict=False):
        moment = f"2026-01-31T09:{number // 2:02}:00.000Z"
        job = Job(
            job_id=f"{number:032x}",
            status=status,
            source_key=f"{'summer/dresses' if number % 3 else 'winter'}/Photo {number}.jpg",
            sku=f"S-{number % 4}",
            settings=Settings(
                model_id="002" if number % 2 else "044",
                scene_type=SceneType.PRESET if number % 5 else SceneType.ORIGINAL,
                scene_id="035" if number % 5 else None,
                batch_size=4,
            ),
            created_at=moment,
            updated_at=moment,
            review=decision(number) if status in REVIEWABLE else None,
        )
        item = {**_plain(job), "pk": f"JOB#{job.job_id}"}
        if job.review_state is not None:
            item["review_state"] = job.review_state
        table.dynamodb.put_item(TableName=TABLE, Item=_wire(item))


def pages(browser: Browser, which: Filter, *, size: int, most: int = 3_000) -> list[Page]:
    """Return the jobs of all pages."""
    found = [browser.page(which, size=size, most=most)]
    while found[-1].after is not None:
        found.append(browser.page(which, size=size, after=found[-1].after, most=most))
    return found


def numbers(found: list[Page]) -> list[int]:
    """Return the ids of the jobs on the pages."""
    return [int(job.job_id, 16) for page in found for job in page.jobs]


@pytest.mark.parametrize("size", [1, 7, 24, 200])
def test_every_job_once_newest_first(browser: Browser, size: int) -> None:
    """Pages of any size show all jobs, each once, the last changed first."""
    found = pages(browser, Filter(), size=size)
    shown = [job for page in found for job in page.jobs]
    assert sorted(numbers(found)) == list(range(COUNT))
    times = [job.updated_at for job in shown]
    assert times == sorted(times, reverse=True)
    assert all(len(page.jobs) <= size for page in found)


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        (Filter(statuses=frozenset({JobStatus.FAILED})), lambda n: n % 9 == 6),
        (Filter(folder="summer"), lambda n: n % 3),
        (Filter(folder="sum"), lambda n: False),
        (Filter(folder=""), lambda n: True),
        (Filter(sku="S-1"), lambda n: n % 4 == 1),
        (Filter(sku="S-1", folder="/winter/"), lambda n: n % 4 == 1 and n % 3 == 0),
        (Filter(model="044"), lambda n: n % 2 == 0),
        (Filter(scene="preset-035"), lambda n: n % 5),
        (Filter(scene="preset"), lambda n: n % 5),
        (Filter(scene="original", model="002"), lambda n: n % 5 == 0 and n % 2),
        (Filter(review=ReviewState.TO_REVIEW), lambda n: n % 9 in REVIEWED and n % 2),
        (Filter(review=ReviewState.APPROVED), lambda n: n % 9 in REVIEWED and not n % 2),
        (Filter(review=ReviewState.REFUSED), lambda n: False),
        (
            Filter(review=ReviewState.APPROVED, folder="summer", model="044", text="photo"),
            lambda n: n % 9 in REVIEWED and not n % 2 and n % 3,
        ),
        (
            Filter(review=ReviewState.APPROVED, sku="S-2"),
            lambda n: n % 9 in REVIEWED and n % 4 == 2,
        ),
        (Filter(text="photo 1"), lambda n: "1" in str(n) or n % 4 == 1),
        (Filter(text="LAVANYA summer"), lambda n: n % 2 == 0 and n % 3),
        (Filter(text="winter cafe"), lambda n: False),
        (Filter(text=f"{7:032x}"), lambda n: n == 7),
    ],
)
def test_filter(browser: Browser, which: Filter, expected: Callable[[int], object]) -> None:
    """A filter shows all matching jobs, also if each page reads only a few records."""
    wanted = [n for n in range(COUNT) if expected(n)]
    assert sorted(numbers(pages(browser, which, size=5))) == wanted
    assert sorted(numbers(pages(browser, which, size=5, most=3))) == wanted
    assert sorted(int(job.job_id, 16) for job in browser.all(which, size=4)) == wanted


def test_look_is_bounded(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of a filter without matches does not read the whole table."""
    monkeypatch.setattr("cli.jobs.browse._CHUNK", 2)
    page = browser.page(Filter(text="nowhere"), size=5, most=20)
    assert page.jobs == ()
    assert page.after is not None
    assert page.records_read < COUNT


@pytest.mark.parametrize(
    "after", ["x", "bm90IGpzb24", "W10", "eyJhIjogMX0", "é", "W1tb" * 50_000], ids=range(6)
)
def test_page_that_is_none(browser: Browser, after: str) -> None:
    """A text that is no page token is refused."""
    with pytest.raises(CommandError):
        browser.page(Filter(), size=5, after=after)


def test_page_of_other_filters(browser: Browser) -> None:
    """A page token of one filter is refused with another filter."""
    after = browser.page(Filter(), size=5).after
    with pytest.raises(CommandError, match="another filter"):
        browser.page(Filter(sku="S-1"), size=5, after=after)


@pytest.mark.parametrize(
    "which",
    [
        Filter(text="photo 3"),
        Filter(folder="winter"),
        Filter(model="044", scene="original"),
        Filter(text="nowhere"),
    ],
)
def test_out_of_time(browser: Browser, which: Filter, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that runs out of time without a match continues further on the next page."""
    monkeypatch.setattr("cli.jobs.browse._CHUNK", 2)
    whole = [job.job_id for job in browser.all(which)]
    found, after, pages_seen = [], None, 0
    while pages_seen == 0 or after is not None:
        page = browser.page(which, size=5, after=after, seconds=0)
        found += [job.job_id for job in page.jobs]
        after, pages_seen = page.after, pages_seen + 1
        assert pages_seen <= COUNT
    assert sorted(found) == sorted(whole)


@pytest.mark.parametrize("folder", ["a", "/a", "a/", "a/b"])
def test_odd_folders(browser: Browser, table: Aws, folder: str) -> None:
    """DynamoDB's condition for a folder leaves out no photo of it, also with odd slashes."""
    keys = ("a/1", "a/b/2", "/a/3", "//a/b/4", "ab/5", "a//b/6", "/ab/7", "x/a/8", "a", "/a")
    jobs = []
    for number, key in enumerate(keys):
        moment = f"2026-02-01T09:{number:02}:00.000Z"
        job = Job(
            job_id=f"f{number:031x}",
            status=JobStatus.FAILED,
            source_key=key,
            created_at=moment,
            updated_at=moment,
        )
        jobs.append(job)
        item = {**_plain(job), "pk": f"JOB#{job.job_id}"}
        table.dynamodb.put_item(TableName=TABLE, Item=_wire(item))
    which = Filter(folder=folder)
    expected = {job.source_key for job in jobs if which.matches(job)}
    assert expected
    assert {job.source_key for job in browser.all(which)} == expected


def test_job_by_its_id(browser: Browser) -> None:
    """A complete job id is read directly; other filters still apply."""
    page = browser.page(Filter(text=f" {7:032X} "), size=5)
    assert numbers([page]) == [7]
    assert page.records_read == 1
    assert numbers([browser.page(Filter(text=f"{7:032x}", sku="S-1"), size=5)]) == []
    assert numbers(pages(browser, Filter(text="f" * 32), size=5)) == []


def test_some(browser: Browser) -> None:
    """Existing jobs are returned by their ids."""
    wanted = [f"{number:032x}" for number in (3, 3, 5, 99)]
    assert sorted(browser.some(wanted)) == sorted({wanted[0], wanted[2]})
    assert browser.some([]) == {}


@pytest.mark.parametrize("which", [Filter(), Filter(sku="S-1"), Filter(text="photo", model="002")])
def test_came_since(browser: Browser, which: Filter) -> None:
    """Only jobs that were created after a time are new, not those that only changed."""
    moment = "2026-01-31T09:12:00.000Z"
    expected = {job.job_id for job in browser.all(which) if job.created_at > moment}
    assert {job.job_id for job in browser.came_since(which, moment)} == expected
    assert expected


@pytest.mark.parametrize(
    "which",
    [
        Filter(),
        Filter(folder="summer"),
        Filter(model="044", scene="preset-035"),
        Filter(statuses=frozenset({JobStatus.SUCCEEDED})),
        Filter(sku="S-1"),
        Filter(review=ReviewState.TO_REVIEW),
        Filter(review=ReviewState.APPROVED, folder="winter"),
        Filter(review=ReviewState.APPROVED, model="044", scene="preset"),
    ],
)
def test_a_count_is_the_number_of_jobs_shown(browser: Browser, which: Filter) -> None:
    """The count of a filter is the number of jobs that it shows."""
    assert browser.count(which, seconds=5) == Count(
        len(numbers(pages(browser, which, size=200))), exact=True
    )


def test_a_count_ends_in_time(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """A count that takes too long says that there are more."""
    whole_pages = browser._dynamodb.query

    def query(**arguments: Any) -> Any:
        return whole_pages(**arguments, Limit=2)

    monkeypatch.setattr(browser._dynamodb, "query", query)
    count = browser.count(Filter(), seconds=0)
    assert count is not None
    assert count.number > 0
    assert not count.exact


def test_a_text_search_has_no_count(browser: Browser) -> None:
    """A text search has no count, since DynamoDB cannot compare texts as the search does."""
    assert browser.count(Filter(text="photo"), seconds=5) is None


@pytest.mark.parametrize("size", [1, 7, 200])
def test_by_name(browser: Browser, size: int) -> None:
    """Sorted by name, each job is shown once, with any page size."""
    which = Filter(folder="summer")
    found = [browser.page_by_name(which, size=size)]
    while found[-1].after is not None:
        found.append(browser.page_by_name(which, size=size, after=found[-1].after))
    names = [job.source_key for page in found for job in page.jobs]
    assert names == sorted(f"summer/dresses/Photo {n}.jpg" for n in range(COUNT) if n % 3)


def test_no_page_by_name(browser: Browser) -> None:
    """A made-up token is refused with a sentence."""
    with pytest.raises(CommandError, match="There is no page"):
        browser.page_by_name(Filter(), size=1, after="WzFd")


@pytest.mark.parametrize(
    ("typed", "spelled"),
    [
        ("SUMMER", "summer"),
        ("Summer/Dresses/", "summer/dresses"),
        ("summer", None),
        ("photo", None),
        ("", None),
    ],
)
def test_folder_in_another_case(browser: Browser, typed: str, spelled: str | None) -> None:
    """A folder is found however its letters are typed."""
    assert browser.folder_like(typed, seconds=5) == spelled


def test_a_throttled_table_is_not_asked_without_a_pause(
    browser: Browser, table: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys that DynamoDB leaves unprocessed are read again after a growing pause."""
    read, pauses = table.dynamodb.batch_get_item, list[float]()

    def throttles(**asked: Any) -> Any:
        if len(pauses) < 3:
            return {"Responses": {}, "UnprocessedKeys": asked["RequestItems"]}
        return read(**asked)

    monkeypatch.setattr(table.dynamodb, "batch_get_item", throttles)
    monkeypatch.setattr("cli.jobs.browse.time.sleep", pauses.append)
    assert len(browser.some([f"{number:032x}" for number in range(3)])) == 3
    assert pauses == sorted(set(pauses))
    assert len(pauses) == 3
