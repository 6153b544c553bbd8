"""A burst: many photos are dropped at once, and the vendor limits the submits a second.

`python -m bench.burst`, or `make bench-burst N=1000`, starts its own stack on this machine, sets
the limit of the simulated vendor, drops the photos in parallel and waits until each job has ended.
The vendor's limit is the floor: N photos at R submits a second take at least N/R seconds. Catwalk
does not know R and has to find it.
"""

import argparse
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from boto3.dynamodb.types import TypeDeserializer
from rich.console import Console
from rich.table import Table

from bench.figures import write
from bench.plots import LIMIT, OTHERS, OURS, plot
from local.paths import ROOT
from local.simulator import SimulatorControl
from local.stack import environment
from local.stack.stack import Plan, Quiet, Stack, folder_of, running
from local.stack.state import STACK
from shared.clock import parse_iso, utc_now

SERIES: Final = (100, 300, 1000, 3000)
PHOTOS: Final = 1000
RATE: Final = 5.0
"""The vendor's limit, in creates a second. A stack on two processors can keep up with it, so that
the vendor is the limit and not the emulated AWS."""
LONE: Final = 10
"""Photos that are dropped one by one before the burst, to measure the overhead of an idle stack."""
LONE_SECONDS: Final = 1.5
"""The pause between two of them."""
TASK_SECONDS: Final = 2.0
"""The duration of a task at the vendor."""
WARM: Final = 30
"""A smaller burst before the measured one starts the functions' workers. On a laptop, starting one
takes most of a second of the shared processors."""
WORKERS: Final = {"PollFunction": 6, "FinalizeFunction": 6}
"""Reserved concurrency, for the same reason: the emulated AWS starts a worker for each call that
finds the others busy, which slows all of them down. Further calls are throttled, as on AWS."""
DROPPERS: Final = 8
"""Threads that drop photos."""
STILL_SECONDS: Final = 120.0
"""If no job has ended for this long, the stack is stuck."""
_LOOK_SECONDS: Final = 2.0
_PARTS: Final = {
    "aws": "the emulated AWS",
    "functions": "Catwalk's functions",
    "vendor": "the simulated vendor",
}
_PHOTO: Final = ROOT / "local" / "samples" / "tshirt.jpg"

PLAN: Final = Plan(
    task_seconds=TASK_SECONDS,
    wait_scale=1.0,
    # All other parameters have the template's defaults, as on AWS.
    parameters={"DefaultBatchSize": "1"},
)


@dataclass(frozen=True)
class Spread:
    """A figure of many photos, in seconds."""

    median: float
    p95: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Sum up at least one value."""
        ordered = sorted(values)
        return cls(
            median=round(statistics.median(ordered), 3),
            p95=round(ordered[int(0.95 * (len(ordered) - 1))], 3),
            most=round(ordered[-1], 3),
        )


@dataclass(frozen=True)
class Burst:
    """The figures of one burst."""

    photos: int
    submits_per_second: float
    """The vendor's limit, in submits a second."""
    seconds: float
    """From the first PUT to the last record."""
    floor_seconds: float
    """Photos by submits a second."""
    ratio: float
    """Seconds by floor."""
    drop_seconds: float
    """How long the PUTs took."""
    lone_put_to_submit_seconds: Spread
    """PUT to accepted POST of photos that came alone, before the burst."""
    put_to_first_submit_seconds: float
    idle_slots_ratio: float
    """The unused share of what the vendor would have accepted, from the first to the last
    submit."""
    vendor_end_to_record_seconds: Spread
    creates: int
    refused: int
    """Creates that the vendor answered with 429."""
    refused_ratio: float
    duplicates: int
    """Photos that were charged more than once."""
    not_succeeded: int
    polls_a_photo: float
    cpu_seconds_a_photo: dict[str, float]
    """By process: `aws` is MiniStack itself, `functions` its Lambda workers, `vendor` the
    simulator. Only measured on Linux."""


