"""The submit rate: it finds the vendor's rate, keeps to it, and follows its changes."""

import heapq
import itertools
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from shared.limits.circuit_breaker import (
    AHEAD_SECONDS,
    PATIENCE_SECONDS,
    REFUSALS_IN_A_ROW,
    CircuitBreaker,
    Paused,
    Permit,
    Slot,
    Tripped,
)
from shared.limits.submit_rate import (
    CUT,
    MAX_GAP,
    MAX_GROWTH,
    MIN_GAP,
    MIN_GROWTH,
    PACED_SECONDS,
    PLATEAU,
    SEARCHING,
    START_GAP,
    SubmitRate,
    paced_for,
)
from shared.vmake.answers import Trouble
from shared.vmake.outcomes import Accepted, Refused
from tests.factories import START, TABLE, Clock
from tests.fake_table import OneItem

LATENCY_SECONDS = 0.1
"""The simulated vendor's time for an answer."""


@pytest.fixture
def fast(clock: Clock) -> CircuitBreaker:
    """Return a breaker with a fast table, for thousands of calls."""
    return CircuitBreaker(OneItem(), TABLE, now=clock)  # type: ignore[arg-type]  # a double


@pytest.fixture(params=["moto", "double"])
def dynamodb(request: pytest.FixtureRequest) -> Any:
    """Return the fake table and moto in turn, to show that they behave alike."""
    return request.getfixturevalue("table").dynamodb if request.param == "moto" else OneItem()


@pytest.fixture
def breaker(dynamodb: Any, clock: Clock) -> CircuitBreaker:
    """Return a breaker."""
    return CircuitBreaker(dynamodb, TABLE, now=clock)


@dataclass
class Vendor:
    """A vendor that accepts this many creates a second, with a burst of one second's worth."""

    rate: float
    retry_after: float | None = None
    level: float = 0.0
    at: float = 0.0

    def admits(self, now: float) -> bool:
        """Whether a create at this time is accepted."""
        self.level = max(0.0, self.level - (now - self.at) * self.rate)
        self.at = now
        if self.level + 1 > max(1.0, self.rate):
            return False
        self.level += 1
        return True


@dataclass
class Ran:
    """Submitters that send photos as fast as the breaker allows, and their results."""

    breaker: CircuitBreaker
    clock: Clock
    vendor: Vendor
    accepted: list[float] = field(default_factory=list)
    """When each photo was accepted, in seconds from the start."""
    refused: list[float] = field(default_factory=list)
    told: int = 0

    @property
    def refused_share(self) -> float:
        """The share of refused creates."""
        return len(self.refused) / (len(self.refused) + len(self.accepted))

    @property
    def now(self) -> float:
        """Seconds from the start."""
        return (self.clock.now - START).total_seconds()

    def submitter(self, photos: Iterator[int]) -> Generator[float]:
        """Send photos one after the other; yield the times to sleep."""
        for _ in photos:
            taken = False
            while not taken:
                way = yield from self._way()
                taken = self.vendor.admits(self.now)
                (self.accepted if taken else self.refused).append(self.now)
                yield LATENCY_SECONDS
                busy = Refused(Trouble.BUSY, "HTTP 429", self.vendor.retry_after)
                tripped = self.breaker.record(way, Accepted("t") if taken else busy)
                if tripped is not None:
                    self.told += 1
                    self.breaker.note_published(tripped)

    def _way(self) -> Generator[float, None, Permit]:
        while True:
            way = self.breaker.ask()
            if isinstance(way, Paused):
                yield way.seconds
                continue
            turn = self.breaker.take_slot(way, PATIENCE_SECONDS)
            if turn is not None:
                yield turn.seconds
            if isinstance(turn, Slot):
                return turn.permit


def burst(
    breaker: CircuitBreaker,
    clock: Clock,
    vendor: Vendor,
    photos: int,
    *,
    submitters: int = 5,
    until: float = float("inf"),
) -> Ran:
    """Let submitters send this many photos in simulated time, until `until` at most."""
    ran = Ran(breaker, clock, vendor)
    waiting, order = iter(range(photos)), itertools.count()
    began = ran.now
    events = [(began, next(order), ran.submitter(waiting)) for _ in range(submitters)]
    while events and events[0][0] <= until:
        now, _, running = heapq.heappop(events)
        clock.now = START + timedelta(seconds=now)
        pause = next(running, None)
        if pause is not None:
            heapq.heappush(events, (now + pause, next(order), running))
    return ran


