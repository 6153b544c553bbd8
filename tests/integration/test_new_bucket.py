"""The first 15 minutes of a bucket, in which S3 may answer 404 for existing objects."""

import json
from collections.abc import Callable

import pytest

from shared import clients, clock
from tests.factories import PHOTOS, NewBucket, jpeg, png, requested
from tests.integration.conftest import World


@pytest.fixture
def world(deploy: Callable[..., World], monkeypatch: pytest.MonkeyPatch) -> World:
    """Deploy a stack with a new bucket."""
    made = deploy(SETTLING_SECONDS="960")
    hiding = NewBucket(made.aws.s3, clock.utc_now)
    monkeypatch.setattr(clients, "s3", lambda: hiding)
    return made


def test_first_photo_gets_what_its_folder_says(world: World) -> None:
    """The photo is neither decided nor sent before the time is over; then it becomes one task."""
    world.aws.s3.put_object(Bucket=PHOTOS, Key="a/catwalk.json", Body=b'{"modelId": "044"}')
    world.aws.s3.put_object(Bucket=PHOTOS, Key="a/dress.mask.png", Body=png())
    event = world.aws.drop("a/dress.jpg", jpeg())
    assert world.submit(json.dumps(event)) == []
    assert (world.jobs(), world.vendor.charges().total) == ([], 0)
    ((message, seconds),) = world.queued()
    assert (json.loads(message), seconds) == (event, 900)  # as long as SQS delays a message
    world.sleep(seconds)
    world.deliver(message)
    job = world.finish()
    assert (job.status, job.attempt, world.charges()) == ("SUCCEEDED", 1, 1)
    assert job.settings is not None
    assert (job.settings.model_id, job.settings.mask) == ("044", "a/dress.mask.png")
    assert world.dead == []


def test_request_of_a_backend_is_not_refused(world: World) -> None:
    """A request whose photo S3 does not find yet is not rejected as `photo_missing`."""
    world.aws.s3.put_object(Bucket=PHOTOS, Key="a/dress.jpg", Body=jpeg())
    detail = {
        "requestId": "r-1",
        "photo": {"key": "a/dress.jpg"},
        "variants": [{"modelId": "002", "sceneType": "original"}],
    }
    world.deliver(requested(detail))
    assert world.finish().status == "SUCCEEDED"


def test_first_photos_event_that_was_lost(world: World) -> None:
    """A photo whose event was lost is found by a reconcile by hand, and waits like the others."""
    world.aws.drop("a/dress.jpg", jpeg())
    world.sleep(60)
    assert world.invoke("reconcile", {"still_seconds": 0}) == {"photos": 1}
    ((message, _),) = world.queued()
    assert world.submit(message) == []
    ((message, seconds),) = world.queued()
    assert world.jobs() == []
    world.sleep(seconds)
    world.deliver(message)
    assert world.finish().status == "SUCCEEDED"
    assert world.charges() == 1
