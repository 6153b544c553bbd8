"""Dashboard, alarms, traces and saved queries use existing things and link to the runbook."""

import itertools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bench import report
from local.stack import differences
from shared.limits.circuit_breaker import Cause
from shared.notify.metrics import (
    CAUSE_OF_END,
    CAUSE_OF_PAUSE,
    NAMESPACE,
    STACK,
    Gauges,
    Metric,
    Metrics,
)
from tests.watched import alarms, dashboard, of_alarm, of_dashboard, template, watched

ROOT = Path(__file__).parents[2]
FUNCTIONS = {"SubmitFunction", "PollFunction", "FinalizeFunction", "ReconcileFunction"}

OF_AWS: Mapping[str, tuple[str, str, set[str]]] = {
    # By namespace: the dimension that tells one resource from another, how the template names its
    # value, and the metrics. Source: the services' own pages of CloudWatch metrics.
    "AWS/SQS": (
        "QueueName",
        "AWS::SQS::Queue.QueueName",
        {
            "ApproximateAgeOfOldestMessage",
            "ApproximateNumberOfMessagesDelayed",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesVisible",
            "NumberOfMessagesDeleted",
        },
    ),
    "AWS/Lambda": (
        "FunctionName",
        "AWS::Serverless::Function",  # Ref is the name
        {"Duration", "Errors", "RecursiveInvocationsDropped", "Throttles"},
    ),
    "AWS/States": (
        "StateMachineArn",
        "AWS::Serverless::StateMachine",  # Ref is the ARN
        {
            "ExecutionsAborted",
            "ExecutionsFailed",
            "ExecutionsStarted",
            "ExecutionsSucceeded",
            "ExecutionsTimedOut",
        },
    ),
}

# --- metrics ---------------------------------------------------------------------------------


def test_what_aws_measures_is_named_as_aws_names_it() -> None:
    """Each metric of AWS exists and belongs to a resource of the template."""
    resources = template()["Resources"]
    records_read = [each for each in watched() if each.namespace != NAMESPACE]
    assert {each.namespace for each in records_read} == set(OF_AWS)
    for each in records_read:
        dimension, kind, names = OF_AWS[each.namespace]
        assert each.name in names
        assert each.dimensions == (dimension,)
        reference = re.fullmatch(r"\$\{(\w+)(\.QueueName)?\}", each.values[0])
        assert reference, each
        assert resources[reference[1]]["Type"] + (reference[2] or "") == kind


def test_all_functions_and_queues_are_looked_at() -> None:
    """The dashboard shows all functions and both queues."""
    for name in OF_AWS["AWS/Lambda"][2] - {"RecursiveInvocationsDropped"}:  # of one function only
        shown = {each.values[0] for each in of_dashboard() if each.name == name}
        assert shown == {f"${{{function}}}" for function in FUNCTIONS}
    queues = {each.values[0] for each in of_dashboard() if each.namespace == "AWS/SQS"}
    assert queues == {"${SubmitQueue.QueueName}", "${SubmitDLQ.QueueName}"}


def test_our_own_metrics_are_shown_each_and_no_others() -> None:
    """The dashboard shows each metric that the functions know, and alarms know no other."""
    assert {each.name for each in of_dashboard() if each.namespace == NAMESPACE} == set(Metric)
    causes = {
        Metric.JOBS_FAILED: CAUSE_OF_END,
        Metric.JOBS_REJECTED: CAUSE_OF_END,
        Metric.SUBMISSION_PAUSED: CAUSE_OF_PAUSE,
    }
    for each in watched():
        if each.namespace == NAMESPACE:
            assert each.dimensions in {(STACK,), (STACK, causes.get(Metric(each.name), ""))}
            assert each.values[0] == "${AWS::StackName}"
            assert set(each.values[1:]) <= {"*", *Cause}


# --- alarms ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", alarms())
def test_each_alarm_tells_and_is_explained(name: str) -> None:
    """Each alarm notifies the topic at its begin and end, and links to a section of the runbook."""
    alarm = alarms()[name]
    assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": "AlarmTopic"}]
    assert alarm["AlarmDescription"].endswith(f"See docs/runbook.md#{name}.")
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    assert f"\n## {name}\n" in runbook
    section = runbook.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    for part in ("**What it means.**", "**Look at.**", "**What to do.**"):
        assert part in section
    assert "`catwalk " in section


