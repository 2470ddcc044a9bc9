from __future__ import annotations

import logging
import warnings
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import numpy.typing as npt
import pydicom
import pytest

from clinical_phantoms import Phantom, Plane, Sequence
from debian import dicom_errors
from predictions import ENGINE, predicted
from tumorctl.errors import MaskMismatch, MissingDicomTag, NoDicomSource, OutputError
from tumorctl.io.dicom.reading import read_dicom
from tumorctl.io.series import SeriesRole, StudyFailure, StudyInput

TILTED = (11.0, -8.0, 14.0)
SMALL = Phantom(shape=(18, 32, 36), spacing_mm=(10.0, 7.2, 6.4))


def points_lps(seg: pydicom.Dataset) -> npt.NDArray[np.float64]:
    """Centres of the outlined pixels in LPS mm, from the attributes of the standard alone."""
    shared = seg.SharedFunctionalGroupsSequence[0]
    row_mm, column_mm = (float(x) for x in shared.PixelMeasuresSequence[0].PixelSpacing)
    points = []
    pixels = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    for frame, group in zip(pixels, seg.PerFrameFunctionalGroupsSequence, strict=True):
        orientation = (group if "PlaneOrientationSequence" in group else shared).PlaneOrientationSequence[0]
        cosines = np.array(orientation.ImageOrientationPatient, float)
        start = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        for row, column in np.argwhere(frame):
            points.append(start + cosines[:3] * column * column_mm + cosines[3:] * row * row_mm)
    return np.array(points)


def assert_same_voxels(points: npt.NDArray[np.float64], phantom: Phantom) -> None:
    """The points are the centres of the lesion's voxels, each once."""
    indices = phantom.grid.to_index(points * (-1, -1, 1))
    assert np.abs(indices - indices.round()).max() < 0.01
    assert sorted(map(tuple, indices.round().astype(int))) == sorted(map(tuple, np.argwhere(phantom.mask)))


@pytest.mark.parametrize("against_normal", [False, True])
@pytest.mark.parametrize("plane", list(Plane))
def test_the_lesion_comes_back_where_it_was(plane: Plane, against_normal: bool, tmp_path: Path) -> None:
    phantom = Phantom(plane=plane, tilt_deg=TILTED, against_normal=against_normal)
    prediction = predicted(phantom)
    prediction.to_dicom_seg().save_as(tmp_path / "seg.dcm", enforce_file_format=True)

    assert dicom_errors(tmp_path / "seg.dcm") == []
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    points = points_lps(seg)
    assert_same_voxels(points, phantom)
    assert points.mean(axis=0) == pytest.approx(phantom.lesion_center_lps, abs=1.0)
    assert (points[:, 0] > 0).all()  # left stays left

    # Each frame refers to the instance that lies where the frame says.
    places = {each.SOPInstanceUID: each.ImagePositionPatient for each in prediction.flair_instances}
    for group in seg.PerFrameFunctionalGroupsSequence:
        source = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        assert np.array(group.PlanePositionSequence[0].ImagePositionPatient, float) == pytest.approx(
            np.array(places[source], float)
        )
    assert seg.NumberOfFrames == phantom.mask.any(axis=(1, 2)).sum()
    assert seg.FrameOfReferenceUID == prediction.flair_instances[0].FrameOfReferenceUID


@pytest.mark.parametrize("against_normal", [False, True])
@pytest.mark.parametrize("plane", list(Plane))
def test_an_independent_reader_finds_the_lesion_in_the_shuffled_scan(
    plane: Plane, against_normal: bool, tmp_path: Path
) -> None:
    sitk = pytest.importorskip("SimpleITK")
    phantom = Phantom(plane=plane, tilt_deg=TILTED, against_normal=against_normal)
    folder = phantom.write(tmp_path / "study", sequences=(Sequence.flair,), seed=3)
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    image = sitk.ReadImage(files)
    grey = [
        image[image.TransformPhysicalPointToIndex([float(x) for x in point])]
        for point in points_lps(predicted(phantom).to_dicom_seg())
    ]
    assert len(grey) == phantom.mask.sum()
    assert min(grey) > 850  # the lesion's level is 950, the brain's 450


