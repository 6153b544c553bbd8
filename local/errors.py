"""The errors of the laptop stack; each message says what to do next.

LocalError
├── ToolMissingError    a tool below .tools/ is not installed
├── StackBusyError      another command is using the same stack
├── PortInUseError      the requested port is in use
├── StartError          a server did not start
├── SamError            the SAM CLI failed
├── StackGoneError      the stack no longer runs or no longer answers
└── DemoError           the demo's jobs did not end as expected
"""

from pathlib import Path

from local.paths import shown


class LocalError(Exception):
    """The base of these errors: a sentence for a person, and the path of the log."""

    def __init__(self, message: str, *, log: Path | None = None) -> None:
        """Keep the message; `log`, a file or a folder, is named in a second line."""
        if log is not None:
            message += f"\nThe log{'s are in' if log.is_dir() else ' is'} {shown(log)}."
        super().__init__(message)


class ToolMissingError(LocalError):
    """A tool below .tools/ is not installed."""


class StackBusyError(LocalError):
    """Another command is using the same stack."""


class PortInUseError(LocalError):
    """The requested port is in use."""


class StartError(LocalError):
    """A server did not start."""


class SamError(LocalError):
    """The SAM CLI failed."""


class StackGoneError(LocalError):
    """The stack no longer runs or no longer answers."""


class DemoError(LocalError):
    """The demo's jobs did not end as expected."""
