"""What the tests of serving share: one tiny model with its export, made once."""

import shutil

import besana.learning  # noqa: F401  # says how threads wait, before torch is loaded

import torch  # isort: skip
import pytest
from exported import export, tiny_model

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A tiny model of two classes; read only."""
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def whole_export(model, tmp_path_factory):
    """Its export in three precisions; read only."""
    folder = tmp_path_factory.mktemp("export")
    export(model, folder, ("fp32", "fp16", "int8"))
    return folder


@pytest.fixture
def folder(whole_export, tmp_path):
    """A copy of the export that a test may spoil."""
    shutil.copytree(whole_export, tmp_path / "export")
    return tmp_path / "export"
