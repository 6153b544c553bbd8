"""Cold starts with Lambda's processor time: a whole core in init, a share of it in an invocation.

Each run is a new interpreter with the package that `sam build` made (see bench/imports.py). It
imports the handler without a limit, as in Lambda's init phase. An invocation may use memory / 1,769
MB of a core. In each period of 20 ms the process is stopped (SIGSTOP) when it has used its share,
and continues (SIGCONT) with the next period. This needs no privileges and no cgroup. Time beyond
the share is subtracted from the next period, as in Linux's own quota.

The clients are made in the first invocation ("before") or in init ("after"). The code is the same;
it reads AWS_LAMBDA_INITIALIZATION_TYPE, which Lambda sets. AWS and the vendor are a stub, which
answers after a delay. TLS handshakes are left out; both variants have the same number.
"""

import argparse
import json
import os
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bench import figures, imports
from bench.stub import Stub, stub
from local.paths import ROOT
from local.stack.stack import signals_raise

RUNS: Final = 9
SIZES: Final = (256, 512, 1024)
WHOLE_CORE_MEGABYTES: Final = 1769
PERIOD_SECONDS: Final = 0.02
AWS_SECONDS: Final = 0.005
VENDOR_SECONDS: Final = 0.15
"""Assumed response times; an invocation is billed while it waits for an answer."""
_LOOK_SECONDS: Final = 0.0004
_WARM: Final = 2
PHASES: Final = ("init", "first", "warm")
Run = dict[str, float]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print a table, and keep the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.quota", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    runs = parser.parse_args(argv).runs
    cases = [
        (function, size, early)
        for function in imports.OUR_FUNCTIONS
        for size in SIZES
        for early in (False, True)
    ]
    measured: dict[tuple[str, int, bool], list[Run]] = {case: [] for case in cases}
    with signals_raise(), tempfile.TemporaryDirectory() as temporary, stub() as server:
        server.aws_seconds, server.vendor_seconds = AWS_SECONDS, VENDOR_SECONDS
        folder = Path(temporary)
        packages = imports.our_packages(folder)
        for number in range(runs + 1):
            for case in cases:
                run = _run(server, folder, packages[case[0]], case)
                if number:  # the first run loads the files into the page cache
                    measured[case].append(run)
    rows = [_row(case, measured[case]) for case in cases]
    figures.write("quota", {"runs": runs, "rows": rows, **_assumed()})
    _show(rows)


def share(memory: int) -> float:
    """Return the share of a core that an invocation gets."""
    return min(1.0, memory / WHOLE_CORE_MEGABYTES)


def _assumed() -> dict[str, float]:
    prices = json.loads((ROOT / "bench" / "prices.json").read_text("utf-8"))["prices"]
    return {
        "aws_milliseconds": AWS_SECONDS * 1000,
        "vendor_milliseconds": VENDOR_SECONDS * 1000,
        "dollars_a_gigabyte_second": prices["lambda_gb_second"]["dollars"],
    }


def _run(
    server: Stub,
    folder: Path,
    package: tuple[str, Path, list[Path]],
    case: tuple[str, int, bool],
) -> Run:
    """Start once and invoke; return seconds and processor seconds of each phase."""
    _, memory, early = case
    module, event, on_path = package
    payload = folder / "event.json"
    payload.write_text(event.read_text("utf-8").replace("https://open.vmake.ai", server.url))
    environment = imports.environment(server.url)
    if early:
        environment["AWS_LAMBDA_INITIALIZATION_TYPE"] = "on-demand"
    script = str(ROOT / "bench" / "quota_start.py")
    process = subprocess.Popen(
        [
            *(sys.executable, "-I", "-S", "-B", script, module, str(payload), str(1 + _WARM)),
            *map(str, on_path),
        ],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    try:
        phases = [_phase(process, 1.0)]
        for _ in range(1 + _WARM):
            # Each invocation is about a photo, or a task, of its own.
            server.items = {f"JOB#{imports.JOB_ID}": imports.running_job()}
            process.stdin.write(b"go\n")
            process.stdin.flush()
            phases.append(_phase(process, share(memory)))
    except BaseException:
        process.kill()
        raise
    finally:
        process.stdin.close()
        process.wait()
    init, first, *warm = phases
    warmest = {name: statistics.mean(one[name] for one in warm) for name in warm[0]}
    return {
        f"{phase}_{name}": value
        for phase, took in zip(PHASES, (init, first, warmest), strict=True)
        for name, value in took.items()
    }


def _phase(process: subprocess.Popen[bytes], of_a_core: float) -> Run:
    """Return what the process says of a phase, holding it to its share of a core until then."""
    assert process.stdout is not None
    clock = ((~process.pid) << 3) | 2  # Linux: the processor time of all of a process's threads
    whole = of_a_core >= 1
    line, allowed = b"", of_a_core * PERIOD_SECONDS
    begun, used = time.monotonic(), 0.0 if whole else time.clock_gettime(clock)
    stopped = False
    left = allowed
    while not line.endswith(b"\n") or not line.startswith(b"phase "):
        if line.endswith(b"\n"):
            line = b""  # a line of the function's log
        if select.select([process.stdout], [], [], None if whole else _LOOK_SECONDS)[0]:
            piece = os.read(process.stdout.fileno(), 1)
            if not piece:
                raise RuntimeError("the function's process ended; see above")
            line += piece
            continue
        now, spent = time.monotonic(), time.clock_gettime(clock)
        left, used = left - (spent - used), spent
        while now >= begun + PERIOD_SECONDS:
            begun += PERIOD_SECONDS
            left = min(allowed, left + allowed)
        if stopped != (left <= 0):
            stopped = left <= 0
            process.send_signal(signal.SIGSTOP if stopped else signal.SIGCONT)
    # It may have been stopped just after it wrote the line.
    process.send_signal(signal.SIGCONT)
    took: Run = json.loads(line.removeprefix(b"phase "))
    return took


def _row(case: tuple[str, int, bool], runs: Sequence[Run]) -> dict[str, Any]:
    function, memory, early = case
    median = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    price = _assumed()["dollars_a_gigabyte_second"] * memory / 1024 * 1_000_000
    cold = median["init_seconds"] + median["first_seconds"]
    return {
        "function": function,
        "memory_megabytes": memory,
        "clients_in_init": early,
        **{
            f"{phase}_{key}": round(median[f"{phase}_{name}"] * 1000, 1)
            for phase in PHASES
            for name, key in (("seconds", "milliseconds"), ("cpu", "processor_milliseconds"))
        },
        "cold_milliseconds": round(cold * 1000, 1),
        # Lambda bills init and invocation alike.
        "dollars_a_million_cold": round(cold * price, 2),
        "dollars_a_million_warm": round(median["warm_seconds"] * price, 2),
    }


def _show(rows: Sequence[dict[str, Any]]) -> None:
    table = Table(box=SIMPLE_HEAD, padding=(0, 0, 0, 1), title="Milliseconds, medians")
    for column in ("function", "MB", "clients in", "init", "first", "cold", "warm", "$/M warm"):
        table.add_column(column, justify="left" if column == "function" else "right")
    for row in rows:
        table.add_row(
            row["function"],
            str(row["memory_megabytes"]),
            "init" if row["clients_in_init"] else "first",
            *(f"{row[f'{name}_milliseconds']:.0f}" for name in ("init", "first", "cold", "warm")),
            f"{row['dollars_a_million_warm']:.2f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
