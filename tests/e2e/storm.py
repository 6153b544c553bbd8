"""The storm: many photos and duplicates, while workers are killed and the vendor fails.

`python -m tests.e2e.storm`, or `make storm`, starts its own stack, waits until all jobs have ended,
and compares records, results and charges: no photo may be lost or charged twice. The odd storm
follows: the vendor contradicts itself, and five poisoned photos must not delay the good ones much.
"""

import argparse
import contextlib
import hashlib
import math
import os
import random
import signal
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx
from botocore.exceptions import BotoCoreError, ClientError

from local.errors import LocalError
from local.paths import shown
from local.simulator import ControlError, SimulatorControl
from local.stack import environment
from local.stack.stack import Plan, Stack, folder_of, running
from local.stack.state import STACK, StateFolder
from shared.clock import parse_iso
from tests.e2e.driver import ENDED, Catwalk, inbox, photo, sha256, wait_for

FUNCTIONS: Final = ("SubmitFunction", "PollFunction", "FinalizeFunction")
"""The functions whose workers are killed."""
PLAN: Final = Plan(
    task_seconds=1.0,
    # Step Functions waits as long as on AWS, since its retries must outlast the killing.
    wait_scale=1.0,
    parameters={
        "PollMaxSeconds": "3",
        "TaskTimeoutSeconds": "1800",
        "DefaultBatchSize": "1",
        # Duplicates are handled in parallel.
        "MaxSubmitConcurrency": "3",
    },
)

WORKERS: Final = {"PollFunction": 3, "FinalizeFunction": 2}
"""Reserved concurrency: a laptop has few processors for workers that start. Calls beyond it are
throttled, as on AWS."""

FAULTS: Final[Mapping[str, Sequence[Mapping[str, Any]]]] = {
    "create": (
        {"fault": "drop_before"},
        {"fault": "lost_response"},
        {"fault": "error_after_charge"},
        {"fault": "status", "status": 500},
        {"fault": "status", "status": 503},
        # Charged and not yet answered is the worst moment for a kill.
        {"fault": "slow", "seconds": 3},
    ),
    "read": (
        {"fault": "drop_before"},
        {"fault": "lost_response"},
        {"fault": "status", "status": 500},
        {"fault": "status", "status": 503},
        {"fault": "slow", "seconds": 3},
    ),
    "download": (
        {"fault": "drop_before"},
        {"fault": "lost_response"},
        {"fault": "status", "status": 500},
        {"fault": "status", "status": 503},
        {"fault": "truncated"},
        {"fault": "slow", "seconds": 3},
    ),
}
"""The vendor's faults by kind of call; those of one call are equally frequent."""

ODD_ANSWERS: Final[Sequence[Mapping[str, Any]]] = (
    {"fault": "contradiction"},
    {"fault": "contradiction", "status": 429, "code": 429, "message": "slow down"},
    {"fault": "contradiction", "status": 402, "code": 402, "message": "insufficient credits"},
    {"fault": "contradiction", "status": 400, "code": 400, "message": "bad image"},
    {"fault": "contradiction", "status": 500, "code": 50000, "message": "system error"},
    {"fault": "status", "status": 200, "code": 50000, "message": "system error"},
    {"fault": "status", "status": 402, "message": "insufficient image resolution"},
    {"fault": "error_after_charge", "status": 408, "message": "request timeout"},
    {"fault": "html", "status": 403},
)
"""Answers to creates whose status, code, words and task id contradict each other."""
POISON: Final[Sequence[Mapping[str, Any]]] = (
    {"fault": "html", "status": 403},
    {"fault": "html", "status": 403},
    {"fault": "status", "status": 403, "message": "forbidden"},
    {"fault": "status", "status": 402, "message": "insufficient image resolution"},
    {"fault": "status", "status": 200, "code": 20018, "message": "insufficient image resolution"},
)
"""The answer that each of the poisoned photos always gets."""
ODD_SHARE: Final = 0.1
MOST_TIMES_AS_LONG: Final = 1.5
"""The good photos may take at most this many times as long beside poisoned ones."""
ENOUGH_FOR_A_MEAN: Final = 30
"""With fewer good photos the factor is only shown, since other load would decide it."""
ODD_GAP_SECONDS: Final = 0.5
"""The time between two drops of the odd storm."""
ODD_SETTLE_SECONDS: Final = 900.0

