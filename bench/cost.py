"""The cost of a photo: state transitions, Lambda milliseconds and requests, counted and priced.

    python -m bench.cost    # make bench-cost; about 6 minutes

One stack runs on this machine, with the template's default parameters, waits as long as on AWS, and
tasks of 30 s. Photos are dropped in four runs: on a stack without a task history, on one with a
history, and twice with another state machine: the usual loop with a fixed wait of 3 s or 10 s. The
usage of each run is read from the executions' histories, the functions' logs and the recorded
requests. The prices are in bench/prices.json. The bench rewrites docs/cost.md.
"""

import hashlib
import json
import os
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench import report
from bench.figures import OUT, write
from local.paths import SAMPLES
from local.simulator import SimulatorControl
from local.stack import environment
from local.stack.stack import Plan, Quiet, Stack, running
from local.stack.state import STACK, StateFolder

TASK_SECONDS: Final = 30.0
TASK_JITTER: Final = 0.3
RESULTS: Final = 4
FIRST_PHOTOS: Final = 12
PHOTOS: Final = 24
FUNCTIONS: Final = ("Submit", "Poll", "Finalize")
PHOTO: Final = SAMPLES / "tshirt.jpg"
MOST_OF_FIXED_3S: Final = 0.40
"""State transitions of a job, as a share of the fixed 3 s loop's."""
_PATIENCE_SECONDS: Final = 300.0
_ENTERED: Final = "StateEntered"
_LARGEST_LOOKUP: Final = 50
"""CloudTrail returns at most this many events a call."""
_SHORTEST_LOOKUP_SECONDS: Final = 0.001
_PLANNERS: Final = ("TASKS#", "CONTROL#polls")
"""Prefixes of items that a loop without a planner would not need."""
_WRITES: Final[Mapping[str, tuple[int, int]]] = {"JOB#": (3, 4), "CREDIT#": (2, 2)}
"""Writes that one of an item makes, its indexes' included: when it is put, when it is updated.

A job is in by-status and by-source (and with an article number in by-sku); its `updated_at` moves
it within by-status, which is a deletion and a write. A ledger's entry is in by-day.
"""
_WRITE_UNIT: Final = 1024
_READ_UNIT: Final = 4096
_LOG_LINE: Final = 26
"""Bytes that CloudWatch Logs adds to each line."""


@dataclass(frozen=True)
class Run:
    """This many photos are dropped at the same time."""

    name: str
    photos: int
    fixed_seconds: int | None = None
    """The wait of the loop that takes the place of the template's."""


RUNS: Final = (
    Run(report.FIRST, FIRST_PHOTOS),
    Run("catwalk", PHOTOS),
    Run("fixed_3s", PHOTOS, 3),
    Run("fixed_10s", PHOTOS, 10),
)


def measure(stack: Stack, vendor: SimulatorControl) -> dict[str, Any]:
    """Make all runs, and return what each run used a photo."""
    ours = _definition(stack)
    _warm_up(stack, vendor)
    counted: dict[str, Any] = {}
    # The same durations come again after a reset, in the same order.
    vendor.reset()
    for run in RUNS:
        print(f"{run.name}: {run.photos} photos", file=sys.stderr)
        if run.fixed_seconds is not None:
            vendor.reset()
            _set_definition(stack, _fixed(ours, run.fixed_seconds))
        counted[run.name] = _count(stack, run)
    return counted


def _warm_up(stack: Stack, vendor: SimulatorControl) -> None:
    """Start the workers, with tasks of one result: they teach nothing about tasks of four."""
    vendor.settings(seconds=2)
    _drop(stack, "warm-up", PHOTOS, results=1)


