"""A scripted annotator in a real browser: how fast labels come by picture, grid and strip.

The farm is a simulated one with prepared samples and embeddings; its truth answers. Run:

    besana simulate barn --days 1 --interval-s 60 --width-px 640 --no-faults barn
    besana run barn --to prepare && besana embed barn
    python benchmarks/labelling_browser.py barn
"""

from __future__ import annotations

import csv
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import sqlalchemy as sa
from playwright.sync_api import Page, sync_playwright

from besana import catalog as tables
from besana.web.desk import Desk, DeskSettings
from besana.web.server import Address, bind, serve
from besana.web.site import build_site
from besana.workspace import Workspace

CHROMIUM = "/usr/bin/chromium"
ONE_BY_ONE, SCREENS, FRAMES = 200, 10, 1000
Truth = dict[tuple[str, str], str]


def main(farm: Path) -> None:
    """Label a copy of a farm in all three ways and print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "farm"
        shutil.copytree(farm, copy, ignore=shutil.ignore_patterns("recorded", "web.*"))
        workspace = Workspace(copy)
        truth = read_truth(workspace, farm / "truth.csv")
        moving = move_files(workspace, truth, Path(folder))
        print(f"moving files by a script: {moving:.0f} a second (no person looks)")
        with served(workspace) as (desk, port), sync_playwright() as running:
            browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            token = desk.people.join(desk.people.invite("bench", "labeller"), "Bench", "x" * 12)
            context = browser.new_context(viewport={"width": 1280, "height": 860})
            origin = f"http://127.0.0.1:{port}"
            context.add_cookies([{"name": "besana", "value": token, "url": origin}])
            page = context.new_page()
            classes = desk.classes.names()
            one_by_one(page, origin, truth, classes)
            wait_for_model(desk)
            in_grid(page, origin, truth, classes, workspace)
            in_strip(page, origin, truth, classes, workspace)
            browser.close()


def read_truth(workspace: Workspace, path: Path) -> Truth:
    """Read what each sample shows, by frame id and region."""
    rows = workspace.catalog.rows(sa.select(tables.frames.c.id, tables.frames.c.name))
    ids = {row.name: row.id for row in rows}
    with path.open() as file:
        found = [row for row in csv.DictReader(file) if row["frame"] in ids]
    return {(ids[row["frame"]], row["region"]): row["class"] for row in found}


def move_files(workspace: Workspace, truth: Truth, folder: Path) -> float:
    """Measure the baseline: one file a sample, moved into the folder of its class."""
    source = folder / "loose"
    source.mkdir()
    names = [f"{number}.jpg" for number in range(min(1000, len(truth)))]
    for name in names:
        (source / name).write_bytes(b"x" * 4000)
    for name in set(truth.values()):
        (folder / "sorted" / name).mkdir(parents=True)
    started = time.perf_counter()
    for name, word in zip(names, truth.values(), strict=False):
        (source / name).rename(folder / "sorted" / word / name)
    return len(names) / (time.perf_counter() - started)


@contextmanager
def served(workspace: Workspace) -> Iterator[tuple[Desk, int]]:
    """Serve the pages in a thread until the deck is read and after."""
    address = Address()
    taken = bind(address)
    port = taken.getsockname()[1]
    with closing(Desk(workspace, DeskSettings(overlap_share=0))) as desk:
        app = build_site(desk, address.hosts(port), secure=False)
        stop = threading.Event()
        more: dict[str, Any] = {"until": stop.is_set, "beside": desk.watch}
        thread = threading.Thread(target=serve, args=(app, taken, address), kwargs=more)
        thread.start()
        try:
            while not desk.is_ready:
                time.sleep(0.1)
            yield desk, port
        finally:
            stop.set()
            thread.join()


def wait_for_model(desk: Desk) -> None:
    """Wait until proposals are there."""
    until = time.monotonic() + 120
    while not desk.learned.curve and time.monotonic() < until:
        time.sleep(0.2)


def key_of(classes: list[str], word: str) -> str:
    """Give the key of a class."""
    return str(1 + classes.index(word))


def sample_of(address: str) -> tuple[str, str]:
    """Read frame and region from the address of a picture."""
    query = parse_qs(urlsplit(address).query)
    return query["frame"][0], query["region"][0]


def one_by_one(page: Page, origin: str, truth: Truth, classes: list[str]) -> None:
    """Press one key a picture, as fast as the next one is on the screen."""
    page.goto(f"{origin}/label")
    page.wait_for_selector("#picture[data-sample]")
    page.wait_for_selector("#classes button")
    waits = []
    started = time.perf_counter()
    for _ in range(ONE_BY_ONE):
        frame, _, region = str(page.locator("#picture").get_attribute("data-sample")).rpartition(
            "/"
        )
        page.keyboard.press(key_of(classes, truth[frame, region]))
        waits.append(page.evaluate(PAINTED))
    seconds = time.perf_counter() - started
    page.wait_for_selector("#saving[data-state=saved]")
    waits.sort()
    print(
        f"one by one: {ONE_BY_ONE / seconds:.1f} labels a second; next picture decoded after"
        f" {waits[len(waits) // 2]:.0f} ms (median), {waits[int(0.95 * len(waits))]:.0f} ms (p95)"
    )


PAINTED = """async () => {
  const start = performance.now();
  await document.querySelector("#picture").decode().catch(() => {});
  return performance.now() - start;
}"""


def in_grid(
    page: Page, origin: str, truth: Truth, classes: list[str], workspace: Workspace
) -> None:
    """Correct what is proposed wrongly, then accept the screen."""
    page.goto(f"{origin}/grid")
    pressed = labelled = 0
    started = time.perf_counter()
    for _ in range(SCREENS):
        page.wait_for_selector(".tile[data-state=proposed]")
        found = page.evaluate(
            "[...document.querySelectorAll('.tile')].map((t) =>"
            " [t.querySelector('img').src, t.querySelector('.name').textContent])"
        )
        for place, (address, name) in enumerate(found):
            word = truth[sample_of(address)]
            if not name.startswith(word):
                page.locator(".tile").nth(place).focus()
                page.keyboard.press(key_of(classes, word))
                pressed += 1
        page.keyboard.press("Enter")
        pressed, labelled = pressed + 1, labelled + len(found)
        page.wait_for_function("() => document.querySelector('#saving').dataset.state === 'saved'")
    seconds = time.perf_counter() - started
    wrong = wrong_share(workspace, truth, "grid")
    print(
        f"grid: {labelled / seconds:.0f} labels a second, {pressed} keys for {labelled},"
        f" {100 * wrong:.2f} % wrong"
    )


def in_strip(
    page: Page, origin: str, truth: Truth, classes: list[str], workspace: Workspace
) -> None:
    """Say for each run what most of the frames that it shows are; then judge the spot checks."""
    page.goto(f"{origin}/strip")
    page.wait_for_selector(".run")
    page.get_by_label("Frames").select_option(str(FRAMES))
    page.wait_for_function("() => !document.querySelector('#empty').textContent")
    page.wait_for_selector(".run")
    pressed, started = 0, time.perf_counter()
    for run in range(page.locator(".run").count()):
        images = page.locator(".run").nth(run).locator("img")
        addresses = images.evaluate_all("all => all.map((image) => image.src)")
        words = Counter(truth[sample_of(address)] for address in addresses)
        page.keyboard.press(key_of(classes, words.most_common(1)[0][0]))
        pressed += 1
    page.wait_for_selector("#saving[data-state=saved]")
    seconds = time.perf_counter() - started
    events = tables.labels.c
    spread = workspace.catalog.count(sa.select(events.id).where(events.source == "strip"))
    wrong = wrong_share(workspace, truth, "strip")
    print(
        f"strip: {spread} frames by {pressed} keys, {spread / seconds:.0f} labels a second,"
        f" {100 * wrong:.2f} % wrong"
    )
    page.goto(f"{origin}/spot-checks")
    for _ in range(40):
        page.wait_for_selector("#picture[data-sample]")
        frame, _, region = str(page.locator("#picture").get_attribute("data-sample")).rpartition(
            "/"
        )
        page.keyboard.press(key_of(classes, truth[frame, region]))
    page.wait_for_selector("#saving[data-state=saved]")
    page.reload()
    page.wait_for_function("() => document.querySelector('#rate').textContent")
    print(page.inner_text("#rate"))


def wrong_share(workspace: Workspace, truth: Truth, source: str) -> float:
    """Compare the labels of one way with the truth."""
    rows = workspace.catalog.rows(sa.select(tables.labels).where(tables.labels.c.source == source))
    wrong = sum(truth[row.frame_id, row.region] != row.class_name for row in rows)
    return wrong / max(1, len(rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
