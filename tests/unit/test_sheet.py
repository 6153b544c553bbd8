"""`catwalk sheet`: one HTML file with photos beside their images."""

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, TextIO

import pytest
from PIL import Image

from cli.commands import sheet as command
from cli.sheet.copies import SIZE, NoCopyError, shrunk
from cli.sheet.sheet import Sheet
from shared.models import Job, JobStatus, Photo, Result, Review, ReviewState
from tests.cli_runner import NOW, Shell
from tests.factories import PHOTOS, RESULTS

NASTY = 'a"><script>x.jpg'


def picture(
    size: tuple[int, int] = (60, 80), mode: str = "RGB", kind: str = "JPEG", **how: Any
) -> bytes:
    """Draw a picture of one colour."""
    buffer = io.BytesIO()
    Image.new(mode, size, (200, 30, 30, 0)[: len(mode)]).save(buffer, kind, **how)
    return buffer.getvalue()


def put(shell: Shell, job_id: str, key: str = "summer/a.jpg", count: int = 1, **more: Any) -> Job:
    """Write a job, its photo and its images."""
    body = picture()
    shell.aws.s3.put_object(Bucket=PHOTOS, Key=key, Body=body)
    results = []
    for index in range(1, count + 1):
        name = f"x/{job_id}-{index}.jpg"
        shell.aws.s3.put_object(Bucket=RESULTS, Key=name, Body=body)
        results.append(
            Result(
                index=index,
                bucket=RESULTS,
                key=name,
                width=60,
                height=80,
                bytes=len(body),
                sha256=hashlib.sha256(body).hexdigest(),
                content_type="image/jpeg",
            )
        )
    values = {
        "source_key": key,
        "photo": Photo(bucket=PHOTOS, key=key),
        "results": tuple(results),
    }
    return shell.job(job_id, JobStatus.SUCCEEDED, **(values | more))


class Seen(HTMLParser):
    """Collects what a browser would load, run and show."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: set[str] = set()
        self.texts: list[str] = []
        self.classes: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.add(tag)
        found = dict(attrs)
        self.addresses += [found[name] or "" for name in ("src", "href") if name in found]
        self.classes.append(f"{tag}.{found.get('class', '')}".strip())
        assert not any(name.startswith("on") for name in found)

    def handle_data(self, data: str) -> None:
        """Note a text."""
        if data.strip():
            self.texts.append(data.strip())


@pytest.fixture
def desk(shell: Shell) -> Shell:
    """Give a stack with a bucket for results."""
    shell.aws.s3.create_bucket(Bucket=RESULTS)
    return shell


def test_sheet(desk: Shell, tmp_path: Path) -> None:
    """One file shows each photo beside its images, with names, look, article and review."""
    review = Review(
        state=ReviewState.APPROVED, chosen=(1,), refused=(2,), by="anna", at=NOW, revision=1
    )
    put(desk, "one", count=2, sku="S-1", review=review)
    put(desk, "two", "summer/b.jpg")
    put(desk, "other", "winter/c.jpg")
    desk.job("failed", source_key="summer/broken.jpg")
    file = tmp_path / "sheet.html"
    code, out, err = desk("sheet", "--folder", "summer/", "--to", str(file))
    assert (code, out.startswith(f"{file}: 2 photos, 3 images, "), err) == (0, True, "")
    page = Seen(file.read_text("utf-8"))
    assert len(page.addresses) == 5, "two photos and three images"
    for address in page.addresses:
        kind, data = address.split(",")
        assert kind == "data:image/jpeg;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (60, 80)
    for text in ("summer", "a.jpg", "S-1", "Clara, own background", "summer/", "To review"):
        assert text in page.texts
    assert "Approved by anna" in page.texts
    assert "broken.jpg: Failed" in page.texts
    assert not [text for text in page.texts if "c.jpg" in text]
    assert "figure.result chosen" in page.classes
    assert "figure.result refused" in page.classes
    assert "script" not in page.tags
    assert (file.stat().st_mode & 0o444, list(tmp_path.iterdir())) == (0o444, [file])


def test_names_are_no_markup(desk: Shell, tmp_path: Path) -> None:
    """A photo's name is shown literally."""
    put(desk, "one", f"summer/{NASTY}")
    file = tmp_path / "sheet.html"
    assert desk("sheet", "one", "--to", str(file))[0] == 0
    page = Seen(file.read_text("utf-8"))
    assert NASTY in page.texts
    assert "script" not in page.tags


def test_images_that_cannot_be_shown(desk: Shell, tmp_path: Path) -> None:
    """A missing or broken picture, or a photo by URL, has a text in its place."""
    put(desk, "one", count=3)
    put(desk, "two", photo=Photo(url="https://user:s3cret@shop.example/a.jpg?sign=s3cret"))
    put(desk, "three", photo=Photo(url="https://[x/"))
    desk.aws.s3.delete_object(Bucket=RESULTS, Key="x/one-1.jpg")
    desk.aws.s3.put_object(Bucket=RESULTS, Key="x/one-2.jpg", Body=b"text")
    file = tmp_path / "sheet.html"
    code, _, err = desk("sheet", "--folder", "/", "--to", str(file))
    assert (code, "2 images could not be read" in err) == (0, True)
    text = file.read_text("utf-8")
    for note in (
        *("Not in the bucket any more.", "Not an image that can be shown."),
        *("Photo at shop.example", "No photo"),
    ):
        assert f"<p>{note}</p>" in text
    assert "s3cret" not in text


