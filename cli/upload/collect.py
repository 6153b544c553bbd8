"""Collects the files to upload, and checks them with the code of SubmitFunction.

Problems are reported before anything is uploaded: unusable photos, masks and `catwalk.json` files,
and invalid settings. The result also says how many jobs and credits the upload will make.
"""

import hashlib
import io
import os
import re
import stat
from collections.abc import Collection as CollectionOf
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, cast

from botocore.exceptions import ClientError

from cli.errors import CommandError
from cli.stacks.stack import Catwalk
from shared import clients
from shared.errors import InputRejected
from shared.intake.messages import MASK_SUFFIX, MAX_KEY_BYTES, is_photo_key
from shared.intake.photos import (
    MAX_FOLDER_FILE_BYTES,
    PHOTO_EXTENSIONS,
    FolderCache,
    FolderEntry,
    PhotoStore,
    StoredPhoto,
    mask_key,
)
from shared.intake.settings import (
    FOLDER_FILE,
    Layer,
    check_mask_key,
    default_layer,
    drop_layers,
    folder_file,
    metadata_layer,
    metadata_value,
    resolve,
)
from shared.models import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_RANGE: Final = re.compile(r"bytes=(\d+)-(\d+)")


class Kind(StrEnum):
    """The purpose of an uploaded object."""

    FOLDER_FILE = "catwalk.json"
    MASK = "mask"
    PHOTO = "photo"


@dataclass(frozen=True)
class Upload:
    """A file and its key in the bucket."""

    file: Path
    key: str
    kind: Kind
    size: int
    """Bytes."""
    variants: int = 1
    """How many jobs it makes: one per variant of a photo; 0 for other files."""
    settings: tuple[Settings, ...] = ()
    """Of each variant; empty for other files, and for a photo that will be rejected."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Its S3 user metadata."""
    masked: bool = False
    """Whether a mask is beside it."""


@dataclass
class Collection:
    """The files to upload, and those that are left out."""

    uploads: list[Upload] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """Why files are left out, one sentence each."""
    missed: bool = False
    """Whether a file that the person named, or one with a photo's extension, is left out."""

    @property
    def photos(self) -> list[Upload]:
        """The photos alone, in order."""
        return [upload for upload in self.uploads if upload.kind is Kind.PHOTO]

    @property
    def first(self) -> list[Upload]:
        """The files that must be uploaded before the photos."""
        return [upload for upload in self.uploads if upload.kind is not Kind.PHOTO]

    @property
    def jobs(self) -> int:
        """How many jobs the upload makes, which is also the most credits that it costs."""
        return sum(upload.variants for upload in self.photos)


@dataclass(frozen=True)
class Rules:
    """The stack's settings and limits for photos."""

    defaults: Layer
    max_photo_bytes: int
    in_bucket: PhotoStore
    """Reads the `catwalk.json` files that are already in the bucket."""
    metadata: Mapping[str, str]
    """S3 user metadata of every photo."""
    own: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """S3 user metadata of single photos in its place, by key."""

    def metadata_of(self, key: str) -> Mapping[str, str]:
        """Return the S3 user metadata of a photo."""
        return self.own.get(key, self.metadata)

    @classmethod
    def of(
        cls,
        stack: Catwalk,
        metadata: Mapping[str, str] | None = None,
        *,
        own: Mapping[str, Mapping[str, str]] | None = None,
    ) -> Self:
        """Return the rules of a stack."""
        config = stack.config
        return cls(
            defaults=default_layer(config),
            max_photo_bytes=config.max_photo_bytes,
            in_bucket=PhotoStore(clients.s3(), stack.outputs["PhotosBucketName"], max_bytes=0),
            metadata=metadata or {},
            own=own or {},
        )


@dataclass(frozen=True)
class Verdict:
    """What a file becomes in the bucket."""

    kind: Kind | None
    """None: it is left out, because its name starts with a dot."""
    variants: int = 0
    """How many jobs it makes, which is also the most credits that it costs."""
    settings: Settings | None = None
    """Of a photo's first variant."""
    problem: str = ""
    """Why it would be rejected, as a sentence."""


def files_of(paths: Sequence[Path], to: str) -> dict[str, Path]:
    """Return the files to upload by their keys.

    Args:
        paths: files, and folders to search.
        to: the folder in the bucket.

    Raises:
        CommandError: a file is missing or unreadable, or its key is invalid or used twice.

    """
    return dict(_keyed(paths, to))


def with_mask(files: Mapping[str, Path], mask: Path) -> dict[str, Path]:
    """Return the files with a mask for the only photo among them.

    Raises:
        CommandError: there are more photos.

    """
    photos = [key for key in files if is_photo_key(key)]
    if len(photos) != 1:
        raise CommandError(
            f"--mask names a file, and {len(photos)} photos are to be dropped.",
            "A mask belongs to one photo; put masks beside photos as name.mask.png.",
        )
    return {**files, mask_key(photos[0]): mask}


