"""A photo's way through the functions, and the outcome of each fault of the vendor.

`World.run` plays the state machine, statemachine/job.asl.yaml. In tests/e2e the local AWS runs it.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from shared.models import Job
from tests.factories import KEY, RESULTS, VARIANT, jpeg, png, requested
from tests.integration.conftest import World

Deploy = Callable[..., World]


def stored(world: World, job: Job) -> list[str]:
    """Check that a job's results lie in ResultsBucket as the record says; return their keys."""
    for result in job.results:
        answer = world.aws.s3.get_object(Bucket=RESULTS, Key=result.key)
        body = answer["Body"].read()
        assert hashlib.sha256(body).hexdigest() == result.sha256
        assert len(body) == result.bytes
        assert answer["ContentType"] == result.content_type
        assert answer["Metadata"]["job-id"] == job.job_id
    return [result.key for result in job.results]


# --- without faults -----------------------------------------------------------------------------


def test_photo_goes_all_the_way(world: World) -> None:
    """A dropped photo comes back as four images, one credit, two events and a full record."""
    world.drop(sku="S-1")
    assert world.job().status == "RUNNING"
    job = world.finish()
    assert (job.status, job.attempt, job.credits, job.sku) == ("SUCCEEDED", 1, 1, "S-1")
    assert len(set(stored(world, job))) == 4
    assert all(key.startswith("a/dress/002-original/") for key in stored(world, job))
    assert world.charges() == 1
    assert world.aws.told_types() == ["Job Submitted", "Job Succeeded"]
    assert job.submitted_at is not None
    assert job.finished_at is not None
    assert job.created_at <= job.submitted_at <= job.finished_at


def test_results_are_copied_at_once(world: World) -> None:
    """The four results of a job are uploaded in parallel."""
    world.drop()
    all_four = Barrier(4, timeout=30)

    def wait(**_: Any) -> None:
        all_four.wait()  # with fewer than four at once, it times out

    events = world.aws.s3.meta.events
    events.register("before-call.s3.PutObject", wait)
    try:
        job = world.finish()
    finally:
        events.unregister("before-call.s3.PutObject", wait)
    assert job.status == "SUCCEEDED"
    assert len(stored(world, job)) == 4


def test_png_goes_all_the_way(world: World) -> None:
    """A PNG is a photo like a JPEG."""
    world.drop("a/dress.png", png())
    assert world.finish("a/dress.png").status == "SUCCEEDED"
    assert world.charges("a/dress.png") == 1


def test_settings_and_mask_arrive_at_the_vendor(world: World) -> None:
    """The vendor gets the settings of metadata, folder file and defaults, and the mask."""
    world.aws.drop("a/catwalk.json", b'{"sceneType": "preset", "sceneId": "035", "batchSize": 1}')
    world.aws.drop("a/dress.mask.png", png())
    world.drop(model_id="044", extra='{"size": "m"}')
    (task,) = world.vendor.state()["tasks"]
    request = task["request"]
    assert {name: request[name] for name in ("modelId", "sceneType", "sceneId", "batchSize")} == {
        "modelId": "044",
        "sceneType": "preset",
        "sceneId": "035",
        "batchSize": 1,
    }
    assert request["size"] == "m"
    assert task["mask"] is not None
    job = world.finish()
    assert len(stored(world, job)) == 1
    assert job.results[0].key.startswith("a/dress/044-preset-035/")


def test_request_with_variants_goes_all_the_way(world: World) -> None:
    """Each variant of a backend's request gets its own task, job and images."""
    world.aws.drop("a/dress.jpg", jpeg())
    variants = [dict(VARIANT), {**VARIANT, "sceneType": "color", "color": "#FF0000"}]
    detail = {"requestId": "r-1", "photo": {"key": "a/dress.jpg"}, "variants": variants}
    world.deliver(requested(detail))
    for job in world.jobs():
        assert world.run(job) == "done"
    jobs = world.jobs()
    assert [job.status for job in jobs] == ["SUCCEEDED", "SUCCEEDED"]
    assert {job.request_id for job in jobs} == {"r-1"}
    assert len({key for job in jobs for key in stored(world, job)}) == 8
    assert world.charges() == 2