def test_the_runbook_knows_no_other_alarm() -> None:
    """Each section of the runbook about an alarm has its alarm."""
    sections = re.findall(r"^## (.+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)
    assert {section for section in sections if " " not in section} == set(alarms())


def test_the_runbook_names_widgets_and_queries_that_there_are() -> None:
    """Each widget and query that the runbook names exists."""
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    titles = {widget["properties"].get("title") for widget in dashboard()["widgets"]}
    widgets = re.findall(r"widget “([^”]+)”", runbook)
    assert len(widgets) > len(alarms())
    assert {title for title in widgets if title not in titles} == set()
    names = {query["Name"]["Fn::Sub"].rpartition("/")[2] for query in queries().values()}
    named = re.findall(r"query “([^”]+)”", runbook)
    assert set(named) == names


def test_the_dashboard_shows_the_state_of_each_alarm() -> None:
    """The first widget shows the states of the alarms."""
    first = next(widget for widget in dashboard()["widgets"] if widget["type"] != "text")
    assert first["type"] == "alarm"
    shown = {arn.partition(":alarm:${AWS::StackName}-")[2] for arn in first["properties"]["alarms"]}
    assert shown == set(alarms())


def evaluate(alarm: Mapping[str, Any], *periods: Mapping[str, float]) -> str:
    """Return an alarm's state after periods with these values, as CloudWatch comes to it.

    Args:
        alarm: of the template.
        periods: the values by metric (`Value` if there is one alone), oldest first; a metric that
            is not there has no data. Where data are missing CloudWatch looks further back than it
            is told to, by two periods in its documentation's examples, for the last ones there are.

    """
    breaching = {"GreaterThanThreshold": float.__gt__, "LessThanThreshold": float.__lt__}
    breaching["GreaterThanOrEqualToThreshold"] = float.__ge__
    crossed = breaching[alarm["ComparisonOperator"]]
    evaluated = alarm["EvaluationPeriods"]
    found = [_value(alarm, period) for period in periods[-evaluated - 2 :]]
    values = [value for value in found if value is not None][-evaluated:]
    missing = alarm["TreatMissingData"]
    if not values and missing in {"missing", "ignore"}:
        return "as before" if missing == "ignore" else "INSUFFICIENT_DATA"
    bad = [crossed(float(value), _threshold(alarm)) for value in values]
    bad += [missing == "breaching"] * (evaluated - len(values))
    enough = alarm.get("DatapointsToAlarm", alarm["EvaluationPeriods"])
    return "ALARM" if sum(bad) >= enough else "OK"


def _threshold(alarm: Mapping[str, Any]) -> float:
    """Return an alarm's threshold; a parameter counts as its default."""
    threshold = alarm["Threshold"]
    if isinstance(threshold, Mapping):
        threshold = template()["Parameters"][threshold["Ref"]]["Default"]
    return float(threshold)


def _value(alarm: Mapping[str, Any], period: Mapping[str, float]) -> float | None:
    if "Metrics" not in alarm:
        return period.get("Value")
    names: dict[str, Any] = {
        "IF": lambda condition, yes, no: yes if condition else no,
        "FILL": lambda value, otherwise: otherwise if value is None else value,
    }
    result = None
    for metric in alarm["Metrics"]:
        if "MetricStat" in metric:
            names[metric["Id"]] = period.get(metric["Id"])
        else:
            expression = metric["Expression"].replace(" AND ", " and ")
            try:
                # CloudWatch's few functions are Python's syntax; the text is the template's own.
                result = eval(expression, {"__builtins__": {}}, names)  # noqa: S307  see above
            except TypeError:  # reckoned with a metric that has no data
                result = None
            names[metric["Id"]] = result
    return result


QUIET = {"visible": 0, "taken": 0, "done": 0}
WORKING = {"visible": 800, "taken": 25, "done": 40}
STANDING = {"visible": 3, "taken": 0, "done": 0}
CRASHING = {"visible": 0, "taken": 3, "done": 0}
RAN = {"runs": 1, "exists": 0}
SILENT = {"exists": 0}


@pytest.mark.parametrize(
    ("name", "periods", "state"),
    [
        # A photo that waits is taken up, and put back as a fresh message, each quarter hour.
        ("nothing-is-happening", [QUIET] * 4, "OK"),
        ("nothing-is-happening", [WORKING] * 4, "OK"),
        ("nothing-is-happening", [QUIET, QUIET, {**STANDING, "done": 3}, QUIET], "OK"),
        ("nothing-is-happening", [WORKING, STANDING, STANDING, STANDING], "OK"),
        # The mapping is off; the function cannot start; the queue sends no metric of deletions.
        ("nothing-is-happening", [STANDING] * 4, "ALARM"),
        ("nothing-is-happening", [CRASHING] * 4, "ALARM"),
        ("nothing-is-happening", [CRASHING, STANDING, CRASHING, STANDING], "ALARM"),
        ("nothing-is-happening", [{"visible": 3, "taken": 0}] * 4, "ALARM"),
        ("nothing-is-happening", [{}] * 4, "OK"),
        ("reconcile-stopped", [RAN] * 4, "OK"),
        ("reconcile-stopped", [RAN, SILENT, {"runs": 2, "exists": 7}, SILENT], "OK"),
        ("reconcile-stopped", [RAN, SILENT, SILENT, SILENT], "OK"),
        ("reconcile-stopped", [RAN, SILENT, SILENT, SILENT, SILENT], "ALARM"),
        ("reconcile-stopped", [RAN, {}, {}, {}, {}, {}, {}], "INSUFFICIENT_DATA"),
        ("loops-ended", [{"Value": 1}], "ALARM"),
        ("loops-ended", [{}], "OK"),
        ("failures", [{"failed": 0.2, "ended": 5}], "OK"),
        ("failures", [{"failed": 0.4, "ended": 5}], "ALARM"),
        ("failures", [{"failed": 1, "ended": 4}], "OK"),
        ("failures", [{"failed": 0.21, "ended": 1000}], "ALARM"),
        ("failures", [{}], "OK"),
        ("dead-letters", [{"Value": 1}], "ALARM"),
        ("dead-letters", [{"Value": 0}], "OK"),
        ("dead-letters", [{}], "OK"),
        ("photos-wait-too-long", [{"Value": 7300}, {}], "ALARM"),
        ("photos-wait-too-long", [{"Value": 900}, {"Value": 7200}], "OK"),
        ("photos-wait-too-long", [{}, {}], "OK"),
        ("submits-parked", [{"Value": 1}], "ALARM"),
        ("submits-parked", [{}], "as before"),
        ("submits-parked", [{"Value": 0}], "OK"),
        ("credits-near-limit", [{"Value": 79.9}], "OK"),
        ("credits-near-limit", [{"Value": 80}], "ALARM"),
        ("credits-near-limit", [{}], "as before"),
        # By its default, 100; a 20-variant folder file under five uploads is as much.
        ("many-credits", [{"Value": 99}], "OK"),
        ("many-credits", [{"Value": 100}], "ALARM"),
        ("many-credits", [{}], "OK"),
        ("key-refused", [{"Value": 1}, {}], "ALARM"),
        ("key-refused", [{"Value": 1}, {}, {}, {}], "ALARM"),
        ("key-refused", [{"Value": 1}, {}, {}, {}, {}], "OK"),
        ("key-refused", [{}, {}], "OK"),
        ("no-credits", [{}, {"Value": 1}], "ALARM"),
        ("no-credits", [{}, {}], "OK"),
    ],
)
def test_an_alarm_goes_off_when_it_should(
    name: str, periods: list[dict[str, float]], state: str
) -> None:
    """The metrics of a stack in this state, present or missing, put the alarm into this state."""
    assert evaluate(alarms()[name], *periods) == state


@pytest.mark.parametrize("name", alarms())
@pytest.mark.parametrize("measured", [[], [SILENT], [SILENT, SILENT], [SILENT, RAN, RAN, RAN]])
def test_no_alarm_goes_off_on_a_new_stack(name: str, measured: list[dict[str, float]]) -> None:
    """Before the first photo and the first run of reconcile no alarm fires."""
    before_the_stack: list[dict[str, float]] = [{}] * 6
    state = evaluate(alarms()[name], *before_the_stack, *measured)
    assert state in {"OK", "INSUFFICIENT_DATA", "as before"}


def test_only_reconciles_silence_is_told_as_a_lack_of_data() -> None:
    """Only reconcile's silence notifies of missing data, in which each alarm begins."""
    tells = {name for name, alarm in alarms().items() if "InsufficientDataActions" in alarm}
    assert tells == {"reconcile-stopped"}
    assert alarms()["reconcile-stopped"]["TreatMissingData"] == "missing"


def test_what_alarms_and_gauges_cost_is_reckoned_with_as_many_as_there_are() -> None:
    """docs/cost.md counts the alarms' metrics and the metrics of an idle stack."""
    conditional = ("credits-near-limit",)
    unconditional = [alarm for name, alarm in alarms().items() if name not in conditional]
    assert sum(len(list(of_alarm(alarm))) for alarm in unconditional) == report.ALARM_METRICS
    lines: list[dict[str, Any]] = []
    metrics = Metrics("shop", write=lambda line: lines.append(json.loads(line)))
    metrics.gauges(Gauges(moves=0, parked=0, paused_by=None, credits_used=None))
    assert {name for line in lines for name in line} & set(Metric) == set(report.GAUGES)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        *((text, True) for text in ("0", "100", "2500")),
        *((text, False) for text in ("00", "0.0", "1.5", "-1", "", "many")),
    ],
)
def test_the_credit_alarms_threshold_is_a_whole_number(text: str, *, good: bool) -> None:
    """CreditAlarmThreshold must be a whole number without leading zeros."""
    pattern = template()["Parameters"]["CreditAlarmThreshold"]["AllowedPattern"]
    assert bool(re.fullmatch(pattern, text)) is good


