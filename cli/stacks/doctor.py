"""Checks a stack and proposes the command that fixes each problem. It changes and costs nothing."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import Any, Final

import httpx
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError, HTTPClientError
from pydantic import ValidationError

from cli.errors import FIX_ITEM, CommandError, sentence, unreadable
from cli.stacks import selection
from cli.stacks.key import cleaned
from cli.stacks.project import find_project
from cli.stacks.stack import Catwalk
from cli.stacks.submission import Pause, new_bucket, pause_of
from cli.terminal.output import credits_of
from shared import clients
from shared.clock import iso, utc_now
from shared.config import SETTLING_SECONDS
from shared.errors import ConfigurationError
from shared.limits.circuit_breaker import Cause
from shared.limits.credit_limit import CreditLimit
from shared.models import JobStatus
from shared.steps.reconcile import Unannounced
from shared.vmake.client import VmakeClient
from shared.vmake.outcomes import ReadTrouble, TaskNotFound
from shared.vmake.secret import ApiKey, ApiKeyMissing

_NO_TASK: Final = "00000000-0000-4000-8000-000000000000"
"""A task id that does not exist. Reading it is free, and shows whether the key is accepted."""
_LONG_SECONDS: Final = 1_800.0
"""A photo that waits longer has missed at least one run of ReconcileFunction."""
_MOST: Final = 1_000
"""The most records that one check reads; beyond it, the line says `1000 or more`."""
_QUICK: Final = Config(connect_timeout=5, read_timeout=15, retries={"total_max_attempts": 2})
_UNREACHABLE: Final = "the vendor could not be reached"


class Verdict(StrEnum):
    """The result of a check."""

    OK = "ok"
    LOOK = "look"
    """Worth knowing; nothing has to be done."""
    BAD = "bad"
    """Something has to be done."""


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    check: str
    verdict: Verdict
    found: str
    """A sentence."""
    todo: str = ""
    """A sentence: what to do; empty if nothing."""
    command: str = ""
    """The line for a shell that does it, where there is one."""


def _ok(check: str, found: str) -> Finding:
    return Finding(check, Verdict.OK, found)


def _look(check: str, found: str, todo: str = "", command: str = "") -> Finding:
    return Finding(check, Verdict.LOOK, found, todo, command)


def _bad(check: str, found: str, todo: str, command: str = "") -> Finding:
    return Finding(check, Verdict.BAD, found, todo, command)


def examine(name: str | None, *, now: Callable[[], datetime] = utc_now) -> Iterator[Finding]:
    """Yield the findings; each check needs the ones before it.

    Args:
        name: the value of `--stack`, if given.
        now: the clock.

    """
    try:
        choice = selection.choose(name)
    except CommandError as error:
        gone = selection.condition(find_project().path) in {
            selection.Condition.GONE,
            selection.Condition.SILENT,
        }
        check = "MiniStack" if gone else "stack"
        yield _bad(check, str(error), error.next_step, "catwalk up" if gone else "")
        return
    yield from _beside(choice)
    account = _account(choice)
    yield account
    if account.verdict is Verdict.BAD:
        return
    try:
        catwalk = Catwalk.find(choice)
    except CommandError as error:
        yield _bad("stack", str(error), error.next_step)
        return
    if choice.chosen_by is selection.ChosenBy.OPTION:
        selection.remember(choice)
    yield _stack(catwalk)
    checks = StackChecks(catwalk, now)
    for check, look in checks.all().items():
        try:
            yield from look()
        except ValidationError as error:
            yield _bad(check, unreadable(error), FIX_ITEM)
        except (ClientError, BotoCoreError) as error:
            # A check that could not be made counts as a problem.
            yield _bad(
                check,
                sentence(f"This could not be looked at: {error}"),
                "Get the right to look, or try again.",
            )


def _beside(choice: selection.Choice) -> Iterator[Finding]:
    """Report a laptop stack that has died, unless the person named another stack."""
    project = find_project().path
    state = selection.condition(project)
    if choice.laptop or choice.chosen_by.explicit or state not in _DEAD:
        return
    found = sentence(f"The laptop's stack is not up: {selection.condition_in_words(project)}")
    make = _bad if choice.chosen_by is selection.ChosenBy.DEFAULT else _look
    yield make("MiniStack", found, "Start it again.", "catwalk up")


_DEAD: Final = {selection.Condition.GONE, selection.Condition.SILENT}


def _account(choice: selection.Choice) -> Finding:
    check = "credentials"
    try:
        asked = selection.region()
        if asked is None:
            return _bad(
                check,
                "No AWS region is set.",
                "Say which one the stack is in: AWS_REGION=…, or `aws configure`. Or try Catwalk on"
                " this machine, without an account: `catwalk up`.",
            )
        caller = clients.client("sts", config=_QUICK).get_caller_identity()
    except ClientError as error:
        said = error.response["Error"].get("Message") or str(error)
        return _bad(
            check,
            sentence(f"AWS refuses the credentials: {said}"),
            "Get new ones: `aws sso login`, or `aws configure`.",
        )
    except (BotoCoreError, ValueError, OSError) as error:
        todo = "Set them as for the AWS CLI: `aws configure`, or AWS_PROFILE."
        if isinstance(
            error, EndpointConnectionError | HTTPClientError
        ):  # the connection failed, not the credentials
            todo = f"Is {asked} the region's name, and the network in order?"
        if selection.is_here():
            todo = "The local AWS is gone: start it, and source its env.sh again."
            return _bad("MiniStack", sentence(f"It does not answer: {error}"), todo, "catwalk up")
        return _bad(check, sentence(f"AWS cannot be asked: {error}"), todo)
    if choice.laptop:
        return _ok(check, f"None are needed: {choice}.")
    return _ok(check, f"Account {caller['Account']} as {caller['Arn']}, region {asked}.")


def _stack(catwalk: Catwalk) -> Finding:
    found = f"{catwalk.choice} is {catwalk.status}."
    found = found[0].upper() + found[1:]
    match catwalk.status:
        case "CREATE_COMPLETE" | "UPDATE_COMPLETE" | "IMPORT_COMPLETE":
            return _ok("stack", found)
        case "UPDATE_ROLLBACK_COMPLETE":
            return _look(
                "stack",
                f"{found} The last deployment failed; what was there before works on.",
                "Deploy it again.",
                "catwalk deploy",
            )
        case status if status.endswith("_IN_PROGRESS"):
            return _look("stack", found, "Wait until that has ended.")
        case _:
            return _bad("stack", found, "CloudFormation's events of the stack say why.")


class StackChecks:
    """The checks of an existing stack."""

    def __init__(self, catwalk: Catwalk, now: Callable[[], datetime] = utc_now) -> None:
        """Check this stack."""
        self._stack = catwalk
        self._now = now
        self._table = catwalk.outputs["JobsTableName"]
        self._key_is_taken = False

    def all(self) -> dict[str, Callable[[], Iterator[Finding]]]:
        """Return the checks by name."""
        return {
            "key": self._key_and_vendor,
            "bucket": self._bucket,
            "submission": self._submission,
            "trigger": self._trigger,
            "queue": self._queue,
            "dead letters": self._dead_letters,
            "unknown": self._unknown,
            "events": self._events,
            "failures": self._failures,
            "credits": self._credits,
        }

    def _key_and_vendor(self) -> Iterator[Finding]:
        key = ""
        try:
            secret = self._stack.outputs.get("VmakeApiKeySecretArn", "")
            key = ApiKey(clients.secrets(), secret)()
            cleaned(key)
        except ApiKeyMissing as missing:
            yield _bad("key", f"{missing} Photos wait until then.", "Put it in.", "catwalk set-key")
        except CommandError as wrong:
            yield _bad("key", f"What the secret holds is no key. {wrong}", "Mend it.", _SET_KEY)
            key = ""
        except ClientError as error:
            yield _look("key", sentence(f"The secret could not be read: {error}"))
        url = self._stack.parameters.get("VmakeBaseUrl", "")
        for finding in _ask_with_key(url, key) if key else _ask_without_key(url):
            if finding.check == "key":
                self._key_is_taken = finding.verdict is Verdict.OK
            yield finding

    def _bucket(self) -> Iterator[Finding]:
        used_since, now = self._stack.bucket_used_since(), self._now()
        new = new_bucket(used_since, now)
        if new is not None:
            left = (new.until - now).total_seconds()
            todo = f"Nothing: they go on by themselves in {span(left)}."
            yield _look("bucket", str(new), todo)
        elif used_since is None and selection.endpoint() is None:
            yield _look(
                "bucket",
                "No event of a photo has arrived, and ReconcileFunction has not run yet: the stack"
                f" is new. The first photos wait for about {SETTLING_SECONDS // 60} minutes, since"
                " S3 may not find the objects of a new bucket.",
                "If a photo was dropped minutes ago, its event may be lost: S3 sends events only"
                " some 5 minutes after a stack is made.",
                "catwalk reconcile",
            )
        else:
            yield _ok("bucket", "S3 finds the photos.")

    def _submission(self) -> Iterator[Finding]:
        pause = pause_of(clients.dynamodb(), self._table)
        if pause is None:
            yield _ok("submission", "It is not paused.")
            return
        left = pause.seconds_left(self._now())
        when = (
            f"paused until {pause.until:%H:%M:%S} UTC ({span(left)}), when one photo is tried"
            if left
            else "paused until the next photo, which tries whether it goes through"
        )
        found = f"It is {when}: {pause.reason}."
        if pause.cause is Cause.KEY_REFUSED and self._key_is_taken:
            # The key was mended, and no photo has come since to show it.
            todo = "The vendor takes the key now; all go on then. To have one photo tried at once:"
            yield _look("submission", found, todo, "catwalk reconcile")
            return
        yield _bad("submission", found, *_mends(pause))

    def _trigger(self) -> Iterator[Finding]:
        queue = self._stack.outputs["SubmitQueueUrl"]
        arn = clients.sqs().get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
        mappings = clients.client("lambda", config=_QUICK).list_event_source_mappings(
            EventSourceArn=arn["Attributes"]["QueueArn"]
        )["EventSourceMappings"]
        off = [m for m in mappings if m.get("State") not in _ON]
        if not mappings:
            yield _bad(
                "trigger",
                "Nothing takes photos from SubmitQueue: SubmitFunction's event source mapping is"
                " gone.",
                "Deploy the stack again.",
                "catwalk deploy",
            )
        elif off:
            yield _bad(
                "trigger",
                f"SubmitFunction takes no photos from its queue: its event source mapping is"
                f" {off[0].get('State')}.",
                "Switch it on.",
                f"aws lambda update-event-source-mapping --uuid {off[0]['UUID']} --enabled",
            )
        else:
            yield _ok("trigger", "SubmitFunction takes photos from its queue.")

    def _queue(self) -> Iterator[Finding]:
        names: list[Any] = [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesDelayed",
            "ApproximateNumberOfMessagesNotVisible",
        ]
        answer = clients.sqs().get_queue_attributes(
            QueueUrl=self._stack.outputs["SubmitQueueUrl"], AttributeNames=names
        )["Attributes"]
        ready, delayed, held = (int(answer[name]) for name in names)
        messages = f"{ready} ready, {delayed} put off, {held} in work"
        waiting = list(islice(self._stack.jobs.of_status(JobStatus.ACCEPTED), _MOST))
        if not waiting:
            yield _ok("queue", f"No photo waits to be submitted ({messages}).")
            return
        oldest = min(job.created_at for job in waiting)
        age = (self._now() - datetime.fromisoformat(oldest)).total_seconds()
        reasons = Counter(job.waiting.reason for job in waiting if job.waiting is not None)
        found = f"{_many(len(waiting), 'job')} waiting, the oldest for {span(age)} ({messages})."
        for reason, count in reasons.most_common(1):
            found += f" {count} of them, since: {sentence(reason)}"
        if age > _LONG_SECONDS:
            todo = "If nothing above holds them up, have lost messages sent again."
            yield _look("queue", found, todo, "catwalk reconcile")
        else:
            yield _ok("queue", found)

    def _dead_letters(self) -> Iterator[Finding]:
        count = self._stack.dead_letters.count()
        if not count:
            yield _ok("dead letters", "There are none.")
            return
        yield _bad(
            "dead letters",
            f"{_many(count, 'message')} in the dead-letter queue; `catwalk jobs --status failed`"
            " shows what of.",
            "Once the cause is mended, send them again.",
            "catwalk redrive",
        )

    def _unknown(self) -> Iterator[Finding]:
        jobs = list(islice(self._stack.jobs.of_status(JobStatus.SUBMIT_UNKNOWN), _MOST))
        if not jobs:
            yield _ok("unknown", "Of every submit it is known what became of it.")
            return
        yield _bad(
            "unknown",
            f"{_many(len(jobs), 'job')} in SUBMIT_UNKNOWN: it may have been charged, and is not"
            " sent again by itself.",
            "Look at the vendor's list of tasks; then say what was found: --task-id ID, --charged"
            " or --not-charged.",
            f"catwalk resolve {jobs[0].job_id if len(jobs) == 1 else '--all'}",
        )

    def _events(self) -> Iterator[Finding]:
        ids = Unannounced(clients.dynamodb(), self._table).ids()
        if not ids:
            yield _ok("events", "Every end was told on the bus.")
            return
        yield _bad(
            "events",
            f"{_many(len(ids), 'job')} whose end EventBridge refused to tell, {ids[0]} for one; it"
            " is tried again every 15 minutes.",
            "ReconcileFunction's log says why. Look at the records themselves.",
            f"catwalk show {ids[0]}",
        )

    def _failures(self) -> Iterator[Finding]:
        day = iso(self._now() - timedelta(days=1))
        ended: Counter[str] = Counter()
        for status in (JobStatus.FAILED, JobStatus.PARTIAL, JobStatus.REJECTED):
            for job in islice(self._stack.jobs.of_status(status, after=day), _MOST):
                ended[job.error.code.value if job.error else status.value] += 1
        if not ended:
            yield _ok("failures", "None within a day.")
            return
        codes = ", ".join(f"{count} {code}" for code, count in ended.most_common())
        todo = "Each record says why, and what to do."
        yield _look("failures", f"Within a day: {codes}.", todo, "catwalk jobs --status FAILED")

    def _credits(self) -> Iterator[Finding]:
        today = self._now().date()
        spent = sum(1 for _ in self._stack.ledger.entries(today, today))
        limit = int(self._stack.parameters.get("DailyCreditLimit") or 0)
        if not limit:
            yield _ok("credits", f"{credits_of(spent)} today (UTC); there is no DailyCreditLimit.")
            return
        reservations = CreditLimit(clients.dynamodb(), self._table, limit=limit, now=self._now)
        counted = reservations.reserved()
        found = f"{credits_of(counted)} of {limit} today (UTC)."
        if counted < limit:
            yield _ok("credits", found)
            return
        yield _look(
            "credits",
            f"{found} More photos wait for the next UTC day.",
            "Raise DailyCreditLimit if they shall not.",
            "catwalk deploy",
        )


_ON: Final = {"Enabled", "Enabling", "Creating", "Updating"}
_SET_KEY: Final = "catwalk set-key"
_SET_URL: Final = "catwalk deploy --parameter VmakeBaseUrl=https://…"


def _ask_with_key(url: str, key: str) -> Iterator[Finding]:
    """Read a task that does not exist: it is free, and a wrong key is refused with 401 first."""
    try:
        with VmakeClient(url, lambda: key) as vendor:
            read = vendor.read_task(_NO_TASK)
    except ConfigurationError as error:
        yield _bad("vendor", str(error), "Mend VmakeBaseUrl.", _SET_URL)
        return
    match read:
        case ReadTrouble(key_refused=True):
            yield _ok("vendor", f"{url} answers.")
            yield _bad(
                "key", f"The vendor refuses it: {read.message}.", "Put in another.", _SET_KEY
            )
        case ReadTrouble(message) if message.startswith(_UNREACHABLE):
            yield _unreachable(url, message)
        case ReadTrouble(message):
            yield _look("vendor", f"{url} gives no usable answer: {message}.", _WAIT_OR_MEND)
        case TaskNotFound():
            yield _ok("vendor", f"{url} answers.")
            yield _ok("key", "The vendor does not refuse it (asked for a task that there is not).")
        case _:
            yield _ok("vendor", f"{url} answers.")
            yield _ok("key", "The vendor takes it.")


def key_is_taken(catwalk: Catwalk) -> bool:
    """Return whether the vendor accepts the key in the stack's secret; False if that is unknown."""
    try:
        key = ApiKey(clients.secrets(), catwalk.outputs.get("VmakeApiKeySecretArn", ""))()
        cleaned(key)
        found = list(_ask_with_key(catwalk.parameters.get("VmakeBaseUrl", ""), key))
    except (ApiKeyMissing, CommandError, ClientError, BotoCoreError):
        return False
    return any(finding.check == "key" and finding.verdict is Verdict.OK for finding in found)


