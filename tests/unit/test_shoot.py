"""Shooting again makes a new job of the same photo, once for each form."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cli.jobs.shoot import Shooter, fields_of, new_nonce, once_each, siblings
from shared.intake.messages import ModelRequested, PhotoRef, parse
from shared.intake.photos import PhotoStore
from shared.intake.settings import FIELDS, Layer, resolve
from shared.models import Job, Photo, SceneType, Settings
from shared.records.jobs import JobRepository, NewJob
from tests.factories import PHOTOS, TABLE, VENDOR, Aws, Clock, jpeg, png

KEY = "summer/dress.jpg"
MIA: dict[str, Any] = {"modelId": "004"}


@pytest.fixture
def jobs(aws: Aws, clock: Clock) -> JobRepository:
    """Return a repository of JobsTable."""
    return JobRepository(aws.dynamodb, TABLE, now=clock)


def new_shooter(aws: Aws, jobs: JobRepository, clock: Clock) -> Shooter:
    """Return a Shooter for one form."""
    return Shooter(
        jobs=jobs,
        photos=PhotoStore(aws.s3, PHOTOS, max_bytes=1_000_000),
        sqs=aws.sqs,
        queue_url=aws.queue_url,
        photos_bucket=PHOTOS,
        now=clock,
    )


@pytest.fixture
def shooter(aws: Aws, jobs: JobRepository, clock: Clock) -> Shooter:
    """Return a Shooter."""
    return new_shooter(aws, jobs, clock)


def stored(aws: Aws, body: bytes, key: str = KEY) -> Photo:
    """Put a photo into the bucket."""
    put = aws.s3.put_object(Bucket=PHOTOS, Key=key, Body=body)
    return Photo(bucket=PHOTOS, key=key, etag=put["ETag"].strip('"'), version_id=put["VersionId"])


@pytest.fixture
def make(aws: Aws, jobs: JobRepository) -> Callable[..., Job]:
    """Make a job of a photo that is in the bucket."""

    def made(job_id: str = "j", **changes: Any) -> Job:
        settings = Settings(
            model_id="002", scene_type=SceneType.COLOR, color="#ff0000", batch_size=2
        )
        new = NewJob(
            job_id, stored(aws, jpeg()), KEY, settings, trigger=f"drop-{job_id}", sku="S-1"
        )
        return jobs.claim(replace(new, **changes))

    return made


def sent(aws: Aws) -> list[ModelRequested]:
    """Return the requests that were sent, as SubmitFunction reads them."""
    read = [
        parse(body, message_id="m", photos_bucket=PHOTOS, vendor_origin=VENDOR)
        for body in aws.take(aws.queue_url)
    ]
    assert all(isinstance(each, ModelRequested) for each in read), read
    return [each for each in read if isinstance(each, ModelRequested)]


def test_only_what_was_chosen_changes(shooter: Shooter, make: Callable[..., Job], aws: Aws) -> None:
    """Another model leaves the background, the number of images and the SKU as they were."""
    shot = shooter.quote(make(), MIA)
    assert (shot.refusal, shot.credits) == (None, 1)
    request_id = shooter.shoot(shot, nonce=new_nonce())
    (request,) = sent(aws)
    assert request.photo == PhotoRef(key=KEY)
    assert request.variants == (
        {"modelId": "004", "sceneType": "color", "color": "#ff0000", "batchSize": 2, "extra": {}},
    )
    assert (request.sku, request.mask, request.request_id) == ("S-1", None, request_id)


def test_a_scene_replaces_the_colour(shooter: Shooter, make: Callable[..., Job]) -> None:
    """A new background does not keep the value that went with the old one."""
    shot = shooter.quote(make(), {"sceneType": "preset", "sceneId": "035"})
    assert shot.settings is not None
    assert (shot.settings.scene, shot.settings.color) == ("preset-035", None)
    own = shooter.quote(make(), {"sceneType": "original"})
    assert own.settings is not None
    assert own.settings.color is None


def test_the_same_state_is_the_same_request(
    shooter: Shooter, make: Callable[..., Job], aws: Aws, jobs: JobRepository, clock: Clock
) -> None:
    """Whoever sees the same jobs of a photo sends the same request, until there is one more."""
    job, other = make(), make("other")
    nonce = shooter.nonce_of(shooter.quote(job, MIA))
    for each in (job, other):
        again = new_shooter(aws, jobs, clock)
        shot = again.quote(each, MIA)
        again.shoot(shot, nonce=again.nonce_of(shot))
        assert again.sent(shot, nonce) is None
    first, second = sent(aws)
    assert first.request_id == second.request_id == f"shoot-{nonce}"
    assert first.trigger != second.trigger
    assert shooter.nonce_of(shooter.quote(job, {"modelId": "003"})) != nonce
    assert job.settings is not None
    mia = job.settings.model_copy(update={"model_id": "004"})
    mias = make("m", settings=mia, request_id=first.request_id)
    later = new_shooter(aws, jobs, clock)
    shot = later.quote(job, MIA)
    assert later.nonce_of(shot) != nonce
    assert later.sent(shot, nonce) == mias
    assert later.sent(shot, later.nonce_of(shot)) is None


def test_mask_and_extra_are_part_of_the_request(
    shooter: Shooter, make: Callable[..., Job], aws: Aws
) -> None:
    """Two jobs of a photo with different masks, extras or SKUs do not pass for each other."""
    aws.s3.put_object(Bucket=PHOTOS, Key="summer/dress.mask.png", Body=png())
    settings = Settings(model_id="002", scene_type=SceneType.NONE, batch_size=1)
    changed: tuple[dict[str, Any], ...] = (
        {},
        {"mask": "summer/dress.mask.png"},
        {"mask": "https://shop.example/mask.png"},
        {"extra": {"seed": 7}},
    )
    made = [
        make(f"j{number}", settings=settings.model_copy(update=change))
        for number, change in enumerate(changed)
    ]
    made.append(make("sku", settings=settings, sku="S-2"))
    nonces = [shooter.nonce_of(shooter.quote(job, MIA)) for job in made]
    assert len(set(nonces)) == len(made)


def test_the_order_of_extras_makes_no_second_shot(
    shooter: Shooter, make: Callable[..., Job]
) -> None:
    """Two jobs of a photo whose extras differ in their order alone are one shot, at one price."""
    extras: tuple[dict[str, Any], ...] = (
        {"seed": 7, "pose": {"a": 1, "b": 2}},
        {"pose": {"b": 2, "a": 1}, "seed": 7},
    )
    settings = Settings(model_id="002", scene_type=SceneType.NONE, batch_size=1)
    made = [
        make(f"j{number}", settings=settings.model_copy(update={"extra": extra}))
        for number, extra in enumerate(extras)
    ]
    shots = shooter.quote_all(made, MIA)
    assert len({shooter.nonce_of(shot) for shot in shots}) == 1
    assert [shot.job.job_id for shot in once_each(shots)] == ["j0"]


def test_a_photo_that_comes_back_is_shot(
    shooter: Shooter, make: Callable[..., Job], aws: Aws, jobs: JobRepository, clock: Clock
) -> None:
    """A shot that was made of a replacement does not stand for one of the photo itself."""
    job = make()
    shot = shooter.quote(job, MIA)
    nonce = shooter.nonce_of(shot)
    replacement = stored(aws, jpeg(fill=9))
    request_id = shooter.shoot(shot, nonce=nonce)
    make("m", photo=replacement, settings=shot.settings, request_id=request_id)
    assert stored(aws, jpeg()).etag == (job.photo and job.photo.etag)
    later = new_shooter(aws, jobs, clock)
    again = later.quote(job, MIA)
    assert again.refusal is None
    assert again.already is None
    assert later.nonce_of(again) != nonce
    assert later.sent(again, nonce) is None


def test_a_photo_by_url_is_one_request(
    shooter: Shooter, make: Callable[..., Job], aws: Aws
) -> None:
    """A photo that lies elsewhere is known by its address."""
    photo = Photo(url="https://shop.example/a.jpg")
    first, second = (make(name, photo=photo, source_key="url/a") for name in ("a", "b"))
    for job in (first, second):
        shot = shooter.quote(job, MIA)
        shooter.shoot(shot, nonce=shooter.nonce_of(shot))
    one, other = sent(aws)
    assert one.request_id == other.request_id


def test_mask_and_url_stay(shooter: Shooter, make: Callable[..., Job], aws: Aws) -> None:
    """A photo by URL and its mask are asked for by their URLs again."""
    settings = Settings(
        model_id="002",
        scene_type=SceneType.NONE,
        batch_size=1,
        mask="https://shop.example/mask.png",
    )
    job = make(
        photo=Photo(url="https://shop.example/a.jpg"),
        source_key="url/a",
        settings=settings,
        sku=None,
    )
    shooter.shoot(shooter.quote(job, MIA), nonce=new_nonce())
    (request,) = sent(aws)
    assert request.photo == PhotoRef(url="https://shop.example/a.jpg")
    assert request.mask == PhotoRef(url="https://shop.example/mask.png")
    assert request.sku is None


def test_a_mask_in_the_bucket_is_named(
    shooter: Shooter, make: Callable[..., Job], aws: Aws, jobs: JobRepository, clock: Clock
) -> None:
    """The new job has the old job's mask; a missing mask is refused."""
    aws.s3.put_object(Bucket=PHOTOS, Key="summer/dress.mask.png", Body=png())
    settings = Settings(
        model_id="002", scene_type=SceneType.NONE, batch_size=1, mask="summer/dress.mask.png"
    )
    job = make(settings=settings)
    shooter.shoot(shooter.quote(job, MIA), nonce=new_nonce())
    (request,) = sent(aws)
    assert request.mask == PhotoRef(key="summer/dress.mask.png")
    aws.s3.delete_object(Bucket=PHOTOS, Key="summer/dress.mask.png")
    assert "mask" in (new_shooter(aws, jobs, clock).quote(job, MIA).refusal or "")


