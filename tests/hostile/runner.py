"""Runs the functions against hostile servers, each case in its own process, and measures them.

S3 runs in another process, so that its memory is not counted. The rest of AWS is in each process.

`python -m tests.hostile.runner SECONDS PARALLEL` reads names of cases (a JSON string per line) and
prints a JSON object per case. SECONDS is the deadline of a request; 0 keeps the functions' own
deadlines.
"""

import gc
import json
import os
import resource
import signal
import sys
import time
from typing import Any, Final

from moto import mock_aws

from functions.finalize import handler as finalize_function
from functions.poll import handler as poll_function
from functions.submit import handler as submit_function
from shared import clients
from shared.models import Job, JobStatus, Photo, SceneType, Settings, TaskResult
from shared.polling.state import PollOutcome, PollState
from shared.records.jobs import JobRepository, NewJob
from shared.results import download
from shared.steps.finalize import MAX_ROUNDS
from shared.vmake import client as vmake
from tests import guard
from tests.factories import BUS, PHOTOS, REGION, RESULTS, TABLE, Aws, jpeg
from tests.hostile.answers import ANSWERS, serving
from tests.hostile.cases import FUNCTION_SECONDS, HARMLESS, HOSTILE, Case

_MAX_RESULT_BYTES: Final = 12 * 1024 * 1024
_MEMORY_BYTES: Final = 1536 * 1024 * 1024
"""The memory limit of each process, so that a bomb does not exhaust the machine."""
CASES: Final = {case.name: case for case in (*HARMLESS, *HOSTILE)}


class _Context:
    function_name = "catwalk-function"
    aws_request_id = "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return max(0, round((self._end - time.monotonic()) * 1000))


def _run(case: Case, aws: Aws, url: str) -> dict[str, Any]:
    """Invoke the function once; return how the job ended."""
    jobs = JobRepository(aws.dynamodb, TABLE)
    os.environ["VMAKE_BASE_URL"] = url
    if case.function == "submit":
        event = aws.drop("a/dress.jpg", jpeg())
        message = {"messageId": "m", "body": json.dumps(event)}
        message["attributes"] = {"ApproximateReceiveCount": "1"}  # type: ignore[assignment]  # one more attribute
        call, given = submit_function.handler, {"Records": [message]}
    else:
        job = _running(jobs)
        given = _state(job, case, url)
        call = finalize_function.handler if case.function == "finalize" else poll_function.handler
    before = time.monotonic()
    call(given, _Context(FUNCTION_SECONDS[case.function]))  # type: ignore[arg-type]  # a small Context
    seconds = time.monotonic() - before
    (found,) = [job for status in JobStatus for job in jobs.of_status(status)]
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    error = f" {found.error.code}" if found.error and found.status is JobStatus.PARTIAL else ""
    end = "waits" if found.waiting else f"{found.status}{error}"
    return {"end": end, "seconds": seconds, "mebibytes": used}


def _running(jobs: JobRepository) -> Job:
    new = NewJob(
        job_id="j",
        photo=Photo(key="a.jpg"),
        source_key="a.jpg",
        settings=Settings(model_id="002", scene_type=SceneType.ORIGINAL, batch_size=4),
        trigger="t",
    )
    submitting = jobs.mark_submitting(jobs.claim(new), lease_seconds=9)
    assert submitting is not None
    job = jobs.keep_task_id(submitting, "task-1", execution_arn="arn")
    assert job is not None
    return job


def _state(job: Job, case: Case, url: str) -> dict[str, Any]:
    """Return the state of a job with one good result and three of the case's."""
    bad = f"{url}/{case.answer}" if case.answer in ANSWERS else case.answer
    results = [TaskResult(index=n, url=bad if n > 1 else f"{url}/good.png") for n in range(1, 5)]
    state = PollState(
        job_id=job.job_id,
        attempt=1,
        task_id="task-1",
        submitted_at="2026-01-31T09:30:00.000Z",
        deadline="2100-01-01T00:00:00.000Z",
        finalize_rounds=MAX_ROUNDS - 1,
        results=tuple(results),
    )
    given: dict[str, Any] = state.moved(outcome=PollOutcome.FINALIZE)
    return given


def _child(case: Case, aws: Aws, limit: float, out: int) -> None:
    """Run a case in this forked process; never return."""
    signal.alarm(60 if limit else FUNCTION_SECONDS[case.function])
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY_BYTES, _MEMORY_BYTES))
    answer: dict[str, Any] = {"name": case.name}
    try:
        with serving(case.answer if case.function != "finalize" else b"") as url:
            answer |= _run(case, aws, url)
    except BaseException as error:  # noqa: BLE001  every error is reported
        answer["raised"] = f"{type(error).__name__}: {error}"[:300]
    finally:
        os.write(out, json.dumps(answer).encode() + b"\n")
        os._exit(0)


def main() -> None:
    """Fork a process for each case, with a limit on how many run at once."""
    limit, parallel = float(sys.argv[1]), int(sys.argv[2])
    guard.install()
    _set_up(limit)
    names = [line.strip() for line in sys.stdin if line.strip()]
    answers = os.dup(1)
    os.dup2(2, 1)  # the functions' logs go to stderr
    with mock_aws():
        # Slow things are made once; each process has a copy of this AWS.
        aws = Aws.connect().build()
        aws.s3.close()  # no two processes share a connection
        for name in ("s3", "dynamodb", "events", "secrets", "sqs", "executions"):
            client = getattr(aws, name)
            setattr(clients, name, lambda client=client: client)
        gc.collect()
        gc.freeze()
        _fork(names, aws, limit, parallel, answers)


def _fork(names: list[str], aws: Aws, limit: float, parallel: int, answers: int) -> None:
    running: dict[int, str] = {}
    while names or running:
        while names and len(running) < parallel:
            case = CASES[json.loads(names.pop(0))]
            pid = os.fork()
            if pid == 0:
                _child(case, aws, limit, answers)
            running[pid] = case.name
        pid, status = os.wait()
        name = running.pop(pid)
        if status:
            ended = {"name": name, "raised": f"ended by signal {os.WTERMSIG(status)}"}
            os.write(answers, json.dumps(ended).encode() + b"\n")


def _set_up(limit: float) -> None:
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "not-a-secret",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "JOBS_TABLE": TABLE,
        "EVENT_BUS": BUS,
        "API_KEY_SECRET": "key",
        "PHOTOS_BUCKET": PHOTOS,
        "RESULTS_BUCKET": RESULTS,
        "SUBMIT_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/submit",
        "STATE_MACHINE_ARN": "arn:aws:states:us-east-1:123456789012:stateMachine:jobs",
        "MAX_RESULT_BYTES": str(_MAX_RESULT_BYTES),
    }
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE"):
        os.environ.pop(name, None)
    if limit:
        for module, name in (
            (download, "DOWNLOAD_SECONDS"),
            (vmake, "CREATE_SECONDS"),
            (vmake, "READ_SECONDS"),
            (vmake, "MAX_BODY_SECONDS"),
        ):
            setattr(module, name, limit)


if __name__ == "__main__":
    main()
