from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid

from clinical_phantoms import Phantom, Sequence
from tumorctl.errors import UnusableSeries
from tumorctl.io.dicom import reading
from tumorctl.io.dicom.reading import read_dicom
from tumorctl.io.dicom.stacks import Stack
from tumorctl.io.dicom.traits import traits_of
from tumorctl.io.series import SeriesRole, SeriesTraits, StudyFailure, StudyInput

SMALL = Phantom(shape=(8, 24, 28), spacing_mm=(20.0, 9.6, 8.2))
Spoil = Callable[[Dataset], None]


def flair(spoil: Spoil, which: slice) -> list[Dataset]:
    instances = SMALL.instances(Sequence.flair)
    for each in instances[which]:
        spoil(each)
    return instances


def with_rounded_echo_time(each: Dataset) -> None:
    each.EchoTime = "119.4"


def with_rounded_spacing(each: Dataset) -> None:
    each.PixelSpacing = ["9.602", "8.201"]


@pytest.mark.parametrize("which", [slice(5, None), slice(None, None, 2)], ids=["upper", "every other"])
@pytest.mark.parametrize("spoil", [with_rounded_echo_time, with_rounded_spacing])
def test_rounded_times_and_spacings_part_nothing(spoil: Spoil, which: slice) -> None:
    (study,) = read_dicom([*flair(spoil, which)])
    assert isinstance(study, StudyInput)
    series, _ = study.chosen[SeriesRole.flair]
    np.testing.assert_array_equal(series.volume.voxels, SMALL.voxels(Sequence.flair))


def in_another_frame_of_reference(each: Dataset) -> None:
    each.FrameOfReferenceUID = "1.2.3"


def with_another_echo_time(each: Dataset) -> None:
    each.EchoTime = "90"


def with_other_pixels(each: Dataset) -> None:
    each.PixelSpacing = ["9.7", "8.2"]


def with_more_rows(each: Dataset) -> None:
    each.Rows = 26
    each.PixelData += bytes(2 * 2 * 28)


def turned_a_little(each: Dataset) -> None:
    each.ImageOrientationPatient = [1, 0, 0, 0, 0.998, 0.0632]


@pytest.mark.parametrize("which", [slice(5, None), slice(None, None, 2)], ids=["upper", "every other"])
@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (in_another_frame_of_reference, "frame of reference"),
        (with_another_echo_time, "echo time"),
        (with_other_pixels, "pixel spacing"),
        (with_more_rows, "size"),
        (turned_a_little, "orientation"),
    ],
)
def test_a_fragment_does_not_pass_as_the_whole(spoil: Spoil, what: str, which: slice) -> None:
    (study,) = read_dicom([*flair(spoil, which)])
    assert isinstance(study, StudyFailure)
    assert isinstance(study.error, UnusableSeries)
    assert "slices are only a part of a volume" in str(study.error)
    assert f"differ in {what};" in str(study.error)
    assert str(study.error).startswith("series 1 of 2: ")


def test_a_torn_t1_is_left_out_with_a_warning() -> None:
    torn = SMALL.instances(Sequence.t1_pre)
    for each in torn[4:]:
        each.FrameOfReferenceUID = "1.2.3"
    (study,) = read_dicom([*SMALL.instances(Sequence.flair), *torn])
    assert isinstance(study, StudyInput)
    assert set(study.chosen) == {SeriesRole.flair}
    assert [text for text in study.warnings if "only a part of a volume" in text]


def test_slices_of_a_frame_of_reference_each_are_no_volume() -> None:
    instances = SMALL.instances(Sequence.flair)
    for each in instances:
        each.FrameOfReferenceUID = generate_uid()
    (study,) = read_dicom([*instances])
    assert isinstance(study, StudyFailure)
    assert "7 of its 8 slices differ from the others" in str(study.error)


@pytest.mark.parametrize("by_place", [False, True], ids=["as it comes", "halves"])
def test_a_concatenation_is_refused(by_place: bool) -> None:
    whole = SMALL.multi_frame(Sequence.flair)
    frames = list(whole.PerFrameFunctionalGroupsSequence)
    order = list(range(8))
    if by_place:
        order.sort(key=lambda frame: float(frames[frame].PlanePositionSequence[0].ImagePositionPatient[2]))
    length = len(whole.PixelData) // 8
    parts = []
    for number, chosen in enumerate((order[:5], order[5:]), 1):
        part = deepcopy(whole)
        part.SOPInstanceUID, part.NumberOfFrames = generate_uid(), len(chosen)
        part.ConcatenationUID, part.InConcatenationNumber = "1.2.3", number
        part.PerFrameFunctionalGroupsSequence = [frames[frame] for frame in chosen]
        part.PixelData = b"".join(whole.PixelData[length * frame : length * (frame + 1)] for frame in chosen)
        parts.append(part)
    (study,) = read_dicom([*parts])
    assert isinstance(study, StudyFailure)
    assert isinstance(study.error, UnusableSeries)
    assert "differ in multi-frame object" in str(study.error)


@pytest.mark.parametrize("moved_mm", [0.0, 3.0])
def test_echoes_of_one_anatomy_are_whole(moved_mm: float) -> None:
    both = [SMALL.instances(Sequence.flair), SMALL.instances(Sequence.flair)]
    for each in both[1]:
        each.EchoTime, each.SOPInstanceUID = "20", generate_uid()
        x, y, z = (float(place) for place in each.ImagePositionPatient)
        each.ImagePositionPatient = [x, y, z + moved_mm]
    (study,) = read_dicom([*both[0], *both[1]])
    assert isinstance(study, StudyInput)
    assert study.chosen[SeriesRole.flair][0].volume.grid.shape == SMALL.shape
    assert study.warnings == ()


def test_points_in_time_that_are_told_oddly_are_parted() -> None:
    study_input = [*SMALL.instances(Sequence.flair)]
    for point in (1, 2):
        for each in SMALL.instances(Sequence.t1_pre):
            each.SOPInstanceUID, each.SeriesDescription = generate_uid(), "ep2d_perf"
            each.TemporalPositionIdentifier = [1, point]
            study_input.append(each)
    (study,) = read_dicom([*study_input])
    assert isinstance(study, StudyInput)
    assert set(study.chosen) == {SeriesRole.flair}


def test_a_series_that_fails_in_an_unforeseen_way_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(stack: Stack) -> SeriesTraits:
        if stack.slices[0].find("SeriesNumber") != 3:
            raise RecursionError("a value of the header")
        return traits_of(stack)

    monkeypatch.setattr(reading, "traits_of", failing)
    (study,) = read_dicom([each for sequence in Sequence for each in SMALL.instances(sequence)])
    assert isinstance(study, StudyInput)
    assert set(study.chosen) == {SeriesRole.flair}
    assert [text for text in study.warnings if "the series of dataset 1 of 24: " in text and "(RecursionError)" in text]
    (failed,) = read_dicom([*SMALL.instances(Sequence.t1_pre)])
    assert isinstance(failed, StudyFailure)
    assert "a value of the header" not in str(failed.error)
