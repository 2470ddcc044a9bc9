"""Slices that lie on one grid, and what keeps them from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tumorctl.core.geometry import Grid, place_tolerance_mm, ras_of_lps
from tumorctl.errors import OversizedInput, UnusableSeries
from tumorctl.io.dicom.slices import Slice
from tumorctl.io.series import MAX_EXTENT_MM, PIXEL_MM, SLICE_MM

MIN_SLICES: Final = 3
MAX_VOXELS: Final = 1 << 28
"""Of one series: 1 GiB as float32."""
SAME_PLACE_MM: Final = 0.01

_ASKEW: Final = 0.02
"""Sine of the angle between the way that slices go and their normal, from which they are askew."""


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices of one series that share orientation, size, echo and frame of reference.

    Attributes:
        slices: in the order of their positions along the normal, where these are known.
        strays: slices of the same series that belong to no stack of their own.
        torn_by: what parts these slices from others of the same series with which they would make one volume; empty
            where they are whole.
    """

    slices: tuple[Slice, ...]
    strays: int = 0
    torn_by: str = ""

    @property
    def normal(self) -> npt.NDArray[np.float64] | None:
        """Direction in which the slices are stacked, LPS, shape (3,); None where it is not known."""
        orientation = self.slices[0].orientation
        return None if orientation is None else np.cross(*orientation)

    @property
    def spacing_mm(self) -> float | None:
        """Usual distance between neighbouring slices."""
        offsets = offsets_mm(self.slices)
        return None if offsets is None or len(offsets) < 2 else float(np.median(np.diff(offsets)))

    def grid(self, file_name: Callable[[Slice], str]) -> Grid:
        """Where the voxels lie.

        Args:
            file_name: says where a slice came from.

        Raises:
            UnusableSeries: the slices do not make an even stack.
            OversizedInput: more voxels than are read.
        """
        first = self.slices[0]
        shape = (len(self.slices), first.rows, first.columns)
        if min(shape[1:]) < 1:
            raise UnusableSeries("the header does not tell how many rows and columns the images have")
        if int(np.prod(shape, dtype=object)) > MAX_VOXELS:
            raise OversizedInput(f"it declares {shape} voxels, at most {MAX_VOXELS:,} are read")
        for each in self.slices:
            if each.position_lps is None or each.orientation is None or each.spacing_mm is None:
                raise UnusableSeries(
                    f"{file_name(each)} does not tell where it lies (image position, orientation or pixel spacing)"
                )
        if self.strays:
            raise UnusableSeries(
                f"{self.strays} of its {self.strays + len(self.slices)} slices differ from the others in orientation, "
                "size, echo or frame of reference; take them out, or send the series again"
            )
        if self.torn_by:
            raise UnusableSeries(
                f"its {len(self.slices)} slices are only a part of a volume: others of the series lie beside them and "
                f"differ in {self.torn_by}; send the series again in one piece"
            )
        if len(self.slices) < MIN_SLICES:
            raise UnusableSeries(f"only {len(self.slices)} slices; at least {MIN_SLICES} make a volume")
        return Grid(shape, ras_of_lps(self._affine_lps(file_name)))

    def _affine_lps(self, file_name: Callable[[Slice], str]) -> npt.NDArray[np.float64]:
        first = self.slices[0]
        axes, spacing_mm, normal = first.orientation, first.spacing_mm, self.normal
        assert axes is not None and spacing_mm is not None and normal is not None  # noqa: PT018 - for the type checker
        lengths = np.linalg.norm(axes, axis=1)
        if np.abs(lengths - 1).max() > 0.01 or abs(axes[0] @ axes[1]) > 0.01 or spacing_mm.min() <= 0:
            raise UnusableSeries("its image orientation or pixel spacing is not one that an image can have")
        self._check_even(file_name)
        positions = np.array([each.position_lps for each in self.slices])
        step = (positions[-1] - positions[0]) / (len(positions) - 1)
        if np.linalg.norm(np.cross(step, normal)) > _ASKEW * np.linalg.norm(step):
            raise UnusableSeries("its slices are stacked askew, not along their normal; take another series")
        even = positions[0] + np.arange(len(positions))[:, np.newaxis] * step
        off_mm = np.linalg.norm(positions - even, axis=1)
        if off_mm.max() > place_tolerance_mm(float(np.linalg.norm(step))):
            worst = self.slices[int(off_mm.argmax())]
            raise UnusableSeries(
                f"{file_name(worst)} lies {off_mm.max():.2f} mm from where an even stack has it; take another series"
            )
        _check_size(spacing_mm, float(np.linalg.norm(step)), (first.rows, first.columns, len(positions)))
        affine = np.eye(4)
        affine[:3, 0], affine[:3, 1], affine[:3, 2] = step, axes[1] * spacing_mm[0], axes[0] * spacing_mm[1]
        affine[:3, 3] = positions[0]
        return affine

    def _check_even(self, file_name: Callable[[Slice], str]) -> None:
        offsets = offsets_mm(self.slices)
        assert offsets is not None
        steps = np.diff(offsets)
        usual = float(np.median(steps))
        for place, step in enumerate(steps):
            before, after = self.slices[place], self.slices[place + 1]
            if step <= SAME_PLACE_MM:
                raise UnusableSeries(
                    f"a slice is doubled: {file_name(before)} and {file_name(after)} lie in the same place; "
                    "take one of them out"
                )
            if step > 1.5 * usual:
                raise UnusableSeries(
                    f"a slice is missing: {step:.2f} mm lie between {file_name(before)} and {file_name(after)}, "
                    f"{usual:.2f} mm between the others; send the series again"
                )


def offsets_mm(slices: Sequence[Slice]) -> npt.NDArray[np.float64] | None:
    """How far along the first slice's normal each slice lies, in mm; None where one does not tell."""
    orientation = slices[0].orientation
    if orientation is None or any(each.position_lps is None for each in slices):
        return None
    return np.asarray(np.array([each.position_lps for each in slices], np.float64) @ np.cross(*orientation))


def _check_size(pixel_mm: npt.NDArray[np.float64], slice_mm: float, shape: tuple[int, int, int]) -> None:
    """See that voxels and volume are of a size that scans of heads have; shape is (row, column, slice)."""
    for what, size_mm, (least, most) in (
        ("between pixels", float(pixel_mm.min()), PIXEL_MM),
        ("between pixels", float(pixel_mm.max()), PIXEL_MM),
        ("between slices", slice_mm, SLICE_MM),
    ):
        if not least <= size_mm <= most:
            raise UnusableSeries(
                f"its header has {size_mm:g} mm {what}, which is implausible for a head ({least:g} to {most:g} mm)"
            )
    extent_mm = float((np.array([*pixel_mm, slice_mm]) * shape).max())
    if extent_mm > MAX_EXTENT_MM:
        raise UnusableSeries(
            f"its header has it {extent_mm:.0f} mm long, which is implausible for a head (at most {MAX_EXTENT_MM:g} mm)"
        )
