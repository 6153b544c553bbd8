"""What FinalizeFunction does: copy a finished task's results, close the record, publish the event.

The state machine calls it with its `PollState`, and adds `failure` if it has caught an error.
EventBridge calls it if an execution was stopped from outside. If a result cannot be downloaded,
the state machine waits and polls again, which brings new URLs. Results that are already copied are
not copied again.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from shared.errors import ResultRefused, ResultUnavailable
from shared.models import ErrorCode, Job, JobError, JobStatus, Result, TaskResult
from shared.notify.announcer import Announcer
from shared.observability import keys_of, log_keys, logger
from shared.polling.state import PollOutcome, PollState, outcome_of
from shared.records.jobs import JobRepository, merged
from shared.results.store import ResultStore
from shared.steps.start import stop_error
from shared.vmake.client import VmakeClient
from shared.vmake.outcomes import TaskDone
from shared.vmake.secret import ApiKeyMissing

MAX_ROUNDS: Final = 5
"""After this many rounds the job ends without the results that are still missing."""
ROUND_WAIT_SECONDS: Final = (10, 30, 90, 270)
"""The wait before each further round."""
SIDE_BY_SIDE: Final = 4
"""This many results are copied at the same time; a task has at most four."""
BEGIN_SECONDS: Final = 45.0
"""If a copy could not begin within this time, since slow ones are before it, it waits for the next
round. A download takes at most 240 s, and FinalizeFunction has 600 s."""
FRESH_SECONDS: Final = 100.0
"""New URLs are requested only within this time. After it, the next round brings them."""
_HEALS: Final = frozenset({ErrorCode.RESULT_INVALID})
"""Refusals that are worth another round. A gateway's error page, for example, is an invalid
image."""


_Problems = dict[int, ResultRefused | ResultUnavailable]
_Copied = tuple[list[Result], _Problems, list[Exception]]
"""The copies; the problems of results, by index; and the errors of AWS."""


class Finalizer:
    """Closes jobs."""

    def __init__(
        self,
        *,
        jobs: JobRepository,
        results: ResultStore,
        vendor: VmakeClient,
        announcer: Announcer,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._jobs = jobs
        self._results = results
        self._vendor = vendor
        self._announcer = announcer

    def finalize(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Copy what is not yet copied and return the state machine's next state."""
        if "detail-type" in event:
            return self._stopped(event["detail"])
        state = PollState.model_validate(event)
        with log_keys(job_id=state.job_id, task_id=state.task_id, attempt=state.attempt):
            try:
                return self._closed(state, event.get("failure"))
            except Exception:
                # Lambda's own report of the error does not name the job.
                logger().exception("the job could not be closed")
                raise

    def _closed(self, state: PollState, failure: object) -> dict[str, Any]:
        job = self._jobs.get(state.job_id)
        if job is None or job.attempt != state.attempt or job.status is not JobStatus.RUNNING:
            return self._already(state, job)
        with log_keys(**keys_of(job)):
            if failure is not None:
                return self._fail(state, job, _internal(failure))
            return self._copy_all(state, job)

    def _stopped(self, detail: Mapping[str, Any]) -> dict[str, Any]:
        """Record the end of an execution that was stopped, timed out or failed.

        Args:
            detail: the detail of EventBridge's "Step Functions Execution Status Change".

        """
        state = PollState.model_validate_json(detail["input"])
        with log_keys(job_id=state.job_id, task_id=state.task_id, attempt=state.attempt):
            job = self._jobs.get(state.job_id)
            if job is None or job.attempt != state.attempt or job.status is not JobStatus.RUNNING:
                return self._already(state, job)
            with log_keys(**keys_of(job)):
                return self._fail(state, job, stop_error(str(detail.get("status"))))

    def _already(self, state: PollState, job: Job | None) -> dict[str, Any]:
        """Return the last state if the record was closed, or restarted, without this execution."""
        if job is None or job.attempt != state.attempt or not job.terminal:
            return state.moved(outcome=PollOutcome.SUPERSEDED, copied=(), results=())
        self._announcer.announce(job)
        return state.moved(outcome=outcome_of(job), copied=(), results=())

    def _copy_all(self, state: PollState, job: Job) -> dict[str, Any]:
        begun = self._monotonic()
        have = {result.index: result for result in state.copied}
        wanted = [result for result in state.results if result.index not in have]
        # Each round begins with other results, so that slow ones do not always come first.
        first = SIDE_BY_SIDE * state.finalize_rounds % max(1, len(wanted))
        copied, problems, broken = self._copy(job, [*wanted[first:], *wanted[:first]])
        expired = any(_expired(problem) for problem in problems.values())
        if expired and not broken and self._monotonic() - begun < FRESH_SECONDS:
            copied_again, problems, broken = self._with_fresh_urls(state, job, problems)
            copied = [*copied, *copied_again]
        results = merged(have.values(), copied)
        if broken:
            if not copied:
                raise broken[0]
            # The state keeps the copies, even if AWS fails again. The rest is tried again.
            return state.moved(
                outcome=PollOutcome.WAIT,
                wait_seconds=ROUND_WAIT_SECONDS[0],
                copied=tuple(results),
                results=(),
            )
        rounds = state.finalize_rounds + 1
        if any(_heals(problem) for problem in problems.values()) and rounds < MAX_ROUNDS:
            wait = ROUND_WAIT_SECONDS[rounds - 1]
            logger().warning("results are missing, trying again", extra={"wait_seconds": wait})
            return state.moved(
                outcome=PollOutcome.WAIT,
                wait_seconds=wait,
                copied=tuple(results),
                results=(),
                finalize_rounds=rounds,
            )
        there = merged(job.results, results)
        if not there:
            return self._fail(state, job, _missing(problems, len(state.results)))
        error = _missing(problems, len(state.results)) if problems else None
        finished = self._jobs.finish(job, results=there, error=error)
        if finished is None:
            return self._already(state, self._jobs.get(state.job_id))
        self._announcer.announce(finished)
        logger().info("finished", extra={"status": finished.status, "results": len(there)})
        return state.moved(outcome=outcome_of(finished), copied=(), results=())

    def _copy(self, job: Job, wanted: Iterable[TaskResult]) -> _Copied:
        """Copy results in parallel; a failure of one does not affect the others."""
        copied: list[Result] = []
        problems: _Problems = {}
        broken: list[Exception] = []
        begin_by = self._monotonic() + BEGIN_SECONDS

        def copy(result: TaskResult) -> Result:
            if self._monotonic() > begin_by:
                raise ResultUnavailable(f"Result {result.index} was not begun: others took long")
            return self._results.copy(job, result)

        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            tasks = {result.index: pool.submit(copy, result) for result in wanted}
        for index, task in tasks.items():
            try:
                copied.append(task.result())
            except (ResultRefused, ResultUnavailable) as problem:
                problems[index] = problem
            except (BotoCoreError, ClientError) as error:
                # AWS failed, not the result. The state machine retries this for an hour.
                logger().exception("result %d could not be stored", index)
                broken.append(error)
            # The vendor's data led to an unforeseen error. Only this result is affected.
            except Exception as error:  # noqa: BLE001
                logger().exception("result %d could not be copied", index)
                problems[index] = ResultUnavailable(
                    f"Result {index} could not be copied: {type(error).__name__} in Catwalk itself"
                )
        return copied, problems, broken

    def _with_fresh_urls(self, state: PollState, job: Job, problems: _Problems) -> _Copied:
        """Read the task once for new download URLs, and copy the expired results again."""
        try:
            read = self._vendor.read_task(state.task_id)
        except ApiKeyMissing:
            return [], problems, []  # the next round's poll waits for the key
        # The other results are copied already, and the next round's poll brings new URLs.
        except Exception:  # noqa: BLE001
            logger().exception("the task could not be read for new URLs")
            return [], problems, []
        if not isinstance(read, TaskDone):
            return [], problems, []
        fresh = [
            result
            for result in read.results
            if result.index in problems and _expired(problems[result.index])
        ]
        copied, still, broken = self._copy(job, fresh)
        retried = {result.index for result in fresh}
        rest = {index: problem for index, problem in problems.items() if index not in retried}
        return copied, {**rest, **still}, broken

    def _fail(self, state: PollState, job: Job, error: JobError) -> dict[str, Any]:
        ended = self._jobs.give_up(job, error, copied=state.copied)
        if ended is None:
            return self._already(state, self._jobs.get(state.job_id))
        logger().error("failed: %s", error.message)
        self._announcer.announce(ended)
        return state.moved(outcome=outcome_of(ended), copied=(), results=())


