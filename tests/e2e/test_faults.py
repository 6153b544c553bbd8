"""Each fault of the simulated vendor: how the photo ends, and what it costs."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import Any, Final

import httpx
import pytest

from tests.e2e.driver import ENDED, Catwalk, photo, wait_for
from tests.thorough import one_of_each

pytestmark = pytest.mark.timeout(300)
"""The first test waits for all photos to be submitted."""

PATIENCE_SECONDS: Final = 30.0
"""How long one case may hold up the others."""
OLD: Final = "2026-01-01T00:00:00.000Z"
SIDE_BY_SIDE: Final = 8
"""Photos that are dropped at once. More would have the local AWS start more functions, which costs
it far more than the photos do."""


@dataclass(frozen=True)
class End:
    """How a photo ends."""

    status: str
    error: str | None
    charges: int
    credits: int
    results: int = 0
    pauses: bool = False
    """Whether submission pauses, and the photo goes through afterwards."""
    lasts: bool = False
    """Whether the end takes many tries, or half a minute."""
    aged: Mapping[str, str] = field(default_factory=dict)
    """Times of the wait loop's state that are set back, so that PollFunction gives up."""


DONE = End("SUCCEEDED", None, charges=1, credits=1, results=1)
DONE_LATE = replace(DONE, lasts=True)
PAUSED = replace(DONE, pauses=True)
PARTLY = End("PARTIAL", "result_invalid", charges=1, credits=1, results=2, lasts=True)
PARKED_PAID = End("SUBMIT_UNKNOWN", "submit_unknown", charges=1, credits=0)
PARKED_UNPAID = End("SUBMIT_UNKNOWN", "submit_unknown", charges=0, credits=0)
REFUSED = End("FAILED", "vendor_rejected", charges=0, credits=0)
NO_SUCH_PATH = PAUSED
TASK_ERROR = End("FAILED", "vendor_task_error", charges=1, credits=1)
GONE = replace(TASK_ERROR, lasts=True, aged={"not_found_since": OLD})
WITHOUT = replace(GONE, error="vendor_protocol", aged={"no_results_since": OLD})
LATE = replace(GONE, error="timed_out", aged={"deadline": OLD})
BLOCKED = End("FAILED", "result_blocked", charges=1, credits=1)
TOO_LARGE = End("FAILED", "result_too_large", charges=1, credits=1)
UNAVAILABLE = End("FAILED", "result_unavailable", charges=1, credits=1, lasts=True)
INVALID = End("FAILED", "result_invalid", charges=1, credits=1, lasts=True)

_numbers = count(1)


@dataclass(frozen=True)
class Case:
    """A fault on a call, and the end of the photo that meets it."""

    on: str
    fault: str
    params: Mapping[str, Any]
    end: End
    number: int = field(default_factory=lambda: next(_numbers))

    @property
    def key(self) -> str:
        """The photo's key; no other photo's key contains it."""
        return f"fault-{self.number:03}.jpg"

    def __str__(self) -> str:
        params = ",".join(f"{name}={value}" for name, value in self.params.items())
        return f"{self.on}-{self.fault}-{params}".rstrip("-")


WAITED = DONE_LATE
"""The answer may be about this photo alone: only this photo waits."""
ALWAYS = {"times": None}
PAGE = {"raw": "a gateway's page"}
SELF = "/api/v4/image/ai-fashion-model/clothing-tasks"
CREDITS_GONE = {"message": "insufficient credits"}
KEY_BAD = {"message": "invalid API key"}
SYSTEM_ERROR = {"message": "system error"}
RESOLUTION = {"message": "insufficient image resolution"}
CONTROL = {"appended": "\x01"}
"""Six bytes of JSON each."""

