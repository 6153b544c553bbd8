"""The local bus refuses the event entries that EventBridge refuses."""

import json
from typing import Any

import pytest

from local.stack.put_events import checked, refusal_of

ENTRY = {"Source": "shop", "DetailType": "Fashion Model Requested", "Detail": "{}"}


class Bus:
    """MiniStack's PutEvents, which accepts every entry of a call with at most ten."""

    def __init__(self) -> None:
        self.accepted: list[dict[str, Any]] = []

    def __call__(self, data: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        entries = data["Entries"]
        if len(entries) > 10:
            return 400, {}, b'{"__type": "ValidationException"}'
        self.accepted += entries
        results = [{"EventId": entry["Source"]} for entry in entries]
        return 200, {}, json.dumps({"FailedEntryCount": 0, "Entries": results}).encode()


@pytest.mark.parametrize("detail", ["{}", ' {"photo": {"key": "a.jpg"}}\n', '{"x": [1, null]}'])
def test_a_json_object_is_accepted(detail: str) -> None:
    """Any JSON object is a Detail."""
    assert refusal_of({**ENTRY, "Detail": detail}) is None


@pytest.mark.parametrize(
    "detail",
    [
        "",
        "hello",
        "{",
        "{'photo': 1}",
        '{"x": NaN}',
        "[]",
        "null",
        "7",
        '"{}"',
        "[" * 50_000,
        {"photo": 1},
    ],
)
def test_a_detail_that_is_no_json_object_is_malformed(detail: Any) -> None:
    """No JSON, or JSON that is no object, is MalformedDetail."""
    assert refusal_of({**ENTRY, "Detail": detail}) == {
        "ErrorCode": "MalformedDetail",
        "ErrorMessage": "Detail is malformed.",
    }


@pytest.mark.parametrize("name", ["Source", "DetailType", "Detail"])
def test_required_arguments(name: str) -> None:
    """An entry without one of the three required arguments is InvalidArgument."""
    refusal = refusal_of({key: value for key, value in ENTRY.items() if key != name})
    assert refusal == {
        "ErrorCode": "InvalidArgument",
        "ErrorMessage": f"Parameter {name} is not valid. Reason: {name} is a required argument.",
    }


def test_the_other_entries_of_a_call_are_accepted() -> None:
    """The answer has a result for each entry, in the order of the call."""
    bus = Bus()
    entries = [
        {**ENTRY, "Source": "one"},
        {**ENTRY, "Detail": "hello"},
        {**ENTRY, "Source": "two"},
    ]
    status, _, body = checked(bus)({"Entries": entries})
    answer = json.loads(body)
    assert (status, answer["FailedEntryCount"]) == (200, 1)
    assert answer["Entries"][0] == {"EventId": "one"}
    assert answer["Entries"][1]["ErrorCode"] == "MalformedDetail"
    assert answer["Entries"][2] == {"EventId": "two"}
    assert bus.accepted == [entries[0], entries[2]]


def test_a_call_that_is_refused_stays_refused() -> None:
    """A call with more than ten entries is refused as a whole, whatever their details are."""
    bus = Bus()
    entries = [{**ENTRY, "Detail": "hello"}] * 11
    assert checked(bus)({"Entries": entries})[0] == 400
    assert bus.accepted == []