def measure(photos: int, rate: float, *, retry_after: bool) -> Burst:
    """Start a stack and drop a burst on it.

    Raises:
        RuntimeError: some jobs did not end.

    """
    with running(folder_of("burst"), PLAN, Quiet()) as stack, stack.vendor() as vendor:
        vendor.settings(plain_results=True, jitter=0, retry_after=retry_after)
        _limit_workers(stack)
        _drop(stack, "warm", WARM)
        _wait(stack, vendor, WARM)
        lone = _drop_lone(stack, vendor)
        vendor.reset()
        vendor.settings(
            plain_results=True, jitter=0, submits_per_second=rate, retry_after=retry_after
        )
        before = _cpu(stack)
        begun = utc_now()
        _drop(stack, "burst", photos)
        dropped = utc_now()
        _wait(stack, vendor, photos)
        after = _cpu(stack)
        return _judge(
            photos,
            rate,
            begun=begun,
            dropped=dropped,
            lone=lone,
            state=vendor.state(),
            records=_records(stack, "burst/"),
            cpu={name: (after[name] - before[name]) / photos for name in before},
        )


def _limit_workers(stack: Stack) -> None:
    resources = stack.clients.cloudformation.describe_stack_resources(StackName=STACK)
    names = {
        entry["LogicalResourceId"]: entry.get("PhysicalResourceId", "")
        for entry in resources["StackResources"]
    }
    for function, workers in WORKERS.items():
        stack.clients.functions.put_function_concurrency(
            FunctionName=names[function], ReservedConcurrentExecutions=workers
        )


def _drop(stack: Stack, folder: str, photos: int) -> dict[str, datetime]:
    """Drop photos, each with different bytes; return when each PUT began."""
    picture, bucket = _PHOTO.read_bytes(), stack.output("PhotosBucketName")
    s3 = stack.clients.s3
    begun: dict[str, datetime] = {}

    def put(number: int) -> None:
        key = f"{folder}/{number:05}.jpg"
        begun[key] = utc_now()
        s3.put_object(Bucket=bucket, Key=key, Body=picture + f"{folder} {number}".encode())

    with ThreadPoolExecutor(DROPPERS) as pool:
        list(pool.map(put, range(photos)))
    return begun


def _drop_lone(stack: Stack, vendor: SimulatorControl) -> Spread:
    """Drop photos one by one on an idle stack; return PUT to accepted POST."""
    begun: dict[str, datetime] = {}
    for number in range(LONE):
        begun |= _drop(stack, f"lone-{number}", 1)
        time.sleep(LONE_SECONDS)
    _wait(stack, vendor, WARM + LONE)
    submitted = _submitted(vendor.state())
    return Spread.of(
        (submitted[record["task_id"]] - begun[record["source_key"]]).total_seconds()
        for record in _records(stack, "lone-")
    )


def _wait(stack: Stack, vendor: SimulatorControl, photos: int) -> None:
    """Wait until this many jobs of a burst have ended, with few reads: they cost processor time."""
    moved, seen = time.monotonic(), (-1, -1)
    while True:
        time.sleep(_LOOK_SECONDS)
        charged = vendor.charges().total
        ended = _count(stack, "SUCCEEDED") if charged >= photos else 0
        if charged >= photos and _count(stack, "RUNNING") == 0:
            return
        if (charged, ended) != seen:
            moved, seen = time.monotonic(), (charged, ended)
        if time.monotonic() > moved + STILL_SECONDS:
            raise RuntimeError(
                f"Nothing has moved for {STILL_SECONDS:.0f} s: {charged} of {photos} photos are"
                f" charged, {ended} have succeeded. The logs are in {stack.folder.logs}."
            )


def _count(stack: Stack, status: str) -> int:
    answer = stack.clients.dynamodb.query(
        TableName=stack.output("JobsTableName"),
        IndexName="by-status",
        KeyConditionExpression="#status = :status",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":status": {"S": status}},
        Select="COUNT",
    )
    return answer["Count"]


