"""Polls and lag of the poll planner, compared with fixed loops, replayed over recorded tasks.

    make bench-polling                     the built-in traces: a table and a plot
    make bench-polling TRACES=file.json    your own: a JSON list, an object a trace

The tasks of a trace are replayed in order through `shared/polling/planner.py`, with the bounds of
the template's defaults. The planner learns from each task as in PollFunction. The poll that finds
the end is counted; the lag is the time from the task's end to that poll.
"""

import argparse
import json
import math
import sys
from bisect import bisect_right
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.table import Table

from bench import traces
from bench.figures import write
from bench.traces import RecordedTask, Trace
from shared.config import PollingConfig
from shared.polling.planner import (
    KEEP_TASKS,
    Bounds,
    ProgressSample,
    TaskHistory,
    lesson,
    next_wait,
)

TRADES: Final = (0.25, 0.5, 0.75, 1.0, 1.5, 2.5)
"""The values of PollTradeSeconds from which the default was chosen."""
_DEFAULTS: Final = PollingConfig(jobs_table="", event_bus="", vmake_base_url="", api_key_secret="")


class Cost(NamedTuple):
    """Means a job."""

    polls: float
    lag: float
    """Seconds."""

    @property
    def product(self) -> float:
        """The score of a loop: polls times lag."""
        return self.polls * self.lag

    def as_json(self) -> dict[str, float]:
        """Return it for a file."""
        return {"polls": round(self.polls, 4), "lag_seconds": round(self.lag, 4)}


def replay(trace: Trace, trade: float | None = None) -> Cost:
    """Replay a trace with the planner, which learns from each task."""
    bounds = Bounds(
        _DEFAULTS.poll_min_seconds,
        _DEFAULTS.poll_max_seconds,
        trade or _DEFAULTS.poll_trade_seconds,
    )
    history, polls, lag = TaskHistory(), 0, 0.0
    for task in trace.jobs:
        looks, after, by = _wait_for(task, history, bounds)
        polls += len(looks) + 1
        lag += by - task.seconds
        seen = [ProgressSample(at, said) for at, said in looks if said is not None]
        history = history.plus(lesson(history, seen, after=after, by=by))
        if history.tasks >= KEEP_TASKS:
            history = history.halved()
    return Cost(polls / len(trace.jobs), lag / len(trace.jobs))


def _wait_for(
    task: RecordedTask, history: TaskHistory, bounds: Bounds
) -> tuple[list[tuple[float, float | None]], float, float]:
    """Return the polls before a task's end, the time of the last one, and that of the next."""
    looks: list[tuple[float, float | None]] = []
    now = 0.0
    while True:
        seen = [ProgressSample(at, said) for at, said in looks if said is not None]
        after, now = now, now + next_wait(history, now, seen, bounds)
        if now >= task.seconds:
            return looks, after, now
        looks.append((now, task.progress_at(now)))


def fixed(trace: Trace, seconds: float) -> Cost:
    """Replay a trace with a loop that waits this long before each poll."""
    polls = [max(1, math.ceil(task.seconds / seconds)) for task in trace.jobs]
    lags = [n * seconds - task.seconds for n, task in zip(polls, trace.jobs, strict=True)]
    return Cost(sum(polls) / len(polls), sum(lags) / len(lags))


