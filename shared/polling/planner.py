"""Plans the next poll of a task. An early poll costs a call and a transition; a late one adds lag.

The planner estimates when the task ends from three things: the durations of earlier tasks of its
kind, the time that the task has run, and its progress. A reading predicts the end from the
progress: by its share of the whole time, or by its speed since it began to move. Each reading is
corrected by its errors in earlier tasks at the same level of progress. The best one is used, if it
says more than the elapsed time alone. From the distribution of the task's end, a small dynamic
programme finds the schedule of polls with the least expected cost.

This module is pure: it uses no clock and no AWS. A `TaskHistory` summarises earlier tasks in plain
sums. So concurrent writers can add to it in any order, and halving it makes old tasks count less.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

KEEP_TASKS: Final = 60.0
"""A history of this many tasks is halved, so that it follows a vendor that becomes slower or
faster."""

# --- durations ---------------------------------------------------------------------------------
_BINS: Final = 34
"""The number of bins a factor e of the duration; each bin is 3 % wide."""
_TYPICAL: Final = math.log(10.0)
"""The expected duration of a first task, in ln of seconds."""
_FIRST_SPREAD: Final = 1.3
"""The standard deviation of that expectation, in ln: a factor of four. (The vendor documents no
durations.) It leads to first polls after 3, 7, 11 and 16 s. A late first poll would be expensive:
it says only that the end was before it, and all photos of a burst would wait for it."""
_SPREAD: Final = 0.7
"""The standard deviation of the prior, in ln, once a task is known: a factor of two."""
_BLANK_WEIGHT: Final = 1.0
"""The weight of the prior, in tasks."""
_ODD_SHARE: Final = 0.02
"""The share of each distribution that is left for durations that no earlier task had."""
_ODD_SPREAD: Final = 1.5
"""The standard deviation of that share, in ln."""
_BLUR: Final = 0.5
"""The bandwidth with which the counts are smoothed, as a share of their standard deviation, for one
task. It shrinks with the cube root of the number of tasks."""
_LEAST_BLUR: Final = 0.015
"""The least bandwidth, in ln."""
_EVENLY: Final = 0.15
"""The share of a task's count that is spread evenly over the time between the last two polls. The
rest is spread as the planner expected."""

# --- progress ----------------------------------------------------------------------------------
_LEVELS: Final = (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99)
"""The progress in per cent at which each level begins."""
_WHOLE: Final = 100.0
"""The progress in per cent at the end."""
_LEAST_PROGRESS: Final = 0.01
"""Per cent; less counts as 0."""
_INSTANT: Final = 1e-3
"""Seconds; the least time of which a logarithm is taken."""
_FIRST_ERROR: Final = 0.12
"""The assumed error of a reading before its first use, in ln of the whole time."""
_FIRST_ERROR_AT_ZERO: Final = 1.0
"""The same for a progress of 0."""
_FIRST_ERROR_NEAR_THE_END: Final = 0.3
"""The same from level `_NEAR_THE_END` on, since many services stop at 9x per cent for a while."""
_NEAR_THE_END: Final = 11
"""The level that begins at 90 per cent."""
_LEAST_MOVE: Final = 4.0
"""Per cent; the speed of a smaller change of progress is not used."""
_LEAST_ERROR: Final = 0.004
"""The least error of a corrected reading, in ln."""
_SELF_DOUBT: Final = 0.12
"""Share of the end-time uncertainty that is added to a reading's variance."""
_JUNK: Final = 0.1
"""The probability that this reading is wrong; then any end is equally likely."""
_JUNK_DENSITY: Final = 0.2
"""The density of the end in that case, in ln of the whole time."""
_NEEDED: Final = 0.8
"""A reading is used only if its standard deviation is at most this share of the clock's."""
_FIRST_GAIN: Final = 0.5
"""The assumed gain of progress before the first task has ended. The gain says how much better
progress predicted the end of a task than the elapsed time alone, in ln of likelihood."""
_FIRST_GAIN_WEIGHT: Final = 2.0
"""The weight of that assumption, in tasks."""
_LEAST_GAIN: Final = 0.1
"""Progress is used while the mean gain is larger than this."""
_MOST_GAIN: Final = 2.0
"""The gain of one task counts at most this much, and at least the negative of it."""
_LEAST_DENSITY: Final = 0.15
"""The least density of the clock's prediction, by which a likelihood is divided."""
_ROOT_TWO_PI: Final = math.sqrt(2 * math.pi)

