"""The meaning of the vendor's answers: above all, whether a create may be sent again."""

import gzip
import itertools
import json
import logging
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ConfigurationError
from shared.models import SceneType, Settings, TaskResult
from shared.vmake import client as module
from shared.vmake.answers import Trouble
from shared.vmake.client import MAX_ANSWER_BYTES, VmakeClient
from shared.vmake.outcomes import (
    Accepted,
    CreateOutcome,
    NeverSent,
    ReadTrouble,
    Refused,
    TaskDone,
    TaskFailed,
    TaskNotFound,
    TaskOngoing,
    TaskRead,
    Unknown,
)
from tests.factories import KEY, VENDOR, Clock, http, read_request, server
from tests.hostile.answers import serving

SETTINGS = Settings(model_id="002", scene_type=SceneType.PRESET, scene_id="035", batch_size=4)
PHOTO = "https://photos.example.com/a.jpg"
Answer = Callable[[httpx.Request], httpx.Response]


def client_of(answer: Answer) -> VmakeClient:
    """Return a client whose vendor gives this answer."""
    return VmakeClient(VENDOR, lambda: KEY, transport=httpx.MockTransport(answer), now=Clock())


def create(answer: httpx.Response | Answer, settings: Settings = SETTINGS) -> CreateOutcome:
    """Create a task at a vendor that gives this answer."""
    reply = (lambda _: answer) if isinstance(answer, httpx.Response) else answer
    with client_of(reply) as client:
        prepared = client.prepare_create(image=PHOTO, mask=None, settings=settings)
        return client.create_task(prepared)


def read(answer: httpx.Response | Answer, task_id: str = "t-1") -> TaskRead:
    """Read a task at a vendor that gives this answer."""
    reply = (lambda _: answer) if isinstance(answer, httpx.Response) else answer
    with client_of(reply) as client:
        return client.read_task(task_id)


def envelope(
    code: object = 0, message: object = "Success", data: object = None, *, status: int = 200
) -> httpx.Response:
    """Return an answer in the vendor's envelope."""
    body = {"code": code, "message": message}
    return httpx.Response(status, json=body if data is None else {**body, "data": data})


def failing(error: httpx.RequestError) -> Answer:
    """Return a vendor that raises this error."""

    def answer(request: httpx.Request) -> httpx.Response:
        raise error

    return answer


# --- create: the request -------------------------------------------------------------------------


