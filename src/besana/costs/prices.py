"""The price book: dated prices of clouds, machines and electricity, for anybody to correct."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from besana.config import Settings, parse, read_toml
from besana.costs.ranges import NONE, Range
from besana.errors import ConfigError
from besana.traffic import Traffic

HOURS_A_MONTH = 730
_GB = 1e9
_SMALL_GFLOP, _LARGE_GFLOP = 0.6, 8.2

Price = Annotated[float, Field(ge=0)]
Bounds = Annotated[list[Price], Field(min_length=2, max_length=2)]


class Dated(Settings):
    """Where prices stand, where they were read, and which of them nobody verified."""

    taken: dt.date = Field(description="Day on which the prices were taken from the source.")
    source: str = Field(description="Page on which the prices stand.")
    seen: str = Field(
        default="", description="What was read instead of the page, with the date it states."
    )
    unverified: list[str] = Field(
        default=[], description="Prices of this entry that are from memory; empty: none."
    )

    @model_validator(mode="after")
    def _names_prices(self) -> Self:
        for name in self.unverified:
            if name not in type(self).model_fields or name in Dated.model_fields:
                raise ValueError(f"unverified names '{name}', which is no price of this entry")
        return self


class Energy(Dated):
    """What electricity costs."""

    kwh: Bounds = Field(description="Price of a kilowatt hour, from and to.")


class Cloud(Dated):
    """What a cloud takes for keeping bytes and answering requests."""

    title: str = Field(description="Its name, storage class and region.")
    gb_month: Price = Field(description="Keeping a gigabyte for a month.")
    puts_1000: Price = Field(description="A thousand PUT, COPY or POST requests.")
    lists_1000: Price = Field(description="A thousand LIST requests.")
    gets_1000: Price = Field(description="A thousand GET and HEAD requests.")
    egress_gb: Price = Field(description="A gigabyte that leaves the cloud.")
    egress_free_gb: Price = Field(default=0, description="Gigabytes a month that leave for free.")

    def requests(self, traffic: Traffic) -> float:
        """Price requests; deleting is free."""
        return (
            traffic.puts * self.puts_1000
            + traffic.lists * self.lists_1000
            + traffic.gets * self.gets_1000
        ) / 1000

    def egress(self, read_bytes: float, free_bytes: float = 0.0) -> float:
        """Price bytes that leave the cloud, after those that are free."""
        return max(read_bytes - free_bytes, 0.0) / _GB * self.egress_gb

    def month(self, stored_bytes: float) -> float:
        """Price keeping bytes for a month."""
        return stored_bytes / _GB * self.gb_month


class Powered(Dated):
    """A machine that is rented by the hour, or draws current."""

    hour: Bounds = Field(default=[0, 0], description="Price of an hour, from and to.")
    watts: Bounds = Field(default=[0, 0], description="What it draws while it works, from and to.")

    def price(self, hours: Range, energy: Energy) -> Range:
        """Price hours of work: rent and current."""
        current = Range.between(*self.watts) * (1 / 1000) * Range.between(*energy.kwh)
        return hours * (Range.between(*self.hour) + current)


class Machine(Powered):
    """A machine that walks the way."""

    title: str = Field(description="What it is.")
    kind: Literal["own", "on_demand", "spot", "managed"] = Field(
        description="Whether it is yours, rented, rented until somebody pays more, or a service."
    )
    cloud: str = Field(default="", description="Where it stands; empty: at home.")
    cores: int = Field(default=0, ge=0, description="Processor cores; 0: those of this machine.")
    small: Bounds = Field(
        default=[0, 0], description="Images a second in training a network of 0.6 GFLOP."
    )
    large: Bounds = Field(default=[0, 0], description="The same for a network of 8.2 GFLOP.")
    start_s: Bounds = Field(default=[30, 120], description="Seconds until it works, from and to.")

    def images_per_s(self, gflop: float | None) -> Range:
        """Estimate the speed of training, by a power law between the two networks.

        Args:
            gflop: Billions of operations of the network an image; None if nobody knows.
        """
        if gflop is None:
            return Range.between(self.large[0], self.small[1])
        between = math.log(gflop / _SMALL_GFLOP) / math.log(_LARGE_GFLOP / _SMALL_GFLOP)
        between = min(max(between, 0.0), 1.5)  # below the small one the decoder is the limit
        pairs = zip(self.small, self.large, strict=True)
        return Range.between(*(s * (large / s) ** between for s, large in pairs))


class PriceBook(Settings):
    """All prices that a plan needs."""

    currency: str = Field(description="Currency of every price, for the headings.")
    energy: Energy
    clouds: dict[str, Cloud]
    machines: dict[str, Machine]
    serving: dict[str, Powered]

    def cloud(self, name: str) -> Cloud:
        """Give a cloud by name.

        Raises:
            ConfigError: If the book does not have it.
        """
        if name not in self.clouds:
            known = ", ".join(self.clouds)
            raise ConfigError(f"The price book has no cloud '{name}'.", f"Known: {known}.")
        return self.clouds[name]

    def machine(self, name: str) -> Machine:
        """Give a machine by name.

        Raises:
            ConfigError: If the book does not have it.
        """
        if name not in self.machines:
            known = ", ".join(self.machines)
            raise ConfigError(f"The price book has no machine '{name}'.", f"Known: {known}.")
        return self.machines[name]

    def serving_month(self, cloud: str) -> Range:
        """Price a month of answering requests, in a cloud or at home (`own`)."""
        if cloud not in self.serving:
            return NONE
        return self.serving[cloud].price(Range.exactly(HOURS_A_MONTH), self.energy)

    def dated(self) -> Iterator[tuple[str, Dated]]:
        """List every entry by table and name, as `clouds.aws`."""
        yield "energy", self.energy
        tables: dict[str, Mapping[str, Dated]] = {
            "clouds": self.clouds,
            "machines": self.machines,
            "serving": self.serving,
        }
        for title, table in tables.items():
            yield from ((f"{title}.{name}", entry) for name, entry in table.items())

    def older_than(self, days: int, today: dt.date) -> list[str]:
        """Name the entries whose prices were taken more than so many days ago."""
        return [name for name, entry in self.dated() if (today - entry.taken).days > days]

    def unverified(self) -> list[str]:
        """Name the prices that are from memory, as `clouds.azure.egress_gb`."""
        return [f"{name}.{field}" for name, entry in self.dated() for field in entry.unverified]


def read_prices(path: Path | None) -> PriceBook:
    """Read a price book of somebody's own, or besana's.

    Raises:
        NotFoundError: If there is no such file.
        ConfigError: If it is not a price book.
    """
    if path is None:
        return _own_prices()
    book = parse(PriceBook, read_toml(path), where=str(path))
    for name, machine in book.machines.items():
        if machine.cloud:
            book.cloud(machine.cloud)
        if machine.kind != "own" and not (min(machine.small) and min(machine.large)):
            raise ConfigError(f"Machine '{name}' has no speed.", "Give it small and large.")
    return book


@cache
def _own_prices() -> PriceBook:
    with as_file(files("besana.costs") / "prices.toml") as path:
        return parse(PriceBook, read_toml(path), where="the price book")
