"""What MiniStack makes of the template otherwise than AWS does, mended around the deployment.

The template is right on AWS, so the laptop gives way. Each function here can go once MiniStack
does as AWS: its docstring says what to look for. Found with MiniStack 1.5.33.
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
"""A create may take 15 seconds; then the next message may have been taken just before the hold."""
_YAML_TO_JSON = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)"


def adapt(built: Path) -> None:
    """Leave out of a built template what MiniStack refuses to deploy, as JSON in its place.

    It knows no AWS::Logs::QueryDefinition and no alarm that reckons with several metrics
    (`Metrics`), and rolls the whole stack back for either. Nothing else refers to them.
    """
    template: dict[str, Any] = json.loads(_as_json(built.read_text(encoding="utf-8")))
    template["Resources"] = {
        name: resource
        for name, resource in template["Resources"].items()
        if not _is_refused(resource)
    }
    built.write_text(json.dumps(template), encoding="utf-8")


def _is_refused(resource: dict[str, Any]) -> bool:
    reckons = "Metrics" in resource.get("Properties", {})
    return resource["Type"] == "AWS::Logs::QueryDefinition" or (
        resource["Type"] == "AWS::CloudWatch::Alarm" and reckons
    )


def mend(clients: Clients, state_machine_arn: str) -> None:
    """Bring the deployed stack to what the template says."""
    _read_definition_as_yaml(clients, state_machine_arn)
    _make_concurrency_a_number(clients)


@contextlib.contextmanager
def submission_held(clients: Clients, jobs_table: str, state_machine_arn: str) -> Iterator[None]:
    """Have SubmitFunction take no message while a stack that is up is deployed anew, then mend.

    MiniStack kills the functions' running invocations when their code changes, and keeps the YAML
    of a changed state machine until it is mended. AWS does neither. PollFunction and
    FinalizeFunction are called again by the state machine; a killed create would be parked as
    SUBMIT_UNKNOWN.
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
            mend(clients, state_machine_arn)
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
    """Store the state machine's definition as JSON: AWS takes YAML from S3 too.

    MiniStack keeps the YAML, and an execution then fails at its start.
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
    """Set ScalingConfig.MaximumConcurrency as a number: parameters are strings, AWS converts them.

    MiniStack compares the string with a number, and its poller then takes no message at all.
    """
    answer = clients.functions.list_event_source_mappings()
    for mapping in answer["EventSourceMappings"]:
        # boto3 shows a number either way.
        limit = mapping.get("ScalingConfig", {}).get("MaximumConcurrency")
        if limit is not None:
            clients.functions.update_event_source_mapping(
                UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": int(limit)}
            )


def _as_json(text: str) -> str:
    """Convert plain YAML; MiniStack's interpreter can, since the SAM transform needs to."""
    return subprocess.run(
        [ministack.python(), "-c", _YAML_TO_JSON],
        input=text,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
