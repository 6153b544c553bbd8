"""The template after SAM's own translation."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cfnlint.helpers
import pytest
import yaml
from cfnlint.api import lint_all
from cfnlint.decode.cfn_yaml import loads
from samtranslator.public.translator import ManagedPolicyLoader
from samtranslator.translator.transform import transform

ROOT = Path(__file__).parents[2]
OURS = {
    *("us-east-1", "us-east-2", "us-west-2", "ca-central-1", "sa-east-1"),
    *("eu-central-1", "eu-west-1", "eu-south-1", "ap-northeast-1", "ap-southeast-2", "af-south-1"),
}
"""Regions on five continents, old and new ones."""
FUNCTIONS = ("SubmitFunction", "PollFunction", "FinalizeFunction", "ReconcileFunction")


class _NoManagedPolicies(ManagedPolicyLoader):  # type: ignore[misc]  # samtranslator has no types
    def __init__(self) -> None:
        """Return no managed policies, since the template names none."""

    def load(self) -> dict[str, str]:
        return {}


def _plain(node: Any) -> Any:
    """Return cfn-lint's decoded template as plain JSON."""
    return json.loads(json.dumps(node))


@pytest.fixture(scope="module")
def source() -> dict[str, Any]:
    template: dict[str, Any] = _plain(loads((ROOT / "template.yaml").read_text()))
    return template


