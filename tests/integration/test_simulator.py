"""The simulated vendor: strict about the documented contract, honest about images and charges."""

import base64
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
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image, ImageChops, ImageDraw

from local.simulator import ControlError, Settings, SimulatorControl, SimulatorServer

TASKS = "/api/v4/image/ai-fashion-model/clothing-tasks"
ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "local" / "samples"
FLOOR, CLOTH, OTHER_CLOTH = (230, 226, 220), (40, 90, 160), (190, 40, 40)


def encoded(picture: Image.Image, kind: str = "PNG") -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return base64.b64encode(buffer.getvalue()).decode()


def garment() -> Image.Image:
    """Draw a garment of two colours in the middle of a plain floor."""
    picture = Image.new("RGB", (120, 160), FLOOR)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((34, 40, 60, 124), fill=CLOTH)
    draw.rectangle((60, 40, 86, 124), fill=OTHER_CLOTH)
    return picture


PHOTO = encoded(garment())
GOOD: dict[str, Any] = {"image": PHOTO, "modelId": "002", "sceneType": "original"}


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer(Settings(seconds=0)) as running:
        yield running


@pytest.fixture
def control(server: SimulatorServer) -> SimulatorControl:
    server.control.reset()
    return server.control


@pytest.fixture
def api(server: SimulatorServer, control: SimulatorControl) -> Iterator[httpx.Client]:
    headers = {"X-Api-Key": "any-key"}
    with httpx.Client(base_url=server.base_url, headers=headers, timeout=20) as client:
        yield client


@pytest.fixture(scope="module")
def photo_host() -> Iterator[str]:
    """Serve the garment at /photos/…, a redirect at /moved, and 404 elsewhere."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path.startswith("/photos/")
            self.send_response(200 if found else 302 if self.path == "/moved" else 404)
            self.send_header("Location", "/photos/a.png")
            self.end_headers()
            if found:
                self.wfile.write(base64.b64decode(PHOTO))

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as host:
        thread = threading.Thread(target=host.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{host.server_port}"
        host.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:9000"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "host.docker.internal.evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/_simulator/state"), ("POST", "/_simulator/reset"), ("POST", TASKS)],
)
def test_pages_in_a_browser_are_refused(
    api: httpx.Client, control: SimulatorControl, method: str, path: str, headers: dict[str, str]
) -> None:
    """A page of another site scripts nothing here, and reads no photo's address."""
    create(api)
    assert api.request(method, path, headers=headers).status_code == 403
    assert control.charges().total == 1


@pytest.mark.parametrize(
    "host", ["127.0.0.1:9000", "[::1]:9000", "localhost", "a.localhost", "host.docker.internal:9"]
)
def test_its_own_names_are_taken(api: httpx.Client, host: str) -> None:
    """The machine and its containers call the simulator by these names."""
    assert api.get("/_simulator/health", headers={"Host": host}).status_code == 200


def create(api: httpx.Client, **changes: Any) -> str:
    answer = api.post(TASKS, json=GOOD | changes)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["data"]["taskId"])


def read(api: httpx.Client, task_id: str) -> dict[str, Any]:
    answer = api.get(f"{TASKS}/{task_id}")
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


def results(api: httpx.Client, task_id: str) -> list[dict[str, Any]]:
    """Read until the images are there: making them may take longer than one read waits."""
    until = time.monotonic() + 20
    while (data := read(api, task_id))["status"] == "running":
        assert time.monotonic() < until
    assert data["status"] == "success"
    listed: list[dict[str, Any]] = data["results"]
    return listed


def images(api: httpx.Client, **changes: Any) -> list[Image.Image]:
    listed = results(api, create(api, **changes))
    return [Image.open(io.BytesIO(api.get(one["downloadUrl"]).content)) for one in listed]


def near(color: Any, wanted: tuple[int, ...], within: int = 6) -> bool:
    return all(abs(one - other) <= within for one, other in zip(color[:3], wanted, strict=True))


# The contract


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": None}, "image is null"),
        ({"image": ""}, "image is"),
        ({"image": 7}, "image is 7"),
        ({"image": "ftp://example.org/a.jpg"}, "neither an http"),
        ({"image": "not base64!"}, "neither an http"),
        ({"image": "data:image/png,abc"}, "not base64"),
        ({"image": base64.b64encode(b"just text").decode()}, "must be JPEG or PNG"),
        ({"image": encoded(garment(), "GIF")}, "image is a GIF"),
        ({"image": encoded(garment(), "WEBP")}, "image is a WEBP"),
        ({"image": encoded(garment())[:400]}, "image"),
        ({"image": "http://127.0.0.1:1/a.jpg"}, "image cannot be fetched"),
        ({"image": "http://[::1/a.jpg"}, "image cannot be fetched"),
        ({"mask": 1}, "mask is 1"),
        ({"mask": ""}, "mask is"),
        ({"mask": encoded(garment(), "JPEG")}, "mask is a JPEG"),
        ({"mask": encoded(Image.new("L", (10, 10)))}, "mask is 10 x 10"),
        ({"batchSize": 0}, "batchSize is 0"),
        ({"batchSize": 5}, "batchSize is 5"),
        ({"batchSize": True}, "batchSize is true"),
        ({"batchSize": "2"}, 'batchSize is "2"'),
        ({"batchSize": 2.0}, "batchSize is 2.0"),
        ({"batchSize": None}, "batchSize is null"),
        ({"modelId": ""}, "modelId is"),
        ({"modelId": 2}, "modelId is 2"),
        ({"sceneType": "beach"}, 'sceneType is "beach": it must be one of original, preset'),
        ({"sceneType": ["none"]}, "sceneType is"),
        ({"sceneType": "preset"}, "sceneId is missing"),
        ({"sceneType": "preset", "sceneId": ""}, "sceneId is"),
        ({"sceneId": None}, "sceneId is null"),
        ({"sceneType": "color"}, "color is missing"),
        ({"sceneType": "color", "color": "red"}, 'color is "red"'),
        ({"sceneType": "color", "color": "#12345"}, 'color is "#12345"'),
    ],
)
def test_a_bad_field_is_refused_by_name(
    api: httpx.Client, control: SimulatorControl, change: dict[str, Any], message: str
) -> None:
    """A field that breaks its rule is a 400 that names it, and costs nothing."""
    answer = api.post(TASKS, json=GOOD | change)
    assert answer.status_code == 400
    assert answer.json()["code"] == 400
    assert message in answer.json()["message"]
    assert "data" not in answer.json()
    assert control.charges().total == 0


