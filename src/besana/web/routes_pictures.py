"""Pictures of samples and frames, by id, always encoded anew."""

from __future__ import annotations

from typing import Annotated, Any

import sqlalchemy as sa
from pydantic import Field
from starlette.responses import Response

from besana import catalog as tables
from besana.errors import NotFoundError
from besana.images.camera import Camera
from besana.images.lens import Lens
from besana.storage import read_original
from besana.web.desk import Desk
from besana.web.gate import Access
from besana.web.routes_label import Id
from besana.web.server import Route

Side = Annotated[int, Field(ge=16, le=4096)]

_FOR_A_DAY = "private, max-age=86400, immutable"


class PictureRoutes:
    """Routes of pictures."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[Route]:
        """List them."""
        return [
            Route(Access("GET", "/picture/sample", "viewer"), self.sample),
            Route(Access("GET", "/picture/full", "viewer"), self.full),
            Route(Access("GET", "/picture/frame", "viewer"), self.frame),
            Route(Access("GET", "/api/outline", "viewer"), self.outline),
        ]

    def sample(self, frame: Id, region: Id, side: Side = 1024, mark: str = "") -> Response:
        """Give a sample as it was prepared; `mark` only makes the address of a new one new."""
        s = tables.samples.c
        select = sa.select(tables.samples).where(s.frame_id == frame, s.region == region)
        rows = self._desk.workspace.catalog.rows(select)
        if not rows:
            raise NotFoundError("There is no such sample.")
        row = rows[0]
        place = (row.shard, row.payload_offset_bytes, row.payload_length_bytes)
        request = {"kind": "sample", "files": 1, "place": place, "side_px": side}
        shards = self._desk.workspace.shards
        return _jpeg(self._desk.pictures.make(request, lambda: [shards.read_range(*place)]))

    def full(self, frame: Id, region: Id) -> Response:
        """Give a region of the original frame at full resolution."""
        camera = self._camera(frame)
        wanted: dict[str, Any] = {"regions": {}, "grid": None}
        if region in camera.regions:
            wanted["regions"] = {region: camera.regions[region]}
        elif camera.grid is not None:
            wanted["grid"] = camera.grid
        return self._frame(frame, camera.model_copy(update=wanted), region, 4096)

    def frame(self, frame: Id, side: Side = 1600) -> Response:
        """Give a whole frame, undistorted."""
        camera = self._camera(frame).model_copy(update={"regions": {}, "grid": None})
        return self._frame(frame, camera, "", side)

    def through(self, frame: str, lens: Lens, side: int) -> Response:
        """Give a whole frame as a lens straightens it that need not be the camera's."""
        update: dict[str, Any] = {"lens": lens, "regions": {}, "grid": None}
        return self._frame(frame, self._camera(frame).model_copy(update=update), "", side)

    def outline(self, frame: Id, region: Id) -> dict[str, Any]:
        """Give a region's corners in shares of the undistorted frame's width and height."""
        camera, row = self._camera(frame), self._row(frame)
        size = camera.lens.undistorted_size_px((row.width_px or 1, row.height_px or 1))
        regions = camera.region_list((row.width_px or 1, row.height_px or 1))
        for found in regions:
            if found.name == region:
                shares = found.polygon / (size[0], size[1])
                return {"points": shares.clip(0, 1).round(5).tolist()}
        return {"points": []}

    def _frame(self, frame: str, camera: Camera, region: str, side: int) -> Response:
        key = self._row(frame).bands[0]["key"]
        request = {
            "kind": "frame",
            "files": 1,
            "key": key,
            "camera": camera.model_dump(mode="json"),
            "region": region,
            "side_px": side,
        }
        frames = self._desk.workspace.frames
        return _jpeg(self._desk.pictures.make(request, lambda: [read_original(frames, key)]))

    def _row(self, frame: str) -> Any:
        rows = self._desk.workspace.catalog.rows(
            sa.select(tables.frames).where(tables.frames.c.id == frame)
        )
        if not rows:
            raise NotFoundError("There is no such frame.")
        return rows[0]

    def _camera(self, frame: str) -> Camera:
        return self._desk.workspace.camera(self._row(frame).camera)


def _jpeg(data: bytes) -> Response:
    return Response(data, media_type="image/jpeg", headers={"cache-control": _FOR_A_DAY})
