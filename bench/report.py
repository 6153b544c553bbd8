"""Writes docs/performance.md and docs/cost.md from the figures of the benches: `make bench`.

Nothing is measured here. docs/performance.md is made from `bench/out/*.json`; the plots are copied
to docs/images/. `python -m bench.report SECTION` (polling, quota, burst or gallery) rewrites one
section of it. Each section names the commit on which it was measured.

docs/cost.md is made from counts (docs/cost.json, measured by bench/cost.py), prices
(bench/prices.json) and a template. `python -m bench.report cost` rewrites it, for example after a
change of the prices.
"""

import argparse
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final

from bench.figures import OUT
from bench.polling import replay_ratio
from local.paths import ROOT
from shared.notify.metrics import Metric

PERFORMANCE_PAGE: Final = ROOT / "docs" / "performance.md"
IMAGES: Final = ROOT / "docs" / "images"
BENCHES: Final = ("polling", "imports", "quota", "finalize", "burst", "cost", "gallery")
PLOTS: Final = ("polling", "imports", "finalize", "burst")
_LIBRARIES: Final = ("botocore", "httpx", "pydantic", "aws-lambda-powertools")
_MEGA: Final = 1_000_000
_MEBI: Final = 2**20
COUNTS: Final = ROOT / "docs" / "cost.json"
COST_PAGE: Final = ROOT / "docs" / "cost.md"
PRICES: Final = ROOT / "bench" / "prices.json"
_TEMPLATE: Final = ROOT / "bench" / "cost.template"
PHOTOS: Final = 1_000
RUNS: Final[Mapping[str, str]] = {
    "catwalk": "Catwalk",
    "fixed_3s": "fixed 3 s loop",
    "fixed_10s": "fixed 10 s loop",
}
FIRST: Final = "catwalk_first"
"""The run of a stack that has seen no task before."""
COST_PARTS: Final = (
    "Step Functions",
    "Lambda",
    "S3",
    "DynamoDB",
    "SQS",
    "EventBridge",
    "Secrets Manager",
    "CloudWatch Logs",
)
_LARGE_GB: Final = 0.003
"""Size of a photo or result of 3 MB, for storage and transfer."""
_IDLE_SQS_REQUESTS: Final = 5 * 3 * 60 * 24 * 30
"""Requests per month: five Lambda pollers, each reading an empty queue every 20 s."""
ALARM_METRICS: Final = 14
"""Metrics that the template's alarms read without `DailyCreditLimit`; with it there is one more."""
GAUGES: Final = (Metric.RECONCILE_MOVES, Metric.SUBMITS_PARKED, Metric.SUBMISSION_PAUSED)
"""Metrics that reconcile emits every hour, even without photos."""
_CAUSES: Final = 6
"""An assumption: error codes and pause causes of a busy month. Each is a metric of its own."""
_TRACES: Final = 2
"""Traces per photo: its submission and its execution. All are sampled up to one per second."""
_ROWS: Final = (
    ("**state transitions**", "transitions", ".1f"),
    ("polls", "polls", ".2f"),
    ("seconds to the results", "seconds", ".1f"),
    ("S3 PUT", "s3_puts", ".1f"),
    ("S3 GET", "s3_gets", ".1f"),
    ("DynamoDB write units", "dynamodb_write_units", ".1f"),
    ("DynamoDB read units", "dynamodb_read_units", ".1f"),
    ("SQS requests", "sqs_requests", ".1f"),
    ("custom events", "custom_events", ".1f"),
    ("events of S3", "s3_events", ".1f"),
    ("reads of the secret", "secret_reads", ".2f"),
    ("bytes of logs", "log_bytes", ".0f"),
)

Figures = dict[str, Any]


