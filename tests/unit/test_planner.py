"""The poll planner: its bounds, what it learns, and that bad progress does no harm."""

import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import polling, traces
from bench.traces import RecordedTask, Trace
from shared.polling.planner import (
    KEEP_TASKS,
    Bounds,
    ProgressSample,
    Sums,
    TaskHistory,
    lesson,
    next_wait,
)
from tests.thorough import thorough

BOUNDS = Bounds(shortest=1, longest=600, trade=0.7)
SAMPLE = [
    trace
    for trace in traces.built_in(jobs=40)
    if trace.name.startswith(("log-normal", "heavy-tailed"))
]

looks = st.lists(
    st.tuples(st.floats(0, 20_000), st.floats(0, 100)).map(lambda pair: ProgressSample(*pair)),
    max_size=6,
).map(sorted)
histories = st.builds(
    TaskHistory,
    st.floats(0, 100),
    st.dictionaries(st.integers(-300, 420), st.floats(0.002, 60), max_size=6),
    st.dictionaries(
        st.sampled_from(["share0", "share7", "share12", "speed7", "start4", "clock", "gain"]),
        st.builds(Sums, st.floats(0.01, 60), st.floats(-60, 60), st.floats(0, 200)),
    ),
)


# --- bounds --------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    history=histories,
    seen=looks,
    more=st.floats(0, 10_000),
    shortest=st.floats(0.5, 900),
    longest=st.floats(1, 90_000),
    trade=st.floats(0.05, 600),
)
def test_any_wait_keeps_its_bounds(
    history: TaskHistory,
    seen: list[ProgressSample],
    more: float,
    shortest: float,
    longest: float,
    trade: float,
) -> None:
    """A wait is a whole number of seconds within its bounds, with any history and samples."""
    elapsed = more + (seen[-1].seconds if seen else 0)
    wait = next_wait(history, elapsed, seen, Bounds(shortest, longest, trade))
    assert isinstance(wait, int)
    assert wait >= max(1, shortest)
    assert wait <= max(longest, shortest + 1)


@settings(max_examples=40)
@given(history=histories, seen=looks, length=st.floats(0.01, 5_000))
def test_any_lesson_is_one_task(
    history: TaskHistory, seen: list[ProgressSample], length: float
) -> None:
    """Any task adds a weight of one to the history."""
    after = seen[-1].seconds if seen else 0.0
    taught = lesson(history, seen, after=after, by=after + length)
    assert taught.tasks == 1
    assert sum(taught.durations.values()) == pytest.approx(1)
    assert all(sums.squares >= 0 for sums in taught.measures.values())


@settings(max_examples=40)
@given(
    history=histories,
    seen=st.lists(st.builds(ProgressSample, st.floats(-50, 50), st.floats(0, 100)), max_size=6),
    elapsed=st.floats(-50, 50),
    length=st.floats(-50, 50),
)
def test_clocks_that_go_backwards(
    history: TaskHistory, seen: list[ProgressSample], elapsed: float, length: float
) -> None:
    """Clocks that differ between polls cause no error."""
    assert 1 <= next_wait(history, elapsed, seen, Bounds(1, 600, 0.7)) <= 600
    assert lesson(history, seen, after=elapsed, by=elapsed + length).tasks == 1


def test_a_clock_that_was_set_back_between_looks() -> None:
    """A negative speed of progress causes no error."""
    seen = [ProgressSample(20, 5), ProgressSample(12, 10)]
    assert next_wait(TaskHistory(), 12, seen, Bounds(1, 600, 0.7)) >= 1
    assert lesson(TaskHistory(), seen, after=20, by=21).tasks == 1


def test_the_unknown_is_waited_for_ever_less_often() -> None:
    """A task that takes longer than all known ones is polled less and less often."""
    history, elapsed, waits = TaskHistory(), 0.0, []
    while elapsed < 20_000:
        waits.append(next_wait(history, elapsed, (), BOUNDS))
        elapsed += waits[-1]
    assert len(waits) < 400
    assert waits[-1] > 60


def test_the_trade_is_the_parameter() -> None:
    """A higher price of a poll, in seconds, means fewer polls and later results."""
    (trace,) = (trace for trace in SAMPLE if trace.name == "log-normal, none")
    costs = [polling.replay(trace, trade) for trade in (0.2, 0.7, 3.0)]
    assert all(sooner.polls > later.polls for sooner, later in pairwise(costs))
    assert all(sooner.lag < later.lag for sooner, later in pairwise(costs))


# --- what it is worth ----------------------------------------------------------------------------


def test_it_is_better_than_a_fixed_loop() -> None:
    """Polls x lag stay below 0.45 of the 3 s loop's, also with few tasks to learn from."""
    ratios = [polling.replay(trace).product / polling.fixed(trace, 3).product for trace in SAMPLE]
    assert len(ratios) == 12
    assert polling.geometric_mean(ratios) < 0.45
    assert max(ratios) < 1