def sent_by(settings: Settings, *, mask: str | None = None) -> httpx.Request:
    """Return the request that a create sends."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return envelope(data={"taskId": "t"})

    with client_of(answer) as client:
        client.create_task(client.prepare_create(image=PHOTO, mask=mask, settings=settings))
    (request,) = seen
    return request


def test_create_is_what_the_quick_start_shows() -> None:
    """The request has the documented method, path, headers and fields."""
    request = sent_by(SETTINGS)
    assert request.method == "POST"
    assert str(request.url) == f"{VENDOR}/api/v4/image/ai-fashion-model/clothing-tasks"
    assert request.headers["X-Api-Key"] == KEY
    assert request.headers["Content-Type"] == "application/json"
    assert json.loads(request.content) == {
        "image": PHOTO,
        "modelId": "002",
        "sceneType": "preset",
        "sceneId": "035",
        "batchSize": 4,
    }


@pytest.mark.parametrize(
    ("changes", "mask", "body"),
    [
        ({"scene_type": SceneType.ORIGINAL, "scene_id": None}, None, {"sceneType": "original"}),
        (
            {"scene_type": SceneType.COLOR, "scene_id": None, "color": "#ff0000"},
            None,
            {"sceneType": "color", "color": "#ff0000"},
        ),
        ({"scene_type": SceneType.NONE, "scene_id": None}, "m", {"sceneType": "none", "mask": "m"}),
        (
            {"scene_type": SceneType.NONE, "scene_id": None, "extra": {"size": "m", "seed": None}},
            None,
            {"sceneType": "none", "size": "m", "seed": None},
        ),
    ],
)
def test_create_sends_what_the_scene_needs(
    changes: dict[str, Any], mask: str | None, body: dict[str, Any]
) -> None:
    """Each scene type sends its own fields only; `extra` goes in as it is."""
    request = sent_by(SETTINGS.model_copy(update=changes), mask=mask)
    common = {"image": PHOTO, "modelId": "002", "batchSize": 4}
    assert json.loads(request.content) == common | body


# --- create: the answer --------------------------------------------------------------------------

TASK = {"taskId": "t-1"}
CREATES: list[tuple[str, httpx.Response | Answer, CreateOutcome | type, Trouble | None]] = [
    ("accepted", envelope(data=TASK), Accepted("t-1"), None),
    ("created_201", envelope(data=TASK, status=201), Accepted("t-1"), None),
    ("numeric_id", envelope(data={"taskId": 17}), Accepted("17"), None),
    # Never sent: no connection was made.
    ("connect_refused", failing(httpx.ConnectError("refused")), NeverSent, None),
    ("connect_timeout", failing(httpx.ConnectTimeout("slow")), NeverSent, None),
    ("no_free_connection", failing(httpx.PoolTimeout("busy")), NeverSent, None),
    # Sent, and nobody knows.
    ("read_timeout", failing(httpx.ReadTimeout("slow")), Unknown, None),
    ("read_error", failing(httpx.ReadError("reset")), Unknown, None),
    ("write_error", failing(httpx.WriteError("reset")), Unknown, None),
    ("write_timeout", failing(httpx.WriteTimeout("slow")), Unknown, None),
    ("dropped", failing(httpx.RemoteProtocolError("closed")), Unknown, None),
    ("500_envelope", envelope(500, "oops", status=500), Unknown, None),
    ("500_plain", httpx.Response(500, text="oops"), Unknown, None),
    ("502_html", httpx.Response(502, html="<h1>Bad Gateway</h1>"), Unknown, None),
    ("503_html", httpx.Response(503, html="<h1>Down</h1>"), Unknown, None),
    ("503_success_envelope", envelope(0, status=503), Unknown, None),
    ("504_envelope", envelope(504, "timeout", status=504), Unknown, None),
    ("200_html", httpx.Response(200, html="<h1>Hello</h1>"), Unknown, None),
    ("200_empty", httpx.Response(200), Unknown, None),
    ("204", httpx.Response(204), Unknown, None),
    ("200_list", httpx.Response(200, json=["code", 0]), Unknown, None),
    ("200_cut", httpx.Response(200, content=b'{"code": 0, "message": "Succ'), Unknown, None),
    ("200_no_data", envelope(), Unknown, None),
    ("200_null_data", httpx.Response(200, json={"code": 0, "data": None}), Unknown, None),
    ("200_data_list", envelope(data=["t-1"]), Unknown, None),
    ("200_empty_id", envelope(data={"taskId": ""}), Unknown, None),
    ("200_endless_id", envelope(data={"taskId": "t" * 5_000}), Unknown, None),
    ("200_null_id", envelope(data={"taskId": None}), Unknown, None),
    ("200_no_code", httpx.Response(200, json={}), Unknown, None),
    ("200_code_text", envelope("zero"), Unknown, None),
    ("200_latin", httpx.Response(200, content=b'{"code": 0, "message": "\xe4"}'), Unknown, None),
    # A 200 that says 5xx inside is a 5xx after sending, whatever its status line says.
    ("200_code_500", envelope(500, "internal error"), Unknown, None),
    ("200_code_502", envelope(502, "bad gateway"), Unknown, None),
    ("200_code_504", envelope(504, "timed out"), Unknown, None),
    ("301", httpx.Response(301, headers={"Location": "https://elsewhere.example"}), Unknown, None),
    ("307", httpx.Response(307, headers={"Location": f"{VENDOR}/other"}), Unknown, None),
    # Refused: nothing was charged.
    ("400", envelope(400, "sceneId is missing", status=400), Refused, Trouble.REQUEST),
    ("400_plain", httpx.Response(400, text="bad"), Refused, Trouble.REQUEST),
    ("404", envelope(404, "no such model", status=404), Refused, Trouble.REQUEST),
    ("404_html", httpx.Response(404, html="<h1>?</h1>"), Refused, Trouble.ADDRESS),
    ("405_plain", httpx.Response(405), Refused, Trouble.ADDRESS),
    ("413_html", httpx.Response(413, html="<h1>Too Large</h1>"), Refused, Trouble.REQUEST),
    ("422", envelope(422, "bad image", status=422), Refused, Trouble.REQUEST),
    ("200_code_400", envelope(400, "sceneId is missing"), Refused, Trouble.REQUEST),
    ("200_own_code", envelope(20017, "no garment found"), Refused, Trouble.REQUEST),
    ("200_error_data_list", envelope(20017, "no garment", []), Refused, Trouble.REQUEST),
    ("200_error_data_text", envelope(20017, "no garment", ""), Refused, Trouble.REQUEST),
    ("401", envelope(401, "bad key", status=401), Refused, Trouble.KEY),
    ("401_plain", httpx.Response(401), Refused, Trouble.KEY),
    ("200_code_401", envelope(401, "bad key"), Refused, Trouble.KEY),
    ("403_key", envelope(403, "API key disabled", status=403), Refused, Trouble.KEY),
    ("402", envelope(402, "pay", status=402), Refused, Trouble.CREDITS),
    ("402_plain", httpx.Response(402), Refused, Trouble.CREDITS),
    ("403_credits", envelope(403, "insufficient credits", status=403), Refused, Trouble.CREDITS),
    ("403_page", httpx.Response(403, html="<h1>No</h1>"), Refused, Trouble.DENIED),
    ("403_unexplained", envelope(403, "forbidden", status=403), Refused, Trouble.DENIED),
    ("200_code_402", envelope(402, "pay"), Refused, Trouble.CREDITS),
    ("200_credits", envelope(10402, "Insufficient credits"), Refused, Trouble.CREDITS),
    ("200_credits_list", envelope(10402, "Insufficient credits", []), Refused, Trouble.CREDITS),
    ("200_balance", envelope(9, "your balance is not enough"), Refused, Trouble.CREDITS),
    ("400_credits", envelope(400, "insufficient credits", status=400), Refused, Trouble.CREDITS),
    ("429", envelope(429, "slow down", status=429), Refused, Trouble.BUSY),
    ("429_plain", httpx.Response(429), Refused, Trouble.BUSY),
    ("200_code_429", envelope(429, "slow down"), Refused, Trouble.BUSY),
    ("503_refusal", envelope(503, "overloaded", status=503), Refused, Trouble.BUSY),
    # With a task id it was accepted, whatever else it says.
    ("task_in_code_200", envelope(200, "OK", TASK), Accepted("t-1"), None),
    ("task_in_429", envelope(429, "slow down", TASK, status=429), Accepted("t-1"), None),
    ("task_in_400", envelope(400, "bad image", TASK, status=400), Accepted("t-1"), None),
    ("task_in_402", envelope(402, "no credits", TASK, status=402), Accepted("t-1"), None),
    ("task_in_500", envelope(500, "oops", TASK, status=500), Accepted("t-1"), None),
    ("task_in_503", envelope(503, "down", TASK, status=503), Accepted("t-1"), None),
    ("task_without_code", httpx.Response(200, json={"data": TASK}), Accepted("t-1"), None),
    ("task_with_code_text", envelope("zero", data=TASK), Accepted("t-1"), None),
    # An id that cannot be kept is still a task: sent again, it would be paid twice.
    ("429_endless_id", envelope(429, "", {"taskId": "t" * 5_000}, status=429), Unknown, None),
    ("429_odd_id", envelope(429, "", {"taskId": {"id": 1}}, status=429), Unknown, None),
    ("429_cut", httpx.Response(429, content=b'{"data": {"taskId": "t-'), Unknown, None),
    ("400_id_with_key", envelope(400, "", {"taskId": f"t-{KEY}"}, status=400), Unknown, None),
    ("200_id_with_key", envelope(data={"taskId": f"t-{KEY}"}), Unknown, None),
    # An id that is empty names no task.
    ("429_null_id", envelope(429, "", {"taskId": None}, status=429), Refused, Trouble.BUSY),
    ("400_zero_id", envelope(400, "", {"taskId": 0}, status=400), Refused, Trouble.REQUEST),
    # An internal error, a timeout or an overload after the request was taken in.
    ("408", envelope(408, "request timeout", status=408), Unknown, None),
    ("408_plain", httpx.Response(408), Unknown, None),
    ("200_code_408", envelope(408, "slow"), Unknown, None),
    ("200_system_error", envelope(50000, "system error"), Unknown, None),
    ("200_timed_out", envelope(20031, "the image service timed out"), Unknown, None),
    ("200_overload", envelope(20032, "system busy, try again later"), Unknown, None),
    ("400_internal_error", envelope(400, "Internal Server Error", status=400), Unknown, None),
    ("400_code_500", envelope(500, "oops", status=400), Unknown, None),
    ("429_internal_error", envelope(429, "internal error", status=429), Unknown, None),
    ("503_internal_error", envelope(503, "internal error", status=503), Unknown, None),
    ("503_code_500", envelope(500, "oops", status=503), Unknown, None),
    ("200_work_failed", envelope(20040, "image generation failed"), Unknown, None),
    # What nothing describes was sent, and may be charged.
    ("200_strange_code", envelope(10001, "E-17"), Unknown, None),
    ("409", envelope(409, "conflict", status=409), Unknown, None),
    ("418_plain", httpx.Response(418), Unknown, None),
    # About the request, in whole phrases.
    ("200_resolution", envelope(20018, "insufficient image resolution"), Refused, Trouble.REQUEST),
    ("400_resolution", envelope(400, "insufficient image", status=400), Refused, Trouble.REQUEST),
    ("409_mask", envelope(409, "the mask has other pixels", status=409), Refused, Trouble.REQUEST),
    ("400_fetch", envelope(400, "image download timed out", status=400), Refused, Trouble.REQUEST),
    ("400_quotes_key", envelope(400, f"image {KEY} is odd", status=400), Refused, Trouble.REQUEST),
    # About the photo or the account, and nobody can tell.
    ("402_resolution", envelope(402, "image too small", status=402), Refused, Trouble.DENIED),
    ("404_what", envelope(404, "not found", status=404), Refused, Trouble.DENIED),
    # About the account.
    ("200_quota", envelope(7, "INSUFFICIENT_QUOTA"), Refused, Trouble.CREDITS),
    ("200_bad_key", envelope(10401, "invalid API key"), Refused, Trouble.KEY),
]


@pytest.mark.parametrize(
    ("answer", "expected", "trouble"),
    [pytest.param(*row[1:], id=row[0]) for row in CREATES],
)
def test_create_outcome(
    answer: httpx.Response | Answer, expected: CreateOutcome | type, trouble: Trouble | None
) -> None:
    """Only a create that certainly cost nothing may be sent again."""
    outcome = create(answer)
    if isinstance(expected, type):
        assert isinstance(outcome, expected)
        assert getattr(outcome, "trouble", None) is trouble
    else:
        assert outcome == expected


@pytest.mark.parametrize("status", [400, 404, 422])
@pytest.mark.parametrize(
    "name", ["new-balance-shoe.jpg", "quota.png", "payment terminal.jpg", "credit-card-case.jpg"]
)
def test_photo_named_like_money_is_no_empty_account(name: str, status: int) -> None:
    """A refusal that repeats the photo's URL is about the photo, whatever its name says."""
    message = f"image cannot be fetched: https://bucket.s3.amazonaws.com/{name} answers 403"
    outcome = create(envelope(status, message, status=status))
    assert isinstance(outcome, Refused)
    assert outcome.trouble is Trouble.REQUEST


