"""Changes of the bucket while a photo waits leave no job without an end."""

import json

import pytest

from tests.factories import KEY, PHOTOS, jpeg
from tests.integration.conftest import World


@pytest.mark.parametrize("what", ["deleted", "replaced_unversioned", "folder_file_changed"])
def test_no_job_is_left_behind(world: World, what: str) -> None:
    """A waiting job is REJECTED if its photo is deleted, and continues if anything is changed."""
    world.aws.secrets.put_secret_value(SecretId=world.aws.secret_arn, SecretString="wrong-key")
    event = world.aws.drop("a/dress.jpg", jpeg())
    if what == "replaced_unversioned":
        del event["detail"]["object"]["version-id"]
    assert world.submit(json.dumps(event)) == []
    (waiting,) = world.jobs()
    if what == "deleted":
        assert waiting.photo is not None
        assert waiting.photo.version_id is not None
        world.aws.s3.delete_object(
            Bucket=PHOTOS, Key="a/dress.jpg", VersionId=waiting.photo.version_id
        )
    elif what == "replaced_unversioned":
        world.aws.drop("a/dress.jpg", jpeg(fill=1))
    else:
        world.aws.drop("a/catwalk.json", b'{"modelId": "003"}')
    world.aws.secrets.put_secret_value(SecretId=world.aws.secret_arn, SecretString=KEY)
    world.sleep(1_000)
    for body, _ in world.queued():
        world.deliver(body)
    (now,) = world.jobs()
    assert now.job_id == waiting.job_id
    assert now.status == ("REJECTED" if what == "deleted" else "RUNNING")
    assert world.vendor.charges().total == (0 if what == "deleted" else 1)