CREATES = [
    Case("create", "lost_response", {}, PARKED_PAID),
    Case("create", "drop_before", {}, PARKED_UNPAID),
    Case("create", "status", {"status": 400}, REFUSED),
    Case("create", "status", {"status": 401}, PAUSED),
    Case("create", "status", {"status": 402}, PAUSED),
    Case("create", "status", {"status": 403}, WAITED),
    Case("create", "status", {"status": 404}, WAITED),
    Case("create", "status", {"status": 405}, WAITED),
    Case("create", "status", {"status": 408}, PARKED_UNPAID),
    Case("create", "status", {"status": 413}, REFUSED),
    Case("create", "status", {"status": 429}, PAUSED),
    Case("create", "status", {"status": 500}, PARKED_UNPAID),
    Case("create", "status", {"status": 502}, PARKED_UNPAID),
    Case("create", "status", {"status": 503}, PAUSED),
    Case("create", "status", {"status": 504}, PARKED_UNPAID),
    Case("create", "status", {"status": 400, **PAGE}, REFUSED),
    Case("create", "status", {"status": 401, **PAGE}, PAUSED),
    Case("create", "status", {"status": 402, **PAGE}, PAUSED),
    Case("create", "status", {"status": 403, **PAGE}, WAITED),
    Case("create", "status", {"status": 404, **PAGE}, NO_SUCH_PATH),
    Case("create", "status", {"status": 405, **PAGE}, NO_SUCH_PATH),
    Case("create", "status", {"status": 408, **PAGE}, PARKED_UNPAID),
    Case("create", "status", {"status": 413, **PAGE}, REFUSED),
    Case("create", "status", {"status": 429, **PAGE}, PAUSED),
    Case("create", "status", {"status": 500, **PAGE}, PARKED_UNPAID),
    Case("create", "status", {"status": 502, **PAGE}, PARKED_UNPAID),
    Case("create", "status", {"status": 503, **PAGE}, PARKED_UNPAID),
    Case("create", "status", {"status": 504, **PAGE}, PARKED_UNPAID),
    Case("create", "status", {"status": 400, **CREDITS_GONE}, PAUSED),
    Case("create", "status", {"status": 403, **KEY_BAD}, PAUSED),
    Case("create", "status", {"status": 429, "headers": {"Retry-After": "90"}}, PAUSED),
    Case("create", "status", {"status": 503, "code": 0}, PARKED_UNPAID),
    Case("create", "status", {"status": 200, "code": 0}, PARKED_UNPAID),
    Case("create", "status", {"status": 200, "code": 401}, PAUSED),
    Case("create", "status", {"status": 200, "code": 429}, PAUSED),
    Case("create", "status", {"status": 200, "code": 500}, PARKED_UNPAID),
    Case("create", "status", {"status": 200, "code": 503}, PAUSED),
    Case("create", "status", {"status": 200, "code": 10001}, PARKED_UNPAID),
    Case("create", "status", {"status": 200, "code": 50000, **SYSTEM_ERROR}, PARKED_UNPAID),
    Case("create", "status", {"status": 429, **SYSTEM_ERROR}, PARKED_UNPAID),
    Case("create", "status", {"status": 200, "code": 20018, **RESOLUTION}, REFUSED),
    Case("create", "status", {"status": 402, **RESOLUTION}, WAITED),
    Case("create", "contradiction", {}, DONE),
    Case("create", "contradiction", {"code": 0, "message": "accepted"}, DONE),
    Case("create", "contradiction", {"status": 400, "code": 400, **RESOLUTION}, DONE),
    Case("create", "contradiction", {"status": 402, "code": 402, **CREDITS_GONE}, DONE),
    Case("create", "contradiction", {"status": 429, "code": 429}, DONE),
    Case("create", "contradiction", {"status": 500, "code": 50000, **SYSTEM_ERROR}, DONE),
    Case("create", "contradiction", {"status": 503, "code": 503}, DONE),
    Case("create", "contradiction", {"task_id": "{task_id}/{key}"}, PARKED_PAID),
    Case("create", "contradiction", {"status": 429, "task_id": "{key}"}, PARKED_PAID),
    Case("create", "error_after_charge", {}, PARKED_PAID),
    Case("create", "error_after_charge", {"status": 408}, PARKED_PAID),
    Case("create", "error_after_charge", {"status": 502}, PARKED_PAID),
    Case("create", "error_after_charge", {"status": 504, "message": "late"}, PARKED_PAID),
    Case("create", "html", {}, PARKED_UNPAID),
    Case("create", "html", {"accepted": True}, PARKED_PAID),
    Case("create", "html", {"status": 200}, PARKED_UNPAID),
    Case("create", "html", {"status": 200, "accepted": True}, PARKED_PAID),
    Case("create", "html", {"status": 403}, WAITED),
    Case("create", "html", {"status": 404}, NO_SUCH_PATH),
    Case("create", "html", {"status": 405}, NO_SUCH_PATH),
    Case("create", "html", {"status": 429}, PAUSED),
    Case("create", "html", {"status": 503}, PARKED_UNPAID),
    Case("create", "html", {"status": 503, "accepted": True}, PARKED_PAID),
    Case("create", "garbage", {"flavour": "text"}, PARKED_PAID),
    Case("create", "garbage", {"flavour": "cut"}, PARKED_PAID),
    Case("create", "garbage", {"flavour": "types"}, PARKED_PAID),
    Case("create", "garbage", {"flavour": "no_data"}, PARKED_PAID),
    Case("create", "garbage", {"flavour": "text", "accepted": False}, PARKED_UNPAID),
    Case("create", "garbage", {"flavour": "cut", "accepted": False}, PARKED_UNPAID),
    Case("create", "garbage", {"flavour": "types", "accepted": False}, PARKED_UNPAID),
    Case("create", "garbage", {"flavour": "no_data", "accepted": False}, PARKED_UNPAID),
    Case("create", "slow", {"seconds": 1}, DONE),
    Case("create", "slow_body", {"seconds": 1}, DONE),
    Case("create", "no_credits", {"style": "402"}, PAUSED),
    Case("create", "no_credits", {"style": "403"}, PAUSED),
    Case("create", "no_credits", {"style": "200"}, PAUSED),
    Case("create", "bad_key", {}, PAUSED),
    Case("create", "redirect", {}, PARKED_UNPAID),
    Case("create", "redirect", {"accepted": True}, PARKED_PAID),
    Case("create", "redirect", {"status": 307, "location": SELF}, PARKED_UNPAID),
    Case("create", "redirect", {"status": 308, "location": SELF, "accepted": True}, PARKED_PAID),
    Case("create", "empty", {}, PARKED_PAID),
    Case("create", "empty", {"accepted": False}, PARKED_UNPAID),
    Case("create", "empty", {"status": 404, "accepted": False}, NO_SUCH_PATH),
    Case("create", "empty", {"status": 429, "accepted": False}, PAUSED),
    Case("create", "empty", {"status": 502}, PARKED_PAID),
    Case("create", "empty", {"status": 503}, PARKED_PAID),
    Case("create", "truncated", {}, PARKED_PAID),
    Case("create", "truncated", {"fraction": 0}, PARKED_PAID),
    Case("create", "truncated", {"accepted": False}, PARKED_UNPAID),
    Case("create", "oversize", {}, PARKED_PAID),
    Case("create", "oversize", {"bytes": 10}, PARKED_PAID),
    Case("create", "oversize", {"accepted": False}, PARKED_UNPAID),
]
READS = [
    Case("read", "lost_response", {}, DONE),
    Case("read", "drop_before", {}, DONE),
    Case("read", "status", {"status": 400}, DONE),
    Case("read", "status", {"status": 401}, DONE),
    Case("read", "status", {"status": 402}, DONE),
    Case("read", "status", {"status": 403}, DONE),
    Case("read", "status", {"status": 404}, DONE),
    Case("read", "status", {"status": 408}, DONE),
    Case("read", "status", {"status": 413}, DONE),
    Case("read", "status", {"status": 429}, DONE),
    Case("read", "status", {"status": 500}, DONE),
    Case("read", "status", {"status": 502}, DONE),
    Case("read", "status", {"status": 503}, DONE),
    Case("read", "status", {"status": 504}, DONE),
    Case("read", "status", {"status": 400, **PAGE}, DONE),
    Case("read", "status", {"status": 401, **PAGE}, DONE),
    Case("read", "status", {"status": 402, **PAGE}, DONE),
    Case("read", "status", {"status": 403, **PAGE}, DONE),
    Case("read", "status", {"status": 404, **PAGE}, DONE),
    Case("read", "status", {"status": 408, **PAGE}, DONE),
    Case("read", "status", {"status": 413, **PAGE}, DONE),
    Case("read", "status", {"status": 429, **PAGE}, DONE),
    Case("read", "status", {"status": 500, **PAGE}, DONE),
    Case("read", "status", {"status": 502, **PAGE}, DONE),
    Case("read", "status", {"status": 503, **PAGE}, DONE),
    Case("read", "status", {"status": 504, **PAGE}, DONE),
    Case("read", "status", {"status": 429, "headers": {"Retry-After": "20"}}, DONE),
    Case("read", "status", {"status": 200, "code": 0}, DONE),
    Case("read", "status", {"status": 200, "code": 404}, DONE),
    Case("read", "status", {"status": 200, "code": 500}, DONE),
    Case("read", "html", {}, DONE),
    Case("read", "html", {"status": 200}, DONE),
    Case("read", "html", {"status": 404}, DONE),
    Case("read", "garbage", {"flavour": "text"}, DONE),
    Case("read", "garbage", {"flavour": "cut"}, DONE),
    Case("read", "garbage", {"flavour": "types"}, DONE),
    Case("read", "garbage", {"flavour": "no_data"}, DONE),
    Case("read", "slow", {"seconds": 1}, DONE),
    Case("read", "slow", {"seconds": 17}, DONE_LATE),
    Case("read", "slow_body", {"seconds": 1}, DONE),
    Case("read", "bad_key", {}, DONE),
    Case("read", "redirect", {}, DONE),
    Case("read", "redirect", {"location": SELF}, DONE),
    Case("read", "empty", {}, DONE),
    Case("read", "empty", {"status": 500}, DONE),
    Case("read", "truncated", {}, DONE),
    Case("read", "truncated", {"fraction": 0}, DONE),
    Case("read", "oversize", {}, DONE),
    Case("read", "oversize", {"bytes": 10}, DONE),
    Case("read", "stuck", {"seconds": 1, "percent": 20}, DONE),
    Case("read", "stuck", {}, LATE),
    Case("read", "task_error", {}, TASK_ERROR),
    Case("read", "task_error", {"message": "too dark"}, TASK_ERROR),
    Case("read", "gone", {}, GONE),
    Case("read", "unknown_status", {}, DONE),
    Case("read", "unknown_status", {"value": "failed", "times": 3}, DONE),
    Case("read", "no_results", {}, DONE),
    Case("read", "no_results", ALWAYS, WITHOUT),
    Case("read", "single_result", {}, DONE),
    Case("read", "odd_urls", {}, DONE),
    Case("read", "odd_urls", {"appended": "?key={key}"}, DONE),
    # As much as is taken, and more than is.
    Case("read", "odd_urls", {**CONTROL, "repeated": 600, "count": 16}, DONE_LATE),
    Case("read", "odd_urls", {**CONTROL, "repeated": 900, "count": 16}, DONE),
    Case("read", "odd_urls", {**CONTROL, "repeated": 2000, "count": 4}, DONE),
]
DOWNLOADS = [
    Case("download", "lost_response", {}, DONE),
    Case("download", "lost_response", ALWAYS, UNAVAILABLE),
    Case("download", "drop_before", {}, DONE),
    Case("download", "drop_before", ALWAYS, UNAVAILABLE),
    Case("download", "status", {"status": 400}, DONE),
    Case("download", "status", {"status": 401}, DONE),
    Case("download", "status", {"status": 402}, DONE),
    Case("download", "status", {"status": 403}, DONE),
    Case("download", "status", {"status": 404}, DONE),
    Case("download", "status", {"status": 408}, DONE),
    Case("download", "status", {"status": 413}, DONE),
    Case("download", "status", {"status": 429}, DONE),
    Case("download", "status", {"status": 500}, DONE),
    Case("download", "status", {"status": 502}, DONE),
    Case("download", "status", {"status": 503}, DONE),
    Case("download", "status", {"status": 504}, DONE),
    Case("download", "status", {"status": 403, **PAGE}, DONE),
    Case("download", "status", {"status": 500, **PAGE}, DONE),
    Case("download", "status", {"status": 403, **ALWAYS}, UNAVAILABLE),
    Case("download", "status", {"status": 500, **ALWAYS}, UNAVAILABLE),
    Case("download", "html", {}, DONE),
    Case("download", "html", {"status": 200}, DONE),
    Case("download", "html", {"status": 200, **ALWAYS}, INVALID),
    Case("download", "slow", {"seconds": 1}, DONE),
    Case("download", "slow_body", {"seconds": 1}, DONE),
    Case("download", "redirect", {}, BLOCKED),
    Case("download", "redirect", {"location": "https://169.254.169.254/"}, BLOCKED),
    Case("download", "redirect", {"location": "https://[::1]/"}, BLOCKED),
    Case("download", "redirect", {"location": "/results/elsewhere"}, DONE),
    Case("download", "empty", {}, DONE),
    Case("download", "empty", ALWAYS, UNAVAILABLE),
    Case("download", "empty", {"status": 500}, DONE),
    Case("download", "truncated", {}, DONE),
    Case("download", "truncated", {"fraction": 0}, DONE),
    Case("download", "truncated", ALWAYS, UNAVAILABLE),
    Case("download", "oversize", {}, TOO_LARGE),
    Case("download", "oversize", {"bytes": 9000}, DONE),
    Case("download", "short_image", {}, DONE),
    Case("download", "short_image", {"fraction": 0.1}, DONE),
    Case("download", "short_image", ALWAYS, INVALID),
    Case("download", "short_image", {"match": {"result_index": 2}, **ALWAYS}, PARTLY),
    Case("download", "wrong_type", {}, DONE),
    Case("download", "wrong_type", {"format": "html", **ALWAYS}, INVALID),
    Case("download", "wrong_type", {"format": "webp", **ALWAYS}, INVALID),
    Case("download", "wrong_type", {"format": "gif", **ALWAYS}, INVALID),
    Case("download", "expired_url", {"urls": 1}, DONE),
    Case("download", "expired_url", {"urls": 3}, DONE),
    Case("download", "expired_url", {"urls": 99}, UNAVAILABLE),
]
NO_ANSWER = Case("create", "slow", {"seconds": 40}, PARKED_PAID)
"""SubmitFunction gives up after half a minute. It is dropped first and checked last."""
CASES = [*DOWNLOADS, *READS, *CREATES, NO_ANSWER]
TRIED = one_of_each(
    CASES, lambda case: (case.on, case.fault, case.end.status, case.end.pauses, case.end.lasts)
)
"""What this run tries. tests/unit/test_answers.py has what each answer means."""