def _expired(problem: ResultRefused | ResultUnavailable) -> bool:
    return isinstance(problem, ResultUnavailable) and problem.expired


def _heals(problem: ResultRefused | ResultUnavailable) -> bool:
    return isinstance(problem, ResultUnavailable) or problem.code in _HEALS


def _missing(problems: Mapping[int, ResultRefused | ResultUnavailable], total: int) -> JobError:
    """Return the error for missing results; its code is that of the first one."""
    first = problems[min(problems)]
    code = first.code if isinstance(first, ResultRefused) else ErrorCode.RESULT_UNAVAILABLE
    reasons = " ".join(
        problem.message if problem.message.endswith(".") else f"{problem.message}."
        for _, problem in sorted(problems.items())
    )
    return JobError(
        code=code,
        message=f"{len(problems)} of {total} results could not be taken. {reasons} The task is"
        " paid and its id kept: taking its results again costs nothing.",
    )


def _internal(failure: object) -> JobError:
    error = failure if isinstance(failure, Mapping) else {}
    name = str(error.get("Error") or "unknown error")
    cause = str(error.get("Cause") or "")[:500]
    return JobError(
        code=ErrorCode.INTERNAL,
        message=f"Catwalk itself failed: {name}: {cause}. The task id is kept; taking its results"
        " costs nothing.",
    )
