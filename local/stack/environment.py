"""The environments of child processes: never the user's AWS, never the API key.

The local stack must not be led astray by a profile, an endpoint, a proxy or a certificate that
the user has set for something else, and must not touch what these lead to. MiniStack also hands
its whole environment on to the functions, so that it gets as good as none.
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
"""Seconds; the SAM CLI takes no whole number for it."""
_PATH: Final = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


@dataclass(frozen=True)
class Credentials:
    """What opens one stack's local AWS, as its account's root."""

    access_key: str
    secret_key: str = field(repr=False)


def new_credentials() -> Credentials:
    """Return random credentials; a key id looks like one of AWS's, which tools check."""
    key = base64.b32encode(secrets.token_bytes(10)).decode()
    return Credentials(f"AKIA{key}", secrets.token_urlsafe(30))


def take_api_key() -> str:
    """Return the user's VMAKE_API_KEY, or nothing; no child process can inherit it any more."""
    return os.environ.pop("VMAKE_API_KEY", "").strip()


def forget_users_aws(environment: MutableMapping[str, str]) -> None:
    """Remove what would lead the clients of this process away from the local stack."""
    for name in list(environment):
        if name.startswith(_FOREIGN) or name.upper() in _PROXIES:
            del environment[name]


def bare(folder: Path) -> dict[str, str]:
    """Return an environment with nothing of the user's; temporary files go below `folder`."""
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
    """Return what an AWS client needs to speak to the local stack, and to nothing else."""
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
    """Return the user's environment without AWS: packages may come through proxies and mirrors."""
    environment = dict(os.environ)
    for name in list(environment):
        if name.startswith((*_FOREIGN, BUILD_FOR)):
            del environment[name]
    python = os.fspath(TOOLS / "python" / "bin")
    return environment | {
        # `python3` in functions/Makefile is then one of the versions that Catwalk knows.
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
    """Return an environment in which the SAM CLI sees the local stack alone."""
    return (
        bare(folder)
        | aws(folder, endpoint=endpoint, ca_bundle=ca_bundle, credentials=credentials)
        | _sam(folder)
        # MiniStack answers at once; AWS would want half a second between questions.
        | {"SAM_CLI_POLL_DELAY": "0.2"}
    )


def sam_settings(folder: Path) -> Path:
    """Return a folder for the SAM CLI's own settings, with version checks over for good.

    The SAM CLI asks pypi.org for its newest version once a week, and at once in a new folder.
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
