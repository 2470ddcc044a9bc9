"""Any slice to what the networks take, and their masks back to the slice.

As the data set was made: padded to a centred square with zeros, then resized to 256x256 (Buda et al. 2019).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from tumorctl.contract import CHANNELS, MAX_SLICE_PIXELS, MIN_SLICE_SIDE, SIDE
from tumorctl.errors import UnsupportedImage


def fit(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Bring one slice to the networks' size.

    Args:
        image: uint8, shape (height, width, 3), (height, width, 1) or (height, width); one channel is used three times.

    Returns:
        uint8, shape (256, 256, 3), contiguous. A 256x256 slice comes back unchanged.

    Raises:
        UnsupportedImage: another type or shape, too small or too large.
    """
    image = _three_channels(np.asarray(image))
    height, width = image.shape[:2]
    if (height, width) == (SIDE, SIDE):
        return np.ascontiguousarray(image)
    top, left, side = _square(height, width)
    square = np.zeros((side, side, CHANNELS), np.uint8)
    square[top : top + height, left : left + width] = image
    return np.array(Image.fromarray(square).resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def fit_back(mask: npt.NDArray[np.bool_], height: int, width: int) -> npt.NDArray[np.bool_]:
    """Bring a mask of the networks' size back to its slice: the inverse of `fit`.

    Args:
        mask: bool, shape (256, 256).
        height: of the slice, in pixels.
        width: of the slice, in pixels.

    Returns:
        bool, shape (height, width).
    """
    if (height, width) == (SIDE, SIDE):
        return mask
    top, left, side = _square(height, width)
    levels = Image.fromarray(mask.astype(np.uint8) * 255)
    square = np.asarray(levels.resize((side, side), Image.Resampling.BILINEAR)) >= 128
    return np.ascontiguousarray(square[top : top + height, left : left + width])


def _square(height: int, width: int) -> tuple[int, int, int]:
    """Top and left of a slice in its centred square, and the square's side."""
    side = max(height, width)
    return (side - height) // 2, (side - width) // 2, side


def _three_channels(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    if image.dtype != np.uint8:
        raise UnsupportedImage(f"slice of {image.dtype}: scale it to 8 bits (uint8) first, window and level are yours")
    if image.ndim == 2:
        image = image[:, :, np.newaxis]
    if image.ndim != 3 or image.shape[2] not in (1, CHANNELS):
        raise UnsupportedImage(f"slice of shape {image.shape}: expected (height, width, 3), or one channel")
    height, width = image.shape[:2]
    if min(height, width) < MIN_SLICE_SIDE or height * width > MAX_SLICE_PIXELS:
        raise UnsupportedImage(
            f"{width}x{height} pixels: a slice has at least {MIN_SLICE_SIDE}x{MIN_SLICE_SIDE} and at most "
            f"{MAX_SLICE_PIXELS:,} pixels"
        )
    return np.repeat(image, CHANNELS, axis=2) if image.shape[2] == 1 else image