LIFE_SECONDS: Final = 5.0
"""The average life of a worker while workers are killed: a few invocations."""
SHARE_WITH_DROPS: Final = 0.6
"""The share of the killing during which photos are still dropped."""
SPARED_SECONDS: Final = 60.0
"""The killing is extended by at most this time if a function has not lost a worker yet."""
BACK_SECONDS: Final = 30.0
"""How long messages that come back are waited for before the vendor stops failing."""
STILL_SECONDS: Final = 600.0
"""If nothing has changed for this long, nothing will: a killed worker's message is invisible for at
most 300 s, and an invocation's lease lasts for 180 s."""
_MESSAGES: Final = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)
_TICK_SECONDS: Final = 0.05
_KILLER_TICK_SECONDS: Final = 0.2
_LOOK_SECONDS: Final = 1.0
_TELL_SECONDS: Final = 5.0
_TELL_STILL_SECONDS: Final = 30.0
_QUIET_LOOKS: Final = 3
"""This many looks in a row must show that nothing is under way."""
_SHOWN_PROBLEMS: Final = 20
_INTERRUPTED: Final = 130

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Storm:
    """The size of a storm."""

    photos: int = 300
    seconds: float = 30.0
    """The duration of the killing."""
    failing: float = 0.1
    """The share of the calls to the vendor that fail."""
    seed: int = 0
    """The seed of all random choices."""
    visibility_seconds: int | None = None
    """The queue's visibility timeout, instead of the template's 900 s, so that the messages of
    killed workers come back during the storm."""
    odd: int = 60
    """The number of good photos in each half of the odd storm."""
    folder_seconds: float = 3.0
    """The time between two changes of the folder file in the odd storm."""


@dataclass(frozen=True)
class Photo:
    """A photo that is dropped."""

    key: str
    body: bytes
    twice: bool
    """Whether it is delivered a second time."""


@dataclass(frozen=True)
class Delivery:
    """A photo's event: S3's own, or a copy of it."""

    photo: Photo
    copy: bool = False


@dataclass
class Report:
    """What happened, and what is wrong with it."""

    photos: int = 0
    twice: int = 0
    copies_first: int = 0
    killed: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    """Of the vendor, while it failed."""
    failed: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    again: int = 0
    """Attempts beyond each photo's first."""
    charges: int = 0
    """As the vendor counts."""
    credits: int = 0
    """As the records count."""
    results: int = 0
    given_up: int = 0
    """Messages in the dead-letter queue."""
    no_record: list[str] = field(default_factory=list)
    not_ended: list[str] = field(default_factory=list)
    overcharged: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """Whatever else does not agree."""
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def problems(self) -> list[str]:
        """Everything that is not as it must be, the worst first."""
        return [*self.no_record, *self.overcharged, *self.not_ended, *self.wrong]


def rage(stack: Stack, storm: Storm, tell: Tell) -> "tuple[Report, Odd]":
    """Let the storm rage over a stack, let it settle, and judge; then have the odd one."""
    report = Report()
    with stack.vendor() as vendor:
        catwalk = Catwalk(stack, vendor, inbox(stack))
        if storm.visibility_seconds is not None:
            stack.clients.sqs.set_queue_attributes(
                QueueUrl=stack.output("SubmitQueueUrl"),
                Attributes={"VisibilityTimeout": str(storm.visibility_seconds)},
            )
        photos = [
            Photo(f"storm/{number:04}.jpg", photo(), twice=number % 3 == 0)
            for number in range(storm.photos)
        ]
        for function, workers in WORKERS.items():
            stack.clients.functions.put_function_concurrency(
                FunctionName=catwalk.physical_id(function), ReservedConcurrentExecutions=workers
            )
        begun = time.monotonic()
        blow(catwalk, storm, photos, report, tell)
        calm = time.monotonic()
        settle(catwalk, storm.photos, tell)
        report.seconds["vendor failing on"] = calm - begun - report.seconds["killing"]
        report.seconds["calm"] = time.monotonic() - calm
        tell("now the books: each record, result, charge and event")
        begun = time.monotonic()
        judge(catwalk, photos, report)
        report.seconds["books"] = time.monotonic() - begun
        begun = time.monotonic()
        odd = odd_storm(catwalk, storm, tell)
        report.seconds["odd storm"] = time.monotonic() - begun
        judge_events(catwalk, odd.books)
    return report, odd


# --- the storm itself --------------------------------------------------------------------------