def main() -> int:
    """Write the page, or one section of it."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    parser.add_argument("section", nargs="?", choices=sorted({*_ALONE, "cost"}))
    name = parser.parse_args().section
    if name == "cost":
        COST_PAGE.write_text(cost_page(*read_costs()), encoding="utf-8")
        print(f"{COST_PAGE.relative_to(ROOT)} is written.")
        return 0
    if name:
        figures = json.loads((OUT / f"{name}.json").read_text())
        if name in PLOTS and (OUT / f"{name}.png").is_file():
            shutil.copy2(OUT / f"{name}.png", IMAGES / f"bench-{name}.png")
        PERFORMANCE_PAGE.write_text(
            with_section(PERFORMANCE_PAGE.read_text("utf-8"), _ALONE[name](figures)), "utf-8"
        )
        print(f"{PERFORMANCE_PAGE.relative_to(ROOT)} has the new figures.")
        return 0
    missing = [name for name in BENCHES if not (OUT / f"{name}.json").is_file()]
    if missing:
        print(f"No figures of: {', '.join(missing)}. `make bench` measures all.", file=sys.stderr)
        return 1
    figures = {name: json.loads((OUT / f"{name}.json").read_text()) for name in BENCHES}
    for name in PLOTS:
        shutil.copy2(OUT / f"{name}.png", IMAGES / f"bench-{name}.png")
    PERFORMANCE_PAGE.write_text(performance_page(figures), encoding="utf-8")
    print(f"{PERFORMANCE_PAGE.relative_to(ROOT)} is written.")
    return 0


def performance_page(figures: dict[str, Figures]) -> str:
    """Return the page for the benches' figures."""
    sections = (
        _head(figures),
        _polling(figures["polling"]),
        _cost(figures["cost"]),
        _imports(figures["imports"]),
        _quota(figures["quota"]),
        _finalize(figures["finalize"]),
        _burst(figures["burst"]),
        _gallery(figures["gallery"]),
    )
    return "\n\n".join(section.strip() for section in sections) + "\n"