def test_batch_of_messages_each_for_itself(world: World) -> None:
    """Each message of a batch is handled by itself: one is submitted, two are rejected."""
    good = world.aws.drop("good.jpg", jpeg())
    bad = world.aws.drop("bad.txt", b"hello")
    folder = world.aws.drop("catwalk.json", b"{}")
    bodies = [json.dumps(good), "rubbish", json.dumps(bad), json.dumps(folder)]
    assert world.submit(*bodies) == []
    assert world.job("good.jpg").status == "RUNNING"
    assert world.job("bad.txt").status == "REJECTED"
    assert sorted(world.aws.told_types()) == ["Job Rejected", "Job Rejected", "Job Submitted"]


def test_duplicates_all_along_change_nothing(world: World) -> None:
    """If every event and step comes twice, there is one charge, one record and each event once."""
    event = world.aws.drop("a/dress.jpg", jpeg())
    world.deliver(event)
    world.deliver(event)
    state = world.input_of(world.job())
    done = world.poll(state)
    assert world.poll(state)["outcome"] == done["outcome"] == "finalize"
    assert world.finalize(done)["outcome"] == "done"
    before = world.job()
    assert world.finalize(done)["outcome"] == "done"
    assert world.poll(state)["outcome"] == "superseded"
    world.deliver(event)
    assert world.job() == before
    assert world.charges() == 1
    assert world.aws.told_types() == ["Job Submitted", "Job Succeeded"]


def test_photo_dropped_again_after_a_failure(world: World) -> None:
    """A new drop of a failed photo starts attempt 2, with one more credit and its own execution."""
    world.vendor.fault("read", "task_error")
    world.drop()
    assert world.finish().status == "FAILED"
    world.drop()
    job = world.finish()
    assert (job.status, job.attempt, job.credits, world.charges()) == ("SUCCEEDED", 2, 2, 2)
    assert job.history[0].task_id != job.task_id
    assert world.aws.started() == [f"{job.job_id}-1", f"{job.job_id}-2"]


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "events/submit").glob("*")))
def test_example_payload_ends_in_a_record_or_is_no_photo(deploy: Deploy, path: Path) -> None:
    """Each example for `sam local invoke` is handled, and none becomes a dead letter."""
    world = deploy(PHOTOS_BUCKET="catwalk-photosbucket-example")
    world.aws.s3.create_bucket(Bucket="catwalk-photosbucket-example")
    event = json.loads(path.read_text("utf-8"))
    for record in event["Records"]:
        world.deliver(record["body"])
    assert world.dead == []
    silent = any(name in path.stem for name in ("folder-file", "mask-dropped", "job-continued"))
    assert bool(world.aws.records()) is not silent


# --- faults of the vendor: create ----------------------------------------------------------------

