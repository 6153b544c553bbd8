"""What AWS enforces and the local AWS does not: each fact that this template could break."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from shared import config
from shared.config import SETTLING_SECONDS, FinalizeConfig, PhotosConfig, SubmitConfig
from tests.watched import template

ROOT: Final = Path(__file__).parents[2]
RESOURCES: Final[dict[str, Any]] = template()["Resources"]
PARAMETERS: Final[dict[str, Any]] = template()["Parameters"]
SECONDS_A_DAY: Final = 86_400
SQS_SECONDS: Final = 14 * SECONDS_A_DAY
"""SQS keeps a message so long, counted from when it was sent first, in a dead-letter queue too."""


def of_type(*kinds: str) -> dict[str, Any]:
    """Return the resources of these types."""
    return {name: each for name, each in RESOURCES.items() if each["Type"] in kinds}


FUNCTIONS: Final = of_type("AWS::Serverless::Function")


def statements(role: str) -> Iterator[tuple[set[str], list[Any]]]:
    """Yield what a role may do: actions and resources of each statement."""
    for policy in RESOURCES[role]["Properties"]["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            actions, resources = statement["Action"], statement["Resource"]
            yield (
                {actions} if isinstance(actions, str) else set(actions),
                resources if isinstance(resources, list) else [resources],
            )


def referred(value: Any) -> set[str]:
    """Return the logical ids that a value refers to."""
    return set(RESOURCES) & set(re.findall(r"\w+", json.dumps(value)))


def may_trigger(function: str, send: dict[str, str]) -> set[str]:
    """Return what triggers a function and may be sent to by it.

    Args:
        function: its logical id.
        send: the action that sends, by the type of what is sent to.

    """
    properties = FUNCTIONS[function]["Properties"]
    triggers = referred(properties.get("Events", {}))
    role = properties["Role"]["Fn::GetAtt"][0]
    return {
        name
        for actions, resources in statements(role)
        for name in referred(resources) & triggers
        if send.get(RESOURCES[name]["Type"]) in actions
    }


# --- Lambda and SQS ------------------------------------------------------------------------------

FOLLOWED: Final = {
    "AWS::SQS::Queue": "sqs:SendMessage",
    "AWS::SNS::Topic": "sns:Publish",
    "AWS::S3::Bucket": "s3:PutObject",
    "AWS::Serverless::Function": "lambda:InvokeFunction",
}
"""Lambda follows chains of invocations through these services, and ends them after about 16."""


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_that_sends_to_its_own_trigger_may_loop(function: str) -> None:
    """Lambda ends the chain in which a photo waits, unless RecursiveLoop allows it."""
    allowed = FUNCTIONS[function]["Properties"].get("RecursiveLoop", "Terminate")
    assert allowed == ("Allow" if may_trigger(function, FOLLOWED) else "Terminate")


def test_submit_function_is_such_a_function() -> None:
    """The reading of roles and triggers above finds the loop that there is."""
    loops = {name: may_trigger(name, FOLLOWED) for name in FUNCTIONS}
    assert {name: loop for name, loop in loops.items() if loop} == {
        "SubmitFunction": {"SubmitQueue"}
    }


def sources() -> list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
    """Return each function with a queue that triggers it, and the mapping between the two."""
    return [
        (function["Properties"], RESOURCES[queue]["Properties"], event["Properties"])
        for function in FUNCTIONS.values()
        for event in function["Properties"].get("Events", {}).values()
        if event["Type"] == "SQS"
        for queue in referred(event["Properties"]["Queue"])
    ]


def test_visibility_is_six_times_the_functions_timeout() -> None:
    """Lambda then has time to try a batch again that was throttled (AWS's recommendation)."""
    assert sources()
    for function, queue, mapping in sources():
        window = mapping.get("MaximumBatchingWindowInSeconds", 0)
        assert queue["VisibilityTimeout"] >= 6 * function["Timeout"] + window


def test_throttling_buries_no_healthy_photo_within_a_day() -> None:
    """Throttled receives count, each for a visibility timeout; a dead letter still has ten days."""
    for _, queue, mapping in sources():
        dead_lettered = queue["RedrivePolicy"]["maxReceiveCount"] * queue["VisibilityTimeout"]
        assert SECONDS_A_DAY < dead_lettered <= SQS_SECONDS - 10 * SECONDS_A_DAY
        assert "MaximumConcurrency" in mapping["ScalingConfig"]
        dead_letters = RESOURCES[queue["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0]]
        for each in (queue, dead_letters["Properties"]):
            assert each["MessageRetentionPeriod"] == SQS_SECONDS


def test_no_function_reserves_concurrency() -> None:
    """A new account has ten in all, and Lambda refuses to reserve any of them."""
    for name, function in FUNCTIONS.items():
        assert "ReservedConcurrentExecutions" not in function["Properties"], name


# --- S3 ------------------------------------------------------------------------------------------


def test_versions_forgotten_leave_no_delete_markers() -> None:
    """No rule may delete current objects: markers would stay, and photos would vanish."""
    for bucket in of_type("AWS::S3::Bucket").values():
        for rule in bucket["Properties"]["LifecycleConfiguration"]["Rules"]:
            assert not {"ExpirationInDays", "ExpirationDate"} & set(rule)


def test_whoever_reads_photos_may_list_them() -> None:
    """Without s3:ListBucket a missing key is answered with 403, like a forbidden one."""
    for function in FUNCTIONS.values():
        granted = list(statements(function["Properties"]["Role"]["Fn::GetAtt"][0]))
        read = {
            name
            for actions, resources in granted
            for name in referred(resources)
            if "s3:GetObject" in actions
        }
        listed = {
            name
            for actions, resources in granted
            for name in referred(resources)
            if "s3:ListBucket" in actions
        }
        assert read <= listed


def test_a_404_of_a_new_bucket_is_waited_out() -> None:
    """For 15 minutes after versioning is first enabled S3 may answer 404 for what is there.

    The functions count this time from their first use of the bucket. So each function that asks is
    made, or updated, after the bucket; and nothing in the template makes the time shorter.
    """
    asks = {
        name
        for name in FUNCTIONS
        if issubclass(getattr(config, name.replace("Function", "Config")), PhotosConfig)
    }
    assert asks == {"SubmitFunction", "ReconcileFunction"}
    assert RESOURCES["PhotosBucket"]["Properties"]["VersioningConfiguration"]["Status"] == "Enabled"
    for name in asks:
        variables = FUNCTIONS[name]["Properties"]["Environment"]["Variables"]
        assert variables["PHOTOS_BUCKET"] == {"Ref": "PhotosBucket"}
    assert SETTLING_SECONDS >= 15 * 60
    assert "SETTLING_SECONDS" not in json.dumps(template())


# --- parameters ----------------------------------------------------------------------------------

FIELDS: Final = SubmitConfig.__dataclass_fields__ | FinalizeConfig.__dataclass_fields__
WHOLE: Final = sorted(
    name
    for name in PARAMETERS
    if (field := FIELDS.get(re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower())) and field.type is int
)
RANGES: Final = {
    "DailyCreditLimit": (0, 999_999_999),
    "DefaultBatchSize": (1, 4),
    "MaxPhotoBytes": (1_024, 999_999_999_999),
    "MaxResultBytes": (1_024, 999_999_999_999),
    "MaxSubmitConcurrency": (2, 1_000),
    "PollMaxSeconds": (1, 999_999),
    "PollMinSeconds": (1, 999_999),
    "TaskTimeoutSeconds": (60, 2_592_000),
}


def taken(name: str, value: str) -> bool:
    """Tell whether CloudFormation takes a value; the pattern must match all of it."""
    return re.fullmatch(PARAMETERS[name]["AllowedPattern"], value) is not None


def test_each_whole_number_is_tried() -> None:
    """Each parameter that a function, or AWS, reads as a whole number is in the table above."""
    assert {*WHOLE, "MaxSubmitConcurrency"} == set(RANGES)


@pytest.mark.parametrize("name", RANGES)
def test_whole_numbers_take_no_fraction(name: str) -> None:
    """`PollMinSeconds=1.5` is refused by CloudFormation, with a sentence, not by each function."""
    parameter = PARAMETERS[name]
    # A pattern is for strings alone; a Number takes fractions.
    assert parameter["Type"] == "String"
    assert re.match(r"must be .*[0-9a-z)]$", parameter["ConstraintDescription"])
    # As a bare number CloudFormation may write a large default as 2.097152E7.
    assert isinstance(parameter["Default"], str)
    assert taken(name, parameter["Default"])
    for wrong in ("1.5", "2.0", "4.", "1e3", "2.097152E7", "-1", "+3", " 3", "3\n", "", "04", "3s"):
        assert not taken(name, wrong), wrong


@pytest.mark.parametrize("name", RANGES)
def test_a_whole_numbers_range_is_its_patterns(name: str) -> None:
    """What is out of range is refused, what is in it is taken."""
    least, most = RANGES[name]
    powers = {10**digits + step for digits in range(13) for step in (-1, 0, 1)}
    tried = powers | {*range(3_000), least - 1, least, most, most + 1}
    tried |= {value for edge in range(2_000_000, 2_700_000, 999) for value in (edge, edge + 1)}
    for value in tried:
        assert taken(name, str(value)) == (least <= value <= most), value


def test_other_numbers_are_read_as_fractions_or_chosen_from_a_list() -> None:
    """The type Number is left to what may have a fraction, and to a list of allowed values."""
    for name, parameter in PARAMETERS.items():
        if parameter["Type"] == "Number":
            field = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
            is_fraction = field in FIELDS and FIELDS[field].type is float
            assert is_fraction or "AllowedValues" in parameter, name


# --- CloudFormation, DynamoDB, CloudWatch --------------------------------------------------------


def test_what_outlives_the_stack_goes_if_the_first_creation_fails() -> None:
    """A second try finds no buckets and tables that a failed first one has left."""
    kept = {name: each for name, each in RESOURCES.items() if "DeletionPolicy" in each}
    assert set(kept) == {"PhotosBucket", "ResultsBucket", "JobsTable"}
    for resource in kept.values():
        assert resource["DeletionPolicy"] == "RetainExceptOnCreate"
        assert resource["UpdateReplacePolicy"] == "Retain"


def test_the_table_is_encrypted_with_the_key_that_costs_nothing() -> None:
    """`SSEEnabled: true` is a KMS key, billed by the call; docs/cost.md counts no such calls."""
    for table in of_type("AWS::DynamoDB::Table").values():
        assert "SSESpecification" not in table["Properties"]


def test_no_alarm_takes_missing_data_for_a_breach() -> None:
    """On a new stack all data are missing: such an alarm would go off at once."""
    for alarm in of_type("AWS::CloudWatch::Alarm").values():
        assert alarm["Properties"]["TreatMissingData"] in {"notBreaching", "ignore", "missing"}


def test_metrics_are_not_filtered_out() -> None:
    """Lines of metrics have no level and count as INFO: a filter above it would drop them."""
    level = template()["Globals"]["Function"]["LoggingConfig"]["ApplicationLogLevel"]
    assert set(level["Fn::If"][1:]) <= {"TRACE", "DEBUG", "INFO"}


# --- confused deputies ---------------------------------------------------------------------------


def grants() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each statement that lets a service of AWS in, by the resource it stands in."""
    for name, resource in RESOURCES.items():
        properties = resource.get("Properties", {})
        for key in ("PolicyDocument", "AssumeRolePolicyDocument"):
            for statement in properties.get(key, {}).get("Statement", []):
                principal = statement.get("Principal")
                if statement["Effect"] == "Allow" and isinstance(principal, dict):
                    yield name, statement


def test_a_service_acts_for_this_account_or_resource_alone() -> None:
    """Trust and resource policies name the account or the source (confused deputy)."""
    assert {name for name, _ in grants()} >= {"SubmitQueuesPolicy", "AlarmTopicPolicy", "PollRole"}
    for name, statement in grants():
        named = json.dumps(statement.get("Condition", {}))
        assert "aws:SourceAccount" in named or "aws:SourceArn" in named, name
    for name, permission in of_type("AWS::Lambda::Permission").items():
        assert "SourceArn" in permission["Properties"], name
