"""Say what besana needs to know about one camera: files, time, lens and regions."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from besana.config import Settings
from besana.images.lens import Lens
from besana.images.regions import WHOLE, Grid, Region, box_region, parse_regions

Shape = list[float] | list[list[float]]


class Camera(Settings):
    """One source of frames: where its files are, how to read the time, lens and regions."""

    name: str = Field(default="camera", min_length=1, description="Name of the camera, unique.")
    files: str = Field(
        default="", description="Pattern of its files below the collected folder, as in 'pen-a/**'."
    )
    time_zone: str = Field(
        default="UTC", description="Zone of times without one, as in Asia/Shanghai."
    )
    time_from: Literal["name", "exif", "modified", "none"] = Field(
        default="name",
        description="Where the capture time is read: file name, EXIF, file time or nowhere.",
    )
    time_pattern: str = Field(
        default="",
        description="strptime pattern of the file name without ending; empty: common forms.",
    )
    frame_interval_s: float = Field(
        default=300.0, gt=0, description="Nominal seconds between two frames of this camera."
    )
    scale: list[float] = Field(
        default=[],
        description="Two sample values that mean black and white in 16-bit and float files.",
    )
    depth_bits: Literal[8, 16] = Field(
        default=8, description="Bits a sample to keep: 8, or 16 for measuring cameras."
    )
    lens: Lens = Field(default=Lens(), description="How the lens bends the picture.")
    regions: dict[str, Shape] = Field(
        default={},
        description="Named boxes [left, top, right, bottom] or polygons [[x, y], ...] in"
        " undistorted pixels.",
    )
    grid: Grid | None = Field(default=None, description="A grid of tiles instead of named regions.")

    @field_validator("time_zone")
    @classmethod
    def _zone_is_known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(
                f"unknown time zone {value!r}, use a name as in Europe/Madrid"
            ) from error
        return value

    @field_validator("scale")
    @classmethod
    def _scale_has_two_ends(cls, value: list[float]) -> list[float]:
        if value and (len(value) != 2 or value[0] >= value[1]):
            raise ValueError("scale is two numbers, the lower first")
        return value

    @field_validator("regions")
    @classmethod
    def _regions_are_shapes(cls, value: dict[str, Shape]) -> dict[str, Shape]:
        parse_regions(value)
        return value

    @model_validator(mode="after")
    def _one_kind_of_regions(self) -> Self:
        if self.grid is not None and self.regions:
            raise ValueError("a camera has named regions or a grid, not both")
        return self

    def located(self, folder: Path) -> Camera:
        """Return this camera with its lens's calibration file read in.

        Args:
            folder: Where a relative file name starts: the folder of `besana.toml`.

        Raises:
            ConfigError: If the calibration file is missing or unusable.
        """
        return self.model_copy(update={"lens": self.lens.located(folder)})

    def region_list(self, frame_size_px: tuple[int, int]) -> list[Region]:
        """Return the regions of a frame: the named ones, the grid's tiles, or all of it.

        Args:
            frame_size_px: Width and height of the frame; matters only for a grid or the whole
                frame of a camera whose lens has no `size_px`.
        """
        if self.regions:
            return parse_regions(self.regions)
        width, height = self.lens.undistorted_size_px(frame_size_px)
        if self.grid is not None:
            return self.grid.regions((width, height))
        return [box_region(WHOLE, 0, 0, width, height)]
