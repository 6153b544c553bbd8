"""Reviewing in a real browser: choosing, approving, refusing, and the way through a folder."""

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.driver import Catwalk, photo, wait_for
from tests.e2e.test_gallery import Visitor, browser, cards, page, visitor

__all__ = ["browser", "page", "visitor"]
"""The fixtures."""

FOLDER = "review"
NAMES = ("alba.jpg", "bella.jpg", "clio.jpg")


@pytest.fixture(scope="module")
def photos(catwalk: Catwalk) -> dict[str, bytes]:
    """Make three photos with two images each."""
    bodies = {f"{FOLDER}/{name}": photo() for name in NAMES}
    for key, body in bodies.items():
        catwalk.drop(key, body, {"sku": "R-1"})
    for key in bodies:
        catwalk.end_of(key)
    return bodies


def chip(page: Page, label: str) -> Locator:
    """Return a filter chip above the grid."""
    return page.get_by_role("navigation", name="Status").get_by_role("link", name=label)


def verdict(page: Page, name: str) -> Locator:
    """Return a button of the review."""
    return page.locator(f"[data-verdict={name}]")


def shows(page: Page, name: str) -> None:
    """Wait until a photo's page accepts keys."""
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    # The script shows this element once it listens.
    expect(page.locator("[data-around]")).to_be_visible()


def opened(page: Page, name: str) -> None:
    """Open a photo from its folder."""
    page.goto(f"?folder={FOLDER}&sort=name")
    page.get_by_role("link", name=name).click()
    shows(page, name)


def test_with_the_keyboard_alone(page: Page, catwalk: Catwalk) -> None:
    """Choose the second image, refuse the first, approve, and go on to the next photo."""
    opened(page, "alba.jpg")
    for key in ("2", "1", "1", "x", "a"):
        page.keyboard.press(key)
    expect(page.locator(".hint")).to_contain_text("Approved by")
    expect(page.locator("[data-result='2'] [data-mark=chosen]")).to_have_attribute(
        "aria-pressed", "true"
    )
    (record,) = catwalk.records(f"{FOLDER}/alba.jpg")
    review = record["review"]
    assert (review["state"], review["chosen"], review["refused"]) == ("approved", [2], [1])
    assert catwalk.event(record["job_id"], "Job Reviewed")["detail"]["review"]["chosen"] == [2]
    page.keyboard.press("ArrowRight")
    shows(page, "bella.jpg")
    page.keyboard.press("r")
    expect(page.locator(".hint")).to_contain_text("Refused by")
    page.keyboard.press("r")
    expect(page.locator("[data-toast]")).to_contain_text("It is to be reviewed again.")
    expect(verdict(page, "refused")).to_have_attribute("aria-pressed", "false")


def test_a_key_that_is_held_down_decides_once(page: Page) -> None:
    """A keyboard repeats a key that is held down; the decision is not taken back by it."""
    opened(page, "bella.jpg")
    for _ in range(2):
        page.keyboard.down("a")
    assert verdict(page, "approved").get_attribute("aria-pressed") == "true"
    page.keyboard.up("a")
    expect(page.locator(".hint")).to_contain_text("Approved by")
    page.keyboard.press("a")
    # The message appears once the record has it; the hint may have said so before.
    expect(page.locator("[data-toast]")).to_contain_text("It is to be reviewed again.")
    expect(page.locator(".hint")).to_contain_text("Reopened by")


def test_a_decision_is_undone(page: Page, visitor: Visitor, catwalk: Catwalk) -> None:
    """U takes a decision back, with the marks that it had; somebody else's decision stays."""
    opened(page, "clio.jpg")
    for key in ("1", "r"):
        page.keyboard.press(key)
    toast = page.locator("[data-toast]")
    expect(toast).to_contain_text("Refused.")
    page.keyboard.press("u")
    expect(toast).to_have_text("Undone. It is to be reviewed again.")
    (record,) = catwalk.records(f"{FOLDER}/clio.jpg")
    assert (record["review"]["state"], record["review"]["chosen"]) == ("to_review", [1])
    with visitor.context() as other:
        second = other.new_page()
        second.goto(page.url)
        verdict(second, "refused").click()
        expect(second.locator(".hint")).to_contain_text("Refused by")
        # The page does not know yet what follows.
        second.route("**/live?*", lambda route: route.fulfill(status=204))
        toast = second.locator("[data-toast]")
        # It stays for as long as the pointer is on it.
        toast.hover()
        done = catwalk.run_command("review", record["job_id"], "--approve", "--yes")
        assert done.returncode == 0, done.stderr
        toast.get_by_role("button", name="Undo").click()
        expect(toast).to_contain_text("approved it in the meantime")
    (record,) = catwalk.records(f"{FOLDER}/clio.jpg")
    assert record["review"]["state"] == "approved"
    catwalk.run_command("review", record["job_id"], "--reopen", "--yes")


def test_filters_have_counts(page: Page, catwalk: Catwalk) -> None:
    """An approved photo is no longer in "To review", and the counts change."""
    alba, bella, clio = (catwalk.records(f"{FOLDER}/{name}")[0]["job_id"] for name in NAMES)
    for words in (("--reopen", bella), ("--approve", alba, clio)):
        done = catwalk.run_command("review", *words, "--yes")
        assert done.returncode == 0, done.stderr
    page.goto(f"?folder={FOLDER}&status=approved")
    expect(chip(page, "Approved")).to_contain_text("2")
    expect(cards(page)).to_have_count(2)
    expect(cards(page).first.locator(".status")).to_have_text("Approved")
    chip(page, "To review").click()
    expect(cards(page)).to_have_count(1)
    expect(page.locator("[data-overview]")).to_contain_text("3 done")


