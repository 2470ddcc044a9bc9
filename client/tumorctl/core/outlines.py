"""Outlines of regions on one slice, as polygons in millimetres, and chords across them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Sides of a square of four pixel centres, by where the outline crosses them: (row, column) of the crossing.
_TOP, _RIGHT, _BOTTOM, _LEFT = (0.0, 0.5), (0.5, 1.0), (1.0, 0.5), (0.5, 0.0)
# Which crossings are joined for each pattern of the four pixels inside the region. The pattern is the sum of 1 for the
# upper left, 2 for the upper right, 4 for the lower right and 8 for the lower left; in 5 and 10 the two pixels inside
# touch at a corner and are kept together.
_JOINED = (
    (_LEFT, _TOP, (1, 10, 14)),
    (_TOP, _RIGHT, (2, 5, 13)),
    (_RIGHT, _BOTTOM, (4, 10, 11)),
    (_LEFT, _BOTTOM, (5, 7, 8)),
    (_LEFT, _RIGHT, (3, 12)),
    (_TOP, _BOTTOM, (6, 9)),
)
_SAME_PLACE = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """The outline of one region.

    Attributes:
        segments: float64, shape (segment, 2 ends, 2), mm in the slice's plane.
        corners: float64, shape (corner, 2), mm in the slice's plane: the outline's convex hull.
        basis: float64, shape (2, 3): the plane's two unit vectors in the patient.
    """

    segments: Floats
    corners: Floats
    basis: Floats

    @property
    def longest_mm(self) -> float:
        """The longest distance between two points of the outline."""
        return float(self._distances().max())

    def chords_from(self, length_mm: float) -> list[Floats]:
        """Pairs of corners at least as far apart as `length_mm`, each float64, shape (2 ends, 2)."""
        first, second = np.nonzero(np.triu(self._distances() >= length_mm, 1))
        return [self.corners[[one, other]] for one, other in zip(first, second, strict=True)]

    def widest_across(self, chord: Floats) -> tuple[float, Floats]:
        """The longest chord at right angles to another.

        Between two corners of the outline its extent across a chord changes linearly on either side, so the longest one
        passes through a corner.

        Args:
            chord: float64, shape (2 ends, 2).

        Returns:
            Its length in mm and its ends, float64, shape (2 ends, 2).
        """
        along = (chord[1] - chord[0]) / np.linalg.norm(chord[1] - chord[0])
        across = np.array((-along[1], along[0]))
        place, height = self.segments @ along, self.segments @ across
        stops = np.unique(place)[:, np.newaxis]
        low, high = place.min(axis=1), place.max(axis=1)
        met = (stops >= low - _SAME_PLACE) & (stops <= high + _SAME_PLACE)
        run = place[:, 1] - place[:, 0]
        upright = np.abs(run) < _SAME_PLACE
        share = np.clip((stops - place[:, 0]) / np.where(upright, 1.0, run), 0, 1)
        met_at = height[:, 0] + share * (height[:, 1] - height[:, 0])
        top = np.where(met, np.where(upright, height.max(axis=1), met_at), -np.inf).max(axis=1)
        bottom = np.where(met, np.where(upright, height.min(axis=1), met_at), np.inf).min(axis=1)
        widest = int(np.argmax(top - bottom))
        ends = stops[widest] * along + np.array([[bottom[widest]], [top[widest]]]) * across
        return float(top[widest] - bottom[widest]), ends

    def in_space(self, points: Floats) -> Floats:
        """Points of the plane, shape (..., 2), as mm in the patient from the slice's first voxel, shape (..., 3)."""
        return np.asarray(points @ self.basis)

    def _distances(self) -> Floats:
        return np.asarray(np.linalg.norm(self.corners[:, np.newaxis] - self.corners, axis=-1))


def outline(region: npt.NDArray[np.bool_], row_step_mm: Floats, column_step_mm: Floats) -> Outline:
    """The outline of a region, through the middle of the sides between pixels inside and outside.

    Args:
        region: bool, shape (row, column), not empty; pixels that touch at a corner belong together.
        row_step_mm: float64, shape (3,): from a pixel's centre to that of its neighbour in the next row.
        column_step_mm: float64, shape (3,): to that of its neighbour in the next column.
    """
    from scipy.spatial import ConvexHull

    first = np.argwhere(region).min(axis=0)
    last = np.argwhere(region).max(axis=0)
    inside = np.pad(region[first[0] : last[0] + 1, first[1] : last[1] + 1], 1).astype(np.uint8)
    pattern = inside[:-1, :-1] + 2 * inside[:-1, 1:] + 4 * inside[1:, 1:] + 8 * inside[1:, :-1]
    segments = np.concatenate(
        [
            np.argwhere(np.isin(pattern, patterns))[:, np.newaxis] + np.array((start, end))
            for start, end, patterns in _JOINED
        ]
    )
    across = row_step_mm / np.linalg.norm(row_step_mm)
    along = column_step_mm - (column_step_mm @ across) * across
    basis = np.stack([across, along / np.linalg.norm(along)])
    steps = np.stack([row_step_mm, column_step_mm]) @ basis.T
    placed = (segments + first - 1) @ steps
    points = np.unique(placed.reshape(-1, 2), axis=0)
    return Outline(segments=placed, corners=points[ConvexHull(points).vertices], basis=basis)