# --- the schedule ------------------------------------------------------------------------------
_POLLS_AFTER_A_RELIABLE_ONE: Final = 2.0
"""The polls that a task still needs after a poll with reliable progress."""
_LAG_OF_A_WHOLE_SECOND: Final = 0.5
"""The mean lag, in seconds, since waits are whole seconds."""
_LAG_A_SPREAD: Final = 1.2
"""The further lag after a poll with reliable progress, in standard deviations of the end."""
_DIGIT: Final = 0.3
"""The standard deviation that rounding to whole per cents adds (that of an even distribution)."""
_CERTAIN: Final = 0.9995
"""The schedule ends where the task has ended with this probability."""
_NOTHING: Final = 1e-9
"""A smaller probability counts as 0."""
_FAR: Final = 3_000_000
"""Seconds; the end of the grid."""
_MOST_SAMPLES_SCORED: Final = 6
"""A task's gain is computed from at most this many of its last samples."""
_LEAST_WEIGHT: Final = 0.002
"""A bin with less weight is dropped."""


class ProgressSample(NamedTuple):
    """The progress that one poll saw of a task that had not ended."""

    seconds: float
    """Seconds since submission."""
    progress: float
    """Per cent."""


@dataclass(frozen=True)
class Bounds:
    """The limits of a wait, and the price of lag."""

    shortest: float
    """Seconds."""
    longest: float
    """Seconds."""
    trade: float
    """Seconds of lag that cost as much as one poll."""


class Sums(NamedTuple):
    """Count, sum and sum of squares of a measure."""

    number: float = 0.0
    total: float = 0.0
    squares: float = 0.0


@dataclass(frozen=True)
class TaskHistory:
    """Sums over the earlier tasks of a kind."""

    tasks: float = 0.0
    """The number of tasks; halving makes older ones count less."""
    durations: Mapping[int, float] = field(default_factory=dict)
    """The number of tasks by the bin of their duration."""
    measures: Mapping[str, Sums] = field(default_factory=dict)
    """Sums by name. `share7`, `speed7`, `start7`: the errors of a reading at a level of progress.
    `clock`: the errors of the elapsed time alone. `gain`: how much better progress predicted the
    end."""

    def plus(self, other: "TaskHistory") -> "TaskHistory":
        """Return the sum of both; the order does not matter."""
        durations = dict(self.durations)
        for bin_, weight in other.durations.items():
            durations[bin_] = durations.get(bin_, 0.0) + weight
        measures = dict(self.measures)
        for name, more in other.measures.items():
            old = measures.get(name, Sums())
            measures[name] = Sums(*(a + b for a, b in zip(old, more, strict=True)))
        return TaskHistory(self.tasks + other.tasks, durations, measures)

    def halved(self) -> "TaskHistory":
        """Return this history with half its weight, without what is almost 0."""
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
    """Return how many whole seconds to wait before the next poll of a task that has not ended.

    Args:
        history: the earlier tasks of its kind; it may be empty.
        elapsed: seconds from submission to the latest poll; 0 before the first one.
        samples: the progress of earlier polls, oldest first.
        bounds: the limits of the wait.

    """
    samples = _in_order(samples)
    elapsed = max(elapsed, samples[-1].seconds if samples else 0.0)
    outlook = _Outlook(history, elapsed, samples)
    wait = outlook.first_of_schedule(bounds)
    return max(1, math.ceil(bounds.shortest), min(wait, math.floor(bounds.longest)))


