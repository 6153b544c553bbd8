"""The gallery's pages: their content, their access rules and their actions."""

import hashlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from PIL import Image
from starlette.testclient import TestClient

from cli.errors import CommandError
from cli.gallery import app as pages
from cli.gallery import archive, images, server
from cli.gallery.access import Access
from cli.gallery.app import Gallery, create_app
from cli.gallery.archive import zipped
from cli.gallery.desk import Desk
from cli.gallery.images import Picture, PictureGoneError, Pictures, Seal
from cli.jobs.browse import Browser
from cli.jobs.naming import FileNames
from cli.jobs.recovery import Recovery
from cli.jobs.review import Reviewer
from cli.jobs.shoot import Shooter
from cli.stacks.selection import Choice
from cli.stacks.stack import Catwalk
from cli.stacks.submission import Pause, pause_of
from cli.upload.collect import Rules
from local.paths import ROOT
from shared.clock import iso, utc_now
from shared.intake.photos import PhotoStore
from shared.intake.settings import Layer
from shared.limits.circuit_breaker import Cause
from shared.models import (
    ErrorCode,
    Job,
    JobError,
    JobStatus,
    PastAttempt,
    Photo,
    Result,
    Review,
    ReviewState,
    SceneType,
    Settings,
    Waiting,
)
from shared.notify.announcer import Announcer
from shared.notify.events import EventPublisher
from shared.notify.outbox import ReviewOutbox
from shared.records.jobs import JobRepository, _plain, _wire
from shared.records.ledger import Ledger
from tests.factories import BUS, HEIGHT, PHOTOS, RESULTS, TABLE, WIDTH, Aws

PORT = 8017
HOME = f"http://127.0.0.1:{PORT}"
NASTY = '"><script>alert(1)</script>'
JPEG, PNG = "image/jpeg", "image/png"
EXECUTION = "arn:aws:states:eu-west-1:123456789012:execution:jobs:one-1"


def picture(kind: str = "JPEG", size: tuple[int, int] = (60, 80), **how: Any) -> bytes:
    """Draw a picture of one colour."""
    buffer = io.BytesIO()
    mode = "RGBA" if kind == "PNG" else "RGB"
    Image.new(mode, size, (200, 30, 30, 0)[: len(mode)]).save(buffer, kind, **how)
    return buffer.getvalue()


@cache
def photo() -> bytes:
    """Draw the photo of each job."""
    return picture(size=(WIDTH, HEIGHT))


class Tab(TestClient):
    """A browser's tab; paths are given without the secret folder."""

    def __init__(self, app: Any, access: Access, **how: Any) -> None:
        """Open this gallery."""
        super().__init__(app, base_url=HOME, follow_redirects=False, **how)
        self._root = access.root

    def request(self, method: str, url: Any, **how: Any) -> Any:
        """Request a path; a link of a page already has the folder."""
        inside = str(url).startswith((f"{self._root}/", "/static/", "http"))
        return super().request(method, url if inside else f"{self._root}{url}", **how)


@dataclass
class House:
    """A gallery of a stack in moto, and a browser with its cookie."""

    aws: Aws
    access: Access
    gallery: Gallery
    browser: TestClient
    count: int = field(default=0)

    def job(self, **changes: Any) -> Job:
        """Write a record, its photo and its results."""
        self.count += 1
        job_id = changes.pop("job_id", f"{self.count:032x}")
        key = changes.pop("source_key", f"summer/Photo {self.count}.jpg")
        count = changes.pop("results", 0)
        put = self.aws.s3.put_object(Bucket=PHOTOS, Key=key, Body=photo())
        dropped = Photo(
            bucket=PHOTOS,
            key=key,
            etag=put["ETag"].strip('"'),
            version_id=put["VersionId"],
            content_type=JPEG,
            width=WIDTH,
            height=HEIGHT,
        )
        moment = iso(utc_now())
        values: dict[str, Any] = {
            "job_id": job_id,
            "status": JobStatus.SUCCEEDED,
            "source_key": key,
            "photo": dropped,
            "sku": "S-1",
            "settings": Settings(model_id="002", scene_type=SceneType.ORIGINAL, batch_size=4),
            "task_id": "task-1",
            "credits": 1,
            "created_at": moment,
            "updated_at": moment,
            "finished_at": moment,
            "results": [self.result(key, job_id, n) for n in range(1, count + 1)],
        }
        job = Job(**{**values, **changes})
        item = {**_plain(job), "pk": f"JOB#{job.job_id}"}
        if job.waiting:
            item["waiting"] = _plain(job.waiting)
        if job.review_state:
            item["review_state"] = job.review_state
        self.aws.dynamodb.put_item(TableName=TABLE, Item=_wire(item))
        return job

    def result(self, key: str, job_id: str, index: int, body: bytes = b"") -> Result:
        """Put a result into its bucket."""
        body = body or picture("PNG", (60 + index, 80))
        name = f"{key.rpartition('.')[0]}/002-original/{job_id}-{index}.png"
        self.aws.s3.put_object(Bucket=RESULTS, Key=name, Body=body, ContentType=PNG)
        return Result(
            index=index,
            bucket=RESULTS,
            key=name,
            width=60 + index,
            height=80,
            bytes=len(body),
            sha256=hashlib.sha256(body).hexdigest(),
            content_type=PNG,
        )

    def form(self, job: Job, action: str, **changes: Any) -> dict[str, str]:
        """Return the form of a dialog on a job's page."""
        return {
            "token": self.access.form_token,
            "action": action,
            "attempt": str(job.attempt),
            "status": job.status.value,
            "revision": str(job.review.revision if job.review else 0),
            "credits": "0",
            **changes,
        }

    def send(self, job: Job, form: dict[str, str], origin: str = HOME) -> Any:
        """Send a form as a browser does."""
        return self.browser.post(
            f"/jobs/{job.job_id}/recover",
            data=form,
            headers={"Origin": origin, "Sec-Fetch-Site": "same-origin"},
        )

    def addresses(self, path: str, kind: str) -> list[str]:
        """Return the addresses of pictures on a page, by kind: small or original."""
        return re.findall(rf"/{kind}/[^\"? ]+", self.browser.get(path).text)


def desk_of(aws: Aws, jobs: JobRepository, folder: Path) -> Desk:
    """Return the gallery's desk of a stack in moto."""
    defaults = {"modelId": "002", "sceneType": "original", "batchSize": 4}
    store = PhotoStore(aws.s3, PHOTOS, max_bytes=1_000_000)
    return Desk(
        shooter=lambda: Shooter(
            jobs=jobs, photos=store, sqs=aws.sqs, queue_url=aws.queue_url, photos_bucket=PHOTOS
        ),
        rules=lambda: Rules(Layer("the stack's defaults", defaults), 1_000_000, store, {}),
        s3=aws.s3,
        photos_bucket=PHOTOS,
        spool=folder / "uploads",
    )


