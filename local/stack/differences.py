"""Compensates for differences between MiniStack and AWS, before and after the deployment.

The template is correct on AWS, so only the laptop adapts. Each docstring names the difference. Once
MiniStack behaves as AWS does, the function can be removed. Found with MiniStack 1.5.33.
"""

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from local.stack import ministack
from local.stack.clients import Clients

_SUBMITS_SECONDS: Final = 30.0
"""A create may take 15 seconds, and another message may have been received just before."""
_YAML_TO_JSON = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)"


def adapt(built: Path) -> None:
    """Remove the resources that MiniStack refuses from a built template, and write it as JSON.

    MiniStack knows no AWS::Logs::QueryDefinition and no alarm on several metrics (`Metrics`); it
    rolls the whole stack back for either. No other resource refers to them.
    """
    template: dict[str, Any] = json.loads(_as_json(built.read_text(encoding="utf-8")))
    template["Resources"] = {
        name: resource
        for name, resource in template["Resources"].items()
        if not _is_refused(resource)
    }
    built.write_text(json.dumps(template), encoding="utf-8")


def _is_refused(resource: dict[str, Any]) -> bool:
    several_metrics = "Metrics" in resource.get("Properties", {})
    return resource["Type"] == "AWS::Logs::QueryDefinition" or (
        resource["Type"] == "AWS::CloudWatch::Alarm" and several_metrics
    )


def correct(clients: Clients, state_machine_arn: str) -> None:
    """Correct the deployed stack where MiniStack did not do what the template says."""
    _read_definition_as_yaml(clients, state_machine_arn)
    _make_concurrency_a_number(clients)


@contextlib.contextmanager
def submission_held(clients: Clients, jobs_table: str, state_machine_arn: str) -> Iterator[None]:
    """Stop SubmitFunction while new code is deployed onto a running stack; then correct the stack.

    When the code of a function changes, MiniStack kills its running invocations; and it keeps a
    changed state machine as YAML until that is corrected. AWS does neither. The state machine calls
    PollFunction and FinalizeFunction again, but a killed create would become SUBMIT_UNKNOWN.
    """
    _take_messages(clients, taken=False)
    try:
        deadline, quiet = time.monotonic() + _SUBMITS_SECONDS, 0
        while quiet < 2 and time.monotonic() < deadline:  # noqa: PLR2004  one may have just begun
            time.sleep(0.5)
            quiet = 0 if _submitting(clients, jobs_table) else quiet + 1
        yield
    finally:
        try:
            correct(clients, state_machine_arn)
        finally:
            _take_messages(clients, taken=True)


def _take_messages(clients: Clients, *, taken: bool) -> None:
    for mapping in clients.functions.list_event_source_mappings()["EventSourceMappings"]:
        clients.functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=taken)


def _submitting(clients: Clients, jobs_table: str) -> bool:
    answer = clients.dynamodb.query(
        TableName=jobs_table,
        IndexName="by-status",
        KeyConditionExpression="#status = :status",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":status": {"S": "SUBMITTING"}},
        Select="COUNT",
    )
    return answer["Count"] > 0


def _read_definition_as_yaml(clients: Clients, state_machine_arn: str) -> None:
    """Store the state machine's definition as JSON.

    AWS accepts YAML from S3. MiniStack stores the YAML, and then each execution fails at its start.
    """
    definition = clients.executions.describe_state_machine(stateMachineArn=state_machine_arn)[
        "definition"
    ]
    if definition.lstrip().startswith("{"):
        return
    converted = _as_json(definition)
    json.loads(converted)
    clients.executions.update_state_machine(stateMachineArn=state_machine_arn, definition=converted)


def _make_concurrency_a_number(clients: Clients) -> None:
    """Set ScalingConfig.MaximumConcurrency as a number.

    Parameters are strings, and AWS converts them. MiniStack compares the string with a number, and
    then its poller receives no message at all.
    """
    answer = clients.functions.list_event_source_mappings()
    for mapping in answer["EventSourceMappings"]:
        # boto3 returns a number in both cases.
        limit = mapping.get("ScalingConfig", {}).get("MaximumConcurrency")
        if limit is not None:
            clients.functions.update_event_source_mapping(
                UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": int(limit)}
            )


def _as_json(text: str) -> str:
    """Convert plain YAML with MiniStack's interpreter, which has a YAML package."""
    return subprocess.run(
        [ministack.python(), "-c", _YAML_TO_JSON],
        input=text,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
