"""SubmitFunction: from a message to a task, with all its writes, requests and retries."""

import base64
import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from shared.config import SubmitConfig
from shared.limits.circuit_breaker import (
    ACCOUNT_PAUSE_SECONDS,
    BUSY_PAUSE_SECONDS,
    MAX_PAUSE_SECONDS,
    OUTAGE_PAUSE_SECONDS,
    SUSPECT_SECONDS,
    CircuitBreaker,
    Permit,
)
from shared.limits.credit_limit import CreditLimit
from shared.limits.submit_rate import START_GAP
from shared.limits.suspicion import FIRST_WAIT_SECONDS
from shared.models import ErrorCode, Job, JobError, JobStatus
from shared.notify.metrics import Metrics
from shared.records.ledger import Ledger
from shared.steps.submit import (
    ENOUGH_SECONDS,
    LEASE_MARGIN_SECONDS,
    MAX_RESUBMITS,
    Batch,
    Handled,
    Later,
    Outcome,
)
from shared.vmake.answers import Trouble
from shared.vmake.client import VmakeClient
from shared.vmake.outcomes import Refused
from shared.vmake.secret import ApiKey
from shared.wiring import Wiring, submitter
from tests.factories import (
    BUS,
    HEIGHT,
    KEY,
    PHOTOS,
    TABLE,
    VARIANT,
    VENDOR,
    WIDTH,
    Aws,
    Clock,
    jpeg,
    png,
    requested,
)

Answer = Callable[[httpx.Request], httpx.Response]


class Vendor:
    """A vendor that counts what it charges; `answers` are given first, one a call."""

    def __init__(self) -> None:
        self.answers: list[httpx.Response | Exception | Answer] = []
        self.bodies: list[dict[str, Any]] = []
        self.tasks = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append(json.loads(request.content))
        answer = self.answers.pop(0) if self.answers else self.accept
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else answer(request)

    def accept(self, request: httpx.Request) -> httpx.Response:
        """Accept the task and count the charge."""
        self.tasks += 1
        return httpx.Response(200, json={"code": 0, "data": {"taskId": f"task-{self.tasks}"}})


class Stage:
    """A Submitter, its doubles and its messages."""

    def __init__(self, aws: Aws, clock: Clock, **config: Any) -> None:
        self.aws = aws
        self.clock = clock
        self.vendor = Vendor()
        self.remaining = 140.0
        self.measured: list[str] = []
        """The EMF lines that were written."""
        self.sent: list[str] = []
        """The messages that the last one led to."""
        self.config = SubmitConfig(
            jobs_table=TABLE,
            event_bus=BUS,
            vmake_base_url=VENDOR,
            api_key_secret=aws.secret_arn,
            photos_bucket=PHOTOS,
            submit_queue_url=aws.queue_url,
            state_machine_arn=aws.state_machine_arn,
            settling_seconds=0,
        )
        self.set(**config)
        self._messages = 0

    def set(self, **config: Any) -> None:
        """Use other settings from now on."""
        self.config = replace(self.config, **config)
        key = ApiKey(self.aws.secrets, self.config.api_key_secret)
        self.ledger = Ledger(self.aws.dynamodb, TABLE, now=self.clock)
        wiring = Wiring(
            self.config,
            self.aws,
            metrics=Metrics("catwalk", write=self.measured.append),
            api_key=key,
            vendor=VmakeClient(
                VENDOR, key, transport=httpx.MockTransport(self.vendor), now=self.clock
            ),
            now=self.clock,
            sleep=self.clock.advance,
        )
        self.jobs, self.announcer = wiring.jobs, wiring.announcer
        self.submitter = submitter(self.config, wiring)

    def take(self, event: dict[str, Any] | str) -> Outcome:
        """Deliver one message."""
        self._messages += 1
        body = event if isinstance(event, str) else json.dumps(event)
        batch = Batch(lambda: self.remaining)
        waits = self.submitter.handle(body, f"message-{self._messages}", batch)
        self.sent = [wait.body or body for wait in waits]
        return max(waits, key=lambda wait: wait.seconds, default=Handled())

    def drop(self, key: str = "a/dress.jpg", body: bytes | None = None, **metadata: str) -> Outcome:
        """Drop a photo and deliver its event."""
        names = {name.replace("_", "-"): value for name, value in metadata.items()}
        return self.take(self.aws.drop(key, jpeg() if body is None else body, names))

    def all_jobs(self) -> list[Job]:
        """Return every record, oldest first."""
        items = [item for item in self.aws.records() if item["pk"]["S"].startswith("JOB#")]
        jobs = [self.jobs.get(item["job_id"]["S"]) for item in items]
        return sorted((job for job in jobs if job), key=lambda job: (job.created_at, job.job_id))

    def job(self) -> Job:
        """Return the only record."""
        (job,) = self.all_jobs()
        return job

    def error(self) -> ErrorCode:
        """Return the error code of the only record."""
        job = self.job()
        assert job.error is not None
        return job.error.code


@pytest.fixture
def stage(aws: Aws, clock: Clock) -> Stage:
    """Return a stage with the template's defaults."""
    return Stage(aws, clock)


# --- a photo's way -------------------------------------------------------------------------------


def test_dropped_photo_becomes_a_running_task(stage: Stage) -> None:
    """A dropped photo is submitted once; its record, execution and event exist."""
    assert stage.drop() == Handled()
    job = stage.job()
    assert (job.status, job.task_id, job.credits, job.attempt) == (
        JobStatus.RUNNING,
        "task-1",
        1,
        1,
    )
    assert job.photo is not None
    assert (job.photo.key, job.photo.width, job.photo.content_type) == (
        "a/dress.jpg",
        WIDTH,
        "image/jpeg",
    )
    assert stage.aws.started() == [f"{job.job_id}-1"]
    assert (job.execution_arn or "").endswith(f":execution:jobs:{job.job_id}-1")
    (event,) = stage.aws.told()
    assert event["detail-type"] == "Job Submitted"
    assert event["detail"]["jobId"] == job.job_id
    assert event["detail"]["schemaVersion"] == "1"
    assert job.announced == "RUNNING"


def test_vendor_gets_a_url_of_just_these_bytes(stage: Stage) -> None:
    """The vendor gets a presigned URL of the photo's version."""
    stage.drop()
    url = httpx.URL(stage.vendor.bodies[0]["image"])
    job = stage.job()
    assert job.photo is not None
    assert url.path.endswith("/a/dress.jpg")
    assert url.params["versionId"] == job.photo.version_id
    assert "X-Amz-Signature" in url.params


def test_inline_delivery_sends_the_photo_itself(stage: Stage) -> None:
    """PhotoDelivery=inline puts photo and mask into the request, in base64."""
    stage.set(photo_delivery="inline")
    photo, mask = jpeg(fill=100_000), png()
    stage.aws.drop("a/dress.mask.png", mask)
    stage.drop(body=photo)
    (body,) = stage.vendor.bodies
    assert base64.b64decode(body["image"]) == photo
    assert base64.b64decode(body["mask"]) == mask


def test_settings_come_from_the_strongest_source(stage: Stage) -> None:
    """Metadata wins over catwalk.json, which wins over the stack's defaults, value by value."""
    stage.aws.drop("a/catwalk.json", b'{"modelId": "003", "batchSize": 2, "sku": "S-1"}')
    stage.drop("a/b/dress.jpg", model_id="001", request_id="r-9")
    body = stage.vendor.bodies[0]
    assert (body["modelId"], body["batchSize"], body["sceneType"]) == ("001", 2, "original")
    assert (stage.job().sku, stage.job().request_id) == ("S-1", "r-9")