def lesson(
    history: TaskHistory, samples: Sequence[ProgressSample], *, after: float, by: float
) -> TaskHistory:
    """Return what an ended task adds to the task history.

    Args:
        history: the task history so far.
        samples: the progress of the task's polls, oldest first.
        after: seconds from submission to the last poll that found the task not ended, or 0.
        by: seconds from submission to the poll that found it ended.

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
    """Return the samples with times that never decrease; the clocks of Lambdas differ."""
    times = accumulate((sample.seconds for sample in samples), max, initial=0.0)
    return [
        sample._replace(seconds=time) for sample, time in zip(samples, list(times)[1:], strict=True)
    ]


def _ends_between(outlook: "_Outlook", after: float, by: float) -> list[tuple[float, float, float]]:
    """Return (seconds, probability, share of the interval) for the cells of an interval."""
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
    """Yield how much better each sample predicted the end with its progress than without it."""
    durations = _Durations(history)
    for number in range(max(1, len(samples) - _MOST_SAMPLES_SCORED + 1), len(samples) + 1):
        seen = samples[:number]
        now = seen[-1].seconds
        informed = _Outlook(history, now, seen, durations=durations, believing=True)
        if informed.reading is None:
            continue
        blind = _Outlook(history, now, (), durations=durations)
        gain = math.log(informed.share(after - now, by - now) / blind.share(after - now, by - now))
        yield max(-_MOST_GAIN, min(_MOST_GAIN, gain))


# --- what earlier tasks took -------------------------------------------------------------------


class _Durations:
    """The distribution of durations, estimated from a task history."""

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
        """Return the share of tasks that end within this time."""
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
    """A prediction of the end from the progress so far."""

    way: str
    """`share`: progress is a share of the whole time. `speed`, `start`: progress goes on at its
    speed since it began to move, or since it was last 0."""
    level: int
    """The level of progress: how many of `_LEVELS` it has reached."""
    seconds: float
    """The predicted time from submission to the end."""
    open: float
    """The error of rounded progress, in ln of `seconds`."""

    @property
    def name(self) -> str:
        """The name of its errors in `TaskHistory.measures`."""
        return f"{self.way}{self.level}"


class _Belief(NamedTuple):
    """A corrected reading: mean and standard deviation of ln of the whole time."""

    place: float
    spread: float


def _readings(samples: Sequence[ProgressSample]) -> list[_Reading]:
    """Return the predictions from the latest sample."""
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
        # Progress has hardly moved between samples. Take its speed since it was last 0.
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
    """Return the variance of a way of reading over all levels, without each level's own bias."""
    count, squares = 2.0, 2.0 * _FIRST_ERROR**2
    for name, sums in history.measures.items():
        if name.startswith(way) and name != f"{way}0":
            count += sums.number
            squares += max(0.0, sums.squares - sums.total**2 / (sums.number + 0.5))
    return squares / count


def _corrected(history: TaskHistory, reading: _Reading) -> _Belief:
    """Return a reading without its usual error at its level."""
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
    """Return the prediction from the elapsed time alone, at the usual times of polls."""
    sums = history.measures.get("clock", Sums())
    weight = sums.number + 1.0
    mean = (sums.total + 0.7) / weight
    variance = (sums.squares + 0.7**2 + 0.7**2) / weight - mean * mean
    return _Belief(math.log(max(elapsed, _INSTANT)) + mean, math.sqrt(max(0.09, variance)))


def _worth_believing(history: TaskHistory) -> bool:
    """Whether progress has predicted the ends of earlier tasks of this kind."""
    sums = history.measures.get("gain", Sums())
    gain = (sums.total + _FIRST_GAIN * _FIRST_GAIN_WEIGHT) / (sums.number + _FIRST_GAIN_WEIGHT)
    return gain > _LEAST_GAIN


# --- when the task may end ---------------------------------------------------------------------


def _grid() -> tuple[float, ...]:
    """Return the places of the grid, in seconds from now."""
    places = [step / 2 for step in range(16)] + [float(place) for place in range(8, 40)]
    while places[-1] < _FAR:
        places.append(float(math.ceil(places[-1] * 1.05)))
    return tuple(places)


_GRID: Final = _grid()


