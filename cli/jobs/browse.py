"""Looking through the jobs, newest first, a page at a time, from the table's indexes.

However many jobs there are, a page costs about the same: it is put together from the newest end
of each status's index, and where a filter lets little through, looking stops after so many
records and goes on with the next page. A job that changes while somebody pages through moves to
the front, where the next look at the first page finds it.

DynamoDB leaves out what a filter certainly does not let through, which saves sending and reading
it; `Filter.matches` has the last word. Where a text is looked for, only names are read, and whole
records of those alone that have it: reading a record takes longer than DynamoDB does to send it.
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
from shared.models import Job, JobStatus
from shared.records.jobs import job_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MOST_LOOKED_AT: Final = 3_000
"""Records that a page looks at, at most: a second or two of DynamoDB's time."""
_CHUNK: Final = 400
"""Records a query asks for where a filter decides which of them are shown."""
_MOST_KEYS: Final = 100
"""DynamoDB's limit of a BatchGetItem."""
_JOB_ID: Final = re.compile(r"[0-9a-f]{32}")
_NAMES: Final = ("source_key", "sku", "request_id", "task_id", "job_id")
"""Where a text is looked for."""


@dataclass(frozen=True)
class Filter:
    """Which jobs are shown: those that match every condition given."""

    statuses: frozenset[JobStatus] = frozenset()
    folder: str | None = None
    """With everything below it; empty is the whole bucket."""
    sku: str | None = None
    model: str | None = None
    """The vendor's model id: `002`."""
    scene: str | None = None
    """As in result keys: `original`, `preset-035`, `color-ff0000`; `preset` is every preset."""
    text: str = ""
    """Part of the photo's key, the article, the request's, task's or job's id; in any case."""

    @property
    def narrow(self) -> bool:
        """Whether records must be looked at one by one."""
        return bool(self.folder or self.sku or self.model or self.scene or self.text)

    def matches(self, job: Job) -> bool:
        """Whether a job is shown."""
        if not JobSelection(statuses=self.statuses, folder=self.folder, sku=self.sku).matches(job):
            return False
        settings = job.settings
        if self.model and (settings is None or settings.model_id != self.model):
            return False
        if self.scene and (
            settings is None or self.scene not in {settings.scene, settings.scene_type.value}
        ):
            return False
        return self._names({name: getattr(job, name) for name in _NAMES})

    def may_match(self, item: Mapping[str, Any]) -> bool:
        """Whether a record in DynamoDB's wire form is worth reading: a look at its names alone."""
        return not self.text or self._names({n: item[n].get("S") for n in _NAMES if n in item})

    def _names(self, names: Mapping[str, str | None]) -> bool:
        text = _folded(self.text.strip())
        return not text or any(text in _folded(name or "") for name in names.values())

    def expression(self) -> dict[str, Any]:
        """Return a query's FilterExpression, with its names and values; empty if there is none.

        It may let more through than `matches`, never less.
        """
        parts: list[str] = []
        values: dict[str, str] = {}
        if self.folder and (folder := self.folder.strip("/")):
            # Whose key begins with slashes is told by `matches`.
            parts.append("(begins_with(source_key, :folder) OR begins_with(source_key, :slash))")
            values |= {":folder": f"{folder}/", ":slash": "/"}
        if self.model:
            parts.append("#settings.model_id = :model")
            values[":model"] = self.model
        if self.scene:
            parts.append("#settings.scene_type = :scene")
            values[":scene"] = self.scene.partition("-")[0]
        names = {"#settings": "settings"} if self.model or self.scene else {}
        return {
            "expression": " AND ".join(parts),
            "names": names,
            "values": {name: {"S": value} for name, value in values.items()},
        }


@dataclass(frozen=True)
class Page:
    """Some jobs, newest first: by their last change, an article's by when they came."""

    jobs: tuple[Job, ...]
    after: str | None
    """What to ask for the next page with; None at the end. A page may be short, even empty, and
    yet not the last."""
    looked_at: int
    """Records."""


