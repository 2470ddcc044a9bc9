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
        UnusableSeries: an object without pixels, with pixels that are not one grey value each, bright for much signal,
            or that are all the same.
    """
    first = stack.slices[0]
    voxels = np.empty((len(stack.slices), first.rows, first.columns), np.float32)
    _silence_gdcm()
    if first.frame is None:
        for place, each in enumerate(stack.slices):
            voxels[place] = _decoded(each.source.whole, [each], file_name)[0]
    else:
        voxels[:] = _decoded(first.source.whole, list(stack.slices), file_name)
    _fill_padding(voxels)
    if not np.isfinite(voxels).all():
        raise UnusableSeries("has voxels that are not finite numbers, by its header's rescaling")
    if voxels.min() == voxels.max():
        raise UnusableSeries("blank, all voxels have one value")
    return voxels


def _fill_padding(voxels: npt.NDArray[np.float32]) -> None:
    """Make what is marked as padding (NaN) background: as dark as the darkest that was measured."""
    padded = np.isnan(voxels)
    if padded.all():
        raise UnusableSeries("blank, all its pixels are padding")
    voxels[padded] = voxels[~padded].min()


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
        elif len(dataset.PixelData) > _native_bytes(dataset) + 1:
            # One more pads the value to an even length.
            raise UnreadableStudy(f"{where} has more pixels than its header declares; have the series sent again")
        frames = [each.frame or 0 for each in slices]
        order = sorted(set(frames))
        arrays = {
            frame: array
            for frame, (array, _) in zip(order, decoder.iter_array(dataset, indices=order, raw=True), strict=True)
        }
        return [_rescaled(arrays[frame], each, where) for frame, each in zip(frames, slices, strict=True)]

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
    stored = int(dataset.get("BitsStored") or 0)
    if stored and int(dataset.get("HighBit", stored - 1)) != stored - 1:
        raise UnusableSeries(f"{where} holds its values in bits that are not read here (HighBit is not BitsStored - 1)")


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


def _rescaled(array: npt.NDArray[np.generic], each: Slice, where: str) -> npt.NDArray[np.float32]:
    """Values in the units of the header's rescaling; NaN where they are padding."""
    slope, intercept = number(each.find("RescaleSlope", _SCALE)), number(each.find("RescaleIntercept", _SCALE))
    if slope is not None and slope <= 0:
        raise UnusableSeries(
            f"{where} has a RescaleSlope that is not positive, so that its values are not bright for much signal"
        )
    with np.errstate(over="ignore"):
        scaled = array.astype(np.float32) * (1.0 if slope is None else slope) + (
            0.0 if intercept is None else intercept
        )
        scaled = np.asarray(scaled, np.float32)
    scaled[_padding(array, each.header)] = np.nan
    return scaled


def _padding(array: npt.NDArray[np.generic], header: Dataset) -> npt.NDArray[np.bool_]:
    """Which stored values are padding by the header's word: around the head, not measured."""
    first = number(header.get("PixelPaddingValue"))
    if first is None:
        return np.zeros(array.shape, np.bool_)
    last = number(header.get("PixelPaddingRangeLimit"))
    least, most = sorted(_as_stored(each, header, array) for each in (first, first if last is None else last))
    stored = np.asarray(array, np.int64)
    return np.asarray((stored >= least) & (stored <= most))


def _as_stored(value: float, header: Dataset, array: npt.NDArray[np.generic]) -> float:
    """A value of the header as pixels hold it: some write a negative one as its unsigned counterpart."""
    full = 1 << int(header.BitsAllocated)
    if array.dtype.kind == "i" and value >= full / 2:
        return value - full
    return value + full if array.dtype.kind == "u" and value < 0 else value


def _silence_gdcm() -> None:
    """GDCM writes what it reads to stderr, below Python."""
    gdcm.Trace.DebugOff()
    gdcm.Trace.WarningOff()
    gdcm.Trace.ErrorOff()
