"""Pages of jobs, newest first, read from the table's indexes.

A page costs about the same for any number of jobs. It is merged from the newest end of each
status's index. If a filter matches few records, a page ends after a fixed number of records, and
the next page continues there. A job that changes during paging moves to the front, and appears
when the first page is read again.

DynamoDB's filter expression leaves out most records that cannot match; `Filter.matches` decides. A
text search reads only the names of the records first, and whole records of the matches: parsing a
record takes longer than its transfer.
"""

import base64
import heapq
import json
import math
import re
import time
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from cli.errors import CommandError
from cli.jobs.recovery import JobSelection
from shared.models import Job, JobStatus, ReviewState
from shared.records.jobs import job_of
from shared.records.ledger import folder_of
from shared.vmake.catalogue import MODELS

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MOST_RECORDS_READ: Final = 3_000
"""The most records that a page reads: one to two seconds of DynamoDB's time."""
_CHUNK: Final = 400
"""Records per query if a filter selects among them."""
_MOST_KEYS: Final = 100
"""DynamoDB's limit for a BatchGetItem."""
_FIRST_PAUSE_SECONDS: Final = 0.05
_LONGEST_PAUSE_SECONDS: Final = 1.0
"""Between requests for keys that DynamoDB has put off, as its documentation advises."""
_JOB_ID: Final = re.compile(r"[0-9a-f]{32}")
_NAMES: Final = ("source_key", "sku", "request_id")
_IDS: Final = ("task_id", "job_id")
"""The attributes that a text search compares."""
_SHORTEST_ID: Final = 4
"""Characters of a word from which an id may begin with it: `bad` is part of many ids."""


@dataclass(frozen=True)
class Filter:
    """Which jobs are shown: those that match every given condition."""

    statuses: frozenset[JobStatus] = frozenset()
    folder: str | None = None
    """Includes the folders below it; empty means the whole bucket."""
    sku: str | None = None
    model: str | None = None
    """The vendor's model id: `002`."""
    scene: str | None = None
    """As in result keys: `original`, `preset-035`, `color-ff0000`; `preset` is every preset."""
    text: str = ""
    """Words. Each is part of the photo's key, the article, the request's id or the model's name, or
    the beginning of the task's or job's id; case is ignored."""
    review: ReviewState | None = None
    """Only jobs with results, and with this decision about them."""

    @property
    def narrow(self) -> bool:
        """Whether records must be filtered: a condition other than status or review is given."""
        return bool(self.folder or self.sku or self.model or self.scene or self.text)

    def matches(self, job: Job) -> bool:
        """Whether a job is shown."""
        if not JobSelection(statuses=self.statuses, folder=self.folder, sku=self.sku).matches(job):
            return False
        if self.review is not None and job.review_state is not self.review:
            return False
        settings = job.settings
        if self.model and (settings is None or settings.model_id != self.model):
            return False
        if self.scene and (
            settings is None or self.scene not in {settings.scene, settings.scene_type.value}
        ):
            return False
        names = [getattr(job, name) or "" for name in _NAMES]
        names.append(MODELS.get(settings.model_id, "") if settings else "")
        return self._has_words(names, [job.task_id or "", job.job_id])

    def may_match(self, item: Mapping[str, Any]) -> bool:
        """Whether a record in DynamoDB's wire form can match, judged by its names alone."""
        if not self.text:
            return True
        names = [item[name].get("S", "") for name in _NAMES if name in item]
        ids = [item[name].get("S", "") for name in _IDS if name in item]
        settings = item.get("settings", {}).get("M")
        if settings is None:
            # The index by-review holds no settings: any word may be the model's name.
            return self._has_words([*names, *MODELS.values()], ids)
        return self._has_words([*names, MODELS.get(settings["model_id"]["S"], "")], ids)

    def _has_words(self, names: Sequence[str], ids: Sequence[str]) -> bool:
        """Whether each word of the text is in one of these names or ids."""
        named = [_folded(name) for name in names]
        return all(
            any(word in name for name in named)
            or (len(word) >= _SHORTEST_ID and any(id_.startswith(word) for id_ in ids))
            for word in _folded(self.text).split()
        )

    def expression(self, *, names: bool = False) -> dict[str, Any]:
        """Return a query's FilterExpression with its names and values; empty if there is none.

        It may select more than `matches`, never less.

        Args:
            names: whether the index holds only the names of records.

        """
        parts: list[str] = []
        values: dict[str, str] = {}
        if self.folder and (folder := self.folder.strip("/")):
            # `matches` decides on keys that begin with slashes.
            parts.append("(begins_with(source_key, :folder) OR begins_with(source_key, :slash))")
            values |= {":folder": f"{folder}/", ":slash": "/"}
        if self.model and not names:
            parts.append("#settings.model_id = :model")
            values[":model"] = self.model
        if self.scene and not names:
            kind, _, which = self.scene.partition("-")
            parts.append("#settings.scene_type = :scene")
            values[":scene"] = kind
            if which:
                name, value = ("color", f"#{which}") if kind == "color" else ("scene_id", which)
                parts.append(f"#settings.{name} = :which")
                values[":which"] = value
        of_settings = (self.model or self.scene) and not names
        return {
            "expression": " AND ".join(parts),
            "names": {"#settings": "settings"} if of_settings else {},
            "values": {name: {"S": value} for name, value in values.items()},
        }


