"""Every error that Catwalk raises of its own.

    CatwalkError
    ├── ConfigurationError      the stack is set up wrongly; a person must mend it
    ├── InputRejected           bad input; becomes a REJECTED record, never a retry
    ├── ResultRefused           a result that must not be taken; becomes `error` in the record
    └── ResultUnavailable       a result that could not be had now; worth another try

What can be expected at run time (a task still running, a vendor in trouble, a photo that
waits) is data, not an exception: see `shared.vmake.client`, `shared.polling.state` and
`shared.steps.submit`. Anything else that is raised is a fault of the platform or of this code: the
queue or the state machine tries again.
"""

from shared.models import ErrorCode, JobError


class CatwalkError(Exception):
    """Base of all errors below."""


class ConfigurationError(CatwalkError):
    """A setting of the stack is missing or cannot be used."""


class InputRejected(CatwalkError):
    """The input can never become a task as it is.

    Attributes:
        code: the record's `error.code`.
        message: the record's `error.message`, a sentence for a person.

    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        """Keep code and message; the record shows both."""
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

    @property
    def error(self) -> JobError:
        """The same, as the record holds it."""
        return JobError(code=self.code, message=self.message)


class ResultRefused(CatwalkError):
    """A result is there but must not be taken; trying again gives the same."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        """Keep code and message; the record shows both."""
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class ResultUnavailable(CatwalkError):
    """A result could not be read this time.

    Attributes:
        expired: the URL was refused (403, 404, 410): a fresh one may work.

    """

    def __init__(self, message: str, *, expired: bool = False) -> None:
        """Say why, and whether a fresh URL may help."""
        super().__init__(message)
        self.message = message
        self.expired = expired
