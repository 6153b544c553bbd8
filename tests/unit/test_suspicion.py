"""Trouble of one photo pauses no other, and trouble of the account fails no photo."""

import heapq
import itertools
import json
import math
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from shared.limits.circuit_breaker import (
    ACCOUNT_PAUSE_SECONDS,
    PROBE_SECONDS,
    Candidate,
    CircuitBreaker,
    Paused,
    Permit,
)
from shared.limits.credit_limit import Reserved
from shared.limits.suspicion import MANY, TRIES, TRIES_ALONE, ends, refused_again
from shared.models import ErrorCode, Job, JobStatus, Refusals
from shared.steps.submit import Batch
from shared.vmake.answers import Trouble
from shared.vmake.outcomes import Accepted, Refused
from tests.factories import START, TABLE, Aws, Clock, jpeg
from tests.thorough import thorough
from tests.unit.test_submit import Stage

PAGE = httpx.Response(403, text="<html>Request blocked</html>")
NO_CREDITS = httpx.Response(402, json={"code": 402, "message": "insufficient credits"})
BAD_KEY = httpx.Response(401, json={"code": 401, "message": "bad API key"})
FORBIDDEN = httpx.Response(403, json={"code": 403, "message": "forbidden"})
NO_SUCH_PAGE = httpx.Response(404, text="<html>404</html>")
DOUBTFUL = [
    pytest.param(PAGE, id="403 page"),
    pytest.param(FORBIDDEN, id="403 without a reason"),
    thorough(NO_CREDITS, name="402"),
    pytest.param(BAD_KEY, id="401"),
    thorough(NO_SUCH_PAGE, name="404 page"),
]
A_WHILE = 8_000.0


class World(Stage):
    """A stack with a simulated queue and a vendor that refuses some photos."""

    def __init__(self, aws: Aws, clock: Clock) -> None:
        super().__init__(aws, clock)
        self.opinion: Callable[[str], httpx.Response | None] = lambda _: None
        self.posts: list[tuple[float, str]] = []
        self._queue: list[tuple[float, int, str]] = []
        self._numbers = itertools.count()
        self.vendor.accept = self._answer  # type: ignore[method-assign]  # with opinions
        self._accept = Stage(aws, clock).vendor.accept

    def _answer(self, request: httpx.Request) -> httpx.Response:
        key = httpx.URL(json.loads(request.content)["image"]).path.rpartition("/")[2]
        self.posts.append((self.seconds, key))
        return self.opinion(key) or self._accept(request)

    @property
    def seconds(self) -> float:
        """Return the seconds since the beginning."""
        return (self.clock.now - START).total_seconds()

    def come(self, *keys: str, after: float = 0.0) -> None:
        """Drop photos this many seconds from now."""
        for key in keys:
            event = self.aws.drop(key, jpeg(fill=next(self._numbers) % 200))
            self._send(json.dumps(event), self.seconds + after)

    def _send(self, body: str, at: float) -> None:
        heapq.heappush(self._queue, (at, next(self._numbers), body))

    def run(self, until: float) -> None:
        """Deliver the due messages for this many seconds, one per invocation."""
        while self._queue and self._queue[0][0] <= until:
            at, number, body = heapq.heappop(self._queue)
            self.clock.advance(max(0.0, at - self.seconds))
            for wait in self.submitter.handle(body, f"m-{number}", Batch(lambda: self.remaining)):
                delay = min(900, math.ceil(wait.seconds))
                self._send(wait.body or body, self.seconds + delay)
            self.clock.advance(0.05)
        self.clock.advance(max(0.0, until - self.seconds))

    def jobs_by_key(self) -> dict[str, Job]:
        """Return the records by their photos' keys."""
        return {job.source_key or "": job for job in self.all_jobs()}

    def done(self, prefix: str) -> int:
        """Return how many of such photos are at the vendor."""
        jobs = self.jobs_by_key().items()
        return sum(job.status is JobStatus.RUNNING for key, job in jobs if key.startswith(prefix))

    def posts_of(self, key: str) -> int:
        """Return how often a photo was sent."""
        return [sent for _, sent in self.posts].count(key)


@pytest.fixture
def world(aws: Aws, clock: Clock) -> World:
    """Return a stack with a queue."""
    return World(aws, clock)