# --- many submitters, one vendor -----------------------------------------------------------------


@pytest.mark.parametrize("retry_after", [None, 1.0], ids=["silent", "retry-after"])
@pytest.mark.parametrize("submitters", [2, 5, 25])
@pytest.mark.parametrize("rate", [0.5, 5.0, 10.0])
def test_the_vendors_rate_is_found(
    fast: CircuitBreaker, clock: Clock, rate: float, submitters: int, retry_after: float | None
) -> None:
    """With any number of submitters, 90 % of the vendor's rate is used, and few are refused."""
    vendor = Vendor(rate, retry_after)
    ran = burst(fast, clock, vendor, 300, submitters=submitters)
    assert len(ran.accepted) == 300
    assert 300 / ran.accepted[-1] >= 0.9 * rate
    assert ran.refused_share <= 0.25
    assert ran.told == 1
    # The search is over by now.
    ran = burst(fast, clock, vendor, 300, submitters=submitters)
    assert ran.refused_share <= 0.08
    assert ran.told == 0


def test_a_vendor_that_refuses_all_sees_single_probes(fast: CircuitBreaker, clock: Clock) -> None:
    """Under lasting throttling there are a few creates, and then one after each growing pause."""
    ran = burst(fast, clock, Vendor(rate=0.0, level=1.0), 100, until=3_600)
    assert ran.accepted == []
    first, probes = ran.refused[:5], ran.refused[5:]
    assert first == [0.0] * 5
    assert len(probes) < 16
    pauses = [later - earlier for earlier, later in itertools.pairwise(probes)]
    assert pauses == sorted(pauses)
    assert ran.told == 1


def test_a_vendor_that_begins_to_refuse_all_is_paused(fast: CircuitBreaker, clock: Clock) -> None:
    """A vendor that begins to refuse everything leads to a pause."""
    vendor = Vendor(5.0)
    burst(fast, clock, vendor, 30)
    began = (clock.now - START).total_seconds()
    vendor.rate = 0.0
    ran = burst(fast, clock, vendor, 100, until=began + 600)
    assert len(ran.refused) <= 5 * REFUSALS_IN_A_ROW + 10
    assert isinstance(fast.ask(), Paused)


def test_a_limit_that_was_raised_is_noticed(fast: CircuitBreaker, clock: Clock) -> None:
    """A tenfold rate of the vendor is used within two hundred photos."""
    vendor = Vendor(1.0)
    burst(fast, clock, vendor, 20)
    vendor.rate = 10.0
    ran = burst(fast, clock, vendor, 200)
    assert 20 / (ran.accepted[-1] - ran.accepted[-21]) > 8


# --- turn by turn --------------------------------------------------------------------------------


def _throttled(breaker: CircuitBreaker, clock: Clock) -> Permit:
    """Let the vendor throttle once and accept two photos; return the next permit."""
    way = breaker.ask()
    assert isinstance(way, Permit)
    assert isinstance(breaker.record(way, Refused(Trouble.BUSY, "HTTP 429")), Tripped)
    clock.advance(1)
    probe = breaker.ask()
    assert isinstance(probe, Permit)
    breaker.record(probe, Accepted("t"))
    assert isinstance(breaker.take_slot(_next(breaker), PATIENCE_SECONDS), Slot)
    return _next(breaker)


def _next(breaker: CircuitBreaker) -> Permit:
    way = breaker.ask()
    assert isinstance(way, Permit)
    return way


def _rate_if_limited(breaker: CircuitBreaker) -> SubmitRate:
    rate = _next(breaker).rate
    assert rate is not None
    return rate


