from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tumorctl.core.geometry import Grid, Volume
from tumorctl.outputs.pictures import directions, upright

SHAPE = (3, 4, 5)


def volume_along(axes: tuple[int, ...], signs: tuple[int, ...]) -> Volume:
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3)[list(axes)] * np.array(signs)[:, np.newaxis]).T * (5.0, 1.5, 0.7)
    affine[:3, 3] = (10, -20, 30)
    return Volume(np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE), Grid(SHAPE, affine))


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product((1, -1), repeat=3)))
def test_pictures_are_the_right_way_up_however_the_volume_is_stored(
    axes: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    volume = volume_along(axes, signs)
    turned, _ = upright(volume, np.zeros(SHAPE, np.bool_))
    across, down = directions(turned.grid)
    # Seen along the patient's axes left-right, front-back and head-feet, in this order.
    assert (across, down) == {0: ("P", "I"), 1: ("L", "I"), 2: ("L", "P")}[axes[0]]


@given(st.permutations(range(3)), st.tuples(*[st.sampled_from((1, -1))] * 3), st.integers(0, 59))
def test_every_voxel_stays_where_it_is_in_the_patient(axes: list[int], signs: tuple[int, ...], place: int) -> None:
    volume = volume_along(tuple(axes), signs)
    index = np.unravel_index(place, SHAPE)
    mask = np.zeros(SHAPE, np.bool_)
    mask[index] = True
    turned, turned_mask = upright(volume, mask)
    found = np.argwhere(turned_mask)
    assert len(found) == 1
    assert turned.voxels[tuple(found[0])] == volume.voxels[index]
    assert found[0][0] == index[0]
    assert np.allclose(turned.grid.to_world_ras(found[0]), volume.grid.to_world_ras(index))
