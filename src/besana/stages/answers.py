"""Add predictions up to hours per bed and day, or shares of a field.

Reads: predictions, labels, frames, issues
Writes: reports/answers
"""

from __future__ import annotations

import datetime as dt
import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo

import numpy as np
import sqlalchemy as sa
from pydantic import Field

from besana import catalog as tables
from besana.config import Settings, suggestion
from besana.engines import Engine
from besana.errors import ConfigError, NotFoundError, NotReadyError
from besana.images.times import is_plausible
from besana.labels.sources import FramesSaid, Source, labels_source, predictions_source
from besana.progress import track
from besana.statistics.coverage import tile_areas
from besana.statistics.days import DayByDay
from besana.statistics.timelines import UNKNOWN
from besana.web.answer_files import Answers, Look
from besana.web.plot_files import check_matplotlib
from besana.web.report_page import open_report
from besana.workspace import Report, Workspace

if TYPE_CHECKING:
    from besana.images.camera import Camera

EXAMPLE = "besana answers farm --days-drawn 7"

# Rows in memory follow from this: frames of a page times the regions of a camera.
PAGE_FRAMES = 1000

# Without settings, a class whose name begins with one of these is that posture.
_GUESSES = {
    "lying": ("lying", "lie", "laying", "recumbent", "echad", "tumbad", "acostad", "recostad"),
    "standing": ("standing", "stand", "de pie", "parad", "en pie"),
    "empty": ("empty", "free", "vaci", "libre", "desocupad"),
}

Judged = tuple[sa.Row[Any], str]
"""A frame, and why it adds nothing; empty when it adds something."""

# A second copy of a picture says nothing new: the bed is as the first copy shows it.
_REPEATS = ("exact_duplicate", "near_duplicate")


class Config(Settings):
    """Settings of `answers`."""

    source: Literal["predictions", "labels"] = Field(
        default="predictions", description="What is added up: a model's word, or people's."
    )
    model: str = Field(default="", description="Name of the model; empty: the only one there is.")
    version: str = Field(
        default="champion", description="Version of the model: a number, champion or challenger."
    )
    tracking_uri: str = Field(
        default="", description="MLflow server; empty: MLFLOW_TRACKING_URI or the workspace's own."
    )
    kind: Literal["auto", "time", "area"] = Field(
        default="auto",
        description="Hours of regions, or shares of an area; auto: area for a grid of tiles, for"
        " several classes a tile and for frames without a time.",
    )
    lying: list[str] = Field(default=[], description="Classes that mean lying; empty: by name.")
    standing: list[str] = Field(
        default=[], description="Classes that mean standing; empty: by name."
    )
    empty: list[str] = Field(default=[], description="Classes that mean empty; empty: by name.")
    block_frames: int = Field(
        default=4, ge=1, description="Neighbouring frames that the bootstrap draws together."
    )
    confidence: float = Field(
        default=0.95, gt=0.5, lt=1, description="Confidence level of the intervals."
    )
    plots: bool = Field(default=True, description="Write plots as PNG and SVG files.")
    language: Literal["en", "es"] = Field(
        default="en", description="Language of the plot files; the page speaks both."
    )
    days_drawn: int = Field(
        default=14, ge=1, le=120, description="How many of the last days the plots show."
    )
    max_dropped_share: float = Field(
        default=1.0, ge=0, le=1, description="Share of dropped frames above which the run fails."
    )


def run(workspace: Workspace, config: Config | None = None, engine: Engine | None = None) -> Report:
    """Add up what is known about every region, a page of frames at a time.

    Args:
        workspace: Where the frames, predictions and labels are.
        config: Settings; None means those of the workspace.
        engine: Not needed: the catalog is read in order.

    Raises:
        NotReadyError: If there are no frames, predictions or labels.
        ConfigError: If a model, version or class of the settings is not there.
        MissingExtraError: If plots are wanted and matplotlib is not installed.
    """
    config = config or workspace.settings("answers", Config)
    if config.plots:
        check_matplotlib()
    source, facts = _open_source(workspace, config)
    postures = _postures(config, source.classes)
    allowed = config.max_dropped_share
    look = Look(
        days_drawn=config.days_drawn,
        block_frames=config.block_frames,
        confidence=config.confidence,
        language=config.language,
        plots=config.plots,
    )
    with open_report(workspace, "answers", config, max_dropped_share=allowed) as report:
        with ExitStack() as files:
            folder = workspace.reports / "answers"
            answers = Answers(folder, source.classes, postures, look, files)
            walk = _Walk(workspace, config, source, answers, report)
            total = sum(workspace.catalog.counted(tables.frames).values())
            with track("answers", total) as advance:
                for page in _frame_pages(workspace):
                    walk.add(page)
                    advance(len(page))
            walk.end()
            answers.show(report)
        for name, value in facts.items():
            report.fact(name, value)
        report.fact("cameras", len(walk.cameras))
    return report