def test_a_models_name_means_its_id_everywhere(stage: Stage) -> None:
    """A model's name gives the same job as its id, in every source of settings."""
    stage.set(default_model_id="Clara")
    stage.drop("a.jpg", jpeg())
    stage.drop("a.jpg", jpeg(), model_id="CLARA")
    stage.take(requested({"photo": {"key": "a.jpg"}, "variants": [{"modelId": "002"}]}))
    stage.take(
        requested({"photo": {"key": "a.jpg"}, "variants": [{"modelId": "clara"}]}, event_id="r-2")
    )
    stage.aws.drop("b/catwalk.json", b'{"modelId": "jamila"}')
    stage.drop("b/a.jpg", jpeg())
    assert [body["modelId"] for body in stage.vendor.bodies] == ["002", "003"]
    assert len(stage.all_jobs()) == 2


def test_an_event_may_name_any_mask_of_the_bucket(stage: Stage) -> None:
    """An event may name any object of the bucket as its photo or mask."""
    stage.aws.drop("a/x.jpg", jpeg())
    stage.aws.drop("masks/m.png", png())
    detail = {"photo": {"key": "a/x.jpg"}, "mask": "masks/m.png", "variants": [VARIANT]}
    stage.take(requested(detail))
    assert stage.vendor.bodies[0]["mask"].startswith("https://")


def test_each_variant_is_a_job(stage: Stage) -> None:
    """Each variant of a folder is a task; equal ones are one task."""
    variants = [{"modelId": "001"}, {"modelId": "003"}, {"modelId": "001"}]
    stage.aws.drop("catwalk.json", json.dumps({"variants": variants}).encode())
    stage.drop()
    assert stage.vendor.tasks == 2
    assert len(stage.aws.started()) == 2


def test_request_by_event(stage: Stage) -> None:
    """Each variant of a request is a job, with the request's requestId and sku."""
    stage.aws.drop("a.jpg", jpeg())
    variants = [dict(VARIANT), {**VARIANT, "sceneType": "preset", "sceneId": "035"}]
    detail = {"requestId": "r-1", "sku": "s-1", "photo": {"key": "a.jpg"}, "variants": variants}
    stage.take(requested(detail))
    assert {job.settings.scene for job in stage.all_jobs() if job.settings} == {
        "original",
        "preset-035",
    }
    assert {(job.request_id, job.sku) for job in stage.all_jobs()} == {("r-1", "s-1")}


def test_request_by_url(stage: Stage) -> None:
    """A photo by URL is passed to the vendor unchanged; its source_key has host and path."""
    url = "https://cdn.example.com/x/dress.jpg?size=9"
    stage.take(requested({"photo": {"url": url}, "variants": [VARIANT]}))
    assert stage.vendor.bodies[0]["image"] == url
    assert stage.job().source_key == "url/cdn.example.com/x/dress.jpg"


def test_same_photo_for_another_request_is_another_job(stage: Stage) -> None:
    """Two requestIds for one photo are two jobs; the same request twice is one."""
    stage.aws.drop("a.jpg", jpeg())
    for number, name in enumerate(["r-1", "r-2", "r-1"]):
        detail = {"requestId": name, "photo": {"key": "a.jpg"}, "variants": [VARIANT]}
        stage.take(requested(detail, event_id=f"e-{number}"))
    assert stage.vendor.tasks == 2


# --- what is no photo, and what is a bad one -----------------------------------------------------


@pytest.mark.parametrize("key", ["catwalk.json", "a/x.mask.png", "a/", ".DS_Store", "a/.x.jpg"])
def test_what_is_no_photo_leaves_no_trace(stage: Stage, key: str) -> None:
    """Folder files, masks, folder markers and dotfiles make no record and no task."""
    assert stage.drop(key, b"x") == Handled()
    assert stage.all_jobs() == []
    assert stage.vendor.bodies == []


@pytest.mark.parametrize(
    ("key", "body", "metadata", "code"),
    [
        ("a.jpg", b"", {}, "empty_file"),
        ("a.txt", b"hello", {}, "unsupported_format"),
        ("a.webp", b"RIFF\0\0\0\0WEBPVP8 ", {}, "unsupported_format"),
        ("a.jpg", b"RIFF\0\0\0\0WEBPVP8 ", {}, "unsupported_format"),
        ("a.jpg", b"hello", {}, "corrupt_image"),
        ("a.png", png()[:20], {}, "corrupt_image"),
        ("a.jpg", jpeg(fill=3_000), {}, "too_large"),
        ("a.jpg", jpeg(60_000, 60_000), {}, "too_large"),
        ("a.jpg", jpeg(), {"batch_size": "9"}, "bad_settings"),
        ("a.jpg", jpeg(), {"batch_size": "four"}, "bad_settings"),
        ("a.jpg", jpeg(), {"scene_type": "presets"}, "bad_settings"),
        ("a.jpg", jpeg(), {"extra": "{"}, "bad_settings"),
        ("a.jpg", jpeg(), {"extra": '{"x": NaN}'}, "bad_settings"),
        ("a.jpg", jpeg(), {"extra": '{"x": 1e400}'}, "bad_settings"),
        ("a.jpg", jpeg(), {"extra": '{"x": 1%s}' % ("0" * 40)}, "bad_settings"),
        ("a.jpg", jpeg(), {"extra": '{{"x": {}1{}}}'.format("[" * 40, "]" * 40)}, "bad_settings"),
        ("a.jpg", jpeg(), {"extra": '{{"x": {}1{}}}'.format("[" * 900, "]" * 900)}, "bad_settings"),
        ("a.jpg", jpeg(), {"extra": r'{"x": "\ud800"}'}, "bad_settings"),
        ("a.jpg", jpeg(), {"extra": '{"": 1}'}, "bad_settings"),
        ("a.jpg", jpeg(), {"mask": "none.png"}, "mask_mismatch"),
        ("a.jpg", jpeg(), {"mask": "x" * 1025}, "mask_mismatch"),
        ("a.jpg", jpeg(), {"mask": "http://x.example/m.png"}, "mask_mismatch"),
        ("a.jpg", jpeg(), {"mask": "https://10.0.0.1/m.png"}, "mask_mismatch"),
        ("a.jpg", jpeg(), {"mask": "file:///etc/passwd"}, "mask_mismatch"),
        ("a/b.jpg", jpeg(), {"mask": "c/m.png"}, "mask_mismatch"),
        ("a.jpg", jpeg(), {"model_id": "02"}, "bad_settings"),
        ("a.jpg", jpeg(), {"model_id": "../../etc"}, "bad_settings"),
        ("a.jpg", jpeg(), {"scene_type": "preset", "scene_id": "35"}, "bad_settings"),
    ],
)
def test_bad_photo_is_rejected_with_its_reason(
    stage: Stage, key: str, body: bytes, metadata: dict[str, str], code: str
) -> None:
    """An unusable photo is REJECTED at once, with an event, and never sent."""
    stage.set(max_photo_bytes=2_000)
    assert stage.drop(key, body, **metadata) == Handled()
    job = stage.job()
    assert (job.status, stage.error()) == (JobStatus.REJECTED, code)
    assert (job.source_key, job.credits) == (key, 0)
    assert stage.vendor.bodies == []
    assert stage.aws.told_types() == ["Job Rejected"]


BROKEN = {
    "no_json": "{",
    "text": "hello",
    "list": "[]",
    "half_a_character": json.dumps(
        requested({"photo": {"key": "a\ud800.jpg"}, "variants": [VARIANT]})
    ),
    "long_key": requested({"photo": {"key": "k" * 1025}, "variants": [VARIANT]}),
    "no_photo": requested({"variants": [VARIANT]}),
    "nan": '{"detail-type": "Fashion Model Requested", "detail": {"photo": {"key": "a.jpg"},'
    ' "variants": [{"extra": {"x": NaN}}]}}',
    "deep": json.dumps(requested({})).replace(
        '"detail": {', f'"x": {"[" * 900}{"]" * 900},"detail": {{'
    ),
    "long_unknown_name": requested(
        {"photo": {"key": "a.jpg"}, "variants": [{"\U000e0001" * 60_000: 1}]}
    ),
    "long_detail_type": {**requested({}), "detail-type": "x" * 200_000},
    "long_id": {**requested({}), "id": "x" * 200_000},
    "long_sku": requested({"sku": "x" * 5_000, "photo": {"key": "a.jpg"}, "variants": [VARIANT]}),
}


