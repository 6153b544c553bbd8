"""The circuit breaker: submission pauses for all photos while account or vendor has trouble.

SubmitFunction reads one item in JobsTable, `CONTROL#submit`, before each submit. The item says
whether the breaker is

    closed      photos are sent
    open        submission is paused, until a time and for a reason
    half-open   the pause is over: one photo is sent, the probe; the others wait for its outcome

A probe that goes through closes the breaker; one that fails makes the next pause longer. No photo
fails because of a pause: photos wait in the queue.

One photo's refusal says little about the account. So the item also names the photos that were
refused since one went through, and the first new photos are tried while the breaker is open
(shared/limits/suspicion.py).

A vendor that throttles is asked too fast. After the first refusal the item also holds a submit rate
(shared/limits/submit_rate.py), and each submit takes the next slot by one conditional write.
Several refusals in a row, or a long `Retry-After`, open the breaker again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Literal

from shared.clock import iso, later, parse_iso, utc_now
from shared.limits.submit_rate import SEARCHING, START_GAP, SubmitRate, paced_for
from shared.limits.suspicion import DOUBTFUL, MANY
from shared.models import MAX_MESSAGE
from shared.notify.metrics import Metrics
from shared.records.attributes import update_if
from shared.vmake.answers import Trouble
from shared.vmake.outcomes import Accepted, CreateOutcome, NeverSent, Refused, Unknown

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

ACCOUNT_PAUSE_SECONDS: Final = 60.0
"""The first pause after the key was refused or the credits were gone; doubled each time."""
OUTAGE_PAUSE_SECONDS: Final = 5.0
"""The first pause after the vendor could not be reached or did not answer; doubled each time."""
BUSY_PAUSE_SECONDS: Final = 1.0
"""The first pause after the vendor throttled; doubled each time. `Retry-After` may ask for more."""
REFUSALS_IN_A_ROW: Final = 5
"""If the rate was cut this many times in a row and the vendor still throttles, submission
pauses."""
PATIENCE_SECONDS: Final = 10.0
"""A photo waits at most this long for its slot inside the function. A `Retry-After` of at most this
long moves the slots; a longer one pauses submission."""
AHEAD_SECONDS: Final = 1.0
"""Reserve slots at most this far ahead (always at least one): a new rate then applies to all photos
that still wait."""
MAX_PAUSE_SECONDS: Final = 900.0
"""The longest pause that Catwalk chooses: after trouble, photos go on within a quarter of an
hour."""
MAX_RETRY_AFTER_SECONDS: Final = 6 * 3600.0
"""The longest pause that the vendor can ask for: a wrong header must not stop everything."""
UNKNOWNS_IN_A_ROW: Final = 3
"""This many unknown submits in a row are counted as an outage of the vendor."""
PROBE_SECONDS: Final = 120.0
"""How long one photo stays the probe: longer than a POST with all its timeouts takes."""
MIN_RETRY_SECONDS: Final = 0.25
MAX_RETRY_SECONDS: Final = 30.0
"""While a probe is under way, the other photos ask again after as long as it has taken so far,
within these bounds, in seconds. Most probes are answered at once; a killed one is waited for
patiently."""
PUBLISH_SECONDS: Final = 30.0
"""If the pausing invocation published no event within this time, the next invocation publishes
it."""
REPUBLISH_SECONDS: Final = 900.0
"""A pause for the same kind of trouble is published at most once in this time: a vendor that
throttles does so again and again."""
MAX_PAUSES: Final = 20
"""Pauses are counted up to this number; the longest pause is reached far earlier."""
MOST_SUSPECTS: Final = 10
"""The item names at most this many refused photos."""
MOST_CLEARED: Final = 50
"""If more photos were cleared, the item forgets them; they can be cleared again."""
SUSPECT_SECONDS: Final = 5.0
"""After a pause, a photo that was refused waits this much longer, so that others are tried
first."""
_OF_REFUSED: Final = ("suspects", "denied", "awaited", "firsts")
_OF_PAUSE: Final = ("until", "reason", "cause", "pauses", "probe_until", "untold")
_KEY: Final[Any] = {"pk": {"S": "CONTROL#submit"}}
"""The key of the item in JobsTable that holds the state."""


class Cause(StrEnum):
    """Why submission pauses, as metrics and alarms know it."""

    KEY_REFUSED = "key_refused"
    """Or there is none yet."""
    NO_CREDITS = "no_credits"
    THROTTLED = "throttled"
    """Or the vendor says that it is down for now."""
    WRONG_ADDRESS = "wrong_address"
    """Or something in between denies all photos."""
    OUTAGE = "outage"
    """No connection, or no answer to several submits in a row."""


_CAUSES: Final[Mapping[str, Cause]] = {
    Trouble.KEY: Cause.KEY_REFUSED,
    Trouble.CREDITS: Cause.NO_CREDITS,
    Trouble.BUSY: Cause.THROTTLED,
    Trouble.ADDRESS: Cause.WRONG_ADDRESS,
    # Most likely a firewall between here and the vendor.
    Trouble.DENIED: Cause.WRONG_ADDRESS,
}
"""By kind of trouble; every other is an outage."""
WATCHED: Final = frozenset({Trouble.KEY, Trouble.CREDITS})
"""The kinds of trouble that have an alarm of their own."""
_WATCHED_CAUSES: Final = frozenset(_CAUSES[kind] for kind in WATCHED)
_DOUBTFUL_CAUSES: Final = frozenset(_CAUSES[kind] for kind in DOUBTFUL)


@dataclass(frozen=True)
class Paused:
    """The photo has to wait; ask again after `seconds`."""

    seconds: float
    reason: str
    unpublished: "Tripped | None" = None
    """Set if the invocation that paused submission has published no event."""
    watched: bool = False
    """Whether this cause has an alarm of its own: then waiting photos raise no other one."""
    one: bool = False
    """Whether only the photo that asked has to wait."""


@dataclass(frozen=True)
class Candidate:
    """A photo that asks for a permit."""

    job_id: str
    refused: bool
    """Whether it was refused before in this attempt."""


@dataclass(frozen=True)
class Permit:
    """This photo may be sent; afterwards `record` takes the permit and the outcome."""

    pauses: int = 0
    """How many pauses there were in a row; not 0 for a probe."""
    unknowns: int = 0
    """How many unknown submits there were in a row."""
    refusals: int = 0
    """How many times the rate was cut since a submit went through."""
    rate: SubmitRate | None = None
    """Set if submits are spaced out; a probe is sent without a slot."""
    waited: bool = False
    """Whether it had to wait for its slot; else its success says nothing about the rate."""
    suspects: frozenset[str] = frozenset()
    """The jobs that were refused, since a photo went through, with an answer about the account."""
    denied: frozenset[str] = frozenset()
    """The jobs that were refused without a reason."""
    awaited: frozenset[str] = frozenset()
    """The jobs that were cleared and refused again; the next success clears them once more."""
    cleared: frozenset[str] = field(default=frozenset(), compare=False)
    """The jobs whose last refusal another photo's success has contradicted."""
    candidate: Candidate | None = field(default=None, compare=False)
    """The photo that holds the permit."""
    probe_until: str | None = field(default=None, compare=False)
    """Set for a probe: the end of its time, ISO 8601; identifies it in `give_back`."""
    early: bool = False
    """Whether it was given while submission was paused."""

    @property
    def clear(self) -> bool:
        """Whether a success has nothing to clear."""
        trouble = self.pauses or self.unknowns or self.refusals
        return not (trouble or self.suspects or self.denied or self.awaited)


