"""What the tests share: a small simulated farm with known faults, and a browser."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from besana.simulation.barn import Barn, BarnSettings, write_barn

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = Path("/usr/bin/chromium")


def pytest_configure() -> None:
    """Let Ctrl-C reach the processes that tests start, also when this one runs in the background.

    A shell without job control starts what it sends there with the signal ignored, and children
    inherit that.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Barn:
    """Three days of three beds, a frame every half hour, one fault of each kind at least.

    Shared by all tests of a session: read from it, never write into it.
    """
    folder: Path = tmp_path_factory.mktemp("simulated") / "farm"
    return write_barn(folder, BarnSettings(days=3, interval_s=1800, width_px=640))


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