def test_honest_progress_is_believed() -> None:
    """Linear progress needs three polls at most, and costs a second of lag."""
    (trace,) = (trace for trace in SAMPLE if trace.name == "log-normal, linear")
    cost = polling.replay(trace)
    assert cost.polls < 3
    assert cost.lag < 1.3


def made(progress: Callable[[random.Random, float], list[tuple[float, float]]]) -> Trace:
    """Return a trace of tasks of about 30 s with this kind of progress."""
    chance = random.Random(7)  # noqa: S311  reproducible, not secret
    jobs = []
    for _ in range(60):
        seconds = chance.lognormvariate(3.4, 0.4)
        jobs.append(RecordedTask(seconds, tuple(progress(chance, seconds))))
    return Trace("made", tuple(jobs))


@pytest.mark.parametrize(
    "progress",
    [
        pytest.param(
            lambda chance, seconds: [(seconds * n / 30, chance.randrange(100)) for n in range(30)],
            id="random",
        ),
        thorough(lambda _, seconds: [(0, 99)], name="always 99"),
        thorough(lambda _, seconds: [(0, 0)], name="always 0"),
        thorough(
            lambda _, seconds: [(seconds * n / 50, 100 - 2 * n) for n in range(50)],
            name="backwards",
        ),
    ],
)
def test_progress_that_says_nothing_does_no_harm(
    progress: Callable[[random.Random, float], list[tuple[float, float]]],
) -> None:
    """Useless progress costs hardly more than no progress."""
    trace = made(progress)
    silent = Trace("silent", tuple(RecordedTask(task.seconds, ()) for task in trace.jobs))
    assert polling.replay(trace).product < 1.3 * polling.replay(silent).product


def test_it_follows_a_change() -> None:
    """After tasks become three times as long, the planner soon follows."""
    chance = random.Random(3)  # noqa: S311  reproducible, not secret
    before = [RecordedTask(chance.gauss(30, 2), ()) for _ in range(60)]
    after = [RecordedTask(chance.gauss(90, 3), ()) for _ in range(60)]
    whole = polling.replay(Trace("change", tuple(before + after)))
    fresh = polling.replay(Trace("fresh", tuple(after)))
    share = len(after) / (len(before) + len(after))
    assert whole.polls < 3 * fresh.polls * share + 3
    assert whole.lag < 8


@pytest.mark.parametrize(("seconds", "most_polls"), [(2, 2), (5, 2), (12, 3), (30, 3), (60, 5)])
def test_the_first_photos_of_a_new_stack(seconds: float, most_polls: int) -> None:
    """Photos that are under way together, with nothing known, are found soon and read seldom.

    None of them can learn of another. Those submitted after the first have ended do.
    """
    history = TaskHistory()
    for lag in (max(2.0, 0.2 * seconds), max(1.0, 0.1 * seconds)):
        task = RecordedTask(seconds, tuple((n * seconds / 50, 2.0 * n) for n in range(50)))
        looks, after, by = polling._wait_for(task, history, BOUNDS)
        assert len(looks) + 1 <= most_polls
        assert by - seconds <= lag
        seen = [ProgressSample(at, said) for at, said in looks if said is not None]
        taught = lesson(history, seen, after=after, by=by)
        for _ in range(20):
            history = history.plus(taught)


# --- experience ----------------------------------------------------------------------------------


def test_experiences_add_up_in_any_order() -> None:
    """The order in which tasks are added does not matter."""
    one = lesson(TaskHistory(), [ProgressSample(10, 20)], after=10, by=40)
    two = lesson(TaskHistory(), [], after=0, by=12)
    both, again = one.plus(two), two.plus(one)
    assert both.tasks == again.tasks == 2
    assert both.durations == pytest.approx(again.durations)
    assert {name: pytest.approx(sums) for name, sums in both.measures.items()} == again.measures


def test_half_an_experience_expects_the_same() -> None:
    """Halving a history changes its weight, and hardly its waits."""
    history = TaskHistory()
    for _ in range(int(KEEP_TASKS)):
        history = history.plus(lesson(history, [], after=98, by=100))
    assert history.halved().tasks == KEEP_TASKS / 2
    waits = [next_wait(known, 0, (), BOUNDS) for known in (history, history.halved())]
    assert abs(waits[0] - waits[1]) <= 10
    assert all(40 <= wait <= 105 for wait in waits)


def test_an_end_that_was_seen_late_is_narrowed_down() -> None:
    """Ends that were found late do not make the planner poll later and later."""
    history = TaskHistory()
    found = []
    for _ in range(40):
        now, after = 0.0, 0.0
        while now < 30:
            after, now = now, now + next_wait(history, now, (), BOUNDS)
        found.append(now)
        history = history.plus(lesson(history, (), after=after, by=now))
    assert max(found[-10:]) - 30 <= 3
