"""A drop or request is decided once; later changes do not alter the decision."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

import httpx
import pytest

from shared.clock import iso
from shared.intake.arrivals import CLAIMING, KEPT, Arrival, Arrivals, DecidedJob, drop_id
from shared.intake.messages import arrival_message
from shared.intake.settings import MAX_EXTRA_BYTES, MAX_VARIANTS
from shared.models import (
    MAX_MESSAGE,
    ErrorCode,
    JobError,
    JobStatus,
    Photo,
    SceneType,
    Settings,
)
from shared.records.jobs import JobRepository
from shared.steps.dead_letters import DeadLetters
from shared.steps.submit import Handled, Later
from tests.factories import PHOTOS, START, TABLE, VARIANT, VENDOR, Aws, Clock, jpeg, png, requested
from tests.unit.test_submit import Stage

MOMENT: Final = START
VARIANTS: Final = json.dumps({"variants": [{"modelId": "001"}, {"modelId": "003"}]}).encode()


@pytest.fixture
def stage(aws: Aws, clock: Clock) -> Stage:
    """Return a stage with the template's defaults."""
    return Stage(aws, clock)


class S3Clock:
    """Sets the upload time of each version in S3's answers."""

    def __init__(self, aws: Aws) -> None:
        self._aws = aws
        self._landed: dict[str, datetime] = {}
        self._deleted: set[str] = set()
        aws.s3.meta.events.register("after-call.s3", self._say)
        aws.s3.meta.events.register("provide-client-params.s3.GetObject", self._note)
        self._asked: dict[str, Any] = {}

    def put(self, key: str, body: bytes, seconds: float) -> str:
        """Put an object this many seconds after `MOMENT`; return its version."""
        version = self._aws.s3.put_object(Bucket=PHOTOS, Key=key, Body=body)["VersionId"]
        self._landed[version] = MOMENT + timedelta(seconds=seconds)
        return str(version)

    def delete(self, key: str, seconds: float) -> None:
        """Delete an object this many seconds after `MOMENT`."""
        version = self._aws.s3.delete_object(Bucket=PHOTOS, Key=key)["VersionId"]
        self._landed[version] = MOMENT + timedelta(seconds=seconds)
        self._deleted.add(key)

    def drop(self, key: str = "a/dress.jpg", seconds: float = 0) -> dict[str, Any]:
        """Drop a photo this many seconds after `MOMENT`; return its event."""
        event = self._aws.drop(key, jpeg())
        landed = MOMENT + timedelta(seconds=seconds)
        self._landed[event["detail"]["object"]["version-id"]] = landed
        return {**event, "time": f"{landed:%Y-%m-%dT%H:%M:%SZ}"}

    def _note(self, params: dict[str, Any], **_: Any) -> None:
        self._asked = params

    def _say(self, parsed: dict[str, Any], **_: Any) -> None:
        entries = [parsed, *parsed.get("Versions", []), *parsed.get("DeleteMarkers", [])]
        for entry in entries:
            if entry.get("VersionId") in self._landed:
                entry["LastModified"] = self._landed[entry["VersionId"]]
        # As S3 does, and moto does not: it says that a delete marker is why there is nothing.
        missing = parsed.get("Error", {}).get("Code") == "NoSuchKey"
        if missing and self._asked.get("Key") in self._deleted:
            parsed["ResponseMetadata"]["HTTPHeaders"]["x-amz-delete-marker"] = "true"


@pytest.fixture
def s3_clock(aws: Aws) -> S3Clock:
    """Return a control of S3's times."""
    return S3Clock(aws)


# --- the world changes between two deliveries ----------------------------------------------------


def _folder_file(stage: Stage) -> None:
    stage.aws.s3.put_object(Bucket=PHOTOS, Key="a/catwalk.json", Body=VARIANTS)


def _mask(stage: Stage) -> None:
    stage.aws.s3.put_object(Bucket=PHOTOS, Key="a/dress.mask.png", Body=png())