def fired(catwalk: Catwalk, case: Case) -> int:
    """Return how often a case's fault was applied."""
    return sum(
        fault["fired"]
        for fault in catwalk.vendor.faults()
        if fault["match"]["path_contains"] == case.key
        and (fault["on"], fault["fault"]) == (case.on, case.fault)
    )


def script(catwalk: Catwalk, case: Case) -> None:
    """Set the fault for the case's photo."""
    params = dict(case.params)
    match = {"path_contains": case.key, **params.pop("match", {})}
    catwalk.vendor.fault(case.on, case.fault, match=match, **params)


def has_left(catwalk: Catwalk, case: Case, *, ended: bool = False) -> bool:
    """Tell whether the queue, or all of Catwalk, is done with a photo."""
    left = ENDED if ended else (*ENDED, "RUNNING")
    return any(record["status"] in left for record in catwalk.records(case.key))


def patiently(look: Callable[[], object]) -> None:
    """Wait; if nothing comes, the case's own test fails and the others continue."""
    with suppress(AssertionError):
        wait_for(look, "what one case is about", seconds=PATIENCE_SECONDS)


def drop(catwalk: Catwalk, cases: Sequence[Case]) -> dict[str, bytes]:
    """Drop the photos of some cases, and return them by their keys."""
    photos = {case.key: photo() for case in cases}
    for case in cases:
        size = "3" if case.end is PARTLY else "1"
        catwalk.drop(case.key, photos[case.key], {"batch-size": size})
    return photos


