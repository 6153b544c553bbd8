"""What MiniStack makes of the template otherwise than AWS does, mended after the deployment.

The template is right on AWS, so the laptop gives way. Each function here can go once MiniStack
does as AWS: its docstring says what to look for. Found with MiniStack 1.5.33.
"""

import json
import subprocess

from . import ministack
from .clients import Clients

_YAML_TO_JSON = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)"


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
    # MiniStack's interpreter has a YAML parser, since the SAM transform needs one.
    converted = subprocess.run(
        [ministack.python(), "-c", _YAML_TO_JSON],
        input=definition,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
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
