"""Bad input of every kind gets a record that says why, and never reaches the vendor.

The tables below are dropped and sent all at once; then each case waits for its own record. What
is sent between two cases is worked on while the first is judged, so that many cases cost little.
"""

import json
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pytest

from tests.e2e.driver import Catwalk, mask, photo, sha256, wait_for

Look = Callable[[], dict[str, Any] | None]
"""Returns the record of what was sent, as soon as there is one."""

CODES: Final = {
    "empty_file",
    "unsupported_format",
    "corrupt_image",
    "too_large",
    "bad_settings",
    "bad_request_event",
    "photo_missing",
    "mask_mismatch",
}
"""The codes of a REJECTED record, as docs/photos.md lists them. `photo_unreadable` is missing:
the local AWS reads archived objects, so tests/unit/test_photos.py has those."""
FEWEST: Final = 40
"""The tables may grow; they must not shrink unseen."""
OVER_LIMIT: Final = 20 * 1024 * 1024 + 1
"""One byte more than MaxPhotoBytes."""
VARIANT: Final = {"modelId": "002", "sceneType": "original", "batchSize": 1}


@dataclass(frozen=True)
class Bad:
    """One bad input, what must be said of it, and how to send it."""

    name: str
    code: str
    said: tuple[str, ...]
    send: Callable[[Catwalk], Look]


# --- how each kind is sent -----------------------------------------------------------------------


def file(name: str, body: bytes, code: str, *said: str) -> Bad:
    """Drop a file."""
    return dropped(f"files/{name}", body, {}, code, *said, name)


def metadata(name: str, values: Mapping[str, str], *said: str) -> Bad:
    """Drop a good photo with settings that cannot be used."""
    return dropped(f"metadata/{name}.jpg", photo(), values, "bad_settings", *said)


def folder(name: str, document: object, *said: str) -> Bad:
    """Drop a good photo into a folder whose catwalk.json (JSON, or raw bytes) cannot be used."""
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    beside = {f"rejected/folders/{name}/catwalk.json": text}
    return dropped(f"folders/{name}/dress.jpg", photo(), {}, "bad_settings", *said, beside=beside)


def masked(name: str, cut: bytes, *said: str) -> Bad:
    """Drop a good photo beside a mask that cannot be used."""
    beside = {f"rejected/masks/{name}.mask.png": cut}
    said = (*said, f"{name}.mask.png")
    return dropped(f"masks/{name}.jpg", photo(), {}, "mask_mismatch", *said, beside=beside)


def dropped(
    name: str,
    body: bytes,
    values: Mapping[str, str],
    code: str,
    *said: str,
    beside: Mapping[str, bytes] | None = None,
) -> Bad:
    """Drop an object, after those that must lie beside it."""
    key = f"rejected/{name}"

    def send(catwalk: Catwalk) -> Look:
        for other, content in (beside or {}).items():
            catwalk.drop(other, content)
        catwalk.drop(key, body, values)
        return lambda: by_source(catwalk, key)

    return Bad(name, code, said, send)


def gone(name: str, etag: str, *said: str, instead: bytes | None = None) -> Bad:
    """Tell of a dropped photo that is gone by now, or replaced by a file that is bad itself."""
    key = f"rejected/gone/{name}.jpg"

    def send(catwalk: Catwalk) -> Look:
        if instead is not None:
            catwalk.drop(key, instead)
        catwalk.send_drop(key, etag=etag, event_id=f"gone-{name}")
        return lambda: by_source(catwalk, key, etag if instead is not None else None)

    return Bad(f"gone/{name}", "photo_missing", (f"{name}.jpg", *said), send)


def event(name: str, detail: Mapping[str, Any], *said: str) -> Bad:
    """Ask for images with a request that cannot be read; its record is found by its requestId."""
    return asked(f"events/{name}", {"requestId": f"bad-{name}", **detail}, *said)


def nameless(name: str, detail: Mapping[str, Any], *said: str) -> Bad:
    """Do the same without a usable requestId: the record is found by the event's id."""
    return asked(f"events/{name}", detail, *said)