def drop_at_once(catwalk: Catwalk, cases: Sequence[Case]) -> dict[str, bytes]:
    """Drop photos, and wait until they have ended; or been submitted, where the end takes long."""
    photos = drop(catwalk, cases)
    for case in cases:
        patiently(partial(has_left, catwalk, case, ended=not case.end.lasts))
    return photos


def drop_unknown(catwalk: Catwalk, cases: Sequence[Case]) -> dict[str, bytes]:
    """Drop photos whose submits stay unknown; a third in a row would pause all."""
    photos = drop_at_once(catwalk, cases)
    records = [record for case in cases for record in catwalk.records(case.key)]
    unknown = sum(record["status"] == "SUBMIT_UNKNOWN" for record in records)

    def counted() -> bool:
        control = catwalk.control()
        return control.get("unknowns", 0) >= unknown or "until" in control

    patiently(counted)
    catwalk.close_breaker()
    return photos


def drop_paused(catwalk: Catwalk, case: Case) -> dict[str, bytes]:
    """Drop a photo that pauses submission, and have it come again without the wait."""
    photos = drop(catwalk, [case])
    patiently(lambda: "until" in catwalk.control() or has_left(catwalk, case))
    catwalk.close_breaker()
    catwalk.again(case.key)
    patiently(lambda: has_left(catwalk, case))
    return photos


