"""Requests of a backend, as events."""

import httpx

from tests.e2e.driver import Catwalk, mask, photo, sha256, wait_for

VARIANTS = [
    {"modelId": "001", "sceneType": "none", "batchSize": 1},
    {"modelId": "044", "sceneType": "color", "color": "#00aa55", "batchSize": 1},
]


def test_a_request_for_two_variants(catwalk: Catwalk) -> None:
    """Each variant of a request is a job with the request's ids."""
    body = photo()
    catwalk.drop("shop/dress.jpg", body, {"batch-size": "1"})
    catwalk.end_of("shop/dress.jpg")
    catwalk.request(
        {
            "requestId": "order-1",
            "sku": "DR-9",
            "photo": {"key": "shop/dress.jpg"},
            "variants": VARIANTS,
        }
    )
    records = catwalk.ended("shop/dress.jpg", 3)
    asked = [record for record in records if record.get("request_id") == "order-1"]
    assert [record["status"] for record in asked] == ["SUCCEEDED", "SUCCEEDED"]
    assert {record["sku"] for record in asked} == {"DR-9"}
    looks = {(r["settings"]["model_id"], r["settings"]["scene_type"]) for r in asked}
    assert looks == {("001", "none"), ("044", "color")}
    assert catwalk.charges(body) == 3
    event = catwalk.event(asked[0]["job_id"], "Job Succeeded")
    assert event["detail"]["requestId"] == "order-1"


def test_a_photo_by_url(catwalk: Catwalk) -> None:
    """A photo may be a URL; here it is the vendor's, the only local host that is allowed."""
    body = photo()
    catwalk.drop("shop/source.jpg", body, {"batch-size": "1"})
    task_id = catwalk.end_of("shop/source.jpg")["task_id"]
    base = catwalk.stack.address.vendor_url
    answer = httpx.get(
        f"{base}/api/v4/image/ai-fashion-model/clothing-tasks/{task_id}",
        headers={"X-Api-Key": "any"},
        trust_env=False,
    ).json()
    url = answer["data"]["results"][0]["downloadUrl"]
    catwalk.request({"requestId": "by-url", "photo": {"url": url}, "variants": VARIANTS[:1]})
    path = url.removeprefix(base).lstrip("/").partition("?")[0]
    record = catwalk.end_of(f"url/127.0.0.1/{path}")
    assert record["photo"] == {"url": url}
    assert len(record["results"]) == 1
    assert record["results"][0]["key"].startswith("url/127.0.0.1/")


def test_a_mask_of_a_request(catwalk: Catwalk) -> None:
    """A request may name a mask."""
    body, cut = photo(), mask()
    catwalk.drop("shop/cut/other.mask.png", cut)
    catwalk.drop("shop/cut/dress.jpg", body, {"batch-size": "1"})
    catwalk.end_of("shop/cut/dress.jpg")
    catwalk.request(
        {
            "photo": {"key": "shop/cut/dress.jpg"},
            "mask": "shop/cut/other.mask.png",
            "variants": VARIANTS[:1],
        }
    )
    catwalk.ended("shop/cut/dress.jpg", 2)
    (task,) = [task for task in catwalk.tasks(body) if task["mask"]]
    assert task["mask"]["sha256"] == sha256(cut)


def test_the_same_request_again_costs_nothing(catwalk: Catwalk) -> None:
    """The same request again makes no new job."""
    body = photo()
    catwalk.drop("shop/again.jpg", body, {"batch-size": "1"})
    catwalk.end_of("shop/again.jpg")
    detail = {
        "requestId": "order-2",
        "photo": {"key": "shop/again.jpg"},
        "variants": VARIANTS[:1],
    }
    catwalk.request(detail)
    before = catwalk.ended("shop/again.jpg", 2)
    catwalk.request(detail)
    catwalk.idle()
    after = catwalk.ended("shop/again.jpg", 2)
    assert [r["updated_at"] for r in after] == [r["updated_at"] for r in before]
    assert catwalk.charges(body) == 2


def test_a_broken_request_gets_a_record(catwalk: Catwalk) -> None:
    """An invalid request has a REJECTED record and an event with its requestId."""
    catwalk.request({"requestId": "broken-1", "photo": {"key": "a.jpg", "url": "https://x.test/a"}})
    event = wait_for(
        lambda: next(
            (e for e in catwalk.heard if e["detail"].get("requestId") == "broken-1"), None
        ),
        "an event about the broken request",
    )
    assert event["detail-type"] == "Job Rejected"
    record = catwalk.record(event["detail"]["jobId"])
    assert (record["status"], record["request_id"]) == ("REJECTED", "broken-1")
    assert record["error"]["code"] == "bad_request_event"


def test_a_detail_that_is_no_json_object_is_refused_by_the_bus(catwalk: Catwalk) -> None:
    """PutEvents answers MalformedDetail, as on AWS; the other entries of the call are accepted."""
    answer = catwalk.stack.clients.events.put_events(
        Entries=[
            {
                "EventBusName": catwalk.stack.output("EventBusName"),
                "Source": "shop",
                "DetailType": "Fashion Model Requested",
                "Detail": detail,
            }
            for detail in ("{'photo': 1}", "[]", '{"requestId": "beside-malformed"}')
        ]
    )
    assert answer["FailedEntryCount"] == 2
    codes = [result.get("ErrorCode") for result in answer["Entries"]]
    assert codes == ["MalformedDetail", "MalformedDetail", None]
    wait_for(
        lambda: any(e["detail"].get("requestId") == "beside-malformed" for e in catwalk.heard),
        "an event about the request that the bus accepted",
    )


def test_a_request_for_a_photo_that_is_not_there(catwalk: Catwalk) -> None:
    """Each variant of a missing photo has a record with `photo_missing`."""
    catwalk.request({"photo": {"key": "shop/missing.jpg"}, "variants": VARIANTS})
    records = catwalk.ended("shop/missing.jpg", 2)
    assert {record["error"]["code"] for record in records} == {"photo_missing"}
