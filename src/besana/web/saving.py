"""Save what people say: one thread writes, everything that waits goes into one transaction.

A disk makes some hundred transactions durable in a second, whatever is in them; so twenty people
who label at once share them, and each still hears "saved" only after their own label is.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from besana import catalog as tables
from besana.catalog import Catalog, insert
from besana.catalog.web import skips, undone_labels
from besana.errors import BesanaError
from besana.web.gate import RefusedError

_MOST_AT_ONCE = 200

Job = Callable[[sa.Connection], Any]


@dataclass(frozen=True, slots=True)
class Saying:
    """What somebody says about one sample.

    Attributes:
        key: Made by the browser, once for this act; sending it again changes nothing.
        frame_id: The frame.
        region: The region.
        words: Class -> whether it holds; one class that holds where a sample has one.
        base: Id of this person's last word on the sample that the page knew, empty for none.
        source: Page it was said on.
        note: Free text.
    """

    key: str
    frame_id: str
    region: str
    words: dict[str, bool]
    base: str
    source: str = "web"
    note: str = ""


@dataclass(frozen=True, slots=True)
class Undone:
    """A sample of which something was taken back.

    Attributes:
        sample: Frame and region.
        last: Id of this person's word that now counts, empty for none.
        skipped: Whether a skip of theirs still stands.
        removed: How many label events are gone from the labels.
    """

    sample: tuple[str, str]
    last: str
    skipped: bool
    removed: int


class Saver:
    """Writes labels, skips and their undoing into the catalog, durable before it answers."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._jobs: queue.SimpleQueue[tuple[Job, Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="saver", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Finish what waits, then stop."""
        self._jobs.put(None)
        self._thread.join()

    def label(self, annotator: str, sayings: Sequence[Saying]) -> Future[list[dict[str, Any]]]:
        """Save labels; the answer has one entry each, `saved` with its id or `stale`."""
        return self._submit(lambda c: [_say(c, annotator, saying) for saying in sayings])

    def skip(
        self, annotator: str, key: str, sample: tuple[str, str], reason: str, note: str
    ) -> Future[str]:
        """Save that somebody could not say what a sample is."""
        return self._submit(lambda c: _skip(c, annotator, key, sample, reason, note))

    def undo(self, annotator: str, key: str) -> Future[Undone]:
        """Take back what was said or skipped under a key."""
        return self._submit(lambda c: _undo(c, annotator, key))

    def _submit(self, job: Job) -> Future[Any]:
        answer: Future[Any] = Future()
        self._jobs.put((job, answer))
        return answer

    def _work(self) -> None:
        while True:
            first = self._jobs.get()
            batch = [first]
            while first is not None and len(batch) < _MOST_AT_ONCE and not self._jobs.empty():
                batch.append(self._jobs.get())
                if batch[-1] is None:
                    break
            self._write([item for item in batch if item is not None])
            if batch[-1] is None:
                return

    def _write(self, batch: Sequence[tuple[Job, Future[Any]]]) -> None:
        """Run a batch in one transaction; an answer is given after all of it is durable."""
        answers: list[tuple[Future[Any], Any]] = []
        try:
            with self._catalog.transaction() as connection:
                for job, answer in batch:
                    answers.append((answer, _outcome(job, connection)))
        except BesanaError as error:
            answers = [(answer, error) for _, answer in batch]
        for answer, outcome in answers:
            if isinstance(outcome, Exception):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)


def _outcome(job: Job, connection: sa.Connection) -> Any:
    """Run one job; a refusal comes before anything is written, so the others are not touched."""
    try:
        return job(connection)
    except RefusedError as refused:
        return refused


def act_id(annotator: str, key: str, part: str = "") -> str:
    """Return the id of what somebody did under a key; of a label, `part` is its class."""
    return hashlib.sha256(json.dumps([annotator, key, part]).encode()).hexdigest()[:32]


def last_word(connection: sa.Connection, annotator: str, sample: tuple[str, str]) -> Any:
    """Read somebody's latest label event on a sample; None when there is none."""
    labels = tables.labels.c
    select = (
        sa.select(tables.labels)
        .where(labels.frame_id == sample[0], labels.region == sample[1])
        .where(labels.annotator == annotator)
        .order_by(labels.labelled_at.desc(), labels.added_at.desc(), labels.id.desc())
        .limit(1)
    )
    return connection.execute(select).first()


