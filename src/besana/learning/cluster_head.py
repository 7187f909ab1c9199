"""The probe's classifier fitted by Spark's MLlib, where no machine could hold all vectors."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from besana.learning.embeddings import Embeddings
from besana.learning.logistic import Floats, Linear, Standard, standard_of
from besana.learning.probe import MOST_VALIDATED, some_groups
from besana.learning.vector_blocks import Keys, read_vectors
from besana.storage import Storage

if TYPE_CHECKING:
    from pyspark import RDD

_ITERATIONS = 200
_TOLERANCE = 1e-9
# Scores of a class without samples below the lowest of the others.
_NEVER = 20.0


class StoredFeatures:
    """Vectors that stay in the store; only those for the cross-validation come to the driver.

    Args:
        embeddings: Where they are.
        keys: (n,) the samples.
        group: (n,) samples of one group are validated together.
        seed: Of the validation's choice.
    """

    def __init__(
        self, embeddings: Embeddings, keys: Keys, group: NDArray[np.integer], seed: int
    ) -> None:
        self.found = np.isin(keys, embeddings.known())
        self._embeddings, self._keys = embeddings, keys
        self._chosen = some_groups(self.found, group, MOST_VALIDATED, seed)
        self._vectors = embeddings.vectors(keys[self._chosen])

    def rows(self, chosen: NDArray[np.integer]) -> Floats:
        """Give some of the vectors that were chosen for validation."""
        place = np.searchsorted(self._chosen, chosen)
        return self._vectors[place].astype(np.float32)

    def fit(self, targets: Floats, *, kind: str, penalty: float, weights: Floats) -> Linear:
        """Fit a classifier to all vectors, on the cluster."""
        return fit_on_cluster(
            self._embeddings, self._keys, targets, kind=kind, penalty=penalty, weights=weights
        )


class Part(NamedTuple):
    """Training samples of one block of vectors.

    Attributes:
        block: Its name.
        rows: (n,) which of its rows.
        targets: (n, classes) 0 or 1.
    """

    block: str
    rows: NDArray[np.intp]
    targets: Floats


def fit_on_cluster(
    embeddings: Embeddings,
    keys: Keys,
    targets: Floats,
    *,
    kind: str,
    penalty: float,
    weights: Floats,
) -> Linear:
    """Fit a classifier to vectors that executors read from the store.

    It minimises what `logistic.fit` minimises, to MLlib's tolerance. The driver knows where each
    sample's vector lies and what it shows, some dozen bytes a sample; it never sees a vector.

    Args:
        embeddings: Where the vectors are; samples without one are left out.
        keys: (n,) the training samples.
        targets: (n, classes) 0 or 1.
        kind: `single` or `multi`.
        penalty: Strength of the regularisation, above 0.
        weights: (classes,) weight of each class.
    """
    from pyspark.sql import SparkSession

    context = SparkSession.builder.getOrCreate().sparkContext
    parts = [Part(name, rows, targets[which]) for name, rows, which in embeddings.placed(keys)]
    spread = context.parallelize(parts, len(parts))
    read = partial(_read, storage=embeddings.storage, features=embeddings.features)
    standard = standard_of(spread.map(partial(_sums, read=read)).collect())
    found = np.concatenate([part.targets for part in parts])
    rows = partial(_rows, read=read, standard=standard)
    if kind == "single":
        one = _Problem(found.argmax(axis=1), weights, penalty)
        weight, bias = _fit(spread, partial(rows, weights=weights), one, len(weights))
    else:
        solved = [
            _fit(
                spread,
                partial(rows, weights=weights, column=column),
                _Problem(found[:, column], np.array([1, weights[column]]), penalty),
                0,
            )
            for column in range(len(weights))
        ]
        weight, bias = (np.concatenate(values) for values in zip(*solved, strict=True))
    weight = weight / standard.deviation
    bias = bias - weight @ standard.mean
    return Linear(weight.astype(np.float32), bias.astype(np.float32), kind)


class _Problem:
    """What MLlib has to be told about labels and their weights.

    MLlib divides the summed loss by the sum of weights, `logistic.fit` by the number of samples.
    """

    def __init__(self, labels: NDArray[Any], weights: Floats, penalty: float) -> None:
        labels = labels.astype(np.int64)
        self.present = np.unique(labels)
        self.penalty = penalty * len(labels) / float(weights[labels].sum())


def _fit(
    spread: RDD[Part], rows: Any, problem: _Problem, classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Solve one regression for standardised features; 0 classes: of a yes or no."""
    from pyspark.ml.classification import LogisticRegression
    from pyspark.ml.linalg import VectorUDT
    from pyspark.sql import SparkSession
    from pyspark.sql.types import DoubleType, StructField, StructType

    fields = [StructField("features", VectorUDT()), StructField("label", DoubleType())]
    schema = StructType([*fields, StructField("weight", DoubleType())])
    frame = SparkSession.builder.getOrCreate().createDataFrame(spread.flatMap(rows), schema)
    frame.persist()
    try:
        model = LogisticRegression(
            weightCol="weight",
            maxIter=_ITERATIONS,
            tol=_TOLERANCE,
            regParam=problem.penalty,
            standardization=False,
            family="multinomial" if classes else "binomial",
        ).fit(frame)
    finally:
        frame.unpersist()
    weight = model.coefficientMatrix.toArray()
    # Infinite where all samples are of one class.
    bias = model.interceptVector.toArray().clip(-_NEVER, _NEVER)
    if classes:
        return _with_all_classes(weight, bias, problem.present, classes)
    return weight, bias


def _with_all_classes(
    weight: NDArray[np.float64], bias: NDArray[np.float64], present: NDArray[Any], classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give classes that no sample has a score below all others."""
    full = np.zeros((classes, weight.shape[1]))
    biases = np.full(classes, bias[present].min() - _NEVER)
    full[present], biases[present] = weight[present], bias[present]
    return full, biases


def _read(part: Part, *, storage: Storage, features: int) -> Floats:
    vectors = read_vectors(storage, part.block, features)[part.rows]
    return vectors.astype(np.float32)


def _sums(part: Part, *, read: Any) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
    """Add up the vectors of a part and their squares."""
    wide = read(part).astype(np.float64)
    return len(wide), wide.sum(axis=0), (wide**2).sum(axis=0)


def _rows(
    part: Part, *, read: Any, standard: Standard, weights: Floats, column: int | None = None
) -> Iterator[tuple[Any, float, float]]:
    """Give standardised vectors with label and weight, as MLlib takes them."""
    from pyspark.ml.linalg import Vectors

    values = ((read(part) - standard.mean) / standard.deviation).astype(np.float64)
    if column is None:
        labels = part.targets.argmax(axis=1)
        heavy = weights[labels]
    else:
        labels = part.targets[:, column]
        heavy = np.where(labels > 0, weights[column], 1.0)
    for vector, label, weight in zip(values, labels.tolist(), heavy.tolist(), strict=True):
        yield Vectors.dense(vector), float(label), float(weight)