CREATE: list[tuple[str, dict[str, Any], str, int]] = [
    ("lost_response", {}, "SUBMIT_UNKNOWN", 1),
    ("drop_before", {}, "SUBMIT_UNKNOWN", 0),
    ("error_after_charge", {}, "SUBMIT_UNKNOWN", 1),
    ("error_after_charge", {"status": 502}, "SUBMIT_UNKNOWN", 1),
    ("html", {"status": 502}, "SUBMIT_UNKNOWN", 0),
    ("html", {"status": 502, "accepted": True}, "SUBMIT_UNKNOWN", 1),
    ("html", {"status": 200, "accepted": True}, "SUBMIT_UNKNOWN", 1),
    ("garbage", {"flavour": "text"}, "SUBMIT_UNKNOWN", 1),
    ("garbage", {"flavour": "cut"}, "SUBMIT_UNKNOWN", 1),
    ("garbage", {"flavour": "types"}, "SUBMIT_UNKNOWN", 1),
    ("garbage", {"flavour": "no_data"}, "SUBMIT_UNKNOWN", 1),
    ("empty", {}, "SUBMIT_UNKNOWN", 1),
    ("truncated", {}, "SUBMIT_UNKNOWN", 1),
    ("oversize", {"bytes": 3_000_000}, "SUBMIT_UNKNOWN", 1),
    ("redirect", {}, "SUBMIT_UNKNOWN", 0),
    ("status", {"status": 500}, "SUBMIT_UNKNOWN", 0),
    ("status", {"status": 200, "code": 500}, "SUBMIT_UNKNOWN", 0),
    ("status", {"status": 503, "raw": "down"}, "SUBMIT_UNKNOWN", 0),
    ("status", {"status": 503}, "RUNNING", 1),
    ("status", {"status": 429}, "RUNNING", 1),
    ("status", {"status": 429, "headers": {"Retry-After": "999"}}, "RUNNING", 1),
    ("status", {"status": 200, "code": 429}, "RUNNING", 1),
    ("status", {"status": 400}, "FAILED", 0),
    ("status", {"status": 200, "code": 20017}, "SUBMIT_UNKNOWN", 0),
    ("status", {"status": 200, "code": 20018, "message": "no garment"}, "FAILED", 0),
    ("no_credits", {"style": "402"}, "RUNNING", 1),
    ("no_credits", {"style": "403"}, "RUNNING", 1),
    ("no_credits", {"style": "200"}, "RUNNING", 1),
    ("bad_key", {}, "RUNNING", 1),
]


@pytest.mark.parametrize(
    ("fault", "params", "status", "charges"),
    [pytest.param(*row, id=f"{row[0]}-{'-'.join(map(str, row[1].values()))}") for row in CREATE],
)
def test_fault_of_a_create(
    world: World, fault: str, params: dict[str, Any], status: str, charges: int
) -> None:
    """However a create fails, the photo is charged at most once, and its record says so."""
    world.vendor.fault("create", fault, **params)
    event = world.aws.drop("a/dress.jpg", jpeg())
    world.deliver(event)
    world.sleep(3_600)
    world.deliver(event)
    job = world.job()
    assert (job.status, world.charges(), world.dead) == (status, charges, [])
    told = {
        "SUBMIT_UNKNOWN": ["Job Needs Attention"],
        # Submission was paused for all photos and resumed.
        "RUNNING": ["Job Needs Attention", "Job Submitted"],
    }
    assert world.aws.told_types() == told.get(status, ["Job Failed"])
    if status == "RUNNING":
        assert world.finish().status == "SUCCEEDED"


def test_fault_of_a_create_where_unknown_is_sent_again(deploy: Deploy) -> None:
    """With OnUnknownSubmit=resubmit the photo is sent again, at the risk of a second credit."""
    world = deploy(ON_UNKNOWN_SUBMIT="resubmit")
    world.vendor.fault("create", "lost_response")
    world.drop()
    job = world.finish()
    assert (job.status, job.attempt, world.charges()) == ("SUCCEEDED", 2, 2)


def test_empty_account_is_waited_out(world: World) -> None:
    """Photos wait while the account has no credits, and are sent once it has some."""
    world.vendor.settings(credits=1)
    world.drop("one.jpg", jpeg(fill=1))
    two = json.dumps(world.aws.drop("two.jpg", jpeg(fill=2)))
    for _ in range(6):
        assert world.submit(two) == []
        ((two, seconds),) = world.queued()
        assert world.job("two.jpg").job_id in two
        world.sleep(seconds)
    waiting = world.job("two.jpg")
    assert waiting.attempt == 1
    assert waiting.waiting is not None
    assert "insufficient credits" in waiting.waiting.reason
    world.vendor.settings(credits=5)
    world.deliver(two)
    assert world.finish("two.jpg").status == "SUCCEEDED"
    assert world.charges("two.jpg") == 1


