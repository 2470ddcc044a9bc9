from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its usual name
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from clinical_phantoms import Phantom, Plane, Sequence
from predictions import predicted
from tumorctl.errors import InvalidInput, MissingFlair, NoSuchSeries, UnreadableStudy
from tumorctl.io.dicom.reading import read_dicom
from tumorctl.io.series import SeriesRole, StudyFailure, StudyInput

SMALL = Phantom(shape=(6, 24, 28), spacing_mm=(25.0, 9.6, 8.2))
SCANS = [
    SMALL,
    Phantom(shape=(7, 26, 30), spacing_mm=(20.0, 9.0, 8.0), tilt_deg=(12.0, -7.0, 9.0), against_normal=True),
    Phantom(plane=Plane.coronal, shape=(8, 24, 30), spacing_mm=(24.0, 8.0, 7.0), tilt_deg=(4.0, 11.0, -13.0)),
    Phantom(plane=Plane.sagittal, shape=(9, 25, 31), spacing_mm=(18.0, 8.0, 7.5), against_normal=True),
]


def one(paths: list[Path | Dataset], named: dict[SeriesRole, str] | None = None) -> StudyInput:
    (study,) = read_dicom(paths, named=named)
    assert isinstance(study, StudyInput), study
    return study


def failure(paths: list[Path | Dataset], named: dict[SeriesRole, str] | None = None) -> StudyFailure:
    (study,) = read_dicom(paths, named=named)
    assert isinstance(study, StudyFailure)
    return study


@pytest.mark.parametrize("scan", SCANS)
def test_voxels_lie_where_the_scanner_saw_them(tmp_path: Path, scan: Phantom) -> None:
    study = one([scan.write(tmp_path / "any" / "depth", seed=3).parents[1]])
    assert study.warnings == ()
    assert set(study.chosen) == set(SeriesRole)
    for role, (series, choice) in study.chosen.items():
        assert (series.name, choice.role) == (choice.series, role)
        assert series.volume.voxels.dtype == np.float32
        voxels = scan.voxels(Sequence[role.name])
        # The order of slices is the reader's: each voxel is looked up where it lies.
        indices = np.moveaxis(np.indices(scan.shape), 0, -1).reshape(-1, 3)
        found = series.volume.grid.to_index(scan.grid.to_world_ras(indices))
        np.testing.assert_allclose(found, found.round(), atol=1e-5)
        np.testing.assert_array_equal(
            series.volume.voxels[tuple(found.round().astype(int).T)], voxels[tuple(indices.T)]
        )


@pytest.mark.parametrize("scan", SCANS)
def test_places_agree_with_an_independent_reader(tmp_path: Path, scan: Phantom) -> None:
    folder = scan.write(tmp_path / "flair", sequences=(Sequence.flair,))
    series, _ = one([folder]).chosen[SeriesRole.flair]
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), series.volume.voxels)
    for index in [(0, 0, 0), (3, 5, 7), tuple(size - 1 for size in scan.shape)]:
        theirs = image.TransformIndexToPhysicalPoint([int(each) for each in index[::-1]])
        ours = series.volume.grid.to_world_ras(index) * (-1, -1, 1)
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@settings(max_examples=12, deadline=None)
@given(
    tilt=st.tuples(*[st.floats(-40, 40)] * 3),
    plane=st.sampled_from(Plane),
    against=st.booleans(),
    order=st.randoms(use_true_random=False),
)
def test_any_order_of_slices_in_any_plane_gives_the_same_volume(
    tilt: tuple[float, float, float], plane: Plane, against: bool, order: Random
) -> None:
    scan = Phantom(plane=plane, tilt_deg=tilt, against_normal=against, shape=(4, 5, 6), spacing_mm=(30.0, 10.0, 9.0))
    instances: list[Dataset | Path] = list(scan.instances(Sequence.flair))
    for number, instance in enumerate(instances):
        instance.InstanceNumber = order.randint(-100, 100) + number  # type: ignore[union-attr]
    order.shuffle(instances)
    series, _ = one(instances).chosen[SeriesRole.flair]
    voxels = scan.voxels(Sequence.flair)
    turned = Phantom(plane=plane, tilt_deg=tilt, shape=scan.shape, spacing_mm=scan.spacing_mm)
    np.testing.assert_array_equal(series.volume.voxels, voxels[::-1] if against else voxels)
    assert series.volume.grid.is_close(turned.grid)


