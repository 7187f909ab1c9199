"""Perceptual hashes meet their eight orientations; the search finds what brute force finds."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from bad_files import scene
from hypothesis import given, settings
from hypothesis import strategies as st

from besana.images.decode import decode
from besana.images.encode import encode_jpeg
from besana.images.hashes import (
    distance_bits,
    first_alike,
    orientations,
    perceptual_hash,
)


def hash_of(pixels: np.ndarray) -> np.ndarray:
    return np.array([perceptual_hash(pixels)], dtype=np.int64).view(np.uint64)


def turned(pixels: np.ndarray) -> list[np.ndarray]:
    both = (pixels, pixels.swapaxes(0, 1))
    return [np.ascontiguousarray(p) for a in both for p in (a, a[:, ::-1], a[::-1], a[::-1, ::-1])]


@pytest.mark.parametrize("number", range(8))
def test_hash_of_a_turned_picture_follows_from_its_hash(number: int) -> None:
    picture = scene((96, 96))
    expected = hash_of(turned(picture)[number])
    assert distance_bits(orientations(hash_of(picture))[number], expected)[0] <= 1


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), quality=st.integers(40, 95), scale=st.floats(0.4, 1.5))
def test_recompressed_and_scaled_copy_stays_near(seed: int, quality: int, scale: float) -> None:
    picture = scene((160, 120), seed)
    copy = decode(encode_jpeg(cv2.resize(picture, None, fx=scale, fy=scale), quality)).pixels
    assert distance_bits(hash_of(picture), hash_of(copy))[0] <= 8


def test_different_pictures_are_far_apart() -> None:
    hashes = np.concatenate([hash_of(scene((96, 96), seed)) for seed in range(40)])
    distances = distance_bits(hashes[:, None], hashes[None])
    assert distances[~np.eye(40, dtype=bool)].min() > 10


def brute_force(hashes: np.ndarray, max_bits: int, *, turn: bool) -> np.ndarray:
    near = np.zeros((len(hashes), len(hashes)), dtype=bool)
    for variant in orientations(hashes) if turn else [hashes]:
        near |= distance_bits(hashes[:, None], variant[None]) <= max_bits
    return components(len(hashes), np.argwhere(near))


def components(count: int, pairs: np.ndarray) -> np.ndarray:
    root = np.arange(count)
    for _ in range(count):
        for a, b in pairs:
            root[a] = root[b] = min(root[a], root[b])
    return root


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(0, 60),
    max_bits=st.integers(0, 8),
    turn=st.booleans(),
)
def test_search_connects_what_brute_force_connects(
    seed: int, count: int, max_bits: int, turn: bool
) -> None:
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    for place in range(1, count, 2):  # every second one is a changed copy of an earlier one
        source = hashes[rng.integers(0, place)]
        for bit in rng.integers(0, 64, rng.integers(0, max_bits + 3)):
            source ^= np.uint64(1) << np.uint64(bit)
        copies = orientations(np.array([source])) if turn else [np.array([source])]
        hashes[place] = copies[rng.integers(0, len(copies))][0]
    expected = brute_force(hashes, max_bits, turn=turn)
    np.testing.assert_array_equal(first_alike(hashes, max_bits, turned=turn), expected)


def test_many_equal_hashes_name_the_first() -> None:
    hashes = np.repeat(np.array([7, 3], dtype=np.uint64), 10_000)
    hashes[1::2] = 2**63 + 2**31 + 5  # far from the others
    found = first_alike(hashes, 2)
    assert np.unique(found[::2]).tolist() == [0]
    assert np.unique(found[1::2]).tolist() == [1]


def test_hashes_all_alike_in_their_first_bits_are_joined_nevertheless() -> None:
    # One bucket of many more hashes than are compared: a chain still leads to the first.
    hashes = np.uint64(2**40) + np.arange(3000, dtype=np.uint64)
    assert np.unique(first_alike(hashes, 6, turned=True)).tolist() == [0]


def test_flat_pictures_hash_to_something(tmp_path: Path) -> None:
    assert isinstance(perceptual_hash(np.zeros((9, 9, 1), np.uint8)), int)
