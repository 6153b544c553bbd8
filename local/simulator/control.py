"""A client of the simulator's control API."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import EllipsisType, TracebackType
from typing import Any, Final, Self, cast

import httpx

from local.simulator.reports import FaultReport, StateReport

CONTROL_PATH: Final = "/_simulator"
_TIMEOUT_SECONDS: Final = 30.0


class ControlError(RuntimeError):
    """The simulator refused a command; the message is the simulator's."""


@dataclass(frozen=True, slots=True)
class Charges:
    """Credits charged: in total, by the SHA-256 of the photo's bytes, by the path of its URL."""

    total: int
    by_sha256: dict[str, int]
    by_path: dict[str, int]

    def of(self, text: str) -> int:
        """Count the charges of photos whose URL path contains a text."""
        return sum(count for path, count in self.by_path.items() if text in path)


class SimulatorControl:
    """Calls of the control API of a simulator at a base URL. Errors raise ControlError."""

    def __init__(self, base_url: str) -> None:
        """Make the client; nothing is sent yet."""
        self._client = httpx.Client(
            base_url=base_url.rstrip("/") + CONTROL_PATH, timeout=_TIMEOUT_SECONDS, trust_env=False
        )

    def health(self) -> bool:
        """Return whether a simulator answers."""
        try:
            return self._client.get("/health").is_success
        except httpx.TransportError:
            return False

    def charges(self) -> Charges:
        """Return the charges."""
        return Charges(**self._call("GET", "/charges"))

    def state(self) -> StateReport:
        """Return the whole state: charges, settings, tasks, calls, faults."""
        return cast("StateReport", self._call("GET", "/state"))

    def reset(self) -> None:
        """Remove all tasks, charges, calls and faults, and restore the first settings."""
        self._call("POST", "/reset")

    def settings(self, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - each setting has a type of its own
        """Change these settings, and return all settings."""
        return self._call("PUT", "/settings", changes)

    def fault(
        self,
        on: str,
        fault: str,
        *,
        times: int | EllipsisType | None = ...,
        match: Mapping[str, Any] | None = None,
        probability: float = 1.0,
        **params: Any,  # noqa: ANN401 - each parameter has a type of its own
    ) -> int:
        """Script a fault on "create", "read" or "download", and return its id.

        With `times` None it fires always; without `times` the fault's own default counts.
        """
        spec = {
            "on": on,
            "fault": fault,
            "match": dict(match or {}),
            "probability": probability,
            **params,
        }
        if times is not ...:
            spec["times"] = times
        added: list[FaultReport] = self._call("POST", "/faults", spec)["faults"]
        return added[0]["id"]

    def faults(self) -> list[FaultReport]:
        """List the scripted faults, with how often each has fired."""
        return cast("list[FaultReport]", self._call("GET", "/faults")["faults"])

    def clear_faults(self) -> None:
        """Remove all scripted faults; faults that stay with a task remain there."""
        self._call("DELETE", "/faults")

    def close(self) -> None:
        """Close the client."""
        self._client.close()

    def __enter__(self) -> Self:
        """Use it in a with statement."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        answer = self._client.request(method, path, json=body)
        if not answer.is_success:
            raise ControlError(answer.json()["message"])
        return cast("dict[str, Any]", answer.json())
