"""An isotropic, skull-stripped BraTS case, a slab of its FLAIR, from the files to the outline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from tumorctl import TumorClient

SLAB = slice(71, 77)
"""Slices of the FLAIR where the tumour is largest: all 155 would say no more and take longer."""


@pytest.fixture
def slab(brats_study: Path, tmp_path: Path) -> Path:
    for name in ("t2f.nii.gz", "seg.nii.gz"):
        image: Any = nibabel.load(brats_study / name)
        nibabel.save(image.slicer[:, :, SLAB], tmp_path / name)
    for name in ("t1n.nii.gz", "t1c.nii.gz"):
        (tmp_path / name).symlink_to(brats_study / name)
    return tmp_path


def test_a_brats_case_needs_no_registration_and_is_outlined_where_the_tumour_is(slab: Path) -> None:
    with TumorClient() as client:
        found = client.predict_study(slab)
    # By their names: t1n, t2f and t1c; the label map is passed over.
    assert [choice.series for choice in found.series] == ["t1n.nii.gz", "t2f.nii.gz", "t1c.nii.gz"]
    assert not any(choice.substituted for choice in found.series)
    assert [report.note for report in found.registration] == ["already aligned: nothing was moved"] * 2
    assert found.warnings == ()
    assert found.grid.spacing_mm == pytest.approx((1.0, 1.0, 1.0))
    label: Any = nibabel.load(slab / "seg.nii.gz")
    whole_tumor = np.asarray(label.dataobj).transpose(2, 1, 0) > 0
    assert found.mask.shape == whole_tumor.shape == (6, 240, 240)
    overlap = 2 * (found.mask & whole_tumor).sum() / (found.mask.sum() + whole_tumor.sum())
    assert overlap > 0.35
