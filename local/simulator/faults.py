"""The faults that a test can script: their kinds, when they apply, and how often they fire."""

import random
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import Any, Final

from local.simulator.reports import FaultReport
from local.simulator.settings import NO_CREDITS_STYLES, is_number

CREATE, READ, DOWNLOAD = "create", "read", "download"
_EVERYWHERE: Final = (CREATE, READ, DOWNLOAD)
_STATUSES_WITH_BODY: Final = frozenset(range(200, 600)) - {204, 205, 304}


class FaultError(ValueError):
    """A script is invalid; the message says what is wrong and what is possible."""


@dataclass(frozen=True, slots=True)
class _Param:
    """A parameter of a fault: its default, and its allowed values."""

    default: Any
    allowed: Callable[[Any], bool]
    text: str


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault: the calls that it can be scripted for, its parameters, and its effect.

    Its `stage` is `answer` if it replaces or changes an answer; `task` if it stays with a task
    after it has fired; `success` if it changes only a read that reports success; `status` if it
    changes the reported status.
    """

    stage: str
    on: tuple[str, ...]
    text: str
    params: dict[str, _Param] = field(default_factory=dict)
    times: int | None = 1


def _is_status(value: object) -> bool:
    return type(value) is int and value in _STATUSES_WITH_BODY


def _status(default: int) -> _Param:
    return _Param(
        default, _is_status, "an integer from 200 to 599, with a body: not 204, 205 or 304"
    )


def _one_of(default: str, *allowed: str) -> _Param:
    return _Param(default, lambda value: value in allowed, f"one of {', '.join(allowed)}")


def _seconds(default: float | None, text: str) -> _Param:
    nullable = default is None
    return _Param(
        default,
        lambda value: (nullable and value is None) or (is_number(value) and value >= 0),
        text,
    )


def _count(text: str) -> _Param:
    return _Param(None, lambda value: value is None or (type(value) is int and value >= 1), text)


def _is_headers(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


_TEXT_OR_NULL: Final = _Param(
    None, lambda value: value is None or isinstance(value, str), "a string or null"
)
_INTEGER_OR_NULL: Final = _Param(
    None, lambda value: value is None or type(value) is int, "an integer or null"
)
_FRACTION: Final = _Param(
    0.5, lambda value: is_number(value) and 0 <= value < 1, "a number from 0 to below 1"
)


def _message(default: str) -> _Param:
    return _Param(default, lambda value: isinstance(value, str), "a string")


def _accepted(default: bool) -> _Param:  # noqa: FBT001 - the parameter's value is a bool
    return _Param(
        default,
        lambda value: isinstance(value, bool),
        "true (a create is accepted and charged first) or false",
    )


KINDS: Final[dict[str, Kind]] = {
    "lost_response": Kind(
        "answer", _EVERYWHERE, "accepted and charged, then the connection drops unanswered"
    ),
    "drop_before": Kind("answer", _EVERYWHERE, "the connection drops, nothing is accepted"),
    "status": Kind(
        "answer",
        _EVERYWHERE,
        "an error status, nothing accepted; an envelope, or `raw` text instead",
        {
            "status": _status(500),
            "code": _INTEGER_OR_NULL,
            "message": _message("simulated fault"),
            "headers": _Param({}, _is_headers, "an object of strings"),
            "raw": _TEXT_OR_NULL,
        },
    ),
    "error_after_charge": Kind(
        "answer",
        (CREATE,),
        "accepted and charged, then an error status",
        {"status": _status(500), "message": _message("internal error")},
    ),
    "contradiction": Kind(
        "answer",
        (CREATE,),
        "accepted and charged; the answer has the task id, and says otherwise",
        {
            "status": _status(200),
            "code": _Param(200, lambda value: type(value) is int, "an integer"),
            "message": _message("OK"),
            "task_id": _message("{task_id}"),
        },
    ),
    "html": Kind(
        "answer",
        _EVERYWHERE,
        "an HTML page of a gateway",
        {"status": _status(502), "accepted": _accepted(default=False)},
    ),
    "garbage": Kind(
        "answer",
        (CREATE, READ),
        "status 200 with text, JSON cut in half, JSON of wrong types, or no data",
        {
            "flavour": _one_of("text", "text", "cut", "types", "no_data"),
            "accepted": _accepted(default=True),
        },
    ),
    "slow": Kind(
        "answer",
        _EVERYWHERE,
        "the work is done, the answer comes late",
        {"seconds": _seconds(5.0, "a number of seconds")},
    ),
    "slow_body": Kind(
        "answer",
        _EVERYWHERE,
        "the headers come at once, the body drips over so many seconds",
        {"seconds": _seconds(5.0, "a number of seconds")},
    ),
    "no_credits": Kind(
        "answer",
        (CREATE,),
        "the balance is empty, said in one of three ways",
        {"style": _one_of("402", *NO_CREDITS_STYLES)},
    ),
    "bad_key": Kind("answer", (CREATE, READ), "the API key is refused with 401"),
    "redirect": Kind(
        "answer",
        _EVERYWHERE,
        "a redirect to `location`",
        {
            "location": _message("http://169.254.169.254/"),
            "status": _status(302),
            "accepted": _accepted(default=False),
        },
    ),
    "empty": Kind(
        "answer",
        _EVERYWHERE,
        "a status with no body at all",
        {"status": _status(200), "accepted": _accepted(default=True)},
    ),
    "truncated": Kind(
        "answer",
        _EVERYWHERE,
        "the connection closes when a fraction of Content-Length was sent",
        {"fraction": _FRACTION, "accepted": _accepted(default=True)},
    ),
    "oversize": Kind(
        "answer",
        _EVERYWHERE,
        "a huge body without Content-Length: the true one, then `bytes` more or no end",
        {
            "bytes": _count("an integer, 1 or more, or null (no end)"),
            "accepted": _accepted(default=True),
        },
    ),
    "short_image": Kind(
        "answer",
        (DOWNLOAD,),
        "an image cut short whose Content-Length agrees with what is sent",
        {"fraction": _FRACTION},
    ),
    "wrong_type": Kind(
        "answer",
        (DOWNLOAD,),
        "another format under the image's content type",
        {"format": _one_of("html", "html", "webp", "gif")},
    ),
    "expired_url": Kind(
        "answer",
        (DOWNLOAD,),
        "403 for URLs issued before the fault, or for the first `urls` sets of a task's URLs",
        {"urls": _count("an integer, 1 or more, or null (all issued so far)")},
        times=None,
    ),
    "unknown_status": Kind(
        "status",
        (READ,),
        "a status that the reference does not name",
        {"value": _message("reviewing")},
    ),
    "stuck": Kind(
        "task",
        (READ,),
        "the task stays at `percent` for so many seconds, or for ever (null)",
        {
            "percent": _Param(
                50, lambda value: type(value) is int and value in range(100), "an integer 0 to 99"
            ),
            "seconds": _seconds(None, "a number of seconds or null (for ever)"),
        },
    ),
    "task_error": Kind(
        "task",
        (READ,),
        "the task ends with the status error once it has run",
        {"message": _message("no garment was found in the image")},
    ),
    "gone": Kind("task", (READ,), "the task is unknown (404) from now on"),
    "no_results": Kind("success", (READ,), "success, but results is null"),
    "odd_urls": Kind(
        "success",
        (READ,),
        "each download URL ends with `appended`, `repeated` times; `count` results, if given",
        {
            "appended": _message("?"),
            "repeated": _Param(
                1, lambda value: type(value) is int and value >= 0, "an integer, 0 or more"
            ),
            "count": _count("an integer, 1 or more, or null (as many as were asked for)"),
        },
    ),
    "single_result": Kind(
        "success", (READ,), "results is one object instead of a list", times=None
    ),
}
"""All kinds of faults by name. `times` is how often a fault fires by default: once, or always.