def variant(name: str, values: Mapping[str, Any], *said: str) -> Bad:
    """Ask for a variant of a photo by URL with settings that cannot be used."""
    detail = {
        "requestId": f"bad-{name}",
        "photo": {"url": f"https://cdn.example.com/rejected/variants/{name}.jpg"},
        "variants": [{**VARIANT, **values}],
    }
    return asked(f"variants/{name}", detail, *said, code="bad_settings")


def url(name: str, address: str, *said: str) -> Bad:
    """Ask for images of a photo by a URL that cannot be used."""
    detail = {"requestId": f"bad-{name}", "photo": {"url": address}, "variants": [VARIANT]}
    return asked(f"urls/{name}", detail, "photo.url", *said)


def asked(name: str, detail: Mapping[str, Any], *said: str, code: str = "bad_request_event") -> Bad:
    """Put a request on CatwalkBus."""

    def send(catwalk: Catwalk) -> Look:
        event_id = catwalk.request(detail)
        request_id = detail.get("requestId")
        usable = isinstance(request_id, str) and request_id
        return lambda: by_request(catwalk, request_id if usable else event_id)

    return Bad(name, code, said, send)


def message(name: str, body: str, *said: str, found_by: str | None = None) -> Bad:
    """Put a message into SubmitQueue; the record has the queue's id for it, or one it names."""

    def send(catwalk: Catwalk) -> Look:
        message_id = catwalk.send(body)
        return lambda: by_request(catwalk, found_by or message_id)

    return Bad(f"messages/{name}", "bad_request_event", said, send)


def by_source(catwalk: Catwalk, key: str, etag: str | None = None) -> dict[str, Any] | None:
    """Find a record by its photo and, where two are made of its key, by the photo's ETag."""
    records = catwalk.records(key)
    return next((r for r in records if etag in {None, r["photo"].get("etag")}), None)


def by_request(catwalk: Catwalk, request_id: object) -> dict[str, Any] | None:
    """Find a record as a backend does: an event names it, under the request's id."""
    told = (e["detail"] for e in catwalk.heard if e["detail"].get("requestId") == request_id)
    detail = next(told, None)
    return detail and catwalk.record(detail["jobId"])


# --- pictures whose headers lie ------------------------------------------------------------------