def _defaults(stage: Stage) -> None:
    stage.set(default_model_id="044", default_batch_size=1)


def _bytes(stage: Stage) -> None:
    stage.aws.s3.put_object(Bucket=PHOTOS, Key="a/dress.jpg", Body=jpeg(fill=99))


CHANGES: Final = pytest.mark.parametrize("change", [_folder_file, _mask, _defaults, _bytes])


@CHANGES
def test_drop_delivered_again_after_a_change_is_the_same_job(
    stage: Stage, change: Callable[[Stage], None]
) -> None:
    """Later changes of folder file, mask, defaults or bytes do not change a decided drop."""
    event = stage.aws.drop("a/dress.jpg", jpeg())
    stage.take(event)
    change(stage)
    stage.take({**event, "id": "another-event-id"})
    assert stage.vendor.tasks == 1
    assert len(stage.all_jobs()) == 1


@CHANGES
def test_request_delivered_again_after_a_change_is_the_same_job(
    stage: Stage, change: Callable[[Stage], None]
) -> None:
    """Later changes do not change a decided request."""
    stage.aws.drop("a/dress.jpg", jpeg())
    event = requested({"photo": {"key": "a/dress.jpg"}, "variants": [{"batchSize": 2}]})
    stage.take(event)
    change(stage)
    stage.take(event)
    assert stage.vendor.tasks == 1
    assert len(stage.all_jobs()) == 1


@CHANGES
def test_request_without_variants_is_decided_once(
    stage: Stage, change: Callable[[Stage], None]
) -> None:
    """A later change of the folder file does not change a decided request without variants."""
    stage.aws.drop("a/dress.jpg", jpeg())
    event = requested({"requestId": "r-1", "photo": {"key": "a/dress.jpg"}})
    stage.take(event)
    change(stage)
    stage.take(event)
    stage.take({**event, "id": "sent-again"})
    assert stage.vendor.tasks == 1
    assert len(stage.all_jobs()) == 1