class Says(httpx.BaseTransport):
    """A vendor whose answer tests can set."""

    answer: httpx.Response

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self.answer


@pytest.fixture(scope="module")
def says() -> Iterator[tuple[Says, VmakeClient]]:
    """Return a vendor and its client, which is made once."""
    vendor = Says()
    with VmakeClient(VENDOR, lambda: KEY, transport=vendor, now=Clock()) as client:
        yield vendor, client


@given(
    status=st.integers(200, 599).filter(lambda status: status not in {204, 205, 304}),
    code=st.integers(-(10**6), 10**6),
    message=st.text(max_size=30),
)
def test_an_answer_with_a_task_id_is_an_accepted_task(
    says: tuple[Says, VmakeClient], status: int, code: int, message: str
) -> None:
    """Status, code and words may contradict it: the task is there, and its id is kept."""
    vendor, client = says
    vendor.answer = envelope(code, message, TASK, status=status)
    prepared = client.prepare_create(image=PHOTO, mask=None, settings=SETTINGS)
    assert client.create_task(prepared) == Accepted("t-1")


@given(
    status=st.sampled_from([200, 201, 408, 500, 502, 504, 599]),
    code=st.integers(-(10**6), 10**6),
    message=st.sampled_from(["internal error", "System error", "timed out", "server overloaded"]),
)
def test_an_error_after_the_request_was_taken_in_is_never_sent_again(
    says: tuple[Says, VmakeClient], status: int, code: int, message: str
) -> None:
    """It may have been charged, whatever code the vendor gives it."""
    vendor, client = says
    vendor.answer = envelope(code, message, status=status)
    prepared = client.prepare_create(image=PHOTO, mask=None, settings=SETTINGS)
    outcome = client.create_task(prepared)
    throttled = isinstance(outcome, Refused) and outcome.trouble is Trouble.BUSY
    assert isinstance(outcome, Unknown) or (throttled and code in {425, 429, 503})