def blow(
    catwalk: Catwalk, storm: Storm, photos: Sequence[Photo], report: Report, tell: Tell
) -> None:
    """Deliver all photos while workers are killed and the vendor fails."""
    chance = random.Random(storm.seed)  # noqa: S311  chance, not secrets
    shuffled = chance.sample(photos, len(photos))
    half = len(shuffled) // 2
    backlog = in_disorder(shuffled[:half], chance)
    live = in_order_of_copies(in_disorder(shuffled[half:], chance))
    report.photos = len(photos)
    report.twice = sum(photo.twice for photo in photos)
    report.copies_first = copies_first(backlog)
    with held_back(catwalk):
        for delivery in backlog:
            deliver(catwalk, delivery)
    tell(f"{half} photos wait in the queue, the others come while workers are killed")
    script(catwalk.vendor, storm.failing)
    with Killer(catwalk, chance) as killer:
        begun = time.monotonic()
        drop_on(catwalk, storm, live, killer, tell)
        report.seconds["killing"] = time.monotonic() - begun
    report.killed = killer.killed
    away = int(
        catwalk.stack.clients.sqs.get_queue_attributes(
            QueueUrl=catwalk.stack.output("SubmitQueueUrl"), AttributeNames=["VisibilityTimeout"]
        )["Attributes"]["VisibilityTimeout"]
    )
    tell(
        f"{killer.killed.total()} workers were killed; their messages come back {away} s after"
        " that, and the vendor still fails"
    )
    settle(catwalk, len(photos), tell, seconds=away + BACK_SECONDS)
    for fault in catwalk.vendor.faults():
        report.failed[fault["on"]] += fault["fired"]
    report.calls.update(catwalk.vendor.state()["call_counts"])
    catwalk.vendor.clear_faults()
    tell("the storm is over")


def drop_on(
    catwalk: Catwalk, storm: Storm, live: Sequence[Delivery], killer: "Killer", tell: Tell
) -> None:
    """Deliver photos one by one while workers are being killed, and say how it goes."""
    begun = told = time.monotonic()
    pause = storm.seconds * SHARE_WITH_DROPS / max(1, len(live))
    sent = 0
    while (now := time.monotonic()) < begun + storm.seconds or (
        # A slow machine has hardly started its workers by then.
        now < begun + storm.seconds + SPARED_SECONDS and killer.spared
    ):
        if sent < len(live) and now >= begun + sent * pause:
            deliver(catwalk, live[sent])
            sent += 1
            continue
        if now >= told + _TELL_SECONDS:
            told = now
            tell(f"{Look.at(catwalk)}; {killer.killed.total()} workers killed")
        time.sleep(_TICK_SECONDS)
    for delivery in live[sent:]:
        deliver(catwalk, delivery)


def in_disorder(photos: Sequence[Photo], chance: random.Random) -> list[Delivery]:
    """Return the photos' events and copies in any order."""
    originals = [Delivery(photo) for photo in photos]
    copies = [Delivery(photo, copy=True) for photo in photos if photo.twice]
    return chance.sample([*originals, *copies], len(originals) + len(copies))


def in_order_of_copies(deliveries: Sequence[Delivery]) -> list[Delivery]:
    """Put each copy behind its original: no event comes before its photo is there."""
    seen: set[str] = set()
    ordered = []
    for delivery in deliveries:
        ordered.append(Delivery(delivery.photo, copy=delivery.photo.key in seen))
        seen.add(delivery.photo.key)
    return ordered


def copies_first(deliveries: Sequence[Delivery]) -> int:
    """Count the copies that come before their originals."""
    dropped: set[str] = set()
    count = 0
    for delivery in deliveries:
        count += delivery.copy and delivery.photo.key not in dropped
        dropped.add("" if delivery.copy else delivery.photo.key)
    return count


def deliver(catwalk: Catwalk, delivery: Delivery) -> None:
    """Drop the photo, or send the message about it once more."""
    key, body = delivery.photo.key, delivery.photo.body
    if delivery.copy:
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        catwalk.send_drop(key, etag=etag, event_id=f"copy-{key}")
    else:
        catwalk.drop(key, body)


@contextlib.contextmanager
def held_back(catwalk: Catwalk) -> Iterator[None]:
    """Let messages pile up: so a copy can come first, and yet its photo is there."""
    functions = catwalk.stack.clients.functions
    (source,) = functions.list_event_source_mappings(
        FunctionName=catwalk.physical_id("SubmitFunction")
    )["EventSourceMappings"]
    functions.update_event_source_mapping(UUID=source["UUID"], Enabled=False)
    yield
    functions.update_event_source_mapping(UUID=source["UUID"], Enabled=True)


def script(vendor: SimulatorControl, share: float) -> None:
    """Have this share of the vendor's calls go wrong."""
    for on, faults in FAULTS.items():
        each = share / len(faults)
        for position, fault in enumerate(faults):
            # A fault has its chance only if none before it fired.
            vendor.fault(on, times=None, probability=each / (1 - position * each), **fault)