def test_it_says_what_it_is_and_copies_who_it_is_of() -> None:
    prediction = predicted(SMALL)
    seg = prediction.to_dicom_seg()
    first = prediction.flair_instances[0]
    for keyword in (
        *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientWeight"),
        *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "StudyDescription"),
        *("ReferringPhysicianName", "SpecificCharacterSet"),
    ):
        assert seg[keyword].value == first[keyword].value
    assert seg.SegmentationType == "BINARY"
    assert "RESEARCH USE ONLY" in seg.SeriesDescription
    segment = seg.SegmentSequence[0]
    assert segment.SegmentLabel == "FLAIR abnormality (T2 hyperintensity)"
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    assert segment.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "108369006"
    assert segment.AnatomicRegionSequence[0].CodeValue == "12738006"
    algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmFamilyCodeSequence[0].CodeValue == "123110"
    assert "gate_threshold=0.05" in algorithm.AlgorithmParameters
    assert "tumor_segmenter_sha256=" + "cd" * 32 in algorithm.AlgorithmParameters


def test_making_it_changes_nothing_of_the_input() -> None:
    prediction = predicted(SMALL)
    before = [instance.to_json() for instance in prediction.flair_instances]
    prediction.to_dicom_seg()
    prediction.to_dicom_sr()
    prediction.to_dicom_sc()
    assert [instance.to_json() for instance in prediction.flair_instances] == before


def test_uids_follow_from_input_networks_settings_and_answer() -> None:
    phantom = SMALL
    first = predicted(phantom)
    again = predicted(phantom, study="another name", flair_instances=tuple(phantom.instances(Sequence.flair)))
    assert first.to_dicom_seg().SOPInstanceUID == again.to_dicom_seg().SOPInstanceUID
    assert first.to_dicom_seg().SeriesInstanceUID == again.to_dicom_seg().SeriesInstanceUID
    smaller = phantom.mask.copy()
    smaller[tuple(np.argwhere(smaller)[0])] = False
    others = [
        predicted(phantom, gate_threshold=0.06),
        predicted(phantom, mask=smaller),
        predicted(phantom, tumor_probability=0.92),
        predicted(phantom, warnings=()),
        predicted(phantom, engine=replace(ENGINE, model_digests={"tumor_segmenter": "ef" * 32})),
        predicted(phantom, engine=replace(ENGINE, mask_threshold=0.4)),
        predicted(phantom, engine=replace(ENGINE, target="bf16")),
        predicted(replace(SMALL, patient="2")),
    ]
    uids = {prediction.to_dicom_seg().SOPInstanceUID for prediction in (first, *others)}
    assert len(uids) == 1 + len(others)
    kinds = (first.to_dicom_seg(), first.to_dicom_sr(), first.to_dicom_sc())
    assert len({made.SOPInstanceUID for made in kinds} | {made.SeriesInstanceUID for made in kinds}) == 6


def test_multi_frame_input_is_referred_to_by_frame(tmp_path: Path) -> None:
    phantom = Phantom(tilt_deg=TILTED)
    classic = phantom.instances(Sequence.flair)
    order = np.random.default_rng(5).permutation(len(classic))
    enhanced = highdicom.legacy.LegacyConvertedEnhancedMRImage(
        legacy_datasets=[classic[number] for number in order],
        series_instance_uid=highdicom.UID(),
        series_number=7,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
    )
    starts = [
        np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        for group in enhanced.PerFrameFunctionalGroupsSequence
    ]
    frames = tuple(
        int(np.argmin([np.linalg.norm(start - np.array(each.ImagePositionPatient, float)) for start in starts]))
        for each in classic
    )
    prediction = predicted(phantom, flair_instances=(enhanced,), flair_frames=frames)
    for name, made in (("seg", prediction.to_dicom_seg()), ("sr", prediction.to_dicom_sr())):
        made.save_as(tmp_path / f"{name}.dcm", enforce_file_format=True)
        assert dicom_errors(tmp_path / f"{name}.dcm") == []
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    assert_same_voxels(points_lps(seg), phantom)
    with pytest.raises(MaskMismatch, match="do not lie"):
        predicted(phantom, flair_instances=(enhanced,), flair_frames=frames[::-1]).to_dicom_seg()


