"""Axial slices of a volume in any orientation: which grid they lie on.

The slices are shown as the data set has them: the nose up, the patient's right on the left of the image, and numbered
from the feet to the head. Where the volume's own axes serve, its slices are only turned and flipped.
"""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt

from tumorctl.core.geometry import Grid
from tumorctl.errors import OversizedInput
from tumorctl.io.series import MAX_VOXELS

_AXIAL_RAS = np.array([[0.0, 0.0, 1.0], [0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])
"""RAS directions in which slices, rows and columns are counted: to the head, to the back, to the patient's left."""

_MAX_TILT_DEG = 35.0
_MIN_SLICE_MM = 1.0
_MIN_PIXEL_MM = 0.4
_SQUARE = 1.02
_EDGE = 1e-6


def axial_grid(grid: Grid) -> Grid:
    """The grid of axial slices over all of a volume.

    It follows the volume's own axes where these are within 35 degrees of the patient's, so that an oblique acquisition
    is not interpolated across its slices, and keeps their spacing, with square pixels and slices at least 1 mm apart.

    Args:
        grid: of the volume.

    Raises:
        OversizedInput: it would have more than `MAX_VOXELS`, as with fine pixels and slices very far apart.
    """
    axes, signs = _nearest_axes(grid)
    own = _turned(grid, axes, signs)
    directions = own.affine_ras[:3, :3] / np.asarray(own.spacing_mm)
    tilted = np.einsum("ij,ji->i", _AXIAL_RAS, directions).min() < np.cos(np.radians(_MAX_TILT_DEG))
    slice_mm, row_mm, column_mm = own.spacing_mm
    pixel_mm = max(min(row_mm, column_mm), _MIN_PIXEL_MM)
    square = max(row_mm, column_mm) <= _SQUARE * pixel_mm
    if square and slice_mm >= _MIN_SLICE_MM / _SQUARE and not tilted:
        return own
    if tilted:
        directions = _AXIAL_RAS.T
        slice_mm = pixel_mm = max(min(own.spacing_mm), _MIN_PIXEL_MM)
    spacing = np.array([max(slice_mm, _MIN_SLICE_MM), pixel_mm, pixel_mm])
    # All of the volume, edge to edge: the outer faces of its voxels, seen along the new axes.
    faces = np.array(np.meshgrid(*((-0.5, size - 0.5) for size in grid.shape))).reshape(3, -1).T
    along = (grid.to_world_ras(faces) - grid.center_ras) @ np.linalg.inv(directions).T
    sizes = np.maximum(np.ceil((np.ptp(along, axis=0)) / spacing - _EDGE), 1)
    if np.prod(sizes) > MAX_VOXELS:
        raise OversizedInput(
            f"axial slices of it would have {' x '.join(f'{size:.0f}' for size in sizes)} voxels, at most "
            f"{MAX_VOXELS:,} are made: its voxels measure {' x '.join(f'{mm:.6g}' for mm in grid.spacing_mm)} mm"
        )
    shape = sizes.astype(int)
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    affine[:3, 3] = grid.center_ras - affine[:3, :3] @ ((shape - 1) / 2)
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def same_voxels(voxels: npt.NDArray[Any], source: Grid, target: Grid) -> npt.NDArray[Any] | None:
    """A volume on another grid that has the very same voxels in another order, or None where it has not.

    Args:
        voxels: any type, shape of `source`.
        source: where they lie.
        target: where they are wanted.
    """
    steps = np.linalg.inv(source.affine_ras) @ target.affine_ras
    turn = np.rint(steps[:3, :3])
    if not np.allclose(steps[:3, :3], turn, atol=1e-4) or not np.array_equal(np.abs(turn).sum(axis=0), (1, 1, 1)):
        return None
    axes = np.abs(turn).argmax(axis=0)
    first = steps[:3, 3]
    last = first + turn @ (np.asarray(target.shape) - 1)
    ends = np.asarray(source.shape) - 1
    if not np.allclose(np.minimum(first, last), 0, atol=1e-2) or not np.allclose(
        np.maximum(first, last), ends, atol=1e-2
    ):
        return None
    turned = voxels.transpose(axes)
    flips = tuple(slice(None, None, -1 if turn[axis, place] < 0 else 1) for place, axis in enumerate(axes))
    return turned[flips]


def _nearest_axes(grid: Grid) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """For slices, rows and columns: which of the volume's axes comes closest, and in which sense."""
    directions = grid.affine_ras[:3, :3] / np.asarray(grid.spacing_mm)
    along = _AXIAL_RAS @ directions
    best = max(permutations(range(3)), key=lambda axes: sum(abs(along[row, axis]) for row, axis in enumerate(axes)))
    return best, tuple(float(np.sign(along[row, axis]) or 1.0) for row, axis in enumerate(best))


def _turned(grid: Grid, axes: tuple[int, ...], signs: tuple[float, ...]) -> Grid:
    affine = np.eye(4)
    affine[:3, :3] = grid.affine_ras[:3, list(axes)] * signs
    first = [0.0, 0.0, 0.0]
    for axis, sign in zip(axes, signs, strict=True):
        first[axis] = 0.0 if sign > 0 else grid.shape[axis] - 1.0
    affine[:3, 3] = grid.to_world_ras(first)
    return Grid((grid.shape[axes[0]], grid.shape[axes[1]], grid.shape[axes[2]]), affine)
