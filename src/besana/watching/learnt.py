"""What a model version's words mean, learnt once from the held-out part of its dataset."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from besana import catalog as tables
from besana.errors import NotFoundError, NotReadyError
from besana.learning.judging import targets_of
from besana.statistics.label_free import Line, likeness
from besana.watching.ruler import Amount, Ruler
from besana.watching.spoilt import read_pictures, spoil, spoilings
from besana.watching.vectors import Looks, fit_projection
from besana.watching.words import CONFIDENCES, Words, place_of, taught_line

if TYPE_CHECKING:
    from besana.models.model import Model
    from besana.shards.datasets import Dataset
    from besana.shards.manifest import Manifest, Positions
    from besana.statistics.drift import Projection
    from besana.storage import Storage
    from besana.workspace import Workspace

Floats = NDArray[np.float64]

_MOST_HELD, _FEWEST_HELD = 20_000, 30
_FITTED = 4000
_SPOILT = 160
_LINE = "watch.json"
_FRAMES_A_QUERY = 400


@dataclass(frozen=True)
class Learnt:
    """A model version with what its training samples say.

    Attributes:
        model: Name of the model.
        version: Its version.
        words: What its words mean.
        line: How accuracy follows from them.
        alike: How alike samples of one hour of a region are in being right.
        manifest: Its dataset.
        held: Positions of samples that it has not learnt and has classified.
        said: (held, classes + 2) its words about them.
        right: (held,) how right it was.
        truth: (samples, classes) labels of the whole dataset, in the model's order of classes.
        looks: Computes vectors; None when nobody wants them.
        projection: Places vectors along directions; None likewise.
    """

    model: str
    version: int
    words: Words
    line: Line
    alike: float
    manifest: Manifest
    held: Positions
    said: Floats
    right: Floats
    truth: NDArray[np.bool_]
    looks: Looks | None
    projection: Projection | None

    def ruler(self, camera: str, region_share: float) -> Ruler:
        """Give what turns words into an accuracy for one camera.

        Args:
            camera: Whose samples.
            region_share: Width of its regions, as a share of the frame's.
        """
        of_camera = is_of(self.manifest, "camera", camera)[self.held]
        mine = of_camera if of_camera.sum() >= _FEWEST_HELD else np.ones(len(self.held), np.bool_)
        usual = np.append(self.said[mine][:, -len(CONFIDENCES) :].mean(axis=0), 1.0)
        cells = np.unique(hours_of_regions(self.manifest, self.held[mine]))
        rests = Amount(int(mine.sum()), len(cells))
        accuracy = float(self.right[mine].mean())
        return Ruler(self.words, self.line, accuracy, usual, rests, region_share, self.alike)


def learn(
    workspace: Workspace,
    model: Model,
    name: str,
    version: int,
    dataset: Dataset,
    *,
    with_looks: bool,
    batch_size: int,
) -> Learnt:
    """Learn what a model version's words mean from the held-out part of its dataset.

    Args:
        workspace: Where everything lies.
        model: The registered model.
        name: Its name.
        version: Its version.
        dataset: What it was trained on.
        with_looks: Whether to embed samples.
        batch_size: Samples at a time.

    Raises:
        NotReadyError: If too few held-out samples have predictions of this version.
    """
    card, manifest = model.card, dataset.manifest()
    order = [dataset.classes.index(one) for one in card.classes]
    truth = targets_of(manifest, np.arange(len(manifest)), len(dataset.classes))[:, order] > 0
    outside = np.flatnonzero(
        ~np.isin(manifest.split, [n for n, split in enumerate(manifest.splits) if split == "train"])
    )
    outside = outside[:: max(1, len(outside) // _MOST_HELD)]
    probability = _predicted(workspace, name, version, card.classes, manifest, outside)
    told = ~np.isnan(probability).any(axis=1)
    if told.sum() < _FEWEST_HELD:
        raise NotReadyError(
            f"{told.sum()} samples outside training have predictions of {name}/{version};"
            f" {_FEWEST_HELD} are needed to tell what its words mean.",
            f"Run: besana predict {workspace.word}, with a dataset that has a test split.",
        )
    held, probability = outside[told], probability[told]
    words = Words.learn(card.classes, card.kind, card.thresholds, probability, truth[held])
    looks = Looks(workspace, model, batch_size) if with_looks else None
    projection = None
    if looks is not None:
        some = np.arange(0, len(manifest), max(1, len(manifest) // _FITTED))
        projection = fit_projection(looks.of_manifest(manifest, some), truth[some])
    right = words.right(probability, truth[held])
    asked = (workspace, model, name, version, words, manifest, held, truth, right, projection)
    line, alike = _taught(*asked)
    return Learnt(
        name,
        version,
        words,
        line,
        alike,
        manifest,
        held,
        words.said(probability),
        right,
        truth,
        looks,
        projection,
    )


def _predicted(
    workspace: Workspace,
    name: str,
    version: int,
    classes: Sequence[str],
    manifest: Manifest,
    positions: Positions,
) -> Floats:
    """Read the predictions of some samples of a manifest; NaN where there are none."""
    identities = manifest.identities(positions)
    place = {(row["frame_id"], row["region"]): n for n, row in enumerate(identities)}
    found = np.full((len(positions), len(classes)), np.nan)
    frames = sorted({row["frame_id"] for row in identities})
    p = tables.predictions.c
    for start in range(0, len(frames), _FRAMES_A_QUERY):
        select = sa.select(p.frame_id, p.region, p.probabilities).where(
            p.model == name,
            p.version == version,
            p.frame_id.in_(frames[start : start + _FRAMES_A_QUERY]),
        )
        for row in workspace.catalog.rows(select):
            if (row.frame_id, row.region) in place:
                values = [row.probabilities.get(one, 0.0) for one in classes]
                found[place[row.frame_id, row.region]] = values
    return found


def _taught(
    workspace: Workspace,
    model: Model,
    name: str,
    version: int,
    words: Words,
    manifest: Manifest,
    held: Positions,
    truth: NDArray[np.bool_],
    right: Floats,
    projection: Projection | None,
) -> tuple[Line, float]:
    """Learn from spoilt pictures how accuracy follows from words, and how alike mistakes are.

    Once a version, then read back.
    """
    place = workspace.models.below(f"{name}/{version}")
    kept = _kept(place, 1 + (projection.components if projection else 0))
    if kept is not None:
        return kept
    chosen = held[np.linspace(0, len(held) - 1, min(len(held), _SPOILT)).astype(np.int64)]
    images, positions = read_pictures(
        *(manifest, np.unique(chosen), workspace.shards, model.card.preprocessing.size_px)
    )
    said, rights, places = [], [], []
    for way in spoilings():
        looks, pictures = np.empty(0), spoil(images, way)
        if projection is None:
            judged = model.predict(pictures)
        else:
            judged, vectors = model.look(pictures)
            looks = projection(vectors.astype(np.float64)).mean(axis=0)
        probability = judged.astype(np.float64)
        said.append(words.said(probability).mean(axis=0))
        rights.append(words.right(probability, truth[positions]))
        places.append(place_of(looks, way.moved_share))
    rates = np.array([one.mean() for one in rights])
    line = taught_line(np.array(said), rates, np.array(places), kind=words.kind)
    spoilt = hours_of_regions(manifest, positions)
    of_held = (right, hours_of_regions(manifest, held))
    alike = likeness([of_held, *((one, spoilt) for one in rights)])
    lists = {name: value.tolist() for name, value in vars(line).items() if np.ndim(value)}
    place.write(_LINE, json.dumps({**vars(line), **lists, "alike": alike}).encode())
    return line, alike


def _kept(place: Storage, components: int) -> tuple[Line, float] | None:
    """Read what was learnt before; None where there is nothing of this form."""
    try:
        kept = json.loads(place.read(_LINE))
        alike = float(kept.pop("alike"))
        weights, places, pulls = (np.array(kept.pop(name), np.float64) for name in _ARRAYS)
        line = Line(weights, places, pulls, **kept)
    except (NotFoundError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return (line, alike) if line.places.shape == (len(spoilings()), components) else None


_ARRAYS = ("weights", "places", "pulls")


def is_of(manifest: Manifest, column: str, name: str) -> NDArray[np.bool_]:
    """Tell which samples have a name in a column of names."""
    coded: Any = manifest.column(column)
    if name not in coded.names:
        return np.zeros(len(manifest), np.bool_)
    return np.asarray(coded.codes == coded.names.index(name))


def hours_of_regions(manifest: Manifest, positions: Positions) -> NDArray[np.int64]:
    """Number the hour of a region that each sample is of, (n,)."""
    at: Any = manifest.column("captured_at")
    region: Any = manifest.column("region")
    camera: Any = manifest.column("camera")
    hours = at[positions].astype("datetime64[h]").astype(np.int64)
    cells = np.stack([hours, region.codes[positions], camera.codes[positions]])
    return np.unique(cells, axis=1, return_inverse=True)[1].ravel().astype(np.int64)