@pytest.mark.parametrize("event", BROKEN.values(), ids=BROKEN.keys())
def test_broken_event_gets_a_record(stage: Stage, event: dict[str, Any] | str) -> None:
    """A message that is no valid request is REJECTED, with an event."""
    assert stage.take(event) == Handled()
    assert stage.error() is ErrorCode.BAD_REQUEST_EVENT
    assert stage.job().request_id
    assert stage.aws.told_types() == ["Job Rejected"]


def test_url_longer_than_an_index_key_gets_a_record(stage: Stage) -> None:
    """A photo with a very long URL is submitted."""
    url = f"https://cdn.example.com/{'x' * 4_000}.jpg"
    stage.take(requested({"photo": {"url": url}, "variants": [VARIANT]}))
    assert stage.job().status is JobStatus.RUNNING


@pytest.mark.parametrize("length", [1010, 1016, 1020, 1024])
def test_photo_with_the_longest_key_goes_through(stage: Stage, length: int) -> None:
    """A photo whose key leaves no room for a mask's key is submitted."""
    key = f"{'f' * 900}/{'p' * (length - 905)}.jpg"
    stage.drop(key)
    assert stage.job().status is JobStatus.RUNNING


def test_long_article_number_of_a_folder_is_refused(stage: Stage) -> None:
    """A sku that is too long for the index makes a REJECTED record."""
    stage.aws.drop("catwalk.json", json.dumps({"sku": "x" * 3_000}).encode())
    stage.drop()
    assert stage.error() is ErrorCode.BAD_SETTINGS


def test_bad_variant_does_not_spoil_the_others(stage: Stage) -> None:
    """One variant with wrong settings is REJECTED; the others are submitted."""
    stage.aws.drop("a.jpg", jpeg())
    variants = [{**VARIANT, "modelId": 2}, VARIANT, {**VARIANT, "sceneType": "preset"}]
    stage.take(requested({"photo": {"key": "a.jpg"}, "variants": variants}))
    assert sorted(job.status for job in stage.all_jobs()) == ["REJECTED", "REJECTED", "RUNNING"]


