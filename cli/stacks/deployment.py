"""A deployment to AWS: what is asked, what it will make, and the real SAM CLI that makes it."""

import contextlib
import os
import re
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError

from cli.errors import CommandError, sentence
from cli.stacks import selection
from shared import clients
from shared.vmake import catalogue

NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,127}")
REGION: Final = re.compile(r"[a-z]{2,4}(-[a-z]+)+-[0-9]+")
_DEFAULT_BUS: Final = "default"
_LONGEST_NAME: Final = 92
"""The alarm topic's display name has 100 characters at most, and 8 of them are `Catwalk `."""
_EMAIL: Final = re.compile(r"[^@\s\"',]+@[^@\s\"',]+")
_NOT_SAMS: Final = "VMAKE_API_KEY"
_SHOWN: Final = {
    "AWS::S3::Bucket": "bucket",
    "AWS::DynamoDB::Table": "table",
    "AWS::SQS::Queue": "queue",
    "AWS::Serverless::Function": "function",
    "AWS::Serverless::StateMachine": "state machine",
    "AWS::Events::EventBus": "event bus",
    "AWS::SecretsManager::Secret": "secret",
    "AWS::SNS::Topic": "alarm topic",
    "AWS::CloudWatch::Alarm": "alarm",
    "AWS::CloudWatch::Dashboard": "dashboard",
}
"""What a person knows by name; the rest connects these."""
_STUCK: Final = {"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED"}


@dataclass(frozen=True)
class Parameter:
    """A template parameter."""

    name: str
    default: str | None
    """None if it must be given."""
    pattern: str | None = None
    """What CloudFormation takes, as a regular expression for the whole value."""
    constraint: str | None = None
    """What the pattern means, as the end of a sentence: `must be …`."""


@dataclass(frozen=True)
class Present:
    """A stack as it is deployed already."""

    status: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)


def template_parameters(text: str) -> dict[str, Parameter]:
    """Return a template's parameters, by name.

    The template is ours and regular: two spaces for a name, four for what belongs to it. Its tags
    (`!Ref`) are why no YAML library reads it without more ado.
    """
    found: dict[str, Parameter] = {}
    section = re.search(r"^Parameters:\n((?:[ #].*\n|\n)*)", text, re.MULTILINE)
    for name, body in re.findall(
        r"^  (\w+):\n((?:    .*\n)*)", section[1] if section else "", re.MULTILINE
    ):
        pattern = _entry(body, "AllowedPattern")
        found[name] = Parameter(
            name,
            _entry(body, "Default"),
            None if pattern is None else pattern.replace("\\\\", "\\"),  # as YAML's quotes need it
            _entry(body, "ConstraintDescription"),
        )
    return found


def _entry(body: str, name: str) -> str | None:
    """Return what stands after a name of a parameter, without its quotes."""
    match = re.search(rf"^    {name}: *(.*)$", body, re.MULTILINE)
    return None if match is None else match[1].strip().strip("\"'")


def resources(text: str) -> str:
    """Say what a template makes: `2 buckets, a table, …, and 20 parts that connect them`."""
    section = re.search(r"^Resources:\n((?:[ #].*\n|\n)*)", text, re.MULTILINE)
    types = Counter(re.findall(r"^    Type: (\S+)$", section[1] if section else "", re.MULTILINE))
    words = []
    for type_, word in _SHOWN.items():
        count = types.pop(type_, 0)
        if count:
            words.append(f"{count} {word}{'' if count == 1 else 's'}")
    return f"{', '.join(words)}, and {types.total()} parts that connect them"


def present(stack: str) -> Present | None:
    """Return a stack as it is deployed; None if there is none.

    Raises:
        CommandError: AWS cannot be asked, or the stack is in a state that no deployment mends.

    """
    try:
        answer = clients.client("cloudformation").describe_stacks(StackName=stack)
    except ClientError as error:
        if error.response["Error"].get("Code") == "ValidationError":
            return None
        raise
    (found,) = answer["Stacks"]
    status = found["StackStatus"]
    if status in _STUCK:
        raise CommandError(
            f"The stack {stack!r} is {status}: it can be deployed no more.",
            f"Delete it (`aws cloudformation delete-stack --stack-name {stack}`) and try again."
            " Buckets and table of a stack that has been deployed stay.",
        )
    if status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS":
        raise CommandError(
            f"The stack {stack!r} is {status}.", "Wait until that has ended, and try again."
        )
    parameters = found.get("Parameters", [])
    outputs = found.get("Outputs", [])
    return Present(
        status,
        {p["ParameterKey"]: p.get("ParameterValue", "") for p in parameters},
        {o["OutputKey"]: o["OutputValue"] for o in outputs},
    )


def caller() -> tuple[str, str]:
    """Return the account and who is asking.

    Raises:
        CommandError: there are no credentials, or AWS refuses them.

    """
    try:
        answer = clients.client("sts").get_caller_identity()
    except (ClientError, BotoCoreError, ValueError, OSError) as error:
        raise CommandError(
            sentence(f"AWS does not say whose account this is: {error}"),
            "Set credentials as for the AWS CLI: `aws configure`, `aws sso login` or AWS_PROFILE.",
        ) from error
    return answer["Account"], answer["Arn"]


# --- answers --------------------------------------------------------------------------------------


