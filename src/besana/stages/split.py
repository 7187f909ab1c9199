"""Freeze a dataset whose groups never cross from training to test.

Reads: samples, labels, frames, quality, issues
Writes: datasets/<name>/<version>, datasets
"""

from __future__ import annotations

import datetime as dt
import re
import tempfile
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from besana import catalog as tables
from besana.config import Settings
from besana.console import percent
from besana.engines import Engine
from besana.errors import ConfigError, NotReadyError
from besana.labels.conflicts import conflict_sections, conflicts
from besana.labels.dealing import Dealt
from besana.labels.gathering import select_samples
from besana.labels.labelled import is_multi
from besana.labels.lights import Lights
from besana.labels.selection import NO_DAY, Column, Selection, Wanted
from besana.progress import track
from besana.shards.datasets import Dataset, Settled, freeze, settled_groups
from besana.statistics.groups import dense
from besana.statistics.local_time import day_number
from besana.statistics.splits import (
    LEFT_OUT,
    SPLITS,
    TEST,
    TRAIN,
    VALIDATION,
    Leaks,
    keep_apart,
    last_days,
)
from besana.web.report_page import open_report
from besana.workspace import Report, Scalar, Table, Text, Workspace

EXAMPLE = "besana split farm --method last_days --test-days 3"

Method = Literal["fractions", "last_days", "camera", "column"]

# Fewer days than this tell nothing about days to come.
_FEWEST_DAYS = 3
# Share of the samples with a time from which on the few without may be dropped.
_MOSTLY = 0.99
_NOT_CONTENT = {"keep", "max_dropped_share"}