def _drop(stack: Stack, folder: str, photos: int, *, results: int = RESULTS) -> list[Any]:
    """Drop photos, wait for their records to end, and return these."""
    body = PHOTO.read_bytes()
    for number in range(photos):
        stack.clients.s3.put_object(
            Bucket=stack.output("PhotosBucketName"),
            Key=f"{folder}/{number}.jpg",
            Body=body,
            Metadata={"batch-size": str(results)},
        )
    keys = [f"{folder}/{number}.jpg" for number in range(photos)]
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        records = [_record(stack, key) for key in keys]
        # After a job is announced, nothing more is written about it.
        if all(r and r.get("announced", {}).get("S") == "SUCCEEDED" for r in records):
            _wait_for_executions(stack)
            return records
        if time.monotonic() > deadline:
            raise SystemExit(f"the photos in {folder}/ did not all succeed in time")
        time.sleep(1)


def _record(stack: Stack, key: str) -> Any:  # noqa: ANN401  an item of DynamoDB's, or nothing
    found = stack.clients.dynamodb.query(
        TableName=stack.output("JobsTableName"),
        IndexName="by-source",
        KeyConditionExpression="source_key = :key",
        ExpressionAttributeValues={":key": {"S": key}},
    )["Items"]
    return found[0] if found else None


def _wait_for_executions(stack: Stack) -> None:
    machine = stack.output("StateMachineArn")
    while stack.clients.executions.list_executions(stateMachineArn=machine, statusFilter="RUNNING")[
        "executions"
    ]:
        time.sleep(0.2)


def _count(stack: Stack, run: Run) -> dict[str, Any]:
    begun = time.time()
    records = _drop(stack, run.name, run.photos)
    time.sleep(1)  # the last invocation's log line comes after its answer
    calls = list(_calls(stack, begun, time.time()))
    if run.fixed_seconds is not None:
        calls = [call for call in calls if not _pk(call).startswith(_PLANNERS)]
    histories = [_states(stack, record["execution_arn"]["S"]) for record in records]
    names = Counter(call["eventName"] for call in calls)
    logs = {name: _log(stack, name, begun) for name in FUNCTIONS}
    totals = {
        "transitions": sum(len(states) for states in histories),
        "polls": sum(states.count("Poll") for states in histories),
        "seconds": sum(_seconds(record) for record in records),
        # The photo itself is uploaded by the user.
        "s3_puts": names["PutObject"] + run.photos,
        "s3_gets": names["GetObject"] + names["HeadObject"],
        **_units(stack, calls),
        # EventBridge sends, Lambda receives and deletes: neither is recorded.
        "sqs_requests": names["SendMessage"] + 3 * run.photos,
        "custom_events": sum(
            len(call["requestParameters"]["Entries"])
            for call in calls
            if call["eventName"] == "PutEvents"
        ),
        "s3_events": run.photos,
        "secret_reads": names["GetSecretValue"],
        "log_bytes": sum(
            len(line.encode()) + _LOG_LINE for lines in logs.values() for line in lines
        ),
    }
    unknown = names.keys() - _COUNTED
    if unknown:
        raise SystemExit(f"calls that this bench does not count: {', '.join(sorted(unknown))}")
    return {
        "photos": run.photos,
        **{name: round(total / run.photos, 4) for name, total in totals.items()},
        "calls": {name: round(count / run.photos, 4) for name, count in sorted(names.items())},
        "functions": {name: _function(stack, name, logs[name], run.photos) for name in FUNCTIONS},
    }


_COUNTED: Final = {
    *("PutObject", "GetObject", "HeadObject", "SendMessage", "PutEvents", "GetSecretValue"),
    *("GetItem", "PutItem", "UpdateItem"),
    "StartExecution",  # costs nothing: the states that are entered do
}


def _states(stack: Stack, execution: str) -> list[str]:
    """Return the states that an execution has entered. A retry would be one more transition."""
    pages = stack.clients.executions.get_paginator("get_execution_history").paginate(
        executionArn=execution
    )
    events = [event for page in pages for event in page["events"]]
    failed = [event["type"] for event in events if event["type"].endswith(("Failed", "TimedOut"))]
    if failed:
        raise SystemExit(f"{execution} met with {failed}; the counts would not be the usual ones")
    return [
        event["stateEnteredEventDetails"]["name"]
        for event in events
        if event["type"].endswith(_ENTERED)
    ]


