from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tumor_training.evaluation.surface import hd95, pooled_hd95, surface_distances

Mask = npt.NDArray[np.bool_]

PIXELS = (1.0, 1.0)
masks = arrays.arrays(np.bool_, (6, 5)).filter(np.any)


def disc(row: float, column: float, radius: float, side: int = 64) -> Mask:
    rows, columns = np.mgrid[0:side, 0:side]
    return np.asarray(np.hypot(rows - row, columns - column) <= radius)


@given(a=masks, b=masks)
def test_it_does_not_care_which_is_which(a: Mask, b: Mask) -> None:
    assert hd95(a, b, PIXELS) == hd95(b, a, PIXELS)


@given(a=masks)
def test_a_mask_is_at_no_distance_from_itself(a: Mask) -> None:
    assert hd95(a, a, PIXELS) == 0


@given(a=masks, b=masks)
def test_it_is_at_most_the_diagonal(a: Mask, b: Mask) -> None:
    distance = hd95(a, b, PIXELS)
    assert distance is not None
    assert 0 <= distance <= np.hypot(5, 4)


@given(a=masks, b=masks, rows=st.integers(0, 4), columns=st.integers(0, 4))
def test_moving_both_masks_changes_nothing(a: Mask, b: Mask, rows: int, columns: int) -> None:
    # Away from the border: there, the border itself cuts.
    around = ((rows, 4 - rows), (columns, 4 - columns))
    assert hd95(np.pad(a, around), np.pad(b, around), PIXELS) == hd95(a, b, PIXELS)


@given(a=masks, b=masks, factor=st.floats(0.1, 10))
def test_spacing_scales_it(a: Mask, b: Mask, factor: float) -> None:
    assert hd95(a, b, (factor, factor)) == pytest.approx(factor * (hd95(a, b, PIXELS) or 0))


@given(a=masks, b=masks)
def test_distances_are_those_of_the_definition(a: Mask, b: Mask) -> None:
    def edge(mask: Mask) -> npt.NDArray[np.int64]:
        padded = np.pad(mask, 1)
        inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        return np.argwhere(mask & ~inside)

    spacing = np.array([2.0, 0.5])
    found = surface_distances(a, b, (2.0, 0.5))
    assert found is not None
    between = np.linalg.norm((edge(a)[:, None] - edge(b)[None]) * spacing, axis=2)
    assert np.sort(found[0]) == pytest.approx(np.sort(between.min(1)))
    assert np.sort(found[1]) == pytest.approx(np.sort(between.min(0)))


def test_a_shift_is_its_own_distance() -> None:
    square = np.zeros((40, 40), np.bool_)
    square[10:20, 10:20] = True
    # The edges that move along keep their distance of 0, the leading and the trailing one are 4 px away.
    assert hd95(square, np.roll(square, 4, axis=1), PIXELS) == 4
    assert hd95(square, np.roll(square, 4, axis=1), (1.0, 0.5)) == 2


def test_a_few_stray_pixels_do_not_decide_but_a_twentieth_does() -> None:
    label, stray = disc(20, 20, 15), disc(20, 20, 15)
    stray[60, 60] = True
    assert hd95(stray, label, PIXELS) == 0
    far = stray | disc(55, 55, 4)
    assert (hd95(far, label, PIXELS) or 0) > 30


@given(a=masks)
def test_without_a_pixel_there_is_no_distance(a: Mask) -> None:
    nothing = np.zeros_like(a)
    assert surface_distances(a, nothing, PIXELS) is None
    assert hd95(nothing, a, PIXELS) is None
    assert hd95(nothing, nothing, PIXELS) is None


@given(a=masks, b=masks)
def test_slices_without_distance_are_left_out_of_the_pool(a: Mask, b: Mask) -> None:
    pair = surface_distances(a, b, PIXELS)
    assert pooled_hd95([None, pair, None]) == hd95(a, b, PIXELS)
    assert pooled_hd95([None, None]) is None
    assert pooled_hd95([]) is None


@given(a=arrays.arrays(np.bool_, (3, 4, 4)), b=arrays.arrays(np.bool_, (3, 4, 4)))
def test_a_volume_has_distances_across_slices(a: Mask, b: Mask) -> None:
    assume(a.any() and b.any())
    only = np.zeros_like(a)
    only[0, 0, 0] = True
    other = np.zeros_like(a)
    other[2, 0, 0] = True
    assert hd95(only, other, (5.5, 1.0, 1.0)) == 11
    assert hd95(a, b, (5.5, 1.0, 1.0)) == hd95(b, a, (5.5, 1.0, 1.0))