class Killer:
    """Kills workers of the functions at random, while its `with` block lasts.

    A worker is a child of the local AWS whose environment names one of our functions; nothing
    else is ever killed. One that has no connection yet has not begun to work, and is let live: if
    a worker dies while it starts, MiniStack ends all workers of its function, those that start in
    their place included, and so nothing would ever begin.
    """

    def __init__(self, catwalk: Catwalk, chance: random.Random) -> None:
        """Learn what the functions are called, and whose children their workers are."""
        self._names = {catwalk.physical_id(function): function for function in FUNCTIONS}
        self._aws = catwalk.stack.folder.read().processes[0].pid
        self._chance = random.Random(chance.random())  # noqa: S311  of the thread's own
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._kill_on, name="killer")
        self.killed: Counter[str] = Counter()

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self._over.set()
        self._thread.join()

    @property
    def spared(self) -> set[str]:
        """The functions of which no worker was killed yet."""
        return set(FUNCTIONS) - set(self.killed)

    def _kill_on(self) -> None:
        while not self._over.wait(_KILLER_TICK_SECONDS):
            for pid, function in self._workers():
                dies = self._chance.random() < _KILLER_TICK_SECONDS / LIFE_SECONDS
                if dies and self._kill(pid, function):
                    self.killed[function] += 1

    def _workers(self) -> list[tuple[int, str]]:
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
        found = ((pid, self._function_of(pid)) for pid in pids)
        return [(pid, function) for pid, function in found if function is not None]

    def _function_of(self, pid: int) -> str | None:
        """Return whose worker a process is, by its parent and its environment."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
            # After the name, which may hold anything: state, parent.
            if int(stat.rpartition(")")[2].split()[1]) != self._aws:
                return None
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            files = [file.readlink().name for file in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:
            return None
        if not any(file.startswith("socket:") for file in files):
            return None
        name = next(
            (text for text in variables if text.startswith(b"AWS_LAMBDA_FUNCTION_NAME=")), b""
        )
        return self._names.get(name.partition(b"=")[2].decode())

    def _kill(self, pid: int, function: str) -> bool:
        """Kill one worker, for certain no process that was given its number meanwhile."""
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        try:
            if self._function_of(pid) != function:
                return False
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
        return True


# --- the odd storm -----------------------------------------------------------------------------


@dataclass
class Odd:
    """What became of the good photos of the odd storm, without and with poisoned ones."""

    good: int = 0
    poisoned: int = 0
    mean: list[float] = field(default_factory=list)
    """Seconds from a good photo's drop to its end; without, and with poisoned photos."""
    longest: list[float] = field(default_factory=list)
    parked: list[int] = field(default_factory=list)
    folder_files: int = 0
    again: int = 0
    """Drops whose event was delivered a second time, under another folder file."""
    answers: int = 0
    """Of the vendor to creates."""
    contradictions: int = 0
    poison_tries: int = 0
    books: Report = field(default_factory=Report)

    @property
    def ratio(self) -> float:
        """How many times as long the good photos take with the poisoned ones."""
        without, with_ = self.mean
        return with_ / without

    @property
    def problems(self) -> list[str]:
        """Everything that is not as it must be."""
        found = self.books.problems
        if self.good >= ENOUGH_FOR_A_MEAN and self.ratio > MOST_TIMES_AS_LONG:
            found.append(f"good photos take {self.ratio:.2f} times as long with poisoned ones")
        return found


def odd_storm(catwalk: Catwalk, storm: Storm, tell: Tell) -> Odd:
    """Have a vendor that contradicts itself: once without poisoned photos, and once with them."""
    odd = Odd(good=storm.odd, poisoned=len(POISON))
    catwalk.vendor.clear_faults()
    catwalk.close_breaker()
    warm = [Photo(f"odd-warm/{number}.jpg", photo(), twice=False) for number in range(6)]
    drop_odd(catwalk, warm, tell)
    for folder, poisoned in (("odd-without", 0), ("odd-with", len(POISON))):
        good = [
            Photo(f"{folder}/{number:03}.jpg", photo(), twice=number % 3 == 0)
            for number in range(storm.odd)
        ]
        bad = [
            Photo(f"{folder}/poison-{number}.jpg", photo(), twice=False)
            for number in range(poisoned)
        ]
        # The poisoned ones are the first, the third and so on: most good photos come after them.
        mixed = [entry for pair in zip(bad, good, strict=False) for entry in pair]
        tell(f"{storm.odd} good photos and {poisoned} poisoned ones; a vendor that is odd")
        before = catwalk.creates()
        script_odd(catwalk.vendor, folder, poisoned)
        with FolderFile(catwalk, folder, storm.folder_seconds) as folder_file:
            dropped = drop_odd(catwalk, [*mixed, *good[poisoned:]], tell)
        odd.folder_files += folder_file.written
        odd.again += sum(entry.twice for entry in good)
        odd.answers += catwalk.creates() - before
        judge_odd(catwalk, odd, good, bad, dropped)
        catwalk.vendor.clear_faults()
    return odd


