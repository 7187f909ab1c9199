"""Run with Spark: embed, export and predict on the engine, and a head from MLlib.

`python learns_on_spark.py LOCAL CLUSTER MODEL`: two farms with the same samples and the same
registered model. Prints JSON: for each verb, whether both farms hold the same; and how far the
probabilities of MLlib's classifier are from those of `logistic.fit`, at most.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from besana import catalog as tables
from besana.commands import embed, export
from besana.engines import open_engine
from besana.learning.cluster_head import fit_on_cluster
from besana.learning.embeddings import Embeddings
from besana.learning.logistic import fit, in_memory, standardise
from besana.stages import predict
from besana.workspace import Workspace

SAMPLES, FEATURES = 900, 24


def vectors(farm: Workspace, place: str) -> list[str]:
    storage = farm.embeddings.below(place.rpartition("/")[2])
    blocks = Embeddings(storage, 256).blocks()
    return sorted(f"{k} {v.tobytes().hex()}" for b in blocks for k, v in zip(*b, strict=True))


def files(folder: Path) -> dict[str, str]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


def predictions(farm: Workspace) -> list[dict]:
    rows = farm.catalog.rows(sa.select(tables.predictions).order_by(sa.text("frame_id, region")))
    return [{**row._mapping, "predicted_at": None} for row in rows]


def walk(farm: Workspace, model: str, engine: object) -> dict[str, object]:
    """Run each verb; gives what it left."""
    config = embed.Config(backbone="timm/test_byobnet", weights="random", size_px=32, threads=1)
    (place,) = embed.run(farm, config, engine)
    found: dict[str, object] = {"embed": vectors(farm, place)}
    for what in ("tfrecord", "folders"):
        out = farm.path.parent / f"{farm.path.name}-{what}"
        export.run(farm, export.Config(what=what, out=str(out)), engine)
        found[what] = files(out)
    predict.run(farm, predict.Config(model=model, threads=1), engine)
    return {**found, "predict": predictions(farm)}


def farthest(folder: Path, kind: str) -> float:
    """Fit the same problem here and with MLlib; one class is rare, one feature hardly varies."""
    random = np.random.default_rng(3)
    features = random.normal(size=(SAMPLES, FEATURES)).astype(np.float16)
    features[:, 0] *= 50
    features[:, 1] *= 0.01
    hidden = features.astype(np.float32)[:, :4] / features[:, :4].std(axis=0).astype(np.float32)
    scores = np.column_stack([hidden[:, :3].sum(axis=1), hidden[:, 3], hidden[:, 1] - 1.5])
    scores += random.normal(size=scores.shape)
    targets = (scores > 0.3) if kind == "multi" else scores.argmax(axis=1)[:, None] == range(3)
    targets = targets.astype(np.float32)
    weights = np.array([0.7, 1.1, 2.5], np.float32)
    keys = random.permutation(SAMPLES).astype(np.uint64) + 7
    from besana.storage import Folder

    stored = Embeddings(Folder(folder / kind), FEATURES)
    for start in range(0, SAMPLES, 250):
        part = slice(start, min(start + 250, SAMPLES))
        named = [{"frame_id": str(n), "region": "all"} for n in range(part.start, part.stop)]
        stored.add(named, keys[part], features[part])
    given = {"kind": kind, "penalty": 0.03, "weights": weights}
    blocks = in_memory(features.astype(np.float32), targets)
    here, _ = fit(blocks, standardise(blocks), **given)
    there = fit_on_cluster(stored, keys, targets, **given)
    rows = features.astype(np.float32)
    return float(np.abs(here.predict(rows) - there.predict(rows)).max())


def main() -> None:
    """Compare the two farms, then the two classifiers."""
    local, cluster = (Workspace(path) for path in sys.argv[1:3])
    engine = open_engine("spark")
    expected = walk(local, sys.argv[3], None)
    found = walk(cluster, sys.argv[3], engine)
    said = {name: bool(expected[name]) and expected[name] == found[name] for name in expected}
    for kind in ("single", "multi"):
        said[kind] = farthest(local.path.parent, kind)
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main()