@pytest.fixture
def house(aws: Aws, tmp_path: Path) -> Iterator[House]:
    """Open the gallery."""
    jobs = JobRepository(aws.dynamodb, TABLE)

    def recovery() -> Recovery:
        return Recovery(
            jobs=jobs,
            ledger=Ledger(aws.dynamodb, TABLE),
            announcer=Announcer(EventPublisher(aws.events, BUS), jobs),
            photos=PhotoStore(aws.s3, PHOTOS, max_bytes=0),
            sqs=aws.sqs,
            queue_url=aws.queue_url,
            state_machine_arn=aws.state_machine_arn,
            photos_bucket=PHOTOS,
        )

    gallery = Gallery(
        name="catwalk",
        place="eu-west-1",
        on_aws=True,
        browser=Browser(aws.dynamodb, TABLE),
        jobs=jobs,
        recovery=recovery,
        desk=desk_of(aws, jobs, tmp_path),
        reviewer=Reviewer(
            jobs=jobs,
            announcer=Announcer(EventPublisher(aws.events, BUS), jobs),
            outbox=ReviewOutbox(aws.dynamodb, TABLE),
            by=lambda: "anna",
        ),
        pause=lambda: pause_of(aws.dynamodb, TABLE),
        s3=aws.s3,
        pictures=Pictures(aws.s3, tmp_path / "pictures"),
    )
    access = Access(PORT)
    with Tab(create_app(gallery, access), access) as browser:
        assert browser.get(access.url).status_code == 200
        yield House(aws, access, gallery, browser)


# --- access ------------------------------------------------------------------------------


def test_key_opens_once(house: House) -> None:
    """The opening address works once; without the cookie nothing is shown."""
    first = house.access.key
    stranger = Tab(house.browser.app, house.access)
    assert stranger.get("/").status_code == 403
    assert stranger.get(f"/?key={first}x").status_code == 403
    answer = stranger.get(f"/?key={first}")
    assert answer.status_code == 200
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert f"path={house.access.root}/".lower() in cookie
    assert house.access.session.lower() not in answer.text.lower()
    assert Tab(house.browser.app, house.access).get(f"/?key={first}").status_code == 403
    assert house.access.key != first


@pytest.mark.parametrize("path", ["/", "/live", "/results.zip", "/jobs/x", "/small/160/x"])
def test_nothing_for_strangers(house: House, path: str) -> None:
    """Every address except code and fonts needs the session."""
    stranger = Tab(house.browser.app, house.access)
    assert stranger.get(path).status_code == 403
    assert stranger.get(path, headers={"Cookie": f"{house.access.cookie}=guess"}).status_code == 403
    assert stranger.get("/static/gallery.css").status_code == 200


@pytest.mark.parametrize("folder", ["", "/guess", "//", "/.", "/static/..", "/{folder}x"])
def test_cookie_alone_opens_nothing(house: House, folder: str) -> None:
    """The cookie alone opens nothing: a server on another port could get it, but not the path."""
    job = house.job(results=1)
    thief = TestClient(house.browser.app, base_url=HOME, follow_redirects=False)
    headers = {
        "Cookie": f"{house.access.cookie}={house.access.session}",
        "Origin": HOME,
        "Sec-Fetch-Site": "same-origin",
    }
    at = folder.replace("{folder}", house.access.folder)
    assert thief.get(f"{at}/", headers=headers).status_code == 403
    form = house.form(job, "regenerate", credits="1")
    answer = thief.post(f"{at}/jobs/{job.job_id}/recover", data=form, headers=headers)
    assert answer.status_code == 403
    assert house.access.folder not in answer.text
    assert house.gallery.jobs.get(job.job_id) == job
    assert house.aws.take(house.aws.queue_url) == []
    assert house.send(job, form).status_code == 303, "with the path it is the gallery's own form"


@pytest.mark.parametrize("order", [1, -1])
def test_a_cookie_of_another_server_locks_nobody_out(house: House, order: int) -> None:
    """The session works also if a server on another port has set a cookie of the same name."""
    both = [f"{house.access.cookie}={value}" for value in (house.access.session, "another")]
    tab = Tab(house.browser.app, house.access)
    assert tab.get("/", headers={"Cookie": "; ".join(both[::order])}).status_code == 200


def test_path_alone_opens_nothing(house: House) -> None:
    """The path alone, as in the browser's history, opens nothing."""
    job = house.job(results=1)
    reader = Tab(house.browser.app, house.access)
    assert reader.get("/").status_code == 403
    form = house.form(job, "regenerate", credits="1")
    answer = reader.post(f"/jobs/{job.job_id}/recover", data=form, headers={"Origin": HOME})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    "host", ["evil.example", f"evil.example:{PORT}", "127.0.0.1:1", "127.0.0.1", f"[::1]:{PORT}"]
)
def test_other_host(house: House, host: str) -> None:
    """Requests with a host other than the gallery's own are refused, also with the cookie."""
    assert house.browser.get("/", headers={"Host": host}).status_code == 403
    assert house.browser.get("/static/gallery.css", headers={"Host": host}).status_code == 403
    assert house.browser.get("/", headers={"Host": f"localhost:{PORT}"}).status_code == 200


@pytest.mark.parametrize(
    ("site", "mode", "dest", "status"),
    [
        ("same-origin", "cors", "empty", 200),
        ("none", "navigate", "document", 200),
        ("cross-site", "navigate", "document", 200),
        ("cross-site", "navigate", "iframe", 403),
        ("cross-site", "no-cors", "image", 403),
        ("same-site", "cors", "empty", 403),
        ("same-site", "no-cors", "script", 403),
    ],
)
def test_fetch_metadata(house: House, site: str, mode: str, dest: str, status: int) -> None:
    """Pages of other sites and ports can link to the gallery, and do nothing else."""
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest}
    assert house.browser.get("/", headers=headers).status_code == status


def test_forms_come_from_the_gallery(house: House) -> None:
    """A form of another origin, without the token or without an origin does nothing."""
    job = house.job(results=1)
    form = house.form(job, "regenerate", credits="1")
    for origin in ("http://evil.example", "null", f"http://127.0.0.1:{PORT + 1}"):
        assert house.send(job, form, origin).status_code == 403
    no_origin = house.browser.post(f"/jobs/{job.job_id}/recover", data=form)
    assert no_origin.status_code == 403
    assert house.send(job, {**form, "token": "x"}).status_code == 403
    assert house.send(job, {k: v for k, v in form.items() if k != "token"}).status_code == 403
    assert house.browser.get(f"/jobs/{job.job_id}/recover").status_code == 405
    assert house.gallery.jobs.get(job.job_id) == job
    assert house.aws.take(house.aws.queue_url) == []


def test_headers(house: House) -> None:
    """Every answer has a policy that forbids inline and foreign content."""
    for path in ("/", "/jobs/none", "/static/grid.js", "/live"):
        headers = house.browser.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"


# --- the grid ----------------------------------------------------------------------------------


def test_grid_shows_before_and_after(house: House) -> None:
    """Photo, results, model, scene, article and status of a job are in the grid."""
    job = house.job(results=2, source_key="summer/dress.jpg")
    text = house.browser.get("/").text
    for part in ("dress.jpg", "Clara · Own background", "S-1", "Done", f"/jobs/{job.job_id}"):
        assert part in text
    assert text.count("/small/480/") == 3
    assert "<script>" not in text
    assert " style=" not in text


def test_everything_is_escaped(house: House) -> None:
    """Names with markup are shown literally on every page and in every address."""
    job = house.job(
        results=1,
        source_key=f"summer/{NASTY}.jpg",
        sku=NASTY,
        request_id=NASTY,
        status=JobStatus.PARTIAL,
        error=JobError(code=ErrorCode.RESULT_INVALID, message=NASTY),
        settings=Settings(
            model_id=NASTY,
            scene_type=SceneType.PRESET,
            scene_id=NASTY,
            batch_size=1,
            mask=NASTY,
            extra={NASTY: NASTY},
        ),
    )
    query = dict.fromkeys(("q", "folder", "sku", "model", "scene", "after", "status"), NASTY)
    for text in (
        house.browser.get("/").text,
        house.browser.get("/", params={**query, "after": ""}).text,
        house.browser.get("/", params=query).text,
        house.browser.get(f"/jobs/{job.job_id}").text,
        house.browser.get(f"/jobs/{NASTY}").text,
    ):
        assert "alert(1)</script>" not in text
        assert '"><script' not in text