def script_odd(vendor: SimulatorControl, folder: str, poisoned: int) -> None:
    """Have a share of the creates contradict themselves, and some photos always refused."""
    for number in range(poisoned):
        match = {"path_contains": f"{folder}/poison-{number}."}
        vendor.fault("create", times=None, match=match, **POISON[number])
    each = ODD_SHARE / len(ODD_ANSWERS)
    for position, fault in enumerate(ODD_ANSWERS):
        vendor.fault("create", times=None, probability=each / (1 - position * each), **fault)


def drop_odd(catwalk: Catwalk, photos: Sequence[Photo], tell: Tell) -> dict[str, float]:
    """Drop photos one by one, have the queue settle, and return when each was dropped.

    The events of some are delivered a second time, after the folder file has changed.
    """
    records = len(catwalk.all_records())
    dropped = {}
    for entry in photos:
        dropped[entry.key] = time.time()
        deliver(catwalk, Delivery(entry))
        time.sleep(ODD_GAP_SECONDS)
    for entry in photos:
        if entry.twice:
            made = wait_for(partial(catwalk.records, entry.key), f"{entry.key} to be taken in")
            catwalk.drop_again(entry.key, made[0]["triggers"][0], event_id=f"again-{entry.key}")
    settle(catwalk, records + len(photos), tell, seconds=ODD_SETTLE_SECONDS)
    return dropped


class FolderFile:
    """Changes a folder's `catwalk.json` again and again, while its `with` block lasts."""

    def __init__(self, catwalk: Catwalk, folder: str, seconds: float) -> None:
        """Change it every so many seconds."""
        self._catwalk = catwalk
        self._key = f"{folder}/catwalk.json"
        self._seconds = seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._change_on, name="folder file")
        self.written = 0

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self._over.set()
        self._thread.join()

    def _change_on(self) -> None:
        while not self._over.is_set():
            model = f"{self.written % 4 + 1:03}"
            self._catwalk.drop(self._key, f'{{"modelId": "{model}"}}'.encode())
            self.written += 1
            self._over.wait(self._seconds)


def judge_odd(
    catwalk: Catwalk,
    odd: Odd,
    good: Sequence[Photo],
    bad: Sequence[Photo],
    dropped: Mapping[str, float],
) -> None:
    """Compare records and charges, and find how long the good photos took."""
    charges = catwalk.vendor.charges()
    tasks = {task["task_id"]: task["photo"]["sha256"] for task in catwalk.vendor.state()["tasks"]}
    seconds, parked = [], 0
    for entry in (*good, *bad):
        records = catwalk.records(entry.key)
        charged = charges.by_sha256.get(sha256(entry.body), 0)
        # One set of jobs a dropped version: here one job, since no folder file asks for variants.
        judge_photo(entry, records, charged, tasks, odd.books)
        for record in records:
            odd.books.statuses[record["status"]] += 1
            odd.books.charges += charged
            odd.books.credits += record["credits"]
            parked += record["status"] == "SUBMIT_UNKNOWN"
            if entry in bad and (record.get("error") or {}).get("code") != "vendor_rejected":
                odd.books.wrong.append(f"{entry.key}: {record['status']}, and always refused")
            if entry in good and record["status"] == "SUCCEEDED":
                ended = parse_iso(record["finished_at"]).timestamp()
                seconds.append(ended - dropped[entry.key])
            if entry in good and record["status"] not in {"SUCCEEDED", "SUBMIT_UNKNOWN"}:
                odd.books.wrong.append(f"{entry.key}: {record['status']}, and a good photo")
    odd.parked.append(parked)
    odd.mean.append(sum(seconds) / max(1, len(seconds)))
    odd.longest.append(max(seconds, default=0.0))
    fired = [(fault["match"], fault["fired"]) for fault in catwalk.vendor.faults()]
    odd.contradictions += sum(count for match, count in fired if not match)
    odd.poison_tries += sum(count for match, count in fired if match)


