"""One copy of a job's results in a separate process, for `bench.finalize`.

    python -m bench.finalize_copies ours|plain|bare VENDOR_URL BYTES COUNT

The environment gives the store (`AWS_ENDPOINT_URL_S3`) and the trusted certificates
(`AWS_CA_BUNDLE`, `SSL_CERT_FILE`). Imports are done and clients are made before the clock starts,
as in a warm Lambda.
"""

import gc
import hashlib
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final, cast

BUCKET: Final = "results"


def urls(vendor_url: str, size: int, count: int) -> list[str]:
    """Return the URLs of `count` results of `size` bytes, alternately PNG and JPEG."""
    return [f"{vendor_url}/{size}/{n}.{'jpg' if n % 2 else 'png'}" for n in range(count)]


def ours(vendor_url: str, size: int, count: int) -> Callable[[], int]:
    """Return our copy: FinalizeFunction's own code and clients; the record is kept in memory."""
    from shared import clients  # noqa: PLC0415 - the other copies must not carry it
    from shared.models import (  # noqa: PLC0415 - only for this copy
        Job,
        JobError,
        JobStatus,
        Result,
        SceneType,
        Settings,
    )
    from shared.notify.announcer import Announcer  # noqa: PLC0415 - only for this copy
    from shared.records.jobs import JobRepository  # noqa: PLC0415 - only for this copy
    from shared.results.download import download_client  # noqa: PLC0415 - only for this copy
    from shared.results.store import ResultStore  # noqa: PLC0415 - only for this copy
    from shared.steps.finalize import Finalizer  # noqa: PLC0415 - only for this copy
    from shared.vmake.client import VmakeClient  # noqa: PLC0415 - only for this copy

    job = Job(
        job_id="0" * 32,
        status=JobStatus.RUNNING,
        source_key="a/dress.jpg",
        settings=Settings(model_id="002", scene_type=SceneType.ORIGINAL, batch_size=count),
        task_id="t",
        created_at="2026-01-31T09:30:00.000Z",
        updated_at="2026-01-31T09:30:00.000Z",
    )

    class Record:
        """The job's record, in memory."""

        def get(self, _job_id: str) -> Job:
            return job

        def finish(self, job: Job, *, results: list[Result], error: JobError | None) -> Job:
            if error is not None:
                raise SystemExit(error.message)
            return job.model_copy(update={"status": JobStatus.SUCCEEDED, "results": results})

    class Silent:
        """Publishes nothing."""

        closed: Job

        def announce(self, job: Job) -> None:
            self.closed = job

    told = Silent()
    _ = clients.s3().meta  # it may be made only when something is asked of it
    finalizer = Finalizer(
        jobs=cast("JobRepository", Record()),
        results=ResultStore(
            clients.s3(), BUCKET, download_client(vendor_url), max_bytes=256 * 1024 * 1024
        ),
        vendor=cast("VmakeClient", None),
        announcer=cast("Announcer", told),
    )
    event = {
        "job_id": job.job_id,
        "attempt": job.attempt,
        "task_id": "t",
        "submitted_at": job.created_at,
        "deadline": job.created_at,
        "outcome": "finalize",
        "results": [
            {"index": number, "url": url}
            for number, url in enumerate(urls(vendor_url, size, count), 1)
        ],
    }

    def copy() -> int:
        finalizer.finalize(event)
        return sum(result.bytes for result in told.closed.results)

    return copy


def plain(vendor_url: str, size: int, count: int) -> Callable[[], int]:
    """Return the simplest copy: a stream through a hash into `upload_fileobj`, one by one."""
    import boto3  # noqa: PLC0415 - the bare read must not carry it
    import boto3.s3.transfer  # noqa: PLC0415 - else imported by the first upload
    import httpx  # noqa: PLC0415 - only for this copy

    s3 = boto3.client("s3")

    class Body:
        def __init__(self, chunks: Iterator[bytes]) -> None:
            self.hash = hashlib.sha256()
            self.count = 0
            self._chunks = chunks
            self._buffer = bytearray()

        def read(self, size: int = sys.maxsize) -> bytes:
            while len(self._buffer) < size and (chunk := next(self._chunks, b"")):
                self.hash.update(chunk)
                self.count += len(chunk)
                self._buffer += chunk
            piece = bytes(self._buffer[:size])
            del self._buffer[:size]
            return piece

    def copy() -> int:
        total = 0
        for number, url in enumerate(urls(vendor_url, size, count), 1):
            with httpx.stream("GET", url) as response:
                body = Body(response.iter_bytes())
                s3.upload_fileobj(body, BUCKET, f"a/dress/{number}")  # type: ignore[arg-type]  # it needs read() alone
                body.hash.hexdigest()
                total += body.count
        return total

    return copy


def bare(vendor_url: str, size: int, count: int) -> Callable[[], int]:
    """Return a plain read of the same bytes, one by one."""
    import httpx  # noqa: PLC0415 - as each of these imports its own

    def read() -> int:
        total = 0
        for url in urls(vendor_url, size, count):
            with httpx.stream("GET", url) as response:
                total += sum(map(len, response.iter_bytes()))
        return total

    return read


def peak_bytes() -> int:
    """Return the most memory that this process has had so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main(kind: str, vendor_url: str, size: int, count: int) -> None:
    """Copy, and print time and memory."""
    copy = {"ours": ours, "plain": plain, "bare": bare}[kind](vendor_url, size, count)
    gc.collect()
    before = peak_bytes()
    cpu, wall = time.process_time(), time.perf_counter()
    total = copy()
    seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    if total != size * count:
        raise SystemExit(f"{total} bytes were copied, not {size * count}")
    figures = {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_bytes": peak_bytes(),
        "bytes_above_baseline": peak_bytes() - before,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