class Browser:
    """Looks through JobsTable's indexes; eventually consistent, as indexes are."""

    def __init__(self, dynamodb: "DynamoDBClient", table: str) -> None:
        """Look at this table."""
        self._dynamodb = dynamodb
        self._table = table

    def page(
        self,
        which: Filter,
        *,
        size: int,
        after: str | None = None,
        most: int = MOST_LOOKED_AT,
        seconds: float = math.inf,
    ) -> Page:
        """Return the next jobs that match.

        Args:
            which: what is shown.
            size: jobs, at most.
            after: `Page.after` of the page before, of the same filter; None is the first.
            most: records looked at, about, before it stops short.
            seconds: it stops short after about this time too. Either way it has come further,
                and `Page.after` goes on from there.

        Raises:
            CommandError: `after` is none of this filter's.

        """
        named = which.text.strip().casefold()
        if after is None and _JOB_ID.fullmatch(named):
            job = self.some([named]).get(named)
            if job is not None:
                found_it = (job,) if which.matches(job) else ()
                return Page(found_it, None, 1)
        streams = self._streams(which, after, _CHUNK if which.narrow else size, names_only=True)
        until = time.monotonic() + seconds
        with ThreadPoolExecutor(len(streams)) as pool:
            list(pool.map(_Stream.fill, streams))

        def may_go_on() -> bool:
            return sum(s.looked_at for s in streams) < most and time.monotonic() < until

        found: list[Job] = []
        named_so: list[str] = []
        # What is newest is known only once every stream has shown its newest.
        known = all(stream.advance(may_go_on) for stream in streams)
        heap = [(stream.newest, number) for number, stream in enumerate(streams) if stream.ready]
        heapq.heapify(heap)
        while known and heap and len(found) + len(named_so) < size:
            _, number = heapq.heappop(heap)
            stream = streams[number]
            item = stream.take()
            if which.text:
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
            sum(stream.looked_at for stream in streams),
        )

    def some(self, job_ids: Collection[str]) -> dict[str, Job]:
        """Return these jobs as they are now, by their ids; those that there are."""
        keys: list[Any] = [{"pk": {"S": f"JOB#{job_id}"}} for job_id in dict.fromkeys(job_ids)]
        found: dict[str, Job] = {}
        while keys:
            wanted: Any = {self._table: {"Keys": keys[:_MOST_KEYS]}}
            answer = self._dynamodb.batch_get_item(RequestItems=wanted)
            for item in answer["Responses"].get(self._table, []):
                job = job_of(item)
                found[job.job_id] = job
            # What did not fit into the answer is asked for again.
            left: Any = answer.get("UnprocessedKeys", {}).get(self._table, {})
            keys = [*left.get("Keys", []), *keys[_MOST_KEYS:]]
        return found

    def came_since(self, which: Filter, moment: str, *, most: int = _MOST_KEYS) -> list[Job]:
        """Return the jobs that match and have come since a moment, in no order.

        Args:
            which: what is shown.
            moment: ISO 8601, as records have it.
            most: records looked at a status.

        """
        streams = self._streams(which, None, most, since=moment)
        with ThreadPoolExecutor(len(streams)) as pool:
            list(pool.map(_Stream.fill, streams))
        found = []
        for stream in streams:
            while stream.ready:
                job = job_of(stream.take())
                if job.created_at > moment and which.matches(job):
                    found.append(job)
        return found

    def all(self, which: Filter, *, size: int = 500) -> Iterator[Job]:
        """Yield every job that matches, newest first, holding a page of them at a time."""
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
        if which.sku:
            kinds = [("by-sku", "sku", which.sku, "created_at")]
        else:
            statuses = [s for s in JobStatus if not which.statuses or s in which.statuses]
            kinds = [("by-status", "status", status.value, "updated_at") for status in statuses]
        positions = _unpacked(after)
        if positions and positions.keys() != {value for _, _, value, _ in kinds}:
            raise CommandError("That page belongs to other filters.", "Begin with the first page.")
        return [
            _Stream(
                self._dynamodb,
                self._table,
                *kind,
                chunk,
                positions.get(kind[2], ()),
                which.expression(),
                since,
                names_only=names_only and bool(which.text),
            )
            for kind in kinds
        ]


