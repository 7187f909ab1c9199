"""The grid, the strip, reviewing, the team and the other pages in a real browser."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed")

import sqlalchemy as sa
from served_farm import (
    CLASSES,
    REGIONS,
    Site,
    frame_id,
    make_farm,
    picture,
    served,
    truth,
)
from visitors import DESKTOP, PHONE, opened, signed_in, violations

from besana import catalog as tables
from besana.learning.embeddings import Embeddings, sample_keys
from besana.web.desk import DeskSettings
from besana.workspace import Workspace

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FRAMES = 60
NUMBER = {frame_id(number): number for number in range(200)}


def embed(workspace: Workspace) -> None:
    """Leave vectors as `besana embed` does: here the mean colour of each picture."""
    s = tables.samples.c
    rows = workspace.catalog.rows(sa.select(s.frame_id, s.region, s.crc32c))
    identities = [{"frame_id": row.frame_id, "region": row.region} for row in rows]
    looks = [picture(NUMBER[row.frame_id], row.region).mean(axis=(0, 1)) for row in rows]
    noise = np.random.default_rng(0).normal(0, 1, (len(rows), 8))
    vectors = np.concatenate([np.array(looks) / 30, noise], axis=1)
    keys = sample_keys(identities, np.array([row.crc32c for row in rows], np.uint32))
    Embeddings(workspace.embeddings.below("looks-1"), vectors.shape[1]).add(
        identities, keys, vectors.astype(np.float16)
    )


def label_all(site: Site, name: str, count: int, wrong: int = 0) -> None:
    """Let somebody label pictures, the first of them wrongly."""
    client = site.client("labeller", name)
    while count > 0:
        body = {"tab": uuid.uuid4().hex, "count": min(count, 40)}
        items = client.post("/api/next", body).json["items"]
        acts = []
        for item in items:
            right = truth(NUMBER[item["frame"]], item["region"])
            word = CLASSES[(CLASSES.index(right) + 1) % 3] if wrong > 0 else right
            wrong -= 1
            where = {"frame": item["frame"], "region": item["region"]}
            acts.append({"act": "label", "key": uuid.uuid4().hex, **where, "words": {word: True}})
        assert client.post("/api/acts", {"acts": acts}).status == 200
        count -= len(items)
        if not items:
            return


def learned(site: Site) -> None:
    """Wait until the model in the loop has looked at everything."""
    import time

    until = time.monotonic() + 60
    while not site.desk.learned.curve and time.monotonic() < until:
        time.sleep(0.05)
    assert site.desk.learned.curve


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with served(make_farm(tmp_path / "farm", FRAMES)) as found:
        yield found


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Serve a farm with embeddings and 120 labels, from which a model has learned."""
    workspace = make_farm(tmp_path_factory.mktemp("taught") / "farm", 120)
    embed(workspace)
    with served(workspace, DeskSettings(overlap_share=0.5)) as found:
        found.client("admin", "Permanent")
        label_all(found, "Luis", 80, wrong=3)
        label_all(found, "Marta", 80)
        learned(found)
        yield found


def events(site: Site) -> list[Any]:
    return site.desk.workspace.catalog.rows(sa.select(tables.labels))


def saved(page: Page) -> None:
    page.wait_for_selector("#saving[data-state=saved]")


def wrong_labels(site: Site, source: str) -> int:
    return sum(
        row.class_name != truth(NUMBER[row.frame_id], row.region)
        for row in events(site)
        if row.source == source
    )