def silent_t1s(*times: str) -> list[Path | Dataset]:
    """A FLAIR and two T1s that do not tell of a contrast agent; the first is numbered 2, the second 4."""
    both = [SMALL.instances(Sequence.t1_pre), SMALL.instances(Sequence.t1_post)]
    for series, time in zip(both, times, strict=True):
        for each in series:
            each.SeriesDescription, each.AcquisitionTime = "AX T1", time
            if "ContrastBolusAgent" in each:
                del each.ContrastBolusAgent
    return [*SMALL.instances(Sequence.flair), *both[0], *both[1]]


@pytest.mark.parametrize(
    ("times", "post"), [(("101502", "101504.5"), "series 3 of 3"), (("101504.5", "101502"), "series 1 of 3")]
)
def test_of_t1s_that_do_not_tell_the_later_one_is_taken_with_a_warning(times: tuple[str, str], post: str) -> None:
    study = one(silent_t1s(*times))
    found = {role: series.name for role, (series, _) in study.chosen.items()}
    pre = "series 1 of 3" if post == "series 3 of 3" else "series 3 of 3"
    assert found == {SeriesRole.t1_pre: pre, SeriesRole.flair: "series 2 of 3", SeriesRole.t1_post: post}
    reason = study.chosen[SeriesRole.t1_post][1].reason
    assert reason.endswith(f"nothing tells of a contrast agent, but it repeats {pre} and was acquired later")
    (warning,) = study.warnings
    assert warning.startswith(f"{post} is taken to be from after contrast agent, only because it repeats {pre}")
    assert "--t1-pre and --t1-post" in warning
    assert not any(time in warning + reason for time in ("1015", "2024"))


def test_naming_the_t1s_settles_it() -> None:
    study = one(silent_t1s("101502", "101504"), named={SeriesRole.t1_pre: "3", SeriesRole.t1_post: "1"})
    assert {role: series.name for role, (series, _) in study.chosen.items()} == {
        SeriesRole.t1_pre: "series 3 of 3",
        SeriesRole.flair: "series 2 of 3",
        SeriesRole.t1_post: "series 1 of 3",
    }
    assert study.warnings == ()


def test_copies_of_one_acquisition_are_no_pair() -> None:
    study = one(silent_t1s("101502", "101502"))
    assert study.chosen[SeriesRole.t1_pre][0].name == "series 1 of 3"
    assert SeriesRole.t1_post not in study.chosen
    (warning,) = study.warnings
    assert warning.startswith("nothing tells whether series 1 of 3 and series 3 of 3 are from before or after contrast")


def test_instances_are_those_of_the_slices_without_pixels(tmp_path: Path) -> None:
    series, _ = one([SCANS[1].write(tmp_path / "scan")]).chosen[SeriesRole.flair]
    places = series.volume.grid.to_world_ras([(place, 0, 0) for place in range(7)]) * (-1, -1, 1)
    for instance, place in zip(series.instances, places, strict=True):
        np.testing.assert_allclose([float(each) for each in instance.ImagePositionPatient], place, atol=1e-5)
        assert "PixelData" not in instance
    assert series.frames == ()


