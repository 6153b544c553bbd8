"""Photos and results as a browser gets them: small copies made once, originals streamed.

A page refers to an object by a sealed name, which nobody but this gallery can make: what belongs
to no job cannot be asked for. The exact bytes that a job is about are named, by version or ETag.
"""

import base64
import hashlib
import hmac
import io
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError
from PIL import Image, ImageOps

from cli.errors import CommandError, sentence
from cli.gallery.access import BrokenOffError
from cli.gallery.archive import TROUBLE
from shared.intake.photos import JPEG, PNG
from shared.models import PastAttempt, Photo, Result

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

WIDTHS: Final = (160, 480, 1600)
"""Pixels: the filmstrip's, a card's, and a job's page's; twice what they take up on a page."""
_MAX_BYTES: Final = 64 * 2**20
"""Of an object whose small copy is made; larger ones are shown by their original alone."""
_MAX_PIXELS: Final = 64_000_000
"""A PNG is decoded whole, at four bytes a pixel."""
_MAX_JPEG_PIXELS: Final = 178_000_000
"""A JPEG is decoded at an eighth of its size where that is enough; Pillow refuses more."""
_TYPES: Final = frozenset({JPEG, PNG})
"""What is served as what it is; anything else in a bucket is bytes to download."""
_CHUNK: Final = 256 * 1024
_RANGE: Final = re.compile(r"bytes=(?:\d{1,15}-\d{0,15}|-\d{1,15})")
_QUALITY: Final = 82
_SLACK: Final = timedelta(seconds=5)
"""A record says that an attempt has ended a moment after its results were stored; clocks differ."""


_GONE: Final = {
    "NoSuchKey": "It is not there any more.",
    "NoSuchVersion": "It is not there any more.",
    "NoSuchBucket": "It is not there any more.",
    "404": "It is not there any more.",
    "MethodNotAllowed": "It was deleted.",  # what was asked for is the mark that says so
    "PreconditionFailed": "Another photo lies under this key by now.",
    "412": "Another photo lies under this key by now.",
    "AccessDenied": "These AWS credentials may not read it.",
    "403": "These AWS credentials may not read it.",
    "InvalidObjectState": "It lies in an archive.",
    "InvalidRange": "It has no such range.",
    "416": "It has no such range.",
}
"""Why S3 does not give an object, by its code; any other is trouble with AWS itself."""


class PictureGoneError(Exception):
    """There is no such picture, or none that can be shown; the message is a sentence."""


@dataclass(frozen=True)
class Picture:
    """An object, and which bytes of it."""

    bucket: str
    key: str
    kind: str
    """Its Content-Type, as its record says; empty if that is not known."""
    version_id: str | None = None
    etag: str | None = None
    mark: str = ""
    """Changes whenever the bytes do."""

    @classmethod
    def of_photo(cls, photo: Photo) -> "Picture | None":
        """Return what a photo's record names; None for a photo that is no object of S3's."""
        if photo.bucket is None or photo.key is None:
            return None
        return cls(
            photo.bucket,
            photo.key,
            photo.content_type or "",
            photo.version_id,
            None if photo.version_id else photo.etag,
            photo.etag or "",
        )

    @classmethod
    def of_result(cls, result: Result, version_id: str | None = None) -> "Picture":
        """Return what a result's record names, or an older version of it."""
        return cls(
            result.bucket, result.key, result.content_type, version_id, mark=result.sha256[:16]
        )

    @property
    def name(self) -> str:
        """The file's name."""
        return self.key.rpartition("/")[2] or self.key

    def arguments(self) -> dict[str, Any]:
        """Return what S3 is asked for it with."""
        which: dict[str, Any] = {"Bucket": self.bucket, "Key": self.key}
        if self.version_id:
            which["VersionId"] = self.version_id
        elif self.etag:
            which["IfMatch"] = f'"{self.etag}"'
        return which


class Seal:
    """Makes names of pictures, and knows its own."""

    def __init__(self, secret: bytes) -> None:
        """Sign with this secret."""
        self._secret = secret

    def name(self, picture: Picture) -> str:
        """Return a picture's name in addresses."""
        body = json.dumps(list(asdict(picture).values()), separators=(",", ":")).encode()
        return f"{_b64(body)}.{self._signature(body)}"

    def picture(self, name: str) -> Picture:
        """Return the picture of a name.

        Raises:
            PictureGoneError: this seal did not make it.

        """
        body, _, signature = name.partition(".")
        try:
            document = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
        except ValueError as error:
            raise PictureGoneError("There is no such picture.") from error
        if not hmac.compare_digest(signature.encode(), self._signature(document).encode()):
            raise PictureGoneError("This picture is of an earlier gallery; load the page anew.")
        return Picture(*json.loads(document))

    def _signature(self, body: bytes) -> str:
        return _b64(hmac.new(self._secret, b"picture " + body, "sha256").digest()[:18])