def _seconds(record: Mapping[str, Any]) -> float:
    begun, ended = (
        datetime.fromisoformat(record[name]["S"]) for name in ("submitted_at", "finished_at")
    )
    return (ended - begun).total_seconds()


# --- requests ----------------------------------------------------------------------------------


def _calls(stack: Stack, begun: float, ended: float) -> Iterator[dict[str, Any]]:
    """Yield every request that the functions have made between two moments, each once."""
    seen = set()
    for name in FUNCTIONS:
        for event in _lookup(stack, _access_key(stack, name), begun, ended):
            if event["EventId"] not in seen:
                seen.add(event["EventId"])
                yield json.loads(event["CloudTrailEvent"])


def _lookup(stack: Stack, access_key: str, begun: float, ended: float) -> list[Any]:
    """Return the events between two moments, in as many lookups as it takes to see them all.

    The local CloudTrail shows the latest 50 and has no next page. It knows parts of seconds, which
    botocore cuts off; hence the body of the request is set here.
    """
    trail = stack.clients.client("cloudtrail")
    asked = {
        "LookupAttributes": [{"AttributeKey": "AccessKeyId", "AttributeValue": access_key}],
        "StartTime": begun,
        "EndTime": ended,
    }

    def exactly(params: dict[str, Any], **_: object) -> None:
        params["body"] = json.dumps(asked).encode()

    hook = "before-call.cloudtrail.LookupEvents"
    trail.meta.events.register(hook, exactly)
    try:
        found: list[Any] = trail.lookup_events()["Events"]
    finally:
        trail.meta.events.unregister(hook, exactly)
    if len(found) < _LARGEST_LOOKUP:
        return found
    if ended - begun < _SHORTEST_LOOKUP_SECONDS:
        raise SystemExit("too many requests at once to see them all")
    middle = (begun + ended) / 2
    return [
        *_lookup(stack, access_key, begun, middle),
        *_lookup(stack, access_key, middle, ended),
    ]


def _access_key(stack: Stack, name: str) -> str:
    """Return the access key that the local AWS gives a function: a digest of function and role."""
    function = _configuration(stack, name)
    digest = hashlib.sha256(f"{function['FunctionArn']}:{function['Role']}".encode()).hexdigest()
    return f"ASIA{digest[:16].upper()}"


def _configuration(stack: Stack, name: str) -> Any:  # noqa: ANN401  as botocore has it
    resource = stack.clients.cloudformation.describe_stack_resource(
        StackName=STACK, LogicalResourceId=f"{name}Function"
    )
    return stack.clients.functions.get_function_configuration(
        FunctionName=resource["StackResourceDetail"]["PhysicalResourceId"]
    )


def _pk(call: Mapping[str, Any]) -> str:
    """Return the key of the item that a request is about, or nothing."""
    asked = call["requestParameters"]
    key: str = (asked.get("Key") or asked.get("Item") or {}).get("pk", {}).get("S", "")
    return key


