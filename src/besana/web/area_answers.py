"""Shares of an area by class, one field a camera and day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from besana.labels.tables import neutralised
from besana.statistics.coverage import Coverage
from besana.web.csv_files import Write, figure, finite
from besana.web.time_answers import CAMERAS_DRAWN, TABLE_ROWS
from besana.web.timeline import Share, share_svg
from besana.workspace import Plot, Report, Table


@dataclass
class AreaAnswers:
    """Keep one `Coverage` a camera and day, and show them."""

    classes: Sequence[str]
    block_frames: int
    level: float
    fields: dict[tuple[str, str], Coverage] = field(default_factory=dict)

    def field(self, camera: str, day: str) -> Coverage:
        """Give the coverage of a camera on a day, begun when it is not there."""
        key = (camera, day)
        if key not in self.fields:
            self.fields[key] = Coverage(len(self.classes), self.block_frames)
        return self.fields[key]

    def show(
        self, report: Report, write: Write, folder: Path, language: str, *, plots: bool
    ) -> list[Path]:
        """Put shares on the page, into the CSV and into pictures; return the pictures' files."""
        counts = ("tiles", "frames", "blocks")
        write.writerow(["camera", "day", "class", "share", "low", "high", *counts])
        rows: list[tuple[Any, ...]] = []
        paths: list[Path] = []
        for number, ((camera, day), field_) in enumerate(self.fields.items()):
            shares, blocks = self._shares(field_)
            for share in shares:
                figures = [share.value, share.low, share.high]
                rows.append((camera, day, share.name, *map(finite, figures), field_.tiles, blocks))
                place = [neutralised(camera), day, neutralised(share.name)]
                write.writerow([*place, *map(figure, figures), field_.tiles, field_.frames, blocks])
            if number < CAMERAS_DRAWN:
                report.add(Plot(f"Share of the area: {camera} {day}".strip(), share_svg(shares)))
            if plots:
                from besana.web.plot_files import file_name, save_shares

                name = "-".join(filter(None, ["share", file_name(camera), day]))
                paths += save_shares(shares, folder, name, language)
        columns = [
            "camera",
            "day",
            "class",
            "area_share",
            "low_share",
            "high_share",
            "tiles",
            "block_count",
        ]
        note = (
            "Share of the area, with the interval in which it would fall on ground of the same "
            "kind: a bootstrap that draws blocks of neighbouring frames. The model's own mistakes "
            "are not in it."
        )
        report.add(Table("Share of the area by class", columns, rows[:TABLE_ROWS], note))
        return paths

    def _shares(self, field_: Coverage) -> tuple[list[Share], int]:
        found = field_.shares(level=self.level)
        shares = [Share(name, *found[number]) for number, name in enumerate(self.classes)]
        return shares, found.groups
