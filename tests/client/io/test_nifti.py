"""NIfTI files: the role that a name tells, and headers that cannot be true or say two things."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from clinical_phantoms import Phantom, Sequence
from tumorctl.errors import TumorctlError, UnreadableStudy, UnusableSeries
from tumorctl.io.nifti import read_volume, role_of, sets_of
from tumorctl.types import SeriesRole

SMALL = Phantom(shape=(6, 40, 44), spacing_mm=(25.0, 5.8, 5.2))
AFFINE = SMALL.grid.affine_ras[:, (2, 1, 0, 3)]
NAMES = {
    SeriesRole.flair: """
        flair t2f T2_FLAIR T2_SPACE_FLAIR reg_flair flair_to_t1 flair_to_t1_post flair_reg_t1 FLAIR_pre-op
        sub-01_FLAIR sub-01_space-T1_FLAIR sub-01_space-T1w_desc-preproc_FLAIR""",
    SeriesRole.t1_pre: """
        t1 t1n T1_pre t1_to_flair t1_to_t1_post t1_reg_flair t1_in_flair_space T1_post-op T1_pre-op_native
        T1_post_surgery t1_without_contrast t1_non-contrast sub-01_T1w sub-01_space-FLAIR_T1w""",
    SeriesRole.t1_post: """
        t1c t1ce T1_post T1_Gd_pre-op T1_post_pre-op t1_post-contrast_post-op t1ce_to_flair t1_to_flair_gd
        sub-01_ce-gadolinium_T1w sub-01_space-FLAIR_ce-GADOLINIUM_T1w""",
    None: """
        seg flair_seg flair_lesions lesion tumor_flair tumours flair_roi t1_label flair_labels
        sub-01_space-FLAIR_dseg t2 t2_to_flair t2_reg_flair T1_FLAIR brain""",
}


@pytest.mark.parametrize(("name", "role"), [(name, role) for role, names in NAMES.items() for name in names.split()])
def test_a_name_tells_the_role(name: str, role: SeriesRole | None) -> None:
    assert role_of(f"{name}.nii.gz") is role


def test_what_was_moved_to_a_space_belongs_to_the_study_of_that_name() -> None:
    names = ("p1_flair", "p1_t1_to_flair", "p2_flair", "p2_space-FLAIR_t1", "p2_t1_post-op", "p1_flair_lesions")
    found = {each.name: each.files for each in sets_of([Path(f"{name}.nii") for name in names])}
    assert {name: [file.stem for files in of.values() for file in files] for name, of in found.items()} == {
        "p1": ["p1_t1_to_flair", "p1_flair"],
        "p2": ["p2_space-FLAIR_t1", "p2_flair"],
    }


def test_before_and_after_surgery_are_two_studies() -> None:
    names = [f"{series}_{when}-op.nii.gz" for series in ("flair", "t1", "t1_gd") for when in ("pre", "post")]
    found = {each.name: each.files for each in sets_of(map(Path, names))}
    assert set(found) == {"preop", "postop"}
    assert all(len(files) == 1 for of in found.values() for files in of.values())
    assert found["preop"][SeriesRole.t1_post] == (Path("t1_gd_pre-op.nii.gz"),)


def image(affine: Any = AFFINE) -> Any:
    return nibabel.Nifti1Image(SMALL.voxels(Sequence.flair).transpose(2, 1, 0).astype(np.int16), affine)


def written(folder: Path, made: Any = None, **packed: tuple[str, int, tuple[float, ...]]) -> Path:
    """A file whose header is changed byte by byte: the format, where, and the values of each field."""
    raw = bytearray((made or image()).to_bytes())
    for layout, place, values in packed.values():
        struct.pack_into(layout, raw, place, *values)
    path = folder / "flair.nii"
    path.write_bytes(raw)
    return path


NO_CODES = ("<hh", 252, (0, 0))
QFORM_ONLY = ("<hh", 252, (1, 0))


@pytest.mark.parametrize(("unit", "unit_mm"), [("meter", 1000.0), ("mm", 1.0), ("unknown", 1.0), ("micron", 0.001)])
def test_the_unit_of_the_header_is_honoured(unit: str, unit_mm: float, tmp_path: Path) -> None:
    made = image(np.diag([1 / unit_mm, 1 / unit_mm, 1 / unit_mm, 1]) @ AFFINE)
    made.header.set_xyzt_units(unit, "sec")
    volume, warning = read_volume(written(tmp_path, made))
    assert volume.grid.is_close(SMALL.grid, 0.01)
    assert not warning


@pytest.mark.parametrize(
    ("scale", "said"),
    [
        ((1000, 1000, 1000), "25000 mm"),
        ((0.001, 0.001, 0.001), r"0\.0052 x 0\.0058"),
        ((1, 2, 1), r"11\.6"),
        ((1, 1, 2.1), r"52\.5"),
        ((0.009, 1, 1), "pixels of 0.05 to 10 mm"),
        ((0.01, 0.01, 0.003), "slices 0.1 to 50 mm apart"),
    ],
)
def test_voxels_that_no_head_is_scanned_with_are_refused(
    scale: tuple[float, float, float], said: str, tmp_path: Path
) -> None:
    with pytest.raises(UnusableSeries, match=rf"flair\.nii.*{said}.*plausible"):
        read_volume(written(tmp_path, image(AFFINE @ np.diag([*scale, 1]))))


def test_a_unit_that_cannot_be_true_is_named(tmp_path: Path) -> None:
    made = image()
    made.header.set_xyzt_units("meter")
    with pytest.raises(UnusableSeries, match="gives metres"):
        read_volume(written(tmp_path, made))


def test_a_volume_of_more_than_a_metre_is_refused(tmp_path: Path) -> None:
    made = nibabel.Nifti1Image(np.random.default_rng(0).integers(0, 99, (40, 130, 4), np.int16), np.diag([5, 8, 5, 1]))
    with pytest.raises(UnusableSeries, match=r"1040.*at most 1000 mm"):
        read_volume(written(tmp_path, made))


@pytest.mark.parametrize("codes", [NO_CODES, QFORM_ONLY])
@pytest.mark.parametrize("sizes", [(0.0, 0.0, 0.0), (5.2, 5.8, 0.0), (5.2, float("nan"), 25.0)])
def test_voxels_without_a_size_are_refused(
    codes: tuple[str, int, tuple[float, ...]], sizes: tuple[float, ...], tmp_path: Path
) -> None:
    with pytest.raises(UnusableSeries, match="how large a voxel is"):
        read_volume(written(tmp_path, codes=codes, sizes=("<fff", 80, sizes)))


@pytest.mark.parametrize("offset", [0.0, 100.0, 348.0, -400.0, float("nan")])
def test_voxels_inside_the_header_are_damage(offset: float, tmp_path: Path) -> None:
    with pytest.raises(UnreadableStudy, match="damaged"):
        read_volume(written(tmp_path, offset=("<f", 108, (offset,))))


@pytest.mark.parametrize(("axis", "sides"), [(0, "left and right"), (1, "front and back"), (2, "top and bottom")])
def test_places_that_disagree_in_a_side_are_told(axis: int, sides: str, tmp_path: Path) -> None:
    made = image()
    flipped = AFFINE.copy()
    flipped[axis] *= -1
    made.set_qform(flipped, 1)
    volume, warning = read_volume(written(tmp_path, made))
    assert volume.grid == SMALL.grid
    assert f"they have {sides} the other way round; the sform was used" in warning


@pytest.mark.parametrize(
    ("shift_mm", "turn_deg", "told"), [(0.5, 0.0, False), (1.5, 0.0, True), (0.0, 0.3, False), (0.0, 2.0, True)]
)
def test_places_that_disagree_notably_are_told(shift_mm: float, turn_deg: float, told: bool, tmp_path: Path) -> None:
    made = image()
    moved, angle = np.eye(4), np.radians(turn_deg)
    moved[:2, :2] = (np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))
    moved[0, 3] = shift_mm
    made.set_qform(moved @ AFFINE, 1)
    volume, warning = read_volume(written(tmp_path, made))
    assert volume.grid == SMALL.grid
    assert ("disagree; the sform was used" in warning) is told


def test_a_place_whose_code_is_not_valid_is_none(tmp_path: Path) -> None:
    _, warning = read_volume(written(tmp_path, codes=("<hh", 252, (99, 77))))
    assert "does not say how it lies" in warning
    made = image()
    made.set_qform(AFFINE, 1)
    assert not read_volume(written(tmp_path, made, quaternion=("<fff", 256, (3.0, 0.0, 0.0))))[1]


def test_a_file_without_permission_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path)

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(TumorctlError, match=r"flair\.nii: cannot be opened \(Permission denied\)"):
        read_volume(path)
