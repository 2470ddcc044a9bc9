"""Volumes on other grids: what lies outside, and how many axial slices are made at most."""

from __future__ import annotations

import numpy as np
import pytest

from clinical_phantoms import Phantom, Plane, Sequence
from tumorctl.core.geometry import Grid, Volume
from tumorctl.errors import OversizedInput
from tumorctl.io.series import MAX_VOXELS
from tumorctl.preparation.axial import axial_grid
from tumorctl.preparation.intensities import to_8_bits
from tumorctl.preparation.resampling import mask_onto, onto

SMALL = Phantom(shape=(9, 40, 44), spacing_mm=(16.0, 5.8, 5.2))
TURNED = Phantom(shape=(8, 36, 40), spacing_mm=(16.0, 5.8, 5.2), tilt_deg=(0.0, 0.0, 14.0))


@pytest.mark.parametrize("offset", [0.0, -1000.0, 300.0])
@pytest.mark.parametrize("scale", [1.0, 0.004])
def test_outside_a_volume_is_as_dark_as_its_air(offset: float, scale: float) -> None:
    voxels = (TURNED.voxels(Sequence.t1_pre) * scale + offset).astype(np.float32)
    moved = onto(Volume(voxels, TURNED.grid), SMALL.grid)
    assert moved[:, 0, 0].max() == moved[:, 0, 0].min() == voxels.min()
    shown = to_8_bits(moved)
    assert shown[:, 0, 0].max() == shown.min()


def test_outside_a_mask_is_no_tumour_even_where_all_of_it_is() -> None:
    moved = mask_onto(np.ones(TURNED.shape, np.bool_), TURNED.grid, SMALL.grid)
    assert moved.any()
    assert not moved[:, 0, 0].any()


@pytest.mark.parametrize("plane", [Plane.coronal, Plane.sagittal])
def test_axial_slices_without_end_are_not_made(plane: Plane) -> None:
    grid = Phantom(plane=plane, shape=(20, 256, 256), spacing_mm=(50.0, 0.9, 0.9)).grid
    assert np.prod(axial_grid(grid).shape) <= MAX_VOXELS
    far = Grid(grid.shape, grid.affine_ras @ np.diag([100.0, 1.0, 1.0, 1.0]))
    with pytest.raises(OversizedInput, match=r"at most 67,108,864.*5000 x 0\.9 x 0\.9 mm"):
        axial_grid(far)
