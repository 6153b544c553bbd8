"""The state of a stack between two commands, in a folder.

The command that uses the stack holds the folder's lock. The system releases the lock when that
command ends, even by a crash. If the next command gets the lock and the state still lists
processes, an earlier command may have left them behind.
"""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

from local.errors import StackBusyError
from local.paths import write_private
from local.stack import processes
from local.stack.code import Code
from local.stack.environment import Credentials
from local.stack.processes import ProcessId

STACK: Final = "catwalk"
"""The name in CloudFormation of each stack on this machine."""
UP: Final = "up"
"""The name of the folder of `catwalk up`."""


@dataclass(frozen=True)
class Address:
    """How to reach a stack that is up."""

    endpoint: str
    """The local AWS."""
    ca_bundle: str
    """The path of its certificate."""
    vendor_url: str
    """The simulated vendor; empty if the real one is used."""
    outputs: dict[str, str]
    """The template's outputs."""
    host: str = "127.0.0.1"
    """Where both servers listen; see `interfaces.addresses`."""
    access_key: str = "test"
    """Of the local AWS's root. The defaults are those of earlier versions of Catwalk."""
    secret_key: str = field(default="test", repr=False)

    @property
    def credentials(self) -> Credentials:
        """The credentials of the local AWS's root."""
        return Credentials(self.access_key, self.secret_key)


@dataclass(frozen=True)
class State:
    """The processes of a stack, and how to reach it once it is up."""

    processes: tuple[ProcessId, ...] = ()
    address: Address | None = None
    code: Code | None = None
    """The code that the stack was made from; None for a stack of an earlier version of Catwalk."""

    @property
    def complete(self) -> bool:
        """Whether the stack is up and all its processes run."""
        return self.address is not None and all(
            processes.is_running(process) for process in self.processes
        )


@dataclass(frozen=True)
class StateFolder:
    """The folder of one stack: its state, its logs, its temporary files."""

    path: Path
    _state_file: str = field(default="state.json", repr=False)

    @property
    def logs(self) -> Path:
        """The folder of the logs."""
        return self.path / "logs"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the stack's lock.

        Raises:
            StackBusyError: another process holds it.

        """
        self.path.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o700)
        # The lock file is beside the folder, since the folder is cleared while the lock is held.
        lock = self.path.with_name(f"{self.path.name}.lock")
        with lock.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise StackBusyError(
                    f"Another command is using the local stack {self.path.name!r}; wait for"
                    " it to end, or stop it, and try again."
                ) from error
            yield

    def read(self) -> State:
        """Return the state; an empty one if there is none or it cannot be read."""
        try:
            document = json.loads((self.path / self._state_file).read_text())
            return State(
                tuple(ProcessId(**process) for process in document["processes"]),
                Address(**document["address"]) if document["address"] else None,
                Code(**document["code"]) if document.get("code") else None,
            )
        except (OSError, ValueError, TypeError, KeyError):
            return State()

    def write(self, state: State) -> None:
        """Write a state; a crash never leaves a part of it."""
        file = self.path / self._state_file
        write_private(file, json.dumps(asdict(state), indent=2))

    def add(self, pid: int) -> None:
        """Add a running process to the state."""
        state = self.read()
        self.write(replace(state, processes=(*state.processes, processes.identify(pid))))

    def start_anew(self) -> None:
        """End the processes that an earlier stack left behind, and clear the folder."""
        self.end_processes()
        self._clear()

    def end_processes(self) -> bool:
        """End the processes of the state; return whether any was running."""
        state = self.read()
        running = [process for process in state.processes if processes.is_running(process)]
        processes.end_all(running)
        # The state is removed last, so that a second try finds the processes that are left.
        (self.path / self._state_file).unlink(missing_ok=True)
        return bool(running)

    def tidy(self) -> None:
        """Clear the folder after the stack is down, except for the logs."""
        self._clear(keep=("logs",))

    def _clear(self, keep: tuple[str, ...] = ()) -> None:
        for entry in os.scandir(self.path) if self.path.is_dir() else ():
            if entry.name in keep:
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    Path(entry.path).unlink()
