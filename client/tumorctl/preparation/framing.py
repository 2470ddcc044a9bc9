"""The square of a slice that the networks see: as large as the head needs, as in the data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from tumorctl.contract import MIN_SLICE_SIDE

Scalar = TypeVar("Scalar", bound=np.generic)

_HEAD_LEVEL = 0.1
_LEAST_FILLED = 0.65
_FILLED = 0.85
_SPECKS = 0.01


@dataclass(frozen=True, slots=True)
class Window:
    """Rows and columns of a slice: the first, and the one after the last."""

    top: int
    bottom: int
    left: int
    right: int

    def of(self, volume: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """A view of what is shown of a volume, shape (slice, row, column)."""
        return volume[:, self.top : self.bottom, self.left : self.right]


def window(volume: npt.NDArray[np.uint8]) -> Window:
    """What to show of all slices of a volume; the rest of the square is padded later.

    All of the slice, but where the head fills less than 65 % of it, as with a very large field of view: then a square
    around it, of which it fills 85 %.

    Args:
        volume: uint8, shape (slice, row, column).
    """
    height, width = volume.shape[1:]
    level = _HEAD_LEVEL * float(volume.max())
    filled = (volume > level).mean(axis=0) if level > 0 else np.zeros((height, width))
    rows, columns = (np.flatnonzero(filled.mean(axis=axis) > _SPECKS) for axis in (1, 0))
    if not rows.size or not columns.size:
        return Window(0, height, 0, width)
    head = max(np.ptp(rows), np.ptp(columns)) + 1
    if head >= _LEAST_FILLED * max(height, width):
        return Window(0, height, 0, width)
    side = max(round(float(head) / _FILLED), MIN_SLICE_SIDE)
    top, bottom = _around(rows, side, height)
    left, right = _around(columns, side, width)
    return Window(top, bottom, left, right)


def _around(places: npt.NDArray[np.intp], side: int, size: int) -> tuple[int, int]:
    if side >= size:
        return 0, size
    first = (int(places[0]) + int(places[-1]) + 1 - side) // 2
    first = min(max(first, 0), size - side)
    return first, first + side
