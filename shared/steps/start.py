"""The execution that waits for a paid task: its ARN, its start, and its end by a stop."""

import contextlib
import json
from typing import TYPE_CHECKING

from shared.models import ErrorCode, Job, JobError, JobStatus
from shared.notify.announcer import Announcer
from shared.polling.schedule import PollSchedule
from shared.records.ledger import Ledger

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient


def execution_arn(state_machine_arn: str, job_id: str, attempt: int) -> str:
    """Return the ARN of an attempt's execution.

    Job id and attempt are the execution's name. Step Functions starts a name only once.
    """
    machine = state_machine_arn.replace(":stateMachine:", ":execution:")
    return f"{machine}:{job_id}-{attempt}"


def stop_error(status: str) -> JobError:
    """Return the error of a job whose execution stopped before the job was closed.

    Args:
        status: the execution's, as Step Functions names it, or `gone` if it no longer exists.

    """
    by_hand = status == "ABORTED"
    said = "was stopped by hand" if by_hand else f"ended without the job ({status})"
    return JobError(
        code=ErrorCode.ABORTED if by_hand else ErrorCode.INTERNAL,
        message=f"The execution {said}. The task is paid and its id kept: taking its results costs"
        " nothing (`catwalk resume`).",
    )


class Starter:
    """Starts executions of JobStateMachine."""

    def __init__(
        self,
        *,
        state_machine_arn: str,
        ledger: Ledger,
        announcer: Announcer,
        schedule: PollSchedule,
        executions: "SFNClient",
    ) -> None:
        self._state_machine_arn = state_machine_arn
        self._ledger = ledger
        self._announcer = announcer
        self._schedule = schedule
        self._executions = executions

    def ensure(self, job: Job) -> None:
        """Start a RUNNING job's execution, unless the record says that it was started.

        The ledger entry is written first, and the event is published last. After a crash each step
        may run again: the entry and the execution are named after the attempt, so neither is made
        twice.
        """
        if job.announced == JobStatus.RUNNING:
            return
        self._ledger.enter(job)
        with contextlib.suppress(self._executions.exceptions.ExecutionAlreadyExists):
            self._executions.start_execution(
                stateMachineArn=self._state_machine_arn,
                name=job.execution_name,
                input=json.dumps(self._schedule.first_state(job)),
            )
        self._announcer.announce(job)