@CHANGES
def test_delivery_after_a_crash_goes_by_the_first_decision(
    stage: Stage, change: Callable[[Stage], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a crash behind the POST and a change, the same message goes by the first decision."""
    event = stage.aws.drop("a/dress.jpg", jpeg())
    monkeypatch.setattr(stage.aws.executions, "start_execution", _throttled)
    with pytest.raises(RuntimeError, match="throttled"):
        stage.take(event)
    monkeypatch.undo()
    change(stage)
    stage.take(event)
    assert stage.vendor.tasks == 1
    assert stage.job().status is JobStatus.RUNNING
    assert len(stage.aws.started()) == 1


def _throttled(**_: Any) -> None:
    raise RuntimeError("throttled")


def test_two_deliveries_that_decide_at_once_agree(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If two deliveries read different folder files, the first stored decision counts."""
    event = stage.aws.drop("a/dress.jpg", jpeg())
    decide, others = Arrivals.decide, [event]

    def decided_meanwhile(self: Arrivals, arrival: Any, **more: Any) -> Any:
        if others:
            other = others.pop()
            _defaults(stage)
            stage.take(other)
        return decide(self, arrival, **more)

    monkeypatch.setattr(Arrivals, "decide", decided_meanwhile)
    submitter = stage.submitter
    stage.take(event)
    submitter.handle(json.dumps(event), "late", _batch(stage))
    assert stage.vendor.tasks == 1
    job = stage.job()
    assert job.settings is not None
    assert job.settings.model_id == "044"


def _batch(stage: Stage) -> Any:
    from shared.steps.submit import Batch  # noqa: PLC0415  used here alone

    return Batch(lambda: stage.remaining)


# --- as of the moment of the drop ----------------------------------------------------------------


@pytest.mark.parametrize("seconds", [-5, 0])
def test_folder_file_that_was_there_counts(stage: Stage, s3_clock: S3Clock, seconds: float) -> None:
    """A catwalk.json that was uploaded before the photo, or in the same second, applies."""
    s3_clock.put("a/catwalk.json", b'{"modelId": "003"}', seconds)
    stage.take(s3_clock.drop())
    assert stage.vendor.bodies[0]["modelId"] == "003"


def test_folder_file_that_came_while_the_message_waited_is_for_later_photos(
    stage: Stage, s3_clock: S3Clock
) -> None:
    """In place of a later catwalk.json, its earlier version or the file above it applies."""
    s3_clock.put("catwalk.json", b'{"modelId": "001"}', -60)
    s3_clock.put("b/catwalk.json", b'{"modelId": "003"}', -60)
    first, second = s3_clock.drop("a/dress.jpg"), s3_clock.drop("b/dress.jpg")
    s3_clock.put("a/catwalk.json", b'{"modelId": "004"}', 5)
    s3_clock.put("b/catwalk.json", b'{"modelId": "004"}', 5)
    s3_clock.put("b/catwalk.json", b"broken", 9)
    stage.take(first)
    stage.take(second)
    assert [body["modelId"] for body in stage.vendor.bodies] == ["001", "003"]
    stage.take(s3_clock.drop("a/later.jpg", 6))
    assert stage.vendor.bodies[-1]["modelId"] == "004"


def test_folder_file_deleted_while_the_message_waited_still_counts(
    stage: Stage, s3_clock: S3Clock
) -> None:
    """A catwalk.json that was deleted after the drop still applies."""
    s3_clock.put("a/catwalk.json", b'{"modelId": "003"}', -60)
    event = s3_clock.drop()
    s3_clock.delete("a/catwalk.json", 5)
    stage.take(event)
    assert stage.vendor.bodies[0]["modelId"] == "003"
    stage.take(s3_clock.drop("a/later.jpg", 6))
    assert stage.vendor.bodies[-1]["modelId"] == "002"


def test_mask_as_of_the_drop(stage: Stage, s3_clock: S3Clock) -> None:
    """A later mask does not apply; of a replaced mask the earlier version is sent."""
    before = s3_clock.put("b/dress.mask.png", png(), -60)
    gone = s3_clock.put("c/dress.mask.png", png(), -60)
    events = [s3_clock.drop(f"{folder}/dress.jpg") for folder in "abc"]
    s3_clock.put("a/dress.mask.png", png(), 5)
    s3_clock.put("b/dress.mask.png", png(padding=9), 5)
    s3_clock.delete("c/dress.mask.png", 5)
    for event in events:
        stage.take(event)
    masks = [body.get("mask") for body in stage.vendor.bodies]
    versions = [httpx.URL(mask).params["versionId"] if mask else None for mask in masks]
    assert versions == [None, before, gone]


# --- requests without variants -------------------------------------------------------------------


def test_request_without_variants_makes_what_a_drop_makes(stage: Stage) -> None:
    """Without variants, a request has the settings of photo, folder and stack, as a drop."""
    stage.aws.drop("a/catwalk.json", b'{"modelId": "044", "batchSize": 2, "sku": "S-1"}')
    event = stage.aws.drop("a/dress.jpg", jpeg(), {"batch-size": "1"})
    stage.take(requested({"requestId": "r-1", "photo": {"key": "a/dress.jpg"}}))
    (job,) = stage.all_jobs()
    assert job.settings is not None
    assert (job.settings.model_id, job.settings.batch_size, job.sku) == ("044", 1, "S-1")
    stage.take(requested({"photo": {"key": "a/dress.jpg"}}, event_id="r-2"))
    stage.take(event)
    assert len(stage.all_jobs()) == 2, "without a requestId it is the drop's own job"


def test_request_without_variants_makes_the_folders_variants(stage: Stage) -> None:
    """A request without variants makes the folder's variants, as a drop does."""
    stage.aws.drop("a/catwalk.json", VARIANTS)
    stage.aws.drop("a/dress.jpg", jpeg())
    stage.take(requested({"requestId": "r-1", "photo": {"key": "a/dress.jpg"}}))
    models = {job.settings.model_id for job in stage.all_jobs() if job.settings}
    assert models == {"001", "003"}


def test_request_by_url_without_variants(stage: Stage) -> None:
    """A photo by URL has the stack's settings."""
    stage.take(requested({"photo": {"url": "https://cdn.example.com/dress.jpg"}}))
    job = stage.job()
    assert job.settings is not None
    assert job.settings.model_id == stage.config.default_model_id


def test_request_without_variants_for_a_missing_photo(stage: Stage) -> None:
    """A request without variants for a missing photo is REJECTED, and can be sent again."""
    event = requested({"requestId": "r-1", "photo": {"key": "a/dress.jpg"}})
    stage.take(event)
    assert stage.error() is ErrorCode.PHOTO_MISSING
    stage.aws.drop("a/dress.jpg", jpeg())
    stage.take(event)
    stage.take({**event, "id": "e-2"})
    assert stage.vendor.tasks == 1


# --- variants ------------------------------------------------------------------------------------


def test_all_variants_have_records_before_the_first_post(stage: Stage) -> None:
    """All variants have records before the first POST."""
    stage.aws.drop("a/catwalk.json", VARIANTS)
    event = stage.aws.drop("a/dress.jpg", jpeg())

    def slow(request: httpx.Request) -> httpx.Response:
        stage.remaining = 10
        return stage.vendor.accept(request)

    stage.vendor.answers = [slow]
    waits = stage.take(event)
    assert isinstance(waits, Later)
    assert sorted(job.status for job in stage.all_jobs()) == [
        JobStatus.ACCEPTED,
        JobStatus.RUNNING,
    ]


def test_arrival_whose_claims_were_cut_short_is_found_and_finished(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the function dies between two claims and the queue is purged, no variant is lost."""
    stage.aws.drop("a/catwalk.json", VARIANTS)
    event = stage.aws.drop("a/dress.jpg", jpeg())
    claim, claims = JobRepository.claim, [1]

    def cut_short(self: JobRepository, new: Any, **more: Any) -> Any:
        if not claims:
            raise KeyboardInterrupt
        claims.pop()
        return claim(self, new, **more)

    monkeypatch.setattr(JobRepository, "claim", cut_short)
    with pytest.raises(KeyboardInterrupt):
        stage.take(event)
    monkeypatch.undo()
    arrivals = Arrivals(stage.aws.dynamodb, TABLE, now=stage.clock)
    (arrival_id,) = arrivals.unclaimed(until="9")
    assert len(stage.all_jobs()) == 1
    stage.take(arrival_message(arrival_id))
    assert [job.status for job in stage.all_jobs()] == [JobStatus.RUNNING] * 2
    assert list(arrivals.unclaimed(until="9")) == []
    assert stage.vendor.tasks == 2


def test_message_about_an_arrival_that_is_gone_is_done_with(stage: Stage) -> None:
    """A message about an arrival that no longer exists does nothing."""
    assert stage.take(arrival_message("none")) == Handled()
    assert stage.aws.records() == []


def test_dead_letter_of_three_variants_leaves_none_without_a_record(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variants without records get some when their message is a dead letter, and are redriven."""
    variants = [{"modelId": model} for model in ("001", "003", "004")]
    stage.aws.drop("a/dress.jpg", jpeg())
    event = requested({"photo": {"key": "a/dress.jpg"}, "variants": variants})
    claim, claims = JobRepository.claim, [1]

    def cut_short(self: JobRepository, new: Any, **more: Any) -> Any:
        if not claims:
            raise KeyboardInterrupt
        claims.pop()
        return claim(self, new, **more)

    monkeypatch.setattr(JobRepository, "claim", cut_short)
    with pytest.raises(KeyboardInterrupt):
        stage.take(event)
    monkeypatch.undo()
    dead_letters = _dead_letters(stage)
    stage.aws.sqs.send_message(QueueUrl=stage.aws.dead_letter_url, MessageBody=json.dumps(event))
    (letter,) = dead_letters.letters(1)
    assert dead_letters.record(letter, stage.announcer)
    jobs = stage.all_jobs()
    assert len(jobs) == 3
    assert {(job.status, job.dead_letter) for job in jobs} == {
        (JobStatus.FAILED, letter.message_id)
    }
    dead_letters.redrive(letter)
    (body,) = stage.aws.take(stage.aws.queue_url)
    stage.take(body)
    assert [job.status for job in stage.all_jobs()] == [JobStatus.RUNNING] * 3
    assert stage.vendor.tasks == 3


@CHANGES
def test_redrive_after_a_mend_goes_by_the_decision(
    stage: Stage, change: Callable[[Stage], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A redriven dead letter goes by the stored decision."""
    event = stage.aws.drop("a/dress.jpg", jpeg())
    monkeypatch.setattr(stage.aws.executions, "start_execution", _throttled)
    with pytest.raises(RuntimeError, match="throttled"):
        stage.take(event)
    monkeypatch.undo()
    dead_letters = _dead_letters(stage)
    stage.aws.sqs.send_message(QueueUrl=stage.aws.dead_letter_url, MessageBody=json.dumps(event))
    (letter,) = dead_letters.letters(1)
    dead_letters.record(letter, stage.announcer)
    change(stage)
    dead_letters.redrive(letter)
    (body,) = stage.aws.take(stage.aws.queue_url)
    stage.take(body)
    assert stage.vendor.tasks == 1
    assert stage.job().status is JobStatus.RUNNING


def _dead_letters(stage: Stage) -> DeadLetters:
    return DeadLetters(
        stage.aws.sqs,
        dead_letter_url=stage.aws.dead_letter_url,
        queue_url=stage.aws.queue_url,
        photos_bucket=PHOTOS,
        vendor_origin=VENDOR,
        jobs=stage.jobs,
        arrivals=Arrivals(stage.aws.dynamodb, TABLE, now=stage.clock),
    )


# --- one requestId is one request ----------------------------------------------------------------


def _by_url(query: str, **more: Any) -> dict[str, Any]:
    url = f"https://cdn.example.com/dress.jpg{query}"
    return {"requestId": "r-1", "photo": {"url": url}, "variants": [dict(VARIANT)], **more}


def test_request_sent_twice_is_not_paid_again_after_a_failure(stage: Stage) -> None:
    """A request that is sent twice, with two event ids, is paid once, also after a failure."""
    stage.vendor.answers = [httpx.Response(400, json={"code": 400, "message": "bad image"})]
    stage.take(requested(_by_url(""), event_id="e-1"))
    assert stage.job().status is JobStatus.FAILED
    stage.take(requested(_by_url(""), event_id="e-2"))
    assert len(stage.vendor.bodies) == 1
    assert stage.job().attempt == 1


def test_request_with_a_newly_signed_url_is_the_same_request(stage: Stage) -> None:
    """A request with a newly signed URL is the same request."""
    stage.take(requested(_by_url("?X-Amz-Signature=1"), event_id="e-1"))
    stage.take(requested(_by_url("?X-Amz-Signature=2"), event_id="e-2"))
    assert stage.vendor.tasks == 1
    assert len(stage.all_jobs()) == 1


def test_request_id_with_other_content_is_told(stage: Stage) -> None:
    """Another request with the same requestId is REJECTED, and the message names the first one."""
    stage.take(requested(_by_url(""), event_id="e-1"))
    other = _by_url("", variants=[{**VARIANT, "modelId": "044"}])
    for event_id in ("e-2", "e-3"):
        stage.take(requested(other, event_id=event_id))
    assert stage.vendor.tasks == 1
    (rejected,) = [job for job in stage.all_jobs() if job.status is JobStatus.REJECTED]
    assert rejected.error is not None
    assert rejected.error.code is ErrorCode.BAD_REQUEST_EVENT
    assert "'r-1' already belongs to another request" in rejected.error.message
    assert "cdn.example.com" in rejected.error.message
    assert sorted(stage.aws.told_types()) == ["Job Rejected", "Job Submitted"]


def test_request_that_was_refused_may_be_sent_again(stage: Stage) -> None:
    """A rejected request for a late photo can be sent again, and costs one credit."""
    asked = {"requestId": "r-1", "photo": {"key": "a/dress.jpg"}, "variants": [dict(VARIANT)]}
    stage.take(requested(asked, event_id="e-1"))
    assert stage.error() is ErrorCode.PHOTO_MISSING
    stage.aws.drop("a/dress.jpg", jpeg())
    for event_id in ("e-2", "e-3", "e-1"):
        stage.take(requested(asked, event_id=event_id))
    assert stage.vendor.tasks == 1


def test_arrival_of_a_request_id_never_expires(stage: Stage) -> None:
    """Other arrivals expire only when their message can no longer be delivered."""
    event = stage.aws.drop("a/dress.jpg", jpeg())
    stage.take(event)
    stage.take(requested(_by_url(""), event_id="e-1"))
    stage.take(requested(_by_url("", requestId=None), event_id="e-2"))
    expiries = {
        item["source_key"]["S"]: item.get("expires_at", {}).get("N")
        for item in stage.aws.records()
        if item["pk"]["S"].startswith("ARRIVAL#") and "request_id" in item
    }
    assert expiries == {"url/cdn.example.com/dress.jpg": None}
    arrivals = Arrivals(stage.aws.dynamodb, TABLE, now=stage.clock)
    version = event["detail"]["object"]["version-id"]
    arrival = arrivals.get(drop_id(PHOTOS, "a/dress.jpg", version))
    assert arrival is not None
    assert arrival.expires_at == int((stage.clock() + KEPT).timestamp())
    stage.clock.advance(40 * 86_400)
    stage.take(event)
    renewed = arrivals.get(arrival.arrival_id)
    assert renewed is not None
    assert renewed.expires_at == int((stage.clock() + KEPT).timestamp())


def test_arrival_stands_in_no_index_of_jobs(stage: Stage) -> None:
    """Arrivals are in no index of jobs."""
    stage.drop(sku="s-1")
    job = stage.job()
    assert [found.job_id for found in stage.jobs.of_source("a/dress.jpg")] == [job.job_id]
    assert [found.job_id for found in stage.jobs.of_sku("s-1")] == [job.job_id]
    assert CLAIMING not in set(JobStatus)


@pytest.mark.thorough
def test_twenty_variants_with_the_largest_extra_are_one_item(stage: Stage) -> None:
    """The largest decision fits into DynamoDB's 400 kB."""
    extra: dict[str, Any] = {"x": [[]] * 4000}
    assert 15_000 < len(json.dumps(extra)) <= MAX_EXTRA_BYTES
    settings = Settings(model_id="002", scene_type=SceneType.ORIGINAL, batch_size=4, extra=extra)
    error = JobError(code=ErrorCode.MASK_MISMATCH, message="é" * MAX_MESSAGE)
    jobs = [
        DecidedJob(job_id=f"{number:032}", settings=settings, error=error)
        for number in range(MAX_VARIANTS)
    ]
    long = f"https://example.com/{'x' * 8_000}"
    arrival = Arrival(
        arrival_id="a",
        trigger="t",
        source_key="k" * 1_024,
        photo=Photo(url=long),
        mask_name=long,
        arrived_at=iso(stage.clock()),
        jobs=tuple(jobs),
    )
    arrivals = Arrivals(stage.aws.dynamodb, TABLE, now=stage.clock)
    assert arrivals.decide(arrival) is arrival
    assert arrivals.get("a") == arrival