def _records(stack: Stack, prefix: str) -> list[dict[str, Any]]:
    pages = stack.clients.dynamodb.get_paginator("scan").paginate(
        TableName=stack.output("JobsTableName")
    )
    plain = TypeDeserializer().deserialize
    records = [
        {name: plain(value) for name, value in item.items()}
        for page in pages
        for item in page["Items"]
        if item["pk"]["S"].startswith("JOB#")
    ]
    return [record for record in records if record["source_key"].startswith(prefix)]


def _submitted(state: Mapping[str, Any]) -> dict[str, datetime]:
    """Return when the vendor accepted each task."""
    return {task["task_id"]: parse_iso(task["accepted_at"]) for task in state["tasks"]}


def _judge(
    photos: int,
    rate: float,
    *,
    begun: datetime,
    dropped: datetime,
    lone: Spread,
    state: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    cpu: Mapping[str, float],
) -> Burst:
    submitted = _submitted(state)
    first, last = min(submitted.values()), max(submitted.values())
    # The simulator accepts the creates of one second at once, and then its limit.
    allowed = 1 + rate * (last - first).total_seconds()
    ended = [record for record in records if record["status"] == "SUCCEEDED"]
    seconds = (max(parse_iso(record["finished_at"]) for record in ended) - begun).total_seconds()
    answers = Counter(call["status"] for call in state["calls"] if call["kind"] == "create")
    creates = state["call_counts"]["create"]
    return Burst(
        photos=photos,
        submits_per_second=rate,
        seconds=round(seconds, 2),
        floor_seconds=round(photos / rate, 2),
        ratio=round(seconds * rate / photos, 3),
        drop_seconds=round((dropped - begun).total_seconds(), 2),
        lone_put_to_submit_seconds=lone,
        put_to_first_submit_seconds=round((first - begun).total_seconds(), 3),
        idle_slots_ratio=round(max(0.0, 1 - len(submitted) / allowed), 3),
        vendor_end_to_record_seconds=Spread.of(
            (parse_iso(record["finished_at"]) - submitted[record["task_id"]]).total_seconds()
            - TASK_SECONDS
            for record in ended
        ),
        creates=creates,
        refused=answers[429],
        refused_ratio=round(answers[429] / creates, 3),
        duplicates=sum(count > 1 for count in state["charges"]["by_sha256"].values()),
        not_succeeded=photos - len(ended),
        polls_a_photo=round(state["call_counts"]["read"] / photos, 2),
        cpu_seconds_a_photo={name: round(value, 4) for name, value in cpu.items()},
    )


def _cpu(stack: Stack) -> dict[str, float]:
    """Return the CPU seconds that the stack's processes have used so far, by kind of process."""
    if not Path("/proc/self/stat").exists():
        return {}
    aws, vendor = (process.pid for process in stack.folder.read().processes)
    spent = {"aws": 0.0, "functions": 0.0, "vendor": 0.0}
    tick = os.sysconf("SC_CLK_TCK")
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            stat = entry.read_text(errors="replace")
        except OSError:
            continue  # it has just ended
        # The name before ")" may contain anything. After it: state, parent, group, session, 7 more,
        # and the times of the process and of its ended children, in ticks.
        fields = stat.rpartition(")")[2].split()
        session = int(fields[3])
        own, children = (sum(map(int, fields[at : at + 2])) / tick for at in (11, 13))
        if session == vendor:
            spent["vendor"] += own
        elif session == aws and entry.parent.name == str(aws):
            spent["aws"] += own
            spent["functions"] += children
        elif session == aws:
            spent["functions"] += own + children
    return spent


