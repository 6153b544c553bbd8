"""Dropped photos, their settings and their images."""

import io
import json
from typing import Any

import pytest
from PIL import Image

from tests.e2e.driver import PHOTO_SIZE, Catwalk, mask, photo, sha256


def checked_images(catwalk: Catwalk, record: dict[str, Any], count: int) -> None:
    """Check that a record's results exist and match the record."""
    assert [result["index"] for result in record["results"]] == list(range(1, count + 1))
    for result in record["results"]:
        data, answer = catwalk.object(result["bucket"], result["key"])
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            assert (image.width, image.height) == (result["width"], result["height"])
            media_type = f"image/{image.format}".lower()
        assert answer["ContentType"] == result["content_type"] == media_type
        assert len(data) == result["bytes"]
        assert sha256(data) == result["sha256"]
        assert answer["Metadata"]["job-id"] == record["job_id"]
        assert answer["Metadata"]["source-key"] == record["source_key"]


def test_a_dropped_photo_comes_back(catwalk: Catwalk) -> None:
    """A photo without settings gets the stack's defaults, for one credit."""
    body = photo()
    catwalk.drop("plain/dress.jpg", body, {"sku": "DR-1001"})
    record = catwalk.end_of("plain/dress.jpg")
    assert record["settings"] == {
        "model_id": "002",
        "scene_type": "original",
        "batch_size": 2,
        "extra": {},
    }
    assert record["sku"] == "DR-1001"
    assert (record["attempt"], record["credits"], record["progress"]) == (1, 1, 100)
    assert record["photo"]["bytes"] == len(body)
    assert (record["photo"]["width"], record["photo"]["height"]) == PHOTO_SIZE
    assert record["photo"]["content_type"] == "image/jpeg"
    assert "error" not in record
    checked_images(catwalk, record, 2)
    for number, result in enumerate(record["results"], start=1):
        assert result["bucket"] == catwalk.stack.output("ResultsBucketName")
        job_id = record["job_id"]
        assert result["key"] == f"plain/dress/002-original/{job_id}-{number}.jpg"
        assert catwalk.object(result["bucket"], result["key"])[1]["Metadata"]["sku"] == "DR-1001"
    assert catwalk.charges(body) == 1
    # What Step Functions bills: Wait, Poll, Decide for each poll; Finalize, Decide, JobDone.
    assert len(catwalk.states_entered(record)) == 3 * record["polls"] + 3


def test_events_tell_of_a_job(catwalk: Catwalk) -> None:
    """The events Job Submitted and Job Succeeded have the record as their detail."""
    catwalk.drop("told/dress.jpg", photo(), {"sku": "DR-1002", "batch-size": "1"})
    record = catwalk.end_of("told/dress.jpg")
    succeeded = catwalk.event(record["job_id"], "Job Succeeded")
    assert succeeded["source"] == "catwalk"
    detail = succeeded["detail"]
    assert detail["schemaVersion"] == "1"
    for name in ("job_id", "source_key", "sku", "status", "task_id", "created_at", "finished_at"):
        first, *rest = name.split("_")
        assert detail[first + "".join(map(str.title, rest))] == record[name]
    assert detail["settings"]["modelId"] == "002"
    assert detail["results"][0]["contentType"] == record["results"][0]["content_type"]
    submitted = catwalk.event(record["job_id"], "Job Submitted")["detail"]
    assert submitted["status"] == "RUNNING"
    assert submitted["taskId"] == record["task_id"]


@pytest.mark.parametrize(
    ("scene", "extension", "metadata"),
    [
        ("original", "jpg", {"scene-type": "original"}),
        ("none", "png", {"scene-type": "none"}),
        ("preset-035", "jpg", {"scene-type": "preset", "scene-id": "035"}),
        ("color-ff8800", "jpg", {"scene-type": "color", "color": "#FF8800"}),
    ],
)
def test_every_scene_type(
    catwalk: Catwalk, scene: str, extension: str, metadata: dict[str, str]
) -> None:
    """The vendor gets each scene type as requested, and the results' keys name it."""
    key, body = f"scenes/{scene}.jpg", photo()
    catwalk.drop(key, body, {**metadata, "model-id": "044", "batch-size": "1"})
    record = catwalk.end_of(key)
    checked_images(catwalk, record, 1)
    expected = f"scenes/{scene}/044-{scene}/{record['job_id']}-1.{extension}"
    assert record["results"][0]["key"] == expected
    (task,) = catwalk.tasks(body)
    assert task["request"]["sceneType"] == metadata["scene-type"]
    assert task["request"]["modelId"] == "044"
    assert task["request"].get("sceneId") == metadata.get("scene-id")


def test_a_folder_has_settings_of_its_own(catwalk: Catwalk) -> None:
    """A catwalk.json applies its variants to every photo below it, and is no photo itself."""
    settings = {
        "modelId": "003",
        "batchSize": 1,
        "sku": "SET-7",
        "variants": [{"sceneType": "none"}, {"sceneType": "preset", "sceneId": "033"}],
    }
    catwalk.drop("folder/catwalk.json", json.dumps(settings).encode())
    catwalk.drop("folder/below/dress.jpg", photo())
    records = catwalk.ended("folder/below/dress.jpg", 2)
    assert {record["status"] for record in records} == {"SUCCEEDED"}
    assert {record["settings"]["model_id"] for record in records} == {"003"}
    assert {record["settings"]["scene_type"] for record in records} == {"none", "preset"}
    assert {record["sku"] for record in records} == {"SET-7"}
    assert catwalk.records("folder/catwalk.json") == []


def test_a_photos_own_settings_come_first(catwalk: Catwalk) -> None:
    """A photo's metadata overrides its folder's file."""
    catwalk.drop("first/catwalk.json", b'{"modelId": "003", "batchSize": 1}')
    catwalk.drop("first/dress.jpg", photo(), {"model-id": "004"})
    settings = catwalk.end_of("first/dress.jpg")["settings"]
    assert (settings["model_id"], settings["batch_size"]) == ("004", 1)


def test_a_mask_beside_the_photo_is_used(catwalk: Catwalk) -> None:
    """A name.mask.png beside name.jpg is sent as its mask, and has no record."""
    body, cut = photo(), mask()
    catwalk.drop("masked/dress.mask.png", cut)
    catwalk.drop("masked/dress.jpg", body, {"batch-size": "1"})
    record = catwalk.end_of("masked/dress.jpg")
    assert record["settings"]["mask"] == "masked/dress.mask.png"
    (task,) = catwalk.tasks(body)
    assert task["mask"]["sha256"] == sha256(cut)
    assert catwalk.records("masked/dress.mask.png") == []


def test_an_unknown_vendor_field_is_passed_on(catwalk: Catwalk) -> None:
    """The vendor's request has the fields of the metadata `extra` unchanged."""
    body = photo()
    catwalk.drop("extra/dress.jpg", body, {"extra": '{"expression": "smile"}', "batch-size": "1"})
    assert catwalk.end_of("extra/dress.jpg")["settings"]["extra"] == {"expression": "smile"}
    (task,) = catwalk.tasks(body)
    assert task["request"]["expression"] == "smile"


def test_a_png_works_like_a_jpeg(catwalk: Catwalk) -> None:
    """A PNG is a photo, too."""
    catwalk.drop("kinds/dress.png", photo("PNG"), {"batch-size": "1"})
    assert catwalk.end_of("kinds/dress.png")["photo"]["content_type"] == "image/png"
