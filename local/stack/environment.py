"""The environments of child processes, without the user's AWS settings and without the API key.

A profile, an endpoint, a proxy or a certificate that the user has set must not lead the local stack
to another AWS. MiniStack also passes its whole environment to the functions, so it gets almost
none.
"""

import base64
import json
import os
import secrets
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from functions.package import BUILD_FOR
from local.paths import ROOT, TOOLS

REGION: Final = "us-east-1"
_FOREIGN: Final = ("AWS_", "BOTO_", "SAM_", "__SAM", "VMAKE_", "LOCALSTACK_")
_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_YEAR_3000: Final = 32_503_680_000.0
"""Seconds since 1970, as a float: the SAM CLI does not accept a whole number."""
_PATH: Final = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


@dataclass(frozen=True)
class Credentials:
    """The credentials of the account's root in one stack's local AWS."""

    access_key: str
    secret_key: str = field(repr=False)


def new_credentials() -> Credentials:
    """Return random credentials. The key id has AWS's form, since tools check it."""
    key = base64.b32encode(secrets.token_bytes(10)).decode()
    return Credentials(f"AKIA{key}", secrets.token_urlsafe(30))


def take_api_key() -> str:
    """Remove VMAKE_API_KEY from the environment, so that no child process inherits it; return it.

    It is empty if the user has not set it.
    """
    return os.environ.pop("VMAKE_API_KEY", "").strip()


def forget_users_aws(environment: MutableMapping[str, str]) -> None:
    """Remove the variables that would lead this process's clients to another AWS."""
    for name in list(environment):
        if name.startswith(_FOREIGN) or name.upper() in _PROXIES:
            del environment[name]


def bare(folder: Path) -> dict[str, str]:
    """Return an environment without the user's variables; temporary files go below `folder`."""
    temporary = folder / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    return {
        "PATH": os.fspath(TOOLS / "python" / "bin") + ":" + _PATH,
        "HOME": os.fspath(folder),
        "TMPDIR": os.fspath(temporary),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
    }


def aws(
    folder: Path, *, endpoint: str, ca_bundle: Path, credentials: Credentials
) -> dict[str, str]:
    """Return the variables that make AWS clients use the local stack and nothing else."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_CA_BUNDLE": os.fspath(ca_bundle),
        "AWS_ACCESS_KEY_ID": credentials.access_key,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_key,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": os.fspath(folder / "no-aws-config"),
        "AWS_SHARED_CREDENTIALS_FILE": os.fspath(folder / "no-aws-credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_PAGER": "",
    }


def sam_build(folder: Path) -> dict[str, str]:
    """Return the user's environment without AWS settings.

    It keeps proxies and mirrors, through which packages may be installed.
    """
    environment = dict(os.environ)
    for name in list(environment):
        if name.startswith((*_FOREIGN, BUILD_FOR)):
            del environment[name]
    python = os.fspath(TOOLS / "python" / "bin")
    return environment | {
        # So `python3` in functions/Makefile is a version that Catwalk supports.
        "PATH": f"{python}:{environment.get('PATH', _PATH)}",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": os.fspath(folder / "no-aws-config"),
        "AWS_SHARED_CREDENTIALS_FILE": os.fspath(folder / "no-aws-credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
        **_sam(folder),
    }


def sam_deploy(
    folder: Path, *, endpoint: str, ca_bundle: Path, credentials: Credentials
) -> dict[str, str]:
    """Return an environment in which the SAM CLI uses only the local stack."""
    return (
        bare(folder)
        | aws(folder, endpoint=endpoint, ca_bundle=ca_bundle, credentials=credentials)
        | _sam(folder)
        # MiniStack answers at once; the default delay of half a second is for AWS.
        | {"SAM_CLI_POLL_DELAY": "0.2"}
    )


def sam_settings(folder: Path) -> Path:
    """Return a folder for the SAM CLI's own settings, in which it never checks for a new version.

    By default the SAM CLI asks pypi.org once a week, and at once if the folder is new.
    """
    made = folder / "sam-cli"
    made.mkdir(parents=True, exist_ok=True)
    settings = {"telemetryEnabled": False, "lastVersionCheck": _YEAR_3000}
    (made / "metadata.json").write_text(json.dumps(settings))
    return made


def _sam(folder: Path) -> dict[str, str]:
    return {
        "SAM_CLI_TELEMETRY": "0",
        # Nothing is written to the user's ~/.aws-sam.
        "__SAM_CLI_APP_DIR": os.fspath(sam_settings(folder)),
        "PYTHONDONTWRITEBYTECODE": "",
        "PWD": os.fspath(ROOT),
    }
