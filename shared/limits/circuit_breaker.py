"""The breaker: when the account or the vendor is in trouble, submission pauses for all photos.

One item in JobsTable, `CONTROL#submit`, says until when and why; SubmitFunction reads it before
each submit. When the pause is over, one photo alone is tried (the probe). If it goes through, the
breaker closes; if not, the next pause is longer. No photo fails by it: they wait in the queue.

One photo's refusal says little about the account. The item also names the photos that were refused
since one went through, and the first photos to come are tried in the middle of the pause
(shared/limits/suspicion.py).

A vendor that throttles is not in trouble, it is asked too fast: after the first refusal the item
holds a pace too (shared/limits/submit_rate.py), and each submit takes its turn by one conditional
write. Only refusals that come in a row, or a long `Retry-After`, pause submission again.
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
from shared.vmake.client import Accepted, CreateOutcome, NeverSent, Refused, Trouble, Unknown

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

ACCOUNT_PAUSE_SECONDS: Final = 60.0
"""The first pause after the key was refused or the credits were gone; doubled each time."""
OUTAGE_PAUSE_SECONDS: Final = 5.0
"""The first pause after the vendor could not be reached or did not answer; doubled each time."""
BUSY_PAUSE_SECONDS: Final = 1.0
"""The first pause after the vendor throttled; doubled each time. `Retry-After` may ask for more."""
REFUSALS_IN_A_ROW: Final = 5
"""So many times slower, one time after the other, and still throttled: that is a pause."""
PATIENCE_SECONDS: Final = 10.0
"""No turn that is further off is waited for inside the function; and a `Retry-After` that asks for
no more moves the turns instead of pausing all."""
AHEAD_SECONDS: Final = 1.0
"""Turns are given out no longer beforehand, or one at least: what is learnt of the vendor counts
for all later ones, however many wait."""
MAX_PAUSE_SECONDS: Final = 900.0
"""No pause that we choose is longer: after trouble, photos come back within a quarter hour."""
MAX_RETRY_AFTER_SECONDS: Final = 6 * 3600.0
"""No pause that the vendor asks for is longer, lest a wrong header stops everything."""
UNKNOWNS_IN_A_ROW: Final = 3
"""So many unknown submits one after the other are the vendor's trouble, not the photos'."""
PROBE_SECONDS: Final = 120.0
"""How long the probe has the way to itself: longer than a POST with all its timeouts takes."""
MIN_RETRY_SECONDS: Final = 0.25
MAX_RETRY_SECONDS: Final = 30.0
"""While the probe is under way the others look again after as long as it has taken so far, within
these: most are answered at once, and one that was killed is not raced for."""
TELL_SECONDS: Final = 30.0
"""Who has paused submission tells of it within this; then whoever meets the pause does."""
TOLD_SECONDS: Final = 900.0
"""Trouble of the same kind that comes again sooner than this is no news: a vendor that throttles
does so again and again."""
MAX_PAUSES: Final = 20
"""Pauses are counted up to here; they have long reached the longest by then."""
MOST_SUSPECTS: Final = 10
"""The item names no more photos that were refused."""
MOST_CLEARED: Final = 50
"""The item forgets photos that were cleared when there are more: those have to be cleared anew."""
SUSPECT_SECONDS: Final = 5.0
"""After a pause a photo that was refused leaves the way to others for so long."""
_OF_REFUSED: Final = ("suspects", "denied", "awaited", "firsts")
_OF_PAUSE: Final = ("until", "reason", "cause", "pauses", "probe_until", "untold")
ITEM_KEY: Final[Any] = {"pk": {"S": "CONTROL#submit"}}
"""Of the item in JobsTable that holds the state."""


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
    """Submission is paused; look again in so many seconds."""

    seconds: float
    reason: str
    untold: "Tripped | None" = None
    """Set if whoever paused submission died before anybody was told of it."""
    watched: bool = False
    """Whether there is an alarm on just this cause: that photos wait for it is no news."""
    one: bool = False
    """Whether only the photo that looked has to wait."""


@dataclass(frozen=True)
class Candidate:
    """A photo that asks for the way."""

    job_id: str
    refused: bool
    """Whether it was refused before in this attempt."""


@dataclass(frozen=True)
class Permit:
    """The way is free, for this photo at least; `record` wants it back with what became of it."""

    pauses: int = 0
    """How many pauses there were in a row; not 0 for a probe."""
    unknowns: int = 0
    """How many unknown submits there were in a row."""
    refusals: int = 0
    """How many times the pace was cut since a submit went through."""
    rate: SubmitRate | None = None
    """Set if submits take turns; a probe goes alone, and needs none."""
    waited: bool = False
    """Whether it had to wait for its turn; else its success tells nothing about the pace."""
    suspects: frozenset[str] = frozenset()
    """The jobs that the vendor refused for the account's sake since a photo went through."""
    denied: frozenset[str] = frozenset()
    """The jobs that it refused without saying why."""
    awaited: frozenset[str] = frozenset()
    """The jobs that were cleared before and refused again: the next success is about them."""
    cleared: frozenset[str] = field(default=frozenset(), compare=False)
    """The jobs whose last refusal another photo's success has contradicted."""
    candidate: Candidate | None = field(default=None, compare=False)
    """Whose way it is."""
    probe_until: str | None = field(default=None, compare=False)
    """What a probe gives back if it sends nothing."""
    early: bool = False
    """Whether it was given in the middle of a pause."""

    @property
    def clear(self) -> bool:
        """Whether there is nothing to take back after a success."""
        trouble = self.pauses or self.unknowns or self.refusals
        return not (trouble or self.suspects or self.denied or self.awaited)