@given(
    status=st.sampled_from([200, 201, 400, 403, 429, 500, 503]),
    body=st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(st.sampled_from(["code", "message", "data", "taskId"]), inner)
        ),
        max_leaves=6,
    ).map(lambda value: json.dumps(value).encode()),
    retry_after=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40),
)
def test_no_answer_breaks_the_client(
    says: tuple[Says, VmakeClient], status: int, body: bytes, retry_after: str
) -> None:
    """For any answer, a create has one of four outcomes and a read one of five."""
    vendor, client = says
    vendor.answer = httpx.Response(status, content=body, headers={"Retry-After": retry_after})
    prepared = client.prepare_create(image=PHOTO, mask=None, settings=SETTINGS)
    assert isinstance(client.create_task(prepared), Accepted | Refused | Unknown)
    vendor.answer = httpx.Response(status, content=body, headers={"Retry-After": retry_after})
    looked = client.read_task("t-1")
    assert isinstance(looked, TaskOngoing | TaskDone | TaskFailed | TaskNotFound | ReadTrouble)


# --- Retry-After ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7),
        (" 7 ", 7),
        ("0", 0),
        ("Sat, 31 Jan 2026 09:31:30 GMT", 90),
        ("Sat, 31 Jan 2026 09:00:00 GMT", 0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("9" * 5000, None),
        ("Sat, 99 Jan 2026 09:00:00 GMT", None),
        ("Sat, 31 Jan 2026 09:31:30 +99999999999999999999", None),
        ("Sat, 31 Jan 99999999999999999999 09:31:30 GMT", None),
        ("Sat, 31 Jan 2026 09:31:30", None),
    ],
)
def test_retry_after_is_understood_or_left(text: str, seconds: float | None) -> None:
    """Retry-After may be seconds or a date; anything else is ignored."""
    outcome = create(httpx.Response(429, headers={"Retry-After": text}))
    assert isinstance(outcome, Refused)
    assert outcome.retry_after == seconds
    looked = read(httpx.Response(429, headers={"Retry-After": text}))
    assert isinstance(looked, ReadTrouble)
    assert looked.retry_after == seconds


