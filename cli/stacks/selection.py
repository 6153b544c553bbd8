"""Which stack is meant: `--stack`, else CATWALK_STACK, else the last used, else what is there.

`laptop` is the stack of `catwalk up` on this machine; any other name is a CloudFormation stack
where this shell's AWS settings lead. A stack on this machine needs no settings: this process's
AWS variables are made to lead to it, and to nothing else.

A shell whose AWS_ENDPOINT_URL leads somewhere by itself is taken at its word: nothing is then
remembered, and what was used last elsewhere is not looked for there.
"""

import json
import os
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import boto3
import typer

from cli.errors import CommandError
from cli.stacks.project import home
from cli.terminal.output import tell
from local.stack import environment, ministack
from local.stack.stack import STACK, UP
from local.stack.state import Address, StateFolder

LAPTOP: Final = "laptop"
VARIABLE: Final = "CATWALK_STACK"
CATWALK: Final = "catwalk"
"""The name that a stack has unless it was given another."""


class Because(StrEnum):
    """Why a stack is meant."""

    OPTION = "named with --stack"
    VARIABLE = "named by CATWALK_STACK"
    LAST = "used last"
    FOUND = "found on this machine"
    DEFAULT = "nothing else was named"

    @property
    def said(self) -> bool:
        """Whether somebody said so, now and here."""
        return self in {Because.OPTION, Because.VARIABLE}


@dataclass(frozen=True)
class Last:
    """The stack that was used last, and where it was found."""

    name: str
    region: str | None = None
    profile: str | None = None
    """The AWS profile; None where credentials came from elsewhere."""
    home: str | None = None
    """The project's folder that a laptop stack belongs to."""


@dataclass(frozen=True)
class Choice:
    """The stack that is meant."""

    name: str
    """CloudFormation's name of it."""
    laptop: bool
    vendor_url: str = ""
    """The simulated vendor of a laptop stack."""
    because: Because = Because.DEFAULT
    home: Path | None = None
    """The project's folder that a laptop stack belongs to."""

    def __str__(self) -> str:
        """Say which one, and where."""
        if self.laptop:
            return f"the laptop's stack ({self.home})"
        at = endpoint()
        return f"the stack {self.name!r} {f'at {at}' if at else f'in {region()}'}"


class Condition(StrEnum):
    """How a laptop's stack is."""

    NONE = "none"
    """Nobody has started one, or it was stopped."""
    GONE = "gone"
    """It was started, and a process of it has ended by itself, or with the machine."""
    SILENT = "silent"
    """Its processes run, but the local AWS does not answer."""
    UP = "up"


def choose(name: str | None) -> Choice:
    """Choose the stack, and point this process's AWS clients at it.

    Args:
        name: what `--stack` says, if anything.

    Raises:
        CommandError: the name is empty, or a laptop's stack is meant and none is up.

    """
    because = Because.OPTION
    if name is None and os.environ.get(VARIABLE):
        name, because = os.environ[VARIABLE], Because.VARIABLE
    if name is not None and not name.strip():
        raise CommandError("The stack's name is empty.", "Name it with --stack.")
    last = read_last()
    if name is None:
        if endpoint() is not None:
            return Choice(CATWALK, laptop=False)
        if last is None:
            return _laptop(None, Because.FOUND) or Choice(CATWALK, laptop=False)
        if last.name != LAPTOP:
            follow(last)
            return Choice(last.name, laptop=False, because=Because.LAST)
        name, because = LAPTOP, Because.LAST
    if name != LAPTOP:
        return Choice(name, laptop=False, because=because)
    found = _laptop(last, because)
    if found is None:
        was = ", which was used last," if because is Because.LAST else ""
        raise CommandError(
            f"The laptop's stack{was} is not up: {condition_in_words(home().path)}.",
            "Start it with `catwalk up`, or name another stack with --stack."
            + (" `catwalk down` forgets it." if because is Because.LAST else ""),
        )
    return found


