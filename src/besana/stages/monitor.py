"""Tell whether the cameras still show what the model was trained on, and what a change costs.

Reads: predictions, quality, embeddings, samples, labels
Writes: drift, reports/monitor.prom
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from besana.config import Settings

EXAMPLE = "besana monitor farm --webhook https://example.org/hooks/barn"


class Config(Settings):
    """Settings of `monitor`."""

    model: str = Field(
        default="classifier",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="Name of the model.",
    )
    version: str = Field(
        default="champion", description="Its version: champion, challenger or a number."
    )
    window_hours: int = Field(
        default=24, ge=2, le=168, description="Hours that one look takes in, up to its end."
    )
    every_hours: Literal[1, 2, 3, 4, 6, 8, 12, 24] = Field(
        default=6, description="Hours from one look at a camera to the next."
    )
    false_alarms_per_month: float = Field(
        default=0.5,
        gt=0,
        le=100,
        description="False alarms a camera and month that all looks together may cost.",
    )
