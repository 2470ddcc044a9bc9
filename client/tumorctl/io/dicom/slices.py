"""Single slices of an MR series, classic or multi-frame: where each lies, and what it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from tumorctl.errors import OversizedInput, UnusableSeries
from tumorctl.io.dicom.files import Source

MAX_FRAMES: Final = 20_000

_PLACE: Final = {
    "ImagePositionPatient": ("PlanePositionSequence", 3),
    "ImageOrientationPatient": ("PlaneOrientationSequence", 6),
    "PixelSpacing": ("PixelMeasuresSequence", 2),
}
"""What says where a slice lies, the functional group that says it in a multi-frame object, and how many numbers."""


@dataclass(frozen=True, eq=False)
class Slice:
    """One slice.

    Attributes:
        source: the object it is in.
        header: that object's header, without pixels.
        frame: its index in a multi-frame object; None in a classic one.
        rows: of the image.
        columns: of the image.
        position_lps: centre of the first voxel, LPS mm, shape (3,); None where the header does not tell.
        orientation: directions of rows and columns in LPS, shape (2, 3); None where the header does not tell.
        spacing_mm: between rows and between columns, shape (2,); None where the header does not tell.
    """

    source: Source
    header: Dataset
    frame: int | None
    rows: int
    columns: int
    position_lps: npt.NDArray[np.float64] | None
    orientation: npt.NDArray[np.float64] | None
    spacing_mm: npt.NDArray[np.float64] | None

    def find(self, keyword: str, *groups: str) -> Any:
        """A value of the header; in a multi-frame object that of the slice's functional groups comes first."""
        for group in self._groups():
            for name in groups:
                for item in group.get(name) or ():
                    if item.get(keyword) is not None:
                        return item.get(keyword)
        return self.header.get(keyword)

    def has_group(self, name: str) -> bool:
        """Whether a multi-frame object has a functional group for the slice."""
        return any(group.get(name) for group in self._groups())

    def _groups(self) -> Iterator[Dataset]:
        if self.frame is not None:
            yield self.header.PerFrameFunctionalGroupsSequence[self.frame]
            yield from self.header.get("SharedFunctionalGroupsSequence") or ()


def slices_of(source: Source) -> list[Slice]:
    """All slices of an object.

    Raises:
        UnreadableStudy: the object is damaged.
        UnusableSeries: a multi-frame object whose frames are not described.
        OversizedInput: more frames than are read.
    """
    header = source.header()
    frames: list[int | None] = [None]
    if "PerFrameFunctionalGroupsSequence" in header or int(header.get("NumberOfFrames") or 1) > 1:
        count = int(header.get("NumberOfFrames") or 1)
        if count > MAX_FRAMES:
            raise OversizedInput(f"it declares {count:,} frames, at most {MAX_FRAMES:,} are read")
        if len(header.get("PerFrameFunctionalGroupsSequence") or ()) != count:
            raise UnusableSeries(f"a multi-frame object that does not describe each of its {count} frames")
        frames = list(range(count))
    rows, columns = int(header.get("Rows") or 0), int(header.get("Columns") or 0)
    slices = []
    for frame in frames:
        bare = Slice(source, header, frame, rows, columns, None, None, None)
        position, orientation, spacing = (_numbers(bare, keyword) for keyword in _PLACE)
        axes = None if orientation is None else orientation.reshape(2, 3)
        slices.append(Slice(source, header, frame, rows, columns, position, axes, spacing))
    return slices


def number(value: Any) -> float | None:
    """A number of a header, the first of several; None where there is none."""
    if value is not None and not isinstance(value, (str, int, float)) and hasattr(value, "__len__"):
        value = value[0] if len(value) else None
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if np.isfinite(found) else None


def _numbers(bare: Slice, keyword: str) -> npt.NDArray[np.float64] | None:
    group, length = _PLACE[keyword]
    try:
        values = np.array(bare.find(keyword, group), np.float64)
    except (TypeError, ValueError):
        return None
    return values if values.shape == (length,) and np.isfinite(values).all() else None