def test_nothing_yet_and_nothing_found(house: House) -> None:
    """An empty table says how to begin; a filter without matches says how to see all."""
    assert "catwalk drop dress.jpg" in house.browser.get("/").text
    house.job()
    text = house.browser.get("/?sku=none").text
    assert "No photos found" in text
    assert "data-empty hidden" not in text


def test_pages_by_their_link(house: House) -> None:
    """Without scripts, the link to the next page leads to every job once."""
    made = {house.job(photo=Photo(url="https://shop.example/a.jpg")).job_id for _ in range(50)}
    seen: list[str] = []
    path = "/?folder=summer"
    while path:
        text = house.browser.get(path).text
        seen += re.findall(r'data-card="([0-9a-f]+)"', text)
        more = re.search(r'href="([^"]+)" data-more', text)
        path = more[1].replace("&amp;", "&") if more else ""
    assert len(seen) == len(set(seen)) == 50
    assert set(seen) == made
    part = house.browser.get("/?folder=summer&part=1").text
    assert "<html" not in part
    assert part.count("data-card") == pages.PAGE


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ("status=failed", 2),
        ("status=FAILED", 2),
        ("status=running", 3),
        ("status=RUNNING", 3),
        ("model=044", 1),
        ("scene=none", 1),
        ("sku=S-2", 2),
        ("q=photo 3", 3),
    ],
)
def test_filters(house: House, query: str, number: int) -> None:
    """Each filter shows exactly the matching jobs."""
    house.job(settings=Settings(model_id="044", scene_type=SceneType.NONE, batch_size=1))
    house.job(status=JobStatus.FAILED, sku="S-2")
    house.job(status=JobStatus.RUNNING, progress=40)
    text = house.browser.get(f"/?{query}").text
    assert re.findall(r'data-card="([0-9a-f]+)"', text) == [f"{number:032x}"]


def test_live(house: House) -> None:
    """A live update has only the changed cards and the new jobs."""
    still = house.job(results=1)
    moved = house.job(status=JobStatus.RUNNING, progress=10)
    grid = house.browser.get("/").text
    versions = dict(re.findall(r'data-card="(\w+)" data-version="([^"]+)"', grid))
    (live,) = re.findall(r'data-live="([^"]+)"', grid)
    house.gallery.jobs.note_poll(moved.job_id, 1, progress=70)
    came = house.job(created_at="2999-01-01T00:00:00.000Z", updated_at="2999-01-01T00:00:00.000Z")
    seen = "".join(f"&card={job}.{version}" for job, version in versions.items())
    answer = house.browser.get(live.replace("&amp;", "&") + seen).json()
    assert set(answer["cards"]) == {moved.job_id}
    assert ">70<" in answer["cards"][moved.job_id]
    assert answer["came"] == [came.job_id]
    assert answer["gone"] == []
    assert still.job_id in versions


def test_live_tells_what_left_the_filter(house: House) -> None:
    """A photo that was approved meanwhile is no longer among those that are to be reviewed."""
    approved = Review(state=ReviewState.APPROVED, by="Ann", at="2030-01-01T00:00:00Z", revision=1)
    still, gone = house.job(results=1), house.job(results=1, review=approved)
    cards = f"card={still.job_id}.-&card={gone.job_id}.-"
    answer = house.browser.get(f"/live?status=to-review&{cards}").json()
    assert answer["gone"] == [gone.job_id]
    assert set(answer["cards"]) == {still.job_id, gone.job_id}


def test_live_tells_what_came_into_the_filter(house: House) -> None:
    """Images that are made of an older job come into "To review"; the job itself is not new."""
    since = "2100-01-01T00:00:00.000Z"
    done = house.job(
        results=1,
        created_at="2099-12-31T23:59:00.000Z",
        updated_at="2100-01-01T00:01:00.000Z",
    )
    for query, came in (("status=to-review", [done.job_id]), ("status=done", []), ("", [])):
        assert house.browser.get(f"/live?{query}&since={since}").json()["came"] == came


def test_clear_filters_keeps_the_order(house: House) -> None:
    """The link takes the filters away, and nothing else."""
    house.job(results=1)
    text = house.browser.get("/?status=done&q=photo&sort=name").text
    assert re.search(r'href="[^"]*/\?sort=name">Clear filters</a>', text)
    assert "Clear filters" not in house.browser.get("/?sort=name").text


@pytest.mark.parametrize(
    ("chosen", "refused", "words"),
    [
        ((), (), "Download all 3"),
        ((2,), (), "Download the chosen"),
        ((1, 2), (3,), "Download the 2 chosen"),
        ((), (3,), "Download the 2 others"),
        ((), (2, 3), "Download the other"),
        ((), (1, 2, 3), None),
    ],
)
def test_download_says_which_images(
    house: House, chosen: tuple[int, ...], refused: tuple[int, ...], words: str | None
) -> None:
    """A download holds the chosen images, or those that are not refused; the link says so."""
    review = Review(
        state=ReviewState.TO_REVIEW,
        by="Ann",
        at="2030-01-01T00:00:00Z",
        revision=1,
        chosen=chosen,
        refused=refused,
    )
    job = house.job(results=3, review=review)
    text = " ".join(house.browser.get(f"/jobs/{job.job_id}").text.split())
    found = re.findall(r'results\.zip">([^<]+)</a>', text)
    assert found == ([words] if words else [])


def test_photo_by_url(house: House) -> None:
    """A photo by URL shows its host; the gallery does not fetch it."""
    job = house.job(photo=Photo(url="https://shop.example/dress.jpg"), source_key="url/a")
    for path in ("/", f"/jobs/{job.job_id}"):
        text = house.browser.get(path).text
        assert "shop.example" in text
        assert "https://shop.example" not in text
        assert "/small/" not in text


