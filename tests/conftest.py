"""What the tests share: a small simulated farm with known faults."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from besana.simulation.barn import Barn, BarnSettings, write_barn


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