@dataclass
class _Stream:
    """One index's jobs under one value, newest first, read as they are needed."""

    dynamodb: "DynamoDBClient"
    table: str
    index: str
    name: str
    value: str
    sort: str
    chunk: int
    position: tuple[str, str] | tuple[()] | None
    """Sort key and primary key of the last job taken; () is the beginning, None the end."""
    filtered: Mapping[str, Any]
    """See `Filter.expression`."""
    since: str = ""
    """Only jobs whose sort key is later; empty is all."""
    names_only: bool = False
    """Whether of each record only that is read where a text is looked for."""
    buffer: list[dict[str, Any]] = field(default_factory=list)
    ended: bool = False
    looked_at: int = 0

    def __post_init__(self) -> None:
        self.ended = self.position is None
        self._read_to = self.position

    @property
    def ready(self) -> bool:
        """Whether a job is at hand."""
        return bool(self.buffer)

    @property
    def newest(self) -> "_Later":
        """What to order streams by: the newest first."""
        return _Later(self.buffer[-1][self.sort]["S"])

    def advance(self, may_go_on: Callable[[], bool]) -> bool:
        """Read until a job is at hand or there are no more; tell whether that was reached."""
        while not self.ready and not self.ended:
            if not may_go_on():
                return False
            self.fill()
        return True

    def fill(self) -> None:
        """Read the next records, unless there are no more."""
        if self.ended:
            return
        # All before was taken, or left out.
        self.position = self._read_to
        arguments: dict[str, Any] = {}
        if self._read_to:
            sort, key = self._read_to
            arguments["ExclusiveStartKey"] = {
                "pk": {"S": key},
                self.name: {"S": self.value},
                self.sort: {"S": sort},
            }
        if self.filtered["expression"]:
            arguments["FilterExpression"] = self.filtered["expression"]
        if self.names_only:
            arguments["ProjectionExpression"] = ", ".join(["pk", self.sort, *_NAMES])
        names = {"#name": self.name, **self.filtered["names"]}
        values = {":value": {"S": self.value}, **self.filtered["values"]}
        condition = "#name = :value"
        if self.since:
            condition += " AND #sort > :since"
            names["#sort"] = self.sort
            values[":since"] = {"S": self.since}
        answer = self.dynamodb.query(
            TableName=self.table,
            IndexName=self.index,
            KeyConditionExpression=condition,
            ExpressionAttributeNames=names,
            ExpressionAttributeValues=values,
            ScanIndexForward=False,
            Limit=self.chunk,
            **arguments,
        )
        self.buffer = answer["Items"][::-1]
        self.looked_at += answer["ScannedCount"]
        last = answer.get("LastEvaluatedKey")
        self.ended = last is None
        if last is not None:
            self._read_to = (last[self.sort]["S"], last["pk"]["S"])

    def take(self) -> dict[str, Any]:
        """Return the newest record at hand, as DynamoDB has it; it is not met again."""
        item = self.buffer.pop()
        self.position = (item[self.sort]["S"], item["pk"]["S"])
        return item

    @property
    def rest(self) -> tuple[str, str] | tuple[()] | None:
        """Where to go on from; as `position`."""
        if self.ready:
            return self.position
        return None if self.ended else self._read_to


def _folded(text: str) -> str:
    """Return a text without case, and with accents as they are typed: macOS takes them apart."""
    return unicodedata.normalize("NFC", text).casefold()


class _Later(str):
    """A time that comes first in a heap if it is later."""

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
            f"There is no page {after[:40]!r}.", "Begin with the first page."
        ) from error


def _position(value: Any) -> tuple[str, str] | tuple[()] | None:  # noqa: ANN401  any JSON
    if value is None:
        return None
    if not value:
        return ()
    sort, key = value
    return str(sort), str(key)