def odd_table(odd: Odd) -> str:
    """Return the odd storm's figures as a table."""
    without, with_ = odd.mean
    rows: list[tuple[str, str, str]] = [
        ("good photos", f"{2 * odd.good}", f"half of them beside {odd.poisoned} poisoned ones"),
        ("answers to creates", f"{odd.answers}", f"{odd.contradictions} contradict themselves"),
        ("tries of the poisoned", f"{odd.poison_tries}", f"of {odd.poisoned} photos"),
        ("folder files", f"{odd.folder_files}", "changed the model meanwhile"),
        ("delivered again", f"{odd.again}", "good photos, after the folder file had changed"),
        ("parked", f"{sum(odd.parked)}", MEANINGS["SUBMIT_UNKNOWN"]),
        ("photos lost", f"{len(odd.books.no_record) + len(odd.books.not_ended)}", ""),
        ("photos paid twice", f"{len(odd.books.overcharged)}", ""),
        ("books that disagree", f"{len(odd.books.wrong)}", "records, charges, results"),
        ("seconds without", f"{without:.1f}", f"on average; the longest {odd.longest[0]:.1f}"),
        ("seconds with", f"{with_:.1f}", f"on average; the longest {odd.longest[1]:.1f}"),
        ("times as long", f"{odd.ratio:.2f}", f"{MOST_TIMES_AS_LONG} at most"),
    ]
    wide = max(len(name) for name, _, _ in rows)
    return "\n".join(f"  {name:{wide}}  {value:>6}  {text}".rstrip() for name, value, text in rows)


# --- after the storm ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Look:
    """The state of all jobs, messages and executions at a time."""

    statuses: Mapping[str, int]
    messages: int
    """Messages in the queue, including those in flight and delayed."""
    executions: int
    """Running executions."""

    @classmethod
    def at(cls, catwalk: Catwalk) -> Self:
        """Read the present state."""
        statuses = Counter(record["status"] for record in catwalk.all_records())
        pages = catwalk.stack.clients.executions.get_paginator("list_executions").paginate(
            stateMachineArn=catwalk.stack.output("StateMachineArn"), statusFilter="RUNNING"
        )
        executions = sum(len(page["executions"]) for page in pages)
        return cls(statuses, messages_in(catwalk, "SubmitQueueUrl"), executions)

    @property
    def quiet(self) -> bool:
        """Whether nothing is under way."""
        return self.messages == self.executions == 0

    def ended(self, photos: int) -> bool:
        """Return whether this many photos have ended."""
        ended = sum(count for status, count in self.statuses.items() if status in ENDED)
        return ended == sum(self.statuses.values()) >= photos

    def __str__(self) -> str:
        """Return the state as a line."""
        records = ", ".join(f"{count} {status}" for status, count in sorted(self.statuses.items()))
        return f"{records or 'no records'}; {self.messages} messages; {self.executions} executions"


def messages_in(catwalk: Catwalk, output: str) -> int:
    """Count a queue's messages: visible, in flight and delayed."""
    attributes = catwalk.stack.clients.sqs.get_queue_attributes(
        QueueUrl=catwalk.stack.output(output), AttributeNames=_MESSAGES
    )["Attributes"]
    return sum(int(count) for count in attributes.values())


def settle(catwalk: Catwalk, photos: int, tell: Tell, *, seconds: float = math.inf) -> None:
    """Wait until all photos have ended and nothing is under way, or until nothing changes any more.

    Args:
        catwalk: the stack.
        photos: the number of photos.
        tell: called with each state.
        seconds: the timeout.

    """
    until = time.monotonic() + seconds
    reconciles = has_reconcile(catwalk)
    before: Look | None = None
    moved = told = time.monotonic()
    news = True
    quiet = 0
    while True:
        look, now = Look.at(catwalk), time.monotonic()
        if look != before:
            before, moved, news = look, now, True
        quiet = quiet + 1 if look.quiet else 0
        # Without ReconcileFunction, a job without a message never changes again.
        over = quiet >= _QUIET_LOOKS and (look.ended(photos) or not reconciles)
        stands = now >= moved + STILL_SECONDS
        if over or stands or now >= until:
            still = f"; nothing has moved for {STILL_SECONDS:.0f} s" if stands else ""
            tell(f"{look}{still}")
            return
        if now >= told + _TELL_SECONDS and (news or now >= told + _TELL_STILL_SECONDS):
            tell(str(look) if news else f"{look}, as before")
            told, news = now, False
            if reconciles:
                catwalk.invoke("ReconcileFunction", {})
        time.sleep(_LOOK_SECONDS)


def has_reconcile(catwalk: Catwalk) -> bool:
    """Return whether the stack has ReconcileFunction."""
    resources = catwalk.stack.clients.cloudformation.describe_stack_resources(StackName=STACK)
    return any(
        entry["LogicalResourceId"] == "ReconcileFunction" for entry in resources["StackResources"]
    )


# --- the books ---------------------------------------------------------------------------------


