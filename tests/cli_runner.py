"""Runs the `catwalk` command in this process, against a stack in moto."""

import io
import json
import sys
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cli.main import main
from shared import clients
from shared.clock import iso, utc_now
from shared.models import (
    TERMINAL,
    ErrorCode,
    Job,
    JobError,
    JobStatus,
    Photo,
    SceneType,
    Settings,
)
from shared.records.jobs import JobRepository, _plain, _wire
from shared.records.ledger import Ledger
from tests.factories import BUS, PHOTOS, TABLE, Aws

NOW = iso(utc_now())
OUTPUTS = (
    *("PhotosBucketName", "JobsTableName", "EventBusName", "StateMachineArn"),
    *("SubmitQueueUrl", "SubmitDeadLetterQueueUrl"),
)


class Stacks:
    """A double of CloudFormation and Lambda that knows the deployed stacks."""

    def __init__(self) -> None:
        self.outputs: dict[str, dict[str, str]] = {}
        self.parameters: dict[str, str] = {}
        self.reconciled: dict[str, Any] = {}
        """The answer of ReconcileFunction."""

    def describe_stacks(self, *, StackName: str) -> dict[str, Any]:  # noqa: N803  AWS's names
        """Describe a stack."""
        if StackName not in self.outputs:
            raise refusal("ValidationError", f"Stack with id {StackName} does not exist")
        pairs = self.outputs[StackName].items()
        outputs = [{"OutputKey": key, "OutputValue": value} for key, value in pairs]
        parameters = [
            {"ParameterKey": key, "ParameterValue": value} for key, value in self.parameters.items()
        ]
        stack = {"StackStatus": "CREATE_COMPLETE", "Outputs": outputs, "Parameters": parameters}
        return {"Stacks": [stack]}

    def describe_stack_resource(self, **_: str) -> dict[str, Any]:
        """Return the same name for every resource."""
        return {"StackResourceDetail": {"PhysicalResourceId": "reconcile"}}

    def invoke(self, *, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803  AWS's names
        """Answer as ReconcileFunction."""
        assert (FunctionName, json.loads(Payload)) == ("reconcile", {"still_seconds": 0})
        failed = {"FunctionError": "Unhandled"} if "errorMessage" in self.reconciled else {}
        return {"Payload": io.BytesIO(json.dumps(self.reconciled).encode()), **failed}


def refusal(code: str, message: str) -> ClientError:
    """Return what botocore raises when AWS refuses a call."""
    return ClientError({"Error": {"Code": code, "Message": message}}, "DescribeStacks")


class Prompt:
    """Runs the command as a person at an 80-column shell would."""

    def __init__(self, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._patch = patch
        self._capsys = capsys
        patch.setenv("COLUMNS", "80")

    def __call__(self, *arguments: str, says: str | None = None) -> tuple[int, str, str]:
        """Run the command; return its exit status, standard output and standard error."""
        self._patch.setattr(sys, "argv", ["catwalk", *arguments])
        self._patch.setattr(sys, "stdin", io.StringIO(says or ""))
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = self._capsys.readouterr()
        assert "Traceback" not in out + err
        assert "\x1b" not in out + err
        code = ended.value.code
        assert isinstance(code, int) or code is None
        return code or 0, out, err


class Shell(Prompt):
    """Runs the command against a stack, and writes and reads what is in the stack."""

    def __init__(
        self, aws: Aws, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        super().__init__(patch, capsys)
        self.aws = aws
        self.jobs = JobRepository(aws.dynamodb, TABLE)
        self.ledger = Ledger(aws.dynamodb, TABLE)
        aws.s3.create_bucket(Bucket=PHOTOS)
        aws.s3.put_bucket_versioning(Bucket=PHOTOS, VersioningConfiguration={"Status": "Enabled"})
        aws.events.create_event_bus(Name=BUS)
        self.url = aws.sqs.create_queue(QueueName="submit")["QueueUrl"]
        self.dead_url = aws.sqs.create_queue(QueueName="dead")["QueueUrl"]
        machine = "arn:aws:states:us-east-1:123456789012:stateMachine:jobs"
        values = (PHOTOS, TABLE, BUS, machine, self.url, self.dead_url)
        self.stacks = Stacks()
        self.stacks.outputs["catwalk"] = dict(zip(OUTPUTS, values, strict=True))
        patch.setattr(clients, "client", lambda _, **__: self.stacks)
        for name in ("s3", "dynamodb", "events", "sqs"):
            client = getattr(aws, name)
            patch.setattr(clients, name, lambda client=client: client)

    def job(self, job_id: str = "j", status: JobStatus = JobStatus.FAILED, **changes: Any) -> Job:
        """Write a record."""
        sent = status not in {JobStatus.REJECTED, JobStatus.SUBMIT_UNKNOWN}
        codes = {
            JobStatus.FAILED: ErrorCode.TIMED_OUT,
            JobStatus.PARTIAL: ErrorCode.RESULT_UNAVAILABLE,
            JobStatus.REJECTED: ErrorCode.CORRUPT_IMAGE,
            JobStatus.SUBMIT_UNKNOWN: ErrorCode.SUBMIT_UNKNOWN,
        }
        code = codes.get(status)
        values: dict[str, Any] = {
            "job_id": job_id,
            "status": status,
            "source_key": "a/dress.jpg",
            "photo": Photo(bucket=PHOTOS, key="a/dress.jpg", etag="e"),
            "settings": Settings(model_id="002", scene_type=SceneType.ORIGINAL, batch_size=4),
            "task_id": "t" if sent else None,
            "error": JobError(code=code, message="It broke.") if code else None,
            "finished_at": NOW if status in TERMINAL else None,
            "created_at": NOW,
            "updated_at": NOW,
        }
        job = Job(**(values | changes))
        item = {**_plain(job), "pk": f"JOB#{job_id}", "triggers": {"d"}}
        if job.review_state is not None:
            item["review_state"] = job.review_state.value
        if job.waiting is not None:
            item["waiting"] = _plain(job.waiting)
        if job.dead_letter is not None:
            item["dead_letter"] = job.dead_letter
        if job.dead_body is not None:
            item["dead_body"] = job.dead_body
        self.aws.dynamodb.put_item(TableName=TABLE, Item=_wire(item))
        return job

    def now(self, job_id: str = "j") -> tuple[str, int]:
        """Return a job's status and attempt."""
        job = self.jobs.get(job_id)
        assert job is not None
        return job.status.value, job.attempt

    def state(self) -> object:
        """Return everything that a command could change."""
        return sorted(map(repr, self.aws.records())), self.waiting(), self.waiting(self.dead_url)

    def versions(self) -> list[tuple[str, str, str]]:
        """Return key, version and ETag of every photo that was dropped, oldest first."""
        answer = self.aws.s3.list_object_versions(Bucket=PHOTOS)
        found = sorted(answer.get("Versions", []), key=lambda version: version["LastModified"])
        return [(v["Key"], v["VersionId"], v["ETag"].strip('"')) for v in found]

    def uploaded(self) -> list[str]:
        """Return the keys in PhotosBucket, in order."""
        return sorted({key for key, _, _ in self.versions()})

    def waiting(self, url: str | None = None) -> int:
        """Return how many messages are in a queue; the default is SubmitQueue."""
        answer = self.aws.sqs.get_queue_attributes(
            QueueUrl=url or self.url, AttributeNames=["ApproximateNumberOfMessages"]
        )
        return int(answer["Attributes"]["ApproximateNumberOfMessages"])