def test_credits_of_a_day_are_added_up() -> None:
    """The credit alarm is on certain credits of a whole day."""
    alarm = alarms()["many-credits"]
    assert (alarm["MetricName"], alarm["Statistic"]) == (Metric.CREDITS_SPENT, "Sum")
    assert alarm["Period"] * alarm["EvaluationPeriods"] == 86_400


def test_every_alarm_is_tried() -> None:
    """Each alarm has an example above in which it fires."""
    (tried,) = (
        mark.args[1]
        for mark in test_an_alarm_goes_off_when_it_should.pytestmark  # type: ignore[attr-defined]  # pytest's
    )
    assert {name for name, _, state in tried if state == "ALARM"} == set(alarms())


def test_a_limit_that_there_is_not_has_no_alarm() -> None:
    """The alarm on DailyCreditLimit exists only with it; CreditAlarmThreshold works without it."""
    document = template()
    limit = {"Fn::Not": [{"Fn::Equals": [{"Ref": "DailyCreditLimit"}, "0"]}]}
    assert document["Conditions"]["HasCreditLimit"] == limit
    threshold = {"Fn::Not": [{"Fn::Equals": [{"Ref": "CreditAlarmThreshold"}, "0"]}]}
    assert document["Conditions"]["HasCreditAlarm"] == threshold
    conditional = {
        name: resource["Condition"]
        for name, resource in document["Resources"].items()
        if "Condition" in resource
    }
    assert conditional == {
        "CreditsNearLimitAlarm": "HasCreditLimit",
        "ManyCreditsAlarm": "HasCreditAlarm",
        "AlarmEmailSubscription": "HasAlarmEmail",
    }


