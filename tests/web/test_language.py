"""Two languages: every phrase of a page has Spanish, numbers are written as each language does."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from importlib.resources import files

import pytest
from phrases import shown_phrases

from besana.stages import STAGES
from besana.web.language import SPANISH, english, known, stage_name, text
from besana.web.time_answers import POSTURES
from besana.web.values import number_text, value_text

# Keys that are made while the program runs, so that nobody finds them in the source.
MADE = [
    *(f"{posture}_hours" for posture in POSTURES),
    *("unknown", "other", "day", "ir", "daylight", "infrared"),
    *("train", "validation", "test", "left_out"),
    *("accuracy", "balanced_accuracy", "macro_f1", "precision_share", "recall_low_share"),
    *("accuracy_share", "balanced_accuracy_share", "macro_f1_share", "day_share", "ir_share"),
    *("dark_below", "overexposed_above", "blur_below", "low_information_below"),
    *("folder", "classes", "bands", "agriculture_vision", "name", "exif", "modified", "none"),
]


def test_every_phrase_of_a_page_has_spanish() -> None:
    places = shown_phrases()
    for name, header in STAGES.items():
        places[header] = {"stages/__init__.py"}
        assert stage_name(name, "es") not in (name, stage_name(name, "en")), name
    places |= {key: {"made at run time"} for key in MADE}
    missing = {phrase: sorted(where) for phrase, where in places.items() if not known(phrase)}
    assert missing == {}, "add them to src/besana/web/spanish.toml"


def test_no_phrase_has_two_renderings() -> None:
    tables = [file for file in files("besana.web").iterdir() if file.name.startswith("spanish")]
    parts = [
        part for file in tables for part in tomllib.loads(file.read_text())["spanish"].values()
    ]
    found = Counter(phrase for part in parts for phrase in part)
    assert len(tables) == 3
    assert [phrase for phrase, times in found.items() if times > 1] == []


def test_spanish_takes_in_what_the_english_does() -> None:
    for phrase, spanish in SPANISH.items():
        places = len(re.findall(r"\{\d*\}", spanish))
        assert places == phrase.count("{}"), phrase
        filled = spanish.format(*("x" * phrase.count("{}")))
        assert filled == filled.strip()
        assert filled


def test_a_phrase_with_numbers_is_found() -> None:
    shown = text("Hour by hour: pen-a", "es")
    assert shown == "Hora a hora: pen-a"


def test_numbers_inside_a_phrase_are_written_in_spanish() -> None:
    english_phrase = (
        "Had each sample been drawn on its own, 1,234 of 5,678 test samples (21.7 %) would have"
        " had a sample of their group in train."
    )
    shown = text(english_phrase, "es")
    assert "1\u202f234" in shown
    assert "21,7" in shown


def test_an_unknown_phrase_stays_as_it_is() -> None:
    assert text("A name that a person gave", "es") == "A name that a person gave"
    assert text("nobody_knows_px", "es") == "Nobody knows"


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("peak_memory_bytes", "Peak memory"),
        ("rows_per_s", "Rows"),
        ("near_duplicate", "Near duplicate"),
        ("bright_share", "Bright"),
        ("ir", "Infrared"),
    ],
)
def test_keys_become_words(key: str, expected: str) -> None:
    assert english(key) == expected


@pytest.mark.parametrize(
    ("value", "unit", "in_english", "in_spanish"),
    [
        (0, "", "0", "0"),
        (1234567, "", "1,234,567", "1\u202f234\u202f567"),
        (-3.14159, "", "\u22123.14", "\u22123,14"),
        (0.00012345, "", "0.000123", "0,000123"),
        (12345.678, "", "12,346", "12\u202f346"),
        (0.5, "_share", "50.0\u00a0%", "50,0\u00a0%"),
        (0.0004, "_share", "0.04\u00a0%", "0,04\u00a0%"),
        (1.0, "_share", "100\u00a0%", "100\u00a0%"),
        (999, "_bytes", "999\u00a0B", "999\u00a0B"),
        (64_000_000, "_bytes", "64.0\u00a0MB", "64,0\u00a0MB"),
        (0, "_bytes", "0\u00a0B", "0\u00a0B"),
        (12.34, "_s", "12.3\u00a0s", "12,3\u00a0s"),
        (600, "_s", "10\u00a0min 00\u00a0s", "10\u00a0min 00\u00a0s"),
        (7_320, "_s", "2\u00a0h 02\u00a0min", "2\u00a0h 02\u00a0min"),
        (312.6, "_per_s", "313/s", "313/s"),
        (4.5, "_px", "4.50\u00a0px", "4,50\u00a0px"),
        (float("nan"), "", "\u2013", "\u2013"),
    ],
)
def test_numbers_are_written_with_their_unit(
    value: float, unit: str, in_english: str, in_spanish: str
) -> None:
    assert number_text(value, "en", unit) == in_english
    assert number_text(value, "es", unit) == in_spanish


def test_values_that_are_no_numbers() -> None:
    assert value_text(True, "es") == "Sí"
    assert value_text(None, "es") == "\u2013"
    assert value_text("pen-a", "es") == "pen-a"
