"""The gallery's desk: selections, shooting again, and uploads from the page."""

import asyncio
import io
import json
import os
import threading
import time
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from cli.gallery import looks, shoot, uploads
from cli.gallery.access import Access
from cli.gallery.uploads import Uploads
from cli.jobs.review import Decision, Reviewer
from cli.upload.collect import Kind
from shared.errors import InputRejected
from shared.intake.messages import ModelRequested, parse
from shared.models import (
    ErrorCode,
    Job,
    JobError,
    JobStatus,
    Photo,
    ReviewState,
    SceneType,
    Settings,
)
from shared.notify.announcer import Announcer
from shared.notify.events import EventPublisher
from shared.notify.outbox import ReviewOutbox
from tests.factories import BUS, HEIGHT, PHOTOS, TABLE, VENDOR, WIDTH, jpeg, png
from tests.unit.test_gallery import HOME, NASTY, House, Tab, house

__all__ = ["house"]
"""The fixture."""


@pytest.fixture(autouse=True)
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let threads write one after the other, since moto is not thread-safe."""
    monkeypatch.setattr(shoot, "_AT_ONCE", 1)
    monkeypatch.setattr(uploads, "_UPLOADS_AT_ONCE", 1)


PATIENCE_SECONDS = 20


def post(house: House, path: str, document: object = None, **headers: str | None) -> Any:
    """Send a request as a page's script does; a header that is None is left out."""
    given: dict[str, str | None] = {
        "Origin": HOME,
        "Sec-Fetch-Site": "same-origin",
        "X-Catwalk-Token": house.access.form_token,
        **headers,
    }
    sent = {name: value for name, value in given.items() if value is not None}
    return house.browser.post(path, content=json.dumps(document or {}), headers=sent)


def selected(*jobs: Job) -> list[dict[str, str]]:
    """Return a selection of jobs with their state on the page."""
    return [{"id": job.job_id, "seen": seen(job)} for job in jobs]


def seen(job: Job) -> str:
    """Return the attempt and review revision of a job, as a page sends them."""
    return f"{job.attempt}.{job.review.revision if job.review else 0}"


def anna(house: House) -> Reviewer:
    """Return another reviewer."""
    aws, jobs = house.aws, house.gallery.jobs
    return Reviewer(
        jobs=jobs,
        announcer=Announcer(EventPublisher(aws.events, BUS), jobs),
        outbox=ReviewOutbox(aws.dynamodb, TABLE),
        by=lambda: "Anna",
    )


def approve(house: House, job: Job) -> Job:
    """Approve a job as Anna."""
    decision = Decision.about(job, ReviewState.APPROVED, chosen=[], refused=[])
    reviewed = anna(house).review(job, decision)
    assert reviewed is not None
    return reviewed


def state(house: House, job: Job) -> tuple[ReviewState | None, str]:
    """Return the review state of a job and its reviewer."""
    now = house.gallery.jobs.get(job.job_id)
    assert now is not None
    return now.review_state, now.review.by if now.review else ""


def requests(house: House) -> list[ModelRequested]:
    """Return the requests that were sent since the last call."""
    read = [
        parse(body, message_id="m", photos_bucket=PHOTOS, vendor_origin=VENDOR)
        for body in house.aws.take(house.aws.queue_url)
    ]
    return [each for each in read if isinstance(each, ModelRequested)]


# --- another page cannot -------------------------------------------------------------------------

POSTS = (
    "/selection/review",
    "/selection/undo",
    "/selection/quote",
    "/selection/shoot",
    "/selection/results.zip",
    "/uploads",
    "/uploads/{list}/check",
    "/uploads/{list}/start",
    "/uploads/{list}/retry",
    "/uploads/{list}/cancel",
)


