"""The gallery in a real browser: select many, shoot again, drop photos into the page."""

import base64
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, ViewportSize, expect

from tests.e2e import chromium
from tests.e2e.driver import Catwalk, photo, wait_for
from tests.e2e.test_gallery import Visitor, browser, cards, page, visiting, visitor
from tests.e2e.test_people import person, policy
from tests.thorough import thorough

__all__ = ["browser", "page", "person", "visitor"]
"""The fixtures."""

FOLDER = "desk"
NAMES = ("coat.jpg", "dress.jpg", "skirt.jpg")


@pytest.fixture(scope="module")
def photos(catwalk: Catwalk) -> dict[str, bytes]:
    """Make three photos, and wait until they have images."""
    bodies = {f"{FOLDER}/{name}": photo() for name in NAMES}
    for key, body in bodies.items():
        catwalk.drop(key, body, {"sku": f"D-{key[5:9].upper()}"})
    for key in bodies:
        catwalk.end_of(key)
    return bodies


def made(catwalk: Catwalk, folder: str) -> None:
    """Drop the three photos into another folder, and wait until they have images."""
    for name in NAMES:
        catwalk.drop(f"{folder}/{name}", photo())
    for name in NAMES:
        catwalk.end_of(f"{folder}/{name}")


def bar(page: Page) -> Locator:
    """Return the bar of the selection."""
    return page.get_by_role("region", name="Selection")


def box(page: Page, name: str) -> Locator:
    """Return the checkbox of a photo's card."""
    return page.get_by_role("checkbox", name=f"Select {name}").first


def reviews(catwalk: Catwalk, folder: str, names: tuple[str, ...] = NAMES) -> list[str]:
    """Return the review states of photos."""
    records = [catwalk.records(f"{folder}/{name}")[0] for name in names]
    return [record.get("review", {}).get("state", "") for record in records]


def files(folder: Path, **bodies: bytes) -> list[str]:
    """Write photos to files; return their paths."""
    folder.mkdir(exist_ok=True)
    paths = []
    for name, body in bodies.items():
        path = folder / f"{name}.jpg"
        path.write_bytes(body)
        paths.append(str(path))
    return paths


# --- many at once --------------------------------------------------------------------------------


def test_selection_survives(page: Page, catwalk: Catwalk) -> None:
    """A range is selected with shift, and stays through new cards, another page and a reload."""
    page.goto(f"?folder={FOLDER}")
    expect(cards(page)).to_have_count(3)
    boxes = page.locator("[data-pick]")
    boxes.first.check()
    boxes.last.click(modifiers=["Shift"])
    expect(bar(page)).to_contain_text("3 selected")
    expect(bar(page).get_by_role("button", name="Shoot again")).to_contain_text("3 credits")
    cards(page).first.locator(".open").click()
    page.wait_for_url("**/jobs/*")
    page.go_back()
    expect(bar(page)).to_contain_text("3 selected")
    expect(page.locator("[data-pick]:checked")).to_have_count(3)
    stuck = {"path_contains": f"{FOLDER}/new/"}
    catwalk.vendor.fault("read", "stuck", match=stuck, percent=37, seconds=5)
    catwalk.drop(f"{FOLDER}/new/late.jpg", photo())
    page.evaluate("window.same = true")
    page.get_by_role("link", name="1 new").click()
    expect(cards(page)).to_have_count(4)
    expect(page.get_by_role("link", name="1 new")).to_be_hidden()
    assert page.evaluate("window.same") is True, "a page that is loaded anew ends an upload"
    expect(bar(page)).to_contain_text("3 selected")
    box(page, "late.jpg").check()
    catwalk.end_of(f"{FOLDER}/new/late.jpg")
    late = cards(page).filter(has_text="late.jpg")
    expect(late.locator(".after img").first).to_be_visible()
    expect(late.locator("[data-pick]")).to_be_checked()
    page.goto("?folder=elsewhere")
    expect(bar(page)).to_contain_text("4 of them with other filters")
    bar(page).get_by_role("button", name="Clear the selection").click()
    expect(bar(page)).to_be_hidden()


def test_the_first_photos_come_by_themselves(page: Page, catwalk: Catwalk) -> None:
    """An empty page fills without a click, and then offers what it offers for photos."""
    page.goto("?folder=desk-first")
    expect(page.get_by_role("heading", name="No photos found")).to_be_visible()
    expect(page.get_by_role("button", name="Select all")).to_be_hidden()
    catwalk.drop("desk-first/one.jpg", photo())
    expect(cards(page)).to_have_count(1)
    expect(page.get_by_role("heading", name="No photos found")).to_be_hidden()
    expect(page.get_by_role("button", name="Select all")).to_be_visible()
    expect(page.get_by_role("link", name="Download these")).to_be_visible()
    # Now nothing moves by itself any more.
    catwalk.drop("desk-first/two.jpg", photo())
    expect(page.get_by_role("link", name="1 new")).to_be_visible()
    expect(cards(page)).to_have_count(1)


