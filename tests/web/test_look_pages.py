"""Data and regions in a real browser: filters in the address, drawing by mouse, finger and keys."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed")

from looked_at import freeze_versions, look_at_farm
from served_farm import Site, frame_id, served
from visitors import PHONE, opened, signed_in, violations

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

pytestmark = pytest.mark.slow


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    workspace = look_at_farm(tmp_path / "farm")
    freeze_versions(workspace)
    with served(workspace) as found:
        yield found


def tiles(page: Page, count: int) -> None:
    page.wait_for_function(
        "n => document.querySelectorAll('#tiles a.tile').length === n"
        " && !document.querySelector('#tiles[aria-busy]')",
        arg=count,
    )


def test_filters_stand_in_the_address_and_keys_turn_pages(browser: Browser, site: Site) -> None:
    with signed_in(browser, site, role="viewer", name="Ana") as context:
        page, complaints = opened(context, site, "/data")
        tiles(page, 60)
        assert page.locator("#total").inner_text() == "Samples: 80"
        page.keyboard.press("n")
        tiles(page, 20)
        page.keyboard.press("p")
        tiles(page, 60)
        page.locator("#by-class").select_option("standing")
        tiles(page, 23)
        assert "class=standing" in page.url
        page.get_by_label("Region").select_option("bed-1")
        page.wait_for_function("() => location.search.includes('region=bed-1')")
        address = page.url.partition(str(site.port))[2]
        other, _ = opened(context, site, address)
        other.wait_for_selector("#tiles a.tile")
        assert other.locator("#by-class").input_value() == "standing"
        page.go_back()
        tiles(page, 23)
        page.locator("#tiles a.tile").first.focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        page.wait_for_selector("body[data-ready]")
        assert page.locator("#outline polygon").count() == 1
        assert page.locator("#similar a.tile").count() == 24
        here = page.url
        page.keyboard.press("ArrowRight")
        page.wait_for_url(lambda url: url != here)
        assert complaints == []


def test_words_can_be_read_while_others_are_fetched(browser: Browser, site: Site) -> None:
    with signed_in(browser, site, role="viewer", name="Ana") as context:
        page, _ = opened(context, site, "/data")
        tiles(page, 60)
        held: list[Route] = []

        def hold(route: Route) -> None:
            held.append(route)

        page.route("**/api/pictures?*", hold)
        page.locator("#by-class").select_option("standing")
        page.wait_for_selector("#tiles[aria-busy]")
        assert violations(page) == []
        held[0].continue_()
        tiles(page, 23)


def test_duplicates_stand_side_by_side_and_versions_are_told(browser: Browser, site: Site) -> None:
    with signed_in(browser, site, role="viewer", name="Ana", size=PHONE) as context:
        page, complaints = opened(context, site, "/")
        page.get_by_role("link", name="Near duplicate").click()
        page.wait_for_selector("#tiles .pair")
        links = page.locator(".pair a").evaluate_all("all => all.map(a => a.href)")
        assert quote(frame_id(5), safe="") in links[0]
        assert quote(frame_id(6), safe="") in links[1]
        page.get_by_role("link", name="Versions compared").click()
        page.get_by_role("button", name="Moved to another part 2").click()
        tiles(page, 2)
        assert "Validation" in page.inner_text("#ways")
        assert violations(page) == []
        assert complaints == []


@pytest.mark.parametrize("role", ["viewer", "reviewer"])
def test_who_said_what_is_for_reviewers(browser: Browser, site: Site, role: str) -> None:
    with signed_in(browser, site, role=role, name="Rosa", language="es-CO") as context:
        path = f"/data/picture?frame={quote(frame_id(3))}&region=bed-1"
        page, complaints = opened(context, site, path)
        page.wait_for_selector("body[data-ready]")
        words = page.inner_text("main")
        assert ("eva: " in words) is (role == "reviewer")
        assert "las personas discrepan" in words
        assert violations(page) == []
        assert complaints == []


def regions_of(site: Site, camera: str = "pen") -> dict[str, Any]:
    text = (site.desk.workspace.path / "besana.toml").read_text()
    found: dict[str, Any] = tomllib.loads(text)["cameras"][camera]
    return dict(found.get("regions", {}))


def written(page: Page) -> None:
    page.get_by_role("button", name="Write besana.toml").click()
    page.get_by_text("As besana.toml has it").wait_for()


def drawing(page: Page) -> Any:
    """Give where a point of the picture, of 120 x 90, lies on the screen."""
    page.wait_for_selector("body[data-ready]")
    page.wait_for_function("() => document.querySelector('#view').naturalWidth > 0")
    page.locator("#canvas").scroll_into_view_if_needed()
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    return lambda x, y: (box["x"] + x * box["width"] / 120, box["y"] + y * box["height"] / 90)


def test_boxes_and_polygons_by_mouse(browser: Browser, site: Site) -> None:
    with signed_in(browser, site, role="admin", name="Ana") as context:
        page, complaints = opened(context, site, "/regions")
        at = drawing(page)
        assert page.locator("#canvas polygon").count() == 2
        page.get_by_role("button", name="Box").click()
        page.mouse.move(*at(10, 20))
        page.mouse.down()
        page.mouse.move(*at(30, 50), steps=3)
        page.mouse.up()
        page.get_by_role("button", name="Polygon").click()
        for x, y in ((70, 20), (100, 20), (85, 60)):
            page.mouse.click(*at(x, y))
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Choose and move").click()
        page.mouse.move(*at(20, 35))
        page.mouse.down()
        page.mouse.move(*at(25, 45), steps=3)
        page.mouse.up()
        page.locator("#list input").nth(6).fill("milking hay")
        page.locator("#list input").nth(6).blur()
        written(page)
        found = regions_of(site)
        assert list(found) == ["bed-1", "bed-2", "bed-3", "milking hay"]
        assert max(abs(a - b) for a, b in zip(found["bed-3"], [15, 30, 35, 60], strict=True)) <= 1
        assert len(found["milking hay"]) == 3
        assert complaints == []


def test_a_box_by_finger_on_a_phone(browser: Browser, site: Site) -> None:
    more = {"has_touch": True, "is_mobile": True, "size": PHONE}
    with signed_in(browser, site, role="admin", name="Ana", **more) as context:
        page, complaints = opened(context, site, "/regions")
        at = drawing(page)
        page.get_by_role("button", name="Box").tap()
        at = drawing(page)
        touch = context.new_cdp_session(page)
        for kind, spot in (("Start", (10, 10)), ("Move", (40, 30)), ("Move", (50, 60))):
            x, y = at(*spot)
            points = [{"x": x, "y": y}]
            touch.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        assert page.locator("#list li").count() == 3
        written(page)
        found = regions_of(site)["bed-3"]
        assert max(abs(a - b) for a, b in zip(found, [10, 10, 50, 60], strict=True)) <= 1
        assert complaints == []


def test_everything_by_keys_alone(browser: Browser, site: Site) -> None:
    with signed_in(browser, site, role="admin", name="Ana", reduced_motion="reduce") as context:
        page, complaints = opened(context, site, "/regions")
        drawing(page)
        page.locator("#canvas").focus()
        for key in ("b", "ArrowRight", "Shift+ArrowDown", "]", "]", "]", "ArrowLeft"):
            page.keyboard.press(key)
        assert page.locator("#spoken").inner_text() == "bed-3: 75, 66"
        for key in ("Escape", "d", ",", "Delete", "z", "Shift+z"):
            page.keyboard.press(key)
        page.keyboard.press(".")
        page.keyboard.press("Enter")
        assert page.locator("#list input:focus").count() == 1
        page.keyboard.type("x")
        page.keyboard.press("Tab")
        page.locator("#canvas").focus()
        page.keyboard.press("p")
        page.keyboard.press("i")
        page.keyboard.press("Delete")
        written(page)
        names = list(regions_of(site))
        assert len(names) == 4
        assert any(name.endswith("x") or name.startswith("x") for name in names)
        assert complaints == []


def test_lens_is_previewed_and_a_change_meanwhile_is_told(browser: Browser, site: Site) -> None:
    with signed_in(browser, site, role="admin", name="Ana") as context:
        page, complaints = opened(context, site, "/regions")
        drawing(page)
        page.get_by_text("Lens", exact=True).click()
        page.get_by_label("Kind of lens").select_option("pinhole")
        slider = page.get_by_label("First bend (k1)")
        slider.focus()
        for _ in range(30):
            page.keyboard.press("ArrowLeft")
        page.wait_for_function(
            "() => decodeURIComponent(document.querySelector('#view').src).includes('-0.15')"
        )
        page.get_by_label("Straight lines to compare with").check()
        handle = page.get_by_role("button", name="1.1")
        before = handle.get_attribute("cx")
        handle.focus()
        page.keyboard.press("ArrowRight")
        assert handle.get_attribute("cx") != before
        path = site.desk.workspace.path / "besana.toml"
        path.write_text(path.read_text() + "# by hand\n")
        page.get_by_role("button", name="Write besana.toml").click()
        page.get_by_text("Nothing was written.").wait_for()
        assert "lens" not in path.read_text()
        assert violations(page) == []
        page.get_by_role("button", name="Write this camera as it is here").click()
        page.get_by_text("As besana.toml has it").wait_for()
        text = path.read_text()
        assert "# by hand" in text
        lens = tomllib.loads(text)["cameras"]["pen"]["lens"]
        assert lens["distortion"] == [-0.15, 0, 0, 0]
        page.get_by_label("Tiles instead of named regions").check()
        page.get_by_label("Side in pixels").fill("30")
        page.get_by_label("Side in pixels").blur()
        page.get_by_text("12 tiles.").wait_for()
        written(page)
        assert tomllib.loads(path.read_text())["cameras"]["pen"]["grid"] == {"size_px": 30}
        assert [line for line in complaints if "409" not in line] == []