def test_lambda_leaves_no_metrics_out() -> None:
    """Lambda takes a line without a level, as those of metrics are, for INFO."""
    globals_ = template()["Globals"]["Function"]
    level = {"Fn::If": ["LogsDebug", "DEBUG", "INFO"]}
    assert globals_["LoggingConfig"] == {"LogFormat": "JSON", "ApplicationLogLevel": level}
    lines: list[dict[str, Any]] = []
    Metrics("shop", write=lambda line: lines.append(json.loads(line))).paused("throttled")
    assert lines
    assert "level" not in lines[0]


# --- the dashboard -------------------------------------------------------------------------------


def test_no_widget_lies_on_another() -> None:
    """The widgets fit into 24 columns, in reading order, without overlap."""
    places = [
        {
            (widget["x"] + x, widget["y"] + y)
            for x in range(widget["width"])
            for y in range(widget["height"])
        }
        for widget in dashboard()["widgets"]
    ]
    for one, other in itertools.combinations(places, 2):
        assert not one & other
    assert all(0 <= x < 24 for place in places for x, _ in place)
    order = [(widget["y"], widget["x"]) for widget in dashboard()["widgets"]]
    assert order == sorted(order)


def test_every_widget_says_what_it_shows() -> None:
    """Each widget has its own title, and each line a name."""
    metrics = [each["properties"] for each in dashboard()["widgets"] if each["type"] == "metric"]
    assert len({widget["title"] for widget in metrics}) == len(metrics)
    for widget in metrics:
        assert widget["region"] == "${AWS::Region}"
        assert all(row[-1]["label"] for row in widget["metrics"])