def png_header(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes that declares a size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n\0\0\0\x0d" + header + struct.pack(">I", zlib.crc32(header))


def jpeg_header(width: int, height: int) -> bytes:
    """Return a JPEG of a few bytes that declares a size."""
    frame = struct.pack(">BHHB", 8, height, width, 1) + b"\x01\x11\0"
    scan = b"\xff\xda\0\x08\x01\x01\0\0\x3f\0"
    return b"\xff\xd8\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame + scan + b"\0\xff\xd9"


# --- the tables ----------------------------------------------------------------------------------

ONLY_A_HEADER: Final = photo().partition(b"\xff\xda")[0]
FILES = [
    file("empty.jpg", b"", "empty_file", "0 bytes", "Export it again"),
    file("empty.txt", b"", "empty_file", "0 bytes"),
    file("notes.txt", b"These are the sizes.", "unsupported_format", "JPEG and PNG"),
    file("no-extension", b"These are the sizes.", "unsupported_format", "JPEG and PNG"),
    file("photo.webp", b"RIFF\x24\0\0\0WEBPVP8 ", "unsupported_format", "WebP", "Save it as"),
    file("webp-inside.jpg", b"RIFF\x24\0\0\0WEBPVP8 ", "unsupported_format", "WebP"),
    file("moving.gif", b"GIF89a\x01\0\x01\0", "unsupported_format", "GIF"),
    file("paint.bmp", b"BM\x46\0\0\0", "unsupported_format", "BMP"),
    file("scan.tiff", b"II*\0\x08\0\0\0", "unsupported_format", "TIFF"),
    file("phone.heic", b"\0\0\0\x18ftypheic", "unsupported_format", "HEIC"),
    file("drawing.svg", b'<svg xmlns="http://www.w3.org/2000/svg"/>', "unsupported_format", "SVG"),
    file("sheet.pdf", b"%PDF-1.7", "unsupported_format", "PDF"),
    file("renamed.jpg", b"this is no image", "corrupt_image", "neither JPEG nor PNG"),
    file("error-page.png", b"<!doctype html><h1>404</h1>", "corrupt_image", "export it again"),
    file("archive.jpeg", b"PK\x03\x04", "corrupt_image", "neither JPEG nor PNG"),
    file("cut-off.png", b"\x89PNG\r\n\x1a\n\0\0\0\x0dIH", "corrupt_image", "cut off"),
    file("only-the-magic.png", b"\x89PNG\r\n\x1a\n", "corrupt_image", "cut off"),
    file("cut-off.jpg", photo()[:20], "corrupt_image", "cut off"),
    file("cut-before-the-frame.jpg", photo()[:100], "corrupt_image", "cut off"),
    file("cut-before-the-scan.jpg", ONLY_A_HEADER, "corrupt_image", "cut off", "Export it again"),
    file("cut-after-the-header.png", photo("PNG")[:33], "corrupt_image", "cut off"),
    file("no-pixels.png", png_header(0, 100), "corrupt_image", "broken"),
    file("no-lines.jpg", jpeg_header(100, 0), "corrupt_image", "broken"),
    file(
        "over.jpg", b"\xff\xd8\xff".ljust(OVER_LIMIT, b"\0"), "too_large", "20,971,521", "smaller"
    ),
    file(
        "huge.png", png_header(2**31 - 1, 2**31 - 1), "too_large", "2,147,483,647 x", "megapixels"
    ),
    file("huge.jpg", jpeg_header(65_535, 65_535), "too_large", "65,535 x 65,535", "megapixels"),
]

METADATA = [
    metadata("long-model", {"model-id": "x" * 129}, "modelId", "128"),
    metadata("model-of-two-lines", {"model-id": "=?utf-8?q?a=0Ab?="}, "modelId", "printable"),
    metadata("unknown-scene", {"scene-type": "beach"}, "'beach'", "original, preset, color, none"),
    metadata("capital-scene", {"scene-type": "Original"}, "Did you mean 'original'?"),
    metadata("no-scene-id", {"scene-type": "preset"}, "needs sceneId"),
    metadata("scene-id-alone", {"scene-id": "035"}, "'035'", "Set sceneType to 'preset'"),
    metadata("no-color", {"scene-type": "color"}, "needs color"),
    metadata("color-by-name", {"scene-type": "color", "color": "red"}, "'red'", "#ff8800"),
    metadata("color-without-use", {"scene-type": "none", "color": "#ff0000"}, "leave color out"),
    metadata("five-images", {"batch-size": "5"}, "batchSize", "5", "1 to 4"),
    metadata("no-images", {"batch-size": "0"}, "batchSize", "0", "1 to 4"),
    metadata("images-in-words", {"batch-size": "four"}, "'four'", "1 to 4"),
    metadata("half-images", {"batch-size": "2.5"}, "'2.5'", "whole number"),
    metadata("broken-extra", {"extra": "{"}, "extra", "no valid JSON"),
    metadata("extra-list", {"extra": "[1]"}, "extra", "a JSON object"),
    metadata("extra-image", {"extra": '{"image": "https://x.example/"}'}, "extra", "'image'"),
    metadata("model-misspelt", {"model_id": "003"}, "'model_id'", "Did you mean 'model-id'?"),
    metadata("size-misspelt", {"batchsize": "1"}, "'batchsize'", "Did you mean 'batch-size'?"),
    metadata("long-sku", {"sku": "s" * 257}, "sku has 257 characters", "256"),
    metadata("long-request-id", {"request-id": "r" * 300}, "request-id has 300", "256"),
    metadata("extra-nan", {"extra": '{"seed": NaN}'}, "extra", "number"),
]

FOLDERS = [
    folder("typo", {"modelID": "003"}, "'modelID'", "Did you mean 'modelId'?"),
    folder("typo-in-a-variant", {"variants": [{}, {"bachSize": 1}]}, "entry 2", "'batchSize'"),
    folder("not-json", b"modelId: 003", "catwalk.json", "no valid JSON"),
    folder("empty", b"", "catwalk.json", "no valid JSON"),
    folder("list", [], "a JSON object", "a list"),
    folder("utf-16", '{"modelId": "003"}'.encode("utf-16"), "catwalk.json", "save it as UTF-8"),
    folder("too-long", b"{}".ljust(300_000), "catwalk.json", "longer than"),
    folder("too-deep", b'{"extra": ' + b"[" * 5_000, "catwalk.json", "JSON"),
    folder("twice", b'{"batchSize": 1, "batchSize": 4}', "'batchSize' twice", "keep one"),
    folder("model-number", {"modelId": 3}, "modelId", "in quotes", '"003"'),
    folder("size-in-quotes", {"batchSize": "4"}, "batchSize", "'4'", "whole number"),
    folder("size-with-a-point", {"batchSize": 2.0}, "batchSize", "2.0", "whole number"),
    folder("size-true", {"batchSize": True}, "batchSize", "True", "whole number"),
    folder("sku-number", {"sku": 5}, "sku", "a string"),
    folder("no-variants", {"variants": []}, "variants", "1 to 20"),
    folder("many-variants", {"variants": [{}] * 21}, "21 entries", "1 to 20"),
]

MASKS = [
    masked("another-size", mask((100, 100)), "100 x 100", "384 x 512"),
    masked("jpeg-inside", photo(), "no readable PNG"),
    masked("text-inside", b"white", "no readable PNG"),
    masked("empty", b"", "no readable PNG"),
    masked("cut-off", mask()[:20], "no readable PNG"),
    masked("too-large", mask().ljust(OVER_LIMIT, b"\0"), "20,971,520", "MaxPhotoBytes"),
    dropped(
        "masks/itself.png",
        photo("PNG"),
        {"mask": "rejected/masks/itself.png"},
        "mask_mismatch",
        "itself.png",
        "the photo itself",
    ),
    dropped(
        "masks/not-there.jpg",
        photo(),
        {"mask": "rejected/masks/nowhere.png"},
        "mask_mismatch",
        "rejected/masks/nowhere.png",
        "is not in",
    ),
]

PHOTO = {"key": "rejected/events/dress.jpg"}
EVENTS = [
    event("no-photo", {"variants": [VARIANT]}, "no photo", "photo.key or photo.url"),
    event("photo-null", {"photo": None, "variants": [VARIANT]}, "photo", "null"),
    event("photo-text", {"photo": "a.jpg", "variants": [VARIANT]}, "photo", "a string"),
    event("both", {"photo": {"key": "a.jpg", "url": "https://x.example/"}}, "both", "give one"),
    event("neither", {"photo": {}, "variants": [VARIANT]}, "neither", "give one"),
    event("key-number", {"photo": {"key": 7}, "variants": [VARIANT]}, "photo.key", "a number"),
    event("long-key", {"photo": {"key": "k" * 1_025}}, "photo.key", "1024 bytes"),
    event("folder", {"photo": {"key": "a/"}, "variants": [VARIANT]}, "'a/'", "no photo"),
    event("bucket", {"photo": {**PHOTO, "bucket": "other"}}, "'other'", "Copy the photo there"),
    event("bucket-misspelt", {"photo": {**PHOTO, "Bucket": "other"}}, "'Bucket'", "'bucket'"),
    event("variants-object", {"photo": PHOTO, "variants": {}}, "variants", "a list"),
    event("empty-variants", {"photo": PHOTO, "variants": []}, "0 entries", "1 to 20"),
    event("many-variants", {"photo": PHOTO, "variants": [VARIANT] * 21}, "21 entries", "1 to 20"),
    event("variant-null", {"photo": PHOTO, "variants": [None]}, "entry 1", "null"),
    event("variant-name", {"photo": PHOTO, "variants": [{"model": "1"}]}, "'model'", "'modelId'"),
    event("misspelt", {"photo": PHOTO, "varients": [VARIANT]}, "'varients'", "'variants'"),
    event("mask-number", {"photo": PHOTO, "mask": 5, "variants": [VARIANT]}, "mask", "a number"),
    event(
        "mask-http",
        {"photo": PHOTO, "mask": "http://x.example/m.png", "variants": [VARIANT]},
        "mask.url",
        "https",
    ),
    event("sku-list", {"photo": PHOTO, "sku": [], "variants": [VARIANT]}, "sku", "a string"),
    nameless("id-number", {"requestId": 5, "photo": PHOTO, "variants": [VARIANT]}, "requestId"),
    nameless("nulls", {"requestId": None, "photo": None, "variants": None}, "photo", "null"),
    asked(
        "events/not-there",
        {"requestId": "bad-not-there", "photo": {"key": "rejected/no.jpg"}, "variants": [VARIANT]},
        "rejected/no.jpg",
        "is not in",
        code="photo_missing",
    ),
]

URLS = [
    url("http", "http://cdn.example.com/a.jpg", "http://cdn.example.com/a.jpg", "https"),
    url("ftp", "ftp://cdn.example.com/a.jpg", "https"),
    url("data", "data:image/png;base64,iVBORw0KGgo=", "https"),
    url("localhost", "https://localhost/a.jpg", "'localhost'", "public"),
    url("private", "https://10.0.0.1/a.jpg", "'10.0.0.1'", "public"),
    url("metadata-service", "https://169.254.169.254/latest", "'169.254.169.254'", "public"),
    url("decimal", "https://2130706433/a.jpg", "'2130706433'", "public"),
    url("multicast", "https://224.0.0.1/a.jpg", "'224.0.0.1'", "public"),
    url("letters-in-circles", "https://printer.\u24dbocal/a.jpg", "\u24dbocal", "public"),
    url("dot-of-japan", "https://metadata.google\u3002internal/a.jpg", "public"),
    url("backslash", "https://localhost\\.example.com/a.jpg", "localhost", "public"),
    url("nat64", "https://[64:ff9b::7f00:1]/a.jpg", "'64:ff9b::7f00:1'", "public"),
    url("ipv6", "https://[::1]/a.jpg", "'::1'", "public"),
    url("password", "https://user:pw@cdn.example.com/a.jpg", "password"),
    url("port", "https://cdn.example.com:99999/a.jpg", "no URL"),
    url("long", f"https://cdn.example.com/{'x' * 9_000}", "8192 bytes"),
]

VARIANTS = [
    variant("model-number", {"modelId": 2}, "modelId", '"002"'),
    variant("model-empty", {"modelId": " "}, "modelId", "printable"),
    variant("scene-unknown", {"sceneType": "presets"}, "'presets'", "Did you mean 'preset'?"),
    variant("size-with-a-point", {"batchSize": 2.0}, "batchSize", "2.0"),
    variant("size-true", {"batchSize": True}, "batchSize", "True"),
    variant("color-short", {"sceneType": "color", "color": "#fff"}, "'#fff'", "#ff8800"),
    variant("contradiction", {"sceneId": "035"}, "sceneId", "'preset'", "'original'"),
    variant("extra-field", {"extra": {"batchSize": 9}}, "extra", "set batchSize itself"),
    variant("extra-misspelt", {"extra": {"model_id": "9"}}, "'model_id'", "set modelId itself"),
    variant("extra-long", {"extra": {"x": "y" * 17_000}}, "extra", "longer than 16384"),
]

MESSAGES = [
    message("text", "hello", "no EventBridge event"),
    message("null", "null", "no EventBridge event"),
    message("no-detail", "{}", "no detail"),
    message("detail-null", '{"id": "bad-detail", "detail": null}', "no detail"),
    message("nested", "[" * 50_000, "no EventBridge event"),
    message(
        "other-event",
        '{"id": "bad-other", "detail-type": "Object Deleted", "detail": {}}',
        "'Object Deleted'",
        "must be",
        found_by="bad-other",
    ),
    message(
        "no-key",
        '{"id": "bad-no-key", "detail-type": "Object Created", "detail": {"object": {}}}',
        "no object key",
        found_by="bad-no-key",
    ),
    message(
        "foreign-bucket",
        json.dumps(
            {
                "id": "bad-foreign-bucket",
                "detail-type": "Object Created",
                "detail": {"bucket": {"name": "other"}, "object": {"key": "a.jpg"}},
            }
        ),
        "not about",
        found_by="bad-foreign-bucket",
    ),
    message(
        "nan",
        '{"id": "bad-nan", "detail-type": "Fashion Model Requested", "detail": {"x": NaN}}',
        "number",
        found_by="bad-nan",
    ),
]

GONE = [
    gone("odd-etag", "a\r\nX-Injected: 1", "is not in"),
    gone("deleted", "d41d8cd98f00b204e9800998ecf8427e", "is not in", "upload it there"),
    gone("replaced", sha256(b"")[:32], "replaced", "a job of its own", instead=b"the newer one"),
]

BAD = [*FILES, *METADATA, *FOLDERS, *MASKS, *EVENTS, *URLS, *VARIANTS, *MESSAGES, *GONE]


# --- the tests -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sent:
    """All bad inputs are on their way."""

    looks: Mapping[str, Look]
    creates_before: int


@pytest.fixture(scope="module")
def sent(catwalk: Catwalk) -> Sent:
    """Send all bad inputs at once, while the vendor counts what it is asked for."""
    catwalk.idle()
    creates = catwalk.vendor.state()["call_counts"].get("create", 0)
    return Sent({bad.name: bad.send(catwalk) for bad in BAD}, creates)


@pytest.mark.parametrize("bad", BAD, ids=[bad.name for bad in BAD])
def test_bad_input(catwalk: Catwalk, sent: Sent, bad: Bad) -> None:
    """It is REJECTED with its code and a sentence, is told of, and the vendor never hears of it."""
    record = wait_for(sent.looks[bad.name], f"a record of {bad.name}")
    assert (record["status"], record["error"]["code"]) == ("REJECTED", bad.code), record
    said = record["error"]["message"]
    for word in bad.said:
        assert word in said
    assert said.endswith((".", "?")), "it is a sentence"
    assert record["credits"] == 0
    assert "task_id" not in record
    told = catwalk.event(record["job_id"], "Job Rejected")
    assert told["detail"]["error"] == record["error"]
    tasks = catwalk.vendor.state()["tasks"]
    assert [task for task in tasks if bad.name in (task["photo"]["path"] or "")] == []
    assert catwalk.vendor.charges().of(bad.name) == 0


def test_the_vendor_was_asked_for_nothing(catwalk: Catwalk, sent: Sent) -> None:
    """All bad inputs together made no call that creates a task, and no message was given up."""
    catwalk.idle()
    assert catwalk.vendor.state()["call_counts"].get("create", 0) == sent.creates_before
    assert catwalk.queue_is_empty("SubmitDeadLetterQueueUrl")


def test_what_is_not_meant_to_be_a_photo(catwalk: Catwalk) -> None:
    """Folder files, masks, folder markers and dotfiles make no records."""
    quiet = ["quiet/catwalk.json", "quiet/x.mask.png", "quiet/", "quiet/.DS_Store"]
    for key in quiet:
        catwalk.drop(key, b"{}")
    catwalk.drop("quiet/after.txt", b"the last one")
    catwalk.end_of("quiet/after.txt", "REJECTED")
    catwalk.idle()
    assert [key for key in quiet if catwalk.records(key)] == []


def test_a_bad_file_mended_and_dropped_again(catwalk: Catwalk) -> None:
    """The mended file is a job of its own, beside the rejected one."""
    catwalk.drop("mended/dress.jpg", b"oops", {"batch-size": "1"})
    catwalk.end_of("mended/dress.jpg", "REJECTED")
    body = photo()
    catwalk.drop("mended/dress.jpg", body, {"batch-size": "1"})
    records = catwalk.ended("mended/dress.jpg", 2)
    assert sorted(record["status"] for record in records) == ["REJECTED", "SUCCEEDED"]
    assert catwalk.vendor.charges().by_sha256[sha256(body)] == 1


def test_the_tables_are_whole() -> None:
    """There are many cases, each under a name of its own, and every code is among them."""
    assert len(BAD) >= FEWEST
    assert len({bad.name for bad in BAD}) == len(BAD)
    assert {bad.code for bad in BAD} == CODES