def with_section(text: str, section: str) -> str:
    """Return a page with a section in the place of the one of its title, or at the end."""
    section = section.strip()
    title = re.escape(section.partition("\n")[0])
    pattern = re.compile(rf"^{title}$.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    if pattern.search(text) is None:
        return f"{text.rstrip()}\n\n{section}\n"
    # A function, so that no backslash of the section is taken for a reference.
    return pattern.sub(lambda _: f"{section}\n\n", text).rstrip() + "\n"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; the first column is text, the others are numbers."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _measured(figures: Figures) -> str:
    commit = figures.get("commit")
    return f"Measured {figures['measured_at']} on commit {commit}." if commit else ""


def _head(figures: dict[str, Figures]) -> str:
    machine = figures["polling"]["machine"]
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    measured = sorted(figure["measured_at"] for figure in figures.values())
    return f"""
# Performance

Written by `make bench` (bench/report.py); do not edit it by hand. Measured from {measured[0]} to
{measured[-1]} on: {machine["processor"]}, {machine["cores"]} cores, {machine["memory"]},
{machine["system"]}, Python {machine["python"]}, {libraries}.

Times are this machine's, with a local AWS beside it. Ratios are taken within one run, in which the
contestants take turns, so they say more about other machines. `make` lists the benches; each also
runs alone.
"""


def _polling(figures: Figures) -> str:
    summary = figures["summary"]
    rows = [
        (
            row["name"],
            _polls_and_lag(row),
            _polls_and_lag(row["fixed_3s"]),
            _polls_and_lag(row["fixed_10s"]),
            _polls_and_lag(row["limit_without_progress"]),
            f"{replay_ratio(row):.2f}",
        )
        for row in figures["traces"]
    ]
    trades = [
        (
            f"{line['trade_seconds']:g}",
            f"{line['polls']:.1f}",
            f"{line['lag_seconds']:.1f}",
            f"{line['ratio']:.2f}",
            f"{line['linear_polls']:.1f}",
            f"{line['linear_lag_seconds']:.1f}",
        )
        for line in figures["trades"]
    ]
    return f"""
## Polls against lag

The planner replays thirty traces of 120 tasks, and learns as it goes. The traces combine five
distributions of durations with six shapes of progress. A cell is `polls / lag`: polls a task, and
seconds from a task's end to the poll that sees it. Two loops for comparison always wait 3 s (the
vendor's quick start) and 10 s. "Best, blind" is the best schedule that knows how the durations are
distributed but sees no progress, found by dynamic programming. The ratio is polls x lag, divided
by that of the 3 s loop: **{summary["ratio_geometric_mean"]:.2f} in the geometric mean, {
        summary["ratio_worst"]:.2f} on the worst trace.**

![Polls against lag](images/bench-polling.png)

{table(("trace", "Catwalk", "fixed 3 s", "fixed 10 s", "best, blind", "ratio"), rows)}

`PollTradeSeconds` chooses between polls and lag; the default is {summary["trade_seconds"]:g}. The
table has means over all traces, and the worst of the traces with linear progress:

{table(("PollTradeSeconds", "polls", "lag, s", "ratio", "linear: polls", "linear: lag, s"), trades)}

{_measured(figures)}
"""


def _polls_and_lag(cost: Figures) -> str:
    return f"{cost['polls']:.1f} / {cost['lag_seconds']:.1f}"


def _imports(figures: Figures) -> str:
    shipped = figures["ratios"]["first_client_ratio_to_shipped"]
    compiled = figures["ratios"]["first_client_ratio_to_compiled"]
    answers = figures["ratios"]["first_answer_ratio_to_shipped"]
    rows = [
        (
            name,
            f"{handler['first_client_milliseconds']:.0f}",
            f"{shipped[name]:.2f}" if name in shipped else "",
            f"{compiled[name]:.2f}" if name in compiled else "",
            f"{handler['first_answer_milliseconds']:.0f}",
            f"{answers[name]:.2f}" if name in answers else "",
            f"{handler['package_bytes'] / _MEGA:.1f}",
        )
        for name, handler in figures["handlers"].items()
    ]
    columns = (
        "handler",
        "first client, ms",
        "of SAM's",
        "of compiled",
        "first answer, ms",
        "of SAM's",
        "package, MB",
    )
    return f"""
## Cold starts

Each handler starts from the built artefact in a fresh interpreter, {figures["runs"]} runs by turns;
the table has medians. "First client" is the handler's import and its first AWS client, with all
that is made for it. "First answer" is the whole first invocation, against a stub. The naive handler
imports boto3, httpx, pydantic and Powertools at the top. It is measured as SAM's own builder ships
it, and precompiled by hand. Packages are measured unzipped, with bytecode.

![Cold starts](images/bench-imports.png)

{table(columns, rows)}

{_measured(figures)}
"""


def _quota(figures: Figures) -> str:
    before, after = (
        {
            (row["function"], row["memory_megabytes"]): row
            for row in figures["rows"]
            if row["clients_in_init"] is early
        }
        for early in (False, True)
    )
    rows = [
        (
            function,
            memory,
            *(
                f"{before[function, memory][name]:.0f} / {row[name]:.0f}"
                for name in ("init_milliseconds", "first_milliseconds", "cold_milliseconds")
            ),
            f"{row['warm_milliseconds']:.0f}",
            f"{row['first_processor_milliseconds']:.0f} / {row['warm_processor_milliseconds']:.0f}",
            f"{row['dollars_a_million_cold']:.2f}",
            f"{row['dollars_a_million_warm']:.2f}",
        )
        for (function, memory), row in after.items()
    ]
    columns = (
        "function",
        "MB",
        "init, ms",
        "first invocation, ms",
        "both, ms",
        "warm, ms",
        "processor ms, first / warm",
        "$ a million cold",
        "$ a million warm",
    )
    return f"""
## Cold starts as Lambda gives processor time

Lambda's init phase has a whole core; an invocation has memory / 1,769 MB of one. Here the handler
is imported without a limit. Each invocation is stopped and continued (SIGSTOP, SIGCONT) so that it
uses that share of each 20 ms. A pair compares clients that are made in the first invocation with
clients that are made in init, as Catwalk makes them. The table has medians of {
        figures["runs"]
    } runs by
turns, from the built artefact. AWS is assumed to answer after {
        figures["aws_milliseconds"]:.0f} ms and the vendor after {
        figures["vendor_milliseconds"]:.0f} ms, without TLS. Dollars are arm64's list price of the
duration; init is billed too.

{table(columns, rows)}

{_measured(figures)}
"""


def _finalize(figures: Figures) -> str:
    ratios = {
        (ratio["case"], ratio["bytes_each"]): ratio["throughput_ratio_to_plain"]
        for ratio in figures["ratios"]
    }
    copies: dict[tuple[str, int], dict[str, Figures]] = {}
    for copy in figures["copies"]:
        copies.setdefault((copy["case"], copy["bytes_each"]), {})[copy["copy"]] = copy
    slow = figures["slow_store_bytes_per_second"] / _MEGA
    cases = {
        "unlimited": "as fast as it can",
        "delay": f"{figures['delay_seconds'] * 1000:.0f} ms before each answer",
        "slow": f"{slow:.0f} MB/s in all",
    }
    rows = [
        (
            f"{cases[case]}, 4 x {size / _MEGA:g} MB",
            f"{by['ours']['megabytes_per_second']:.0f}",
            f"{by['plain']['megabytes_per_second']:.0f}",
            f"{by['bare']['megabytes_per_second']:.0f}" if "bare" in by else "",
            f"{ratios[case, size]:.2f}",
            f"{by['ours']['cpu_seconds']:.2f} / {by['plain']['cpu_seconds']:.2f}",
            f"{by['ours']['peak_bytes'] / _MEBI:.0f} / {by['plain']['peak_bytes'] / _MEBI:.0f}",
        )
        for (case, size), by in sorted(copies.items(), key=lambda item: (item[0][1], item[0][0]))
        if "plain" in by
    ]
    growth = figures["memory_growth_bytes"]["ours"] / _MEBI
    columns = (
        "the store answers",
        "Catwalk, MB/s",
        "plain copy",
        "bare read",
        "ratio",
        "processor s, ours / plain",
        "peak MiB, ours / plain",
    )
    return f"""
## Results copied

Four results are copied from a vendor into a bucket, over TLS on this machine. The plain copy
streams each result with `httpx.stream` through a hash into `upload_fileobj`, one after the other.
The bare read only reads. Ratios are medians of {figures["rounds"]} rounds by turns.
**4 x 100 MB take {growth:.0f} MiB more memory than 4 x 100 kB.**

![Results copied](images/bench-finalize.png)

{table(columns, rows)}

{_measured(figures)}
"""


def _burst(figures: Figures) -> str:
    rows = [
        (
            burst["photos"],
            f"{burst['floor_seconds']:.0f}",
            f"{burst['seconds']:.0f}",
            f"{burst['ratio']:.2f}",
            f"{burst['idle_slots_ratio']:.1%}",
            f"{burst['refused_ratio']:.1%}",
            f"{burst['vendor_end_to_record_seconds']['median']:.2f}",
            f"{burst['vendor_end_to_record_seconds']['p95']:.2f}",
            f"{burst['polls_a_photo']:.1f}",
            f"{sum(burst['cpu_seconds_a_photo'].values()):.2f}",
            burst["duplicates"],
        )
        for burst in figures["bursts"]
    ]
    first = figures["bursts"][0]
    columns = (
        "photos",
        "floor, s",
        "seconds",
        "ratio",
        "slots unused",
        "creates refused",
        "vendor's end to record, median s",
        "p95, s",
        "polls a photo",
        "processor s a photo",
        "charged twice",
    )
    return f"""
## A burst

Photos are dropped at once on the laptop stack. Its vendor takes {first["submits_per_second"]:g}
creates a second and answers 429 beyond that. Catwalk is not told the rate. The floor is the
shortest time that the vendor's rate allows. "Seconds" is the time until the last record. A photo
that is dropped alone is at the vendor {
        first["lone_put_to_submit_seconds"]["median"] * 1000:.0f} ms after its PUT (median). The
emulated AWS uses half of the processor's time.

![A burst](images/bench-burst.png)

{table(columns, rows)}

{_measured(figures)}

Before the planner's first guess for a new stack (commit e213de3) the same command gave for 100
photos a ratio of 1.42 to 1.44 and a median of 6.2 s from the vendor's end to the record (p95
7.2 s); for 300 photos 1.10 and 5.2 s. The goals were 1.15 for 100 photos, 1.05 for 1,000, a median
of 2 s and 2 polls a photo. The ratio of 100 photos varies from run to run, since the last task and
the search for the vendor's rate take about 3 of its 23 s: four runs on 2026-11-28 gave 1.16, 1.19,
1.22 and, beside other work, 1.29.
"""


def _gallery(figures: Figures) -> str:
    rows = [
        (
            case["name"],
            f"{case['median_milliseconds']:.0f}",
            f"{case['worst_milliseconds']:.0f}",
            case["queries"],
            case["shown"],
            f"{case['further_pages']} / {case['further_seconds']:.1f}"
            if case["further_pages"]
            else "",
        )
        for case in figures["cases"]
    ]
    paged, machine = figures["paged"], figures["machine"]
    memory = paged["resident_mebibytes"]
    columns = ("shown", "median, ms", "worst, ms", "queries", "jobs", "further pages / s")
    worst = max(case["median_milliseconds"] for case in figures["cases"])
    counted = [
        (
            case["name"],
            f"{case['median_milliseconds']:.0f}",
            f"{case['worst_milliseconds']:.0f}",
            case["queries"],
            f"{case['counted']:,}",
            ", ".join(case["inexact"]) or "none",
        )
        for case in figures["counted"]
    ]
    counted_columns = (
        *("numbers", "median, ms", "worst, ms", "queries", "jobs counted"),
        "not counted to the end",
    )
    return f"""
## The gallery

`catwalk gallery` runs in a process of its own, with a table of {figures["jobs"]:,} jobs.
It is asked over HTTP for the first page of 24 jobs, {figures["rounds"]} times each. **No first
page takes more than {worst:.0f} ms** (medians). Where a filter lets little through, a page shows
what was found among 3,000 records or in 0.6 s, and the browser asks for further pages by itself.
"Further" is what it asks for until the first job, or the end. The bench plays DynamoDB, in memory,
with {figures["latency_milliseconds"]:g} ms a query and 40 MB/s, since neither moto nor MiniStack
answers queries of so many items in useful time. Pictures are not requested.

{table(columns, rows)}

The numbers of the chips come after the page. Counting ends after 0.6 s; a number that is not
complete then has a "+" behind it.

{table(counted_columns, counted)}

All {paged["jobs"]:,} jobs are paged through in {paged["pages"]:,} pages,
{paged["first_tenth_milliseconds"]:.0f} ms each at the beginning and
{paged["last_tenth_milliseconds"]:.0f} ms at the end (medians). **The server's memory stays at
{min(memory)} to {max(memory)} MiB.**

Measured {figures["measured_at"]} on {machine["processor"]}, {machine["cores"]} cores, Python
{machine["python"]}{f", commit {figures['commit']}" if "commit" in figures else ""}.
"""


def _cost(figures: Figures) -> str:
    return f"""
## State transitions

A task of 30 s takes **{figures["transitions_a_job"]:.1f} state transitions, {figures["ratio"]:.2f}
of the {figures["fixed_3s_transitions_a_job"]:.1f}** that the usual Wait-Poll-Choice loop with
3 s takes, counted in executions on the laptop stack.
[cost.md](cost.md) says what that and everything else costs. {_measured(figures)}
"""


_ALONE: Final[dict[str, Callable[[Figures], str]]] = {
    "burst": _burst,
    "gallery": _gallery,
    "imports": _imports,
    "polling": _polling,
    "quota": _quota,
}
"""Sections that may be written without the others."""


def usage(run: Mapping[str, Any]) -> dict[str, float]:
    """Return what one photo of a run used, by the names of the price table."""
    functions = run["functions"].values()
    return {
        "step_functions_transition": run["transitions"],
        "lambda_gb_second": sum(
            each["milliseconds"] / 1000 * each["memory_megabytes"] / 1024 for each in functions
        ),
        "lambda_request": sum(each["invocations"] for each in functions),
        "s3_put": run["s3_puts"],
        "s3_get": run["s3_gets"],
        "dynamodb_write_unit": run["dynamodb_write_units"],
        "dynamodb_read_unit": run["dynamodb_read_units"],
        "sqs_request": run["sqs_requests"],
        "eventbridge_custom_event": run["custom_events"],
        "eventbridge_s3_event": run["s3_events"],
        "secrets_manager_call": run["secret_reads"],
        "logs_gb": run["log_bytes"] / 1e9,
    }


def dollars(run: Mapping[str, Any], prices: Mapping[str, Any]) -> dict[str, float]:
    """Return the US dollars that 1,000 photos of a run cost, by part."""
    parts = dict.fromkeys(COST_PARTS, 0.0)
    for name, amount in usage(run).items():
        parts[prices["prices"][name]["part"]] += PHOTOS * amount * _price(prices, name)
    return parts


def cost_page(counts: Mapping[str, Any], prices: Mapping[str, Any]) -> str:
    """Return docs/cost.md."""
    runs = counts["runs"]
    costs = {name: dollars(runs[name], prices) for name in RUNS}
    ours, loop = costs["catwalk"], costs["fixed_3s"]
    transitions = runs["catwalk"]["transitions"], runs["fixed_3s"]["transitions"]
    return _TEMPLATE.read_text(encoding="utf-8").format(
        measured_at=counts["measured_at"],
        processor=counts["machine"]["processor"],
        cores=counts["machine"]["cores"],
        task_seconds=counts["task_seconds"],
        jitter=counts["task_jitter"],
        results=counts["results_a_photo"],
        looked_up=prices["looked_up"],
        region=prices["region"],
        total=sum(ours.values()),
        total_3s=sum(loop.values()),
        total_slow=sum(ours.values()) + 2 * ours["Lambda"],
        total_slow_3s=sum(loop.values()) + 2 * loop["Lambda"],
        transitions=transitions[0],
        transitions_3s=transitions[1],
        ratio=transitions[0] / transitions[1],
        seconds=runs["catwalk"]["seconds"],
        seconds_3s=runs["fixed_3s"]["seconds"],
        seconds_10s=runs["fixed_10s"]["seconds"],
        photos=runs["catwalk"]["photos"],
        first_photos=runs[FIRST]["photos"],
        photos_loop=runs["fixed_3s"]["photos"],
        parts=_cost_parts(costs),
        counted=_counted({name: runs[name] for name in (*RUNS, FIRST)}),
        storage=PHOTOS * counts["results_a_photo"] * _LARGE_GB * _price(prices, "s3_gb_month"),
        transfer=PHOTOS * _LARGE_GB * _price(prices, "transfer_out_gb"),
        secret=_price(prices, "secret_month"),
        metrics_quiet=len(GAUGES),
        metrics_quiet_dollars=len(GAUGES) * _price(prices, "cloudwatch_metric_month"),
        metrics=len(Metric) + _CAUSES,
        metrics_dollars=(len(Metric) + _CAUSES) * _price(prices, "cloudwatch_metric_month"),
        alarms=ALARM_METRICS,
        alarms_dollars=ALARM_METRICS * _price(prices, "cloudwatch_alarm_month"),
        dashboard=_price(prices, "cloudwatch_dashboard_month"),
        traces=PHOTOS * _TRACES * _price(prices, "xray_trace"),
        idle=_IDLE_SQS_REQUESTS * _price(prices, "sqs_request"),
        prices=_prices(prices),
        doubts="\n\n".join(
            f"*Not confirmed*: {price['what']}. {price['doubt']}"
            for price in prices["prices"].values()
            if not price["confirmed"]
        ),
    )


def _price(prices: Mapping[str, Any], name: str) -> float:
    price = prices["prices"][name]
    one: float = price["dollars"] / price["per"]
    return one


def _cost_parts(costs: Mapping[str, Mapping[str, float]]) -> str:
    rows = [[part, *(f"{cost[part]:.4f}" for cost in costs.values())] for part in COST_PARTS]
    total = ["**sum**", *(f"**{sum(cost.values()):.4f}**" for cost in costs.values())]
    return table(["US dollars for 1,000 photos", *RUNS.values()], [*rows, total])


def _counted(runs: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        [title, *(format(run[key], form) for run in runs.values())] for title, key, form in _ROWS
    ]
    functions = [
        [
            f"{name}Function, {each['memory_megabytes']} MB: invocations x ms",
            *(
                "{invocations:.2f} x {milliseconds_each:.0f}".format_map(run["functions"][name])
                for run in runs.values()
            ),
        ]
        for name, each in runs["catwalk"]["functions"].items()
    ]
    head = ["a photo, on average", *RUNS.values(), "Catwalk's first photos"]
    return table(head, [*rows[:3], *functions, *rows[3:]])


def _prices(prices: Mapping[str, Any]) -> str:
    rows = [
        [
            price["what"],
            f"{price['dollars']:.10f}".rstrip("0").rstrip("."),
            f"<{price['source']}>",
            _seen(price),
        ]
        for price in prices["prices"].values()
    ]
    return table(["", "US dollars", "AWS's page", "figure read at"], rows)


def _seen(price: Mapping[str, Any]) -> str:
    if not price["confirmed"]:
        return "*not confirmed*"
    return f"<{price['seen_at']}>" if "seen_at" in price else "there"


def read_costs() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the kept counts and the prices."""
    return (
        json.loads(COUNTS.read_text(encoding="utf-8")),
        json.loads(PRICES.read_text(encoding="utf-8")),
    )


if __name__ == "__main__":
    sys.exit(main())