def refuse_guess(choice: Choice) -> None:
    """Refuse to change or spend something on AWS where another stack may well be meant.

    Raises:
        CommandError: nobody has ever named it; or it was used last, and a laptop's stack is up.

    """
    if choice.laptop or choice.because.said or endpoint() is not None:
        return
    if choice.because is Because.DEFAULT:
        raise CommandError(
            f"Nobody has said that {choice} is meant.",
            f"Say --stack {choice.name}, and it is the last used; or start the laptop's: `catwalk"
            " up`.",
        )
    if condition(home().path) is Condition.UP:
        raise CommandError(
            f"Two may be meant: {choice}, used last, and the laptop's stack, which is up.",
            f"Say --stack {choice.name} or --stack {LAPTOP}.",
        )


def region() -> str | None:
    """Return the AWS region that this process's clients ask."""
    return boto3.Session().region_name


def endpoint() -> str | None:
    """Return where this shell's AWS clients lead, if that is not AWS itself."""
    return os.environ.get("AWS_ENDPOINT_URL") or None


def is_here() -> bool:
    """Tell whether this shell's AWS clients lead to a local AWS, on this very machine."""
    return urlsplit(endpoint() or "").hostname in {"127.0.0.1", "localhost", "::1"}


def read_last() -> Last | None:
    """Return the stack that was used last; None if there is none, or none that can be read."""
    try:
        document = json.loads(_file().read_text())
        # What a later version may have added is left alone.
        known = {field.name: document.get(field.name) for field in fields(Last)}
    except (OSError, ValueError, AttributeError):
        return None
    if not known["name"] or not all(
        value is None or isinstance(value, str) for value in known.values()
    ):
        return None
    return Last(**known)


def remember(choice: Choice) -> None:
    """Remember a stack as the last used: `up`, `deploy` and whoever names one with `--stack`.

    That it cannot be remembered is said, and is no reason to fail.
    """
    if choice.laptop:
        last = Last(LAPTOP, home=str(choice.home))
    elif endpoint() is not None:
        return
    else:
        profile = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE")
        last = Last(choice.name, region(), profile)
    if last == read_last():
        return
    file = _file()
    new = file.with_suffix(".new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(json.dumps({k: v for k, v in asdict(last).items() if v is not None}))
        new.replace(file)
    except OSError as error:
        tell(f"Which stack was used last could not be remembered: {error}.")


def forget_laptop(project: Path) -> None:
    """Remember a project's laptop stack no more, if it was the last used: it is gone."""
    last = read_last()
    if last is None or last.name != LAPTOP or (last.home and Path(last.home) != project):
        return
    try:
        _file().unlink(missing_ok=True)
    except OSError as error:
        tell(f"That the stack is gone could not be noted: {error}.")


def condition(project: Path) -> Condition:
    """Tell how a project's laptop stack is."""
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
    """Say how a project's laptop stack is, for the end of a sentence."""
    return {
        Condition.NONE: f"none was started in {project}",
        Condition.GONE: f"MiniStack, or the vendor beside it, runs no more in {project}",
        Condition.SILENT: f"MiniStack runs in {project} and does not answer",
        Condition.UP: f"it is up in {project}",
    }[condition(project)]


def laptop_folder(project: Path) -> StateFolder:
    """Return the folder of a project's laptop stack."""
    return StateFolder(project / ".catwalk" / UP)


def _file() -> Path:
    return Path(typer.get_app_dir("catwalk")) / "last-stack.json"


def follow(last: Last) -> None:
    """Point this process's AWS clients to where a stack was used, unless the shell says where."""
    given = os.environ
    if last.region and not (given.get("AWS_REGION") or given.get("AWS_DEFAULT_REGION")):
        given["AWS_DEFAULT_REGION"] = last.region
    # A shell with credentials of its own has them for a reason.
    own = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE")
    if last.profile and not any(given.get(name) for name in own):
        given["AWS_PROFILE"] = last.profile


def _laptop(last: Last | None, because: Because) -> Choice | None:
    """Return the laptop stack of this project, else the one used last, if it is up."""
    projects = [home().path]
    if last is not None and last.home and Path(last.home) not in projects:
        projects.append(Path(last.home))
    for project in projects:
        address = laptop_folder(project).read().address
        if address is not None and condition(project) is Condition.UP:
            return laptop_choice(project, address, because)
    return None


def laptop_choice(project: Path, address: Address, because: Because) -> Choice:
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
    return Choice(STACK, laptop=True, vendor_url=address.vendor_url, because=because, home=project)
