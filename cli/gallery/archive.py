"""Results as one zip, made while it is being sent: nothing of it is ever held whole.

Images are compressed already, so they are stored as they are. What cannot be had is told in a
text file inside: a zip that says what it lacks is worth more than a download that breaks off.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError
from zipstream import ZipStream

from shared.models import Job, Result

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MISSING: Final = "NOT-COMPLETE.txt"
EMPTY: Final = "NOTHING-HERE.txt"
_CHUNK: Final = 256 * 1024
_TRIES: Final = 3
_MOST_MISSING: Final = 1_000
"""Lines of the text file; more are counted."""
_UNSAFE: Final = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\]')
_RESERVED: Final = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
TROUBLE: Final = (ClientError, BotoCoreError, HTTPError, OSError)
"""What S3 or the way to it may raise."""


def zipped(s3: "S3Client", jobs: Iterable[Job]) -> Iterator[bytes]:
    """Yield a zip of all results of these jobs, under their keys."""
    stream, names, missing = ZipStream(), set[str](), _Missing()
    seen, count = set[str](), 0
    for job in _until_trouble(jobs, missing):
        # One that changed while the others were read may be met again.
        if job.job_id in seen:
            continue
        seen.add(job.job_id)
        for result in job.results:
            count += 1
            # What is not there at all gets no entry: an empty image would pass for one.
            opened = _Reading(s3, result)
            try:
                opened.begin()
            except TROUBLE as error:
                missing.add(result, error)
                continue
            stream.add(opened.pieces(missing.add), _unique(safe_name(result.key), names))
            yield from stream.all_files()
    if not count and not missing.lines:
        stream.add("No job of this choice has results.\n", EMPTY)
    if missing.lines:
        stream.add(missing.text(), _unique(MISSING, names))
    yield from stream.finalize()


def _until_trouble(jobs: Iterable[Job], missing: "_Missing") -> Iterator[Job]:
    """Yield jobs for as long as they can be read; what came of it then is told."""
    try:
        yield from jobs
    except TROUBLE as error:
        missing.more_unread(error)


def safe_name(key: str) -> str:
    """Return a key as a path that every system can unpack, and only below where it is unpacked."""
    parts = []
    for part in unicodedata.normalize("NFC", key).split("/"):
        name = _UNSAFE.sub("_", part).rstrip(". ")
        if not name:
            continue
        parts.append(f"_{name}" if _RESERVED.fullmatch(name) else name)
    return "/".join(parts) or "_"


def _unique(name: str, taken: set[str]) -> str:
    """Return a name that no other has, also where letters' case does not count."""
    stem, dot, extension = name.rpartition(".")
    if not dot or "/" in extension:
        stem, extension = name, ""
    number, wanted = 1, name
    while wanted.casefold() in taken:
        number += 1
        wanted = f"{stem} ({number}){dot if extension else ''}{extension}"
    taken.add(wanted.casefold())
    return wanted


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
