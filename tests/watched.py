"""Reads from the template which metrics its dashboard, alarms and saved queries use."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from cfnlint.decode.cfn_yaml import loads

ROOT: Final = Path(__file__).parents[1]
NAMESPACE: Final = "Catwalk"
_SEARCH: Final = re.compile(r"SEARCH\('\{(?P<schema>[^}]+)\} (?P<terms>[^']+)', '\w+', \d+\)")

_INSIGHTS: Final = {
    *("fields", "filter", "sort", "limit", "stats", "by", "as", "asc", "desc", "or"),
    *("coalesce", "count", "count_distinct", "ispresent", "latest"),
}
"""Keywords and functions of CloudWatch Logs Insights; other words are fields."""


@dataclass(frozen=True)
class Watched:
    """A metric on the dashboard or of an alarm."""

    namespace: str
    name: str
    dimensions: tuple[str, ...]
    """The names of its dimensions, in order."""
    values: tuple[str, ...]
    """The values of its dimensions in the template; `*` means every value."""


@cache
def template() -> dict[str, Any]:
    """Return the template, with CloudFormation's functions in their long form.

    All callers share the result, so do not change it.
    """
    return json.loads(json.dumps(loads((ROOT / "template.yaml").read_text())))  # type: ignore[no-any-return]  # JSON


def alarms() -> dict[str, dict[str, Any]]:
    """Return the properties of each alarm, by its name without the stack's name."""
    found = {}
    for resource in template()["Resources"].values():
        if resource["Type"] == "AWS::CloudWatch::Alarm":
            name = resource["Properties"]["AlarmName"]["Fn::Sub"]
            found[name.removeprefix("${AWS::StackName}-")] = resource["Properties"]
    return found


def dashboard() -> dict[str, Any]:
    """Return the dashboard's body, with references to resources as `${...}`."""
    body, variables = template()["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    limit = variables["CreditsNearLimit"]["Fn::If"][1]["Fn::Sub"]
    document: dict[str, Any] = json.loads(
        body.replace("${CreditsNearLimit}", limit).replace(
            "${Alarms}", variables["Alarms"]["Fn::Sub"]
        )
    )
    return document


def of_alarm(alarm: Mapping[str, Any]) -> Iterator[Watched]:
    """Yield the metrics of an alarm."""
    asked = [
        each["MetricStat"]["Metric"] for each in alarm.get("Metrics", ()) if "MetricStat" in each
    ]
    for metric in asked or [alarm]:
        dimensions = {each["Name"]: _shown(each["Value"]) for each in metric["Dimensions"]}
        yield Watched(
            metric["Namespace"], metric["MetricName"], tuple(dimensions), tuple(dimensions.values())
        )


def of_dashboard() -> Iterator[Watched]:
    """Yield the metrics on the dashboard."""
    for widget in dashboard()["widgets"]:
        for row in widget["properties"].get("metrics", ()):
            if isinstance(row[0], dict):
                search = _SEARCH.fullmatch(row[0]["expression"])
                assert search, row
                namespace, *dimensions = search["schema"].split(",")
                terms = dict(re.findall(r'(\w+)="([^"]+)"', search["terms"]))
                yield Watched(
                    namespace,
                    terms["MetricName"],
                    tuple(dimensions),
                    tuple(terms.get(name, "*") for name in dimensions),
                )
            else:
                namespace, name, *pairs = [each for each in row if isinstance(each, str)]
                yield Watched(namespace, name, tuple(pairs[::2]), tuple(pairs[1::2]))


def watched() -> set[Watched]:
    """Return the metrics of the dashboard and of all alarms."""
    return {*of_dashboard(), *(each for alarm in alarms().values() for each in of_alarm(alarm))}


def _shown(value: Any) -> str:
    """Return a value in the syntax of `Fn::Sub`."""
    match value:
        case {"Ref": name}:
            return f"${{{name}}}"
        case {"Fn::GetAtt": [name, attribute]}:
            return f"${{{name}.{attribute}}}"
    return str(value)


def emitted(lines: list[str]) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    """Return the metrics in EMF log lines: each name with its dimensions and their values."""
    found = set()
    for line in lines:
        if '"_aws"' not in line:
            continue
        document = json.loads(line)
        for directive in document["_aws"]["CloudWatchMetrics"]:
            assert directive["Namespace"] == NAMESPACE, line
            for dimensions in directive["Dimensions"]:
                for metric in directive["Metrics"]:
                    assert isinstance(document[metric["Name"]], int | float), line
                    found.add(
                        (metric["Name"], tuple((name, document[name]) for name in dimensions))
                    )
    return found


def saved_queries() -> dict[str, set[str]]:
    """Return the fields that each saved query uses, by the query's logical id."""
    asked = {}
    for logical_id, resource in template()["Resources"].items():
        if resource["Type"] != "AWS::Logs::QueryDefinition":
            continue
        lines = resource["Properties"]["QueryString"].splitlines()
        text = " ".join(line for line in lines if not line.startswith("#"))
        text = re.sub(r'"[^"]*"', "", text)
        words = set(re.findall(r"@?[A-Za-z_]+", text))
        given = set(re.findall(r"\bas (\w+)", text))
        asked[logical_id] = words - given - _INSIGHTS
    return asked
