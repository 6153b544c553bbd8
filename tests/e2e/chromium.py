"""Finds or installs Chromium for the browser tests; Playwright downloads nothing.

`python -m tests.e2e.chromium` (`make chromium`) finds this machine's Chromium, or installs it as
root with apt-get. If neither is possible, it says so, and the browser tests are skipped.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, sync_playwright

from local.paths import ROOT

_NAMES: Final = (
    "chromium-headless-shell",
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"),
)
"""The headless shell has no windows, and needs a third of the processor time."""
_PACKAGES: Final = ("chromium-headless-shell", "chromium")
"""Debian's, the better one first. Not every release has the headless shell."""
_INSTALL_SECONDS: Final = 300
ADVICE: Final = "Install Chromium, or name one: CHROMIUM=path."
AXE: Final = Path(__file__).parent / "vendor" / "axe.min.js"


def find() -> str | None:
    """Return Chromium's path: CHROMIUM's, else the first on PATH; None if there is none."""
    given = os.environ.get("CHROMIUM")
    if given:
        return shutil.which(given)
    return next((path for path in map(shutil.which, _NAMES) if path), None)


def install() -> str | None:
    """Install Chromium as root on Debian or Ubuntu; elsewhere a person must do that.

    Returns:
        Why that is not possible, as a sentence; None if it was done.

    """
    if os.environ.get("CHROMIUM"):
        return f"CHROMIUM={os.environ['CHROMIUM']} is no program."
    if not shutil.which("apt-get"):
        return "There is no Chromium, and no apt-get to install it with."
    if os.geteuid() != 0:
        return "There is no Chromium, and only root may install it (apt-get install chromium)."
    reason = _run("update", "-qq")
    if reason is not None:
        return reason
    for package in _PACKAGES:
        reason = _run("install", "-y", "-qq", "--no-install-recommends", package)
        if reason is None:
            break
    return reason


def _run(*arguments: str) -> str | None:
    """Run apt-get; return why it failed, as a sentence, or None."""
    command = ["apt-get", *arguments]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            capture_output=True,
            text=True,
            timeout=_INSTALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"`{' '.join(command)}` took more than {_INSTALL_SECONDS} s."
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        return f"`{' '.join(command)}` failed: {lines[-1]}"
    return None


@contextmanager
def launched(path: str) -> Iterator[Browser]:
    """Start Chromium; close it after the block."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path,
            args=[
                "--disable-gpu",
                "--disable-background-networking",
                # Its own guard, like tests/guard.py: no other machine has a name or an address.
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
                # Containers have no room for it in /dev/shm, and root no sandbox.
                "--disable-dev-shm-usage",
                *(["--no-sandbox"] if os.geteuid() == 0 else []),
            ],
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def gallery(environment: Mapping[str, str], *arguments: str) -> Iterator[str]:
    """Run `catwalk gallery` while the block runs; yield the address that opens it, once.

    Ctrl-C ends it, and must do so well.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", "gallery", "--no-open", "--port", "0", *arguments],
        cwd=ROOT,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        # A pipe that nobody reads would fill up, so the output goes to a file.
        stderr=subprocess.DEVNULL,
        text=True,
        # Ctrl-C must reach only the tests, which end the gallery.
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/\S+/\?key=\S+", line)
        assert found, f"the gallery did not start: {line!r}"
        yield found[0]
        process.send_signal(2)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def main() -> int:
    """Find or install Chromium, or print why there is none."""
    if find() is None:
        reason = install()
        if reason is not None:
            print(f"== NO BROWSER TESTS: {reason}\n== {ADVICE}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