def test_a_photo_that_is_gone_or_another_is_refused(
    shooter: Shooter, make: Callable[..., Job], aws: Aws, jobs: JobRepository, clock: Clock
) -> None:
    """A photo that is gone or was replaced is refused."""
    job = make()
    stored(aws, png())
    replaced = shooter.quote(job, MIA)
    assert "Another photo lies under 'summer/dress.jpg'" in (replaced.refusal or "")
    assert replaced.credits == 0
    aws.s3.delete_object(Bucket=PHOTOS, Key=KEY)
    gone = new_shooter(aws, jobs, clock).quote(job, MIA)
    assert "is not in photos" in (gone.refusal or "")
    with pytest.raises(ValueError, match="Another photo"):
        shooter.shoot(replaced, nonce=new_nonce())
    assert sent(aws) == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"modelId": "cIara"}, "Did you mean '002' (Clara)?"),
        ({"modelId": ""}, "modelId in the new settings is ''"),
        ({"batchSize": 5}, "must be a whole number, 1 to 4"),
        ({"sceneType": "preset"}, "needs sceneId"),
        ({"sceneType": "color", "color": "red"}, "must look like '#ff8800'"),
        ({"sceneType": "orginal"}, "Did you mean 'original'?"),
    ],
)
def test_bad_settings_are_refused(
    shooter: Shooter, make: Callable[..., Job], values: dict[str, Any], said: str
) -> None:
    """Settings are checked as SubmitFunction checks them, before anything is sent."""
    assert said in (shooter.quote(make(), values).refusal or "")