# --- read ----------------------------------------------------------------------------------------


def task(status: object, **more: object) -> httpx.Response:
    """Return the answer to a read."""
    return envelope(data={"taskId": "t-1", "status": status, **more})


IMAGE = {"width": 8, "height": 9, "fileSize": 70, "downloadUrl": "https://cdn.example/1.png"}
DONE = TaskDone((TaskResult(index=1, url=IMAGE["downloadUrl"], width=8, height=9, bytes=70),))  # type: ignore[arg-type]  # as the vendor sends it
READS: list[tuple[str, httpx.Response | Answer, TaskRead | type]] = [
    ("pending", task("pending", progress=0), TaskOngoing("pending", 0)),
    ("running", task("running", progress=42), TaskOngoing("running", 42)),
    ("no_progress", task("running"), TaskOngoing("running", None)),
    ("progress_text", task("running", progress="42"), TaskOngoing("running", None)),
    ("progress_float", task("running", progress=42.9), TaskOngoing("running", 42.9)),
    ("progress_too_high", task("running", progress=10**400), TaskOngoing("running", 100)),
    ("progress_negative", task("running", progress=-5), TaskOngoing("running", 0)),
    ("unknown_status", task("reviewing", progress=5), TaskOngoing("reviewing", 5)),
    ("success", task("success", progress=100, results=[IMAGE]), DONE),
    ("success_single_object", task("success", results=IMAGE), DONE),
    ("success_null", task("success", results=None), TaskDone(())),
    ("success_absent", task("success"), TaskDone(())),
    ("success_empty", task("success", results=[]), TaskDone(())),
    (
        "success_url_only",
        task("success", results=[{"downloadUrl": "u", "width": "wide", "height": -1}]),
        TaskDone((TaskResult(index=1, url="u"),)),
    ),
    ("success_endless", task("success", results=[IMAGE] * 17), ReadTrouble),
    (
        "success_endless_url",
        task("success", results=[{"downloadUrl": "https://x.example/" + "x" * 9_000}]),
        ReadTrouble,
    ),
    ("success_without_url", task("success", results=[{"width": 1}]), ReadTrouble),
    ("error", task("error", message="no garment"), TaskFailed("no garment")),
    ("error_without_reason", task("error", message=None), TaskFailed),
    ("not_found", envelope(404, "no task", status=404), TaskNotFound("no task")),
    ("not_found_in_200", envelope(404, "no task"), TaskNotFound("no task")),
    ("not_found_page", httpx.Response(404, html="<h1>?</h1>"), ReadTrouble),
    ("401", envelope(401, "bad key", status=401), ReadTrouble),
    ("429", httpx.Response(429), ReadTrouble),
    ("500", envelope(500, "oops", status=500), ReadTrouble),
    ("502_html", httpx.Response(502, html="<h1>Bad Gateway</h1>"), ReadTrouble),
    ("200_html", httpx.Response(200, html="<h1>Hello</h1>"), ReadTrouble),
    ("200_error_code", envelope(20017, "internal"), ReadTrouble),
    ("no_data", envelope(), ReadTrouble),
    ("no_status", envelope(data={"taskId": "t-1"}), ReadTrouble),
    ("status_null", task(None), ReadTrouble),
    ("connect_error", failing(httpx.ConnectError("refused")), ReadTrouble),
    ("read_timeout", failing(httpx.ReadTimeout("slow")), ReadTrouble),
    ("dropped", failing(httpx.RemoteProtocolError("closed")), ReadTrouble),
]