@dataclass(frozen=True)
class Slot:
    """A submit of this way may go out in so many seconds."""

    seconds: float
    permit: Permit


@dataclass(frozen=True)
class Tripped:
    """This very outcome paused submission: somebody must be told."""

    until: str
    """ISO 8601."""
    reason: str
    kind: str


class CircuitBreaker:
    """The state of submission, shared by all SubmitFunctions."""

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
        """Return whether a photo may be submitted now; after a pause, the first to look may.

        Args:
            candidate: the photo. One that was never refused may be tried in the middle of a
                pause; one that was leaves the way to others first.

        """
        answer = self._dynamodb.get_item(TableName=self._table, Key=ITEM_KEY, ConsistentRead=True)
        item = answer.get("Item")
        if item is None:
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
        watched = cause_of(item) in _WATCHED_CAUSES
        left = _left(item, "until", now)
        if left > 0 and not self._early(item, permit):
            return Paused(left, reason, _untold(item, now), watched=watched)
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
        return clean and few and cause_of(item) in _DOUBTFUL_CAUSES

    def take_slot(self, permit: Permit, patience: float) -> Slot | Paused | None:
        """Take the next turn for a submit.

        Args:
            permit: what `ask` has just returned.
            patience: how many seconds off the turn may be.

        Returns:
            The turn; or, without having taken one, after how long to look again; or None if the
            pace has changed meanwhile: look again now.

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
            # The turn behind the last one that was taken.
            far = _decimal(now + ahead - rate.gap)
            taken = self._change_rate(
                "SET pace_slot = pace_slot + pace_gap",
                "pace_slot BETWEEN :over AND :far",
                {":over": over, ":far": far},
            )
        else:
            # Nobody has taken a turn for longer than a gap: this very moment is one.
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
        """Return how long submission is still paused; nobody becomes the probe by asking."""
        answer = self._dynamodb.get_item(TableName=self._table, Key=ITEM_KEY, ConsistentRead=True)
        item = answer.get("Item", {})
        return max(0.0, _left(item, "until", self._now())) if "until" in item else 0.0

    def paused_by(self) -> Cause | None:
        """Return why no photo has gone through since the last pause; None if submission is free."""
        answer = self._dynamodb.get_item(TableName=self._table, Key=ITEM_KEY, ConsistentRead=True)
        item = answer.get("Item", {})
        return cause_of(item) if "until" in item else None

    def record(self, permit: Permit, outcome: CreateOutcome) -> Tripped | None:
        """Take what became of a submit into account; say so if it paused submission."""
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
        """Note that a photo was refused that was cleared before; nothing pauses for its sake."""
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
        """Let the next photo be the probe: the one of this way sent nothing, or tells nothing."""
        if permit.probe_until is None:
            return
        # If it was too late, another photo is the probe by now, and stays it.
        mine = {":mine": {"S": permit.probe_until}}
        self._update_if("probe_until = :mine", "REMOVE probe_until", mine)

    def note_told(self, tripped: Tripped) -> None:
        """Note that the world was told of a pause, unless somebody has deleted the item by now."""
        self._update_if(
            "attribute_exists(pk)",
            "SET told_at = :now, told_kind = :kind REMOVE untold",
            {":now": {"S": iso(self._now())}, ":kind": {"S": tripped.kind}},
        )

    def _clear(self, permit: Permit, *, passed: bool) -> None:
        """Take back what this way was given for; a pause that came meanwhile is not its own."""
        removed = ["unknowns", "refusals", *(_OF_PAUSE if permit.pauses else ())]
        cleared: set[str] = set()
        if passed:
            removed += [name for name in _OF_REFUSED if name == "firsts" or getattr(permit, name)]
            cleared |= permit.denied
            # Only what came at once, while nobody else was refused, contradicts a clear word.
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
            Key=ITEM_KEY,
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
        """Pause, or pause again after a probe that failed; only a first pause may be news.

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
            # What is tried in the middle of a pause makes it no longer.
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
            # From now on submits take turns: at the pace that was right the last time, if it is not
            # that which has led to this pause.
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
                # Who was sent before anybody took turns says nothing about the pace.
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
        told = "told_at" in before and _left(before, "told_at", now) > -TOLD_SECONDS
        if told and before["told_kind"]["S"] == kind:
            self._dynamodb.update_item(
                TableName=self._table, Key=ITEM_KEY, UpdateExpression="REMOVE untold"
            )
            return None
        return Tripped(until, reason, kind)

    def _change_rate(
        self, update: str, condition: str, values: Mapping[str, Any]
    ) -> Mapping[str, Any] | None:
        """Change the pace and return the item; None if the condition fails, or all is paused."""
        return self._update_if(
            f"{condition} AND attribute_not_exists(#until)",
            update,
            values,
            names={"#until": "until"},
            returns="ALL_NEW",
        )

    def _speed_up(self, rate: SubmitRate) -> None:
        """Speed up after a submit at a pace went through, unless others have seen to that."""
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
        """Slow down after a refusal at a pace; False if that takes a pause.

        Args:
            rate: that of the submit that was refused.
            asked: the vendor's `Retry-After`, in seconds.

        """
        now = self._now()
        slower = rate.slower
        cut = self._change_rate(
            "SET pace_gap = :slower, pace_run = :zero, paced_until = :paced_until"
            " ADD refusals :one",
            # What was sent at the same pace and refused as well is no news; at the slowest of all
            # each refusal is.
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
            Key=ITEM_KEY,
            UpdateExpression="ADD unknowns :one",
            ExpressionAttributeValues={":one": {"N": "1"}},
            ReturnValues="UPDATED_NEW",
        )
        return _number(answer["Attributes"], "unknowns")

    def _becomes_probe(self, now: datetime) -> str | None:
        """Return the permit of the one photo that is tried, or None if another has it."""
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
            ITEM_KEY,
            update=update,
            condition=condition,
            values=values,
            names=names,
            returns=returns,
        )


def _untold(item: Mapping[str, Any], now: datetime) -> Tripped | None:
    if "untold" not in item or _left(item, "updated_at", now) > -TELL_SECONDS:
        return None
    return Tripped(item["until"]["S"], item["reason"]["S"], item["untold"]["S"])


def cause_of(item: Mapping[str, Any]) -> Cause:
    """Return why submission is paused; another version of Catwalk may know no causes, or more."""
    cause = item.get("cause", {}).get("S")
    return Cause(cause) if cause in set(Cause) else Cause.OUTAGE


def _suspects(permit: Permit, suspect: Candidate | None) -> tuple[str, dict[str, Any]]:
    """Return how a pause changes who is suspected, behind REMOVE, and the values in that."""
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
    """Return the pace, if there was a refusal lately."""
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
