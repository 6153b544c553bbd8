"""Dropped photos are checked without reading them whole."""

import base64
import io
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError, ResponseStreamingError
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws
from PIL import Image

from shared.errors import InputRejected
from shared.intake.photos import (
    JPEG,
    MAX_FOLDER_FILE_BYTES,
    PNG,
    FolderCache,
    PhotoStore,
    StoredPhoto,
    content_type_of,
    pixel_size,
)
from shared.intake.requests import photo_of
from shared.models import ErrorCode, Photo
from tests.factories import HEIGHT, PHOTOS, WIDTH, Aws, jpeg, png

LIMIT = 20 * 1024 * 1024
SIZE = (WIDTH, HEIGHT)
FIRST, SECOND = jpeg(fill=1), jpeg(fill=2)


class Counting:
    """An S3 client that counts what is fetched from a bucket."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.calls: list[str] = []
        self.bytes = 0

    def get_object(self, **arguments: Any) -> Any:
        self.calls.append(arguments["Key"])
        answer = self._client.get_object(**arguments)
        self.bytes += answer["ContentLength"]
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


@pytest.fixture
def s3(aws_clients: Aws) -> Iterator[Any]:
    """Give a versioned, empty PhotosBucket."""
    with mock_aws():
        aws_clients.s3.create_bucket(Bucket=PHOTOS)
        aws_clients.s3.put_bucket_versioning(
            Bucket=PHOTOS, VersioningConfiguration={"Status": "Enabled"}
        )
        yield aws_clients.s3


@pytest.fixture
def counting(s3: Any) -> Counting:
    """Count what is fetched."""
    return Counting(s3)


@pytest.fixture
def store(counting: Counting) -> PhotoStore:
    """Give PhotosBucket as Catwalk sees it."""
    return PhotoStore(counting, PHOTOS, max_bytes=LIMIT)  # type: ignore[arg-type]  # a double


def put(s3: Any, key: str, body: bytes, **more: Any) -> Any:
    """Put an object."""
    return s3.put_object(Bucket=PHOTOS, Key=key, Body=body, **more)


def look(store: PhotoStore, s3: Any, body: bytes, key: str = "a.jpg") -> Photo:
    """Drop bytes and look at them."""
    put(s3, key, body)
    return store.inspect(store.open(key))


def refused(store: PhotoStore, s3: Any, body: bytes, key: str = "a.jpg") -> ErrorCode:
    """Drop bytes that are refused and return why."""
    with pytest.raises(InputRejected) as caught:
        look(store, s3, body, key)
    assert repr(key) in caught.value.message
    return caught.value.code


# --- formats -------------------------------------------------------------------------------------


def pillow(form: str, **options: Any) -> bytes:
    """Return a picture as a real encoder writes it."""
    picture = io.BytesIO()
    Image.new("RGB", SIZE, "#806040").save(picture, form, **options)
    return picture.getvalue()


@pytest.mark.parametrize(
    ("body", "content_type", "size"),
    [
        pytest.param(pillow("JPEG"), JPEG, SIZE, id="jpeg"),
        pytest.param(pillow("JPEG", progressive=True), JPEG, SIZE, id="progressive"),
        pytest.param(pillow("JPEG", exif=b"Exif\0\0" + b"x" * 60_000), JPEG, SIZE, id="exif"),
        pytest.param(pillow("PNG"), PNG, SIZE, id="png"),
        pytest.param(pillow("PNG", bits=8, optimize=True), PNG, SIZE, id="png_small"),
        pytest.param(
            jpeg(4_000, 3_000, before_frame=70_000), JPEG, (4_000, 3_000), id="over_64_kib"
        ),
        pytest.param(jpeg(before_frame=1_500_000), JPEG, SIZE, id="over_1_mib"),
        pytest.param(jpeg(before_frame=3_900_000), JPEG, SIZE, id="almost_4_mib"),
        pytest.param(jpeg(sof=0xC2, before_frame=70_000), JPEG, SIZE, id="progressive_far"),
        pytest.param(jpeg(sof=0xC1), JPEG, SIZE, id="extended"),
        pytest.param(png(padding=200_000), PNG, SIZE, id="png_with_text"),
    ],
)
@pytest.mark.parametrize("key", ["a.jpg", "a.webp", "a"])
def test_what_a_photo_is_its_content_says(
    store: PhotoStore, s3: Any, body: bytes, content_type: str, size: tuple[int, int], key: str
) -> None:
    """A JPEG or PNG is a photo under any name, with its true type and size."""
    photo = look(store, s3, body, key)
    assert (photo.content_type, (photo.width, photo.height), photo.bytes) == (
        content_type,
        size,
        len(body),
    )
    assert (photo.bucket, photo.key) == (PHOTOS, key)
    assert photo.version_id
    assert photo.etag


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("GIF", pillow("GIF")),
        ("WebP", pillow("WEBP")),
        ("BMP", pillow("BMP")),
        ("TIFF", pillow("TIFF")),
        ("TIFF", b"MM\0*" + b"\0" * 20),
        ("AVIF", b"\0\0\0\x20ftypavif" + b"\0" * 20),
        ("HEIC", b"\0\0\0\x20ftypheic" + b"\0" * 20),
        ("Photoshop", b"8BPS" + b"\0" * 20),
        ("JPEG XL", b"\xff\x0a" + b"\0" * 20),
        ("ICO", pillow("ICO")),
        ("SVG", b'\n <svg xmlns="x"/>'),
        ("PDF", b"%PDF-1.7"),
    ],
)
@pytest.mark.parametrize("key", ["a.jpg", "a"])
def test_other_formats_are_named(
    store: PhotoStore, s3: Any, name: str, body: bytes, key: str
) -> None:
    """Another known format is unsupported_format under any name, and the message names it."""
    put(s3, key, body)
    with pytest.raises(InputRejected, match=name) as caught:
        store.inspect(store.open(key))
    assert caught.value.code is ErrorCode.UNSUPPORTED_FORMAT


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("a.jpg", "corrupt_image"),
        ("a.jpeg", "corrupt_image"),
        ("a.png", "corrupt_image"),
        ("a.JPG", "corrupt_image"),
        ("a.txt", "unsupported_format"),
        ("a", "unsupported_format"),
        ("jpg", "unsupported_format"),
        ("a.jpg.zip", "unsupported_format"),
    ],
)
@pytest.mark.parametrize("body", [b"hello", b"\xff\xd8", b"\x89PNG"])
def test_content_that_is_no_image(
    store: PhotoStore, s3: Any, key: str, code: str, body: bytes
) -> None:
    """What is no image is corrupt under a photo's name, and unsupported under any other."""
    assert refused(store, s3, body, key) == code


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(jpeg()[:4], id="jpeg_4_bytes"),
        pytest.param(jpeg()[:20], id="jpeg_first_segment"),
        pytest.param(jpeg(before_frame=70_000)[:66_000], id="jpeg_in_metadata"),
        pytest.param(jpeg(before_frame=5_000_000), id="jpeg_5_mib_of_metadata"),
        pytest.param(jpeg(0, 0), id="jpeg_without_pixels"),
        pytest.param(jpeg(8, 0), id="jpeg_without_lines"),
        pytest.param(b"\xff\xd8\xff" + b"\xff" * 200_000, id="jpeg_of_fill_bytes"),
        pytest.param(b"\xff\xd8\xff\xe0\0\0" + b"\0" * 100, id="jpeg_segment_of_no_size"),
        pytest.param(jpeg()[: jpeg().index(b"\xff\xda")], id="jpeg_ends_before_its_picture"),
        pytest.param(png()[:33], id="png_ends_before_its_picture"),
        pytest.param(png()[:8], id="png_magic_only"),
        pytest.param(png()[:20], id="png_cut_in_header"),
        pytest.param(png(0, 8), id="png_without_pixels"),
    ],
)
def test_broken_header_is_a_corrupt_image(store: PhotoStore, s3: Any, body: bytes) -> None:
    """A JPEG or PNG whose header is cut off or says nothing is corrupt_image."""
    assert refused(store, s3, body) is ErrorCode.CORRUPT_IMAGE