@dataclass(frozen=True)
class Streamed:
    """An original under way."""

    status: int
    headers: Mapping[str, str]
    body: Iterator[bytes]
    close: Callable[[], None]
    """For whom does not read it to its end."""


class Pictures:
    """Reads pictures from S3, and keeps small copies on this machine's disk."""

    def __init__(self, s3: "S3Client", folder: Path, *, most_bytes: int = 512 * 2**20) -> None:
        """Keep small copies in this folder, about so many bytes in all."""
        self._s3 = s3
        self._folder = folder
        self._most_bytes = most_bytes
        self._making = BoundedSemaphore(max(2, (os.cpu_count() or 2) - 1))
        """Decoding takes a processor and memory: only so many at once."""
        self._locks: dict[str, tuple[Lock, int]] = {}
        self._locks_lock = Lock()
        self._written = most_bytes
        """Bytes written since the folder was tidied: at first it may hold anything."""

    def small(self, picture: Picture, width: int) -> Path:
        """Return the file of a picture's small copy, a WebP; made if there is none yet.

        Raises:
            PictureGoneError: it is not there any more, or no picture that can be decoded.

        """
        file = self._file(picture, width)
        if _touch(file):
            return file
        with self._alone(file.name):
            if _touch(file):
                return file
            with self._making:
                body = _shrunk(self._read(picture), width)
            self._keep(file, body)
        return file

    def stream(self, picture: Picture, wanted: str | None = None) -> Streamed:
        """Return the original, or the range of it that is asked for.

        Args:
            picture: what.
            wanted: the request's Range header.

        Raises:
            PictureGoneError: it is not there any more.

        """
        arguments = picture.arguments()
        if wanted is not None and _RANGE.fullmatch(wanted):
            arguments["Range"] = wanted
        answer = self._get(arguments)
        headers = {
            "Content-Type": picture.kind if picture.kind in _TYPES else "application/octet-stream",
            "Content-Length": str(answer["ContentLength"]),
            "Accept-Ranges": "bytes",
            # Should anything in a bucket ever be taken for a document, it may do nothing.
            "Content-Security-Policy": "default-src 'none'; sandbox",
        }
        if "ContentRange" in answer:
            headers["Content-Range"] = answer["ContentRange"]
        status = 206 if "ContentRange" in answer else 200
        return Streamed(status, headers, _pieces(answer["Body"]), answer["Body"].close)

    def older(self, attempt: PastAttempt) -> dict[int, str]:
        """Return the versions of an attempt's results that newer ones have replaced, by index.

        Found by time and size: a record does not keep versions. What the bucket has forgotten, or
        the caller may not list, is left out.
        """
        if attempt.finished_at is None or not attempt.results:
            return {}
        ended = datetime.fromisoformat(attempt.finished_at) + _SLACK
        first = attempt.results[0]
        prefix = first.key.rpartition("-")[0] + "-"
        try:
            answer = self._s3.list_object_versions(Bucket=first.bucket, Prefix=prefix)
        except ClientError as error:
            if error.response["Error"].get("Code") != "AccessDenied":
                raise
            return {}
        found: dict[int, str] = {}
        for result in attempt.results:
            versions = [
                version
                for version in answer.get("Versions", [])
                if version["Key"] == result.key
                and version["Size"] == result.bytes
                and version["LastModified"] <= ended
            ]
            if versions:
                newest = max(versions, key=lambda version: version["LastModified"])
                found[result.index] = newest["VersionId"]
        return found

    def _get(self, arguments: dict[str, Any]) -> Any:  # noqa: ANN401  what boto3 gives
        try:
            return self._s3.get_object(**arguments)
        except ClientError as error:
            why = _GONE.get(error.response["Error"].get("Code", ""))
            if why is None:
                raise
            raise PictureGoneError(why) from error

    def _read(self, picture: Picture) -> bytes:
        answer = self._get(picture.arguments())
        with closing(answer["Body"]) as body:
            if answer["ContentLength"] > _MAX_BYTES:
                raise PictureGoneError("It is too large to be shown small.")
            try:
                data: bytes = body.read()
            except TROUBLE as error:
                raise PictureGoneError("It could not be read wholly.") from error
        return data

    def _file(self, picture: Picture, width: int) -> Path:
        identity = json.dumps([2, width, *asdict(picture).values()])
        digest = hashlib.sha256(identity.encode()).hexdigest()
        return self._folder / digest[:2] / f"{digest[2:40]}.webp"

    def _alone(self, name: str) -> "_Alone":
        return _Alone(name, self._locks, self._locks_lock)

    def _keep(self, file: Path, body: bytes) -> None:
        """Write a small copy; another gallery at the same never sees half of it.

        Raises:
            CommandError: it cannot be written.

        """
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, new = tempfile.mkstemp(dir=file.parent, suffix=".new")
            with os.fdopen(handle, "wb") as output:
                output.write(body)
            Path(new).replace(file)
        except OSError as error:
            raise CommandError(
                f"Small copies cannot be kept in {self._folder}: {error.strerror or error}.",
                "Make room there, or name another folder: XDG_CACHE_HOME.",
            ) from error
        self._written += len(body)
        if self._written > self._most_bytes // 8:
            self._written = 0
            self._tidy()

    def _tidy(self) -> None:
        """Remove what was not looked at for longest until there is room again."""
        files = []
        for file in self._folder.glob("*/*"):
            try:
                state = file.stat()
            except FileNotFoundError:  # another gallery tidies too
                continue
            files.append((state.st_mtime, state.st_size, file))
        total = sum(size for _, size, _ in files)
        for _, size, file in sorted(files):
            if total <= self._most_bytes * 3 // 4:
                break
            file.unlink(missing_ok=True)
            total -= size