@pytest.mark.parametrize("way", [["--approved"], ["--review", "approved"]])
def test_approved_only(desk: Shell, tmp_path: Path, way: list[str]) -> None:
    """Only approved jobs are shown if that is asked for."""
    review = Review(state=ReviewState.APPROVED, by="anna", at=NOW, revision=1)
    put(desk, "one", review=review)
    put(desk, "two", "summer/b.jpg")
    file = tmp_path / "sheet.html"
    code, out, _ = desk("sheet", *way, "--to", str(file), "--json")
    document = json.loads(out)
    assert (code, document["jobs"], document["images"], document["notShown"]) == (0, 1, 1, 0)
    assert document["bytes"] == file.stat().st_size


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (picture((3000, 4000)), SIZE),
        (picture((4000, 1000)), (360, 90)),
        (picture((60, 80), "RGBA", "PNG"), (60, 80)),
        (
            picture(
                (600, 800),
                exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0",
            ),
            (360, 270),
        ),
    ],
    ids=["portrait", "landscape", "cut out", "turned"],
)
def test_small_copies(data: bytes, size: tuple[int, int]) -> None:
    """A copy is a small upright JPEG; what is transparent is white."""
    copy = Image.open(io.BytesIO(shrunk(data)))
    assert (copy.format, copy.size) == ("JPEG", size)
    if data.startswith(b"\x89PNG"):
        assert copy.convert("RGB").getpixel((5, 5)) == (255, 255, 255)


def test_too_many_pixels() -> None:
    """A small file that claims many pixels is not decoded."""
    with pytest.raises(NoCopyError, match="Too large"):
        shrunk(picture((9_000, 8_000), "L", "PNG"))


def test_existing_file_stays(desk: Shell, tmp_path: Path) -> None:
    """A file that is there is replaced only on request."""
    put(desk, "one")
    file = tmp_path / "sheet.html"
    file.write_text("mine")
    code, _, err = desk("sheet", "one", "--to", str(file))
    assert (code, f"{file} is there already." in err, file.read_text()) == (1, True, "mine")
    assert desk("sheet", "one", "--to", str(file), "--overwrite")[0] == 0
    assert file.read_text().startswith("<!doctype html>")


def test_file_that_appears_meanwhile(
    desk: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that another program writes while the sheet is made stays too."""
    put(desk, "one")
    file = tmp_path / "sheet.html"
    write = Sheet.write

    def racing(self: Sheet, output: TextIO) -> None:
        write(self, output)
        file.write_text("mine")

    monkeypatch.setattr(Sheet, "write", racing)
    code, _, err = desk("sheet", "one", "--to", str(file))
    assert (code, f"{file} is there already." in err, file.read_text()) == (1, True, "mine")
    assert [each.name for each in tmp_path.iterdir()] == [file.name]


def test_long_name(desk: Shell, tmp_path: Path) -> None:
    """A file may have as long a name as the file system takes, in any writing."""
    put(desk, "one")
    file = tmp_path / f"{'夏' * 83}.html"
    code, _, err = desk("sheet", "one", "--to", str(file))
    assert (code, err, [each.name for each in tmp_path.iterdir()]) == (0, "", [file.name])


def test_interrupted(desk: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C leaves no half of a file."""
    put(desk, "one")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cli.sheet.sheet.Sheet.write", interrupt)
    assert desk("sheet", "one", "--to", str(tmp_path / "sheet.html"))[0] == 130
    assert list(tmp_path.iterdir()) == []


def test_large_sheet(desk: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is too large for mail has a warning."""
    put(desk, "one")
    monkeypatch.setattr(command, "_LARGE", 100)
    _, _, err = desk("sheet", "one", "--to", str(tmp_path / "sheet.html"))
    assert re.search("mail servers refuse", err)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["one", "--to", ""], "--to '' is not an HTML file."),
        (["one", "--to", "sheet.pdf"], "--to 'sheet.pdf' is not an HTML file."),
        (["one", "--to", "https://x/sheet.html"], "--to 'https://x/sheet.html' is not an HTML"),
        (["one", "--to", "~nobody-here/x.html"], "--to '~nobody-here/x.html' names no home"),
        (["one", "--to", "none/sheet.html"], "There is no folder 'none' for sheet.html."),
        (["--to", "{file}"], "No jobs are named."),
        (["--folder", "none", "--to", "{file}"], "No job matches."),
        (["failed", "--to", "{file}"], "None of these jobs has images yet."),
        (["one", "--approved", "--review", "refused", "--to", "{file}"], "--approved and --review"),
    ],
)
def test_wrong_words(desk: Shell, tmp_path: Path, words: list[str], says: str) -> None:
    """What is wrong is said, and no file is written."""
    put(desk, "one")
    desk.job("failed")
    file = tmp_path / "sheet.html"
    code, _, err = desk("sheet", *(word.format(file=file) for word in words))
    assert (code, err.startswith(says), len(err.splitlines())) == (1, True, 2)
    assert not file.exists()