@dataclass(frozen=True)
class Page:
    """Some jobs, newest first: by last change, or by creation for the jobs of an article."""

    jobs: tuple[Job, ...]
    after: str | None
    """The token for the next page; None at the end. A page may be short or empty without being the
    last."""
    records_read: int


@dataclass(frozen=True)
class Count:
    """How many jobs match."""

    number: int
    exact: bool
    """Whether all were counted; else there are at least so many."""


class Browser:
    """Reads jobs by id from JobsTable, and pages of them from its indexes, which may lag behind."""

    def __init__(self, dynamodb: "DynamoDBClient", table: str) -> None:
        """Read from this table."""
        self._dynamodb = dynamodb
        self._table = table

    def page(
        self,
        which: Filter,
        *,
        size: int,
        after: str | None = None,
        most: int = MOST_RECORDS_READ,
        seconds: float = math.inf,
    ) -> Page:
        """Return the next jobs that match.

        Args:
            which: the filter.
            size: the most jobs to return.
            after: `Page.after` of the previous page of the same filter; None for the first page.
            most: about how many records to read before the page ends early.
            seconds: about how long to read before the page ends early.

        Raises:
            CommandError: `after` belongs to another filter.

        """
        named = which.text.strip().casefold()
        if after is None and _JOB_ID.fullmatch(named):
            job = self.some([named]).get(named)
            if job is not None:
                found_it = (job,) if which.matches(job) else ()
                return Page(found_it, None, 1)
        streams = self._streams(which, after, _CHUNK if which.narrow else size, names_only=True)
        names_only = streams[0].names_only
        until = time.monotonic() + seconds
        with ThreadPoolExecutor(len(streams)) as pool:
            list(pool.map(_Stream.fill, streams))

        def may_go_on() -> bool:
            return sum(s.records_read for s in streams) < most and time.monotonic() < until

        found: list[Job] = []
        named_so: list[str] = []
        # The newest job is known only when every stream has its newest at hand.
        known = all(stream.advance(may_go_on) for stream in streams)
        heap = [(stream.newest, number) for number, stream in enumerate(streams) if stream.ready]
        heapq.heapify(heap)
        while known and heap and len(found) + len(named_so) < size:
            _, number = heapq.heappop(heap)
            stream = streams[number]
            item = stream.take()
            if names_only:
                if which.may_match(item):
                    named_so.append(item["job_id"]["S"])
            else:
                job = job_of(item)
                found += [job] if which.matches(job) else []
            if len(found) + len(named_so) < size:
                known = stream.advance(may_go_on)
            if stream.ready:
                heapq.heappush(heap, (stream.newest, number))
        if named_so:
            whole = self.some(named_so)
            there = (whole[job_id] for job_id in named_so if job_id in whole)
            found = [each for each in there if which.matches(each)]
        more = any(stream.ready or not stream.ended for stream in streams)
        return Page(
            tuple(found),
            _packed(streams) if more else None,
            sum(stream.records_read for stream in streams),
        )

    def page_by_name(
        self,
        which: Filter,
        *,
        size: int,
        after: str | None = None,
        most: int = MOST_RECORDS_READ,
    ) -> Page:
        """Return the next jobs that match, by the name of their photo.

        DynamoDB has no such order, so each page reads the names of all matching jobs, at most
        those of the `most` newest records.

        Args:
            which: the filter.
            size: the most jobs to return.
            after: `Page.after` of the previous page.
            most: how many of the newest records are put in order.

        Raises:
            CommandError: `after` is no such token.

        """
        found: list[Job] = []
        token: str | None = None
        read = 0
        while read < most:
            page = self.page(which, size=_CHUNK, after=token, most=most - read)
            found += page.jobs
            read += page.records_read
            token = page.after
            if token is None:
                break
        keys = {job.job_id: _name_key(job) for job in found}
        ordered = sorted(keys, key=keys.__getitem__)
        start = 0
        if after is not None:
            last = _unpacked_name(after)
            start = sum(keys[job_id] <= last for job_id in ordered)
        jobs = {job.job_id: job for job in found}
        shown = tuple(jobs[job_id] for job_id in ordered[start : start + size])
        more = start + size < len(ordered)
        return Page(shown, _packed_name(keys[shown[-1].job_id]) if more else None, read)

    def folder_like(self, folder: str, *, seconds: float) -> str | None:
        """Return how a folder is spelled in the bucket, if case or Unicode form differ.

        None if there are photos in the folder as given, or in none that is spelled like it.
        """
        given = folder.strip("/")
        wanted = _folded(given)
        if not wanted:
            return None
        # Another folder's photos may have the text in their names.
        for job in self.page(Filter(text=wanted), size=_CHUNK, seconds=seconds).jobs:
            parts = folder_of(job.source_key or "").strip("/").split("/")
            there = "/".join(parts[: wanted.count("/") + 1])
            if _folded(there) == wanted:
                return None if there == given else there
        return None

    def some(self, job_ids: Collection[str]) -> dict[str, Job]:
        """Return the existing jobs among these, by id, each as its last write left it."""
        keys: list[Any] = [{"pk": {"S": f"JOB#{job_id}"}} for job_id in dict.fromkeys(job_ids)]
        found: dict[str, Job] = {}
        pause = _FIRST_PAUSE_SECONDS
        while keys:
            # A replica may lag behind: a page would show a decision of this person as not made.
            wanted: Any = {self._table: {"Keys": keys[:_MOST_KEYS], "ConsistentRead": True}}
            answer = self._dynamodb.batch_get_item(RequestItems=wanted)
            for item in answer["Responses"].get(self._table, []):
                job = job_of(item)
                found[job.job_id] = job
            # Keys that the answer leaves unprocessed are requested again: the table is throttled,
            # or the answer would be larger than 16 MB.
            left: Any = answer.get("UnprocessedKeys", {}).get(self._table, {})
            keys = [*left.get("Keys", []), *keys[_MOST_KEYS:]]
            if left:
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        return found

    def came_since(self, which: Filter, moment: str, *, most: int = _MOST_KEYS) -> list[Job]:
        """Return the matching jobs that were created after a time, in no order.

        With a decision about the results in the filter, an older job comes once it has results.

        Args:
            which: the filter.
            moment: the time, ISO 8601 as in records.
            most: the most records to read per status.

        """
        streams = self._streams(which, None, most, since=moment)
        with ThreadPoolExecutor(len(streams)) as pool:
            list(pool.map(_Stream.fill, streams))
        found: list[Job] = []
        for stream in streams:
            items = stream.take_all()
            if stream.names_only:
                found += self.some([item["job_id"]["S"] for item in items]).values()
            else:
                found += map(job_of, items)
        # A review does not change `updated_at`: with results, it is when they came.
        at = "created_at" if which.review is None else "updated_at"
        return [job for job in found if getattr(job, at) > moment and which.matches(job)]

    def count(self, which: Filter, *, seconds: float) -> Count | None:
        """Count the jobs that match, as far as the time allows; None for a text search.

        Args:
            which: the filter. A text search cannot be counted: DynamoDB compares bytes, and a
                person's search ignores case.
            seconds: about how long to count.

        """
        if which.text:
            return None
        if which.sku or (which.review is not None and (which.model or which.scene)):
            # An article has few jobs. The index by-review holds no settings.
            page = self.page(which, size=_CHUNK, seconds=seconds)
            return Count(len(page.jobs), exact=page.after is None)
        until = time.monotonic() + seconds
        streams = self._streams(which, None, 0)
        with ThreadPoolExecutor(len(streams)) as pool:
            counts = list(pool.map(lambda stream: stream.count(until), streams))
        return Count(
            sum(count.number for count in counts), exact=all(count.exact for count in counts)
        )

    def all(self, which: Filter, *, size: int = 500) -> Iterator[Job]:
        """Yield every matching job, newest first, with one page in memory at a time."""
        after: str | None = None
        while True:
            page = self.page(which, size=size, after=after)
            yield from page.jobs
            if page.after is None:
                return
            after = page.after

    def _streams(
        self,
        which: Filter,
        after: str | None,
        chunk: int,
        *,
        since: str = "",
        names_only: bool = False,
    ) -> Sequence["_Stream"]:
        by_review = False
        if which.sku:
            kinds = [("by-sku", "sku", which.sku, "created_at")]
        elif which.review is not None:
            kinds = [("by-review", "review_state", which.review.value, "updated_at")]
            by_review = True
        else:
            statuses = [s for s in JobStatus if not which.statuses or s in which.statuses]
            kinds = [("by-status", "status", status.value, "updated_at") for status in statuses]
        positions = _unpacked(after)
        if positions and positions.keys() != {value for _, _, value, _ in kinds}:
            raise CommandError("That page belongs to another filter.", "Start with the first page.")
        return [
            _Stream(
                self._dynamodb,
                self._table,
                *kind,
                chunk,
                positions.get(kind[2], ()),
                which.expression(names=by_review),
                since,
                # The index by-review holds the names alone.
                names_only=by_review or (names_only and bool(which.text)),
                projected=not by_review,
            )
            for kind in kinds
        ]


