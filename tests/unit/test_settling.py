"""The first minutes of a photos bucket, in which S3 may answer 404 for existing objects."""

from dataclasses import replace
from typing import Any, cast

import pytest

from shared.config import SETTLING_SECONDS
from shared.limits.settling import REASON, Settling, first_used
from shared.models import ErrorCode, JobStatus
from shared.steps.submit import Handled, Later
from tests.factories import PHOTOS, TABLE, VARIANT, Aws, Clock, NewBucket, jpeg, png, requested
from tests.unit.test_submit import Stage

FIRST = Later(SETTLING_SECONDS, REASON)


@pytest.fixture
def stage(aws: Aws, clock: Clock) -> Stage:
    """Set the stage with a bucket that was made just now."""
    hiding = replace(aws, s3=cast(Any, NewBucket(aws.s3, clock)))
    return Stage(hiding, clock, settling_seconds=SETTLING_SECONDS)


def kinds(stage: Stage) -> set[str]:
    """Return the kinds of items in JobsTable."""
    return {item["pk"]["S"].partition("#")[0] for item in stage.aws.records()}


def test_photo_waits_and_gets_its_folders_settings(stage: Stage) -> None:
    """A 404 of photo or catwalk.json decides nothing; later one task has the right settings."""
    stage.aws.s3.put_object(Bucket=PHOTOS, Key="a/catwalk.json", Body=b'{"modelId": "044"}')
    assert stage.drop() == FIRST
    assert (kinds(stage), stage.vendor.bodies) == ({"CONTROL"}, [])
    stage.clock.advance(SETTLING_SECONDS - 1)
    assert stage.take(stage.sent[0]) == Later(1, REASON)
    stage.clock.advance(1)
    assert stage.take(stage.sent[0]) == Handled()
    job = stage.job()
    assert (job.status, stage.vendor.tasks) == (JobStatus.RUNNING, 1)
    assert job.settings is not None
    assert job.settings.model_id == "044"


def test_mask_that_is_not_found_yet_is_used(stage: Stage) -> None:
    """A mask beside the photo is part of its task."""
    stage.aws.s3.put_object(Bucket=PHOTOS, Key="a/dress.mask.png", Body=png())
    assert stage.drop() == FIRST
    stage.clock.advance(SETTLING_SECONDS)
    assert stage.take(stage.sent[0]) == Handled()
    assert stage.job().mask is not None


@pytest.mark.parametrize(
    "detail",
    [
        {"photo": {"key": "a/dress.jpg"}},
        {"photo": {"url": "https://cdn.example.com/a.jpg"}, "mask": {"key": "a/dress.mask.png"}},
    ],
)
def test_request_for_an_object_waits(stage: Stage, detail: dict[str, Any]) -> None:
    """A request that names an object, as its photo or its mask, is no `photo_missing`."""
    stage.aws.s3.put_object(Bucket=PHOTOS, Key="a/dress.jpg", Body=jpeg())
    stage.aws.s3.put_object(Bucket=PHOTOS, Key="a/dress.mask.png", Body=png())
    event = requested({**detail, "requestId": "r-1", "variants": [VARIANT]})
    assert stage.take(event) == FIRST
    stage.clock.advance(SETTLING_SECONDS)
    assert stage.take(event) == Handled()
    assert stage.job().status is JobStatus.RUNNING


def test_request_for_a_url_goes_at_once(stage: Stage) -> None:
    """A request without objects of the bucket does not wait."""
    url = {"url": "https://cdn.example.com/a.jpg"}
    assert stage.take(requested({"photo": url, "variants": [VARIANT]})) == Handled()
    assert stage.job().status is JobStatus.RUNNING