@pytest.mark.parametrize("scan", SCANS[:2])
def test_multi_frame_objects_read_like_classic_ones(tmp_path: Path, scan: Phantom) -> None:
    for sequence in Sequence:
        scan.multi_frame(sequence).save_as(tmp_path / sequence.name, enforce_file_format=True)
    study = one([tmp_path])
    classic = one([instance for sequence in Sequence for instance in scan.instances(sequence)])
    for role, (series, choice) in study.chosen.items():
        same, _ = classic.chosen[role]
        assert choice.series == series.name
        assert series.volume.grid.is_close(same.volume.grid)
        np.testing.assert_array_equal(series.volume.voxels, same.volume.voxels * 2 + 10)
        (instance,) = series.instances
        assert sorted(series.frames) == list(range(scan.shape[0]))
        first = instance.PerFrameFunctionalGroupsSequence[series.frames[0]].PlanePositionSequence[0]
        wanted = series.volume.grid.to_world_ras((0, 0, 0)) * (-1, -1, 1)
        np.testing.assert_allclose(first.ImagePositionPatient, wanted, atol=1e-5)


@pytest.mark.parametrize(
    "syntax",
    [JPEGLSLossless, RLELossless, JPEG2000Lossless, JPEGLosslessSV1, DeflatedExplicitVRLittleEndian],
    ids=lambda syntax: syntax.keyword,
)
def test_compressed_pixels_are_bit_exact(tmp_path: Path, syntax: UID) -> None:
    for number, instance in enumerate(SMALL.instances(Sequence.flair)):
        path = tmp_path / f"{number}"
        instance.save_as(path, enforce_file_format=True)
        pack(path, syntax)
        assert dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID == syntax
    series, _ = one([tmp_path]).chosen[SeriesRole.flair]
    np.testing.assert_array_equal(series.volume.voxels, SMALL.voxels(Sequence.flair))


def test_a_compressed_multi_frame_object_is_bit_exact(tmp_path: Path) -> None:
    instance = SMALL.multi_frame(Sequence.flair)
    instance.compress(JPEGLSLossless)
    instance.save_as(tmp_path / "packed", enforce_file_format=True)
    series, _ = one([tmp_path]).chosen[SeriesRole.flair]
    np.testing.assert_array_equal(series.volume.voxels, SMALL.voxels(Sequence.flair) * 2.0 + 10)


def test_signed_values_are_rescaled_slice_by_slice_and_padding_is_background() -> None:
    instances = SMALL.instances(Sequence.flair)
    for number, instance in enumerate(instances):
        pixels = np.frombuffer(instance.PixelData, "<u2").astype("<i2").reshape(24, 28).copy()
        pixels[0] = -32768
        instance.PixelRepresentation, instance.BitsStored, instance.HighBit = 1, 16, 15
        instance.add_new("PixelPaddingValue", "SS", -32768)
        instance.RescaleSlope, instance.RescaleIntercept = str(number + 1), "-3"
        instance.PixelData = pixels.tobytes()
    series, _ = one([*instances]).chosen[SeriesRole.flair]
    wanted = SMALL.voxels(Sequence.flair) * (np.arange(6)[:, None, None] + 1.0) - 3
    np.testing.assert_array_equal(series.volume.voxels[:, 1:], wanted[:, 1:])
    assert series.volume.voxels.min() == -3


def test_files_without_preamble_and_other_files_in_between(tmp_path: Path) -> None:
    SMALL.write(tmp_path / "scan")
    for path in (tmp_path / "scan").iterdir():
        dataset = dcmread(path)
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        del dataset.file_meta
        dataset.save_as(path, implicit_vr=True, little_endian=True, enforce_file_format=False)
    (tmp_path / "scan" / "notes.txt").write_text("nothing")
    (tmp_path / "scan" / "empty").touch()
    study = one([tmp_path])
    assert (study.study, len(study.chosen)) == ("scan", 3)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian], ids=["plain", "deflated"])
def test_files_with_meta_information_and_without_preamble(tmp_path: Path, syntax: UID) -> None:
    for number, instance in enumerate(SMALL.instances(Sequence.flair)):
        instance.file_meta.TransferSyntaxUID = syntax
        # As the library does without being asked for a format: no more meta information than there is.
        instance.save_as(tmp_path / f"{number}", enforce_file_format=False)
        assert (tmp_path / f"{number}").read_bytes()[:2] == b"\x02\x00"
    series, _ = one([tmp_path]).chosen[SeriesRole.flair]
    np.testing.assert_array_equal(series.volume.voxels, SMALL.voxels(Sequence.flair))


