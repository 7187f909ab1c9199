"""Regions: the lens of a camera found and previewed, its regions drawn, besana.toml written."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from besana import catalog as tables
from besana.config import Settings, parse
from besana.errors import ConfigError, CorruptDataError
from besana.images.calibrate import Board, Calibration
from besana.images.camera import Camera, Shape
from besana.images.lens import Lens
from besana.images.regions import Grid
from besana.web.camera_frames import frames_to_look_at
from besana.web.desk import Desk
from besana.web.gate import Access, RefusedError
from besana.web.language import LANGUAGES, text
from besana.web.routes_account import caller_of
from besana.web.routes_label import Id
from besana.web.routes_pictures import PictureRoutes, Side
from besana.web.server import Route
from besana.web.settings_file import change_settings, settings_version
from besana.workspace import Workspace

CameraName = Annotated[str, Field(min_length=1, max_length=200)]

_MOST_PIXELS = 40_000_000
_PICTURE_BYTES = 20_000_000
_WHYS = (
    *("newest_day", "newest_night", "before_move", "after_move"),
    *("first_of_camera", "in_between"),
)
_LENS_KEYS = ("model", "focal_px", "centre_px", "distortion", "size_px", "zoom")


class CalibrationFile(Settings):
    """What an OpenCV calibration file holds."""

    name: Annotated[str, Field(max_length=300)]
    content: Annotated[str, Field(max_length=200_000)]


class CameraChange(Settings):
    """How a camera's lens and regions are to be from now on."""

    camera: CameraName
    version: Annotated[str, Field(min_length=8, max_length=64)]
    lens: Lens | None = None
    regions: dict[Annotated[str, Field(max_length=200)], Shape] = Field(max_length=5000)
    grid: Grid | None = None