def collect(
    files: Mapping[str, Path], named: CollectionOf[Path], *, rules: Rules, anyway: bool = False
) -> Collection:
    """Check the files to upload.

    Args:
        files: by key, see `files_of`.
        named: the files that the person named one by one.
        rules: the stack's settings and limits.
        anyway: also upload files that will be rejected.

    Raises:
        CommandError: settings are invalid.

    """
    found = Collection()
    local = _Local(files)
    store = PhotoStore(cast("S3Client", local), "these files", max_bytes=rules.max_photo_bytes)
    folder_files = _folder_files(files)
    for key, file in sorted(files.items(), key=lambda pair: (_order(pair[0]), pair[0])):
        kind = _kind(key)
        if kind is None:
            found.skipped.append(f"{file} is left out: its name starts with a dot.")
            found.missed |= file in named
            continue
        size = file.stat().st_size
        if kind is not Kind.PHOTO:
            found.uploads.append(Upload(file, key, kind, size, variants=0))
            continue
        settings: tuple[Settings, ...] = ()
        masked = mask_key(key) in files
        try:
            _check_photo(store, key, has_mask=masked)
            settings = tuple(_variants(key, rules, folder_files))
        except InputRejected as rejected:
            if not anyway:
                found.skipped.append(f"{file} is left out: {rejected.message}")
                found.missed |= file in named or file.suffix.lower() in PHOTO_EXTENSIONS
                continue
        metadata = rules.metadata_of(key)
        variants = len(settings) or 1
        found.uploads.append(Upload(file, key, kind, size, variants, settings, metadata, masked))
    return found


def examine(files: Mapping[str, Path], rules: Rules) -> dict[str, Verdict]:
    """Check files by their keys, each by itself: what is wrong with one is told of that one.

    Args:
        files: the files by the keys that they will have.
        rules: the stack's settings and limits.

    Raises:
        CommandError: a `catwalk.json` is invalid, or the settings cannot be used.

    """
    local = _Local(files)
    store = PhotoStore(cast("S3Client", local), "these files", max_bytes=rules.max_photo_bytes)
    folder_files = _folder_files(files)
    found: dict[str, Verdict] = {}
    for key, file in files.items():
        kind = _kind(key)
        if kind is not Kind.PHOTO:
            found[key] = Verdict(kind)
            continue
        try:
            _check_key(key, file)
            _check_photo(store, key, has_mask=mask_key(key) in files)
            variants = _variants(key, rules, folder_files)
        except InputRejected as rejected:
            found[key] = Verdict(kind, problem=rejected.message)
        else:
            found[key] = Verdict(kind, len(variants), variants[0])
    return found