def test_photo_that_the_vendor_cannot_read_is_refused(world: World) -> None:
    """A photo's name in a refusal, such as new-balance, does not make it account trouble."""
    url = f"{world.vendor_url}/new-balance.jpg"
    world.deliver(requested({"photo": {"url": url}, "variants": [VARIANT]}))
    (item,) = [item for item in world.aws.records() if item["pk"]["S"].startswith("JOB#")]
    assert (item["status"]["S"], item["error"]["M"]["code"]["S"]) == ("FAILED", "vendor_rejected")


# --- faults of the vendor: read ------------------------------------------------------------------

READ: list[tuple[str, dict[str, Any], str, str | None]] = [
    ("lost_response", {}, "SUCCEEDED", None),
    ("drop_before", {"times": 5}, "SUCCEEDED", None),
    ("status", {"status": 500, "times": 5}, "SUCCEEDED", None),
    ("status", {"status": 404, "times": 3}, "SUCCEEDED", None),
    ("status", {"status": 404, "raw": "no route", "times": 20}, "SUCCEEDED", None),
    ("status", {"status": 429, "headers": {"Retry-After": "99"}}, "SUCCEEDED", None),
    ("status", {"status": 200, "code": 5}, "SUCCEEDED", None),
    ("html", {"status": 200, "times": 5}, "SUCCEEDED", None),
    ("html", {"status": 404}, "SUCCEEDED", None),
    ("garbage", {"flavour": "text"}, "SUCCEEDED", None),
    ("garbage", {"flavour": "cut"}, "SUCCEEDED", None),
    ("garbage", {"flavour": "types"}, "SUCCEEDED", None),
    ("garbage", {"flavour": "no_data"}, "SUCCEEDED", None),
    ("empty", {}, "SUCCEEDED", None),
    ("truncated", {}, "SUCCEEDED", None),
    ("oversize", {"bytes": 3_000_000}, "SUCCEEDED", None),
    ("redirect", {}, "SUCCEEDED", None),
    ("bad_key", {"times": 3}, "SUCCEEDED", None),
    ("unknown_status", {"times": 5}, "SUCCEEDED", None),
    ("no_results", {"times": 5}, "SUCCEEDED", None),
    ("single_result", {}, "SUCCEEDED", None),
    ("task_error", {}, "FAILED", "vendor_task_error"),
    ("gone", {}, "FAILED", "vendor_task_error"),
    ("stuck", {"times": None}, "FAILED", "timed_out"),
    ("unknown_status", {"times": None}, "FAILED", "timed_out"),
    ("status", {"status": 500, "times": None}, "FAILED", "timed_out"),
]


@pytest.mark.parametrize(
    ("fault", "params", "status", "code"),
    [pytest.param(*row, id=f"{row[0]}-{'-'.join(map(str, row[1].values()))}") for row in READ],
)
def test_fault_of_a_read(
    deploy: Deploy, fault: str, params: dict[str, Any], status: str, code: str | None
) -> None:
    """Failed reads are repeated; a job ends only with its task or at the deadline."""
    world = deploy(TASK_TIMEOUT_SECONDS="1800")
    world.vendor.fault("read", fault, **params)
    world.drop()
    job = world.finish()
    assert (job.status, job.error and job.error.code) == (status, code)
    assert job.task_id
    assert world.charges() == job.credits == 1
    stored(world, job)


# --- faults of the vendor: download --------------------------------------------------------------