@pytest.mark.parametrize("field", ["image", "modelId", "sceneType"])
def test_a_required_field_is_missed_by_name(api: httpx.Client, field: str) -> None:
    """A missing field is a 400 that names it."""
    answer = api.post(TASKS, json={name: value for name, value in GOOD.items() if name != field})
    assert (answer.status_code, answer.json()["code"]) == (400, 400)
    assert f"{field} is missing" in answer.json()["message"]


@pytest.mark.parametrize("body", ["", "{", "[]", '"text"', "null", "\xff"])
def test_a_body_that_is_no_object_is_refused(api: httpx.Client, body: str) -> None:
    """Malformed JSON and JSON that is no object are 400s."""
    headers = {"Content-Type": "application/json"}
    answer = api.post(TASKS, content=body.encode("latin-1"), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, 400)


@pytest.mark.parametrize("content_type", ["text/plain", None])
def test_the_content_type_must_be_json(api: httpx.Client, content_type: str | None) -> None:
    """A body that does not call itself JSON is refused."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = api.post(TASKS, content=json.dumps(GOOD), headers=headers)
    assert answer.status_code == 400
    assert "Content-Type" in answer.json()["message"]


def test_a_content_type_may_have_parameters(api: httpx.Client) -> None:
    """`application/json; charset=utf-8` is JSON."""
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert api.post(TASKS, content=json.dumps(GOOD), headers=headers).status_code == 200


def test_a_call_without_a_key_is_refused(server: SimulatorServer, api: httpx.Client) -> None:
    """Without a key, creating and reading answer 401."""
    task_id = create(api)
    for headers in ({}, {"X-Api-Key": ""}):
        refused = [
            httpx.post(server.base_url + TASKS, json=GOOD, headers=headers),
            httpx.get(f"{server.base_url}{TASKS}/{task_id}", headers=headers),
        ]
        assert [answer.status_code for answer in refused] == [401, 401]
        assert [answer.json()["code"] for answer in refused] == [401, 401]


def test_only_a_set_key_is_valid(api: httpx.Client, control: SimulatorControl) -> None:
    """Any key will do, until one is set."""
    create(api)
    control.settings(api_key="the-key")
    assert api.post(TASKS, json=GOOD).status_code == 401
    assert api.post(TASKS, json=GOOD, headers={"X-Api-Key": "the-key"}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("POST", "/api/v3/tasks", 404),
        ("GET", f"{TASKS}/no-such-task", 404),
        ("POST", f"{TASKS}/", 404),
        ("GET", TASKS, 405),
        ("DELETE", f"{TASKS}/some-task", 405),
        ("GET", "/results/no-such-task/1-00.jpg", 404),
    ],
)
def test_every_answer_is_an_envelope(
    api: httpx.Client, method: str, path: str, status: int
) -> None:
    """Unknown tasks, paths and methods are answered with the envelope."""
    answer = api.request(method, path, json={})
    assert answer.status_code == status
    assert answer.json()["code"] == status
    assert answer.json()["message"]


def test_unknown_fields_and_models_are_accepted(
    api: httpx.Client, control: SimulatorControl
) -> None:
    """Fields exist that are not public, and models that are not listed: neither is an error."""
    create(api, modelId="9999", expression="smile", mask=None)
    request = control.state()["tasks"][0]["request"]
    assert (request["modelId"], request["expression"]) == ("9999", "smile")
    assert PHOTO not in json.dumps(request)


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_a_photo_may_be_base64(api: httpx.Client, control: SimulatorControl, prefix: str) -> None:
    """Base64 is accepted, plain or as a data URI."""
    create(api, image=prefix + PHOTO)
    assert list(control.charges().by_sha256.values()) == [1]


def test_a_photo_may_be_a_url(
    api: httpx.Client, control: SimulatorControl, photo_host: str
) -> None:
    """A photo is fetched, and its charge counted by its bytes and by the path of its URL."""
    create(api, image=f"{photo_host}/photos/a%20b.png?signature=secret")
    digest = hashlib.sha256(base64.b64decode(PHOTO)).hexdigest()
    assert control.charges().by_path == {"/photos/a b.png": 1}
    assert control.charges().by_sha256 == {digest: 1}
    assert control.charges().of("a b") == 1
    assert "secret" not in json.dumps(control.state())


@pytest.mark.parametrize(("path", "status"), [("/missing.png", 404), ("/moved", 302)])
def test_a_url_must_answer_200(api: httpx.Client, photo_host: str, path: str, status: int) -> None:
    """A URL that answers anything else, a redirect too, is refused."""
    answer = api.post(TASKS, json=GOOD | {"image": photo_host + path})
    assert answer.status_code == 400
    assert f"answers {status}" in answer.json()["message"]


def test_the_broken_sample_is_refused(api: httpx.Client) -> None:
    """A photo that ends in its middle is unreadable."""
    broken = base64.b64encode((SAMPLES / "broken.jpg").read_bytes()).decode()
    answer = api.post(TASKS, json=GOOD | {"image": broken})
    assert answer.status_code == 400
    assert "damaged JPEG" in answer.json()["message"]


# Progress and results


def test_a_task_goes_from_pending_to_success(api: httpx.Client, control: SimulatorControl) -> None:
    """A task waits, runs with progress that only grows, and succeeds."""
    control.settings(seconds=0.4, jitter=0)
    task_id = create(api)
    seen: list[dict[str, Any]] = []
    until = time.monotonic() + 20
    while not seen or seen[-1]["status"] != "success":
        assert time.monotonic() < until
        seen.append(read(api, task_id))
    assert list(dict.fromkeys(data["status"] for data in seen)) == ["pending", "running", "success"]
    progress = [data["progress"] for data in seen]
    assert progress == sorted(progress)
    assert (progress[0], progress[-1]) == (0, 100)
    assert all(isinstance(data["message"], str) for data in seen)
    assert all(data["results"] is None for data in seen[:-1])


def test_results_are_as_described(api: httpx.Client) -> None:
    """Size, pixels and type of a download are those that were reported."""
    for scene, kind in (("original", "image/jpeg"), ("none", "image/png")):
        listed = results(api, create(api, sceneType=scene))
        assert len(listed) == 4
        for one in listed:
            head, answer = api.head(one["downloadUrl"]), api.get(one["downloadUrl"])
            assert head.content == b""
            for got in (head, answer):
                assert got.headers["Content-Type"] == kind
                assert got.headers["Content-Length"] == str(one["fileSize"])
            assert len(answer.content) == one["fileSize"]
            assert Image.open(io.BytesIO(answer.content)).size == (one["width"], one["height"])


def test_download_urls_are_fresh_and_of_the_same_origin(
    server: SimulatorServer, api: httpx.Client
) -> None:
    """Each read hands out new URLs; the old ones go on working; a changed one never works."""
    task_id = create(api, batchSize=1)
    urls = [results(api, task_id)[0]["downloadUrl"] for _ in range(2)]
    assert urls[0] != urls[1]
    pattern = rf"{re.escape(server.base_url)}/results/{task_id}/1-[0-9a-f]+\.jpg"
    assert all(re.fullmatch(pattern, url) for url in urls)
    assert [api.get(url).status_code for url in urls] == [200, 200]
    assert api.get(urls[0].replace("/1-", "/2-")).status_code == 404


def test_download_urls_expire(api: httpx.Client, control: SimulatorControl) -> None:
    """A URL works as long as it is set to; reading the task gives one that works."""
    control.settings(download_url_seconds=1e-9)
    task_id = create(api, batchSize=1)
    assert api.get(results(api, task_id)[0]["downloadUrl"]).status_code == 403
    control.settings(download_url_seconds=None)
    assert api.get(results(api, task_id)[0]["downloadUrl"]).status_code == 200


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_a_batch_has_that_many_different_images(api: httpx.Client, size: int) -> None:
    """The results of a task differ visibly, not only in their captions."""
    made = images(api, batchSize=size, sceneType="preset", sceneId="036")
    assert len(made) == size
    upper = [picture.crop((0, 0, picture.width, picture.height * 3 // 4)) for picture in made]
    for index, picture in enumerate(upper):
        for other in upper[:index]:
            assert ImageChops.difference(picture, other).getbbox() is not None


def test_none_is_a_transparent_cut_out(api: httpx.Client) -> None:
    """Around the garment nothing is left; the garment is."""
    picture = images(api, sceneType="none", batchSize=1)[0]
    assert (picture.format, picture.mode) == ("PNG", "RGBA")
    alpha = picture.getchannel("A")
    assert [alpha.getpixel(spot) for spot in ((1, 1), (picture.width - 2, 1))] == [0, 0]
    assert alpha.getpixel((picture.width // 3, picture.height // 2)) == 255
    assert near(picture.getpixel((picture.width * 2 // 5, picture.height // 2)), CLOTH, 12)


def test_color_is_flat_behind_the_garment(api: httpx.Client) -> None:
    """The colour fills all that is not garment, exactly; the garment keeps its own."""
    picture = images(api, sceneType="color", color="#1E90ff", batchSize=1)[0]
    edge = [picture.getpixel((x, 3)) for x in range(0, picture.width, 7)]
    assert picture.format == "JPEG"
    assert all(near(color, (0x1E, 0x90, 0xFF), 3) for color in edge)
    assert near(picture.getpixel((picture.width * 2 // 5, picture.height // 2)), CLOTH, 12)


def test_original_keeps_the_background(api: httpx.Client) -> None:
    """The first result has the photo's own floor and garment."""
    picture = images(api, batchSize=1)[0]
    assert near(picture.getpixel((3, 3)), FLOOR)
    assert near(picture.getpixel((picture.width * 2 // 5, picture.height // 2)), CLOTH, 12)


def test_a_preset_scene_is_always_the_same(api: httpx.Client) -> None:
    """An id stands for one scene; other ids, even unlisted ones, for others."""
    first, again, other, unlisted = (
        images(api, sceneType="preset", sceneId=scene, batchSize=1)[0]
        for scene in ("035", "035", "034", "my own")
    )
    assert first.tobytes() == again.tobytes()
    upper = [picture.crop((0, 0, picture.width, 60)) for picture in (first, other, unlisted)]
    assert len({picture.tobytes() for picture in upper}) == 3


def test_a_mask_decides_what_is_kept(api: httpx.Client) -> None:
    """White in the mask is kept: here the blue half of the garment, not the red one."""
    mask = Image.new("L", (120, 160))
    mask.paste(255, (34, 40, 60, 125))
    picture = images(api, sceneType="none", batchSize=1, mask=encoded(mask))[0]
    body = picture.crop((0, 0, picture.width, picture.height * 3 // 4))
    kept = body.getchannel("A").point(lambda value: 255 * (value > 200))
    assert kept.getbbox() is not None
    red, _, blue, _ = body.split()
    assert ImageChops.multiply(ImageChops.subtract(red, blue), kept).getbbox() is None


def test_a_turned_photo_comes_out_upright(api: httpx.Client) -> None:
    """The orientation that a camera notes in a photo is obeyed, for its mask too."""
    turned = garment().transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    turned.save(buffer, "JPEG", exif=exif)
    image = base64.b64encode(buffer.getvalue()).decode()
    mask = encoded(Image.new("L", turned.size, 255))
    picture = images(api, image=image, mask=mask, sceneType="none", batchSize=1)[0]
    assert picture.height > picture.width


def test_models_can_be_told_apart(api: httpx.Client) -> None:
    """The bust beside the caption has the model's skin tone, so the images differ."""
    made = [images(api, modelId=model, batchSize=1)[0] for model in ("001", "002", "003", "777")]
    assert len({picture.tobytes() for picture in made}) == 4


def test_the_mask_sample_fits_its_photo() -> None:
    """The sample mask has its photo's pixel size, and is black and white."""
    with (
        Image.open(SAMPLES / "jacket.mask.png") as mask,
        Image.open(SAMPLES / "jacket.jpg") as photo,
    ):
        assert mask.size == photo.size
        assert mask.convert("L").getextrema() == (0, 255)


def test_plain_results_are_small_and_true(api: httpx.Client, control: SimulatorControl) -> None:
    """For benchmarks one small image a scene stands in for all."""
    control.settings(plain_results=True)
    for scene in (
        {"sceneType": "original"},
        {"sceneType": "none"},
        {"sceneType": "preset", "sceneId": "001"},
    ):
        listed = results(api, create(api, **scene))
        assert len(listed) == 4
        assert all(len(api.get(one["downloadUrl"]).content) == one["fileSize"] for one in listed)
        assert listed[0]["fileSize"] < 40_000


# Charges, credits and limits


def test_a_task_is_one_charge_whatever_its_batch(
    api: httpx.Client, control: SimulatorControl
) -> None:
    """One credit a task; the same request again is another task and another charge."""
    ids = {create(api, batchSize=size) for size in (1, 4, 4)}
    assert len(ids) == 3
    assert control.charges().total == 3
    assert list(control.charges().by_sha256.values()) == [3]


@pytest.mark.parametrize(
    ("style", "status", "code"), [("402", 402, 402), ("403", 403, 403), ("200", 200, 10402)]
)
def test_an_empty_balance_is_said(
    api: httpx.Client, control: SimulatorControl, style: str, status: int, code: int
) -> None:
    """Credits run out after as many tasks as there were; new ones help."""
    control.settings(credits=1, no_credits_as=style)
    create(api)
    answer = api.post(TASKS, json=GOOD)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert "credits" in answer.json()["message"]
    control.settings(credits=1)
    create(api)
    assert control.charges().total == 2


def test_too_many_creates_are_refused(api: httpx.Client, control: SimulatorControl) -> None:
    """Beyond the rate creates answer 429, with Retry-After if it is set so."""
    control.settings(submits_per_second=0.001)
    create(api)
    refused = api.post(TASKS, json=GOOD)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1000")
    control.settings(retry_after=False)
    assert "Retry-After" not in api.post(TASKS, json=GOOD).headers
    assert control.charges().total == 1


# The control API


def test_state_shows_what_happened(api: httpx.Client, control: SimulatorControl) -> None:
    """Tasks, calls and their counts can be asked for."""
    task_id = create(api, batchSize=1)
    api.get(results(api, task_id)[0]["downloadUrl"])
    api.post(TASKS, json={})
    state = control.state()
    assert state["call_counts"] == {"create": 2, "read": 1, "download": 1}
    assert [call["status"] for call in state["calls"]] == [200, 200, 200, 400]
    assert all(re.fullmatch(r"[\d-]{10}T[\d:]{8}\.\d{3}Z", call["at"]) for call in state["calls"])
    task = state["tasks"][0]
    assert (task["task_id"], task["status"], task["downloads"]) == (task_id, "success", {"1": 1})
    assert (task["photo"]["width"], task["photo"]["height"]) == (120, 160)


def test_reset_forgets_everything(api: httpx.Client, control: SimulatorControl) -> None:
    """After a reset there are no tasks, charges, calls or faults, and the first settings."""
    task_id = create(api)
    control.fault("read", "bad_key")
    control.settings(credits=0)
    control.reset()
    state = control.state()
    assert (state["charges"]["total"], state["tasks"], state["calls"], state["faults"]) == (
        0,
        [],
        [],
        [],
    )
    assert state["settings"] == Settings(seconds=0).report()
    assert api.get(f"{TASKS}/{task_id}").status_code == 404


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"speed": 1}, "there are api_key, credits"),
        ({"seconds": -1}, "seconds is -1"),
        ({"jitter": 2}, "jitter is 2"),
        ({"jitter": False}, "jitter is False"),
        ({"credits": 1.5}, "credits is 1.5"),
        ({"api_key": ""}, "api_key is ''"),
        ({"no_credits_as": "500"}, "one of 402, 403, 200"),
        ({"submits_per_second": 0}, "above 0"),
        ({"retry_after": 1}, "true or false"),
    ],
)
def test_settings_are_checked(
    control: SimulatorControl, changes: dict[str, Any], message: str
) -> None:
    """A setting that makes no sense is refused, and nothing changes."""
    with pytest.raises(ControlError, match=re.escape(message)):
        control.settings(**{"jitter": 0, **changes})
    assert control.settings() == Settings(seconds=0).report()


def test_every_fault_is_documented(server: SimulatorServer, control: SimulatorControl) -> None:
    """The README names every fault, parameter and setting that there is."""
    readme = (ROOT / "local" / "simulator" / "README.md").read_text()
    possible = httpx.get(f"{server.base_url}/_simulator/faults").json()["possible"]
    params = {param for fault in possible.values() for param in fault["params"]}
    for name in {*possible, *params, *control.settings()}:
        assert f"`{name}`" in readme, name


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"on": "create", "fault": "meteor"}, "there are bad_key, contradiction, drop_before"),
        ({"on": "download", "fault": "stuck"}, "on read, not on 'download'"),
        (
            {"on": "create", "fault": "status", "sattus": 500},
            "no parameter 'sattus'; it has status",
        ),
        ({"on": "create", "fault": "status", "status": 204}, "status is 204"),
        ({"on": "create", "fault": "slow", "seconds": "1"}, "seconds is '1'"),
        ({"on": "create", "fault": "slow", "times": 0}, "times is 0"),
        ({"on": "create", "fault": "slow", "probability": 0}, "probability is 0"),
        (
            {"on": "create", "fault": "slow", "match": {"task_id": "x"}},
            "only by path_contains, sha256",
        ),
        ({"on": "download", "fault": "slow", "match": {"result_index": "1"}}, "of type int"),
    ],
)
def test_fault_scripts_are_checked(
    control: SimulatorControl, spec: dict[str, Any], message: str
) -> None:
    """A fault that makes no sense is refused with what is possible."""
    with pytest.raises(ControlError, match=re.escape(message)):
        control.fault(**spec)
    assert control.faults() == []


