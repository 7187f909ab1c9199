"""People in front of a browser, and what a screen reader would make of the page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from served_farm import Site

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

PHONE, DESKTOP = (375, 740), (1280, 860)


@contextmanager
def signed_in(
    browser: Browser, site: Site, *, role: str = "labeller", name: str = "Ana", **more: Any
) -> Iterator[BrowserContext]:
    """Open a browser with somebody signed in; complaints of its pages fail the test."""
    size = more.pop("size", DESKTOP)
    viewport = {"width": size[0], "height": size[1]}
    context = browser.new_context(viewport=viewport, locale=more.pop("language", "en-GB"), **more)
    cookie = site.client(role, name).cookie.partition("=")
    origin = f"http://127.0.0.1:{site.port}"
    context.add_cookies(
        [{"name": cookie[0], "value": cookie[2], "url": origin, "sameSite": "Strict"}]
    )
    yield context
    context.close()


def opened(context: BrowserContext, site: Site, path: str) -> tuple[Page, list[str]]:
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"http://127.0.0.1:{site.port}{path}")
    return page, complaints


def violations(page: Page) -> list[str]:
    """Ask axe-core what a screen reader or a weak eye would stumble over."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{v['id']}: {n['html'][:150]}" for v in found for n in v["nodes"]]
