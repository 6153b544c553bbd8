"""What is known after a create of a task, or after a read of one.

A create costs a credit and has no idempotency key, so its outcome is one of four:

    Accepted    the vendor has accepted the task and charged a credit
    Refused     the vendor certainly did not accept the task; nothing was charged
    NeverSent   no connection was made; nothing was charged
    Unknown     the vendor may have accepted the task; never send it again without a decision

The table in `shared.vmake.answers` gives the meaning of each answer.

A read is free. If a read fails, the task has not failed: `TaskRead` says what is known. None of
these outcomes is an exception.
"""

from dataclasses import dataclass

from shared.models import TaskResult
from shared.vmake.answers import Trouble


@dataclass(frozen=True)
class Accepted:
    """The vendor took the task."""

    task_id: str


@dataclass(frozen=True)
class Refused:
    """The vendor certainly did not take the task."""

    trouble: Trouble
    message: str
    retry_after: float | None = None
    """The vendor's `Retry-After`, in seconds."""


@dataclass(frozen=True)
class NeverSent:
    """The request was not sent: there was no connection."""

    message: str


@dataclass(frozen=True)
class Unknown:
    """The request was sent, and it is not known whether the vendor accepted the task."""

    message: str


CreateOutcome = Accepted | Refused | NeverSent | Unknown


@dataclass(frozen=True)
class TaskOngoing:
    """The task is not finished; an undocumented status counts as ongoing too."""

    status: str
    progress: float | None = None


@dataclass(frozen=True)
class TaskDone:
    """The task succeeded; the results may be missing for a while."""

    results: tuple[TaskResult, ...]


@dataclass(frozen=True)
class TaskFailed:
    """The vendor says that the task failed."""

    message: str


@dataclass(frozen=True)
class TaskNotFound:
    """The vendor does not know the task (404); soon after a create this may pass."""

    message: str


@dataclass(frozen=True)
class ReadTrouble:
    """The read said nothing about the task: network, throttling, an unreadable answer."""

    message: str
    retry_after: float | None = None
    """The vendor's `Retry-After`, in seconds."""
    key_refused: bool = False
    throttled: bool = False


TaskRead = TaskOngoing | TaskDone | TaskFailed | TaskNotFound | ReadTrouble
