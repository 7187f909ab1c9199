"""What no room's own test looks at: views inside pages, doors, and everything by keys alone."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
import sqlalchemy as sa

pytest.importorskip("fastapi", reason="fastapi is not installed")

from looked_at import freeze_versions, look_at_farm
from served_farm import PASSWORD, Site, frame_id, served
from test_room_pages import EVERY_WAY, READY
from visitors import DESKTOP, PHONE, opened, signed_in, violations

from besana import catalog as tables
from besana.web.routes_pages import PAGES

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow

VIEWS = {
    f"data/picture?frame={quote(frame_id(3))}&region=bed-1": "body[data-ready]",
    "data?show=frames": "#tiles li",
    "data?show=versions": "#changes button",
    "spot-checks": "#rate:not(:empty)",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    workspace = look_at_farm(tmp_path_factory.mktemp("every") / "farm")
    freeze_versions(workspace)
    with served(workspace) as found:
        found.client("admin", "Permanent")
        yield found


def test_every_room_is_looked_at() -> None:
    assert set(READY) == {"" if name == "status" else name for name in PAGES}
    looks = {(language[:2], size) for language, size, _ in EVERY_WAY}
    assert looks == {(language, size) for language in ("en", "es") for size in (PHONE, DESKTOP)}
    assert {(size, scheme) for _, size, scheme in EVERY_WAY} == {
        (size, scheme) for size in (PHONE, DESKTOP) for scheme in ("light", "dark")
    }


@pytest.mark.parametrize("way", EVERY_WAY, ids=str)
@pytest.mark.parametrize("path", VIEWS)
def test_view_fits_and_can_be_read_aloud(
    browser: Browser, site: Site, path: str, way: tuple[str, tuple[int, int], str]
) -> None:
    language, size, scheme = way
    more = {"language": language, "size": size, "color_scheme": scheme}
    name = f"Ana {uuid.uuid4().hex[:6]}"
    with signed_in(browser, site, role="reviewer", name=name, **more) as context:
        page, complaints = opened(context, site, f"/{path}")
        page.wait_for_selector(VIEWS[path])
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert page.locator("html").get_attribute("lang") == language[:2]
        assert violations(page) == []
        assert complaints == []
    site.desk.people.change("test", name, role=None, active=False)


@pytest.mark.parametrize("way", [EVERY_WAY[1], EVERY_WAY[0]], ids=str)
@pytest.mark.parametrize("path", ["sign-in", "start", "join"])
def test_door_fits_and_can_be_read_aloud(
    browser: Browser, site: Site, path: str, way: tuple[str, tuple[int, int], str]
) -> None:
    language, (width, height), scheme = way
    viewport = {"width": width, "height": height}
    context = browser.new_context(viewport=viewport, locale=language, color_scheme=scheme)
    page, complaints = opened(context, site, f"/{path}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert violations(page) == []
    assert complaints == []
    context.close()


def test_a_page_that_is_not_there_is_said_in_spanish(browser: Browser, site: Site) -> None:
    context = browser.new_context(locale="es-CO")
    page, _ = opened(context, site, "/nothing")
    assert "No encontrado" in page.inner_text("h1")
    assert "Aquí no hay nada." in page.inner_text("main")
    context.close()


def test_from_signing_in_to_labelling_without_a_mouse(browser: Browser, site: Site) -> None:
    site.client("labeller", "Teclas")
    context = browser.new_context(locale="en-GB", reduced_motion="reduce")
    page, complaints = opened(context, site, "/sign-in")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    while page.evaluate("document.activeElement.name") != "name":
        page.keyboard.press("Tab")
    page.keyboard.type("Teclas")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/")
    while page.evaluate("document.activeElement.pathname") != "/label":
        page.keyboard.press("Tab")
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) != "none", "where the focus is can be seen"
    page.keyboard.press("Enter")
    page.wait_for_selector("#picture[data-sample]")
    page.wait_for_selector("#classes button")
    before = len(site.desk.workspace.catalog.rows(sa.select(tables.labels)))
    page.keyboard.press("+")
    larger = page.locator("#picture").bounding_box()
    page.keyboard.press("-")
    smaller = page.locator("#picture").bounding_box()
    assert larger is not None
    assert smaller is not None
    assert smaller["width"] < larger["width"]
    page.keyboard.press("1")
    page.wait_for_selector("#saving[data-state=saved]")
    while page.evaluate("document.activeElement.dataset.name") != "standing":
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("#saving[data-state=saved]")
    assert len(site.desk.workspace.catalog.rows(sa.select(tables.labels))) == before + 2
    moving = "document.getAnimations().length + Number(getComputedStyle(document.documentElement)"
    assert page.evaluate(moving + ".scrollBehavior !== 'auto')") == 0
    assert complaints == []
    context.close()


def test_a_label_that_is_refused_is_said(browser: Browser, site: Site) -> None:
    with signed_in(browser, site, name="Late", language="es-CO") as context:
        page, complaints = opened(context, site, "/label")
        page.wait_for_selector("#picture[data-sample]")
        page.wait_for_selector("#classes button")
        admin = site.client("admin", "Retirer")
        for change in ("add", "retire"):
            admin.post("/api/classes", {"what": change, "name": "lame", "to": ""})
        page.evaluate("document.querySelector('#classes button').dataset.name")
        page.route(
            "**/api/acts",
            lambda route: route.continue_(
                post_data=str(route.request.post_data).replace('"lying"', '"lame"')
            ),
        )
        page.keyboard.press("1")
        page.get_by_text("No guardado:").wait_for()
        assert complaints == []