def test_aws_trouble(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of AWS is a sentence and a next step, never a traceback."""

    def refuse(*_: Any, **__: Any) -> None:
        raise EndpointConnectionError(endpoint_url="https://dynamodb")

    monkeypatch.setattr(Browser, "page", refuse)
    answer = house.browser.get("/")
    assert answer.status_code == 502
    assert "catwalk doctor" in answer.text


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("ExpiredTokenException", "Your sign-in to AWS has ended"),
        ("AccessDeniedException", "You may not do this here"),
        ("InternalServerError", "The stack cannot be reached"),
    ],
)
def test_trouble_in_plain_words(
    house: House, monkeypatch: pytest.MonkeyPatch, code: str, says: str
) -> None:
    """The headline is a plain sentence, and AWS's message is below it."""

    def refuse(*_: Any, **__: Any) -> None:
        raise ClientError({"Error": {"Code": code, "Message": "arn:aws:x"}}, "Query")

    monkeypatch.setattr(Browser, "page", refuse)
    text = house.browser.get("/").text
    assert f"<h1>{says}</h1>" in text
    assert "arn:aws:x" in text.partition("<details>")[2]
    assert '<a class="button" href="">Try again</a>' in text
    assert "`" not in text


def test_bug(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected error has a page with the usual headers and without details."""

    def stumble(*_: Any, **__: Any) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(Browser, "page", stumble)
    browser = Tab(house.browser.app, house.access, raise_server_exceptions=False)
    browser.cookies.update({house.access.cookie: house.access.session})
    answer = browser.get("/")
    assert answer.status_code == 500
    assert "This is a bug in Catwalk: RuntimeError." in answer.text
    assert "secret" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


# --- a job's page ------------------------------------------------------------------------------


def test_job_page(house: House) -> None:
    """A job's page has its slider, strip, story, settings, ids and its execution's page on AWS."""
    job = house.job(results=2, execution_arn=EXECUTION, request_id="order-7")
    text = house.browser.get(f"/jobs/{job.job_id}").text
    for part in (
        *('role="slider"', "Result 2", "What happened", "Clara", "order-7", "task-1"),
        *("eu-west-1.console.aws.amazon.com", "Make new images", "1 credit", "<dialog"),
    ):
        assert part in text
    assert " style=" not in text


def test_no_such_job(house: House) -> None:
    """A missing job and a missing page have different messages."""
    assert "There is no job" in house.browser.get("/jobs/nope").text
    assert house.browser.get("/nope").status_code == 404


def test_why_a_photo_waits(house: House) -> None:
    """A waiting photo says why it waits."""
    waiting = Waiting(until="2026-01-31T10:00:00.000Z", reason="The vendor has no credits left.")
    house.job(status=JobStatus.ACCEPTED, waiting=waiting)
    assert "no credits left" in house.browser.get("/").text


def test_job_live(house: House) -> None:
    """A live request gets new content only if the job has changed."""
    job = house.job(status=JobStatus.RUNNING, progress=10)
    text = house.browser.get(f"/jobs/{job.job_id}").text
    (version,) = re.findall(r'data-job="[^"]+" data-version="([^"]+)"', text)
    path = f"/jobs/{job.job_id}/live"
    assert house.browser.get(path, params={"version": version}).status_code == 204
    house.gallery.jobs.note_poll(job.job_id, 1, progress=70)
    answer = house.browser.get(path, params={"version": version})
    assert "70 %" in answer.text
    assert "<html" not in answer.text


def test_regenerate_once(house: House) -> None:
    """A confirmed form starts one attempt; the same form sent again does nothing and says so."""
    job = house.job(results=1)
    form = house.form(job, "regenerate", credits="1")
    first = house.send(job, form)
    assert first.status_code == 303
    said = house.browser.get(first.headers["location"])
    assert "It continues as attempt 2." in said.text
    assert "It goes on" not in house.browser.get(first.headers["location"]).text
    second = house.browser.get(house.send(job, form).headers["location"])
    assert "It has changed since this page was shown; nothing was done." in second.text
    now = house.gallery.jobs.get(job.job_id)
    assert now is not None
    assert (now.attempt, now.status) == (2, JobStatus.ACCEPTED)
    assert len(house.aws.take(house.aws.queue_url)) == 1


@pytest.mark.parametrize(
    ("action", "changes", "says"),
    [
        ("regenerate", {"credits": "0"}, "It costs 1 credit by now"),
        ("resume", {}, "recopy it to copy its results again"),
        ("charged", {}, "only a job that needs you can be resolved"),
        ("anything", {}, "not a valid Resolution"),
        ("recopy", {"status": "FAILED"}, "It has changed"),
        ("recopy", {"attempt": "7"}, "It has changed"),
    ],
)
def test_not_done(house: House, action: str, changes: dict[str, str], says: str) -> None:
    """An action that is impossible, or has another price by now, is refused with a message."""
    job = house.job(results=1)
    answer = house.send(job, house.form(job, action, **changes))
    assert says in house.browser.get(answer.headers["location"]).text
    assert house.gallery.jobs.get(job.job_id) == job
    assert house.aws.take(house.aws.queue_url) == []


@pytest.mark.parametrize(
    ("action", "task_id", "status", "attempt"),
    [
        ("task", "t-9", JobStatus.RUNNING, 1),
        ("task", "", JobStatus.SUBMIT_UNKNOWN, 1),
        ("charged", "", JobStatus.FAILED, 1),
        ("not charged", "", JobStatus.ACCEPTED, 2),
    ],
)
def test_resolve(house: House, action: str, task_id: str, status: JobStatus, attempt: int) -> None:
    """The job's page has all three ways to resolve an unknown submit."""
    job = house.job(status=JobStatus.SUBMIT_UNKNOWN, task_id=None, finished_at=None, credits=0)
    text = house.browser.get(f"/jobs/{job.job_id}").text
    assert "Say what became of it" in text
    assert "Make new images" not in text
    house.send(job, house.form(job, action, task_id=task_id))
    now = house.gallery.jobs.get(job.job_id)
    assert now is not None
    assert (now.status, now.attempt) == (status, attempt)


def test_form_of_any_length(house: House) -> None:
    """A form that is far too long is not read to its end."""
    job = house.job()
    assert house.send(job, house.form(job, "recopy", more="x" * 20_000)).status_code == 413


def test_earlier_attempt(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results that a later attempt replaced are shown from their older versions."""
    house.aws.s3.put_bucket_versioning(
        Bucket=RESULTS, VersioningConfiguration={"Status": "Enabled"}
    )
    job = house.job(results=1)
    past = PastAttempt(
        attempt=1,
        status=JobStatus.SUCCEEDED,
        finished_at=iso(utc_now()),
        results=job.results,
        task_id="task-0",
    )
    new = house.result(job.source_key or "", job.job_id, 1, picture("PNG", (90, 90)))
    house.job(job_id=job.job_id, source_key=job.source_key, attempt=2, history=(past,)).model_copy()
    item = {"results": [_plain(new)], "history": [_plain(past)]}
    house.aws.dynamodb.update_item(
        TableName=TABLE,
        Key={"pk": {"S": f"JOB#{job.job_id}"}},
        UpdateExpression="SET results = :results, history = :history",
        ExpressionAttributeValues=_wire({f":{name}": value for name, value in item.items()}),
    )
    text = house.browser.get(f"/jobs/{job.job_id}").text
    (older,) = re.findall(r'class="earlier".*?(/original/[^"]+)"', text, re.DOTALL)
    body = house.browser.get(older).content
    assert hashlib.sha256(body).hexdigest() == job.results[0].sha256

    def refused(code: str, **_: str) -> dict[str, Any]:
        raise ClientError({"Error": {"Code": code, "Message": "no"}}, "ListObjectVersions")

    for code, status in (("AccessDenied", 200), ("ExpiredToken", 502)):
        # Without permission to list, the page shows the job alone; other errors are shown.
        monkeypatch.setattr(house.aws.s3, "list_object_versions", partial(refused, code))
        assert house.browser.get(f"/jobs/{job.job_id}").status_code == status


# --- pictures ----------------------------------------------------------------------------------


def test_small_and_original(house: House) -> None:
    """A thumbnail is a WebP that browsers keep; the original can be read whole or in part."""
    job = house.job(results=1, source_key="a/dress.jpg")
    path = f"/jobs/{job.job_id}"
    for address in house.addresses(path, "small"):
        answer = house.browser.get(address)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "image/webp"
        assert "immutable" in answer.headers["cache-control"]
        with Image.open(io.BytesIO(answer.content)) as small:
            assert small.format == "WEBP"
    original = house.addresses(path, "original")[0]
    whole = house.browser.get(original)
    assert whole.headers["content-type"] == PNG
    assert hashlib.sha256(whole.content).hexdigest() == job.results[0].sha256
    assert "sandbox" in whole.headers["content-security-policy"]
    part = house.browser.get(original, headers={"Range": "bytes=2-5"})
    assert part.status_code == 206
    assert part.content == whole.content[2:6]
    assert part.headers["content-range"] == f"bytes 2-5/{len(whole.content)}"
    saved = house.browser.get(f"{original}?download=1")
    assert saved.headers["content-disposition"].startswith("attachment")


def test_exact_version_of_the_photo(house: House) -> None:
    """The page shows the photo's version that the job used, also if it was replaced."""
    job = house.job(source_key="a/dress.jpg")
    house.aws.s3.put_object(Bucket=PHOTOS, Key="a/dress.jpg", Body=picture(size=(10, 10)))
    (original,) = set(house.addresses(f"/jobs/{job.job_id}", "original"))
    with Image.open(io.BytesIO(house.browser.get(original).content)) as shown:
        assert shown.size == (WIDTH, HEIGHT)


def test_only_what_belongs_to_a_job(house: House) -> None:
    """A picture's address that the gallery has not made reads nothing."""
    house.aws.s3.put_object(Bucket=PHOTOS, Key="secret.txt", Body=b"secret")
    job = house.job()
    (original,) = set(house.addresses(f"/jobs/{job.job_id}", "original"))
    forged = Seal(b"another").name(Picture(PHOTOS, "secret.txt", JPEG))
    body, _, signature = original.rpartition("/")[2].partition(".")
    mixed = f"{forged.partition('.')[0]}.{signature}"
    for name in (forged, mixed, f"{body}.", "é", "....", "x" * 5_000):
        assert house.browser.get(f"/original/{name}").status_code == 404
        assert house.browser.get(f"/small/480/{name}").status_code == 404
    assert house.browser.get(f"/small/481/{original.rpartition('/')[2]}").status_code == 404


@pytest.mark.parametrize("kind", ["text/html", "image/svg+xml", "", "image/gif"])
def test_documents_are_never_served(house: House, kind: str) -> None:
    """An object is served as the image that its bytes are, or as a download."""
    house.aws.s3.put_object(Bucket=PHOTOS, Key="a/x.jpg", Body=b"<svg onload=alert(1)>")
    name = Seal(house.access.secret).name(Picture(PHOTOS, "a/x.jpg", kind))
    answer = house.browser.get(f"/original/{name}")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert house.browser.get(f"/small/480/{name}").status_code == 404


def pictures(house: House) -> Pictures:
    """Return the gallery's pictures."""
    return house.gallery.pictures


def put(house: House, body: bytes, key: str = "p.jpg") -> Picture:
    """Put an object into PhotosBucket."""
    etag = house.aws.s3.put_object(Bucket=PHOTOS, Key=key, Body=body)["ETag"].strip('"')
    return Picture(PHOTOS, key, JPEG, etag=etag)


def test_turned_by_exif(house: House) -> None:
    """A photo with an EXIF rotation is shown upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    small = pictures(house).small(put(house, picture(size=(400, 200), exif=exif)), 160)
    with Image.open(small) as shown:
        assert shown.size == (160, 320)


def test_transparency_stays(house: House) -> None:
    """A thumbnail keeps transparency."""
    with Image.open(pictures(house).small(put(house, picture("PNG")), 160)) as shown:
        assert shown.mode == "RGBA"


@pytest.mark.parametrize(
    "body",
    [b"", b"<svg>", b"GIF89a", picture()[:300], b"\xff\xd8\xff" + b"\0" * 100],
    ids=["empty", "svg", "gif", "half", "noise"],
)
def test_no_picture(house: House, body: bytes) -> None:
    """A file that cannot be decoded is an error, and leaves no file."""
    with pytest.raises(PictureGoneError):
        pictures(house).small(put(house, body), 160)
    assert not list(house.gallery.pictures._folder.glob("*/*"))


def test_bomb(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file that declares too many pixels is not decoded."""
    monkeypatch.setattr(images, "_MAX_PIXELS", 60 * 80 - 1)
    with pytest.raises(PictureGoneError, match="too many pixels"):
        pictures(house).small(put(house, picture("PNG")), 160)


def test_too_large(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large object is not read."""
    monkeypatch.setattr(images, "_MAX_BYTES", 10)
    with pytest.raises(PictureGoneError, match="too large"):
        pictures(house).small(put(house, picture()), 160)


def test_gone_and_replaced(house: House) -> None:
    """A missing or replaced object is an error."""
    known = put(house, picture())
    house.aws.s3.put_object(Bucket=PHOTOS, Key="p.jpg", Body=picture(size=(9, 9)))
    with pytest.raises(PictureGoneError, match="Another photo"):
        pictures(house).small(known, 160)
    with pytest.raises(PictureGoneError, match="not there"):
        pictures(house).small(Picture(PHOTOS, "gone.jpg", JPEG), 160)


def test_made_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parallel requests for a picture make one thumbnail; later ones reuse it."""
    reads: list[str] = []
    read, inside = Pictures._read, threading.Barrier(2)

    def slowly(self: Pictures, which: Picture) -> bytes:
        reads.append(which.key)
        inside.wait(10)
        return read(self, which)

    monkeypatch.setattr(Pictures, "_read", slowly)
    wanted = put(house, picture())
    threads = [threading.Thread(target=pictures(house).small, args=(wanted, 160)) for _ in range(5)]
    for thread in threads:
        thread.start()
    inside.wait(10)
    for thread in threads:
        thread.join(10)
    assert reads == ["p.jpg"]
    assert len(list(house.gallery.pictures._folder.glob("*/*"))) == 1
    assert house.gallery.pictures._locks == {}


def test_bounded(house: House, tmp_path: Path) -> None:
    """The thumbnail that was used least recently is removed first."""
    small = Pictures(house.aws.s3, tmp_path / "few", most_bytes=1_000)
    files = []
    for number in range(40):
        file = small.small(put(house, picture(size=(60, 80 + number)), f"{number}.jpg"), 160)
        if file.exists():
            os.utime(file, (number, number))
        files.append(file)
    kept = [file for file in files if file.exists()]
    assert kept
    assert sum(file.stat().st_size for file in kept) <= 1_000
    assert files[0] not in kept
    assert files[-1] in kept


# --- zips --------------------------------------------------------------------------------------


def unzipped(body: bytes) -> dict[str, bytes]:
    """Check a zip's checksums; return its files."""
    with zipfile.ZipFile(io.BytesIO(body)) as opened:
        assert opened.testzip() is None
        assert all(info.compress_type == zipfile.ZIP_STORED for info in opened.infolist())
        return {name: opened.read(name) for name in opened.namelist()}


def test_zip_of_a_choice(house: House) -> None:
    """A zip has the results of the shown jobs; a text file names missing ones."""
    job = house.job(results=2, source_key="summer/dress.jpg")
    house.job(results=1, source_key="winter/coat.jpg")
    house.aws.s3.delete_object(Bucket=RESULTS, Key=job.results[1].key)
    answer = house.browser.get("/results.zip?folder=summer")
    assert 'filename="catwalk-summer.zip"' in answer.headers["content-disposition"]
    files = unzipped(answer.content)
    name = "S-1_Clara_own-background_1.png"
    assert set(files) == {name, archive.MISSING}
    assert hashlib.sha256(files[name]).hexdigest() == job.results[0].sha256
    assert job.results[1].key in files[archive.MISSING].decode()
    own = unzipped(house.browser.get(f"/jobs/{job.job_id}/results.zip").content)
    assert set(own) == set(files)


def test_names_in_a_zip_are_those_of_pull(house: House) -> None:
    """Of two jobs with the same name, the earlier one has the plain name in each zip."""
    old = house.job(results=1, source_key="summer/a.jpg", finished_at="2026-01-01T00:00:00Z")
    new = house.job(results=1, source_key="summer/b.jpg", finished_at="2026-01-02T00:00:00Z")
    expected = {names.of(job)[1] for names in [FileNames((new, old))] for job in (old, new)}
    plain = FileNames((old,)).of(old)[1]
    assert plain in expected
    for query in ("folder=summer", "folder=summer&sort=name"):
        files = unzipped(house.browser.get(f"/results.zip?{query}").content)
        assert set(files) == expected
        assert hashlib.sha256(files[plain]).hexdigest() == old.results[0].sha256
    approved = Review(state=ReviewState.APPROVED, by="Ann", at="2026-01-03T00:00:00Z", revision=1)
    house.gallery.jobs.review(new, approved)
    files = unzipped(house.browser.get("/results.zip?folder=summer&status=approved").content)
    assert set(files) == expected - {plain}, "the other job is not in it, and keeps its name"
    found = house.browser.get("/results.zip?q=b.jpg")
    assert set(unzipped(found.content)) == {plain}, "a search names what it finds"


def test_zip_of_nothing(house: House) -> None:
    """Without results there is a page instead of a zip."""
    answer = house.browser.get("/results.zip")
    assert answer.status_code == 400
    assert "no photo matches" in answer.text
    job = house.job(results=1)
    review = Review(
        state=ReviewState.REFUSED, refused=(1,), by="anna", at=iso(utc_now()), revision=1
    )
    with pytest.raises(CommandError, match="none of these photos has images that are wanted"):
        zipped(house.aws.s3, [house.job(), job.model_copy(update={"review": review})])


class Breaking:
    """An S3 client whose connections break after a few bytes."""

    def __init__(self, body: bytes, each: int, times: int) -> None:
        self._body, self._each, self._times = body, each, times

    def get_object(self, *, Range: str = "bytes=0-", **_: str) -> dict[str, Any]:  # noqa: N803  as S3 calls it
        """Answer."""
        begin = int(Range[6:-1])
        self._times -= 1
        end = len(self._body) if self._times < 0 else begin + self._each
        return {
            "ContentLength": len(self._body) - begin,
            "ETag": '"e"',
            "Body": Body(self._body[begin:end], broken=end < len(self._body)),
        }


class Body(io.BytesIO):
    """A body that may break off."""

    def __init__(self, data: bytes, *, broken: bool) -> None:
        super().__init__(data)
        self._broken = broken

    def iter_chunks(self, _size: int) -> Iterator[bytes]:
        """Yield what there is."""
        yield self.read()
        if self._broken:
            raise OSError("the connection broke")


@pytest.mark.parametrize(("times", "whole"), [(0, True), (2, True), (3, False)])
def test_zip_over_broken_connections(house: House, times: int, whole: bool) -> None:
    """A broken connection is continued; if that fails, the zip is complete and names the file."""
    job = house.job(results=1)
    body = b"0123456789" * 10
    files = unzipped(b"".join(zipped(Breaking(body, 20, times), [job])))  # type: ignore[arg-type]  # a double
    assert (files["S-1_Clara_own-background_1.png"] == body) is whole
    assert (archive.MISSING in files) is not whole


def test_zip_is_not_held(house: House) -> None:
    """The zip starts before all jobs are read."""
    first, second = house.job(results=1), house.job(results=1)
    asked: list[str] = []

    def jobs() -> Iterator[Job]:
        for job in (first, second):
            asked.append(job.job_id)
            yield job

    stream = zipped(house.aws.s3, jobs())
    next(stream)
    assert asked == [first.job_id]
    assert len(unzipped(next(iter([b"".join(zipped(house.aws.s3, jobs()))])))) == 2


def test_names_are_unique(house: House) -> None:
    """Results that would have the same name do not overwrite each other."""
    one = house.job(results=1)
    jobs = [one, one.model_copy(update={"job_id": "f" * 32})]
    files = unzipped(b"".join(zipped(house.aws.s3, jobs)))
    assert set(files) == {
        "S-1_Clara_own-background_1.png",
        "S-1_Clara_own-background_ffffffff_1.png",
    }


def test_zip_of_chosen_images(house: House) -> None:
    """If images were chosen, the zip has only those."""
    job = house.job(results=3)
    review = Review(chosen=(2,), by="anna", at=iso(utc_now()), revision=1)
    chosen = job.model_copy(update={"review": review})
    assert set(unzipped(b"".join(zipped(house.aws.s3, [chosen])))) == {
        "S-1_Clara_own-background_2.png"
    }


# --- the server --------------------------------------------------------------------------------


def test_port_in_use() -> None:
    """A given port that is in use is an error; otherwise another port is taken."""
    with server.listen(0) as taken:
        port = taken.getsockname()[1]
        assert taken.getsockname()[0] == "127.0.0.1"
        with pytest.raises(CommandError, match=str(port)):
            server.listen(port)


def test_usual_port_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the usual port is in use, another one is taken."""
    with server.listen(0) as taken:
        monkeypatch.setattr(server, "PORT", taken.getsockname()[1])
        with server.listen(None) as other:
            assert other.getsockname()[1] != taken.getsockname()[1]


def test_key_is_on_no_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The browser opens a file that only its user can read."""
    opened: Queue[str] = Queue()
    monkeypatch.setenv("DISPLAY", ":0")

    def browse(url: str) -> bool:
        opened.put(url)
        return True

    monkeypatch.setattr("webbrowser.open", browse)
    with server._opened("http://127.0.0.1:1/?key=k&x"):
        url = opened.get(timeout=30)
        assert "k" not in url.partition("gallery.html")[2]
        file = Path(url.removeprefix("file://"))
        assert "key=k&amp;x" in file.read_text()
        assert file.parent.stat().st_mode & 0o077 == 0
    assert not file.exists()


def test_browser_that_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gallery is served before the browser is started, since some browsers block."""
    begun, closed = threading.Event(), threading.Event()
    monkeypatch.setenv("DISPLAY", ":0")

    def browse(_url: str) -> bool:
        begun.set()
        return closed.wait(30)

    monkeypatch.setattr("webbrowser.open", browse)
    with server._opened("http://127.0.0.1:1/?key=k"):
        assert begun.wait(30)
        assert not closed.is_set()
        closed.set()


def test_no_screen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a screen, no browser is opened, and the command says so."""
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("webbrowser.open", lambda _url: pytest.fail("opened"))
    for name in server._SCREENS:
        monkeypatch.delenv(name, raising=False)
    server._open("file:///x")
    assert "open the address yourself" in capsys.readouterr().err


_ENDS_THOUGH_S3_HANGS = """
from threading import Event
from starlette.concurrency import run_in_threadpool
from cli.gallery import server
async def app(scope, receive, send):
    if scope["type"] == "http":
        await run_in_threadpool(lambda: (print("asked", flush=True), Event().wait()))
with server.listen(0) as listener:
    print(listener.getsockname()[1], flush=True)
    server._Server(app).run(sockets=[listener])
server._leave()
"""


def test_ctrl_c_while_aws_hangs() -> None:
    """Ctrl-C ends the gallery without output, also if a thread waits for AWS."""
    process = subprocess.Popen(
        [sys.executable, "-c", _ENDS_THOUGH_S3_HANGS],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline())
            with socket.create_connection(("127.0.0.1", port), 30) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert process.stdout.readline() == "asked\n"
                process.send_signal(signal.SIGINT)
                _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, errors) == (0, "")


def test_gallery_of_a_stack(aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A laptop's stack has no pages in the AWS console."""
    monkeypatch.setattr("shared.clients.s3", lambda: aws.s3)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    outputs = {"JobsTableName": TABLE, "EventBusName": BUS, "PhotosBucketName": PHOTOS}
    for laptop in (True, False):
        stack = Catwalk("catwalk", outputs, {}, Choice("catwalk", laptop=laptop))
        assert Gallery.of(stack, tmp_path).on_aws is not laptop


def test_picture_names_hold_no_secret(house: House) -> None:
    """Pages, their addresses of pictures, and headers contain no secret."""
    text = house.browser.get("/").text + json.dumps(dict(house.browser.get("/").headers))
    for secret in (house.access.session, house.access.key, house.access.secret.hex()):
        assert secret not in text


def test_refused_by_aws(house: House) -> None:
    """Missing permissions are named as such."""

    class Refusing:
        def get_object(self, **_: str) -> None:
            raise ClientError({"Error": {"Code": "AccessDenied"}}, "GetObject")

    with pytest.raises(PictureGoneError, match="may not read"):
        Pictures(Refusing(), Path("nowhere")).small(Picture("b", "k", JPEG), 160)  # type: ignore[arg-type]  # a double


@pytest.mark.parametrize("code", ["ExpiredToken", "SlowDown", "RequestTimeTooSkewed", ""])
def test_trouble_is_no_missing_picture(house: House, code: str) -> None:
    """Expired credentials are not reported as a deleted picture."""

    class Refusing:
        def get_object(self, **_: str) -> None:
            raise ClientError({"Error": {"Code": code}}, "GetObject")

    house.job(results=1)
    (original,) = set(house.addresses("/", "small")[:1])
    house.gallery.pictures._s3 = Refusing()  # type: ignore[assignment]  # a double
    answer = house.browser.get(original)
    assert answer.status_code == 502
    assert "catwalk doctor" in answer.text


def test_original_breaks_off(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    """An original whose download breaks is logged, and the answer is incomplete."""

    class Cut:
        def get_object(self, **_: str) -> dict[str, Any]:
            return {"ContentLength": 100, "Body": Body(b"0123456789", broken=True)}

    house.job(results=1)
    original = house.addresses("/", "small")[0].replace("/small/480/", "/original/")
    house.gallery.pictures._s3 = Cut()  # type: ignore[assignment]  # a double
    assert house.browser.get(original).content == b"0123456789"
    assert "A picture broke off: the connection broke." in capsys.readouterr().err


def test_nowhere_to_keep(house: House, tmp_path: Path) -> None:
    """A folder that cannot be written is named, with advice."""
    (tmp_path / "file").write_text("in the way")
    small = Pictures(house.aws.s3, tmp_path / "file")
    with pytest.raises(CommandError, match="cannot be kept in"):
        small.small(put(house, picture()), 160)


def test_zip_of_jobs_that_cannot_be_read_to_the_end(house: House) -> None:
    """If credentials expire during a zip, the zip is complete and says so."""
    job = house.job(results=1)

    def jobs() -> Iterator[Job]:
        yield job
        yield job  # it has changed meanwhile, and is met again
        raise EndpointConnectionError(endpoint_url="https://dynamodb")

    files = unzipped(b"".join(zipped(house.aws.s3, jobs())))
    assert set(files) == {"S-1_Clara_own-background_1.png", archive.MISSING}
    assert b"All further jobs: Could not connect" in files[archive.MISSING]


def test_zip_that_cannot_begin(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the first job cannot be read, there is a page instead of a zip."""

    def refuse(*_: Any, **__: Any) -> None:
        raise EndpointConnectionError(endpoint_url="https://dynamodb")

    monkeypatch.setattr(Browser, "page", refuse)
    assert house.browser.get("/results.zip").status_code == 502


def test_head_reads_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A HEAD request for a download reads no object."""
    job = house.job(results=1)
    original = house.addresses(f"/jobs/{job.job_id}", "original")[0]
    monkeypatch.setattr(archive, "_Reading", lambda *_: pytest.fail("read"))
    monkeypatch.setattr(images, "_pieces", lambda *_: iter([b"x" * 3]))
    assert "catwalk-" in house.browser.head("/results.zip").headers["content-disposition"]
    answer = house.browser.head(original)
    assert (answer.headers["content-length"], answer.content) == (str(job.results[0].bytes), b"")


def test_addresses_of_requests(house: House) -> None:
    """A mask's URL is shown without its signature; an invalid one breaks no page."""
    settings = Settings(model_id="002", scene_type=SceneType.ORIGINAL, batch_size=1)
    for mask in ("https://u:p@shop.example/m.png?X-Amz-Signature=s3cret", "https://[m.png?s3cret"):
        job = house.job(
            photo=Photo(url="https://[shop.example/a.jpg"),
            settings=settings.model_copy(update={"mask": mask}),
        )
        text = house.browser.get(f"/jobs/{job.job_id}").text
        assert "A photo by URL" in text
        assert "s3cret" not in text
        assert "u:p@" not in text


def test_search_with_accents(house: House) -> None:
    """A search finds names in decomposed Unicode, as on a Mac."""
    house.job(source_key="a/Kleid gru\u0308n.jpg")
    assert "data-card" in house.browser.get("/", params={"q": "GR\u00dcN"}).text


# --- review --------------------------------------------------------------------------------------


def review(house: House, job: Job, **changes: str) -> Any:
    """Send a review in the way of the page's script."""
    form = {
        "token": house.access.form_token,
        "attempt": str(job.attempt),
        "revision": str(job.review.revision if job.review else 0),
        "state": "approved",
        "chosen": "",
        "refused": "",
        **changes,
    }
    return house.browser.post(
        f"/jobs/{job.job_id}/review",
        data=form,
        headers={"Origin": HOME, "Sec-Fetch-Site": "same-origin", "Accept": "application/json"},
    )


def test_a_review_is_kept_and_shown(house: House) -> None:
    """A review is in the record, on the page, on the card and in the filters."""
    job = house.job(results=3)
    answer = review(house, job, chosen="1,3", refused="2")
    assert answer.status_code == 200
    assert answer.json()["revision"] == 1
    now = house.gallery.jobs.get(job.job_id)
    assert now is not None
    assert now.review is not None
    assert (now.review.chosen, now.review.refused, now.review.by) == ((1, 3), (2,), "anna")
    page = house.browser.get(f"/jobs/{job.job_id}").text
    assert "Approved by anna" in page
    assert page.count('data-mark="chosen" aria-pressed="true"') == 2
    assert job.job_id in house.browser.get("/?status=approved").text
    assert job.job_id not in house.browser.get("/?status=to-review").text


def test_the_same_choice_again_stands(house: House) -> None:
    """A review that is sent twice, because its answer was lost, counts once and succeeds."""
    job = house.job(results=2)
    assert review(house, job, chosen="1").status_code == 200
    again = review(house, job, chosen="1")
    assert (again.status_code, again.json()["message"]) == (200, "It is approved.")
    assert again.json()["revision"] == 1
    assert review(house, job, chosen="2").status_code == 409


def test_new_images_do_not_put_away_a_review_unseen(house: House) -> None:
    """New images that are asked for on a page older than a review are not started unseen."""
    job = house.job(results=2)
    assert "reviewed anew" not in house.browser.get(f"/jobs/{job.job_id}").text
    assert review(house, job).status_code == 200
    answer = house.send(job, house.form(job, "regenerate", credits="1"))
    said = house.browser.get(answer.headers["location"]).text
    assert "It has changed since this page was shown; nothing was done." in said
    now = house.gallery.jobs.get(job.job_id)
    assert now is not None
    assert (now.attempt, now.review_state) == (1, ReviewState.APPROVED)
    page = house.browser.get(f"/jobs/{job.job_id}").text
    assert "The new images are to be reviewed anew." in page
    assert page.count('name="revision" value="1"') > 1
    house.send(now, house.form(now, "regenerate", credits="1"))
    anew = house.gallery.jobs.get(job.job_id)
    assert anew is not None
    assert anew.attempt == 2


def test_a_script_learns_why_a_choice_was_not_saved(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of AWS during a review is JSON that the script can show."""

    def breaks(*_: object) -> None:
        raise EndpointConnectionError(endpoint_url="dynamodb")

    monkeypatch.setattr(house.gallery.jobs, "review", breaks)
    answer = review(house, house.job(results=1))
    assert answer.status_code == 502
    assert answer.json()["message"].startswith("The stack cannot be reached. ")


def test_an_attempt_that_cannot_be(house: House) -> None:
    """An invalid attempt number counts as another attempt."""
    assert review(house, house.job(results=1), attempt="9" * 5_000).status_code == 409


def test_the_second_of_two_reviewers_is_told(house: House) -> None:
    """A second review changes nothing, and its person is told whose the first one is."""
    job = house.job(results=2)
    assert review(house, job, state="refused").status_code == 200
    answer = review(house, job, chosen="1")
    assert answer.status_code == 409
    assert answer.json()["message"].startswith("anna refused it in the meantime")
    assert answer.json()["state"] == "refused"


@pytest.mark.parametrize(
    ("changes", "status", "says"),
    [
        ({"chosen": "7"}, 422, "It has no image 7"),
        ({"chosen": "one"}, 422, "one"),
        ({"state": "perhaps"}, 422, "perhaps"),
        ({"attempt": "2"}, 409, "was started anew"),
        ({"attempt": "x"}, 409, "look again"),
        ({"token": "guess"}, 403, "earlier gallery"),
    ],
)
def test_a_review_that_is_none(
    house: House, changes: dict[str, str], status: int, says: str
) -> None:
    """An invalid review, or one from another page, changes nothing."""
    job = house.job(results=2)
    answer = review(house, job, **changes)
    assert answer.status_code == status
    assert says in answer.text
    assert house.gallery.jobs.get(job.job_id) == job


def test_a_review_without_a_script(house: House) -> None:
    """Without scripts, the form works, and the next page shows the result."""
    job = house.job(results=1)
    form = {"token": house.access.form_token, "attempt": "1", "revision": "0", "state": "refused"}
    answer = house.browser.post(f"/jobs/{job.job_id}/review", data=form, headers={"Origin": HOME})
    assert answer.status_code == 303
    assert "It is refused." in house.browser.get(answer.headers["location"]).text


def test_another_page_cannot_review(house: House) -> None:
    """A form of another site is refused."""
    job = house.job(results=1)
    form = {"token": house.access.form_token, "attempt": "1", "revision": "0", "state": "refused"}
    for headers in ({"Origin": "https://evil.example"}, {}):
        answer = house.browser.post(f"/jobs/{job.job_id}/review", data=form, headers=headers)
        assert answer.status_code == 403
    assert house.gallery.jobs.get(job.job_id) == job


def test_counts(house: House) -> None:
    """Each filter chip has the number of its photos in the present folder."""
    house.job(results=1)
    house.job(status=JobStatus.FAILED, results=0)
    house.job(source_key="winter/a.jpg")
    answer = house.browser.get("/counts?folder=summer").json()
    numbers = {name: number for name, (number, _) in answer["numbers"].items()}
    assert (numbers[""], numbers["done"], numbers["failed"], numbers["running"]) == (2, 1, 1, 0)
    assert answer["summary"] == "1 done, 1 failed"
    assert house.browser.get("/counts?q=dress").json()["numbers"] == {}


def test_time_left(house: House) -> None:
    """A folder's remaining time is estimated from its finished photos."""
    now = utc_now()
    moment = iso(now - timedelta(seconds=20))
    for _ in range(4):
        house.job(results=1, created_at=moment, finished_at=iso(now))
    for _ in range(2):
        house.job(status=JobStatus.RUNNING, created_at=moment, finished_at=None)
    summary = house.browser.get("/counts?folder=summer").json()["summary"]
    assert re.fullmatch(r"4 done, 2 under way, about 1[05] s left", summary)


def test_one_banner_while_submission_is_paused(house: House) -> None:
    """One banner says why submission is paused; the cards only say that they wait."""
    waiting = Waiting(until="2999-01-31T10:00:00.000Z", reason="HTTP 401, X-Api-Key")
    for _ in range(2):
        house.job(status=JobStatus.ACCEPTED, waiting=waiting)
    pause = Pause(utc_now(), "HTTP 401, X-Api-Key", Cause.KEY_REFUSED)
    gallery = replace(house.gallery, pause=lambda: pause)
    tab = Tab(create_app(gallery, house.access), house.access)
    tab.cookies.update({house.access.cookie: house.access.session})
    text = tab.get("/").text
    assert text.count("The vendor does not accept the API key") == 1
    assert "<code>catwalk set-key</code>" in text
    assert "Nothing is lost" in text
    assert "X-Api-Key" not in text
    assert text.count(">Waiting<") == 4


def test_results_that_are_fetched_again(house: House) -> None:
    """A job that copies results again does not show the vendor's progress."""
    moment = iso(utc_now())
    house.job(status=JobStatus.RUNNING, progress=98, resumed_at=moment, attempt=2)
    text = house.browser.get("/").text
    assert "Fetching again" in text
    assert ">98<" not in text


def test_a_good_job_is_not_copied_again(house: House) -> None:
    """A job with all its images does not offer to copy them."""
    job = house.job(results=1)
    assert "Copy results again" not in house.browser.get(f"/jobs/{job.job_id}").text


def test_sorted_by_name(house: House) -> None:
    """The order is part of the address and is kept on all pages."""
    for name in "cab":
        house.job(source_key=f"summer/{name}.jpg")
    text = house.browser.get("/?sort=name").text
    assert re.findall(r"[abc]\.jpg</a>", text) == ["a.jpg</a>", "b.jpg</a>", "c.jpg</a>"]


def test_a_folder_in_another_case(house: House) -> None:
    """A folder is found in another case, and its own spelling is shown."""
    house.job(source_key="Sommer/a.jpg")
    text = house.browser.get("/?folder=sommer").text
    assert "<h1>Sommer</h1>" in text
    assert "a.jpg" in text


def test_an_unusable_photo_is_replaced(house: House) -> None:
    """A rejected file offers to replace the photo, and its error is shown once."""
    job = house.job(
        status=JobStatus.REJECTED,
        dropped=True,
        task_id=None,
        error=JobError(code=ErrorCode.EMPTY_FILE, message="The file is empty."),
    )
    variants = b'{"variants": [{"modelId": "001"}, {"modelId": "002"}]}'
    house.aws.s3.put_object(Bucket=PHOTOS, Key="summer/catwalk.json", Body=variants)
    text = house.browser.get(f"/jobs/{job.job_id}").text
    assert 'Replace this photo<span class="price">up to 2 credits</span>' in text
    assert "Make new images" not in text
    assert "Shoot again" not in text.partition("<dialog")[0]
    assert text.count("The file is empty.") == 1
