"""Which stack a command means: `--stack`, else CATWALK_STACK, else the last used, else one found.

`laptop` is the stack of `catwalk up` on this machine. Any other name is a CloudFormation stack in
the account and region of this shell's AWS settings. The laptop's stack needs no AWS settings: this
module points this process's AWS variables at it.

If the shell sets AWS_ENDPOINT_URL, that endpoint is used: the last used stack is neither read nor
remembered.
"""

import json
import os
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import typer
from botocore.session import Session

from cli.errors import CommandError
from cli.stacks.project import find_project
from cli.terminal.output import tell
from local.stack import environment, ministack
from local.stack.state import STACK, UP, Address, StateFolder

LAPTOP: Final = "laptop"
VARIABLE: Final = "CATWALK_STACK"
CATWALK: Final = "catwalk"
"""The default name of a stack."""


class ChosenBy(StrEnum):
    """How a stack was chosen."""

    OPTION = "named with --stack"
    VARIABLE = "named by CATWALK_STACK"
    LAST = "used last"
    FOUND = "found on this machine"
    DEFAULT = "nothing else was named"

    @property
    def explicit(self) -> bool:
        """Whether the person named the stack for this command or in this shell."""
        return self in {ChosenBy.OPTION, ChosenBy.VARIABLE}


@dataclass(frozen=True)
class LastUsed:
    """The stack that was used last, and where; the fields are the names in last-stack.json."""

    name: str
    region: str | None = None
    profile: str | None = None
    """The AWS profile; None if the credentials came from elsewhere."""
    home: str | None = None
    """The project's folder that a laptop stack belongs to."""


@dataclass(frozen=True)
class Choice:
    """The stack that a command means."""

    name: str
    """Its name in CloudFormation."""
    laptop: bool
    vendor_url: str = ""
    """The simulated vendor of a laptop stack."""
    chosen_by: ChosenBy = ChosenBy.DEFAULT
    project: Path | None = None
    """The project's folder that a laptop stack belongs to."""

    def __str__(self) -> str:
        """Name the stack and its place, for use inside a sentence."""
        if self.laptop:
            return f"the laptop's stack ({self.project})"
        at = endpoint()
        return f"the stack {self.name!r} {f'at {at}' if at else f'in {region()}'}"


class Condition(StrEnum):
    """The state of a laptop's stack."""

    NONE = "none"
    """It was never started, or it was stopped."""
    GONE = "gone"
    """It was started, and one of its processes has ended."""
    SILENT = "silent"
    """Its processes run, but the local AWS does not answer."""
    UP = "up"


def choose(name: str | None) -> Choice:
    """Choose the stack, and point this process's AWS clients at it.

    Args:
        name: the value of `--stack`, if given.

    Raises:
        CommandError: the name is empty, or the laptop's stack is meant and is not up.

    """
    chosen_by = ChosenBy.OPTION
    if name is None and os.environ.get(VARIABLE):
        name, chosen_by = os.environ[VARIABLE], ChosenBy.VARIABLE
    if name is not None and not name.strip():
        raise CommandError("The stack's name is empty.", "Name it with --stack.")
    last = read_last()
    if name is None:
        if endpoint() is not None:
            return Choice(CATWALK, laptop=False)
        if last is None:
            return _laptop(None, ChosenBy.FOUND) or Choice(CATWALK, laptop=False)
        if last.name != LAPTOP:
            follow(last)
            return Choice(last.name, laptop=False, chosen_by=ChosenBy.LAST)
        name, chosen_by = LAPTOP, ChosenBy.LAST
    if name != LAPTOP:
        return Choice(name, laptop=False, chosen_by=chosen_by)
    found = _laptop(last, chosen_by)
    if found is None:
        was = ", which was used last," if chosen_by is ChosenBy.LAST else ""
        raise CommandError(
            f"The laptop's stack{was} is not up: {condition_in_words(find_project().path)}.",
            "Start it with `catwalk up`, or name another stack with --stack."
            + (" `catwalk down` forgets it." if chosen_by is ChosenBy.LAST else ""),
        )
    return found


def refuse_guess(choice: Choice) -> None:
    """Refuse to change or spend anything on an AWS stack that was only guessed.

    Raises:
        CommandError: the stack was never named; or it was used last and a laptop's stack is up.

    """
    if choice.laptop or choice.chosen_by.explicit or endpoint() is not None:
        return
    if choice.chosen_by is ChosenBy.DEFAULT:
        raise CommandError(
            f"No stack is named; the default would be {choice}.",
            f"Name it once: --stack {choice.name}. Or start the laptop's stack: `catwalk up`.",
        )
    if condition(find_project().path) is Condition.UP:
        raise CommandError(
            f"Two stacks may be meant: {choice}, used last, and the laptop's stack, which is up.",
            f"Name one: --stack {choice.name} or --stack {LAPTOP}.",
        )


