"""Pixels of a stack: checked, decoded and rescaled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import gdcm
import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless

from tumorctl.errors import UnreadableStudy, UnusableSeries
from tumorctl.io.dicom.codestreams import declared_size
from tumorctl.io.dicom.quiet import privately
from tumorctl.io.dicom.slices import Slice, number
from tumorctl.io.dicom.stacks import Stack

_SCALE: Final = "PixelValueTransformationSequence"


def voxels_of(stack: Stack, file_name: Callable[[Slice], str]) -> npt.NDArray[np.float32]:
    """Decode the pixels of a stack whose grid was checked, one object at a time.

    Args:
        stack: its slices.
        file_name: says where a slice came from.

    Returns:
        float32, shape (slice, row, column), in the units of the header's rescaling.

    Raises:
        UnreadableStudy: an object is cut off or damaged, or packed in a way that cannot be decoded.
        UnusableSeries: an object without pixels, or with pixels that are not one grey value each.
    """
    first = stack.slices[0]
    voxels = np.empty((len(stack.slices), first.rows, first.columns), np.float32)
    _silence_gdcm()
    if first.frame is None:
        for place, each in enumerate(stack.slices):
            voxels[place] = _decoded(each.source.whole, [each], file_name)[0]
    else:
        voxels[:] = _decoded(first.source.whole, list(stack.slices), file_name)
    return voxels


def _decoded(
    whole: Callable[[], Dataset], slices: list[Slice], file_name: Callable[[Slice], str]
) -> list[npt.NDArray[np.float32]]:
    where = file_name(slices[0])

    def decode() -> list[npt.NDArray[np.float32]]:
        dataset = whole()
        _check_kind(dataset, where)
        syntax = _syntax(dataset, where)
        decoder = get_decoder(syntax)
        if not decoder.is_available:
            raise NotImplementedError
        if syntax.is_encapsulated:
            _check_codestreams(dataset, where, run_length=syntax == RLELossless)
        frames = [each.frame or 0 for each in slices]
        order = sorted(set(frames))
        arrays = {
            frame: array
            for frame, (array, _) in zip(order, decoder.iter_array(dataset, indices=order, raw=True), strict=True)
        }
        return [_rescaled(arrays[frame], each) for frame, each in zip(frames, slices, strict=True)]

    def failure(kind: str) -> UnreadableStudy:
        if kind == "NotImplementedError":
            return UnreadableStudy(
                f"{where} is packed in a transfer syntax that cannot be decoded here; have it sent uncompressed"
            )
        return UnreadableStudy(f"the pixels of {where} are damaged or cut off ({kind}); have the series sent again")

    return privately(decode, failure)


def _check_kind(dataset: Dataset, where: str) -> None:
    if "PixelData" not in dataset or not dataset.PixelData:
        raise UnusableSeries(f"{where} has no pixels; have the series sent with its images")
    if int(dataset.get("SamplesPerPixel") or 1) != 1 or dataset.get("PhotometricInterpretation") != "MONOCHROME2":
        raise UnusableSeries(f"{where} does not hold grey values, bright for much signal (MONOCHROME2)")


def _syntax(dataset: Dataset, where: str) -> UID:
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is None:
        if len(dataset.PixelData) < _native_bytes(dataset):
            raise UnreadableStudy(f"{where} does not tell its transfer syntax; set file_meta.TransferSyntaxUID")
        return ExplicitVRLittleEndian
    return UID(syntax)


def _native_bytes(dataset: Dataset) -> int:
    frames = int(dataset.get("NumberOfFrames") or 1)
    return int(dataset.Rows) * int(dataset.Columns) * frames * int(dataset.BitsAllocated) // 8


def _check_codestreams(dataset: Dataset, where: str, *, run_length: bool) -> None:
    """See that what is packed is as large as the header declares, whatever else a decoder would make of it."""
    count = int(dataset.get("NumberOfFrames") or 1)
    expected = (int(dataset.Rows), int(dataset.Columns), 1)
    longest = 1024 + 2 * _native_bytes(dataset) // count
    offsets = dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths")
    table = offsets if None not in offsets else None
    for frame in generate_frames(dataset.PixelData, number_of_frames=count, extended_offsets=table):
        # Run lengths declare nothing; a frame much longer than its pixels could only unpack to more of them.
        fits = len(frame) <= longest if run_length else declared_size(frame) == expected
        if not fits:
            raise UnreadableStudy(f"the compressed pixels of {where} are not of the size that its header declares")


def _rescaled(array: npt.NDArray[np.generic], each: Slice) -> npt.NDArray[np.float32]:
    slope, intercept = number(each.find("RescaleSlope", _SCALE)), number(each.find("RescaleIntercept", _SCALE))
    scaled = array.astype(np.float32) * (1.0 if slope is None else slope) + (0.0 if intercept is None else intercept)
    padding = number(each.header.get("PixelPaddingValue"))
    if padding is not None and padding < 0:
        # Around the head, far below any signal: it would take most of the range.
        padded = np.asarray(array == padding)
        if padded.any() and not padded.all():
            scaled[padded] = scaled[~padded].min()
    return np.asarray(scaled, np.float32)


def _silence_gdcm() -> None:
    """GDCM writes what it reads to stderr, below Python."""
    gdcm.Trace.DebugOff()
    gdcm.Trace.WarningOff()
    gdcm.Trace.ErrorOff()