@pytest.mark.parametrize(
    ("answer", "expected"), [pytest.param(*row[1:], id=row[0]) for row in READS]
)
def test_read_outcome(answer: httpx.Response | Answer, expected: TaskRead | type) -> None:
    """A read tells what is known; trouble with it says nothing about the task."""
    outcome = read(answer)
    if isinstance(expected, type):
        assert isinstance(outcome, expected)
    else:
        assert outcome == expected


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity"])
def test_impossible_progress_spoils_no_read(number: str) -> None:
    """A progress that is no number does not hide that the task has finished."""
    body = (
        f'{{"code": 0, "message": "", "data": {{"status": "success", "progress": {number},'
        ' "results": [{"downloadUrl": "u"}]}}'
    )
    assert isinstance(read(httpx.Response(200, content=body.encode())), TaskDone)


def test_refused_key_is_told_on_a_read() -> None:
    """A read that is refused for its key says so, that the key may be read anew."""
    looked = read(envelope(401, "bad key", status=401))
    assert isinstance(looked, ReadTrouble)
    assert looked.key_refused


def test_task_id_stays_one_path_segment() -> None:
    """A task id with slashes or marks in it cannot lead the read elsewhere."""
    seen: list[httpx.URL] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.url)
        return task("running")

    read(answer, "a/../b?c#d")
    assert seen[0].raw_path.endswith(b"/clothing-tasks/a%2F..%2Fb%3Fc%23d")


# --- the key -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 400, 401, 500])
def test_vendor_that_repeats_the_key_does_not_spread_it(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """An error message in which the vendor quotes the key is passed on without it."""
    caplog.set_level(logging.DEBUG)
    message = f"the API key {KEY} is not valid"
    outcome = create(envelope(401, message, status=status))
    looked = read(envelope(401, message, status=status))
    failed = read(task("error", message=message))
    gone = read(envelope(404, message, status=404))
    assert KEY not in repr((outcome, looked, failed, gone))
    assert KEY not in caplog.text


def test_key_in_an_id_or_a_url_is_not_kept() -> None:
    """What repeats the key outside of a message does not reach a record or a state either."""
    url = f"https://cdn.example/{KEY}/1.png?key={KEY}"
    looked = read(task(f"strange {KEY}", results=[{"downloadUrl": url}]))
    done = read(task("success", results=[{"downloadUrl": url}]))
    assert isinstance(done, TaskDone)
    created = create(envelope(data={"taskId": f"t-{KEY}"}))
    assert isinstance(created, Unknown)
    assert KEY not in repr((looked, done, created))


def test_a_short_key_of_the_simulator_is_no_secret() -> None:
    """A key of one letter, which the simulated vendor takes, does not spoil ids and URLs."""
    with VmakeClient(
        VENDOR, lambda: "t", transport=httpx.MockTransport(lambda _: envelope(data=TASK))
    ) as client:
        prepared = client.prepare_create(image=PHOTO, mask=None, settings=SETTINGS)
        assert client.create_task(prepared) == Accepted("t-1")


SIGNED = "https://photos.s3.eu-central-1.amazonaws.com/a.jpg?X-Amz-Credential=A&X-Amz-Signature=5ec"


@pytest.mark.parametrize(
    "message",
    [
        f"image cannot be fetched: {SIGNED}",
        f'cannot load "{SIGNED}" (403)',
        f"cannot load {SIGNED.upper()}",
        "no image at a.jpg?X-Amz-Algorithm=AWS4&X-Amz-Signature=5ec",
        "x" * 580 + SIGNED,
        "signature=5ec does not match",
    ],
)
def test_signature_that_the_vendor_quotes_is_not_kept(message: str) -> None:
    """A presigned URL loses its query, however it is quoted."""
    texts = (
        create(envelope(400, message, status=400)),
        create(envelope(503, message, status=503)),
        read(envelope(500, message, status=500)),
        read(task("error", message=message)),
        create(failing(httpx.RemoteProtocolError(message))),
    )
    assert "5ec" not in repr(texts).lower()
    # The query of a result's URL stays: without it nothing could be downloaded.
    done = read(task("success", results=[{"downloadUrl": SIGNED}]))
    assert done == TaskDone((TaskResult(index=1, url=SIGNED),))


@pytest.mark.parametrize("character", ["x", "\x00", "é", "𝄞", '"'])
@pytest.mark.parametrize("status", [200, 400, 401, 402, 403, 408, 429, 500, 503])
def test_long_message_is_cut_where_it_comes_in(status: int, character: str) -> None:
    """A message of 900 KB, or one of characters that JSON writes long, fits into any record."""
    message = character * (900_000 // len(json.dumps(character)))
    outcome = create(envelope(status if status != 200 else 17, message, status=status))
    assert isinstance(outcome, Refused | Unknown)
    assert len(json.dumps(outcome.message)) < 700
    failed = read(task("error", message=message))
    assert isinstance(failed, TaskFailed)
    assert len(json.dumps(failed.message)) <= 602


@pytest.mark.parametrize("url", ["http://" * 100_000, "https://x?" * 60_000, "x" * 900_000])
def test_message_that_is_hard_to_search_is_cut_soon(url: str) -> None:
    """Looking for URLs in a megabyte takes no minute."""
    assert isinstance(create(envelope(400, url, status=400)), Refused)


def test_key_is_in_no_representation() -> None:
    """Neither the client nor a prepared request shows the key when printed."""
    with client_of(lambda _: envelope()) as client:
        prepared = client.prepare_create(image=PHOTO, mask=None, settings=SETTINGS)
        assert KEY not in repr((client, prepared, vars(client)))


@pytest.mark.parametrize(
    "error", [httpx.ConnectError, httpx.ReadTimeout, httpx.RemoteProtocolError]
)
def test_key_is_in_no_failure(
    error: type[httpx.RequestError], caplog: pytest.LogCaptureFixture
) -> None:
    """The error of a failed call never contains the key."""
    caplog.set_level(logging.DEBUG)
    outcomes = (create(failing(error("boom"))), read(failing(error("boom"))))
    assert KEY not in repr(outcomes)
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        *("open.vmake.ai", "ftp://open.vmake.ai", "", "https://", "https:///x", "https://[::1"),
        *("https://xn--a.com:x", "https://u:p@open.vmake.ai", "http://u@localhost:1"),
    ],
)
def test_base_url_must_be_a_url(url: str) -> None:
    """A stack with an unusable VmakeBaseUrl says so."""
    with pytest.raises(ConfigurationError, match="VmakeBaseUrl"):
        VmakeClient(url, lambda: KEY)


