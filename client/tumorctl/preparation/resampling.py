"""Volumes as SimpleITK images, and resampling between grids. SimpleITK speaks LPS."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813 (the name its own documentation uses)

from tumorctl.core.geometry import Grid, Volume, points_lps_of_ras
from tumorctl.preparation.axial import same_voxels

_XYZ = (2, 1, 0)
"""SimpleITK counts (column, row, slice)."""


def as_image(volume: Volume) -> Any:
    """A volume as a float32 SimpleITK image."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.voxels, np.float32))
    place(image, volume.grid)
    return image


def place(image: Any, grid: Grid) -> None:
    """Put an image of the grid's shape onto the grid."""
    spacing = np.asarray(grid.spacing_mm)
    directions = (grid.affine_lps[:3, :3] / spacing)[:, list(_XYZ)]
    image.SetSpacing([float(spacing[axis]) for axis in _XYZ])
    image.SetDirection(directions.ravel().tolist())
    image.SetOrigin(points_lps_of_ras(grid.to_world_ras((0, 0, 0))).tolist())


def onto(volume: Volume, grid: Grid, transform: Any = None, *, outside: float | None = None) -> npt.NDArray[np.float32]:
    """A volume's values at the voxels of another grid, linearly interpolated.

    Args:
        volume: what is asked.
        grid: where.
        transform: SimpleITK transform from the grid's LPS mm to the volume's; None where they agree.
        outside: value outside the volume; by default its smallest, since 0 is bright where air is negative.

    Returns:
        float32, shape of `grid`.
    """
    if transform is None and (same := same_voxels(volume.voxels, volume.grid, grid)) is not None:
        return np.ascontiguousarray(same, np.float32)
    reference = sitk.Image([grid.shape[axis] for axis in _XYZ], sitk.sitkUInt8)
    place(reference, grid)
    transform = sitk.Transform(3, sitk.sitkIdentity) if transform is None else transform
    outside = float(volume.voxels.min()) if outside is None else outside
    return np.asarray(
        sitk.GetArrayFromImage(sitk.Resample(as_image(volume), reference, transform, sitk.sitkLinear, outside))
    )


def mask_onto(mask: npt.NDArray[np.bool_], source: Grid, target: Grid) -> npt.NDArray[np.bool_]:
    """A mask at the voxels of another grid: True where at least half of it is; False outside its own.

    Args:
        mask: bool, shape of `source`.
        source: where it lies.
        target: where it is wanted.

    Returns:
        bool, shape of `target`.
    """
    if (same := same_voxels(mask, source, target)) is not None:
        return np.ascontiguousarray(same)
    return np.asarray(onto(Volume(mask.astype(np.float32), source), target, outside=0.0) >= 0.5)
