"""Reads and checks dropped photos, masks and folder files in PhotosBucket.

A photo is never read as a whole. One ranged GET gives its user metadata, its size and its first
64 KiB. A JPEG with long metadata before its frame header needs a few more ranges.
"""

import base64
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

import imagesize
from botocore.exceptions import ClientError

from shared.clock import iso
from shared.errors import InputRejected
from shared.intake.settings import FOLDER_FILE, FolderFile, bad_settings, folder_file, short, shown
from shared.models import ErrorCode, Photo

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

_RANGE: Final = 64 * 1024
_MAX_RANGES: Final = 64
"""A JPEG may have 4 MiB of metadata before its frame header; with more it counts as broken."""
MAX_PIXELS: Final = 200_000_000
"""More than the largest cameras have. A header that declares more is a mistake or an attack."""
MAX_FOLDER_FILE_BYTES: Final = 256 * 1024
PRESIGNED_SECONDS: Final = 6 * 3600
"""How long a presigned URL is valid, unless the signing role's credentials expire before."""

JPEG: Final = "image/jpeg"
PNG: Final = "image/png"
_MAGIC: Final = ((b"\xff\xd8\xff", JPEG), (b"\x89PNG\r\n\x1a\n", PNG))
_PICTURE: Final = {JPEG: b"\xff\xda", PNG: b"IDAT"}
"""The bytes at the beginning of the image data, after the header."""
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
PHOTO_EXTENSIONS: Final = (".jpg", ".jpeg", ".png")
_CHANGED: Final = frozenset({"PreconditionFailed", "412"})
_KEY_TROUBLE: Final = frozenset(
    {
        "KMS.DisabledException",
        "KMS.NotFoundException",
        "KMS.InvalidStateException",
        "KMS.KMSInvalidStateException",
    }
)
"""The KMS key of an object is disabled or gone. Other errors of KMS, such as throttling, are
temporary."""
_DROP_AGAIN: Final = "then drop the photo again."
_NO_KEY: Final = (
    "Catwalk must not use the KMS key that it is encrypted with. Upload it without that key (the"
    f" bucket encrypts every object), {_DROP_AGAIN}"
)
_MISSING: Final = frozenset(
    {"NoSuchKey", "NoSuchVersion", "404", "MethodNotAllowed", "KeyTooLongError"}
)
"""`KeyTooLongError`: a long key leaves no room for `.mask.png` or `catwalk.json` beside it."""


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
    last_modified: datetime | None = None
    """When this version was dropped; for a multipart upload, when the upload began."""


@dataclass(frozen=True)
class Marker:
    """A place in the listing of PhotosBucket: after this version of this key."""

    key: str
    version_id: str


@dataclass(frozen=True)
class Dropped:
    """A version of an object of PhotosBucket; it need not be the newest."""

    key: str
    etag: str
    version_id: str | None
    at: str
    """ISO 8601: when it was dropped; for a multipart upload, when the upload began."""


@dataclass(frozen=True)
class Page:
    """One page of the listing. A page with only delete markers has no drops."""

    drops: tuple[Dropped, ...]
    end: Marker | None
    """Where the next page begins; None if this is the last one."""


@dataclass(frozen=True)
class FolderEntry:
    """What is under the key of a `catwalk.json`."""

    content: FolderFile | InputRejected | None
    since: datetime | None = None
    """When the file was uploaded; None if there is no file or the time is not known."""
    deleted: bool = False
    """Whether the file was deleted and earlier versions are kept."""


FolderCache = dict[str, FolderEntry]
"""The `catwalk.json` files that a batch of messages has read, by key."""


def mask_key(key: str) -> str:
    """Return the key of the mask beside a photo: `name.mask.png` beside `name.jpg`."""
    folder, slash, name = key.rpartition("/")
    return f"{folder}{slash}{name.rpartition('.')[0] or name}.mask.png"


def content_type_of(head: bytes) -> str | None:
    """Return `image/jpeg` or `image/png` by magic bytes, or None."""
    return next((kind for magic, kind in _MAGIC if head.startswith(magic)), None)


def pixel_size(head: bytes) -> tuple[int, int] | None:
    """Return (width, height) in pixels if these first bytes declare them, else None."""
    return _pixel_size(io.BytesIO(head))


