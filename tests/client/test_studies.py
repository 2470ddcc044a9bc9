"""Whole studies through the client: where the outline comes to lie, and what cannot be used."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from bright_engine import BrightEngine
from clinical_phantoms import Phantom, Plane, Sequence
from tumorctl import SeriesRole, TumorClient
from tumorctl.errors import (
    InvalidInput,
    InvalidOption,
    MissingExtra,
    MissingFlair,
    NoSuchSeries,
    OversizedInput,
    UnreadableStudy,
    UnusableSeries,
)

TILTED = Phantom(tilt_deg=(16.0, 4.0, 3.0), shape=(30, 64, 72))


def write_nifti(folder: Path, phantom: Phantom, **names: str) -> Path:
    """The phantom's series as NIfTI; by default named after their roles."""
    folder.mkdir(parents=True, exist_ok=True)
    affine = phantom.grid.affine_ras[:, (2, 1, 0, 3)]
    for sequence in Sequence:
        name = names.get(sequence.name, f"{sequence.name}.nii.gz")
        if name:
            voxels = phantom.voxels(sequence).transpose(2, 1, 0)
            nibabel.save(nibabel.Nifti1Image(voxels, affine), folder / name)
    return folder


@pytest.mark.parametrize("against_normal", [False, True])
@pytest.mark.parametrize(
    "phantom",
    [
        Phantom(),
        TILTED,
        Phantom(plane=Plane.coronal, shape=(40, 64, 72)),
        Phantom(plane=Plane.sagittal, shape=(36, 64, 72)),
    ],
    ids=["axial", "tilted", "coronal", "sagittal"],
)
def test_a_lesion_comes_back_where_it_is(phantom: Phantom, against_normal: bool, tmp_path: Path) -> None:
    # No networks: the engine marks bright pixels of the FLAIR, so that geometry alone is tested.
    phantom = Phantom(**{**{f: getattr(phantom, f) for f in phantom.__slots__}, "against_normal": against_normal})
    with TumorClient.from_engine(BrightEngine()) as client:
        found = client.predict_study(write_nifti(tmp_path / "head", phantom))
    assert found.grid == phantom.grid
    truth = phantom.grid.to_world_ras(np.argwhere(phantom.mask))
    outlined = found.grid.to_world_ras(np.argwhere(found.mask))
    voxel_mm = max(phantom.spacing_mm)
    assert np.abs(outlined.mean(axis=0) - truth.mean(axis=0)).max() < voxel_mm / 2
    assert np.abs(outlined.min(axis=0) - truth.min(axis=0)).max() <= voxel_mm * 1.5
    assert np.abs(outlined.max(axis=0) - truth.max(axis=0)).max() <= voxel_mm * 1.5
    # The patient's left is the smaller x in RAS.
    assert outlined.mean(axis=0)[0] < -phantom.head_center_lps[0]
    overlap = 2 * (found.mask & phantom.mask).sum() / (found.mask.sum() + phantom.mask.sum())
    assert overlap > 0.85


def test_slices_are_shown_as_the_data_set_has_them(tmp_path: Path) -> None:
    engine = BrightEngine()
    with TumorClient.from_engine(engine) as client:
        client.predict_study(write_nifti(tmp_path / "head", Phantom(lesion_center_lps=(36.0, -44.0, 27.0))))
    rows, columns = np.nonzero(max(engine.seen, key=lambda image: int((image[..., 1] > 183).sum()))[..., 1] > 183)
    assert rows.mean() < 128  # the forehead is up
    assert columns.mean() > 128  # the patient's left is on the right


def test_a_missing_series_is_replaced_and_said(tmp_path: Path) -> None:
    engine = BrightEngine()
    with TumorClient.from_engine(engine) as client:
        found = client.predict_study(write_nifti(tmp_path / "head", Phantom(), t1_post=""))
    assert found.choice(SeriesRole.t1_post).substituted
    assert not found.choice(SeriesRole.t1_pre).substituted
    assert any("T1 after contrast is missing" in warning for warning in found.warnings)
    assert all(np.array_equal(image[..., 1], image[..., 2]) for image in engine.seen)


