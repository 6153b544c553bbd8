"""When to poll a task next. An early poll costs a call and a state transition; a late one, lag.

The planner estimates when the task ends from three things: the durations of earlier tasks of its
kind, the time that it has run, and its progress. Progress can be read in several ways (as a share
of the whole time, as a speed since it began to move). For each level of progress, each way is
corrected by its error in earlier tasks, weighted by how right it was, and ignored where it said no
more than the elapsed time. From the distribution of the task's end a small dynamic programme finds
the schedule of polls with the least expected cost.

Everything here is pure: no clock, no AWS. A `TaskHistory` summarises earlier tasks in plain sums:
concurrent writers add to it in any order, and halving it forgets old tasks.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

KEEP_TASKS: Final = 60.0
"""A history of this many tasks is halved, so that it follows a vendor that gets slower or
faster."""

# --- durations ---------------------------------------------------------------------------------
_BINS: Final = 34
"""Durations are counted in so many bins an e-fold: 3 % each."""
_TYPICAL: Final = math.log(10.0)
_FIRST_SPREAD: Final = 1.3
"""The vendor documents no durations. Until the first task has ended, ten seconds are expected, give
or take a factor of four: a first look comes after 3 s, and the next ones after 7, 11 and 16 s. A
late first look would be dear: it only tells that the end was before it, and photos that are under
way together all wait for it."""
_SPREAD: Final = 0.7
"""A task of a kind that is known may take half or twice as long as the others."""
_BLANK_WEIGHT: Final = 1.0
"""What is thought before anything is known counts as much as so many tasks."""
_ODD_SHARE: Final = 0.02
_ODD_SPREAD: Final = 1.5
"""So much of any distribution stays with durations that no earlier task had."""
_BLUR: Final = 0.5
"""How much counts are blurred, as a share of their spread for a single task; less for more."""
_LEAST_BLUR: Final = 0.015
_EVENLY: Final = 0.15
"""The share of a task's count that goes evenly over the time in which its end was not seen."""

# --- progress ----------------------------------------------------------------------------------
_LEVELS: Final = (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99)
"""Per cent at which a level of progress begins."""
_WHOLE: Final = 100.0
_LEAST_PROGRESS: Final = 0.01
"""Per cent; less is 0."""
_INSTANT: Final = 1e-3
"""Seconds; there is no logarithm of 0."""
_FIRST_ERROR: Final = 0.12
_FIRST_ERROR_AT_ZERO: Final = 1.0
_FIRST_ERROR_NEAR_THE_END: Final = 0.3
"""How far off a reading is thought to be (in ln of the whole time) before it was ever used. Many
services stop at 9x."""
_NEAR_THE_END: Final = 11
_LEAST_MOVE: Final = 4.0
"""Per cent that progress must have moved for its speed to mean anything."""
_LEAST_ERROR: Final = 0.004
_SELF_DOUBT: Final = 0.12
"""Share of the end-time uncertainty that is added to a reading's variance."""
_JUNK: Final = 0.1
_JUNK_DENSITY: Final = 0.2
"""A reading may be junk this once, whatever it was worth before: then any end is as likely."""
_NEEDED: Final = 0.8
"""A reading must narrow the end down to so much of what the clock alone leaves open."""
_FIRST_GAIN: Final = 0.5
_FIRST_GAIN_WEIGHT: Final = 2.0
_LEAST_GAIN: Final = 0.1
_MOST_GAIN: Final = 2.0
"""Progress is used while it foretold earlier ends better than the clock (in ln of likelihood)."""
_LEAST_DENSITY: Final = 0.15
_ROOT_TWO_PI: Final = math.sqrt(2 * math.pi)

