"""`catwalk drop`: which files it uploads, what it says before, and how it follows the jobs."""

import io
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

import pytest
from rich.console import Console
from rich.text import Text

from cli.commands import upload
from cli.upload import parsing
from cli.upload.collect import Kind, Upload
from cli.upload.drop import Drop, Uploader
from cli.upload.progress import UploadProgress
from shared.intake.settings import metadata_text
from shared.limits.settling import Settling
from shared.models import ErrorCode, JobError, JobStatus, Photo, Result, SceneType, Settings
from tests.cli_runner import Shell, refusal
from tests.factories import HEIGHT, PHOTOS, TABLE, WIDTH, png


class Backend:
    """Plays the stack while the command waits: each uploaded photo gets its jobs."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        self.ends: dict[str, tuple[JobStatus, ErrorCode | None]] = {}
        """The status in which a key's jobs end; the default is SUCCEEDED."""
        self.looks: dict[str, int] = {}
        self.stop = False
        """Whether Ctrl-C comes as soon as a photo is uploaded."""

    def __call__(self, _: float) -> None:
        """Do one step, in place of a sleep."""
        if self.stop and self.shell.versions():
            raise KeyboardInterrupt
        for key, version, etag in self.shell.versions():
            for look in range(self.looks.get(key, 1)):
                self.job(key, version, etag, look)

    def job(self, key: str, version: str, etag: str, look: int = 0, **changes: Any) -> None:
        """Write a job: first RUNNING, then its end."""
        job_id = f"{key.replace('/', '.')}-{look}"
        known = self.shell.jobs.get(job_id)
        if known is not None and known.terminal:
            return
        status, code = self.ends.get(key, (JobStatus.SUCCEEDED, None))
        result = Result(
            index=1,
            bucket="results",
            key=f"{key}/002-original/{job_id}-1.jpg",
            width=8,
            height=8,
            bytes=9,
            sha256="0",
            content_type="image/jpeg",
        )
        good = status is JobStatus.SUCCEEDED
        ended = {"results": (result,) if good else (), "status": status}
        values: dict[str, Any] = {
            "source_key": key,
            "photo": Photo(bucket=PHOTOS, key=key, etag=etag, version_id=version),
            "settings": Settings(
                model_id="002", scene_type=SceneType.PRESET, scene_id=str(look), batch_size=1
            ),
            "error": JobError(code=code, message="It broke.") if code and known else None,
            **(ended if known else {"status": JobStatus.RUNNING, "progress": 10}),
            **changes,
        }
        self.shell.job(job_id, **values)


@pytest.fixture
def backend(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """Let the stack work whenever the command sleeps."""
    made = Backend(shell)
    monkeypatch.setattr(time, "sleep", made)
    return made


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return a function that writes files into a temporary folder."""
    monkeypatch.chdir(tmp_path)

    def make(name: str = "dress.png", content: bytes | str | None = None) -> Path:
        file = Path(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        content = png(padding=len(name)) if content is None else content
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    return make


def test_folder_goes_up_with_what_it_holds(shell: Shell, photo: Callable[..., Path]) -> None:
    """Keys have the folder's structure; masks and catwalk.json go first; dotfiles are skipped."""
    photo("shop/summer/b.png")
    photo("shop/a.png")
    photo("shop/a.mask.png")
    photo("shop/summer/catwalk.json", '{"modelId": "044"}')
    photo("shop/.DS_Store")
    photo("shop/.git/x.png")
    order: list[str] = []
    put = shell.aws.s3.put_object

    def put_object(**asked: Any) -> Any:
        order.append(asked["Key"])
        return put(**asked)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shell.aws.s3, "put_object", put_object)
        code, out, err = shell("drop", "shop", "--to", "/new/")
    assert (code, err) == (0, "")
    assert order[:2] == ["new/shop/summer/catwalk.json", "new/shop/a.mask.png"]
    assert sorted(order[2:]) == ["new/shop/a.png", "new/shop/summer/b.png"]
    assert out.splitlines()[0] == f"2 photos and 2 other files for s3://{PHOTOS}/, 2 credits."
    assert "2 photos uploaded in" in out