def failed_as_refused(job: Job) -> bool:
    """Tell whether the vendor is given as the reason that a job failed."""
    assert job.error is not None
    return job.status is JobStatus.FAILED and job.error.code is ErrorCode.VENDOR_REJECTED


@pytest.mark.parametrize("refusal", [PAGE, thorough(NO_CREDITS), thorough(NO_SUCH_PAGE)])
def test_poisoned_photos_stop_nobody(world: World, refusal: httpx.Response) -> None:
    """Three photos that are always refused hardly delay the others."""
    poisoned = [f"bad-{n}.jpg" for n in range(3)]
    world.opinion = lambda key: refusal if key.startswith("bad") else None
    world.come(*poisoned, *(f"good-{n}.jpg" for n in range(10)))
    world.run(70)  # the three come first: for a minute at most it looks like everybody's trouble
    assert world.done("good") == 10
    for n in range(30):
        world.come(f"later-{n}.jpg", after=20.0 * n)
    began = world.seconds
    world.run(1_000)
    sent = {key: at - began for at, key in world.posts if key.startswith("later")}
    assert max(sent[f"later-{n}.jpg"] - 20 * n for n in range(30)) < 2
    jobs = world.jobs_by_key()
    assert all(failed_as_refused(jobs[key]) for key in poisoned)
    assert all(TRIES <= world.posts_of(key) <= 5 for key in poisoned)
    assert world.done("later") == 30


@pytest.mark.parametrize("refusal", [FORBIDDEN, thorough(BAD_KEY)])
def test_a_poisoned_photo_among_others_ends_after_three_tries(
    world: World, refusal: httpx.Response
) -> None:
    """Others go through after each of its refusals: they are about the photo."""
    world.opinion = lambda key: refusal if key == "bad.jpg" else None
    world.come("bad.jpg")
    for n in range(30):
        world.come(f"good-{n}.jpg", after=5.0 * n + 1)
    world.run(200)
    job = world.jobs_by_key()["bad.jpg"]
    assert failed_as_refused(job)
    assert job.credits == 0
    assert job.error is not None
    assert "3 times while it took others" in job.error.message
    assert world.posts_of("bad.jpg") == TRIES
    assert world.done("good") == 30


@pytest.mark.parametrize("refusal", [PAGE, FORBIDDEN])
def test_a_lone_photo_is_tried_a_bounded_number_of_times(
    world: World, refusal: httpx.Response
) -> None:
    """A photo that is always refused without a clear reason fails after some tries."""
    world.opinion = lambda _: refusal
    world.come("bad.jpg")
    world.run(A_WHILE)
    assert failed_as_refused(world.job())
    moments = [at for at, _ in world.posts]
    assert len(moments) == TRIES_ALONE
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert gaps == sorted(gaps)
    assert gaps[-1] > 10 * gaps[0]
    assert "paused" not in json.dumps(world.aws.told())


@pytest.mark.parametrize("refusal", [NO_CREDITS, BAD_KEY, NO_SUCH_PAGE])
def test_a_lone_photo_of_an_account_in_trouble_waits(world: World, refusal: httpx.Response) -> None:
    """The vendor speaks of the account, and nothing says otherwise: the photo never fails."""
    world.opinion = lambda _: refusal
    world.come("dress.jpg")
    world.run(A_WHILE)
    assert world.job().sendable
    assert TRIES_ALONE < len(world.posts) < 20
    world.opinion = lambda _: None
    world.run(A_WHILE + 1_000)
    assert world.job().status is JobStatus.RUNNING


@pytest.mark.parametrize("refusal", DOUBTFUL)
def test_trouble_of_all_photos_fails_none(world: World, refusal: httpx.Response) -> None:
    """As long as no photo is accepted, no photo fails."""
    world.opinion = lambda _: refusal
    world.come(*(f"{n}.jpg" for n in range(6)))
    world.run(A_WHILE)
    assert all(job.sendable for job in world.all_jobs())
    assert len(world.posts) < 30
    told = [event for event in world.aws.told() if "paused" in event["detail"]]
    assert len(told) == 1
    world.opinion = lambda _: None
    world.run(A_WHILE + 2_000)
    assert world.done("") == 6


