"""The model in the loop looks at a bounded number of samples, and first at a hundred labels."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from looked_at import FRAMES, embed, label
from served_farm import CLASSES, REGIONS, frame_id, make_farm, picture, served, truth

from besana import catalog as tables
from besana.web import vectors
from besana.web.deck import LABELLED, Deck
from besana.web.model_loop import FIRST_LABELS, learn
from besana.web.vectors import Vectors, newest_embeddings
from besana.workspace import Workspace


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Make a farm of 80 samples with vectors; the first three features are the mean colour."""
    workspace = make_farm(tmp_path_factory.mktemp("loop") / "farm", FRAMES)
    embed(workspace)
    return workspace


@pytest.fixture
def deck(farm: Workspace, tmp_path: Path) -> Iterator[Deck]:
    with closing(Deck(tmp_path, share=0)) as found:
        found.read(farm.catalog)
        yield found


def held(farm: Workspace, deck: Deck, most: int) -> Vectors:
    embeddings = newest_embeddings(farm)
    assert embeddings is not None
    return Vectors(farm, deck, embeddings, most)


def say(deck: Deck, numbers: range) -> None:
    for number in numbers:
        deck.note(deck.sample(number), "Ana", LABELLED)


def test_vectors_are_those_of_their_samples(farm: Workspace, deck: Deck) -> None:
    drawn = held(farm, deck, 30)
    assert len(drawn.numbers) == 30
    asked = np.array([79, 3, *drawn.numbers[[4, 11]]], np.int32)
    found, x = drawn.of(asked)
    assert found.tolist() == sorted({*asked.tolist()} & {*drawn.numbers.tolist()})
    for number, vector in zip(found.tolist(), x, strict=True):
        colour = picture(number // len(REGIONS), deck.sample(number)[1]).mean(axis=(0, 1))
        assert vector[:3] == pytest.approx(colour / 100 - 1, abs=0.002)
    together = np.concatenate([block for _, block in drawn.blocks()])
    assert np.array_equal(together, drawn.of(drawn.numbers)[1])


def test_more_samples_than_may_be_held_are_drawn_and_drawn_again(
    farm: Workspace, deck: Deck
) -> None:
    first = held(farm, deck, 30)
    assert sorted(deck.rank[first.numbers]) == list(range(30))
    assert not first.is_used_up(deck)
    say(deck, range(80))
    assert first.is_used_up(deck)
    assert not held(farm, deck, 200).is_used_up(deck)


def test_half_of_what_is_held_may_be_labelled(farm: Workspace, deck: Deck) -> None:
    say(deck, range(50))
    numbers = held(farm, deck, 30).numbers
    assert np.count_nonzero(deck.voters[numbers]) == 15


def test_nothing_is_proposed_before_a_hundred_labels(tmp_path: Path) -> None:
    workspace = make_farm(tmp_path / "farm", 70)
    embed(workspace, 70)
    said = [(n, region) for n in range(70) for region in REGIONS]
    rows = [label("Ana", n, region, truth(n, region)) for n, region in said]
    workspace.catalog.insert(tables.labels, rows[: FIRST_LABELS - 1])
    with closing(Deck(tmp_path, share=0)) as deck:
        deck.read(workspace.catalog)
        before = learn(workspace, deck, list(CLASSES), "mix", 0)
        assert FIRST_LABELS == 100
        assert (before.labels, before.curve) == (99, ())
        assert before.proposed is not None
        assert (before.proposed == -1).all()
        workspace.catalog.insert(tables.labels, rows[FIRST_LABELS - 1 : FIRST_LABELS])
        after = learn(workspace, deck, list(CLASSES), "mix", 0, before.vectors)
        assert after.vectors is before.vectors
        right = [CLASSES.index(truth(n, region)) for n, region in said]
        assert after.proposed is not None
        assert [deck.sample(n) for n in range(3)] == [
            (frame_id(n // 2), REGIONS[n % 2]) for n in range(3)
        ]
        assert (after.proposed == right).mean() > 0.8


def test_a_wrong_label_is_suspected_also_when_the_model_did_not_learn_it(
    farm: Workspace, deck: Deck, monkeypatch: pytest.MonkeyPatch
) -> None:
    from besana.web import model_loop

    monkeypatch.setattr(model_loop, "_MOST_LEARNED", 20)
    right = np.array([CLASSES.index(truth(n, region)) for n in range(40) for region in REGIONS])
    said = right.copy()
    wrong = [7, 12, 41]
    said[wrong] = (said[wrong] + 1) % 3
    whole = held(farm, deck, 200)
    labels = model_loop.Said(np.arange(80, dtype=np.int32), said)
    lesson = model_loop._lesson(whole, labels, list(CLASSES))
    assert lesson is not None
    assert len(lesson.numbers) == 20
    assert {7, 41} & set(lesson.numbers.tolist()) == set()
    assert {7, 41} & set(model_loop._suspects(whole, labels, lesson))


def test_a_full_disk_stops_the_model_and_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def full(*_arguments: object) -> None:
        calls.append(1)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(vectors, "gather_keys", full)
    monkeypatch.setattr("besana.web.desk._AFTER_ERROR_S", 0.05)
    workspace = make_farm(tmp_path / "farm", FRAMES)
    embed(workspace)
    with served(workspace) as site:
        until = time.monotonic() + 20
        while len(calls) < 2 and time.monotonic() < until:
            time.sleep(0.02)
        assert len(calls) >= 2, "it is tried again"
        items = site.client("labeller").post("/api/next", {"tab": "tab00001"}).json["items"]
        assert len(items) == 20
