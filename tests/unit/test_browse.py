"""Pages of jobs: every job once, newest first, whatever the filter and the page's size."""

import itertools

import pytest

from cli.browse import Browser, Filter, Page
from cli.errors import CommandError
from shared.jobs import _plain, _wire
from shared.models import Job, JobStatus, SceneType, Settings
from tests.kit import TABLE, Aws

COUNT = 60


@pytest.fixture
def browser(table: Aws) -> Browser:
    """Look at jobs in every status, some of them changed at the same moment."""
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
        )
        item = {**_plain(job), "pk": f"JOB#{job.job_id}"}
        table.dynamodb.put_item(TableName=TABLE, Item=_wire(item))
    return Browser(table.dynamodb, TABLE)


def pages(browser: Browser, which: Filter, *, size: int, most: int = 3_000) -> list[Page]:
    """Page through all."""
    found = [browser.page(which, size=size, most=most)]
    while found[-1].after is not None:
        found.append(browser.page(which, size=size, after=found[-1].after, most=most))
    return found


def numbers(found: list[Page]) -> list[int]:
    """Return which jobs the pages show."""
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
        (Filter(text="photo 1"), lambda n: str(n).startswith("1")),
        (Filter(text=f"{7:032x}"), lambda n: n == 7),
    ],
)
def test_filter(browser: Browser, which: Filter, expected: object) -> None:
    """A filter shows what matches, all of it, even where looking stops after every few records."""
    wanted = [n for n in range(COUNT) if expected(n)]  # type: ignore[operator]
    assert sorted(numbers(pages(browser, which, size=5))) == wanted
    assert sorted(numbers(pages(browser, which, size=5, most=3))) == wanted
    assert sorted(int(job.job_id, 16) for job in browser.all(which, size=4)) == wanted


def test_look_is_bounded(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """A filter that lets nothing through does not read the whole table at once."""
    monkeypatch.setattr("cli.browse._CHUNK", 2)
    page = browser.page(Filter(text="nowhere"), size=5, most=20)
    assert page.jobs == ()
    assert page.after is not None
    assert page.looked_at < COUNT


@pytest.mark.parametrize("after", ["x", "bm90IGpzb24", "W10", "eyJhIjogMX0", "é"])
def test_page_that_is_none(browser: Browser, after: str) -> None:
    """Whatever stands in a page's address, it is told from a page."""
    with pytest.raises(CommandError):
        browser.page(Filter(), size=5, after=after)


def test_page_of_other_filters(browser: Browser) -> None:
    """A page of one filter is none of another's."""
    after = browser.page(Filter(), size=5).after
    with pytest.raises(CommandError, match="other filters"):
        browser.page(Filter(sku="S-1"), size=5, after=after)