class Config(Settings):
    """Settings of `split`."""

    name: str = Field(
        default="default",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        description="Name of the dataset; every change of its content makes a new version.",
    )
    kind: Literal["auto", "single", "multi"] = Field(
        default="auto",
        description="Whether a sample has one class or several may hold; auto: several, if any"
        " label says that a class does not hold.",
    )
    classes: list[str] = Field(
        default=[], description="Classes to keep, in this order; empty: all, in alphabetical order."
    )
    method: Literal["auto", "fractions", "last_days", "camera", "column"] = Field(
        default="auto",
        description="How test samples are chosen; auto: as the settings below say, else the last"
        " days when there are three days or more, else fractions.",
    )
    test_share: float = Field(default=0.2, ge=0, le=0.9, description="Share of samples or days.")
    validation_share: float = Field(
        default=0.1,
        ge=0,
        le=0.9,
        description="Share of samples to validate on; but for fractions, of those outside test.",
    )
    test_days: int | None = Field(
        default=None, ge=1, description="Days at the end that are test; empty: test_share of them."
    )
    test_from: str = Field(
        default="",
        description="First local day that is test, as 2024-03-08; goes before test_days.",
    )
    test_camera: list[str] = Field(default=[], description="Cameras that are test.")
    split_column: str = Field(
        default="",
        description="Metadata column that says train, validation or test; 'name' is the file name.",
    )
    split_pattern: str = Field(
        default="", description="Regular expression whose first group, found in it, is the split."
    )
    folds: int = Field(
        default=0, ge=0, le=100, description="Folds to cut the samples outside test into; 0: none."
    )
    block_minutes: int = Field(
        default=60,
        ge=1,
        description="Frames of one camera in one block of this length stay together.",
    )
    group_by: str = Field(
        default="",
        description="Metadata column whose equal values stay together; 'name' is the file name.",
    )
    group_pattern: str = Field(
        default="", description="Regular expression whose first group, found in it, is compared."
    )
    seed: int = Field(default=0, ge=0, description="Another seed, another split.")
    keep: bool = Field(
        default=True,
        description="Leave groups where they were in the last version made with the same settings.",
    )
    max_dropped_share: float = Field(
        default=1.0, ge=0, le=1, description="Share of dropped samples above which the run fails."
    )

    @field_validator("test_from", mode="before")
    @classmethod
    def _is_a_day(cls, value: object) -> str:
        if value == "":
            return ""
        if isinstance(value, dt.datetime):
            raise ValueError("a day, without a time: 2024-03-08")
        return dt.date.fromisoformat(str(value)).isoformat()

    @field_validator("split_pattern", "group_pattern")
    @classmethod
    def _is_a_pattern(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return value


def run(workspace: Workspace, config: Config | None = None, engine: Engine | None = None) -> Report:
    """Freeze the labelled samples into a new version of a dataset, or find nothing changed.

    Args:
        workspace: Where the samples and labels are.
        config: Settings; None means those of the workspace.
        engine: Not needed; here as in every stage.

    Raises:
        NotReadyError: If there are no samples, or none has a label.
        ConfigError: If a camera, column or day of the settings is not there.
    """
    config = config or workspace.settings("split", Config)
    multi = is_multi(workspace.catalog) if config.kind == "auto" else config.kind == "multi"
    with (
        open_report(
            workspace, "split", config, max_dropped_share=config.max_dropped_share
        ) as report,
        track("split", None) as advance,
        tempfile.TemporaryDirectory(dir=workspace.temporary) as folder,
    ):
        disputed = list(conflicts(workspace.catalog, multi=multi))
        samples = select_samples(
            workspace, _wanted(config, multi), disputed, Path(folder), advance=advance
        )
        report.count_in(samples.seen)
        report.dropped.update(samples.dropped)
        _need_samples(workspace, samples)
        method = _method(config, samples)
        made_with = {**config.model_dump(mode="json", exclude=_NOT_CONTENT), "method": method}
        settled = settled_groups(workspace, config.name, made_with) if config.keep else None
        dealt = _deal(config, method, samples, settled, report)
        _need_both(config, method, samples, dealt)
        leaks = dealt.random_leaks(seed=config.seed)
        lights = Lights()
        dataset, new = freeze(
            workspace,
            config.name,
            lights.counted(samples.tables(dealt.split, dealt.fold, dealt.group, dealt.keys)),
            kind="multi" if multi else "single",
            classes=samples.classes,
            facts={
                "samples": samples.count(dealt.split != LEFT_OUT),
                "groups": len(dealt.keys),
                "folds": config.folds,
                "counts": dealt.counts(),
                "leaked_by_random_split": vars(leaks) | {"leaked_share": leaks.leaked_share},
                "recipe": "+".join(sorted(samples.recipes)),
                "channels": _usual_channels(samples),
                "size_px": samples.sizes.most_common(1)[0][0],
                "settings": made_with,
            },
        )
        report.count_out(dataset.samples)
        report.fact("dataset", dataset.place)
        report.fact("new_version", new)
        _describe(report, dataset, dealt, lights, leaks)
        report.fact("conflicting_pairs", len(disputed))
        report.sections.extend(conflict_sections(workspace, disputed))
    return report


def _wanted(config: Config, multi: bool) -> Wanted:
    group_by = Column(config.group_by, config.group_pattern) if config.group_by else None
    split_by = Column(config.split_column, config.split_pattern) if config.split_column else None
    return Wanted(multi, config.classes, config.block_minutes, group_by, split_by)


def _need_samples(workspace: Workspace, samples: Selection) -> None:
    if not samples.seen:
        raise NotReadyError(
            f"No samples in '{workspace.name}'.", f"Run: besana prepare {workspace.word}"
        )
    if not len(samples) and samples.dropped["other_class"]:
        known = ", ".join(sorted(workspace.catalog.counted(tables.labels)))
        raise ConfigError("No label has one of the classes in [split] classes.", f"Known: {known}.")
    if not len(samples):
        reasons = ", ".join(f"{count} {reason}" for reason, count in samples.dropped.items())
        raise NotReadyError(
            f"None of {samples.seen} samples can be used ({reasons}).",
            f"Run: besana label {workspace.word} FILE.csv",
        )


def _method(config: Config, samples: Selection) -> Method:
    if config.method != "auto":
        return config.method
    if config.test_camera:
        return "camera"
    if config.split_column:
        return "column"
    if config.test_from or config.test_days:
        return "last_days"
    timed = samples.day != NO_DAY
    enough = len(np.unique(samples.day[timed])) >= _FEWEST_DAYS
    mostly = samples.count(timed) >= _MOSTLY * len(samples)
    return "last_days" if enough and mostly else "fractions"


def _deal(
    config: Config,
    method: Method,
    samples: Selection,
    settled: Settled | None,
    report: Report,
) -> Dealt:
    """Give every stretch its split, fold and group; those dropped are counted."""
    usable = samples.channels == _usual_channels(samples)
    report.drop("other_channels", samples.count(~usable))
    split = np.where(usable, TRAIN, LEFT_OUT).astype(np.int8)
    if method != "fractions":
        split = _cut(config, method, samples, usable, report)
    dealt = Dealt.of(samples, split)
    fixed = settled.splits(dealt.keys) if settled else None
    if method == "fractions":
        shares = (
            1 - config.validation_share - config.test_share,
            config.validation_share,
            config.test_share,
        )
        if shares[0] <= 0:
            raise ConfigError("test_share and validation_share leave nothing to train on.")
        dealt.assign(dealt.split, usable, shares, fixed, seed=config.seed)
    elif config.validation_share and not (split == VALIDATION).any():
        if fixed is not None:
            fixed[fixed == TEST] = LEFT_OUT
        rest = (1 - config.validation_share, config.validation_share)
        dealt.assign(dealt.split, split == TRAIN, rest, fixed, seed=config.seed)
    if config.folds:
        fixed = settled.folds(dealt.keys) if settled else None
        outside_test = (dealt.split == TRAIN) | (dealt.split == VALIDATION)
        dealt.assign(dealt.fold, outside_test, [1.0] * config.folds, fixed, seed=config.seed)
    return dealt


def _cut(
    config: Config,
    method: Method,
    samples: Selection,
    usable: NDArray[np.bool_],
    report: Report,
) -> NDArray[np.int8]:
    """Split by a rule, and leave out what would cross."""
    wanted = np.where(usable, _ruled(config, method, samples), LEFT_OUT).astype(np.int8)
    unplaced = "no_time" if method == "last_days" else "no_split_said"
    report.drop(unplaced, samples.count(usable & (wanted == LEFT_OUT)))
    apart, split = keep_apart(wanted, samples.kin, dense(samples.block)[0])
    report.drop("resembles_held_out", samples.count((wanted != LEFT_OUT) & (apart == LEFT_OUT)))
    report.drop("block_crosses", samples.count((apart != LEFT_OUT) & (split == LEFT_OUT)))
    return split


def _need_both(config: Config, method: Method, samples: Selection, dealt: Dealt) -> None:
    """Refuse a split that leaves nothing to train or to test on.

    Raises:
        ConfigError: If it does, with what to change.
    """
    wanted = {TRAIN: "train on", TEST: "test on"}
    if method == "fractions" and not config.test_share:
        del wanted[TEST]
    for number, name in wanted.items():
        if (dealt.split == number).any():
            continue
        if len(dealt.keys) == 1:
            raise ConfigError(
                f"All {len(samples)} samples are one group, so there is nothing to {name}.",
                "Give the frames capture times, or lower block_minutes.",
            )
        raise ConfigError(f"The settings of [split] leave nothing to {name}.", "Change them.")


def _usual_channels(samples: Selection) -> int:
    return int(np.bincount(samples.channels, weights=samples.size).argmax())


def _ruled(config: Config, method: Method, samples: Selection) -> NDArray[np.int8]:
    """Give every stretch the split that a rule says, whatever it resembles."""
    if method == "column":
        if not config.split_column:
            raise ConfigError("The method 'column' needs split_column.", "Name a metadata column.")
        return samples.stated
    if method == "camera":
        unknown = sorted(set(config.test_camera) - set(samples.cameras))
        if unknown or not config.test_camera:
            known = ", ".join(samples.cameras)
            shown = f"camera '{unknown[0]}'" if unknown else "camera named in test_camera"
            raise ConfigError(f"There is no {shown} with labelled samples.", f"Known: {known}.")
        codes = [samples.cameras.index(name) for name in config.test_camera]
        return np.where(np.isin(samples.camera, codes), TEST, TRAIN).astype(np.int8)
    timed = samples.day != NO_DAY
    split = np.full(len(timed), LEFT_OUT, dtype=np.int8)
    split[timed] = np.where(_tested_days(config, samples.day[timed]), TEST, TRAIN)
    return split


def _tested_days(config: Config, days: NDArray[np.int32]) -> NDArray[np.bool_]:
    if config.test_from:
        return days >= day_number(dt.date.fromisoformat(config.test_from))
    count = config.test_days or max(1, round(config.test_share * len(np.unique(days))))
    return last_days(days, count)


def _describe(report: Report, dataset: Dataset, dealt: Dealt, lights: Lights, leaks: Leaks) -> None:
    sizes = ", ".join(f"{name} {dealt.span(number)[0]:,}" for number, name in enumerate(SPLITS))
    report.result(f"dataset {dataset.place} by {dataset.settings['method']}: {sizes}")
    for name in dataset.classes:
        taught, *others = (dataset.counts[part][name] for part in SPLITS)
        untaught = sum(count for count in others)
        if not taught and untaught:
            report.warn(
                f"Class '{name}' has no sample in train, but {untaught:,} in validation and"
                " test: no model learns it."
            )
    for warning in lights.warnings():
        report.warn(warning)
    report.fact("method", str(dataset.settings["method"]))
    report.fact("groups", dataset.groups)
    report.fact("largest_group", dealt.largest_group())
    report.fact("leaked_by_random_split_share", leaks.leaked_share)
    rows: list[list[Scalar]] = [[name, *dealt.span(number)] for number, name in enumerate(SPLITS)]
    report.add(
        Table(
            "Samples in each split",
            ["split", "samples", "groups", "first_day", "last_day"],
            rows,
            "A group is never in two splits: frames of one camera and time block, duplicates and"
            " near-duplicates, and equal values of group_by stay together.",
        )
    )
    each: list[list[Scalar]] = [
        [name, *(dataset.counts[part][name] for part in SPLITS)] for name in dataset.classes
    ]
    report.add(Table("Each class", ["class", *SPLITS], each))
    if len(lights.rows()) > 1:
        report.add(Table("Each light", ["light", *SPLITS], lights.rows()))
    report.add(
        Text(
            "What a random split would have leaked",
            f"Had each sample been drawn on its own, {leaks.leaked:,} of"
            f" {leaks.test_samples:,} test samples ({percent(leaks.leaked_share)}) would have had a"
            " sample of their group in train.",
        )
    )
