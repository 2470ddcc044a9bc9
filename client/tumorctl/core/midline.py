"""The plane between the patient's left and right side, estimated from the head in the FLAIR."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from tumorctl.core.geometry import Grid, Volume

_HEAD_LEVEL = 0.15
"""Voxels above this share of the brightest ones (99th percentile) belong to the head; noise around it stays below."""
_COARSE_MM = 2.5
_WIDE_SHARE = 0.5
_WIDEST_PERCENTILE = 98
_NARROWEST_MM = 60.0
"""What is narrower is no head, but noise or an empty image."""


class MidlineSource(str, Enum):
    """What the midline was estimated from.

    Attributes:
        head: the middle of the head.
        field_of_view: the middle of the image, where no head could be told from the background.
    """

    head = "head"
    field_of_view = "field_of_view"


@dataclass(frozen=True, slots=True)
class Midline:
    """A sagittal plane between the patient's sides.

    Attributes:
        right_mm: its R coordinate in the patient (RAS), in mm.
        source: what it was estimated from.
    """

    right_mm: float
    source: MidlineSource


def middle_of_field(grid: Grid) -> Midline:
    """The sagittal plane through the middle of the image."""
    return Midline(float(grid.center_ras[0]), MidlineSource.field_of_view)


def estimate_midline(flair: Volume) -> Midline:
    """The sagittal plane that halves the head's width.

    The head is the largest connected part of what is brighter than the background. Along lines from right to left its
    width is halved, and the median of these middles is taken over all lines at least half as wide as the widest, which
    leaves noses and neck out. The head may lie anywhere in the image. A head that is turned is halved along the
    patient's axes all the same. Where no head is found, the middle of the image has to do.

    Args:
        flair: the image, any real type.
    """
    strides = tuple(max(1, int(_COARSE_MM / spacing)) for spacing in flair.grid.spacing_mm)
    head = _head(flair.voxels[:: strides[0], :: strides[1], :: strides[2]])
    points = flair.grid.to_world_ras(np.argwhere(head) * strides)
    if not len(points):
        return middle_of_field(flair.grid)
    # Lines are as wide as a voxel is long, so that a tilted grid fills each of them.
    line_mm = max(spacing * stride for spacing, stride in zip(flair.grid.spacing_mm, strides, strict=True))
    cells = np.floor((points[:, 1:] - points[:, 1:].min(axis=0)) / line_mm).astype(np.intp)
    line = cells[:, 0] * (int(cells[:, 1].max()) + 1) + cells[:, 1]
    first = np.full(int(line.max()) + 1, np.inf)
    last = np.full_like(first, -np.inf)
    np.minimum.at(first, line, points[:, 0])
    np.maximum.at(last, line, points[:, 0])
    first, last = first[np.isfinite(first)], last[np.isfinite(last)]
    width = last - first
    widest = float(np.percentile(width, _WIDEST_PERCENTILE))
    if widest < _NARROWEST_MM:
        return middle_of_field(flair.grid)
    wide = width >= _WIDE_SHARE * widest
    return Midline(float(np.median((first + last)[wide] / 2)), MidlineSource.head)


def _head(voxels: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """The largest connected part of what is brighter than the background, bool, of the same shape."""
    from scipy import ndimage

    low, high = (float(value) for value in np.percentile(voxels, (1, 99)))
    bright = np.asarray(voxels > low + _HEAD_LEVEL * (high - low))
    labels, count = ndimage.label(bright)
    if not count:
        return bright
    return np.asarray(labels == 1 + np.argmax(np.bincount(labels.ravel())[1:]))
