"""Every served prediction as a row of the table `served`, written behind the answers."""

from __future__ import annotations

import datetime as dt
import json
import logging
import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from besana.catalog import Catalog, insert
from besana.catalog.watch import create_served, served
from besana.errors import BesanaError

LOG = logging.getLogger("besana.serving")

_WAITING, _BATCH = 10_000, 1_000
_FLUSH_S = 1.0


def served_row(
    answer: Mapping[str, Any],
    *,
    request: str,
    model: str,
    version: int,
    role: str,
    camera: str,
    sha256: str,
    quality: Mapping[str, Any],
    embedding: NDArray[np.float32] | None,
    kept_share: float = 1.0,
) -> dict[str, Any]:
    """Make the row of one region; `kept_share` of all frames have one."""
    return {
        "id": request,
        "region": answer["region"],
        "version": version,
        "model": model,
        "role": role,
        "camera": camera,
        "served_at": dt.datetime.now(dt.UTC),
        "class_name": answer["class_name"],
        "probability": answer["probability"],
        "probabilities": answer["probabilities"],
        "sha256": sha256,
        "quality": dict(quality),
        "embedding": None if embedding is None else embedding.astype(np.float16).tobytes(),
        "kept_share": kept_share,
    }


class RowWriter:
    """A thread that writes rows once a second; when it cannot follow, rows are left out.

    Args:
        catalog: Where to.
        on_lost: Called with the number of rows left out.
    """

    def __init__(self, catalog: Catalog, on_lost: Callable[[int], None]) -> None:
        self._catalog, self._on_lost = catalog, on_lost
        self._rows: queue.Queue[dict[str, Any]] = queue.Queue(_WAITING)
        self._closing = threading.Event()
        create_served(catalog)
        self._thread = threading.Thread(target=self._work, name="rows", daemon=True)
        self._thread.start()

    def add(self, row: dict[str, Any]) -> None:
        """Keep a row, or count it as lost when too many wait."""
        try:
            self._rows.put_nowait(row)
        except queue.Full:
            self._on_lost(1)

    def close(self) -> None:
        """Write what waits and end the thread."""
        self._closing.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._closing.wait(_FLUSH_S):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        while rows := self._take():
            try:
                with self._catalog.transaction() as connection:
                    insert(connection, served, rows)
            except BesanaError as error:
                self._on_lost(len(rows))
                LOG.error(json.dumps({"event": "rows_lost", "rows": len(rows), "why": str(error)}))
                return

    def _take(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        while len(rows) < _BATCH:
            try:
                rows.append(self._rows.get_nowait())
            except queue.Empty:
                break
        return rows