def _open_source(workspace: Workspace, config: Config) -> tuple[Source, dict[str, str]]:
    """Open what is added up, with the facts that tell where it comes from."""
    catalog = workspace.catalog
    if not catalog.counted(tables.frames):
        raise NotReadyError(
            f"No frames in '{workspace.name}'.", f"Run: besana collect {workspace.word} FOLDER"
        )
    if config.source == "labels":
        return labels_source(catalog), {"source": "labels"}
    model = _model_name(workspace, config)
    version = _version(workspace, model, config)
    card = _card(workspace, model, version)
    source = predictions_source(
        catalog,
        model,
        version,
        multi=card.get("kind") == "multi",
        thresholds=card.get("thresholds", {}),
    )
    facts = {"model": f"{model}/{version}"}
    if "name" in card.get("dataset", {}):
        facts["dataset"] = f"{card['dataset']['name']}/{card['dataset'].get('version', '')}"
    return source, facts


def _model_name(workspace: Workspace, config: Config) -> str:
    there = sorted(workspace.catalog.counted(tables.predictions))
    if config.model in there:
        return config.model
    if config.model:
        hint = suggestion(config.model, there) or f"Run: besana predict {workspace.word}"
        raise ConfigError(f"Model '{config.model}' has predicted nothing.", hint)
    if not there:
        raise NotReadyError(
            f"No predictions in '{workspace.name}'.",
            f"Run: besana predict {workspace.word}, or add up labels with --source labels.",
        )
    if len(there) > 1:
        raise ConfigError(f"There are predictions of {', '.join(there)}.", "Set model to one.")
    return there[0]


def _version(workspace: Workspace, model: str, config: Config) -> int:
    if config.version.isdecimal():
        return int(config.version)
    from besana.registry import open_registry

    return open_registry(workspace, config.tracking_uri).version(model, config.version).number


def _card(workspace: Workspace, model: str, version: int) -> dict[str, Any]:
    """Read what the model says about itself; nothing when it is not kept here any more."""
    try:
        card: dict[str, Any] = json.loads(workspace.models.read(f"{model}/{version}/model.json"))
    except NotFoundError:
        return {}
    return card


def _postures(config: Config, classes: Sequence[str]) -> dict[str, str]:
    """Tell which classes mean lying, standing and empty: by the settings, else by their names.

    Raises:
        ConfigError: If a setting names a class that is not there, or a class twice.
    """
    postures: dict[str, str] = {}
    for posture, starts in _GUESSES.items():
        named: list[str] = getattr(config, posture)
        for name in named:
            if name not in classes:
                problem = f"Class '{name}' of [answers] {posture} is not there."
                raise ConfigError(problem, suggestion(name, classes))
            if name in postures:
                problem = f"Class '{name}' means both {postures[name]} and {posture}."
                raise ConfigError(problem, "Name it once in [answers].")
            postures[name] = posture
        if not named:
            guessed = (name for name in classes if _plain(name).startswith(starts))
            postures |= {name: posture for name in guessed if name not in postures}
    return postures


def _plain(name: str) -> str:
    """Strip accents and signs: `Vacía` and `vacia` mean the same."""
    letters = unicodedata.normalize("NFKD", name.casefold())
    kept = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return kept.replace("_", " ").replace("-", " ").strip()


def _frame_pages(workspace: Workspace) -> Iterator[list[sa.Row[Any]]]:
    f = tables.frames.c
    select = sa.select(f.id, f.camera, f.captured_at, f.collected_at, f.width_px, f.height_px)
    return workspace.catalog.pages(select, [f.id], PAGE_FRAMES)


