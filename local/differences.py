"""What MiniStack makes of the template otherwise than AWS does, mended around the deployment.

The template is right on AWS, so the laptop gives way. Each function here can go once MiniStack
does as AWS: its docstring says what to look for. Found with MiniStack 1.5.33.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

from . import ministack
from .clients import Clients

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
