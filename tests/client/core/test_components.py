from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tumorctl.core.components import main_components

Mask = npt.NDArray[np.bool_]
masks = arrays(np.bool_, st.tuples(st.integers(1, 4), st.integers(1, 8), st.integers(1, 8)))


def volume(*voxels: tuple[int, int, int]) -> Mask:
    mask = np.zeros((4, 8, 8), np.bool_)
    for voxel in voxels:
        mask[voxel] = True
    return mask


LARGE = [(0, row, column) for row in range(3) for column in range(4)]


@pytest.mark.parametrize(("share", "stays"), [(0.0, True), (0.08, True), (0.09, False), (1.0, False)])
def test_an_island_stays_where_it_is_large_enough(share: float, stays: bool) -> None:
    mask = volume(*LARGE, (3, 7, 7))
    assert (main_components(mask, share) == (mask if stays else volume(*LARGE))).all()


@pytest.mark.parametrize("neighbour", [(1, 2, 3), (1, 3, 4), (0, 3, 4), (1, 2, 4)])
def test_voxels_that_touch_by_a_face_an_edge_or_a_corner_belong_together(neighbour: tuple[int, int, int]) -> None:
    mask = volume(*LARGE, neighbour)
    assert (main_components(mask, 1.0) == mask).all()


def test_equally_large_components_stay() -> None:
    mask = volume((0, 0, 0), (3, 7, 7))
    assert (main_components(mask, 1.0) == mask).all()


@given(masks, st.floats(0, 1))
def test_nothing_is_added_and_something_is_left(mask: Mask, share: float) -> None:
    kept = main_components(mask, share)
    assert not (kept & ~mask).any()
    assert kept.any() == mask.any()
    assert (main_components(kept, share) == kept).all()


@given(masks, st.floats(0, 1), st.permutations([0, 1, 2]))
def test_the_order_of_axes_does_not_matter(mask: Mask, share: float, axes: list[int]) -> None:
    assert (main_components(mask.transpose(axes), share) == main_components(mask, share).transpose(axes)).all()
