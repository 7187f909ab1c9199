"""The golden set: pictures and the answers that every form of a model must give to them."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from besana.errors import CorruptDataError
from besana.images.resize import resize_plainly

Pixels = NDArray[np.uint8]
_MOST_BYTES = 200_000_000


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model says about some pictures.

    Attributes:
        probability: (n, classes) float32.
        scores: (n, classes) float32, before they became probabilities.
    """

    probability: NDArray[np.float32]
    scores: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Golden:
    """Pictures with answers.

    Attributes:
        pictures: Each (height, width, channels) uint8, before any resizing.
        reference: What the network in PyTorch says.
        exports: What each export said where it was made, by precision.
    """

    pictures: Sequence[Pixels]
    reference: Answers
    exports: Mapping[str, Answers]


@dataclass(frozen=True)
class Gap:
    """How far two sets of answers are apart.

    Attributes:
        top1_agreement_share: Share of pictures with the same most probable class.
        probability_gap: Largest difference of two probabilities.
        score_gap: Largest difference of two scores, in standard deviations of all scores.
    """

    top1_agreement_share: float
    probability_gap: float
    score_gap: float


def gap(reference: Answers, said: Answers) -> Gap:
    """Measure how far answers are from those of the reference; not finite ones are far.

    >>> one = Answers(np.array([[0.9, 0.1]]), np.array([[2.0, -2.0]]))
    >>> gap(one, one)
    Gap(top1_agreement_share=1.0, probability_gap=0.0, score_gap=0.0)
    """
    finite = np.isfinite(said.probability).all() and np.isfinite(said.scores).all()
    if not finite or said.probability.shape != reference.probability.shape:
        return Gap(0.0, 1.0, float("inf"))
    same = reference.probability.argmax(axis=1) == said.probability.argmax(axis=1)
    spread = max(float(reference.scores.std()), 1e-6)
    return Gap(
        float(same.mean()),
        float(np.abs(reference.probability - said.probability).max()),
        float(np.abs(reference.scores - said.scores).max()) / spread,
    )


def answer(
    pictures: Sequence[Pixels],
    resize: Callable[[Pixels], Pixels],
    run: Callable[[Pixels], Answers],
    *,
    batch_size: int = 16,
) -> Answers:
    """Ask a model about pictures of any sizes.

    Args:
        pictures: Each (height, width, channels).
        resize: (1, height, width, channels) to the model's size.
        run: (n, size, size, channels) to answers.
        batch_size: Pictures at a time.
    """
    resized = np.concatenate([resize(picture[None]) for picture in pictures])
    parts = [run(resized[n : n + batch_size]) for n in range(0, len(resized), batch_size)]
    return Answers(
        np.concatenate([part.probability for part in parts]),
        np.concatenate([part.scores for part in parts]),
    )


def resize_all(images: Pixels, size_px: int) -> Pixels:
    """Resize pictures, (n, height, width, channels), as servers and devices do."""
    target = (size_px, size_px)
    if images.shape[1:3] == target:
        return images
    return np.stack([resize_plainly(picture, target) for picture in images])


def made_pictures(channels: int, size_px: int, count: int = 8) -> list[Pixels]:
    """Draw pictures that no camera takes, so that no mistake stays without effect.

    Real pictures may be grey, smooth or all of one size; these have other values in each band,
    edges, fine grain and sizes that have to be resized.

    Args:
        channels: Bands of a picture.
        size_px: The model's input; the pictures are larger, smaller and not square.
        count: How many, the same ones each time.
    """
    rng = np.random.default_rng(20260101)
    drawn: list[Pixels] = []
    for number in range(count):
        height = max(8, int(size_px * (0.8, 1.3, 1.9, 2.6)[number % 4]))
        width = max(8, int(height * (1.0, 1.4)[number // 4 % 2]))
        rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
        turn = rng.uniform(0, np.pi, channels)
        waves = rng.uniform(4, 20, channels) * 2 * np.pi / height
        phase = rows[..., None] * np.cos(turn) * waves + columns[..., None] * np.sin(turn) * waves
        base = rng.uniform(40, 215, channels)
        picture = base + 60 * np.sin(phase) + rng.normal(0, 25, (height, width, channels))
        drawn.append(np.clip(picture, 0, 255).round().astype(np.uint8))
    return drawn


def write_golden(golden: Golden) -> bytes:
    """Pack a golden set into one file, an uncompressed `.npz`."""
    arrays: dict[str, Any] = {
        f"picture_{number:04d}": picture for number, picture in enumerate(golden.pictures)
    }
    for name, said in (("torch", golden.reference), *golden.exports.items()):
        arrays[f"probability_{name}"] = said.probability
        arrays[f"scores_{name}"] = said.scores
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return file.getvalue()


def read_golden(data: bytes, sha256: str, *, where: str) -> Golden:
    """Unpack a golden set.

    Args:
        data: What `write_golden` made.
        sha256: Its hash, from the certificate.
        where: What messages call it.

    Raises:
        CorruptDataError: If it is not the file that the certificate names.
    """
    if len(data) > _MOST_BYTES or hashlib.sha256(data).hexdigest() != sha256:
        raise CorruptDataError(
            f"The golden set {where} is not the one that its certificate names.",
            "Export the model again: besana export FARM onnx",
        )
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            names = sorted(arrays.files)
            pictures = [arrays[name] for name in names if name.startswith("picture_")]
            said = {
                name.removeprefix("scores_"): Answers(
                    arrays[name.replace("scores_", "probability_")], arrays[name]
                )
                for name in names
                if name.startswith("scores_")
            }
        reference = said.pop("torch")
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise CorruptDataError(f"The golden set {where} does not open: {error}.") from None
    return Golden(pictures, reference, said)
