"""Trouble of the account or the whole vendor fails no photo, and causes few requests."""

import secrets
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import pytest

from shared.intake.messages import continue_message
from shared.models import Job
from tests.e2e.driver import Catwalk, photo, wait_for
from tests.thorough import thorough

pytestmark = pytest.mark.timeout(300)
"""Many waits for a dozen photos, each with its own timeout."""

DOZEN: Final = 12
FEW: Final = 8
"""The most create requests that the vendor may get during the trouble of a dozen photos."""


@pytest.fixture(autouse=True)
def calm(catwalk: Catwalk, api_key: str) -> Iterator[None]:
    """Reset the vendor and the circuit breaker before and after each test."""
    before = catwalk.vendor.settings()
    catwalk.vendor.settings(plain_results=True)
    catwalk.close_breaker()
    yield
    catwalk.vendor.clear_faults()
    catwalk.vendor.settings(**before)
    put_key(catwalk, api_key)
    catwalk.close_breaker()


class Dozen:
    """Twelve photos that meet the trouble."""

    def __init__(self, catwalk: Catwalk, name: str) -> None:
        self._catwalk = catwalk
        self._before = catwalk.creates()
        self.name = f"{name}/"
        self.bodies = {f"{self.name}{number}.jpg": photo() for number in range(DOZEN)}

    def drop(self) -> None:
        """Drop all photos, and wait until they have met the trouble."""
        for key, body in self.bodies.items():
            self._catwalk.drop(key, body, {"batch-size": "1"})
        wait_for(lambda: len(self.records()) == DOZEN, "the dozen's records")
        wait_for(self._catwalk.queue_is_empty, "the queue to have tried them")

    def come_again(self) -> None:
        """Send the messages of all photos at once, as at the end of the pause."""
        for key in self.bodies:
            self._catwalk.again(key)

    def try_in_vain(self) -> None:
        """End the pause during the trouble: one photo is tried, and the next pause is longer."""
        pauses = self._catwalk.control()["pauses"]
        self._catwalk.end_pause()
        self.come_again()
        wait_for(lambda: self._catwalk.control()["pauses"] > pauses, "the next pause")
        wait_for(self._catwalk.queue_is_empty, "the queue to have put them off")

    def go_on(self) -> None:
        """End the pause after the trouble: one photo is tried, and the others follow."""
        first, *others = self.bodies
        self._catwalk.end_pause()
        self._catwalk.again(first)
        wait_for(lambda: "until" not in self._catwalk.control(), "submission to go on")
        for key in others:
            self._catwalk.again(key)

    def records(self) -> list[dict[str, Any]]:
        """Return the records, at most one for each photo."""
        records = [self._catwalk.records(key) for key in self.bodies]
        assert all(len(of_one) <= 1 for of_one in records)
        return [record for of_one in records for record in of_one]

    def statuses(self) -> set[str]:
        """Return the statuses of the records."""
        return {record["status"] for record in self.records()}

    def creates(self) -> int:
        """Return how many create requests the vendor got since these photos were made."""
        return self._catwalk.creates() - self._before

    def pauses(self) -> list[dict[str, Any]]:
        """Return the events about pauses that name one of these photos."""
        told = [event for event in self._catwalk.heard if "paused" in event["detail"]]
        assert {event["detail-type"] for event in told} <= {"Job Needs Attention"}
        ours = [event for event in told if event["detail"]["sourceKey"].startswith(self.name)]
        return [event["detail"]["paused"] for event in ours]

    def all_succeed(self) -> None:
        """Check that every photo succeeds and is charged once."""
        for key, body in self.bodies.items():
            record = self._catwalk.reached(key, "SUCCEEDED")
            assert record["attempt"] == 1
            assert record["credits"] == self._catwalk.charges(body) == 1


def put_key(catwalk: Catwalk, key: str) -> None:
    """Put an API key into the secret."""
    catwalk.stack.clients.secrets.put_secret_value(
        SecretId=catwalk.stack.output("VmakeApiKeySecretArn"), SecretString=key
    )


def test_a_refused_key(catwalk: Catwalk) -> None:
    """Photos and paid tasks wait until the right key is in the secret."""
    running, dozen, key = photo(), Dozen(catwalk, "key"), f"sk-{secrets.token_hex(16)}"
    stuck = {"path_contains": "key-running/"}
    catwalk.vendor.fault("read", "stuck", match=stuck, seconds=5)
    catwalk.drop("key-running/dress.jpg", running, {"batch-size": "1"})
    catwalk.reached("key-running/dress.jpg", "RUNNING")
    catwalk.vendor.settings(api_key=key)
    dozen.drop()
    assert dozen.statuses() <= {"ACCEPTED", "SUBMITTING"}
    dozen.try_in_vain()
    assert dozen.statuses() <= {"ACCEPTED", "SUBMITTING"}
    catwalk.reached("key-running/dress.jpg", "RUNNING")
    assert 1 < dozen.creates() <= FEW
    put_key(catwalk, key)
    dozen.go_on()
    dozen.all_succeed()
    assert "API key" in dozen.pauses()[0]["reason"]
    assert len(dozen.pauses()) == 1
    catwalk.end_of("key-running/dress.jpg")
    assert catwalk.charges(running) == 1


@pytest.mark.parametrize("style", ["402", thorough("403"), thorough("200")])
def test_no_credits_left(catwalk: Catwalk, style: str) -> None:
    """Photos wait until the account has credits, in whatever form the vendor refuses."""
    dozen = Dozen(catwalk, f"broke-{style}")
    catwalk.vendor.settings(credits=0, no_credits_as=style)
    dozen.drop()
    dozen.try_in_vain()
    assert dozen.statuses() <= {"ACCEPTED", "SUBMITTING"}
    assert 1 < dozen.creates() <= FEW
    catwalk.vendor.settings(credits=DOZEN)
    dozen.go_on()
    dozen.all_succeed()
    assert "insufficient credits" in dozen.pauses()[0]["reason"]
    assert len(dozen.pauses()) == 1


