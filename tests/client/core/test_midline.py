from __future__ import annotations

import numpy as np
import pytest

from clinical_phantoms import Phantom, Plane, Sequence
from tumorctl.core.geometry import Grid, Volume
from tumorctl.core.midline import MidlineSource, estimate_midline


@pytest.mark.parametrize("plane", list(Plane))
@pytest.mark.parametrize("tilt_deg", [(0.0, 0.0, 0.0), (10.0, -7.0, 12.0)])
def test_the_middle_of_the_head_is_found_wherever_it_lies(plane: Plane, tilt_deg: tuple[float, float, float]) -> None:
    for left_mm in (-14.0, 9.0):
        phantom = Phantom(plane=plane, tilt_deg=tilt_deg, head_center_lps=(left_mm, -9.0, 15.0))
        midline = estimate_midline(Volume(phantom.voxels(Sequence.flair), phantom.grid))
        assert midline.source is MidlineSource.head
        assert midline.right_mm == pytest.approx(-left_mm, abs=phantom.spacing_mm[0] / 2)


@pytest.mark.parametrize("voxels", [np.zeros((4, 20, 30)), np.random.default_rng(1).normal(size=(4, 20, 30))])
def test_without_a_head_the_middle_of_the_image_stands_in(
    voxels: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> None:
    affine = np.diag([5.0, 1.0, 1.0, 1.0])[[2, 1, 0, 3]]
    midline = estimate_midline(Volume(voxels, Grid((4, 20, 30), affine)))
    assert midline.source is MidlineSource.field_of_view
    assert midline.right_mm == pytest.approx(14.5)
