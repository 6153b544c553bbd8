"""Messages on SubmitQueue: any text is read as one of six kinds, and none raises an exception."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.intake.messages import (
    BrokenEvent,
    Incoming,
    ModelRequested,
    NotAPhoto,
    PhotoDropped,
    PhotoRef,
    is_photo_key,
    parse,
)
from shared.models import ErrorCode
from tests.factories import PHOTOS, VARIANT, VENDOR, dropped, requested

PAYLOADS = Path(__file__).parents[2] / "events" / "eventbridge"


def read(event: object, *, bucket: str = PHOTOS, vendor: str = VENDOR) -> Incoming:
    """Read an event, or a message's raw text."""
    body = event if isinstance(event, str) else json.dumps(event)
    return parse(body, message_id="m-1", photos_bucket=bucket, vendor_origin=vendor)


def request_of(**changes: object) -> ModelRequested:
    """Read a good request with these changes."""
    detail = {"photo": {"key": "a.jpg"}, "variants": [dict(VARIANT)], **changes}
    incoming = read(requested({name: value for name, value in detail.items() if value is not ...}))
    assert isinstance(incoming, ModelRequested), incoming
    return incoming


def broken(event: object) -> BrokenEvent:
    """Read an event that must be broken; return it."""
    incoming = read(event)
    assert isinstance(incoming, BrokenEvent), incoming
    assert incoming.error.code is ErrorCode.BAD_REQUEST_EVENT
    assert incoming.request_id
    assert incoming.trigger
    return incoming


def broken_request(**changes: object) -> BrokenEvent:
    """Read a request that these changes break; ... leaves a field out."""
    detail = {"photo": {"key": "a.jpg"}, "variants": [dict(VARIANT)], **changes}
    return broken(requested({name: value for name, value in detail.items() if value is not ...}))


# --- the real payloads ---------------------------------------------------------------------------


EXPECTED: dict[str, type] = {
    "photo-dropped": PhotoDropped,
    "photo-dropped-multipart": PhotoDropped,
    "not-an-image-dropped": PhotoDropped,
    "folder-file-dropped": NotAPhoto,
    "mask-dropped": NotAPhoto,
    "model-requested-broken": BrokenEvent,
    "model-requested-by-url": ModelRequested,
    "model-requested-two-variants": ModelRequested,
    "model-requested-with-mask": ModelRequested,
}


@pytest.mark.parametrize("path", sorted(PAYLOADS.glob("*.json")), ids=lambda path: path.stem)
def test_real_payload_is_read(path: Path) -> None:
    """Each example payload is read as its name says."""
    event = json.loads(path.read_text("utf-8"))
    bucket = event["detail"].get("bucket", {}).get("name") or event["detail"].get("photo", {}).get(
        "bucket", PHOTOS
    )
    incoming = read(event, bucket=bucket)
    expected = EXPECTED.get(path.stem)
    assert isinstance(incoming, expected or object)
    assert isinstance(incoming, BrokenEvent) == ("broken" in path.stem)


# --- drops ---------------------------------------------------------------------------------------


def test_drop_is_read() -> None:
    """A drop has key, ETag and version; keys in EventBridge are not URL-encoded."""
    incoming = read(dropped("a b/ü+%20.JPG", etag='"e"', version_id="v"))
    assert incoming == PhotoDropped(
        key="a b/ü+%20.JPG", etag="e", version_id="v", trigger="v", at="2026-01-31T09:30:00.000Z"
    )


@pytest.mark.parametrize(
    ("said", "at"),
    [
        ("2026-01-31T09:30:00Z", "2026-01-31T09:30:00.000Z"),
        ("2026-01-31T10:30:00.5+01:00", "2026-01-31T09:30:00.500Z"),
        *((odd, None) for odd in (None, "", "yesterday", 1, "2026-01-31T09:30:00")),
        ("0001-01-01T00:00:00+14:00", None),
    ],
)
def test_event_bears_its_time(said: object, at: str | None) -> None:
    """The arrival time is the event's time, if it can be read."""
    for event in (dropped("a.jpg"), requested({"photo": {"key": "a"}, "variants": [VARIANT]})):
        incoming = read({**event, "time": said})
        assert isinstance(incoming, PhotoDropped | ModelRequested)
        assert incoming.at == at