def _say(connection: sa.Connection, annotator: str, saying: Saying) -> dict[str, Any]:
    ids = {act_id(annotator, saying.key, name): name for name in saying.words}
    before = _said_before(connection, list(ids))
    if before:
        return before
    sample = (saying.frame_id, saying.region)
    last = last_word(connection, annotator, sample)
    known = (saying.base, act_id(annotator, saying.base, last.class_name)) if last else ("",)
    if (last.id if last else saying.base) not in known:
        current = {"class": last.class_name, "id": last.id} if last else None
        return {"stale": True, "current": current}
    now = dt.datetime.now(dt.UTC)
    # A clock that was set back must not make the new word the older one.
    said_at = max(now, last.labelled_at + dt.timedelta(microseconds=1)) if last else now
    rows = [
        {
            "id": event,
            "frame_id": saying.frame_id,
            "region": saying.region,
            "class_name": name,
            "holds": saying.words[name],
            "annotator": annotator,
            "source": saying.source,
            "labelled_at": said_at,
            "note": saying.note,
            "added_at": now,
        }
        for event, name in ids.items()
    ]
    added = insert(connection, tables.labels, rows)
    return {"saved": max(ids), "added": added}


def _said_before(connection: sa.Connection, ids: list[str]) -> dict[str, Any] | None:
    """Answer an act that came before, as it was answered then."""
    for table in (tables.labels, undone_labels):
        found = connection.execute(sa.select(table.c.id).where(table.c.id.in_(ids))).first()
        if found:
            return {"saved": max(ids), "undone": table is undone_labels}
    return None


def _skip(
    connection: sa.Connection,
    annotator: str,
    key: str,
    sample: tuple[str, str],
    reason: str,
    note: str,
) -> str:
    row = {
        "id": act_id(annotator, key),
        "frame_id": sample[0],
        "region": sample[1],
        "annotator": annotator,
        "reason": reason,
        "note": note,
        "skipped_at": dt.datetime.now(dt.UTC),
        "undone_at": None,
    }
    insert(connection, skips, [row])
    return str(row["id"])


def _undo(connection: sa.Connection, annotator: str, key: str) -> Undone:
    """Move the labels of an act out of the labels, and mark its skip; twice does nothing."""
    now = dt.datetime.now(dt.UTC)
    skip = skips.c.id == act_id(annotator, key)
    rows = list(connection.execute(sa.select(skips).where(skip)))
    if rows:
        connection.execute(sa.update(skips).where(skip).values(undone_at=now))
        return _undone(connection, annotator, rows[0], 0)
    rows = _of_act(connection, tables.labels, annotator, key)
    removed = len(rows)
    if rows:
        moved = [{**row._mapping, "undone_at": now} for row in rows]
        insert(connection, undone_labels, moved)
        ids = [row.id for row in rows]
        connection.execute(sa.delete(tables.labels).where(tables.labels.c.id.in_(ids)))
    rows = rows or _of_act(connection, undone_labels, annotator, key)
    if not rows:
        raise RefusedError(404, "not_found", "There is nothing to take back.")
    return _undone(connection, annotator, rows[0], removed)


def _undone(connection: sa.Connection, annotator: str, row: Any, removed: int) -> Undone:
    sample = (row.frame_id, row.region)
    last = last_word(connection, annotator, sample)
    standing = sa.select(skips.c.id).where(
        skips.c.frame_id == row.frame_id,
        skips.c.region == row.region,
        skips.c.annotator == annotator,
        skips.c.undone_at.is_(None),
    )
    skipped = connection.execute(standing).first() is not None
    return Undone(sample, last.id if last else "", skipped, removed)


def _of_act(connection: sa.Connection, table: sa.Table, annotator: str, key: str) -> list[Any]:
    """Find the label events of an act by their ids, of whatever class they are."""
    classes = sa.select(tables.counts.c.part).where(tables.counts.c.table_name == "labels")
    names = [row.part for row in connection.execute(classes)]
    ids = [act_id(annotator, key, name) for name in names]
    return list(connection.execute(sa.select(table).where(table.c.id.in_(ids))))
