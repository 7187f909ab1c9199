"""What a server makes of a frame is what `prepare` and the loader make of it."""

import numpy as np
import pytest

from besana.images.camera import Camera
from besana.images.encode import encode_jpeg, encode_png
from besana.images.header import Limits
from besana.serving.pictures import Wanted, prepare
from besana.shards.loader import Loader
from besana.stages import clean, collect
from besana.stages import prepare as prepare_stage
from besana.workspace import Workspace

CAMERA = """
[cameras.pen-a]
files = "pen-a/**"
[cameras.pen-a.regions]
whole = [0, 0, 400, 300]
corner = [10, 20, 90, 100]
edge = [[300, 200], [420, 200], [420, 320], [300, 320]]
"""


def picture(seed, height=300, width=400):
    import cv2

    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height // 20, width // 20, 3)).astype(np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("size_px", [32, 64, 100])
@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_a_served_frame_has_the_pixels_that_were_trained_on(tmp_path, size_px, ending):
    from besana.learning.sample_pages import manifest_of, sample_pages, usable_samples

    encode = encode_jpeg if ending == "jpg" else encode_png
    data = encode(picture(1))
    (tmp_path / "card/pen-a").mkdir(parents=True)
    (tmp_path / f"card/pen-a/20240501T120000.{ending}").write_bytes(data)
    workspace = Workspace.create(tmp_path / "farm", CAMERA)
    engine = workspace.open_engine(workers=1)
    collect.run(workspace, collect.Config(source=[str(tmp_path / "card")], settle_s=0), engine)
    clean.run(workspace, None, engine)
    prepare_stage.run(workspace, prepare_stage.Config(size_px=64), engine)
    trained = {}
    for page in sample_pages(workspace, usable_samples()):
        with (
            manifest_of(page, workspace.temporary) as manifest,
            Loader(manifest, None, 1, size_px, workspace.shards, shuffle="none") as loader,
        ):
            for row, batch in zip(page, loader, strict=True):
                trained[row["region"]] = batch.images[0].copy()

    served = prepare({"rgb": data}, workspace.camera("pen-a"), Wanted(64, size_px, 3), Limits())

    assert sorted(served.regions) == sorted(trained) == ["corner", "edge", "whole"]
    for name, pixels in zip(served.regions, served.images, strict=True):
        gap = np.abs(pixels.astype(int) - trained[name])
        assert gap.max() <= (1 if trained[name].shape != (64, 64, 3) or name == "whole" else 0), (
            name
        )


def test_quality_is_measured_when_asked_for():
    data = encode_png(picture(2))
    wanted = Wanted(64, 32, 3)
    without = prepare({"rgb": data}, Camera(), wanted, Limits())
    with_it = prepare({"rgb": data}, Camera(), wanted, Limits(), with_quality=True)

    assert without.quality == {}
    assert with_it.quality["light"] == "day"
    assert with_it.regions == ["all"]