@pytest.mark.parametrize(
    ("version", "sequencer", "trigger"),
    [("v", "s", "v"), (None, "s", "s"), ("null", "s", "s"), ("", "s", "s"), (None, None, "e-1")],
)
def test_drop_is_told_from_a_later_one(
    version: str | None, sequencer: str | None, trigger: str
) -> None:
    """A drop with two event ids is the same drop if version or sequencer are the same."""
    incoming = read(dropped("a.jpg", version_id=version, sequencer=sequencer))
    assert isinstance(incoming, PhotoDropped)
    assert incoming.trigger == trigger
    assert incoming.version_id in {None, "v"}


@pytest.mark.parametrize(
    ("key", "photo"),
    [
        ("a.jpg", True),
        ("a/b/c.PNG", True),
        ("a/readme.txt", True),
        ("a/no-extension", True),
        ("a/mask.png", True),
        (".hidden/a.jpg", True),
        ("a/catwalk.json.bak", True),
        ("a/Catwalk.json", True),
        ("catwalk.json", False),
        ("a/b/catwalk.json", False),
        ("a/b.mask.png", False),
        ("a/b.MASK.PNG", False),
        ("a/", False),
        ("/", False),
        ("a/.DS_Store", False),
        (".jpg", False),
    ],
)
def test_what_is_a_photo(key: str, photo: bool) -> None:
    """Folder files, masks, folder markers and dotfiles are no photos; all other keys are."""
    assert is_photo_key(key) is photo
    assert isinstance(read(dropped(key)), PhotoDropped if photo else NotAPhoto)


@pytest.mark.parametrize(
    "change",
    [
        {"object": None},
        {"object": "a.jpg"},
        {"object": {}},
        {"object": {"key": ""}},
        {"object": {"key": 7}},
        {"object": {"key": "k" * 1025}},
        {"object": {"key": "\udc80.jpg"}},
        {"bucket": None},
        {"bucket": "photos"},
        {"bucket": {"name": "another"}},
    ],
)
def test_broken_drop_gets_a_record(change: dict[str, Any]) -> None:
    """An Object Created event without a usable key or of another bucket is REJECTED."""
    event = dropped("a.jpg")
    event["detail"].update(change)
    assert broken(event).request_id == "e-1"


def test_strange_fields_of_a_drop_do_no_harm() -> None:
    """Fields of unexpected types count as missing."""
    event = dropped("a.jpg")
    event["detail"]["object"] |= {"etag": None, "version-id": 5, "sequencer": {"a": 1}}
    incoming = read(event)
    assert isinstance(incoming, PhotoDropped)
    assert (incoming.etag, incoming.version_id) == ("", None)
    assert isinstance(incoming.trigger, str)


@pytest.mark.parametrize("odd", ["", "a\r\nX-Evil: 1", "a b", "ü", "x" * 1_025, 5, ["a"], None])
def test_id_that_s3_never_gives_is_taken_as_not_said(odd: object) -> None:
    """An ETag or version that would break the call of S3 gets the photo a record, not an error."""
    event = dropped("a.jpg")
    event["detail"]["object"] |= {"etag": odd, "version-id": odd, "sequencer": odd}
    incoming = read(event)
    assert isinstance(incoming, PhotoDropped)
    assert (incoming.etag, incoming.version_id, incoming.trigger) == ("", None, "e-1")


# --- requests ------------------------------------------------------------------------------------


def test_request_is_read() -> None:
    """All fields of a request are read."""
    incoming = request_of(
        requestId="r-9",
        sku="s",
        photo={"key": "a.jpg", "bucket": PHOTOS},
        mask={"key": "m.png"},
        variants=[dict(VARIANT), {"extra": {"a": None}}],
    )
    assert incoming == ModelRequested(
        photo=PhotoRef(key="a.jpg"),
        variants=(VARIANT, {"extra": {"a": None}}),
        trigger="r-1",
        request_id="r-9",
        sku="s",
        mask=PhotoRef(key="m.png"),
        at="2026-01-31T09:30:00.000Z",
    )


