"""Refuses the event entries that EventBridge refuses and MiniStack accepts.

PutEvents answers 200 even if EventBridge refuses an entry; the entry's `ErrorCode` says so. On AWS,
`Source`, `DetailType` and `Detail` are required, and `Detail` must be a JSON object. Found with
MiniStack 1.5.33; once it behaves as AWS does, this module can be removed.

This module runs in MiniStack's process, on its interpreter: see `local.stack.gate`.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

Answer = tuple[int, dict[str, str], bytes]
"""Status, headers and body."""
PutEvents = Callable[..., Answer]

_MOST_ENTRIES: Final = 10
_REQUIRED: Final = ("Source", "DetailType", "Detail")
_OK: Final = 200


def install() -> None:
    """Make MiniStack refuse these entries."""
    # MiniStack's interpreter alone has it.
    from ministack.services import eventbridge  # noqa: PLC0415

    # Each call looks this name up, in MiniStack's API and in its Step Functions.
    eventbridge._put_events = checked(eventbridge._put_events)  # noqa: SLF001


def checked(put_events: PutEvents) -> PutEvents:
    """Return a PutEvents that passes on only the entries that EventBridge accepts."""

    def put_checked(data: Mapping[str, Any], **options: bool) -> Answer:
        entries = data.get("Entries", [])
        # MiniStack refuses a call with more entries as a whole, as AWS does.
        if len(entries) > _MOST_ENTRIES:
            return put_events(data, **options)
        refusals = [refusal_of(entry) for entry in entries]
        accepted = [
            entry for entry, refusal in zip(entries, refusals, strict=True) if refusal is None
        ]
        status, headers, body = put_events({**data, "Entries": accepted}, **options)
        if status != _OK:
            return status, headers, body
        answer = json.loads(body)
        results = iter(answer["Entries"])
        answer["Entries"] = [refusal or next(results) for refusal in refusals]
        answer["FailedEntryCount"] += len(entries) - len(accepted)
        return status, headers, json.dumps(answer).encode()

    return put_checked


def refusal_of(entry: Mapping[str, Any]) -> dict[str, str] | None:
    """Return what EventBridge answers for an entry that it refuses; None if it accepts it."""
    for name in _REQUIRED:
        if entry.get(name) is None:
            return {
                "ErrorCode": "InvalidArgument",
                "ErrorMessage": f"Parameter {name} is not valid."
                f" Reason: {name} is a required argument.",
            }
    try:
        detail = json.loads(entry["Detail"], parse_constant=_refuse_constant)
    # RecursionError: EventBridge, too, limits how deep a JSON may be nested.
    except (TypeError, ValueError, RecursionError):
        detail = None
    if isinstance(detail, dict):
        return None
    return {"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."}


def _refuse_constant(name: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python's parser would read."""
    raise ValueError(name)
