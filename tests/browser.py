"""A real browser for the tests of the page: the system's Chromium, driven by Playwright."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.node import node_module

# Chromium is to speak to the page's server and to nobody else.
_FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
    "--host-resolver-rules=MAP page.test 127.0.0.1",  # a host that is not trusted as localhost is
]


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's browser; skips the test where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs a browser: Debian's package chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_FLAGS)
        yield browser
        browser.close()


@contextmanager
def page(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    """The page of the service at `url`; what it logs as an error and what it asks of others fails the test."""
    problems: list[str] = []
    context = browser.new_context(**{"locale": "en-GB", "viewport": {"width": 1000, "height": 900}} | options)
    opened = context.new_page()
    opened.set_default_timeout(15_000)

    def log(message: Any) -> None:
        # A refused request is told in the page; Chromium logs it too.
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            problems.append(message.text)

    opened.on("console", log)
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on(
        "request", lambda request: None if request.url.startswith((url, "blob:")) else problems.append(request.url)
    )
    opened.goto(f"{url}/ui")
    expect(opened).not_to_have_title("textcnn-service")  # it knows its model
    yield opened
    context.close()
    assert problems == []


def accessibility_violations(opened: Page) -> list[str]:
    """What axe-core finds serious or critical; skips the test where npm cannot bring it."""
    opened.evaluate(_axe())
    found = opened.evaluate("axe.run(document, {resultTypes: ['violations']})")
    serious = [violation for violation in found["violations"] if violation["impact"] in ("serious", "critical")]
    return [json.dumps([violation["id"], [node["html"] for node in violation["nodes"]]]) for violation in serious]


def _axe() -> str:
    script = node_module("axe-core") / "axe.min.js"
    return script.read_text(encoding="utf-8")
