"""`catwalk pull`: it writes only complete images, and overwrites no other file."""

import hashlib
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ResponseStreamingError

from cli.jobs.pull import Pull, Puller, State
from shared import clients
from shared.models import Job, JobStatus, Result, Review, ReviewState
from tests.cli_runner import NOW, Shell
from tests.factories import RESULTS

BODY = b"0123456789" * 10
NAME = "S-1_Clara_own-background_1.jpg"


def put(shell: Shell, job_id: str = "one", count: int = 1, **changes: Any) -> Job:
    """Write a job whose images are in the bucket."""
    results = []
    for index in range(1, count + 1):
        body = BODY + f"{job_id}-{index}".encode()
        key = f"x/{job_id}-{index}.jpg"
        shell.aws.s3.put_object(Bucket=RESULTS, Key=key, Body=body)
        digest = hashlib.sha256(body).hexdigest()
        results.append(
            Result(
                index=index,
                bucket=RESULTS,
                key=key,
                width=8,
                height=8,
                bytes=len(body),
                sha256=digest,
                content_type="image/jpeg",
            )
        )
    values = {"source_key": "summer/a.jpg", "sku": "S-1", "results": tuple(results)}
    return shell.job(job_id, JobStatus.SUCCEEDED, **(values | changes))


@pytest.fixture
def desk(shell: Shell) -> Shell:
    """Return a stack with a job of one image."""
    shell.aws.s3.create_bucket(Bucket=RESULTS)
    put(shell)
    return shell


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Return a folder that does not exist yet."""
    return tmp_path / "new" / "out"


def files(folder: Path) -> dict[str, bytes]:
    """Return the files in a folder."""
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_folder(desk: Shell, out: Path) -> None:
    """All images of a folder are downloaded; a second run fetches nothing."""
    put(desk, "two", 2, source_key="summer/b.jpg", sku="S-2")
    put(desk, "other", source_key="winter/c.jpg", sku="S-3")
    code, said, err = desk("pull", "--folder", "summer/", "--to", str(out))
    assert (code, err) == (0, "")
    assert files(out) == {
        NAME: BODY + b"one-1",
        "S-2_Clara_own-background_1.jpg": BODY + b"two-1",
        "S-2_Clara_own-background_2.jpg": BODY + b"two-2",
    }
    assert f"{out / NAME}: 105 B" in said.splitlines()
    assert f"3 images downloaded into {out};" in said
    code, said, _ = desk("pull", "--folder", "summer/", "--to", str(out))
    assert (code, f"0 images downloaded into {out}, 3 already there;" in said) == (0, True)


def test_chosen_and_approved(desk: Shell, out: Path) -> None:
    """Of a job with chosen images only those are downloaded; --approved skips other jobs."""
    chosen = Review(state=ReviewState.APPROVED, chosen=(2,), by="anna", at=NOW, revision=1)
    refused = Review(state=ReviewState.REFUSED, refused=(1,), by="anna", at=NOW, revision=1)
    put(desk, "two", 3, sku="S-2", review=chosen)
    put(desk, "three", 1, sku="S-3", review=refused)
    assert desk("pull", "--folder", "/", "--approved", "--to", str(out))[0] == 0
    assert set(files(out)) == {"S-2_Clara_own-background_2.jpg"}
    assert desk("pull", "--folder", "/", "--to", str(out))[0] == 0
    assert set(files(out)) == {"S-2_Clara_own-background_2.jpg", NAME}


def test_approving_later_changes_no_name(desk: Shell, out: Path) -> None:
    """Two photos of an article keep their names, whichever of them is approved."""
    put(desk, "zzzz", source_key="summer/back.jpg", finished_at="2999-01-01T00:00:00.000Z")
    review = Review(state=ReviewState.APPROVED, by="anna", at=NOW, revision=1)
    put(desk, "zzzz", source_key="summer/back.jpg", finished_at="2999-01-01", review=review)
    assert desk("pull", "--sku", "S-1", "--approved", "--to", str(out))[0] == 0
    assert set(files(out)) == {"S-1_Clara_own-background_zzzz_1.jpg"}


def test_another_file_is_not_overwritten(desk: Shell, out: Path) -> None:
    """A file with other bytes stays, is named and fails the command; --overwrite replaces it."""
    out.mkdir(parents=True)
    (out / NAME).write_bytes(b"mine")
    code, said, _ = desk("pull", "one", "--to", str(out))
    assert code == 1
    assert f"{out / NAME}: Another file is there; --overwrite replaces it." in said
    assert "1 not, because another file is there" in said
    assert files(out) == {NAME: b"mine"}
    assert desk("pull", "one", "--to", str(out), "--overwrite")[0] == 0
    assert files(out) == {NAME: BODY + b"one-1"}
    (out / NAME).unlink()
    (out / NAME).mkdir()
    code, said, _ = desk("pull", "one", "--to", str(out), "--overwrite")
    assert (code, "not a file; move it away" in said) == (1, True)


def test_json(desk: Shell, out: Path) -> None:
    """With --json, each file is a line with its job."""
    job = put(desk, "two", sku="S-2")
    desk.aws.s3.delete_object(Bucket=RESULTS, Key="x/one-1.jpg")
    code, said, _ = desk("pull", "--folder", "summer", "--to", str(out), "--json")
    lines = {line.get("jobId", "summary"): line for line in map(json.loads, said.splitlines())}
    assert code == 1
    assert lines["two"] == {
        "event": "pulled",
        "file": str(out / "S-2_Clara_own-background_1.jpg"),
        "jobId": "two",
        "index": 1,
        "sourceKey": "summer/a.jpg",
        "sku": "S-2",
        "bytes": job.results[0].bytes,
        "sha256": job.results[0].sha256,
    }
    assert lines["one"]["event"] == "not pulled"
    assert lines["one"]["error"] == "It is not in the results bucket any more."
    counts = {"pulled": 1, "kept": 0, "notPulled": 1}
    assert lines["summary"] == {
        "event": "summary",
        **counts,
        "seconds": lines["summary"]["seconds"],
    }
    kept = desk("pull", "two", "--to", str(out), "--json")[1].splitlines()[0]
    assert json.loads(kept)["event"] == "kept"


def test_dry_run(desk: Shell, out: Path) -> None:
    """A dry run names the files and makes none, not even the folder."""
    code, said, _ = desk("pull", "one", "--to", str(out), "--dry-run")
    assert (code, NAME in said, "1 image, 105 B." in said, out.exists()) == (0, True, True, False)
    (line,) = desk("pull", "one", "--to", str(out), "--dry-run", "--json")[1].splitlines()
    assert json.loads(line)["event"] == "would pull"


@pytest.mark.parametrize(
    ("part", "asked"),
    [
        (BODY[:40], ["bytes=40-"]),
        (BODY + b"one-1", []),
        (b"x" * 40, ["bytes=40-", "bytes=0-"]),
        (b"x" * 105, ["bytes=0-"]),
        (b"x" * 200, ["bytes=0-"]),
    ],
    ids=["goes on", "is whole", "of another version", "whole but wrong", "too long"],
)
def test_part_of_an_earlier_run(desk: Shell, out: Path, part: bytes, asked: list[str]) -> None:
    """A part is continued at its end; a wrong part is fetched again."""
    out.mkdir(parents=True)
    (out / f"{NAME}.part").write_bytes(part)
    ranges: list[tuple[str, str]] = []

    def note(params: dict[str, Any], **_: Any) -> None:
        ranges.append((params["Range"], params["IfMatch"]))

    event = "provide-client-params.s3.GetObject"
    desk.aws.s3.meta.events.register(event, note)
    try:
        assert desk("pull", "one", "--to", str(out))[0] == 0
    finally:
        # The client is shared by all tests.
        desk.aws.s3.meta.events.unregister(event, note)
    assert files(out) == {NAME: BODY + b"one-1"}
    etag = desk.aws.s3.head_object(Bucket=RESULTS, Key="x/one-1.jpg")["ETag"]
    assert ranges == [(wanted, etag) for wanted in asked]


@pytest.mark.parametrize("body", [b"y" * 105, b"short"])
def test_object_that_the_record_does_not_mean(desk: Shell, out: Path, body: bytes) -> None:
    """Bytes that differ from the record's digest never get the image's name."""
    desk.aws.s3.put_object(Bucket=RESULTS, Key="x/one-1.jpg", Body=body)
    code, said, _ = desk("pull", "one", "--to", str(out))
    assert (code, "The bucket holds another image than the record says" in said) == (1, True)
    assert files(out) == {}


class Breaking:
    """An S3 client whose connections break this many times."""

    def __init__(self, times: int, *, silently: bool = False) -> None:
        self.times = times
        self.silently = silently
        self.body = BODY + b"one-1"

    def head_object(self, **_: str) -> dict[str, Any]:
        """Answer."""
        return {"ETag": '"e"', "ContentLength": len(self.body)}

    def get_object(self, *, Range: str, **_: str) -> dict[str, Any]:  # noqa: N803  as S3 calls it
        """Answer."""
        begin = int(Range[6:-1])
        self.times -= 1
        return {"Body": Body(self.body[begin:], broken=self.times >= 0, silently=self.silently)}


class Body:
    """A body that may break off."""

    def __init__(self, data: bytes, *, broken: bool, silently: bool) -> None:
        self._data, self._broken, self._silently = data, broken, silently

    def iter_chunks(self, _size: int) -> Any:
        """Yield what there is."""
        yield self._data[:20] if self._broken else self._data
        if self._broken and not self._silently:
            raise ResponseStreamingError(error="reset")

    def close(self) -> None:
        """End."""


@pytest.mark.parametrize("silently", [False, True])
@pytest.mark.parametrize(("times", "code"), [(2, 0), (3, 1)])
def test_connection_that_breaks(
    desk: Shell,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    times: int,
    code: int,
    silently: bool,
) -> None:
    """A broken connection is continued; for good, the part stays for the next run."""
    with monkeypatch.context() as patch:
        patch.setattr(clients, "s3", lambda: Breaking(times, silently=silently))
        assert desk("pull", "one", "--to", str(out))[0] == code
    whole = BODY + b"one-1"
    assert files(out) == ({NAME: whole} if code == 0 else {f"{NAME}.part": whole[:60]})
    assert desk("pull", "one", "--to", str(out))[0] == 0
    assert files(out) == {NAME: whole}


def test_interrupted(desk: Shell, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After Ctrl-C there are only complete files and parts, and the next run continues."""
    fetching = threading.Event()

    class Slow(Body):
        def iter_chunks(self, _size: int) -> Any:
            yield self._data[:20]
            fetching.set()
            while True:
                yield b""

    class Endless(Breaking):
        def get_object(self, **_: Any) -> dict[str, Any]:
            return {"Body": Slow(self.body, broken=False, silently=False)}

    def interrupt(self: Puller, _seconds: float) -> bool:
        assert fetching.wait(10), self
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(clients, "s3", lambda: Endless(0))
        patch.setattr(Puller, "ended", interrupt)
        code, _, err = desk("pull", "one", "--to", str(out))
    assert (code, "Stopped. 0 of 1 image" in err) == (130, True)
    assert files(out) == {f"{NAME}.part": BODY[:20]}
    assert desk("pull", "one", "--to", str(out))[0] == 0
    assert files(out) == {NAME: BODY + b"one-1"}


