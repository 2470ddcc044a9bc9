"""Slices of the FLAIR with the outline drawn on them, to look at."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from tumorctl import __version__
from tumorctl.contract import SHORT_NOTICE
from tumorctl.core.geometry import Grid, Volume
from tumorctl.outputs.images import outline

if TYPE_CHECKING:
    from tumorctl.core.measurements import Diameters, Point

_OUTLINE = (255, 64, 48)
_LONGEST = (255, 214, 10)
_PERPENDICULAR = (64, 200, 255)
_TEXT = (255, 255, 255)
_SHADOW = (0, 0, 0)
_SMALLEST_SIDE = 200
"""Smaller slices are enlarged by a whole number, so that the text on them can be read."""
_SHEET_SLICES = 16
_WINDOW_PERCENTILES = (1.0, 99.8)
_LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))
"""Ends of the RAS axes: towards smaller and larger coordinates."""
_GROWING = ("L", "P", "I")
"""Where columns and rows go in a picture that is the right way up."""


def draw_slices(
    flair: Volume, mask: npt.NDArray[np.bool_], indices: tuple[int, ...], diameters: Diameters | None
) -> tuple[npt.NDArray[np.uint8], int]:
    """Slices in grey with the outline in red, their letters of direction, and a notice burned in.

    Both diameters are drawn on the slice they were measured on, if it is one of the image's own slices.

    Args:
        flair: the image.
        mask: bool, shape (slice, row, column).
        indices: slices to draw.
        diameters: what was measured; None where nothing was.

    Returns:
        uint8, shape (drawn slice, row, column, 3), and how many times larger than in the image a pixel's side is drawn.
    """
    scale = max(1, -(-_SMALLEST_SIDE // max(flair.voxels.shape[1:])))
    low, high = np.percentile(flair.voxels, _WINDOW_PERCENTILES)
    pictures = []
    for index in indices:
        grey = np.clip((flair.voxels[index] - low) * (255 / max(high - low, 1e-6)), 0, 255).astype(np.uint8)
        size = (grey.shape[1] * scale, grey.shape[0] * scale)
        picture = Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC).convert("RGB")
        enlarged = np.kron(mask[index], np.ones((scale, scale), np.bool_))
        pixels = np.array(picture)
        pixels[outline(enlarged)] = _OUTLINE
        picture = Image.fromarray(pixels)
        if diameters is not None and (diameters.axis, diameters.index) == (0, index):
            _line(picture, diameters.perpendicular_ends_ras_mm, flair.grid, scale, _PERPENDICULAR)
            _line(picture, diameters.longest_ends_ras_mm, flair.grid, scale, _LONGEST)
        _write(picture, flair.grid, index)
        pictures.append(np.array(picture))
    return np.stack(pictures), scale


def contact_sheet(flair: Volume, mask: npt.NDArray[np.bool_], diameters: Diameters | None) -> bytes:
    """The slices with tumour side by side, evenly drawn where they are many, as PNG; see `draw_slices` and `upright`.

    Args:
        flair: the image.
        mask: bool, shape (slice, row, column), not empty.
        diameters: what was measured; None where nothing was.
    """
    flair, mask = upright(flair, mask)
    marked = np.flatnonzero(mask.any(axis=(1, 2)))
    places = np.unique(np.linspace(0, len(marked) - 1, min(len(marked), _SHEET_SLICES)).round().astype(int))
    pictures, _ = draw_slices(flair, mask, tuple(int(index) for index in marked[places]), diameters)
    count, height, width, _ = pictures.shape
    columns = math.ceil(math.sqrt(count))
    sheet = Image.new("RGB", (columns * width, math.ceil(count / columns) * height))
    for number, picture in enumerate(pictures):
        sheet.paste(Image.fromarray(picture), (number % columns * width, number // columns * height))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def upright(flair: Volume, mask: npt.NDArray[np.bool_]) -> tuple[Volume, npt.NDArray[np.bool_]]:
    """The same slices as readers are used to them: front or head up, the patient's right or front on the left.

    Rows and columns change places and sense, their places in the patient do not; slices keep their order.

    Args:
        flair: the image.
        mask: bool, shape (slice, row, column).
    """
    grid = flair.grid
    across, down = (_axis(letter) for letter in directions(grid))
    axes = (0, 2, 1) if across > down else (0, 1, 2)
    affine = grid.affine_ras[:, [*axes, 3]]
    shape = tuple(grid.shape[axis] for axis in axes)
    flips = [slice(None)]
    for axis in (1, 2):
        turned = _letter(affine[:3, axis]) not in _GROWING
        flips.append(slice(None, None, -1 if turned else 1))
        if turned:
            affine[:3, 3] += (shape[axis] - 1) * affine[:3, axis]
            affine[:3, axis] *= -1
    voxels, turned_mask = (volume.transpose(axes)[tuple(flips)] for volume in (flair.voxels, mask))
    return Volume(voxels, Grid((shape[0], shape[1], shape[2]), affine)), turned_mask


def directions(grid: Grid) -> tuple[str, str]:
    """Letters for where the column index and the row index grow to: R, L, A, P, S or I, the nearest axis."""
    column, row = grid.affine_ras[:3, 2], grid.affine_ras[:3, 1]
    return _letter(column), _letter(row)


def opposite(letter: str) -> str:
    """The letter of the opposite direction."""
    return next(pair[1 - pair.index(letter)] for pair in _LETTERS if letter in pair)


def _axis(letter: str) -> int:
    return next(axis for axis, pair in enumerate(_LETTERS) if letter in pair)


def _letter(step: npt.NDArray[np.float64]) -> str:
    axis = int(np.argmax(np.abs(step)))
    return _LETTERS[axis][int(step[axis] > 0)]


def _line(
    picture: Image.Image, ends_ras_mm: tuple[Point, Point], grid: Grid, scale: int, colour: tuple[int, int, int]
) -> None:
    ends = [((column + 0.5) * scale, (row + 0.5) * scale) for _, row, column in grid.to_index(ends_ras_mm)]
    ImageDraw.Draw(picture).line([*ends[0], *ends[1]], fill=colour, width=1)


def _write(picture: Image.Image, grid: Grid, index: int) -> None:
    draw = ImageDraw.Draw(picture)
    width, height = picture.size
    size = max(12, width // 28)
    font = ImageFont.load_default(size)
    right, below = directions(grid)
    margin = size // 3
    texts = [
        (SHORT_NOTICE, (margin, margin), "la"),
        (f"tumorctl {__version__}", (margin, height - margin), "ld"),
        (f"slice {index + 1} of {grid.shape[0]}", (width - margin, height - margin), "rd"),
        (opposite(right), (margin, height // 2), "lm"),
        (right, (width - margin, height // 2), "rm"),
        (opposite(below), (width // 2, margin + 2 * size), "mm"),
        (below, (width // 2, height - margin - 2 * size), "mm"),
    ]
    for text, place, anchor in texts:
        draw.text(place, text, fill=_TEXT, font=font, anchor=anchor, stroke_width=1, stroke_fill=_SHADOW)