def test_settings_go_as_metadata(shell: Shell, photo: Callable[..., Path]) -> None:
    """SubmitFunction reads the settings of the options, also in other scripts than Latin."""
    photo()
    words = ["--model", "Lavanya", "--scene", "color:#F4E9DD", "--images", "2"]
    words += ["--sku", "裙子 42", "--request-id", "r-1", "--extra", '{"a": "é"}']
    assert shell("drop", "dress.png", *words)[0] == 0
    answer = shell.aws.s3.get_object(Bucket=PHOTOS, Key="dress.png")
    found = {name: metadata_text(value) for name, value in answer["Metadata"].items()}
    assert found == {
        "model-id": "044",
        "scene-type": "color",
        "color": "#f4e9dd",
        "batch-size": "2",
        "sku": "裙子 42",
        "request-id": "r-1",
        "extra": '{"a":"\\u00e9"}',
    }
    assert answer["ContentType"] == "image/png"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("nothing.png", "nothing.png cannot be dropped: No such file"),
        ("dress.png other/dress.png", "would both be 'dress.png'"),
        ("dress.png --scene beach", "--scene 'beach'"),
        ("dress.png --scene color:red", "--scene 'color:red'"),
        ("dress.png --model clare", "There is no model 'clare'"),
        ("dress.png --model 02", "There is no model '02'.\nDid you mean 'clara' (002)?"),
        ("dress.png --model a/b", "There is no model 'a/b'"),
        ("dress.png --scene preset:35", "There is no preset scene '35'.\nGive preset:035"),
        ("dress.png --to x --mask y/cut.png", "not in the photo's own folder 'x/'"),
        ("dress.png --extra []", "--extra is not a JSON object"),
        ("dress.png --extra x", "--extra is not JSON"),
        ("dress.png --sku ", "--sku is ''"),
        ("dress.png --to ", "--to is empty"),
        ("dress.png --mask ", "--mask is empty"),
        ("dress.png ", "A photo's name is empty"),
        ("dress.png --timeout soon", "--timeout 'soon'"),
        ("broken", "broken/catwalk.json cannot be used"),
        ('contradictory --scene original --extra {"mask":1}', "would be rejected"),
        ("dress.png other/dress.png --mask other/dress.png --to x", "would both be"),
        ("contradictory --mask dress.png", "A mask belongs to one photo"),
        ("dress.png --mask http://x/y.png", "--mask cannot be used"),
        ("empty.png", "There is nothing to drop."),
    ],
)
def test_said_before_anything_goes_up(
    shell: Shell, photo: Callable[..., Path], words: str, says: str
) -> None:
    """Invalid files and options are refused with two sentences before anything is uploaded."""
    photo()
    photo("other/dress.png")
    photo("empty.png", b"")
    photo("broken/a.png")
    photo("broken/catwalk.json", '{"modelid": "002"}')
    photo("contradictory/a.png")
    photo("contradictory/b.png")
    shell.aws.s3.put_object(Bucket=PHOTOS, Key="y/cut.png", Body=png())
    before = shell.versions()
    code, _, err = shell("drop", *words.split(" "))
    assert code == 1
    assert says in err
    assert shell.versions() == before


def test_what_would_be_rejected_is_left_out(shell: Shell, photo: Callable[..., Path]) -> None:
    """Unusable files are left out with a reason, unless --anyway is given."""
    photo("shop/good.png")
    photo("shop/notes.txt", "notes")
    photo("shop/empty.jpg", b"")
    photo("shop/wide.png")
    photo("shop/wide.mask.png", png(HEIGHT, WIDTH))
    code, _, err = shell("drop", "shop")
    assert code == 1, "two of them are called photos"
    assert "notes.txt is left out" in err
    assert "is empty (0 bytes)" in err
    assert "they must be the same" in err
    assert shell.uploaded() == ["shop/good.png", "shop/wide.mask.png"]
    assert shell("drop", "shop/good.png", "shop/notes.txt")[0] == 1, "it was asked for by name"
    photo("notes/good.png")
    photo("notes/notes.txt", "notes")
    assert shell("drop", "notes")[0] == 0, "nobody waits for images of that"
    out = shell("drop", "notes", "--json")[1]
    assert json.loads(out.splitlines()[-1])["leftOut"] == 1
    assert shell("drop", "shop", "--anyway")[0] == 0
    assert "shop/notes.txt" in shell.uploaded()


def test_mask_of_ones_own(shell: Shell, photo: Callable[..., Path]) -> None:
    """A local mask is uploaded beside its photo; any other --mask is a key in the bucket."""
    photo()
    photo("cut.png")
    assert shell("drop", "dress.png", "--mask", "cut.png")[0] == 0
    assert shell.uploaded() == ["dress.mask.png", "dress.png"]
    code, _, err = shell("drop", "dress.png", "--mask", "masks/cut.png")
    assert (code, "There is no mask 'masks/cut.png'" in err) == (1, True)
    shell.aws.s3.put_object(Bucket=PHOTOS, Key="masks/cut.png", Body=png())
    assert shell("drop", "dress.png", "--mask", "masks/cut.png")[0] == 0
    answer = shell.aws.s3.head_object(Bucket=PHOTOS, Key="dress.png")
    assert answer["Metadata"] == {"mask": "masks/cut.png"}