def test_file_that_appears_meanwhile(desk: Shell, out: Path) -> None:
    """A file that another program writes during the download is not overwritten."""
    out.mkdir(parents=True)
    job = desk.jobs.get("one")
    assert job is not None
    pull = Pull(job, job.results[0], out / NAME)

    class Racing(Breaking):
        def get_object(self, **how: Any) -> dict[str, Any]:
            pull.file.write_bytes(b"mine")
            return super().get_object(**how)

    with Puller(Racing(0)) as puller:  # type: ignore[arg-type]  # a double
        puller.start([pull])
        while not puller.ended(1):
            pass
    assert pull.state is State.REFUSED
    assert files(out) == {NAME: b"mine"}


def test_two_pulls_at_once(desk: Shell, out: Path) -> None:
    """A second pull of the same image leaves the first one's part alone, and says so."""
    out.mkdir(parents=True)
    job = desk.jobs.get("one")
    assert job is not None
    first, second = (Pull(job, job.results[0], out / NAME) for _ in range(2))

    def run(s3: Breaking, pull: Pull) -> None:
        with Puller(s3) as puller:  # type: ignore[arg-type]  # a double
            puller.start([pull])
            while not puller.ended(1):
                pass

    class Meanwhile(Breaking):
        def get_object(self, **how: Any) -> dict[str, Any]:
            run(Breaking(0), second)
            return super().get_object(**how)

    run(Meanwhile(0), first)
    assert (first.state, second.state) == (State.PULLED, State.FAILED)
    assert second.trouble == "Another `catwalk pull` downloads it at this moment."
    assert files(out) == {NAME: BODY + b"one-1"}


