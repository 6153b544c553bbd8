"""Starts the simulated vendor as a process."""

import os
import re
import sys
import time
from pathlib import Path
from typing import Final

from local.errors import StartError
from local.interfaces import addresses
from local.stack import environment, processes
from local.stack.processes import Process
from local.stack.state import StateFolder

_START_SECONDS: Final = 30.0
_LISTENS: Final = re.compile(r"listens at (http://\S+)")


def start(folder: StateFolder, *, host: str, certificate: Path, seconds: float) -> Process:
    """Start the simulated vendor on a free port.

    Args:
        folder: the folder for its files and its log.
        host: see `interfaces.addresses`.
        certificate: the certificate of the local AWS, from which it reads photos.
        seconds: the average duration of a task.

    """
    return processes.start(
        [
            *(sys.executable, "-m", "local.simulator", "--port", "0"),
            *(f"--host={address}" for address in addresses(host)),
            *("--seconds", str(seconds), "--ca-bundle", os.fspath(certificate)),
        ],
        environment=environment.bare(folder.path),
        log=_log(folder),
    )


def wait_until_ready(folder: StateFolder, process: Process) -> str:
    """Wait until the simulated vendor listens, and return its base URL.

    Raises:
        StartError: the process ended, or does not listen in time.

    """
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        found = _LISTENS.search(_log(folder).read_text(errors="replace"))
        if found:
            # A server on all addresses is reached by loopback.
            return found[1].replace("//0.0.0.0:", "//127.0.0.1:")
        if process.poll() is not None:
            raise StartError("The simulated vendor ended while it started.", log=_log(folder))
        time.sleep(0.05)
    raise StartError(
        f"The simulated vendor did not start within {_START_SECONDS:.0f} seconds; try again.",
        log=_log(folder),
    )


def _log(folder: StateFolder) -> Path:
    return folder.logs / "vendor.log"