def test_a_vendor_that_is_down_and_says_so(catwalk: Catwalk) -> None:
    """After 503s, all photos succeed without help."""
    dozen = Dozen(catwalk, "down")
    catwalk.vendor.fault(
        *("create", "status"), times=None, match={"path_contains": dozen.name}, status=503
    )
    dozen.drop()
    assert dozen.statuses() <= {"ACCEPTED", "SUBMITTING"}
    assert dozen.creates() <= FEW
    catwalk.vendor.clear_faults()
    dozen.all_succeed()
    assert len(dozen.pauses()) == 1


@pytest.mark.parametrize(
    ("fault", "params"),
    [
        pytest.param("drop_before", {}, id="drops every connection"),
        thorough("html", {"status": 503}, name="a gateway answers"),
    ],
)
def test_a_vendor_that_is_down(catwalk: Catwalk, fault: str, params: dict[str, Any]) -> None:
    """Without a clear answer the first photos are parked, and all others wait."""
    dozen = Dozen(catwalk, f"outage-{fault}")
    match = {"path_contains": dozen.name}
    catwalk.vendor.fault("create", fault, times=None, match=match, **params)
    dozen.drop()
    dozen.try_in_vain()
    assert dozen.statuses() <= {"ACCEPTED", "SUBMITTING", "SUBMIT_UNKNOWN"}
    assert dozen.creates() <= FEW
    catwalk.vendor.clear_faults()
    parked = [record for record in dozen.records() if record["status"] == "SUBMIT_UNKNOWN"]
    assert len(parked) == dozen.creates()
    for record in parked:
        assert catwalk.charges(dozen.bodies.pop(record["source_key"])) == 0
        catwalk.event(record["job_id"], "Job Needs Attention")
    dozen.go_on()
    dozen.all_succeed()
    assert len(dozen.pauses()) == 1


@pytest.mark.parametrize("retry_after", [True, thorough(False)])
def test_a_vendor_that_throttles(catwalk: Catwalk, retry_after: bool) -> None:
    """With or without Retry-After, all photos succeed without help."""
    dozen = Dozen(catwalk, f"throttled-{retry_after}")
    catwalk.vendor.settings(submits_per_second=1, retry_after=retry_after)
    dozen.drop()
    catwalk.vendor.settings(submits_per_second=None)
    dozen.all_succeed()
    assert DOZEN < dozen.creates() <= DOZEN + FEW
    assert len(dozen.pauses()) == 1


POISON: Final[dict[str, dict[str, Any]]] = {
    "page": {"fault": "html", "status": 403},
    "reason": {"fault": "status", "status": 403, "message": "forbidden"},
    "words": {"fault": "status", "status": 402, "message": "insufficient image resolution"},
}
"""Answers that look like account trouble."""


@pytest.mark.thorough
def test_poisoned_photos(catwalk: Catwalk) -> None:
    """Photos that are always refused fail after a few tries, and stop no other photo."""
    poisoned, dozen = {f"poison-{name}/1.jpg": photo() for name in POISON}, Dozen(catwalk, "among")
    for name, fault in POISON.items():
        match = {"path_contains": f"poison-{name}/"}
        catwalk.vendor.fault("create", times=None, match=match, **fault)
    for key, body in poisoned.items():
        catwalk.drop(key, body, {"batch-size": "1"})
    wait_for(lambda: all(fault["fired"] for fault in catwalk.vendor.faults()), "the refusals")
    dozen.drop()
    dozen.all_succeed()
    for key, body in poisoned.items():
        wait_for(partial(failed, catwalk, key), f"{key} to end", seconds=120)
        record = catwalk.end_of(key, "FAILED")
        assert record["error"]["code"] == "vendor_rejected"
        assert "while it took others" in record["error"]["message"]
        assert catwalk.charges(body) == record["credits"] == 0
    assert all(3 <= fault["fired"] <= 5 for fault in catwalk.vendor.faults())


def test_a_probe_whose_photo_is_gone(catwalk: Catwalk) -> None:
    """A probe whose photo is gone sends nothing, and the next photo is sent at once."""
    catwalk.vendor.fault("create", "bad_key", match={"path_contains": "gone-probe/"})
    catwalk.drop("gone-probe/a.jpg", photo(), {"batch-size": "1"})
    wait_for(lambda: "until" in catwalk.control(), "the pause")
    wait_for(catwalk.queue_is_empty, "the photo to have been put off")
    bucket = catwalk.stack.output("PhotosBucketName")
    versions = catwalk.stack.clients.s3.list_object_versions(Bucket=bucket, Prefix="gone-probe/")
    for version in versions["Versions"]:
        catwalk.stack.clients.s3.delete_object(
            Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"]
        )
    catwalk.end_pause()
    (record,) = catwalk.records("gone-probe/a.jpg")
    catwalk.send(continue_message(Job.model_validate(record)))
    catwalk.end_of("gone-probe/a.jpg", "REJECTED")
    wait_for(lambda: "probe_until" not in catwalk.control(), "the probe to be given back")
    body = photo()
    catwalk.drop("gone-probe/b.jpg", body, {"batch-size": "1"})
    catwalk.reached("gone-probe/b.jpg", "SUCCEEDED")


def failed(catwalk: Catwalk, key: str) -> bool:
    """Whether the job of a photo has failed."""
    return bool(catwalk.records(key)[0]["status"] == "FAILED")