def test_faults_come_as_a_list_too(server: SimulatorServer, control: SimulatorControl) -> None:
    """Of a list of faults all are scripted, or none."""
    url = f"{server.base_url}/_simulator/faults"
    good = {"on": "create", "fault": "slow"}
    assert httpx.post(url, json=[good, {"on": "create"}]).status_code == 400
    assert control.faults() == []
    assert httpx.post(url, json=[good, good]).status_code == 200
    assert [fault["id"] for fault in control.faults()] == [1, 2]
    control.clear_faults()
    assert control.faults() == []


def test_a_fault_fires_as_often_as_told(api: httpx.Client, control: SimulatorControl) -> None:
    """`times` counts; every fault fires once unless told, or always with None."""
    control.fault("create", "status", times=2, status=503)
    codes = [api.post(TASKS, json=GOOD).status_code for _ in range(3)]
    assert codes == [503, 503, 200]
    control.fault("read", "bad_key", times=None)
    assert [api.get(f"{TASKS}/x").status_code for _ in range(5)] == [401] * 5
    assert [fault["fired"] for fault in control.faults()] == [2, 5]


def test_a_fault_fires_only_where_it_matches(
    api: httpx.Client, control: SimulatorControl, photo_host: str
) -> None:
    """Photos are matched by their URL or their bytes, results by their number."""
    digest = hashlib.sha256(base64.b64decode(PHOTO)).hexdigest()
    url = f"{photo_host}/photos/dress.png"
    control.fault("create", "status", times=None, status=500, match={"path_contains": "dress"})
    control.fault("create", "status", times=None, status=502, match={"sha256": digest})
    assert api.post(TASKS, json=GOOD | {"image": url}).status_code == 500
    assert api.post(TASKS, json=GOOD).status_code == 502
    other = create(api, image=encoded(Image.new("RGB", (50, 50))))
    control.fault(
        "download", "status", times=None, status=500, match={"task_id": other, "result_index": 2}
    )
    codes = [api.get(one["downloadUrl"]).status_code for one in results(api, other)]
    assert codes == [200, 500, 200, 200]