In texts `{image}` is replaced by the photo's URL with its query, `{key}` by the API key that was
sent, and `{task_id}` by the task's id, since a vendor may quote them.
"""


def possible() -> dict[str, Any]:
    """Describe every fault, as JSON."""
    return {
        name: {
            "on": kind.on,
            "does": kind.text,
            "times": kind.times,
            "params": {
                param: {"default": rule.default, "must_be": rule.text}
                for param, rule in kind.params.items()
            },
        }
        for name, kind in KINDS.items()
    }


_MATCHES: Final = {
    "path_contains": _EVERYWHERE,
    "sha256": _EVERYWHERE,
    "task_id": (READ, DOWNLOAD),
    "result_index": (DOWNLOAD,),
}
_FIELDS: Final = ("on", "fault", "times", "match", "probability")


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts of a call by which faults are matched; `url` is the photo's URL without its query.

    `url_set` is the number of a task's set of download URLs, from 1 on. The set was issued at
    `issued_at` of the monotonic clock.
    """

    url: str | None = None
    sha256: str | None = None
    task_id: str | None = None
    result_index: int | None = None
    url_set: int | None = None
    issued_at: float | None = None


@dataclass(slots=True)
class Fault:
    """A scripted fault. `params` has a value for each parameter of its kind."""

    id: int
    on: str
    name: str
    times: int | None
    match: dict[str, Any]
    probability: float
    params: dict[str, Any]
    scripted_at: float
    fired: int = 0

    @property
    def kind(self) -> Kind:
        """The kind of the fault."""
        return KINDS[self.name]

    def report(self) -> FaultReport:
        """Return it as JSON."""
        return {
            "id": self.id,
            "on": self.on,
            "fault": self.name,
            "times": self.times,
            "match": self.match,
            "probability": self.probability,
            "params": self.params,
            "fired": self.fired,
        }

    def applies(self, facts: Facts) -> bool:
        """Return whether it may fire again and matches these facts."""
        if self.times is not None and self.fired >= self.times:
            return False
        match = self.match
        if "path_contains" in match and match["path_contains"] not in (facts.url or ""):
            return False
        if any(
            name in match and match[name] != getattr(facts, name)
            for name in ("sha256", "task_id", "result_index")
        ):
            return False
        return self.name != "expired_url" or self._url_expired(facts)

    def _url_expired(self, facts: Facts) -> bool:
        if facts.url_set is None or facts.issued_at is None:
            return False
        urls: int | None = self.params["urls"]
        return facts.issued_at <= self.scripted_at if urls is None else facts.url_set <= urls


