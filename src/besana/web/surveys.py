"""The survey that pages ask: made when first asked for, and again when the catalog has changed."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from besana import catalog as tables
from besana.errors import BesanaError, NotReadyError
from besana.shards.datasets import open_dataset
from besana.web.gate import RefusedError
from besana.web.survey import Predicted, Survey, model_versions
from besana.web.survey_filter import Found, PictureFilter, Split, find
from besana.workspace import Workspace

T = TypeVar("T")

_WAITED_FOR_S = 1.0
_WAITED_AT_MOST_S = 5.0
# A survey that took long is made again at most this share of the time.
_READING_SHARE = 0.1
_KEPT = 6
_STEP = 8192
_COUNTED = (tables.frames, tables.samples, tables.labels, tables.issues, tables.predictions)
_LOG = logging.getLogger("besana.web")


class Look:
    """One survey with what was looked up in it; safe to use from threads.

    Args:
        workspace: Whose.
        multi: Whether several classes may hold for one sample.
        counted: The catalog's counts before the survey was made.
    """

    def __init__(self, workspace: Workspace, *, multi: bool, counted: dict[str, Any]) -> None:
        self._workspace, self.counted = workspace, counted
        self.survey = Survey(workspace, multi=multi)
        self.models = model_versions(workspace.catalog)
        self._lock = threading.RLock()
        self._kept: OrderedDict[Any, Any] = OrderedDict()

    def found(self, wanted: PictureFilter) -> Found:
        """Find what a filter leaves."""
        return self._once(("found", wanted.model_dump_json()), lambda: self._find(wanted))

    def _find(self, wanted: PictureFilter) -> Found:
        split = self.split(wanted.dataset) if wanted.dataset else None
        predicted = self.predicted(wanted.model) if wanted.asks_model() else None
        return find(self.survey, wanted, split=split, predicted=predicted)

    def predicted(self, model: str) -> Predicted | None:
        """Read what a model version says; of the first one when none is named."""
        if not self.models:
            return None
        named = model or "/".join(map(str, self.models[0]))
        name, _, version = named.rpartition("/")
        read = self.survey.read_predictions
        return self._once(
            ("model", named), lambda: read(self._workspace.catalog, name, int(version))
        )

    def split(self, place: str) -> Split | None:
        """Read in which part of a dataset the samples are; None when there is no such dataset."""
        return self._once(("split", place), lambda: self._split(place))

    def _split(self, place: str) -> Split | None:
        name, _, version = place.partition("/")
        try:
            manifest = open_dataset(self._workspace, name, int(version)).manifest()
        except NotReadyError:
            return None
        code = np.full(len(self.survey.frame), -1, np.int8)
        for start in range(0, len(manifest), _STEP):
            positions = np.arange(start, min(start + _STEP, len(manifest)))
            rows = manifest.identities(positions)
            frames, regions = ([row[key] for row in rows] for key in ("frame_id", "region"))
            numbers = self.survey.sample_numbers(frames, regions)
            known = numbers >= 0
            code[numbers[known]] = manifest.split[positions[known]]
        return Split(code, manifest.splits)

    def _once(self, key: Any, make: Callable[[], T]) -> T:
        with self._lock:
            if key not in self._kept:
                self._kept[key] = make()
                if len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            found: T = self._kept[key]
            return found


class Surveys:
    """Keeps the newest survey of a workspace.

    A small one is made anew before the answer; while a large one is made, the one before answers.

    Args:
        workspace: Of what.
        is_multi: Tells whether several classes may hold for one sample.
    """

    def __init__(self, workspace: Workspace, is_multi: Callable[[], bool]) -> None:
        self._workspace, self._is_multi = workspace, is_multi
        self._look: Look | None = None
        self._error: BesanaError | None = None
        self._lock = threading.Lock()
        self._reader: threading.Thread | None = None

    def close(self) -> None:
        """Wait for what is being read."""
        reader = self._reader
        if reader is not None:
            reader.join()

    def look(self) -> Look:
        """Give the newest survey.

        Raises:
            RefusedError: While the first one is made, if that takes more than some seconds.
        """
        counted, until = self._count(), time.monotonic() + _WAITED_AT_MOST_S
        while True:
            with self._lock:
                look, error = self._look, self._error
                if look is not None and look.counted == counted:
                    return look
                if look is None and error is not None:
                    self._error = None
                    raise error
                is_large = look is not None and look.survey.read_s >= _WAITED_FOR_S
                if look is None or not is_large or self._is_due(look):
                    reader = self._begin(counted)
            if look is not None and (is_large or time.monotonic() > until):
                return look
            reader.join(max(0.0, until - time.monotonic()))
            if look is None and reader.is_alive():
                raise RefusedError(503, "preparing", "The pictures are being counted.", retry_s=1)

    def _begin(self, counted: dict[str, Any]) -> threading.Thread:
        """Read beside, unless that is being done."""
        if self._reader is None or not self._reader.is_alive():
            self._reader = threading.Thread(target=self._read_beside, args=(counted,))
            self._reader.start()
        return self._reader

    def _is_due(self, look: Look) -> bool:
        return time.time() - look.survey.read_at > look.survey.read_s / _READING_SHARE

    def _read_beside(self, counted: dict[str, Any]) -> None:
        try:
            self._look = Look(self._workspace, multi=self._is_multi(), counted=counted)
        except BesanaError as error:
            _LOG.warning("the catalog could not be read: %s", error)
            self._error = error

    def _count(self) -> dict[str, Any]:
        catalog = self._workspace.catalog
        return {table.name: catalog.counted(table) for table in _COUNTED}