@pytest.mark.slow
def test_grid_takes_proposals_a_key_and_a_click_change_one(
    browser: Browser, tmp_path: Path
) -> None:
    workspace = make_farm(tmp_path / "farm", 120)
    embed(workspace)
    with served(workspace) as site, signed_in(browser, site, name="Eva") as context:
        label_all(site, "Luis", 104)
        learned(site)
        before = len(events(site))
        page, complaints = opened(context, site, "/grid")
        page.wait_for_selector(".tile[data-state=proposed]")
        tiles = page.locator(".tile")
        count = tiles.count()
        names = {name.split()[0] for name in page.locator(".tile .name").all_inner_texts()}
        assert len(names) == 1, "look-alikes get one proposal"
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Space")
        assert tiles.nth(1).get_attribute("data-state") == "out"
        tiles.nth(0).click()
        assert tiles.nth(0).get_attribute("data-state") == "changed"
        tiles.nth(0).focus()
        page.keyboard.press(str(1 + CLASSES.index(names.pop())))
        assert tiles.nth(0).get_attribute("data-state") == "proposed"
        page.keyboard.press("Enter")
        saved(page)
        page.wait_for_selector(".tile[data-state=proposed]")
        assert len(events(site)) - before == count - 1
        assert wrong_labels(site, "grid") == 0
        page.keyboard.press("z")
        saved(page)
        assert len(events(site)) == before
        assert page.locator(".tile").count() == count
        assert complaints == []


@pytest.mark.slow
def test_grid_without_a_model_takes_one_class_for_all(browser: Browser, site: Site) -> None:
    with signed_in(browser, site) as context:
        page, complaints = opened(context, site, "/grid")
        page.wait_for_selector(".tile[data-state=none]")
        page.keyboard.press("Enter")
        assert events(site) == []
        page.wait_for_selector(".tile[data-state=none]")
        page.keyboard.press("a")
        page.keyboard.press("2")
        assert page.locator(".tile[data-state=changed]").count() == 40
        page.keyboard.press("Enter")
        saved(page)
        assert {row.class_name for row in events(site)} == {"standing"}
        assert len(events(site)) == 40
        assert complaints == []


