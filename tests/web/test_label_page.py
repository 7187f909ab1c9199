"""The labelling page in a real browser: keys, undo, cuts, two tabs, both languages, a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from served_farm import PASSWORD, Site, make_farm, served
from visitors import PHONE, opened, signed_in, violations

from besana import catalog as tables
from besana.catalog.web import skips, undone_labels

pytest.importorskip("fastapi", reason="fastapi is not installed")
if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with served(make_farm(tmp_path / "farm")) as found:
        yield found


def labelling(context: BrowserContext, site: Site) -> tuple[Page, list[str]]:
    page, complaints = opened(context, site, "/label")
    page.wait_for_selector("#picture[data-sample]")
    page.wait_for_selector("#classes button")
    return page, complaints


def shown(page: Page) -> str:
    return str(page.locator("#picture").get_attribute("data-sample"))


def saved(page: Page) -> None:
    page.wait_for_selector("#saving[data-state=saved]")


def events(site: Site) -> dict[str, list[str]]:
    """Sample to the classes of its label events."""
    found: dict[str, list[str]] = {}
    for row in site.desk.workspace.catalog.rows(sa.select(tables.labels)):
        found.setdefault(f"{row.frame_id}/{row.region}", []).append(row.class_name)
    return found


def test_somebody_begins_with_the_printed_link(browser: Browser, site: Site) -> None:
    token = site.desk.people.one_time_token()
    context = browser.new_context(locale="es-CO")
    page, complaints = opened(context, site, f"/start#{token}")
    assert token not in page.url
    page.get_by_label("Su nombre").fill("Eva")
    page.get_by_label("Contraseña").fill(PASSWORD)
    page.get_by_role("button", name="Empezar").click()
    page.wait_for_url("**/")
    assert page.locator(".person").inner_text() == "Eva"
    page.get_by_role("button", name="Salir").click()
    page.wait_for_url("**/sign-in")
    page.get_by_label("Su nombre").fill("eva")
    page.get_by_label("Contraseña").fill("not the password")
    page.get_by_role("button", name="Entrar").click()
    page.get_by_text("El nombre o la contraseña no es correcto.").wait_for()
    page.get_by_label("Contraseña").fill(PASSWORD)
    page.get_by_role("button", name="Entrar").click()
    page.wait_for_url("**/")
    assert [line for line in complaints if "401" not in line] == []
    context.close()


def test_keys_label_and_go_on(browser: Browser, site: Site) -> None:
    with signed_in(browser, site) as context:
        page, complaints = labelling(context, site)
        said = {}
        for key, name in (("1", "lying"), ("s", "standing"), ("3", "empty"), ("L", "lying")):
            said[shown(page)] = [name]
            before = shown(page)
            page.keyboard.press(key)
            assert shown(page) != before
        saved(page)
        assert events(site) == said
        assert complaints == []


def test_undo_and_redo_across_pictures(browser: Browser, site: Site) -> None:
    with signed_in(browser, site) as context:
        page, complaints = labelling(context, site)
        first = shown(page)
        page.keyboard.press("1")
        second = shown(page)
        page.keyboard.press("2")
        page.keyboard.press("z")
        assert shown(page) == second
        page.keyboard.press("z")
        assert shown(page) == first
        saved(page)
        assert events(site) == {}
        page.keyboard.press("Shift+Z")
        page.keyboard.press("Shift+Z")
        saved(page)
        assert events(site) == {first: ["lying"], second: ["standing"]}
        assert site.desk.workspace.catalog.count(sa.select(undone_labels)) == 2
        page.keyboard.press("z")
        page.keyboard.press("3")
        saved(page)
        assert events(site) == {first: ["lying"], second: ["empty"]}
        assert complaints == []


@pytest.mark.slow
def test_space_skips_with_a_reason(browser: Browser, site: Site) -> None:
    with signed_in(browser, site) as context:
        page, complaints = labelling(context, site)
        skipped = []
        for key in ("1", "2"):
            skipped.append(shown(page))
            page.keyboard.press("Space")
            assert page.locator("#reasons").is_visible()
            page.keyboard.press(key)
            assert shown(page) != skipped[-1]
        page.keyboard.press("Space")
        page.keyboard.press("Escape")
        assert not page.locator("#reasons").is_visible()
        saved(page)
        rows = site.desk.workspace.catalog.rows(sa.select(skips).order_by(skips.c.skipped_at))
        assert [f"{row.frame_id}/{row.region}" for row in rows] == skipped
        assert [row.reason for row in rows] == ["unusable", "unsure"]
        assert events(site) == {}
        assert complaints == []


@pytest.mark.slow
def test_arrows_look_at_other_frames_and_the_label_stays_here(browser: Browser, site: Site) -> None:
    with signed_in(browser, site) as context:
        page, complaints = labelling(context, site)
        here = shown(page)
        page.keyboard.press("ArrowRight")
        page.wait_for_function(
            "here => document.querySelector('#picture').dataset.sample !== here", arg=here
        )
        assert shown(page).rpartition("/")[2] == here.rpartition("/")[2]
        assert page.locator("#beside [aria-current]").count() == 1
        page.keyboard.press("ArrowLeft")
        page.wait_for_function(
            "here => document.querySelector('#picture').dataset.sample === here", arg=here
        )
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("1")
        saved(page)
        assert events(site) == {here: ["lying"]}
        assert complaints == []


@pytest.mark.slow
def test_whole_frame_zoom_and_full_resolution(browser: Browser, site: Site) -> None:
    with signed_in(browser, site) as context:
        page, complaints = labelling(context, site)
        page.keyboard.press("f")
        page.wait_for_selector("#outline polygon", state="attached")
        assert "/picture/frame" in str(page.locator("#picture").get_attribute("src"))
        assert page.locator("#picture").evaluate("i => i.naturalWidth") == 120
        page.keyboard.press("f")
        assert page.locator("#outline polygon").count() == 0
        page.keyboard.down("r")
        assert "/picture/full" in str(page.locator("#picture").get_attribute("src"))
        page.keyboard.up("r")
        assert "/picture/sample" in str(page.locator("#picture").get_attribute("src"))
        before = page.locator("#picture").bounding_box()
        page.keyboard.press("+")
        after = page.locator("#picture").bounding_box()
        assert before is not None
        assert after is not None
        assert after["width"] > before["width"]
        assert complaints == []


@pytest.mark.slow
def test_note_and_history(browser: Browser, site: Site) -> None:
    with signed_in(browser, site) as context:
        page, complaints = labelling(context, site)
        here = shown(page)
        page.keyboard.press("n")
        page.get_by_label("Goes with the next label").fill("getting up 1 2 3")
        page.get_by_role("button", name="Keep").click()
        page.keyboard.press("2")
        page.keyboard.press("z")
        saved(page)
        page.keyboard.press("h")
        line = page.locator("#history-list li")
        line.wait_for()
        assert "getting up 1 2 3" in line.inner_text()
        assert "taken back" in line.inner_text()
        page.keyboard.press("Escape")
        assert shown(page) == here
        assert complaints == []


def test_network_cut_loses_and_doubles_nothing(browser: Browser, site: Site) -> None:
    with signed_in(browser, site) as context:
        page, _ = labelling(context, site)
        said = {}
        context.set_offline(True)
        for key, name in (("1", "lying"), ("2", "standing"), ("3", "empty")):
            said[shown(page)] = [name]
            page.keyboard.press(key)
        page.wait_for_selector("#saving[data-state=cut]")
        assert events(site) == {}
        page.close()  # a closed lid: another page sends what this one kept
        context.set_offline(False)
        page, _ = labelling(context, site)
        saved(page)
        assert events(site) == said


@pytest.mark.slow
def test_answer_that_was_lost_on_the_way_is_not_said_twice(browser: Browser, site: Site) -> None:
    with signed_in(browser, site) as context:
        page, _ = labelling(context, site)
        lost = []

        def lose(route: Any) -> None:
            if lost:
                route.continue_()
                return
            lost.append(route.fetch().status)
            route.abort()

        page.route("**/api/acts", lose)
        here = shown(page)
        page.keyboard.press("1")
        page.wait_for_selector("#saving[data-state=cut]")
        saved(page)
        assert lost == [200]
        assert events(site) == {here: ["lying"]}


def test_two_tabs_never_overwrite_each_other(browser: Browser, site: Site) -> None:
    with signed_in(browser, site) as context:
        page, _ = labelling(context, site)
        here = shown(page)
        client = Client_of(context, site)
        frame, _, region = here.rpartition("/")
        act = {"act": "label", "key": "othertab1", "frame": frame, "region": region}
        client.post("/api/acts", {"acts": [{**act, "words": {"empty": True}}]})
        page.keyboard.press("1")
        page.get_by_text("Said otherwise in another tab").wait_for()
        assert events(site) == {here: ["empty"]}
        page.get_by_role("button", name="Take mine").click()
        saved(page)
        page.wait_for_function("() => document.querySelector('#stale').hidden")
        assert sorted(events(site)[here]) == ["empty", "lying"]


def Client_of(context: BrowserContext, site: Site) -> Any:  # noqa: N802
    """Give a client with the session of a browser."""
    client = site.client()
    client.cookie = "; ".join(f"{c['name']}={c['value']}" for c in context.cookies())
    client.token = client.get("/api/me").json["token"]
    return client


@pytest.mark.slow
def test_tabs_of_one_person_show_different_pictures(browser: Browser, site: Site) -> None:
    with signed_in(browser, site) as context:
        one, _ = labelling(context, site)
        two, _ = labelling(context, site)
        assert shown(one) != shown(two)


def test_language_is_switched_and_remembered(browser: Browser, site: Site) -> None:
    with signed_in(browser, site, size=PHONE) as context:
        page, complaints = labelling(context, site)
        assert "Skip" in page.inner_text("main")
        page.get_by_role("button", name="Español").click()
        assert "Saltar" in page.inner_text("main")
        assert "Todo guardado" in page.inner_text("main")
        page.reload()
        assert page.locator("html").get_attribute("lang") == "es"
        assert violations(page) == []
        assert complaints == []


@pytest.mark.slow
def test_a_reviewer_shows_a_picture_as_an_example(browser: Browser, site: Site) -> None:
    with signed_in(browser, site, role="labeller") as context:
        page, _ = labelling(context, site)
        page.keyboard.press("x")
        assert not page.locator("#example").is_visible()
        assert not page.locator("#example-dialog").is_visible()
    with signed_in(browser, site, role="reviewer", name="Eva") as context:
        page, complaints = labelling(context, site)
        frame, _, region = shown(page).rpartition("/")
        page.keyboard.press("x")
        assert violations(page) == []
        page.get_by_role("dialog").get_by_role("button", name="standing").click()
        page.wait_for_selector("#criteria img")
        assert page.locator("#criteria dt").inner_text() == "standing"
        page.goto(f"http://127.0.0.1:{site.port}/classes")
        page.wait_for_selector(".examples img")
        by_name = {each["name"]: each["examples"] for each in site.desk.classes.listed()}
        expected = [{"frame": frame, "region": region}]
        assert by_name == {"lying": [], "standing": expected, "empty": []}
        page.get_by_role("button", name="No example any more").click()
        page.wait_for_selector(".examples img", state="detached")
        assert complaints == []
    assert not any(each["examples"] for each in site.desk.classes.listed())