def test_failing_variant_does_not_hold_up_the_others(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If AWS fails for one variant, the others are submitted, and the message comes again."""
    stage.aws.drop("a.jpg", jpeg())
    claim = stage.jobs.claim
    calls: list[str] = []

    def failing_first(new: Any, **_: Any) -> Job:
        calls.append(new.job_id)
        if len(calls) == 1:
            raise RuntimeError("DynamoDB is away")
        return claim(new)

    monkeypatch.setattr(stage.jobs, "claim", failing_first)
    variants = [{**VARIANT, "modelId": name} for name in ("001", "002", "003")]
    event = requested({"photo": {"key": "a.jpg"}, "variants": variants})
    with pytest.raises(RuntimeError, match="away"):
        stage.take(event)
    assert stage.vendor.tasks == 2
    assert stage.take(event) == Handled()
    assert stage.vendor.tasks == 3


def test_masks(stage: Stage) -> None:
    """A mask beside the photo goes with it, and one of another size is REJECTED."""
    stage.aws.drop("a/dress.mask.png", png())
    stage.drop("a/dress.jpg")
    assert stage.vendor.bodies[0]["mask"].startswith("https://")
    assert stage.job().settings is not None
    assert stage.job().settings.mask == "a/dress.mask.png"  # type: ignore[union-attr]  # it has settings
    stage.aws.drop("a/coat.mask.png", png(WIDTH + 1, HEIGHT))
    stage.drop("a/coat.jpg")
    assert stage.all_jobs()[-1].source_key in {"a/coat.jpg", "a/dress.jpg"}
    assert stage.vendor.tasks == 1


def test_bad_mask_is_told_though_the_photo_succeeded_without(stage: Stage) -> None:
    """A wrong mask beside a photo that is done makes a REJECTED job of its own."""
    stage.drop("a/dress.jpg")
    stage.aws.drop("a/dress.mask.png", png(WIDTH + 1, HEIGHT))
    stage.drop("a/dress.jpg")
    assert sorted(job.status for job in stage.all_jobs()) == ["REJECTED", "RUNNING"]


# --- replaced and deleted photos -----------------------------------------------------------------


def test_photo_replaced_before_it_was_read_is_still_its_own(stage: Stage) -> None:
    """Two photos dropped under one key in a row are two jobs, each with its own bytes."""
    first = stage.aws.drop("a.jpg", jpeg(fill=1))
    second = stage.aws.drop("a.jpg", jpeg(fill=2))
    stage.take(first)
    stage.take(second)
    assert {job.photo.etag for job in stage.all_jobs() if job.photo} == {
        event["detail"]["object"]["etag"] for event in (first, second)
    }
    assert stage.vendor.tasks == 2


def test_same_bytes_with_other_metadata_are_both_made(stage: Stage) -> None:
    """A photo dropped again with other settings before it was read is two jobs, not one."""
    first = stage.aws.drop("a.jpg", jpeg(), {"model-id": "001"})
    second = stage.aws.drop("a.jpg", jpeg(), {"model-id": "003"})
    stage.take(first)
    stage.take(second)
    assert sorted(body["modelId"] for body in stage.vendor.bodies) == ["001", "003"]


def test_deleted_photo_is_rejected(stage: Stage) -> None:
    """A photo that was deleted before it was read is REJECTED photo_missing."""
    event = stage.aws.drop("a.jpg", jpeg())
    stage.aws.s3.delete_object(Bucket=PHOTOS, Key="a.jpg")
    stage.take(event)
    assert stage.error() is ErrorCode.PHOTO_MISSING


def test_request_for_a_photo_that_is_not_there(stage: Stage) -> None:
    """Each variant of a missing photo gets a REJECTED record."""
    variants = [VARIANT, {**VARIANT, "modelId": "001"}]
    stage.take(requested({"photo": {"key": "none.jpg"}, "variants": variants}))
    assert [job.error.code for job in stage.all_jobs() if job.error] == ["photo_missing"] * 2


# --- duplicates ----------------------------------------------------------------------------------


def test_duplicate_event_costs_nothing(stage: Stage) -> None:
    """The same event delivered again changes nothing, also under another event id."""
    event = stage.aws.drop("a.jpg", jpeg())
    stage.take(event)
    before = stage.job()
    stage.take(event)
    stage.take({**event, "id": "another"})
    assert stage.vendor.tasks == 1
    assert stage.job() == before
    assert stage.aws.told_types() == ["Job Submitted"]


def test_same_photo_dropped_again_while_running_costs_nothing(stage: Stage) -> None:
    """The same bytes with the same settings are the same job."""
    stage.drop()
    stage.drop()
    assert stage.vendor.tasks == 1
    assert stage.job().attempt == 1


@pytest.mark.parametrize("delivery", ["presigned", "inline"])
def test_refused_photo_suggests_inline_delivery(stage: Stage, delivery: str) -> None:
    """A vendor that fetches photos at once may not have reached the bucket."""
    stage.set(photo_delivery=delivery)
    stage.vendor.answers = [httpx.Response(400, json={"code": 400, "message": "no image"})]
    stage.drop()
    error = stage.job().error
    assert error is not None
    assert ("PhotoDelivery=inline" in error.message) == (delivery == "presigned")


def test_photo_by_url_suggests_no_delivery(stage: Stage) -> None:
    """A photo that the vendor is given by its own URL is not delivered by Catwalk."""
    stage.vendor.answers = [httpx.Response(400, json={"code": 400, "message": "no image"})]
    stage.take(requested({"photo": {"url": "https://shop.example/a.jpg"}, "variants": [VARIANT]}))
    error = stage.job().error
    assert error is not None
    assert "PhotoDelivery" not in error.message


def test_failed_photo_dropped_again_is_sent_again(stage: Stage) -> None:
    """Dropping a photo again after a failure is attempt 2, and a late duplicate no attempt 3."""
    stage.vendor.answers = [httpx.Response(400, json={"code": 400, "message": "bad image"})]
    first = stage.aws.drop("a.jpg", jpeg())
    stage.take(first)
    assert (stage.job().status, stage.error()) == (JobStatus.FAILED, ErrorCode.VENDOR_REJECTED)
    second = stage.aws.drop("a.jpg", jpeg())
    stage.take(second)
    job = stage.job()
    assert (job.status, job.attempt, job.credits) == (JobStatus.RUNNING, 2, 1)
    assert stage.aws.started() == [f"{job.job_id}-2"]
    stage.jobs.fail(job, job.history[0].error)  # type: ignore[arg-type]  # it has an error
    stage.take(first)
    stage.take(second)
    assert (stage.job().attempt, stage.vendor.tasks) == (2, 1)


def test_message_that_was_handled_before_its_event_went_out(stage: Stage) -> None:
    """After a crash between write and event, the next delivery sends the event, once."""
    stage.drop()
    stage.aws.told()
    stage.aws.dynamodb.update_item(
        TableName=TABLE,
        Key={"pk": {"S": f"JOB#{stage.job().job_id}"}},
        UpdateExpression="REMOVE announced",
    )
    stage.drop()
    assert stage.aws.told_types() == ["Job Submitted"]
    stage.drop()
    assert stage.aws.told_types() == []


# --- what may be sent again, and what not --------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (httpx.ConnectError("refused"), OUTAGE_PAUSE_SECONDS),
        (httpx.ConnectTimeout("slow"), OUTAGE_PAUSE_SECONDS),
        (httpx.Response(429), BUSY_PAUSE_SECONDS),
        (httpx.Response(429, headers={"Retry-After": "77"}), 77),
        (httpx.Response(503, json={"code": 503, "message": "busy"}), BUSY_PAUSE_SECONDS),
        (httpx.Response(401, json={"code": 401, "message": "key"}), ACCOUNT_PAUSE_SECONDS),
        (httpx.Response(402), ACCOUNT_PAUSE_SECONDS),
        (httpx.Response(403), FIRST_WAIT_SECONDS),
        (
            httpx.Response(200, json={"code": 10402, "message": "insufficient credits"}),
            ACCOUNT_PAUSE_SECONDS,
        ),
    ],
)
def test_trouble_that_costs_nothing_waits(
    stage: Stage, answer: httpx.Response | Exception, seconds: float
) -> None:
    """Throttling, an outage, a bad key or an empty account fail no photo; it is sent later."""
    stage.vendor.answers = [answer]
    event = stage.aws.drop("a.jpg", jpeg())
    outcome = stage.take(event)
    assert isinstance(outcome, Later)
    assert outcome.seconds >= seconds
    assert stage.job().status is JobStatus.SUBMITTING
    assert stage.job().unsent
    stage.clock.advance(outcome.seconds)
    assert stage.take(event) == Handled()
    job = stage.job()
    assert (job.status, job.attempt, job.credits) == (JobStatus.RUNNING, 1, 1)


THROTTLED = httpx.Response(429, json={"code": 429, "message": "slow down"})


def throttle(stage: Stage) -> None:
    """Let the vendor throttle once, and accept the next photo."""
    stage.vendor.answers = [THROTTLED]
    stage.drop("throttled.jpg")
    (message,) = stage.sent
    stage.clock.advance(BUSY_PAUSE_SECONDS)
    assert stage.take(message) == Handled()


def test_a_short_pause_is_waited_for_in_the_function(stage: Stage) -> None:
    """Photos behind a throttled one are sent in the same invocation, a moment later."""
    stage.vendor.answers = [THROTTLED]
    began = stage.clock.now
    assert isinstance(stage.drop("a.jpg"), Later)
    assert stage.drop("b.jpg") == Handled()
    assert (stage.clock.now - began).total_seconds() == BUSY_PAUSE_SECONDS


def test_without_time_a_short_pause_is_waited_for_in_the_queue(stage: Stage) -> None:
    """A wait in the function leaves enough time for a whole POST."""
    stage.vendor.answers = [THROTTLED]
    stage.drop("a.jpg")
    stage.remaining = ENOUGH_SECONDS + BUSY_PAUSE_SECONDS / 2
    outcome = stage.drop("b.jpg")
    assert isinstance(outcome, Later)
    assert outcome.seconds == BUSY_PAUSE_SECONDS
    assert len(stage.vendor.bodies) == 1


def test_after_throttling_photos_take_turns(stage: Stage) -> None:
    """Photos wait for their slots in the function, and slots come faster after successes."""
    throttle(stage)
    went: list[float] = []

    def note(request: httpx.Request) -> httpx.Response:
        went.append(stage.clock.now.timestamp())
        return stage.vendor.accept(request)

    stage.vendor.answers = [note] * 6
    for number in range(6):
        assert stage.drop(f"{number}.jpg") == Handled()
    gaps = [later - earlier for earlier, later in itertools.pairwise(went)]
    assert gaps[0] == pytest.approx(START_GAP, abs=1e-3)
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < START_GAP / 4


def test_a_photo_that_is_throttled_in_its_turn_comes_again_at_once(stage: Stage) -> None:
    """A photo that is throttled at its slot gets a later slot, and its credit is given back."""
    stage.set(daily_credit_limit=3)
    throttle(stage)
    stage.drop("a.jpg")
    stage.vendor.answers = [THROTTLED]
    outcome = stage.drop("b.jpg")
    assert isinstance(outcome, Later)
    assert outcome.seconds == 0
    assert stage.take(stage.sent[0]) == Handled()
    assert stage.vendor.tasks == 3
    assert stage.aws.told_types().count("Job Needs Attention") == 1


def test_a_turn_that_is_far_off_is_waited_for_in_the_queue(stage: Stage) -> None:
    """For a slot that is minutes away, the photo goes back to the queue."""
    throttle(stage)
    stage.aws.dynamodb.update_item(
        TableName=TABLE,
        Key={"pk": {"S": "CONTROL#submit"}},
        UpdateExpression="SET pace_slot = :slot",
        ExpressionAttributeValues={":slot": {"N": str(stage.clock.now.timestamp() + 50)}},
    )
    outcome = stage.drop("a.jpg")
    assert isinstance(outcome, Later)
    assert outcome.seconds == pytest.approx(50, abs=1)
    waiting = stage.all_jobs()[-1].waiting
    assert waiting is not None
    assert "throttles" in waiting.reason


def test_a_turn_that_moved_away_while_it_was_taken(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function does not sleep if there would be too little time for the POST."""
    throttle(stage)
    turn = CircuitBreaker.take_slot

    def change(what: str, value: float) -> None:
        stage.aws.dynamodb.update_item(
            TableName=TABLE,
            Key={"pk": {"S": "CONTROL#submit"}},
            UpdateExpression=f"SET {what} = :value",
            ExpressionAttributeValues={":value": {"N": str(value)}},
        )

    def slower_meanwhile(self: CircuitBreaker, way: Permit, patience: float) -> object:
        change("pace_gap", 40)
        return turn(self, way, patience)

    change("pace_slot", stage.clock.now.timestamp() + 0.3)
    monkeypatch.setattr(CircuitBreaker, "take_slot", slower_meanwhile)
    before, outcome = stage.clock.now, stage.drop("a.jpg")
    assert isinstance(outcome, Later)
    assert outcome.seconds == pytest.approx(40, abs=1)
    assert (stage.clock.now - before).total_seconds() < 5
    assert stage.vendor.tasks == 1


def test_who_waited_long_for_its_turn_looks_again(stage: Stage) -> None:
    """A photo with a slot does not send during a pause that began meanwhile."""
    throttle(stage)
    stage.aws.dynamodb.update_item(
        TableName=TABLE,
        Key={"pk": {"S": "CONTROL#submit"}},
        UpdateExpression="SET pace_slot = :slot, pace_gap = :gap",
        ExpressionAttributeValues={
            ":slot": {"N": str(stage.clock.now.timestamp())},
            ":gap": {"N": "8"},
        },
    )

    def sleep(seconds: float) -> None:
        stage.clock.advance(seconds)
        CircuitBreaker(stage.aws.dynamodb, TABLE, now=stage.clock).record(
            Permit(), Refused(Trouble.KEY, "HTTP 401")
        )

    stage.submitter._gate._sleep = sleep
    outcome = stage.drop("a.jpg")
    assert isinstance(outcome, Later)
    assert outcome.seconds == pytest.approx(ACCOUNT_PAUSE_SECONDS)
    assert stage.vendor.tasks == 1


UNCERTAIN = [
    httpx.ReadTimeout("slow"),
    httpx.RemoteProtocolError("closed"),
    httpx.Response(500, json={"code": 500, "message": "oops"}),
    httpx.Response(502, html="<h1>Bad Gateway</h1>"),
    httpx.Response(200, html="<h1>Hello</h1>"),
    httpx.Response(200, json={"code": 0, "message": "Success"}),
    httpx.Response(200, json={"code": 500, "message": "internal error"}),
]


@pytest.mark.parametrize("answer", UNCERTAIN)
def test_unknown_submit_is_parked_and_never_sent_again(
    stage: Stage, answer: httpx.Response | Exception
) -> None:
    """A POST that may have been charged is parked, with one event, and never repeated."""
    stage.vendor.answers = [answer]
    event = stage.aws.drop("a.jpg", jpeg())
    assert stage.take(event) == Handled()
    assert (stage.job().status, stage.error()) == (
        JobStatus.SUBMIT_UNKNOWN,
        ErrorCode.SUBMIT_UNKNOWN,
    )
    stage.clock.advance(86_400)
    assert stage.take(event) == Handled()
    assert stage.drop("a.jpg") == Handled()
    assert len(stage.vendor.bodies) == 1
    assert stage.aws.told_types() == ["Job Needs Attention"]


def test_unknown_submit_is_sent_again_where_the_stack_says_so(stage: Stage) -> None:
    """OnUnknownSubmit=resubmit starts a limited number of new attempts."""
    stage.set(on_unknown_submit="resubmit")
    stage.vendor.answers = [httpx.ReadTimeout("slow") for _ in range(20)]
    event = stage.aws.drop("a.jpg", jpeg())
    for _ in range(20):
        stage.take(event)
        stage.clock.advance(60)
    assert len(stage.vendor.bodies) == MAX_RESUBMITS + 1
    assert stage.job().status is JobStatus.SUBMIT_UNKNOWN


def test_resubmit_that_is_accepted_runs(stage: Stage) -> None:
    """The attempt after an unknown one is a job like any other."""
    stage.set(on_unknown_submit="resubmit")
    stage.vendor.answers = [httpx.ReadTimeout("slow")]
    event = stage.aws.drop("a.jpg", jpeg())
    assert isinstance(stage.take(event), Later)
    assert stage.take(event) == Handled()
    job = stage.job()
    assert (job.status, job.attempt) == (JobStatus.RUNNING, 2)
    assert stage.aws.started() == [f"{job.job_id}-2"]


def logged(caplog: pytest.LogCaptureFixture) -> str:
    """Return the log records with their keys."""
    return caplog.text + str([vars(record) for record in caplog.records])


class Killed(BaseException):
    """Ends an invocation, as if its machine had lost power."""


def test_second_delivery_waits_for_the_first_ones_lease(stage: Stage) -> None:
    """A message that finds an open POST waits; after the lease the submit is unknown."""

    def dies(_: httpx.Request) -> httpx.Response:
        stage.vendor.tasks += 1
        raise Killed

    stage.vendor.answers = [dies]
    event = stage.aws.drop("a.jpg", jpeg())
    with pytest.raises(Killed):
        stage.take(event)
    lease = stage.remaining + LEASE_MARGIN_SECONDS
    stage.clock.advance(lease - 5)
    outcome = stage.take(event)
    assert isinstance(outcome, Later)
    assert outcome.seconds == pytest.approx(5)
    assert stage.job().status is JobStatus.SUBMITTING
    stage.clock.advance(6)
    assert stage.take(event) == Handled()
    assert stage.job().status is JobStatus.SUBMIT_UNKNOWN
    assert len(stage.vendor.bodies) == 1


def test_answer_that_comes_after_its_lease_is_not_lost(stage: Stage) -> None:
    """A task id that arrives after the job was parked is kept, and its execution is started."""
    event = stage.aws.drop("a.jpg", jpeg())

    def slow(request: httpx.Request) -> httpx.Response:
        stage.clock.advance(1_000)
        assert stage.take(event) == Handled()
        assert stage.job().status is JobStatus.SUBMIT_UNKNOWN
        return stage.vendor.accept(request)

    stage.vendor.answers = [slow]
    stage.take(event)
    job = stage.job()
    assert (job.status, job.task_id) == (JobStatus.RUNNING, "task-1")
    assert stage.aws.started() == [f"{job.job_id}-1"]
    assert stage.aws.told_types() == ["Job Needs Attention", "Job Submitted"]


def test_two_deliveries_at_once_send_once(stage: Stage) -> None:
    """A second delivery that comes while the first one POSTs sends nothing."""
    event = stage.aws.drop("a.jpg", jpeg())
    outcomes: list[Outcome] = []

    def meanwhile(request: httpx.Request) -> httpx.Response:
        outcomes.append(stage.take(event))
        return stage.vendor.accept(request)

    stage.vendor.answers = [meanwhile]
    assert stage.take(event) == Handled()
    assert isinstance(outcomes[0], Later)
    assert len(stage.vendor.bodies) == 1


def test_task_id_that_cannot_be_written_down_is_logged(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If the record cannot be written after the vendor accepted, the log has the task id."""

    def away(*_: object, **__: object) -> None:
        raise RuntimeError("DynamoDB is away")

    monkeypatch.setattr(stage.jobs, "keep_task_id", away)
    with pytest.raises(RuntimeError, match="away"):
        stage.drop()
    assert "task-1" in logged(caplog)


def test_execution_that_could_not_be_started_is_started_by_the_next_delivery(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a throttled StartExecution the message comes again and starts the execution, once."""
    event = stage.aws.drop("a.jpg", jpeg())
    with monkeypatch.context() as patch:

        def throttled(**_: object) -> None:
            raise RuntimeError("ThrottlingException")

        patch.setattr(stage.aws.executions, "start_execution", throttled)
        with pytest.raises(RuntimeError, match="Throttling"):
            stage.take(event)
    assert stage.job().status is JobStatus.RUNNING
    stage.take(event)
    stage.take(event)
    assert stage.aws.started() == [f"{stage.job().job_id}-1"]
    assert stage.vendor.tasks == 1


@pytest.mark.parametrize("secret", ["", "   ", "k\u00e9y"])
def test_missing_key_waits_without_a_lease(stage: Stage, secret: str) -> None:
    """Without a usable key photos wait, nothing is sent, and nothing looks like an open POST."""
    stage.aws.secrets.put_secret_value(SecretId=stage.aws.secret_arn, SecretString=secret or " ")
    event = stage.aws.drop("a.jpg", jpeg())
    outcome = stage.take(event)
    assert isinstance(outcome, Later)
    assert outcome.seconds == ACCOUNT_PAUSE_SECONDS
    assert stage.job().status is JobStatus.ACCEPTED
    stage.aws.secrets.put_secret_value(SecretId=stage.aws.secret_arn, SecretString=KEY)
    stage.clock.advance(outcome.seconds)
    assert stage.take(event) == Handled()
    assert stage.job().status is JobStatus.RUNNING


def test_new_key_is_used_after_the_old_one_was_refused(stage: Stage) -> None:
    """After a 401 the secret is read again before the next try."""
    stage.vendor.answers = [httpx.Response(401, json={"code": 401, "message": "key"})]
    event = stage.aws.drop("a.jpg", jpeg())
    stage.take(event)
    stage.aws.secrets.put_secret_value(SecretId=stage.aws.secret_arn, SecretString="new-key-1234")
    sent: list[str] = []

    def look(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers["X-Api-Key"])
        return stage.vendor.accept(request)

    stage.vendor.answers = [look]
    stage.clock.advance(ACCOUNT_PAUSE_SECONDS)
    stage.take(event)
    assert sent == ["new-key-1234"]


# --- time ----------------------------------------------------------------------------------------


def test_no_variant_is_begun_without_time_for_its_post(stage: Stage) -> None:
    """Many variants with a slow vendor are sent in several invocations; no POST is cut off."""
    stage.aws.drop("a.jpg", jpeg())
    variants = [{**VARIANT, "modelId": f"{number:03}"} for number in range(20)]
    event = requested({"photo": {"key": "a.jpg"}, "variants": variants})

    def slow(request: httpx.Request) -> httpx.Response:
        assert stage.remaining >= ENOUGH_SECONDS
        stage.remaining -= 29
        return stage.vendor.accept(request)

    deliveries = 0
    outcome: Outcome = Later(0, "")
    while isinstance(outcome, Later):
        stage.vendor.answers = [slow] * 20
        stage.remaining = 140.0
        outcome = stage.take(event)
        deliveries += 1
        assert deliveries < 20
    assert stage.vendor.tasks == 20
    assert deliveries > 1


# --- the daily limit -----------------------------------------------------------------------------


def test_daily_limit_is_kept_and_the_next_day_goes_on(stage: Stage) -> None:
    """DailyCreditLimit allows this many tasks per UTC day; other photos wait for midnight."""
    stage.set(daily_credit_limit=2)
    events = [stage.aws.drop(f"{number}.jpg", jpeg()) for number in range(3)]
    outcomes = [stage.take(event) for event in events]
    assert outcomes[:2] == [Handled(), Handled()]
    assert isinstance(outcomes[2], Later)
    assert outcomes[2].seconds == pytest.approx(14.5 * 3600)
    assert stage.vendor.tasks == 2
    stage.clock.advance(outcomes[2].seconds)
    assert stage.take(events[2]) == Handled()
    assert stage.vendor.tasks == 3


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(429),
        httpx.Response(402),
        httpx.Response(400, json={"code": 400, "message": "bad"}),
        httpx.ConnectError("refused"),
    ],
)
def test_refused_post_does_not_use_up_the_day(
    stage: Stage, answer: httpx.Response | Exception
) -> None:
    """A POST that certainly cost nothing gives its reserved credit back."""
    stage.set(daily_credit_limit=1)
    stage.vendor.answers = [answer]
    stage.drop("a.jpg")
    stage.clock.advance(ACCOUNT_PAUSE_SECONDS)
    assert stage.drop("b.jpg") == Handled()
    assert stage.vendor.tasks == 1


