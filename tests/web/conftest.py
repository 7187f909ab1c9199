"""What the tests of pages share: reports to look at."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import EVIL, Config, fill

from besana.web.report_page import open_report
from besana.workspace import Workspace


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reports of a workspace with a bad name, read from by tests and never written to."""
    folder = tmp_path_factory.mktemp("web") / "farm"
    workspace = Workspace.create(folder, "name = '''Alto \"><b>'''")
    with open_report(workspace, "clean", Config(blur_below=30.0, classes=[EVIL])) as report:
        fill(report)
    return workspace.reports