def test_file_with_a_long_name_says_what_is_wrong(store: PhotoStore, s3: Any) -> None:
    """A long key is named by both its ends, so that the message has room for the reason."""
    put(s3, "d" * 1_000 + "/sizes.txt", b"hello")
    with pytest.raises(InputRejected, match=r"'ddd.*….*/sizes\.txt' is no image"):
        store.inspect(store.open("d" * 1_000 + "/sizes.txt"))


def test_empty_file(store: PhotoStore, s3: Any) -> None:
    """A file of 0 bytes is empty_file, under any name."""
    assert refused(store, s3, b"", "a.jpg") is ErrorCode.EMPTY_FILE
    assert refused(store, s3, b"", "a.txt") is ErrorCode.EMPTY_FILE


def test_too_many_bytes(s3: Any) -> None:
    """A photo over MaxPhotoBytes is too_large and at it is not; both sizes are in the message."""
    body = jpeg(fill=1_000)
    put(s3, "a.jpg", body)
    at_limit = PhotoStore(s3, PHOTOS, max_bytes=len(body))
    assert at_limit.inspect(at_limit.open("a.jpg")).bytes == len(body)
    below = PhotoStore(s3, PHOTOS, max_bytes=len(body) - 1)
    with pytest.raises(InputRejected, match=f"{len(body):,}") as caught:
        below.inspect(below.open("a.jpg"))
    assert caught.value.code is ErrorCode.TOO_LARGE


