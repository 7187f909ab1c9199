"""Take labels from people's files and tell where they disagree.

Reads: files of labels, frames, issues
Writes: labels
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator

from besana import catalog as tables
from besana.config import Settings
from besana.engines import Engine
from besana.errors import ConfigError, NotFoundError
from besana.labels.conflicts import conflict_sections, conflicts
from besana.labels.events import Event, add_events
from besana.labels.formats import read_statements
from besana.labels.labelled import is_multi
from besana.labels.rename import rename_classes
from besana.labels.resolve import Classes, Resolver
from besana.labels.statements import Statement
from besana.labels.summary import describe, sum_up
from besana.labels.tables import TableError
from besana.progress import track
from besana.web.report_page import open_report
from besana.workspace import Report, Table, Workspace

ARGUMENTS = ("farm", "file")
EXAMPLE = "besana label farm labels.csv --annotator ana"

_BATCH = 1000
_LISTED = 200
_NAMED = 10


class Config(Settings):
    """Settings of `label`."""

    file: list[str] = Field(
        default=[],
        description="Files of labels or class folders to import, relative ones from here or the"
        " workspace; none: only the report.",
    )
    format: Literal["auto", "csv", "points", "folders", "label-studio", "cvat", "coco"] = Field(
        default="auto",
        description="What the files are: CSV of labels, CSV of points in frames, class folders,"
        " JSON of Label Studio, XML of CVAT for images, COCO with image tags; auto: as they look.",
    )
    classes: list[str] = Field(
        default=[], description="The classes that may be said; empty: those of the files."
    )
    retired_classes: list[str] = Field(
        default=[], description="Classes that stay in the history but may not be said any more."
    )
    rename: dict[str, str] = Field(
        default={}, description="Old class -> new class, for all labels that are there."
    )
    kind: Literal["auto", "single", "multi"] = Field(
        default="auto",
        description="Whether a sample has one class or several may hold; auto: several, if any"
        " label says that a class does not hold.",
    )
    columns: dict[str, str] = Field(
        default={},
        description="What (frame, region, class, holds, annotator, time, camera, note) -> column"
        " of the CSV, then other columns are ignored; frame, region or camera -> key in the data"
        " of a Label Studio task.",
    )
    points_column: str = Field(
        default="", description="Column of JSON points; empty: the first with 'points' in its name."
    )
    present_class: str = Field(
        default="present", min_length=1, description="Class of a region with a point in it."
    )
    absent_class: str = Field(
        default="absent", min_length=1, description="Class of a region without a point in it."
    )
    annotator: str = Field(
        default="import", min_length=1, description="Who says what the files ascribe to nobody."
    )
    time_zone: str = Field(default="UTC", description="Zone of times without one.")
    partial: bool = Field(
        default=False, description="Import the good rows of a file that has bad ones."
    )
    max_dropped_share: float = Field(
        default=1.0, ge=0, le=1, description="Share of dropped labels above which the run fails."
    )

    @field_validator("time_zone")
    @classmethod
    def _zone_is_known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (LookupError, ValueError, OSError) as error:
            raise ValueError("unknown time zone, use a name as in Europe/Madrid") from error
        return value


@dataclass
class _Import:
    """What became of the statements of all files, before any of it is in the catalog."""

    events: int = 0
    says_not: bool = False
    bad: Counter[str] = field(default_factory=Counter)
    listed: list[tuple[str, TableError]] = field(default_factory=list)
    unknown: list[tuple[str, str]] = field(default_factory=list)
    unknown_images: int = 0

    def refuse(self, file: str, error: TableError) -> None:
        self.bad[error.reason] += 1
        if len(self.listed) < _LISTED:
            self.listed.append((file, error))

    def miss(self, file: str, statement: Statement) -> None:
        self.unknown_images += 1
        if len(self.unknown) < _LISTED:
            self.unknown.append((file, statement.image[:300]))


def run(workspace: Workspace, config: Config | None = None, engine: Engine | None = None) -> Report:
    """Import files of labels and sum up what everybody says; memory does not grow with them.

    Nothing of any file is imported while a row of one is bad, unless `partial` says so. Images
    that are not in the workspace are listed and left out.

    Args:
        workspace: Where the labels go.
        config: Settings; None means those of the workspace.
        engine: Not needed, everything runs here.

    Raises:
        NotFoundError: If a file is not there, or none of its images is in the workspace.
        ConfigError: If a row is bad, or a class in use is not among the classes.
    """
    config = config or workspace.settings("label", Config)
    now = dt.datetime.now(dt.UTC)
    _check_classes(workspace, config)
    allowed = config.max_dropped_share
    with open_report(workspace, "label", config, max_dropped_share=allowed) as report:
        multi = _is_multi(workspace, config)
        if config.rename:
            renamed = rename_classes(workspace.catalog, config.rename, multi=multi, now=now)
            report.fact("labels_renamed", renamed)
        if config.file:
            with tempfile.TemporaryFile("w+", dir=workspace.temporary, encoding="utf-8") as spool:
                found = _read_all(workspace, config, spool)
                _refuse_bad_rows(config, found)
                _add(workspace, config, spool, found, report, now)
            _describe_import(report, found)
        multi = _is_multi(workspace, config)
        describe(report, sum_up(workspace.catalog, multi=multi))
        _describe_conflicts(workspace, report, multi)
    return report


def _check_classes(workspace: Workspace, config: Config) -> None:
    """Refuse to drop or rename a class silently that labels use."""
    if not config.classes:
        return
    gone = {*config.retired_classes, *config.rename}
    for name, count in workspace.catalog.counted(tables.labels).items():
        if name not in config.classes and name not in gone:
            raise ConfigError(
                f"{count} labels use the class '{name[:100]}', which is not in [label] classes.",
                "Add it, or name it in retired_classes, or give it another name with rename.",
            )
    unknown = [new for new in config.rename.values() if new not in config.classes]
    if unknown:
        raise ConfigError(f"rename leads to '{unknown[0]}', which is not in [label] classes.")


def _is_multi(workspace: Workspace, config: Config) -> bool:
    return is_multi(workspace.catalog) if config.kind == "auto" else config.kind == "multi"


def _statements(
    workspace: Workspace, config: Config, file: str
) -> Iterator[Statement | TableError]:
    path = Path(file).expanduser()
    if not path.exists() and (workspace.path / path).exists():
        path = workspace.path / path
    return read_statements(
        path,
        config.format,
        columns=config.columns,
        points_column=config.points_column,
        time_zone=config.time_zone,
        temporary=workspace.temporary,
    )


def _read_all(workspace: Workspace, config: Config, spool: IO[str]) -> _Import:
    """Resolve all statements of all files; events wait in a file until all is known to be good."""
    classes = Classes(
        config.classes,
        {*config.retired_classes, *config.rename},
        config.present_class,
        config.absent_class,
    )
    resolver = Resolver(workspace, classes, config.annotator)
    found = _Import()
    with track("label", None) as advance:
        for file in config.file:
            statements = iter(_statements(workspace, config, file))
            while batch := list(itertools.islice(statements, _BATCH)):
                _resolve(resolver, batch, file, spool, found)
                advance(len(batch))
    return found


def _resolve(
    resolver: Resolver,
    batch: Iterable[Statement | TableError],
    file: str,
    spool: IO[str],
    found: _Import,
) -> None:
    statements = []
    for item in batch:
        if isinstance(item, TableError):
            found.refuse(file, item)
        else:
            statements.append(item)
    for statement, outcome in zip(statements, resolver.resolve(statements), strict=True):
        if isinstance(outcome, TableError):
            found.refuse(file, outcome)
        elif outcome == "unknown_image":
            found.miss(file, statement)
        else:
            for event in outcome:
                spool.write(_line(event))
                found.events += 1
                found.says_not |= not event.holds


def _refuse_bad_rows(config: Config, found: _Import) -> None:
    if found.bad and not config.partial:
        first = "; ".join(f"{file}, {error}" for file, error in found.listed[:_NAMED])
        raise ConfigError(
            f"Nothing was imported, for {found.bad.total()} bad rows: {first}.",
            "Correct them, or import the good rows with --partial.",
        )
    if found.unknown_images and not found.events and not found.bad:
        images = ", ".join(repr(image) for _, image in found.unknown[:3])
        raise NotFoundError(
            f"None of the {found.unknown_images} images of the files is here, as {images}.",
            "Collect them first, or check how the files name them.",
        )


def _add(
    workspace: Workspace,
    config: Config,
    spool: IO[str],
    found: _Import,
    report: Report,
    now: dt.datetime,
) -> None:
    multi = _is_multi(workspace, config) or (config.kind == "auto" and found.says_not)
    report.count_in(found.events + found.bad.total() + found.unknown_images)
    report.drop("unknown_image", found.unknown_images)
    for reason, count in found.bad.items():
        report.drop(reason, count)
    spool.seek(0)
    lines = iter(spool)
    while batch := list(itertools.islice(lines, _BATCH)):
        events = [_event(line) for line in batch]
        added = add_events(workspace.catalog, events, now=now, multi=multi)
        report.count_out(added)
        report.drop("already_there", len(events) - added)


def _line(event: Event) -> str:
    said = (event.frame_id, event.region, event.class_name, event.holds, event.annotator)
    said_at = event.labelled_at.isoformat() if event.labelled_at else None
    return json.dumps([*said, event.source, said_at, event.note]) + "\n"


def _event(line: str) -> Event:
    values = json.loads(line)
    values[-2] = dt.datetime.fromisoformat(values[-2]) if values[-2] else None
    return Event(*values)


def _describe_import(report: Report, found: _Import) -> None:
    if found.unknown:
        note = "These images are not in the workspace."
        report.add(Table("Unknown images", ("file", "image"), found.unknown, note))
    if found.listed:
        rows = [
            (file, error.row, error.column, error.reason, error.problem)
            for file, error in found.listed
        ]
        columns = ("file", "row", "column", "reason", "problem")
        report.add(Table("Rows that were not imported", columns, rows))


def _describe_conflicts(workspace: Workspace, report: Report, multi: bool) -> None:
    if not workspace.catalog.counted(tables.quality):
        return  # clean finds identical files, and has not looked yet
    disputed = list(conflicts(workspace.catalog, multi=multi))
    report.fact("identical_files_with_different_labels", len(disputed))
    for section in conflict_sections(workspace, disputed):
        report.add(section)