def age(catwalk: Catwalk, case: Case) -> None:
    """Set back the times, as if the vendor had given the same answer for a quarter of an hour."""
    patiently(lambda: fired(catwalk, case))
    (record,) = catwalk.records(case.key)
    if record["status"] != "RUNNING":
        return
    execution = catwalk.stack.clients.executions.describe_execution(
        executionArn=record["execution_arn"]
    )
    catwalk.invoke("PollFunction", json.loads(execution["input"]) | dict(case.end.aged))


@pytest.fixture(scope="module")
def photos(catwalk: Catwalk) -> Iterator[dict[str, bytes]]:
    """Set all faults and drop a photo for each; those that affect the breaker one by one."""
    before = catwalk.vendor.settings()
    catwalk.vendor.settings(plain_results=True)
    catwalk.close_breaker()
    ordinary = [case for case in TRIED if case is not NO_ANSWER]
    for case in (*ordinary, NO_ANSWER):
        script(catwalk, case)
    dropped = drop(catwalk, [NO_ANSWER])
    patiently(lambda: fired(catwalk, NO_ANSWER))
    unknown = [case for case in ordinary if case.end.status == "SUBMIT_UNKNOWN"]
    pausing = [case for case in ordinary if case.end.pauses]
    others = [case for case in ordinary if case not in (*unknown, *pausing)]
    others.sort(key=lambda case: case.end.lasts)
    for start in range(0, len(others), SIDE_BY_SIDE):
        dropped |= drop_at_once(catwalk, others[start : start + SIDE_BY_SIDE])
    for case in others:
        if case.end.aged:
            age(catwalk, case)
    for start in range(0, len(unknown), 2):
        dropped |= drop_unknown(catwalk, unknown[start : start + 2])
    for case in pausing:
        dropped |= drop_paused(catwalk, case)
    yield dropped
    catwalk.vendor.clear_faults()
    catwalk.vendor.settings(**before)
    catwalk.close_breaker()


