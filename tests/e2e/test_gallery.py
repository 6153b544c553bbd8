"""The gallery in a real browser, on the deployed stack, as a merchandiser uses it."""

import io
import json
import re
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    ViewportSize,
    expect,
)

from bench.gallery import Table
from bench.gallery import environment as bench_environment
from local.stack import environment
from tests.e2e import chromium
from tests.e2e.driver import PATIENCE_SECONDS, Catwalk, photo, wait_for
from tests.thorough import thorough

FOLDER = "gallery"
DRESS, SKIRT = f"{FOLDER}/dress.jpg", f"{FOLDER}/skirt.jpg"
SLOW = PATIENCE_SECONDS * 1000
"""Timeout in ms for everything that the stack does."""


@dataclass(frozen=True)
class Visitor:
    """A browser with the gallery's cookie."""

    browser: Browser
    home: str
    state: Any
    """The gallery's cookie."""

    def context(self, **how: Any) -> BrowserContext:
        """Return a new window without a page."""
        context = self.browser.new_context(storage_state=self.state, base_url=self.home, **how)
        context.set_default_timeout(SLOW)
        return context


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium, or skip the tests and say why."""
    path = chromium.find()
    if path is None:
        pytest.skip(f"NO BROWSER TESTS: there is no Chromium. {chromium.ADVICE}")
    # Playwright's default of five seconds is too short beside other tests.
    expect.set_options(timeout=SLOW)
    with chromium.launched(path) as made:
        yield made


@pytest.fixture(scope="module")
def photos(catwalk: Catwalk) -> dict[str, bytes]:
    """Make two photos, and wait for their images; the second one's have no background."""
    bodies = {DRESS: photo(), SKIRT: photo()}
    catwalk.drop(DRESS, bodies[DRESS], {"sku": "G-DRESS", "model-id": "044"})
    catwalk.drop(SKIRT, bodies[SKIRT], {"sku": "G-SKIRT", "scene-type": "none"})
    catwalk.end_of(DRESS)
    catwalk.end_of(SKIRT)
    return bodies


@pytest.fixture(scope="module")
def visitor(browser: Browser, catwalk: Catwalk) -> Iterator[Visitor]:
    """Open the gallery with the address that the command shows; Ctrl-C ends it well."""
    with visiting(browser, catwalk, {}) as made:
        yield made


@contextmanager
def visiting(browser: Browser, catwalk: Catwalk, more: Mapping[str, str]) -> Iterator[Visitor]:
    """Run a gallery with more environment variables, and let the browser in."""
    address, folder = catwalk.stack.address, catwalk.stack.folder.path
    variables = environment.bare(folder) | environment.aws(
        folder,
        endpoint=address.endpoint,
        ca_bundle=Path(address.ca_bundle),
        credentials=address.credentials,
    )
    with chromium.gallery({**variables, **more}) as url:
        home = url.partition("?")[0]
        context = browser.new_context()
        page = context.new_page()
        page.goto(url)
        page.wait_for_url(home)
        expect(page.get_by_role("link", name="Catwalk, all photos")).to_be_visible()
        yield Visitor(browser, home, context.storage_state())


@pytest.fixture
def page(visitor: Visitor, photos: dict[str, bytes]) -> Iterator[Page]:
    """Open a window; an error on its console fails the test."""
    with visitor.context() as context:
        made = context.new_page()
        complaints: list[str] = []

        def complain(line: ConsoleMessage) -> None:
            if line.type == "error":
                complaints.append(line.text)

        made.on("pageerror", lambda error: complaints.append(str(error)))
        made.on("console", complain)
        yield made
        assert complaints == []


def cards(page: Page) -> Any:
    """Return the cards in the grid."""
    return page.locator("[data-card]")