def test_an_account_that_is_topped_up_little_by_little_fails_none(world: World) -> None:
    """If the vendor accepts a few photos between refusals, all photos succeed."""
    balance = 0

    def opinion(_: str) -> httpx.Response | None:
        nonlocal balance
        balance -= 1
        return NO_CREDITS if balance < 0 else None

    world.opinion = opinion
    world.come(*(f"{n}.jpg" for n in range(8)))
    for hour in range(1, 6):
        world.run(hour * 3_600.0)
        balance = 2
        world.come(f"new-{hour}.jpg", after=900.0)
    world.run(6 * 3_600.0)
    balance = 100
    world.run(7 * 3_600.0)
    assert {job.status for job in world.all_jobs()} == {JobStatus.RUNNING}


def test_a_photo_that_is_refused_once_goes_through(world: World) -> None:
    """One odd answer among good ones costs ten seconds."""
    world.vendor.answers = [PAGE]
    world.come("odd.jpg", "good.jpg")
    world.run(30)
    assert world.done("") == 2
    assert world.aws.told_types().count("Job Needs Attention") == 0


def test_a_message_that_comes_twice_tries_no_sooner(world: World) -> None:
    """Copies of a message do not use up the tries of a photo that waits by itself."""
    world.opinion = lambda _: PAGE
    world.come("bad.jpg")
    world.run(1)
    for _ in range(20):
        world._send(world._queue[0][2], world.seconds)
    world.run(8)
    assert len(world.posts) == 1


def test_refusals_of_an_earlier_attempt_are_forgotten(world: World) -> None:
    """A photo that is dropped again has all its tries again."""
    world.opinion = lambda _: PAGE
    world.come("bad.jpg")
    world.run(A_WHILE)
    assert failed_as_refused(world.job())
    world._send(json.dumps(world.aws.drop("bad.jpg", jpeg(fill=0))), world.seconds)
    world.run(2 * A_WHILE)
    assert world.job().attempt == 2
    assert failed_as_refused(world.job())
    assert len(world.posts) == 2 * TRIES_ALONE


# --- a probe that sends nothing ------------------------------------------------------------------


def _paused(world: World) -> None:
    """Pause submission, and let the pause be over."""
    world.vendor.answers = [BAD_KEY]
    world.come("first.jpg")
    world.run(world.seconds + 0.01)
    world._queue.clear()
    world.clock.advance(100)


def _control(world: World) -> dict[str, Any]:
    key = {"pk": {"S": "CONTROL#submit"}}
    item: dict[str, Any] = world.aws.dynamodb.get_item(TableName=TABLE, Key=key)["Item"]
    return item


def _spent_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.set(daily_credit_limit=1)
    assert isinstance(world.submitter._gate.credit_limit.reserve("another attempt"), Reserved)


def _other_delivery(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(world.jobs), "mark_submitting", lambda *_, **__: None)


