"""Which stack is meant: `--stack`, else CATWALK_STACK, else the last used, else what is there.

`laptop` is the stack of `catwalk up` on this machine; any other name is a CloudFormation stack
where this shell's AWS settings lead. A stack on this machine needs no settings: this process's
AWS variables are made to lead to it, and to nothing else.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import typer

from cli.errors import CommandError
from local import environment
from local.stack import STACK, UP, find, folder_of

LAPTOP: Final = "laptop"
VARIABLE: Final = "CATWALK_STACK"
_CATWALK: Final = "catwalk"
"""The name that a stack has unless it was given another."""


@dataclass(frozen=True)
class Last:
    """The stack that was used last, and where it was found."""

    name: str
    region: str | None = None
    profile: str | None = None


@dataclass(frozen=True)
class Choice:
    """The stack that is meant."""

    name: str
    """CloudFormation's name of it."""
    laptop: bool
    vendor_url: str = ""
    """The simulated vendor of a laptop stack."""


def choose(name: str | None) -> Choice:
    """Choose the stack, and point this process's AWS clients at it.

    Args:
        name: what `--stack` or CATWALK_STACK says, if anything.

    Raises:
        CommandError: the name is empty, or `laptop` is meant and none is up.

    """
    if name is not None and not name.strip():
        raise CommandError("The stack's name is empty.", "Name it with --stack.")
    if name is not None and name != LAPTOP:
        return Choice(name, laptop=False)
    last = None if name is not None else read_last()
    if last is not None and last.name != LAPTOP:
        return _on_aws(last)
    # Whoever's shell leads somewhere by itself (`source .catwalk/env.sh`) is taken at its word.
    if name is None and os.environ.get("AWS_ENDPOINT_URL"):
        return Choice(_CATWALK, laptop=False)
    found = _laptop()
    if found is not None:
        return found
    if name == LAPTOP:
        raise CommandError(
            "No stack is up on this machine.", "Start it with `catwalk up`, or name another stack."
        )
    return Choice(_CATWALK, laptop=False)


def read_last() -> Last | None:
    """Return the stack that was used last; None if there is none, or none that can be read."""
    try:
        return Last(**json.loads(_file().read_text()))
    except (OSError, ValueError, TypeError):
        return None


def remember(last: Last) -> None:
    """Remember a stack as the last used: `up`, `deploy` and whoever names one with `--stack`."""
    file = _file()
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    new.write_text(json.dumps(asdict(last)))
    new.replace(file)


def forget() -> None:
    """Remember no stack: the last used is gone."""
    _file().unlink(missing_ok=True)


def _file() -> Path:
    return Path(typer.get_app_dir("catwalk")) / "last-stack.json"


def _on_aws(last: Last) -> Choice:
    if last.region and not (os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")):
        os.environ["AWS_DEFAULT_REGION"] = last.region
    if last.profile and not os.environ.get("AWS_PROFILE"):
        os.environ["AWS_PROFILE"] = last.profile
    return Choice(last.name, laptop=False)


def _laptop() -> Choice | None:
    folder = folder_of(UP)
    stack = find(folder)
    if stack is None:
        return None
    address = stack.address
    environment.forget_users_aws(os.environ)
    os.environ.update(
        environment.aws(folder.path, endpoint=address.endpoint, ca_bundle=Path(address.ca_bundle))
    )
    return Choice(STACK, laptop=True, vendor_url=address.vendor_url)
