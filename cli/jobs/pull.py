"""Downloads results into a folder of this machine, resumable, and never over another file.

A file that is not complete is named `name.part`. The next run goes on where it ends, if the object
in the bucket is still the same, and checks the whole file against the record's SHA-256 before it
gets its name. A lock on the part keeps two commands from writing it at the same time.
"""

import errno
import fcntl
import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from cli.errors import sentence
from cli.jobs.naming import FileNames
from cli.transfers import StoppedError, Transfers
from shared.models import Job, Result

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CHUNK: Final = 256 * 1024
_TRIES: Final = 3
"""How often a download whose connection breaks is continued, before it is given up."""
_BROKEN: Final = (BotoCoreError, HTTPError, ConnectionError, TimeoutError)
"""What a connection that breaks raises."""


class State(StrEnum):
    """What has become of a file."""

    QUEUED = "queued"
    PULLING = "pulling"
    PULLED = "pulled"
    KEPT = "kept"
    """It was there already, with the same bytes."""
    REFUSED = "refused"
    """Another file is there."""
    FAILED = "failed"


@dataclass
class Pull:
    """An image to download, and how far that is."""

    job: Job
    result: Result
    file: Path
    state: State = State.QUEUED
    received: int = 0
    trouble: str = ""
    """Why it was not downloaded, as a sentence."""

    @property
    def part(self) -> Path:
        """The file while it is not complete."""
        return self.file.with_name(f"{self.file.name}.part")

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.state not in {State.QUEUED, State.PULLING}


def pulls_of(named: Sequence[Job], wanted: Sequence[Job], folder: Path) -> list[Pull]:
    """Return the images to download, in the order of the jobs.

    Args:
        named: all jobs that share the names. The names stay the same if fewer of them are wanted.
        wanted: the jobs whose wanted results are downloaded.
        folder: the folder for the files.

    """
    names = FileNames(named)
    return [
        Pull(job, result, folder / names.of(job)[result.index])
        for job in wanted
        for result in job.wanted_results
    ]


class _Changed(Exception):
    """What was downloaded is not the image of the record."""


class _Taken(Exception):
    """Another command downloads the same file."""


