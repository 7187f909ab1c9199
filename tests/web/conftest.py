"""What the tests of pages share: reports to look at, and a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pages import EVIL, Config, fill

from besana.web.report_page import open_report
from besana.workspace import Workspace

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reports of a workspace with a bad name, read from by tests and never written to."""
    folder = tmp_path_factory.mktemp("web") / "farm"
    workspace = Workspace.create(folder, "name = '''Alto \"><b>'''")
    with open_report(workspace, "clean", Config(blur_below=30.0, classes=[EVIL])) as report:
        fill(report)
    return workspace.reports


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Start a real browser, or skip."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"no Chromium at {CHROMIUM}")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()
