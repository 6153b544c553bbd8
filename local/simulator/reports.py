"""The JSON that the control API returns. Moments are ISO 8601, UTC, milliseconds."""

from datetime import UTC, datetime
from typing import Any, TypedDict


class PhotoReport(TypedDict):
    """A photo or mask: the SHA-256 of its bytes, and the decoded path of its URL if it has one."""

    sha256: str
    path: str | None
    format: str
    width: int
    height: int


class TaskReport(TypedDict):
    """An accepted task. `request` is its body without base64 and URL queries."""

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
    """A call of the vendor's API. `status` is null if it was not answered or was dropped."""

    at: str
    kind: str
    method: str
    path: str
    status: int | None
    task_id: str | None
    fault: str | None


class ChargesReport(TypedDict):
    """Credits charged: one a task. `by_path` counts only photos with a URL."""

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
    """The simulator's state. `call_counts` counts calls by kind, including dropped ones."""

    charges: ChargesReport
    settings: dict[str, Any]
    tasks: list[TaskReport]
    call_counts: dict[str, int]
    calls: list[CallReport]
    faults: list[FaultReport]


def moment(now: datetime) -> str:
    """Format a moment."""
    return now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