FOREIGN: tuple[dict[str, str | None], ...] = (
    {"Origin": "http://evil.example", "Sec-Fetch-Site": None},
    {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"},
    {"Origin": "http://127.0.0.1:9999", "Sec-Fetch-Site": "same-site"},
    {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
    {"Origin": None, "Sec-Fetch-Site": None},
    {"X-Catwalk-Token": None},
    {"X-Catwalk-Token": "0" * 64},
    {"X-Catwalk-Token": ""},
)
"""Headers of another page's request, and of one without the token."""


@pytest.mark.parametrize("path", POSTS)
def test_another_page_cannot(house: House, path: str) -> None:
    """Neither another origin nor a script without the token can spend, review or upload."""
    job = house.job(results=2)
    drop = Dropped(house).send(0, "a.jpg", jpeg())
    document = {
        "jobs": selected(job),
        "state": "approved",
        "nonces": post(house, "/selection/quote", {"jobs": selected(job)}).json()["nonces"],
        "credits": 1,
        "files": [0],
    }
    before = list(house.gallery.desk.spool.rglob("*"))
    for headers in FOREIGN:
        answer = post(house, path.replace("{list}", drop.name), document, **headers)
        assert answer.status_code == 403, headers
    assert house.gallery.jobs.get(job.job_id) == job
    assert house.aws.take(house.aws.queue_url) == []
    assert keys(house) == [job.source_key]
    assert list(house.gallery.desk.spool.rglob("*")) == before


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Origin": ""}, {"X-Catwalk-Token": "x"}],
)
def test_another_page_cannot_send_chunks(house: House, headers: dict[str, str]) -> None:
    """Chunks from another page are not stored."""
    drop = Dropped(house)
    sent = {"Origin": HOME, "X-Catwalk-Token": house.access.form_token, **headers}
    address = f"/uploads/{drop.name}/files/0?path=a.jpg&size=1&offset=0"
    assert house.browser.put(address, content=b"x", headers=sent).status_code == 403
    assert drop.received(0) == 0


@pytest.mark.parametrize(
    "path", [*POSTS, "/looks", "/selection/matching", "/jobs/a/compare?with=b"]
)
def test_strangers_get_nothing(house: House, path: str) -> None:
    """Without the session, each request is refused with a message."""
    stranger = Tab(house.browser.app, house.access)
    headers = {"Origin": HOME, "X-Catwalk-Token": house.access.form_token}
    assert stranger.post(path, content="{}", headers=headers).status_code == 403
    assert stranger.get(path).status_code == 403


@pytest.mark.parametrize("path", [path for path in POSTS if "{" not in path])
def test_bodies_have_a_limit(house: House, path: str) -> None:
    """A body above the limit is not read to its end."""
    answer = post(house, path, {"jobs": "x" * 600_000})
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "body", ["", "[]", "{", "[" * 100_000, '{"jobs": {}}', '{"jobs": []}', '{"jobs": [1]}']
)
@pytest.mark.parametrize("path", ["/selection/review", "/selection/quote", "/selection/shoot"])
def test_nonsense_is_refused(house: House, path: str, body: str) -> None:
    """An invalid selection is refused with a sentence, in JSON."""
    headers = {"Origin": HOME, "X-Catwalk-Token": house.access.form_token}
    answer = house.browser.post(path, content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["message"].endswith(".")


@pytest.mark.parametrize("wanted", [None, [], {}, "deleted"])
def test_no_decision_at_all(house: House, wanted: object) -> None:
    """An invalid review state is refused with a sentence."""
    jobs = selected(house.job(results=1))
    answer = post(house, "/selection/review", {"jobs": jobs, "state": wanted})
    assert answer.status_code == 400
    assert answer.json()["message"] == "A job is approved or refused."


def test_too_many_are_refused(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A selection has a maximum size, and the message has the number."""
    monkeypatch.setattr(shoot, "MOST_SELECTED", 2)
    jobs = [{"id": f"{n:032x}", "seen": "1.0"} for n in range(3)]
    answer = post(house, "/selection/review", {"jobs": jobs, "state": "approved"})
    assert answer.json()["message"] == "3 jobs are selected; at most 2 can be handled at once."


# --- choosing ------------------------------------------------------------------------------------


def test_cards_say_what_they_show(house: House) -> None:
    """Each card has a checkbox with the attempt and review revision that the page shows."""
    job = approve(house, house.job(results=2, attempt=3))
    page = house.browser.get("/").text
    assert f'data-pick data-seen="3.{job.review.revision if job.review else ""}"' in page
    assert 'data-images="2"' in page
    assert f"Select {job.source_key and job.source_key.rpartition('/')[2]}" in page


def test_all_that_match(house: House) -> None:
    """All jobs of the page's filter are selected, and no others."""
    wanted = [house.job(results=1, sku="A"), house.job(results=0, sku="A")]
    house.job(sku="B")
    found = house.browser.get("/selection/matching?sku=A").json()
    assert {each["id"]: each["images"] for each in found["jobs"]} == {
        wanted[0].job_id: 1,
        wanted[1].job_id: 0,
    }
    assert found["message"] == "All 2 are selected."


def test_more_than_a_selection_holds(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """If more jobs match than can be selected, the page says so, with the number."""
    monkeypatch.setattr(shoot, "MOST_SELECTED", 2)
    for _ in range(5):
        house.job()
    found = house.browser.get("/selection/matching").json()
    assert len(found["jobs"]) == 2
    assert found["message"] == "The newest 2 of 5 are selected."
    assert (
        house.browser.get("/selection/matching?q=photo").json()["message"]
        == "The newest 2 are selected; there are more."
    )


def test_pages_that_end_early(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """All matching jobs are selected, also if the table returns small pages."""
    jobs = [house.job() for _ in range(3)]
    page = type(house.gallery.browser).page

    def small(browser: Any, which: Any, *, size: int, **how: Any) -> Any:
        return page(browser, which, size=min(size, 1), **how)

    monkeypatch.setattr(type(house.gallery.browser), "page", small)
    found = house.browser.get("/selection/matching").json()
    assert {each["id"] for each in found["jobs"]} == {job.job_id for job in jobs}
    assert found["message"] == "All 3 are selected."


# --- reviewing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("decision", [ReviewState.APPROVED, ReviewState.REFUSED])
def test_many_are_reviewed_at_once(house: House, decision: ReviewState) -> None:
    """Each selected job is approved or refused under the reviewer's name."""
    jobs = [house.job(results=2) for _ in range(3)]
    answer = post(house, "/selection/review", {"jobs": selected(*jobs), "state": decision}).json()
    assert answer["message"] == f"3 {decision}."
    assert answer["whole"] is True
    assert [state(house, job) for job in jobs] == [(decision, "anna")] * 3


def test_marks_of_images_stay(house: House) -> None:
    """Approving many jobs keeps their chosen images."""
    job = house.job(results=3)
    marked = anna(house).review(job, Decision(ReviewState.TO_REVIEW, chosen=(2,), refused=(3,)))
    assert marked is not None
    post(house, "/selection/review", {"jobs": selected(marked), "state": "approved"})
    now = house.gallery.jobs.get(job.job_id)
    assert now is not None
    assert now.review is not None
    assert (now.review.chosen, now.review.refused) == ((2,), (3,))


def test_what_another_decided_is_told_and_kept(house: House) -> None:
    """Of two simultaneous reviews the first stays, and the second reviewer is told."""
    jobs = [house.job(results=1) for _ in range(4)]
    shown = selected(*jobs)
    for job in jobs[:2]:
        approve(house, job)
    answer = post(house, "/selection/review", {"jobs": shown, "state": "refused"}).json()
    assert answer["message"] == ("2 refused. Anna approved 2 of them in the meantime; look again.")
    assert answer["whole"] is False
    assert [state(house, job)[0] for job in jobs] == [
        ReviewState.APPROVED,
        ReviewState.APPROVED,
        ReviewState.REFUSED,
        ReviewState.REFUSED,
    ]
    assert {each["id"]: each["seen"] for each in answer["left"]} == {
        jobs[0].job_id: "1.1",
        jobs[1].job_id: "1.1",
    }
    again = post(house, "/selection/review", {"jobs": answer["left"], "state": "refused"}).json()
    assert again["whole"] is True, "who has looked again decides by what they see now"


def test_a_race_in_the_last_moment(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A review that another one overtakes between read and write is reported, too."""
    job = house.job(results=1)
    some = house.gallery.browser.some

    def overtaken(ids: Any) -> dict[str, Job]:
        found = some(ids)
        approve(house, job)
        return found

    monkeypatch.setattr(type(house.gallery.browser), "some", lambda _, ids: overtaken(ids))
    answer = post(house, "/selection/review", {"jobs": selected(job), "state": "refused"}).json()
    assert answer["message"] == (
        "None refused. Anna approved 1 of them in the meantime; look again."
    )
    assert state(house, job) == (ReviewState.APPROVED, "Anna")


def test_a_race_and_a_broken_connection(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was saved of many is said, also if AWS then does not say who was faster with one."""
    first, second = house.job(results=1), house.job(results=1)
    review = house.gallery.jobs.review

    def raced(job: Job, decided: Any) -> Job | None:
        return None if job.job_id == second.job_id else review(job, decided)

    def breaks(_: str) -> Job | None:
        raise EndpointConnectionError(endpoint_url="dynamodb")

    monkeypatch.setattr(house.gallery.jobs, "review", raced)
    monkeypatch.setattr(house.gallery.jobs, "get", breaks)
    document = {"jobs": selected(first, second), "state": "approved"}
    answer = post(house, "/selection/review", document).json()
    assert answer["message"].startswith("1 approved. 1 could not be saved: ")
    assert [each["id"] for each in answer["left"]] == [second.job_id]


def test_a_replica_that_lags_does_not_pass_for_the_record(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decision goes by the record, not by a copy of it that is some moments old."""
    job = approve(house, house.job(results=1))
    read = house.aws.dynamodb.batch_get_item

    def replica(**asked: Any) -> Any:
        consistent = asked["RequestItems"][TABLE].get("ConsistentRead", False)
        return read(**asked) if consistent else old

    keys = [{"pk": {"S": f"JOB#{job.job_id}"}}]
    old = read(RequestItems={TABLE: {"Keys": keys}})
    refusal = Decision.about(job, ReviewState.REFUSED, chosen=[], refused=[])
    assert anna(house).review(job, refusal) is not None
    monkeypatch.setattr(house.aws.dynamodb, "batch_get_item", replica)
    answer = post(house, "/selection/review", {"jobs": selected(job), "state": "approved"}).json()
    assert answer["message"] == "None approved. Anna refused 1 of them in the meantime; look again."


def undo(house: House, entries: object) -> Any:
    """Send what a decision was answered with, as the page's Undo does."""
    return post(house, "/selection/undo", {"jobs": entries})


def test_a_decision_of_many_is_undone(house: House) -> None:
    """Undo brings back each review as it was: none, marks alone, or another decision."""
    fresh, marked, approved = (house.job(results=2) for _ in range(3))
    decision = Decision.about(marked, ReviewState.TO_REVIEW, chosen=[2], refused=[1])
    marked = anna(house).review(marked, decision) or marked
    approved = approve(house, approved)
    document = {"state": "refused", "jobs": selected(fresh, marked, approved)}
    answer = post(house, "/selection/review", document).json()
    assert answer["message"] == "3 refused."
    assert undo(house, answer["undo"]).json()["message"] == "3 undone."
    assert state(house, fresh)[0] is ReviewState.TO_REVIEW
    assert state(house, approved)[0] is ReviewState.APPROVED
    now = house.gallery.jobs.get(marked.job_id)
    assert now is not None
    assert now.review is not None
    assert (now.review.state, now.review.chosen) == (ReviewState.TO_REVIEW, (2,))
    assert now.review.revision == 3


def test_undo_leaves_what_somebody_else_decided(house: House) -> None:
    """A decision that came after the one to be undone stays, and is told."""
    jobs = [house.job(results=1) for _ in range(2)]
    document = {"state": "refused", "jobs": selected(*jobs)}
    answer = post(house, "/selection/review", document).json()
    now = house.gallery.jobs.get(jobs[0].job_id)
    assert now is not None
    approve(house, now)
    undone = undo(house, answer["undo"]).json()
    assert undone["message"] == "1 undone. Anna approved 1 of them in the meantime; look again."
    assert state(house, jobs[0]) == (ReviewState.APPROVED, "Anna")
    assert state(house, jobs[1])[0] is ReviewState.TO_REVIEW


def test_an_undone_decision_is_told_as_reopened(house: House) -> None:
    """Who comes after an undo hears that the job was reopened, not that images were marked."""
    job = approve(house, house.job(results=1))
    decision = Decision.about(job, ReviewState.TO_REVIEW, chosen=[], refused=[])
    assert anna(house).review(job, decision) is not None
    document = {"state": "refused", "jobs": selected(job)}
    told = post(house, "/selection/review", document).json()["message"]
    assert "Anna reopened 1 of them in the meantime" in told
    assert "Reopened by Anna" in house.browser.get(f"/jobs/{job.job_id}").text


def test_what_changed_nothing_has_no_undo(house: House) -> None:
    """A job that was approved already is not opened again by Undo."""
    job = approve(house, house.job(results=1))
    document = {"state": "approved", "jobs": selected(job)}
    assert post(house, "/selection/review", document).json()["undo"] == []


@pytest.mark.parametrize(
    "earlier",
    [
        {},
        {"state": "approved"},
        {"state": "gone", "chosen": [], "refused": []},
        {"state": [], "chosen": [], "refused": []},
        {"state": "approved", "chosen": ["1"], "refused": []},
        {"state": "approved", "chosen": [True], "refused": []},
    ],
)
def test_an_undo_of_nothing(house: House, earlier: dict[str, object]) -> None:
    """What is no earlier review changes nothing."""
    job = house.job(results=1)
    assert undo(house, [{**selected(job)[0], **earlier}]).status_code == 400
    assert state(house, job) == (ReviewState.TO_REVIEW, "")


def test_what_cannot_be_reviewed_is_said(house: House) -> None:
    """A job without images, one that is gone and a new attempt are named, each by its reason."""
    empty = house.job(status=JobStatus.FAILED)
    moved = house.job(results=1, attempt=2)
    good = house.job(results=1)
    jobs = [
        *selected(empty, good),
        {"id": moved.job_id, "seen": "1.0"},
        {"id": "f" * 32, "seen": "1.0"},
    ]
    answer = post(house, "/selection/review", {"jobs": jobs, "state": "approved"}).json()
    assert answer["message"] == (
        "1 approved. 1 has no images to review. 1 has a new attempt; look again. 1 is gone."
    )
    assert post(house, "/selection/review", {"jobs": jobs, "state": "to_review"}).status_code == 400


# --- shooting again ------------------------------------------------------------------------------


def ask(house: House, path: str, *jobs: Job, **more: object) -> Any:
    """Send a choice of the dialog."""
    document = {"jobs": selected(*jobs), "dialog": "one", "model": "004", **more}
    return post(house, path, document)


def confirm(house: House, quote: Any, *jobs: Job, **more: object) -> Any:
    """Send the dialog's form as the page does: with the price and the nonces of its quote."""
    said = {"credits": quote["credits"], "nonces": quote["nonces"]}
    return ask(house, "/selection/shoot", *jobs, **{**said, **more})


def shot_with(house: House, job: Job, model: str, **changes: Any) -> Job:
    """Write another job of a job's photo, as SubmitFunction makes it."""
    assert job.settings is not None
    settings = job.settings.model_copy(update={"model_id": model})
    same = {"photo": job.photo, "source_key": job.source_key, "sku": job.sku}
    return house.job(**same, settings=settings, **{"results": 1, **changes})


def test_the_price_comes_first(house: House) -> None:
    """The dialog says how many photos, which model and which price before anything is sent."""
    jobs = [house.job(results=1) for _ in range(10)]
    quote = ask(house, "/selection/quote", *jobs).json()
    assert (quote["sentence"], quote["price"]) == ("10 photos with Mia", "10 credits")
    assert requests(house) == []
    sent = confirm(house, quote, *jobs).json()
    assert (
        sent["message"]
        == "10 photos with Mia: under way. The new images come in beside the present ones."
    )
    assert len(requests(house)) == 10


def test_a_second_click_is_no_second_job(house: House) -> None:
    """The same form sent twice asks for the same jobs."""
    job = house.job(results=1)
    quote = ask(house, "/selection/quote", job).json()
    for _ in range(2):
        assert confirm(house, quote, job).status_code == 200
    first, second = requests(house)
    assert first.request_id == second.request_id


def test_two_tabs_are_paid_once(house: House) -> None:
    """Two people who were quoted the same photo send the same request, whichever job they chose."""
    clara = house.job(results=1)
    jamila = shot_with(house, clara, "003")
    mine = ask(house, "/selection/quote", clara, dialog="mine").json()
    other = ask(house, "/selection/quote", jamila, dialog="other").json()
    assert confirm(house, mine, clara, dialog="mine").status_code == 200
    assert confirm(house, other, jamila, dialog="other").status_code == 200
    first, second = requests(house)
    assert first.request_id == second.request_id
    assert first.variants == second.variants
    shot_with(house, clara, "004", request_id=first.request_id)
    late = confirm(house, other, jamila, dialog="other")
    assert late.json()["message"].startswith("1 photo with Mia: shot already")
    assert requests(house) == [], "its job is there"


def test_a_rejected_shot_is_not_said_to_be_shot(house: House) -> None:
    """A form that is sent again after its shot was rejected is told why, and that it is free."""
    clara = house.job(results=1)
    quote = ask(house, "/selection/quote", clara).json()
    confirm(house, quote, clara)
    (request,) = requests(house)
    error = JobError(code=ErrorCode.PHOTO_MISSING, message="The photo is gone.")
    rejected = {"status": JobStatus.REJECTED, "error": error, "results": 0}
    shot_with(house, clara, "004", request_id=request.request_id, **rejected)
    answer = confirm(house, quote, clara).json()
    assert answer["message"] == (
        "1 photo with Mia: sent already. It was rejected: The photo is gone."
        " Nothing was charged for that."
    )
    assert requests(house) == []


def test_rejected_shots_are_told_among_others(house: House) -> None:
    """Of a form that is sent again, each reason of a rejection is told, beside what goes on."""
    jobs = [house.job(results=1) for _ in range(4)]
    quote = ask(house, "/selection/quote", *jobs).json()
    confirm(house, quote, *jobs)
    sent = requests(house)
    errors = (
        JobError(code=ErrorCode.PHOTO_MISSING, message="The photo is gone."),
        JobError(code=ErrorCode.EMPTY_FILE, message="The photo is empty."),
    )
    for job, request, error in zip(jobs, sent, errors, strict=False):
        rejected = {"status": JobStatus.REJECTED, "error": error, "results": 0}
        shot_with(house, job, "004", request_id=request.request_id, **rejected)
    shot_with(house, jobs[2], "004", request_id=sent[2].request_id)
    told = (
        " 1 of them was rejected: The photo is gone. 1 of them was rejected: The photo is empty."
        " Nothing was charged for these."
    )
    some = confirm(house, quote, *jobs).json()["message"]
    assert (
        some
        == f"4 photos with Mia: under way. The new images come in beside the present ones.{told}"
    )
    (last,) = requests(house)
    shot_with(house, jobs[3], "004", request_id=last.request_id)
    every = confirm(house, quote, *jobs).json()["message"]
    assert every == f"4 photos with Mia: sent already.{told}"


def test_who_was_told_gets_other_images(house: House) -> None:
    """A person who has read that the photo was shot like this before gets a new job, once."""
    job = house.job(results=1)
    shot_with(house, job, "004", request_id="shoot-first")
    quote = ask(house, "/selection/quote", job).json()
    assert quote["already"].startswith("This photo was shot with these settings before.")
    for _ in range(2):
        assert confirm(house, quote, job).status_code == 200
    first, second = requests(house)
    assert first.request_id == second.request_id != "shoot-first"


def test_two_articles_of_one_photo_are_two_requests(house: House) -> None:
    """A request stands for one SKU: another one would be rejected under the same id."""
    jobs = [house.job(source_key="a.jpg", sku=sku, results=1) for sku in ("S-1", "S-2")]
    for job in jobs:
        confirm(house, ask(house, "/selection/quote", job, dialog=job.job_id).json(), job)
    first, second = requests(house)
    assert (first.sku, second.sku) == ("S-1", "S-2")
    assert first.request_id != second.request_id


def test_the_same_photo_is_shot_once(house: House) -> None:
    """Two looks of a photo that get the same settings make one new job."""
    photo = {"source_key": "summer/dress.jpg"}
    clara = house.job(**photo, results=1)
    jamila = house.job(
        **photo,
        results=1,
        settings=Settings(model_id="003", scene_type=SceneType.ORIGINAL, batch_size=4),
    )
    quote = ask(house, "/selection/quote", clara, jamila).json()
    assert quote["price"] == "1 credit"
    assert quote["once"].endswith("Each photo is shot once.")
    confirm(house, quote, clara, jamila)
    assert len(requests(house)) == 1


def test_what_another_shot_in_the_meantime_is_not_paid_twice_unseen(house: House) -> None:
    """If the look was made in another way since the quote, the person is asked again."""
    job = house.job(results=1)
    look = {"model": "044"}
    quoted = ask(house, "/selection/quote", job, **look).json()
    assert quoted["already"] == ""
    shot_with(house, job, "044")
    answer = confirm(house, quoted, job, **look)
    assert answer.status_code == 409
    assert answer.json()["message"].startswith("Somebody has shot it with these settings")
    assert answer.json()["already"] != ""
    assert requests(house) == []
    # The dialog goes on with what it was told: another look and back is quoted anew.
    ask(house, "/selection/quote", job, model="003")
    again = ask(house, "/selection/quote", job, **look).json()
    assert again["nonces"] == answer.json()["nonces"] != quoted["nonces"]
    assert confirm(house, answer.json(), job, **look).status_code == 200
    assert len(requests(house)) == 1


def test_a_lost_answer_is_sent_again(house: House) -> None:
    """A form that is sent again is not held up by the job that it made, nor makes another."""
    jobs = [house.job(results=1), house.job(results=1)]
    quote = ask(house, "/selection/quote", *jobs).json()
    assert confirm(house, quote, *jobs).status_code == 200
    first = requests(house)[0]
    made = next(job for job in jobs if job.source_key == first.photo.key)
    shot_with(house, made, "004", request_id=first.request_id)
    again = confirm(house, quote, *jobs)
    assert again.json()["message"].startswith("2 photos with Mia: under way.")
    (second,) = requests(house)
    assert second.photo.key != first.photo.key


def test_another_price_spends_nothing(house: House) -> None:
    """If fewer photos can be shot than the dialog said, nothing is sent, and it says so."""
    jobs = [house.job(results=1), house.job(results=1)]
    quote = ask(house, "/selection/quote", *jobs).json()
    house.aws.s3.delete_object(Bucket=PHOTOS, Key=jobs[0].source_key or "")
    answer = confirm(house, quote, *jobs)
    assert answer.status_code == 409
    assert answer.json()["message"] == "It costs 1 credit by now; nothing was done."
    assert "is not in photos" in answer.json()["refused"][0]["why"]
    assert requests(house) == []
    for price in (None, "1", 0):
        assert confirm(house, answer.json(), *jobs, credits=price).status_code == 409
    assert requests(house) == []


def test_none_can_be_shot(house: House) -> None:
    """A photo that is gone costs nothing and sends nothing."""
    job = house.job(results=1, photo=Photo(bucket=PHOTOS, key="gone.jpg", etag="e"))
    assert confirm(house, {"credits": 0, "nonces": {}}, job).status_code == 409
    assert ask(house, "/selection/quote", job).json()["photos"] == 0
    gone = post(house, "/selection/quote", {"jobs": [{"id": "a" * 32}]})
    assert gone.json()["message"] == "None of these jobs exists any more."


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"scene": "preset"}, "needs sceneId"),
        ({"scene": "color:red"}, "must look like"),
        ({"images": "9"}, "1 to 4"),
    ],
)
def test_bad_choices_are_said(house: House, choice: dict[str, str], said: str) -> None:
    """An invalid look is refused before anything is sent."""
    job = house.job(results=1)
    quote = ask(house, "/selection/quote", job, **choice).json()
    assert said in quote["refused"][0]["why"]
    assert quote["credits"] == 0


@pytest.mark.parametrize(
    "choice", [{"images": "two"}, {"model": 4}, {"scene": "x" * 65}, {"model": "\ud800"}]
)
def test_no_choice_at_all(house: House, choice: dict[str, object]) -> None:
    """An invalid form is refused."""
    assert ask(house, "/selection/quote", house.job(results=1), **choice).status_code == 422


@pytest.mark.parametrize("nonces", [None, [], {}, {"x": 1}, "n" * 32])
def test_no_quote_no_job(house: House, nonces: object) -> None:
    """Nothing is sent without the nonce of a quote of this photo with this look."""
    job = house.job(results=1)
    assert confirm(house, {"credits": 1, "nonces": nonces}, job).status_code == 409
    other = ask(house, "/selection/quote", job, model="003").json()
    assert confirm(house, other, job).status_code == 409
    assert requests(house) == []


def test_a_broken_connection_says_how_many(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """If AWS fails halfway, the person learns how many were sent and may send again."""
    jobs = [house.job(results=1) for _ in range(3)]
    send, count = house.aws.sqs.send_message, [0]

    def breaks(**message: Any) -> Any:
        count[0] += 1
        if count[0] == 2:
            raise EndpointConnectionError(endpoint_url="sqs")
        return send(**message)

    monkeypatch.setattr(house.aws.sqs, "send_message", breaks)
    quote = ask(house, "/selection/quote", *jobs).json()
    answer = confirm(house, quote, *jobs)
    assert answer.status_code == 502
    assert answer.json()["message"].startswith("1 of 3 photos were sent, then AWS said: ")
    assert confirm(house, quote, *jobs).status_code == 200
    assert len({each.request_id for each in requests(house)}) == 3


def test_examples_of_looks(house: House) -> None:
    """Models and scenes are shown by the newest images that were made with them."""
    house.job(results=1)
    house.job(
        results=1,
        settings=Settings(
            model_id="004", scene_type=SceneType.PRESET, scene_id="035", batch_size=1
        ),
    )
    house.job(status=JobStatus.FAILED)
    pictures = house.browser.get("/looks").json()
    assert set(pictures) == {"002", "004", "original", "preset:035"}
    assert house.browser.get(pictures["004"]).headers["content-type"] == "image/webp"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, ""),
        ({"modelId": "003", "sceneType": "none"}, " with Jamila, cut out"),
        ({"modelId": "private-1"}, " with private-1"),
        ({"sceneType": "original"}, " on their own background"),
        ({"sceneType": "preset", "sceneId": "035"}, " in scene 035"),
        ({"sceneType": "color", "color": "#ff0000"}, " on #ff0000"),
    ],
)
def test_looks_have_names(values: dict[str, str], said: str) -> None:
    """The dialog uses names, not codes."""
    assert looks.phrase(values) == said