# --- the schedule ------------------------------------------------------------------------------
_POLLS_AFTER_ONE_THAT_TELLS: Final = 2.0
_LAG_OF_A_WHOLE_SECOND: Final = 0.5
_LAG_A_SPREAD: Final = 1.2
"""What a task costs yet after a look at trustworthy progress: looks, and seconds of lag."""
_DIGIT: Final = 0.3
"""Whole per cents leave this much of one open (the spread of an even distribution)."""
_CERTAIN: Final = 0.9995
_NOTHING: Final = 1e-9
_FAR: Final = 3_000_000
_MOST_SAMPLES_SCORED: Final = 6
_LEAST_WEIGHT: Final = 0.002


class ProgressSample(NamedTuple):
    """The progress that one poll saw, of a task that had not ended."""

    seconds: float
    """Since submission."""
    progress: float
    """Per cent."""


@dataclass(frozen=True)
class Bounds:
    """What a wait keeps to, and what it weighs."""

    shortest: float
    """Seconds."""
    longest: float
    """Seconds."""
    trade: float
    """Seconds of lag that are worth one poll."""


class Sums(NamedTuple):
    """Count, sum and sum of squares of some measure."""

    number: float = 0.0
    total: float = 0.0
    squares: float = 0.0


@dataclass(frozen=True)
class TaskHistory:
    """What earlier tasks of a kind were like."""

    tasks: float = 0.0
    """How many, older ones counting ever less."""
    durations: Mapping[int, float] = field(default_factory=dict)
    """Tasks by the bin of their duration."""
    measures: Mapping[str, Sums] = field(default_factory=dict)
    """By name: `share7`, `speed7`, `start7`: errors of a reading at a level of progress;
    `clock`: what the elapsed time alone left open; `gain`: what progress told beyond that."""

    def plus(self, other: "TaskHistory") -> "TaskHistory":
        """Return both together; the order does not matter."""
        durations = dict(self.durations)
        for bin_, weight in other.durations.items():
            durations[bin_] = durations.get(bin_, 0.0) + weight
        measures = dict(self.measures)
        for name, more in other.measures.items():
            old = measures.get(name, Sums())
            measures[name] = Sums(*(a + b for a, b in zip(old, more, strict=True)))
        return TaskHistory(self.tasks + other.tasks, durations, measures)

    def halved(self) -> "TaskHistory":
        """Return this with half its weight; what is next to nothing goes."""
        return TaskHistory(
            self.tasks / 2,
            {b: w / 2 for b, w in self.durations.items() if w > 2 * _LEAST_WEIGHT},
            {
                name: Sums(*(value / 2 for value in sums))
                for name, sums in self.measures.items()
                if sums.number > 2 * _LEAST_WEIGHT
            },
        )


def next_wait(
    history: TaskHistory, elapsed: float, samples: Sequence[ProgressSample], bounds: Bounds
) -> int:
    """Return how many whole seconds to wait before the next look at a task that has not ended.

    Args:
        history: of earlier tasks of its kind; an empty one is fine.
        elapsed: seconds since submission, up to the latest look or, before the first, 0.
        samples: those that saw progress, oldest first.
        bounds: of the wait.

    """
    samples = _in_order(samples)
    elapsed = max(elapsed, samples[-1].seconds if samples else 0.0)
    outlook = _Outlook(history, elapsed, samples)
    wait = outlook.first_of_schedule(bounds)
    return max(1, math.ceil(bounds.shortest), min(wait, math.floor(bounds.longest)))


