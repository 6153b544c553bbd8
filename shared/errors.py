"""The errors that Catwalk defines.

    CatwalkError
    ├── ConfigurationError      the stack is set up wrongly; a person must correct it
    ├── InputRejected           bad input; leads to a REJECTED record, never to a retry
    ├── ResultRefused           a result that must not be copied; becomes `error` in the record
    └── ResultUnavailable       a result that could not be downloaded now; it is tried again

(`shared.vmake.secret.ApiKeyMissing` is a CatwalkError too.)

Expected outcomes at run time (a task still running, a vendor in trouble, a waiting photo) are data
and no exceptions: see `shared.vmake.outcomes`, `shared.polling.state` and `shared.steps.submit`.
Any other exception is a fault of the platform or of this code; the queue or the state machine
retries.
"""

from shared.models import ErrorCode, JobError


class CatwalkError(Exception):
    """The base of Catwalk's errors."""


class ConfigurationError(CatwalkError):
    """A setting of the stack is missing or cannot be used."""


class InputRejected(CatwalkError):
    """The input cannot become a task unless it is changed.

    Attributes:
        code: the record's `error.code`.
        message: the record's `error.message`, a sentence for a person.

    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        """Keep both for the record."""
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

    @property
    def error(self) -> JobError:
        """Code and message as the record's `error`."""
        return JobError(code=self.code, message=self.message)


class ResultRefused(CatwalkError):
    """A result exists but must not be copied.

    Attributes:
        code: the record's `error.code`.
        message: a sentence for a person; the record's `error.message` contains it.

    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        """Keep both for the record."""
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class ResultUnavailable(CatwalkError):
    """A result could not be read this time.

    Attributes:
        message: a sentence for a person; the record's `error.message` contains it.
        expired: whether the URL was refused (403, 404, 410); a new one may work.

    """

    def __init__(self, message: str, *, expired: bool = False) -> None:
        """Keep both for the next round."""
        super().__init__(message)
        self.message = message
        self.expired = expired