# --- comparing and taking away -------------------------------------------------------------------


def test_also_shot_with(house: House) -> None:
    """A job's page leads to the other looks of its photo, and to a comparison."""
    photo = {"source_key": "summer/dress.jpg"}
    clara = house.job(**photo, results=2)
    mia = house.job(
        **photo,
        results=1,
        settings=Settings(model_id="004", scene_type=SceneType.ORIGINAL, batch_size=1),
    )
    cut = house.job(
        **photo,
        status=JobStatus.RUNNING,
        settings=Settings(model_id="002", scene_type=SceneType.NONE, batch_size=1),
    )
    other = house.job(results=1)
    page = house.browser.get(f"/jobs/{clara.job_id}").text
    assert f'/jobs/{mia.job_id}">Mia</a>' in page
    assert f'/jobs/{cut.job_id}">Clara · Cut out</a>' in page
    assert other.job_id not in page
    compare = f"/jobs/{clara.job_id}/compare?with={mia.job_id}"
    assert compare in page
    shown = house.browser.get(compare).text
    assert shown.count("data-shown") == 2
    assert "Mia · Own background" in shown
    assert "Also shot with" not in house.browser.get(f"/jobs/{other.job_id}").text


def test_both_sides_of_a_comparison_are_reviewed(house: House) -> None:
    """Each side says what was decided, and has the form of its job with the revision it shows."""
    clara, mia = house.job(results=2), approve(house, house.job(results=2))
    running = house.job(status=JobStatus.RUNNING, progress=5)
    shown = house.browser.get(f"/jobs/{clara.job_id}/compare?with={mia.job_id}").text
    left, right = shown.split("<figure")[1:]
    assert f'action="{house.access.root}/jobs/{clara.job_id}/review"' in left
    assert f'action="{house.access.root}/jobs/{mia.job_id}/review"' in right
    assert ('name="revision" value="0"' in left, 'name="revision" value="1"' in right) == (
        True,
    ) * 2
    assert ">Done<" in left
    assert ">Approved<" in right
    assert "Approved by Anna" in right
    assert house.access.form_token in left
    other = house.browser.get(f"/jobs/{clara.job_id}/compare?with={running.job_id}").text
    assert other.count("data-review") == 1