@dataclass
class _Stream:
    """The jobs of one index under one value, newest first, read in chunks."""

    dynamodb: "DynamoDBClient"
    table: str
    index: str
    name: str
    value: str
    sort: str
    chunk: int
    position: tuple[str, str] | tuple[()] | None
    """Sort key and primary key of the last taken job; () is the beginning, None the end."""
    filtered: Mapping[str, Any]
    """See `Filter.expression`."""
    since: str = ""
    """Only jobs with a later sort key; empty means all."""
    names_only: bool = False
    """Whether to read only the attributes that a text search compares."""
    projected: bool = True
    """Whether such a read must name the attributes; else the index holds no others."""
    buffer: list[dict[str, Any]] = field(default_factory=list)
    ended: bool = False
    records_read: int = 0

    def __post_init__(self) -> None:
        self.ended = self.position is None
        self._read_to = self.position

    @property
    def ready(self) -> bool:
        """Whether a job is at hand."""
        return bool(self.buffer)

    @property
    def newest(self) -> "_Later":
        """The sort key of the newest job, which compares newest first."""
        return _Later(self.buffer[-1][self.sort]["S"])

    def advance(self, may_go_on: Callable[[], bool]) -> bool:
        """Read until a job is at hand or the stream ends; False if `may_go_on` stops it."""
        while not self.ready and not self.ended:
            if not may_go_on():
                return False
            self.fill()
        return True

    def fill(self) -> None:
        """Read the next chunk, unless the stream has ended."""
        if self.ended:
            return
        # All records before `_read_to` were taken or filtered out.
        self.position = self._read_to
        arguments: dict[str, Any] = {}
        if self._read_to:
            sort, key = self._read_to
            arguments["ExclusiveStartKey"] = {
                "pk": {"S": key},
                self.name: {"S": self.value},
                self.sort: {"S": sort},
            }
        if self.names_only and self.projected:
            names = ["pk", self.sort, *_NAMES, *_IDS, "#settings.model_id"]
            arguments["ProjectionExpression"] = ", ".join(names)
        query = self._query()
        if self.names_only and self.projected:
            query["ExpressionAttributeNames"]["#settings"] = "settings"
        answer = self.dynamodb.query(**query, Limit=self.chunk, **arguments)
        self.buffer = answer["Items"][::-1]
        self.records_read += answer["ScannedCount"]
        last = answer.get("LastEvaluatedKey")
        self.ended = last is None
        if last is not None:
            self._read_to = (last[self.sort]["S"], last["pk"]["S"])

    def _query(self) -> dict[str, Any]:
        names = {"#name": self.name, **self.filtered["names"]}
        values = {":value": {"S": self.value}, **self.filtered["values"]}
        condition = "#name = :value"
        if self.since:
            condition += " AND #sort > :since"
            names["#sort"] = self.sort
            values[":since"] = {"S": self.since}
        query: dict[str, Any] = {
            "TableName": self.table,
            "IndexName": self.index,
            "KeyConditionExpression": condition,
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": values,
            "ScanIndexForward": False,
        }
        if self.filtered["expression"]:
            query["FilterExpression"] = self.filtered["expression"]
        return query

    def count(self, until: float) -> Count:
        """Count the records, page by page, until they end or the monotonic clock says `until`."""
        query, number = {**self._query(), "Select": "COUNT"}, 0
        while True:
            answer = self.dynamodb.query(**query)
            number += answer["Count"]
            last = answer.get("LastEvaluatedKey")
            if last is None:
                return Count(number, exact=True)
            if time.monotonic() >= until:
                return Count(number, exact=False)
            query["ExclusiveStartKey"] = last

    def take_all(self) -> list[dict[str, Any]]:
        """Remove and return all records at hand, newest first."""
        taken, self.buffer = self.buffer[::-1], []
        return taken

    def take(self) -> dict[str, Any]:
        """Remove and return the newest record at hand, in DynamoDB's wire form."""
        item = self.buffer.pop()
        self.position = (item[self.sort]["S"], item["pk"]["S"])
        return item

    @property
    def rest(self) -> tuple[str, str] | tuple[()] | None:
        """Where the next page continues; same form as `position`."""
        if self.ready:
            return self.position
        return None if self.ended else self._read_to