@dataclass(frozen=True)
class Slot:
    """The photo may be sent with `permit` after `seconds`."""

    seconds: float
    permit: Permit


@dataclass(frozen=True)
class Tripped:
    """This outcome paused submission: an event must be published."""

    until: str
    """ISO 8601."""
    reason: str
    kind: str


@dataclass(frozen=True)
class CurrentPause:
    """Submission is paused: no photo has gone through since the pause began."""

    until: datetime
    """After this moment, the next photo is the probe."""
    reason: str
    cause: Cause


class CircuitBreaker:
    """Whether photos may be sent, shared by all invocations of SubmitFunction."""

    def __init__(
        self,
        dynamodb: "DynamoDBClient",
        table: str,
        *,
        metrics: Metrics | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """Keep the state in this table, and count pauses in `metrics`."""
        self._dynamodb = dynamodb
        self._table = table
        self._metrics = metrics
        self._now = now

    def ask(self, candidate: Candidate | None = None) -> Permit | Paused:
        """Return whether a photo may be sent now; after a pause, the first photo to ask may.

        Args:
            candidate: the photo. One that was never refused may be tried during a pause; one that
                was refused lets others go first.

        """
        item = self._read()
        if not item:
            return Permit(candidate=candidate)
        now = self._now()
        permit = Permit(
            pauses=_number(item, "pauses"),
            unknowns=_number(item, "unknowns"),
            refusals=_number(item, "refusals"),
            suspects=_names(item, "suspects"),
            denied=_names(item, "denied"),
            awaited=_names(item, "awaited"),
            cleared=_names(item, "cleared"),
            candidate=candidate,
        )
        if "until" not in item:
            return replace(permit, rate=_rate_if_limited(item, now))
        reason = item["reason"]["S"]
        watched = _cause_of(item) in _WATCHED_CAUSES
        left = _left(item, "until", now)
        if left > 0 and not self._early(item, permit):
            return Paused(left, reason, _unpublished(item, now), watched=watched)
        suspect = candidate is not None and candidate.job_id in permit.suspects | permit.denied
        again = permit.pauses > 1 or len(permit.suspects) > 1
        if suspect and again and left + SUSPECT_SECONDS > 0:
            return Paused(left + SUSPECT_SECONDS, reason, watched=watched, one=True)
        probe_until = self._becomes_probe(now)
        if probe_until is not None:
            return replace(permit, probe_until=probe_until, early=left > 0)
        probing = PROBE_SECONDS - _left(item, "probe_until", now) if "probe_until" in item else 0
        seconds = min(MAX_RETRY_SECONDS, max(MIN_RETRY_SECONDS, probing))
        if left > 0:
            seconds = min(seconds, left)
        return Paused(seconds, f"one photo is being tried, since {reason}", watched=watched)

    @staticmethod
    def _early(item: Mapping[str, Any], permit: Permit) -> bool:
        """Whether the photo may be tried although submission is paused."""
        clean = permit.candidate is not None and not permit.candidate.refused
        few = bool(permit.suspects) and _number(item, "firsts") < MANY
        return clean and few and _cause_of(item) in _DOUBTFUL_CAUSES

    def take_slot(self, permit: Permit, patience: float) -> Slot | Paused | None:
        """Take the next slot for a submit.

        Args:
            permit: what `ask` has just returned.
            patience: how many seconds ahead the slot may be.

        Returns:
            The slot; or `Paused`, without a slot, if the next one is too far ahead; or None if the
            rate has changed meanwhile: ask again now.

        """
        rate = permit.rate
        if rate is None:
            return Slot(0.0, permit)
        now = self._now().timestamp()
        wait = max(0.0, rate.slot + rate.gap - now)
        ahead = min(patience, max(AHEAD_SECONDS, rate.gap))
        if wait > ahead:
            seconds = max(MIN_RETRY_SECONDS, wait - ahead)
            return Paused(seconds, "the vendor throttles, and other photos are before this one")
        over = _decimal(now - rate.gap)
        if wait:
            # The slot after the last one that was taken.
            far = _decimal(now + ahead - rate.gap)
            taken = self._change_rate(
                "SET pace_slot = pace_slot + pace_gap",
                "pace_slot BETWEEN :over AND :far",
                {":over": over, ":far": far},
            )
        else:
            # No slot was taken for longer than a gap: this moment is one.
            taken = self._change_rate(
                "SET pace_slot = :now",
                "pace_slot <= :over",
                {":now": _decimal(now), ":over": over},
            )
        if taken is None:
            return None
        paced = _rate_of(taken)
        seconds = max(0.0, paced.slot - now)
        return Slot(seconds, replace(permit, rate=paced, waited=seconds > 0))

    def seconds_left(self) -> float:
        """Return for how many seconds submission is still paused; this makes no photo the probe."""
        pause = self.current_pause()
        return 0.0 if pause is None else max(0.0, (pause.until - self._now()).total_seconds())

    def current_pause(self) -> CurrentPause | None:
        """Return the pause since which no photo has gone through; this makes no photo the probe."""
        item = self._read()
        if "until" not in item:
            return None
        return CurrentPause(parse_iso(item["until"]["S"]), item["reason"]["S"], _cause_of(item))

    def end_pause(self, until: datetime) -> bool:
        """End a pause now, so that the next photo is the probe; return whether that was done.

        Args:
            until: the end of the pause; if another pause has begun meanwhile, it stays.

        """
        values = {":now": {"S": iso(self._now())}, ":until": {"S": iso(until)}}
        names = {"#until": "until"}
        ended = self._update_if("#until = :until", "SET #until = :now", values, names=names)
        return ended is not None

    def _read(self) -> Mapping[str, Any]:
        answer = self._dynamodb.get_item(TableName=self._table, Key=_KEY, ConsistentRead=True)
        return answer.get("Item", {})

    def record(self, permit: Permit, outcome: CreateOutcome) -> Tripped | None:
        """Record the outcome of a submit; return `Tripped` if it paused submission."""
        match outcome:
            case Accepted() | Refused(Trouble.REQUEST):
                if not permit.clear:
                    self._clear(permit, passed=isinstance(outcome, Accepted))
                if permit.rate is not None and permit.waited:
                    self._speed_up(permit.rate)
                return None
            case Unknown(message):
                if permit.pauses == 0 and self._one_more_unknown() < UNKNOWNS_IN_A_ROW:
                    return None
                reason = f"submits stay without an answer ({message})"
                return self._pause(permit, "no answer", reason, OUTAGE_PAUSE_SECONDS)
            case NeverSent(message):
                return self._pause(permit, "no connection", message, OUTAGE_PAUSE_SECONDS)
            case Refused(Trouble.BUSY as kind, message, retry_after):
                if permit.rate is not None and self._slow_down(permit.rate, retry_after or 0.0):
                    return None
                return self._pause(permit, kind, message, BUSY_PAUSE_SECONDS, asked=retry_after)
            case Refused(kind, message, retry_after):
                denied = kind is Trouble.DENIED
                first = OUTAGE_PAUSE_SECONDS if denied else ACCOUNT_PAUSE_SECONDS
                suspect = None if denied else permit.candidate
                return self._pause(permit, kind, message, first, asked=retry_after, suspect=suspect)

    def note_denied(self, job_id: str) -> int:
        """Note that a photo was refused without a reason; return how many were in a row."""
        return self._note("denied", job_id)

    def note_awaited(self, job_id: str) -> None:
        """Note that a cleared photo was refused again; that pauses nothing."""
        self._note("awaited", job_id)

    def _note(self, name: str, job_id: str) -> int:
        item = self._update_if(
            "attribute_not_exists(#name) OR size(#name) < :most",
            "ADD #name :job DELETE cleared :job",
            {":job": {"SS": [job_id]}, ":most": {"N": str(MOST_SUSPECTS)}},
            names={"#name": name},
            returns="ALL_NEW",
        )
        return MOST_SUSPECTS if item is None else len(_names(item, name))

    def give_back(self, permit: Permit) -> None:
        """Let the next photo be the probe: this one was not sent, or its outcome says nothing."""
        if permit.probe_until is None:
            return
        # If it was too late, another photo is the probe by now, and stays it.
        mine = {":mine": {"S": permit.probe_until}}
        self._update_if("probe_until = :mine", "REMOVE probe_until", mine)

    def note_published(self, tripped: Tripped) -> None:
        """Note that a pause was published, unless the item was deleted meanwhile."""
        self._update_if(
            "attribute_exists(pk)",
            "SET told_at = :now, told_kind = :kind REMOVE untold",
            {":now": {"S": iso(self._now())}, ":kind": {"S": tripped.kind}},
        )

    def _clear(self, permit: Permit, *, passed: bool) -> None:
        """Clear the trouble that this permit knew of; a pause that came later stays."""
        removed = ["unknowns", "refusals", *(_OF_PAUSE if permit.pauses else ())]
        cleared: set[str] = set()
        if passed:
            removed += [name for name in _OF_REFUSED if name == "firsts" or getattr(permit, name)]
            cleared |= permit.denied
            # An answer about the account is contradicted only by a success during the pause, while
            # no other photo was refused.
            if permit.early and len(permit.suspects) == 1:
                cleared |= permit.suspects
            if not permit.pauses and not permit.suspects:
                cleared |= permit.awaited
        names = {f"#{name}": name for name in removed}
        expression = f"REMOVE {', '.join(names)}"
        arguments: dict[str, Any] = {}
        if cleared:
            values = {":cleared": {"SS": sorted(cleared)}}
            arguments["ExpressionAttributeValues"] = values
            many = len(permit.cleared) > MOST_CLEARED
            expression += " SET cleared = :cleared" if many else " ADD cleared :cleared"
        self._dynamodb.update_item(
            TableName=self._table,
            Key=_KEY,
            UpdateExpression=expression,
            ExpressionAttributeNames=names,
            **arguments,
        )

    def _pause(
        self,
        permit: Permit,
        kind: str,
        reason: str,
        first: float,
        *,
        asked: float | None = None,
        suspect: Candidate | None = None,
    ) -> Tripped | None:
        """Pause, or pause again after a failed probe; only a first pause is published.

        Args:
            permit: of the photo that met the trouble.
            kind: of trouble.
            reason: what the vendor said.
            first: seconds of the first pause in a row.
            asked: the vendor's `Retry-After`, in seconds.
            suspect: the photo, if the trouble may be about it alone.

        """
        seconds = max(
            min(MAX_PAUSE_SECONDS, first * 2 ** (permit.pauses - permit.early)),
            min(asked or 0, MAX_RETRY_AFTER_SECONDS),
        )
        now = self._now()
        until = later(now, seconds)
        cause = _CAUSES.get(kind, Cause.OUTAGE)
        values: dict[str, Any] = {
            ":until": {"S": until},
            ":cause": {"S": cause},
            ":reason": {"S": reason[:MAX_MESSAGE]},
            # A photo that is tried during a pause does not lengthen it.
            ":pauses": {"N": str(min(permit.pauses + (not permit.early), MAX_PAUSES))},
            ":zero": {"N": "0"},
            ":now": {"S": iso(now)},
        }
        sets = "#until = :until, #reason = :reason, #cause = :cause, pauses = :pauses"
        sets += ", unknowns = :zero, refusals = :zero"
        condition = "attribute_exists(pk)" if permit.pauses else "attribute_not_exists(#until)"
        if not permit.pauses:
            values[":kind"] = {"S": kind}
            sets += ", untold = :kind"
        if kind == Trouble.BUSY:
            # From now on submits are spaced out: at the rate that was found the last time, unless
            # this rate has led to the pause.
            gap, keep = START_GAP, "if_not_exists({0}, :{0})"
            if permit.rate is not None:
                gap, keep = max(START_GAP, permit.rate.slower), ":{0}"
            sets += f", pace_gap = {keep.format('pace_gap')}, pace_run = {keep.format('pace_run')}"
            sets += ", pace_slot = :pace_slot, paced_until = :paced_until"
            values |= {
                ":pace_gap": _decimal(gap),
                ":pace_run": {"N": str(SEARCHING)},
                ":pace_slot": _decimal(now.timestamp()),
                ":paced_until": {"S": later(now, seconds + paced_for(gap))},
            }
            if not permit.pauses and permit.rate is None:
                # A photo that was sent before submits were spaced out says nothing about the rate.
                condition += " AND (attribute_not_exists(paced_until) OR paced_until < :now)"
        suspects, named = _suspects(permit, suspect)
        values |= named
        before = self._update_if(
            condition,
            f"SET {sets}, updated_at = :now REMOVE probe_until{suspects}",
            values,
            names={f"#{n}": n for n in ("until", "reason", "cause")},
            returns="ALL_OLD",
        )
        if before is None:
            return None  # another photo was first; its pause stands
        if self._metrics is not None:
            self._metrics.paused(cause)
        if permit.pauses:
            return None
        recent = "told_at" in before and _left(before, "told_at", now) > -REPUBLISH_SECONDS
        if recent and before["told_kind"]["S"] == kind:
            self._dynamodb.update_item(
                TableName=self._table, Key=_KEY, UpdateExpression="REMOVE untold"
            )
            return None
        return Tripped(until, reason, kind)

    def _change_rate(
        self, update: str, condition: str, values: Mapping[str, Any]
    ) -> Mapping[str, Any] | None:
        """Change the rate and return the item; None if the condition fails or all is paused."""
        return self._update_if(
            f"{condition} AND attribute_not_exists(#until)",
            update,
            values,
            names={"#until": "until"},
            returns="ALL_NEW",
        )

    def _speed_up(self, rate: SubmitRate) -> None:
        """Raise the rate after a submit at this rate went through, unless another submit did so."""
        self._change_rate(
            "SET pace_gap = :faster, pace_run = pace_run + :one",
            "pace_gap > :faster AND pace_gap <= :gap",
            {
                ":faster": _decimal(rate.faster),
                ":gap": _decimal(rate.gap),
                ":one": {"N": "1"},
            },
        )

    def _slow_down(self, rate: SubmitRate, asked: float) -> bool:
        """Cut the rate after a refusal; return False if submission must pause instead.

        Args:
            rate: at which the refused submit was sent.
            asked: the vendor's `Retry-After`, in seconds.

        """
        now = self._now()
        slower = rate.slower
        cut = self._change_rate(
            "SET pace_gap = :slower, pace_run = :zero, paced_until = :paced_until"
            " ADD refusals :one",
            # Another refusal at the same rate cuts it no further. At the slowest rate each one
            # counts.
            "pace_gap < :slower" if rate.gap < slower else "pace_gap <= :slower",
            {
                ":slower": _decimal(slower),
                ":zero": {"N": "0"},
                ":one": {"N": "1"},
                ":paced_until": {"S": later(now, paced_for(slower))},
            },
        )
        in_a_row = 0 if cut is None else _number(cut, "refusals")
        if asked > PATIENCE_SECONDS or in_a_row >= REFUSALS_IN_A_ROW:
            return False
        if asked:
            slot = {":slot": _decimal(now.timestamp() + asked - slower)}
            self._change_rate("SET pace_slot = :slot", "pace_slot < :slot", slot)
        return True

    def _one_more_unknown(self) -> int:
        answer = self._dynamodb.update_item(
            TableName=self._table,
            Key=_KEY,
            UpdateExpression="ADD unknowns :one",
            ExpressionAttributeValues={":one": {"N": "1"}},
            ReturnValues="UPDATED_NEW",
        )
        return _number(answer["Attributes"], "unknowns")

    def _becomes_probe(self, now: datetime) -> str | None:
        """Make this photo the probe; return the end of its time, or None if another photo is it."""
        end = later(now, PROBE_SECONDS)
        free = "attribute_not_exists(probe_until) OR probe_until < :now"
        taken = self._update_if(
            f"attribute_exists(pk) AND ({free})",
            "SET probe_until = :end",
            {":now": {"S": iso(now)}, ":end": {"S": end}},
        )
        return None if taken is None else end

    def _update_if(
        self,
        condition: str,
        update: str,
        values: Mapping[str, Any],
        *,
        names: Mapping[str, str] | None = None,
        returns: Literal["NONE", "ALL_NEW", "ALL_OLD"] = "NONE",
    ) -> Mapping[str, Any] | None:
        """Update the item if a condition holds; see `update_if`."""
        return update_if(
            self._dynamodb,
            self._table,
            _KEY,
            update=update,
            condition=condition,
            values=values,
            names=names,
            returns=returns,
        )


def _unpublished(item: Mapping[str, Any], now: datetime) -> Tripped | None:
    if "untold" not in item or _left(item, "updated_at", now) > -PUBLISH_SECONDS:
        return None
    return Tripped(item["until"]["S"], item["reason"]["S"], item["untold"]["S"])


def _cause_of(item: Mapping[str, Any]) -> Cause:
    """Return why submission is paused; another version of Catwalk may know no causes, or more."""
    cause = item.get("cause", {}).get("S")
    return Cause(cause) if cause in set(Cause) else Cause.OUTAGE


def _suspects(permit: Permit, suspect: Candidate | None) -> tuple[str, dict[str, Any]]:
    """Return the end of the update expression, behind REMOVE, about suspects, and its values."""
    if suspect is None:
        return ", suspects, firsts", {}
    expression, values, adds = "", dict[str, Any](), []
    if len(permit.suspects) < MOST_SUSPECTS:
        values[":suspect"] = {"SS": [suspect.job_id]}
        adds.append("suspects :suspect")
        expression = " DELETE cleared :suspect"
    if not suspect.refused:
        values[":one"] = {"N": "1"}
        adds.append("firsts :one")
    return f"{expression} ADD {', '.join(adds)}" if adds else "", values


def _names(item: Mapping[str, Any], name: str) -> frozenset[str]:
    return frozenset(item.get(name, {}).get("SS", ()))


def _left(item: Mapping[str, Any], name: str, now: datetime) -> float:
    """Return how many seconds there are from now to a moment of the item."""
    return (parse_iso(item[name]["S"]) - now).total_seconds()


def _rate_if_limited(item: Mapping[str, Any], now: datetime) -> SubmitRate | None:
    """Return the submit rate, if the vendor throttled lately."""
    paced = "paced_until" in item and _left(item, "paced_until", now) > 0
    return _rate_of(item) if paced else None


def _rate_of(item: Mapping[str, Any]) -> SubmitRate:
    return SubmitRate(
        gap=float(item["pace_gap"]["N"]),
        run=_number(item, "pace_run"),
        slot=float(item["pace_slot"]["N"]),
    )


def _decimal(seconds: float) -> Any:  # noqa: ANN401  the client's wire form of a number
    return {"N": f"{seconds:.6f}"}


def _number(item: Mapping[str, Any], name: str) -> int:
    return int(item[name]["N"]) if name in item else 0