class FaultBook:
    """The scripted faults, in their order: of those that apply to a call, the first fires."""

    def __init__(self, seed: int) -> None:
        """Start empty; `seed` decides for faults with a probability."""
        self._seed = seed
        self.clear()

    def clear(self) -> None:
        """Remove all faults, and restart the random numbers."""
        self._faults: list[Fault] = []
        self._next_id = 1
        # For tests, not for secrets.
        self._random = random.Random(self._seed)  # noqa: S311

    def report(self) -> list[FaultReport]:
        """Return all faults as JSON."""
        return [fault.report() for fault in self._faults]

    def script(self, specs: object, now: float) -> list[Fault]:
        """Add one fault or a list of faults; if one is invalid, none is added."""
        listed = specs if isinstance(specs, list) else [specs]
        faults = [self._parse(spec, now) for spec in listed]
        for fault in faults:
            fault.id = self._next_id
            self._next_id += 1
        self._faults += faults
        return faults

    def claim(
        self,
        on: str,
        facts: Facts,
        *,
        stage: str,
        needing: str | None = None,
        already: Container[str] = (),
    ) -> Fault | None:
        """Fire the first fault of a stage that applies, and return it.

        With `needing`, only faults that match by this fact count: the others were tried before the
        fact was known. `already` names the faults that the task has; they are not fired again.
        """
        for fault in self._faults:
            if fault.on != on or fault.kind.stage != stage or not fault.applies(facts):
                continue
            if fault.name in already or (needing is not None and needing not in fault.match):
                continue
            if fault.probability < 1 and self._random.random() >= fault.probability:
                continue
            fault.fired += 1
            return fault
        return None

    def release(self, fault: Fault) -> None:
        """Undo a claim whose fault had no effect on its call."""
        fault.fired -= 1

    def _parse(self, spec: object, now: float) -> Fault:
        if not isinstance(spec, dict):
            message = f'a fault is an object with "on" and "fault", not {spec!r}'
            raise FaultError(message)
        name = spec.get("fault")
        if not isinstance(name, str) or name not in KINDS:
            message = f"no fault is called {name!r}; there are {', '.join(sorted(KINDS))}"
            raise FaultError(message)
        kind = KINDS[name]
        on = spec.get("on")
        if on not in kind.on:
            message = f"{name} can be scripted on {', '.join(kind.on)}, not on {on!r}"
            raise FaultError(message)
        return Fault(
            id=0,
            on=on,
            name=name,
            times=_times(spec.get("times", kind.times)),
            match=_match(spec.get("match", {}), on),
            probability=_probability(spec.get("probability", 1.0)),
            params=_params(name, kind, spec),
            scripted_at=now,
        )


def _times(value: Any) -> int | None:  # noqa: ANN401 - any JSON value
    if value is None or (type(value) is int and value >= 1):
        return value
    message = f"times is {value!r}: it must be an integer, 1 or more, or null (always)"
    raise FaultError(message)


def _probability(value: Any) -> float:  # noqa: ANN401 - any JSON value
    if is_number(value) and 0 < value <= 1:
        return float(value)
    message = f"probability is {value!r}: it must be a number above 0, up to 1"
    raise FaultError(message)


def _match(value: Any, on: str) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
    possible = [name for name, calls in _MATCHES.items() if on in calls]
    if not isinstance(value, dict):
        message = f"match is {value!r}: it must be an object of {', '.join(possible)}"
        raise FaultError(message)
    for name, wanted in value.items():
        if name not in possible:
            message = f"{on} cannot be matched by {name!r}, only by {', '.join(possible)}"
            raise FaultError(message)
        kind = int if name == "result_index" else str
        if type(wanted) is not kind:
            message = f"match.{name} is {wanted!r}: it must be of type {kind.__name__}"
            raise FaultError(message)
    return value


def _params(name: str, kind: Kind, spec: dict[str, Any]) -> dict[str, Any]:
    given = {key: value for key, value in spec.items() if key not in _FIELDS}
    for key, value in given.items():
        param = kind.params.get(key)
        if param is None:
            known = ", ".join(kind.params) or "none of its own"
            message = (
                f"{name} has no parameter {key!r}; it has {known}, beside {', '.join(_FIELDS)}"
            )
            raise FaultError(message)
        if not param.allowed(value):
            message = f"{key} is {value!r}: it must be {param.text}"
            raise FaultError(message)
    return {key: given.get(key, param.default) for key, param in kind.params.items()}
