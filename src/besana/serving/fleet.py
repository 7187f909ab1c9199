"""The versions that are loaded: swapped while requests run, and only when everything holds."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from besana.errors import BesanaError, CorruptDataError, NotReadyError
from besana.models.onnx_model import OnnxModel, Precision, load_export
from besana.serving.batching import Batcher
from besana.serving.edge import wanted_by
from besana.serving.pictures import Wanted
from besana.serving.shares import Shares, chosen
from besana.serving.turns import Turns
from besana.storage import Storage

LOG = logging.getLogger("besana.serving")


@dataclass(frozen=True)
class Source:
    """Where one version's export lies.

    Attributes:
        number: The version.
        folder: Its export.
        sha256: Hash of its certificate as the registry has it; empty when nobody registered it.
    """

    number: int
    folder: Storage
    sha256: str


@dataclass(frozen=True)
class Lineup:
    """Which versions should be loaded.

    Attributes:
        champion: The one that answers.
        others: Those that have a share or judge in the shadow, by version.
        shares: Who gets what.
    """

    champion: Source
    others: Mapping[int, Source]
    shares: Shares


class Lineups(Protocol):
    """Tells which versions should be loaded now: a registry, or one folder."""

    def __call__(self) -> Lineup:
        """Ask.

        Raises:
            BesanaError: If there is no champion, or the registry does not answer.
        """


@dataclass(eq=False)
class Loaded:
    """One version in memory with its queue."""

    source: Source
    model: OnnxModel
    batcher: Batcher

    @cached_property
    def wanted(self) -> Wanted:
        """What pictures it takes."""
        return wanted_by(self.model.certificate)


@dataclass(frozen=True)
class Running:
    """How loaded versions run.

    Attributes:
        precision: Which of their files.
        threads: Batches that are judged at the same time, a thread each.
        batch_size: Most pictures at a time.
        most_waiting: Pictures that may wait.
        cores: Batches and decoders that compute at the same time.
    """

    precision: Precision = "fp32"
    threads: int = 1
    batch_size: int = 16
    most_waiting: int = 32
    cores: int = 2


@dataclass(eq=False)
class _State:
    champion: Loaded
    others: dict[int, Loaded] = field(default_factory=dict)
    shares: Shares = field(default_factory=Shares)


class Fleet:
    """The champion and those beside it.

    Args:
        lineups: Tells what should be loaded.
        running: How it runs.
        on_refused: Called with what was refused and why.

    Raises:
        BesanaError: If the champion cannot be loaded.
    """

    def __init__(
        self,
        lineups: Lineups,
        running: Running,
        on_refused: Callable[[int, BesanaError], None] = lambda _number, _error: None,
    ) -> None:
        self._lineups, self._running, self._on_refused = lineups, running, on_refused
        self.turns = Turns(running.cores)
        self._refused: set[tuple[int, str]] = set()
        self._lock = threading.Lock()
        lineup = lineups()
        self._state = _State(self._load(lineup.champion))
        self._state = self._next(lineup)

    @property
    def champion(self) -> Loaded:
        """The version that answers unless another one has a share."""
        return self._state.champion

    @property
    def loaded(self) -> list[Loaded]:
        """Everything in memory, the champion first."""
        return [self._state.champion, *self._state.others.values()]

    @property
    def shares(self) -> Shares:
        """Who gets what."""
        return self._state.shares

    def route(self, key: str, version: int | None = None) -> tuple[Loaded, list[Loaded]]:
        """Choose who answers, and who judges in the shadow.

        Args:
            key: Camera, or whatever stays the same for one caller.
            version: A version that was asked for by number.

        Raises:
            NotReadyError: If that version is not loaded.
        """
        state = self._state
        if version is not None:
            found = next((one for one in self.loaded if one.source.number == version), None)
            if found is None:
                raise NotReadyError(f"Version {version} is not loaded.", "Ask without a version.")
            return found, []
        if not state.others:
            return state.champion, []
        present = {n: s for n, s in state.shares.percent.items() if n in state.others}
        number = chosen(present, key)
        shadows = [state.others[n] for n in state.shares.shadow if n in state.others]
        return state.champion if number is None else state.others[number], shadows

    def refresh(self) -> bool:
        """Load what the registry names now; what cannot be loaded leaves everything as it is.

        Returns:
            Whether anything changed.
        """
        with self._lock:
            try:
                lineup = self._lineups()
            except BesanaError as error:
                LOG.warning(json.dumps({"event": "registry_silent", "problem": str(error)}))
                return False
            before = self._state
            after = self._next(lineup)
            kept = {id(one) for one in [after.champion, *after.others.values()]}
            self._state = after
            gone = [
                one for one in [before.champion, *before.others.values()] if id(one) not in kept
            ]
            for one in gone:
                _log("unloaded", one.source)
                # Requests that were routed here are finished first.
                one.batcher.close()
            return before.champion is not after.champion or bool(gone)

    def close(self) -> None:
        """Finish what waits everywhere."""
        for one in self.loaded:
            one.batcher.close()

    def _next(self, lineup: Lineup) -> _State:
        old = {one.source.number: one for one in self.loaded}
        champion = self._kept_or_loaded(lineup.champion, old) or self._state.champion
        others = {}
        for number, source in lineup.others.items():
            if number == champion.source.number:
                continue
            found = self._kept_or_loaded(source, old)
            if found is not None:
                others[number] = found
        return _State(champion, others, lineup.shares)

    def _kept_or_loaded(self, source: Source, old: Mapping[int, Loaded]) -> Loaded | None:
        there = old.get(source.number)
        if there is not None and there.source.sha256 == source.sha256:
            return there
        if (source.number, source.sha256) in self._refused:
            return None
        try:
            return self._load(source)
        except BesanaError as error:
            if isinstance(error, CorruptDataError):  # nothing but other bytes would help
                self._refused.add((source.number, source.sha256))
            _log("refused", source, problem=str(error))
            self._on_refused(source.number, error)
            return None

    def _load(self, source: Source) -> Loaded:
        running = self._running
        model = load_export(source.folder, precision=running.precision, sha256=source.sha256)
        batcher = Batcher(
            model,
            batch_size=running.batch_size,
            turns=self.turns,
            judges=running.threads,
        )
        _log("loaded", source, probability_gap=model.parity.probability_gap)
        return Loaded(source, model, batcher)


def _log(event: str, source: Source, **more: object) -> None:
    LOG.info(json.dumps({"event": event, "version": source.number, **more}))