def _pixel_size(source: "io.BytesIO | _Ranges") -> tuple[int, int] | None:
    try:
        width, height = imagesize.get(source)
    # imagesize raises errors of many types for a broken header.
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
        """Read metadata, size and first bytes of a dropped object for the first time.

        The metadata counts, so the version matters: the same bytes may be dropped again with other
        metadata.

        Args:
            key: the object's key.
            etag: the ETag of the bytes to read. If the key holds other bytes now, the version is
                read. Empty reads any bytes.
            version_id: the version with this ETag, if the event names it.

        Raises:
            InputRejected: `photo_missing`, `photo_unreadable`.

        """
        found = self._current(key, etag, version_id)
        if version_id is not None and (found is None or found.version_id != version_id):
            found = self._get(key, version_id, "")
        return self._there(key, found)

    def reopen(self, key: str, *, etag: str, version_id: str | None) -> StoredPhoto:
        """Read an object again whose job is decided; its bytes count, not its version.

        If the version is gone, the same bytes may be there as a newer version. If the key was
        deleted, there is no photo, even if versions are kept.

        Args:
            key: the object's key.
            etag: the ETag of the bytes to read.
            version_id: a version with these bytes, in case the key holds other bytes now.

        Raises:
            InputRejected: `photo_missing`, `photo_unreadable`.

        """
        found = self._current(key, etag, version_id)
        if found is None and version_id is not None:
            found = self._get(key, version_id, "")
        return self._there(key, found)

    def reopen_mask(self, key: str, *, etag: str, version_id: str | None) -> StoredPhoto:
        """Read a mask again whose job is decided; see `reopen`.

        Raises:
            InputRejected: `mask_mismatch`.

        """
        try:
            return self.reopen(key, etag=etag, version_id=version_id)
        except InputRejected as rejected:
            raise _bad_mask(rejected) from rejected

    def inspect(self, stored: StoredPhoto) -> Photo:
        """Check that an object is a photo that the vendor accepts.

        Raises:
            InputRejected: `empty_file`, `too_large`, `unsupported_format`, `corrupt_image`.

        """
        key, head = stored.key, stored.head
        if stored.size == 0:
            raise InputRejected(
                ErrorCode.EMPTY_FILE,
                f"{shown(key)} is empty (0 bytes). Export it again, then drop it.",
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

    def dropped(self, after: Marker | None = None) -> Page:
        """List one page of the versions of objects, by key, the newest of each key first."""
        begin = {}
        if after is not None:
            begin = {"KeyMarker": after.key}
            begin |= {"VersionIdMarker": after.version_id} if after.version_id else {}
        try:
            page = self._s3.list_object_versions(Bucket=self._bucket, **begin)  # type: ignore[arg-type]  # optional arguments
        except ClientError as error:
            refused = error.response["Error"]["Code"] == "InvalidArgument"
            if not refused or after is None or not after.version_id:
                raise
            # S3 may refuse the id of a deleted version. Then the listing continues at the next key.
            return self.dropped(Marker(after.key, ""))
        drops = tuple(
            Dropped(
                key=version["Key"],
                etag=version["ETag"].strip('"'),
                version_id=_version(version.get("VersionId")),
                at=iso(version["LastModified"]),
            )
            for version in page.get("Versions", [])
        )
        if not page.get("IsTruncated"):
            return Page(drops, None)
        return Page(drops, Marker(page["NextKeyMarker"], page["NextVersionIdMarker"]))

    def mask_beside(self, key: str, *, as_of: datetime | None = None) -> StoredPhoto | None:
        """Return the object `name.mask.png` beside `name.jpg`, if there is one.

        Args:
            key: the photo's key.
            as_of: return the mask of this moment; None returns the present one.

        Raises:
            InputRejected: `mask_mismatch`, if the mask exists and cannot be read.

        """
        try:
            return self._mask_as_of(mask_key(key), as_of)
        except InputRejected as rejected:
            raise _bad_mask(rejected) from rejected

    def _mask_as_of(self, key: str, as_of: datetime | None) -> StoredPhoto | None:
        mask, deleted, unreadable = None, False, None
        try:
            mask = self.open(key)
        except InputRejected as rejected:
            if rejected.code is not ErrorCode.PHOTO_MISSING:
                unreadable = rejected
            deleted = _is_delete_marker(rejected.__cause__)
        # For a mask that cannot be read, only the list of its versions says when it was uploaded.
        if as_of is not None and (deleted or unreadable or _is_later(mask, as_of)):
            version_id = self._version_as_of(key, as_of)
            return None if version_id is None else self._get(key, version_id, "")
        if unreadable is not None:
            raise unreadable
        return mask

    def mask_named(self, key: str, *, as_of: datetime | None = None) -> StoredPhoto:
        """Return the mask that a photo's metadata or a request names.

        Args:
            key: the mask's key.
            as_of: return the mask of this moment; if there was none, or if None, the present one.

        Raises:
            InputRejected: `mask_mismatch`.

        """
        try:
            mask = self.open(key)
            if as_of is None or not _is_later(mask, as_of):
                return mask
            version_id = self._version_as_of(key, as_of)
            earlier = None if version_id is None else self._get(key, version_id, "")
        except InputRejected as rejected:
            raise _bad_mask(rejected) from rejected
        return earlier or mask

    def inspect_mask(self, mask: StoredPhoto, photo: Photo) -> None:
        """Check that a mask is a PNG of the photo's pixel size, as the vendor requires.

        The size of a photo at a URL is not known; then only the format is checked.

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
                f"The mask {shown(mask.key)} is no readable PNG; save it as a PNG.",
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
        self, key: str, cache: FolderCache, *, as_of: datetime | None = None
    ) -> FolderFile | None:
        """Return the `catwalk.json` in the photo's folder or the nearest folder above.

        Args:
            key: the photo's key.
            cache: the files that this batch of messages has already read; new ones are added.
            as_of: return the file of this moment; None returns the present one.

        Raises:
            InputRejected: `bad_settings`, if the nearest file cannot be used.

        """
        for file_key in _folder_files(key):
            if file_key not in cache:
                cache[file_key] = self._folder_entry(file_key)
            entry = cache[file_key]
            if as_of is not None and (entry.deleted or _is_after(entry.since, as_of)):
                version_id = self._version_as_of(file_key, as_of)
                entry = FolderEntry(None)
                if version_id is not None:
                    entry = self._folder_entry(file_key, version_id)
            if isinstance(entry.content, InputRejected):
                raise entry.content
            if entry.content is not None:
                return entry.content
        return None

    def presigned_url(self, photo: Photo) -> str:
        """Return a URL at which the vendor can read this version of the photo.

        It is valid for `PRESIGNED_SECONDS`, but not longer than the credentials that sign it.
        """
        params = {"Bucket": self._bucket, "Key": photo.key}
        if photo.version_id is not None:
            params["VersionId"] = photo.version_id
        return self._s3.generate_presigned_url(
            "get_object", Params=params, ExpiresIn=PRESIGNED_SECONDS
        )

    def base64(self, photo: Photo) -> str:
        """Return the whole object in base64, for `PhotoDelivery=inline`."""
        version = {"VersionId": photo.version_id} if photo.version_id else {}
        answer = self._s3.get_object(Bucket=self._bucket, Key=photo.key or "", **version)  # type: ignore[arg-type]  # optional arguments
        with answer["Body"] as body:
            return base64.b64encode(body.read()).decode("ascii")

    def _current(self, key: str, etag: str, version_id: str | None) -> StoredPhoto | None:
        """Read the head of the current object; None if it is not the object with this ETag."""
        try:
            return self._get(key, None, etag)
        except InputRejected as rejected:
            # An object that cannot be read may have taken the place of one that can.
            if version_id is None or rejected.code is not ErrorCode.PHOTO_UNREADABLE:
                raise
            return None

    @staticmethod
    def _there(key: str, found: StoredPhoto | None) -> StoredPhoto:
        if found is None:
            raise InputRejected(
                ErrorCode.PHOTO_MISSING,
                f"{shown(key)} was replaced by another photo before it was read; the newer photo"
                " has a job of its own.",
            )
        return found

    def _get(self, key: str, version_id: str | None, etag: str) -> StoredPhoto | None:
        """Read metadata, size and first bytes; None if the key holds other bytes than `etag`."""
        arguments: dict[str, str] = {"Bucket": self._bucket, "Key": key}
        if version_id is not None:
            arguments["VersionId"] = version_id
        if etag:
            arguments["IfMatch"] = f'"{etag}"'
        try:
            answer = self._s3.get_object(**arguments, Range=f"bytes=0-{_RANGE - 1}")  # type: ignore[arg-type]  # optional arguments
        except ClientError as error:
            code = error.response["Error"]["Code"]
            # S3 answers InvalidArgument for a malformed version id.
            if code in _CHANGED or (code == "InvalidArgument" and version_id is not None):
                return None
            if code in _MISSING or self._gone_version(error, key, version_id):
                raise InputRejected(
                    ErrorCode.PHOTO_MISSING,
                    f"{shown(key)} is not in {self._bucket}; upload it there if it is wanted.",
                ) from error
            reason = self._unreadable(error, key, version_id)
            if reason is not None:
                raise InputRejected(
                    ErrorCode.PHOTO_UNREADABLE, f"{shown(key)} cannot be read: {reason}"
                ) from error
            if code != "InvalidRange":
                raise
            # S3 refuses the range of an empty object.
            head = self._s3.head_object(**arguments)  # type: ignore[arg-type]  # optional arguments
            return StoredPhoto(
                bucket=self._bucket,
                key=key,
                etag=head["ETag"].strip('"'),
                version_id=_version(head.get("VersionId")),
                size=head["ContentLength"],
                metadata=head["Metadata"],
                head=b"",
                last_modified=head["LastModified"],
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
            last_modified=answer["LastModified"],
        )

    def _unreadable(self, error: ClientError, key: str, version_id: str | None) -> str | None:
        """Return why this object cannot be read; None if the error may concern all objects."""
        details = error.response["Error"]
        code, message = details["Code"], details.get("Message", "").lower()
        if code == "InvalidObjectState":
            return (
                "it is archived (Glacier) and must be restored first. Restore it, or copy it to the"
                f" storage class STANDARD, {_DROP_AGAIN}"
            )
        if code == "InvalidRequest" and "encrypt" in message:
            return (
                "it is encrypted with a key that only its uploader has (SSE-C). Upload it without"
                f" that key, {_DROP_AGAIN}"
            )
        if code in _KEY_TROUBLE or (code == "AccessDenied" and "kms:" in message):
            return _NO_KEY
        # S3 does not always name the cause. HeadObject needs s3:GetObject too, but no KMS key. If
        # it succeeds, only the permission for the key is missing.
        if code == "AccessDenied":
            head = self._head(key, version_id)
            if head is not None and head.get("ServerSideEncryption", "").startswith("aws:kms"):
                return _NO_KEY
        return None

    def _gone_version(self, error: ClientError, key: str, version_id: str | None) -> bool:
        """Whether S3 denies access to a version only because the version is gone.

        Without permission to list versions, S3 may answer 403 instead of 404. If the key's current
        version can be read by its id, the function's permissions are sufficient, and the version is
        gone. The version is read once more at the end, since changes of permissions take a while.
        """
        if error.response["Error"]["Code"] != "AccessDenied" or version_id is None:
            return False
        if self._head(key, version_id) is not None:
            return False
        head = self._head(key, None)
        current = _version(head.get("VersionId")) if head is not None else None
        if current in {None, version_id} or self._head(key, current) is None:
            return False
        return self._head(key, version_id) is None

    def _head(self, key: str, version_id: str | None) -> "HeadObjectOutputTypeDef | None":
        """Return S3's answer to HeadObject, or None if it is an error."""
        version = {"VersionId": version_id} if version_id else {}
        try:
            return self._s3.head_object(Bucket=self._bucket, Key=key, **version)  # type: ignore[arg-type]  # optional arguments
        except ClientError:
            return None

    def _declared_size(self, stored: StoredPhoto) -> tuple[int, int] | None:
        """Return the pixel size in an object's header, or None if the header is broken."""
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
            **version,  # type: ignore[arg-type]  # optional arguments
        )
        with answer["Body"] as body:
            return body.read()

    def _folder_entry(self, key: str, version_id: str | None = None) -> FolderEntry:
        version = {"VersionId": version_id} if version_id else {}
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=key, **version)  # type: ignore[arg-type]  # optional arguments
        except ClientError as error:
            if error.response["Error"]["Code"] in _MISSING:
                return FolderEntry(None, deleted=_is_delete_marker(error))
            reason = self._unreadable(error, key, version_id)
            if reason is not None:
                return FolderEntry(bad_settings(f"{short(key)} cannot be read: {reason}"))
            raise
        since = answer["LastModified"]
        with answer["Body"] as body:
            if answer["ContentLength"] > MAX_FOLDER_FILE_BYTES:
                too_long = bad_settings(
                    f"{short(key)} is longer than {MAX_FOLDER_FILE_BYTES} bytes; make it shorter."
                )
                return FolderEntry(too_long, since)
            content = body.read()
        try:
            return FolderEntry(folder_file(content.decode("utf-8-sig"), key), since)
        except UnicodeDecodeError as error:
            no_text = bad_settings(f"{short(key)} is not UTF-8 text ({error}); save it as UTF-8.")
            return FolderEntry(no_text, since)
        except InputRejected as rejected:
            return FolderEntry(rejected, since)

    def _version_as_of(self, key: str, moment: datetime) -> str | None:
        """Return the version of a key that was current at a moment, or None if there was none."""
        begin: dict[str, str] = {}
        while True:
            page = self._s3.list_object_versions(Bucket=self._bucket, Prefix=key, **begin)  # type: ignore[arg-type]  # optional arguments
            own = [
                (entry["LastModified"], entry["VersionId"], kept)
                for listed, kept in (
                    (page.get("Versions", []), True),
                    (page.get("DeleteMarkers", []), False),
                )
                for entry in listed
                if entry["Key"] == key
            ]
            # S3 returns versions and delete markers in two lists, each from the newest on.
            own.sort(key=lambda entry: entry[0], reverse=True)
            for landed, version_id, kept in own:
                if not _is_after(landed, moment):
                    return version_id if kept else None
            if not page.get("IsTruncated") or page["NextKeyMarker"] != key:
                return None
            begin = {
                "KeyMarker": page["NextKeyMarker"],
                "VersionIdMarker": page["NextVersionIdMarker"],
            }