def test_a_multi_frame_object_that_says_directions_frame_by_frame(tmp_path: Path) -> None:
    enhanced = SMALL.multi_frame(Sequence.flair)
    shared = enhanced.SharedFunctionalGroupsSequence[0]
    for frame in enhanced.PerFrameFunctionalGroupsSequence:
        frame.PlaneOrientationSequence = deepcopy(shared.PlaneOrientationSequence)
        frame.PixelMeasuresSequence = deepcopy(shared.PixelMeasuresSequence)
    del shared.PlaneOrientationSequence, shared.PixelMeasuresSequence
    before = enhanced.to_json()
    (study,) = read_dicom([enhanced])
    assert isinstance(study, StudyInput)
    flair, _ = study.chosen[SeriesRole.flair]
    prediction = predicted(SMALL, flair=flair.volume, flair_instances=flair.instances, flair_frames=flair.frames)
    prediction.to_dicom_seg().save_as(tmp_path / "seg.dcm", enforce_file_format=True)
    assert dicom_errors(tmp_path / "seg.dcm") == []
    assert_same_voxels(points_lps(pydicom.dcmread(tmp_path / "seg.dcm")), SMALL)
    assert enhanced.to_json() == before


def again(frame: pydicom.Dataset, kind: str) -> pydicom.Dataset:
    """The frame as another echo, at another point in time or in another plane sees it."""
    other, item = deepcopy(frame), pydicom.Dataset()
    if kind == "echo":
        item.EffectiveEchoTime = 20.0
        other.MREchoSequence = [item]
    elif kind == "time":
        item.TemporalPositionIndex = 2
        other.FrameContentSequence = [item]
    else:
        x, y, z = other.PlanePositionSequence[0].ImagePositionPatient
        other.PlanePositionSequence[0].ImagePositionPatient = [x, z, y]
        item.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
        other.PlaneOrientationSequence = [item]
    return other


