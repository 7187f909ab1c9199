"""What a farm holds, or would hold: frames, samples, labels, and their bytes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from besana import catalog as tables
from besana.costs.ranges import Range
from besana.errors import NotReadyError

if TYPE_CHECKING:
    from besana.workspace import Workspace

# What a frame is where nobody has seen one yet: a JPEG of 2 MP with one sample.
_FRAME_BYTES, _SAMPLE_BYTES = 700_000, 25_000
_ROWS_A_CAMERA = 200

# Seconds that a person takes for a label, where no events of the page tell.
_LABEL_S = Range(1.5, 3.0, 8.0)
_PAUSE_S = 60.0
_FEWEST_LABELS = 20
_MOST_EVENTS = 20_000


@dataclass(frozen=True)
class Holdings:
    """Counts and bytes of a farm.

    Attributes:
        frames: Frames, whatever their state.
        files: Their files: one a band.
        frame_bytes: Bytes of all files.
        judged: Frames that `clean` measured.
        prepared: Frames that have samples, told from samples a frame.
        samples: Samples in shards.
        sample_bytes: Bytes of their records.
        labelled: Samples with a label event.
        dataset: Samples of the largest dataset.
        predictions: Samples that a model classified.
    """

    frames: int
    files: int
    frame_bytes: int
    judged: int
    prepared: int
    samples: int
    sample_bytes: int
    labelled: int
    dataset: int
    predictions: int

    def grown(self, frames: int) -> Holdings:
        """Tell what a farm of so many frames holds when the whole way is walked.

        Args:
            frames: How many frames; 0 for those that are there.

        Raises:
            NotReadyError: If there are none and nobody said how many to expect.
        """
        wanted = frames or self.frames
        if not wanted:
            raise NotReadyError(
                "There is no frame yet to plan with.",
                "Collect some, or say how many will come: besana plan farm --frames 100000",
            )
        share = wanted / self.frames if self.frames else 1.0
        samples = round(self.samples / self.prepared * wanted) if self.prepared else wanted
        each_bytes = self.sample_bytes / self.samples if self.samples else _SAMPLE_BYTES
        return replace(
            self,
            frames=wanted,
            files=round(self.files * share) or wanted,
            frame_bytes=round(self.frame_bytes * share) or wanted * _FRAME_BYTES,
            judged=wanted,
            prepared=wanted,
            samples=samples,
            sample_bytes=round(samples * each_bytes),
            predictions=samples,
        )


def read_holdings(workspace: Workspace) -> Holdings:
    """Read the counts that the catalog keeps, and the bytes of some rows of each camera.

    It takes the same time however large the farm is; where something was counted twice, as a
    sample with labels of two people, the figure is an upper bound.
    """
    catalog = workspace.catalog
    cameras = catalog.counted(tables.frames)
    files = frame_bytes = 0.0
    for camera, frames in cameras.items():
        each_files, each_bytes = _frame_means(workspace, camera)
        files += frames * each_files
        frame_bytes += frames * each_bytes
    samples = sum(catalog.counted(tables.samples).values())
    each_frame, each_bytes = _sample_means(workspace)
    events = sum(catalog.counted(tables.labels).values())
    predicted = catalog.counted(tables.predictions).values()
    return Holdings(
        frames=sum(cameras.values()),
        files=round(files),
        frame_bytes=round(frame_bytes),
        judged=sum(catalog.counted(tables.quality).values()),
        prepared=round(samples / each_frame),
        samples=samples,
        sample_bytes=round(samples * each_bytes),
        labelled=min(events, samples),
        dataset=int(catalog.scalar(sa.select(sa.func.max(tables.datasets.c.samples))) or 0),
        predictions=min(max(predicted, default=0), samples),
    )


def _frame_means(workspace: Workspace, camera: str) -> tuple[float, float]:
    """Average files and bytes a frame over some rows of a camera."""
    frames = tables.frames.c
    select = sa.select(frames.bands, frames.size_bytes).where(frames.camera == camera)
    rows = workspace.catalog.rows(select.limit(_ROWS_A_CAMERA))
    count = max(len(rows), 1)
    return sum(len(r.bands) for r in rows) / count, sum(r.size_bytes for r in rows) / count


def _sample_means(workspace: Workspace) -> tuple[float, float]:
    """Average samples a frame and bytes a sample over some rows."""
    samples = tables.samples.c
    select = sa.select(samples.frame_id, samples.length_bytes)
    ordered = select.order_by(samples.frame_id, samples.region).limit(10 * _ROWS_A_CAMERA)
    rows = workspace.catalog.rows(ordered)
    if not rows:
        return 1.0, float(_SAMPLE_BYTES)
    each_frame = len(rows) / len({row.frame_id for row in rows})
    return each_frame, sum(row.length_bytes for row in rows) / len(rows)


def label_pace(workspace: Workspace) -> tuple[Range, bool]:
    """Tell how many seconds a person takes for a label, and whether that was measured.

    Measured between two events of one person on the page, pauses left out.
    """
    label = tables.labels.c
    select = sa.select(label.annotator, label.labelled_at).where(label.source == "web")
    newest = select.order_by(label.labelled_at.desc()).limit(_MOST_EVENTS)
    gaps_s = _gaps_s(workspace.catalog.rows(newest))
    if len(gaps_s) < _FEWEST_LABELS:
        return _LABEL_S, False
    gaps_s.sort()
    return Range(gaps_s[len(gaps_s) // 4], median(gaps_s), gaps_s[3 * len(gaps_s) // 4]), True


def _gaps_s(events: list[sa.Row[Any]]) -> list[float]:
    later: dict[str, Any] = {}
    gaps = []
    for event in events:
        if event.annotator in later:
            gaps.append((later[event.annotator] - event.labelled_at).total_seconds())
        later[event.annotator] = event.labelled_at
    return [gap for gap in gaps if 0 < gap <= _PAUSE_S]