@pytest.mark.parametrize("body", [jpeg(65_535, 65_535), png(2, 2).replace(
    struct.pack(">II", 2, 2), struct.pack(">II", 2**31 - 1, 2**31 - 1))])  # fmt: skip
def test_too_many_pixels(store: PhotoStore, s3: Any, body: bytes) -> None:
    """A small file that declares billions of pixels is too_large, and is not decoded to see."""
    assert refused(store, s3, body) is ErrorCode.TOO_LARGE


@given(st.binary(max_size=300), st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b""]))
def test_no_bytes_break_the_look_at_them(body: bytes, magic: bytes) -> None:
    """Any bytes have a size or None, and raise no exception."""
    size = pixel_size(magic + body)
    assert size is None or min(size) > 0
    assert content_type_of(magic + body) in {JPEG, PNG, None}


# --- how much is read ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before_frame", "most"), [(0, 65_536), (70_000, 2 * 65_536), (1_500_000, 24 * 65_536)]
)
def test_photo_is_never_read_whole(
    store: PhotoStore, s3: Any, counting: Counting, before_frame: int, most: int
) -> None:
    """Of a photo of 8 MB only its header is fetched, however far back that is."""
    look(store, s3, jpeg(before_frame=before_frame, fill=8_000_000))
    assert counting.bytes <= most


def test_whole_photo_is_read_only_to_be_sent_inline(store: PhotoStore, s3: Any) -> None:
    """Base64 is of just the bytes that were looked at, even if the key holds others by now."""
    body = jpeg(fill=100_000)
    put(s3, "a.jpg", body)
    stored = store.open("a.jpg")
    put(s3, "a.jpg", png())
    assert base64.b64decode(store.base64(photo_of(stored))) == body


# --- replaced and deleted ------------------------------------------------------------------------


def opened(s3: Any, store: PhotoStore, answer: Any) -> StoredPhoto:
    """Open the photo of an event."""
    return store.open("a.jpg", etag=answer["ETag"].strip('"'), version_id=answer.get("VersionId"))