def test_chance_is_the_same_at_every_run(api: httpx.Client, control: SimulatorControl) -> None:
    """A fault with a probability fires sometimes, at the same calls after each reset."""
    runs = []
    for _ in range(2):
        control.reset()
        control.fault("read", "status", times=None, probability=0.5, status=500)
        runs.append([api.get(f"{TASKS}/x").status_code for _ in range(20)])
    assert runs[0] == runs[1]
    assert set(runs[0]) == {404, 500}


def test_a_refused_request_leaves_a_fault_for_the_next(
    api: httpx.Client, control: SimulatorControl
) -> None:
    """What is charged first and then goes wrong does not happen to a request that is refused."""
    control.fault("create", "lost_response")
    assert api.post(TASKS, json=GOOD | {"batchSize": 9}).status_code == 400
    assert control.faults()[0]["fired"] == 0
    with pytest.raises(httpx.RemoteProtocolError):
        api.post(TASKS, json=GOOD)
    assert control.charges().total == 1


# Faults of a create


@pytest.mark.parametrize(("fault", "charged"), [("lost_response", 1), ("drop_before", 0)])
def test_a_connection_drops_on_create(
    api: httpx.Client, control: SimulatorControl, fault: str, charged: int
) -> None:
    """The client sees a dropped connection; whether it was charged, only the charges tell."""
    control.fault("create", fault)
    with pytest.raises(httpx.RemoteProtocolError):
        api.post(TASKS, json=GOOD)
    assert control.charges().total == charged
    call = control.state()["calls"][0]
    assert (call["status"], call["fault"]) == (None, fault)