@pytest.mark.parametrize("other", ["", "f" * 32, "../x", NASTY])
def test_nothing_to_compare_with(house: House, other: str) -> None:
    """A comparison with an unknown job says so, and shows its id without markup."""
    job = house.job(results=1)
    answer = house.browser.get(f"/jobs/{job.job_id}/compare", params={"with": other})
    assert answer.status_code in {200, 400, 404}
    assert "<script>alert" not in answer.text


def test_a_job_is_not_compared_with_itself(house: House) -> None:
    """A comparison of one job says that it needs another: the page has two sides."""
    job = house.job(results=1)
    for other in (job.job_id, ""):
        answer = house.browser.get(f"/jobs/{job.job_id}/compare", params={"with": other})
        assert answer.status_code == 400
        assert "data-side" not in answer.text


def test_selection_as_a_zip(house: House) -> None:
    """The images of the selected jobs come as one zip, and of no others."""
    jobs = [house.job(results=2), house.job(results=1, sku="S-2")]
    house.job(results=1, sku="S-3")
    form = {"token": house.access.form_token, "jobs": ",".join(job.job_id for job in jobs)}
    headers = {"Origin": HOME}
    answer = house.browser.post("/selection/results.zip", data=form, headers=headers)
    assert answer.headers["content-disposition"] == 'attachment; filename="catwalk-2-selected.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.content)) as zipped:
        assert len(zipped.namelist()) == 3
        assert not any("S-3" in name for name in zipped.namelist())
    empty = {**form, "jobs": house.job(status=JobStatus.FAILED).job_id}
    refused = house.browser.post("/selection/results.zip", data=empty, headers=headers)
    assert refused.status_code == 400
    assert "none of these photos has images" in refused.text


