"""Looking through the jobs, newest first, a page at a time, from the table's indexes.

However many jobs there are, a page costs about the same: it is put together from the newest end
of each status's index, and where a filter lets little through, looking stops after so many
records and goes on with the next page. A job that changes while somebody pages through moves to
the front, where the next look at the first page finds it.
"""

import base64
import heapq
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from cli.chances import Selection
from cli.errors import CommandError
from shared.jobs import job_of
from shared.models import Job, JobStatus

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MOST_LOOKED_AT: Final = 3_000
"""Records that a page looks at, at most: a second or two of DynamoDB's time."""
_CHUNK: Final = 200
"""Records a query asks for where a filter decides which of them are shown."""


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
        if not Selection(statuses=self.statuses, folder=self.folder, sku=self.sku).matches(job):
            return False
        settings = job.settings
        if self.model and (settings is None or settings.model_id != self.model):
            return False
        if self.scene and (
            settings is None or self.scene not in {settings.scene, settings.scene_type.value}
        ):
            return False
        text = self.text.strip().casefold()
        named = (job.source_key, job.sku, job.request_id, job.task_id, job.job_id)
        return not text or any(text in (name or "").casefold() for name in named)


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
    ) -> Page:
        """Return the next jobs that match.

        Args:
            which: what is shown.
            size: jobs, at most.
            after: `Page.after` of the page before, of the same filter; None is the first.
            most: records looked at, about, before it stops short.

        Raises:
            CommandError: `after` is none of this filter's.

        """
        streams = self._streams(which, after, _CHUNK if which.narrow else size)
        with ThreadPoolExecutor(len(streams)) as pool:
            list(pool.map(_Stream.fill, streams))
        found: list[Job] = []
        heap = [(stream.newest, number) for number, stream in enumerate(streams) if stream.ready]
        heapq.heapify(heap)
        while heap and len(found) < size:
            _, number = heapq.heappop(heap)
            stream = streams[number]
            job = stream.take()
            if which.matches(job):
                found.append(job)
            if not stream.ready and not stream.ended:
                if sum(each.looked_at for each in streams) >= most:
                    break
                stream.fill()
            if stream.ready:
                heapq.heappush(heap, (stream.newest, number))
        more = any(stream.ready or not stream.ended for stream in streams)
        return Page(
            tuple(found),
            _packed(streams) if more else None,
            sum(stream.looked_at for stream in streams),
        )

    def all(self, which: Filter, *, size: int = 500) -> Iterator[Job]:
        """Yield every job that matches, newest first, holding a page of them at a time."""
        after: str | None = None
        while True:
            page = self.page(which, size=size, after=after)
            yield from page.jobs
            if page.after is None:
                return
            after = page.after

    def _streams(self, which: Filter, after: str | None, chunk: int) -> Sequence["_Stream"]:
        if which.sku:
            kinds = [("by-sku", "sku", which.sku, "created_at")]
        else:
            statuses = [s for s in JobStatus if not which.statuses or s in which.statuses]
            kinds = [("by-status", "status", status.value, "updated_at") for status in statuses]
        positions = _unpacked(after)
        if positions and positions.keys() != {value for _, _, value, _ in kinds}:
            raise CommandError("That page belongs to other filters.", "Begin with the first page.")
        return [
            _Stream(self._dynamodb, self._table, *kind, chunk, positions.get(kind[2], ()))
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

    def fill(self) -> None:
        """Read the next records, unless there are no more."""
        if self.ended:
            return
        begin: dict[str, Any] = {}
        if self._read_to:
            sort, key = self._read_to
            begin["ExclusiveStartKey"] = {
                "pk": {"S": key},
                self.name: {"S": self.value},
                self.sort: {"S": sort},
            }
        answer = self.dynamodb.query(
            TableName=self.table,
            IndexName=self.index,
            KeyConditionExpression="#name = :value",
            ExpressionAttributeNames={"#name": self.name},
            ExpressionAttributeValues={":value": {"S": self.value}},
            ScanIndexForward=False,
            Limit=self.chunk,
            **begin,
        )
        self.buffer = answer["Items"][::-1]
        self.looked_at += len(self.buffer)
        last = answer.get("LastEvaluatedKey")
        self.ended = last is None
        if last is not None:
            self._read_to = (last[self.sort]["S"], last["pk"]["S"])

    def take(self) -> Job:
        """Return the newest job at hand; it is not met again."""
        item = self.buffer.pop()
        self.position = (item[self.sort]["S"], item["pk"]["S"])
        return job_of(item)


class _Later(str):
    """A time that comes first in a heap if it is later."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return str.__gt__(self, other)


def _packed(streams: Sequence[_Stream]) -> str:
    positions = {
        stream.value: None if stream.ended and not stream.ready else stream.position
        for stream in streams
    }
    return base64.urlsafe_b64encode(json.dumps(positions).encode()).decode().rstrip("=")


def _unpacked(after: str | None) -> dict[str, tuple[str, str] | tuple[()] | None]:
    if after is None:
        return {}
    try:
        document = json.loads(base64.urlsafe_b64decode(after + "=" * (-len(after) % 4)))
        return {str(name): _position(position) for name, position in document.items()}
    except (ValueError, TypeError, AttributeError) as error:
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
