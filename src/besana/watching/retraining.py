"""Retrainings as rows: when one is due, how far it is, what it found."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from besana import catalog as tables
from besana.catalog import Catalog
from besana.catalog.watch import has_tables, retrainings
from besana.watching.look import BROKEN
from besana.watching.state import latest_rows

if TYPE_CHECKING:
    from besana.models.model import Model
    from besana.shards.datasets import Dataset
    from besana.workspace import Workspace

#: The steps in their order; a retraining waits in `labels` and in `approval`.
STEPS = ("labels", "split", "train", "evaluate", "register", "gate", "approval")
ENDS = ("promoted", "kept")


@dataclass(frozen=True)
class Retraining:
    """One retraining.

    Attributes:
        number: 1 for the first.
        model: Name of the model.
        reason: What made it due.
        state: The step that is next, one of `STEPS`, or how it ended, one of `ENDS`.
        facts: Dataset, run, version and decision, as they become known.
    """

    number: int
    model: str
    reason: str
    state: str
    facts: dict[str, Any]

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do."""
        return self.state in ENDS


def last_retraining(catalog: Catalog, model: str) -> Retraining | None:
    """Find the last retraining of a model; None before the first."""
    r = retrainings.c
    columns = (r.number, r.model, r.reason, r.state, r.facts)
    rows = catalog.rows(
        sa.select(*columns).where(r.model == model).order_by(r.number.desc()).limit(1)
    )
    return Retraining(**rows[0]._asdict()) if rows else None


def start(catalog: Catalog, model: str, reason: str, facts: dict[str, Any]) -> Retraining:
    """Begin a retraining; it is durable on return."""
    now = dt.datetime.now(dt.UTC)
    number = 1 + int(catalog.scalar(sa.select(sa.func.max(retrainings.c.number))) or 0)
    begun = Retraining(number, model, reason, STEPS[0], facts)
    catalog.insert(retrainings, [{**vars(begun), "started_at": now, "changed_at": now}])
    return begun


def advance(catalog: Catalog, one: Retraining, state: str, **facts: Any) -> Retraining:
    """Write down that a retraining got to another state, and what it found on the way."""
    moved = replace(one, state=state, facts={**one.facts, **facts})
    update = (
        sa.update(retrainings)
        .where(retrainings.c.number == one.number)
        .values(state=state, facts=moved.facts, changed_at=dt.datetime.now(dt.UTC))
    )
    with catalog.transaction() as connection:
        connection.execute(update)
    return moved


def why_due(
    workspace: Workspace,
    model: str,
    version: int,
    dataset: Dataset,
    *,
    new_labels: int,
    every_days: float,
) -> str:
    """Say why a model has to be retrained; empty when it has not.

    Args:
        workspace: Where it is.
        model: Its name.
        version: Number of the champion.
        dataset: What the champion was trained on.
        new_labels: Label events since then that make it due; 0: none do.
        every_days: Days since then that make it due; 0: none do.
    """
    changed = [
        row
        for row in latest_rows(workspace.catalog, model, version)
        if row.state == "drift" and row.signal not in BROKEN
    ]
    if changed:
        cameras = sorted({row.camera for row in changed})
        return f"drift: {', '.join(cameras)}"
    made_at = dt.datetime.fromisoformat(dataset.created_at)
    labels = tables.labels.c
    if new_labels:
        fresh = workspace.catalog.count(sa.select(labels.id).where(labels.added_at > made_at))
        if fresh >= new_labels:
            return f"labels: {fresh} new"
    days = (dt.datetime.now(dt.UTC) - made_at).total_seconds() / 86_400
    if every_days and days >= every_days:
        return f"schedule: {days:.0f} days old"
    return ""


def looks_at_test_set(catalog: Catalog, model: str) -> int:
    """Count the decisions on a model since the last one that promoted, as each costs certainty."""
    r = retrainings.c
    promoted = (
        sa.select(sa.func.max(r.number))
        .where(r.model == model, r.state == "promoted")
        .scalar_subquery()
    )
    since = sa.func.coalesce(promoted, 0)
    rows = catalog.rows(sa.select(r.facts).where(r.model == model, r.number > since))
    return sum("decision" in row.facts for row in rows)


def compare_on_test(
    workspace: Workspace,
    before: Dataset,
    after: Dataset,
    models: Sequence[Model],
    terms: Any,
) -> Any:
    """Let champion and challenger judge the test set of a renewed dataset.

    Args:
        workspace: Where the samples are.
        before: What the champion was trained on.
        after: What the challenger was trained on.
        models: Champion and challenger.
        terms: `promotion.Terms`.

    Returns:
        A `promotion.Decision`.
    """
    from besana.learning.gate import judged
    from besana.learning.judging import targets_of
    from besana.learning.promotion import RECENT, decide
    from besana.watching.renewal import recent_samples

    manifest = after.manifest()
    positions = manifest.select("test")
    said = [judged(model, after, manifest, positions, workspace.shards) for model in models]
    parts = {}
    for column in ("camera", "light"):
        coded: Any = manifest.column(column)
        for code, name in enumerate(coded.names):
            if name:
                parts[f"{column}: {name}"] = np.asarray(coded.codes[positions] == code)
    parts[RECENT] = recent_samples(workspace, before, after)[positions]
    return decide(
        targets_of(manifest, positions, len(after.classes)) > 0,
        said[0],
        said[1],
        np.asarray(manifest.column("group"))[positions],
        parts,
        kind=after.kind,
        terms=terms,
    )


def retraining_status(catalog: Catalog) -> str:
    """Say in a line how far the last retraining is; empty before the first."""
    if not has_tables(catalog):
        return ""
    r = retrainings.c
    rows = catalog.rows(
        sa.select(r.number, r.model, r.reason, r.state).order_by(r.number.desc()).limit(1)
    )
    if not rows:
        return ""
    one = rows[0]
    return f"retraining {one.number} of {one.model} ({one.reason}): {one.state}"


def last_steps(catalog: Catalog) -> tuple[str, list[tuple[str, bool]]] | None:
    """Give the last retraining's title and its steps, each with whether it is done.

    Returns:
        None before the first; the last entry is how it ended, once it has.
    """
    if not has_tables(catalog):
        return None
    r = retrainings.c
    rows = catalog.rows(
        sa.select(r.number, r.model, r.reason, r.state).order_by(r.number.desc()).limit(1)
    )
    if not rows:
        return None
    one = rows[0]
    reached = STEPS.index(one.state) if one.state in STEPS else len(STEPS)
    steps = [(step, place < reached) for place, step in enumerate(STEPS)]
    if one.state not in STEPS:
        steps.append((one.state, True))
    return f"{one.number} · {one.model} · {one.reason}", steps