@pytest.mark.parametrize("first", [True, False], ids=["used first", "used last"])
@pytest.mark.parametrize("kind", ["echo", "time", "plane"])
def test_a_multi_frame_object_with_more_than_the_flair(kind: str, first: bool, tmp_path: Path) -> None:
    enhanced = SMALL.multi_frame(Sequence.flair)
    used = list(enhanced.PerFrameFunctionalGroupsSequence)
    others = [again(frame, kind) for frame in used]
    if not first and kind == "plane":
        # What the frames share is not what the used ones have.
        shared = enhanced.SharedFunctionalGroupsSequence[0]
        for frame in used:
            frame.PlaneOrientationSequence = deepcopy(shared.PlaneOrientationSequence)
        shared.PlaneOrientationSequence[0].ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    if first and kind == "time":
        used, others = others, used
    dark = bytes(len(enhanced.PixelData) // 2) + enhanced.PixelData[: len(enhanced.PixelData) // 2]
    enhanced.NumberOfFrames = 36
    enhanced.PerFrameFunctionalGroupsSequence = [*used, *others] if first else [*others, *used]
    enhanced.PixelData = enhanced.PixelData + dark if first else dark + enhanced.PixelData
    (study,) = read_dicom([enhanced], named=None if kind == "plane" else {SeriesRole.flair: "1" if first else "2"})
    assert isinstance(study, StudyInput)
    flair, _ = study.chosen[SeriesRole.flair]
    assert sorted(flair.frames) == list(range(18) if first else range(18, 36))
    prediction = predicted(SMALL, flair=flair.volume, flair_instances=flair.instances, flair_frames=flair.frames)
    before = enhanced.to_json()
    for name, made in (
        ("seg", prediction.to_dicom_seg()),
        ("sr", prediction.to_dicom_sr()),
        ("sc", prediction.to_dicom_sc()),
    ):
        made.save_as(tmp_path / f"{name}.dcm", enforce_file_format=True)
        assert dicom_errors(tmp_path / f"{name}.dcm") == []
    assert enhanced.to_json() == before
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    assert_same_voxels(points_lps(seg), SMALL)
    for group in seg.PerFrameFunctionalGroupsSequence:
        number = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber
        source = enhanced.PerFrameFunctionalGroupsSequence[number - 1]
        assert number - 1 in flair.frames
        assert np.array(group.PlanePositionSequence[0].ImagePositionPatient, float) == pytest.approx(
            np.array(source.PlanePositionSequence[0].ImagePositionPatient, float)
        )


def test_instances_that_share_a_uid_are_refused(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    instances = SMALL.instances(Sequence.flair)
    for each in instances[3:7]:
        each.SOPInstanceUID = "1.2.840.4711"
    prediction = predicted(SMALL, flair_instances=tuple(instances))
    for make in (prediction.to_dicom_seg, prediction.to_dicom_sr, prediction.to_dicom_sc):
        with pytest.raises(MissingDicomTag, match="a SOPInstanceUID of their own"):
            make()
    assert "4711" not in caplog.text + "".join(capfd.readouterr())


def test_making_results_says_nothing_of_the_patient(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    prediction = predicted(SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prediction.to_dicom_seg()
        prediction.to_dicom_sr()
        prediction.to_dicom_sc()
    said = caplog.text + "".join(capfd.readouterr())
    assert str(prediction.flair_instances[0].StudyInstanceUID) not in said
    assert "PHANTOM" not in said.upper()
    assert not [record for record in caplog.records if record.name.startswith(("highdicom", "pydicom"))]


@pytest.mark.parametrize("uneven", ["place", "direction"])
def test_slices_that_are_a_little_out_of_place_keep_their_own_places(uneven: str, tmp_path: Path) -> None:
    # What the reader takes must get its results: 10 mm apart, a slice may be off by 0.2 mm.
    instances = SMALL.instances(Sequence.flair)
    middle = instances[int(SMALL.mask.any(axis=(1, 2)).argmax()) + 1]
    if uneven == "place":
        x, y, z = (float(each) for each in middle.ImagePositionPatient)
        middle.ImagePositionPatient = [x + 0.1, y, z + 0.15]
    else:
        middle.ImageOrientationPatient = [1, 0.0008, 0, -0.0008, 1, 0]
    (study,) = read_dicom(instances)
    assert isinstance(study, StudyInput)
    flair, _ = study.chosen[SeriesRole.flair]
    prediction = predicted(SMALL, grid=flair.volume.grid, flair=flair.volume, flair_instances=flair.instances)
    seg = prediction.to_dicom_seg()
    prediction.to_dicom_sr()
    prediction.to_dicom_sc()
    seg.save_as(tmp_path / "seg.dcm", enforce_file_format=True)
    assert dicom_errors(tmp_path / "seg.dcm") == []
    places = {each.SOPInstanceUID: each.ImagePositionPatient for each in instances}
    referred = []
    for group in seg.PerFrameFunctionalGroupsSequence:
        referred.append(group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID)
        assert group.PlanePositionSequence[0].ImagePositionPatient == places[referred[-1]]
    assert middle.SOPInstanceUID in referred


def test_a_slice_that_is_further_out_of_place_is_refused() -> None:
    instances = SMALL.instances(Sequence.flair)
    x, y, z = (float(each) for each in instances[5].ImagePositionPatient)
    instances[5].ImagePositionPatient = [x, y, z + 0.25]
    with pytest.raises(MaskMismatch, match="do not lie"):
        predicted(SMALL, flair_instances=tuple(instances)).to_dicom_seg()
    (study,) = read_dicom(instances)
    assert isinstance(study, StudyFailure)


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "FrameOfReferenceUID", "StudyInstanceUID", "Rows"])
def test_a_missing_attribute_is_named(keyword: str) -> None:
    prediction = predicted(SMALL)
    del prediction.flair_instances[3][keyword]
    with pytest.raises(MissingDicomTag, match=keyword):
        prediction.to_dicom_seg()


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_a_missing_place_is_named(keyword: str) -> None:
    prediction = predicted(SMALL)
    del prediction.flair_instances[3][keyword]
    with pytest.raises(MissingDicomTag, match=keyword):
        prediction.to_dicom_seg()


def test_odd_attributes_of_the_patient_are_copied_and_do_no_harm(tmp_path: Path) -> None:
    instances = SMALL.instances(Sequence.flair)
    odd = {"PatientSex": "not said", "PatientBirthDate": "1970", "PatientAge": "54"}
    for number, instance in enumerate(instances):
        del instance.AccessionNumber, instance.StudyID, instance.SpecificCharacterSet
        instance.PatientName = "Phantom^Test"
        for keyword, value in odd.items():
            element = instance.data_element(keyword) or pytest.fail(keyword)
            element._value = value  # as scanners write it: no library would
        instance.save_as(tmp_path / f"{number:02}.dcm", enforce_file_format=True)
    read = tuple(pydicom.dcmread(file) for file in sorted(tmp_path.glob("*.dcm")))
    prediction = predicted(SMALL, flair_instances=read, warnings=("slices of 5 mm \u2013 thick",))
    for made in (prediction.to_dicom_seg(), prediction.to_dicom_sr(), prediction.to_dicom_sc()):
        made.save_as(tmp_path / "made", enforce_file_format=True)
        back = pydicom.dcmread(tmp_path / "made")
        assert back.PatientID == "PHANTOM-1"
        assert not back.AccessionNumber
        for keyword, value in odd.items():
            assert back.get_item(keyword).value.rstrip() == value.encode()


def test_an_odd_header_is_an_error_without_its_values() -> None:
    prediction = predicted(SMALL)
    for instance in prediction.flair_instances:
        instance.SpecificCharacterSet = "PHANTOM_SET"
    for make in (prediction.to_dicom_seg, prediction.to_dicom_sr, prediction.to_dicom_sc):
        with pytest.raises(OutputError, match="something unexpected") as caught:
            make()
        assert "PHANTOM" not in str(caught.value)


def test_instances_that_are_not_the_masks_slices_are_refused() -> None:
    phantom = SMALL
    instances = phantom.instances(Sequence.flair)
    with pytest.raises(MaskMismatch, match="shape"):
        predicted(phantom, flair_instances=tuple(instances[1:])).to_dicom_seg()
    with pytest.raises(MaskMismatch, match="do not lie"):
        predicted(phantom, flair_instances=tuple(reversed(instances))).to_dicom_seg()
    turned = phantom.instances(Sequence.flair)
    for instance in turned:
        orientation = list(instance.ImageOrientationPatient)
        instance.ImageOrientationPatient = [*orientation[3:], *orientation[:3]]
    with pytest.raises(MaskMismatch, match="do not lie"):
        predicted(phantom, flair_instances=tuple(turned)).to_dicom_seg()
    instances[2].FrameOfReferenceUID = "1.2.3"
    with pytest.raises(MaskMismatch, match="FrameOfReferenceUID"):
        predicted(phantom, flair_instances=tuple(instances)).to_dicom_seg()


def test_no_segmentation_of_nothing_and_none_of_nifti() -> None:
    with pytest.raises(OutputError, match="nothing was outlined"):
        predicted(replace(SMALL, lesion_radii_mm=(0.0, 0.0, 0.0))).to_dicom_seg()
    for make in ("to_dicom_seg", "to_dicom_sr", "to_dicom_sc"):
        with pytest.raises(NoDicomSource, match="not read from DICOM"):
            getattr(predicted(SMALL, dicom=False), make)()