@pytest.fixture(scope="module")
def translated(source: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return the template after the SAM transform, with local paths replaced by S3 ones."""
    template = _plain(source)
    for resource in template["Resources"].values():
        properties = resource.get("Properties", {})
        for name in ("CodeUri", "DefinitionUri"):
            if name in properties:
                properties[name] = {"Bucket": "some-artifacts", "Key": "code.zip"}
    with patch.dict("os.environ", {"AWS_DEFAULT_REGION": "eu-central-1"}):
        yield transform(template, {}, _NoManagedPolicies())


def _of_type(template: dict[str, Any], kind: str) -> dict[str, Any]:
    return {k: v for k, v in template["Resources"].items() if v["Type"] == kind}


def test_cfn_lint_finds_nothing_in_the_translated_template(translated: dict[str, Any]) -> None:
    """cfn-lint accepts the translated template in all these regions."""
    assert set(cfnlint.helpers.REGIONS) >= OURS  # lint_all takes all of them, in one call
    found = [match for match in lint_all(json.dumps(translated)) if match.rule.id[0] != "I"]
    assert [f"{match.rule.id} {match.message}" for match in found] == []


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("VmakeBaseUrl", "https://open.vmake.ai"),
        ("DefaultModelId", "002"),
        ("DefaultSceneType", "original"),
        ("DefaultSceneId", ""),
        ("DefaultBatchSize", 4),
        ("PollMinSeconds", None),
        ("PollMaxSeconds", None),
        ("TaskTimeoutSeconds", None),
        ("MaxSubmitConcurrency", None),
        ("DailyCreditLimit", 0),
        ("OnUnknownSubmit", "park"),
        ("PhotoDelivery", "presigned"),
        ("MaxPhotoBytes", 20 * 1024 * 1024),
        ("MaxResultBytes", 256 * 1024 * 1024),
        ("PythonRuntime", "python3.13"),
        ("Architecture", "arm64"),
    ],
)
def test_each_parameter_has_its_documented_default(
    source: dict[str, Any], name: str, default: object
) -> None:
    """A plain `sam deploy` needs no parameter, and those that are documented are there."""
    parameter = source["Parameters"][name]
    assert "Default" in parameter
    if default is not None:
        assert str(parameter["Default"]) == str(default)


def test_no_parameter_lacks_a_default_or_a_description(source: dict[str, Any]) -> None:
    """Each parameter has a default and a description, so a guided deployment needs no answer."""
    lacking = [
        name
        for name, parameter in source["Parameters"].items()
        if "Default" not in parameter or not parameter.get("Description")
    ]
    assert lacking == []


def test_the_outputs_are_those_that_others_build_on(source: dict[str, Any]) -> None:
    """The outputs' names are fixed."""
    assert set(source["Outputs"]) == {
        "PhotosBucketName",
        "ResultsBucketName",
        "JobsTableName",
        "EventBusName",
        "StateMachineArn",
        "SubmitQueueUrl",
        "SubmitDeadLetterQueueUrl",
        "VmakeApiKeySecretArn",
        "AlarmTopicArn",
        "DashboardName",
    }


def test_every_bucket_is_private_encrypted_and_tls_only(translated: dict[str, Any]) -> None:
    """No bucket is public, and none accepts plain http."""
    buckets = _of_type(translated, "AWS::S3::Bucket")
    assert set(buckets) == {"PhotosBucket", "ResultsBucket"}
    for name, bucket in buckets.items():
        properties = bucket["Properties"]
        assert all(properties["PublicAccessBlockConfiguration"].values())
        assert properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert bucket["DeletionPolicy"] == "RetainExceptOnCreate"
        (policy,) = (
            entry["Properties"]["PolicyDocument"]["Statement"]
            for entry in _of_type(translated, "AWS::S3::BucketPolicy").values()
            if entry["Properties"]["Bucket"] == {"Ref": name}
        )
        assert any(
            statement["Effect"] == "Deny"
            and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
            for statement in policy
        )


def test_photos_are_versioned_and_tell_eventbridge(translated: dict[str, Any]) -> None:
    """The photos bucket has versioning and sends all events to EventBridge."""
    photos = translated["Resources"]["PhotosBucket"]["Properties"]
    assert photos["VersioningConfiguration"] == {"Status": "Enabled"}
    assert photos["NotificationConfiguration"]["EventBridgeConfiguration"] == {
        "EventBridgeEnabled": True
    }


def test_each_function_and_the_state_machine_have_a_role_of_their_own(
    translated: dict[str, Any],
) -> None:
    """No two functions share a role."""
    users = {
        **_of_type(translated, "AWS::Lambda::Function"),
        **_of_type(translated, "AWS::StepFunctions::StateMachine"),
    }
    roles = [
        json.dumps(user["Properties"].get("Role") or user["Properties"]["RoleArn"])
        for user in users.values()
    ]
    assert len(set(roles)) == len(roles) == len(_of_type(translated, "AWS::IAM::Role"))


def test_no_role_may_do_anything_to_everything(translated: dict[str, Any]) -> None:
    """No action has a wildcard, and only traces and logs have all resources."""
    for name, role in _of_type(translated, "AWS::IAM::Role").items():
        assert not role["Properties"].get("ManagedPolicyArns")
        for policy in role["Properties"]["Policies"]:
            for statement in policy["PolicyDocument"]["Statement"]:
                actions = statement["Action"]
                actions = [actions] if isinstance(actions, str) else actions
                assert not [action for action in actions if "*" in action], (name, actions)
                if statement["Resource"] == "*":
                    assert statement["Sid"] in {"DeliverLogs", "Trace"}


def test_services_assume_roles_for_this_account_alone(translated: dict[str, Any]) -> None:
    """Trust policies name this account."""
    # Lambda's documentation does not say that it sends the account; see docs/decisions.md.
    operators = {
        "lambda.amazonaws.com": "StringEqualsIfExists",
        "states.amazonaws.com": "StringEquals",
    }
    roles = _of_type(translated, "AWS::IAM::Role")
    assert len(roles) >= len(FUNCTIONS) + 1
    for name, role in roles.items():
        for statement in role["Properties"]["AssumeRolePolicyDocument"]["Statement"]:
            operator = operators.get(statement["Principal"]["Service"], "StringEquals")
            account = {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
            assert statement.get("Condition") == {operator: account}, name


def test_the_queue_gives_a_dead_invocation_time_to_end(translated: dict[str, Any]) -> None:
    """The queue's visibility timeout is longer than an invocation and its lease."""
    function = translated["Resources"]["SubmitFunction"]["Properties"]
    queue = translated["Resources"]["SubmitQueue"]["Properties"]
    assert queue["VisibilityTimeout"] >= function["Timeout"] + 30
    assert queue["RedrivePolicy"]["deadLetterTargetArn"] == {"Fn::GetAtt": ["SubmitDLQ", "Arn"]}
    (mapping,) = _of_type(translated, "AWS::Lambda::EventSourceMapping").values()
    assert mapping["Properties"]["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["Properties"]["ScalingConfig"] == {
        "MaximumConcurrency": {"Ref": "MaxSubmitConcurrency"}
    }


def test_undeliverable_events_are_kept(translated: dict[str, Any]) -> None:
    """Events that EventBridge cannot deliver go to the dead-letter queue."""
    rules = _of_type(translated, "AWS::Events::Rule")
    assert set(rules) == {
        "PhotoDroppedRule",
        "ModelRequestedRule",
        "ExecutionStoppedRule",
        "ReconcileFunctionEveryQuarterHour",
    }
    for rule in (rules["PhotoDroppedRule"], rules["ModelRequestedRule"]):
        (target,) = rule["Properties"]["Targets"]
        assert target["DeadLetterConfig"]["Arn"] == {"Fn::GetAtt": ["SubmitDLQ", "Arn"]}


def test_every_log_group_forgets(translated: dict[str, Any]) -> None:
    """Logs are kept for a while, not for ever, and each function writes to its own group."""
    groups = _of_type(translated, "AWS::Logs::LogGroup")
    assert all(group["Properties"]["RetentionInDays"] for group in groups.values())
    used = {
        translated["Resources"][name]["Properties"]["LoggingConfig"]["LogGroup"]["Ref"]
        for name in FUNCTIONS
    }
    assert len(used) == len(FUNCTIONS)
    assert used <= set(groups)


def test_no_function_is_given_the_key_itself(translated: dict[str, Any]) -> None:
    """The environment has the ARN of the key's secret, not the key."""
    for name in FUNCTIONS:
        variables = translated["Resources"][name]["Properties"]["Environment"]["Variables"]
        assert variables["API_KEY_SECRET"] == {"Fn::GetAtt": ["VmakeApiKeySecret", "Id"]}


def test_each_function_is_given_what_it_reads(translated: dict[str, Any]) -> None:
    """Each function gets all variables that its configuration needs, and none that it ignores."""
    from shared import config  # noqa: PLC0415  the module under test

    others = {"POWERTOOLS_LOG_LEVEL", "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE"}
    for name in FUNCTIONS:
        kind = getattr(config, name.replace("Function", "Config"))
        fields = {field.name.upper(): field for field in dataclasses.fields(kind)}
        variables = translated["Resources"][name]["Properties"]["Environment"]["Variables"]
        assert set(variables) <= set(fields) | others
        needed = {name for name, field in fields.items() if field.default is dataclasses.MISSING}
        assert needed <= set(variables)


def test_the_table_has_its_indexes(translated: dict[str, Any]) -> None:
    """Jobs can be found by status, source, SKU and review, and what was spent by day."""
    table = translated["Resources"]["JobsTable"]["Properties"]
    indexes = {
        index["IndexName"]: [key["AttributeName"] for key in index["KeySchema"]]
        for index in table["GlobalSecondaryIndexes"]
    }
    assert indexes == {
        "by-status": ["status", "updated_at"],
        "by-source": ["source_key", "created_at"],
        "by-sku": ["sku", "created_at"],
        "by-day": ["day", "charged_at"],
        "by-review": ["review_state", "updated_at"],
    }
    assert table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is True


def test_samconfig_needs_no_answers() -> None:
    """The committed samconfig.toml does not name an account, a region or a bucket."""
    text = (ROOT / "samconfig.toml").read_text()
    assert "region" not in text
    assert "s3_bucket" not in text


def test_yaml_anchors_are_gone_after_the_transform(translated: dict[str, Any]) -> None:
    """The translated template survives a round trip through plain YAML."""
    assert yaml.safe_load(yaml.safe_dump(translated)) == translated


def test_the_functions_speak_to_aws_itself_by_default(source: dict[str, Any]) -> None:
    """The variables for `sam local invoke` are there only when its parameters are given."""
    variables = source["Globals"]["Function"]["Environment"]["Variables"]
    for name in ("AWS_ENDPOINT_URL", "AWS_CA_BUNDLE"):
        condition, _, otherwise = variables[name]["Fn::If"]
        assert condition == "IsLocal"
        assert otherwise == {"Ref": "AWS::NoValue"}
    assert source["Parameters"]["AwsEndpointUrl"]["Default"] == ""
