"""MiniStack, the local AWS: S3, queues, functions, state machines and the rest on one port."""

import contextlib
import errno
import os
import platform
import socket
import ssl
import subprocess
import time
from http import HTTPStatus
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from local.errors import LocalError, PortInUseError, StartError, ToolMissingError
from local.interfaces import LOOPBACK, addresses, listen
from local.paths import ROOT, TOOLS
from local.stack import environment, processes
from local.stack.processes import Process
from local.stack.state import StateFolder

_HOME: Final = TOOLS / "ministack"
_PYTHON: Final = _HOME / "bin" / "python"
_START_SECONDS: Final = 60.0
_BACKLOG: Final = 1024
_ARCHITECTURES: Final = {
    "x86_64": "x86_64",
    "amd64": "x86_64",
    "aarch64": "arm64",
    "arm64": "arm64",
}


def start(
    folder: StateFolder,
    *,
    host: str,
    port: int,
    wait_scale: float,
    credentials: environment.Credentials,
) -> tuple[Process, str, Path]:
    """Start MiniStack; return its process, its endpoint and the certificate to trust.

    Args:
        folder: the folder for its files and its log.
        host: see `interfaces.addresses`.
        port: the port; 0 takes a free one.
        wait_scale: the factor on the state machine's waits; 1 is as on AWS.
        credentials: the credentials of its root.

    """
    python()
    certificate, key = _certificate(folder)
    with contextlib.ExitStack() as ours:
        listeners = [ours.enter_context(each) for each in _listen(host, port)]
        port = listeners[0].getsockname()[1]
        endpoint = f"https://{LOOPBACK}:{port}"
        log = folder.logs / "aws.log"
        process = processes.start(
            # MiniStack's own command would also try to listen on port 443.
            [
                *(_PYTHON, "-m", "hypercorn", "local.stack.gate:make_app()", "--workers", "0"),
                *(f"--bind=fd://{listener.fileno()}" for listener in listeners),
                *("--keep-alive", "75"),
                *("--certfile", certificate, "--keyfile", key),
            ],
            environment=environment.bare(folder.path)
            | {
                "GATEWAY_PORT": str(port),
                "BIND_HOST": LOOPBACK,
                "USE_SSL": "1",
                "MINISTACK_SSL_CERT": os.fspath(certificate),
                "MINISTACK_SSL_KEY": os.fspath(key),
                # The functions trust the certificate even if the system has no authorities.
                "AWS_CA_BUNDLE": os.fspath(certificate),
                # The functions do not inherit these: they get the credentials of their roles.
                "AWS_ACCESS_KEY_ID": credentials.access_key,
                "AWS_SECRET_ACCESS_KEY": credentials.secret_key,
                "MINISTACK_REGION": environment.REGION,
                # Enforce the template's IAM roles, and record which actions are used.
                "AUTH": "true",
                "CLOUDTRAIL_RECORDING": "1",
                "CLOUDTRAIL_MAX_EVENTS": "50000",
                "SFN_WAIT_SCALE": str(wait_scale),
                # Both are unused, and each would open another port.
                "IOT_MTLS_ENABLED": "0",
                "SFTP_ENABLED": "0",
                # MiniStack removes containers that look like its own, so it must not find Docker.
                "DOCKER_HOST": "unix:///nonexistent",
                "LAMBDA_EXECUTOR": "local",
                "S3_DATA_DIR": os.fspath(folder.path / "s3"),
                "STATE_DIR": os.fspath(folder.path / "aws"),
            },
            log=log,
            pass_fds=[listener.fileno() for listener in listeners],
        )
    return process, endpoint, certificate


def wait_until_ready(process: Process, endpoint: str, certificate: Path) -> None:
    """Wait until MiniStack answers.

    Raises:
        StartError: the process ended, or does not answer in time.

    """
    log = certificate.parent / "logs" / "aws.log"
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StartError("The local AWS (MiniStack) ended while it started.", log=log)
        if answers(endpoint, certificate):
            return
        time.sleep(0.1)
    raise StartError(
        f"The local AWS (MiniStack) did not start within {_START_SECONDS:.0f} seconds; try again.",
        log=log,
    )


def answers(endpoint: str, certificate: Path) -> bool:
    """Return whether a local AWS answers at an endpoint."""
    context = ssl.create_default_context(cafile=os.fspath(certificate))
    connection = HTTPSConnection(urlsplit(endpoint).netloc, timeout=5, context=context)
    with contextlib.closing(connection), contextlib.suppress(OSError, HTTPException):
        connection.request("GET", "/_ministack/health")
        return connection.getresponse().status == HTTPStatus.OK
    return False


def python() -> Path:
    """Return MiniStack's interpreter, which also runs the functions.

    Raises:
        ToolMissingError: MiniStack is not installed.

    """
    if not _PYTHON.exists():
        raise ToolMissingError("MiniStack is not installed; run `make laptop`.")
    return _PYTHON


def runtime() -> tuple[str, str]:
    """Return the template's PythonRuntime and Architecture for this machine."""
    script = "import sys; print('python%d.%d' % sys.version_info[:2])"
    version = subprocess.run(
        [python(), "-c", script], capture_output=True, text=True, check=True
    ).stdout.strip()
    machine = platform.machine().lower()
    architecture = _ARCHITECTURES.get(machine)
    if architecture is None:
        raise LocalError(f"The functions' packages are not made for this processor, {machine!r}.")
    return version, architecture


def _certificate(folder: StateFolder) -> tuple[Path, Path]:
    made = subprocess.run(
        [python(), ROOT / "local" / "stack" / "certificate.py", folder.path],
        capture_output=True,
        text=True,
        check=False,
        env=environment.bare(folder.path),
    )
    if made.returncode != 0:
        folder.logs.mkdir(parents=True, exist_ok=True)
        log = folder.logs / "certificate.log"
        log.write_text(made.stderr)
        raise StartError("The local AWS got no certificate; run `make laptop` again.", log=log)
    return folder.path / "server.crt", folder.path / "server.key"


def _listen(host: str, port: int) -> list[socket.socket]:
    """Listen in this process and pass the sockets on, so that no other process takes the port."""
    try:
        return listen(addresses(host), port, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        in_use = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        why = "is in use" if in_use else f"cannot be used ({error})"
        raise PortInUseError(
            f"Port {port} of {host} {why}; choose another, or leave it out for a free one."
        ) from error