def test_unknown_post_uses_up_the_day(stage: Stage) -> None:
    """A POST that may have been charged counts against the day."""
    stage.set(daily_credit_limit=1)
    stage.vendor.answers = [httpx.ReadTimeout("slow")]
    stage.drop("a.jpg")
    assert isinstance(stage.drop("b.jpg"), Later)


def test_a_record_that_cannot_be_written_uses_up_no_day(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Repeated deliveries that fail before the POST reserve one credit per photo."""
    stage.set(daily_credit_limit=3)
    events = [stage.aws.drop(f"{number}.jpg", jpeg()) for number in range(2)]

    def away(*_: Any, **__: Any) -> None:
        raise ConnectionError("DynamoDB is away")

    with monkeypatch.context() as patch:
        patch.setattr(stage.jobs, "mark_submitting", away)
        for event in events * 5:
            with pytest.raises(ConnectionError):
                stage.take(event)
    assert stage.drop("good.jpg") == Handled()
    assert [stage.take(event) for event in events] == [Handled(), Handled()]
    assert stage.vendor.tasks == 3
    assert isinstance(stage.drop("fourth.jpg"), Later)


def test_a_release_that_fails_keeps_the_credit_for_the_next_post(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a credit cannot be given back, the photo's next POST uses it."""
    stage.set(daily_credit_limit=1)
    stage.vendor.answers = [httpx.ConnectError("refused")]
    event = stage.aws.drop("a.jpg", jpeg())

    def away(*_: Any, **__: Any) -> None:
        raise ConnectionError("DynamoDB is away")

    with monkeypatch.context() as patch:
        patch.setattr(CreditLimit, "release", away)
        with pytest.raises(ConnectionError):
            stage.take(event)
    assert stage.job().sendable
    stage.clock.advance(ACCOUNT_PAUSE_SECONDS)
    assert stage.take(event) == Handled()
    assert stage.vendor.tasks == 1


def test_another_delivery_does_not_give_the_credit_back(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two simultaneous deliveries reserve one credit and send one POST."""
    stage.set(daily_credit_limit=1)
    event = stage.aws.drop("a.jpg", jpeg())
    reserve = CreditLimit.reserve

    def late(credit_limit: CreditLimit, name: str) -> object:
        monkeypatch.setattr(CreditLimit, "reserve", reserve)
        reserved = reserve(credit_limit, name)
        assert stage.take(event) == Handled()
        return reserved

    monkeypatch.setattr(CreditLimit, "reserve", late)
    assert isinstance(stage.take(event), Later)
    assert stage.vendor.tasks == 1
    assert isinstance(stage.drop("b.jpg"), Later)


@pytest.mark.parametrize("action", ["park", "resubmit"])
def test_unknown_submit_is_told_though_its_writes_answer_was_lost(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """A write that botocore has repeated is recognized as the invocation's own."""
    stage.set(on_unknown_submit=action)
    stage.vendor.answers = [httpx.ReadTimeout("slow")]
    update = stage.aws.dynamodb.update_item

    def twice(**arguments: Any) -> Any:
        if "SUBMIT_UNKNOWN" in repr(arguments.get("ExpressionAttributeValues")):
            update(**arguments)
        return update(**arguments)

    monkeypatch.setattr(stage.aws.dynamodb, "update_item", twice)
    stage.drop()
    assert stage.aws.told_types() == ["Job Needs Attention"]
    assert stage.job().attempt == (2 if action == "resubmit" else 1)


# --- the key -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(400, json={"code": 400, "message": f"key {KEY} may not do this"}),
        httpx.Response(401, json={"code": 401, "message": f"key {KEY} is unknown"}),
        httpx.Response(500, json={"code": 500, "message": f"{KEY}"}),
        httpx.ReadTimeout("slow"),
    ],
)
def test_key_is_seen_nowhere(
    stage: Stage, answer: httpx.Response | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """No record, event or log contains the key, even if the vendor repeats it."""
    stage.vendor.answers = [answer]
    outcome = stage.drop()
    assert logged(caplog)
    assert KEY not in json.dumps([stage.aws.records(), stage.aws.told()])
    assert KEY not in logged(caplog) + repr(outcome)


# --- what the vendor writes at length ------------------------------------------------------------


def test_long_refusal_is_kept_short(stage: Stage) -> None:
    """A refusal with a message of half a megabyte still ends in a record."""
    message = "x" * 500_000
    stage.vendor.answers = [httpx.Response(400, json={"code": 400, "message": message})]
    assert stage.drop() == Handled()
    assert stage.error() is ErrorCode.VENDOR_REJECTED
    assert stage.aws.told_types() == ["Job Failed"]


def test_account_trouble_is_a_handful_of_calls_and_one_event(stage: Stage) -> None:
    """With an empty account no photo fails, few requests are sent, and all photos succeed later."""
    refusal = httpx.Response(402, json={"code": 402, "message": "no credits"})
    stage.vendor.answers = [refusal] * 4
    events = [stage.aws.drop(f"photo-{n}.jpg", jpeg()) for n in range(12)]
    waiting = list(events)
    rounds = 0
    while waiting and rounds < 100:
        rounds += 1
        outcomes = [(event, stage.take(event)) for event in waiting]
        waiting = [event for event, outcome in outcomes if isinstance(outcome, Later)]
        pauses = [outcome.seconds for _, outcome in outcomes if isinstance(outcome, Later)]
        stage.clock.advance(max(pauses, default=0))
    assert {job.status for job in stage.all_jobs()} == {JobStatus.RUNNING}
    assert len(stage.all_jobs()) == 12
    assert len(stage.vendor.bodies) == 12 + 4
    assert stage.vendor.tasks == 12
    paused = [event for event in stage.aws.told() if "paused" in event["detail"]]
    assert [event["detail-type"] for event in paused] == ["Job Needs Attention"]
    assert "no credits" in paused[0]["detail"]["paused"]["reason"]


# --- going on from the record --------------------------------------------------------------------


def paused(stage: Stage) -> str:
    """Make a photo wait because of throttling; return its message."""
    stage.vendor.answers = [httpx.Response(429, json={"code": 429, "message": "slow down"})]
    assert isinstance(stage.drop(), Later)
    (message,) = stage.sent
    stage.clock.advance(60)
    return message


def test_a_photo_that_waited_goes_on_from_its_record(stage: Stage) -> None:
    """A waiting photo's message names its job, its record the reason, and it is charged once."""
    message = paused(stage)
    waiting = stage.job()
    assert json.loads(message)["detail"] == {"jobId": waiting.job_id}
    assert waiting.waiting is not None
    assert "slow down" in waiting.waiting.reason
    assert stage.take(message) == Handled()
    job = stage.job()
    assert (job.status, job.waiting, stage.vendor.tasks) == (JobStatus.RUNNING, None, 1)
    assert stage.vendor.bodies[0].keys() == stage.vendor.bodies[1].keys()
    assert stage.take(message) == Handled()
    assert stage.vendor.tasks == 1


def test_settings_that_change_while_a_photo_waits_are_for_the_next_one(stage: Stage) -> None:
    """A change of catwalk.json makes no second job of a waiting photo."""
    message = paused(stage)
    stage.aws.s3.put_object(Bucket=PHOTOS, Key="a/catwalk.json", Body=b'{"modelId": "044"}')
    assert stage.take(message) == Handled()
    assert stage.job().status is JobStatus.RUNNING
    assert stage.vendor.bodies[-1]["modelId"] == "002"


def test_a_photo_deleted_while_it_waits_is_rejected(stage: Stage) -> None:
    """A waiting job whose photo is deleted is REJECTED, and nothing is sent."""
    message = paused(stage)
    job = stage.job()
    assert job.photo is not None
    assert job.photo.version_id is not None
    stage.aws.s3.delete_object(Bucket=PHOTOS, Key="a/dress.jpg", VersionId=job.photo.version_id)
    assert stage.take(message) == Handled()
    job = stage.job()
    assert job.error is not None
    assert (job.status, job.error.code) == (JobStatus.REJECTED, ErrorCode.PHOTO_MISSING)
    assert stage.vendor.tasks == 0
    assert stage.aws.told_types()[-1] == "Job Rejected"


def test_the_same_bytes_dropped_again_outlive_the_version_that_waited(stage: Stage) -> None:
    """If a waiting job's version is deleted, a newer drop of the same bytes is still made."""
    message = paused(stage)
    waiting = stage.job()
    assert waiting.photo is not None
    assert waiting.photo.version_id is not None
    stage.drop()  # remembered by the job that waits
    stage.aws.s3.delete_object(Bucket=PHOTOS, Key="a/dress.jpg", VersionId=waiting.photo.version_id)
    assert stage.take(message) == Handled()
    assert (stage.job().status, stage.vendor.tasks) == (JobStatus.RUNNING, 1)
    sent = httpx.URL(stage.vendor.bodies[-1]["image"]).params["versionId"]
    assert sent != waiting.photo.version_id


def test_a_photo_archived_while_it_waits_is_rejected(stage: Stage) -> None:
    """A waiting job whose photo was archived is REJECTED with that reason."""
    message = paused(stage)
    stage.aws.s3.put_object(Bucket=PHOTOS, Key="a/dress.jpg", Body=jpeg(), StorageClass="GLACIER")
    waiting = stage.job()
    assert waiting.photo is not None
    assert waiting.photo.version_id is not None
    stage.aws.s3.delete_object(Bucket=PHOTOS, Key="a/dress.jpg", VersionId=waiting.photo.version_id)
    assert stage.take(message) == Handled()
    assert (stage.job().status, stage.vendor.tasks) == (JobStatus.REJECTED, 0)


@pytest.mark.parametrize(
    ("archived", "code"),
    [
        ("a/dress.jpg", "photo_unreadable"),
        ("a/dress.mask.png", "mask_mismatch"),
        ("a/catwalk.json", "bad_settings"),
    ],
)
def test_what_is_archived_is_rejected_with_its_own_sentence(
    stage: Stage, archived: str, code: str
) -> None:
    """An archived photo, mask or catwalk.json is REJECTED and costs nothing."""
    stage.drop()  # done without a mask: the job of the archived mask must be another
    done = len(stage.vendor.bodies)
    bodies = {"a/dress.jpg": jpeg(), "a/dress.mask.png": png(), "a/catwalk.json": b"{}"}
    event = stage.aws.drop("a/dress.jpg", jpeg())
    answer = stage.aws.s3.put_object(
        Bucket=PHOTOS, Key=archived, Body=bodies[archived], StorageClass="GLACIER"
    )
    if archived == "a/dress.jpg":
        event["detail"]["object"]["version-id"] = answer["VersionId"]
    assert stage.take(event) == Handled()
    rejected = [job for job in stage.all_jobs() if job.status is JobStatus.REJECTED]
    assert [job.error.code for job in rejected if job.error] == [code]
    assert "archived" in str(rejected[0].error)
    assert len(stage.vendor.bodies) == done
    if archived == "a/dress.mask.png":
        assert rejected[0].settings is not None
        assert rejected[0].settings.mask == archived


def test_a_mask_replaced_while_its_photo_waits_is_for_the_next_one(stage: Stage) -> None:
    """The vendor gets the mask with which the job was decided, also if it was replaced."""
    mask = stage.aws.s3.put_object(Bucket=PHOTOS, Key="a/dress.mask.png", Body=png())
    message = paused(stage)
    stage.aws.s3.put_object(Bucket=PHOTOS, Key="a/dress.mask.png", Body=png(padding=9))
    assert stage.take(message) == Handled()
    assert stage.job().status is JobStatus.RUNNING
    sent = httpx.URL(stage.vendor.bodies[-1]["mask"])
    assert sent.params["versionId"] == mask["VersionId"]


def test_a_mask_deleted_while_its_photo_waits_is_told(stage: Stage) -> None:
    """A job whose mask is gone is REJECTED; it is not sent without the mask."""
    stage.aws.s3.put_object(Bucket=PHOTOS, Key="a/dress.mask.png", Body=png())
    message = paused(stage)
    stage.aws.s3.delete_object(Bucket=PHOTOS, Key="a/dress.mask.png")
    posts = len(stage.vendor.bodies)
    assert stage.take(message) == Handled()
    assert stage.error() is ErrorCode.MASK_MISMATCH
    assert len(stage.vendor.bodies) == posts


def test_mask_and_url_go_on_as_they_were(stage: Stage) -> None:
    """A request by URL with a mask by URL waits and goes on like any other."""
    stage.vendor.answers = [httpx.ConnectError("refused")]
    detail = {
        "photo": {"url": "https://shop.example.com/a.jpg"},
        "mask": {"url": "https://shop.example.com/m.png"},
        "variants": [VARIANT],
    }
    assert isinstance(stage.take(requested(detail)), Later)
    (message,) = stage.sent
    stage.clock.advance(60)
    assert stage.take(message) == Handled()
    first, second = stage.vendor.bodies
    assert first == second
    assert first["mask"] == "https://shop.example.com/m.png"


def test_each_variant_waits_by_itself(stage: Stage) -> None:
    """A request whose second variant waits sends a message about that one alone."""
    stage.vendor.answers = [stage.vendor.accept, httpx.Response(429, json={"code": 429})]
    variants = [VARIANT, {**VARIANT, "modelId": "044"}]
    stage.drop()
    assert isinstance(
        stage.take(requested({"photo": {"key": "a/dress.jpg"}, "variants": variants})), Later
    )
    assert len(stage.sent) == 1


def test_a_message_about_a_job_that_was_deleted_is_done_with(stage: Stage) -> None:
    """A message about a job that no longer exists does nothing."""
    message = {"detail-type": "Job Continued", "detail": {"jobId": "gone"}}
    assert stage.take(message) == Handled()
    assert stage.all_jobs() == []


def test_a_dead_letter_of_a_job_starts_its_next_attempt(stage: Stage) -> None:
    """A redriven message of Catwalk's own restarts the job that it failed."""
    message = paused(stage)
    error = JobError(code=ErrorCode.INTERNAL, message="Its message is dead.")
    assert stage.jobs.dead_letter_job(stage.job(), error, message_id="m-1") is not None
    assert stage.take(message) == Handled()
    job = stage.job()
    assert (job.status, job.attempt, stage.vendor.tasks) == (JobStatus.RUNNING, 2, 1)


@pytest.mark.parametrize("detail", [{}, {"jobId": ""}, {"jobId": 5}])
def test_a_message_to_itself_that_names_no_job_is_recorded(
    stage: Stage, detail: dict[str, Any]
) -> None:
    """A broken message of Catwalk's own gets a record, too."""
    assert stage.take({"detail-type": "Job Continued", "detail": detail}) == Handled()
    job = stage.job()
    assert job.error is not None
    assert job.error.code is ErrorCode.BAD_REQUEST_EVENT


# --- what was spent ------------------------------------------------------------------------------


def entries(stage: Stage) -> list[tuple[str, int, str]]:
    """Return today's ledger entries."""
    today = stage.clock().date()
    return [
        (entry.folder, entry.attempt, entry.certainty)
        for entry in stage.ledger.entries(today, today)
    ]


def test_a_charge_is_in_the_ledger_once(stage: Stage) -> None:
    """Repeated deliveries enter the credit once, with folder and article."""
    event = stage.aws.drop("a/dress.jpg", jpeg(), {"sku": "S-1"})
    stage.take(event)
    stage.take(event)
    assert entries(stage) == [("a", 1, "charged")]


def test_what_cost_nothing_is_not_in_the_ledger(stage: Stage) -> None:
    """Neither a refused photo nor one that waits has an entry."""
    stage.vendor.answers = [httpx.Response(400, json={"code": 400, "message": "no garment"})]
    stage.drop("refused.jpg")
    paused(stage)
    assert entries(stage) == []


def test_a_submit_that_stayed_unknown_is_in_the_ledger_as_that(stage: Stage) -> None:
    """A submit that stays unknown is an `unknown` charge in the ledger."""
    stage.vendor.answers = [httpx.ReadTimeout("silence")]
    stage.drop()
    assert entries(stage) == [("a", 1, "unknown")]


def test_an_address_that_is_not_the_vendors_fails_no_photo(stage: Stage) -> None:
    """A page without the vendor's envelope pauses submission and names the parameter to mend."""
    stage.vendor.answers = [httpx.Response(404, text="<html>not found</html>")]
    outcome = stage.drop()
    assert isinstance(outcome, Later)
    assert outcome.seconds == ACCOUNT_PAUSE_SECONDS
    assert "VmakeBaseUrl" in outcome.reason
    assert stage.job().status is JobStatus.SUBMITTING
    assert stage.job().unsent
    stage.clock.advance(ACCOUNT_PAUSE_SECONDS + 1)
    assert stage.take(stage.sent[0]) == Handled()
    assert stage.job().status is JobStatus.RUNNING


# --- what is measured ------------------------------------------------------------------------


def measured(stage: Stage, name: str) -> list[float]:
    """Return the values of a metric, oldest first."""
    lines = [json.loads(line) for line in stage.measured]
    return [line[name] for line in lines if name in line]


def test_photo_of_two_variants_is_one_photo(stage: Stage) -> None:
    """Photos and jobs are counted once, also if a message is delivered twice."""
    variants = [{"modelId": "001"}, {"modelId": "003"}]
    stage.aws.drop("catwalk.json", json.dumps({"variants": variants}).encode())
    event = stage.aws.drop("a.jpg", jpeg())
    stage.take(event)
    stage.take(event)
    assert measured(stage, "PhotosIn") == [1]
    assert measured(stage, "JobsSubmitted") == [1, 1]


def test_wait_is_counted_from_the_drop(stage: Stage, clock: Clock) -> None:
    """Each measured wait begins at the photo's arrival, also if its message was sent again."""
    event = stage.aws.drop("a.jpg", jpeg())
    clock.advance(30)  # in the queue, behind others
    stage.vendor.answers = [httpx.ConnectError("down")] * 2
    stage.take(event)
    for _ in range(2):
        clock.advance(900)
        stage.take(stage.sent[0])
    assert measured(stage, "WaitSeconds") == [30, 930, 1830]
    assert stage.job().status is JobStatus.RUNNING


def test_wait_for_what_has_an_alarm_of_its_own_is_not_counted(stage: Stage, clock: Clock) -> None:
    """The wait for a refused key is not counted, for any photo.

    Otherwise the alarm photos-wait-too-long would fire after each pause and daily limit.
    """
    refused = httpx.Response(401, json={"code": 401, "message": "key"})
    stage.vendor.answers = [refused] * 12
    event = stage.aws.drop("a.jpg", jpeg())
    stage.take(event)
    behind = stage.aws.drop("b.jpg", jpeg(fill=2))
    stage.take(behind)
    for _ in range(10):
        clock.advance(MAX_PAUSE_SECONDS + SUSPECT_SECONDS)
        stage.take(event)
        stage.take(behind)
    assert measured(stage, "WaitSeconds") == []
    clock.advance(MAX_PAUSE_SECONDS + SUSPECT_SECONDS)
    stage.take(event)
    stage.take(behind)
    assert measured(stage, "WaitSeconds") == [905, 905]
    assert [job.status for job in stage.all_jobs()] == [JobStatus.RUNNING] * 2


def test_wait_for_the_daily_limit_is_not_counted(stage: Stage, clock: Clock) -> None:
    """The wait for the daily limit is not counted; a wait after it is."""
    stage.set(daily_credit_limit=1)
    stage.drop("a.jpg", jpeg())
    event = stage.aws.drop("b.jpg", jpeg(fill=2))
    for _ in range(8):
        clock.advance(900)
        stage.take(event)
    assert measured(stage, "WaitSeconds") == [0]
    stage.set(daily_credit_limit=2)
    stage.vendor.answers = [httpx.ConnectError("down")]
    clock.advance(900)
    stage.take(event)
    clock.advance(900)
    stage.take(event)
    assert measured(stage, "WaitSeconds") == [0, 900, 1800]


@pytest.mark.parametrize("said", ["2025-01-31T09:30:00Z", "2027-01-31T09:30:00Z", "soon", None])
def test_time_that_cannot_be_is_not_believed(stage: Stage, said: object) -> None:
    """An event's time in the past or future gives no absurd wait."""
    stage.aws.drop("a.jpg", jpeg())
    event = requested({"photo": {"key": "a.jpg"}, "variants": [dict(VARIANT)]})
    stage.take({**event, "time": said})
    assert measured(stage, "WaitSeconds") == [0]
    assert stage.job().arrived_at == stage.job().created_at


def test_limit_is_told_as_it_is_used_up(stage: Stage) -> None:
    """Each reserved credit emits the use of the limit, and a photo over the limit all of it."""
    stage.set(daily_credit_limit=2)
    for key in ("a.jpg", "b.jpg", "c.jpg"):
        stage.drop(key, jpeg(fill=len(measured(stage, "PhotosIn"))))
    assert measured(stage, "DailyCreditsUsed") == [50, 100, 100]