def test_new_photos_come_however_late_the_answer_is(page: Page, catwalk: Catwalk) -> None:
    """What an answer left out comes with the next one, and a late answer takes no photo away."""
    folder = "desk-late"
    page.goto(f"?folder={folder}")
    expect(page.get_by_role("heading", name="No photos found")).to_be_visible()
    part = "**/?*part=1*"
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    # The index does not know the photo yet.
    page.route(part, lambda route: route.fulfill(body="", content_type="text/html"), times=1)
    catwalk.drop(f"{folder}/one.jpg", photo())
    expect(cards(page)).to_have_count(1)
    box(page, "one.jpg").check()
    for name in ("three.jpg", "two.jpg"):
        catwalk.drop(f"{folder}/{name}", photo())
    pill = page.get_by_role("link", name="2 new")
    expect(pill).to_be_visible()
    page.route(part, hold, times=1)
    with page.expect_request(part):
        pill.press("Enter")
    pill.press("Enter")
    expect(cards(page)).to_have_count(3)
    expect(page.locator("#main")).to_be_focused()
    with page.expect_response(part):
        held[0].fulfill(body="", content_type="text/html")
    page.evaluate("new Promise((done) => setTimeout(done, 100))")
    expect(cards(page)).to_have_count(3)
    # The range begins at the box that was clicked last, in the grid that was loaded anew.
    cards(page).first.locator("[data-pick]").click(modifiers=["Shift"])
    expect(bar(page)).to_contain_text("3 selected")
    page.keyboard.press("Escape")


def test_all_that_match_and_download(page: Page) -> None:
    """All matching photos are selected by the server, and downloaded as one zip."""
    page.goto(f"?folder={FOLDER}&sku=D-DRES")
    page.get_by_role("button", name="Select all").click()
    expect(bar(page)).to_contain_text("1 selected")
    expect(bar(page)).to_contain_text("The only one is selected.")
    with page.expect_download() as download:
        bar(page).get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == "catwalk-1-selected.zip"


def test_selection_by_keys_alone(page: Page, catwalk: Catwalk) -> None:
    """`s` selects a photo, Shift+S a range, `b` moves to the bar, Escape clears the selection."""
    keyed = "desk-keys"
    made(catwalk, keyed)
    page.goto(f"?folder={keyed}")
    expect(cards(page)).to_have_count(3)
    page.locator("[data-card] .open").first.focus()
    page.keyboard.press("s")
    expect(bar(page)).to_contain_text("1 selected")
    page.keyboard.press("s")
    expect(bar(page)).to_be_hidden()
    page.keyboard.press("s")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+S")
    expect(bar(page)).to_contain_text("3 selected")
    page.keyboard.press("Escape")
    expect(bar(page)).to_be_hidden()
    page.keyboard.press("s")
    page.keyboard.press("b")
    expect(bar(page).get_by_role("button", name="Approve")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_text("1 approved.")).to_be_visible()
    expect(bar(page)).to_be_hidden()
    expect(page.locator("[data-card] .open").nth(2)).to_be_focused()
    assert sorted(reviews(catwalk, keyed)) == ["", "", "approved"]


def test_two_people(visitor: Visitor, page: Page, catwalk: Catwalk) -> None:
    """A review by another person meanwhile is reported and kept; the photo stays selected."""
    page.goto(f"?folder={FOLDER}&q=desk/")
    for name in NAMES:
        box(page, name).check()
    with visitor.context() as context:
        other = context.new_page()
        other.goto(f"?folder={FOLDER}")
        box(other, "coat.jpg").check()
        bar(other).get_by_role("button", name="Approve").click()
        expect(other.get_by_text("1 approved.")).to_be_visible()
    bar(page).get_by_role("button", name="Refuse").click()
    expect(bar(page)).to_contain_text("2 refused.")
    expect(bar(page)).to_contain_text("approved 1 of them in the meantime; look again.")
    expect(bar(page)).to_contain_text("1 selected")
    assert reviews(catwalk, FOLDER) == ["approved", "refused", "refused"]
    bar(page).get_by_role("button", name="Refuse").click()
    expect(bar(page)).to_be_hidden()
    assert reviews(catwalk, FOLDER) == ["refused"] * 3