def test_photo_that_is_really_missing_is_rejected_then(stage: Stage) -> None:
    """After the wait a 404 is final."""
    event = stage.aws.drop("a/dress.jpg", jpeg())
    (version,) = stage.aws.s3.list_object_versions(Bucket=PHOTOS)["Versions"]
    stage.aws.s3.delete_object(Bucket=PHOTOS, Key="a/dress.jpg", VersionId=version["VersionId"])
    assert stage.take(event) == FIRST
    stage.clock.advance(SETTLING_SECONDS)
    assert stage.take(event) == Handled()
    assert stage.error() is ErrorCode.PHOTO_MISSING


def test_job_that_waits_while_the_stack_is_updated(aws: Aws, clock: Clock) -> None:
    """A job of before an update that enables versioning is not rejected by a 404 after it."""
    stage = Stage(aws, clock)
    stage.aws.secrets.put_secret_value(SecretId=aws.secret_arn, SecretString=" ")
    waits = stage.drop()
    assert isinstance(waits, Later)
    stage.aws.secrets.put_secret_value(SecretId=aws.secret_arn, SecretString="sk-1")
    stage.clock.advance(waits.seconds)
    stage.aws = replace(aws, s3=cast(Any, NewBucket(aws.s3, clock)))
    stage.set(settling_seconds=SETTLING_SECONDS)
    later = stage.take(stage.sent[0])
    assert isinstance(later, Later)
    assert later.reason == REASON
    waiting = stage.job().waiting
    assert waiting is not None
    assert (stage.job().status, waiting.reason) == (JobStatus.ACCEPTED, REASON)
    stage.clock.advance(SETTLING_SECONDS)
    assert stage.take(stage.sent[0]) == Handled()
    assert (stage.job().status, stage.vendor.tasks) == (JobStatus.RUNNING, 1)


# --- the moment it counts from -------------------------------------------------------------------


def settling(aws: Aws, clock: Clock, bucket: str = PHOTOS, seconds: float = 960) -> Settling:
    """Return what a process of a function asks."""
    return Settling(aws.dynamodb, TABLE, bucket, seconds=seconds, now=clock)


def test_first_moment_counts_in_every_process(table: Aws, clock: Clock) -> None:
    """A cold start, or an update of the stack, later on does not begin anew."""
    assert settling(table, clock).seconds_left() == 960
    clock.advance(600)
    assert settling(table, clock).seconds_left() == 360
    clock.advance(86_400)
    assert settling(table, clock).seconds_left() == 0


def test_another_bucket_settles_by_itself(table: Aws, clock: Clock) -> None:
    """A bucket that replaces another is new."""
    settling(table, clock).seconds_left()
    clock.advance(3_600)
    assert settling(table, clock, "photos-2").seconds_left() == 960


def test_two_at_once_count_from_the_first(table: Aws, clock: Clock) -> None:
    """An invocation that found no moment takes the one that another stored meanwhile."""
    slow, get_item = settling(table, clock), table.dynamodb.get_item

    def meanwhile(**asked: Any) -> Any:
        found = get_item(**asked)
        with pytest.MonkeyPatch.context() as back:
            back.setattr(table.dynamodb, "get_item", get_item)
            settling(table, clock).seconds_left()
        clock.advance(10)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table.dynamodb, "get_item", meanwhile)
        assert slow.seconds_left() == 950


def test_warm_function_asks_the_table_once(table: Aws, clock: Clock) -> None:
    """A photo costs no read of it, while the bucket settles and afterwards."""
    settling(table, clock).seconds_left()
    made = settling(table, clock)
    assert made.seconds_left() == 960
    table.dynamodb.delete_item(TableName=TABLE, Key={"pk": {"S": f"CONTROL#bucket#{PHOTOS}"}})
    clock.advance(900)
    assert made.seconds_left() == 60
    clock.advance(900)
    assert made.seconds_left() == 0


def test_local_aws_is_ready_at_once(table: Aws, clock: Clock) -> None:
    """Without a wait, nothing is written."""
    assert settling(table, clock, seconds=0).seconds_left() == 0
    assert first_used(table.dynamodb, TABLE, PHOTOS) is None
    assert table.records() == []