def test_photo_is_read_in_the_version_that_its_event_told_of(store: PhotoStore, s3: Any) -> None:
    """A photo that was replaced meanwhile is read as it was dropped."""
    first = put(s3, "a.jpg", FIRST, Metadata={"sku": "old"})
    put(s3, "a.jpg", SECOND, Metadata={"sku": "new"})
    stored = opened(s3, store, first)
    assert store.inspect(stored).bytes == len(FIRST)
    assert (stored.version_id, stored.metadata) == (first["VersionId"], {"sku": "old"})


def test_same_bytes_dropped_twice_keep_their_own_metadata(store: PhotoStore, s3: Any) -> None:
    """The same bytes with other metadata are another drop: each is read with its own."""
    first = put(s3, "a.jpg", jpeg(), Metadata={"model-id": "001"})
    second = put(s3, "a.jpg", jpeg(), Metadata={"model-id": "003"})
    assert opened(s3, store, first).metadata == {"model-id": "001"}
    assert opened(s3, store, second).metadata == {"model-id": "003"}


def test_replaced_photo_whose_version_is_gone_is_missing(store: PhotoStore, s3: Any) -> None:
    """If the version is no longer there, the newer photo is not taken in its place."""
    first = put(s3, "a.jpg", FIRST)
    put(s3, "a.jpg", SECOND)
    s3.delete_object(Bucket=PHOTOS, Key="a.jpg", VersionId=first["VersionId"])
    with pytest.raises(InputRejected) as caught:
        opened(s3, store, first)
    assert caught.value.code is ErrorCode.PHOTO_MISSING


def test_replaced_photo_without_versions_is_missing(store: PhotoStore, s3: Any) -> None:
    """Without a version id other bytes under the key are not taken for the dropped ones."""
    first = put(s3, "a.jpg", FIRST)
    put(s3, "a.jpg", SECOND)
    with pytest.raises(InputRejected, match="replaced") as caught:
        opened(s3, store, {"ETag": first["ETag"]})
    assert caught.value.code is ErrorCode.PHOTO_MISSING


def test_deleted_photo_is_missing(store: PhotoStore, s3: Any) -> None:
    """A deleted photo is not brought back from its old version, and costs nothing."""
    first = put(s3, "a.jpg", jpeg())
    s3.delete_object(Bucket=PHOTOS, Key="a.jpg")
    with pytest.raises(InputRejected, match="is not in") as caught:
        opened(s3, store, first)
    assert caught.value.code is ErrorCode.PHOTO_MISSING


@pytest.mark.parametrize("code", ["NoSuchKey", "404", "KeyTooLongError"])
def test_missing_is_missing_however_s3_says_it(code: str) -> None:
    """S3's ways to say that there is no such object are all photo_missing."""
    store = PhotoStore(Failing(code), PHOTOS, max_bytes=LIMIT)  # type: ignore[arg-type]  # a double
    with pytest.raises(InputRejected) as caught:
        store.open("a.jpg")
    assert caught.value.code is ErrorCode.PHOTO_MISSING
    assert store.mask_beside("a.jpg") is None
    assert store.nearest_folder_file("a/b.jpg", {}) is None