class RegionRoutes:
    """Routes of the regions page."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._pictures = PictureRoutes(desk)

    def routes(self) -> list[Route]:
        """List them."""
        return [
            Route(Access("GET", "/api/cameras", "admin"), self.cameras),
            Route(Access("GET", "/api/cameras/frames", "admin"), self.frames),
            Route(Access("GET", "/picture/preview", "admin"), self.preview),
            Route(
                Access("POST", "/api/cameras", "admin", body_bytes=1 << 20),
                self.change,
            ),
            Route(
                Access("POST", "/api/lens/file", "admin", body_bytes=1 << 18),
                self.read_file,
            ),
            Route(
                Access(
                    "POST",
                    "/api/lens/board",
                    "admin",
                    body_bytes=_PICTURE_BYTES,
                    media=("application/octet-stream",),
                ),
                self.find_board,
            ),
            Route(
                Access("POST", "/api/lens/calibration", "admin", body_bytes=4 << 20),
                self.calibrate,
            ),
        ]

    def cameras(self) -> dict[str, Any]:
        """List the cameras with their frames, lens, regions and grid as besana.toml has them."""
        workspace = Workspace(self._desk.workspace.path)
        counted = self._desk.workspace.catalog.counted(tables.frames)
        names = sorted({*counted, *workspace.cameras})
        return {
            "cameras": [
                {
                    "name": name,
                    "frames": counted.get(name, 0),
                    **_described(workspace.camera(name)),
                }
                for name in names
            ],
            "version": settings_version(workspace.path),
            "words": {key: [text(key, language) for language in LANGUAGES] for key in _WHYS},
        }

    def frames(self, camera: CameraName) -> dict[str, Any]:
        """List frames of a camera on which regions should be looked at."""
        survey = self._desk.surveys.look().survey
        return {"frames": frames_to_look_at(self._desk.workspace.catalog, survey, camera)}

    def preview(
        self,
        frame: Id,
        lens: Annotated[str, Field(max_length=2000)],
        side: Side = 1600,
    ) -> Response:
        """Give a whole frame, undistorted by a lens that nobody has saved yet."""
        return self._pictures.through(frame, _read_lens(lens), side)

    def change(self, change: CameraChange, request: Request) -> dict[str, str]:
        """Write lens and regions of a camera into besana.toml, if nobody changed that meanwhile."""
        workspace, lens = self._desk.workspace, change.lens
        values: dict[str, Any] = {"regions": _plain(change.regions) or None, "grid": None}
        if change.grid is not None:
            values["grid"] = change.grid.model_dump(exclude_none=True)
        if lens is not None:
            values["lens"] = None if lens == Lens() else _written(lens)
        self._check(change, values)
        known = Workspace(workspace.path).tables.get("cameras", {}).get(change.camera, {})
        values = {key: value for key, value in values.items() if value is not None or key in known}
        table = ("cameras", change.camera)
        change_settings(workspace.path, table, values, version=change.version)
        workspace.read_settings()
        self._desk.people.note(caller_of(request).name, "regions", change.camera)
        return {"version": settings_version(workspace.path)}

    def _check(self, change: CameraChange, values: dict[str, Any]) -> None:
        if change.lens is not None and change.lens.file is not None:
            raise RefusedError(422, "wrong_input", "Send the file's numbers, not its name.")
        where = f"[cameras.{change.camera}]"
        kept = {key: value for key, value in values.items() if value is not None}
        parse(Camera, {"name": change.camera, **kept}, where=where)

    def read_file(self, file: CalibrationFile) -> dict[str, Any]:
        """Read an OpenCV calibration file in a child process."""
        request = {"kind": "calibration_file", "files": 1, "name": file.name}
        return self._worked(request, file.content.encode())

    async def find_board(
        self,
        request: Request,
        columns: Annotated[int, Field(ge=3, le=40)] = 9,
        rows: Annotated[int, Field(ge=3, le=40)] = 6,
    ) -> dict[str, Any]:
        """Find the corners of a chessboard in a picture; nothing of the picture is kept."""
        board = Board(columns=columns, rows=rows).model_dump()
        asked = {"kind": "corners", "files": 1, "board": board}
        return await run_in_threadpool(self._worked, asked, await request.body())

    def calibrate(self, calibration: Calibration) -> dict[str, Any]:
        """Find the lens that fits the corners of some pictures."""
        request = {"kind": "calibration", "files": 1}
        return self._worked(request, calibration.model_dump_json().encode())

    def _worked(self, request: dict[str, Any], data: bytes) -> dict[str, Any]:
        """Let a child process do something with what somebody sent."""
        try:
            answer = self._desk.pictures.make(request, lambda: [data], keep=False)
        except CorruptDataError as error:
            raise RefusedError(422, "unusable", str(error)[:300]) from None
        found: dict[str, Any] = json.loads(answer)
        return found


def _described(camera: Camera) -> dict[str, Any]:
    lens = camera.lens.model_dump(mode="json", include=set(_LENS_KEYS))
    grid = None if camera.grid is None else camera.grid.model_dump()
    return {"lens": lens, "regions": camera.regions, "grid": grid}


def _plain(regions: dict[str, Shape]) -> dict[str, list[Any]]:
    """Write whole numbers as such, as people do."""
    return {name: [_whole(part) for part in shape] for name, shape in regions.items()}


def _whole(part: float | list[float]) -> Any:
    if isinstance(part, list):
        return [_whole(value) for value in part]
    return int(part) if part == int(part) else part


def _read_lens(given: str) -> Lens:
    try:
        lens = Lens.model_validate_json(given)
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"The lens: {message}.") from None
    if lens.file is not None:
        raise ConfigError("The lens: send the file's numbers, not its name.")
    if lens.size_px and lens.size_px[0] * lens.size_px[1] > _MOST_PIXELS:
        raise ConfigError(f"The lens: at most {_MOST_PIXELS} pixels.")
    return lens


def _written(lens: Lens) -> dict[str, Any]:
    """Give what besana.toml says of a lens: what is not as it is anyway."""
    values = lens.model_dump(mode="json", include=set(_LENS_KEYS), exclude_defaults=True)
    rounded = {"focal_px": 3, "centre_px": 3, "distortion": 6}
    for key in rounded.keys() & values.keys():
        values[key] = [round(number, rounded[key]) for number in values[key]]
    return values