@pytest.mark.parametrize("variants", [..., None])
def test_variants_may_be_left_out(variants: object) -> None:
    """A request may have no variants."""
    assert request_of(variants=variants).variants == ()


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (None, None),
        ("m.png", PhotoRef(key="m.png")),
        ("https://cdn.example.com/m.png", PhotoRef(url="https://cdn.example.com/m.png")),
        ({"url": "https://cdn.example.com/m.png"}, PhotoRef(url="https://cdn.example.com/m.png")),
    ],
)
def test_mask_may_be_a_key_or_a_url(mask: object, expected: PhotoRef | None) -> None:
    """A mask has the form of `photo`, or is a key or URL."""
    assert request_of(mask=mask).mask == expected


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"photo": ...}, ["no photo"]),
        ({"photo": None}, ["photo", "null"]),
        ({"photo": "a.jpg"}, ["photo", "a string"]),
        ({"variants": ..., "modelId": "004"}, ["'modelId'", '"variants": [{"modelId": "004"}]']),
        ({"variants": None, "Scene_Type": "none"}, ["'Scene_Type'", "variants"]),
        ({"photo": {}}, ["neither"]),
        ({"photo": {"key": "a", "url": "https://x.example"}}, ["both"]),
        ({"photo": {"key": ""}}, ["photo.key", "empty"]),
        ({"mask": ""}, ["mask.key", "empty"]),
        ({"photo": {"key": 5}}, ["photo.key", "a number"]),
        ({"photo": {"key": "k" * 1025}}, ["photo.key", "1024"]),
        ({"photo": {"key": "ü" * 513}}, ["photo.key", "1024"]),
        ({"photo": {"key": "a/"}}, ["no photo"]),
        ({"photo": {"key": "catwalk.json"}}, ["no photo"]),
        ({"photo": {"key": "a.mask.png"}}, ["no photo"]),
        ({"photo": {"key": "a/.jpg"}}, ["no photo", "dotfile"]),
        ({"photo": {"key": "a.jpg", "bucket": "other"}}, ["'other'", PHOTOS]),
        ({"photo": {"url": 5}}, ["photo.url"]),
        ({"photo": {"key": "a.jpg", "Bucket": "other"}}, ["'Bucket'", "Did you mean 'bucket'?"]),
        ({"mask": {"uri": "https://x.example/m.png"}}, ["mask", "'uri'", "Did you mean 'url'?"]),
        ({"mask": 5}, ["mask", "a number"]),
        ({"mask": {}}, ["mask", "neither"]),
        ({"mask": "http://x.example/m.png"}, ["https"]),
        ({"variants": {}}, ["variants", "an object"]),
        ({"variants": []}, ["0 entries"]),
        ({"variants": [{}] * 21}, ["21 entries"]),
        ({"variants": ["002"]}, ["entry 1", "a string"]),
        ({"variants": [{}, {"modelid": "1"}]}, ["entry 2", "Did you mean 'modelId'?"]),
        ({"variants": [{"mask": "x"}]}, ["entry 1", "'mask'"]),
        ({"varients": []}, ["'varients'", "Did you mean 'variants'?"]),
        ({"request-id": "r"}, ["Did you mean 'requestId'?"]),
        ({"requestId": 5}, ["requestId"]),
        ({"requestId": ""}, ["requestId"]),
        ({"requestId": "x" * 257}, ["requestId", "256"]),
        ({"sku": []}, ["sku"]),
        ({"sku": "x" * 257}, ["sku", "256"]),
        ({"variants": [{"extra": {"x": float("nan")}}]}, ["number"]),
        ({"variants": [{"extra": {"x": "\ud800"}}]}, ["half a character"]),
        ({"variants": [{"extra": {"x": 10**50}}]}, ["38 digits"]),
    ],
)
def test_broken_request_says_what_is_wrong(changes: dict[str, Any], words: list[str]) -> None:
    """An invalid request is a BrokenEvent whose message says what to correct."""
    message = broken_request(**changes).error.message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"photo": {"key": "k" * 1_000 + ".mask.png"}}, ["kkk", ".mask.png'", "is no photo"]),
        ({"photo": {"key": "a.jpg", "bucket": "b" * 90_000}}, ["bbb", "Copy the photo there"]),
        ({"photo": {"url": f"ftp://x.example/{'u' * 8_000}"}}, ["uuu", "only https URLs"]),
        ({"photo": {"url": f"https://[{'u' * 8_000}/"}}, ["uuu", "is no URL"]),
        ({"photo": {"url": f"https://{'h' * 8_000}/"}}, ["hhh", "not a public host"]),
        ({"variants": [{"n" * 90_000: 1}]}, ["nnn", "known are modelId"]),
    ],
)
def test_what_is_wrong_with_a_long_value_is_said(changes: dict[str, Any], words: list[str]) -> None:
    """The message about a long value still says what is wrong."""
    message = broken_request(**changes).error.message
    for word in words:
        assert word in message
    assert not message.endswith("…")