class _Alone:
    """A lock by name: two requests for the same picture make one small copy."""

    def __init__(self, name: str, locks: dict[str, tuple[Lock, int]], guard: Lock) -> None:
        self._name, self._locks, self._guard = name, locks, guard

    def __enter__(self) -> None:
        with self._guard:
            lock, users = self._locks.get(self._name, (Lock(), 0))
            self._locks[self._name] = (lock, users + 1)
        lock.acquire()

    def __exit__(self, *_: object) -> None:
        with self._guard:
            lock, users = self._locks.pop(self._name)
            if users > 1:
                self._locks[self._name] = (lock, users - 1)
        lock.release()


def _shrunk(data: bytes, width: int) -> bytes:
    """Return a picture as a WebP at most so many pixels wide and twice as many high."""
    try:
        opened = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
        pixels = opened.width * opened.height
        fits = pixels <= (_MAX_JPEG_PIXELS if opened.format == "JPEG" else _MAX_PIXELS)
        body = _copied(opened, width) if fits else b""
    # Pillow reads bytes that strangers chose; whatever it stumbles over is no picture.
    except Exception as error:
        raise PictureGoneError("It is no picture that can be decoded.") from error
    if not fits:
        raise PictureGoneError("It has too many pixels to be shown small.")
    return body


def _copied(opened: Image.Image, width: int) -> bytes:
    box = (width, 2 * width)
    # A JPEG is decoded no larger than needed; lying on its side, it is turned only later.
    opened.draft("RGB", (max(box), max(box)))
    transparent = opened.mode in {"RGBA", "LA", "PA"} or "transparency" in opened.info
    mode = "RGBA" if transparent else "RGB"
    # Copies of a large picture take as much memory again: what need not be made before it is
    # small is made then. Which side is up is known only by then too, so it shrinks twice.
    picture = opened if opened.mode == mode else opened.convert(mode)
    picture.thumbnail((max(box), max(box)), Image.Resampling.LANCZOS)
    ImageOps.exif_transpose(picture, in_place=True)
    picture.thumbnail(box, Image.Resampling.LANCZOS)
    output = io.BytesIO()
    picture.save(output, "WEBP", quality=_QUALITY, method=4)
    return output.getvalue()


def _pieces(body: Any) -> Iterator[bytes]:  # noqa: ANN401  botocore's StreamingBody
    with closing(body):
        try:
            yield from body.iter_chunks(_CHUNK)
        except TROUBLE as error:
            raise BrokenOffError(sentence(f"A picture broke off: {error}")) from error


def _touch(file: Path) -> bool:
    """Tell whether a file is there, and note that it was wanted."""
    try:
        os.utime(file)
    except OSError:
        # Where nothing can be written any more, what is there still can be shown.
        return os.access(file, os.R_OK)
    return True


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