def test_two_people_at_once(page: Page, visitor: Visitor, catwalk: Catwalk) -> None:
    """The second reviewer changes nothing, also not with the next key, and is told so."""
    opened(page, "bella.jpg")
    with visitor.context() as other:
        second = other.new_page()
        second.goto(page.url)
        # Until it reads the record again, this page shows the old state.
        second.route("**/live?*", lambda route: route.abort())
        verdict(page, "approved").click()
        expect(page.locator(".hint")).to_contain_text("Approved by")
        second.unroute("**/live?*")
        for key in ("1", "r"):
            second.keyboard.press(key)
        expect(second.locator("[data-toast]")).to_contain_text("in the meantime")
        expect(verdict(second, "approved")).to_have_attribute("aria-pressed", "true")
    (record,) = catwalk.records(f"{FOLDER}/bella.jpg")
    assert (record["review"]["state"], record["review"].get("chosen", [])) == ("approved", [])


def test_a_choice_is_saved_before_the_page_is_left(page: Page, catwalk: Catwalk) -> None:
    """The next photo is shown only after the choices for this one are stored."""
    opened(page, "bella.jpg")
    for key in ("1", "2", "ArrowRight"):
        page.keyboard.press(key)
    shows(page, "clio.jpg")
    (record,) = catwalk.records(f"{FOLDER}/bella.jpg")
    assert record["review"]["chosen"] == [1, 2]


def test_the_way_back_leads_to_the_photo(page: Page) -> None:
    """Back from a job's page leads to the card of the job seen last."""
    opened(page, "alba.jpg")
    page.keyboard.press("ArrowRight")
    shows(page, "bella.jpg")
    page.locator("[data-back]").click()
    expect(page.get_by_role("link", name="bella.jpg")).to_be_focused()


def test_nothing_jumps(visitor: Visitor, photos: dict[str, bytes]) -> None:
    """Images have their size from the beginning: the layout shift is below 0.05."""
    with visitor.context() as context:
        context.add_init_script(
            "window.shift = 0; new PerformanceObserver((list) => { for (const entry of"
            " list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value; })"
            ".observe({ type: 'layout-shift', buffered: true });"
        )
        tab = context.new_page()
        for address in (f"?folder={FOLDER}", None):
            if address is None:
                cards(tab).first.locator(".open").click()
                tab.wait_for_url("**/jobs/*")
            else:
                tab.goto(address)
            tab.wait_for_load_state("networkidle")
            assert tab.evaluate("window.shift") < 0.05
    assert photos


def test_a_photo_that_is_gone(visitor: Visitor, photos: dict[str, bytes]) -> None:
    """In place of a missing picture there is a sentence, not the browser's broken image."""
    assert photos
    with visitor.context() as context:
        tab = context.new_page()
        tab.route("**/small/**", lambda route: route.fulfill(status=404, body=""))
        opened(tab, "alba.jpg")
        expect(tab.locator(".compare .placeholder").first).to_have_text(
            "This image cannot be shown"
        )


def test_a_folder_says_how_it_gets_on(visitor: Visitor, catwalk: Catwalk) -> None:
    """A folder's header counts, and a notification comes when its last photo is done."""
    folder = f"{FOLDER}-live"
    stuck = {"path_contains": f"{folder}/"}
    catwalk.vendor.fault("read", "stuck", match=stuck, percent=37, seconds=10)
    catwalk.drop(f"{folder}/eva.jpg", photo())
    with visitor.context() as context:
        # A test cannot see the system's notifications.
        context.add_init_script(
            "window.told = []; window.Notification = class {"
            " static permission = 'granted';"
            " static async requestPermission() { return 'granted'; }"
            " constructor(title, { body }) { window.told.push(`${title}: ${body}`); } };"
        )
        tab = context.new_page()
        tab.goto(f"?folder={folder}")
        expect(tab.locator("[data-summary]")).to_contain_text("1 under way")
        tab.get_by_role("button", name="Tell me when it is done").click()
        expect(tab.locator("[data-summary]")).to_have_text("1 done")
        assert tab.evaluate("window.told") == [f"{folder} is done: 1 done"]


def test_one_banner_while_photos_wait(visitor: Visitor, catwalk: Catwalk, api_key: str) -> None:
    """While the vendor refuses the key, one banner says so; the card only waits, then continues."""
    key = f"{FOLDER}-paused/flora.jpg"
    before = catwalk.vendor.settings()
    catwalk.vendor.settings(api_key="sk-right")
    try:
        catwalk.drop(key, photo())
        wait_for(lambda: any("waiting" in record for record in catwalk.records(key)), "it to wait")
        with visitor.context() as context:
            tab = context.new_page()
            tab.goto(f"?folder={FOLDER}-paused")
            expect(tab.locator(".banner")).to_have_count(1)
            expect(tab.locator(".banner")).to_contain_text("does not accept the API key")
            expect(cards(tab).locator(".status")).to_have_text("Waiting")
            catwalk.vendor.settings(**before)
            catwalk.run_command("set-key", stdin=api_key)
            catwalk.close_breaker()
            catwalk.again(key)
            expect(cards(tab).locator(".status")).to_have_text("Done")
            expect(tab.locator(".banner")).to_have_count(0)
    finally:
        catwalk.vendor.settings(**before)
        catwalk.close_breaker()