@pytest.mark.parametrize("case", TRIED, ids=str)
def test_a_fault(catwalk: Catwalk, photos: dict[str, bytes], case: Case) -> None:
    """Its photo ends as the table says, and for the price that it says."""
    record = catwalk.end_of(case.key, case.end.status)
    error = record.get("error") or {}
    paid = catwalk.charges(photos[case.key])
    assert fired(catwalk, case)
    assert error.get("code") == case.end.error
    assert (paid, record["credits"]) == (case.end.charges, case.end.credits)
    assert len(record.get("results") or []) == case.end.results
    assert len(catwalk.results_below(case.key.replace(".jpg", "/"))) == case.end.results
    assert record["attempt"] == 1
    if case.end.pauses:
        assert "paused" in catwalk.event(record["job_id"], "Job Needs Attention")["detail"]


def test_a_part_of_the_results(catwalk: Catwalk, photos: dict[str, bytes]) -> None:
    """The good images are kept, and the record and the event say what is missing."""
    (case,) = [case for case in CASES if case.end is PARTLY]
    record = catwalk.end_of(case.key, "PARTIAL")
    assert [result["index"] for result in record["results"]] == [1, 3]
    assert "1 of 3" in record["error"]["message"]
    event = catwalk.event(record["job_id"], "Job Failed")
    assert event["detail"]["status"] == "PARTIAL"


def test_every_fault_has_a_case(catwalk: Catwalk) -> None:
    """What the simulator can do wrong stands in the table: each fault, call and parameter."""
    answer = httpx.get(f"{catwalk.stack.address.vendor_url}/_simulator/faults", trust_env=False)
    possible = answer.json()["possible"]
    missing: list[tuple[str, ...]] = []
    for fault, kind in possible.items():
        cases = [case for case in CASES if case.fault == fault]
        missing += [(fault, on) for on in kind["on"] if on not in {case.on for case in cases}]
        for name, rule in kind["params"].items():
            tried = {json.dumps(case.params.get(name, rule["default"])) for case in cases}
            wanted = {json.dumps(value) for value in worth_trying(rule)}
            missing += [(fault, name, value) for value in wanted - tried]
            if tried == {json.dumps(rule["default"])}:
                missing.append((fault, name, "another than the default"))
    assert missing == []
    assert {case.fault for case in CASES} == possible.keys()


def worth_trying(rule: Mapping[str, Any]) -> list[Any]:
    """Return the values of a fault's parameter where there are few."""
    if isinstance(rule["default"], bool):
        return [True, False]
    kinds, _, names = rule["must_be"].partition("one of ")
    return [] if kinds else names.split(", ")
