"""What is measured on an outlined tumour: volume, two diameters, place, side. All in the patient's millimetres.

Diameters follow RANO and RECIST 1.1: the longest diameter of the lesion's cross-section on the axial slice where it is
longest, and the longest one perpendicular to it on the same slice (Wen et al., J Clin Oncol 28, 2010; Eisenhauer et
al., Eur J Cancer 45, 2009). As the mask is made of voxels, its outline on a slice is taken to run through the middle
of the sides between a pixel inside and one outside (marching squares at one half), so that a single pixel is as long as
its longer side and a disc is measured without bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from tumorctl.core.geometry import Grid, points_lps_of_ras
from tumorctl.core.midline import Midline
from tumorctl.core.outlines import Outline, outline
from tumorctl.errors import MaskMismatch

Point = tuple[float, float, float]

ONE_SIDED_SHARE = 0.9
"""A tumour with at least this share of its volume on one side of the midline lies on that side."""
NEAR_MIDLINE_MM = 10.0
"""A tumour on both sides is a midline tumour where it keeps within this distance of the midline, else bilateral."""

_NEAR_SHARE = 0.95
_TIE = 1e-6
_TOUCHING_3D = np.ones((3, 3, 3), np.bool_)
_TOUCHING_2D = np.ones((3, 3), np.bool_)
_MM3_PER_ML = 1000.0


class Laterality(str, Enum):
    """On which side of the patient the tumour lies.

    Attributes:
        left: 90 % or more of its volume lie to the patient's left of the midline.
        right: 90 % or more of its volume lie to the patient's right of the midline.
        midline: on both sides, and 95 % of its volume within 10 mm of the midline.
        bilateral: on both sides otherwise.
    """

    left = "left"
    right = "right"
    midline = "midline"
    bilateral = "bilateral"


@dataclass(frozen=True, slots=True)
class Diameters:
    """The two diameters of the largest cross-section, and where they were taken.

    Attributes:
        longest_mm: the longest distance between two points of the outline of one cross-section.
        perpendicular_mm: the longest distance between two points of the same outline along a line at right angles.
        axis: axis of the grid (0 slice, 1 row, 2 column) that the measured slices are stacked along: the one that makes
            them most nearly axial.
        index: number of the measured slice along that axis.
        longest_ends_ras_mm: both ends of the longest diameter.
        perpendicular_ends_ras_mm: both ends of the perpendicular one.
    """

    longest_mm: float
    perpendicular_mm: float
    axis: int
    index: int
    longest_ends_ras_mm: tuple[Point, Point]
    perpendicular_ends_ras_mm: tuple[Point, Point]


@dataclass(frozen=True, slots=True)
class Measurements:
    """What is measured on a mask; of an empty one only that it is empty.

    Attributes:
        volume_ml: of all voxels, each counted whole.
        lesion_volumes_ml: of each connected part, largest first; voxels that touch at a corner belong together.
        diameters: of the largest cross-section; None without tumour.
        centroid_ras_mm: mean of the voxels' centres; None without tumour.
        laterality: the side; None without tumour.
        midline: the plane that sides were told by.
    """

    volume_ml: float
    lesion_volumes_ml: tuple[float, ...]
    diameters: Diameters | None
    centroid_ras_mm: Point | None
    laterality: Laterality | None
    midline: Midline

    @property
    def lesions(self) -> int:
        """Number of connected parts."""
        return len(self.lesion_volumes_ml)

    @property
    def centroid_lps_mm(self) -> Point | None:
        """Mean of the voxels' centres in DICOM's frame; None without tumour."""
        if self.centroid_ras_mm is None:
            return None
        return _point(points_lps_of_ras(np.asarray(self.centroid_ras_mm)))


def measure(mask: npt.NDArray[np.bool_], grid: Grid, midline: Midline) -> Measurements:
    """Measure the outlined tumour.

    Args:
        mask: bool, shape (slice, row, column), True inside the tumour.
        grid: where its voxels lie; may be oblique and anisotropic.
        midline: the plane between the patient's sides.

    Raises:
        MaskMismatch: the mask is not on the grid.
    """
    if mask.shape != grid.shape or mask.dtype != np.bool_:
        raise MaskMismatch(f"a {mask.dtype} mask of shape {mask.shape} on a grid of shape {grid.shape}")
    indices = np.argwhere(mask)
    if not len(indices):
        return Measurements(0.0, (), None, None, None, midline)
    voxel_ml = abs(float(np.linalg.det(grid.affine_ras[:3, :3]))) / _MM3_PER_ML
    points = grid.to_world_ras(indices)
    return Measurements(
        volume_ml=len(indices) * voxel_ml,
        lesion_volumes_ml=tuple(voxels * voxel_ml for voxels in _parts(mask, indices)),
        diameters=_diameters(mask, grid),
        centroid_ras_mm=_point(points.mean(axis=0)),
        laterality=_side(points[:, 0] - midline.right_mm),
        midline=midline,
    )


def axial_axis(grid: Grid) -> int:
    """The axis of the grid along which slices are stacked that are nearest to axial: 0 slice, 1 row, 2 column."""
    steps = grid.affine_ras[:3, :3] / np.linalg.norm(grid.affine_ras[:3, :3], axis=0)
    normals = [np.cross(steps[:, (axis + 1) % 3], steps[:, (axis + 2) % 3]) for axis in range(3)]
    return int(np.argmax([abs(normal[2]) / np.linalg.norm(normal) for normal in normals]))


def _parts(mask: npt.NDArray[np.bool_], indices: npt.NDArray[np.intp]) -> list[int]:
    """Voxels of each connected part, most first."""
    from scipy import ndimage

    labels, _ = ndimage.label(mask[_box(indices)], _TOUCHING_3D)
    return sorted(np.bincount(labels.ravel())[1:].tolist(), reverse=True)


def _diameters(mask: npt.NDArray[np.bool_], grid: Grid) -> Diameters:
    from scipy import ndimage

    axis = axial_axis(grid)
    rows, columns = (other for other in range(3) if other != axis)
    steps = grid.affine_ras[:3, :3]
    sections: list[tuple[int, Outline]] = []
    for index in np.flatnonzero(mask.any(axis=(rows, columns))):
        labels, count = ndimage.label(np.take(mask, index, axis), _TOUCHING_2D)
        sections += [
            (int(index), outline(labels == label, steps[:, rows], steps[:, columns])) for label in range(1, count + 1)
        ]
    longest_mm = max(section.longest_mm for _, section in sections)
    # Of equally long ones the widest, so that the answer does not hang on the order of voxels.
    best = max(
        (
            (width_mm, -index, chord, across, section)
            for index, section in sections
            for chord in section.chords_from(longest_mm * (1 - _TIE))
            for width_mm, across in [section.widest_across(chord)]
        ),
        key=lambda found: found[:2],
    )
    width_mm, index, chord, across, section = best[0], -best[1], *best[2:]
    start = grid.affine_ras[:3, 3] + index * steps[:, axis]
    return Diameters(
        longest_mm=longest_mm,
        perpendicular_mm=width_mm,
        axis=axis,
        index=index,
        longest_ends_ras_mm=_ends(start + section.in_space(chord)),
        perpendicular_ends_ras_mm=_ends(start + section.in_space(across)),
    )


def _side(right_of_midline_mm: npt.NDArray[np.float64]) -> Laterality:
    """The side of voxels whose distances to the midline are given, positive on the patient's right."""
    right = float((right_of_midline_mm > 0).mean() + (right_of_midline_mm == 0).mean() / 2)
    if right >= ONE_SIDED_SHARE:
        return Laterality.right
    if right <= 1 - ONE_SIDED_SHARE:
        return Laterality.left
    near = float((np.abs(right_of_midline_mm) <= NEAR_MIDLINE_MM).mean())
    return Laterality.midline if near >= _NEAR_SHARE else Laterality.bilateral


def _box(indices: npt.NDArray[np.intp]) -> tuple[slice, ...]:
    return tuple(
        slice(int(low), int(high) + 1) for low, high in zip(indices.min(axis=0), indices.max(axis=0), strict=True)
    )


def _ends(points: npt.NDArray[np.float64]) -> tuple[Point, Point]:
    return _point(points[0]), _point(points[1])


def _point(values: npt.NDArray[np.float64]) -> Point:
    first, second, third = (float(value) for value in values)
    return first, second, third