def lesson(
    history: TaskHistory, samples: Sequence[ProgressSample], *, after: float, by: float
) -> TaskHistory:
    """Return what a task that has ended adds to the task history.

    Args:
        history: as it was for the task's plan.
        samples: those that saw progress, oldest first.
        after: seconds since submission at the last look that found the task not ended, or 0.
        by: the same at the look that found it ended.

    """
    after = max(0.0, after)
    samples = _in_order([sample for sample in samples if sample.seconds <= after])
    cells = _ends_between(_Outlook(history, after, samples), after, by)
    durations: dict[int, float] = {}
    for seconds, likely, evenly in cells:
        bin_ = math.floor(math.log(seconds) * _BINS)
        weight = (1 - _EVENLY) * likely + _EVENLY * evenly
        durations[bin_] = durations.get(bin_, 0.0) + weight
    durations = {b: w for b, w in durations.items() if w >= _LEAST_WEIGHT}
    whole = sum(durations.values())
    taught = TaskHistory(1.0, {b: w / whole for b, w in durations.items()})
    for number, sample in enumerate(samples, start=1):
        readings = [
            *((reading.name, reading.seconds) for reading in _readings(samples[:number])),
            ("clock", max(sample.seconds, _INSTANT)),
        ]
        for name, predicted in readings:
            mean = sum(likely * math.log(seconds / predicted) for seconds, likely, _ in cells)
            square = sum(
                likely * math.log(seconds / predicted) ** 2 for seconds, likely, _ in cells
            )
            square = mean * mean + _SELF_DOUBT * (square - mean * mean)
            taught = taught.plus(TaskHistory(measures={name: Sums(1.0, mean, square)}))
    gains = list(_gains(history, samples, after, by))
    if gains:
        gain = sum(gains) / len(gains)
        taught = taught.plus(TaskHistory(measures={"gain": Sums(1.0, gain, gain * gain)}))
    return taught


def _in_order(samples: Sequence[ProgressSample]) -> list[ProgressSample]:
    """Return the looks as if clocks never went backwards, which they do from Lambda to Lambda."""
    times = accumulate((sample.seconds for sample in samples), max, initial=0.0)
    return [
        sample._replace(seconds=time) for sample, time in zip(samples, list(times)[1:], strict=True)
    ]


def _ends_between(outlook: "_Outlook", after: float, by: float) -> list[tuple[float, float, float]]:
    """Return (seconds, share by the outlook, share of the time) for the cells of an interval."""
    length = max(by - after, _INSTANT)
    cells = []
    for nearer, farther, mass in outlook.cells():
        if nearer >= length:
            break
        top = min(farther, length)
        share = (top - nearer) / (farther - nearer)
        seconds = max(after + (nearer + top) / 2, _INSTANT)
        cells.append((seconds, mass * share, (top - nearer) / length))
    whole = sum(mass for _, mass, _ in cells)
    if whole <= 0:
        return [(seconds, evenly, evenly) for seconds, _, evenly in cells]
    return [(seconds, mass / whole, evenly) for seconds, mass, evenly in cells]


def _gains(
    history: TaskHistory, samples: Sequence[ProgressSample], after: float, by: float
) -> Iterator[float]:
    """Yield how much better each look foretold the end with its progress than without."""
    durations = _Durations(history)
    for number in range(max(1, len(samples) - _MOST_SAMPLES_SCORED + 1), len(samples) + 1):
        seen = samples[:number]
        now = seen[-1].seconds
        told = _Outlook(history, now, seen, durations=durations, believing=True)
        if told.reading is None:
            continue
        untold = _Outlook(history, now, (), durations=durations)
        gain = math.log(told.share(after - now, by - now) / untold.share(after - now, by - now))
        yield max(-_MOST_GAIN, min(_MOST_GAIN, gain))


# --- what earlier tasks took -------------------------------------------------------------------