# --- photos that are dropped ---------------------------------------------------------------------


class Dropped:
    """An upload list, sent as the page does."""

    def __init__(self, house: House) -> None:
        """Begin a list."""
        self.house = house
        answer = post(house, "/uploads")
        assert answer.status_code == 200, answer.text
        self.name = answer.json()["list"]

    def chunk(
        self, number: int, path: str, body: bytes, *, offset: int = 0, size: int | None = None
    ) -> Any:
        """Send a piece of a file."""
        return self.house.browser.put(
            f"/uploads/{self.name}/files/{number}",
            params={
                "path": path,
                "size": str(len(body) if size is None else size),
                "offset": str(offset),
            },
            content=body,
            headers={"Origin": HOME, "X-Catwalk-Token": self.house.access.form_token},
        )

    def send(self, number: int, path: str, body: bytes) -> "Dropped":
        """Send a whole file."""
        answer = self.chunk(number, path, body)
        assert answer.status_code == 200, answer.text
        return self

    def received(self, number: int) -> int:
        """Return how much of a file has arrived."""
        said: int = self.house.browser.get(f"/uploads/{self.name}/files/{number}").json()[
            "received"
        ]
        return said

    def do(self, what: str, *numbers: int, **more: object) -> Any:
        """Check or start the list."""
        return post(self.house, f"/uploads/{self.name}/{what}", {"files": list(numbers), **more})

    def finish(self, *numbers: int, **more: object) -> dict[str, Any]:
        """Start, and wait until all is uploaded or failed."""
        answer = self.do("start", *numbers, **more)
        assert answer.status_code == 200, answer.text
        return self.wait()

    def wait(self) -> dict[str, Any]:
        """Wait until nothing is being uploaded."""
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            now: dict[str, Any] = self.house.browser.get(f"/uploads/{self.name}").json()
            if not now["busy"]:
                return now
            assert time.monotonic() < until, now
            time.sleep(0.02)


def keys(house: House) -> list[str]:
    """Return the keys in the bucket."""
    found = house.aws.s3.list_objects_v2(Bucket=PHOTOS).get("Contents", [])
    return [each["Key"] for each in found]