def _crash(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def crashes(*_: object, **__: object) -> None:
        raise RuntimeError("DynamoDB is away")

    monkeypatch.setattr(type(world.jobs), "mark_submitting", crashes)


@pytest.mark.parametrize("how", [_spent_up, _other_delivery, _crash])
def test_a_probe_that_sends_nothing_lets_the_next_one_go(
    world: World, monkeypatch: pytest.MonkeyPatch, how: Callable[..., None]
) -> None:
    """Its permit is back at once, not after two minutes."""
    _paused(world)
    how(world, monkeypatch)
    event = world.aws.drop("probe.jpg", jpeg(fill=9))
    if how is _crash:
        with pytest.raises(RuntimeError):
            world.take(event)
    else:
        world.take(event)
    assert "until" in _control(world)
    assert "probe_until" not in _control(world)
    monkeypatch.undo()
    world.set(daily_credit_limit=0)
    world.drop("next.jpg", jpeg(fill=8))
    assert world.jobs_by_key()["next.jpg"].status is JobStatus.RUNNING


def test_a_probe_whose_photo_is_gone_lets_the_next_one_go(world: World) -> None:
    """It is REJECTED, and another photo is tried at once."""
    world.vendor.answers = [BAD_KEY]
    world.drop("first.jpg", jpeg(fill=1))
    (waiting,) = world.sent
    (version,) = world.aws.s3.list_object_versions(Bucket="photos")["Versions"]
    world.aws.s3.delete_object(Bucket="photos", Key="first.jpg", VersionId=version["VersionId"])
    world.clock.advance(100)
    world.take(waiting)
    assert world.job().status is JobStatus.REJECTED
    assert "probe_until" not in _control(world)
    world.drop("next.jpg", jpeg(fill=8))
    assert world.jobs_by_key()["next.jpg"].status is JobStatus.RUNNING


def test_a_permit_that_is_over_is_not_given_back_for_another(table: Aws, clock: Clock) -> None:
    """A probe that comes back after its time does not send away the one after it."""
    breaker = CircuitBreaker(table.dynamodb, TABLE, now=clock)
    breaker.record(Permit(), Refused(Trouble.KEY, "HTTP 401"))
    clock.advance(100)
    late = breaker.ask()
    assert isinstance(late, Permit)
    clock.advance(PROBE_SECONDS + 1)
    assert isinstance(breaker.ask(), Permit)
    breaker.give_back(late)
    assert not isinstance(breaker.ask(), Permit)


# --- the evidence --------------------------------------------------------------------------------


def _refuse(breaker: CircuitBreaker, job_id: str, *, before: bool = False) -> None:
    """Have the vendor refuse a photo for the account's sake."""
    way = breaker.ask(Candidate(job_id, refused=before))
    assert isinstance(way, Permit)
    breaker.record(way, Refused(Trouble.CREDITS, "HTTP 402"))


def _way(breaker: CircuitBreaker, job_id: str, *, before: bool = False) -> Permit:
    way = breaker.ask(Candidate(job_id, refused=before))
    assert isinstance(way, Permit)
    return way


def test_a_success_of_before_a_refusal_clears_nobody(table: Aws, clock: Clock) -> None:
    """A photo that was sent before another was refused may have taken the last credit."""
    breaker = CircuitBreaker(table.dynamodb, TABLE, now=clock)
    early = _way(breaker, "early")
    _refuse(breaker, "bad")
    breaker.record(early, Accepted("t"))
    other = _way(breaker, "other")
    assert (other.suspects, other.cleared) == (frozenset({"bad"}), frozenset())
    breaker.record(other, Accepted("t"))
    after = _way(breaker, "bad", before=True)
    assert (after.suspects, after.cleared) == (frozenset(), frozenset({"bad"}))


def test_a_success_after_the_pause_clears_nobody(table: Aws, clock: Clock) -> None:
    """A success of another photo after the pause is no evidence about the refused photo."""
    breaker = CircuitBreaker(table.dynamodb, TABLE, now=clock)
    _refuse(breaker, "waits")
    clock.advance(100)
    breaker.record(_way(breaker, "other"), Accepted("t"))
    assert _way(breaker, "waits", before=True).cleared == frozenset()


def test_a_success_after_two_were_refused_clears_nobody(table: Aws, clock: Clock) -> None:
    """Two different photos with the same trouble are no coincidence."""
    breaker = CircuitBreaker(table.dynamodb, TABLE, now=clock)
    _refuse(breaker, "a")
    _refuse(breaker, "b")
    breaker.record(_way(breaker, "c"), Accepted("t"))
    assert _way(breaker, "a", before=True).cleared == frozenset()


def test_a_photo_that_was_refused_is_no_second_opinion(table: Aws, clock: Clock) -> None:
    """During a pause only photos are tried that the vendor has not refused before."""
    breaker = CircuitBreaker(table.dynamodb, TABLE, now=clock)
    _refuse(breaker, "a")
    assert isinstance(breaker.ask(Candidate("b", refused=True)), Paused)
    assert isinstance(breaker.ask(Candidate("c", refused=False)), Permit)


def test_a_pause_without_a_suspect_lets_nobody_through(table: Aws, clock: Clock) -> None:
    """Without a key in the secret there is nothing to try."""
    breaker = CircuitBreaker(table.dynamodb, TABLE, now=clock)
    _refuse(breaker, "a")
    breaker.record(_way(breaker, "b"), Accepted("t"))
    breaker.record(Permit(), Refused(Trouble.KEY, "no key in the secret"))
    assert isinstance(breaker.ask(Candidate("c", refused=False)), Paused)


def test_ordinary_successes_write_nothing(table: Aws, clock: Clock) -> None:
    """Evidence is gathered while some photo is under suspicion, and only then."""
    breaker = CircuitBreaker(table.dynamodb, TABLE, now=clock)
    _refuse(breaker, "bad")
    writes: list[str] = []
    table.dynamodb.meta.events.register(
        "before-call.dynamodb.UpdateItem", lambda **_: writes.append("write"), "test"
    )
    try:
        for number in range(5):
            breaker.record(_way(breaker, f"good-{number}"), Accepted("t"))
    finally:
        table.dynamodb.meta.events.unregister("before-call.dynamodb.UpdateItem", unique_id="test")
    assert len(writes) == 2  # the permit of the first, and what it takes back


def test_three_photos_that_are_refused_stop_the_fourth(table: Aws, clock: Clock) -> None:
    """They are evidence enough; and what was tried meanwhile made the pause no longer."""
    breaker = CircuitBreaker(table.dynamodb, TABLE, now=clock)
    _refuse(breaker, "a")
    second = _way(breaker, "b")
    assert isinstance(breaker.ask(Candidate("c", refused=False)), Paused)  # one at a time
    breaker.record(second, Refused(Trouble.CREDITS, "HTTP 402"))
    _refuse(breaker, "c")
    fourth = breaker.ask(Candidate("d", refused=False))
    assert isinstance(fourth, Paused)
    assert fourth.seconds == ACCOUNT_PAUSE_SECONDS


@pytest.mark.parametrize(
    ("trouble", "cleared", "many", "expected"),
    [
        (Trouble.CREDITS, False, False, (2, 0)),
        (Trouble.CREDITS, True, False, (2, 1)),
        (Trouble.CREDITS, False, True, (2, 0)),
        (Trouble.DENIED, False, False, (2, 0)),
        (Trouble.DENIED, False, True, (1, 0)),
        (Trouble.DENIED, True, True, (2, 1)),
    ],
)
def test_what_a_refusal_adds(
    trouble: Trouble, cleared: bool, many: bool, expected: tuple[int, int]
) -> None:
    """A try counts unless many photos share it; it is evidence if another went through since."""
    before = Refusals(count=1, evidence=0)
    after = refused_again(before, trouble, now=START, cleared=cleared, many=many)
    assert (after.count, after.evidence) == expected
    assert (after.until is None) == (trouble is Trouble.CREDITS and not cleared)


def test_evidence_about_an_earlier_attempt_is_none() -> None:
    """The first refusal of an attempt is the first one, whatever the breaker still remembers."""
    first = refused_again(None, Trouble.CREDITS, now=START, cleared=True, many=False)
    assert (first.count, first.evidence, first.until) == (1, 0, None)


@pytest.mark.parametrize(
    ("trouble", "count", "evidence", "expected"),
    [
        (Trouble.DENIED, TRIES, 0, False),
        (Trouble.DENIED, TRIES, 1, True),
        (Trouble.DENIED, TRIES - 1, 3, False),
        (Trouble.DENIED, TRIES_ALONE, 0, True),
        (Trouble.CREDITS, 1_000, 0, False),
        (Trouble.CREDITS, 1_000, 1, False),
        (Trouble.CREDITS, TRIES, 2, True),
        (Trouble.KEY, TRIES - 1, 2, False),
    ],
)
def test_when_a_photo_ends(trouble: Trouble, count: int, evidence: int, expected: bool) -> None:
    """A clear word about the account is believed for as long as no other photo goes through."""
    assert ends(Refusals(count=count, evidence=evidence), trouble) is expected


def test_how_many_are_many_is_told_by_the_breaker(table: Aws, clock: Clock) -> None:
    """The same photo counts once; a success starts the count anew."""
    breaker = CircuitBreaker(table.dynamodb, TABLE, now=clock)
    assert [breaker.note_denied(job) for job in ("a", "a", "b", "c")] == [1, 1, 2, MANY]
    way = breaker.ask()
    assert isinstance(way, Permit)
    breaker.record(way, Accepted("t"))
    assert breaker.note_denied("d") == 1
    assert [breaker.note_denied(f"job-{n}") for n in range(20)][-1] == 10