def test_a_decision_of_many_is_undone(page: Page, catwalk: Catwalk) -> None:
    """The message offers to undo what was just decided, by click or by the key U."""
    folder = "desk-undo"
    made(catwalk, folder)
    page.goto(f"?folder={folder}")
    toast = page.locator("[data-toast]")
    for undo in (lambda: toast.get_by_role("button", name="Undo").click(), None):
        for name in NAMES:
            box(page, name).check()
        bar(page).get_by_role("button", name="Refuse").click()
        expect(toast).to_contain_text("3 refused.")
        assert reviews(catwalk, folder) == ["refused"] * 3
        if undo is None:
            page.keyboard.press("u")
        else:
            undo()
        expect(toast).to_have_text("3 undone.")
        expect(cards(page).first.locator(".status")).to_have_text("Done")
        assert reviews(catwalk, folder) == ["to_review"] * 3


def test_what_is_reviewed_leaves_to_review(page: Page, catwalk: Catwalk) -> None:
    """Photos that were approved together leave "To review", and come back if that is undone."""
    folder = "desk-leave"
    made(catwalk, folder)
    page.goto(f"?folder={folder}&status=to-review&sort=name")
    toast = page.locator("[data-toast]")
    approve = bar(page).get_by_role("button", name="Approve")
    for name in NAMES[:2]:
        box(page, name).check()
    cards(page).last.evaluate("card => { card.same = true; }")
    approve.click()
    expect(toast).to_contain_text("2 approved.")
    expect(cards(page)).to_have_count(1)
    page.keyboard.press("u")
    expect(cards(page).locator(".open")).to_have_text(NAMES)
    assert cards(page).last.evaluate("card => card.same"), "the grid was loaded anew"
    for name in NAMES:
        box(page, name).check()
    # What somebody else has decided meanwhile stays, to be looked at.
    (coat, *_) = catwalk.records(f"{folder}/{NAMES[0]}")
    done = catwalk.run_command("review", coat["job_id"], "--refuse", "--yes")
    assert done.returncode == 0, done.stderr
    # One of all that match is not loaded yet.
    cards(page).last.evaluate("card => card.remove()")
    expect(bar(page)).to_contain_text("3 selected")
    approve.click()
    expect(bar(page)).to_contain_text("refused 1 of them in the meantime; look again.")
    expect(cards(page)).to_have_count(1)
    expect(cards(page).locator(".status")).to_have_text("Refused")
    page.keyboard.press("u")
    expect(cards(page).locator(".open")).to_have_text(NAMES[1:])
    bar(page).get_by_role("button", name="Clear the selection").click()
    for name in NAMES[1:]:
        box(page, name).check()
    approve.click()
    expect(page.get_by_role("heading", name="Nothing to review")).to_be_visible()
    expect(page.get_by_role("link", name="Download these")).to_be_hidden()
    expect(page.locator("#main")).to_be_focused()
    page.keyboard.press("u")
    expect(cards(page).locator(".open")).to_have_text(NAMES[1:])
    expect(toast).to_have_text("2 undone.")
    assert reviews(catwalk, folder) == ["refused", "to_review", "to_review"]


# --- another look --------------------------------------------------------------------------------


def looks_of(catwalk: Catwalk, key: str, count: int) -> set[str]:
    """Wait until all jobs of a photo have ended; return their models."""
    return {record["settings"]["model_id"] for record in catwalk.ended(key, count)}


def zoom_of(page: Page) -> str:
    """Return the zoom and place of both images of a comparison, which are the same."""
    transforms = "images => images.map(image => image.style.transform)"
    left, right = page.locator("[data-shown]").evaluate_all(transforms)
    assert left == right
    return str(left)


def moved_from(page: Page, before: str) -> str:
    """Wait until the images of a comparison are elsewhere; return where."""
    return wait_for(lambda: zoom_of(page) if zoom_of(page) != before else None, "a move")