DOWNLOAD: list[tuple[str, dict[str, Any], str, int, str | None]] = [
    # A temporary fault: the download is repeated.
    ("lost_response", {"times": 3}, "SUCCEEDED", 4, None),
    ("status", {"status": 500, "times": 6}, "SUCCEEDED", 4, None),
    ("status", {"status": 403, "times": 4}, "SUCCEEDED", 4, None),
    ("status", {"status": 404, "times": 6}, "SUCCEEDED", 4, None),
    ("html", {"status": 502, "times": 4}, "SUCCEEDED", 4, None),
    ("html", {"status": 200, "times": 4}, "SUCCEEDED", 4, None),
    ("truncated", {"times": 4}, "SUCCEEDED", 4, None),
    ("short_image", {"times": 4}, "SUCCEEDED", 4, None),
    ("wrong_type", {"format": "webp", "times": 4}, "SUCCEEDED", 4, None),
    ("empty", {"times": 4}, "SUCCEEDED", 4, None),
    ("expired_url", {"urls": 1}, "SUCCEEDED", 4, None),
    ("expired_url", {"urls": 3}, "SUCCEEDED", 4, None),
    # A permanent fault: the job ends with the results that could be downloaded.
    ("status", {"status": 500, "match": {"result_index": 3}}, "PARTIAL", 3, "result_unavailable"),
    ("short_image", {"match": {"result_index": 1}}, "PARTIAL", 3, "result_invalid"),
    (
        "wrong_type",
        {"format": "html", "match": {"result_index": 1}},
        "PARTIAL",
        3,
        "result_invalid",
    ),
    ("oversize", {"match": {"result_index": 2}}, "PARTIAL", 3, "result_too_large"),
    ("redirect", {"match": {"result_index": 4}}, "PARTIAL", 3, "result_blocked"),
    (
        "redirect",
        {"location": "https://127.0.0.1:1/x", "match": {"result_index": 4}},
        "PARTIAL",
        3,
        "result_blocked",
    ),
    ("status", {"status": 403}, "FAILED", 0, "result_unavailable"),
    ("short_image", {}, "FAILED", 0, "result_invalid"),
    ("wrong_type", {"format": "gif"}, "FAILED", 0, "result_invalid"),
    ("redirect", {}, "FAILED", 0, "result_blocked"),
]


@pytest.mark.parametrize(
    ("fault", "params", "status", "count", "code"),
    [pytest.param(*row, id=f"{row[0]}-{row[2]}-{number}") for number, row in enumerate(DOWNLOAD)],
)
def test_fault_of_a_download(
    deploy: Deploy, fault: str, params: dict[str, Any], status: str, count: int, code: str | None
) -> None:
    """Good results are kept, a bad result is named in the record, and no broken file is kept."""
    world = deploy(MAX_RESULT_BYTES="2000000")
    world.vendor.fault("download", fault, **{"times": None, **params})
    world.drop()
    job = world.finish()
    assert (job.status, job.error and job.error.code) == (status, code)
    assert len(stored(world, job)) == count
    found = world.aws.s3.list_objects_v2(Bucket=RESULTS).get("Contents", [])
    assert sorted(entry["Key"] for entry in found) == sorted(stored(world, job))
    assert world.charges() == 1
    told = "Job Succeeded" if status == "SUCCEEDED" else "Job Failed"
    assert world.aws.told_types() == ["Job Submitted", told]


# --- the key -------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["bad_key", "status", "lost_response", "html"])
def test_key_is_seen_nowhere(world: World, caplog: pytest.LogCaptureFixture, fault: str) -> None:
    """No log line, record, event or execution contains the key, whatever fault occurs."""
    caplog.set_level("DEBUG", logger="catwalk")
    params: dict[str, Any] = {"message": KEY} if fault == "status" else {}
    for call in ("create", "read"):
        world.vendor.fault(call, fault, **params)
    event = world.aws.drop("a/dress.jpg", jpeg())
    world.deliver(event)
    if world.job().status == "RUNNING":
        world.finish()
    logged = caplog.text + str([vars(record) for record in caplog.records])
    executions = [world.aws.executions.describe_execution(executionArn=job.execution_arn)["input"]
                  for job in world.jobs() if job.execution_arn]  # fmt: skip
    assert logged
    assert KEY not in logged
    assert KEY not in json.dumps([world.aws.records(), world.aws.told(), executions])