def test_a_scripted_status_is_answered_as_told(
    api: httpx.Client, control: SimulatorControl
) -> None:
    """Status, code, message, headers and even a raw body can be scripted."""
    control.fault(
        "create", "status", status=429, code=90, message="slow", headers={"Retry-After": "7"}
    )
    answer = api.post(TASKS, json=GOOD)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")
    assert answer.json() == {"code": 90, "message": "slow"}
    control.fault("create", "status", status=503, raw="down")
    answer = api.post(TASKS, json=GOOD)
    assert (answer.status_code, answer.text) == (503, "down")
    assert control.charges().total == 0


def test_an_error_may_come_after_the_charge(api: httpx.Client, control: SimulatorControl) -> None:
    """A 5xx does not mean that nothing was charged."""
    control.fault("create", "error_after_charge", status=504)
    answer = api.post(TASKS, json=GOOD)
    assert (answer.status_code, answer.json()["code"]) == (504, 504)
    assert control.charges().total == 1


def test_an_answer_may_contradict_itself(api: httpx.Client, control: SimulatorControl) -> None:
    """The task is there and charged, whatever the status, the code and the words say."""
    control.fault("create", "contradiction", status=429, code=429, message="slow down")
    control.fault("create", "contradiction", task_id="{task_id} of {key}")
    busy, odd = (api.post(TASKS, json=GOOD) for _ in range(2))
    assert (busy.status_code, busy.json()["code"]) == (429, 429)
    assert (odd.status_code, odd.json()["code"]) == (200, 200)
    first, second = (task["task_id"] for task in control.state()["tasks"])
    assert busy.json()["data"] == {"taskId": first}
    assert odd.json()["data"] == {"taskId": f"{second} of {api.headers['X-Api-Key']}"}
    assert control.charges().total == 2


