"""Shared datasets: written once a session, never changed."""

import pytest
from shard_farm import Farm

from besana.shards import Manifest


@pytest.fixture(scope="session")
def hundred(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """A hundred pictures in four shards."""
    return Farm(tmp_path_factory.mktemp("hundred")).write()