def test_photos_are_checked_and_uploaded(house: House) -> None:
    """Photos go into the bucket with folder, SKU and look, and nothing does before the start."""
    drop = Dropped(house).send(0, "dress.jpg", jpeg()).send(1, "skirt.png", png())
    choice: dict[str, object] = {
        "folder": "/summer/",
        "sku": "S-7",
        "skus": {"1": "Rock-Ä"},
        "model": "004",
        "scene": "preset:035",
        "images": "2",
    }
    checked = drop.do("check", 0, 1, **choice).json()
    assert checked["sentence"] == "2 photos: up to 2 credits"
    assert [row["look"] for row in checked["rows"]] == ["Mia · Scene 035 · 2 images"] * 2
    assert keys(house) == []
    done = drop.finish(0, 1, **choice, credits=2)
    assert (done["done"], done["sentence"]) == (True, "2 of 2 photos uploaded.")
    assert keys(house) == ["summer/dress.jpg", "summer/skirt.png"]
    stored = house.aws.s3.get_object(Bucket=PHOTOS, Key="summer/dress.jpg")
    assert stored["Body"].read() == jpeg()
    assert stored["ContentType"] == "image/jpeg"
    assert stored["Metadata"] == {
        "model-id": "004",
        "scene-type": "preset",
        "scene-id": "035",
        "batch-size": "2",
        "sku": "S-7",
    }
    skirt = house.aws.s3.head_object(Bucket=PHOTOS, Key="summer/skirt.png")
    assert skirt["Metadata"]["sku"].startswith("=?utf-8?b?")
    assert list(house.gallery.desk.spool.iterdir()) == [], "nothing is left on this machine"


def test_what_would_be_rejected_is_said_first(house: House) -> None:
    """Each file is checked as SubmitFunction would; the others can be started."""
    drop = (
        Dropped(house)
        .send(0, "good.jpg", jpeg())
        .send(1, "empty.jpg", b"")
        .send(2, "text.jpg", b"hello")
        .send(3, ".hidden.jpg", jpeg())
        .send(4, "good.jpg", png())
        .send(5, "two.jpg", jpeg(fill=1))
        .send(6, "two.mask.png", png(WIDTH + 1, HEIGHT))
    )
    checked = drop.do("check", *range(7)).json()
    problems = {row["number"]: row["problem"] for row in checked["rows"]}
    assert problems[0] == ""
    assert "is empty (0 bytes)" in problems[1]
    assert "neither JPEG nor PNG inside" in problems[2]
    assert "starts with a dot" in problems[3]
    assert "same name" in problems[4]
    assert "they must be the same" in problems[5]
    assert (checked["photos"], checked["rejected"], checked["credits"]) == (1, 5, 1)
    drop.finish(*range(7), credits=1)
    assert keys(house) == ["good.jpg", "two.mask.png"]


def test_too_long_a_key_is_told_of_its_file_alone(house: House) -> None:
    """A name that is too long with its folder keeps no other photo from being uploaded.

    A `catwalk.json` that is left out for it does not count for the price of the others.
    """
    three = {"variants": [{"modelId": "001"}, {"modelId": "002"}, {"modelId": "003"}]}
    drop = Dropped(house).send(0, f"{'b' * 30}.jpg", jpeg()).send(1, "c.jpg", jpeg())
    drop.send(2, "catwalk.json", json.dumps(three).encode())
    folder = "d" * (1024 - len("/c.jpg"))
    checked = drop.do("check", 0, 1, 2, folder=folder).json()
    problems = [row["problem"] for row in checked["rows"]]
    assert problems == [
        "Its name and folder are longer than 1024 bytes.",
        "",
        "Its name and folder are longer than 1024 bytes.",
    ]
    assert (checked["photos"], checked["credits"], checked["rejected"]) == (1, 1, 2)


