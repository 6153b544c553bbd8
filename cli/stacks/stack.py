"""A deployed stack and its parts, found through the outputs in CloudFormation."""

import json
import os
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self
from urllib.parse import urlsplit

from botocore.config import Config as ClientConfig
from botocore.exceptions import BotoCoreError, ClientError

from cli.errors import CommandError, sentence
from cli.stacks.selection import Choice, ChosenBy, choose, read_last, refuse_guess, region, remember
from cli.terminal.output import tell
from shared import clients
from shared.config import SubmitConfig
from shared.intake.arrivals import Arrivals
from shared.limits.settling import first_used
from shared.records.jobs import JobRepository
from shared.records.ledger import Ledger
from shared.steps.dead_letters import DeadLetters

_NEEDED: Final = (
    "PhotosBucketName",
    "JobsTableName",
    "EventBusName",
    "StateMachineArn",
    "SubmitQueueUrl",
    "SubmitDeadLetterQueueUrl",
)


@dataclass(frozen=True)
class Catwalk:
    """A deployed stack, used with the caller's own AWS rights."""

    name: str
    outputs: dict[str, str]
    parameters: dict[str, str]
    choice: Choice
    status: str = ""
    """CloudFormation's: `UPDATE_COMPLETE`."""

    @classmethod
    def chosen(cls, name: str | None, *, changes: bool = False) -> Self:
        """Choose a stack (see `cli.stacks.selection`) and find it.

        Args:
            name: the value of `--stack`, if given; that stack becomes the last used.
            changes: whether the command changes or spends something. Then the stack is named in
                the output, unless the person has named it.

        Raises:
            CommandError: the stack does not exist or AWS cannot be reached; or `changes` is set
                and another stack may be meant.

        """
        choice = choose(name)
        found = cls.find(choice)
        if choice.chosen_by is ChosenBy.OPTION:
            remember(choice)
        if changes and not choice.chosen_by.explicit:
            refuse_guess(choice)
            tell(f"This is about {choice} ({choice.chosen_by}).")
        return found

    @classmethod
    def find(cls, choice: Choice) -> Self:
        """Find a stack with this process's AWS settings.

        Raises:
            CommandError: the stack does not exist, or AWS cannot be reached.

        """
        name = choice.name
        try:
            answer = clients.client("cloudformation").describe_stacks(StackName=name)
        except ClientError as error:
            said = sentence(str(error.response["Error"].get("Message") or error))
            if error.response["Error"].get("Code") == "ValidationError":
                raise CommandError(
                    f"CloudFormation shows no stack {name!r} in {region()}: {said}",
                    elsewhere(name) or "Name another with --stack, or deploy it: `catwalk deploy`.",
                ) from error
            raise CommandError(
                f"AWS does not show the stack {name!r}: {said}",
                "Check the credentials, their rights and the region.",
            ) from error
        # botocore raises plain ValueError and OSError for invalid endpoints and certificates.
        except (BotoCoreError, ValueError, OSError) as error:
            raise CommandError(
                sentence(f"AWS cannot be asked for the stack {name!r}: {error}"),
                "Set credentials and region as for the AWS CLI; for the stack of `catwalk up`, say"
                " `--stack laptop`.",
            ) from error
        (stack,) = answer["Stacks"]
        outputs = {o["OutputKey"]: o["OutputValue"] for o in stack.get("Outputs", [])}
        lacking = [output for output in _NEEDED if output not in outputs]
        if lacking:
            raise CommandError(
                f"The stack {name!r} has no output {lacking[0]}; it is {stack['StackStatus']}.",
                "Check that it is a Catwalk stack and that its deployment succeeded.",
            )
        parameters = {p["ParameterKey"]: p["ParameterValue"] for p in stack.get("Parameters", [])}
        return cls(name, outputs, parameters, choice, stack["StackStatus"])

    def reconcile(self) -> dict[str, int]:
        """Invoke ReconcileFunction; return what it recovered, as counts by name.

        Raises:
            CommandError: the function failed.

        """
        function = clients.client("cloudformation").describe_stack_resource(
            StackName=self.name, LogicalResourceId="ReconcileFunction"
        )["StackResourceDetail"]["PhysicalResourceId"]
        # It may run for minutes. A client that times out would invoke it a second time.
        patient = ClientConfig(read_timeout=330, retries={"total_max_attempts": 1})
        answer = clients.client("lambda", config=patient).invoke(
            FunctionName=function, Payload=json.dumps({"still_seconds": 0}).encode()
        )
        document = json.loads(answer["Payload"].read())
        if answer.get("FunctionError"):
            raise CommandError(
                sentence(f"ReconcileFunction failed: {document.get('errorMessage')}"),
                "Its log shows the cause; the next run tries again.",
            )
        moved: dict[str, int] = document
        return moved

    @property
    def vendor_origin(self) -> str:
        """The origin of the vendor's API."""
        base = urlsplit(self.parameters.get("VmakeBaseUrl", ""))
        return f"{base.scheme}://{base.netloc}"

    @property
    def config(self) -> SubmitConfig:
        """SubmitFunction's configuration, as far as it comes from template parameters."""
        environment = {
            re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper(): value
            for name, value in self.parameters.items()
        }
        needed = (
            *("JOBS_TABLE", "EVENT_BUS", "VMAKE_BASE_URL", "API_KEY_SECRET"),
            *("PHOTOS_BUCKET", "SUBMIT_QUEUE_URL", "STATE_MACHINE_ARN"),
        )
        return SubmitConfig.from_environment(dict.fromkeys(needed, "-") | environment)

    def bucket_used_since(self) -> datetime | None:
        """Return when its functions first used the photos bucket; None if none has run yet."""
        outputs = self.outputs
        return first_used(clients.dynamodb(), outputs["JobsTableName"], outputs["PhotosBucketName"])

    @property
    def jobs(self) -> JobRepository:
        """Its job records."""
        return JobRepository(clients.dynamodb(), self.outputs["JobsTableName"])

    @property
    def ledger(self) -> Ledger:
        """Its credit ledger."""
        return Ledger(clients.dynamodb(), self.outputs["JobsTableName"])

    @property
    def dead_letters(self) -> DeadLetters:
        """Its dead letters."""
        return DeadLetters(
            clients.sqs(),
            dead_letter_url=self.outputs["SubmitDeadLetterQueueUrl"],
            queue_url=self.outputs["SubmitQueueUrl"],
            photos_bucket=self.outputs["PhotosBucketName"],
            vendor_origin=self.vendor_origin,
            jobs=self.jobs,
            arrivals=Arrivals(clients.dynamodb(), self.outputs["JobsTableName"]),
        )


def elsewhere(name: str) -> str | None:
    """Return a hint if the stack was last used in another region or with another profile."""
    last = read_last()
    if last is None or last.name != name:
        return None
    if last.region and last.region != region():
        return (
            f"It was last used in {last.region}: say AWS_REGION={last.region} before the command."
        )
    profile = os.environ.get("AWS_PROFILE")
    if last.profile and last.profile != profile:
        return f"It was last used with another profile: try AWS_PROFILE={last.profile}."
    return None
