"""The data page: pictures by filters, counted and over time; one picture; versions compared."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Annotated, Any

import sqlalchemy as sa
from pydantic import Field
from starlette.requests import Request

from besana import catalog as tables
from besana.config import parse
from besana.errors import NotReadyError
from besana.labels.labelled import Said, said_about
from besana.shards.datasets import open_dataset
from besana.statistics.splits import SPLITS
from besana.web.dataset_changes import KINDS_OF_CHANGE, Changes
from besana.web.desk import Desk
from besana.web.gate import Access, RefusedError
from besana.web.language import LANGUAGES, text
from besana.web.picture_facts import issues_of, picture_facts, similar_samples
from besana.web.routes_account import caller_of
from besana.web.routes_label import Id, describe_samples, history_of
from besana.web.server import Route
from besana.web.survey_filter import Found, PictureFilter, counts, page_of
from besana.web.surveys import Look

Count = Annotated[int, Field(ge=1, le=120)]
Place = Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9_-]+/[1-9]\d{0,5}$")]
Frame = Annotated[str, Field(max_length=500)]

_PAGING = ("after", "before", "count")
_PAGE = 60
_ALIKE = 24
_COMPARED = 2
_REPEATS = ("near_duplicate", "exact_duplicate")


class DataRoutes:
    """Routes of the data page."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._changes: OrderedDict[tuple[str, str], Changes] = OrderedDict()
        self._lock = threading.Lock()

    def routes(self) -> list[Route]:
        """List them."""
        return [
            Route(Access("GET", "/api/pictures", "viewer"), self.pictures),
            Route(Access("GET", "/api/pictures/counts", "viewer"), self.counts),
            Route(Access("GET", "/api/pictures/choices", "viewer"), self.choices),
            Route(Access("GET", "/api/picture", "viewer"), self.picture),
            Route(Access("GET", "/api/similar", "viewer"), self.similar),
            Route(Access("GET", "/api/versions", "viewer"), self.versions),
            Route(Access("GET", "/api/versions/changes", "viewer"), self.changes),
            Route(Access("GET", "/api/versions/changed", "viewer"), self.changed),
        ]

    def pictures(
        self, request: Request, after: Frame = "", before: Frame = "", count: Count = _PAGE
    ) -> dict[str, Any]:
        """Give one page of pictures, from behind one picture or up to one.

        Args:
            request: Its query is the filter.
            after: Name of the picture that the page begins behind, as `<frame id>/<region>`.
            before: Name of the picture that the page ends before.
            count: How many pictures at most.
        """
        wanted, look = _filter(request), self._desk.surveys.look()
        found = look.found(wanted)
        first = _first_behind(look, found, after) if after else 0
        end = _first_at(look, found, before) if before else None
        chosen = page_of(found, after=first, before=end, count=count)
        names = self._names(look, found, chosen)
        items = self._frames(names) if found.of_frames else self._samples(look, wanted, names)
        has_more = len(chosen) > 0 and bool(chosen[-1] != found.numbers[-1])
        has_less = len(chosen) > 0 and bool(chosen[0] != found.numbers[0])
        return {
            "items": items,
            "next": "/".join(filter(None, names[-1])) if has_more else "",
            "previous": "/".join(filter(None, names[0])) if has_less else "",
        }

    def _names(self, look: Look, found: Found, chosen: Any) -> list[tuple[str, str]]:
        if found.of_frames:
            return [(look.survey.frame_id(number), "") for number in chosen]
        return [look.survey.sample_name(number) for number in chosen]

    def _samples(
        self, look: Look, wanted: PictureFilter, names: Sequence[tuple[str, str]]
    ) -> list[dict[str, Any]]:
        items = describe_samples(self._desk, names)
        frames = sorted({frame for frame, _ in names})
        catalog = self._desk.workspace.catalog
        said = said_about(catalog, frames, multi=self._desk.is_multi())
        issues = issues_of(catalog, frames)
        shows = look.predicted(wanted.model) if wanted.model or wanted.asks_model() else None
        numbers = look.survey.sample_numbers([n[0] for n in names], [n[1] for n in names])
        for item, name, number in zip(items, names, numbers.tolist(), strict=True):
            word = said.get(name, Said((), False))
            item |= {"classes": list(word.classes), "tied": word.tied}
            item["issues"] = [issue["kind"] for issue in issues.get(name[0], [])]
            if shows is not None and number >= 0 and shows.name[number] >= 0:
                item["predicted"] = shows.classes[shows.name[number]]
                item["certainty"] = round(float(shows.certainty[number]), 3)
        return items

    def _frames(self, names: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
        frames = [frame for frame, _ in names]
        catalog, f = self._desk.workspace.catalog, tables.frames.c
        select = sa.select(f.id, f.camera, f.captured_at).where(f.id.in_(frames))
        rows = {row.id: row for row in catalog.rows(select)}
        issues = issues_of(catalog, frames)
        items = []
        for frame in frames:
            at = rows[frame].captured_at if frame in rows else None
            own = issues.get(frame, [])
            repeated = next((i["detail"] for i in own if i["kind"] in _REPEATS), None)
            items.append(
                {
                    "frame": frame,
                    "region": "",
                    "camera": frame.rpartition("/")[0],
                    "at": at.isoformat() if at is not None else "",
                    "issues": [issue["kind"] for issue in own],
                    "repeats": repeated or "",
                }
            )
        return items

    def counts(self, request: Request) -> dict[str, Any]:
        """Count what a filter leaves, by class and over time."""
        look = self._desk.surveys.look()
        found = look.found(_filter(request))
        return {**counts(look.survey, found), "counted_at": look.survey.read_at}

    def choices(self) -> dict[str, Any]:
        """List what a filter may name."""
        look = self._desk.surveys.look()
        survey = look.survey
        known = self.versions()["versions"]
        return {
            "cameras": sorted(survey.cameras.names),
            "regions": survey.regions,
            "classes": sorted({*survey.classes.names, *self._desk.classes.names()}),
            "issues": sorted(survey.kinds.names),
            "datasets": [each["dataset"] for each in known],
            "splits": list(SPLITS),
            "models": [f"{name}/{version}" for name, version in look.models],
            "counted": self._desk.workspace.catalog.counted(tables.issues),
            "words": _in_both([*survey.kinds.names, *SPLITS]),
        }

    def picture(self, frame: Id, request: Request, region: Frame = "") -> dict[str, Any]:
        """Tell everything about one picture; who said what only to those who may know."""
        caller, sample = caller_of(request), (frame, region)
        facts = picture_facts(self._desk, self._desk.surveys.look(), sample)
        if region:
            sees_all = caller.role in ("reviewer", "admin")
            facts["events"] = history_of(self._desk, sample, None if sees_all else caller.name)
        kinds = [issue["kind"] for issue in facts["issues"]]
        told = [facts["light"], facts["origin"]["time_source"]]
        facts["words"] = _in_both([*kinds, *SPLITS, *filter(None, told)])
        return facts

    def similar(self, frame: Id, region: Id) -> dict[str, Any]:
        """Give the pictures that look most like one."""
        found = similar_samples(self._desk, (frame, region), _ALIKE)
        if found is None:
            return {"embedded": False, "items": [], "words": {}}
        names = [(near, place) for near, place, _ in found]
        items = self._samples(self._desk.surveys.look(), PictureFilter(), names)
        for item, (_, _, cosine) in zip(items, found, strict=True):
            item["alike"] = round(cosine, 3)
        kinds = sorted({kind for item in items for kind in item["issues"]})
        return {"embedded": True, "items": items, "words": _in_both(kinds)}

    def versions(self) -> dict[str, Any]:
        """List the versions of all datasets, the newest of each first."""
        d = tables.datasets.c
        select = sa.select(d.name, d.version, d.samples, d.created_at)
        rows = self._desk.workspace.catalog.rows(select.order_by(d.name, d.version.desc()))
        return {
            "versions": [
                {
                    "dataset": f"{row.name}/{row.version}",
                    "samples": row.samples,
                    "created_at": row.created_at.isoformat(timespec="seconds"),
                }
                for row in rows
            ]
        }

    def changes(self, one: Place, other: Place) -> dict[str, Any]:
        """Count what changed from one version of a dataset to another."""
        return self._compared(one, other).counts()

    def changed(
        self,
        one: Place,
        other: Place,
        kind: str,
        position: Annotated[int, Field(ge=0)] = 0,
        count: Count = _PAGE,
    ) -> dict[str, Any]:
        """List pictures that changed in one way, from a position on."""
        if kind not in KINDS_OF_CHANGE:
            raise RefusedError(422, "wrong_input", f"A change is {', '.join(KINDS_OF_CHANGE)}.")
        rows = self._compared(one, other).page(kind, position, count)
        items = describe_samples(self._desk, [(row["frame"], row["region"]) for row in rows])
        for item, row in zip(items, rows, strict=True):
            item |= {"way": row["way"], "position": row["position"]}
        return {"items": items, "next": rows[-1]["position"] + 1 if len(rows) == count else 0}

    def _compared(self, one: str, other: str) -> Changes:
        with self._lock:
            if (one, other) not in self._changes:
                self._changes[one, other] = Changes(self._dataset(one), self._dataset(other))
                if len(self._changes) > _COMPARED:
                    self._changes.popitem(last=False)
            return self._changes[one, other]

    def _dataset(self, place: str) -> Any:
        name, _, version = place.partition("/")
        try:
            return open_dataset(self._desk.workspace, name, int(version))
        except NotReadyError as error:
            raise RefusedError(404, "not_found", str(error)) from None


def _filter(request: Request) -> PictureFilter:
    """Read the filter of an address; what is empty there is as good as not there."""
    given = {key: value for key, value in request.query_params.items() if key not in _PAGING}
    return parse(PictureFilter, given, where="the address")


def _in_both(keys: Sequence[str]) -> dict[str, list[str]]:
    """Say keys of the catalog in English and in Spanish."""
    return {key: [text(key, language) for language in LANGUAGES] for key in keys}


def _first_at(look: Look, found: Found, name: str) -> int:
    """Find the first number at or behind the picture of a name."""
    if found.of_frames:
        return look.survey.frames_before(name)
    frame, _, region = name.rpartition("/")
    return look.survey.samples_before(frame, region)


def _first_behind(look: Look, found: Found, name: str) -> int:
    """Find the first number behind the picture of a name, whether that is there or not."""
    first = _first_at(look, found, name)
    there = _name_at(look, found, first) == name
    return first + int(there)


def _name_at(look: Look, found: Found, number: int) -> str:
    survey = look.survey
    if found.of_frames:
        return survey.frame_id(number) if number < len(survey.camera) else ""
    return "/".join(survey.sample_name(number)) if number < len(survey.frame) else ""