def test_hidden_files_and_folders_are_not_read(tmp_path: Path) -> None:
    SMALL.write(tmp_path / "scan", sequences=(Sequence.flair,))
    SMALL.write(tmp_path / "scan" / ".trash", sequences=(Sequence.flair,))
    (tmp_path / "scan" / ".IM0001").write_bytes((tmp_path / "scan" / "IM0001").read_bytes())
    study = one([tmp_path])
    assert (study.study, study.warnings) == ("scan", ())
    assert one([tmp_path / "scan" / ".trash"]).chosen


def test_several_studies_mixed_in_one_folder_and_apart(tmp_path: Path) -> None:
    for patient in "12":
        for number, instance in enumerate(Phantom(shape=(4, 8, 9), patient=patient).instances(Sequence.flair)):
            (tmp_path / "mixed").mkdir(exist_ok=True)
            instance.save_as(tmp_path / "mixed" / f"{patient}-{number}", enforce_file_format=True)
    Phantom(shape=(4, 8, 9), patient="3").write(tmp_path / "alone" / "deep")
    Phantom(shape=(4, 8, 9), patient="4").write(tmp_path / "broken", sequences=(Sequence.t1_pre,))
    studies = list(read_dicom([tmp_path]))
    kinds = {each.study: type(each) for each in studies}
    assert kinds == {
        "alone/deep": StudyInput,
        "broken": StudyFailure,
        "study 3": StudyInput,
        "study 4": StudyInput,
    }


def test_a_series_with_two_echoes_or_orientations_is_parted() -> None:
    instances = SMALL.instances(Sequence.flair)
    other = SMALL.instances(Sequence.t1_pre)
    coronal = Phantom(plane=Plane.coronal, shape=(5, 24, 28)).instances(Sequence.flair)
    for each in (*other, *coronal):
        each.StudyInstanceUID = instances[0].StudyInstanceUID
        each.SeriesInstanceUID, each.SeriesNumber = instances[0].SeriesInstanceUID, 3
        each.FrameOfReferenceUID = instances[0].FrameOfReferenceUID
    study = one([*instances, *other, *coronal])
    series, choice = study.chosen[SeriesRole.flair]
    assert series.name == "series 1 of 3"
    assert choice.reason.endswith("preferred to series 3 of 3: axial")
    assert study.chosen[SeriesRole.t1_pre][0].name == "series 2 of 3"


def test_points_in_time_of_one_series_are_parted() -> None:
    instances = SMALL.instances(Sequence.flair)
    later = SMALL.instances(Sequence.flair)
    for number, each in enumerate(later):
        each.SOPInstanceUID = generate_uid(entropy_srcs=[str(number)])
        each.AcquisitionNumber = 2
    for each in instances:
        each.AcquisitionNumber = 1
    assert one([*instances, *later]).chosen[SeriesRole.flair][0].name == "series 1 of 2"


def test_a_missing_t1_is_absent() -> None:
    study = one([*SMALL.instances(Sequence.flair), *SMALL.instances(Sequence.t1_post)])
    assert set(study.chosen) == {SeriesRole.flair, SeriesRole.t1_post}


@pytest.mark.parametrize("name", ["3", "series 3 of 3", "#4", "scan/three", "GAD"])
def test_the_caller_may_name_a_series(tmp_path: Path, name: str) -> None:
    for folder, sequence in zip(("one", "two", "three"), Sequence, strict=True):
        SMALL.write(tmp_path / "scan" / folder, sequences=(sequence,))
    study = one([tmp_path], named={SeriesRole.flair: name})
    series, choice = study.chosen[SeriesRole.flair]
    assert (series.name, choice.reason) == ("series 3 of 3", "named by the caller")
    assert SeriesRole.t1_post not in study.chosen


