"""Traces of tasks: the duration of each task and the progress that the vendor reported.

Five distributions of durations times six shapes of progress. Nothing here was fitted to the
planner, and the planner's constants were not fitted to these: see docs/decisions.md.
"""

import json
import math
import random
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

JOBS: Final = 120
_STEPS: Final = 400


@dataclass(frozen=True)
class RecordedTask:
    """One task of a trace."""

    seconds: float
    progress: tuple[tuple[float, float], ...]
    """(seconds, per cent); a value holds until the next point."""

    def progress_at(self, seconds: float) -> float | None:
        """Return the reported progress at a time; None if there is none yet."""
        place = bisect_right(self.progress, (seconds, math.inf))
        return self.progress[place - 1][1] if place else None


@dataclass(frozen=True)
class Trace:
    """Tasks in the order in which they were submitted."""

    name: str
    jobs: tuple[RecordedTask, ...]


def read(path: Path) -> list[Trace]:
    """Read traces from a file: one, or a list of them.

    Each is `{"name": str, "jobs": [{"seconds": float, "progress": [[t_seconds, percent], …]}]}`.

    Raises:
        ValueError: the file holds something else.

    """
    document = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(document, Mapping):
        document = document.get("traces", [document])
    return [_trace(entry, number) for number, entry in enumerate(document, start=1)]


def _trace(entry: Any, number: int) -> Trace:  # noqa: ANN401  whatever JSON holds
    try:
        jobs = tuple(
            RecordedTask(
                float(job["seconds"]),
                tuple(sorted((float(at), float(said)) for at, said in job.get("progress") or ())),
            )
            for job in entry["jobs"]
        )
        name = str(entry.get("name", f"trace {number}"))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"trace {number} is not as expected ({error!r}): a trace is"
            ' {"name": …, "jobs": [{"seconds": 31.5, "progress": [[0, 0], [2.5, 10]]}]}'
        ) from error
    if not jobs or not all(0 < job.seconds < math.inf for job in jobs):
        raise ValueError(f"trace {name!r} has no jobs, or one whose seconds are not above 0")
    return Trace(name, jobs)


def built_in(jobs: int = JOBS) -> list[Trace]:
    """Return the built-in traces, the same ones each time."""
    return [_made(durations, shape, jobs) for durations in _DURATIONS for shape in _SHAPES]


def _made(durations: str, shape: str, jobs: int) -> Trace:
    name = f"{durations}, {shape}"
    chance = random.Random(name)  # noqa: S311  reproducible, not secret
    return Trace(
        name,
        tuple(
            RecordedTask(seconds, tuple(_points(_SHAPES[shape](chance), seconds)))
            for seconds in _DURATIONS[durations](chance, jobs)
        ),
    )


def _points(curve: "Curve | None", seconds: float) -> Iterator[tuple[float, float]]:
    """Yield the points of a curve, in whole per cents as the vendor documents them."""
    last = None
    for step in range(_STEPS if curve else 0):
        part = step / _STEPS
        said = float(int(max(0.0, min(99.0, 100 * curve(part))))) if curve else 0.0
        if said != last:
            last = said
            yield seconds * part, said


Curve = Callable[[float], float]
"""Functions from the elapsed share of the time to the reported share of the work."""


def _log_normal(chance: random.Random, jobs: int) -> Iterator[float]:
    for _ in range(jobs):
        yield min(1800.0, 30 * math.exp(chance.gauss(0, 0.4)))


def _uniform(chance: random.Random, jobs: int) -> Iterator[float]:
    for _ in range(jobs):
        yield chance.uniform(15, 60)


def _bimodal(chance: random.Random, jobs: int) -> Iterator[float]:
    for _ in range(jobs):
        yield chance.gauss(20, 1.5) if chance.random() < 0.6 else chance.gauss(60, 4)


def _heavy_tailed(chance: random.Random, jobs: int) -> Iterator[float]:
    for _ in range(jobs):
        yield min(1800.0, 12 * chance.paretovariate(1.6))


def _drifting(chance: random.Random, jobs: int) -> Iterator[float]:
    for job in range(jobs):
        yield (30 + 60 * job / jobs) * math.exp(chance.gauss(0, 0.1))


def _nothing(_: random.Random) -> Curve | None:
    return None


def _linear(_: random.Random) -> Curve:
    return lambda part: part


def _queued(chance: random.Random) -> Curve:
    """Stay at 0 in a queue, then rise fast."""
    queued = chance.uniform(0.3, 0.8)
    return lambda part: (part - queued) / (1 - queued)


def _stuck(chance: random.Random) -> Curve:
    """Reach 95 per cent early, and stay there."""
    there = chance.uniform(0.4, 0.7)
    return lambda part: min(0.95, 0.95 * part / there)


def _steps(_: random.Random) -> Curve:
    return lambda part: int(part * 4) / 4


def _s_curve(_: random.Random) -> Curve:
    return lambda part: part * part * (3 - 2 * part)


_DURATIONS: Final[Mapping[str, Callable[[random.Random, int], Iterator[float]]]] = {
    "log-normal": _log_normal,
    "uniform": _uniform,
    "bimodal": _bimodal,
    "heavy-tailed": _heavy_tailed,
    "drifting": _drifting,
}
_SHAPES: Final[Mapping[str, Callable[[random.Random], Curve | None]]] = {
    "linear": _linear,
    "none": _nothing,
    "queued, then fast": _queued,
    "stuck at 95": _stuck,
    "steps of 25": _steps,
    "S-curve": _s_curve,
}