def test_without_throttling_nobody_takes_turns(
    fast: CircuitBreaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without throttling, no slots are written."""
    way = _next(fast)
    monkeypatch.delattr(OneItem, "update_item")
    turn = fast.take_slot(way, PATIENCE_SECONDS)
    assert isinstance(turn, Slot)
    assert turn.seconds == 0
    assert fast.record(turn.permit, Accepted("t")) is None


def test_turns_are_a_gap_apart(breaker: CircuitBreaker, clock: Clock) -> None:
    """Each photo gets its own slot, one gap after the previous one."""
    way = _throttled(breaker, clock)
    clock.advance(START_GAP)
    seconds = []
    for _ in range(3):
        turn = breaker.take_slot(way, PATIENCE_SECONDS)
        assert isinstance(turn, Slot)
        seconds.append(turn.seconds)
        way = _next(breaker)
    assert seconds == pytest.approx([0, START_GAP, 2 * START_GAP], abs=1e-3)


def test_turns_are_not_given_out_long_before(breaker: CircuitBreaker, clock: Clock) -> None:
    """Slots are reserved only a short time ahead, so that a new rate soon applies."""
    _throttled(breaker, clock)
    turns = [breaker.take_slot(_next(breaker), PATIENCE_SECONDS) for _ in range(50)]
    assert sum(isinstance(turn, Slot) for turn in turns) == AHEAD_SECONDS / START_GAP
    last = turns[-1]
    assert isinstance(last, Paused)
    assert last.seconds <= START_GAP


def test_a_success_speeds_all_up_once(breaker: CircuitBreaker, clock: Clock) -> None:
    """Successes at the same rate raise it once; one without a slot does not raise it."""
    way = _throttled(breaker, clock)
    turns = [
        breaker.take_slot(way, PATIENCE_SECONDS),
        breaker.take_slot(_next(breaker), PATIENCE_SECONDS),
    ]
    for turn in turns:
        assert isinstance(turn, Slot)
        breaker.record(turn.permit, Accepted("t"))
    assert _rate_if_limited(breaker).gap == START_GAP * (1 - MAX_GROWTH)
    clock.advance(60)
    lone = breaker.take_slot(_next(breaker), PATIENCE_SECONDS)
    assert isinstance(lone, Slot)
    breaker.record(lone.permit, Accepted("t"))
    assert _rate_if_limited(breaker).gap == START_GAP * (1 - MAX_GROWTH)


def test_a_success_of_before_a_cut_speeds_nobody_up(breaker: CircuitBreaker, clock: Clock) -> None:
    """A success of a submit from before a cut does not raise the rate."""
    first = breaker.take_slot(_throttled(breaker, clock), PATIENCE_SECONDS)
    second = breaker.take_slot(_next(breaker), PATIENCE_SECONDS)
    assert isinstance(first, Slot)
    assert isinstance(second, Slot)
    breaker.record(first.permit, Refused(Trouble.BUSY, "HTTP 429"))
    breaker.record(second.permit, Accepted("t"))
    assert _rate_if_limited(breaker).gap == START_GAP / CUT


def test_two_who_have_seen_the_same_take_different_turns(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    """Of two invocations that read the same slots, one gets a slot and the other asks again."""
    _throttled(breaker, clock)
    clock.advance(60)
    ways = [_next(breaker), _next(breaker)]
    turns = [breaker.take_slot(way, PATIENCE_SECONDS) for way in ways]
    assert turns[0] is not None
    assert turns[1] is None


def test_a_turn_that_is_far_off_is_not_taken(breaker: CircuitBreaker, clock: Clock) -> None:
    """A slot that is too far away is not reserved; the photo goes back to the queue."""
    way = _throttled(breaker, clock)
    before = _rate_if_limited(breaker)
    turn = breaker.take_slot(way, 0.1)
    assert isinstance(turn, Paused)
    assert turn.seconds == pytest.approx(START_GAP - 0.1)
    assert _rate_if_limited(breaker) == before


@pytest.mark.parametrize(
    ("asked", "seconds"), [(None, 0.0), (1.0, 1.0), (PATIENCE_SECONDS, PATIENCE_SECONDS)]
)
def test_a_refusal_slows_all_down(
    breaker: CircuitBreaker, clock: Clock, asked: float | None, seconds: float
) -> None:
    """A refusal at a slot starts no pause, but no slot is before `Retry-After`."""
    way = _throttled(breaker, clock)
    clock.advance(60)
    turn = breaker.take_slot(way, PATIENCE_SECONDS)
    assert isinstance(turn, Slot)
    clock.advance(10)
    refusal = Refused(Trouble.BUSY, "HTTP 429", asked)
    assert [breaker.record(turn.permit, refusal) for _ in range(REFUSALS_IN_A_ROW)] == [
        None
    ] * REFUSALS_IN_A_ROW
    after = _rate_if_limited(breaker)
    assert after.gap == pytest.approx(START_GAP / CUT)
    left = after.slot + after.gap - clock.now.timestamp()
    assert max(0.0, left) == pytest.approx(seconds, abs=1e-3)


def test_a_long_retry_after_pauses_all(breaker: CircuitBreaker, clock: Clock) -> None:
    """A long Retry-After leads to a pause."""
    way = _throttled(breaker, clock)
    breaker.record(way, Refused(Trouble.BUSY, "HTTP 429", 90))
    paused = breaker.ask()
    assert isinstance(paused, Paused)
    assert paused.seconds == 90


def test_long_after_the_last_refusal_nobody_takes_turns(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    """After a quiet time there are no slots; the next refusal begins with the known rate."""
    way = _throttled(breaker, clock)
    breaker.record(way, Refused(Trouble.BUSY, "HTTP 429"))
    slow = _rate_if_limited(breaker)
    assert slow.gap > START_GAP
    clock.advance(PACED_SECONDS + 1)
    assert _next(breaker).rate is None
    began = clock.now.timestamp() + 1
    assert _throttled(breaker, clock).rate == SubmitRate(slow.gap, slow.run, began)


def test_a_late_refusal_of_before_the_pace_changes_nothing(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    """A refusal of a submit without a slot does not change the rate."""
    early = _next(breaker)
    _throttled(breaker, clock)
    before = _rate_if_limited(breaker)
    assert breaker.record(early, Refused(Trouble.BUSY, "HTTP 429")) is None
    assert _rate_if_limited(breaker) == before


def test_what_an_operator_has_deleted_paces_nobody(
    breaker: CircuitBreaker, dynamodb: Any, clock: Clock
) -> None:
    """Deleting the item by hand removes all slots."""
    way = _throttled(breaker, clock)
    dynamodb.delete_item(TableName=TABLE, Key={"pk": {"S": "CONTROL#submit"}})
    assert breaker.take_slot(way, PATIENCE_SECONDS) is None
    assert breaker.record(way, Refused(Trouble.BUSY, "HTTP 429", 5)) is None
    assert breaker.ask() == Permit()


# --- the arithmetic ------------------------------------------------------------------------------


def _after(rate: SubmitRate, changes: int) -> SubmitRate:
    for _ in range(changes):
        rate = SubmitRate(rate.faster, rate.run + 1, rate.slot)
    return rate


def test_the_pace_comes_back_to_what_was_refused_and_lingers() -> None:
    """After a cut the rate returns to the refused one, stays near it, and then tries more."""
    cut = SubmitRate(SubmitRate(1.0, 0, 0.0).slower, 0, 0.0)
    assert cut.gap == 1 / CUT
    assert _after(cut, PLATEAU // 2).gap == pytest.approx(1.0, rel=0.05)
    assert _after(cut, PLATEAU).gap == pytest.approx(1.0, rel=0.05)
    assert _after(cut, 3 * PLATEAU).gap < 0.5


@pytest.mark.parametrize(
    ("rate", "faster"),
    [
        (SubmitRate(MIN_GAP, SEARCHING, 0.0), MIN_GAP),
        (SubmitRate(1.0, SEARCHING, 0.0), 1 - MAX_GROWTH),
        (SubmitRate(1.0, PLATEAU, 0.0), 1 - MIN_GROWTH),
    ],
    ids=["fastest", "searching", "plateau"],
)
def test_the_pace_grows_within_bounds(rate: SubmitRate, faster: float) -> None:
    """The rate grows by a bounded share."""
    assert rate.faster == faster


def test_the_pace_has_a_slowest() -> None:
    """The gap between two slots has a maximum."""
    assert SubmitRate(MAX_GAP, 0, 0.0).slower == MAX_GAP


def test_refusals_at_the_slowest_pace_pause_all(
    breaker: CircuitBreaker, dynamodb: Any, clock: Clock
) -> None:
    """A vendor that accepts nothing leads to a pause with an event, not to a request a minute."""
    _throttled(breaker, clock)
    dynamodb.update_item(
        TableName=TABLE,
        Key={"pk": {"S": "CONTROL#submit"}},
        UpdateExpression="SET pace_gap = :most",
        ExpressionAttributeValues={":most": {"N": str(MAX_GAP)}},
    )
    for _ in range(REFUSALS_IN_A_ROW):
        clock.advance(MAX_GAP + 1)
        turn = breaker.take_slot(_next(breaker), PATIENCE_SECONDS)
        assert isinstance(turn, Slot)
        breaker.record(turn.permit, Refused(Trouble.BUSY, "HTTP 429"))
    assert isinstance(breaker.ask(), Paused)


def test_a_slow_pace_is_kept_for_longer() -> None:
    """A slow rate is kept for longer than a fast one."""
    assert paced_for(1.0) == PACED_SECONDS
    assert paced_for(MAX_GAP) == 3_600
