"""A farm with a champion, made once for all tests of this folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from besana.workspace import Workspace
from watched import make_farm


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The farm as it was made; its MLflow store is a file inside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        folder: Path = tmp_path_factory.mktemp("watched") / "farm"
        make_farm(folder).catalog.close()
        yield folder


@pytest.fixture
def farm(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A copy of the farm for one test."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copytree(trained, tmp_path / "farm")
    return Workspace(tmp_path / "farm")
