"""Turn statements of a file into label events: find the frame, the region and the class."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from besana.images.camera import Camera
from besana.images.regions import WHOLE
from besana.labels.events import Event
from besana.labels.lookup import Frame, FrameLookup
from besana.labels.points import regions_with_points
from besana.labels.statements import Statement
from besana.labels.tables import TableError
from besana.workspace import Workspace

_SHOWN_CLASSES = 50
_PLAIN_SIZE_PX = (1, 1)

Outcome = list[Event] | TableError | Literal["unknown_image"]


@dataclass(frozen=True)
class Classes:
    """Which classes may be said.

    Attributes:
        allowed: All of them; empty when any may be said.
        retired: Those that must not be said any more.
        present: Said of a region with a point in it.
        absent: Said of a region without.
    """

    allowed: Collection[str] = ()
    retired: Collection[str] = ()
    present: str = "present"
    absent: str = "absent"

    def problem(self, name: str) -> tuple[str, str] | None:
        """Say why a class must not be used: a word for counting, and a sentence."""
        allowed = ", ".join(list(self.allowed)[:_SHOWN_CLASSES])
        if name in self.retired:
            instead = f", allowed: {allowed}" if allowed else ""
            return "retired_class", f"{name[:100]!r} is retired{instead}"
        if not self.allowed or name in self.allowed:
            return None
        close = difflib.get_close_matches(name[:100], self.allowed, n=1)
        meant = f" (did you mean {close[0]!r}?)" if close else ""
        return "unknown_class", f"{name[:100]!r}{meant}, allowed: {allowed}"


@dataclass
class Resolver:
    """Resolves statements against one workspace.

    Attributes:
        workspace: Its frames and cameras count.
        classes: Which classes may be said.
        annotator: Who says what no file ascribes to anybody.
    """

    workspace: Workspace
    classes: Classes
    annotator: str
    _cameras: dict[str, Camera] = field(default_factory=dict)
    _regions: dict[tuple[str, tuple[int, int]], list[str]] = field(default_factory=dict)

    def resolve(self, statements: Sequence[Statement]) -> list[Outcome]:
        """Resolve a batch, some thousands at most; one outcome a statement, in their order."""
        refs = {(statement.image, statement.camera) for statement in statements}
        frames = self._lookup.find(refs)
        return [self._outcome(s, frames[s.image, s.camera]) for s in statements]

    @cached_property
    def _lookup(self) -> FrameLookup:
        return FrameLookup(self.workspace.catalog, self.workspace.temporary)

    def _camera(self, name: str) -> Camera:
        if name not in self._cameras:
            self._cameras[name] = self.workspace.camera(name)
        return self._cameras[name]

    def _outcome(self, statement: Statement, frame: Frame | str) -> Outcome:
        if isinstance(frame, str):
            if frame == "unknown_image":
                return "unknown_image"
            problem = f"{statement.image[:200]!r} fits several frames, use the path or frame id"
            return statement.error("frame", frame, problem)
        if statement.points is not None:
            return self._of_points(statement, frame)
        if unusable := self.classes.problem(statement.class_name):
            return statement.error("class", *unusable)
        region = self._region(statement, frame)
        if isinstance(region, TableError):
            return region
        return [self._event(statement, frame, region, statement.class_name)]

    def _of_points(self, statement: Statement, frame: Frame) -> Outcome:
        if frame.size_px is None:
            return statement.error("", "unreadable_image", "its size is not known")
        if statement.size_px not in (None, frame.size_px):
            problem = f"{statement.size_px} px, but the frame has {frame.size_px} px"
            return statement.error("width_px", "other_size", problem)
        camera = self._camera(frame.camera)
        present = regions_with_points(camera, frame.size_px, statement.points or ())
        names: Mapping[bool, str] = {True: self.classes.present, False: self.classes.absent}
        return [
            self._event(statement, frame, region, names[has]) for region, has in present.items()
        ]

    def _region(self, statement: Statement, frame: Frame) -> str | TableError:
        camera = self._camera(frame.camera)
        known = self._known_regions(camera, frame.size_px)
        if statement.region in known:
            return statement.region
        if not statement.region and len(known) == 1:
            return known[0]
        if not statement.region:
            problem = f"camera '{frame.camera}' has {len(known)} regions, name one"
            return statement.error("region", "no_region", problem)
        close = difflib.get_close_matches(statement.region[:100], known[:1000], n=1)
        meant = f" (did you mean {close[0]!r}?)" if close else ""
        problem = f"{statement.region[:100]!r} is no region of camera '{frame.camera}'{meant}"
        return statement.error("region", "unknown_region", problem)

    def _known_regions(self, camera: Camera, size_px: tuple[int, int] | None) -> list[str]:
        if not camera.regions and camera.grid is None:
            return [WHOLE]
        # A grid depends on the picture's size, which may differ from frame to frame.
        key = (camera.name, (size_px or _PLAIN_SIZE_PX) if camera.grid else _PLAIN_SIZE_PX)
        if key not in self._regions:
            self._regions[key] = [region.name for region in camera.region_list(key[1])]
        return self._regions[key]

    def _event(self, statement: Statement, frame: Frame, region: str, class_name: str) -> Event:
        return Event(
            frame.id,
            region,
            class_name,
            statement.holds,
            statement.annotator or self.annotator,
            statement.source,
            statement.labelled_at,
            statement.note,
        )
