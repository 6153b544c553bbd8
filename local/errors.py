"""What can go wrong on this machine; each message says what to do next.

LocalError
├── ToolMissingError    a tool below .tools/ is not there
├── StackBusyError      another command is at work on the same stack
├── PortInUseError      the port that was asked for is taken
├── StartError          a server did not start
├── SamError            the SAM CLI failed
├── StackGoneError      the stack is up no more, or answers no more
└── DemoError           the demo's jobs did not end as they should
"""

from pathlib import Path

from local.paths import shown


class LocalError(Exception):
    """Base of all errors below: a sentence for a person, and the log where there is more."""

    def __init__(self, message: str, *, log: Path | None = None) -> None:
        """Keep the sentence; the log, or the folder of logs, becomes its second line."""
        if log is not None:
            message += f"\nThe log{'s are in' if log.is_dir() else ' is'} {shown(log)}."
        super().__init__(message)


class ToolMissingError(LocalError):
    """A tool below .tools/ is not there."""


class StackBusyError(LocalError):
    """Another command is at work on the same stack."""


class PortInUseError(LocalError):
    """The port that was asked for is taken."""


class StartError(LocalError):
    """A server did not start."""


class SamError(LocalError):
    """The SAM CLI failed."""


class StackGoneError(LocalError):
    """The stack is up no more, or answers no more."""


class DemoError(LocalError):
    """The demo's jobs did not end as they should."""
