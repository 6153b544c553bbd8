"""The state of an execution, and the field that the state machine's Choice reads.

The state machine passes a `PollState` to PollFunction and FinalizeFunction; each returns the next
one. `PollOutcome` is the field that decides where the loop goes.
"""

from enum import StrEnum
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict

from shared.models import Job, JobStatus, Result, TaskResult
from shared.polling.planner import ProgressSample

MOST_SAMPLES: Final = 24
"""A state holds at most this many progress samples, since a payload of Step Functions holds at most
256 KiB."""


class PollOutcome(StrEnum):
    """Where the state machine's Choice goes next."""

    WAIT = "wait"
    """The task is not finished, or the poll learnt nothing: wait `wait_seconds`, poll again."""
    FINALIZE = "finalize"
    """The task is finished; `results` holds the download URLs."""
    DONE = "done"
    """The record is closed, as SUCCEEDED or PARTIAL."""
    FAILED = "failed"
    """The record is closed, as FAILED."""
    SUPERSEDED = "superseded"
    """The record is in another attempt: the execution ends and changes nothing."""


class PollState(BaseModel):
    """The input and output of PollFunction and FinalizeFunction."""

    model_config = ConfigDict(extra="ignore")

    job_id: str
    attempt: int
    task_id: str
    submitted_at: str
    deadline: str
    """ISO 8601; if the task is not finished by then, the job is FAILED with `timed_out`."""
    outcome: PollOutcome = PollOutcome.WAIT
    wait_seconds: int = 1
    polls: int = 0
    looks: tuple[ProgressSample, ...] = ()
    """The progress that earlier polls saw: the oldest and the latest samples."""
    not_ended_by: float = 0.0
    """Seconds from `submitted_at` to the last poll that found the task not ended."""
    troubles: int = 0
    """The number of polls in a row that learnt nothing."""
    not_found_since: str | None = None
    """ISO 8601; since then each answer was that the vendor does not know the task."""
    no_results_since: str | None = None
    """ISO 8601; since then each answer was a success without results."""
    results: tuple[TaskResult, ...] = ()
    copied: tuple[Result, ...] = ()
    """The results that earlier rounds of FinalizeFunction have copied."""
    finalize_rounds: int = 0

    def moved(self, **changes: Any) -> dict[str, Any]:  # noqa: ANN401  any of the fields
        """Return the next state as JSON."""
        return self.model_copy(update=changes).model_dump(mode="json", exclude_none=True)

    def after_poll(self, elapsed: float, progress: float | None) -> Self:
        """Return the state after a poll that found the task not ended.

        Args:
            elapsed: seconds since `submitted_at`.
            progress: per cent, if the vendor gave any.

        """
        looks = self.looks
        if progress is not None:
            looks = (*looks, ProgressSample(round(elapsed, 2), progress))
            if len(looks) > MOST_SAMPLES:
                half = MOST_SAMPLES // 2
                looks = (*looks[:half], *looks[-half:])
        return self.model_copy(
            update={"looks": looks, "not_ended_by": round(elapsed, 2), "troubles": 0}
        )


def outcome_of(job: Job) -> PollOutcome:
    """Return the last outcome of the execution of an ended job."""
    return PollOutcome.FAILED if job.status is JobStatus.FAILED else PollOutcome.DONE
