"""The circuit breaker: trouble of the account or the vendor pauses submission for a while."""

import json

import pytest

from shared.limits.circuit_breaker import (
    ACCOUNT_PAUSE_SECONDS,
    MAX_PAUSE_SECONDS,
    MAX_RETRY_AFTER_SECONDS,
    MAX_RETRY_SECONDS,
    MIN_RETRY_SECONDS,
    PROBE_SECONDS,
    PUBLISH_SECONDS,
    REPUBLISH_SECONDS,
    Cause,
    CircuitBreaker,
    Paused,
    Permit,
    Tripped,
)
from shared.notify.metrics import Metrics
from shared.vmake.answers import Trouble
from shared.vmake.outcomes import Accepted, CreateOutcome, NeverSent, Refused, Unknown
from tests.factories import TABLE, Aws, Clock

KEY = Refused(Trouble.KEY, "HTTP 401: bad key")
CREDITS = Refused(Trouble.CREDITS, "HTTP 402: no credits")
BUSY = Refused(Trouble.BUSY, "HTTP 429")
BAD_REQUEST = Refused(Trouble.REQUEST, "HTTP 400")
LOST = Unknown("no answer")


@pytest.fixture
def breaker(table: Aws, clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(table.dynamodb, TABLE, now=clock)


def _way(breaker: CircuitBreaker) -> Permit:
    way = breaker.ask()
    assert isinstance(way, Permit)
    return way


def _pause(breaker: CircuitBreaker) -> float:
    paused = breaker.ask()
    assert isinstance(paused, Paused)
    return paused.seconds


def present_cause(breaker: CircuitBreaker) -> Cause | None:
    pause = breaker.current_pause()
    return None if pause is None else pause.cause


def test_the_way_is_free_where_nothing_was_wrong(breaker: CircuitBreaker) -> None:
    """Without trouble, the breaker permits submits and writes nothing."""
    assert breaker.ask() == Permit()
    assert breaker.record(Permit(), Accepted("t")) is None
    assert breaker.record(Permit(), BAD_REQUEST) is None
    assert breaker.ask() == Permit()


@pytest.mark.parametrize("outcome", [KEY, CREDITS, BUSY, NeverSent("no connection")])
def test_trouble_pauses_at_once_and_is_told_once(
    breaker: CircuitBreaker, outcome: CreateOutcome
) -> None:
    """The first refusal pauses all photos; later refusals of submits under way change nothing."""
    others = [_way(breaker) for _ in range(5)]
    assert isinstance(breaker.record(_way(breaker), outcome), Tripped)
    assert isinstance(breaker.ask(), Paused)
    assert [breaker.record(way, outcome) for way in others] == [None] * 5


def test_three_unknown_submits_in_a_row_pause(breaker: CircuitBreaker) -> None:
    """Three unknown submits in a row open the breaker; one does not."""
    assert breaker.record(_way(breaker), LOST) is None
    assert breaker.record(_way(breaker), LOST) is None
    assert isinstance(breaker.record(_way(breaker), LOST), Tripped)


def test_a_success_between_unknown_submits_starts_the_count_anew(breaker: CircuitBreaker) -> None:
    """An accepted submit in between resets the count."""
    breaker.record(_way(breaker), LOST)
    breaker.record(_way(breaker), LOST)
    breaker.record(_way(breaker), Accepted("t"))
    assert breaker.record(_way(breaker), LOST) is None
    assert breaker.record(_way(breaker), LOST) is None


def test_after_the_pause_one_photo_alone_is_tried(breaker: CircuitBreaker, clock: Clock) -> None:
    """After a pause, only one photo is tried."""
    breaker.record(_way(breaker), KEY)
    clock.advance(_pause(breaker))
    looks = [breaker.ask() for _ in range(50)]
    assert sum(isinstance(look, Permit) for look in looks) == 1


def test_a_probe_that_goes_through_frees_the_way(breaker: CircuitBreaker, clock: Clock) -> None:
    """An accepted probe closes the breaker."""
    breaker.record(_way(breaker), CREDITS)
    clock.advance(_pause(breaker))
    assert breaker.record(_way(breaker), Accepted("t")) is None
    assert breaker.ask() == Permit()


def test_a_probe_that_is_refused_for_itself_frees_the_way_too(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    """A probe that is refused because of its photo closes the breaker, too."""
    breaker.record(_way(breaker), CREDITS)
    clock.advance(_pause(breaker))
    breaker.record(_way(breaker), BAD_REQUEST)
    assert breaker.ask() == Permit()


def test_pauses_grow_to_a_quarter_of_an_hour_and_are_told_once(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    """Lasting trouble causes a few probes and one event."""
    pauses, told = [], []
    for _ in range(8):
        told.append(breaker.record(_way(breaker), KEY))
        pauses.append(_pause(breaker))
        clock.advance(pauses[-1])
    assert pauses[0] == ACCOUNT_PAUSE_SECONDS
    assert pauses == sorted(pauses)
    assert pauses[-1] == MAX_PAUSE_SECONDS
    assert [entry is not None for entry in told] == [True] + [False] * 7


def test_a_probe_that_dies_gives_way_to_the_next(breaker: CircuitBreaker, clock: Clock) -> None:
    """If an invocation is killed during a probe, another photo is tried later."""
    breaker.record(_way(breaker), KEY)
    clock.advance(_pause(breaker))
    _way(breaker)
    assert isinstance(breaker.ask(), Paused)
    clock.advance(PROBE_SECONDS + 1)
    _way(breaker)


def test_a_probe_without_an_answer_pauses_again(breaker: CircuitBreaker, clock: Clock) -> None:
    """A probe whose answer is unknown opens the breaker again."""
    breaker.record(_way(breaker), BUSY)
    clock.advance(_pause(breaker))
    assert breaker.record(_way(breaker), LOST) is None
    assert isinstance(breaker.ask(), Paused)


@pytest.mark.parametrize(
    ("asked", "pause"), [(77.0, 77.0), (7200.0, 7200.0), (1e9, MAX_RETRY_AFTER_SECONDS)]
)
def test_retry_after_is_honoured_within_reason(
    breaker: CircuitBreaker, asked: float, pause: float
) -> None:
    """A pause lasts as long as Retry-After says, up to a limit."""
    breaker.record(_way(breaker), Refused(Trouble.BUSY, "HTTP 429", asked))
    assert _pause(breaker) == pause


def test_who_asks_how_long_does_not_become_the_probe(breaker: CircuitBreaker, clock: Clock) -> None:
    """Asking how long a pause lasts does not take the probe."""
    late = _way(breaker)
    breaker.record(_way(breaker), BUSY)
    clock.advance(_pause(breaker) + 1)
    breaker.record(late, BUSY)
    assert breaker.seconds_left() == 0
    _way(breaker)


def test_a_late_success_does_not_end_a_pause_that_is_not_its_own(breaker: CircuitBreaker) -> None:
    """A success of a submit from before the trouble does not close the breaker."""
    breaker.record(_way(breaker), LOST)
    early = _way(breaker)
    assert early.unknowns == 1
    breaker.record(_way(breaker), KEY)
    breaker.record(early, Accepted("t"))
    assert _pause(breaker) == ACCOUNT_PAUSE_SECONDS


def _trips(breaker: CircuitBreaker, outcome: CreateOutcome) -> bool:
    tripped = breaker.record(_way(breaker), outcome)
    if tripped is not None:
        breaker.note_published(tripped)
    return tripped is not None


def test_throttling_that_comes_again_and_again_is_told_once(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    """Repeated throttling has one event in a quarter of an hour."""
    busy = Refused(Trouble.BUSY, "HTTP 429", 20)
    told = []
    for _ in range(20):
        told.append(_trips(breaker, busy))
        clock.advance(_pause(breaker))
        breaker.record(_way(breaker), Accepted("t"))
    assert told == [True] + [False] * 19
    clock.advance(REPUBLISH_SECONDS)
    assert _trips(breaker, busy)


def test_other_trouble_is_news_at_once(breaker: CircuitBreaker, clock: Clock) -> None:
    """A refused key has an event of its own, although throttling has just had one."""
    assert _trips(breaker, BUSY)
    clock.advance(_pause(breaker))
    breaker.record(_way(breaker), Accepted("t"))
    assert _trips(breaker, KEY)


def test_trouble_that_nobody_was_told_of_is_still_news(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    """If the event of a pause was not published, the next pause has one."""
    assert breaker.record(_way(breaker), KEY) is not None
    clock.advance(_pause(breaker))
    breaker.record(_way(breaker), Accepted("t"))
    assert breaker.record(_way(breaker), KEY) is not None


def test_the_others_look_again_ever_later_while_a_probe_takes_long(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    """While a probe has no answer, the other photos ask again after growing pauses."""
    breaker.record(_way(breaker), KEY)
    clock.advance(_pause(breaker))
    _way(breaker)
    pauses = []
    for seconds in (0, 4, 10, 40):
        clock.advance(seconds)
        pauses.append(_pause(breaker))
    assert pauses == [MIN_RETRY_SECONDS, 4, 14, MAX_RETRY_SECONDS]


def test_a_pause_whose_teller_died_is_told_by_another(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    """Another invocation publishes the event only after a delay, and only if nobody has."""
    assert breaker.record(_way(breaker), KEY) is not None
    soon = breaker.ask()
    assert isinstance(soon, Paused)
    assert soon.unpublished is None
    clock.advance(PUBLISH_SECONDS)
    late = breaker.ask()
    assert isinstance(late, Paused)
    assert late.unpublished is not None
    assert "bad key" in late.unpublished.reason
    breaker.note_published(late.unpublished)
    after = breaker.ask()
    assert isinstance(after, Paused)
    assert after.unpublished is None


def test_what_an_operator_has_deleted_is_forgotten(breaker: CircuitBreaker, table: Aws) -> None:
    """Deleting the item by hand closes the breaker, and the next pause has an event."""
    tripped = breaker.record(_way(breaker), KEY)
    assert tripped is not None
    table.dynamodb.delete_item(TableName=TABLE, Key={"pk": {"S": "CONTROL#submit"}})
    breaker.note_published(tripped)
    assert breaker.ask() == Permit()
    assert breaker.record(_way(breaker), KEY) is not None


@pytest.mark.parametrize(
    ("outcome", "cause"),
    [
        (KEY, Cause.KEY_REFUSED),
        (CREDITS, Cause.NO_CREDITS),
        (BUSY, Cause.THROTTLED),
        (Refused(Trouble.ADDRESS, "a web page answered"), Cause.WRONG_ADDRESS),
        (NeverSent("no connection"), Cause.OUTAGE),
    ],
)
def test_a_pause_says_what_caused_it(
    table: Aws, clock: Clock, outcome: CreateOutcome, cause: Cause
) -> None:
    """Each pause has a cause, which is one of a few words, until a photo is accepted."""
    written: list[str] = []
    breaker = CircuitBreaker(
        table.dynamodb, TABLE, metrics=Metrics("shop", write=written.append), now=clock
    )
    assert present_cause(breaker) is None
    for _ in range(2):  # the first photo, and the probe after the pause
        breaker.record(_way(breaker), outcome)
        assert present_cause(breaker) is cause
        clock.advance(_pause(breaker))
    assert present_cause(breaker) is cause
    assert [json.loads(line)["Reason"] for line in written] == [cause, cause]
    breaker.record(_way(breaker), Accepted("t"))
    assert present_cause(breaker) is None


def test_a_pause_of_another_cause_says_so(breaker: CircuitBreaker, clock: Clock) -> None:
    """If the refusal of a probe has another cause, the pause has that cause."""
    breaker.record(_way(breaker), NeverSent("no connection"))
    clock.advance(_pause(breaker))
    breaker.record(_way(breaker), KEY)
    assert present_cause(breaker) is Cause.KEY_REFUSED


def test_a_pause_from_before_causes_were_kept(table: Aws, breaker: CircuitBreaker) -> None:
    """An item of an earlier version is read as a pause."""
    breaker.record(_way(breaker), KEY)
    table.dynamodb.update_item(
        TableName=TABLE,
        Key={"pk": {"S": "CONTROL#submit"}},
        UpdateExpression="REMOVE cause",
    )
    assert present_cause(breaker) is Cause.OUTAGE