def best_without_progress(trace: Trace, trade: float) -> Cost:
    """Return the cost of the best schedule if the distribution of the durations is known.

    The order of the durations is not known, and there is no progress. Computed from the end: for
    each time, the next poll is where the expected cost of later polls and lag, weighed by `trade`,
    is least.
    """
    durations = sorted(task.seconds for task in trace.jobs)
    places = [0]
    while places[-1] < durations[-1]:
        places.append(places[-1] + max(1, places[-1] // 50))
    below = [bisect_right(durations, place) for place in places]
    sums = [0.0, *accumulate(durations)]

    def lag(here: int, there: int) -> float:
        ends = below[there] - below[here]
        return places[there] * ends - (sums[below[there]] - sums[below[here]])

    cost = [0.0] * len(places)
    then = [0] * len(places)
    for here in range(len(places) - 2, -1, -1):
        running = len(durations) - below[here]
        cost[here], then[here] = min(
            (trade * running + lag(here, there) + cost[there], there)
            for there in range(here + 1, len(places))
        )
    here, polls, lags = 0, 0, 0.0
    while below[here] < len(durations):
        polls += len(durations) - below[here]
        lags += lag(here, then[here])
        here = then[here]
    return Cost(polls / len(durations), lags / len(durations))


def compared(trace: Trace) -> dict[str, Any]:
    """Return the table row of a trace."""
    return {
        "name": trace.name,
        **replay(trace).as_json(),
        "fixed_3s": fixed(trace, 3).as_json(),
        "fixed_10s": fixed(trace, 10).as_json(),
    }


def _row(trace: Trace) -> dict[str, Any]:
    limit = best_without_progress(trace, _DEFAULTS.poll_trade_seconds)
    row = compared(trace) | {"limit_without_progress": limit.as_json()}
    return row | {"ratio": round(replay_ratio(row), 4)}


def replay_ratio(row: dict[str, Any]) -> float:
    """Return polls x lag as a share of the fixed 3 s loop's."""
    product: float = row["polls"] * row["lag_seconds"]
    loop: float = row["fixed_3s"]["polls"] * row["fixed_3s"]["lag_seconds"]
    return product / loop


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean of values above 0."""
    return math.exp(sum(math.log(value) for value in values) / len(values))


def _sweep(trade: float, sample: Sequence[Trace]) -> dict[str, float]:
    costs = [replay(trace, trade) for trace in sample]
    loops = [fixed(trace, 3) for trace in sample]
    linear = [c for c, trace in zip(costs, sample, strict=True) if trace.name.endswith("linear")]
    return {
        "trade_seconds": trade,
        "polls": sum(cost.polls for cost in costs) / len(costs),
        "lag_seconds": sum(cost.lag for cost in costs) / len(costs),
        "ratio": geometric_mean(
            [cost.product / loop.product for cost, loop in zip(costs, loops, strict=True)]
        ),
        "linear_polls": max(cost.polls for cost in linear),
        "linear_lag_seconds": max(cost.lag for cost in linear),
    }


def own_traces(path: Path) -> int:
    """Print the JSON list for a file of traces."""
    try:
        found = traces.read(path)
    except (OSError, ValueError) as error:
        print(f"{path} cannot be used: {error}", file=sys.stderr)
        return 2
    with ProcessPoolExecutor() as pool:
        print(json.dumps(list(pool.map(compared, found)), indent=2))
    return 0


def built_in() -> int:
    """Measure the built-in traces; print the table, keep figures and plot."""
    sample = traces.built_in()
    with ProcessPoolExecutor() as pool:
        rows = list(pool.map(_row, sample))
        sweep = list(pool.map(partial(_sweep, sample=sample), TRADES))
    ratios = [row["ratio"] for row in rows]
    summary = {
        "ratio_geometric_mean": round(geometric_mean(ratios), 4),
        "ratio_worst": max(ratios),
        "trade_seconds": _DEFAULTS.poll_trade_seconds,
    }
    _print(rows, summary, sweep)
    kept = write("polling", {"traces": rows, "summary": summary, "trades": sweep})
    _draw(rows)
    print(f"\n{kept} and polling.png beside it")
    return 0


def _print(
    rows: list[dict[str, Any]], summary: dict[str, float], sweep: list[dict[str, float]]
) -> None:
    console = Console(width=max(100, Console().width))
    table = Table(title="Polls a job, seconds of lag, and polls x lag beside 3 s loops")
    table.add_column("trace", no_wrap=True)
    for column in ("Catwalk", "fixed 3 s", "fixed 10 s", "best, blind", "ratio"):
        table.add_column(column, justify="right")
    for row in rows:
        loops = (row, row["fixed_3s"], row["fixed_10s"], row["limit_without_progress"])
        cells = [f"{cost['polls']:.1f} / {cost['lag_seconds']:.1f}" for cost in loops]
        table.add_row(row["name"], *cells, f"{row['ratio']:.2f}")
    console.print(table)
    console.print(
        f"polls x lag, of the fixed 3 s loop: geometric mean"
        f" {summary['ratio_geometric_mean']:.3f}, worst {summary['ratio_worst']:.2f}\n"
    )
    choice = Table("PollTradeSeconds", title="What the trade chooses (means over all traces)")
    for column in ("polls", "lag s", "ratio", "linear: polls", "linear: lag s"):
        choice.add_column(column, justify="right")
    for line in sweep:
        names = ("polls", "lag_seconds", "ratio", "linear_polls", "linear_lag_seconds")
        choice.add_row(f"{line['trade_seconds']:g}", *(f"{line[name]:.2f}" for name in names))
    console.print(choice)


def _draw(rows: list[dict[str, Any]]) -> None:
    from bench import plots  # noqa: PLC0415  matplotlib, for this one plot

    groups = (
        ("fixed 3 s loop", "fixed_3s", plots.OTHERS[0], "s"),
        ("fixed 10 s loop", "fixed_10s", plots.OTHERS[2], "D"),
        (
            "best schedule that knows the durations, without progress",
            "limit_without_progress",
            plots.LIMIT,
            "_",
        ),
        ("Catwalk", None, plots.OURS, "o"),
    )
    with plots.plot("polling") as axes:
        for label, key, colour, marker in groups:
            costs = [row[key] if key else row for row in rows]
            axes.scatter(
                [cost["polls"] for cost in costs],
                [cost["lag_seconds"] for cost in costs],
                label=label,
                color=colour,
                marker=marker,
                s=60 if marker == "_" else 26,
                zorder=3,
            )
        most = max(row["fixed_3s"]["polls"] for row in rows) * 1.1
        for product in (2, 5, 10, 20, 40):
            xs = [1 + (most - 1) * step / 200 for step in range(201)]
            axes.plot(xs, [product / x for x in xs], color="#dddddd", linewidth=0.8, zorder=1)
        axes.set(xscale="log", yscale="log", xlim=(1, most), ylim=(0.4, 14))
        axes.set_xticks([1, 2, 3, 5, 10, 20], ["1", "2", "3", "5", "10", "20"])
        axes.set_yticks([0.5, 1, 2, 5, 10], ["0.5", "1", "2", "5", "10"])
        axes.set(
            xlabel="polls a job",
            ylabel="lag, seconds",
            title="30 traces: polls against lag (grey: equal polls x lag)",
        )
        axes.legend(loc="lower left", fontsize=8)


def main() -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--traces", type=Path, help="a file of recorded tasks; prints JSON")
    arguments = parser.parse_args()
    return own_traces(arguments.traces) if arguments.traces else built_in()


if __name__ == "__main__":
    sys.exit(main())
