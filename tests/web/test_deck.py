"""The deck deals every picture, tells what a page shows of it, and grows without a new deal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from served_farm import REGIONS, frame_id, make_farm

from besana.web.deck import FRESH, LABELLED, SKIPPED, Deck
from besana.workspace import Workspace

PEOPLE = ["Ana", "Eva", "Leo"]


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make_farm(tmp_path_factory.mktemp("deck") / "farm", frames=30)


@pytest.fixture
def deck(farm: Workspace, tmp_path: Path) -> Iterator[Deck]:
    with closing(Deck(tmp_path, share=0)) as found:
        found.read(farm.catalog)
        found.set_people(PEOPLE)
        yield found


def all_of(deck: Deck, name: str) -> list[int]:
    """Numbers that come up for somebody until their own part is done."""
    found = deck.next(name, 20, "tab")
    assert len(found) == 20
    return found


def test_everybody_gets_an_equal_part_and_nobody_the_same(deck: Deck) -> None:
    parts = [all_of(deck, name) for name in PEOPLE]
    assert sorted(number for part in parts for number in part) == list(range(60))


def test_another_order_keeps_the_parts(deck: Deck) -> None:
    before = {name: set(all_of(deck, name)) for name in PEOPLE}
    order = np.arange(60, dtype=np.int32)[::-1].copy()
    deck.set_order(order, deck.dealt(PEOPLE, order))
    for name in PEOPLE:
        found = deck.next(name, 20, "tab")
        assert set(found) == before[name]
        assert found == sorted(found, reverse=True)


def test_an_unsure_picture_goes_to_one_other_person_at_once(deck: Deck) -> None:
    parts = {name: all_of(deck, name) for name in PEOPLE}
    number = parts["Ana"][3]
    deck.note(deck.sample(number), "Ana", SKIPPED)
    deck.ask_again([deck.sample(number)])
    first = {name: deck.next(name, 1, "tab")[0] for name in ("Eva", "Leo")}
    assert sorted(first.values()).count(number) == 1
    (second,) = (name for name, found in first.items() if found == number)
    deck.note(deck.sample(number), second, LABELLED)
    deck.note(deck.sample(number), "Ana", LABELLED)
    assert all(number not in deck.next(name, 60, "tab") for name in PEOPLE)


def test_second_votes_asked_for_survive_another_order(deck: Deck) -> None:
    number = all_of(deck, "Ana")[3]
    deck.note(deck.sample(number), "Ana", SKIPPED)
    for name in ("Eva", "Leo"):
        deck.next(name, 1, "tab")
    deck.ask_again([deck.sample(number)])
    order = np.roll(deck.order, 7)
    deck.set_order(order, deck.dealt(PEOPLE, order))
    assert number in [*deck.next("Eva", 1, "tab"), *deck.next("Leo", 1, "tab")]


def test_a_picture_that_came_back_twice_comes_up_once(deck: Deck) -> None:
    number = all_of(deck, "Ana")[3]
    for state in (LABELLED, FRESH, LABELLED, FRESH):  # sent again after a cut
        deck.note(deck.sample(number), "Ana", state)
    found = deck.next("Ana", 20, "tab")
    assert found[0] == number
    assert len(set(found)) == len(found)


def test_a_screen_of_look_alikes_is_filled_with_the_surest_of_its_class(deck: Deck) -> None:
    deck.set_people(["Ana"])
    deck.proposed = np.array([0] * 40 + [1] * 20, np.int16)
    deck.certainty = np.linspace(0.4, 0.9, 60).astype(np.float32)[::-1].copy()
    deck.cluster = np.zeros(60, np.int16)
    deck.cluster[[0, 7, 30]] = 1
    shown = deck.look_alikes("Ana", 40, "tab")
    assert shown == [0, 7, 30, *(n for n in range(20) if n not in (0, 7))][:20]
    deck.cluster[:25] = 1
    assert deck.look_alikes("Ana", 40, "tab") == [*range(25), 30]
    assert deck.look_alikes("Ana", 10, "tab") == list(range(10))


def test_what_somebody_did_counts_at_once(deck: Deck) -> None:
    numbers = all_of(deck, "Ana")
    counted = []
    for number in numbers[:3]:
        counted.append(deck.progress("Ana")["part_done"])
        deck.note(deck.sample(number), "Ana", LABELLED)
    assert counted == [0, 1, 2]


def test_what_is_shown_comes_from_the_frame_and_the_record(deck: Deck) -> None:
    sample = (frame_id(4), REGIONS[1])
    shown = deck.names.described(sample)
    assert shown is not None
    assert (shown["frame"], shown["region"], shown["camera"]) == (*sample, "pen")
    assert shown["at"] == "2025-03-03T06:20:00+00:00"
    assert len(shown["mark"]) == 8
    assert deck.names.described(("pen/none", "bed-1")) is None
