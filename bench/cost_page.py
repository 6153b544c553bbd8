"""docs/cost.md, made of counts (docs/cost.json), prices (bench/prices.json) and a template.

    python -m bench.cost_page    # writes it anew, after a change of the prices, say

`bench/cost.py` measures the counts.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from local.paths import ROOT
from shared.notify.metrics import Metric

COUNTS: Final = ROOT / "docs" / "cost.json"
PAGE: Final = ROOT / "docs" / "cost.md"
PRICES: Final = ROOT / "bench" / "prices.json"
_TEMPLATE: Final = ROOT / "bench" / "cost_page.template"
PHOTOS: Final = 1_000
RUNS: Final[Mapping[str, str]] = {
    "catwalk": "Catwalk",
    "fixed_3s": "fixed 3 s loop",
    "fixed_10s": "fixed 10 s loop",
}
FIRST: Final = "catwalk_first"
"""Photos of a stack that has seen no task yet."""
PARTS: Final = (
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
"""A photo or result of 3 MB, for storage and transfer."""
_IDLE_SQS_REQUESTS: Final = 5 * 3 * 60 * 24 * 30
"""A month's: five pollers of Lambda's, each asking an empty queue every 20 s."""
ALARM_METRICS: Final = 14
"""What the template's alarms look at without `DailyCreditLimit`; with it there is one more."""
GAUGES: Final = (Metric.RECONCILE_MOVES, Metric.SUBMITS_PARKED, Metric.SUBMISSION_PAUSED)
"""What reconcile tells in every hour, whatever comes."""
_CAUSES: Final = 6
"""Error codes and reasons of pauses that a busy month meets, say: each is a metric of its own."""
_TRACES: Final = 2
"""Of a photo: its submission and its execution; if all are sampled, which they are up to one a
second."""
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


def usage(run: Mapping[str, Any]) -> dict[str, float]:
    """Return what a run's photo used, by the names of the price table."""
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
    """Return what 1,000 photos of a run cost, by part, in US dollars."""
    parts = dict.fromkeys(PARTS, 0.0)
    for name, amount in usage(run).items():
        parts[prices["prices"][name]["part"]] += PHOTOS * amount * _price(prices, name)
    return parts


def page(counts: Mapping[str, Any], prices: Mapping[str, Any]) -> str:
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
        parts=_parts(costs),
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


def _parts(costs: Mapping[str, Mapping[str, float]]) -> str:
    rows = [[part, *(f"{cost[part]:.4f}" for cost in costs.values())] for part in PARTS]
    total = ["**sum**", *(f"**{sum(cost.values()):.4f}**" for cost in costs.values())]
    return _table(["US dollars for 1,000 photos", *RUNS.values()], [*rows, total])


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
    return _table(head, [*rows[:3], *functions, *rows[3:]])


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
    return _table(["", "US dollars", "AWS's page", "figure read at"], rows)


def _seen(price: Mapping[str, Any]) -> str:
    if not price["confirmed"]:
        return "*not confirmed*"
    return f"<{price['seen_at']}>" if "seen_at" in price else "there"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    align = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, align, *rows))


def read() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the kept counts and the prices."""
    return (
        json.loads(COUNTS.read_text(encoding="utf-8")),
        json.loads(PRICES.read_text(encoding="utf-8")),
    )


def main() -> int:
    """Write the page from what is kept."""
    PAGE.write_text(page(*read()), encoding="utf-8")
    print(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