def test_what_has_no_photo_or_settings(shooter: Shooter, make: Callable[..., Job]) -> None:
    """A request that could not be read has nothing to shoot."""
    assert "no photo" in (shooter.quote(make("a", photo=None), MIA).refusal or "")
    assert "could not be read" in (shooter.quote(make("b", settings=None), MIA).refusal or "")
    elsewhere = make("c", photo=Photo(bucket="other", key=KEY))
    assert "not this stack's bucket" in (shooter.quote(elsewhere, MIA).refusal or "")


def test_broken_settings_beside_the_photo(
    shooter: Shooter, make: Callable[..., Job], aws: Aws
) -> None:
    """A request that would be rejected is refused before it is sent."""
    job = make()
    aws.s3.put_object(Bucket=PHOTOS, Key="summer/catwalk.json", Body=b"{")
    assert "summer/catwalk.json is no valid JSON" in (shooter.quote(job, MIA).refusal or "")


def test_already_shot_is_said(
    shooter: Shooter, make: Callable[..., Job], aws: Aws, jobs: JobRepository, clock: Clock
) -> None:
    """A quote says that images of this look exist already."""
    job = make()
    assert job.settings is not None
    assert shooter.quote(job, {"modelId": "003"}).already is None
    assert shooter.quote(job, {}).already == job
    mia = make("m", settings=job.settings.model_copy(update={"model_id": "004"}))
    assert new_shooter(aws, jobs, clock).quote(job, MIA).already == mia


def test_a_photo_is_read_once_for_all_looks(
    shooter: Shooter, make: Callable[..., Job], aws: Aws
) -> None:
    """Several quotes of a photo read its objects once."""
    job = make()
    first = shooter.quote(job, MIA)
    aws.s3.delete_object(Bucket=PHOTOS, Key=KEY)
    assert first.refusal is None
    assert shooter.quote(job, {"modelId": "003"}).refusal is None


def test_quotes_keep_their_order(shooter: Shooter, make: Callable[..., Job]) -> None:
    """Several photos are quoted at once, each in its place."""
    made = [make(f"j{n}") for n in range(12)]
    assert [shot.job for shot in shooter.quote_all(made, MIA)] == made
    assert shooter.quote_all([], MIA) == []


def test_siblings(jobs: JobRepository, make: Callable[..., Job], clock: Clock) -> None:
    """A job's page names the other jobs of its photo, the newest first."""
    first = make("a")
    clock.advance(5)
    second = make("b")
    clock.advance(5)
    third = make("c")
    assert siblings(jobs, second) == [third, first]
    assert siblings(jobs, second.model_copy(update={"source_key": None})) == []


def test_no_setting_is_lost_when_a_photo_is_shot_again() -> None:
    """Each field of the settings comes back from a request's variant."""
    whole = Settings(
        model_id="004",
        scene_type=SceneType.PRESET,
        scene_id="035",
        color=None,
        batch_size=3,
        mask="a.mask.png",
        extra={"seed": 7},
    )
    again = resolve((Layer("again", fields_of(whole)),), mask=whole.mask)
    assert again == whole
    named = {"modelId", "sceneType", "sceneId", "batchSize", "extra"}
    assert named | {"color"} == set(FIELDS)
    assert len(Settings.model_fields) == len(FIELDS) + 1, "the mask is no field of a variant"