@pytest.mark.parametrize(
    "url",
    [
        *("http://open.vmake.ai", "HTTP://open.vmake.ai", "http://10.0.0.1", "http://8.8.8.8:80"),
        *("http://localhost.example.com", "http://127.0.0.1.example.com", "http://0.0.0.0"),
        *(
            "http://host.docker.internal.example.com",
            "http://[::ffff:10.0.0.1]",
            "http://a.localhost",
        ),
        *("http://172.18.0.1", "http://169.254.169.254", "http://127.0.0.1@open.vmake.ai"),
    ],
)
def test_the_key_never_travels_in_clear(url: str) -> None:
    """Over plain http the key goes to this machine alone."""
    with pytest.raises(ConfigurationError, match="VmakeBaseUrl"):
        VmakeClient(url, lambda: KEY)


@pytest.mark.parametrize(
    "url",
    [
        *("https://open.vmake.ai", "https://10.0.0.1:8443", "http://127.0.0.1:9000"),
        *("http://127.8.8.8", "http://[::1]:9", "http://localhost:9000", "http://LOCALHOST"),
        *("http://host.docker.internal:9000", "http://172.17.0.1:9000"),
    ],
)
def test_base_urls_that_may_be_used(url: str) -> None:
    """The vendor is reached over https; one on this machine, or from its containers, by http."""
    VmakeClient(url, lambda: KEY).close()


def test_a_proxy_of_the_environment_is_given_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that the environment names would be given the key, in clear before TLS begins."""
    with server(http(ACCEPTED_BODY)) as (proxy, asked), server(http(ACCEPTED_BODY)) as (url, seen):
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        assert post_to(url) == Accepted("t-1")
    assert (len(seen), asked) == (1, [])


# --- the wire ------------------------------------------------------------------------------------


ACCEPTED_BODY = b'{"code": 0, "message": "Success", "data": {"taskId": "t-1"}}'


def post_to(url: str) -> CreateOutcome:
    """Create a task at a real server."""
    with VmakeClient(url, lambda: KEY) as client:
        return client.create_task(client.prepare_create(image=PHOTO, mask=None, settings=SETTINGS))


def test_wire_nobody_listens() -> None:
    """A port where nobody listens: the request certainly never left."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    assert isinstance(post_to(url), NeverSent)


def test_wire_accepted() -> None:
    """An honest answer over a real connection is taken."""
    with server(http(ACCEPTED_BODY)) as (url, seen):
        assert post_to(url) == Accepted("t-1")
    assert seen[0].startswith(b"POST /api/v4/image/ai-fashion-model/clothing-tasks HTTP/1.1")


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(b"", id="closed_without_a_byte"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Le", id="head_cut"),
        pytest.param(http(ACCEPTED_BODY[:20], length=len(ACCEPTED_BODY)), id="body_cut"),
        pytest.param(http(b"not gzip", "200 OK", "Content-Encoding: gzip"), id="gzip_garbage"),
        pytest.param(
            http(gzip.compress(ACCEPTED_BODY)[:-9], "200 OK", "Content-Encoding: gzip"),
            id="gzip_cut",
        ),
        pytest.param(b"\x16\x03\x01 this is no HTTP\r\n\r\n", id="no_http"),
        pytest.param(http(b"[" * 100_000), id="deep_json"),
        pytest.param(
            http(
                b'{"code": 0, "data": {"taskId": "t"}, "x": "' + b"x" * MAX_ANSWER_BYTES * 2 + b'"}'
            ),
            id="huge",
        ),
    ],
)
def test_wire_unreadable_answer_is_unknown(reply: bytes) -> None:
    """An answer that breaks off or cannot be read leaves the create unknown, not failed."""
    with server(reply) as (url, _):
        outcome = post_to(url)
    # A gzip body without its last bytes may still be read whole.
    assert isinstance(outcome, Unknown) or outcome == Accepted("t-1")
    assert not isinstance(outcome, Refused | NeverSent)


