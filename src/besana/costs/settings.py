"""The `[costs]` table: prices, this machine, and how much the way may cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from pydantic import Field

from besana.config import Settings
from besana.costs.prices import PriceBook, read_prices

if TYPE_CHECKING:
    from besana.workspace import Workspace

_CLOUDS = {"s3": "aws", "gs": "google", "az": "azure"}


class CostSettings(Settings):
    """The `[costs]` table: what things cost, and how much they may."""

    prices: str = Field(
        default="", description="Your own price book, from the workspace; empty: besana's."
    )
    machine: str = Field(
        default="my-pc", description="Which machine of the price book this one is."
    )
    cloud: Literal["", "aws", "google", "azure", "none"] = Field(
        default="",
        description="Whose bucket store is; empty: by its scheme; none: a server of your own.",
    )
    same_region: bool = Field(
        default=False, description="Whether this machine stands in the bucket's own region."
    )
    budget_month: float = Field(
        default=0.0,
        ge=0,
        description="What stages and storage may cost in a calendar month; 0: no limit.",
    )
    label_hour: float = Field(
        default=0.0, ge=0, description="Price of an hour of labelling; 0: nobody is paid for it."
    )


def read_costs(workspace: Workspace) -> tuple[CostSettings, PriceBook]:
    """Read the `[costs]` table and the price book that it names.

    Raises:
        ConfigError: If either is not valid.
        NotFoundError: If there is no such price book.
    """
    settings = workspace.settings("costs", CostSettings)
    book = read_prices(workspace.path / Path(settings.prices) if settings.prices else None)
    book.machine(settings.machine)
    return settings, book


def cloud_of(settings: CostSettings, store: str) -> str:
    """Name the cloud that keeps the heavy folders; empty for a disk or an own server."""
    if settings.cloud:
        return "" if settings.cloud == "none" else settings.cloud
    return _CLOUDS.get(urlsplit(store).scheme, "")