class _Walk:
    """Goes through the frames in order and hands each camera's to the answer that suits it."""

    def __init__(
        self,
        workspace: Workspace,
        config: Config,
        source: Source,
        answers: Answers,
        report: Report,
    ) -> None:
        self._workspace, self._config, self._source = workspace, config, source
        self._answers, self._report = answers, report
        self._areas: dict[tuple[str, int, int], dict[str, float]] = {}
        self.cameras: dict[str, DayByDay | None] = {}
        """The days of cameras that are answered by time; None for those answered by area."""

    def add(self, page: Sequence[sa.Row[Any]]) -> None:
        """Add a page of frames."""
        first, last = page[0].id, page[-1].id
        said = self._source.read(first, last)
        blocked = _blocked(self._workspace, first, last)
        by_camera: dict[str, list[sa.Row[Any]]] = {}
        for frame in page:
            by_camera.setdefault(frame.camera, []).append(frame)
        self._report.count_in(len(page))
        for name, frames in by_camera.items():
            camera = self._workspace.camera(name)
            if name not in self.cameras:
                self.cameras[name] = self._opened(camera, frames[0])
            days = self.cameras[name]
            judged = [
                (frame, self._reason(frame, frame.id in said, blocked, by_time=days is not None))
                for frame in frames
            ]
            self._count(reason for _, reason in judged)
            if days is None:
                self._add_areas(camera, judged, said)
            else:
                self._add_times(camera, days, judged, said)

    def end(self) -> None:
        """Finish the last day of every camera."""
        for name, days in self.cameras.items():
            for region_day in days.end() if days else ():
                self._answers.time().add(name, region_day)

    def _count(self, reasons: Iterable[str]) -> None:
        for reason in reasons:
            if reason:
                self._report.drop(reason)
            else:
                self._report.count_out()

    def _opened(self, camera: Camera, frame: sa.Row[Any]) -> DayByDay | None:
        by_area = self._config.kind == "area" or (
            self._config.kind == "auto"
            and (camera.grid is not None or self._source.multi or frame.captured_at is None)
        )
        if by_area:
            return None
        if self._source.multi:
            raise ConfigError(
                "Several classes may hold at once, so hours in a state cannot be told.",
                "Set kind to area.",
            )
        return DayByDay(len(self._source.classes), camera.time_zone, camera.frame_interval_s)

    def _reason(
        self, frame: sa.Row[Any], is_said: bool, blocked: Mapping[str, str], *, by_time: bool
    ) -> str:
        """Say why a frame adds nothing; empty when it adds something."""
        if frame.id in blocked:
            return blocked[frame.id]
        if by_time and _told_at(frame) is None:
            return "no_time"
        if is_said:
            return ""
        return "no_label" if self._config.source == "labels" else "no_prediction"

    def _add_times(
        self, camera: Camera, days: DayByDay, judged: Sequence[Judged], said: FramesSaid
    ) -> None:
        """Add states; a frame that nobody can judge is there, but unknown in every region."""
        kept = [
            (frame.captured_at.timestamp(), {} if reason else said[frame.id])
            for frame, reason in judged
            if _told_at(frame) is not None and reason not in _REPEATS
        ]
        regions = {**camera.regions, **{name: None for _, seen in kept for name in seen}}
        states = {name: np.full(len(kept), UNKNOWN) for name in regions}
        for place, (_, seen) in enumerate(kept):
            for name, classes in seen.items():
                states[name][place] = classes[0]
        at_s = np.array([at for at, _ in kept], dtype=np.float64)
        for region_day in days.add(at_s, states):
            self._answers.time().add(camera.name, region_day)

    def _add_areas(self, camera: Camera, judged: Sequence[Judged], said: FramesSaid) -> None:
        zone = ZoneInfo(camera.time_zone)
        for frame, reason in judged:
            if reason:
                continue
            areas = self._areas_of(camera, frame.width_px or 0, frame.height_px or 0)
            # A region that the camera no longer has was prepared before its settings changed.
            tiles = [(areas[name], held) for name, held in said[frame.id].items() if name in areas]
            at = _told_at(frame)
            day = str(at.astimezone(zone).date()) if at else ""
            field = self._answers.area().field(camera.name, day)
            field.add_frame([area for area, _ in tiles], [held for _, held in tiles])

    def _areas_of(self, camera: Camera, width_px: int, height_px: int) -> dict[str, float]:
        key = (camera.name, width_px, height_px)
        if key not in self._areas:
            self._areas[key] = _areas(camera, (width_px, height_px))
        return self._areas[key]


def _told_at(frame: sa.Row[Any]) -> dt.datetime | None:
    """Give when a frame was captured, None where its clock was not set."""
    at: dt.datetime | None = frame.captured_at
    return at if at and is_plausible(at, frame.collected_at) else None


def _blocked(workspace: Workspace, first: str, last: str) -> dict[str, str]:
    """Name what keeps frames out: frame id -> kind of issue."""
    i = tables.issues.c
    select = sa.select(i.frame_id, sa.func.min(i.kind).label("reason")).where(
        i.blocks, i.frame_id.between(first, last)
    )
    return {row.frame_id: row.reason for row in workspace.catalog.rows(select.group_by(i.frame_id))}


def _areas(camera: Camera, size_px: tuple[int, int]) -> dict[str, float]:
    """Give the area in pixels that each region of a camera stands for."""
    regions = camera.region_list(size_px)
    if camera.grid is None:
        return {region.name: max(float(region.mask().sum()), 1.0) for region in regions}
    boxes = np.array([region.box for region in regions], dtype=np.float64)
    names = [region.name for region in regions]
    return dict(zip(names, tile_areas(boxes).tolist(), strict=True))