def test_price_comes_first(shell: Shell, photo: Callable[..., Path]) -> None:
    """The price counts variants; many credits need a confirmation; a dry run uploads nothing."""
    variants = [{"sceneType": "preset", "sceneId": f"{n:03}"} for n in range(4)]
    document = {"modelId": "002", "variants": [*variants, variants[0]]}
    photo("shop/catwalk.json", json.dumps(document))
    for number in range(3):
        photo(f"shop/{number}.png")
    code, out, _ = shell("drop", "shop", "--dry-run")
    assert (code, ", 12 credits." in out) == (0, True)
    code, out, err = shell("drop", "shop", says="n\n")
    assert (code, "spend 12 credits?" in out, "Nothing was done." in err) == (1, True, True)
    code, _, err = shell("drop", "shop", "--json")
    assert (code, "no question is asked" in err) == (1, True)
    assert shell.uploaded() == []
    assert shell("drop", "shop", says="y\n")[0] == 0
    # Now the bucket's own catwalk.json counts.
    photo("new.png")
    assert ", 4 credits." in shell("drop", "new.png", "--to", "shop", "--dry-run")[1]


def test_wait_for_images(shell: Shell, backend: Backend, photo: Callable[..., Path]) -> None:
    """Each change is a line; then come the summary and the links, with status 0."""
    photo("shop/a.png")
    photo("shop/b.png")
    code, out, err = shell("drop", "shop", "--wait")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    for name in ("a", "b"):
        mine = [line for line in lines if line.startswith(f"shop/{name}.png")]
        assert [line.split(": ")[1].split(",")[0].split()[0] for line in mine] == [
            "uploaded",
            "Running",
            "Done",
        ]
    (total,) = [line for line in lines if line.startswith("2 succeeded")]
    assert total.endswith(", 2 credits.")
    assert "  s3://results/shop/a.png/002-original/" in lines


def test_summary_names_what_is_left_out(
    shell: Shell, backend: Backend, photo: Callable[..., Path]
) -> None:
    """After many photos, the summary still says which file was left out, and why."""
    photo("shop/a.png")
    photo("shop/empty.jpg", b"")
    code, out, _ = shell("drop", "shop", "--wait")
    assert code == 1
    summary = out[out.index("1 succeeded, 1 file left out;") :]
    assert "empty.jpg is left out: " in summary


def test_some_fail(shell: Shell, backend: Backend, photo: Callable[..., Path]) -> None:
    """Failures are counted by code, with advice and its price; the status is 1."""
    for name in "abcd":
        photo(f"shop/{name}.png")
    backend.ends = {
        "shop/a.png": (JobStatus.FAILED, ErrorCode.TIMED_OUT),
        "shop/b.png": (JobStatus.PARTIAL, ErrorCode.RESULT_UNAVAILABLE),
        "shop/c.png": (JobStatus.SUBMIT_UNKNOWN, ErrorCode.SUBMIT_UNKNOWN),
    }
    code, out, _ = shell("drop", "shop", "--wait")
    assert code == 1
    assert "shop/a.png, Clara, scene 0: Failed, timed out: It broke." in out
    (total,) = [line for line in out.splitlines() if line.startswith("1 succeeded")]
    assert "3 failed (" in total
    for code_word in ("1 timed out", "1 result unavailable", "1 submit unknown"):
        assert code_word in total
    assert "perhaps 1 more." in total
    for command in (
        "catwalk resume shop.a.png-0",
        "catwalk recopy shop.b.png-0",
        "catwalk resolve shop.c.png-0 --task-id ID",
    ):
        assert f"    {command}" in out.splitlines()


def test_done_before(shell: Shell, backend: Backend, photo: Callable[..., Path]) -> None:
    """The same bytes with the same settings are reported as done, and cost nothing."""
    photo()
    assert shell("drop", "dress.png", "--wait")[0] == 0
    done = shell.jobs.get("dress.png-0")
    assert done is not None

    def remember(_: float) -> None:
        version = shell.versions()[-1][1]
        shell.jobs._remember(done, version)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", remember)
        code, out, _ = shell("drop", "dress.png", "--wait")
    assert code == 0
    assert "Done already: nothing has changed" in out
    assert "1 succeeded (1 already done);" in out
    assert ", 0 credits." in out