@pytest.mark.slow
def test_strip_labels_a_run_by_one_key(browser: Browser, site: Site) -> None:
    with signed_in(browser, site) as context:
        page, complaints = opened(context, site, "/strip")
        page.wait_for_selector(".run")
        runs = page.locator(".run")
        found = runs.count()
        assert found == -(-FRAMES // 7), "a state lasts seven frames"
        for place in range(found):
            word = truth(7 * place, REGIONS[0])
            page.keyboard.press(str(1 + CLASSES.index(word)))
        saved(page)
        assert len(events(site)) == FRAMES
        assert wrong_labels(site, "strip") == 0
        page.get_by_text("wait for a spot check").wait_for()
        page.keyboard.press("z")
        saved(page)
        assert len(events(site)) == FRAMES - 4
        assert complaints == []


@pytest.mark.slow
def test_strip_runs_are_cut_and_joined_by_hand(browser: Browser, site: Site) -> None:
    with signed_in(browser, site) as context:
        page, complaints = opened(context, site, "/strip")
        page.wait_for_selector(".run")
        before = page.locator(".run").count()
        page.keyboard.press("Space")
        page.locator(".film button").nth(2).click()
        assert page.locator(".run").count() == before + 1
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Backspace")
        assert page.locator(".run").count() == before
        page.keyboard.press("ArrowDown")
        page.wait_for_selector(".run[data-state=out]")
        page.keyboard.press("-")
        page.wait_for_function("() => !document.querySelector('.run[data-state=out]')")
        assert events(site) == []
        assert complaints == []


def test_spot_checks_estimate_the_error(browser: Browser, site: Site) -> None:
    client = site.client("labeller", "Ana")
    strip = client.post("/api/strip", {"camera": "pen", "region": "bed-1"}).json
    acts = []
    for number, item in enumerate(strip["items"]):
        right = truth(NUMBER[item["frame"]], "bed-1")
        word = CLASSES[(CLASSES.index(right) + 1) % 3] if number % 10 == 0 else right
        where = {"frame": item["frame"], "region": "bed-1"}
        act = {"act": "label", "key": uuid.uuid4().hex, **where, "words": {word: True}}
        acts.append({**act, "source": "strip"})
    client.post("/api/acts", {"acts": acts})
    for _ in range(3):
        checks = client.get("/api/spot-checks").json
        acts = [
            {
                "act": "label",
                "key": uuid.uuid4().hex,
                "frame": item["frame"],
                "region": "bed-1",
                "words": {truth(NUMBER[item["frame"]], "bed-1"): True},
                "base": item["base"],
                "source": "spot-check",
            }
            for item in checks["items"]
        ]
        if acts:
            client.post("/api/acts", {"acts": acts})
    rate = client.get("/api/spot-checks").json
    assert rate["checked"] == 40
    assert rate["items"] == []
    assert rate["low"] <= 0.1 <= rate["high"]
    assert rate["share"] == rate["wrong"] / 40


@pytest.mark.slow
def test_spot_checks_are_judged_on_their_page(browser: Browser, site: Site) -> None:
    with signed_in(browser, site) as context:
        page, _ = opened(context, site, "/strip")
        page.wait_for_selector(".run")
        for _ in range(page.locator(".run").count()):
            page.keyboard.press("1")
        page.get_by_text("wait for a spot check").click()
        page.wait_for_selector("#picture[data-sample]")
        page.wait_for_selector("#classes button")
        page.keyboard.press("2")
        saved(page)
        page.wait_for_function(
            "() => document.querySelector('#rate').textContent.includes('spread')"
        )
        assert sum(row.source == "spot-check" for row in events(site)) == 1


def test_review_settles_a_disagreement(browser: Browser, tmp_path: Path) -> None:
    with served(make_farm(tmp_path / "farm", 10)) as site:
        for name, word in (("Ana", "lying"), ("Eva", "empty")):
            act = {"act": "label", "key": "key00001", "frame": frame_id(3), "region": "bed-1"}
            client = site.client("labeller", name)
            client.post("/api/acts", {"acts": [{**act, "words": {word: True}}]})
        with signed_in(browser, site, role="reviewer", name="Rosa") as context:
            page, complaints = opened(context, site, "/review")
            page.wait_for_selector("#picture[data-sample]")
            page.wait_for_selector("#classes button")
            assert page.locator(".vote").count() == 0, "blind unless opened"
            page.get_by_label("Show who said what").check()
            page.wait_for_selector(".vote")
            assert "Eva: empty" in page.inner_text("#caption")
            page.locator("#screen").click()
            page.keyboard.press("1")
            saved(page)
            page.get_by_text("Nothing is left to label").wait_for()
            current = site.desk.workspace.catalog.rows(sa.select(tables.current_labels))[0]
            assert (current.class_name, bool(current.tied), current.votes) == ("lying", False, 2)
            assert complaints == []


def test_team_tells_agreement_pace_and_what_labelling_buys(browser: Browser, taught: Site) -> None:
    with signed_in(browser, taught, role="reviewer", name="Rosa") as context:
        page, complaints = opened(context, taught, "/team")
        page.get_by_text("Krippendorff's alpha").wait_for()
        words = page.inner_text("main")
        assert "Cohen's kappa of Luis and Marta" in words
        assert "The next half hour of labelling" in words
        assert page.locator("#curve circle").count() == 4, "three parts of the labels, and the hope"
        page.get_by_label("Pictures come up by").select_option("uncertainty")
        page.get_by_text("Saved.").wait_for()
        assert taught.desk.order == "uncertainty"
        assert complaints == []


def test_every_picture_stays_in_the_order_and_suspects_get_a_second_vote(taught: Site) -> None:
    deck = taught.desk.deck
    assert sorted(deck.order.tolist()) == list(range(deck.count))
    assert taught.desk.learned.suspects
    assert (deck.needed[taught.desk.learned.suspects] >= 2).all()


def test_likely_errors_are_reviewed(taught: Site) -> None:
    client = taught.client("reviewer", "Raúl")
    found = {
        (item["frame"], item["region"]): item["why"]
        for item in client.get("/api/review").json["items"]
    }
    wrong = {
        (row.frame_id, row.region)
        for row in events(taught)
        if row.class_name != truth(NUMBER[row.frame_id], row.region)
    }
    assert wrong <= set(found)


def test_classes_page_adds_and_describes(browser: Browser, tmp_path: Path) -> None:
    evil = '"><img src=x onerror=alert(1)>'
    name = 'Ana "><b>'
    farm = make_farm(tmp_path / "farm", 4)
    with served(farm) as site, signed_in(browser, site, role="admin", name=name) as context:
        page, complaints = opened(context, site, "/classes")
        page.get_by_label("A new class").fill(evil)
        page.get_by_role("button", name="Add", exact=True).click()
        page.get_by_role("heading", name=evil).wait_for()
        box = page.get_by_label("How to tell").first
        box.fill("Belly on the ground.")
        box.blur()
        page.get_by_text("Saved.").last.wait_for()
        page.goto(f"http://127.0.0.1:{site.port}/label")
        page.get_by_text("Belly on the ground.").wait_for()
        page.get_by_role("button", name=evil).click()
        page.wait_for_selector("#saving[data-state=saved]")
        assert page.locator("img[src=x]").count() == 0
        assert [row.class_name for row in events(site)] == [evil]
        assert [row.annotator for row in events(site)] == ['Ana "><b>']
        assert complaints == []


@pytest.mark.slow
def test_people_page_invites(browser: Browser, tmp_path: Path) -> None:
    with served(make_farm(tmp_path / "farm", 4)) as site:
        with signed_in(browser, site, role="admin", name="Ana") as context:
            page, complaints = opened(context, site, "/people")
            page.get_by_label("Invite as").select_option("reviewer")
            page.get_by_role("button", name="Make a link").click()
            page.wait_for_function("() => document.querySelector('#link-text').value")
            link = page.locator("#link-text").input_value()
            assert complaints == []
        context = browser.new_context(locale="en-GB")
        page, complaints = opened(context, site, link.partition(str(site.port))[2])
        page.get_by_label("Your name").fill("Rosa")
        page.get_by_label("Password").fill("a long password")
        page.get_by_role("button", name="Join").click()
        page.wait_for_url("**/")
        assert site.desk.people.names("reviewer") == ["Rosa"]
        context.close()


READY = {
    "": "h1",
    "label": "#picture[data-sample]",
    "grid": ".tile",
    "strip": ".run",
    "review": "#picture[data-sample]",
    "team": "#paces tr",
    "classes": "#list li",
    "data": "#tiles li",
    "regions": "body[data-ready]",
    "people": "#people tr",
}
EVERY_WAY = [
    ("en-GB", DESKTOP, "light"),
    ("es-CO", PHONE, "dark"),
    ("es-CO", DESKTOP, "dark"),
    ("en-GB", PHONE, "light"),
]
# First each page in one way, of which two are quick enough for every run; then all others.
LOOKS = [(path, *EVERY_WAY[turn % 4]) for turn, path in enumerate(READY)]
LOOKS += [
    (path, *way)
    for turn, path in enumerate(READY)
    for place, way in enumerate(EVERY_WAY)
    if place != turn % 4
]


@pytest.mark.parametrize(
    ("path", "language", "size", "scheme"),
    [
        *LOOKS[:2],
        *(pytest.param(*look, marks=pytest.mark.slow) for look in LOOKS[2:]),
    ],
)
def test_page_fits_and_can_be_read_aloud(
    browser: Browser, taught: Site, path: str, language: str, size: tuple[int, int], scheme: str
) -> None:
    more = {"language": language, "size": size, "color_scheme": scheme, "reduced_motion": "reduce"}
    name = f"Admin {uuid.uuid4().hex[:6]}"
    with signed_in(browser, taught, role="admin", name=name, **more) as context:
        page, complaints = opened(context, taught, f"/{path}")
        page.wait_for_selector(READY[path])
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert page.locator("html").get_attribute("lang") == language[:2]
        assert page.get_by_role("main").count() == 1
        assert page.get_by_role("heading", level=1).count() == 1
        assert violations(page) == []
        assert complaints == []
    taught.desk.people.change("test", name, role=None, active=False)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["sign-in", "start", "join", "nothing"])
def test_doors_can_be_read_aloud(browser: Browser, site: Site, path: str) -> None:
    context = browser.new_context(locale="es-CO")
    page, _ = opened(context, site, f"/{path}")
    assert page.get_by_role("heading", level=1).count() == 1
    assert violations(page) == []
    context.close()