def test_shoot_again_and_compare(page: Page, catwalk: Catwalk, photos: dict[str, bytes]) -> None:
    """Two photos are shot with Mia for the price that was shown; both looks can be compared."""
    page.goto(f"?folder={FOLDER}&q=desk/")
    box(page, "dress.jpg").check()
    box(page, "skirt.jpg").check()
    bar(page).get_by_role("button", name="Shoot again").click()
    dialog = page.get_by_role("dialog", name="Shoot 2 photos again")
    dialog.get_by_role("radio", name="Mia").check(force=True)
    expect(dialog.get_by_text("2 photos with Mia: 2 credits")).to_be_visible()
    dialog.get_by_role("button", name="Shoot again").dblclick()
    expect(page.get_by_text("2 photos with Mia: under way.")).to_be_visible()
    expect(bar(page)).to_be_hidden()
    for name in ("dress.jpg", "skirt.jpg"):
        key = f"{FOLDER}/{name}"
        assert looks_of(catwalk, key, 2) == {"002", "004"}
        assert catwalk.charges(photos[key]) == 2
    first = next(
        record
        for record in catwalk.records(f"{FOLDER}/dress.jpg")
        if record["settings"]["model_id"] == "002"
    )
    page.goto(f"jobs/{first['job_id']}")
    expect(page.get_by_role("link", name="Mia", exact=True)).to_be_visible()
    page.get_by_role("link", name="Compare with Mia").click()
    images = page.locator("[data-shown]")
    expect(images).to_have_count(2)
    # The page's script has begun once it has placed the images.
    expect(images.last).to_have_attribute("style", re.compile("scale"))
    fitted = zoom_of(page)
    page.keyboard.press("+")
    page.keyboard.press("+")
    page.keyboard.press("ArrowDown")
    moved_from(page, fitted)
    page.keyboard.press("0")
    wait_for(lambda: zoom_of(page) == fitted, "both images to fit")
    frame = page.locator("[data-frame]").first
    frame.hover(position={"x": 20, "y": 30})
    page.mouse.wheel(0, -400)
    by_wheel = moved_from(page, fitted)
    page.mouse.down()
    page.mouse.move(300, 300)
    page.mouse.up()
    moved_from(page, by_wheel)
    page.get_by_role("button", name="Fit").click()
    wait_for(lambda: zoom_of(page) == fitted, "both images to fit")
    page.get_by_role("button", name="Result 2").last.click()
    expect(images.last).to_have_attribute("alt", "Result 2 of 2 of dress.jpg, Mia · Own background")


def test_a_second_click_buys_nothing(page: Page, photos: dict[str, bytes]) -> None:
    """Whoever clicks twice on the bar's button may hit the dialog's: it waits for a moment."""
    page.clock.install()
    page.goto(f"?folder={FOLDER}&q=desk/")
    box(page, "dress.jpg").check()
    with page.expect_response("**/selection/quote"):
        bar(page).get_by_role("button", name="Shoot again").click()
    dialog = page.get_by_role("dialog", name="Shoot again")
    button = dialog.get_by_role("button", name="Shoot again")
    expect(button).to_be_disabled()
    page.clock.run_for(1000)
    expect(button).to_be_enabled()


def test_review_while_comparing(page: Page, catwalk: Catwalk) -> None:
    """Both sides are reviewed with the keys of a job's page; S changes the side."""
    folder = "desk-versus"
    for name in NAMES[:2]:
        catwalk.drop(f"{folder}/{name}", photo())
    coat, dress = (catwalk.end_of(f"{folder}/{name}")["job_id"] for name in NAMES[:2])
    page.goto(f"jobs/{coat}/compare?with={dress}")
    left, right = page.locator("[data-side]").all()
    expect(left.locator(".status")).to_have_text("Done")
    page.keyboard.press("2")
    for _ in range(2):
        page.keyboard.down("a")
    page.keyboard.up("a")
    expect(left.locator(".hint")).to_contain_text("Approved by")
    expect(left.locator("[data-shown]")).to_have_attribute("alt", re.compile("Result 2 of 2"))
    for key in ("s", "x", "r"):
        page.keyboard.press(key)
    expect(right.locator(".status")).to_have_text("Refused")
    page.keyboard.press("u")
    expect(page.locator("[data-toast]")).to_have_text("Undone. It is to be reviewed again.")
    expect(right.locator(".status")).to_have_text("Done")
    first, second = (catwalk.record(job_id)["review"] for job_id in (coat, dress))
    assert (first["state"], first["chosen"]) == ("approved", [2])
    assert (second["state"], second["refused"]) == ("to_review", [1])
    right.get_by_role("button", name="Result 2").click()
    right.get_by_role("button", name="Choose the image that is shown").click()
    right.get_by_role("button", name="Approve").click()
    expect(right.locator(".hint")).to_contain_text("Approved by")
    review = catwalk.record(dress)["review"]
    assert (review["state"], review["chosen"], review["refused"]) == ("approved", [2], [1])
    done = catwalk.run_command("review", coat, "--refuse", "--yes")
    assert done.returncode == 0, done.stderr
    expect(left.locator(".status")).to_have_text("Refused")
    expect(left.locator("[data-result='2']")).to_have_class("chosen")