def test_older_job_of_the_key_is_another_photos(
    shell: Shell, backend: Backend, photo: Callable[..., Path]
) -> None:
    """A job of other bytes under the same key is not taken for the new photo's."""
    photo()
    shell.job("old", JobStatus.SUCCEEDED, source_key="dress.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", lambda _: None)
        patch.setattr(parsing, "span", lambda *_: 0.01)
        code, out, _ = shell("drop", "dress.png", "--wait", "--timeout", "1s")
    assert code == 1
    assert out.splitlines()[3].startswith("0 succeeded, 1 not done in time;")
    assert "waits for it again" in out


def test_every_variant_is_waited_for(
    shell: Shell, backend: Backend, photo: Callable[..., Path]
) -> None:
    """A photo with three variants has ended when all three jobs have."""
    variants = [{"sceneType": "preset", "sceneId": f"{n:03}"} for n in range(3)]
    photo("shop/catwalk.json", json.dumps({"modelId": "002", "variants": variants}))
    photo("shop/a.png")
    backend.looks = {"shop/a.png": 3}
    code, out, _ = shell("drop", "shop", "--wait")
    assert (code, "3 succeeded;" in out, ", 3 credits." in out) == (0, True, True)


def test_for_programs(shell: Shell, backend: Backend, photo: Callable[..., Path]) -> None:
    """With --json each line is an event, and the last is the summary."""
    photo("a.png")
    photo("b.png")
    backend.ends = {"b.png": (JobStatus.FAILED, ErrorCode.TIMED_OUT)}
    code, out, _ = shell("drop", "a.png", "b.png", "--wait", "--json")
    assert code == 1
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["event"] for event in events if event.get("key") == "a.png"] == [
        *("uploaded", "job", "job"),
    ]
    assert events[-1]["event"] == "summary"
    assert events[-1]["succeeded"] == 1
    assert events[-1]["failed"] == {"timed_out": 1}
    assert events[-1]["credits"] == 2


def test_ctrl_c(shell: Shell, backend: Backend, photo: Callable[..., Path]) -> None:
    """Ctrl-C says how much was uploaded, with status 130."""
    photo()
    backend.stop = True
    code, _, err = shell("drop", "dress.png", "--wait")
    assert (code, "of 1 photo had been uploaded" in err) == (130, True)


def test_upload_under_way_is_stopped(photo: Callable[..., Path]) -> None:
    """Ctrl-C during an upload does not wait for its end."""
    reading = threading.Event()

    class Slow:
        """An S3 that reads the body again and again."""

        def put_object(self, *, Body: IO[bytes], **_: Any) -> None:  # noqa: N803  AWS's name
            while True:
                Body.read(1)
                Body.seek(0)
                reading.set()

    drops = [Drop(Upload(photo(f"{n}.png"), f"{n}.png", Kind.PHOTO, 100)) for n in range(9)]
    with Uploader(cast("Any", Slow()), PHOTOS) as uploader:
        uploader.start(drops)
        assert reading.wait(30)
    assert [(drop.uploaded_at, drop.trouble) for drop in drops] == [(None, None)] * 9


