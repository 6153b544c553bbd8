"""Starting the wait loop of a paid task: enter the credit, start the execution, tell of it."""

import contextlib
import json
from typing import TYPE_CHECKING

from shared.config import Config
from shared.models import Job, JobStatus
from shared.notify.announcer import Announcer
from shared.records.ledger import Ledger
from shared.steps.poll import Pace, first_state

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient


def execution_arn(state_machine_arn: str, job_id: str, attempt: int) -> str:
    """Return the ARN of an attempt's execution: its name makes a second one impossible."""
    machine = state_machine_arn.replace(":stateMachine:", ":execution:")
    return f"{machine}:{job_id}-{attempt}"


class Starter:
    """Starts executions of JobStateMachine."""

    def __init__(
        self,
        *,
        config: Config,
        ledger: Ledger,
        announcer: Announcer,
        pace: Pace,
        executions: "SFNClient",
    ) -> None:
        """Work with these; nothing is called yet."""
        self._config = config
        self._ledger = ledger
        self._announcer = announcer
        self._pace = pace
        self._executions = executions

    def ensure(self, job: Job) -> None:
        """Have a RUNNING job's execution started, unless the record says that this was done.

        Each step may be taken twice: the entry and the execution are named after the attempt.
        """
        if job.announced == JobStatus.RUNNING:
            return
        self._ledger.enter(job)
        with contextlib.suppress(self._executions.exceptions.ExecutionAlreadyExists):
            self._executions.start_execution(
                stateMachineArn=self._config.state_machine_arn,
                name=job.execution_name,
                input=json.dumps(first_state(job, self._config, self._pace)),
            )
        self._announcer.announce(job)