class _Outlook:
    """The distribution of the end of a task that has not ended yet, and its schedule."""

    def __init__(
        self,
        history: TaskHistory,
        elapsed: float,
        samples: Sequence[ProgressSample],
        *,
        durations: _Durations | None = None,
        believing: bool | None = None,
    ) -> None:
        self._history = history
        self._elapsed = elapsed
        self._samples = samples
        self._durations = durations or _Durations(history)
        self._believing = _worth_believing(history) if believing is None else believing
        self.reading = self._best_reading() if self._believing else None
        self._mass = self._masses()

    def _best_reading(self) -> _Belief | None:
        """Return the most certain reading, if it says more than the elapsed time alone."""
        readings = [_corrected(self._history, reading) for reading in _readings(self._samples)]
        best = min(readings, key=lambda belief: belief.spread, default=None)
        if best is None or best.spread > _NEEDED * self._clock.spread:
            return None
        return best

    @cached_property
    def _clock(self) -> _Belief:
        return _clock(self._history, self._samples[-1].seconds)

    def _masses(self) -> list[float]:
        """Return the probability of an end between each place of the grid and the one before."""
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
        # Empty if the task is later than any known one. Then it is expected to take as long again.
        return [mass / whole for mass in masses] if whole > 0 else []

    def _likelihood(self, nearer: float, farther: float) -> float:
        """Return the factor by which the progress makes an end in this cell more likely.

        It is the density of the corrected reading, divided by that of the clock: the elapsed time
        alone predicts that much already.
        """
        if self.reading is None:
            return 1.0
        place = math.log(self._elapsed + (nearer + farther) / 2)
        belief, clock = self.reading, self._clock
        right = _density((place - belief.place) / belief.spread, belief.spread)
        anyway = _density((place - clock.place) / clock.spread, clock.spread)
        return ((1 - _JUNK) * right + _JUNK * _JUNK_DENSITY) / max(_LEAST_DENSITY, anyway)

    def cells(self) -> Iterator[tuple[float, float, float]]:
        """Yield (from, to, probability) in seconds from now; without a distribution, all are 0."""
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
        """Return the seconds to the first poll of the schedule with the least expected cost.

        For each place, from the last to the first: if a poll there finds the task not ended, the
        next poll is at the place with the least sum of three costs. These are the poll itself, the
        lag of an end before it, and the least cost from there on. Each cost is weighted with the
        probability that it occurs.
        """
        if not self._mass:
            return math.ceil(self._elapsed)
        ended = list(accumulate(self._mass))
        centres = (mass * (near + far) / 2 for near, far, mass in self.cells())
        moment = [0.0, *accumulate(centres)]
        places = self._candidates(ended)
        least = self._cost_after_a_reliable_poll(ended, moment, bounds)
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
        """Return the grid's places at whole seconds, up to the first with `_CERTAIN`."""
        places = [0]
        for i in range(1, len(ended)):
            if _GRID[i].is_integer():
                places.append(i)
                if ended[i] >= _CERTAIN:
                    break
        return places

    def _cost_after_a_reliable_poll(
        self, ended: Sequence[float], moment: Sequence[float], bounds: Bounds
    ) -> Callable[[int], float]:
        """Return a function for the cost after a poll at a place, if its progress is reliable."""
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
            return running * (_POLLS_AFTER_A_RELIABLE_ONE * bounds.trade + lag)

        return cost

    def _reliable(self) -> tuple[float, float] | None:
        """Return the variance of a later reading, and after what share of the rest it is reliable.

        It is None if later progress is not expected to be reliable.
        """
        if not self._samples:
            known = any(name.startswith("share") for name in self._history.measures)
            if self._history.tasks and not known:
                return None
            return _usual_variance(self._history, "share"), 0.0
        progress = self._samples[-1].progress
        if progress < _LEAST_PROGRESS or progress >= _LEVELS[_NEAR_THE_END]:
            return None
        ways = (_usual_variance(self._history, way) for way in ("share", "speed"))
        return min(ways), 10 / (_WHOLE - progress)