def _ask_without_key(url: str) -> Iterator[Finding]:
    try:
        httpx.get(url, timeout=httpx.Timeout(10, connect=5))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        yield _unreachable(url, f"{type(error).__name__}: {error}")
        return
    yield _ok("vendor", f"{url} answers.")


def _unreachable(url: str, message: str) -> Finding:
    return _look(
        "vendor",
        f"{url} cannot be reached from this machine: {message.removeprefix(f'{_UNREACHABLE}: ')}.",
        _WAIT_OR_MEND,
    )


_WAIT_OR_MEND: Final = (
    "Is the network in order, and VmakeBaseUrl right? The functions have a way of their own; photos"
    " wait as long as they find none."
)


def _mends(pause: Pause) -> tuple[str, str]:
    """Return how to end a pause, and the command for it."""
    match pause.cause:
        case Cause.KEY_REFUSED:
            return "Put the right key in; all go on then.", _SET_KEY
        case Cause.NO_CREDITS:
            return "Top up the vendor's account; all go on by themselves within 15 minutes.", ""
        case Cause.WRONG_ADDRESS:
            return "Mend VmakeBaseUrl.", _SET_URL
        case _:
            return "Nothing, if the vendor is down or throttles: all go on by themselves.", ""


def _many(count: int, what: str) -> str:
    return f"{count}{' or more' if count == _MOST else ''} {what}{'' if count == 1 else 's'}"


def span(seconds: float) -> str:
    """Return a duration in words: `40 s`, `12 min`, `3 h`, `2 days`."""
    for size, name in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{max(0.0, seconds):.0f} s"