def judge(catwalk: Catwalk, photos: Sequence[Photo], report: Report) -> None:
    """Compare what the records, the buckets, the queues, the bus and the vendor say."""
    charges = catwalk.vendor.charges()
    tasks = {task["task_id"]: task["photo"]["sha256"] for task in catwalk.vendor.state()["tasks"]}
    records = defaultdict(list)
    for record in catwalk.all_records():
        records[record["source_key"]].append(record)
        report.statuses[record["status"]] += 1
        report.again += record["attempt"] - 1
        report.credits += record["credits"]
    report.charges = charges.total
    for dropped in photos:
        charged = charges.by_sha256.get(sha256(dropped.body), 0)
        judge_photo(dropped, records.pop(dropped.key, []), charged, tasks, report)
    report.wrong += [f"{key}: has a record, and was never dropped" for key in records]
    known = sum(charges.by_sha256.get(sha256(dropped.body), 0) for dropped in photos)
    if known != charges.total:
        report.wrong.append(f"the vendor charged {charges.total - known} for unknown photos")
    judge_results(catwalk, report)
    judge_events(catwalk, report)
    left = messages_in(catwalk, "SubmitQueueUrl")
    if left:
        report.wrong.append(f"{left} messages are left in the queue")
    # A message that was given up is no loss if its photo came to its end all the same: whether
    # it did, its record has said above.
    report.given_up = messages_in(catwalk, "SubmitDeadLetterQueueUrl")


def judge_photo(
    dropped: Photo,
    records: Sequence[Mapping[str, Any]],
    charged: int,
    tasks: Mapping[str, str],
    report: Report,
) -> None:
    """Find what is wrong with one photo: its record, its end, its cost."""
    key = dropped.key
    attempts = max((record["attempt"] for record in records), default=0)
    # The same bytes with the same settings are the same job: two records may not cost two.
    if charged > attempts:
        report.overcharged.append(f"{key}: {charged} charges, {attempts} attempts")
    if not records:
        report.no_record.append(f"{key}: no record")
        return
    if len(records) > 1:
        report.wrong.append(f"{key}: {len(records)} records of one photo")
        return
    (record,) = records
    status, credits_ = record["status"], record["credits"]
    if status not in ENDED:
        report.not_ended.append(f"{key}: stands at {status}, job {record['job_id']}")
        return
    unknown = [past for past in (record, *record["history"]) if past["status"] == "SUBMIT_UNKNOWN"]
    if not credits_ <= charged <= credits_ + len(unknown):
        report.wrong.append(f"{key}: {status} with {credits_} credits, but {charged} charges")
    task = record.get("task_id")
    if task is not None and tasks.get(task) != sha256(dropped.body):
        report.wrong.append(f"{key}: its task {task} is not the vendor's task of this photo")
    if status == "SUCCEEDED" and len(record["results"]) != record["settings"]["batch_size"]:
        report.wrong.append(f"{key}: SUCCEEDED with {len(record['results'])} results")


def judge_results(catwalk: Catwalk, report: Report) -> None:
    """Read every result back, and compare it with its record."""
    for record in catwalk.all_records():
        for result in record["results"]:
            try:
                data, _ = catwalk.object(result["bucket"], result["key"])
            except ClientError as error:
                report.wrong.append(f"{result['key']}: {error}")
                continue
            report.results += 1
            if sha256(data) != result["sha256"]:
                report.wrong.append(f"{result['key']}: other bytes than the record says")


def judge_events(catwalk: Catwalk, report: Report) -> None:
    """Look whether the bus has heard how each job ended."""
    told = {(event["detail"]["jobId"], event["detail"]["status"]) for event in catwalk.heard}
    report.wrong += [
        f"{record['source_key']}: nobody was told that it is {record['status']}"
        for record in catwalk.all_records()
        if record["status"] in ENDED and (record["job_id"], record["status"]) not in told
    ]


# --- for people --------------------------------------------------------------------------------


def table(storm: Storm, report: Report) -> str:
    """Return the counts as a table."""
    kills = ", ".join(
        f"{name.removesuffix('Function')} {report.killed[name]}" for name in FUNCTIONS
    )
    seconds = ", ".join(f"{name} {value:.0f}" for name, value in report.seconds.items())

    def kinds(counts: Mapping[str, int]) -> str:
        return ", ".join(f"{kind} {counts.get(kind, 0)}" for kind in FAULTS)

    share = report.failed.total() / max(1, report.calls.total())
    rows: list[tuple[str, int, str]] = [
        ("photos dropped", report.photos, "each with bytes of its own"),
        (
            "deliveries",
            report.photos + report.twice,
            f"{report.twice} photos twice, {report.copies_first} with the copy first",
        ),
        ("workers killed", report.killed.total(), kills),
        ("vendor calls in the storm", report.calls.total(), kinds(report.calls)),
        ("  of which went wrong", report.failed.total(), f"{kinds(report.failed)}; {share:.1%}"),
        ("records", report.statuses.total(), f"{report.again} attempts beyond the first"),
        *(
            (f"  {status}", count, MEANINGS[status])
            for status, count in sorted(report.statuses.items())
        ),
        ("results in the bucket", report.results, "with the bytes that their records name"),
        (
            "charges",
            report.charges,
            f"{report.credits} on record, {report.charges - report.credits} of parked photos",
        ),
        ("messages given up", report.given_up, "in the dead-letter queue"),
        ("photos without a record", len(report.no_record), ""),
        ("photos that came to no end", len(report.not_ended), ""),
        ("photos charged twice", len(report.overcharged), "more often than they had attempts"),
        ("books that disagree", len(report.wrong), "records, charges, results, events"),
        ("seconds", round(sum(report.seconds.values())), seconds),
    ]
    wide = max(len(name) for name, _, _ in rows)
    lines = [f"  {name:{wide}}  {count:6}  {text}".rstrip() for name, count, text in rows]
    return "\n".join(lines)


