"""How far a team agrees, with intervals that respect that pictures of one hour are alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from besana.statistics.intervals import bootstrap

Floats = NDArray[np.float64]
Words = Mapping[str, str]
"""Annotator -> class, of one sample."""

_REPLICATES = 1000


def agreement_intervals(units: Sequence[tuple[str, Words]]) -> list[dict[str, Any]]:
    """Give Krippendorff's alpha, Fleiss' kappa and the plain share of agreement, with intervals.

    All follow from sums over samples, so whole blocks are drawn again and again.

    Args:
        units: Block and words of each sample that several people labelled.
    """
    if not units:
        return []
    classes = sorted({word for _, words in units for word in words.values()})
    place = {name: index for index, name in enumerate(classes)}
    blocks = {name: index for index, name in enumerate(sorted({block for block, _ in units}))}
    sums = np.zeros((len(blocks), 3 + len(classes)))
    for block, words in units:
        raters = len(words)
        counts = Counter(words.values())
        same = sum(count * (count - 1) for count in counts.values())
        row = sums[blocks[block]]
        row[0] += 1
        row[1] += same / (raters * (raters - 1))
        row[2] += (raters * (raters - 1) - same) / (raters - 1)
        for name, count in counts.items():
            row[3 + place[name]] += count
    found = []
    for name, statistic in (("alpha", _alpha), ("fleiss", _fleiss), ("observed", _observed)):
        found.append({"name": name, **_interval(sums, statistic)})
    return found


def kappa_interval(
    units: Sequence[tuple[str, Words]], first: str, second: str
) -> dict[str, float | None]:
    """Give Cohen's kappa of two people (Cohen 1960) with an interval, drawing whole blocks.

    Args:
        units: As for `agreement_intervals`; samples that one of the two left out do not count.
        first: One of them.
        second: The other.
    """
    shared = [
        (block, words[first], words[second])
        for block, words in units
        if first in words and second in words
    ]
    classes = sorted({word for _, *both in shared for word in both})
    place = {name: index for index, name in enumerate(classes)}
    blocks = {name: index for index, name in enumerate(sorted({block for block, _, _ in shared}))}
    sums = np.zeros((len(blocks), len(classes) ** 2))
    for block, one, other in shared:
        sums[blocks[block], place[one] * len(classes) + place[other]] += 1
    return _interval(sums, _cohen) if shared else {"value": None, "low": None, "high": None}


def _interval(sums: Floats, statistic: Callable[[Floats], Floats]) -> dict[str, float | None]:
    if len(sums) < 2:
        value = float(statistic(sums.sum(axis=0))[0])
        return {"value": _finite(value), "low": None, "high": None}
    found = bootstrap(sums, statistic, replicates=_REPLICATES, method="percentile")
    value, low, high = found[0]
    return {"value": _finite(value), "low": _finite(low), "high": _finite(high)}


def _alpha(sums: Floats) -> Floats:
    counts = sums[..., 3:]
    total = counts.sum(axis=-1)
    expected = total**2 - (counts**2).sum(axis=-1)
    with np.errstate(all="ignore"):
        return np.asarray(1 - (total - 1) * sums[..., 2] / expected)[..., None]


def _fleiss(sums: Floats) -> Floats:
    counts = sums[..., 3:]
    with np.errstate(all="ignore"):
        shares = counts / counts.sum(axis=-1, keepdims=True)
        chance = (shares**2).sum(axis=-1)
        observed = sums[..., 1] / sums[..., 0]
        return np.asarray((observed - chance) / (1 - chance))[..., None]


def _cohen(sums: Floats) -> Floats:
    classes = round(sums.shape[-1] ** 0.5)
    joint = sums.reshape(*sums.shape[:-1], classes, classes)
    with np.errstate(all="ignore"):
        joint = joint / joint.sum(axis=(-2, -1), keepdims=True)
        observed = np.trace(joint, axis1=-2, axis2=-1)
        chance = (joint.sum(axis=-1) * joint.sum(axis=-2)).sum(axis=-1)
        return np.asarray((observed - chance) / (1 - chance))[..., None]


def _observed(sums: Floats) -> Floats:
    with np.errstate(all="ignore"):
        return np.asarray(sums[..., 1] / sums[..., 0])[..., None]


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def confusion(samples: Iterable[Words]) -> dict[str, dict[str, dict[str, int]]]:
    """Count what each person says where most of the others say something else or the same.

    Returns:
        Person -> what the others say -> what the person says -> samples; samples on which the
        others are divided are left out.

    >>> confusion([{"ana": "cow", "eva": "empty"}])
    {'ana': {'empty': {'cow': 1}}, 'eva': {'cow': {'empty': 1}}}
    """
    found: dict[str, dict[str, dict[str, int]]] = {}
    for words in samples:
        for person, word in sorted(words.items()):
            others = Counter(w for who, w in words.items() if who != person).most_common(2)
            if not others or (len(others) > 1 and others[0][1] == others[1][1]):
                continue
            row = found.setdefault(person, {}).setdefault(others[0][0], {})
            row[word] = row.get(word, 0) + 1
    return found