class _Durations:
    """The distribution of durations that a task history leads to expect."""

    def __init__(self, history: TaskHistory) -> None:
        counts = sorted(history.durations.items())
        self._centres = [(bin_ + 0.5) / _BINS for bin_, _ in counts]
        self._weights = [weight for _, weight in counts]
        self._before = [0.0, *accumulate(self._weights)]
        self._weight = self._before[-1]
        self._middle = _TYPICAL
        self._blur = 1.0
        self._spread = _FIRST_SPREAD
        if self._weight > 0:
            weighted = list(zip(self._centres, self._weights, strict=True))
            mean = sum(weight * place for place, weight in weighted) / self._weight
            variance = sum(w * (place - mean) ** 2 for place, w in weighted) / self._weight
            blur = _BLUR * math.sqrt(variance) * max(1.0, self._weight) ** (-1 / 3)
            self._middle = mean
            self._spread = _SPREAD
            self._blur = max(_LEAST_BLUR, blur)

    def ended_by(self, seconds: float) -> float:
        """Return the share of tasks that has ended by then."""
        if seconds <= 0:
            return 0.0
        place = math.log(seconds)
        surely = bisect_left(self._centres, place - 4 * self._blur)
        hardly = bisect_right(self._centres, place + 4 * self._blur)
        counted = self._before[surely] + sum(
            self._weights[i] * _normal((place - self._centres[i]) / self._blur)
            for i in range(surely, hardly)
        )
        blank = _BLANK_WEIGHT * _normal((place - self._middle) / self._spread)
        usual = (counted + blank) / (self._weight + _BLANK_WEIGHT)
        odd = _normal((place - self._middle) / _ODD_SPREAD)
        return (1 - _ODD_SHARE) * usual + _ODD_SHARE * odd


def _normal(z: float) -> float:
    """Return the standard normal distribution function."""
    return 0.5 * math.erfc(-z / math.sqrt(2))


def _density(z: float, spread: float) -> float:
    return math.exp(-z * z / 2) / (spread * _ROOT_TWO_PI)


# --- what progress says ------------------------------------------------------------------------


class _Reading(NamedTuple):
    """What one way of reading the progress so far predicts."""

    way: str
    level: int
    seconds: float
    """The whole time from submission to the end."""
    open: float
    """What the digits of the progress leave open, in ln of `seconds`."""

    @property
    def name(self) -> str:
        """What its errors are kept under."""
        return f"{self.way}{self.level}"


class _Belief(NamedTuple):
    """A reading, corrected: ln of the whole time, and how far it may be off."""

    place: float
    spread: float


def _readings(samples: Sequence[ProgressSample]) -> list[_Reading]:
    """Return what the latest look's progress can be read as."""
    if not samples:
        return []
    seconds, progress = max(samples[-1].seconds, _INSTANT), samples[-1].progress
    level = bisect_right(_LEVELS, progress)
    if progress < _LEAST_PROGRESS or progress >= _WHOLE:
        return [_Reading("share", level, seconds, 0.0)]
    digit = _DIGIT if progress == int(progress) else 0.0
    readings = [_Reading("share", level, seconds * _WHOLE / progress, digit / progress)]
    way, start = (
        "speed",
        next(
            (sample for sample in samples[:-1] if _LEAST_PROGRESS <= sample.progress < progress),
            None,
        ),
    )
    if start is None or progress - start.progress < _LEAST_MOVE:
        # It has hardly been seen to move; then since it was last seen to stand at the start.
        way, start = (
            "start",
            next((sample for sample in samples[-2::-1] if sample.progress < _LEAST_PROGRESS), None),
        )
    if start is not None and progress - start.progress >= _LEAST_MOVE:
        moved = progress - start.progress
        left = (seconds - start.seconds) * (_WHOLE - progress) / moved
        whole = seconds + left
        readings.append(_Reading(way, level, whole, digit / moved * left / whole))
    return readings


def _usual_variance(history: TaskHistory, way: str) -> float:
    """Return how far off a way of reading was at any level, apart from each level's own bias."""
    count, squares = 2.0, 2.0 * _FIRST_ERROR**2
    for name, sums in history.measures.items():
        if name.startswith(way) and name != f"{way}0":
            count += sums.number
            squares += max(0.0, sums.squares - sums.total**2 / (sums.number + 0.5))
    return squares / count


def _corrected(history: TaskHistory, reading: _Reading) -> _Belief:
    """Return a reading less its usual error at its level."""
    sums = history.measures.get(reading.name, Sums())
    first = _FIRST_ERROR_AT_ZERO**2
    if reading.level > 0:
        first = _usual_variance(history, reading.way)
    if reading.level >= _NEAR_THE_END:
        first = max(first, _FIRST_ERROR_NEAR_THE_END**2 / (1 + sums.number))
    weight = sums.number + 1.0
    mean = sums.total / weight
    variance = max(0.0, (sums.squares + first) / weight - mean * mean)
    spread = math.sqrt(variance + reading.open**2 + _LEAST_ERROR**2)
    return _Belief(math.log(max(reading.seconds, _INSTANT)) + mean, spread)


