"""Agreement coefficients against worked examples of their authors and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from besana.labels.agreement import Agreement


def added(units: list[dict[str, str]]) -> Agreement:
    agreement = Agreement()
    for unit in units:
        agreement.add(unit)
    return agreement


def test_fleiss_kappa_of_the_table_of_fleiss_1971() -> None:
    # The ten-subject, fourteen-rater, five-category example that textbooks print: 0.210.
    table = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    units = []
    for counts in table:
        words = [str(name) for name, count in enumerate(counts) for _ in range(count)]
        units.append({f"r{rater:02d}": word for rater, word in enumerate(words)})
    assert added(units).fleiss_kappa() == pytest.approx(0.210, abs=5e-4)


def test_krippendorff_alpha_of_his_example_with_missing_words() -> None:
    # Krippendorff 2011, section C: four observers, twelve units, nominal alpha = 0.743.
    observers = {
        "A": ["1", "2", "3", "3", "2", "1", "4", "1", "2", None, None, None],
        "B": ["1", "2", "3", "3", "2", "2", "4", "1", "2", "5", None, "3"],
        "C": [None, "3", "3", "3", "2", "3", "4", "2", "2", "5", "1", None],
        "D": ["1", "2", "3", "3", "2", "4", "4", "1", "2", "5", "1", None],
    }
    units = [
        {name: word for name, words in observers.items() if (word := words[i]) is not None}
        for i in range(12)
    ]
    assert added(units).krippendorff_alpha() == pytest.approx(0.743, abs=5e-4)


@settings(deadline=None)  # the first call imports scikit-learn
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=3, max_size=40
    ).filter(lambda pairs: len({word for pair in pairs for word in pair}) > 1)
)
def test_cohen_kappa_is_that_of_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    from sklearn.metrics import cohen_kappa_score

    (found,) = added([{"ana": one, "eva": other} for one, other in pairs]).cohen_kappas()
    expected = cohen_kappa_score([one for one, _ in pairs], [other for _, other in pairs])
    assert found.samples == len(pairs)
    assert found.kappa == pytest.approx(expected)


def test_perfect_and_random_words() -> None:
    random = np.random.default_rng(1)
    words = random.choice(["a", "b"], size=(4000, 2))
    perfect = added([{"ana": one, "eva": one} for one, _ in words])
    chance = added([{"ana": one, "eva": other} for one, other in words])
    assert perfect.krippendorff_alpha() == perfect.fleiss_kappa() == 1.0
    assert chance.krippendorff_alpha() == pytest.approx(0, abs=0.05)
    assert chance.fleiss_kappa() == pytest.approx(0, abs=0.05)


def test_what_chance_alone_explains_has_no_coefficient() -> None:
    agreement = added([{"ana": "a", "eva": "a"}, {"ana": "b"}])
    assert agreement.units == 1
    assert agreement.krippendorff_alpha() is None
    assert agreement.fleiss_kappa() is None
    assert [pair.kappa for pair in agreement.cohen_kappas()] == [None]
    assert Agreement().fleiss_kappa() is None
