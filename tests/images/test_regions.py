"""Regions name the right pixels; tiles cover the picture without gaps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from besana.images.camera import Camera
from besana.images.regions import Box, Grid, box_region, parse_regions


def test_box_and_polygon_are_read() -> None:
    bed, pen = parse_regions({"bed": [10, 20, 30, 60], "pen": [[0, 0], [10.5, 0], [0, 10.5]]})
    assert (bed.name, bed.box, bed.is_box) == ("bed", Box(10, 20, 30, 60), True)
    assert (pen.name, pen.box, pen.is_box) == ("pen", Box(0, 0, 11, 11), False)


def test_polygon_mask_is_its_inside() -> None:
    (triangle,) = parse_regions({"t": [[0, 0], [4, 0], [0, 4]]})
    assert triangle.mask().astype(int).tolist() == [
        [1, 1, 1, 0],
        [1, 1, 0, 0],
        [1, 0, 0, 0],
        [0, 0, 0, 0],
    ]


@pytest.mark.parametrize(
    "shape",
    [
        [1, 2, 3],
        [10, 0, 5, 5],
        [[0, 0], [1, 1]],
        [[0, 0], [1, 1], [2, 2]],
        [[0, 0, 0], [1, 1, 1], [2, 0, 0]],
        [1, 2, 3, [4, 5]],
        [],
    ],
)
def test_shape_without_inside_is_refused(shape: list[float]) -> None:
    with pytest.raises(ValueError, match="region"):
        parse_regions({"bed": shape})


@pytest.mark.parametrize("name", ["", "a/b", " bed"])
def test_name_that_breaks_sample_ids_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="region name"):
        parse_regions({name: [0, 0, 1, 1]})


def test_tiles_are_named_by_row_and_column() -> None:
    tiles = Grid(size_px=64).regions((150, 100))
    assert [tile.name for tile in tiles] == [
        "r00c00",
        "r00c01",
        "r00c02",
        "r01c00",
        "r01c01",
        "r01c02",
    ]
    assert tiles[5].box == Box(86, 36, 150, 100)


@given(
    width=st.integers(1, 200),
    height=st.integers(1, 200),
    size=st.integers(8, 90),
    data=st.data(),
)
def test_tiles_cover_every_pixel_and_stay_inside(
    width: int, height: int, size: int, data: st.DataObject
) -> None:
    stride = data.draw(st.integers(4, size)) if size > 4 else size
    covered = np.zeros((height, width), dtype=bool)
    for tile in Grid(size_px=size, stride_px=stride).regions((width, height)):
        left, top, right, bottom = tile.box
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        covered[top:bottom, left:right] = True
    assert covered.all()


@given(x=st.floats(0, 99.99), y=st.floats(0, 99.99))
def test_point_lies_in_exactly_one_of_tiles_that_only_touch(x: float, y: float) -> None:
    tiles = Grid(size_px=20).regions((100, 100))
    assert sum(bool(tile.contains(np.array([[x, y]]))[0]) for tile in tiles) == 1


def test_nowhere_lies_in_no_region() -> None:
    region = box_region("bed", 0, 0, 10, 10)
    assert region.contains(np.array([[np.nan, 1.0], [5.0, 5.0]])).tolist() == [False, True]


def test_camera_without_regions_has_the_whole_frame() -> None:
    (region,) = Camera(name="yard").region_list((640, 480))
    assert (region.name, region.box) == ("all", Box(0, 0, 640, 480))


def test_camera_with_grid_and_regions_is_refused() -> None:
    with pytest.raises(ValueError, match="not both"):
        Camera(name="yard", grid=Grid(), regions={"bed": [0, 0, 5, 5]})


def test_unknown_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown time zone"):
        Camera(name="yard", time_zone="Mars/Olympus")