def test_upload_that_hangs_is_told_of(
    photo: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If Ctrl-C has to wait for S3, the command says why, and how to end at once."""
    hangs, free = threading.Event(), threading.Event()

    class Deaf:
        """An S3 that reads nothing."""

        def put_object(self, **_: Any) -> dict[str, str]:
            hangs.set()
            assert free.wait(30)
            return {"ETag": "e"}

    def say(text: str) -> None:
        told.append(text)
        free.set()

    told: list[str] = []
    monkeypatch.setattr("cli.transfers.tell", say)
    monkeypatch.setattr("cli.transfers._GRACE_SECONDS", 0.0)
    drop = Drop(Upload(photo("a.png"), "a.png", Kind.PHOTO, 100))
    with Uploader(cast("Any", Deaf()), PHOTOS) as uploader:
        uploader.start([drop])
        assert hangs.wait(30)
    assert "Ctrl-C again" in told[0]
    assert drop.etag == "e", "what has come through all the same is known"


def test_upload_that_is_refused(shell: Shell, photo: Callable[..., Path]) -> None:
    """A refused upload is named; the others are uploaded; the status is 1."""
    photo("a.png")
    photo("b.png")
    put = shell.aws.s3.put_object

    def refuse(**asked: Any) -> Any:
        if asked["Key"] == "a.png":
            raise refusal("AccessDenied", "Access Denied")
        return put(**asked)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shell.aws.s3, "put_object", refuse)
        code, out, _ = shell("drop", "a.png", "b.png")
    assert code == 1
    assert "a.png: not uploaded: An error occurred (AccessDenied)" in out
    assert shell.uploaded() == ["b.png"]


def test_name_that_is_no_key(shell: Shell, tmp_path: Path) -> None:
    """A file name that is not UTF-8 is refused before anything is uploaded."""
    name = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")
    Path(name).write_bytes(png())
    code, _, err = shell("drop", str(tmp_path))
    assert (code, "is not UTF-8" in err) == (1, True)


@pytest.mark.parametrize("width", [20, 40, 59, 60, 80, 200])
@pytest.mark.parametrize("height", [5, 24, 100])
def test_board_fits_the_screen(width: int, height: int) -> None:
    """The progress of fifty photos fits into the terminal."""
    drops = [
        Drop(
            Upload(Path("x"), f"夏天/{n:02}/{'裙' * (n % 30)}-\x1b[2J.jpg", Kind.PHOTO, 10_000_000)
        )
        for n in range(50)
    ]
    for number, drop in enumerate(drops):
        drop.begun = number < 40
        drop.sent = number * 200_000
        drop.uploaded_at = 1.0 if number < 30 else None
        drop.trouble = "It broke." if number == 1 else None
        drop.complete = number == 2
    shown = io.StringIO()
    console = Console(file=shown, width=width, height=height, force_terminal=True, no_color=True)
    console.print(UploadProgress(drops, waits=True))
    lines = shown.getvalue().splitlines()
    assert len(lines) < height or height == 5
    assert "\x1b[2J" not in shown.getvalue()
    for line in lines:
        assert Text.from_ansi(line).cell_len <= width
    assert "of 50 photos"[: width - 5] in shown.getvalue()


# --- a new stack ---------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a missing record count as late at once."""
    monkeypatch.setattr(upload, "_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(upload, "_QUIET_SECONDS", 0.0)


def use_bucket(shell: Shell) -> None:
    """Let the functions see the photos bucket for the first time."""
    Settling(shell.aws.dynamodb, TABLE, PHOTOS, seconds=1).seconds_left()


@pytest.mark.usefixtures("impatient", "backend")
def test_photo_without_a_record_offers_reconcile(shell: Shell, photo: Callable[..., Path]) -> None:
    """If no record appears, the output says once that the event may be lost, with the command."""
    photo()
    code, out, _ = shell("drop", "dress.png", "--wait")
    assert code == 0
    (line,) = [line for line in out.splitlines() if "catwalk reconcile" in line]
    assert line.startswith("No record of dress.png has appeared for")
    photo("other.png")
    code, out, _ = shell("drop", "other.png", "--wait", "--json")
    (event,) = [e for e in map(json.loads, out.splitlines()) if e["event"] == "no record"]
    assert event == {"event": "no record", "keys": ["other.png"], "command": "catwalk reconcile"}


@pytest.mark.usefixtures("backend")
def test_record_that_comes_soon_offers_nothing(shell: Shell, photo: Callable[..., Path]) -> None:
    """A record that appears within two minutes causes no advice."""
    photo()
    assert "catwalk reconcile" not in shell("drop", "dress.png", "--wait")[1]


@pytest.mark.usefixtures("impatient", "backend")
def test_photo_in_a_new_bucket_is_said_to_wait(shell: Shell, photo: Callable[..., Path]) -> None:
    """With a new bucket, the output says how long photos wait, and does not advise reconcile."""
    use_bucket(shell)
    photo()
    code, out, _ = shell("drop", "dress.png", "--wait")
    assert (code, "catwalk reconcile" in out) == (0, False)
    (line,) = [line for line in out.splitlines() if line.startswith("Photos wait until")]
    assert line.endswith("UTC: the photos bucket is new, and S3 may not find its objects yet.")
    photo("other.png")
    code, out, _ = shell("drop", "other.png", "--wait", "--json")
    events = {e["event"]: e for e in map(json.loads, out.splitlines())}
    assert events["paused"]["reason"].startswith("the photos bucket is new")
    photo("third.png")
    assert "Photos wait until" in shell("drop", "third.png")[1]


@pytest.mark.usefixtures("impatient", "backend")
def test_local_aws_lets_no_photo_wait(
    shell: Shell, photo: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bucket of a local AWS never counts as new."""
    use_bucket(shell)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    photo()
    assert "Photos wait" not in shell("drop", "dress.png", "--wait")[1]


def test_photo_without_a_record_in_the_end(
    shell: Shell, photo: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The summary names reconcile, too."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    photo()
    code, out, _ = shell("drop", "dress.png", "--wait", "--timeout", "1s")
    assert code == 1
    assert "`catwalk reconcile` finds those whose event is lost" in out
