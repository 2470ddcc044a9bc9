from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tumor_training.overlap import dice, iou, precision, sensitivity, volume_error

Masks = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]


def counts(predicted: Masks, labelled: Masks) -> tuple[Counts, Counts, Counts]:
    """Overlap, predicted and labelled pixels of each of a stack of masks."""
    return (predicted & labelled).sum((1, 2)), predicted.sum((1, 2)), labelled.sum((1, 2))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Masks, Masks]:
    masks = arrays.arrays(np.bool_, (draw(st.integers(1, 4)), 4, 3))
    first = draw(masks)
    return first, draw(arrays.arrays(np.bool_, first.shape))


@given(pair=pairs())
def test_dice_and_iou_do_not_care_which_is_which(pair: tuple[Masks, Masks]) -> None:
    there, back = counts(*pair), counts(*pair[::-1])
    assert np.array_equal(dice(*there), dice(*back))
    assert np.array_equal(iou(*there), iou(*back))


@given(pair=pairs())
def test_sensitivity_and_precision_change_places(pair: tuple[Masks, Masks]) -> None:
    both, predicted, labelled = counts(*pair)
    assert np.array_equal(sensitivity(both, labelled), precision(both, labelled), equal_nan=True)
    other, swapped, _ = counts(*pair[::-1])
    assert np.array_equal(precision(both, predicted), precision(other, counts(*pair[::-1])[2]), equal_nan=True)
    assert np.array_equal(swapped, labelled)


@given(pair=pairs())
def test_all_stay_within_their_bounds_and_dice_follows_from_iou(pair: tuple[Masks, Masks]) -> None:
    both, predicted, labelled = counts(*pair)
    for values in (dice(both, predicted, labelled), iou(both, predicted, labelled)):
        assert ((values >= 0) & (values <= 1)).all()
    for values in (sensitivity(both, labelled), precision(both, predicted)):
        known = values[~np.isnan(values)]
        assert ((known >= 0) & (known <= 1)).all()
    jaccard = iou(both, predicted, labelled)
    assert dice(both, predicted, labelled) == pytest.approx(2 * jaccard / (1 + jaccard))
    errors = volume_error(predicted, labelled)
    assert (errors[~np.isnan(errors)] >= -1).all()


@given(pair=pairs())
def test_a_mask_agrees_with_itself(pair: tuple[Masks, Masks]) -> None:
    both, predicted, labelled = counts(pair[0], pair[0])
    assert (dice(both, predicted, labelled) == 1).all()
    assert (iou(both, predicted, labelled) == 1).all()
    some = labelled > 0
    assert (sensitivity(both, labelled)[some] == 1).all()
    assert (volume_error(predicted, labelled)[some] == 0).all()


@given(pair=pairs(), rows=st.integers(0, 3), columns=st.integers(0, 3))
def test_moving_both_masks_changes_nothing(pair: tuple[Masks, Masks], rows: int, columns: int) -> None:
    moved = tuple(np.pad(mask, ((0, 0), (rows, 3 - rows), (columns, 3 - columns))) for mask in pair)
    assert np.array_equal(dice(*counts(*pair)), dice(*counts(moved[0], moved[1])))


def test_without_a_pixel_a_share_is_not_defined() -> None:
    none, some = np.array([0]), np.array([3])
    assert np.isnan(sensitivity(none, none)).all()
    assert np.isnan(precision(none, none)).all()
    assert np.isnan(volume_error(some, none)).all()
    assert dice(none, none, none) == iou(none, none, none) == 1
    assert volume_error(none, some) == -1
    assert dice(none, some, none) == 0
