"""Everything that is known of one picture: where it comes from, what was found, said and made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa

from besana import catalog as tables
from besana.catalog import Catalog
from besana.catalog.watch import dataset_samples, has_tables, model_versions
from besana.errors import NotFoundError
from besana.labels.labelled import Said, said_about
from besana.learning.embeddings import sample_keys
from besana.web.desk import Desk
from besana.web.surveys import Look
from besana.web.vectors import newest_embeddings

Sample = tuple[str, str]

_FIGURES = ("brightness", "contrast", "sharpness", "entropy_bits", "dark_share", "bright_share")
_MOST_REGIONS = 500


def picture_facts(desk: Desk, look: Look, sample: Sample) -> dict[str, Any]:
    """Gather what is known of one sample, or of a frame when the region is empty.

    Args:
        desk: Whose workspace.
        look: Tells the split in the newest version of each dataset.
        sample: Frame and region.

    Raises:
        NotFoundError: If there is no such frame.
    """
    catalog, (frame_id, region) = desk.workspace.catalog, sample
    frames = _rows(catalog, tables.frames, tables.frames.c.id == frame_id)
    if not frames:
        raise NotFoundError("There is no such frame.")
    quality = _rows(catalog, tables.quality, tables.quality.c.frame_id == frame_id)
    regions = sa.select(tables.samples.c.region).where(tables.samples.c.frame_id == frame_id)
    ordered = regions.order_by(tables.samples.c.region).limit(_MOST_REGIONS)
    found: dict[str, Any] = {
        "frame": frame_id,
        "region": region,
        "regions": [row.region for row in catalog.rows(ordered)],
        "origin": _origin(frames[0]),
        "figures": {name: getattr(row, name) for row in quality for name in _FIGURES},
        "light": quality[0].light if quality else "",
        "issues": issues_of(catalog, [frame_id]).get(frame_id, []),
    }
    if region:
        found |= _sample_facts(desk, look, sample)
    return found


def _origin(row: Any) -> dict[str, Any]:
    at = row.captured_at
    return {
        "camera": row.camera,
        "captured_at": at.isoformat(timespec="seconds") if at else "",
        "time_source": row.time_source,
        "name": row.name,
        "source": row.source,
        "sha256": row.sha256,
        "size_bytes": row.size_bytes,
        "width_px": row.width_px,
        "height_px": row.height_px,
        "bands": [band["band"] for band in row.bands],
        "collected_at": row.collected_at.isoformat(timespec="seconds"),
    }


def _sample_facts(desk: Desk, look: Look, sample: Sample) -> dict[str, Any]:
    catalog = desk.workspace.catalog
    s, p = tables.samples.c, tables.predictions.c
    rows = _rows(catalog, tables.samples, (s.frame_id == sample[0]) & (s.region == sample[1]))
    if not rows:
        raise NotFoundError("There is no such sample.")
    said = said_about(catalog, [sample[0]], multi=desk.is_multi()).get(sample, Said((), False))
    predictions = _rows(
        catalog, tables.predictions, (p.frame_id == sample[0]) & (p.region == sample[1])
    )
    row = rows[0]
    return {
        "mark": f"{row.crc32c:08x}",
        "prepared": {
            "recipe": row.recipe,
            "shard": row.shard,
            "width_px": row.width_px,
            "height_px": row.height_px,
            "prepared_at": row.prepared_at.isoformat(timespec="seconds"),
        },
        "classes": list(said.classes),
        "tied": said.tied,
        "predictions": [
            {
                "model": f"{each.model}/{each.version}",
                "class": each.class_name,
                "probability": each.probability,
            }
            for each in predictions
        ],
        "datasets": _datasets(desk, look, sample),
    }


def _datasets(desk: Desk, look: Look, sample: Sample) -> list[dict[str, Any]]:
    """List datasets that hold a sample, and the models that were trained on these.

    The newest version of each dataset, and all versions that a registered model was trained on.
    """
    catalog, d = desk.workspace.catalog, tables.datasets.c
    newest = sa.select(d.name, sa.func.max(d.version).label("version")).group_by(d.name)
    found: dict[str, dict[str, Any]] = {}
    number = int(look.survey.sample_numbers([sample[0]], [sample[1]])[0])
    for row in catalog.rows(newest):
        split = look.split(f"{row.name}/{row.version}")
        if number >= 0 and split is not None and split.code[number] >= 0:
            place = f"{row.name}/{row.version}"
            found[place] = {"split": split.names[split.code[number]], "models": []}
    if has_tables(catalog):
        ds, mv = dataset_samples.c, model_versions.c
        held = sa.select(ds.dataset, ds.dataset_version, ds.split, mv.model, mv.version).where(
            ds.frame_id == sample[0],
            ds.region == sample[1],
            mv.dataset == ds.dataset,
            mv.dataset_version == ds.dataset_version,
        )
        for row in catalog.rows(held):
            place = f"{row.dataset}/{row.dataset_version}"
            entry = found.setdefault(place, {"split": row.split, "models": []})
            entry["models"].append(f"{row.model}/{row.version}")
    return [{"dataset": place, **facts} for place, facts in sorted(found.items())]


def issues_of(catalog: Catalog, frame_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Read the issues of some frames: kind, score, detail, and whether it keeps the frame out."""
    i = tables.issues.c
    found: dict[str, list[dict[str, Any]]] = {}
    for row in _rows(catalog, tables.issues, i.frame_id.in_(list(frame_ids)), i.kind):
        issue = {"kind": row.kind, "score": row.score, "detail": row.detail, "blocks": row.blocks}
        found.setdefault(row.frame_id, []).append(issue)
    return found


def similar_samples(desk: Desk, sample: Sample, count: int) -> list[tuple[str, str, float]] | None:
    """Find the samples that look most like one, by its embedding.

    Returns:
        Frame, region and cosine, the most alike first and the sample itself left out; None when
        it was not embedded.
    """
    embeddings = newest_embeddings(desk.workspace)
    if embeddings is None:
        return None
    own = _keys(desk.workspace.catalog, [sample])
    if sample not in own:
        return None
    vector = embeddings.vectors(np.array([own[sample]], np.uint64))[0].astype(np.float32)
    if not np.isfinite(vector).all():
        return None
    near = embeddings.nearest(vector, 2 * count + 1)
    # Vectors of samples that were prepared anew, or are gone, are left out.
    now = _keys(desk.workspace.catalog, [(frame, region) for frame, region, _, _ in near])
    found = {
        (frame, region): cosine
        for frame, region, key, cosine in near
        if (frame, region) != sample and now.get((frame, region)) == key
    }
    return [(*name, cosine) for name, cosine in list(found.items())[:count]]


def _keys(catalog: Catalog, samples: Iterable[Sample]) -> dict[Sample, int]:
    wanted = set(samples)
    s = tables.samples.c
    frames = sorted({frame for frame, _ in wanted})
    rows = catalog.rows(sa.select(s.frame_id, s.region, s.crc32c).where(s.frame_id.in_(frames)))
    rows = [row for row in rows if (row.frame_id, row.region) in wanted]
    identities = [{"frame_id": row.frame_id, "region": row.region} for row in rows]
    keys = sample_keys(identities, np.array([row.crc32c for row in rows], np.uint32)).tolist()
    return {(row.frame_id, row.region): key for row, key in zip(rows, keys, strict=True)}


def _rows(
    catalog: Catalog, table: sa.Table, where: Any, *order: sa.ColumnElement[Any]
) -> list[sa.Row[Any]]:
    return catalog.rows(sa.select(table).where(where).order_by(*order))
