"""Chromium, which playwright drives. playwright's own browsers are not needed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a browser until the end of the `with` statement. Skip the test if this machine has no browser."""
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        reason = (
            "Chromium is not installed. Install it (Debian: apt-get install chromium), or set CHROMIUM to its path."
        )
        if os.environ.get("E2E_REQUIRE_BROWSER"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)  # a browser is large, and the other tests run without it; CI requires it
    # Chromium's sandbox does not work for root, whom containers use.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=options)
        try:
            yield browser
        finally:
            browser.close()
