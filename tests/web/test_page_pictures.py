"""The pictures of pages in the docs: made here from a simulated barn, anew by `make pictures`."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed")

import sqlalchemy as sa
from PIL import Image
from served_farm import Site, served
from test_room_pages import learned
from visitors import DESKTOP, PHONE, opened

from besana import catalog as tables
from besana.images.decode import decode
from besana.learning.embeddings import Embeddings, sample_keys
from besana.pipeline import run, run_stage
from besana.simulation.barn import Barn, BarnSettings, write_barn
from besana.web.desk import DeskSettings
from besana.workspace import Workspace

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[2] / "docs"
BARN = BarnSettings(days=1, interval_s=600, width_px=800, faults=False)
MOST_BYTES = 150_000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Serve a simulated day of three beds, of which two people have labelled a part."""
    barn = write_barn(tmp_path_factory.mktemp("pictured") / "barn", BARN)
    workspace = Workspace(barn.path)
    run(workspace, first="collect", last="prepare")
    for who, first, step, wrong in (("Ana", 0, 5, 0), ("Eva", 1, 7, 2), ("Eva", 0, 25, 3)):
        run_stage(workspace, "label", {"file": [words_of(barn, who, first, step, wrong)]})
    embed(workspace)
    with served(workspace, DeskSettings(overlap_share=0.1)) as found:
        for name in ("Ana", "Eva"):
            found.client("labeller", name)
        learned(found)
        yield found


@pytest.fixture(scope="module")
def cookie(site: Site) -> str:
    """Sign somebody in who sees every page."""
    return site.client("admin", "Luis").cookie.partition("=")[2]


def words_of(barn: Barn, who: str, first: int, step: int, wrong: int) -> str:
    """Let somebody say the truth about every few samples, and something else about some."""
    with barn.truth_csv.open() as file:
        rows = list(csv.DictReader(file))[first::step]
    classes = sorted({row["class"] for row in rows})
    for row in rows[:wrong]:
        row["class"] = classes[(classes.index(row["class"]) + 1) % len(classes)]
    path = barn.path / f"{who}-{step}.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["frame", "region", "class", "annotator", "time"])
        writer.writeheader()
        writer.writerows({**row, "annotator": who} for row in rows)
    return str(path)


def embed(workspace: Workspace) -> None:
    """Leave vectors as `besana embed` does: here the samples as very small pictures."""
    rows = workspace.catalog.rows(sa.select(tables.samples))
    identities = [{"frame_id": row.frame_id, "region": row.region} for row in rows]
    looks = []
    for row in rows:
        place = (row.shard, row.payload_offset_bytes, row.payload_length_bytes)
        small = Image.fromarray(decode(workspace.shards.read_range(*place)).pixels).resize((9, 12))
        looks.append(np.asarray(small, np.float32).ravel() / 255)
    keys = sample_keys(identities, np.array([row.crc32c for row in rows], np.uint32))
    vectors = np.array(looks, np.float16)
    Embeddings(workspace.embeddings.below("looks-1"), vectors.shape[1]).add(
        identities, keys, vectors
    )


# What a page shows when its picture is taken.


def label(page: Page) -> None:
    page.wait_for_selector("#picture[data-sample]")
    page.wait_for_selector("#classes button")
    here = page.locator("#picture").get_attribute("data-sample")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#beside [aria-current]")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(
        "here => document.querySelector('#picture').dataset.sample === here", arg=here
    )


def grid(page: Page) -> None:
    page.wait_for_selector(".tile[data-state=proposed]")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")


def strip(page: Page) -> None:
    page.wait_for_selector(".run")
    page.keyboard.press("Enter")
    page.wait_for_selector("#saving[data-state=saved]")


def review(page: Page) -> None:
    page.wait_for_selector("#picture[data-sample]")
    page.wait_for_selector("#classes button")
    page.get_by_label("Show who said what").check()
    page.wait_for_selector(".vote")


def ready(selector: str) -> Callable[[Page], None]:
    def wait(page: Page) -> None:
        page.wait_for_selector(selector)

    return wait


def one_picture(page: Page) -> None:
    page.wait_for_selector("#tiles a.tile")
    page.locator("#tiles a.tile").nth(40).click()
    page.wait_for_selector("body[data-ready]")


PICTURES: dict[str, tuple[str, Callable[[Page], None]]] = {
    "web-status": ("", ready("#runs")),
    "web-label": ("label", label),
    "web-grid": ("grid", grid),
    "web-strip": ("strip", strip),
    "web-review": ("review", review),
    "web-team": ("team", ready("#paces tr")),
    "web-data": ("data", ready("#tiles a.tile")),
    "web-picture": ("data", one_picture),
    "web-regions": ("regions", ready("body[data-ready]")),
    "web-phone": ("label", label),
}


@contextmanager
def visit(browser: Browser, site: Site, cookie: str, name: str) -> Iterator[Page]:
    """Open a page as its picture shows it; the phone is Spanish and dark."""
    size, language, scheme = DESKTOP, "en-GB", "light"
    if name == "web-phone":
        size, language, scheme = PHONE, "es-CO", "dark"
    viewport = {"width": size[0], "height": size[1]}
    context = browser.new_context(viewport=viewport, locale=language, color_scheme=scheme)
    origin = f"http://127.0.0.1:{site.port}"
    context.add_cookies([{"name": "besana", "value": cookie, "url": origin}])
    path, prepare = PICTURES[name]
    page, complaints = opened(context, site, f"/{path}")
    prepare(page)
    page.wait_for_load_state("networkidle")
    yield page
    context.close()
    assert complaints == []


@pytest.mark.parametrize("name", PICTURES)
def test_picture_in_the_docs_is_of_this_page(
    browser: Browser, site: Site, cookie: str, tmp_path: Path, name: str
) -> None:
    with visit(browser, site, cookie, name) as page:
        taken = Image.open(io.BytesIO(page.screenshot()))
        loaded = "[...document.querySelectorAll('img[src]')].filter(i => i.checkVisibility() &&"
        loaded += " i.getBoundingClientRect().top < innerHeight).every(i => i.naturalWidth > 0)"
        assert page.evaluate(loaded)
    folder = Path(os.environ.get("BESANA_PICTURES", tmp_path))
    taken.save(folder / f"{name}.webp", quality=82, method=6)
    assert (folder / f"{name}.webp").stat().st_size < MOST_BYTES
    with Image.open(DOCS / "images" / f"{name}.webp") as kept:
        assert kept.size == taken.size


def test_docs_show_every_picture_of_a_page() -> None:
    shown = re.findall(r"images/(web-[a-z]+)\.webp", (DOCS / "how-to" / "web.md").read_text())
    assert sorted(shown) == sorted(PICTURES)
    assert {path.stem for path in (DOCS / "images").glob("web-*")} == set(PICTURES)