def test_from_the_selection_and_back(page: Page, photos: dict[str, bytes]) -> None:
    """A comparison of two selected photos leads back to them; their pages know each other."""
    page.goto(f"?folder={FOLDER}&sort=name")
    page.get_by_role("link", name="Skip to content").press("Enter")
    for name in NAMES[:2]:
        box(page, name).check()
    bar(page).get_by_role("link", name="Compare").click()
    page.wait_for_url("**/compare?*")
    page.locator(".side a").first.click()
    expect(page.get_by_role("navigation", name="Photos")).to_be_visible()
    page.go_back()
    page.get_by_role("link", name="All photos", exact=True).click()
    expect(bar(page)).to_contain_text("2 selected")
    bar(page).get_by_role("button", name="Clear the selection").click()


def test_two_fingers(visitor: Visitor, photos: dict[str, bytes], catwalk: Catwalk) -> None:
    """On a phone, two fingers on an image zoom both images, and one finger moves both."""
    coat, skirt = (catwalk.records(f"{FOLDER}/{name}")[0]["job_id"] for name in NAMES[::2])
    phone: ViewportSize = {"width": 390, "height": 844}
    with visitor.context(viewport=phone, has_touch=True, is_mobile=True) as context:
        page = context.new_page()
        page.goto(f"jobs/{coat}/compare?with={skirt}")
        box = page.locator("[data-frame]").first.bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        fingers = context.new_cdp_session(page)

        def touch(kind: str, *at: tuple[float, float]) -> None:
            points = [{"x": x + dx, "y": y + dy, "id": n} for n, (dx, dy) in enumerate(at)]
            fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        touch("touchStart", (-20, 0), (20, 0))
        touch("touchMove", (-60, 0), (60, 0))
        touch("touchEnd")
        expect(page.locator("[data-scale]")).to_have_text("300 %")
        zoomed = zoom_of(page)
        touch("touchStart", (0, 0))
        touch("touchMove", (30, 40))
        touch("touchEnd")
        moved_from(page, zoomed)


def test_shoot_again_by_keys_alone(page: Page, catwalk: Catwalk) -> None:
    """On a job's page the dialog can be opened, filled in and sent with the keyboard."""
    key = "desk-one/dress.jpg"
    catwalk.drop(key, photo())
    job_id = catwalk.end_of(key)["job_id"]
    page.goto(f"jobs/{job_id}")
    page.get_by_role("button", name="Shoot again with another look").focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Shoot again")
    expect(dialog).to_be_visible()
    expect(dialog.get_by_role("radio", name="Same").first).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(dialog.get_by_role("radio", name="Antonia")).to_be_checked()
    expect(dialog.get_by_text("1 photo with Antonia: 1 credit")).to_be_visible()
    page.keyboard.press("Enter")
    expect(dialog).to_be_visible()
    dialog.get_by_role("button", name="Shoot again").press("Enter")
    expect(page.get_by_text("1 photo with Antonia: under way.")).to_be_visible()
    assert looks_of(catwalk, key, 2) == {"001", "002"}
    assert catwalk.record(job_id)["attempt"] == 1


def test_two_tabs_pay_once(page: Page, visitor: Visitor, catwalk: Catwalk) -> None:
    """Two tabs that were shown the same price for the same photo make one job of it."""
    key, body = "desk-tabs/dress.jpg", photo()
    catwalk.drop(key, body)
    job_id = catwalk.end_of(key)["job_id"]
    with visitor.context() as context:
        tabs = (page, context.new_page())
        for tab in tabs:
            tab.goto(f"jobs/{job_id}")
            tab.get_by_role("button", name="Shoot again with another look").click()
            dialog = tab.get_by_role("dialog", name="Shoot again")
            dialog.get_by_role("radio", name="Mia").check(force=True)
            expect(dialog.get_by_text("1 photo with Mia: 1 credit")).to_be_visible()
        for tab in tabs:
            tab.get_by_role("dialog").get_by_role("button", name="Shoot again").click()
            # The second one may come when the first one's job has its record already.
            told = re.compile("1 photo with Mia: (under way|shot already)")
            expect(tab.get_by_text(told)).to_be_visible()
    assert looks_of(catwalk, key, 2) == {"002", "004"}
    catwalk.idle()
    assert len(catwalk.records(key)) == 2
    assert catwalk.charges(body) == 2