@pytest.mark.parametrize("name", ["4", "#9", "AX", "", "no such words"])
def test_a_name_that_fits_none_or_several_is_refused(name: str) -> None:
    instances = [instance for sequence in Sequence for instance in SMALL.instances(sequence)]
    assert isinstance(failure([*instances], named={SeriesRole.t1_pre: name}).error, NoSuchSeries)


def test_a_real_study_without_flair_says_what_it_has(healthy_t1: Path) -> None:
    failed = failure([healthy_t1])
    assert isinstance(failed.error, MissingFlair)
    assert "series 1 of 1: 64 axial slices, T1 before contrast agent" in str(failed.error)
    series, _ = one([healthy_t1], named={SeriesRole.flair: "1"}).chosen[SeriesRole.flair]
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(healthy_t1)))
    image = reader.Execute()
    np.testing.assert_allclose(series.volume.voxels, sitk.GetArrayFromImage(image), rtol=1e-6)
    np.testing.assert_allclose(
        series.volume.grid.to_world_ras((63, 383, 273)) * (-1, -1, 1),
        image.TransformIndexToPhysicalPoint((273, 383, 63)),
        atol=1e-3,
    )


def test_a_folder_without_dicom_fails_and_one_that_is_not_there_raises(tmp_path: Path) -> None:
    assert isinstance(failure([tmp_path]).error, UnreadableStudy)
    with pytest.raises(InvalidInput, match="does not exist"):
        list(read_dicom([tmp_path / "nowhere"]))


def pack(path: Path, syntax: UID) -> None:
    """Compress a file in place, by pydicom where it can, else by GDCM."""
    dataset = dcmread(path)
    if syntax in (JPEGLSLossless, RLELossless):
        dataset.compress(syntax)
        dataset.save_as(path, enforce_file_format=True)
    elif syntax == DeflatedExplicitVRLittleEndian:
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(path, enforce_file_format=True)
    else:
        import gdcm

        reader = gdcm.ImageReader()
        reader.SetFileName(str(path))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        kind = gdcm.TransferSyntax.JPEG2000Lossless
        if syntax == JPEGLosslessSV1:
            kind = gdcm.TransferSyntax.JPEGLosslessProcess14_1
        change.SetTransferSyntax(gdcm.TransferSyntax(kind))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(str(path))
        assert writer.Write()


@pytest.mark.parametrize("multi_frame", [False, True], ids=["classic", "multi-frame"])
def test_results_refer_to_what_was_read_and_are_passed_over_when_they_come_back(
    tmp_path: Path, multi_frame: bool
) -> None:
    scan = Phantom(shape=(12, 32, 36), spacing_mm=(14.0, 7.2, 6.4), tilt_deg=(9.0, -6.0, 5.0), against_normal=True)
    if multi_frame:
        scan.multi_frame(Sequence.flair).save_as(tmp_path / "flair", enforce_file_format=True)
    else:
        scan.write(tmp_path, sequences=(Sequence.flair,))
    series, _ = one([tmp_path]).chosen[SeriesRole.flair]
    lps = series.volume.grid.to_world_ras(np.moveaxis(np.indices(series.volume.voxels.shape), 0, -1)) * (-1, -1, 1)
    inside = (np.square((lps - scan.lesion_center_lps) / scan.lesion_radii_mm).sum(axis=-1)) <= 1
    prediction = predicted(
        scan,
        mask=inside,
        grid=series.volume.grid,
        flair=series.volume,
        flair_instances=series.instances,
        flair_frames=series.frames,
    )
    for number, result in enumerate((prediction.to_dicom_seg(), prediction.to_dicom_sr(), prediction.to_dicom_sc())):
        result.save_as(tmp_path / f"result{number}", enforce_file_format=True)
    again, _ = one([tmp_path]).chosen[SeriesRole.flair]
    assert again.name == "series 1 of 1"
    np.testing.assert_array_equal(again.volume.voxels, series.volume.voxels)
