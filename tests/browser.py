"""Debian's Chromium, driven as a person would use a page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

LIMIT = 60_000
"""Milliseconds that a page may take to show what is looked for."""


@contextmanager
def opened(width: int = 1280, height: int = 900, dark: bool = False, names: str = "") -> Iterator[Any]:
    """A page of a headless browser (playwright's `Page`); raises `RuntimeError` where there is no Chromium.

    `names` are Chromium's rules for names of hosts, such as "MAP evil.example 127.0.0.1".
    """
    from playwright.sync_api import sync_playwright

    where = shutil.which("chromium") or shutil.which("chromium-browser")
    if where is None:
        raise RuntimeError("there is no Chromium: apt-get install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=where, args=["--no-sandbox", f"--host-resolver-rules={names}"])
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light")
        page.set_default_timeout(LIMIT)
        try:
            yield page
        finally:
            browser.close()
