"""What can be set about the simulator, at its start or while it runs."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final


class SettingsError(ValueError):
    """A change of settings that makes no sense; the message names the setting and its rule."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How the simulated vendor behaves when no fault is scripted. Times are in seconds."""

    seconds: float = 8.0
    """How long a task runs, on average."""
    jitter: float = 0.3
    """How much a task's time differs from that: 0.3 is from 70 % to 130 %."""
    credits: int | None = None
    """The balance: each accepted task takes one; null is unlimited."""
    no_credits_as: str = "402"
    """What an empty balance answers: HTTP 402, 403, or 200 with another code than 0."""
    api_key: str | None = None
    """The one valid key; null accepts any that is not empty."""
    submits_per_second: float | None = None
    """More creates than this answer 429; null is unlimited."""
    retry_after: bool = True
    """Whether such a 429 carries Retry-After."""
    download_url_seconds: float | None = None
    """How long a download URL works; null is for ever."""
    plain_results: bool = False
    """One small image a scene instead of one drawn from each photo; photos are not decoded."""

    def report(self) -> dict[str, Any]:
        """Show every setting, as JSON."""
        return asdict(self)

    def changed(self, changes: Mapping[str, Any]) -> "Settings":
        """Return these settings with some replaced."""
        for name, value in changes.items():
            rule = _RULES.get(name)
            if rule is None:
                message = f"no setting is called {name!r}; there are {', '.join(sorted(_RULES))}"
                raise SettingsError(message)
            allowed, text = rule
            if not allowed(value):
                message = f"{name} is {value!r}: it must be {text}"
                raise SettingsError(message)
        return replace(self, **changes)


def is_number(value: object) -> bool:
    """Tell whether a JSON value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _at_least_zero(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    return is_number(value) and value >= 0


def _above_zero_or_null(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    return value is None or (is_number(value) and value > 0)


NO_CREDITS_STYLES: Final = ("402", "403", "200")

_RULES: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "seconds": (_at_least_zero, "a number of seconds, 0 or more"),
    "jitter": (lambda value: is_number(value) and 0 <= value <= 1, "a number from 0 to 1"),
    "credits": (
        lambda value: value is None or (type(value) is int and value >= 0),
        "an integer, 0 or more, or null",
    ),
    "no_credits_as": (
        lambda value: value in NO_CREDITS_STYLES,
        f"one of {', '.join(NO_CREDITS_STYLES)}",
    ),
    "api_key": (
        lambda value: value is None or (isinstance(value, str) and value != ""),
        "a non-empty string or null",
    ),
    "submits_per_second": (_above_zero_or_null, "a number above 0, or null"),
    "retry_after": (lambda value: isinstance(value, bool), "true or false"),
    "download_url_seconds": (_above_zero_or_null, "a number of seconds above 0, or null"),
    "plain_results": (lambda value: isinstance(value, bool), "true or false"),
}
