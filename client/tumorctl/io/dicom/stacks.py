"""Slices that belong together, in the order in which they lie in the patient, and their grid."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tumorctl.core.geometry import SAME_DIRECTION, Grid, place_tolerance_mm, ras_of_lps
from tumorctl.errors import OversizedInput, UnusableSeries
from tumorctl.io.dicom.slices import Slice, number

MIN_SLICES: Final = 3
MAX_VOXELS: Final = 1 << 28
"""Of one series: 1 GiB as float32."""

_SAME_PLACE_MM: Final = 0.01
_ASKEW: Final = 0.02
"""Sine of the angle between the way that slices go and their normal, from which they are askew."""


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices of one series that share orientation, size, echo and frame of reference.

    Attributes:
        slices: in the order of their positions along the normal, where these are known.
        strays: slices of the same series that belong to no stack of their own.
    """

    slices: tuple[Slice, ...]
    strays: int = 0

    @property
    def normal(self) -> npt.NDArray[np.float64] | None:
        """Direction in which the slices are stacked, LPS, shape (3,); None where it is not known."""
        orientation = self.slices[0].orientation
        return None if orientation is None else np.cross(*orientation)

    @property
    def spacing_mm(self) -> float | None:
        """Usual distance between neighbouring slices."""
        offsets = _offsets(self.slices)
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
        affine = np.eye(4)
        affine[:3, 0], affine[:3, 1], affine[:3, 2] = step, axes[1] * spacing_mm[0], axes[0] * spacing_mm[1]
        affine[:3, 3] = positions[0]
        return affine

    def _check_even(self, file_name: Callable[[Slice], str]) -> None:
        offsets = _offsets(self.slices)
        assert offsets is not None
        steps = np.diff(offsets)
        usual = float(np.median(steps))
        for place, step in enumerate(steps):
            before, after = self.slices[place], self.slices[place + 1]
            if step <= _SAME_PLACE_MM:
                raise UnusableSeries(
                    f"a slice is doubled: {file_name(before)} and {file_name(after)} lie in the same place; "
                    "take one of them out"
                )
            if step > 1.5 * usual:
                raise UnusableSeries(
                    f"a slice is missing: {step:.2f} mm lie between {file_name(before)} and {file_name(after)}, "
                    f"{usual:.2f} mm between the others; send the series again"
                )


def stacks_of(slices: Iterable[Slice]) -> list[Stack]:
    """Part the slices of a series into stacks, each ordered by position.

    Slices part where they differ in orientation, size, echo, frame of reference or component (magnitude, phase). Where
    slices lie in the same places, they part by what else tells them apart: point in time, inversion, acquisition.

    Returns:
        Stacks in the order of their first slices. Where some are stacks and some are a slice or two, the latter are
        counted as strays of the former.
    """
    parts = _parted(list(slices), _kind(_Directions()))
    for what in _TELLING_APART:
        parts = [smaller for part in parts for smaller in _apart(part, what)]
    ordered = [tuple(_ordered(part)) for part in parts]
    whole = [part for part in ordered if len(part) >= MIN_SLICES]
    if not whole:
        return [Stack(part) for part in ordered]
    strays = sum(len(part) for part in ordered if len(part) < MIN_SLICES)
    return [Stack(part, strays) for part in whole]


class _Directions:
    """Numbers directions, so that those of rounded cosines get the same number."""

    def __init__(self) -> None:
        self._known: list[npt.NDArray[np.float64]] = []

    def place(self, orientation: npt.NDArray[np.float64] | None) -> int | None:
        if orientation is None:
            return None
        for place, known in enumerate(self._known):
            if np.abs(known - orientation).max() <= SAME_DIRECTION:
                return place
        self._known.append(orientation)
        return len(self._known) - 1


def _kind(directions: _Directions) -> Callable[[Slice], Hashable]:
    def kind(each: Slice) -> Hashable:
        echo = number(each.find("EffectiveEchoTime", "MREchoSequence") or each.find("EchoTime"))
        return (
            str(each.find("SOPInstanceUID")) if each.frame is not None else None,
            directions.place(each.orientation),
            (each.rows, each.columns),
            None if each.spacing_mm is None else tuple(each.spacing_mm.round(3)),
            None if echo is None else round(echo, 1),
            str(each.find("FrameOfReferenceUID")),
            _component(each),
        )

    return kind


def _component(each: Slice) -> str:
    component = each.find("ComplexImageComponent", "MRImageFrameTypeSequence")
    if component:
        return str(component)
    kinds = [str(code).upper() for code in each.find("ImageType") or ()]
    return next((code for code in kinds[2:] if code in ("M", "P", "R", "I")), "")


_TELLING_APART: Final[tuple[Callable[[Slice], Any], ...]] = (
    lambda each: each.find("TemporalPositionIndex", "FrameContentSequence") or each.find("TemporalPositionIdentifier"),
    lambda each: str(each.find("InversionTimes", "MRModifierSequence") or each.find("InversionTime")),
    lambda each: str(each.find("DiffusionBValue", "MRDiffusionSequence")),
    lambda each: str(each.find("FrameType", "MRImageFrameTypeSequence") or each.find("ImageType")),
    lambda each: str(each.find("AcquisitionNumber")),
)


def _apart(part: list[Slice], what: Callable[[Slice], Any]) -> list[list[Slice]]:
    if not _doubled(part):
        return [part]
    smaller = _parted(part, what)
    return smaller if not any(_doubled(each) for each in smaller) else [part]


def _parted(slices: Sequence[Slice], what: Callable[[Slice], Any]) -> list[list[Slice]]:
    parts: dict[Any, list[Slice]] = {}
    for each in slices:
        parts.setdefault(what(each), []).append(each)
    return list(parts.values())


def _ordered(slices: Sequence[Slice]) -> list[Slice]:
    offsets = _offsets(slices)
    return list(slices) if offsets is None else [slices[place] for place in np.argsort(offsets, kind="stable")]


def _doubled(slices: Sequence[Slice]) -> bool:
    offsets = _offsets(slices)
    return offsets is not None and bool((np.diff(np.sort(offsets)) <= _SAME_PLACE_MM).any())


def _offsets(slices: Sequence[Slice]) -> npt.NDArray[np.float64] | None:
    """How far along the first slice's normal each slice lies, in mm; None where one does not tell."""
    orientation = slices[0].orientation
    if orientation is None or any(each.position_lps is None for each in slices):
        return None
    return np.asarray(np.array([each.position_lps for each in slices], np.float64) @ np.cross(*orientation))
