"""The simulator's settings, which can be changed at its start and while it runs."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final


class SettingsError(ValueError):
    """A setting has an invalid value; the message names the setting and its rule."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How the simulated vendor behaves without faults. Times are in seconds."""

    seconds: float = 8.0
    """The average duration of a task."""
    jitter: float = 0.3
    """The variation of the duration: 0.3 means 70 % to 130 % of the average."""
    credits: int | None = None
    """The balance; each accepted task costs one credit. null is unlimited."""
    no_credits_as: str = "402"
    """The answer to an empty balance: HTTP 402, 403, or 200 with a code other than 0."""
    api_key: str | None = None
    """The only valid key; null accepts every key that is not empty."""
    submits_per_second: float | None = None
    """Creates above this rate are answered with 429; null is unlimited."""
    retry_after: bool = True
    """Whether such a 429 has a Retry-After."""
    download_url_seconds: float | None = None
    """How long a download URL is valid; null is for ever."""
    plain_results: bool = False
    """Make one small image a scene instead of drawing from each photo; photos are not decoded."""

    def report(self) -> dict[str, Any]:
        """Return all settings as JSON."""
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
    """Return whether a JSON value is a number; true and false are not."""
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