def test_broken_request_keeps_what_it_can() -> None:
    """The record of a broken request can be found by requestId, sku and photo."""
    incoming = broken_request(requestId="r-9", sku="s", variants=[])
    assert (incoming.request_id, incoming.sku, incoming.source_key) == ("r-9", "s", "a.jpg")
    assert incoming.trigger == "r-1"


@pytest.mark.parametrize("request_id", [5, "", "x" * 300, None, ..., "\ud800"])
def test_broken_request_without_a_usable_id_has_the_events(request_id: object) -> None:
    """Without a usable requestId the record is found by the event's id."""
    assert broken_request(requestId=request_id, variants=[]).request_id == "r-1"


def test_message_that_is_no_event_has_the_messages_id() -> None:
    """The record of a message without an id has the queue's message id."""
    assert broken("no event").request_id == "m-1"
    assert broken({**requested({}), "id": 7}).request_id == "m-1"
    assert broken({**requested({}), "id": "x" * 5_000}).request_id == "m-1"


def test_unknown_fields_that_resemble_nothing_are_let_be() -> None:
    """Unknown fields that resemble no known one are ignored."""
    assert request_of(tenant="acme").photo.key == "a.jpg"
    assert request_of(photo={"key": "a.jpg", "size": 7, "etag": "e"}).photo.key == "a.jpg"


@pytest.mark.parametrize(
    "body",
    [
        "",
        "null",
        "5",
        "[]",
        "{}",
        "\ud800",
        '{"detail": 5}',
        '{"detail": {}}',
        '{"detail-type": ["Object Created"], "detail": {}}',
        "[" * 100_000,
        '{"detail-type": "Fashion Model Requested", "detail": {"x": '
        + "[" * 900
        + "]" * 900
        + "}}",
        '{"detail": {}, "n": ' + "9" * 5_000 + "}",
        '{"detail": {}, "n": NaN}',
    ],
)
def test_rubbish_is_a_broken_event(body: str) -> None:
    """A text that is no event is a BrokenEvent."""
    broken(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["key", "url", "bucket", "name", "object", "modelId", "etag"])
            | st.text(max_size=6),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.text(max_size=80))
def test_no_text_breaks_reading(body: str) -> None:
    """No text on the queue raises."""
    broken(body)


@given(
    event=st.fixed_dictionaries(
        {"detail": JSON | st.dictionaries(st.sampled_from(
            ["photo", "variants", "mask", "sku", "requestId", "object", "bucket"]), JSON)},
        optional={
            "id": JSON,
            "detail-type": st.sampled_from(["Object Created", "Fashion Model Requested"]) | JSON,
        },
    )
)  # fmt: skip
def test_no_event_breaks_reading(event: dict[str, Any]) -> None:
    """No event raises an exception, and a broken one's fields fit into a record."""
    incoming = read(event)
    assert isinstance(incoming, PhotoDropped | ModelRequested | NotAPhoto | BrokenEvent)
    if isinstance(incoming, BrokenEvent):
        kept = (incoming.request_id, incoming.trigger, incoming.error.message)
        assert all(text and text.encode() for text in kept)


# --- URLs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "source_key"),
    [
        ("https://cdn.example.com/a/b.jpg", "url/cdn.example.com/a/b.jpg"),
        ("https://cdn.example.com/a/b.jpg?sig=1#x", "url/cdn.example.com/a/b.jpg"),
        ("https://CDN.example.com:8443//a.jpg", "url/cdn.example.com/a.jpg"),
        ("https://cdn.example.com", "url/cdn.example.com"),
        ("https://8.8.8.8/a.jpg", "url/8.8.8.8/a.jpg"),
        ("https://my_shop.cdn.example.com./a.jpg", "url/my_shop.cdn.example.com./a.jpg"),
        ("https://b\u00fccher.example/a.jpg", "url/b\u00fccher.example/a.jpg"),
        ("https://xn--bcher-kva.xn--p1ai/a.jpg", "url/xn--bcher-kva.xn--p1ai/a.jpg"),
        ("https://[2606:4700::1]/a.jpg", "url/2606:4700::1/a.jpg"),
        ("https://open.vmake.ai/a.jpg", "url/open.vmake.ai/a.jpg"),
    ],
)
def test_public_url_is_taken(url: str, source_key: str) -> None:
    """A public https URL is accepted; its source_key has host and path."""
    photo = request_of(photo={"url": url}).photo
    assert (photo.url, photo.source_key) == (url, source_key)