class Puller(Transfers):
    """Downloads images; the `.part` files of downloads that are stopped stay."""

    def __init__(self, s3: "S3Client", *, overwrite: bool = False) -> None:
        """Read with this client; `overwrite` replaces files that differ."""
        super().__init__("A download")
        self._s3 = s3
        self._overwrite = overwrite

    def start(self, pulls: Sequence[Pull]) -> None:
        """Start downloading in the background."""
        self._start(self._pull, pulls)

    def _pull(self, pull: Pull) -> None:
        try:
            if self._there(pull):
                return
            pull.state = State.PULLING
            self._download(pull)
        except StoppedError:
            pull.state = State.QUEUED
        except _Changed:
            pull.trouble = "The bucket holds another image than the record says; look again."
            pull.state = State.FAILED
        except _Taken:
            pull.trouble = "Another `catwalk pull` downloads it at this moment."
            pull.state = State.FAILED
        except (ClientError, *_BROKEN, OSError) as error:
            pull.trouble = _why(error)
            pull.state = State.FAILED

    def _there(self, pull: Pull) -> bool:
        """Whether the file is there and stays as it is."""
        # A symbolic link to nothing does not exist for `Path.exists`.
        if not os.path.lexists(pull.file):
            return False
        same_size = pull.file.is_file() and pull.file.stat().st_size == pull.result.bytes
        if same_size and _digest(pull.file, self._stop) == pull.result.sha256:
            pull.received = pull.result.bytes
            pull.state = State.KEPT
            return True
        if self._overwrite and pull.file.is_file():
            return False
        pull.trouble = "Another file is there; --overwrite replaces it."
        if not pull.file.is_file():
            pull.trouble = "Something is there that is not a file; move it away."
        pull.state = State.REFUSED
        return True

    def _download(self, pull: Pull) -> None:
        """Download into the part, check it and give it its name.

        Raises:
            _Changed: it is not the image of the record.
            _Taken: another command downloads it.

        """
        which = self._object_of(pull)
        with _held(pull.part) as output:
            resumed = self._fetch(pull, which, output)
            if resumed and not self._is_whole(pull):
                # The part of an earlier run may be of another version, so all is fetched anew.
                output.truncate(0)
                self._fetch(pull, which, output)
            if not self._is_whole(pull):
                pull.part.unlink()
                raise _Changed
            # It may have appeared while this one was downloaded.
            if not self._there(pull):
                pull.part.replace(pull.file)
                pull.state = State.PULLED
            else:
                pull.part.unlink(missing_ok=True)

    def _is_whole(self, pull: Pull) -> bool:
        return _digest(pull.part, self._stop) == pull.result.sha256

    def _object_of(self, pull: Pull) -> dict[str, Any]:
        """Return the object's bucket, key and present ETag as arguments of `get_object`.

        Raises:
            _Changed: the object has another size than the record says.

        """
        which: dict[str, Any] = {"Bucket": pull.result.bucket, "Key": pull.result.key}
        about = self._s3.head_object(**which)
        if about["ContentLength"] != pull.result.bytes:
            raise _Changed
        return {**which, "IfMatch": about["ETag"]}

    def _fetch(self, pull: Pull, which: dict[str, Any], output: IO[bytes]) -> bool:
        """Complete the part; return whether it was begun by an earlier run."""
        size = pull.result.bytes
        begun = os.fstat(output.fileno()).st_size
        if begun > size:
            output.truncate(0)
            begun = 0
        pull.received = begun
        for left in reversed(range(_TRIES)):
            try:
                self._receive(pull, which, output)
            except _BROKEN:
                if not left:
                    raise
            if pull.received >= size:
                break
        if pull.received < size:
            raise ConnectionError("The connection ended too early; run the command again")
        # A full disk may be noticed only now. After a power failure, the name must not stand for
        # bytes that were never written.
        output.flush()
        os.fsync(output.fileno())
        return begun > 0

    def _receive(self, pull: Pull, which: dict[str, Any], output: IO[bytes]) -> None:
        """Append what is missing, until the connection ends or breaks."""
        if pull.received >= pull.result.bytes:
            return
        answer = self._s3.get_object(Range=f"bytes={pull.received}-", **which)
        with closing(answer["Body"]) as body:
            for piece in body.iter_chunks(_CHUNK):
                self._check_stop()
                output.write(piece)
                pull.received += len(piece)

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise StoppedError


@contextmanager
def _held(part: Path) -> Iterator[IO[bytes]]:
    """Open a part to append to it, and keep other commands from it while the block runs.

    Raises:
        _Taken: another command holds it.

    """
    while True:
        # A symbolic link would lead to a file that is no part.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        with os.fdopen(os.open(part, flags, 0o666), "ab") as output:
            try:
                fcntl.flock(output, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise _Taken from error
            except OSError as error:
                # Some network file systems have no locks.
                if error.errno not in {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}:
                    raise
            # Another command may have finished it after it was opened here.
            if _is_same(part, output):
                yield output
                return


def _is_same(part: Path, output: IO[bytes]) -> bool:
    try:
        return os.path.samestat(part.lstat(), os.fstat(output.fileno()))
    except FileNotFoundError:
        return False


def _pieces(file: Path, stop: threading.Event) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while piece := opened.read(_CHUNK):
            if stop.is_set():
                raise StoppedError
            yield piece


def _digest(file: Path, stop: threading.Event) -> str:
    digest = hashlib.sha256()
    for piece in _pieces(file, stop):
        digest.update(piece)
    return digest.hexdigest()


def _why(error: Exception) -> str:
    """Return why a download failed, as a sentence."""
    if isinstance(error, ClientError):
        code = error.response["Error"].get("Code", "")
        if code in {"404", "NoSuchKey"}:
            return "It is not in the results bucket any more."
        if code in {"412", "PreconditionFailed"}:
            return "It was replaced during the download; run the command again."
        if code in {"403", "AccessDenied"}:
            return "These AWS credentials may not read it."
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return f"{error.filename} is a symbolic link; move it away."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'The file'} cannot be written: {error.strerror}."
    return sentence(str(error))