def test_wire_refusal_with_a_broken_body_is_still_a_refusal() -> None:
    """The status line of a 429 says enough, even if the body breaks off behind it."""
    with server(http(b"{", "429 Too Many Requests", "Retry-After: 3", length=50)) as (url, _):
        outcome = post_to(url)
    assert isinstance(outcome, Refused)
    assert (outcome.trouble, outcome.retry_after) == (Trouble.BUSY, 3)


@pytest.mark.parametrize(
    ("came", "outcome"),
    [(ACCEPTED_BODY, Accepted("t-1")), (b'{"code": 429, "data": {"taskId": "t-', None)],
    ids=["whole", "cut"],
)
@pytest.mark.parametrize("status", ["200 OK", "429 Too Many Requests", "503 Busy"])
def test_wire_a_task_named_before_the_connection_broke_is_a_task(
    status: str, came: bytes, outcome: Accepted | None
) -> None:
    """What had come before an answer broke off counts: sending again could pay twice."""
    with server(http(came, status, length=len(came) + 9)) as (url, _):
        found = post_to(url)
    assert found == outcome if outcome else isinstance(found, Unknown)


def test_wire_each_create_has_a_connection_of_its_own() -> None:
    """A create is never sent over a kept connection that the vendor may close just then."""
    connections = 0

    def keep_alive() -> None:
        nonlocal connections
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connections += 1
                with connection:
                    while read_request(connection):
                        connection.sendall(http(ACCEPTED_BODY))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=keep_alive, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with VmakeClient(url, lambda: KEY) as client:
            for _ in range(3):
                prepared = client.prepare_create(image=PHOTO, mask=None, settings=SETTINGS)
                assert client.create_task(prepared) == Accepted("t-1")
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
    assert connections == 3


def test_wire_create_is_sent_once() -> None:
    """The client never repeats a create by itself."""
    with server(b"", http(ACCEPTED_BODY)) as (url, seen):
        assert isinstance(post_to(url), Unknown)
        assert len(seen) == 1
        assert isinstance(post_to(url), Accepted)


def test_wire_slow_answer_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A vendor that takes the request and says nothing in time leaves the create unknown."""
    monkeypatch.setattr(module, "CREATE_TIMEOUT", httpx.Timeout(0.2))
    released = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hold() -> None:
            connection, _ = listener.accept()
            with connection:
                read_request(connection)
                released.wait(10)

        thread = threading.Thread(target=hold, daemon=True)
        thread.start()
        outcome = post_to(f"http://127.0.0.1:{listener.getsockname()[1]}")
        released.set()
        thread.join(5)
    assert isinstance(outcome, Unknown)


@pytest.mark.parametrize(
    "answer",
    [
        *("silent", "head_drips", "informational", "chunk_extension_drips", "trailers_drip"),
        *("nested_gzip_bomb", "redirect_drips", "redirect_odd", "body_endless", "head_many"),
    ],
)
def test_wire_hostile_answer_is_unknown(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """Whatever a hostile vendor does, a create ends at its deadline, and is not sent again."""
    monkeypatch.setattr(module, "CREATE_SECONDS", 0.5)
    with serving(answer) as url:
        assert isinstance(post_to(url), Unknown)


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)]
)
def test_wire_answer_that_is_packed_all_the_same_is_taken(
    encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    """A gateway that packs what was asked for as it is costs no paid task."""
    reply = http(pack(ACCEPTED_BODY), "200 OK", f"Content-Encoding: {encoding}")
    with server(reply) as (url, seen):
        assert post_to(url) == Accepted("t-1")
    assert b"accept-encoding: identity" in seen[0].lower()


def test_an_answer_that_drips_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that never ends does not eat up the invocation; what it would have said is unknown."""
    seconds = itertools.count(0, 4.0)
    monkeypatch.setattr(time, "monotonic", lambda: next(seconds))
    pieces = []

    class Dripping(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            for number in range(1_000):
                pieces.append(number)
                yield b" "

    assert isinstance(create(lambda _: httpx.Response(200, stream=Dripping())), Unknown)
    assert len(pieces) < 10
