import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_images() -> Path:
    """The folder of real images: `BESANA_DATA`, or shared/data beside the repository."""
    beside = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("BESANA_DATA", beside))
    if not (folder / "barn").is_dir():
        pytest.skip(f"no real images in {folder}; set BESANA_DATA")
    return folder


@pytest.fixture(scope="session")
def weights(real_images: Path) -> Path:
    """ImageNet weights of a MobileNetV2."""
    return real_images / "weights" / "mobilenetv2_100_same_1001.safetensors"
