from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical_phantoms import Phantom, Plane, Sequence
from predictions import predicted
from tumorctl.core.geometry import Grid, Volume
from tumorctl.errors import MaskMismatch, OutputError
from tumorctl.outputs.nifti import encode_mask, write_mask


@pytest.mark.parametrize("against_normal", [False, True])
@pytest.mark.parametrize("plane", list(Plane))
def test_the_lesion_comes_back_where_it_was(plane: Plane, against_normal: bool, tmp_path: Path) -> None:
    phantom = Phantom(plane=plane, tilt_deg=(11.0, -8.0, 14.0), against_normal=against_normal)
    prediction = predicted(phantom, dicom=False)
    prediction.to_nifti(tmp_path / "mask.nii.gz")

    image = nibabel.load(tmp_path / "mask.nii.gz")
    assert isinstance(image, nibabel.Nifti1Image)
    assert image.get_data_dtype() == np.uint8
    voxels = np.asarray(image.dataobj)
    assert set(np.unique(voxels)) == {0, 1}
    points_ras = nibabel.affines.apply_affine(image.affine, np.argwhere(voxels))
    points_lps = points_ras * (-1, -1, 1)
    assert points_lps.mean(axis=0) == pytest.approx(phantom.lesion_center_lps, abs=1.0)
    inside = np.square((points_lps - phantom.lesion_center_lps) / phantom.lesion_radii_mm).sum(axis=1)
    assert inside.max() <= 1 + 1e-6
    assert (points_lps[:, 0] > 0).all()  # left stays left

    assert image.affine == pytest.approx(phantom.grid.affine_ras[:, [2, 1, 0, 3]], abs=1e-4)
    assert image.header.get_qform() == pytest.approx(image.affine, abs=1e-3)
    assert image.header.get_intent()[0] == "label"
    assert image.header.get_xyzt_units()[0] == "mm"
    assert b"RESEARCH USE ONLY" in image.header["descrip"].item()


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(2, 6), st.integers(2, 7)),
    tilt_deg=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing_mm=st.tuples(*[st.floats(0.2, 8)] * 3),
    center_lps=st.tuples(*[st.floats(-200, 200)] * 3),
    seed=st.integers(0, 99),
)
def test_every_voxel_of_any_grid_comes_back_in_place(
    shape: tuple[int, int, int],
    tilt_deg: tuple[float, float, float],
    spacing_mm: tuple[float, float, float],
    center_lps: tuple[float, float, float],
    seed: int,
) -> None:
    grid = Phantom(tilt_deg=tilt_deg, shape=shape, spacing_mm=spacing_mm, field_center_lps=center_lps).grid
    mask = np.random.default_rng(seed).random(shape) < 0.4
    image = nibabel.Nifti1Image.from_bytes(encode_mask(mask, grid))
    points_ras = nibabel.affines.apply_affine(image.affine, np.argwhere(np.asarray(image.dataobj)))
    indices = grid.to_index(points_ras.reshape(-1, 3))
    assert np.abs(indices - indices.round()).max(initial=0) < 0.01
    assert len(points_ras) == mask.sum()
    assert set(map(tuple, indices.round().astype(int))) == set(map(tuple, np.argwhere(mask)))


def test_the_same_mask_gives_the_same_bytes(tmp_path: Path) -> None:
    prediction = predicted(Phantom(), dicom=False)
    for name in ("a.nii.gz", "b.nii.gz", "a.nii"):
        prediction.to_nifti(tmp_path / name)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    assert (tmp_path / "a.nii").read_bytes() == encode_mask(prediction.mask, prediction.grid)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nii", "a.nii.gz", "b.nii.gz"]


def test_a_sheared_grid_is_kept_and_no_quaternion_pretends_otherwise(tmp_path: Path) -> None:
    affine = np.eye(4)[[2, 1, 0, 3]]
    affine[0, 0] = 0.3  # gantry tilt
    grid = Grid((3, 4, 5), affine)
    mask = np.ones((3, 4, 5), np.bool_)
    write_mask(tmp_path / "mask.nii", mask, grid)
    image = nibabel.load(tmp_path / "mask.nii")
    assert isinstance(image, nibabel.Nifti1Image)
    assert image.affine == pytest.approx(affine[:, [2, 1, 0, 3]])
    assert image.header["qform_code"] == 0


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    grid = Grid((3, 4, 5), np.eye(4))
    with pytest.raises(OutputError, match=r"\.nii\.gz"):
        write_mask(tmp_path / "mask.mha", np.ones((3, 4, 5), np.bool_), grid)
    with pytest.raises(MaskMismatch, match="shape"):
        write_mask(tmp_path / "mask.nii", np.ones((3, 4, 6), np.bool_), grid)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="could not be written"):
        write_mask(tmp_path / "file" / "mask.nii", np.ones((3, 4, 5), np.bool_), grid)


def test_a_prediction_holds_a_mask_of_its_own_grid_that_nobody_changes() -> None:
    phantom = Phantom()
    with pytest.raises(MaskMismatch, match="shape"):
        predicted(phantom, mask=phantom.mask[1:])
    moved = Volume(phantom.voxels(Sequence.flair), replace(phantom, field_center_lps=(0.0, 0.0, 0.0)).grid)
    with pytest.raises(MaskMismatch, match="different grids"):
        predicted(phantom, flair=moved)
    prediction = predicted(phantom)
    with pytest.raises(ValueError, match="read-only"):
        prediction.mask[0, 0, 0] = True