def test_too_large_a_photo_is_not_kept_whole(house: House) -> None:
    """A file above the limit is known by its first bytes; the rest is not even sent."""
    size = 50_000_000_000
    head = jpeg(fill=uploads.MOST_CHUNK_BYTES // 2)
    drop = Dropped(house)
    answer = drop.chunk(0, "huge.jpg", head, size=size)
    assert answer.json()["received"] == size
    (row,) = drop.do("check", 0).json()["rows"]
    assert "50,000,000,000 bytes; at most 1,000,000 are allowed" in row["problem"]
    spooled = next(house.gallery.desk.spool.glob("*/*"))
    assert spooled.stat().st_blocks * 512 < 2 * len(head)


def test_chunks_go_on_where_they_broke_off(house: House) -> None:
    """A repeated or misplaced chunk changes nothing, and the answer has the next position."""
    body = jpeg(fill=3_000)
    drop = Dropped(house)
    assert drop.chunk(0, "a.jpg", body[:1000], size=len(body)).json()["received"] == 1000
    for offset in (0, 500, 2000):
        answer = drop.chunk(0, "a.jpg", body[offset:], offset=offset, size=len(body))
        assert (answer.status_code, answer.json()["received"]) == (409, 1000)
    assert drop.do("check", 0).status_code == 409
    assert drop.received(0) == 1000
    drop.chunk(0, "a.jpg", body[1000:], offset=1000, size=len(body))
    drop.finish(0, credits=1)
    stored = house.aws.s3.get_object(Bucket=PHOTOS, Key="a.jpg")["Body"].read()
    assert stored == body


def test_more_than_was_said_is_refused(house: House) -> None:
    """A chunk or file that is longer than announced is refused; earlier chunks are kept."""
    drop = Dropped(house)
    assert drop.chunk(0, "a.jpg", b"12345", size=3).status_code == 400
    big = b"x" * (uploads.MOST_CHUNK_BYTES + 1)
    assert drop.chunk(1, "b.jpg", big, size=2 * len(big)).status_code == 413
    folder_file = drop.chunk(2, "summer/catwalk.json", b"{}", size=10**9)
    assert "make it shorter" in folder_file.json()["message"]
    assert drop.chunk(uploads.MOST_FILES, "c.jpg", b"x").status_code == 400
    for size in ("-1", "x", "9" * 30, ""):
        answer = house.browser.put(
            f"/uploads/{drop.name}/files/3?path=a&size={size}&offset=0",
            headers={"Origin": HOME, "X-Catwalk-Token": house.access.form_token},
        )
        assert answer.status_code == 400


@pytest.mark.parametrize(
    "path", ["", "/", "../a.jpg", "a/../b.jpg", "a//b.jpg", "./a", "a\n.jpg", "é" * 600]
)
def test_names_that_cannot_be(house: House, path: str) -> None:
    """A file's name never becomes a path on this machine."""
    answer = Dropped(house).chunk(0, path, jpeg())
    assert answer.status_code == 422
    assert answer.json()["message"].endswith("cannot be a name in the bucket.")
    assert list(house.gallery.desk.spool.glob("*/*")) == []


def test_no_room_is_said(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """With too little disk space, an upload is refused."""
    monkeypatch.setattr(uploads, "_ROOM_BYTES", 10**18)
    answer = Dropped(house).chunk(0, "a.jpg", jpeg())
    assert answer.status_code == 507
    assert "There is no room for 'a.jpg'" in answer.json()["message"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is full")
def test_a_disk_that_gets_full_is_said(house: House) -> None:
    """A chunk that cannot be written does not count as received, and the answer says why."""
    drop = Dropped(house)
    assert drop.chunk(0, "a.jpg", b"", size=len(jpeg())).status_code == 200
    (spooled,) = house.gallery.desk.spool.glob("*/*")
    spooled.unlink()
    spooled.symlink_to("/dev/full")
    answer = drop.chunk(0, "a.jpg", jpeg())
    assert answer.status_code == 507
    assert answer.json()["message"].startswith("'a.jpg' cannot be kept on this machine: No space")
    assert drop.received(0) == 0


def test_what_is_there_already_is_said(house: House) -> None:
    """The check says whether a name is taken, and whether by the same photo."""
    house.aws.s3.put_object(Bucket=PHOTOS, Key="s/same.jpg", Body=jpeg())
    house.aws.s3.put_object(Bucket=PHOTOS, Key="s/other.jpg", Body=png())
    drop = Dropped(house)
    for number, name in enumerate(("same.jpg", "other.jpg", "new.jpg")):
        drop.send(number, name, jpeg())
    said = [row["exists"] for row in drop.do("check", 0, 1, 2, folder="s").json()["rows"]]
    assert said[0].startswith("It is in the bucket already.")
    assert said[1] == "Another file of this name is in the bucket; it would be replaced."
    assert said[2] == ""


def test_a_folder_with_its_settings(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dropped folder keeps its structure; its catwalk.json is priced, and uploaded first."""
    variants = {"variants": [{"modelId": "001"}, {"modelId": "002"}, {"modelId": "003"}]}
    drop = (
        Dropped(house)
        .send(0, "summer/a.jpg", jpeg())
        .send(1, "summer/catwalk.json", json.dumps(variants).encode())
    )
    checked = drop.do("check", 0, 1).json()
    assert checked["sentence"] == "1 photo and 1 other file: up to 3 credits"
    assert checked["rows"][0]["look"] == "Antonia · Own background · 4 images, and 2 other looks"
    put, order = house.aws.s3.put_object, []

    def noted(**what: Any) -> Any:
        order.append((what["Key"], what["ContentType"]))
        return put(**what)

    monkeypatch.setattr(house.aws.s3, "put_object", noted)
    drop.finish(0, 1, credits=3)
    assert order == [("summer/catwalk.json", "application/json"), ("summer/a.jpg", "image/jpeg")]


def test_a_broken_folder_file_is_named_as_the_person_knows_it(house: House) -> None:
    """Messages name the dropped file, not its temporary copy."""
    drop = Dropped(house).send(0, "s/a.jpg", jpeg()).send(1, "s/catwalk.json", b"{")
    said = drop.do("check", 0, 1).json()["message"]
    assert said.startswith("s/catwalk.json cannot be used: ")
    assert str(house.gallery.desk.spool) not in said
    assert drop.do("start", 0, 1, credits=1).status_code == 400
    assert keys(house) == []


def test_articles_from_file_names(house: House) -> None:
    """A pattern takes SKUs from names; a SKU that is typed for a photo has priority."""
    drop = Dropped(house)
    for number, name in enumerate(("A-1_front.jpg", "in/A-2_back.jpg", "plain.jpg", "A-3_x.jpg")):
        drop.send(number, name, jpeg())
    choice: dict[str, object] = {"sku": "{sku}_*", "skus": {"3": "B-9"}}
    rows = drop.do("check", 0, 1, 2, 3, **choice).json()["rows"]
    assert [row["sku"] for row in rows] == ["A-1", "A-2", "", "B-9"]
    drop.finish(0, 1, 2, 3, **choice, credits=4)
    stored = house.aws.s3.head_object(Bucket=PHOTOS, Key="in/A-2_back.jpg")["Metadata"]
    assert stored == {"sku": "A-2"}
    wrong = drop.do("check", 0, sku="{sk}_*").json()["message"]
    assert wrong.startswith("'{sk}_*' does not say where the SKU is. Write {sku} once")


@pytest.mark.parametrize(
    ("choice", "status", "said"),
    [
        ({"model": "cIara"}, 400, "Did you mean '002' (Clara)?"),
        ({"sku": "x" * 257}, 422, "at most 256 characters"),
        ({"sku": "a\ud800"}, 422, "cannot be printed"),
        ({"skus": {"0": "a\nb"}}, 422, "cannot be printed"),
        ({"folder": "a/../b"}, 422, "cannot be a name"),
        ({"folder": 1}, 422, "folder"),
        ({"skus": []}, 400, "skus"),
        ({"files": [7]}, 409, "have not arrived"),
        ({"files": []}, 400, "no files"),
        ({"files": ["0"]}, 400, "no files"),
    ],
)
def test_bad_lists(house: House, choice: dict[str, object], status: int, said: str) -> None:
    """Unusable options are refused before the start."""
    drop = Dropped(house).send(0, "a.jpg", jpeg())
    answer = post(house, f"/uploads/{drop.name}/check", {"files": [0], **choice})
    assert answer.status_code == status
    assert said in answer.json()["message"]


def test_another_price_uploads_nothing(house: House) -> None:
    """If the price changed since the check, nothing is uploaded and the sheet shows it."""
    drop = Dropped(house).send(0, "s/a.jpg", jpeg())
    assert drop.do("check", 0).json()["credits"] == 1
    body = json.dumps({"variants": [{"modelId": "001"}, {"modelId": "002"}]}).encode()
    house.aws.s3.put_object(Bucket=PHOTOS, Key="s/catwalk.json", Body=body)
    answer = drop.do("start", 0, credits=1)
    assert answer.status_code == 409
    assert answer.json()["credits"] == 2
    assert answer.json()["message"].startswith("It costs 2 credits by now")
    assert keys(house) == ["s/catwalk.json"]


def test_a_photo_that_came_in_between_is_not_replaced_unseen(house: House) -> None:
    """If a name was taken since the check, nothing is uploaded and the sheet is shown again."""
    drop = Dropped(house).send(0, "s/a.jpg", jpeg())
    assert drop.do("check", 0).json()["rows"][0]["exists"] == ""
    house.aws.s3.put_object(Bucket=PHOTOS, Key="s/a.jpg", Body=png())
    answer = drop.do("start", 0, credits=1)
    assert answer.status_code == 409
    assert answer.json()["message"].startswith("1 file has come into the bucket meanwhile")
    assert "would be replaced" in answer.json()["rows"][0]["exists"]
    assert house.aws.s3.get_object(Bucket=PHOTOS, Key="s/a.jpg")["Body"].read() == png()
    assert drop.finish(0, credits=1)["done"] is True


def test_a_second_start_uploads_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A double click of Start sends each photo once."""
    put, sent = house.aws.s3.put_object, []

    def noted(**what: Any) -> Any:
        sent.append(what["Key"])
        return put(**what)

    monkeypatch.setattr(house.aws.s3, "put_object", noted)
    drop = Dropped(house).send(0, "a.jpg", jpeg())
    drop.do("start", 0, credits=1)
    assert drop.do("start", 0, credits=1).status_code == 200
    assert drop.wait()["done"] is True
    assert sent == ["a.jpg"]
    assert drop.chunk(1, "b.jpg", jpeg()).status_code == 410


def lose(house: House, monkeypatch: pytest.MonkeyPatch, errors: list[Exception]) -> None:
    """Let the bucket fail this many times."""
    put = house.aws.s3.put_object

    def breaks(**what: Any) -> Any:
        if errors:
            what["Body"].read(10)
            raise errors.pop()
        return put(**what)

    monkeypatch.setattr(house.aws.s3, "put_object", breaks)


def alone(house: House, pauses: tuple[float, ...]) -> tuple[Uploads, Any]:
    """Return uploads with one stored photo."""
    made = Uploads(Access(1), house.gallery.desk, pauses=pauses)
    which = made._begin()
    file = uploads._File(0, "a.jpg", len(jpeg()), which.folder / "0000", len(jpeg()))
    file.spool.write_bytes(jpeg())
    which.items = [uploads._Item(file, "a.jpg", Kind.PHOTO, {})]
    return made, which


def refused(code: str, status: int) -> ClientError:
    """Return an error of S3."""
    answer: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "PutObject")


def test_a_lost_connection_is_waited_for(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken upload is repeated from its beginning."""
    lose(house, monkeypatch, [EndpointConnectionError(endpoint_url="s3"), refused("Slow", 503)])
    made, which = alone(house, (0.0, 0.0))
    made._upload_all(which)
    assert which.items[0].state is uploads.State.DONE
    assert house.aws.s3.get_object(Bucket=PHOTOS, Key="a.jpg")["Body"].read() == jpeg()


def test_a_refusal_is_not_repeated(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A denied upload is reported at once, and can be tried again."""
    errors: list[Exception] = [refused("AccessDenied", 403)]
    lose(house, monkeypatch, errors)
    drop = Dropped(house).send(0, "a.jpg", jpeg())
    failed = drop.finish(0, credits=1)
    assert (failed["failed"], failed["done"]) == (1, False)
    assert "AccessDenied" in failed["files"][0]["why"]
    post(house, f"/uploads/{drop.name}/retry")
    assert drop.wait()["done"] is True
    assert keys(house) == ["a.jpg"]


def test_photos_wait_for_their_settings(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a catwalk.json cannot be uploaded, its photos are not uploaded either."""
    lose(house, monkeypatch, [refused("AccessDenied", 403)])
    drop = Dropped(house).send(0, "s/a.jpg", jpeg()).send(1, "s/catwalk.json", b"{}")
    failed = drop.finish(0, 1, credits=1)
    assert failed["failed"] == 2
    assert keys(house) == []


def test_nothing_to_retry(house: House) -> None:
    """A retry before the start uploads nothing and keeps the received files."""
    drop = Dropped(house).send(0, "a.jpg", jpeg())
    post(house, f"/uploads/{drop.name}/retry")
    assert drop.wait()["started"] is False
    assert drop.finish(0, credits=1)["done"] is True


def test_cancelling_forgets_the_files(house: House) -> None:
    """A discarded list leaves nothing on this machine or in the bucket."""
    drop = Dropped(house).send(0, "a.jpg", jpeg())
    assert post(house, f"/uploads/{drop.name}/cancel").status_code == 204
    assert list(house.gallery.desk.spool.iterdir()) == []
    assert drop.do("check", 0).status_code == 404
    assert "drop them once more" in drop.do("check", 0).json()["message"]


def test_an_upload_stops_when_the_gallery_ends(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C does not wait for a slow bucket, and removes the stored files."""
    made, which = alone(house, ())
    begun, put = threading.Event(), house.aws.s3.put_object

    def slow(**what: Any) -> Any:
        begun.set()
        which.stop.wait(PATIENCE_SECONDS)
        what["Body"].read(1)
        return put(**what)

    monkeypatch.setattr(house.aws.s3, "put_object", slow)
    made._run(which)
    assert begun.wait(PATIENCE_SECONDS)
    made._forget(which)
    which.worker.join(PATIENCE_SECONDS)
    assert which.items[0].state is uploads.State.FAILED
    assert not which.folder.exists()
    assert keys(house) == []


def test_photos_that_are_left_are_told_when_the_gallery_ends(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C during uploads prints how many photos were not uploaded."""
    made, which = alone(house, ())

    async def lived() -> None:
        async with made.lifespan(None):
            pass

    asyncio.run(lived())
    said = capsys.readouterr().err
    assert (
        "1 of 1 file was not uploaded before the gallery was closed; drop what is missing" in said
    )
    assert not which.folder.exists()


def test_a_failed_upload_is_told_on_the_terminal(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A failed upload is also printed in the terminal."""
    lose(house, monkeypatch, [refused("AccessDenied", 403)])
    made, which = alone(house, ())
    made._upload_all(which)
    assert "1 of 1 file was not uploaded: You may not do this here." in (capsys.readouterr().err)


def test_what_stood_still_is_tried_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected error of an upload makes it failed."""
    lose(house, monkeypatch, [RecursionError("deep")])
    bugs: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda bug: bugs.append(str(bug.exc_value)))
    drop = Dropped(house).send(0, "a.jpg", jpeg())
    failed = drop.finish(0, credits=1)
    assert (failed["failed"], failed["done"], bugs) == (1, False, ["deep"])
    post(house, f"/uploads/{drop.name}/retry")
    assert drop.wait()["done"] is True


def test_a_number_stands_for_one_file(house: House) -> None:
    """A chunk of another file under the same number is refused."""
    drop = Dropped(house).send(0, "a.jpg", jpeg())
    for path, size in (("b.jpg", len(jpeg())), ("a.jpg", len(jpeg()) + 1)):
        answer = drop.chunk(0, path, b"x", size=size)
        assert answer.status_code == 400
        assert "belongs to 'a.jpg'" in answer.json()["message"]


def test_old_lists_are_forgotten(house: House) -> None:
    """Old lists, and too many lists, are removed."""
    now = [0.0]
    made = Uploads(Access(1), house.gallery.desk, clock=lambda: now[0])
    first = made._begin()
    now[0] = 3 * 3600.0
    made._begin()
    assert not first.folder.exists()
    for _ in range(20):
        made._begin()
    assert len(list(house.gallery.desk.spool.iterdir())) <= 9


def test_what_a_killed_gallery_left(tmp_path: Path) -> None:
    """The next gallery removes spooled photos that are a day old, and only those."""
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "0000").write_bytes(b"x")
    day_ago = time.time() - 25 * 3600
    os.utime(old, (day_ago, day_ago))
    uploads._remove_stale(tmp_path / "missing")
    uploads._remove_stale(tmp_path)
    assert (old.exists(), new.exists()) == (False, True)


def test_what_another_gallery_is_uploading_stays(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list that is still being uploaded is not removed, also after a day."""
    made, which = alone(house, ())
    day_ago = time.time() - 25 * 3600
    os.utime(which.folder, (day_ago, day_ago))
    put = house.aws.s3.put_object

    def second_gallery(**what: Any) -> Any:
        uploads._remove_stale(house.gallery.desk.spool)
        return put(**what)

    monkeypatch.setattr(house.aws.s3, "put_object", second_gallery)
    assert which.folder.exists()
    monkeypatch.setattr("shutil.rmtree", lambda folder, **_: gone.append(folder))
    gone: list[Path] = []
    made._upload_waiting(which)
    assert which.items[0].state is uploads.State.DONE
    assert gone == [which.folder], "only its own gallery removes it, once all is uploaded"


def test_memory_stays_flat(house: House) -> None:
    """A file is written as it arrives, so memory does not grow with it."""
    body = jpeg(fill=6 * 2**20)
    drop = Dropped(house)
    tracemalloc.start()
    try:
        drop.send(0, "a.jpg", body)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The test client holds the body once more; the server holds none.
    assert most < 2.5 * len(body)


def test_values_as_a_form_sends_them() -> None:
    """Empty fields are left to the folder and the stack."""
    sent: dict[str, Any] = {"model": "", "scene": "color:#ff0000", "images": "3"}
    assert looks.values_of(sent) == {"sceneType": "color", "color": "#ff0000", "batchSize": 3}
    assert looks.values_of({}) == {}
    with pytest.raises(InputRejected, match="images"):
        looks.values_of({"images": "many"})
