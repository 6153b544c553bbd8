"""Photos in: reading what a dropped object is, without ever reading the whole of it.

One ranged GET gives the object's user metadata, its size and its first 64 KiB; a JPEG with
long metadata in front of its frame header costs a few more ranges, never the file.
"""

import base64
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import imagesize
from botocore.exceptions import ClientError

from shared.clock import iso
from shared.errors import InputRejected
from shared.models import ErrorCode, Photo
from shared.settings import FOLDER_FILE, FolderFile, bad_settings, folder_file, short, shown

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_RANGE: Final = 64 * 1024
_MAX_RANGES: Final = 64
"""A JPEG may carry 4 MiB of metadata in front of its frame header; more is taken for broken."""
MAX_PIXELS: Final = 200_000_000
"""More than the largest cameras give; a header that declares more is a mistake or an attack."""
MAX_FOLDER_FILE_BYTES: Final = 256 * 1024
PRESIGNED_SECONDS: Final = 6 * 3600
"""How long the vendor may read a photo; the signing role's own credentials may end sooner."""

JPEG: Final = "image/jpeg"
PNG: Final = "image/png"
_MAGIC: Final = ((b"\xff\xd8\xff", JPEG), (b"\x89PNG\r\n\x1a\n", PNG))
_PICTURE: Final = {JPEG: b"\xff\xda", PNG: b"IDAT"}
"""What stands in front of the picture itself, after the header."""
_OTHER_MAGIC: Final = (
    (0, b"GIF8", "GIF"),
    (8, b"WEBP", "WebP"),
    (0, b"BM", "BMP"),
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypheic", "HEIC"),
    (4, b"ftypheix", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
    (4, b"ftypmsf1", "HEIF"),
    (0, b"8BPS", "Photoshop"),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (0, b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\x00\x00\x01\x00", "ICO"),
    (0, b"<svg", "SVG"),
    (0, b"%PDF", "PDF"),
)
_PHOTO_EXTENSIONS: Final = (".jpg", ".jpeg", ".png")
_CHANGED: Final = frozenset({"PreconditionFailed", "412"})
_MISSING: Final = frozenset(
    {"NoSuchKey", "NoSuchVersion", "404", "MethodNotAllowed", "KeyTooLongError"}
)
"""A key may leave no room for `.mask.png` or `catwalk.json` beside it: there is none then."""


@dataclass(frozen=True)
class StoredPhoto:
    """An object of PhotosBucket that claims to be a photo, and its first bytes."""

    bucket: str
    key: str
    etag: str
    version_id: str | None
    size: int
    """Bytes."""
    metadata: dict[str, str]
    head: bytes = field(repr=False)


@dataclass(frozen=True)
class Dropped:
    """The present version of an object of PhotosBucket."""

    key: str
    etag: str
    version_id: str | None
    at: str
    """ISO 8601: when it was dropped."""


def content_type_of(head: bytes) -> str | None:
    """Return `image/jpeg` or `image/png` by magic bytes, or None."""
    return next((kind for magic, kind in _MAGIC if head.startswith(magic)), None)


def pixel_size(head: bytes) -> tuple[int, int] | None:
    """Return (width, height) in pixels if these first bytes declare them, else None."""
    return _pixel_size(io.BytesIO(head))


def _pixel_size(source: "io.BytesIO | _Ranges") -> tuple[int, int] | None:
    try:
        width, height = imagesize.get(source)
    # imagesize reads bytes that strangers chose; whatever it stumbles over is a broken header.
    except Exception:  # noqa: BLE001
        return None
    return (int(width), int(height)) if width > 0 and height > 0 else None


class PhotoStore:
    """PhotosBucket."""

    def __init__(self, s3: "S3Client", bucket: str, *, max_bytes: int) -> None:
        """Read from this bucket; photos larger than `max_bytes` are refused."""
        self._s3 = s3
        self._bucket = bucket
        self._max_bytes = max_bytes

    def open(self, key: str, *, etag: str = "", version_id: str | None = None) -> StoredPhoto:
        """Read an object's head: metadata, size, first bytes.

        Args:
            key: the object.
            etag: read just these bytes; if the key holds others by now, the version is asked
                for. Empty: whatever is there.
            version_id: the version that has this ETag, where the event told.

        Raises:
            InputRejected: `photo_missing`.

        """
        found = self._get(key, None, etag)
        # The same bytes dropped again may carry other metadata: each drop has its own version.
        if version_id is not None and (found is None or found.version_id != version_id):
            found = self._get(key, version_id, "")
        if found is None:
            raise InputRejected(
                ErrorCode.PHOTO_MISSING,
                f"{shown(key)} was replaced by another photo before it was read; the newer photo"
                " has a job of its own.",
            )
        return found

    def inspect(self, stored: StoredPhoto) -> Photo:
        """Check that an object is a photo that the vendor can take.

        Raises:
            InputRejected: `empty_file`, `too_large`, `unsupported_format`, `corrupt_image`.

        """
        key, head = stored.key, stored.head
        if stored.size == 0:
            raise InputRejected(
                ErrorCode.EMPTY_FILE, f"{shown(key)} is empty (0 bytes); drop it again."
            )
        content_type = content_type_of(head)
        if content_type is None:
            raise _not_a_photo(key, head)
        if stored.size > self._max_bytes:
            raise InputRejected(
                ErrorCode.TOO_LARGE,
                f"{shown(key)} has {stored.size:,} bytes; at most {self._max_bytes:,} are allowed"
                " (MaxPhotoBytes). Save it smaller.",
            )
        size = self._declared_size(stored)
        if size is None:
            raise InputRejected(
                ErrorCode.CORRUPT_IMAGE,
                f"{shown(key)} begins like {_short(content_type)} but its header is broken or cut"
                " off; export it again.",
            )
        width, height = size
        if width * height > MAX_PIXELS:
            raise InputRejected(
                ErrorCode.TOO_LARGE,
                f"{shown(key)} declares {width:,} x {height:,} pixels; at most"
                f" {MAX_PIXELS // 1_000_000} megapixels are allowed. Save it smaller.",
            )
        if _ends_in_header(stored, content_type):
            raise InputRejected(
                ErrorCode.CORRUPT_IMAGE,
                f"{shown(key)} is cut off: it ends before its picture begins. Export it again.",
            )
        return Photo(
            bucket=stored.bucket,
            key=key,
            etag=stored.etag,
            version_id=stored.version_id,
            bytes=stored.size,
            content_type=content_type,
            width=width,
            height=height,
        )

    def dropped(self, *, after: str = "") -> Iterator[Dropped]:
        """Yield the present version of each object, by key; `after` is the key to begin behind."""
        begin = {"KeyMarker": after} if after else {}
        while True:
            page = self._s3.list_object_versions(Bucket=self._bucket, **begin)  # type: ignore[arg-type]  # as below
            for version in page.get("Versions", []):
                if version["IsLatest"]:
                    yield Dropped(
                        key=version["Key"],
                        etag=version["ETag"].strip('"'),
                        version_id=_version(version.get("VersionId")),
                        at=iso(version["LastModified"]),
                    )
            if not page.get("IsTruncated"):
                return
            begin = {
                "KeyMarker": page["NextKeyMarker"],
                "VersionIdMarker": page["NextVersionIdMarker"],
            }

    def mask_beside(self, key: str) -> StoredPhoto | None:
        """Return the object `name.mask.png` beside `name.jpg`, if there is one."""
        folder, slash, name = key.rpartition("/")
        stem = name.rpartition(".")[0] or name
        mask_key = f"{folder}{slash}{stem}.mask.png"
        try:
            return self.open(mask_key)
        except InputRejected:
            return None

    def inspect_mask(self, mask: StoredPhoto, photo: Photo) -> None:
        """Check that a mask is a PNG of the photo's pixel size, as the vendor demands.

        A photo by URL has no size that is known here; its mask must be a PNG all the same.

        Raises:
            InputRejected: `mask_mismatch`.

        """
        if mask.key == photo.key:
            raise InputRejected(
                ErrorCode.MASK_MISMATCH,
                f"The mask {shown(mask.key)} is the photo itself; name another PNG, or none to let"
                " the vendor make one.",
            )
        size = self._declared_size(mask)
        if content_type_of(mask.head) != PNG or size is None or _ends_in_header(mask, PNG):
            raise InputRejected(
                ErrorCode.MASK_MISMATCH,
                f"The mask {shown(mask.key)} is no readable PNG; save it so.",
            )
        if photo.url is None and size != (photo.width, photo.height):
            raise InputRejected(
                ErrorCode.MASK_MISMATCH,
                f"The mask {shown(mask.key)} has {size[0]} x {size[1]} pixels and the photo"
                f" {photo.width} x {photo.height}; they must be the same.",
            )
        if mask.size > self._max_bytes:
            raise InputRejected(
                ErrorCode.MASK_MISMATCH,
                f"The mask {shown(mask.key)} has {mask.size:,} bytes; at most {self._max_bytes:,}"
                " are allowed (MaxPhotoBytes).",
            )

    def nearest_folder_file(
        self, key: str, cache: dict[str, FolderFile | InputRejected | None]
    ) -> FolderFile | None:
        """Return the `catwalk.json` in the photo's folder or the nearest folder above.

        Args:
            key: the photo's.
            cache: what this batch of messages has already read, by the file's key.

        Raises:
            InputRejected: `bad_settings`, if the nearest file cannot be used.

        """
        for file_key in _folder_files(key):
            if file_key not in cache:
                try:
                    cache[file_key] = self._folder_file(file_key)
                except InputRejected as rejected:
                    cache[file_key] = rejected
            found = cache[file_key]
            if isinstance(found, InputRejected):
                raise found
            if found is not None:
                return found
        return None

    def presigned_url(self, stored: StoredPhoto) -> str:
        """Return a URL at which the vendor can read just these bytes, for six hours at most.

        It also ends with the temporary credentials that sign it, possibly earlier.
        """
        params = {"Bucket": stored.bucket, "Key": stored.key}
        if stored.version_id is not None:
            params["VersionId"] = stored.version_id
        return self._s3.generate_presigned_url(
            "get_object", Params=params, ExpiresIn=PRESIGNED_SECONDS
        )

    def base64(self, stored: StoredPhoto) -> str:
        """Return the whole object in base64; only `PhotoDelivery=inline` needs it in memory."""
        version = {"VersionId": stored.version_id} if stored.version_id else {}
        answer = self._s3.get_object(Bucket=stored.bucket, Key=stored.key, **version)  # type: ignore[arg-type]  # the stubs cannot see through the optional argument
        with answer["Body"] as body:
            return base64.b64encode(body.read()).decode("ascii")

    def _get(self, key: str, version_id: str | None, etag: str) -> StoredPhoto | None:
        """Read the head of an object; None if the key now holds other bytes than `etag`."""
        arguments: dict[str, str] = {"Bucket": self._bucket, "Key": key}
        if version_id is not None:
            arguments["VersionId"] = version_id
        if etag:
            arguments["IfMatch"] = f'"{etag}"'
        try:
            answer = self._s3.get_object(**arguments, Range=f"bytes=0-{_RANGE - 1}")  # type: ignore[arg-type]  # as above
        except ClientError as error:
            code = error.response["Error"]["Code"]
            # A version id that is none of S3's at all is InvalidArgument.
            if code in _CHANGED or (code == "InvalidArgument" and version_id is not None):
                return None
            if code in _MISSING:
                raise InputRejected(
                    ErrorCode.PHOTO_MISSING,
                    f"{shown(key)} is no longer in {self._bucket}; drop it again if it is still"
                    " wanted.",
                ) from error
            if code != "InvalidRange":
                raise
            # An object without bytes has no first byte to ask for.
            head = self._s3.head_object(**arguments)  # type: ignore[arg-type]  # as above
            return StoredPhoto(
                bucket=self._bucket,
                key=key,
                etag=head["ETag"].strip('"'),
                version_id=_version(head.get("VersionId")),
                size=head["ContentLength"],
                metadata=head["Metadata"],
                head=b"",
            )
        with answer["Body"] as body:
            head_bytes = body.read()
        total = answer.get("ContentRange", "").rpartition("/")[2]
        return StoredPhoto(
            bucket=self._bucket,
            key=key,
            etag=answer["ETag"].strip('"'),
            version_id=_version(answer.get("VersionId")),
            size=int(total) if total.isdigit() else answer["ContentLength"],
            metadata=answer["Metadata"],
            head=head_bytes,
        )

    def _declared_size(self, stored: StoredPhoto) -> tuple[int, int] | None:
        """Return the pixel size that an object's header declares, or None if it is broken."""
        source = _Ranges(stored, self._range)
        size = _pixel_size(source)
        if source.trouble is not None:
            raise source.trouble
        return size

    def _range(self, stored: StoredPhoto, start: int) -> bytes:
        version = {"VersionId": stored.version_id} if stored.version_id else {}
        answer = self._s3.get_object(
            Bucket=stored.bucket,
            Key=stored.key,
            Range=f"bytes={start}-{start + _RANGE - 1}",
            **version,  # type: ignore[arg-type]  # as above
        )
        with answer["Body"] as body:
            return body.read()

    def _folder_file(self, key: str) -> FolderFile | None:
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] in _MISSING:
                return None
            raise
        with answer["Body"] as body:
            if answer["ContentLength"] > MAX_FOLDER_FILE_BYTES:
                raise bad_settings(
                    f"{short(key)} is longer than {MAX_FOLDER_FILE_BYTES} bytes; make it shorter."
                )
            content = body.read()
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise bad_settings(
                f"{short(key)} is not UTF-8 text ({error}); save it as UTF-8."
            ) from error
        return folder_file(text, key)


class _Ranges(io.RawIOBase):
    """An object as a seekable file that fetches 64 KiB at a time, as needed."""

    def __init__(self, stored: StoredPhoto, fetch: Callable[[StoredPhoto, int], bytes]) -> None:
        self._stored = stored
        self._fetch = fetch
        self._blocks = {0: stored.head}
        self._position = 0
        self.trouble: Exception | None = None
        """Why a range could not be fetched, which says nothing about the photo. It is kept here
        since imagesize takes whatever a read raises for a broken file."""

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._stored.size}
        self._position = max(0, base[whence] + offset)
        return self._position

    def read(self, size: int = -1) -> bytes:
        end = self._stored.size if size < 0 else min(self._position + size, self._stored.size)
        data = b"".join(self._pieces(end))
        self._position += len(data)
        return data

    def _pieces(self, end: int) -> Iterator[bytes]:
        position = self._position
        while position < end:
            number, offset = divmod(position, _RANGE)
            if number not in self._blocks:
                if len(self._blocks) >= _MAX_RANGES:
                    return
                try:
                    self._blocks[number] = self._fetch(self._stored, number * _RANGE)
                except Exception as error:
                    self.trouble = error
                    raise
            piece = self._blocks[number][offset : offset + end - position]
            if not piece:
                return
            yield piece
            position += len(piece)