def test_a_photo_that_is_gone(page: Page, catwalk: Catwalk) -> None:
    """If the photo is gone, the dialog says so and sends nothing."""
    key = "desk-gone/dress.jpg"
    catwalk.drop(key, photo())
    job_id = catwalk.end_of(key)["job_id"]
    catwalk.delete(key)
    page.goto(f"jobs/{job_id}")
    page.get_by_role("button", name="Shoot again with another look").click()
    dialog = page.get_by_role("dialog", name="Shoot again")
    expect(dialog).to_contain_text("is not in")
    expect(dialog.get_by_role("button", name="Shoot again")).to_have_attribute(
        "aria-disabled", "true"
    )


# --- photos that are dropped into the page -------------------------------------------------------


def sheet(page: Page) -> Locator:
    """Return the upload sheet."""
    return page.locator("[data-upload]")


def drop(page: Page, *named: tuple[str, bytes]) -> None:
    """Drop files onto the page by the events that a browser sends."""
    page.evaluate(
        """files => {
          const carried = new DataTransfer();
          for (const [name, text] of files) {
            const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
            carried.items.add(new File([bytes], name));
          }
          for (const type of ["dragenter", "dragover", "drop"]) {
            document.body.dispatchEvent(
              new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer: carried }));
            if (type === "dragover") {
              window.overlay = !document.querySelector("[data-drop-here]").hidden;
            }
          }
        }""",
        [[name, base64.b64encode(body).decode()] for name, body in named],
    )


def test_drop_check_start(page: Page, catwalk: Catwalk, tmp_path: Path) -> None:
    """Dropped photos are listed, checked and priced; nothing is uploaded before the start."""
    page.goto("?folder=desk-drop")
    page.get_by_role("link", name="Look at all photos").focus()
    drop(page, ("A-1_front.jpg", photo()), ("notes.jpg", b"no photo"))
    assert page.evaluate("window.overlay") is True
    expect(page.locator("[data-drop-here]")).to_be_hidden()
    expect(sheet(page)).to_contain_text("1 photo: 1 credit")
    expect(sheet(page)).to_contain_text("neither JPEG nor PNG inside")
    expect(sheet(page)).to_contain_text("1 file would be rejected and is left out.")
    expect(sheet(page).get_by_label("Folder")).to_have_value("desk-drop")
    sheet(page).locator("summary").click()
    sheet(page).get_by_role("radio", name="Jamila").check(force=True)
    expect(sheet(page)).to_contain_text("Jamila · Own background · 2 images")
    sheet(page).get_by_label("SKU of all photos").fill("{sku}_*")
    expect(sheet(page).get_by_label("SKU of A-1_front.jpg")).to_have_attribute("placeholder", "A-1")
    page.locator("[data-browse]").set_input_files(files(tmp_path / "more", more=photo()))
    expect(sheet(page)).to_contain_text("2 photos: up to 2 credits")
    assert catwalk.records("desk-drop/A-1_front.jpg") == []
    start = sheet(page).get_by_role("button", name="Start")
    expect(start).to_have_text("Startup to 2 credits")
    start.click()
    expect(page.get_by_role("heading", name="Photos added")).to_be_visible()
    # Behind the sheet, the photos come in.
    expect(cards(page)).to_have_count(2)
    sheet(page).get_by_role("button", name="Close").click()
    expect(page.locator("#main")).to_be_focused()
    record = catwalk.end_of("desk-drop/A-1_front.jpg")
    assert (record["sku"], record["settings"]["model_id"]) == ("A-1", "003")
    assert "sku" not in catwalk.end_of("desk-drop/more.jpg")
    assert catwalk.records("desk-drop/notes.jpg") == []


def test_a_good_photo_takes_the_place_of_a_bad_one(page: Page, tmp_path: Path) -> None:
    """What is left out stands first; a good photo of the same name replaces it in the list."""
    page.goto("?folder=desk-bad")
    browse = page.locator("[data-browse]")
    browse.set_input_files(files(tmp_path / "bad", a=photo(), z=b""))
    expect(sheet(page)).to_contain_text("1 file would be rejected and is left out.")
    expect(sheet(page).locator(".called").first).to_have_text("desk-bad/z.jpg")
    browse.set_input_files(files(tmp_path / "good", z=photo()))
    expect(sheet(page)).to_contain_text("2 photos: up to 2 credits")
    expect(sheet(page)).not_to_contain_text("left out")
    expect(sheet(page).locator(".files li")).to_have_count(2)
    browse.set_input_files(files(tmp_path / "more", x=b"", y=b""))
    expect(sheet(page)).to_contain_text("2 files would be rejected")
    sheet(page).get_by_role("button", name="Leave out x.jpg").press("Enter")
    expect(sheet(page)).to_contain_text("1 file would be rejected")
    expect(sheet(page).get_by_role("button", name="Leave out y.jpg")).to_be_focused()
    sheet(page).get_by_role("button", name="Discard").click()