def test_an_error_may_quote_the_request(api: httpx.Client, control: SimulatorControl) -> None:
    """A message repeats the photo's URL with its signature, or the API key."""
    control.fault("create", "status", status=400, message="cannot load {image} with {key}")
    url = "https://photos.example/a.jpg?X-Amz-Signature=1"
    answer = api.post(TASKS, json={**GOOD, "image": url})
    assert answer.json()["message"] == f"cannot load {url} with {api.headers['X-Api-Key']}"


def test_download_urls_may_be_odd(api: httpx.Client, control: SimulatorControl) -> None:
    """Too many results, with URLs of any length and content."""
    task_id = create(api)
    control.fault("read", "odd_urls", appended="{key}\x01", repeated=3, count=9)
    odd = results(api, task_id)
    assert len(odd) == 9
    ending = f"{api.headers['X-Api-Key']}\x01" * 3
    assert all(result["downloadUrl"].endswith(ending) for result in odd)


@pytest.mark.parametrize(("accepted", "charged"), [(True, 1), (False, 0)])
def test_a_gateway_answers_html(
    api: httpx.Client, control: SimulatorControl, accepted: bool, charged: int
) -> None:
    """HTML comes with 200 or 502, charged or not."""
    control.fault("create", "html", status=200, accepted=accepted)
    answer = api.post(TASKS, json=GOOD)
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "<html>" in answer.text
    assert control.charges().total == charged


@pytest.mark.parametrize("on", ["create", "read"])
@pytest.mark.parametrize("flavour", ["text", "cut", "types", "no_data"])
def test_garbage_is_no_usable_answer(
    api: httpx.Client, control: SimulatorControl, on: str, flavour: str
) -> None:
    """A 200 whose body is no JSON, half of it, of wrong types, or without data."""
    task_id = create(api)
    control.fault(on, "garbage", flavour=flavour)
    answer = api.post(TASKS, json=GOOD) if on == "create" else api.get(f"{TASKS}/{task_id}")
    assert answer.status_code == 200
    if flavour in ("text", "cut"):
        with pytest.raises(json.JSONDecodeError):
            answer.json()
    else:
        assert not isinstance(answer.json().get("data"), dict)
    assert control.charges().total == (2 if on == "create" else 1)