def test_filters_are_the_address(page: Page) -> None:
    """The search is part of the address, so it can be copied and the back button works."""
    page.goto(f"?folder={FOLDER}")
    expect(cards(page)).to_have_count(2)
    page.keyboard.press("/")
    page.keyboard.type("g-skirt")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?q=g-skirt&folder=gallery")
    expect(cards(page)).to_have_count(1)
    expect(cards(page)).to_contain_text("skirt.jpg")
    page.get_by_role("link", name="Failed").click()
    page.wait_for_url("**status=failed**")
    expect(page.get_by_role("heading", name="No photos found")).to_be_visible()
    page.go_back()
    expect(cards(page)).to_have_count(1)
    page.go_back()
    page.get_by_label("Model").select_option("044")
    page.wait_for_url("**model=044**")
    expect(cards(page)).to_contain_text("dress.jpg")


def test_grid_by_pointer_and_keys(page: Page) -> None:
    """The pointer flips through results, arrow keys move between photos, Enter opens one."""
    page.goto(f"?folder={FOLDER}")
    pane = cards(page).first.locator("[data-flip]")
    box = pane.bounding_box()
    assert box is not None
    for share, label in ((0.2, "Result 1"), (0.8, "Result 2")):
        page.mouse.move(box["x"] + share * box["width"], box["y"] + 20)
        expect(pane.locator("img.on")).to_have_attribute("alt", re.compile(label))
    links = page.locator("[data-card] .open")
    links.first.focus()
    page.keyboard.press("ArrowRight")
    expect(links.nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/*")
    page.get_by_role("link", name="All photos").last.click()
    page.wait_for_url(f"**/?folder={FOLDER}")


def test_job_ends_before_ones_eyes(page: Page, catwalk: Catwalk) -> None:
    """A dropped photo and its images appear without a reload."""
    page.goto("?folder=gallery-live")
    expect(page.get_by_role("heading", name="No photos found")).to_be_visible()
    page.evaluate("window.sameAsBefore = true")
    stuck = {"path_contains": "gallery-live/"}
    catwalk.vendor.fault("read", "stuck", match=stuck, percent=37, seconds=10)
    catwalk.drop("gallery-live/dress.jpg", photo())
    card = cards(page)
    expect(card).to_have_count(1)
    expect(card.get_by_role("progressbar")).to_have_attribute("value", "37")
    expect(card.locator(".status")).to_have_text("Done")
    image = card.locator(".after img").first
    wait_for(lambda: image.evaluate("image => image.naturalWidth > 0"), "the result to be shown")
    assert page.evaluate("window.sameAsBefore") is True


def test_compare_and_regenerate(page: Page, catwalk: Catwalk, photos: dict[str, bytes]) -> None:
    """The slider follows keys and pointer; new images cost the price that was confirmed, once."""
    job_id = catwalk.end_of(DRESS)["job_id"]
    page.goto(f"jobs/{job_id}")
    slider = page.get_by_role("slider")
    expect(slider).to_have_attribute("aria-valuenow", "50")
    slider.press("ArrowRight")
    expect(slider).to_have_attribute("aria-valuenow", "55")
    slider.press("Home")
    expect(slider).to_have_attribute("aria-valuetext", "0 % photo")
    box = page.locator("[data-compare]").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 2, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 90)
    page.mouse.up()
    expect(slider).to_have_attribute("aria-valuenow", "80")
    page.get_by_role("link", name="Result 2").click()
    expect(page.locator("[data-after]")).to_have_attribute("alt", re.compile("Result 2 of 2"))

    page.get_by_role("button", name="Make new images").click()
    dialog = page.get_by_role("dialog", name="Make new images?")
    expect(dialog).to_contain_text("1 credit")
    dialog.get_by_role("button", name="Not now").click()
    expect(dialog).to_be_hidden()
    assert catwalk.record(job_id)["attempt"] == 1
    page.get_by_role("button", name="Make new images").click()
    dialog.get_by_role("button", name="Make new images").dblclick()
    expect(page.get_by_text("It continues as attempt 2.")).to_be_visible()
    expect(page.get_by_role("heading", name="Attempt 1")).to_be_visible()
    copy = page.get_by_role("button", name="Copy the job's id")
    copy.focus()
    expect(page.locator(".story .status")).to_have_text("Done")
    expect(copy).to_be_focused()
    record = catwalk.end_of(DRESS)
    assert (record["attempt"], record["credits"], catwalk.charges(photos[DRESS])) == (2, 2, 2)
    older = page.locator(".earlier img")
    expect(older).to_have_count(2)
    wait_for(lambda: older.first.evaluate("image => image.naturalWidth > 0"), "the older version")