def test_own_photos_come_by_themselves(page: Page, catwalk: Catwalk, tmp_path: Path) -> None:
    """Photos that a person has added come into the page after the sheet was closed, too."""
    catwalk.drop("desk-own/old.jpg", photo())
    catwalk.end_of("desk-own/old.jpg")
    page.goto("?folder=desk-own")
    expect(cards(page)).to_have_count(1)
    nothing = {"cards": {}, "came": [], "gone": [], "now": "", "banner": ""}
    page.route("**/live?*", lambda route: route.fulfill(json=nothing))
    page.locator("[data-browse]").set_input_files(files(tmp_path / "own", a=photo(), b=photo()))
    sheet(page).get_by_role("button", name="Start").click()
    expect(page.get_by_role("heading", name="Photos added")).to_be_visible()
    sheet(page).get_by_role("button", name="Close").click()
    page.unroute("**/live?*")
    expect(cards(page)).to_have_count(3)
    expect(page.locator("[data-pill]")).to_be_hidden()


def test_lost_connection(visitor: Visitor, catwalk: Catwalk, tmp_path: Path) -> None:
    """After a lost chunk, the upload continues with the first missing byte."""
    with visitor.context() as context:
        lose_chunks(context.new_page(), catwalk, tmp_path)


def lose_chunks(page: Page, catwalk: Catwalk, tmp_path: Path) -> None:
    """Upload a photo while the connection breaks three times; console errors are allowed."""
    page.goto("?folder=desk-lost")
    lost: list[str] = []

    def lose(route: Route) -> None:
        # The second chunk arrives; only its answer is lost.
        offset = route.request.url.rpartition("offset=")[2]
        if route.request.method == "PUT" and len(lost) < 3:
            lost.append(offset)
            if len(lost) == 2:
                route.fetch()
            route.abort("connectionreset")
            return
        route.continue_()

    page.route("**/files/*", lose)
    body = photo() + b"\0" * 9_000_000
    page.locator("[data-browse]").set_input_files(files(tmp_path / "lost", big=body))
    expect(sheet(page)).to_contain_text("1 photo: 1 credit")
    assert len(lost) == 3
    sheet(page).get_by_role("button", name="Start").click()
    expect(page.get_by_role("heading", name="Photos added")).to_be_visible()
    record = catwalk.end_of("desk-lost/big.jpg")
    bucket = catwalk.stack.output("PhotosBucketName")
    assert catwalk.object(bucket, "desk-lost/big.jpg")[0] == body
    assert record["photo"]["bytes"] == len(body)


def test_add_photos_by_keys_alone(page: Page, catwalk: Catwalk, tmp_path: Path) -> None:
    """With the keyboard alone, photos are chosen, and the sheet is filled in and started."""
    # Playwright must wait for the file chooser before the key press opens it.
    page.on("filechooser", lambda _: None)
    page.goto("?folder=desk-button")
    button = page.get_by_role("button", name="Add photos").first
    button.focus()
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(files(tmp_path / "keys", one=photo(), two=photo()))
    expect(sheet(page)).to_contain_text("2 photos: up to 2 credits")
    page.keyboard.press("Escape")
    expect(sheet(page)).to_be_hidden()
    expect(button).to_have_text("Add photos (2)")
    button.press("Enter")
    sheet(page).get_by_role("button", name="Leave out two.jpg").press("Enter")
    expect(sheet(page)).to_contain_text("1 photo: 1 credit")
    sheet(page).get_by_label("SKU of all photos").press_sequentially("K-1")
    page.keyboard.press("Enter")
    own = sheet(page).get_by_label("SKU of one.jpg")
    expect(own).to_have_attribute("placeholder", "K-1")
    start = sheet(page).get_by_role("button", name="Start")
    expect(start).to_be_enabled()  # the price is asked for again
    start.press("Enter")
    expect(page.get_by_role("heading", name="Photos added")).to_be_visible()
    assert catwalk.end_of("desk-button/one.jpg")["sku"] == "K-1"
    assert catwalk.records("desk-button/two.jpg") == []