@pytest.mark.parametrize(("style", "status"), [("402", 402), ("403", 403), ("200", 200)])
def test_no_credits_can_be_scripted(
    api: httpx.Client, control: SimulatorControl, style: str, status: int
) -> None:
    """An empty balance for one call."""
    control.fault("create", "no_credits", style=style)
    answer = api.post(TASKS, json=GOOD)
    assert answer.status_code == status
    assert answer.json()["code"] != 0
    assert control.charges().total == 0


def test_a_slow_answer_is_charged_before_it_comes(
    server: SimulatorServer, control: SimulatorControl
) -> None:
    """A client that gives up waiting has been charged."""
    control.fault("create", "slow", seconds=60)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(server.base_url + TASKS, json=GOOD, headers={"X-Api-Key": "k"}, timeout=0.3)
    assert control.charges().total == 1


def test_a_short_delay_ends_in_the_true_answer(
    api: httpx.Client, control: SimulatorControl
) -> None:
    """Late and dripping answers are complete in the end."""
    control.fault("create", "slow", seconds=0.05)
    control.fault("read", "slow_body", seconds=0.1)
    assert read(api, create(api))["progress"] in (99, 100)


# Faults of a read


def test_answers_to_reads_go_wrong_too(api: httpx.Client, control: SimulatorControl) -> None:
    """Dropped, refused, redirected, empty or cut: a read can be all that."""
    url = f"{TASKS}/{create(api)}"
    control.fault("read", "drop_before")
    with pytest.raises(httpx.RemoteProtocolError):
        api.get(url)
    control.fault("read", "bad_key")
    assert api.get(url).status_code == 401
    control.fault("read", "redirect", location="http://169.254.169.254/latest", status=307)
    answer = api.get(url)
    assert (answer.status_code, answer.headers["Location"]) == (
        307,
        "http://169.254.169.254/latest",
    )
    control.fault("read", "empty")
    assert (api.get(url).status_code, api.get(url).status_code) == (200, 200)
    control.fault("read", "truncated")
    with pytest.raises(httpx.RemoteProtocolError, match="complete message body"):
        api.get(url)
    assert api.get(url).json()["code"] == 0


def test_a_task_sticks(api: httpx.Client, control: SimulatorControl) -> None:
    """A stuck task stays at its percentage, for ever or for so long; others do not."""
    stuck, other = create(api), create(api)
    control.fault("read", "stuck", percent=42, match={"task_id": stuck})
    for _ in range(3):
        data = read(api, stuck)
        assert (data["status"], data["progress"], data["results"]) == ("running", 42, None)
    assert results(api, other)
    control.fault("read", "stuck", percent=10, seconds=0)
    assert results(api, create(api))


def test_a_fault_that_stays_counts_tasks(api: httpx.Client, control: SimulatorControl) -> None:
    """Two tasks stick, however often each is read; the third runs."""
    control.fault("read", "stuck", times=2)
    tasks = [create(api, batchSize=1) for _ in range(3)]
    for _ in range(2):
        assert [read(api, task)["status"] for task in tasks[:2]] == ["running", "running"]
    assert results(api, tasks[2])


def test_a_task_fails(api: httpx.Client, control: SimulatorControl) -> None:
    """A task ends with the status error and the message, and stays so; it was charged."""
    task_id = create(api)
    control.fault("read", "task_error", message="no garment")
    for _ in range(2):
        data = read(api, task_id)
        assert (data["status"], data["message"], data["results"]) == ("error", "no garment", None)
    assert control.charges().total == 1


def test_an_unknown_status_is_reported_for_a_while(
    api: httpx.Client, control: SimulatorControl
) -> None:
    """A status that is not documented comes for as many reads as told."""
    task_id = create(api)
    control.fault("read", "unknown_status", value="paused", times=2)
    assert [read(api, task_id)["status"] for _ in range(2)] == ["paused", "paused"]
    assert results(api, task_id)


def test_a_task_is_gone(api: httpx.Client, control: SimulatorControl) -> None:
    """A task that is gone stays unknown."""
    task_id = create(api)
    control.fault("read", "gone")
    assert [api.get(f"{TASKS}/{task_id}").status_code for _ in range(3)] == [404] * 3


def test_success_without_results(api: httpx.Client, control: SimulatorControl) -> None:
    """Success with results null, until the fault has fired often enough."""
    task_id = create(api)
    results(api, task_id)
    control.fault("read", "no_results", times=2)
    assert [read(api, task_id)["results"] for _ in range(2)] == [None, None]
    assert len(results(api, task_id)) == 4


def test_results_as_one_object(api: httpx.Client, control: SimulatorControl) -> None:
    """Results may be a single object instead of a list."""
    task_id = create(api, batchSize=1)
    results(api, task_id)
    control.fault("read", "single_result")
    single = read(api, task_id)["results"]
    assert api.get(single["downloadUrl"]).status_code == 200


# Faults of a download


@pytest.fixture
def result(api: httpx.Client) -> dict[str, Any]:
    return results(api, create(api, batchSize=1))[0]