MEANINGS: Final = {
    "ACCEPTED": "not at the vendor yet",
    "SUBMITTING": "being sent",
    "RUNNING": "at the vendor",
    "SUCCEEDED": "all of their results copied",
    "PARTIAL": "some of their results copied",
    "FAILED": "the record says why",
    "REJECTED": "the record says why",
    "SUBMIT_UNKNOWN": "charged or not, nobody knows: parked for a person, never sent again",
}


def verdict(problems: Sequence[str]) -> str:
    """Say whether all went well, or what did not."""
    if not problems:
        return "Nothing was lost, and nothing was charged twice."
    shown_ = [f"  {problem}" for problem in problems[:_SHOWN_PROBLEMS]]
    more = len(problems) - len(shown_)
    tail = [f"  and {more} more"] if more > 0 else []
    return "\n".join([f"{len(problems)} things are wrong:", *shown_, *tail])


class _Aloud:
    """Says the steps of the stack's start, and whatever else happens."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    def __call__(self, text: str) -> None:
        print(f"  {time.monotonic() - self._begun:4.0f} s  {text}", flush=True)

    def begin(self, name: str) -> None:
        """Say nothing yet."""

    def done(self, name: str, detail: str, seconds: float) -> None:
        """Say that a step of the start is done."""
        self(f"{name}: {detail}")


def main(argv: Sequence[str] | None = None) -> int:
    """Have a storm over a stack of its own, and return 1 if anything was lost or charged twice."""
    storm, folder = _arguments(argv)
    if sys.platform != "linux":
        print("The storm finds the workers that it kills through /proc: it needs Linux.")
        return 1
    environment.take_api_key()
    environment.forget_users_aws(os.environ)
    aloud = _Aloud()
    print(
        f"The storm: {storm.photos} photos, every third delivered twice, out of order; workers"
        f" killed for {storm.seconds:g} s;\n{storm.failing:.0%} of the vendor's calls going wrong."
        f" Chance by seed {storm.seed}.\n",
        flush=True,
    )
    begun = time.monotonic()
    try:
        with running(folder, PLAN, aloud) as stack:
            started = time.monotonic() - begun
            report, odd = rage(stack, storm, aloud)
            report.seconds = {"start": started, **report.seconds}
    except LocalError as problem:
        print(f"\n{problem}", file=sys.stderr)
        return 1
    except (BotoCoreError, ClientError, ControlError, httpx.HTTPError, OSError) as problem:
        print(
            f"\nThe local stack ran into trouble: {problem}.\nIts logs are in"
            f" {shown(folder.logs)}/.",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("\nStopped; nothing was left running.", file=sys.stderr)
        return _INTERRUPTED
    problems = [*report.problems, *odd.problems]
    print(f"\n{table(storm, report)}\n\nThe odd storm:\n\n{odd_table(odd)}", flush=True)
    print(f"\n{verdict(problems)}", flush=True)
    if problems:
        print(f"The logs are in {shown(folder.logs)}/.")
    return 1 if problems else 0


def _arguments(argv: Sequence[str] | None) -> tuple[Storm, StateFolder]:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.storm", description=__doc__)
    parser.add_argument("--photos", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=30.0, help="of killing workers")
    parser.add_argument("--failing", type=float, default=0.1, help="share of the vendor's calls")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--visibility", type=int, help="seconds, in place of the template's")
    parser.add_argument("--odd", type=int, default=60, help="good photos in each odd half")
    parser.add_argument(
        "--folder-seconds", type=float, default=3.0, help="between changes of the folder file"
    )
    parser.add_argument("--folder", type=Path, help="for the stack's files")
    given = parser.parse_args(argv)
    storm = Storm(
        given.photos,
        given.seconds,
        given.failing,
        given.seed,
        given.visibility,
        given.odd,
        given.folder_seconds,
    )
    return storm, StateFolder(given.folder) if given.folder else folder_of("storm")


if __name__ == "__main__":
    sys.exit(main())