def region() -> str | None:
    """Return the AWS region of this process's clients."""
    found: str | None = Session().get_config_variable("region")
    return found


def endpoint() -> str | None:
    """Return the endpoint of this shell's AWS clients; None means AWS itself."""
    return os.environ.get("AWS_ENDPOINT_URL") or None


def is_here() -> bool:
    """Return whether this shell's AWS clients use an endpoint on this machine."""
    return urlsplit(endpoint() or "").hostname in {"127.0.0.1", "localhost", "::1"}


def read_last() -> LastUsed | None:
    """Return the stack that was used last; None if there is none or the file is unreadable."""
    try:
        document = json.loads(_file().read_text())
        # Fields that a later version may have added are ignored.
        known = {field.name: document.get(field.name) for field in fields(LastUsed)}
    except (OSError, ValueError, AttributeError):
        return None
    if not known["name"] or not all(
        value is None or isinstance(value, str) for value in known.values()
    ):
        return None
    return LastUsed(**known)


def remember(choice: Choice) -> None:
    """Remember a stack as the last used. `up`, `deploy` and `--stack` do so.

    A failure to write the file is reported and does not end the command.
    """
    if choice.laptop:
        last = LastUsed(LAPTOP, home=str(choice.project))
    elif endpoint() is not None:
        return
    else:
        profile = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE")
        last = LastUsed(choice.name, region(), profile)
    if last == read_last():
        return
    file = _file()
    new = file.with_suffix(".new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(json.dumps({k: v for k, v in asdict(last).items() if v is not None}))
        new.replace(file)
    except OSError as error:
        tell(f"The last used stack could not be saved: {error}.")


def forget_laptop(project: Path) -> None:
    """Forget a project's laptop stack if it was the last used."""
    last = read_last()
    if last is None or last.name != LAPTOP or (last.home and Path(last.home) != project):
        return
    try:
        _file().unlink(missing_ok=True)
    except OSError as error:
        tell(f"The last used stack could not be cleared: {error}.")


def condition(project: Path) -> Condition:
    """Return the state of a project's laptop stack."""
    state = laptop_folder(project).read()
    if state.address is None:
        return Condition.NONE
    if not state.complete:
        return Condition.GONE
    try:
        answers = ministack.answers(state.address.endpoint, Path(state.address.ca_bundle))
    except OSError:  # its certificate is gone
        answers = False
    return Condition.UP if answers else Condition.SILENT


def condition_in_words(project: Path) -> str:
    """Describe the state of a project's laptop stack, for the end of a sentence."""
    return {
        Condition.NONE: f"none was started in {project}",
        Condition.GONE: f"MiniStack or the simulated vendor has ended in {project}",
        Condition.SILENT: f"MiniStack runs in {project} but does not answer",
        Condition.UP: f"it is up in {project}",
    }[condition(project)]


def laptop_folder(project: Path) -> StateFolder:
    """Return the folder of a project's laptop stack."""
    return StateFolder(project / ".catwalk" / UP)


def _file() -> Path:
    return Path(typer.get_app_dir("catwalk")) / "last-stack.json"


def follow(last: LastUsed) -> None:
    """Use the region and profile of the last used stack, unless the shell sets its own."""
    given = os.environ
    if last.region and not (given.get("AWS_REGION") or given.get("AWS_DEFAULT_REGION")):
        given["AWS_DEFAULT_REGION"] = last.region
    # Credentials that the shell sets take precedence.
    own = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE")
    if last.profile and not any(given.get(name) for name in own):
        given["AWS_PROFILE"] = last.profile


def _laptop(last: LastUsed | None, chosen_by: ChosenBy) -> Choice | None:
    """Return this project's laptop stack if it is up, else the one used last if that is up."""
    projects = [find_project().path]
    if last is not None and last.home and Path(last.home) not in projects:
        projects.append(Path(last.home))
    for project in projects:
        address = laptop_folder(project).read().address
        if address is not None and condition(project) is Condition.UP:
            return laptop_choice(project, address, chosen_by)
    return None


def laptop_choice(project: Path, address: Address, chosen_by: ChosenBy) -> Choice:
    """Point this process's AWS clients at a laptop stack that is up."""
    environment.forget_users_aws(os.environ)
    os.environ.update(
        environment.aws(
            laptop_folder(project).path,
            endpoint=address.endpoint,
            ca_bundle=Path(address.ca_bundle),
            credentials=address.credentials,
        )
    )
    return Choice(
        STACK, laptop=True, vendor_url=address.vendor_url, chosen_by=chosen_by, project=project
    )
