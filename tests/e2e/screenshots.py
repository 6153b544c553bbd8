"""Writes docs/images/gallery-*: `make screenshots`.

On the stack of `make up` if it is up, else on one of its own that is gone afterwards. Photos are
the samples in several models and scenes; one keeps running, one fails, and a PDF is rejected.
"""

import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from PIL import Image
from playwright.sync_api import Browser, Page

from local.demo import scenario
from local.paths import ROOT, SAMPLES
from local.stack import environment
from local.stack.stack import Plan, Quiet, Stack, find, folder_of, running
from local.stack.state import UP, StateFolder
from tests.e2e import chromium
from tests.e2e.driver import ENDED, Catwalk, wait_for

IMAGES: Final = ROOT / "docs" / "images"
_MOST_BYTES: Final = 400_000
_AUTUMN: Final = (
    (
        "sweater.jpg",
        {"sku": "SW-8801", "model-id": "001", "scene-type": "preset", "scene-id": "036"},
    ),
    ("dress.jpg", {"sku": "DR-8804", "model-id": "003", "scene-type": "preset", "scene-id": "033"}),
    (
        "trousers.jpg",
        {"sku": "TR-8810", "model-id": "001", "scene-type": "color", "color": "#e6d3a8"},
    ),
    ("skirt.png", {"sku": "SK-8807", "model-id": "044", "scene-type": "preset", "scene-id": "034"}),
    (
        "jacket.jpg",
        {"sku": "JK-8809", "model-id": "002", "scene-type": "preset", "scene-id": "034"},
    ),
    (
        "hoodie.jpg",
        {"sku": "HD-8812", "model-id": "004", "scene-type": "preset", "scene-id": "035"},
    ),
    (
        "tshirt.jpg",
        {"sku": "TS-8813", "model-id": "003", "scene-type": "preset", "scene-id": "035"},
    ),
)
_FAILS, _RUNS = "autumn/trousers.jpg", "autumn/tshirt.jpg"
_SHOWN: Final = "HD-8812"
_STUCK_SECONDS: Final = 120
_DESKTOP: Final[Any] = {"viewport": {"width": 1280, "height": 860}, "device_scale_factor": 1.5}
_PHONE: Final[Any] = {
    "viewport": {"width": 390, "height": 800},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}


def main() -> int:
    """Take the pictures."""
    path = chromium.find()
    if path is None:
        print("There is no Chromium; install it or name one: CHROMIUM=path.", file=sys.stderr)
        return 1
    with _stack() as stack, stack.vendor() as vendor:
        catwalk = Catwalk(stack, vendor, "")
        _fill(catwalk)
        variables = {**os.environ, **environment.aws(
            stack.folder.path,
            endpoint=stack.address.endpoint,
            ca_bundle=Path(stack.address.ca_bundle),
            credentials=stack.address.credentials,
        )}  # fmt: skip
        with chromium.gallery(variables) as url, chromium.launched(path) as browser:
            _take(browser, url)
    return 0


@contextmanager
def _stack() -> Iterator[Stack]:
    found = find(folder_of(UP))
    if found is not None:
        yield found
        return
    folder = tempfile.mkdtemp(prefix="catwalk-screenshots-")
    environment.forget_users_aws(os.environ)
    try:
        with running(StateFolder(Path(folder) / "stack"), Plan(task_seconds=1), Quiet()) as stack:
            yield stack
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fill(catwalk: Catwalk) -> None:
    """Drop the photos one after the other, so that the grid's order is always the same."""
    vendor = catwalk.vendor
    vendor.clear_faults()
    vendor.fault("read", "task_error", match={"path_contains": _FAILS})
    for action in scenario.actions():
        if isinstance(action, scenario.Upload):
            catwalk.drop(action.key, action.body, action.metadata)
        else:
            catwalk.request(action.detail)
    for expected in scenario.EXPECTED:
        wait_for(partial(_ended, catwalk, expected.key), expected.key)
    for name, metadata in _AUTUMN:
        key = f"autumn/{name}"
        if key == _RUNS:
            vendor.fault(
                "read", "stuck", match={"path_contains": key}, percent=60, seconds=_STUCK_SECONDS
            )
            # Another photo each time: the same one would be done from the last time.
            body = (SAMPLES / name).read_bytes() + os.urandom(8)
            catwalk.drop(key, body, metadata)
            wait_for(
                lambda: [
                    record
                    for record in catwalk.records(_RUNS)
                    if record["status"] == "RUNNING" and record["progress"]
                ],
                key,
            )
            continue
        catwalk.drop(key, (SAMPLES / name).read_bytes(), metadata)
        wait_for(partial(_ended, catwalk, key), key)


def _ended(catwalk: Catwalk, key: str) -> bool:
    records = catwalk.records(key)
    return bool(records) and all(record["status"] in ENDED for record in records)


def _take(browser: Browser, url: str) -> None:
    context = browser.new_context(**_DESKTOP)
    page = context.new_page()
    page.goto(url)
    page.wait_for_url("**/")
    home = page.url
    _settled(page)
    _save(page, "gallery-grid")
    page.locator(".card", has_text=_SHOWN).get_by_role("link").click()
    _settled(page)
    page.keyboard.press("2")
    page.keyboard.press("a")
    page.locator(".decided").wait_for()
    _settled(page)
    _save(page, "gallery-job")
    page.locator("[data-back]").click()
    _settled(page)
    for box in page.locator("[data-pick]").all()[2:5]:
        box.check()
    _settled(page)
    _save(page, "gallery-desk")
    page.keyboard.press("Escape")
    state: Any = context.storage_state()
    for name, how in (("dark", {**_DESKTOP, "color_scheme": "dark"}), ("phone", _PHONE)):
        other = browser.new_context(storage_state=state, **how).new_page()
        other.goto(home)
        _settled(other)
        _save(other, f"gallery-{name}")


def _settled(page: Page) -> None:
    """Wait until all images in sight are there: between two looks for changes nothing is asked."""
    page.wait_for_load_state("networkidle")


def _save(page: Page, name: str) -> None:
    """Save what is in sight as a JPEG, as good as the bytes allow."""
    picture = Image.open(io.BytesIO(page.screenshot(animations="disabled"))).convert("RGB")
    for quality in range(90, 40, -5):
        output = io.BytesIO()
        picture.save(output, "JPEG", quality=quality, optimize=True, progressive=True)
        if output.tell() <= _MOST_BYTES:
            break
    file = IMAGES / f"{name}.jpg"
    file.write_bytes(output.getvalue())
    print(
        f"{file.relative_to(ROOT)}: {output.tell() // 1000} kB, {picture.width} x {picture.height}"
    )


if __name__ == "__main__":
    sys.exit(main())