def stack_name(text: str) -> str:
    """Return a stack's name.

    Raises:
        CommandError: CloudFormation takes no such name, or the template cannot use it.

    """
    if text == _DEFAULT_BUS:
        raise CommandError(
            "A stack cannot be named 'default': its event bus has the stack's name, and each"
            " account has an event bus of this name already.",
            "Choose another: catwalk.",
        )
    if len(text) > _LONGEST_NAME:
        raise CommandError(
            f"The stack's name has {len(text)} characters; the most are {_LONGEST_NAME}.",
            "The names of its alarms and topic are made of it. Choose a shorter one: catwalk.",
        )
    if not NAME.fullmatch(text):
        raise CommandError(
            f"{text!r} is no name for a stack.",
            "Letters, digits and hyphens, a letter first: catwalk.",
        )
    return text


def parameter_value(parameter: Parameter, value: str) -> str:
    """Return a value of a template parameter.

    Raises:
        CommandError: CloudFormation would not take it.

    """
    pattern = parameter.pattern
    if pattern is not None and not re.fullmatch(pattern, value):
        says = parameter.constraint or f"must match {pattern}"
        raise CommandError(
            f"{parameter.name} {says}; {value!r} was given.",
            f"The template's own value is {parameter.default!r}.",
        )
    return value


def region_name(text: str) -> str:
    """Return an AWS region.

    Raises:
        CommandError: it is none by its form.

    """
    if not REGION.fullmatch(text):
        raise CommandError(f"{text!r} is no AWS region.", "Name one as AWS does: eu-central-1.")
    return text


def model_id(text: str) -> str:
    """Return a model's id, given by its id or name.

    Raises:
        CommandError: it is no id, or nearly a known one.

    """
    try:
        return catalogue.model_id(text)
    except catalogue.NoSuchIdError as error:
        known = ", ".join(f"{id_} {name}" for id_, name in catalogue.MODELS.items())
        raise CommandError(
            f"{text!r} is no model's id.", f"{known}, or another of the vendor's."
        ) from error


def scene(text: str) -> tuple[str, str]:
    """Return scene type and scene id of what is written `original`, `none` or `preset:035`.

    Raises:
        CommandError: it is none of these.

    """
    kind, _, scene_id = text.partition(":")
    if kind in {"original", "none"} and not scene_id:
        return kind, ""
    if kind == "preset":
        with contextlib.suppress(catalogue.NoSuchIdError):
            return kind, catalogue.scene_id(scene_id)
    raise CommandError(
        f"{text!r} is no background that a stack can have by default.",
        "original (the photo's own), none (transparent) or a preset scene: preset:035. A colour is"
        " said with each photo, or in a catwalk.json.",
    )


def scene_text(parameters: Mapping[str, str]) -> str:
    """Write a stack's default scene as it is asked for."""
    kind, scene_id = parameters.get("DefaultSceneType", ""), parameters.get("DefaultSceneId", "")
    return f"{kind}:{scene_id}" if kind == "preset" else kind


def whole_number(text: str, least: int, most: int | None, what: str) -> str:
    """Return a whole number as it was written.

    Raises:
        CommandError: it is none, or out of its range.

    """
    if re.fullmatch(r"[0-9]{1,9}", text) and least <= int(text) <= (most or int(text)):
        return str(int(text))
    limits = f"{least} to {most}" if most is not None else f"{least} or more"
    raise CommandError(f"{text!r} is no {what}.", f"Give a whole number, {limits}.")


def email(text: str) -> str:
    """Return an e-mail address, or nothing.

    Raises:
        CommandError: it is none by its form.

    """
    if text and not _EMAIL.fullmatch(text):
        raise CommandError(
            f"{text!r} is no e-mail address.", "Give one, or nothing for no alarms by e-mail."
        )
    return text


# --- SAM ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sam:
    """The real SAM CLI of the project's folder; what it says is passed through."""

    project: Path

    def build(self, parameters: Mapping[str, str]) -> None:
        """Build the functions.

        Raises:
            CommandError: it failed.

        """
        self._run("build", "--parameter-overrides", *_overrides(parameters))
        if selection.is_here():
            # A rehearsal on a local AWS: what that refuses, it does without.
            from local.stack import differences  # noqa: PLC0415  takes a while, and is of no use elsewhere

            differences.adapt(self.project / ".aws-sam" / "build" / "template.yaml")

    def deploy(self, stack: str, region: str, parameters: Mapping[str, str]) -> None:
        """Deploy what was built.

        Args:
            stack: its name.
            region: where.
            parameters: those that are said; of a stack that is there the others stay as they are.

        Raises:
            CommandError: it failed.

        """
        self._run(
            *("deploy", "--stack-name", stack, "--region", region, "--resolve-s3"),
            *("--capabilities", "CAPABILITY_IAM"),
            # It has been asked and shown already.
            *("--no-confirm-changeset", "--no-fail-on-empty-changeset"),
            *("--parameter-overrides", *_overrides(parameters)),
        )

    def _run(self, command: str, *arguments: str) -> None:
        tools = self.project / ".tools"
        path = f"{tools / 'python' / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        environment = {name: value for name, value in os.environ.items() if name != _NOT_SAMS}
        done = subprocess.run(
            [str(tools / "sam" / "bin" / "sam"), command, *arguments],
            cwd=self.project,
            # `python3` in functions/Makefile is then one of the versions that Catwalk knows.
            env={"SAM_CLI_TELEMETRY": "0"} | environment | {"PATH": path},
            # It has nothing to ask; if it thinks so, it shall fail and not wait.
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode != 0:
            raise CommandError(
                f"`sam {command}` failed with status {done.returncode}; what it said stands above.",
                "Mend that and run `catwalk deploy` again: what is there already stays.",
            )


def _overrides(parameters: Mapping[str, str]) -> Sequence[str]:
    """Write parameters as SAM reads them, an empty one with quotes."""
    return [
        f"ParameterKey={name},ParameterValue={value or chr(34) * 2}"
        for name, value in parameters.items()
    ]