def test_old_urls_expire_and_fresh_ones_work(
    api: httpx.Client, control: SimulatorControl, result: dict[str, Any]
) -> None:
    """URLs issued before the fault answer 403 every time; those issued later work."""
    control.fault("download", "expired_url")
    assert [api.get(result["downloadUrl"]).status_code for _ in range(2)] == [403, 403]
    task_id = control.state()["tasks"][0]["task_id"]
    assert api.get(results(api, task_id)[0]["downloadUrl"]).status_code == 200


def test_the_first_urls_of_each_task_expire(api: httpx.Client, control: SimulatorControl) -> None:
    """The first so many sets of URLs of every task, now and later, do not work."""
    control.fault("download", "expired_url", urls=2)
    task_id = create(api, batchSize=1)
    urls = [results(api, task_id)[0]["downloadUrl"] for _ in range(3)]
    assert [api.get(url).status_code for url in urls] == [403, 403, 200]


@pytest.mark.parametrize("fault", ["drop_before", "lost_response", "truncated"])
def test_a_download_breaks_off(
    api: httpx.Client, control: SimulatorControl, result: dict[str, Any], fault: str
) -> None:
    """The connection closes before the body is complete; the next try gets it."""
    control.fault("download", fault)
    with pytest.raises(httpx.RemoteProtocolError):
        api.get(result["downloadUrl"])
    assert len(api.get(result["downloadUrl"]).content) == result["fileSize"]


def is_short(answer: httpx.Response, size: int) -> bool:
    return int(answer.headers["Content-Length"]) == len(answer.content) == size // 2


@pytest.mark.parametrize(
    ("fault", "params", "holds"),
    [
        ("short_image", {}, is_short),
        ("empty", {}, lambda answer, _: answer.content == b""),
        ("status", {"status": 502}, lambda answer, _: answer.status_code == 502),
        ("html", {"status": 200}, lambda answer, _: "<html>" in answer.text),
        ("wrong_type", {}, lambda answer, _: answer.content.startswith(b"<html>")),
        ("wrong_type", {"format": "webp"}, lambda answer, _: answer.content[8:12] == b"WEBP"),
        ("wrong_type", {"format": "gif"}, lambda answer, _: answer.content.startswith(b"GIF8")),
        ("redirect", {"location": "http://x/"}, lambda answer, _: answer.is_redirect),
        ("slow", {"seconds": 0.01}, lambda answer, size: len(answer.content) == size),
        ("slow_body", {"seconds": 0.1}, lambda answer, size: len(answer.content) == size),
        ("oversize", {"bytes": 99_999}, lambda answer, size: len(answer.content) == size + 99_999),
    ],
)
def test_a_download_is_spoiled(
    api: httpx.Client,
    control: SimulatorControl,
    result: dict[str, Any],
    fault: str,
    params: dict[str, Any],
    holds: Callable[[httpx.Response, int], bool],
) -> None:
    """Each fault of a download does what its name says, once."""
    control.fault("download", fault, **params)
    answer = api.get(result["downloadUrl"])
    assert holds(answer, result["fileSize"])
    if fault == "wrong_type":
        assert answer.headers["Content-Type"] == "image/jpeg"
    if fault == "oversize":
        assert "Content-Length" not in answer.headers
    assert len(api.get(result["downloadUrl"]).content) == result["fileSize"]


def test_a_body_may_never_end(
    api: httpx.Client, control: SimulatorControl, result: dict[str, Any]
) -> None:
    """An oversize body goes on until the client has had enough."""
    control.fault("download", "oversize")
    size = 0
    with api.stream("GET", result["downloadUrl"]) as answer:
        for chunk in answer.iter_bytes():
            size += len(chunk)
            if size > 5_000_000:
                break
    assert size > 5_000_000
    assert control.health()


# The command


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "local.simulator", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_a_signal(sign: signal.Signals) -> None:
    """It prints where it listens, serves, and a signal ends it with 0 and no word."""
    with start("--port", "0", "--seconds", "0", "--api-key", "k") as process:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert found is not None
        with SimulatorControl(found[0]) as control:
            assert control.settings()["api_key"] == "k"
            control.fault("create", "slow", seconds=60)
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(found[0] + TASKS, json=GOOD, headers={"X-Api-Key": "k"}, timeout=0.3)
            process.send_signal(sign)
            _, errors = process.communicate(timeout=10)
            assert not control.health()
    assert (process.returncode, errors) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--port", "{port}"], "is in use"),
        (["--port", "99999"], "cannot listen"),
        (["--port", "0", "--seconds", "-3"], "seconds is -3"),
        (["--port", "0", "--ca-bundle", "missing.pem"], "the CA bundle missing.pem cannot be used"),
    ],
)
def test_the_command_says_why_it_cannot_start(arguments: list[str], sentence: str) -> None:
    """What is wrong is one sentence and exit code 1, without a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with start(*(argument.format(port=port) for argument in arguments)) as process:
            output, errors = process.communicate(timeout=20)
    assert (process.returncode, output) == (1, "")
    assert sentence in errors
    assert errors.count("\n") == 1


def test_a_server_in_a_thread_stops_and_frees_its_port() -> None:
    """A port that is in use is an OSError; after stopping, the port is free again."""
    with SimulatorServer() as first:
        port = int(first.base_url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"):
            SimulatorServer(port=port).start()
    with SimulatorServer(port=port) as second:
        assert second.control.health()