def _keyed(paths: Sequence[Path], to: str) -> Iterator[tuple[str, Path]]:
    """Yield the key and path of every file, each key once."""
    prefix = to.strip("/")
    prefix = f"{prefix}/" if prefix else ""
    seen: dict[str, Path] = {}
    for path in paths:
        for name, file in _files(path):
            key = f"{prefix}{name}"
            _check_key(key, file)
            other = seen.setdefault(key, file)
            if other is not file:
                if other.samefile(file):
                    continue
                raise CommandError(
                    f"{other} and {file} would both be {key!r}.",
                    "Drop them into two folders (--to), or drop the folder that holds both.",
                )
            yield key, file


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files of a path, with their names relative to the folder's parent."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise CommandError(
            f"{path} cannot be dropped: {error.strerror or error}.",
            "Nothing was uploaded. Check the name.",
        ) from error
    if stat.S_ISREG(mode):
        _check_readable(path)
        yield path.name, path
        return
    if not stat.S_ISDIR(mode):
        raise CommandError(
            f"{path} is neither a file nor a folder.", "Name photos, or folders of them."
        )
    # `.` and `..` are not useful as the first part of a key.
    top = "" if path.name in {"", "..", "."} else f"{path.name}/"

    def refuse(error: OSError) -> None:
        raise CommandError(
            f"The folder {error.filename} cannot be read: {error.strerror}.",
            "Nothing was uploaded. Make the folder readable, or name photos.",
        ) from error

    for folder, folders, names in os.walk(path, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = Path(folder, name)
            # Dotfiles such as .DS_Store, and sockets, are not meant.
            if name.startswith(".") or not file.is_file():
                continue
            _check_readable(file)
            yield f"{top}{file.relative_to(path).as_posix()}", file


def _check_readable(file: Path) -> None:
    try:
        with file.open("rb"):
            return
    except OSError as error:
        raise CommandError(
            f"{file} cannot be read: {error.strerror or error}.",
            "Nothing was uploaded. Make the file readable, or leave it out.",
        ) from error


def _check_key(key: str, file: Path) -> None:
    try:
        length = len(key.encode())
    except UnicodeEncodeError as error:
        raise CommandError(
            f"The name of {os.fsencode(file)!r} is not UTF-8, so it cannot be a key in a bucket.",
            "Rename it.",
        ) from error
    if length > MAX_KEY_BYTES:
        raise CommandError(
            f"The key of {file} would have {length} bytes; a bucket takes {MAX_KEY_BYTES}.",
            "Drop it into a folder with a shorter name (--to).",
        )


def _kind(key: str) -> Kind | None:
    if is_photo_key(key):
        return Kind.PHOTO
    name = key.rpartition("/")[2]
    if name == FOLDER_FILE:
        return Kind.FOLDER_FILE
    return Kind.MASK if name.lower().endswith(MASK_SUFFIX) and name[0] != "." else None


def _order(key: str) -> int:
    return list(Kind).index(_kind(key) or Kind.PHOTO)


def _check_photo(store: PhotoStore, key: str, *, has_mask: bool) -> None:
    """Check a photo, and the mask beside it if there is one.

    Raises:
        InputRejected: SubmitFunction would reject the photo.

    """
    photo = store.inspect(store.open(key))
    mask: StoredPhoto | None = store.mask_beside(key) if has_mask else None
    if mask is not None:
        store.inspect_mask(mask, photo)


def _folder_files(
    files: Mapping[str, Path],
) -> FolderCache:
    """Read every `catwalk.json` among the files.

    Raises:
        CommandError: one is invalid; every photo below it would be rejected.

    """
    read: FolderCache = {}
    for key, file in files.items():
        if _kind(key) is not Kind.FOLDER_FILE:
            continue
        try:
            content = file.read_bytes()
            if len(content) > MAX_FOLDER_FILE_BYTES:
                raise CommandError(
                    f"{file} is longer than {MAX_FOLDER_FILE_BYTES} bytes.", "Make it shorter."
                )
            read[key] = FolderEntry(folder_file(content.decode("utf-8-sig"), key))
        except InputRejected as rejected:
            raise CommandError(
                f"{file} cannot be used: {rejected.message}",
                "Nothing was uploaded; correct it.",
            ) from rejected
        except UnicodeDecodeError as error:
            raise CommandError(f"{file} is not UTF-8: {error}.", "Save it as UTF-8.") from error
    return read


def _variants(key: str, rules: Rules, folder_files: FolderCache) -> list[Settings]:
    """Return the distinct settings of a photo's variants; each makes a job.

    Raises:
        InputRejected: the `catwalk.json` in the bucket is invalid.
        CommandError: the command line's settings are invalid for this photo.

    """
    folder = rules.in_bucket.nearest_folder_file(key, folder_files)
    variants: dict[str, Settings] = {}
    try:
        metadata = rules.metadata_of(key)
        own = metadata_layer(metadata)
        mask = metadata_value(metadata, "mask")
        if mask and "://" not in mask:
            check_mask_key(mask, key)
        for layers in drop_layers(own, folder, rules.defaults):
            settings = resolve(layers)
            variants[settings.model_dump_json()] = settings
    except InputRejected as rejected:
        raise CommandError(
            f"{key!r} would be rejected: {rejected.message}",
            "Nothing was uploaded. Correct the options or the named catwalk.json.",
        ) from rejected
    return list(variants.values())


class _Local:
    """An S3 client over local files, so that the functions' own code checks the photos."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files

    def get_object(self, **asked: str) -> dict[str, Any]:
        """Return a range of a file as S3 does."""
        found = _RANGE.fullmatch(asked["Range"])
        assert found is not None  # shared/intake/photos.py asks for ranges only
        start, end = int(found[1]), int(found[2])
        file = self._files[asked["Key"]]
        size = file.stat().st_size
        if start >= size:
            raise ClientError({"Error": {"Code": "InvalidRange"}}, "GetObject")
        with file.open("rb") as opened:
            opened.seek(start)
            body = opened.read(end - start + 1)
        return {**self._about(file), "Body": io.BytesIO(body), "ContentRange": f"bytes /{size}"}

    def head_object(self, **asked: str) -> dict[str, Any]:
        """Return a file's metadata as S3 does."""
        return self._about(self._files[asked["Key"]])

    @staticmethod
    def _about(file: Path) -> dict[str, Any]:
        etag = hashlib.sha256(os.fsencode(file)).hexdigest()
        about = file.stat()
        return {
            "ETag": etag,
            "Metadata": {},
            "ContentLength": about.st_size,
            "LastModified": datetime.fromtimestamp(about.st_mtime, UTC),
        }
