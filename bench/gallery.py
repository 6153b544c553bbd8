"""The gallery with 50,000 jobs: the time of its pages and the memory of its server.

The table is a simulated DynamoDB in this process, which keeps the jobs in memory. It answers
queries of the indexes and their filters like DynamoDB: by key, in order, with a limit on the
records and 1 MB evaluated a query, and a LastEvaluatedKey if there are more. moto and MiniStack are
too slow for 50,000 jobs, since they sort or copy the whole table for each query. Each answer is
delayed by the time that DynamoDB needs at least, so that the number of queries matters. The gallery
is the real `catwalk gallery` in another process, called over HTTP.
"""

import argparse
import bisect
import contextlib
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, Self

import httpx

from bench.figures import write
from local.paths import ROOT
from shared.models import JobStatus
from shared.records.attributes import to_attribute
from shared.vmake.catalogue import MODELS

JOBS: Final = 50_000
ROUNDS: Final = 9
_LATENCY_SECONDS: Final = 0.005
"""DynamoDB answers a query "in single-digit milliseconds"; a page of one megabyte takes longer."""
_BYTES_A_SECOND: Final = 40_000_000
_PAGE_BYTES: Final = 1_000_000
_ITEM_BYTES: Final = 1_900
"""The size of a job with four results in DynamoDB; measured on the records of the demo."""
_SHARES: Final = {
    JobStatus.SUCCEEDED: 0.93,
    JobStatus.FAILED: 0.03,
    JobStatus.PARTIAL: 0.015,
    JobStatus.REJECTED: 0.015,
    JobStatus.RUNNING: 0.006,
    JobStatus.ACCEPTED: 0.004,
}
_FOLDERS: Final = ("spring", "summer/dresses", "summer/shirts", "autumn", "winter/coats", "denim")
_CASES: Final = {
    "all": "/",
    "failed": "/?status=failed",
    "one folder of six": "/?folder=summer/dresses",
    "one model of five": "/?model=044",
    "an article": "/?sku=SKU-00042",
    "a job's id": "/?q={job_id}",
    "found late: a name in the oldest hundredth": "/?q=photo-0000{oldest}",
    "nothing at all": "/?q=nowhere-to-be-found",
    "to review": "/?status=to-review",
    "approved, one folder of six": "/?status=approved&folder=summer/dresses",
}
_COUNTED: Final = {
    "all numbers": "/counts",
    "all numbers of one folder of six": "/counts?folder=summer/dresses",
}
_REVIEWS: Final = {"approved": 0.6, "refused": 0.1, "to_review": 0.3}
"""What was decided about the jobs that have results."""
_NAMES_BYTES: Final = 250
"""A record in the index by-review, which holds names alone."""


def main() -> int:
    """Measure, and keep the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.gallery", description=__doc__)
    parser.add_argument("--jobs", type=int, default=JOBS)
    jobs = parser.parse_args().jobs
    with (
        tempfile.TemporaryDirectory(prefix="catwalk-bench-") as folder,
        Table(jobs) as table,
        _gallery(table.url, Path(folder)) as (client, process),
    ):
        figures = _measure(client, process, table)
    path = write("gallery", {"jobs": jobs, "rounds": ROUNDS, **figures})
    for case in figures["cases"]:
        print(f"{case['name']}: {case['median_milliseconds']:.0f} ms")
    print(f"all {figures['paged']['jobs']} jobs in {figures['paged']['pages']} pages,")
    print(f"memory {figures['paged']['resident_mebibytes']} MiB")
    print(f"{path.relative_to(ROOT)} is written.")
    return 0


def _measure(client: httpx.Client, process: int, table: "Table") -> dict[str, Any]:
    client.get("/").raise_for_status()  # imports, connections, templates
    oldest = f"{table.count // 200:02}"
    cases = []
    for name, path in _CASES.items():
        wanted = path.format(job_id=table.some_job_id, oldest=oldest)
        cases.append({"name": name, **_first_page(client, table, wanted)})
    return {
        "cases": cases,
        "counted": [
            {"name": name, **_numbers(client, table, path)} for name, path in _COUNTED.items()
        ],
        "paged": _page_through(client, process),
        "latency_milliseconds": _LATENCY_SECONDS * 1000,
    }


def _first_page(client: httpx.Client, table: "Table", path: str) -> dict[str, Any]:
    """Measure a first page, and the further pages that are needed to find the first job."""
    seconds, queries, further, text = [], 0, 0, ""
    for _ in range(ROUNDS):
        before, begun = table.queries, time.perf_counter()
        answer = client.get(path)
        seconds.append(time.perf_counter() - begun)
        answer.raise_for_status()
        queries, text = table.queries - before, answer.text
    shown = text.count("data-card=")
    begun = time.perf_counter()
    while "data-card=" not in text and (more := _more(text)):
        text = client.get(more).raise_for_status().text
        further += 1
    return {
        "median_milliseconds": statistics.median(seconds) * 1000,
        "worst_milliseconds": max(seconds) * 1000,
        "queries": queries,
        "shown": shown,
        "further_pages": further,
        "further_seconds": time.perf_counter() - begun,
    }


def _numbers(client: httpx.Client, table: "Table", path: str) -> dict[str, Any]:
    """Measure how long the chips' numbers take, and how much of the jobs they have counted."""
    seconds, answer = [], client.get(path).raise_for_status()
    for _ in range(ROUNDS):
        before, begun = table.queries, time.perf_counter()
        answer = client.get(path).raise_for_status()
        seconds.append(time.perf_counter() - begun)
    numbers = answer.json()["numbers"]
    return {
        "median_milliseconds": statistics.median(seconds) * 1000,
        "worst_milliseconds": max(seconds) * 1000,
        "queries": table.queries - before,
        "counted": numbers[""][0],
        "exact": sorted(name or "all" for name, (_, exact) in numbers.items() if exact),
        "inexact": sorted(name or "all" for name, (_, exact) in numbers.items() if not exact),
    }


