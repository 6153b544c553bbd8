"""The payloads in events/ are valid, complete, and read as their names say."""

import json
from pathlib import Path
from typing import Any

import pytest

from shared.intake.messages import (
    BrokenEvent,
    JobContinued,
    ModelRequested,
    NotAPhoto,
    PhotoDropped,
    parse,
)
from shared.polling.state import PollState

EVENTS = Path(__file__).parents[2] / "events"
BUCKET = "catwalk-photosbucket-example"


def _load(path: Path) -> Any:
    return json.loads(path.read_text())


def _names(folder: str) -> list[str]:
    return sorted(path.stem for path in (EVENTS / folder).glob("*.json"))


@pytest.mark.parametrize("name", _names("eventbridge"))
def test_the_sqs_form_of_an_event_wraps_the_readable_one(name: str) -> None:
    """The payloads for SubmitFunction wrap the payloads of EventBridge."""
    (record,) = _load(EVENTS / "submit" / f"{name}.json")["Records"]
    assert json.loads(record["body"]) == _load(EVENTS / "eventbridge" / f"{name}.json")


@pytest.mark.parametrize("name", _names("submit"))
def test_each_submit_payload_is_read_as_its_name_says(name: str) -> None:
    """Every branch of the parser has its payload."""
    expected: dict[str, type] = {
        "folder-file-dropped": NotAPhoto,
        "job-continued": JobContinued,
        "mask-dropped": NotAPhoto,
        "not-json": BrokenEvent,
        "model-requested-broken": BrokenEvent,
    }
    kind = expected.get(name, ModelRequested if name.startswith("model") else PhotoDropped)
    (record,) = _load(EVENTS / "submit" / f"{name}.json")["Records"]
    incoming = parse(
        record["body"],
        message_id=record["messageId"],
        photos_bucket=BUCKET,
        vendor_origin="https://open.vmake.ai",
    )
    assert type(incoming) is kind


@pytest.mark.parametrize("folder", ["poll", "finalize"])
def test_the_state_machines_payloads_are_whole_states(folder: str) -> None:
    """The payloads for poll and finalize are complete states, without old fields."""
    for name in _names(folder):
        payload = _load(EVENTS / folder / f"{name}.json")
        if "detail-type" in payload:
            payload = json.loads(payload["detail"]["input"])
        payload.pop("failure", None)
        assert PollState.model_validate(payload).moved() == payload


def test_reconciles_payloads_say_nothing_that_it_does_not_read() -> None:
    """ReconcileFunction's payloads are the schedule's and a person's."""
    assert _names("reconcile") == ["everything-now", "scheduled"]
    assert _load(EVENTS / "reconcile" / "everything-now.json") == {"still_seconds": 0}
    assert "still_seconds" not in _load(EVENTS / "reconcile" / "scheduled.json")


@pytest.mark.parametrize("name", _names("put-events"))
def test_the_put_events_entries_are_requests(name: str) -> None:
    """The put-events entries can be sent unchanged."""
    (entry,) = _load(EVENTS / "put-events" / f"{name}.json")
    assert entry["DetailType"] == "Fashion Model Requested"
    event = {"id": "1", "detail-type": entry["DetailType"], "detail": json.loads(entry["Detail"])}
    incoming = parse(
        json.dumps(event),
        message_id="1",
        photos_bucket=BUCKET,
        vendor_origin="https://open.vmake.ai",
    )
    assert isinstance(incoming, ModelRequested)
