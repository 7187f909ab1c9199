"""A filter of pictures as it stands in a page's address, and what it leaves: count, days, pages."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import ConfigDict, Field, field_validator

from besana.config import Settings
from besana.statistics.local_time import day_date, day_number
from besana.web.survey import NO_DAY, Mask, Numbers, Predicted, Survey

_MOST_BARS = 100
_FIRST_MONDAY = 4  # 1970-01-05


class PictureFilter(Settings):
    """Which pictures to show; an empty value lets everything through."""

    model_config = ConfigDict(populate_by_name=True)

    show: Literal["samples", "frames"] = "samples"
    camera: str = Field(default="", max_length=200)
    region: str = Field(default="", max_length=200)
    first: str = Field(default="", max_length=10)
    last: str = Field(default="", max_length=10)
    class_name: str = Field(default="", max_length=200, alias="class")
    labelled: Literal["", "yes", "no"] = ""
    issue: str = Field(default="", max_length=200)
    dataset: str = Field(default="", max_length=200, pattern=r"^([A-Za-z0-9_-]+/\d{1,6})?$")
    split: str = Field(default="", max_length=200)
    model: str = Field(default="", max_length=200, pattern=r"^(.+/\d{1,6})?$")
    predicted: str = Field(default="", max_length=200)
    disagree: Literal["", "people", "model"] = ""

    @field_validator("first", "last")
    @classmethod
    def _is_a_day(cls, value: str) -> str:
        return dt.date.fromisoformat(value).isoformat() if value else ""

    def asks_model(self) -> bool:
        """Tell whether predictions decide about anything."""
        return bool(self.predicted) or self.disagree == "model"


@dataclass(frozen=True)
class Split:
    """In which part of a dataset the samples are.

    Attributes:
        code: (samples,) int8 index into `names`, -1 for samples that are not in it.
        names: Names of the parts.
    """

    code: np.ndarray[Any, np.dtype[np.int8]]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """What a filter leaves of a survey.

    Attributes:
        numbers: Numbers of samples or frames, rising.
        of_frames: Whether they are frames.
    """

    numbers: Numbers
    of_frames: bool


def find(
    survey: Survey, wanted: PictureFilter, *, split: Split | None, predicted: Predicted | None
) -> Found:
    """Find what a filter leaves.

    Args:
        survey: Of what.
        wanted: The filter.
        split: Of the wanted dataset; None without one.
        predicted: By the wanted model version; None without one.
    """
    frames = _frames(survey, wanted)
    if wanted.show == "frames":
        return Found(np.flatnonzero(frames), of_frames=True)
    kept = frames[survey.frame] if len(survey.frame) else np.zeros(0, np.bool_)
    if wanted.region:
        known = wanted.region in survey.regions
        kept &= survey.region == (survey.regions.index(wanted.region) if known else -1)
    _keep_said(survey, wanted, kept)
    if wanted.disagree == "people":
        kept &= survey.votes.differ
    if wanted.dataset:
        kept &= _in_split(split, wanted.split, len(kept))
    if wanted.asks_model():
        kept &= _as_predicted(survey, predicted, wanted)
    return Found(np.flatnonzero(kept), of_frames=False)


def _frames(survey: Survey, wanted: PictureFilter) -> Mask:
    kept = np.ones(len(survey.camera), np.bool_)
    if wanted.camera:
        kept &= survey.camera == survey.cameras.of(wanted.camera)
    if wanted.first:
        kept &= survey.day >= day_number(dt.date.fromisoformat(wanted.first))
    if wanted.last:
        kept &= survey.day <= day_number(dt.date.fromisoformat(wanted.last))
        kept &= survey.day != NO_DAY
    if wanted.issue in ("any", "none"):
        kept &= (survey.issues != 0) == (wanted.issue == "any")
    elif wanted.issue:
        kind = survey.kinds.of(wanted.issue)
        bit = np.uint64(0 if kind < 0 else 1 << kind)
        kept &= (survey.issues & bit) != 0
    return kept


def _keep_said(survey: Survey, wanted: PictureFilter, kept: Mask) -> None:
    votes = survey.votes
    if wanted.class_name:
        holds = np.zeros(len(kept), np.bool_)
        holds[votes.sample[votes.name == survey.classes.of(wanted.class_name)]] = True
        kept &= holds
    if wanted.labelled:
        said = np.zeros(len(kept), np.bool_)
        said[votes.sample] = True
        kept &= said == (wanted.labelled == "yes")


def _in_split(split: Split | None, name: str, count: int) -> Mask:
    if split is None:
        return np.zeros(count, np.bool_)
    if not name:
        return np.asarray(split.code >= 0)
    return np.asarray(split.code == (split.names.index(name) if name in split.names else -2))


def _as_predicted(survey: Survey, predicted: Predicted | None, wanted: PictureFilter) -> Mask:
    if predicted is None:
        return np.zeros(len(survey.frame), np.bool_)
    kept = predicted.name >= 0
    if wanted.predicted:
        known = wanted.predicted in predicted.classes
        kept &= predicted.name == (predicted.classes.index(wanted.predicted) if known else -2)
    if wanted.disagree == "model":
        # In the survey's numbers of classes; a class that nobody ever said is -1.
        names = np.array([*(survey.classes.of(name) for name in predicted.classes), -1], np.int16)
        votes, said = survey.votes, np.zeros(len(kept), np.bool_)
        agree = np.zeros(len(kept), np.bool_)
        said[votes.sample] = True
        agree[votes.sample[names[predicted.name[votes.sample]] == votes.name]] = True
        kept &= said & ~agree
    return kept


def page_of(found: Found, *, after: int | None, before: int | None, count: int) -> Numbers:
    """Give the numbers of one page: the next ones from a number on, or the last ones below one.

    Args:
        found: What there is.
        after: First number that may stand on the page.
        before: First number behind the page.
        count: How many at most.
    """
    if before is not None:
        end = int(np.searchsorted(found.numbers, before))
        return found.numbers[max(0, end - count) : end]
    start = int(np.searchsorted(found.numbers, after or 0))
    return found.numbers[start : start + count]


def counts(survey: Survey, found: Found) -> dict[str, Any]:
    """Count what a filter leaves, by class and by time; of frames, by kind of issue.

    Returns:
        `total`, `series` (names; the last one is empty, for pictures without a label), `counts`
        in the order of the series, and `timeline`: `unit` and `bars` of first day and counts.
    """
    frames = found.numbers if found.of_frames else survey.frame[found.numbers]
    days = survey.day[frames]
    names, members, series = _series(survey, found)
    counted = np.bincount(series, minlength=len(names))
    return {
        "total": len(found.numbers),
        "series": names,
        "counts": counted.tolist(),
        "untimed": int(np.count_nonzero(days == NO_DAY)),
        "timeline": _timeline(days[members].astype(np.int64), series, len(names)),
    }


def _series(survey: Survey, found: Found) -> tuple[list[str], Numbers, Numbers]:
    """Give names of series, and for each thing to count its place in `found` and its series."""
    count = len(found.numbers)
    if found.of_frames:
        return ["frames"], np.arange(count), np.zeros(count, np.int64)
    votes = survey.votes
    place = np.full(len(survey.frame), -1, np.int64)
    place[found.numbers] = np.arange(count)
    inside = place[votes.sample] >= 0
    members, said = place[votes.sample[inside]], votes.name[inside].astype(np.int64)
    order = sorted(range(len(survey.classes.names)), key=lambda code: survey.classes.names[code])
    rank = np.argsort(np.array([*order, len(order)], np.int64))
    silent = np.ones(count, np.bool_)
    silent[members] = False
    names = [*(survey.classes.names[code] for code in order), ""]
    unsaid = np.flatnonzero(silent)
    series = np.concatenate([rank[said], np.full(len(unsaid), len(order), np.int64)])
    return names, np.concatenate([members, unsaid]), series


def _timeline(days: Numbers, series: Numbers, width: int) -> dict[str, Any]:
    timed = days != NO_DAY
    days, series = days[timed], series[timed]
    if not len(days):
        return {"unit": "day", "bars": []}
    for unit in ("day", "week", "month", "year"):
        bins = _bins(days, unit)
        if bins.max() - bins.min() < _MOST_BARS:
            break
    first = int(bins.min())
    count = int(bins.max()) - first + 1
    table = np.bincount((bins - first) * width + series, minlength=count * width)
    bars = [
        [_first_day(first + place, unit).isoformat(), row]
        for place, row in enumerate(table.reshape(count, width).tolist())
    ]
    return {"unit": unit, "bars": bars}


def _bins(days: Numbers, unit: str) -> Numbers:
    if unit == "day":
        return days
    if unit == "week":
        return (days - _FIRST_MONDAY) // 7
    dates = days.astype("datetime64[D]")
    return dates.astype("datetime64[M]" if unit == "month" else "datetime64[Y]").astype(np.int64)


def _first_day(bin_number: int, unit: str) -> dt.date:
    if unit == "day":
        return day_date(bin_number)
    if unit == "week":
        return day_date(7 * bin_number + _FIRST_MONDAY)
    months = bin_number if unit == "month" else 12 * bin_number
    return dt.date(1970 + months // 12, months % 12 + 1, 1)