def test_version_id_that_s3_cannot_read_is_a_missing_photo(
    store: PhotoStore, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 calls a version id that it never gave an invalid argument: there is no such photo."""
    put(s3, "a.jpg", jpeg())
    get = s3.get_object

    def like_aws(**arguments: Any) -> Any:
        if "VersionId" in arguments:
            raise ClientError({"Error": {"Code": "InvalidArgument", "Message": ""}}, "GetObject")
        return get(**arguments)

    monkeypatch.setattr(s3, "get_object", like_aws)
    with pytest.raises(InputRejected) as caught:
        store.open("a.jpg", version_id="made-up")
    assert caught.value.code is ErrorCode.PHOTO_MISSING


@pytest.mark.parametrize("code", ["SlowDown", "InternalError", "AccessDenied"])
def test_trouble_of_s3_is_no_missing_photo(code: str) -> None:
    """An S3 that is in trouble rejects no photo: the message comes again."""
    store = PhotoStore(Failing(code), PHOTOS, max_bytes=LIMIT)  # type: ignore[arg-type]  # a double
    with pytest.raises(ClientError):
        store.open("a.jpg")
    with pytest.raises(ClientError):
        store.mask_beside("a.jpg")
    with pytest.raises(ClientError):
        store.nearest_folder_file("a.jpg", {})


@pytest.mark.parametrize(
    "trouble",
    [
        ClientError({"Error": {"Code": "SlowDown", "Message": ""}}, "GetObject"),
        ReadTimeoutError(endpoint_url="https://s3.example"),
        ResponseStreamingError(error="connection reset"),
    ],
)
def test_trouble_of_s3_in_a_long_header_is_no_corrupt_image(
    s3: Any, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    """A photo whose header takes a second read, and that fails, comes again instead of ending."""
    put(s3, "a.jpg", jpeg(before_frame=70_000))
    store = PhotoStore(s3, PHOTOS, max_bytes=LIMIT)
    stored = store.open("a.jpg")

    def fail(**_: object) -> None:
        raise trouble

    monkeypatch.setattr(s3, "get_object", fail)
    with pytest.raises(type(trouble)):
        store.inspect(stored)


class Failing:
    """An S3 client whose every read fails."""

    def __init__(self, code: str) -> None:
        self._code = code

    def get_object(self, **_: object) -> object:
        raise ClientError({"Error": {"Code": self._code, "Message": ""}}, "GetObject")

    head_object = get_object


# --- what may not be read ------------------------------------------------------------------------

SSE_C = {
    "Code": "InvalidRequest",
    "Message": "The object was stored using a form of Server Side Encryption. The correct"
    " parameters must be provided to retrieve the object.",
}
KMS_NAMED = {
    "Code": "AccessDenied",
    "Message": "User: arn:aws:sts::1:assumed-role/x is not authorized to perform: kms:Decrypt on"
    " the resource associated with this ciphertext",
}
KMS_DISABLED = {"Code": "KMS.DisabledException", "Message": "key is disabled."}
ARCHIVED = {"Code": "InvalidObjectState", "Message": "The operation is not valid"}
DENIED = {"Code": "AccessDenied", "Message": "Access Denied"}


class Refusing:
    """An S3 client that refuses to give some objects; each is named by its key or version."""

    def __init__(self, client: Any, refusals: dict[str, dict[str, str]]) -> None:
        self._client = client
        self.refusals = refusals
        self.hidden: set[str] = set()
        """Keys and versions of which not even the head is given."""
        self.encryption: dict[str, str] = {}

    def get_object(self, **arguments: Any) -> Any:
        refusal = self.refusals.get(arguments.get("VersionId") or arguments["Key"])
        if refusal is not None:
            said: Any = {"Error": refusal}
            raise ClientError(said, "GetObject")
        return self._client.get_object(**arguments)

    def head_object(self, **arguments: Any) -> Any:
        name = arguments.get("VersionId") or arguments["Key"]
        if name in self.hidden:
            raise ClientError({"Error": {"Code": "403", "Message": "Forbidden"}}, "HeadObject")
        answer = self._client.head_object(**arguments)
        if name in self.encryption:
            answer["ServerSideEncryption"] = self.encryption[name]
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def refusing(s3: Any, refusals: dict[str, dict[str, str]]) -> tuple[Refusing, PhotoStore]:
    """Give a bucket that refuses some objects."""
    client = Refusing(s3, refusals)
    return client, PhotoStore(client, PHOTOS, max_bytes=LIMIT)  # type: ignore[arg-type]  # a double


@pytest.mark.parametrize("storage", ["GLACIER", "DEEP_ARCHIVE"])
def test_archived_photo_is_unreadable(store: PhotoStore, s3: Any, storage: str) -> None:
    """A photo in Glacier is photo_unreadable, with what to do."""
    put(s3, "a.jpg", jpeg(), StorageClass=storage)
    with pytest.raises(InputRejected, match=r"'a\.jpg' cannot be read: it is archived") as caught:
        store.open("a.jpg")
    assert caught.value.code is ErrorCode.PHOTO_UNREADABLE


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (ARCHIVED, "Restore it"),
        (SSE_C, "SSE-C"),
        (KMS_NAMED, "KMS key"),
        (KMS_DISABLED, "KMS key"),
    ],
)
def test_object_that_may_not_be_read_is_refused(
    s3: Any, refusal: dict[str, str], words: str
) -> None:
    """A photo, a mask and a catwalk.json that cannot be read each end with their own code."""
    for key in ("a/b.jpg", "a/b.mask.png", "a/catwalk.json"):
        put(s3, key, png())
    names = ("a/b.jpg", "a/b.mask.png", "a/catwalk.json")
    _, store = refusing(s3, dict.fromkeys(names, refusal))
    with pytest.raises(InputRejected, match=words) as photo:
        store.open("a/b.jpg")
    with pytest.raises(InputRejected, match=words) as mask:
        store.mask_beside("a/b.jpg")
    with pytest.raises(InputRejected, match=words) as folder:
        store.nearest_folder_file("a/b.jpg", {})
    codes = [caught.value.code for caught in (photo, mask, folder)]
    assert codes == ["photo_unreadable", "mask_mismatch", "bad_settings"]


@pytest.mark.parametrize("encryption", ["aws:kms", "aws:kms:dsse"])
def test_denied_without_a_cause_is_the_key_if_the_head_says_so(s3: Any, encryption: str) -> None:
    """If S3 answers only Access Denied, HeadObject shows whether a KMS key is the cause."""
    put(s3, "a.jpg", jpeg())
    client, store = refusing(s3, {"a.jpg": DENIED})
    client.encryption["a.jpg"] = encryption
    with pytest.raises(InputRejected, match="KMS key"):
        store.open("a.jpg")


@pytest.mark.parametrize(
    "refusal",
    [
        DENIED,
        {"Code": "InvalidRequest", "Message": "Something else"},
        {"Code": "KMS.ThrottlingException", "Message": "Rate exceeded"},
    ],
)
@pytest.mark.parametrize("hidden", [True, False])
def test_trouble_that_may_be_of_all_objects_rejects_none(
    s3: Any, refusal: dict[str, str], *, hidden: bool
) -> None:
    """A permission that the function lacks, or KMS that throttles, fails no photo by itself."""
    put(s3, "a.jpg", jpeg())
    client, store = refusing(s3, {"a.jpg": refusal, "a.mask.png": refusal, "catwalk.json": refusal})
    client.hidden = {"a.jpg"} if hidden else set()
    for read in (store.open, store.mask_beside):
        with pytest.raises(ClientError):
            read("a.jpg")
    with pytest.raises(ClientError):
        store.nearest_folder_file("a.jpg", {})


def test_good_version_under_an_archived_one_is_read(s3: Any) -> None:
    """A drop is read though its key holds an object by now that cannot be."""
    first = put(s3, "a.jpg", FIRST)
    put(s3, "a.jpg", SECOND, StorageClass="GLACIER")
    _, store = refusing(s3, {"a.jpg": ARCHIVED})
    assert store.inspect(opened(s3, store, first)).bytes == len(FIRST)
    etag, version = first["ETag"].strip('"'), first["VersionId"]
    assert store.reopen("a.jpg", etag=etag, version_id=version).version_id == version


def test_forbidden_version_is_missing_if_others_can_be_read(s3: Any) -> None:
    """S3 may say Access Denied of a version that is gone: the photo is missing."""
    first = put(s3, "a.jpg", FIRST)
    put(s3, "a.jpg", SECOND)
    client, store = refusing(s3, {first["VersionId"]: DENIED})
    client.hidden = {first["VersionId"]}
    with pytest.raises(InputRejected) as caught:
        opened(s3, store, first)
    assert caught.value.code is ErrorCode.PHOTO_MISSING


def test_function_that_may_read_no_version_rejects_no_photo(s3: Any) -> None:
    """Without s3:GetObjectVersion the message comes again, and the photo with it."""
    first = put(s3, "a.jpg", FIRST)
    second = put(s3, "a.jpg", SECOND)
    client, store = refusing(s3, {first["VersionId"]: DENIED})
    client.hidden = {first["VersionId"], second["VersionId"]}
    with pytest.raises(ClientError):
        opened(s3, store, first)


# --- read again after the decision ---------------------------------------------------------------


def test_same_bytes_as_a_newer_version_are_read_again(store: PhotoStore, s3: Any) -> None:
    """Once a job is decided its bytes count: a newer version with the same ETag will do."""
    first = put(s3, "a.jpg", jpeg(), Metadata={"sku": "old"})
    second = put(s3, "a.jpg", jpeg(), Metadata={"sku": "new"})
    s3.delete_object(Bucket=PHOTOS, Key="a.jpg", VersionId=first["VersionId"])
    etag = first["ETag"].strip('"')
    again = store.reopen("a.jpg", etag=etag, version_id=first["VersionId"])
    assert (again.version_id, again.etag) == (second["VersionId"], etag)
    with pytest.raises(InputRejected):
        opened(s3, store, first)  # its metadata was read from that very version


def test_other_bytes_are_not_read_again(store: PhotoStore, s3: Any) -> None:
    """Under other bytes the version is taken, and nothing if it is gone."""
    first = put(s3, "a.jpg", FIRST)
    put(s3, "a.jpg", SECOND)
    etag, version = first["ETag"].strip('"'), first["VersionId"]
    assert store.inspect(store.reopen("a.jpg", etag=etag, version_id=version)).bytes == len(FIRST)
    s3.delete_object(Bucket=PHOTOS, Key="a.jpg", VersionId=version)
    for version_id in (version, None):
        with pytest.raises(InputRejected) as caught:
            store.reopen("a.jpg", etag=etag, version_id=version_id)
        assert caught.value.code is ErrorCode.PHOTO_MISSING


def test_mask_is_read_again_by_its_bytes(store: PhotoStore, s3: Any) -> None:
    """A mask that was replaced is the one that was decided on; one that is gone, mask_mismatch."""
    first = put(s3, "m.png", png())
    put(s3, "m.png", png(padding=9))
    etag, version = first["ETag"].strip('"'), first["VersionId"]
    assert store.reopen_mask("m.png", etag=etag, version_id=version).version_id == version
    s3.delete_object(Bucket=PHOTOS, Key="m.png", VersionId=version)
    with pytest.raises(InputRejected, match="mask cannot be used") as caught:
        store.reopen_mask("m.png", etag=etag, version_id=version)
    assert caught.value.code is ErrorCode.MASK_MISMATCH


# --- masks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("photo", "mask"),
    [
        ("a/b.jpg", "a/b.mask.png"),
        ("b.jpg", "b.mask.png"),
        ("a.b/c", "a.b/c.mask.png"),
        ("a/b.c.png", "a/b.c.mask.png"),
    ],
)
def test_mask_beside_a_photo(store: PhotoStore, s3: Any, photo: str, mask: str) -> None:
    """`name.mask.png` beside `name.jpg` is its mask, and nothing else is."""
    put(s3, "other.mask.png", png())
    assert store.mask_beside(photo) is None
    put(s3, mask, png())
    found = store.mask_beside(photo)
    assert found is not None
    assert found.key == mask


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (png(WIDTH + 1, HEIGHT), f"{WIDTH + 1} x {HEIGHT}"),
        (jpeg(), "no readable PNG"),
        (b"hello", "no readable PNG"),
        (b"", "no readable PNG"),
        (png()[:20], "no readable PNG"),
        (png()[:33], "no readable PNG"),
        (png(padding=20_000), "bytes"),
    ],
)
def test_mask_must_fit(s3: Any, body: bytes, words: str) -> None:
    """A mask that is no PNG of the photo's size, or too large, is mask_mismatch."""
    store = PhotoStore(s3, PHOTOS, max_bytes=10_000)
    photo = look(store, s3, jpeg())
    put(s3, "a.mask.png", body)
    with pytest.raises(InputRejected, match=words) as caught:
        store.inspect_mask(store.open("a.mask.png"), photo)
    assert caught.value.code is ErrorCode.MASK_MISMATCH


def test_good_mask_passes(store: PhotoStore, s3: Any) -> None:
    """A PNG of the photo's size is a mask."""
    photo = look(store, s3, jpeg())
    put(s3, "a.mask.png", png())
    store.inspect_mask(store.open("a.mask.png"), photo)


def test_photo_is_no_mask_of_itself(store: PhotoStore, s3: Any) -> None:
    """A photo named as its own mask has the right size, and is a mistake all the same."""
    photo = look(store, s3, png(), "a.png")
    with pytest.raises(InputRejected, match="the photo itself") as caught:
        store.inspect_mask(store.open("a.png"), photo)
    assert caught.value.code is ErrorCode.MASK_MISMATCH


def test_mask_of_a_photo_by_url_must_be_a_png(store: PhotoStore, s3: Any) -> None:
    """The size of a photo elsewhere is not known, the format of its mask is."""
    photo = Photo(url="https://cdn.example.com/a.jpg")
    put(s3, "m.png", png())
    store.inspect_mask(store.open("m.png"), photo)
    put(s3, "m.png", b"hello")
    with pytest.raises(InputRejected, match="no readable PNG"):
        store.inspect_mask(store.open("m.png"), photo)


# --- folder files --------------------------------------------------------------------------------


def test_nearest_folder_file_wins(store: PhotoStore, s3: Any) -> None:
    """A catwalk.json counts for its folder and below, the nearest one alone."""
    put(s3, "catwalk.json", b'{"modelId": "top", "batchSize": 1}')
    put(s3, "a/b/catwalk.json", b'{"modelId": "deep"}')
    for key, expected in {
        "x.jpg": {"modelId": "top", "batchSize": 1},
        "a/x.jpg": {"modelId": "top", "batchSize": 1},
        "a/b/x.jpg": {"modelId": "deep"},
        "a/b/c/d/x.jpg": {"modelId": "deep"},
        "a/bc/x.jpg": {"modelId": "top", "batchSize": 1},
    }.items():
        found = store.nearest_folder_file(key, {})
        assert found is not None
        assert found.base.values == expected


def test_folder_files_are_read_once_a_batch(store: PhotoStore, s3: Any, counting: Counting) -> None:
    """Many photos of one folder cost one look for each folder file, there or not, good or bad."""
    put(s3, "catwalk.json", b"{")
    cache: FolderCache = {}
    for number in range(5):
        with pytest.raises(InputRejected, match="no valid JSON"):
            store.nearest_folder_file(f"a/b/{number}.jpg", cache)
    assert counting.calls == ["a/b/catwalk.json", "a/catwalk.json", "catwalk.json"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"\xff\xfe{\0}\0", "save it as UTF-8"),
        (b"{}" + b" " * MAX_FOLDER_FILE_BYTES, "make it shorter"),
        (b"", "no valid JSON"),
    ],
)
def test_unreadable_folder_file_is_bad_settings(
    store: PhotoStore, s3: Any, body: bytes, words: str
) -> None:
    """A catwalk.json that is no UTF-8 text, empty or huge is bad_settings."""
    put(s3, "catwalk.json", body)
    with pytest.raises(InputRejected, match=words) as caught:
        store.nearest_folder_file("a.jpg", {})
    assert caught.value.code is ErrorCode.BAD_SETTINGS


def test_folder_file_of_windows_is_read(store: PhotoStore, s3: Any) -> None:
    """A catwalk.json saved with a byte order mark is read."""
    put(s3, "catwalk.json", b'\xef\xbb\xbf{"modelId": "001"}')
    found = store.nearest_folder_file("a.jpg", {})
    assert found is not None
    assert found.base.values == {"modelId": "001"}
