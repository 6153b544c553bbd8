"""The arithmetic of the benches."""

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import polling, quota, report, traces
from bench.traces import RecordedTask, Trace


def trace_of(*seconds: float) -> Trace:
    """Return a trace of tasks without progress."""
    return Trace("t", tuple(RecordedTask(s, ()) for s in seconds))


def test_a_fixed_loop_waits_first() -> None:
    """A task of 7 s is found by the third poll of a 3 s loop, 2 s late; one of 9 s in time."""
    assert polling.fixed(trace_of(7.0), 3) == (3, 2)
    assert polling.fixed(trace_of(7.0, 9.0), 3) == (3, 1)
    assert polling.fixed(trace_of(0.5), 10) == (1, 9.5)


def test_the_best_schedule_is_the_best() -> None:
    """No schedule of whole seconds costs less than the one that the programme finds."""
    seconds, trade = (2.5, 2.7, 6.2, 6.9, 8.0), 0.7

    def cost(schedule: tuple[int, ...]) -> float:
        total = 0.0
        for end in seconds:
            looks = next(n for n, at in enumerate(schedule, start=1) if at >= end)
            total += trade * looks + schedule[looks - 1] - end
        return total / len(seconds)

    schedules = (
        (*chosen, 8)
        for length in range(8)
        for chosen in itertools.combinations(range(1, 8), length)
    )
    best = polling.best_without_progress(trace_of(*seconds), trade)
    assert trade * best.polls + best.lag == pytest.approx(min(map(cost, schedules)))


def test_progress_holds_until_the_next_point() -> None:
    """Between two points of a trace the progress is that of the earlier one."""
    task = RecordedTask(10, ((2.0, 20.0), (5.0, 50.0)))
    assert [task.progress_at(at) for at in (1.9, 2.0, 4.9, 5.0, 9.0)] == [None, 20, 20, 50, 50]


def test_own_traces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of traces gives a JSON list with an object for each trace."""
    jobs = [{"seconds": 30.0, "progress": [[0, 0], [15, 50]]}, {"seconds": 31}]
    path = tmp_path / "traces.json"
    path.write_text(json.dumps([{"name": "mine", "jobs": jobs}]))
    assert polling.own_traces(path) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["name"] == "mine"
    assert row["fixed_3s"] == {"polls": 10.5, "lag_seconds": 1.0}
    assert row["polls"] >= 1
    assert row["lag_seconds"] >= 0
    assert set(row) == {"name", "polls", "lag_seconds", "fixed_3s", "fixed_10s"}


@pytest.mark.parametrize(
    "document",
    [
        "no JSON",
        [{"name": "a"}],
        [{"name": "a", "jobs": []}],
        [{"name": "a", "jobs": [{"seconds": 0}]}],
        [{"name": "a", "jobs": [{"seconds": 3, "progress": [1, 2]}]}],
        [7],
    ],
)
def test_traces_that_cannot_be_used(
    document: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file without traces is an error that names the file; no JSON is printed."""
    path = tmp_path / "traces.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    assert polling.own_traces(path) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "traces.json cannot be used" in said.err


def test_the_built_in_traces_are_the_same_each_time() -> None:
    """The built-in traces are the same at each call."""
    assert traces.built_in(jobs=3) == traces.built_in(jobs=3)
    assert len({trace.name for trace in traces.built_in(jobs=1)}) == 30


def test_one_section_of_the_page() -> None:
    """A section that is written alone replaces only itself."""
    page = "# Page\n\nHead.\n\n## One\n\nold\n\n## One more\n\nstays\n"
    section = "\n## One\n\nnew \\1 text\n"
    expected = "# Page\n\nHead.\n\n## One\n\nnew \\1 text\n\n## One more\n\nstays\n"
    assert report.with_section(page, section) == expected
    assert report.with_section(expected, section) == expected
    assert report.with_section(page, "## Two\n\nx") == f"{page}\n## Two\n\nx\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells another process's time")
def test_an_invocation_gets_its_share_of_a_core() -> None:
    """At a tenth of a core, 0.1 s of processor time takes a second."""
    code = """
import json, sys, time
print("a line of a log", flush=True)
began, cpu = time.perf_counter(), time.process_time()
while time.process_time() - cpu < 0.1:
    pass
print("phase " + json.dumps({"seconds": time.perf_counter() - began, "cpu": 0.1}), flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        took = quota._phase(process, 0.1)
        assert process.wait(60) == 0, "it is not left standing"
    # Never sooner, however busy the machine; the period's first share comes at once.
    assert took["seconds"] > 0.9


def test_a_share_of_a_core() -> None:
    """Lambda's own figure: a whole core at 1,769 MB; more is not modelled."""
    assert quota.share(1769) == quota.share(3008) == 1
    assert quota.share(256) == pytest.approx(0.1447, abs=1e-4)
