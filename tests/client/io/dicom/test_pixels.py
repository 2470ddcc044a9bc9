from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from pydicom import Dataset

from clinical_phantoms import Phantom, Sequence
from tumorctl.errors import InvalidInput, UnreadableStudy, UnusableSeries
from tumorctl.io.dicom.reading import read_dicom
from tumorctl.io.series import SeriesRole, StudyFailure, StudyInput

SMALL = Phantom(shape=(6, 24, 28), spacing_mm=(25.0, 9.6, 8.2))
Pixels = npt.NDArray[np.int64]


def flair(spoil: Callable[[Dataset], None]) -> list[Dataset]:
    instances = SMALL.instances(Sequence.flair)
    for each in instances:
        spoil(each)
    return instances


def read(instances: list[Dataset]) -> npt.NDArray[np.float32]:
    (study,) = read_dicom([*instances])
    assert isinstance(study, StudyInput), study
    return study.chosen[SeriesRole.flair][0].volume.voxels


def refused(instances: list[Dataset]) -> InvalidInput:
    (study,) = read_dicom([*instances])
    assert isinstance(study, StudyFailure)
    assert isinstance(study.error, InvalidInput)
    assert str(study.error).startswith("series 1 of 1: ")
    return study.error


def padded(
    first: int, padding: int, kind: str, *, declared: int | None = None, last: int | None = None
) -> list[Dataset]:
    """The FLAIR with padding in its first rows, and in all of its first and last slice."""
    instances = SMALL.instances(Sequence.flair)
    for number, each in enumerate(instances):
        pixels = np.frombuffer(each.PixelData, "<u2").astype(kind).reshape(24, 28).copy()
        pixels[: 24 if number in (0, 5) else 3] = padding
        if kind == "<i2":
            each.PixelRepresentation, each.BitsStored, each.HighBit = 1, 16, 15
        each.PixelData = pixels.tobytes()
        value = first if declared is None else declared
        each.add_new("PixelPaddingValue", "US" if value >= 0 else "SS", value)
        if last is not None:
            each.add_new("PixelPaddingRangeLimit", "US" if last >= 0 else "SS", last)
    return instances


@pytest.mark.parametrize(
    "instances",
    [
        padded(-2000, -2000, "<i2"),
        padded(-2000, -2000, "<i2", declared=63536),
        padded(4095, 4095, "<u2"),
        padded(4090, 4093, "<u2", last=4095),
        padded(4095, 4093, "<u2", last=4090),
        padded(-2000, -1500, "<i2", last=-1000),
    ],
    ids=["signed", "unsigned counterpart", "positive", "range", "range downwards", "signed range"],
)
def test_padding_is_background_in_every_slice(instances: list[Dataset]) -> None:
    voxels = read(instances)
    real = SMALL.voxels(Sequence.flair)[1:-1, 3:].astype(np.float32)
    np.testing.assert_array_equal(voxels[1:-1, 3:], real)
    np.testing.assert_array_equal(voxels[[0, -1]], real.min())
    np.testing.assert_array_equal(voxels[:, :3], real.min())


def test_padding_that_is_nowhere_changes_nothing() -> None:
    instances = flair(lambda each: each.add_new("PixelPaddingValue", "US", 4095))
    np.testing.assert_array_equal(read(instances), SMALL.voxels(Sequence.flair))


def blank(each: Dataset) -> None:
    each.PixelData = bytes(len(each.PixelData))


def wholly_padding(each: Dataset) -> None:
    each.add_new("PixelPaddingValue", "US", 0)
    blank(each)


def without_slope(each: Dataset) -> None:
    each.RescaleSlope, each.RescaleIntercept = "0", "5"


def upside_down(each: Dataset) -> None:
    each.RescaleSlope, each.RescaleIntercept = "-1", "4095"


def beyond_all_numbers(each: Dataset) -> None:
    each.RescaleSlope, each.RescaleIntercept = "1e300", "0"


def in_the_upper_bits(each: Dataset) -> None:
    each.PixelData = (np.frombuffer(each.PixelData, "<u2") << 4).tobytes()
    each.HighBit = 15


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (blank, "blank, all voxels have one value"),
        (wholly_padding, "blank, all its pixels are padding"),
        (without_slope, "RescaleSlope that is not positive"),
        (upside_down, "RescaleSlope that is not positive"),
        (beyond_all_numbers, "not finite numbers"),
        (in_the_upper_bits, "HighBit is not BitsStored - 1"),
    ],
)
def test_pixels_that_are_no_image(spoil: Callable[[Dataset], None], message: str) -> None:
    found = refused(flair(spoil))
    assert isinstance(found, UnusableSeries)
    assert message in str(found)


def test_a_blank_t1_is_left_out_with_a_warning() -> None:
    t1 = SMALL.instances(Sequence.t1_pre)
    for each in t1:
        blank(each)
    (study,) = read_dicom([*SMALL.instances(Sequence.flair), *t1])
    assert isinstance(study, StudyInput)
    assert set(study.chosen) == {SeriesRole.flair}
    assert study.warnings == ("series 1 of 2: blank, all voxels have one value; it was not used for t1_pre",)


def test_pixels_longer_than_declared_are_refused() -> None:
    found = refused(flair(lambda each: setattr(each, "Columns", 24)))
    assert isinstance(found, UnreadableStudy)
    assert "dataset 1 of 6 has more pixels than its header declares" in str(found)
    longer = SMALL.multi_frame(Sequence.flair)
    longer.PixelData += bytes(2)
    assert "has more pixels" in str(refused([longer]))


def test_a_byte_that_pads_the_value_is_none_too_many() -> None:
    odd = Phantom(shape=(6, 25, 27), spacing_mm=(25.0, 9.6, 8.2))
    instances = odd.instances(Sequence.flair)
    for each in instances:
        each.BitsAllocated, each.BitsStored, each.HighBit = 8, 8, 7
        each.PixelData = (np.frombuffer(each.PixelData, "<u2") // 16).astype(np.uint8).tobytes() + b"\0"
    np.testing.assert_array_equal(read(instances), odd.voxels(Sequence.flair) // 16)