def _units(stack: Stack, calls: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return DynamoDB's request units, each item taken as large as it was at last."""
    sizes: dict[str, int] = {}
    writes = reads = 0.0
    for call in calls:
        name, pk = call["eventName"], _pk(call)
        if not pk:
            continue
        if pk not in sizes:
            item = stack.clients.dynamodb.get_item(
                TableName=stack.output("JobsTableName"), Key={"pk": {"S": pk}}
            ).get("Item", {})
            sizes[pk] = _bytes({"M": item})
        if name == "GetItem":
            units = max(1, ceil(sizes[pk] / _READ_UNIT))
            reads += units if call["requestParameters"].get("ConsistentRead") else units / 2
        else:
            put, update = _WRITES.get(pk[: pk.index("#") + 1], (1, 1))
            units = max(1, ceil(sizes[pk] / _WRITE_UNIT))
            writes += units * (put if name == "PutItem" else update)
            # The job enters by-review, which holds less than 1 KB of it.
            writes += "review_state" in call["requestParameters"].get("UpdateExpression", "")
    return {"dynamodb_write_units": writes, "dynamodb_read_units": reads}


def _bytes(value: Mapping[str, Any]) -> int:
    """Return about how many bytes DynamoDB counts for a value."""
    ((kind, content),) = value.items()
    match kind:
        case "M":
            return 3 + sum(len(name.encode()) + 1 + _bytes(one) for name, one in content.items())
        case "L":
            return 3 + sum(1 + _bytes(one) for one in content)
        case "SS":
            return sum(len(one.encode()) for one in content)
        case "S":
            return len(content.encode())
        case "N":
            return len(content) // 2 + 2
        case _:
            return 1


# --- functions ---------------------------------------------------------------------------------


def _log(stack: Stack, name: str, since: float) -> list[str]:
    pages = (
        stack.clients.client("logs")
        .get_paginator("filter_log_events")
        .paginate(logGroupName=f"/catwalk/{STACK}/{name.lower()}", startTime=int(since * 1000))
    )
    return [event["message"] for page in pages for event in page["events"]]


def _function(stack: Stack, name: str, log: Sequence[str], photos: int) -> dict[str, float]:
    """Return a function's invocations and milliseconds a photo, from its REPORT lines."""
    found = (re.search(r"Billed Duration: (\d+) ms", line) for line in log)
    billed = [int(match[1]) for match in found if match]
    return {
        "memory_megabytes": _configuration(stack, name)["MemorySize"],
        "invocations": round(len(billed) / photos, 4),
        "milliseconds": round(sum(billed) / photos, 1),
        "milliseconds_each": round(sum(billed) / len(billed), 1),
    }


# --- the fixed loops ---------------------------------------------------------------------------


def _definition(stack: Stack) -> dict[str, Any]:
    answer = stack.clients.executions.describe_state_machine(
        stateMachineArn=stack.output("StateMachineArn")
    )
    definition: dict[str, Any] = json.loads(answer["definition"])
    return definition


def _set_definition(stack: Stack, definition: Mapping[str, Any]) -> None:
    stack.clients.executions.update_state_machine(
        stateMachineArn=stack.output("StateMachineArn"), definition=json.dumps(definition)
    )


def _fixed(ours: Mapping[str, Any], seconds: int) -> dict[str, Any]:
    """Return the usual loop around the same functions: the last step ends it."""

    def task(name: str, **end: object) -> dict[str, Any]:
        kept = ("Type", "Resource", "Arguments", "Output")
        return {field: ours["States"][name][field] for field in kept} | end

    return {
        "QueryLanguage": "JSONata",
        "StartAt": "Wait",
        "States": {
            "Wait": {"Type": "Wait", "Seconds": seconds, "Next": "Poll"},
            "Poll": task("Poll", Next="Decide"),
            "Decide": {
                "Type": "Choice",
                "Choices": [
                    {"Condition": "{% $states.input.outcome = 'wait' %}", "Next": "Wait"},
                    {"Condition": "{% $states.input.outcome = 'finalize' %}", "Next": "Finalize"},
                ],
                "Default": "Failed",
            },
            "Finalize": task("Finalize", End=True),
            "Failed": {"Type": "Fail"},
        },
    }


# --- the figures -------------------------------------------------------------------------------


def _keep(counted: Mapping[str, Any]) -> Path:
    """Keep figures and counts, write docs/cost.md, and return where the figures are."""
    prices = json.loads(report.PRICES.read_text(encoding="utf-8"))
    costs = {name: report.dollars(run, prices) for name, run in counted.items()}
    transitions = {name: run["transitions"] for name, run in counted.items()}
    kept = write(
        "cost",
        {
            "task_seconds": TASK_SECONDS,
            "task_jitter": TASK_JITTER,
            "results_a_photo": RESULTS,
            "transitions_a_job": transitions["catwalk"],
            "first_transitions_a_job": transitions[report.FIRST],
            "fixed_3s_transitions_a_job": transitions["fixed_3s"],
            "fixed_10s_transitions_a_job": transitions["fixed_10s"],
            "ratio": round(transitions["catwalk"] / transitions["fixed_3s"], 4),
            "ratio_fixed_10s": round(transitions["catwalk"] / transitions["fixed_10s"], 4),
            "ratio_limit": MOST_OF_FIXED_3S,
            "prices_looked_up": prices["looked_up"],
            "dollars_1000_photos": {name: sum(parts.values()) for name, parts in costs.items()},
            "dollars_1000_photos_by_part": costs,
            "runs": counted,
        },
    )
    figures = json.loads(kept.read_text(encoding="utf-8"))
    names = ("measured_at", "machine", "task_seconds", "task_jitter", "results_a_photo", "runs")
    counts = {name: figures[name] for name in names}
    report.COUNTS.write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")
    report.COST_PAGE.write_text(report.cost_page(counts, prices), encoding="utf-8")
    return kept


def _print(figures: Mapping[str, Any]) -> None:
    console = Console(width=max(100, Console().width))
    costs = figures["dollars_1000_photos_by_part"]
    table = Table(title=f"1,000 photos, tasks of {TASK_SECONDS:g} s: US dollars by part")
    table.add_column("", no_wrap=True)
    columns = {report.FIRST: "Catwalk, first", **report.RUNS}
    for title in columns.values():
        table.add_column(title, justify="right")
    for part in report.COST_PARTS:
        table.add_row(part, *(f"{costs[name][part]:.4f}" for name in columns))
    table.add_section()
    totals = figures["dollars_1000_photos"]
    table.add_row("sum", *(f"{totals[name]:.4f}" for name in columns))
    table.add_section()
    for title, key, form in (
        ("state transitions a job", "transitions", ".2f"),
        ("polls a job", "polls", ".2f"),
        ("seconds to the results", "seconds", ".2f"),
    ):
        table.add_row(title, *(format(figures["runs"][name][key], form) for name in columns))
    console.print(table)
    console.print(
        f"state transitions, of the fixed 3 s loop: {figures['ratio']:.3f}"
        f" (at most {figures['ratio_limit']:.2f})"
    )


def _draw(figures: Mapping[str, Any]) -> None:
    from bench import plots  # noqa: PLC0415  matplotlib, for this one plot

    shown = ("Step Functions", "Lambda", "DynamoDB", "S3")
    costs = figures["dollars_1000_photos_by_part"]
    colours = (plots.OURS, *plots.OTHERS)
    titles = list(report.RUNS.values())[::-1]
    with plots.plot("cost", size=(7.0, 2.6)) as axes:
        left = [0.0] * len(titles)
        groups: dict[str, tuple[str, ...]] = {part: (part,) for part in shown}
        groups["all others"] = tuple(part for part in report.COST_PARTS if part not in shown)
        for (label, parts), colour in zip(groups.items(), colours, strict=True):
            widths = [sum(costs[name][part] for part in parts) for name in report.RUNS][::-1]
            axes.barh(titles, widths, left=left, label=label, color=colour, height=0.6, zorder=3)
            left = [start + width for start, width in zip(left, widths, strict=True)]
        for place, total in enumerate(left):
            axes.text(total, place, f"  ${total:.2f}", va="center")
        axes.set(
            xlim=(0, max(left) * 1.12),
            xlabel="US dollars for 1,000 photos, tasks of 30 s, without the vendor's credits",
        )
        axes.legend(loc="lower center", bbox_to_anchor=(0.45, 1), ncols=len(groups), fontsize=8)


def main() -> int:
    """Run the bench; 1 when a job takes more transitions than it may."""
    environment.forget_users_aws(os.environ)
    with tempfile.TemporaryDirectory(prefix="catwalk-cost-") as folder:
        plan = Plan(task_seconds=TASK_SECONDS, parameters={})
        with (
            running(StateFolder(Path(folder) / "stack"), plan, Quiet()) as stack,
            stack.vendor() as vendor,
        ):
            counted = measure(stack, vendor)
    kept = _keep(counted)
    figures = json.loads(kept.read_text(encoding="utf-8"))
    _print(figures)
    _draw(figures)
    print(f"\n{kept}, {OUT / 'cost.png'}, {report.COST_PAGE}")
    return 0 if figures["ratio"] <= figures["ratio_limit"] else 1


if __name__ == "__main__":
    sys.exit(main())