def _table(bursts: Sequence[Burst]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("photos dropped at once")
    for burst in bursts:
        table.add_column(f"{burst.photos:,}", justify="right")
    for lines in zip(*map(_lines, bursts), strict=True):
        table.add_row(lines[0][0], *(text for _, text in lines))
    return table


def _lines(burst: Burst) -> list[tuple[str, str]]:
    lone, after = burst.lone_put_to_submit_seconds, burst.vendor_end_to_record_seconds
    return [
        ("vendor takes, a second", f"{burst.submits_per_second:g}"),
        ("seconds to the last record", f"{burst.seconds:.1f}"),
        ("  the vendor's floor", f"{burst.floor_seconds:.1f}"),
        ("  ratio", f"{burst.ratio:.3f}"),
        ("unused share of the vendor's rate", f"{burst.idle_slots_ratio:.1%}"),
        ("creates", f"{burst.creates}"),
        ("  refused (429)", f"{burst.refused} ({burst.refused_ratio:.1%})"),
        ("photos charged twice", f"{burst.duplicates}"),
        ("photos that did not succeed", f"{burst.not_succeeded}"),
        ("alone: PUT to submit, median s", f"{lone.median:.3f}"),
        ("PUT to the first submit, s", f"{burst.put_to_first_submit_seconds:.2f}"),
        ("vendor's end to record, median s", f"{after.median:.2f}"),
        ("  p95", f"{after.p95:.2f}"),
        ("polls a photo", f"{burst.polls_a_photo:.2f}"),
        *(
            (f"CPU ms a photo, {_PARTS[name]}", f"{1000 * seconds:.0f}")
            for name, seconds in burst.cpu_seconds_a_photo.items()
        ),
    ]


def _draw(bursts: Sequence[Burst]) -> None:
    photos = [burst.photos for burst in bursts]
    after = [burst.vendor_end_to_record_seconds for burst in bursts]
    with plot("burst", size=(10.0, 3.4), columns=3) as (time_, wait, cpu):
        for axes in (time_, wait, cpu):
            axes.set_xscale("log")
            axes.set_xticks(photos, [f"{number:,}" for number in photos])
            axes.minorticks_off()
            axes.set_xlabel("photos dropped at once")
        time_.plot(photos, [burst.ratio for burst in bursts], "o-", color=OURS, label="Catwalk")
        time_.axhline(1, color=LIMIT, lw=1, label="the vendor's floor")
        time_.axhline(1.15, color=LIMIT, lw=1, ls=":", label="target for 1,000: 1.15")
        time_.set_ylim(bottom=0.9)
        time_.set_title(
            f"time to the last record / floor ({bursts[0].submits_per_second:g} a second)"
        )
        wait.plot(photos, [spread.p95 for spread in after], "o--", color=OTHERS[1], label="p95")
        wait.plot(photos, [spread.median for spread in after], "o-", color=OURS, label="median")
        wait.set_title("vendor's end to record, seconds")
        parts = bursts[0].cpu_seconds_a_photo
        for name, color in zip(parts, (OTHERS[0], OURS, OTHERS[1]), strict=False):
            spent = [1000 * burst.cpu_seconds_a_photo[name] for burst in bursts]
            cpu.plot(photos, spent, "o-", color=color, label=_PARTS[name])
        cpu.set_title("CPU a photo, milliseconds")
        for axes in (wait, cpu):
            axes.set_ylim(0, 1.1 * axes.dataLim.ymax)
        for axes in (time_, wait, cpu):
            axes.legend()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one burst, or the series; return 1 if a photo was lost or charged twice."""
    parser = argparse.ArgumentParser(prog="python -m bench.burst", description=__doc__)
    parser.add_argument("--photos", type=int, nargs="+", default=[PHOTOS])
    parser.add_argument("--series", action="store_true", help=f"{SERIES} photos, one by one")
    parser.add_argument("--rate", type=float, default=RATE, help="submits a second")
    parser.add_argument("--silent", action="store_true", help="a 429 does not say Retry-After")
    given = parser.parse_args(argv)
    environment.forget_users_aws(os.environ)
    console = Console()
    bursts = []
    for photos in SERIES if given.series else given.photos:
        console.print(f"{photos} photos at {given.rate:g} a second ...", highlight=False)
        bursts.append(measure(photos, given.rate, retry_after=not given.silent))
        write("burst", {"bursts": [asdict(burst) for burst in bursts]})
        console.print(_table(bursts[-1:]))
    if len(bursts) > 1:
        console.print(_table(bursts))
        _draw(bursts)
    return int(any(burst.duplicates or burst.not_succeeded for burst in bursts))


if __name__ == "__main__":
    sys.exit(main())
