"""Results as one zip, made while it is being sent: nothing of it is ever held whole.

Images are compressed already, so they are stored as they are. What cannot be had is told in a
text file inside: a zip that says what it lacks is worth more than a download that breaks off.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError
from zipstream import ZipStream

from cli.errors import CommandError
from cli.jobs.naming import FileNames
from shared.models import Job, Result

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MISSING: Final = "NOT-COMPLETE.txt"
_CHUNK: Final = 256 * 1024
_TRIES: Final = 3
_MOST_MISSING: Final = 1_000
"""Lines of the text file; more are counted."""
TROUBLE: Final = (ClientError, BotoCoreError, HTTPError, OSError)
"""What S3 or the way to it may raise."""


def zipped(s3: "S3Client", jobs: Iterable[Job], *, named: Iterable[Job] = ()) -> Iterator[bytes]:
    """Return a zip of the wanted results of these jobs, as pieces; all files lie in its top.

    `named` are the jobs that share the names, as in `pull`: they are read to the end at once.

    Jobs are read until the first one with results, so that an empty zip is never begun.

    Raises:
        CommandError: there is no result to put into it.

    """
    rest = iter(jobs)
    met = 0
    for job in rest:
        met += 1
        if job.wanted_results:
            return _pieces(s3, itertools.chain([job], rest), FileNames(named))
    if met:
        raise CommandError(
            "Nothing can be downloaded: none of these photos has images that are wanted.",
            "Images that are refused are left out. A photo that failed has none.",
        )
    raise CommandError(
        "Nothing can be downloaded: no photo matches.", "Take away a filter, or look at all photos."
    )


def _pieces(s3: "S3Client", jobs: Iterable[Job], names: FileNames) -> Iterator[bytes]:
    stream, missing = ZipStream(), _Missing()
    seen = set[str]()
    for job in _until_trouble(jobs, missing):
        # One that changed while the others were read may be met again.
        if job.job_id in seen:
            continue
        seen.add(job.job_id)
        named = names.of(job)
        for result in job.wanted_results:
            # What is not there at all gets no entry: an empty image would pass for one.
            opened = _Reading(s3, result)
            try:
                opened.begin()
            except TROUBLE as error:
                missing.add(result, error)
                continue
            stream.add(opened.pieces(missing.add), named[result.index])
            yield from stream.all_files()
    if missing.lines:
        stream.add(missing.text(), MISSING)
    yield from stream.finalize()


def _until_trouble(jobs: Iterable[Job], missing: "_Missing") -> Iterator[Job]:
    """Yield jobs for as long as they can be read; what came of it then is told."""
    try:
        yield from jobs
    except TROUBLE as error:
        missing.more_unread(error)


class _Missing:
    """What the zip lacks."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._more = 0

    def add(self, result: Result, error: Exception) -> None:
        """Note a result that could not be had (wholly)."""
        if len(self.lines) < _MOST_MISSING:
            self.lines.append(f"s3://{result.bucket}/{result.key}: {error}")
        else:
            self._more += 1

    def more_unread(self, error: Exception) -> None:
        """Note that the jobs themselves could not be read to their end."""
        self.lines.append(f"All further jobs: {error}")

    def text(self) -> str:
        """Return what is said of it."""
        more = [f"... and {self._more} more"] if self._more else []
        head = "These results could not be read, or not wholly:"
        return "\n".join([head, "", *self.lines, *more, ""])


class _Reading:
    """One result, gone on with where a connection broke."""

    def __init__(self, s3: "S3Client", result: Result) -> None:
        self._s3 = s3
        self._result = result
        self._which: dict[str, Any] = {"Bucket": result.bucket, "Key": result.key}
        self._answer: Any = None

    def begin(self) -> None:
        """Ask for it."""
        self._answer = self._s3.get_object(**self._which)
        self._which["IfMatch"] = self._answer["ETag"]

    def pieces(self, lacks: Callable[[Result, Exception], None]) -> Iterator[bytes]:
        """Yield it; if it breaks for good, say so and end: the zip goes on."""
        size, sent = self._answer["ContentLength"], 0
        for left in reversed(range(_TRIES)):
            try:
                if sent:
                    self._answer = self._s3.get_object(Range=f"bytes={sent}-", **self._which)
                with closing(self._answer["Body"]) as body:
                    for piece in body.iter_chunks(_CHUNK):
                        sent += len(piece)
                        yield piece
            except TROUBLE as error:
                if not left:
                    lacks(self._result, error)
            if sent >= size:
                return