# --- traces and queries --------------------------------------------------------------------------


def queries() -> dict[str, Any]:
    """Return the saved queries."""
    resources = template()["Resources"]
    return {
        name: resource["Properties"]
        for name, resource in resources.items()
        if resource["Type"] == "AWS::Logs::QueryDefinition"
    }


def test_queries_look_into_the_functions_logs() -> None:
    """A saved query searches groups of this stack, and is found in a folder of its name."""
    groups = {
        resource["Properties"]["LoggingConfig"]["LogGroup"]["Ref"]
        for resource in template()["Resources"].values()
        if resource["Type"] == "AWS::Serverless::Function"
    }
    assert len(queries()) == 5
    for query in queries().values():
        assert {group["Ref"] for group in query["LogGroupNames"]} <= groups
        assert query["Name"]["Fn::Sub"].startswith("${AWS::StackName}/")


def test_whoever_traces_may_write_traces() -> None:
    """Functions and executions are traced, and their roles allow it."""
    document = template()
    assert document["Globals"]["Function"]["Tracing"] == "Active"
    assert document["Resources"]["JobStateMachine"]["Properties"]["Tracing"] == {"Enabled": True}
    for name in (*FUNCTIONS, "JobStateMachine"):
        role = document["Resources"][name]["Properties"]["Role"]["Fn::GetAtt"][0]
        (policy,) = document["Resources"][role]["Properties"]["Policies"]
        allowed = {
            action
            for statement in policy["PolicyDocument"]["Statement"]
            if statement["Sid"] == "Trace"
            for action in statement["Action"]
        }
        assert allowed >= {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}


# --- the laptop ----------------------------------------------------------------------------------


def test_the_laptop_leaves_out_what_it_refuses_and_nothing_else(tmp_path: Path) -> None:
    """The laptop's template leaves out saved queries and alarms on several metrics."""
    built = tmp_path / "template.yaml"
    whole = template()
    built.write_text(json.dumps(whole))
    differences.adapt(built)
    adapted = json.loads(built.read_text())
    reckoning = {
        name
        for name, resource in whole["Resources"].items()
        if resource["Type"] == "AWS::CloudWatch::Alarm" and "Metrics" in resource["Properties"]
    }
    assert reckoning == {"NothingHappensAlarm", "ReconcileStoppedAlarm", "FailuresAlarm"}
    gone = whole["Resources"].keys() - adapted["Resources"].keys()
    assert gone == {*queries(), *reckoning}
    assert {**whole, "Resources": None} == {**adapted, "Resources": None}
    for name, resource in adapted["Resources"].items():
        assert resource == whole["Resources"][name]


def test_each_alarm_looks_at_something() -> None:
    """The tests' reader finds a metric in each alarm."""
    assert all(list(of_alarm(alarm)) for alarm in alarms().values())