def _page_through(client: httpx.Client, process: int) -> dict[str, Any]:
    """Page through all jobs as a browser does, and measure the server's memory meanwhile."""
    path: str | None = "/"
    pages, seen, seconds = 0, set[str](), []
    resident: list[int] = []
    while path:
        begun = time.perf_counter()
        text = client.get(path).raise_for_status().text
        seconds.append(time.perf_counter() - begun)
        seen.update(re.findall(r'data-card="(\w+)"', text))
        if pages % 50 == 0:
            resident.append(_resident(process))
        pages += 1
        path = _more(text)
        if path:
            path += "&part=1"
    resident.append(_resident(process))
    tenth = max(1, len(seconds) // 10)
    return {
        "pages": pages,
        "jobs": len(seen),
        "median_milliseconds": statistics.median(seconds) * 1000,
        "worst_milliseconds": max(seconds) * 1000,
        "first_tenth_milliseconds": statistics.median(seconds[:tenth]) * 1000,
        "last_tenth_milliseconds": statistics.median(seconds[-tenth:]) * 1000,
        "resident_mebibytes": resident,
    }


def _more(text: str) -> str | None:
    # Without the secret folder, which is the client's base.
    found = re.search(r'href="/[^/]+(/[^"]+)" data-more', text)
    return found[1].replace("&amp;", "&") if found else None


def _resident(process: int) -> int:
    """Return a process's resident memory, MiB."""
    pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


def environment(endpoint: str, folder: Path) -> dict[str, str]:
    """Return an environment in which AWS is only this bench's table."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


@contextlib.contextmanager
def _gallery(endpoint: str, folder: Path) -> Iterator[tuple[httpx.Client, int]]:
    """Run the real command without the user's AWS settings, and log in to it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", "gallery", "--no-open", "--port", "0"],
        cwd=ROOT,
        env=environment(endpoint, folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        found = re.search(r"(http://\S+)/(\?key=\S+)", process.stdout.readline())
        if found is None:
            raise SystemExit("The gallery did not start.")
        with httpx.Client(base_url=found[1], timeout=60, trust_env=False) as client:
            client.get(f"/{found[2]}").raise_for_status()
            yield client, process.pid
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10)


# --- the table ----------------------------------------------------------------------------------


@dataclass
class Table:
    """A table of jobs with DynamoDB's API, and a stack with CloudFormation's."""

    count: int
    queries: int = 0
    items: dict[str, bytes] = field(default_factory=dict, repr=False)
    """Each record by its key, as JSON."""
    names: dict[str, bytes] = field(default_factory=dict, repr=False)
    """The projected attributes of each record, as JSON."""
    facts: dict[str, tuple[str, str, str]] = field(default_factory=dict, repr=False)
    """The attributes that filters use: source key, model, scene's type."""
    orders: dict[tuple[str, str], list[tuple[str, str]]] = field(default_factory=dict, repr=False)
    """Each index's keys under a value, in order: sort key and primary key."""

    def __enter__(self) -> Self:
        self._fill()
        handler = type("Handler", (_Handler,), {"table": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """The address of the server."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def some_job_id(self) -> str:
        """The id of one of the jobs."""
        return f"{self.count // 2:032x}"

    def _fill(self) -> None:
        chance = random.Random(50_000)  # noqa: S311  the same jobs each time, no secret
        statuses = chance.choices(list(_SHARES), list(_SHARES.values()), k=self.count)
        for number, status in enumerate(statuses):
            item = _item(number, status, chance)
            pk = item["pk"]
            self.items[pk] = json.dumps(
                {name: to_attribute(value) for name, value in item.items()}
            ).encode()
            names = ("pk", "updated_at", "created_at", "source_key", "sku", "task_id", "job_id")
            self.names[pk] = json.dumps({name: {"S": item[name]} for name in names}).encode()
            settings = item["settings"]
            self.facts[pk] = (item["source_key"], settings["model_id"], settings["scene_type"])
            for name, sort in _SORTS.items():
                if name in item:
                    self.orders.setdefault((name, item[name]), []).append((item[sort], pk))
        for order in self.orders.values():
            order.sort()

    def query(self, request: Mapping[str, Any]) -> bytes:
        """Answer a query of an index, newest first."""
        self.queries += 1
        name = request["ExpressionAttributeNames"]["#name"]
        values = {name: value["S"] for name, value in request["ExpressionAttributeValues"].items()}
        order = self.orders.get((name, values[":value"]), [])
        begin = request.get("ExclusiveStartKey")
        position = len(order)
        kind = _SORTS[name]
        if begin is not None:
            position = bisect.bisect_left(order, (begin[kind]["S"], begin["pk"]["S"]))
        item_bytes = _NAMES_BYTES if name == "review_state" else _ITEM_BYTES
        most = min(request.get("Limit", self.count), _PAGE_BYTES // item_bytes)
        evaluated = order[max(0, position - most) : position][::-1]
        since = values.get(":since", "")
        evaluated = [entry for entry in evaluated if entry[0] > since]
        passed = [pk for _, pk in evaluated if self._passes(pk, values)]
        last = {}
        if position > most and len(evaluated) == most:
            sort, pk = evaluated[-1]
            key = {"pk": {"S": pk}, name: {"S": values[":value"]}, kind: {"S": sort}}
            last = {"LastEvaluatedKey": key}
        size = len(evaluated) * item_bytes
        time.sleep(_LATENCY_SECONDS + size / _BYTES_A_SECOND)
        head = {"Count": len(passed), "ScannedCount": len(evaluated), **last}
        if request.get("Select") == "COUNT":
            return json.dumps(head).encode()
        by_names = "ProjectionExpression" in request or name == "review_state"
        kept = self.names if by_names else self.items
        items = b",".join(kept[pk] for pk in passed)
        return json.dumps(head).encode()[:-1] + b',"Items":[' + items + b"]}"

    def _passes(self, pk: str, values: Mapping[str, str]) -> bool:
        source_key, model, scene = self.facts[pk]
        return (
            source_key.startswith(values.get(":folder", ""))
            and values.get(":model", model) == model
            and values.get(":scene", scene) == scene
            # Each preset scene is 035.
            and values.get(":which", "035") == "035"
        )

    def get(self, pk: str) -> bytes | None:
        """Return a record."""
        time.sleep(_LATENCY_SECONDS)
        return self.items.get(pk)


class _Handler(BaseHTTPRequestHandler):
    """Handles the requests of DynamoDB's and CloudFormation's APIs."""

    protocol_version = "HTTP/1.1"
    # Head and body in one piece: in two, the second would wait 40 ms for the first one's receipt.
    wbufsize = 2**20
    table: Table

    def do_POST(self) -> None:
        """Answer a call."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        operation = self.headers.get("X-Amz-Target", "").partition(".")[2]
        kind = "application/x-amz-json-1.0"
        match operation:
            case "Query":
                answer = self.table.query(json.loads(body))
            case "BatchGetItem":
                ((name, wanted),) = json.loads(body)["RequestItems"].items()
                found = [self.table.get(key["pk"]["S"]) for key in wanted["Keys"]]
                items = b",".join(item for item in found if item)
                answer = b'{"Responses":{"%s":[%s]},"UnprocessedKeys":{}}' % (name.encode(), items)
            case "GetItem":  # submission is not paused
                answer = b"{}"
            case _:
                answer, kind = _STACK, "text/xml"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  http.server's own
        """Log nothing."""


def _item(number: int, status: JobStatus, chance: random.Random) -> dict[str, Any]:
    """Return a record of about the size that real ones have."""
    job_id = f"{number:032x}"
    key = f"{chance.choice(_FOLDERS)}/photo-{number:06}.jpg"
    second, minute, hour = number % 60, number // 60 % 60, number // 3600 % 24
    moment = f"2026-01-{1 + number // 86_400:02}T{hour:02}:{minute:02}:{second:02}.000Z"
    model = chance.choice(list(MODELS))
    preset = number % 3 > 0
    scene = "preset-035" if preset else "original"
    there = 4 if status is JobStatus.SUCCEEDED else 0
    state = chance.choices(list(_REVIEWS), list(_REVIEWS.values()))[0]
    review = {"state": state, "by": "anna", "at": moment, "revision": 1}
    item: dict[str, Any] = {
        "pk": f"JOB#{job_id}",
        "job_id": job_id,
        "attempt": 1,
        "status": status.value,
        "source_key": key,
        "sku": f"SKU-{number % 5_000:05}",
        "dropped": True,
        "photo": {
            "bucket": "catwalk-photosbucket-1a2b3c4d5e6f",
            "key": key,
            "etag": f"{number:032x}",
            "version_id": f"v{number:031}",
            "bytes": 412_345,
            "content_type": "image/jpeg",
            "width": 1800,
            "height": 2400,
        },
        "settings": {
            "model_id": model,
            "scene_type": "preset" if preset else "original",
            **({"scene_id": "035"} if preset else {}),
            "batch_size": 4,
            "extra": {},
        },
        "task_id": f"task-{number:032x}",
        "progress": 100 if there else 30,
        "polls": 4,
        "credits": 1,
        "created_at": moment,
        "submitted_at": moment,
        "updated_at": moment,
        "execution_arn": f"arn:aws:states:us-east-1:123456789012:execution:jobs:{job_id}-1",
        "results": [
            {
                "index": index,
                "bucket": "catwalk-resultsbucket-1a2b3c4d5e6f",
                "key": f"{key.removesuffix('.jpg')}/{model}-{scene}/{job_id}-{index}.png",
                "width": 1536,
                "height": 2048,
                "bytes": 2_345_678,
                "sha256": f"{number * 4 + index:064x}",
                "content_type": "image/png",
            }
            for index in range(1, there + 1)
        ],
        "history": [],
        **({"review": review, "review_state": state} if there else {}),
    }
    if status in {JobStatus.FAILED, JobStatus.PARTIAL, JobStatus.REJECTED}:
        item["error"] = {
            "code": "vendor_task_error",
            "message": "The vendor's task ended with an error; regenerate it.",
        }
    return item


_SORTS: Final = {"status": "updated_at", "sku": "created_at", "review_state": "updated_at"}
"""The sort key of each index, by its partition key."""
_OUTPUTS: Final = {
    "PhotosBucketName": "photos",
    "ResultsBucketName": "results",
    "JobsTableName": "jobs",
    "EventBusName": "catwalk",
    "StateMachineArn": "arn:aws:states:us-east-1:123456789012:stateMachine:jobs",
    "SubmitQueueUrl": "http://127.0.0.1/submit",
    "SubmitDeadLetterQueueUrl": "http://127.0.0.1/dead",
}
_STACK: Final = (
    '<DescribeStacksResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/">'
    "<DescribeStacksResult><Stacks><member><StackName>catwalk</StackName>"
    "<StackStatus>CREATE_COMPLETE</StackStatus>"
    "<CreationTime>2026-01-01T00:00:00Z</CreationTime><Outputs>"
    + "".join(
        f"<member><OutputKey>{key}</OutputKey><OutputValue>{value}</OutputValue></member>"
        for key, value in _OUTPUTS.items()
    )
    + "</Outputs></member></Stacks></DescribeStacksResult></DescribeStacksResponse>"
).encode()


if __name__ == "__main__":
    sys.exit(main())
