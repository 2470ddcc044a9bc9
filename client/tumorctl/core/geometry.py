"""Where voxels lie: grids in the patient, and the one place that converts between RAS and LPS.

World coordinates are millimetres in RAS (the axes point to the patient's right, to the front and upwards), as NIfTI
has them. DICOM and SimpleITK speak LPS, which turns the first two axes around.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tumorctl.errors import InvalidInput

Points = npt.NDArray[np.float64]
"""float64, shape (..., 3)."""

EQUAL_MM = 1e-3
"""Grids whose corners lie closer than this, in mm, are the same grid."""

SAME_DIRECTION = 1e-3
"""Slices of one stack differ in their directions' cosines by no more than this: written cosines are rounded."""

_PLACE_MM = 0.05
_PLACE_SHARE = 0.02
_RAS_OF_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MIN_SPACING_MM = 1e-3


def place_tolerance_mm(spacing_mm: float) -> float:
    """How far a slice may lie from where an even stack has it, in mm.

    Written positions are rounded, and scanners leave slices a little uneven; what is further off is another slice.

    Args:
        spacing_mm: between neighbouring slices.
    """
    return max(_PLACE_MM, _PLACE_SHARE * spacing_mm)


def lps_of_ras(affine_ras: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The affine that leads to LPS mm instead of RAS mm.

    Args:
        affine_ras: float64, shape (4, 4), from any index to RAS mm.
    """
    return np.asarray(_RAS_OF_LPS @ affine_ras)


def ras_of_lps(affine_lps: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The affine that leads to RAS mm instead of LPS mm.

    Args:
        affine_lps: float64, shape (4, 4), from any index to LPS mm.
    """
    return np.asarray(_RAS_OF_LPS @ affine_lps)


def points_lps_of_ras(points_ras: Points) -> Points:
    """Points, shape (..., 3), from RAS mm to LPS mm; its own inverse."""
    return np.asarray(np.asarray(points_ras, np.float64) * np.diag(_RAS_OF_LPS)[:3])


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """A regular grid of voxels in the patient.

    Attributes:
        shape: number of voxels along (slice, row, column).
        affine_ras: float64, shape (4, 4): index (slice, row, column, 1) of a voxel's centre to RAS mm. Read-only.

    Raises:
        InvalidInput: not three positive sizes; an affine that is not finite, not affine or not invertible.
    """

    shape: tuple[int, int, int]
    affine_ras: npt.NDArray[np.float64] = field(repr=False)

    def __post_init__(self) -> None:
        shape = tuple(int(size) for size in self.shape)
        affine = np.array(self.affine_ras, np.float64)
        if len(shape) != 3 or min(shape) < 1:
            raise InvalidInput(f"a grid of shape {shape}: expected three sizes of at least 1")
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or not np.array_equal(affine[3], (0, 0, 0, 1)):
            raise InvalidInput("the grid's affine is not a finite 4x4 matrix that ends in 0 0 0 1")
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        if spacing.min() < _MIN_SPACING_MM or abs(np.linalg.det(affine[:3, :3] / np.maximum(spacing, 1e-9))) < 1e-3:
            raise InvalidInput("the grid's affine is zero or flat: its voxels have no place in the patient")
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine_ras", affine)

    def __eq__(self, other: object) -> bool:
        """Same shape, and the same corners within `EQUAL_MM`."""
        return self.is_close(other) if isinstance(other, Grid) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def is_close(self, other: Grid, tolerance_mm: float = EQUAL_MM) -> bool:
        """Whether shapes are equal and no voxel's centre differs by more than `tolerance_mm`."""
        if self.shape != other.shape:
            return False
        return bool(
            np.abs(self.to_world_ras(self._corners()) - other.to_world_ras(self._corners())).max() <= tolerance_mm
        )

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between the centres of neighbouring voxels along (slice, row, column), in mm."""
        slice_mm, row_mm, column_mm = np.linalg.norm(self.affine_ras[:3, :3], axis=0)
        return float(slice_mm), float(row_mm), float(column_mm)

    @property
    def affine_lps(self) -> npt.NDArray[np.float64]:
        """Index (slice, row, column, 1) to LPS mm, float64, shape (4, 4)."""
        return lps_of_ras(self.affine_ras)

    @property
    def center_ras(self) -> Points:
        """The middle of the grid in RAS mm, float64, shape (3,)."""
        return self.to_world_ras((np.asarray(self.shape) - 1) / 2)

    def to_world_ras(self, indices: npt.ArrayLike) -> Points:
        """Indices (slice, row, column), shape (..., 3), possibly between voxels, to RAS mm, float64, shape (..., 3)."""
        return _apply(self.affine_ras, np.asarray(indices, np.float64))

    def to_index(self, points_ras: npt.ArrayLike) -> Points:
        """Points in RAS mm, shape (..., 3), to fractional indices (slice, row, column), float64, shape (..., 3)."""
        return _apply(np.linalg.inv(self.affine_ras), np.asarray(points_ras, np.float64))

    def _corners(self) -> Points:
        last = np.asarray(self.shape) - 1
        return np.array(np.meshgrid(*((0, end) for end in last))).reshape(3, -1).T.astype(np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """Voxels and where they lie.

    Attributes:
        voxels: any real type, shape (slice, row, column).
        grid: of the same shape.

    Raises:
        InvalidInput: the shapes differ.
    """

    voxels: npt.NDArray[Any]
    grid: Grid

    def __post_init__(self) -> None:
        if self.voxels.shape != self.grid.shape:
            raise InvalidInput(f"voxels of shape {self.voxels.shape} on a grid of shape {self.grid.shape}")


def _apply(affine: npt.NDArray[np.float64], points: Points) -> Points:
    if points.shape[-1:] != (3,):
        raise InvalidInput(f"points of shape {points.shape}: expected (..., 3)")
    return np.asarray(points @ affine[:3, :3].T + affine[:3, 3])
