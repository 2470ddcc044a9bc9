from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tumor_training.scoring import patient_dice, slice_auc


def test_dice_takes_all_slices_of_a_patient_together() -> None:
    predicted, labelled = np.zeros((2, 4, 10, 10), np.bool_)
    labelled[0, :5] = True  # a: 50 of 50 found ...
    predicted[0, :5] = True
    predicted[1, :5] = True  # ... and 50 too many in another slice
    labelled[2, :1] = True  # b: missed
    assert patient_dice(predicted, labelled, ["a", "a", "b", "c"]) == {"a": pytest.approx(2 / 3), "b": 0.0, "c": 1.0}


scores = st.lists(st.tuples(st.integers(0, 10), st.booleans()), min_size=2, max_size=20)


@given(scores=scores)
def test_auc_is_the_chance_that_a_positive_slice_outscores_a_negative_one(scores: list[tuple[int, bool]]) -> None:
    positive = [value for value, is_positive in scores if is_positive]
    negative = [value for value, is_positive in scores if not is_positive]
    assume(positive and negative)
    wins = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    got = slice_auc(np.array([value for value, _ in scores], np.float32) / 10, np.array([kind for _, kind in scores]))
    assert got == pytest.approx(np.mean(wins), abs=1e-6)
