"""The shapes of what the control API reports. Moments are ISO 8601, UTC, milliseconds."""

from datetime import UTC, datetime
from typing import Any, TypedDict


class PhotoReport(TypedDict):
    """A photo or mask: its bytes' SHA-256 and, if it came by URL, the URL's decoded path."""

    sha256: str
    path: str | None
    format: str
    width: int
    height: int


class TaskReport(TypedDict):
    """An accepted task. `request` is its body with base64 and URL queries left out."""

    task_id: str
    accepted_at: str
    status: str
    progress: int
    reads: int
    downloads: dict[str, int]
    photo: PhotoReport
    mask: PhotoReport | None
    request: dict[str, Any]


class CallReport(TypedDict):
    """A call of the vendor's API. `status` is null while unanswered, and if it was dropped."""

    at: str
    kind: str
    method: str
    path: str
    status: int | None
    task_id: str | None
    fault: str | None


class ChargesReport(TypedDict):
    """Credits taken: one a task. `by_path` knows only photos that came by URL."""

    total: int
    by_sha256: dict[str, int]
    by_path: dict[str, int]


class FaultReport(TypedDict):
    """A scripted fault, and how often it has fired."""

    id: int
    on: str
    fault: str
    times: int | None
    match: dict[str, Any]
    probability: float
    params: dict[str, Any]
    fired: int


class StateReport(TypedDict):
    """Everything the simulator knows. `call_counts` counts calls by kind, dropped ones too."""

    charges: ChargesReport
    settings: dict[str, Any]
    tasks: list[TaskReport]
    call_counts: dict[str, int]
    calls: list[CallReport]
    faults: list[FaultReport]


def moment(now: datetime) -> str:
    """Write a moment."""
    return now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
