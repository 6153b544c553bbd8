"""Starts and ends child processes, each in its own session.

Ending a session also ends its leader's children, such as MiniStack's Lambda workers. A Ctrl-C in
the terminal reaches only this process, which then ends the others in order.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from local.paths import ROOT

Process = subprocess.Popen[bytes]

_PATIENCE_SECONDS: Final = 1.0
"""A process that has not ended after SIGTERM within this time is killed; none has data to save."""
_TICK_SECONDS: Final = 0.02

_children: Final[dict[int, Process]] = {}
"""The processes that this one has started and not ended yet; only it can wait for them."""


@dataclass(frozen=True)
class ProcessId:
    """The identity of a process: its number, which may be reused, and when it was started."""

    pid: int
    started: str


def start(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    log: Path,
    cwd: Path = ROOT,
    pass_fds: Sequence[int] = (),
) -> Process:
    """Start a command as the leader of a new session; its output goes to the log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [os.fspath(part) for part in command],
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=pass_fds,
            start_new_session=True,
        )
    _children[process.pid] = process
    return process


def end(process: Process) -> None:
    """End a process that this one started, and its session."""
    _signal(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_PATIENCE_SECONDS)
    _signal(process.pid, signal.SIGKILL)
    process.wait()
    _children.pop(process.pid, None)


def end_all(running: Sequence[ProcessId]) -> None:
    """End processes and their sessions in parallel; an earlier command may have started them."""
    left = [process for process in running if is_running(process)]
    for process in left:
        _signal(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while any(is_running(process) for process in left) and time.monotonic() < deadline:
        time.sleep(_TICK_SECONDS)
    for process in left:
        _signal(process.pid, signal.SIGKILL)
    while any(is_running(process) for process in left):
        time.sleep(_TICK_SECONDS)
    for process in running:
        child = _children.pop(process.pid, None)
        if child is not None:
            child.wait()


def identify(pid: int) -> ProcessId:
    """Return the identity of a process that runs now."""
    return ProcessId(pid, _started(pid) or "ended")


def is_running(process: ProcessId) -> bool:
    """Return whether this process still runs."""
    return _started(process.pid) == process.started


def _started(pid: int) -> str | None:
    """Return when a process was started, as the system writes it; None if it has ended."""
    if Path("/proc/self/stat").exists():
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:
            return None
        # The name before ")" may contain anything. Field 0 after it is the state, 19 the start.
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in {"Z", "X"} else fields[19]
    return _started_by_ps(pid)


def _started_by_ps(pid: int) -> str | None:
    answer = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, started = answer.stdout.strip().partition(" ")
    # A child that has ended is listed as a zombie until its parent has waited for it.
    return None if state.startswith("Z") else started.strip() or None


def _signal(group: int, number: signal.Signals) -> None:
    # macOS raises PermissionError if only zombies are left.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