class _Ranges(io.RawIOBase):
    """An object as a seekable file; blocks of 64 KiB are fetched when they are read."""

    def __init__(self, stored: StoredPhoto, fetch: Callable[[StoredPhoto, int], bytes]) -> None:
        self._stored = stored
        self._fetch = fetch
        self._blocks = {0: stored.head}
        self._position = 0
        self.trouble: Exception | None = None
        """The error of a range that could not be fetched; it says nothing about the photo. It is
        kept here, since imagesize treats any error of a read as a broken file."""

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
    """Whether a file ends before its image data; checked only for a file within the first bytes."""
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
    if key.lower().endswith(PHOTO_EXTENSIONS):
        return InputRejected(
            ErrorCode.CORRUPT_IMAGE,
            f"{shown(key)} is neither JPEG nor PNG inside, in spite of its name; export it again.",
        )
    return InputRejected(
        ErrorCode.UNSUPPORTED_FORMAT,
        f"{shown(key)} is no image that can be used; only JPEG and PNG photos can.",
    )


def _is_delete_marker(error: BaseException | None) -> bool:
    """Whether S3 answered 404 because the newest version of a key is a delete marker."""
    if not isinstance(error, ClientError):
        return False
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return headers.get("x-amz-delete-marker") == "true"


def _is_later(stored: StoredPhoto | None, moment: datetime) -> bool:
    return stored is not None and _is_after(stored.last_modified, moment)


def _is_after(landed: datetime | None, moment: datetime) -> bool:
    """Whether an object was uploaded after a moment; whole seconds, as in S3's headers."""
    return landed is not None and landed.replace(microsecond=0) > moment.replace(microsecond=0)


def _bad_mask(rejected: InputRejected) -> InputRejected:
    return InputRejected(ErrorCode.MASK_MISMATCH, f"The mask cannot be used: {rejected.message}")


def _short(content_type: str) -> str:
    return "a JPEG" if content_type == JPEG else "a PNG"


def _version(version_id: str | None) -> str | None:
    return None if version_id in {None, "", "null"} else version_id