def test_files_by_role_folders_zips_and_names_give_the_same(tmp_path: Path) -> None:
    phantom = Phantom(shape=(18, 48, 48), spacing_mm=(10.0, 4.6, 4.6))
    folder = write_nifti(tmp_path / "head", phantom)
    odd = write_nifti(tmp_path / "odd", phantom, flair="a.nii", t1_pre="b.nii", t1_post="c.nii")
    archive = tmp_path / "head.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for file in folder.iterdir():
            made.write(file, f"study/{file.name}")
    with TumorClient.from_engine(BrightEngine()) as client:
        masks = [
            client.predict_study(folder).mask,
            client.predict_study({role: folder / f"{role.value}.nii.gz" for role in SeriesRole}).mask,
            client.predict_study(archive).mask,
            client.predict_study(odd, flair="a.nii", t1_pre="b.nii", t1_post="c.nii").mask,
            client.predict_study(phantom.write(tmp_path / "dicom")).mask,
            client.predict_study([each for sequence in Sequence for each in phantom.instances(sequence)]).mask,
        ]
        with pytest.raises(MissingFlair):
            client.predict_study(odd)
        with pytest.raises(NoSuchSeries, match="--flair"):
            client.predict_study(odd, flair="z.nii")
        with pytest.raises(InvalidOption):
            client.predict_study({"t2": folder / "flair.nii.gz"})
        with pytest.raises(InvalidInput, match="studies found"):
            client.predict_study(tmp_path)
    assert masks[0].any()
    assert all(np.array_equal(mask, masks[0]) for mask in masks)


@pytest.mark.parametrize(
    ("library", "modules"),
    [
        ("nibabel", ("io.nifti",)),
        ("SimpleITK", ("preparation.prepare", "preparation.registration", "preparation.resampling")),
        ("pydicom", ("io.dicom.reading",)),
    ],
)
def test_without_the_clinical_part_its_pip_command_is_named(
    library: str, modules: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phantom = Phantom(shape=(6, 40, 40))
    folder = phantom.write(tmp_path / "a") if library == "pydicom" else write_nifti(tmp_path / "a", phantom)
    for module in modules:
        monkeypatch.delitem(sys.modules, f"tumorctl.{module}", raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    named = pytest.raises(MissingExtra, match=r"pip install 'tumorctl\[clinical\]'")
    with TumorClient.from_engine(BrightEngine()) as client, named:
        client.predict_study(folder)


def broken(folder: Path, kind: str) -> type[InvalidInput]:
    """Break the FLAIR of a study in one way; returns the error it must give."""
    path = folder / "flair.nii.gz"
    image: Any = nibabel.load(path)
    voxels = np.asarray(image.dataobj).astype(np.float32)
    if kind in ("NaN", "infinite"):
        voxels[1, 2, 3] = np.nan if kind == "NaN" else np.inf
        nibabel.save(nibabel.Nifti1Image(voxels, image.affine), path)
    elif kind == "four dimensions":
        nibabel.save(nibabel.Nifti1Image(np.stack([voxels, voxels], axis=-1), image.affine), path)
    elif kind == "zero affine":
        header = nibabel.Nifti1Image(voxels, image.affine)
        header.header["sform_code"], header.header["qform_code"] = 1, 0
        for row in ("srow_x", "srow_y", "srow_z"):
            header.header[row] = 0
        raw = bytearray(header.to_bytes())
        raw[280:328] = bytes(48)
        path.unlink()
        (folder / "flair.nii").write_bytes(raw)
    elif kind == "cut off":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "not NIfTI":
        path.write_bytes(b"no image" * 100)
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "huge":
        raw = bytearray(nibabel.Nifti1Image(voxels[:2, :2, :2], image.affine).to_bytes())
        raw[42:48] = np.array([4000, 4000, 4000], "<i2").tobytes()
        path.unlink()
        (folder / "flair.nii").write_bytes(raw)
    if kind == "huge":
        return OversizedInput
    return UnreadableStudy if kind in ("cut off", "not NIfTI", "empty") else UnusableSeries


@pytest.mark.parametrize(
    "kind", ["NaN", "infinite", "four dimensions", "zero affine", "cut off", "not NIfTI", "empty", "huge"]
)
def test_what_cannot_be_used_is_said_with_the_file(kind: str, tmp_path: Path) -> None:
    folder = write_nifti(tmp_path / "head", Phantom(shape=(6, 40, 40)))
    expected = broken(folder, kind)
    with TumorClient.from_engine(BrightEngine()) as client, pytest.raises(expected, match=r"flair\.nii"):
        client.predict_study(folder)