def test_zip(page: Page, catwalk: Catwalk) -> None:
    """All results on the page come as one zip, with the same bytes as in the bucket."""
    record = catwalk.end_of(SKIRT)
    page.goto(f"?folder={FOLDER}&sku=G-SKIRT")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download these").click()
    assert download.value.suggested_filename == "catwalk-gallery-G-SKIRT.zip"
    with zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes())) as zipped:
        assert zipped.testzip() is None
        bodies = {name: zipped.read(name) for name in zipped.namelist()}
    expected = {catwalk.object(r["bucket"], r["key"])[0] for r in record["results"]}
    assert set(bodies.values()) == expected
    assert all(name.startswith("G-SKIRT_") and "/" not in name for name in bodies)
    assert len(bodies) == 2


@pytest.mark.parametrize("scheme", ["light", thorough("dark")])
def test_accessible(
    visitor: Visitor, photos: dict[str, bytes], catwalk: Catwalk, scheme: str
) -> None:
    """axe-core finds nothing serious in grid and job page, and nothing is cut off on a phone."""
    job_id = catwalk.end_of(SKIRT)["job_id"]
    phone: ViewportSize = {"width": 360, "height": 740}
    with visitor.context(color_scheme=scheme, viewport=phone, reduced_motion="reduce") as context:
        context.add_init_script(path=chromium.AXE)
        page = context.new_page()
        for path in (f"?folder={FOLDER}", f"jobs/{job_id}"):
            page.goto(path)
            expect(page.locator("main img").first).to_be_visible()
            for width in (phone["width"], 1280):
                page.set_viewport_size({"width": width, "height": phone["height"]})
                wide = page.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, f"{path} is {wide} pixels wide on {width}"
                if path.startswith("jobs") and width > phone["width"]:
                    page.get_by_role("button", name="Make new images").click()
                found = page.evaluate("async () => (await axe.run()).violations")
                bad = [v for v in found if v["impact"] in {"serious", "critical"}]
                assert bad == [], json.dumps(bad, indent=1)


def test_endless(browser: Browser, tmp_path: Path) -> None:
    """Scrolling loads more jobs, each once."""
    with (
        Table(200) as table,
        chromium.gallery(bench_environment(table.url, tmp_path)) as url,
        browser.new_context(viewport={"width": 500, "height": 600}) as context,
    ):
        page = context.new_page()
        page.goto(url)
        expect(cards(page)).to_have_count(24)
        for count in (48, 72, 96):
            cards(page).last.scroll_into_view_if_needed()
            expect(cards(page)).to_have_count(count)
        ids = page.evaluate(
            "[...document.querySelectorAll('[data-card]')].map(c => c.dataset.card)"
        )
        assert len(set(ids)) == 96


def test_stranger(browser: Browser, visitor: Visitor) -> None:
    """Another browser on the same machine gets a page that says what to do."""
    with browser.new_context() as context:
        page = context.new_page()
        answer = page.goto(visitor.home)
        assert answer is not None
        assert answer.status == 403
        expect(page.get_by_role("heading")).to_have_text("The gallery does not know this browser.")


def test_no_other_port_is_sent_the_cookie(visitor: Visitor) -> None:
    """A server on another port gets no cookie, since the cookie's path is the gallery's secret."""
    sent: list[str | None] = []

    class Neighbour(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sent.append(self.headers["Cookie"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Neighbour) as server, visitor.context() as context:
        threading.Thread(target=server.serve_forever).start()
        try:
            context.new_page().goto(f"http://127.0.0.1:{server.server_port}/")
        finally:
            server.shutdown()
    assert sent
    assert set(sent) == {None}