def test_source_key_of_a_long_url_fits_the_index() -> None:
    """The source_key of a long URL is not longer than an S3 key."""
    photo = request_of(photo={"url": f"https://cdn.example.com/{'ü' * 3_000}.jpg"}).photo
    assert 1000 < len(photo.source_key.encode()) <= 1024


@pytest.mark.parametrize(
    "url",
    [
        "",
        " ",
        "cdn.example.com/a.jpg",
        "//cdn.example.com/a.jpg",
        "http://cdn.example.com/a.jpg",
        "ftp://cdn.example.com/a.jpg",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "https://",
        "https:///a.jpg",
        "https://user@cdn.example.com/a.jpg",
        "https://user:pw@cdn.example.com/a.jpg",
        "https://open.vmake.ai@evil.example/a.jpg",
        "https://cdn.example.com/a b.jpg",
        "https://cdn.example.com/a\n.jpg",
        "https://cdn.example.com:port/a.jpg",
        "https://cdn.example.com:99999/a.jpg",
        "https://[::1/a.jpg",
        f"https://cdn.example.com/{'x' * 9_000}",
        # Spellings of this machine and of private networks.
        "https://localhost/a.jpg",
        "https://LOCALHOST./a.jpg",
        "https://a.localhost/a.jpg",
        "https://printer.local/a.jpg",
        "https://metadata.google.internal/a",
        "https://intranet/a.jpg",
        "https://127.0.0.1/a.jpg",
        "https://127.0.0.1./a.jpg",
        "https://127.1/a.jpg",
        "https://0177.0.0.1/a.jpg",
        "https://0x7f.1/a.jpg",
        "https://0x7F000001/a.jpg",
        "https://2130706433/a.jpg",
        "https://\uff11\uff12\uff17.0.0.1/a.jpg",
        "https://127\u30020\u30020\u30021/a.jpg",
        "https://0.0.0.0/a.jpg",
        "https://10.0.0.1/a.jpg",
        "https://172.16.0.1/a.jpg",
        "https://192.168.1.1/a.jpg",
        "https://100.64.0.1/a.jpg",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/a.jpg",
        "https://[::]/a.jpg",
        "https://[::ffff:127.0.0.1]/a.jpg",
        "https://[fe80::1]/a.jpg",
        "https://[fd00::1]/a.jpg",
        "https://[fe80::1%25lo]/a.jpg",
        "https://[2606:4700::1%25lo]/a.jpg",
        "https://[64:ff9b::7f00:1]/a.jpg",
        "https://[2002:7f00:1::]/a.jpg",
        "https://[::127.0.0.1]/a.jpg",
        "https://[ff02::1]/a.jpg",
        "https://224.0.0.1/a.jpg",
        # Names that some clients read as others than they look.
        "https://printer.\u24dbocal/a.jpg",
        "https://metadata.google\u3002internal/a.jpg",
        "https://printer.%6cocal/a.jpg",
        "https://localhost\\.example.com/a.jpg",
        "https://localhost;.example.com/a.jpg",
        "https://cdn..example.com/a.jpg",
        "https://.example.com/a.jpg",
        f"https://{'a' * 64}.example.com/a.jpg",
        f"https://{'a.' * 2_000}example.com/a.jpg",
    ],
)
def test_private_or_plain_url_is_refused(url: str) -> None:
    """A URL that is not https, or whose host is not public in any spelling, is refused."""
    broken_request(photo={"url": url})


def test_refused_url_is_shown_without_its_signature() -> None:
    """The error about a URL leaves out its query, which may have a signature."""
    message = broken_request(photo={"url": "http://x.example/a.jpg?sig=secret"}).error.message
    assert "secret" not in message


def test_vendors_own_origin_may_be_plain() -> None:
    """URLs of the vendor's own origin may be http, as on the laptop."""
    url = "http://127.0.0.1:9000/a.jpg"
    event = requested({"photo": {"url": url}, "variants": [VARIANT]})
    incoming = read(event, vendor="http://127.0.0.1:9000")
    assert isinstance(incoming, ModelRequested)
    assert isinstance(read(event, vendor="http://127.0.0.1:9001"), BrokenEvent)