def test_what_is_there_already(page: Page, catwalk: Catwalk, tmp_path: Path) -> None:
    """The sheet says if a name is taken in the bucket, and whether by the same photo."""
    body = photo()
    catwalk.drop("desk-again/one.jpg", body)
    catwalk.end_of("desk-again/one.jpg")
    page.goto("?folder=desk-again")
    page.locator("[data-browse]").set_input_files(files(tmp_path / "again", one=body))
    expect(sheet(page)).to_contain_text("It is in the bucket already.")
    sheet(page).get_by_role("button", name="Discard").click()
    page.locator("[data-browse]").set_input_files(files(tmp_path / "again", one=photo()))
    expect(sheet(page)).to_contain_text("Another file of this name is in the bucket")
    sheet(page).get_by_role("button", name="Discard").click()
    assert len(catwalk.records("desk-again/one.jpg")) == 1


@pytest.mark.parametrize("person", [["look"]], indirect=True)
def test_an_upload_that_s3_refuses(
    browser: Browser, catwalk: Catwalk, person: dict[str, str], tmp_path: Path
) -> None:
    """A person without the right hears so; the photos stay listed and go up once it is given."""
    bodies = {name: photo() for name in ("one", "two")}
    with visiting(browser, catwalk, person) as visitor, visitor.context() as context:
        page = context.new_page()
        page.goto("?folder=desk-refused")
        page.locator("[data-browse]").set_input_files(files(tmp_path / "refused", **bodies))
        expect(sheet(page)).to_contain_text("2 photos: up to 2 credits")
        sheet(page).get_by_role("button", name="Start").click()
        expect(sheet(page)).to_contain_text("0 of 2 photos uploaded, 2 failed.")
        expect(sheet(page).locator(".problem").first).to_contain_text("You may not do this here.")
        expect(sheet(page).locator(".problem").first).to_contain_text("Ask the person who runs")
        page.reload()
        page.get_by_role("button", name="Add photos").first.click()
        expect(sheet(page).locator("li")).to_have_count(2)
        expect(sheet(page)).to_contain_text("0 of 2 photos uploaded, 2 failed.")
        assert catwalk.records("desk-refused/one.jpg") == []
        with allowed_to_drop(catwalk, f"person-{tmp_path.name}"):
            sheet(page).get_by_role("button", name="Try again").click()
            expect(page.get_by_role("heading", name="Photos added")).to_be_visible()
        for name, body in bodies.items():
            catwalk.end_of(f"desk-refused/{name}.jpg")
            assert catwalk.charges(body) == 1


@contextmanager
def allowed_to_drop(catwalk: Catwalk, name: str) -> Iterator[None]:
    """Give a user the right to drop photos for a while."""
    iam = catwalk.stack.clients.client("iam")
    iam.put_user_policy(UserName=name, PolicyName="drop", PolicyDocument=policy(catwalk, "drop"))
    yield
    iam.delete_user_policy(UserName=name, PolicyName="drop")


# --- everybody can use it ------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", thorough("dark")])
def test_accessible(
    visitor: Visitor, photos: dict[str, bytes], catwalk: Catwalk, scheme: Any, tmp_path: Path
) -> None:
    """axe-core finds nothing serious in bar, dialogs and comparison; 320 px cut nothing off."""
    coat, skirt = (catwalk.records(f"{FOLDER}/{name}")[0]["job_id"] for name in NAMES[::2])
    small: ViewportSize = {"width": 320, "height": 740}
    with visitor.context(color_scheme=scheme, viewport=small, reduced_motion="reduce") as context:
        context.add_init_script(path=chromium.AXE)
        page = context.new_page()

        def look(what: str) -> None:
            for width in (small["width"], 1280):
                page.set_viewport_size({"width": width, "height": small["height"]})
                wide = page.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, f"{what} is {wide} pixels wide on {width}"
                found = page.evaluate("async () => (await axe.run()).violations")
                bad = [v for v in found if v["impact"] in {"serious", "critical"}]
                assert bad == [], f"{what} on {width}: {json.dumps(bad, indent=1)}"

        page.goto(f"?folder={FOLDER}")
        page.locator("[data-pick]").first.check()
        expect(bar(page)).to_be_visible()
        look("the bar")
        bar(page).get_by_role("button", name="Shoot again").click()
        expect(page.get_by_role("dialog")).to_contain_text("1 credit")
        look("the dialog")
        page.get_by_role("button", name="Not now").click()
        paths = files(tmp_path / scheme, good=photo(), bad=b"no photo")
        page.locator("[data-browse]").set_input_files(paths)
        expect(sheet(page)).to_contain_text("1 credit")
        sheet(page).locator("summary").click()
        look("the sheet")
        sheet(page).get_by_role("button", name="Discard").click()
        page.goto(f"jobs/{coat}/compare?with={skirt}")
        wait_for(
            lambda: page.locator("[data-shown]").first.evaluate("i => i.naturalWidth > 0"),
            "the image to be shown",
        )
        look("the comparison")
