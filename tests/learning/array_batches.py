"""Training batches from arrays: the loader's interface without shards."""

from typing import NamedTuple

import numpy as np


class Batch(NamedTuple):
    images: np.ndarray
    labels: np.ndarray
    valid: np.ndarray


class ArrayBatches:
    """Shuffled batches of arrays, exact to resume."""

    def __init__(self, images, labels, batch_size=8, seed=0):
        self.images, self.labels, self.batch_size, self.seed = images, labels, batch_size, seed
        self.epoch, self.next = 0, 0

    def set_epoch(self, epoch):
        self.epoch, self.next = epoch, 0

    def state_dict(self):
        return {"epoch": self.epoch, "next": self.next}

    def load_state_dict(self, state):
        self.epoch, self.next = state["epoch"], state["next"]

    def __iter__(self):
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.images))
        while self.next < len(order):
            rows = order[self.next : self.next + self.batch_size]
            self.next += len(rows)
            yield Batch(self.images[rows], self.labels[rows], rows >= 0)


def stripes(count=48, size=32, seed=0):
    """Pictures of horizontal and vertical stripes on noise, and which they are."""
    rng = np.random.default_rng(seed)
    images = rng.integers(60, 200, (count, size, size, 3)).astype(np.uint8)
    labels = rng.integers(0, 2, count)
    for image, label in zip(images, labels, strict=True):
        bright = np.arange(size) // 4 % 2 == 0
        if label:
            image[bright] = 255
        else:
            image[:, bright] = 255
    return images, labels