def _ends_in_header(stored: StoredPhoto, content_type: str) -> bool:
    """Whether a file declares a picture but holds none; only a short one can be known to."""
    return stored.size <= len(stored.head) and _PICTURE[content_type] not in stored.head


def _folder_files(key: str) -> Iterator[str]:
    folder = key
    while "/" in folder:
        folder = folder.rpartition("/")[0]
        yield f"{folder}/{FOLDER_FILE}"
    yield FOLDER_FILE


def _not_a_photo(key: str, head: bytes) -> InputRejected:
    text = head.lstrip()
    known = next(
        (
            name
            for offset, magic, name in _OTHER_MAGIC
            if (text if magic.startswith(b"<") else head)[offset:].startswith(magic)
        ),
        None,
    )
    if known is not None:
        return InputRejected(
            ErrorCode.UNSUPPORTED_FORMAT,
            f"{shown(key)} is a {known} file; only JPEG and PNG can be used. Save it as one of"
            " them.",
        )
    if key.lower().endswith(_PHOTO_EXTENSIONS):
        return InputRejected(
            ErrorCode.CORRUPT_IMAGE,
            f"{shown(key)} is neither JPEG nor PNG inside, whatever its name says; export it"
            " again.",
        )
    return InputRejected(
        ErrorCode.UNSUPPORTED_FORMAT,
        f"{shown(key)} is no image that can be used; only JPEG and PNG photos can.",
    )


def _short(content_type: str) -> str:
    return "a JPEG" if content_type == JPEG else "a PNG"


def _version(version_id: str | None) -> str | None:
    return None if version_id in {None, "", "null"} else version_id