def _name_key(job: Job) -> tuple[str, str, str]:
    """Return what jobs are sorted by: the photo's folded key, then the age."""
    return _folded(job.source_key or ""), job.created_at, job.job_id


def _packed_name(key: tuple[str, str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def _unpacked_name(after: str) -> tuple[str, str, str]:
    try:
        name, created_at, job_id = json.loads(
            base64.urlsafe_b64decode(after + "=" * (-len(after) % 4))
        )
        return str(name), str(created_at), str(job_id)
    except (ValueError, TypeError, RecursionError) as error:
        raise CommandError(
            f"There is no page {after[:40]!r}.", "Start with the first page."
        ) from error


def _folded(text: str) -> str:
    """Return a text without case, in NFC: macOS writes file names in decomposed form (NFD)."""
    return unicodedata.normalize("NFC", text).casefold()


class _Later(str):
    """A time that compares in reverse, so that a heap returns the latest first."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return str.__gt__(self, other)


def _packed(streams: Sequence[_Stream]) -> str:
    positions = {stream.value: stream.rest for stream in streams}
    return base64.urlsafe_b64encode(json.dumps(positions).encode()).decode().rstrip("=")


def _unpacked(after: str | None) -> dict[str, tuple[str, str] | tuple[()] | None]:
    if after is None:
        return {}
    try:
        document = json.loads(base64.urlsafe_b64decode(after + "=" * (-len(after) % 4)))
        return {str(name): _position(position) for name, position in document.items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CommandError(
            f"There is no page {after[:40]!r}.", "Start with the first page."
        ) from error


def _position(value: Any) -> tuple[str, str] | tuple[()] | None:  # noqa: ANN401  any JSON
    if value is None:
        return None
    if not value:
        return ()
    sort, key = value
    return str(sort), str(key)