def _clock(history: TaskHistory, elapsed: float) -> _Belief:
    """Return what the elapsed time alone says, at whatever looks there usually are."""
    sums = history.measures.get("clock", Sums())
    weight = sums.number + 1.0
    mean = (sums.total + 0.7) / weight
    variance = (sums.squares + 0.7**2 + 0.7**2) / weight - mean * mean
    return _Belief(math.log(max(elapsed, _INSTANT)) + mean, math.sqrt(max(0.09, variance)))


def _worth_believing(history: TaskHistory) -> bool:
    """Tell whether progress has foretold the ends of tasks of this kind."""
    sums = history.measures.get("gain", Sums())
    gain = (sums.total + _FIRST_GAIN * _FIRST_GAIN_WEIGHT) / (sums.number + _FIRST_GAIN_WEIGHT)
    return gain > _LEAST_GAIN


# --- when the task may end ---------------------------------------------------------------------


def _grid() -> tuple[float, ...]:
    """Return the places, in seconds from now, between which an end may lie."""
    places = [step / 2 for step in range(16)] + [float(place) for place in range(8, 40)]
    while places[-1] < _FAR:
        places.append(float(math.ceil(places[-1] * 1.05)))
    return tuple(places)


_GRID: Final = _grid()


class _Outlook:
    """When a task that has not ended by now may end, and when to look at it."""

    def __init__(
        self,
        history: TaskHistory,
        elapsed: float,
        samples: Sequence[ProgressSample],
        *,
        durations: _Durations | None = None,
        believing: bool | None = None,
    ) -> None:
        self._history_of = history
        self._elapsed = elapsed
        self._looks = samples
        self._durations = durations or _Durations(history)
        self._believing = _worth_believing(history) if believing is None else believing
        self.reading = self._best_reading() if self._believing else None
        self._mass = self._masses()

    def _best_reading(self) -> _Belief | None:
        """Return the surest reading, if it tells more than the clock does."""
        readings = [_corrected(self._history_of, reading) for reading in _readings(self._looks)]
        best = min(readings, key=lambda belief: belief.spread, default=None)
        if best is None or best.spread > _NEEDED * self._clock.spread:
            return None
        return best

    @cached_property
    def _clock(self) -> _Belief:
        return _clock(self._history_of, self._looks[-1].seconds)

    def _masses(self) -> list[float]:
        """Return how likely the end lies in front of each place of the grid."""
        before = self._durations.ended_by(self._elapsed)
        masses = [0.0]
        for nearer, farther in pairwise(_GRID):
            ended = self._durations.ended_by(self._elapsed + farther)
            inside = ended - before
            likely = inside > _NOTHING
            masses.append(inside * self._likelihood(nearer, farther) if likely else 0.0)
            before = ended
            if ended > 1 - _NOTHING:
                break
        whole = sum(masses)
        # So much later than anything known: all that is left is that it takes as long again.
        return [mass / whole for mass in masses] if whole > 0 else []

    def _likelihood(self, nearer: float, farther: float) -> float:
        """Return how much likelier the progress makes an end there.

        A reading's usual error says how likely such an end is *given* the progress; the clock's
        says how much of that is no news, since looks come at such times anyway.
        """
        if self.reading is None:
            return 1.0
        place = math.log(self._elapsed + (nearer + farther) / 2)
        belief, clock = self.reading, self._clock
        right = _density((place - belief.place) / belief.spread, belief.spread)
        anyway = _density((place - clock.place) / clock.spread, clock.spread)
        return ((1 - _JUNK) * right + _JUNK * _JUNK_DENSITY) / max(_LEAST_DENSITY, anyway)

    def cells(self) -> Iterator[tuple[float, float, float]]:
        """Yield (from, to, probability) in seconds from now; all the grid, if nothing is known."""
        if self._mass:
            yield from zip(_GRID, _GRID[1:], self._mass[1:], strict=False)
        else:
            yield from ((near, far, 0.0) for near, far in pairwise(_GRID))

    def share(self, start: float, end: float) -> float:
        """Return the probability of an end between `start` and `end` seconds from now."""
        inside = 0.0
        for nearer, farther, mass in self.cells():
            if nearer >= end:
                break
            overlap = min(farther, end) - max(nearer, start)
            inside += mass * max(0.0, overlap) / (farther - nearer)
        return max(inside, 1e-4)

    def first_of_schedule(self, bounds: Bounds) -> int:
        """Return the seconds to the first look of the schedule that is expected to cost least.

        From each place, at which the task was just found not to have ended, the next look goes
        where the look itself, the lag of an end before it, and the least cost from there on come
        to the least. Worked out from the far end; costs are weighted with the probability that
        they come up at all.
        """
        if not self._mass:
            return math.ceil(self._elapsed)
        ended = list(accumulate(self._mass))
        centres = (mass * (near + far) / 2 for near, far, mass in self.cells())
        moment = [0.0, *accumulate(centres)]
        places = self._candidates(ended)
        least = self._cost_after_a_telling_poll(ended, moment, bounds)
        cost = [0.0] * len(places)
        choice = 0
        for here in range(len(places) - 2, -1, -1):
            i = places[here]
            best = math.inf
            for there in range(here + 1, len(places)):
                j = places[there]
                wait = _GRID[j] - _GRID[i]
                if wait < bounds.shortest and there < len(places) - 1:
                    continue
                lag = _GRID[j] * (ended[j] - ended[i]) - (moment[j] - moment[i])
                total = bounds.trade * (1 - ended[i]) + lag + cost[there]
                if total < best:
                    best, choice = total, j
                if wait >= bounds.longest:
                    break
            cost[here] = min(best, least(i)) if here else best
        return int(_GRID[choice])

    def _candidates(self, ended: Sequence[float]) -> list[int]:
        """Return the grid's whole seconds up to where the task has all but certainly ended."""
        places = [0]
        for i in range(1, len(ended)):
            if _GRID[i].is_integer():
                places.append(i)
                if ended[i] >= _CERTAIN:
                    break
        return places

    def _cost_after_a_telling_poll(
        self, ended: Sequence[float], moment: Sequence[float], bounds: Bounds
    ) -> Callable[[int], float]:
        """Return what a task costs yet after a look whose progress can be relied on."""
        reliable = self._reliable()
        if reliable is None:
            return lambda _: math.inf
        variance, since = reliable
        mean = moment[-1]

        def cost(i: int) -> float:
            running = 1 - ended[i]
            now = self._elapsed + _GRID[i]
            if running <= 0 or _GRID[i] < since * mean:
                return math.inf
            end = self._elapsed + (mean - moment[i]) / running
            spread = math.sqrt(variance + (_DIGIT * end / (_WHOLE * now)) ** 2)
            lag = _LAG_OF_A_WHOLE_SECOND + _LAG_A_SPREAD * spread * end
            return running * (_POLLS_AFTER_ONE_THAT_TELLS * bounds.trade + lag)

        return cost

    def _reliable(self) -> tuple[float, float] | None:
        """Return the variance of what a later look will tell, and after what part of the rest."""
        if not self._looks:
            known = any(name.startswith("share") for name in self._history_of.measures)
            if self._history_of.tasks and not known:
                return None
            return _usual_variance(self._history_of, "share"), 0.0
        progress = self._looks[-1].progress
        if progress < _LEAST_PROGRESS or progress >= _LEVELS[_NEAR_THE_END]:
            return None
        ways = (_usual_variance(self._history_of, way) for way in ("share", "speed"))
        return min(ways), 10 / (_WHOLE - progress)
