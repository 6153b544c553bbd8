"""What is no photo gets a record that says so, or is not meant to be one."""

import pytest

from tests.e2e.driver import Catwalk, mask, photo, sha256

BAD_FILES = [
    ("empty.jpg", b"", "empty_file"),
    ("notes.txt", b"These are the sizes.", "unsupported_format"),
    ("photo.webp", b"RIFF\x24\x00\x00\x00WEBPVP8 ", "unsupported_format"),
    ("renamed.jpg", b"this is no image", "corrupt_image"),
    ("cut-off.png", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIH", "corrupt_image"),
    ("huge.jpg", b"\xff\xd8\xff" + bytes(20 * 1024 * 1024), "too_large"),
]


@pytest.mark.parametrize(("name", "body", "code"), BAD_FILES, ids=[bad[0] for bad in BAD_FILES])
def test_a_bad_file(catwalk: Catwalk, name: str, body: bytes, code: str) -> None:
    """It is REJECTED with its code and a sentence, is told of, and the vendor never hears of it."""
    key = f"bad/{name}"
    catwalk.drop(key, body)
    record = catwalk.end_of(key, "REJECTED")
    assert record["error"]["code"] == code
    assert name in record["error"]["message"]
    assert record["credits"] == 0
    assert "task_id" not in record
    event = catwalk.event(record["job_id"], "Job Rejected")
    assert event["detail"]["error"] == record["error"]
    assert catwalk.charges(body) == 0
    assert catwalk.tasks(body) == []


BAD_SETTINGS = [
    ("unknown-scene", {"scene-type": "beach"}, "beach"),
    ("five-images", {"batch-size": "5"}, "5"),
    ("colourless", {"scene-type": "color"}, "color"),
    ("sceneless", {"scene-type": "preset"}, "sceneId"),
    ("broken-extra", {"extra": "{"}, "extra"),
]


@pytest.mark.parametrize(
    ("name", "metadata", "said"), BAD_SETTINGS, ids=[bad[0] for bad in BAD_SETTINGS]
)
def test_settings_that_cannot_be_used(
    catwalk: Catwalk, name: str, metadata: dict[str, str], said: str
) -> None:
    """A bad value is named, and costs nothing."""
    body = photo()
    catwalk.drop(f"bad-settings/{name}.jpg", body, metadata)
    record = catwalk.end_of(f"bad-settings/{name}.jpg", "REJECTED")
    assert record["error"]["code"] == "bad_settings"
    assert said in record["error"]["message"]
    assert catwalk.charges(body) == 0


def test_a_folder_file_with_a_mistake_rejects_its_photos(catwalk: Catwalk) -> None:
    """A typing error in a catwalk.json costs nothing: the photos below it say what is wrong."""
    catwalk.drop("bad-folder/catwalk.json", b'{"modelID": "003"}')
    catwalk.drop("bad-folder/dress.jpg", photo())
    error = catwalk.end_of("bad-folder/dress.jpg", "REJECTED")["error"]
    assert error["code"] == "bad_settings"
    assert "modelId" in error["message"]


def test_a_mask_of_another_size(catwalk: Catwalk) -> None:
    """The vendor would refuse it, so it is not asked."""
    catwalk.drop("bad-mask/dress.mask.png", mask((100, 100)))
    body = photo()
    catwalk.drop("bad-mask/dress.jpg", body)
    record = catwalk.end_of("bad-mask/dress.jpg", "REJECTED")
    assert record["error"]["code"] == "mask_mismatch"
    assert catwalk.charges(body) == 0


def test_what_is_not_meant_to_be_a_photo(catwalk: Catwalk) -> None:
    """Folder files, masks, folder markers and dotfiles make no records."""
    quiet = ["quiet/catwalk.json", "quiet/x.mask.png", "quiet/", "quiet/.DS_Store"]
    for key in quiet:
        catwalk.drop(key, b"{}")
    catwalk.drop("quiet/after.txt", b"the last one")
    catwalk.end_of("quiet/after.txt", "REJECTED")
    catwalk.idle()
    assert [key for key in quiet if catwalk.records(key)] == []


def test_a_photo_that_was_deleted_at_once(catwalk: Catwalk) -> None:
    """No credit is spent on a photo that is gone."""
    catwalk.send_drop("gone/dress.jpg", etag="d41d8cd98f00b204e9800998ecf8427e")
    record = catwalk.end_of("gone/dress.jpg", "REJECTED")
    assert record["error"]["code"] == "photo_missing"


def test_a_bad_file_mended_and_dropped_again(catwalk: Catwalk) -> None:
    """The mended file is a job of its own, beside the rejected one."""
    catwalk.drop("mended/dress.jpg", b"oops", {"batch-size": "1"})
    catwalk.end_of("mended/dress.jpg", "REJECTED")
    body = photo()
    catwalk.drop("mended/dress.jpg", body, {"batch-size": "1"})
    records = catwalk.ended("mended/dress.jpg", 2)
    assert sorted(record["status"] for record in records) == ["REJECTED", "SUCCEEDED"]
    assert catwalk.vendor.charges().by_sha256[sha256(body)] == 1
