"""What a reader of studies hands on: image series on one grid each, and which of them play the networks' roles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from tumorctl.core.geometry import Volume
from tumorctl.errors import TumorctlError
from tumorctl.types import SeriesChoice, SeriesRole

if TYPE_CHECKING:
    import pydicom

__all__ = [
    "MAX_EXTENT_MM",
    "MAX_VOXELS",
    "PIXEL_MM",
    "SLICE_MM",
    "Plane",
    "Series",
    "SeriesChoice",
    "SeriesRole",
    "SeriesTraits",
    "StudyFailure",
    "StudyInput",
]

MAX_VOXELS = 1 << 26
"""Of a NIfTI volume, and of the axial slices made of any: 512 x 512 x 256."""

PIXEL_MM = (0.05, 10.0)
SLICE_MM = (0.1, 50.0)
MAX_EXTENT_MM = 1000.0
"""Plausible distances of pixels and of slices, and length, in an MR of a head. What lies outside has lost its unit."""


class Plane(str, Enum):
    """A plane of the patient."""

    axial = "axial"
    coronal = "coronal"
    sagittal = "sagittal"


@dataclass(frozen=True, slots=True)
class SeriesTraits:
    """What tells a series' role, as far as it is known.

    Attributes:
        contrast: whether a contrast agent had been given by the header's word; None where it does not say.
        echo_time_ms: time from excitation to echo.
        repetition_time_ms: time from excitation to excitation.
        inversion_time_ms: time from inversion to excitation; None also without inversion.
        text: description, protocol and sequence name, lower case. It may hold anything that somebody typed, so it is
            looked at and never shown.
        scanning: the header's codes of how it was scanned: SE, IR, GR, EP.
        image_type: the header's codes of what the image is, upper case: DERIVED, LOCALIZER, ADC, MIP ...
        diffusion: whether the header tells a diffusion weighting.
        plane: which of the patient's planes its slices are nearest to; None where it is not known.
        slices: how many; 0 where it is not known.
        slice_spacing_mm: between neighbouring slices.
        acquired: date and time of acquisition as digits, so that later ones sort later; empty where it is not known. It
            is the patient's, and never shown.
    """

    contrast: bool | None = None
    echo_time_ms: float | None = None
    repetition_time_ms: float | None = None
    inversion_time_ms: float | None = None
    text: str = field(default="", repr=False)
    scanning: tuple[str, ...] = ()
    image_type: tuple[str, ...] = ()
    diffusion: bool = False
    plane: Plane | None = None
    slices: int = 0
    slice_spacing_mm: float | None = None
    acquired: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One readable image series on one grid.

    Attributes:
        name: a label without patient data: ``series 3 of 7``, or a file name that the caller gave.
        volume: float32 voxels, rescaled to the units of the header, shape (slice, row, column); the first axis is the
            order of stacking, in any plane.
        description: what tells its role.
        instances: the DICOM instances in the order of the volume's slices, without pixel data; one where the series is
            a multi-frame object; empty for other input.
        frames: index of the frame of each slice in a multi-frame object; empty otherwise.
    """

    name: str
    volume: Volume = field(repr=False)
    description: SeriesTraits
    instances: tuple[pydicom.Dataset, ...] = field(default=(), repr=False)
    frames: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class StudyInput:
    """What one study offers, with all roles chosen.

    Attributes:
        study: its name, without patient data.
        chosen: the series that plays a role, and why; a T1 that is missing is simply absent, the FLAIR is not.
        warnings: what a reader of the result should know.
    """

    study: str
    chosen: Mapping[SeriesRole, tuple[Series, SeriesChoice]]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StudyFailure:
    """A study that cannot be used.

    Attributes:
        study: its name, without patient data.
        error: why, and what to do about it.
    """

    study: str
    error: TumorctlError