@pytest.mark.parametrize("name", [NAME, f"{NAME}.part"])
@pytest.mark.parametrize("there", [True, False])
def test_links_in_the_folder(
    desk: Shell, out: Path, tmp_path: Path, *, name: str, there: bool
) -> None:
    """Nothing is written through a symbolic link, and none is replaced."""
    out.mkdir(parents=True)
    other = tmp_path / "other"
    if there:
        other.write_bytes(b"mine")
    (out / name).symlink_to(other)
    code, said, _ = desk("pull", "one", "--to", str(out))
    assert (code, str(out / NAME) in said) == (1, True)
    assert (out / name).is_symlink()
    assert other.exists() is there
    assert not there or other.read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["one", "--to", ""], "--to is empty."),
        (["one", "--to", "s3://bucket/x"], "--to 's3://bucket/x' is an address."),
        (["one", "--to", "~nobody-here"], "--to '~nobody-here' names no home"),
        (["one", "--to", "pyproject.toml"], "--to 'pyproject.toml' is a file."),
        (["--to", "{out}"], "No jobs are named."),
        (["nobody", "--to", "{out}"], "There is no job, no photo and no request 'nobody'."),
        (["--folder", "none", "--to", "{out}"], "No job matches."),
        (["--folder", "summer", "--approved", "--to", "{out}"], "None of 1 job is approved."),
        (["--status", "PARTIAL", "--to", "{out}"], "None of 2 jobs has that status."),
        (["--folder", "bad", "--to", "{out}"], "1 job without an image that is wanted."),
        (["one", "--to", "/proc/x/y"], "The folder /proc/x/y cannot be made:"),
    ],
)
def test_wrong_words(desk: Shell, out: Path, words: list[str], says: str) -> None:
    """Invalid options are refused, and no folder is made."""
    desk.job("failed", source_key="bad/x.jpg")
    code, _, err = desk("pull", *(word.format(out=out) for word in words))
    assert (code, err.startswith(says), len(err.splitlines())) == (1, True, 2)
    assert not out.exists()


def test_no_room(desk: Shell, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is an error before anything is downloaded."""
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    code, _, err = desk("pull", "one", "--to", str(out))
    assert (code, err.startswith("The images take 105 B, and")) == (1, True)
